"""Cultural transmission: generations that inherit the strategies of those who did best."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from ...envs.core import chance, validate
from ...envs.core.arrays import Array, align, namespace
from ...envs.core.episodes import play
from ...envs.core.game import Acts, Game, Seen
from ...envs.core.policy import Policy

Table = np.ndarray[Any, Any]


class Mixed(Policy):
    """Seats whose players hold different strategies, world by world.

    Parameters
    ----------
    strategies
        The policies that there are.
    holds
        Which of them each player holds, integer (worlds, players of the role).
    """

    def __init__(self, strategies: Sequence[Policy], holds: Table) -> None:
        self.strategies, self.holds = tuple(strategies), holds

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Bind every strategy to all seats."""
        bound = copy.copy(super().bind(game, role, seats))
        bound.strategies = tuple(strategy.bind(game, role, seats) for strategy in self.strategies)
        bound.holds = self.holds[:, list(seats)]
        bound.draws = sum(strategy.draws for strategy in bound.strategies)
        return bound

    def begin(self, batch: tuple[int, ...], xp: Any, device: Any) -> Any:
        """Begin every strategy; what players hold goes where the worlds are."""
        return xp.asarray(self.holds, device=device), [s.begin(batch, xp, device) for s in self.strategies]

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Ask every strategy, and do what each player's own says."""
        holds, remembered = memory
        done: Acts = {}
        xp, kept, begin = namespace(stage), [], 0
        for k, strategy in enumerate(self.strategies):
            luck = u[..., begin : begin + strategy.draws]
            acts, own = strategy.act(seen, stage, luck, remembered[k])
            kept.append(own)
            begin += strategy.draws
            done = {
                name: xp.where(align(holds == k, values), values, done[name]) if done else values
                for name, values in acts.items()
            }
        return done, (holds, kept)


class Lineage(NamedTuple):
    """What became of populations: strategies by name, who holds which at the end (populations, players), shares of each
    before every generation and at the end (generations + 1, populations, strategies), and welfare of every generation
    (generations, populations).
    """

    names: tuple[str, ...]
    holds: Table
    shares: Table
    welfare: Table


def inherit(
    game: Game,
    strategies: Mapping[str, Policy],
    *,
    generations: int = 10,
    survivors: float = 0.5,
    mutation: float = 0.0,
    populations: int = 64,
    seed: int = 0,
) -> Lineage:
    """Let generations play a game, of which the better part lives on and is copied (Vallinder and Hughes 2024, arXiv:2412.10270).

    In every generation all players of a population play one episode. Those with the highest returns live on, ties by lot;
    each of the others gives way to a newcomer with the strategy of a survivor, drawn by lot.

    Parameters
    ----------
    game
        A game with one role.
    strategies
        {name: policy}; players of the first generation hold them with equal chances.
    generations
        How often they play.
    survivors
        Share of the players that lives on, rounded up.
    mutation
        Probability that a newcomer holds a strategy drawn from all of them instead.
    populations
        How many populations, each a world of the game.
    seed
        Of chance; population i is the same in any number of them.
    """
    if len(game.roles) != 1:
        raise ValueError(f"game: one role, {game.name} has {', '.join(role.name for role in game.roles)}")
    if len(strategies) < 2:
        raise ValueError(f"strategies: at least 2, got {', '.join(strategies) or 'none'}")
    validate.whole("generations", generations, 1, 1_000_000)
    validate.probability("mutation", mutation)
    validate.whole("populations", populations, 1, 10_000_000)
    (role,), names, policies = game.roles, tuple(strategies), tuple(strategies.values())
    n, k = role.count, len(strategies)
    keep = math.ceil(validate.real("survivors", survivors, 1.0 / n, 1.0) * n)

    def luck(generation: int) -> Table:
        """Four uniform numbers a player: a lot, a parent, whether it differs, and how."""
        keys = chance.key(seed, np.arange(populations), np.full(populations, generation + 1))
        return np.asarray(chance.uniform(keys, 4 * n)).reshape(populations, 4, n)

    holds = (luck(-1)[:, 0] * k).astype(np.int64)
    shares, welfare = [_shares(holds, k)], []
    for generation in range(generations):
        episodes = play(game, {role.name: Mixed(policies, holds)}, worlds=populations, seed=seed + 1 + generation)
        lot, parent, differs, other = luck(generation).swapaxes(0, 1)
        order = np.lexsort((lot, -episodes.returns[role.name]), axis=-1)
        rank = np.argsort(order, axis=-1)
        chosen = np.take_along_axis(
            order, (parent * keep).astype(np.int64), axis=-1
        )  # survivors are the first in order
        child = np.where(differs < mutation, (other * k).astype(np.int64), np.take_along_axis(holds, chosen, axis=-1))
        holds = np.where(rank < keep, holds, child)
        shares.append(_shares(holds, k))
        welfare.append(episodes.welfare)
    return Lineage(names, holds, np.stack(shares), np.stack(welfare))


def _shares(holds: Table, k: int) -> Table:
    return np.stack([(holds == strategy).mean(axis=-1) for strategy in range(k)], axis=-1)
