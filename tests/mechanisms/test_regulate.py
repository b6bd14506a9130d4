"""Regulate: caps, floors, mandates, and a deviation that is forced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import acts_of

from societas import Unfit, Worlds, make, play, policy
from societas.envs.markets.pricing import Pricing
from societas.mechanisms.commit import Commit
from societas.mechanisms.contract import Contract
from societas.mechanisms.monitor import Monitor
from societas.mechanisms.noise import Noise
from societas.mechanisms.regulate import Regulate
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.terms import Quota
from societas.policies.calvano import Calvano
from societas.testing import check_mechanism

COOPERATE, DEFECT = 0, 1


def does(**fixed: Any) -> Any:
    return policy("callable", function=lambda seen: fixed)


@pytest.mark.parametrize(
    ("low", "high", "asked", "done"),
    [(None, 12.0, 30, 12), (None, 12.9, 30, 12), (None, 12.0, 5, 5), (6.5, None, 5, 7), (8.0, 8.0, 30, 8)],
)
def test_whole_numbers_are_brought_within_the_limits(low: Any, high: Any, asked: int, done: int) -> None:
    base = make("Fishery", months=2)
    one = play(base | Regulate("harvest", low, high), {"fisher": does(harvest=asked)}, worlds=4, seed=3)
    other = play(base, {"fisher": does(harvest=done)}, worlds=4, seed=3)
    np.testing.assert_array_equal(one.returns["fisher"], other.returns["fisher"])
    np.testing.assert_array_equal(one.welfare, other.welfare)


def test_real_numbers_and_components() -> None:
    for name, field, role in (("SealedBid", "bid", "bidder"), ("Multitask", "effort", "agent")):
        game = make(name)
        high = game.role(role).acts[-1].space.high / 4
        under = game | Regulate(field, high=high)
        acts = acts_of(game, 3, **{field: 3 * high})
        bent = under.bend((), game.start(np.full((3, game.draws), 0.5)), acts, None)  # type: ignore[attr-defined]
        assert (bent[role][field] == high).all() and bent[role][field].shape == acts[role][field].shape


def test_a_price_cap_takes_the_highest_price_that_is_allowed() -> None:
    game = Pricing(prices=5, periods=1)
    under = game | Regulate("price", high=1.6) | Monitor("price")
    for k, price in enumerate(game.grid):
        worlds = Worlds(under, 1)
        worlds.step(acts_of(under, 1, price=k))
        carried = int(worlds.view()["firm"]["own"][0, 0])
        assert game.grid[carried] <= 1.6 and (carried == k or (price > 1.6 and game.grid[carried + 1] > 1.6))
    floor = game | Regulate("price", low=1.6, high=1.9)
    done = play(floor, {"firm_0": does(price=game.role("firm").acts[0].space.options[0]), "firm": policy("random")})  # type: ignore[union-attr]
    assert done.measures["price"].min() > 1.6


def test_a_move_is_forced_in_one_round_and_on_one_player() -> None:
    game = make("MatrixGame", repetitions=4) | Regulate("action", option="defect", rounds=(2, 4), who=("player_1",))
    done = play(game, {"player": does(action="cooperate")}, keep=True)
    assert [m.rewards["player"][0].tolist() for m in done.moments] == [[3, 3], [0, 5], [3, 3], [0, 5]]
    assert [m.seen["player"]["regulated_action"][0].tolist() for m in done.moments] == [[0, 0], [1, 1], [0, 0], [1, 1]]
    assert 'In rounds 2 and 4 the action of player_1 is "defect".' in game.about


def test_a_forced_deviation_is_that_of_the_learners() -> None:
    """What Calvano's learners do after one undercuts, as their own tables tell it, and as it is played."""
    game = Pricing(prices=4, periods=12)
    learned = Calvano(beta=1e-3, window=2_000).learn(game, "firm", sessions=6, seed=4)
    option = game.role("firm").acts[0].space.options[0]  # type: ignore[union-attr]
    under = game | Regulate("price", option=option, rounds=(5,), who=("firm_0",))
    done = play(under, {"firm": learned}, worlds=6, seed=2, keep=True)
    first = done.moments[0].seen["firm"]["prices"][:, 0]
    start = first[:, 0] * 4 + first[:, 1]
    forced, free = (learned.path(12, start, forced) for forced in ({(4, 0): 0}, None))
    np.testing.assert_allclose(done.returns["firm"], forced.pay.sum(axis=1), rtol=1e-12)
    assert (forced.profiles != free.profiles).any()


def test_what_is_carried_out_is_found_and_owed_for() -> None:
    base = make("Fishery", months=2)
    found = play(
        base | Monitor("harvest") | Regulate("harvest", high=7), {"fisher": does(harvest=20)}, worlds=2, keep=True
    )
    assert (found.moments[-1].seen["fisher"]["found_harvest"] == 7).all()
    outside = base | Regulate("harvest", high=7) | Monitor("harvest")
    found = play(outside, {"fisher": does(harvest=20)}, worlds=2, keep=True)
    assert (found.moments[-1].seen["fisher"]["found_harvest"] == 20).all()
    agreed = base | Regulate("harvest", high=7) | Contract(Quota(limit=8, fine=3.0))
    assert (play(agreed, {"fisher": policy("random")}, worlds=20).measures["breaches"] == 0).all()


def test_examined_among_others() -> None:
    base = make("Fishery", months=3)
    rule = Regulate("harvest", 2, 9.5, rounds=(1, 3), who=("fisher_0", "fisher_3"))
    for game in (
        base | Noise("stock", 4.0),
        base | Sanction(),
        base | Commit("harvest"),
        base | Regulate("harvest", 1),
    ):
        check_mechanism(rule, game, null=Regulate("harvest"), worlds=8)


def test_nobody_is_asked_in_one_world_or_many() -> None:
    game = make("Fishery", months=3) | Regulate("harvest", high=5, rounds=(2,))
    one, many = (play(game, {"fisher": policy("random")}, worlds=worlds, seed=1) for worlds in (1, 16))
    np.testing.assert_array_equal(one.returns["fisher"], many.returns["fisher"][:1])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Regulate("harvest", 5, 3), "low: at most high=3, got 5"),
        (lambda: Regulate("harvest", float("nan")), "low: a number from -inf to inf, got nan"),
        (lambda: Regulate("action", high=1, option="defect"), "option: empty where there are limits, got 'defect'"),
        (lambda: Regulate("harvest", high=1, rounds=(0,)), "rounds: a whole number from 1 to 1000000000, got 0"),
        (
            lambda: Regulate("harvest", high=1, rounds=(2, 2)),
            "rounds: a list of different rounds, empty for every round",
        ),
        (lambda: make("Fishery") | Regulate("catch", high=1), "nobody in Fishery decides 'catch'; there are: harvest"),
        (
            lambda: make("Fishery") | Regulate("harvest", low=101),
            "'harvest' is a whole number from 0 to 100 and never at",
        ),
        (lambda: make("Fishery") | Regulate("harvest", 3.2, 3.8), "and never from 3.2 to 3.8"),
        (
            lambda: make("Fishery") | Regulate("harvest", option="all"),
            "option: 'all' must be an option of field 'harvest'",
        ),
        (lambda: make("MatrixGame") | Regulate("action", high=1), "which are words; name options instead"),
        (
            lambda: make("MatrixGame") | Regulate("action", option="d"),
            "option: 'd' must be an option of field 'action'",
        ),
        (lambda: Pricing() | Regulate("price", high=1.0), "no option of 'price' is at most 1; it is one of"),
        (lambda: make("Fishery") | Regulate("harvest", 1, who=("eel",)), "who: eel does not decide 'harvest'"),
    ],
)
def test_errors_say_what_to_do(wrong: Callable[[], Any], words: str) -> None:
    with pytest.raises((ValueError, Unfit)) as caught:
        wrong()
    assert words in str(caught.value)
