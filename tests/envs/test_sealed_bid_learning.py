"""First-price bidders that learn by playing against themselves; exact results of auctions; what is paid is received."""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from societas import ActError, play, policy
from societas.envs.markets.multi_unit import MultiUnit
from societas.envs.markets.sealed_bid import PRICING, SealedBid
from societas.policies.gradient import PolicyGradient

Table = np.ndarray[Any, Any]


# ---- learning ------------------------------------------------------------------------------------------------------


def learned(game: SealedBid, seed: int, episodes: int, sessions: int) -> tuple[Table, Table]:
    """Let all bidders learn one strategy against itself, from bids of .2 whatever the signal; return signals and bids."""
    learner = PolicyGradient((64,), rate=0.01, spread=(0.1, 0.005), start={"bid": 0.2}, device="cpu")
    learner = learner.learn(game, "bidder", episodes=episodes, sessions=sessions, seed=seed)
    bound = learner.bind(game, "bidder", tuple(range(game.bidders)))
    state = game.start(np.random.default_rng(seed).random((4000, game.draws)))
    seen = game.view(state)["bidder"]
    acts, _ = bound.act(seen, game.stage(state), np.zeros((4000, game.bidders, 0)), None)
    return seen["signal"].reshape(-1), acts["bid"].reshape(-1)


def slope(signals: Table, bids: Table) -> float:
    """Least squares of bids on signals, with a constant."""
    return float(np.polynomial.Polynomial.fit(signals, bids, 1).convert().coef[1])


def regret(n: int, signals: Table, bids: Table) -> float:
    """What a bidder gains on average by its best reply to n - 1 others who bid so, over what it gets by bidding so too."""
    offers, ordered = np.linspace(0.0, 1.0, 501), np.sort(bids)

    def wins(offer: Any) -> Any:
        return (np.searchsorted(ordered, offer) / len(ordered)) ** (n - 1)

    best = ((signals[:, None] - offers) * wins(offers)).max(axis=-1)
    return float((best - (signals - bids) * wins(bids)).mean())


def test_two_bidders_learn_to_shade_by_half() -> None:
    signals, bids = learned(SealedBid(2, "first"), seed=0, episodes=150, sessions=512)
    assert slope(signals, bids) == pytest.approx(0.5, abs=0.06)
    assert regret(2, signals, bids) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3])
def test_learned_slopes_are_those_of_the_equilibrium(n: int) -> None:
    """(n - 1) / n (Vickrey 1961), over five seeds; each is within .03 for two bidders, and so is the interval of the mean."""
    equilibrium = (n - 1) / n
    slopes, regrets = [], []
    for seed in range(5):
        signals, bids = learned(SealedBid(n, "first"), seed, episodes=500, sessions=2048)
        slopes.append(slope(signals, bids))
        regrets.append(regret(n, signals, bids))
    half = float(student.ppf(0.975, 4)) * float(np.std(slopes, ddof=1)) / math.sqrt(5)
    told = f"n = {n}: slope {np.mean(slopes):.4f} +- {half:.4f}, equilibrium {equilibrium:.4f}"
    told += f"; seeds {np.round(slopes, 4).tolist()}; regret {max(regrets):.4f}"
    print(told)
    within = 0.03 if n == 2 else 0.05
    assert np.abs(np.array(slopes) - equilibrium).max() < within, told
    assert abs(np.mean(slopes) - equilibrium) + half < within, told
    assert max(regrets) < 0.003, told


# ---- exact results, row by row ------------------------------------------------------------------------------------


def followed(game: Any, worlds: int = 40_000, seed: int = 11) -> Any:
    return play(game, {role.name: policy("equilibrium") for role in game.roles}, worlds=worlds, seed=seed)


def mean_is(values: Any, expected: float) -> None:
    assert values.mean() == pytest.approx(expected, abs=4 * values.std() / math.sqrt(len(values)) + 1e-9)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_bids_and_revenues_of_private_values(n: int) -> None:
    """Revenue (n - 1) / (n + 1) at the first and second price and where all pay; bids (n - 1) v / n, v, (n - 1) v^n / n."""
    v = np.linspace(0.0, 1.0, 101)
    expected = {"first": (n - 1) * v / n, "second": v, "all_pay": (n - 1) * v**n / n}
    for pricing, bids in expected.items():
        game = SealedBid(n, pricing)
        np.testing.assert_allclose(game.bid(v, 0.0), bids, atol=1e-15)
        assert game.expected()[0] == pytest.approx((n - 1) / (n + 1), abs=1e-12)
        mean_is(followed(game).measures["revenue"], (n - 1) / (n + 1))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 8), st.floats(0.05, 0.95), st.floats(0.0, 1.0))
def test_first_price_bids_above_a_reserve(n: int, reserve: float, above: float) -> None:
    """(n - 1) v / n + r^n / (n v^(n - 1)), which is E[max(the second value, r) | v is the highest]."""
    v = reserve + (1.0 - reserve) * above
    bid = float(SealedBid(n, "first", reserve=reserve).bid(np.asarray(v), reserve))
    assert bid == pytest.approx((n - 1) * v / n + reserve**n / (n * v ** (n - 1)))
    grid = (
        (np.arange(20_000) + 0.5) / 20_000 * v
    )  # of the highest of the others, with density (n - 1) y^(n - 2) / v^(n - 1)
    second = np.maximum(grid, reserve) * (n - 1) * grid ** (n - 2) / v ** (n - 1) * v if n > 1 else np.full(1, reserve)
    assert bid == pytest.approx(second.mean(), abs=1e-4)


@pytest.mark.parametrize(("n", "revenue"), [(1, 1 / 4), (2, 5 / 12), (3, 17 / 32)])
def test_the_best_reserve_is_one_half_whatever_the_number_of_bidders(n: int, revenue: float) -> None:
    game = SealedBid(n, "second", reserve=None)
    assert game.optimal_reserve() == pytest.approx(0.5)
    assert game.expected()[0] == pytest.approx(revenue)
    reserves = np.linspace(0.0, 1.0, 101)
    earned = [SealedBid(n, "second", reserve=float(r)).expected()[0] for r in reserves]
    assert reserves[int(np.argmax(earned))] == 0.5 and max(earned) == pytest.approx(revenue)


@pytest.mark.parametrize(("n", "q"), [(3, 2), (5, 3), (4, 1)])
def test_unit_demand_for_several_units_earns_the_same_by_all_rules(n: int, q: int) -> None:
    """q (n - q) / (n + 1): q times the expectation of the highest value that loses (Vickrey 1961)."""
    for pricing in ("uniform", "discriminatory", "vcg"):
        game = MultiUnit(n, q, 1, 1.0, pricing)
        mean_is(followed(game).measures["revenue"], q * (n - q) / (n + 1))


# ---- nothing is created or lost -----------------------------------------------------------------------------------

OFFERS = st.sampled_from([0.0, 1.0, 0.5, 0.5 + 2.0**-52, 2.0**-1074, 1.0 - 2.0**-53]) | st.floats(0.0, 1.0)


@st.composite
def sales(draw: st.DrawFn) -> tuple[SealedBid, Table, Table, Table]:
    """An auction with any signals, lots and bids, equal ones and extremes among them."""
    n, reserve = draw(st.integers(1, 5)), draw(st.sampled_from([0.0, 0.5, 1.0, 0.3, None]))
    worth = draw(st.sampled_from([0.0, 0.4]))
    game = SealedBid(n, draw(st.sampled_from(PRICING)), 0.3, reserve, 0.0 if worth else 0.6, False, worth)
    signals, lots = (np.array([draw(st.lists(st.floats(0.0, 1.0), min_size=n, max_size=n))]) for _ in range(2))
    return game, signals, lots, np.array([draw(st.lists(OFFERS, min_size=n, max_size=n))])


@settings(max_examples=150, deadline=None)
@given(sales(), OFFERS)
def test_a_sale_moves_one_good_and_makes_no_money(sale: tuple[SealedBid, Table, Table, Table], chosen: float) -> None:
    game, signals, lots, bids = sale
    u = np.concatenate([lots, signals], axis=-1)
    state = game.start(u)
    floor = game.reserve
    if game.reserve is None:
        floor = chosen
        state = game.step(state, {"seller": {"reserve": np.array([[chosen]])}, "bidder": {"bid": bids}}, u).state
    acts = {"bidder": {"bid": bids}, "seller": {"reserve": np.array([[chosen]])}}
    outcome = game.step(state, {role.name: acts[role.name] for role in game.roles}, u)
    found = {name: float(value[0]) for name, value in game.measures(outcome.state).items()}
    winner = int(outcome.state.memory["winner"][0])
    values, gains = game.values(signals)[0], outcome.rewards["bidder"][0]
    reached = np.flatnonzero(bids[0] >= floor)
    assert (winner < game.bidders) == (len(reached) > 0) == (found["sold"] == 1)
    kept = game.worth * (1 - found["sold"])
    had = np.where(np.arange(game.bidders) == winner, values, 0.0)
    paid = had - gains
    assert float(outcome.welfare[0]) == pytest.approx(had.sum() + kept)
    assert found["revenue"] == pytest.approx(paid.sum(), abs=1e-12)
    assert found["revenue"] + found["surplus"] + kept == pytest.approx(float(outcome.welfare[0]))
    if game.reserve is None:
        assert float(outcome.rewards["seller"][0, 0]) == pytest.approx(paid.sum() + kept, abs=1e-12)
    if winner < game.bidders:
        assert bids[0, winner] == bids.max()
        tied = np.flatnonzero(bids[0] == bids.max())
        assert lots[0, winner] == lots[0, tied].max()
        assert floor - 1e-12 <= paid[winner] <= bids[0, winner] + 1e-12
    if game.pricing == "all_pay":
        np.testing.assert_allclose(paid, np.where(bids[0] >= floor, bids[0], 0.0), atol=1e-12)
    else:
        assert np.abs(np.delete(paid, winner) if winner < game.bidders else paid).max(initial=0.0) < 1e-12


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(["uniform", "discriminatory", "vcg"]), st.integers(2, 5), st.integers(1, 4))
def test_units_are_given_once_and_payments_are_revenue(data: st.DataObject, pricing: str, n: int, units: int) -> None:
    demand = data.draw(st.integers(1, units)) if pricing == "vcg" else 1
    units = min(units, n * demand - 1)
    game = MultiUnit(n, units, min(demand, units), 0.7, pricing)
    size = n * game.demand
    bids = np.array(data.draw(st.lists(OFFERS, min_size=size, max_size=size))).reshape(1, n, -1)
    u = np.array([data.draw(st.lists(st.floats(0.0, 1.0), min_size=size + n, max_size=size + n))])
    outcome = game.step(game.start(u), {"bidder": {"bid": bids}}, u)
    won = game.view(outcome.state)["bidder"]["won"][0, 0]
    worth = [float(v) * sum(game.decay**j for j in range(k)) for v, k in zip(u[0, size:], won, strict=True)]
    paid = np.array(worth) - outcome.rewards["bidder"][0]
    assert won.sum() == units and won.max() <= game.demand
    assert float(outcome.welfare[0]) == pytest.approx(sum(worth), abs=1e-12)
    assert float(game.measures(outcome.state)["revenue"][0]) == pytest.approx(paid.sum(), abs=1e-12)
    assert (paid >= -1e-12).all() and (np.abs(paid[won == 0]) < 1e-12).all()
    for i in range(n):  # nobody pays more than it bid for what it got
        assert paid[i] <= np.sort(bids[0, i])[::-1][: won[i]].sum() + 1e-12


@pytest.mark.parametrize("bid", [math.nan, math.inf, -math.inf, -1e-9, 1.0 + 1e-9, 1e300])
@pytest.mark.parametrize("game", [SealedBid(2, "first"), MultiUnit()], ids=["one good", "several units"])
def test_bids_that_are_no_bids_are_refused_by_name(game: Any, bid: float) -> None:
    shape = (game.demand,) if isinstance(game, MultiUnit) else ()
    wild = policy("callable", function=lambda seen: {"bid": np.full((*seen["round"].shape, *shape), bid)}, batched=True)
    with pytest.raises(ActError, match="bid"):
        play(game, {"bidder": wild}, worlds=2)


# ---- the benchmark -------------------------------------------------------------------------------------------------

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "sealed_bid.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="the benchmarks are not part of the distribution")
def test_the_loops_of_the_benchmark_play_the_same_auction() -> None:
    """How fast they are is not tested; that all earn what theory says is, by the script itself."""
    bench = runpy.run_path(str(SCRIPT))
    rows = bench["measure"](1, 1e-4)
    assert [(row["pricing"], row["bidders"]) for row in rows] == [("first", 2), ("second", 3), ("first", 5)]
    assert all(rate > 0 for row in rows for rate in row["rates"].values())
    env = bench["PlainAuction"](3, second=True)
    env.reset(seed=1)
    values = list(env.values.values())
    _, rewards, over, _, _ = env.step({f"bidder_{i}": np.array([bid]) for i, bid in enumerate((0.2, 0.9, 0.6))})
    assert list(rewards.values()) == [0.0, values[1] - 0.6, 0.0] and not any(over.values())
