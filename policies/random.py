"""The random policy: every decision uniform over its space."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any, Self

from ..envs.core.arrays import Array
from ..envs.core.chance import whole
from ..envs.core.policy import Policy

if TYPE_CHECKING:
    from ..envs.core.game import Acts, Game, Seen


class Random(Policy):
    """Decides uniformly at random within each field's space; the reference point of every comparison."""

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Fit to seats; count the uniform numbers that the role's fields take."""
        bound = copy.copy(super().bind(game, role, seats))
        for field in bound.role.acts:
            if math.isinf(field.space.low) or math.isinf(field.space.high):
                raise ValueError(f"random: field {field.name!r} of {role} has no bounds; give it a bounded space")
        bound.draws = sum(math.prod(field.shape) for field in bound.role.acts)
        return bound

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Draw every field, asked for or not."""
        acts, begin = {}, 0
        for field in self.role.acts:
            size = math.prod(field.shape)
            part = u[..., begin : begin + size] if field.each else u[..., begin]
            low, high = field.space.low, field.space.high
            acts[field.name] = whole(part, int(low), int(high)) if field.discrete else low + part * (high - low)
            begin += size
        return acts, memory
