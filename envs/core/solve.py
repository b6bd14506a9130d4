"""Solvers for small games in normal form; every answer is checked for regret before it is returned."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

Payoffs = np.ndarray[Any, Any]
"""Payoff tensor: (players, actions of player 0, actions of player 1, ...)."""


def regret(payoffs: Payoffs, profile: tuple[int, ...]) -> float:
    """Return the most that any one player gains by deviating from a profile of pure actions."""
    gains = [0.0]
    for player in range(payoffs.shape[0]):
        own = list(profile)
        for action in range(payoffs.shape[1 + player]):
            own[player] = action
            gains.append(float(payoffs[(player, *own)] - payoffs[(player, *profile)]))
    return max(gains)


def pure_nash(payoffs: Payoffs, tolerance: float = 1e-12) -> list[tuple[int, ...]]:
    """Return all equilibria in pure actions, in lexicographic order, by enumeration."""
    stable = np.ones(payoffs.shape[1:], dtype=bool)
    for player, pay in enumerate(payoffs):
        stable &= pay >= pay.max(axis=player, keepdims=True) - tolerance
    return [tuple(map(int, cell)) for cell in np.argwhere(stable)]


def mixed_nash(payoffs: Payoffs, tolerance: float = 1e-9) -> list[tuple[Payoffs, Payoffs]]:
    """Return equilibria of a two-player game, pure and mixed, by support enumeration; at least one.

    Supports of equal size come first (Nisan et al. 2007, Algorithmic Game Theory, algorithm 3.4), which finds all
    equilibria of a nondegenerate game. A degenerate one may have none with equal supports: then a linear feasibility
    problem for each pair of supports (Dickhaut and Kaplan 1993) finds one.
    """
    if payoffs.shape[0] != 2:
        raise ValueError(f"payoffs: support enumeration needs 2 players, got {payoffs.shape[0]}")
    first, second = payoffs
    rows, columns = first.shape
    found: list[tuple[Payoffs, Payoffs]] = []
    for size in range(1, min(rows, columns) + 1):
        for own in itertools.combinations(range(rows), size):
            for other in itertools.combinations(range(columns), size):
                block = np.ix_(own, other)
                x = _indifferent(second[block].T, rows, own)
                y = _indifferent(first[block], columns, other)
                if x is None or y is None:
                    continue
                if mixed_regret(payoffs, x, y) <= tolerance:
                    found.append((x, y))
    return found or [_any_supports(payoffs, tolerance)]


def mixed_regret(payoffs: Payoffs, x: Payoffs, y: Payoffs) -> float:
    """Return the most that one of two players gains by deviating from mixes x and y."""
    first, second = payoffs
    return float(max((first @ y).max() - x @ first @ y, (x @ second).max() - x @ second @ y))


def _any_supports(payoffs: Payoffs, tolerance: float) -> tuple[Payoffs, Payoffs]:
    """Return one equilibrium whose supports may differ in size."""
    first, second = payoffs
    rows, columns = ([s for k in range(1, n + 1) for s in itertools.combinations(range(n), k)] for n in first.shape)
    for own, other in itertools.product(rows, columns):
        y = _making_best(first, own, other)
        x = _making_best(second.T, other, own)
        if x is not None and y is not None and mixed_regret(payoffs, x, y) <= tolerance:
            return x, y
    raise RuntimeError("mixed_nash: no equilibrium found within the tolerance; rescale the payoffs")


def _making_best(payoffs: Payoffs, best: tuple[int, ...], support: tuple[int, ...]) -> Payoffs | None:
    """Return a mix of columns over a support to which all the rows in ``best`` are best replies; None if there is none."""
    from scipy.optimize import linprog

    rows, columns = payoffs.shape
    equal = np.zeros((len(best) + 1, columns + 1))
    equal[:-1, :-1], equal[:-1, -1] = payoffs[list(best)], -1.0
    equal[-1, :-1] = 1.0
    bounds = [(0.0, 1.0 if j in support else 0.0) for j in range(columns)] + [(None, None)]
    found = linprog(
        np.zeros(columns + 1),
        A_ub=np.hstack([payoffs, -np.ones((rows, 1))]),
        b_ub=np.zeros(rows),
        A_eq=equal,
        b_eq=np.append(np.zeros(len(best)), 1.0),
        bounds=bounds,
        method="highs",
    )
    return np.asarray(found.x[:-1]) if found.status == 0 else None


def _indifferent(payoffs: Payoffs, size: int, support: tuple[int, ...]) -> Payoffs | None:
    """Return the mix over a support that makes the opponent's rows of ``payoffs`` equally good; None if there is none."""
    k = len(support)
    system = np.block([[payoffs, -np.ones((k, 1))], [np.ones((1, k)), np.zeros((1, 1))]])
    try:
        solution = np.linalg.solve(system, np.append(np.zeros(k), 1.0))[:k]
    except np.linalg.LinAlgError:
        return None
    if (solution < -1e-12).any():
        return None
    mix = np.zeros(size)
    mix[list(support)] = np.clip(solution, 0.0, None)
    return mix


def box_maximum(v: Any, a: Any, low: float, high: float) -> Any:
    """Return x in a box, 0 within, where the concave v'x - x'ax/2 is highest, by the active-set method.

    Newton's step is taken until a bound is met, which is then kept; at the top of a face the bound that it would help
    most to leave is left (Nocedal and Wright 2006, chapter 16).
    """
    x, kept = np.zeros(len(v)), np.zeros(len(v), dtype=bool)
    for _ in range(100 * len(v)):
        free = np.flatnonzero(~kept)
        step = np.linalg.lstsq(a[np.ix_(free, free)], (v - a @ x)[free], rcond=None)[0]
        moves = np.abs(step) > 0.0
        room = np.where(step > 0.0, high, low) - x[free]
        share = np.divide(room, step, out=np.full(len(free), np.inf), where=moves)
        if len(free) and share.min() < 1.0:
            x[free] += share.min() * step
            first = free[share.argmin()]
            x[first], kept[first] = (high if step[share.argmin()] > 0.0 else low), True
            continue
        x[free] += step
        gradient = v - a @ x
        gain = np.where(kept, np.maximum(gradient * (high - x), gradient * (low - x)), 0.0)
        if gain.max() <= 1e-14 * np.abs(v).max() * (high - low):
            break
        kept[gain.argmax()] = False
    return np.clip(x, low, high)
