"""How long a run will take: each policy tries each game for a moment, and what it takes is carried on to all cells."""

from __future__ import annotations

import heapq
import importlib
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .precision import LEAST
from .run import play_cell
from .spec import Arm, Cell, Player, Precision, Spec
from .statistics import interval, p_value
from .work import Job, Watch, work

ENOUGH, LONGER = 0.6, 8
"""Seconds that a trial must take beyond the shortest to be trusted; till then it is made so many times as long."""
DEAR = 2.0
"""Seconds of the shortest trial from which it alone is made under further institutions, and nothing is tried twice."""


class Estimate(NamedTuple):
    """What cells of one arm will take: seconds of computing a cell, and worlds a cell."""

    policy: str
    game: str
    cells: list[Cell]
    seconds: list[float]
    worlds: list[int]

    @property
    def total(self) -> float:
        """Seconds of computing in all."""
        return sum(self.seconds)


def estimate(spec: Spec, tell: Callable[[str], None] | None = None) -> list[Estimate]:
    """Return what each policy in each game will take, from a trial under each institution at its first level.

    A trial plays few worlds after few episodes of learning. Seconds are taken to grow in proportion to both, from two
    trials of different length; levels of uncertainty are taken to cost the same. Where the shortest trial takes long, more
    worlds and episodes are taken to cost under every institution what they cost under the first. Where precision is asked
    for, the number of worlds comes from the spread of the measure in the trial.

    Parameters
    ----------
    spec
        What would be run.
    tell
        Called with the name of each trial before it begins.

    Raises
    ------
    FileNotFoundError
        If a model that a policy needs is absent.
    """
    found: dict[tuple[str, str], Estimate] = {}
    known: dict[tuple[str, str, str], tuple[float, int]] = {}
    slopes: dict[tuple[str, str], dict[str, float]] = {}
    for cell in spec.cells():
        place = cell.policy, cell.game, cell.institution
        if place not in known:
            if tell is not None:
                tell(cell.name)
            known[place] = _tried(spec, cell, slopes.setdefault(place[:2], {}))
        each = found.setdefault(place[:2], Estimate(cell.policy, cell.game, [], [], []))
        each.cells.append(cell)
        each.seconds.append(known[place][0])
        each.worlds.append(known[place][1])
    return list(found.values())


def _tried(spec: Spec, cell: Cell, slopes: dict[str, float]) -> tuple[float, int]:
    """Return the seconds and the worlds of a cell; ``slopes``, of an episode and a world, are filled in where they are dear."""
    arm = spec.policies[cell.policy]
    worlds = arm.worlds // arm.replicas
    steps = min((player.learning.episodes for player in arm.players.values() if player.learning), default=0)
    few, values = min(2, worlds), list[float]()

    def trial(step: int, count: int) -> float:
        short = _shortened(arm, step / max(steps, 1), count, worlds)
        policies, begun = {**spec.policies, cell.policy: short}, time.monotonic()
        found = play_cell(spec.model_copy(update={"policies": policies, "precision": None}), cell, lambda _: None)
        if spec.precision is not None:
            values[:] = found["measures"][spec.precision.measure]
        return time.monotonic() - begun

    once = trial(1, few)
    if once < 10 * ENOUGH:  # what is loaded once a process has been loaded now
        once = trial(1, few)
    most = spec.precision.most if spec.sequential(cell.policy) and spec.precision else worlds
    found = (
        slopes
        if once > DEAR and slopes
        else {
            "episode": _slope(lambda step: trial(step, few), 1, steps, once),
            "world": _slope(lambda count: trial(1, count), few, most, once),
        }
    )
    if once > DEAR:
        slopes.update(found)
    episode, world = found["episode"], found["world"]
    learning = once + episode * max(steps - 1, 0)
    if not spec.sequential(cell.policy) or spec.precision is None:
        return arm.replicas * (learning + world * (worlds - few)), arm.worlds
    if len(values) < min(LEAST, worlds):
        trial(1, min(LEAST, worlds))
    needed = _worlds(values, worlds, spec.precision)
    played = [min(worlds * 2**n, needed) for n in range(1 + math.ceil(math.log2(needed / worlds)))]
    return sum(once + world * (count - few) for count in played), needed


def _shortened(arm: Arm, share: float, worlds: int, sessions: int) -> Arm:
    """Return an arm that learns a share of its episodes, in as many worlds as ever, and is measured in a few."""

    def short(player: Player) -> Player:
        if player.learning is None:
            return player
        learning = player.learning
        given = {"episodes": max(1, round(share * learning.episodes)), "sessions": learning.sessions or sessions}
        return player.model_copy(update={"learning": learning.model_copy(update=given)})

    players = {seat: short(player) for seat, player in arm.players.items()}
    return arm.model_copy(update={"players": players, "worlds": worlds, "replicas": 1})


def _slope(trial: Callable[[int], float], begin: int, end: int, first: float) -> float:
    """Return the seconds for one more, from ever longer trials until what they take more is enough to be measured."""
    length, more = begin, 0.0
    while length < end and more < ENOUGH:
        length = min(LONGER * length, end)
        more = trial(length) - first
        if (
            ENOUGH <= more < 10 * ENOUGH and first < DEAR
        ):  # once more: the machine may have been busy with something else
            more = min(more, trial(length) - first)
    return max(more, 0.0) / (length - begin) if length > begin else 0.0


def _worlds(values: Sequence[float], begin: int, wanted: Precision) -> int:
    """Return how many worlds precision will take, judged by a few of them."""
    known = np.asarray(values, dtype=float)
    spread = float(np.nanstd(known, ddof=1)) if known.size > 1 else 1.0
    needed = max((1.96 * spread / wanted.half_width) ** 2, 1.96 / wanted.half_width)
    doublings = max(0, math.ceil(math.log2(needed / begin)))
    return int(min(wanted.most, begin * 2**doublings))


def makespan(seconds: Iterable[float], workers: int) -> float:
    """Return when the last of some jobs ends on this many workers, the longest begun first."""
    free = [0.0] * max(1, workers)
    for job in sorted(seconds, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + job)
    return max(free)


def starting() -> float:
    """Return the seconds that workers take to start with the packages that are loaded in this process."""
    heavy = [name for name in ("torch", "transformers", "scipy", "numba") if name in sys.modules]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        work([Job("start", "societas.experiments.estimate:_loaded", (heavy,))], Path(folder), workers=1)
    return time.monotonic() - begun


def _loaded(names: Sequence[str], watch: Watch) -> dict[str, Any]:
    """Load packages in a worker."""
    for name in names:
        importlib.import_module(name)
    watch(1.0)
    return {}


def reporting(spec: Spec, estimates: Sequence[Estimate]) -> float:
    """Return the seconds of summarising a run: two intervals and a test for each cell and measure, as tried on noise."""
    measures, seconds = len({*spec.measures, "alignment", "welfare"}), 0.0
    known: dict[int, float] = {}
    p_value(np.full(8, interval([0.0, 1.0]).mean))  # what is loaded at first use is loaded now
    for each in estimates:
        replicas = spec.policies[each.policy].replicas
        for worlds in each.worlds if replicas == 1 else [replicas] * len(each.worlds):
            if worlds not in known:
                noise, begun = np.random.default_rng(0).random(worlds), time.monotonic()
                interval(noise)
                interval(noise)
                p_value(noise - 0.5)
                known[worlds] = time.monotonic() - begun
            seconds += measures * known[worlds]
    return seconds
