"""Evolution of language models towards several ends: siblings are crossed, fine-tuned, and the best compromises kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...envs.core import validate
from ...envs.core.episodes import Episodes, play
from ..llm.policy import LanguageModel
from .evolve import Table, Weights, evolve, least, undominated, welfare
from .stable import Societies, Society, finish, prepare

if TYPE_CHECKING:
    from ...envs.core.game import Game, Outcome

OBJECTIVES = ("welfare", "least")
"""Ends by name: what all get together, and what the worst-off gets times the number of players.

Both are scored as ``alignment`` is, 0 at the game's baseline and 1 at its first best, so that games of all sizes count alike.
Equality is none of them, as a Gini coefficient of returns below 0 says nothing.
"""


def scored(episodes: Episodes, role: str) -> Table:
    """Return what each episode scores in all objectives, (objectives, worlds), for the players of a role."""
    worst = least(role)(episodes) * episodes.returns[role].shape[-1]
    return np.stack([episodes.game.benchmarks().alignment(values) for values in (welfare(episodes), worst)])


def credit(game: Game, role: str, seats: int, towards: Table) -> Callable[[Outcome], Table]:
    """Return a credit for one play: what a step adds to the objectives, weighed by ``towards``, the same for all seats.

    What is credited from a step on sums to the objective of the whole episode less what it was before, which no
    later decision can change.
    """
    sums: dict[str, Any] = {"returns": 0.0, "welfare": 0.0, "score": None}

    def added(outcome: Outcome) -> Table:
        paid = np.asarray(outcome.rewards[role], dtype=float)
        if sums["score"] is None:
            sums["score"] = towards @ _so_far(game, role, np.zeros_like(paid), np.zeros(len(paid)))
        sums["returns"] = sums["returns"] + paid
        sums["welfare"] = sums["welfare"] + np.asarray(outcome.welfare, dtype=float)
        before, sums["score"] = sums["score"], towards @ _so_far(game, role, sums["returns"], sums["welfare"])
        return np.repeat((sums["score"] - before)[:, None], seats, axis=1)

    return added


def _so_far(game: Game, role: str, returns: Table, created: Table) -> Table:
    return scored(Episodes(game, {role: returns}, created, np.zeros(len(created), dtype=int), {}, []), role)


def fit(
    base: LanguageModel,
    society: Societies,
    budget: int,
    seed: int,
    *,
    sessions: int = 16,
    objective: str = "welfare",
    population: int = 2,
    updates: int = 6,
    judged: int = 8,
    places: int = 12,
    rule: str = "nsga2",
) -> LanguageModel:
    """Evolve copies of a language model towards welfare and the worst-off (Zhang et al. 2024, arXiv:2411.14500).

    The algorithm is ``evolve``: a child is a convex mix of the weights of two members, which then learns towards one
    objective, drawn at random, by group-relative policy gradients (``Training``); of parents and children pymoo's operator
    keeps the survivors. One optimiser, whose moments all share, as siblings are close, updates them in turn. Members are
    judged on the same worlds of the same societies, by the mean of what they score there, -1 at least. A lineage gets but a
    part of the updates, so that few members go further than many; the defaults were chosen on seed 1.

    Parameters
    ----------
    base
        Policy to start from; its ``training`` gives rate, group, returns, discount, norm and lora.
    society
        Where; learned in several by turns.
    budget
        Updates of all members together. The rate falls to 0 over them.
    seed
        Of all chance.
    sessions
        Worlds of an update, a multiple of ``base.training.group``.
    objective
        Which member of the front is returned: the best in it.
    population
        Members, fewer where the budget is less than one round of updates, but at least 2.
    updates
        Of a child, about: the budget is dealt evenly to all that are varied.
    judged, places
        Worlds on which members are judged, in each of so many societies, drawn at random; nothing is learned from these plays.
    rule
        Who survives: ``"nsga2"`` or ``"sms-emoa"``.

    Returns
    -------
    LanguageModel
        With ``curve``, the score in the objective of the base, and the best of what was new in each generation; and in
        ``learned`` the ``front``: rows {objective: score} of the members that none beats in both, with ``returned``;
        ``volume``, the hypervolume above the worst of the first members after each generation; and ``plays``, the episodes of
        learning and of judging.
    """
    validate.whole("budget", budget, 1, 1_000_000_000)
    validate.one_of("objective", objective, OBJECTIVES)
    validate.whole("updates", updates, 1, 1_000_000)
    validate.whole("judged", judged, 1, 1_000_000)
    validate.whole("places", places, 1, 1_000_000)
    population = max(2, min(validate.whole("population", population, 2, 10_000), budget // updates))
    generations = max(1, budget // (population * updates))  # with the first, in which there are no parents yet
    learner = prepare(base, society, sessions, seed)
    everywhere = [society] if isinstance(society, Society) else list(society)
    order = np.random.default_rng([seed, 23]).permutation(len(everywhere))
    court = [everywhere[i] for i in order[:places]]
    model = learner.scorer.model
    wanted = OBJECTIVES.index(objective)
    varied = used = played = 0
    curve: list[float] = []

    def kept() -> dict[str, Any]:
        return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}

    def load(member: Weights) -> None:
        model.load_state_dict(member, strict=False)
        learner.scorer.forget()

    def vary(members: Sequence[Weights], towards: Table, _: int) -> list[dict[str, Any]]:
        nonlocal varied, used
        found = []
        for member, weights in zip(members, towards, strict=True):
            load(member)
            varied += 1
            while used < math.ceil(varied * budget / (population * generations)):
                learner.move()
                learner.credit = credit(learner.game, learner.player.role.name, len(learner.seats), weights)
                learner.reinforce(1.0 - used / budget)
                used += 1
            found.append(kept())
        return found

    def score(members: Sequence[Weights]) -> Table:
        nonlocal played
        policy, found = copy.copy(base), []
        policy.model = learner.scorer
        for member in members:
            load(member)
            rows = []
            for one in court:
                role = next(r.name for r in one.game.roles if one.role in (r.name, *r.players))
                seen = play(one.game, {**one.others, one.role: policy}, worlds=judged, seed=seed)
                rows.append(np.maximum(scored(seen, role).mean(axis=1), -1.0))  # so that none outweighs all others
            played += judged * len(court)
            found.append(np.mean(rows, axis=0))
        curve.append(float(max(row[wanted] for row in found)))
        return np.stack(found)

    given: dict[str, Any] = {"population": population, "generations": generations - 1, "seed": seed, "rule": rule}
    members, scores, course = evolve(kept(), score=score, vary=vary, **given)
    front = undominated(scores)
    best = max(front, key=lambda row: float(scores[row, wanted]))
    load(members[best])
    rows = [dict(zip(OBJECTIVES, scores[row].tolist(), strict=True)) | {"returned": row == best} for row in front]
    return finish(
        base, learner, society, sessions, seed, curve, method="evolved", objective=objective, front=rows,
        volume=[row["volume"] for row in course], plays={"learning": used * sessions, "judging": played},
    )  # fmt: skip
