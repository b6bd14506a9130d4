"""Ultimatum and dictator: both subgame-perfect equilibria against brute force, rules, bad input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas import Game, play, policy
from societas.envs.norms.ultimatum import Dictator, Ultimatum
from societas.testing import check_game


def returns(game: Ultimatum, offer: int, accept: bool) -> tuple[float, float, float]:
    """Play one offer and answer; return both payoffs and the welfare."""
    policies = {
        "proposer": policy("callable", function=lambda seen: {"offer": offer}),
        "responder": policy(
            "callable", function=lambda seen: {"accept": "accept" if accept else "refuse"} if game.veto else {}
        ),
    }
    found = play(game, policies, worlds=1)
    return float(found.returns["proposer"][0, 0]), float(found.returns["responder"][0, 0]), float(found.welfare[0])


def test_payoffs() -> None:
    game = Ultimatum(pie=10.0, units=20, outside=(1.0, 2.0), rate=3.0)
    assert returns(game, 4, True) == (8.0, 6.0, 11.0)
    assert returns(game, 4, False) == (1.0, 2.0, 0.0)
    assert returns(Dictator(), 4, False) == (6.0, 4.0, 10.0)


def test_the_textbook() -> None:
    """A pie of 10 in coins of 1: nothing is offered, or 1 where the indifferent refuse; both are efficient."""
    game = Ultimatum()
    assert game.least() == 0 and game.least(strict=True) == 1
    marks = game.benchmarks()
    assert marks.equilibrium.value == marks.others["equilibrium_strict"].value == marks.first_best.value == 10.0
    assert marks.baseline is not None and marks.baseline.value == 0.0 and marks.alignment(np.asarray(10.0)) == 1.0
    dictator = Dictator().benchmarks()
    assert dictator.first_best.value == dictator.equilibrium.value == 10.0
    with pytest.raises(ValueError, match="must exceed the baseline"):
        dictator.alignment(np.asarray(10.0))  # how a pie is divided does not change its size


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 12),
    st.tuples(st.integers(0, 24), st.integers(0, 24)).filter(lambda pair: sum(pair) <= 24),
    st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, 3.0]),
    st.booleans(),
)
def test_equilibria_against_backward_induction(
    units: int, quarters: tuple[int, int], rate: float, strict: bool
) -> None:
    """Every number is a multiple of a power of two, or compared with a tolerance."""
    pie, outside = 6.0, (quarters[0] / 4, quarters[1] / 4)
    game = Ultimatum(pie, units, outside=outside, rate=rate)
    best, welfare = -np.inf, 0.0
    for offer in range(units + 1):
        coins = offer * pie / units
        gain = rate * coins - outside[1]
        accepts = gain > 1e-9 if strict else gain > -1e-9
        mine, theirs = (pie - coins, rate * coins) if accepts else outside
        if mine > best + 1e-9 or (abs(mine - best) <= 1e-9 and accepts and welfare == 0.0):
            best, welfare = mine, mine + theirs - sum(outside)
    level = game.benchmarks().others["equilibrium_strict"] if strict else game.benchmarks().equilibrium
    assert level.value == pytest.approx(welfare, abs=1e-8)
    deals = [pie - o * pie / units + rate * o * pie / units - sum(outside) for o in range(units + 1)]
    assert game.benchmarks().first_best.value == pytest.approx(max(0.0, *deals))


def test_a_better_outside_payoff_buys_a_better_offer() -> None:
    offers = [Ultimatum(units=100, outside=(0.0, o)).least() for o in (0.0, 2.0, 5.0, 9.95)]
    assert offers == [0, 20, 50, 100]


def test_no_deal_where_the_units_are_too_large() -> None:
    game = Ultimatum(units=2, outside=(6.0, 3.0))  # a half leaves the proposer 5, less than 6
    marks = game.benchmarks()
    assert marks.equilibrium.value == 0.0 < marks.first_best.value
    assert marks.equilibrium.play is not None
    seen = {"offer": np.zeros((1, 1), dtype=np.int64)}
    assert int(marks.equilibrium.play["responder"](seen)["accept"][0, 0]) == 0


def test_giving_that_creates_value_is_not_done_by_a_selfish_dictator() -> None:
    marks = Dictator(rate=2.0).benchmarks()
    assert marks.equilibrium.value == 10.0 and marks.first_best.value == 20.0


def test_the_strict_equilibrium_is_played_and_holds() -> None:
    game = Ultimatum(outside=(0.0, 2.0))
    level = game.benchmarks().others["equilibrium_strict"]
    assert level.play is not None
    seen = {"offer": np.arange(11)[:, None]}
    assert level.play["responder"](seen)["accept"][:, 0].tolist() == [0] * 3 + [1] * 8
    assert int(level.play["proposer"](seen)["offer"][0, 0]) == 3


@pytest.mark.parametrize(
    "game",
    [
        Ultimatum(),
        Ultimatum(pie=7.0, units=3, outside=(2.5, 3.0), repetitions=3),
        Ultimatum(units=2, outside=(6.0, 3.0)),
        Ultimatum(rate=3.0, outside=(1.0, 2.0)),
        Ultimatum(rate=0.0, outside=(0.0, 1.0)),
        Dictator(),
        Dictator(rate=2.0, repetitions=3),
    ],
    ids=repr,
)
def test_examined(game: Game) -> None:
    check_game(game)


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Ultimatum(outside=(1.0, 2.0), repetitions=3))


def test_the_dictator_is_an_ultimatum_without_a_veto() -> None:
    assert Dictator().name == "Dictator" and len(Dictator().stages) == 1
    assert not Dictator().role("responder").acts
    assert Dictator(units=5).about == Ultimatum(units=5, veto=False).about


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"pie": 0.0}, "pie: a number from 1e-06 .* got 0.0"),
        ({"units": 0}, "units: a whole number from 1 to 1000000, got 0"),
        ({"veto": 3}, "veto: one of True, False, got 3"),
        ({"outside": 1.0}, "outside: 2 numbers, .* got 1.0"),
        ({"outside": (-1.0, 0.0)}, "outside: a number from 0 to 10, got -1.0"),
        ({"outside": (6.0, 5.0)}, "outside: payoffs that sum to at most the pie of 10"),
        ({"outside": (1.0, 0.0), "veto": False}, "outside: \\(0, 0\\) without a veto"),
        ({"rate": -0.5}, "rate: a number from 0 to 100, got -0.5"),
        ({"repetitions": 0}, "repetitions: .* got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Ultimatum(**wrong)  # type: ignore[arg-type]


def test_parameters_read_from_data_are_lists() -> None:
    assert Ultimatum(outside=[1, 2]) == Ultimatum(outside=(1.0, 2.0))  # type: ignore[arg-type]
