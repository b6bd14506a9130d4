"""Gradients: the best parameters where game and mechanism are smooth, by derivatives through whole episodes (torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...envs.core import validate
from ...envs.core.arrays import align, select
from ...envs.core.episodes import Episodes
from ...envs.core.fields import Field, find
from ...envs.core.game import Game
from ...envs.core.worlds import Cast, Worlds
from .respond import Constant, Designer, Policies, Respond, Response, cast, committed
from .search import GOALS, Design, Objective, Task, Trial, Watch, measured, standard_error
from .space import Family, Point

STEP = 1e-4
"""Share of a range by which a number is moved, up and down, to check a derivative by differences; then a hundred times as
much, which meets jumps that are rare among the worlds."""

SLACK = 0.05
"""Most by which derivative and difference may differ, relative to the larger, or to a fifth of the steepest yet."""


class NotSmooth(ValueError):
    """An objective whose derivative along the episodes is not that of its mean: it is constant, or jumps."""


def rollout(game: Game, policies: Policies, *, worlds: int, seed: int) -> Episodes:
    """Play one whole episode in every world, as ``play`` does, in torch and without leaving it: gradients flow through."""
    batch = Worlds(game, worlds, seed=seed, backend="torch", device="cpu", check=False)
    players = Cast(game, policies)
    players.begin(batch)
    live = batch.array(np.ones(worlds, dtype=bool))
    zero = batch.array(np.zeros(worlds))
    returns = {role.name: batch.array(np.zeros((worlds, role.count))) for role in game.roles}
    welfare, length = zero, zero
    for _ in range(game.horizon):
        before = batch.state
        outcome = batch.step(players.act(batch, batch.view(), live=live))
        returns = {name: sum_ + outcome.rewards[name] * align(live * 1.0, sum_) for name, sum_ in returns.items()}
        welfare = welfare + outcome.welfare * live
        length = length + live * 1.0
        batch.state = select(live, batch.state, before)
        live = live & ~outcome.done
        if not bool(live.any()):
            break
    return Episodes(game, returns, welfare, length, game.measures(batch.state), [])


# ---- players who climb ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ascent(Response):
    """Players whose real acts climb their own expected reward, each given those of the others, until no one's rises.

    As a response it serves ``search``, ``pareto`` and ``gradient``. In ``gradient`` the acts follow the parameters by the
    implicit function theorem, where all own first-order conditions hold (bilevel optimisation; Gould et al. 2016,
    arXiv:1607.05447), or, with ``unrolled`` steps, as the last of so many steps of gradient ascent (Maclaurin, Duvenaud and
    Adams 2015, arXiv:1502.03492). Acts are the same in all worlds and throughout the episode, and what is found is local:
    each player's own second derivative is checked, other hills are not searched.

    Parameters
    ----------
    acts
        {role or player: {field: start}} of those who climb, one number or one a component. Real fields climb, from there;
        whole numbers and choices stay.
    others
        Policies of the others.
    unrolled
        Steps of gradient ascent to differentiate through; 0 for the implicit derivative.
    rate
        Step of gradient ascent, in units of the square of an act over reward.
    steps
        Most steps until first-order conditions must hold; steps are Newton's where own rewards are concave.
    tolerance
        Largest own derivative, in reward per range of the act, that counts as 0.
    worlds, seed
        In which they climb.
    """

    acts: Mapping[str, Mapping[str, Any]]
    others: Policies = field(default_factory=dict)
    unrolled: int = 0
    rate: float = 0.1
    steps: int = 200
    tolerance: float = 1e-9
    worlds: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("unrolled", self.unrolled, 0, 1_000_000)
        validate.whole("steps", self.steps, 1, 1_000_000)
        validate.whole("worlds", self.worlds, 1, 10_000_000)
        validate.real("rate", self.rate, 1e-12, 1e12)
        validate.real("tolerance", self.tolerance, 0.0, 1e6)

    def reply(self, game: Game, committed: Policies) -> Policies:
        """Return the policies at which nobody's own reward rises, as plain numbers."""
        climb = _Climb(self, game, committed)
        y = climb.unrolled(follow=False) if self.unrolled else climb.settled()
        return climb.policies(y.detach().tolist())

    def follow(self, game: Game, committed: Policies) -> Policies:
        """Return the policies at which nobody's own reward rises, as tensors that follow what the game is made of."""
        climb = _Climb(self, game, committed)
        if self.unrolled:
            return climb.policies(climb.unrolled(follow=True))
        y = climb.settled()
        slopes, matrix, free = climb.conditions(y, follow=True)
        torch = climb.torch
        step = torch.linalg.solve(matrix[free][:, free], slopes[free]) if bool(free.any()) else slopes[free]
        moved = y.clone()
        moved[free] = y[free] - step  # zero but for its derivative, which is that of the implicit function
        return climb.policies(moved)


class _Place(NamedTuple):
    """A number that a player decides: of which field, and which component of it."""

    player: str
    field: Field
    component: int | None


class _Climb:
    """Own rewards of players who climb, as functions of their acts."""

    def __init__(self, ascent: Ascent, game: Game, designer: Policies) -> None:
        import torch

        self.torch, self.ascent, self.game, self.designer = torch, ascent, game, designer
        self.fixed: dict[str, dict[str, Any]] = {}
        self.places: list[_Place] = []
        first: list[float] = []
        for who, acts in ascent.acts.items():
            roles = [role for role in game.roles if who == role.name or who in role.players]
            if not roles:
                raise ValueError(f"acts: {game.name} has no role or player {who!r}")
            role = roles[0]
            for player in role.players if who == role.name else (who,):
                self.fixed[player] = {}
                for name, value in acts.items():
                    part = find(role.acts, name, f"acts of {who}")
                    if part.discrete:
                        self.fixed[player][name] = value
                        continue
                    spots: list[int | None] = list(range(len(part.each))) if part.each else [None]
                    values = list(value) if isinstance(value, list | tuple) else [value] * len(spots)
                    for spot, number in zip(spots, values, strict=True):
                        self.places.append(_Place(player, part, spot))
                        first.append(validate.real(f"acts: {name}", number, part.space.low, part.space.high))
        if not self.places:
            raise ValueError("acts: at least one real number that climbs")
        self.first = torch.tensor(first, dtype=torch.float64)
        self.low = torch.tensor([p.field.space.low for p in self.places], dtype=torch.float64)
        self.high = torch.tensor([p.field.space.high for p in self.places], dtype=torch.float64)
        span = self.high - self.low
        self.span = torch.where(torch.isfinite(span), span, torch.ones_like(span))

    def policies(self, y: Any) -> Policies:
        """Return everyone's policies, where those who climb do y."""
        acts = {player: dict(fixed) for player, fixed in self.fixed.items()}
        for place, value in zip(self.places, y, strict=True):
            if place.component is None:
                acts[place.player][place.field.name] = value
            else:
                acts[place.player].setdefault(place.field.name, []).append(value)
        return {**self.ascent.others, **{player: Constant(own) for player, own in acts.items()}}

    def rewards(self, y: Any) -> dict[str, Any]:
        """Return the mean return of every player who climbs."""
        everyone = {**self.policies(y), **self.designer}
        episodes = rollout(self.game, everyone, worlds=self.ascent.worlds, seed=self.ascent.seed)
        means = {}
        for role in self.game.roles:
            for i, player in enumerate(role.players):
                if player in self.fixed:
                    means[player] = episodes.returns[role.name][:, i].mean()
        return means

    def slopes(self, y: Any) -> Any:
        """Return each place's derivative of its owner's own reward, with the graph that made it."""
        torch = self.torch
        parts = list(torch.zeros(len(self.places), dtype=torch.float64))
        for player, mean in self.rewards(y).items():
            if not mean.requires_grad:
                continue
            (slope,) = torch.autograd.grad(mean, y, create_graph=True, allow_unused=True)
            if slope is not None:
                parts = [
                    slope[i] if p.player == player else part
                    for i, (p, part) in enumerate(zip(self.places, parts, strict=True))
                ]
        return torch.stack(parts)

    def conditions(self, y: Any, *, follow: bool = False) -> tuple[Any, Any, Any]:
        """Return own derivatives, the matrix of their derivatives by y, and which places are free (not held at a bound).

        With ``follow`` the own derivatives keep the graph to what the game is made of.
        """
        torch = self.torch
        y = y.detach().clone().requires_grad_()
        slopes = self.slopes(y)
        rows = []
        for slope in slopes:
            (row,) = (
                torch.autograd.grad(slope, y, retain_graph=True, allow_unused=True) if slope.requires_grad else (None,)
            )
            rows.append(torch.zeros_like(y) if row is None else row.detach())
        value, matrix = slopes.detach(), torch.stack(rows)
        held = ((y <= self.low) & (value <= 0.0)) | ((y >= self.high) & (value >= 0.0))
        return (slopes if follow else value), matrix, ~held.detach()

    def settled(self) -> Any:
        """Return acts at which all own first-order conditions hold, and own second derivatives are not positive."""
        torch, y, ascent = self.torch, self.first.clone(), self.ascent
        for _ in range(ascent.steps):
            value, matrix, free = self.conditions(y)
            if not bool((value != 0.0).any()) and not bool((matrix != 0.0).any()):
                names = ", ".join(sorted({f"{p.field.name} of {p.player}" for p in self.places}))
                raise NotSmooth(f"Ascent: own rewards do not change smoothly with {names}; use BestReply")
            if not bool((abs(value * self.span)[free] > ascent.tolerance).any()):
                own = torch.diagonal(matrix)[free]
                if bool((own > 0.0).any()):
                    raise NotSmooth(
                        "Ascent: the acts found are a lowest point of somebody's own reward; start elsewhere"
                    )
                return y
            step = ascent.rate * value
            block = matrix[free][:, free]
            if bool((torch.diagonal(block) < 0.0).all()) and bool(torch.linalg.matrix_rank(block) == len(block)):
                step = torch.zeros_like(y)
                step[free] = -torch.linalg.solve(block, value[free])
            y = torch.minimum(torch.maximum(y + step, self.low), self.high)
        raise RuntimeError(
            f"Ascent: own first-order conditions do not hold after {ascent.steps} steps; own slopes {value.tolist()}"
        )

    def unrolled(self, *, follow: bool) -> Any:
        """Return the last of some steps of gradient ascent, with the graph of all of them if it is to be followed."""
        torch = self.torch
        y = self.first.clone().requires_grad_()
        for _ in range(self.ascent.unrolled):
            y = torch.minimum(torch.maximum(y + self.ascent.rate * self.slopes(y), self.low), self.high)
            if not follow:
                y = y.detach().requires_grad_()
        return y


# ---- the designer climbs ----------------------------------------------------------------------------------------------


class _Smooth:
    """The objective of a point and its gradient, through the game and the responses to it."""

    def __init__(self, task: Task, family: Family, objective: Objective) -> None:
        import torch

        self.torch, self.task, self.family, self.measure = torch, task, family, measured(objective)

    def value(self, x: Point, *, graph: bool) -> tuple[Any, Any]:
        """Return the objective, (worlds,) or one number, and the tensors of the parameters, in order."""
        torch, names = self.torch, self.task.space.names
        leaves = [torch.tensor(x[name], dtype=torch.float64, requires_grad=graph) for name in names]
        tensors = dict(zip(names, leaves, strict=True))
        try:
            with torch.set_grad_enabled(True):  # those who climb need derivatives even where the designer does not
                game = self.family.smooth(x, tensors) if graph else self.family(x)
                respond, fixed = self.task.respond, committed(tensors if graph else x, self.task.designer)
                if graph and isinstance(respond, Ascent):
                    policies = {**respond.follow(game, fixed), **fixed}
                else:
                    policies = cast(game, respond, fixed)
                found = self.measure(rollout(game, policies, worlds=self.task.worlds, seed=self.task.seed))
        except (RuntimeError, TypeError) as error:
            if graph and ("requires grad" in str(error) or "numpy" in str(error).lower()):
                raise NotSmooth(
                    f"gradient: {self.family.game.name} or what is played in it leaves torch ({error}); use search"
                ) from error
            raise
        return (found if isinstance(found, torch.Tensor) else torch.as_tensor(found, dtype=torch.float64)), leaves

    def mean(self, x: Point) -> float:
        """Return the mean of the objective."""
        return float(self.value(x, graph=False)[0].detach().mean())

    def slope(self, x: Point) -> tuple[Trial, Any]:
        """Return the trial of a point and the gradient, in objective per range of each parameter."""
        torch, parts = self.torch, self.task.space.dimensions
        found, leaves = self.value(x, graph=True)
        values = found.detach().numpy()
        trial = Trial(dict(x), (float(values.mean()),), (standard_error(values),))
        grads: tuple[Any, ...] = (None,) * len(leaves)
        if found.requires_grad:
            grads = torch.autograd.grad(found.mean(), leaves, allow_unused=True)
        slopes = [0.0 if g is None else float(g) * (p.high - p.low) for g, p in zip(grads, parts, strict=True)]
        return trial, np.asarray(slopes)

    def differences(self, x: Point, step: float) -> Any:
        """Return differences of the objective over steps of a share of each range, in objective per range."""
        shares, found = np.asarray(self.task.space.shares(x)), []
        for i in range(len(shares)):
            ends = shares.copy(), shares.copy()
            ends[0][i], ends[1][i] = min(shares[i] + step, 1.0), max(shares[i] - step, 0.0)
            high, low = (self.mean(self.task.space.point(end)) for end in ends)
            found.append((high - low) / (ends[0][i] - ends[1][i]))
        return np.asarray(found)


def gradient(
    game: Game | Family,
    over: Mapping[str, Any] | None = None,
    *,
    respond: Respond | Ascent = None,
    designer: Designer | None = None,
    objective: Objective = "welfare",
    goal: str = "max",
    start: Point | None = None,
    worlds: int = 1024,
    seed: int = 0,
    budget: int = 100,
    watch: Watch | None = None,
) -> Design:
    """Climb to the best real parameters of a mechanism, of a game or of what a role commits to, by exact gradients.

    Whole episodes are played in torch, in double precision and always in the same worlds, with tensors in the place of the
    parameters; the objective's derivative is taken through rules and responses, and L-BFGS-B (Byrd et al. 1995,
    doi:10.1137/0916069) climbs within the ranges. It finds the top of the hill on which it starts.

    This is right only where every world's objective is a continuous function of the parameters. A price that is just missed,
    an offer just refused or a vote just lost changes outcomes by jumps that have no derivative, and the mean of derivatives
    is then not the derivative of the mean. Derivatives are therefore checked against differences, small and large, where it
    starts and where it ends, and ``NotSmooth`` is raised where they do not agree; a jump between the two remains unseen.
    Parameters that a game turns into plain numbers (tables, powers taken by ``math``, ``if``) are not followed either: the
    same check finds it.

    Parameters
    ----------
    game
        What ``vary`` returns; or a game, of which then only the designer's acts are found.
    over
        {name: (low, high)}, real numbers; what ``vary`` was given need not be repeated.
    respond
        ``Ascent``; or policies, a function from the game to policies or ``"equilibrium"``, which must be written in array
        operations (``Callable(..., batched=True)``), so that gradients flow.
    designer
        {role: function from parameters to its acts, or to a policy}; the parameters are tensors there.
    objective, goal, worlds, seed, watch
        As for ``search``; a function of episodes gets tensors.
    start
        Where it starts; elsewhere the middle of the ranges.
    budget
        Most gradients.

    Raises
    ------
    NotSmooth
        If the gradient is zero where it starts, or is not that of the mean.
    """
    from scipy.optimize import minimize

    if not isinstance(game, Game | Family):
        raise TypeError(
            "game: a game, or what vary() returns, so that tensors can be put in after validation; a function of parameters "
            f"cannot be followed, got {game!r}"
        )
    validate.one_of("goal", goal, GOALS)
    family = game if isinstance(game, Family) else Family(game, None, {})
    task = Task(
        family, over, respond, designer, [(objective, goal)], worlds=worlds, seed=seed, budget=budget, watch=watch
    )
    space = task.space
    if not space.reals:
        raise ValueError("over: real numbers, (low, high) each; for whole numbers and choices use search")
    smooth, sign = _Smooth(task, family, objective), float(task.signs[0])
    first = space.started(start)
    trial, slopes = smooth.slope(first)
    steep = _checked(smooth, first, slopes, 0.0)
    if not slopes.any():
        raise NotSmooth(
            f"gradient: the objective does not change with {', '.join(space.names)} at the start {first}: start elsewhere, or use "
            "search"
        )
    scale = max(1e-12, abs(trial.values[0]), steep)

    def score(shares: Any) -> tuple[float, Any]:
        x = space.point(shares)
        found, slope = smooth.slope(x)
        task.history.append(found)
        if task.watch is not None:
            task.watch(len(task.history), task.budget)
        return sign * found.values[0] / scale, sign * slope / scale

    edge = 1e-9  # within the ranges: at its null value a mechanism is the game itself, and has no derivative
    bounds = [(edge, 1.0 - edge)] * len(space.names)
    x0 = np.clip(space.shares(first), edge, 1.0 - edge)
    options = {"maxfun": budget, "maxiter": budget, "ftol": 1e-15, "gtol": 1e-9}
    minimize(score, x0, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    best = task.best()
    _checked(smooth, best.parameters, smooth.slope(best.parameters)[1], steep)
    return task.design(best, f"L-BFGS-B on gradients through the game (torch), {len(task.history)} gradients")


def _checked(smooth: _Smooth, x: Point, slopes: Any, steep: float) -> float:
    """Raise NotSmooth where a gradient is not that of the mean; return the size of the largest difference."""
    small, large = smooth.differences(x, STEP), smooth.differences(x, 100.0 * STEP)
    steep = max(steep, float(np.abs(small).max()), float(np.abs(large).max()))
    for name, slope, near, far in zip(smooth.task.space.names, slopes, small, large, strict=True):
        room = SLACK * max(abs(near), abs(far), 0.2 * steep) + 1e-9
        if abs(slope - near) > room or abs(slope - far) > 2.0 * room:
            raise NotSmooth(
                f"gradient: at {name} = {x[name]:g} the derivative along the episodes is {slope:.6g} a range, but the objective "
                f"changes by {near:.6g} over small steps and {far:.6g} over large ones: it has a jump or a kink, or the game does "
                "not follow the parameter; use search"
            )
    return steep
