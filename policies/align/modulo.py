"""LLM-Modulo: a language model proposes, sound critics judge, and nothing is played that they have not passed.

S. Kambhampati et al., "LLMs Can't Plan, But Can Help Planning in LLM-Modulo Frameworks", ICML 2024 (arXiv:2402.01817). The
loop is that of ``llm.verify``; here it stands behind a policy, sees exactly what the player sees, and is told apart from its
controls: the same calls without reasons, and a model that is its own judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from ...envs.core import validate, words
from ..llm import verify
from ..llm.answers import understand
from ..llm.constrained import Constrained, _chat
from ..llm.policy import LanguageModel
from ..llm.protocol import Answer, Answers, Message
from ..llm.verify import SLACK, Counts, Critic, Sight, Verified

if TYPE_CHECKING:
    from ...envs.core.arrays import Array
    from ...envs.core.game import Acts, Game, Seen
    from .stable import Societies

BACK = ("reasons", "nothing")
"""What a model is told when its answer fails: all reasons against it, or nothing, so that it is merely asked anew."""

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


def _one(value: Any) -> Any:
    return np.asarray(value).reshape(-1)[0]


CRITICS: dict[str, Critic] = {**verify.CRITICS, "compliant": compliant, "undominated": undominated}
"""Sound critics by name; ``verify`` says what the first of them judge."""

SOUND = tuple(CRITICS)


# ---- the loop -----------------------------------------------------------------------------------------------------


class _Sighted(Verified):
    """A verifier that knows exactly what the players see about whom it is asked, however questions are put."""

    sights: dict[str, list[Sight]]

    def judge(self, conversation: Sequence[Message], schema: dict[str, Any], text: str) -> tuple[list[str], bool]:
        """Return the reasons against an answer, and whether it could be read."""
        act, _, complaint = understand(text, self._asked(schema))
        self._count("parse", act is None)
        if act is None:
            return [str(complaint)], False
        asked = next(m.content for m in reversed(conversation) if m.role == "user" and m.content in self.sights)
        reasons: dict[str, None] = {}
        for name, critic in self.critics.items():
            # who is asked in the same words sees the same but for digits; what is accepted must be right for all of them
            found = (critic(self.game, self.role.name, s.seat, dict(s.seen), dict(act)) for s in self.sights[asked])
            reason = next((one for one in found if one is not None), None)
            self._count(name, reason is not None)
            if reason is not None:
                reasons[reason] = None
        self.counts.accepted += not reasons
        return list(reasons), True


class _Afresh:
    """A model that forgets what was said against its answers."""

    def __init__(self, model: Answers) -> None:
        self.model = model

    def answer(
        self,
        conversations: Sequence[Sequence[Message]],
        schemas: Sequence[dict[str, Any]],
        *,
        temperature: float,
        luck: Sequence[float],
    ) -> list[Answer]:
        """Answer the first question of each conversation."""
        firsts = []
        for talk in conversations:
            said = [i for i, message in enumerate(talk) if message.content.startswith(_REFUSED)]
            firsts.append(list(talk[: said[0] - 1] if said else talk))
        return self.model.answer(firsts, schemas, temperature=temperature, luck=luck)


_REFUSED = "Your answer will not do:"  # as ``verify`` begins


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
        proposer = bound.model if self.back == "reasons" else _Afresh(bound.model)
        critics = [CRITICS[one] if isinstance(one, str) else one for one in self.critics]
        bound.model = _Sighted(proposer, critics, game, role, budget=self.rounds, strict=True)
        bound.model.counts, bound.model.sights = self.counts, {}
        return bound

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Decide by answers that passed."""
        self.model.sights.clear()
        return super().act(seen, stage, u, memory)

    def _user(self, place: tuple[tuple[int, ...], int], own: dict[str, Any], number: int, state: Any) -> str:
        user = super()._user(place, own, number, state)
        self.model.sights.setdefault(user, []).append(Sight(self.seats[place[1]], own))
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
        ``"reasons"``: who fails is told all reasons; ``"nothing"``: it is asked anew, the control at equal calls.
    default
        What stands where no answer passed, as of ``LanguageModel``; None for the policy's own. It is not judged.

    Raises
    ------
    ValueError
        If there are no critics, or a name or number is out of range.
    """
    validate.one_of("back", back, BACK)
    validate.whole("budget", budget, 1, 100)
    if isinstance(critics, str) or not critics:
        raise ValueError(f"critics: a list of critics or of {', '.join(CRITICS)}, got {critics!r}")
    for one in critics:
        if isinstance(one, str):
            validate.one_of("critics", one, tuple(CRITICS))
    wrapped = Modulo(_answering(policy), default=policy.default if default is None else default, **_asked_as(policy))
    wrapped.critics, wrapped.rounds, wrapped.back, wrapped.counts = tuple(critics), budget, back, Counts()
    return wrapped


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
