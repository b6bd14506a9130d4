"""Q-learning of Calvano et al. 2020: learners who remember the last round, in any repeated game of simultaneous choices."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from ..envs.core import chance, validate
from ..envs.core.arrays import Array, constant, to_numpy
from ..envs.core.fields import Choice, Field, Integer, Role
from ..envs.core.policy import Policy, default_acts

if TYPE_CHECKING:
    from ..envs.core.game import Acts, Game, Seen

Table = np.ndarray[Any, Any]

PROFILES = 100_000
"""Most action profiles of a game: each is a state, and each player has a table of states by actions."""

_GAMMA, _MIX1, _MIX2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_R30, _R27, _R31, _R11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


class Path(NamedTuple):
    """Greedy play: profile numbers (sessions, periods), and pay (sessions, periods, players)."""

    profiles: Table
    pay: Table


class Calvano(Policy):
    """Tabular Q-learning as in Calvano, Calzolari, Denicolò and Pastorello (2020), doi:10.1257/aer.20190623.

    All players of a role learn together, each for itself; the state s is what all chose in the last round. After each
    period Q(s, a) moves by ``alpha`` towards pi + delta max Q(s', .). In period t = 0, 1, ... a player explores with
    probability exp(-beta t), each action equally likely, and else takes the best one. Before the first period Q(s, a) is
    the mean pay of a against rivals who choose at random, divided by 1 - delta. Learning has converged when no player's
    greedy strategy has changed, in any state, for ``window`` periods in a row.

    What pays how much is computed once, by one step of the game, under whatever mechanisms, over all action profiles;
    the game must have one stage, no chance, and pay that depends on the round's acts alone. Each session (world) is
    learned by itself, on random numbers of its own: session i is the same however many there are. After learning, world
    i is played with the strategies of session i (modulo sessions). The loop is compiled by numba.

    Parameters
    ----------
    alpha
        Learning rate, above 0 and at most 1.
    beta
        How fast exploration dies out, per period.
    delta
        Discount factor per period, from 0 to below 1.
    window
        Periods without change after which learning has converged; they are counted among its periods.
    most
        Periods after which a session that has not converged is given up.

    Attributes
    ----------
    tables, strategies
        Q (sessions, players, profiles, actions), and the best action (sessions, players, profiles) it implies. Profile
        number: the players' action numbers read as digits, player 0's first.
    periods, converged, state
        Of each session: periods learned, whether it converged, and the last profile. (sessions,)
    pay
        Pay of every profile, (profiles, players).
    """

    pay: Table
    periods: Table
    converged: Table
    state: Table
    _act: Field
    _last: Field
    _actions: int

    def __init__(
        self,
        alpha: float = 0.15,
        beta: float = 4e-6,
        delta: float = 0.95,
        window: int = 100_000,
        most: int = 1_000_000_000,
    ) -> None:
        if validate.real("alpha", alpha, 0.0, 1.0) == 0.0:
            raise ValueError(f"alpha: above 0 and at most 1, got {alpha!r}; at 0 nothing is learned")
        if validate.probability("delta", delta) == 1.0:
            raise ValueError(f"delta: from 0 to below 1, got {delta!r}; at 1 the worth of a state has no bound")
        self.alpha, self.delta = float(alpha), float(delta)
        self.beta = validate.real("beta", beta, 0.0, 1.0)
        self.window = validate.whole("window", window, 1, 1_000_000_000)
        self.most = validate.whole("most", most, 1, 100_000_000_000)
        self.curve: list[float] = []
        self.tables: Table = np.zeros((0, 0, 0, 0))
        self.strategies: Table = np.zeros((0, 0, 0), dtype=np.int64)

    def ready(self) -> None:
        """Raise an error if numba is absent."""
        _learner()

    # ---- acting ---------------------------------------------------------------------------------------------------

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Find the field that shows what all chose last."""
        bound = copy.copy(super().bind(game, role, seats))
        bound._act = act = _act_of(game, role)
        bound._last = _last(bound.role, act)
        bound._actions = int(act.space.high - act.space.low) + 1
        fits = (bound.role.count, bound._actions**bound.role.count)
        if self.strategies.size and self.strategies.shape[1:] != fits:
            raise ValueError(
                f"game: these strategies were learned for {self.strategies.shape[1]} players and "
                f"{self.strategies.shape[2]} profiles; {role} of {game.name} has {fits[0]} and {fits[1]}"
            )
        return bound

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Play greedily; where nothing has been chosen yet, as if all had chosen their first action."""
        if not self.strategies.size:
            raise RuntimeError("Calvano: nothing learned yet; call learn(game, role) first")
        field, low = self._last, self._act.space.low
        digits = to_numpy(seen[field.name]).astype(np.int64) - low
        digits = np.where(digits < self._actions, digits, 0)  # "none" before the first round
        profile = _number(digits, self._actions)  # (worlds, seats)
        worlds = np.arange(profile.shape[0])[:, None] % len(self.strategies)
        picks = self.strategies[worlds, np.asarray(self.seats)[None, :], profile] + low
        acts = default_acts(self.role, stage, len(self.seats))
        name = self._act.name
        return {**acts, name: constant(acts[name], picks)}, memory

    # ---- learning -------------------------------------------------------------------------------------------------

    def learn(
        self,
        game: Game,
        role: str,
        *,
        episodes: int | None = None,
        sessions: int = 16,
        seed: int = 0,
        others: Mapping[str, Policy] | None = None,
        watch: Callable[[int, int], None] | None = None,
    ) -> Self:
        """Learn all seats of a role together, until every session has converged; return a policy with the tables.

        Parameters
        ----------
        game, role
            Who learns what.
        episodes
            Where given, a session is given up after so many episodes of the game (times its rounds, in periods), if that
            is sooner than ``most``.
        sessions
            Independent societies.
        seed
            Seed of the learners' chance.
        others
            Must be empty: nobody else decides anything in a game that these learners can play.
        watch
            Called as ``watch(session, sessions)`` after every session.

        Raises
        ------
        ValueError
            If the game has several stages, chance, others who decide, acts that are not choices, or pay that depends on
            more than the round's acts.
        ImportError
            If numba is absent.
        """
        if others:
            raise ValueError(f"others: none can play along with Calvano's learners, got {', '.join(others)}")
        validate.whole("sessions", sessions, 1, 10_000_000)
        run = _learner()
        count = game.role(role).count
        learner = self.bind(game, role, tuple(range(count)))
        learner.pay = pay = payoffs(game, role)
        m: int = learner._actions
        mean = np.moveaxis(pay.reshape((m,) * count + (count,)), -1, 0)  # (players, actions of 0, actions of 1, ...)
        first = [mean[i].mean(axis=tuple(j for j in range(count) if j != i)) / (1.0 - self.delta) for i in range(count)]
        start = np.repeat(np.array(first)[:, None, :], len(pay), axis=1)
        most = self.most if episodes is None else min(self.most, episodes * game.rounds)
        keys = chance.key(seed, np.arange(sessions, dtype=np.int64)).view(np.uint64)
        learner.tables = np.empty((sessions, *start.shape))
        learner.strategies = np.empty((sessions, *start.shape[:2]), dtype=np.int64)
        ends = []
        for i in range(sessions):
            q, best, top = start.copy(), start.argmax(axis=-1), start.max(axis=-1)
            ends.append(run(keys[i], pay, q, best, top, self.alpha, self.beta, self.delta, self.window, most))
            learner.tables[i], learner.strategies[i] = q, best
            if watch is not None:
                watch(i + 1, sessions)
        periods, state, converged = zip(*ends, strict=True)
        learner.periods, learner.state = np.array(periods), np.array(state)
        learner.converged = np.array(converged)
        return learner

    # ---- what was learned -----------------------------------------------------------------------------------------

    def path(
        self, periods: int, start: Table | None = None, forced: Mapping[tuple[int, int], Any] | None = None
    ) -> Path:
        """Play greedily, without learning.

        Parameters
        ----------
        periods
            How many.
        start
            The profile before the first, (sessions,); by default the last one of learning.
        forced
            {(period, player): action}: acts that are forced on a player, a number or one a session (sessions,).
        """
        m, sessions = self._actions, np.arange(len(self.strategies))
        profile, found = np.asarray(self.state if start is None else start), []
        for period in range(periods):
            acts = self.strategies[sessions, :, profile]
            for (when, player), action in (forced or {}).items():
                if when == period:
                    acts[:, player] = action
            profile = _number(acts, m)
            found.append(profile)
        profiles = np.stack(found, axis=1)
        return Path(profiles, self.pay[profiles])

    def limit(self) -> Table:
        """Return a profile of the cycle in which greedy play after learning ends, (sessions,)."""
        profile = np.asarray(self.state)
        sessions = np.arange(len(self.strategies))
        for _ in range(self.strategies.shape[2]):  # there are no more profiles before the cycle
            profile = _number(self.strategies[sessions, :, profile], self._actions)
        return np.asarray(profile)

    def settled(self, values: Table) -> tuple[Table, Table]:
        """Return the mean of values, (profiles, *), over the cycle in which play ends, (sessions, *), and its length."""
        first = profile = self.limit()
        sessions = np.arange(len(self.strategies))
        total, length, open_ = np.zeros_like(values[first], dtype=float), first * 0, first >= 0
        while open_.any():
            profile = _number(self.strategies[sessions, :, profile], self._actions)
            total[open_] += values[profile[open_]]
            length = length + open_
            open_ = open_ & (profile != first)
        return total / length.reshape((-1,) + (1,) * (values.ndim - 1)), length


def payoffs(game: Game, role: str) -> Table:
    """Return what every profile of a role's acts pays its players, (profiles, players), by one step of the game.

    Raises
    ------
    ValueError
        If the game does not suit: see ``Calvano.learn``.
    """
    act, count = _act_of(game, role), game.role(role).count
    low, high = int(act.space.low), int(act.space.high)
    m = high - low + 1
    if m**count > PROFILES:
        raise ValueError(f"game: at most {PROFILES:,} action profiles, {game.name} has {m}^{count}; take fewer actions")
    cells = np.indices((m,) * count).reshape(count, -1).T + low
    acts = {r.name: default_acts(r, np.zeros(len(cells), dtype=np.int64), r.count) for r in game.roles}
    acts[role][act.name] = cells
    rng = np.random.default_rng(0)  # only to see that nothing depends on it
    u = rng.random((3, len(cells), game.draws))
    first = game.step(game.start(u[0]), acts, u[1])
    shuffled = {**acts, role: {**acts[role], act.name: cells[rng.permutation(len(cells))]}}
    second = game.step(game.step(game.start(u[1]), shuffled, u[2]).state, acts, u[0])
    last = _last(game.role(role), act)
    if not np.array_equal(game.view(first.state)[role][last.name], np.repeat(cells[:, None, :], count, axis=1)):
        raise ValueError(
            f"game: {last.name!r}, which {role} of {game.name} sees, is not what each chose last; Calvano's learners "
            "choose by that"
        )
    one, other = (np.asarray(step.rewards[role], dtype=float) for step in (first, second))
    if not np.allclose(one, other, rtol=1e-12, atol=1e-12):
        gap = np.abs(one - other).max()
        raise ValueError(
            f"game: in {game.name} what a round pays depends on chance or on earlier rounds (by up to {gap:.3g}); Calvano's "
            "learners need pay that depends on the round's acts alone; take policy 'tabular'"
        )
    return np.ascontiguousarray(one)


def _act_of(game: Game, role: str) -> Field:
    """Return the one field that a role decides in a game of one stage."""
    mend = "Calvano's learners need one stage at which one role makes one choice; take policy 'tabular'"
    if len(game.stages) > 1:
        raise ValueError(f"game: {game.name} has {len(game.stages)} stages; {mend}")
    if others := [r.name for r in game.roles if r.acts and r.name != role]:
        raise ValueError(f"game: in {game.name} also {', '.join(others)} decide; {mend}")
    acts = game.role(role).acts
    if len(acts) != 1 or acts[0].each or not isinstance(acts[0].space, Choice | Integer):
        raise ValueError(f"game: {role} of {game.name} decides {', '.join(f.name for f in acts) or 'nothing'}; {mend}")
    return acts[0]


def _last(role: Role, act: Field) -> Field:
    """Return the field by which a role sees what each of its players chose in the last round."""
    for field in role.sees:
        options = field.space.options if isinstance(field.space, Choice) else None
        same = field.space == act.space or (
            options is not None
            and isinstance(act.space, Choice)
            and options[: len(act.space.options)] == act.space.options
        )
        if len(field.each) == role.count and same:
            return field
    raise ValueError(
        f"game: {role.name} sees no field that shows the last {act.name!r} of each of {role.count} players; "
        "Calvano's learners choose by what all chose last"
    )


def _number(digits: Table, base: int) -> Table:
    """Return the numbers of profiles (*, players)."""
    found = digits[..., 0]
    for i in range(1, digits.shape[-1]):
        found = found * base + digits[..., i]
    return np.asarray(found)


@functools.cache
def _learner() -> Callable[..., tuple[int, int, bool]]:
    """Compile the loop of a session."""
    try:
        import numba
    except ImportError as error:
        raise ImportError(
            "Calvano: the learners' loop needs numba, which is not installed; pip install 'societas[numba]'"
        ) from error
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    compiled: Callable[..., tuple[int, int, bool]]
    try:
        compiled = numba.njit(cache=True, **options)(_session)
    except RuntimeError:  # no folder can be written to that would keep what is compiled
        compiled = numba.njit(**options)(_session)
    return compiled


def _session(  # type: ignore[no-untyped-def]
    key, pay, q, best, top, alpha, beta, delta, window, most
):
    """Learn one session; ``q``, ``best`` and ``top`` (the worth of the best) are changed in place.

    The random numbers are those of ``chance.uniform(key)``: one a player for the first state, then one a player and
    period. One below epsilon explores, and says, divided by epsilon, which action.
    """
    n, _, m = q.shape
    acts = np.empty(n, np.int64)
    epsilon, fall, quiet, state = 1.0, math.exp(-beta), 0, 0
    for period in range(-1, most):
        if period < 0:
            epsilon = 1.0
        elif period & 1023 == 0:
            epsilon = math.exp(-beta * period)
        after = 0
        for i in range(n):
            key += _GAMMA
            x = (key ^ (key >> _R30)) * _MIX1
            x = (x ^ (x >> _R27)) * _MIX2
            u = np.float64((x ^ (x >> _R31)) >> _R11) * 2.0**-53
            act = min(int(u / epsilon * m), m - 1) if u < epsilon or period < 0 else best[i, state]
            acts[i] = act
            after = after * m + act
        if period < 0:
            state = after
            continue
        epsilon *= fall
        changed = False
        for i in range(n):
            act = acts[i]
            value = q[i, state, act]
            value += alpha * (pay[after, i] + delta * top[i, after] - value)
            q[i, state, act] = value
            if value > top[i, state]:
                changed |= best[i, state] != act
                best[i, state], top[i, state] = act, value
            elif best[i, state] == act:
                for k in range(m):
                    if q[i, state, k] > value:
                        value, act = q[i, state, k], k
                changed |= best[i, state] != act
                best[i, state], top[i, state] = act, value
        state = after
        quiet = 0 if changed else quiet + 1
        if quiet == window:
            return period + 1, state, True
    return most, state, False
