"""Delegation: the best interval in closed form, against all sets and all lotteries; regret; comparative statics."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import linprog
from scipy.sparse import coo_matrix, vstack

from societas import Game, play, policy
from societas.envs.contracting.delegation import Delegation, most_steps, talk_loss
from societas.testing import check_game

BIASES = st.integers(-1000, 1000).map(lambda k: k / 1000)
Vector = np.ndarray[Any, Any]


def best_loss(bias: float) -> float:
    """Expected loss of optimal delegation as the papers state it."""
    size = abs(bias)
    return size**2 - 4 * size**3 / 3 if size <= 0.5 else 1 / 12


def equilibrium(level: str = "equilibrium") -> dict[str, Any]:
    return {"principal": policy("equilibrium", level=level), "agent": policy("equilibrium", level=level)}


# ---- closed forms -------------------------------------------------------------------------------------------------


def test_moderate_bias_in_closed_form() -> None:
    """b = 1/4: ceiling 3/4, loss 1/16 - 1/48 = 1/24; freely the agent costs 1/16; talk tells nothing."""
    game = Delegation(0.25)
    assert game.optimal_interval == (0.0, 0.75)
    marks = game.benchmarks()
    assert marks.second_best is not None and marks.baseline is not None
    assert marks.first_best.value == 0.0
    assert marks.equilibrium.value == marks.second_best.value == pytest.approx(-1 / 24, abs=1e-12)
    assert marks.baseline.value == pytest.approx(-1 / 12, abs=1e-12)
    assert marks.others["full_discretion"].value == pytest.approx(-1 / 16, abs=1e-12)
    assert marks.others["cheap_talk"].value == pytest.approx(-1 / 12, abs=1e-12)
    assert float(marks.alignment(marks.equilibrium.value)) == pytest.approx(0.5)


@pytest.mark.parametrize("bias", [0.5, -0.5, 0.8, -1.0])
def test_strong_bias_leaves_no_discretion(bias: float) -> None:
    game = Delegation(bias, repetitions=2)
    assert game.optimal_interval == (0.5, 0.5)
    assert game.benchmarks().equilibrium.value == pytest.approx(-2 / 12, abs=1e-12)


def test_no_bias_no_limits() -> None:
    game = Delegation(0.0)
    assert game.optimal_interval == (0.0, 1.0)
    assert game.benchmarks().equilibrium.value == 0.0
    assert game.benchmarks().others["cheap_talk"].value == pytest.approx(0.0, abs=1e-15)


@given(BIASES)
def test_the_mirrored_bias_has_the_mirrored_interval(bias: float) -> None:
    (floor, ceiling), mirrored = Delegation(bias).optimal_interval, Delegation(-bias).optimal_interval
    assert mirrored == pytest.approx((1 - ceiling, 1 - floor))
    assert Delegation(bias).losses(floor, ceiling) == pytest.approx(Delegation(-bias).losses(*mirrored), abs=1e-12)


# ---- the interval against other rules -----------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(BIASES, st.floats(0, 1), st.floats(0, 1))
def test_losses_against_numerical_integration(bias: float, one: float, two: float) -> None:
    game = Delegation(bias)
    floor, ceiling = (game.low + (game.high - game.low) * part for part in (one, two))

    def gap(state: float, aim: float) -> float:
        return (min(max(state + bias, min(floor, ceiling)), max(floor, ceiling)) - state - aim) ** 2

    kinks = [k for k in (floor - bias, ceiling - bias) if 0 < k < 1]
    for found, aim in zip(game.losses(floor, ceiling), (0.0, bias), strict=True):
        assert found == pytest.approx(quad(gap, 0, 1, args=(aim,), points=kinks or None)[0], abs=1e-9)


def least_loss_of_all_sets(bias: float, decisions: Vector) -> float:
    """The least loss of all sets of decisions on a grid, by the shortest path through their members in order.

    The agent takes the member nearest to what it wants, so that the loss is a sum over neighbouring members.
    """

    def between(decision: Vector, low: Vector, high: Vector) -> Vector:
        """Integral of (decision - state)^2 over states in [low, high] within [0, 1]."""
        low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
        return ((decision - low) ** 3 - (decision - high) ** 3) / 3

    one, next_ = decisions[:, None], decisions[None, :]
    switch = (one + next_) / 2 - bias
    costs = between(one, one - bias, switch) + between(next_, switch, next_ - bias)
    reached = between(decisions, np.zeros_like(decisions), decisions - bias)  # as the lowest member
    for j in range(1, len(decisions)):
        reached[j] = min(reached[j], (reached[:j] + costs[:j, j]).min())
    return float((reached + between(decisions, decisions - bias, np.ones_like(decisions))).min())


@settings(max_examples=40, deadline=None)
@given(BIASES)
@example(0.5)
@example(0.0)
def test_no_set_of_decisions_is_better_than_the_interval(bias: float) -> None:
    """All deterministic rules: whatever the agent is made to do in each state, it chooses from a set (Holmstrom 1984)."""
    game = Delegation(bias)
    decisions = np.linspace(game.low, game.high, 201)
    found = least_loss_of_all_sets(bias, decisions)
    assert -game.benchmarks().equilibrium.value <= found + 1e-12
    assert found == pytest.approx(-game.benchmarks().equilibrium.value, abs=(decisions[1] - decisions[0]) ** 2)


def least_loss_of_all_lotteries(bias: float, states: int) -> float:
    """A lower bound on the loss of all rules, lotteries included, with finitely many states, by a linear programme.

    Payoffs are linear in the mean m and the second moment s of what is done in a state; s >= m^2 is kept by tangents;
    the agent must not gain by passing for the next state, up or down.
    """
    n, theta = states, (np.arange(states) + 0.5) / states
    slopes = np.linspace(min(0.0, bias), 1 + max(0.0, bias), states)
    own = np.concatenate([np.arange(n - 1), np.arange(1, n)])
    other = np.concatenate([np.arange(1, n), np.arange(n - 1)])
    rows, ones, weight = np.arange(2 * n - 2), np.ones(2 * n - 2), 2 * (theta[own] + bias)
    truth = coo_matrix(
        (
            np.concatenate([-weight, weight, ones, -ones]),
            (np.tile(rows, 4), np.concatenate([own, other, n + own, n + other])),
        ),
        shape=(2 * n - 2, 2 * n),
    )
    state, slope = np.repeat(np.arange(n), n), np.tile(slopes, n)
    tangents = coo_matrix(
        (
            np.concatenate([2 * slope, -np.ones(n * n)]),
            (np.tile(np.arange(n * n), 2), np.concatenate([state, n + state])),
        ),
        shape=(n * n, 2 * n),
    )
    found = linprog(
        np.concatenate([-2 * theta, np.ones(n)]) / n,
        A_ub=vstack([truth, tangents]).tocsr(),
        b_ub=np.concatenate([np.zeros(2 * n - 2), slope**2]),
        bounds=[(slopes[0], slopes[-1])] * n + [(None, None)] * n,
        method="highs",
    )
    assert found.status == 0
    return float(found.fun + (theta**2).mean())


@pytest.mark.parametrize("bias", [0.05, 0.1, 0.25, -0.3, 0.4, 0.6])
def test_no_lottery_is_better_than_the_interval(bias: float) -> None:
    """The bound with finitely many states lies below, by an error that shrinks as one over their number."""
    loss = -Delegation(bias).benchmarks().equilibrium.value
    coarse, fine = (least_loss_of_all_lotteries(bias, n) for n in (50, 100))
    assert coarse < fine < loss
    assert 2 * fine - coarse == pytest.approx(loss, abs=3e-4)


# ---- regret -------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(BIASES, st.integers(0, 2**32))
def test_the_agent_has_no_better_answer_to_any_limits(bias: float, seed: int) -> None:
    game, rng, n = Delegation(bias), np.random.default_rng(seed), 500
    marks = game.benchmarks().equilibrium
    assert marks.play is not None
    span = game.high - game.low
    limits = {name: game.low + span * rng.random((n, 1)) for name in ("floor", "ceiling")}
    state = game.start(rng.random((n, 1)))
    offered = game.step(state, {"principal": limits, "agent": {"decision": np.zeros((n, 1))}}, np.zeros((n, 1))).state
    best = {"principal": limits, "agent": marks.play["agent"](game.view(offered)["agent"])}
    value = game.step(offered, best, np.zeros((n, 1))).rewards["agent"]
    for decision in np.linspace(game.low, game.high, 41):
        other = {"principal": limits, "agent": {"decision": np.full((n, 1), decision)}}
        assert (game.step(offered, other, np.zeros((n, 1))).rewards["agent"] <= value + 1e-12).all()


@settings(max_examples=40, deadline=None)
@given(BIASES, st.integers(0, 2**32))
def test_no_other_limits_give_the_principal_more(bias: float, seed: int) -> None:
    game, rng = Delegation(bias), np.random.default_rng(seed)
    floors, ceilings = game.low + (game.high - game.low) * rng.random((2, 3000))
    assert game.losses(floors, ceilings)[0].min() >= best_loss(bias) - 1e-12


@pytest.mark.parametrize("bias", [0.1, -0.35, 0.6, 0.0])
def test_the_theory_policies_attain_their_levels(bias: float) -> None:
    game = Delegation(bias, repetitions=2)
    for name, level in game.benchmarks().levels.items():
        if level.play is None:
            continue
        done = play(game, equilibrium(name), worlds=20_000, seed=3)
        error = 5 * done.welfare.std() / math.sqrt(20_000) + 1e-12
        assert done.welfare.mean() == pytest.approx(level.value, abs=error)
        np.testing.assert_allclose(done.measures["loss"], -done.welfare / 2)
        np.testing.assert_allclose(done.measures["informativeness"], 1 - 12 * done.measures["loss"])
        np.testing.assert_allclose(done.measures["agent_loss"], -done.returns["agent"][:, 0] / 2)
    done = play(game, equilibrium(), worlds=20_000, seed=3)
    floor, ceiling = game.optimal_interval
    np.testing.assert_allclose(done.measures["discretion"], ceiling - floor)
    agents = done.measures["agent_loss"]
    wanted = quad(lambda t: (min(max(t + bias, floor), ceiling) - t - bias) ** 2, 0, 1, points=[0.3])[0]
    assert agents.mean() == pytest.approx(wanted, abs=5 * agents.std() / math.sqrt(20_000) + 1e-9)


# ---- comparative statics ------------------------------------------------------------------------------------------


def test_discretion_and_welfare_fall_in_bias() -> None:
    games = [Delegation(b) for b in np.linspace(0.0, 0.5, 26).tolist()]
    free = [min(g.optimal_interval[1], 1 + g.bias) - max(g.optimal_interval[0], g.bias) for g in games]  # of its wishes
    values = [g.benchmarks().equilibrium.value for g in games]
    assert all(a > b + 1e-9 for a, b in itertools.pairwise(free)) and free[-1] == pytest.approx(0.0)
    assert all(a > b + 1e-9 for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("sign", [1, -1])
def test_delegation_is_never_worse_than_talk(sign: int) -> None:
    """Dessein 2002: even without limits it is better wherever talk tells anything, |b| < 1/4."""
    for size in np.linspace(0.001, 1.0, 1000).tolist():
        others = (marks := Delegation(sign * size).benchmarks()).others
        talk, free = others["cheap_talk"].value, others["full_discretion"].value
        assert marks.equilibrium.value >= talk - 1e-12
        assert marks.equilibrium.value >= free - 1e-12
        if most_steps(size) > 1:
            assert size < 0.25 and free > talk
        if size > 1 / math.sqrt(12) + 1e-9:
            assert free < talk  # silence is better than an agent without limits


def test_talk_in_closed_form() -> None:
    """b = 1/20: three steps, loss 1/108 + 8/1200."""
    assert (most_steps(0.05), most_steps(0.1), most_steps(0.25), most_steps(0.2499), most_steps(1.0)) == (3, 2, 1, 2, 1)
    assert most_steps(0.0, 7) == 7 and most_steps(1e-4, 7) == 7
    assert talk_loss(0.05, 3) == pytest.approx(1 / 108 + 8 / 1200)
    assert Delegation(0.05, 3).benchmarks().others["cheap_talk"].value == pytest.approx(-3 * (1 / 108 + 8 / 1200))


# ---- the game -----------------------------------------------------------------------------------------------------


def test_decisions_are_brought_between_the_limits() -> None:
    game = Delegation(0.25, repetitions=2)
    u = np.full((5, 1), 0.5)
    floors, ceilings = np.array([[0.2, 0.2, 0.2, 0.6, 0.3]]).T, np.array([[0.6, 0.6, 0.6, 0.2, 0.3]]).T
    decisions = np.array([[0.1, 0.4, 1.2, 1.2, 0.5]]).T
    acts = {"principal": {"floor": floors, "ceiling": ceilings}, "agent": {"decision": decisions}}
    offered = game.step(game.start(u), acts, u)
    assert (offered.welfare == 0).all() and not offered.done.any()
    done = game.step(offered.state, acts, u)
    carried = np.array([0.2, 0.4, 0.6, 0.6, 0.3])
    np.testing.assert_allclose(done.rewards["principal"][:, 0], -((carried - 0.5) ** 2))
    np.testing.assert_allclose(done.rewards["agent"][:, 0], -((carried - 0.75) ** 2))
    np.testing.assert_allclose(done.welfare, done.rewards["principal"][:, 0])
    np.testing.assert_allclose(game.measures(done.state)["discretion"], [0.4, 0.4, 0.4, 0.4, 0.0])
    for seen in game.view(done.state).values():
        np.testing.assert_allclose(seen["last_decision"][:, 0], carried)
    assert not done.done.any()


def test_the_state_is_hidden_from_the_principal_for_good() -> None:
    game = Delegation(repetitions=3)
    principal, agent = (game.role(name) for name in ("principal", "agent"))
    assert "state" not in {f.name for f in principal.sees}
    assert "state" in {f.name for f in agent.sees if not f.verifiable}
    assert {f.name for f in principal.sees if f.verifiable} == {"floor", "ceiling", "last_decision"}


@pytest.mark.parametrize(
    "options", [{}, {"bias": -0.3, "repetitions": 3}, {"bias": 0.7, "repetitions": 2}, {"bias": 0.0}, {"bias": 1}]
)
def test_examined(options: dict[str, Any]) -> None:
    check_game(Delegation(**options))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Delegation(-0.2, repetitions=3))


def test_the_numbers_are_in_the_words() -> None:
    about = Delegation(-0.15).about
    assert "from -0.15 to 1;" in about and "bias of -0.15" in about and "0.15 below the state" in about
    assert "0.2 above the state" in Delegation(0.2).about and "it wants the decision equal" in Delegation(0.0).about


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"bias": 1.01}, "bias: a number from -1 to 1, got 1.01"),
        ({"bias": -2}, "bias: a number from -1 to 1, got -2"),
        ({"bias": math.nan}, "bias: a number from -1 to 1, got nan"),
        ({"bias": "high"}, "bias: a number from -1 to 1, got 'high'"),
        ({"repetitions": 0}, "repetitions: a whole number from 1 to 1000000, got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Delegation(**wrong)
