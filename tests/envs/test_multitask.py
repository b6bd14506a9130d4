"""Multitask: textbook contracts, independent solvers, comparative statics, the risk-averse agent itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize

from societas import Game, play, policy
from societas.envs.contracting.multitask import Multitask
from societas.testing import check_game

WIDE: dict[str, Any] = {"max_slope": 10.0, "lowest_slope": -10.0, "max_base": 1e3, "max_effort": 1e3}


@st.composite
def instances(draw: st.DrawFn) -> Multitask:
    """Random problems of up to three tasks and signals, with slopes from tightly to loosely bounded."""
    k, m = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    root, mix = rng.normal(size=(k, k)), rng.normal(size=(m, draw(st.integers(1, m))))
    return Multitask(
        value=tuple(rng.normal(0.5, 1.0, k)),
        cost=tuple(map(tuple, root @ root.T + 0.3 * np.eye(k))),
        loadings=tuple(map(tuple, rng.normal(0.5, 1.0, (m, k)))),
        noise=tuple(map(tuple, mix @ mix.T)),  # of deficient rank where mix has fewer columns than rows
        risk_aversion=draw(st.sampled_from([0.0, 0.1, 1.0, 4.0])),
        reservation=draw(st.sampled_from([0.0, 0.3, -0.3])),
        max_slope=draw(st.sampled_from([0.2, 1.0, 8.0])),
        lowest_slope=draw(st.sampled_from([0.0, -0.3, -8.0])),
        max_base=1e4,
        max_effort=1e4,
    )


def certainty_equivalent(game: Multitask, base: float, slopes: Any, effort: Any) -> float:
    """What the agent's position is worth to it, from the parameters."""
    slopes, effort = np.asarray(slopes), np.asarray(effort)
    mean = base + slopes @ np.asarray(game.loadings) @ effort
    risk = game.risk_aversion / 2 * slopes @ np.asarray(game.noise) @ slopes
    return float(mean - effort @ np.asarray(game.cost) @ effort / 2 - risk)


def acts(base: Any, slopes: Any, accept: Any, effort: Any) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """Acts of one world a row."""
    return {
        "principal": {"base": np.asarray(base, float)[:, None], "slopes": np.asarray(slopes, float)[:, None, :]},
        "agent": {"accept": np.asarray(accept)[:, None], "effort": np.asarray(effort, float)[:, None, :]},
    }


def settle(game: Multitask, decided: Any, u: np.ndarray[Any, Any]) -> Any:
    """Play one round."""
    return game.step(game.step(game.start(u), decided, u).state, decided, u)


def equilibrium(level: str = "equilibrium") -> dict[str, Any]:
    return {"principal": policy("equilibrium", level=level), "agent": policy("equilibrium", level=level)}


def surplus(game: Multitask) -> float:
    return float(game.surplus(np.asarray(game.optimal_slopes)))


# ---- closed forms -------------------------------------------------------------------------------------------------


def test_one_task_in_closed_form() -> None:
    """Holmstrom and Milgrom 1987: r = 2, c = 1, s^2 = .5."""
    game = Multitask.linear(risk_aversion=2.0, cost=1.0, noise=0.5)
    assert game.optimal_slopes == pytest.approx((0.5,), abs=1e-12)
    assert game.optimal_base == pytest.approx(0.0, abs=1e-12)
    assert float(game.response(np.array([0.5]))[0]) == pytest.approx(0.5)
    marks = game.benchmarks()
    assert marks.second_best is not None and marks.baseline is not None
    assert marks.first_best.value == pytest.approx(0.5)
    assert marks.second_best.value == marks.equilibrium.value == pytest.approx(0.25)
    assert marks.baseline.value == 0.0


@pytest.mark.parametrize("r", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("c", [0.5, 2.0])
@pytest.mark.parametrize(("s2", "reservation"), [(0.3, 0.0), (2.0, 0.05)])
def test_one_task_for_other_parameters(r: float, c: float, s2: float, reservation: float) -> None:
    game = Multitask.linear(risk_aversion=r, cost=c, noise=s2, reservation=reservation)
    slope = 1 / (1 + r * c * s2)
    assert game.optimal_slopes == pytest.approx((slope,))
    assert game.optimal_base == pytest.approx(reservation + slope**2 * (r * s2 - 1 / c) / 2)
    assert game.response(np.asarray(game.optimal_slopes))[0] == pytest.approx(slope / c)
    assert surplus(game) == pytest.approx(slope / (2 * c))
    marks = game.benchmarks()
    assert marks.first_best.value == pytest.approx(1 / (2 * c) - reservation)
    cost = marks.first_best.value - marks.equilibrium.value
    if surplus(game) > reservation:
        assert cost == pytest.approx(r * s2 / (2 * (1 + r * c * s2)), abs=1e-12)
    else:
        assert marks.equilibrium.value == 0.0


@pytest.mark.parametrize("rho", [-0.9, -0.3, 0.5, 1.0])
def test_a_signal_that_tells_of_the_noise_alone_is_worth_having(rho: float) -> None:
    """Informativeness: a second signal of no effort, correlated with the first, leaves the variance s^2 (1 - rho^2)."""
    r, c, s1, s2 = 2.0, 1.5, 0.8, 1.3
    covariance = rho * s1 * s2
    game = Multitask(
        value=(1.0,),
        cost=((c,),),
        loadings=((1.0,), (0.0,)),
        noise=((s1**2, covariance), (covariance, s2**2)),
        risk_aversion=r,
        **WIDE,
    )
    slope = 1 / (1 + r * c * s1**2 * (1 - rho**2))
    assert game.optimal_slopes == pytest.approx((slope, -slope * rho * s1 / s2))
    assert surplus(game) == pytest.approx(slope / (2 * c))
    assert surplus(game) > surplus(Multitask.linear(risk_aversion=r, cost=c, noise=s1**2))


def test_two_measured_tasks_in_closed_form() -> None:
    both = Multitask(
        value=(1.0, 1.0),
        cost=((1.0, 0.5), (0.5, 1.0)),
        loadings=((1.0, 0.0), (0.0, 1.0)),
        noise=((1.0, 0.0), (0.0, 1.0)),
        risk_aversion=1.0,
    )
    assert both.optimal_slopes == pytest.approx((0.4, 0.4), abs=1e-12)
    assert both.benchmarks().first_best.value == pytest.approx(2 / 3)


def test_an_unmeasured_task_in_closed_form() -> None:
    game = Multitask.unmeasured(substitution=0.5, value=(1.0, 1.0), noise=1.0, risk_aversion=1.0)
    assert game.optimal_slopes == pytest.approx((2 / 7,), abs=1e-12)
    b, g, s2 = (1.3, 0.7), -0.4, 0.6
    game = Multitask.unmeasured(substitution=g, value=b, noise=s2, risk_aversion=2.0, max_slope=5.0)
    assert game.optimal_slopes == pytest.approx(((b[0] - b[1] * g) / (1 + 2.0 * s2 * (1 - g**2)),))


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.0, 1.4])
@pytest.mark.parametrize("risk", [0.0, 1.5])
def test_a_proxy_in_closed_form(angle: float, risk: float) -> None:
    f, g = np.array([1.2, 0.5]), 0.9 * np.array([math.cos(angle), math.sin(angle)])
    turned = math.acos(f @ g / math.sqrt((f @ f) * (g @ g)))
    game = Multitask.proxy(value=tuple(f), measure=tuple(g), noise=0.8, risk_aversion=risk, max_slope=9.0)
    assert game.optimal_slopes == pytest.approx((f @ g / (g @ g + risk * 0.8),))
    assert surplus(game) == pytest.approx((f @ g) ** 2 / (2 * (g @ g + risk * 0.8)))
    assert game.first_best == pytest.approx(f @ f / 2)
    if not risk:
        assert surplus(game) / game.first_best == pytest.approx(math.cos(turned) ** 2)
    done = play(game, equilibrium(), worlds=2)
    assert done.measures["distortion"] == pytest.approx(1 - math.cos(turned), abs=1e-9)


def test_strong_pay_for_a_measure_that_can_be_gamed_is_worse_than_none() -> None:
    """The default: task_2 moves the signal and is worth nothing, and the agent puts half of its effort there."""
    game = Multitask()
    assert game.optimal_slopes == pytest.approx((1 / (2 + 0.5),)) and surplus(game) == pytest.approx(0.2)
    np.testing.assert_allclose(game.response(np.array([[0.5], [1.0]])), [[0.5, 0.5], [1.0, 1.0]])
    assert float(game.surplus(np.array([1.0]))) == pytest.approx(1 - 1 - 0.25)
    done = play(game, equilibrium(), worlds=4)
    assert done.measures["distortion"] == pytest.approx(1 - math.sqrt(0.5))
    assert done.measures["value"] == pytest.approx(0.4) and done.alignment == pytest.approx(0.4)


# ---- independent solvers ------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(instances(), st.integers(0, 2**32))
def test_the_agents_answer_against_a_general_solver(game: Multitask, seed: int) -> None:
    rng = np.random.default_rng(seed)
    slopes = game.lowest_slope + (game.max_slope - game.lowest_slope) * rng.random(len(game.loadings))
    found = minimize(
        lambda a: -certainty_equivalent(game, 0.0, slopes, a),
        np.zeros(len(game.value)),
        bounds=[(game.lowest_effort, game.max_effort)] * len(game.value),
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 2000},
    )
    answer = game.response(slopes)
    mine = certainty_equivalent(game, 0.0, slopes, answer)
    assert mine == pytest.approx(-found.fun, rel=1e-6, abs=1e-6) and mine >= -found.fun - 1e-9
    fair = float(game.fair_base(slopes))
    assert certainty_equivalent(game, fair, slopes, answer) == pytest.approx(game.reservation, abs=1e-9)
    bases = np.array([fair - 1e-3, fair, fair + 1e-3])
    assert game.accepts(bases, np.tile(slopes, (3, 1))).tolist() == [0, 1, 1]


@settings(max_examples=60, deadline=None)
@given(instances())
def test_optimal_slopes_against_a_general_solver(game: Multitask) -> None:
    """The surplus of slopes, the agent's efforts found by solving its first-order condition, maximised in the box."""
    b, cost, loadings, noise = map(np.asarray, (game.value, game.cost, game.loadings, game.noise))

    def loss(slopes: np.ndarray[Any, Any]) -> float:
        effort = np.linalg.solve(cost, loadings.T @ slopes)
        risk = game.risk_aversion / 2 * slopes @ noise @ slopes
        return float(effort @ cost @ effort / 2 + risk - b @ effort)

    starts = [np.zeros(len(loadings)), np.full(len(loadings), game.max_slope), np.full(len(loadings), 0.1)]
    bounds = [(game.lowest_slope, game.max_slope)] * len(loadings)
    best = min(
        minimize(loss, x, bounds=bounds, method=method, options={"ftol": 1e-15, "maxiter": 5000}).fun
        for x in starts
        for method in ("L-BFGS-B", "SLSQP")  # each stops short in narrow valleys, not in the same
    )
    assert surplus(game) == pytest.approx(-best, rel=1e-5, abs=1e-6)
    assert surplus(game) >= -best - 1e-9 * (1 + abs(best))
    assert min(game.optimal_slopes) >= game.lowest_slope and max(game.optimal_slopes) <= game.max_slope


def test_slopes_at_their_bounds_in_closed_form() -> None:
    """Two unrelated tasks: each slope is its own b/(1 + r s^2), cut off at the bound."""
    game = Multitask(
        value=(1.0, 6.0, -2.0),
        cost=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
        loadings=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
        noise=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
        risk_aversion=1.0,
        max_slope=2.0,
        max_base=30.0,
        max_effort=7.0,
    )
    assert game.optimal_slopes == pytest.approx((0.5, 2.0, 0.0), abs=1e-12)
    assert surplus(game) == pytest.approx((0.5 - 0.25) + (12 - 4))


@settings(max_examples=50, deadline=None)
@given(instances(), st.integers(0, 2**32))
def test_no_other_offer_gives_the_principal_more(game: Multitask, seed: int) -> None:
    """Random offers around the fair base, answered by the agent; profit from the game's own step without noise."""
    rng, worlds, m = np.random.default_rng(seed), 2000, len(game.loadings)
    slopes = game.lowest_slope + (game.max_slope - game.lowest_slope) * rng.random((worlds, m))
    base = np.clip(game.fair_base(slopes) + rng.exponential(0.1, worlds) * rng.choice([-1, 0, 1], worlds), -1e4, 1e4)
    accept, effort = game.accepts(base, slopes), game.response(slopes)
    silent = np.zeros((worlds, game.draws))  # the normal number of u1 = 0 is 0
    outcome = settle(game, acts(base, slopes, accept, effort), silent)
    value = game.benchmarks().equilibrium.value
    assert outcome.rewards["principal"].max() <= value + 1e-9 * (1 + np.abs(base).max())
    assert (accept == 1).any() and (accept == 0).any()


@settings(max_examples=50, deadline=None)
@given(instances(), st.integers(0, 2**32))
def test_nothing_beats_the_first_best(game: Multitask, seed: int) -> None:
    rng, worlds = np.random.default_rng(seed), 1000
    near = np.asarray(game.first_best_effort) * rng.normal(1.0, 0.3, (worlds, 1))
    effort = np.clip(near + rng.normal(0.0, 0.3, near.shape), game.lowest_effort, game.max_effort)
    slopes = game.lowest_slope * rng.random((worlds, len(game.loadings))) ** 8
    decided = acts(np.zeros(worlds), slopes, np.ones(worlds, int), effort)
    welfare = settle(game, decided, rng.random((worlds, game.draws))).welfare
    assert welfare.max() <= game.first_best - game.reservation + 1e-9
    marks = game.benchmarks()
    assert marks.second_best is not None and marks.baseline is not None
    assert marks.baseline.value <= marks.second_best.value + 1e-12
    assert marks.second_best.value <= marks.first_best.value + 1e-12


@settings(max_examples=25, deadline=None)
@given(instances())
def test_the_theory_policies_attain_their_levels(game: Multitask) -> None:
    """Welfare takes no chances; profit does, and is what the principal is left with."""
    for name, level in game.benchmarks().levels.items():
        assert level.play is not None
        done = play(game, equilibrium(name), worlds=2000, seed=3)
        assert done.welfare == pytest.approx(level.value, abs=1e-9)
        assert done.measures["rent"] == pytest.approx(0.0, abs=1e-7)
        if name != "baseline" or game.reservation <= 0.0:
            error = 5 * done.measures["profit"].std() / math.sqrt(2000) + 1e-7
            assert done.measures["profit"].mean() == pytest.approx(level.value, abs=error)


# ---- comparative statics ------------------------------------------------------------------------------------------


def test_slopes_fall_in_risk_aversion_cost_and_noise() -> None:
    for name, values in {"risk_aversion": (0.0, 1.0, 2.0), "cost": (0.5, 1.0, 2.0), "noise": (0.1, 0.5, 2.0)}.items():
        slopes = [Multitask.linear(**{name: value}).optimal_slopes[0] for value in values]
        assert slopes[0] > slopes[1] > slopes[2], name


def test_the_riskless_loss_grows_with_the_angle_between_value_and_measure() -> None:
    games = [
        Multitask.proxy(value=(1.0, 0.0), measure=(math.cos(t), math.sin(t)), risk_aversion=0.0, max_slope=3.0)
        for t in (0.0, 0.3, 0.8, 1.3)
    ]
    losses = [game.first_best - surplus(game) for game in games]
    assert min(np.diff(losses)) > 0.04
    np.testing.assert_allclose(losses, np.sin([0.0, 0.3, 0.8, 1.3]) ** 2 / 2, atol=1e-12)


def test_an_unmeasured_substitute_weakens_pay_and_a_complement_strengthens_it() -> None:
    """Holmstrom and Milgrom 1991: crowding out, against the slope where tasks are unrelated."""
    slopes = [
        Multitask.unmeasured(substitution=g, max_slope=4.0).optimal_slopes[0] for g in (-0.6, -0.2, 0.0, 0.2, 0.6)
    ]
    assert slopes == sorted(slopes, reverse=True) and min(-np.diff(slopes)) > 0.01
    assert slopes[2] == pytest.approx(0.5)
    efforts = [Multitask.unmeasured(substitution=g).response(np.array([0.5]))[1] for g in (-0.5, 0.0, 0.5)]
    assert efforts[0] > 0 and efforts[1] == 0 and efforts[2] < 0


def test_efforts_below_zero_are_possible_only_where_somebody_wants_them() -> None:
    assert Multitask().lowest_effort == 0.0
    assert Multitask.linear().lowest_effort == 0.0
    assert Multitask.unmeasured(substitution=-0.5).lowest_effort == 0.0
    assert Multitask.unmeasured(substitution=0.5).lowest_effort == -2.0
    assert Multitask.linear(lowest_slope=-0.5).lowest_effort < 0.0


# ---- the agent itself ---------------------------------------------------------------------------------------------


def test_a_cara_agent_decides_as_its_certainty_equivalent() -> None:
    """Expected utility by integration over the noise: the same best effort, indifference at the same base."""
    game = Multitask.linear(risk_aversion=2.0, cost=1.0, noise=0.5, utility="cara", reservation=0.1)
    slope, r = 0.6, 2.0
    base = float(game.fair_base(np.array([slope])))

    def expected(effort: float) -> float:
        def inner(z: float) -> float:
            coins = base + slope * (effort + math.sqrt(0.5) * z) - effort**2 / 2
            return (1 - math.exp(-r * coins)) / r * math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)

        return float(quad(inner, -12, 12)[0])

    best = float(game.response(np.array([slope]))[0])
    found = minimize(lambda a: -expected(a[0]), [0.1], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-13})
    assert found.x[0] == pytest.approx(best, abs=1e-4)
    outside = (1 - math.exp(-r * 0.1)) / r
    assert expected(best) == pytest.approx(outside, abs=1e-8)

    worlds = 100_000
    offer = np.tile([[slope]], (worlds, 1))
    for accept, effort, mean in ((1, best, outside), (1, 0.2, expected(0.2)), (0, 0.2, outside)):
        decided = acts(np.full(worlds, base), offer, np.full(worlds, accept), np.full((worlds, 1), effort))
        paid = settle(game, decided, np.random.default_rng(5).random((worlds, 2))).rewards["agent"][:, 0]
        assert paid.mean() == pytest.approx(mean, abs=5 * paid.std() / math.sqrt(worlds) + 1e-12)


def test_without_risk_aversion_the_two_utilities_are_the_same() -> None:
    one, other = (Multitask.linear(risk_aversion=0.0, utility=utility) for utility in ("certainty", "cara"))
    assert one.optimal_slopes == other.optimal_slopes == pytest.approx((1.0,))
    first, second = (play(game, equilibrium(), worlds=50, seed=2) for game in (one, other))
    np.testing.assert_array_equal(first.returns["agent"], second.returns["agent"])


@pytest.mark.parametrize("noise", [((2.0, -0.9), (-0.9, 0.5)), ((1.0, 2.0), (2.0, 4.0)), ((0.0, 0.0), (0.0, 1.0))])
def test_signals_have_the_noise_they_are_said_to_have(noise: Any) -> None:
    """Means and covariances, of singular matrices too."""
    loadings = ((1.0, 0.5), (0.0, 2.0))
    game = Multitask(loadings=loadings, noise=noise, max_effort=9.0, repetitions=2)
    worlds, effort = 100_000, (0.7, 0.4)
    decided = acts(np.zeros(worlds), np.zeros((worlds, 2)), np.ones(worlds, int), np.tile(effort, (worlds, 1)))
    state = settle(game, decided, np.random.default_rng(11).random((worlds, game.draws))).state
    signals = game.view(state)["principal"]["signals"][:, 0]
    np.testing.assert_allclose(signals.mean(axis=0), np.asarray(loadings) @ effort, atol=0.03)
    np.testing.assert_allclose(np.cov(signals.T), noise, atol=0.06)


# ---- the game -----------------------------------------------------------------------------------------------------


def test_pay_and_signals_are_what_the_rules_say() -> None:
    game = Multitask(
        value=(1.0, 2.0),
        cost=((1.0, 0.5), (0.5, 2.0)),
        loadings=((1.0, 0.0), (0.5, 1.0)),
        noise=((4.0, 1.0), (1.0, 1.0)),
        risk_aversion=0.5,
        reservation=0.25,
        max_base=3.0,
        max_effort=5.0,
        repetitions=2,
    )
    u = np.array([[0.0, 0.3, 0.0, 0.3], [0.5, 0.0, 0.8, 0.5], [0.5, 0.0, 0.8, 0.5]])
    z = np.array([[0.0, 0.0], [math.sqrt(2 * math.log(2)), -math.sqrt(2 * math.log(5))], [0.0, 0.0]])
    root = np.array([[2.0, 0.0], [0.5, math.sqrt(0.75)]])
    slopes, effort = np.array([[0.5, 1.0], [0.5, 0.2], [1.0, 1.0]]), np.array([[1.0, 2.0], [0.5, 0.0], [3.0, 3.0]])
    base, accept = np.array([0.3, -1.0, 1.0]), np.array([1, 1, 0])
    decided = acts(base, slopes, accept, effort)
    offered = game.step(game.start(u), decided, u)
    assert (offered.welfare == 0).all() and not offered.done.any() and (game.stage(offered.state) == 1).all()
    done = game.step(offered.state, decided, u)

    signals = effort @ np.asarray(game.loadings).T + z @ root.T
    pay = base + (slopes * signals).sum(axis=1)
    worth, cost = effort @ [1.0, 2.0], np.einsum("wi,ij,wj->w", effort, game.cost, effort) / 2
    premium = 0.25 * np.einsum("wi,ij,wj->w", slopes, game.noise, slopes)
    np.testing.assert_allclose(done.rewards["principal"][:, 0], np.where(accept, worth - pay, 0.0))
    np.testing.assert_allclose(done.rewards["agent"][:, 0], np.where(accept, pay - cost - premium, 0.25))
    np.testing.assert_allclose(done.welfare, np.where(accept, worth - cost - premium - 0.25, 0.0))
    seen = game.view(done.state)
    np.testing.assert_allclose(seen["principal"]["signals"][:, 0], np.where(accept[:, None], signals, 0.0))
    assert seen["principal"]["answer"][:, 0].tolist() == [1, 1, 0]
    found = game.measures(done.state)
    rent = [certainty_equivalent(game, base[i], slopes[i], effort[i]) - 0.25 for i in range(2)]
    np.testing.assert_allclose(found["rent"], [*rent, 0.0], atol=1e-12)
    np.testing.assert_allclose(found["value"], [5.0, 0.5, 0.0])
    assert found["accepted"].tolist() == [1.0, 1.0, 0.0]
    ideal = np.linalg.solve(game.cost, game.value)
    inner = [e @ np.asarray(game.cost) @ ideal for e in effort[:2]]
    lengths = [math.sqrt((e @ np.asarray(game.cost) @ e) * (ideal @ np.asarray(game.cost) @ ideal)) for e in effort[:2]]
    np.testing.assert_allclose(found["distortion"], [1 - inner[0] / lengths[0], 1 - inner[1] / lengths[1], 0.0])


def test_distortion_at_its_extremes() -> None:
    game = Multitask.unmeasured(substitution=0.0, noise=0.0, lowest_slope=-1.0)
    efforts = np.array([[0.7, 0.7], [0.5, -0.5], [-1.0, -1.0], [0.0, 0.0]])
    decided = acts(np.zeros(4), np.zeros((4, 1)), np.ones(4, int), efforts)
    found = game.measures(settle(game, decided, np.full((4, 2), 0.5)).state)["distortion"]
    np.testing.assert_allclose(found, [0.0, 1.0, 2.0, 0.0], atol=1e-12)


def test_efforts_are_hidden_and_signals_can_be_contracted_on() -> None:
    game = Multitask()
    for role in game.roles:
        assert "effort" not in {field.name for field in role.sees}
        assert {"signals", "answer", "base", "slopes"} <= {field.name for field in role.sees if field.verifiable}


def test_the_words_hold_the_numbers() -> None:
    about = Multitask.unmeasured(reservation=0.2, risk_aversion=3.0, noise=0.25).about
    assert "0.5 task_1^2 + 0.5 task_1 task_2 + 0.5 task_2^2" in about
    assert "signal_1 = 1 task_1 + 0 task_2 + noise of standard deviation 0.5" in about
    assert "0.375 slope_1^2" in about and "it gets 0.2" in about and "below 0" in about
    assert "below 0" not in Multitask().about
    two = Multitask(loadings=((1, 0), (0, 1)), noise=((1, -0.5), (-0.5, 1)), utility="cara", max_effort=3)
    assert "covariance of the noise of signal_1 and signal_2: -0.5" in two.about
    assert "exp(-1 y)" in two.about and "0.5 slope_1^2 - 0.5 slope_1 slope_2 + 0.5 slope_2^2" in two.about


@pytest.mark.parametrize(
    "game",
    [
        Multitask(),
        Multitask(repetitions=3, reservation=-0.1, utility="cara"),
        Multitask.unmeasured(repetitions=2),
        Multitask.proxy(reservation=5.0),
    ],
    ids=["default", "cara", "unmeasured", "nobody hired"],
)
def test_examined(game: Multitask) -> None:
    check_game(game)


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(
        Multitask(
            value=(1.0, 2.0, 0.5),
            cost=((1.0, 0.2, 0.0), (0.2, 1.0, 0.1), (0.0, 0.1, 2.0)),
            loadings=((1.0, 0.0, 0.3), (0.5, 1.0, 0.0)),
            noise=((4.0, 1.0), (1.0, 1.0)),
            max_base=3.0,
            max_effort=5.0,
            repetitions=3,
        )
    )


def test_parameters_read_from_data_are_lists() -> None:
    game = Multitask(value=[1, 0], cost=[[1, 0], [0, 1]], loadings=[[1, 1]], noise=[[0.5]])  # type: ignore[arg-type]
    assert game == Multitask() and hash(game) == hash(Multitask())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"noise": ((-0.5,),)}, r"noise\[0\]\[0\]: a number from 0 to 1e\+06, got -0.5"),
        ({"noise": ((0.5, 0.0), (0.0, 0.5))}, "noise: 1 row of 1 numbers, got"),
        ({"noise": 0.5}, "noise: 1 row of 1 numbers, got 0.5"),
        (
            {"loadings": ((1.0, 0.0), (0.0, 1.0)), "noise": ((1.0, 2.0), (2.0, 1.0))},
            "noise: a positive semidefinite matrix, got one with the eigenvalue -1",
        ),
        ({"cost": ((1.0, 1.0), (1.0, 1.0))}, "cost: a positive definite matrix"),
        ({"cost": ((0.0, 0.0), (0.0, 0.0))}, "cost: a positive definite matrix"),
        ({"cost": ((1.0, 0.5), (0.0, 1.0))}, "cost: a symmetric matrix"),
        ({"cost": ((1.0,),)}, "cost: 2 rows of 2 numbers"),
        ({"cost": ((-1.0, 0.0), (0.0, 1.0))}, r"cost\[0\]\[0\]: a number from 0 to 1e\+06, got -1"),
        ({"loadings": ((1.0,),)}, "loadings: 1 to 12 rows of 2 numbers"),
        ({"loadings": ()}, "loadings: 1 to 12 rows of 2 numbers"),
        ({"loadings": ((1.0, math.nan),)}, r"loadings\[0\]: a number from .* got nan"),
        ({"value": ()}, "value: a list of 1 to 12 numbers"),
        ({"value": (1.0, math.inf)}, "value: a number from .* got inf"),
        ({"risk_aversion": -1.0}, r"risk_aversion: a number from 0 to 1e\+06, got -1.0"),
        ({"risk_aversion": 1e5, "utility": "cara"}, "risk_aversion: a number from 0 to .* with utility 'cara'"),
        ({"utility": "log"}, "utility: one of 'certainty', 'cara', got 'log'"),
        ({"lowest_slope": 0.1}, "lowest_slope: a number from .* to 0, got 0.1"),
        ({"max_slope": 0.0}, "max_slope: .* got 0.0"),
        ({"max_effort": 0.5}, r"max_effort: a number from 1 \(the least that allows what slopes"),
        ({"max_base": 0.5, "reservation": 0.25}, r"max_base: a number from 0.75 \(the least that allows what"),
        ({"repetitions": 0}, "repetitions: .* got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Multitask(**wrong)


def test_the_effort_bound_that_the_error_asks_for_is_enough() -> None:
    game = Multitask.unmeasured()
    with pytest.raises(ValueError, match=r"max_effort: a number from 1\.33335 ") as caught:
        dataclasses.replace(game, max_effort=1.0)
    needed = float(str(caught.value).split("from ")[1].split(" ")[0])
    tight = dataclasses.replace(game, max_effort=needed)
    np.testing.assert_allclose(tight.response(np.array([1.0])), [4 / 3, -2 / 3], rtol=1e-12)
