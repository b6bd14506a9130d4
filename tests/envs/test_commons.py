"""The commons: published rows, the fishery bit for bit, sharing, growth laws against closed forms, the newcomer."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas import Game, Worlds, play, policy
from societas.envs.norms import commons
from societas.envs.norms.commons import Commons, share_in_proportion
from societas.envs.norms.fishery import Fishery
from societas.testing import check_game

PRESETS = [Commons.fishery, Commons.pasture, Commons.pollution]
SETTINGS = ["fishery", "pasture", "pollution"]


def user(game: Game) -> str:
    return game.roles[0].name


def take(game: Game, amount: int) -> dict[str, Any]:
    def function(seen: dict[str, Any]) -> dict[str, Any]:
        return {"harvest": seen["stock"] * 0 + amount}

    return {user(game): policy("callable", function=function, batched=True)}


def month(game: Commons, state: Any, harvest: list[int], u: float = 0.0) -> Any:
    """One month in one world."""
    return game.step(state, {user(game): {"harvest": np.array([harvest])}}, np.full((1, game.draws), u))


def begin(game: Commons) -> Any:
    return game.start(np.zeros((1, game.draws)))


# ---- GovSim -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("amount", "months", "gain", "efficiency", "overuse"),
    [(20, 1, 20.0, 100 / 600, 1.0), (15, 2, 25.0, 125 / 600, None), (10, 12, 120.0, 1.0, 0.0)],
)
def test_published_rows(
    preset: Callable[[], Commons], amount: int, months: int, gain: float, efficiency: float, overuse: float | None
) -> None:
    """Piatti et al. 2024: all take 20, 15 or 10 a month; 16.67, 20.83 and 100% of what 600 units make possible."""
    game = preset()
    assert game.sustainable == 600.0
    done = play(game, take(game, amount), worlds=3, seed=1)
    assert (done.length == months).all() and (done.measures["survival"] == months).all()
    np.testing.assert_allclose(done.measures["gain"], gain)
    np.testing.assert_allclose(done.measures["efficiency"], efficiency)
    if overuse is not None:  # in the second month of 15, 40 units meet demands of 75: the split is chance
        np.testing.assert_allclose(done.measures["equality"], 1.0)
        np.testing.assert_allclose(done.measures["overuse"], overuse)


def same(one: Game, other: Game, harvests: list[Any], worlds: int, seed: int, but: tuple[str, ...] = ()) -> None:
    """Both games give every number bit for bit, but for some measures."""
    a, b = (Worlds(game, worlds, seed=seed) for game in (one, other))
    for harvest in harvests:
        for name, values in a.view()[user(one)].items():
            np.testing.assert_array_equal(values, b.view()[user(other)][name])
        x = a.step({user(one): {"harvest": harvest}})
        y = b.step({user(other): {"harvest": harvest}})
        np.testing.assert_array_equal(x.rewards[user(one)], y.rewards[user(other)])
        for left, right in zip(x.state, y.state, strict=True):
            np.testing.assert_array_equal(left, right)
        np.testing.assert_array_equal(x.done, y.done)
        np.testing.assert_array_equal(x.welfare, y.welfare)
        first, second = one.measures(x.state), other.measures(y.state)
        for name in set(first) - set(but):
            np.testing.assert_array_equal(first[name], second[name])


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 6), st.integers(5, 60), st.integers(1, 5), st.integers(1, 3), st.integers(0, 5), st.integers(0, 99)
)
def test_every_setting_is_the_fishery_in_other_words(
    n: int, capacity: int, months: int, factor: int, collapse: int, seed: int
) -> None:
    base = Fishery(n, capacity, months, factor, collapse)
    rng = np.random.default_rng(seed)
    harvests = [rng.integers(0, capacity // 2 + 1, (20, n)) for _ in range(months)]
    for scenario in SETTINGS:
        game = Commons(n, capacity, months, factor=factor, collapse=collapse, scenario=scenario)
        # the fishery's efficiency is that of equal shares in whole tonnes
        same(base, game, harvests, 20, seed, () if game.sustainable_yield % n == 0 else ("efficiency",))
        mine, theirs = game.benchmarks().levels, base.benchmarks().levels
        assert {k: (v.value, v.source) for k, v in mine.items()} == {k: (v.value, v.source) for k, v in theirs.items()}


def test_the_first_preset_says_what_the_fishery_says() -> None:
    mine, theirs = Commons.fishery(), Fishery()
    assert (mine.about, mine.roles, mine.reports) == (theirs.about, theirs.roles, theirs.reports)
    assert Commons.pasture(users=3).users == 3
    for preset, words, foreign in zip(
        PRESETS, (("lake", "tonnes"), ("pasture", "flocks"), ("river", "pallets")), (0, 1, 2), strict=True
    ):
        text = preset().rules(user(preset())) + str(preset().reports)
        assert all(word in text for word in words)
        assert not any(word in text for k, word in enumerate(("fish", "grass", "widgets")) if k != foreign)


# ---- sharing out --------------------------------------------------------------------------------------------------


def by_largest_remainder(stock: int, wants: list[int], u: list[float]) -> list[int]:
    """Hamilton's method in exact fractions."""
    quotas = [Fraction(stock * want, sum(wants)) for want in wants]
    given_ = [int(quota) for quota in quotas]
    order = sorted(range(len(wants)), key=lambda i: (given_[i] - quotas[i], -u[i]))
    for i in order[: stock - sum(given_)]:
        given_[i] += 1
    return given_


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=2, max_size=7), st.data())
def test_proportional_shares_are_those_of_the_largest_remainder(wants: list[int], data: st.DataObject) -> None:
    stock = data.draw(st.integers(0, 40))
    u = data.draw(st.lists(st.floats(0, 1, exclude_max=True, width=16), min_size=len(wants), max_size=len(wants)))
    found = share_in_proportion(np.array(stock), np.array(wants), np.array(u)).tolist()
    assert sum(found) == min(stock, sum(wants)) and all(0 <= f <= w for f, w in zip(found, wants, strict=True))
    if stock >= sum(wants):
        assert found == wants
        return
    assert found == by_largest_remainder(stock, wants, u)
    assert all(abs(f - Fraction(stock * w, sum(wants))) < 1 for f, w in zip(found, wants, strict=True))


def test_ties_are_broken_at_random() -> None:
    """Five want the same of 7 units: one each, and two of them one more, all equally likely."""
    u = np.random.default_rng(0).random((20_000, 5))
    found = share_in_proportion(np.full(20_000, 7), np.full((20_000, 5), 9), u)
    assert set(np.unique(found)) == {1, 2} and (found.sum(axis=1) == 7).all()
    np.testing.assert_allclose(found.mean(axis=0), 1.4, atol=4.5 * 0.49 / np.sqrt(20_000))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["doubling", "logistic"]),
    st.sampled_from(["random", "proportional"]),
    st.sampled_from([0, 2, 3]),
    st.integers(2, 5),
    st.integers(6, 80),
    st.sampled_from([0.1, 0.3, 0.5, 1.0, 1.7, 2.0]),
    st.integers(0, 99),
)
def test_the_stock_is_conserved(
    growth: str, sharing: str, newcomer: int, n: int, capacity: int, rate: float, seed: int
) -> None:
    """Taken and left make the stock, nobody gets more than wanted, and only a scarce stock is shared out."""
    game = Commons(n, capacity, 4, growth, rate=rate, collapse=3, sharing=sharing, newcomer=newcomer)
    rng, worlds = np.random.default_rng(seed), Worlds(game, 20, seed=seed)
    for now in range(1, 5):
        wants = rng.integers(0, capacity // 2 + 1, (20, game.roles[0].count))
        stock = worlds.state.stock
        outcome = worlds.step({"fisher": {"harvest": wants}})
        valid = wants * (np.arange(wants.shape[1]) < n + (0 < newcomer <= now))
        got = outcome.rewards["fisher"]
        assert ((got >= 0) & (got <= valid)).all()
        np.testing.assert_array_equal(got.sum(axis=1), np.minimum(valid.sum(axis=1), stock))
        left = (stock - got.sum(axis=1)).astype(int)
        if growth == "doubling":
            grown = 2 * left
        else:
            grown = [int(x + Decimal(str(rate)) * int(x) * (capacity - int(x)) / capacity) for x in left]
        np.testing.assert_array_equal(outcome.state.stock, np.minimum(grown, capacity))
        np.testing.assert_array_equal(outcome.done, (left < 3) | (now == 4))


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(4)), st.booleans(), st.integers(0, 99))
def test_users_are_alike(order: list[int], scarce: bool, seed: int) -> None:
    """Who wants what does not matter but to themselves: exchanged users get what each other got."""
    game = Commons(4, 40, sharing="proportional")
    rng = np.random.default_rng(seed)
    wants, u = rng.integers(0, 40 if scarce else 10, (50, 4)), rng.random((50, 4))
    states = [game.start(u), game.start(u)]
    one = game.step(states[0], {"fisher": {"harvest": wants}}, u)
    two = game.step(states[1], {"fisher": {"harvest": wants[:, order]}}, u[:, order])
    np.testing.assert_array_equal(one.rewards["fisher"][:, order], two.rewards["fisher"])
    np.testing.assert_array_equal(one.state.stock, two.state.stock)
    for name, values in game.measures(one.state).items():
        np.testing.assert_allclose(game.measures(two.state)[name], values, rtol=1e-12)


def mean_share(stock: int, wants: tuple[int, ...], sharing: str) -> list[float]:
    """What each gets of a scarce stock on average, by enumeration of all that chance can do."""
    if sharing == "proportional":
        orders = list(itertools.permutations(range(len(wants))))
        shares = [by_largest_remainder(stock, list(wants), [float(k) for k in order]) for order in orders]
        return [sum(column) / len(orders) for column in zip(*shares, strict=True)]
    law = {tuple(0 for _ in wants): 1.0}
    for _ in range(min(stock, sum(wants))):
        later: dict[tuple[int, ...], float] = {}
        for got, p in law.items():
            open_ = [i for i, want in enumerate(wants) if got[i] < want]
            for i in open_:
                key = tuple(g + (i == j) for j, g in enumerate(got))
                later[key] = later.get(key, 0.0) + p / len(open_)
        law = later
    return [sum(p * got[i] for got, p in law.items()) for i in range(len(wants))]


@pytest.mark.parametrize("sharing", ["random", "proportional"])
def test_a_scarce_stock_favours_no_seat(sharing: str) -> None:
    game, worlds = Commons(3, 20, sharing=sharing), 20_000
    u = np.random.default_rng(3).random((worlds, game.draws))
    for wants in ((5, 12, 20), (20, 5, 12), (12, 20, 5), (9, 9, 20)):
        got = game.step(game.start(u), {"fisher": {"harvest": np.tile(wants, (worlds, 1))}}, u).rewards["fisher"]
        error = 5 * got.std(axis=0) / np.sqrt(worlds) + 1e-9
        assert (np.abs(got.mean(axis=0) - mean_share(20, wants, sharing)) <= error).all()


# ---- growth and what theory says ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(0, 200))
def test_logistic_growth_is_exact_in_decimals(capacity: int, hundredths: int) -> None:
    rate = hundredths / 100
    game = Commons(2, capacity, growth="logistic", rate=rate, collapse=0)
    exact = [x + hundredths * x * (capacity - x) // (100 * capacity) for x in range(capacity + 1)]
    assert list(game.after) == [min(x, capacity) for x in exact]


@pytest.mark.parametrize(("capacity", "rate"), [(100, 0.4), (1000, 0.8), (400, 1.0), (200, 2.0), (10_000, 0.1)])
def test_maximum_sustainable_yield(capacity: int, rate: float) -> None:
    """Gordon and Schaefer: r K / 4, from K / 2 left; the stock is then in a steady state."""
    game = Commons(2, capacity, growth="logistic", rate=rate)
    most = round(rate * capacity / 4)
    assert game.sustainable_yield == most and game.sustainable == 12 * most
    assert game.best_left == capacity // 2
    state = begin(game)._replace(stock=np.array([capacity // 2 + most]))
    for _ in range(3):
        state = month(game, state, [most // 2, most - most // 2]).state
        assert int(state.stock[0]) == capacity // 2 + most
    over = month(game, state, [most // 2 + 1, most - most // 2]).state  # one unit more and the stock falls
    assert int(over.stock[0]) < capacity // 2 + most or rate == 2.0


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["doubling", "logistic"]),
    st.integers(2, 120),
    st.integers(1, 30),
    st.integers(0, 200),
    st.integers(1, 4),
    st.data(),
)
def test_the_owners_optimum_has_a_closed_form(
    growth: str, capacity: int, months: int, hundredths: int, factor: int, data: st.DataObject
) -> None:
    """All that was there, and all that can grow: K + (T - 1) times the largest growth of what may be left."""
    collapse = data.draw(st.integers(0, capacity))
    game = Commons(2, capacity, months, growth, factor, hundredths / 100, collapse)
    growths = [
        min(factor * x, capacity) - x if growth == "doubling" else hundredths * x * (capacity - x) // (100 * capacity)
        for x in range(collapse, capacity + 1)
    ]
    growths = [min(g, capacity - x) for g, x in zip(growths, range(collapse, capacity + 1), strict=True)]
    level = game.benchmarks().first_best
    assert level.value == capacity + (months - 1) * max(growths)
    done = play(game, {"fisher": policy("equilibrium", level="first_best")}, worlds=2)
    assert (done.welfare == level.value).all()


def best(game: Commons, stock: int, months: int) -> int:
    """The best plan from any stock by trying every harvest in every month."""
    if not months:
        return 0
    plans = [0]
    for left in range(stock + 1):
        later = best(game, game.after[left], months - 1) if left >= game.collapse else 0
        plans.append(stock - left + later)
    return max(plans)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 8), st.sampled_from([0.3, 0.9, 1.4, 2.0]), st.integers(0, 3), st.integers(0, 8))
def test_the_owner_plays_on_best_from_any_stock(capacity: int, rate: float, collapse: int, stock: int) -> None:
    game = Commons(2, capacity, 4, "logistic", rate=rate, collapse=min(collapse, capacity))
    first = min(stock, capacity)
    plan = game.benchmarks().first_best.play
    assert plan is not None
    for begun in range(4):
        state = begin(game)._replace(stock=np.array([first]), month=np.array([begun]))
        earned, done = 0, False
        while not done:
            outcome = game.step(state, {"fisher": plan["fisher"](game.view(state)["fisher"])}, np.zeros((1, 1)))
            earned, done, state = earned + int(outcome.welfare[0]), bool(outcome.done[0]), outcome.state
        assert earned == best(game, first, 4 - begun)


def test_the_owner_holds_the_stock_at_half_the_capacity() -> None:
    """The turnpike: between the first month and the last, K / 2 is left, whatever the rate."""
    for rate in (0.4, 0.8, 1.2):
        game = Commons(2, 1000, 30, "logistic", rate=rate)
        level = game.benchmarks().first_best
        assert level.play is not None
        state, left = begin(game), []
        for _ in range(30):
            outcome = game.step(state, {"fisher": level.play["fisher"](game.view(state)["fisher"])}, np.zeros((1, 1)))
            left.append(int(state.stock[0] - outcome.welfare[0]))
            state = outcome.state
        assert left[:-1] == [500] * 29 and left[-1] == 0


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["doubling", "logistic"]), st.integers(1, 60), st.integers(0, 200), st.integers(1, 4))
def test_the_sustainable_catch_is_the_most_that_grows_back(
    growth: str, capacity: int, hundredths: int, factor: int
) -> None:
    """Published: f = max{x: g(h - x) >= h}; under logistic growth only up to the stock that yields most."""
    game = Commons(2, capacity, 1, growth, factor, hundredths / 100, collapse=0)
    yields = [game.after[left] - left for left in range(capacity + 1)]
    assert game.sustainable_yield == max(yields)
    if growth == "doubling":
        assert game.sustainable_yield == int(game.sustainable_share(np.array(capacity)) * 2) + max(yields) % 2
    target = max(after for after, gain in zip(game.after, yields, strict=True) if gain == max(yields))
    for stock in range(capacity + 1):
        most = max(catch for catch in range(stock + 1) if game.after[stock - catch] >= min(stock, target))
        assert int(game.sustainable_share(np.array(stock))) == most // 2
        if growth == "doubling":
            assert most == max(catch for catch in range(stock + 1) if game.after[stock - catch] >= stock)


@pytest.mark.parametrize("sharing", ["random", "proportional"])
@pytest.mark.parametrize("growth", ["doubling", "logistic"])
def test_under_open_access_all_is_taken(sharing: str, growth: str) -> None:
    """The equilibrium: no stock and no rent are left after a month, and no want of one's own earns more."""
    game = Commons(3, 10, 4, growth, rate=2.0, factor=3, collapse=0, sharing=sharing)
    level = game.benchmarks().equilibrium
    assert level.play is not None
    done = play(game, {"fisher": policy("equilibrium")}, worlds=4000, seed=2)
    assert (done.welfare == 10).all()
    fair = done.returns["fisher"][:, 0]
    assert fair.mean() == pytest.approx(10 / 3, abs=5 * fair.std() / np.sqrt(4000))
    shares = [mean_share(10, (want, 10, 10), sharing)[0] for want in range(11)]
    assert max(shares) == pytest.approx(10 / 3) == shares[-1]
    for want in range(11):
        one = {"fisher": policy("equilibrium"), "fisher_0": take(game, want)["fisher"]}
        mine = play(game, one, worlds=4000, seed=2).returns["fisher"][:, 0]
        assert mine.mean() == pytest.approx(shares[want], abs=5 * mine.std() / np.sqrt(4000) + 1e-9)


@pytest.mark.parametrize("sharing", ["random", "proportional"])
@pytest.mark.parametrize("users", [2, 3, 4])
def test_wanting_less_than_all_never_pays_where_others_want_all(sharing: str, users: int) -> None:
    """Exactly, at every stock; what one leaves the others take, so that only the month counts."""
    for stock in range(1, 7):
        shares = [mean_share(stock, (want, *(6,) * (users - 1)), sharing)[0] for want in range(7)]
        assert all(more >= less - 1e-12 for less, more in itertools.pairwise(shares))
    assert commons._regret(users, 6, sharing) == pytest.approx(0.0, abs=1e-12)


def test_what_is_no_equilibrium_is_not_called_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commons, "_regret", lambda users, capacity, sharing: 0.5 * (users == 6))
    assert Commons().benchmarks().equilibrium.value == 100.0
    with pytest.raises(RuntimeError, match="one of 6 who take all gains 0.5 by taking less"):
        Commons(newcomer=4).benchmarks()


# ---- the newcomer -------------------------------------------------------------------------------------------------


def test_a_newcomer_has_no_part_before_her_month() -> None:
    game = Commons(2, 30, 6, newcomer=3, collapse=2)
    state, present = begin(game), []
    for now in range(1, 5):
        seen = game.view(state)["fisher"]
        assert seen["month"].tolist() == [[now] * 3]
        present.append(seen["present"][0].tolist())
        outcome = month(game, state, [3, 3, 4])
        assert outcome.rewards["fisher"].tolist() == [[3.0, 3.0, 4.0 if now >= 3 else 0.0]]
        assert float(outcome.welfare[0]) == (10.0 if now >= 3 else 6.0)
        state = outcome.state
    assert present == [[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]]
    assert "From month 3 on one more takes part, fisher_2" in game.about


def test_measures_count_those_who_are_there() -> None:
    """Two take 4 and 2 in month 1, then three take 4, 2 and 6; f is 10 of 20 in both months."""
    game = Commons(2, 20, 6, newcomer=2)
    first = month(game, begin(game), [4, 2, 20]).state
    found = {name: float(value[0]) for name, value in game.measures(first).items()}
    assert found == pytest.approx(
        {"survival": 1, "gain": 3, "efficiency": 6 / 60, "equality": 1 - 4 / (2 * 2 * 6), "overuse": 0}
    )
    second = month(game, first, [4, 2, 6]).state
    found = {name: float(value[0]) for name, value in game.measures(second).items()}
    # totals 8, 4 and 6; the share of a month is 10 // 2 = 5, then 10 // 3 = 3, which the first and the third exceed
    assert found == pytest.approx(
        {"survival": 2, "gain": 6, "efficiency": 18 / 60, "equality": 1 - 16 / (2 * 3 * 18), "overuse": 2 / 5}
    )


def test_measures_before_the_first_month_are_numbers() -> None:
    game = Commons(2, 20, 6, newcomer=2)
    found = {name: float(value[0]) for name, value in game.measures(begin(game)).items()}
    assert found == {"survival": 0, "gain": 0, "efficiency": 0, "equality": 1, "overuse": 0}


@pytest.mark.parametrize("sharing", ["random", "proportional"])
def test_until_she_comes_the_game_is_that_of_the_others(sharing: str) -> None:
    """Months that are not scarce need no chance: with a newcomer who never comes in time they are the same."""
    rng = np.random.default_rng(0)
    small, large = Commons(4, 60, 5, sharing=sharing), Commons(4, 60, 5, sharing=sharing, newcomer=5)
    one, two = Worlds(small, 30), Worlds(large, 30)
    for _ in range(4):
        wants = rng.integers(0, 4, (30, 4))
        x = one.step({"fisher": {"harvest": wants}})
        y = two.step({"fisher": {"harvest": np.append(wants, np.full((30, 1), 60), axis=1)}})
        np.testing.assert_array_equal(x.state.stock, y.state.stock)
        for name, values in small.measures(x.state).items():
            np.testing.assert_array_equal(large.measures(y.state)[name], values)


# ---- the examiner -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "game",
    [
        Commons(months=4),
        Commons.pasture(months=4, newcomer=2),
        Commons.pollution(months=3, sharing="proportional"),
        Commons(users=3, capacity=40, months=5, growth="logistic", rate=0.7),
        Commons(
            users=2, capacity=9, months=3, growth="logistic", rate=2.0, collapse=0, sharing="proportional", newcomer=3
        ),
    ],
    ids=repr,
)
def test_examiner(game: Commons) -> None:
    check_game(game)


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Commons(months=3, growth="logistic", rate=1.3, sharing="proportional", newcomer=2))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"users": 1}, "users: a whole number from 2 to 64, got 1"),
        ({"capacity": 0}, "capacity: .* got 0"),
        ({"months": 0}, "months: .* got 0"),
        ({"growth": "linear"}, "growth: one of 'doubling', 'logistic', got 'linear'"),
        ({"factor": 1.5}, "factor: a whole number from 1 to 1000, got 1.5"),
        ({"rate": 2.1}, "rate: a number from 0 to 2, got 2.1"),
        ({"collapse": 101}, "collapse: a whole number from 0 to 100, got 101"),
        ({"sharing": "queue"}, "sharing: one of 'random', 'proportional', got 'queue'"),
        ({"newcomer": 13}, "newcomer: a whole number from 0 to 12, got 13"),
        ({"newcomer": 1}, "newcomer: a month from 2 to 12, or 0 for none, got 1; raise users"),
        ({"scenario": "forest"}, "scenario: one of 'fishery', 'pasture', 'pollution', got 'forest'"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Commons(**wrong)
