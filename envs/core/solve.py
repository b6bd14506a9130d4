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
    """Return all equilibria in pure actions, by enumeration."""
    profiles = itertools.product(*(range(size) for size in payoffs.shape[1:]))
    return [profile for profile in profiles if regret(payoffs, profile) <= tolerance]


def mixed_nash(payoffs: Payoffs, tolerance: float = 1e-9) -> list[tuple[Payoffs, Payoffs]]:
    """Return equilibria of a two-player game, pure and mixed, by support enumeration (equal-sized supports).

    Source: Nisan et al. 2007, Algorithmic Game Theory, algorithm 3.4. Complete for nondegenerate games.
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
                best = max((first @ y).max() - x @ first @ y, (x @ second).max() - x @ second @ y)
                if best <= tolerance:
                    found.append((x, y))
    return found


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
