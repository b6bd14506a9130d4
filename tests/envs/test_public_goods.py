"""Public goods: payoffs against the papers, equilibria against enumeration, and punishment in points."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from societas import Game, Unfit, play, policy
from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.norms.fishery import Fishery
from societas.envs.norms.public_goods import PublicGoods
from societas.mechanisms.pool_sanction import PoolSanction
from societas.mechanisms.sanction import Sanction
from societas.testing import check_game, check_mechanism

Host = np.ndarray[Any, Any]
OUT = -1  # a choice of not taking part, where others are contributions


def after(game: Game, *steps: dict[str, Any]) -> tuple[list[Any], Any]:
    """Outcomes of given acts in one world; acts not named are null."""
    role, u = game.roles[0], np.zeros((1, game.draws))
    state, found = game.start(u), []
    for step in steps:
        acts = {f.name: np.zeros((1, role.count, *f.shape), dtype=int) for f in role.acts}
        acts |= {name: np.asarray(values)[None] for name, values in step.items()}
        found.append(game.step(state, {role.name: acts}, u))
        state = found[-1].state
    return found, {name: values[0] for name, values in game.view(state)[role.name].items()}


def pay(game: PublicGoods, choices: tuple[int, ...]) -> list[float]:
    """Payoffs of one round; a choice is a contribution in units, or OUT."""
    acts = {"contribution": [max(c, 0) for c in choices]}
    if game.kind == "voluntary":
        acts["take_part"] = [int(c != OUT) for c in choices]
    (out,), _ = after(game, acts)
    assert out.welfare[0] == pytest.approx(out.rewards["member"].sum())
    return [float(v) for v in out.rewards["member"][0]]


# ---- what the papers say ------------------------------------------------------------------------------------------


def test_fehr_and_gaechter() -> None:
    """All defect: 20; all contribute: 32; a lone defector 44, the others 24."""
    game = PublicGoods()
    assert pay(game, (0, 0, 0, 0)) == [20.0] * 4
    assert pay(game, (20, 20, 20, 20)) == [32.0] * 4
    assert pay(game, (0, 20, 20, 20)) == [44.0, 24.0, 24.0, 24.0]
    marks = game.benchmarks()
    assert marks.first_best.value == 10 * 4 * 32 and marks.equilibrium.value == 10 * 4 * 20
    done = play(game, {"member": policy("equilibrium", level="first_best")}, worlds=2)
    np.testing.assert_allclose(done.alignment, 1.0)
    np.testing.assert_allclose(done.measures["payoff"], 32.0)
    assert (done.measures["contributed"] == 1).all() and (done.measures["free_riding"] == 0).all()
    assert (play(game, {"member": policy("equilibrium")}, worlds=2).measures["free_riding"] == 1).all()


@pytest.mark.parametrize("alone", [False, True])
def test_volunteers_by_composition(alone: bool) -> None:
    """N = 5, r = 3, c = 1 and 1 for loners, for every number of cooperators, defectors and loners."""
    game = PublicGoods(5, "voluntary", 1, multiplier=3.0, outside=1.0, others_only=alone)
    for cooperators, defectors in itertools.product(range(6), repeat=2):
        size = cooperators + defectors
        if size > 5:
            continue
        found = pay(game, (1,) * cooperators + (0,) * defectors + (OUT,) * (5 - size))
        expected = [1.0] * 5
        if size >= 2:
            sharing = size - alone
            gives = 3 * (cooperators - alone) / sharing - 1
            expected = [gives] * cooperators + [3 * cooperators / sharing] * defectors + [1.0] * (5 - size)
        assert found == pytest.approx(expected), (cooperators, defectors)


def expected_pay(game: PublicGoods, x: float, y: float) -> tuple[float, float]:
    """What cooperating and defecting get where each other cooperates with x, defects with y, and else stays out."""
    n, found = game.members, [0.0, 0.0]
    for c, d in itertools.product(range(n), repeat=2):
        if c + d >= n:
            continue
        odds = comb(n - 1, c) * comb(n - 1 - c, d) * x**c * y**d * (1 - x - y) ** (n - 1 - c - d)
        others = (1,) * c + (0,) * d + (OUT,) * (n - 1 - c - d)
        for k, own in enumerate((1, 0)):
            found[k] += odds * pay(game, (own, *others))[0]
    return found[0], found[1]


@pytest.mark.parametrize("r", [2.2, 3.0, 4.5])
def test_the_mixed_equilibrium_of_volunteers_pays_what_staying_out_does(r: float) -> None:
    """Hauert et al. (2002): P_D - P_C = 1 + (r - 1) z^(N-1) - (r/N) (1 - z^N) / (1 - z), with a root inside if r > 2."""
    n, loner = 5, 1.0
    game = PublicGoods(n, "voluntary", 1, multiplier=r, outside=loner)

    def advantage(z: float) -> float:
        return 1 + (r - 1) * z ** (n - 1) - r / n * (1 - z**n) / (1 - z)

    for z, share in ((0.1, 0.3), (0.5, 0.8), (0.9, 0.5)):
        cooperates, defects = expected_pay(game, share * (1 - z), (1 - share) * (1 - z))
        assert defects - cooperates == pytest.approx(advantage(z))
    inside = brentq(advantage, 1e-9, 1 - 1e-4)
    share = brentq(lambda s: expected_pay(game, s * (1 - inside), (1 - s) * (1 - inside))[1] - loner, 0.0, 1.0)
    mixed = expected_pay(game, share * (1 - inside), (1 - share) * (1 - inside))
    assert mixed == pytest.approx((loner, loner))
    assert game.benchmarks().equilibrium.value == pytest.approx(game.repetitions * n * loner)


# ---- equilibria against enumeration -------------------------------------------------------------------------------


def by_the_rules(game: PublicGoods, choices: tuple[int, ...]) -> list[float]:
    """Payoffs of one round, written from the rules anew, player by player."""
    paid, e = [], game.endowment
    gifts = [c * game.unit for c in choices]
    for i, own in enumerate(gifts):
        if game.kind == "linear":
            paid.append(e - own + sum(game.mpcr * gift for gift in gifts))
        elif game.kind == "threshold":
            missed = sum(gifts) < game.threshold
            paid.append((e if missed and game.refund else e - own) + (0.0 if missed else game.benefit))
        else:
            inside = [j for j, c in enumerate(choices) if c != OUT]
            if i not in inside or len(inside) < 2:
                paid.append(game.outside)
                continue
            got = -float(own)
            for j in inside:
                heirs = [k for k in inside if not (game.others_only and k == j)]
                got += game.multiplier * gifts[j] / len(heirs) * (i in heirs)
            paid.append(got)
    return paid


def enumerated(game: PublicGoods) -> tuple[float, dict[tuple[int, ...], float]]:
    """The highest welfare of a round, and the welfare of each equilibrium in pure acts."""
    low = OUT if game.kind == "voluntary" else 0
    choices = range(low, game.endowment // game.unit + 1)
    table = {cell: by_the_rules(game, cell) for cell in itertools.product(choices, repeat=game.members)}
    stable = {}
    for cell, paid in table.items():
        gains = [table[(*cell[:i], c, *cell[i + 1 :])][i] - paid[i] for i in range(game.members) for c in choices]
        if max(gains) <= 1e-9:
            stable[cell] = sum(paid)
    return max(sum(paid) for paid in table.values()), stable


small = st.fixed_dictionaries(
    {
        "members": st.integers(2, 3),
        "kind": st.sampled_from(["linear", "threshold", "voluntary"]),
        "unit": st.integers(1, 3),
        "mpcr": st.integers(0, 12).map(lambda k: k / 8),
        "benefit": st.integers(0, 20).map(lambda k: k / 2),
        "refund": st.booleans(),
        "multiplier": st.integers(0, 16).map(lambda k: k / 4),
        "outside": st.integers(0, 12).map(lambda k: k / 4),
        "others_only": st.booleans(),
    }
)


@settings(max_examples=150, deadline=None)
@given(small, st.integers(1, 3), st.data())
def test_levels_by_enumeration(options: dict[str, Any], units: int, data: st.DataObject) -> None:
    most = units * options["unit"]
    aim = data.draw(st.integers(1, options["members"] * most))
    game = PublicGoods(endowment=most, threshold=aim, repetitions=2, **options)
    best, stable = enumerated(game)
    marks = game.benchmarks()
    assert marks.first_best.value == pytest.approx(2 * best)
    assert marks.equilibrium.value == pytest.approx(2 * min(stable.values()))
    for level in marks.others.values():
        assert any(level.value == pytest.approx(2 * welfare) for welfare in stable.values())
    if game.kind == "threshold":
        nothing = (0,) * game.members
        assert game.zero_stands == (nothing in stable)
        exact = [cell for cell in stable if sum(cell) * game.unit == game.needed * game.unit and sum(cell) > 0]
        assert game.provision_stands == any(
            sum(by_the_rules(game, c)) > sum(by_the_rules(game, nothing)) - 1e-9 for c in exact
        )
        assert ("provision" in marks.others) == (game.zero_stands and game.provision_stands)
        reached = [c for c in stable if sum(c) >= game.needed]
        assert all(sum(c) == game.needed for c in reached)  # nothing is wasted in equilibrium


@settings(max_examples=60, deadline=None)
@given(small, st.integers(1, 3), st.integers(0, 10**6))
def test_payoffs_by_the_rules(options: dict[str, Any], units: int, seed: int) -> None:
    most = units * options["unit"]
    game = PublicGoods(endowment=most, threshold=most, **options)
    choices = np.random.default_rng(seed).integers(OUT if game.kind == "voluntary" else 0, units + 1, game.members)
    cell = tuple(int(c) for c in choices)
    assert pay(game, cell) == pytest.approx(by_the_rules(game, cell))


def test_a_threshold_that_one_alone_would_meet() -> None:
    """At a benefit of 10 nobody gives 10 alone; at 11 somebody does, and at 30 tokens nobody can."""
    for benefit, stands in ((10.0, True), (11.0, False)):
        game = PublicGoods(kind="threshold", threshold=10, benefit=benefit)
        assert game.zero_stands == stands
        assert (game.benchmarks().equilibrium.value == 800) == stands
    assert PublicGoods(kind="threshold", threshold=30, benefit=70).zero_stands
    game = PublicGoods(kind="threshold", threshold=41, unit=20, benefit=20)  # 60 are needed, 20 from each of three
    assert game.needed == 3 and game.benchmarks().others["provision"].value == 10 * (80 + 80 - 60)
    assert "provision" not in PublicGoods(kind="threshold", threshold=41, unit=20, benefit=19).benchmarks().others


def test_more_return_more_welfare() -> None:
    gains = [PublicGoods(mpcr=m / 10).benchmarks().first_best.value for m in range(12)]
    assert gains == sorted(gains) and gains[0] == gains[2] == 800 < gains[3]
    assert [PublicGoods(mpcr=m).benchmarks().equilibrium.value for m in (0.9, 1.0, 1.1)] == [800, 800, 10 * 4 * 88]


# ---- the game -----------------------------------------------------------------------------------------------------


def test_what_members_see() -> None:
    game = PublicGoods(3, "voluntary", 6, unit=3, multiplier=2.0, outside=4.0)
    (out,), seen = after(game, {"take_part": [1, 0, 1], "contribution": [1, 2, 2]})
    assert out.rewards["member"][0].tolist() == [9 - 3, 4, 9 - 6]
    assert seen["contributions"].tolist() == [[1, 0, 2]] * 3 and seen["given"].tolist() == [1, 0, 2]
    assert seen["kept"].tolist() == [3, 0, 0] and seen["part"].tolist() == [1, 0, 1]
    (_,), seen = after(game, {"take_part": [0, 0, 1], "contribution": [0, 0, 2]})
    assert (seen["contributions"] == 0).all() and (seen["kept"] == 0).all() and seen["part"].tolist() == [0, 0, 1]
    back = PublicGoods(3, "threshold", 10, threshold=12, benefit=7.0, refund=True)
    (first, second), seen = after(back, {"contribution": [1, 2, 8]}, {"contribution": [2, 2, 8]})
    assert first.rewards["member"][0].tolist() == [10, 10, 10]
    assert second.rewards["member"][0].tolist() == [15, 15, 9]
    assert seen["provided"].tolist() == [1, 1, 1] and seen["place"].tolist() == [1, 2, 3]
    assert back.measures(second.state)["provided"].tolist() == [0.5]


def test_seats_alone_know_their_part() -> None:
    """Forty tokens among three: 14, 13 and 13, also where each seat is played by a policy of its own."""
    game = PublicGoods(3, "threshold", threshold=40, benefit=20.0, repetitions=2)
    single = {f"member_{i}": policy("equilibrium", level="provision") for i in range(3)}
    done = play(game, single, worlds=2)
    np.testing.assert_allclose(done.welfare, game.benchmarks().others["provision"].value)
    assert (done.measures["provided"] == 1).all()


VARIANTS: list[dict[str, Any]] = [
    {"unit": 20, "members": 2, "mpcr": 0.75, "repetitions": 3},
    {"kind": "threshold", "members": 3, "threshold": 41, "refund": True, "repetitions": 3},
    {"kind": "threshold", "threshold": 10, "benefit": 15.0, "unit": 5},
    {"kind": "voluntary", "members": 5, "endowment": 1, "others_only": True},
    {"kind": "voluntary", "members": 3, "endowment": 4, "multiplier": 3.5, "repetitions": 3},
    {"kind": "voluntary", "multiplier": 1.2, "outside": 5.0},
]


@pytest.mark.parametrize("options", [{}, *VARIANTS])
def test_examined(options: dict[str, Any]) -> None:
    check_game(PublicGoods(**options))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(PublicGoods(3, "voluntary", 3, others_only=True, repetitions=3))
    examine_arrays(PublicGoods(3, "threshold", 5, threshold=8, refund=True, repetitions=2))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"members": 1}, "members: a whole number from 2 to 100, got 1"),
        ({"kind": "club"}, "kind: one of 'linear', 'threshold', 'voluntary', got 'club'"),
        ({"endowment": 0}, "endowment: a whole number from 1 to 10000, got 0"),
        ({"unit": 21}, "unit: a whole number from 1 to 20, got 21"),
        ({"unit": 3}, "unit: a divisor of the endowment of 20, got 3"),
        ({"mpcr": -0.1}, "mpcr: a number from 0 to 1000, got -0.1"),
        ({"kind": "threshold", "threshold": 81}, "threshold: a whole number from 1 to 80, got 81"),
        ({"outside": -1.0}, "outside: a number from 0 to .* got -1.0"),
        ({"refund": 1}, "refund: true or false, got 1"),
        ({"repetitions": 0}, "repetitions: .* got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PublicGoods(**wrong)


# ---- punishment ---------------------------------------------------------------------------------------------------

FEHR_GAECHTER = Sanction(cost=1.0, fine=3.0, points=10)


def test_points_by_hand() -> None:
    """The three who contribute give 5 points each to the one who does not: that deters, and costs them 5 each."""
    game = PublicGoods(repetitions=1) | FEHR_GAECHTER
    points = np.zeros((4, 4), dtype=int)
    points[1:, 0] = 5
    points[2, 2] = 9  # for oneself: void
    (first, second), seen = after(game, {"contribution": [0, 20, 20, 20]}, {"points": points})
    assert first.rewards["member"][0].tolist() == [44, 24, 24, 24] and not first.done[0]
    assert second.rewards["member"][0].tolist() == [-45, -5, -5, -5] and second.done[0]
    assert second.welfare[0] == -60 and seen["fined"].tolist() == [15, 0, 0, 0]
    assert game.measures(second.state)["sanctions"] == [15.0]
    field = game.role("member").acts[-1]
    assert field.space.high == 10 and field.each == game.players and "up to 10 points" in game.about


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(1, 12), st.floats(0, 5), st.floats(0, 5), st.integers(0, 10**6))
def test_points_by_arithmetic(n: int, most: int, cost: float, fine: float, seed: int) -> None:
    game = PublicGoods(n, repetitions=1) | Sanction(cost, fine, points=most)
    points = np.random.default_rng(seed).integers(0, most + 1, (n, n))
    (_, out), seen = after(game, {}, {"points": points})
    rows = points.tolist()
    for i in range(n):
        gave = sum(rows[i][j] for j in range(n) if j != i)
        got = sum(rows[j][i] for j in range(n) if j != i)
        assert out.rewards["member"][0, i] == pytest.approx(-cost * gave - fine * got, abs=1e-9)
        assert seen["fines"][0, i] == got == seen["fined"][i]
    assert out.welfare[0] == pytest.approx(out.rewards["member"].sum(), abs=1e-9)


@pytest.mark.parametrize("given_", [3, 4, 5])
def test_points_deter_from_the_gain_of_keeping_on(given_: int) -> None:
    """Keeping 20 gains 12, which is what four points take."""
    game = PublicGoods(repetitions=1) | FEHR_GAECHTER
    returns = []
    for own in (20, 0):
        points = np.zeros((4, 4), dtype=int)
        points[1, 0] = given_ * (own == 0)
        found, _ = after(game, {"contribution": [own, 20, 20, 20]}, {"points": points})
        returns.append(sum(out.rewards["member"][0, 0] for out in found))
    assert returns[1] - returns[0] == pytest.approx(12 - 3 * given_)


def test_points_for_the_idle() -> None:
    """1 gives 0 two points. 2 gave none and is idle; 0 is not, for nobody else got any, so that points for 0 are void."""
    game = PublicGoods(3, repetitions=1) | Sanction(cost=1.0, fine=3.0, points=4, second_order=True)
    points, again = np.zeros((2, 3, 3), dtype=int)
    points[1, 0], again[1, 2], again[1, 0], again[2, 2] = 2, 4, 1, 3
    (_, first, second), seen = after(game, {}, {"points": points}, {"points_idle": again})
    assert first.rewards["member"][0].tolist() == [-6, -2, 0]
    assert second.rewards["member"][0].tolist() == [0, -4, -12]
    assert seen["idle"].tolist() == [[0, 0, 1]] * 3 and seen["fined"].tolist() == [2, 0, 4]
    measured = game.measures(second.state)
    assert measured["sanctions"] == [2.0] and measured["metasanctions"] == [4.0]


def test_points_between_roles() -> None:
    """Principal and agent can punish each other: rows are those who give, in the order of the roles."""
    game = HiddenAction() | Sanction(cost=1.0, fine=3.0, points=5)
    u = np.zeros((1, game.draws))
    state = game.start(u)
    nothing = {r.name: {f.name: np.zeros((1, 1, *f.shape)) for f in r.acts} for r in game.roles}
    for _ in range(2):
        state = game.step(state, nothing, u).state
    acts = {name: dict(fields) for name, fields in nothing.items()}
    acts["principal"]["points"] = np.array([[[5, 2]]])
    acts["agent"]["points"] = np.array([[[1, 5]]])
    out = game.step(state, acts, u)
    assert out.rewards["principal"].tolist() == [[-2.0 - 3.0]] and out.rewards["agent"].tolist() == [[-1.0 - 6.0]]


def test_points_are_refused_where_they_do_not_fit() -> None:
    with pytest.raises(ValueError, match="points: a whole number from 0 to 1000, got -1"):
        Sanction(points=-1)
    with pytest.raises(ValueError, match="error: 0 where points are given, got 0.1 with points=10"):
        Sanction(points=10, error=0.1)
    with pytest.raises(Unfit, match="second_order: one can be idle only among 3 players or more"):
        _ = PublicGoods(2) | Sanction(points=10, second_order=True)


def test_without_points_players_name_one_other() -> None:
    assert [f.name for f in (PublicGoods() | Sanction()).role("member").acts] == ["contribution", "punish"]


@pytest.mark.parametrize("second", [False, True])
def test_points_examined(second: bool) -> None:
    given_ = Sanction(points=10, second_order=second)
    check_mechanism(given_, PublicGoods(3, repetitions=2), worlds=16)
    check_mechanism(given_, Fishery(fishers=3, months=2), worlds=16)


def test_a_pool_fines_who_keeps_and_not_who_stays_out() -> None:
    """Sigmund et al. (2010): N = 5, r = 3, c = 1, loners 1; two pay 0.7 for fines of 0.7 each."""
    game = PublicGoods(5, "voluntary", 1, others_only=True) | PoolSanction("kept", limit=0, cost=0.7, fine=0.7)
    round_ = {"take_part": [1, 1, 1, 1, 0], "contribution": [1, 1, 0, 0, 0]}
    found, seen = after(game, {"join": [1, 1, 0, 0, 0]}, round_)
    total = np.sum([out.rewards["member"][0] for out in found], axis=0)
    np.testing.assert_allclose(
        total, [-0.7, -0.7, 2 - 1.4, 2 - 1.4, 1]
    )  # 3 * 1 / 3 - 1 = 0 for who gives, 3 * 2 / 3 else
    np.testing.assert_allclose(seen["pool_fined"], [0, 0, 1.4, 1.4, 0])
