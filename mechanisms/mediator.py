"""Mediator: players may let somebody act for them, who does one thing if all of them do and another if not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core.arrays import Array, align, constant, full, namespace, to_float, to_int, total
from ..envs.core.fields import Choice, Field, Integer, Role, Text
from ..envs.core.game import Acts, Game, Measure, Outcome, Seen, Stage, shared
from ..envs.core.mechanism import Institution, Layered, Mechanism, Unfit, joined, parted, players_of

Orders = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Mediator(Mechanism):
    """A mediator who plays for those who delegate (Monderer and Tennenholtz 2009, doi:10.1016/j.artint.2008.10.005).

    Before each round each player decides whether to delegate, not knowing who else does. If all do, the mediator plays
    ``together`` for them; if not, it plays ``apart`` for those who did, and the others act for themselves. Delegation is
    a voluntary conditional commitment (Kalai, Kalai, Lehrer and Samet 2010, doi:10.1016/j.geb.2009.09.008): for all to
    delegate is an equilibrium if nobody gains by playing against ``apart`` what it gets from ``together``.

    Parameters
    ----------
    together, apart
        Pairs of an act field and what is played in it: an option by its name, or a number; a tuple where the field has
        components that differ. Every role that decides the field is meant, or one alone: "role.field". A mapping does as
        well. What is not named players decide themselves; with nothing named in either the game is itself.
    """

    together: Orders = ()
    apart: Orders = ()

    def __post_init__(self) -> None:
        """Take lists and mappings for tuples; refuse a field that is named twice."""
        for name in ("together", "apart"):
            given: Any = getattr(self, name)
            pairs = list(given.items()) if isinstance(given, Mapping) else list(given)
            if not all(isinstance(p, tuple | list) and len(p) == 2 and isinstance(p[0], str) for p in pairs):
                raise ValueError(f"{name}: pairs of an act field and what is played in it, got {given!r}")
            if len({field for field, _ in pairs}) < len(pairs):
                raise ValueError(f"{name}: each field once, got {given!r}")
            orders = tuple((field, tuple(v) if isinstance(v, list) else v) for field, v in pairs)
            object.__setattr__(self, name, orders)

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return a mediator who plays what is nearest to zero if all delegate, and otherwise the last option or most."""
        together: list[tuple[str, Any]] = []
        apart: list[tuple[str, Any]] = []
        for role in game.roles:
            for field in role.acts:
                if isinstance(field.space, Text):
                    continue
                low = min(max(0, field.space.low), field.space.high)
                for orders, value in (
                    (together, low),
                    (apart, low if math.isinf(field.space.high) else field.space.high),
                ):
                    told = field.space.options[int(value)] if isinstance(field.space, Choice) else value
                    orders.append((f"{role.name}.{field.name}", told))
        return cls(tuple(together), tuple(apart))

    def apply(self, game: Game) -> Game:
        """Return the game with the mediator."""
        return Mediated(game, self) if self.together or self.apart else game


def coded(field: Field, value: Any, where: str) -> Any:
    """Return the number of what is to be played in a field, or the tuple of its components' numbers.

    Raises
    ------
    Unfit
        If it is none of the field's values; ``where`` names the parameter.
    """
    values = value if isinstance(value, tuple) else (value,) * max(1, len(field.each))
    if len(values) != max(1, len(field.each)):
        raise Unfit(f"{where}: {field.name} has {len(field.each) or 'no'} components, got {value!r}")
    numbers = tuple(_number(field, v, where) for v in values)
    return numbers if field.each else numbers[0]


def _number(field: Field, value: Any, where: str) -> float | int:
    space = field.space
    if isinstance(space, Choice):
        if value in space.options:
            return space.options.index(value)
    elif (
        not isinstance(space, Text)
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and space.low <= value <= space.high
    ):
        if not isinstance(space, Integer):
            return float(value)
        if value == int(value):
            return int(value)
    raise Unfit(f"{where}: {field.name} is {space}, got {value!r}")


def imposed(values: Array, mask: Array, number: Any) -> Array:
    """Return acts (*batch, count, *components) in which those of the masked (*batch, count) are replaced."""
    theirs = constant(values, number) if isinstance(number, tuple) else number
    return namespace(values).where(align(mask, values), values * 0 + theirs, values)


class MediatorState(NamedTuple):
    """Who delegates now, and who did in the last round (2 before there is one), (*batch, players); decisions so far, those
    to delegate, rounds in which all did (*batch).
    """

    now: Array
    last: Array
    asked: Array
    delegated: Array
    unanimous: Array


class Mediated(Institution):
    """A game with a mediator."""

    mechanism: Mediator
    opening = (
        Stage("mediation", "each decides whether the mediator acts for it in this round; nobody sees yet who does"),
    )
    own_reports = (
        Measure("delegation", "share of decisions that were to delegate", "#{(i, t): i delegates in t} / #{(i, t)}"),
        Measure("mediated", "share of rounds in which all delegated", "#{t: all delegate in t} / #{t}"),
    )

    def __init__(self, base: Game, mechanism: Mediator) -> None:
        super().__init__(base, mechanism)
        self.together = self._orders("together", mechanism.together)
        self.apart = self._orders("apart", mechanism.apart)
        self.involved = tuple(r.name for r in base.roles if any(r.name in o for o in (self.together, self.apart)))
        self.people = players_of(base, self.involved)

    def _orders(self, where: str, orders: Orders) -> dict[str, dict[str, Any]]:
        """Return {role: {field: number or numbers}}."""
        found: dict[str, dict[str, Any]] = {}
        for told, value in orders:
            only, _, name = told.rpartition(".")
            for role in self.base.roles:
                for field in role.acts:
                    if field.name == name and only in ("", role.name):
                        found.setdefault(role.name, {}).setdefault(name, coded(field, value, where))
            if not any(name in fields and only in ("", role) for role, fields in found.items()):
                known = ", ".join(f"{role.name}.{field.name}" for role in self.base.roles for field in role.acts)
                raise Unfit(f"{where}: nobody in {self.base.name} decides {told!r}; there are: {known}")
        return found

    @property
    def terms(self) -> str:
        """The mediator in words."""
        together, apart = (
            ", ".join(f"{field} = {_told(value)}" for field, value in orders) or "nothing: they act themselves"
            for orders in (self.mechanism.together, self.mechanism.apart)
        )
        return (
            f"Before each round each of {', '.join(self.people)} decides whether to delegate. If all of them do, a mediator "
            f"plays for them: {together}. If some do not, it plays for those who did: {apart}. What it is not "
            f"said to play, and what those do who do not delegate, is up to the players."
        )

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show who delegated in the last round, and each its own decision."""
        space = Choice(("acted alone", "delegated", "no round yet"))
        last = Field("entrusted", space, "who delegated in the last round", each=self.people, verifiable=True)
        if role.name not in self.involved:
            return (last,)
        return (last, Field("mediator", Choice(("you", "the mediator")), "who acts for you in this round"))

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask who wants to delegate."""
        if role.name not in self.involved:
            return ()
        return (Field("entrust", Choice(("act alone", "delegate")), "whether you delegate", stage="mediation"),)

    def begin(self, base: Any, u: Array) -> MediatorState:
        """Start with nobody delegating."""
        batch = tuple(u.shape[:-1])
        nobody, zero = full(u, (*batch, len(self.people)), 0, integer=True), full(u, batch, 0.0)
        return MediatorState(nobody, nobody + 2, zero, zero, zero)

    def meet(
        self, stage: Array, own: MediatorState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[MediatorState, dict[str, Array], Array | None]:
        """Take down who delegates."""
        now = to_int(joined({name: acts[name]["entrust"] for name in self.involved}, self.involved))
        count = to_float(total(now))
        after = MediatorState(
            now=now,
            last=own.last,
            asked=own.asked + len(self.people),
            delegated=own.delegated + count,
            unanimous=own.unanimous + to_float(count == len(self.people)),
        )
        return after, {}, None

    def bend(self, own: MediatorState, base: Any, acts: Mapping[str, Acts], u: Array) -> Mapping[str, Acts]:
        """Play for those who delegate."""
        unanimous = total(own.now) == len(self.people)
        bent = {name: dict(fields) for name, fields in acts.items()}
        for name, now in parted(own.now, self.base, self.involved).items():
            for orders, when in ((self.together, unanimous), (self.apart, ~unanimous)):
                for field, number in orders.get(name, {}).items():
                    bent[name][field] = imposed(bent[name][field], (now == 1) & when[..., None], number)
        return bent

    def foreseen(self, state: Layered, acts: Mapping[str, Acts]) -> Mapping[str, Acts]:
        """Return the acts as they are for those who delegate."""
        return self.bend(state.own, state.base, acts, state.stage)

    def settle(self, own: MediatorState, outcome: Outcome, ended: Array, u: Array) -> tuple[MediatorState, Outcome]:
        """Reveal after a round who delegated."""
        over = ended[..., None]
        xp = namespace(own.now)
        return own._replace(now=xp.where(over, 0, own.now), last=xp.where(over, own.now, own.last)), outcome

    def show(self, own: MediatorState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone who delegated in the last round."""
        now = parted(own.now, self.base, self.involved)
        return {
            role.name: {
                **seen[role.name],
                "entrusted": shared(own.last, role.count),
                **({"mediator": now[role.name]} if role.name in now else {}),
            }
            for role in self.base.roles
        }

    def account(self, own: MediatorState) -> dict[str, Array]:
        """Return how often players delegated, one by one and all together."""
        asked = own.asked + to_float(own.asked == 0)
        return {"delegation": own.delegated / asked, "mediated": own.unanimous * len(self.people) / asked}


def _told(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_told, value))
    return f"{value:g}" if isinstance(value, int | float) else str(value)
