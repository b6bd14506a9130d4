"""LLM-Modulo: a language model proposes, sound critics judge, and nothing is played that they have not passed.

S. Kambhampati et al., "LLMs Can't Plan, But Can Help Planning in LLM-Modulo Frameworks", ICML 2024 (arXiv:2402.01817). The
loop is that of ``llm.verify``; here it stands behind a policy, sees exactly what the player sees, and is told apart from its
controls: the same calls with a refusal that says no reason, or with nothing at all, and a model that is its own judge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from ...envs.core import validate, words
from ...envs.core.arrays import to_numpy
from ...envs.core.policy import Policy
from ..llm import verify
from ..llm.answers import OUTCOMES
from ..llm.constrained import Constrained, _chat
from ..llm.policy import LanguageModel
from ..llm.protocol import Answer, Answers, Message
from ..llm.verify import SLACK, Counts, Critic, Sight, Verified, _one

if TYPE_CHECKING:
    from ...envs.core.arrays import Array
    from ...envs.core.game import Acts, Game, Seen
    from .stable import Societies

DIGITS = 5e-4
"""How far a number told in four digits may be from what it was, relative to it."""

MADE_BY = {"caught": "harvest", "produced": "quantity", "given": "give"}
"""The decision that a verifiable fact follows from, besides ``found_<field>`` of a monitor, which follows from the field."""


# ---- critics ------------------------------------------------------------------------------------------------------


def compliant(game: Game, role: str, seat: int, seen: dict[str, Any], act: words.Act) -> str | None:
    """Object to an act that, carried out to the letter, breaks a limit or a duty that is in force.

    What is right: an act that keeps to the agreed figure of every ``Quota`` and ``Duty`` that binds the player now, enforced
    or not. Complete for those whose fact follows from one decision (``MADE_BY``); silent on other terms, on menus, and before
    a contract is in force.
    """
    for layer, figure, decision in _clauses(game, role, seat):
        if decision not in act or layer.named("agreement") not in seen:
            continue
        if int(_one(seen[layer.named("agreement")])) != _IN_FORCE:
            continue
        bound, done = float(_one(seen[layer.named(f"agreed_{figure}")])), np.asarray(act[decision], dtype=float)
        slack = SLACK * (1.0 + abs(bound))
        if figure == "limit" and done.max() > bound + slack:
            return (
                f"{decision}: {done.max():g} is above the limit of {bound:g} that is agreed; choose at most {bound:g}"
            )
        if figure == "least" and done.min() < bound - slack:
            return f"{decision}: {done.min():g} is below the {bound:g} that is owed by agreement; choose at least {bound:g}"
    return None


_IN_FORCE = 2  # the code of the field ``agreement``


class _Clause(NamedTuple):
    layer: Any
    figure: str
    decision: str


def _clauses(game: Game, role: str, seat: int) -> list[_Clause]:
    """Return the limits and duties that can bind a player, each with the decision that they are about."""
    from ...mechanisms._proposal import Proposed
    from ...mechanisms.terms import Duty, Quota

    found = []
    for layer in verify._layers(game):
        if not isinstance(layer, Proposed) or game.role(role).player(seat) not in layer.parties:
            continue
        for item in layer.items:
            terms = item.terms
            if isinstance(terms, Quota | Duty) and not item.label:
                decision = MADE_BY.get(terms.field, terms.field.removeprefix("found_"))
                found.append(_Clause(layer, "limit" if isinstance(terms, Quota) else "least", decision))
    return found


def undominated(game: Game, role: str, seat: int, seen: dict[str, Any], act: words.Act) -> str | None:
    """Object to a bid above what the good is worth to the bidder (``SealedBid`` with private values).

    What is right: any bid up to the worth; a higher one is weakly dominated by it at any pricing (Vickrey 1961). Complete
    there, up to the digits in which a worth is told; silent where values are common or affiliated, and on other games.
    """
    from ...envs.markets.sealed_bid import SealedBid

    base: Any = verify._base(game)
    private = isinstance(base, SealedBid) and not base.common and not base.affiliated
    if not private or "bid" not in act or "signal" not in seen or not verify._shown(game, role, "signal"):
        return None
    bid, worth = float(_one(act["bid"])), float(_one(seen["signal"]))
    if bid <= worth * (1.0 + DIGITS) + SLACK:
        return None
    return f"bid: {bid:g} is more than the {worth:.4g} that the good is worth to you; bid at most {worth:.4g}"


def lasting(game: Game, role: str, seat: int, seen: dict[str, Any], act: words.Act) -> str | None:
    """Object to a harvest that cannot be the plan of all until the end of a commons, by the law of growth.

    What is right: what all users can take each month that is left, and have in full, without a collapse before the last. It is
    found by going through these months; nothing in them is left to chance. Silent on other games, while a newcomer is still to
    come, and where stock or month are shown with an error.
    """
    commons = verify._commons(game)
    if commons is None or "harvest" not in act or not {"stock", "month"} <= set(seen):
        return None
    if role != commons.roles[0].name or not all(verify._shown(game, role, name) for name in ("stock", "month")):
        return None
    month, stock, want = (int(_one(value)) for value in (seen["month"], seen["stock"], act["harvest"]))
    if commons.newcomer and month < commons.newcomer:
        return None
    months, users = commons.months - month + 1, commons.size + bool(commons.newcomer)
    if _lasts(commons, stock, months, users * want):
        return None
    low, high = 0, want  # if a harvest lasts, so does a smaller one
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _lasts(commons, stock, months, users * middle) else (low, middle)
    left = f"the {months} months that are left" if months > 1 else "the month that is left"
    return f"harvest: {want} each is more than {stock} can yield to {users} in {left}; take at most {low}"


def _lasts(commons: Any, stock: int, months: int, each: int) -> bool:
    """Say whether a harvest of all together can be had in full for so many months."""
    for month in range(months):
        left = stock - each
        if left < 0 or (left < commons.collapse and month < months - 1):
            return each == 0  # who takes nothing does not end it
        stock = commons.after[left]
    return True


CRITICS: dict[str, Critic] = {
    **verify.CRITICS,
    **{each.__name__: each for each in (compliant, undominated, lasting)},
}
"""Sound critics by name; ``verify`` says what the first of them judge."""

SOUND = tuple(CRITICS)


# ---- the loop -----------------------------------------------------------------------------------------------------


class _Sighted(Verified):
    """A verifier that knows exactly what the players see about whom it is asked, however questions are put."""

    known: dict[str, list[Sight]]

    def sights(self, conversation: Sequence[Message]) -> Sequence[Sight]:
        """Return all who are asked in these words; what they see is the same but for digits."""
        asked = (m.content for m in reversed(conversation) if m.role == "user")
        return next((self.known[text] for text in asked if text in self.known), ())


class Modulo(LanguageModel):
    """A language model whose answers are played only after all critics have passed them; ``wrap`` makes one.

    ``counts`` says what critics said, and how many conversations were ``accepted`` or, in the end, ``rejected``: unsolved,
    for which the declared default stands (``ledger.defaulted``).
    """

    critics: tuple[Critic | str, ...]
    rounds: int
    back: str
    counts: Counts

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Set critics on the game."""
        bound = super().bind(game, role, seats)
        critics = [CRITICS[one] if isinstance(one, str) else one for one in self.critics]
        bound.model = _Sighted(bound.model, critics, game, role, budget=self.rounds, strict=True, back=self.back)
        bound.model.counts, bound.model.known = self.counts, {}
        return bound

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Decide by answers that passed."""
        self.model.known.clear()
        return super().act(seen, stage, u, memory)

    def _user(self, place: tuple[tuple[int, ...], int], own: dict[str, Any], number: int, state: Any) -> str:
        user = super()._user(place, own, number, state)
        self.model.known.setdefault(user, []).append(Sight(self.seats[place[1]], own))
        return user


def wrap(
    policy: LanguageModel,
    *,
    critics: Sequence[Critic | str] = SOUND,
    budget: int = 10,
    back: str = "reasons",
    default: str | Mapping[str, Any] | None = None,
) -> Modulo:
    """Return a policy that proposes as another does, and plays only what critics pass.

    Parameters
    ----------
    policy
        A language model: in this process, where the schema of the answer holds it (``Constrained``), or on a server.
        Its weights stay as they are.
    critics
        Names in ``CRITICS``, or critics. An act is as right as they are sound and complete: what none of them judges is
        not judged.
    budget
        Most answers asked for a decision, the first one included.
    back
        ``"reasons"``: who fails is told all reasons. The controls at equal calls: ``"refusal"``, it is told that its answer will
        not do, and no more; ``"nothing"``, it is asked anew.
    default
        What stands where no answer passed, as of ``LanguageModel``; None for the policy's own. It is not judged.

    Raises
    ------
    ValueError
        If there are no critics, or a name or number is out of range.
    """
    validate.one_of("back", back, verify.BACK)
    validate.whole("budget", budget, 1, 100)
    if isinstance(critics, str) or not critics:
        raise ValueError(f"critics: a list of critics or of {', '.join(CRITICS)}, got {critics!r}")
    for one in critics:
        if isinstance(one, str):
            validate.one_of("critics", one, tuple(CRITICS))
    wrapped = Modulo(_answering(policy), default=policy.default if default is None else default, **_asked_as(policy))
    wrapped.critics, wrapped.rounds, wrapped.back, wrapped.counts = tuple(critics), budget, back, Counts()
    return wrapped


class Audit(Policy):
    """Plays as a policy that is asked and answers, and judges what is played, whatever the policy says of it.

    Critics are shown what the game's arrays hold: what the player sees, and what it does. ``found`` counts decisions:
    ``accepted``, in which an answer was played; ``wrong``, those of them to which a critic objects; ``unsolved``, in which the
    default stands.

    Parameters
    ----------
    policy
        ``Modulo``, or another language model that answers.
    critics
        Names in ``CRITICS``.
    """

    def __init__(self, policy: LanguageModel, critics: Sequence[str] = SOUND) -> None:
        self.policy, self.critics = policy, [CRITICS[validate.one_of("critics", one, SOUND)] for one in critics]
        self.found = Counter(dict.fromkeys(("accepted", "wrong", "unsolved"), 0))

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Bind the policy."""
        bound = super().bind(game, role, seats)
        bound.policy, bound.game = self.policy.bind(game, role, seats), game  # type: ignore[attr-defined]
        bound.draws = bound.policy.draws
        return bound

    def begin(self, batch: tuple[int, ...], xp: Any, device: Any) -> Any:
        """Begin as the policy does."""
        return self.policy.begin(batch, xp, device)

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Do as the policy does, and judge it."""
        acts, after = self.policy.act(seen, stage, u, memory)
        fresh, stages = to_numpy(after["counts"]) - to_numpy(memory["counts"]), to_numpy(stage)
        game: Any = self.game  # type: ignore[attr-defined]
        for *world, seat, outcome in np.argwhere(fresh).tolist():
            if OUTCOMES[outcome] == "defaulted":
                self.found["unsolved"] += 1
                continue
            own = {name: to_numpy(values)[(*world, seat)] for name, values in seen.items()}
            name = game.stages[int(stages[tuple(world)])].name
            asked = [field.name for field in self.role.deciding(name, self.seats[seat])]
            act = {field: to_numpy(acts[field])[(*world, seat)].tolist() for field in asked}
            said = [critic(game, self.role.name, self.seats[seat], own, act) for critic in self.critics]
            self.found["accepted"] += 1
            self.found["wrong"] += any(one is not None for one in said)
        return acts, after


def fit(
    base: LanguageModel,
    society: Societies,
    budget: int,
    seed: int,
    *,
    critics: Sequence[Critic | str] = SOUND,
    rounds: int = 10,
    **_: Any,
) -> Modulo:
    """Return the base behind critics; society, budget and seed are not needed: nothing is fitted."""
    return wrap(base, critics=critics, budget=rounds)


def _asked_as(policy: LanguageModel) -> dict[str, Any]:
    """Return how a policy puts its questions; those that fail go to the critics, not back to the policy."""
    names = ("temperature", "persona", "levels", "device", "values", "examples", "memory")
    return {name: getattr(policy, name) for name in names} | {"template": policy.template or None, "again": 0}


def _answering(policy: LanguageModel) -> Answers:
    """Return a policy's model as one that is asked and answers."""
    if policy.asks:
        found: Answers = policy.model
        return found
    if policy.adapter is None and isinstance(policy.model, str):
        return Constrained(policy.model, device=policy.device)
    scorer: Any = policy.scorer
    return Constrained(getattr(scorer, "scorer", scorer))  # ``Tiny`` holds one


# ---- the control --------------------------------------------------------------------------------------------------


class Likeliest:
    """A model that is its own judge: of several of its answers it gives the one that it finds likeliest.

    Parameters
    ----------
    model
        The model, in this process.
    budget
        Answers a question.
    """

    def __init__(self, model: Constrained, budget: int = 10) -> None:
        self.model, self.budget = model, validate.whole("budget", budget, 1, 100)

    def answer(
        self,
        conversations: Sequence[Sequence[Message]],
        schemas: Sequence[dict[str, Any]],
        *,
        temperature: float,
        luck: Sequence[float],
    ) -> list[Answer]:
        """Answer every conversation."""
        best: list[tuple[float, Answer]] = [(-np.inf, Answer("", "nothing was said"))] * len(conversations)
        for turn in range(self.budget):
            chances = [(number + turn * verify._STEP) % 1.0 for number in luck]
            given = self.model.answer(conversations, schemas, temperature=temperature, luck=chances)
            for i, (talk, one) in enumerate(zip(conversations, given, strict=True)):
                if one.text:
                    log = float(self.model.scorer.score([_chat(talk)], [[one.text]])[0][0])
                    best[i] = max(best[i], (log, one), key=lambda pair: pair[0])
        return [one for _, one in best]


def self_judged(policy: LanguageModel, budget: int = 10) -> LanguageModel:
    """Return the control: a policy whose model judges its own answers by their likelihood, without any critic."""
    model = _answering(policy)
    if not isinstance(model, Constrained):
        raise TypeError(f"policy: a model in this process, whose likelihoods are known, got {type(model).__name__}")
    return LanguageModel(Likeliest(model, budget), default=policy.default, **_asked_as(policy))
