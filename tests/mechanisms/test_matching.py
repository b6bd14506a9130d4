"""Assignment rules by exhaustive enumeration, and games whose players are assigned to their seats."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import acts_of

from societas import Game, mechanism
from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.contracting.relational import Relational
from societas.envs.core import assignment
from societas.envs.core.mechanism import Unfit
from societas.envs.norms.fishery import Fishery
from societas.envs.norms.matrix_game import MatrixGame
from societas.mechanisms.contract import Contract
from societas.mechanisms.hidden_type import HiddenType
from societas.mechanisms.matching import RULES, Matching
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.talk import Talk
from societas.mechanisms.terms import Compensation
from societas.testing import check_mechanism

Host = np.ndarray[Any, Any]
ORDERS = np.array(list(itertools.permutations(range(3))))
CELLS = np.array(list(itertools.product(range(6), repeat=6)))  # three rankings, three lines
RANKS, LINES = ORDERS[CELLS[:, :3]], ORDERS[CELLS[:, 3:]]
WORLDS = np.arange(len(CELLS))
QUEUED: dict[str, Callable[[Any, Any], Any]] = {
    "deferred": assignment.deferred,
    "boston": assignment.boston,
    "trading": assignment.trading,
}
ALL = ORDERS  # all assignments of three persons, the seat of each


def rank_got(ranks: Host, seat: Host) -> Host:
    """Return the rank that each person gave to her seat."""
    return np.take_along_axis(ranks, seat[..., None], axis=-1)[..., 0]


def gains_by_lying(rule: Callable[[Any, Any], Any]) -> Host:
    """Return by how many ranks somebody gains by some lie, for every truth, lie, ranking of the others, and lines."""
    seats = rule(RANKS, LINES).reshape((6,) * 6 + (3,))
    gains = []
    for i in range(3):
        mine = np.moveaxis(seats[..., i], i, 0)  # (told, ...)
        got = ORDERS[:, mine]  # (truth, told, ...)
        honest = np.stack([got[truth, truth] for truth in range(6)])
        gains.append(honest[:, None] - got)
    return np.stack(gains)


# ---- the rules, on all markets of three persons and three seats -----------------------------------------------------


@pytest.mark.parametrize("rule", QUEUED)
def test_everybody_gets_a_seat_and_no_seat_is_given_twice(rule: str) -> None:
    assert (np.sort(QUEUED[rule](RANKS, LINES), axis=-1) == np.arange(3)).all()


def blocked(seat: Host) -> Host:
    """Say in which worlds a person and a seat would rather have each other, given all assignments (worlds, persons)."""
    holder = np.argsort(seat, axis=-1)
    wants = rank_got(RANKS, seat)[..., None] > RANKS
    kept = np.take_along_axis(LINES, holder[..., None], axis=-1)  # place of the sitter in the line of each seat
    return np.asarray((wants & np.swapaxes(kept > LINES, -1, -2)).any(axis=(-1, -2)))


def test_deferred_acceptance_is_the_best_stable_assignment_for_every_person() -> None:
    found = assignment.deferred(RANKS, LINES)
    assert not blocked(found).any()
    for other in ALL:
        there = np.broadcast_to(other, found.shape)
        stable = ~blocked(there)
        assert (rank_got(RANKS, found) <= rank_got(RANKS, there))[stable].all()


def test_truth_is_dominant_but_under_immediate_acceptance() -> None:
    assert gains_by_lying(assignment.deferred).max() == 0
    assert gains_by_lying(assignment.trading).max() == 0
    assert gains_by_lying(lambda ranks, lines: assignment.serial(ranks, lines[:, 0])).max() == 0
    assert gains_by_lying(assignment.boston).max() > 0


def test_the_known_lie_under_immediate_acceptance() -> None:
    """Person 1 wants seat 0, where 0 is before her, and then seat 1, where she is before 2. The truth costs her both: seat 1
    goes in the first round to 2, who ranks it first. If she does, she gets it (Abdulkadiroglu and Sonmez 2003)."""
    lines = np.array([[0, 1, 2]] * 3)
    truth = np.array([[0, 1, 2], [0, 1, 2], [1, 0, 2]])
    lie = np.array([[0, 1, 2], [1, 0, 2], [1, 0, 2]])
    assert assignment.boston(truth, lines).tolist() == [0, 2, 1]
    assert assignment.boston(lie, lines).tolist() == [0, 1, 2]
    assert blocked_one(truth, lines, assignment.boston(truth, lines)) == {(1, 1)}
    assert assignment.deferred(truth, lines).tolist() == [0, 1, 2]


def blocked_one(ranks: Host, lines: Host, seat: Host) -> set[tuple[int, int]]:
    """Return the pairs of a person and a seat that would rather have each other."""
    holder = {int(s): i for i, s in enumerate(seat)}
    return {
        (i, s)
        for i in range(3)
        for s in range(3)
        if ranks[i, s] < ranks[i, seat[i]] and lines[s, i] < lines[s, holder[s]]
    }


def dominated(ranks: Host, seat: Host) -> Host:
    """Say in which worlds another assignment is better for somebody and worse for nobody."""
    got, found = rank_got(ranks, seat), np.zeros(len(seat), dtype=bool)
    for other in ALL:
        there = rank_got(ranks, np.broadcast_to(other, seat.shape))
        found |= (there <= got).all(axis=-1) & (there < got).any(axis=-1)
    return found


def test_trading_is_efficient_with_any_lines_and_serial_dictatorship_too() -> None:
    assert not dominated(RANKS, assignment.trading(RANKS, LINES)).any()
    assert not dominated(RANKS, assignment.serial(RANKS, LINES[:, 0])).any()
    assert not dominated(RANKS, assignment.boston(RANKS, LINES)).any()  # by what is told, true or not
    assert dominated(RANKS, assignment.deferred(RANKS, LINES)).any()  # stability has its price


def test_nobody_loses_her_own_seat_by_trading_and_no_group_can_do_better() -> None:
    """Each seat has its owner first in line, whoever comes after; the core of all 216 housing markets."""
    lines = np.where(np.eye(3, dtype=int) == 1, 0, np.array([[0, 1, 2], [1, 0, 2], [1, 2, 0]]))
    others = np.where(np.eye(3, dtype=int) == 1, 0, np.array([[0, 2, 1], [2, 0, 1], [2, 1, 0]]))
    ranks = ORDERS[np.array(list(itertools.product(range(6), repeat=3)))]
    seat = assignment.trading(ranks, np.broadcast_to(lines, ranks.shape))
    np.testing.assert_array_equal(seat, assignment.trading(ranks, np.broadcast_to(others, ranks.shape)))
    got = rank_got(ranks, seat)
    assert (got <= np.stack([ranks[:, i, i] for i in range(3)], axis=-1)).all()
    for size in (1, 2, 3):
        for group in itertools.combinations(range(3), size):
            for swap in itertools.permutations(group):
                there = np.stack([ranks[:, i, s] for i, s in zip(group, swap, strict=True)], axis=-1)
                here = got[:, list(group)]
                assert not ((there <= here).all(axis=-1) & (there < here).any(axis=-1)).any()


def test_one_line_for_all_makes_serial_dictatorship() -> None:
    one = np.broadcast_to(LINES[:, :1], LINES.shape)
    expected = assignment.serial(RANKS, LINES[:, 0])
    np.testing.assert_array_equal(assignment.deferred(RANKS, one), expected)
    np.testing.assert_array_equal(assignment.trading(RANKS, one), expected)


@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (1, 3), (3, 1), (5, 5), (6, 6)])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_markets_of_any_size(shape: tuple[int, int], seed: int) -> None:
    """More persons than seats or fewer, ties in rankings; worlds alone, in a batch and in torch; stability and efficiency."""
    import torch

    persons, seats = shape
    rng = np.random.default_rng(seed)
    ranks = rng.integers(1, seats + 1, (5, persons, seats))
    lines = rng.random((5, seats, persons)).argsort(axis=-1)
    for rule in (*QUEUED.values(), lambda r, q: assignment.serial(r, q[..., 0, :])):
        seat = rule(ranks, lines)
        assert ((seat >= 0).sum(axis=-1) == min(shape)).all()
        for world in range(5):
            given_ = seat[world][seat[world] >= 0]
            assert len(set(given_)) == len(given_)
            np.testing.assert_array_equal(rule(ranks[world], lines[world]), seat[world])
        there = rule(torch.asarray(ranks), torch.asarray(lines)).numpy()
        np.testing.assert_array_equal(there, seat)
        assert there.dtype == seat.dtype
    seat, strict = assignment.deferred(ranks, lines), assignment.places(ranks)
    for world, i, s in itertools.product(range(5), range(persons), range(seats)):
        now = seat[world, i]
        holder = np.flatnonzero(seat[world] == s)
        if now < 0 or strict[world, i, s] < strict[world, i, now]:
            assert len(holder) and lines[world, s, holder[0]] < lines[world, s, i]


def test_ties_and_lots() -> None:
    assert assignment.places(np.array([2, 1, 2, 1])).tolist() == [2, 0, 3, 1]
    assert assignment.lot(np.array([0.5, 0.2, 0.9])).tolist() == [1, 0, 2]


# ---- games ----------------------------------------------------------------------------------------------------------


def trio(seed: int = 0, rounds: int = 2) -> MatrixGame:
    """Three players, random payoffs."""
    table = np.random.default_rng(seed).integers(-5, 6, (3, 2, 2, 2))
    return MatrixGame(table.tolist(), ("left", "right"), rounds)


def seated(game: Game, worlds: int, ranks: Any, lot: Any = 0.5) -> Any:
    """Assign the seats and return the state."""
    u = np.broadcast_to(lot, (worlds, game.draws))
    return game.step(game.start(u), acts_of(game, worlds, rank_seats=ranks), u).state


SEATS = np.array([[0, 1, 2], [1, 2, 0], [2, 1, 0]])
"""In world 0 all stay, in world 1 they turn, in world 2 the first and the last change places."""

WISHES = np.where(np.arange(3) == SEATS[..., None], 1, 2)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 50), st.lists(st.integers(0, 1), min_size=3, max_size=3))
def test_acts_and_pay_go_with_the_seat_and_names_with_the_player(seed: int, moves: list[int]) -> None:
    base = trio(seed)
    game = base | Matching("serial", lines=((0, 1, 2),))
    state, u = seated(game, 3, WISHES), np.zeros((3, game.draws))
    np.testing.assert_array_equal(game.view(state)["player"]["seat"], SEATS)
    outcome = game.step(state, acts_of(game, 3, action=np.array(moves)), u)
    seen = game.view(outcome.state)["player"]
    for world, seat in enumerate(SEATS):
        cell = [0, 0, 0]
        for i in range(3):
            cell[seat[i]] = moves[i]
        expected = [base.table[(seat[i], *cell)] for i in range(3)]
        assert outcome.rewards["player"][world].tolist() == expected
        assert seen["own"][world].tolist() == moves
        assert seen["actions"][world].tolist() == [moves] * 3  # each name stands for the player, whoever looks
        assert seen["seats"][world].tolist() == [seat.tolist()] * 3
    np.testing.assert_array_equal(outcome.welfare, outcome.rewards["player"].sum(axis=-1))


def test_players_are_named_as_such_in_what_they_do() -> None:
    """In a game with sanctions whoever is named is hit, wherever she sits; and she is told so by name."""
    game = trio(rounds=1) | Sanction(fine=3.0) | Matching("trading")
    state, u = seated(game, 3, WISHES), np.zeros((3, game.draws))
    state = game.step(state, acts_of(game, 3), u).state
    outcome = game.step(state, acts_of(game, 3, punish=np.array([2, 0, 2])), u)
    np.testing.assert_array_equal(outcome.rewards["player"], [[-1.0, -6.0, -1.0]] * 3)
    seen = game.view(outcome.state)["player"]
    np.testing.assert_array_equal(seen["fined"], [[0, 2, 0]] * 3)
    np.testing.assert_array_equal(seen["fines"], [[[0, 2, 0]] * 3] * 3)


def test_what_a_seat_knows_and_decides_goes_with_it() -> None:
    """Types belong to seats; the one who proposes a contract is whoever sits on the first."""
    game = trio() | HiddenType() | Matching("deferred", lines=((0, 1, 2),))
    u = np.tile(np.arange(game.draws) / 8, (3, 1))
    before = game.view(game.start(u))["player"]["type"]
    state = game.step(game.start(u), acts_of(game, 3, rank_seats=WISHES), u).state
    np.testing.assert_array_equal(game.view(state)["player"]["type"], np.take_along_axis(before, SEATS, axis=1))
    offers = MatrixGame(repetitions=1) | Contract(Compensation()) | Matching("serial", lines=((1, 0),))
    role = offers.role("player")
    (theta,) = role.deciding("propose", 1)
    assert theta.name == "theta" and theta.means.endswith("it counts if you sit on seat_0")
    state, u = seated(offers, 1, [[1, 2], [1, 2]]), np.zeros((1, offers.draws))
    assert offers.view(state)["player"]["seat"].tolist() == [[1, 0]]
    state = offers.step(state, acts_of(offers, 1, theta=np.array([[1.0, 4.0]])), u).state
    assert offers.view(state)["player"]["agreed_theta"].tolist() == [[4.0, 4.0]]
    state = offers.step(state, acts_of(offers, 1, consent=np.array([[1, 0]])), u).state
    assert offers.measures(state)["agreed"] == 1  # the other's answer is that of seat_1


def test_rankings_and_measures() -> None:
    game = trio() | Matching("boston", lines=((0, 1, 2),))
    state = seated(game, 1, [[1, 2, 3], [1, 2, 3], [2, 1, 3]])
    assert game.view(state)["player"]["seat"].tolist() == [[0, 2, 1]]
    assert game.measures(state)["first_choices"] == pytest.approx(2 / 3)
    assert game.measures(state)["seat_rank"] == pytest.approx((1 + 3 + 1) / 3)


def test_lots_are_fair() -> None:
    """Behind a lot, and where a drawn order chooses and all rank alike, everybody gets each seat as often."""
    u = np.random.default_rng(0).random((6000, 3))
    game = trio() | Matching("lot")
    assert [stage.name for stage in game.stages] == [""] and game.random_start
    drawn = [game.view(game.start(u))["player"]["seat"]]
    for rule in ("serial", "deferred", "boston"):
        chosen = trio() | Matching(rule)
        drawn.append(chosen.view(seated(chosen, 6000, [1, 2, 3], u))["player"]["seat"])
    for seat in drawn:
        codes = seat @ np.array([9, 3, 1])
        assert len(np.unique(codes)) == 6
        share = np.unique(codes, return_counts=True)[1] / 6000
        np.testing.assert_allclose(share, 1 / 6, atol=5 * np.sqrt(5 / 36 / 6000))


@pytest.mark.parametrize("rule", ["serial", "deferred", "trading"])
def test_telling_the_truth_is_dominant_in_the_played_game(rule: str) -> None:
    """Seats that pay 5, 3 and 0 whatever is done: all rankings of all three are played, and each is paid by her seat."""
    pay = np.broadcast_to(np.array([5.0, 3.0, 0.0])[:, None, None, None], (3, 2, 2, 2))
    lines = ((1, 0, 2), (0, 2, 1), (2, 1, 0))
    game = MatrixGame(pay.tolist()) | Matching(rule, lines=lines[:1] if rule == "serial" else lines)
    told = ORDERS[np.array(list(itertools.product(range(6), repeat=3)))] + 1
    state = seated(game, 216, told)
    u = np.zeros((216, game.draws))
    paid = game.step(state, acts_of(game, 216), u).rewards["player"].reshape((6, 6, 6, 3))
    assert ORDERS[0].tolist() == [0, 1, 2]  # the truth: the higher the pay the better
    for i in range(3):
        mine = np.moveaxis(paid[..., i], i, 0)
        assert (mine[0] >= mine).all()
        assert (mine[0] > mine).any() == (rule != "serial" or i != lines[0][-1])  # who comes last has no choice


# ---- the examiner ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "fixed"])
def test_every_rule_examined(rule: str) -> None:
    check_mechanism(Matching(rule), trio(), null=Matching("fixed"), worlds=8)
    check_mechanism(Matching(rule), Fishery(3, months=5), null=Matching("fixed"), worlds=8)


@pytest.mark.parametrize(
    "game",
    [MatrixGame(repetitions=4) | Talk(), trio() | Sanction(second_order=True, error=0.2), trio() | HiddenType()],
    ids=lambda game: game.name,
)
def test_examined_in_stacks(game: Game) -> None:
    check_mechanism(Matching.suited(game), game, null=Matching("fixed"), worlds=8)
    check_mechanism(Matching("trading"), game, worlds=8)


def test_examined_under_other_mechanisms_and_over_contracts() -> None:
    contract = Contract(Compensation(), side_payment=2.0)
    check_mechanism(Matching("serial"), MatrixGame(repetitions=3) | contract, worlds=8)
    check_mechanism(contract, MatrixGame(repetitions=3) | Matching("serial"), worlds=8)
    check_mechanism(mechanism("Noise", field="stock", sd=2.0), Fishery(months=3) | Matching("lot"), worlds=8)


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_refusals() -> None:
    for make_, words in (
        (lambda: Matching("draw"), "rule: one of 'fixed', 'lot', .*got 'draw'"),
        (lambda: Matching("serial", lines=3), "lines: a list of lists of player numbers, got 3"),
        (lambda: Matching("serial", lines=((0, 0),)), r"lines: each player once, by number from 0, got \(0, 0\)"),
        (lambda: Matching("serial", lines=((0, 1), (1, 0))), "lines: one, the order in which players choose, got 2"),
        (lambda: Matching("lot", lines=((0, 1),)), "lines: none with rule 'lot'"),
    ):
        with pytest.raises(ValueError, match=words):
            make_()  # type: ignore[no-untyped-call]
    for game, dial, words in (
        (HiddenAction(), Matching(), "role: every role of HiddenAction has one seat only"),
        (HiddenAction(), Matching(role="agent"), "role: agent of HiddenAction has one seat only"),
        (HiddenAction(), Matching(role="boss"), "role: one of principal, agent, got 'boss'"),
        (trio(), Matching("deferred", lines=((0, 1),)), "lines: one, or 3, of the 3 players of player"),
        (trio(), Matching("deferred", lines=((0, 1, 2),) * 2), "lines: one, or 3, of the 3 players of player"),
    ):
        with pytest.raises(Unfit, match=words):
            _ = game | dial
    with pytest.raises(Unfit, match="has one seat only"):
        Matching.suited(Relational(delta=0.3, repetitions=10))


def test_lists_are_taken_and_the_rules_are_told() -> None:
    dial = Matching("deferred", lines=[[2, 0, 1], [0, 1, 2], [1, 2, 0]])  # type: ignore[arg-type]
    assert hash(dial) == hash(Matching("deferred", lines=((2, 0, 1), (0, 1, 2), (1, 2, 0))))
    told = (trio() | dial).about
    assert "read seat_0 for player_0, seat_1 for player_1" in told
    assert "at seat_0 player_2, player_0, player_1; at seat_1 player_0, player_1, player_2" in told
    assert "drawn by lot after that" in (trio() | Matching("serial")).about
