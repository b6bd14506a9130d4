"""Votes on the parameters of mechanisms: what is chosen is in force, and nothing else changes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import acts_of

from societas import Game, Institution, Mechanism, mechanism, play, policy
from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.contracting.relational import Relational
from societas.envs.core.mechanism import Unfit
from societas.envs.core.solve import pure_nash
from societas.envs.norms.fishery import Fishery
from societas.envs.norms.matrix_game import MatrixGame
from societas.mechanisms.contract import Contract, Court
from societas.mechanisms.mediator import Mediator
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.talk import Talk
from societas.mechanisms.terms import Compensation, Quota
from societas.mechanisms.vote import RULES, Vote
from societas.testing import check_mechanism

FINES = (0.0, 2.0, 5.0)
GAMES: tuple[Game, ...] = (
    Fishery(months=5),
    HiddenAction(),
    MatrixGame(repetitions=4),
    Relational(delta=0.3, repetitions=10),
)


def trio(rounds: int = 1) -> MatrixGame:
    """Three players whose payoffs are all 0."""
    return MatrixGame(np.zeros((3, 2, 2, 2)).tolist(), ("left", "right"), rounds)


def voted(game: Game, ballots: Any, lot: float = 0.5) -> Any:
    """Take the vote, for every world and voter, and return the outcome."""
    ballots = np.asarray(ballots)
    u = np.full((len(ballots), game.draws), lot)
    return game.step(game.start(u), acts_of(game, len(ballots), ballot=ballots), u)


# ---- the game after a vote is the game under what was chosen ------------------------------------------------------

SUBJECTS: dict[str, tuple[Mechanism, str, tuple[Any, ...], Game]] = {
    "fine": (Sanction(), "fine", FINES, Fishery(months=4, collapse=0)),
    "cost": (Talk(), "cost", (0.0, 0.5, 2.0), Fishery(months=4, collapse=0)),
    "limit": (Contract(Quota()), "terms.limit", (5, 10, 20), Fishery(months=4, collapse=0)),
    "accuracy": (Contract(Quota()), "court", (Court(0.1), Court(0.5), Court(0.9)), Fishery(months=4, collapse=0)),
    "theta": (Contract(Compensation(1.0)), "terms.theta", (0.5, 1.0, 3.0), MatrixGame(repetitions=3)),
    "sd": (mechanism("Noise", field="stock", sd=1.0), "sd", (1.0, 5.0, 20.0), Fishery(months=4, collapse=0)),
    "strength": (mechanism("Misspecify", field="total"), "strength", (0.2, 0.5, 1.0), Fishery(months=4, collapse=0)),
    "act": (
        Mediator({"harvest": 10}),
        "apart",
        ((("harvest", 0),), (("harvest", 20),), (("harvest", 90),)),
        Fishery(months=4, collapse=0),
    ),
}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_after_the_vote_it_is_the_game_under_the_option_chosen(subject: str) -> None:
    """Worlds that chose differently run side by side, and each is bit for bit the game with its option."""
    voted_on, parameter, options, base = SUBJECTS[subject]
    vote = Vote(voted_on, parameter, options)
    game, worlds = base | vote, 12
    rng = np.random.default_rng(5)
    count = sum(role.count for role in base.roles)
    choice = np.arange(worlds) % len(options)
    state = game.start(rng.random((worlds, game.draws)))
    u = rng.random((worlds, game.draws))
    outcome = game.step(state, acts_of(game, worlds, ballot=np.repeat(choice[:, None], count, axis=1)), u)
    assert all((pay == 0).all() for pay in outcome.rewards.values()) and (outcome.welfare == 0).all()
    twins = [base | candidate for candidate in vote.candidates]
    alone = [twin.start(u[:, : twin.draws]) for twin in twins]
    state, going, steps = outcome.state, ~outcome.done, 0
    assert going.all()
    while going.any():
        acts: dict[str, Any] = {}
        for role in game.roles:
            acts[role.name] = {}
            for field in role.acts:
                shape = (worlds, role.count, *field.shape)
                low, high = field.space.low, 14 if field.name == "harvest" else field.space.high
                drawn = (
                    rng.integers(int(low), int(high) + 1, shape) if field.discrete else rng.uniform(low, high, shape)
                )
                acts[role.name][field.name] = drawn
            if "consent" in acts[role.name]:
                acts[role.name]["consent"] = np.ones((worlds, role.count), dtype=np.int64)
        u = rng.random((worlds, game.draws))
        outcome, view = game.step(state, acts, u), game.view(state)
        np.testing.assert_array_equal(view[base.roles[0].name]["in_force"], np.repeat(choice[:, None], count, axis=1))
        for k, twin in enumerate(twins):
            mine = (choice == k) & going
            names = [stage.name for stage in twin.stages]
            place = np.array([stage.name for stage in game.stages])[game.stage(state)]
            if len(names) > 1:  # without stages of its own the round has no name
                np.testing.assert_array_equal(np.array(names)[twin.stage(alone[k])][mine], place[mine])
            for role in twin.roles:
                for field in role.sees:
                    if field.name != "stage":
                        shown = twin.view(alone[k])[role.name][field.name]
                        np.testing.assert_array_equal(view[role.name][field.name][mine], shown[mine])
            after = twin.step(alone[k], acts, u[:, : twin.draws])
            for name, pay in after.rewards.items():
                np.testing.assert_array_equal(outcome.rewards[name][mine], pay[mine])
            np.testing.assert_array_equal(outcome.welfare[mine], after.welfare[mine])
            np.testing.assert_array_equal(outcome.done[mine], after.done[mine])
            measured = game.measures(outcome.state)
            for name, values in twin.measures(after.state).items():
                np.testing.assert_array_equal(measured[name][mine], values[mine])
            alone[k] = after.state
        state, going, steps = outcome.state, going & ~outcome.done, steps + 1
    assert steps >= 3 and (game.measures(state)["option_chosen"] == choice).all()


def test_a_vote_before_each_round_and_books_that_go_on() -> None:
    """Three rounds under a fine of 5, 0 and 2, with two sanctions in each; the sum of sanctions is that of all."""
    game = trio(3) | Vote(Sanction(cost=1.0), "fine", FINES, each_round=True)
    assert [stage.name for stage in game.stages] == ["vote", "act", "sanction"]
    state, u, paid = game.start(np.zeros((1, game.draws))), np.zeros((1, game.draws)), []
    for option in (2, 0, 1):
        for _ in range(3):
            outcome = game.step(state, acts_of(game, 1, ballot=option, punish=np.array([[2, 0, 2]])), u)
            state = outcome.state
        paid.append(outcome.rewards["player"][0].tolist())
        assert outcome.welfare[0] == sum(paid[-1])
    assert outcome.done.all()
    assert paid == [[-1.0, -10.0, -1.0], [-1.0, 0.0, -1.0], [-1.0, -4.0, -1.0]]
    assert game.measures(state)["sanctions"] == 6 and game.measures(state)["option_chosen"] == 1


# ---- rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "ballots", "option"),
    [
        ("majority", [1, 1, 2], 1),
        ("majority", [0, 1, 2], 0),
        ("plurality", [2, 0, 2], 2),
        ("plurality", [2, 1, 0], 0),
        ("median", [0, 2, 2], 2),
        ("median", [2, 1, 0], 1),
        ("approval", [[0, 1, 0], [0, 1, 1], [1, 0, 1]], 1),
        ("approval", [[0, 0, 1], [0, 1, 1], [1, 0, 1]], 2),
        ("borda", [[1, 2, 3], [3, 1, 2], [3, 1, 2]], 1),
        ("borda", [[1, 2, 3], [1, 2, 3], [3, 1, 2]], 0),
        ("schulze", [[1, 2, 3], [3, 1, 2], [3, 2, 1]], 1),
        ("quadratic", [[0, 9, 0], [0, 9, 0], [0, 0, 49]], 2),
        ("quadratic", [[0, 9, 0], [0, 16, 0], [0, 0, 36]], 1),
        ("quadratic", [[0, 64, 0], [0, 64, 0], [-100, 0, 100]], 1),  # who overdraws has sqrt(50) votes for each
        ("pivot", [[0, 5, 0], [0, 5, 0], [0, 0, 9]], 1),
    ],
)
def test_rules_count(rule: str, ballots: list[Any], option: int) -> None:
    game = trio() | Vote(Sanction(), "fine", FINES, rule)
    before = game.measures(game.start(np.zeros((2, game.draws))))
    assert (before["option_chosen"] == -1).all()
    outcome = voted(game, [ballots] * 2)
    np.testing.assert_array_equal(game.measures(outcome.state)["option_chosen"], [option] * 2)
    np.testing.assert_array_equal(game.view(outcome.state)["player"]["in_force"], [[option] * 3] * 2)


def test_who_turns_the_choice_pays_and_nobody_receives_it() -> None:
    game = trio() | Vote(Sanction(), "fine", FINES, "pivot", most=10.0)
    outcome = voted(game, [[[0.0, 5.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 9.0]]])
    np.testing.assert_array_equal(outcome.rewards["player"], [[-4.0, -4.0, 0.0]])
    assert outcome.welfare[0] == -8.0 and game.measures(outcome.state)["vote_taxes"] == 8.0
    with pytest.raises(KeyError):
        _ = (trio() | Vote(Sanction(), "fine", FINES)).measures(outcome.state)["vote_taxes"]


def test_lots() -> None:
    """A drawn voter decides, each as often; a tie falls on each option as often."""
    u = (np.arange(3000) + 0.5) / 3000
    for vote, ballot, expected in (
        (Vote(Sanction(), "fine", FINES, "sortition"), [2, 0, 2], [1 / 3, 0.0, 2 / 3]),
        (Vote(Sanction(), "fine", FINES, "plurality", ties="lot"), [2, 1, 0], [1 / 3] * 3),
        (Vote(Sanction(), "fine", FINES, "schulze", ties="lot"), [[1, 2, 3], [2, 1, 3], [1, 1, 1]], [0.5, 0.5, 0.0]),
    ):
        game = trio() | vote
        assert isinstance(game, Institution) and game.own_draws == 1
        draws = u[:, None]
        acts = acts_of(game, 3000, ballot=np.broadcast_to(np.array(ballot), (3000, *np.shape(ballot))))
        chosen = game.measures(game.step(game.start(draws), acts, draws).state)["option_chosen"]
        np.testing.assert_allclose(np.bincount(chosen.astype(int), minlength=3) / 3000, expected, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=3, max_size=3), st.permutations(range(3)))
def test_players_are_equal_at_the_ballot(ballots: list[int], order: list[int]) -> None:
    for rule in ("majority", "plurality", "median"):
        game = trio() | Vote(Sanction(), "fine", FINES, rule)
        chosen = game.measures(voted(game, [ballots, [ballots[i] for i in order]]).state)["option_chosen"]
        assert chosen[0] == chosen[1]


def test_only_the_roles_that_vote_have_a_ballot() -> None:
    game = HiddenAction() | Vote(Sanction(), "fine", FINES, roles=("agent",))
    assert [f.name for f in game.role("agent").deciding("vote")] == ["ballot"]
    assert not game.role("principal").deciding("vote")
    u = np.full((1, game.draws), 0.5)
    acts = acts_of(game, 1)
    acts["agent"]["ballot"] = np.array([[2]])
    assert game.measures(game.step(game.start(u), acts, u).state)["option_chosen"] == 2


# ---- theory -------------------------------------------------------------------------------------------------------


def test_those_in_a_dilemma_vote_for_the_contract_that_ends_it() -> None:
    """By backward induction over the played game: both vote for a payment of 2.5 and cooperate, where without a vote for it
    (a payment of 0) they defect; voting for it is weakly dominant."""
    base = MatrixGame.prisoners_dilemma()
    game = base | Vote(Contract(Compensation(0.0)), "terms.theta", (0.0, 2.5), "median")
    u = np.full((1, game.draws), 0.5)

    def payoffs(ballots: tuple[int, int], cell: tuple[int, int]) -> Any:
        state, total = game.start(u), np.zeros(2)
        for step in ({"ballot": [ballots]}, {"consent": [[1, 1]]}, {"action": [cell]}):
            outcome = game.step(state, acts_of(game, 1, **step), u)
            state, total = outcome.state, total + outcome.rewards["player"][0]
        assert outcome.done.all()
        return total

    table = np.zeros((2, 2, 2))
    for ballots in itertools.product((0, 1), repeat=2):
        stage = np.zeros((2, 2, 2))
        for cell in itertools.product((0, 1), repeat=2):
            stage[(slice(None), *cell)] = payoffs(ballots, cell)
        (found,) = pure_nash(stage)
        assert found == ((0, 0) if ballots == (1, 1) else (1, 1))
        table[(slice(None), *ballots)] = stage[(slice(None), *found)]
    np.testing.assert_array_equal(table[:, 1, 1], [3.0, 3.0])
    assert (table[0, 1] >= table[0, 0]).all() and (table[1, :, 1] >= table[1, :, 0]).all()


def test_a_quota_that_the_median_fisher_wants() -> None:
    """Votes for 5, 5, 10, 20 and 20 tonnes: 10 is in force, and who takes 12 pays for 2 of them."""
    vote = Vote(Contract(Quota(fine=2.0)), "terms.limit", (5, 10, 20), "median")
    cast = {
        f"fisher_{i}": policy("callable", function=lambda seen, b=b: {"ballot": b, "consent": "accept", "harvest": 12})
        for i, b in enumerate(("5", "5", "10", "20", "20"))
    }
    done = play(Fishery(months=1) | vote, cast, worlds=3)
    assert (done.measures["option_chosen"] == 1).all() and (done.measures["breaches"] == 1.0).all()
    cast |= {
        f"fisher_{i}": policy("callable", function=lambda seen: {"ballot": "20", "consent": "accept", "harvest": 12})
        for i in (0, 1)
    }
    done = play(Fishery(months=1) | vote, cast, worlds=3)
    assert (done.measures["option_chosen"] == 2).all() and (done.measures["breaches"] == 0.0).all()


# ---- the examiner -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.name)
def test_examined(game: Game) -> None:
    check_mechanism(Vote(Sanction(), "fine", FINES), game, worlds=8)
    check_mechanism(Vote(Sanction(), "cost", (0, 1, 2), "plurality", each_round=True, ties="lot"), game, worlds=8)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_examined(rule: str) -> None:
    check_mechanism(Vote(Sanction(), "fine", FINES, rule), trio(2), worlds=8)
    check_mechanism(Vote(Talk(), "cost", (0.0, 1.0), rule, each_round=True, ties="lot"), HiddenAction(), worlds=8)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_examined_on_other_mechanisms_in_stacks(subject: str) -> None:
    voted_on, parameter, options, base = SUBJECTS[subject]
    vote = Vote(voted_on, parameter, options, "plurality")
    check_mechanism(vote, base | (Sanction() if subject == "cost" else Talk()), worlds=8)


def test_examined_under_other_mechanisms() -> None:
    voted_on, parameter, options, base = SUBJECTS["limit"]
    game = base | Vote(voted_on, parameter, options)
    check_mechanism(mechanism("Noise", field="stock", sd=2.0), game, worlds=8)
    check_mechanism(Sanction(), game, worlds=8)


def test_chance_is_drawn_where_the_mechanism_in_force_asks_for_it() -> None:
    """All act alone in vain: the mediator that was voted for takes 60 tonnes for each of four, more than there is."""
    options = ((("harvest", 0),), (("harvest", 60),))
    game = Fishery(months=1) | Vote(Mediator({"harvest": 0}), "apart", options)
    for option in (0, 1):
        u = np.zeros((1, game.draws))
        acts = acts_of(game, 1, ballot=option, entrust=np.array([[0, 1, 1, 1, 1]]))
        state = game.step(game.step(game.start(u), acts, u).state, acts, u).state
        assert game.uncertain(state, acts) == (option == 1)


# ---- what is refused ----------------------------------------------------------------------------------------------


def test_refusals() -> None:
    for make_, words in (
        (lambda: Vote("Sanction", "fine", FINES), r"mechanism: a mechanism, for example Sanction\(\), got 'Sanction'"),
        (lambda: Vote(Sanction(), "fin", FINES), "parameter: one of cost, fine, .* of Sanction, got 'fin'"),
        (lambda: Vote(Sanction(), "fine.x", FINES), "parameter: float has no parameters, got 'x'"),
        (lambda: Vote(Sanction(), "fine", (1.0,)), "options: 2 to 16 values, got"),
        (lambda: Vote(Sanction(), "fine", (1, 1.0)), "options: distinct values, got 1, 1"),
        (lambda: Vote(Sanction(), "fine", (1.0, -1.0)), "fine: a number from 0 to inf, got -1.0"),
        (lambda: Vote(Sanction(), "fine", (2.0, 1.0), "median"), "options: the median takes numbers that rise"),
        (lambda: Vote(Sanction(), "fine", FINES, "consensus"), "rule: one of 'majority', .*got 'consensus'"),
        (lambda: Vote(Sanction(), "fine", FINES, ties="coin"), "ties: one of 'first', 'lot', got 'coin'"),
        (lambda: Vote(Sanction(), "fine", FINES, most=0.0), "most: a number from 1e-06"),
    ):
        with pytest.raises(ValueError, match=words):
            make_()  # type: ignore[no-untyped-call]
    for vote, words in (
        (Vote(Talk(), "rounds", (0, 1)), "options: with 0 Talk is no institution on the game; leave that option out"),
        (
            Vote(Talk(), "rounds", (1, 2)),
            "options: rounds=2 gives other stages, fields or a state of another form than 1",
        ),
        (Vote(Contract(), "terms.limit", (5, 10), each_round=True), "each_round: terms.limit of Contract is settled"),
    ):
        with pytest.raises(Unfit, match=words):
            _ = Fishery(months=2) | vote


def test_lists_are_taken_and_the_rules_tell_every_option() -> None:
    vote = Vote(Sanction(), "fine", [0, 2.5], roles=["fisher"])  # type: ignore[arg-type]
    assert hash(vote) == hash(Vote(Sanction(), "fine", (0, 2.5), roles=("fisher",)))
    rules = (Fishery(months=2) | vote).rules("fisher")
    assert "vote on fine of Sanction: 0 or 2.5." in rules and "- If fine is 2.5: After each round" in rules
    assert Vote(mechanism("Misspecify", field="total"), "strength", (0.5, 1.0)).budget is None
    assert vote.budget == 0.0 and vote.name == "Vote(Sanction.fine)"
