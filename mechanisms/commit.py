"""Commit: players may bind themselves before they act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isinf
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, to_float, to_int
from ..envs.core.fields import Choice, Field, Integer, Role, Space
from ..envs.core.game import Acts, Game, Measure, Seen, Stage
from ..envs.core.mechanism import Institution, Mechanism, Unfit
from ._limits import decided_by

FREE = "free"
FEW = 12
"""Most values of a whole number to one of which a player can commit; of others it can commit to a maximum."""


@dataclass(frozen=True)
class Commit(Mechanism):
    """Binding announcements (Schelling 1960, The Strategy of Conflict).

    Before each round those who may commit do so, all at once, or stay free; all see it. For a choice, or a whole number of
    at most 12 values, a commitment is a value, and the act is replaced by it; for other numbers it is a maximum, and the act is
    brought below it. Whether it binds is drawn when the act is decided: ``binding`` is what a player's word is worth.
    Mechanisms within this one (``game | Monitor(...) | Commit(...)``) find the act as it was carried out.

    Parameters
    ----------
    field
        The act.
    who
        Roles and players who may commit; empty for all who decide the act.
    binding
        Probability that a commitment binds, drawn afresh for each player and round; 0 is the game itself.
    """

    field: str
    who: tuple[str, ...] = ()
    binding: float = 1.0

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.probability("binding", self.binding)
        object.__setattr__(self, "who", validate.names("who", self.who))

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return commitment to the first act that is bounded above and the same for all who decide it."""
        for name in (field.name for role in game.roles for field in role.acts):
            try:
                _ = Committed(game, cls(name))
            except Unfit:
                continue
            return cls(name)
        raise Unfit(f"field: nobody in {game.name} decides anything to which it could commit")

    def apply(self, game: Game) -> Game:
        """Return the game with commitments before each round."""
        return game if self.binding == 0 else Committed(game, self)


class CommitState(NamedTuple):
    """The commitments (*batch, players, components): an option (0 is free), or a maximum; and how many players committed
    themselves, and could have, so far (*batch).
    """

    word: Array
    given: Array
    chances: Array


class Committed(Institution):
    """A game with commitments before each round."""

    mechanism: Commit

    def __init__(self, base: Game, mechanism: Commit) -> None:
        super().__init__(base, mechanism)
        name, who = mechanism.field, mechanism.who
        self.giving = decided_by(base, name, who)
        space = self.giving.field.space
        if isinf(space.high):
            raise Unfit(f"field: a maximum needs a bound above, {name!r} is {space}")
        self.options = _options(space)
        if FREE in self.options:
            raise Unfit(f"field: {name!r} has an option {FREE!r} already")
        self.words: Space = Choice((FREE, *self.options)) if self.options else space
        what = f"their {name}" if self.options else f"a maximum of their {name}"
        self.opening = (Stage(f"commit_{name}", f"{', '.join(self.giving.players)} may commit to {what}"),)
        means = f"share of occasions on which a player committed itself in {name}"
        self.own_reports = (Measure(f"commitments_{name}", means, "#committed / #occasions"),)
        self.own_draws = len(self.giving.players) if mechanism.binding < 1 else 0

    @property
    def terms(self) -> str:
        """The institution in words."""
        name, dial, who = self.mechanism.field, self.mechanism, ", ".join(self.giving.players)
        what = "a value of" if self.options else "a maximum of"
        force = "It binds."
        if dial.binding < 1:
            force = f"It binds with probability {dial.binding:g}; otherwise each is free."
        return f"Before each round {who} may commit to {what} {name} for the round, which all see. {force}"

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show the commitments."""
        name = self.mechanism.field
        means = f"{'the' if self.options else 'the maximum'} {name}{self.giving.whose} as committed last"
        return (self.giving.table(f"committed_{name}", self.words, means),)

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask for a commitment."""
        mine = tuple(i for name, i in self.giving.seats if name == role.name)
        if not mine:
            return ()
        name, field = self.mechanism.field, self.giving.field
        means = f"the {name} to which you commit, or {FREE}"
        if not self.options:
            means = f"the most that your {name} will be; {field.space.high:g} leaves you free"
        by = None if len(mine) == role.count else mine
        stage = self.opening[0].name
        return (Field(f"commit_{name}", self.words, means, field.unit, field.each, stage=stage, by=by),)

    def begin(self, base: Any, u: Array) -> CommitState:
        """Start with everyone free."""
        zero, giving = full(u, tuple(u.shape[:-1]), 0.0), self.giving
        shape, free = (*u.shape[:-1], len(giving.players), giving.width), 0 if self.options else giving.field.space.high
        return CommitState(full(u, shape, free, integer=giving.field.discrete), zero, zero)

    def meet(
        self, stage: Array, own: CommitState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[CommitState, dict[str, Array], Array | None]:
        """Take down the commitments."""
        name = f"commit_{self.mechanism.field}"
        word = self.giving.gather({role: acts[role][name] for role, _ in self.giving.seats})
        bound = word > 0 if self.options else word < self.giving.field.space.high
        xp = namespace(word)
        given = own.given + to_float(xp.sum(to_int(xp.any(bound, axis=-1)), axis=-1))
        return CommitState(word, given, own.chances + float(len(self.giving.players))), {}, None

    def bend(self, own: CommitState, base: Any, acts: Mapping[str, Acts], u: Array) -> Mapping[str, Acts]:
        """Hold players to their word."""
        name, giving = self.mechanism.field, self.giving
        free = giving.gather({role: acts[role][name] for role, _ in giving.seats})
        xp = namespace(free)
        if self.options:
            low = 0 if isinstance(giving.field.space, Choice) else int(giving.field.space.low)
            held = xp.where(own.word > 0, own.word - 1 + low, free)
        else:
            held = xp.minimum(free, own.word)
        if self.own_draws:
            held = xp.where((u < self.mechanism.binding)[..., None], held, free)
        bent = {role: dict(parts) for role, parts in acts.items()}
        for role in {role for role, _ in giving.seats}:
            bent[role][name] = giving.replaced(acts[role][name], held, role)
        return bent

    def show(self, own: CommitState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone the commitments."""
        field = f"committed_{self.mechanism.field}"
        return {
            role.name: {**seen[role.name], field: self.giving.told(own.word, role.count)} for role in self.base.roles
        }

    def account(self, own: CommitState) -> dict[str, Array]:
        """Return how often players committed themselves."""
        return {f"commitments_{self.mechanism.field}": own.given / (own.chances + (own.chances == 0))}


def _options(space: Space) -> tuple[str, ...]:
    """Return the values to one of which a player can commit; none for a space in which it can commit to a maximum."""
    if isinstance(space, Choice):
        return space.options
    if isinstance(space, Integer) and space.high - space.low < FEW:
        return tuple(str(value) for value in range(space.low, space.high + 1))
    return ()
