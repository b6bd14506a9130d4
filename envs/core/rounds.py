"""RoundGame: rounds of several stages, in each of which what was decided is settled once, at the end."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from .arrays import Array, align, common, full, namespace, select, to_float
from .fields import Field, Integer, Role
from .game import Acts, Game, Outcome, Seen, spread, stage_field
from .policy import default_acts

Record = dict[str, Array]
"""Named arrays (*batch, ...), the same for every player."""


class RoundState(NamedTuple):
    """Where a round stands.

    ``stage`` and ``played`` (rounds completed) are (*batch); ``nature`` is what was drawn as the round opened, ``acts``
    what has been decided ({role: {field: (*batch, count, *components)}}, the round before's until it is decided anew),
    ``memory`` what earlier rounds left, and ``sums`` (*batch) what the measures are made of.
    """

    stage: Array
    played: Array
    nature: Record
    acts: dict[str, Acts]
    memory: Record
    sums: Record


class Settled(NamedTuple):
    """What a round comes to.

    ``rewards`` maps each role to (*batch, count), or (*batch) for a role of one; ``welfare`` is (*batch); ``sums`` is
    added to the state's, name by name; ``memory`` replaces the state's; ``over`` (*batch) ends the episode early.
    """

    rewards: dict[str, Array]
    welfare: Array
    sums: Record
    memory: Record = {}  # noqa: RUF012  (never changed)
    over: Array | None = None


class RoundGame(Game):
    """A game whose rounds have stages and are settled at their end: an offer, an answer, and what comes of them.

    Subclasses are frozen dataclasses with an attribute ``repetitions``. They define ``about``, ``stages``, ``cast``,
    ``settle`` and ``benchmarks``; where nature moves first also ``nature`` and ``open``, where a round leaves traces also
    ``recall``. A field that a role sees is found by its name: among what nature drew, what the memory holds, and what
    roles of one player decided; what each player of a larger role sees for itself is given by ``own``. A role sees what
    it declares and nothing else, so that what is private stays so. Roles of one player have no seat axis in ``settle``.
    """

    repetitions: int
    nature: int = 0
    """Uniform numbers with which a round opens."""

    luck: int = 0
    """Uniform numbers with which a round is settled."""

    @abstractmethod
    def cast(self) -> tuple[Role, ...]:
        """Return the roles; the fields ``stage`` and ``round`` are put before what each of them sees."""

    def open(self, u: Array) -> Record:
        """Return what nature draws as a round opens, from uniforms (*batch, nature)."""
        return {}

    def recall(self, like: Array) -> Record:
        """Return the memory before the first round; ``like`` is (*batch), zeros of int64 (``to_float`` makes doubles of them)."""
        return {}

    @abstractmethod
    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Return what a round comes to, from uniforms (*batch, luck)."""

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Return what players see for themselves: {role: {field: (*batch, count, *components)}}."""
        return {}

    # ---- the game that results ----------------------------------------------------------------------------------

    @property
    def rounds(self) -> int:
        """Repetitions."""
        return self.repetitions

    @property
    def draws(self) -> int:  # type: ignore[override]
        """Uniform numbers a step: those that settle a round, then those that open the next."""
        return self.luck + self.nature

    @property
    def random_start(self) -> bool:  # type: ignore[override]
        """Whether nature moves first."""
        return self.nature > 0

    @functools.cached_property
    def roles(self) -> tuple[Role, ...]:
        """The cast, who also see which stage and which round it is."""
        common: tuple[Field, ...] = (Field("round", Integer(1, self.repetitions), "this round's number"),)
        if len(self.stages) > 1:
            common = (stage_field(self.stages), *common)
        return tuple(replace(role, sees=common + role.sees) for role in self.cast())

    def start(self, u: Array) -> RoundState:
        """Open the first round."""
        zero = full(u, tuple(u.shape[:-1]), 0, integer=True)
        acts = {role.name: default_acts(role, zero, role.count) for role in self.roles}
        sums = dict.fromkeys(self.summed, zero * 0.0)
        return RoundState(zero, zero, self.open(u[..., self.luck :]), acts, self.recall(zero), sums)

    @property
    def summed(self) -> tuple[str, ...]:
        """Names of the sums: by default one a measure, of which ``measures`` returns the mean a round."""
        return tuple(measure.name for measure in self.reports)

    def stage(self, state: RoundState) -> Array:
        """Return the stage that is next."""
        return state.stage

    def round(self, state: RoundState) -> Array:
        """Return the rounds played."""
        return state.played

    def view(self, state: RoundState) -> dict[str, Seen]:
        """Show each role the fields that it declares."""
        here = {"stage": state.stage, "round": state.played + (state.played < self.repetitions)}
        own = self.own(state)
        seen: dict[str, Seen] = {}
        for role in self.roles:
            mine, count = own.get(role.name, {}), role.count
            seen[role.name] = sight = {}
            for field in role.sees:
                name = field.name
                if name in mine:
                    sight[name] = mine[name]
                elif name in self._decider:
                    sight[name] = _to_seats(state.acts[self._decider[name]][name], count, field)
                else:
                    record = here if name in here else state.nature if name in state.nature else state.memory
                    values = record[name]
                    sight[name] = _to_seats(values[..., None, :] if field.each else values[..., None], count, field)
        return seen

    @functools.cached_property
    def _decider(self) -> dict[str, str]:
        """Which role of one player decides a field."""
        return {field.name: role.name for role in self.roles if role.count == 1 for field in role.acts}

    def step(self, state: RoundState, acts: Mapping[str, Acts], u: Array) -> Outcome:
        """Take down what is decided at this stage; at the last stage settle the round and open the next."""
        number, last = common(state.stage), len(self.stages) - 1
        taken = {role.name: dict(state.acts[role.name]) for role in self.roles}
        if number is not None:  # all worlds are at the same stage
            for role, field in self._decided[number]:
                taken[role][field] = _as(acts[role][field], taken[role][field])
            return self._settle(state, taken, u) if number == last else self._advance(state, taken)
        for number, fields in enumerate(self._decided):
            here = state.stage == number
            for role, field in fields:
                old = taken[role][field]
                taken[role][field] = namespace(old).where(align(here, old), _as(acts[role][field], old), old)
        return Outcome(*select(state.stage == last, self._settle(state, taken, u), self._advance(state, taken)))

    @functools.cached_property
    def _decided(self) -> tuple[tuple[tuple[str, str], ...], ...]:
        """Roles and fields that are decided at each stage."""
        return tuple(
            tuple((role.name, field.name) for role in self.roles for field in role.deciding(stage.name))
            for stage in self.stages
        )

    def uncertain(self, state: RoundState, acts: Mapping[str, Acts]) -> bool:
        """Say whether some world may be at the last stage; before it nothing is left to chance."""
        return common(state.stage) in (None, len(self.stages) - 1)

    def measures(self, state: RoundState) -> Record:
        """Return the mean of every sum a round."""
        played = to_float(state.played + (state.played == 0))
        return {name: total / played for name, total in state.sums.items()}

    def _advance(self, state: RoundState, taken: dict[str, Acts]) -> Outcome:
        zero = to_float(state.stage) * 0.0
        none = {role.name: spread(zero, role.count) if role.count > 1 else zero[..., None] for role in self.roles}
        return Outcome(state._replace(stage=state.stage + 1, acts=taken), none, zero > 0.0, zero)

    def _settle(self, state: RoundState, taken: dict[str, Acts], u: Array) -> Outcome:
        single = dict(taken)
        for role in self.roles:
            if role.count == 1:
                own = taken[role.name]
                single[role.name] = {
                    f.name: own[f.name][..., 0, :] if f.each else own[f.name][..., 0] for f in role.acts
                }
        found = self.settle(state.nature, single, state.memory, u[..., : self.luck])
        played = state.played + 1
        done = played >= self.repetitions
        after = RoundState(
            stage=state.stage * 0,
            played=played,
            nature=self.open(u[..., self.luck :]) if self.nature else state.nature,
            acts=taken,
            memory=found.memory or state.memory,
            sums={name: total + found.sums[name] for name, total in state.sums.items()},
        )
        rewards = {
            role.name: found.rewards[role.name][..., None] if role.count == 1 else found.rewards[role.name]
            for role in self.roles
        }
        return Outcome(after, rewards, done if found.over is None else done | found.over, found.welfare)


def _as(values: Array, like: Array) -> Array:
    return values if values.dtype == like.dtype else namespace(values).astype(values, like.dtype)


def _to_seats(values: Array, count: int, field: Field) -> Array:
    """Show what one seat (*batch, 1, *components) shows to all players of a role: (*batch, count, *components)."""
    begin = len(values.shape) - len(field.shape)
    shape = (*values.shape[: begin - 1], count, *values.shape[begin:])
    return namespace(values).broadcast_to(values, shape)
