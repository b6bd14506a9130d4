"""Hold-up: the property-rights closed forms, the investor's optimum by search, bargaining by exhaustion, statics."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from societas import Game, play, policy
from societas.envs.contracting.hold_up import HoldUp
from societas.testing import check_game

tenths = st.integers(0, 10).map(lambda n: n / 10)


@st.composite
def instances(draw: st.DrawFn, bargaining: str) -> HoldUp:
    """Games with rounded numbers."""
    scale = draw(st.integers(2, 20)) / 4
    room = draw(st.sampled_from([1.0, 1.5, 4.0]))
    return HoldUp(draw(tenths), draw(tenths), bargaining, scale, max_investment=room * scale**2 / 4)


def column(values: Any) -> np.ndarray[Any, Any]:
    return np.atleast_1d(np.asarray(values, dtype=float))[:, None]


def settle(
    game: HoldUp,
    invested: Any,
    u: float = 0.5,
    asks: tuple[Any, Any] = (1.0, 1.0),
    leasts: tuple[Any, Any] = (0.0, 0.0),
) -> tuple[Any, Any, Any, Any]:
    """Return payoffs of investor and partner, welfare and the state after a round, over a batch."""
    columns = np.broadcast_arrays(*(column(v) for v in (invested, *asks, *leasts)))
    acts: dict[str, Any] = {"investor": {"investment": columns[0]}, "partner": {}}
    if game.bargaining == "ultimatum":
        acts["investor"] |= {"ask": columns[1], "least": columns[3]}
        acts["partner"] |= {"ask": columns[2], "least": columns[4]}
    draws = np.full((len(columns[0]), game.draws), u)
    state = game.start(draws)
    for _ in game.stages:
        done = game.step(state, acts, draws)
        state = done.state
    return done.rewards["investor"][:, 0], done.rewards["partner"][:, 0], done.welfare, done.state


def expected(game: HoldUp, invested: Any, asks: tuple[Any, Any], leasts: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return expected payoffs of investor and partner over who proposes."""
    first, other = (settle(game, invested, u, asks, leasts) for u in (0.0, 1.0 - 1e-12))
    p = game.power
    return p * first[0] + (1 - p) * other[0], p * first[1] + (1 - p) * other[1]


def equilibrium(level: str = "equilibrium") -> dict[str, Any]:
    return {role: policy("equilibrium", level=level) for role in ("investor", "partner")}


# ---- closed forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bargaining", ["split", "ultimatum"])
@pytest.mark.parametrize(("ownership", "surplus"), [(0.0, 0.75), (0.5, 0.9375), (1.0, 1.0)])
def test_two_root_i_and_equal_power(ownership: float, surplus: float, bargaining: str) -> None:
    """v = 2 sqrt(i), half and half: i* = ((1 + lambda) / 2)^2, surplus (1 + lambda) - (1 + lambda)^2 / 4."""
    game = HoldUp(ownership=ownership, bargaining=bargaining)
    marks = game.benchmarks()
    assert game.best_investment(ownership) == pytest.approx(((1 + ownership) / 2) ** 2)
    assert marks.equilibrium.value == pytest.approx(surplus)
    assert surplus == pytest.approx((1 + ownership) - (1 + ownership) ** 2 / 4)
    assert marks.baseline is not None
    assert (marks.first_best.value, marks.baseline.value) == (pytest.approx(1.0), pytest.approx(0.75))


@settings(max_examples=40, deadline=None)
@given(instances("split"))
def test_the_split_against_a_search_over_investments(game: HoldUp) -> None:
    """The equilibrium maximises the investor's own payoff, the first best the payoffs of both."""
    bounds = (0.0, game.max_investment)
    own = minimize_scalar(lambda i: -settle(game, i)[0][0], bounds=bounds, method="bounded", options={"xatol": 1e-10})
    both = minimize_scalar(
        lambda i: -(settle(game, i)[0] + settle(game, i)[1])[0],
        bounds=bounds,
        method="bounded",
        options={"xatol": 1e-10},
    )
    marks = game.benchmarks()
    assert game.best_investment(game.ownership) == pytest.approx(own.x, abs=1e-4)
    assert marks.equilibrium.value == pytest.approx(settle(game, own.x)[2][0], abs=1e-4)
    assert marks.first_best.value == pytest.approx(-both.fun, abs=1e-8)
    grid = np.linspace(0.0, game.max_investment, 2001)
    assert settle(game, grid)[0].max() <= settle(game, game.best_investment(game.ownership))[0][0] + 1e-12


@settings(max_examples=40, deadline=None)
@given(instances("ultimatum"), st.integers(1, 100))
def test_the_ultimatum_against_exhaustion(game: HoldUp, percent: int) -> None:
    """Backward induction on a grid of shares: what is accepted, what is best asked, and what investing then brings."""
    invested = game.max_investment * percent / 100
    shares = np.linspace(0.0, 1.0, 11)  # holds every lambda and 1 - lambda that is drawn
    # a responder accepts a share that is worth no less to it than no deal, whatever it is
    alone = settle(game, invested, 0.0, (1.0, 1.0), (1.0, 1.0))
    value = game.scale * math.sqrt(invested)
    theirs = min(s for s in shares if s * value >= alone[1][0] - 1e-9)
    mine = min(s for s in shares if s * value - invested >= alone[0][0] - 1e-9)
    investor = settle(game, invested, 0.0, (shares, 1.0), (0.0, theirs))[0]
    partner = settle(game, invested, 1.0 - 1e-12, (1.0, shares), (mine, 0.0))[1]
    asks = (shares[investor >= investor.max() - 1e-9].max(), shares[partner >= partner.max() - 1e-9].max())
    share = game.share(game.ownership)
    solved = expected(game, invested, asks, (mine, theirs))
    assert solved[0][0] == pytest.approx(share * value - invested, abs=1e-9)
    assert solved[1][0] == pytest.approx((1 - share) * value, abs=1e-9)
    # and no announcement does better against those of the equilibrium
    found = {role: {k: v[0, 0] for k, v in _acts(game, role, invested).items()} for role in ("investor", "partner")}
    asks = (found["investor"]["ask"], found["partner"]["ask"])
    leasts = (found["investor"]["least"], found["partner"]["least"])
    base = expected(game, invested, asks, leasts)
    assert base[0][0] == pytest.approx(share * value - invested, abs=1e-9)
    ask, least = (grid.reshape(-1) for grid in np.meshgrid(shares, shares))
    assert expected(game, invested, (ask, asks[1]), (least, leasts[1]))[0].max() <= base[0][0] + 1e-9
    assert expected(game, invested, (asks[0], ask), (leasts[0], least))[1].max() <= base[1][0] + 1e-9


def _acts(game: HoldUp, role: str, invested: float) -> dict[str, Any]:
    """What the equilibrium does at the bargain, after any investment."""
    level = game.benchmarks().equilibrium
    assert level.play is not None
    return dict(level.play[role]({"investment": np.full((1, 1), invested)}))


@settings(max_examples=20, deadline=None)
@given(instances("ultimatum"))
def test_ultimatum_and_split_are_worth_the_same(game: HoldUp) -> None:
    split = HoldUp(game.ownership, game.power, "split", game.scale, game.max_investment)
    for name, level in game.benchmarks().levels.items():
        assert level.value == split.benchmarks().levels[name].value
        done = play(game, equilibrium(name), worlds=2000, seed=5)
        assert done.welfare == pytest.approx(level.value)  # no luck in it: a deal is always made
        halves = play(split, equilibrium(name), worlds=1, seed=5)
        for role in ("investor", "partner"):
            got = done.returns[role][:, 0]
            error = 5 * got.std() / math.sqrt(len(got)) + 1e-9
            assert got.mean() == pytest.approx(halves.returns[role][0, 0], abs=error)


# ---- comparative statics ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ownership", "power"])
def test_investment_and_surplus_rise(name: str) -> None:
    """Each step of ownership or power draws more investment out of the investor's own optimum, and more surplus."""
    found = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        done = play(HoldUp(**{"ownership": 0.2, "power": 0.4, name: value}), equilibrium())
        found.append((float(done.measures["investment"][0]), float(done.welfare[0])))
    assert all(b[0] > a[0] and b[1] > a[1] for a, b in itertools.pairwise(found))
    assert found[-1] == (pytest.approx(1.0), pytest.approx(1.0))


def test_without_power_or_ownership_nothing_is_invested() -> None:
    done = play(HoldUp(power=0.0), equilibrium())
    assert done.welfare[0] == 0.0 and done.measures["underinvestment"][0] == 1.0


# ---- the game -----------------------------------------------------------------------------------------------------


def test_shares_are_what_the_rules_say() -> None:
    game = HoldUp(ownership=0.25, power=0.5, bargaining="ultimatum", repetitions=2)
    #                         deal: investor proposes; refused; exactly enough
    mine, theirs, welfare, state = settle(game, [1.0, 1.0, 0.25], 0.2, ([0.7, 0.7, 0.7], 0.5), (0.9, [0.2, 0.4, 0.3]))
    np.testing.assert_allclose(mine, [1.4 - 1, 0.5 - 1, 0.7 - 0.25])
    np.testing.assert_allclose(theirs, [0.6, 0.0, 0.3])
    np.testing.assert_allclose(welfare, [2 - 1, 0.5 - 1, 1 - 0.25])
    seen = game.view(state)["partner"]
    assert seen["deal"][:, 0].tolist() == [1, 0, 1]
    np.testing.assert_allclose(seen["share"][:, 0], [0.7, 0.25, 0.7])
    mine, theirs, _, state = settle(game, 1.0, 0.6, (1.0, 0.55), (0.45, 0.0))  # the partner proposes
    np.testing.assert_allclose([mine[0], theirs[0]], [0.9 - 1, 1.1])
    measures = {name: float(values[0]) for name, values in game.measures(state).items()}
    assert measures == pytest.approx(
        {
            "investment": 1.0,
            "value": 2.0,
            "deal": 1.0,
            "investor_payoff": -0.1,
            "partner_payoff": 1.1,
            "underinvestment": 0.0,
        }
    )


def test_whatever_lambda_a_share_asked_and_its_rest_make_a_deal() -> None:
    """ask = 1 - lambda against least = lambda is a deal in floating point too."""
    for ownership in np.random.default_rng(0).random(2000).tolist() + [n / 1000 for n in range(1001)]:
        assert (1.0 - ownership) + ownership <= 1.0
    game = HoldUp(ownership=0.1, bargaining="ultimatum", power=0.0)
    assert play(game, equilibrium()).measures["deal"][0] == 1.0


def test_the_partner_sees_the_investment_before_it_bargains() -> None:
    game = HoldUp(bargaining="ultimatum")
    acts: dict[str, Any] = {
        "investor": {name: np.array([[0.7]]) for name in ("investment", "ask", "least")},
        "partner": {name: np.array([[0.7]]) for name in ("ask", "least")},
    }
    invested = game.step(game.start(np.zeros((1, 1))), acts, np.zeros((1, 1)))
    assert game.view(invested.state)["partner"]["investment"].tolist() == [[0.7]]
    assert invested.welfare.tolist() == [0.0]
    assert not next(f for f in game.role("partner").sees if f.name == "investment").verifiable


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ownership": 0.3, "power": 0.7, "bargaining": "ultimatum"},
        {"ownership": 1, "repetitions": 3},
        {
            "ownership": 0.5,
            "power": 0.2,
            "bargaining": "ultimatum",
            "scale": 3.0,
            "max_investment": 4,
            "repetitions": 3,
        },
    ],
)
def test_examined(options: dict[str, Any]) -> None:
    check_game(HoldUp(**options))


@pytest.mark.parametrize("bargaining", ["split", "ultimatum"])
def test_arrays(bargaining: str, examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(HoldUp(0.3, 0.6, bargaining, repetitions=3))


def test_the_numbers_are_in_the_words() -> None:
    for bargaining in ("split", "ultimatum"):
        about = HoldUp(0.35, 0.6, bargaining, 3.0, 2.75).about
        assert all(number in about for number in ("0.35", "0.6", "3 times", "2.75"))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ownership": 1.2}, "ownership: a number from 0 to 1, got 1.2"),
        ({"power": -0.1}, "power: a number from 0 to 1, got -0.1"),
        ({"bargaining": "auction"}, "bargaining: one of 'split', 'ultimatum', got 'auction'"),
        ({"scale": 0.0}, "scale: a number from 0.001 to 1e\\+06, got 0.0"),
        ({"scale": 4.0}, "max_investment: a number from 4 to 1e\\+12, got 2.0"),
        ({"repetitions": 0}, "repetitions: a whole number from 1 to 1000000, got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        HoldUp(**wrong)
