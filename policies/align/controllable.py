"""Controllable preference optimisation: a policy that is told, in tokens, how much of each objective is wanted."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...envs.core import measures, validate
from ..llm.policy import Decision, LanguageModel
from ..llm.train.adapters import card
from ..llm.train.learning import _Job, _Learner
from ..llm.train.training import returns
from .stable import Societies, finish, mean_ratings, prepare

if TYPE_CHECKING:
    from ...envs.core.game import Game, Outcome

OBJECTIVES = ("own", "others", "equality")
"""What can be asked for: own profit, the sum of everyone else's, and 1 - Gini of all payoffs."""


# ---- control tokens -----------------------------------------------------------------------------------------------


def tokens(request: Mapping[str, int]) -> str:
    """Return control tokens, ``"<own: 3> <equality: 0>"``, in the order of ``OBJECTIVES``; those left out are free.

    Raises
    ------
    ValueError
        If an objective is unknown or a level is no whole number from 0.
    """
    for name, level in request.items():
        validate.one_of("request", name, OBJECTIVES)
        validate.whole(f"request.{name}", level, 0, 1_000)
    return " ".join(f"<{name}: {request[name]}>" for name in OBJECTIVES if name in request)


class Controllable(LanguageModel):
    """A language model whose prompts end with control tokens; ``fit`` makes one, ``asked`` gives it a request.

    What ``save`` wrote plays again with ``Controllable(model, adapter=folder)``; the card keeps what levels mean.

    Parameters
    ----------
    model
        As for ``LanguageModel``.
    request
        Levels by objective, as ``asked`` takes them.
    others
        Of ``LanguageModel``.
    """

    request: Mapping[str, int]

    def __init__(self, model: Any = "smollm2", *, request: Mapping[str, int] | None = None, **others: Any) -> None:
        super().__init__(model, **others)
        self.request = {} if request is None else self.asked(**request).request

    @property
    def _about(self) -> Mapping[str, Any]:
        about: Mapping[str, Any] = getattr(self, "learned", None) or (
            card(self.adapter) if self.adapter is not None else {}
        )
        if "range" not in about:
            raise RuntimeError(
                "Controllable: no requests were learned; call fit, or give an adapter that it saved (its card has a range)"
            )
        return about

    @property
    def controls(self) -> tuple[str, ...]:
        """What it can be asked for."""
        return tuple(self._about["controls"])

    @property
    def scale(self) -> Scale:
        """What levels mean at the first step of each society in which it learned: ``low`` and ``high`` are (societies, 3).

        Raises
        ------
        RuntimeError
            If it has learned no requests, or was given an adapter that was not taught any.
        """
        about = self._about
        span = np.stack([np.asarray(about["range"][name], dtype=float) for name in OBJECTIVES], axis=1)
        return Scale(span[..., 0], span[..., 1], int(about["levels"]))

    def _user(self, place: tuple[tuple[int, ...], int], own: dict[str, Any], number: int, state: Any) -> str:
        return told(super()._user(place, own, number, state), self.request)

    def asked(self, **request: int) -> Self:
        """Return the policy with a request, ``asked(own=4, equality=0)``; without one it is free.

        Raises
        ------
        ValueError
            If an objective or a level is none that it was trained on.
        """
        _askable(request, self.controls, self.scale.levels)
        policy = copy.copy(self)
        policy.request = dict(request)
        return policy


def _askable(request: Mapping[str, int], controls: Sequence[str], levels: int) -> None:
    """Refuse a request that nobody was taught."""
    for name, level in request.items():
        validate.one_of("request", name, tuple(controls))
        validate.whole(f"request.{name}", level, 0, levels - 1)


def told(user: str, request: Mapping[str, int]) -> str:
    """Return a user's message with control tokens on a line of their own at its end."""
    return f"{user}\n{tokens(request)}" if request else user


# ---- values and loss ----------------------------------------------------------------------------------------------


def value(
    levels: ArrayLike,
    request: Mapping[str, float],
    *,
    weights: Mapping[str, float] | None = None,
    penalty: float = 1.0,
) -> NDArray[np.float64]:
    """Return the multi-objective value of answers under a request.

    R(y | c) = sum_i w_i g_i,   g_i = -penalty |P_i - p_i| where objective i is requested at level P_i, else g_i = p_i

    From Guo et al. 2024, "Controllable Preference Optimization" (EMNLP; code OpenBMB/CPO). An exact match has g_i = 0.

    Parameters
    ----------
    levels
        p, what answers reach, (..., 3) in the order of ``OBJECTIVES``.
    request
        P by name; others are free, and more of them is better.
    weights
        w by name, 1 for those left out.
    penalty
        lambda, the cost of a level off.

    Returns
    -------
    array
        (...).
    """
    reached = np.asarray(levels, dtype=float)
    if reached.shape[-1:] != (len(OBJECTIVES),):
        raise ValueError(f"levels: {len(OBJECTIVES)} on the last axis ({', '.join(OBJECTIVES)}), got {reached.shape}")
    validate.real("penalty", penalty, 0.0, 1e6)
    for given in (request, weights or {}):
        for name in given:
            validate.one_of("objective", name, OBJECTIVES)
    total = np.zeros(reached.shape[:-1])
    for i, name in enumerate(OBJECTIVES):
        part = -penalty * np.abs(request[name] - reached[..., i]) if name in request else reached[..., i]
        total = total + (weights or {}).get(name, 1.0) * part
    return np.asarray(total)


def supervised(logs: Any) -> Any:
    """Return -mean log pi(y | x, c) of answers (answers,) under the tokens of what each of them reached; a scalar."""
    return -logs.mean()


def preference(logs: Any, before: Any, values: Any, beta: float = 0.1) -> Any:
    """Return the preference loss of one prompt with its request, a scalar tensor.

    L = -mean over pairs with R_w > R_l of log sigmoid(beta log(pi/ref)(y_w | x, c) - beta log(pi/ref)(y_l | x, c))

    It is DPO (Rafailov et al. 2023, arXiv:2305.18290, equation 7) on pairs that the request orders (Guo et al. 2024).

    Parameters
    ----------
    logs, before
        Log-probabilities (answers,), now and under the reference, which stays.
    values
        R (answers,) by ``value``; equals make no pair, and without a pair the loss is 0.
    beta
        How strongly the policy is held to the reference.
    """
    import torch

    validate.real("beta", beta, 0.0, 1e6)
    if not logs.shape == before.shape == values.shape or logs.ndim != 1:
        raise ValueError(
            "logs, before, values: one shape (answers,), got "
            f"{tuple(logs.shape)}, {tuple(before.shape)} and {tuple(values.shape)}"
        )
    better, worse = torch.nonzero(values[:, None] > values[None, :], as_tuple=True)
    if not len(better):
        return logs.sum() * 0.0
    gain = beta * (logs - before)
    return -torch.nn.functional.logsigmoid(gain[better] - gain[worse]).mean()


# ---- in a society -------------------------------------------------------------------------------------------------


class Scale(NamedTuple):
    """How objectives become levels: evenly spaced from ``low`` to ``high``, (..., 3) each, as seen in the base's play."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    levels: int

    def __call__(self, objectives: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the nearest levels 0, ..., levels - 1 of objectives (..., 3); 0 where the base reached one value only."""
        return np.clip(np.rint(self.exact(objectives)), 0, self.levels - 1).astype(np.int64)

    def exact(self, objectives: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where objectives (..., 3) are between levels, and how far below 0 or above the highest."""
        span = self.high - self.low
        return np.asarray((objectives - self.low) / np.where(span > 0, span, 1.0) * (self.levels - 1))


def reached_by(paid: NDArray[np.float64], seats: Sequence[int], levels: int = 5) -> Scale:
    """Return the scale from the least to the most that seats reached in episodes, of payoffs (worlds, players)."""
    found = objectives(paid, seats)
    return Scale(found.min(axis=(0, 1)), found.max(axis=(0, 1)), levels)


def objectives(paid: NDArray[np.float64], seats: Sequence[int]) -> NDArray[np.float64]:
    """Return own profit, the others' together and equality (..., seats, 3) of payoffs (..., players).

    Equality is 1 - Gini of the payoffs of all, those below zero counted as zero.
    """
    own = paid[..., list(seats)]
    others = paid.sum(axis=-1, keepdims=True) - own
    equality = np.asarray(measures.equality(np.clip(paid, 0.0, None)))[..., None]
    return np.stack([own, others, np.broadcast_to(equality, own.shape)], axis=-1)


class _Payoffs:
    """Stands for the credit of a learner, and keeps what every player was paid at each step while its world lived."""

    def __init__(self, game: Game, role: str, seats: Sequence[int]) -> None:
        self.names = tuple(role.name for role in game.roles)
        before = sum(r.count for r in game.roles[: self.names.index(role)])
        self.seats = [before + seat for seat in seats]
        self.steps: list[NDArray[np.float64]] = []
        self.live: Any = True

    def __call__(self, outcome: Outcome) -> NDArray[np.float64]:
        paid = np.concatenate([np.asarray(outcome.rewards[name], dtype=float) for name in self.names], axis=1)
        self.steps.append(paid * np.broadcast_to(self.live, len(paid))[:, None])
        self.live = self.live & ~np.asarray(outcome.done)
        return paid[:, self.seats]


def collect(learner: _Learner, episodes: int) -> tuple[list[Decision], NDArray[np.float64], NDArray[np.int64]]:
    """Play so many episodes in each society; return what was decided and what followed.

    Returns
    -------
    tuple
        Decisions; the objectives (decisions, 3) that followed each, as ``training`` counts returns; and where each was made
        (decisions, 2), the number of the society and the step.
    """
    decisions, reached, where = [], [], []
    stops = [id(stop["worlds"]) for stop in getattr(learner, "stops", [vars(learner)])]
    for _ in range(episodes * len(stops)):
        learner.move()
        here = stops.index(id(learner.worlds))
        payoffs = learner.credit = _Payoffs(learner.game, learner.player.role.name, learner.seats)
        played = learner.play()
        training = learner.training
        worth = objectives(
            returns(np.asarray(payoffs.steps), training.discount, training.returns == "episode"), payoffs.seats
        )
        for step, decision in played.decisions:
            decisions.append(decision)
            reached.append(worth[(step, *decision.place[0], decision.place[1])])
            where.append((here, step))
    return decisions, np.asarray(reached), np.asarray(where, dtype=np.int64)


def fit(
    base: LanguageModel,
    society: Societies,
    budget: int,
    seed: int,
    *,
    sessions: int = 64,
    episodes: int = 4,
    levels: int = 5,
    batch: int = 64,
    share: float = 0.25,
    controls: Sequence[str] = OBJECTIVES,
    beta: float = 0.1,
    penalty: float = 4.0,
    mixed: bool = False,
    request: Mapping[str, int] | None = None,
) -> Controllable:
    """Make a language model controllable in a society; return the policy, which is free or asked for ``request``.

    The base plays some episodes. Levels are evenly spaced from the least to the most that it reached in the same society
    from the same step on, so that a token means as much early and late, in a poor game and in a rich one. Stage one,
    supervised: each answer is imitated, token by token, under the tokens of what it reached, of a random subset of
    objectives. Stage two, preference: prompts meet random requests for levels that some answer reached, and the answers that
    were sampled on a prompt are ordered by ``value``; the reference is the policy after stage one.

    Parameters
    ----------
    base
        Policy to start from; its ``training`` gives rate, group, returns, discount, norm and lora. Its sampled acts must
        reach several levels, as nothing else is learned from. Where rounds are alike, a discount of 0 says more of an act.
    society
        Where; in several societies by turns.
    budget
        Updates of both stages together.
    seed
        Of all chance.
    sessions, episodes
        Worlds that the base plays at once, a multiple of ``base.training.group``, and how often in each society.
    levels
        Levels of each objective.
    batch
        Decisions of an update; in stage two the distinct answers under as many requests as make that number.
    share
        Part of the updates that are stage two, from 0 to 1.
    controls
        Objectives that requests are about, and of which the policy can be asked. With several, a model must tell which number
        belongs to which: the substrate heeds the tokens of one after some forty updates of 64 decisions in one game, and not
        yet those of three after 168; a ``Tiny`` of one layer can take ``<own: 4> <others: 0>`` for ``<own: 0> <others: 4>``.
    beta, penalty
        Of ``preference`` and ``value``. Where more of what is free means less of what is asked for, the penalty must
        outweigh it, or requests are not kept.
    mixed
        Whether the levels that were reached are permuted among the answers: the control, whose tokens mean nothing.
    request
        Of the policy that is returned, levels by objective; None leaves it free. It changes nothing in the fit.

    Returns
    -------
    Controllable
        With ``scale``, what levels mean, which ``save`` keeps, and ``curve``, minus the mean loss of each update.
    """
    validate.whole("budget", budget, 1, 1_000_000_000)
    validate.whole("episodes", episodes, 1, 1_000_000)
    validate.whole("levels", levels, 2, 1_000)
    validate.whole("batch", batch, 1, 1_000_000)
    validate.real("share", share, 0.0, 1.0)
    for name in controls:
        validate.one_of("controls", name, OBJECTIVES)
    if not controls:
        raise ValueError(f"controls: at least one of {', '.join(OBJECTIVES)}, got none")
    _askable(request or {}, controls, levels)
    learner = prepare(base, society, sessions, seed)
    decisions, reached, where = collect(learner, episodes)
    if not decisions:
        raise ValueError("society: nobody decided anything; give more episodes")
    places, which = np.unique(where, axis=0, return_inverse=True)
    low, high = np.full((len(places), 3), np.inf), np.full((len(places), 3), -np.inf)
    np.minimum.at(low, which, reached)
    np.maximum.at(high, which, reached)
    marks = Scale(low[which], high[which], levels)(reached)
    if mixed:
        marks = learner.rng.permutation(marks)
    chances = balanced(marks[:, [OBJECTIVES.index(name) for name in controls]])
    by_prompt: dict[Any, list[int]] = {}
    for i, decision in enumerate(decisions):
        by_prompt.setdefault((decision.chat, decision.options), []).append(i)
    prompts = list(by_prompt.values())
    second = round(share * budget)
    rate, curve = learner.training.rate, []
    for update in range(budget - second):
        some = learner.rng.choice(len(decisions), batch, p=chances)
        rows = [(_said(_under(decisions[i], _request(marks[i], controls, learner.rng))), 0.0) for i in sorted(some)]
        curve.append(learner._step(rows, rate * (1.0 - update / budget), _imitated))
    if second:
        learner.reference = learner.scorer.frozen()
    for update in range(budget - second, budget):
        rows = []
        while len(rows) < batch:
            group = prompts[int(learner.rng.integers(len(prompts)))]
            request = _request(marks[group[int(learner.rng.integers(len(group)))]], controls, learner.rng)
            worth = value(marks[group], request, penalty=penalty)
            sampled = [(_under(decisions[i], request), float(w)) for i, w in zip(group, worth, strict=True)]
            picks, means = mean_ratings(sampled)
            rows += [(sampled[0][0]._replace(pick=pick), mean) for pick, mean in zip(picks, means, strict=True)]
        curve.append(learner._step(rows, rate * (1.0 - update / budget), _preferred(learner.temperature, beta)))
    _, first = np.unique(places[:, 0], return_index=True)  # the first step of each society
    span = {name: np.stack([low[first, i], high[first, i]], axis=1).tolist() for i, name in enumerate(OBJECTIVES)}
    aligned = Controllable.__new__(Controllable)
    kept = {"controls": list(controls), "range": span, "levels": levels}
    done = finish(base, learner, society, sessions, seed, curve, method="controllable", **kept)
    aligned.__dict__.update(done.__dict__)
    aligned.request = dict(request or {})
    return aligned


def load(folder: Path, base: LanguageModel, *, request: Mapping[str, int] | None = None) -> Controllable:
    """Return a base that plays with what was kept in a folder, asked; by default for the most of its first objective."""
    policy = Controllable.__new__(Controllable)
    policy.__dict__.update(base.__dict__)
    policy.adapter, policy.curve = folder, card(folder)["curve"]
    policy.request = {}
    return policy.asked(**({policy.controls[0]: policy.scale.levels - 1} if request is None else request))


def balanced(marks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return chances (decisions,) to be drawn that make each level that was reached as likely as any other.

    With several objectives, levels (decisions, objectives), the mean of the chances that each alone would give. Without
    it a model learns what the base does often and not what it was asked for.
    """
    found = np.zeros(len(marks))
    for levels in marks.T:
        _, which, counts = np.unique(levels, return_inverse=True, return_counts=True)
        found += 1.0 / (len(counts) * counts[which])
    return np.asarray(found / marks.shape[1])


def _request(marks: NDArray[np.int64], controls: Sequence[str], rng: np.random.Generator) -> dict[str, int]:
    """Return a request for a random part, never empty, of what was reached."""
    asked = rng.permutation(len(controls))[: int(rng.integers(1, len(controls) + 1))]
    return {controls[i]: int(marks[OBJECTIVES.index(controls[i])]) for i in asked}


def _under(decision: Decision, request: Mapping[str, int]) -> Decision:
    """Return a decision as it would be met under a request."""
    return decision._replace(chat=dataclasses.replace(decision.chat, user=told(decision.chat.user, request)))


def _said(decision: Decision) -> Decision:
    """Return a decision without what was not chosen: its probability is that of the tokens among all there are."""
    return decision._replace(options=(decision.options[decision.pick],), pick=0)


def _imitated(job: _Job, rows: Sequence[tuple[Decision, float]]) -> Any:
    return -supervised(job.scores) * len(rows)


def _preferred(temperature: float, beta: float) -> Callable[[_Job, Sequence[tuple[Decision, float]]], Any]:
    def merit(job: _Job, rows: Sequence[tuple[Decision, float]]) -> Any:
        import torch

        assert job.before is not None
        logs = torch.log_softmax(job.scores / temperature, dim=-1)
        start = torch.tensor(job.before / temperature, dtype=logs.dtype, device=logs.device)
        before = torch.log_softmax(start, dim=-1)
        picks, worth = mean_ratings(rows)
        values = torch.tensor(worth, dtype=torch.float64, device=logs.device)
        return -preference(logs[picks], before[picks], values, beta) * len(rows)

    return merit
