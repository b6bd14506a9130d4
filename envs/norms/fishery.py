"""The fishery of GovSim: a renewable commons that villagers can exhaust."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from ..core import measures, validate
from .commons import Harvest


@dataclass(frozen=True)
class Fishery(Harvest):
    """Harvest game of Piatti et al. (2024), "Cooperate or Collapse" (GovSim), arXiv:2404.16698, exactly.

    Each month every fisher says how many tonnes to take. If they want more than there is, the stock is given out
    tonne by tonne at random among those who still want some. What is left doubles, up to the capacity. The fishery
    collapses when less than ``collapse`` tonnes are left after the catch.

    Parameters
    ----------
    fishers
        Number of fishers, n.
    capacity
        Most fish the lake holds, and the first month's stock, in tonnes.
    months
        Length of an episode, T.
    growth
        Factor by which what is left grows in a month.
    collapse
        The fishery is over when less than this is left after the catch, in tonnes.
    """

    fishers: int = 5
    capacity: int = 100
    months: int = 12
    growth: int = 2
    collapse: int = 5

    reports = measures.COMMONS

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("fishers", self.fishers, 2, 64)
        self._check()
        validate.whole("growth", self.growth, 1, 1_000)

    @functools.cached_property
    def size(self) -> int:
        """Number of fishers."""
        return self.fishers

    @functools.cached_property
    def multiple(self) -> int:
        """Factor by which what is left grows."""
        return self.growth

    @functools.cached_property
    def sustainable(self) -> float:
        """Most that can be caught if every month's catch is to be repeatable: months x n x first month's share."""
        return float(self.months * self.fishers * self.sustainable_share(self.capacity))
