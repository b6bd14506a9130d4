"""Stable-Baselines3's own vector interface over the native batch: no process pool, no copy loop over worlds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from ..core.game import Game
from .seat import Others, find_game
from .vector import RoleVectorEnv


class SB3VecEnv(VecEnv):
    """``RoleVectorEnv`` in the form that Stable-Baselines3 trains on; worlds begin anew in the step in which they end.

    Parameters
    ----------
    game
        A game, or the name of a registered one.
    worlds
        How many at once.
    seed
        World ``i`` of the seed is sub-environment ``i``.
    role, index, others, render_mode, continuous, parameters
        As for ``RoleVectorEnv``. With ``index=None`` all players of the role learn, one network for all: as many
        sub-environments for each world.
    """

    def __init__(
        self,
        game: Game | str,
        worlds: int,
        *,
        seed: int = 0,
        role: str | None = None,
        index: int | None = 0,
        others: Others = "random",
        render_mode: str | None = None,
        continuous: bool = False,
        **parameters: Any,
    ) -> None:
        made = find_game(game, parameters)
        each = made.role(role or made.roles[0].name).count if index is None else 1
        self.env = RoleVectorEnv(made, worlds * each, role, index, others, "SameStep", render_mode, continuous)
        self._seed: int | None = seed
        super().__init__(worlds * each, self.env.single_observation_space, self.env.single_action_space)

    def reset(self) -> np.ndarray[Any, Any]:
        """Start all worlds: of the seed at first, then their next episodes."""
        observations, _ = self.env.reset(seed=self._seed)
        self._seed = None
        return observations

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Take a seed for the next reset."""
        if seed is not None:
            self._seed = seed
        return [seed] * self.num_envs

    def step_async(self, actions: np.ndarray[Any, Any]) -> None:
        """Keep the actions."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
        """Act."""
        observations, rewards, done, _, info = self.env.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.nonzero(done)[0]:
            infos[i] = {"terminal_observation": info["final_obs"][i], "TimeLimit.truncated": False}
        return observations, rewards.astype(np.float32), done, infos

    def close(self) -> None:
        """Release nothing."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the batch, once a world asked for."""
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the whole batch."""
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of the batch, once a world asked for."""
        return [getattr(self.env, method_name)(*args, **kwargs) for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Say that no world is wrapped."""
        return [False] * len(list(self._get_indices(indices)))
