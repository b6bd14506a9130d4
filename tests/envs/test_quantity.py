"""Quantity competition: Cournot, Stackelberg, best responses on a grid, a corrective subsidy, books that balance."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas import Game, Worlds, play, policy
from societas.envs.core.words import ActError
from societas.envs.markets.quantity import Quantity
from societas.mechanisms.subsidy import Subsidy
from societas.testing import check_game

VARIANTS: list[dict[str, Any]] = [
    {},
    {"firms": 3, "leaders": 1, "repetitions": 3},
    {"firms": 5, "leaders": 3, "a": 100.0, "b": 0.5, "c": 20.0},
    {"firms": 1, "repetitions": 2},
]


@st.composite
def markets(draw: st.DrawFn) -> Quantity:
    """Markets of up to eight firms."""
    firms, a = draw(st.integers(1, 8)), draw(st.floats(0.5, 50.0))
    c = a * draw(st.floats(0.0, 0.9))
    return Quantity(firms, draw(st.integers(0, firms - 1)), a, draw(st.floats(0.1, 5.0)), c)


def decided(game: Quantity, made: Any) -> Any:
    """Play one round in which the firms, leaders first, make quantities (worlds, n); return the outcomes of its stages."""
    made, state, m = np.asarray(made, dtype=float), game.start(np.zeros((len(made), 0))), game.leaders
    acts = {"leader": made[:, :m], "follower": made[:, m:]} if m else {"firm": made}
    outcomes = []
    for _ in game.stages:
        outcomes.append(game.step(state, {role: {"quantity": q} for role, q in acts.items()}, np.zeros((len(made), 0))))
        state = outcomes[-1].state
    return outcomes


def profits(game: Quantity, made: Any) -> Any:
    rewards = decided(game, made)[-1].rewards
    return np.concatenate([rewards[role.name] for role in game.roles], axis=-1)


# ---- closed forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 10, 100])
def test_cournot(n: int) -> None:
    game = Quantity(n)
    marks = game.benchmarks()
    found = play(game, {"firm": policy("equilibrium")})
    assert found.measures["output"][0] == pytest.approx(n / (n + 1))
    assert found.measures["price"][0] == pytest.approx(1 / (n + 1))
    assert found.measures["profit"][0] == pytest.approx(1 / (n + 1) ** 2)
    assert marks.first_best.value == 0.5
    assert marks.equilibrium.value / marks.first_best.value == pytest.approx(1 - 1 / (n + 1) ** 2)
    assert marks.levels["cartel"].value / marks.first_best.value == 0.75  # a monopoly's, whatever n


def test_stackelberg_leads_with_half_and_is_followed_by_a_quarter() -> None:
    game = Quantity(2, leaders=1)
    found = play(game, {"leader": policy("equilibrium"), "follower": policy("equilibrium")}, keep=True)
    assert found.moments[0].acts["leader"]["quantity"][0] == pytest.approx(0.5)
    assert found.moments[1].acts["follower"]["quantity"][0] == pytest.approx(0.25)
    assert found.returns["leader"][0, 0] == pytest.approx(1 / 8) and found.returns["follower"][0, 0] == pytest.approx(
        1 / 16
    )
    marks = game.benchmarks()
    assert marks.equilibrium.value / marks.first_best.value == pytest.approx(15 / 16)


@pytest.mark.parametrize(("n", "m"), [(3, 1), (4, 2), (6, 5)])
def test_hierarchy(n: int, m: int) -> None:
    a, b, c = 30.0, 2.0, 6.0
    game = Quantity(n, m, a, b, c)
    found = play(game, {"leader": policy("equilibrium"), "follower": policy("equilibrium")}, keep=True)
    efficient = (a - c) / b
    np.testing.assert_allclose(found.moments[0].acts["leader"]["quantity"], efficient / (m + 1))
    np.testing.assert_allclose(found.moments[1].acts["follower"]["quantity"], efficient / ((m + 1) * (n - m + 1)))
    marks = game.benchmarks()
    lost = 1 - marks.equilibrium.value / marks.first_best.value
    assert lost == pytest.approx(1 / ((m + 1) * (n - m + 1)) ** 2)


@settings(max_examples=40, deadline=None)
@given(markets())
def test_nobody_gains_by_another_quantity(game: Quantity) -> None:
    n, m, grid = game.firms, game.leaders, np.linspace(0.0, game.most, 1_201)
    lead = game.efficient / (m + 1)
    follow = game.efficient / ((m + 1) * (n - m + 1))
    base = np.array([[lead] * m + [follow] * (n - m)])
    reached = profits(game, base)[0]
    scale = game.a**2 / game.b
    alone = np.repeat(base, len(grid), axis=0)  # a follower, or a firm of Cournot's: the others stay
    alone[:, -1] = grid
    assert profits(game, alone)[:, -1].max() <= reached[-1] + 1e-9 * scale
    if m:  # the followers answer what the leaders make
        led = np.repeat(base, len(grid), axis=0)
        led[:, 0] = grid
        led[:, m:] = game.reply(led[:, :m].sum(axis=1))[:, None]
        assert profits(game, led)[:, 0].max() <= reached[0] + 1e-9 * scale
        for total in np.linspace(0.0, 1.5 * game.efficient, 7):  # and their answer is an equilibrium of what is left
            answer = float(game.reply(np.asarray(total)))
            replies = np.array([[total / m] * m + [answer] * (n - m)] * (1 + len(grid)))
            replies[1:, -1] = grid
            if total / m <= game.most:
                paid = profits(game, replies)[:, -1]
                assert paid[1:].max() <= paid[0] + 1e-9 * scale


@settings(max_examples=30, deadline=None)
@given(markets(), st.data())
def test_no_output_is_worth_more_than_the_efficient_one(game: Quantity, data: st.DataObject) -> None:
    shares = data.draw(st.lists(st.floats(0.0, 1.0), min_size=game.firms, max_size=game.firms))
    welfare = decided(game, [[share * game.most for share in shares]])[-1].welfare[0]
    assert welfare <= game.benchmarks().first_best.value + 1e-9 * game.a**2 / game.b


# ---- comparative statics ------------------------------------------------------------------------------------------


def test_more_firms_and_a_leader_serve_consumers() -> None:
    levels = [Quantity(n).benchmarks().equilibrium.value for n in range(1, 9)]
    assert all(one < more for one, more in itertools.pairwise(levels))
    for n in (2, 4, 8):
        assert Quantity(n, leaders=1).benchmarks().equilibrium.value > Quantity(n).benchmarks().equilibrium.value
    best = max(range(8), key=lambda m: Quantity(8, m).benchmarks().equilibrium.value)
    assert best == 4  # (m + 1) (n - m + 1) is largest at m = n / 2: leaders discipline followers, and these leaders


def test_a_subsidy_makes_the_efficient_output_an_equilibrium() -> None:
    game = Quantity(3, a=12.0, b=2.0, c=4.0)
    rate = game.b * game.efficient / game.firms  # marginal revenue falls short of the price by b q
    under = game | Subsidy("produced", rate, financed="outside")

    def returns(own: float) -> float:
        players = {"firm_0": own, "firm_1": game.efficient / 3, "firm_2": game.efficient / 3}
        policies = {name: policy("callable", function=lambda seen, q=q: {"quantity": q}) for name, q in players.items()}
        return float(play(under, policies).returns["firm"][0, 0])

    grid = np.linspace(0.0, game.most, 61)
    assert grid[np.argmax([returns(q) for q in grid])] == pytest.approx(game.efficient / 3, abs=grid[1])
    assert returns(game.efficient / 3) >= max(map(returns, grid))


# ---- what may be done ---------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(markets(), st.data())
def test_money_and_goods_are_conserved(game: Quantity, data: st.DataObject) -> None:
    one = st.sampled_from([0.0, 1.0, 1e-12]) | st.floats(0.0, 1.0)  # as shares of the most that can be made
    made = np.array([[game.most * data.draw(one) for _ in range(game.firms)]])
    outcome = decided(game, made)[-1]
    state, output = outcome.state, made.sum()
    spent, cost = float(state.memory["price"][0]) * output, game.c * output
    paid = sum(float(reward.sum()) for reward in outcome.rewards.values())
    assert paid == pytest.approx(spent - cost, abs=1e-9 * game.a**2 / game.b)
    np.testing.assert_array_equal(state.memory["quantities"], made)
    sold = min(output, game.most)  # what is made beyond a / b is worth nothing to anyone
    worth = game.a * sold - game.b * sold**2 / 2
    assert outcome.welfare[0] == pytest.approx(worth - cost, abs=1e-9 * game.a**2 / game.b)
    if not output:
        assert outcome.welfare[0] == 0.0


def test_followers_see_what_leaders_make_and_nothing_of_each_other() -> None:
    game = Quantity(5, leaders=2, repetitions=2)
    outcome = decided(game, [[0.1, 0.2, 0.3, 0.4, 0.05]])[0]
    seen = game.view(outcome.state)
    np.testing.assert_allclose(seen["follower"]["leading"], [[0.3] * 3])
    assert "leading" not in seen["leader"] and not seen["follower"]["quantities"].any()
    after = game.view(decided(game, [[0.1, 0.2, 0.3, 0.4, 0.05]])[1].state)
    np.testing.assert_allclose(after["leader"]["quantities"], [[[0.1, 0.2, 0.3, 0.4, 0.05]] * 2])
    np.testing.assert_allclose(after["follower"]["produced"], [[0.3, 0.4, 0.05]])
    assert after["leader"]["price"][0, 0] == 0.0  # more than a / b was made


def test_repetitions_repeat_the_round() -> None:
    once, often = Quantity(3, 1), Quantity(3, 1, repetitions=7)
    found = play(often, {"leader": policy("equilibrium"), "follower": policy("equilibrium")})
    assert found.length[0] == 14 and found.welfare[0] == pytest.approx(7 * once.benchmarks().equilibrium.value)
    assert found.alignment[0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1, np.inf])
def test_quantities_out_of_range_are_refused_by_name(value: float) -> None:
    worlds = Worlds(Quantity())
    with pytest.raises(ActError, match=r"firm: quantity: .* from 0 to 1"):
        worlds.step({"firm": {"quantity": np.array([[0.1, value]])}})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"firms": 0}, "firms: a whole number from 1 to 100"),
        ({"firms": 2, "leaders": 2}, "leaders: a whole number from 0 to 1"),
        ({"a": 0.0}, "a: a number from 1e-06"),
        ({"b": -1.0}, "b: a number from 1e-06"),
        ({"c": float("nan")}, "c: a number from 0"),
        ({"a": 2.0, "c": 2.0}, "c: at most 1.998, or nobody produces at a=2, got 2.0"),
        ({"repetitions": True}, "repetitions: a whole number from 1"),
    ],
)
def test_parameters_out_of_range(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Quantity(**wrong)


# ---- the examiner -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameters", VARIANTS, ids=str)
def test_examined(parameters: dict[str, Any]) -> None:
    check_game(Quantity(**parameters))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Quantity(5, 3, repetitions=2))
