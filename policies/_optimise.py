"""What gradient learning needs besides networks: the optimiser, and running moments."""

from __future__ import annotations

import math
from typing import Any

_LATE = 5  # the weight of an update in the average that is kept grows with this power of its number


class Adam:
    """The optimiser of Kingma and Ba (2015); written out, since importing torch.optim takes seconds.

    ``means`` are the averages of all parts so far, the later with the greater weight (Shamir and Zhang 2013).
    """

    def __init__(self, torch: Any, parts: list[Any]) -> None:
        self.torch, self.parts, self.steps = torch, parts, 0
        self.first, self.second, self.means = ([torch.zeros_like(part) for part in parts] for _ in range(3))

    def step(self, loss: Any, rate: float) -> None:
        """Move against the gradient of a loss."""
        self.steps += 1
        rate *= math.sqrt(1.0 - 0.999**self.steps) / (1.0 - 0.9**self.steps)
        slopes = self.torch.autograd.grad(loss, self.parts)
        with self.torch.no_grad():
            for i, (part, slope) in enumerate(zip(self.parts, slopes, strict=True)):
                self.first[i].mul_(0.9).add_(slope, alpha=0.1)
                self.second[i].mul_(0.999).addcmul_(slope, slope, value=0.001)
                part.addcdiv_(self.first[i], self.second[i].sqrt().add_(1e-8), value=-rate)
                self.means[i].add_(part - self.means[i], alpha=(1 + _LATE) / (self.steps + _LATE))


class Moments:
    """Mean and deviation of all rows so far (Chan, Golub and LeVeque 1983)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def add(self, rows: Any) -> None:
        """Count in rows (n, ...)."""
        count, mean, both = len(rows), rows.mean(dim=0), self.count + len(rows)
        apart = mean - self.mean
        self.squares = self.squares + ((rows - mean) ** 2).sum(dim=0) + apart**2 * (self.count * count / both)
        self.mean, self.count = self.mean + apart * (count / both), both

    @property
    def deviation(self) -> Any:
        """Standard deviation, a little above 0 at least."""
        return (self.squares / self.count).sqrt().clip(min=1e-8)
