"""Inspect: deterrence, and who pays for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import acts_of

from societas import Game, Unfit, Worlds, make, play, policy
from societas.envs.core.arrays import tree_map
from societas.envs.markets.pricing import Pricing
from societas.mechanisms.commit import Commit
from societas.mechanisms.constitution import Constitution
from societas.mechanisms.forget import Forget
from societas.mechanisms.inspect import Inspect
from societas.mechanisms.monitor import Monitor
from societas.mechanisms.regulate import Regulate
from societas.mechanisms.sanction import Sanction
from societas.testing import check_mechanism

COOPERATE, DEFECT = 0, 1
CELLS = 40
"""Equal parts of [0, 1): a mean over their middles is exact for probabilities that are multiples of 1/40."""


def does(**fixed: Any) -> Any:
    return policy("callable", function=lambda seen: fixed)


def mean_pay(game: Game, mine: int, other: int) -> float:
    """The first player's expected reward in one round of a dilemma, exactly."""
    u = np.full((CELLS, game.draws), 0.999)
    u[:, 0] = (np.arange(CELLS) + 0.5) / CELLS
    acts: Any = {"player": {"action": np.tile([mine, other], (CELLS, 1))}}
    return float(game.step(game.start(u), acts, u).rewards["player"][:, 0].mean())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(1, CELLS),
    st.sampled_from([0.0, 0.5, 0.75]),
    st.sampled_from([-1.0, -0.125, 0.0, 0.125, 1.0]),
    st.sampled_from(["outside", "others"]),
)
def test_defection_is_deterred_exactly_where_the_expected_fine_reaches_its_gain(
    cells: int, miss: float, above: float, to: str
) -> None:
    """It brings 2 against who cooperates and 1 against who defects."""
    base, probability = make("MatrixGame"), cells / CELLS
    if (cells * (1.0 - miss)) % 1:
        return  # not a whole number of parts
    for other, gain in ((COOPERATE, 2.0), (DEFECT, 1.0)):
        fine = (gain + above) / (probability * (1.0 - miss))
        game = base | Inspect(
            "action", wrong=("defect",), probability=probability, miss=miss, fine=fine, cost=0.3, to=to
        )
        left = mean_pay(game, DEFECT, other) - mean_pay(game, COOPERATE, other)
        assert left == pytest.approx(-above, abs=1e-9)


def test_who_expects_more_than_the_gain_does_best_to_comply_as_the_audit_of_incentives_finds() -> None:
    from societas.mechanisms.audit import audit

    base, honest = make("MatrixGame"), {"player": does(action="cooperate")}
    for fine, regret in ((1.5, 0.5), (2.5, 0.0)):  # every defector is found out: nothing is left to chance
        game = base | Inspect("action", wrong=("defect",), probability=1.0, fine=fine)
        assert audit(game, honest).regret("player_0") == pytest.approx(regret)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.floats(0.05, 1),
    st.floats(0, 1),
    st.floats(0, 5),
    st.floats(0, 2),
    st.sampled_from(["outside", "others"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_welfare_falls_by_what_inspections_cost_and_by_nothing_else(
    probability: float, miss: float, fine: float, cost: float, to: str, relative: bool, seed: int
) -> None:
    base = make("Fishery", fishers=3, months=3)
    high = 2.0 if relative else 20.0
    under = base | Inspect("harvest", None, high, (), relative, probability, miss, fine, cost, to)
    plain, done = (play(g, {"fisher": policy("random")}, worlds=12, seed=seed) for g in (base, under))
    spent = cost * done.measures["inspections_harvest"]
    np.testing.assert_allclose(done.welfare, plain.welfare - spent, atol=1e-9)
    fines = done.measures["fines_harvest"] * (to == "outside")
    moved = done.returns["fisher"].sum(axis=1) - plain.returns["fisher"].sum(axis=1)
    np.testing.assert_allclose(moved, -(fines if to == "outside" else spent), atol=1e-9)


def test_how_often_it_looks_and_finds() -> None:
    worlds, rounds = 400, 5
    base = make("MatrixGame", repetitions=rounds)
    game = base | Inspect("action", wrong=("defect",), probability=0.4, miss=0.25, fine=2.0)
    done = play(
        game, {"player_0": does(action="defect"), "player_1": does(action="cooperate")}, worlds=worlds, keep=True
    )
    assert (done.measures["beyond_action"] == 0.5).all()
    n = worlds * rounds
    looks = done.measures["inspections_action"].sum() / (2 * n)
    assert looks == pytest.approx(0.4, abs=4 * np.sqrt(0.24 / (2 * n)))
    assert done.measures["fines_action"].sum() / n == pytest.approx(0.6, abs=4 * 2 * np.sqrt(0.21 / n))
    last = done.moments[-1].seen["player"]
    assert set(np.unique(last["fined_action"][:, 0])) == {0.0, 2.0} and (last["fined_action"][:, 1] == 0).all()
    assert (last["inspected_action"][:, 0] >= (last["fined_action"][:, 0] > 0)).all()
    assert last["inspected_action"][:, 1].any()


def test_limits_on_prices_and_in_relation_to_the_others() -> None:
    game = Pricing(firms=3, prices=5, periods=1)
    acts = np.array([[0, 1, 4]])
    low, high = game.grid[0] + 1e-3, game.grid[1] + 1e-3
    absolute = game | Inspect("price", low, high, probability=1.0, fine=3.0)
    pay = [Worlds(g, 1).step(acts_of(g, 1, price=acts)).rewards["firm"][0] for g in (game, absolute)]
    np.testing.assert_allclose(pay[0] - pay[1], [3.0, 0.0, 3.0])
    price = np.array(game.grid)[acts[0]]
    above = price - (price.sum() - price) / 2
    relative = game | Inspect("price", high=0.9 * above[2], relative=True, probability=1.0, fine=3.0, to="others")
    pay[1] = Worlds(relative, 1).step(acts_of(relative, 1, price=acts)).rewards["firm"][0]
    assert above[2] > 0 > above[1]
    np.testing.assert_allclose(pay[1] - pay[0], [1.5, 1.5, -3.0])


def test_what_is_at_a_limit_is_allowed() -> None:
    for low, high, beyond in ((3, 3, 0.0), (None, 2.999, 1.0), (3.001, None, 1.0)):
        game = make("Fishery", months=2) | Inspect("harvest", low, high)
        assert play(game, {"fisher": does(harvest=3)}).measures["beyond_harvest"] == beyond


def test_an_act_counts_once_in_a_round_of_several_stages_and_is_that_of_its_stage() -> None:
    """Effort is decided in the second of three stages, and nobody but the agent ever sees it."""
    game = make("Relational", delta=0.9, repetitions=110) | Inspect("effort", low=0.35, probability=1.0, fine=10.0)
    worlds, fines = Worlds(game, 1), []
    for effort in (0.5, 0.2, 0.5, 0.1, 0.6, 0.0):
        acts: Any = acts_of(game, 1, effort=effort, **{f.name: 0 for f in game.role("principal").acts})
        worlds.step(acts)
        fines.append(float(game.measures(worlds.state)["fines_effort"][0]))
    assert fines == [0.0, 0.0, 10.0, 10.0, 10.0, 10.0]
    assert not any(field.name.startswith("fined") for field in game.role("principal").sees)


def test_an_act_that_was_not_asked_for_is_not_fined_again() -> None:
    base, fines = make("MatrixGame", repetitions=4), []
    for period in (1, 2):  # amendments are moved in every round, and in every second
        game = base | replace(Constitution.suited(base), period=period)
        game = game | Inspect("amendment", wrong=("threshold: 1",), probability=1.0, fine=1.0)
        fines.append(play(game, {"player": does(amendment="threshold: 1")}).measures["fines_amendment"][0])
    assert fines == [8.0, 4.0]


def test_only_those_named_are_inspected() -> None:
    base = make("Fishery", months=2)
    game = base | Inspect("harvest", high=0, probability=1.0, fine=1.0, cost=0.5, to="others", who=("fisher_1",))
    plain, done = (play(g, {"fisher": does(harvest=3)}, keep=True) for g in (base, game))
    np.testing.assert_allclose((done.returns["fisher"] - plain.returns["fisher"])[0], [0.3, -2.2, 0.3, 0.3, 0.3])
    assert done.measures["inspections_harvest"] == 2 and (done.measures["beyond_harvest"] == 1).all()
    assert done.moments[-1].seen["fisher"]["fined_harvest"][0].tolist() == [0, 1, 0, 0, 0]


def test_words_name_the_numbers() -> None:
    about = (Pricing() | Inspect("price", high=1.6, probability=0.2, miss=0.1, fine=0.5, cost=0.01)).about
    for text in (
        "firm_0, firm_1 are inspected with probability 0.2 each",
        "Whose price is not at most 1.6 pays a fine of 0.5, unless the inspection misses it, with probability 0.1.",
        "An inspection costs 0.01. An authority outside the game gets the fines",
    ):
        assert text in about


def test_examined_among_others() -> None:
    base = make("Fishery", months=3)
    some = Inspect("harvest", 1, 9.5, probability=0.5, miss=0.2, cost=0.25, to="others")
    for game in (
        base | Monitor("harvest", 0.5),
        base | Sanction(),
        base | Commit("harvest"),
        base | Regulate("harvest", 1),
    ):
        check_mechanism(some, game, null=Inspect("harvest", high=3, probability=0.0), worlds=8)


def test_jax_compiles_the_interventions() -> None:
    jax = pytest.importorskip("jax", reason="JAX is an optional extra")
    jax.config.update("jax_enable_x64", True)
    game = (
        Pricing(prices=5, periods=6)
        | Regulate("price", high=1.8, rounds=(1, 3))
        | Forget(("own", "prices"), (2, 4), 0.5)
    )
    game = game | Inspect("price", high=1.6, relative=False, probability=0.5, fine=0.2, cost=0.1, to="others")
    worlds = Worlds(game, 8, seed=1)
    step, view = jax.jit(game.step), jax.jit(game.view)
    state = tree_map(jax.numpy.asarray, worlds.state)
    for k in range(5):
        acts, u = acts_of(game, 8, price=np.arange(16).reshape(8, 2) * (k + 1) % 5), worlds.numbers()
        expected = worlds.step(acts)
        found = step(state, tree_map(jax.numpy.asarray, acts), jax.numpy.asarray(u))
        state = found.state
        for ours, theirs in ((expected.rewards, found.rewards), (game.view(expected.state), view(found.state))):
            tree_map(lambda a, b: np.testing.assert_allclose(np.asarray(b), a, rtol=1e-12), ours, theirs)
    assert game.measures(worlds.state)["fines_price"].any()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            lambda: Inspect("price"),
            "wrong, low, high: either options that are fined, or limits; got wrong=(), low=None",
        ),
        (lambda: Inspect("action", high=1, wrong=("defect",)), "either options that are fined, or limits"),
        (
            lambda: Inspect("action", wrong=("defect",), relative=True),
            "relative: false where options are fined, got True",
        ),
        (lambda: Inspect("price", high=1, probability=1.5), "probability: a number from 0 to 1, got 1.5"),
        (lambda: Inspect("price", high=1, miss=-1), "miss: a number from 0 to 1, got -1"),
        (lambda: Inspect("price", high=1, fine=-1), "fine: a number from 0 to inf, got -1"),
        (lambda: Inspect("price", high=1, to="me"), "to: one of 'outside', 'others', got 'me'"),
        (
            lambda: make("MatrixGame") | Inspect("action", wrong=("d",)),
            "wrong: 'd' must be an option of field 'action'",
        ),
        (lambda: make("MatrixGame") | Inspect("action", high=1), "which are words; name options instead"),
        (lambda: make("HiddenAction") | Inspect("pay", high=1, relative=True), "relative: at least 2 players must be"),
    ],
)
def test_errors_say_what_to_do(wrong: Callable[[], Any], words: str) -> None:
    with pytest.raises((ValueError, Unfit)) as caught:
        wrong()
    assert words in str(caught.value)
