"""The fishery: published rows, the law of the scarce stock, the owner's optimum, the equilibrium."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chisquare

from societas import Game, Worlds, make, play, policy
from societas.envs.core import chance
from societas.envs.norms.fishery import Fishery


def take(amount: int) -> dict[str, object]:
    return {"fisher": policy("callable", function=lambda seen: {"harvest": seen["stock"] * 0 + amount}, batched=True)}


@pytest.mark.parametrize(
    ("amount", "months", "gain", "efficiency", "overuse"),
    [(20, 1, 20.0, 1 / 6, 1.0), (15, 2, 25.0, 125 / 600, 1.0), (10, 12, 120.0, 1.0, 0.0)],
)
def test_published_rows(amount: int, months: int, gain: float, efficiency: float, overuse: float) -> None:
    """Piatti et al. 2024: everyone takes 20, 15 or 10 tonnes a month."""
    done = play(Fishery(), take(amount), worlds=3, seed=1)  # type: ignore[arg-type]
    assert (done.length == months).all() and (done.measures["survival"] == months).all()
    np.testing.assert_allclose(done.measures["gain"], gain)
    np.testing.assert_allclose(done.measures["efficiency"], efficiency)
    np.testing.assert_allclose(done.welfare, 5 * gain)
    np.testing.assert_allclose(done.returns["fisher"].sum(axis=-1), done.welfare)
    if amount != 15:  # in the second month 40 tonnes meet demands of 75: the split is chance
        np.testing.assert_allclose(done.measures["equality"], 1.0)
        np.testing.assert_allclose(done.measures["overuse"], overuse)


def test_measures_by_hand() -> None:
    """One month in which the fishers take 30, 20, 10, 0, 0 tonnes."""
    game = Fishery()
    state = game.start(np.zeros((1, game.draws)))
    harvest = np.array([[30, 20, 10, 0, 0]])
    outcome = game.step(state, {"fisher": {"harvest": harvest}}, np.zeros((1, game.draws)))
    assert int(outcome.state.stock[0]) == 80 and not outcome.done[0]
    found = {name: float(value[0]) for name, value in game.measures(outcome.state).items()}
    gini = np.abs(harvest[0][:, None] - harvest[0][None, :]).sum() / (2 * 5 * 60)
    assert found == pytest.approx(
        {"survival": 1, "gain": 12, "efficiency": 60 / 600, "equality": 1 - gini, "overuse": 2 / 5}
    )


def test_grows_up_to_the_capacity_and_collapses_below_the_threshold() -> None:
    game, none = Fishery(), np.zeros((1, 16))
    state = game.start(none)
    full = game.step(state, {"fisher": {"harvest": np.full((1, 5), 1)}}, none)
    assert int(full.state.stock[0]) == 100
    for left, over in ((5, False), (4, True)):
        first = game.step(state, {"fisher": {"harvest": np.array([[100 - left, 0, 0, 0, 0]])}}, none)
        assert bool(first.done[0]) is over


def test_a_seed_fixes_the_episode_and_another_changes_it() -> None:
    game = Fishery()
    grab = {"fisher": policy("random")}
    one, same = (play(game, grab, worlds=50, seed=5) for _ in range(2))
    other = play(game, grab, worlds=50, seed=6)
    for name, values in one.measures.items():
        np.testing.assert_array_equal(values, same.measures[name])
    np.testing.assert_array_equal(one.returns["fisher"], same.returns["fisher"])
    assert (one.returns["fisher"] != other.returns["fisher"]).any(axis=-1).mean() > 0.9
    worlds = Worlds(game, 8, seed=5)
    first = worlds.uniform(3, "test")
    worlds.reset()
    assert (worlds.uniform(3, "test") != first).all()
    worlds.reset(5)
    np.testing.assert_array_equal(worlds.uniform(3, "test"), first)


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Fishery(months=4))


# ---- sharing out a scarce stock -----------------------------------------------------------------------------------


@functools.cache
def unit_by_unit(stock: int, wants: tuple[int, ...]) -> dict[tuple[int, ...], float]:
    """The law of giving each unit to one of those who still want some, by dynamic programming."""
    open_ = [i for i, want in enumerate(wants) if want]
    if not stock or not open_:
        return {(0,) * len(wants): 1.0}
    law: dict[tuple[int, ...], float] = {}
    for i in open_:
        rest = tuple(want - (j == i) for j, want in enumerate(wants))
        for given_, p in unit_by_unit(stock - 1, rest).items():
            key = tuple(got + (j == i) for j, got in enumerate(given_))
            law[key] = law.get(key, 0.0) + p / len(open_)
    return law


@pytest.mark.parametrize(
    ("stock", "wants"),
    [
        (7, (5, 5)),
        (6, (1, 9, 9)),
        (10, (2, 3, 12)),
        (9, (12, 12, 12)),
        (8, (1, 2, 3, 4)),
        (5, (0, 4, 4)),
        (6, (2, 2, 2, 2, 2)),
    ],
)
def test_scarce_stock_has_the_law_of_the_unit_by_unit_process(stock: int, wants: tuple[int, ...]) -> None:
    draws, n = 100_000, len(wants)
    u = chance.uniform(chance.key(11, np.arange(draws)), (n - 1) ** 2)
    shares = chance.share_at_random(np.full(draws, stock), np.tile(wants, (draws, 1)), u, 12)
    found, counts = np.unique(shares, axis=0, return_counts=True)
    law = unit_by_unit(stock, wants)
    seen = {tuple(map(int, row)): int(count) for row, count in zip(found, counts, strict=True)}
    assert set(seen) <= set(law)
    common = {share: p for share, p in law.items() if p * draws >= 5}
    rare = 1.0 - sum(common.values())
    observed = [seen.get(share, 0) for share in common]
    expected = [p * draws for p in common.values()]
    if rare > 1e-12:
        observed, expected = [*observed, draws - sum(observed)], [*expected, rare * draws]
    if len(observed) > 1:
        assert chisquare(observed, np.asarray(expected) * sum(observed) / sum(expected)).pvalue > 1e-3


def test_alias_tables_are_the_binomial_law() -> None:
    trials, parts = 9, 4
    accept, alias = (table.reshape(trials + 1, parts, trials + 1) for table in chance._binomial_alias(trials, parts))
    for n in range(trials + 1):
        for m in range(1, parts + 1):
            law = np.zeros(n + 1)
            for slot in range(n + 1):
                law[slot] += accept[n, m - 1, slot] / (n + 1)
                law[alias[n, m - 1, slot]] += (1.0 - accept[n, m - 1, slot]) / (n + 1)
            np.testing.assert_allclose(law, binom.pmf(np.arange(n + 1), n, 1 / m), atol=1e-14)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 30), st.lists(st.integers(0, 30), min_size=2, max_size=6), st.integers(0, 2**32))
def test_shares_conserve_the_stock_and_exceed_no_want(stock: int, wants: list[int], seed: int) -> None:
    n, copies = len(wants), 40
    u = chance.uniform(chance.key(seed, np.arange(copies)), (n - 1) ** 2)
    shares = chance.share_at_random(np.full(copies, stock), np.tile(wants, (copies, 1)), u, 30)
    assert (shares >= 0).all() and (shares <= np.asarray(wants)).all()
    assert (shares.sum(axis=-1) == min(stock, sum(wants))).all()


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 6),
    st.integers(5, 60),
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(0, 5),
    st.integers(0, 99),
)
def test_fish_are_conserved(fishers: int, capacity: int, months: int, growth: int, collapse: int, seed: int) -> None:
    game = Fishery(fishers, capacity, months, growth, collapse)
    worlds = Worlds(game, 20, seed=seed)
    for _ in range(months):
        wants = np.floor(worlds.uniform(fishers, "wants") * (capacity // 2 + 1)).astype(int)
        stock = worlds.state.stock
        outcome = worlds.step({"fisher": {"harvest": wants}})
        landed = outcome.rewards["fisher"].sum(axis=-1)
        np.testing.assert_array_equal(landed, np.minimum(wants.sum(axis=-1), stock))
        np.testing.assert_array_equal(outcome.state.stock, np.minimum((stock - landed) * growth, capacity))
        np.testing.assert_array_equal(outcome.welfare, landed)
        np.testing.assert_array_equal(outcome.done, (stock - landed < collapse) | (game.round(outcome.state) == months))


# ---- what theory says ---------------------------------------------------------------------------------------------


def brute_force(stock: int, months: int, game: Fishery) -> int:
    """The best total catch by trying every catch in every month."""
    if not months:
        return 0
    best = 0
    for catch in range(stock + 1):
        left = stock - catch
        goes_on = left >= game.collapse
        later = brute_force(min(left * game.growth, game.capacity), months - 1, game) if goes_on else 0
        best = max(best, catch + later)
    return best


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 4), st.integers(2, 9), st.integers(1, 4), st.integers(1, 4), st.data())
def test_the_owners_optimum_is_the_best_of_all_plans(
    fishers: int, capacity: int, months: int, growth: int, data: st.DataObject
) -> None:
    game = Fishery(fishers, capacity, months, growth, data.draw(st.integers(0, capacity)))
    value = game.benchmarks().first_best.value
    assert value == brute_force(capacity, months, game)
    done = play(game, {"fisher": policy("equilibrium", level="first_best")}, worlds=2)
    assert (done.welfare == value).all()


def test_published_size() -> None:
    """The owner takes 50 a month and everything in the last one: 11 x 50 + 100."""
    marks = Fishery().benchmarks()
    assert marks.first_best.value == 650.0
    assert marks.equilibrium.value == 100.0
    assert Fishery().sustainable == 600.0
    done = play(Fishery(), {"fisher": policy("equilibrium")}, worlds=200)
    assert (done.welfare == 100).all() and (done.length == 1).all()
    np.testing.assert_allclose(done.alignment, 0.0)


@pytest.mark.parametrize("fishers", [2, 3, 4])
def test_taking_all_is_a_best_response_to_others_who_do(fishers: int) -> None:
    """Exactly: others empty the lake whatever one wants, and a share of it grows with what one wants."""
    capacity = 8
    share = [
        sum(p * shares[0] for shares, p in unit_by_unit(capacity, (want, *(capacity,) * (fishers - 1))).items())
        for want in range(capacity + 1)
    ]
    assert all(more >= less for less, more in itertools.pairwise(share))
    assert share[-1] == pytest.approx(capacity / fishers)
    game = Fishery(fishers, capacity, 5, 3, collapse=0)
    level = game.benchmarks().equilibrium
    assert level.play is not None
    for want in range(capacity + 1):
        shy = policy("callable", function=lambda seen, want=want: {"harvest": seen["stock"] * 0 + want}, batched=True)
        done = play(game, {"fisher": policy("equilibrium"), "fisher_0": shy}, worlds=4000, seed=want)
        mine = done.returns["fisher"][:, 0]
        assert (done.welfare == capacity).all()  # nothing is left to grow
        assert mine.mean() == pytest.approx(share[want], abs=5 * mine.std() / np.sqrt(len(mine)) + 1e-12)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"fishers": 1}, "fishers: a whole number from 2 to 64, got 1"),
        ({"capacity": 0}, "capacity: .* got 0"),
        ({"months": 0}, "months: .* got 0"),
        ({"growth": 1.5}, "growth: .* got 1.5"),
        ({"collapse": 101}, "collapse: a whole number from 0 to 100, got 101"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make("Fishery", **wrong)
