"""Learners recover theory: pairs of principal and agent, a menu, and the fine that ends a dilemma."""

from __future__ import annotations

import numpy as np
import pytest

from societas import make, mechanism, play, policy
from societas.envs.contracting.multitask import Multitask
from societas.mechanisms.terms import Compensation
from societas.policies.cross_entropy import CrossEntropy
from societas.policies.gradient import PolicyGradient


def test_a_pair_finds_the_slope_of_the_linear_contract() -> None:
    """The agent learns its answer to every offer, then the principal learns to offer: slope .5, surplus .25 (r=2, c=1, s2=.5)."""
    game = Multitask.linear()
    anything = {"principal": policy("random")}
    learner = PolicyGradient(hidden=(32, 32), spread=(0.3, 0.15))
    agent = learner.learn(game, "agent", episodes=800, sessions=4096, seed=1, others=anything)
    principal = CrossEntropy().learn(game, "principal", episodes=80, sessions=32768, seed=2, others={"agent": agent})
    found = play(game, {"principal": principal, "agent": agent}, worlds=4000, seed=3)
    assert found.measures["slope"].mean() == pytest.approx(0.5, abs=0.05)
    assert found.welfare.mean() == pytest.approx(0.25, rel=0.1)
    assert found.measures["accepted"].mean() > 0.99
    assert agent.curve[-1] > agent.curve[0]


def test_a_principal_finds_the_menu_that_screens() -> None:
    """Profit .625; the best single item gives .5625."""
    game = make("Screening")
    learner = CrossEntropy(tries=2**17)
    principal = learner.learn(
        game, "principal", episodes=40, sessions=65536, seed=2, others={"agent": policy("equilibrium")}
    )
    found = play(game, {"principal": principal, "agent": policy("equilibrium")}, worlds=20_000, seed=9)
    assert found.measures["profit"].mean() == pytest.approx(0.625, rel=0.1)
    assert found.measures["served"].mean() == 1.0  # both types buy, so that it does better than one item can


def test_a_principal_finds_the_bonus_for_hidden_effort() -> None:
    game = make("HiddenAction")
    others = {"agent": policy("equilibrium")}
    principal = CrossEntropy().learn(game, "principal", episodes=60, sessions=8192, seed=1, others=others)
    np.testing.assert_allclose(principal.found["pay"], (0.0, 6.25), atol=0.3)


@pytest.mark.parametrize(("theta", "cooperators"), [(0.5, 0), (1.5, 1), (2.5, 2)])
def test_a_contract_changes_what_is_learned_at_the_thresholds(theta: float, cooperators: int) -> None:
    """Both defect below P - S = 1, one does up to T - R = 2, none above."""
    game = make("MatrixGame") | mechanism("Contract", terms=Compensation(theta))
    learner = policy(
        "tabular", sees={"stage": 2, "agreement": 3}, alpha=0.05, gamma=1.0, epsilon=(0.5, 0.1), initial=6.0
    ).learn(game, "player", episodes=10_000, sessions=20, seed=2027)
    found = play(game, {"player": learner}, worlds=20, seed=2026)
    assert (2 * found.measures["first_action"] == cooperators).mean() >= 0.95


def test_the_same_seed_searches_the_same() -> None:
    game, others = make("HiddenAction"), {"agent": policy("equilibrium")}
    one, two = (
        CrossEntropy(candidates=16, tries=64).learn(game, "principal", episodes=3, sessions=64, seed=4, others=others)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one.found["pay"], two.found["pay"])
    assert one.curve == two.curve


def test_search_says_what_it_cannot_do() -> None:
    with pytest.raises(RuntimeError, match=r"nothing learned yet; call learn\(game, role\) first"):
        play(make("HiddenAction"), {"principal": CrossEntropy()})
    with pytest.raises(ValueError, match="candidates: a whole number from 4 to 1000000, got 2"):
        CrossEntropy(candidates=2)
