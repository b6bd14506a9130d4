"""Seat: the place of one player, or of all of a role, in a batch of worlds; everyone else is played by policies.

Both Gymnasium faces sit on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core import registry
from ..core.arrays import select
from ..core.game import Game
from ..core.policy import Policy, default_acts
from ..core.worlds import Cast, Worlds
from .spaces import Flat

Others = Mapping[str, Policy | str] | Policy | str
"""Who plays the rest: a policy (or its registered name) for all, or one for each role or player."""

PATIENCE = 1_000  # episodes in a row that may end before the player is asked


def find_game(game: Game | str, parameters: Mapping[str, Any]) -> Game:
    """Return a game, made by name if need be."""
    if isinstance(game, Game):
        if parameters:
            raise TypeError(
                f"parameters {', '.join(parameters)} are for a game given by name; this one is made already"
            )
        return game
    made: Game = registry.create("games", game, **parameters)
    return made


def _policies(game: Game, others: Others) -> dict[str, Policy]:
    named = others if isinstance(others, Mapping) else {role.name: others for role in game.roles}
    return {who: registry.create("policies", p) if isinstance(p, str) else p for who, p in named.items()}


class Seat:
    """A player's seat in ``count`` worlds, or with ``index=None`` those of all players of a role; NumPy arrays.

    What the player is paid before it first decides is added to what its first act earns, so that the rewards of an
    episode sum to its return. Episodes that end before it is asked anything are passed over. With ``index=None`` the
    world waits where any of the players decides; observations and actions then have an axis of players, (count,
    players, ...), and rewards are (players, count).
    """

    def __init__(
        self,
        game: Game,
        role: str | None,
        index: int | None,
        others: Others,
        count: int,
        continuous: bool = False,
    ) -> None:
        self.game = game
        self.role = game.role(role or game.roles[0].name)
        if index is not None and not 0 <= index < self.role.count:
            raise ValueError(
                f"index: 0 to {self.role.count - 1} for role {self.role.name!r}, or None for all of it, got {index}"
            )
        self.index = index
        self.places = slice(None) if index is None else index
        self.players = self.role.players if index is None else (self.role.player(index),)
        self.flat = Flat(self.role, continuous)
        self.cast = Cast(game, _policies(game, others), except_=self.players)
        self.worlds = Worlds(game, count, check=False)
        self.turns = np.array([bool(self.role.deciding(stage.name, index)) for stage in game.stages])
        if not self.turns.any():
            who = self.role.name if index is None else self.players[0]
            raise ValueError(f"index: {who} decides nothing in {game.name}; choose another player")
        self.always = bool(self.turns.all())
        self._given = default_acts(self.role, self.worlds.world, self.role.count)

    def reset(self, seed: int | None) -> None:
        """Start anew: the first episode of a seed, or the next episode."""
        self.worlds.reset(seed)
        self.cast.begin(self.worlds)
        self._owed = self._created = np.zeros(self.worlds.count)
        self._open(np.zeros(self.worlds.count, dtype=bool))

    def restart(self, mask: np.ndarray[Any, Any]) -> None:
        """Start the next episode where a mask holds."""
        self.worlds.restart(mask)
        self.cast.begin(self.worlds, mask)
        self._open(~mask)

    def _open(self, waits: np.ndarray[Any, Any]) -> None:
        """Let the others open the episode where nobody waits."""
        if self.always:
            return
        for _ in range(PATIENCE):
            paid, over, created = self._advance(waits)
            self._owed, self._created = np.where(waits, self._owed, paid), np.where(waits, self._created, created)
            if not over.any():
                return
            self.worlds.restart(over)
            self.cast.begin(self.worlds, over)
            waits = ~over
        raise RuntimeError(
            f"others: {PATIENCE} episodes of {self.game.name} in a row ended before {self.players[0]} was "
            "asked anything; let others be played by policies that let it move"
        )

    def observe(self) -> np.ndarray[Any, Any]:
        """Return the observations of the player (count, dim) or players (count, players, dim), float32."""
        return np.ascontiguousarray(self.flat.flatten(self.worlds.view()[self.role.name])[:, self.places])

    def step(self, actions: np.ndarray[Any, Any], frozen: np.ndarray[Any, Any] | None = None) -> tuple[Any, Any, Any]:
        """Act, and let the others act until the player decides again.

        ``actions`` (count[, players][, components]) are checked already; ``frozen`` worlds stay as they are. Returns
        reward ([players,] count), done (count,) and the welfare created (count,).
        """
        acts = self.flat.acts(actions if self.index is None else actions[:, None])
        for name, values in acts.items():
            given = self._given[name].copy()
            given[:, self.places] = values if self.index is None else values[:, 0]
            self._given[name] = given
        waits = np.zeros(self.worlds.count, dtype=bool) if frozen is None else frozen
        reward, done, welfare = self._once(waits)
        if not self.always:
            more, over, created = self._advance(waits | done)
            reward, done, welfare = reward + more + self._owed, done | over, welfare + created + self._created
            self._owed = self._created = np.zeros(self.worlds.count)
        return reward, done, welfare

    def _once(self, waits: np.ndarray[Any, Any]) -> tuple[Any, Any, Any]:
        """Step the worlds that do not wait."""
        worlds, cast = self.worlds, self.cast
        some = bool(waits.any())
        before, memory = worlds.state, list(cast.memory)
        acts = cast.act(
            worlds, worlds.view() if cast.parts else {}, {self.role.name: self._given}, ~waits if some else None
        )
        outcome = worlds.step(acts)
        reward = outcome.rewards[self.role.name][:, self.places].T
        if not some:
            return reward, outcome.done, outcome.welfare
        worlds.state = select(waits, before, worlds.state)
        cast.memory = [
            new if new is None or old is None else select(waits, old, new)
            for old, new in zip(memory, cast.memory, strict=True)
        ]
        return np.where(waits, 0.0, reward), outcome.done & ~waits, np.where(waits, 0.0, outcome.welfare)

    def _advance(self, waits: np.ndarray[Any, Any]) -> tuple[Any, Any, Any]:
        """Let the others play until the player decides in every world that does not wait."""
        reward, welfare, done = np.zeros(self.worlds.count), np.zeros(self.worlds.count), np.zeros_like(waits)
        while True:
            waits = waits | done | self.turns[self.worlds.stage]
            if waits.all():
                return reward, done, welfare
            more, over, created = self._once(waits)
            reward, done, welfare = reward + more, done | over, welfare + created
