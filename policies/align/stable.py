"""Stable Alignment: answers that others have rated, the best imitated and the rest kept away from it by what they lack."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from ...envs.core import validate
from ...envs.core.policy import Policy
from ..llm.policy import Decision, LanguageModel
from ..llm.train.adapters import described
from ..llm.train.learning import _Job, _Learner, _versions
from ..llm.train.training import returns, shuffled

if TYPE_CHECKING:
    from ...envs.core.game import Game

Model = TypeVar("Model", bound=LanguageModel)

MARGINS = ("rated", "reference")
HINGES = ("each", "mean", "max")


class Society(NamedTuple):
    """Where a policy is aligned: a game, the role or player that it plays, and the policies of the others."""

    game: Game
    role: str
    others: Mapping[str, Policy] = {}


Societies = Society | Sequence[Society]
"""One society, or several, in which a policy is aligned by turns."""


class _Travelling(_Learner):
    """A learner that plays in one society after the other, in an order that is drawn anew each time round."""

    PLACE = ("game", "player", "seats", "cast", "worlds", "credit", "teacher")

    def __init__(self, learners: Sequence[_Learner]) -> None:
        self.__dict__.update(learners[0].__dict__)
        self.stops = [{name: vars(learner)[name] for name in self.PLACE} for learner in learners]
        for stop in self.stops:
            stop["player"].model = self.scorer
        self.ahead: list[int] = []

    def move(self) -> None:
        """Go on."""
        if not self.ahead:
            self.ahead = self.rng.permutation(len(self.stops)).tolist()
        self.__dict__.update(self.stops[self.ahead.pop()])


# ---- the loss -----------------------------------------------------------------------------------------------------


def gaps(
    logs: Any, ratings: Any, *, strength: float = 10.0, scale: float = 7.0, margin: str = "rated"
) -> tuple[Any, Any]:
    """Return the index of the best answer, and l_best - l_i + m_i of all others (answers - 1,), before the hinge.

    l = -log-probability, and m_i = strength (r_best - r_i) / scale. Of several best answers the likeliest is taken, so
    that the order of answers never counts. The parameters are those of ``loss``.
    """
    import torch

    validate.one_of("margin", margin, MARGINS)
    validate.real("strength", strength, 0.0, 1e6)
    validate.real("scale", scale, 1e-9, 1e9)
    if logs.ndim != 1 or logs.shape != ratings.shape or not len(logs):
        raise ValueError(
            f"ratings: one for each of at least 1 answer, shape {tuple(logs.shape)}, got {tuple(ratings.shape)}; "
            "give logs and ratings of the shape (answers,)"
        )
    if not bool(torch.isfinite(ratings).all()):
        raise ValueError(f"ratings: finite numbers, got {ratings.tolist()}; leave out answers that nobody rated")
    top = ratings.max()
    best = int(torch.where(ratings == top, logs.detach(), -torch.inf).argmax())
    others = torch.arange(len(logs), device=logs.device) != best
    rated = ratings if margin == "rated" else ratings.sort(descending=True).values
    return best, (logs - logs[best])[others] + strength * (top - rated[others]) / scale


def loss(
    logs: Any,
    ratings: Any,
    *,
    strength: float = 10.0,
    ratio: float = 0.2,
    scale: float = 7.0,
    margin: str = "rated",
    hinge: str = "each",
) -> Any:
    """Return the contrastive preference loss of one prompt's rated answers, a scalar tensor.

    L = l_best + ratio mean_{i != best} max(0, l_best - l_i + m_i),   m_i = strength (r_best - r_i) / scale

    with l_i = -logs_i: the best answer is imitated, and a worse one is pushed away until it is less likely by a margin
    that grows with what it lacks. From Liu et al. 2023, "Training Socially Aligned Language Models in Simulated Human
    Society" (arXiv:2305.16960), and its code (agi-templar/Stable-Alignment, ``stable_alignment/alignment.py``). An answer
    alone is imitated.

    Parameters
    ----------
    logs
        Natural log-probabilities of answers (answers,); the code takes means over tokens.
    ratings
        Ratings of the same answers (answers,); only differences count.
    strength
        M, the margin of a full scale, in natural logarithms; the code's recipe takes 10. Where it is small, no
        worse answer is within its margin, and the loss is imitation of the best.
    ratio
        Weight of the contrast; the recipe takes 0.2.
    scale
        Range of ratings, 7 for a scale from 1 to 7.
    margin
        ``"rated"``: by the answer's own rating. ``"reference"``: as the published code does, which looks up the
        place i of an answer in the list of *sorted* ratings; so it is the same only for answers that come sorted.
    hinge
        ``"each"`` answer; ``"mean"``: max(0, mean_i(...)), the published code; ``"max"``: max(0, max_i(...)), its option.

    Raises
    ------
    ValueError
        If shapes differ, a rating is not finite, or a parameter is out of range.
    """
    validate.one_of("hinge", hinge, HINGES)
    validate.real("ratio", ratio, 0.0, 1e6)
    best, apart = gaps(logs, ratings, strength=strength, scale=scale, margin=margin)
    if not len(apart):
        return -logs[best]
    each = apart.clamp(min=0.0)
    contrast = {"each": each.mean, "mean": lambda: apart.mean().clamp(min=0.0), "max": each.max}[hinge]()
    return -logs[best] + ratio * contrast


# ---- in a society -------------------------------------------------------------------------------------------------


def prepare(base: LanguageModel, society: Societies, sessions: int, seed: int) -> _Learner:
    """Return a copy of the model in training among the others, with samples of each world in groups."""
    everywhere = [society] if isinstance(society, Society) else list(society)
    if not everywhere:
        raise ValueError("society: at least one, got none")
    validate.whole("sessions", sessions, 2, 1_000_000)
    if base.temperature == 0.0:
        raise ValueError("temperature: above 0 to sample several answers, got 0; give the base a temperature of 1")
    if sessions % base.training.group:
        raise ValueError(f"sessions: a multiple of training.group ({base.training.group}), got {sessions}")
    sampler = copy.copy(base)
    sampler.training = dataclasses.replace(base.training, method="grpo", kl=0.0)
    learners = [_Learner(sampler, one.game, one.role, sessions, seed, one.others) for one in everywhere]
    learner = learners[0] if len(learners) == 1 else _Travelling(learners)
    learner.begin()
    return learner


def finish(
    base: Model, learner: _Learner, society: Societies, sessions: int, seed: int, curve: list[float], **more: Any
) -> Model:
    """Return the base with what was learned; ``save`` keeps it."""
    aligned = copy.copy(base)
    aligned.model, aligned.adapter, aligned.trace, aligned.curve = learner.scorer, None, None, curve
    everywhere = [society] if isinstance(society, Society) else list(society)
    aligned.learned = {  # type: ignore[attr-defined]
        "base": described(base.model),
        "game": "; ".join(one.game.name for one in everywhere),
        "role": "; ".join(dict.fromkeys(one.role for one in everywhere)),
        "rules": everywhere[0].game.rules(learner.player.role.name) if len(everywhere) == 1 else "",
        "seed": seed,
        "sessions": sessions,
        "versions": _versions(),
        **more,
    }
    return aligned


def mean_ratings(rows: Sequence[tuple[Decision, float]]) -> tuple[list[int], list[float]]:
    """Return the distinct answers among samples of one prompt, in order of options, and the mean rating of each."""
    found: dict[int, list[float]] = {}
    for decision, rating in rows:
        found.setdefault(decision.pick, []).append(rating)
    picks = sorted(found)
    return picks, [float(np.mean(found[pick])) for pick in picks]


def rated_play(learner: _Learner, mixed: bool) -> tuple[list[tuple[Decision, float]], float]:
    """Play an episode; return each answer with its return, as ``training`` counts returns, and their mean.

    ``mixed`` permutes returns among samples at random: the control.
    """
    learner.move()
    training, played = learner.training, learner.play()
    values = returns(played.paid, training.discount, training.returns == "episode")
    if mixed:
        values = shuffled(values, learner.rng)
    rows = [(d, float(values[(step, *d.place[0], d.place[1])])) for step, d in played.decisions]
    return rows, float(played.paid.sum(axis=0).mean())


def fit(
    base: Model,
    society: Societies,
    budget: int,
    seed: int,
    *,
    sessions: int = 64,
    strength: float = 10.0,
    ratio: float = 0.2,
    margin: str = "rated",
    hinge: str = "each",
    mixed: bool = False,
) -> Model:
    """Align a language model in a society by Stable Alignment; return the aligned policy.

    In each update all worlds are played once. What was sampled on the same prompt are answers to it, and the rating of
    an answer is the mean of what followed, counted as ``base.training.credit`` says: ``"own"`` gain, ``"all"`` for
    welfare. Ratings are scaled by their range in the play. A prompt with one answer, or with equals only, teaches
    nothing. The log-probability of an answer is that among the legal ones, at the temperature of play.

    Parameters
    ----------
    base
        Policy to start from; its ``training`` gives rate, group, credit, returns, discount, norm and lora.
    society
        Where; in several societies by turns.
    budget
        Updates.
    seed
        Of all chance.
    sessions
        Worlds that are played at once, a multiple of ``base.training.group``.
    strength, ratio, margin, hinge
        Of ``loss``.
    mixed
        Whether ratings are permuted among samples: the control, which can learn nothing from them. It drifts to what
        chance rates best, mostly acts that were sampled seldom, so judge it by the mean over seeds.

    Returns
    -------
    LanguageModel
        With ``curve``, the mean return of a seat in each update, and ``learned["active"]``, the part of worse answers
        within their margin in each update; where it is 0 the method is imitation of the best.
    """
    import torch

    validate.whole("budget", budget, 1, 1_000_000_000)
    alone = torch.zeros(1)
    loss(alone, alone, strength=strength, ratio=ratio, margin=margin, hinge=hinge)  # says now what is wrong
    learner = prepare(base, society, sessions, seed)
    curve, active = [], []
    for update in range(budget):
        rows, mean = rated_play(learner, mixed)
        curve.append(mean)
        by_prompt: dict[Any, list[tuple[Decision, float]]] = {}
        for row in rows:
            by_prompt.setdefault((row[0].chat, row[0].options), []).append(row)
        rows = [row for group in by_prompt.values() if len(set(mean_ratings(group)[1])) > 1 for row in group]
        spread = [rating for _, rating in rows] or [0.0]
        scale = max(max(spread) - min(spread), 1e-9)
        within: list[float] = []

        def merit(
            job: _Job, group: Sequence[tuple[Decision, float]], scale: float = scale, within: list[float] = within
        ) -> Any:
            logs = torch.log_softmax(job.scores / learner.temperature, dim=-1)
            picks, means = mean_ratings(group)
            ratings = torch.tensor(means, dtype=logs.dtype, device=logs.device)
            _, apart = gaps(logs[picks], ratings, strength=strength, scale=scale, margin=margin)
            within += (apart > 0).tolist()
            given = {"strength": strength, "ratio": ratio, "scale": scale}
            return -loss(logs[picks], ratings, margin=margin, hinge=hinge, **given) * len(group)

        learner._step(rows, learner.training.rate * (1.0 - update / budget), merit)
        active.append(float(np.mean(within)) if within else 0.0)
    return finish(base, learner, society, sessions, seed, curve, method="stable", active=active)
