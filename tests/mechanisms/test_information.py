"""Information: monitors, disclosure, certificates and commitments."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas import (
    Benchmarks,
    Episodes,
    Field,
    Game,
    Integer,
    Level,
    Mechanism,
    Policy,
    Real,
    Role,
    Stage,
    Unfit,
    Worlds,
    make,
    play,
    policy,
)
from societas.envs.contracting.cheap_talk import CheapTalk
from societas.envs.contracting.screening import Screening
from societas.envs.core import solve
from societas.envs.core.arrays import Array, device_of, namespace, to_float
from societas.envs.core.rounds import RoundGame, Settled
from societas.envs.norms.matrix_game import MatrixGame
from societas.mechanisms.certify import Certify
from societas.mechanisms.commit import Commit
from societas.mechanisms.contract import Contract
from societas.mechanisms.disclose import Disclose
from societas.mechanisms.monitor import Monitor
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.talk import Talk
from societas.mechanisms.terms import Compensation, Deal, Quota, Terms
from societas.testing import check_mechanism


def does(**fixed: Any) -> Policy:
    return policy("callable", function=lambda seen: fixed)


def many(**fixed: Any) -> Policy:
    """The same in many worlds at once: numbers, and choices as their indices."""

    def function(seen: Any) -> Any:
        shape = next(iter(seen.values())).shape[:2]
        return {k: np.broadcast_to(v, (*shape, *np.shape(v))).copy() for k, v in fixed.items()}

    return policy("callable", function=function, batched=True)


def arrays(function: Callable[[Any], Any]) -> Policy:
    return policy("callable", function=function, batched=True)


def last(done: Episodes, role: str, field: str, *, step: int = -1) -> Any:
    return done.moments[step].seen[role][field]


# ---- monitor ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Diligence(Terms):
    """Who is found to have done wrong owes the penalty, shared by the others."""

    penalty: float
    wrong: int = 0
    field: str = "found_effort"

    uses = property(lambda self: (self.field,))
    figures = property(lambda self: (Field("penalty", Real(0.0, self.penalty), "what idleness costs"),))
    fixed = property(lambda self: {"penalty": self.penalty})
    text = property(lambda self: f"who is found idle owes {self.penalty:g}")

    def suit(self, deal: Deal) -> None:
        """Take any choice that all see."""
        deal.field_of_all(self.field)

    def owed(self, numbers: Mapping[str, Array], facts: Mapping[str, Array], deal: Deal) -> Array:
        wrong = to_float(facts[self.field] == self.wrong)
        xp, n = namespace(wrong), wrong.shape[-1]
        others = 1.0 - xp.eye(n, dtype=xp.float64, device=device_of(wrong))
        return (numbers["penalty"] / (n - 1))[..., None, None] * wrong[..., :, None] * others


def wage(probability: float, penalty: float, effort: str, *, worlds: int = 1, seed: int = 0) -> Episodes:
    """A flat pay of 4, on the terms that idleness costs a penalty where it is found."""
    game = make("HiddenAction") | Monitor("effort", probability) | Contract(Diligence(penalty))
    pay = {"principal": does(pay=[4.0, 4.0], consent="accept")}
    return play(
        game, {**pay, "agent": does(accept="accept", effort=effort, consent="accept")}, worlds=worlds, seed=seed
    )


def test_a_hidden_act_becomes_a_fact_on_which_a_contract_can_condition() -> None:
    with pytest.raises(
        Unfit, match="only on verifiable fields that are one value a player; 'found_effort' is not for principal"
    ):
        _ = make("HiddenAction") | Contract(Diligence(2.0))
    with pytest.raises(Unfit, match="'found_effort' must be seen by all who are bound; not by agent_0"):
        _ = make("HiddenAction") | Monitor("effort", to=("principal",)) | Contract(Diligence(2.0))
    for penalty in (0.75, 1.25):  # low effort saves the agent 1
        idle, busy = (wage(1.0, penalty, effort).returns["agent"][0, 0] for effort in ("low", "high"))
        assert (idle, busy) == (2.0 - penalty, 2.0 - 1.0)
        assert (busy >= idle) == (penalty >= 1.0)


@pytest.mark.parametrize(("probability", "penalty"), [(0.25, 2.0), (0.25, 6.0), (0.5, 1.5), (0.5, 3.0)])
def test_effort_pays_where_probability_times_penalty_exceeds_its_cost(probability: float, penalty: float) -> None:
    worlds = 1500
    idle, busy = (wage(probability, penalty, e, worlds=worlds, seed=3).returns["agent"] for e in ("low", "high"))
    assert (busy == 1.0).all() and set(np.unique(idle)) == {2.0 - penalty, 2.0}
    error = 4 * penalty * math.sqrt(probability * (1 - probability) / worlds)
    assert idle.mean() == pytest.approx(2.0 - probability * penalty, abs=error)
    assert (busy.mean() > idle.mean()) == (probability * penalty > 1.0)


def test_the_first_best_is_reached_with_flat_pay_where_effort_is_seen() -> None:
    base = make("HiddenAction")
    seen = wage(1.0, 2.0, "high", worlds=4000, seed=1)
    value = base.benchmarks().first_best.value
    assert seen.welfare.mean() == pytest.approx(value, abs=4 * 20 * 0.4 / math.sqrt(4000))
    assert value > base.benchmarks().equilibrium.value  # which hidden effort leaves: no risk is borne for incentives


def test_an_old_quota_on_a_new_fact() -> None:
    """Show in the incomplete contract, which no court could establish: 0.5 at a fine of 2."""
    base = make("IncompleteContract", discount=0.0)
    with pytest.raises(Unfit, match="'found_show' is not for principal"):
        _ = base | Contract(Quota(0, 2.0, "found_show", 1))
    game = base | Monitor("show") | Contract(Quota(0, 2.0, "found_show", 1))
    cast = {"principal": does(salary=0.5, consent="accept")}
    done = play(game, {**cast, "agent": does(accept="accept", show=0.5, consent="accept")}, worlds=4)
    np.testing.assert_allclose(done.measures["transfers"], 1.0)


def test_what_is_found_is_what_was_done_last_round() -> None:
    game = make("Fishery", months=3) | Monitor("harvest") | Sanction()
    wishes = iter([3, 4, 5, 6, 7] * 2 + [8] * 100)
    cast = {"fisher": policy("callable", function=lambda seen: {"harvest": next(wishes)})}
    done = play(game, cast, keep=True)
    assert (last(done, "fisher", "looked_harvest", step=0) == 0).all()
    for step in (1, 2):  # after the first harvest, the sanctions, and before the second
        np.testing.assert_array_equal(last(done, "fisher", "found_harvest", step=step), [[3, 4, 5, 6, 7]])
        np.testing.assert_array_equal(last(done, "fisher", "found_harvest_of", step=step)[0], [[3, 4, 5, 6, 7]] * 5)
    assert (last(done, "fisher", "looked_harvest", step=1) == 1).all()
    np.testing.assert_array_equal(last(done, "fisher", "found_harvest", step=3), [[8] * 5])


def test_it_finds_the_act_of_its_own_stage_in_a_round_of_several() -> None:
    """Effort is decided in the second of three stages; what is said of it at the others counts for nothing."""
    game = make("Relational", delta=0.9, repetitions=110) | Monitor("effort", to=("principal",))
    assert not any("effort" in field.name for field in game.role("agent").sees if field.name != "effort")
    worlds, found = Worlds(game, 1), []
    for effort in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        acts: Any = {role.name: {f.name: np.zeros((1, 1)) for f in role.acts} for role in game.roles}
        acts["agent"]["effort"] = np.full((1, 1), effort)
        worlds.step(acts)
        seen = worlds.view()["principal"]
        found.append(float(seen["found_effort_of"][0, 0]))
        assert seen["looked_effort"][0, 0] == 0  # nobody looks at the principal
        assert seen["looked_effort_of"][0, 0] == (len(found) >= 3)
    assert found == [0.0, 0.0, 0.2, 0.2, 0.2, 0.5]


def test_components_are_found_together() -> None:
    game = make("Multitask") | Monitor("effort")
    labels = make("Multitask").tasks
    field = next(f for f in game.role("principal").sees if f.name == "found_effort_of")
    assert field.each == labels and field.verifiable and len(labels) > 1
    effort = [0.25 * (k + 1) for k in range(len(labels))]
    worlds = Worlds(game, 1)
    for _ in range(2):
        acts = {role.name: {f.name: np.zeros((1, 1, *f.shape)) for f in role.acts} for role in game.roles}
        acts["agent"]["effort"] = np.array([[effort]])
        worlds.step(acts)
    np.testing.assert_array_equal(worlds.view()["principal"]["found_effort_of"][0, 0], effort)
    np.testing.assert_array_equal(worlds.view()["agent"]["found_effort"][0, 0], effort)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 1), st.one_of(st.none(), st.integers(1, 6)), st.floats(0, 2), st.integers(0, 9))
def test_looks_are_counted_paid_and_limited(probability: float, most: int | None, cost: float, seed: int) -> None:
    base = make("Fishery", months=3)
    game = base | Monitor("harvest", probability, most=most, cost=cost)
    plain, under = (play(g, {"fisher": does(harvest=9)}, worlds=8, seed=seed, keep=True) for g in (base, game))
    looked = np.stack([m.seen["fisher"]["looked_harvest"] for m in under.moments[1:]])
    assert (looked.sum(axis=-1) <= (most or 5)).all()
    found = np.stack([m.seen["fisher"]["found_harvest"] for m in under.moments[1:]])
    np.testing.assert_array_equal(found, 9 * looked)
    looks = under.measures["looks_harvest"]
    assert (looked.sum(axis=(0, -1)) <= looks).all() and (looks <= 3 * (most or 5)).all()
    np.testing.assert_allclose(plain.welfare - under.welfare, cost * looks, atol=1e-9)
    lost = plain.returns["fisher"] - under.returns["fisher"]
    np.testing.assert_allclose(lost, (cost * looks / 5)[:, None] * np.ones(5), atol=1e-9)


def test_those_who_are_shown_pay() -> None:
    base = make("HiddenAction")
    cast = {"principal": does(pay=[4.0, 4.0]), "agent": does(accept="accept")}
    plain, under = (play(g, cast) for g in (base, base | Monitor("effort", cost=0.5, to=("principal",))))
    assert plain.returns["principal"] - under.returns["principal"] == 0.5
    assert plain.returns["agent"] == under.returns["agent"] and plain.welfare - under.welfare == 0.5


def test_limited_looks_fall_on_all_alike() -> None:
    """Of 5 wanted with probability 1/2 at most one is looked at: each with probability (1 - 1/32)/5."""
    worlds = 20_000
    game = make("Fishery", months=2) | Monitor("harvest", 0.5, most=1)
    done = play(game, {"fisher": many(harvest=1)}, worlds=worlds, keep=True)
    share = last(done, "fisher", "looked_harvest").mean(axis=0)
    expected = (1 - 1 / 32) / 5
    np.testing.assert_allclose(share, expected, atol=4 * math.sqrt(expected * (1 - expected) / worlds))


def test_looks_can_err() -> None:
    worlds = 20_000
    table = np.zeros((2, 3, 3)).tolist()
    choice = MatrixGame(table, ("a", "b", "c"), 2) | Monitor("action", noise=0.3)
    done = play(choice, {"player": many(action=1)}, worlds=worlds, keep=True)
    found = last(done, "player", "found_action")
    share = [(found == k).mean() for k in range(4)]
    np.testing.assert_allclose(share, [0.15, 0.7, 0.15, 0.0], atol=4 * math.sqrt(0.25 / 2 / worlds))
    number = make("HoldUp", repetitions=2) | Monitor("investment", noise=0.01)
    done = play(number, {"investor": many(investment=0.3)}, worlds=worlds, keep=True)
    found = last(done, "partner", "found_investment_of", step=len(done.moments) // 2)
    assert found.mean() == pytest.approx(0.3, abs=4 * 0.01 / math.sqrt(worlds))
    assert found.std() == pytest.approx(0.01, rel=4 / math.sqrt(2 * worlds))
    whole = make("Fishery", months=2) | Monitor("harvest", noise=3.0)
    done = play(whole, {"fisher": does(harvest=1)}, worlds=100, keep=True)
    found = last(done, "fisher", "found_harvest")
    assert found.dtype.kind == "i" and found.min() == 0 and found.max() > 1


def test_an_act_under_commitment_is_found_as_it_was_carried_out() -> None:
    cast = {"player": policy("callable", function=lambda seen: {"commit_action": "cooperate", "action": "defect"})}
    for order, found in (((Monitor("action"), Commit("action")), 0), ((Commit("action"), Monitor("action")), 1)):
        done = play(MatrixGame(repetitions=2) | order[0] | order[1], cast, keep=True)
        assert (last(done, "player", "found_action") == found).all()
        assert (last(done, "player", "own") == 0).all()


# ---- disclosure ---------------------------------------------------------------------------------------------------

TYPES = Screening(types=(1.0, 1.5, 2.5), chances=(0.3, 0.5, 0.2), cost=0.5)


def seller(seen: Any) -> Any:
    """Offers the quality that is efficient for the type that is shown, at all that it is worth to it."""
    kind = seen["disclosed_type"][..., None] + seen["quality"] * 0.0
    return {"quality": kind / TYPES.cost, "price": kind * kind / TYPES.cost}


def buyer(seen: Any) -> Any:
    return {"pick": TYPES.pick(seen["quality"], seen["price"], seen["type"])}


def test_disclosure_of_the_type_lets_the_principal_extract_the_first_best() -> None:
    game = TYPES | Disclose("type")
    done = play(game, {"principal": arrays(seller), "agent": arrays(buyer)}, worlds=3000, keep=True)
    kind = last(done, "agent", "type")[:, 0]
    assert set(np.unique(kind)) == set(TYPES.types)
    np.testing.assert_allclose(
        done.returns["principal"][:, 0], kind**2 / (2 * TYPES.cost)
    )  # all that there is, type by type
    np.testing.assert_allclose(done.returns["agent"], 0.0, atol=1e-12)
    shares = [(kind == value).mean() for value in TYPES.types]
    np.testing.assert_allclose(shares, TYPES.odds, atol=0.04)
    surplus = sum(p * value**2 / (2 * TYPES.cost) for p, value in zip(TYPES.odds, TYPES.types, strict=True))
    assert surplus == pytest.approx(TYPES.benchmarks().first_best.value)
    assert TYPES.expected(TYPES.optimal_menu)[0] < surplus - 0.1  # which is what private types leave to the principal


def test_mandatory_disclosure_shows_what_the_holder_sees_and_to_whom_it_is_for() -> None:
    game = make("CheapTalk", repetitions=4) | Disclose("state")
    done = play(game, {"principal": policy("random"), "agent": policy("random")}, worlds=5, keep=True)
    for moment in done.moments:
        for role in ("principal", "agent"):
            np.testing.assert_array_equal(moment.seen[role]["disclosed_state"], moment.seen["agent"]["state"])
    firms = make("Pricing", periods=3) | Disclose("profit")
    shown = next(field for field in firms.role("firm").sees if field.name == "disclosed_profit")
    assert shown.each == ("firm_0", "firm_1")


BIAS = 0.125


def persuasion(believed: float, disclosing: Callable[[Any], Any], extra: Mechanism, worlds: int = 2000) -> Episodes:
    """The agent wants decisions higher by 0.125; of what it does not show the principal believes this."""
    field = "disclosed_state" if isinstance(extra, Disclose) else "certified_state"
    flag = "disclosure_state" if isinstance(extra, Disclose) else "certificate_state"
    act = "disclose_state" if isinstance(extra, Disclose) else "certify_state"

    def decide(seen: Any) -> Any:
        return {"decision": np.where(seen[flag] == 1, seen[field], believed)}

    cast = {"principal": arrays(decide), "agent": arrays(lambda seen: {act: disclosing(seen["state"]).astype(int)})}
    return play(CheapTalk(BIAS) | extra, cast, worlds=worlds, seed=4, keep=True)


def test_disclosure_unravels() -> None:
    """What the principal makes of silence is the mean of those who gain by it; at its only fixed point all disclose."""
    extra, believed, path = Disclose("state", voluntary=True), 0.5, []
    for _ in range(12):
        told, silent = (
            persuasion(believed, lambda s, on=on: s * 0 + on, extra).returns["agent"][:, 0] for on in (1, 0)
        )
        done = persuasion(believed, lambda s: s * 0, extra)
        state = last(done, "agent", "state", step=0)[:, 0]
        gains = silent > told + 1e-12
        np.testing.assert_array_equal(gains, (state > believed - 2 * BIAS) & (state < believed) & (state != believed))
        path.append(believed)
        believed = float(state[gains].mean()) if gains.any() else 0.0
    assert all(after < before for before, after in itertools.pairwise(path[:8])) and believed < 0.002
    final = persuasion(0.0, lambda s: s * 0 + 1, extra)
    assert (final.measures["disclosed_state"] == 1).all()
    np.testing.assert_allclose(final.measures["loss"], 0.0, atol=1e-15)  # the first best, without any contract
    silent = persuasion(0.0, lambda s: s * 0, extra)
    assert (final.returns["agent"] >= silent.returns["agent"]).mean() == 1.0


def test_voluntary_disclosure_is_true_lasts_a_round_and_can_be_withheld() -> None:
    game = make("CheapTalk", repetitions=3) | Disclose("state", voluntary=True)
    assert [stage.name for stage in game.stages] == ["disclose_state", "say", "decide"]
    cast = {
        "agent": policy(
            "callable", function=lambda seen: {"disclose_state": ("withhold", "disclose")[seen["round"] % 2]}
        )
    }
    done = play(game, cast, worlds=4, keep=True)
    for step, moment in enumerate(done.moments):
        told = (step - 1) // 3 in (0, 2)  # the first and third rounds', until the next disclosure
        np.testing.assert_array_equal(moment.seen["principal"]["disclosure_state"], int(told))
        state = done.moments[(step - 1) // 3 * 3 if step else 0].seen["agent"]["state"]
        np.testing.assert_array_equal(moment.seen["principal"]["disclosed_state"], state * told)
    np.testing.assert_allclose(done.measures["disclosed_state"], 2 / 3)
    field = next(f for f in game.role("principal").sees if f.name == "disclosed_state")
    assert field.verifiable


# ---- certificates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cost", [0.01, 0.05])
def test_costly_certificates_leave_the_lowest_unproved(cost: float) -> None:
    """Below the cutoff 2 (sqrt(b^2 + cost) - b), where (s - m)(s - m + 2 b) = cost at m half the cutoff, nobody certifies."""
    cutoff = 2 * (math.sqrt(BIAS**2 + cost) - BIAS)
    extra, believed = Certify("state", cost), cutoff / 2
    proved, silent = (persuasion(believed, lambda s, on=on: s * 0 + on, extra) for on in (1, 0))
    state = last(silent, "agent", "state", step=0)[:, 0]
    buys = proved.returns["agent"][:, 0] > silent.returns["agent"][:, 0]
    np.testing.assert_array_equal(buys, state > cutoff)
    assert 0.1 < cutoff < 0.9 or cost < 0.02
    played = persuasion(believed, lambda s: s > cutoff, extra)
    np.testing.assert_array_equal(played.measures["certificates_state"], buys)
    assert state[~buys].mean() == pytest.approx(believed, abs=4 * cutoff / math.sqrt(12 * max((~buys).sum(), 1)))
    np.testing.assert_allclose(played.welfare, np.where(buys, -cost, -((state - believed) ** 2)), atol=1e-12)


def test_certificates_are_right_with_their_accuracy() -> None:
    worlds, accuracy = 20_000, 0.6
    game = make("CheapTalk") | Certify("state", 0.2, accuracy)
    done = play(game, {"agent": many(certify_state=1)}, worlds=worlds, keep=True)
    state, stated = (last(done, role, f)[:, 0] for role, f in (("agent", "state"), ("principal", "certified_state")))
    right = stated == state
    assert right.mean() == pytest.approx(accuracy, abs=4 * math.sqrt(0.24 / worlds))
    assert stated[~right].mean() == pytest.approx(0.5, abs=4 / math.sqrt(12 * 8000))
    assert abs(np.corrcoef(stated[~right], state[~right])[0, 1]) < 4 / math.sqrt(8000)
    np.testing.assert_allclose(done.moments[0].rewards["agent"], -0.2)
    assert (done.moments[0].rewards["principal"] == 0).all()


def test_who_buys_no_certificate_pays_and_shows_nothing() -> None:
    base = make("Pricing", periods=2)
    game = base | Certify("profit", 0.3)
    cast = {"firm": does(price=base.role("firm").acts[0].space.options[0]), "firm_1": does(certify_profit="buy")}
    done = play(game, cast, worlds=3, keep=True)
    np.testing.assert_array_equal(last(done, "firm", "certificate_profit"), [[[0, 1]] * 2] * 3)
    profit = last(done, "firm", "profit")[:, 1]
    assert (profit != 0).all()
    np.testing.assert_array_equal(last(done, "firm", "certified_profit")[:, 0], np.stack([profit * 0, profit], axis=-1))
    plain = play(base, {"firm": cast["firm"]}, worlds=3)
    bought = done.measures["certificates_profit"]
    assert (bought == 2 - 1).all() or (bought == 2).all()
    np.testing.assert_allclose(plain.welfare - done.welfare, 0.3 * bought)


# ---- commitment ---------------------------------------------------------------------------------------------------


def table(game: Game, word: tuple[int, ...]) -> Any:
    """Payoffs (players, actions, actions) of a one-shot game of two players once these commitments are given."""
    cells = np.array(list(np.ndindex(2, 2)))
    worlds = Worlds(game, len(cells))
    worlds.step({"player": {"commit_action": np.broadcast_to(word, (4, 2)), "action": cells}})
    outcome = worlds.step({"player": {"commit_action": np.zeros((4, 2), int), "action": cells}})
    return outcome.rewards["player"].T.reshape(2, 2, 2)


def solved(game: Game, word: tuple[int, ...]) -> set[tuple[float, ...]]:
    """Payoffs of all equilibria in pure actions."""
    payoffs = table(game, word)
    return {tuple(map(float, payoffs[:, i, j])) for i, j in solve.pure_nash(payoffs)}


def test_who_alone_can_commit_wins_at_chicken() -> None:
    game = MatrixGame.chicken() | Commit("action", ("player_0",))
    free, swerve, straight = (solved(game, (word, 0)) for word in (0, 1, 2))
    assert free == {(5.0, -5.0), (-5.0, 5.0)}  # anybody's game
    assert swerve == {(-5.0, 5.0)}
    assert straight == {(5.0, -5.0)}  # the other swerves: backward induction gives the prize to the one who is bound
    assert game.role("player").deciding("commit_action", 1) == ()
    both = MatrixGame.chicken() | Commit("action")
    assert solved(both, (2, 2)) == {(-10.0, -10.0)}  # two who are bound crash


def test_commitment_does_not_solve_the_dilemma() -> None:
    game = MatrixGame() | Commit("action")
    assert [solved(game, (word, 0)) for word in (0, 1, 2)] == [{(1.0, 1.0)}, {(0.0, 5.0)}, {(1.0, 1.0)}]


def test_commitment_picks_the_good_equilibrium_of_the_stag_hunt() -> None:
    game = MatrixGame.stag_hunt() | Commit("action", ("player_1",))
    assert solved(game, (0, 0)) == {(4.0, 4.0), (3.0, 3.0)}
    assert solved(game, (0, 1)) == {(4.0, 4.0)}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 3))
def test_a_maximum_brings_the_act_below_it(most: int, harvest: int, seed: int) -> None:
    base = make("Fishery", months=2, collapse=0)
    cast: dict[str, Policy] = {"fisher": does(harvest=3, commit_harvest=100)}
    cast["fisher_2"] = does(harvest=harvest, commit_harvest=most)
    bound = play(base | Commit("harvest"), cast, worlds=2, seed=seed, keep=True)
    plain = {"fisher": does(harvest=3), "fisher_2": does(harvest=min(most, harvest))}
    alone = play(base, plain, worlds=2, seed=seed)
    np.testing.assert_array_equal(bound.returns["fisher"], alone.returns["fisher"])
    np.testing.assert_array_equal(last(bound, "fisher", "committed_harvest")[0, 0], [100, 100, most, 100, 100])
    np.testing.assert_allclose(bound.measures["commitments_harvest"], 0.2 * (most < 100))


def test_small_numbers_are_committed_to_as_values_and_pays_component_by_component() -> None:
    small = make("Fishery", fishers=2, capacity=9, months=1) | Commit("harvest")
    cast = {"fisher_0": does(harvest=0, commit_harvest="4"), "fisher_1": does(harvest=1, commit_harvest="free")}
    np.testing.assert_array_equal(play(small, cast).returns["fisher"], [[4.0, 1.0]])
    hired = make("HiddenAction") | Commit("pay")
    cast = {"principal": does(commit_pay=[3.0, 10.0], pay=[5.0, 5.0]), "agent": does(accept="accept")}
    done = play(hired, cast, keep=True)
    np.testing.assert_array_equal(last(done, "agent", "pay"), [[[3.0, 5.0]]])


@dataclass(frozen=True)
class Stakes(RoundGame):
    """A player names a stake from 2 to 5, and gets it."""

    repetitions: int = 1
    about = "Name a stake from 2 to 5; you get it."
    stages = (Stage("name", "name a stake"),)

    def cast(self) -> tuple[Role, ...]:
        stake = Field("stake", Integer(2, 5), "your stake", stage="name")
        return (Role("player", 1, (), (stake,), "you want much"),)

    def settle(self, nature: Any, acts: Any, memory: Any, u: Array) -> Settled:
        stake = to_float(acts["player"]["stake"])
        return Settled({"player": stake}, welfare=stake, sums={})

    def benchmarks(self) -> Benchmarks:
        return Benchmarks(Level(5.0, "the highest"), Level(5.0, "the highest"))


@pytest.mark.parametrize(("word", "paid"), [("free", 3.0), ("2", 2.0), ("5", 5.0)])
def test_values_are_counted_from_the_lowest(word: str, paid: float) -> None:
    done = play(Stakes() | Commit("stake"), {"player": does(commit_stake=word, stake=3)})
    assert done.returns["player"] == paid


def test_a_word_binds_with_its_probability() -> None:
    worlds = 10_000
    game = MatrixGame() | Commit("action", binding=0.7)
    done = play(game, {"player": many(commit_action=1, action=1)}, worlds=worlds)
    kept = done.measures["first_action"]
    assert set(np.unique(kept)) == {0.0, 0.5, 1.0}
    assert kept.mean() == pytest.approx(0.7, abs=4 * math.sqrt(0.21 / (2 * worlds)))
    assert (kept == 1).mean() == pytest.approx(0.49, abs=4 * 0.5 / math.sqrt(worlds))  # independent of each other


# ---- all of them --------------------------------------------------------------------------------------------------

PRIVATE = {"Fishery": "total", "MatrixGame": "own", "CheapTalk": "state", "Pricing": "profit"}
ACT = {"Fishery": "harvest", "HiddenAction": "effort", "MatrixGame": "action", "Relational": "effort"}


def _cases() -> list[tuple[Mechanism, Game, Mechanism | None]]:
    games = [make("Fishery", months=5), make("HiddenAction"), MatrixGame(repetitions=4)]
    games.append(make("Relational", delta=0.3, repetitions=10))
    cases: list[tuple[Mechanism, Game, Mechanism | None]] = []
    for game in games:
        act = ACT[game.name]
        cases += [
            (Monitor(act, 0.6, 0.2, 1, 0.3), game, Monitor(act, 0.0)),
            (Monitor(act, to=(game.roles[0].name,)), game, Monitor(act, most=0)),
            (Commit(act), game, Commit(act, binding=0.0)),
            (Commit(act, (game.roles[-1].players[-1],), 0.5), game, None),
        ]
    for game in (games[0], games[2], make("CheapTalk", repetitions=2), make("Pricing", periods=4)):
        field = PRIVATE[game.name]
        cases += [
            (Disclose(field), game, None),
            (Disclose(field, voluntary=True), game, None),
            (Certify(field, 0.3), game, Certify(field, accuracy=0.0)),
            (Certify.suited(game), game, None),
        ]
    deep = make("Fishery", months=3) | Talk(cost=0.25) | Sanction()
    for field in ("harvest", "punish"):  # of the game, and of an institution
        cases += [(Monitor(field, 0.5, 0.5, 2, 0.1), deep, None), (Commit(field, binding=0.5), deep, None)]
    cases += [(Disclose("fined", voluntary=True), deep, None), (Certify("heard", 0.1, 0.8), deep, None)]
    screening = Screening(repetitions=2) | Sanction()
    cases += [(Certify("type", 0.1, 0.5), screening, None), (Disclose("type"), screening, None)]
    return cases


@pytest.mark.parametrize(("given", "game", "null"), _cases(), ids=lambda value: getattr(value, "name", "-"))
def test_examined(given: Mechanism, game: Game, null: Mechanism | None) -> None:
    check_mechanism(given, game, null=null, worlds=16)


def test_on_top_of_each_other() -> None:
    layers = (
        Monitor("harvest", 0.5, 1.0, 2, 0.5),
        Commit("harvest", ("fisher_1",), 0.7),
        Disclose("total", voluntary=True),
        Certify("total", 0.2, 0.6),
        Contract(Quota(5, field="found_harvest")),
    )
    game: Game = make("Fishery", months=2)
    for layer in layers:
        check_mechanism(layer, game, worlds=8)
        game = game | layer


def test_a_choice_that_is_found_can_be_compensated_for() -> None:
    """A repeated dilemma under the contract of Christoffersen et al. on what the monitor finds, not on the act."""
    game = MatrixGame() | Monitor("action", 0.5) | Contract(Compensation(4.0, field="found_action"))
    cast = {"player_0": many(action=1, consent=1), "player_1": many(action=0, consent=1)}
    done = play(game, cast, worlds=4000)
    paid = done.measures["transfers"]  # where both are seen
    assert set(np.unique(paid)) == {0.0, 4.0}
    assert paid.mean() == pytest.approx(1.0, abs=4 * 4 * math.sqrt(3 / 16 / 4000))


def test_words_name_the_numbers() -> None:
    game = make("HiddenAction") | Monitor("effort", 0.25, 0.1, cost=0.5) | Commit("pay", binding=0.75)
    for text in (
        "looks at agent_0 with probability 0.25",
        "wrong with probability 0.1",
        "costs 0.5",
        "principal_0 may commit to a maximum of pay",
        "binds with probability 0.75",
    ):
        assert text in game.about
    told = make("CheapTalk") | Certify("state", 0.2, 0.9) | Disclose("state", voluntary=True)
    for text in ("for 0.2. It is true with probability 0.9", "agent_0 may disclose the state that they see"):
        assert text in told.about


def test_lists_are_read_as_tuples_and_keep_the_hash() -> None:
    names: Any = ["principal"]
    assert hash(Monitor("effort", to=names)) == hash(Monitor("effort", to=("principal",)))
    assert Commit("effort", names) == Commit("effort", ("principal",))
    assert hash(Certify("type", to=names)) == hash(Certify("type", to=("principal",)))
    assert hash(Disclose("type", to=names)) == hash(Disclose("type", to=("principal",)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Monitor("effort", 1.5), "probability: a number from 0 to 1, got 1.5"),
        (lambda: Monitor("effort", noise=-1), "noise: a number from 0 to inf, got -1"),
        (lambda: Monitor("effort", most=0.5), "most: a whole number from 0 to 1000000, got 0.5"),  # type: ignore[arg-type]
        (lambda: Monitor("effort", cost=-1), "cost: a number from 0 to inf, got -1"),
        (lambda: Monitor("effort", to=3), "to: a list of distinct names, got 3"),  # type: ignore[arg-type]
        (
            lambda: make("HiddenAction") | Monitor("efort"),
            "nobody in HiddenAction decides 'efort'; there are: accept, effort",
        ),
        (
            lambda: make("HiddenAction") | Monitor("effort", noise=2),
            "noise .field 'effort' is a choice.: a number from 0",
        ),
        (lambda: make("HiddenAction") | Monitor("effort", to=("boss",)), "to: HiddenAction has no role boss"),
        (lambda: Disclose("type", voluntary=1), "voluntary: true or false, got 1"),  # type: ignore[arg-type]
        (
            lambda: make("HiddenAction") | Disclose("outcome"),
            "all roles of HiddenAction see 'outcome'; name its holders",
        ),
        (lambda: make("Screening") | Disclose("type", to=("agent",)), "to: nobody but agent_0 would be shown 'type'"),
        (lambda: make("Screening") | Disclose("type", of=("principal",)), "no principal in Screening sees 'type'"),
        (lambda: make("Screening") | Disclose("stage"), "nobody in Screening sees 'stage'; there are: "),
        (lambda: Certify("type", cost=-0.1), "cost: a number from 0 to inf, got -0.1"),
        (lambda: Certify("type", accuracy=2), "accuracy: a number from 0 to 1, got 2"),
        (
            lambda: make("Team") | Certify("pay", accuracy=0.5),
            "accuracy: below 1 a field needs bounds, 'pay' is a number",
        ),
        (lambda: Commit("action", binding=-1), "binding: a number from 0 to 1, got -1"),
        (lambda: MatrixGame() | Commit("act"), "nobody in MatrixGame decides 'act'; there are: action"),
        (
            lambda: MatrixGame() | Commit("action", ("agent",)),
            "who: agent does not decide 'action'; these do: player_0",
        ),
    ],
)
def test_bad_parameters_are_refused(wrong: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wrong()
