"""Taxes on labour: a planner sets marginal rates, workers of unequal skill answer, revenue is shared by all."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import measures, validate
from ..core.arrays import Array, constant, full, namespace, to_float, total
from ..core.fields import Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, RoundState, Settled

PLANNERS = ("benevolent", "revenue")
_NUDGE = 1e-7
"""How far from where a worker's answer jumps the best rates are at the least."""


@dataclass(frozen=True)
class TaxLabour(RoundGame):
    """Optimal taxation of income (Mirrlees 1971, doi:10.2307/2296779; Saez 2001, doi:10.1111/1467-937X.00166).

    Worker i of skill w_i works l_i and earns z_i = w_i l_i. Utility is quasi-linear, u_i = c_i - l_i^(1 + 1/e) / (1 + 1/e),
    so that a marginal rate t makes it earn z_i = w_i^(1 + e) (1 - t)^e: e is the elasticity of income to what is kept of it.
    Tax is piecewise linear; what a worker pays is shared equally by the others, so that nobody's own tax comes back to it
    and workers take rates as they are, in any number. Welfare is Kolm's: n times the utility which, had by all, is as good
    as theirs, W = -(n / a) log(mean exp(-a u_i)), the sum of utilities at a = 0 and n times the lowest where only the
    worst-off counts (Kolm 1976, doi:10.1016/0022-0531(76)90037-5).

    One rate t on income above b is best where t / (1 - t) = sum (1 - g_i) x_i / (e sum z_i) over those above b, with
    x_i = z_i - b and g_i the weight of a worker's money, 1 on average: t = (1 - g) / (1 - g + A e), A = sum z / sum x. At
    b = 0 that is the best flat tax (Sheshinski 1972, doi:10.2307/2296360); where money of the rich counts nothing, the
    top rate 1 / (1 + A e) (Diamond and Saez 2011, doi:10.1257/jep.25.4.165, 1.5 and 0.25: 72.7%). With n workers sharing
    each other's tax, 1 - g_i becomes (1 - g_i) n / (n - 1) above, and z_i is weighted with (n - g_i) / (n - 1) below.

    Parameters
    ----------
    skills
        What each worker earns an hour, w; at least two workers.
    elasticity
        Elasticity e of income to the share of it that is kept.
    aversion
        Aversion a to inequality, per unit of money; None: only the worst-off counts.
    planner
        What the planner is paid: welfare (``"benevolent"``) or the tax revenue (``"revenue"``).
    cuts
        Lower bounds of the tax brackets in units of income, the first 0; one bracket is a flat tax.
    fixed
        Rates of the lowest brackets where they are given; the planner sets the others.
    repetitions
        Rounds of an episode; rates are set anew every round.
    """

    skills: tuple[float, ...] = (0.5, 0.8, 1.0, 1.5, 3.0)
    elasticity: float = 0.5
    aversion: float | None = 1.0
    planner: str = "benevolent"
    cuts: tuple[float, ...] = (0.0,)
    fixed: tuple[float, ...] = ()
    repetitions: int = 1

    reports = (
        Measure("rate", "mean of the marginal rates that the planner sets", "mean of t over brackets and rounds"),
        Measure("revenue", "tax paid by all a round", "sum_ti tax_ti / T"),
        Measure("output", "income of all a round", "sum_ti z_ti / T"),
        Measure(
            "equality", "how evenly consumption is spread", "1 - sum_ij |C_i - C_j| / (2 n sum_i C_i), C of all rounds"
        ),
        Measure("worst", "utility of the worst-off a round", "sum_t min_i u_ti / T"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        for name, least, most, low, high in (
            ("skills", 2, 1000, 0.1, 10.0),
            ("cuts", 1, 12, 0.0, 1e6),
            ("fixed", 0, 11, 0.0, 1.0),
        ):
            given = getattr(self, name)
            if not isinstance(given, list | tuple) or not least <= len(given) <= most:
                raise ValueError(f"{name}: a list of {least} to {most} numbers, got {given!r}")
            object.__setattr__(
                self, name, tuple(validate.real(f"{name}[{i}]", v, low, high) for i, v in enumerate(given))
            )
        validate.real("elasticity", self.elasticity, 0.05, 4.0)
        if self.aversion is not None:
            validate.real("aversion", self.aversion, 0.0, 1e3)
        validate.one_of("planner", self.planner, PLANNERS)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        if self.cuts[0] != 0.0 or any(high <= low for low, high in zip(self.cuts, self.cuts[1:], strict=False)):
            raise ValueError(f"cuts: rising numbers from 0 on, got {self.cuts!r}; begin with 0 and sort them")
        if len(self.fixed) >= len(self.cuts):
            raise ValueError(
                f"fixed: fewer rates than the {len(self.cuts)} brackets, got {len(self.fixed)}; leave one to the planner"
            )

    @classmethod
    def pareto(cls, parts: int, index: float, top: int, elasticity: float, rate: float, **options: Any) -> TaxLabour:
        """Return a society whose untaxed incomes follow a Pareto law, with a top bracket for the planner to set.

        Parameters
        ----------
        parts
            Workers, each as skilled as the mean of an equal part of the law.
        index
            The law's a, above 1: the share of people who earn more than z falls as z^-a.
        top
            How many earn above the cut, where the top rate is ``rate``; below it nothing is taxed.
        elasticity, **options
            As for the class.
        """
        ends = np.arange(parts, -1, -1) / parts  # shares of people who earn more
        power = 1.0 - 1.0 / index
        mean = np.diff(ends**power) / power / np.diff(ends)
        cut = (top / parts) ** (-1.0 / index) * (1.0 - rate) ** elasticity
        skills = tuple(float(skill) for skill in mean ** (1.0 / (1.0 + elasticity)))
        return cls(skills, cuts=(0.0, float(cut)), fixed=(0.0,), elasticity=elasticity, **options)

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def workers(self) -> int:
        """Number of workers, n."""
        return len(self.skills)

    @property
    def free(self) -> int:
        """Number of brackets whose rates the planner sets."""
        return len(self.cuts) - len(self.fixed)

    @functools.cached_property
    def longest(self) -> float:
        """Most labour: twice what the most able would do untaxed."""
        return float(2.0 * max(self.skills) ** self.elasticity)

    @functools.cached_property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        n, e, power = self.workers, self.elasticity, 1.0 + 1.0 / self.elasticity
        given = "".join(
            f" Income from {low:g} to {high:g} is taxed at {rate:.4g}."
            for low, high, rate in zip(self.cuts, self.cuts[1:], self.fixed, strict=False)
        )
        upper = [f"{cut:g}" for cut in self.cuts[len(self.fixed) :]]
        asked = (
            "one rate for all income"
            if self.free == len(self.cuts) == 1
            else f"the rates of income above {', '.join(upper)}"
        )
        if self.free > 1:
            asked += " (each up to the next of these amounts)"
        if self.aversion is None:
            good = f"{n} times the utility of the worst-off worker"
        elif self.aversion == 0.0:
            good = "the sum of the workers' utilities"
        else:
            good = (
                f"{n} times the utility U which, had by every worker, would be as good as theirs: exp(-{self.aversion:g} U) is the "
                f"mean of exp(-{self.aversion:g} times utility); it is lower the more unequal utilities are"
            )
        paid = "social welfare" if self.planner == "benevolent" else "the tax revenue"
        skills = ", ".join(f"{skill:.4g}" for skill in self.skills)
        return (
            f"A planner taxes the incomes of {n} workers, whose skills are {skills}. In every round the planner first sets "
            f"{asked}, from 0 (nothing) to 1 (all of it).{given} Then every worker sees the rates and decides how much to work, "
            f"from 0 to {self.longest:.4g}.\n"
            f"A worker's income is its skill times its labour. It keeps the income less the tax on it, and receives an equal share "
            f"of the tax that each of the others pays (1/{n - 1} of it). Its utility, which is its reward, is the money it then "
            f"has less the toil of labour L, L^{power:.4g} / {power:.4g}. At a marginal rate t, labour of (skill x (1 - t))^{e:g} "
            f"is best.\n"
            f"Social welfare is {good}. The planner's reward is {paid}."
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The rates, then the work."""
        return Stage("tax", "the planner sets the tax rates"), Stage("work", "workers decide how much to work")

    def cast(self) -> tuple[Role, ...]:
        """The planner and the workers."""
        names = tuple(f"above {cut:.10g}" for cut in self.cuts[len(self.fixed) :])
        most = max(self.skills) * self.longest
        rate, income = Real(0.0, 1.0), Real(0.0, most)
        everyone = tuple(f"worker_{i}" for i in range(self.workers))
        old = Field("last_rates", rate, "rates of the last round; 0 before the first", each=names, verifiable=True)
        planner = Role(
            "planner",
            1,
            (
                Field("cuts", Real(0.0, self.cuts[-1]), "income above which a rate holds", each=names, verifiable=True),
                old,
                Field(
                    "incomes", income, "incomes in the last round; 0 before the first", each=everyone, verifiable=True
                ),
            ),
            (Field("rates", rate, "tax rates on income above each amount", each=names, stage="tax"),),
            "you want much social welfare" if self.planner == "benevolent" else "you want much tax revenue",
        )
        worker = Role(
            "worker",
            self.workers,
            (
                Field("skill", Real(0.0, max(self.skills)), "what you earn by a unit of labour"),
                Field("rates", rate, "tax rates on income above each amount", each=names, verifiable=True),
                Field("income", income, "your income in the last round", verifiable=True),
                Field(
                    "lump_sum",
                    Real(0.0, most),
                    "what you received of the others' tax in the last round",
                    verifiable=True,
                ),
            ),
            (Field("labour", Real(0.0, self.longest), "how much you work", stage="work"),),
            "you want much money and little toil",
        )
        return planner, worker

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def recall(self, like: Array) -> Record:
        """Return that nothing has been earned yet."""
        none = full(like, (*like.shape, self.workers), 0.0)
        rates = full(like, (*like.shape, self.free), 0.0)
        cuts = rates + constant(rates, self._free_cuts)
        return {"cuts": cuts, "last_rates": rates, "incomes": none, "lump_sums": none, "consumed": none}

    @functools.cached_property
    def _free_cuts(self) -> tuple[float, ...]:
        return self.cuts[len(self.fixed) :]

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show every worker its skill and what it had."""
        memory = state.memory
        skill = memory["incomes"] * 0.0 + constant(memory["incomes"], self.skills)
        return {"worker": {"skill": skill, "income": memory["incomes"], "lump_sum": memory["lump_sums"]}}

    def all_rates(self, rates: Array) -> Array:
        """Return the rates of all brackets (*batch, brackets) from those that the planner sets (*batch, free)."""
        if not self.fixed:
            return rates
        lower = full(rates, (*rates.shape[:-1], len(self.fixed)), 0.0) + constant(rates, self.fixed)
        return namespace(rates).concat([lower, rates], axis=-1)

    @functools.cached_property
    def _widths(self) -> tuple[float, ...]:
        """Widths of the brackets; the last, without end, is as good as 1e9 wide."""
        return (*(b - a for a, b in zip(self.cuts, self.cuts[1:], strict=False)), 1e9)

    def tax(self, income: Array, rates: Array) -> Array:
        """Return the tax on incomes (*batch, n) at rates (*batch, free)."""
        rates = self.all_rates(rates)
        within = income[..., None] - constant(income, self.cuts)
        within = namespace(income).clip(within, 0.0, None)
        within = namespace(income).minimum(within, constant(income, self._widths))
        return total(within * rates[..., None, :])

    def toil(self, labour: Array) -> Array:
        """Return the disutility of labour, in units of money."""
        power = 1.0 + 1.0 / self.elasticity
        return labour**power / power

    def live(self, labour: Array, rates: Array) -> tuple[Array, Array, Array]:
        """Return incomes, taxes and utilities (*batch, n) of labour (*batch, n) at rates (*batch, free)."""
        income = labour * constant(labour, self.skills)
        tax = self.tax(income, rates)
        lump = (total(tax)[..., None] - tax) / (self.workers - 1)
        return income, tax, income - tax + lump - self.toil(labour)

    def worth(self, utility: Array) -> Array:
        """Return the welfare of utilities (*batch, n)."""
        xp, n, a = namespace(utility), self.workers, self.aversion
        if a == 0.0:
            return total(utility)
        worst = xp.min(utility, axis=-1)
        if a is None:
            return n * worst
        return n * (worst - xp.log(total(xp.exp(-a * (utility - worst[..., None]))) / n) / a)

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Earn, pay, share."""
        rates, labour = acts["planner"]["rates"], acts["worker"]["labour"]
        income, tax, utility = self.live(labour, rates)
        lump = (total(tax)[..., None] - tax) / (self.workers - 1)
        consumed = memory["consumed"] + (income - tax + lump)
        welfare, revenue = self.worth(utility), total(tax)
        sums = {
            "rate": total(rates) / self.free,
            "revenue": revenue,
            "output": total(income),
            "equality": revenue * 0.0,
            "worst": namespace(utility).min(utility, axis=-1),
        }
        kept = {"cuts": memory["cuts"], "last_rates": rates, "incomes": income, "lump_sums": lump, "consumed": consumed}
        paid = welfare if self.planner == "benevolent" else revenue
        return Settled({"planner": paid, "worker": utility}, welfare, sums, kept)

    def measures(self, state: RoundState) -> Record:
        """Return means a round, and the equality of what was consumed in all rounds."""
        consumed = to_float(state.memory["consumed"])
        consumed = namespace(consumed).clip(consumed, 0.0, None)
        return super().measures(state) | {"equality": measures.equality(consumed)}

    # ---- what theory says ---------------------------------------------------------------------------------------

    def respond(self, skill: Array, rates: Array) -> Array:
        """Return the best labour of skills (*batch, n) at rates (*batch, free).

        In each bracket utility is concave, so that the best income in it is that of its rate, brought into the bracket; the
        best of these is taken, whether rates rise or fall.
        """
        xp, power = namespace(skill), 1.0 + 1.0 / self.elasticity
        rates = self.all_rates(rates)
        widths, cuts = constant(skill, self._widths), constant(skill, self.cuts)
        before = xp.cumulative_sum(rates * widths, axis=-1) - rates * widths
        wanted = skill[..., None] ** (1.0 + self.elasticity) * (1.0 - rates[..., None, :]) ** self.elasticity
        income = xp.minimum(xp.maximum(wanted, cuts), cuts + widths)
        tax = before[..., None, :] + rates[..., None, :] * (income - cuts)
        gain = income - tax - (income / skill[..., None]) ** power / power
        best = xp.argmax(gain, axis=-1)
        chosen = xp.take_along_axis(income, best[..., None], axis=-1)[..., 0]
        return xp.clip(chosen / skill, 0.0, self.longest)

    def value(self, rates: Any, goal: str | None = None) -> Any:
        """Return what rates (*batch, free) are worth to a planner, this game's or another, if workers answer best."""
        rates = np.asarray(rates, dtype=float)
        skills = np.broadcast_to(np.asarray(self.skills), (*rates.shape[:-1], self.workers))
        _, tax, utility = self.live(self.respond(skills, rates), rates)
        return self.worth(utility) if (goal or self.planner) == "benevolent" else tax.sum(axis=-1)

    def saez(self, rate: float, goal: str | None = None) -> float:
        """Return the right side of the formula for one rate above a cut: the best rate is where it returns that rate.

        Raises
        ------
        ValueError
            If the planner sets several rates.
        """
        if self.free != 1:
            raise ValueError(
                f"cuts: the formula is for one rate, and the planner sets {self.free}; give fixed rates to the others"
            )
        n, cut, at = self.workers, self.cuts[-1], np.array([rate])
        income, _, utility = self.live(self.respond(np.asarray(self.skills), at), at)
        weight = np.zeros(n)
        if (goal or self.planner) == "benevolent":
            if self.aversion is None:
                weight[utility.argmin()] = n
            else:
                weight = np.exp(-self.aversion * (utility - utility.min()))
                weight = weight * (n / weight.sum())
        taxed = income > cut * (1.0 + 1e-12)
        gains = float(((1.0 - weight) * (income - cut))[taxed].sum()) * n
        loss = float(((n - weight) * income)[taxed].sum()) * self.elasticity
        return max(0.0, gains / (gains + loss)) if gains > 0.0 else 0.0

    @functools.cached_property
    def optimal(self) -> dict[str, tuple[float, ...]]:
        """Rates that are best for either planner, by direct search; better than any of a thousand others, which is checked."""
        return {goal: _search(self, goal) for goal in PLANNERS}

    def benchmarks(self) -> Benchmarks:
        """Return equal utilities without loss, the best taxes, those of this planner, and no tax."""
        e, times = self.elasticity, self.repetitions
        best, chosen = self.optimal["benevolent"], self.optimal[self.planner]

        def sets(rates: tuple[float, ...]) -> Any:
            return lambda seen: {"rates": seen["last_rates"] * 0.0 + constant(seen["last_rates"], rates)}

        def works(seen: Seen) -> Acts:
            xp = namespace(seen["skill"])
            return {"labour": xp.where(seen["stage"] == 1, self.respond(seen["skill"], seen["rates"][..., 0, :]), 0.0)}

        def level(rates: tuple[float, ...], source: str) -> Level:
            return Level(
                times * float(self.value(rates, "benevolent")), source, {"planner": sets(rates), "worker": works}
            )

        def told(rates: tuple[float, ...]) -> str:
            return ", ".join(f"{rate:.6g}" for rate in rates)

        none = (0.0,) * self.free
        surplus = sum(skill ** (1.0 + e) / (1.0 + e) for skill in self.skills)
        return Benchmarks(
            first_best=Level(times * surplus, "all work as if untaxed and utilities are made equal: closed form"),
            second_best=level(
                best, f"the best tax of this form, rates {told(best)}: Saez 2001, solved by direct search"
            ),
            equilibrium=level(
                chosen,
                f"workers answer best, and the planner ({self.planner}) foresees it: rates {told(chosen)}, direct search",
            ),
            baseline=level(none, "the planner taxes nothing; workers answer best"),
        )


@functools.lru_cache(maxsize=64)
def _search(game: TaxLabour, goal: str) -> tuple[float, ...]:
    """Return the best rates: by evolution where there are several, then one rate after another on ever finer grids.

    Where rates fall, a worker may be indifferent between two incomes, and what rates are worth jumps. Rates count for what
    they are worth if any of them is a little higher or lower, so that the best ones are not on such an edge.
    """
    k, rng = game.free, np.random.default_rng(0)
    start = np.full(k, 0.5)
    if k > 1:
        from scipy.optimize import differential_evolution

        start = differential_evolution(
            lambda x: -game.value(x.T, goal),
            [(0.0, 1.0)] * k,
            vectorized=True,
            updating="deferred",
            rng=0,
            popsize=20,
            maxiter=150,
            polish=False,
        ).x
    nudges = np.vstack([np.zeros((1, k)), _NUDGE * np.eye(k), -_NUDGE * np.eye(k)])

    def firmly(points: Any) -> Any:
        return game.value(np.clip(points[:, None, :] + nudges, 0.0, 1.0), goal).min(axis=1)

    wide = 1.0 if k == 1 else 0.1
    while wide > 1e-10:
        for i in range(k):
            points = np.tile(start, (201, 1))
            points[:, i] = np.clip(np.linspace(start[i] - wide, start[i] + wide, 201), 0.0, 1.0)
            points[100] = start
            start = points[int(np.argmax(firmly(points)))]
        wide *= 0.2
    start = np.round(start, 9)
    others = rng.random((1000, k))
    gap = float(game.value(others, goal).max() - game.value(start, goal))
    if gap > 1e-9 * max(1.0, math.fabs(float(game.value(start, goal)))):
        raise RuntimeError(f"optimal: the search missed better rates by {gap:g}; fewer brackets help")
    return tuple(float(rate) for rate in start)
