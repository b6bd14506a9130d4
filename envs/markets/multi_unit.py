"""Several units: bidders who want more than one of a good, and the three rules by which bids are commonly paid for."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np

from ..core import validate
from ..core.arrays import Array, constant, full, namespace, to_float, to_int, total
from ..core.fields import Field, Integer, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen
from ..core.rounds import Record, RoundGame, RoundState, Settled

PRICING = ("uniform", "discriminatory", "vcg")
_FIRST = (1.0, 0.0)


@dataclass(frozen=True)
class MultiUnit(RoundGame):
    """Auction of identical units (Vickrey 1961, doi:10.2307/2977633; Ausubel et al. 2014, doi:10.1093/restud/rdu023).

    A bidder's first unit is worth v, uniform on [0, 1] and drawn anew every round, its unit j + 1 is worth v decay^j. It
    bids for each unit it may want; the highest bids win. A uniform price is the highest bid that loses, for all units;
    a discriminatory auction takes every winning bid; VCG takes from a winner the losing bids that it displaces.

    Under VCG it is dominant to bid values. So it is for unit demand at a uniform price; but when two bidders each want two
    units of two, it is an equilibrium to bid nothing for the second: each gets one, for nothing (demand reduction). At
    decay 1 bidding values is another, which every type likes less. In a discriminatory auction with unit demand a bid is
    the expected value of the bidder displaced, given that it is lower; where all want all units and decay is 1, it is a
    first-price auction of the lot, b = v (n - 1) / n. Other combinations have no known closed form and are refused.
    Welfare is what the units are worth to who has them.

    Parameters
    ----------
    bidders
        Number of bidders, n.
    units
        Units sold, fewer than all bidders together may want.
    demand
        Most units that a bidder may want, at most ``units``.
    decay
        Worth of a unit relative to the one before, above 0 and at most 1.
    pricing
        ``"uniform"`` (demand 1, or bidders, units and demand 2), ``"discriminatory"`` (demand 1, or demand equal to units
        and decay 1) or ``"vcg"``.
    repetitions
        Rounds of an episode, each with new values.
    """

    bidders: int = 2
    units: int = 2
    demand: int = 2
    decay: float = 0.8
    pricing: str = "uniform"
    repetitions: int = 1

    reports = (
        Measure("revenue", "what bidders pay a round", "sum_ti payment_ti / T"),
        Measure("surplus", "what all bidders together gain a round", "sum_ti (worth of units_ti - payment_ti) / T"),
        Measure("spread", "share of bidders who get something", "#(units_ti > 0) / (n T)"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("bidders", self.bidders, 2, 10)
        validate.whole("units", self.units, 1, 9)
        validate.whole("demand", self.demand, 1, min(self.units, 4))
        validate.real("decay", self.decay, 0.01, 1.0)
        validate.one_of("pricing", self.pricing, PRICING)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        if self.units >= self.bidders * self.demand:
            most = self.bidders * self.demand - 1
            raise ValueError(
                f"units: a whole number from {self.demand} to {most} with {self.bidders} bidders for {self.demand} each, "
                f"got {self.units}"
            )
        known = self.demand == 1 or self.pricing == "vcg" or self.reduced
        if not known and not (self.pricing == "discriminatory" and self.demand == self.units and self.decay == 1.0):
            cases = "2 bidders for 2 units" if self.pricing == "uniform" else "demand equal to units, and decay 1"
            raise ValueError(
                f"demand: 1 with pricing {self.pricing!r} or {cases}; got {self.demand}: change it, or set pricing to 'vcg'"
            )

    @property
    def reduced(self) -> bool:
        """Whether bidders hold demand back in equilibrium."""
        return self.pricing == "uniform" and self.bidders == self.units == self.demand == 2

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        wants = "one unit" if self.demand == 1 else f"up to {self.demand} units"
        further = "Further units are worth nothing to it."
        if self.demand > 1:
            each = "as much as the one before" if self.decay == 1.0 else f"{self.decay:g} times the one before"
            further = f"Each further unit up to {self.demand} is worth {each}, and others nothing."
        paid = {
            "uniform": "Every unit costs the same: the highest bid that does not win.",
            "discriminatory": "Every unit costs the bid that won it.",
            "vcg": "A bidder who wins some units pays the sum of as many of the highest losing bids of the others: what they "
            "would have won without it.",
        }[self.pricing]
        return (
            f"{self.units} units of a good are sold to {self.bidders} bidders by sealed bids, once a round. Each wants {wants}. "
            "As a round opens every bidder sees what a first unit is worth to it: a number from 0 to 1, all equally likely and "
            f"independent of the others'. {further}\n"
            f"Each bids a number from 0 to 1 for every unit that it wants; its highest bid counts as its bid for its first unit, "
            f"and so on. The {self.units} highest of all bids win a unit each; a lot decides between equal bids. {paid} A "
            "bidder's reward is what its units are worth to it less what it pays."
        )

    @property
    def nature(self) -> int:  # type: ignore[override]
        """A value each."""
        return self.bidders

    @property
    def luck(self) -> int:  # type: ignore[override]
        """A lot for each bid."""
        return self.bidders * self.demand

    def cast(self) -> tuple[Role, ...]:
        """The bidders."""
        unit, each = Real(0.0, 1.0), tuple(f"unit_{j + 1}" for j in range(self.demand))
        names = tuple(f"bidder_{i}" for i in range(self.bidders))
        sees = (
            Field("values", unit, "what each of your units is worth to you", each=each),
            Field("won", Integer(0, self.demand), "units that each got in the last round", each=names, verifiable=True),
            Field("profit", Real(-float(self.demand), float(self.demand)), "your reward in the last round"),
        )
        bid = Field("bid", unit, "what you bid for each unit", each=each)
        return (Role("bidder", self.bidders, sees, (bid,), "you want units for less than they are worth to you"),)

    # ---- the game in arrays -------------------------------------------------------------------------------------

    @functools.cached_property
    def _scale(self) -> tuple[float, ...]:
        """Worth of each unit relative to the first."""
        return tuple(float(self.decay) ** j for j in range(self.demand))

    @functools.cached_property
    def _places(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Units of a bidder, and all bids, by number."""
        return tuple(range(self.demand)), tuple(range(self.bidders * self.demand))

    @functools.cached_property
    def _others(self) -> tuple[tuple[float, ...], ...]:
        """For each bidder, 1 at the bids of the others."""
        return tuple(tuple(float(b // self.demand != i) for b in self._places[1]) for i in range(self.bidders))

    def open(self, u: Array) -> Record:
        """Draw what first units are worth."""
        return {"first": u}

    def values(self, first: Array) -> Array:
        """Return what each unit is worth (*batch, n, demand), given the first (*batch, n)."""
        return first[..., None] * constant(first, self._scale)

    def recall(self, like: Array) -> Record:
        """Return that nothing has been sold yet."""
        shape = (*like.shape, self.bidders)
        return {"won": full(like, shape, 0, integer=True), "profit": full(like, shape, 0.0)}

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show every bidder its values and its last profit."""
        return {"bidder": {"values": self.values(state.nature["first"]), "profit": state.memory["profit"]}}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Sell to the highest bids."""
        n, d, q = self.bidders, self.demand, self.units
        bids = acts["bidder"]["bid"]
        xp, lead = namespace(bids), tuple(bids.shape[:-2])
        bids = -xp.sort(-bids, axis=-1)
        every = xp.reshape(bids, (*lead, n * d))
        place = constant(u, self._places[1])
        mine, other, lot, others_lot = every[..., :, None], every[..., None, :], u[..., :, None], u[..., None, :]
        luckier = (others_lot > lot) | ((others_lot == lot) & (place[None, :] < place[:, None]))
        held = total(to_int((other > mine) | ((other == mine) & luckier))) < q
        won = total(to_int(xp.reshape(held, (*lead, n, d))))
        mine_won = to_float(won[..., None] > constant(won, self._places[0]))  # bids and values fall from unit to unit
        if self.pricing == "uniform":
            price = xp.max(xp.where(held, every * 0.0, every), axis=-1)
            paid = price[..., None] * to_float(won)
        elif self.pricing == "discriminatory":
            paid = total(bids * mine_won)
        else:
            theirs = every[..., None, :] * constant(u, self._others)
            without = total(-xp.sort(-theirs, axis=-1)[..., :q])
            paid = xp.clip(without - total(theirs * to_float(held)[..., None, :]), 0.0, None)
        worth = total(self.values(nature["first"]) * mine_won)
        profit = worth - paid
        return Settled(
            {"bidder": profit},
            welfare=total(worth),
            sums={
                "revenue": total(paid),
                "surplus": total(profit),
                "spread": total(to_float(won > 0)) / n,
            },
            memory={"won": won, "profit": profit},
        )

    # ---- what theory says ---------------------------------------------------------------------------------------

    def efficient(self, bidders: int) -> float:
        """Return the expected worth of all units to some number of bidders, in the best hands.

        It is the integral over y of E[min(units, number of unit values above y)], by Gauss-Legendre quadrature, which is
        exact as the integrand is a polynomial between the powers of ``decay``.
        """
        scale = np.asarray(self._scale)
        points, weights = np.polynomial.legendre.leggauss(bidders + 2)
        knots, found = np.unique([0.0, *scale]), 0.0
        for low, high in itertools.pairwise(knots.tolist()):
            for point, weight in zip(points.tolist(), weights.tolist(), strict=True):
                y = low + (high - low) * (point + 1.0) / 2.0
                above = np.concatenate([[1.0], np.clip(1.0 - y / scale, 0.0, None), [0.0]])  # P(at least j units)
                law = np.ones(1)
                for _ in range(bidders):
                    law = np.convolve(law, above[:-1] - above[1:])
                found += weight * (high - low) / 2.0 * float(law @ np.minimum(np.arange(len(law)), self.units))
        return found

    def expected(self) -> tuple[float, float]:
        """Return expected revenue and welfare of a round in equilibrium.

        Where the units are in the best hands, all rules earn what VCG does: what the others would have without each.
        """
        if self.reduced:
            return 0.0, 1.0
        best, n = self.efficient(self.bidders), self.bidders
        return n * self.efficient(n - 1) - (n - 1) * best, best

    def bid(self, values: Array) -> Array:
        """Return the equilibrium bids for units worth ``values`` (..., demand)."""
        n, q = self.bidders, self.units
        if self.reduced:
            return values * constant(values, _FIRST)
        if self.pricing != "discriminatory":
            return values * 1.0
        if self.demand > 1:
            return values * ((n - 1) / n)
        # the q-th highest of the n - 1 others has density c y^(n - 1 - q) (1 - y)^(q - 1)
        terms = [(-1) ** i * math.comb(q - 1, i) for i in range(q)]
        above = sum(term * values**i / (n - q + 1 + i) for i, term in enumerate(terms))
        below = sum(term * values**i / (n - q + i) for i, term in enumerate(terms))
        return values * above / below

    def benchmarks(self) -> Benchmarks:
        """Return the best allocation, the equilibrium, and what a lot would reach."""
        n, d, q, times = self.bidders, self.demand, self.units, self.repetitions
        revenue, welfare = self.expected()
        ways = [math.comb(d, j) * math.comb(n * d - d, q - j) if j <= q else 0 for j in range(d + 1)]
        served = [sum(ways[j + 1 :]) / math.comb(n * d, q) for j in range(d)]  # P(more than j units) by lot
        by_lot = n / 2.0 * sum(p * scale for p, scale in zip(served, self._scale, strict=True))

        def bids(seen: Seen) -> Acts:
            return {"bid": self.bid(seen["values"])}

        def tells(seen: Seen) -> Acts:
            return {"bid": seen["values"] * 1.0}

        def same(seen: Seen) -> Acts:
            return {"bid": seen["values"] * 0.0 + 1.0}

        kind = "demand reduction: nothing is bid for the second unit" if self.reduced else "all units in the best hands"
        if self.pricing == "vcg" or (self.pricing == "uniform" and d == 1):
            kind = "dominant strategies: all bid their values"
        return Benchmarks(
            first_best=Level(
                times * self.efficient(n), "the units go to whom they are worth most, by quadrature", {"bidder": tells}
            ),
            equilibrium=Level(times * welfare, f"{kind}; revenue {revenue:.6g} a round", {"bidder": bids}),
            baseline=Level(times * by_lot, "the units are given out by lot to those who want them", {"bidder": same}),
        )
