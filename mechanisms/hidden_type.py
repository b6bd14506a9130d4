"""HiddenType: players differ in what the same reward is worth, and only each knows of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, total
from ..envs.core.fields import Field, Real, Role
from ..envs.core.game import Game, Measure, Outcome, Seen
from ..envs.core.mechanism import Institution, Layered, Mechanism, Unfit, joined, parted, players_of


@dataclass(frozen=True)
class HiddenType(Mechanism):
    """Private types (Harsanyi 1967): a player's type multiplies all its rewards and is seen by itself alone.

    A type is 1 + spread (2 u - 1), u uniform, drawn at the start, independently for each player: its mean is 1 and its
    variance spread^2 / 3. Welfare counts what a reward is worth to the one who gets it, and changes by the sum of the
    changes in rewards. What play that does not depend on types pays a player for sure, r, it pays with variance
    r^2 spread^2 / 3 and the same mean. All that the game below pays is multiplied, transfers between players included: put
    types on the game, and contracts on the game with types.

    Parameters
    ----------
    spread
        From 0 (the game itself) up to, but not including, 1 (types between 0 and 2).
    roles
        Roles that have types; empty for all.
    field
        Name of the field in which a player sees its type.
    """

    spread: float = 0.5
    roles: tuple[str, ...] = ()
    field: str = "type"

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        if validate.real("spread", self.spread, 0.0, 1.0) == 1.0:
            raise ValueError("spread: a number from 0 to less than 1, so that every type is above 0, got 1.0")
        object.__setattr__(self, "roles", validate.names("roles", self.roles))
        if not self.field.isidentifier():
            raise ValueError(f"field: an identifier, got {self.field!r}")

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return types in a field whose name is free."""
        taken = any(field.name == "type" for role in game.roles for field in role.sees)
        return cls(field="productivity") if taken else cls()

    def apply(self, game: Game) -> Game:
        """Return the game with private types."""
        return game if self.spread == 0 else Typed(game, self)


class TypeState(NamedTuple):
    """The types of those who have one, (*batch, players)."""

    types: Array


class Typed(Institution):
    """A game whose players have private types."""

    mechanism: HiddenType

    def __init__(self, base: Game, mechanism: HiddenType) -> None:
        super().__init__(base, mechanism)
        self.typed = mechanism.roles or tuple(role.name for role in base.roles)
        self.people = players_of(base, self.typed)
        self.own_draws = len(self.people)
        for name in self.typed:
            if any(field.name == mechanism.field for field in base.role(name).sees):
                raise Unfit(f"field: {name} already sees {mechanism.field!r} in {base.name}; give another name")
        self.own_reports = (
            Measure(f"mean_{mechanism.field}", f"mean {mechanism.field} of those who have one", "(1/n) sum_i theta_i"),
        )

    @property
    def terms(self) -> str:
        """The uncertainty in words."""
        low, high = 1.0 - self.mechanism.spread, 1.0 + self.mechanism.spread
        return (
            f"Each of {', '.join(self.people)} has a {self.mechanism.field}, drawn at the start, all values from {low:g} to "
            f"{high:g} being equally likely: it multiplies all of that player's rewards. Each sees its own only."
        )

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show each its own type."""
        if role.name not in self.typed:
            return ()
        space = Real(1.0 - self.mechanism.spread, 1.0 + self.mechanism.spread)
        return (Field(self.mechanism.field, space, "what your rewards are multiplied by; nobody else sees it"),)

    def begin(self, base: Any, u: Array) -> TypeState:
        """Draw the types."""
        return TypeState(1.0 + self.mechanism.spread * (2.0 * u - 1.0))

    def reads_own(self, state: Layered) -> bool:
        """Say that types are drawn at the start only."""
        return False

    def settle(self, own: TypeState, outcome: Outcome, ended: Array, u: Array) -> tuple[TypeState, Outcome]:
        """Multiply the rewards."""
        change = (own.types - 1.0) * joined(outcome.rewards, self.typed)
        worth = parted(change, self.base, self.typed)
        rewards = {name: pay + worth[name] if name in worth else pay for name, pay in outcome.rewards.items()}
        return own, outcome._replace(rewards=rewards, welfare=outcome.welfare + total(change))

    def show(self, own: TypeState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show each its own type."""
        types = parted(own.types, self.base, self.typed)
        return {
            name: {**fields, self.mechanism.field: types[name]} if name in types else fields
            for name, fields in seen.items()
        }

    def account(self, own: TypeState) -> dict[str, Array]:
        """Return the mean type."""
        return {f"mean_{self.mechanism.field}": total(own.types) / len(self.people)}
