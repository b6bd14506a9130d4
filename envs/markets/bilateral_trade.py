"""Trade between two whose values are private: double auction, posted price, Vickrey."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..core import validate
from ..core.arrays import Array, namespace, to_float, to_int
from ..core.fields import Choice, Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, Settled

RULES = ("double", "posted", "vcg")


@dataclass(frozen=True)
class BilateralTrade(RoundGame):
    """Bilateral trade with private values (Myerson and Satterthwaite 1983, doi:10.1016/0022-0531(83)90048-0).

    A good is worth v to a buyer and cost c to a seller, both uniform on [0, 1], drawn anew every round and known to their
    owner only. Both name a price at once, b and a. In the double auction there is trade if b >= a, at k b + (1 - k) a;
    its linear equilibrium (Chatterjee and Samuelson 1983, doi:10.1287/opre.31.5.835) is
    b = v / (1 + k) + k (1 - k) / (2 (1 + k)) and a = c / (2 - k) + (1 - k) / 2, where trade is possible. At k = 1/2 there is
    trade where v - c >= 1/4, and welfare 9/64 is the most that any voluntary mechanism without a subsidy reaches. At a posted
    price p there is trade where b >= p >= a: honesty is dominant, and welfare p (1 - p) / 2. Under VCG the buyer pays a, the
    seller gets b: honesty is dominant, trade efficient, and an outsider pays E max(v - c, 0) = 1/6.
    Welfare is v - c where there is trade.

    Parameters
    ----------
    rule
        ``"double"``, ``"posted"`` or ``"vcg"``.
    k
        Weight of the buyer's price in the double auction: 0, the seller sets the price; 1, the buyer does.
    price
        The posted price, in units of the highest worth.
    repetitions
        Rounds of an episode; nothing carries over but what is remembered.
    """

    rule: str = "double"
    k: float = 0.5
    price: float = 0.5
    repetitions: int = 1

    nature = 2
    stages = (Stage("name", "buyer and seller each name a price"),)
    reports = (
        Measure("traded", "share of rounds with trade", "#trades / T"),
        Measure("buyer_gain", "the buyer's reward a round", "sum_t (v_t - paid_t) / T"),
        Measure("seller_gain", "the seller's reward a round", "sum_t (received_t - c_t) / T"),
        Measure("subsidy", "what an outsider pays a round", "sum_t (received_t - paid_t) / T", better="lower"),
        Measure(
            "missed",
            "gains from trade that are missed, a round",
            "sum_t max(v_t - c_t, 0) (no trade) / T",
            better="lower",
        ),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.one_of("rule", self.rule, RULES)
        validate.probability("k", self.k)
        validate.probability("price", self.price)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        how = {
            "double": "There is trade if the buyer's price is at least the seller's. The buyer then pays the seller "
            f"{self.k:g} times the buyer's price plus {1.0 - self.k:g} times the seller's.",
            "posted": f"There is trade if the buyer's price is at least {self.price:g} and the seller's is at most {self.price:g}. "
            f"The buyer then pays the seller {self.price:g}.",
            "vcg": "There is trade if the buyer's price is at least the seller's. The buyer then pays the seller's price, and the "
            "seller gets the buyer's price; an outsider pays the difference.",
        }[self.rule]
        return (
            "A seller can make a good for a buyer. Every round its worth to the buyer and its cost to the seller are drawn anew, "
            "each any number from 0 to 1, all equally likely and independent. Only the buyer sees the worth, only the seller the "
            "cost.\n"
            f"Both name a price at once, from 0 to 1. {how} The buyer's reward is the worth less what it pays, the seller's what "
            "it gets less the cost. Without trade both get 0."
        )

    def cast(self) -> tuple[Role, ...]:
        """The buyer, who sees the worth, and the seller, who sees the cost."""
        unit = Real(0.0, 1.0)
        seen = (
            Field("trade", Choice(("no", "yes", "none")), "whether there was trade last; none before", verifiable=True),
            Field("paid", unit, "what the buyer paid last; 0 without trade", verifiable=True),
        )
        worth = Field("worth", unit, "what the good is worth to you, which only you see")
        cost = Field("cost", unit, "what the good costs you, which only you see")
        bid = Field("bid", unit, "the price that you name", stage="name")
        ask = Field("ask", unit, "the price that you name", stage="name")
        return (
            Role("buyer", 1, (*seen, worth), (bid,), "you want the good for less than it is worth to you"),
            Role("seller", 1, (*seen, cost), (ask,), "you want more for the good than it costs you"),
        )

    def open(self, u: Array) -> Record:
        """Draw worth and cost."""
        return {"worth": u[..., 0], "cost": u[..., 1]}

    def recall(self, like: Array) -> Record:
        """Return that there was no trade yet."""
        return {"trade": like + 2, "paid": to_float(like)}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Trade, if the prices allow it."""
        bid, ask, worth, cost = acts["buyer"]["bid"], acts["seller"]["ask"], nature["worth"], nature["cost"]
        if self.rule == "posted":
            trade = (bid >= self.price) & (ask <= self.price)
            pays = gets = bid * 0.0 + self.price
        else:
            trade = bid >= ask
            price = self.k * bid + (1.0 - self.k) * ask
            pays, gets = (ask, bid) if self.rule == "vcg" else (price, price)
        traded, gains = to_float(trade), worth - cost
        buyer, seller = (worth - pays) * traded, (gets - cost) * traded
        return Settled(
            {"buyer": buyer, "seller": seller},
            welfare=gains * traded,
            sums={
                "traded": traded,
                "buyer_gain": buyer,
                "seller_gain": seller,
                "subsidy": (gets - pays) * traded,
                "missed": gains * (1.0 - traded) * (gains > 0.0),
            },
            memory={"trade": to_int(trade), "paid": pays * traded},
        )

    def bid(self, worth: Array) -> Array:
        """Return the buyer's equilibrium price."""
        if self.rule != "double":
            return worth * 1.0
        k = self.k
        return namespace(worth).minimum(worth / (1.0 + k) + k * (1.0 - k) / (2.0 * (1.0 + k)), worth)

    def ask(self, cost: Array) -> Array:
        """Return the seller's equilibrium price."""
        if self.rule != "double":
            return cost * 1.0
        k = self.k
        return namespace(cost).maximum(cost / (2.0 - k) + (1.0 - k) / 2.0, cost)

    def expected(self) -> float:
        """Return expected welfare of a round in equilibrium."""
        if self.rule == "posted":
            return self.price * (1.0 - self.price) / 2.0
        if self.rule == "vcg":
            return 1.0 / 6.0
        # trade where v >= s c + t: the integral of (1 - (s c + t)^2) / 2 - c (1 - s c - t) over c from 0 to (1 - t) / s
        s, t = (1.0 + self.k) / (2.0 - self.k), (1.0 - self.k) / 2.0
        top = (1.0 - t) / s
        return top * (1.0 - t * t) / 2.0 - top**2 * (s * t + 1.0 - t) / 2.0 + top**3 * (s - s * s / 2.0) / 3.0

    def benchmarks(self) -> Benchmarks:
        """Return efficient trade, the best without a subsidy, the equilibrium, and no trade."""

        def plays(bid: Callable[[Any], Any], ask: Callable[[Any], Any]) -> dict[str, Callable[[Seen], Acts]]:
            return {
                "buyer": lambda seen: {"bid": bid(seen["worth"])},
                "seller": lambda seen: {"ask": ask(seen["cost"])},
            }

        honest = plays(lambda worth: worth * 1.0, lambda cost: cost * 1.0)
        source = {
            "double": "the linear equilibrium (Chatterjee and Samuelson 1983)",
            "posted": "dominant: both name what the good is worth or costs",
            "vcg": "dominant: both name what the good is worth or costs; an outsider pays 1/6 a round",
        }[self.rule]
        return Benchmarks(
            first_best=Level(
                self.repetitions / 6.0, "trade where worth exceeds cost", None if self.rule == "posted" else honest
            ),
            second_best=Level(
                self.repetitions * 9.0 / 64.0,
                "trade where worth exceeds cost by 1/4: the most without a subsidy (Myerson and Satterthwaite 1983)",
            ),
            equilibrium=Level(self.repetitions * self.expected(), source, plays(self.bid, self.ask)),
            baseline=Level(0.0, "no trade", plays(lambda worth: worth * 0.0, lambda cost: cost * 0.0 + 1.0)),
        )
