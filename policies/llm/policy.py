"""A language model as a policy: it scores all legal acts, or is asked and answers; what it does is always legal."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np

from ...envs.core import validate, words
from ...envs.core.arrays import Array, constant, to_numpy, tree_map
from ...envs.core.chance import whole
from ...envs.core.fields import Choice, Field, Integer, Text
from ...envs.core.policy import Policy, default_acts
from .answers import OUTCOMES, Ledger, ask, follow_up, understand
from .memory import Request, Table, memories, told, write_notes
from .protocol import Answer, Answers, Message

if TYPE_CHECKING:
    from ...envs.core.game import Acts, Game, Seen
    from .scorer import Chat
    from .train.training import Training


VALUES = {
    "selfish": "You care about your own gain alone. What others get is nothing to you.",
    "prosocial": "You care about what all get together as much as about your own gain.",
    "fair": "You want everyone to get the same, and would give up some of your own gain for it.",
    "competitive": "You want to get more than the others. Your gain counts as it exceeds theirs.",
    "altruistic": "You care about the gain of the others, and not about your own.",
}
"""What a player can be told to care about, by name."""

NAMES = ("rules", "persona", "values", "memory", "prompt", "brief")
"""What a template can show."""


class Scores(Protocol):
    """What a back end does: log-probabilities of each option as the continuation of each chat."""

    def score(self, chats: Sequence[Chat], options: Sequence[Sequence[str]]) -> list[np.ndarray[Any, Any]]:
        """Return one array (options,) a chat."""
        ...


@runtime_checkable
class Writes(Protocol):
    """What a back end does besides, where players write texts of their own."""

    def write(self, chats: Sequence[Chat], limit: int, *, temperature: float, luck: Sequence[float]) -> list[str]:
        """Return a text of at most ``limit`` characters for each chat, the same for the same number of ``luck``."""
        ...


@functools.lru_cache(maxsize=2)
def load_scorer(model: str, device: str | None) -> Scores:
    """Load a model once a process."""
    from .models import locate
    from .scorer import Scorer

    return Scorer.load(locate(model), device=device)


class Decision(NamedTuple):
    """One choice among options: where it was made, of what, which one, and its log-probability at the temperature of play."""

    place: tuple[tuple[int, ...], int]
    chat: Chat
    options: tuple[str, ...]
    pick: int
    log: float


class Trace:
    """Keeps the choices of a policy; where ``forced`` acts {field: array} are set, the policy does as they say."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.forced: Mapping[str, np.ndarray[Any, Any]] | None = None


class _Question(NamedTuple):
    """What one player is asked at a step: the conversation so far, and the uniform number of its answer."""

    place: tuple[tuple[int, ...], int]
    fields: tuple[Field, ...]
    messages: tuple[Message, ...]
    luck: float


class LanguageModel(Policy):
    """Plays any role in any game by reading its rules and prompts; acts are always legal.

    The rules are the system's text, what the player sees is the user's, and the answer is a JSON object whose values
    are chosen one after the other among all legal ones: the model's probabilities of the values, at a temperature,
    decide. Numbers with more than ``levels`` values are reduced to that many evenly spaced ones. Free texts are written
    token by token.

    A model that has ``answer`` and no ``score`` is asked instead, all worlds and seats of a stage in one call. Its
    answer is read strictly; it is mended by rule where its meaning is beyond doubt (``answers.RULES``), sent back with
    the complaint at most ``again`` times, and then replaced by the default. ``ledger`` counts all of it.

    Parameters
    ----------
    model
        ``"smollm2"`` (after ``societas fetch smollm2``), a folder with a transformers model, a hub id, ``{"Tiny": {...}}``
        (``llm.train.Tiny``), or any object
        with a method ``score(chats, options)`` and, where players write free text, ``write(chats, limit, *,
        temperature, luck)``; or an object with a method ``answer`` (``protocol.Answers``).
    temperature
        0 takes the most probable value; 1 samples from the model's own probabilities.
    persona
        Text put before the rules.
    levels
        Most values a numeric decision has.
    device
        Where the model runs; None chooses at run time.
    values
        What the player is told to care about: a name in ``VALUES``, or a text.
    template
        The user's message as a jinja2 template, or ``{"system": ..., "user": ...}``; of the names ``rules``,
        ``persona``, ``values``, ``memory`` and ``prompt``, or ``brief``, which says what the prompt says in fewer words.
        What is shown is data and never itself a template.
    examples
        Turns before the question: what a user said and what was answered, ``[[user, answer], ...]``, the same for all
        questions. They are shown as they are.
    memory
        What the player remembers of the steps before: ``Window``, ``Summary`` or ``Reflection`` (``llm.memory``), a
        list of them, or ``{"window": {"steps": 5}}``; None for nothing but what the game shows.
    again
        How many times a model that answers is asked again.
    default
        What stands for an answer that is still none: ``"null act"``, ``"random"`` (uniform over the space), or acts
        ``{field: value}`` as they stand in an answer (fields that are left out get the null act).
    adapter
        A folder that ``save`` wrote: the model plays with the weights that it learned.
    training
        How ``learn`` goes: a ``Training``, or its parameters as a mapping.
    """

    trace: Trace | None = None
    curve: list[float]

    def __init__(
        self,
        model: str | Path | Scores | Answers | Mapping[str, Any] = "smollm2",
        *,
        temperature: float = 1.0,
        persona: str = "",
        levels: int = 101,
        device: str | None = None,
        values: str = "",
        template: str | Mapping[str, str] | None = None,
        examples: Sequence[Sequence[str]] = (),
        memory: Any = None,
        again: int = 2,
        default: str | Mapping[str, Any] = "null act",
        adapter: str | Path | None = None,
        training: Training | Mapping[str, Any] | None = None,
    ) -> None:
        self.training = _training(training)
        self.adapter = adapter
        self.model: Any = _model(model)
        self.temperature = validate.real("temperature", temperature, 0.0)
        self.persona = persona
        self.levels = validate.whole("levels", levels, 2, 100_000)
        self.device = device
        self.values = VALUES.get(values, values)
        self.memory = memories(memory)
        self.again = validate.whole("again", again, 0, 100)
        if isinstance(default, str):
            validate.one_of("default", default, ("null act", "random"))
        self.default = default
        self.template = {"user": template} if isinstance(template, str) else dict(template or {})
        if self.template:
            given = {"persona": persona, "values": self.values, "memory": self.memory}
            _templates(self.template, [name for name, value in given.items() if value])  # says now what is wrong
        self.examples = _examples(examples)
        self.asks = hasattr(model, "answer") and not hasattr(model, "score")
        self.ledger = Ledger()

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Read the rules."""
        bound = copy.copy(super().bind(game, role, seats))
        bound.game = game  # type: ignore[attr-defined]  # for its words alone
        parts = (self.persona, self.values and f"What you care about: {self.values}", game.rules(role))
        system = "\n\n".join(part for part in parts if part).strip()
        bound.shown = {"rules": game.rules(role), "persona": self.persona, "values": self.values}  # type: ignore[attr-defined]
        bound.templates = _templates(self.template) if self.template else {}  # type: ignore[attr-defined]
        if "system" in self.template:
            empty = dict.fromkeys(NAMES, "")
            system = bound.templates["system"].render(empty | bound.shown).strip()  # type: ignore[attr-defined]
        bound.system = system  # type: ignore[attr-defined]
        bound.table = Table(game, role, seats, system)  # type: ignore[attr-defined]
        numbers = sum(max(1, len(field.each)) for field in bound.role.acts)
        bound.numbers = numbers  # type: ignore[attr-defined]
        bound.draws = numbers + self.asks + sum(memory.draws for memory in self.memory)
        for memory in self.memory:
            able = self.model if memory.model is None else memory.model
            if memory.draws and not isinstance(able, str | Path | Writes | Answers):
                raise TypeError(
                    f"memory: {type(memory).__name__} writes texts, and {type(able).__name__} cannot; give it a model with "
                    "answer or write, or take Window"
                )
        if self.asks:
            bound.fallback = self._fallback(bound.role.acts, role)  # type: ignore[attr-defined]
            return bound
        written = [field.name for field in bound.role.acts if isinstance(field.space, Text)]
        if written and not isinstance(self.model, str | Path | Writes):
            raise TypeError(
                f"model: field {written[0]!r} of {role} is free text, and {type(self.model).__name__} cannot write; give "
                "it a method write(chats, limit, *, temperature, luck), or let players choose from a vocabulary"
            )
        return bound

    def ready(self) -> None:
        """Say how to get the model, where it is absent."""
        for model in (self.model, *(memory.model for memory in self.memory)):
            if isinstance(model, str | Path):
                from .models import locate

                locate(str(model))
            elif callable(check := getattr(model, "ready", None)):
                check()
        if self.adapter is not None:
            from .train.adapters import card

            card(self.adapter)

    @property
    def scorer(self) -> Scores:
        """The back end, loaded when it is first needed."""
        if self.adapter is not None:
            from .train.adapters import restored

            return restored(self.adapter, self.model, self.device)
        if isinstance(self.model, str | Path):
            return load_scorer(str(self.model), self.device)
        return self.model  # type: ignore[no-any-return]  # a model that answers is not asked for scores

    def learn(
        self,
        game: Game,
        role: str,
        *,
        episodes: int,
        sessions: int = 64,
        seed: int = 0,
        others: Mapping[str, Policy] | None = None,
        watch: Callable[[int, int], None] | None = None,
    ) -> Self:
        """Fine-tune a copy of the model in a game, as ``training`` says; return the policy that plays with it.

        Its ``curve`` is the mean return of a seat, as ``training.credit`` counts it, in the play of each update.

        Parameters
        ----------
        game, role
            Who learns what: all seats of a role together, with one model, or one player.
        episodes
            Updates, each on one episode of every world; a warm-up goes before them.
        sessions
            Worlds that are played at once, a multiple of ``training.group``.
        seed
            Seed of the worlds' and the learner's chance, of new adapters, and of a ``Tiny`` that has none.
        others
            Policies of the other players.
        watch
            Called as ``watch(episode, episodes)`` after every update.
        """
        from .train.learning import learn

        return learn(
            self, game, role, episodes=episodes, sessions=sessions, seed=seed, others=others or {}, watch=watch
        )

    def save(self, folder: str | Path) -> None:
        """Write what was learned: weights as safetensors, and ``card.json``; ``adapter=folder`` plays with it again."""
        from .train.adapters import save

        save(self, Path(folder))

    def begin(self, batch: tuple[int, ...], xp: Any, device: Any) -> Any:
        """Return what is remembered at the start: nothing; counts {outcome: 0} of a model that answers, its memory."""
        if not self.asks and not self.memory:
            return None
        counts = np.zeros((*batch, len(self.seats), len(OUTCOMES) if self.asks else 0), np.int64)
        table: Table = self.table  # type: ignore[attr-defined]
        fresh = {"counts": counts, "notes": tuple(memory.begin(table, batch) for memory in self.memory)}
        return tree_map(lambda values: xp.asarray(values, device=device), fresh)

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Ask the model for every seat and world that has something to decide."""
        acts = default_acts(self.role, stage, len(self.seats))
        host = {name: to_numpy(values).copy() for name, values in acts.items()}
        sight = {name: to_numpy(values) for name, values in seen.items()}
        luck, stages = to_numpy(u), to_numpy(stage)
        state = None if memory is None else tree_map(lambda values: to_numpy(values).copy(), memory)
        if state is not None:
            self._think(state["notes"], stages, luck)
        for number in sorted(set(stages.reshape(-1).tolist()) - {-1}):
            places = [
                (world, seat)
                for world in np.ndindex(*stages.shape)
                if stages[world] == number
                for seat in range(len(self.seats))
            ]
            if self.asks:
                self._ask(places, sight, number, luck, host, state)
            else:
                self._decide(places, sight, number, luck, host, state)
        if state is not None:
            for keeper, part in zip(self.memory, state["notes"], strict=True):
                keeper.keep(self.table, part, stages, sight, host)  # type: ignore[attr-defined]
            memory = tree_map(lambda values: constant(stage, values), state)
        return {name: constant(acts[name], values) for name, values in host.items()}, memory

    def _think(self, notes: tuple[Any, ...], stages: np.ndarray[Any, Any], luck: np.ndarray[Any, Any]) -> None:
        """Let memories write what is due, with the last of the uniform numbers."""
        draw = luck.shape[-1] - sum(memory.draws for memory in self.memory)
        table: Table = self.table  # type: ignore[attr-defined]

        def write(model: Any, requests: Sequence[Request], length: int) -> list[str | None]:
            able = (self.model if self.asks else self.scorer) if model is None else model
            if isinstance(able, str | Path):
                able = load_scorer(str(able), self.device)
            return write_notes(able, table.system, requests, length, self.temperature, self.ledger)

        for memory, part in zip(self.memory, notes, strict=True):
            if memory.draws:
                memory.think(table, part, stages >= 0, luck[..., draw], write)
            draw += memory.draws

    def _user(self, place: tuple[tuple[int, ...], int], own: dict[str, Any], number: int, state: Any) -> str:
        """Return the user's message: what is remembered, and the game's prompt."""
        index = self.seats[place[1]]
        prompt = words.prompt(self.game, self.role, index, own, number)  # type: ignore[attr-defined]
        if self.asks:
            prompt = words.disarm(prompt)
        lines: list[str] = []
        for memory, part in zip(self.memory, state["notes"] if state else (), strict=True):
            lines += memory.recall(self.table, part, place)  # type: ignore[attr-defined]
        if "user" in self.template:
            brief = words.brief(self.game, self.role, index, own, number)  # type: ignore[attr-defined]
            shown = {**self.shown, "memory": told(lines), "prompt": prompt}  # type: ignore[attr-defined]
            shown["brief"] = words.disarm(brief) if self.asks else brief
            return str(self.templates["user"].render(shown)).strip()  # type: ignore[attr-defined]
        return f"{told(lines)}\n\n{prompt}" if lines else prompt

    def _ask(
        self,
        places: list[tuple[tuple[int, ...], int]],
        sight: dict[str, np.ndarray[Any, Any]],
        number: int,
        luck: np.ndarray[Any, Any],
        host: dict[str, np.ndarray[Any, Any]],
        state: Any,
    ) -> None:
        """Fill in the acts of some seats at one stage: ask all of them at once, and again those who answered badly."""
        name, numbers = self.game.stages[number].name, self.numbers  # type: ignore[attr-defined]
        waiting: list[_Question] = []
        for place in places:
            at = (*place[0], place[1])
            fields = self.role.deciding(name, self.seats[place[1]])
            if fields:
                own = {field: values[at] for field, values in sight.items()}
                first = (Message("user", self._user(place, own, number, state)),)
                system = self.system  # type: ignore[attr-defined]
                before = [
                    Message(("user", "assistant")[i], text) for turn in self.examples for i, text in enumerate(turn)
                ]
                messages = (*([Message("system", system)] if system else []), *before, *first)
                waiting.append(_Question(place, fields, messages, float(luck[(*at, numbers)])))
        for attempt in range(self.again + 1):
            bad: list[_Question] = []
            self.ledger.asked_again += len(waiting) if attempt else 0
            for question, answer in zip(waiting, self._answers(waiting, attempt), strict=True):
                if answer.error:  # nothing was said, so nothing is said to it
                    bad.append(question)
                    continue
                reading = understand(answer.text, question.fields)
                if reading.act is not None:
                    for field, value in reading.act.items():
                        host[field][(*question.place[0], question.place[1])] = value
                    outcome = "again" if attempt else "repaired" if reading.rules else "good"
                    self._count(question, outcome, reading.rules, state)
                    continue
                assert reading.complaint is not None
                asked = [field.name for field in question.fields]
                self.ledger.why[next((f for f in asked if reading.complaint.field.startswith(f)), "answer")] += 1
                said = answer.text[:2_000].encode("utf-8", "replace").decode().strip() or "(nothing)"
                back = (
                    Message("assistant", words.disarm(said)),
                    Message("user", follow_up(reading.complaint, question.fields)),
                )
                bad.append(question._replace(messages=(*question.messages, *back)))
            waiting = bad
            if not waiting:
                return
        for question in waiting:
            at = (*question.place[0], question.place[1])
            self._stand_in(question.fields, at, luck, host)
            self._count(question, "defaulted", (), state)

    def _answers(self, questions: list[_Question], attempt: int) -> list[Answer]:
        """Ask the model, all at once; whoever is asked again has another uniform number."""
        schemas = {fields: words.schema(fields) for fields in {question.fields for question in questions}}
        return ask(
            self.model,
            [question.messages for question in questions],
            [schemas[question.fields] for question in questions],
            self.temperature,
            [(question.luck + attempt * 0.6180339887498949) % 1.0 for question in questions],
            self.ledger,
        )

    def _count(self, question: _Question, outcome: str, rules: tuple[str, ...], state: Any) -> None:
        """Count a decision: in the ledger, and in the memory of its world and seat."""
        world, seat = question.place
        self.ledger.decided(self.role.player(self.seats[seat]), world, outcome, rules)
        if state is not None:
            state["counts"][(*world, seat, OUTCOMES.index(outcome))] += 1

    def _stand_in(
        self,
        fields: tuple[Field, ...],
        at: tuple[int, ...],
        luck: np.ndarray[Any, Any],
        host: dict[str, np.ndarray[Any, Any]],
    ) -> None:
        """Fill in the declared default for the fields that one player owes; the null act is there already."""
        begin = 0
        for field in self.role.acts:
            size = max(1, len(field.each))
            if field in fields and self.default == "random":
                drawn = np.asarray([_drawn(field, float(u)) for u in luck[at][begin : begin + size]])
                host[field.name][at] = drawn if field.each else drawn[0]
            elif field in fields and field.name in self.fallback:  # type: ignore[attr-defined]
                host[field.name][at] = self.fallback[field.name]  # type: ignore[attr-defined]
            begin += size

    def _fallback(self, fields: tuple[Field, ...], role: str) -> dict[str, Any]:
        """Return the given default acts as arrays hold them, or say what is wrong with them."""
        if self.default == "random":
            for field in fields:
                if np.isinf([field.space.low, field.space.high]).any():
                    raise ValueError(
                        f"default: field {field.name!r} of {role} has no bounds; give it a value, not 'random'"
                    )
        if isinstance(self.default, str):
            return {}
        return words.read_acts(self.default, fields, "default", role)

    def _decide(
        self,
        places: list[tuple[tuple[int, ...], int]],
        sight: dict[str, np.ndarray[Any, Any]],
        number: int,
        luck: np.ndarray[Any, Any],
        host: dict[str, np.ndarray[Any, Any]],
        state: Any,
    ) -> None:
        """Fill in the acts of some seats at one stage, value by value."""
        from .scorer import Chat

        name = self.game.stages[number].name  # type: ignore[attr-defined]
        texts, answers = {}, {}
        asked: dict[tuple[Field, int | None], list[tuple[tuple[int, ...], int]]] = {}
        for world, seat in places:
            index = self.seats[seat]
            own = {field: values[(*world, seat)] for field, values in sight.items()}
            texts[world, seat] = self._user((world, seat), own, number, state)
            answers[world, seat] = "{"
            for field in self.role.deciding(name, index):
                for component in range(len(field.each)) if field.each else (None,):
                    asked.setdefault((field, component), []).append((world, seat))
        draw = 0
        for field in self.role.acts:
            for component in range(len(field.each)) if field.each else (None,):
                who = asked.get((field, component), [])
                if who:
                    chats = []
                    for place in who:
                        before = answers[place]
                        opening = "" if before == "{" else ", "
                        if component in (None, 0):
                            answers[place] += f'{opening}"{field.name}": ' + ("{" if field.each else "")
                        elif component is not None:
                            answers[place] += ", "
                        if component is not None:
                            answers[place] += f"{json.dumps(field.each[component])}: "
                        chats.append(Chat(self.system, texts[place], answers[place], self.examples))  # type: ignore[attr-defined]
                    chances = [float(luck[(*world, seat, draw)]) for world, seat in who]
                    if self.trace is not None and self.trace.forced is not None and isinstance(field.space, Text):
                        given = [self.trace.forced[field.name][(*world, seat)] for world, seat in who]
                        decided = iter([(codes, words.quoted(field.space.decode(codes))) for codes in given])
                    elif isinstance(field.space, Text):
                        decided = self._write(field, component, chats, chances)
                    else:
                        decided = self._choose(field, component, chats, chances, who)
                    for place, (value, said) in zip(who, decided, strict=True):
                        host[field.name][(*place[0], place[1], *(() if component is None else (component,)))] = value
                        answers[place] += said
                        if field.each and component == len(field.each) - 1:
                            answers[place] += "}"
                draw += 1

    def _choose(
        self,
        field: Field,
        component: int | None,
        chats: list[Chat],
        luck: list[float],
        places: list[tuple[tuple[int, ...], int]],
    ) -> Iterator[tuple[Any, str]]:
        """Yield the value that is chosen in each chat, and how it is written."""
        values, options = self._options(field, component)
        trace, forced = self.trace, None
        if trace is not None and trace.forced is not None:
            given = trace.forced[field.name]
            forced = [given[(*world, seat, *(() if component is None else (component,)))] for world, seat in places]
            picks = [int(np.abs(np.asarray(values) - value).argmin()) for value in forced]
            logs = [0.0] * len(picks)
        else:
            scores = self.scorer.score(chats, [options] * len(chats))
            picks = [_pick(score, u, self.temperature) for score, u in zip(scores, luck, strict=True)]
            if trace is not None:
                tempered = [score / self.temperature for score in scores]
                logs = [float(s[pick] - np.logaddexp.reduce(s)) for s, pick in zip(tempered, picks, strict=True)]
        if trace is not None:
            among = tuple(options)
            for place, chat, pick, log in zip(places, chats, picks, logs, strict=True):
                trace.decisions.append(Decision(place, chat, among, pick, log))
        for pick in picks:
            yield values[pick], options[pick][:-1] if options[pick][-1] in ",}" else options[pick]

    def _write(
        self, field: Field, component: int | None, chats: list[Chat], luck: list[float]
    ) -> Iterator[tuple[Any, str]]:
        """Yield the text that is written in each chat, as code points and as it is quoted."""
        space, model = field.space, self.scorer
        assert isinstance(space, Text)
        assert isinstance(model, Writes)
        quoting = [replace(chat, answer=chat.answer + '"') for chat in chats]
        for text in model.write(quoting, space.length, temperature=self.temperature, luck=luck):
            codes = space.encode(text, cut=True)
            yield codes, words.quoted(space.decode(codes))

    def _options(self, field: Field, component: int | None) -> tuple[list[float], list[str]]:
        """Return the legal values of a decision and how they are written, with the sign that ends them."""
        end = "," if field.each and component is not None and component < len(field.each) - 1 else "}"
        space = field.space
        if isinstance(space, Choice):
            return [float(i) for i in range(len(space.options))], [json.dumps(o) + end for o in space.options]
        if isinstance(space, Integer) and space.high - space.low < self.levels:
            values = [float(v) for v in range(space.low, space.high + 1)]
        else:
            steps = np.linspace(space.low, space.high, self.levels)
            values = [float(v) for v in (np.unique(np.round(steps)) if field.discrete else np.round(steps, 2))]
        return values, [(f"{v:.0f}" if field.discrete else f"{v:.2f}") + end for v in values]


def _training(given: Training | Mapping[str, Any] | None) -> Training:
    from .train.training import Training

    return given if isinstance(given, Training) else Training(**(given or {}))


def _model(given: Any) -> Any:
    """Return a model as it is, or made from ``{"Tiny": {...}}``."""
    if not isinstance(given, Mapping):
        return given
    from .train.tiny import Tiny

    if list(given) != ["Tiny"]:
        raise ValueError(f"model: as a mapping only {{'Tiny': {{parameters}}}}, got {dict(given)!r}")
    return Tiny(**(given["Tiny"] or {}))


def _examples(given: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    for turn in given:
        if isinstance(turn, str) or len(turn) != 2 or not all(isinstance(text, str) for text in turn):
            raise ValueError(f"examples: pairs [what the user said, what was answered], two texts, got {turn!r}")
    return tuple((turn[0], turn[1]) for turn in given)


def _pick(score: np.ndarray[Any, Any], u: float, temperature: float) -> int:
    """Choose an option: the best at temperature 0 (the first of equals), else by inversion of the softmax."""
    if temperature == 0.0:
        return int(score.argmax())
    weights = np.exp((score - score.max()) / temperature)
    return int(min(np.searchsorted(np.cumsum(weights), u * weights.sum(), side="right"), len(score) - 1))


def _drawn(field: Field, u: float) -> Any:
    """Return a value of a field's space by a uniform number; of texts random words."""
    space = field.space
    if isinstance(space, Text):
        from ..random import LONGEST, babble

        return babble(np.random.default_rng(int(u * 2**53)).random(min(space.length, LONGEST) + 1), space.length)
    if field.discrete:
        return int(whole(np.asarray(u), int(space.low), int(space.high)))
    return space.low + u * (space.high - space.low)


def _templates(texts: Mapping[str, Any], given: Sequence[str] = ()) -> dict[str, Any]:
    """Compile templates in a sandbox, or say what is wrong with them."""
    from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    found, shown = {}, set(NAMES[:3]) if "system" not in texts else set()
    if "user" not in texts:
        shown |= {"memory", "prompt"}
    for part, text in texts.items():
        validate.one_of("template", part, ("system", "user"))
        if not isinstance(text, str):
            raise ValueError(f"template.{part}: a text, got {text!r}")
        known = NAMES if part == "user" else NAMES[:3]
        try:
            names = meta.find_undeclared_variables(environment.parse(text))
            if odd := sorted(names - set(known)):
                raise ValueError(f"template.{part}: no name {odd[0]!r}; of use are {', '.join(known)}")
            found[part] = environment.from_string(text)
            found[part].render(dict.fromkeys(known, "text"))
        except TemplateSyntaxError as error:
            raise ValueError(f"template.{part}: line {error.lineno}: {error.message}") from error
        except (TemplateError, ArithmeticError, LookupError, TypeError) as error:
            raise ValueError(f"template.{part}: cannot be filled in: {error}") from error
        shown |= names
    if "brief" in shown:
        shown.add("prompt")
    for name in ("prompt", *given):
        if name not in shown:
            raise ValueError(f"template: shows {name} nowhere, so the model would not read it; add {{{{ {name} }}}}")
    return found
