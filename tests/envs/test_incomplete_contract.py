"""Incomplete contracts: every remedy's play against brute force on the game itself, and what the theory says of shares."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from societas import Game, make, mechanism, play, policy
from societas.envs.contracting.incomplete_contract import REMEDIES, UNWRITTEN, WRITTEN, IncompleteContract
from societas.testing import check_game

GRID = np.linspace(0.0, 1.0, 101)


@st.composite
def instances(draw: st.DrawFn, remedy: str | None = None) -> IncompleteContract:
    k = draw(st.integers(1, 8))
    tenth = st.integers(0, 10).map(lambda v: v / 10)
    return IncompleteContract(
        contingencies=k,
        written=draw(st.integers(0, k)),
        remedy=remedy or draw(st.sampled_from(REMEDIES)),
        angle=draw(st.integers(0, 9)) * 10.0,
        noise=draw(tenth),
        risk_aversion=draw(st.integers(0, 4)) / 2,
        enforcement=draw(tenth),
        discount=draw(st.integers(0, 9)) / 10,
        haggling=draw(tenth),
        esteem=draw(tenth),
        accuracy=draw(tenth),
        litigation=draw(tenth) / 4,
        prosocial=draw(st.integers(0, 8)) / 10,
    )


def agents_reward(game: IncompleteContract, drawn: int, offer: dict[str, float], care: Any, show: Any) -> Any:
    """The agent's expected reward in a contingency, by averaging the game's own settlement over its chance (grid of u)."""
    care, show = np.broadcast_arrays(np.asarray(care, dtype=float), np.asarray(show, dtype=float))
    coins = (np.arange(40) + 0.5) / 40  # for enforcement and for the court's guess
    total = np.zeros(care.shape)
    for coin in coins:
        # errors of +- 1 standard deviation have mean 0, which is all that matters to a reward linear in the error
        for side in (0.0, 0.5):
            u = np.zeros((*care.shape, 5))
            u[..., 0], u[..., 1], u[..., 2], u[..., 3] = 1.0 - math.exp(-0.5), side, coin, coin
            one = {name: np.full(care.shape, value) for name, value in offer.items()}
            agent = {"accept": np.ones(care.shape, dtype=int), "care": care, "show": show}
            agent["deal"] = np.zeros(care.shape, dtype=int)
            found = game.settle(
                {"drawn": np.full(care.shape, drawn)},
                {"principal": one, "agent": agent},
                {"trust": np.ones(care.shape, dtype=int)},
                u,
            )
            total += found.rewards["agent"] / (2 * len(coins))
    return total


@settings(max_examples=40, deadline=None)
@given(instances(), st.integers(0, 20))
def test_the_agents_answer_is_its_best_one_on_the_game_itself(game: IncompleteContract, twentieth: int) -> None:
    game = replace(game, enforcement=round(game.enforcement * 40) / 40)
    offer = {"salary": 0.0, "slope": twentieth / 10, "promise": 0.0, "required": 0.0, "bonus": 0.0, "price": 0.0}
    care, show = np.meshgrid(GRID, GRID, indexing="ij")
    value = agents_reward(game, WRITTEN, offer, care, show)
    best = game.response(np.asarray(offer["slope"]))
    assert agents_reward(game, WRITTEN, offer, *best) >= value.max() - 1e-9
    if game.remedy in ("norm", "care", "nothing"):
        value = agents_reward(game, UNWRITTEN, offer, GRID, 0.0)
        assert agents_reward(game, UNWRITTEN, offer, game.unwritten()[0], 0.0) >= value.max() - 1e-9


@pytest.mark.parametrize("accuracy", [0.25, 0.5, 0.75])
def test_care_before_a_court_is_the_agents_best(accuracy: float) -> None:
    game = IncompleteContract(written=0, remedy="court", accuracy=accuracy, litigation=0.0)
    offer = {"salary": 0.0, "slope": 0.0}
    value = agents_reward(game, UNWRITTEN, offer, GRID, 0.0)
    assert GRID[value.argmax()] == pytest.approx(game.unwritten()[0], abs=0.005)
    assert game.surplus() == pytest.approx(accuracy - accuracy**2 / 2)


@settings(max_examples=60, deadline=None)
@given(instances())
def test_the_optimal_slope_against_another_solver(game: IncompleteContract) -> None:
    def loss(x: Any) -> float:
        return -float(game._written(np.asarray(float(x[0])))[0])

    found = min(minimize(loss, [x], bounds=[(0.0, 2.0)], method="L-BFGS-B").fun for x in (0.1, 0.5, 1.0, 1.9))
    assert -loss([game.optimal_slope]) == pytest.approx(-found, abs=1e-6)


@pytest.mark.parametrize("angle", [0.0, 30.0, 60.0, 90.0])
def test_a_riskless_measure_yields_the_squared_cosine_of_its_angle(angle: float) -> None:
    """Surplus over first best is cos^2 (Baker 2002)."""
    game = IncompleteContract(written=10, angle=angle, noise=0.0)
    assert game.surplus() / 0.5 == pytest.approx(math.cos(math.radians(angle)) ** 2)


def test_noise_blunts_as_in_the_linear_model() -> None:
    """Slope 1/(1 + r s2) and surplus 1/(2 (1 + r s2)) with a measure that is value itself and sure enforcement."""
    game = IncompleteContract(written=10, angle=0.0, risk_aversion=2.0, noise=0.5)
    assert game.optimal_slope == pytest.approx(0.5)
    assert game.surplus() == pytest.approx(0.25)


@settings(max_examples=60, deadline=None)
@given(instances("bonus"))
def test_sustainable_care_against_brute_force(game: IncompleteContract) -> None:
    """The largest care on a grid at which the principal loses nothing by paying the agent's cost as a bonus."""
    future = game.discount / (1 - game.discount) * (1 - game.share)
    care = np.linspace(0.0, 1.0, 100_001)
    kept = care**2 / 2 <= future * (care - care**2 / 2) + 1e-15
    assert game.sustainable_care == pytest.approx(care[kept].max(), abs=2e-5)


# ---- what theory says of shares -------------------------------------------------------------------------------------


def test_surplus_rises_with_what_can_be_written() -> None:
    game = IncompleteContract()
    values = [game.surplus(number, "nothing") for number in range(11)]
    assert (np.diff(values) > 0).all() and values[0] == 0


def test_each_remedy_beats_none_somewhere_and_another_elsewhere_beats_it() -> None:
    game = IncompleteContract()
    curves = {remedy: np.array([game.surplus(m, remedy) for m in range(11)]) for remedy in REMEDIES}
    best = np.max(list(curves.values()), axis=0)
    for remedy in REMEDIES[1:]:
        assert (curves[remedy] > curves["nothing"] + 1e-3).any()
        assert (curves[remedy] < best - 1e-3).any()
    full = [curves[remedy][10] for remedy in REMEDIES if remedy != "care"]
    assert np.ptp(full) < 1e-12  # nothing is left to remedy when all is written, but distortion, which caring mends
    assert curves["care"][10] > full[0]


def test_more_written_terms_crowd_out_the_relationship_and_the_norm() -> None:
    care = [replace(IncompleteContract(remedy="bonus"), written=m).sustainable_care for m in range(11)]
    assert (np.diff(care) <= 0).all() and care[0] == 1 and care[10] == 0
    norm = [replace(IncompleteContract(remedy="norm"), written=m).unwritten()[0] for m in range(11)]
    assert (np.diff(norm) < 0).all()
    court = [replace(IncompleteContract(remedy="court"), written=m).unwritten()[0] for m in range(11)]
    assert (np.diff(court) > 0).all()


@pytest.mark.parametrize(
    ("dial", "values", "remedy"),
    [
        ("angle", (80.0, 60.0, 40.0, 20.0, 0.0), "nothing"),
        ("noise", (2.0, 1.0, 0.5, 0.0), "nothing"),
        ("risk_aversion", (4.0, 2.0, 0.5), "nothing"),
        ("enforcement", (0.0, 0.3, 0.6, 1.0), "nothing"),
        ("discount", (0.0, 0.2, 0.4), "bonus"),
        ("haggling", (0.5, 0.3, 0.0), "renegotiation"),
        ("accuracy", (0.0, 0.4, 0.8), "court"),
        ("prosocial", (0.0, 0.3, 0.7), "care"),
        ("esteem", (0.0, 0.4, 0.8), "norm"),
    ],
)
def test_surplus_rises_as_a_dial_is_turned(dial: str, values: tuple[float, ...], remedy: str) -> None:
    found = [replace(IncompleteContract(remedy=remedy), **{dial: value}).surplus() for value in values]  # type: ignore[arg-type]
    assert (np.diff(found) > 0).all()


def test_no_relationship_without_a_future_and_the_first_best_from_half() -> None:
    """With nothing written e* = min(1, 2 discount), as in Levin (2003) with quadratic costs."""
    for discount in (0.0, 0.1, 0.3, 0.5, 0.8):
        game = IncompleteContract(written=0, remedy="bonus", discount=discount)
        assert game.sustainable_care == pytest.approx(min(1.0, 2.0 * discount))


# ---- the game ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remedy", REMEDIES)
def test_equilibrium_play_attains_its_value(remedy: str) -> None:
    game = IncompleteContract(remedy=remedy)
    players = {role.name: policy("equilibrium") for role in game.roles}
    found = play(game, players, worlds=20_000, seed=5)
    mean, error = found.welfare.mean(), found.welfare.std() / math.sqrt(20_000)
    assert abs(mean - game.benchmarks().equilibrium.value) < 4 * error
    assert found.length.mean() == pytest.approx(game.expected_rounds * len(game.stages), rel=0.02)
    assert (found.measures["accepted"] == 1).all() and (found.measures["trust"] == 1).all()
    gaps = found.measures["care_unwritten"]
    assert (
        gaps[gaps > 0].mean() == pytest.approx(game.unwritten()[0], abs=1e-9)
        if (gaps > 0).any()
        else remedy == "nothing"
    )


def test_a_broken_promise_ends_the_relationship() -> None:
    game = IncompleteContract(written=0, remedy="bonus", discount=0.9)
    principal = policy(
        "callable",
        function=lambda seen: {"salary": 0.0, "slope": 0.0, "promise": 0.5, "required": 1.0, "bonus": 0.0},
    )
    found = play(game, {"principal": principal, "agent": policy("equilibrium")}, worlds=200, seed=1, keep=True)
    assert (found.measures["trust"] == 0).all()
    rounds = found.length / 4
    np.testing.assert_allclose(found.measures["care_unwritten"], 1 / rounds)  # care in the first round, then none


def test_nobody_sees_the_contingency_before_signing() -> None:
    game = IncompleteContract()
    found = play(game, {}, worlds=64, seed=0, keep=True)
    for moment in found.moments:
        shown = moment.seen["agent"]["contingency"][:, 0]
        assert ((shown == 0) == (moment.stage < 2))[moment.live].all()


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(IncompleteContract(remedy="bonus", repetitions=4, discount=0.9))


@settings(max_examples=8, deadline=None)
@given(instances())
@example(IncompleteContract(1, 0, "court", enforcement=0.0, discount=0.0, litigation=0.025))  # not worth hiring
def test_examined(game: IncompleteContract) -> None:
    check_game(replace(game, discount=min(game.discount, 0.5), repetitions=12), worlds=16)


def test_a_contract_cannot_condition_on_care() -> None:
    """Care is seen, but no court can establish it."""
    quota = {"limit": 1, "field": "care"}
    with pytest.raises(ValueError, match=r"verifiable fields.*'care' is not"):
        make("IncompleteContract") | mechanism("Contract", terms=_quota(**quota))


def _quota(**options: Any) -> Any:
    from societas.mechanisms.terms import Quota

    return Quota(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": -0.1}, r"noise: a number from 0 to inf, got -0.1"),
        ({"enforcement": 1.5}, r"enforcement: a number from 0 to 1, got 1.5"),
        ({"accuracy": -1}, r"accuracy: a number from 0 to 1, got -1"),
        ({"written": 11}, r"written: a whole number from 0 to 10, got 11"),
        ({"remedy": "hope"}, r"remedy: one of 'nothing', .*got 'hope'"),
        ({"angle": 91}, r"angle: a number from 0 to 90, got 91"),
        ({"discount": 1.0}, r"discount: a number from 0 to 0.99, got 1.0"),
        ({"prosocial": 0.9}, r"prosocial: a number from 0 to 0.8, got 0.9"),
    ],
)
def test_bad_parameters(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("IncompleteContract", **options)
