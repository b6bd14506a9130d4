"""Multitask: pay is linear in what can be measured, and the agent chooses how to divide its effort."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import validate
from ..core.arrays import Array, full, namespace, to_float, to_int, total
from ..core.chance import normal
from ..core.fields import Choice, Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.linear import Matrix, cholesky, dot, inner, say_linear, say_quadratic, square, times
from ..core.rounds import Record, RoundGame, RoundState, Settled
from ..core.solve import box_maximum

TOLERANCE = 1e-9  # of the coins at stake: below it the agent is indifferent, and sides with the principal
MOST = 12  # tasks, and signals
FARTHEST = 8.58  # in standard deviations: no normal number made of 53 random bits is farther out
LARGEST = 300.0  # exponent of a CARA agent's utility that still leaves room for squares

SOURCE = "Holmstrom and Milgrom 1991"


@dataclass(frozen=True)
class Multitask(RoundGame):
    """Linear pay, CARA utility, normal noise and several tasks (Holmstrom and Milgrom 1991,
    doi:10.1093/jleo/7.special_issue.24).

    An agent's efforts a are worth b'a to a principal and cost the agent a'Ga/2. Signals x = Ma + e, e ~ N(0, S), are
    paid for: alpha + beta'x. With absolute risk aversion r the agent's certainty equivalent is
    alpha + beta'Ma - a'Ga/2 - (r/2) beta'S beta, so that it chooses a = G^-1 M' beta, and the best slopes are
    beta* = (M G^-1 M' + rS)^-1 M G^-1 b, alpha leaving it its outside option. The first best is a* = G^-1 b. With one
    task this is the model of Holmstrom and Milgrom (1987, doi:10.2307/1913238; ``linear``), with one signal of several
    tasks that of Feltham and Xie (1994) and Baker (2002, doi:10.2307/3069615; ``proxy``). By default one signal rises
    as much by task_2, which is worth nothing, as by task_1: the agent can game its measure. Welfare, in coins, is
    b'a - a'Ga/2 - (r/2) beta'S beta less the outside option; 0 if refused.

    Parameters
    ----------
    value
        What a unit of effort in each task is worth, b, in coins.
    cost
        Matrix G of the cost of effort, symmetric and positive definite, in coins.
    loadings
        For each signal, how much a unit of effort in each task adds to it: the matrix M.
    noise
        Covariance matrix S of the signals' noise, symmetric and positive semidefinite.
    risk_aversion
        The agent's absolute risk aversion r, per coin.
    utility
        The agent's reward: ``"certainty"``, pay less cost less the risk premium (r/2) beta'S beta, the mean of which is
        its certainty equivalent, so that who maximises it decides as the CARA agent does; ``"cara"``, the utility
        (1 - exp(-r (pay - cost)))/r itself.
    reservation
        Certainty equivalent of refusing, in coins.
    lowest_slope, max_slope
        Range of the slopes, in coins a unit of signal; it must contain 0.
    max_base
        Most base pay, up or down, in coins; what the first best costs must be possible.
    max_effort
        Most effort in a task; whatever slopes can make the agent want must be possible. Efforts below 0, which undo or
        neglect, are possible (to -max_effort) where some slopes make it want them.
    repetitions
        Rounds of an episode; nothing carries over but what is remembered.
    """

    value: tuple[float, ...] = (1.0, 0.0)
    cost: tuple[tuple[float, ...], ...] = ((1.0, 0.0), (0.0, 1.0))
    loadings: tuple[tuple[float, ...], ...] = ((1.0, 1.0),)
    noise: tuple[tuple[float, ...], ...] = ((0.5,),)
    risk_aversion: float = 1.0
    utility: str = "certainty"
    reservation: float = 0.0
    lowest_slope: float = 0.0
    max_slope: float = 1.0
    max_base: float = 1.0
    max_effort: float = 2.0
    repetitions: int = 1

    stages = (
        Stage("offer", "the principal offers a base pay and a slope for each signal"),
        Stage("answer", "the agent accepts or refuses, and chooses its efforts"),
    )
    reports = (
        Measure("profit", "the principal's profit a round", "b'a - pay, 0 if refused", "coins"),
        Measure(
            "rent",
            "the agent's certainty equivalent above its outside option, a round",
            "alpha + beta'Ma - a'Ga/2 - (r/2) beta'S beta - reservation, 0 if refused",
            "coins",
        ),
        Measure("accepted", "share of offers accepted", "#accepted / #rounds"),
        Measure("slope", "mean slope offered, over the signals", "mean beta", "coins a unit"),
        Measure("value", "what the efforts are worth, where accepted", "mean b'a", "coins"),
        Measure(
            "distortion",
            "how far efforts point away from the first best, where accepted; 0 the same way, 1 at right angles, 2 opposite",
            "mean of 1 - cos(a, a*) in the metric of costs = 1 - b'a / sqrt(a'Ga b'G^-1 b); 0 where a = 0",
            source="Baker 2002",
            better="lower",
        ),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        value: Any = self.value
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= MOST:
            raise ValueError(f"value: a list of 1 to {MOST} numbers, one for each task, got {value!r}")
        object.__setattr__(self, "value", tuple(validate.real("value", v, -1e6, 1e6) for v in value))
        tasks = len(self.value)
        loadings = validate.matrix("loadings", self.loadings, columns=tasks, most=MOST)
        object.__setattr__(self, "loadings", loadings)
        for name, size in (("cost", tasks), ("noise", len(loadings))):
            object.__setattr__(self, name, validate.matrix(name, getattr(self, name), rows=size, columns=size))
        for name in ("cost", "noise"):
            matrix = getattr(self, name)
            for i in range(len(matrix)):
                validate.real(f"{name}[{i}][{i}]", matrix[i][i], 0.0, 1e6)
            least, most = np.linalg.eigvalsh(matrix)[[0, -1]]
            if np.abs(np.subtract(matrix, np.transpose(matrix))).max() > 1e-12 * (1.0 + most):
                raise ValueError(f"{name}: a symmetric matrix, got {matrix}")
            if name == "cost" and least <= 1e-9 * most:
                raise ValueError(f"cost: a positive definite matrix, got one with the eigenvalue {least:g}: {matrix}")
            if least < -1e-9 * most:
                raise ValueError(
                    f"noise: a positive semidefinite matrix, got one with the eigenvalue {least:g}: {matrix}"
                )
        validate.real("risk_aversion", self.risk_aversion, 0.0, 1e6)
        validate.one_of("utility", self.utility, ("certainty", "cara"))
        validate.real("reservation", self.reservation, -1e6, 1e6)
        validate.real("max_slope", self.max_slope, 1e-9, 1e6)
        validate.real("lowest_slope", self.lowest_slope, -1e6, 0.0)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        for name, needed, why in (
            ("max_effort", self._wanted[1], "what slopes or the first best can make the agent do"),
            ("max_base", abs(self.reservation) + self.first_best, "what the first best costs"),
        ):
            least = max(needed * (1.0 - 1e-12), 1e-9)
            most = validate.real(name, getattr(self, name), -math.inf, 1e9)
            if most < least:
                raise ValueError(f"{name}: a number from {_up(needed)} (the least that allows {why}), got {most:g}")
        if self.utility == "cara" and self.risk_aversion * self._loss > LARGEST:
            raise ValueError(
                f"risk_aversion: a number from 0 to {LARGEST / self._loss:.4g} with utility 'cara', beyond which utilities "
                f"may overflow (or take less max_effort, max_slope, max_base or noise), got {self.risk_aversion:g}"
            )

    # ---- special cases ------------------------------------------------------------------------------------------

    @classmethod
    def linear(cls, *, risk_aversion: float = 2.0, cost: float = 1.0, noise: float = 0.5, **others: Any) -> Multitask:
        """Return the game of one task and one signal (Holmstrom and Milgrom 1987): beta* = 1/(1 + r c s^2)."""
        return cls._roomy(
            ((cost,),), value=(1.0,), loadings=((1.0,),), noise=noise, risk_aversion=risk_aversion, **others
        )

    @classmethod
    def proxy(
        cls,
        *,
        value: tuple[float, ...] = (2.0, 1.0),
        measure: tuple[float, ...] = (1.0, 2.0),
        noise: float = 1.0,
        risk_aversion: float = 1.0,
        **others: Any,
    ) -> Multitask:
        """Return the game of one signal g'a + e for a value f'a (Feltham and Xie 1994, Baker 2002), effort costing |a|^2/2.

        beta* = f'g / (|g|^2 + r s^2); without risk it attains cos^2(f, g) of the first best.
        """
        cost = tuple(tuple(float(i == j) for j in range(len(value))) for i in range(len(value)))
        return cls._roomy(
            cost, value=tuple(value), loadings=(tuple(measure),), noise=noise, risk_aversion=risk_aversion, **others
        )

    @classmethod
    def unmeasured(
        cls,
        *,
        substitution: float = 0.5,
        value: tuple[float, float] = (1.0, 1.0),
        noise: float = 1.0,
        risk_aversion: float = 1.0,
        **others: Any,
    ) -> Multitask:
        """Return the game of two tasks of which only the first is measured; G = [[1, substitution], [substitution, 1]].

        Paying for the first crowds out the second where they are substitutes (substitution > 0), and crowds it in where
        they are complements (Holmstrom and Milgrom 1991, section 3).
        """
        cost = ((1.0, substitution), (substitution, 1.0))
        return cls._roomy(
            cost, value=tuple(value), loadings=((1.0, 0.0),), noise=noise, risk_aversion=risk_aversion, **others
        )

    @classmethod
    def _roomy(cls, cost: Any, *, noise: float, **others: Any) -> Multitask:
        """Return a game of one signal whose bounds, where not given, are half as wide again as needed."""
        bounds = {"max_effort": 1e9, "max_base": 1e9}
        certain = {**others, "utility": "certainty"}
        wide = cls(**{"cost": cost, "noise": ((noise,),), **certain, **bounds})
        needs = {"max_effort": wide._wanted[1], "max_base": abs(wide.reservation) + wide.first_best}
        room = {name: float(f"{1.5 * need:.2g}") or 1.0 for name, need in needs.items()}
        return cls(**{"cost": cost, "noise": ((noise,),), **room, **others})

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(f"task_{i + 1}" for i in range(len(self.value)))

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the signals."""
        return tuple(f"signal_{j + 1}" for j in range(len(self.loadings)))

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        low = self.lowest_effort
        less = f" Effort is counted from what it does unpaid: below 0, to {low:g}, it neglects the task." if low else ""
        slopes = tuple(f"slope_{j + 1}" for j in range(len(self.signals)))
        premium = say_quadratic(self.noise, slopes, self.risk_aversion / 2)
        lines = [
            "A principal hires an agent. First the principal offers a base pay, which may be negative, and a slope for each "
            "signal. The agent may refuse, or accept and choose an effort in each task, which nobody else sees. Then the "
            "signals come out, all see them, and the agent is paid the base pay plus each signal times its slope.",
            f"The efforts are worth {say_linear(self.value, self.tasks)} coins to the principal, and cost the agent "
            f"{say_quadratic(self.cost, self.tasks, 0.5)} coins.{less} The signals tell about them with normal noise of mean 0:",
        ]
        for j, (name, row) in enumerate(zip(self.signals, self.loadings, strict=True)):
            lines.append(
                f"- {name} = {say_linear(row, self.tasks)} + noise of standard deviation {self.noise[j][j] ** 0.5:.4g}"
            )
        pairs = ((i, j) for j in range(len(self.signals)) for i in range(j) if self.noise[i][j])
        lines += [
            f"- covariance of the noise of signal_{i + 1} and signal_{j + 1}: {self.noise[i][j]:.4g}" for i, j in pairs
        ]
        if self.utility == "cara" and self.risk_aversion:
            r = f"{self.risk_aversion:g}"
            feels = (
                f"The agent dislikes risk: its reward is (1 - exp(-{r} y))/{r}, where y is its pay less the cost of its efforts "
                f"if it accepts, and {self.reservation:g} if it refuses. Slopes thus put a risk on it that is as bad as a loss of "
                f"{premium} coins."
            )
        else:
            risk = f", less {premium} coins for the risk that the slopes put on it" if premium != "0" else ""
            feels = (
                f"The agent's reward is its pay, less the cost of its efforts{risk}. If it refuses, it gets "
                f"{self.reservation:g}."
            )
        lines.append(
            f"The principal's reward is what the efforts are worth less the pay, 0 if the agent refuses. {feels}"
        )
        return "\n".join(lines)

    def cast(self) -> tuple[Role, ...]:
        """The principal, and the agent."""
        base, slope = Real(-self.max_base, self.max_base), Real(self.lowest_slope, self.max_slope)
        effort, each = Real(self.lowest_effort, self.max_effort), self.signals
        seen = (
            Field("signals", Real(), "the last signals (0 where nobody worked)", each=each, verifiable=True),
            Field("answer", Choice(("refused", "accepted", "none")), "the agent's last answer", verifiable=True),
            Field("base", base, "the base pay on offer", "coins", verifiable=True),
            Field("slopes", slope, "the pay on offer for a unit of each signal", "coins", each=each, verifiable=True),
        )
        offer = (
            Field("base", base, "the base pay you offer", "coins", stage="offer"),
            Field("slopes", slope, "the pay you offer for a unit of each signal", "coins", each=each, stage="offer"),
        )
        answer = (
            Field("accept", Choice(("refuse", "accept")), "whether you take the offer", stage="answer"),
            Field("effort", effort, "your effort in each task; nobody sees it", each=self.tasks, stage="answer"),
        )
        return (
            Role("principal", 1, seen, offer, "you own what the efforts are worth and pay for the signals"),
            Role("agent", 1, seen, answer, "you do the work"),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    @property
    def luck(self) -> int:  # type: ignore[override]
        """Two uniform numbers a signal."""
        return 2 * len(self.loadings)

    def recall(self, like: Array) -> Record:
        """Return that nothing has happened yet."""
        return {"signals": full(like, (*like.shape, len(self.loadings)), 0.0), "answer": like + 2}

    def premium(self, slopes: Array) -> Array:
        """Return the risk premium (*batch) of slopes (*batch, signals), in coins."""
        return self.risk_aversion / 2 * square(self.noise, slopes)

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Draw the signals of the agent's efforts, and pay for them."""
        base, slopes = acts["principal"]["base"], acts["principal"]["slopes"]
        effort, hired = acts["agent"]["effort"], acts["agent"]["accept"] == 1
        xp = namespace(base)
        z = xp.stack([normal(u[..., 2 * j], u[..., 2 * j + 1]) for j in range(len(self.loadings))], axis=-1)
        clear = times(self.loadings, effort)
        noise = times(self._spread, z)
        certain = base + inner(slopes, clear)
        pay = certain + inner(slopes, noise)
        worth, twice, premium = dot(self.value, effort), square(self.cost, effort), self.premium(slopes)
        profit = xp.where(hired, worth - pay, 0.0)
        felt = pay - twice / 2
        felt = felt - premium if self.utility == "certainty" else self._felt(felt)
        refused = self.reservation if self.utility == "certainty" else self._felt(np.asarray(self.reservation)).item()
        length = xp.sqrt(twice * (2 * self.first_best))
        apart = xp.where(length > 0.0, 1.0 - worth / (length + (length == 0.0)), 0.0)
        return Settled(
            {"principal": profit, "agent": xp.where(hired, felt, refused)},
            welfare=xp.where(hired, worth - twice / 2 - premium - self.reservation, 0.0),
            sums={
                "profit": profit,
                "rent": xp.where(hired, certain - twice / 2 - premium - self.reservation, 0.0),
                "accepted": to_float(hired),
                "slope": total(slopes) / len(self.loadings),
                "value": xp.where(hired, worth, 0.0),
                "distortion": xp.where(hired, xp.clip(apart, 0.0, 2.0), 0.0),
            },
            memory={"signals": xp.where(hired[..., None], clear + noise, 0.0), "answer": to_int(hired)},
        )

    def _felt(self, coins: Array) -> Array:
        """Return the CARA utility of coins."""
        r = self.risk_aversion
        return -namespace(coins).expm1(-r * coins) / r if r else coins

    def measures(self, state: RoundState) -> Record:
        """Return means a round, of value and distortion where accepted."""
        accepted = state.sums["accepted"]
        hired = accepted + (accepted == 0.0)
        return {**super().measures(state), **{name: state.sums[name] / hired for name in ("value", "distortion")}}

    @functools.cached_property
    def _spread(self) -> Matrix:
        return cholesky(self.noise)

    # ---- what theory says ---------------------------------------------------------------------------------------

    @functools.cached_property
    def first_best_effort(self) -> tuple[float, ...]:
        """The efforts that are worth most less their cost: G^-1 b."""
        return tuple(np.linalg.solve(self.cost, self.value).tolist())

    @functools.cached_property
    def first_best(self) -> float:
        """What the first best efforts are worth less their cost, before the outside option, in coins: b'G^-1 b / 2."""
        return float(np.dot(self.value, self.first_best_effort)) / 2

    @functools.cached_property
    def _pull(self) -> tuple[tuple[float, ...], ...]:
        """What a slope adds to the agent's efforts: the matrix G^-1 M'."""
        return tuple(map(tuple, np.linalg.solve(self.cost, np.transpose(self.loadings)).tolist()))

    @functools.cached_property
    def _wanted(self) -> tuple[float, float]:
        """The lowest effort that slopes or the first best ask for in a task, and the farthest from 0."""
        ends = np.stack([np.multiply(self._pull, self.lowest_slope), np.multiply(self._pull, self.max_slope)])
        low, high = ends.min(axis=0).sum(axis=1), ends.max(axis=0).sum(axis=1)
        lowest = float(min(low.min(), *self.first_best_effort))
        return lowest, float(max(-lowest, high.max(), *self.first_best_effort))

    @property
    def lowest_effort(self) -> float:
        """Lowest effort in a task: 0, or -max_effort where the agent or the first best may want less than nothing."""
        return -self.max_effort if self._wanted[0] < -1e-12 * self._wanted[1] else 0.0

    @functools.cached_property
    def _loss(self) -> float:
        """The most coins that the agent can lose, or more."""
        steep, far = max(self.max_slope, -self.lowest_slope), np.abs(self.loadings).sum() * self.max_effort
        chance = FARTHEST * np.abs(self._spread).sum()
        cost = np.abs(self.cost).sum() * self.max_effort**2 / 2
        return float(self.max_base + abs(self.reservation) + steep * (far + chance) + cost)

    @functools.cached_property
    def _curve(self) -> tuple[Any, Any]:
        """Vector v and matrix A of the surplus v'beta - beta'A beta/2 of slopes: M G^-1 b, and M G^-1 M' + rS."""
        loadings, pull = np.asarray(self.loadings), np.asarray(self._pull)
        return pull.T @ np.asarray(self.value), loadings @ pull + self.risk_aversion * np.asarray(self.noise)

    @functools.cached_property
    def _stake(self) -> float:
        """Coins at stake, to which rounding errors are relative."""
        steep = max(self.max_slope, -self.lowest_slope)
        return float(1e-6 + abs(self.reservation) + self.first_best + np.abs(self._curve[1]).sum() * steep**2)

    def response(self, slopes: Array) -> Array:
        """Return the agent's best efforts (*batch, tasks) under slopes (*batch, signals): G^-1 M' beta."""
        return namespace(slopes).clip(times(self._pull, slopes), self.lowest_effort, self.max_effort)

    def accepts(self, base: Array, slopes: Array) -> Array:
        """Return whether the agent accepts (*batch), integer, base pay (*batch) and slopes; indifferent, it does."""
        return to_int(base >= self.fair_base(slopes) - TOLERANCE * self._stake)

    def fair_base(self, slopes: Array) -> Array:
        """Return the base pay (*batch) at which the agent, working at its best, is indifferent to slopes, in coins."""
        effort = self.response(slopes)
        gain = inner(slopes, times(self.loadings, effort)) - square(self.cost, effort) / 2
        return self.reservation + self.premium(slopes) - gain

    def surplus(self, slopes: Array) -> Array:
        """Return b'a less cost and risk premium (*batch) where the agent works at its best, in coins."""
        effort = self.response(slopes)
        return dot(self.value, effort) - square(self.cost, effort) / 2 - self.premium(slopes)

    @functools.cached_property
    def optimal_slopes(self) -> tuple[float, ...]:
        """The slopes of the largest surplus: A^-1 v, or where that is out of bounds the best within.

        The surplus is concave, so that the gradient bounds what any other slopes could add; it is checked.
        """
        v, a = self._curve
        low, high = self.lowest_slope, self.max_slope
        slopes = box_maximum(v, a, low, high)
        gradient = v - a @ slopes
        regret = float(np.maximum(gradient * (high - slopes), gradient * (low - slopes)).sum())
        if regret > TOLERANCE * self._stake:
            raise RuntimeError(f"optimal_slopes: {slopes} may fall short of the best surplus by {regret:g}")
        return tuple(slopes.tolist())

    @property
    def optimal_base(self) -> float:
        """The base pay that leaves the agent its outside option at the optimal slopes, in coins."""
        base = float(self.fair_base(np.asarray(self.optimal_slopes)))
        return min(max(base, -self.max_base), self.max_base)

    def benchmarks(self) -> Benchmarks:
        """Return the first best, the second best (which is the equilibrium), and what flat pay reaches."""
        flat = (0.0,) * len(self.signals)
        best = self.first_best - self.reservation
        second = float(self.surplus(np.asarray(self.optimal_slopes))) - self.reservation

        def offers(worth: float, base: float, slopes: tuple[float, ...]) -> Any:
            if worth < 0.0:  # best to be refused
                base, slopes = -self.max_base, flat

            def play(seen: Seen) -> Acts:
                levels = [seen["base"] * 0.0 + slope for slope in slopes]
                return {"base": seen["base"] * 0.0 + base, "slopes": namespace(seen["base"]).stack(levels, axis=-1)}

            return play

        def answers(seen: Seen) -> Acts:
            return {"accept": self.accepts(seen["base"], seen["slopes"]), "effort": self.response(seen["slopes"])}

        def obeys(seen: Seen) -> Acts:
            none = seen["base"] * 0.0
            efforts = [none + min(max(a, self.lowest_effort), self.max_effort) for a in self.first_best_effort]
            return {"accept": to_int(none + (best >= 0.0)), "effort": namespace(none).stack(efforts, axis=-1)}

        equilibrium = {
            "principal": offers(second, self.optimal_base, self.optimal_slopes),
            "agent": answers,
        }
        wage = self.reservation + self.first_best  # the cost of the efforts is half of what they are worth
        return Benchmarks(
            first_best=Level(
                self.repetitions * max(0.0, best),
                "efforts seen and paid for: G^-1 b at a flat pay, or no hire where that is better",
                {"principal": offers(best, wage, flat), "agent": obeys},
            ),
            second_best=Level(
                self.repetitions * max(0.0, second),
                f"the best linear pay: slopes (M G^-1 M' + rS)^-1 M G^-1 b within their bounds ({SOURCE})",
                equilibrium,
            ),
            equilibrium=Level(
                self.repetitions * max(0.0, second),
                "subgame-perfect: the optimal offer and the agent's best answer",
                equilibrium,
            ),
            baseline=Level(
                self.repetitions * max(0.0, -self.reservation),
                "flat pay: no effort, and no hire where the outside option is worth something",
                {"principal": offers(-self.reservation, self.reservation, flat), "agent": answers},
            ),
        )


def _up(number: float) -> str:
    """Write a number with six digits, rounded up."""
    text = f"{number:.6g}"
    return text if float(text) >= number * (1.0 - 1e-12) else f"{number * (1.0 + 1e-5):.6g}"
