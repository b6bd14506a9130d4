"""The common pool: equilibria and optima against enumeration and best replies, sanctions and what they cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from societas import Game, play, policy
from societas.envs.norms.common_pool import PUBLISHED, CommonPool
from societas.mechanisms.pool_sanction import PoolSanction
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.talk import Talk
from societas.mechanisms.vote import Vote
from societas.testing import check_game, check_mechanism


def everyone(**acts: Any) -> dict[str, Any]:
    return {"user": policy("callable", function=lambda seen: acts)}


# ---- the paper ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endowment", [10, 25])
def test_the_pool_of_ostrom_walker_and_gardner(endowment: int) -> None:
    """F(X) = 23 X - X^2 / 4 and 5 outside: 8 each in equilibrium, 36 are best, and 39% of the largest net yield is left."""
    game = CommonPool(endowment=endowment, repetitions=20)
    assert game.best == 36 and game.largest == 324 and game.equilibria == (64,)
    marks = game.benchmarks()
    assert marks.first_best.value == 20 * 324 and marks.equilibrium.value == 20 * 128
    done = play(game, {"user": policy("equilibrium")}, worlds=2, keep=True)
    np.testing.assert_allclose(done.measures["net_yield"], 32 / 81)
    np.testing.assert_allclose(done.returns["user"], 20 * (5 * (endowment - 8) + 8 * (23 - 16)))
    assert (done.measures["invested"] == 64).all() and (done.measures["overuse"] == 1).all()
    best = play(game, {"user": policy("equilibrium", level="first_best")}, worlds=2)
    np.testing.assert_allclose(best.measures["net_yield"], 1.0)
    np.testing.assert_allclose(best.alignment, 1.0)
    assert (best.measures["overuse"] == 0).all()  # four invest 4 and four 5


def test_what_was_published_is_given_in_shares() -> None:
    for before, after in PUBLISHED.values():
        assert 0.0 <= after <= before <= 1.0


def test_seats_alone_know_their_part() -> None:
    game = CommonPool(repetitions=2)
    done = play(game, {f"user_{i}": policy("equilibrium", level="first_best") for i in range(8)}, worlds=2)
    np.testing.assert_allclose(done.welfare, 2 * 324)


# ---- against other methods ----------------------------------------------------------------------------------------


def rewards(game: CommonPool, invested: tuple[int, ...]) -> list[Fraction]:
    """Payoffs of a round in exact fractions, from the production function."""
    a, b, w = (Fraction(x) for x in (game.gain, game.loss, game.outside))
    pool = sum(invested)
    made = a * pool - b * pool**2
    return [w * (game.endowment - x) + (made * x / pool if pool else 0) for x in invested]


quarters = st.integers(0, 40).map(lambda k: k / 4)


@settings(max_examples=80, deadline=None)
@given(st.integers(2, 3), st.integers(1, 6), quarters, st.integers(1, 12).map(lambda k: k / 8), quarters)
def test_equilibria_and_optimum_by_enumeration(n: int, e: int, over: float, loss: float, outside: float) -> None:
    """Also where the endowment binds, and where tokens make for several equilibria."""
    assume(over > loss)
    game = CommonPool(n, e, outside + over, loss, outside, repetitions=3)
    table = {cell: rewards(game, cell) for cell in itertools.product(range(e + 1), repeat=n)}
    net = {cell: sum(paid) - n * e * Fraction(outside) for cell, paid in table.items()}
    stable = [
        cell
        for cell, paid in table.items()
        if all(table[(*cell[:i], x, *cell[i + 1 :])][i] <= paid[i] for i in range(n) for x in range(e + 1))
    ]
    assert game.equilibria == tuple(sorted({sum(cell) for cell in stable}))
    marks = game.benchmarks()
    assert marks.first_best.value == pytest.approx(3 * float(max(net.values())))
    assert marks.equilibrium.value == pytest.approx(3 * float(min(net[cell] for cell in stable)))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.integers(1, 40), st.floats(0.5, 30.0), st.floats(0.02, 0.4), st.integers(0, 2**32))
def test_best_replies_lead_to_an_equilibrium(n: int, e: int, over: float, loss: float, seed: int) -> None:
    """One after the other replies best, by a search over all tokens, until nobody changes."""
    assume(over > loss * 1.01)
    game = CommonPool(n, e, 2.0 + over, loss, 2.0)
    tokens = np.arange(e + 1)
    invested = np.random.default_rng(seed).integers(0, e + 1, n)
    for _ in range(1000):
        before = invested.copy()
        for i in range(n):
            others = invested.sum() - invested[i]
            pool = others + tokens
            won = 2.0 * (e - tokens) + tokens / np.maximum(pool, 1) * (game.gain * pool - loss * pool**2)
            if won.max() > won[invested[i]] + 1e-9:
                invested[i] = won.argmax()
        if (before == invested).all():
            break
    assert (before == invested).all() and int(invested.sum()) in game.equilibria


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 20), st.floats(1.0, 50.0), st.floats(0.001, 0.01))
def test_with_many_tokens_it_is_that_of_cournot(n: int, over: float, loss: float) -> None:
    """Without a bound X = n D / (n + 1), and 4n / (n + 1)^2 of the largest net yield is left."""
    d = over / loss
    game = CommonPool(n, min(int(d) + 1, 10_000), 1.0 + over, loss, 1.0)
    assume(d < 10_000)
    for pool in game.equilibria:
        assert abs(pool - n * d / (n + 1)) <= n / (n + 1) + 1e-6
    assert abs(game.best - d / 2) <= 0.5 + 1e-6
    exact, span = 4 * n / (n + 1) ** 2, 4 / d  # the slope of b X (D - X) times a token, over the largest
    assert game.benchmarks().equilibrium.value / game.benchmarks().first_best.value == pytest.approx(exact, abs=span)


def test_more_users_leave_less_of_the_pool_and_endowments_bind() -> None:
    shares = []
    for n in range(2, 13):
        marks = CommonPool(users=n, endowment=30).benchmarks()
        shares.append(marks.equilibrium.value / marks.first_best.value)
    assert (np.diff(shares) <= 0).all() and shares[0] > 0.88 > 0.3 > shares[-1]
    bound = {e: CommonPool(endowment=e) for e in (2, 4, 5, 7, 8)}
    assert {e: game.equilibria for e, game in bound.items()} == {2: (16,), 4: (32,), 5: (40,), 7: (56,), 8: (64,)}
    assert {e: game.best for e, game in bound.items()} == {2: 16, 4: 32, 5: 36, 7: 36, 8: 36}
    marks = bound[4].benchmarks()
    assert marks.first_best.value == marks.equilibrium.value == 20 * 32 * (18 - 8)


# ---- the game -----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 8), st.integers(1, 25), st.integers(0, 2**32))
def test_shares_are_in_proportion(n: int, e: int, seed: int) -> None:
    game = CommonPool(n, e)
    invested = np.random.default_rng(seed).integers(0, e + 1, (1, n))
    out = game.step(game.start(np.zeros((1, 0))), {"user": {"investment": invested}}, np.zeros((1, 0)))
    paid = rewards(game, tuple(int(x) for x in invested[0]))
    np.testing.assert_allclose(out.rewards["user"][0], [float(p) for p in paid], atol=1e-9)
    np.testing.assert_allclose(out.welfare, float(sum(paid)) - 5.0 * n * e, atol=1e-9)
    seen = game.view(out.state)["user"]
    assert seen["investments"][0].tolist() == [invested[0].tolist()] * n and (seen["invested"] == invested).all()
    np.testing.assert_allclose(seen["pay"], out.rewards["user"])


def test_sanctions_lower_what_is_left_of_the_yield() -> None:
    """Eight invest 5, of which user_0 is sanctioned by seven: 40 x 8 of 324 before costs, 7 x 25 less after."""
    game = CommonPool(repetitions=2) | Sanction(cost=5.0, fine=20.0)
    done = play(game, everyone(investment=5, punish="user_0"), worlds=2)
    np.testing.assert_allclose(done.measures["net_yield"], 320 / 324)
    np.testing.assert_allclose(CommonPool(repetitions=2).of_largest(done.welfare), (320 - 7 * 25) / 324)


@pytest.mark.parametrize(("votes", "chosen"), [(5, 1.0), (4, 0.0)])
def test_talk_and_chosen_sanctions(votes: int, chosen: float) -> None:
    """A fine of 20 is in force if more than half vote for it; who overuses is then sanctioned by one other."""
    game = CommonPool(repetitions=3) | Talk() | Vote(Sanction(cost=2.5, fine=0.0), "fine", (0.0, 20.0))
    assert [stage.name for stage in game.stages] == ["vote", "talk", "act", "sanction"]
    said = game.role("user").acts

    def sharing(seat: int) -> Any:
        def decide(seen: dict[str, Any]) -> dict[str, Any]:
            fined = seen["in_force"] == "20"
            return {
                "ballot": "20" if seat < votes else "0",
                "investment": 10 if seat == 0 else 4,
                "punish": "user_0" if seat == 1 and fined else "nobody",
            }

        return policy("callable", function=decide)

    done = play(game, {f"user_{i}": sharing(i) for i in range(8)}, worlds=2)
    assert (done.measures["option_chosen"] == chosen).all() and (done.measures["sanctions"] == 3 * chosen).all()
    net = 38 * (18 - 38 / 4)
    np.testing.assert_allclose(done.measures["net_yield"], net / 324)
    np.testing.assert_allclose(done.welfare, 3 * (net - 22.5 * chosen))
    assert {"say", "ballot", "investment", "punish"} == {field.name for field in said}


def test_examined_under_institutions() -> None:
    game = CommonPool(users=3, repetitions=2)
    check_mechanism(Vote(Sanction(cost=2.5), "fine", (0.0, 10.0, 20.0)), game | Talk(), worlds=12)
    check_mechanism(Sanction(points=5), game | Talk(), worlds=12)
    check_mechanism(PoolSanction("invested", limit=4, cost=1.0, fine=5.0), game, worlds=12)


def test_a_pool_of_fines_restores_what_is_best() -> None:
    """Four tokens each: one more wins 23 - 8.25 - 5 - 4 / 4 = 8.75, less than a fine of 10 from one who paid in."""
    game = CommonPool(repetitions=1) | PoolSanction("invested", limit=4, cost=1.0, fine=10.0)
    returns = []
    for mine in (4, 5):
        others = policy("callable", function=lambda seen: {"investment": 4, "join": "pay in"})
        own = policy("callable", function=lambda seen, x=mine: {"investment": x, "join": "stay out"})
        cast = {"user": others, "user_0": own}
        returns.append(play(game, cast, worlds=1).returns["user"][0, 0])
    assert returns[1] - returns[0] == pytest.approx(8.75 - 70)


VARIANTS: list[dict[str, Any]] = [
    {"endowment": 25, "repetitions": 3},
    {"users": 2, "gain": 2.5, "outside": 2.0, "repetitions": 3},
    {"users": 3, "endowment": 2, "repetitions": 2},
    {"users": 5, "endowment": 40, "gain": 10.0, "loss": 0.07, "outside": -1.5, "repetitions": 4},
]


@pytest.mark.parametrize("options", [{}, *VARIANTS])
def test_examined(options: dict[str, Any]) -> None:
    check_game(CommonPool(**options), worlds=32)


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(CommonPool(users=3, repetitions=3))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"users": 1}, "users: a whole number from 2 to 100, got 1"),
        ({"endowment": 0}, "endowment: a whole number from 1 to 10000, got 0"),
        ({"loss": 0.0}, "loss: a number from 1e-06 to 1e.06, got 0.0"),
        ({"gain": 5.25}, "gain: above outside . loss = 5.25, got 5.25; else no token is worth investing"),
        ({"gain": "23"}, "gain: a number from .* got '23'"),
        ({"repetitions": 0}, "repetitions: .* got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CommonPool(**wrong)
