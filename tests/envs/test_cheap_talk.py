"""Cheap talk: partitions in closed form and by solving for them, no deviation pays, comparative statics."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from societas import Game, play, policy
from societas.envs.contracting.cheap_talk import CheapTalk
from societas.testing import check_game

BIASES = st.integers(-500, 500).map(lambda k: k / 1000)
Vector = np.ndarray[Any, Any]


@st.composite
def instances(draw: st.DrawFn) -> CheapTalk:
    """Biases of both signs, many of them small enough for many steps, and vocabularies."""
    bias = draw(st.one_of(BIASES, st.integers(-500, 500).map(lambda k: k / 20_000)))
    return CheapTalk(bias, draw(st.integers(1, 12)))


def solved(bias: float, steps: int) -> Vector:
    """Cutoffs at which the agent is indifferent between neighbouring middles, from the linear equations themselves."""
    system, sides = np.eye(steps + 1), np.zeros(steps + 1)
    sides[-1] = 1.0
    for i in range(1, steps):
        system[i, i - 1 : i + 2] = 0.25, -0.5, 0.25  # middle below + middle above = 2 (a_i + b)
        sides[i] = bias
    return np.linalg.solve(system, sides)


def step_round(game: CheapTalk, state: Vector, message: Vector, decision: Vector) -> tuple[Vector, Vector]:
    """Rewards (principal, agent) of a round, through the game's own steps."""
    acts = {"principal": {"decision": decision[:, None]}, "agent": {"message": message[:, None]}}
    said = game.step(game.start(state[:, None]), acts, state[:, None])
    done = game.step(said.state, acts, state[:, None])
    return done.rewards["principal"][:, 0], done.rewards["agent"][:, 0]


def strategies(game: CheapTalk) -> tuple[Callable[[Vector], Vector], Callable[[Vector], Vector]]:
    """The equilibrium's message in each state, and its decision on each message."""
    how = game.benchmarks().equilibrium.play
    assert how is not None

    def says(state: Vector) -> Vector:
        return np.asarray(how["agent"]({"state": state[:, None]})["message"][:, 0])

    def reads(message: Vector) -> Vector:
        seen = {"message": message[:, None], "last_decision": np.full((len(message), 1), 0.5)}
        return np.asarray(how["principal"](seen)["decision"][:, 0])

    return says, reads


def equilibrium(level: str = "equilibrium") -> dict[str, Any]:
    return {"principal": policy("equilibrium", level=level), "agent": policy("equilibrium", level=level)}


# ---- closed forms -------------------------------------------------------------------------------------------------


def test_three_steps_in_closed_form() -> None:
    """b = 1/20: cutoffs 2/15 and 7/15, decisions 1/15, 3/10 and 11/15; loss 1/108 + 8/1200."""
    game = CheapTalk(0.05)
    assert game.steps == 3
    np.testing.assert_allclose(game.cutoffs, [0, 2 / 15, 7 / 15, 1], atol=1e-12)
    np.testing.assert_allclose(game.readings, [1 / 15, 3 / 10, 11 / 15, 11 / 15], atol=1e-12)
    marks = game.benchmarks()
    assert marks.baseline is not None
    assert marks.first_best.value == 0.0
    assert marks.equilibrium.value == pytest.approx(-(1 / 108 + 8 / 1200), abs=1e-12)
    assert marks.baseline.value == pytest.approx(-1 / 12, abs=1e-12)
    assert marks.others["delegation"].value == pytest.approx(-(0.05**2 - 4 * 0.05**3 / 3), abs=1e-12)


def test_two_steps_mirrored() -> None:
    """b = 1/10: cutoff 3/10; b = -1/10: cutoff 7/10; loss 1/48 + 1/100."""
    for bias, cutoff in ((0.1, 0.3), (-0.1, 0.7)):
        game = CheapTalk(bias, messages=2, repetitions=3)
        np.testing.assert_allclose(game.cutoffs, [0, cutoff, 1], atol=1e-12)
        assert game.benchmarks().equilibrium.value == pytest.approx(-3 * (1 / 48 + 1 / 100), abs=1e-12)


def test_a_strong_bias_leaves_babbling_only() -> None:
    """Talk tells something if and only if |b| < 1/4."""
    for bias in (0.25, 0.4, -0.25, 1.0):
        game = CheapTalk(bias)
        marks = game.benchmarks()
        assert marks.baseline is not None
        assert game.steps == 1 and game.readings == (0.5,) * 4
        assert marks.equilibrium.value == marks.baseline.value == pytest.approx(-1 / 12, abs=1e-12)
    assert CheapTalk(0.2499).steps == CheapTalk(-0.2499).steps == 2


def test_without_bias_the_vocabulary_is_the_limit() -> None:
    game = CheapTalk(0.0, messages=5)
    np.testing.assert_allclose(game.cutoffs, np.linspace(0, 1, 6), atol=1e-12)
    assert game.benchmarks().equilibrium.value == pytest.approx(-1 / 300, abs=1e-12)


# ---- equilibrium against independent solutions --------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(instances())
def test_cutoffs_against_the_indifference_equations(game: CheapTalk) -> None:
    """As many steps as the equations have an increasing solution for, and no more."""
    np.testing.assert_allclose(game.cutoffs, solved(game.bias, game.steps), atol=1e-9)
    if game.steps < game.messages:
        assert np.diff(solved(game.bias, game.steps + 1)).min() < 1e-9


@given(st.integers(1, 4000), st.integers(1, 100))
def test_steps_against_the_closed_form_of_crawford_and_sobel(k: int, messages: int) -> None:
    """N(b) = ceil(-1/2 + sqrt(1 + 2/b) / 2), the root being compared in exact arithmetic."""
    bias = Fraction(k, 4000)

    def reached(n: int) -> bool:  # n >= -1/2 + sqrt(1 + 2/b) / 2
        return Fraction(2 * n + 1) ** 2 >= 1 + 2 / bias

    most = next(n for n in range(1, 200) if reached(n))
    assume((2 * most + 1) ** 2 != 1 + 2 / bias)  # an edge, where a step has no length: rounding decides
    assert CheapTalk(float(bias), messages).steps == CheapTalk(-float(bias), messages).steps == min(most, messages)


@settings(max_examples=40, deadline=None)
@given(instances())
def test_value_against_numerical_integration(game: CheapTalk) -> None:
    """Play on a fine grid of states, through the game's own steps."""
    says, reads = strategies(game)
    states = (np.arange(20_000) + 0.5) / 20_000
    message = says(states)
    got = step_round(game, states, message, reads(message))[0]
    assert got.mean() == pytest.approx(game.benchmarks().equilibrium.value, abs=2e-5)


@settings(max_examples=40, deadline=None)
@given(instances())
def test_no_message_and_no_decision_is_better(game: CheapTalk) -> None:
    """In every state the agent, and on every message in use the principal, by enumeration."""
    says, reads = strategies(game)
    states = (np.arange(2000) + 0.5) / 2000
    message = says(states)
    value = step_round(game, states, message, reads(message))[1]
    for other in range(game.messages):
        sent = np.full(2000, other)
        assert (step_round(game, states, sent, reads(sent))[1] <= value + 1e-12).all()
    for used in np.unique(message):
        cell = states[message == used]
        sent = np.full(len(cell), used)
        best = step_round(game, cell, sent, reads(sent))[0].mean()
        for decision in np.linspace(0, 1, 101):
            # the grid cuts a step off within 1/4000 of its ends
            assert step_round(game, cell, sent, np.full(len(cell), decision))[0].mean() <= best + 1e-6


def least_loss_by_iteration(game: CheapTalk, seed: int, starts: int) -> float:
    """Least loss of the equilibria that best replies lead to from random starts, on a grid of states.

    The agent chooses between the decisions that the principal holds for its messages, the principal moves each to the
    mean of the states that chose it; where nothing moves any more, that is an equilibrium.
    """
    rng, states, found = np.random.default_rng(seed), (np.arange(2000) + 0.5) / 2000, []
    for _ in range(starts):
        decisions, change = np.sort(rng.random(game.messages)), 1.0
        while change > 1e-9:
            chosen = np.abs(states[:, None] + game.bias - decisions).argmin(axis=1)
            counts = np.bincount(chosen, minlength=game.messages)
            means = np.bincount(chosen, states, minlength=game.messages) / np.maximum(counts, 1)
            new = np.where(counts > 0, means, means[counts > 0].max())
            change, decisions = np.abs(new - decisions).max(), new
        found.append(float(((decisions[chosen] - states) ** 2).mean()))
    return min(found)


@settings(max_examples=30, deadline=None)
@given(instances(), st.integers(0, 2**32))
def test_no_equilibrium_that_best_replies_lead_to_tells_more(game: CheapTalk, seed: int) -> None:
    assert least_loss_by_iteration(game, seed, 2) >= -game.benchmarks().equilibrium.value - 3e-4


@pytest.mark.parametrize(("bias", "messages"), [(0.05, 4), (-0.05, 2), (0.02, 8), (-0.15, 6), (0.3, 4), (0.0, 5)])
def test_best_replies_lead_to_the_equilibrium(bias: float, messages: int) -> None:
    game = CheapTalk(bias, messages)
    assert least_loss_by_iteration(game, 0, 5) == pytest.approx(-game.benchmarks().equilibrium.value, abs=3e-4)


@pytest.mark.parametrize(("bias", "messages"), [(0.1, 4), (-0.03, 3), (0.02, 8), (0.3, 4)])
def test_the_theory_policies_attain_their_levels(bias: float, messages: int) -> None:
    game = CheapTalk(bias, messages, repetitions=2)
    for name in ("equilibrium", "baseline"):
        level = game.benchmarks().levels[name]
        done = play(game, equilibrium(name), worlds=20_000, seed=3)
        error = 5 * done.welfare.std() / math.sqrt(20_000)
        assert done.welfare.mean() == pytest.approx(level.value, abs=error)
        np.testing.assert_allclose(done.measures["loss"], -done.welfare / 2)
        np.testing.assert_allclose(done.measures["informativeness"], 1 - 12 * done.measures["loss"])
        # decisions are right on average, so that the agent loses what the principal does, and its bias squared
        agents = done.measures["agent_loss"]
        wanted = -level.value / 2 + bias**2
        assert agents.mean() == pytest.approx(wanted, abs=5 * agents.std() / math.sqrt(20_000))


# ---- comparative statics ------------------------------------------------------------------------------------------


def value(bias: float, messages: int = 20) -> float:
    """Expected welfare of the most informative equilibrium."""
    return CheapTalk(bias, messages).benchmarks().equilibrium.value


def test_talk_tells_less_as_the_bias_grows() -> None:
    biases = np.linspace(0.0, 0.5, 251).tolist()
    values = [value(b) for b in biases]
    steps = [CheapTalk(b, 20).steps for b in biases]
    assert steps == sorted(steps, reverse=True) and steps[0] == 20 and steps[-1] == 1
    for b, before, after in zip(biases[1:], values, values[1:], strict=False):
        assert before > after + 1e-9 if b <= 0.25 else before == after
    np.testing.assert_allclose([value(-b) for b in biases], values)


def test_more_words_help_until_the_bias_is_the_limit() -> None:
    values = [value(0.02, messages) for messages in range(1, 9)]
    assert CheapTalk(0.02, 8).steps == 5
    assert all(a < b - 1e-6 for a, b in itertools.pairwise(values[:5]))
    assert values[4:] == [values[4]] * 4


def test_commitment_is_never_worse_than_talk() -> None:
    """Delegation; without any limits it loses b^2, still less than talk that tells anything (Dessein 2002)."""
    for bias in np.linspace(-0.6, 0.6, 241).tolist():
        game = CheapTalk(bias, 100)
        marks = game.benchmarks()
        assert marks.others["delegation"].value >= marks.equilibrium.value - 1e-12
        if 1 < game.steps < 100:
            assert -(bias**2) > marks.equilibrium.value


# ---- the game -----------------------------------------------------------------------------------------------------


def test_rewards_are_what_the_rules_say_and_talk_is_cheap() -> None:
    game = CheapTalk(-0.2, 3, repetitions=2)
    states, decisions = np.array([0.5, 0.5, 0.9]), np.array([0.5, 0.5, 0.1])
    principal, agent = step_round(game, states, np.array([0, 2, 1]), decisions)
    np.testing.assert_allclose(principal, [0, 0, -0.64])
    np.testing.assert_allclose(agent, [-0.04, -0.04, -0.36])


def test_the_message_is_seen_before_the_decision_and_the_state_never() -> None:
    game = CheapTalk(repetitions=2)
    u = np.array([[0.3], [0.9]])
    acts = {"principal": {"decision": np.array([[0.4], [0.6]])}, "agent": {"message": np.array([[3], [1]])}}
    said = game.step(game.start(u), acts, u)
    assert (said.welfare == 0).all() and (game.stage(said.state) == 1).all()
    seen = game.view(said.state)["principal"]
    assert seen["message"][:, 0].tolist() == [3, 1] and "state" not in seen
    assert seen["last_decision"][:, 0].tolist() == [0.5, 0.5]
    np.testing.assert_allclose(game.view(said.state)["agent"]["state"], u)
    done = game.step(said.state, acts, 1.0 - u)
    np.testing.assert_allclose(done.welfare, [-0.01, -0.09])
    for sight in game.view(done.state).values():
        assert sight["last_decision"][:, 0].tolist() == [0.4, 0.6]
    np.testing.assert_allclose(game.view(done.state)["agent"]["state"], 1.0 - u)
    assert {f.name for f in game.role("principal").sees if f.verifiable} == {"message", "last_decision"}


def test_unused_messages_are_read_as_the_nearest_that_is_used() -> None:
    for bias in (0.1, -0.1):
        says, reads = strategies(CheapTalk(bias, 6))
        assert set(says(np.linspace(0, 0.999, 500)).tolist()) == {0, 1}
        decisions = reads(np.arange(6))
        assert len(set(decisions.tolist())) == 2 and (decisions[1:] == decisions[1]).all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": -0.02, "messages": 3, "repetitions": 3},
        {"bias": 0.01, "messages": 8, "repetitions": 2},
        {"bias": 0.3, "messages": 2},
        {"bias": 0.0, "messages": 1},
    ],
)
def test_examined(options: dict[str, Any]) -> None:
    check_game(CheapTalk(**options))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(CheapTalk(0.03, repetitions=3))


def test_the_numbers_are_in_the_words() -> None:
    about = CheapTalk(-0.15, 5).about
    assert "one of 5 messages" in about and "bias of -0.15" in about and "0.15 below the state" in about
    assert "the only message" in CheapTalk(messages=1).about


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"bias": 1.5}, "bias: a number from -1 to 1, got 1.5"),
        ({"bias": math.inf}, "bias: a number from -1 to 1, got inf"),
        ({"messages": 0}, "messages: a whole number from 1 to 100, got 0"),
        ({"messages": 2.5}, "messages: a whole number from 1 to 100, got 2.5"),
        ({"repetitions": 0}, "repetitions: a whole number from 1 to 1000000, got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CheapTalk(**wrong)
