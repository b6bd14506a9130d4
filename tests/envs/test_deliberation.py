"""Deliberation: voting theory of one issue, order statistics by simulation, strategy-proofness by search, the game, groups."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from societas import Game, mechanism, play, policy
from societas.envs.core.fields import Text
from societas.envs.core.game import Acts
from societas.envs.norms.deliberation import Deliberation, group_aware_consensus, opinion_groups
from societas.envs.norms.fishery import Fishery
from societas.mechanisms.terms import Quota
from societas.testing import check_game

Host = np.ndarray[Any, Any]

VARIANTS: list[dict[str, Any]] = [
    {"repetitions": 3},
    {"issues": 2, "ratify": False, "citizens": 4, "repetitions": 2},
    {"citizens": 3, "words": 6},
    {"citizens": 3, "rule": "borda", "revise": False, "ratify": False},
    {"rule": "plurality", "revise": False, "quo": 0.4, "repetitions": 2},
    {"citizens": 4, "rule": "score", "revise": False, "ratify": False, "issues": 3},
]


def hold(game: Deliberation, opinions: Host, change: Callable[[Acts, int], Acts] | None = None) -> tuple[Host, Host]:
    """One round of sincere citizens with given opinions (worlds, citizens, issues): what stands, and the rewards.

    ``change`` may alter the acts at each stage.
    """
    u = opinions.reshape((*opinions.shape[:-2], -1))
    state = game.start(u)
    for stage in range(len(game.stages)):
        acts = game.sincere(game.view(state)["citizen"])
        outcome = game.step(state, {"citizen": acts if change is None else change(acts, stage)}, u)
        state = outcome.state
    return state.memory["stands"], outcome.rewards["citizen"]


def opinions_of(n: int, d: int = 1, worlds: int = 300, seed: int = 0) -> Host:
    return np.random.default_rng(seed).random((worlds, n, d))


# ---- what theory says ---------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=10, unique=True).filter(lambda x: len(x) % 2 == 1))
def test_schulze_elects_the_median_draft(places: list[int]) -> None:
    """One issue, an odd number of citizens, all sincere: the median beats every other draft (Black 1948)."""
    x = np.array(places) / 10**6
    game = Deliberation(citizens=len(x), revise=False, ratify=False)
    standing, _ = hold(game, x[None, :, None])
    assert standing[0, 0] == np.median(x)
    for other in x:  # the Condorcet winner, by counting
        assert 2 * (np.abs(x - np.median(x)) > np.abs(x - other)).sum() < len(x)


@pytest.mark.parametrize("quo", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("revise", [False, True])
def test_a_majority_prefers_the_median_to_any_status_quo(revise: bool, quo: float) -> None:
    opinions = opinions_of(5)
    standing, _ = hold(Deliberation(revise=revise, quo=quo), opinions)
    np.testing.assert_array_equal(standing[:, 0], np.median(opinions[..., 0], axis=1))


def test_plurality_can_elect_what_a_majority_likes_less() -> None:
    """Opinions 0, 0.05 and 1: the median wins by Schulze's rule; by plurality all tie, and the first draft wins."""
    opinions = np.array([[[0.0], [0.05], [1.0]]])
    by_majority, _ = hold(Deliberation(citizens=3, revise=False, ratify=False), opinions)
    assert by_majority[0, 0] == 0.05
    by_first, _ = hold(Deliberation(citizens=3, revise=False, ratify=False, rule="plurality"), opinions)
    assert by_first[0, 0] == 0.0


@pytest.mark.parametrize("rule", ["schulze", "borda", "plurality", "score"])
def test_what_all_rate_alike_is_no_matter_of_the_rule(rule: str) -> None:
    """A draft that everybody rates highest wins by every rule."""
    game = Deliberation(citizens=4, rule=rule)
    ratings = np.random.default_rng(1).random((50, 4, 4))
    ratings[np.arange(50), :, np.arange(50) % 4] = 10.0
    np.testing.assert_array_equal(game.elected(ratings), np.arange(50) % 4)


def test_rules_differ() -> None:
    """Ratings (10, 6, 0) of three and (0, 8, 10) of two: the majority's first choice against the broad second."""
    ratings = np.array([[10.0, 6.0, 0.0]] * 3 + [[0.0, 8.0, 10.0]] * 2)
    elected = {rule: int(Deliberation(rule=rule, citizens=5).elected(np.hstack([ratings, np.zeros((5, 2)) - 1])))
               for rule in ("schulze", "borda", "plurality", "score")}  # fmt: skip
    assert elected == {"schulze": 0, "borda": 0, "plurality": 0, "score": 1}


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("n", [3, 4])
def test_no_amendment_beats_the_truth(n: int, d: int) -> None:
    """The median of amendments is strategy-proof, issue by issue: no false amendment on a grid gains anything."""
    game = Deliberation(citizens=n, issues=d, ratify=False)
    opinions = opinions_of(n, d, worlds=200)
    _, truth = hold(game, opinions)
    for false in np.random.default_rng(2).random((40, d)).round(1):

        def lie(acts: Acts, stage: int, false: Host = false) -> Acts:
            if game.stages[stage].name != "revise":
                return acts
            amended = acts["revision"].copy()
            amended[:, 0, :] = false
            return {**acts, "revision": amended}

        _, rewards = hold(game, opinions, lie)
        assert (rewards[:, 0] <= truth[:, 0] + 1e-12).all()


def test_a_citizen_near_the_status_quo_can_gain_from_an_extreme_amendment() -> None:
    """Opinions 0.1, 0.3 and 0.9: if the first asks for 1 the statement is 0.9, which fails, and 0 stays."""
    game = Deliberation(citizens=3)
    opinions = np.array([[[0.1], [0.3], [0.9]]])

    def lie(acts: Acts, stage: int) -> Acts:
        return {**acts, "revision": np.where(np.arange(3)[:, None] == 0, 1.0, acts["revision"])} if stage == 2 else acts

    standing, truth = hold(game, opinions)
    sabotaged, rewards = hold(game, opinions, lie)
    assert standing[0, 0] == 0.3 and sabotaged[0, 0] == 0.0
    assert rewards[0, 0] == pytest.approx(-0.01) and truth[0, 0] == pytest.approx(-0.04)


@pytest.mark.parametrize(("n", "d"), [(3, 1), (4, 2), (7, 1), (8, 3)])
def test_levels_by_simulation(n: int, d: int) -> None:
    """Mean, median and status quo cost what the closed forms say; the mean is found by a general optimiser."""
    game = Deliberation(citizens=n, issues=d, quo=0.2, ratify=False)
    marks = game.benchmarks()
    x = opinions_of(n, d, worlds=100_000, seed=n)
    lower = np.sort(x, axis=1)[:, (n - 1) // 2]
    at = {
        "first_best": x.mean(axis=1),
        "equilibrium": lower,
        "baseline": np.full((len(x), d), 0.2),
    }
    for name, statement in at.items():
        welfare = -((x - statement[:, None]) ** 2).sum(axis=(1, 2))
        assert abs(welfare.mean() - marks.levels[name].value) < 4 * welfare.std() / np.sqrt(len(x))
    best = minimize(lambda s: ((x[0] - s) ** 2).sum(), np.zeros(d))
    np.testing.assert_allclose(best.x, at["first_best"][0], atol=1e-5)


def test_exact_levels() -> None:
    """Three citizens: 1/6 at the mean, 2 * 2 / (4 * 5) = 1/5 at the median, 1/3 at a citizen's draft, 1 at 0."""
    marks = Deliberation(citizens=3, repetitions=2).benchmarks()
    assert marks.first_best.value == pytest.approx(-2 / 6)
    assert marks.others["sincere"].value == pytest.approx(-2 / 5)
    assert marks.equilibrium.value == pytest.approx(-2)
    drafts = Deliberation(citizens=3, revise=False, ratify=False, rule="borda").benchmarks()
    assert drafts.equilibrium.value == pytest.approx(-1 / 3)
    assert "sincere" not in drafts.others  # what it is worth is not known in closed form
    assert marks.alignment(np.asarray(marks.others["sincere"].value)) == pytest.approx((1 - 1 / 5) / (1 - 1 / 6))


def test_equilibrium_play() -> None:
    game = Deliberation(citizens=5, issues=2, ratify=False)
    found = play(game, {"citizen": policy("equilibrium")}, worlds=20_000, seed=4)
    error = found.welfare.std() / np.sqrt(20_000)
    assert abs(found.welfare.mean() - game.benchmarks().equilibrium.value) < 4 * error
    np.testing.assert_allclose(found.measures["loss"], -found.welfare / 5, atol=1e-12)
    assert (found.measures["worst"] >= found.measures["loss"]).all()


def test_more_citizens_agree_less_and_lose_less_by_the_median() -> None:
    """A citizen's loss rises with their number towards 1/12; so does what the median costs above the mean, in all."""
    sizes = [3, 5, 9, 15]
    each = [Deliberation(citizens=n).benchmarks().first_best.value / n for n in sizes]
    assert all(a > b > -1 / 12 for a, b in itertools.pairwise(each))
    extra = [Deliberation(citizens=n).median_loss / ((n - 1) / 12) for n in sizes]
    assert all(1 < e < 1.3 for e in extra)


# ---- what stands binds --------------------------------------------------------------------------------------------


def test_an_adopted_rule_governs_the_game_that_follows() -> None:
    """Citizens settle a quota, up to 20 tonnes each; 5 fishers who keep to it exhaust the lake if it is above 10."""
    council = Deliberation(ratify=True)
    sincere = council.benchmarks().others["sincere"].play
    assert sincere is not None
    citizen = policy("callable", function=sincere["citizen"], batched=True)
    survived = set()
    for seed in range(6):
        settled = play(council, {"citizen": citizen}, seed=seed)
        assert settled.measures["adopted"][0] == 1.0
        quota = round(20 * float(settled.measures["issue_1"][0]))
        lake = Fishery() | mechanism("Contract", terms=Quota(limit=quota))
        keeps = policy("callable", function=lambda seen, quota=quota: {"consent": "accept", "harvest": quota})
        catch = play(lake, {"fisher": keeps}, seed=seed)
        lasts = 5 * quota <= 50
        assert (catch.measures["survival"][0] == 12) == lasts
        if lasts:
            assert catch.welfare[0] == pytest.approx(12 * 5 * quota)
        survived.add(lasts)
    assert survived == {True, False}


def test_refusal_keeps_the_status_quo() -> None:
    game = Deliberation(quo=0.7, repetitions=2)
    found = play(game, {"citizen": policy("equilibrium")}, worlds=20)
    assert (found.measures["adopted"] == 0).all()
    np.testing.assert_allclose(found.measures["issue_1"], 0.7)


def test_half_is_not_more_than_half() -> None:
    game = Deliberation(citizens=4, quo=0.25)
    opinions = opinions_of(4)

    def split(votes: int, acts: Acts, stage: int) -> Acts:
        return {**acts, "accept": np.broadcast_to(np.arange(4) < votes, (300, 4)) * 1} if stage == 3 else acts

    assert (hold(game, opinions, functools.partial(split, 2))[0] == 0.25).all()
    assert (hold(game, opinions, functools.partial(split, 3))[0] != 0.25).all()


# ---- the game -----------------------------------------------------------------------------------------------------


def test_opinions_are_private_and_the_rest_is_open() -> None:
    game = Deliberation(citizens=3, issues=2)
    opinions = opinions_of(3, 2, worlds=1)
    state = game.start(opinions.reshape(1, -1))
    seen = game.view(state)["citizen"]
    np.testing.assert_array_equal(seen["opinion"], opinions)
    assert all((values[0] == values[0, :1]).all() for name, values in seen.items() if name != "opinion")
    state = game.step(state, {"citizen": game.sincere(seen)}, opinions.reshape(1, -1)).state
    drafts = game.view(state)["citizen"]["drafts"]
    np.testing.assert_array_equal(drafts[0, 2], opinions[0].ravel())


def test_words_are_read_by_all() -> None:
    game = Deliberation(citizens=3, words=12)
    text = Text(12)
    state = game.start(np.full((1, game.draws), 0.5))
    words = np.stack([text.encode(word) for word in ("ten tonnes", "five", "none at all")])[None]
    acts = {**game.sincere(game.view(state)["citizen"]), "text": words, "critique": words * 0}
    state = game.step(state, {"citizen": acts}, np.full((1, game.draws), 0.5)).state
    for seat in range(3):
        prompt = game.prompt(state, "citizen", seat, world=0)
        assert 'citizen_0 "ten tonnes", citizen_1 "five", citizen_2 "none at all"' in prompt


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"citizens": 2}, "citizens: a whole number from 3 to 15, got 2"),
        ({"issues": 4}, "issues: a whole number from 1 to 3, got 4"),
        ({"rule": "dictator"}, "rule: one of 'schulze', 'borda', 'plurality', 'score', got 'dictator'"),
        ({"quo": 1.5}, "quo: a number from 0 to 1, got 1.5"),
        ({"words": -1}, "words: a whole number from 0 to 2000, got -1"),
        ({"revise": 1}, "revise: true or false, got 1"),
        ({"repetitions": 0}, "repetitions: a whole number from 1"),
    ],
)
def test_bad_input(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Deliberation(**given)


@pytest.mark.parametrize("given", VARIANTS)
def test_examined(given: dict[str, Any]) -> None:
    check_game(Deliberation(**given))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Deliberation(citizens=3, issues=2, words=2, repetitions=2))


# ---- common ground of groups --------------------------------------------------------------------------------------


def planted() -> tuple[Host, Host]:
    """Nine citizens and six, four statements: one that all like, one for each group, one that none likes; and some noise."""
    group = np.array([0] * 9 + [1] * 6)
    likes = np.array([[9.0, 9.0, 1.0, 1.0], [9.0, 1.0, 9.0, 1.0]])[group]
    return likes + np.random.default_rng(0).uniform(-1.0, 1.0, likes.shape), group


def test_planted_groups_are_found_and_bridging_statements_win() -> None:
    ratings, group = planted()
    consensus, groups = group_aware_consensus(ratings)
    np.testing.assert_array_equal(groups, group)
    expected = [10 / 11 * 7 / 8, 10 / 11 * 1 / 8, 1 / 11 * 7 / 8, 1 / 11 * 1 / 8]
    np.testing.assert_allclose(consensus, expected)
    assert consensus.argmax() == 0
    shuffled = np.random.default_rng(3).permutation(len(ratings))
    again, _ = group_aware_consensus(ratings[shuffled], seed=5)
    np.testing.assert_allclose(again, consensus)


def test_a_majority_cannot_outvote_a_group() -> None:
    """What all of one group like and none of the other loses against what two thirds of each like a little."""
    ratings, group = planted()
    mixed = np.where(np.arange(15) % 3 < 2, 6.0, 4.0)
    consensus, groups = group_aware_consensus(np.column_stack([ratings, mixed]))
    np.testing.assert_array_equal(groups, group)
    assert (ratings[:, 1] > 5).sum() == 9 and consensus[4] > consensus[1]


def test_what_is_not_rated_does_not_count() -> None:
    ratings, group = planted()
    ratings[0, 0] = ratings[14, 2] = np.nan
    consensus, groups = group_aware_consensus(ratings)
    np.testing.assert_array_equal(groups, group)
    assert consensus[0] == pytest.approx(9 / 10 * 7 / 8) and consensus[2] == pytest.approx(1 / 11 * 6 / 7)


@pytest.mark.parametrize("k", [3, 4, 5])
def test_as_many_groups_as_there_are(k: int) -> None:
    """Clusters on a circle are told apart, however the search starts."""
    rng = np.random.default_rng(k)
    angle = 2 * np.pi * np.repeat(np.arange(k), 6) / k
    points = np.column_stack([np.cos(angle), np.sin(angle)]) * 4 + rng.normal(0, 0.2, (6 * k, 2))
    for seed in range(3):
        np.testing.assert_array_equal(opinion_groups(points + 5, seed), np.repeat(np.arange(k), 6))


def test_those_who_rate_alike_are_one_group() -> None:
    consensus, groups = group_aware_consensus(np.full((4, 3), 7.0))
    assert (groups == 0).all()
    np.testing.assert_allclose(consensus, 5 / 6)
    with pytest.raises(ValueError, match="an array \\(citizens, statements\\), got one of shape"):
        group_aware_consensus(np.zeros(3))
