"""Hidden action: a principal pays for outcomes, an agent chooses the effort that nobody else sees."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..core import validate
from ..core.arrays import Array, absent, constant, full, namespace, to_float, to_int
from ..core.chance import categorical
from ..core.fields import Choice, Field, Integer, Real, Role
from ..core.game import Acts, Benchmarks, Game, Level, Measure, Outcome, Seen, Stage, spread, stage_field

TOLERANCE = 1e-7  # in utils: below it the agent is indifferent, and sides with the principal
STAGES = (
    Stage("offer", "the principal offers a pay for each outcome"),
    Stage("answer", "the agent accepts or refuses, and chooses its effort"),
)


class HiddenState(NamedTuple):
    """Stage, rounds played, offered pay (*batch, outcomes), last outcome and answer, and sums over the rounds (*batch)."""

    stage: Array
    played: Array
    pay: Array
    outcome: Array
    answer: Array
    profit: Array
    rent: Array
    accepted: Array
    effort: Array


@dataclass(frozen=True)
class HiddenAction(Game):
    """Principal and agent with finitely many efforts and outcomes (Grossman and Hart 1983, doi:10.2307/1912246).

    The agent's utility is u(pay) - cost(effort), its outside option ``reservation``; the principal gets the outcome's
    value less the pay. Welfare is profit + m (utility - reservation), where m is the multiplier of the participation
    constraint when effort can be seen (1 if u is linear, else 1/u'(pay)): the agent's rent in coins.

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

    draws = 1
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
        validate.one_of("utility", self.utility, ("linear", "sqrt"))
        validate.real("max_pay", self.max_pay, 1e-9)
        validate.real("reservation", self.reservation)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        if len(self.outcomes) < 2 or len(self.costs) < 2:
            raise ValueError(f"outcomes, costs: at least 2 of each, got {len(self.outcomes)} and {len(self.costs)}")
        if len(self.chances) != len(self.costs):
            raise ValueError(f"chances: one row for each of the {len(self.costs)} efforts, got {len(self.chances)}")
        for effort, row in enumerate(self.chances):
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
    def stages(self) -> tuple[Stage, ...]:
        """Offer, then answer."""
        return STAGES

    @property
    def rounds(self) -> int:
        """Repetitions."""
        return self.repetitions

    @property
    def lowest_pay(self) -> float:
        """Lowest pay that can be offered."""
        return 0.0 if self.limited_liability or self.utility == "sqrt" else -self.max_pay

    @functools.cached_property
    def roles(self) -> tuple[Role, ...]:
        """The principal, and the agent."""
        pay = Real(self.lowest_pay, self.max_pay)
        common = (
            stage_field(STAGES),
            Field("round", Integer(1, self.repetitions), "this round's number"),
            Field("outcome", Choice((*self.names, "none")), "the last outcome", verifiable=True),
            Field("answer", Choice(("refused", "accepted", "none")), "the agent's last answer", verifiable=True),
            Field("offered", pay, "the pay on offer for each outcome", "coins", each=self.names, verifiable=True),
        )
        offer = Field("pay", pay, "the pay you offer for each outcome", "coins", each=self.names, stage="offer")
        accept = Field("accept", Choice(("refuse", "accept")), "whether you take the offer", stage="answer")
        effort = Field("effort", Choice(self.efforts), "your effort if you accept; nobody sees it", stage="answer")
        return (
            Role("principal", 1, common, (offer,), "you own what is produced and pay for it"),
            Role("agent", 1, common, (accept, effort), "you do the work"),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def felt(self, pay: Array) -> Array:
        """Return the utility of pay, in utils."""
        xp = namespace(pay)
        return pay * 1.0 if self.utility == "linear" else xp.sqrt(xp.clip(pay, 0.0, None))

    def needed(self, utils: float) -> float:
        """Return the pay that gives a utility: the inverse of ``felt``; 0 where less than nothing is needed under a bound."""
        if self.utility == "linear":
            return max(utils, self.lowest_pay)
        return max(utils, 0.0) ** 2

    def start(self, u: Array) -> HiddenState:
        """Return the state before the first offer."""
        batch = tuple(u.shape[:-1])
        zero, none = full(u, batch, 0, integer=True), full(u, batch, 0.0)
        pay = full(u, (*batch, len(self.outcomes)), max(0.0, self.lowest_pay))
        return HiddenState(zero, zero, pay, zero + len(self.outcomes), zero + 2, none, none, none, none)

    def stage(self, state: HiddenState) -> Array:
        """Return 0 for the offer, 1 for the answer."""
        return state.stage

    def round(self, state: HiddenState) -> Array:
        """Return the rounds played."""
        return state.played

    def view(self, state: HiddenState) -> dict[str, Seen]:
        """Show both the offer, the last outcome and the last answer; the effort to nobody."""
        seen = {
            "stage": spread(state.stage, 1),
            "round": spread(state.played + (state.played < self.repetitions), 1),
            "outcome": spread(state.outcome, 1),
            "answer": spread(state.answer, 1),
            "offered": state.pay[..., None, :],
        }
        return {"principal": seen, "agent": dict(seen)}

    def step(self, state: HiddenState, acts: Mapping[str, Acts], u: Array) -> Outcome:
        """Take the offer down, or let the agent answer and work."""
        xp = namespace(state.pay)
        working = state.stage == 1
        pay = xp.where(working[..., None], state.pay, to_float(acts["principal"]["pay"][..., 0, :]))
        if absent(working):
            zero = to_float(state.stage) * 0.0
            offered = state._replace(stage=state.stage + 1, pay=pay)
            return Outcome(offered, {"principal": zero[..., None], "agent": zero[..., None]}, working, zero)
        hired = working & (acts["agent"]["accept"][..., 0] == 1)
        effort = to_int(acts["agent"]["effort"][..., 0])
        outcome = categorical(u[..., 0], constant(pay, self.chances)[effort])
        paid = xp.sum(xp.where(_one_hot(outcome, len(self.outcomes)), pay, pay * 0.0), axis=-1)
        zero = paid * 0.0
        profit = xp.where(hired, constant(pay, self.outcomes)[outcome] - paid, zero)
        utility = xp.where(hired, self.felt(paid) - constant(pay, self.costs)[effort], zero + self.reservation)
        utility = xp.where(working, utility, zero)
        rent = xp.where(working, utility - self.reservation, zero)
        played = state.played + to_int(working)
        after = HiddenState(
            stage=1 - state.stage,
            played=played,
            pay=pay,
            outcome=xp.where(working, xp.where(hired, outcome, outcome * 0 + len(self.outcomes)), state.outcome),
            answer=xp.where(working, to_int(hired), state.answer),
            profit=state.profit + profit,
            rent=state.rent + rent,
            accepted=state.accepted + to_float(hired),
            effort=state.effort + xp.where(hired, to_float(effort), zero) / (len(self.costs) - 1),
        )
        rewards = {"principal": profit[..., None], "agent": utility[..., None]}
        return Outcome(after, rewards, played >= self.repetitions, profit + self._first_best[2] * rent)

    def measures(self, state: HiddenState) -> dict[str, Array]:
        """Return profit, rent and acceptance a round, and effort where accepted."""
        xp = namespace(state.profit)
        played, hired = xp.clip(to_float(state.played), 1.0, None), xp.clip(state.accepted, 1.0, None)
        return {
            "profit": state.profit / played,
            "rent": state.rent / played,
            "accepted": state.accepted / played,
            "effort": state.effort / hired,
        }

    # ---- what theory says ---------------------------------------------------------------------------------------

    @functools.cached_property
    def _first_best(self) -> tuple[int, float, float]:
        """Effort, flat pay and multiplier when effort can be seen."""
        p, x = np.asarray(self.chances), np.asarray(self.outcomes)
        pays = [self.needed(self.reservation + cost) for cost in self.costs]
        effort = int(np.argmax(p @ x - np.asarray(pays)))
        multiplier = 1.0 if self.utility == "linear" else 2.0 * math.sqrt(pays[effort])
        # with the agent's utility so weighted, another effort may be better still at the same pay
        effort = int(np.argmax(p @ x - multiplier * np.asarray(self.costs)))
        return effort, pays[effort] if self.utility == "linear" else (multiplier / 2.0) ** 2, multiplier

    def cheapest(self, effort: int) -> tuple[tuple[float, ...], float] | None:
        """Return the cheapest pay that makes the agent accept and choose an effort, and its expectation; None if none
        does.

        Linear utility: a linear programme (HiGHS). Square root: a least-distance problem in utilities, solved exactly
        by non-negative least squares (Lawson and Hanson 1974, chapter 23). The answer is checked for the agent's
        regret.
        """
        p, cost = np.asarray(self.chances), np.asarray(self.costs)
        rows = [p[effort] - p[e] for e in range(len(cost)) if e != effort] + [p[effort]]
        sides = [cost[effort] - cost[e] for e in range(len(cost)) if e != effort] + [cost[effort] + self.reservation]
        if self.utility == "linear":
            pay = self._linear(p[effort], np.array(rows), np.array(sides))
        else:
            pay = self._square_root(p[effort], np.array(rows), np.array(sides))
        if pay is None:
            return None
        utils = p @ np.asarray(self.felt(pay)) - cost
        if max(utils.max(), self.reservation) - utils[effort] > TOLERANCE:
            raise RuntimeError(f"cheapest: the solver's pay {pay} leaves the agent a regret at effort {effort}")
        return tuple(float(v) for v in pay), float(p[effort] @ pay)

    def _linear(self, p: Any, rows: Any, sides: Any) -> Any:
        from scipy.optimize import linprog

        bounds = [(self.lowest_pay, self.max_pay)] * len(p)
        found = linprog(p, A_ub=-rows, b_ub=-sides, bounds=bounds, method="highs")
        return found.x if found.success else None

    def _square_root(self, p: Any, rows: Any, sides: Any) -> Any:
        from scipy.optimize import nnls

        some = p > 0  # what cannot happen under this effort is best paid nothing
        scale = np.sqrt(p[some])
        count = int(some.sum())
        lower = np.vstack([rows[:, some], np.eye(count), -np.eye(count)]) / scale
        least = np.concatenate([sides, np.zeros(count), np.full(count, -math.sqrt(self.max_pay))])
        system = np.vstack([lower.T, least])
        target = np.append(np.zeros(count), 1.0)
        residual = system @ nnls(system, target)[0] - target
        if np.linalg.norm(residual) < 1e-10:
            return None  # the constraints contradict each other
        utils = np.zeros(len(p))
        utils[some] = -residual[:-1] / residual[-1] / scale
        return np.clip(utils, 0.0, None) ** 2

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
        p = np.asarray(self.chances)[int(effort)]
        profit = float(p @ (np.asarray(self.outcomes) - np.asarray(pay)))
        rent = float(p @ np.asarray(self.felt(np.asarray(pay)))) - self.costs[int(effort)] - self.reservation
        return profit, profit + self._first_best[2] * rent

    @functools.cached_property
    def optimal_pay(self) -> tuple[float, ...]:
        """The principal's best offer when effort is hidden."""
        offers = [found[0] for effort in range(len(self.costs)) if (found := self.cheapest(effort)) is not None]
        offers.append((self.lowest_pay,) * len(self.outcomes))  # an offer that may be refused
        return max(offers, key=lambda pay: self.expected(pay)[0])

    def benchmarks(self) -> Benchmarks:
        """Return the first best, the second best (which is the equilibrium), and what flat pay reaches."""
        effort, wage, _ = self._first_best
        value = float(np.asarray(self.chances)[effort] @ np.asarray(self.outcomes)) - wage
        rent = float(self.felt(np.asarray(wage))) - self.costs[effort] - self.reservation
        best = value + self._first_best[2] * rent
        flat = (self.needed(self.reservation + min(self.costs)),) * len(self.outcomes)
        nothing = (self.lowest_pay,) * len(self.outcomes)
        flat = max((flat, nothing), key=lambda pay: self.expected(pay)[0])
        second = self.repetitions * self.expected(self.optimal_pay)[1]

        def offers(pay: tuple[float, ...]) -> Any:
            def play(seen: Seen) -> Acts:
                return {"pay": seen["offered"] * 0.0 + constant(seen["offered"], pay)}

            return play

        def answers(seen: Seen) -> Acts:
            accept, chosen = self.response(seen["offered"])
            return {"accept": accept, "effort": chosen}

        def obeys(seen: Seen) -> Acts:
            none = seen["stage"] * 0
            return {"accept": none + int(best > 0), "effort": none + effort}

        equilibrium = {"principal": offers(self.optimal_pay), "agent": answers}
        optimum = "linear programme" if self.utility == "linear" else "least-distance programme"
        return Benchmarks(
            first_best=Level(
                self.repetitions * max(best, 0.0),
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


def _one_hot(index: Array, size: int) -> Array:
    xp = namespace(index)
    return index[..., None] == xp.arange(size, device=index.device)
