"""The gather-trade-build economy: the same rules in plain Python, conservation, the market, taxes, scripts."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas import Game, Worlds, play, policy
from societas.envs.core import measures
from societas.envs.core.words import ActError
from societas.envs.markets.economy import ACTS, BARE, BUILD, Economy, EconomyState
from societas.policies.saez import SaezPlanner
from societas.testing import check_game, check_policy

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "economy.py"
LIVELY: dict[str, Any] = {"width": 6, "height": 8, "rows": 3, "steps": 60, "period": 20, "regrowth": 0.4, "highest": 4}
SMALL: dict[str, Any] = {"width": 6, "height": 5, "steps": 12, "period": 6, "sight": 1}
BID, ASK = ACTS.index("bid for wood"), ACTS.index("ask for wood")


@pytest.fixture(scope="module")
def plain() -> ModuleType:
    """The benchmark, which holds the rules once more, one world at a time."""
    if not SCRIPT.exists():
        pytest.skip("the benchmarks are not part of the distribution")
    spec = importlib.util.spec_from_file_location("benchmark_economy", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# ---- the rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"citizens": 6, "order_life": 3, "bonus": 1.0, "rate_step": 0.25},
        {"citizens": 3, "sight": 1, "cuts": [0.0], "bonus": 0.0, "eta": 0.0, "highest": 2},
        {"citizens": 9, "period": 10, "order_life": 6, "tail": 1.0, "most_skill": 8.0},
    ],
)
def test_agrees_with_plain_python(plain: ModuleType, options: dict[str, Any]) -> None:
    """Every number that anybody sees, every reward, in every step, with all the market and the taxes."""
    assert plain.agree(Economy(**{**LIVELY, **options}), count=4, seed=3) >= 5


def test_the_benchmark_runs(plain: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert min(plain.main(["--rounds", "1", "--worlds", "4"])) > 0
    assert "plain Python" in capsys.readouterr().out


def _sources(game: Economy, state: EconomyState) -> list[np.ndarray[Any, Any]]:
    """Sources of each good that bear, (worlds,) each."""
    return [(state.ground == k).sum(axis=-1) + (state.under == k).sum(axis=-1) for k in (1, 2)]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.sampled_from(["random", "market", "zero", "highest", "crossed"]),
    st.sampled_from(["random", "ties"]),
    st.integers(2, 7),
    st.integers(1, 6),
    st.integers(0, 999),
)
def test_coin_and_goods_are_conserved(mood: str, lots: str, n: int, life: int, seed: int) -> None:
    """Without growth and luck every unit is in the ground, held, on offer or in a house; coin comes from houses alone."""
    options = {**LIVELY, "regrowth": 0.0, "bonus": 0.0, "citizens": n, "order_life": life}
    game, rng = Economy(**options), np.random.default_rng(seed)
    state, rates = game.start(rng.random((5, game.draws))), rng.integers(0, 21, (5, 1, 7))
    first, before = _sources(game, state), state
    for _ in range(game.horizon):
        orders = rng.integers(BID, len(ACTS), (5, n))
        script = game.builder(game.view(before)["citizen"])["act"]
        kinds = np.where(
            rng.random((5, n)) < 0.6, script, orders if mood != "random" else rng.integers(0, len(ACTS), (5, n))
        )
        prices = rng.integers(0, game.highest + 1, (5, n))
        prices = {"zero": prices * 0, "highest": prices * 0 + game.highest}.get(mood, prices)
        if mood == "crossed":  # who bids bids high, who asks asks low
            prices = np.where((kinds >= BID) & ((kinds - BID) % 2 == 0), game.highest, 0)
        u = rng.random((5, game.draws))
        u = np.full_like(u, 0.5) if lots == "ties" else u
        done = game.step(before, {"planner": {"rates": rates}, "citizen": {"act": kinds, "price": prices}}, u)
        state = done.state
        built = ((state.houses - before.houses) * state.pays).sum(axis=-1)
        np.testing.assert_allclose(state.wealth.sum(axis=-1) - before.wealth.sum(axis=-1), built, atol=1e-9)
        aside = sum(np.where(m.side > 0, m.price, 0) for m in state.markets)
        np.testing.assert_allclose(state.wealth, state.coin + aside, atol=1e-9)
        assert (state.coin >= -1e-12).all()
        for k, market in enumerate(state.markets):
            assert (market.held >= 0).all()
            there = _sources(game, state)[k] + market.held.sum(axis=-1) + (market.side < 0).sum(axis=-1)
            np.testing.assert_array_equal(there + state.houses.sum(axis=-1), first[k])
            bid = np.where(market.side > 0, market.price, -1).max(axis=-1)
            ask = np.where(market.side < 0, market.price, 99).min(axis=-1)
            assert (bid < ask).all()  # what crosses has been traded
        spots = np.sort(state.places, axis=-1)
        assert (spots[:, 1:] != spots[:, :-1]).all()
        np.testing.assert_array_equal((state.ground == 4).sum(axis=-1), n)
        before = state
    assert state.houses.sum() > 0


def _stocked(game: Economy, coin: float, wood: int) -> EconomyState:
    """One world in which everybody has coin and wood, ready to act."""
    state = game.start(np.linspace(0.1, 0.9, game.draws)[None])
    markets = tuple(m._replace(held=m.held + wood) for m in state.markets)
    return state._replace(coin=state.coin + coin, wealth=state.wealth + coin, markets=markets, stage=state.stage + 1)


def _trade(game: Economy, state: EconomyState, acts: list[int], prices: list[int], lots: list[float]) -> EconomyState:
    u = np.full((1, game.draws), 0.9)
    u[0, : len(lots)] = lots
    given_acts = {
        "citizen": {"act": np.array([acts]), "price": np.array([prices])},
        "planner": {"rates": np.zeros((1, 1, 7))},
    }
    return game.step(state, given_acts, u).state  # type: ignore[no-any-return]


def test_a_market_by_hand() -> None:
    """Bids of 5 and 7 wait; an ask of 4 meets the higher, at its price; an ask of 6 waits for the next bid of 8."""
    game = Economy(citizens=4, order_life=3)
    state = _stocked(game, 20.0, 2)
    state = _trade(game, state, [BID, BID, 0, 0], [5, 7, 0, 0], [0.1, 0.2, 0.3, 0.4])
    assert state.coin[0].tolist() == [15, 13, 20, 20] and state.trades[0] == 0
    seen = game.view(state)["citizen"]
    assert seen["best_bid"][0, 3].tolist() == [7, -1] and seen["best_ask"][0, 3].tolist() == [-1, -1]
    assert seen["order"][0, 1].tolist() == [1, 0] and seen["order_price"][0, 1].tolist() == [7, 0]
    state = _trade(game, state, [0, 0, ASK, ASK], [0, 0, 4, 6], [0.1, 0.2, 0.3, 0.4])
    assert state.coin[0].tolist() == [15, 13, 27, 20] and state.markets[0].held[0].tolist() == [2, 3, 1, 1]
    assert state.trades[0] == 1 and state.markets[0].last[0] == 7
    state = _trade(game, state, [0, BID, 0, 0], [0, 8, 0, 0], [0.1, 0.2, 0.3, 0.4])  # the ask is older: 6
    assert state.coin[0].tolist() == [15, 7, 27, 26] and state.markets[0].held[0].tolist() == [2, 4, 1, 1]
    state = _trade(game, state, [0, 0, 0, 0], [0] * 4, [0.1, 0.2, 0.3, 0.4])  # the bid of 5 has stood for three steps
    assert state.coin[0].tolist() == [20, 7, 27, 26] and (state.markets[0].side == 0).all()
    assert game.measures(state)["price"][0] == pytest.approx(6.5)


def test_of_equal_orders_the_older_trades_and_within_a_step_a_lot_decides() -> None:
    game = Economy(citizens=3)
    state = _stocked(game, 20.0, 1)
    one = _trade(game, state, [BID, BID, 0], [5, 5, 0], [0.6, 0.2, 0.1])  # the second arrives first
    one = _trade(game, one, [0, 0, ASK], [0, 0, 5], [0.5] * 3)
    assert one.markets[0].held[0].tolist() == [1, 2, 0]
    same = _trade(game, state, [BID, BID, ASK], [6, 6, 2], [0.5] * 3)  # equal lots: by seat, and the bid is older
    assert same.markets[0].held[0].tolist() == [2, 1, 0] and same.coin[0].tolist() == [14, 14, 26]
    poor = _trade(game, _stocked(game, 3.0, 0), [BID, ASK, ASK], [4, 1, 1], [0.5] * 3)
    assert (poor.markets[0].side == 0).all() and (poor.labour == 0).all()


def test_tax_day() -> None:
    """Orders lapse, brackets apply to the income of the period, and the tax is shared equally."""
    game = Economy(citizens=2, steps=4, period=2, cuts=[0.0, 10.0], rate_step=0.1)
    state = _stocked(game, 0.0, 2)
    state = state._replace(rates=np.array([[1, 5]]), coin=np.array([[30.0, 4.0]]), wealth=np.array([[30.0, 4.0]]))
    state = _trade(game, state, [BID, ASK], [3, 9], [0.1, 0.2])
    assert state.coin[0].tolist() == [27, 4] and state.markets[0].held[0].tolist() == [2, 1]
    state = _trade(game, state, [0, 0], [0, 0], [0.1, 0.2])
    owed = [1.0 + 0.5 * 20.0, 0.4]
    np.testing.assert_allclose(state.taxes[0], owed)
    np.testing.assert_allclose(state.incomes[0], [30.0, 4.0])
    np.testing.assert_allclose(state.coin[0], [30 - 11 + 5.7, 4 - 0.4 + 5.7])
    assert (
        state.markets[0].held[0].tolist() == [2, 2] and state.stage[0] == 0 and state.revenue[0] == pytest.approx(11.4)
    )
    seen = game.view(state)
    assert (seen["citizen"]["income"] == 0).all() and seen["planner"]["left"][0, 0] == 2


def test_whoever_is_in_the_way_stops_others() -> None:
    """Houses let only their builders in, walls nobody; a house takes one unit of each good and pays by skill."""
    game = Economy(citizens=2, width=3, height=4, sight=1)
    state = _stocked(game, 0.0, 1)
    west = game.sight + (game.sight + 1) * game.stride  # row 2, column 1
    ground = np.array(game._first, dtype=np.int8)[None]
    places = np.array([[west, west + 2]])
    for place in places[0]:
        ground[0, place] = 4
    state = state._replace(ground=ground, places=places, under=np.zeros((1, 2), dtype=np.int8))
    east, move_west = ACTS.index("east"), ACTS.index("west")
    state = _trade(game, state, [BUILD, 0], [0, 0], [0.1, 0.2])
    assert state.houses[0].tolist() == [1, 0] and state.coin[0, 0] == state.pays[0, 0]
    assert [m.held[0].tolist() for m in state.markets] == [[0, 1], [0, 1]]
    state = _trade(game, state, [east, move_west], [0, 0], [0.2, 0.1])  # both want the middle: the lower lot
    assert state.places[0].tolist() == [west, west + 1]
    state = _trade(game, state, [ACTS.index("south"), 0], [0, 0], [0.1, 0.2])
    state = _trade(game, state, [0, move_west], [0, 0], [0.1, 0.2])
    assert state.places[0].tolist() == [west + game.stride, west + 1]  # not into another's house
    seen = game.view(state)["citizen"]["view"][0]
    north, left = game.labels.index("1 ahead"), game.labels.index("1 left")
    assert (seen[0][north], seen[1][left], seen[0][left], seen[0][4]) == (6, 7, 5, 0)
    state = _trade(game, state, [ACTS.index("north"), 0], [0, 0], [0.1, 0.2])
    assert state.places[0, 0] == west and game.view(state)["citizen"]["view"][0, 0, 4] == 6
    state = _trade(game, state, [move_west, 0], [0, 0], [0.1, 0.2])
    assert state.places[0, 0] == west


def test_sources_bear_again_at_their_rate() -> None:
    game = Economy(regrowth=0.3, rows=2, sight=1)
    state = _stocked(game, 0.0, 0)
    ground = np.where((state.ground == 1) | (state.ground == 2), BARE, state.ground).astype(np.int8)
    worlds = 400
    many = Worlds(game, worlds, seed=5)
    many.state = many.state._replace(ground=np.repeat(ground, worlds, axis=0), stage=many.state.stage + 1)
    many.state = many.state._replace(places=np.repeat(state.places, worlds, axis=0))
    many.step(
        {
            "citizen": {"act": np.zeros((worlds, 4)), "price": np.zeros((worlds, 4))},
            "planner": {"rates": np.zeros((worlds, 1, 7))},
        }
    )
    grown = [(many.state.ground == k).sum(axis=-1) for k in (1, 2)]
    for each in grown:
        assert abs(each.mean() - 0.3 * 22) < 5 * (22 * 0.3 * 0.7 / worlds) ** 0.5
    assert abs(np.corrcoef(*grown)[0, 1]) < 5 / worlds**0.5  # though they share their numbers


@pytest.mark.parametrize("n", [2, 4, 29, 30, 31, 60])
def test_equality_keeps_one_formula(n: int) -> None:
    """If one has everything it is 1 / n, for every n; if all have the same, 1."""
    one = np.zeros(n)
    one[0] = 7.0
    assert measures.equality(one) == pytest.approx(1.0 / n) and measures.equality(one * 0 + 3) == pytest.approx(1.0)
    game = Economy(citizens=n, width=12, height=12, sight=1)
    state = game.start(np.linspace(0.0, 0.99, game.draws)[None])
    state = state._replace(wealth=one[None])
    assert game.measures(state)["equality"][0] == pytest.approx(1.0 / n)


def test_rewards_are_gains_of_utility_and_welfare_is_equality_times_productivity() -> None:
    game, rng = Economy(**LIVELY), np.random.default_rng(0)

    def mixed(seen: Any) -> Any:
        script = game.builder(seen)["act"]
        act = np.where(rng.random(script.shape) < 0.5, script, rng.integers(0, len(ACTS), script.shape))
        return {"act": act, "price": rng.integers(0, 5, script.shape)}

    citizen = policy("callable", function=mixed, batched=True)
    done = play(game, {"planner": policy("random"), "citizen": citizen}, worlds=50, seed=2)
    found = done.measures
    np.testing.assert_allclose(done.welfare, found["equality"] * found["productivity"], atol=1e-9)
    np.testing.assert_allclose(done.returns["planner"][:, 0], done.welfare, atol=1e-9)
    np.testing.assert_allclose(done.returns["citizen"].mean(axis=1), found["utility"], atol=1e-9)
    assert found["trades"].sum() > 50 and found["houses"].sum() > 50 and found["revenue"].sum() > 0
    still = play(game, {}, worlds=2)
    assert (still.welfare == 0).all() and (still.returns["citizen"] == 0).all()


# ---- what is known ----------------------------------------------------------------------------------------------------


def test_levels_and_what_taxes_do() -> None:
    """The script answers taxes: it builds less, and coin is more even; no play reaches the bound."""
    game = Economy()
    marks = game.benchmarks()
    assert marks.baseline is not None and "no equilibrium" in marks.equilibrium.source
    assert 0.1 * game.bound < marks.baseline.value < game.bound
    found = {}
    for rate in (0.0, 0.25, 0.5, 0.75):
        acts = {"planner": game.flat(rate), "citizen": lambda seen: {**game.builder(seen), "price": seen["row"] * 0}}
        players = {name: policy("callable", function=how, batched=True) for name, how in acts.items()}
        found[rate] = play(game, players, worlds=60).measures
    built = [float(m["houses"].mean()) for m in found.values()]
    even = [float(m["equality"].mean()) for m in found.values()]
    assert built == sorted(built, reverse=True) and built[0] > 1.5 * built[2]
    assert even[2] > even[0] + 0.03
    np.testing.assert_array_equal(found[0.0]["revenue"], 0.0)


def test_bound_by_hand() -> None:
    """One citizen's time, the land or the sources bind; the best skill's mean against simulation."""
    skill = np.minimum((1.0 - np.random.default_rng(0).random((200_000, 4))) ** -0.25, 3.0).max(axis=1).mean()
    sources = 11 * (1 + 0.01 * 199) * 1.5
    assert Economy().bound == pytest.approx(10 * skill * sources, rel=3e-3)
    assert Economy(regrowth=1.0).bound == pytest.approx(10 * skill * 99, rel=3e-3)
    assert Economy(regrowth=1.0, steps=30, period=30).bound == pytest.approx(10 * skill * 60, rel=3e-3)
    assert Economy(regrowth=1.0, steps=30, period=30, bonus=0.0).bound == pytest.approx(10 * skill * 40, rel=3e-3)


def test_the_planner_of_saez_taxes_the_economy() -> None:
    """With a known elasticity and no weight for the taxed, the flat rate is 1 / (1 + e) from the second period on."""
    game = Economy(steps=60, period=20, cuts=[0.0])
    citizen = policy("callable", function=lambda seen: {**game.builder(seen), "price": seen["row"] * 0}, batched=True)
    done = play(game, {"planner": SaezPlanner(elasticity=1.0, aversion=None), "citizen": citizen}, worlds=20, keep=True)
    rates = np.array([m.acts["planner"]["rates"][:, 0, 0] for m in done.moments if m.stage[0] == 0])
    assert (rates[0] == 0).all() and (rates[1] == 10).all() and rates.shape == (3, 20)
    check_policy(SaezPlanner(), Economy(**{**SMALL, "cuts": [0.0, 5.0]}), "planner")


# ---- the rules of the library -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"citizens": 5, "cuts": [0], "rate_step": 0.25, "bonus": 0, "order_life": 2, "highest": 3, "rows": 2}],
)
def test_examined(options: dict[str, Any]) -> None:
    check_game(Economy(**{**SMALL, **options}), worlds=16)


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Economy(citizens=3, width=5, height=4, steps=6, period=3, sight=1, regrowth=0.5))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"citizens": 1}, "citizens: a whole number from 2"),
        ({"citizens": 100}, "citizens: at most 99, the cells without a source, got 100; enlarge the map"),
        ({"rows": 6}, "rows: at most 5 of 11 rows, got 6"),
        ({"period": 3}, "period: a divisor of steps=200, got 3"),
        ({"rate_step": 0.3}, "rate_step: a number of which 1 is a multiple"),
        ({"cuts": [1.0]}, "cuts: rising numbers from 0"),
        ({"cuts": [0.0, 5.0, 5.0]}, "cuts: rising"),
        ({"cuts": "no"}, "cuts: a list"),
        ({"eta": 1.0}, "eta"),
        ({"pay": float("nan")}, "pay"),
        ({"regrowth": 1.1}, "regrowth"),
        ({"highest": 0}, "highest"),
    ],
)
def test_bad_parameters(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Economy(**options)


def test_bad_acts() -> None:
    worlds = Worlds(Economy(), 2)
    fine = {"citizen": {"act": np.zeros((2, 4)), "price": np.zeros((2, 4))}, "planner": {"rates": np.zeros((2, 1, 7))}}
    for role, field, wrong in (
        ("citizen", "price", np.nan),
        ("citizen", "price", 11),
        ("citizen", "act", 10),
        ("planner", "rates", 21),
    ):
        acts = {name: dict(given_acts) for name, given_acts in fine.items()}
        acts[role][field] = acts[role][field] + wrong
        with pytest.raises(ActError, match=field):
            worlds.step(acts)
