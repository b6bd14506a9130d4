"""Normal-form games: textbook equilibria, solvers checked for regret, accounts of the repeated game."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from societas import Game, make, mechanism, play, policy
from societas.envs.core import solve
from societas.envs.norms.matrix_game import MatrixGame
from societas.mechanisms.terms import Compensation
from societas.testing import check_game, check_mechanism


def both(action: int) -> dict[str, Any]:
    return {"player": policy("callable", function=lambda seen: {"action": seen["own"] * 0 + action}, batched=True)}


# ---- textbook games -----------------------------------------------------------------------------------------------


def test_prisoners_dilemma() -> None:
    game = MatrixGame.prisoners_dilemma(R=3, S=0, T=5, P=1, rounds=4)
    assert game == MatrixGame(repetitions=4)
    marks = game.benchmarks()
    assert solve.pure_nash(game.table) == [(1, 1)]
    assert marks.first_best.value == 4 * 6 and marks.equilibrium.value == 4 * 2
    kind, mean = play(game, both(0), worlds=2), play(game, both(1), worlds=2)
    np.testing.assert_allclose(kind.alignment, 1.0)
    np.testing.assert_allclose(mean.alignment, 0.0)
    assert (kind.returns["player"] == 12).all() and (kind.measures["first_action"] == 1).all()
    mixed = {"player_0": both(0)["player"], "player_1": both(1)["player"]}
    torn = play(game, mixed, worlds=1)
    assert torn.returns["player"].tolist() == [[0, 20]]
    assert torn.measures["equality"][0] == pytest.approx(0.5) and torn.measures["first_action"][0] == 0.5


def test_stag_hunt_has_two_equilibria_and_the_worse_is_the_benchmark() -> None:
    game = MatrixGame.stag_hunt()
    assert solve.pure_nash(game.table) == [(0, 0), (1, 1)]
    marks = game.benchmarks()
    assert (marks.first_best.value, marks.equilibrium.value) == (8, 6)


def test_chicken() -> None:
    """Both pure equilibria have one who yields; the mixed one crashes with probability (1/2)^2."""
    game = MatrixGame.chicken(prize=5, crash=-10)
    assert solve.pure_nash(game.table) == [(0, 1), (1, 0)]
    mixes = [mix for mix in solve.mixed_nash(game.table) if (mix[0] > 0).all()]
    assert len(mixes) == 1
    np.testing.assert_allclose(mixes[0][0], [0.5, 0.5])
    done = play(game, {"player": policy("equilibrium")}, worlds=1)
    assert done.returns["player"].tolist() == [[-5, 5]]
    assert play(game, both(0), worlds=1).measures["equality"][0] == 1  # nobody wins anything
    assert play(game, both(1), worlds=1).measures["equality"][0] == 1  # both crash


def test_matching_pennies() -> None:
    game = MatrixGame.matching_pennies()
    assert solve.pure_nash(game.table) == []
    x, y = solve.mixed_nash(game.table)[0]
    np.testing.assert_allclose([x, y], 0.5)
    marks = game.benchmarks()
    assert marks.equilibrium.value == 0 and marks.equilibrium.play is None
    with pytest.raises(ValueError, match=r"first_best .* must exceed the baseline"):
        marks.alignment(np.zeros(1))


def test_three_players() -> None:
    """A public good: each of three contributes 1 at a cost, and all get 0.6 of every contribution."""
    table = np.zeros((3, 2, 2, 2))
    for cell in itertools.product((0, 1), repeat=3):
        given_ = 3 - sum(cell)
        for i in range(3):
            table[(i, *cell)] = 0.6 * given_ + cell[i]
    game = MatrixGame(table.tolist(), ("give", "keep"))
    assert solve.pure_nash(game.table) == [(1, 1, 1)]
    assert game.benchmarks().equilibrium.value == pytest.approx(3.0)
    assert game.benchmarks().first_best.value == pytest.approx(5.4)
    done = play(game, {"player": policy("random")}, worlds=200, seed=1, keep=True)
    acts = done.moments[0].acts["player"]["action"].astype(int)
    for world in range(200):
        np.testing.assert_allclose(done.returns["player"][world], table[(slice(None), *acts[world])])


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.floats(0.5, 100.0), st.floats(0.01, 0.99))
def test_public_goods(n: int, endowment: float, part: float) -> None:
    """All had better give, n n mpcr e; in the only equilibrium all keep, n e. Payoffs are the sums in words."""
    mpcr = 1 / n + part * (1 - 1 / n)
    game = MatrixGame.public_goods(n, endowment, mpcr, rounds=3)
    marks = game.benchmarks()
    assert solve.pure_nash(game.table) == [(1,) * n]
    assert marks.first_best.value == pytest.approx(3 * n * n * mpcr * endowment)
    assert marks.equilibrium.value == pytest.approx(3 * n * endowment)
    for cell in itertools.product((0, 1), repeat=n):
        given_ = sum(endowment for action in cell if action == 0)
        for i in range(n):
            left = endowment if cell[i] == 1 else 0.0
            assert game.table[(i, *cell)] == pytest.approx(left + mpcr * given_)


def test_public_goods_are_examined() -> None:
    assert MatrixGame.public_goods().benchmarks().first_best.value == pytest.approx(128)
    check_game(MatrixGame.public_goods(rounds=2))
    check_game(MatrixGame.public_goods(players=2, endowment=1, mpcr=0.7))


@pytest.mark.parametrize(("theta", "gives"), [(0.0, False), (3.9, False), (4.1, True), (8.0, True)])
def test_a_contract_makes_giving_dominant_from_a_threshold_on(theta: float, gives: bool) -> None:
    """Who keeps pays theta to each who gives: (n - 1) theta against the (1 - mpcr) e that keeping brings; 4 is equal."""
    base = MatrixGame.public_goods()
    game = base | mechanism("Contract", terms=Compensation(theta, wrong="keep", right="give"))
    check_mechanism(mechanism("Contract", terms=Compensation(theta, wrong="keep", right="give")), base, worlds=16)
    table, none = np.zeros(base.table.shape), np.zeros((1, game.draws))
    for cell in itertools.product((0, 1), repeat=4):
        acts = {"consent": np.ones((1, 4), int), "action": np.zeros((1, 4), int)}
        agreed = game.step(game.start(none), {"player": acts}, none).state
        done = game.step(agreed, {"player": acts | {"action": np.array([cell])}}, none)
        assert done.done.all()
        np.testing.assert_allclose(done.welfare, base.table[(slice(None), *cell)].sum())
        table[(slice(None), *cell)] = done.rewards["player"][0]
    np.testing.assert_allclose(table.sum(axis=0), base.table.sum(axis=0))
    assert solve.pure_nash(table) == [(0,) * 4 if gives else (1,) * 4]
    for others in itertools.product((0, 1), repeat=3):
        assert (table[(0, 0, *others)] > table[(0, 1, *others)]) == gives


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"mpcr": 0.25}, r"mpcr: above 1/players = 0.25 and below 1, .* got 0.25"),
        ({"mpcr": 1.0}, "mpcr: above 1/players = 0.25 and below 1, .* got 1.0"),
        ({"players": 2}, "mpcr: above 1/players = 0.5 and below 1, .* got 0.4"),
        ({"mpcr": float("nan")}, "mpcr: a number"),
        ({"players": 9}, "players: a whole number from 2 to 8, got 9"),
        ({"endowment": 0}, "endowment: a number from 1e-06 to 10000, got 0"),
        ({"rounds": 0}, "repetitions: .* got 0"),
    ],
)
def test_a_public_good_must_be_a_dilemma(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MatrixGame.public_goods(**wrong)


# ---- solvers ------------------------------------------------------------------------------------------------------

tables = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, (2, *shape), elements=st.integers(-5, 5).map(float))
)


@settings(max_examples=100, deadline=None)
@given(tables)
def test_mixed_equilibria_have_no_regret_and_always_exist(table: np.ndarray[Any, Any]) -> None:
    """Integer payoffs are often degenerate, so that supports of different sizes are needed."""
    found = solve.mixed_nash(table)
    assert found
    for x, y in found:
        assert x.sum() == pytest.approx(1) and y.sum() == pytest.approx(1) and min(x.min(), y.min()) >= 0
        assert (table[0] @ y).max() <= x @ table[0] @ y + 1e-8
        assert (x @ table[1]).max() <= x @ table[1] @ y + 1e-8


def test_supports_of_different_sizes() -> None:
    """Found where no equilibrium has supports of equal size."""
    x, y = solve._any_supports(np.array([[[1.0, -1.0], [-1.0, 1.0]], [[-1.0, 1.0], [1.0, -1.0]]]), 1e-9)
    np.testing.assert_allclose([x, y], 0.5)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda n: st.tuples(*[st.integers(1, 3)] * n).flatmap(
            lambda shape: arrays(np.float64, (len(shape), *shape), elements=st.integers(-3, 3).map(float))
        )
    )
)
def test_pure_equilibria_by_definition(table: np.ndarray[Any, Any]) -> None:
    found = solve.pure_nash(table)
    for cell in itertools.product(*(range(size) for size in table.shape[1:])):
        stable = all(
            table[(i, *cell)] >= table[(i, *cell[:i], other, *cell[i + 1 :])]
            for i in range(table.shape[0])
            for other in range(table.shape[1 + i])
        )
        assert (cell in found) == stable
        assert (solve.regret(table, cell) == 0) == stable


# ---- the game -----------------------------------------------------------------------------------------------------


def test_players_see_the_last_round() -> None:
    game = MatrixGame(repetitions=3)
    state = game.start(np.zeros((1, 0)))
    seen = game.view(state)["player"]
    assert (seen["own"] == 2).all() and (seen["actions"] == 2).all() and (seen["round"] == 1).all()
    outcome = game.step(state, {"player": {"action": np.array([[0, 1]])}}, np.zeros((1, 0)))
    seen = game.view(outcome.state)["player"]
    assert seen["own"].tolist() == [[0, 1]] and seen["actions"].tolist() == [[[0, 1], [0, 1]]]
    assert (seen["round"] == 2).all() and not outcome.done[0]
    assert {"own", "actions"} <= {field.name for field in game.roles[0].sees if field.verifiable}


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(MatrixGame(repetitions=3))
    table = np.random.default_rng(0).normal(size=(3, 2, 2, 2)).round(2)
    examine_arrays(MatrixGame(table.tolist(), ("a", "b"), 2))


def test_parameters_read_from_data_are_lists() -> None:
    game = make("MatrixGame", payoffs=[[[3, 0], [5, 1]], [[3, 5], [0, 1]]], actions=["cooperate", "defect"])
    assert game == MatrixGame() and hash(game) == hash(MatrixGame())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"payoffs": (((1, 2), (3, 4)),)}, "payoffs: .* got shape"),
        ({"payoffs": (((1, 2), (3, 4)), ((1, 2), (3,)))}, "payoffs: a table of numbers without holes"),
        ({"payoffs": 3}, "payoffs: finite, of shape"),
        ({"payoffs": None}, "payoffs: "),
        ({"actions": ("a", "b", "c")}, r"payoffs: finite, of shape \(players, 3, ...\)"),
        ({"payoffs": (((1, 2), (3, float("inf"))), ((1, 2), (3, 4)))}, "payoffs: finite"),
        ({"repetitions": 0}, "repetitions: .* got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make("MatrixGame", **wrong)


def test_a_dilemma_must_be_one() -> None:
    with pytest.raises(ValueError, match="T > R > P > S"):
        MatrixGame.prisoners_dilemma(R=6)
