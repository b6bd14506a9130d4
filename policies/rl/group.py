"""Several processes that learn as one: each has a share of the worlds, and sums go over all of them."""

from __future__ import annotations

import atexit
import os
from typing import Any

from .._optimise import Moments


class Group:
    """The processes that learn together, and which of the worlds are this one's.

    Started by ``torchrun``, or where the caller has set up ``torch.distributed``, all its processes learn as one; else this
    one learns alone, and sums are as they are.

    Parameters
    ----------
    worlds
        Number of worlds of all processes.
    device
        Where they learn; None takes cuda if there is one, and then each process of a machine its own. Processes talk by
        NCCL on cuda and by Gloo on the host.

    Raises
    ------
    ValueError
        If there are fewer worlds than processes.
    """

    def __init__(self, worlds: int, device: str | None) -> None:
        import torch
        from torch import distributed

        self.torch, self.distributed = torch, distributed
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        launched = distributed.is_available() and distributed.is_torchelastic_launched()
        if launched and self.device == "cuda":
            self.device = f"cuda:{os.environ['LOCAL_RANK']}"
        if launched and not distributed.is_initialized():
            cuda = torch.device(self.device).type == "cuda"
            if cuda:
                torch.cuda.set_device(self.device)
            distributed.init_process_group("nccl" if cuda else "gloo")
            atexit.register(distributed.destroy_process_group)
        together = distributed.is_available() and distributed.is_initialized()
        self.rank, self.size = (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)
        if worlds < self.size:
            raise ValueError(f"sessions: one world for each of {self.size} processes at least, got {worlds}")
        self.worlds = worlds
        self.begin, self.end = (worlds * rank // self.size for rank in (self.rank, self.rank + 1))

    def sum(self, values: Any) -> Any:
        """Return the sum of a tensor over all processes."""
        if self.size == 1:
            return values
        values = values.contiguous().clone()
        self.distributed.all_reduce(values)
        return values

    def sums(self, parts: list[Any]) -> list[Any]:
        """Return the sums of tensors of one type over all processes, in one message."""
        if self.size == 1:
            return parts
        flat = self.sum(self.torch.cat([part.flatten() for part in parts]))
        return [
            values.view_as(part)
            for values, part in zip(flat.split([part.numel() for part in parts]), parts, strict=True)
        ]

    def whole(self, values: Any) -> Any:
        """Return (all worlds, ...) of (own worlds, ...), bit for bit."""
        if self.size == 1:
            return values
        shape = tuple(values.shape[1:])
        own = values.reshape(len(values), -1).contiguous().to(self.device)
        all_ = self.torch.zeros(self.worlds, own.shape[1], dtype=own.dtype, device=own.device)
        if own.numel():
            all_[self.begin : self.end] = own
            self.distributed.all_reduce(
                all_.view(self.torch.uint8)
            )  # elsewhere 0, so that the sum is a copy of the bits
        return all_.reshape(self.worlds, *shape)

    def own(self, values: Any) -> Any:
        """Return (own worlds, ...) of (all worlds, ...)."""
        return values[self.begin : self.end]

    def any(self, *flags: bool) -> list[bool]:
        """Return, for each flag, whether any process has raised it."""
        return [bool(count) for count in self.sum(self.torch.tensor(flags, dtype=self.torch.int64, device=self.device))]

    def moments(self) -> Moments:
        """Return running moments of what all processes count in."""
        return Moments() if self.size == 1 else _Together(self)


class _Together(Moments):
    """Running moments of the rows of all processes, which count in at the same time."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group

    def add(self, rows: Any) -> None:
        """Count in rows (n, ...) of this and those of all other processes."""
        total = self.group.sum
        count = int(total(self.group.torch.tensor(len(rows), device=rows.device)))
        mean = total(rows.sum(dim=0)) / count
        both, apart = self.count + count, mean - self.mean
        squares = total(((rows - mean) ** 2).sum(dim=0))
        self.squares = self.squares + squares + apart**2 * (self.count * count / both)
        self.mean, self.count = self.mean + apart * (count / both), both
