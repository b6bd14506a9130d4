"""Pigou: a price on what harms others, the revenue of which is given back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ..envs.core import validate
from ..envs.core.arrays import Array, total
from ..envs.core.fields import Choice, Field, Real
from ..envs.core.game import Game
from ..envs.core.mechanism import Mechanism, Unfit, chosen
from .tax import Fiscal, each_of, first_measurable, measurable, per_unit

REFUND = ("others", "all")


@dataclass(frozen=True)
class Pigou(Mechanism):
    """A corrective charge (Pigou 1920), its revenue returned in lump sums.

    If a unit harms others by the rate, who causes it weighs that as her own loss, and the efficient act is a best response.
    In the prisoner's dilemma a charge on defection makes cooperation dominant from max(T - R, P - S) on where the revenue
    goes to the other, and from twice that where both get half: with n players who all share it, a payer gets 1/n of her own
    charge back, and the price that she feels is rate (n - 1)/n. The harm done by defecting where all cooperate is R - S, which
    is enough for cooperation to be a best response to itself if and only if 2R >= T + S: if it is efficient.
    Rewards count as money.

    Parameters
    ----------
    field
        A verifiable number that players see after the round, of which what is above zero counts; with ``option`` a
        verifiable choice.
    rate
        Charge per unit, or for the option, in units of reward; 0 is the game itself.
    option
        The option that is charged; empty for a number.
    refund
        To whom each player's charge goes, equally: the ``"others"`` in the game, or ``"all"`` in it, the payer included.
    roles
        Roles that are charged; empty for every role of which the field can be verified.
    """

    field: str
    rate: float = 1.0
    option: str = ""
    refund: str = "others"
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("rate", self.rate, 0.0, 1e9)
        validate.one_of("refund", self.refund, REFUND)
        object.__setattr__(self, "roles", validate.names("roles", self.roles))

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return a charge on the first verifiable number, or second option of a choice, that a role sees."""
        role, field = first_measurable(game)
        option = field.space.options[:2][-1] if isinstance(field.space, Choice) else ""
        return cls(field.name, option=option, roles=(role,))

    def apply(self, game: Game) -> Game:
        """Return the game with the charge."""
        return game if self.rate == 0 else Charged(game, self)


class Charged(Fiscal):
    """A game with a corrective charge."""

    mechanism: Pigou

    def __init__(self, base: Game, mechanism: Pigou) -> None:
        field, option = mechanism.field, mechanism.option
        charged = measurable(base, field, mechanism.roles, option)
        self.label = f"{field}_charge"
        volume = ("revenue", f"charges on {field} taken in an episode", "sum_it rate x quantity_it")
        super().__init__(base, mechanism, self.label, chosen(base, ()), charged, volume, field, option)
        if self.n < 2:
            raise Unfit(f"refund: the charge goes to other players, and there is only {self.people[0]}")

    @property
    def terms(self) -> str:
        """The charge in words."""
        unit = per_unit(self.base, self.counted, self.mechanism.field, self.mechanism.option)
        refund = {
            "others": "What each pays is divided equally among all other players",
            "all": f"What is paid is divided equally among all {self.n} players",
        }[self.mechanism.refund]
        return f"After each round {each_of(self.counted)} pays {self.mechanism.rate:g} {unit}. {refund}."

    @property
    def books(self) -> tuple[tuple[str, Field, tuple[str, ...]], ...]:
        """The charge, and what is given back."""
        paid = Field(self.label, Real(0.0), f"the charge on {self.field} that you last paid", verifiable=True)
        means = f"what you last got of the charges on {self.field}"
        got = Field(f"{self.label}_refund", Real(0.0), means, verifiable=True)
        return (("taken", paid, self.counted), ("given", got, self.involved))

    def reckon(self, income: Array, wealth: Array, quantity: Array) -> tuple[Array, Array]:
        """Charge, and give back."""
        owed = self.mechanism.rate * quantity
        if self.mechanism.refund == "all":
            return owed, owed * 0.0 + total(owed)[..., None] / self.n
        return owed, (total(owed)[..., None] - owed) / (self.n - 1)
