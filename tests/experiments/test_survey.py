"""Surveys: proper scores by theorem, truths by the game's own measures, and the worth of asking to the coin."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from societas import Game, Unfit, make, mechanism, play, policy
from societas.envs.core.statistics import Interval
from societas.experiments.survey import Answers, survey
from societas.mechanisms.survey import Survey, beliefs, brier

NORMS = ("cooperate", "defect")


def normed(known: float = 0.5, fine: float = 2.0, rounds: int = 1) -> Game:
    """Return a prisoner's dilemma in which one of the actions is fined."""
    law = mechanism("NormUncertainty", field="own", norms=NORMS, known=known, fine=fine)
    return make("MatrixGame", repetitions=rounds) | law


def says(seen: dict[str, Any], sure: bool) -> dict[str, Any]:
    """Say what the player was told; who was not admits it, or is sure of the first norm."""
    if seen["norm"] == "unknown" and not sure:
        return {"chances": [3, 3], "answer": "abstain", "action": "cooperate"}
    second = seen["norm"] == "no defect"
    return {"chances": [10 * (not second), 10 * second], "answer": f"no {NORMS[second]}", "action": "cooperate"}


HONEST = policy("callable", function=lambda seen: says(seen, False))
SURE = policy("callable", function=lambda seen: says(seen, True))


def by_hand(chances: list[list[float]], truth: list[int], answer: list[int] | None = None) -> Answers:
    rows, places = len(truth), np.arange(len(truth))
    return Answers(
        "by hand",
        "which",
        tuple("abcdef"[: len(chances[0])]),
        np.array(chances),
        np.array(answer or [0] * rows),
        np.array(truth),
        places,
        np.ones(rows, dtype=int),
        np.zeros(rows, dtype=int),
        ("player_0",),
        None,
        Interval(np.nan, np.nan, np.nan, 0),
    )


def test_the_score_is_strictly_proper() -> None:
    """Mean score under beliefs q of the report p is sum (p - q)^2 + 1 - sum q^2: honesty is best, and nothing else is."""
    grid = np.array([p for p in itertools.product(range(11), repeat=3) if sum(p) == 10]) / 10
    scores = np.stack([brier(grid, np.full(len(grid), k)) for k in range(3)], axis=-1)
    for q in grid:
        mean = scores @ q
        assert mean == pytest.approx(((grid - q) ** 2).sum(axis=1) + 1 - (q**2).sum())
        assert (grid[mean <= mean.min() + 1e-9] == q).all()


@pytest.mark.parametrize("options", [2, 3, 5])
def test_who_knows_that_it_does_not_know_beats_who_guesses(options: int) -> None:
    """Each answer being true once: 1 - 1/K for saying so, 2 - 2/K for any sure guess, and so for every mixture of guesses."""
    truth = np.arange(options)
    even = beliefs(np.zeros((options, options), dtype=int))
    assert brier(even, truth).mean() == pytest.approx(1 - 1 / options)
    for guess in itertools.product(range(options), repeat=1):
        sure = beliefs(np.eye(options)[np.full(options, guess)] * 10)
        assert brier(sure, truth).mean() == pytest.approx(2 - 2 / options)


def test_the_honest_score_better_in_the_game_and_are_calibrated() -> None:
    honest, sure = survey(HONEST, normed()), survey(SURE, normed())
    assert set(np.round(brier(honest.chances, honest.truth), 9)) == {0.0, 0.5}
    untold = honest.answer == 2
    assert honest.brier.mean == pytest.approx(0.5 * untold.mean())
    assert (honest.truth == sure.truth).all() and honest.brier.high < sure.brier.low
    assert honest.log_score == pytest.approx(np.log(2) * untold.mean()) and sure.log_score == np.inf
    assert honest.accuracy == 1.0 and honest.coverage == 1 - untold.mean() and sure.coverage == 1.0
    assert sure.ece() == pytest.approx((sure.chances[np.arange(len(sure.truth)), sure.truth] == 0).mean())
    assert honest.ece() < 0.1 and honest.aurc < sure.aurc
    assert honest.worth(3.0).mean > sure.worth(3.0).mean  # a wrong answer costs three true ones: abstain below 3/4
    told, none = survey(HONEST, normed(known=1.0)), survey(HONEST, normed(known=0.0))
    assert (told.skill, told.aurc) == (1.0, 0.0) and none.skill == pytest.approx(0.0)
    assert none.coverage == 0.0 and np.isnan(none.accuracy) and "none" in str(none)


def test_who_was_fined_knows_after_a_round() -> None:
    def learns(seen: dict[str, Any]) -> dict[str, Any]:
        if seen["round"] == 1:
            return says(seen, False)
        broke = seen["norm_fine"] > 0  # it cooperated
        return {"chances": [10 * broke, 10 * (not broke)], "answer": f"no {NORMS[not broke]}", "action": "cooperate"}

    found = survey(policy("callable", function=learns), normed(known=0.0, rounds=3), worlds=32)
    assert [found.after(k).brier.mean for k in (1, 2, 3)] == pytest.approx([0.5, 0.0, 0.0])
    assert len(found.truth) == 3 * 2 * 32 and len(found.to_frame()) == len(found.truth)
    once = survey(policy("callable", function=learns), normed(known=0.0, rounds=3), worlds=32, each_round=False)
    assert set(once.round) == {1} and (once.truth == found.after(1).truth).all()
    with pytest.raises(ValueError, match="round: one of 1"):
        once.after(2)


def test_asking_is_worth_the_fine_less_its_price() -> None:
    """Two who cooperate and are fined half of the time, or ask and then do what is allowed."""

    def act(seen: dict[str, Any]) -> dict[str, Any]:
        told = seen.get("survey_told", "unknown")
        ask = {"answer": "ask"} if "survey_told" in seen and told == "unknown" else {"answer": "abstain"}
        return {**ask, "action": "defect" if told == "no cooperate" else "cooperate"}

    player, game = policy("callable", function=act), normed(known=0.0, fine=20.0)
    dear, cheap = (survey(player, game, cost=cost, worlds=200) for cost in (3.0, 1.0))
    assert cheap.asked == 1.0 and cheap.asking.mean - dear.asking.mean == pytest.approx(2.0)
    forbidden = float((cheap.after(1).truth == 0).mean())
    both = np.asarray(make("MatrixGame").payoffs)[0]  # type: ignore[attr-defined]
    less = both[0, 0] - both[1, 1]  # what mutual cooperation pays beyond mutual defection
    assert cheap.asking.mean == pytest.approx(forbidden * (20.0 - less) - 1.0)
    assert "asking is worth" in str(cheap)


def test_truths_are_those_of_the_game() -> None:
    base = make("MatrixGame", repetitions=2)
    silent = {"player": policy("constant", acts={"action": "defect"})}
    ambiguous = base | mechanism("Ambiguity", spread=0.5, probability=0.5) | mechanism("Talk", vocabulary=("yes",))
    told = play(ambiguous | Survey(bins=5), silent, worlds=64)
    assert told.measures["survey_truth"].tolist() == np.floor(told.measures["shock_probability"] * 5).tolist()
    assert len(set(told.measures["survey_truth"])) == 5
    weighed = base | mechanism("PreferenceUncertainty", spread=1.0)
    cast = {
        "player_0": policy("constant", acts={"action": "defect"}),
        "player_1": policy("constant", acts={"action": "cooperate"}),
    }
    told = play(weighed | Survey(), cast, worlds=64)
    counts = told.returns["player"][np.arange(64), told.measures["survey_truth"].astype(int)]
    assert told.welfare == pytest.approx(2 * counts)  # only that player counts, twice


def test_a_survey_changes_nothing_but_what_is_said() -> None:
    game = normed(rounds=3)
    cast = {"player": policy("random")}
    plain = play(game, {"player": policy("constant", acts={"action": "cooperate"})}, worlds=16)
    asked = play(game | Survey(), {"player": HONEST}, worlds=16)
    assert (plain.welfare == asked.welfare).all() and (plain.returns["player"] == asked.returns["player"]).all()
    paid = play(game | Survey(pay=4.0), {"player": HONEST}, worlds=16)
    earned = (paid.returns["player"] - plain.returns["player"]).mean(axis=1)
    assert earned == pytest.approx(4.0 * 3 * (1 - 0.5 * paid.measures["survey_score"]))
    priced = play(game | Survey(cost=0.5), cast, worlds=16)
    assert priced.measures["survey_questions"].mean() > 0


def test_calibration_and_risk_by_hand() -> None:
    found = by_hand([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4], [0.5, 0.5]], [0, 1, 0, 0, 0])
    parts = found.calibration()
    assert [(part.n, part.accuracy) for part in parts] == [(1, 0.5), (2, 1.0), (2, 0.5)]
    assert [part.confidence for part in parts] == pytest.approx([0.5, 0.6, 0.9])
    assert found.ece() == pytest.approx((0 + 2 * 0.4 + 2 * 0.4) / 5)
    assert np.array(found.risk_coverage()) == pytest.approx(np.array([(0.4, 0.5), (0.8, 0.25), (1.0, 0.3)]))
    perfect = by_hand([[0.9, 0.1], [0.6, 0.4]], [0, 0])
    assert perfect.aurc == 0.0 and by_hand([[0.9, 0.1]] * 4, [0, 1, 1, 1]).aurc == pytest.approx(0.75)
    ordered, reverse = by_hand([[0.9, 0.1], [0.6, 0.4]], [0, 1]), by_hand([[0.9, 0.1], [0.6, 0.4]], [1, 0])
    assert ordered.aurc == pytest.approx(0.5 - 0.5 * np.log(2)) and reverse.aurc == pytest.approx(0.5 + 0.5 * np.log(2))
    answered = dataclasses.replace(found, answer=np.array([0, 0, 2, 2, 1]))
    assert (answered.coverage, answered.accuracy) == (0.6, pytest.approx(1 / 3))
    assert answered.worth(2.0).mean == pytest.approx((1 - 2 - 2) / 5)


def test_what_hides_nothing_is_refused() -> None:
    with pytest.raises(Unfit, match="hides nothing that could be asked about"):
        survey("random", "MatrixGame")
    with pytest.raises(Unfit, match="has no role 'judge'"):
        survey("random", normed(), roles=("judge",))
    with pytest.raises(ValueError, match="cost: a number"):
        survey("random", normed(), cost=-1.0)


def test_the_mechanism_passes_the_examination() -> None:
    from societas.testing import check_mechanism

    check_mechanism(Survey(cost=0.5, pay=1.0), normed(rounds=2))
    check_mechanism(Survey(each_round=False), make("MatrixGame") | mechanism("PreferenceUncertainty", spread=0.5))
