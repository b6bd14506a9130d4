"""Screening: textbook menus, solvers against independent methods, comparative statics, and what the agent sees."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from societas import Game, play, policy
from societas.envs.contracting.menu import Menu
from societas.envs.contracting.screening import Screening
from societas.testing import check_game

VARIANTS: list[dict[str, Any]] = [
    {},
    {"types": (0.0, 1.0), "continuum": True, "repetitions": 3},
    {"types": (2.0, 2.5, 3.0, 4.0), "chances": (0.4, 0.1, 0.3, 0.2), "items": 2, "repetitions": 3},
    {"types": (-0.5, 1.0, 1.2), "chances": (0.2, 0.5, 0.3), "items": 4, "cost": 0.5},
]


@st.composite
def instances(draw: st.DrawFn, most: int = 4) -> Screening:
    """Small problems with rounded numbers; low types may want nothing, and virtual types may decrease."""
    steps = draw(st.lists(st.integers(1, 12), min_size=2, max_size=most))
    lowest = draw(st.integers(-4, 24))
    types = tuple((lowest + sum(steps[:i])) / 8 for i in range(1, len(steps) + 1))
    weights = draw(st.lists(st.integers(1, 10), min_size=len(types), max_size=len(types)))
    if types[-1] <= 0:
        types = tuple(kind - types[-1] + 1.0 for kind in types)
    return Screening(types, tuple(w / sum(weights) for w in weights), cost=draw(st.sampled_from([0.5, 1.0, 2.0])))


def answers(game: Screening, menu: Menu, kind: float) -> tuple[float, float]:
    """What a type takes from a menu (quality, price), item by item; indifferent, what pays the principal most."""
    options = [(0.0, 0.0), *menu]
    best = max(kind * q - t for q, t in options)
    return max(
        (i for i in options if kind * i[0] - i[1] >= best - 1e-9), key=lambda i: i[1] - game.cost * i[0] ** 2 / 2
    )


def direct(game: Screening) -> float:
    """The best direct mechanism, with all incentive and participation constraints, by a general solver."""
    n, types, p = len(game.types), np.asarray(game.types), np.asarray(game.odds)
    rows = [np.concatenate([kind * np.eye(n)[i], -np.eye(n)[i]]) for i, kind in enumerate(types)]
    for i, j in itertools.permutations(range(n), 2):
        row = np.zeros(2 * n)
        row[i], row[j], row[n + i], row[n + j] = types[i], -types[i], -1.0, 1.0
        rows.append(row)
    walls = np.array(rows)
    found = minimize(
        lambda x: float(p @ (game.cost * x[:n] ** 2 / 2 - x[n:])),
        np.zeros(2 * n),
        jac=lambda x: np.concatenate([p * game.cost * x[:n], -p]),
        bounds=[(0.0, None)] * n + [(None, None)] * n,
        constraints={"type": "ineq", "fun": lambda x: walls @ x, "jac": lambda x: walls},
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 1000},
    )
    assert (walls @ found.x).min() > -1e-6
    return -float(found.fun)


# ---- closed forms -------------------------------------------------------------------------------------------------


def test_two_types_in_closed_form() -> None:
    """Types 1 and 1.5, equally likely, cost q^2/2: q = (.5, 1.5), t = (.5, 2), the high type's rent is .25."""
    game = Screening()
    np.testing.assert_allclose(game.optimal_menu, [(0.5, 0.5), (1.5, 2.0)], atol=1e-12)
    assert game.expected(game.optimal_menu)[0] == pytest.approx(0.625, abs=1e-12)
    marks = game.benchmarks()
    assert marks.second_best is not None and marks.baseline is not None
    assert marks.first_best.value == pytest.approx((1 + 2.25) / 4)
    assert marks.equilibrium.value == marks.second_best.value == pytest.approx(0.5 * 0.375 + 0.5 * 1.125)
    assert marks.baseline.value == pytest.approx(0.5 * 1.125)  # one item, made for the high type
    quality, price = answers(game, game.optimal_menu, 1.5)
    assert 1.5 * quality - price == pytest.approx(0.25)


@pytest.mark.parametrize("high", [0.05, 0.3, 0.5, 0.6, 0.65, 0.68, 0.9])
def test_the_low_quality_is_distorted_by_the_odds_of_the_high_type(high: float) -> None:
    game = Screening(types=(1.0, 1.5), chances=(1 - high, high), cost=2.0)
    low = max(0.0, 1.0 - 0.5 * high / (1 - high)) / 2
    np.testing.assert_allclose(game.optimal_menu, [(low, low), (0.75, low + 1.5 * (0.75 - low))], atol=1e-12)


@pytest.mark.parametrize("items", [1, 2, 3, 7, 12])
def test_uniform_types_in_closed_form(items: int) -> None:
    """Types uniform on 0..1: profit 1/12 in the limit; m items reach 1 - 1/(2m + 1)^2 of profit and of welfare."""
    game = Screening(types=(0.0, 1.0), continuum=True, items=items)
    share = 1 - 1 / (2 * items + 1) ** 2
    np.testing.assert_allclose(game.unlimited, (1 / 12, 1 / 8), atol=1e-12)
    np.testing.assert_allclose(game.expected(game.optimal_menu), (share / 12, share / 8), atol=1e-12)
    assert game.benchmarks().first_best.value == pytest.approx(1 / 6)
    qualities = [q for q, _ in game.optimal_menu]
    np.testing.assert_allclose(qualities, [2 * k / (2 * items + 1) for k in range(1, items + 1)])


def test_types_whose_virtual_types_decrease_are_pooled() -> None:
    """Virtual types 7/3, -3 and 5: the first two share their mean, 25/13."""
    game = Screening(types=(3.0, 4.0, 5.0), chances=(0.6, 0.05, 0.35))
    pooled = 25 / 13
    np.testing.assert_allclose(game.optimal_menu[1:], [(pooled, 3 * pooled), (5.0, 25 - 2 * pooled)], atol=1e-12)
    assert game.optimal_menu[0] == (0.0, 0.0)
    menu = np.asarray(game.optimal_menu)
    assert game.pick(menu[:, 0], menu[:, 1], np.asarray(game.types)).tolist() == [2, 2, 3]


# ---- solvers ------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(instances())
def test_the_menu_is_the_best_direct_mechanism(game: Screening) -> None:
    top = game.types[-1] ** 2 / game.cost
    assert game.expected(game.optimal_menu)[0] == pytest.approx(direct(game), abs=1e-5 * top)
    assert game.unlimited[0] == pytest.approx(game.expected(game.optimal_menu)[0])


@settings(max_examples=25, deadline=None)
@given(instances(), st.integers(1, 2))
def test_few_items_against_every_assignment_of_types_to_items(game: Screening, items: int) -> None:
    """One or two qualities on a fine grid; for each, the best prices make some type indifferent in every possible way."""
    kinds, odds = np.asarray(game.types), np.asarray(game.odds)
    best, grid = 0.0, np.linspace(0.0, game.types[-1] / game.cost, 121)
    q = np.stack(np.meshgrid(*[grid] * items, indexing="ij"), axis=-1).reshape(-1, items)
    q = q[(np.diff(q, axis=-1) >= 0).all(axis=-1)]
    for marginal in itertools.combinations_with_replacement(game.types, items):
        t = np.cumsum(np.diff(q, axis=-1, prepend=0.0) * marginal, axis=-1)
        choices = np.concatenate([np.zeros((len(q), 1)), q], axis=1)[:, None, :]
        prices = np.concatenate([np.zeros((len(q), 1)), t], axis=1)[:, None, :]
        utility = kinds[:, None] * choices - prices
        profit = np.where(
            utility >= utility.max(axis=-1, keepdims=True) - 1e-9, prices - game.cost / 2 * choices**2, -9e9
        )
        best = max(best, float((profit.max(axis=-1) @ odds).max()))
    found = game.expected(game.best_menu(items))[0]
    step = grid[1] - grid[0]
    assert best - 1e-8 <= found <= best + game.cost * step**2 / 8 + 1e-8  # the grid is off by half a step at most


@settings(max_examples=25, deadline=None)
@given(st.floats(-1.0, 1.5), st.floats(0.2, 2.0), st.integers(1, 4), st.sampled_from([0.5, 1.0]))
def test_a_continuum_against_a_general_solver(low: float, width: float, items: int, cost: float) -> None:
    """Choose the types at which items begin, and qualities, to maximise the integral of profit, without virtual types."""
    high = low + width
    if high < 0.1:
        low, high = low - high + 1.0, 1.0
    game = Screening((low, high), continuum=True, items=items, cost=cost)

    def loss(x: Any) -> float:
        starts, q = x[:items], x[items:]
        t = np.cumsum(np.diff(q, prepend=0.0) * starts)
        return -float((t - cost * q**2 / 2) @ np.diff(starts, append=high)) / (high - low)

    least = max(low, 0.0)
    ordered = np.zeros((2 * items - 2, 2 * items))
    for k in range(items - 1):
        ordered[k, k], ordered[k, k + 1] = -1.0, 1.0
        ordered[items - 1 + k, items + k], ordered[items - 1 + k, items + k + 1] = -1.0, 1.0
    found = []
    for begin in (0.0, 0.5):
        starts = np.linspace(least + begin * (high - least), high, items, endpoint=False)
        solved = minimize(
            loss,
            np.concatenate([starts, starts / cost]),
            bounds=[(least, high)] * items + [(0.0, high / cost)] * items,
            constraints={"type": "ineq", "fun": lambda x: ordered @ x} if items > 1 else (),
            method="SLSQP",
            options={"ftol": 1e-13, "maxiter": 500},
        )
        found.append(-float(solved.fun))
    assert game.expected(game.optimal_menu)[0] == pytest.approx(max(found), abs=1e-6)
    assert game.expected(game.optimal_menu)[0] <= game.unlimited[0] + 1e-12


@settings(max_examples=40, deadline=None)
@given(st.data(), st.booleans())
def test_expected_profit_and_welfare_are_those_of_the_picks(data: st.DataObject, continuum: bool) -> None:
    """Any menu, against a plain sum over types; a continuum against very many of them."""
    item = st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 4.0))
    menu = tuple(data.draw(st.lists(item, min_size=1, max_size=4)))
    if continuum:
        game: Screening = Screening((-0.5, 1.5), continuum=True, items=len(menu))
        kinds, odds = (np.arange(4000) + 0.5) / 2000 - 0.5, np.full(4000, 1 / 4000)
    else:
        game = data.draw(instances())
        kinds, odds = np.asarray(game.types), np.asarray(game.odds)
    taken = [answers(game, menu, kind) for kind in kinds.tolist()]
    profit = sum(p * (t - game.cost * q**2 / 2) for p, (q, t) in zip(odds, taken, strict=True))
    welfare = sum(p * (kind * q - game.cost * q**2 / 2) for kind, p, (q, t) in zip(kinds, odds, taken, strict=True))
    np.testing.assert_allclose(game.expected(menu), (profit, welfare), atol=1e-2 if continuum else 1e-9)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((0.6, [(1.0, 0.7), (1.5, 1.4)]), "is to give 0.6, but the agent's best picks give"),
        ((0.5625, [(1.5, 1.5)]), r"gives 0.5625, but \(\(0.[0-9]+, .* gives 0.6"),
    ],
)
def test_a_wrong_menu_is_not_returned(
    steps: tuple[float, list[tuple[float, float]]], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("societas.envs.contracting.menu.discrete_steps", lambda *_: steps)
    with pytest.raises(RuntimeError, match=words):
        Screening().best_menu(2)


# ---- comparative statics ------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(instances(most=6))
def test_distortion_is_at_the_bottom_only_and_rents_rise_with_the_type(game: Screening) -> None:
    taken = [answers(game, game.optimal_menu, kind) for kind in game.types]
    rents = [kind * q - t for kind, (q, t) in zip(game.types, taken, strict=True)]
    assert taken[-1][0] == pytest.approx(game.types[-1] / game.cost)
    assert rents[0] == pytest.approx(0.0, abs=1e-9) and all(b >= a - 1e-9 for a, b in itertools.pairwise(rents))
    for kind, (q, _) in zip(game.types, taken, strict=True):
        assert q <= max(kind, 0.0) / game.cost + 1e-9
    assert [q for q, _ in taken] == sorted(q for q, _ in taken)


@settings(max_examples=40, deadline=None)
@given(instances(most=6))
def test_more_items_are_never_worse_and_more_than_types_are_of_no_use(game: Screening) -> None:
    profits = [game.expected(game.best_menu(items))[0] for items in range(1, len(game.types) + 3)]
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(profits))
    assert profits[-1] == pytest.approx(profits[-3], abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(instances(most=6))
def test_levels_are_ordered(game: Screening) -> None:
    marks, profit = game.benchmarks(), game.expected(game.optimal_menu)[0]
    assert profit - 1e-9 <= marks.equilibrium.value <= marks.first_best.value + 1e-9
    assert marks.first_best.value == pytest.approx(
        sum(p * max(kind, 0.0) ** 2 / 2 / game.cost for kind, p in zip(game.types, game.odds, strict=True))
    )


# ---- the game -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", VARIANTS)
def test_the_game_is_examined(options: dict[str, Any]) -> None:
    check_game(Screening(**options))


@pytest.mark.parametrize("options", VARIANTS)
def test_equilibrium_play_matches_the_closed_form(options: dict[str, Any]) -> None:
    game = Screening(**options)
    theory = policy("equilibrium")
    done = play(game, {"principal": theory, "agent": theory}, worlds=20_000, seed=5)
    profit, welfare = game.expected(game.optimal_menu)
    for measured, wanted in (
        (done.measures["profit"], profit),
        (done.measures["rent"], welfare - profit),
        (done.welfare / game.repetitions, welfare),
    ):
        error = 4 * measured.std() / math.sqrt(len(measured)) + 1e-9
        assert measured.mean() == pytest.approx(wanted, abs=error)


def test_trade_is_what_the_rules_say() -> None:
    game = Screening(cost=0.5, repetitions=2)
    u = np.array([[0.2], [0.7], [0.7]])
    acts = {
        "principal": {
            "quality": np.tile([[1.0, 2.0]], (3, 1, 1)),
            "price": np.tile([[0.5, 2.5]], (3, 1, 1)),
        },
        "agent": {"pick": np.array([[1], [2], [0]])},
    }
    start = game.start(u)
    assert game.view(start)["agent"]["type"][:, 0].tolist() == [1.0, 1.5, 1.5]
    posted = game.step(start, acts, u)
    assert (posted.welfare == 0).all() and not posted.done.any() and (game.stage(posted.state) == 1).all()
    done = game.step(posted.state, acts, u)
    np.testing.assert_allclose(done.rewards["principal"][:, 0], [0.5 - 0.25, 2.5 - 1.0, 0.0])
    np.testing.assert_allclose(done.rewards["agent"][:, 0], [1.0 - 0.5, 3.0 - 2.5, 0.0])
    np.testing.assert_allclose(done.welfare, [0.75, 2.0, 0.0])
    assert game.view(start)["principal"]["last_pick"][:, 0].tolist() == [3, 3, 3]
    assert game.view(done.state)["principal"]["last_pick"][:, 0].tolist() == [1, 2, 0]
    assert game.measures(done.state)["served"].tolist() == [1.0, 1.0, 0.0]


def test_the_type_is_private_and_no_court_can_establish_it() -> None:
    principal, agent = Screening().roles
    assert "type" not in {field.name for field in principal.sees}
    assert {field.name: field.verifiable for field in agent.sees} == {
        "stage": False,
        "round": False,
        "quality": True,
        "price": True,
        "last_pick": True,
        "type": False,
    }


def test_indifferent_agents_side_with_the_principal() -> None:
    game = Screening(types=(1.0, 2.0))
    menu = np.array([[0.5, 1.0, 3.0], [0.5, 1.0, 3.0]])  # qualities at price 1 a unit: type 1 gets 0 from all
    picked = game.pick(menu, menu, np.array([1.0, 2.0]))
    assert picked.tolist() == [2, 3]  # profits .375, .5 and -1.5; the high type wants the largest


@pytest.mark.parametrize("options", VARIANTS[1:3])
def test_arrays(options: dict[str, Any], examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Screening(**options))


def test_parameters_read_from_data_are_lists() -> None:
    game = Screening(types=[1, 1.5], chances=[])  # type: ignore[arg-type]
    assert game == Screening() and hash(game) == hash(Screening())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"types": (-1.0, 0.0)}, r"types: the highest from 0.001 to 1e\+06, got 0; no type would take any quality"),
        ({"types": (1.5, 1.0)}, r"types: numbers in increasing order, got \(1.5, 1.0\)"),
        ({"types": (1.0,)}, "types: from 2 to 12 numbers, got 1"),
        ({"types": 1.0}, "types: a list of numbers, got 1.0"),
        ({"types": (1.0, math.nan)}, r"types\[1\]: a number from -1e\+06 to 1e\+06, got nan"),
        ({"types": (1.0, 2.0, 3.0), "continuum": True}, "types: with continuum the 2 bounds, .* got 3 numbers"),
        ({"chances": (0.5, 0.5), "continuum": True}, "chances: none with continuum"),
        ({"chances": (0.5, 0.6)}, r"chances: 2 probabilities that sum to 1, got .* \(sum 1.1\)"),
        ({"chances": (1.5, -0.5)}, r"chances\[0\]: a number from 1e-06 to 1, got 1.5"),
        ({"chances": (1.0,)}, "chances: 2 probabilities"),
        ({"items": 0}, "items: a whole number from 1 to 12, got 0"),
        ({"cost": 0.0}, r"cost: a number from 0.001 to 1e\+06, got 0.0"),
        ({"repetitions": 0}, "repetitions: a whole number from 1"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Screening(**wrong)


def test_a_number_of_items_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="items: a whole number from 1 to 12, got 13"):
        Screening().best_menu(13)
