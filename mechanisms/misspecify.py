"""Misspecify: players are paid on a proxy while welfare is measured on the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, to_float
from ..envs.core.fields import Choice, find
from ..envs.core.game import Game, Outcome
from ..envs.core.mechanism import Institution, Mechanism, Unfit


@dataclass(frozen=True)
class Misspecify(Mechanism):
    """A reward that is not the purpose (Hadfield-Menell and Hadfield 2019, arXiv:1804.04268).

    After each round a player is paid (1 - strength) x true reward + strength x weight x proxy, the proxy being a
    field that she sees. ``Outcome.welfare`` stays the true one.

    Parameters
    ----------
    field
        The proxy: a number that the role sees, as it stands after the round.
    weight
        Reward per unit of the proxy.
    strength
        From 0 (the game itself) to 1 (only the proxy pays).
    roles
        Roles that are paid so; empty for every role that sees the field.
    """

    field: str
    weight: float = 1.0
    strength: float = 1.0
    roles: tuple[str, ...] = ()

    budget = None

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("weight", self.weight)
        validate.probability("strength", self.strength)

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return a reward that is the first single number that somebody sees."""
        for role in game.roles:
            for field in role.sees:
                if not isinstance(field.space, Choice) and not field.each:
                    return cls(field.name)
        raise Unfit(f"field: nobody in {game.name} sees a single number")

    def apply(self, game: Game) -> Game:
        """Return the game with the rewards replaced."""
        return game if self.strength == 0 else Misspecified(game, self)


class Misspecified(Institution):
    """A game that pays on a proxy."""

    mechanism: Misspecify

    def __init__(self, base: Game, mechanism: Misspecify) -> None:
        super().__init__(base, mechanism)
        seers = tuple(role.name for role in base.roles if any(f.name == mechanism.field for f in role.sees))
        self.paid = mechanism.roles or seers
        if not self.paid:
            known = sorted({f.name for role in base.roles for f in role.sees})
            raise Unfit(f"field: nobody in {base.name} sees {mechanism.field!r}; there are: {', '.join(known)}")
        for name in self.paid:
            field = find(base.role(name).sees, mechanism.field, name)
            if isinstance(field.space, Choice) or field.each:
                raise Unfit(f"field: the proxy must be a single number, {field.name!r} of {name} is not")

    @property
    def terms(self) -> str:
        """The misspecification in words."""
        dial = self.mechanism
        who = ", ".join(self.paid)
        if dial.strength == 1.0:
            return f"The pay is not as said: each {who} is paid {dial.weight:g} times {dial.field} after each round instead."
        return (
            f"The pay is not as said: each {who} is paid {1 - dial.strength:g} of it plus {dial.strength * dial.weight:g} "
            f"times {dial.field} after each round."
        )

    def settle(self, own: Any, outcome: Outcome, ended: Array, u: Array) -> tuple[Any, Outcome]:
        """Replace the reward; welfare stays."""
        seen, dial = self.base.view(outcome.state), self.mechanism
        rewards = dict(outcome.rewards)
        for name in self.paid:
            proxy = to_float(seen[name][dial.field]) * to_float(ended)[..., None]
            rewards[name] = (1.0 - dial.strength) * rewards[name] + dial.strength * dial.weight * proxy
        return own, outcome._replace(rewards=rewards)
