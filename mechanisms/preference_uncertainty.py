"""PreferenceUncertainty: whose rewards count for welfare is drawn once, and nobody is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, to_float, total
from ..envs.core.chance import whole
from ..envs.core.game import Game, Measure, Outcome
from ..envs.core.mechanism import Institution, Layered, Mechanism, Unfit, joined, players_of


@dataclass(frozen=True)
class PreferenceUncertainty(Mechanism):
    """An objective that those who act do not know (Hadfield-Menell et al. 2016, arXiv:1606.03137; 2017, arXiv:1711.02827).

    One of the n players, j, is drawn at the start. Welfare weights are w_i = 1 - spread, and n spread more for j: their
    mean is 1. Rewards stay; welfare becomes welfare + sum_i (w_i - 1) r_i, which is sum_i w_i r_i where welfare was the
    sum of rewards. Nobody sees the weights, so that they depend on nothing that is done: expected welfare is unchanged
    (to be any player with equal chances is to count all alike, Harsanyi 1955), and given returns R_1..R_n its variance
    is spread^2 n sum_i (R_i - mean R)^2. It is nil where all get the same: equality insures against not knowing whose
    values count. Regret is spread n (max_i R_i - mean R) on average.

    Parameters
    ----------
    spread
        From 0 (all count alike: the game itself) to 1 (one player, drawn at random, counts alone).
    """

    spread: float = 0.5

    budget = None

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.probability("spread", self.spread)

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return weights half way; one player cannot be weighed against another."""
        if len(game.players) < 2:
            raise Unfit(f"{game.name} has one player: there is nobody to weigh it against")
        return cls()

    def apply(self, game: Game) -> Game:
        """Return the game with weights."""
        return game if self.spread == 0 else Weighed(game, self)


class WeightState(NamedTuple):
    """1 for the player who counts more, else 0, and returns so far, (*batch, players); unweighted welfare so far (*batch)."""

    counts: Array
    returns: Array
    plain: Array


class Weighed(Institution):
    """A game in whose welfare one player, drawn at random, counts more than the others."""

    mechanism: PreferenceUncertainty
    own_reports = (
        Measure("unweighted", "welfare if all counted alike", "sum_t W_t, before weights"),
        Measure(
            "regret",
            "weighted welfare lost because the one who counts more did not get the largest return",
            "spread n (max_i R_i - R_j), j the one who counts: the best exchange of returns less what is",
            better="lower",
        ),
    )

    def __init__(self, base: Game, mechanism: PreferenceUncertainty) -> None:
        super().__init__(base, mechanism)
        self.everyone = tuple(role.name for role in base.roles)
        self.people = players_of(base, self.everyone)
        self.own_draws = 1
        if len(self.people) < 2:
            raise Unfit(f"{base.name} has one player: there is nobody to weigh it against")
        if any(measure.name in ("unweighted", "regret") for measure in base.reports):
            raise Unfit(f"{base.name} already reports 'unweighted' or 'regret'; weigh its players once")

    @property
    def terms(self) -> str:
        """The uncertainty in words."""
        spread, n = self.mechanism.spread, len(self.people)
        rest = f"those of the others {1.0 - spread:g} times" if spread < 1.0 else "those of the others not at all"
        return (
            f"The good of all is not the plain sum of rewards. One of {', '.join(self.people)}, all equally likely, was drawn at "
            f"the start: that player's rewards count {1.0 + spread * (n - 1):g} times and {rest}. Nobody is told who it is, and "
            "everyone's own rewards stay as they are."
        )

    def begin(self, base: Any, u: Array) -> WeightState:
        """Draw who counts more."""
        batch, n = tuple(u.shape[:-1]), len(self.people)
        who = whole(u[..., 0], 0, n - 1)
        counts = namespace(u).stack([to_float(who == i) for i in range(n)], axis=-1)
        return WeightState(counts, full(u, (*batch, n), 0.0), full(u, batch, 0.0))

    def reads_own(self, state: Layered) -> bool:
        """Say that weights are drawn at the start only."""
        return False

    def settle(self, own: WeightState, outcome: Outcome, ended: Array, u: Array) -> tuple[WeightState, Outcome]:
        """Weigh the rewards in welfare."""
        paid = joined(outcome.rewards, self.everyone)
        tilt = self.mechanism.spread * (len(self.people) * total(own.counts * paid) - total(paid))
        own = WeightState(own.counts, own.returns + paid, own.plain + outcome.welfare)
        return own, outcome._replace(welfare=outcome.welfare + tilt)

    def account(self, own: WeightState) -> dict[str, Array]:
        """Return unweighted welfare, and regret."""
        most = namespace(own.returns).max(own.returns, axis=-1)
        regret = self.mechanism.spread * len(self.people) * (most - total(own.counts * own.returns))
        return {"unweighted": own.plain, "regret": regret}
