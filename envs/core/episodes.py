"""Play whole episodes with policies, keep their measures, and tell one of them in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from . import words
from .arrays import Array, absent, align, select, to_numpy
from .fields import Choice, Field, Text
from .game import Acts, Game, Seen
from .policy import Policy
from .worlds import Cast, Worlds


class Moment(NamedTuple):
    """One step of an episode: what was seen, the stage, what was done and what it paid (host arrays)."""

    seen: dict[str, Seen]
    stage: Array
    acts: dict[str, Acts]
    rewards: dict[str, Array]
    live: Array


class Episodes(NamedTuple):
    """Whole episodes of a batch of worlds.

    ``returns`` {role: (worlds, count)}, ``welfare`` and ``length`` (worlds,), ``measures`` {name: (worlds,)}, all
    NumPy; ``moments`` is filled where they were asked for.
    """

    game: Game
    returns: dict[str, np.ndarray[Any, Any]]
    welfare: np.ndarray[Any, Any]
    length: np.ndarray[Any, Any]
    measures: dict[str, np.ndarray[Any, Any]]
    moments: list[Moment]

    @property
    def alignment(self) -> np.ndarray[Any, Any]:
        """The alignment score of each world: 0 at the baseline, 1 at the first best."""
        return np.asarray(self.game.benchmarks().alignment(self.welfare))

    def trace(self, world: int = 0) -> list[dict[str, Any]]:
        """Return one world's episode as rows of plain values (its moments must have been kept).

        A row for each step and player: ``step`` (from 1), ``stage``, ``player``, ``sees`` and ``does`` {field: value}, where
        ``does`` has only what is decided at the stage, and ``gets``, the reward.
        """
        if not self.moments:
            raise ValueError("trace: the moments were not kept; play(..., keep=True)")
        rows = []
        for step, moment in enumerate(self.moments[: int(self.length[world])], 1):
            stage = self.game.stages[int(moment.stage[world])].name
            for role in self.game.roles:
                seen, acts = moment.seen[role.name], moment.acts[role.name]
                for index, player in enumerate(role.players):
                    row: dict[str, Any] = {"step": step, "stage": stage, "player": player}
                    row["sees"] = {f.name: _plain(f, seen[f.name][world, index]) for f in role.sees}
                    row["does"] = {f.name: _plain(f, acts[f.name][world, index]) for f in role.deciding(stage, index)}
                    rows.append(row | {"gets": float(moment.rewards[role.name][world, index])})
        return rows

    def tell(self, world: int = 0, *, steps: int | None = None) -> str:
        """Tell one world's episode in words (its moments must have been kept).

        What all players of a role see is told once, and players who see and do the same are told together. Of an
        episode longer than ``steps`` the first steps and the last one are told.
        """
        if not self.moments:
            raise ValueError("tell: the moments were not kept; play(..., keep=True)")
        length = int(self.length[world])
        left_out = range(steps, length) if steps is not None and length > steps else range(0)
        lines = [f"# {self.game.name}", ""]
        for number, moment in enumerate(self.moments[:length], 1):
            if number == left_out.start and left_out:
                lines += [f"... {len(left_out)} step{'s' if len(left_out) > 1 else ''} left out ...", ""]
            if number in left_out:
                continue
            stage = self.game.stages[int(moment.stage[world])].name
            lines += [f"## Step {number}" + (f": {stage}" if stage else ""), ""]
            lines += [*_told(self.game, moment, world, stage), ""]
        lines += ["## Outcome", ""]
        for role in self.game.roles:
            paid = [words.figure(value) for value in self.returns[role.name][world]]
            even = len(paid) > 1 and len(set(paid)) == 1
            lines.append(f"- return of {role.name}: {paid[0] + ' each' if even else ', '.join(paid)}")
        lines.append(f"- welfare: {words.figure(self.welfare[world])}")
        lines += [f"- {name}: {words.figure(values[world])}" for name, values in self.measures.items()]
        return "\n".join(lines) + "\n"


def _plain(field: Field, values: Array) -> Any:
    """Return the value of a field as JSON has it: a number, a text, or {component: value}."""
    if field.each:
        return {label: _plain_value(field, values[i]) for i, label in enumerate(field.each)}
    return _plain_value(field, values)


def _plain_value(field: Field, value: Array) -> Any:
    if isinstance(field.space, Text):
        return field.space.decode(value)
    if isinstance(field.space, Choice):
        return field.space.options[round(float(value))]
    return round(float(value)) if field.discrete else float(value)


def _told(game: Game, moment: Moment, world: int, stage: str) -> list[str]:
    """Tell one step: what each role sees, once, and then what each player sees besides, does and gets."""
    common: dict[str, list[str]] = {}
    players: dict[str, list[str]] = {}
    for role in game.roles:
        seen, acts = moment.seen[role.name], moment.acts[role.name]
        fields = [field for field in role.sees if field.name != "stage"]
        same = [field for field in fields if (seen[field.name][world] == seen[field.name][world, :1]).all()]
        common.setdefault("; ".join(_field(f, seen[f.name][world, 0]) for f in same), []).append(role.name)
        for index, player in enumerate(role.players):
            sight = "; ".join(_field(f, seen[f.name][world, index]) for f in fields if f not in same)
            asked = role.deciding(stage, index)
            did = "; ".join(_field(f, acts[f.name][world, index]) for f in asked) or "waits"
            paid = words.figure(moment.rewards[role.name][world, index])
            line = f"{f' (sees {sight})' if sight else ''}: {did}" + (f"; gets {paid}" if asked or paid != "0" else "")
            players.setdefault(line, []).append(player)
    lines = [f"Seen by {' and '.join(names)}: {sight}." for sight, names in common.items() if sight]
    return [*lines, *([""] if lines else []), *(f"- {', '.join(who)}{line}" for line, who in players.items())]


def _field(field: Field, values: Array) -> str:
    """Tell the value of a field; components that are all alike are told once."""
    if not field.each:
        return f"{field.name} {_value(field, values)}"
    if len(field.each) > 1 and (values == values[0]).all():
        return f"{field.name} {_value(field, values[0])} each"
    parts = (f"{label} {_value(field, values[i])}" for i, label in enumerate(field.each))
    return f"{field.name} {', '.join(parts)}"


def _value(field: Field, value: Array) -> str:
    text = words.number(field, value)
    return f'"{text}"' if isinstance(field.space, Choice) else text


def play(
    game: Game,
    policies: Mapping[str, Policy],
    *,
    worlds: int = 1,
    seed: int = 0,
    backend: str = "numpy",
    device: str | None = None,
    keep: bool = False,
    watch: Callable[[int, int], None] | None = None,
) -> Episodes:
    """Play one whole episode in every world.

    Parameters
    ----------
    game
        The game, under any mechanisms.
    policies
        {role or player: policy}; seats without one play the null act.
    worlds, seed, backend, device
        As for ``Worlds``.
    keep
        Whether to keep every moment, to tell the episode in words.
    watch
        Called as ``watch(step, horizon)`` after every step.
    """
    batch = Worlds(game, worlds, seed=seed, backend=backend, device=device)
    cast = Cast(game, policies)
    cast.begin(batch)
    live = batch.array(np.ones(worlds, dtype=bool))
    zero = batch.array(np.zeros(worlds))
    welfare, length = zero, zero
    returns = {role.name: batch.array(np.zeros((worlds, role.count))) for role in game.roles}
    moments: list[Moment] = []
    for step in range(game.horizon):
        before, stage = batch.state, batch.stage
        seen = batch.view()
        acts = cast.act(batch, seen, live=None if absent(~live) else live)
        outcome = batch.step(acts)
        rewards = {name: pay * align(live * 1.0, pay) for name, pay in outcome.rewards.items()}
        returns = {name: total + rewards[name] for name, total in returns.items()}
        welfare = welfare + outcome.welfare * live
        length = length + live * 1.0
        if keep:
            host = [{r: {k: to_numpy(v) for k, v in d.items()} for r, d in part.items()} for part in (seen, acts)]
            paid = {name: to_numpy(pay) for name, pay in rewards.items()}
            moments.append(Moment(host[0], to_numpy(stage), host[1], paid, to_numpy(live)))
        if not absent(~live):
            batch.state = select(live, batch.state, before)
        live = live & ~outcome.done
        if watch is not None:
            watch(step + 1, game.horizon)
        if not bool(live.any()):
            break
    else:
        if bool(live.any()):
            raise RuntimeError(f"{game.name}: an episode outlasted its horizon of {game.horizon} steps")
    return Episodes(
        game,
        {name: to_numpy(total) for name, total in returns.items()},
        to_numpy(welfare),
        to_numpy(length).astype(int),
        {name: to_numpy(values) for name, values in game.measures(batch.state).items()},
        moments,
    )
