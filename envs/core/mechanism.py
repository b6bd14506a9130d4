"""Mechanism: a function from game to game; Institution: the game that results."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Self

from .arrays import Array, absent, align, common, namespace, select, to_float, to_int
from .fields import Field, Role
from .game import Acts, Benchmarks, Game, Measure, Outcome, Seen, Stage, shared, stage_field


class Unfit(ValueError):
    """A game lacks what a mechanism needs: a field, a second player, a number to tax."""


class Mechanism(ABC):
    """A function from game to game: ``game | mechanism``. Subclasses are frozen dataclasses of its parameters."""

    budget: float | None = 0.0
    """Most that all players together gain or lose in a step beyond what welfare accounts for: 0 where transfers sum to
    zero and what is destroyed is taken from welfare; None where players are not paid the truth."""

    @abstractmethod
    def apply(self, game: Game) -> Game:
        """Return the game under the mechanism; the game itself where the mechanism is null.

        Raises
        ------
        Unfit
            If the game lacks what the mechanism needs.
        """

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return the mechanism with parameters that suit a game: its defaults, or what the game's fields ask for.

        Raises
        ------
        Unfit
            If nothing does.
        """
        return cls()

    @property
    def name(self) -> str:
        """Name, as it stands in the name of the game under it."""
        return type(self).__name__


class Layered(NamedTuple):
    """State of a game under a mechanism: the base game's, the stage, whether the base has ended, and its own."""

    base: Any
    stage: Array
    over: Array
    own: Any


class Institution(Game):
    """A game under a mechanism.

    It adds stages around those of the base game: ``before`` once an episode, ``opening`` before and ``closing`` after
    each round. It adds fields to roles (``sees``, ``acts``) and defines what happens by overriding ``begin``, ``bend``,
    ``observe``, ``meet``, ``settle``, ``show`` and ``account``. Worlds of one batch may be at different stages.
    """

    before: tuple[Stage, ...] = ()
    opening: tuple[Stage, ...] = ()
    closing: tuple[Stage, ...] = ()
    own_draws: int = 0
    own_reports: tuple[Measure, ...] = ()

    def __init__(self, base: Game, mechanism: Mechanism) -> None:
        self.base = base
        self.mechanism = mechanism

    # ---- what a mechanism defines -------------------------------------------------------------------------------

    @property
    @abstractmethod
    def terms(self) -> str:
        """What the mechanism changes, in words, as a player should be told it."""

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Return the fields that a role sees in addition."""
        return ()

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Return the fields that a role decides in addition."""
        return ()

    def begin(self, base: Any, u: Array) -> Any:
        """Return the mechanism's own first state (a named tuple), from uniforms (*batch, own_draws)."""
        return ()

    def bend(self, own: Any, base: Any, acts: Mapping[str, Acts], u: Array) -> Mapping[str, Acts]:
        """Return the acts with which a step of the base game is made, where the mechanism stands between."""
        return acts

    def observe(self, own: Any, base: Any, acts: Mapping[str, Acts]) -> Any:
        """Return the own state that remembers the acts of a step of the base game, as bent; ``settle`` gets it next."""
        return own

    def meet(
        self, stage: Array, own: Any, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[Any, dict[str, Array], Array | None]:
        """Play the added stages: return own next state, rewards (by role, may be empty) and welfare created.

        ``stage`` is (*batch), the index of the stage; what is returned for worlds that are at a stage of the base game
        is thrown away.
        """
        return own, {}, None

    def settle(self, own: Any, outcome: Outcome, ended: Array, u: Array) -> tuple[Any, Outcome]:
        """Follow a step of the base game: return own next state and the outcome as changed.

        ``outcome.state`` is the base game's; ``ended`` (*batch) says where the step completed a round of it.
        """
        return own, outcome

    def reads_own(self, state: Layered) -> bool:
        """Say whether the mechanism may read its own random numbers in the next step."""
        return True

    def foreseen(self, state: Layered, acts: Mapping[str, Acts]) -> Mapping[str, Acts] | None:
        """Return the acts as ``bend`` will leave them; None where that is known only when random numbers are drawn."""
        return acts if type(self).bend is Institution.bend else None

    def opens(self, own: Any, base: Any) -> Array | None:
        """Say in which worlds the opening stages of the coming round are played, (*batch); None for all."""
        return None

    def closes(self, own: Any, base: Any) -> Array | None:
        """Say in which worlds the closing stages of the round just played are played, (*batch); None for all."""
        return None

    def show(self, own: Any, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Return what roles see, given what they see in the base game."""
        return seen

    def account(self, own: Any) -> dict[str, Array]:
        """Return the mechanism's own measures."""
        return {}

    # ---- the game that results ----------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the base game and the mechanism."""
        return f"{self.base.name} | {self.mechanism.name}"

    @property
    def about(self) -> str:
        """The rules of the base game, and what the mechanism changes."""
        return f"{self.base.about.strip()}\n{self.terms.strip()}"

    @property
    def draws(self) -> int:  # type: ignore[override]
        """Uniform numbers a step: the base game's come first, so that they are the same under any mechanism."""
        return self.base.draws + self.own_draws

    @property
    def random_start(self) -> bool:  # type: ignore[override]
        """Whether the base game's or the mechanism's start is random."""
        return self.own_draws > 0 or self.base.random_start

    def uncertain(self, state: Layered, acts: Mapping[str, Acts]) -> bool:
        """Say whether the base game or the mechanism may read random numbers in the next step."""
        return any(self.reads(state, acts))

    def reads(self, state: Layered, acts: Mapping[str, Acts]) -> tuple[bool, ...]:
        """Say which random numbers may be read in the next step: of the base game's none at an added stage."""
        own = (self.reads_own(state),) * self.own_draws
        draws, stage = self.base.draws, common(state.stage) if self._added else None
        if stage is not None and not self._low <= stage < self._low + len(self.base.stages):
            return (False,) * draws + own
        foreseen = self.foreseen(state, acts) if draws else None
        base = (draws > 0,) * draws if foreseen is None else self.base.reads(state.base, foreseen)
        return base + own

    @property
    def reports(self) -> tuple[Measure, ...]:  # type: ignore[override]
        """The measures of the base game and the mechanism's own."""
        return self.base.reports + self.own_reports

    @property
    def rounds(self) -> int:
        """Most rounds an episode lasts: the base game's."""
        return self.base.rounds

    @property
    def horizon(self) -> int:
        """Most steps an episode lasts."""
        added = len(self.opening) + len(self.closing)
        return self.base.horizon + len(self.before) + self.rounds * added

    @functools.cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Stages in order: before, opening, those of the base game, closing."""
        base = self.base.stages
        if self._added and base[0].name == "":
            base = (Stage("act", base[0].means),)
        stages = self.before + self.opening + base + self.closing
        names = [stage.name for stage in stages]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.name}: stage names must be distinct, got {names}; the same mechanism twice?")
        return stages

    @functools.cached_property
    def roles(self) -> tuple[Role, ...]:
        """Roles of the base game with the added fields."""
        renamed = self.stages[self._low].name if self._added and self.base.stages[0].name == "" else None
        roles = []
        for role in self.base.roles:
            acts = role.acts if renamed is None else tuple(replace(f, stage=renamed) for f in role.acts)
            sees = tuple(f for f in role.sees if f.name != "stage") + self.sees(role)
            if len(self.stages) > 1:
                sees = (stage_field(self.stages), *sees)
            roles.append(replace(role, sees=sees, acts=acts + self.acts(role)))
        return tuple(roles)

    @property
    def _added(self) -> bool:
        return bool(self.before or self.opening or self.closing)

    @property
    def _low(self) -> int:
        return len(self.before) + len(self.opening)

    def start(self, u: Array) -> Layered:
        """Start the base game and the mechanism."""
        base = self.base.start(u[..., : self.base.draws])
        own = self.begin(base, u[..., self.base.draws :])
        stage = self.base.stage(base) * 0 if self.before else self._next_round(own, base)
        return Layered(base, stage, stage < 0, own)

    def stage(self, state: Layered) -> Array:
        """Return the stage that is next."""
        return state.stage

    def round(self, state: Layered) -> Array:
        """Return the rounds completed: a round ends with its closing stages."""
        completed = self.base.round(state.base)
        if not self.closing:
            return completed
        return completed - to_int(state.stage >= self._low + len(self.base.stages))

    def view(self, state: Layered) -> dict[str, Seen]:
        """Return what the roles see: the base game's fields, the mechanism's, and the stage."""
        seen = self.show(state.own, state.base, self.base.view(state.base))
        if len(self.stages) > 1:
            xp = namespace(state.stage)
            for role in self.roles:
                stage = xp.broadcast_to(state.stage[..., None], (*state.stage.shape, role.count))
                seen[role.name] = {**seen[role.name], "stage": stage}
        return seen

    def step(self, state: Layered, acts: Mapping[str, Acts], u: Array) -> Outcome:
        """Advance by one stage, of the base game or of the mechanism, world by world."""
        outcome = self._step(state, acts, u)
        if not self._uneven:
            return outcome
        finished = state.over & (state.stage < self._low + len(self.base.stages))
        if absent(finished):
            return outcome
        return outcome._replace(state=select(finished, state, outcome.state), done=outcome.done | finished)

    @functools.cached_property
    def _uneven(self) -> bool:
        """Whether worlds may end after different numbers of steps because stages around their rounds were skipped.

        Those that ended then stand still, so that they are not asked for a round beyond the last.
        """
        kind = type(self)
        return kind.opens is not Institution.opens or kind.closes is not Institution.closes

    def _step(self, state: Layered, acts: Mapping[str, Acts], u: Array) -> Outcome:
        base_u, own_u = u[..., : self.base.draws], u[..., self.base.draws :]
        if not self._added:
            own, outcome, _ = self._through(state, acts, base_u, own_u)
            layered = Layered(outcome.state, self.base.stage(outcome.state), outcome.done, own)
            return outcome._replace(state=layered)
        xp = namespace(state.stage)
        low, high = self._low, self._low + len(self.base.stages)
        ours = (state.stage < low) | (state.stage >= high)
        if absent(ours):
            return self._base_step(state, acts, base_u, own_u)
        here = self._own_step(state, acts, own_u)
        if absent(~ours):
            return here
        there = self._base_step(state, acts, base_u, own_u)
        rewards = {
            name: xp.where(align(ours, there.rewards[name]), here.rewards[name], there.rewards[name])
            for name in there.rewards
        }
        return Outcome(
            select(ours, here.state, there.state),
            rewards,
            xp.where(ours, here.done, there.done),
            xp.where(ours, here.welfare, there.welfare),
        )

    def _next_round(self, own: Any, base: Any) -> Array:
        """Return the stage at which a new round begins."""
        first = self.base.stage(base) + self._low
        if not self.opening:
            return first
        opening, opens = first * 0 + len(self.before), self.opens(own, base)
        return opening if opens is None else namespace(first).where(opens, opening, first)

    def _through(
        self, state: Layered, acts: Mapping[str, Acts], base_u: Array, own_u: Array
    ) -> tuple[Any, Outcome, Array]:
        """Step the base game through the hooks: own state, the base game's outcome as changed, where a round ended."""
        acts = self.bend(state.own, state.base, acts, own_u)
        own = self.observe(state.own, state.base, acts)
        outcome = self.base.step(state.base, acts, base_u)
        ended = self.base.round(outcome.state) > self.base.round(state.base)
        own, outcome = self.settle(own, outcome, ended, own_u)
        return own, outcome, ended

    def _base_step(self, state: Layered, acts: Mapping[str, Acts], base_u: Array, own_u: Array) -> Outcome:
        xp = namespace(state.stage)
        own, outcome, ended = self._through(state, acts, base_u, own_u)
        within = self.base.stage(outcome.state) + self._low
        if self.closing:
            closes = self.closes(own, outcome.state)
            closing = ended if closes is None else ended & closes
            if closes is not None:
                within = xp.where(ended, self._next_round(own, outcome.state), within)
            stage = xp.where(closing, self._low + len(self.base.stages), within)
            layered = Layered(outcome.state, stage, outcome.done, own)
            return outcome._replace(state=layered, done=outcome.done & ~closing)
        stage = xp.where(ended, self._next_round(own, outcome.state), within)
        return outcome._replace(state=Layered(outcome.state, stage, outcome.done, own))

    def _own_step(self, state: Layered, acts: Mapping[str, Acts], own_u: Array) -> Outcome:
        xp = namespace(state.stage)
        own, rewards, welfare = self.meet(state.stage, state.own, state.base, acts, own_u)
        zero = to_float(state.stage) * 0.0
        none = {role.name: xp.broadcast_to(zero[..., None], (*zero.shape, role.count)) for role in self.roles}
        stage = state.stage + 1
        if self.opening:
            stage = xp.where(state.stage == self._low - 1, self.base.stage(state.base) + self._low, stage)
        if self.before:
            stage = xp.where(state.stage == len(self.before) - 1, self._next_round(own, state.base), stage)
        final = state.stage == len(self.stages) - 1
        done = zero > 0.0
        if self.closing:
            stage = xp.where(final, self._next_round(own, state.base), stage)
            done = final & state.over
        layered = Layered(state.base, stage, state.over, own)
        return Outcome(layered, {**none, **rewards}, done, zero if welfare is None else welfare)

    def measures(self, state: Layered) -> dict[str, Array]:
        """Return the measures of the base game and the mechanism's own."""
        return {**self.base.measures(state.base), **self.account(state.own)}

    def benchmarks(self) -> Benchmarks:
        """Return the base game's levels: what is possible is not changed by the institution under study."""
        return self.base.benchmarks()


def players_of(game: Game, roles: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the players of some roles, in order."""
    return tuple(player for name in roles for player in game.role(name).players)


def joined(parts: Mapping[str, Array], roles: tuple[str, ...]) -> Array:
    """Join arrays (*batch, count) of several roles along the last axis."""
    xp = namespace(parts[roles[0]])
    return parts[roles[0]] if len(roles) == 1 else xp.concat([parts[name] for name in roles], axis=-1)


def parted(values: Array, game: Game, roles: tuple[str, ...]) -> dict[str, Array]:
    """Undo ``joined``: cut an array (*batch, players) into roles."""
    parts, begin = {}, 0
    for name in roles:
        count = game.role(name).count
        parts[name] = values[..., begin : begin + count]
        begin += count
    return parts


def every(game: Game) -> tuple[str, ...]:
    """Return the names of all roles."""
    return tuple(role.name for role in game.roles)


def chosen(game: Game, roles: tuple[str, ...], parameter: str = "roles") -> tuple[str, ...]:
    """Return the named roles in the game's order, all where none is named; Unfit if the game lacks one."""
    known = every(game)
    if lacking := [name for name in roles if name not in known]:
        raise Unfit(f"{parameter}: {game.name} has no role {', '.join(lacking)}; it has: {', '.join(known)}")
    return tuple(name for name in known if name in roles) or known


def several(game: Game) -> None:
    """Raise Unfit where a player has no other to compare with."""
    if len(game.players) < 2:
        raise Unfit(f"players: at least 2, {game.name} has only {', '.join(game.players)}")


def told(
    game: Game, seen: Mapping[str, Seen], to_all: Mapping[str, Array], own: Mapping[str, Mapping[str, Array]]
) -> dict[str, Seen]:
    """Return what roles see with more fields: arrays (*batch, k) that all see, and by role what each player sees of its own.

    ``own`` is {field: {role: (*batch, count)}}; a role that is not named does not see the field.
    """
    return {
        role.name: {
            **seen[role.name],
            **{name: shared(values, role.count) for name, values in to_all.items()},
            **{name: parts[role.name] for name, parts in own.items() if role.name in parts},
        }
        for role in game.roles
    }
