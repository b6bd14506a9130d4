"""Pricing: published prices and profits, equilibrium on the grid, the game's accounts."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from societas import Game, Worlds, make, play, policy
from societas.envs.markets.pricing import Pricing


def test_published_prices_and_profits() -> None:
    """Calvano et al. 2020, baseline."""
    game = Pricing()
    assert round(game.nash_price, 6) == 1.472927
    assert round(game.monopoly_price, 6) == 1.924981
    assert round(game.nash_profit, 6) == 0.222927
    assert round(game.monopoly_profit, 6) == 0.337490
    assert len(game.grid) == 15
    reach = 0.1 * (game.monopoly_price - game.nash_price)
    np.testing.assert_allclose(np.diff(game.grid), (1.2 * (game.monopoly_price - game.nash_price)) / 14)
    assert game.grid[0] == pytest.approx(game.nash_price - reach)
    assert game.grid[-1] == pytest.approx(game.monopoly_price + reach)


markets = st.builds(
    Pricing,
    firms=st.integers(2, 4),
    a=st.floats(1.5, 4.0),
    a0=st.floats(-1.0, 0.5),
    mu=st.floats(0.1, 1.0),
    c=st.floats(0.0, 1.0),
)


@settings(max_examples=40, deadline=None)
@given(markets)
def test_prices_are_optimal_by_direct_search(game: Pricing) -> None:
    """Independently of first-order conditions: maximise profit itself."""

    def alone(price: float) -> float:
        prices = np.full(game.firms, game.nash_price)
        prices[0] = price
        return -float(game.market(prices)[0][0])

    def together(price: float) -> float:
        return -float(game.market(np.full(game.firms, price))[0].sum())

    width = game.c + 10 * game.mu + 5.0
    for value, price in ((alone, game.nash_price), (together, game.monopoly_price)):
        found = minimize_scalar(value, bounds=(game.c, width), method="bounded", options={"xatol": 1e-10})
        assert value(price) <= found.fun + 1e-12
    assert game.c < game.nash_price < game.monopoly_price
    assert game.nash_profit < game.monopoly_profit


@settings(max_examples=40, deadline=None)
@given(markets, st.integers(0, 2**32))
def test_surplus_is_the_area_under_demand(game: Pricing, seed: int) -> None:
    """Roy's identity: consumer surplus falls in a price at the rate of the quantity."""
    prices = np.random.default_rng(seed).uniform(game.grid[0], game.grid[-1], game.firms)
    profits, _ = game.market(prices)
    step = 1e-5
    for firm in range(game.firms):
        shift = np.zeros(game.firms)
        shift[firm] = step
        slope = (game.market(prices + shift)[1] - game.market(prices - shift)[1]) / (2 * step)
        assert -slope * (prices[firm] - game.c) == pytest.approx(profits[firm], abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(markets)
def test_levels_on_the_grid(game: Pricing) -> None:
    marks = game.benchmarks()
    welfare = marks.baseline.value
    assert welfare <= marks.equilibrium.value <= marks.first_best.value
    low = np.full(game.firms, game.grid[0])
    profits, surplus = game.market(low)
    assert marks.first_best.value == pytest.approx(
        game.periods * float(profits.sum() + surplus)
    )  # the lowest price of all


@pytest.mark.parametrize("firms", [2, 3, 4])
def test_no_firm_gains_by_leaving_the_equilibrium(firms: int) -> None:
    game = Pricing(firms=firms, periods=1)
    level = game.benchmarks().equilibrium
    done = play(game, {"firm": policy("equilibrium")}, worlds=1)
    assert done.welfare[0] == pytest.approx(level.value)
    for index in range(game.prices):
        lone = policy("callable", function=lambda seen, k=index: {"price": seen["own"] * 0 + k}, batched=True)
        other = play(game, {"firm": policy("equilibrium"), "firm_0": lone}, worlds=1)
        assert other.returns["firm"][0, 0] <= done.returns["firm"][0, 0] + 1e-15


@pytest.mark.parametrize("level", ["first_best", "equilibrium", "baseline"])
def test_the_theory_policies_attain_their_levels(level: str) -> None:
    game = Pricing(periods=7)
    done = play(game, {"firm": policy("equilibrium", level=level)}, worlds=3)
    np.testing.assert_allclose(done.welfare, game.benchmarks().levels[level].value)


def test_measures_by_hand() -> None:
    game = Pricing(periods=2)
    state = game.start(np.zeros((1, 2)))
    total = 0.0
    for pair in ([3, 9], [0, 14]):
        outcome = game.step(state, {"firm": {"price": np.array([pair])}}, np.zeros((1, 2)))
        state, total = outcome.state, total + float(outcome.welfare[0])
    prices = np.asarray(game.grid)[[[3, 9], [0, 14]]]
    goods = np.exp((2 - prices) / 0.25)
    share = goods / (goods.sum(axis=1, keepdims=True) + 1)
    profit = float(((prices - 1) * share).mean())
    surplus = float(0.25 * np.log(goods.sum(axis=1) + 1).mean())
    found = {name: float(value[0]) for name, value in game.measures(state).items()}
    gain = (profit - game.nash_profit) / (game.monopoly_profit - game.nash_profit)
    expected = {"price": prices.mean(), "profit": profit, "profit_gain": gain, "consumer_surplus": surplus}
    assert found == pytest.approx(expected)
    assert total == pytest.approx(2 * (surplus + 2 * profit))  # of two periods
    assert bool(outcome.done[0])


def test_the_first_prices_are_uniform_on_the_grid() -> None:
    worlds = Worlds(Pricing(), 30_000, seed=2)
    counts = np.bincount(np.asarray(worlds.state.last).reshape(-1), minlength=15)
    assert counts.sum() == 60_000 and abs(counts - 4000).max() < 5 * math.sqrt(4000)
    worlds.reset(3)
    assert (np.bincount(np.asarray(worlds.state.last).reshape(-1), minlength=15) != counts).any()


def test_prices_fall_with_competition() -> None:
    """Equilibrium prices fall with the number of firms and rise with differentiation."""
    by_firms = [Pricing(firms=n).nash_price for n in (2, 3, 4)]
    by_mu = [Pricing(mu=mu).nash_price for mu in (0.1, 0.25, 0.5)]
    assert by_firms == sorted(by_firms, reverse=True)
    assert by_mu == sorted(by_mu)


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Pricing(firms=3, periods=4))


def test_every_price_has_its_own_words() -> None:
    game = Pricing(a=-0.5, prices=40)  # hardly any demand: the grid is narrow
    options = game.roles[0].acts[0].space.options  # type: ignore[union-attr]
    assert len(set(options)) == 40
    np.testing.assert_allclose([float(text) for text in options], game.grid, atol=(game.grid[1] - game.grid[0]) / 2)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"firms": 1}, "firms: a whole number from 2 to 4, got 1"),
        ({"prices": 1}, "prices: .* got 1"),
        ({"firms": 4, "prices": 50}, "prices: a whole number from 2 to 37 with 4 firms, got 50"),
        ({"mu": 0.0}, "mu: .* got 0.0"),
        ({"mu": 0.002}, "mu: at least 0.00333333 .* got 0.002"),
        ({"xi": 2.0}, "xi: a number from 0 to 1, got 2.0"),
        ({"a": math.nan}, "a: a number"),
        ({"periods": 0}, "periods: .* got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make("Pricing", **wrong)


def test_a_market_without_demand_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a: .* pN and pM coincide"):
        Pricing(a=-20.0).benchmarks()
