"""The long run of a finite population in which mutants are rare: fixation, a chain of uniform states, its stationary law.

Where mutations are rare, a mutant takes over or dies out before the next appears, so the population moves between states
in which all play the same (Fudenberg and Imhof 2006, doi:10.1016/j.jet.2005.04.006). State i turns into state j with the
probability that a single j takes over a population of i.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...envs.core import validate
from ...envs.core.arrays import Array, constant, full, namespace
from . import fermi, moran
from .payoffs import Groups

Add = Callable[[Any, Any], Any]


def fixation(log_ratios: Array) -> Array:
    """Return the probability that one mutant takes over, from log(T-/T+) with 1, ..., M - 1 mutants: (*batch, M - 1) to (*batch).

    rho = 1 / (1 + sum_k prod_(j<=k) T-_j / T+_j), the absorption probability of a birth-and-death chain (Karlin and
    Taylor 1975), summed in logarithms, so that nothing overflows.
    """
    return namespace(log_ratios).exp(log_fixation(log_ratios))


def log_fixation(log_ratios: Array) -> Array:
    """Return the logarithm of ``fixation``."""
    xp = namespace(log_ratios)
    walks = xp.cumulative_sum(log_ratios, axis=-1)
    high = xp.clip(xp.max(walks, axis=-1), 0.0, None)
    rest = xp.sum(xp.exp(walks - high[..., None]), axis=-1)
    return -(high + xp.log(xp.exp(-high) + rest))


def moran_fixation(r: Array, population: int) -> Array:
    """Return (1 - 1/r) / (1 - 1/r^M), the chance of one mutant of constant relative fitness r; 1/M where r = 1 (Moran 1958)."""
    xp = namespace(r)
    steps = xp.log(r)[..., None] * constant(r, (1.0,) * (population - 1))
    return fixation(-steps)


def duels(payoffs: Groups) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return what mutants and residents earn: (residents, mutants, M - 1), with 1, ..., M - 1 mutants of one kind."""
    k, m = payoffs.strategies, payoffs.population
    counts = np.zeros((k, k, m - 1, k), dtype=np.int64)
    for i in range(k):
        for j in range(k):
            counts[i, j, :, j] += np.arange(1, m)
            counts[i, j, :, i] += m - np.arange(1, m)
    paid = payoffs(counts)
    mutant = np.stack([paid[:, j, :, j] for j in range(k)], axis=1)
    resident = np.stack([paid[i, :, :, i] for i in range(k)], axis=0)
    return mutant, resident


def transitions(payoffs: Groups, beta: float, process: str = "fermi") -> np.ndarray[Any, Any]:
    """Return fixation probabilities (residents, mutants) of single mutants; on the diagonal that of a neutral one, 1/M.

    ``beta`` is the selection intensity: that of imitation, or the Moran process's w (``"moran"``: fitness 1 - w + w pi;
    ``"exponential"``: exp(w pi)). With imitation it may be infinite.
    """
    if _strong(beta, process):
        exponent, weight = np.moveaxis(_strong_rates(payoffs), -1, 0)
        return np.asarray(np.where(exponent == 0.0, np.exp(weight), 0.0))
    return np.asarray(np.exp(_log_rates(payoffs, beta, process)))


def stationary(payoffs: Groups, beta: float = math.inf, process: str = "fermi") -> np.ndarray[Any, Any]:
    """Return the share of time (strategies,) that is spent in each uniform state when mutations are rare.

    Parameters
    ----------
    payoffs
        What strategies earn, for instance ``payoffs.groups(...)``.
    beta
        Selection intensity. Infinite, the default, is strong imitation: the limit of the stationary distribution, exact
        where payoffs tie and where some states are left only with vanishing probability.
    process
        ``"fermi"``, ``"moran"`` or ``"exponential"``, as in ``transitions``.
    """
    if not _strong(beta, process):
        logs = gth(_log_rates(payoffs, beta, process)[..., None], np.logaddexp)[..., 0]
        weights = np.exp(logs - logs.max())
        return np.asarray(weights / weights.sum())
    exponent, weight = np.moveaxis(gth(_strong_rates(payoffs), _add_leading), -1, 0)
    slack = 1e-9 * (1.0 + np.abs(exponent).max())
    weights = np.where(exponent <= exponent.min() + slack, np.exp(weight), 0.0)
    return np.asarray(weights / weights.sum())


def stationary_of(rates: Array) -> Array:
    """Return the stationary distributions (*batch, k) of chains with positive rates (*batch, k, k) off the diagonal."""
    xp = namespace(rates)
    k = rates.shape[-1]
    eye = xp.eye(k, dtype=xp.float64, device=getattr(rates, "device", None))
    logs = gth(xp.log(rates + eye)[..., None], xp.logaddexp)[..., 0]
    weights = xp.exp(logs - xp.max(logs, axis=-1)[..., None])
    return weights / xp.sum(weights, axis=-1)[..., None]


def gth(rates: Array, add: Add) -> Array:
    """Return the stationary weights (*batch, k, ...) of a chain, by the elimination of Grassmann, Taksar and Heyman (1985).

    It adds, multiplies and divides positive numbers and never subtracts, so it is exact to rounding however small the
    rates are, and works for whatever has these operations. Numbers are logarithms along the last axis: (log value) with
    ``np.logaddexp``, or (exponent, log weight) of leading orders. ``rates`` is (*batch, k, k, ...); the diagonal is not
    read.
    """
    k = rates.shape[-2]
    p = [[rates[..., i, j, :] for j in range(k)] for i in range(k)]
    for n in range(k - 1, 0, -1):
        out = p[n][0]
        for j in range(1, n):
            out = add(out, p[n][j])
        for i in range(n):
            p[i][n] = p[i][n] - out
            for j in range(n):
                if i != j:
                    p[i][j] = add(p[i][j], p[i][n] + p[n][j])
    weights = [full(rates, tuple(p[0][0].shape), 0.0)]
    for n in range(1, k):
        found = weights[0] + p[0][n]
        for i in range(1, n):
            found = add(found, weights[i] + p[i][n])
        weights.append(found)
    return namespace(rates).stack(weights, axis=-2)


def _add_leading(a: Any, b: Any) -> Any:
    """Add numbers w exp(-beta c), held as (c, log w), to leading order as beta grows: the smaller c, or both weights."""
    slack = 1e-9 * (1.0 + abs(a[..., 0]) + abs(b[..., 0]))
    same = abs(a[..., 0] - b[..., 0]) <= slack
    both = np.stack([np.minimum(a[..., 0], b[..., 0]), np.logaddexp(a[..., 1], b[..., 1])], axis=-1)
    return np.where(same[..., None], both, np.where((a[..., 0] < b[..., 0])[..., None], a, b))


def _strong(beta: float, process: str) -> bool:
    validate.one_of("process", process, ("fermi", "moran", "exponential"))
    if beta == math.inf and process != "moran":
        return True
    validate.real("beta", beta, 0.0, 1.0 if process == "moran" else 1e9)
    return False


def _log_rates(payoffs: Groups, beta: float, process: str) -> np.ndarray[Any, Any]:
    mutant, resident = duels(payoffs)
    if process == "fermi":
        return np.asarray(log_fixation(fermi.log_ratios(mutant, resident, beta)))
    form = "linear" if process == "moran" else "exponential"
    return np.asarray(log_fixation(moran.log_ratios(mutant, resident, beta, form)))


def _strong_rates(payoffs: Groups) -> np.ndarray[Any, Any]:
    """Return fixation probabilities to leading order as beta grows, exp(-beta c) w, as (c, log w): (k, k, 2).

    1/rho = sum_k exp(-beta D_k), D_0 = 0 and D_k the sum of the first k payoff differences: c is minus the least D_k, and
    1/w counts the k that attain it.
    """
    mutant, resident = duels(payoffs)
    gap = mutant - resident
    slack = 1e-9 * max(1.0, float(np.abs(mutant).max()), float(np.abs(resident).max()))
    gap = np.where(np.abs(gap) <= slack, 0.0, gap)
    walks = np.concatenate([np.zeros((*gap.shape[:-1], 1)), np.cumsum(gap, axis=-1)], axis=-1)
    least = walks.min(axis=-1)
    ties = (walks <= least[..., None] + slack).sum(axis=-1)
    return np.stack([-least, -np.log(ties)], axis=-1)
