"""What a game says is possible: its levels, whether play attains them, and whether its equilibrium holds."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

from ..envs.core.arrays import Array, constant, namespace
from ..envs.core.episodes import Episodes, play
from ..envs.core.game import Acts, Benchmarks, Game, Level, Seen
from ..envs.core.policy import Policy, default_acts
from .walk import during, fail, legal, sizes

PLAYED = 4096
"""Worlds in which a level is played; fewer where an episode is long."""

DEVIATIONS = 20
ERRORS = 4.0


def check_levels(game: Game) -> Benchmarks:
    """Check the levels as numbers: finite, sourced, none above the first best, and the score they define."""
    name = game.name
    with during(name, "benchmarks()"):
        marks = game.benchmarks()
    top = marks.first_best.value
    slack = 1e-9 * max(1.0, abs(top))
    for key, level in marks.levels.items():
        if not math.isfinite(level.value):
            fail(f"{name}: level {key}", f"is {level.value}", "give a finite expected welfare per episode")
        if not level.source.strip():
            fail(f"{name}: level {key}", "has no source", "say in Level(source=...) how it was found")
        if level.value > top + slack:
            fail(f"{name}: level {key}", f"is {level.value:g}, above the first best of {top:g}", "nothing can be")
        unknown = set(level.play or {}) - {role.name for role in game.roles}
        if unknown:
            fail(f"{name}: level {key}", f"is played by {sorted(unknown)}", "name roles of the game")
    zero = (marks.baseline or marks.equilibrium).value
    if top - zero <= 0:
        try:
            marks.alignment(np.asarray(top))
        except ValueError:
            return marks
        fail(name, "alignment is defined although first best and baseline coincide", "use Benchmarks.alignment")
    for at, wanted in ((top, 1.0), (zero, 0.0)):
        score = float(marks.alignment(np.asarray(at)))
        if abs(score - wanted) > 1e-9:
            fail(name, f"alignment of welfare {at:g} is {score:g}, not {wanted:g}", "use Benchmarks.alignment")
    return marks


def check_play(game: Game, seed: int) -> None:
    """Play every level that says how, and test the equilibrium against simple unilateral deviations."""
    marks = game.benchmarks()
    worlds = max(256, min(PLAYED, 200_000 // game.horizon))
    for key, level in marks.levels.items():
        if level.play is None or set(level.play) != {role.name for role in game.roles}:
            continue
        with during(f"{game.name}: level {key}", "its play"):
            found = _simulate(game, level.play, worlds, seed)
        mean, error = float(found.welfare.mean()), _error(found.welfare)
        if abs(mean - level.value) > ERRORS * error + 1e-9 * max(1.0, abs(level.value)):
            spread = f" (standard error {error:.3g}, {worlds} worlds)" if error else ""
            fail(
                f"{game.name}: level {key}",
                f"says welfare {level.value:.6g}, its play attains {mean:.6g}{spread}",
                "mend the value or the play",
            )
        if key == "equilibrium":
            _check_regret(game, level, found, worlds, seed)


def _check_regret(game: Game, level: Level, found: Episodes, worlds: int, seed: int) -> None:
    assert level.play is not None
    for role in game.roles:
        if not role.acts:
            continue
        for number in range(DEVIATIONS):
            how = _Deviation(number, seed)
            with during(f"{game.name}: level equilibrium", f"a deviation of {role.players[0]}"):
                other = _simulate(game, level.play, worlds, seed, {role.name: how})
            gain = other.returns[role.name][:, 0] - found.returns[role.name][:, 0]
            size = max(1.0, float(np.abs(found.returns[role.name]).max()))
            if float(gain.mean()) > ERRORS * _error(gain) + 1e-9 * size:
                fail(
                    f"{game.name}: level equilibrium",
                    f"{role.players[0]} gains {gain.mean():.4g} (standard error {_error(gain):.2g}) by playing {how.text}",
                    "it is no equilibrium: mend the play, or name the level for what it is",
                )


def _error(values: np.ndarray[Any, Any]) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))


Strategy = Callable[[Seen], Acts]


def _simulate(
    game: Game,
    play_: Mapping[str, Strategy],
    worlds: int,
    seed: int,
    deviations: Mapping[str, _Deviation] | None = None,
) -> Episodes:
    how = deviations or {}
    return play(game, {name: _Follow(play_[name], how.get(name)) for name in play_}, worlds=worlds, seed=seed)


class _Deviation:
    """How player 0 deviates: constantly in all fields or in one of them, or at random every time."""

    def __init__(self, number: int, seed: int) -> None:
        self.number, self.seed, self.text = number, seed, ""

    def change(self, policy: Policy, acts: Acts, u: Array) -> Acts:
        """Return the acts with those of seat 0 replaced; u (*batch, draws)."""
        fields = policy.role.acts
        rng = np.random.default_rng([self.seed & 0x7FFFFFFF, self.number])
        only = int(rng.integers(len(fields))) if self.number % 4 == 2 else None
        said, begin = [], 0
        for position, (field, size) in enumerate(zip(fields, sizes(policy.role), strict=True)):
            part = u[..., begin : begin + size].reshape((*u.shape[:-1], *field.shape))
            begin += size
            fixed = np.full(field.shape, float(self.number)) if self.number < 2 else rng.random(field.shape)
            if self.number % 4 != 3:
                part = part * 0.0 + constant(part, np.clip(fixed, 0.0, 1.0 - 1e-12))
            if only is not None and position != only:
                continue
            values = legal(field, part)
            example = values.reshape((-1, *field.shape))[0].tolist()
            said.append(f"{field.name} {'at random' if self.number % 4 == 3 else example}")
            acts[field.name] = _seated(acts[field.name], values)
        self.text = ", ".join(said)
        return acts


def _seated(acts: Array, mine: Array) -> Array:
    """Return whole-role acts (worlds, count, ...) with seat 0's replaced."""
    xp = namespace(acts)
    return xp.concat([xp.astype(mine, acts.dtype)[:, None, ...], acts[:, 1:, ...]], axis=1)


class _Follow(Policy):
    """Plays a role's part in a level, all seats at once, but for a deviation of seat 0."""

    def __init__(self, strategy: Strategy, deviation: _Deviation | None) -> None:
        self.strategy, self.deviation = strategy, deviation

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        bound = copy.copy(super().bind(game, role, seats))
        bound.draws = sum(sizes(bound.role)) if self.deviation else 0
        return bound

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        acts = {**default_acts(self.role, stage, len(self.seats)), **self.strategy(seen)}
        return (acts if self.deviation is None else self.deviation.change(self, acts, u[:, 0, :])), memory
