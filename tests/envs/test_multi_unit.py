"""Several units: rules against a plain reference, demand reduction, dominant strategies, revenue, best responses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta

from societas import Game, play, policy
from societas.envs.markets.multi_unit import MultiUnit
from societas.testing import check_game

VARIANTS: list[dict[str, Any]] = [
    {},
    {"decay": 1, "repetitions": 3},
    {"bidders": 3, "units": 4, "decay": 0.6, "pricing": "vcg"},
    {"bidders": 5, "units": 3, "demand": 1, "pricing": "discriminatory", "repetitions": 2},
    {"bidders": 3, "decay": 1.0, "pricing": "discriminatory"},
    {"bidders": 4, "demand": 1},
]


def followed(level: str = "equilibrium") -> dict[str, Any]:
    return {"bidder": policy("equilibrium", level=level)}


def mean_is(values: Any, expected: float) -> None:
    assert values.mean() == pytest.approx(expected, abs=4 * values.std() / math.sqrt(len(values)) + 1e-9)


def sale(game: MultiUnit, first: Any, bids: Any, lots: Any) -> Any:
    """Settle one round in worlds of given values (worlds, n), bids (worlds, n, demand) and lots (worlds, n demand)."""
    worlds = len(first)
    opening = np.concatenate([np.zeros((worlds, game.luck)), first], axis=-1)
    closing = np.concatenate([lots, first], axis=-1)
    return game.step(game.start(opening), {"bidder": {"bid": np.asarray(bids, dtype=float)}}, closing)


# ---- the rules ----------------------------------------------------------------------------------------------------


def reference(game: MultiUnit, bids: list[list[float]]) -> tuple[list[int], list[float]]:
    """Who gets how many units, and pays what, by the letter; bids are distinct."""
    every = sorted(((b, i) for i, own in enumerate(bids) for b in own), reverse=True)
    winning, losing = every[: game.units], every[game.units :]
    won = [sum(1 for _, i in winning if i == me) for me in range(game.bidders)]
    if game.pricing == "uniform":
        return won, [k * losing[0][0] for k in won]
    if game.pricing == "discriminatory":
        return won, [sum(b for b, i in winning if i == me) for me in range(game.bidders)]
    paid = []
    for me in range(game.bidders):
        displaced = [b for b, i in losing if i != me][: won[me]]
        paid.append(sum(displaced))
    return won, paid


@st.composite
def rules(draw: st.DrawFn) -> MultiUnit:
    """Games of all three rules."""
    pricing = draw(st.sampled_from(["uniform", "discriminatory", "vcg"]))
    if pricing == "uniform" and draw(st.booleans()):
        return MultiUnit(decay=draw(st.sampled_from([0.3, 1.0])))
    if pricing == "discriminatory" and draw(st.booleans()):
        units = draw(st.integers(2, 4))
        return MultiUnit(draw(st.integers(2, 4)), units, units, 1.0, pricing)
    n, demand = draw(st.integers(2, 5)), draw(st.integers(1, 3)) if pricing == "vcg" else 1
    units = draw(st.integers(demand, max(demand, min(9, n * demand - 1))))
    return MultiUnit(n, units, demand, draw(st.sampled_from([0.2, 0.7, 1.0])), pricing)


@settings(max_examples=60, deadline=None)
@given(rules(), st.integers(0, 2**32))
def test_units_and_payments_are_what_the_rules_say(game: MultiUnit, seed: int) -> None:
    rng, n, d = np.random.default_rng(seed), game.bidders, game.demand
    first, bids = rng.random((1, n)), rng.random((1, n, d))
    done = sale(game, first, bids, rng.random((1, n * d)))
    won, paid = reference(game, bids[0].tolist())
    worth = [sum(v * game.decay**j for j in range(k)) for v, k in zip(first[0], won, strict=True)]
    np.testing.assert_allclose(done.rewards["bidder"][0], np.array(worth) - paid, atol=1e-12)
    np.testing.assert_allclose(done.welfare, sum(worth))
    found = game.measures(done.state)
    np.testing.assert_allclose(found["revenue"], sum(paid), atol=1e-12)
    np.testing.assert_allclose(found["revenue"] + found["surplus"], done.welfare)
    assert game.view(done.state)["bidder"]["won"][0, 0].tolist() == won and sum(won) == game.units


def test_lots_decide_between_equal_bids() -> None:
    game = MultiUnit(3, 2, 1)
    first = np.array([[0.2, 0.5, 0.9]])
    for lots, winners in (((0.3, 0.2, 0.1), (1, 1, 0)), ((0.1, 0.2, 0.3), (0, 1, 1)), ((0.5, 0.5, 0.5), (1, 1, 0))):
        done = sale(game, first, np.full((1, 3, 1), 0.4), np.array([lots]))
        np.testing.assert_allclose(done.rewards["bidder"][0], (first[0] - 0.4) * winners)


# ---- levels -------------------------------------------------------------------------------------------------------


def test_demand_reduction_in_closed_form() -> None:
    """Two bidders, two units, flat demand: each bids for one unit only, and the price is 0."""
    game = MultiUnit(decay=1.0)
    marks = game.benchmarks()
    assert marks.baseline is not None
    assert game.expected() == (0.0, 1.0)
    assert marks.first_best.value == pytest.approx(4 / 3) and marks.baseline.value == pytest.approx(1.0)
    done = play(game, followed(), worlds=4000, seed=1)
    assert (done.measures["revenue"] == 0).all() and (done.measures["spread"] == 1).all()
    truth = play(game, followed("first_best"), worlds=40_000, seed=1)
    mean_is(truth.measures["revenue"], 2 / 3)  # what it would earn if nobody held back
    vcg = MultiUnit(decay=1.0, pricing="vcg")
    assert vcg.expected() == (pytest.approx(2 / 3), pytest.approx(4 / 3))


@pytest.mark.parametrize("pricing", ["uniform", "discriminatory", "vcg"])
def test_unit_demand_in_closed_form(pricing: str) -> None:
    for n, q in ((2, 1), (4, 2), (7, 5)):
        game = MultiUnit(n, q, 1, pricing=pricing)
        best = sum((n + 1 - i) / (n + 1) for i in range(1, q + 1))
        revenue, welfare = game.expected()
        assert revenue == pytest.approx(q * (n - q) / (n + 1)) and welfare == pytest.approx(best)
        done = play(game, followed(), worlds=20_000, seed=2)
        mean_is(done.measures["revenue"], revenue)
        mean_is(done.welfare, welfare)


def test_flat_demand_for_all_units_is_one_lot() -> None:
    for n, q in ((2, 2), (4, 3)):
        for pricing in ("vcg", "discriminatory"):
            game = MultiUnit(n, q, q, 1.0, pricing)
            assert game.expected() == (pytest.approx(q * (n - 1) / (n + 1)), pytest.approx(q * n / (n + 1)))
            done = play(game, followed(), worlds=20_000, seed=3)
            mean_is(done.measures["revenue"], game.expected()[0])


@settings(max_examples=15, deadline=None)
@given(rules(), st.integers(0, 2**32))
def test_the_best_hands_and_the_lot_against_sampling(game: MultiUnit, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random((20_000, game.bidders, 1)) * game.decay ** np.arange(game.demand)
    best = np.sort(values.reshape(20_000, -1), axis=-1)[:, -game.units :].sum(axis=-1)
    marks = game.benchmarks()
    assert marks.baseline is not None
    assert marks.first_best.value == pytest.approx(best.mean(), abs=5 * best.std() / math.sqrt(20_000))
    urn = rng.permuted(np.tile(np.repeat(np.arange(game.bidders), game.demand), (20_000, 1)), axis=-1)
    got = (urn[:, : game.units, None] == np.arange(game.bidders)).sum(axis=1)
    lot = (values * (np.arange(game.demand) < got[..., None])).sum(axis=(1, 2))
    assert marks.baseline.value == pytest.approx(lot.mean(), abs=5 * lot.std() / math.sqrt(20_000))
    assert marks.baseline.value <= marks.equilibrium.value + 1e-9 <= marks.first_best.value + 2e-9


@settings(max_examples=20, deadline=None)
@given(rules())
def test_revenue_is_what_the_bids_earn(game: MultiUnit) -> None:
    done = play(game, followed(), worlds=8000, seed=6)
    revenue = done.measures["revenue"]
    assert revenue.mean() == pytest.approx(game.expected()[0], abs=5 * revenue.std() / math.sqrt(8000) + 1e-9)


@pytest.mark.parametrize(("n", "q"), [(2, 1), (5, 1), (5, 3), (10, 9)])
def test_discriminatory_bids_are_expectations_of_the_bidder_displaced(n: int, q: int) -> None:
    """The q-th highest of n - 1 uniform values has the law Beta(n - q, q)."""
    game, law = MultiUnit(n, q, 1, pricing="discriminatory"), beta(n - q, q)
    for v in (0.1, 0.5, 0.97):
        expected = quad(lambda y: y * law.pdf(y), 0.0, v, epsabs=1e-13)[0] / law.cdf(v)
        assert float(game.bid(np.array([v]))[0]) == pytest.approx(expected, rel=1e-8)


# ---- best responses -----------------------------------------------------------------------------------------------


def gains(game: MultiUnit, value: float, worlds: int = 2000) -> tuple[float, float]:
    """The most that bids on a grid earn bidder 0 of a value, and what its equilibrium bids earn, the others' being so."""
    n, d = game.bidders, game.demand
    others = np.random.default_rng(0).random((worlds, n - 1))
    if n == 2:
        others = (np.arange(worlds)[:, None] + 0.5) / worlds
    first = np.concatenate([np.full((worlds, 1), value), others], axis=-1)
    bids = np.array(game.bid(game.values(first)))
    lots = np.random.default_rng(1).random((worlds, n * d))
    kept = sale(game, first, bids, lots).rewards["bidder"][:, 0].mean()
    best = -math.inf
    for offer in itertools.combinations_with_replacement(np.linspace(1.0, 0.0, 21 if d < 3 else 9), d):
        bids[:, 0] = offer
        best = max(best, float(sale(game, first, bids, lots).rewards["bidder"][:, 0].mean()))
    return best, float(kept)


@pytest.mark.parametrize(
    "game",
    [
        MultiUnit(),
        MultiUnit(decay=0.4),
        MultiUnit(decay=1.0),
        MultiUnit(decay=1.0, pricing="discriminatory"),
        MultiUnit(2, 1, 1, pricing="discriminatory"),
        MultiUnit(4, 2, 1, pricing="discriminatory"),
        MultiUnit(3, 4, 2, 0.7, "vcg"),
        MultiUnit(2, 3, 3, 0.5, "vcg"),
        MultiUnit(4, 2, 1),
    ],
)
def test_no_other_bids_earn_more(game: MultiUnit) -> None:
    for value in (0.15, 0.6, 0.95):
        best, kept = gains(game, value)
        noise = 0.002 if game.bidders == 2 or game.pricing == "vcg" else 0.015  # sampled values of several others
        assert best <= kept + noise
        assert best >= kept - 0.03  # the grid is fine enough to tell


def second_bids(game: MultiUnit, first: Any, bids: Any) -> Any:
    """What bidder 0 earns with second bids from 0 to 0.5."""
    lots, found = np.random.default_rng(1).random((len(first), 4)), []
    for second in np.linspace(0.0, 0.5, 26):
        bids[:, 0, 1] = second
        found.append(float(sale(game, first, bids, lots).rewards["bidder"][:, 0].mean()))
    return np.array(found)


def test_at_a_uniform_price_less_than_the_value_is_bid_for_a_second_unit() -> None:
    """Against a truthful rival it is best to bid less than the second unit is worth, unless it is worth the first."""
    worlds = 2000
    first = np.stack([np.full(worlds, 0.5), (np.arange(worlds) + 0.5) / worlds], axis=-1)
    falling, flat = MultiUnit(decay=0.6), MultiUnit(decay=1.0)
    earned = second_bids(falling, first, np.array(falling.values(first)))
    assert earned.max() > earned[15] + 0.01 and earned.argmax() < 13  # it is worth 0.3, bid number 15
    assert second_bids(flat, first, np.array(flat.values(first))).argmax() == 25


def test_holding_back_is_better_for_bidders_than_the_truth() -> None:
    for decay in (0.6, 1.0):
        game = MultiUnit(decay=decay)
        gained, told = (
            play(game, followed(level), worlds=4000, seed=7).measures["surplus"]
            for level in ("equilibrium", "first_best")
        )
        assert gained.mean() > told.mean() + 0.1


# ---- the game -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_examined(variant: dict[str, Any]) -> None:
    check_game(MultiUnit(**variant))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(MultiUnit(3, 3, 2, 0.5, "vcg", repetitions=2))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"bidders": 1}, "bidders: a whole number from 2 to 10, got 1"),
        ({"units": 10}, "units: a whole number from 1 to 9, got 10"),
        ({"units": 4, "pricing": "vcg"}, "units: a whole number from 2 to 3 with 2 bidders for 2 each, got 4"),
        ({"demand": 3}, "demand: a whole number from 1 to 2, got 3"),
        ({"decay": 0.0}, "decay: a number from 0.01 to 1, got 0.0"),
        ({"pricing": "dutch"}, "pricing: one of 'uniform', 'discriminatory', 'vcg', got 'dutch'"),
        ({"bidders": 3}, "demand: 1 with pricing 'uniform' or 2 bidders for 2 units; got 2: .* 'vcg'"),
        (
            {"pricing": "discriminatory", "decay": 0.5},
            "demand: 1 .* or demand equal to units, and decay 1; got 2",
        ),
        ({"repetitions": 0}, "repetitions: a whole number from 1 to 1000000, got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MultiUnit(**wrong)
