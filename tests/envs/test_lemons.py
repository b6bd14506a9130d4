"""Lemons: trade against independent solvers, the winner's curse, and four institutions that restore trade."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from societas import Game, Worlds, play, policy
from societas.envs.core.words import ActError
from societas.envs.markets.lemons import SALE, Lemons
from societas.mechanisms.certify import Certify
from societas.mechanisms.contract import Contract
from societas.mechanisms.disclose import Disclose
from societas.mechanisms.reputation import Reputation
from societas.mechanisms.terms import Compensation
from societas.testing import check_game

VARIANTS: list[dict[str, Any]] = [
    {},
    {"value": 2.5, "buyers": 3},
    {"low": 0.2, "repetitions": 3},
    {"buyers": 1, "low": 0.2, "repetitions": 2},
]

WORLDS = 20_000


def batched(function: Callable[[Any], Any]) -> Any:
    return policy("callable", function=function, batched=True)


def simulated(game: Game, seller: Callable[[Any], Any], buyer: Callable[[Any], Any], worlds: int = WORLDS) -> Any:
    return play(game, {"seller": batched(seller), "buyer": batched(buyer)}, worlds=worlds, seed=3)


def bids(amount: float) -> Callable[[Any], Any]:
    return lambda seen: {"bid": seen["price"] * 0.0 + amount}


def sells(least: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda seen: {"sell": (seen["price"] >= least(seen)).astype(np.int64)}


def mean_is(values: Any, expected: float) -> None:
    assert values.mean() == pytest.approx(expected, abs=4 * values.std() / math.sqrt(len(values)) + 1e-9)


# ---- the textbook -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buyers", [1, 2, 5])
@pytest.mark.parametrize(("value", "sold"), [(1.2, 0), (1.5, 0), (1.99, 0), (2.0, 1), (3.0, 1)])
def test_nothing_or_everything_is_sold(buyers: int, value: float, sold: int) -> None:
    """Quality uniform on [0, 1]: no trade below k = 2, full trade from there on (Akerlof 1970)."""
    game = Lemons(value, buyers=buyers)
    marks = game.benchmarks()
    assert marks.first_best.value == pytest.approx((value - 1) / 2)
    assert marks.equilibrium.value == pytest.approx(sold * (value - 1) / 2)
    assert marks.second_best is not None and marks.second_best.value == pytest.approx(marks.equilibrium.value)
    assert marks.equilibrium.play is not None
    found = simulated(game, marks.equilibrium.play["seller"], marks.equilibrium.play["buyer"])
    assert (found.measures["traded"] == sold).all()
    mean_is(found.measures["quality"], sold * 0.5)


def test_who_gets_the_gains() -> None:
    """Several buyers leave all gains to the seller, a single buyer takes what information does not cost it."""
    for buyers, seller in ((1, 1.0 - 0.5), (2, 1.25 - 0.5)):
        game = Lemons(2.5, buyers=buyers)
        played = game.benchmarks().equilibrium.play
        assert played is not None
        found = simulated(game, played["seller"], played["buyer"])
        mean_is(found.measures["seller_gain"], seller)
        mean_is(found.measures["buyer_gain"], 0.75 - seller)


@settings(max_examples=100, deadline=None)
@given(st.floats(1.01, 4.0), st.floats(0.0, 0.95))
def test_prices_against_a_grid(value: float, low: float) -> None:
    """Several buyers: the highest price that a buyer does not lose by; one: the price that earns it most."""
    prices = np.sort(np.append(np.linspace(low, value, 20_001), 1.0))
    best = np.minimum(prices, 1.0)
    profit = (value * (low + best) / 2 - prices) * (best - low) / (1 - low)
    step = (value - low) / 20_000
    worth = value * (low + best) / 2
    # at p = low the seller of the lowest quality alone sells, and a buyer gains (k - 1) low >= 0
    competitive = prices[np.flatnonzero(worth >= prices - 1e-12).max()]
    game = Lemons(value, low)
    if abs(value * (1 + low) - 2) > 1e-3:  # there all is sold, or hardly anything
        assert game.price() == pytest.approx(competitive, abs=2 * step)
    alone = game.price(competitive=False)
    kept = (value * (low + min(alone, 1)) / 2 - alone) * (min(alone, 1) - low) / (1 - low)
    assert kept == pytest.approx(profit.max(), abs=1e-6)
    assert game.expected(alone) <= game.expected(game.price()) + 1e-12 <= game.expected(1.0) + 2e-12


@settings(max_examples=25, deadline=None)
@given(st.floats(1.05, 2.5), st.floats(0.0, 0.9))
def test_no_mechanism_without_a_subsidy_does_better(value: float, low: float) -> None:
    """A linear programme over all mechanisms: trade and payment by report, honest, voluntary, paid for by the buyer."""
    n = 40
    q = low + (1 - low) * (np.arange(n) + 0.5) / n
    # unknowns: n chances of trade, n payments
    welfare = np.concatenate([-(value - 1) * q / n, np.zeros(n)])
    rows, sides = [], []
    for i in range(n):
        row = np.zeros(2 * n)
        row[i], row[n + i] = q[i], -1.0  # voluntary: payment >= q trade
        rows.append(row)
        for j in {0, i - 1, i + 1, n - 1} & set(range(n)):
            other = row.copy()
            other[j] -= q[i]
            other[n + j] += 1.0
            rows.append(other)
    rows.append(np.concatenate([-value * q / n, np.full(n, 1 / n)]))  # the buyer does not lose
    sides = np.zeros(len(rows))
    found = linprog(welfare, A_ub=np.asarray(rows), b_ub=sides, bounds=[(0, 1)] * n + [(None, None)] * n)
    game = Lemons(value, low)
    level = game.benchmarks().second_best
    assert level is not None
    # on n qualities the lowest is half a step above low, and that much less is to be left to the seller
    step = (1 - low) / n
    coarse = game.expected((value * low + step) / (2 - value) if value < 2 else 1.0)
    assert level.value - 2e-3 <= -found.fun <= coarse + 2e-3


def test_more_worth_and_less_to_hide_mean_more_trade() -> None:
    def share(value: float, low: float) -> float:
        game = Lemons(value, low)
        return game.benchmarks().equilibrium.value / game.expected(1.0)

    by_value = [share(k, 0.2) for k in (1.1, 1.3, 1.5, 1.6, 1.7)]
    by_low = [share(1.5, low) for low in (0.0, 0.1, 0.2, 0.3, 0.4)]
    for shares in (by_value, by_low):
        assert shares == sorted(shares) and shares[0] < shares[2] < shares[4] == pytest.approx(1.0)


@pytest.mark.parametrize("offer", [0.25, 0.75, 1.0])
def test_a_buyer_who_offers_the_mean_is_cursed(offer: float) -> None:
    """Samuelson and Bazerman 1985: at k = 1.5 an offer of p <= 1 loses p^2 / 4 on average."""
    found = simulated(Lemons(buyers=1), sells(lambda seen: seen["quality"]), bids(offer))
    mean_is(found.returns["buyer"][:, 0], -(offer**2) / 4)


# ---- institutions that restore trade ------------------------------------------------------------------------------


def certifying(cost: float, value: float) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Sellers certify from quality t = cost / (k - 1) on, and buyers pay k q for a certificate and nothing without."""

    def seller(seen: Any) -> Any:
        buys = (seen["quality"] >= cost / (value - 1)).astype(np.int64)
        return {"certify_quality": buys, **sells(lambda seen: seen["quality"])(seen)}

    def buyer(seen: Any) -> Any:
        return {"bid": value * seen["certified_quality"] * (seen["certificate_quality"] == 1)}

    return seller, buyer


@pytest.mark.parametrize("cost", [0.0, 0.1, 0.3])
def test_certificates_restore_trade_of_what_is_worth_them(cost: float) -> None:
    """Welfare is (k - 1) (1 - t)^2 / 2, t = cost / (k - 1): the best go first, and some never."""
    value = 1.5
    game = Lemons(value) | Certify("quality", cost=cost)
    seller, buyer = certifying(cost, value)
    found, t = simulated(game, seller, buyer), cost / (value - 1)
    mean_is(found.welfare, (value - 1) * (1 - t) ** 2 / 2)
    mean_is(found.measures["traded"], 1 - t)
    np.testing.assert_allclose(found.measures["buyer_gain"], 0.0, atol=1e-12)
    for shift in (-0.1, 0.1):  # to certify more, or less, does not pay

        def other(seen: Any, shift: float = shift) -> Any:
            return seller(seen) | {"certify_quality": (seen["quality"] >= t + shift).astype(np.int64)}

        gain = simulated(game, other, buyer).returns["seller"] - found.returns["seller"]
        assert gain.mean() <= 1e-12


def test_a_single_buyer_would_take_all_that_a_certificate_brings() -> None:
    """It pays q for quality q, so that nobody buys a certificate: hold-up."""
    game = Lemons(buyers=1) | Certify("quality", cost=0.1)
    seller, _ = certifying(0.1, 1.5)
    found = simulated(game, seller, certifying(0.1, 1.0)[1])
    assert (found.returns["seller"] <= 1e-12).all() and found.returns["seller"].mean() < -0.05


def test_disclosure_makes_trade_efficient() -> None:
    game = Lemons() | Disclose("quality", of=("seller",))
    found = simulated(game, sells(lambda seen: seen["quality"]), lambda seen: {"bid": 1.5 * seen["disclosed_quality"]})
    assert (found.measures["traded"] == 1.0).all()
    mean_is(found.welfare, 0.25)


def warranted(warranty: float, value: float) -> tuple[float, float]:
    """Price and highest quality sold: p = k E[q] + w (1 - E[q]) and t = (p - w) / (1 - w), iterated down from full trade."""
    top = 1.0
    for _ in range(2_000):
        price = value * top / 2 + warranty * (1 - top / 2)
        top = min(max((price - warranty) / (1 - warranty), 0.0), 1.0) if warranty < 1 else 1.0
    return price, top


@pytest.mark.parametrize(("warranty", "sold"), [(0.0, 0.0), (0.4, 0.0), (0.6, 1.0), (1.0, 1.0), (1.5, 1.0)])
def test_a_warranty_of_at_least_two_less_k_restores_full_trade(warranty: float, sold: float) -> None:
    price, top = warranted(warranty, 1.5)
    assert top == pytest.approx(sold, abs=1e-9)
    game = Lemons() | Contract(Compensation(warranty, "sold faulty", "bought faulty", "sale"))

    def seller(seen: Any) -> Any:
        owed = warranty * (1 - seen["quality"])
        return {"consent": seen["round"] * 0 + 1, **sells(lambda seen: seen["quality"] + owed)(seen)}

    def buyer(seen: Any) -> Any:
        return {"consent": seen["round"] * 0 + 1, **bids(price if sold else warranty)(seen)}

    found = simulated(game, seller, buyer)
    assert (found.measures["traded"] == sold).mean() > 0.999
    mean_is(found.welfare, sold * 0.25)
    mean_is(found.returns["buyer"].sum(axis=-1), 0.0)  # buyers pay what they get, the warranty included
    if not sold:  # and would lose by an offer that draws out more than the worst
        lost = simulated(game, seller, lambda seen: buyer(seen) | bids(0.8)(seen)).returns["buyer"].sum(axis=-1)
        assert lost.mean() < -0.01


def test_a_warranty_that_no_court_enforces_is_worth_nothing() -> None:
    game = Lemons() | Contract(Compensation(1.5, "sold faulty", "bought faulty", "sale"), regime="text")
    yes = lambda seen: {"consent": seen["round"] * 0 + 1}  # noqa: E731
    found = simulated(
        game, lambda s: {**yes(s), **sells(lambda s: s["quality"])(s)}, lambda s: {**yes(s), **bids(1.5)(s)}
    )
    mean_is(found.returns["buyer"].sum(axis=-1), 0.75 - 1.5)


def trusting(rounds: int, offer: float) -> tuple[list[float], Any]:
    """What a good name is worth before each round, and the seller's best reply to buyers who trust a spotless one."""
    worth = [0.0]
    q = (np.arange(20_000) + 0.5) / 20_000
    for _ in range(rounds):
        after = worth[0]
        worth.insert(0, float(np.maximum(offer - q + q * after, after).mean()))
    ahead = np.asarray(worth)

    def seller(seen: Any) -> Any:
        after = ahead[np.clip(seen["round"], 0, rounds)]
        good = (seen["price"] >= offer - 1e-9) & (offer - seen["quality"] >= (1 - seen["quality"]) * after)
        return {"sell": good.astype(np.int64)}

    return worth, seller


@pytest.mark.parametrize("rounds", [1, 40])
def test_a_reputation_restores_trade_while_the_future_is_long(rounds: int) -> None:
    """Buyers pay 1.1 to whom never sold a faulty good: he then keeps the worst goods, and they gain, unless the end is near."""
    offer = 1.1
    good = tuple(option for option in SALE.options if option != "sold faulty")
    game = Lemons(repetitions=rounds) | Reputation("sale", good, most=rounds)
    worth, seller = trusting(rounds, offer)

    def buyer(seen: Any) -> Any:
        spotless = seen["reputation"][..., 0] == seen["round"] - 1
        return {"bid": offer * spotless}

    found = simulated(game, seller, buyer, worlds=4_000)
    mean_is(found.returns["seller"][:, 0], worth[0])
    if rounds == 1:  # all is sold, and 1.1 is too much for it
        mean_is(found.measures["buyer_gain"], 0.75 - offer)
    else:
        assert found.measures["buyer_gain"].mean() > 0.0 < found.welfare.mean()
        assert found.measures["quality"].mean() > 0.7


# ---- the game -----------------------------------------------------------------------------------------------------

money = st.one_of(st.sampled_from([0.0, 1.5]), st.floats(0.0, 1.5))


@settings(max_examples=100, deadline=None)
@given(st.lists(money, min_size=3, max_size=3), st.booleans(), st.lists(st.floats(0.0, 0.999), min_size=5, max_size=5))
def test_money_and_goods_are_conserved(offers: list[float], sell: bool, u: list[float]) -> None:
    game, draws = Lemons(buyers=3), np.asarray(u)
    state = game.step(game.start(draws), {"buyer": {"bid": np.asarray(offers)}, "seller": {"sell": np.zeros(1)}}, draws)
    quality = float(state.state.nature["quality"])
    acts = {"buyer": {"bid": np.zeros(3)}, "seller": {"sell": np.asarray([int(sell)])}}
    done = game.step(state.state, acts, draws)
    seller, buyers = done.rewards["seller"][0], done.rewards["buyer"]
    assert seller + buyers.sum() == pytest.approx(float(done.welfare)) == pytest.approx(0.5 * quality * sell)
    assert seller == pytest.approx((max(offers) - quality) * sell)
    losers = [gain for gain, offer in zip(buyers, offers, strict=True) if offer < max(offers)]
    assert all(gain == 0.0 for gain in losers) and (buyers != 0.0).sum() <= 1
    seen = game.view(done.state)
    who = [SALE.options[i] for i in [*seen["seller"]["sale"], *seen["buyer"]["sale"]]]
    sound = "sound" if u[3] < quality else "faulty"
    assert sorted(who) == sorted([f"sold {sound}", f"bought {sound}", "none", "none"] if sell else ["none"] * 4)


def test_lots_decide_ties() -> None:
    game = Lemons(buyers=3)
    found = simulated(game, sells(lambda seen: seen["quality"] * 0.0), bids(1.0))
    share = (found.returns["buyer"] != 0.0).mean(axis=0)
    np.testing.assert_allclose(share, 1 / 3, atol=4 * math.sqrt(2 / 9 / WORLDS))


def test_a_bid_that_is_no_number_is_refused_by_name() -> None:
    worlds = Worlds(Lemons(), 1)
    for wrong in (math.nan, -0.1, 1e9):
        with pytest.raises(ActError, match="bid"):
            worlds.step({"buyer": {"bid": np.array([[0.5, wrong]])}, "seller": {"sell": np.zeros((1, 1), dtype=int)}})


def test_only_the_seller_sees_the_quality() -> None:
    for role in Lemons().roles:
        seen = {field.name: field for field in role.sees}
        assert ("quality" in seen) == (role.name == "seller")
        assert seen["sale"].verifiable and (role.name == "buyer" or not seen["quality"].verifiable)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_examined(variant: dict[str, Any]) -> None:
    check_game(Lemons(**variant))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Lemons(low=0.3, repetitions=2))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"value": 0.9}, "value: a number from 1 to 100, got 0.9"),
        ({"low": 1.0}, "low: a number from 0 to 0.99, got 1.0"),
        ({"low": math.nan}, "low: a number from 0 to 0.99, got nan"),
        ({"buyers": 0}, "buyers: a whole number from 1 to 10, got 0"),
        ({"repetitions": 0}, "repetitions: a whole number from 1 to 1000000, got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Lemons(**wrong)
