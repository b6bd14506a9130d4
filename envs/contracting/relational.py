"""Relational contracts: a bonus that no court enforces is paid for the sake of what is still to come."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..core import validate
from ..core.arrays import Array, namespace, to_float, to_int
from ..core.fields import Choice, Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, RoundState, Settled

SOURCE = "Levin 2003"
TOLERANCE = 1e-9  # in coins: below it a player is indifferent, and does what is asked of it
REACHED = 1e-5  # most that the probability of outlasting all repetitions may be


@dataclass(frozen=True)
class Relational(RoundGame):
    """Relational contracts without a court (Bull 1987; Baker, Gibbons and Murphy 1994, doi:10.2307/2118358; Levin 2003,
    doi:10.1257/000282803322157115).

    Effort e produces e coins and costs the agent c e^2/2; both see it, no court does. The principal pays an agreed
    salary, and promises a bonus for a required effort. A round is followed by another with probability delta. Refusal
    means a formal contract, of surplus f shared equally; so does broken trust in the equilibrium (grim trigger). Effort
    can be enforced where the bonus that it takes is less than what the principal loses with the relationship,
    c e^2/2 <= delta/(1 - delta) (e - c e^2/2 - f). The most is e* = min(1, delta + sqrt(delta^2 - 2 delta c f)) / c if
    c f <= delta/2; beyond, no relational contract is worth keeping and f is what is left. Welfare is e - c e^2/2, or f.

    Parameters
    ----------
    delta
        Probability that the relationship goes on after a round.
    fallback
        Surplus a round of the formal contract after a refusal, f, in coins; half goes to each.
    cost
        Slope of the marginal cost of effort, c, in coins; the efficient effort is 1/c.
    max_pay
        Most that can be paid as a salary, by either side, and as a bonus, in coins.
    repetitions
        Rounds after which an episode ends in any case. The last of them is known to be the last, so that theory for
        an open end applies only if it is hardly ever reached: delta**repetitions is at most 0.00001.
    """

    delta: float = 0.8
    fallback: float = 0.0
    cost: float = 1.0
    max_pay: float = 1.0
    repetitions: int = 60

    luck = 1
    stages = (
        Stage("offer", "the principal offers a salary and promises a bonus for a required effort"),
        Stage("work", "the agent accepts or refuses, and chooses its effort"),
        Stage("reward", "the principal pays a bonus, as promised or not"),
    )
    reports = (
        Measure("effort", "mean effort where accepted", "sum of efforts / #accepted"),
        Measure("bonus", "mean bonus paid where accepted", "sum of bonuses / #accepted", "coins"),
        Measure(
            "kept", "share of promised bonuses that were earned and then paid (0 if none was earned)", "#paid / #earned"
        ),
        Measure("trust", "share of rounds that began with trust intact", "#intact / #rounds"),
        Measure("accepted", "share of offers accepted", "#accepted / #rounds"),
        Measure("profit", "the principal's payoff a round", "effort - salary - bonus, f/2 if refused", "coins"),
        Measure(
            "rent", "the agent's gain over refusing, a round", "salary + bonus - c e^2/2 - f/2, 0 if refused", "coins"
        ),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("delta", self.delta, 0.0, 0.99)
        validate.real("cost", self.cost, 1e-3, 1e3)
        validate.real("fallback", self.fallback, 0.0, 0.5 / self.cost)
        validate.real("max_pay", self.max_pay, 0.5 / self.cost, 1e6)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        least = math.ceil(math.log(REACHED) / math.log(self.delta) - 1e-9) if self.delta > 0.0 else 1
        if self.repetitions < least:
            raise ValueError(
                f"repetitions: at least {least} at delta={self.delta:g}, so that the last is hardly ever reached, "
                f"got {self.repetitions}"
            )

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        return (
            "A principal and an agent work together, round after round. In each round the principal offers a salary (a negative "
            "one is paid by the agent), and promises a bonus for a required effort. The agent refuses, or accepts and chooses an "
            f"effort e, which produces e coins for the principal and costs the agent {self.cost / 2:g} e^2 coins; efficient is "
            f"e = {1 / self.cost:g}. The salary is paid whatever the effort. The principal sees the effort and then pays any "
            "bonus it likes: no court enforces the promise, or the required effort. The principal's reward is e - salary - bonus, "
            f"the agent's salary + bonus - {self.cost / 2:g} e^2. If the agent refuses, nothing is paid and each gets "
            f"{self.fallback / 2:g} from a formal contract.\n"
            "Trust is intact at first. It breaks, for good and for both to see, when an agent that accepted works less than "
            "required, or when the principal pays less than it promised though the required effort was made. Broken trust forbids "
            "nothing: it is for the players to draw conclusions.\n"
            f"After each round the relationship ends with probability {1 - self.delta:.4g}; it ends after round "
            f"{self.repetitions} in any case."
        )

    def cast(self) -> tuple[Role, ...]:
        """The principal, and the agent."""
        salary, bonus, effort = Real(-self.max_pay, self.max_pay), Real(0.0, self.max_pay), Real(0.0, 2.0 / self.cost)
        accept = Choice(("refuse", "accept"))
        seen = (
            Field("trust", Choice(("intact", "broken")), "whether all promises have been kept so far"),
            Field("salary", salary, "the salary last offered", "coins", verifiable=True),
            Field("promise", bonus, "the bonus last promised", "coins"),
            Field("required", effort, "the effort last required for the bonus"),
            Field("accept", accept, "the agent's last answer", verifiable=True),
            Field("effort", effort, "the agent's last effort; it counts if it accepted"),
            Field("bonus", bonus, "the bonus last paid; it counts if the agent accepted", "coins", verifiable=True),
        )
        offer = (
            Field("salary", salary, "the salary you offer, paid whatever the effort", "coins", stage="offer"),
            Field("promise", bonus, "the bonus you promise for the required effort", "coins", stage="offer"),
            Field("required", effort, "the effort you require for the bonus", stage="offer"),
        )
        reward = Field(
            "bonus", bonus, "the bonus you pay; nothing is paid if the offer was refused", "coins", stage="reward"
        )
        work = (
            Field("accept", accept, "whether you take the offer", stage="work"),
            Field("effort", effort, "your effort if you accept", stage="work"),
        )
        return (
            Role("principal", 1, seen, (*offer, reward), "you own what is produced and pay for it"),
            Role("agent", 1, seen, work, "you do the work"),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    @property
    def summed(self) -> tuple[str, ...]:
        """The measures' sums, and the number of bonuses earned."""
        return (*super().summed, "earned")

    def recall(self, like: Array) -> Record:
        """Return that trust is intact."""
        return {"trust": like}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Pay salary and bonus, see whether promises were kept, and draw whether the relationship goes on."""
        principal, effort = acts["principal"], acts["agent"]["effort"]
        xp, hired, trust = namespace(effort), acts["agent"]["accept"] == 1, memory["trust"]
        pain, half = self.cost * effort**2 / 2, self.fallback / 2
        profit = xp.where(hired, effort - principal["salary"] - principal["bonus"], half)
        rent = xp.where(hired, principal["salary"] + principal["bonus"] - pain - half, 0.0)
        worked, paid = effort >= principal["required"], principal["bonus"] >= principal["promise"]
        earned = hired & worked & (principal["promise"] > 0.0)
        return Settled(
            {"principal": profit, "agent": rent + half},
            welfare=xp.where(hired, effort - pain, self.fallback),
            sums={
                "effort": effort * hired,
                "bonus": principal["bonus"] * hired,
                "kept": to_float(earned & paid),
                "trust": to_float(trust == 0),
                "accepted": to_float(hired),
                "profit": profit,
                "rent": rent,
                "earned": to_float(earned),
            },
            memory={"trust": to_int((trust == 1) | (hired & ~(worked & paid)))},
            over=u[..., 0] >= self.delta,
        )

    def measures(self, state: RoundState) -> Record:
        """Return effort and bonus where accepted, promises kept where earned, and the rest a round."""
        means, sums = super().measures(state), state.sums
        means |= {name: _ratio(sums[name], sums["accepted"]) for name in ("effort", "bonus")}
        means["kept"] = _ratio(sums["kept"], sums["earned"])
        return {measure.name: means[measure.name] for measure in self.reports}

    # ---- what theory says ---------------------------------------------------------------------------------------

    @property
    def expected_rounds(self) -> float:
        """Expected length of an episode: sum over t < repetitions of delta^t."""
        return (1.0 - self.delta**self.repetitions) / (1.0 - self.delta)

    @property
    def best_effort(self) -> float | None:
        """The most effort, up to the efficient one, that a relational contract enforces; None if there is no such contract."""
        rest = self.delta**2 - 2 * self.delta * self.cost * self.fallback
        if rest < -1e-12:
            return None
        return min(1.0, self.delta + math.sqrt(max(rest, 0.0))) / self.cost

    def surplus(self, effort: float | None) -> float:
        """Return the surplus of a round with this effort, or of the formal contract."""
        return self.fallback if effort is None else effort - self.cost * effort**2 / 2

    @property
    def credible(self) -> float:
        """The largest bonus that the principal pays rather than lose the relationship; -1 if there is none to lose."""
        if self.best_effort is None:
            return -1.0
        return self.delta / (1.0 - self.delta) * (self.surplus(self.best_effort) - self.fallback)

    def benchmarks(self) -> Benchmarks:
        """Return the first best, the best relational contract (the equilibrium), and what the formal contract gives."""
        best, length = self.best_effort, self.expected_rounds
        value, efficient = length * self.surplus(best), 1.0 / self.cost
        if best is None:
            words = "none is worth keeping: the formal contract"
        else:
            words = f"e = {best:.4g}, by grim trigger; the known last round could tempt by {self._last_round(best):.1g} coins"
        equilibrium = self._plays(best, self.credible)
        return Benchmarks(
            first_best=Level(
                length * self.surplus(efficient),
                "the efficient effort, for a bonus that is paid",
                self._plays(efficient, self.max_pay),
            ),
            second_best=Level(value, f"the best relational contract ({SOURCE}): {words}", equilibrium),
            equilibrium=Level(value, f"the best self-enforcing contract ({SOURCE}): {words}", equilibrium),
            baseline=Level(
                length * self.fallback,
                "no promise is believed: the formal contract in every round",
                self._plays(None, -1.0),
            ),
        )

    def _last_round(self, effort: float) -> float:
        """Return what not to pay in the last possible round is worth: the bonus times the chance to get there."""
        return self.delta ** (self.repetitions - 1) * self.cost * effort**2 / 2

    def _plays(self, effort: float | None, credible: float) -> dict[str, Callable[[Seen], Acts]]:
        """Return strategies by which, while trust lasts, an effort is asked for and bonuses up to ``credible`` are paid.

        The bonus just pays for the effort and the salary for refusing, so that the agent gets what the formal contract
        gives it. Without trust the offer is one to be refused. The agent answers any offer at its best, knowing which
        bonuses will be paid; indifferent, it does what is asked.
        """
        half, asked = self.fallback / 2, 0.0 if effort is None else effort
        bonus = min(self.cost * asked**2 / 2, self.max_pay)

        def principal(seen: Seen) -> Acts:
            xp, none = namespace(seen["salary"]), seen["salary"] * 0.0
            trusting = seen["trust"] < (0 if effort is None else 1)
            worked = (seen["accept"] == 1) & (seen["effort"] >= seen["required"])
            owed = (seen["trust"] == 0) & worked & (seen["promise"] <= credible + TOLERANCE)
            return {
                "salary": xp.where(trusting, none + half, -self.max_pay),
                "promise": xp.where(trusting, none + bonus, 0.0),
                "required": xp.where(trusting, none + asked, 0.0),
                "bonus": xp.where(owed, seen["promise"], 0.0),
            }

        def agent(seen: Seen) -> Acts:
            xp = namespace(seen["salary"])
            gain = seen["promise"] - self.cost * seen["required"] ** 2 / 2
            works = (seen["trust"] == 0) & (seen["promise"] <= credible + TOLERANCE) & (gain >= -TOLERANCE)
            value = seen["salary"] + xp.where(works, gain, 0.0)
            return {
                "accept": to_int(value >= half - TOLERANCE),
                "effort": xp.where(works, seen["required"], 0.0),
            }

        return {"principal": principal, "agent": agent}


def _ratio(part: Array, whole: Array) -> Array:
    """Return part / whole, 0 where the whole is 0."""
    return part / (whole + (whole == 0))
