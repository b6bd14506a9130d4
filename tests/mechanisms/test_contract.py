"""Contracts: who proposes, for how long, what follows a breach, and who decides where there is none - by hand and by play."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas import Game, play, policy
from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.contracting.procurement import Procurement
from societas.envs.core.arrays import backend, select, to_numpy, tree_map
from societas.envs.core.fields import Choice, Field, Real
from societas.envs.core.mechanism import Institution, Unfit
from societas.envs.core.solve import pure_nash
from societas.envs.norms.fishery import Fishery
from societas.envs.norms.matrix_game import MatrixGame
from societas.experiments.spec import build
from societas.mechanisms.contract import Contract, Court
from societas.mechanisms.disclose import Disclose
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.schedules import Bonus
from societas.mechanisms.terms import Compensation, Deal, Duty, Quota, Terms
from societas.testing import check_mechanism

C, D = 0, 1
Host = np.ndarray[Any, Any]


def trio(seed: int = 0, rounds: int = 4) -> MatrixGame:
    """Three players, random payoffs, played repeatedly."""
    table = np.random.default_rng(seed).integers(-5, 6, (3, 2, 2, 2))
    return MatrixGame(
        tuple(tuple(tuple(map(tuple, rows)) for rows in own) for own in table.tolist()), repetitions=rounds
    )


class Royalty(Terms):
    """The agent owes the principal as much as it disclosed."""

    uses = ("disclosed_type",)
    figures: tuple[Field, ...] = ()
    fixed: Mapping[str, float] = {}
    text = "the agent pays its cost to the principal"

    def suit(self, deal: Deal) -> None:
        deal.field_of_all("disclosed_type")

    def owed(self, numbers: Mapping[str, Any], facts: Mapping[str, Any], deal: Deal) -> Any:
        told = facts["disclosed_type"][..., deal.place("agent_0", "player")]
        zero = told * 0.0
        return np.stack([np.stack([zero, zero], axis=-1), np.stack([told, zero], axis=-1)], axis=-2)


def one_role(game: Game) -> str:
    (role,) = (role.name for role in game.roles)
    return role


class Story:
    """One world of a game of one role, step by step: what is not said is the null act."""

    def __init__(self, game: Game, u: float = 0.5) -> None:
        self.game, self.role, self.u = game, one_role(game), np.full((1, game.draws), u)
        self.state, self.done, self.welfare = game.start(self.u), False, 0.0
        self.returns = np.zeros(len(game.players))

    @property
    def stage(self) -> str:
        return self.game.stages[int(self.game.stage(self.state)[0])].name

    def step(self, u: float | list[float] | None = None, **decided: Any) -> list[float]:
        """Decide {field: [of each player] or the same for all}; return the rewards."""
        fields = self.game.role(self.role).acts
        asked = {f.name for f in self.game.role(self.role).deciding(self.stage)}
        assert set(decided) <= asked, f"asked for {asked} at {self.stage}"
        n = len(self.game.players)
        acts = {f.name: np.zeros((1, n), dtype=np.int64 if f.discrete else np.float64) for f in fields}
        acts |= {k: np.broadcast_to(v, (1, n)).astype(acts[k].dtype) for k, v in decided.items()}
        numbers = self.u if u is None else np.broadcast_to(u, self.u.shape).astype(float)
        outcome = self.game.step(self.state, {self.role: acts}, numbers)
        self.state, self.done = outcome.state, bool(outcome.done[0])
        self.welfare += float(outcome.welfare[0])
        self.returns += outcome.rewards[self.role][0]
        return [round(float(pay), 9) for pay in outcome.rewards[self.role][0]]

    def sees(self, field: str, player: int = 0) -> Any:
        declared = next(f for f in self.game.role(self.role).sees if f.name == field)
        value = self.game.view(self.state)[self.role][field][0, player]
        if isinstance(declared.space, Choice):
            return (
                declared.space.options[int(value)] if not declared.each else [declared.space.options[v] for v in value]
            )
        return value.tolist()

    def measure(self, name: str) -> float:
        return float(self.game.measures(self.state)[name][0])


# ---- who proposes -------------------------------------------------------------------------------------------------


def test_proposers_take_turns() -> None:
    story = Story(MatrixGame(repetitions=4) | Contract(Compensation(None), proposer="rotating", duration=1))
    for turn in range(4):
        assert (story.stage, story.sees("proposer")) == ("propose", f"player_{turn % 2}")
        story.step(theta=[1.0, 3.0])
        assert story.sees("proposer") == f"player_{turn % 2}"
        story.step(consent=[turn % 2, 1 - turn % 2])  # only the other one agrees: the proposer's own answer is a yes
        assert story.sees("agreed_theta") == [1.0, 3.0][turn % 2]
        assert story.step(action=[C, D]) == [[1.0, 4.0], [3.0, 2.0]][turn % 2]
    assert story.done and story.measure("signed") == 4 and story.measure("in_force") == 1


def test_a_refused_proposal_passes_the_turn_too() -> None:
    story = Story(trio() | Contract(Compensation(None), proposer="rotating", duration=3))
    for turn in range(4):
        assert story.sees("proposer") == f"player_{turn % 3}"
        story.step(theta=1.0)
        story.step(consent=[0 if i != turn % 3 else 1 for i in range(3)])
        assert story.sees("agreement") == "refused"
        story.step(action=C)
    assert story.done


def test_a_lot_draws_each_proposer_anew() -> None:
    game, worlds = trio() | Contract(Compensation(None), proposer="random", duration=1), 3000
    rng = np.random.default_rng(5)
    state, drawn, own = game.start(rng.random((worlds, game.draws))), [], np.tile([1.0, 2.0, 3.0], (worlds, 1))
    zero = np.zeros((worlds, 3), dtype=np.int64)
    for _ in range(3):
        for _stage in ("propose", "consent", "act"):
            acts = {"player": {"theta": own, "consent": zero + 1, "action": zero}}
            if _stage == "act":
                drawn.append(game.view(state)["player"]["proposer"][:, 0])
                np.testing.assert_array_equal(state.own.numbers["theta"], 1.0 + drawn[-1])
            state = game.step(state, acts, rng.random((worlds, game.draws))).state
    for one, other in itertools.combinations(range(3), 2):
        counts = np.bincount(3 * drawn[one] + drawn[other], minlength=9)  # all nine pairs equally likely
        assert (np.abs(counts - worlds / 9) < 4 * np.sqrt(worlds * (1 / 9) * (8 / 9))).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=3, max_size=3), st.sampled_from(["enforced", "text", "relational"]))
def test_the_highest_bidder_proposes_and_pays_the_second_bid(quarters: list[int], regime: str) -> None:
    bids = [q / 4 for q in quarters]
    story = Story(trio() | Contract(Compensation(None), proposer="auctioned", regime=regime))
    paid, winner = story.step(tender=bids), bids.index(max(bids))
    price = sorted(bids)[-2]
    assert paid == pytest.approx([-price if i == winner else price / 2 for i in range(3)])
    assert story.sees("proposer") == f"player_{winner}" and story.sees("proposal_price") == price
    assert story.step(theta=[1.0, 2.0, 3.0]) == [0, 0, 0]
    assert story.step(consent=[int(i != winner) for i in range(3)]) == [0, 0, 0]
    assert story.sees("agreement") == "in force" and story.sees("agreed_theta") == 1.0 + winner
    assert story.measure("proposal_prices") == price


def test_side_payments_come_from_whoever_proposes() -> None:
    game = trio() | Contract(Compensation(0.0), proposer="rotating", side_payment=5.0, renegotiation=True)
    story = Story(game)
    for turn in range(3):
        story.step(side=[1.0, -2.0, 3.0])
        side = [1.0, -2.0, 3.0][turn]
        assert story.step(consent=1) == [-2 * side if i == turn else side for i in range(3)]
        story.step(action=C)


# ---- what is offered, and for how long ----------------------------------------------------------------------------


def test_an_item_of_a_menu_holds_if_all_choose_it() -> None:
    menu = (Compensation(1.0), Compensation(2.0))
    for consent, held, moved in (([1, 1], "item1", 1), ([2, 2], "item2", 2), ([1, 2], "none", 0), ([2, 0], "none", 0)):
        story = Story(MatrixGame() | Contract(menu))
        story.step(consent=consent)
        assert story.sees("agreed_item") == held
        assert story.sees("agreement") == ("in force" if moved else "refused")
        assert story.step(action=[C, D]) == [moved, 5 - moved]


def test_the_blanks_of_a_menu_are_told_apart() -> None:
    game = MatrixGame() | Contract((Compensation(None), Compensation(None), Compensation(4.0)), proposer=1)
    assert [f.name for f in game.role("player").deciding("propose", 1)] == ["item1_theta", "item2_theta"]
    assert game.role("player").deciding("propose", 0) == ()
    story = Story(game)
    story.step(item1_theta=[0, 1.5], item2_theta=[0, 3.0])
    assert [story.sees(f"agreed_item{k}_theta") for k in (1, 2, 3)] == [1.5, 3.0, 4.0]
    story.step(consent=[2, 0])
    assert story.step(action=[D, C]) == [2.0, 3.0]


def test_a_contract_lasts_its_rounds_and_is_then_made_anew() -> None:
    story = Story(MatrixGame(repetitions=5) | Contract(Compensation(2.5), duration=2))
    told: list[Any] = []
    while not story.done:
        stage = story.stage
        if stage == "consent":
            story.step(consent=[1, int(story.sees("round") != 3)])
            told.append((stage, story.sees("agreement"), story.sees("rounds_left")))
        else:
            told.append((stage, *story.step(action=[D, C])))
    assert told == [
        ("consent", "in force", 2),
        ("act", 2.5, 2.5),
        ("act", 2.5, 2.5),
        ("consent", "refused", 0),
        ("act", 5.0, 0.0),
        ("consent", "in force", 2),
        ("act", 2.5, 2.5),
        ("act", 2.5, 2.5),
    ]
    assert story.sees("agreement") == "ended"
    assert [story.measure(name) for name in ("agreed", "signed", "in_force", "breaches")] == [1, 2, 0.8, 0.4]


def test_what_is_renegotiated_holds_only_if_all_accept_it() -> None:
    story = Story(MatrixGame(repetitions=3) | Contract(Compensation(None), renegotiation=True))
    for theta, consent, agreed in ((1.0, 1, 1.0), (4.0, 0, 1.0), (3.0, 1, 3.0)):
        story.step(theta=[theta, 0])
        assert story.sees("offered_theta") == theta and story.sees("agreed_theta") != theta
        story.step(consent=[0, consent])
        assert (story.sees("agreed_theta"), story.sees("agreement")) == (agreed, "in force")
        assert story.step(action=[D, C]) == [5 - agreed, agreed]
    assert story.done and story.measure("signed") == 2


def test_renegotiating_a_menu_and_a_duration() -> None:
    story = Story(
        MatrixGame(repetitions=3) | Contract((Compensation(1.0), Compensation(2.0)), renegotiation=True, duration=2)
    )
    story.step(consent=1)
    story.step(action=C)
    assert story.sees("rounds_left") == 1
    story.step(consent=[1, 2])  # no item is chosen by both: the old one stays, and so does its end
    assert (story.sees("agreed_item"), story.sees("rounds_left")) == ("item1", 1)
    story.step(action=C)
    assert story.sees("agreement") == "ended"
    story.step(consent=2)
    assert (story.sees("agreed_item"), story.sees("rounds_left")) == ("item2", 2)


# ---- remedies and courts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("multiple", [0.0, 0.5, 1.0, 3.0])
def test_damages_are_a_multiple_of_what_is_owed(multiple: float) -> None:
    story = Story(MatrixGame() | Contract(Compensation(2.0), remedy="damages", damages=multiple))
    story.step(consent=1)
    assert story.step(action=[D, C]) == [5 - 2 * multiple, 2 * multiple]


@pytest.mark.parametrize("accuracy", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("theta", [1.9, 2.1])
def test_damages_of_one_over_accuracy_deter_as_a_perfect_court_does(accuracy: float, theta: float) -> None:
    """Christoffersen et al.: above max(T - R, P - S) = 2 cooperation is dominant. Expectations over a grid of draws."""
    game = MatrixGame() | Contract(Compensation(theta), remedy="damages", damages=1 / accuracy, court=Court(accuracy))
    table: Any = np.zeros((2, 2, 2))
    for cell in itertools.product((C, D), repeat=2):
        for u in (0.125, 0.375, 0.625, 0.875):
            story = Story(game, u)
            story.step(consent=1)
            table[(slice(None), *cell)] += np.array(story.step(action=cell)) / 4
    assert pure_nash(table) == ([(C, C)] if theta > 2 else [(C, D), (D, C)])


def test_a_breach_that_is_found_ends_the_contract() -> None:
    base = MatrixGame(repetitions=3)
    story = Story(base | Contract(Compensation(2.0), remedy="termination", court=Court(0.5)))
    story.step(consent=1)
    assert story.step(u=0.9, action=[D, C]) == [5, 0]  # not found
    assert story.sees("agreement") == "in force" and story.sees("enforcement") == 0
    assert story.step(u=0.1, action=[D, C]) == [5, 0]
    assert story.sees("agreement") == "ended" and story.stage == "act"
    story.step(u=0.1, action=[D, C])
    assert story.done and story.measure("transfers") == 0
    assert story.measure("breaches") == pytest.approx(1 / 3) and story.measure("in_force") == pytest.approx(2 / 3)
    story = Story(base | Contract(Compensation(2.0), remedy="termination", court=Court(cost=0.5, delay=1)))
    story.step(consent=1)
    assert story.step(action=[D, C]) == [4.5, 0] and story.welfare == 4.5  # a case costs the loser at once
    story = Story(base | Contract(Compensation(2.0), remedy="termination", duration=3))
    for _ in range(3):  # with a duration a new one can be made
        assert story.stage == "consent"
        story.step(consent=1)
        story.step(action=[D, C])
    assert story.measure("signed") == 3


def test_a_case_costs_the_loser() -> None:
    story = Story(MatrixGame() | Contract(Compensation(2.0), court=Court(cost=0.5)))
    story.step(consent=1)
    assert story.step(action=[D, C]) == [2.5, 2.0] and story.welfare == 4.5
    assert story.measure("court_costs") == 0.5
    story = Story(MatrixGame() | Contract(Compensation(2.0), court=Court(0.5, cost=0.5)))
    story.step(consent=1)
    assert story.step(u=0.7, action=[D, C]) == [5, 0] and story.welfare == 5  # nothing found, no case


@pytest.mark.parametrize(
    ("delay", "lapses", "paid"),
    [
        (0, False, [2, 2, 0, 2]),
        (1, False, [0, 2, 2, 2]),
        (2, False, [0, 0, 2, 4]),
        (9, False, [0, 0, 0, 6]),
        (1, True, [0, 2, 2, 0]),
        (2, True, [0, 0, 2, 2]),
        (3, True, [0, 0, 0, 2]),
        (4, True, [0, 0, 0, 0]),
    ],
)
def test_a_slow_court(delay: int, lapses: bool, paid: list[float]) -> None:
    """Player 0 breaks the contract in rounds 1, 2 and 4 and owes 2 each time."""
    story = Story(MatrixGame(repetitions=4) | Contract(Compensation(2.0), court=Court(delay=delay, lapses=lapses)))
    story.step(consent=1)
    rounds, awarded, received = [D, D, C, D], 0.0, 0.0
    for action, pay in zip(rounds, paid, strict=True):
        alone = [5, 0] if action == D else [3, 3]
        assert story.step(action=[action, C]) == [alone[0] - pay, alone[1] + pay]
        awarded, received = awarded + 2.0 * (action == D), received + pay
        if delay and not story.done:
            assert story.sees("outstanding", 1) == -story.sees("outstanding", 0) == awarded - received
    assert story.done and story.measure("transfers") == sum(paid)


def test_a_debt_outlives_the_contract() -> None:
    story = Story(MatrixGame(repetitions=3) | Contract(Compensation(2.0), duration=1, court=Court(delay=1)))
    story.step(consent=1)
    assert story.step(action=[D, C]) == [5, 0]
    story.step(consent=0)
    assert story.step(action=[D, C]) == [3, 2]  # the award of round 1; nothing new is owed
    story.step(consent=0)
    assert story.step(action=[D, C]) == [5, 0]


# ---- relational contracts -----------------------------------------------------------------------------------------


def profit(plan: tuple[int, ...], bonus: float, trigger: bool) -> float:
    """Return what a principal earns by a plan of honouring, where the agent works while the contract is in force.

    Work is worth 3 to the principal, costs the agent 1 and shows in the outcome; there is no pay but the bonus.
    """
    base = HiddenAction((0.0, 3.0), ((1.0, 0.0), (0.0, 1.0)), (0.0, 1.0), "linear", 0.0, repetitions=len(plan))
    terms = Bonus("outcome", "principal", "agent", amount=bonus, options=("high",))
    decisions = iter(plan)

    def principal(seen: Mapping[str, Any]) -> dict[str, Any]:
        act: dict[str, Any] = {"consent": "accept", "pay": [0.0, 0.0]}
        if seen["stage"] == "honour":
            assert list(seen["owed"]) == [bonus, 0.0]
            act["honour"] = ("renege", "honour")[next(decisions)]
        return act

    def agent(seen: Mapping[str, Any]) -> dict[str, Any]:
        works = seen["agreement"] == "in force"
        return {"consent": "accept", "accept": "accept", "effort": "high" if works else "low"}

    cast = {"principal": policy("callable", function=principal), "agent": policy("callable", function=agent)}
    return float(play(base | Contract(terms, regime="relational", trigger=trigger), cast).returns["principal"][0, 0])


@pytest.mark.parametrize(("bonus", "kept"), [(2.0, True), (2.9, True), (3.1, False), (4.0, False)])
def test_a_bonus_is_honoured_if_and_only_if_the_future_is_worth_it(bonus: float, kept: bool) -> None:
    """Work is worth 3 a round. Reneging saves the bonus b and loses what follows: V_1 = 3 with one round left, and in
    general V_k = 3 + max(0, V_(k-1) - b), so that V_(k-1) >= b if and only if b <= 3. After the last round nothing follows.
    """
    plans = list(itertools.product((0, 1), repeat=3))
    best = max(plans, key=lambda plan: profit(plan, bonus, True))
    assert best == (1, 1, 0) if kept else best[0] == 0
    value = 3.0
    for _ in range(2):
        value = 3.0 + max(0.0, value - bonus)
    assert profit(best, bonus, True) == pytest.approx(value)
    assert max(plans, key=lambda plan: profit(plan, bonus, False)) == (
        0,
        0,
        0,
    )  # if reneging ends nothing, nobody honours


def test_what_is_honoured_is_paid_and_all_see_who_reneged() -> None:
    game = MatrixGame(repetitions=4) | Contract(Compensation(2.0), regime="relational")
    story = Story(game)
    story.step(consent=1)
    assert story.step(action=[D, C]) == [5, 0] and story.stage == "honour" and story.sees("owed", 1) == [2, 0]
    assert story.step(honour=[1, 0]) == [-2, 2]  # player 1 owes nothing: its answer does not count
    assert story.sees("reneged", 1) == ["no", "no"]
    story.step(action=[C, C])
    assert story.stage == "act"  # nobody owes, nobody is asked
    story.step(action=[C, D])
    assert story.step(honour=[1, 0]) == [0, 0] and story.sees("reneged") == ["no", "yes"]
    assert story.sees("agreement") == "in force"
    story.step(action=[D, C])
    assert story.stage == "honour" and story.sees("reneged") == [
        "no",
        "no",
    ]  # the episode ends with what is owed decided
    story.step(honour=[0, 0])
    assert story.done
    assert story.measure("reneged") == pytest.approx(2 / 3) and story.measure("transfers") == 2
    assert story.returns.tolist() == [5 - 2 + 3 + 0 + 5, 0 + 2 + 3 + 5 + 0] and story.welfare == 21


def test_reneging_ends_a_relational_contract_until_a_new_one_is_made() -> None:
    for duration, after in ((None, "act"), (3, "consent")):
        terms = Contract(Compensation(2.0), regime="relational", trigger=True, duration=duration)
        story = Story(MatrixGame(repetitions=3) | terms)
        story.step(consent=1)
        story.step(action=[D, C])
        story.step(honour=0)
        assert (story.sees("agreement"), story.stage) == ("ended", after)


# ---- property -----------------------------------------------------------------------------------------------------


def test_the_owner_of_a_lake_limits_the_others_and_not_itself() -> None:
    game = Fishery(months=3) | Contract(Quota(5), owner="fisher_1", asset="harvest", duration=1)
    story = Story(game)
    story.step(consent=[1, 1, 0, 1, 1])
    assert story.stage == "permit" and game.role("fisher").deciding("permit", 0) == ()
    story.step(permit=[0, 4, 0, 0, 0])
    assert story.sees("permitted", 3) == 4
    assert story.step(harvest=[3, 9, 9, 4, 5]) == [3, 9, 4, 4, 4]
    story.step(consent=1)
    assert story.stage == "act" and story.sees("permitted", 3) == 100  # under a contract the owner is not asked
    harvest = np.array([3, 9, 9, 4, 5])
    owed = 2 * np.clip(harvest - 5, 0, None)
    np.testing.assert_allclose(story.step(harvest=harvest), harvest - owed + (owed.sum() - owed) / 4)


def test_the_owner_of_a_choice_holds_the_others_to_an_option_or_leaves_it_free() -> None:
    story = Story(MatrixGame(repetitions=3) | Contract(Compensation(1.0), owner="player_0", asset="action"))
    story.step(consent=[1, 0])
    for permit, rewards in ((0, [0, 5]), (1, [3, 3]), (2, [0, 5])):
        story.step(permit=[permit, 0])
        assert story.step(action=[C, D]) == rewards
    assert story.done


def test_property_is_the_threat_point_of_the_bargain() -> None:
    """Who proposes leaves the other what it has without a contract: 1, or 5 if it is the owner of a dilemma's actions.

    Backward induction over the played game: without a contract the owner holds the other to cooperation and defects.
    """
    for owner, outside in ("", 1.0), ("player_1", 5.0):
        property_right: dict[str, Any] = {"owner": owner, "asset": "action"} if owner else {}
        game = MatrixGame() | Contract(Compensation(2.5), side_payment=8.0, **property_right)

        def disagreement(game: Game = game, owner: str = owner) -> Host:
            table: Any = np.zeros((2, 2, 2))
            for cell in itertools.product((C, D), repeat=2):
                story = Story(game)
                story.step(side=0.0)
                story.step(consent=0)
                if owner:
                    story.step(permit=[0, 1 + C])
                table[(slice(None), *cell)] = story.step(action=cell)
            return np.array(table[(slice(None), *max(pure_nash(table), key=lambda cell: cell[1]))])

        without = disagreement()
        assert without[1] == outside
        best = -np.inf
        for side in np.arange(-8, 8.5, 0.5):
            story = Story(game)
            story.step(side=side)
            story.step(consent=[0, 1])
            story.step(action=[C, C])  # dominant under the contract
            if story.returns[1] >= without[1]:
                best = max(best, story.returns[0])
        assert best == 6.0 - outside


def test_only_an_owner_makes_acts_uncertain() -> None:
    free: Any = Fishery(months=2) | Contract(Quota(5))
    assert type(free).bend is Institution.bend
    game = Fishery(months=2) | Contract(Quota(5), owner="fisher_0", asset="harvest")
    for permit, scarce in ((5, False), (60, True)):
        story = Story(game)
        story.step(consent=0)
        story.step(permit=permit)
        acts = {"fisher": {f.name: np.full((1, 5), 30) for f in game.role("fisher").acts}}
        assert game.uncertain(story.state, acts) == scarce


# ---- several contracts, facts of other mechanisms -----------------------------------------------------------------


def test_two_contracts_on_one_game() -> None:
    base = Fishery(months=2)
    one, two = Contract(Quota(10, fine=1.0)), Contract(Quota(5, fine=3.0), label="strict", duration=1)
    game = base | one | two
    assert [s.name for s in game.stages] == ["strict_consent", "consent", "act"]
    assert game.name == "Fishery | Contract | Contract(strict)"
    story = Story(game)
    story.step(strict_consent=1)
    story.step(consent=1)
    harvest = np.array([12, 6, 5, 0, 0])
    owed = np.clip(harvest - 10, 0, None) * 1.0 + np.clip(harvest - 5, 0, None) * 3.0
    np.testing.assert_allclose(story.step(harvest=harvest), harvest - owed + (owed.sum() - owed) / 4)
    assert story.stage == "strict_consent" and story.sees("agreement") == "in force"
    story.step(strict_consent=[1, 1, 1, 1, 0])
    owed = np.clip(harvest - 10, 0, None) * 1.0
    np.testing.assert_allclose(story.step(harvest=harvest), harvest - owed + (owed.sum() - owed) / 4)
    strict = 3.0 * np.clip(harvest - 5, 0, None)
    assert story.measure("strict_transfers") == np.abs((strict.sum() - strict) / 4 - strict).sum() / 2
    assert story.measure("strict_in_force") == 0.5 and story.measure("agreed") == 1
    check_mechanism(two, base | one, null=Contract(regime="none", label="strict"), worlds=16)
    with pytest.raises(ValueError, match="stage names must be distinct"):
        _ = (base | one | one).stages


def test_what_is_disclosed_voluntarily_can_be_contracted_on_and_what_is_public_by_law_cannot() -> None:
    """The round's own type is paid for, though nature has drawn the next round's when the round is settled."""
    base = Procurement(repetitions=6)
    game = base | Disclose("type", voluntary=True) | Contract(Royalty())
    tells = policy("callable", function=lambda seen: {"consent": "accept", "disclose_type": "disclose"})
    signs = policy("callable", function=lambda seen: {"consent": "accept"})
    done = play(game, {"principal": signs, "agent": tells}, worlds=20, seed=1, keep=True)
    types = [m.seen["agent"]["type"][:, 0] for m in done.moments if game.stages[m.stage[0]].name == "disclose_type"]
    assert np.unique(types).tolist() == [1.0, 1.5]
    np.testing.assert_allclose(done.measures["transfers"], np.sum(types, axis=0))
    np.testing.assert_allclose(done.returns["principal"][:, 0], np.sum(types, axis=0))
    with pytest.raises(Unfit, match="only on verifiable fields .*'disclosed_type' is not for principal or agent"):
        _ = base | Disclose("type") | Contract(Royalty())
    with pytest.raises(
        Unfit, match="one value a player; 'disclosed_total' is not for fisher"
    ):  # a table of everybody's
        _ = Fishery() | Disclose("total", voluntary=True) | Contract(Quota(field="disclosed_total"))


# ---- invariants ---------------------------------------------------------------------------------------------------


def random_acts(game: Game, rng: np.random.Generator, worlds: int) -> dict[str, dict[str, Host]]:
    acts: dict[str, dict[str, Host]] = {}
    for role in game.roles:
        acts[role.name] = {}
        for field in role.acts:
            size, low, high = (worlds, role.count, *field.shape), int(field.space.low), int(field.space.high)
            likely = rng.integers(0, 2, size) * (high - low) + low  # often at its bounds, so that all accept sometimes
            within = rng.integers(low, high, size, endpoint=True) if field.discrete else rng.uniform(low, high, size)
            acts[role.name][field.name] = np.where(rng.random(size) < 0.7, likely, within)
    return acts


def variants(blank: Terms, fixed: Terms, owner: str, asset: str) -> dict[str, Contract]:
    """Every feature alone, and some together."""
    return {
        "rotating": Contract(blank, proposer="rotating", duration=2),
        "random": Contract(blank, proposer="random", side_payment=2.0, duration=2),
        "random once": Contract(blank, proposer="random", court=Court(0.5)),
        "auctioned": Contract(blank, proposer="auctioned", renegotiation=True),
        "menu": Contract((fixed, blank), duration=2, side_payment=1.0),
        "menu renegotiated": Contract((fixed, fixed), renegotiation=True),
        "renegotiated": Contract(blank, renegotiation=True, duration=2),
        "damages": Contract(fixed, remedy="damages", damages=2.0, court=Court(0.5, 0.25, 1)),
        "slow": Contract(fixed, court=Court(0.5, 0.25, 2, lapses=True), duration=2),
        "termination": Contract(fixed, remedy="termination", court=Court(0.7, 0.5, 1)),
        "termination, anew": Contract(fixed, remedy="termination", duration=3, proposer=1),
        "relational": Contract(fixed, regime="relational"),
        "trigger": Contract(blank, regime="relational", trigger=True, duration=3, proposer="random"),
        "owner": Contract(fixed, owner=owner, asset=asset),
        "owner, lease": Contract(
            blank, owner=owner, asset=asset, duration=2, renegotiation=True, label="lease", court=Court(0.5)
        ),
        "owner, trigger": Contract(
            blank, owner=owner, asset=asset, regime="relational", trigger=True, proposer="auctioned", duration=1
        ),
        "text": Contract((blank, fixed), regime="text", proposer="rotating", duration=2, side_payment=1.0),
    }


def answered(theta: float | None) -> Compensation:
    return Compensation(theta, "refused", "accepted", "answer")


GAMES: dict[str, tuple[Game, dict[str, Contract]]] = {
    "Fishery": (Fishery(months=5), variants(Quota(None), Quota(5), "fisher_1", "harvest")),
    "MatrixGame": (
        MatrixGame(repetitions=4),
        variants(Compensation(None), Compensation(1.5), "player_1", "action"),
    ),
    "HiddenAction": (HiddenAction(repetitions=2), variants(answered(None), answered(1.0), "principal_0", "effort")),
    "Sanction": (
        MatrixGame(repetitions=2) | Sanction(),
        variants(Compensation(None), Compensation(1.5), "player_0", "action"),
    ),
}
NAMES = list(GAMES["MatrixGame"][1])


SPARED = {
    "Fishery": ("random once", "menu renegotiated", "termination, anew", "relational", "text"),
    "MatrixGame": (),
    "HiddenAction": ("random", "renegotiated", "slow", "owner", "menu"),
    "Sanction": tuple(name for name in NAMES if name not in ("slow", "owner, trigger")),
}
"""What is left to the other games, to save time."""

EXAMINED = [(game, name) for game in GAMES for name in NAMES if name not in SPARED[game]]


@pytest.mark.parametrize(("game", "variant"), EXAMINED)
def test_the_examiner_is_content(game: str, variant: str) -> None:
    base, contracts = GAMES[game]
    check_mechanism(contracts[variant], base, null=Contract(regime="none"), worlds=5)


@pytest.mark.parametrize("variant", NAMES)
def test_worlds_at_different_stages_are_as_if_alone_and_as_in_torch(variant: str) -> None:
    contracts = variants(Compensation(None), Compensation(1.5), "player_1", "action")
    game: Any = trio(2) | contracts[variant]
    worlds, rng = 12, np.random.default_rng(3)
    acts = [random_acts(game, rng, worlds) for _ in range(game.horizon)]
    draws = rng.random((game.horizon + 1, worlds, game.draws))
    xp, _ = backend("torch", "cpu")

    def run(pick: Any, convert: Any = np.asarray) -> list[Host]:
        """Return the returns, and each world's measures and number of steps."""
        given = [convert(draws[t][pick]) for t in range(len(draws))]
        state = game.start(given[0])
        live, steps, total = state.own.status == 0, 0, 0.0
        for t, act in enumerate(acts):
            chosen = tree_map(lambda a: convert(a[pick]), act)
            outcome = game.step(state, chosen, given[t + 1])
            total = total + outcome.rewards["player"] * live[..., None]
            state, steps = select(live, outcome.state, state), steps + live * 1
            live = live & ~outcome.done
        assert not bool(live.any())
        return [to_numpy(a) for a in (total, steps, *game.measures(state).values(), state.base.total)]

    together = run(slice(None))
    contract = contracts[variant]
    asked_always = contract.renegotiation or not (contract.recurs or contract.owner)
    if game.closing or not asked_always:
        assert len(set(together[1].tolist())) > 1  # worlds do differ in their stages
    for one, other in zip(together, run(slice(None), xp.asarray), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    for world in range(worlds):
        for one, other in zip(together, run(world), strict=True):
            np.testing.assert_array_equal(one[world], other)


def contracts_made(own: Any) -> Host:
    """Return how many contracts were made, in every world."""
    return np.asarray(own.more.get("signed", own.status == 2)) * 1.0


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["enforced", "text", "relational"]),
    st.sampled_from(["performance", "damages", "termination"]),
    st.sampled_from([0, 2, "rotating", "random", "auctioned"]),
    st.sampled_from([None, 1, 2, 7]),
    st.booleans(),
    st.booleans(),
    st.builds(Court, st.floats(0, 1), st.floats(0, 2), st.integers(0, 3), st.booleans()),
    st.floats(0, 4),
    st.integers(0, 10_000),
)
def test_transfers_sum_to_zero_and_who_refuses_is_never_charged(
    regime: str,
    remedy: str,
    proposer: Any,
    duration: int | None,
    renegotiation: bool,
    menu: bool,
    court: Court,
    damages: float,
    seed: int,
) -> None:
    """Player 1 refuses whatever it is asked, bids nothing and proposes terms that bind nobody."""
    terms: Any = (Compensation(2.0), Compensation(None)) if menu else Compensation(None)
    contract = Contract(
        terms, regime, proposer, (), court, 3.0, duration, renegotiation, remedy, damages, trigger=bool(seed % 2)
    )
    game = trio(seed % 7) | contract
    rng = np.random.default_rng(seed)
    for refuses in (False, True):
        state = game.start(rng.random((16, game.draws)))
        live, paid, welfare = np.ones(16, dtype=bool), np.zeros((16, 3)), np.zeros(16)
        bound = np.zeros(16, dtype=bool)
        for _ in range(game.horizon):
            acts = random_acts(game, rng, 16)["player"]
            if refuses:
                for name in acts:
                    acts[name][:, 1] *= 0 if name != "action" else 1
            proposes = state.own.more["proposer"] == 1 if isinstance(proposer, str) else np.zeros(16, dtype=bool)
            outcome = game.step(state, {"player": acts}, rng.random((16, game.draws)))
            signed = contracts_made(outcome.state.own) > contracts_made(state.own)
            bound |= live & signed & proposes  # it is bound by its own proposals only
            paid += outcome.rewards["player"] * live[:, None]
            welfare += outcome.welfare * live
            state = select(live, outcome.state, state)
            live = live & ~outcome.done
        books = game.measures(state)
        alone = state.base.total
        np.testing.assert_allclose(paid.sum(axis=-1), welfare, atol=1e-9)
        np.testing.assert_allclose(alone.sum(axis=-1) - books.get("court_costs", 0.0), welfare, atol=1e-9)
        if refuses:
            never = ~bound
            if not isinstance(proposer, str):
                assert never.all() and (books["agreed"] == 0).all()
            price = books.get("proposal_prices", np.zeros(16))[:, None] * 0.5 if proposer == "auctioned" else 0.0
            received = paid - alone  # no less than before, and a share of what others paid for proposing
            assert (received[never, 1] >= -1e-9).all()
            if proposer != "auctioned":
                np.testing.assert_allclose(received[never], 0.0, atol=1e-9)
            else:
                np.testing.assert_allclose(received[never, 1], np.broadcast_to(price, (16, 1))[never, 0], atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 20), st.integers(0, 100))
def test_a_null_contract_and_one_that_nobody_signs_are_the_base_game(table: int, seed: int) -> None:
    base, rng = trio(table), np.random.default_rng(seed)
    assert base | Contract(Compensation(None), "none", duration=2, proposer="rotating") is base
    game = base | Contract(Compensation(None), duration=1, proposer="rotating", court=Court(delay=1))
    state, alone = game.start(rng.random((4, 0))), base.start(rng.random((4, 0)))
    for _ in range(4):
        actions = rng.integers(0, 2, (4, 3))
        nothing = {"theta": np.full((4, 3), 9.0), "consent": actions * 0, "action": actions}
        for _stage in ("propose", "consent"):
            state = game.step(state, {"player": nothing}, rng.random((4, 0))).state
        under = game.step(state, {"player": nothing}, rng.random((4, 0)))
        plain = base.step(alone, {"player": {"action": actions}}, rng.random((4, 0)))
        np.testing.assert_array_equal(under.rewards["player"], plain.rewards["player"])
        np.testing.assert_array_equal(under.welfare, plain.welfare)
        state, alone = under.state, plain.state
    assert (under.done == plain.done).all()


# ---- words and errors ---------------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(-20, 20), min_size=2, max_size=6),
    st.floats(-10, 10),
    st.floats(0, 5),
)
def test_a_duty_is_owed_by_its_shortfall_in_equal_parts(did: list[float], least: float, fine: float) -> None:
    n, duty = len(did), Duty(least, fine, "given")
    players = tuple(f"p_{i}" for i in range(n))
    field = Field("given", Real(-20, 20), "what one gives", verifiable=True)
    deal = Deal(players, {"given": field}, {"given": (True,) * n})
    duty.suit(deal)
    facts = np.array([did])
    debts = duty.owed(duty.stated({}, facts[:, 0]), {"given": facts}, deal)
    assert debts.shape == (1, n, n)
    for i, gave in enumerate(did):
        for j in range(n):
            part = 0.0 if i == j else fine * max(0.0, least - gave) / (n - 1)
            assert debts[0, i, j] == pytest.approx(part, abs=1e-9)


def test_a_duty_by_hand_with_and_without_a_sword() -> None:
    """Least 8, fine 3: of 2, 8 and 11 the first lacks 6, owes 18, and each of the others gets 9 - where it is enforced."""
    took, base = (2, 8, 11), Fishery(fishers=3, months=1)
    acts = [{"harvest": each, "consent": "accept"} for each in took]
    found = {}
    for regime in ("text", "enforced"):
        game = base | Contract(Duty(8.0, 3.0, "caught"), regime=regime)
        cast = {f"fisher_{i}": policy("constant", acts=act) for i, act in enumerate(acts)}
        found[regime] = play(game, cast).returns["fisher"][0]
        refusing = {**cast, "fisher_2": policy("constant", acts={"harvest": 11, "consent": "refuse"})}
        np.testing.assert_array_equal(play(game, refusing).returns["fisher"][0], took)
    np.testing.assert_allclose(found["text"], took)
    np.testing.assert_allclose(found["enforced"], [2 - 18.0, 8 + 9.0, 11 + 9.0])


@pytest.mark.parametrize("regime", ["text", "enforced"])
def test_duties_and_quotas_compose(regime: str) -> None:
    """A floor and a ceiling on one game, in one contract after the other."""
    base = Fishery(fishers=3, months=2)
    contract = Contract(Duty(4.0, 2.0, "caught"), regime=regime, court=Court(0.7))
    check_mechanism(contract, base, null=Contract(regime="none"), worlds=5)
    both = (
        base | Contract(Duty(4.0, 2.0, "caught"), regime=regime) | Contract(Quota(9, 1.0), regime=regime, label="cap")
    )
    cast = {f"fisher_{i}": policy("constant", acts={"harvest": each}) for i, each in enumerate((1, 6, 12))}
    consents = [field.name for field in both.role("fisher").acts if "consent" in field.name]
    assert len(consents) == 2
    for i, each in enumerate((1, 6, 12)):
        cast[f"fisher_{i}"] = policy("constant", acts={"harvest": each} | dict.fromkeys(consents, "accept"))
    paid = play(both, cast, keep=True).moments[-1].rewards["fisher"][0] - (1, 6, 12)
    moved = np.array([-6.0 + 1.5, 3.0 + 1.5, 3.0 - 3.0]) if regime == "enforced" else np.zeros(3)
    np.testing.assert_allclose(paid, moved, atol=1e-9)


def test_a_duty_says_its_numbers_and_refuses_what_it_cannot_bind() -> None:
    rules = (Fishery() | Contract(Duty(4.5, 2.0, "caught"))).rules("fisher")
    assert "each comes to at least 4.5 of caught a round; who falls short owes 2 for each unit below" in rules
    assert build("parts", {"Duty": {"field": "caught", "least": 4.5}}) == Duty(4.5, 2.0, "caught")
    assert [field.space for field in Duty(-2.0).figures] == [Real(-2.0, 0.0), Real(0.0, 2.0)]
    with pytest.raises(Unfit, match="Duty: a least value needs a field that is a single number, 'own' is one of"):
        _ = MatrixGame() | Contract(Duty(1.0, field="own"))
    for wrong, said in (({"least": 1e7}, "least: "), ({"least": float("nan")}, "least: "), ({"fine": -1.0}, "fine: ")):
        with pytest.raises(ValueError, match=said):
            Duty(**wrong)


def test_the_rules_name_every_number() -> None:
    game = MatrixGame(repetitions=4) | Contract(
        (Compensation(None), Compensation(2.0)),
        proposer="auctioned",
        duration=3,
        renegotiation=True,
        side_payment=1.5,
        remedy="damages",
        damages=1.25,
        court=Court(0.75, 0.5, 2),
        owner="player_1",
        asset="action",
        highest_bid=6.0,
    )
    for text in (
        "(item2) whoever plays defect pays 2",
        "pays the second-highest bid",
        "lasts 3 rounds",
        "stays unless all accept",
        "up to 1.5",
        "1.25 times what is owed",
        "probability 0.75",
        "costs the one who owes 0.5",
        "paid 2 rounds later; what is not yet paid when the game ends is paid then",
        "player_1 leaves the action of the others free",
        "a number from 0 to 6 (at stage tender)",
        "it counts if you propose",
        "if you are the proposer you agree, whatever you answer",
    ):
        assert text in game.rules("player"), text
    lapsed = (MatrixGame() | Contract(Compensation(2.0), court=Court(delay=1, lapses=True))).rules("player")
    assert "paid 1 round later; what is not yet paid when the game ends is lost" in lapsed


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"terms": ()}, "terms: terms such as Quota"),
        ({"terms": ("Quota",)}, "terms: terms such as Quota"),
        (
            {"proposer": "loudest"},
            "proposer: a position from 0 or one of 'rotating', 'random', 'auctioned', got 'loudest'",
        ),
        ({"proposer": -1}, "proposer: a whole number from 0"),
        ({"proposer": "rotating", "terms": Quota(5)}, "proposer: 'rotating' takes something to propose"),
        ({"duration": 0}, "duration: a whole number from 1"),
        ({"renegotiation": True}, "renegotiation: fixed terms for the whole episode cannot be renegotiated"),
        ({"renegotiation": 1}, "renegotiation: true or false, got 1"),
        ({"remedy": "mercy"}, "remedy: one of 'performance', 'damages', 'termination', got 'mercy'"),
        ({"damages": -1.0}, "damages: a number from 0 to inf, got -1.0"),
        ({"highest_bid": -1.0}, "highest_bid: a number from 0"),
        ({"court": 0.5}, "court: a Court, for example"),
        ({"owner": "fisher_0"}, "owner, asset: both or neither"),
        ({"label": "my contract"}, "label: letters, digits and _"),
    ],
)
def test_parameters_out_of_range_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Contract(**wrong)


def test_courts_out_of_range_are_named() -> None:
    for wrong, words in (
        ({"accuracy": 1.5}, "accuracy: a number from 0 to 1"),
        ({"cost": -1.0}, "cost: a number from 0"),
        ({"delay": -1}, "delay: a whole number from 0"),
        ({"lapses": 1}, "lapses: true or false"),
    ):
        with pytest.raises(ValueError, match=words):
            Court(**wrong)


def test_what_a_game_lacks_is_named() -> None:
    for wrong, words in (
        ({"owner": "fisher_9", "asset": "harvest"}, "owner: one of fisher_0, .*, got 'fisher_9'"),
        ({"owner": "fisher_0", "asset": "trees"}, "nobody in Fishery decides 'trees'; there are: harvest"),
        ({"bound": ("boat",)}, "bound: Fishery has no role boat"),
    ):
        with pytest.raises(Unfit, match=words):
            _ = Fishery() | Contract(**wrong)
    with pytest.raises(Unfit, match="asset: nobody but agent_0 decides 'effort'"):
        _ = HiddenAction() | Contract(answered(1.0), owner="agent_0", asset="effort")
    with pytest.raises(Unfit, match="asset: a single number or choice, 'pay' is several"):
        _ = HiddenAction() | Contract(answered(1.0), owner="agent_0", asset="pay")


def test_a_menu_in_a_spec() -> None:
    given = {
        "terms": [{"Quota": {"limit": 10}}, {"Quota": {"limit": None, "fine": 3.0}}],
        "court": {"Court": {"accuracy": 0.5, "delay": 1}},
        "proposer": "rotating",
        "duration": 3,
    }
    built = build("mechanisms", {"Contract": given})
    assert built == Contract((Quota(10), Quota(None, 3.0)), proposer="rotating", duration=3, court=Court(0.5, delay=1))
