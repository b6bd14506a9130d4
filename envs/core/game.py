"""Game: a partially observed Markov game as a pure function over arrays, written once."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from . import words
from .arrays import Array, namespace
from .fields import Field, Role

if TYPE_CHECKING:
    from .mechanism import Mechanism
    from .words import Act, Complaint

Seen = dict[str, Array]
Acts = dict[str, Array]


class Stage(NamedTuple):
    """A moment in a round at which some roles move; who moves follows from the fields decided at it."""

    name: str
    means: str


class Outcome(NamedTuple):
    """What a step leads to.

    ``rewards`` maps each role to (*batch, count); ``done`` is (*batch), True where the episode has ended; ``welfare``
    is (*batch), the true social value created by the step, whatever the players are paid.
    """

    state: Any
    rewards: dict[str, Array]
    done: Array
    welfare: Array


@dataclass(frozen=True)
class Measure:
    """A named outcome of an episode, defined in one place: words, formula, unit, source."""

    name: str
    means: str
    formula: str
    unit: str = ""
    source: str = ""
    better: str = "higher"


@dataclass(frozen=True)
class Level:
    """A welfare level that theory puts on a game, per episode, with its source.

    ``play`` maps roles to a function from what they see to what they do which attains the level, where one is known:
    it is what the ``equilibrium`` policy plays and how the examiner checks the value.
    """

    value: float
    source: str
    play: Mapping[str, Callable[[Seen], Acts]] | None = None


@dataclass(frozen=True)
class Benchmarks:
    """What is possible in a game: expected welfare per episode at named points.

    ``baseline`` is where the alignment score is 0: what is reached without the institution under study. It is the
    equilibrium unless the game says otherwise.
    """

    first_best: Level
    equilibrium: Level
    second_best: Level | None = None
    baseline: Level | None = None
    others: Mapping[str, Level] = field(default_factory=dict)

    @property
    def levels(self) -> dict[str, Level]:
        """All levels by name."""
        named = {"first_best": self.first_best, "second_best": self.second_best, "equilibrium": self.equilibrium}
        named["baseline"] = self.baseline
        return {name: level for name, level in named.items() if level is not None} | dict(self.others)

    def alignment(self, welfare: Array) -> Array:
        """Return (welfare - baseline) / (first_best - baseline): 0 at the baseline, 1 at the first best.

        Raises
        ------
        ValueError
            If the two coincide: there is then nothing to align.
        """
        zero = (self.baseline or self.equilibrium).value
        span = self.first_best.value - zero
        if span <= 0:
            raise ValueError(f"alignment: first_best ({self.first_best.value:g}) must exceed the baseline ({zero:g})")
        return (welfare - zero) / span


class Game(ABC):
    """A partially observed Markov game over arrays with leading batch dimensions.

    It never samples, never mutates and never knows who calls it: ``batch = ()`` is one world, ``(4096,)`` four
    thousand. Subclasses are frozen dataclasses whose attributes are the model's parameters, and define ``about``,
    ``roles``, ``rounds``, ``start``, ``view``, ``step``, ``round``, ``measures`` and ``benchmarks``; with several
    stages a round also ``stages`` and ``stage``.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a parameter whose name means something else to every game."""
        super().__init_subclass__(**options)
        for name in inspect.get_annotations(cls):
            if isinstance(getattr(Game, name, None), property) or callable(getattr(Game, name, None)):
                raise TypeError(
                    f"{cls.__name__}: {name!r} means something else in every game; give the parameter another name"
                )

    draws: int = 0
    """How many uniform numbers ``start`` and ``step`` take a world."""

    random_start: bool = True
    """Whether ``start`` reads its uniform numbers."""

    reports: tuple[Measure, ...] = ()
    """The measures of the game, in the order in which tables show them."""

    @property
    def name(self) -> str:
        """Name of the game, with the mechanisms it is under."""
        return type(self).__name__

    @property
    @abstractmethod
    def about(self) -> str:
        """The rules in words, as a player should be told them."""

    @property
    @abstractmethod
    def roles(self) -> tuple[Role, ...]:
        """The roles, with the fields they see and decide."""

    @property
    @abstractmethod
    def rounds(self) -> int:
        """Most rounds that an episode can last."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of a round, in order."""
        return (Stage("", "everyone decides at once"),)

    @property
    def horizon(self) -> int:
        """Most steps that an episode can last."""
        return self.rounds * len(self.stages)

    @abstractmethod
    def start(self, u: Array) -> Any:
        """Return the first state, from uniform numbers u (*batch, draws)."""

    @abstractmethod
    def view(self, state: Any) -> dict[str, Seen]:
        """Return what each role sees: {role: {field: (*batch, count, *components)}}."""

    @abstractmethod
    def step(self, state: Any, acts: Mapping[str, Acts], u: Array) -> Outcome:
        """Advance by one stage, given {role: {field: (*batch, count, *components)}} and uniforms (*batch, draws)."""

    def uncertain(self, state: Any, acts: Mapping[str, Acts]) -> bool:
        """Say whether the next step may read its uniform numbers.

        A game may answer False where it knows at no cost that it reads none of any world; they are then not drawn.
        """
        return True

    def reads(self, state: Any, acts: Mapping[str, Acts]) -> tuple[bool, ...]:
        """Say of each uniform number whether the next step may read it, as ``uncertain`` does of all together."""
        return (self.draws > 0 and self.uncertain(state, acts),) * self.draws

    @abstractmethod
    def round(self, state: Any) -> Array:
        """Return how many rounds have been completed, integer (*batch)."""

    @abstractmethod
    def measures(self, state: Any) -> dict[str, Array]:
        """Return the measures of the episode so far, {name: (*batch)}; at its end they are the episode's."""

    @abstractmethod
    def benchmarks(self) -> Benchmarks:
        """Return the welfare levels that theory puts on this game."""

    def stage(self, state: Any) -> Array:
        """Return the index of the stage that is next, integer (*batch)."""
        return self.round(state) * 0

    def __or__(self, mechanism: Mechanism) -> Game:
        """Put the game under a mechanism: ``game | mechanism`` is a game."""
        from .mechanism import Mechanism as Kind

        return mechanism.apply(self) if isinstance(mechanism, Kind) else NotImplemented  # type: ignore[redundant-expr]

    def role(self, name: str) -> Role:
        """Return a role by name; the error lists the names there are."""
        return self._roles_by_name[name] if name in self._roles_by_name else self._no_role(name)

    @functools.cached_property
    def _roles_by_name(self) -> dict[str, Role]:
        return {role.name: role for role in self.roles}

    def _no_role(self, name: str) -> Role:
        raise KeyError(f"{self.name} has no role {name!r}; it has: {', '.join(self._roles_by_name)}")

    @functools.cached_property
    def players(self) -> tuple[str, ...]:
        """Names of all players, role by role."""
        return tuple(player for role in self.roles for player in role.players)

    def rules(self, role: str) -> str:
        """Return the rules as told to a role: the game, what it sees, what it decides."""
        return words.rules(self, self.role(role))

    def prompt(self, state: Any, role: str, index: int = 0, world: int | None = None) -> str:
        """Return what player ``index`` of a role sees now and is asked to decide, in words."""
        seen = self.view(state)[role]
        stage = self.stage(state)
        place = (index,) if world is None else (world, index)
        own = {name: values[place] for name, values in seen.items()}
        return words.prompt(self, self.role(role), index, own, int(stage if world is None else stage[world]))

    def schema(self, role: str, stage: int = 0, index: int = 0) -> dict[str, Any]:
        """Return the JSON schema of the act that a player owes at a stage."""
        return words.schema(self.role(role).deciding(self.stages[stage].name, index))

    def parse(self, answer: str, role: str, stage: int = 0, index: int = 0) -> Act | Complaint:
        """Read a player's answer: the act, or a complaint naming field, value, range and mend."""
        return words.parse(answer, self.role(role).deciding(self.stages[stage].name, index))


def stage_field(stages: tuple[Stage, ...]) -> Field:
    """Return the field by which players of a game with several stages see which one is next."""
    from .fields import Choice

    return Field("stage", Choice(tuple(stage.name for stage in stages)), means="what is decided now")


def spread(values: Array, count: int) -> Array:
    """Show one number a world to every player of a role: (*batch) to (*batch, count)."""
    return namespace(values).broadcast_to(values[..., None], (*values.shape, count))


def shared(values: Array, count: int) -> Array:
    """Show the same components to every player of a role: (*batch, k) to (*batch, count, k)."""
    return namespace(values).broadcast_to(values[..., None, :], (*values.shape[:-1], count, values.shape[-1]))
