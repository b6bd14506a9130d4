"""Procurement: textbook contracts, solvers against a linear programme and quadrature, comparative statics, the game."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from societas import Game, play, policy
from societas.envs.contracting.menu import Menu
from societas.envs.contracting.procurement import Procurement
from societas.envs.contracting.screening import Screening
from societas.testing import check_game

VARIANTS: list[dict[str, Any]] = [
    {},
    {"types": (0.0, 1.0), "continuum": True, "benefit": 1.0, "repetitions": 3},
    {"types": (0.5, 1.0, 1.25, 2.0), "chances": (0.1, 0.2, 0.1, 0.6), "items": 2, "benefit": 3.0, "repetitions": 3},
    {"types": (0.5, 1.0, 3.0), "items": 4, "benefit": 2.0, "weight": 0.6},
]


@st.composite
def instances(draw: st.DrawFn, most: int = 4) -> Procurement:
    """Small problems with rounded numbers; some costs may exceed the benefit, and virtual costs may decrease."""
    steps = draw(st.lists(st.integers(1, 12), min_size=2, max_size=most))
    lowest = draw(st.integers(-1, 12))
    types = tuple((lowest + sum(steps[:i])) / 8 for i in range(1, len(steps) + 1))
    weights = draw(st.lists(st.integers(1, 10), min_size=len(types), max_size=len(types)))
    return Procurement(
        types,
        tuple(w / sum(weights) for w in weights),
        benefit=types[0] + draw(st.integers(2, 24)) / 8,
        weight=draw(st.sampled_from([0.0, 0.0, 0.3, 0.8, 1.0])),
    )


def answers(game: Procurement, menu: Menu, kind: float) -> tuple[float, float]:
    """What a type takes from a menu (quantity, payment), item by item; indifferent, what the principal likes best."""
    options = [(0.0, 0.0), *menu]
    best = max(t - kind * q for q, t in options)
    ties = [(q, t) for q, t in options if t - kind * q >= best - 1e-9]
    return max(ties, key=lambda item: reward(game, *item, kind))


def reward(game: Procurement, q: float, t: float, kind: float) -> float:
    return game.benefit * q - q**2 / 2 - t + game.weight * (t - kind * q)


def programme(game: Procurement, points: int = 61) -> tuple[float, float]:
    """The best lotteries over a grid of quantities, with all constraints, by a linear programme; and how far it is off.

    Welfare is concave in quantity, so that lotteries do not help but to hit quantities between grid points.
    """
    n, grid = len(game.types), np.linspace(0.0, game.benefit - game.types[0], points)
    p, kinds = np.asarray(game.odds), np.asarray(game.types)
    worth = game.benefit * grid - grid**2 / 2
    gain = np.zeros((n, n * points + n))  # reward of each type, from its lottery and its payment
    rent = np.zeros((n, n, n * points + n))  # profit of i from what is meant for j
    for i, j in itertools.product(range(n), repeat=2):
        rent[i, j, j * points : (j + 1) * points], rent[i, j, n * points + j] = -kinds[i] * grid, 1.0
    for i in range(n):
        gain[i, i * points : (i + 1) * points], gain[i, n * points + i] = worth, -1.0
        gain[i] += game.weight * rent[i, i]
    walls = [rent[i, i] for i in range(n)]
    walls += [rent[i, i] - rent[i, j] for i, j in itertools.permutations(range(n), 2)]
    whole = np.zeros((n, n * points + n))
    for i in range(n):
        whole[i, i * points : (i + 1) * points] = 1.0
    found = linprog(
        -(p @ gain),
        A_ub=-np.array(walls),
        b_ub=np.zeros(len(walls)),
        A_eq=whole,
        b_eq=np.ones(n),
        bounds=[(0.0, 1.0)] * (n * points) + [(None, 1e3)] * n,
        method="highs",
    )
    assert found.success
    return -float(found.fun), float(grid[1] ** 2 / 8)


# ---- closed forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("low", [0.2, 0.5, 0.7])
def test_two_costs_in_closed_form(low: float, weight: float) -> None:
    """The low cost supplies the efficient quantity; the high one less by (1 - weight) dtheta p_low / p_high."""
    game = Procurement(types=(1.0, 1.5), chances=(low, 1 - low), benefit=2.5, weight=weight)
    high = max(0.0, 2.5 - 1.5 - (1 - weight) * 0.5 * low / (1 - low))
    np.testing.assert_allclose(game.optimal_menu, [(high, 1.5 * high), (1.5, 1.5 + 0.5 * high)], atol=1e-12)


def test_default_levels() -> None:
    marks = Procurement().benchmarks()
    assert marks.second_best is not None and marks.baseline is not None
    assert marks.first_best.value == pytest.approx(0.5 * 1.5**2 / 2 + 0.5 * 1.0**2 / 2)
    assert marks.equilibrium.value == marks.second_best.value == pytest.approx(0.5 * 1.125 + 0.5 * 0.375)
    assert marks.baseline.value == pytest.approx(0.5 * 1.125)
    assert Procurement().expected(Procurement().optimal_menu)[0] == pytest.approx(0.625)


def test_a_benefit_too_small_for_the_high_cost_excludes_it() -> None:
    game = Procurement(types=(1.0, 1.5), benefit=1.9)
    np.testing.assert_allclose(game.optimal_menu, [(0.0, 0.0), (0.9, 0.9)], atol=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("benefit", [0.6, 1.0, 2.5])
def test_uniform_costs_in_the_limit_of_many_items(benefit: float, weight: float) -> None:
    """Costs uniform on 0..1: benefit - q = theta + (1 - weight) F / f = (2 - weight) theta."""
    game = Procurement((0.0, 1.0), continuum=True, benefit=benefit, weight=weight, items=12)
    theta = (np.arange(200_000) + 0.5) / 200_000
    q = np.maximum(0.0, benefit - (2 - weight) * theta)
    rent = np.cumsum(q[::-1])[::-1] / 200_000  # the integral of quantity above theta
    welfare = (benefit - theta) * q - q**2 / 2
    limit = (float((welfare - (1 - weight) * rent).mean()), float(welfare.mean()))
    np.testing.assert_allclose(game.unlimited, limit, atol=1e-5)
    np.testing.assert_allclose(game.expected(game.optimal_menu), limit, rtol=0.01)
    assert game.expected(game.optimal_menu)[0] <= game.unlimited[0] + 1e-12
    first_best = (np.maximum(0.0, benefit - theta) ** 2 / 2).mean()
    assert game.benchmarks().first_best.value == pytest.approx(float(first_best), abs=1e-6)


def test_convergence_in_the_number_of_items() -> None:
    """Benefit 1, costs uniform on 0..1: profit (1 - 1/(2m + 1)^2) / 12."""
    for items in (1, 2, 5, 12):
        game = Procurement((0.0, 1.0), continuum=True, benefit=1.0, items=items)
        assert game.expected(game.optimal_menu)[0] == pytest.approx((1 - 1 / (2 * items + 1) ** 2) / 12, abs=1e-12)


# ---- solvers ------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(instances())
def test_the_menu_against_a_linear_programme(game: Procurement) -> None:
    found, (bound, gap) = game.expected(game.optimal_menu)[0], programme(game)
    assert bound - 1e-7 <= found <= bound + gap + 1e-7


@settings(max_examples=60, deadline=None)
@given(instances(), st.integers(1, 5), st.integers(0, 2**32))
def test_no_other_menu_gives_the_principal_more(game: Procurement, items: int, seed: int) -> None:
    value = game.expected(game.best_menu(items))[0]
    generator = np.random.default_rng(seed)
    q = (game.benefit - game.types[0]) * generator.random((3000, items))
    t = q * generator.choice(game.types, (3000, items)) + 0.1 * generator.random((3000, items)) ** 3
    assert game.evaluate(q, t)[0].max() <= value + 1e-8
    near = np.maximum(np.asarray(game.best_menu(items)) + 0.01 * generator.normal(size=(3000, items, 2)), 0.0)
    assert game.evaluate(near[..., 0], near[..., 1])[0].max() <= value + 1e-8


@settings(max_examples=25, deadline=None)
@given(st.floats(0.0, 1.5), st.floats(0.2, 2.0), st.floats(0.2, 3.0), st.integers(1, 4), st.sampled_from([0.0, 0.5]))
def test_a_continuum_against_a_general_solver(
    low: float, width: float, extra: float, items: int, weight: float
) -> None:
    """Choose the costs up to which items are taken, and quantities, to maximise the integral of the reward."""
    high, benefit = low + width, low + extra
    game = Procurement((low, high), continuum=True, benefit=benefit, items=items, weight=weight)

    def loss(x: Any) -> float:
        ends, q = x[:items], x[items:]  # the smallest item first: it is taken up to the highest cost
        t = np.cumsum(np.diff(q, prepend=0.0) * ends)
        lower = np.append(ends[1:], low)
        rent = t - q * (ends + lower) / 2
        return -float((benefit * q - q**2 / 2 - t + weight * rent) @ (ends - lower)) / width

    most = min(high, benefit)
    ordered = np.zeros((2 * items - 2, 2 * items))
    for k in range(items - 1):
        ordered[k, k], ordered[k, k + 1] = 1.0, -1.0
        ordered[items - 1 + k, items + k], ordered[items - 1 + k, items + k + 1] = -1.0, 1.0
    found = []
    for begin in (1.0, 0.5):
        ends = np.linspace(low + begin * (most - low), low, items, endpoint=False)
        solved = minimize(
            loss,
            np.concatenate([ends, benefit - ends]),
            bounds=[(low, most)] * items + [(0.0, extra)] * items,
            constraints={"type": "ineq", "fun": lambda x: ordered @ x} if items > 1 else (),
            method="SLSQP",
            options={"ftol": 1e-13, "maxiter": 500},
        )
        found.append(-float(solved.fun))
    assert game.expected(game.optimal_menu)[0] == pytest.approx(max(found), abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(instances(most=6), st.data())
def test_it_is_the_mirror_of_screening(game: Procurement, data: st.DataObject) -> None:
    """Worth benefit - theta, price benefit q - t: the same quantities, reward and welfare, where rents do not count."""
    items = data.draw(st.integers(1, 7))
    worths = tuple(game.benefit - kind for kind in reversed(game.types))
    mirror = Screening(worths, tuple(reversed(game.odds)))
    same = Procurement(game.types, game.odds, benefit=game.benefit)
    here, there = same.best_menu(items), mirror.best_menu(items)
    np.testing.assert_allclose(same.expected(here), mirror.expected(there), atol=1e-9)
    np.testing.assert_allclose([q for q, _ in here], [q for q, _ in there], atol=1e-9)
    np.testing.assert_allclose([game.benefit * q - t for q, t in here], [t for _, t in there], atol=1e-9)


# ---- comparative statics ------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(instances(most=6))
def test_only_the_lowest_cost_is_undistorted_and_rents_fall_with_the_cost(game: Procurement) -> None:
    taken = [answers(game, game.optimal_menu, kind) for kind in game.types]
    rents = [t - kind * q for kind, (q, t) in zip(game.types, taken, strict=True)]
    assert taken[0][0] == pytest.approx(game.benefit - game.types[0])
    assert rents[-1] == pytest.approx(0.0, abs=1e-9) and all(b <= a + 1e-9 for a, b in itertools.pairwise(rents))
    for kind, (q, _) in zip(game.types, taken, strict=True):
        assert q <= max(game.benefit - kind, 0.0) + 1e-9


@settings(max_examples=40, deadline=None)
@given(instances(most=6))
def test_more_items_and_more_concern_for_the_supplier_are_never_worse(game: Procurement) -> None:
    profits = [game.expected(game.best_menu(items))[0] for items in range(1, len(game.types) + 1)]
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(profits))
    games = [Procurement(game.types, game.odds, benefit=game.benefit, weight=w) for w in (0.0, 0.3, 0.6, 1.0)]
    welfare = [other.benchmarks().equilibrium.value for other in games]
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(welfare))
    assert welfare[-1] == pytest.approx(
        games[-1].benchmarks().first_best.value
    )  # nothing to extract, nothing distorted


# ---- the game -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", VARIANTS)
def test_the_game_is_examined(options: dict[str, Any]) -> None:
    check_game(Procurement(**options))


@pytest.mark.parametrize("options", VARIANTS)
def test_equilibrium_play_matches_the_closed_form(options: dict[str, Any]) -> None:
    game = Procurement(**options)
    theory = policy("equilibrium")
    done = play(game, {"principal": theory, "agent": theory}, worlds=20_000, seed=5)
    profit, welfare = game.expected(game.optimal_menu)
    for measured, wanted in ((done.measures["profit"], profit), (done.welfare / game.repetitions, welfare)):
        error = 4 * measured.std() / math.sqrt(len(measured)) + 1e-9
        assert measured.mean() == pytest.approx(wanted, abs=error)


def test_trade_is_what_the_rules_say() -> None:
    game = Procurement(weight=0.5, repetitions=2)
    u = np.array([[0.2], [0.7], [0.7]])
    acts = {
        "principal": {
            "quantity": np.tile([[1.0, 2.0]], (3, 1, 1)),
            "payment": np.tile([[1.25, 3.5]], (3, 1, 1)),
        },
        "agent": {"pick": np.array([[1], [2], [0]])},
    }
    start = game.start(u)
    assert game.view(start)["agent"]["type"][:, 0].tolist() == [1.0, 1.5, 1.5]
    posted = game.step(start, acts, u)
    assert (posted.welfare == 0).all() and not posted.done.any() and (game.stage(posted.state) == 1).all()
    done = game.step(posted.state, acts, u)
    np.testing.assert_allclose(done.rewards["agent"][:, 0], [1.25 - 1.0, 3.5 - 3.0, 0.0])
    np.testing.assert_allclose(done.rewards["principal"][:, 0], [2.0 - 1.25 + 0.125, 3.0 - 3.5 + 0.25, 0.0])
    np.testing.assert_allclose(done.welfare, [2.0 - 1.0, 3.0 - 3.0, 0.0])
    assert game.view(start)["principal"]["last_pick"][:, 0].tolist() == [3, 3, 3]
    assert game.view(done.state)["principal"]["last_pick"][:, 0].tolist() == [1, 2, 0]
    assert game.measures(done.state)["quantity"].tolist() == [1.0, 2.0, 0.0]


def test_the_cost_is_private_and_no_court_can_establish_it() -> None:
    principal, agent = Procurement().roles
    assert "type" not in {field.name for field in principal.sees}
    seen = {field.name: field.verifiable for field in agent.sees}
    assert not seen["type"] and seen["quantity"] and seen["payment"] and seen["last_pick"]


def test_the_weight_is_told() -> None:
    assert "plus 0.25 times the agent's reward" in Procurement(weight=0.25).about
    assert "plus" not in Procurement().about


@pytest.mark.parametrize("options", VARIANTS[1:3])
def test_arrays(options: dict[str, Any], examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Procurement(**options))


def test_parameters_read_from_data_are_lists() -> None:
    game = Procurement(types=[1, 1.5], chances=[])  # type: ignore[arg-type]
    assert game == Procurement() and hash(game) == hash(Procurement())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"types": (2.5, 3.0)}, "types: the lowest from 0 to 0.999 benefit = 2.4975, got 2.5; no quantity would be"),
        ({"types": (-0.5, 1.0)}, r"types\[0\]: a number from 0 to 1e\+06, got -0.5"),
        ({"types": (1.5, 1.0)}, "types: numbers in increasing order"),
        ({"types": (1.0, 1.2, 1.5), "continuum": True}, "types: with continuum the 2 bounds"),
        ({"chances": (0.5, 0.4)}, r"chances: 2 probabilities that sum to 1, got .* \(sum 0.9\)"),
        ({"items": 13}, "items: a whole number from 1 to 12, got 13"),
        ({"benefit": 0.0}, r"benefit: a number from 0.001 to 1e\+06, got 0.0"),
        ({"weight": 1.5}, "weight: a number from 0 to 1, got 1.5"),
        ({"repetitions": -1}, "repetitions: a whole number from 1"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Procurement(**wrong)
