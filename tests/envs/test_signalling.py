"""Signalling: separating and pooling equilibria against a search for deviations, tests that replace schooling, bad input."""

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
from societas.envs.markets.signalling import Signalling
from societas.mechanisms.certify import Certify
from societas.testing import check_game

VARIANTS: list[dict[str, Any]] = [
    {},
    {"types": (1.0, 1.5, 3.0), "chances": (0.5, 0.3, 0.2), "repetitions": 3},
    {"types": (0.5, 2.0), "chances": (0.9, 0.1), "employers": 4},
]


@st.composite
def games(draw: st.DrawFn) -> Signalling:
    count = draw(st.integers(2, 6))
    gaps = draw(st.lists(st.floats(0.05, 2.0), min_size=count, max_size=count))
    weights = np.asarray(draw(st.lists(st.floats(0.05, 1.0), min_size=count, max_size=count)))
    return Signalling(tuple(np.cumsum(gaps).tolist()), tuple((weights / weights.sum()).tolist()))


def batched(function: Callable[[Any], Any]) -> Any:
    return policy("callable", function=function, batched=True)


def follow(level: str = "equilibrium") -> Any:
    return policy("equilibrium", level=level)


def mean_is(values: Any, expected: float) -> None:
    assert values.mean() == pytest.approx(expected, abs=4 * values.std() / math.sqrt(len(values)) + 1e-9)


# ---- equilibria ---------------------------------------------------------------------------------------------------


def test_the_textbook() -> None:
    """Abilities 1 and 2, cost e / theta: the able get an education of 1, at a cost of 1/2 to them."""
    game = Signalling()
    marks = game.benchmarks()
    assert game.educations == (0.0, 1.0)
    assert marks.first_best.value == marks.others["pooling"].value == 1.5
    assert marks.equilibrium.value == 1.25
    found = play(game, {"worker": follow(), "employer": follow()}, worlds=20_000, seed=1)
    mean_is(found.welfare, 1.25)
    mean_is(found.measures["education"], 0.5)
    mean_is(found.measures["waste"], 0.25)
    assert (found.measures["error"] == 0.0).all() and (found.measures["employer_gain"] == 0.0).all()
    pooled = play(game, {"worker": follow("pooling"), "employer": follow("pooling")}, worlds=20_000, seed=1)
    mean_is(pooled.welfare, 1.5)
    assert (pooled.measures["wage"] == 1.5).all() and (pooled.measures["error"] == 0.5).all()


@settings(max_examples=60, deadline=None)
@given(games())
def test_educations_against_a_linear_programme(game: Signalling) -> None:
    """The least education by which all abilities tell themselves apart, with every imitation ruled out."""
    types, n = np.asarray(game.types), len(game.types)
    rows, sides = [], []
    for own in range(n):
        for other in range(n):
            if own != other:  # theta_other - e_other / theta_own <= theta_own - e_own / theta_own
                row = np.zeros(n)
                row[own], row[other] = 1 / types[own], -1 / types[own]
                rows.append(row)
                sides.append(types[own] - types[other])
    found = linprog(np.ones(n), A_ub=np.asarray(rows), b_ub=sides)
    np.testing.assert_allclose(game.educations, found.x, atol=1e-7)
    assert game.educations[-1] <= game.max_education
    waste = sum(p * e / k for p, e, k in zip(game.odds, found.x, types, strict=True))
    marks = game.benchmarks()
    assert marks.first_best.value == pytest.approx(float(np.dot(game.odds, types)))
    assert marks.equilibrium.value == pytest.approx(marks.first_best.value - waste, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(games())
def test_no_other_education_pays(game: Signalling) -> None:
    grid = np.append(np.linspace(0.0, game.max_education, 2_001), game.educations)
    wages = game.read(grid)
    for kind, e in zip(game.types, game.educations, strict=True):
        assert float(game.read(np.asarray(e))) == kind
        assert (wages - grid / kind).max() <= kind - e / kind + 1e-6


def test_a_wage_other_than_the_expected_ability_pays_no_employer() -> None:
    game = Signalling()
    for shift in (-0.2, 0.2):

        def other(seen: Any, shift: float = shift) -> Any:
            bid = game.read(seen["education"])
            bid[:, 0] = np.clip(bid[:, 0] + shift, 0.0, 2.0)
            return {"bid": bid}

        gain = play(game, {"worker": follow(), "employer": batched(other)}, worlds=2_000, seed=1).returns["employer"]
        assert gain[:, 0].mean() == (0.0 if shift < 0 else pytest.approx(-0.1, abs=0.01))


def test_a_larger_gap_takes_more_education_and_wastes_more() -> None:
    games_ = [Signalling((1.0, high)) for high in (1.2, 1.5, 2.0, 3.0)]
    np.testing.assert_allclose([game.educations[-1] for game in games_], [0.2, 0.5, 1.0, 2.0])
    lost = [game.benchmarks().first_best.value - game.benchmarks().equilibrium.value for game in games_]
    assert lost == sorted(lost)
    rare = [Signalling(chances=(1 - p, p)).benchmarks() for p in (0.1, 0.5, 0.9)]
    # where the able are many all would be better off without signals, and they are as educated as where they are few
    assert [round(m.first_best.value - m.equilibrium.value, 12) for m in rare] == [0.05, 0.25, 0.45]


def test_a_cheap_test_makes_schooling_needless() -> None:
    """The able buy a certificate of their ability where it costs less than schooling, 1/2; the others need none."""
    cost = 0.1
    game = Signalling() | Certify("ability", cost=cost)

    def worker(seen: Any) -> Any:
        return {"certify_ability": (seen["ability"] == 1).astype(np.int64), "education": seen["wage"] * 0.0}

    def employer(seen: Any) -> Any:
        return {"bid": 1.0 + (seen["certified_ability"] == 1)}  # no certificate is as bad as the lower

    found = play(game, {"worker": batched(worker), "employer": batched(employer)}, worlds=20_000, seed=1)
    mean_is(found.welfare, 1.5 - cost / 2)
    np.testing.assert_allclose(found.returns["employer"], 0.0)
    assert found.welfare.mean() > Signalling().benchmarks().equilibrium.value


# ---- the game -----------------------------------------------------------------------------------------------------

wage = st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.floats(0.0, 2.0))


@settings(max_examples=100, deadline=None)
@given(st.lists(wage, min_size=3, max_size=3), st.floats(0.0, 2.0), st.floats(0.0, 0.999))
def test_money_is_conserved(offers: list[float], education: float, lot: float) -> None:
    game = Signalling(employers=3)
    u = np.asarray([lot, 0.5, 0.2, lot])
    acts = {"worker": {"education": np.asarray([education])}, "employer": {"bid": np.asarray(offers)}}
    state = game.start(u)
    theta = game.types[int(state.nature["ability"])]
    done = game.step(game.step(state, acts, u).state, acts, u)
    worker, employers = done.rewards["worker"][0], done.rewards["employer"]
    assert worker + employers.sum() == pytest.approx(float(done.welfare)) == pytest.approx(theta - education / theta)
    assert worker == pytest.approx(max(offers) - education / theta)
    hired = np.flatnonzero(employers)
    assert len(hired) <= 1 and all(offers[i] == max(offers) for i in hired)


def test_abilities_are_drawn_as_said_and_private() -> None:
    game = Signalling((1.0, 2.0, 5.0), (0.2, 0.5, 0.3))
    ability = game.start(np.random.default_rng(0).random((40_000, game.draws))).nature["ability"]
    np.testing.assert_allclose(np.bincount(ability) / 40_000, game.odds, atol=0.01)
    for role in game.roles:
        seen = {field.name: field for field in role.sees}
        assert ("ability" in seen) == (role.name == "worker") and "bid" not in seen
        assert role.name == "worker" or seen["education"].verifiable


def test_a_wage_that_is_no_number_is_refused_by_name() -> None:
    for field, wrong in (("education", math.nan), ("bid", math.inf), ("education", 2.1), ("bid", -0.1)):
        worlds = Worlds(Signalling(), 1)
        acts = {"worker": {"education": np.zeros((1, 1))}, "employer": {"bid": np.zeros((1, 2))}}
        role = "worker" if field == "education" else "employer"
        if role == "employer":
            worlds.step(acts)
        with pytest.raises(ActError, match=field):
            worlds.step({**acts, role: {field: acts[role][field] + wrong}})


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_examined(variant: dict[str, Any]) -> None:
    check_game(Signalling(**variant))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Signalling((1.0, 1.5, 3.0), repetitions=2))


def test_lists_and_whole_numbers_are_taken() -> None:
    assert Signalling([1, 2], [0.5, 0.5]) == Signalling(chances=(0.5, 0.5))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"types": 1.0}, "types: a list of numbers, got 1.0"),
        ({"types": (1.0,)}, "types: 2 to 8 abilities, got 1"),
        ({"types": (2.0, 1.0)}, "types: abilities in increasing order, at least 1e-06 apart, got .*; sort them"),
        ({"types": (0.0, 1.0)}, "types: a number from 0.001 to 1000, got 0.0"),
        ({"chances": (0.5, 0.6)}, "chances: 2 probabilities that sum to 1, one for each of types, got"),
        ({"chances": (1.0,)}, "chances: 2 probabilities"),
        ({"chances": (-0.5, 1.5)}, "chances: a number from 0 to 1, got -0.5"),
        ({"employers": 1}, "employers: a whole number from 2 to 10, got 1"),
        ({"repetitions": 0}, "repetitions: a whole number from 1 to 1000000, got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Signalling(**wrong)
