"""Inequity aversion: players dislike to get less than others, and to get more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, to_float, total
from ..envs.core.game import Game, Outcome
from ..envs.core.mechanism import Institution, Mechanism, Unfit, chosen, joined, parted, players_of, several


@dataclass(frozen=True)
class InequityAversion(Mechanism):
    """Envy and guilt (Fehr and Schmidt 1999, doi:10.1162/003355399556151).

    U_i = x_i - alpha/(n - 1) sum_j max(x_j - x_i, 0) - beta/(n - 1) sum_j max(x_i - x_j, 0), where x are the rewards of a
    completed round. They are paid as they fall due, and what inequity takes is taken at the round's end. It is a taste
    and no money: ``Outcome.welfare`` and the base game's measures stay material. Fehr and Schmidt assume
    beta <= alpha and beta < 1; neither is needed here. In a prisoner's dilemma (R, S, T, P) mutual cooperation is an
    equilibrium exactly from beta = (T - R) / (T - S) on, whatever alpha. Rewards are compared as they are: in games whose
    roles are paid in different units (coins, utils) that means little.

    Parameters
    ----------
    alpha
        Weight of being behind others, on average, at least 0.
    beta
        Weight of being ahead of others, on average, 0 to 1. Both 0 are the game itself.
    roles
        Roles whose players compare themselves with each other; empty for all.
    """

    alpha: float = 0.85
    beta: float = 0.315
    roles: tuple[str, ...] = ()

    budget = None

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("alpha", self.alpha, 0.0)
        validate.real("beta", self.beta, 0.0, 1.0)
        object.__setattr__(self, "roles", validate.names("roles", self.roles))

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return the means of the distribution that Fehr and Schmidt calibrate, where there are others."""
        several(game)
        return cls()

    def apply(self, game: Game) -> Game:
        """Return the game with inequity felt after each round."""
        return game if self.alpha == 0 and self.beta == 0 else Averse(game, self)


class AverseState(NamedTuple):
    """Rewards of the present round so far (*batch, players)."""

    earned: Array


class Averse(Institution):
    """A game among players who dislike inequity."""

    mechanism: InequityAversion

    def __init__(self, base: Game, mechanism: InequityAversion) -> None:
        super().__init__(base, mechanism)
        self.comparing = chosen(base, mechanism.roles)
        self.people = players_of(base, self.comparing)
        if len(self.people) < 2:
            raise Unfit(f"roles: at least 2 players must compare themselves, got {', '.join(self.people)}")

    @property
    def terms(self) -> str:
        """The preference in words."""
        return (
            f"{', '.join(self.people)} compare what they are paid in a round. At its end each loses {self.mechanism.alpha:g} "
            f"times the amount by which the others are ahead of it, and {self.mechanism.beta:g} times the amount by which "
            "it is ahead of the others, both on average over all the others."
        )

    def begin(self, base: Any, u: Array) -> AverseState:
        """Start with nothing earned."""
        return AverseState(full(u, (*u.shape[:-1], len(self.people)), 0.0))

    def settle(self, own: AverseState, outcome: Outcome, ended: Array, u: Array) -> tuple[AverseState, Outcome]:
        """Add up the round, and at its end take what inequity costs; welfare stays."""
        earned = own.earned + joined(outcome.rewards, self.comparing)
        xp, over = namespace(earned), to_float(ended)[..., None]
        apart = total(xp.abs(earned[..., None, :] - earned[..., :, None]))
        lead = len(self.people) * earned - total(earned)[..., None]  # ahead less behind; apart is their sum
        behind, ahead = (apart - lead) / 2.0, (apart + lead) / 2.0
        felt = (self.mechanism.alpha * behind + self.mechanism.beta * ahead) / (len(self.people) - 1) * over
        lost = parted(felt, self.base, self.comparing)
        rewards = {name: pay - lost[name] if name in lost else pay for name, pay in outcome.rewards.items()}
        return AverseState(earned * (1.0 - over)), outcome._replace(rewards=rewards)
