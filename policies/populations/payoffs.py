"""What strategies earn in a finite population, from the payoffs of a game for two or for a group."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...envs.core import validate
from ...envs.core.arrays import Array, constant, namespace
from ...envs.norms.matrix_game import MatrixGame

Payoffs = Callable[[Array], Array]
"""Mean payoffs (*batch, strategies) of a player of each strategy, from counts (*batch, strategies), int64. What is given
for a strategy that nobody plays has no meaning."""


@dataclass(frozen=True)
class Groups:
    """A game played by groups that are drawn at random, without replacement, from a finite population.

    The payoff of a player is averaged over the groups it can be in, exactly: the strategies of its co-players follow the
    multivariate hypergeometric law.

    Parameters
    ----------
    table
        Payoffs (strategies, ways): to a player of each strategy for each way in which the co-players may be composed, in
        the order of ``compositions``.
    size
        Players of a group, n.
    population
        Players of the population, M.
    """

    table: tuple[tuple[float, ...], ...]
    size: int
    population: int

    def __post_init__(self) -> None:
        """Refuse a table whose shape does not fit."""
        validate.whole("population", self.population, 2, 1_000_000)
        validate.whole("size", self.size, 2, min(self.population, 1000))
        ways = math.comb(self.size - 1 + len(self.table) - 1, self.size - 1)
        found = validate.matrix("table", self.table, columns=ways)
        object.__setattr__(self, "table", found)

    @property
    def strategies(self) -> int:
        """Number of strategies."""
        return len(self.table)

    @functools.cached_property
    def compositions(self) -> tuple[tuple[int, ...], ...]:
        """Counts of strategies among the n - 1 co-players, all that can be."""
        return compositions(self.size - 1, self.strategies)

    @functools.cached_property
    def _logs(self) -> tuple[float, ...]:
        """The logarithms of k! for k = 0..M."""
        return tuple(math.lgamma(k + 1) for k in range(self.population + 1))

    def __call__(self, counts: Array) -> Array:
        """Return mean payoffs (*batch, strategies) from counts (*batch, strategies) that sum to M."""
        xp = namespace(counts)
        logs = constant(counts, self._logs)
        ways = constant(counts, self.compositions)  # (ways, k)
        rows = []
        for i, payoffs in enumerate(self.table):
            own = constant(counts, tuple(int(j == i) for j in range(self.strategies)))
            left = xp.clip(counts - own, 0, None)[..., None, :]
            possible = xp.all(left >= ways, axis=-1)
            spare = xp.clip(left - ways, 0, None)
            chosen = xp.sum(logs[left] - logs[spare] - logs[ways], axis=-1)
            chance = xp.where(possible, xp.exp(chosen - self._all), 0.0)
            rows.append(xp.sum(chance * constant(counts, payoffs), axis=-1))
        return xp.stack(rows, axis=-1)

    @functools.cached_property
    def _all(self) -> float:
        """Logarithm of the number of groups of co-players."""
        return self._logs[self.population - 1] - self._logs[self.size - 1] - self._logs[self.population - self.size]


def compositions(total: int, parts: int) -> tuple[tuple[int, ...], ...]:
    """Return all ways to write a total as an ordered sum of so many whole numbers, the first number falling."""
    if parts == 1:
        return ((total,),)
    return tuple((head, *rest) for head in range(total, -1, -1) for rest in compositions(total - head, parts - 1))


def groups(payoff: Callable[[int, tuple[int, ...]], float], strategies: int, size: int, population: int) -> Groups:
    """Return the payoffs of a game for groups of ``size`` among ``population``.

    Parameters
    ----------
    payoff
        Payoff to a player of a strategy, given how many of the ``size - 1`` co-players play each strategy.
    strategies, size, population
        How many strategies there are, and players in a group and in the population.
    """
    ways = compositions(size - 1, strategies)
    return Groups(tuple(tuple(float(payoff(i, way)) for way in ways) for i in range(strategies)), size, population)


def pairs(matrix: Sequence[Sequence[float]], population: int) -> Groups:
    """Return the payoffs of a game for two: ``matrix[i][j]`` is what i earns against j."""
    rows = validate.matrix("matrix", [list(row) for row in matrix], columns=len(matrix), rows=len(matrix))
    return groups(lambda i, others: rows[i][others.index(1)], len(rows), 2, population)


def matrix_of(game: MatrixGame) -> tuple[tuple[float, ...], ...]:
    """Return the payoff matrix of a symmetric game for two."""
    if game.n != 2 or not np.array_equal(game.table[0], game.table[1].T):
        raise ValueError(f"game: a symmetric game for two, got {game.n} players and payoffs {game.payoffs!r}")
    return tuple(map(tuple, game.table[0].tolist()))


def groups_of(game: MatrixGame, population: int) -> Groups:
    """Return the payoffs of a symmetric game for any number of players, drawn at random from a population."""
    k = len(game.actions)
    paid: dict[tuple[int, tuple[int, ...]], float] = {}
    for cell in np.ndindex(game.table.shape[1:]):
        for i, mine in enumerate(cell):
            others = tuple(cell.count(j) - (j == mine) for j in range(k))
            value = float(game.table[i][cell])
            if abs(paid.setdefault((mine, others), value) - value) > 1e-9:
                raise ValueError(f"game: the same payoffs for all {game.n} players, got payoffs {game.payoffs!r}")
    return groups(lambda mine, others: paid[mine, others], k, game.n, population)
