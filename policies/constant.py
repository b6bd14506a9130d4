"""A policy that always does the same."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from ..envs.core import words
from ..envs.core.arrays import Array, constant
from ..envs.core.policy import Policy, default_acts

if TYPE_CHECKING:
    from ..envs.core.game import Acts, Game, Seen


class Constant(Policy):
    """Does the same whenever it is asked, whatever it sees.

    Parameters
    ----------
    acts
        {field: value} as in a player's answer: ``{"harvest": 10}``, ``{"action": "cooperate"}``. Fields that are left out
        get the null act.
    """

    def __init__(self, acts: Mapping[str, Any] | None = None) -> None:
        self.acts = dict(acts or {})

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Read the acts as the role's fields hold them, or say what is wrong with them."""
        bound = copy.copy(super().bind(game, role, seats))
        bound.values = words.read_acts(self.acts, bound.role.acts, "acts", role)  # type: ignore[attr-defined]
        return bound

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Do it."""
        acts = default_acts(self.role, stage, len(self.seats))
        for name, value in self.values.items():  # type: ignore[attr-defined]
            acts[name] = acts[name] * 0 + constant(acts[name], value)
        return acts, memory
