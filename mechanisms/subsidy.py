"""Subsidy: a payment for each unit of something that can be verified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ..envs.core import validate
from ..envs.core.arrays import Array, total
from ..envs.core.fields import Choice, Field, Real
from ..envs.core.game import Game
from ..envs.core.mechanism import Mechanism, chosen
from .tax import Fiscal, each_of, first_measurable, measurable, per_unit

FINANCED = ("all", "outside")


@dataclass(frozen=True)
class Subsidy(Mechanism):
    """A subsidy after each round (Pigou 1920).

    Financed by all n players equally, who gets it pays 1/n of it herself, so that it is worth rate (n - 1)/n a unit; on
    an option it is the same as a charge of that rate on the other options, given back to all equally. Rewards count as
    money.

    Parameters
    ----------
    field
        A verifiable number that players see after the round, of which what is above zero counts; with ``option`` a
        verifiable choice.
    rate
        Reward per unit, or for the option; 0 is the game itself.
    option
        The option that is paid for; empty for a number.
    financed
        ``"all"``: by the same amount from every player of the game, so that players together gain nothing.
        ``"outside"``: by nobody in the game; welfare, which counts what the game creates, stays as it is.
    roles
        Roles that are paid; empty for every role of which the field can be verified.
    """

    field: str
    rate: float = 1.0
    option: str = ""
    financed: str = "all"
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("rate", self.rate, 0.0, 1e9)
        validate.one_of("financed", self.financed, FINANCED)
        object.__setattr__(self, "roles", validate.names("roles", self.roles))

    @property
    def budget(self) -> float | None:  # type: ignore[override]
        """Zero where players pay for it themselves; unbounded where the money comes from outside."""
        return 0.0 if self.financed == "all" else None

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return a subsidy on the first verifiable number, or option of a choice, that a role sees."""
        role, field = first_measurable(game)
        option = field.space.options[0] if isinstance(field.space, Choice) else ""
        return cls(field.name, option=option, roles=(role,))

    def apply(self, game: Game) -> Game:
        """Return the game with the subsidy."""
        return game if self.rate == 0 else Subsidised(game, self)


class Subsidised(Fiscal):
    """A game with a subsidy."""

    mechanism: Subsidy

    def __init__(self, base: Game, mechanism: Subsidy) -> None:
        field, option = mechanism.field, mechanism.option
        paid = measurable(base, field, mechanism.roles, option)
        self.label = f"{field}_subsidy"
        volume = ("paid", f"subsidy on {field} paid in an episode", "sum_it rate x quantity_it")
        super().__init__(base, mechanism, self.label, chosen(base, ()), paid, volume, field, option)

    @property
    def terms(self) -> str:
        """The subsidy in words."""
        unit = per_unit(self.base, self.counted, self.mechanism.field, self.mechanism.option)
        source = {
            "all": f"All {self.n} players pay for it, each the same amount",
            "outside": "The money comes from outside: no player pays for it",
        }[self.mechanism.financed]
        return f"After each round {each_of(self.counted)} is paid {self.mechanism.rate:g} {unit}. {source}."

    @property
    def books(self) -> tuple[tuple[str, Field, tuple[str, ...]], ...]:
        """The subsidy, and what is paid for it."""
        got = Field(self.label, Real(0.0), f"the subsidy on {self.field} that you last got", verifiable=True)
        means = f"what you last paid for the subsidies on {self.field}"
        paid = Field(f"{self.label}_levy", Real(0.0), means, verifiable=True)
        shown = (("given", got, self.counted), ("taken", paid, self.involved))
        return shown if self.mechanism.financed == "all" else shown[:1]

    def counts(self, taken: Array, given: Array) -> Array:
        """Count the subsidies."""
        return total(given)

    def reckon(self, income: Array, wealth: Array, quantity: Array) -> tuple[Array, Array]:
        """Pay the subsidies, and levy them."""
        paid = self.mechanism.rate * quantity
        levy = total(paid)[..., None] / self.n if self.mechanism.financed == "all" else 0.0
        return paid * 0.0 + levy, paid
