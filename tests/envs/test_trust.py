"""Trust and gift exchange: experiments' numbers, backward induction on grids, comparative statics, bad input."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas import Game, play, policy
from societas.envs.norms.trust import COSTS, EFFORTS, GiftExchange, Trust
from societas.testing import check_game


def one_round(game: Game, acts: dict[str, dict[str, float]]) -> dict[str, float]:
    """Play constant acts; return everybody's mean return and the welfare."""
    policies = {role: policy("callable", function=lambda seen, a=act: a) for role, act in acts.items()}
    found = play(game, policies, worlds=1)
    return {**{role: float(found.returns[role][0, 0]) for role in acts}, "welfare": float(found.welfare[0])}


# ---- trust --------------------------------------------------------------------------------------------------------


def test_the_money_goes_as_the_rules_say() -> None:
    got = one_round(Trust(), {"investor": {"sent": 4.0}, "trustee": {"back": 0.5}})
    assert got == {"investor": 12.0, "trustee": 16.0, "welfare": 8.0}
    acts = {"investor": {"sent": 4.0}, "intermediary": {"passed": 0.25}, "trustee": {"back": 0.5}}
    got = one_round(Trust(intermediary=True), acts)
    assert got == {"investor": 7.5, "intermediary": 3.0, "trustee": 11.5, "welfare": 2.0}


@settings(max_examples=40, deadline=None)
@given(
    st.floats(1.0, 20.0),
    st.floats(1.1, 6.0),
    st.floats(0.0, 20.0),
    st.booleans(),
)
def test_against_backward_induction_on_a_grid(endowment: float, k: float, own: float, intermediary: bool) -> None:
    """Best replies from the last mover to the first, payoffs written out anew."""
    shares = np.linspace(0.0, 1.0, 11)

    def payoffs(s: float, p: float, r: float) -> tuple[float, float, float]:
        return endowment - s + r * k * p * s, s * (1 - p), own + (1 - r) * k * p * s

    def answer(s: float, p: float) -> float:
        return float(max(shares, key=lambda r: payoffs(s, p, r)[2]))

    def passed(s: float) -> float:
        return float(max(shares, key=lambda p: payoffs(s, p, answer(s, p))[1])) if intermediary else 1.0

    def value(s: float) -> float:
        return payoffs(s, passed(s), answer(s, passed(s)))[0]

    best = max(shares * endowment, key=value)
    game = Trust(endowment, k, own, intermediary)
    marks = game.benchmarks()
    created = sum(payoffs(best, passed(best), answer(best, passed(best)))) - endowment - own
    assert marks.equilibrium.value == pytest.approx(created, abs=1e-9)
    grid = [sum(payoffs(s * endowment, p, r)) for s in shares for p in shares for r in shares]
    assert marks.first_best.value == pytest.approx(max(grid) - endowment - own)


def test_trust_pays_the_investor_above_one_in_k() -> None:
    for share, gains in ((0.30, False), (0.34, True)):
        got = one_round(Trust(), {"investor": {"sent": 10.0}, "trustee": {"back": share}})
        assert (got["investor"] > 10.0) is gains
    even = one_round(Trust(), {"investor": {"sent": 10.0}, "trustee": {"back": Trust().fair_share}})
    assert even["investor"] == pytest.approx(even["trustee"])


def test_measures_are_shares_of_what_there_was() -> None:
    acts: dict[str, dict[str, float]] = {
        "investor": {"sent": 5.0},
        "intermediary": {"passed": 0.4},
        "trustee": {"back": 0.25},
    }
    game = Trust(intermediary=True, repetitions=3)
    policies = {role: policy("callable", function=lambda seen, a=act: a) for role, act in acts.items()}
    found = play(game, policies, worlds=2).measures
    want = {"trust": 0.5, "passed_on": 0.4, "trustworthiness": 0.25, "investor_payoff": 6.5, "trustee_payoff": 14.5}
    assert {name: pytest.approx(float(values[1])) for name, values in found.items()} == want
    still = play(game, {**policies, "investor": policy("callable", function=lambda seen: {"sent": 0.0})}, worlds=1)
    assert float(still.measures["passed_on"][0]) == 0.0 == float(still.measures["trustworthiness"][0])


def test_nobody_sees_what_another_kept_behind_the_intermediary() -> None:
    sees = {role.name: {field.name for field in role.sees} for role in Trust(intermediary=True).roles}
    assert "received" not in sees["investor"] and "sent" not in sees["trustee"]
    assert "received" not in sees["intermediary"] and "passed" not in sees["investor"] | sees["trustee"]
    game = Trust(intermediary=True, repetitions=2)
    state = game.start(np.zeros((1, 0)))
    shown = []
    for sent, passed, back in ((8.0, 0.5, 0.5), (6.0, 1.0, 0.0)):
        acts = {
            "investor": {"sent": np.array([[sent]])},
            "intermediary": {"passed": np.array([[passed]])},
            "trustee": {"back": np.array([[back]])},
        }
        for _ in game.stages:
            shown.append(game.view(state)["trustee"]["received"].item())
            state = game.step(state, acts, np.zeros((1, 0))).state
    assert shown == [0.0, 0.0, 12.0, 12.0, 12.0, 18.0]  # hers is news only when it is her turn


@pytest.mark.parametrize(
    "game",
    [
        Trust(),
        Trust(intermediary=True, repetitions=3),
        Trust(multiplier=1.0, trustee_endowment=0.0, repetitions=2),
        GiftExchange(),
        GiftExchange.fehr_kirchsteiger_riedl(3),
        GiftExchange(efforts=(0.5, 1.0), costs=(1.0, 3.0), value=9.0, max_wage=9.0),
    ],
    ids=repr,
)
def test_examined(game: Game) -> None:
    check_game(game)


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Trust(intermediary=True, repetitions=3))
    examine_arrays(GiftExchange(repetitions=3))


# ---- gift exchange ------------------------------------------------------------------------------------------------


def test_the_numbers_of_1993() -> None:
    """Price 30 and quality 0.1: the firm gets 9.6, the worker 4."""
    game = GiftExchange.fehr_kirchsteiger_riedl()
    assert game.payoffs(30.0, 0) == pytest.approx((9.6, 4.0))
    assert game.benchmarks().equilibrium.value == pytest.approx(13.6)
    got = one_round(game, {"firm": {"wage": 60.0}, "worker": {"accept": "accept", "effort": "0.7"}})  # type: ignore[dict-item]
    assert got["firm"] == pytest.approx(66 * 0.7) and got["worker"] == pytest.approx(60 - 26 - 10)


@st.composite
def exchanges(draw: st.DrawFn) -> GiftExchange:
    """Small games with rounded numbers."""
    count = draw(st.integers(2, 5))
    efforts = np.cumsum(draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))) / 20
    slopes = sorted(draw(st.lists(st.integers(1, 30), min_size=count - 1, max_size=count - 1)))
    costs = np.concatenate([[0.0], np.cumsum(np.diff(efforts) * slopes)])
    profit = draw(st.sampled_from(["difference", "product"]))
    fixed, least = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    value = draw(st.integers(64, 99))
    return GiftExchange(
        float(value), tuple(efforts), tuple(costs), profit, float(fixed), float(least), float(least + 30)
    )


@settings(max_examples=60, deadline=None)
@given(exchanges())
def test_gift_exchange_against_backward_induction_on_a_grid(game: GiftExchange) -> None:
    wages = np.arange(game.min_wage, game.max_wage + 0.25, 0.5)
    best, equilibrium, most = -math.inf, 0.0, 0.0
    for wage in wages:
        cells = [(0.0, 0.0, 0)]
        for effort, cost in zip(game.efforts, game.costs, strict=True):
            firm = game.value * effort - wage if game.profit == "difference" else (game.value - wage) * effort
            cells.append((firm, wage - cost - game.fixed_cost, 1))
        most = max(most, *(firm + worker for firm, worker, _ in cells))
        firm, worker, _ = max(cells, key=lambda cell: (round(cell[1], 9), cell[2]))
        if firm > best + 1e-9:
            best, equilibrium = firm, firm + worker
    marks = game.benchmarks()
    assert marks.first_best.value == pytest.approx(most)
    assert marks.equilibrium.value == pytest.approx(equilibrium)


def test_effort_beyond_the_least_is_a_gift() -> None:
    """At no wage does the worker gain by more effort, and the surplus rises with it."""
    game = GiftExchange()
    assert all(np.diff([game.payoffs(50.0, e)[1] for e in range(len(EFFORTS))]) < 0)
    assert all(np.diff([sum(game.payoffs(50.0, e)) for e in range(len(EFFORTS))]) > 0)
    assert game.benchmarks().first_best.value == pytest.approx(100 - COSTS[-1])


@pytest.mark.parametrize(
    ("kind", "wrong", "words"),
    [
        (Trust, {"endowment": 0.0}, "endowment: a number from 1e-06 to 1e\\+06, got 0.0"),
        (Trust, {"multiplier": 0.5}, "multiplier: a number from 1 to 1000, got 0.5"),
        (Trust, {"trustee_endowment": -1.0}, "trustee_endowment: a number from 0 .* got -1.0"),
        (Trust, {"intermediary": "yes"}, "intermediary: one of True, False, got 'yes'"),
        (Trust, {"repetitions": 0}, "repetitions: .* got 0"),
        (GiftExchange, {"efforts": 3}, "efforts: a list of 2 to 64 numbers, got 3"),
        (GiftExchange, {"efforts": (0.2, 0.1), "costs": (0, 1)}, "efforts: rising numbers"),
        (GiftExchange, {"efforts": (0.2, 1.1), "costs": (0, 1)}, "efforts\\[1\\]: a number from 0 to 1, got 1.1"),
        (GiftExchange, {"costs": (0.0, 1.0)}, "costs: one for each of the 10 efforts, got 2"),
        (GiftExchange, {"efforts": (0.1, 0.2, 0.3), "costs": (0, 2, 3)}, "costs: convex"),
        (GiftExchange, {"profit": "none"}, "profit: one of 'difference', 'product', got 'none'"),
        (GiftExchange, {"max_wage": -1.0}, "max_wage: a number from .* got -1.0"),
        (GiftExchange, {"fixed_cost": 20.0}, "value: .* raise it, or lower min_wage or fixed_cost"),
        (GiftExchange, {"profit": "product", "value": 10.0, "min_wage": 20.0}, "value: .* got 10.0"),
    ],
)
def test_bad_parameters_are_named(kind: Callable[..., Game], wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kind(**wrong)


def test_parameters_read_from_data_are_lists() -> None:
    game = GiftExchange(efforts=[0.1, 1], costs=[0, 9])  # type: ignore[arg-type]
    assert game == GiftExchange(efforts=(0.1, 1.0), costs=(0.0, 9.0)) and hash(game)
