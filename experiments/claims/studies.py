"""Studies behind claims that take more than playing a game: each returns {row: number, values a run, or interval}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..work import Watch


def axelrod(metanorms: bool, populations: int, watch: Watch, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Axelrod's (1986) norms and metanorms games: the shares of populations in which the norm is established or gone."""
    from ...policies.populations.norms import axelrod as evolved

    fates = evolved(metanorms=metanorms, populations=populations, seed=seed)
    return {what: np.arange(populations) < round(share * populations) for what, share in fates._asdict().items()}


def sigmund(strategies: list[str], watch: Watch) -> dict[str, float]:
    """Shares of strategies in the long run of Sigmund et al. (2010), under rare mutation and strong imitation."""
    from ...policies.populations.public_goods import PublicGoods
    from ...policies.populations.stationary import stationary

    shares = stationary(PublicGoods(tuple(strategies)).groups())
    return dict(zip(strategies, map(float, shares), strict=True))


def dilemma(theta: float, watch: Watch) -> dict[str, float]:
    """Pure equilibria of the prisoner's dilemma in which a defector pays theta to a cooperator, once all have signed.

    The payoffs are those that the game itself pays; rows say which profiles are equilibria (1) and which are not (0).
    """
    from ...envs.core.episodes import play
    from ...envs.norms.matrix_game import MatrixGame
    from ...mechanisms.contract import Contract
    from ...mechanisms.terms import Compensation
    from ...policies.callable import Callable

    game = MatrixGame() | Contract(Compensation(theta))

    def signs_and(action: int) -> Callable:
        return Callable(lambda seen: {"action": seen["own"] * 0 + action, "consent": seen["own"] * 0 + 1}, batched=True)

    paid = np.zeros((2, 2, 2))
    for mine in (0, 1):
        for other in (0, 1):
            episodes = play(game, {"player_0": signs_and(mine), "player_1": signs_and(other)})
            paid[mine, other] = episodes.returns["player"][0]
    best = (paid[..., 0] >= paid[..., 0].max(axis=0)) & (paid[..., 1] >= paid[..., 1].max(axis=1, keepdims=True))
    names = {"both cooperate": (0, 0), "both defect": (1, 1), "one of each": (0, 1)}
    return {name: float(best[place]) for name, place in names.items()} | {
        "welfare of cooperation": float(paid[0, 0].sum())
    }


def calvano(sessions: int, beta: float, watch: Watch, delta: float = 0.95, seed: int = 0) -> dict[str, Any]:
    """Calvano et al.'s (2020) pricing learners, alpha = 0.15: profit gain, convergence, and what follows undercutting."""
    from ..collusion import learn

    market = learn(sessions=sessions, beta=beta, delta=delta, seed=seed)
    undercut = market.deviation(periods=15)
    prices = undercut.prices
    return {
        "profit gain": market.gain,
        "converged": market.learned.converged,
        "undercutting pays": undercut.gain > 1e-9,
        "rival's price after": prices[:, 2, 1] - prices[:, 0, 1],
        "rival's price 15 periods after": prices[:, -1, 1] - prices[:, 0, 1],
    }


def diamond_saez(index: float, elasticity: float, watch: Watch) -> dict[str, float]:
    """The top rate that raises most on a Pareto tail: as direct search finds it in the game, and as the game's formula has it."""
    from ...envs.markets.tax_labour import TaxLabour

    theory = 1.0 / (1.0 + index * elasticity)
    game = TaxLabour.pareto(10, index, 2, elasticity, theory, planner="revenue")
    return {"by search": game.optimal["revenue"][0], "by formula": game.saez(theory)}
