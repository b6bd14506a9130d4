"""Signalling: education that teaches nothing, and tells employers who is able."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..core import validate
from ..core.arrays import Array, constant, full, look_up, namespace, to_float, to_int, total
from ..core.chance import categorical
from ..core.fields import Choice, Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, RoundState, Settled

SLACK = 1e-9  # of an education: that much less is still read as it


@dataclass(frozen=True)
class Signalling(RoundGame):
    """Job-market signalling (Spence 1973, doi:10.2307/1882010).

    A worker produces its ability theta, which it alone knows. It chooses an education e >= 0, which costs it e / theta and
    changes nothing that it produces. Employers see e and bid wages; the worker takes the highest, w. It gets w - e / theta,
    its employer theta - w. Employers bid the expected ability, given e. In the least-cost separating equilibrium (Riley
    1979, doi:10.2307/1910415; the one that the intuitive criterion leaves with two abilities: Cho and Kreps 1987,
    doi:10.2307/1885060) the lowest ability has no education, and each next one just as much as the one below would not
    imitate: e_{i+1} = e_i + theta_i (theta_{i+1} - theta_i). With abilities 1 and 2 that is 1. An education is read as the
    highest ability that has at most so much. All are hired anyway, so that welfare, theta - e / theta, is lost by what is
    learnt only. That nobody learns and all earn the mean is an equilibrium too, if education is read as nothing
    (``pooling``): it is the first best.

    Parameters
    ----------
    types
        Abilities in increasing order, in coins that are produced a round.
    chances
        Probability of each; empty: all equally likely.
    employers
        Number of employers.
    repetitions
        Rounds of an episode, each with a new worker; nothing carries over but what is remembered.
    """

    types: tuple[float, ...] = (1.0, 2.0)
    chances: tuple[float, ...] = ()
    employers: int = 2
    repetitions: int = 1

    nature = 1
    stages = (
        Stage("learn", "the worker, who knows its ability, chooses an education"),
        Stage("bid", "all employers, who see the education, bid wages"),
    )
    reports = (
        Measure("education", "mean education", "sum_t e_t / T"),
        Measure("waste", "mean cost of education", "sum_t e_t / theta_t / T", "coins", better="lower"),
        Measure("wage", "mean wage", "sum_t w_t / T", "coins"),
        Measure("worker_gain", "the worker's reward a round", "sum_t (w_t - e_t / theta_t) / T", "coins"),
        Measure("employer_gain", "what all employers together gain a round", "sum_t (theta_t - w_t) / T", "coins"),
        Measure("error", "mean distance of the wage from the ability", "sum_t |w_t - theta_t| / T", better="lower"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        for name in ("types", "chances"):
            given: Any = getattr(self, name)
            if not isinstance(given, list | tuple):
                raise ValueError(f"{name}: a list of numbers, got {given!r}")
            object.__setattr__(self, name, tuple(given))
        if not 2 <= len(self.types) <= 8:
            raise ValueError(f"types: 2 to 8 abilities, got {len(self.types)}")
        for kind in self.types:
            validate.real("types", kind, 1e-3, 1e3)
        object.__setattr__(self, "types", tuple(float(kind) for kind in self.types))
        if any(high - low < 1e-6 for low, high in zip(self.types, self.types[1:], strict=False)):
            raise ValueError(f"types: abilities in increasing order, at least 1e-06 apart, got {self.types}; sort them")
        if self.chances:
            for p in self.chances:
                validate.probability("chances", p)
            if len(self.chances) != len(self.types) or abs(math.fsum(self.chances) - 1.0) > 1e-9:
                raise ValueError(
                    f"chances: {len(self.types)} probabilities that sum to 1, one for each of types, got {self.chances}"
                )
        validate.whole("employers", self.employers, 2, 10)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @functools.cached_property
    def odds(self) -> tuple[float, ...]:
        """Probability of each ability."""
        return self.chances or (1.0 / len(self.types),) * len(self.types)

    @property
    def names(self) -> tuple[str, ...]:
        """The abilities in words."""
        return tuple(f"{kind:.10g}" for kind in self.types)

    @property
    def max_education(self) -> float:
        """Most education that can be worth its cost: all that the highest ability could gain by it."""
        return float(self.types[-1] * (self.types[-1] - self.types[0]))

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        lottery = ", ".join(f"{kind} with probability {p:.4g}" for kind, p in zip(self.names, self.odds, strict=True))
        return (
            f"A worker is hired by one of {self.employers} employers, once a round. Every round there is a new worker; its ability "
            f"is {lottery}. Only the worker sees it.\n"
            f"First the worker chooses an education from 0 to {self.max_education:g}, which all see. It costs the worker the "
            "education divided by its ability, in coins, and does not change what it produces. Then all employers bid wages at "
            f"once, from 0 to {self.types[-1]:g} coins. The worker is hired at the highest wage; a lot decides between equal "
            "ones. The worker's reward is the wage less the cost of its education. Its employer's reward is the worker's ability, "
            "in coins, less the wage; the others get 0."
        )

    @property
    def luck(self) -> int:  # type: ignore[override]
        """A lot for each employer."""
        return self.employers

    def cast(self) -> tuple[Role, ...]:
        """The worker, who sees its ability, and the employers."""
        top = float(self.types[-1])
        wage, level = Real(0.0, top), Real(0.0, self.max_education)
        ability = Choice(self.names)
        private = Field("ability", ability, "your ability, which only you see")
        last = Field("wage", wage, "the last wage that was paid; 0 before the first", "coins", verifiable=True)
        shown = Field(
            "education", level, "the education of the worker, the last one's while it learns", verifiable=True
        )
        profit = Field("profit", Real(-top, top), "your reward in the last round", "coins")
        learn = Field("education", level, "the education that you choose", stage="learn")
        bid = Field("bid", wage, "the wage that you offer", "coins", stage="bid")
        return (
            Role("worker", 1, (last, private), (learn,), "you want a high wage at a low cost of education"),
            Role("employer", self.employers, (shown, last, profit), (bid,), "you want an able worker at a low wage"),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def open(self, u: Array) -> Record:
        """Draw the ability."""
        p = constant(u, self.odds)
        return {"ability": categorical(u[..., 0], p + u[..., :1] * 0.0)}

    def recall(self, like: Array) -> Record:
        """Return that nobody has been hired yet."""
        return {"wage": to_float(like), "profit": full(like, (*like.shape, self.employers), 0.0)}

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show every employer its last profit."""
        return {"employer": {"profit": state.memory["profit"]}}

    @functools.cached_property
    def _seats(self) -> tuple[int, ...]:
        return tuple(range(self.employers))

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Hire the worker at the highest wage."""
        education, bids = acts["worker"]["education"], acts["employer"]["bid"]
        xp, theta = namespace(bids), look_up(bids, self.types, nature["ability"])
        wage, cost = xp.max(bids, axis=-1), education / theta
        winner = to_int(xp.argmax(xp.where(bids == wage[..., None], u, -1.0), axis=-1))
        profit = (theta - wage)[..., None] * to_float(winner[..., None] == constant(winner, self._seats))
        return Settled(
            {"worker": wage - cost, "employer": profit},
            welfare=theta - cost,
            sums={
                "education": education,
                "waste": cost,
                "wage": wage,
                "worker_gain": wage - cost,
                "employer_gain": total(profit),
                "error": xp.abs(wage - theta),
            },
            memory={"wage": wage, "profit": profit},
        )

    # ---- what theory says ---------------------------------------------------------------------------------------

    @functools.cached_property
    def educations(self) -> tuple[float, ...]:
        """Education of each ability in the least-cost separating equilibrium, checked for the regret of every ability."""
        found = [0.0]
        for low, high in zip(self.types, self.types[1:], strict=False):
            found.append(found[-1] + float(low * (high - low)))
        for own, kind in enumerate(self.types):
            gains = [other - e / kind for other, e in zip(self.types, found, strict=True)]
            if max(gains) > gains[own] + 1e-9 * self.types[-1]:
                raise RuntimeError(
                    f"educations: ability {kind:g} gains {max(gains) - gains[own]:g} by imitating another"
                )
        return tuple(found)

    @functools.cached_property
    def _cuts(self) -> tuple[float, ...]:
        return tuple(e * (1.0 - SLACK) for e in self.educations[1:])

    def read(self, education: Array) -> Array:
        """Return the wage (*batch) that an education is worth: the highest ability that has at most so much."""
        reached = to_int(education[..., None] >= constant(education, self._cuts))
        return look_up(education, self.types, namespace(education).sum(reached, axis=-1))

    def benchmarks(self) -> Benchmarks:
        """Return production without education, and the separating and the pooling equilibrium."""
        mean = math.fsum(p * kind for p, kind in zip(self.odds, self.types, strict=True))
        waste = math.fsum(p * e / kind for p, e, kind in zip(self.odds, self.educations, self.types, strict=True))

        def plays(learns: Callable[[Seen], Any], bids: Callable[[Seen], Any]) -> dict[str, Callable[[Seen], Acts]]:
            return {"worker": lambda seen: {"education": learns(seen)}, "employer": lambda seen: {"bid": bids(seen)}}

        separate = plays(
            lambda seen: look_up(seen["wage"], self.educations, seen["ability"]),
            lambda seen: self.read(seen["education"]),
        )
        pool = plays(lambda seen: seen["wage"] * 0.0, lambda seen: seen["wage"] * 0.0 + mean)
        return Benchmarks(
            first_best=Level(self.repetitions * mean, "all work and nobody learns", pool),
            equilibrium=Level(
                self.repetitions * (mean - waste),
                "perfect Bayesian, least-cost separating: the lowest ability has no education (Riley 1979)",
                separate,
            ),
            others={
                "pooling": Level(
                    self.repetitions * mean,
                    "perfect Bayesian: nobody learns, employers read nothing into education and bid the mean (Spence 1973)",
                    pool,
                )
            },
        )
