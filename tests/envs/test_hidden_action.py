"""Hidden action: textbook contracts, solvers against an independent method, comparative statics, regret."""

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

from societas import Game, make, play, policy
from societas.envs.contracting.hidden_action import HiddenAction

TEXTBOOK = ((0.6, 0.4), (0.2, 0.8))


@st.composite
def instances(draw: st.DrawFn, utility: str, most: int = 4) -> HiddenAction:
    """Small problems with rounded numbers."""
    efforts, outcomes = draw(st.integers(2, most)), draw(st.integers(2, most))
    weights = st.lists(st.integers(0, 10), min_size=outcomes, max_size=outcomes).filter(lambda row: sum(row) > 0)
    chances = tuple(
        tuple(w / sum(row) for w in row) for row in draw(st.lists(weights, min_size=efforts, max_size=efforts))
    )
    value = st.integers(0, 80).map(lambda v: v / 4)
    cost = st.integers(0, 20).map(lambda v: v / 10)
    return HiddenAction(
        outcomes=tuple(draw(st.lists(value, min_size=outcomes, max_size=outcomes))),
        chances=chances,
        costs=tuple(draw(st.lists(cost, min_size=efforts, max_size=efforts))),
        utility=utility,
        reservation=draw(st.integers(0, 10)) / 10,
        limited_liability=utility == "sqrt" or draw(st.booleans()),
        max_pay=draw(st.sampled_from([12.0, 60.0])),
    )


def constraints(game: HiddenAction, effort: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Incentive and participation constraints on utilities v: rows @ v >= sides."""
    p, cost = np.asarray(game.chances), np.asarray(game.costs)
    others = [e for e in range(len(cost)) if e != effort]
    rows = np.array([*(p[effort] - p[e] for e in others), p[effort]])
    return rows, np.array([*(cost[effort] - cost[e] for e in others), cost[effort] + game.reservation])


# ---- closed forms -------------------------------------------------------------------------------------------------


def test_risk_averse_agent_in_closed_form() -> None:
    """u = sqrt(w), pH = .8, pL = .4, psi = 1, outside option 1."""
    game = HiddenAction(outcomes=(0.0, 20.0), chances=TEXTBOOK, costs=(0.0, 1.0), utility="sqrt", reservation=1.0)
    found = game.cheapest(1)
    assert found is not None
    np.testing.assert_allclose(found[0], (0.0, 6.25), atol=1e-9)
    assert found[1] == pytest.approx(5.0, abs=1e-9)
    assert game.first_best_pay == pytest.approx(4.0)
    marks = game.benchmarks()
    assert marks.second_best is not None and marks.baseline is not None
    assert marks.first_best.value == pytest.approx(16 - 4)
    assert marks.second_best.value == pytest.approx(16 - 5)  # an agency cost of 1
    assert marks.equilibrium.value == marks.second_best.value
    assert marks.baseline.value == pytest.approx(8 - 1)  # flat pay 1 buys the low effort


def test_limited_liability_leaves_a_rent_in_closed_form() -> None:
    """Risk neutral, pay not below 0: bonus psi/(pH - pL) = 2.5, expected pay 2, rent 1."""
    game = HiddenAction(outcomes=(0.0, 8.0), chances=TEXTBOOK, costs=(0.0, 1.0), utility="linear", reservation=0.0)
    found = game.cheapest(1)
    assert found is not None
    np.testing.assert_allclose(found[0], (0.0, 2.5), atol=1e-12)
    assert found[1] == pytest.approx(2.0)
    done = play(game, equilibrium(), worlds=40_000, seed=1)
    assert done.measures["rent"].mean() == pytest.approx(1.0, abs=0.03)
    assert done.measures["profit"].mean() == pytest.approx(4.4, abs=0.08)
    assert (done.measures["effort"] == 1).all() and (done.measures["accepted"] == 1).all()


def test_without_limited_liability_the_risk_neutral_agent_is_sold_the_firm() -> None:
    game = HiddenAction(
        outcomes=(0.0, 8.0),
        chances=TEXTBOOK,
        costs=(0.0, 1.0),
        utility="linear",
        reservation=0.5,
        limited_liability=False,
        max_pay=50.0,
    )
    marks = game.benchmarks()
    assert marks.first_best.value == pytest.approx(6.4 - 1 - 0.5)
    assert marks.equilibrium.value == pytest.approx(marks.first_best.value)
    assert game.expected(game.optimal_pay)[0] == pytest.approx(marks.first_best.value)


def test_the_incentive_problem_can_be_too_dear_to_solve() -> None:
    """With outcomes (0, 4) the rent costs the principal more than the high effort brings."""
    game = HiddenAction(outcomes=(0.0, 4.0), chances=TEXTBOOK, costs=(0.0, 1.0), utility="linear", reservation=0.0)
    marks = game.benchmarks()
    assert marks.first_best.value == pytest.approx(3.2 - 1)
    assert marks.equilibrium.value == pytest.approx(1.6)


def test_first_best_is_the_best_profit_when_effort_is_seen_even_near_the_switch() -> None:
    """The agent's rent has a price at which no other effort beats the full-information optimum."""
    for high in np.linspace(4.0, 14.0, 41):
        game = HiddenAction(outcomes=(0.0, float(high)), max_pay=40.0)
        best = max(0.4 * high - 1.0, 0.8 * high - 4.0)
        assert game.benchmarks().first_best.value == pytest.approx(best)


# ---- solvers ------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(instances("linear", most=3))
def test_linear_pay_against_enumeration_of_vertices(game: HiddenAction) -> None:
    """A linear programme has its optimum at a vertex: try them all."""
    m = len(game.outcomes)
    for effort in range(len(game.costs)):
        rows, sides = constraints(game, effort)
        walls = np.vstack([rows, np.eye(m), -np.eye(m)])
        least = np.concatenate([sides, np.full(m, game.lowest_pay), np.full(m, -game.max_pay)])
        best = math.inf
        for active in itertools.combinations(range(len(walls)), m):
            block = walls[list(active)]
            if abs(np.linalg.det(block)) < 1e-9:
                continue
            corner = np.linalg.solve(block, least[list(active)])
            if (walls @ corner >= least - 1e-9).all():
                best = min(best, float(np.asarray(game.chances[effort]) @ corner))
        found = game.cheapest(effort)
        assert (found is None) == math.isinf(best)
        if found is not None:
            assert found[1] == pytest.approx(best, abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(instances("sqrt"))
def test_square_root_pay_against_a_general_solver(game: HiddenAction) -> None:
    p, most = np.asarray(game.chances), math.sqrt(game.max_pay)
    for effort in range(len(game.costs)):
        rows, sides = constraints(game, effort)
        found = game.cheapest(effort)
        general = minimize(
            lambda v, q=p[effort]: float(q @ v**2),
            np.full(len(game.outcomes), most / 2),
            jac=lambda v, q=p[effort]: 2 * q * v,
            bounds=[(0.0, most)] * len(game.outcomes),
            constraints={"type": "ineq", "fun": lambda v, r=rows, s=sides: r @ v - s, "jac": lambda v, r=rows: r},
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        solved = general.success and (rows @ general.x - sides).min() > -1e-7
        if found is None:
            assert not solved
        elif solved:
            assert found[1] == pytest.approx(float(p[effort] @ general.x**2), abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.one_of(instances("linear"), instances("sqrt")), st.integers(0, 2**32))
def test_no_other_offer_gives_the_principal_more(game: HiddenAction, seed: int) -> None:
    value = game.expected(game.optimal_pay)[0]
    low, span = game.lowest_pay, game.max_pay - game.lowest_pay
    offers = low + span * np.random.default_rng(seed).random((3000, len(game.outcomes))) ** 2
    accept, effort = game.response(offers)
    chances = np.asarray(game.chances)[effort]
    profits = accept * ((np.asarray(game.outcomes) - offers) * chances).sum(axis=-1)
    assert profits.max() <= value + 1e-6


@settings(max_examples=60, deadline=None)
@given(st.one_of(instances("linear"), instances("sqrt")), st.integers(0, 2**32))
def test_no_offer_and_no_effort_beats_the_first_best(game: HiddenAction, seed: int) -> None:
    """Expected welfare, over random offers and every effort, from the game's own step."""
    worlds, m = 400, len(game.outcomes)
    generator = np.random.default_rng(seed)
    offers = game.lowest_pay + (game.max_pay - game.lowest_pay) * generator.random((worlds, 1, m)) ** 3
    marks = game.benchmarks()
    for effort in range(len(game.costs)):
        if game.needed(game.reservation + game.costs[effort]) > game.max_pay:
            continue  # no offer could compensate it
        welfare = np.zeros(worlds)
        for outcome, p in enumerate(game.chances[effort]):
            if p > 0:
                u = np.full((worlds, 1), math.fsum(game.chances[effort][:outcome]) + p / 2)
                acts = {
                    "principal": {"pay": offers},
                    "agent": {"accept": np.ones((worlds, 1), int), "effort": np.full((worlds, 1), effort)},
                }
                offered = game.step(game.start(u), acts, u).state
                welfare += p * game.step(offered, acts, u).welfare
        assert welfare.max() <= marks.first_best.value + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.one_of(instances("linear"), instances("sqrt")))
def test_levels_are_ordered(game: HiddenAction) -> None:
    marks = game.benchmarks()
    assert marks.second_best is not None and marks.baseline is not None
    assert marks.second_best.value <= marks.first_best.value + 1e-9
    flat = min(game.needed(game.reservation + min(game.costs)), game.max_pay)
    assert game.expected(game.optimal_pay)[0] >= game.expected((flat,) * len(game.outcomes))[0] - 1e-9


@settings(max_examples=30, deadline=None)
@given(instances("sqrt", most=3))
def test_the_theory_policies_attain_their_levels(game: HiddenAction) -> None:
    for name, level in game.benchmarks().levels.items():
        assert level.play is not None
        done = play(game, equilibrium(name), worlds=4000, seed=3)
        error = 5 * done.welfare.std() / math.sqrt(4000) + 1e-9
        assert done.welfare.mean() == pytest.approx(level.value, abs=error)


def equilibrium(level: str = "equilibrium") -> dict[str, Any]:
    return {"principal": policy("equilibrium", level=level), "agent": policy("equilibrium", level=level)}


# ---- comparative statics ------------------------------------------------------------------------------------------


def test_a_dearer_effort_and_a_weaker_signal_cost_more() -> None:
    def expected(cost: float = 1.0, low: float = 0.4) -> float:
        game = HiddenAction(chances=((1 - low, low), (0.2, 0.8)), costs=(0.0, cost), max_pay=500.0)
        found = game.cheapest(1)
        assert found is not None
        return found[1]

    by_cost = [expected(cost=c) for c in (0.5, 1.0, 1.5, 2.0)]
    by_signal = [expected(low=low) for low in (0.1, 0.3, 0.5, 0.7)]
    assert by_cost == sorted(by_cost) and by_signal == sorted(by_signal)
    assert by_signal[0] < by_signal[-1]


def test_a_more_informative_outcome_is_worth_more_to_the_principal() -> None:
    """Blackwell: splitting an outcome into two that tell more about effort cannot raise the cheapest pay."""
    coarse = HiddenAction(outcomes=(0.0, 10.0), chances=((0.6, 0.4), (0.2, 0.8)), max_pay=100.0)
    fine = HiddenAction(outcomes=(0.0, 10.0, 10.0), chances=((0.6, 0.3, 0.1), (0.2, 0.1, 0.7)), max_pay=100.0)
    one, two = coarse.cheapest(1), fine.cheapest(1)
    assert one is not None and two is not None
    assert two[1] < one[1]
    same = HiddenAction(outcomes=(0.0, 10.0, 10.0), chances=((0.6, 0.1, 0.3), (0.2, 0.2, 0.6)), max_pay=100.0)
    three = same.cheapest(1)  # the split is noise: equal likelihood ratios are paid equally
    assert three is not None
    assert three[1] == pytest.approx(one[1], abs=1e-8)
    assert three[0][1] == pytest.approx(three[0][2], abs=1e-7)


# ---- the game -----------------------------------------------------------------------------------------------------


def test_pay_and_outcome_are_what_the_rules_say() -> None:
    game = HiddenAction(repetitions=2)
    u = np.array([[0.1], [0.7], [0.7]])  # low effort: low below .6; high effort: low below .2
    acts = {
        "principal": {"pay": np.tile([[1.0, 4.0]], (3, 1, 1))},
        "agent": {"accept": np.array([[1], [1], [0]]), "effort": np.array([[1], [0], [1]])},
    }
    offered = game.step(game.start(u), acts, u)
    assert (offered.welfare == 0).all() and not offered.done.any() and (game.stage(offered.state) == 1).all()
    done = game.step(offered.state, acts, u)
    np.testing.assert_allclose(done.rewards["principal"][:, 0], [0 - 1, 20 - 4, 0])
    np.testing.assert_allclose(done.rewards["agent"][:, 0], [1 - 1, 2 - 0, 1])
    premium = [0.2 * 1 + 0.8 * 4 - (0.2 * 1 + 0.8 * 2) ** 2, 0.6 * 1 + 0.4 * 4 - (0.6 * 1 + 0.4 * 2) ** 2]
    np.testing.assert_allclose(done.welfare, [0 - premium[0] - 4, 20 - premium[1] - 1, 0])
    seen = game.view(done.state)
    assert seen["principal"]["outcome"][:, 0].tolist() == [0, 1, 2]
    assert seen["principal"]["answer"][:, 0].tolist() == [1, 1, 0]
    assert not done.done.any() and game.round(done.state).tolist() == [1, 1, 1]


def test_effort_is_hidden_and_no_court_can_establish_it() -> None:
    game = HiddenAction()
    for role in game.roles:
        assert "effort" not in {field.name for field in role.sees}
        assert {"outcome", "pay"} <= {field.name for field in role.sees if field.verifiable}


@pytest.mark.parametrize("utility", ["linear", "sqrt"])
def test_arrays(utility: str, examine_arrays: Callable[[Game], None]) -> None:
    chances = ((0.5, 0.3, 0.2), (0.2, 0.3, 0.5), (0.1, 0.2, 0.7))
    game = HiddenAction((0.0, 5.0, 9.0), chances, (0.0, 0.5, 1.0), utility, max_pay=30.0, repetitions=3)
    examine_arrays(game)


def test_parameters_read_from_data_are_lists() -> None:
    game = make("HiddenAction", outcomes=[0, 20], chances=[[0.6, 0.4], [0.2, 0.8]], costs=[0, 1])
    assert game == HiddenAction() and hash(game) == hash(HiddenAction())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"utility": "log"}, "utility: one of 'linear', 'sqrt', got 'log'"),
        ({"chances": ((0.6, 0.4), (0.2, 0.7))}, r"chances\[1\]: 2 probabilities that sum to 1"),
        ({"chances": ((0.6, 0.4), (-0.2, 1.2))}, r"chances\[1\]: a number from 0 to 1, got -0.2"),
        ({"chances": ((0.6, 0.4),)}, "chances: one row for each of the 2 efforts, got 1"),
        ({"chances": (0.6, 0.4)}, r"chances\[0\]: 2 probabilities, got 0.6"),
        ({"outcomes": (0.0, 1.0, 2.0)}, r"chances\[0\]: 3 probabilities"),
        ({"outcomes": 3.0}, "outcomes: a list of numbers, got 3.0"),
        ({"costs": (0.0, math.inf)}, "costs: a number"),
        ({"max_pay": 0.0}, "max_pay: .* got 0.0"),
        ({"repetitions": 0}, "repetitions: .* got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make("HiddenAction", **wrong)


def test_an_effort_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="effort: a whole number from 0 to 1, got 2"):
        HiddenAction().cheapest(2)


def test_a_degenerate_programme_is_solved() -> None:
    """Many constraints meet at flat pay; the cheapest pay for the mixed effort is flat."""
    game = HiddenAction(
        outcomes=(0.0,) * 4,
        chances=((0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0), (1.0, 0.0, 0.0, 0.0), (2 / 27, 10 / 27, 7 / 27, 8 / 27)),
        costs=(0.0,) * 4,
        utility="sqrt",
        reservation=0.4,
    )
    found = game.cheapest(3)
    assert found is not None
    np.testing.assert_allclose(found[0], [0.16] * 4, atol=1e-7)
