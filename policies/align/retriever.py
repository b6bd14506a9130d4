"""Alignment as the training of a retriever: ranked candidates, hard negatives, and a memory of rounds (LarPO)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...envs.core import validate
from ..llm.policy import Decision, LanguageModel
from ..llm.train.learning import _Job
from .stable import Societies, finish, prepare, rated_play

Model = TypeVar("Model", bound=LanguageModel)

NEGATIVES = ("worst", "hard", "random")


# ---- objectives ---------------------------------------------------------------------------------------------------


def gains(logs: Any, before: Any, beta: float = 0.1) -> Any:
    """Return g = beta (log pi - log pi_ref) of candidates (..., candidates), from tensors of the same shape."""
    validate.real("beta", beta, 0.0, 1e6)
    if logs.shape != before.shape:
        raise ValueError(f"before: of the shape of logs {tuple(logs.shape)}, got {tuple(before.shape)}")
    return beta * (logs - before)


def contrastive(g: Any) -> Any:
    """Return -log(e^{g_1} / sum_i e^{g_i}): the first candidate is to be retrieved among all others (InfoNCE).

    From Jin et al. 2025 (ICML), Table 1, which lacks the logarithm. With one negative it is DPO (Rafailov et al. 2023,
    arXiv:2305.18290, equation 7).

    Parameters
    ----------
    g
        ``gains`` (..., candidates), the best candidate first, its negatives behind it in any order.

    Returns
    -------
    Tensor
        Losses (...).
    """
    import torch

    _enough(g)
    return -torch.log_softmax(g, dim=-1)[..., 0]


def lambdarank(g: Any) -> Any:
    """Return -sum_{i<j} log sigmoid(g_i - g_j) of candidates in order, the best first; losses (...).

    From Jin et al. 2025 (ICML), Table 1: every pair counts alike (Burges 2010 weighs pairs by what a swap costs).
    """
    import torch

    count = _enough(g)
    first, second = torch.triu_indices(count, count, offset=1, device=g.device)
    return -torch.nn.functional.logsigmoid(g[..., first] - g[..., second]).sum(dim=-1)


def listmle(g: Any) -> Any:
    """Return -sum_i log(e^{g_i} / sum_{j>=i} e^{g_j}), minus the log-likelihood of an order, the best first; losses (...).

    The order is drawn as Plackett and Luce have it (Plackett 1975; Xia et al. 2008, ICML). From Jin et al. 2025 (ICML),
    equation 23; their Table 1 counts candidate i twice in the denominator.
    """
    _enough(g)
    return (g.flip(-1).logcumsumexp(dim=-1).flip(-1) - g).sum(dim=-1)


OBJECTIVES = {"contrastive": contrastive, "lambdarank": lambdarank, "listmle": listmle}
"""The losses by name."""


def _enough(g: Any) -> int:
    count = int(g.shape[-1]) if g.ndim else 0
    if count < 2:
        raise ValueError(f"g: at least 2 candidates on the last axis, got shape {tuple(g.shape)}; sample more answers")
    return count


# ---- candidates ---------------------------------------------------------------------------------------------------


def ranked(ratings: ArrayLike, top: int = 2, bottom: int = 2, logs: ArrayLike | None = None) -> NDArray[np.int64]:
    """Return the indices of the ``top`` best and ``bottom`` worst candidates, the best first, no rating twice.

    The list for ``lambdarank`` and ``listmle``; Jin et al. 2025 take two and two of ten. Of candidates of equal rating,
    which have no order, the likeliest by ``logs`` stays, or the first.
    """
    rated, chances = _rated(ratings, logs)
    validate.whole("top", top, 1, 1_000_000)
    validate.whole("bottom", bottom, 1, 1_000_000)
    order = np.lexsort((-chances, -rated))
    order = order[np.concatenate(([True], np.diff(rated[order]) != 0))]
    return order if len(order) <= top + bottom else np.concatenate((order[:top], order[-bottom:]))


def negatives(
    ratings: ArrayLike,
    count: int = 3,
    how: str = "worst",
    *,
    logs: ArrayLike | None = None,
    rng: np.random.Generator | None = None,
) -> NDArray[np.int64]:
    """Return the index of the best candidate and behind it those of at most ``count`` that are rated below it.

    Parameters
    ----------
    ratings
        Of the candidates (candidates,).
    count
        Most negatives.
    how
        ``"worst"``: the lowest rated (Jin et al. 2025: the best against the three worst of ten). ``"hard"``: the likeliest
        under ``logs``, which a retriever ranks first though they are worse. ``"random"``: the control, by ``rng``.
    logs
        Log-probabilities (candidates,) under the present policy.
    rng
        Chance of ``"random"``.

    Returns
    -------
    array
        Indices; the best alone, if no other is worse.
    """
    validate.one_of("how", how, NEGATIVES)
    validate.whole("count", count, 1, 1_000_000)
    rated, chances = _rated(ratings, logs)
    best = int(np.lexsort((-chances, -rated))[0])
    worse = np.flatnonzero(rated < rated[best])
    if how == "hard":
        if logs is None:
            raise ValueError("logs: needed for hard negatives, got None; give log-probabilities of the present policy")
        worse = worse[np.argsort(-chances[worse], kind="stable")]
    elif how == "worst":
        worse = worse[np.lexsort((-chances[worse], rated[worse]))]
    else:
        if rng is None:
            raise ValueError("rng: needed for random negatives, got None; give numpy.random.default_rng(seed)")
        worse = rng.permutation(worse)
    return np.concatenate(([best], worse[:count])).astype(np.int64)


def _rated(ratings: ArrayLike, logs: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rated = np.asarray(ratings, dtype=float)
    if rated.ndim != 1 or not rated.size or not np.isfinite(rated).all():
        raise ValueError(f"ratings: finite numbers, one for each of at least 1 candidate, got {np.asarray(ratings)!r}")
    chances = np.zeros(len(rated)) if logs is None else np.asarray(logs, dtype=float)
    if chances.shape != rated.shape:
        raise ValueError(f"logs: one for each of the {len(rated)} candidates, got shape {chances.shape}")
    return rated, chances


class Memory:
    """Candidates of earlier rounds, by prompt: D_0, ..., D_s merged (Jin et al. 2025, Algorithm 1).

    What an earlier policy did and the present one would not remains as a negative, or as a best answer that was found
    once. A candidate that returns has the mean of all its ratings.

    Parameters
    ----------
    rounds
        How many rounds are kept, the present one too; None for all, 1 for no memory: the control.
    """

    def __init__(self, rounds: int | None = None) -> None:
        self.rounds = None if rounds is None else validate.whole("rounds", rounds, 1, 1_000_000)
        self._kept: list[dict[Hashable, dict[Hashable, list[float]]]] = []

    def begin(self) -> None:
        """Begin a round; the oldest is dropped, if there are too many."""
        self._kept.append({})
        if self.rounds is not None:
            self._kept = self._kept[-self.rounds :]

    def add(self, prompt: Hashable, candidate: Hashable, rating: float) -> None:
        """Keep a rated candidate of the present round."""
        if not self._kept:
            raise RuntimeError("Memory: no round yet; call begin() first")
        if not np.isfinite(rating):
            raise ValueError(f"rating: a finite number, got {rating!r}; leave out candidates that nobody rated")
        self._kept[-1].setdefault(prompt, {}).setdefault(candidate, []).append(float(rating))

    def prompts(self) -> list[Hashable]:
        """Return the prompts of all rounds kept, oldest first."""
        return list(dict.fromkeys(prompt for kept in self._kept for prompt in kept))

    def candidates(self, prompt: Hashable) -> dict[Hashable, float]:
        """Return the candidates of a prompt over all rounds kept, each with its mean rating."""
        found: dict[Hashable, list[float]] = {}
        for kept in self._kept:
            for candidate, ratings in kept.get(prompt, {}).items():
                found.setdefault(candidate, []).extend(ratings)
        return {candidate: float(np.mean(ratings)) for candidate, ratings in found.items()}


# ---- in a society -------------------------------------------------------------------------------------------------


def fit(
    base: Model,
    society: Societies,
    budget: int,
    seed: int,
    *,
    sessions: int = 64,
    objective: str = "contrastive",
    how: str = "worst",
    count: int = 3,
    passes: int = 4,
    rounds: int | None = None,
    batch: int | None = None,
    beta: float = 0.1,
    mixed: bool = False,
) -> Model:
    """Align a language model in a society by LarPO (Jin et al. 2025, Algorithm 1); return the aligned policy.

    In each round the present policy plays, and becomes the reference. The acts that were sampled on a prompt are its
    candidates, rated by the mean of what followed, as ``base.training.credit`` counts it; with those of the rounds before
    they are ranked, and some updates follow on the loss. A prompt without two ranks teaches nothing.

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
    objective
        ``"contrastive"``: the best against ``count`` negatives, chosen as ``how`` says (``negatives``). ``"lambdarank"``
        or ``"listmle"``: the two best and two worst in order (``ranked``).
    how, count
        Of ``negatives``.
    passes
        Updates of a round.
    rounds
        Of ``Memory``.
    batch
        Most prompts of an update, drawn at random from the memory; None for all.
    beta
        Of ``gains``.
    mixed
        Whether ratings are permuted among samples: the control, which can learn nothing from them. It drifts to what
        chance rates best, mostly acts that were sampled seldom, so judge it by the mean over seeds.

    Returns
    -------
    LanguageModel
        With ``curve``, the mean return of a seat in each round.
    """
    import torch

    validate.whole("budget", budget, 1, 1_000_000_000)
    validate.whole("passes", passes, 1, 1_000_000)
    validate.one_of("objective", objective, tuple(OBJECTIVES))
    learner, memory = prepare(base, society, sessions, seed), Memory(rounds)

    def merit(job: _Job, rows: Sequence[tuple[Decision, float]]) -> Any:
        assert job.before is not None
        now = torch.log_softmax(job.scores / learner.temperature, dim=-1)
        start = torch.tensor(job.before / learner.temperature, dtype=now.dtype, device=now.device)
        picks = [decision.pick for decision, _ in sorted(rows, key=lambda row: row[1])]
        g = gains(now[picks], torch.log_softmax(start, dim=-1)[picks], beta)
        return -OBJECTIVES[objective](g) * len(rows)

    curve: list[float] = []
    for update in range(budget):
        if update % passes == 0:
            learner.reference = learner.scorer.frozen()
            memory.begin()
            played, mean = rated_play(learner, mixed)
            curve.append(mean)
            for decision, rating in played:
                memory.add((decision.chat, decision.options), decision.pick, rating)
        prompts: list[Any] = [p for p in memory.prompts() if len(set(memory.candidates(p).values())) > 1]
        if batch is not None and len(prompts) > batch:
            prompts = [prompts[i] for i in sorted(learner.rng.choice(len(prompts), batch, replace=False))]
        scores = learner.scorer.score([chat for chat, _ in prompts], [options for _, options in prompts])
        rows = []
        for prompt, score in zip(prompts, scores, strict=True):
            found: dict[Any, float] = memory.candidates(prompt)
            picks, ratings = list(found), list(found.values())
            if objective == "contrastive":
                order = negatives(ratings, count, how, logs=score[picks], rng=learner.rng)
            else:
                order = ranked(ratings, logs=score[picks])
            if len(order) > 1:  # the second of a row is its rank
                place = ((0,), 0)
                rows += [
                    (Decision(place, prompt[0], prompt[1], picks[i], 0.0), float(rank)) for rank, i in enumerate(order)
                ]
        learner._step(rows, learner.training.rate * (1.0 - update / budget), merit)
    return finish(base, learner, society, sessions, seed, curve, method="retriever", objective=objective)
