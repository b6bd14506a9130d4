"""Claims on a pie that must fit together."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

from ..core import validate
from ..core.arrays import Array, constant, full, look_up, namespace, to_float, to_int, total
from ..core.fields import Choice, Field, Integer, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, RoundState, Settled

SLACK = 1e-9  # differences that are rounding, relative to what is divided


def _coins(number: float) -> str:
    """Return a number of coins in words."""
    return f"{number:g} coin{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class NashDemand(RoundGame):
    """The demand game (Nash 1953, doi:10.2307/1906951).

    Each of n claimants demands whole units of a pie, all at once. If the demands fit, each gets what it demanded, and what
    nobody demanded is lost; otherwise each gets its outside payoff. Every division of the whole pie that gives each at
    least its outside payoff is an equilibrium, and so is that all demand too much: how to choose one is what a
    convention, or talk, is for. The Nash bargaining solution (Nash 1950, doi:10.2307/1907266), which uncertainty about
    the pie selects, gives each its outside payoff and an equal part of the rest. Welfare is the sum of payoffs above the
    outside payoffs.

    Parameters
    ----------
    claimants
        Number of claimants, n.
    units
        Units of the pie.
    pie
        What it is worth, in coins.
    outside
        Payoff of each if the demands do not fit, in coins; together at most the pie. Empty: 0 for all.
    repetitions
        Rounds of an episode; nothing carries over but what is remembered.
    """

    claimants: int = 2
    units: int = 10
    pie: float = 10.0
    outside: tuple[float, ...] = ()
    repetitions: int = 1

    stages = (Stage("demand", "all claimants demand units at once"),)
    reports = (
        Measure("fits", "share of rounds in which the demands fit", "#fits / T"),
        Measure("demanded", "mean sum of demands, as a share of the pie", "sum_ti x_ti / (units T)"),
        Measure(
            "lost",
            "share of the pie that nobody demanded, where demands fit",
            "sum_t (units - sum_i x_ti) / (units T)",
            better="lower",
        ),
        Measure(
            "spread",
            "highest less lowest demand, as a share of the pie",
            "sum_t (max_i x_ti - min_i x_ti) / (units T)",
            better="lower",
        ),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("claimants", self.claimants, 2, 10)
        validate.whole("units", self.units, self.claimants, 1_000_000)
        validate.real("pie", self.pie, 1e-6, 1e6)
        given: Any = self.outside
        if not isinstance(given, list | tuple) or len(given) not in (0, self.claimants):
            raise ValueError(f"outside: {self.claimants} numbers, one for each claimant, or none, got {given!r}")
        object.__setattr__(self, "outside", tuple(validate.real("outside", o, 0.0, self.pie) for o in given))
        if sum(self.least) > self.units:
            raise ValueError(
                f"outside: payoffs that the pie of {self.pie:g} can match in whole units of {self.coin:g}, got {self.outside}"
            )
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)

    @property
    def coin(self) -> float:
        """What a unit is worth, in coins."""
        return self.pie / self.units

    @functools.cached_property
    def _outside(self) -> tuple[float, ...]:
        return self.outside or (0.0,) * self.claimants

    @property
    def least(self) -> tuple[int, ...]:
        """Fewest units that are worth each claimant's outside payoff."""
        return tuple(max(math.ceil(o / self.coin - SLACK * self.units), 0) for o in self._outside)

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        outside = ", ".join(f"claimant_{i} {o:g}" for i, o in enumerate(self._outside))
        none = "everybody gets nothing" if not any(self._outside) else f"each gets its outside payoff ({outside} coins)"
        return (
            f"In every round {self.claimants} claimants divide a pie of {self.units} units, each worth {_coins(self.coin)}. All "
            f"demand a whole number of units at once, from 0 to {self.units}. If the demands sum to at most {self.units}, each "
            f"gets what it demanded, and what nobody demanded is lost. If they sum to more, {none}. Your reward is the coins "
            "that you get."
        )

    def cast(self) -> tuple[Role, ...]:
        """The claimants."""
        units, names = Integer(0, self.units), tuple(f"claimant_{i}" for i in range(self.claimants))
        seen = (
            Field("place", Choice(names), "which claimant you are"),
            Field(
                "demands", units, "what each demanded last; 0 before the first", "units", each=names, verifiable=True
            ),
            Field("own", units, "what you demanded last; 0 before the first", "units", verifiable=True),
        )
        demand = Field("demand", units, "what you demand", "units", stage="demand")
        return (Role("claimant", self.claimants, seen, (demand,), "you want many coins"),)

    @functools.cached_property
    def _seats(self) -> tuple[int, ...]:
        return tuple(range(self.claimants))

    def recall(self, like: Array) -> Record:
        """Return that nothing has been demanded yet."""
        return {"demands": full(like, (*like.shape, self.claimants), 0, integer=True)}

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show each its place and its own demand."""
        demands = state.memory["demands"]
        return {"claimant": {"own": demands, "place": demands * 0 + constant(demands, self._seats)}}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Give what was demanded, if it fits."""
        demands = acts["claimant"]["demand"]
        xp, wanted = namespace(demands), total(demands)
        fits = wanted <= self.units
        outside = constant(to_float(demands), self._outside)
        paid = xp.where(fits[..., None], to_float(demands) * self.coin, outside)
        return Settled(
            {"claimant": paid},
            welfare=xp.where(fits, to_float(wanted) * self.coin - sum(self._outside), 0.0),
            sums={
                "fits": to_float(fits),
                "demanded": to_float(wanted) / self.units,
                "lost": to_float((self.units - wanted) * to_int(fits)) / self.units,
                "spread": to_float(xp.max(demands, axis=-1) - xp.min(demands, axis=-1)) / self.units,
            },
            memory={"demands": demands},
        )

    def is_equilibrium(self, demands: tuple[int, ...]) -> bool:
        """Say whether nobody gains by demanding something else."""
        if sum(demands) <= self.units:
            return sum(demands) == self.units and all(x >= k for x, k in zip(demands, self.least, strict=True))
        left = [self.units - sum(demands) + own for own in demands]  # what the others leave each
        return all(k * self.coin <= o + SLACK * self.pie for k, o in zip(left, self._outside, strict=True))

    @functools.cached_property
    def solution(self) -> tuple[int, ...]:
        """The Nash bargaining solution in whole units: an equal part of the surplus each; what is left over goes to the first."""
        surplus = (self.pie - sum(self._outside)) / self.claimants
        found = [
            max(math.floor((o + surplus) / self.coin + SLACK), k)
            for o, k in zip(self._outside, self.least, strict=True)
        ]
        while sum(found) > self.units:  # rounded up to the outside payoff: who has most above it yields
            found[max(self._seats, key=lambda i: found[i] - self.least[i])] -= 1
        for i in range(self.units - sum(found)):
            found[i % self.claimants] += 1
        return tuple(found)

    def benchmarks(self) -> Benchmarks:
        """Return a division of the whole pie, which is an equilibrium, and demands that do not fit."""
        surplus = self.repetitions * (self.pie - sum(self._outside))

        def divides(seen: Seen) -> Acts:
            return {"demand": look_up(seen["own"], self.solution, seen["place"])}

        def grabs(seen: Seen) -> Acts:
            return {"demand": seen["own"] * 0 + self.units}

        how = f"the Nash bargaining solution in whole units, {self.solution}"
        return Benchmarks(
            first_best=Level(surplus, "the whole pie is divided", {"claimant": divides}),
            equilibrium=Level(surplus, f"{how}, one of the equilibria (Nash 1953)", {"claimant": divides}),
            baseline=Level(0.0, "each demands the whole pie, an equilibrium too", {"claimant": grabs}),
        )
