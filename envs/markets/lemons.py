"""Lemons: a seller who knows the quality of what it sells, and buyers who know only what the average is worth."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..core import validate
from ..core.arrays import Array, constant, full, namespace, to_float, to_int, total
from ..core.fields import Choice, Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, RoundState, Settled

SALE = Choice(("bought faulty", "sold faulty", "bought sound", "sold sound", "none"))
"""What the last sale was to a player, which a court can establish."""


@dataclass(frozen=True)
class Lemons(RoundGame):
    """The market for lemons (Akerlof 1970, doi:10.2307/1879431; with one buyer, Samuelson and Bazerman 1985).

    A good of quality q, uniform on [low, 1], is worth q to its seller, who alone knows q, and k q to any buyer, k >= 1.
    Buyers bid; the seller, who sees the best bid p, sells or keeps. It sells where q <= p, so that what is for sale at p is
    worth k (low + p) / 2 on average. Several buyers bid until that is p: p = k low / (2 - k), or all is sold, at
    p = k (low + 1) / 2, if that is at least 1. A single buyer bids min(low / (2 - k), 1), and 1 if k >= 2. With low = 0
    nothing is sold where k < 2, though every sale would create value, and everything where k >= 2. Trade of the
    several buyers is the most that any voluntary mechanism reaches that pays for itself (Samuelson 1984, Econometrica
    52:995): sum (k - 1) q x(q) is maximised over falling x subject to E[((k - 2) q + low) x(q)] >= 0.

    The good turns out sound with probability q. That, unlike q, can be verified: after a sale the field ``sale`` says of each
    player whether it bought or sold a sound or a faulty good, so that a warranty is
    ``Contract(Compensation(w, "sold faulty", "bought faulty", "sale"))``; with low = 0 and several buyers everything is
    sold from w = 2 - k on (Grossman 1981, doi:10.1086/466995, for w = k). Players are paid expected worth, given q.

    Parameters
    ----------
    value
        What quality 1 is worth to a buyer, k, in coins; to the seller it is worth 1.
    low
        Lowest quality.
    buyers
        Number of buyers.
    repetitions
        Rounds of an episode, each with a new good; nothing carries over but what is remembered.
    """

    value: float = 1.5
    low: float = 0.0
    buyers: int = 2
    repetitions: int = 1

    nature = 1
    stages = (Stage("bid", "all buyers bid"), Stage("answer", "the seller sells to the highest bid, or keeps the good"))
    reports = (
        Measure("traded", "share of goods that are sold", "#sold / T"),
        Measure("quality", "mean quality of what is sold, 0 if nothing is", "sum_t q_t sold_t / #sold"),
        Measure("price", "mean price of what is sold, 0 if nothing is", "sum_t p_t sold_t / #sold", "coins"),
        Measure("seller_gain", "what the seller gains a round", "sum_t (p_t - q_t) sold_t / T", "coins"),
        Measure("buyer_gain", "what all buyers together gain a round", "sum_t (k q_t - p_t) sold_t / T", "coins"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("value", self.value, 1.0, 100.0)
        validate.real("low", self.low, 0.0, 0.99)
        validate.whole("buyers", self.buyers, 1, 10)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        many = self.buyers > 1
        who = f"{self.buyers} buyers" if many else "a buyer"
        bids = (
            f"First all buyers bid at once, each from 0 to {self.value:g} coins. A lot decides between equal highest bids. "
            if many
            else f"First the buyer bids, from 0 to {self.value:g} coins. "
        )
        price = "the highest bid" if many else "the bid"
        others = "; buyers who do not get it get 0" if many else ""
        return (
            f"A seller has a good that {who} may want. Its quality q is drawn anew every round, all numbers from {self.low:g} to 1 "
            f"being equally likely. Only the seller sees it. The good is worth q coins to the seller and {self.value:g} q to "
            f"{'every' if many else 'the'} buyer.\n"
            f"{bids}Then the seller, who sees {price}, sells for it or keeps the good. If it sells, the seller's reward is the "
            f"price less q, and the buyer's reward is {self.value:g} q less the price{others}. If it keeps the good, all get 0.\n"
            "A good that was sold turns out sound with probability q, and otherwise faulty. That changes no reward by itself, "
            "but can be proved; the quality cannot."
        )

    @property
    def luck(self) -> int:  # type: ignore[override]
        """A lot for each buyer, and whether the good is sound."""
        return self.buyers + 1

    def cast(self) -> tuple[Role, ...]:
        """The seller, who sees the quality, and the buyers."""
        price = Real(0.0, float(self.value))
        seen = (
            Field("sale", SALE, "what you last sold or bought; none if you had no part in a sale", verifiable=True),
            Field("price", price, "the highest bid, the last one while bids are made", "coins", verifiable=True),
        )
        quality = Field("quality", Real(float(self.low), 1.0), "the quality of your good, which only you see")
        profit = Field("profit", Real(-float(self.value), float(self.value)), "your reward in the last round", "coins")
        sell = Field("sell", Choice(("keep", "sell")), "whether you sell at the price", stage="answer")
        bid = Field("bid", price, "what you offer for the good", "coins", stage="bid")
        return (
            Role("seller", 1, (*seen, quality), (sell,), "you own a good and know its quality"),
            Role("buyer", self.buyers, (*seen, profit), (bid,), "you want the good for less than it is worth to you"),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def open(self, u: Array) -> Record:
        """Draw the quality."""
        return {"quality": self.low + (1.0 - self.low) * u[..., 0]}

    def recall(self, like: Array) -> Record:
        """Return that nothing has been sold yet."""
        shape = (*like.shape, self.buyers)
        none = full(like, shape, len(SALE.options) - 1, integer=True)
        return {"sold": none[..., 0], "bought": none, "profit": full(like, shape, 0.0)}

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show all the best bid, and each what it last sold or bought, and gained."""
        bids, memory = state.acts["buyer"]["bid"], state.memory
        xp = namespace(bids)
        price = xp.max(bids, axis=-1)[..., None]
        return {
            "seller": {"price": price, "sale": memory["sold"][..., None]},
            "buyer": {
                "price": xp.broadcast_to(price, bids.shape),
                "sale": memory["bought"],
                "profit": memory["profit"],
            },
        }

    @functools.cached_property
    def _seats(self) -> tuple[int, ...]:
        return tuple(range(self.buyers))

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Sell to the highest bid if the seller agrees."""
        n, bids, quality = self.buyers, acts["buyer"]["bid"], nature["quality"]
        bids = bids[..., None] if n == 1 else bids
        xp, sold = namespace(bids), acts["seller"]["sell"] == 1
        price = xp.max(bids, axis=-1)
        winner = to_int(xp.argmax(xp.where(bids == price[..., None], u[..., :n], -1.0), axis=-1))
        won = (winner[..., None] == constant(winner, self._seats)) & sold[..., None]
        faulty, traded = to_int(u[..., n] >= quality), to_float(sold)
        gain = (price - quality) * traded
        profit = (self.value * quality - price)[..., None] * to_float(won)
        none = len(SALE.options) - 1
        return Settled(
            {"seller": gain, "buyer": profit[..., 0] if n == 1 else profit},
            welfare=(self.value - 1.0) * quality * traded,
            sums={
                "traded": traded,
                "quality": quality * traded,
                "price": price * traded,
                "seller_gain": gain,
                "buyer_gain": total(profit),
            },
            memory={
                "sold": xp.where(sold, 3 - 2 * faulty, none),
                "bought": xp.where(won, (2 - 2 * faulty)[..., None], none),
                "profit": profit,
            },
        )

    def measures(self, state: RoundState) -> Record:
        """Return trade and gains a round, and quality and price of what is sold."""
        sold = state.sums["traded"]
        sales = sold + (sold == 0)
        of_sales = {name: state.sums[name] / sales for name in ("quality", "price")}
        return {**super().measures(state), **of_sales}

    # ---- what theory says ---------------------------------------------------------------------------------------

    def price(self, *, competitive: bool | None = None) -> float:
        """Return the equilibrium price: with several buyers, or (competitive False) with one; by default with those there are."""
        k, low = float(self.value), float(self.low)
        if (self.buyers > 1) if competitive is None else competitive:
            everything = k * (low + 1.0) / 2.0
            return everything if everything >= 1.0 else k * low / (2.0 - k)
        return 1.0 if k >= 2.0 else min(low / (2.0 - k), 1.0)

    def expected(self, price: float) -> float:
        """Return expected welfare of a round in which everything that is worth no more than a price is sold at it."""
        low = float(self.low)
        best = min(max(price, low), 1.0)
        return (self.value - 1.0) * (best**2 - low**2) / (2.0 * (1.0 - low))

    def benchmarks(self) -> Benchmarks:
        """Return full trade, the best that is possible where quality is private, the equilibrium, and no trade."""
        times, price = self.repetitions, self.price()

        def plays(price: float, sells: Callable[[Seen], Any]) -> dict[str, Callable[[Seen], Acts]]:
            return {
                "buyer": lambda seen: {"bid": seen["price"] * 0.0 + price},
                "seller": lambda seen: {"sell": to_int(sells(seen))},
            }

        def gains(seen: Seen) -> Any:
            return seen["price"] >= seen["quality"]

        second = self.price(competitive=True)
        how = (
            "buyers bid what the goods that are sold are worth on average"
            if self.buyers > 1
            else "the buyer's best bid"
        )
        return Benchmarks(
            first_best=Level(
                times * self.expected(1.0),
                "every good is sold: the buyers' worth is higher",
                plays(float(self.value), gains),
            ),
            second_best=Level(
                times * self.expected(second),
                f"most trade by a voluntary mechanism without a subsidy: up to quality {min(second, 1.0):.6g} (Samuelson 1984)",
                plays(second, gains),
            ),
            equilibrium=Level(
                times * self.expected(price),
                f"perfect Bayesian: {how}, {price:.6g}; the seller sells what is worth no more to it (Akerlof 1970)",
                plays(price, gains),
            ),
            baseline=Level(0.0, "no trade", plays(0.0, lambda seen: seen["quality"] < 0.0)),
        )
