"""Measures of how a society fares, each defined once, with its formula and source."""

from __future__ import annotations

from .arrays import Array, namespace, to_float
from .arrays import total as add
from .game import Measure

GOVSIM = "Piatti et al. 2024, arXiv:2404.16698"

COMMONS: tuple[Measure, ...] = (
    Measure(
        "survival",
        "months until the fishery collapses or the game ends",
        "last month in which fish was caught",
        "months",
        GOVSIM,
    ),
    Measure("gain", "mean catch of a fisher over the episode", "(1/n) sum_i R_i", "tonnes", GOVSIM),
    Measure(
        "efficiency",
        "share of the largest sustainable catch that was caught",
        "1 - max(0, T f(0) - sum_i R_i) / (T f(0)), f(0) the sustainable catch of the first month",
        "",
        GOVSIM,
    ),
    Measure("equality", "how evenly the catch was spread", "1 - sum_ij |R_i - R_j| / (2 n sum_i R_i)", "", GOVSIM),
    Measure(
        "overuse",
        "share of catches above the sustainable share",
        "#{(i, t): catch_it > f_t / n} / (n T'), T' the months played",
        "",
        GOVSIM,
        better="lower",
    ),
)


def efficiency(total: Array, possible: float) -> Array:
    """Return min(total, possible) / possible: 1 - max(0, possible - total) / possible; 1 where nothing is possible."""
    if possible <= 0:
        return total * 0.0 + 1.0
    return namespace(total).clip(total, None, possible) / possible


def equality(returns: Array) -> Array:
    """Return 1 - Gini: 1 - sum_ij |R_i - R_j| / (2 n sum_i R_i) over the last axis; 1 where all got nothing.

    One formula for every n (the Gini coefficient's own, without a small-sample factor).
    """
    n = returns.shape[-1]
    gaps = add(add(namespace(returns).abs(returns[..., :, None] - returns[..., None, :])))
    total = add(returns)
    return 1.0 - gaps / (2.0 * n * (total + (total == 0)))


def overuse(overused: Array, months: Array) -> Array:
    """Return the share of (agent, month) pairs above the sustainable share; 0 before the first month is played."""
    months = to_float(months)
    return to_float(add(overused)) / ((months + (months == 0)) * overused.shape[-1])
