"""Independent tabular Q-learning, batched over societies."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..envs.core import validate
from ..envs.core.arrays import Array, constant, select, to_numpy
from ..envs.core.fields import Choice, Field, Integer, Role, Text, find
from ..envs.core.policy import Policy, default_acts
from ..envs.core.worlds import Cast, Worlds

if TYPE_CHECKING:
    from ..envs.core.game import Acts, Game, Seen

Table = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Grid:
    """How one decision is made discrete: which field and component, and the values that its actions stand for."""

    field: Field
    component: int | None
    values: tuple[float, ...]


class TabularQ(Policy):
    """Q-learning (Watkins 1989), one table a learner and decision; learners ignore each other.

    Numbers are binned. Each session (world) is a society of its own, with its own tables, so that many independent
    runs are learned at once; after learning, world ``i`` is played with the tables of session ``i`` (modulo sessions).

    Parameters
    ----------
    sees
        {field: bins} of what the state of the table is made; a field with several components enters by its mean.
        None takes every field of the role with at most 7 bins each (choices whole).
    levels
        Actions that a numeric decision is reduced to, evenly spaced over its space.
    alpha, gamma
        Learning rate and discount factor per decision.
    epsilon
        Exploration, first and last; it falls linearly over the first four fifths of the learning time.
    initial
        First value of every entry; a high one makes learners try everything (optimism).
    """

    def __init__(
        self,
        sees: Mapping[str, int] | None = None,
        *,
        levels: int = 11,
        alpha: float = 0.1,
        gamma: float = 0.95,
        epsilon: tuple[float, float] = (1.0, 0.0),
        initial: float = 0.0,
    ) -> None:
        self.sees = sees
        self.levels = validate.whole("levels", levels, 2, 100_000)
        self.alpha = validate.real("alpha", alpha, 0.0, 1.0)
        self.gamma = validate.real("gamma", gamma, 0.0, 1.0)
        self.epsilon = (validate.probability("epsilon", epsilon[0]), validate.probability("epsilon", epsilon[1]))
        self.initial = initial
        self.tables: list[Table] = []
        self.curve: list[float] = []

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Lay out states and actions for a role."""
        bound = copy.copy(super().bind(game, role, seats))
        seen = self.sees
        if seen is None:
            seen = {f.name: 7 for f in bound.role.sees if not f.each and not isinstance(f.space, Text)}
        bound._fields = [(find(bound.role.sees, name, role), bins) for name, bins in seen.items()]  # type: ignore[attr-defined]
        bound._grids = _grids(bound.role, self.levels)  # type: ignore[attr-defined]
        bound._stages = [stage.name for stage in game.stages]  # type: ignore[attr-defined]
        if self.tables:
            learned = self.tables[0].shape[1]
            if learned != bound.role.count:
                raise ValueError(f"seats: the tables were learned for {learned} seats, {role} has {bound.role.count}")
            bound._own = [table[:, list(seats)] for table in self.tables]  # type: ignore[attr-defined]
        return bound

    # ---- acting ---------------------------------------------------------------------------------------------------

    def _state(self, seen: Seen) -> Table:
        """Return the index of the table row, integer (worlds, seats)."""
        index: Any = np.zeros(to_numpy(seen[self.role.sees[0].name]).shape[:2], dtype=np.int64)
        for field, bins in self._fields:  # type: ignore[attr-defined]
            values = to_numpy(seen[field.name]).astype(float)
            if field.each:
                values = values.mean(axis=-1)
            low, count = field.space.low, _bins(field, bins)
            scaled = (values - low) / max(field.space.high - low, 1e-12)
            part = np.clip(np.floor(scaled * count), 0, count - 1).astype(np.int64)
            if isinstance(field.space, Choice | Integer) and field.space.high - low < count and not field.each:
                part = np.clip(values - low, 0, count - 1).astype(np.int64)
            index = index * count + part
        return np.asarray(index)

    @property
    def states(self) -> int:
        """Number of rows of a table."""
        return math.prod(_bins(field, bins) for field, bins in self._fields)  # type: ignore[attr-defined, misc]

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Play greedily."""
        if not self.tables:
            raise RuntimeError("TabularQ: nothing learned yet; call learn(game, role) first")
        state = self._state(seen)
        picks = [_row(table, state).argmax(axis=-1) for table in self._own]  # type: ignore[attr-defined]
        return self._acts(picks, stage), memory

    def _acts(self, picks: list[Table], stage: Array) -> Acts:
        acts = default_acts(self.role, stage, len(self.seats))
        host = {name: to_numpy(values).copy() for name, values in acts.items()}
        for grid, pick in zip(self._grids, picks, strict=True):  # type: ignore[attr-defined]
            chosen = np.asarray(grid.values)[pick]
            target = host[grid.field.name]
            if grid.component is None:
                target[...] = chosen
            else:
                target[..., grid.component] = chosen
        return {name: constant(acts[name], values) for name, values in host.items()}

    # ---- learning -------------------------------------------------------------------------------------------------

    def learn(
        self,
        game: Game,
        role: str,
        *,
        episodes: int,
        sessions: int = 16,
        seed: int = 0,
        others: Mapping[str, Policy] | None = None,
        watch: Callable[[int, int], None] | None = None,
    ) -> Self:
        """Learn all seats of a role together; return a policy with the tables.

        Parameters
        ----------
        game, role
            Who learns what.
        episodes
            Episodes a session.
        sessions
            Independent societies learned at once.
        seed
            Seed of the games' and the learners' chance.
        others
            Policies of the other roles.
        watch
            Called as ``watch(episode, episodes)`` after every episode.
        """
        count = game.role(role).count
        learner = self.bind(game, role, tuple(range(count)))
        grids: list[_Grid] = learner._grids  # type: ignore[attr-defined]
        learner.tables = [np.full((sessions, count, learner.states, len(g.values)), float(self.initial)) for g in grids]
        learner._own = learner.tables  # type: ignore[attr-defined]
        learner.curve = []
        worlds = Worlds(game, sessions, seed=seed, check=False)
        cast = Cast(game, others or {}, except_=game.role(role).players)
        for episode in range(episodes):
            if episode:
                worlds.reset()
            cast.begin(worlds)
            share = min(1.0, episode / max(1.0, 0.8 * episodes))
            epsilon = self.epsilon[0] + (self.epsilon[1] - self.epsilon[0]) * share
            learner.curve.append(float(learner._episode(worlds, cast, epsilon).mean()))
            if watch is not None:
                watch(episode + 1, episodes)
        return learner

    def _episode(self, worlds: Worlds, cast: Cast, epsilon: float) -> Table:
        """Play and learn one episode; return the returns (sessions, seats)."""
        role, grids = self.role, self._grids  # type: ignore[attr-defined]
        shape = (worlds.count, role.count)
        live = np.ones(worlds.count, dtype=bool)
        pending: list[tuple[int, Table, Table]] = []  # decisions waiting for what they lead to: table, state, action
        earned, total = np.zeros(shape), np.zeros(shape)
        for _ in range(worlds.game.horizon):
            seen = worlds.view()
            stage = worlds.stage
            name = self._stages[int(stage[live][0])]  # type: ignore[attr-defined]  # live worlds are in phase
            asked = [k for k, grid in enumerate(grids) if grid.field.stage == name]
            state = self._state(seen[role.name])
            if asked:
                best = np.mean([_row(self.tables[k], state).max(axis=-1) for k in asked], axis=0)
                self._update(pending, earned + self.gamma * best, live)
                pending, earned = [], np.zeros(shape)
            u = worlds.uniform(2 * len(grids) * role.count, f"explore:{role.name}").reshape(*shape, len(grids), 2)
            picks = []
            for k, grid in enumerate(grids):
                greedy = _row(self.tables[k], state).argmax(axis=-1) if k in asked else np.zeros(shape, dtype=np.int64)
                anything = np.floor(u[..., k, 1] * len(grid.values)).astype(np.int64)
                picks.append(np.where(u[..., k, 0] < epsilon, anything, greedy))
            pending += [(k, state, picks[k]) for k in asked]
            acts = cast.act(worlds, seen, {role.name: self._acts(picks, stage)})
            before = worlds.state
            outcome = worlds.step(acts)
            pay = outcome.rewards[role.name] * live[:, None]
            earned, total = earned + pay, total + pay
            ended = outcome.done & live
            if ended.any():
                self._update(pending, earned, ended)
            if not live.all():
                worlds.state = select(live, worlds.state, before)
            live = live & ~outcome.done
            if not live.any():
                break
        return total

    def _update(self, pending: list[tuple[int, Table, Table]], target: Table, mask: Table) -> None:
        where = np.nonzero(mask)[0]
        seats = np.arange(target.shape[1])
        for k, state, pick in pending:
            place = (where[:, None], seats[None, :], state[where], pick[where])
            self.tables[k][place] += self.alpha * (target[where] - self.tables[k][place])


def _bins(field: Field, bins: int) -> int:
    if isinstance(field.space, Text):
        raise ValueError(f"sees: field {field.name!r} is free text and cannot be binned; leave it out")
    if isinstance(field.space, Choice | Integer) and not field.each:
        return (
            int(min(bins, field.space.high - field.space.low + 1))
            if isinstance(field.space, Integer)
            else len(field.space.options)
        )
    if math.isinf(field.space.low) or math.isinf(field.space.high):
        raise ValueError(f"sees: field {field.name!r} has no bounds and cannot be binned; leave it out")
    return bins


def _grids(role: Role, levels: int) -> list[_Grid]:
    grids = []
    for field in role.acts:
        if isinstance(field.space, Text):
            raise ValueError(
                f"acts: field {field.name!r} of {role.name} is free text and cannot be tabulated; let players choose "
                "from a vocabulary"
            )
        low, high = field.space.low, field.space.high
        if math.isinf(low) or math.isinf(high):
            raise ValueError(f"acts: field {field.name!r} has no bounds and cannot be tabulated")
        if isinstance(field.space, Choice) or (field.discrete and high - low + 1 <= levels):
            values = tuple(float(v) for v in range(int(low), int(high) + 1))
        else:
            steps = np.linspace(low, high, levels)
            values = tuple(float(v) for v in (np.round(steps) if field.discrete else steps))
        grids += [_Grid(field, c, values) for c in (range(len(field.each)) if field.each else (None,))]
    return grids


def _row(table: Table, state: Table) -> Table:
    """Return the table rows (worlds, seats, actions) of states (worlds, seats)."""
    worlds = np.arange(state.shape[0]) % table.shape[0]
    return np.asarray(table[worlds[:, None], np.arange(state.shape[1])[None, :], state])
