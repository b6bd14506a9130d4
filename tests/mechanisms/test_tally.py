"""Voting rules: published examples, and what social choice theory says of each."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas.envs.core import tally

Host = np.ndarray[Any, Any]


def ranks_of(ballots: dict[str, int]) -> Host:
    """Ranks (voters, options) from ballots like {"ACB": 5}."""
    letters = sorted(next(iter(ballots)))
    return np.array([[order.index(x) + 1 for x in letters] for order, n in ballots.items() for _ in range(n)])


def ranked(voters: tuple[int, int] = (1, 7), options: tuple[int, int] = (2, 5)) -> st.SearchStrategy[Host]:
    """Ranks (voters, options), ties among them."""

    def draw(k: int) -> st.SearchStrategy[Host]:
        row = st.lists(st.integers(1, k), min_size=k, max_size=k)
        return st.lists(row, min_size=voters[0], max_size=voters[1]).map(np.array)

    return st.integers(*options).flatmap(draw)


def won(scores: Host) -> set[int]:
    return set(np.flatnonzero(scores == scores.max()).tolist())


SCHULZE = {"ACBED": 5, "ADECB": 5, "BEDAC": 8, "CABED": 3, "CAEBD": 7, "CBADE": 2, "DCEBA": 7, "EBADC": 8}


def test_schulzes_example_of_45_voters() -> None:
    ranks = ranks_of(SCHULZE)
    assert len(ranks) == 45
    preferred = [
        [0, 20, 26, 30, 22],
        [25, 0, 16, 33, 18],
        [19, 29, 0, 17, 24],
        [15, 12, 28, 0, 14],
        [23, 27, 21, 31, 0],
    ]
    np.testing.assert_array_equal(tally.duels(ranks), preferred)
    paths = [[0, 28, 28, 30, 24], [25, 0, 28, 33, 24], [25, 29, 0, 29, 24], [25, 28, 28, 0, 24], [25, 28, 28, 31, 0]]
    found = tally.strengths(tally.duels(ranks))
    np.testing.assert_array_equal(found * (1 - np.eye(5, dtype=int)), paths)
    np.testing.assert_array_equal(tally.schulze(ranks), [3, 1, 2, 0, 4])  # E > A > C > B > D
    assert tally.winner(tally.schulze(ranks)) == 4


def strongest(preferred: Host, i: int, j: int) -> int:
    """Strength of the strongest path, by going through all of them."""
    k, best = len(preferred), 0
    between = [x for x in range(k) if x not in (i, j)]
    for size in range(k - 1):
        for via in itertools.permutations(between, size):
            steps = list(itertools.pairwise((i, *via, j)))
            if all(preferred[a, b] > preferred[b, a] for a, b in steps):
                best = max(best, min(int(preferred[a, b]) for a, b in steps))
    return best


@settings(max_examples=60, deadline=None)
@given(ranked())
def test_path_strengths_by_enumeration(ranks: Host) -> None:
    preferred = tally.duels(ranks)
    found, k = tally.strengths(preferred), ranks.shape[1]
    for i, j in itertools.permutations(range(k), 2):
        assert found[i, j] == strongest(preferred, i, j)
    assert tally.schulze(ranks).max() == k - 1  # somebody wins


@settings(max_examples=200, deadline=None)
@given(ranked(options=(2, 4)))
def test_schulze_elects_whoever_wins_every_duel(ranks: Host) -> None:
    preferred, k = tally.duels(ranks), ranks.shape[1]
    winners = won(tally.schulze(ranks))
    for i in range(k):
        if all(preferred[i, j] > preferred[j, i] for j in range(k) if j != i):
            assert winners == {i}
        if all(preferred[i, j] < preferred[j, i] for j in range(k) if j != i):
            assert i not in winners


def test_borda_need_not_elect_whoever_wins_every_duel() -> None:
    ranks = ranks_of({"ABC": 3, "BCA": 2})
    np.testing.assert_array_equal(tally.borda(ranks), [6, 7, 2])
    assert won(tally.borda(ranks)) == {1} and won(tally.schulze(ranks)) == {0}


@settings(max_examples=60, deadline=None)
@given(ranked())
def test_borda_scores(ranks: Host) -> None:
    """A full count of pairs; k - rank where ranks are strict."""
    k = ranks.shape[1]
    scores = tally.borda(ranks)
    assert scores.sum() == len(ranks) * k * (k - 1) / 2
    strict = ranks.argsort(axis=1, kind="stable").argsort(axis=1) + 1
    np.testing.assert_array_equal(tally.borda(strict), (k - strict).sum(axis=0))


RANKED: dict[str, Callable[[Host], Host]] = {
    "borda": tally.borda,
    "schulze": tally.schulze,
    "approval": lambda ranks: tally.approval(ranks == 1),
    "plurality": lambda ranks: tally.plurality(ranks.argmin(axis=-1), ranks.shape[-1]),
}


@pytest.mark.parametrize("rule", RANKED)
@settings(max_examples=60, deadline=None)
@given(ranks=ranked(), data=st.data())
def test_voters_and_options_have_no_names(rule: str, ranks: Host, data: st.DataObject) -> None:
    """Anonymity, and neutrality: whoever votes and whatever an option is called, the count is the same."""
    if rule == "plurality":  # whoever names one option has one best
        ranks = ranks.argsort(axis=1, kind="stable").argsort(axis=1) + 1
    scores = RANKED[rule](ranks)
    voters = data.draw(st.permutations(range(ranks.shape[0])))
    options = data.draw(st.permutations(range(ranks.shape[1])))
    np.testing.assert_array_equal(RANKED[rule](ranks[voters]), scores)
    np.testing.assert_array_equal(RANKED[rule](ranks[:, options]), scores[options])


@pytest.mark.parametrize("rule", RANKED)
@settings(max_examples=100, deadline=None)
@given(ranks=ranked(), data=st.data())
def test_support_does_no_harm(rule: str, ranks: Host, data: st.DataObject) -> None:
    """Monotonicity: a winner that a voter comes to like better still wins."""
    best = sorted(won(RANKED[rule](ranks)))[0]
    voter = data.draw(st.integers(0, len(ranks) - 1))
    raised = ranks.copy()
    raised[voter] += 1  # room at the top; the order among the others is as it was
    raised[voter, best] = data.draw(st.integers(1, int(ranks[voter, best])))
    if rule == "approval":
        raised = ranks.copy()
        raised[voter, best] = 1
    assert best in won(RANKED[rule](raised))


def test_majority_and_plurality() -> None:
    named = np.array([[0, 1, 1, 2, 2], [2, 2, 2, 1, 0], [1, 1, 2, 2, 2]])
    np.testing.assert_array_equal(tally.plurality(named, 3), [[1, 2, 2], [1, 1, 3], [0, 2, 3]])
    np.testing.assert_array_equal(tally.winner(tally.plurality(named, 3)), [1, 2, 2])
    np.testing.assert_array_equal(tally.majority(named, 3), [[1, 0, 0], [0, 0, 1], [0, 0, 1]])
    np.testing.assert_array_equal(tally.majority(np.array([1, 1, 0, 0]), 2), [1, 0])  # half is not more than half


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=9))
def test_rules_agree_on_two_options(named: list[int]) -> None:
    """May (1952): with two options there is one rule, but for ties."""
    votes = np.array(named)
    ranks = np.stack([1 + votes, 2 - votes], axis=-1)
    expected = won(tally.plurality(votes, 2))
    for scores in (tally.borda(ranks), tally.schulze(ranks), tally.approval(ranks == 1)):
        assert won(scores) == expected
    if len(expected) == 1:
        assert won(tally.majority(votes, 2)) == expected and won(tally.median(votes, 2)) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=7), st.data())
def test_the_median_rewards_no_false_peak(peaks: list[int], data: st.DataObject) -> None:
    """Nobody moves the median towards her peak."""
    truth = int(tally.winner(tally.median(np.array(peaks), 5)))
    assert truth == sorted(peaks)[(len(peaks) - 1) // 2]
    voter = data.draw(st.integers(0, len(peaks) - 1))
    for lie in range(5):
        false = np.array([lie if i == voter else p for i, p in enumerate(peaks)])
        found = int(tally.winner(tally.median(false, 5)))
        assert (found - truth) * np.sign(peaks[voter] - truth) <= 0


def test_a_drawn_voter_decides() -> None:
    named = np.array([2, 0, 0, 1])
    for u, option in ((0.0, 2), (0.2499, 2), (0.25, 0), (0.74, 0), (0.75, 1), (1 - 2**-53, 1)):
        assert tally.winner(tally.sortition(named, 3, np.array(u))) == option
    u = (np.arange(4000) + 0.5) / 4000
    drawn = tally.winner(tally.sortition(np.broadcast_to(named, (4000, 4)), 3, u))
    np.testing.assert_array_equal(np.bincount(drawn) / 4000, [0.5, 0.25, 0.25])


def test_ties() -> None:
    scores = np.array([[1, 3, 3, 0, 3]] * 6)
    np.testing.assert_array_equal(tally.winner(scores), [1] * 6)
    u = np.array([0.0, 0.33, 0.34, 0.66, 0.67, 1 - 2**-53])
    np.testing.assert_array_equal(tally.winner(scores, u), [1, 1, 2, 2, 4, 4])
    assert tally.winner(np.array([0.0, 2.0]), np.array(0.99)) == 1


def test_an_intense_minority_outvotes_a_majority_that_hardly_cares() -> None:
    """Four who put 4 credits against one who puts 100: 8 votes to 10. A head each: 4 to 1."""
    credits = np.array([[4.0, 0.0]] * 4 + [[0.0, 100.0]])
    np.testing.assert_allclose(tally.quadratic(credits, 100.0), [8.0, 10.0])
    np.testing.assert_allclose(tally.quadratic(-credits, 100.0), [-8.0, -10.0])
    assert tally.winner(tally.plurality(credits.argmax(axis=1), 2)) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-9, 9), min_size=2, max_size=4), st.floats(1.0, 50.0), st.integers(0, 99))
def test_credits_in_proportion_to_squared_values_are_best(values: list[float], budget: float, seed: int) -> None:
    """No other way to spend a budget moves the votes further in the direction of the values (Cauchy and Schwarz)."""
    v = np.array(values)
    length = float(np.linalg.norm(v))
    if length < 1e-3:
        return
    best = np.sign(v) * v**2 / length**2 * budget
    gained = tally.quadratic(best[None, :], budget) @ v
    np.testing.assert_allclose(gained, np.sqrt(budget) * length)
    others = np.random.default_rng(seed).uniform(-budget, budget, (50, 1, len(v)))
    assert (tally.quadratic(others, budget) @ v <= gained * (1 + 1e-12)).all()
    for other in others:  # who overdraws is scaled down to the budget
        scaled = other * min(1.0, budget / np.abs(other).sum())
        np.testing.assert_allclose(tally.quadratic(other, budget), np.sign(scaled[0]) * np.sqrt(np.abs(scaled[0])))


GRID = (-1.5, -0.75, 0.0, 0.75, 1.5)


def test_truth_is_dominant_under_the_pivot_rule() -> None:
    """A public project, built if the three reports of what it is worth above its cost share exceed 0: every true value,
    every report of the others, every lie on the grid."""
    cells = np.array(list(itertools.product(GRID, repeat=4)))  # value, lie, what the two others report
    value, lie, others = cells[:, 0], cells[:, 1], cells[:, 2:]

    def utility(report: Host) -> Host:
        built, taxes = tally.pivot(np.stack([np.zeros((len(cells), 3)), np.c_[report, others]], axis=-1))
        np.testing.assert_array_equal(built, (report + others.sum(axis=1) > 0).astype(int))
        assert (taxes >= 0).all()
        return np.asarray(value * built - taxes[:, 0])

    honest, lying = utility(value), utility(lie)
    assert (honest >= lying).all() and (honest > lying).any()


def test_who_is_pivotal_pays_what_the_others_lose() -> None:
    """30 and 20 for A against 40 for B: either of the first turns the choice, and pays 40 less what the other has of it."""
    values = np.array([[30.0, 0.0], [20.0, 0.0], [0.0, 40.0]])
    chosen, taxes = tally.pivot(values)
    assert chosen == 0
    np.testing.assert_array_equal(taxes, [20.0, 10.0, 0.0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(2, 5))
def test_worlds_are_counted_one_by_one(seed: int, voters: int, options: int) -> None:
    """A batch is what its worlds are alone, in NumPy and in torch."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    ranks, credits = rng.integers(1, options + 1, (6, voters, options)), rng.normal(size=(6, voters, options))
    named, u = rng.integers(0, options, (6, voters)), rng.random(6)
    rules: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (tally.borda, (ranks,)),
        (tally.schulze, (ranks,)),
        (lambda c: tally.quadratic(c, 2.0), (credits,)),
        (lambda c: tally.pivot(c)[1], (credits,)),
        (lambda n: tally.majority(n, options), (named,)),
        (lambda n: tally.median(n, options), (named,)),
        (lambda n, v: tally.sortition(n, options, v), (named, u)),
        (lambda r, v: tally.winner(tally.borda(r), v), (ranks, u)),
    ]
    for rule, given_ in rules:
        together = rule(*given_)
        for world in range(6):
            np.testing.assert_array_equal(together[world], rule(*(np.asarray(part[world]) for part in given_)))
        there = rule(*(torch.asarray(part) for part in given_)).numpy()
        np.testing.assert_allclose(there, together, rtol=1e-12)
        assert there.dtype == together.dtype
