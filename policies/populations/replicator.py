"""Replicator dynamics: in infinite populations the share of a strategy grows by its payoff over the mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...envs.core import validate
from ...envs.core.arrays import Array, constant, namespace, total

Fitness = Callable[[Array], Array]
"""Payoffs (*batch, strategies) where shares are (*batch, strategies)."""


def earnings(payoffs: Any) -> Fitness:
    """Return the payoffs f = A x as a function of shares; A is (strategies, strategies) or (*batch, ...), or f itself."""
    if callable(payoffs):
        return payoffs  # type: ignore[no-any-return]

    def fitness(x: Array) -> Array:
        matrix = constant(x, payoffs) if isinstance(payoffs, list | tuple) else payoffs
        return total(matrix * x[..., None, :])

    return fitness


def flow(x: Array, payoffs: Any, mutation: float = 0.0) -> Array:
    """Return dx/dt = x (f(x) - x.f(x)), of Taylor and Jonker (1978, doi:10.1016/0025-5564(78)90077-9).

    With ``mutation`` mu, of what is born a share mu is spread evenly over all strategies (replicator-mutator dynamics):
    dx/dt = (1 - mu) x f + mu (x.f) / k - x (x.f).
    """
    f = earnings(payoffs)(x)
    mean = total(x * f)[..., None]
    return x * (f - mean) if mutation == 0.0 else (1 - mutation) * x * f + mutation * mean / x.shape[-1] - x * mean


def continuous(x: Array, payoffs: Any, *, time: float, steps: int, mutation: float = 0.0, path: bool = False) -> Array:
    """Follow the replicator equation by the classical Runge-Kutta method of order 4.

    Parameters
    ----------
    x
        Shares (*batch, strategies) at the start.
    payoffs
        Payoff matrix, one a population if it has leading axes, or a function from shares to payoffs.
    time, steps
        How long, and in how many steps of equal length.
    mutation
        Share of the born that are of a random strategy.
    path
        Whether to return the whole path.

    Returns
    -------
    Array
        Shares at the end, or with ``path`` at all steps: (steps + 1, *batch, strategies).
    """
    validate.whole("steps", steps, 1, 100_000_000)
    validate.real("time", time, 0.0)
    validate.probability("mutation", mutation)
    fitness, h, kept = earnings(payoffs), time / steps, [x]
    for _ in range(steps):
        one = flow(x, fitness, mutation)
        two = flow(x + h / 2 * one, fitness, mutation)
        three = flow(x + h / 2 * two, fitness, mutation)
        four = flow(x + h * three, fitness, mutation)
        x = x + h / 6 * (one + 2 * two + 2 * three + four)
        if path:
            kept.append(x)
    return namespace(x).stack(kept) if path else x


def discrete(
    x: Array, payoffs: Any, *, generations: int, background: float = 0.0, mutation: float = 0.0, path: bool = False
) -> Array:
    """Follow generations that do not overlap: x' = x (c + f) / (c + x.f), c the ``background`` fitness.

    Maynard Smith (1982, Evolution and the Theory of Games, appendix D). Every fitness c + f must be positive.

    Returns
    -------
    Array
        Shares at the end, or with ``path`` in all generations: (generations + 1, *batch, strategies).
    """
    validate.whole("generations", generations, 0, 100_000_000)
    validate.real("background", background)
    validate.probability("mutation", mutation)
    fitness, kept = earnings(payoffs), [x]
    for _ in range(generations):
        born = x * (background + fitness(x))
        x = born / total(born)[..., None]
        x = (1 - mutation) * x + mutation / x.shape[-1]
        if path:
            kept.append(x)
    return namespace(x).stack(kept) if path else x
