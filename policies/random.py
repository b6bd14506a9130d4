"""The random policy: every decision uniform over its space."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any, Self

from ..envs.core.arrays import Array, full, look_up, namespace
from ..envs.core.chance import whole
from ..envs.core.fields import Field, Text
from ..envs.core.policy import Policy

if TYPE_CHECKING:
    from ..envs.core.game import Acts, Game, Seen


LONGEST = 24
"""Most characters that are written at random: texts of a few short words."""

_LETTERS = tuple(tuple(map(ord, letters)) for letters in ("bdfgklmnprstvz", "aeiou") * 2 + ("bdklmnrst", " "))
"""What stands at the places of a word and after it, for ever in turn."""


class Random(Policy):
    """Decides uniformly at random within each field's space; the reference point of every comparison.

    Texts are random words, as short as none and as long as ``LONGEST`` characters.
    """

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Fit to seats; count the uniform numbers that the role's fields take."""
        bound = copy.copy(super().bind(game, role, seats))
        for field in bound.role.acts:
            if math.isinf(field.space.low) or math.isinf(field.space.high):
                raise ValueError(f"random: field {field.name!r} of {role} has no bounds; give it a bounded space")
        bound.draws = sum(_numbers(field) * max(1, len(field.each)) for field in bound.role.acts)
        return bound

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Draw every field, asked for or not."""
        acts, begin = {}, 0
        for field in self.role.acts:
            each, numbers = len(field.each), _numbers(field)
            size = numbers * max(1, each)
            part = u[..., begin : begin + size] if field.shape else u[..., begin]
            if isinstance(field.space, Text):
                part = part.reshape((*u.shape[:-1], each, numbers)) if each else part
                acts[field.name] = babble(part, field.space.length)
                begin += size
                continue
            low, high = field.space.low, field.space.high
            acts[field.name] = whole(part, int(low), int(high)) if field.discrete else low + part * (high - low)
            begin += size
        return acts, memory


def _numbers(field: Field) -> int:
    """Return how many uniform numbers a value takes: for a text one a character and one for how many there are."""
    return min(field.space.length, LONGEST) + 1 if isinstance(field.space, Text) else 1


def babble(u: Array, length: int) -> Array:
    """Turn uniform numbers (..., n + 1) into random words of at most n characters, code points (..., length)."""
    xp, most = namespace(u), u.shape[-1] - 1
    count, none = whole(u[..., -1], 0, most), full(u, tuple(u.shape[:-1]), 0, integer=True)
    columns = [none] * length
    for place in range(most):
        letters = _LETTERS[place % len(_LETTERS)]
        code = look_up(u, letters, whole(u[..., place], 0, len(letters) - 1))
        columns[place] = xp.where(count > place + int(len(letters) == 1), code, none)  # no space ends a text
    return xp.stack(columns, axis=-1)
