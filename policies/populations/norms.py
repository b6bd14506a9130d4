"""Axelrod's evolution of norms: populations that play the norms game, generation after generation."""

from __future__ import annotations

from typing import NamedTuple

from ...envs.core.arrays import Array, to_float
from ...envs.norms.norms_game import NormsGame
from .selection import History, Selection, evolve

SOURCE = "Axelrod 1986, doi:10.2307/1960858; 20 agents, generation 100"

PUBLISHED = {
    "norms": {"established": 0.030, "collapsed": 0.151},
    "metanorms": {"established": 0.894, "collapsed": 0.001},
}
"""Shares of runs in which the norm is established and has collapsed at generation 100, without and with metanorms."""


class Fates(NamedTuple):
    """Shares of populations in which the norm is established, and in which it has collapsed."""

    established: float
    collapsed: float


def fates(game: NormsGame, history: History, generation: int = -1) -> Fates:
    """Classify populations by their means at a generation.

    A norm is established where mean boldness is at most 2/7 and mean vengefulness at least 5/7, and has collapsed where
    boldness is at least 6/7 and vengefulness at most 1/7.
    """
    slack = 1e-9
    b, v = (history.means[name][generation] / game.top for name in ("boldness", "vengefulness"))
    established = (b <= 2 / 7 + slack) & (v >= 5 / 7 - slack)
    collapsed = (b >= 6 / 7 - slack) & (v <= 1 / 7 + slack)
    return Fates(_share(established), _share(collapsed))


def axelrod(
    *,
    metanorms: bool = False,
    populations: int = 500,
    generations: int = 100,
    seed: int = 0,
    game: NormsGame | None = None,
    selection: Selection | None = None,
) -> Fates:
    """Run Axelrod's experiment; ``game`` and ``selection`` replace his choices."""
    chosen = game or NormsGame(metanorms=metanorms)
    return fates(chosen, evolve(chosen, selection, populations=populations, generations=generations, seed=seed))


def _share(mask: Array) -> float:
    return float(to_float(mask).mean())
