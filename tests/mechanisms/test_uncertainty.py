"""Dials of uncertainty: arithmetic by hand, closed forms, and what must not change."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas import Episodes, Game, Mechanism, Policy, Unfit, Worlds, play, policy
from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.contracting.hold_up import HoldUp
from societas.envs.contracting.procurement import Procurement
from societas.envs.contracting.relational import Relational
from societas.envs.norms.fishery import Fishery
from societas.envs.norms.matrix_game import MatrixGame
from societas.mechanisms.ambiguity import Ambiguity
from societas.mechanisms.contract import Contract
from societas.mechanisms.hidden_type import HiddenType
from societas.mechanisms.norm_uncertainty import NormUncertainty
from societas.mechanisms.preference_uncertainty import PreferenceUncertainty
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.shock import Shock
from societas.mechanisms.talk import Talk
from societas.mechanisms.terms import Compensation, Quota
from societas.mechanisms.unforeseen import Unforeseen, null_value
from societas.testing import check_mechanism

T = 4
PD = MatrixGame(repetitions=T)
CELLS = PD.table.reshape(2, -1).T  # payoffs of both in each of the four cells; random play makes them equally likely
SUMS = CELLS.sum(axis=1)


def at_random(game: Game, worlds: int, seed: int = 1) -> Episodes:
    return play(game, {role.name: policy("random") for role in game.roles}, worlds=worlds, seed=seed)


def always(role: str, **acts: Any) -> dict[str, Policy]:
    """Play constant acts: a number, or one for each seat."""

    def fixed(seen: Any) -> Any:
        like = next(iter(seen.values()))
        lead = like.shape[:2]
        return {name: np.broadcast_to(np.asarray(value), lead) * 1 for name, value in acts.items()}

    return {role: policy("callable", function=fixed, batched=True)}


def close(sample: Any, expected: float, what: str = "mean") -> None:
    """Compare a mean or a variance with its closed form, within five standard errors."""
    sample = np.asarray(sample, dtype=float)
    deviations = sample if what == "mean" else (sample - sample.mean()) ** 2
    error = deviations.std() / math.sqrt(len(deviations))
    assert abs(deviations.mean() - expected) < 5 * error + 1e-12, (deviations.mean(), expected, error)


# ---- the examiner, and the null ------------------------------------------------------------------------------------

STACK = Fishery(months=3) | Contract(Quota(limit=None), side_payment=2.0) | Sanction()
GAMES: dict[str, Game] = {
    "fishery": Fishery(months=5),
    "hidden action": HiddenAction(),
    "dilemma": PD,
    "relational": Relational(delta=0.3, repetitions=10),
    "stack": STACK,
    "staged stack": HiddenAction(repetitions=2) | Talk() | Sanction(),
}
FACTS = {
    "fishery": ("caught", (8, 12.5)),
    "hidden action": ("answer", ("refused", "none")),
    "dilemma": ("own", ("cooperate", "defect")),
    "relational": ("bonus", (0.0, 0.3, 0.6)),
    "stack": ("caught", (3, 30)),
    "staged stack": ("outcome", ("low", "high")),
}


def dials(game: str) -> list[tuple[Mechanism, Mechanism]]:
    """Return mechanisms, each with its null."""
    field, norms = FACTS[game]
    return [
        (Shock(0.6, 0.5), Shock(0.0)),
        (Shock(0.5, 2.0, mean=-0.5, kind="add", common=False), Shock(0.5, 0.0)),
        (Ambiguity(0.3, 0.6, mean=-0.2), Ambiguity(0.0)),
        (Ambiguity(0.5, common=False, kind="add"), Ambiguity(0.2, size=0.0)),
        (HiddenType(0.9), HiddenType(0.0)),
        (Unforeseen(0.5), Unforeseen(0.0)),
        (PreferenceUncertainty(0.7), PreferenceUncertainty(0.0)),
        (PreferenceUncertainty(1.0), PreferenceUncertainty(0.0)),
        (NormUncertainty(field, norms, known=0.5, fine=2.0), NormUncertainty(field, norms, fine=0.0)),
        (NormUncertainty(field, norms, known=0.2, share=True), NormUncertainty(field, norms, fine=0.0)),
    ]


@pytest.mark.parametrize("k", range(len(dials("dilemma"))))
@pytest.mark.parametrize("game", GAMES)
def test_examined(game: str, k: int) -> None:
    dial, null = dials(game)[k]
    assert GAMES[game] | null is GAMES[game]
    check_mechanism(dial, GAMES[game], null=null, worlds=16)


def test_all_of_them_at_once() -> None:
    game: Game = Fishery(months=4)
    layers: tuple[Mechanism, ...] = (
        HiddenType(0.5),
        NormUncertainty("caught", (8, 12)),
        Unforeseen(0.3),
        Contract(Quota(limit=10)),
        Shock(0.3, 0.5),
        PreferenceUncertainty(0.5),
        Sanction(),
    )
    for layer in layers:
        check_mechanism(layer, game, worlds=16)
        game = game | layer


def test_suited() -> None:
    """Each dial finds parameters, or says what is missing."""
    for game in (Fishery(), HiddenAction(), PD, Procurement()):
        for kind in (Shock, Ambiguity, HiddenType, Unforeseen, PreferenceUncertainty, NormUncertainty):
            assert (game | kind.suited(game)) is not game
    assert HiddenType.suited(Procurement()).field == "productivity"  # its agent sees a field `type` already
    for kind in (Unforeseen, NormUncertainty):
        with pytest.raises(Unfit, match="nobody in HoldUp sees a verifiable field"):
            kind.suited(HoldUp())


# ---- Shock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize("kind", ["multiply", "add"])
def test_shocks_by_hand(kind: str, common: bool) -> None:
    """What a round pays is changed by the shock that all see after it, and nothing else is."""
    base = Fishery(months=3, collapse=0)
    game = base | Shock(0.5, 0.25, mean=0.125, kind=kind, common=common)
    done = play(game, always("fisher", harvest=[1, 2, 3, 4, 10]), worlds=200, seed=2, keep=True)
    caught = np.array([1.0, 2, 3, 4, 10])
    hits = 0
    for month in range(3):
        if month < 2:
            shock = done.moments[month + 1].seen["fisher"]["shock"]
            shock = shock[:, :, None] if common else shock
            assert set(np.unique(shock)) == {-0.125, 0.0, 0.375}
            shock = shock[:, 0, :]
            expected = caught * (1 + shock) if kind == "multiply" else caught + shock
            np.testing.assert_allclose(done.moments[month].rewards["fisher"], expected)
            hits += (shock != 0).sum(axis=-1)
        assert ((done.moments[0].seen["fisher"]["shock"]) == 0).all()
    np.testing.assert_allclose(done.returns["fisher"].sum(axis=-1), done.welfare)
    assert (done.measures["shocks"] >= hits).all()
    close(done.measures["shocks"], 0.5 * 3 * (1 if common else 5))


def test_a_shock_hits_all_that_a_round_paid() -> None:
    """Two stages paid and one shock at their end: sanctions are part of the round."""
    game = Fishery(months=1) | Sanction(cost=1.0, fine=3.0) | Shock(1.0, 0.5)
    worlds = Worlds(game, 40, seed=0)
    acts = {"harvest": np.full((40, 5), 10), "punish": np.tile([2, 0, 0, 0, 0], (40, 1))}
    first = game.step(worlds.state, {"fisher": acts}, worlds.numbers())
    assert (first.rewards["fisher"] == 10).all()  # the round is not over
    worlds.state = first.state
    second = game.step(first.state, {"fisher": acts}, worlds.numbers())
    shock = second.state.own.shock
    assert set(np.unique(shock)) == {-0.5, 0.5}
    plain = np.array([-1.0, -3, 0, 0, 0])
    np.testing.assert_allclose(second.rewards["fisher"], plain + shock * (10 + plain))
    np.testing.assert_allclose(second.welfare, -4 + shock[:, 0] * 46)


@pytest.mark.parametrize(
    ("kind", "common", "added"),
    [
        ("multiply", True, T * (SUMS**2).mean()),
        ("multiply", False, T * (CELLS**2).sum(axis=1).mean()),
        ("add", True, T * 4.0),
        ("add", False, T * 2.0),
    ],
)
def test_shocks_of_mean_zero_add_variance_and_nothing_to_expected_welfare(
    kind: str, common: bool, added: float
) -> None:
    p, size, worlds = 0.3, 0.8, 40_000
    plain = at_random(PD, worlds)
    under = at_random(PD | Shock(p, size, kind=kind, common=common), worlds)
    close(plain.welfare, T * SUMS.mean())
    close(under.welfare, T * SUMS.mean())
    close(plain.welfare, T * SUMS.var(), "variance")
    close(under.welfare, T * SUMS.var() + p * size**2 * added, "variance")


def test_the_mean_of_shocks_moves_expected_welfare() -> None:
    under = at_random(PD | Shock(0.4, 0.5, mean=-0.5), 40_000)
    close(under.welfare, T * SUMS.mean() * (1 - 0.4 * 0.5))


def test_comparing_the_same_worlds_is_worth_several_times_as_many() -> None:
    """On common random numbers the difference that a dial makes has 1/9 of the variance that it has on others.

    Unpaired: Var(W') + Var(W) = 2 Var(W) + p s^2 E[sum_t R_t^2]; paired, the last term only.
    """
    p, size, worlds = 0.1, 0.5, 40_000
    dial = PD | Shock(p, size)
    plain, paired, other = at_random(PD, worlds, 5), at_random(dial, worlds, 5), at_random(dial, worlds, 6)
    own = p * size**2 * T * (SUMS**2).mean()
    assert 1 + 2 * T * SUMS.var() / own == pytest.approx(9.0)
    close(paired.welfare - plain.welfare, own, "variance")
    close(other.welfare - plain.welfare, 9.0 * own, "variance")


def test_a_higher_probability_adds_shocks_to_those_there_are() -> None:
    few, many = (at_random(PD | Shock(p, 0.5, kind="add"), 500) for p in (0.2, 0.7))
    base = at_random(PD, 500).welfare
    assert (many.measures["shocks"] >= few.measures["shocks"]).all()
    once = (few.measures["shocks"] == many.measures["shocks"]) & (few.measures["shocks"] > 0)
    assert once.any() and (few.welfare[once] == many.welfare[once]).all()
    assert (few.welfare[few.measures["shocks"] == 0] == base[few.measures["shocks"] == 0]).all()


# ---- Ambiguity ----------------------------------------------------------------------------------------------------


def test_without_spread_ambiguity_is_risk() -> None:
    risk = PD | Ambiguity(0.0, probability=0.4, size=0.3)
    assert risk.name == "MatrixGame | Shock"
    one, other = at_random(risk, 200), at_random(PD | Shock(0.4, 0.3), 200)
    np.testing.assert_array_equal(one.welfare, other.welfare)


def test_shocks_of_unknown_probability_vary_more() -> None:
    """The mean number of shocks is that of the known risk, its variance larger by T (T - 1) spread^2 / 3."""
    p, spread, rounds, worlds = 0.4, 0.4, 10, 20_000
    base = MatrixGame(repetitions=rounds)
    found = at_random(base | Ambiguity(spread, p), worlds).measures
    risk = at_random(base | Shock(p), worlds).measures
    low, high = Ambiguity(spread, p).interval
    assert (found["shock_probability"] >= low).all() and (found["shock_probability"] <= high).all()
    close(found["shock_probability"], spread**2 / 3, "variance")
    for shocks, more in ((risk["shocks"], 0.0), (found["shocks"], rounds * (rounds - 1) * spread**2 / 3)):
        close(shocks, rounds * p)
        close(shocks, rounds * p * (1 - p) + more, "variance")


def test_players_are_told_the_interval_alone() -> None:
    game = PD | Ambiguity(0.2, 0.5)
    assert "between 0.3 and 0.7 and is not known" in game.rules("player")
    assert [field.name for field in game.role("player").sees] == ["round", "actions", "own", "shock"]
    first = Worlds(game, 50, seed=0)
    assert np.unique(first.state.own.probability).size == 50
    for values in first.view()["player"].values():
        assert (values == values[:1]).all()  # what is seen at the start says nothing about the draw


@given(st.floats(0, 0.5), st.floats(0, 1), st.floats(-5, 5), st.floats(-5, 5))
def test_maxmin_is_the_least_over_the_interval(spread: float, place: float, calm: float, hit: float) -> None:
    dial = Ambiguity(spread, min(spread + place * (1 - 2 * spread), 1 - spread))
    grid = np.linspace(*dial.interval, 50)
    assert dial.maxmin(calm, hit) == pytest.approx(((1 - grid) * calm + grid * hit).min())


def test_ellsberg() -> None:
    """A bet on the shock and a bet against it are each worth 1/2 - spread: less together than a sure 1."""
    dial = Ambiguity(0.3, 0.5)
    assert dial.maxmin(0.0, 1.0) == pytest.approx(0.2) and dial.maxmin(1.0, 0.0) == pytest.approx(0.2)
    assert dial.maxmin(1.0, 1.0) == pytest.approx(1.0)
    assert Ambiguity(0.3).interval == (0.0, 0.6) and Ambiguity(0.5).interval == (0.0, 1.0)


# ---- HiddenType ---------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 0.99), st.integers(0, 9))
def test_types_multiply_rewards_and_are_seen_by_their_owner(spread: float, seed: int) -> None:
    base = Fishery(months=3, collapse=0)
    cast = always("fisher", harvest=[1, 2, 3, 4, 5])
    done = play(base | HiddenType(spread), cast, worlds=8, seed=seed, keep=True)
    types = done.moments[0].seen["fisher"]["type"]
    assert types.shape == (8, 5) and np.unique(types).size == 40
    assert (types >= 1 - spread).all() and (types <= 1 + spread).all()
    for moment in done.moments:
        np.testing.assert_array_equal(moment.seen["fisher"]["type"], types)
        np.testing.assert_allclose(moment.rewards["fisher"], types * [1, 2, 3, 4, 5])
    np.testing.assert_allclose(done.welfare, 3 * (types * [1, 2, 3, 4, 5]).sum(axis=-1))
    np.testing.assert_allclose(done.measures["mean_type"], types.mean(axis=-1))


@pytest.mark.parametrize("spread", [0.2, 0.9])
def test_types_have_the_variance_of_a_uniform_number(spread: float) -> None:
    done = play(Fishery(months=2) | HiddenType(spread), always("fisher", harvest=5), worlds=20_000, seed=1)
    close(done.returns["fisher"][:, 0], 10.0)
    close(done.returns["fisher"][:, 0], 100 * spread**2 / 3, "variance")
    close(done.welfare, 500 * spread**2 / 3, "variance")  # five independent types


def test_only_the_roles_that_are_named_have_types() -> None:
    game = HiddenAction() | HiddenType(0.5, roles=("agent",), field="talent")
    assert "talent" in {f.name for f in game.role("agent").sees} - {f.name for f in game.role("principal").sees}
    base, under = at_random(HiddenAction(), 50), at_random(game, 50)
    np.testing.assert_array_equal(base.returns["principal"], under.returns["principal"])
    gain = under.returns["agent"] - base.returns["agent"]
    assert (gain != 0).any()
    np.testing.assert_allclose(under.welfare - base.welfare, gain[:, 0])


def test_transfers_below_types_are_multiplied_and_those_above_are_not() -> None:
    cast = always("player", action=[0, 1], consent=1)
    contract, types = Contract(Compensation(theta=2.0)), HiddenType(0.5)
    inside = play(MatrixGame() | contract | types, cast, worlds=50, seed=1, keep=True)
    outside = play(MatrixGame() | types | contract, cast, worlds=50, seed=1, keep=True)
    theta = inside.moments[0].seen["player"]["type"]
    np.testing.assert_allclose(inside.returns["player"], theta * [2, 3])  # (0, 5) and a payment of 2
    theta = outside.moments[0].seen["player"]["type"]
    np.testing.assert_allclose(outside.returns["player"], theta * [0, 5] + [2, -2])


# ---- Unforeseen ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terms", [Quota(limit=10, fine=2.0), Quota(limit=0, fine=0.5)])
def test_a_contract_finds_breaches_in_foreseen_rounds_only(terms: Quota) -> None:
    """World by world: what it finds, and what it moves, is the share of rounds without an event."""
    months = 5
    cast = always("fisher", harvest=[11, 12, 0, 0, 0], consent=1)
    alone = play(Fishery(months=months) | Contract(terms), cast, worlds=300, seed=3)
    game = Fishery(months=months) | Unforeseen(0.4) | Contract(terms)
    under = play(game, cast, worlds=300, seed=3)
    foreseen = 1 - under.measures["unforeseen"] / months
    assert foreseen.min() == 0 and foreseen.max() == 1
    for name in ("breaches", "transfers"):
        np.testing.assert_allclose(under.measures[name], alone.measures[name] * foreseen)
    np.testing.assert_array_equal(under.welfare, alone.welfare)
    np.testing.assert_allclose(under.returns["fisher"].sum(axis=-1), under.welfare)


def test_breaches_found_fall_linearly_with_the_probability() -> None:
    cast = always("player", action=[1, 0], consent=1)
    found = []
    for p in (0.0, 0.25, 0.5, 0.75, 1.0):
        done = play(PD | Unforeseen(p) | Contract(Compensation(theta=2.0)), cast, worlds=4_000, seed=1)
        found.append(done.measures["breaches"])
        close(found[-1], 0.5 * (1 - p))
        close(done.measures["transfers"], 2.0 * T * (1 - p))
    assert (np.diff(found, axis=0) <= 0).all()  # in every world: a higher probability adds events
    assert (found[-1] == 0).all() and (found[0] == 0.5).all()


def test_after_an_event_nothing_is_owed_between_equals() -> None:
    """All show the null value, be it the wrong one or the right one."""
    cast = always("player", action=[0, 1], consent=1)
    for wrong, right in (("none", "cooperate"), ("cooperate", "none"), ("defect", "cooperate")):
        terms = Contract(Compensation(1.0, wrong=wrong, right=right))
        done = play(PD | Unforeseen(1.0) | terms, cast, worlds=20)
        assert (done.measures["transfers"] == 0).all() and (done.measures["breaches"] == 0).all()
    fields = {field.name: field for field in PD.role("player").sees}
    assert null_value(fields["own"]) == 2 and null_value(fields["round"]) == 1
    salary = next(f for f in Relational(delta=0.3, repetitions=10).role("agent").sees if f.name == "salary")
    assert null_value(salary) == 0


def test_where_the_null_value_is_called_wrong_the_innocent_are_punished() -> None:
    game = PD | Unforeseen(0.5) | NormUncertainty("own", ("none", "defect"), fine=1.0)
    done = play(game, always("player", action=0), worlds=100, seed=2)
    void = Worlds(game, 100, seed=2).state.own.norm == 0
    assert 0 < void.sum() < 100 and (done.measures["norm_breaches"][~void] == 0).all()
    np.testing.assert_allclose(done.measures["norm_breaches"][void], done.measures["unforeseen"][void] / T)


def test_the_record_is_void_until_the_next_move() -> None:
    """After an event a new offer is seen as it is made; the outcome of the round is gone for good to who looks then."""
    base = HiddenAction(repetitions=2)
    game, plain = base | Unforeseen(1.0), base
    worlds, beside = Worlds(game, 30, seed=1), Worlds(plain, 30, seed=1)

    def both(**acts: Any) -> tuple[Any, Any]:
        full = {
            "principal": {"pay": np.full((30, 1, 2), acts.get("pay", 0.0))},
            "agent": {"accept": np.ones((30, 1), dtype=int), "effort": np.ones((30, 1), dtype=int)},
        }
        worlds.step(full)
        beside.step(full)
        return worlds.view(), beside.view()

    under, true = both(pay=6.0)
    for name in ("outcome", "answer", "pay"):  # within a round nothing is void
        np.testing.assert_array_equal(under["agent"][name], true["agent"][name])
    assert (under["agent"]["event"] == 0).all()
    under, true = both()
    assert (true["principal"]["outcome"] < 2).all() and (true["principal"]["pay"] == 6).all()
    for role in ("principal", "agent"):
        assert (under[role]["outcome"] == 2).all() and (under[role]["answer"] == 2).all()
        assert (under[role]["pay"] == 0).all() and (under[role]["event"] == 1).all()
        np.testing.assert_array_equal(under[role]["round"], true[role]["round"])  # not verifiable, not void
    under, _ = both(pay=7.0)
    assert (under["agent"]["pay"] == 7).all() and (under["agent"]["event"] == 0).all()


def test_fields_that_are_named_are_void_and_the_event_proves_nothing() -> None:
    game = PD | Unforeseen(1.0, fields=("own",))
    assert not next(f for f in game.role("player").sees if f.name == "event").verifiable
    done = play(game, always("player", action=1), worlds=3, keep=True)
    assert (done.moments[1].seen["player"]["own"] == 2).all() and (done.moments[1].seen["player"]["actions"] == 1).all()
    with pytest.raises(Unfit, match="only on verifiable fields.*'event'"):
        _ = game | Contract(Compensation(1.0, "unforeseen", "none", "event"))


# ---- PreferenceUncertainty ----------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 1), st.lists(st.integers(0, 8), min_size=5, max_size=5), st.integers(0, 9))
def test_weights_by_hand(spread: float, harvest: list[int], seed: int) -> None:
    base = Fishery(months=2)
    cast = always("fisher", harvest=harvest)
    plain = play(base, cast, worlds=20, seed=seed)
    game = base | PreferenceUncertainty(spread)
    done = play(game, cast, worlds=20, seed=seed)
    counts = Worlds(game, 20, seed=seed).state.own.counts
    assert (counts.sum(axis=-1) == 1).all()
    weights = (1 - spread) + 5 * spread * counts
    np.testing.assert_array_equal(done.returns["fisher"], plain.returns["fisher"])
    np.testing.assert_allclose(done.welfare, (weights * plain.returns["fisher"]).sum(axis=-1), atol=1e-9)
    np.testing.assert_array_equal(done.measures["unweighted"], plain.welfare)
    best = np.max([np.roll(weights, k, axis=-1) @ done.returns["fisher"][0] for k in range(5)], axis=0)
    np.testing.assert_allclose(done.measures["regret"], best - done.welfare, atol=1e-9)


def test_expected_welfare_stays_and_its_variance_grows_with_the_square_of_the_spread() -> None:
    """In symmetric play of a game in which returns differ, and by luck alone."""
    worlds = 40_000
    returns = at_random(PD, worlds).returns["player"]
    inequality = T * (CELLS.var(axis=1)).mean()  # E sum_i (R_i - mean R)^2 / 2: rounds are independent, of mean 0
    close(((returns - returns.mean(axis=1, keepdims=True)) ** 2).mean(axis=1), inequality)
    for spread in (0.25, 0.5, 1.0):
        done = at_random(PD | PreferenceUncertainty(spread), worlds)
        close(done.welfare, T * SUMS.mean())
        close(done.welfare, T * SUMS.var() + spread**2 * 4 * inequality, "variance")
        expected = spread * 2 * (returns.max(axis=1) - returns.mean(axis=1))
        close(done.measures["regret"] - expected, 0.0)


def test_equality_insures_against_not_knowing_whose_values_count() -> None:
    done = play(Fishery(months=3) | PreferenceUncertainty(1.0), always("fisher", harvest=7), worlds=50)
    assert (done.welfare == 105).all() and (done.measures["regret"] == 0).all()


def test_welfare_that_is_no_sum_of_rewards_is_tilted_by_rewards() -> None:
    base = HiddenAction()
    plain, under = at_random(base, 200), at_random(base | PreferenceUncertainty(1.0), 200)
    gap = plain.returns["principal"][:, 0] - plain.returns["agent"][:, 0]
    np.testing.assert_array_equal(under.measures["unweighted"], plain.welfare)
    assert (np.abs(plain.welfare - plain.returns["principal"][:, 0] - plain.returns["agent"][:, 0]) > 1e-6).any()
    np.testing.assert_allclose(np.abs(under.welfare - plain.welfare), np.abs(gap), atol=1e-9)
    signs = np.sign(under.welfare - plain.welfare) * np.sign(gap)
    assert {-1.0, 1.0} <= set(signs)


# ---- NormUncertainty ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [False, True])
def test_norms_by_hand(share: bool) -> None:
    """Catches of 5, 9, 9, 13 and 13 tonnes under limits of 8 or 12: four break the one, two the other."""
    fine, months = 2.0, 2
    game = Fishery(months=months) | NormUncertainty("caught", (8, 12), known=0.5, fine=fine, share=share)
    harvest = np.array([5, 9, 9, 13, 13])
    done = play(game, always("fisher", harvest=harvest), worlds=60, seed=1, keep=True)
    limits = np.array([8, 12])[Worlds(game, 60, seed=1).state.own.norm]
    assert set(limits) == {8, 12}
    breach = (harvest > limits[:, None]).astype(float)
    fined = fine * breach
    gained = (fined.sum(axis=-1, keepdims=True) - fined) / 4 if share else 0.0
    for moment in done.moments:
        np.testing.assert_allclose(moment.rewards["fisher"], harvest - fined + gained)
    np.testing.assert_allclose(done.moments[1].seen["fisher"]["norm_fine"], fined)
    assert (done.moments[0].seen["fisher"]["norm_fine"] == 0).all()
    np.testing.assert_allclose(done.measures["norm_breaches"], breach.mean(axis=-1))
    np.testing.assert_allclose(done.welfare, months * (harvest.sum() - (0.0 if share else fined.sum(axis=-1))))
    told = done.moments[0].seen["fisher"]["norm"]
    assert set(np.unique(told)) == {0, 1, 2}
    assert (((told == 0) | (told == (1 + (limits == 12))[:, None])).all()) and 0.3 < (told == 0).mean() < 0.7


def test_norms_on_options() -> None:
    game = PD | NormUncertainty("own", ["cooperate", "defect"], known=1.0, fine=1.0)
    assert game.role("player").sees[3].space.options == ("unknown", "no cooperate", "no defect")  # type: ignore[union-attr]
    done = play(game, always("player", action=[0, 1]), worlds=50, keep=True)
    told = done.moments[0].seen["player"]["norm"]
    assert set(np.unique(told)) == {1, 2}
    np.testing.assert_allclose(done.returns["player"], [0, 5 * T] - T * (told == [1, 2]))


def test_what_it_is_worth_to_know_the_norm() -> None:
    """Who is told catches the limit; who is not catches 12, a breach half of the time. Welfare is linear in ``known``."""
    n, fine, worlds = 5, 10.0, 10_000

    def catch(seen: Any) -> Any:
        return {"harvest": np.array([12, 8, 12])[seen["norm"]]}

    informed = {"fisher": policy("callable", function=catch, batched=True)}
    told = []
    for known in (0.0, 0.3, 0.6, 1.0):
        game = Fishery(months=1) | NormUncertainty("caught", (8, 12), known=known, fine=fine)
        done = play(game, informed, worlds=worlds, seed=4, keep=True)
        close(done.welfare, n * (12 - fine / 2) + known * n * (10 - 12 + fine / 2))
        close(done.measures["norm_breaches"], 0.5 * (1 - known))
        told.append(done.moments[0].seen["fisher"]["norm"] > 0)
    for fewer, more in itertools.pairwise(told):
        assert (fewer <= more).all()  # the same worlds: who is told at a lower dial is told at a higher one


def test_fines_teach_newcomers() -> None:
    """Nobody is told; who tries 12 tonnes and is fined for it keeps to 8, and errs once."""

    def learns(seen: Any) -> Any:
        return {"harvest": np.where((seen["norm_fine"] > 0) | ((seen["month"] > 1) & (seen["caught"] == 8)), 8, 12)}

    game = Fishery(months=6) | NormUncertainty("caught", (8, 12), known=0.0, fine=5.0)
    done = play(game, {"fisher": policy("callable", function=learns, batched=True)}, worlds=40, seed=1)
    assert set(np.round(done.measures["norm_breaches"], 9)) == {0.0, round(1 / 6, 9)}


def test_a_round_of_several_stages_is_judged_once() -> None:
    """What is seen of a round, its shock and its fine, stands until the next one is over."""
    norm = NormUncertainty("answer", ("refused", "accepted"), fine=0.25)
    game = HiddenAction(repetitions=3) | norm | Shock(1.0, 0.5)
    cast = always("agent", accept=1, effort=1) | {"principal": policy("random")}
    done = play(game, cast, worlds=60, seed=1, keep=True)
    assert set(done.measures["norm_breaches"]) == {0.0, 1.0} and (done.measures["shocks"] == 3).all()
    for round_ in (1, 2):
        offer, answer = (done.moments[2 * round_ + k].seen["agent"] for k in (0, 1))
        assert set(np.unique(offer["norm_fine"])) == {0.0, 0.25} and set(np.unique(offer["shock"])) == {-0.5, 0.5}
        for name in ("norm_fine", "shock"):
            np.testing.assert_array_equal(offer[name], answer[name])


# ---- invariants, and bad input ------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0, 1),
    st.floats(0, 0.5),
    st.floats(0, 3),
    st.booleans(),
    st.sampled_from(["multiply", "add"]),
    st.integers(0, 9),
)
def test_rewards_and_welfare_move_together(
    p: float, spread: float, fine: float, flag: bool, kind: str, seed: int
) -> None:
    """Over whole episodes, in a game whose welfare is the sum of rewards."""
    for dial in (
        Shock(p, spread, kind=kind, common=flag),
        Ambiguity(spread, size=0.4, kind=kind, common=flag),
        HiddenType(spread),
        Unforeseen(p),
        NormUncertainty("caught", (5, 20), known=p, fine=fine, share=flag),
    ):
        done = at_random(Fishery(months=4) | dial, 16, seed)
        np.testing.assert_allclose(done.returns["fisher"].sum(axis=-1), done.welfare, atol=1e-9)


def test_worlds_at_different_stages() -> None:
    """A batch that is half way through a round here and at its beginning there is stepped as each world alone is."""
    base = HiddenAction(repetitions=3) | Sanction()
    layers = (Shock(0.7), HiddenType(0.5), Unforeseen(0.5), NormUncertainty("outcome", ("low", "high"), fine=1.0))
    for layer in (*layers, PreferenceUncertainty(0.5)):
        game = base | layer
        rng = np.random.default_rng(0)
        acts = {
            "principal": {"pay": np.full((1, 2), 5.0), "punish": np.array([2])},
            "agent": {"accept": np.array([1]), "effort": np.array([1]), "punish": np.array([0])},
        }
        states = []
        state = game.start(rng.random(game.draws))
        for _ in range(4):
            states.append(state)
            state = game.step(state, acts, rng.random(game.draws)).state
        u = rng.random((4, game.draws))
        together = game.step(_stack(states), _repeat(acts, 4), u)
        for i, alone in enumerate(states):
            outcome = game.step(alone, acts, u[i])
            np.testing.assert_array_equal(together.welfare[i], outcome.welfare)
            for role in ("principal", "agent"):
                np.testing.assert_array_equal(together.rewards[role][i], outcome.rewards[role])
                seen, own = game.view(together.state)[role], game.view(outcome.state)[role]
                for name in seen:
                    np.testing.assert_array_equal(seen[name][i], own[name])


def _stack(trees: list[Any]) -> Any:
    first = trees[0]
    if isinstance(first, dict):
        return {key: _stack([tree[key] for tree in trees]) for key in first}
    if isinstance(first, tuple):
        parts = [_stack(list(column)) for column in zip(*trees, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    return np.stack(trees)


def _repeat(acts: dict[str, dict[str, Any]], count: int) -> dict[str, dict[str, Any]]:
    return {role: {name: np.stack([v] * count) for name, v in fields.items()} for role, fields in acts.items()}


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (Shock, {"probability": 1.1}, "probability: a number from 0 to 1, got 1.1"),
        (Shock, {"size": 0.8, "mean": 0.3}, "size: a number from 0 to 0.7, got 0.8"),
        (Shock, {"mean": -1.5}, "mean: a number from -1 to 1, got -1.5"),
        (Shock, {"kind": "divide"}, "kind: one of 'multiply', 'add', got 'divide'"),
        (Ambiguity, {"spread": 0.6}, "spread: a number from 0 to 0.5, got 0.6"),
        (Ambiguity, {"spread": 0.3, "probability": 0.2}, "here 0.3 to 0.7, so that the interval lies within 0 to 1"),
        (Ambiguity, {"size": -1.0}, "size: a number from 0 to 1, got -1.0"),
        (HiddenType, {"spread": 1.0}, "spread: a number from 0 to less than 1"),
        (HiddenType, {"roles": 3}, "roles: a list of distinct names, got 3"),
        (HiddenType, {"field": "my type"}, "field: an identifier, got 'my type'"),
        (Unforeseen, {"probability": -0.1}, "probability: a number from 0 to 1, got -0.1"),
        (Unforeseen, {"fields": 3}, "fields: a list of distinct names, got 3"),
        (PreferenceUncertainty, {"spread": 1.5}, "spread: a number from 0 to 1, got 1.5"),
        (NormUncertainty, {"field": "own", "norms": ("defect",)}, "norms: 2 or more different limits"),
        (NormUncertainty, {"field": "own", "norms": (3, "defect")}, "norms: 2 or more different limits"),
        (NormUncertainty, {"field": "own", "norms": (3, math.nan)}, "norms: a number from -inf to inf, got nan"),
        (NormUncertainty, {"field": "own", "norms": (3, 4), "known": 2}, "known: a number from 0 to 1, got 2"),
        (NormUncertainty, {"field": "own", "norms": (3, 4), "fine": -1}, "fine: a number from 0 to inf, got -1"),
    ],
)
def test_bad_parameters(kind: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kind(**options)


@pytest.mark.parametrize(
    ("game", "dial", "words"),
    [
        (PD | Shock(), Shock(), "role player already sees a field 'shock'"),
        (PD | HiddenType(), HiddenType(), "player already sees 'type' in MatrixGame | HiddenType; give another name"),
        (PD | Unforeseen(), Unforeseen(), "already has a field 'event'"),
        (PD, Unforeseen(fields=("round",)), "'round' is no verifiable field of MatrixGame; there are: actions, own"),
        (HoldUp(), Unforeseen(), "nobody in HoldUp sees a verifiable field"),
        (PD | PreferenceUncertainty(), PreferenceUncertainty(), "already reports 'unweighted' or 'regret'"),
        (
            Fishery(),
            NormUncertainty("stock", (3, 4)),
            "'stock' is none that anybody sees in Fishery; there are: caught",
        ),
        (Fishery(), NormUncertainty("catches", (3, 4)), "'catches' must be a single value"),
        (Fishery(), NormUncertainty("caught", ("a", "b")), "limits are for numbers and options for choices"),
        (PD, NormUncertainty("own", (3, 4)), "limits are for numbers and options for choices"),
        (PD, NormUncertainty("own", ("defect", "lie")), "'lie' is not among the options of 'own': cooperate, defect"),
        (
            HiddenAction(),
            NormUncertainty("answer", ("refused", "none"), share=True, roles=("agent",)),
            "nobody is there to receive what agent_0 pays",
        ),
        (PD | NormUncertainty("own", ("cooperate", "defect")), NormUncertainty("own", ("defect", "none")), "one norm"),
    ],
)
def test_what_does_not_fit(game: Game, dial: Mechanism, words: str) -> None:
    with pytest.raises(Unfit, match=words.replace("|", r"\|")):
        _ = game | dial


def test_lists_are_accepted_and_dials_are_values() -> None:
    one = NormUncertainty("own", ["cooperate", "defect"], roles=["player"])  # type: ignore[arg-type]
    assert hash(one) == hash(dataclasses.replace(one)) and one.norms == ("cooperate", "defect")
    assert hash(Unforeseen(fields=["own"])) == hash(Unforeseen(fields=("own",)))  # type: ignore[arg-type]
    assert HiddenType(roles=["player"]) == HiddenType(roles=("player",))  # type: ignore[arg-type]
