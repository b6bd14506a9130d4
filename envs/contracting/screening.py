"""Screening: a seller that does not know what quality is worth to its customer lets it choose from a menu."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core import validate
from ..core.arrays import Array
from ..core.fields import Field, Real, Role
from ..core.game import Measure
from .menu import MenuGame


@dataclass(frozen=True)
class Screening(MenuGame):
    """A monopolist's menu of qualities (Mussa and Rosen 1978, doi:10.1016/0022-0531(78)90085-6; Maskin and Riley 1984,
    doi:10.2307/2555674).

    A good of quality q costs the principal cost q^2 / 2 and is worth theta q to the agent, whose type theta nature draws
    as a round opens and the agent alone sees. The principal posts items of quality and price t, the agent picks one or
    none. The best menu gives every type its virtual type theta - (1 - F) / f over cost, or nothing: no distortion at the
    top, too low a quality below, and rents that rise with the type. Two types, the high one with probability p:
    q_low = max(0, theta_low - (theta_high - theta_low) p / (1 - p)) / cost. Welfare is theta q - cost q^2 / 2; 0 at none.

    Parameters
    ----------
    types
        Types in increasing order, in coins a unit of quality; with ``continuum`` the lowest and the highest. Those at
        or below 0 want nothing; some must be above.
    chances
        Probability of each type; empty: all equally likely.
    continuum
        Whether types are uniform between two bounds.
    items
        Items of the menu; None: as many as types, or 3 with ``continuum``.
    cost
        Twice the cost of quality 1, in coins.
    repetitions
        Rounds of an episode, each with a new type; nothing carries over but what is remembered.
    """

    types: tuple[float, ...] = (1.0, 1.5)
    chances: tuple[float, ...] = ()
    continuum: bool = False
    items: int | None = None
    cost: float = 1.0
    repetitions: int = 1

    size = "quality"
    pay = "price"
    reports = (
        Measure("profit", "the principal's profit a round", "sum_t (price - cost quality^2 / 2) / T", "coins"),
        Measure("rent", "the agent's utility a round", "sum_t (type quality - price) / T", "coins"),
        Measure("served", "share of rounds in which the agent gets some quality", "#(quality > 0) / T"),
        Measure("quality", "mean quality, 0 where none is picked", "sum_t quality / T"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("cost", self.cost, 1e-3, 1e6)
        self.check(-1e6, 1e6)
        if self.types[-1] < 1e-3:
            raise ValueError(
                f"types: the highest from 0.001 to 1e+06, got {self.types[-1]:g}; no type would take any quality at a price"
            )

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        items = "1 item" if len(self.names) == 1 else f"{len(self.names)} items"
        return (
            "A principal sells a good of variable quality to an agent. Making quality q costs the principal "
            f"{self.cost / 2:g} times q squared, in coins. To the agent quality q is worth its type times q. The type is drawn "
            f"anew every round, and only the agent sees it: {self.lottery}.\n"
            f"First the principal posts a menu of {items}, each a quality and a price. Then the agent picks one item, or none. "
            "If it picks an item, the principal's reward is its price less the cost of its quality, and the agent's reward is "
            "type times quality less the price. If it picks none, both get 0. "
            "An item of quality 0 at price 0 is as good as none."
        )

    def cast(self) -> tuple[Role, ...]:
        """The principal, and the agent, who sees its type."""
        return self.sides(
            Field("quality", Real(0.0, self.max_size), "quality of each item"),
            Field("price", Real(0.0, self.max_pay), "price of each item", "coins"),
            Field("type", Real(self.types[0], self.types[-1]), "what a unit of quality is worth to you", "coins"),
        )

    def payoffs(self, types: Array, sizes: Array, pays: Array) -> tuple[Array, Array, Array]:
        """Return profit, utility and welfare of items of quality and price taken by types."""
        cost, value = self.cost / 2 * (sizes * sizes), types * sizes
        return pays - cost, value - pays, value - cost

    @property
    def max_pay(self) -> float:
        """Highest price: what the largest quality is worth to the highest type."""
        return self.types[-1] * self.max_size

    @property
    def curvature(self) -> float:
        """The cost parameter."""
        return self.cost

    def worth(self, kind: float) -> float:
        """Return the type itself: what a unit of quality is worth to it."""
        return kind

    def paid(self, size: Any, charge: Any) -> Any:
        """Return the charge itself: the price."""
        return charge
