"""Moral hazard in teams: who shares in what all produce works too little, unless the rule of sharing mends it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import validate
from ..core.arrays import Array, namespace, to_float, total
from ..core.chance import normal
from ..core.fields import Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen
from ..core.rounds import Record, RoundGame, RoundState, Settled

DUST = 1e-9  # share of the target by which output may miss it: the rounding of sums
TAMING = 6.175451815122422  # min over z > 0 of z^2 / (2 (z phi(0) - Phi(z) + 1/2)), phi and Phi the standard normal's


@dataclass(frozen=True)
class Team(RoundGame):
    """Moral hazard in teams (Holmstrom 1982, doi:10.2307/3003457) and tournaments (Lazear and Rosen 1981, doi:10.1086/261010).

    Each of n members chooses an effort a_i that no other sees, at a cost of c a_i^2 / 2. Only output y = sum_i a_i is
    seen by all. The first best is a_i = 1/c, of welfare n / (2c). What output is worth goes to the members by a rule:

    ``"equal"``: each gets y / n, so that each works 1 / (nc): (2n - 1) / n^2 of the first best is reached.

    ``"forfeit"``: each gets y / n if y reaches a target, nothing otherwise, the output then being burnt. At a target of
    n / c, a_i = 1/c is an equilibrium, and the budget is broken only off its path: who shirks burns everything. That
    nobody works is another. At another target T the best equilibrium is 1 / (nc) up to T = 1/c, where the target does
    not bind; T / n up to T = 2n / c; and no work beyond.

    ``"tournament"``: a measurement x_i = a_i + sd z_i of each, z_i independent standard normal, ranks them; each gets
    y / n + (gap / 2) (those it beats - those that beat it) / (n - 1), which sums to y. If the others choose a, who
    chooses a_i beats each of them with probability Phi((a_i - a) / s), s = sd sqrt(2), so that its expected pay is
    y / n + gap (Phi((a_i - a) / s) - 1/2), for every n. In the symmetric equilibrium
    c a = 1/n + gap / (2 sd sqrt(pi)), and gap = 2 (1 - 1/n) sd sqrt(pi) restores a = 1/c. Working t less than the
    others loses c t^2 / 2 - gap (t phi(0) / s - Phi(t / s) + 1/2). This is nowhere negative exactly if
    gap <= 2 c sd^2 ``TAMING``; a larger gap, with which some would rather lose, is refused.

    Welfare is output less the cost of efforts, and less what is burnt.

    Parameters
    ----------
    members
        Members of the team, n.
    rule
        How output is shared: ``"equal"``, ``"forfeit"`` or ``"tournament"``.
    cost
        Slope of the marginal cost of effort, c, in coins.
    max_effort
        Most that can be chosen; the efficient effort 1/c must be possible.
    target
        Output from which it is not forfeited, in coins; None for that of the first best, n / c.
    sd
        Standard deviation of the noise of a measurement in a tournament.
    gap
        What the first of a tournament gets more than the last, in coins; None for the gap that restores the first best.
    repetitions
        Rounds of an episode; nothing carries over but what is remembered.
    """

    members: int = 4
    rule: str = "equal"
    cost: float = 1.0
    max_effort: float = 2.0
    target: float | None = None
    sd: float = 0.5
    gap: float | None = None
    repetitions: int = 1

    reports = (
        Measure("output", "mean output, before any is burnt", "sum_t y_t / T", "coins"),
        Measure("effort", "mean effort of a member", "sum_it a_it / (n T)"),
        Measure("shortfall", "share of the efficient effort that is not made", "1 - c effort", better="lower"),
        Measure("burnt", "mean output that is burnt", "sum_t y_t [y_t is forfeited] / T", "coins", better="lower"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range, and tournaments in which some would rather lose."""
        validate.whole("members", self.members, 2, 50)
        validate.one_of("rule", self.rule, ("equal", "forfeit", "tournament"))
        validate.real("cost", self.cost, 1e-3, 1e3)
        validate.real("max_effort", self.max_effort, 1.0 / self.cost, 1e6)
        validate.real("sd", self.sd, 1e-6, 1e6)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        if self.target is not None:
            validate.real("target", self.target, 0.0, self.members * self.max_effort)
        if self.gap is not None:
            validate.real("gap", self.gap, 0.0, 1e6)
        if self.rule == "tournament" and self.spread > self._widest:
            if self.gap is None:
                least = self.spread / self.sd / (2 * self.cost * TAMING)
                raise ValueError(
                    f"sd: a number from {least:.6g} to 1e+06 at the gap that restores the first best, got {self.sd!r}; with "
                    "less noise a member would rather lose than work as the others: give more noise, or a smaller gap"
                )
            raise ValueError(
                f"gap: a number from 0 to {self._widest:.6g} at sd={self.sd:g}, got {self.gap!r}; beyond, a member would rather "
                "lose than work as the others, or the effort exceeds max_effort: give a smaller gap, or more noise"
            )

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def luck(self) -> int:  # type: ignore[override]
        """Two uniform numbers for the noise of each measurement."""
        return 2 * self.members if self.rule == "tournament" else 0

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        n, shares = self.members, f"an equal share of the output, 1/{self.members} of it,"
        rules = {
            "equal": f"Each gets {shares} however much it worked.",
            "forfeit": f"If the output is at least {self.threshold:.10g}, each gets {shares} however much it worked. If it is "
            "less, all of it is burnt and nobody gets anything.",
            "tournament": f"Each effort is measured with an error, drawn from a normal distribution with mean 0 and standard "
            f"deviation {self.sd:g}, and the members are ranked by what is measured. Each gets {shares} and besides "
            f"{self.spread / 2:.6g} times the number of members that it beats less the number that beat it, divided by {n - 1}: "
            f"the first gets {self.spread / 2:.6g} coins more than an equal share and the last as much less, which can leave "
            "it with less than nothing.",
        }
        return (
            f"A team has {n} members. All at once, each chooses an effort from 0 to {self.max_effort:g}, which no other member "
            "ever sees. The team's output, in coins, is the sum of the efforts; all see it afterwards.\n"
            f"{rules[self.rule]}\n"
            f"Your reward is what you get less the cost of your effort, which is {self.cost / 2:g} times its square (effort 1 "
            f"costs {self.cost / 2:g}, effort 0.5 costs {self.cost / 8:g})."
        )

    def cast(self) -> tuple[Role, ...]:
        """The members."""
        effort = Real(0.0, self.max_effort)
        seen: tuple[Field, ...] = (
            Field("output", Real(0.0, self._most), "the last output (0 before the first)", "coins", verifiable=True),
            Field("effort", effort, "your own last effort (0 before the first)"),
            Field("pay", Real(), "what you got of the last output (0 before the first)", "coins", verifiable=True),
        )
        if self.rule == "tournament":
            names = tuple(f"member_{i}" for i in range(self.members))
            means = "the last efforts as measured, with errors (0 before the first)"
            seen += (Field("measured", Real(), means, each=names, verifiable=True),)
        acts = (Field("effort", effort, "how much you work; no other member sees it"),)
        return (Role("member", self.members, seen, acts, "you share in what the team produces"),)

    # ---- the game in arrays -------------------------------------------------------------------------------------

    @property
    def _most(self) -> float:
        return self.members * self.max_effort

    def recall(self, like: Array) -> Record:
        """Return that nothing has happened yet."""
        none = to_float(like)
        each = namespace(none).repeat(none[..., None], self.members, axis=-1)
        return {"output": none, "pay": each} | ({"measured": each} if self.rule == "tournament" else {})

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show members their own effort and pay."""
        return {"member": {"effort": state.acts["member"]["effort"], "pay": state.memory["pay"]}}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Share the output by the rule."""
        effort, n = acts["member"]["effort"], self.members
        xp = namespace(effort)
        output = xp.clip(total(effort), None, self._most)  # the sum may round to above it
        kept = output * self._reached(output)
        pay = xp.repeat((kept / n)[..., None], n, axis=-1)
        memory = {"output": output, "pay": pay}
        if self.rule == "tournament":
            measured = effort + self.sd * normal(u[..., :n], u[..., n:])
            ahead = total(xp.sign(measured[..., :, None] - measured[..., None, :]))
            pay = pay + (self.spread / 2 / (n - 1)) * ahead
            memory = {"output": output, "pay": pay, "measured": measured}
        costs = (self.cost / 2) * effort**2
        mean = total(effort) / n
        return Settled(
            {"member": pay - costs},
            welfare=kept - total(costs),
            sums={"output": output, "effort": mean, "shortfall": 1.0 - self.cost * mean, "burnt": output - kept},
            memory=memory,
        )

    def _reached(self, output: Array) -> Array:
        """Return 1 where output is kept and 0 where it is burnt."""
        return to_float(output >= (self.threshold * (1.0 - DUST) if self.rule == "forfeit" else 0.0))

    # ---- what theory says ---------------------------------------------------------------------------------------

    @property
    def threshold(self) -> float:
        """Output from which it is not forfeited, in coins."""
        return self.members / self.cost if self.target is None else self.target

    @property
    def spread(self) -> float:
        """What the first of a tournament gets more than the last, in coins."""
        restores = 2 * (1 - 1 / self.members) * self.sd * math.sqrt(math.pi)
        return restores if self.gap is None else self.gap

    @property
    def _widest(self) -> float:
        """Largest gap of a tournament with a symmetric equilibrium within the possible efforts."""
        room = (self.cost * self.max_effort - 1 / self.members) * 2 * self.sd * math.sqrt(math.pi)
        within = (
            math.inf if self.gap is None else room
        )  # the gap that restores the first best leads to 1/c, which is possible
        return min(within, 2 * self.cost * self.sd**2 * TAMING)

    @property
    def equal_shares(self) -> float:
        """Effort under equal shares: c a = 1/n."""
        return 1 / (self.members * self.cost)

    @functools.cached_property
    def equilibrium(self) -> float:
        """Effort in the best symmetric equilibrium under the rule, checked for regret."""
        n, c = self.members, self.cost
        effort = self.equal_shares
        if self.rule == "tournament":
            effort = 1 / c if self.gap is None else effort + self.spread / (2 * self.sd * math.sqrt(math.pi)) / c
        elif self.rule == "forfeit" and self.threshold > 1 / c:
            effort = self.threshold / n if self.threshold <= 2 * n / c else 0.0
        effort = min(effort, self.max_effort)
        if (gain := self.regret(effort)) > self._slack:
            raise RuntimeError(f"equilibrium: where all choose {effort:g}, a member gains {gain:g} by another effort")
        return effort

    @property
    def _slack(self) -> float:
        return 1e-9 * (self.members / self.cost + self.spread)  # rounding

    def expected(self, effort: Any, others: float) -> Any:
        """Return a member's expected reward a round for an effort or each of several, all others choosing ``others``."""
        from scipy.special import ndtr

        effort = np.asarray(effort, dtype=float)
        output = effort + (self.members - 1) * others
        share = output * self._reached(output) / self.members
        if self.rule == "tournament":
            share = share + self.spread * (ndtr((effort - others) / (self.sd * math.sqrt(2))) - 0.5)
        return share - self.cost / 2 * effort**2

    def regret(self, effort: float) -> float:
        """Return the most that a member gains by another effort where all choose this one.

        Tried are 10001 efforts and the one that just reaches the target.
        """
        reaches = min(max(self.threshold - (self.members - 1) * effort, 0.0), self.max_effort)
        tried = np.append(np.linspace(0.0, self.max_effort, 10_001), (reaches, effort))
        values = self.expected(tried, effort)
        return float(values.max() - values[-1])

    def benchmarks(self) -> Benchmarks:
        """Return the first best, the equilibrium under the rule, and that under equal shares, which is the baseline."""

        def level(effort: float, source: str, *, kept: bool | None = None) -> Level:
            def play(seen: Seen) -> Acts:
                return {"effort": seen["effort"] * 0.0 + effort}

            output = self.members * effort
            attained = bool(self._reached(np.asarray(output)))
            value = (attained if kept is None else kept) * output - self.members * self.cost / 2 * effort**2
            plays: dict[str, Callable[[Seen], Acts]] | None = {"member": play} if kept in (None, attained) else None
            return Level(self.repetitions * value, source, plays)

        sources = {
            "equal": "symmetric: each compares its share 1/n with its marginal cost (Holmstrom 1982)",
            "forfeit": "the best of several: no member can shirk without burning all, or the target does not bind; where one "
            "alone cannot reach the target at a gain, that nobody works is another (Holmstrom 1982)",
            "tournament": "symmetric: 1/n and the chance of overtaking against marginal cost (Lazear and Rosen 1981)",
        }
        others = {}
        if self.equilibrium > 0.0 and self.regret(0.0) <= self._slack:
            others["nobody_works"] = level(0.0, "another equilibrium: nobody reaches the target alone at a gain")
        return Benchmarks(
            first_best=level(1 / self.cost, "marginal cost of effort 1, which is what it produces", kept=True),
            equilibrium=level(self.equilibrium, sources[self.rule]),
            baseline=level(
                self.equal_shares, "equilibrium under equal shares: 1 / (nc) each (Holmstrom 1982)", kept=True
            ),
            others=others,
        )
