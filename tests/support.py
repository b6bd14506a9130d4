"""What several tests share besides the tables in ``variants``."""

from __future__ import annotations

from typing import Any

import numpy as np

from societas import Game


def acts_of(game: Game, worlds: int, **fixed: Any) -> dict[str, Any]:
    """Acts of everybody: those given, for every world and player, else the lowest."""
    acts: dict[str, Any] = {}
    for role in game.roles:
        acts[role.name] = {}
        for field in role.acts:
            shape = (worlds, role.count, *field.shape)
            low = np.full(shape, max(field.space.low, -10), dtype=np.int64 if field.discrete else np.float64)
            given = np.asarray(fixed.get(field.name, low), dtype=low.dtype)
            acts[role.name][field.name] = np.broadcast_to(given, shape)
    return acts
