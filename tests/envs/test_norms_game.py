"""The norms game: its counts against a loop over events, expected scores against quadrature, equilibria, evolution's bands."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from societas import Game, play, policy
from societas.envs.core import chance
from societas.envs.norms.norms_game import OBSERVERS, NormsGame, Tally
from societas.testing import check_game


def by_hand(game: NormsGame, b: Any, v: Any, u: float) -> Tally:
    """One population's generation, event by event."""
    n, times = game.agents, game.opportunities
    counts = np.zeros((5, n))
    root = chance.key(0, np.array(int(u * 2**53)))
    chances = chance.uniform(root, times * n if game.sight == "agent" else times)
    for time, i in itertools.product(range(times), range(n)):
        seen = float(chances[time * n + i if game.sight == "agent" else time])
        if b[i] <= seen:
            continue
        counts[0, i] += 1
        key = chance.key(1, np.array(int(u * 2**53)), np.array(time * n + i))
        numbers = chance.uniform(key, n)
        sees = [j != i and bool(numbers[j] < seen) for j in range(n)]
        for j in range(n):
            if not sees[j]:
                continue
            if numbers[j] < seen * v[j]:
                counts[1, i] += 1
                counts[2, j] += 1
                continue
            again = chance.uniform(chance.key(2, key, np.array(j)), n)
            for k in set(range(n)) - {i, j} if game.metanorms else ():
                knows = game.observers == "anyone" or sees[k]
                if knows and again[k] < v[k] * (1.0 if game.observers == "witnesses" else seen):
                    counts[3, j] += 1
                    counts[4, k] += 1
    return Tally(*counts)


def conditional(game: NormsGame, b: Any, v: Any, seen: float) -> np.ndarray[Any, Any]:
    """Expected scores from one opportunity each, all with this chance of being seen."""
    n = game.agents
    score = np.zeros(n)
    for i in range(n):
        if b[i] <= seen:
            continue
        score += game.harm
        score[i] += game.temptation - game.harm
        for j in set(range(n)) - {i}:
            p = seen * v[j]
            score[i] += p * game.punishment
            score[j] += p * game.enforcement
            for k in set(range(n)) - {i, j} if game.metanorms else ():
                q = (
                    seen
                    * (1 - v[j])
                    * v[k]
                    * {"anyone": seen, "witnesses again": seen**2, "witnesses": seen}[game.observers]
                )
                score[j] += q * game.metapunishment
                score[k] += q * game.metaenforcement
    return score


@st.composite
def games(draw: st.DrawFn) -> NormsGame:
    return NormsGame(
        agents=draw(st.integers(2, 6)),
        opportunities=draw(st.integers(1, 3)),
        metanorms=draw(st.booleans()),
        bits=draw(st.integers(1, 3)),
        observers=draw(st.sampled_from(OBSERVERS)),
        sight=draw(st.sampled_from(("agent", "opportunity"))),
    )


# ---- what happens -------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(games(), st.integers(0, 2**32))
def test_counts_are_those_of_a_loop_over_events(game: NormsGame, seed: int) -> None:
    rng = np.random.default_rng(seed)
    b, v = rng.random((2, 3, game.agents)).round(1)
    v[0] = 0.0
    v[1, 1:] = 0.0  # few are vengeful: only what can happen is drawn
    u = rng.random(3)
    found = game.tally(b, v, u)
    for world in range(3):
        for name, ours, theirs in zip(Tally._fields, found, by_hand(game, b[world], v[world], u[world]), strict=True):
            np.testing.assert_array_equal(ours[world], theirs, err_msg=name)


@pytest.mark.parametrize("observers", OBSERVERS)
def test_many_failures_are_counted_in_blocks(observers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    game = NormsGame(metanorms=True, observers=observers)
    b, v, u = np.ones((4, 20)), np.full((4, 20), 0.3), np.arange(4) / 4
    whole = game.tally(b, v, u)
    monkeypatch.setattr("societas.envs.norms.norms_game._BLOCK", 7)
    for one, other in zip(game.tally(b, v, u), whole, strict=True):
        np.testing.assert_array_equal(one, other)
    assert whole.metapunished.sum() == whole.metapunishing.sum() > 0


def test_the_score_is_what_the_counts_cost() -> None:
    game = NormsGame(agents=6, metanorms=True, metapunishment=-7.0, metaenforcement=-3.0)
    rng = np.random.default_rng(1)
    acts = {"agent": {name: rng.integers(0, 8, (50, 6)) for name in ("boldness", "vengefulness")}}
    u = rng.random((50, 1))
    done = game.step(game.start(u), acts, u)
    did = game.tally(acts["agent"]["boldness"] / 7, acts["agent"]["vengefulness"] / 7, u[:, 0])
    others = did.defected.sum(axis=1, keepdims=True) - did.defected
    score = (
        3 * did.defected - others - 9 * did.punished - 2 * did.punishing - 7 * did.metapunished - 3 * did.metapunishing
    )
    np.testing.assert_allclose(done.rewards["agent"], score)
    np.testing.assert_allclose(done.welfare, score.sum(axis=1))
    seen = game.view(done.state)["agent"]
    np.testing.assert_allclose(seen["score"], score)
    np.testing.assert_allclose(seen["defection"][:, 0], did.defected.sum(axis=1) / 24)
    assert done.done.all()


# ---- what is expected ---------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(games(), st.integers(0, 2**32))
def test_expected_scores_by_quadrature(game: NormsGame, seed: int) -> None:
    b, v = np.random.default_rng(seed).integers(0, game.top + 1, (2, game.agents)) / game.top
    edges = sorted({0.0, 1.0, *b.tolist()})  # between two of them the scores are smooth in S
    score = [
        sum(quad(lambda s, i=i: conditional(game, b, v, s)[i], low, high)[0] for low, high in itertools.pairwise(edges))
        for i in range(game.agents)
    ]
    np.testing.assert_allclose(game.expected(b, v), game.opportunities * np.array(score), atol=1e-8)


@pytest.mark.parametrize("observers", OBSERVERS)
@pytest.mark.parametrize("sight", ["agent", "opportunity"])
def test_mean_scores_are_the_expected_ones(observers: str, sight: str) -> None:
    game = NormsGame(agents=5, metanorms=True, observers=observers, sight=sight)
    b, v = np.array([7, 5, 3, 2, 0]), np.array([0, 2, 7, 4, 6])
    worlds = 20_000
    acts = {"agent": {"boldness": np.tile(b, (worlds, 1)), "vengefulness": np.tile(v, (worlds, 1))}}
    u = chance.uniform(chance.key(5, np.arange(worlds)), 1)
    scores = game.step(game.start(u), acts, u).rewards["agent"]
    error = scores.std(axis=0) / math.sqrt(worlds)
    assert (np.abs(scores.mean(axis=0) - game.expected(b / 7, v / 7)) < 5 * error).all()


def test_vengefulness_pays_only_under_metanorms() -> None:
    """Where others defect, to punish costs; with metanorms not to punish costs more, if others are vengeful."""

    def gain(metanorms: bool, others: float) -> float:
        game = NormsGame(metanorms=metanorms)
        b, v = np.full(20, 3 / 7), np.full(20, others)
        v[0] = 1.0
        high = game.expected(b, v)[0]
        v[0] = 0.0
        return float(high - game.expected(b, v)[0])

    assert all(gain(False, others) < 0 for others in (0.0, 0.5, 1.0))
    assert gain(True, 0.0) < 0 < gain(True, 1.0)


# ---- levels -------------------------------------------------------------------------------------------------------


def test_levels_of_axelrods_parameters() -> None:
    for metanorms in (False, True):
        marks = NormsGame(metanorms=metanorms).benchmarks()
        assert marks.first_best.value == 0
        assert marks.equilibrium.value == 80 * (3 - 19)
        assert marks.others["norm"].value == 0
        assert NormsGame(metanorms=metanorms, repetitions=3).benchmarks().equilibrium.value == -3840


@settings(max_examples=15, deadline=None)
@given(games())
def test_no_profile_of_equal_traits_is_better_and_no_change_of_one_pays(game: NormsGame) -> None:
    marks = game.benchmarks()
    for b, v in itertools.product(range(game.top + 1), repeat=2):
        same = game.expected(np.full(game.agents, b / game.top), np.full(game.agents, v / game.top))
        assert same.sum() <= marks.first_best.value + 1e-9
        alone = game.expected(
            np.r_[b / game.top, np.ones(game.agents - 1)], np.r_[v / game.top, np.zeros(game.agents - 1)]
        )
        assert alone[0] <= marks.equilibrium.value / game.agents + 1e-9


def test_a_temptation_above_the_harm_makes_defection_the_first_best() -> None:
    marks = NormsGame(agents=3, temptation=5.0).benchmarks()
    assert marks.first_best.value == marks.equilibrium.value == 12 * (5 - 2)


def test_the_norm_needs_enough_vengeance() -> None:
    """With b = 0, a step to b = 1/7 gains T/7 - 9 (1/98) 19 v an opportunity: the norm holds from v = 2/7."""
    game = NormsGame()
    holds = [game.regret(0, v) <= 1e-12 for v in range(8)]
    assert holds == [False, False] + [True] * 6
    gains = [4 * max(3 * b / 7 - 9 * 19 * v / 7 * (b / 7) ** 2 / 2 for b in range(8)) for v in range(8)]
    np.testing.assert_allclose([game.regret(0, v) for v in range(8)], gains, atol=1e-12)


def test_equilibrium_play_attains_its_level() -> None:
    done = play(NormsGame(metanorms=True, agents=8), {"agent": policy("equilibrium")}, worlds=50, seed=2)
    np.testing.assert_array_equal(done.welfare, np.full(50, 32.0 * (3 - 7)))
    assert (done.measures["defection"] == 1).all() and (done.measures["punishment"] == 0).all()


# ---- the game -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "game",
    [
        NormsGame(agents=10),
        NormsGame(agents=6, metanorms=True, repetitions=3),
        NormsGame(agents=4, opportunities=2, metanorms=True, observers="witnesses again", sight="opportunity", bits=2),
        NormsGame(agents=3, metanorms=True, observers="witnesses", temptation=1.5, repetitions=2),
        NormsGame(agents=2, temptation=5.0),
    ],
)
def test_the_examiner_passes_it(game: NormsGame) -> None:
    check_game(game)


@pytest.mark.parametrize("observers", OBSERVERS)
def test_arrays(observers: str, examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(NormsGame(agents=5, metanorms=True, observers=observers, repetitions=2))


def test_the_rules_tell_all_numbers() -> None:
    about = NormsGame(metanorms=True, metapunishment=-8.5, repetitions=3).about
    for text in (
        "20 agents",
        "3 generations",
        "B/7",
        "4 opportunities",
        "3 points",
        "-1",
        "-9 points",
        "-2",
        "-8.5 points",
    ):
        assert text in about
    assert "let it pass" not in NormsGame().about


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"agents": 1}, "agents: a whole number from 2 to 200, got 1"),
        ({"opportunities": 0}, "opportunities: .* got 0"),
        ({"bits": 9}, "bits: a whole number from 1 to 8, got 9"),
        ({"temptation": -1.0}, "temptation: a number from 0 to .* got -1.0"),
        ({"harm": 1.0}, "harm: a number from .* to 0, got 1.0"),
        ({"punishment": math.nan}, "punishment: a number"),
        ({"metanorms": "yes"}, "metanorms: true or false, got 'yes'"),
        ({"observers": "nobody"}, "observers: one of 'anyone', 'witnesses again', 'witnesses', got 'nobody'"),
        ({"sight": "world"}, "sight: one of 'agent', 'opportunity', got 'world'"),
        ({"repetitions": 0}, "repetitions: .* got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NormsGame(**wrong)
