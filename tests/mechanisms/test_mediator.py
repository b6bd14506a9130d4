"""A mediator who plays for those who delegate: what it plays, and that delegating is an equilibrium."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from societas import Game, mechanism, play, policy
from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.contracting.relational import Relational
from societas.envs.core.mechanism import Unfit
from societas.envs.core.solve import pure_nash
from societas.envs.norms.fishery import Fishery
from societas.envs.norms.matrix_game import MatrixGame
from societas.mechanisms.mediator import Mediator
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.talk import Talk
from societas.testing import check_mechanism

TIT = Mediator({"action": "cooperate"}, {"action": "defect"})
DELEGATE = 2


def mediated(base: MatrixGame, mediator: Mediator = TIT) -> np.ndarray[Any, Any]:
    """Payoffs (players, 3, 3, ...) of the mediated game, by playing it: the base game's two actions, and delegating."""
    game = base | mediator
    cells = list(itertools.product(range(3), repeat=base.n))
    chosen = np.array(cells)
    u = np.zeros((len(cells), 0))
    entrust = (chosen == DELEGATE).astype(int)
    tables = []
    for idle in (0, 1):
        acts = {"player": {"entrust": entrust, "action": np.where(entrust == 1, idle, chosen)}}
        first = game.step(game.start(u), acts, u)
        outcome = game.step(first.state, acts, u)
        assert outcome.done.all() and (first.rewards["player"] == 0).all()
        np.testing.assert_array_equal(outcome.welfare, outcome.rewards["player"].sum(axis=1))
        tables.append(outcome.rewards["player"].T.reshape((base.n, *(3,) * base.n)))
    np.testing.assert_array_equal(*tables)  # what who delegates would have done does not matter
    return tables[0]


def test_the_mediated_prisoners_dilemma() -> None:
    """Monderer and Tennenholtz (2009): against who delegates, defecting gives 1 and delegating 3; delegating is dominant."""
    table = mediated(MatrixGame.prisoners_dilemma())
    np.testing.assert_array_equal(table[0], [[3, 0, 0], [5, 1, 1], [5, 1, 3]])
    np.testing.assert_array_equal(table[1], table[0].T)
    assert (DELEGATE, DELEGATE) in pure_nash(table)
    assert (table[0, DELEGATE] >= table[0]).all()
    assert pure_nash(MatrixGame.prisoners_dilemma().table) == [(1, 1)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-20, 20), min_size=4, max_size=4))
def test_delegating_is_an_equilibrium_where_punishment_is_worse(payoffs: list[int]) -> None:
    """In any symmetric game of two: all delegate in equilibrium if and only if R is at least max(S, P), what is left against
    who is punishing."""
    R, S, T, P = payoffs
    base = MatrixGame((((R, S), (T, P)), ((R, T), (S, P))))
    assert ((DELEGATE, DELEGATE) in pure_nash(mediated(base))) == (max(S, P) <= R)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_no_coalition_gains_in_a_common_pool(seed: int) -> None:
    """A strong equilibrium: in a linear dilemma of three no group of players does better for all its members."""
    rng = np.random.default_rng(seed)
    n, value = 3, float(rng.uniform(1 / 3, 1))
    assume(value > 1 / n + 1e-6)
    table = np.zeros((n, *(2,) * n))
    for cell in np.ndindex(*(2,) * n):
        given_ = [1 - a for a in cell]  # the first action gives 1, worth `value` to each
        table[(slice(None), *cell)] = [value * sum(given_) - g for g in given_]
    base = MatrixGame(table.tolist(), ("give", "keep"))
    payoffs = mediated(base, Mediator({"action": "give"}, {"action": "keep"}))
    all_in = payoffs[(slice(None), *(DELEGATE,) * n)]
    np.testing.assert_allclose(all_in, n * value - 1)
    for cell in itertools.product(range(3), repeat=n):
        left = [i for i, a in enumerate(cell) if a != DELEGATE]
        if left:
            assert any(payoffs[(i, *cell)] <= all_in[i] + 1e-12 for i in left)


def test_what_is_played_for_whom() -> None:
    """Four of five delegate: they take 20 each, the fifth what it wants; when all do, 10 each."""
    game = Fishery(months=2) | Mediator({"harvest": 10}, {"harvest": 20})
    cast: dict[str, Any] = {"fisher": policy("callable", function=lambda seen: {"entrust": "delegate", "harvest": 3})}
    done = play(game, cast, worlds=2, keep=True)
    np.testing.assert_array_equal(done.returns["fisher"], 20.0)
    assert (done.measures["delegation"] == 1).all() and (done.measures["mediated"] == 1).all()
    cast["fisher_0"] = policy("callable", function=lambda seen: {"entrust": "act alone", "harvest": 7})
    done = play(game, cast, worlds=2, keep=True)
    np.testing.assert_array_equal(done.moments[1].rewards["fisher"], [[7.0, 20.0, 20.0, 20.0, 20.0]] * 2)
    np.testing.assert_allclose(done.measures["delegation"], 0.8)
    assert (done.measures["mediated"] == 0).all()
    here = [moment.seen["fisher"] for moment in done.moments]
    assert (here[1]["entrusted"] == 2).all()  # not revealed before the round is played
    np.testing.assert_array_equal(here[1]["mediator"], [[0, 1, 1, 1, 1]] * 2)
    np.testing.assert_array_equal(here[2]["entrusted"][0, 0], [0, 1, 1, 1, 1])
    assert (here[2]["mediator"] == 0).all()


def test_without_a_punishment_those_who_delegated_are_free() -> None:
    game = Fishery(months=1) | Mediator({"harvest": 10})
    cast: dict[str, Any] = {"fisher": policy("callable", function=lambda seen: {"entrust": "delegate", "harvest": 4})}
    cast["fisher_1"] = policy("callable", function=lambda seen: {"entrust": "act alone", "harvest": 5})
    np.testing.assert_array_equal(play(game, cast, worlds=1).returns["fisher"], [[4.0, 5.0, 4.0, 4.0, 4.0]])


def test_roles_and_components() -> None:
    """The mediator pays 1 and 4, accepts and works hard, whatever those who delegate would have done."""
    pay = (1.0, 4.0)
    mediator = Mediator((("principal.pay", pay), ("accept", "accept"), ("agent.effort", "high")))
    base = HiddenAction()
    cast = {
        "principal": policy("callable", function=lambda seen: {"entrust": "delegate", "pay": [0.0, 0.0]}),
        "agent": policy("callable", function=lambda seen: {"entrust": "delegate", "accept": "refuse", "effort": "low"}),
    }
    done = play(base | mediator, cast, worlds=400, seed=3)
    alone = {
        "principal": policy("callable", function=lambda seen: {"pay": list(pay)}),
        "agent": policy("callable", function=lambda seen: {"accept": "accept", "effort": "high"}),
    }
    same = play(base, alone, worlds=400, seed=3)
    np.testing.assert_array_equal(done.returns["agent"], same.returns["agent"])
    np.testing.assert_array_equal(done.welfare, same.welfare)
    assert (done.measures["accepted"] == 1).all() and 0.7 < (done.returns["agent"] == 1.0).mean() < 0.9


GAMES: tuple[Game, ...] = (
    Fishery(months=5),
    HiddenAction(),
    MatrixGame(repetitions=4),
    Relational(delta=0.3, repetitions=10),
)


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.name)
def test_examined(game: Game) -> None:
    check_mechanism(Mediator.suited(game), game, null=Mediator(), worlds=12)
    stacked = game | Talk() | Sanction()
    check_mechanism(Mediator(Mediator.suited(game).together), stacked, null=Mediator(), worlds=8)
    check_mechanism(Talk(), game | Mediator.suited(game), worlds=8)


def test_chance_is_drawn_where_what_the_mediator_plays_asks_for_it() -> None:
    """The lake is emptied by the mediator alone, so that it is shared out at random."""
    game = Fishery(months=1) | Mediator({"harvest": 60})
    acts = {"fisher": {"entrust": np.ones((1, 5), dtype=int), "harvest": np.zeros((1, 5), dtype=int)}}
    state = game.step(game.start(np.zeros((1, game.draws))), acts, np.zeros((1, game.draws))).state
    assert game.uncertain(state, acts) and not game.base.uncertain(state.base, acts)  # type: ignore[attr-defined]


def test_refusals() -> None:
    base = MatrixGame(repetitions=2)
    for orders, words in (
        ({"move": "defect"}, "together: nobody in MatrixGame decides 'move'; there are: player.action"),
        ({"firm.action": "defect"}, "together: nobody in MatrixGame decides 'firm.action'"),
        ({"action": "betray"}, "together: action is one of .*, got 'betray'"),
        ({"action": 1}, "together: action is one of .*, got 1"),
        ({"action": ("defect", "defect")}, "together: action has no components, got"),
    ):
        with pytest.raises(Unfit, match=words):
            _ = base | Mediator(orders)  # type: ignore[arg-type]
    for value in (-1, 101, 2.5, True, "ten"):
        with pytest.raises(Unfit, match="apart: harvest is a whole number from 0 to 100, got"):
            _ = Fishery() | Mediator(apart=(("harvest", value),))
    with pytest.raises(Unfit, match="together: pay has 2 components, got"):
        _ = HiddenAction() | Mediator((("pay", (1.0, 2.0, 3.0)),))
    with pytest.raises(ValueError, match="together: pairs of an act field and what is played in it"):
        Mediator(("harvest", 3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="apart: each field once"):
        Mediator(apart=(("harvest", 3), ("harvest", 4)))
    assert Mediator([["pay", [1.0, 2.0]]]) == Mediator((("pay", (1.0, 2.0)),))  # type: ignore[arg-type]
    assert hash(TIT) == hash(Mediator((("action", "cooperate"),), (("action", "defect"),)))
    with pytest.raises(ValueError, match="stage names must be distinct"):
        _ = (base | TIT | mechanism("Talk") | TIT).stages
