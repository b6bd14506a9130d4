"""Play copies of the same worlds, in each of which somebody may deviate from the policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ...envs.core.arrays import align, select, to_numpy, tree_map
from ...envs.core.game import Acts, Game, Seen
from ...envs.core.policy import Policy
from ...envs.core.worlds import Cast, Worlds

Host = np.ndarray[Any, Any]

ROWS = 1 << 15
"""Worlds played at once."""


class Copies(Worlds):
    """Worlds in which chance repeats: several copies of the same worlds, one after the other."""

    def __init__(self, game: Game, copies: int, each: int, seed: int) -> None:
        self.each = each
        super().__init__(game, copies * each, seed=seed, check=False)

    def reset(self, seed: int | None = None) -> None:
        """Start with the same chance in every copy."""
        super().reset(seed)
        self.world = self.world % self.each
        self._keys = None
        self.state = self._first()


class Look(NamedTuple):
    """A step before it is made, rows copy by copy: whoever deviates changes ``acts`` in place. ``earned`` is {role: (rows,
    count)}.
    """

    copy: Host
    seen: dict[str, Seen]
    stage: Host
    round: Host
    live: Host
    acts: dict[str, Acts]
    earned: dict[str, Host]


class Instead(NamedTuple):
    """A deviation: a player follows another policy; the others meet the same chance."""

    role: str
    place: int
    policy: Policy


Deviate = Callable[[Look], None] | Instead


class Played(NamedTuple):
    """Returns of players and measures, {name: (copies, worlds)}; ``certain`` where the game read no random number."""

    returns: dict[str, Host]
    measures: dict[str, Host]
    certain: bool

    @property
    def alike(self) -> bool:
        """Whether nothing was seen to differ between the worlds of a copy."""
        return self.certain and all(
            float(np.ptp(pay, axis=1).max()) <= 1e-12 * max(1.0, float(np.abs(pay).max()))
            for pay in self.returns.values()
        )


def run(
    game: Game,
    policies: Mapping[str, Policy],
    *,
    worlds: int,
    seed: int,
    copies: int = 1,
    deviate: tuple[Deviate, ...] = (),
) -> Played:
    """Play ``copies`` copies of the same worlds with policies and deviations from them."""
    step = max(1, ROWS // worlds)
    parts = [
        _run(game, policies, range(begin, min(begin + step, copies)), worlds, seed, deviate)
        for begin in range(0, copies, step)
    ]
    return Played(
        {name: np.concatenate([part.returns[name] for part in parts]) for name in parts[0].returns},
        {name: np.concatenate([part.measures[name] for part in parts]) for name in parts[0].measures},
        all(part.certain for part in parts),
    )


def _run(
    game: Game, policies: Mapping[str, Policy], copies: range, worlds: int, seed: int, deviate: tuple[Deviate, ...]
) -> Played:
    batch = Copies(game, len(copies), worlds, seed)
    cast = Cast(game, policies)
    cast.begin(batch)
    others = [(d, Cast(game, {game.role(d.role).player(d.place): d.policy})) for d in deviate if isinstance(d, Instead)]
    for _, other in others:
        other.begin(batch)
    number = np.repeat(np.asarray(copies), worlds)
    live = np.ones(batch.count, dtype=bool)
    earned = {role.name: np.zeros((batch.count, role.count)) for role in game.roles}
    certain = not batch.random_start
    for _ in range(game.horizon):
        seen, before = batch.view(), batch.state
        acts = cast.act(batch, seen, live=None if live.all() else live)
        if deviate:
            acts = {role: {name: np.array(v) for name, v in part.items()} for role, part in acts.items()}
            look = Look(number, seen, to_numpy(batch.stage), to_numpy(game.round(before)), live, acts, earned)
            for (role, place, _), other in others:
                mine = other.act(batch, seen, live=None if live.all() else live)[role]
                for name, values in mine.items():
                    acts[role][name][:, place] = to_numpy(values)[:, place]
            for change in deviate:
                if not isinstance(change, Instead):
                    change(look)
        if certain and game.draws:
            here = (before, acts) if live.all() else tree_map(lambda a: a[live], (before, acts))  # noqa: B023
            certain = not game.uncertain(*here)
        outcome = batch.step(acts)
        earned = {name: total + outcome.rewards[name] * align(live, total) for name, total in earned.items()}
        if not live.all():
            batch.state = select(live, batch.state, before)
        live = live & ~outcome.done
        if not live.any():
            break
    else:
        raise RuntimeError(f"{game.name}: an episode outlasted its horizon of {game.horizon} steps")
    shape = (len(copies), worlds)
    returns = {
        player: earned[role.name][:, i].reshape(shape) for role in game.roles for i, player in enumerate(role.players)
    }
    measures = {name: to_numpy(values).reshape(shape) for name, values in game.measures(batch.state).items()}
    return Played(returns, measures, certain)
