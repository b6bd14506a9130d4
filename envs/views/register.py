"""Registration of every game with Gymnasium and PettingZoo, on ``import societas``."""

from __future__ import annotations

import gymnasium
import pettingzoo

from ..core import registry


def environment_id(game: str) -> str:
    """Return the id under which a game is registered."""
    return f"societas/{game}-v0"


def register_everywhere() -> None:
    """Register every game of the registry that is not yet; no game is imported by it."""
    for name in registry.entries("games"):
        identity = environment_id(name)
        if identity not in gymnasium.registry:
            gymnasium.register(
                identity,
                entry_point="societas.envs.views.gymnasium:RoleEnv",
                vector_entry_point="societas.envs.views.vector:RoleVectorEnv",
                kwargs={"game": name},
            )
        if identity not in pettingzoo.parallel_registry:
            views = "societas.envs.views.pettingzoo"
            pettingzoo.register("parallel", identity, entry_point=f"{views}:parallel_env", kwargs={"game": name})
            pettingzoo.register("aec", identity, entry_point=f"{views}:env", kwargs={"game": name})
