"""Hidden action: a principal pays for outcomes, an agent chooses the effort that nobody else sees."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import validate
from ..core.arrays import Array, constant, look_up, namespace, to_float, to_int, total
from ..core.chance import categorical
from ..core.fields import Choice, Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, RoundState, Settled

TOLERANCE = 1e-8  # in utils: below it the agent is indifferent, and sides with the principal


@dataclass(frozen=True)
class HiddenAction(RoundGame):
    """Principal and agent with finitely many efforts and outcomes (Grossman and Hart 1983, doi:10.2307/1912246).

    The agent's utility is u(pay) - cost(effort), its outside option ``reservation``; the principal gets the outcome's
    value less the pay. Welfare, in coins, is profit plus what the agent's rent is worth: the certainty equivalent of
    its pay less the pay that just compensates for effort and outside option. That is the outcome's value, less the risk
    premium that the offer puts on the agent, E[pay] - u^-1(E[u(pay)]), less the compensation u^-1(cost + reservation);
    0 if refused. No offer and no effort can exceed the principal's profit when effort is seen: the first best.
    The case of linear pay, constant risk aversion and normal noise is ``Multitask.linear``.

    Parameters
    ----------
    outcomes
        Value of each outcome to the principal, in coins.
    chances
        For each effort, the probability of each outcome.
    costs
        Cost of each effort, in units of utility.
    utility
        Of pay: ``"linear"`` or ``"sqrt"``.
    reservation
        Utility of refusing.
    limited_liability
        Whether pay cannot be negative (always so with ``"sqrt"``).
    max_pay
        Most that can be offered for an outcome, in coins.
    repetitions
        Rounds of an episode; nothing carries over but what is remembered.
    """

    outcomes: tuple[float, ...] = (0.0, 20.0)
    chances: tuple[tuple[float, ...], ...] = ((0.6, 0.4), (0.2, 0.8))
    costs: tuple[float, ...] = (0.0, 1.0)
    utility: str = "sqrt"
    reservation: float = 1.0
    limited_liability: bool = True
    max_pay: float = 10.0
    repetitions: int = 1

    luck = 1
    stages = (
        Stage("offer", "the principal offers a pay for each outcome"),
        Stage("answer", "the agent accepts or refuses, and chooses its effort"),
    )
    reports = (
        Measure("profit", "the principal's profit a round", "value of the outcome - pay, 0 if refused", "coins"),
        Measure(
            "rent", "the agent's utility above its outside option, a round", "u(pay) - cost - reservation", "utils"
        ),
        Measure("accepted", "share of offers accepted", "#accepted / #rounds"),
        Measure("effort", "mean effort where accepted, 0 the least and 1 the most", "mean index / (efforts - 1)"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        for name in ("outcomes", "chances", "costs"):
            object.__setattr__(self, name, _tuples(name, getattr(self, name)))
        validate.one_of("utility", self.utility, ("linear", "sqrt"))
        validate.real("max_pay", self.max_pay, 1e-9)
        validate.real("reservation", self.reservation)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        if len(self.outcomes) < 2 or len(self.costs) < 2:
            raise ValueError(f"outcomes, costs: at least 2 of each, got {len(self.outcomes)} and {len(self.costs)}")
        if len(self.outcomes) > 12:
            raise ValueError(f"outcomes: at most 12, got {len(self.outcomes)}")
        if len(self.chances) != len(self.costs):
            raise ValueError(f"chances: one row for each of the {len(self.costs)} efforts, got {len(self.chances)}")
        for effort, row in enumerate(self.chances):
            if not isinstance(row, tuple):
                raise ValueError(f"chances[{effort}]: {len(self.outcomes)} probabilities, got {row!r}")
            for p in row:
                validate.probability(f"chances[{effort}]", p)
            if len(row) != len(self.outcomes) or abs(math.fsum(row) - 1.0) > 1e-9:
                raise ValueError(
                    f"chances[{effort}]: {len(self.outcomes)} probabilities that sum to 1, got {row} (sum {math.fsum(row):g})"
                )
        for name in ("outcomes", "costs"):
            for value in getattr(self, name):
                validate.real(name, value)

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def about(self) -> str:
        """The rules in words, with the whole technology."""
        feeling = "the pay itself" if self.utility == "linear" else "the square root of the pay"
        lines = [
            "A principal hires an agent. First the principal offers a pay for each outcome. The agent may refuse, or accept "
            "and choose an effort, which the principal never sees. Chances of the outcomes:"
        ]
        for effort, cost, row in zip(self.efforts, self.costs, self.chances, strict=True):
            odds = ", ".join(f"{name} {p:.0%}" for name, p in zip(self.names, row, strict=True))
            lines.append(f"- effort {effort} (costs the agent {cost:g}): {odds}")
        values = ", ".join(f"{name} is worth {value:g}" for name, value in zip(self.names, self.outcomes, strict=True))
        lines.append(
            f"To the principal {values}; it keeps what is left after the pay. The agent's reward is {feeling} less the cost of "
            f"its effort. If the agent refuses, it gets {self.reservation:g} and the principal nothing."
        )
        return "\n".join(lines)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outcomes."""
        return ("low", "high") if len(self.outcomes) == 2 else tuple(f"outcome_{i}" for i in range(len(self.outcomes)))

    @property
    def efforts(self) -> tuple[str, ...]:
        """Names of the efforts."""
        return ("low", "high") if len(self.costs) == 2 else tuple(f"effort_{i}" for i in range(len(self.costs)))

    @property
    def lowest_pay(self) -> float:
        """Lowest pay that can be offered."""
        return 0.0 if self.limited_liability or self.utility == "sqrt" else -self.max_pay

    def cast(self) -> tuple[Role, ...]:
        """The principal, and the agent."""
        pay = Real(self.lowest_pay, self.max_pay)
        seen = (
            Field("outcome", Choice((*self.names, "none")), "the last outcome", verifiable=True),
            Field("answer", Choice(("refused", "accepted", "none")), "the agent's last answer", verifiable=True),
            Field("pay", pay, "the pay on offer for each outcome", "coins", each=self.names, verifiable=True),
        )
        offer = Field("pay", pay, "the pay you offer for each outcome", "coins", each=self.names, stage="offer")
        accept = Field("accept", Choice(("refuse", "accept")), "whether you take the offer", stage="answer")
        effort = Field("effort", Choice(self.efforts), "your effort if you accept; nobody sees it", stage="answer")
        return (
            Role("principal", 1, seen, (offer,), "you own what is produced and pay for it"),
            Role("agent", 1, seen, (accept, effort), "you do the work"),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def felt(self, pay: Array) -> Array:
        """Return the utility of pay, in utils."""
        return pay * 1.0 if self.utility == "linear" else namespace(pay).sqrt(pay * (pay > 0.0))

    def needed(self, utils: float) -> float:
        """Return the pay that gives a utility: the inverse of ``felt``; 0 where less than nothing is needed under a bound."""
        if self.utility == "linear":
            return max(utils, self.lowest_pay)
        return max(utils, 0.0) ** 2

    @functools.cached_property
    def _compensations(self) -> tuple[float, ...]:
        """For each effort, the pay in coins that is worth its cost and the outside option."""
        utils = [self.reservation + cost for cost in self.costs]
        return tuple(utils) if self.utility == "linear" else tuple(max(v, 0.0) ** 2 for v in utils)

    def _premium(self, pay: Array, felt: Array, p: Array) -> Array:
        """Return the risk premium (*batch) of pay, felt so, with chances p, all (*batch, outcomes)."""
        if self.utility == "linear":
            return pay[..., 0] * 0.0
        return total(p * pay) - total(p * felt) ** 2

    def recall(self, like: Array) -> Record:
        """Return that nothing has happened yet."""
        return {"outcome": like + len(self.outcomes), "answer": like + 2}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Draw the outcome of the agent's effort, and pay for it."""
        pay, effort = acts["principal"]["pay"], acts["agent"]["effort"]
        xp, felt, hired = namespace(pay), self.felt(pay), acts["agent"]["accept"] == 1
        p = look_up(pay, self.chances, effort)
        outcome = categorical(u[..., 0], p)
        paid, utils = pay[..., 0], felt[..., 0]
        for i in range(1, len(self.outcomes)):
            drawn = outcome == i
            paid, utils = xp.where(drawn, pay[..., i], paid), xp.where(drawn, felt[..., i], utils)
        worth = look_up(pay, self.outcomes, outcome)
        profit = xp.where(hired, worth - paid, 0.0)
        utility = xp.where(hired, utils - look_up(pay, self.costs, effort), self.reservation)
        kept = worth - look_up(pay, self._compensations, effort)
        return Settled(
            {"principal": profit, "agent": utility},
            welfare=xp.where(hired, kept - self._premium(pay, felt, p), 0.0),
            sums={
                "profit": profit,
                "rent": utility - self.reservation,
                "accepted": to_float(hired),
                "effort": to_float(effort * hired) / (len(self.costs) - 1),
            },
            memory={"outcome": xp.where(hired, outcome, len(self.outcomes)), "answer": to_int(hired)},
        )

    def measures(self, state: RoundState) -> Record:
        """Return profit, rent and acceptance a round, and effort where accepted."""
        accepted = state.sums["accepted"]
        return {**super().measures(state), "effort": state.sums["effort"] / (accepted + (accepted == 0))}

    # ---- what theory says ---------------------------------------------------------------------------------------

    @functools.cached_property
    def _first_best(self) -> tuple[int, float, float]:
        """Effort, flat pay and profit when effort can be seen; the profit is 0 where it is best not to hire."""
        p, x = np.asarray(self.chances), np.asarray(self.outcomes)
        pays = [self.needed(self.reservation + cost) for cost in self.costs]
        values = p @ x - np.asarray(self._compensations)
        values[np.asarray(pays) > self.max_pay] = -np.inf
        effort = int(np.argmax(values))
        return effort, min(pays[effort], self.max_pay), max(float(values[effort]), 0.0)

    @property
    def first_best_pay(self) -> float:
        """The flat pay for the best effort when effort can be seen, in coins."""
        return self._first_best[1]

    def cheapest(self, effort: int) -> tuple[tuple[float, ...], float] | None:
        """Return the cheapest pay that makes the agent accept and choose an effort, and its expectation; None if none
        does.

        Linear utility: a linear programme (HiGHS). Square root: a least-distance problem in utilities, solved exactly
        by non-negative least squares (Lawson and Hanson 1974, chapter 23). The answer is checked for the agent's
        regret.
        """
        validate.whole("effort", effort, 0, len(self.costs) - 1)
        p, cost = np.asarray(self.chances), np.asarray(self.costs)
        others = [e for e in range(len(cost)) if e != effort]
        rows = np.array([*(p[effort] - p[e] for e in others), p[effort]])
        sides = np.array([*(cost[effort] - cost[e] for e in others), cost[effort] + self.reservation])
        pay = (self._linear if self.utility == "linear" else self._square_root)(p[effort], rows, sides)
        if pay is None:
            return None
        utils = p @ np.asarray(self.felt(pay)) - cost
        regret = max(utils.max(), self.reservation) - utils[effort]
        if regret > TOLERANCE or pay.min() < self.lowest_pay or pay.max() > self.max_pay:
            raise RuntimeError(
                f"cheapest: the solver's pay {pay} leaves the agent a regret of {regret:g} at effort {effort}"
            )
        return tuple(float(v) for v in pay), float(p[effort] @ pay)

    def _linear(self, p: Any, rows: Any, sides: Any) -> Any:
        from scipy.optimize import linprog

        bounds = [(self.lowest_pay, self.max_pay)] * len(p)
        found = linprog(p, A_ub=-rows, b_ub=-sides, bounds=bounds, method="highs")
        if found.status not in (0, 2):  # 2: no pay within the bounds does it
            raise RuntimeError(f"cheapest: the linear programme was not solved: {found.message}")
        return np.clip(found.x, self.lowest_pay, self.max_pay) if found.status == 0 else None

    def _square_root(self, p: Any, rows: Any, sides: Any) -> Any:
        from scipy.optimize import nnls

        some = p > 0  # what cannot happen under this effort is best paid nothing
        scale, count = np.sqrt(p[some]), int(some.sum())
        most = math.sqrt(self.max_pay)
        # in z = sqrt(p) sqrt(pay), the length of which is the expected pay: the shortest z with walls @ z >= least
        walls = np.vstack([rows[:, some], np.eye(count), -np.eye(count)]) / scale
        least = np.concatenate([sides, np.zeros(count), np.full(count, -most)])
        system = np.vstack([walls.T, least])
        target = np.append(np.zeros(count), 1.0)
        weights = nnls(system, target)[0]
        residual = system @ weights - target
        if np.linalg.norm(residual) < 1e-9:
            return None  # the constraints contradict each other
        z = -residual[:-1] / residual[-1]
        binding = weights > 1e-12
        exact = np.linalg.lstsq(walls[binding], least[binding], rcond=None)[0] if binding.any() else z
        if (walls @ exact - least).min() > (walls @ z - least).min():
            z = exact  # the same point without the rounding of the residual
        if (walls @ z - least).min() < -TOLERANCE:
            z = _shortest(walls, least)  # degenerate: many walls meet
            if z is None:
                return None
        utils = np.zeros(len(p))
        utils[some] = np.clip(z / scale, 0.0, most)
        return np.minimum(utils**2, self.max_pay)

    def response(self, pay: Array) -> tuple[Array, Array]:
        """Return the agent's best answer to pay (*batch, outcomes): acceptance and effort, integer (*batch).

        Indifferent, it accepts, and takes the effort that the principal likes best.
        """
        xp = namespace(pay)
        p = constant(pay, self.chances)
        utils = xp.sum(self.felt(pay)[..., None, :] * p, axis=-1) - constant(pay, self.costs)
        best = xp.max(utils, axis=-1)
        value = xp.sum((constant(pay, self.outcomes) - pay)[..., None, :] * p, axis=-1)
        good = xp.where(utils >= best[..., None] - TOLERANCE, value, value * 0.0 - 1e300)
        return to_int(best >= self.reservation - TOLERANCE), xp.argmax(good, axis=-1)

    def expected(self, pay: tuple[float, ...]) -> tuple[float, float]:
        """Return expected profit and welfare of a round in which the agent answers an offer at its best."""
        accept, effort = self.response(np.asarray(pay))
        if not accept:
            return 0.0, 0.0
        p, x = np.asarray(self.chances)[int(effort)], np.asarray(self.outcomes)
        offer = np.asarray(pay, dtype=float)
        welfare = float(p @ x) - float(self._premium(offer, self.felt(offer), p)) - self._compensations[int(effort)]
        return float(p @ (x - offer)), welfare

    @functools.cached_property
    def optimal_pay(self) -> tuple[float, ...]:
        """The principal's best offer when effort is hidden; no offer on a coarse grid does better."""
        offers = [found[0] for effort in range(len(self.costs)) if (found := self.cheapest(effort)) is not None]
        offers.append((self.lowest_pay,) * len(self.outcomes))  # an offer that may be refused
        best = max(offers, key=lambda pay: self.expected(pay)[0])
        value = self.expected(best)[0]
        steps = np.linspace(self.lowest_pay, self.max_pay, max(2, int(10_000 ** (1 / len(self.outcomes)))))
        grid = np.stack(np.meshgrid(*[steps] * len(self.outcomes), indexing="ij"), axis=-1).reshape(
            -1, len(self.outcomes)
        )
        accept, effort = self.response(grid)
        profits = accept * ((np.asarray(self.outcomes) - grid) * np.asarray(self.chances)[effort]).sum(axis=-1)
        if profits.max() > value + 1e-6 * (1.0 + abs(value)):
            better = grid[int(profits.argmax())]
            raise RuntimeError(f"optimal_pay: {best} gives {value:g}, but offering {better} gives {profits.max():g}")
        return best

    def benchmarks(self) -> Benchmarks:
        """Return the first best, the second best (which is the equilibrium), and what flat pay reaches."""
        effort, wage, best = self._first_best
        flat = (min(self.needed(self.reservation + min(self.costs)), self.max_pay),) * len(self.outcomes)
        nothing = (self.lowest_pay,) * len(self.outcomes)
        flat = max((flat, nothing), key=lambda pay: self.expected(pay)[0])
        second = self.repetitions * self.expected(self.optimal_pay)[1]

        def offers(pay: tuple[float, ...]) -> Any:
            def play(seen: Seen) -> Acts:
                return {"pay": seen["pay"] * 0.0 + constant(seen["pay"], pay)}

            return play

        def answers(seen: Seen) -> Acts:
            accept, chosen = self.response(seen["pay"])
            return {"accept": accept, "effort": chosen}

        def obeys(seen: Seen) -> Acts:
            none = seen["stage"] * 0
            return {"accept": none + int(best > 0), "effort": none + effort}

        equilibrium = {"principal": offers(self.optimal_pay), "agent": answers}
        optimum = "linear programme" if self.utility == "linear" else "least-distance programme"
        return Benchmarks(
            first_best=Level(
                self.repetitions * best,
                "effort seen and paid for: the best effort at a flat pay",
                {"principal": offers((wage,) * len(self.outcomes)), "agent": obeys},
            ),
            second_best=Level(
                second,
                f"optimal pay with hidden effort, by a {optimum} for each effort (Grossman and Hart 1983)",
                equilibrium,
            ),
            equilibrium=Level(second, "subgame-perfect: the optimal offer and the agent's best answer", equilibrium),
            baseline=Level(
                self.repetitions * self.expected(flat)[1],
                "the best pay that does not depend on the outcome",
                {"principal": offers(flat), "agent": answers},
            ),
        )


def _tuples(name: str, values: Any) -> Any:
    """Return nested lists as nested tuples, so that parameters can be read from data."""
    if not isinstance(values, list | tuple):
        raise ValueError(f"{name}: a list of numbers, got {values!r}")
    return tuple(_tuples(name, v) if isinstance(v, list | tuple) else v for v in values)


def _shortest(walls: Any, least: Any) -> Any:
    """Return the shortest z with walls @ z >= least by sequential quadratic programming, or None if there is no such z."""
    from scipy.optimize import linprog, minimize

    count = walls.shape[1]
    some = linprog(np.zeros(count), A_ub=-walls, b_ub=-least, bounds=[(None, None)] * count, method="highs")
    if not some.success:
        return None
    within = {"type": "ineq", "fun": lambda z: walls @ z - least, "jac": lambda z: walls}
    found = minimize(
        lambda z: z @ z / 2, some.x, jac=lambda z: z, constraints=[within], method="SLSQP", options={"ftol": 1e-14}
    )
    return found.x if (walls @ found.x - least).min() >= -TOLERANCE else some.x
