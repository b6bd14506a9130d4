"""Policies that play what theory says."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

from ..envs.core.arrays import Array
from ..envs.core.policy import Policy, default_acts

if TYPE_CHECKING:
    from ..envs.core.game import Acts, Game, Seen


class Equilibrium(Policy):
    """Plays its role's part in a level of the game's benchmarks.

    Parameters
    ----------
    level
        Name of the level: ``"equilibrium"``, ``"first_best"`` or another that the game lists and knows how to play.
    """

    def __init__(self, level: str = "equilibrium") -> None:
        self.level = level

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Look the strategy up in ``game.benchmarks()``."""
        levels = game.benchmarks().levels
        playable = [name for name, level in levels.items() if level.play is not None and role in level.play]
        if self.level not in playable:
            raise ValueError(f"level: {game.name} has {', '.join(playable) or 'none'} for {role}, got {self.level!r}")
        bound = copy.copy(super().bind(game, role, seats))
        play = levels[self.level].play
        assert play is not None
        bound.strategy = play[role]  # type: ignore[attr-defined]
        return bound

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Follow the strategy; what mechanisms ask in addition is answered by the null act."""
        acts = default_acts(self.role, stage, len(self.seats))
        return {**acts, **self.strategy(seen)}, memory  # type: ignore[attr-defined]
