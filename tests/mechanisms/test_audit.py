"""The incentive audit: known equilibria have no gain, known deviations gain what is computed by hand."""

from __future__ import annotations

import ast
import functools
import io
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.core.fields import Field, Integer, Real, Role
from societas.envs.core.game import Acts, Benchmarks, Game, Level, Outcome, Seen, Stage
from societas.envs.core.mechanism import Institution, Mechanism
from societas.envs.core.policy import Policy
from societas.envs.core.rounds import Record, RoundGame, RoundState, Settled
from societas.envs.norms.fishery import Fishery
from societas.envs.norms.matrix_game import MatrixGame
from societas.mechanisms import audit as audit_module
from societas.mechanisms.audit import Audit, audit, report
from societas.mechanisms.audit.checks import PAIRS
from societas.mechanisms.audit.claims import CLAIMS
from societas.mechanisms.audit.deviations import Menu, Seat
from societas.mechanisms.audit.search import Case, _product, _programmed, _tried
from societas.mechanisms.contract import Contract
from societas.mechanisms.misspecify import Misspecify
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.talk import Talk
from societas.mechanisms.terms import Compensation
from societas.policies.callable import Callable
from societas.policies.equilibrium import Equilibrium
from societas.policies.random import Random
from societas.policies.scripted import Scripted
from societas.policies.tabular import TabularQ

PD = MatrixGame()
COOPERATE = Callable(lambda seen: {"action": seen["own"] * 0}, batched=True)
DEFECT = Callable(lambda seen: {"action": seen["own"] * 0 + 1}, batched=True)
HONOUR = Callable(lambda seen: {"action": (seen["agreement"] != 2) * 1, "consent": seen["own"] * 0 + 1}, batched=True)
"""Signs, cooperates under the contract, and defects without."""


def known(found: Audit, name: str, who: str, gain: float, verdict: str) -> None:
    """Check a row whose number is known exactly."""
    row = found.find(name, who)
    assert row.verdict == verdict, row
    assert (row.gain, row.low, row.high) == pytest.approx((gain, gain, gain), abs=1e-9), row


# ---- without chance: every plan is played ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "alone", "both", "harm"),
    [(DEFECT, 0.0, 4.0, 0.0), (COOPERATE, 2.0, 0.0, 3.0)],
    ids=("defect", "cooperate"),
)
def test_the_dilemma(policy: Policy, alone: float, both: float, harm: float) -> None:
    found = audit(PD, {"player": policy})
    for player in PD.players:
        known(found, "equilibrium", player, alone, "fails" if alone else "holds")
        known(found, "sabotage-proof", player, harm, "fails" if harm else "holds")
        assert found.find("equilibrium", player).how.startswith("exact: all 2 plans")
    known(found, "collusion-proof", "player_0 and player_1", both, "fails" if both else "holds")
    for name in ("participation", "budget balance", "truth-telling", "renegotiation-proof"):
        row = found.find(name)
        assert row.verdict == "not checked" and math.isnan(row.gain) and row.how


def test_tit_for_tat_is_exploited_in_the_last_round_only() -> None:
    """Four rounds of 3 and then 5 make 17, against 15; two defections at the end make 9 + 5 + 1."""
    game = MatrixGame(repetitions=5)
    found = audit(game, {"player": Scripted("tit_for_tat")})
    known(found, "equilibrium", "player_0", 2.0, "fails")
    row = found.find("equilibrium", "player_0")
    assert "all 32 plans" in row.how and "action cooperate in rounds 1 to 4; action defect in round 5" in row.how
    few = audit(game, {"player": Scripted("tit_for_tat")}, limit=10, learn=0).find("equilibrium", "player_0")
    assert few.how.startswith("lower bound") and few.gain == 2.0 and "player_0: action defect in round 5" in few.how


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=8, max_size=8), st.lists(st.integers(0, 1), min_size=6, max_size=6))
def test_every_plan_against_play_by_hand(payoffs: list[int], answers: list[int]) -> None:
    """Against policies that answer to what was played last, the best plan and the worst harm are those of 8 plans."""
    table = np.asarray(payoffs).reshape(2, 2, 2)
    game = MatrixGame(tuple(tuple(map(tuple, part)) for part in table.tolist()), repetitions=3)
    code = np.asarray(answers)  # what is answered to (my last, other's last), and at first

    def answer(seen: Seen) -> Acts:
        other = seen["actions"].sum(axis=-1) - seen["own"]
        return {"action": np.where(seen["round"] == 1, code[4], code[np.minimum(seen["own"] * 2 + other, 3)])}

    def by_hand(plan: tuple[int, ...] | None) -> np.ndarray[Any, Any]:
        last, total = None, np.zeros(2)
        for t in range(3):
            mine = code[4] if last is None else code[2 * last[0] + last[1]]
            theirs = code[4] if last is None else code[2 * last[1] + last[0]]
            last = (int(mine if plan is None else plan[t]), int(theirs))
            total += table[:, last[0], last[1]]
        return total

    own, other = np.transpose([by_hand(plan) - by_hand(None) for plan in itertools.product((0, 1), repeat=3)])
    found = audit(game, {"player": Callable(answer, batched=True)}, worlds=4)
    known(found, "equilibrium", "player_0", own.max(), "fails" if own.max() > 0 else "holds")
    harm = max(0.0, float((-other)[own >= 0].max(initial=0.0)))
    known(found, "sabotage-proof", "player_0", harm, "fails" if harm > 0 else "holds")


def test_long_ranges_are_tried_on_a_grid() -> None:
    """A team of one decision: payment 2 x - x^2 has its best at 1, which the grid of 0 to 2 holds."""

    @dataclass(frozen=True)
    class Alone(_OneShot):
        def pay(self, act: Any) -> Any:
            return 2.0 * act - act**2

    row = audit(Alone(Real(0.0, 2.0)), {}).find("equilibrium")
    assert row.how.startswith("exact on a grid of 11") and row.gain == pytest.approx(1.0)
    row = audit(Alone(Integer(0, 500)), {}, limit=501).find("equilibrium")
    assert row.how.startswith("exact: all 501 plans") and row.gain == 1.0
    row = audit(Alone(Integer(0, 500)), {}, limit=500).find("equilibrium")
    assert row.how.startswith("exact on a grid of 11") and row.verdict == "holds"
    row = audit(Alone(Real()), {}).find("equilibrium")
    assert row.verdict == "not checked" and "has no bounds" in row.how
    assert audit(Alone(Real(0.0, 1.0)), {}).find("sabotage-proof").how == "there is nobody else"


@dataclass(frozen=True)
class _OneShot(Game):
    """One player, one decision."""

    space: Any
    about = "You decide once."
    rounds = 1
    random_start = False

    @functools.cached_property
    def roles(self) -> tuple[Role, ...]:  # type: ignore[override]
        return (Role("one", 1, (), (Field("act", self.space, "what you do"),)),)

    def pay(self, act: Any) -> Any:
        raise NotImplementedError

    def start(self, u: Any) -> Any:
        return (np.zeros(u.shape[:-1], dtype=np.int64),)

    def view(self, state: Any) -> dict[str, Seen]:
        return {"one": {}}

    def step(self, state: Any, acts: Mapping[str, Acts], u: Any) -> Outcome:
        pay = self.pay(acts["one"]["act"] * 1.0)
        return Outcome((state[0] + 1,), {"one": pay}, state[0] >= 0, pay[..., 0])

    def round(self, state: Any) -> Any:
        return state[0]

    def measures(self, state: Any) -> dict[str, Any]:
        return {}

    def benchmarks(self) -> Benchmarks:
        return Benchmarks(Level(1.0, "by hand"), Level(0.0, "by hand"))


# ---- contracts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("theta", "gain"), [(2.5, 0.0), (2.0, 0.0), (1.5, 0.5), (0.0, 2.0)])
def test_an_enforced_contract_holds_if_defection_is_dear_enough(theta: float, gain: float) -> None:
    """Who signs and defects gets 5 - theta, against 3; who refuses gets 1."""
    found = audit(PD | Contract(Compensation(theta)), {"player": HONOUR}, base=PD)
    for player in PD.players:
        known(found, "equilibrium", player, gain, "fails" if gain else "holds")
        known(found, "participation", player, -2.0, "holds")  # both cooperate instead of both defecting
    known(found, "budget balance", "all", 0.0, "holds")
    known(found, "renegotiation-proof", "player_0 and player_1", 0.0, "holds")


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize(("theta", "gain"), [(1.0, 2.0), (3.0, 0.0)])
def test_a_contract_that_is_too_weak_is_renegotiated(theta: float, gain: float, fixed: bool) -> None:
    """Players who cooperate only if defection does not pay would both gain by a theta of 2 or more; all then sign it."""

    def wary(seen: Seen) -> Acts:
        trusts = (seen["agreement"] == 2) & (seen["agreed_theta"] >= 2.0)
        mine = {"action": 1 - trusts, "consent": (seen["agreed_theta"] == theta) * 1}
        return mine | ({} if fixed else {"theta": seen["own"] * 0 + theta})

    game = PD | Contract(Compensation(theta if fixed else None)) | Talk()
    row = audit(game, {"player": Callable(wary, batched=True)}, limit=1000, learn=0).find("renegotiation-proof")
    assert row.gain == pytest.approx(gain, abs=1e-9) and row.verdict == ("fails" if gain else "holds")
    assert "11 contracts" in row.how and ("best for all: theta 2" in row.how) == (gain > 0)


def test_a_contract_that_is_better_for_one_of_two_is_not_renegotiated() -> None:
    """Between a cooperator and a defector a higher theta moves reward from one to the other."""
    signs = [
        Callable(lambda seen, act=act: {"action": seen["own"] * 0 + act, "consent": seen["own"] * 0 + 1}, batched=True)
        for act in (0, 1)
    ]
    game = PD | Contract(Compensation(1.0))
    found = audit(game, {"player_0": signs[0], "player_1": signs[1]})
    known(found, "renegotiation-proof", "player_0 and player_1", 0.0, "holds")


def test_a_contract_is_signed_once_an_episode() -> None:
    """One answer and three rounds make 16 plans; the best is to defect in each round and pay 1.5 each time."""
    game = MatrixGame(repetitions=3) | Contract(Compensation(1.5))
    found = audit(game, {"player": HONOUR})
    known(found, "equilibrium", "player_0", 1.5, "fails")
    assert found.find("equilibrium").how.startswith("exact: all 16 plans")


def test_what_is_not_signed_is_not_renegotiated() -> None:
    refuses = Callable(lambda seen: {"action": seen["own"] * 0, "consent": seen["own"] * 0}, batched=True)
    row = audit(PD | Contract(Compensation(2.5)), {"player": refuses}).find("renegotiation-proof")
    assert row.verdict == "not checked" and "signed in only 0% of the worlds" in row.how


# ---- participation and budget -----------------------------------------------------------------------------------------


def test_participation_is_what_is_lost_against_the_base_game() -> None:
    """Fishers who all take all get 20 on average; who may take nothing for a month gets less in every world."""
    game = Fishery(months=1)
    found = audit(game, {}, base=game, alike=("fisher",), learn=0)
    row = found.find("participation", "fisher_0")
    assert row.verdict == "fails" and row.low < 20.0 < row.high and row.low > 19.0
    given = audit(game, {}, base=game, base_policies={"fisher": Scripted("fair")}, alike=("fisher",), learn=0)
    known(given, "participation", "fisher_3", 10.0, "fails")
    assert "played as given (10), less return here (0)" in given.find("participation", "fisher_3").how


@dataclass(frozen=True)
class Gift(Mechanism):
    """Everybody gets a quarter a round, from nowhere."""

    budget = 1.0

    def apply(self, game: Game) -> Game:
        return Gifted(game, self)


class Gifted(Institution):
    @property
    def terms(self) -> str:
        return "You are given 0.25 a round."

    def settle(self, own: Any, outcome: Outcome, ended: Any, u: Any) -> tuple[Any, Outcome]:
        return own, outcome._replace(rewards={name: pay + 0.25 for name, pay in outcome.rewards.items()})


def test_budgets() -> None:
    """What welfare accounts for is balanced, whatever units the base game is paid in; a gift is not."""
    game, play = HiddenAction(), {"principal": Equilibrium(), "agent": Equilibrium()}
    for under, gap in (
        (game | Sanction(cost=0.3, fine=1.0), 0.0),
        (game | Sanction() | Talk(rounds=2), 0.0),
        (game | Sanction() | Gift(), 0.5),
    ):
        found = audit(under, play, limit=100, learn=0, worlds=64)
        known(found, "budget balance", "all", gap, "fails" if gap else "holds")
    assert "declared: 1" in found.find("budget balance").how
    row = audit(PD | Misspecify("round", strength=0.5), {"player": DEFECT}).find("budget balance")
    assert row.verdict == "fails" and "players are not paid the truth" in row.how
    other = audit(PD | Sanction(), {"player": DEFECT}, base=game, limit=100, learn=0)
    assert other.find("budget balance").how == "HiddenAction is not beneath the mechanisms of MatrixGame | Sanction"
    assert other.find("participation", "player_0").how == "HiddenAction has no such player"


def test_the_gap_is_counted_from_the_given_base() -> None:
    base = PD | Gift()
    game = base | Talk()
    known(audit(game, {"player": DEFECT}, base=base), "budget balance", "all", 0.0, "holds")
    known(audit(game, {"player": DEFECT}, base=PD), "budget balance", "all", 0.5, "fails")


# ---- with chance ----------------------------------------------------------------------------------------------------


def test_taking_all_is_an_equilibrium_of_the_fishery_and_restraint_is_not() -> None:
    """In the last month a fisher among fair ones can take 60 of 100 tonnes instead of 10."""
    game = Fishery(months=5)
    grab = audit(game, {"fisher": Equilibrium()}, alike=("fisher",), learn=20, limit=20_000)
    row = grab.find("equilibrium", "fisher_0")
    assert row.verdict == "holds" and row.low <= 0.0 and abs(row.gain) < 0.5
    assert "lower bound" in row.how and "20 x 512 episodes" in row.how and row.how.endswith("stands for all 5")
    fair = audit(Fishery(months=2), {"fisher": Scripted("fair")}, alike=("fisher",), learn=0, limit=20_000)
    row = fair.find("equilibrium", "fisher_0")
    assert row.verdict == "fails" and row.low >= 50.0 and row.high < 60.0 and "in round 2" in row.how
    assert row.how.startswith("lower bound"), "who takes more than there is meets chance"
    assert fair.find("collusion-proof", "fisher_0 and fisher_1").verdict == "fails"
    assert fair.find("sabotage-proof").verdict == "fails"


def test_hidden_action_in_equilibrium_and_out_of_it() -> None:
    game = HiddenAction()
    found = audit(game, {"principal": Equilibrium(), "agent": Equilibrium()}, base=game)
    for player in game.players:
        row = found.find("equilibrium", player)
        assert row.verdict == "holds" and row.low <= 0.0
        known(found, "participation", player, 0.0, "holds")
    generous = Callable(lambda seen: {"pay": seen["pay"] * 0.0 + 9.0}, batched=True)
    found = audit(game, {"principal": generous})  # the agent refuses, and gets 1 instead of 3
    known(found, "equilibrium", "agent_0", 2.0, "fails")
    assert "accept accept, effort low" in found.find("equilibrium", "agent_0").how


class Persistent(Policy):
    """Tosses a coin once, and stays with it."""

    draws = 1

    def act(self, seen: Seen, stage: Any, u: Any, memory: Any) -> tuple[Acts, Any]:
        return {"action": np.where(seen["round"] == 1, (u[..., 0] < 0.5) * 1, np.minimum(seen["own"], 1))}, memory


def test_a_learned_response_uses_what_it_sees() -> None:
    """No open-loop plan gains against a coin that is tossed once; to follow it gains 1 in each of the rounds left."""
    game = MatrixGame.matching_pennies(rounds=6)
    policies = {"player_0": Persistent(), "player_1": Persistent()}
    blind = audit(game, policies, learn=0).find("equilibrium", "player_0")
    assert blind.verdict == "holds" and blind.low <= 0.0
    row = audit(game, policies, learn=60).find("equilibrium", "player_0")
    assert row.verdict == "fails" and row.low <= 5.0 <= row.high and "plays what it has learned" in row.how


def test_the_search_does_not_flatter_itself() -> None:
    """Whatever is done against a fair coin gains nothing: the best of many plans is measured in other worlds."""
    game = MatrixGame.matching_pennies(rounds=4)
    found = [
        audit(game, {"player": Random()}, worlds=100, seed=seed, learn=0).find("equilibrium", "player_0")
        for seed in range(20)
    ]
    assert sum(row.verdict == "fails" for row in found) <= 3
    assert abs(np.mean([row.gain for row in found])) < 4 * 2.0 * math.sqrt(2) / math.sqrt(100 * 20)


def test_learned_tables_meet_the_same_plans() -> None:
    """Of two sessions one learned to cooperate and one to defect: to defect gains 2 or 1."""
    learned = TabularQ({})
    learned.tables = [np.zeros((2, 2, 1, 2))]
    learned.tables[0][0, :, :, 0] = learned.tables[0][1, :, :, 1] = 1.0
    row = audit(PD, {"player_0": COOPERATE, "player_1": learned}, worlds=99).find("equilibrium", "player_0")
    assert row.gain == pytest.approx(1.5) and row.low < 1.5 < row.high and "lower bound" in row.how


# ---- reports --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Auction(RoundGame):
    """Two bidders with values 0 to 4, each as likely; ties are broken by halves."""

    price: str = "first"
    repetitions: int = 1
    nature = 2
    stages = (Stage("", "both bid"),)

    @property
    def about(self) -> str:
        return f"Who bids most wins and pays the {self.price} price."

    def cast(self) -> tuple[Role, ...]:
        whole = Integer(0, 4)
        return (Role("bidder", 2, (Field("value", whole, "your value"),), (Field("bid", whole, "your bid"),)),)

    def open(self, u: Any) -> Record:
        return {"values": np.floor(u * 5).astype(np.int64)}

    def own(self, state: RoundState) -> dict[str, Seen]:
        return {"bidder": {"value": state.nature["values"]}}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Any) -> Settled:
        bid, value = acts["bidder"]["bid"], nature["values"]
        other = bid[..., ::-1]
        wins = (bid > other) + 0.5 * (bid == other)
        pay = wins * (value - (bid if self.price == "first" else other))
        return Settled({"bidder": pay}, (wins * value).sum(axis=-1), {})

    @property
    def summed(self) -> tuple[str, ...]:
        return ()

    def benchmarks(self) -> Benchmarks:
        return Benchmarks(Level(4.0, "at most"), Level(0.0, "at least"))


SINCERE = {"bidder": Callable(lambda seen: {"bid": seen["value"]}, batched=True)}
REPORTS = {"bidder": {"bid": "value"}}


def test_truth_is_dominant_at_the_second_price() -> None:
    found = audit(Auction("second"), SINCERE, reports=REPORTS)
    for player in ("bidder_0", "bidder_1"):
        known(found, "truth-telling", player, 0.0, "holds")
        assert "with hindsight the best of them gains 0" in found.find("truth-telling", player).how
        known(found, "equilibrium", player, 0.0, "holds")


def test_shading_pays_at_the_first_price() -> None:
    """Against the truth, a bid of b wins with probability (b + 1/2) / 5 and leaves v - b; the truth leaves nothing."""
    best = sum(max((v - b) * (b + 0.5) / 5 for b in range(5)) for v in range(5)) / 5
    found = audit(Auction("first"), SINCERE, reports=REPORTS, worlds=2000, alike=("bidder",))
    for name in ("truth-telling", "equilibrium"):
        row = found.find(name, "bidder_0")
        assert row.verdict == "fails" and row.low <= best <= row.high and row.high - row.low < 0.2, row
    assert "the best report for what it sees" in found.find("truth-telling").how
    assert "the best act for each of 5 things seen" in found.find("equilibrium").how


def test_rules_of_misreport_in_several_rounds() -> None:
    """To bid the value less 2 gains 0.38 a round, more than less 1 (0.32), less 3 (0.3) or any fixed bid (0.3)."""
    row = audit(Auction("first", 2), SINCERE, reports=REPORTS, worlds=2000, learn=0, limit=100_000).find(
        "truth-telling"
    )
    assert row.low <= 0.76 <= row.high and "best: bid is value -2" in row.how


def test_who_does_not_tell_the_truth_is_compared_with_the_truth() -> None:
    """Against a bid of 0, to bid 0 wins by halves and 1 wins; both bid 0, and the truth is the worse for it."""
    low = {"bidder": Callable(lambda seen: {"bid": seen["value"] * 0}, batched=True)}
    row = audit(Auction("first"), low, reports=REPORTS, worlds=1000).find("truth-telling", "bidder_0")
    best = sum(max(v / 2, v - 1) for v in range(5)) / 5  # who bids what it values is left with nothing
    assert row.low <= best <= row.high
    with pytest.raises(KeyError, match="acts of bidder has no field 'offer'; it has: bid"):
        audit(Auction(), SINCERE, reports={"bidder": {"offer": "value"}})


# ---- the audit itself -------------------------------------------------------------------------------------------------


def test_rows_and_table() -> None:
    steps: list[tuple[int, int]] = []
    found = audit(
        PD | Contract(Compensation(1.5)), {"player": HONOUR}, base=PD, watch=lambda i, n: steps.append((i, n))
    )
    assert steps == [(i, 7) for i in range(1, 8)]
    rows = found.as_rows()
    assert [list(row) for row in rows] == [["name", "who", "verdict", "gain", "low", "high", "how"]] * len(rows)
    assert list(dict.fromkeys(row["name"] for row in rows)) == list(CLAIMS)
    assert {row["verdict"] for row in rows} == {"holds", "fails", "not checked"}
    text = io.StringIO()
    Console(file=text, width=200).print(found.table())
    assert "Incentives in MatrixGame | Contract" in text.getvalue() and " 0.5 " in text.getvalue()
    with pytest.raises(KeyError, match="no claim 'honesty' about anyone; there are: equilibrium .player_0., "):
        found.find("honesty")


def test_the_same_seed_gives_the_same_audit() -> None:
    game, play = Fishery(months=3), {"fisher": Random()}
    one, two = (audit(game, play, worlds=32, limit=2000, learn=3, alike=("fisher",)) for _ in range(2))
    np.testing.assert_equal(one.as_rows(), two.as_rows())
    other = audit(game, play, worlds=32, limit=2000, learn=3, alike=("fisher",), seed=5)
    assert other.find("equilibrium").gain != one.find("equilibrium").gain


def test_only_some_pairs_are_searched() -> None:
    game = Fishery(fishers=6, months=1)
    found = audit(game, {"fisher": Equilibrium()}, worlds=8, limit=500, learn=0)
    pairs = [row for row in found.rows if row.name == "collusion-proof"]
    assert len(pairs) == PAIRS + 1
    assert pairs[-1].who == "5 other pairs" and all(row.verdict == "not checked" for row in pairs)
    assert "only joint constant plans were tried" in pairs[0].how


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="alike: role 'player' is played by several policies"):
        audit(PD, {"player_0": DEFECT, "player_1": COOPERATE}, alike=("player",))
    with pytest.raises(ValueError, match="worlds: a whole number from 2 to"):
        audit(PD, {"player": DEFECT}, worlds=1)
    with pytest.raises(KeyError, match="no role 'firm'"):
        audit(PD, {"player": DEFECT}, alike=("firm",))
    with pytest.raises(KeyError, match="no role or player 'firm'"):
        audit(PD, {"firm": DEFECT})
    row = audit(PD, {"player": DEFECT}, base=Auction()).find("participation")
    assert row.verdict == "not checked" and "how Auction is played is not known, give base_policies" in row.how


def test_an_equilibrium_with_different_players_is_played_by_one_policy() -> None:
    """Chicken has only equilibria in which one swerves; no deviation is found, though the seats act together."""
    found = audit(MatrixGame.chicken(), {"player": Equilibrium()})
    for player in ("player_0", "player_1"):
        known(found, "equilibrium", player, 0.0, "holds")


# ---- dynamic programming ------------------------------------------------------------------------------------------------


def test_long_games_without_chance_are_solved_backwards() -> None:
    """Of 2^30 plans against tit for tat the best is to defect in the last round; harm takes to defect always."""
    found = audit(MatrixGame(repetitions=30), {"player": Scripted("tit_for_tat")}, learn=0)
    known(found, "equilibrium", "player_0", 2.0, "fails")
    row = found.find("equilibrium", "player_0")
    assert (
        row.how.startswith("exact: dynamic programming over the ")
        and "rounds 1 to 29; action defect in round 30" in row.how
    )
    assert found.find("sabotage-proof", "player_0").gain >= 3.0
    known(audit(MatrixGame(repetitions=30), {"player": DEFECT}), "equilibrium", "player_1", 0.0, "holds")


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=8, max_size=8), st.lists(st.integers(0, 1), min_size=6, max_size=6))
def test_dynamic_programming_finds_what_all_plans_find(payoffs: list[int], answers: list[int]) -> None:
    table = np.asarray(payoffs).reshape(2, 2, 2)
    game = MatrixGame(tuple(tuple(map(tuple, part)) for part in table.tolist()), repetitions=4)
    code = np.asarray(answers)

    def answer(seen: Seen) -> Acts:
        other = seen["actions"].sum(axis=-1) - seen["own"]
        return {"action": np.where(seen["round"] == 1, code[4], code[np.minimum(seen["own"] * 2 + other, 3)])}

    case = Case(game, {"player": Callable(answer, batched=True)}, 4, 0, 100_000, 0, 11)
    for seats in ((0,), (0, 1)):
        menus = tuple(Menu(game, Seat(game.roles[0], i), 2, 11) for i in seats)
        tried = _tried(case, menus, _product(menus, "all"), case.probe, "")
        solved = _programmed(case, menus, "exact")
        assert solved is not None
        one, two = (sum(found.gains[f"player_{i}"].mean(axis=1) for i in seats) for found in (tried, solved))
        assert np.max(two) == pytest.approx(np.max(one), abs=1e-9)
        harm = [-found.gains["player_1"].mean(axis=1).min() for found in (tried, solved)]
        assert len(seats) > 1 or harm[1] == pytest.approx(harm[0], abs=1e-9)


# ---- layers -------------------------------------------------------------------------------------------------------------


def test_mechanisms_import_neither_policies_nor_experiments() -> None:
    root = Path(audit_module.__file__).resolve().parents[1]
    wrong = []
    for path in (*root.glob("*.py"), *root.glob("audit/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            rooms = {part for name in names for part in name.split(".")} & {"policies", "experiments", "_examine"}
            wrong += [f"{path.name}: {', '.join(sorted(rooms))}"] if rooms else []
    assert not wrong


# ---- what is shown, and who learns --------------------------------------------------------------------------------------


def test_an_audit_is_shown_as_text_frame_and_html() -> None:
    found = audit(PD, {"player": COOPERATE})
    assert found.summary == "1 holds, 4 fail, 4 not checked" and found.summary in str(found)
    assert [row.who for row in found.of("fails")] == [*PD.players, *PD.players] and found.regret("player_0") == 2.0
    frame = found.to_frame()
    assert list(frame.columns) == ["name", "who", "verdict", "gain", "low", "high", "how"] and len(frame) == 9
    page = found._repr_html_()
    assert page.count("<tr") == 10 and "all 2 plans" in page and "nan" not in page
    assert all(len(line) <= 80 for line in found.text(80).splitlines())
    assert "\x1b[31m" in found.text(colour=True) and "\x1b" not in found.text()
    with pytest.raises(ValueError, match="verdict: one of holds, fails, not checked, got 'maybe'"):
        found.of("maybe")
    assert report(PD, {"player": COOPERATE}, width=90) == found.text(90)


def test_a_learner_can_be_handed_in() -> None:
    """The coin that is tossed once is followed by the response that was handed in, from the second round on."""
    game = MatrixGame.matching_pennies(rounds=6)
    policies = {"player_0": Persistent(), "player_1": Persistent()}

    def copycat(game: Game, player: str, policies: Mapping[str, Policy]) -> Policy:
        last = np.array([1, -1])[
            int(player == "player_0")
        ]  # the other's last action; the second player wants to differ

        def act(seen: Seen) -> Acts:
            other = seen["actions"].sum(axis=-1) - seen["own"]
            return {"action": np.clip(np.where(last < 0, other, 1 - other), 0, 1)}

        return Callable(act, batched=True)

    row = audit(game, policies, learn=0, learner=copycat).find("equilibrium", "player_0")
    assert row.verdict == "fails" and row.low <= 5.0 <= row.high and "a response trained by copycat" in row.how
    row = audit(game, policies, learn=0, learner="gradient").find("equilibrium", "player_0")
    assert row.verdict == "not checked" and "gradient learns all players of a role together" in row.how
    generous = {"principal": Callable(lambda seen: {"pay": seen["pay"] * 0.0 + 9.0}, batched=True)}
    found = audit(HiddenAction(repetitions=2), generous, learn=20, limit=100, learner="cross_entropy")
    row = found.find("equilibrium", "principal_0")
    assert "a response trained by cross_entropy" in row.how or row.how.startswith("exact")


def test_a_contract_with_a_label_is_renegotiated() -> None:
    def wary(seen: Seen) -> Acts:
        trusts = (seen["rent_agreement"] == 2) & (seen["rent_agreed_theta"] >= 2.0)
        return {"action": 1 - trusts, "rent_consent": seen["own"] * 0 + 1, "rent_theta": seen["own"] * 0 + 1.0}

    for theta in (1.0, None):
        game = PD | Contract(Compensation(theta), label="rent")
        asked = {field.name for field in game.roles[0].acts}
        wise = Callable(lambda seen, asked=asked: {k: v for k, v in wary(seen).items() if k in asked}, batched=True)
        row = audit(game, {"player": wise}, limit=1000, learn=0).find("renegotiation-proof")
        assert row.gain == pytest.approx(2.0) and "best for all: " in row.how, row
    menu = PD | Contract((Compensation(1.0), Compensation(2.0)))
    row = audit(menu, {"player": DEFECT}, limit=1000, learn=0).find("renegotiation-proof")
    assert row.verdict == "not checked" and "only a single contract" in row.how
