"""Prosocial: players care about what the others get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, to_float, total
from ..envs.core.game import Game, Outcome
from ..envs.core.mechanism import Institution, Mechanism, chosen, every, joined, several


@dataclass(frozen=True)
class Prosocial(Mechanism):
    """Altruism or, below zero, spite (Levine 1998, "Modeling Altruism and Spitefulness", doi:10.1006/redy.1998.0023).

    Every reward becomes one's own plus ``weight`` times the sum of all others'. It is a taste and no money:
    ``Outcome.welfare`` and the base game's measures stay material. In a prisoner's dilemma with payoffs (R, S, T, P) to
    cooperate is best against who cooperates from a weight of (T - R) / (R - S) on, and against who defects from
    (P - S) / (T - P) on. What mechanisms around this one pay is not weighed; put it outermost to weigh all.

    Parameters
    ----------
    weight
        From -1 (pure rivalry between two) over 0 (the game itself) to 1 (all want the highest total reward).
    roles
        Roles that care, about all others in the game; empty for all.
    outsiders
        Whether those outside the game count too, such as the customers of firms: what is weighed is the game's welfare
        less one's own reward.
    """

    weight: float = 0.5
    roles: tuple[str, ...] = ()
    outsiders: bool = False

    budget = None

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("weight", self.weight, -1.0, 1.0)
        object.__setattr__(self, "roles", validate.names("roles", self.roles))

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return care at half weight, where there is somebody to care about."""
        several(game)
        return cls()

    def apply(self, game: Game) -> Game:
        """Return the game with the rewards of others in everyone's own."""
        return game if self.weight == 0 else Caring(game, self)


class Caring(Institution):
    """A game among players who care about each other."""

    mechanism: Prosocial

    def __init__(self, base: Game, mechanism: Prosocial) -> None:
        super().__init__(base, mechanism)
        several(base)
        self.caring = chosen(base, mechanism.roles)

    @property
    def terms(self) -> str:
        """The preference in words."""
        weight = self.mechanism.weight
        who = "Everyone" if self.caring == every(self.base) else f"Each {' and each '.join(self.caring)}"
        what = f"plus {weight:g}" if weight > 0 else f"less {-weight:g}"
        others = (
            "all others get, those outside the game included" if self.mechanism.outsiders else "all others are paid"
        )
        return f"{who} minds what the others get: its reward is what it is paid, {what} times the sum of what {others}."

    def settle(self, own: Any, outcome: Outcome, ended: Array, u: Array) -> tuple[Any, Outcome]:
        """Add the others' rewards; welfare stays."""
        weight = self.mechanism.weight
        inside = total(joined(outcome.rewards, every(self.base)))
        together = (to_float(outcome.welfare) if self.mechanism.outsiders else inside)[..., None]
        cares = {name: (1.0 - weight) * outcome.rewards[name] + weight * together for name in self.caring}
        return own, outcome._replace(rewards={**outcome.rewards, **cares})
