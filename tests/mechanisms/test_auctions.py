"""Rights that are auctioned: who gets them, who pays, and what it is best to bid."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas import Game, play, policy
from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.contracting.relational import Relational
from societas.envs.core.mechanism import Unfit
from societas.envs.markets.pricing import Pricing
from societas.envs.norms.fishery import Fishery
from societas.envs.norms.matrix_game import MatrixGame
from societas.mechanisms.rights_auction import RightsAuction
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.talk import Talk
from societas.testing import check_mechanism

Host = np.ndarray[Any, Any]


def worth(values: tuple[float, ...]) -> MatrixGame:
    """A game in which acting is worth a value of her own to each player, whatever others do, and not acting 0."""
    n = len(values)
    table = np.zeros((n, *(2,) * n))
    for cell in np.ndindex(*(2,) * n):
        table[(slice(None), *cell)] = [value * a for value, a in zip(values, cell, strict=True)]
    return MatrixGame(table.tolist(), ("wait", "act"))


def sold(
    values: tuple[float, ...], bids: Host, auction: RightsAuction, lots: Host | None = None
) -> tuple[Host, Host, Any]:
    """Play an episode in which all would act: returns (worlds, players) and welfare (worlds), and the last outcome."""
    game = worth(values) | auction
    u = np.full((len(bids), game.draws), 0.5) if lots is None else lots
    acts = {"player": {"right_bid": bids, "action": np.ones(bids.shape, dtype=np.int64)}}
    first = game.step(game.start(u), acts, u)
    second = game.step(first.state, acts, u)
    assert second.done.all() and not first.done.any()
    return first.rewards["player"] + second.rewards["player"], first.welfare + second.welfare, second


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 50), min_size=2, max_size=5),
    st.integers(1, 4),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_arithmetic(bids: list[float], rights: int, returned: float, seed: int) -> None:
    """Against a plain sale: sort, sell, pay the first losing bid, share what is returned."""
    n = len(bids)
    auction = RightsAuction(rights, "action", returned=returned, most=50.0)
    if rights >= n:
        base = worth((1.0,) * n)
        assert base | auction is base
        return
    lots = np.random.default_rng(seed).random((1, n))
    values = tuple(range(1, n + 1))
    paid, welfare, last = sold(values, np.array([bids]), auction, lots)
    order = sorted(range(n), key=lambda i: (-bids[i], -lots[0, i]))
    price = bids[order[rights]]
    expected = np.full(n, returned * price * rights / n)
    for i in order[:rights]:
        expected[i] += values[i] - price
    np.testing.assert_allclose(paid[0], expected, atol=1e-9)
    np.testing.assert_allclose(paid.sum(), welfare[0], atol=1e-9)
    won = [int(i in order[:rights]) for i in range(n)]
    game = worth(values) | auction
    seen = game.view(last.state)["player"]
    np.testing.assert_array_equal(seen["right"], [won])
    np.testing.assert_array_equal(seen["rights"], [[won] * n])
    assert (seen["right_price"] == price).all()
    measured = game.measures(last.state)
    assert measured["right_price"] == price and measured["right_revenue"] == price * rights
    np.testing.assert_allclose(measured["first_action"], 1 - rights / n)


GRID = np.arange(0.0, 6.0)


@pytest.mark.parametrize("rights", [1, 2])
def test_truth_is_dominant_where_nothing_is_returned(rights: int) -> None:
    """Vickrey (1961): every value, every bid of the two others, every own bid on a grid, ties by every lot."""
    auction = RightsAuction(rights, "action", returned=0.0)
    for value in GRID:
        cells = np.array(list(itertools.product(GRID, repeat=3)))  # own bid, and the two others'
        for lot in ([0.1, 0.5, 0.9], [0.9, 0.5, 0.1]):
            u = np.broadcast_to(np.array(lot), (len(cells), 3))
            values = (float(value), 3.0, 3.0)
            lying = sold(values, cells, auction, u)[0][:, 0]
            honest = sold(values, np.c_[np.full(len(cells), value), cells[:, 1:]], auction, u)[0][:, 0]
            assert (honest >= lying - 1e-12).all() and (honest > lying + 1e-12).any()


def test_a_loser_may_bid_the_price_up_where_the_revenue_is_returned() -> None:
    """Two rights, worth 5, 4 and 1: with the truth the third gets 2/3 of its own bid back; at 3.5 it gets 7/3."""
    auction = RightsAuction(2, "action")
    paid, welfare, _ = sold((5.0, 4.0, 1.0), np.array([[5.0, 4.0, 1.0], [5.0, 4.0, 3.5]]), auction)
    np.testing.assert_allclose(paid[:, 2], [2 / 3, 7 / 3])
    np.testing.assert_allclose(welfare, [9.0, 9.0])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=4, max_size=4, unique=True), st.integers(1, 3))
def test_honest_bids_bring_rights_to_those_who_value_them_most(values: list[int], rights: int) -> None:
    _, welfare, _ = sold(tuple(map(float, values)), np.array([values], dtype=float), RightsAuction(rights, "action"))
    assert welfare[0] == sum(sorted(values)[-rights:])
    _, burnt, _ = sold(
        tuple(map(float, values)), np.array([values], dtype=float), RightsAuction(rights, "action", returned=0)
    )
    assert burnt[0] == welfare[0] - rights * sorted(values)[-rights - 1]


def test_equal_bids_are_drawn_for() -> None:
    lots = np.random.default_rng(0).random((6000, 3))
    _, _, last = sold((1.0, 1.0, 1.0), np.full((6000, 3), 2.0), RightsAuction(2, "action"), lots)
    held = last.state.own.held
    assert (held.sum(axis=1) == 2).all()
    np.testing.assert_allclose(held.mean(axis=0), 2 / 3, atol=4 * np.sqrt(2 / 9 / 6000))


def test_few_permits_keep_the_lake_alive() -> None:
    """Who would take 25 tonnes each empty the lake in the first month; with two rights half of it is left to grow back."""
    greedy = {"fisher": policy("callable", function=lambda seen: {"harvest": 25, "right_bid": 3.0})}
    base = Fishery(months=6)
    free = play(base, {"fisher": policy("callable", function=lambda seen: {"harvest": 25})}, worlds=20)
    capped = play(base | RightsAuction(2, "harvest"), greedy, worlds=20, keep=True)
    assert (free.measures["survival"] == 1).all() and (free.welfare == 100).all()
    assert (capped.measures["survival"] == 6).all() and (capped.welfare == 300).all()
    np.testing.assert_allclose(capped.returns["fisher"].sum(axis=1), 300.0)
    np.testing.assert_array_equal(capped.measures["right_revenue"], 6 * 2 * 3.0)
    winners = {tuple(np.flatnonzero(moment.rewards["fisher"][0] == 25)) for moment in capped.moments[1::2]}
    assert len(winners) > 1 and all(len(pair) == 2 for pair in winners)


def test_who_has_no_right_is_idle_as_said() -> None:
    game = Fishery(months=1) | RightsAuction(1, "harvest", idle=2)
    cast = {
        f"fisher_{i}": policy("callable", function=lambda seen, bid=i: {"harvest": 9, "right_bid": bid})
        for i in range(5)
    }
    done = play(game, cast, worlds=1, keep=True)
    np.testing.assert_array_equal(done.moments[1].rewards["fisher"], [[2.0, 2.0, 2.0, 2.0, 9.0]])
    np.testing.assert_allclose(done.moments[0].rewards["fisher"], [[0.6, 0.6, 0.6, 0.6, 0.6 - 3.0]])
    assert (
        "harvest is 2 in this round" in game.about
        and "action is wait" in (worth((1, 1)) | RightsAuction(1, "action")).about
    )


@pytest.mark.parametrize(
    "game", [Fishery(months=5), MatrixGame(repetitions=4), Pricing(periods=6)], ids=lambda game: game.name
)
def test_examined(game: Game) -> None:
    check_mechanism(
        RightsAuction.suited(game), game, null=RightsAuction(64, RightsAuction.suited(game).field), worlds=12
    )
    field = RightsAuction.suited(game).field
    check_mechanism(
        RightsAuction(1, field, returned=0.3), game | Talk() | Sanction(), null=RightsAuction(64, field), worlds=8
    )
    check_mechanism(Sanction(), game | RightsAuction(1, field, returned=0.0), worlds=8)


@pytest.mark.parametrize("game", [HiddenAction(), Relational(delta=0.3, repetitions=10)], ids=lambda game: game.name)
def test_an_auction_takes_two(game: Game) -> None:
    with pytest.raises(Unfit, match="field: no two players of .* decide the same single act"):
        RightsAuction.suited(game)
    name = next(f.name for f in game.role("agent").acts if f.name in ("accept", "effort"))
    with pytest.raises(Unfit, match="field: an auction takes at least 2 players who decide .*, got agent_0"):
        _ = game | RightsAuction(1, name)


def test_refusals() -> None:
    for options, words in (
        ({"rights": 0}, "rights: a whole number from 1 to 1000000, got 0"),
        ({"rights": 1, "returned": 1.1}, "returned: a number from 0 to 1, got 1.1"),
        ({"rights": 1, "most": 0.0}, "most: a number from 1e-09 to 1e\\+09, got 0.0"),
    ):
        with pytest.raises(ValueError, match=words):
            RightsAuction(field="harvest", **options)  # type: ignore[arg-type]
    with pytest.raises(Unfit, match="field: nobody in Fishery decides 'catch'; there are: harvest"):
        _ = Fishery() | RightsAuction(1, "catch")
    with pytest.raises(Unfit, match="idle: harvest is a whole number from 0 to 100, got 101"):
        _ = Fishery() | RightsAuction(1, "harvest", idle=101)
    with pytest.raises(Unfit, match="a right is to a single act, 'pay' of principal has components"):
        _ = HiddenAction() | RightsAuction(1, "pay")
