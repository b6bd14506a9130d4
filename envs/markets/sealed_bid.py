"""Sealed bids: one good, bidders who know their own signal, and a rule by which the bids decide who gets it and who pays."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import validate
from ..core.arrays import Array, absent, by_column, constant, full, highest, namespace, to_float, total
from ..core.fields import Choice, Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, RoundState, Settled

PRICING = ("first", "second", "mixed", "all_pay")


@dataclass(frozen=True)
class SealedBid(RoundGame):
    """Auction of one good by sealed bids (Vickrey 1961, doi:10.2307/2977633; Myerson 1981, doi:10.1287/moor.6.1.58).

    Signals x_i are uniform on [0, 1], drawn anew every round; the good is worth v_i = (1 - common) x_i + common mean(x).
    With ``common`` 0 values are private, with 1 the good is worth the same to all: the wallet game (Klemperer 1998,
    doi:10.1016/S0014-2921(97)00123-2), in which bidders who bid what they expect from their own signal alone lose money
    where they are many: the winner's curse. With ``affiliated`` signals x_i = (s_i + t) / 2 share a part t, all uniform
    (Milgrom and Weber 1982, doi:10.2307/1911865; Krishna 2010, Auction Theory, chapter 6). The highest bid of at least
    ``reserve`` wins. The winner pays (1 - k) times the second bid (the reserve, if that is higher) plus k times its own.

    With independent signals write m x = E[v | highest signal is x], w x = E[v | the two highest are x], and x* for the
    lowest signal that bids. Then m x* = reserve, and the symmetric equilibrium solves b' = (w x - b) (n - 1) / (k x) from
    b(x*) = reserve; at k = 0 it is b = w x. Where all pay, m x*^n = reserve and b = reserve + w (x^n - x*^n) (n - 1) / n.
    Revenue depends on x* alone, not on the pricing. With affiliated signals b = 2x / (2 + k) for two bidders, so that the
    second price earns more; for more, at the second price, b = E[v | the two highest are x]. Welfare is what the good is
    worth to who has it; at ``common`` 1 that is the same for all, and there is nothing to align but whether it is sold.

    Parameters
    ----------
    bidders
        Number of bidders, n.
    pricing
        ``"first"`` (k = 1), ``"second"`` (k = 0), ``"mixed"`` (k = ``mix``), or ``"all_pay"``: every bidder whose bid
        reaches the reserve pays it, and the highest wins.
    mix
        Weight k of the winner's own bid under ``"mixed"``; 0 is the second-price rule.
    reserve
        Lowest bid that is accepted, in units of the highest worth; None: a seller, a player, chooses it every round.
    common
        Weight of the mean of all signals in a bidder's value, from 0 (private) to 1 (common).
    affiliated
        Whether signals share a part. The reserve must then be 0, and the pricing second, or first or mixed with 2 bidders.
    worth
        What the good is worth to the seller; above 0 with independent private values only.
    repetitions
        Rounds of an episode, each with new signals.
    """

    bidders: int = 3
    pricing: str = "second"
    mix: float = 0.5
    reserve: float | None = 0.0
    common: float = 0.0
    affiliated: bool = False
    worth: float = 0.0
    repetitions: int = 1

    reports = (
        Measure("revenue", "what bidders pay to the seller a round", "sum_ti payment_ti / T"),
        Measure("surplus", "what all bidders together gain a round", "sum_ti (v_ti won_ti - payment_ti) / T"),
        Measure("sold", "share of rounds in which the good is sold", "#sold / T"),
        Measure("best", "share of sales to the highest signal", "#(winner has the highest signal) / #sold"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("bidders", self.bidders, 1, 10)
        validate.one_of("pricing", self.pricing, PRICING)
        validate.probability("mix", self.mix)
        if self.reserve is not None:
            validate.probability("reserve", self.reserve)
        validate.probability("common", self.common)
        validate.real("worth", self.worth, 0.0, 0.99)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        if not isinstance(self.affiliated, bool):
            raise ValueError(f"affiliated: True or False, got {self.affiliated!r}")
        if self.worth and (self.common or self.affiliated):
            raise ValueError(f"worth: 0 unless values are private and independent, got {self.worth!r}; set common to 0")
        if not self.affiliated:
            return
        if self.reserve != 0.0:
            raise ValueError(f"reserve: 0 with affiliated signals, got {self.reserve!r}")
        if self.pricing == "all_pay":
            raise ValueError(
                f"pricing: one of {', '.join(map(repr, PRICING[:3]))} with affiliated signals, got 'all_pay'"
            )
        if self.bidders == 1 or (self.bidders > 2 and self.k):
            allowed = "2" if self.k else "a whole number from 2 to 10"
            raise ValueError(
                f"bidders: {allowed} with affiliated signals and pricing {self.pricing!r}, got {self.bidders}"
            )

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def k(self) -> float:
        """Weight of the winner's own bid in what it pays."""
        return {"first": 1.0, "second": 0.0, "mixed": float(self.mix), "all_pay": 1.0}[self.pricing]

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        n, c, chosen = self.bidders, self.common, self.reserve is None
        drawn = "a number from 0 to 1, all equally likely and independent of the others' signals"
        if self.affiliated:
            drawn = (
                "the mean of a number of its own and a number that all bidders share; all these numbers are from 0 to 1, equally "
                "likely, and nobody sees them"
            )
        value = "its own signal"
        if c == 1.0:
            value = "the mean of all bidders' signals, the same for everyone"
        elif c:
            value = f"{1.0 - c:g} times its own signal plus {c:g} times the mean of all bidders' signals"
        floor = "the reserve" if chosen else f"the reserve of {self.reserve:g}"
        second = f"the second highest bid, or {floor} if that is higher"
        paid = {
            "first": "The winner pays its bid, the others nothing.",
            "second": f"The winner pays {second}; the others pay nothing.",
            "mixed": f"The winner pays {1.0 - self.k:g} times the larger of the second highest bid and the reserve, plus "
            f"{self.k:g} times its own bid; the others pay nothing.",
            "all_pay": "Every bidder whose bid reaches the reserve pays its bid, whether it wins or not.",
        }[self.pricing]
        seller = f"The good is worth {self.worth:g} to the seller, who keeps it if no bid reaches the reserve."
        first = (
            "First the seller sets the reserve, the lowest bid that is accepted, which all bidders see. "
            if chosen
            else ""
        )
        own = f" The seller's reward is what it is paid, or {self.worth:g} if it keeps the good." if chosen else ""
        who = "1 bidder" if n == 1 else f"{n} bidders"
        return (
            f"A good is sold to {who} by sealed bids, once a round. As a round opens every bidder sees its own signal: {drawn}. "
            f"To a bidder the good is worth {value}.\n"
            f"{first}All bidders bid at once, from 0 to 1. The highest bid that reaches {floor} wins; a lot decides between equal "
            f"bids. {paid} {seller} A bidder's reward is what the good is worth to it if it wins, less what it pays.{own}"
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The bids, and before them the reserve if it is chosen."""
        bid = Stage("bid", "all bidders bid")
        return (bid,) if self.reserve is not None else (Stage("reserve", "the seller sets the reserve"), bid)

    @property
    def nature(self) -> int:  # type: ignore[override]
        """A signal each, and what they share."""
        return self.bidders + int(self.affiliated)

    @property
    def luck(self) -> int:  # type: ignore[override]
        """A lot each."""
        return self.bidders

    def cast(self) -> tuple[Role, ...]:
        """The bidders, and the seller if the reserve is chosen."""
        unit = Real(0.0, 1.0)
        names = tuple(f"bidder_{i}" for i in range(self.bidders))
        told = (
            "your signal: what the good is worth to you" if not self.common else "your signal of what the good is worth"
        )
        last = (
            Field("winner", Choice((*names, "none")), "who won the last round", verifiable=True),
            Field("price", unit, "what the last winner paid; 0 if there was none", verifiable=True),
        )
        private = Field("signal", unit, told)
        profit = Field("profit", Real(-1.0, 1.0), "your reward in the last round")
        bid = Field("bid", unit, "what you bid", stage="bid")
        means = "you want the good for less than it is worth to you"
        if self.reserve is not None:
            return (Role("bidder", self.bidders, (private, *last, profit), (bid,), means),)
        shown = Field("reserve", unit, "the lowest bid that is accepted", verifiable=True)
        asked = Field("reserve", unit, "the lowest bid that you accept", stage="reserve")
        return (
            Role("seller", 1, last, (asked,), "you own the good and want to be paid much for it"),
            Role("bidder", self.bidders, (private, shown, *last, profit), (bid,), means),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def reads(self, state: RoundState, acts: Mapping[str, Acts]) -> tuple[bool, ...]:
        """Say that lots are read only where the highest bid is made more than once."""
        found, n = super().reads(state, acts), self.bidders
        return (not absent(_tied(acts["bidder"]["bid"])),) * n + found[n:] if any(found) else found

    def open(self, u: Array) -> Record:
        """Draw the signals."""
        n = self.bidders
        return {"signal": by_column((u[..., :n] + u[..., n:]) / 2.0 if self.affiliated else u[..., :n])}

    def values(self, signals: Array) -> Array:
        """Return what the good is worth to bidders (*batch, n) with such signals."""
        if not self.common:
            return signals
        mean = total(signals) / self.bidders
        return (1.0 - self.common) * signals + self.common * mean[..., None]

    @functools.cached_property
    def _seats(self) -> tuple[int, ...]:
        return tuple(range(self.bidders))

    def recall(self, like: Array) -> Record:
        """Return that nothing has been sold yet."""
        none = to_float(like)
        return {"winner": like + self.bidders, "price": none, "profit": full(like, (*like.shape, self.bidders), 0.0)}

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show every bidder its signal and its last profit."""
        return {"bidder": {"signal": state.nature["signal"], "profit": state.memory["profit"]}}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Sell to the highest bid, if it reaches the reserve."""
        n, bids, signals = self.bidders, acts["bidder"]["bid"], nature["signal"]
        bids = by_column(bids[..., None] if n == 1 else bids)
        xp, values, (top, second) = namespace(bids), self.values(signals), _highest_two(bids)
        floor = top * 0.0 + (acts["seller"]["reserve"] if self.reserve is None else self.reserve)
        first = bids == top[..., None]
        if not absent(second == top):
            drawn = xp.argmax(xp.where(first, u, -1.0), axis=-1)
            first = drawn[..., None] == constant(bids, self._seats)
        second, sold = xp.maximum(second, floor), top >= floor
        won = to_float(first & sold[..., None])
        if self.pricing == "all_pay":
            paid = xp.where(bids >= floor[..., None], bids, bids * 0.0)
        else:
            paid = won * (second + self.k * (top - second))[..., None]
        gain = values * won
        profit, revenue, had = gain - paid, total(paid), total(gain)
        price = total(paid * won) if self.pricing == "all_pay" else revenue
        best = (total(signals * won) if self.common else had) == highest(signals)
        winner = total(first * constant(bids, self._seats))
        rewards = {"bidder": profit[..., 0] if n == 1 else profit}
        if self.reserve is None:
            rewards["seller"] = xp.where(sold, revenue, self.worth)
        return Settled(
            rewards,
            welfare=xp.where(sold, had, self.worth),
            sums={
                "revenue": revenue,
                "surplus": total(profit),
                "sold": to_float(sold),
                "best": to_float(best),
            },
            memory={"winner": xp.where(sold, winner, n), "price": price, "profit": profit},
        )

    def measures(self, state: RoundState) -> Record:
        """Return revenue, surplus and sales a round, and the share of sales to the highest signal."""
        sold = state.sums["sold"]
        return {**super().measures(state), "best": state.sums["best"] / (sold + (sold == 0))}

    # ---- what theory says ---------------------------------------------------------------------------------------

    @property
    def _slopes(self) -> tuple[float, float, float]:
        """With independent signals: m, w, and dv_i / dx_i."""
        n, c = self.bidders, self.common
        tied = 1.0 - c * (n - 2) / (2 * n) if n > 1 else 1.0
        return 1.0 - c * (n - 1) / (2 * n), tied, 1.0 - c + c / n

    def screen(self, reserve: Any) -> Any:
        """Return the lowest signal x* that bids at a reserve (a number or an array); above 1 if none does."""
        return (reserve / self._slopes[0]) ** (1.0 / self.bidders if self.pricing == "all_pay" else 1.0)

    def bid(self, signal: Array, reserve: Array | float) -> Array:
        """Return the equilibrium bid of signals at a reserve that broadcasts to them."""
        n, k, xp = self.bidders, self.k, namespace(signal)
        if self.affiliated:
            if n == 2:
                return signal * (2.0 / (2.0 + k))
            return signal - self.common * (n - 2) / (4 * n) * self._spread(2.0 * signal)
        floor, tied = signal * 0.0 + reserve, self._slopes[1]
        least = self.screen(floor)
        if self.pricing == "all_pay":
            bid = floor + tied * (n - 1) / n * (signal**n - least**n)
        elif k == 0.0:
            bid = tied * signal
        else:
            slope = tied * (n - 1) / (n - 1 + k)
            share = least / xp.clip(xp.maximum(signal, least), 1e-300, None)
            bid = slope * signal + (floor - slope * least) * share ** ((n - 1) / k)
        return xp.where(signal >= least, xp.maximum(bid, floor), floor * 0.0)

    def _spread(self, z: Any) -> Any:
        """Return E[z - t | the two highest s_i + t are z] with affiliated signals."""
        n, xp = self.bidders, namespace(z)
        q = xp.clip(z - 1.0, 0.0, None)
        return (n - 1) / n * (xp.clip(z, None, 1.0) + q ** (n - 1) / sum(q**j for j in range(n - 1)))

    def optimal_reserve(self) -> float:
        """Return the reserve at which this pricing earns the seller most: m x* - (1 - x*) dv/dx = worth (Myerson 1981).

        With private values no other selling rule earns more.
        """
        if self.affiliated:
            raise ValueError("affiliated: the best reserve is known for independent signals only; set affiliated=False")
        mean, _, slope = self._slopes
        least = (self.worth + slope) / (mean + slope)
        return float(mean * least ** (self.bidders if self.pricing == "all_pay" else 1))

    def expected(self, reserve: float | None = None) -> tuple[float, float]:
        """Return expected revenue and welfare of a round in equilibrium, at the game's reserve or another.

        Where the seller chooses the reserve and none is given, it is the optimal one.
        """
        n = self.bidders
        if self.affiliated:
            return self._affiliated_revenue(), (1.0 - self.common) * (n / (n + 1) + 0.5) / 2.0 + self.common / 2.0
        if reserve is None:
            reserve = self.optimal_reserve() if self.reserve is None else self.reserve
        mean, _, slope = self._slopes
        least = min(float(self.screen(reserve)), 1.0)
        had = n / (n + 1) * (1.0 - least ** (n + 1))
        kept = least**n
        return (mean + slope) * had - slope * (1.0 - kept), mean * had + self.worth * kept

    def _affiliated_revenue(self) -> float:
        """Return expected revenue with affiliated signals and no reserve."""
        n, k = self.bidders, self.k
        high, low = ((i / (n + 1) + 0.5) / 2.0 for i in (n, n - 1))
        if n == 2:
            return 2.0 / (2.0 + k) * ((1.0 - k) * low + k * high)
        points, weights = np.polynomial.legendre.leggauss(40)
        y, w = (points + 1.0) / 2.0, weights / 2.0
        found = 0.0
        for a, b in ((y * 0.0, y), (y, y * 0.0 + 1.0)):  # the second highest s below and above the kink at s = 1 - t
            s = a[:, None] + (b - a)[:, None] * y
            density = n * (n - 1) * s ** (n - 2) * (1.0 - s)
            inner = (density * self._spread(s + 1.0 - y[:, None])) @ w * (b - a)
            found += float(inner @ w)
        return low - self.common * (n - 2) / (4 * n) * found

    def benchmarks(self) -> Benchmarks:
        """Return efficient trade, the symmetric equilibrium, and what a lot would reach."""
        n, c, times = self.bidders, self.common, self.repetitions
        chosen, best = self.reserve is None, (0.0 if self.affiliated else self.optimal_reserve())
        mean = (n / (n + 1) + 0.5) / 2.0 if self.affiliated else n / (n + 1) + self.worth ** (n + 1) / (n + 1)
        efficient = (1.0 - c) * mean + c / 2.0

        def sets(level: float) -> Any:
            return lambda seen: {"reserve": seen["price"] * 0.0 + level}

        def bids(seen: Seen) -> Acts:
            return {"bid": self.bid(seen["signal"], seen["reserve"] if chosen else self.reserve)}

        def tells(seen: Seen) -> Acts:
            signal = seen["signal"]
            floor: Any = seen["reserve"] if chosen else self.reserve
            rising = floor + (1.0 - floor) * (signal - self.worth) / (1.0 - self.worth)
            return {"bid": namespace(signal).where(signal >= self.worth, rising, 0.0)}

        def same(seen: Seen) -> Acts:
            return {"bid": seen["signal"] * 0.0 + 1.0}

        def cast(bidders: Any, reserve: float) -> dict[str, Any]:
            return {"bidder": bidders} | ({"seller": sets(reserve)} if chosen else {})

        revenue, welfare = self.expected()
        told = f"symmetric Bayes-Nash equilibrium in closed form; revenue {revenue:.6g} a round"
        others = {}
        if not chosen and not self.affiliated:
            most, reached = self.expected(best)
            others["optimal"] = Level(
                times * reached,
                f"the reserve of {best:.6g} that earns this pricing most: {most:.6g} a round (Myerson 1981)",
            )
        possible = chosen or (self.reserve != 1.0 and not (self.reserve == 0.0 < self.worth))
        return Benchmarks(
            first_best=Level(
                times * efficient,
                "the good goes to whom it is worth most, the seller included",
                cast(tells, self.worth) if possible else None,
            ),
            equilibrium=Level(
                times * welfare, f"{told}, at the best reserve of {best:.6g}" if chosen else told, cast(bids, best)
            ),
            baseline=Level(
                times * max(0.5, self.worth),
                "the good is given to a bidder by lot, or kept if it is worth more to the seller",
                cast(same, 0.0) if self.worth <= 0.5 else None,
            ),
            others=others,
        )


def _highest_two(bids: Array) -> tuple[Array, Array]:
    """Return the highest and the second highest of bids (*batch, n); they are equal where several are highest.

    A bidder alone faces a second bid of 0.
    """
    xp, top = namespace(bids), bids[..., 0]
    second = top * 0.0
    for i in range(1, bids.shape[-1]):
        second = xp.maximum(second, xp.minimum(top, bids[..., i]))
        top = xp.maximum(top, bids[..., i])
    return top, second


def _tied(bids: Array) -> Array:
    """Say where the highest bid is made more than once, (*batch); or a single one is 0."""
    top, second = _highest_two(bids)
    return top == second
