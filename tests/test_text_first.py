"""Text first: who reads only the words that a game tells plays as well as who reads the arrays."""

from __future__ import annotations

import copy
import json
from typing import Any, Self

import numpy as np
import pytest
from variants import SMALL

import societas
from societas import Choice, Field, Game, Integer, Policy, Role, make, play, policy
from societas.envs.core import words
from societas.envs.core.fields import Text
from societas.envs.core.policy import default_acts

WORLDS = 3
DIGITS = 1e-3
"""By how much, relative to its size, a real number may differ that is told in four digits."""

EDGE = {
    "IncompleteContract": "the offer leaves the agent exactly indifferent, and four digits of it a little better or worse off"
}
"""Games in whose equilibrium the fourth digit of a number decides."""


def value(field: Field, text: str) -> Any:
    """Return one value of a field as arrays hold it, from the words for it."""
    if isinstance(field.space, Text):
        return field.space.encode(json.loads(text))
    if isinstance(field.space, Choice):
        return field.space.options.index(text)
    number = text.removesuffix(f" {field.unit}") if field.unit else text
    return int(number) if isinstance(field.space, Integer) else float(number)


def understood(prompt: str, role: Role) -> dict[str, Any]:
    """Return what a player sees, read from the prompt by the names of fields and components."""
    lines = prompt.split("\n")
    seen = {}
    for field in role.sees:
        (line,) = [line for line in lines if line.startswith(f"- {field.name}: ")]
        rest = line.removeprefix(f"- {field.name}: ")
        if not field.each:
            seen[field.name] = value(field, rest)
            continue
        parts = []
        for label, following in zip(field.each, (*field.each[1:], None), strict=True):
            assert rest.startswith(f"{label} "), (label, rest)
            rest = rest.removeprefix(f"{label} ")
            told, _, rest = (rest, "", "") if following is None else rest.partition(f", {following} ")
            parts.append(value(field, told))
            rest = f"{following} {rest}"
        seen[field.name] = np.array(parts)
    return seen


class Reader(Policy):
    """Reads the prompt of every seat, and decides by another policy on what it has understood."""

    def __init__(self, inner: Policy) -> None:
        self.inner = inner

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        bound = copy.copy(super().bind(game, role, seats))
        bound.inner, bound.game = self.inner.bind(game, role, seats), game  # type: ignore[attr-defined]
        bound.draws = bound.inner.draws
        return bound

    def begin(self, batch: tuple[int, ...], xp: Any, device: Any = None) -> Any:
        return self.inner.begin(batch, xp, device)

    def act(self, seen: Any, stage: Any, u: Any, memory: Any) -> tuple[Any, Any]:
        read = {name: np.array(values) for name, values in seen.items()}
        for world, at in enumerate(stage):
            if at < 0:  # its episode is over: nobody is told anything
                continue
            for seat, index in enumerate(self.seats):
                mine = {name: values[world, seat] for name, values in seen.items()}
                text = words.prompt(self.game, self.role, index, mine, int(at))  # type: ignore[attr-defined]
                for name, found in understood(text, self.role).items():
                    true = np.asarray(mine[name], dtype=float)
                    assert np.allclose(found, true, rtol=DIGITS, atol=1e-9), (name, found, true)
                    read[name][world, seat] = found
        return self.inner.act(read, stage, u, memory)


class Fickle(Policy):
    """Acts by a fixed function of every whole number and choice that it sees, so that one misread value changes its acts."""

    def act(self, seen: Any, stage: Any, u: Any, memory: Any) -> tuple[Any, Any]:
        batch = stage.shape
        score = np.zeros((*batch, len(self.seats)), dtype=np.int64)
        for k, field in enumerate(self.role.sees):
            if field.discrete and not isinstance(field.space, Text):
                flat = np.asarray(seen[field.name]).reshape((*batch, len(self.seats), -1)).astype(np.int64)
                score += (flat * (7 + np.arange(flat.shape[-1]) * (2 * k + 3))).sum(axis=-1)
        acts = {name: np.array(values) for name, values in default_acts(self.role, stage, len(self.seats)).items()}
        for k, field in enumerate(self.role.acts):
            if isinstance(field.space, Text):
                continue
            low, high = max(field.space.low, -100), min(field.space.high, 100)
            mixed = (score * (2 * k + 1) + 5 * k) % 97
            chosen = low + mixed % (int(high - low) + 1) if field.discrete else low + mixed / 97 * (high - low)
            shape = acts[field.name].shape
            acts[field.name] = np.broadcast_to(chosen.reshape((*chosen.shape, *[1] * (len(shape) - 2))), shape) + 0
        return acts, memory


def returns(game: Game, players: dict[str, Policy]) -> dict[str, Any]:
    return play(game, players, worlds=WORLDS, seed=11).returns


@pytest.mark.parametrize("name", societas.list("games"))
def test_who_reads_the_words_does_what_who_reads_the_arrays_does(name: str) -> None:
    game = make(name, **SMALL.get(name, {}))
    by_arrays = returns(game, {role.name: Fickle() for role in game.roles})
    by_words = returns(game, {role.name: Reader(Fickle()) for role in game.roles})
    for role in game.roles:
        assert by_words[role.name] == pytest.approx(by_arrays[role.name], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", societas.list("games"))
def test_the_equilibrium_is_played_as_well_from_the_words(name: str) -> None:
    game = make(name, **SMALL.get(name, {}))
    if name in EDGE or game.benchmarks().equilibrium.play is None:
        pytest.skip(EDGE.get(name, "no equilibrium of this game can be played"))
    by_arrays = returns(game, {role.name: policy("equilibrium") for role in game.roles})
    by_words = returns(game, {role.name: Reader(policy("equilibrium")) for role in game.roles})
    for role in game.roles:
        found, true = by_words[role.name].mean(), by_arrays[role.name].mean()
        assert found == pytest.approx(true, rel=2e-2, abs=2e-2)


def test_a_misread_value_would_be_noticed() -> None:
    """The reader is no stand-in for the arrays: words that said something else would change what it does."""
    game = make("MatrixGame", repetitions=6)
    role = game.roles[0]
    prompt = words.prompt(game, role, 0, {f.name: np.zeros(f.shape, dtype=int) + 1 for f in role.sees}, 0)
    assert understood(prompt.replace("round: 1", "round: 2"), role)["round"] == 2
