"""Formal contracts in the prisoner's dilemma (Christoffersen, Haupt and Hadfield-Menell 2022), by playing the real game."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import societas
from societas.envs.core.solve import pure_nash
from societas.envs.norms.matrix_game import MatrixGame
from societas.mechanisms.contract import Contract, Court
from societas.mechanisms.terms import Compensation, Quota

C, D = 0, 1


def run(game: societas.Game, *steps: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Play given acts {field: [of player 0, of player 1]} step by step; return the players' returns."""
    state = game.start(np.full((1, max(game.draws, 1)), 0.5)[:, : game.draws])
    total = np.zeros(2)
    for decided in steps:
        acts = {field.name: np.zeros((1, 2)) for field in game.role("player").acts}
        acts |= {name: np.array([values]) for name, values in decided.items()}
        outcome = game.step(state, {"player": acts}, np.full((1, game.draws), 0.5))
        state, total = outcome.state, total + outcome.rewards["player"][0]
    assert outcome.done.all()
    return total


def induced(base: MatrixGame, theta: float, regime: str = "enforced") -> np.ndarray[Any, Any]:
    """Return the payoffs of the stage game once a contract with theta is in force."""
    game = base | Contract(Compensation(theta), regime=regime)
    table = np.zeros((2, 2, 2))
    for cell in itertools.product((C, D), repeat=2):
        table[(slice(None), *cell)] = run(game, {"consent": [1, 1]}, {"action": cell})
    return table


@pytest.mark.parametrize(
    ("theta", "equilibria"),
    [
        (0.0, [(D, D)]),
        (0.5, [(D, D)]),
        (0.99, [(D, D)]),
        (1.01, [(C, D), (D, C)]),
        (1.5, [(C, D), (D, C)]),
        (1.99, [(C, D), (D, C)]),
        (2.01, [(C, C)]),
        (2.5, [(C, C)]),
    ],
)
def test_a_contract_too_weak_makes_it_chicken(theta: float, equilibria: list[tuple[int, int]]) -> None:
    assert pure_nash(induced(MatrixGame.prisoners_dilemma(), theta)) == equilibria
    assert pure_nash(induced(MatrixGame.prisoners_dilemma(), theta, "text")) == [(D, D)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-20, 20), min_size=4, max_size=4, unique=True), st.integers(0, 80))
def test_cooperation_is_dominant_from_the_larger_temptation_on(payoffs: list[int], quarters: int) -> None:
    P, R, T = sorted(payoffs)[1:]
    S, theta = sorted(payoffs)[0], quarters / 4
    assume(theta != max(T - R, P - S))
    table = induced(MatrixGame(((((R), S), (T, P)), ((R, T), (S, P)))), min(theta, 10.0)) if theta <= 10 else None
    assume(table is not None)
    dominant = bool(table[0, C, C] >= table[0, D, C] and table[0, C, D] >= table[0, D, D])  # type: ignore[index]
    assert dominant == (theta > max(T - R, P - S))


def test_side_payments_give_the_proposer_the_surplus() -> None:
    """Backward induction over the played game: welfare 6, 5 for the proposer and 1 for the responder; 2 without."""
    base = MatrixGame.prisoners_dilemma()
    game = base | Contract(Compensation(most=4.0), proposer=0, side_payment=4.0)
    assert [stage.name for stage in game.stages] == ["propose", "consent", "act"]

    def play_on(theta: float, side: float, consent: int) -> np.ndarray[Any, Any]:
        table = np.zeros((2, 2, 2))
        for cell in itertools.product((C, D), repeat=2):
            offer = {"theta": [theta, 0], "side": [side, 0]}
            table[(slice(None), *cell)] = run(game, offer, {"consent": [0, consent]}, {"action": cell})
        worst = min(pure_nash(table), key=lambda cell: table[(0, *cell)])
        return np.asarray(table[(slice(None), *worst)])

    best: np.ndarray[Any, Any] = np.array([-np.inf, 0.0])
    for theta, side in itertools.product(np.arange(0, 4.25, 0.5), np.arange(-4, 4.5, 0.5)):
        refused, accepted = play_on(theta, side, 0), play_on(theta, side, 1)
        result = accepted if accepted[1] >= refused[1] else refused
        best = max(best, result, key=lambda pay: pay[0])
    assert best.tolist() == [5.0, 1.0]
    assert run(base, {"action": [D, D]}).sum() == 2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100), st.floats(0, 5), st.lists(st.integers(0, 30), min_size=5, max_size=5), st.integers(0, 31))
def test_transfers_sum_to_zero_and_only_consent_binds(limit: int, fine: float, wants: list[int], answers: int) -> None:
    base = societas.make("Fishery")
    game = base | Contract(Quota(limit, fine))
    consent = [(answers >> i) & 1 for i in range(5)]
    u = np.random.default_rng(0).random((1, game.draws))
    first = game.step(game.start(u), {"fisher": {"consent": np.array([consent]), "harvest": np.zeros((1, 5))}}, u)
    acts = {"fisher": {"consent": np.zeros((1, 5)), "harvest": np.array([wants])}}
    under, plain = game.step(first.state, acts, u), base.step(base.start(u), acts, u)
    moved = under.rewards["fisher"] - plain.rewards["fisher"]
    assert abs(moved.sum()) < 1e-9
    assert under.welfare == plain.welfare
    if not all(consent):
        assert (moved == 0).all()
    else:
        caught = plain.rewards["fisher"][0]
        excess = np.clip(caught - limit, 0, None)
        np.testing.assert_allclose(moved[0], (excess.sum() - excess) * fine / 4 - fine * excess, atol=1e-9)


def test_regimes_and_refusals_by_name() -> None:
    base = societas.make("Fishery")
    assert base | Contract(regime="none") is base
    with pytest.raises(ValueError, match="regime: one of 'none', 'text', 'enforced', 'relational', got 'soft'"):
        Contract(regime="soft")
    with pytest.raises(ValueError, match="only on verifiable fields.*'total'.*verifiable: "):
        base | Contract(Quota(field="total"))
    with pytest.raises(ValueError, match="accuracy: a number from 0 to 1, got 1.5"):
        Court(accuracy=1.5)
    with pytest.raises(ValueError, match="proposer: 0 to 4"):
        base | Contract(proposer=5)


def test_a_court_finds_out_as_often_as_it_says() -> None:
    base = societas.make("Fishery", months=1)
    game = base | Contract(Quota(limit=0, fine=1.0), court=Court(accuracy=0.3))
    everyone = societas.policy("callable", function=lambda seen: {"consent": "accept", "harvest": 10})
    episodes = societas.play(game, {"fisher": everyone}, worlds=400, seed=2)
    paid = episodes.measures["transfers"]
    # each of 5 debtors owes 10, found out with probability .3: sum of transfers / 2 has a known ceiling
    found = (episodes.returns["fisher"] != 10).any(axis=1).mean()
    assert abs(found - (1 - 0.7**5 - 0.3**5)) < 4 * 0.5 / 20
    assert paid.max() <= 50


@pytest.mark.parametrize("name", ["Talk", "Sanction", "Noise", "Misspecify"])
def test_null_and_neutral_mechanisms(name: str) -> None:
    base = societas.make("Fishery")
    grab = {"fisher": societas.policy("scripted", character="opportunist")}
    plain = societas.play(base, grab, worlds=50, seed=3)
    options = {"Noise": {"field": "stock", "sd": 0.0}, "Misspecify": {"field": "stock", "strength": 0.0}}
    null = base | societas.mechanism(name, **options.get(name, {"rounds": 0} if name == "Talk" else {}))
    if name == "Sanction":  # it adds a stage, but when nobody punishes nothing else changes
        under = societas.play(null, grab, worlds=50, seed=3)
        np.testing.assert_array_equal(plain.welfare, under.welfare)
    else:
        assert null is base
    if name == "Misspecify":
        strong = base | societas.mechanism("Misspecify", field="stock", weight=2.0)
        under = societas.play(strong, grab, worlds=50, seed=3)
        np.testing.assert_array_equal(plain.welfare, under.welfare)
        assert (under.returns["fisher"] != plain.returns["fisher"]).any()
    if name == "Talk":
        talking = societas.play(base | societas.mechanism("Talk", cost=1.0), grab, worlds=50, seed=3)
        np.testing.assert_allclose(plain.welfare - talking.measures["messages"], talking.welfare)


def test_sanctions_cost_and_fine() -> None:
    game = societas.make("Fishery", months=1) | societas.mechanism("Sanction", cost=1, fine=3)
    state = game.start(np.full((1, game.draws), 0.5))
    acts = {"fisher": {"harvest": np.full((1, 5), 10), "punish": np.array([[5, 5, 3, 0, 5]])}}
    first = game.step(state, acts, np.full((1, game.draws), 0.5))
    assert not first.done[0]
    second = game.step(first.state, acts, np.full((1, game.draws), 0.5))
    # 0 and 1 punish fisher_4, 2 names itself and 4 itself (nothing happens), 3 nobody
    assert second.rewards["fisher"][0].tolist() == [-1, -1, 0, 0, -6]
    assert second.welfare[0] == -8
    assert second.done[0]


def test_noise_has_its_deviation_and_touches_nothing_else() -> None:
    game = societas.make("Fishery") | societas.mechanism("Noise", field="stock", sd=8.0)
    worlds = societas.Worlds(game, 4_000, seed=1)
    for catch in (12, 8, 8):  # 100 -> 80 -> 80 -> 80 tonnes: two and a half deviations below the capacity
        worlds.step({"fisher": {"harvest": np.full((4_000, 5), catch)}})
    assert (worlds.state.base.stock == 80).all()
    error = worlds.view()["fisher"]["stock"] - 80.0
    # rounding adds 1/12 to the variance, clipping at 100 takes a little away
    assert abs(error.mean()) < 4 * 8 / np.sqrt(20_000) + 0.05
    assert abs(error.std() - 8) < 0.25
    assert (worlds.view()["fisher"]["catches"] == 8).all()
