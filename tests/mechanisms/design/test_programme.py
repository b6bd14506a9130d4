"""Linear programmes for mechanisms: known optima, independent computations, and what is impossible."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas.mechanisms.audit import audit
from societas.mechanisms.design.direct_game import DirectGame
from societas.mechanisms.design.programme import DirectMechanism, Infeasible, direct, minimum_pay
from societas.policies.equilibrium import Equilibrium
from societas.testing import check_game

QUANTITIES = tuple(round(0.05 * k, 2) for k in range(41))


def menu(low: float, high: float, chance: float, **more: Any) -> DirectMechanism:
    """A seller with costs q^2 / 2 who does not know its buyer's taste; ``chance`` is that of the high one."""
    return direct(
        {"buyer": (low, high)},
        QUANTITIES,
        lambda _, q, taste: taste * q,
        {"buyer": (1 - chance, chance)},
        worth=lambda q: -q * q / 2,
        objective="profit",
        **more,
    )


def middle(count: int) -> tuple[float, ...]:
    """Types in the middle of equal cells of [0, 1]."""
    return tuple((k + 0.5) / count for k in range(count))


def auction(bidders: int, count: int, **more: Any) -> DirectMechanism:
    """One item; values are uniform on a grid."""
    names = tuple(f"bidder_{i}" for i in range(bidders))
    types = dict.fromkeys(names, middle(count))
    return direct(types, ("keep", *names), lambda name, o, value: value * (o == name), objective="revenue", **more)


def trade(count: int, **more: Any) -> DirectMechanism:
    """A buyer and the seller who owns the good; value and cost are uniform on a grid."""
    kinds = middle(count)
    players = {"buyer": kinds, "seller": kinds}
    return direct(
        players, ("keep", "trade"), lambda name, o, v: (v if name == "buyer" else -v) * (o == "trade"), **more
    )


def virtual(count: int) -> np.ndarray[Any, Any]:
    """Myerson's virtual values for discrete types: v_k - (v_{k+1} - v_k) (1 - F(v_k)) / f(v_k)."""
    v = np.asarray(middle(count))
    above = np.append(np.diff(v), 0.0)
    return v - above * (count - 1 - np.arange(count))


# ---- one buyer ------------------------------------------------------------------------------------------------------


def test_screening_menu() -> None:
    """The low taste is sold too little, the high taste what is efficient, at a price that leaves it a rent."""
    found = menu(1.0, 1.5, 0.5)
    assert found.at(1.0)[0] == {0.5: 1.0} and found.at(1.5)[0] == {1.5: 1.0}
    assert found.at(1.0)[1]["buyer"] == pytest.approx(0.5) and found.at(1.5)[1]["buyer"] == pytest.approx(2.0)
    assert found.value == pytest.approx(0.625)
    assert found.utilities("buyer").diagonal() == pytest.approx([0.0, 0.25])
    prices = {(p.family, p.constraint): p.price for p in found.prices}
    assert prices == pytest.approx(
        {("participation", "buyer 1.0"): 1.0, ("incentive", "buyer 1.5 does not report 1.0"): 0.5}
    )
    # a price is what the objective gains by a unit: staying away is worth -0.01
    assert menu(1.0, 1.5, 0.5, outside=-0.01).value == pytest.approx(0.625 + 0.01 * 1.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(4, 30), st.integers(1, 10), st.floats(0.05, 0.95))
def test_low_quantity_by_chance(low: int, step: int, chance: float) -> None:
    """The low quantity is max(0, theta_L - lambda / (1 - lambda) dtheta), up to the step of the grid."""
    theta, apart = 0.05 * low, 0.05 * step
    found = menu(theta, theta + apart, chance)
    odds = found.chances("buyer") @ np.asarray(QUANTITIES)
    assert odds[0] == pytest.approx(max(0.0, theta - chance / (1 - chance) * apart), abs=0.0251)
    assert odds[1] == pytest.approx(theta + apart, abs=1e-9)
    assert found.regret < 1e-7 and found.shortfall < 1e-7


def test_types_that_are_known() -> None:
    """Without incentives the seller takes the whole surplus."""
    found = menu(1.0, 1.5, 0.5, incentive="none")
    assert found.value == pytest.approx((0.5 + 1.125) / 2) and found.value == pytest.approx(found.first_best)


# ---- auctions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bidders", "limit"), [(1, 1 / 4), (2, 5 / 12), (3, 17 / 32)])
def test_auction_revenue(bidders: int, limit: float) -> None:
    """Revenue is E[max(0, highest virtual value)], which converges to Myerson's."""
    gaps = []
    for count in {1: (10, 20, 40), 2: (4, 8, 16), 3: (3, 6, 12)}[bidders]:
        found = auction(bidders, count)
        cells = np.stack(np.meshgrid(*[virtual(count)] * bidders), axis=-1).max(axis=-1)
        assert found.value == pytest.approx(np.maximum(cells, 0.0).mean(), abs=1e-9)
        gaps.append(abs(found.value - limit))
    assert gaps[1] < 0.65 * gaps[0] and gaps[2] < 0.65 * gaps[1]


def test_reserve_and_dominant_strategies() -> None:
    """Nobody below 1/2 is sold to; the highest above it wins; asking for dominant strategies costs nothing."""
    found = auction(2, 8, incentive="dominant", participation="ex post")
    assert found.value == pytest.approx(auction(2, 8).value)
    kinds = middle(8)
    for a in kinds:
        for b in kinds:
            odds, pays = found.at(a, b)
            best = max(a, b)
            sold = sum(p for o, p in odds.items() if o != "keep")
            assert sold == pytest.approx(float(best > 0.5))
            if a > b and a > 0.5:
                # the lowest report that still wins: at equal reports the solver may give the item to either
                assert odds == pytest.approx({"bidder_0": 1.0}) and pays["bidder_1"] == pytest.approx(0.0)
                least = max(min(k for k in kinds if k > 0.5), b)
                assert least - 1e-9 <= pays["bidder_0"] <= max(least, b + 1 / 8) + 1e-9
    assert found.revenue == pytest.approx(found.value)


def test_full_extraction() -> None:
    """With correlated types the seller takes the whole surplus ex ante (Crémer and McLean 1988)."""
    types = {"a": (0, 1), "b": (0, 1)}
    joint = [[0.35, 0.15], [0.15, 0.35]]
    found = direct(types, ("none", "a", "b"), lambda n, o, v: (1 + v) * (o == n), joint, objective="revenue")
    alone = direct(types, ("none", "a", "b"), lambda n, o, v: (1 + v) * (o == n), objective="revenue")
    assert found.value == pytest.approx(found.first_best) == pytest.approx(2 * 0.65 + 0.35)
    assert alone.value < alone.first_best - 0.1


def test_payments_within_bounds() -> None:
    """At most 0.3 may be paid where one would ask 0.5: seven of ten types pay it. Value 0.25 gets half of the item for
    half of its value, which value 0.35 likes as much as its own 0.05.
    """
    free, bound = auction(1, 10), auction(1, 10, payments=(0.0, 0.3))
    assert bound.payments.max() <= 0.3 + 1e-9 and bound.value < free.value
    assert bound.value == pytest.approx(0.7 * 0.3 + 0.1 * 0.125)


# ---- bilateral trade ------------------------------------------------------------------------------------------------


def second_best(count: int) -> float:
    """Trade where it pays most by unit of deficit until the budget is used up: a fractional knapsack (Myerson and
    Satterthwaite 1983, with discrete virtual values).
    """
    v = np.asarray(middle(count))
    gain = (v[:, None] - v[None, :]).ravel() / count**2
    cost = v + np.append(0.0, np.diff(v)) * np.arange(count)
    spare = (virtual(count)[:, None] - cost[None, :]).ravel() / count**2
    total, budget = gain[(gain > 0) & (spare >= 0)].sum(), spare[(gain > 0) & (spare >= 0)].sum()
    some = np.flatnonzero((gain > 1e-15) & (spare < 0))
    for k in some[np.argsort(spare[some] / gain[some])[::-1]]:
        part = min(1.0, budget / -spare[k])
        total, budget = total + part * gain[k], budget + part * spare[k]
    return float(total)


def test_bilateral_trade() -> None:
    """The second best tends to 9/64, the first best to 1/6; a budget balanced ex post costs no more than ex ante."""
    gaps = []
    for count in (8, 16, 32):
        found = trade(count, budget="ex ante")
        assert found.value == pytest.approx(second_best(count), abs=1e-9)
        assert found.first_best == pytest.approx((count**2 - 1) / (6 * count**2))
        gaps.append(abs(found.value - 9 / 64))
    assert gaps[0] > 1.6 * gaps[1] > 1.6 * 1.6 * gaps[2] and gaps[2] < 0.005
    even = trade(6, budget="balanced")
    assert even.value == pytest.approx(second_best(6))
    assert np.abs(even.payments.sum(axis=-1)).max() < 1e-7
    assert even.prices[0].price > 0 and {p.family for p in even.prices} >= {"incentive", "budget"}


def test_efficient_trade_is_impossible() -> None:
    """Efficiency, incentives, participation and budget contradict each other; Vickrey's payments need a subsidy."""
    with pytest.raises(Infeasible) as told:
        trade(8, budget="ex ante", allowed="efficient")
    assert told.value.conflict == ("incentive", "participation", "budget", "allowed")
    needed = []
    for count in (8, 16, 32):
        v = np.asarray(middle(count))
        cost = v + np.append(0.0, np.diff(v)) * np.arange(count)
        deals = (v[:, None] > v[None, :]) / count**2  # at equal value and cost, no trade loses least
        by_hand = -float((deals * (virtual(count)[:, None] - cost[None, :])).sum())
        vcg = -trade(count, allowed="efficient", objective="revenue").value
        assert vcg == pytest.approx(by_hand, abs=1e-9)
        needed.append(vcg)
    assert told.value.subsidy == pytest.approx(needed[0])
    assert f"subsidy of {needed[0]:.4g}" in str(told.value)
    gaps = 1 / 6 - np.asarray(needed)
    assert (gaps > 0).all() and gaps[1] < 0.6 * gaps[0] and gaps[2] < 0.6 * gaps[1]
    pivotal = trade(8, allowed="efficient", objective="revenue", incentive="dominant", participation="ex post")
    assert -pivotal.value == pytest.approx(needed[0])


def test_no_conflict_is_left_unnamed() -> None:
    """Each constraint that is named can be spared alone, and mends it."""
    for spared in ({"incentive": "none"}, {"participation": "none"}, {"budget": "none"}, {"allowed": "all"}):
        assert trade(8, **({"budget": "ex ante", "allowed": "efficient"} | spared)).regret < 1e-7
    with pytest.raises(Infeasible, match="participation \\(interim\\)") as told:
        menu(1.0, 1.5, 0.5, outside=5.0, budget="ex ante", incentive="none")
    assert told.value.conflict == ("participation", "budget") and told.value.subsidy == pytest.approx(5.0 - 1.625 / 2)


def test_public_good() -> None:
    """A bridge of cost 1: the designer's budget holds the cost, and payments cover it at every profile."""
    kinds = {"a": (0.2, 0.9), "b": (0.2, 0.9)}
    found = direct(kinds, ("none", "build"), lambda _, o, v: v * (o == "build"), worth=(0.0, -1.0), budget="ex post")
    assert (found.payments.sum(axis=-1) - found.allocation[..., 1]).min() >= -1e-7
    assert found.first_best == pytest.approx(0.25 * 0.8 + 0.5 * 0.1)
    assert 0.0 < found.value <= found.first_best + 1e-9
    weights = direct(kinds, ("none", "build"), lambda _, o, v: v * (o == "build"), worth=(0.0, -1.0),
                     budget="ex post", objective={"a": 1.0, "b": 1.0, "profit": 1.0})  # fmt: skip
    assert weights.value == pytest.approx(found.value)
    built = direct(kinds, ("none", "build"), lambda _, o, v: v * (o == "build"), worth=(0.0, -1.0), budget="ex post",
                   objective=lambda o, kinds: float(o == "build"))  # fmt: skip
    assert built.value == pytest.approx(built.chances("a")[:, 1].mean())
    assert built.value >= found.allocation[..., 1].mean() - 1e-9


# ---- numbers that are returned --------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["bayesian", "dominant"]), st.sampled_from(["interim", "ex post"]))
def test_random_problems(seed: int, incentive: str, participation: str) -> None:
    """What is returned keeps its constraints, by loops; weaker notions never do worse."""
    rng = np.random.default_rng(seed)
    players = {"a": (0, 1), "b": (0, 1, 2)}
    tables = {"a": rng.normal(size=(2, 3)), "b": rng.normal(size=(3, 3))}
    tables["a"][:, 0] = tables["b"][:, 0] = 0.0  # the first outcome is nothing, so that all may stay away
    joint = rng.dirichlet(np.ones(6)).reshape(2, 3)
    found = direct(players, ("none", "x", "y"), tables, joint, objective="revenue", incentive=incentive,
                   participation=participation)  # fmt: skip
    for i, name in enumerate(players):
        for kind in players[name]:
            gains = []
            for report in players[name]:
                pay = []
                for other in players["b" if name == "a" else "a"]:
                    cell = (report, other) if i == 0 else (other, report)
                    odds, pays = found.allocation[cell], found.payments[cell]
                    pay.append(float(odds @ tables[name][kind]) - float(pays[i]))
                gains.append(pay)
            row = joint[kind] if i == 0 else joint[:, kind]
            gains_by_report = np.asarray(gains)
            if incentive == "bayesian":
                gains_by_report = gains_by_report @ (row / row.sum())[:, None]
            assert (gains_by_report - gains_by_report[kind]).max() < 1e-6
            truth = np.asarray(gains[kind])
            assert (truth.min() if participation == "ex post" else truth @ row / row.sum()) > -1e-6
    loose = direct(players, ("none", "x", "y"), tables, joint, objective="revenue")
    assert loose.value >= found.value - 1e-7
    assert found.value == pytest.approx(float((joint[..., None] * found.payments).sum()))


def test_minimum_pay() -> None:
    """Limited liability: a bonus of psi / (pH - pL); the square root: pay in utilities, solved by hand."""
    found = minimum_pay(((0.6, 0.4), (0.2, 0.8)), (0.0, 1.0), 1)
    assert found.pay == pytest.approx((0.0, 2.5)) and found.expected == pytest.approx(2.0)
    assert found.rent == pytest.approx(1.0)
    risky = minimum_pay(((0.6, 0.4), (0.2, 0.8)), (0.0, 1.0), 1, utility="sqrt", reservation=2.0)
    # u_high - u_low = 1 / 0.4 and 0.2 u_low + 0.8 u_high = 3
    assert risky.pay == pytest.approx((1.0**2, 3.5**2)) and risky.rent == pytest.approx(0.0, abs=1e-7)
    with pytest.raises(Infeasible, match="payments \\(0 to 2\\)"):
        minimum_pay(((0.6, 0.4), (0.2, 0.8)), (0.0, 1.0), 1, max_pay=2.0)


# ---- as a game ------------------------------------------------------------------------------------------------------


def test_game() -> None:
    """The mechanism is played as it was found, the examiner confirms truth-telling, and so does the audit."""
    found = trade(4, budget="balanced")
    game = found.game()
    check_game(game)
    check_game(DirectGame(repetitions=3))
    marks = game.benchmarks()
    assert marks.equilibrium.value == pytest.approx(found.welfare) and marks.first_best.value == found.first_best
    rows = audit(game, {name: Equilibrium() for name in game.parties}, reports=game.truths, worlds=256, learn=0)
    assert all(rows.find("truth-telling", f"{name}_0").verdict == "holds" for name in game.parties)
    u = np.asarray([[0.5, (3 * 4 + 1 + 0.5) / 16]])  # value 0.875, cost 0.375
    state = game.start(u)
    assert game.view(state)["buyer"]["type"].item() == 3 and game.view(state)["seller"]["type"].item() == 1
    lie = {"buyer": {"report": np.array([[2]])}, "seller": {"report": np.array([[1]])}}
    out = game.step(state, lie, u)
    odds, pays = found.at(0.625, 0.375)
    deal = odds.get("trade", 0.0) > 0.5
    assert out.rewards["buyer"].item() == pytest.approx(0.875 * deal - pays["buyer"])
    assert out.welfare.item() == pytest.approx(0.5 * deal)


def test_a_manipulable_game_fails_the_audit() -> None:
    """The same types and outcomes at the efficient quantities and prices of their worth: the high taste lies."""
    game = DirectGame(payments=((0.5,), (2.25,)))
    rows = audit(game, {"buyer": Equilibrium()}, reports=game.truths, worlds=64, learn=0)
    claim = rows.find("truth-telling")
    assert claim.verdict == "fails" and claim.gain == pytest.approx(0.5 * 0.25, abs=0.06)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"prior": {"buyer": (0.5, 0.6)}}, "prior: probabilities that sum to 1"),
        ({"prior": {"buyer": (1.0, 0.0)}}, "type 1.5 of buyer has no chance"),
        ({"prior": [0.2, 0.3, 0.5]}, "an array of shape (2,)"),
        ({"incentive": "none so"}, "incentive: one of"),
        ({"objective": "fame"}, "objective: one of"),
        ({"worth": (1.0,)}, "worth: 2 numbers"),
        ({"payments": (1.0, 0.0)}, "payments: lowest and highest"),
        ({"allowed": lambda o, t: False}, "an outcome at every profile"),
        ({"participation": "none", "objective": "revenue"}, "it has no bound"),
        ({"values": {"seller": [[0, 1], [0, 1]]}}, "values: a function"),
        ({"outcomes": ("no", "no")}, "outcomes: one or more, all distinct"),
        ({"players": {"buyer": (1.0, 1.0)}}, "players[buyer]: one type or more, all distinct"),
        ({"players": {"welfare": (1.0, 1.5)}}, "is the name of an objective"),
    ],
)
def test_bad_input(more: dict[str, Any], message: str) -> None:
    given_: dict[str, Any] = {
        "players": {"buyer": (1.0, 1.5)},
        "outcomes": ("no", "yes"),
        "values": lambda n, o, t: t * (o == "yes"),
    }
    with pytest.raises(ValueError, match=re.escape(message)):
        direct(**(given_ | more))


def test_bad_games() -> None:
    for name, value in (
        ("prior", (0.5, 0.6)),
        ("worth", (0.0,)),
        ("lotteries", ((1.0, 0.0),)),
        ("payments", ((math.nan,), (2.0,))),
    ):
        with pytest.raises(ValueError, match=f"{name}: "):
            DirectGame(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one of its types"):
        menu(1.0, 1.5, 0.5).at(1.2)
