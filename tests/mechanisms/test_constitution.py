"""Constitutions: what passes is in force, nothing else changes, and who sets the agenda gets what theory says."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import acts_of

from societas import Game, Institution, Mechanism, mechanism
from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.contracting.relational import Relational
from societas.envs.core.game import Outcome
from societas.envs.core.mechanism import Unfit
from societas.envs.norms.fishery import Fishery
from societas.envs.norms.matrix_game import MatrixGame
from societas.mechanisms.constitution import Article, Constituted, Constitution
from societas.mechanisms.contract import Contract
from societas.mechanisms.mediator import Mediator
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.talk import Talk
from societas.mechanisms.tax import Tax
from societas.mechanisms.vote import Vote
from societas.testing import check_mechanism

FINES = (0.0, 2.0, 5.0)
FINE = Article(Sanction(), "fine", FINES)
COST = Article(Sanction(), "cost", (1.0, 0.5), threshold=1.0)
RATES = Article(Tax(revenue="burnt"), "rates", ((0.0,), (0.5,)))
SELF = Article(None, "threshold", (0.5, 1.0))


def trio(rounds: int = 1) -> MatrixGame:
    """Three players whose payoffs are all 0."""
    return MatrixGame(np.zeros((3, 2, 2, 2)).tolist(), ("left", "right"), rounds)


def motion(game: Game, heading: str) -> int:
    """Return the number of a proposal."""
    assert isinstance(game, Constituted)
    return game.headings.index(heading)


class Life:
    """Worlds of a game that is played step by step."""

    def __init__(self, game: Game, worlds: int = 1) -> None:
        self.game, self.worlds = game, worlds
        self.u = np.full((worlds, game.draws), 0.5)
        self.state = game.start(self.u)

    def step(self, **acts: Any) -> Outcome:
        outcome = self.game.step(self.state, acts_of(self.game, self.worlds, **acts), self.u)
        self.state = outcome.state
        return outcome

    def meeting(self, heading: str, votes: Any = 1) -> None:
        """Propose an amendment and vote on it."""
        assert self.game.stages[int(self.game.stage(self.state)[0])].name == "amend"
        self.step(amendment=motion(self.game, heading))
        self.step(approve=votes)

    def sees(self, name: str) -> Any:
        role = self.game.roles[0].name
        return self.game.view(self.state)[role][name][0, 0].tolist()


# ---- what is in force acts, and nothing else changes ----------------------------------------------------------------

BASES: tuple[Game, ...] = (trio(4), Fishery(months=4, collapse=0))


@pytest.mark.parametrize("base", BASES, ids=lambda game: game.name)
def test_after_an_amendment_it_is_the_game_under_the_option_that_passed(base: Game) -> None:
    """Worlds amend differently side by side; each is bit for bit the game in which these options were voted for."""
    game, twin = base | Constitution((FINE,)), base | Vote(Sanction(), "fine", FINES, each_round=True)
    rng, worlds = np.random.default_rng(2), 24
    u = rng.random((worlds, game.draws))
    state, other = game.start(u), twin.start(u)
    count = len(game.players)
    force = np.zeros(worlds, dtype=int)
    for number in range(4):
        proposed, yes = rng.integers(0, 4, worlds), rng.integers(0, count + 1, worlds)
        state = game.step(state, acts_of(game, worlds, amendment=proposed[:, None]), u).state
        ballots = np.arange(count) < yes[:, None]
        outcome = game.step(state, acts_of(game, worlds, approve=ballots), u)
        assert not any(pay.any() for pay in outcome.rewards.values()) and not outcome.welfare.any()
        state = outcome.state
        force = np.where((proposed > 0) & (2 * yes > count), proposed - 1, force)
        other = twin.step(other, acts_of(twin, worlds, ballot=force[:, None]), u).state
        shown, seen = game.view(state), twin.view(other)
        for role in base.roles:
            np.testing.assert_array_equal(shown[role.name]["law_sanction_fine"], seen[role.name]["in_force"])
        for _ in range(2):
            u = rng.random((worlds, game.draws))
            acts = {
                role.name: {f.name: rng.integers(0, min(f.space.high, 9) + 1, (worlds, count)) for f in role.acts}
                for role in twin.roles
            }
            more = {role: {**acts_of(game, worlds)[role], **fields} for role, fields in acts.items()}
            one, two = game.step(state, more, u), twin.step(other, acts, u)
            for name in one.rewards:
                np.testing.assert_array_equal(one.rewards[name], two.rewards[name])
            np.testing.assert_array_equal(one.welfare, two.welfare)
            np.testing.assert_array_equal(one.done, two.done)
            state, other = one.state, two.state
        assert (game.round(state) == number + 1).all()
        measured = game.measures(state)
        for name, values in twin.measures(other).items():
            mine = "final_sanction_fine" if name == "option_chosen" else name
            np.testing.assert_array_equal(measured[mine], values)
    assert one.done.all() and len(set(force)) == 3


def test_two_articles_on_one_institution_and_one_on_another() -> None:
    game = trio(2) | Constitution((FINE, RATES, COST))
    assert [stage.name for stage in game.stages] == ["amend", "ratify", "act", "sanction"]
    life = Life(game)
    life.meeting("sanction_fine: 5", [[1, 1, 0]])
    life.step()
    paid = life.step(punish=np.array([[2, 0, 0]]))
    np.testing.assert_array_equal(paid.rewards["player"], [[-1.0, -5.0, 0.0]])
    life.meeting("sanction_cost: 0.5", [[1, 1, 0]])  # entrenched: it takes all
    assert life.sees("verdict") == 2 and life.sees("law_sanction_cost") == 0
    life.step()
    paid = life.step(punish=np.array([[2, 0, 0]]))
    np.testing.assert_array_equal(paid.rewards["player"], [[-1.0, -5.0, 0.0]])
    measured = game.measures(life.state)
    assert measured["amendments"] == 1 and measured["rejections"] == 1 and measured["sanctions"] == 2
    assert measured["final_sanction_fine"] == 2 and measured["final_sanction_cost"] == 0
    life = Life(game)
    life.meeting("sanction_cost: 0.5")
    life.step()
    paid = life.step(punish=np.array([[2, 0, 0]]))
    np.testing.assert_array_equal(paid.rewards["player"], [[-0.5, 0.0, 0.0]])


def test_a_status_quo_without_the_institution() -> None:
    """A tax of 0 leaves the game as it is; one of a half that is amended in takes half of what is earned from then on."""
    base = MatrixGame(np.full((3, 2, 2, 2), 4.0).tolist(), ("left", "right"), 2)
    life = Life(base | Constitution((RATES,)))
    life.meeting("nothing")
    assert life.sees("verdict") == 1
    paid = life.step()
    assert paid.rewards["player"].tolist() == [[4.0] * 3] and paid.welfare == 12.0
    life.meeting("tax_rates: 0.5")
    paid = life.step()
    assert paid.rewards["player"].tolist() == [[2.0] * 3] and paid.welfare == 6.0


def test_turns_periods_and_delay() -> None:
    """Meetings before rounds 1, 3 and 5; what passes at the first is in force from round 3 on, a delay of two rounds."""
    game = trio(5) | Constitution((FINE,), period=2, delay=2)
    life = Life(game)
    fines, proposers = [], [life.sees("proposer")]
    life.meeting("sanction_fine: 2")
    assert life.sees("law_sanction_fine") == 0 and life.sees("coming_sanction_fine") == 1
    for number in range(5):
        if number in (2, 4):
            proposers.append(life.sees("proposer"))
            life.meeting("sanction_fine: 5")
            assert life.sees("verdict") == (3 if number == 2 else 1)  # what has passed already is nothing new
        life.step()
        fines.append(-life.step(punish=np.array([[2, 0, 0]])).rewards["player"][0, 1])
    assert fines == [0.0, 0.0, 2.0, 2.0, 5.0] and proposers == [0, 1, 2]
    assert game.measures(life.state)["amendments"] == 2 and game.measures(life.state)["rejections"] == 0


def test_what_waits_can_be_called_off() -> None:
    life = Life(trio(4) | Constitution((FINE,), delay=2))
    life.meeting("sanction_fine: 5")
    life.step(), life.step()
    life.meeting("sanction_fine: 0")
    assert life.sees("verdict") == 3 and life.sees("coming_sanction_fine") == 0
    for _ in range(2):
        life.step(), life.step()
        life.meeting("nothing")
    assert life.sees("law_sanction_fine") == 0


def test_only_the_proposer_proposes() -> None:
    game = trio(3) | Constitution((FINE,))
    life = Life(game)
    for turn in range(3):
        assert life.sees("proposer") == turn
        life.step(amendment=np.where(np.arange(3) == turn, 1 + turn, 3)[None])
        assert life.sees("proposal") == 1 + turn
        life.step(approve=np.array([[1, 0, 1]]))
        assert game.view(life.state)["player"]["votes"][0, 0].tolist() == ([2, 1, 2] if turn else [0, 0, 0])
        life.step(), life.step()
    fixed = trio() | Constitution((FINE,), agenda="player_1")
    assert [bool(fixed.role("player").deciding("amend", i)) for i in range(3)] == [False, True, False]
    agents = HiddenAction() | Constitution((FINE,), roles=("agent",))
    assert not agents.role("principal").deciding("ratify") and agents.role("agent").deciding("amend")


def test_lots_fall_on_all_alike() -> None:
    game = trio(2) | Constitution((FINE,), agenda="random")
    u = np.zeros((3000, game.draws))
    u[:, -1] = (np.arange(3000) + 0.5) / 3000
    state = game.start(u)
    first = game.view(state)["player"]["proposer"][:, 0]
    np.testing.assert_array_equal(np.bincount(first), [1000] * 3)
    acts = acts_of(game, 3000, amendment=np.array([1, 2, 3]))
    state = game.step(state, acts, u).state
    np.testing.assert_array_equal(game.view(state)["player"]["proposal"][:, 0], first + 1)
    np.testing.assert_array_equal(game.view(state)["player"]["proposer"][:, 0], first)
    state = game.step(state, acts, u[::-1]).state
    np.testing.assert_array_equal(game.view(state)["player"]["proposer"][:, 0], first[::-1])


@pytest.mark.parametrize(("share", "votes"), [(None, 3), (0.5, 3), (0.6, 3), (2 / 3, 4), (0.8, 4), (0.81, 5), (1.0, 5)])
def test_how_many_votes_it_takes(share: float | None, votes: int) -> None:
    game = Fishery(months=1) | Constitution((FINE,), threshold=share)
    assert f"An amendment takes {votes} of 5 votes." in game.about
    life = Life(game, 6)
    life.step(amendment=2)
    life.step(approve=np.arange(5) < np.arange(6)[:, None])
    np.testing.assert_array_equal(game.measures(life.state)["amendments"], np.arange(6) >= votes)
    np.testing.assert_array_equal(game.measures(life.state)["rejections"], np.arange(6) < votes)


def test_more_than_half_is_not_half() -> None:
    game = HiddenAction() | Constitution((FINE,))
    assert "An amendment takes 2 of 2 votes." in game.about


def test_a_threshold_that_is_amended_binds_its_own_amendment() -> None:
    """Two of three make it unanimity; two of three cannot undo that, nor anything else; all can."""
    life = Life(trio(5) | Constitution((FINE, SELF)))
    for heading, votes, verdict in (
        ("sanction_fine: 2", [[0, 1, 1]], 3),
        ("threshold: 1", [[1, 1, 0]], 3),
        ("threshold: 0.5", [[1, 1, 0]], 2),
        ("sanction_fine: 5", [[1, 1, 0]], 2),
        ("threshold: 0.5", [[1, 1, 1]], 3),
    ):
        life.meeting(heading, votes)
        assert life.sees("verdict") == verdict
        life.step(), life.step()
    assert life.game.measures(life.state)["final_threshold"] == 0


# ---- theory ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site(Mechanism):
    """A public good at a place: each is paid minus its distance from hers."""

    place: int = 0
    homes: tuple[int, ...] = (0, 0, 0)

    def apply(self, game: Game) -> Game:
        """Return the game with the good."""
        return Sited(game, self)


class Sited(Institution):
    """A game with a public good."""

    mechanism: Site

    @property
    def terms(self) -> str:
        """The good in words."""
        return f"A public good is at {self.mechanism.place}; each is paid minus its distance from hers."

    def settle(self, own: Any, outcome: Outcome, ended: Any, u: Any) -> tuple[Any, Outcome]:
        """Pay."""
        far = np.abs(np.asarray(self.mechanism.homes, dtype=float) - self.mechanism.place)
        paid = outcome.rewards["player"] - far * ended[..., None]
        return own, outcome._replace(rewards={"player": paid}, welfare=outcome.welfare - far.sum() * ended)


def solved(homes: tuple[int, ...], quo: int, threshold: float, places: int) -> tuple[int, Any, Any]:
    """Solve the played game by backward induction: where the good ends up, payoffs there, and payoffs by place.

    Every proposal of player 0 is played with every vote. A voter votes yes if that is no worse for her whatever the others
    vote; the examination that this or the opposite always holds is part of it.
    """
    options = (quo, *(place for place in range(places) if place != quo))
    game = trio() | Constitution((Article(Site(0, homes), "place", options),), threshold, agenda="player_0")
    cells = np.array(list(itertools.product(range(places + 1), *[(0, 1)] * 3)))
    life = Life(game, len(cells))
    life.step(amendment=cells[:, :1])
    life.step(approve=cells[:, 1:])
    pay = life.step().rewards["player"].reshape((places + 1, 2, 2, 2, 3))
    outcomes = []
    for proposal in range(places + 1):
        votes = []
        for i in range(3):
            no, yes = np.moveaxis(pay[proposal, ..., i], i, 0)
            assert (yes >= no).all() or (yes <= no).all()
            votes.append(int((yes >= no).all()))
        outcomes.append(pay[(proposal, *votes)])
    best = max(outcomes, key=lambda paid: paid[0])
    by_place = np.stack([-np.abs(np.array(homes) - place) for place in options]).astype(float)
    (where,) = {int(options[k]) for k in range(places) if (by_place[k] == best).all()} or {-1}
    return where, best, dict(zip(options, by_place, strict=True))


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(0, 6)] * 3), st.integers(0, 6))
def test_a_setter_gets_her_best_of_what_a_majority_prefers_to_the_status_quo(homes: Any, quo: int) -> None:
    """Romer and Rosenthal (1978), by exact enumeration of the played game."""
    _, best, worth = solved(homes, quo, 0.5, 7)
    weakly = [pay for pay in worth.values() if (pay >= worth[quo]).sum() >= 2]
    assert best[0] == max(pay[0] for pay in weakly)
    _, agreed, _ = solved(homes, quo, 1.0, 7)
    assert (agreed >= worth[quo]).all()  # unanimity: nobody loses (Wicksell 1896)
    assert agreed[0] == max(pay[0] for pay in worth.values() if (pay >= worth[quo]).all())
    assert agreed[0] <= best[0]  # and who sets the agenda gains less


@pytest.mark.parametrize("quo", range(5))
def test_the_worse_the_status_quo_the_more_a_setter_gets(quo: int) -> None:
    """With the median voter at 4 and the setter at 7: min(7, 2 x 4 - q), the mirror image of the status quo."""
    assert solved((7, 4, 2), quo, 0.5, 9)[0] == min(7, 2 * 4 - quo)


# ---- stacks, nulls, the examiner ------------------------------------------------------------------------------------


def test_nothing_to_amend() -> None:
    base = Fishery(months=3)
    assert (base | Constitution()) is base and (base | Constitution((SELF,), period=0)) is base
    fixed = base | Constitution((FINE, RATES), period=0)
    assert fixed.name == (base | Sanction(fine=0.0)).name  # a tax of 0 is no tax
    assert fixed.stages == (base | Sanction(fine=0.0)).stages
    never = Article(Tax(), "rates", ((0.0,),))
    one = base | Constitution((FINE, never))
    assert "tax_rates (rates of Tax): 0 at first, for good." in one.about and "reward_tax" not in one.rules("fisher")
    Life(one).meeting("sanction_fine: 2")
    check_mechanism(Constitution((FINE,), period=0), base, null=Constitution(), worlds=8)


@pytest.mark.parametrize(
    "game",
    [Fishery(months=5), HiddenAction(), MatrixGame(repetitions=4), Relational(delta=0.3, repetitions=10)],
    ids=lambda game: game.name,
)
def test_examined(game: Game) -> None:
    check_mechanism(Constitution.suited(game), game, null=Constitution(), worlds=8)
    full_ = Constitution((FINE, RATES, SELF), agenda="random", period=2, delay=1)
    check_mechanism(full_, game, null=Constitution(), worlds=8)


def test_examined_in_stacks() -> None:
    base = MatrixGame(repetitions=4)
    check_mechanism(Constitution((FINE, SELF)), base | Talk(), null=Constitution(), worlds=8)
    check_mechanism(Talk(), base | Constitution((FINE, COST), agenda="player_1", delay=1), worlds=8)
    twice = replace(Constitution((RATES,), agenda="random"), label="second")
    check_mechanism(twice, base | Constitution((FINE,)), null=Constitution(label="second"), worlds=8)
    with pytest.raises(ValueError, match="stage names must be distinct"):
        _ = (base | Constitution((FINE,)) | Constitution((RATES,))).stages


def test_votes_can_be_stacked_by_their_labels() -> None:
    base = MatrixGame(repetitions=3)
    game = base | Vote(Sanction(), "fine", FINES) | Vote(Talk(), "cost", (0.0, 1.0), "pivot", label="talk")
    assert [stage.name for stage in game.stages] == ["talk_vote", "talk", "vote", "act", "sanction"]
    life = Life(game, 2)
    life.step(talk_ballot=np.array([[[0.0, 4.0], [3.0, 0.0]], [[0.0, 4.0], [5.0, 0.0]]]))
    life.step()
    life.step(ballot=np.array([[2, 2], [1, 1]]))
    measured = game.measures(life.state)
    assert measured["option_chosen"].tolist() == [2, 1] and measured["talk_option_chosen"].tolist() == [1, 0]
    assert measured["talk_vote_taxes"].tolist() == [3.0, 4.0]
    check_mechanism(Vote(Talk(), "cost", (0.0, 1.0), label="talk"), base | Vote(Sanction(), "fine", FINES), worlds=8)


def test_institutions_that_bend_acts_can_be_amended() -> None:
    """A mediator who plays 60 tonnes, then none, for those who delegate."""
    options = ((("harvest", 60),), (("harvest", 0),))
    game = Fishery(months=2) | Constitution((Article(Mediator({"harvest": 10}), "apart", options),))
    life = Life(game, 2)
    life.step(amendment=np.array([[0], [2]]))
    life.step(approve=1)
    life.step(entrust=np.array([[0, 1, 0, 0, 0]]))
    np.testing.assert_array_equal(life.step(harvest=1).rewards["fisher"], [[1, 60, 1, 1, 1], [1, 0, 1, 1, 1]])


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_refusals() -> None:
    for make_, words in (
        (lambda: Article("Sanction", "fine", FINES), "mechanism: a mechanism, or None"),
        (lambda: Article(Sanction(), "fine", ()), "options: 1 to 16 values"),
        (lambda: Article(Sanction(), "fine", (1, 1.0)), "options: distinct values, got 1, 1"),
        (lambda: Article(None, "delay", (0, 1)), "parameter: one of 'threshold', got 'delay'"),
        (lambda: Article(None, "threshold", (0.4, 1.0)), r"options\[0\]: a number from 0.5 to 1, got 0.4"),
        (lambda: Article(Sanction(), "fine", FINES, 0.2), "threshold: a number from 0.5 to 1, got 0.2"),
        (lambda: Article(Sanction(), "fine", FINES, name="a b"), "name: an identifier, got 'a b'"),
        (lambda: Constitution((Sanction(),)), "articles: a list of articles"),
        (lambda: Constitution((FINE, FINE)), "articles: each has a name of its own"),
        (lambda: Constitution((FINE, replace(FINE, name="x"))), "articles: one on each parameter of Sanction"),
        (lambda: Constitution((Article(Sanction(), "fin", FINES),)), "parameter: one of cost, fine, .*got 'fin'"),
        (lambda: Constitution((FINE,), 0.3), "threshold: a number from 0.5 to 1, got 0.3"),
        (lambda: Constitution((FINE, SELF), 0.7), "threshold: the first option of the article on it, or None, got 0.7"),
        (lambda: Constitution((FINE,), agenda=""), "agenda: 'rotating', 'random' or the name of a player"),
        (lambda: Constitution((FINE,), period=-1), "period: a whole number from 0"),
        (lambda: Constitution((FINE,), delay=-1), "delay: a whole number from 0"),
        (lambda: Constitution((FINE,), label="a b"), "label: letters, digits and underscores, or empty, got 'a b'"),
    ):
        with pytest.raises(ValueError, match=words):
            make_()  # type: ignore[no-untyped-call]
    for dial, words in (
        (Constitution((FINE,), agenda="player_9"), "agenda: 'rotating', 'random' or one of fisher_0, .*got 'player_9'"),
        (Constitution((Article(Contract(), "terms.limit", (5, 10)),)), "articles: terms.limit of Contract is settled"),
        (Constitution((Article(Talk(), "rounds", (0, 1)),)), "options: with 0 Talk is no institution on the game"),
    ):
        with pytest.raises(Unfit, match=words):
            _ = Fishery(months=2) | dial


def test_lists_are_taken_budgets_add_up_and_the_rules_tell_everything() -> None:
    told = Constitution([Article(Sanction(), "fine", [0, 2.5]), SELF], roles=["fisher"])  # type: ignore[arg-type]
    same = Constitution((Article(Sanction(), "fine", (0, 2.5)), SELF), roles=("fisher",))
    assert told == same and hash(told) == hash(same) and told.budget == 0.0
    wrong = Article(mechanism("Misspecify", field="total"), "strength", (0.5, 1.0))
    assert Constitution((FINE, wrong)).budget is None
    rules = (Fishery(months=2) | told).rules("fisher")
    assert "- If fine is 2.5: After each round" in rules
    assert "- If fine and cost are 2 and 0.5: After each round" in (trio() | Constitution((FINE, COST))).about
    assert "An amendment takes, of 5 votes, 3 where threshold is 0.5, 5 where threshold is 1." in rules
