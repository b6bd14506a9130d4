"""Insider trading: Kyle's closed forms, his difference equations against moments and a numerical optimum, balanced books."""

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

from societas import Game, Worlds, play, policy
from societas.envs.core.words import ActError
from societas.envs.markets.insider import Insider
from societas.testing import check_game

VARIANTS: list[dict[str, Any]] = [
    {},
    {"maker": False, "repetitions": 3},
    {"auctions": 3, "repetitions": 6, "s_v": 2.0, "s_u": 0.5},
    {"auctions": 4, "repetitions": 4, "maker": False, "p0": -3.0},
]

DEVIATIONS = st.floats(0.05, 20.0)


def followed(game: Insider) -> dict[str, Any]:
    return {role.name: policy("equilibrium") for role in game.roles}


def mean_is(values: Any, expected: float) -> None:
    assert values.mean() == pytest.approx(expected, abs=4 * values.std() / math.sqrt(len(values)) + 1e-9)


def earned(betas: Any, impact: Any, s_v: float, noise: float) -> tuple[float, list[float], list[float]]:
    """Return what linear orders earn against linear prices, and of each auction E[(v - p)^2] and cov(v - p, y) / var(y)."""
    left, profit, errors, slopes = s_v**2, 0.0, [], []
    for beta, slope in zip(betas, impact, strict=True):
        profit += beta * (1.0 - slope * beta) * left
        slopes.append(beta * left / (beta**2 * left + noise))
        left = (1.0 - slope * beta) ** 2 * left + slope**2 * noise
        errors.append(left)
    return profit, errors, slopes


# ---- one auction --------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(DEVIATIONS, DEVIATIONS)
def test_kyle(s_v: float, s_u: float) -> None:
    game = Insider(s_v, s_u)
    solved, marks = game.linear, game.benchmarks()
    assert solved.impact == (pytest.approx(s_v / (2 * s_u)),)
    assert solved.beta == (pytest.approx(s_u / s_v),)
    assert solved.profit == pytest.approx(s_v * s_u / 2)
    assert solved.left == (pytest.approx(s_v**2 / 2),)
    assert marks.first_best.value == s_v**2 and marks.equilibrium.value == pytest.approx(s_v**2 / 2)


@pytest.mark.parametrize("maker", [True, False])
def test_simulated(maker: bool) -> None:
    game = Insider(2.0, 3.0, 50.0, maker)
    found = play(game, followed(game), worlds=40_000, seed=1)
    mean_is(found.returns["insider"][:, 0], 3.0)
    mean_is(found.measures["noise_loss"], 3.0)
    mean_is(found.measures["maker_profit"], 0.0)
    mean_is(found.measures["error"], 2.0)
    mean_is(found.welfare, 2.0)
    if maker:
        np.testing.assert_allclose(found.returns["maker"][:, 0], -found.measures["error"])


def test_no_line_through_the_flow_prices_better() -> None:
    game = Insider(2.0, 3.0, 50.0)
    moments = play(game, followed(game), worlds=40_000, seed=2, keep=True).moments
    value = moments[0].seen["insider"]["value"][:, 0]
    flow = moments[1].seen["maker"]["flow"][:, 0]
    slope, constant = np.polyfit(flow, value, 1)
    assert slope == pytest.approx(game.linear.impact[0], abs=0.01) and constant == pytest.approx(50.0, abs=0.05)


@pytest.mark.parametrize("eagerness", [0.0, 0.5, 1.5, 2.0])
def test_greed_gives_the_insider_away(eagerness: float) -> None:
    game = Insider(maker=False)  # against the rule k times beta earns s_v s_u (k - k^2 / 2): nothing at k = 2
    orders = policy(
        "callable", function=lambda seen: {"order": np.clip(eagerness * (seen["value"] - 10.0), -10.0, 10.0)}
    )
    found = play(game, {"insider": orders}, worlds=40_000, seed=3)
    mean_is(found.returns["insider"][:, 0], eagerness - eagerness**2 / 2)


# ---- several auctions ---------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(DEVIATIONS, DEVIATIONS, st.integers(1, 6))
def test_difference_equations(s_v: float, s_u: float, auctions: int) -> None:
    solved = Insider(s_v, s_u, auctions=auctions, repetitions=auctions).linear
    noise = s_u**2 / auctions
    profit, errors, slopes = earned(solved.beta, solved.impact, s_v, noise)
    assert profit == pytest.approx(solved.profit)
    np.testing.assert_allclose(errors, solved.left)
    np.testing.assert_allclose(slopes, solved.impact)  # prices are E[v | orders so far]

    def loss(scaled: Any) -> float:
        return -earned(np.asarray(scaled) * s_u / s_v, solved.impact, s_v, noise)[0] / (s_v * s_u)

    best = minimize(loss, np.full(auctions, 0.3), method="BFGS", options={"gtol": 1e-9})  # the insider's, by numbers
    assert -best.fun * s_v * s_u == pytest.approx(profit, rel=1e-6)
    np.testing.assert_allclose(best.x * s_u / s_v, solved.beta, rtol=1e-3)


def test_many_auctions_double_the_profit_and_reveal_nearly_all() -> None:
    days = [Insider(auctions=n, repetitions=n).linear for n in (1, 2, 4, 20, 100)]
    profits = [day.profit for day in days]
    assert profits[0] == pytest.approx(0.5) and profits == sorted(profits)
    assert 0.97 < profits[-1] < 1.0  # s_v s_u in continuous time, where lambda = s_v / s_u
    assert days[-1].left[-1] < 0.02
    for day in days:
        assert day.profit == pytest.approx(np.mean(day.impact))  # noise traders lose lambda s_u^2 / N an auction
        assert all(one > after for one, after in itertools.pairwise((1.0, *day.left)))


def test_a_simulated_day() -> None:
    game = Insider(1.5, 2.0, auctions=4, repetitions=8)
    found = play(game, followed(game), worlds=20_000, seed=4)
    mean_is(found.returns["insider"][:, 0], 2 * game.linear.profit)
    mean_is(found.welfare, game.benchmarks().equilibrium.value)
    mean_is(found.measures["error"], sum(game.linear.left) / 4)


def test_a_value_lasts_a_day_and_is_told_when_it_is_over() -> None:
    game = Insider(auctions=3, repetitions=6)
    moments = play(game, followed(game), worlds=50, seed=5, keep=True).moments
    seen = [moment.seen["insider"] for moment in moments[::2]]
    values = np.stack([one["value"][:, 0] for one in seen])
    assert (values[0] == values[1]).all() and (values[1] == values[2]).all() and (values[3] == values[5]).all()
    assert (values[2] != values[3]).all()
    assert [int(one["auction"][0, 0]) for one in seen] == [1, 2, 3, 1, 2, 3]
    assert (seen[2]["last_value"] == 10.0).all() and (seen[3]["last_value"][:, 0] == values[0]).all()
    assert (seen[3]["last_price"] == 10.0).all() and (seen[2]["last_price"] != 10.0).all()


def test_the_maker_sees_the_flow_and_nothing_behind_it() -> None:
    game = Insider()
    u = np.array([[0.2, 0.3, 0.4, 0.1], [0.9, 0.3, 0.4, 0.1], [0.9, 0.3, 0.7, 0.6]])  # values and noise differ
    state = game.start(u)
    assert not game.view(state)["maker"]["flow"].any()
    noise = state.nature["noise"]
    acts = {"insider": {"order": (3.0 - noise)[:, None]}, "maker": {"price": np.full((3, 1), 10.0)}}
    seen = game.view(game.step(state, acts, u).state)["maker"]
    for name, values in seen.items():
        assert np.ptp(values) < 1e-12, name  # the same flow is the same sight
    np.testing.assert_allclose(seen["flow"], 3.0)


# ---- what may be done ---------------------------------------------------------------------------------------------

SHARES = st.sampled_from([-1.0, 0.0, 1.0]) | st.floats(-1.0, 1.0)


@settings(max_examples=50, deadline=None)
@given(SHARES, SHARES, st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=4, max_size=4), DEVIATIONS, DEVIATIONS)
def test_trade_moves_money_and_makes_none(order: float, price: float, u: list[float], s_v: float, s_u: float) -> None:
    game = Insider(s_v, s_u)
    state = game.start(np.array(u))
    acts = {
        "insider": {"order": np.array([10.0 * s_u * order])},
        "maker": {"price": np.array([10.0 + 10.0 * s_v * price])},
    }
    outcome = game.step(game.step(state, acts, np.array(u)).state, acts, np.array(u))
    found = {name: float(value) for name, value in game.measures(outcome.state).items()}
    size = 1e-9 * max(1.0, 400.0 * s_v * s_u)
    assert found["profit"] + found["maker_profit"] == pytest.approx(found["noise_loss"], abs=size)
    assert outcome.rewards["insider"][0] == found["profit"] and outcome.rewards["maker"][0] == -found["error"]
    known = float(state.nature["drawn"] - 10.0) ** 2
    assert outcome.welfare == pytest.approx(known - found["error"], abs=1e-9 * s_v**2)
    assert outcome.welfare <= known


def test_a_market_that_knows_nothing_creates_nothing() -> None:
    game = Insider(auctions=2, repetitions=4)
    found = play(game, {role.name: policy("equilibrium", level="uninformed") for role in game.roles}, worlds=100)
    np.testing.assert_allclose(found.welfare, 0.0, atol=1e-12)
    np.testing.assert_array_equal(found.returns["insider"], 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, 10.5])
def test_orders_out_of_range_are_refused_by_name(value: float) -> None:
    worlds = Worlds(Insider(maker=False))
    with pytest.raises(ActError, match=r"insider: order: .* from -10 to 10 shares"):
        worlds.step({"insider": {"order": np.array([[value]])}})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"s_v": 0.0}, "s_v: a number from 0.001"),
        ({"s_u": float("inf")}, "s_u: a number from 0.001"),
        ({"p0": "10"}, "p0: a number from -1e"),
        ({"maker": 1}, "maker: True or False, got 1"),
        ({"auctions": 101}, "auctions: a whole number from 1 to 100"),
        ({"auctions": 4, "repetitions": 6}, "repetitions: a multiple of auctions=4, for example 4, got 6"),
    ],
)
def test_parameters_out_of_range(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Insider(**wrong)


# ---- the examiner -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameters", VARIANTS, ids=str)
def test_examined(parameters: dict[str, Any]) -> None:
    check_game(Insider(**parameters))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Insider(auctions=2, repetitions=4))
