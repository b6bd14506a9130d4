"""Norm diffusion: a public good among neighbours of a small world, punishment of those who keep, imitation of the better-off."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ...envs.core import validate
from ...envs.core.arrays import Array, absent, constant, namespace, to_int
from ...envs.core.policy import Policy, default_acts
from ...envs.norms.matrix_game import MatrixGame
from ...envs.views.mesa import Imitation, Society
from ...mechanisms.sanction import Sanction

if TYPE_CHECKING:
    from ...envs.core.game import Acts, Game, Seen


class Moral(Policy):
    """Gives or keeps, and punishes or lets be those who kept: the next one around the table, itself left out.

    Parameters
    ----------
    gives
        Whether it gives to the public good.
    punishes
        Whether it punishes.
    """

    def __init__(self, *, gives: bool, punishes: bool) -> None:
        self.gives, self.punishes = gives, punishes

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Learn who sits where."""
        bound = copy.copy(super().bind(game, role, seats))
        n = bound.role.count
        bound._others = tuple(tuple((seat + k) % n for k in range(1, n)) for seat in seats)  # type: ignore[attr-defined]
        bound._asked = any(field.name == "punish" for field in bound.role.acts)  # type: ignore[attr-defined]
        return bound

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Give or keep, then look who kept."""
        acts = default_acts(self.role, stage, len(self.seats))
        acts["action"] = acts["action"] + int(not self.gives)
        if self.punishes and self._asked:  # type: ignore[attr-defined]
            shared = seen["actions"][..., 0, :]  # what each chose last is the same for all who see it
            kept = shared == 1
            if not absent(kept):
                xp = namespace(shared)
                others = constant(shared, self._others)  # type: ignore[attr-defined]
                them = xp.take(kept, others.reshape(-1), axis=-1).reshape((*stage.shape, *others.shape))
                first = xp.argmax(to_int(them), axis=-1)
                seats = constant(shared, self.seats)
                acts["punish"] = to_int(xp.any(them, axis=-1)) * ((seats + first + 1) % self.role.count + 1)
        return acts, memory


STRATEGIES: Mapping[str, Moral] = {
    "defector": Moral(gives=False, punishes=False),
    "cooperator": Moral(gives=True, punishes=False),
    "punisher": Moral(gives=True, punishes=True),
    "hypocrite": Moral(gives=False, punishes=True),
}


class NormDiffusion(Society):
    """A spatial public good with punishment, after Helbing, Szolnoki, Perc and Szabó (2010, doi:10.1371/journal.pcbi.1000758).

    At each step every person hosts a public good among itself and its neighbours; each then may punish one of those who
    kept. Persons then compare themselves with a neighbour and adopt the strategy of one who earned more, most of the
    time. Strategies are defector, cooperator, punisher, and hypocrite, who keeps and punishes. The data collector keeps,
    step by step, ``cooperating``, the share of moves that gave, and ``punishing``, the share of persons who punish.

    Parameters
    ----------
    agents
        Number of persons.
    players
        Persons in a public good; 2 is a prisoner's dilemma along every tie.
    mpcr
        What each gets of a unit given; above 1/players and below 1.
    cost
        What punishing costs, in units of what a person can give.
    fine
        What a punishment takes; 0 for a society without.
    network, degree, rewiring
        As for ``Society``.
    shares
        Share of persons who start with each strategy.
    noise, mutation
        Of imitation.
    seed
        Seed of everything.
    """

    def __init__(
        self,
        agents: int = 400,
        players: int = 5,
        mpcr: float = 0.6,
        cost: float = 0.1,
        fine: float = 0.5,
        network: Any = "small_world",
        degree: int = 4,
        rewiring: float = 0.1,
        shares: Mapping[str, float] | None = None,
        noise: float = 0.1,
        mutation: float = 0.0,
        seed: int | None = None,
    ) -> None:
        validate.real("fine", fine, 0.0, 1e6)
        game: Game = MatrixGame.public_goods(players, 1.0, mpcr)
        if fine:
            game = game | Sanction(cost, fine)
        super().__init__(
            game,
            STRATEGIES,
            agents=agents,
            network=network,
            degree=degree,
            rewiring=rewiring,
            shares=shares or {"defector": 1.0, "cooperator": 1.0, "punisher": 1.0},
            imitation=Imitation(noise, mutation=mutation),
            seed=seed,
        )

    def report(self) -> dict[str, float]:
        """Return the shares that cooperate and punish, and what any society reports."""
        told = super().report()
        punishing = np.isin(self.strategies, [self.number("punisher"), self.number("hypocrite")])
        return {"cooperating": told.pop("first_action"), "punishing": float(punishing.mean()), **told}
