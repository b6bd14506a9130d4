"""What a network's outputs mean: a joint distribution over all that a role decides, whole numbers and real ones mixed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..gradient import Head, normal

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


def reals(heads: Sequence[Head]) -> list[int]:
    """Return which heads are real numbers."""
    return [i for i, head in enumerate(heads) if not head.values]


def draw(heads: Sequence[Head], outputs: Any, log_sd: Any, u: Any) -> Any:
    """Draw what is decided, by inversion.

    Parameters
    ----------
    heads
        What is decided.
    outputs
        Of the network, (..., outputs): a logit for each value of a whole number, the mean of a real one on [-1, 1].
    log_sd
        Logarithms of the standard deviations of the real numbers, broadcasting against (..., reals).
    u
        Uniform numbers (..., heads).

    Returns
    -------
    Tensor
        (..., heads), single precision: the index of a value, or a real number, which may leave [-1, 1].
    """
    import torch

    drawn, place = [], {i: k for k, i in enumerate(reals(heads))}
    for i, head in enumerate(heads):
        part, chance = outputs[..., head.outputs], u[..., i]
        if head.values:
            edges = torch.softmax(part, dim=-1).cumsum(dim=-1)[..., :-1]
            drawn.append((edges <= chance[..., None]).sum(dim=-1).float())
        else:
            drawn.append(part[..., 0] + log_sd[..., place[i]].exp() * normal(chance).float())
    return torch.stack(drawn, dim=-1)


def likelihood(
    heads: Sequence[Head], outputs: Any, log_sd: Any, drawn: Any, asked: Any, entropic: bool = True
) -> tuple[Any, Any]:
    """Return the log-probability of what was drawn and the entropy, each (...), of the heads that were asked.

    A real number has the density of what was drawn, before it is brought into its space: what happens to it afterwards is
    the world's doing, so that the gradient is right for bounded numbers too.

    Parameters
    ----------
    heads, outputs, log_sd
        As for ``draw``.
    drawn
        What ``draw`` returned.
    asked
        1 where a head is asked, 0 where not, (..., heads).
    entropic
        Whether the entropy is wanted; it is 0.0 if not.
    """
    import torch

    place = {i: k for k, i in enumerate(reals(heads))}
    log_p: Any = 0.0
    entropy: Any = 0.0
    for i, head in enumerate(heads):
        part, number, mask = outputs[..., head.outputs], drawn[..., i], asked[..., i]
        if head.values:
            logs = torch.log_softmax(part, dim=-1)
            log_p = log_p + mask * logs.gather(-1, number[..., None].long())[..., 0]
            if entropic:
                entropy = entropy - mask * (logs.exp() * logs).sum(dim=-1)
        else:
            width = log_sd[..., place[i]]
            apart = (number - part[..., 0]) * (-width).exp()
            log_p = log_p - mask * (0.5 * apart**2 + width + _HALF_LOG_2PI)
            entropy = entropy + mask * (width + 0.5 + _HALF_LOG_2PI)
    return log_p, entropy
