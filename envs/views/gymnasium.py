"""Gymnasium: one player learns, the others are played by policies."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ..core.game import Game
from .seat import Others, Seat, find_game


class RoleEnv(gymnasium.Env[np.ndarray[Any, Any], Any]):
    """A game from one player's seat.

    ``step`` goes on until the player has to decide again, adding up what it is paid. An episode ends when the game
    does; a time limit is Gymnasium's own (``max_episode_steps``). ``info`` holds the welfare created and, at the end,
    the measures.

    Parameters
    ----------
    game
        A game, or the name of a registered one, made with ``parameters``.
    role, index
        The player's role (the first one by default) and position in it.
    others
        A policy or its name for all other players, or {role or player: policy or name}.
    render_mode
        ``"ansi"`` to read what the player is told.
    continuous
        Whether actions are a ``Box`` even where all are discrete, for learners that know nothing else.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012  (as Gymnasium declares it)

    def __init__(
        self,
        game: Game | str,
        role: str | None = None,
        index: int = 0,
        others: Others = "random",
        render_mode: str | None = None,
        continuous: bool = False,
        **parameters: Any,
    ) -> None:
        if index is None:  # a vector of all players is RoleVectorEnv
            raise ValueError("index: the number of one player, got None; all players act in gymnasium.make_vec(...)")
        self.index = index
        self.seat = Seat(find_game(game, parameters), role, index, others, 1, continuous)
        self.game = self.seat.game
        self.observation_space = self.seat.flat.observation_space()
        self.action_space = self.seat.flat.action_space()
        self.render_mode = render_mode
        self._begun = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        """Start world 0 of a seed; without one the next episode (of a random seed at first)."""
        super().reset(seed=seed)
        if seed is None and not self._begun:
            seed = int(self.np_random.integers(2**31))
        self._begun = True
        self.seat.reset(seed)
        return self.seat.observe()[0], {}

    def step(self, action: Any) -> tuple[np.ndarray[Any, Any], float, bool, bool, dict[str, Any]]:
        """Act; ActError (a ValueError) names field, value and range of an action that is none."""
        reward, done, welfare = self.seat.step(self.seat.flat.read(action)[None])
        info: dict[str, Any] = {"welfare": float(welfare[0])}
        if done[0]:
            info["measures"] = {name: float(v[0]) for name, v in self.game.measures(self.seat.worlds.state).items()}
        return self.seat.observe()[0], float(reward[0]), bool(done[0]), False, info

    def render(self) -> str | None:
        """Return the prompt that the player would read."""
        if self.render_mode != "ansi":
            return None
        return self.game.prompt(self.seat.worlds.state, self.seat.role.name, self.index, world=0)
