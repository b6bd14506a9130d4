"""Taxes on labour: formulas against direct search, best answers against brute force, planners who learn, accounts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from societas import Game, Worlds, play, policy
from societas.envs.core.words import ActError
from societas.envs.markets.tax_labour import TaxLabour
from societas.policies.saez import SaezPlanner
from societas.testing import check_game, check_policy

skills = st.lists(st.floats(0.3, 4.0), min_size=2, max_size=6)


# ---- best rates -------------------------------------------------------------------------------------------------------


def test_top_rate_of_diamond_and_saez() -> None:
    """Diamond and Saez 2011: with Pareto index 1.5 and elasticity 0.25 the top rate is 1 / (1 + 1.5 * 0.25) = 72.7%."""
    rate = 1.0 / (1.0 + 1.5 * 0.25)
    assert round(rate, 6) == 0.727273
    game = TaxLabour.pareto(10, 1.5, 2, 0.25, rate, planner="revenue")
    assert game.saez(rate) == pytest.approx(rate, abs=1e-12)
    assert game.optimal["revenue"][0] == pytest.approx(rate, abs=1e-6)
    assert f"{rate:.4f}" in game.benchmarks().equilibrium.source.replace("0.727273", "0.7273")


@pytest.mark.parametrize("elasticity", [0.1, 0.25, 0.5, 1.0, 2.0])
def test_the_flat_tax_that_raises_most(elasticity: float) -> None:
    game = TaxLabour(elasticity=elasticity, planner="revenue")
    assert game.optimal["revenue"][0] == pytest.approx(1.0 / (1.0 + elasticity), abs=1e-6)
    assert game.saez(0.3) == pytest.approx(1.0 / (1.0 + elasticity), abs=1e-12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(skills, st.floats(0.1, 2.0))
def test_the_flat_tax_for_the_worst_off(ability: list[float], elasticity: float) -> None:
    """With r the worst-off's income over the mean of the others', t = (1 - r) / (1 - r + e), while it stays worst off."""
    game = TaxLabour(skills=ability, elasticity=elasticity, aversion=None)
    income = np.sort(np.array(ability) ** (1.0 + elasticity))
    r = income[0] / income[1:].mean()
    rate = (1.0 - r) / (1.0 - r + elasticity)
    n, found = len(ability), game.optimal["benevolent"][0]
    if (1.0 - rate) / (1.0 + elasticity) >= rate / (n - 1):
        assert found == pytest.approx(rate, abs=1e-6)
    assert game.value(np.array([found])) >= game.value(np.array([rate])) - 1e-12


def welfare_by_hand(game: TaxLabour, rate: float) -> float:
    """A flat tax, in the closed forms of the incomes, person by person."""
    e, n = game.elasticity, game.workers
    income = [w ** (1.0 + e) * (1.0 - rate) ** e for w in game.skills]
    utility = []
    for z in income:
        others = sum(income) - z
        utility.append((1.0 - rate) * z / (1.0 + e) + rate * others / (n - 1))
    if game.aversion == 0.0:
        return sum(utility)
    assert game.aversion is not None
    return float(-n / game.aversion * np.log(np.mean(np.exp(-game.aversion * np.array(utility)))))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(skills, st.floats(0.1, 1.5), st.floats(0.05, 3.0))
def test_the_best_flat_tax_by_another_solver(ability: list[float], elasticity: float, aversion: float) -> None:
    game = TaxLabour(skills=ability, elasticity=elasticity, aversion=aversion)
    found = game.optimal["benevolent"][0]
    value = float(game.value(np.array([found])))
    assert value == pytest.approx(welfare_by_hand(game, found), rel=1e-9)
    best = max(
        -minimize_scalar(lambda t: -welfare_by_hand(game, t), bounds=b, method="bounded").fun
        for b in ((0.0, 0.5), (0.3, 0.999))
    )
    assert value >= best - 1e-9 * max(1.0, abs(best))
    assert game.saez(found) == pytest.approx(found, abs=2e-4)  # the formula holds where direct search ends


def test_comparative_statics() -> None:
    def best(**given: Any) -> float:
        return TaxLabour(**given).optimal["benevolent"][0]

    by_elasticity = [best(elasticity=e) for e in (0.2, 0.4, 0.8, 1.6)]
    by_aversion = [best(aversion=a) for a in (0.0, 0.3, 1.0, 3.0, None)]
    by_spread = [best(skills=[1.0 - d, 1.0, 1.0 + d]) for d in (0.0, 0.2, 0.5, 0.8)]
    assert by_elasticity == sorted(by_elasticity, reverse=True)
    assert by_aversion == sorted(by_aversion) and by_aversion[0] == 0.0
    assert by_spread == sorted(by_spread) and by_spread[0] == pytest.approx(0.0, abs=1e-6)


def test_more_brackets_are_no_worse_and_levels_are_in_order() -> None:
    flat, three = TaxLabour().benchmarks(), TaxLabour(cuts=[0.0, 1.0, 2.0]).benchmarks()
    for marks in (flat, three):
        assert marks.second_best is not None and marks.baseline is not None
        assert marks.baseline.value < marks.second_best.value < marks.first_best.value
    assert three.equilibrium.value > flat.equilibrium.value
    greedy = TaxLabour(planner="revenue").benchmarks()
    assert greedy.equilibrium.value < flat.equilibrium.value and greedy.second_best is not None
    assert greedy.second_best.value == flat.equilibrium.value


def test_best_rates_are_not_on_the_edge_of_a_jump() -> None:
    """With falling rates answers jump; a rate that is a little off is then worth a little less, not much."""
    game = TaxLabour(cuts=[0.0, 0.5, 1.0, 2.0, 4.0], aversion=2.0)
    best = np.array(game.optimal["benevolent"])
    assert (np.diff(best) < 0).any() and best[-1] < 0.05  # hardly any distortion at the top of a finite population
    near = np.clip(best + np.random.default_rng(1).uniform(-5e-8, 5e-8, (200, 5)), 0.0, 1.0)
    np.testing.assert_allclose(game.value(near), game.value(best), rtol=1e-6)


# ---- answers and accounts ---------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, derandomize=True)
@given(skills, st.floats(0.2, 2.0), st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3))
def test_workers_answer_best(ability: list[float], elasticity: float, rates: list[float]) -> None:
    """Against every labour on a fine grid, at rates that rise or fall."""
    game = TaxLabour(skills=ability, elasticity=elasticity, cuts=[0.0, 0.8, 2.0])
    at = np.array(rates)
    labour = game.respond(np.array(ability), at)
    utility = game.live(labour, at)[2]
    for i in range(len(ability)):
        tried = np.tile(labour, (2001, 1))
        tried[:, i] = np.linspace(0.0, game.longest, 2001)
        assert game.live(tried, at)[2][:, i].max() <= utility[i] + 1e-9


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    skills,
    st.lists(st.sampled_from([0.0, 1e-9, 0.3, 1.0]), min_size=2, max_size=2),
    st.integers(0, 9),
    st.integers(0, 99),
)
def test_money_is_neither_made_nor_lost(ability: list[float], rates: list[float], mood: int, seed: int) -> None:
    game = TaxLabour(skills=ability, cuts=[0.0, 1.0], repetitions=2)
    worlds = Worlds(game, 3, seed=seed)
    labour = np.clip(worlds.uniform(game.workers, "test") ** mood * game.longest * 1.2, 0.0, game.longest)
    given_rates = np.tile(np.array(rates), (3, 1, 1))
    for _ in range(2):
        worlds.step({"planner": {"rates": given_rates}, "worker": {"labour": labour * 0}})
        done = worlds.step({"planner": {"rates": given_rates}, "worker": {"labour": labour}})
        memory = worlds.state.memory
        money = done.rewards["worker"] + game.toil(labour)
        np.testing.assert_allclose(money.sum(axis=-1), memory["incomes"].sum(axis=-1), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(memory["incomes"], labour * np.array(ability))
        assert (memory["lump_sums"] >= 0).all()
        tax = memory["incomes"] + memory["lump_sums"] - money
        by_hand = rates[0] * np.minimum(memory["incomes"], 1.0) + rates[1] * np.maximum(memory["incomes"] - 1.0, 0.0)
        np.testing.assert_allclose(tax, by_hand, atol=1e-9)
    np.testing.assert_allclose(game.measures(worlds.state)["revenue"], by_hand.sum(axis=-1), atol=1e-9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.floats(-5.0, 5.0), min_size=3, max_size=3), st.floats(-3.0, 3.0))
def test_welfare_is_kolms(utility: list[float], shift: float) -> None:
    """Between the worst and the sum, falls with aversion, rises by n times what all get more."""
    at = np.array(utility)
    welfare = [float(TaxLabour(skills=[1, 1, 1], aversion=a).worth(at)) for a in (0.0, 1e-6, 0.5, 2.0, 900.0, None)]
    assert welfare == sorted(welfare, reverse=True) or np.diff(welfare).max() < 1e-9
    assert welfare[0] == pytest.approx(welfare[1], abs=1e-3) and welfare[4] == pytest.approx(welfare[5], abs=0.01)
    for a in (0.0, 0.5, None):
        game = TaxLabour(skills=[1, 1, 1], aversion=a)
        assert float(game.worth(at + shift)) == pytest.approx(float(game.worth(at)) + 3 * shift)
        assert float(game.worth(np.full(3, shift))) == pytest.approx(3 * shift)


def test_nobody_working_is_worth_nothing_and_measures_by_hand() -> None:
    game = TaxLabour(skills=[1.0, 2.0], cuts=[0.0, 1.0], fixed=[0.1], aversion=0.0)
    worlds = Worlds(game, 1)
    rates = np.array([[[0.5]]])
    worlds.step({"planner": {"rates": rates}, "worker": {"labour": np.zeros((1, 2))}})
    done = worlds.step({"planner": {"rates": rates}, "worker": {"labour": np.array([[0.5, 1.5]])}})
    # incomes 0.5 and 3; taxes 0.05 and 0.1 + 1; each gets the other's; toil l^3 / 3
    utility = [0.5 - 0.05 + 1.1 - 0.125 / 3, 3.0 - 1.1 + 0.05 - 3.375 / 3]
    np.testing.assert_allclose(done.rewards["worker"][0], utility)
    found = {name: float(value[0]) for name, value in game.measures(worlds.state).items()}
    had = [1.55, 1.95]
    expected = {
        "rate": 0.5,
        "revenue": 1.15,
        "output": 3.5,
        "worst": min(utility),
        "equality": 1 - 0.4 * 2 / (4 * sum(had)),
    }
    assert found == pytest.approx(expected)
    still = play(game, {}, worlds=2)
    assert (still.welfare == 0.0).all() and (still.measures["equality"] == 1.0).all()


# ---- planners ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"planner": "revenue"}, {"cuts": [0.0, 1.0, 2.0]}])
def test_a_planner_who_learns_ends_at_the_best_rates(options: dict[str, Any]) -> None:
    """Both learners come within 5% of the optimal rates, and of the welfare they bring."""
    game = TaxLabour(**options)
    best = np.array(game.optimal[game.planner])
    others = {"worker": policy("equilibrium")}
    searched = policy("cross_entropy", candidates=64).learn(game, "planner", episodes=25, sessions=64, others=others)
    climbed = policy("gradient", hidden=(), rate=0.03, device="cpu").learn(
        game, "planner", episodes=150, sessions=256, others=others
    )
    for planner in (searched, climbed):
        done = play(game, {"planner": planner, **others}, keep=True)
        rates = done.moments[0].acts["planner"]["rates"][0, 0]
        assert np.abs(rates - best).max() <= 0.05 * best.min()
        assert done.returns["planner"][0, 0] == pytest.approx(float(game.value(best)), rel=1e-3)


@pytest.mark.parametrize("cuts", [[0.0], [0.0, 2.0]])
def test_the_planner_of_saez_finds_elasticity_and_rate(cuts: list[float]) -> None:
    game = TaxLabour(planner="revenue", repetitions=15, cuts=cuts, fixed=[0.2] * (len(cuts) - 1))
    planner = SaezPlanner(aversion=None)
    done = play(game, {"planner": planner, "worker": policy("equilibrium")}, worlds=8, keep=True)
    rates = np.array([m.acts["planner"]["rates"][:, 0, 0] for m in done.moments if m.stage[0] == 0])
    assert (np.ptp(rates[:2], axis=0) >= 0.2).all()  # it tries two rates that are far apart
    np.testing.assert_allclose(rates[-1], game.optimal["revenue"][0], atol=1e-3)
    bound, memory = planner.bind(game, "planner", (0,)), None
    memory = bound.begin((8,), np, None)
    for moment in done.moments:
        _, memory = bound.act(moment.seen["planner"], moment.stage, np.zeros((8, 1, 1)), memory)
    np.testing.assert_allclose(bound.estimate(memory), game.elasticity, rtol=1e-9)


def test_the_planner_of_saez_weighs_incomes() -> None:
    """With a known elasticity it plays by hand's formula from the second round on."""
    game = TaxLabour(repetitions=3)
    done = play(game, {"planner": SaezPlanner(elasticity=0.4), "worker": policy("equilibrium")}, keep=True)
    asked = [m for m in done.moments if m.stage[0] == 0]
    income = asked[1].seen["planner"]["incomes"][0, 0]
    weight = 1.0 / income / np.mean(1.0 / income)
    g = float((weight * income).sum() / income.sum())
    assert asked[0].acts["planner"]["rates"][0, 0, 0] == 0.0
    assert asked[1].acts["planner"]["rates"][0, 0, 0] == pytest.approx((1 - g) / (1 - g + 0.4))


def test_the_planner_of_saez_keeps_the_rules() -> None:
    check_policy(SaezPlanner(), TaxLabour(cuts=[0.0, 1.0], repetitions=4), "planner")
    with pytest.raises(KeyError, match="rates"):
        SaezPlanner().bind(TaxLabour(), "worker", (0, 1))
    for wrong in ({"elasticity": 0.0}, {"aversion": -1.0}, {"explore": 1.5}, {"first": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SaezPlanner(**wrong)  # type: ignore[arg-type]


# ---- the rules of the library -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"planner": "revenue", "repetitions": 3},
        {"aversion": None, "cuts": [0.0, 1.5], "fixed": [0.1]},
        {"skills": [1, 2], "elasticity": 1.5, "aversion": 0.0, "cuts": [0.0, 0.5, 1.0]},
    ],
)
def test_examined(options: dict[str, Any]) -> None:
    check_game(TaxLabour(**options))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(TaxLabour(cuts=[0.0, 1.0], fixed=[0.2], repetitions=2))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"skills": [1.0]}, "skills: a list of 2 to 1000"),
        ({"skills": [1.0, 0.0]}, r"skills\[1\]: a number from 0.1 to 10"),
        ({"elasticity": float("nan")}, "elasticity"),
        ({"aversion": -1.0}, "aversion"),
        ({"planner": "kind"}, "planner: one of 'benevolent', 'revenue'"),
        ({"cuts": [1.0]}, "cuts: rising numbers from 0"),
        ({"cuts": [0.0, 2.0, 2.0]}, "cuts: rising"),
        ({"fixed": [0.1]}, "fixed: fewer rates than the 1 bracket"),
        ({"cuts": [0.0, 1.0], "fixed": [1.1]}, r"fixed\[0\]"),
        ({"repetitions": 0}, "repetitions"),
    ],
)
def test_bad_parameters(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TaxLabour(**options)


def test_bad_acts_and_questions() -> None:
    worlds = Worlds(TaxLabour(), 2)
    for wrong in (np.nan, -0.1, 1.1):
        with pytest.raises(ActError, match="rates"):
            worlds.step({"planner": {"rates": np.full((2, 1, 1), wrong)}, "worker": {"labour": np.zeros((2, 5))}})
    with pytest.raises(ActError, match="labour"):
        worlds.step({"planner": {"rates": np.zeros((2, 1, 1))}, "worker": {"labour": np.full((2, 5), 1e9)}})
    with pytest.raises(ValueError, match="cuts: the formula is for one rate"):
        TaxLabour(cuts=[0.0, 1.0]).saez(0.5)
