"""A language model as a policy: every decision is a choice among legal acts, scored by the model."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np

from ...envs.core import validate, words
from ...envs.core.arrays import Array, constant, to_numpy
from ...envs.core.fields import Choice, Field, Integer, Text
from ...envs.core.policy import Policy, default_acts

if TYPE_CHECKING:
    from ...envs.core.game import Acts, Game, Seen
    from .scorer import Chat


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


class LanguageModel(Policy):
    """Plays any role in any game by reading its rules and prompts; acts are always legal.

    The rules are the system's text, what the player sees is the user's, and the answer is a JSON object whose values
    are chosen one after the other among all legal ones: the model's probabilities of the values, at a temperature,
    decide. Numbers with more than ``levels`` values are reduced to that many evenly spaced ones. Free texts are written
    token by token.

    Parameters
    ----------
    model
        ``"smollm2"`` (after ``societas fetch smollm2``), a folder with a transformers model, a hub id, or any object
        with a method ``score(chats, options)`` and, where players write free text, ``write(chats, limit, *,
        temperature, luck)``.
    temperature
        0 takes the most probable value; 1 samples from the model's own probabilities.
    persona
        Text put before the rules.
    levels
        Most values a numeric decision has.
    device
        Where the model runs; None chooses at run time.
    """

    def __init__(
        self,
        model: str | Path | Scores = "smollm2",
        *,
        temperature: float = 1.0,
        persona: str = "",
        levels: int = 101,
        device: str | None = None,
    ) -> None:
        self.model = model
        self.temperature = validate.real("temperature", temperature, 0.0)
        self.persona = persona
        self.levels = validate.whole("levels", levels, 2, 100_000)
        self.device = device

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Read the rules."""
        bound = copy.copy(super().bind(game, role, seats))
        bound.game = game  # type: ignore[attr-defined]  # for its words alone
        bound.system = f"{self.persona}\n\n{game.rules(role)}".strip()  # type: ignore[attr-defined]
        bound.draws = sum(max(1, len(field.each)) for field in bound.role.acts)
        written = [field.name for field in bound.role.acts if isinstance(field.space, Text)]
        if written and not isinstance(self.model, str | Path | Writes):
            raise TypeError(
                f"model: field {written[0]!r} of {role} is free text, and {type(self.model).__name__} cannot write; give "
                "it a method write(chats, limit, *, temperature, luck), or let players choose from a vocabulary"
            )
        return bound

    def ready(self) -> None:
        """Say how to get the model, where it is absent."""
        if isinstance(self.model, str | Path):
            from .models import locate

            locate(str(self.model))

    @property
    def scorer(self) -> Scores:
        """The back end, loaded when it is first needed."""
        if isinstance(self.model, str | Path):
            return load_scorer(str(self.model), self.device)
        return self.model

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Ask the model for every seat and world that has something to decide."""
        acts = default_acts(self.role, stage, len(self.seats))
        host = {name: to_numpy(values).copy() for name, values in acts.items()}
        sight = {name: to_numpy(values) for name, values in seen.items()}
        luck, stages = to_numpy(u), to_numpy(stage)
        for number in sorted(set(stages.reshape(-1).tolist()) - {-1}):
            places = [
                (world, seat)
                for world in np.ndindex(*stages.shape)
                if stages[world] == number
                for seat in range(len(self.seats))
            ]
            self._decide(places, sight, number, luck, host)
        return {name: constant(acts[name], values) for name, values in host.items()}, memory

    def _decide(
        self,
        places: list[tuple[tuple[int, ...], int]],
        sight: dict[str, np.ndarray[Any, Any]],
        number: int,
        luck: np.ndarray[Any, Any],
        host: dict[str, np.ndarray[Any, Any]],
    ) -> None:
        """Fill in the acts of some seats at one stage, value by value."""
        from .scorer import Chat

        name = self.game.stages[number].name  # type: ignore[attr-defined]
        texts, answers = {}, {}
        asked: dict[tuple[Field, int | None], list[tuple[tuple[int, ...], int]]] = {}
        for world, seat in places:
            index = self.seats[seat]
            own = {field: values[(*world, seat)] for field, values in sight.items()}
            texts[world, seat] = words.prompt(self.game, self.role, index, own, number)  # type: ignore[attr-defined]
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
                        chats.append(Chat(self.system, texts[place], answers[place]))  # type: ignore[attr-defined]
                    chances = [float(luck[(*world, seat, draw)]) for world, seat in who]
                    decided = self._write if isinstance(field.space, Text) else self._choose
                    for place, (value, said) in zip(who, decided(field, component, chats, chances), strict=True):
                        host[field.name][(*place[0], place[1], *(() if component is None else (component,)))] = value
                        answers[place] += said
                        if field.each and component == len(field.each) - 1:
                            answers[place] += "}"
                draw += 1

    def _choose(
        self, field: Field, component: int | None, chats: list[Chat], luck: list[float]
    ) -> Iterator[tuple[Any, str]]:
        """Yield the value that is chosen in each chat, and how it is written."""
        values, options = self._options(field, component)
        for score, u in zip(self.scorer.score(chats, [options] * len(chats)), luck, strict=True):
            pick = _pick(score, u, self.temperature)
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


def _pick(score: np.ndarray[Any, Any], u: float, temperature: float) -> int:
    """Choose an option: the best at temperature 0 (the first of equals), else by inversion of the softmax."""
    if temperature == 0.0:
        return int(score.argmax())
    weights = np.exp((score - score.max()) / temperature)
    return int(min(np.searchsorted(np.cumsum(weights), u * weights.sum(), side="right"), len(score) - 1))
