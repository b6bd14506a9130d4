"""Gymnasium's vector interface, native: one batch of worlds, no process pool."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import MultiDiscrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ..core.game import Game
from .seat import Others, Seat, find_game


class RoleVectorEnv(VectorEnv[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]):
    """A batch of games, each from one player's seat; the vector form of ``RoleEnv``.

    Sub-environment ``i`` under ``reset(seed=s)`` is world ``i`` of seed ``s``. With ``index=None`` all players of the
    role act, each a sub-environment, for self-play with one policy: ``i`` is then player ``i % n`` of world ``i // n``,
    n players in each, and the sub-environments of a world end together. What players do who do not decide at a stage is
    ignored.

    Parameters
    ----------
    game, role, index, others, continuous, parameters
        As for ``RoleEnv``; an index of None is all players of the role.
    num_envs
        Number of sub-environments: of worlds, times the players of the role if all act.
    autoreset_mode
        When a world that has ended begins its next episode: at the next step, in the same step, or when told to by
        ``reset(options={"reset_mask": mask})``.
    """

    def __init__(
        self,
        game: Game | str,
        num_envs: int = 1,
        role: str | None = None,
        index: int | None = 0,
        others: Others = "random",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        continuous: bool = False,
        **parameters: Any,
    ) -> None:
        made = find_game(game, parameters)
        self.num_envs = num_envs
        self._each = made.role(role or made.roles[0].name).count if index is None else 1
        if num_envs < 1 or num_envs % self._each:
            raise ValueError(f"num_envs: a multiple of {self._each}, the players of each world, got {num_envs}")
        self.seat = Seat(made, role, index, others, num_envs // self._each, continuous)
        self.single_observation_space = self.seat.flat.observation_space()
        self.single_action_space = self.seat.flat.action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": ["ansi"]}
        self.render_mode = render_mode
        self._ended = np.zeros(self.seat.worlds.count, dtype=bool)
        self._begun = False

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        """Start all worlds, or those of ``options["reset_mask"]``."""
        if isinstance(seed, list):
            raise TypeError("seed: one number for the whole batch (world i of it is reproducible alone), got a list")
        mask = (options or {}).get("reset_mask")
        if mask is not None:
            mask = np.asarray(mask)
            if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
                raise ValueError(f"reset_mask: {self.num_envs} booleans, at least one True, got {mask!r}")
            players, mask = mask.reshape(-1, self._each), mask[:: self._each]
            if (players != mask[:, None]).any():
                raise ValueError("reset_mask: the same for all players of a world")
            if seed is not None:
                raise ValueError("seed: with a reset_mask the worlds go on with their next episode; leave the seed out")
            self.seat.restart(mask)
            self._ended = self._ended & ~mask
        else:
            if seed is None and not self._begun:
                seed = int(self.np_random.integers(2**31))
            self._begun = True
            self.seat.reset(seed)
            self._ended = np.zeros_like(self._ended)
        return self._observe(), {}

    def _observe(self) -> np.ndarray[Any, Any]:
        """Return the observations (num_envs, dim)."""
        return self.seat.observe().reshape(self.observation_space.shape or (self.num_envs, -1))

    def _spread(self, of_worlds: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return what holds of each world (worlds,) for each sub-environment (num_envs,)."""
        return np.repeat(of_worlds, self._each) if self._each > 1 else of_worlds

    def step(self, actions: np.ndarray[Any, Any]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Act in all worlds."""
        actions = self._checked(actions)
        ended = self._ended
        if self.autoreset_mode == AutoresetMode.DISABLED and ended.any():
            raise RuntimeError(
                f"step: worlds {np.nonzero(ended)[0].tolist()} have ended; reset them with a reset_mask first"
            )
        if self.seat.index is None:
            actions = actions.reshape((-1, self._each, *actions.shape[1:]))
        reward, done, welfare = self.seat.step(actions, ended if ended.any() else None)
        if self.seat.index is None:
            reward = reward.T.reshape(-1)
        if self.autoreset_mode == AutoresetMode.SAME_STEP and done.any():
            final, objects = self._observe(), np.full(self.num_envs, None, dtype=object)
            over = self._spread(done)
            for i in np.nonzero(over)[0]:
                objects[i] = final[i]
            last = self._info(welfare, done, done)
            info = self._info(welfare, ~done, done & False)
            info |= {"final_obs": objects, "_final_obs": over.copy(), "final_info": last, "_final_info": over.copy()}
            self.seat.restart(done)
        else:
            info = self._info(welfare, ~ended, done)
            if self.autoreset_mode == AutoresetMode.NEXT_STEP and ended.any():
                self.seat.restart(ended)
        self._ended = done & (self.autoreset_mode != AutoresetMode.SAME_STEP)
        return self._observe(), reward, self._spread(done), np.zeros(self.num_envs, dtype=bool), info

    def _info(
        self, welfare: np.ndarray[Any, Any], stepped: np.ndarray[Any, Any], over: np.ndarray[Any, Any]
    ) -> dict[str, Any]:
        """Return what ``RoleEnv`` tells, each entry beside the mask of the sub-environments that have it.

        ``welfare``, ``stepped`` and ``over`` are of worlds.
        """
        info: dict[str, Any] = {}
        welfare, stepped, over = self._spread(welfare), self._spread(stepped), self._spread(over)
        if stepped.any():
            info |= {"welfare": np.where(stepped, welfare, 0.0), "_welfare": stepped.copy()}
        if over.any():
            measures = {name: self._spread(v) for name, v in self.seat.game.measures(self.seat.worlds.state).items()}
            masked = measures | {f"_{name}": over.copy() for name in measures}
            info |= {"measures": masked, "_measures": over.copy()}
        return info

    def _checked(self, actions: Any) -> np.ndarray[Any, Any]:
        """Return the actions as an array; name the first that is none."""
        array, space = np.asarray(actions), self.action_space
        if array.shape == space.shape and array.dtype.kind in ("iu" if self.seat.flat.discrete else "iuf"):
            low, high = (0, space.nvec - 1) if isinstance(space, MultiDiscrete) else (space.low, space.high)  # type: ignore[attr-defined]
            if ((array >= low) & (array <= high)).all():
                return array
        rows = list(array) if array.shape[:1] == (self.num_envs,) else [None]
        return np.stack([self.seat.flat.read(row) for row in rows])

    def render(self) -> tuple[str, ...] | None:
        """Return the prompts that the player would read."""
        if self.render_mode != "ansi":
            return None
        state, seat = self.seat.worlds.state, self.seat
        places = range(self._each) if seat.index is None else (seat.index,)
        worlds = range(seat.worlds.count)
        return tuple(seat.game.prompt(state, seat.role.name, place, world=i) for i in worlds for place in places)
