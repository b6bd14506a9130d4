"""Cross-entropy search: one fixed decision, found by trying many at once and keeping the best."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..envs.core import validate
from ..envs.core.arrays import Array, constant
from ..envs.core.episodes import play
from ..envs.core.fields import Text
from ..envs.core.policy import Policy, default_acts

if TYPE_CHECKING:
    from ..envs.core.game import Acts, Game, Seen

Table = np.ndarray[Any, Any]


class CrossEntropy(Policy):
    """Searches for the best constant acts by the cross-entropy method (Rubinstein 1999; de Boer et al. 2005,
    doi:10.1007/s10479-005-5724-z).

    In every episode ``candidates`` vectors of acts are drawn from a normal distribution on the act space, each is played
    in an equal part of the worlds, and the distribution moves to the best ``elite`` of them; some spread is added that
    falls to 0 (Szita and Lorincz 2006, doi:10.1162/neco.2006.18.12.2936). What it learns does not depend on what is
    seen: it suits a player who commits to an offer before anything happens. All seats of the role do the same.

    Parameters
    ----------
    candidates
        Vectors tried in an episode.
    elite
        Share of them that is kept.
    spread
        Standard deviation at first, in units of each act's range.
    step
        Weight of the new elite in mean and covariance.
    tries
        Where it is more than 0, so many vectors are drawn over the whole act space before the search, the better quarter
        is kept and played four times as often, again and again (successive halving: Karnin, Koren and Somekh 2013), and
        the search starts from the best with a tenth of the spread. It finds what lies behind other good acts.
    """

    def __init__(
        self,
        *,
        candidates: int = 128,
        elite: float = 0.125,
        spread: float = 0.3,
        step: float = 0.5,
        tries: int = 0,
    ) -> None:
        self.candidates = validate.whole("candidates", candidates, 4, 1_000_000)
        self.elite = validate.real("elite", elite, 1e-6, 1.0)
        self.spread = validate.real("spread", spread, 1e-6, 10.0)
        self.step = validate.real("step", step, 1e-6, 1.0)
        self.tries = validate.whole("tries", tries, 0, 10_000_000)
        self.found: dict[str, Table] = {}
        self.curve: list[float] = []

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Do what was found."""
        if not self.found:
            raise RuntimeError("CrossEntropy: nothing learned yet; call learn(game, role) first")
        return _everywhere(self, stage, self.found), memory

    def learn(
        self,
        game: Game,
        role: str,
        *,
        episodes: int,
        sessions: int = 8192,
        seed: int = 0,
        others: Mapping[str, Policy] | None = None,
        watch: Callable[[int, int], None] | None = None,
    ) -> Self:
        """Search; return the policy with what was found. Its ``curve`` is the mean return of the candidates.

        Parameters
        ----------
        game, role
            Who searches.
        episodes
            Times that candidates are drawn.
        sessions
            Worlds in which an episode is played, shared among the candidates.
        seed
            Seed of the games' chance and of the candidates.
        others
            Policies of the other roles.
        watch
            Called as ``watch(episode, episodes)`` after every episode.
        """
        validate.whole("sessions", sessions, self.candidates, 100_000_000)
        learner = copy.copy(self)
        fields = game.role(role).acts
        for field in fields:
            if isinstance(field.space, Text):
                raise ValueError(f"acts: field {field.name!r} is free text; search on a finite vocabulary")
            if math.isinf(field.space.low) or math.isinf(field.space.high):
                raise ValueError(f"acts: field {field.name!r} has no bounds and cannot be searched")
        size = sum(math.prod(field.shape) for field in fields)
        rng = np.random.default_rng([seed % 2**63, 0xCE])

        def value(points: Table, repeats: int, seed: int) -> Table:
            """Return the mean return of each point, played so often."""
            trial = _Trial({name: np.repeat(v, repeats, axis=0) for name, v in _acts(fields, points).items()})
            done = play(game, {**(others or {}), role: trial}, worlds=repeats * len(points), seed=seed)
            return np.asarray(done.returns[role].mean(axis=1).reshape(len(points), repeats).mean(axis=1))

        mean, wide = np.full(size, 0.5), self.spread
        if self.tries:
            mean, wide = _halved(rng.random((self.tries, size)), value, sessions, seed), 0.1 * self.spread
        spread = np.eye(size) * wide**2
        repeats, keep = sessions // self.candidates, max(2, round(self.elite * self.candidates))
        learner.curve = []
        for episode in range(episodes):
            extra = np.eye(size) * (0.1 * wide * (1.0 - episode / episodes)) ** 2
            drawn = rng.multivariate_normal(mean, spread + extra, self.candidates, method="cholesky")
            drawn = np.clip(drawn, 0.0, 1.0)
            worth = value(drawn, repeats, seed + 7919 * (episode + 1))
            best = drawn[np.argsort(-worth, kind="stable")[:keep]]
            mean = mean + self.step * (best.mean(axis=0) - mean)
            spread = spread + self.step * (np.cov(best, rowvar=False).reshape(size, size) - spread)
            spread = (spread + spread.T) / 2 + 1e-12 * np.eye(size)
            learner.curve.append(float(worth.mean()))
            if watch is not None:
                watch(episode + 1, episodes)
        learner.found = {name: values[0] for name, values in _acts(fields, mean[None, :]).items()}
        return learner


def _halved(points: Table, value: Callable[[Table, int, int], Table], sessions: int, seed: int) -> Table:
    """Return the best of many points: the better quarter is kept and played four times as often, until one is left."""
    repeats = 4
    while len(points) > 1:
        size = max(1, sessions // repeats)
        parts = [value(points[i : i + size], repeats, seed + repeats * 7919 + i) for i in range(0, len(points), size)]
        order = np.argsort(-np.concatenate(parts), kind="stable")
        points, repeats = points[order[: max(1, len(points) // 4)]], repeats * 4
    best: Table = points[0]
    return best


class _Trial(Policy):
    """Plays acts of its own in every world, {field: (worlds, *components)}."""

    def __init__(self, acts: dict[str, Table]) -> None:
        self.acts = acts

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        return {name: np.repeat(values[:, None], len(self.seats), axis=1) for name, values in self.acts.items()}, memory


def _everywhere(policy: Policy, stage: Array, acts: Mapping[str, Table]) -> Acts:
    """Return the same acts for every world and seat."""
    null = default_acts(policy.role, stage, len(policy.seats))
    return {name: values * 0 + constant(values, acts[name]) for name, values in null.items()}


def _acts(fields: Any, points: Table) -> dict[str, Table]:
    """Turn points of the unit cube (count, numbers) into acts {field: (count, *components)}."""
    acts, begin = {}, 0
    for field in fields:
        size = math.prod(field.shape)
        part, low, high = points[:, begin : begin + size], field.space.low, field.space.high
        if field.discrete:
            part = np.minimum(np.floor(low + part * (high - low + 1)), high).astype(np.int64)
        else:
            part = low + part * (high - low)
        acts[field.name] = part.reshape(len(points), *field.shape)
        begin += size
    return acts
