"""Procurement: a buyer that does not know its supplier's cost lets it choose from a menu."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core import validate
from ..core.arrays import Array
from ..core.fields import Field, Real, Role
from ..core.game import Measure
from .menu import MenuGame


@dataclass(frozen=True)
class Procurement(MenuGame):
    """Regulation of a supplier of unknown cost (Baron and Myerson 1982, doi:10.2307/1912769; Laffont and Tirole 1993,
    A Theory of Incentives in Procurement and Regulation).

    A quantity q is worth V(q) = benefit q - q^2 / 2 to the principal and costs the agent theta q to supply, where nature
    draws theta as a round opens and the agent alone sees it. The principal posts items of quantity and payment t, the
    agent picks one or none. The best menu has V'(q) = theta + (1 - weight) F / f, or nothing: the lowest cost supplies
    the efficient quantity, higher costs too little, and rents fall with the cost. Two costs, the low one with
    probability p: q_high = max(0, benefit - theta_high - (1 - weight) (theta_high - theta_low) p / (1 - p)). Welfare is
    V(q) - theta q; 0 at none. It is screening with worth benefit - theta and charge benefit q - t.

    Parameters
    ----------
    types
        Unit costs in increasing order, in coins; with ``continuum`` the lowest and the highest. Those at or above
        ``benefit`` supply nothing; some must be below.
    chances
        Probability of each type; empty: all equally likely.
    continuum
        Whether types are uniform between two bounds.
    items
        Items of the menu; None: as many as types, or 3 with ``continuum``.
    benefit
        Worth of the first unit to the principal, in coins.
    weight
        Weight of the agent's profit in the principal's reward, from 0 to 1.
    repetitions
        Rounds of an episode, each with a new type; nothing carries over but what is remembered.
    """

    types: tuple[float, ...] = (1.0, 1.5)
    chances: tuple[float, ...] = ()
    continuum: bool = False
    items: int | None = None
    benefit: float = 2.5
    weight: float = 0.0
    repetitions: int = 1

    size = "quantity"
    pay = "payment"
    reports = (
        Measure(
            "profit",
            "the principal's reward a round",
            "sum_t (benefit quantity - quantity^2 / 2 - payment + weight rent) / T",
            "coins",
        ),
        Measure("rent", "the agent's profit a round", "sum_t (payment - type quantity) / T", "coins"),
        Measure("served", "share of rounds in which the agent supplies something", "#(quantity > 0) / T"),
        Measure("quantity", "mean quantity, 0 where none is picked", "sum_t quantity / T"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("benefit", self.benefit, 1e-3, 1e6)
        validate.real("weight", self.weight, 0.0, 1.0)
        self.check(0.0, 1e6)
        if self.types[0] > 0.999 * self.benefit:
            raise ValueError(
                f"types: the lowest from 0 to 0.999 benefit = {0.999 * self.benefit:g}, got {self.types[0]:g}; "
                "no quantity would be worth its cost"
            )

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        items = "1 item" if len(self.names) == 1 else f"{len(self.names)} items"
        concern = f", plus {self.weight:g} times the agent's reward" if self.weight else ""
        return (
            "A principal buys a quantity of a good from an agent. Quantity q is worth "
            f"{self.benefit:g} times q less half of q squared to the principal, in coins. Supplying it costs the agent its type "
            f"times q. The type is drawn anew every round, and only the agent sees it: {self.lottery}.\n"
            f"First the principal posts a menu of {items}, each a quantity and the payment for all of it. Then the agent picks "
            "one item, or none. If it picks an item, the principal's reward is what the quantity is worth less the "
            f"payment{concern}, and the agent's reward is the payment less type times quantity. If it picks none, both get 0. "
            "An item of quantity 0 at payment 0 is as good as none."
        )

    def cast(self) -> tuple[Role, ...]:
        """The principal, and the agent, who sees its cost."""
        return self.sides(
            Field("quantity", Real(0.0, self.max_size), "quantity of each item"),
            Field("payment", Real(0.0, self.max_pay), "payment for each item", "coins"),
            Field("type", Real(self.types[0], self.types[-1]), "what a unit costs you to supply", "coins"),
        )

    def payoffs(self, types: Array, sizes: Array, pays: Array) -> tuple[Array, Array, Array]:
        """Return the principal's reward, profit and welfare of items of quantity and payment taken by types."""
        value, cost = self.benefit * sizes - sizes * sizes / 2, types * sizes
        rent = pays - cost
        return value - pays + self.weight * rent, rent, value - cost

    @property
    def max_pay(self) -> float:
        """Highest payment: the largest quantity at the worth of the first unit."""
        return self.benefit * self.max_size

    @property
    def curvature(self) -> float:
        """The marginal worth falls by 1 a unit."""
        return 1.0

    @property
    def altruism(self) -> float:
        """The weight of the agent's profit."""
        return self.weight

    def worth(self, kind: float) -> float:
        """Return what the first unit is worth beyond its cost."""
        return self.benefit - kind

    def paid(self, size: Any, charge: Any) -> Any:
        """Return the payment that leaves the principal the charge of what the quantity is worth at its first unit."""
        return self.benefit * size - charge
