"""Incomplete contracts: what cannot be written down, and what fills the gap."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np

from ..core import validate
from ..core.arrays import Array, full, namespace, to_float, to_int
from ..core.chance import normal
from ..core.fields import Choice, Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, RoundState, Settled

REMEDIES = ("nothing", "renegotiation", "bonus", "norm", "court", "care")
UNKNOWN, WRITTEN, UNWRITTEN = 0, 1, 2
SOURCE = "after Hadfield-Menell and Hadfield 2019 (arXiv:1804.04268)"
MAX_SLOPE = 2.0  # most that can be promised for a unit of what is measured
SLACK = 1e-9  # in coins: below it players are indifferent, and do what they agreed to

_GAP = {
    "nothing": "What the contract does not cover is left to the agent.",
    "renegotiation": "If the contingency is not covered, the two can bargain once it is known: the principal names a price for "
    "full care (to name one costs it {haggling:g}), and if the agent takes it, its care is 1 and the price is paid.",
    "bonus": "The principal may promise a bonus for a required care where the contract says nothing. No court enforces the "
    "promise: after the agent has acted the principal pays what it likes. A broken promise, or less care than was required, is "
    "remembered by both.",
    "norm": "Among agents it is the custom to take care even where nothing is written: there the agent's reward grows by "
    "{esteem:g} a unit of care, the esteem of its peers. The more is written, the weaker the custom.",
    "court": "If the contingency is not covered, a court fills the gap as well as it can: with probability {guess:.3g} it "
    "understands what was meant, and the agent then pays the principal what is missing to a care of 1. Less than full care "
    "costs the principal {litigation:g} to take to court.",
    "care": "The agent cares for the principal: {prosocial:g} times the principal's payoff is added to its reward.",
}


@dataclass(frozen=True)
class IncompleteContract(RoundGame):
    """A task with contingencies of which only some can be written into the contract.

    In each round one of k contingencies, all equally likely, comes up after the contract is signed. The agent then takes
    care a1 (worth a1 to the principal) and may put on a show a2, at a cost of (a1^2 + a2^2)/2. In a written contingency a
    court enforces the contract's pay, ``slope`` times the measure x = a1 cos(angle) + a2 sin(angle) + noise: what is
    written is distorted as far as the measure is at an angle to value (Baker 2002), and blunted by risk. In an unwritten
    one no pay can be conditioned on anything, and care depends on the remedy:

    - ``nothing``: the agent takes none;
    - ``renegotiation``: once the contingency is known it can be bargained over, at a cost (Hart and Moore 1988);
    - ``bonus``: a promise kept for the sake of the relationship (Baker, Gibbons and Murphy 1994), which needs the future, and
      for which a better formal contract is a worse threat;
    - ``norm``: a custom of care that fades as more is written (Gneezy and Rustichini 2000, "A fine is a price");
    - ``court``: expectation damages for what the contract did not say, found the better the more it did say;
    - ``care``: an agent that weighs the principal's payoff with lambda.

    Welfare is material, in coins: value less effort, risk premium, haggling and litigation; esteem and sympathy move
    behaviour but are not counted. The contingency is seen by both when it has come up. After each round the two part
    with probability 1 - discount.

    Parameters
    ----------
    contingencies
        Number of contingencies, k.
    written
        How many of them the contract can cover; ``written / contingencies`` is the contractible share.
    remedy
        What fills the gap.
    angle
        Between the measure and value, in degrees, 0 to 90.
    noise
        Variance of the measure.
    risk_aversion
        Of the agent (constant and absolute), towards the noise in its pay.
    enforcement
        Probability that the court enforces what is owed.
    discount
        Probability that the relationship goes on after a round.
    haggling
        Cost of renegotiating, in coins.
    esteem
        Esteem for a unit of care if nothing is written, in coins; it falls in proportion to what is written.
    accuracy
        Probability that a court understands an unwritten contingency when nothing is written; it rises linearly to 1.
    litigation
        Cost of going to court over an unwritten contingency, in coins.
    prosocial
        Weight lambda of the principal's payoff in the caring agent's reward.
    repetitions
        Most rounds of an episode.
    """

    contingencies: int = 10
    written: int = 5
    remedy: str = "nothing"
    angle: float = 30.0
    noise: float = 0.2
    risk_aversion: float = 1.0
    enforcement: float = 1.0
    discount: float = 0.7
    haggling: float = 0.1
    esteem: float = 0.6
    accuracy: float = 0.5
    litigation: float = 0.05
    prosocial: float = 0.3
    repetitions: int = 40

    nature = 1
    luck = 5
    reports = (
        Measure("surplus", "welfare a round", "a1 - (a1^2 + a2^2)/2 - premium - haggling - litigation", "coins"),
        Measure("profit", "the principal's payoff a round", "a1 - what is paid - haggling - litigation", "coins"),
        Measure("accepted", "share of offers accepted", "#accepted / #rounds"),
        Measure(
            "care_written",
            "mean care where the contract says what is paid; 0 if it never did",
            "mean a1, accepted and written",
        ),
        Measure(
            "care_unwritten",
            "mean care where it says nothing; 0 if it always said something",
            "mean a1, accepted and unwritten",
        ),
        Measure(
            "show",
            "mean effort that is only for show where performance is paid",
            "mean a2, accepted and written",
            better="lower",
        ),
        Measure("trust", "share of societies in which no promise was broken", "1 if none was, else 0"),
    )
    summed = ("surplus", "profit", "accepted", "written", "care_written", "care_unwritten", "show")

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("contingencies", self.contingencies, 1, 1_000)
        validate.whole("written", self.written, 0, self.contingencies)
        validate.one_of("remedy", self.remedy, REMEDIES)
        validate.real("angle", self.angle, 0.0, 90.0)
        validate.real("noise", self.noise, 0.0)
        validate.real("risk_aversion", self.risk_aversion, 0.0)
        validate.real("discount", self.discount, 0.0, 0.99)
        validate.real("haggling", self.haggling, 0.0)
        validate.real("esteem", self.esteem, 0.0, 1.0)
        validate.real("litigation", self.litigation, 0.0)
        validate.real("prosocial", self.prosocial, 0.0, 0.8)
        validate.probability("enforcement", self.enforcement)
        validate.probability("accuracy", self.accuracy)
        validate.whole("repetitions", self.repetitions, 1, 1_000)

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def share(self) -> float:
        """Contractible share: the probability that what comes up is written."""
        return self.written / self.contingencies

    @property
    def about(self) -> str:
        """The rules in words."""
        k, c, s = self.contingencies, math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        gap = _GAP[self.remedy].format(
            haggling=self.haggling,
            esteem=self.esteem * (1.0 - self.share),
            guess=self.enforcement * self._guess,
            litigation=self.litigation,
            prosocial=self.prosocial,
        )
        sure = "" if self.enforcement == 1.0 else f", with probability {self.enforcement:g}"
        risk = self.risk_aversion * self.noise / 2
        return (
            f"A principal hires an agent for a task in which one of {k} contingencies will come up, all equally likely; "
            f"{self.written} of them can be written into the contract. First the principal offers a salary and a slope, then "
            "the agent accepts or refuses (both then get 0), then the contingency becomes known and the agent acts: it takes "
            "care, which is worth as much to the principal, and may put on a show, which is worth nothing. Both are from 0 "
            "to 1 and cost the agent half of their squares. If the contingency is written, a court sees to it"
            f"{sure} that the principal pays the slope times what is measured: {c:.3g} x care + {s:.3g} x show + an error "
            f"of variance {self.noise:g}; the error costs the agent {risk:.3g} times the squared slope. If it is not "
            f"written, nothing is paid but the salary. {gap} After each round the relationship ends with probability "
            f"{1 - self.discount:.3g}, and after {self.repetitions} rounds at the latest."
        )

    @functools.cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Offer, answer, action; with bargaining before it or a bonus after it."""
        offer = Stage("offer", "the principal offers a contract")
        answer = Stage("answer", "the agent accepts or refuses")
        bargain = Stage("bargain", "the contingency is known; if it is not written, the principal may name a price")
        act = Stage("act", "the contingency is known; the agent acts")
        reward = Stage("reward", "the principal pays a bonus, or not")
        if self.remedy == "renegotiation":
            return (offer, answer, bargain, act)
        return (offer, answer, act, reward) if self.remedy == "bonus" else (offer, answer, act)

    def cast(self) -> tuple[Role, ...]:
        """The principal and the agent."""
        unit = Real(0.0, 1.0)
        contingency = Choice(("not yet known", "written", "not written"))
        seen = [
            Field("contingency", contingency, "what has come up", verifiable=True),
            Field("salary", Real(-2.0, 2.0), "the flat pay on offer", "coins", verifiable=True),
            Field(
                "slope", Real(0.0, MAX_SLOPE), "the pay on offer a unit of what is measured", "coins", verifiable=True
            ),
            Field("accept", Choice(("refused", "accepted")), "the agent's last answer", verifiable=True),
            Field("care", unit, "the care that the agent took last; no court can establish it"),
        ]
        offers = [
            Field(
                "salary", Real(-2.0, 2.0), "the flat pay you offer; below zero, what you ask", "coins", stage="offer"
            ),
            Field("slope", Real(0.0, MAX_SLOPE), "what you offer a unit of what is measured", "coins", stage="offer"),
        ]
        answers = [
            Field("accept", Choice(("refuse", "accept")), "whether you take the offer", stage="answer"),
            Field("care", unit, "the care you take", stage="act"),
            Field("show", unit, "the effort you put into show", stage="act"),
        ]
        if self.remedy == "renegotiation":
            seen.append(Field("price", unit, "the price named for full care", "coins", verifiable=True))
            means = "the price you name for full care if the contingency is not written; 0 for none"
            offers.append(Field("price", unit, means, "coins", stage="bargain"))
            means = "whether you take the price for full care, if one is named"
            answers.append(Field("deal", Choice(("refuse", "accept")), means, stage="act"))
        if self.remedy == "bonus":
            seen += [
                Field("promise", unit, "the bonus that is promised", "coins"),
                Field("required", unit, "the care that is required for it"),
                Field("bonus", unit, "the bonus that was paid last", "coins"),
                Field("trust", Choice(("broken", "intact")), "whether all promises were kept so far"),
            ]
            offers += [
                Field("promise", unit, "the bonus you promise where the contract says nothing", "coins", stage="offer"),
                Field("required", unit, "the care you require for it", stage="offer"),
                Field("bonus", unit, "the bonus you pay now", "coins", stage="reward"),
            ]
        return (
            Role("principal", 1, tuple(seen), tuple(offers), "you want the task done well, and pay for it"),
            Role("agent", 1, tuple(seen), tuple(answers), "you do the task"),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def open(self, u: Array) -> Record:
        """Draw the contingency; nobody sees it before the agent has signed."""
        return {"drawn": WRITTEN + to_int(u[..., 0] >= self.share)}

    def recall(self, like: Array) -> Record:
        """Return that no promise has been broken yet."""
        return {"trust": like + 1}

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show the contingency once it is known."""
        known = to_int(state.stage >= 2) * state.nature["drawn"]
        return {role.name: {"contingency": known[..., None]} for role in self.roles}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Measure, pay, and fill the gap."""
        principal, agent = acts["principal"], acts["agent"]
        xp, zero = namespace(u), u[..., 0] * 0.0
        hired, slope = to_float(agent["accept"] == 1), principal["slope"]
        covered = hired * (nature["drawn"] == WRITTEN)
        gap = hired - covered
        care, show, trust = agent["care"], agent["show"], memory["trust"]
        paid, lost, esteem, weight = zero, zero, zero, 0.0
        if self.remedy == "renegotiation":
            named = gap * (principal["price"] > 0.0)
            deal = named * (agent["deal"] == 1)
            care = care + deal * (1.0 - care)
            paid, lost = deal * principal["price"], named * self.haggling
        elif self.remedy == "bonus":
            promise, bonus = principal["promise"], principal["bonus"]
            paid = gap * bonus
            worked = care >= principal["required"] - SLACK
            kept = xp.where(worked, bonus >= promise - SLACK, promise <= 0.0)
            trust = to_int(trust * ((gap == 0.0) | kept))
        elif self.remedy == "norm":
            esteem = gap * self._custom * care
        elif self.remedy == "court":
            paid = -gap * (u[..., 3] < self.enforcement * self._guess) * (1.0 - care)
            lost = gap * (care < 1.0) * self.litigation
        elif self.remedy == "care":
            weight = self.prosocial
        cos, sin = self._direction
        error = math.sqrt(self.noise) * normal(u[..., 0], u[..., 1])
        enforced = covered * (u[..., 2] < self.enforcement)
        paid = paid + hired * principal["salary"] + enforced * slope * (cos * care + sin * show + error)
        premium = enforced * (0.5 * self.risk_aversion * self.noise) * ((1.0 - weight) * slope) ** 2
        cost = hired * 0.5 * (care**2 + show**2)
        profit = hired * care - paid - lost
        surplus = hired * care - cost - premium - lost
        return Settled(
            {"principal": profit, "agent": paid - cost - premium + esteem + weight * profit},
            welfare=surplus,
            sums={
                "surplus": surplus,
                "profit": profit,
                "accepted": hired,
                "written": covered,
                "care_written": covered * care,
                "care_unwritten": gap * care,
                "show": covered * show,
            },
            memory={"trust": trust},
            over=u[..., 4] >= self.discount,
        )

    def measures(self, state: RoundState) -> Record:
        """Return means a round, and care and show where they count."""
        sums, played = state.sums, to_float(state.played + (state.played == 0))
        unwritten = sums["accepted"] - sums["written"]
        covered, gaps = sums["written"] + (sums["written"] == 0), unwritten + (unwritten == 0)
        return {
            **{name: sums[name] / played for name in ("surplus", "profit", "accepted")},
            "care_written": sums["care_written"] / covered,
            "care_unwritten": sums["care_unwritten"] / gaps,
            "show": sums["show"] / covered,
            "trust": to_float(state.memory["trust"]),
        }

    # ---- what theory says ---------------------------------------------------------------------------------------

    @functools.cached_property
    def _direction(self) -> tuple[float, float]:
        return math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))

    @property
    def _guess(self) -> float:
        """Probability that a court understands what was meant: written terms are precedents."""
        return self.accuracy + (1.0 - self.accuracy) * self.share

    @property
    def _custom(self) -> float:
        """Esteem for a unit of care: writing crowds it out."""
        return self.esteem * (1.0 - self.share)

    @property
    def _weight(self) -> float:
        return self.prosocial if self.remedy == "care" else 0.0

    def response(self, slope: Array) -> tuple[Array, Array]:
        """Return the agent's best care and show in a written contingency, (*batch), to a slope (*batch)."""
        xp, (cos, sin) = namespace(slope), self._direction
        t = (1.0 - self._weight) * self.enforcement * slope
        return xp.clip(t * cos + self._weight, 0.0, 1.0), xp.clip(t * sin, 0.0, 1.0)

    def _written(self, slope: Array) -> tuple[Array, Array]:
        """Return welfare, and the agent's expected utility but for its salary, in a written contingency."""
        care, show = self.response(slope)
        (cos, sin), weight = self._direction, self._weight
        own = (1.0 - weight) * slope
        costs = 0.5 * (care**2 + show**2) + 0.5 * self.risk_aversion * self.noise * self.enforcement * own**2
        return care - costs, own * self.enforcement * (cos * care + sin * show) + weight * care - costs

    @functools.cached_property
    def optimal_slope(self) -> float:
        """The slope with the highest welfare in a written contingency, which is the principal's best."""
        import numpy as np
        from scipy.optimize import minimize_scalar

        def loss(slope: float) -> float:
            return -float(self._written(np.asarray(slope))[0])

        cos, risk = self._direction[0], self.risk_aversion * self.noise
        interior = cos / (self.enforcement + risk) if self.enforcement else 0.0
        found = minimize_scalar(loss, bounds=(0.0, MAX_SLOPE), method="bounded", options={"xatol": 1e-10}).x
        best = min((0.0, MAX_SLOPE, min(interior, MAX_SLOPE), float(found)), key=loss)
        grid = self._written(np.linspace(0.0, MAX_SLOPE, 2001))[0]
        if float(grid.max()) > -loss(best) + 1e-9:
            raise RuntimeError(f"optimal_slope: {best:g} is not the best slope; {grid.argmax() * 1e-3:g} is better")
        return best

    @functools.cached_property
    def _standing(self) -> float:
        """Most that the principal would pay to keep its word: what a kept word is worth in rounds to come."""
        e = self.sustainable_care
        return self.discount / (1.0 - self.discount) * (1.0 - self.share) * (e - e**2 / 2)

    @property
    def sustainable_care(self) -> float:
        """The care that a promised bonus can buy: e^2/2 <= d/(1-d) (1-share) (e - e^2/2), d the discount."""
        future = self.discount / (1.0 - self.discount) * (1.0 - self.share)
        return min(1.0, 2.0 * future / (1.0 + future))

    def unwritten(self) -> tuple[float, float, float]:
        """Return care, welfare and the agent's utility but for its salary, in an unwritten contingency."""
        if self.remedy == "renegotiation":
            worth = self.haggling < 0.5
            return float(worth), max(0.0, 0.5 - self.haggling), 0.0
        if self.remedy == "bonus":
            care = self.sustainable_care
            return care, care - care**2 / 2, 0.0
        if self.remedy == "norm":
            care = min(1.0, self._custom)
            return care, care - care**2 / 2, self._custom * care - care**2 / 2
        if self.remedy == "court":
            care = self.enforcement * self._guess
            lost = self.litigation if care < 1.0 else 0.0
            return care, care - care**2 / 2 - lost, care**2 / 2 - care
        if self.remedy == "care":
            care = self.prosocial
            return care, care - care**2 / 2, care**2 / 2
        return 0.0, 0.0, 0.0

    def surplus(self, written: int | None = None, remedy: str | None = None) -> float:
        """Return equilibrium welfare a round, in coins, of this or another number of written contingencies and remedy."""
        changes = {"written": self.written if written is None else written, "remedy": remedy or self.remedy}
        game = replace(self, **changes)  # type: ignore[arg-type]
        return max(0.0, game._hiring)

    @functools.cached_property
    def _hiring(self) -> float:
        """Welfare a round if the agent is hired at the optimal slope; below 0 (litigation) it is best not to hire."""
        covered = float(self._written(np.asarray(self.optimal_slope))[0])
        return self.share * covered + (1.0 - self.share) * self.unwritten()[1]

    @property
    def expected_rounds(self) -> float:
        """Expected rounds of an episode."""
        return (1.0 - self.discount**self.repetitions) / (1.0 - self.discount)

    @functools.cached_property
    def optimal_salary(self) -> float:
        """The salary at which the agent just accepts the optimal slope; one that it refuses where hiring does not pay."""
        if self._hiring < 0.0:
            return -2.0
        covered = float(self._written(np.asarray(self.optimal_slope))[1])
        expected = self.share * covered + (1.0 - self.share) * self.unwritten()[2]
        return -expected / (1.0 - self._weight)

    def _offers(self, seen: Seen) -> Acts:
        """Play the principal's part in equilibrium."""
        like, shape = seen["salary"], tuple(seen["salary"].shape)
        acts = {"salary": full(like, shape, self.optimal_salary), "slope": full(like, shape, self.optimal_slope)}
        if self.remedy == "renegotiation":
            acts["price"] = full(like, shape, 0.5 if self.haggling < 0.5 else 0.0)
        if self.remedy == "bonus":
            care = self.sustainable_care
            trusted = to_float(seen["trust"])
            acts |= {"promise": trusted * (care**2 / 2), "required": trusted * care}
            earned = (seen["care"] >= seen["required"] - SLACK) & (seen["contingency"] == UNWRITTEN)
            acts["bonus"] = trusted * seen["promise"] * earned * self._believed(seen)
        return acts

    def _believed(self, seen: Seen) -> Array:
        """Say whether a promise is one that the principal will keep."""
        return to_float((seen["trust"] == 1) & (seen["promise"] <= self._standing + SLACK))

    def _answers(self, seen: Seen) -> Acts:
        """Play the agent's part in equilibrium: its best answer to every contract."""
        slope, salary, weight = seen["slope"], seen["salary"], self._weight
        care, show = self.response(slope)
        gap, _, utility = self.unwritten()
        willing = salary * 0.0 + utility
        acts: Acts = {}
        free = salary * 0.0 + (0.0 if self.remedy == "renegotiation" else gap)
        if self.remedy == "renegotiation":
            acts["deal"] = to_int(seen["price"] >= 0.5 - SLACK)
        if self.remedy == "bonus":
            works = self._believed(seen) * (seen["promise"] >= seen["required"] ** 2 / 2 - SLACK)
            free = works * seen["required"]
            willing = works * (seen["promise"] - seen["required"] ** 2 / 2)
        expected = (1.0 - weight) * salary + self.share * self._written(slope)[1] + (1.0 - self.share) * willing
        covered = to_float(seen["contingency"] == WRITTEN)
        return acts | {
            "accept": to_int(expected >= -SLACK),
            "care": covered * care + (1.0 - covered) * free,
            "show": covered * show,
        }

    def benchmarks(self) -> Benchmarks:
        """Return the first best, the equilibrium under the remedy, and the surplus of the others and at every share."""
        rounds = self.expected_rounds
        others = {
            remedy: Level(rounds * self.surplus(remedy=remedy), f"equilibrium at this share with remedy {remedy!r}")
            for remedy in REMEDIES
        }
        others |= {
            f"written_{number}": Level(
                rounds * self.surplus(number),
                f"equilibrium with {number} of {self.contingencies} contingencies written",
            )
            for number in range(self.contingencies + 1)
        }
        return Benchmarks(
            first_best=Level(rounds * 0.5, "full care in every contingency and no show: 1 - 1/2 a round"),
            equilibrium=Level(
                rounds * self.surplus(),
                f"subgame-perfect: the optimal contract for what can be written, and {self.remedy} where it cannot; {SOURCE}",
                {"principal": self._offers, "agent": self._answers},
            ),
            baseline=Level(0.0, "nothing is written and nothing fills the gap: no care is taken"),
            others=others,
        )
