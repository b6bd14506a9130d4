"""A survey: does a society know which norm is in force, and does it know when it does not know?

``survey`` puts ``mechanisms.survey.Survey`` on a game with a hidden state, lets policies play it, and compares what they say
with the truth: calibration and proper scores of their chances, risk and coverage of their answers, and what asking is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..envs.core import registry, validate, words
from ..envs.core.episodes import Episodes, play
from ..envs.core.game import Game
from ..envs.core.policy import Policy
from ..envs.core.statistics import Interval, interval, paired_difference
from ..mechanisms.survey import Survey, Surveyed, beliefs, brier
from .held_out import _named

if TYPE_CHECKING:
    import pandas as pd

Vector = np.ndarray[Any, Any]


class Bin(NamedTuple):
    """Statements whose confidence lies in a range: how many, mean confidence, and share in which what was likeliest was true."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Answers:
    """What was said, a row for each time that a player was asked, and what is true.

    Parameters
    ----------
    game, question, options
        What was asked, and the possible answers.
    chances
        Stated probabilities (rows, options).
    answer
        Index of the answer (rows,); the number of options for abstaining, one more for asking.
    truth
        Index of the true answer (rows,).
    world, round, player
        Whence each row is (rows,); rounds count from 1, ``player`` indexes ``players``.
    players
        Names.
    price
        What asking costs; None where it was not offered.
    asking
        What the possibility to ask adds to the return of a player, paired by world; no n where it was not offered.
    """

    game: str
    question: str
    options: tuple[str, ...]
    chances: Vector
    answer: Vector
    truth: Vector
    world: Vector
    round: Vector
    player: Vector
    players: tuple[str, ...]
    price: float | None
    asking: Interval

    def _over_worlds(self, values: Vector) -> Interval:
        """Return the mean of a value a row, with its interval over worlds, which are independent; rows of one are not."""
        count = np.bincount(self.world)
        return interval(np.bincount(self.world, values)[count > 0] / count[count > 0])

    @property
    def brier(self) -> Interval:
        """Quadratic score (Brier 1950), sum_j (p_j - [j true])^2: 0 is best, 1 - 1/K is knowing nothing, 2 worst."""
        return self._over_worlds(np.asarray(brier(self.chances, self.truth)))

    @property
    def log_score(self) -> float:
        """Mean of -ln p of the true answer (Good 1952), in nats: 0 is best, ln K is knowing nothing; inf where p was 0."""
        with np.errstate(divide="ignore"):
            return float(0.0 - np.log(self.chances[np.arange(len(self.truth)), self.truth]).mean())

    @property
    def skill(self) -> float:
        """1 - score / (1 - 1/K): 1 for who knows, 0 for who says that it knows nothing, below 0 for who is sure of guesses."""
        return 1.0 - self.brier.mean / (1.0 - 1.0 / len(self.options))

    @property
    def confidence(self) -> Vector:
        """Probability of what was called likeliest, (rows,)."""
        return np.asarray(self.chances.max(axis=1))

    @property
    def correct(self) -> Vector:
        """Whether what was called likeliest is true, (rows,); where several were, the share of them."""
        top = self.chances >= self.confidence[:, None] - 1e-12
        return np.asarray(top[np.arange(len(self.truth)), self.truth] / top.sum(axis=1))

    def calibration(self, bins: int = 10) -> list[Bin]:
        """Return how often what was called likeliest is true, by how likely it was called; bins of equal width, none empty."""
        validate.whole("bins", bins, 1, 1000)
        at = np.minimum((self.confidence * bins + 1e-9).astype(int), bins - 1)
        found = []
        for k in np.unique(at):
            here = at == k
            means = float(self.confidence[here].mean()), float(self.correct[here].mean())
            found.append(Bin(k / bins, (k + 1) / bins, int(here.sum()), *means))
        return found

    def ece(self, bins: int = 10) -> float:
        """Return the expected calibration error, sum_b n_b / n |accuracy_b - confidence_b| (Naeini et al. 2015; Guo et al. 2017).

        It is 0 also for who always says the base rate: it tells honest from dishonest, not knowing from not knowing.
        """
        parts = self.calibration(bins)
        return sum(part.n * abs(part.accuracy - part.confidence) for part in parts) / sum(part.n for part in parts)

    def risk_coverage(self) -> list[tuple[float, float]]:
        """Return (coverage, risk): the share of rows kept if only the surest are, and how often the likeliest is wrong in them.

        A point for each level of confidence, surest first (El-Yaniv and Wiener 2010).
        """
        found = []
        for level in np.unique(self.confidence)[::-1]:
            kept = self.confidence >= level
            found.append((float(kept.mean()), float(1.0 - self.correct[kept].mean())))
        return found

    @property
    def aurc(self) -> float:
        """Area under the risk-coverage curve (Geifman, Uziel and El-Yaniv 2019): less is better, at the same risk of all.

        Rows of the same confidence enter in random order, so that between two points risk times coverage is linear.
        """
        area, before, wrong = 0.0, 0.0, 0.0
        for coverage, risk in self.risk_coverage():
            slope = (coverage * risk - wrong) / (coverage - before)
            start = wrong - slope * before  # wrong(c) = start + slope c; risk is wrong(c) / c
            area += slope * (coverage - before) + (start * np.log(coverage / before) if before > 0 else 0.0)
            before, wrong = coverage, coverage * risk
        return float(area)

    def _share(self, of: Vector) -> float:
        return float(of.mean()) if len(of) else float("nan")

    @property
    def coverage(self) -> float:
        """Share of times that an answer was given."""
        return self._share(self.answer < len(self.options))

    @property
    def accuracy(self) -> float:
        """Share of the answers given that are true; nan where none was."""
        given = self.answer < len(self.options)
        return self._share(self.answer[given] == self.truth[given])

    @property
    def asked(self) -> float:
        """Share of times that somebody asked to be told."""
        return self._share(self.answer == len(self.options) + 1)

    def worth(self, penalty: float = 1.0) -> Interval:
        """Return the mean of 1 for a true answer, -penalty for a wrong one and 0 for none: abstaining pays below certainty.

        Chow (1970): who believes its best answer with probability p gains by abstaining where p < penalty / (1 + penalty).
        """
        validate.real("penalty", penalty, 0.0, 1e6)
        given = self.answer < len(self.options)
        return self._over_worlds(np.where(given, np.where(self.answer == self.truth, 1.0, -penalty), 0.0))

    def after(self, round: int) -> Answers:
        """Return what was said in one round, counted from 1."""
        here = self.round == round
        if not here.any():
            raise ValueError(f"round: one of {', '.join(map(str, np.unique(self.round)))}, got {round!r}")
        rows = {name: getattr(self, name)[here] for name in ("chances", "answer", "truth", "world", "round", "player")}
        rows["world"] = np.unique(rows["world"], return_inverse=True)[1].reshape(-1)
        return Answers(**{**self.__dict__, **rows})

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each time that a player was asked."""
        import pandas as pd

        said = (*self.options, "abstain", "ask")
        found = {
            "world": self.world,
            "round": self.round,
            "player": [self.players[i] for i in self.player],
            "answer": [said[i] for i in self.answer],
            "truth": [self.options[i] for i in self.truth],
        }
        return pd.DataFrame({**found, **{f"p({o})": self.chances[:, k] for k, o in enumerate(self.options)}})

    def __str__(self) -> str:
        score, worth, asks = self.brier, self.worth(), self.asking
        known = 1.0 - 1.0 / len(self.options)
        rows = [
            (
                "score",
                f"{_told(score)}  (0 knows, {known:.2f} says that it knows nothing, {2 * known:.2f} guesses and is sure)",
            ),
            ("skill", f"{self.skill:.2f}"),
            ("log score", f"{self.log_score:.2f} nats  ({np.log(len(self.options)):.2f} says that it knows nothing)"),
            ("calibration error", f"{self.ece():.2f}"),
            ("answers", f"{self.coverage:.0%} of times, {self.accuracy:.0%} of them true" if self.coverage else "none"),
            ("worth of answers", f"{_told(worth)}  (1 true, -1 wrong, 0 none)"),
            ("area risk-coverage", f"{self.aurc:.2f}"),
        ]
        if self.price is not None:
            rows += [
                ("asks", f"{self.asked:.0%} of times, at {self.price:g}"),
                ("asking is worth", f"{_told(asks)} a player"),
            ]
        width = max(len(name) for name, _ in rows)
        worlds = len(np.unique(self.world))
        head = (
            f"{self.game}: {self.question}? {'; '.join(self.options)}. {len(self.truth)} statements in {worlds} worlds."
        )
        return "\n".join([head, "", *(f"{name.ljust(width)}  {told}" for name, told in rows)]) + "\n"


def _told(one: Interval) -> str:
    ends = "" if np.isnan(one.low) else f" [{words.figure(one.low)}, {words.figure(one.high)}]"
    return f"{words.figure(one.mean)}{ends}"


def survey(
    policies: Policy | str | Mapping[str, Policy],
    game: Game | str,
    *,
    worlds: int = 256,
    seed: int = 0,
    cost: float | None = None,
    pay: float = 0.0,
    each_round: bool = True,
    bins: int = 4,
    roles: tuple[str, ...] = (),
) -> Answers:
    """Ask a society what is hidden in the game that it plays: which norm is in force, whose values count, how likely shocks are.

    Parameters
    ----------
    policies
        {role or player: policy}, or one that plays all, or its name with parameters. They give ``chances`` and an ``answer``
        as they decide anything else: a language model is asked in words, a script or a learner in fields.
    game
        A game under ``NormUncertainty``, ``PreferenceUncertainty`` or ``Ambiguity``; the outermost of these is asked about.
    worlds, seed
        As for ``play``.
    cost, pay, each_round, bins, roles
        As for ``Survey``. With a cost the game is played twice in the same worlds, with the possibility to ask and without.

    Returns
    -------
    Answers
        What was said beside what is true.

    Raises
    ------
    Unfit
        If the game hides nothing.
    """
    found: Game = registry.create("games", game) if isinstance(game, str) else game
    one = _named(policies) if isinstance(policies, str) else policies
    cast = dict(one) if isinstance(one, Mapping) else {role.name: one for role in found.roles}
    dials: dict[str, Any] = {"pay": pay, "each_round": each_round, "bins": bins, "roles": roles}
    asked = Surveyed(found, Survey(cost=cost, **dials))
    for policy in cast.values():
        policy.ready()
    played = play(asked, cast, worlds=worlds, seed=seed, keep=True)
    asking = Interval(float("nan"), float("nan"), float("nan"), 0)
    if cost is not None:
        without = play(Surveyed(found, Survey(cost=None, **dials)), cast, worlds=worlds, seed=seed)
        asking = paired_difference(_returns(asked, played), _returns(asked, without))
    return _collected(asked, played, cost, asking)


def _returns(game: Surveyed, played: Episodes) -> Vector:
    """Return the mean return of those who are asked, (worlds,)."""
    return np.asarray(np.concatenate([played.returns[name] for name in game.asked], axis=1).mean(axis=1))


def _collected(game: Surveyed, played: Episodes, cost: float | None, asking: Interval) -> Answers:
    """Return the statements of an episode, a row for each."""
    number = [stage.name for stage in game.stages].index("survey")
    truth = np.rint(played.measures["survey_truth"]).astype(int)
    parts: list[tuple[Vector, ...]] = []
    times = np.zeros(len(truth), dtype=int)
    for moment in played.moments:
        here = np.flatnonzero((np.asarray(moment.stage) == number) & np.asarray(moment.live, dtype=bool))
        times[here] += 1
        begin = 0
        for name in game.asked if len(here) else ():
            said, count = moment.acts[name], game.role(name).count
            for seat in range(count):
                chances = np.asarray(beliefs(said["chances"][here, seat]))
                answer = said["answer"][here, seat].astype(int)
                player = np.full(len(here), begin + seat)
                parts.append((chances, answer, truth[here], here, times[here], player))
            begin += count
    if not parts:
        raise ValueError(f"worlds: nobody was asked anything in {game.name}")
    chances, answer, true, world, times_asked, player = (np.concatenate(column) for column in zip(*parts, strict=True))
    asked = game.question
    return Answers(
        game=game.base.name,
        question=asked.text,
        options=asked.options,
        chances=chances,
        answer=answer,
        truth=true,
        world=world,
        round=times_asked,
        player=player,
        players=tuple(game.people),
        price=cost,
        asking=asking,
    )
