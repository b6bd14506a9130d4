"""PettingZoo: all players act, in parallel or in turn."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from gymnasium.spaces import Box, Discrete
from pettingzoo import AECEnv, ParallelEnv

from ..core.game import Game
from ..core.policy import default_acts
from ..core.worlds import Worlds
from .seat import find_game
from .spaces import Flat

Vector = np.ndarray[Any, Any]


class Measures(tuple[float, ...]):
    """Numbers with names, read by either: ``measures["equality"]``, ``measures[0]``, ``dict(measures)``.

    Trainers that keep infos as tensors take rows of numbers, and no dicts.
    """

    names: tuple[str, ...]

    def __new__(cls, named: Mapping[str, float]) -> Self:
        """Keep numbers in the order given."""
        row = super().__new__(cls, named.values())
        row.names = tuple(named)
        return row

    def keys(self) -> tuple[str, ...]:
        """Return the names."""
        return self.names

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self.names:
                raise KeyError(f"no measure {key!r}; there are {', '.join(self.names)}")
            key = self.names.index(key)
        return super().__getitem__(key)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(zip(self.names, self, strict=True)),)


class _Table:
    """What both faces share: one world, the players' spaces, and their observations and acts."""

    def __init__(self, game: Game, max_cycles: int | None, continuous: bool) -> None:
        if max_cycles is not None and max_cycles < 1:
            raise ValueError(f"max_cycles: at least 1, got {max_cycles}")
        self.game = game
        self.max_cycles = max_cycles
        self.worlds = Worlds(game, 1, check=False)
        self.flats = {role.name: Flat(role, continuous) for role in game.roles}
        self.seats = {role.player(i): (role.name, i) for role in game.roles for i in range(role.count)}
        self.movers = [
            [player for player, (role, i) in self.seats.items() if game.role(role).deciding(stage.name, i)]
            for stage in game.stages
        ]
        self.moves = [[(player, player in movers) for player in self.seats] for movers in self.movers]
        idle = {role.name: default_acts(role, self.worlds.world, role.count) for role in game.roles}
        self.idle = [
            {role.name: idle[role.name] for role in game.roles if not role.deciding(stage.name)}
            for stage in game.stages
        ]
        self.cycles = 0
        self.begun = False
        self.nothing = Measures({measure.name: 0.0 for measure in game.reports})

    def reset(self, seed: int | None) -> None:
        if seed is None and not self.begun:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        self.begun = True
        self.worlds.reset(seed)
        self.cycles = 0

    @property
    def stage(self) -> int:
        return int(self.worlds.stage[0])

    def first(self) -> dict[str, Vector]:
        """Return what the players see as an episode begins."""
        if self.worlds.random_start:
            return self.observations()
        return {player: row.copy() for player, row in self._same_first.items()}

    @functools.cached_property
    def _same_first(self) -> dict[str, Vector]:
        return self.observations()

    def observations(self) -> dict[str, Vector]:
        seen = self.worlds.view()
        found: dict[str, Vector] = {}
        for role in self.game.roles:
            rows = self.flats[role.name].flatten(seen[role.name])[0]
            found.update(zip(role.players, rows, strict=True))
        return found

    def step(self, actions: Mapping[str, Any]) -> tuple[dict[str, float], bool, bool, float]:
        """Return rewards, terminated, truncated and welfare."""
        acts = dict(self.idle[self.stage])  # roles that decide nothing now are not read
        for role in self.game.roles:
            if role.name not in acts:
                flat = self.flats[role.name]
                acts[role.name] = flat.acts(np.array([flat.read(actions[player]) for player in role.players])[None])
        outcome = self.worlds.step(acts)
        self.cycles += 1
        rewards: dict[str, float] = {}
        for role in self.game.roles:
            rewards.update(zip(role.players, outcome.rewards[role.name][0].tolist(), strict=True))
        done = bool(outcome.done[0])
        over = self.max_cycles is not None and self.cycles >= self.max_cycles and not done
        return rewards, done, over, float(outcome.welfare[0])

    def measures(self) -> Measures:
        return Measures({name: float(values[0]) for name, values in self.game.measures(self.worlds.state).items()})

    def prompts(self) -> str:
        state = self.worlds.state
        return "\n\n".join(self.game.prompt(state, role, i, world=0) for role, i in self.seats.values())


class GameParallelEnv(ParallelEnv[str, Vector, Any]):
    """A game in which all players act at once; see ``parallel_env``.

    ``info`` always has the same entries, numbers only: ``moves``, whether the player decides anything now, and
    ``measures``, those of the episode that ended last (zeros if none has since a reset with a seed), so that trainers
    that reset in the step in which an episode ends tell them too.
    """

    def __init__(self, game: Game, max_cycles: int | None, render_mode: str | None, continuous: bool = False) -> None:
        self._table = _Table(game, max_cycles, continuous)
        self.game = game
        self.metadata = {"name": f"{game.name}-v0", "render_modes": ["ansi"], "is_parallelizable": True}
        self.render_mode = render_mode
        self._measures = self._table.nothing
        self.possible_agents = list(game.players)
        self.agents: list[str] = []
        flats = {player: self._table.flats[role] for player, (role, _) in self._table.seats.items()}
        self.observation_spaces = {player: flat.observation_space() for player, flat in flats.items()}
        self.action_spaces = {player: flat.action_space() for player, flat in flats.items()}

    def observation_space(self, agent: str) -> Any:
        """Return the player's space of observations, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """Return the player's space of actions, always the same object."""
        return self.action_spaces[agent]

    def _infos(self) -> dict[str, dict[str, Any]]:
        measures = self._measures
        return {
            player: {"moves": moves, "measures": measures} for player, moves in self._table.moves[self._table.stage]
        }

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Vector], dict[str, dict[str, Any]]]:
        """Start world 0 of a seed; without one the next episode."""
        self._table.reset(seed)
        if seed is not None:
            self._measures = self._table.nothing
        self.agents = self.possible_agents[:]
        return self._table.first(), self._infos()

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Vector], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Act; what players do who do not move at this stage (``info["moves"]``) is ignored."""
        if not self.agents:
            return {}, {}, {}, {}, {}
        rewards, done, over, _ = self._table.step(actions)
        if done or over:
            self._measures = self._table.measures()
        infos = self._infos()
        terminated, truncated = dict.fromkeys(self.agents, done), dict.fromkeys(self.agents, over)
        observations = self._table.observations()
        if done or over:
            self.agents = []
        return observations, rewards, terminated, truncated, infos

    def render(self) -> str | None:
        """Return the prompts of all players."""
        return self._table.prompts() if self.render_mode == "ansi" else None

    def state(self) -> Vector:
        """Return all players' observations in one vector."""
        return np.concatenate(list(self._table.observations().values()))

    def close(self) -> None:
        """Release nothing: there is nothing to release."""


class GameAECEnv(AECEnv[str, Vector, Any]):
    """A game in which players act in turn: at each stage those who decide something, in order; see ``env``."""

    def __init__(self, game: Game, max_cycles: int | None, render_mode: str | None, continuous: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._table = _Table(game, max_cycles, continuous)
        for stage, movers in zip(game.stages, self._table.movers, strict=True):
            if not movers:
                raise ValueError(
                    f"stages: nobody of {game.name} decides anything at stage {stage.name!r}, so nobody can be next; "
                    "drop it, or give a role an act field there"
                )
        self.game = game
        self.metadata = {"name": f"{game.name}-v0", "render_modes": ["ansi"], "is_parallelizable": False}
        self.render_mode = render_mode
        self.possible_agents = list(game.players)
        self.agents = []
        flats = {player: self._table.flats[role] for player, (role, _) in self._table.seats.items()}
        self.observation_spaces = {player: flat.observation_space() for player, flat in flats.items()}
        self.action_spaces = {player: flat.action_space() for player, flat in flats.items()}
        self._none = {player: _null(flat) for player, flat in flats.items()}

    def observation_space(self, agent: str) -> Any:
        """Return the player's space of observations, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """Return the player's space of actions, always the same object."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Start world 0 of a seed; without one the next episode."""
        self._table.reset(seed)
        self.agents = self.possible_agents[:]
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {player: {} for player in self.agents}
        self._seen = self._table.first()
        self._open_stage()

    def _open_stage(self) -> None:
        self._waiting = list(self._table.movers[self._table.stage])
        self._actions = dict(self._none)
        self.agent_selection = self._waiting.pop(0)

    def observe(self, agent: str) -> Vector:
        """Return what a player sees now."""
        return self._seen[agent]

    def step(self, action: Any) -> None:
        """Take the selected player's action; the game moves on when the last of the stage has acted."""
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        self._actions[agent] = self._table.flats[self._table.seats[agent][0]].read(action)
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        if self._waiting:
            self.agent_selection = self._waiting.pop(0)
            return
        self.rewards, done, over, _ = self._table.step(self._actions)
        self._seen = self._table.observations()
        self._accumulate_rewards()
        if done or over:
            self.terminations = dict.fromkeys(self.agents, done)
            self.truncations = dict.fromkeys(self.agents, over)
            measures = self._table.measures()
            self.infos = {player: {"measures": measures} for player in self.agents}
            self.agent_selection = self.agents[0]
        else:
            self._open_stage()

    def render(self) -> str | None:
        """Return the prompts of all players."""
        return self._table.prompts() if self.render_mode == "ansi" else None

    def state(self) -> Vector:
        """Return all players' observations in one vector."""
        return np.concatenate(list(self._seen.values()))

    def close(self) -> None:
        """Release nothing: there is nothing to release."""


def _null(flat: Flat) -> Any:
    """Return the action that stands for a player who is not asked."""
    space = flat.action_space()
    if isinstance(space, Box):
        return np.clip(np.zeros(space.shape), space.low, space.high)
    return 0 if isinstance(space, Discrete) else np.zeros(space.shape, dtype=np.int64)


def parallel_env(
    game: Game | str,
    max_cycles: int | None = None,
    render_mode: str | None = None,
    continuous: bool = False,
    **parameters: Any,
) -> GameParallelEnv:
    """Return a game as a PettingZoo Parallel environment.

    Parameters
    ----------
    game
        A game, or the name of a registered one, made with ``parameters``.
    max_cycles
        Steps after which it is truncated; None for the game's own end.
    render_mode
        ``"ansi"`` to read what the players are told.
    continuous
        Whether all actions are a ``Box``, even where they are discrete, so that they can be padded to one space.
    """
    return GameParallelEnv(find_game(game, parameters), max_cycles, render_mode, continuous)


def env(
    game: Game | str,
    max_cycles: int | None = None,
    render_mode: str | None = None,
    continuous: bool = False,
    **parameters: Any,
) -> GameAECEnv:
    """Return a game as a PettingZoo AEC environment; arguments as for ``parallel_env``."""
    return GameAECEnv(find_game(game, parameters), max_cycles, render_mode, continuous)
