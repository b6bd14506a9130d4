"""Pareto fronts: what can be had of one objective for how much of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .respond import Designer, Respond
from .search import Build, Objective, Task, Trial, Watch, evolve, needed


@dataclass(frozen=True)
class Front:
    """What a search for a Pareto front came to.

    Parameters
    ----------
    objectives
        Names of the objectives.
    goals
        ``"max"`` or ``"min"``, one an objective.
    points
        Parameters none of which is beaten in all objectives by another that was tried, by the first objective, with means
        and standard errors in worlds other than those of the search.
    searched
        The same with means and errors in the worlds of the search.
    hypervolume
        Volume of what is beaten by the front and is better than the reference, in units of the objectives multiplied.
    reference
        The reference, one number an objective.
    history
        All that was tried, in order.
    how
        The algorithm, in words.
    """

    objectives: tuple[str, ...]
    goals: tuple[str, ...]
    points: tuple[Trial, ...]
    searched: tuple[Trial, ...]
    hypervolume: float
    reference: tuple[float, ...]
    history: tuple[Trial, ...]
    how: str

    @property
    def values(self) -> Any:
        """The objectives of the points, (points, objectives)."""
        return np.asarray([trial.values for trial in self.points])

    def rows(self) -> list[dict[str, Any]]:
        """Return the points as plain data, for a table or a picture."""
        return [
            {
                **trial.parameters,
                **dict(zip(self.objectives, trial.values, strict=True)),
                **{f"{name}_error": e for name, e in zip(self.objectives, trial.errors, strict=True)},
            }
            for trial in self.points
        ]


def pareto(
    game: Build,
    over: Mapping[str, Any] | None = None,
    *,
    objectives: Mapping[str, str | tuple[Objective, str]],
    respond: Respond = None,
    designer: Designer | None = None,
    reference: Mapping[str, float] | None = None,
    worlds: int = 1024,
    seed: int = 0,
    budget: int = 400,
    population: int = 40,
    watch: Watch | None = None,
) -> Front:
    """Search for the Pareto front of several objectives by NSGA-II (Deb et al. 2002, doi:10.1109/4235.996017).

    A space without real numbers that the budget covers is tried as a whole. Of all that was tried, in whatever generation,
    the front is what nothing beats. It is found from within: an objective cannot look better than it is, but for chance,
    which is why points are measured once more in other worlds.

    Parameters
    ----------
    game, over, respond, designer, worlds, seed, watch
        As for ``search``.
    objectives
        {name: "max" or "min"} for what ``measured`` knows by name, {name: (function of episodes, "max" or "min")} for others.
    reference
        {objective: number} from which the hypervolume is measured; None takes the worst of the front.
    budget
        Most candidates.
    population
        Candidates of a generation.
    """
    if len(objectives) < 2:
        raise ValueError(f"objectives: at least 2, got {', '.join(objectives) or 'none'}; for one use search")
    pairs: list[tuple[Objective, str]] = [
        (name, how) if isinstance(how, str) else (how[0], how[1]) for name, how in objectives.items()
    ]
    task = Task(game, over, respond, designer, pairs, worlds=worlds, seed=seed, budget=budget, watch=watch)
    if task.space.size <= budget:
        for x in task.space.points():
            task(x)
        how = f"all {len(task.history)} candidates"
    else:
        how = _nsga2(task, min(population, budget))
    task.best()  # raises where no candidate was possible
    possible = [trial for trial in task.history if np.isfinite(trial.values).all()]
    searched = [possible[i] for i in undominated(task.signs * np.asarray([trial.values for trial in possible]))]
    searched.sort(key=lambda trial: trial.values)
    points = tuple(task.trial(trial.parameters, seed=seed + 1) for trial in searched)
    costs = task.signs * np.asarray([trial.values for trial in points])
    given = dict(reference or {})
    if unknown := [name for name in given if name not in objectives]:
        raise ValueError(f"reference: objectives ({', '.join(objectives)}), got {', '.join(unknown)}")
    worst = task.signs * costs.max(axis=0)
    marks = np.asarray([float(given.get(name, mark)) for name, mark in zip(objectives, worst, strict=True)])
    return Front(
        tuple(objectives),
        tuple(goal for _, goal in pairs),
        points,
        tuple(searched),
        volume(costs, task.signs * marks),
        tuple(marks.tolist()),
        tuple(task.history),
        how,
    )


def undominated(costs: Any) -> list[int]:
    """Return the rows, of costs (rows, objectives), that no other row beats or equals in all and beats in one; of equals one."""
    kept: list[int] = []
    for i in np.lexsort(costs.T[::-1]):  # whatever beats a row comes before it
        if not any((costs[k] <= costs[i]).all() for k in kept):
            kept.append(int(i))
    return kept


def volume(costs: Any, reference: Any) -> float:
    """Return the hypervolume of costs (rows, objectives) below a reference (Zitzler and Thiele 1999, doi:10.1109/4235.797969).

    Two objectives are added up here; for more pymoo is needed.
    """
    costs = costs[(costs < reference).all(axis=1)]
    if not len(costs):
        return 0.0
    if costs.shape[1] > 2:
        needed()
        from pymoo.indicators.hv import HV

        return float(HV(ref_point=reference)(costs))
    found, height = 0.0, float(reference[1])
    for first, second in costs[np.lexsort(costs.T[::-1])]:
        if second < height:
            found += (float(reference[0]) - float(first)) * (height - float(second))
            height = float(second)
    return found


def _nsga2(task: Task, population: int) -> str:
    needed()
    from pymoo.algorithms.moo.nsga2 import NSGA2, RankAndCrowding
    from pymoo.core.mixed import MixedVariableGA

    if task.space.reals:
        evolve(task, NSGA2(pop_size=population), len(task.space.names), seed=task.seed)
    else:
        evolve(task, MixedVariableGA(pop_size=population, survival=RankAndCrowding()), None, seed=task.seed)
    return f"NSGA-II (pymoo) with a population of {population}, {len(task.history)} candidates"
