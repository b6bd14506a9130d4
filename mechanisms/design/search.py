"""Search: the parameters of a mechanism, or of a game, at which a measure is best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...envs.core import validate
from ...envs.core.arrays import Array, namespace, to_numpy
from ...envs.core.episodes import Episodes, play
from ...envs.core.game import Game
from ...envs.core.measures import equality
from ...envs.core.policy import Policy
from ...envs.core.statistics import Interval, interval
from .respond import Designer, Respond, cast, committed
from .space import Family, Point, Space

Objective = str | Callable[[Episodes], Any]
Build = Game | Family | Callable[[Point], Game]
Watch = Callable[[int, int], None]

GOALS = ("max", "min")
WAYS = ("grid", "line", "cmaes", "genetic")
BOOTSTRAP = 4096
"""Most worlds from which an interval is made by the bootstrap; from more it is the normal one."""


class Trial(NamedTuple):
    """Parameters that were tried: the mean of each objective over worlds, and its standard error.

    Both are not-a-number where the mechanism refused the parameters; the error also where an objective is one number.
    """

    parameters: Point
    values: tuple[float, ...]
    errors: tuple[float, ...]


@dataclass(frozen=True)
class Design:
    """What a search came to.

    Parameters
    ----------
    parameters
        The best parameters.
    objective
        The objective with its 95% interval at them, in worlds other than those of the search: what was best in some worlds
        by chance is not here.
    searched
        The objective in the worlds of the search.
    error
        Standard error of the objective.
    game
        The game under the best mechanism.
    policies
        Who played it.
    history
        All that was tried, in order.
    at_bounds
        Parameters at an end of their range: a wider one may hold better.
    how
        The algorithm, in words.
    """

    parameters: Point
    objective: Interval
    searched: float
    error: float
    game: Game
    policies: Mapping[str, Policy]
    history: tuple[Trial, ...]
    at_bounds: tuple[str, ...]
    how: str

    def rows(self) -> list[dict[str, Any]]:
        """Return the history as plain data, for a table or a picture."""
        return [
            {"trial": i, **trial.parameters, "objective": trial.values[0], "error": trial.errors[0]}
            for i, trial in enumerate(self.history, 1)
        ]


# ---- objectives -----------------------------------------------------------------------------------------------------


def payoffs(episodes: Episodes) -> Array:
    """Return what each player earned, (worlds, players)."""
    parts = list(episodes.returns.values())
    return parts[0] if len(parts) == 1 else namespace(parts[0]).concat(parts, axis=-1)


def measured(objective: Objective) -> Callable[[Episodes], Array]:
    """Return an objective as a function of episodes, one number a world or one for all of them.

    ``"welfare"``, ``"alignment"``, a measure of the game, ``"revenue"`` (the measure whose name ends in it), a role (what its
    players earn together), ``"least"`` (what the player who earns least earns) or ``"equality"`` (1 - Gini coefficient of
    payoffs, in which losses count as nothing).
    """
    if callable(objective):
        return objective
    if not isinstance(objective, str):
        raise ValueError(f"objective: a name or a function of episodes, got {objective!r}")

    def look_up(episodes: Episodes) -> Array:
        paid, known = payoffs(episodes), episodes.measures
        xp = namespace(paid)
        if objective in known:
            return known[objective]
        if objective in episodes.returns:
            return xp.sum(episodes.returns[objective], axis=-1)
        if objective == "welfare":
            return episodes.welfare
        if objective == "alignment":
            return episodes.game.benchmarks().alignment(episodes.welfare)
        if objective == "least":
            return xp.min(paid, axis=-1)
        if objective == "equality":
            return equality(xp.clip(paid, 0.0, None))
        ending = [name for name in known if name.endswith("_revenue")] if objective == "revenue" else []
        if len(ending) == 1:
            return known[ending[0]]
        names = ["welfare", "alignment", "least", "equality", *known, *episodes.returns]
        raise ValueError(
            f"objective: one of {', '.join(names)} for {episodes.game.name}, got {objective!r} (a measure of a mechanism is "
            "there only where the mechanism is not null)"
        )

    return look_up


def regret(
    policies: Mapping[str, Policy],
    deviations: Mapping[str, Sequence[Policy]],
    *,
    worlds: int = 1024,
    seed: int = 0,
) -> Callable[[Episodes], float]:
    """Return the objective of what a player gains most by other policies than those that all follow; to be made small.

    Parameters
    ----------
    policies
        {role or player: policy} that all follow, such as bidding one's value.
    deviations
        {player: what it might do instead}.
    worlds, seed
        In which they are compared, all in the same.
    """

    def most(episodes: Episodes) -> float:
        game, found = episodes.game, 0.0
        plain = payoffs(play(game, policies, worlds=worlds, seed=seed))
        for player, others in deviations.items():
            place = game.players.index(player)
            for other in others:
                paid = payoffs(play(game, {**policies, player: other}, worlds=worlds, seed=seed))
                found = max(found, float((paid - plain)[:, place].mean()))
        return found

    return most


# ---- trying parameters ----------------------------------------------------------------------------------------------


class Task:
    """A search: how a game is made of parameters, who plays it and what is measured, all in the same worlds."""

    def __init__(
        self,
        game: Build,
        over: Mapping[str, Any] | None,
        respond: Respond,
        designer: Designer | None,
        objectives: Mapping[Any, str] | list[tuple[Objective, str]],
        *,
        worlds: int,
        seed: int,
        budget: int,
        watch: Watch | None,
    ) -> None:
        inner = game.over if isinstance(game, Family) else {}
        self.space = Space({**inner, **(over or {})})
        self.build: Build = game
        self.respond, self.designer = respond, dict(designer or {})
        pairs = list(objectives.items()) if isinstance(objectives, Mapping) else list(objectives)
        self.signs = np.asarray([1.0 if validate.one_of("goal", goal, GOALS) == "min" else -1.0 for _, goal in pairs])
        self.measures = [measured(objective) for objective, _ in pairs]
        self.worlds, self.seed = validate.whole("worlds", worlds, 1, 1 << 40), int(seed)
        self.budget, self.watch = validate.whole("budget", budget, 1, 1_000_000_000), watch
        self.history: list[Trial] = []
        self.tried: dict[tuple[Any, ...], Trial] = {}
        self.refusal: ValueError | None = None

    def game(self, x: Point) -> Game:
        """Return the game of a point."""
        found = self.build if isinstance(self.build, Game) else self.build(x)
        if not isinstance(found, Game):
            raise TypeError(f"game: a game for the parameters {x}, got {found!r}")
        return found

    def play(self, x: Point, *, seed: int) -> tuple[Game, Mapping[str, Policy], list[Any]]:
        """Play the game of a point; return it, who played and what each objective says, a number a world."""
        game = self.game(x)
        policies = cast(game, self.respond, committed(x, self.designer))
        episodes = play(game, policies, worlds=self.worlds, seed=seed)
        return game, policies, [to_numpy(measure(episodes)).astype(float) for measure in self.measures]

    def trial(self, x: Point, *, seed: int | None = None) -> Trial:
        """Try a point; parameters that the mechanism refuses are tried in vain."""
        try:
            self.game(x)
        except ValueError as error:
            self.refusal = error
            nothing = (math.nan,) * len(self.measures)
            return Trial(x, nothing, nothing)
        _, _, found = self.play(x, seed=self.seed if seed is None else seed)
        return Trial(x, tuple(float(np.mean(v)) for v in found), tuple(map(standard_error, found)))

    @property
    def left(self) -> int:
        """How many more points may be tried."""
        return self.budget - len(self.history)

    def __call__(self, x: Point) -> Any:
        """Return the objectives of a point, each to be made small; infinite where it is refused or the budget is spent."""
        key = tuple(x[name] for name in self.space.names)
        if (known := self.tried.get(key)) is None:
            if self.left <= 0:
                return np.full(len(self.measures), math.inf)
            known = self.tried[key] = self.trial(dict(x))
            self.history.append(known)
            if self.watch is not None:
                self.watch(len(self.history), self.budget)
        values = self.signs * np.asarray(known.values)
        return np.where(np.isnan(values), math.inf, values)

    def best(self) -> Trial:
        """Return the trial with the best first objective, the first of several."""
        scores = [math.inf if math.isnan(t.values[0]) else self.signs[0] * t.values[0] for t in self.history]
        if not scores or min(scores) == math.inf:
            raise ValueError(f"over: no parameters that were tried are possible; the last: {self.refusal}")
        return self.history[int(np.argmin(scores))]

    def design(self, best: Trial, how: str) -> Design:
        """Return a record of the best trial, measured once more in other worlds."""
        game, policies, (fresh, *_) = self.play(best.parameters, seed=self.seed + 1)
        return Design(
            best.parameters,
            spanned(fresh),
            best.values[0],
            standard_error(fresh),
            game,
            policies,
            tuple(self.history),
            self.space.ends(best.parameters),
            how,
        )


def standard_error(values: Any) -> float:
    """Return the standard error of the mean of a number a world; not-a-number where there is but one."""
    return math.nan if np.size(values) < 2 else float(np.std(values, ddof=1) / math.sqrt(np.size(values)))


def spanned(values: Any) -> Interval:
    """Return mean and 95% interval: the bootstrap's, with many worlds the normal one."""
    if np.size(values) <= BOOTSTRAP:
        return interval(values)
    mean, reach = float(np.mean(values)), 1.959963984540054 * standard_error(values)
    return Interval(mean, mean - reach, mean + reach, int(np.size(values)))


def search(
    game: Build,
    over: Mapping[str, Any] | None = None,
    *,
    respond: Respond = None,
    designer: Designer | None = None,
    objective: Objective = "welfare",
    goal: str = "max",
    start: Point | None = None,
    spread: float = 0.25,
    worlds: int = 1024,
    seed: int = 0,
    budget: int = 200,
    how: str | None = None,
    watch: Watch | None = None,
) -> Design:
    """Search for the parameters of a mechanism, of a game or of what a role commits to at which a measure is best.

    All candidates are played in the same worlds (common random numbers), so that they differ only by their parameters; the
    best is measured once more in others. The same arguments give the same result. With few worlds the best candidate is
    that of those worlds: the error of the parameters falls with their number, at the rate of its square root where the
    objective is smooth in every world and more slowly where it jumps (a reserve price that is just missed).

    Parameters
    ----------
    game
        What ``vary`` returns, a function from parameters {name: value} to a game, or a game, of which then only the
        designer's acts are searched for.
    over
        {name: range}: ``(low, high)`` is a real number, ``range(a, b)`` a whole one, a list a choice among its values. What
        ``vary`` was given need not be repeated.
    respond
        Who plays: policies {role or player: policy}, a function from the game under a candidate to policies (``BestReply``,
        ``Ascent``, a learner), or ``"equilibrium"``, what the game's benchmarks say. Seats without one play the null act.
    designer
        {role: function from parameters to its acts {field: value}, or to a policy}: what the designer commits to in the
        place of a role.
    objective
        A name (see ``measured``) or a function from episodes to one number a world (or one for all).
    goal
        ``"max"`` or ``"min"``.
    start
        Where CMA-ES starts; elsewhere the middle of the ranges.
    spread
        How widely CMA-ES looks around it at first, as a share of the ranges; a small one climbs the hill of the start.
    worlds, seed
        The worlds of all candidates.
    budget
        Most candidates.
    how
        ``"grid"``: all points of a space without real numbers. ``"line"``: one real number, on a grid with a third of the
        budget and then around the best by Brent's method (Brent 1973). ``"cmaes"``: real numbers, by CMA-ES (Hansen and
        Ostermeier 2001, doi:10.1162/106365601750190398), started again from random points in populations twice
        as large (Auger and Hansen 2005) while budget is left.
        ``"genetic"``: any, by a mixed-variable genetic algorithm. None chooses, in this order.
    watch
        Called as ``watch(tried, budget)``.

    Raises
    ------
    ModuleNotFoundError
        If pymoo, which has CMA-ES and the genetic algorithm, is not installed.
    ValueError
        If a parameter is out of range, or no candidate is possible.
    """
    validate.real("spread", spread, 1e-6, 10.0)
    task = Task(
        game, over, respond, designer, [(objective, goal)], worlds=worlds, seed=seed, budget=budget, watch=watch
    )
    space = task.space
    fits = {
        "grid": space.size <= budget,
        "line": space.reals and len(space.names) == 1,
        "cmaes": space.reals and len(space.names) > 1,
        "genetic": True,
    }
    found = next(way for way in WAYS if fits[way]) if how is None else validate.one_of("how", how, WAYS)
    if not fits[found]:
        raise ValueError(
            f"how: {found!r} does not fit {len(space.names)} parameters, "
            f"{'all' if space.reals else 'not all'} of them real numbers, and a budget of {budget}"
        )
    told = {"grid": _grid, "line": _line, "cmaes": _cmaes, "genetic": _genetic}[found](task, start, spread)
    return task.design(task.best(), told)


# ---- algorithms -----------------------------------------------------------------------------------------------------


def _grid(task: Task, start: Point | None, spread: float) -> str:
    for x in task.space.points():
        task(x)
    return f"all {len(task.history)} candidates"


def _line(task: Task, start: Point | None, spread: float) -> str:
    from scipy.optimize import minimize_scalar

    count = max(3, min(task.budget, max(9, task.budget // 3)))
    shares = np.linspace(0.0, 1.0, count)
    scores = [float(task(task.space.point([share]))[0]) for share in shares]
    best = int(np.argmin(scores))
    ends = shares[max(best - 1, 0)], shares[min(best + 1, count - 1)]
    if task.left > 0:

        def score(share: float) -> float:
            return min(float(task(task.space.point([share]))[0]), 1e300)

        minimize_scalar(score, bounds=ends, method="bounded", options={"maxiter": task.left, "xatol": 1e-7})
    return f"a grid of {count} candidates, then Brent's method around the best; {len(task.history)} candidates in all"


def _cmaes(task: Task, start: Point | None, spread: float) -> str:
    needed()
    from pymoo.algorithms.soo.nonconvex.cmaes import CMAES

    numbers, runs = np.random.default_rng(task.seed), 0
    count = len(task.space.names)
    population = 4 + int(3 * math.log(count))
    x0 = np.asarray(task.space.shares(task.space.started(start)))
    while task.left > population or not runs:
        algorithm = CMAES(
            x0=x0,
            sigma=spread,
            pop_size=min(population, max(2, task.left)),
            normalize=False,
            tolx=1e-6,
            tolfun=1e-10,
            randn=lambda *shape: numbers.standard_normal(shape),
        )
        evolve(task, algorithm, count, seed=task.seed + runs)
        x0, population, runs = numbers.random(count), population * 2, runs + 1
    return f"CMA-ES (pymoo), {len(task.history)} candidates in {runs} run{'s' if runs > 1 else ''}"


def _genetic(task: Task, start: Point | None, spread: float) -> str:
    needed()
    from pymoo.core.mixed import MixedVariableGA

    size = max(8, min(50, task.budget // 8))
    evolve(task, MixedVariableGA(pop_size=size), None, seed=task.seed)
    return f"mixed-variable genetic algorithm (pymoo) with a population of {size}, {len(task.history)} candidates"


def evolve(task: Task, algorithm: Any, reals: int | None, *, seed: int) -> None:
    """Run one of pymoo's algorithms until it stops or the budget is spent.

    ``reals`` is the number of real numbers, which it sees as shares of their ranges; None for a mixed space.
    """
    from pymoo.core.evaluator import Evaluator
    from pymoo.core.problem import Problem
    from pymoo.core.termination import NoTermination
    from pymoo.problems.static import StaticProblem

    count = len(task.measures)
    if reals is not None:
        problem = Problem(n_var=reals, n_obj=count, xl=np.zeros(reals), xu=np.ones(reals))
    else:
        problem = Problem(vars=_variables(task.space), n_obj=count)
    algorithm.setup(problem, seed=seed % (1 << 31), termination=NoTermination(), verbose=False)
    if hasattr(algorithm, "options"):
        algorithm.options["seed"] = math.nan  # CMA-ES draws from its own numbers, and leaves NumPy's global ones alone
    idle = 0
    while algorithm.has_next() and task.left > 0 and idle < 50:
        asked = algorithm.ask()
        if asked is None or not len(asked):
            break
        before = task.left
        points = [task.space.point(x) if reals is not None else _plain(task.space, x) for x in asked.get("X")]
        scores = np.stack([task(x) for x in points])
        finite = scores[np.isfinite(scores)]
        worst = (
            float(finite.max() + np.ptp(finite) + 1.0) if finite.size else 1e30
        )  # refused: worse than all of its kind
        Evaluator().eval(StaticProblem(problem, F=np.where(np.isfinite(scores), scores, worst)), asked)
        algorithm.tell(infills=asked)
        idle = idle + 1 if task.left == before else 0


def _variables(space: Space) -> dict[str, Any]:
    from pymoo.core.variable import Choice, Integer, Real

    found: dict[str, Any] = {}
    for part, whole in zip(space.dimensions, space.whole, strict=True):
        if part.real:
            found[part.name] = Real(bounds=(part.low, part.high))
        elif whole:
            found[part.name] = Integer(bounds=(0, len(part.values) - 1))
        else:
            found[part.name] = Choice(options=list(range(len(part.values))))
    return found


def _plain(space: Space, x: Mapping[str, Any]) -> Point:
    """Return a point of pymoo's numbers: whole numbers and choices are places in their lists of values."""
    return {p.name: float(x[p.name]) if p.real else p.values[round(x[p.name])] for p in space.dimensions}


def needed() -> None:
    """Raise an error that says what to do, if pymoo is absent."""
    try:
        import pymoo  # noqa: F401
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "this search needs pymoo, which is not installed; pip install 'societas[design]' (grids and one real number need none)"
        ) from None
