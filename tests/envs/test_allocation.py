"""Allocation: every definition against a search in plain words, what theory says of them, the game."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas import Game, play, policy
from societas.envs.norms.allocation import GAPS, Allocation
from societas.testing import check_game

KNOWN = ((50.0, 30.0, 20.0), (40.0, 40.0, 20.0), (30.0, 30.0, 40.0))
VARIANTS: list[dict[str, Any]] = [
    {"repetitions": 3},
    {"goods": 3, "decider": "unanimity", "coins": 2},
    {"people": 2, "goods": 5, "decider": "unanimity", "repetitions": 2},
    {"goods": 3, "coins": 4, "coin": 5.0, "values": KNOWN},
]

instances = st.tuples(st.integers(2, 3), st.integers(2, 4), st.integers(0, 2)).flatmap(
    lambda size: st.tuples(
        st.just(Allocation(people=size[0], goods=size[1], coins=size[2], coin=7.0)),
        st.lists(st.lists(st.integers(0, 9), min_size=size[1], max_size=size[1]), min_size=size[0], max_size=size[0]),
    )
)


def plainly(game: Allocation, values: list[list[int]]) -> list[dict[str, Any]]:
    """Every allocation of ``game.table`` by the definitions, one by one."""
    n, goods = game.people, range(game.goods)
    found: list[dict[str, Any]] = []
    for owner, money in zip(*game.table, strict=True):
        bundles = [[g for g in goods if owner[g] == j] for j in range(n)]
        worth = [[sum(values[i][g] for g in bundles[j]) + money[j] for j in range(n)] for i in range(n)]
        without = [
            [worth[i][j] - max([values[i][g] for g in bundles[j]], default=0) for j in range(n)] for i in range(n)
        ]
        found.append(
            {
                "u": [worth[i][i] for i in range(n)],
                "envy_free": max(worth[i][j] - worth[i][i] for i in range(n) for j in range(n)),
                "ef1": max(0, *(without[i][j] - worth[i][i] for i in range(n) for j in range(n))),
            }
        )
    us = [one["u"] for one in found]
    for one in found:
        u = one["u"]
        better = [v for v in us if all(a >= b for a, b in zip(v, u, strict=True)) and v != u]
        one["pareto"] = max((sum(v) - sum(u) for v in better), default=0)
        one["utilitarian"] = max(map(sum, us)) - sum(u)
        one["maximin"] = max(map(min, us)) - min(u)
        one["equitable"] = max(u) - min(u) - min(max(v) - min(v) for v in us)
    return found


@settings(max_examples=20, deadline=None)
@given(instances)
def test_every_definition_against_a_search(instance: tuple[Allocation, list[list[int]]]) -> None:
    game, values = instance
    found = game.classify(values)
    for name in GAPS:
        np.testing.assert_array_equal(found[name], [one[name] for one in plainly(game, values)], err_msg=name)


@settings(max_examples=40, deadline=None)
@given(instances)
def test_what_theory_says(instance: tuple[Allocation, list[list[int]]]) -> None:
    """What implies what, what always exists, and the highest Nash product (Caragiannis et al. 2019)."""
    game, values = instance
    holds = {name: gap <= 0 for name, gap in game.classify(values).items()}
    assert (holds["ef1"] | ~holds["envy_free"]).all()
    assert (holds["pareto"] | ~holds["utilitarian"]).all()
    assert (holds["pareto"] & holds["maximin"]).any()
    if not game.coins:
        assert holds["ef1"].any()  # Lipton et al. 2004
        owners = np.asarray(game.table[0])
        gets = [((owners == i) * np.asarray(values[i])).sum(axis=1) for i in range(game.people)]
        product = np.prod(gets, axis=0)
        if product.max() > 0:
            chosen = product == product.max()
            assert holds["ef1"][chosen].all() and holds["pareto"][chosen].all()


def test_an_example_by_hand() -> None:
    """Equal shares of 40 are there, of which two would rather have something else; efficiency leaves no envy."""
    game = Allocation(goods=3, values=KNOWN)
    assert len(game.table[0]) == 27
    marks = game.benchmarks()
    assert marks.first_best.value == 50 + 40 + 40  # good 1 to the first, 2 to the second, 3 to the third
    assert marks.equilibrium.value == 100
    row = game.table[0].index((0, 1, 2))
    found = game.classify(KNOWN)
    # shares of 50, 40 and 40 differ by 10; nothing to nobody but one differs by 100, so no split is more equal than (20, 40, 30)
    assert {name: found[name][row] for name in GAPS} == dict.fromkeys(GAPS, 0.0)


def test_equality_can_cost() -> None:
    """Two people, of whom one values everything twice as much: equal shares waste, efficiency leaves one with nothing."""
    game = Allocation(people=2, goods=2, values=((20, 40), (20, 20)))
    marks = game.benchmarks()
    assert marks.first_best.value == 60
    assert marks.others["equitable"].value == 40  # good 1 to the first, good 2 to the second: 20 each
    assert marks.others["envy_free"].value == 60
    assert "utilitarian" not in marks.others


def test_values_are_drawn_as_told() -> None:
    game = Allocation(people=3, goods=4)
    u = np.random.default_rng(0).random((200_000, game.nature))
    values = game.everyones(game.open(u))
    assert (values.sum(axis=-1) == 100).all() and values.min() >= 0 and (values == np.round(values)).all()
    np.testing.assert_allclose(values.mean(axis=0), 25.0, atol=0.5)  # whole places favour the inner pieces a little
    best = values.max(axis=1).sum(axis=1)
    assert abs(best.mean() - game.best) < 4 * best.std() / np.sqrt(len(best))


@pytest.mark.parametrize(("people", "goods"), [(2, 2), (2, 3), (3, 2)])
def test_expected_best_by_enumeration_of_cuts(people: int, goods: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few points every set of cuts can be listed."""
    from societas.envs.norms import allocation

    monkeypatch.setattr(allocation, "POINTS", 4)
    pieces = [np.diff([0, *sorted(cuts), 4]) for cuts in itertools.product(range(5), repeat=goods - 1)]
    mean = np.mean([np.max(rows, axis=0).sum() for rows in itertools.product(pieces, repeat=people)])
    assert Allocation(people=people, goods=goods).best == pytest.approx(mean, abs=1e-12)


def test_money_is_cut_off_where_it_ends() -> None:
    game = Allocation(coins=4, coin=5.0)
    give = np.array([[1, 2], [3, 3], [4, 4], [0, 0]])
    money = game.paid({"to": np.zeros((4, 4), dtype=int), "give": give})
    np.testing.assert_array_equal(money, [[5, 10, 5], [15, 5, 0], [20, 0, 0], [0, 0, 20]])


def test_money_makes_equality_possible() -> None:
    """Three coins of 10 turn 50, 40 and 40 into shares of 50, 50 and 50 with one left over for anybody."""
    values = ((50, 30, 20), (40, 40, 20), (30, 30, 40))
    with_money = Allocation(goods=3, coins=2, values=values)
    row = with_money.table[0].index((0, 1, 2))  # the first split gives all coins to the last
    rows = [
        r for r, o in enumerate(with_money.table[0]) if o == (0, 1, 2) and with_money.table[1][r] == (0.0, 10.0, 10.0)
    ]
    found = with_money.classify(values)
    assert all(found[name][rows[0]] == 0 for name in GAPS)
    assert found["equitable"][row] == 20 and found["utilitarian"][row] == 0


def test_refusal_leaves_nothing() -> None:
    game = Allocation(decider="unanimity")
    efficient = game.benchmarks().first_best.play
    assert efficient is not None
    proposer = policy("callable", function=efficient["proposer"], batched=True)
    refused = play(game, {"proposer": proposer}, worlds=50)  # the null act refuses
    assert (refused.welfare == 0).all() and (refused.returns["responder"] == 0).all()
    assert (refused.measures["accepted"] == 0).all() and (refused.measures["utilitarian"] == 1).all()
    agree = policy("callable", function=lambda seen: {"accept": seen["value_0"][..., 0] * 0 + 1}, batched=True)
    accepted = play(game, {"proposer": proposer, "responder": agree}, worlds=50)
    together = accepted.returns["proposer"].sum(axis=1) + accepted.returns["responder"].sum(axis=1)
    np.testing.assert_array_equal(accepted.welfare, together)
    assert (accepted.welfare >= 100).all()


def test_the_best_are_worth_what_is_said() -> None:
    game = Allocation(people=2, goods=6)
    found = play(game, {"spectator": policy("equilibrium", level="first_best")}, worlds=20_000, seed=1)
    error = found.welfare.std() / np.sqrt(20_000)
    assert abs(found.welfare.mean() - game.benchmarks().first_best.value) < 4 * error
    assert (found.measures["loss"] == 0).all() and (found.measures["pareto"] == 1).all()


def test_more_people_and_goods_make_more_of_it() -> None:
    """The expected best rises with people, who differ, and with goods, of which each then finds some that it likes."""
    assert 100 < Allocation(people=2, goods=2).best < Allocation(people=3, goods=2).best
    assert Allocation(people=2, goods=2).best < Allocation(people=2, goods=6).best < 150


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"people": 4}, "people: a whole number from 2 to 3, got 4"),
        ({"goods": 1}, "goods: a whole number from 2 to 6, got 1"),
        ({"decider": "lot"}, "decider: one of 'spectator', 'unanimity', got 'lot'"),
        ({"goods": 6, "coins": 5}, "goods, coins: at most 10000 allocations, got 15309 of 6 goods and 5 coins among 3"),
        ({"coin": 0.0}, "coin: a number from 1e-06 to 1e"),
        ({"values": ((1, 2), (3, 4))}, "values: 3 rows of 4 numbers"),
        ({"people": 2, "goods": 2, "values": ((1, -2), (3, 4))}, r"values\[0\]: a number from 0 to 1e\+06, got -2"),
        ({"values": 3}, "values: 3 rows of 4 numbers"),
    ],
)
def test_bad_input(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Allocation(**given)


def test_lists_are_taken_for_tuples() -> None:
    assert Allocation(people=2, goods=2, values=[[1, 2], [3, 4]]).values == ((1.0, 2.0), (3.0, 4.0))  # type: ignore[arg-type]
    assert hash(Allocation(values=[])) == hash(Allocation())  # type: ignore[arg-type]


def test_rules_tell_all_that_matters() -> None:
    game: Game = Allocation(decider="unanimity", coins=3, coin=4.0)
    rules = game.rules("responder")
    for part in (
        "3 coins, each worth 4 points",
        "if anyone refuses, nobody gets anything",
        "drawn anew",
        "responder_1",
    ):
        assert part in rules


@pytest.mark.parametrize("given", VARIANTS)
def test_examined(given: dict[str, Any]) -> None:
    check_game(Allocation(**given))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Allocation(people=2, goods=3, coins=2, decider="unanimity", repetitions=2))
