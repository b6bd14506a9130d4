"""One package over several issues, on which both put private weights."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import validate
from ..core.arrays import Array, look_up, namespace, to_float, to_int
from ..core.chance import whole
from ..core.fields import Choice, Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.linear import dot, inner
from ..core.rounds import Record, RoundGame, RoundState, Settled

SLACK = 1e-9  # differences that are rounding, relative to what is divided


@dataclass(frozen=True)
class Logrolling(RoundGame):
    """One package offer over several issues, whose weights are private (Raiffa 1982, The Art and Science of Negotiation).

    Two parties divide m issues. Each has one of K profiles of weights, all equally likely and independent, which it
    alone knows. The proposer offers a package, x_i of issue i to the responder, 0 <= x_i <= 1. If it is accepted they get
    w (1 - x) and v x, w and v being their weights, otherwise their outside payoffs. Where weights differ, joint payoff is
    highest if each issue goes to whom it matters more: the gain over splitting every issue evenly is the gain from
    logrolling (Froman and Cohen 1970). A responder accepts what is worth its outside payoff. The proposer's best
    package is found exactly: for every set of profiles that are to accept, a linear programme.
    Welfare is the sum of payoffs above the outside payoffs.

    Parameters
    ----------
    profiles
        Weights of the issues, a row for each profile (1 to 6), in coins for the whole of an issue (1 to 5 issues).
    outside
        What proposer and responder get without a deal, in coins.
    repetitions
        Rounds of an episode, each with new profiles; nothing carries over but what is remembered.
    """

    profiles: tuple[tuple[float, ...], ...] = ((6.0, 3.0, 1.0), (1.0, 3.0, 6.0), (3.0, 4.0, 3.0))
    outside: tuple[float, float] = (2.0, 4.0)
    repetitions: int = 1

    nature = 2
    stages = (
        Stage("offer", "the proposer offers a package"),
        Stage("answer", "the responder accepts the package or refuses it"),
    )
    reports = (
        Measure("deal", "share of offers accepted", "#accepted / T"),
        Measure("proposer_payoff", "the proposer's payoff a round", "w (1 - x), or its outside payoff", "coins"),
        Measure("responder_payoff", "the responder's payoff a round", "v x, or its outside payoff", "coins"),
        Measure(
            "joint",
            "joint payoff of deals, as a share of the highest",
            "sum (w (1 - x) + v x) / sum_i max(w_i, v_i), over deals",
        ),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        given: Any = self.profiles
        fine = isinstance(given, list | tuple) and given and isinstance(given[0], list | tuple)
        columns = len(given[0]) if fine else 1
        if not 1 <= columns <= 5:
            raise ValueError(f"profiles: rows of 1 to 5 weights, got {columns}")
        rows = validate.matrix("profiles", given, columns=columns, most=6)
        for i, row in enumerate(rows):
            for weight in row:
                validate.real(f"profiles[{i}]", weight, 0.0, 1e6)
            if sum(row) < 1e-6:
                raise ValueError(f"profiles[{i}]: at least one weight above 0, got {row}")
        object.__setattr__(self, "profiles", rows)
        outside: Any = self.outside
        if not isinstance(outside, list | tuple) or len(outside) != 2:
            raise ValueError(f"outside: 2 numbers, the proposer's and the responder's, got {outside!r}")
        object.__setattr__(self, "outside", tuple(validate.real("outside", o, 0.0, 1e6) for o in outside))
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)

    @property
    def issues(self) -> tuple[str, ...]:
        """Names of the issues."""
        return tuple(f"issue_{i + 1}" for i in range(len(self.profiles[0])))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the profiles."""
        return tuple(f"profile_{i + 1}" for i in range(len(self.profiles)))

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        rows = "; ".join(
            f"{name}: " + ", ".join(f"{issue} {w:g}" for issue, w in zip(self.issues, row, strict=True))
            for name, row in zip(self.names, self.profiles, strict=True)
        )
        return (
            f"A proposer and a responder divide {len(self.issues)} issue{'s' if len(self.issues) > 1 else ''}. What the whole of "
            f"an issue is worth to a party, in coins, depends on its profile. {rows}. Every round each party's profile is drawn "
            "anew, all profiles being equally likely for each, and only the party itself sees it.\n"
            "First the proposer offers a package: of each issue a share from 0 to 1 for the responder; it keeps the rest. Then the "
            "responder accepts or refuses. If it accepts, each gets the sum, over the issues, of its share times what the issue is "
            f"worth to it. If it refuses, the proposer gets {self.outside[0]:g} and the responder {self.outside[1]:g}. Your reward "
            "is the coins that you get."
        )

    def cast(self) -> tuple[Role, ...]:
        """The proposer and the responder."""
        share, mine = Real(0.0, 1.0), Choice(self.names)
        seen = (
            Field(
                "offer",
                share,
                "the responder's share of each issue, as last offered",
                each=self.issues,
                verifiable=True,
            ),
            Field("answer", Choice(("refused", "accepted", "none")), "the last answer", verifiable=True),
            Field("profile", mine, "your profile, which only you see"),
        )
        offer = Field("offer", share, "the responder's share of each issue", each=self.issues, stage="offer")
        accept = Field("accept", Choice(("refuse", "accept")), "whether you accept the package", stage="answer")
        return (
            Role("proposer", 1, seen, (offer,), "you want much of what matters to you"),
            Role("responder", 1, seen, (accept,), "you want much of what matters to you"),
        )

    def open(self, u: Array) -> Record:
        """Draw both profiles."""
        last = len(self.profiles) - 1
        return {"proposer": whole(u[..., 0], 0, last), "responder": whole(u[..., 1], 0, last)}

    def recall(self, like: Array) -> Record:
        """Return that nothing has been answered yet."""
        return {"answer": like + 2}

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show each its profile."""
        return {name: {"profile": state.nature[name][..., None]} for name in ("proposer", "responder")}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Divide the issues, or do not."""
        offer, deal = acts["proposer"]["offer"], acts["responder"]["accept"] == 1
        xp = namespace(offer)
        ours, theirs = (look_up(offer, self.profiles, nature[name]) for name in ("proposer", "responder"))
        mine = xp.where(deal, inner(ours, 1.0 - offer), self.outside[0])
        yours = xp.where(deal, inner(theirs, offer), self.outside[1])
        most = dot((1.0,) * len(self.issues), xp.maximum(ours, theirs))
        return Settled(
            {"proposer": mine, "responder": yours},
            welfare=mine + yours - sum(self.outside),
            sums={
                "deal": to_float(deal),
                "proposer_payoff": mine,
                "responder_payoff": yours,
                "joint": to_float(deal) * (mine + yours) / most,
            },
            memory={"answer": to_int(deal)},
        )

    def measures(self, state: RoundState) -> Record:
        """Return deals and payoffs a round, and the joint payoff of deals."""
        deals = state.sums["deal"]
        return {**super().measures(state), "joint": state.sums["joint"] / (deals + (deals == 0))}

    def accepts(self, profile: Array, offer: Array) -> Array:
        """Say whether a package (*batch, issues) is worth a responder's outside payoff."""
        worth = inner(look_up(offer, self.profiles, profile), offer)
        return worth >= self.outside[1] - SLACK * max(self.outside[1], 1.0)

    @functools.cached_property
    def packages(self) -> tuple[tuple[float, ...], ...]:
        """The best package of each profile of the proposer, found for each set of responders, and compared with a grid."""
        from scipy.optimize import linprog

        rows, (count, issues) = np.asarray(self.profiles), np.asarray(self.profiles).shape
        steps = {1: 101, 2: 21, 3: 11, 4: 7, 5: 5}[issues]
        grid = np.stack(np.meshgrid(*[np.linspace(0.0, 1.0, steps)] * issues), axis=-1).reshape(-1, issues)
        sets = [list(some) for k in range(1, count + 1) for some in itertools.combinations(range(count), k)]
        found = []
        for own in rows:
            options = [np.zeros(issues)]
            for some in sets:
                least = [-self.outside[1]] * len(some)
                best = linprog(own, A_ub=-rows[some], b_ub=least, bounds=(0.0, 1.0), method="highs-ds")
                if best.status == 0:
                    options.append(np.clip(best.x, 0.0, 1.0) + 0.0)
            values, shares = self._value(own, np.stack(options))
            top = float(values.max())
            if (gain := float(self._value(own, grid)[0].max()) - top) > 1e-7 * max(top, 1.0):
                raise RuntimeError(f"packages: the best found gives {top:g}, but another gives {gain:g} more")
            tie = [k for k, value in enumerate(values) if value >= top - SLACK * max(top, 1.0)]
            found.append(tuple(options[max(tie, key=lambda k: float(shares[k]))].tolist()))
        return tuple(found)

    def _value(self, own: Any, offers: Any) -> tuple[Any, Any]:
        """Return a proposer's expected payoff and the chance of acceptance of packages (n, issues)."""
        share = np.mean([self.accepts(np.full(len(offers), j), offers) for j in range(len(self.profiles))], axis=0)
        return share * ((1.0 - offers) @ own) + (1.0 - share) * self.outside[0], share

    def _mean(self, worth: Callable[[Any, Any, int], float]) -> float:
        """Return the mean over both profiles of what a pair of weights comes to, given the proposer's profile."""
        pairs = itertools.product(range(len(self.profiles)), self.profiles)
        return (
            math.fsum(worth(np.asarray(self.profiles[i]), np.asarray(v), i) for i, v in pairs) / len(self.profiles) ** 2
        )

    def benchmarks(self) -> Benchmarks:
        """Return the integrative agreement, the best package, an even split of every issue, and no deal."""
        none = sum(self.outside)

        def dealt(w: Any, v: Any, i: int) -> float:
            x = np.asarray(self.packages[i])
            taken = v @ x >= self.outside[1] - SLACK * max(self.outside[1], 1.0)
            return float(w @ (1.0 - x) + v @ x) - none if taken else 0.0

        def offers(seen: Seen) -> Acts:
            return {"offer": look_up(seen["offer"], self.packages, seen["profile"])}

        def answers(seen: Seen) -> Acts:
            return {"accept": to_int(self.accepts(seen["profile"], seen["offer"]))}

        def gives(share: float, answer: int) -> Mapping[str, Callable[[Seen], Acts]]:
            return {
                "proposer": lambda seen: {"offer": seen["offer"] * 0.0 + share},
                "responder": lambda seen: {"accept": seen["profile"] * 0 + answer},
            }

        best = self._mean(lambda w, v, i: max(float(np.maximum(w, v).sum()) - none, 0.0))
        even = self._mean(lambda w, v, i: float((w + v).sum()) / 2.0 - none)
        return Benchmarks(
            first_best=Level(
                self.repetitions * best, "integrative: each issue goes to whom it matters more, if it pays to deal"
            ),
            equilibrium=Level(
                self.repetitions * self._mean(dealt),
                "perfect Bayesian: the proposer's best package, by linear programmes; the responder takes what is worth it",
                {"proposer": offers, "responder": answers},
            ),
            baseline=Level(0.0, "no deal", gives(0.0, 0)),
            others={"even": Level(self.repetitions * even, "every issue is split evenly", gives(0.5, 1))},
        )
