"""Ambiguity: how likely shocks are is itself unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..envs.core import validate
from ..envs.core.arrays import Array
from ..envs.core.game import Game, Measure
from ..envs.core.mechanism import Mechanism
from .shock import Shock, Shocked, ShockState, check_shock


@dataclass(frozen=True)
class Ambiguity(Mechanism):
    """Shocks whose probability is one of a set that players know, and no more (Ellsberg 1961; Gilboa and Schmeidler 1989).

    Once a world the probability is drawn uniformly from ``interval``, and stays. Players are told the interval, not
    that the draw is uniform; the shocks themselves they see, and may learn from. In a single round the law of what
    happens is that of ``Shock`` with the probability in the middle, so that who behaves otherwise than under it is not
    neutral to ambiguity. Over T rounds the number of common shocks varies more: T p (1 - p) + T (T - 1) spread^2 / 3.

    Parameters
    ----------
    spread
        Half the width of the interval, 0 to 0.5. At 0 the probability is known: ``Shock(probability, ...)``, which is the
        game itself if the probability is 0.
    probability
        Middle of the interval, ``spread`` to 1 - ``spread``. None puts it at ``spread``: the interval then begins at 0,
        and the dial runs from the game itself to complete ignorance, [0, 1].
    size, mean, kind, common
        The shock, as in ``Shock``.
    """

    spread: float = 0.25
    probability: float | None = None
    size: float = 0.5
    mean: float = 0.0
    kind: str = "multiply"
    common: bool = True

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("spread", self.spread, 0.0, 0.5)
        if self.probability is not None:
            validate.probability("probability", self.probability)
            if not self.spread <= self.probability <= 1.0 - self.spread:
                raise ValueError(
                    f"probability: from spread to 1 - spread, here {self.spread:g} to {1.0 - self.spread:g}, so that the "
                    f"interval lies within 0 to 1, got {self.probability!r}; None takes the lowest"
                )
        check_shock(self.size, self.mean, self.kind)

    @property
    def shock(self) -> Shock:
        """The known risk: the probability is the interval's middle."""
        middle = self.spread if self.probability is None else self.probability
        return Shock(middle, self.size, self.mean, self.kind, self.common)

    @property
    def interval(self) -> tuple[float, float]:
        """Lowest and highest probability of a shock."""
        middle = self.shock.probability
        return max(middle - self.spread, 0.0), min(middle + self.spread, 1.0)

    def maxmin(self, calm: float, hit: float) -> float:
        """Return the least expected payoff of a round over the interval, by which a maxmin player ranks what it may do.

        Gilboa and Schmeidler (1989, doi:10.1016/0304-4068(89)90018-9). The expectation is linear in the probability, so
        the least is at an end of the interval.

        Parameters
        ----------
        calm, hit
            Payoff of an act in a round without and with a shock (its mean over the shock's sign).
        """
        return min((1.0 - p) * calm + p * hit for p in self.interval)

    def apply(self, game: Game) -> Game:
        """Return the game with shocks of unknown probability."""
        null = self.spread == 0 or (self.size == 0 and self.mean == 0)
        return game | self.shock if null else Ambiguous(game, self)


class Ambiguous(Shocked):
    """A game that is hit by shocks of unknown probability."""

    mechanism: Ambiguity
    own_reports = (
        *Shocked.own_reports,
        Measure("shock_probability", "the true probability of a shock, which players do not know", "p, drawn once"),
    )

    def __init__(self, base: Game, mechanism: Ambiguity) -> None:
        super().__init__(base, mechanism, mechanism.shock)

    @property
    def odds(self) -> str:
        """What is known of the probability, in words."""
        low, high = self.mechanism.interval
        return f"with a probability that is the same in every round, lies between {low:g} and {high:g} and is not known"

    def begin(self, base: Any, u: Array) -> ShockState:
        """Draw the probability."""
        low, high = self.mechanism.interval
        return super().begin(base, u)._replace(probability=low + (high - low) * u[..., 0])

    def account(self, own: ShockState) -> dict[str, Array]:
        """Return the number of shocks and their probability."""
        return {**super().account(own), "shock_probability": own.probability}
