"""Schedules: who pays whom by which facts, by hand, and what theory says of bonuses and slopes."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import array_api_compat.torch as xpt
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from societas import Game, Mechanism, Policy, play, policy
from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.contracting.multitask import Multitask
from societas.envs.contracting.relational import Relational
from societas.envs.contracting.team import Team
from societas.envs.core.fields import Choice, Field, Integer, Real
from societas.envs.core.mechanism import Unfit
from societas.envs.norms.fishery import Fishery
from societas.envs.norms.matrix_game import MatrixGame
from societas.mechanisms.contract import Contract, Court
from societas.mechanisms.monitor import Monitor
from societas.mechanisms.schedules import Bonus, Linear, Share, Table
from societas.mechanisms.talk import Talk
from societas.mechanisms.terms import Deal, Quota, Terms

HIRED = {"principal_0": {"consent": 1}, "agent_0": {"consent": 1, "accept": 1}}
ONCE = Relational(delta=0.0, repetitions=1)
WATCHED = ONCE | Monitor("effort")


def run(game: Game, acts: dict[str, dict[str, Any]], worlds: int = 1, u: Any = None) -> dict[str, Any]:
    """Play an episode in which players do the same at every step, 0 where nothing is said; return {player: returns}.

    Acts are {player: {field: a number, one a world, or (worlds, components)}}.
    """
    u = np.full((worlds, game.draws), 0.5) if u is None else u
    decided: dict[str, dict[str, Any]] = {}
    for role in game.roles:
        decided[role.name] = {}
        for field in role.acts:
            values = np.zeros((worlds, role.count, *field.shape))
            for i, player in enumerate(role.players):
                given = np.asarray(acts.get(player, {}).get(field.name, 0.0))
                values[:, i] = given.reshape(-1, *field.shape) if given.ndim > len(field.shape) else given
            decided[role.name][field.name] = values.astype(np.int64) if field.discrete else values
    state, total = game.start(u), dict.fromkeys(game.players, np.zeros(worlds))
    live = np.ones(worlds, dtype=bool)
    for _ in range(game.horizon):
        outcome = game.step(state, decided, u)
        for role in game.roles:
            for i, player in enumerate(role.players):
                total[player] = total[player] + live * outcome.rewards[role.name][:, i]
        state, live = outcome.state, live & ~outcome.done
    assert not live.any()
    return total


def fish(terms: Terms, catches: tuple[int, ...] = (7, 10, 4), **parameters: Any) -> list[float]:
    """What a month's catches give three fishers under terms to which all agree, less the catches."""
    game = Fishery(fishers=3, months=1) | Contract(terms, **parameters)
    acts = {f"fisher_{i}": {"consent": 1, "harvest": caught} for i, caught in enumerate(catches)}
    returns = run(game, acts)
    return [float(returns[f"fisher_{i}"][0]) - caught for i, caught in enumerate(catches)]


# ---- by hand ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "moved"),
    [
        (Linear("caught", "fisher_0", "fisher_1", 1, 0.5), [-6, 6, 0]),  # 1 + .5 x 10
        (Linear("caught", "fisher_0", "fisher_1", 1, 0.5, of="fisher_2"), [-3, 3, 0]),  # 1 + .5 x 4
        (Linear("caught", "fisher_0", "fisher_1", 1, -0.5), [4, -4, 0]),
        (Linear("caught", "fisher_0", "fisher_1", 1, -0.5, floor=0), [0, 0, 0]),
        (Linear("caught", "fisher_0", "fisher_1", 1, -0.5, floor=-3), [3, -3, 0]),
        (Linear("caught", "fisher_2", "fisher_0", 0, 1), [7, 0, -7]),
        (Table("caught", "fisher_0", "fisher_1", {10: 3, 7: 5}), [-3, 3, 0]),
        (Table("caught", "fisher_0", "fisher_1", {10: -3, 7: 5}), [3, -3, 0]),
        (Table("caught", "fisher_0", "fisher_1", {9: 3}), [0, 0, 0]),
        (Table("caught", "fisher_2", "fisher_1", (0, 1, 2, 3, 4, 5), of="fisher_2"), [0, 4, -4]),
        (Table("caught", "fisher_1", "fisher_2", {7: {10: 2, 4: 1}}, of=("fisher_0", "fisher_1")), [0, -2, 2]),
        (Table("caught", "fisher_1", "fisher_2", {10: {7: 2}}, of=("fisher_0", "fisher_1")), [0, 0, 0]),
        (Bonus("caught", "fisher_0", "fisher_1", 10, 2), [-2, 2, 0]),
        (Bonus("caught", "fisher_0", "fisher_1", 10.5, 2), [0, 0, 0]),
        (Bonus("caught", "fisher_1", "fisher_2", 5, 2, of="fisher_0"), [0, -2, 2]),
        (Share("caught", 2 / 3), [0, -3, 3]),  # all end up with the mean, 7
        (Share("caught", 0.5), [0.0, -2.25, 2.25]),
        (Share("caught", 0), [0, 0, 0]),
    ],
)
def test_what_a_month_moves(terms: Terms, moved: list[float]) -> None:
    np.testing.assert_allclose(fish(terms), moved, atol=1e-12)
    assert fish(terms, regime="text") == [0, 0, 0]
    assert fish(terms, court=Court(0.4)) == [0, 0, 0]  # u is 0.5 throughout


def test_options_earn_by_their_names() -> None:
    for own, other in itertools.product((0, 1), repeat=2):
        base = MatrixGame()
        acts = {"player_0": {"consent": 1, "action": own}, "player_1": {"consent": 1, "action": other}}
        before = run(base, acts)["player_0"][0]
        bonus = Bonus("own", "player_0", "player_1", amount=2, options=("cooperate",))
        single = Table("own", "player_0", "player_1", {"defect": 1, "cooperate": 4}, of="player_0")
        listed = Table("own", "player_0", "player_1", [4, 1], of="player_0")
        joint = Table("own", "player_0", "player_1", [[1, 2], [3, 4]], of=("player_0", "player_1"))
        names = {"cooperate": {"cooperate": 1, "defect": 2}, "defect": {"cooperate": 3, "defect": 4}}
        named = Table(("own",), "player_0", "player_1", names, of=("player_0", "player_1"))
        for terms, due in (
            (bonus, 2 * (1 - other)),
            (single, (4, 1)[own]),
            (listed, (4, 1)[own]),
            (joint, 1 + 2 * own + other),
            (named, 1 + 2 * own + other),
        ):
            returns = run(base | Contract(terms), acts)
            assert returns["player_0"][0] == before - due


def test_joint_values_of_two_fields() -> None:
    pay = {"defect": {"defect": 3, "cooperate": 5}}
    table = Table(("own", "found_action"), "player_0", "player_1", pay)
    game = MatrixGame() | Monitor("action") | Contract(table)
    acts = {"player_0": {"consent": 1}, "player_1": {"consent": 1, "action": 1}}
    assert run(game, acts)["player_0"][0] == 0 - 3
    assert run(game, acts | {"player_1": {"consent": 1}})["player_0"][0] == 3


def test_the_proposer_fills_in_what_is_none() -> None:
    game = WATCHED | Contract(Linear("found_effort", "principal", "agent", slope=0.5))
    assert [f.name for f in game.role("principal").deciding("propose")] == ["pay_base"]
    acts = {"principal_0": {"pay_base": -0.25}, "agent_0": HIRED["agent_0"] | {"effort": 0.5}}
    returns = run(game, acts)
    assert (returns["principal_0"][0], returns["agent_0"][0]) == (0.5, -0.125)  # -0.25 + .5 x .5 = 0
    acts["principal_0"]["pay_base"] = 1.0
    assert run(game, acts)["agent_0"][0] == 1.25 - 0.125

    table = Table("outcome", "principal", "agent", {"low": None, "high": None, "none": 1})
    game = HiddenAction() | Contract(table)
    assert [f.name for f in game.role("principal").deciding("propose")] == ["pay_low", "pay_high"]
    acts = {"principal_0": {"pay_low": 2, "pay_high": 9}, "agent_0": {"consent": 1, "accept": 1}}
    u = np.array([[0.1], [0.9]])
    assert run(game, acts, 2, u)["agent_0"].tolist() == [2, 9]
    assert run(game, acts | {"agent_0": {"consent": 1}}, 2, u)["agent_0"].tolist() == [2, 2]  # reservation 1, and 1
    assert run(game, acts | {"agent_0": {"accept": 1}}, 2, u)["agent_0"].tolist() == [0, 0]  # no consent, no contract

    game = WATCHED | Contract(Bonus("found_effort", "principal", "agent"))
    acts = {"principal_0": {"bonus_amount": 3, "bonus_threshold": 0.5}, "agent_0": HIRED["agent_0"] | {"effort": 0.5}}
    assert run(game, acts)["agent_0"][0] == 3 - 0.125
    acts["agent_0"] |= {"effort": 0.25}
    assert run(game, acts)["agent_0"][0] == -0.03125

    game = Fishery(fishers=2, months=1) | Contract(Share("caught"))
    acts = {"fisher_0": {"share": 0.5, "harvest": 8}, "fisher_1": {"consent": 1}}
    assert run(game, acts)["fisher_1"][0] == 4


def test_facts_that_one_side_sees() -> None:
    base = ONCE | Monitor("effort", to=("principal",))
    with pytest.raises(Unfit, match="of: agent_0 does not see 'found_effort_of'; .* of: principal_0"):
        _ = base | Contract(Linear("found_effort_of", "principal", "agent"))
    game = base | Contract(Linear("found_effort_of", "principal", "agent", 0, 2, of="principal"))
    assert run(game, {**HIRED, "agent_0": HIRED["agent_0"] | {"effort": 0.5}})["agent_0"][0] == 1 - 0.125
    assert run(game, {"principal_0": {"consent": 1}, "agent_0": {"effort": 0.5, "accept": 1}})["agent_0"][0] == -0.125


def test_a_share_of_less_than_nothing_is_owed_by_the_others() -> None:
    deal = Deal(("a_0", "a_1", "a_2"), {"x": Field("x", Real(), "x")}, {"x": (True,) * 3})
    debts = Share("x", 0.5).owed({"share": np.asarray(0.5)}, {"x": np.array([4.0, -2.0, 0.0])}, deal)
    assert debts.tolist() == [[0, 1.5, 1], [0, 0, 0], [0, 0.5, 0]]


# ---- whatever is played -------------------------------------------------------------------------------------------

amounts = st.floats(-20, 20)
fields = {
    "x": Field("x", Real(), "a number"),
    "k": Field("k", Integer(0, 4), "a whole number"),
    "c": Field("c", Choice(("a", "b")), "a choice"),
}
deals = Deal(("p_0", "q_0", "q_1", "q_2"), fields, dict.fromkeys(fields, (True,) * 4))


@st.composite
def schedules(draw: Any) -> Terms:
    payer, payee = draw(st.permutations(deals.players))[:2]
    of = draw(st.sampled_from(("", "p", *deals.players)))
    kind = draw(st.sampled_from(("linear", "table", "joint", "bonus", "option", "share")))
    a, b = draw(amounts), draw(amounts)
    if kind == "linear":
        return Linear(draw(st.sampled_from("xk")), payer, payee, a, b, draw(st.none() | amounts), of)
    if kind == "table":
        return Table("k", payer, payee, {draw(st.integers(0, 2)): a, 3: b}, of or ())
    if kind == "joint":
        return Table(("k", "c"), payer, payee, {1: {"a": a, "b": b}, 0: {"b": a}}, of or ())
    if kind == "bonus":
        return Bonus("x", payer, payee, a, abs(b), of=of)
    if kind == "option":
        return Bonus("c", payer, payee, amount=abs(a), options=("b",), of=of)
    return Share("x", min(abs(a) / 20, 1.0))


@settings(max_examples=60, deadline=None)
@given(schedules(), st.integers(0, 99))
def test_debts_are_not_negative_run_one_way_and_agree_on_torch(terms: Terms, seed: int) -> None:
    terms.suit(deals)
    rng = np.random.default_rng(seed)
    facts = {"x": rng.normal(0, 10, (5, 3, 4)), "k": rng.integers(0, 5, (5, 3, 4)), "c": rng.integers(0, 2, (5, 3, 4))}
    like = np.zeros((5, 3))
    debts = terms.owed(terms.stated({}, like), facts, deals)
    assert debts.shape == (5, 3, 4, 4) and (debts >= 0).all()
    assert (np.diagonal(debts, axis1=-2, axis2=-1) == 0).all()
    assert (np.minimum(debts, np.swapaxes(debts, -1, -2)) == 0).all() or isinstance(terms, Share)
    torch = {name: xpt.asarray(values) for name, values in facts.items()}
    other = terms.owed(terms.stated({}, xpt.asarray(like)), torch, deals)
    np.testing.assert_array_equal(debts, np.asarray(other))
    for figure in terms.figures:  # what players are shown is within its bounds
        assert figure.space.low <= terms.fixed[figure.name] <= figure.space.high
        assert f"{terms.fixed[figure.name]:g}" in terms.text
    assert isinstance(terms, Linear | Table | Bonus | Share)
    assert dataclasses.replace(terms) == terms and hash(dataclasses.replace(terms)) == hash(terms)


class Agreeing(type(policy("random"))):  # type: ignore[misc]
    """Random play, but all accept."""

    def act(self, seen: Any, stage: Any, u: Any, memory: Any) -> Any:
        acts, memory = super().act(seen, stage, u, memory)
        return {k: acts[k] * 0 + 1 if k in ("consent", "accept") else acts[k] for k in acts}, memory


@pytest.mark.parametrize(
    ("base", "terms"),
    [
        (HiddenAction(repetitions=3), Table("outcome", "principal", "agent", {"low": None, "high": -3}, least=-5)),
        (Relational(delta=0.3, repetitions=10), Linear("bonus", "agent", "principal", None, None, max_slope=2)),
        (Team(rule="tournament", repetitions=2), Linear("pay", "member_0", "member_3", None, -2, floor=-1)),
        (Team(rule="tournament", repetitions=2), Share("pay")),
        (Fishery(months=3), Bonus("caught", "fisher_1", "fisher_0")),
    ],
)
def test_transfers_sum_to_zero_and_concern_only_two(base: Game, terms: Terms) -> None:
    game = base | Contract(terms)
    cast: dict[str, Policy] = {role.name: Agreeing() for role in game.roles}
    done = play(game, cast, worlds=20, seed=1)
    assert (done.measures["agreed"] == 1).all() and (done.measures["transfers"] > 0).any()
    unbound = play(base | Contract(terms, regime="text"), cast, worlds=20, seed=1)
    together, apart = (
        np.concatenate([one.returns[role.name] for role in game.roles], axis=1) for one in (done, unbound)
    )
    moved = together - apart
    np.testing.assert_allclose(moved.sum(axis=1), 0.0, atol=1e-9)
    np.testing.assert_array_equal(done.welfare, unbound.welfare)
    if not isinstance(terms, Share):
        assert (np.count_nonzero(np.abs(moved) > 1e-9, axis=1) <= 2).all()


# ---- what theory says ---------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 9), st.integers(1, 10), st.integers(1, 12), st.integers(0, 40), st.sampled_from(["bonus", "table"])
)
def test_effort_is_a_best_response_from_the_incentive_bonus_on(
    low: int, more: int, psi: int, quarters: int, kind: str
) -> None:
    """Flat pay, and b for success: high effort is worth its while exactly if b >= psi / (pH - pL) (Grossman and Hart)."""
    high, cost, b = min(low + more, 10), psi / 4, quarters / 4
    p = ((1 - low / 10, low / 10), (1 - high / 10, high / 10))
    base = HiddenAction(chances=p, costs=(0.0, cost))
    terms: Terms = Bonus("outcome", "principal", "agent", amount=b, options=("high",))
    if kind == "table":
        terms = Table("outcome", "principal", "agent", {"high": b + 1, "low": 1})
    u = (np.arange(10)[:, None] + 0.5) / 10  # each chance, a number of tenths, exactly
    idle, busy = (
        run(base | Contract(terms), {**HIRED, "agent_0": HIRED["agent_0"] | {"effort": e}}, 10, u)["agent_0"].mean()
        for e in (0, 1)
    )
    assert busy - idle == pytest.approx(b * (high - low) / 10 - cost, abs=1e-12)
    enough = quarters * (high - low) >= psi * 10
    assert (busy >= idle - 1e-12) == enough


@pytest.mark.parametrize("reservation", [0.0, 1.0, 3.0])
def test_a_table_of_the_optimal_wages_is_worth_what_they_are(reservation: float) -> None:
    """Two outcomes, no limit to the payer's word: the wages of the second best, promised in a contract, not in the game."""
    base = HiddenAction(utility="linear", reservation=reservation)
    wages = base.cheapest(1)
    assert wages is not None and wages[0][1] - wages[0][0] >= 1 / 0.4 - 1e-9
    table = Table("outcome", "principal", "agent", dict(zip(base.names, wages[0], strict=True)))
    u = (np.arange(5)[:, None] + 0.5) / 5
    values = {}
    for accept, effort in itertools.product((0, 1), repeat=2):
        acts = {**HIRED, "agent_0": {"consent": 1, "accept": accept, "effort": effort}}
        values[accept, effort] = run(base | Contract(table), acts, 5, u)
    best = max(value["agent_0"].mean() for value in values.values())
    assert values[1, 1]["agent_0"].mean() == pytest.approx(best, abs=1e-9)
    assert values[1, 1]["principal_0"].mean() == pytest.approx(base.expected(base.optimal_pay)[0], abs=1e-9)


@pytest.mark.parametrize(("cost", "slope"), [(1.0, 0.0), (1.0, 0.5), (2.0, 0.5), (0.5, 0.75), (1.0, 1.0), (2.0, -1.0)])
def test_effort_is_slope_over_cost(cost: float, slope: float) -> None:
    base = Relational(delta=0.0, repetitions=1, cost=cost)
    game = base | Monitor("effort") | Contract(Linear("found_effort", "principal", "agent", 0.3, slope))
    efforts = np.linspace(0, 2 / cost, 401)
    returns = run(game, {**HIRED, "agent_0": HIRED["agent_0"] | {"effort": efforts}}, 401)
    assert efforts[returns["agent_0"].argmax()] == pytest.approx(max(slope, 0.0) / cost, abs=1e-9)
    np.testing.assert_allclose(returns["principal_0"] + returns["agent_0"], efforts - cost * efforts**2 / 2, atol=1e-12)


def test_the_best_slope_weighs_risk_against_effort() -> None:
    """Normal errors, CARA: the certainty equivalent is mean - r/2 variance, and beta* = 1/(1 + r c s2) (Holmstrom and
    Milgrom 1987). The errors are those of a grid of uniform numbers.
    """
    r, s2, worlds = 100.0, 0.01, 60
    textbook = Multitask.linear(risk_aversion=r, noise=s2)
    assert textbook.optimal_slopes[0] == pytest.approx(0.5)
    base = ONCE | Monitor("effort", noise=s2**0.5)
    ticks = (np.arange(worlds) + 0.5) / worlds
    u = np.full((worlds**2, (base | Contract(Linear("found_effort", "principal", "agent"))).draws), 0.5)
    u[:, -2:] = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    surplus = {}
    for slope in (0.3, 0.4, 0.5, 0.6, 0.7):
        game = base | Contract(Linear("found_effort", "principal", "agent", 0.0, slope))
        worth = {}
        for effort in (slope - 0.1, slope, slope + 0.1):
            returns = run(game, {**HIRED, "agent_0": HIRED["agent_0"] | {"effort": effort}}, worlds**2, u)
            equivalent = returns["agent_0"].mean() - r / 2 * returns["agent_0"].var()
            worth[effort] = equivalent, equivalent + returns["principal_0"].mean()
        assert max(worth, key=lambda e: worth[e][0]) == slope
        surplus[slope] = worth[slope][1]
        assert surplus[slope] == pytest.approx(textbook.surplus(np.array([slope])).item(), abs=0.004)
    assert max(surplus, key=lambda slope: surplus[slope]) == 0.5


@pytest.mark.parametrize("slope", [0.0, 0.1, 0.25])
def test_in_a_team_a_slope_moves_incentives_from_payer_to_payee(slope: float) -> None:
    """Output is shared equally: c a = 1/n, plus the slope for who is paid by it, less the slope for who pays."""
    game = Team(members=4, cost=2.0) | Contract(Linear("output", "member_0", "member_1", 0, slope))
    efforts = np.linspace(0, 1, 401)
    for i, share in enumerate((0.25 - slope, 0.25 + slope, 0.25)):
        acts = {f"member_{j}": {"consent": 1, "effort": efforts if i == j else 0.2} for j in range(4)}
        returns = run(game, acts, 401)
        assert efforts[returns[f"member_{i}"].argmax()] == pytest.approx(share / 2, abs=1e-9)


@pytest.mark.parametrize(("threshold", "amount"), [(0.8, 0.31), (0.8, 0.33), (1.0, 0.49), (1.0, 0.51), (1.5, 2.0)])
def test_a_bonus_forces_effort_if_it_covers_its_cost(threshold: float, amount: float) -> None:
    """All or nothing: the agent makes just the effort asked for if the bonus is more than c e^2 / 2 (Harris and Raviv)."""
    game = WATCHED | Contract(Bonus("found_effort", "principal", "agent", threshold, amount))
    efforts = np.arange(201) / 100
    returns = run(game, {**HIRED, "agent_0": HIRED["agent_0"] | {"effort": efforts}}, 201)
    assert efforts[returns["agent_0"].argmax()] == (threshold if amount > threshold**2 / 2 else 0.0)


@pytest.mark.parametrize("share", [0.0, 0.25, 2 / 3, 0.9])
def test_who_shares_keeps_the_rest_of_what_one_adds(share: float) -> None:
    game = Fishery(fishers=3, months=1) | Contract(Share("caught", share))
    acts = {f"fisher_{i}": {"consent": 1, "harvest": 10} for i in range(3)}
    more = acts | {"fisher_0": {"consent": 1, "harvest": np.array([10, 11])}}
    returns = run(game, more, 2)
    assert np.diff(returns["fisher_0"])[0] == pytest.approx(1 - share)
    assert np.diff(returns["fisher_1"])[0] == pytest.approx(share / 2)


# ---- on any game --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("game", "terms"),
    [
        (Fishery(months=5), Linear("caught", "fisher_0", "fisher_1")),
        (Relational(delta=0.3, repetitions=10), Linear("salary", "agent", "principal", 0, 1, floor=0)),
        (Team(repetitions=2) | Monitor("effort", 0.5), Linear("found_effort", "member_0", "member_3", slope=0)),
        (HiddenAction(), Table("outcome", "principal", "agent", {"low": None, "high": None})),
        (
            MatrixGame(repetitions=4),
            Table("own", "player_0", "player_1", [[0, None], [-3, 1]], ("player_0", "player_1")),
        ),
        (Fishery(months=5) | Talk(), Table("caught", "fisher_0", "fisher_1", {0: 3, 10: 1}, of="fisher_4")),
        (HiddenAction(), Bonus("outcome", "principal", "agent", amount=2.5, options=("high",))),
        (MatrixGame(repetitions=4) | Talk(), Bonus("own", "player_0", "player_1", options=("cooperate",))),
        (Fishery(months=5), Bonus("caught", "fisher_0", "fisher_1", of="fisher_2", thresholds=(0, 20))),
        (Fishery(months=5), Share("caught")),
        (Team(repetitions=2), Share("pay", 0.75)),
        (Relational(delta=0.3, repetitions=10), Share("bonus", most=0.5)),
    ],
)
def test_examined(game: Game, terms: Terms) -> None:
    from societas.testing import check_mechanism

    contract: Mechanism = Contract(terms, side_payment=2.0)
    check_mechanism(contract, game, null=Contract(terms, regime="none"), worlds=32)
    assert terms.text in (game | contract).about


def test_words() -> None:
    assert Linear("caught", "a_0", "b", 1, None, 0, "c").text == (
        "after each round a_0 pays b 1, plus an amount that is proposed for each unit of caught, as c sees it, but never less "
        "than 0"
    )
    assert "(an amount below 0 is paid the other way round)" in Linear("caught", "a_0", "b", 1, 1).text
    assert Table(("x", "y"), "a", "b", {"high": {0: 2, 3: None}}).text == (
        "after each round a pays b by x as b sees it and y as b sees it: 2 for high and 0, an amount that is proposed for high "
        "and 3, and nothing otherwise"
    )
    assert Table("x", "a", "b", [0, -9]).text.endswith(
        ": 0 for value 1, -9 for value 2, and nothing otherwise (an amount below 0 is paid the other way round)"
    )
    assert [f.name for f in Table("x", "a", "b", {"no deal": 1, -3: 2}).figures] == ["pay_no_deal", "pay_m_3"]
    assert [f.name for f in Table("x", "a", "b", {"é": 1, "ü": 2}).figures] == ["pay_0", "pay_1"]
    assert Bonus("x", "a", "b", 3.5, 2).text == (
        "after each round a pays b a bonus of 2 if x, as b sees it, is at least 3.5"
    )
    assert Bonus("x", "a", "b", options=("good", "fair")).text == (
        "after each round a pays b a bonus that is proposed if x, as b sees it, is good or fair"
    )


def test_parameters_can_be_read_from_data() -> None:
    read = yaml.safe_load("{field: outcome, payer: principal, payee: agent, pay: {low: 0, high: }}")
    table = Table(**read)
    assert table == Table(("outcome",), "principal", "agent", {"low": 0.0, "high": None})
    assert [f.name for f in table.blanks] == ["pay_high"] and hash(table) == hash(Table(**read))
    bonus = Bonus(**yaml.safe_load("{field: x, payer: a, payee: b, options: [good], thresholds: [0, 5]}"))
    assert bonus == Bonus("x", "a", "b", options=("good",), thresholds=(0, 5)) and hash(bonus)


# ---- what is refused ----------------------------------------------------------------------------------------------

F, H = Fishery(months=2), HiddenAction()


@pytest.mark.parametrize(
    ("game", "terms", "words"),
    [
        (
            F,
            Linear("caught", "fisher", "fisher_1"),
            "payer: role 'fisher' has 5 players, name one of fisher_0, fisher_1",
        ),
        (F, Linear("caught", "fisher_0", "boss"), "payee: one of those who are bound, fisher_0, .*, got 'boss'"),
        (H, Linear("outcome", "agent", "agent_0"), "payee: another player than the payer 'agent', got 'agent_0'"),
        (F, Linear("caught", "fisher_0", "fisher_1", of="x"), "of: one of those who are bound, .* got 'x'"),
        (F, Linear("stock", "fisher_0", "fisher_1"), "only on verifiable fields .*'stock' is not .*verifiable: caught"),
        (H, Linear("outcome", "principal", "agent"), "Linear: a field that is a number is needed, 'outcome' is one of"),
        (H, Share("outcome"), "Share: a field that is a number is needed, 'outcome' is one of"),
        (
            H,
            Table("outcome", "principal", "agent", {"great": 1}),
            "pay: 'great' is no value of field 'outcome', which is",
        ),
        (H, Table("outcome", "principal", "agent", {0: 1}), "pay: 0 is no value of field 'outcome', which is one of"),
        (H, Table("outcome", "principal", "agent", (1, 1, 1, 1)), "pay: 'value 4' is no value of field 'outcome'"),
        (H, Table("outcome", "principal", "agent", {"low": 1, "value 1": 2}), "pay: two amounts for the same value, "),
        (F, Table("caught", "fisher_0", "fisher_1", {101: 1}), "pay: 101 is no value of field 'caught', .* 0 to 100"),
        (
            Relational(),
            Table("salary", "principal", "agent", {0: 1}),
            "Table: a choice or a whole number is needed, 'sa",
        ),
        (
            H,
            Bonus("outcome", "principal", "agent", 1),
            "options: 'outcome' is one of .*; say which of them earn the bonus",
        ),
        (
            H,
            Bonus("outcome", "principal", "agent", options=("x",)),
            "options: 'x' must be among those of field 'outcome'",
        ),
        (
            F,
            Bonus("caught", "fisher_0", "fisher_1", options=("x",)),
            "options: 'x' must be among those of field 'caught'",
        ),
    ],
)
def test_terms_that_do_not_suit_are_refused_by_name(game: Game, terms: Terms, words: str) -> None:
    with pytest.raises(Unfit, match=words):
        _ = game | Contract(terms)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Linear("x", "a", "a"), "payee: another player than the payer, got 'a' twice"),
        (lambda: Linear("x", ["a"], "b"), "payer: one name, got \\['a'\\]"),  # type: ignore[arg-type]
        (lambda: Linear("", "a", "b"), "field: one name, got ''"),
        (lambda: Linear("x", "a", "b", base="much"), "base: a number from -1e\\+06 to 1e\\+06, got 'much'"),  # type: ignore[arg-type]
        (lambda: Linear("x", "a", "b", slope=float("nan")), "slope: a number from"),
        (lambda: Linear("x", "a", "b", max_base=-1), "max_base: a number from 0 to 1e\\+06, got -1"),
        (lambda: Table("x", "a", "b", None), "pay: {value: amount}, got None"),  # type: ignore[arg-type]
        (lambda: Table("x", "a", "b", {}), "pay: 1 to 64 amounts, got 0"),
        (lambda: Table("x", "a", "b", [0] * 65), "pay: 1 to 64 amounts, got 65"),
        (lambda: Table("x", "a", "b", {True: 1}), "pay: values are names .* or whole numbers, got True"),
        (lambda: Table("x", "a", "b", {"high": "9"}), "pay\\[high\\]: a number from .*, got '9'"),
        (lambda: Table(("x", "y"), "a", "b", {"high": 9}), "pay: {value: amount}, got 9"),
        (
            lambda: Table(("x", "y", "z"), "a", "b", {}, of=("a", "b")),
            "of: one player, or one for each of 3 fields, got",
        ),
        (lambda: Table("x", "a", "b", [0], least=1), "least: a number from -1e\\+06 to 0, got 1"),
        (lambda: Bonus("x", "a", "b", 1, options=("y",)), "threshold: none where options earn the bonus, got 1"),
        (lambda: Bonus("x", "a", "b", amount=-1), "amount: a number from 0 to 1e\\+06, got -1"),
        (lambda: Bonus("x", "a", "b", thresholds=(1, 2)), "thresholds: the lowest, at most 0, and the highest"),
        (lambda: Share("x", 1.5), "share: a number from 0 to 1, got 1.5"),
        (lambda: Share("x", most=-0.1), "most: a number from 0 to 1, got -0.1"),
    ],
)
def test_bad_parameters_are_refused_by_name(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_pay_is_no_breach_and_no_remedy_is_for_it() -> None:
    """Equal division of catches moves money, and nobody did wrong; a menu may hold pay and fines."""

    def agree(seen: Any) -> Any:
        return {"harvest": seen["stock"] * 0 + 12, "consent": seen["stock"] * 0 + 1}

    signs = {"fisher": policy("callable", function=agree, batched=True)}
    share, fine = Share("caught", 0.5), Quota(10, fine=1.0)
    paid = play(Fishery(months=2) | Contract(share), signs).measures
    fined = play(Fishery(months=2) | Contract(fine), signs).measures
    assert paid["transfers"] == 0.0 and paid["breaches"] == 0.0  # all owe each other the same
    assert fined["breaches"] == 1.0
    game = Fishery(months=2)
    chosen = [play(game | Contract((share, fine)), {"fisher": _chooses(item)}).measures["breaches"] for item in (1, 2)]
    assert chosen == [0.0, 1.0]
    for remedy in ("damages", "termination"):
        with pytest.raises(Unfit, match=f"remedy: '{remedy}' is for breaches"):
            _ = game | Contract(share, remedy=remedy)


def _chooses(item: int) -> Any:
    return policy(
        "callable",
        function=lambda seen: {"harvest": seen["stock"] * 0 + 12, "consent": seen["stock"] * 0 + item},
        batched=True,
    )
