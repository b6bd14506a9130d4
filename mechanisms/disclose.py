"""Disclose: what one side sees in private is shown to the other, because it must be or by choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, to_float, to_int, total
from ..envs.core.fields import Choice, Field, Role
from ..envs.core.game import Acts, Game, Measure, Seen, Stage
from ..envs.core.mechanism import Institution, Mechanism, Unfit, chosen
from .column import Column

WITHHELD = "withheld"


@dataclass(frozen=True)
class Disclose(Mechanism):
    """Truthful disclosure (Grossman 1981, doi:10.1086/466995; Milgrom 1981, doi:10.2307/3003562).

    Mandatory: the others see the field, at any time as its holders do. Voluntary: before each round each holder discloses
    it as it then is, or withholds it; nobody can lie. What was disclosed is shown until the next disclosure, so that a
    contract can condition on it at the round's end, when the field itself may have changed; only then is it verifiable.
    If holders want to be thought higher (or lower) than they are, and all know what is withheld, silence is read as
    the worst news and all disclose: unravelling.

    Parameters
    ----------
    field
        The private field.
    of
        Roles of its holders; empty for all roles that see it.
    to
        Roles to whom it is shown, besides its holders; empty for all.
    voluntary
        Whether holders decide each round.
    """

    field: str
    of: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    voluntary: bool = False

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        object.__setattr__(self, "of", validate.names("of", self.of))
        object.__setattr__(self, "to", validate.names("to", self.to))
        if not isinstance(self.voluntary, bool):
            raise ValueError(f"voluntary: true or false, got {self.voluntary!r}")

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return voluntary disclosure of what a game's players see in private."""
        return cls(private(game), voluntary=True)

    def apply(self, game: Game) -> Game:
        """Return the game in which the field is disclosed."""
        return Voluntary(game, self) if self.voluntary else Mandatory(game, self)


def private(game: Game) -> str:
    """Return the name of a field that only one role sees, or in a game of one role the last single one that players see."""
    seen = [field.name for role in game.roles for field in role.sees]
    for role in game.roles:
        for field in reversed(role.sees):
            if field.name in ("stage", "round", "month") or field.each:
                continue
            if (len(game.roles) == 1 and role.count > 1) or (len(game.roles) > 1 and seen.count(field.name) == 1):
                return field.name
    raise Unfit(f"field: no field of {game.name} is private")


def holders(game: Game, field: str, of: tuple[str, ...], to: tuple[str, ...]) -> tuple[Column, tuple[str, ...]]:
    """Return a field of its holders, and the roles that are shown it; Unfit if there is nobody to whom it is news."""
    _, told = chosen(game, of, "of"), chosen(game, to, "to")
    column = Column.of(game, field, "sees", of)
    holding = {role for role, _ in column.seats}
    shown = tuple(role.name for role in game.roles if role.name in holding or role.name in told)
    if not of and len(game.roles) > 1 and holding == {role.name for role in game.roles}:
        raise Unfit(f"field: all roles of {game.name} see {field!r}; name its holders by `of`")
    if set(shown) == holding and len(column.players) == 1:
        raise Unfit(f"to: nobody but {column.players[0]} would be shown {field!r}")
    return column, shown


class Mandatory(Institution):
    """A game in which a private field is public."""

    mechanism: Disclose

    def __init__(self, base: Game, mechanism: Disclose) -> None:
        super().__init__(base, mechanism)
        self.held, self.to = holders(base, mechanism.field, mechanism.of, mechanism.to)

    @property
    def terms(self) -> str:
        """The institution in words."""
        return (
            f"The {self.mechanism.field} that {', '.join(self.held.players)} see is not private: it is shown truly to each "
            f"{' and each '.join(self.to)}."
        )

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show the field."""
        if role.name not in self.to:
            return ()
        name, field = self.mechanism.field, self.held.field
        means = f"the {name}{self.held.whose} as it is now"
        return (Field(f"disclosed_{name}", field.space, means, field.unit, self.held.labels),)

    def show(self, own: Any, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show the field to those who are told."""
        name, shown = self.mechanism.field, dict(seen)
        values = self.held.gather({role: seen[role][name] for role, _ in self.held.seats})
        for role in (self.base.role(role) for role in self.to):
            shown[role.name] = {**seen[role.name], f"disclosed_{name}": self.held.told(values, role.count)}
        return shown


class DisclosureState(NamedTuple):
    """What was disclosed last (*batch, players, components), who did (1 or 0, *batch, players), and how often it was
    disclosed and could have been so far (*batch).
    """

    values: Array
    told: Array
    times: Array
    chances: Array


class Voluntary(Institution):
    """A game in which a private field is disclosed, or not, before each round."""

    mechanism: Disclose

    def __init__(self, base: Game, mechanism: Disclose) -> None:
        super().__init__(base, mechanism)
        name = mechanism.field
        self.held, self.to = holders(base, name, mechanism.of, mechanism.to)
        self.shown = self.held.blanked(WITHHELD)
        self.opening = (Stage(f"disclose_{name}", f"{', '.join(self.held.players)} may disclose their {name}"),)
        means = f"share of occasions on which {name} was disclosed"
        self.own_reports = (Measure(f"disclosed_{name}", means, "#disclosed / #occasions"),)

    @property
    def terms(self) -> str:
        """The institution in words."""
        name, who = self.mechanism.field, ", ".join(self.held.players)
        return (
            f"Before each round {who} may disclose the {name} that they see, or withhold it. Nobody can lie about it. "
            f"What is disclosed is shown to each {' and each '.join(self.to)}, and a court can rely on it."
        )

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show what was disclosed last."""
        if role.name not in self.to:
            return ()
        name = self.mechanism.field
        fields = (
            self.held.table(f"disclosed_{name}", self.shown, f"the {name}{self.held.whose} that was disclosed last"),
        )
        if isinstance(self.shown, Choice):
            return fields
        space = Choice((WITHHELD, "disclosed"))
        return (
            *fields,
            self.held.flags(f"disclosure_{name}", space, f"whether the {name}{self.held.whose} was disclosed"),
        )

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask the holders."""
        if all(holder != role.name for holder, _ in self.held.seats):
            return ()
        name = self.mechanism.field
        whether = Choice(("withhold", "disclose"))
        return (Field(f"disclose_{name}", whether, f"whether you disclose your {name}", stage=self.opening[0].name),)

    def begin(self, base: Any, u: Array) -> DisclosureState:
        """Start with nothing disclosed."""
        values, zero = self.held.nothing(u, WITHHELD), full(u, tuple(u.shape[:-1]), 0.0)
        return DisclosureState(values, to_int(values[..., 0] * 0), zero, zero)

    def meet(
        self, stage: Array, own: DisclosureState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[DisclosureState, dict[str, Array], Array | None]:
        """Take down what is disclosed."""
        name, seen = self.mechanism.field, self.base.view(base)
        told = self.held.decided(acts, f"disclose_{name}")
        values = self.held.gather({role: seen[role][name] for role, _ in self.held.seats})
        values = namespace(values).where(told[..., None] == 1, values, self.held.nothing(stage[..., None], WITHHELD))
        times = own.times + total(to_float(told))
        return DisclosureState(values, told, times, own.chances + float(len(self.held.players))), {}, None

    def show(self, own: DisclosureState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show what was disclosed last to those who are told."""
        name, shown = self.mechanism.field, dict(seen)
        for role in (self.base.role(role) for role in self.to):
            extra = {f"disclosed_{name}": self.held.told(own.values, role.count)}
            if not isinstance(self.shown, Choice):
                extra[f"disclosure_{name}"] = self.held.flagged(own.told, role.count)
            shown[role.name] = {**seen[role.name], **extra}
        return shown

    def account(self, own: DisclosureState) -> dict[str, Array]:
        """Return how often it was disclosed."""
        return {f"disclosed_{self.mechanism.field}": own.times / (own.chances + (own.chances == 0))}
