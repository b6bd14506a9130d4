"""Sealed bids: textbook revenues and bids, best responses by integration, revenue equivalence, the winner's curse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from societas import Game, play, policy
from societas.envs.markets.sealed_bid import SealedBid
from societas.testing import check_game

VARIANTS: list[dict[str, Any]] = [
    {},
    {"pricing": "first", "reserve": 0.3, "repetitions": 3},
    {"pricing": "all_pay", "bidders": 2, "reserve": None, "repetitions": 2},
    {"pricing": "mixed", "mix": 0.3, "bidders": 4, "common": 0.6, "reserve": 0.2},
    {"pricing": "first", "bidders": 2, "common": 1.0, "affiliated": True},
    {"bidders": 1, "reserve": None, "worth": 0.6},
]

RULES = st.sampled_from([("first", 0.5), ("second", 0.5), ("mixed", 0.2), ("mixed", 0.7), ("all_pay", 0.5)])


@st.composite
def independent(draw: st.DrawFn) -> SealedBid:
    """Games with independent signals."""
    pricing, mix = draw(RULES)
    most = 0.5 if pricing == "all_pay" else 0.8
    return SealedBid(
        draw(st.integers(2, 6)),
        pricing,
        mix,
        reserve=draw(st.sampled_from([0.0, 0.1, 0.35, most])),
        common=draw(st.sampled_from([0.0, 0.25, 0.6, 1.0])),
    )


@st.composite
def affiliated(draw: st.DrawFn) -> SealedBid:
    """Games with affiliated signals."""
    pricing, mix = draw(RULES.filter(lambda rule: rule[0] != "all_pay"))
    bidders = draw(st.integers(2, 5)) if pricing == "second" else 2
    return SealedBid(bidders, pricing, mix, common=draw(st.sampled_from([0.0, 0.4, 1.0])), affiliated=True)


def bids(game: SealedBid, signals: Any) -> Any:
    assert game.reserve is not None
    return game.bid(np.asarray(signals, dtype=float), game.reserve)


def follow(level: str = "equilibrium") -> Any:
    return policy("equilibrium", level=level)


def simulated(game: SealedBid, worlds: int = 40_000, seed: int = 5) -> Any:
    return play(game, {role.name: follow() for role in game.roles}, worlds=worlds, seed=seed)


def mean_is(values: Any, expected: float) -> None:
    assert values.mean() == pytest.approx(expected, abs=4 * values.std() / math.sqrt(len(values)) + 1e-9)


# ---- closed forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pricing", ["first", "second", "all_pay"])
@pytest.mark.parametrize("n", [2, 3, 7])
def test_revenue_of_private_values_without_reserve(pricing: str, n: int) -> None:
    game = SealedBid(n, pricing)
    marks = game.benchmarks()
    assert marks.baseline is not None
    assert game.expected()[0] == pytest.approx((n - 1) / (n + 1))
    assert marks.first_best.value == pytest.approx(n / (n + 1)) and marks.baseline.value == 0.5
    assert marks.equilibrium.value == pytest.approx(marks.first_best.value)
    done = simulated(game)
    mean_is(done.measures["revenue"], (n - 1) / (n + 1))
    mean_is(done.welfare, n / (n + 1))
    assert (done.measures["best"] == 1).all() and (done.measures["sold"] == 1).all()


def test_bids_of_private_values() -> None:
    v = np.linspace(0.01, 1.0, 50)
    for n in (1, 2, 5):
        np.testing.assert_allclose(bids(SealedBid(n, "second"), v), v)
        np.testing.assert_allclose(bids(SealedBid(n, "first"), v), (n - 1) * v / n, atol=1e-15)
        np.testing.assert_allclose(bids(SealedBid(n, "all_pay"), v), (n - 1) * v**n / n, atol=1e-15)
        r = 0.4
        some = v[v >= r]
        expected = (n - 1) * some / n + r**n / (n * some ** (n - 1))
        np.testing.assert_allclose(bids(SealedBid(n, "first", reserve=r), some), expected)
        assert (bids(SealedBid(n, "first", reserve=r), v[v < r]) == 0).all()
    for k in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(bids(SealedBid(4, "mixed", mix=k), v), v * 3 / (3 + k))


@pytest.mark.parametrize("pricing", ["first", "second", "mixed", "all_pay"])
def test_the_optimal_reserve_and_its_revenue(pricing: str) -> None:
    for n, revenue in ((1, 1 / 4), (2, 5 / 12), (3, 17 / 32)):
        game = SealedBid(n, pricing, reserve=None)
        assert game.optimal_reserve() == pytest.approx(0.5**n if pricing == "all_pay" else 0.5)
        assert game.expected()[0] == pytest.approx(revenue)
        done = simulated(game)
        mean_is(done.returns["seller"][:, 0], revenue)
        mean_is(done.welfare, game.benchmarks().equilibrium.value)
        fixed = SealedBid(n, pricing, reserve=game.optimal_reserve()).benchmarks()
        assert fixed.others["optimal"].value == pytest.approx(fixed.equilibrium.value)


def test_the_seller_asks_for_more_than_the_good_is_worth_to_it() -> None:
    game = SealedBid(2, reserve=None, worth=0.4)
    assert game.optimal_reserve() == pytest.approx(0.7)
    assert game.benchmarks().first_best.value == pytest.approx(2 / 3 + 0.4**3 / 3)
    mean_is(simulated(game).welfare, game.benchmarks().equilibrium.value)


def test_the_wallet_game() -> None:
    """Two bidders and a common value (x1 + x2) / 2: both bid their signals under the second price."""
    x = np.linspace(0.0, 1.0, 11)
    np.testing.assert_allclose(bids(SealedBid(2, common=1.0), x), x)
    np.testing.assert_allclose(bids(SealedBid(2, "first", common=1.0), x), x / 2)
    np.testing.assert_allclose(bids(SealedBid(5, common=1.0), x), x * 0.7)  # (2 x + 3 x / 2) / 5


def test_affiliation_makes_the_second_price_earn_more() -> None:
    """Signals s_i + t and common value their mean: bids x and 2x/3, revenues 5/6 and 7/9; here signals are half of that."""
    x, revenues = np.linspace(0.0, 1.0, 11), {}
    for pricing, slope, revenue in (("second", 1.0, 5 / 12), ("first", 2 / 3, 7 / 18)):
        game = SealedBid(2, pricing, common=1.0, affiliated=True)
        np.testing.assert_allclose(bids(game, x), slope * x)
        assert game.expected()[0] == pytest.approx(revenue)
        done = simulated(game)
        mean_is(done.measures["revenue"], revenue)
        revenues[pricing] = done.measures["revenue"].mean()
    assert revenues["second"] > revenues["first"] + 0.02


@pytest.mark.parametrize("n", [3, 5, 8])
def test_many_affiliated_bidders(n: int) -> None:
    game = SealedBid(n, common=0.7, affiliated=True)
    done = simulated(game)
    mean_is(done.measures["revenue"], game.expected()[0])
    mean_is(done.welfare, game.expected()[1])


@pytest.mark.parametrize(("n", "common"), [(3, 1.0), (4, 0.5), (7, 1.0)])
def test_affiliated_bids_are_expectations_at_a_tie(n: int, common: float) -> None:
    """E[v | the two highest s_i + t are z], by quadrature over t, which has weight (z - t)^(n - 2)."""
    game = SealedBid(n, common=common, affiliated=True)
    for z in (0.3, 0.99, 1.3, 1.7, 1.98):
        low, high = max(0.0, z - 1.0), min(1.0, z)
        weight = quad(lambda t, z=z: (z - t) ** (n - 2), low, high)[0]
        # the others' s are uniform below z - t, so that their signals average (z + t) / 4
        others = quad(lambda t, z=z: (z - t) ** (n - 2) * (z + t) / 4, low, high)[0] / weight
        expected = (1 - common) * z / 2 + common * (z + (n - 2) * others) / n
        assert float(bids(game, z / 2)) == pytest.approx(expected, abs=1e-12)


# ---- best responses, by integration over the others' signals ------------------------------------------------------


def payoffs(game: SealedBid, signal: float, offers: Any, spread: float = 1.0) -> Any:
    """What offers earn a bidder of a signal, against others who bid ``spread`` times the equilibrium."""
    assert game.reserve is not None
    n, k, r, c = game.bidders, game.k, game.reserve, game.common
    s = (np.arange(1200) + 0.5) / 1200 if not game.affiliated else (np.arange(300) + 0.5) / 300
    chance = (n - 1) * s ** (n - 2)
    if game.affiliated:
        low, high = max(0.0, 2 * signal - 1), min(1.0, 2 * signal)
        t = low + (high - low) * (np.arange(200)[:, None] + 0.5) / 200
        rival, rest, chance = ((s + t) / 2).ravel(), ((s / 2 + t) / 2).ravel(), np.tile(chance, 200)
    else:
        rival, rest = s, s / 2
    chance = chance / chance.sum()
    value = (1 - c) * signal + c * (signal + rival + (n - 2) * rest) / n
    other = spread * bids(game, rival)
    order = np.argsort(other, kind="stable")
    won = np.searchsorted(other[order], offers, side="left")

    def below(amounts: Any) -> Any:
        return np.concatenate([[0.0], np.cumsum((chance * amounts)[order])])[won]

    if game.pricing == "all_pay":
        gain = below(value) - offers
    else:
        gain = below(value - (1 - k) * np.maximum(other, r)) - k * offers * below(np.ones_like(other))
    return np.where(offers >= r, gain, 0.0)


def regret(game: SealedBid, signal: float, spread: float = 1.0) -> float:
    offers = np.concatenate([np.linspace(0.0, 1.0, 401), spread * bids(game, [signal])])
    found = payoffs(game, signal, offers, spread)
    return float(found.max() - found[-1])


@settings(max_examples=60, deadline=None)
@given(st.one_of(independent(), affiliated()), st.floats(0.02, 0.98))
def test_no_other_bid_earns_more(game: SealedBid, signal: float) -> None:
    assert regret(game, signal) < 2e-3


@pytest.mark.parametrize(
    "game", [SealedBid(3, "first"), SealedBid(2, "first", affiliated=True), SealedBid(4, "all_pay")]
)
def test_the_integration_finds_bids_that_are_too_low(game: SealedBid) -> None:
    assert regret(game, 0.8, spread=0.7) > 2e-2


# ---- revenue ------------------------------------------------------------------------------------------------------


def earned(game: SealedBid) -> float:
    """Expected payments, by quadrature of the bids over the laws of the two highest signals."""
    assert game.reserve is not None
    n, k, r = game.bidders, game.k, game.reserve
    low = min(float(game.screen(r)), 1.0)

    def over(density: Callable[[float], float]) -> float:
        return float(quad(lambda y: float(bids(game, y)) * density(y), low, 1.0, epsabs=1e-11)[0]) if low < 1 else 0.0

    if game.pricing == "all_pay":
        return n * over(lambda y: 1.0)
    alone = n * low ** (n - 1) * (1 - low)
    second = alone * r + over(lambda y: n * (n - 1) * y ** (n - 2) * (1 - y))
    return (1 - k) * second + k * over(lambda y: n * y ** (n - 1))


@settings(max_examples=60, deadline=None)
@given(independent())
def test_expected_revenue_is_what_the_bids_earn(game: SealedBid) -> None:
    revenue, welfare = game.expected()
    assert revenue == pytest.approx(earned(game), abs=1e-7)
    assert 0 <= revenue <= welfare <= game.benchmarks().first_best.value + 1e-12


@settings(max_examples=15, deadline=None)
@given(RULES, st.integers(1, 5), st.sampled_from([0.0, 0.3, 1.0]))
def test_no_reserve_on_a_grid_earns_more_than_the_optimal_one(rule: tuple[str, float], n: int, common: float) -> None:
    game = SealedBid(n, *rule, reserve=None, common=common)
    best = earned(SealedBid(n, *rule, reserve=game.optimal_reserve(), common=common))
    assert best == pytest.approx(game.expected()[0], abs=1e-7)
    for reserve in np.linspace(0.0, 1.0, 21):
        assert earned(SealedBid(n, *rule, reserve=float(reserve), common=common)) <= best + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.floats(0.0, 1.0), st.floats(0.01, 0.95))
def test_revenue_depends_on_who_bids_alone(n: int, common: float, least: float) -> None:
    """Revenue equivalence: rules with the same lowest bidding signal earn the same."""
    mean = 1 - common * (n - 1) / (2 * n)
    found = [
        earned(SealedBid(n, pricing, reserve=mean * least ** (n if pricing == "all_pay" else 1), common=common))
        for pricing in ("first", "second", "mixed", "all_pay")
    ]
    np.testing.assert_allclose(found, found[0], atol=1e-7)


def test_more_bidders_and_a_fuller_view_of_the_value() -> None:
    by_bidders = [SealedBid(n).expected()[0] for n in range(1, 11)]
    assert by_bidders == sorted(by_bidders) and by_bidders[0] == 0
    stakes = [SealedBid(4, common=c).benchmarks().first_best.value for c in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(stakes, [0.8, 0.65, 0.5])
    by_reserve = [SealedBid(3, reserve=r).benchmarks().equilibrium.value for r in (0.0, 0.3, 0.6, 1.0)]
    assert by_reserve == sorted(by_reserve, reverse=True) and by_reserve[-1] == 0


# ---- the winner's curse -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("affiliated", [False, True])
def test_bidders_who_forget_that_winning_is_bad_news_lose_money(affiliated: bool) -> None:
    """Naive: each bids what it expects of the good given its own signal alone (for independent signals)."""
    n = 6
    game = SealedBid(n, common=1.0, affiliated=affiliated)
    naive = policy("callable", function=lambda seen: {"bid": seen["signal"] / n + (n - 1) / (2 * n)}, batched=True)
    if affiliated:  # their own signal is then close to what they expect
        naive = policy("callable", function=lambda seen: {"bid": seen["signal"]}, batched=True)
    lost = play(game, {"bidder": naive}, worlds=20_000, seed=2).measures["surplus"]
    kept = play(game, {"bidder": follow()}, worlds=20_000, seed=2).measures["surplus"]
    assert lost.mean() < -0.02
    assert kept.mean() > 0.02
    if not affiliated:
        mean_is(lost, 0.5 - (5 / 7 / 6 + 5 / 12))


# ---- the game -----------------------------------------------------------------------------------------------------


def sale(game: SealedBid, signals: Any, offers: Any, lots: Any = (0.1, 0.5, 0.3)) -> Any:
    """Settle one round of given signals, bids and lots."""
    draws = np.zeros((1, game.draws))
    draws[0, game.luck : game.luck + len(signals)] = signals
    now = draws.copy()
    now[0, : game.luck] = lots
    acts = {"bidder": {"bid": np.array([offers], dtype=float)}}
    return game.step(game.start(draws), acts, now)


def test_who_wins_and_who_pays() -> None:
    signals, offers = (0.2, 0.9, 0.6), (0.3, 0.5, 0.8)
    for pricing, paid, reserve in (
        ("first", (0, 0, 0.8), 0.1),
        ("second", (0, 0, 0.5), 0.1),
        ("second", (0, 0, 0.7), 0.7),
        ("mixed", (0, 0, 0.5 + 0.25 * 0.3), 0.1),
        ("all_pay", (0, 0.5, 0.8), 0.4),
    ):
        game = SealedBid(3, pricing, 0.25, reserve=reserve, common=0.5)
        values = 0.5 * np.asarray(signals) + 0.5 * np.mean(signals)
        done = sale(game, signals, offers)
        np.testing.assert_allclose(done.rewards["bidder"][0], values * [0, 0, 1] - paid)
        np.testing.assert_allclose(done.welfare, values[2])
        found = game.measures(done.state)
        np.testing.assert_allclose(found["revenue"], sum(paid))
        assert found["sold"] == 1 and found["best"] == 0
        seen = game.view(done.state)["bidder"]
        assert (seen["winner"] == 2).all()
        np.testing.assert_allclose(seen["price"], paid[2])


def test_lots_decide_ties_and_low_bids_do_not_buy() -> None:
    tie = sale(SealedBid(3), (0.2, 0.9, 0.6), (0.5, 0.5, 0.5))
    np.testing.assert_allclose(tie.rewards["bidder"][0], [0, 0.9 - 0.5, 0])  # the highest lot
    other = sale(SealedBid(3), (0.2, 0.9, 0.6), (0.5, 0.5, 0.5), (0.1, 0.2, 0.3))
    np.testing.assert_allclose(other.rewards["bidder"][0], [0, 0, 0.6 - 0.5])
    kept = sale(SealedBid(3, reserve=0.6, worth=0.2), (0.2, 0.9, 0.6), (0.5, 0.4, 0.5))
    assert (kept.rewards["bidder"] == 0).all() and kept.welfare == 0.2


@pytest.mark.parametrize("wrong", VARIANTS, ids=str)
def test_money_is_conserved(wrong: dict[str, Any]) -> None:
    """Whatever is bid: what bidders pay is the revenue, and all gains together are welfare."""
    game = SealedBid(**wrong)
    done = play(game, {role.name: policy("random") for role in game.roles}, worlds=500, seed=4)
    rounds, found = game.repetitions, done.measures
    kept = (1 - found["sold"]) * game.worth
    np.testing.assert_allclose(done.welfare, rounds * (found["revenue"] + found["surplus"] + kept), atol=1e-12)
    np.testing.assert_allclose(done.returns["bidder"].sum(axis=-1), rounds * found["surplus"], atol=1e-12)
    if "seller" in done.returns:
        np.testing.assert_allclose(done.returns["seller"][:, 0], rounds * (found["revenue"] + kept), atol=1e-12)


def test_signals_are_private() -> None:
    for role in SealedBid(reserve=None).roles:
        seen = {field.name: field for field in role.sees}
        assert ("signal" in seen) == (role.name == "bidder") and "bid" not in seen
        assert role.name == "seller" or not seen["signal"].verifiable


def test_the_rules_say_how_the_reserve_comes_about() -> None:
    assert "the reserve of 0.25" in SealedBid(reserve=0.25).about
    assert "First the seller sets the reserve" in SealedBid(reserve=None).about
    assert [stage.name for stage in SealedBid(reserve=None).stages] == ["reserve", "bid"]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_examined(variant: dict[str, Any]) -> None:
    check_game(SealedBid(**variant))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(SealedBid(pricing="mixed", mix=0.3, reserve=None, common=0.4, repetitions=2))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"bidders": 0}, "bidders: a whole number from 1 to 10, got 0"),
        ({"pricing": "third"}, "pricing: one of 'first', 'second', 'mixed', 'all_pay', got 'third'"),
        ({"mix": 1.5}, "mix: a number from 0 to 1, got 1.5"),
        ({"reserve": -0.1}, "reserve: a number from 0 to 1, got -0.1"),
        ({"common": 2.0}, "common: a number from 0 to 1, got 2.0"),
        ({"worth": 1.0}, "worth: a number from 0 to 0.99, got 1.0"),
        ({"worth": 0.2, "common": 0.1}, "worth: 0 unless values are private and independent, got 0.2; set common to 0"),
        ({"affiliated": 1}, "affiliated: True or False, got 1"),
        ({"affiliated": True, "reserve": None}, "reserve: 0 with affiliated signals, got None"),
        ({"affiliated": True, "pricing": "all_pay"}, "pricing: one of .* with affiliated signals, got 'all_pay'"),
        ({"affiliated": True, "pricing": "first"}, "bidders: 2 with affiliated signals and pricing 'first', got 3"),
        ({"repetitions": 0}, "repetitions: a whole number from 1 to 1000000, got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SealedBid(**wrong)


def test_the_best_reserve_is_not_known_for_affiliated_signals() -> None:
    with pytest.raises(ValueError, match="affiliated: the best reserve is known for independent signals only"):
        SealedBid(affiliated=True).optimal_reserve()
