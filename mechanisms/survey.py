"""Survey: players are asked what is true, with chances; they may abstain, or pay to be told."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, to_float, to_int, total
from ..envs.core.fields import Choice, Field, Integer, Role
from ..envs.core.game import Acts, Game, Measure, Seen, Stage
from ..envs.core.mechanism import Institution, Mechanism, Unfit, joined, parted, players_of
from .ambiguity import Ambiguous
from .norm_uncertainty import UNKNOWN, Normed
from .preference_uncertainty import Weighed

ABSTAIN, ASK = "abstain", "ask"
MOST = 10
"""What a statement of certainty is: chances in tenths."""


class Question(NamedTuple):
    """What is asked: words, possible answers, and which of them is true, by the state of the game, (*batch) from 0."""

    text: str
    options: tuple[str, ...]
    truth: Callable[[Any], Array]


def question(game: Game, bins: int = 4) -> Question:
    """Return the question that a game's hidden state answers: of the outermost mechanism that has one.

    ``NormUncertainty``: which norm is in force. ``PreferenceUncertainty``: whose rewards count more. ``Ambiguity``: in which
    of ``bins`` equal parts of the interval the probability of a shock lies.

    Raises
    ------
    Unfit
        If no mechanism on the game hides anything.
    """
    layer, depth = game, 0
    while isinstance(layer, Institution):
        if (found := _hidden(layer, depth, bins)) is not None:
            return found
        layer, depth = layer.base, depth + 1
    raise Unfit(
        f"{game.name} hides nothing that could be asked about; put NormUncertainty, PreferenceUncertainty or Ambiguity on it"
    )


def _hidden(layer: Institution, depth: int, bins: int) -> Question | None:
    """Return the question that one mechanism's hidden state answers; None if it hides nothing."""
    if isinstance(layer, Normed):
        text = f"which norm on {layer.mechanism.field} is in force"
        return Question(text, layer.labels, lambda state: to_int(_own(state, depth).norm))
    if isinstance(layer, Weighed):
        text = "whose rewards count more for the good of all"
        return Question(text, layer.people, lambda state: _place(_own(state, depth).counts))
    if not isinstance(layer, Ambiguous):
        return None
    low, high = layer.mechanism.interval
    ends = [low + (high - low) * k / bins for k in range(bins + 1)]
    parts = tuple(f"{a:.3g} to {b:.3g}" for a, b in itertools.pairwise(ends))

    def part(state: Any) -> Array:
        share = (_own(state, depth).probability - low) / (high - low)
        return namespace(share).minimum(to_int(share * bins), to_int(share * 0) + bins - 1)

    return Question("in which range the probability of a shock lies", parts, part)


def _own(state: Any, depth: int) -> Any:
    """Return the own state of the mechanism at a depth."""
    for _ in range(depth):
        state = state.base
    return state.own


def _place(counts: Array) -> Array:
    """Return where the one is, (*batch)."""
    return to_int(namespace(counts).argmax(counts, axis=-1))


@dataclass(frozen=True)
class Survey(Mechanism):
    """Everybody is asked, before a round, what is hidden in the game (``question``).

    A player says how likely each answer is (tenths, taken in proportion; nothing at all is the same as all alike) and gives
    one answer, or abstains, or asks: who asks is told the truth, and pays for it. Chances p with the truth k are scored
    by Brier's (1950) rule, sum_j (p_j - [j = k])^2, from 0 to 2. It is strictly proper (Savage 1971; Gneiting and Raftery
    2007, doi:10.1198/016214506000001437): with beliefs q its mean is sum_j (p_j - q_j)^2 + 1 - sum_j q_j^2, least at
    p = q. Who knows nothing of K answers gets 1 - 1/K by saying so, and 2 - 2/K by being sure of a guess.

    Parameters
    ----------
    cost
        What it costs to ask, in units of reward; it is lost to all. None does not offer it.
    pay
        What a perfect statement of chances earns each time, in units of reward: pay (1 - score / 2). It comes from outside.
        0 asks for nothing in return.
    each_round
        Whether there is a survey before each round, not before the first one only.
    bins
        Into how many parts a number is divided that is asked about.
    roles
        Who is asked; empty for all.
    """

    cost: float | None = None
    pay: float = 0.0
    each_round: bool = True
    bins: int = 4
    roles: tuple[str, ...] = ()

    budget = None

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        if self.cost is not None:
            validate.real("cost", self.cost, 0.0, 1e9)
        validate.real("pay", self.pay, 0.0, 1e9)
        validate.whole("bins", self.bins, 2, 20)
        object.__setattr__(self, "roles", validate.names("roles", self.roles))

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return the defaults, where something is hidden."""
        question(game)
        return cls()

    def apply(self, game: Game) -> Game:
        """Return the game with a survey."""
        return Surveyed(game, self)


class SurveyState(NamedTuple):
    """The true answer and the number of surveys so far (*batch), who was told, and sums of what was said, (*batch, players)."""

    truth: Array
    count: Array
    told: Array
    score: Array
    right: Array
    wrong: Array
    asked: Array


class Surveyed(Institution):
    """A game before whose rounds players are asked what is hidden in it."""

    mechanism: Survey
    own_reports = (
        Measure("survey_score", "quadratic score of chances", "sum_j (p_j - [j true])^2", better="lower", source="Brier 1950"),
        Measure("survey_right", "share of times that the true answer was given", "#right / #asked for"),
        Measure("survey_wrong", "share of times that a wrong answer was given", "#wrong / #asked for", better="lower"),
        Measure("survey_questions", "share of times that somebody asked to be told", "#ask / #asked for"),
        Measure("survey_truth", "the true answer, counted from 0", "k"),
    )  # fmt: skip

    def __init__(self, base: Game, mechanism: Survey) -> None:
        super().__init__(base, mechanism)
        self.question = question(base, mechanism.bins)
        known = tuple(role.name for role in base.roles)
        for role in mechanism.roles:
            if role not in known:
                raise Unfit(f"roles: {base.name} has no role {role!r}; it has: {', '.join(known)}")
        self.asked = tuple(name for name in known if name in mechanism.roles) or known
        self.people = players_of(base, self.asked)
        asking = () if mechanism.cost is None else (ASK,)
        self.answers = (*self.question.options, ABSTAIN, *asking)
        stage = Stage("survey", f"each is asked {self.question.text}")
        if mechanism.each_round:
            self.opening = (stage,)
        else:
            self.before = (stage,)

    @property
    def terms(self) -> str:
        """The survey in words."""
        dial, when = self.mechanism, "Before each round" if self.mechanism.each_round else "Before the first round"
        who = "everyone" if len(self.asked) == len(self.base.roles) else f"each {' and '.join(self.asked)}"
        asks = "" if dial.cost is None else f" Who asks is told the true answer from then on, and pays {dial.cost:g}."
        pays = (
            f" Chances are paid: {dial.pay:g} times (1 - half the sum of their squared errors), most on average if you say what "
            "you believe."
            if dial.pay
            else ""
        )
        return (
            f"{when} {who} is asked {self.question.text}: {'; '.join(self.question.options)}. Say how likely each is, from 0 to "
            f"{MOST}, and give an answer or abstain.{asks}{pays}"
        )

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show who asked what the answer is."""
        if role.name not in self.asked or self.mechanism.cost is None:
            return ()
        return (Field("survey_told", Choice((UNKNOWN, *self.question.options)), "the true answer, if you asked"),)

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask for chances and an answer."""
        if role.name not in self.asked:
            return ()
        what = self.question.text
        return (
            Field("chances", Integer(0, MOST), f"how likely each answer is: {what}", each=self.question.options, stage="survey"),
            Field("answer", Choice(self.answers), f"your answer: {what}", stage="survey"),
        )  # fmt: skip

    def begin(self, base: Any, u: Array) -> SurveyState:
        """Note the truth; nobody was told."""
        truth = self.question.truth(base)
        none = full(truth, (*truth.shape, len(self.people)), 0.0)
        return SurveyState(truth, to_float(truth) * 0.0, to_int(none), none, none, none, none)

    def meet(
        self, stage: Array, own: SurveyState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[SurveyState, dict[str, Array], Array | None]:
        """Score what was said, and tell who asked."""
        xp, dial, options = namespace(own.score), self.mechanism, len(self.question.options)
        answer = joined({name: to_int(acts[name]["answer"]) for name in self.asked}, self.asked)
        parts = [beliefs(acts[name]["chances"]) for name in self.asked]
        chances = parts[0] if len(parts) == 1 else xp.concat(parts, axis=-2)
        score = brier(chances, own.truth[..., None])
        right, asked = to_float(answer == own.truth[..., None]), to_float(answer == options + 1)
        wrong = to_float(answer < options) - right
        told = xp.maximum(own.told, to_int(asked) * (1 + own.truth[..., None]))
        own = SurveyState(
            own.truth, own.count + 1.0, told, own.score + score, own.right + right, own.wrong + wrong, own.asked + asked
        )
        price, earned = (dial.cost or 0.0) * asked, dial.pay * (1.0 - 0.5 * score)
        if not dial.cost and not dial.pay:
            return own, {}, None
        return own, parted(earned - price, self.base, self.asked), -total(price)

    def show(self, own: SurveyState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show the answer to those who asked."""
        if self.mechanism.cost is None:
            return seen
        told = parted(own.told, self.base, self.asked)
        return {
            name: {**fields, "survey_told": told[name]} if name in told else fields for name, fields in seen.items()
        }

    def account(self, own: SurveyState) -> dict[str, Array]:
        """Return means over players and surveys."""
        times = len(self.people) * namespace(own.count).maximum(own.count, own.count * 0.0 + 1.0)
        sums = {"score": own.score, "right": own.right, "wrong": own.wrong, "questions": own.asked}
        found = {f"survey_{name}": total(each) / times for name, each in sums.items()}
        return {**found, "survey_truth": to_float(own.truth)}


def beliefs(chances: Array) -> Array:
    """Return stated chances (*batch, options) as probabilities: in proportion, all alike where all are 0."""
    given = to_float(chances)
    together = total(given)[..., None]
    none = to_float(together == 0.0)
    return (given + none) / (together + none * given.shape[-1])


def brier(chances: Array, truth: Array) -> Array:
    """Return the quadratic score of probabilities (*batch, options) where answer ``truth`` (*batch) is true; 0 is best, 2 worst."""
    xp = namespace(chances)
    true = xp.stack([to_float(truth == k) for k in range(chances.shape[-1])], axis=-1)
    return total((chances - true) ** 2)
