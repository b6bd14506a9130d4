"""Teams: how much sharing, forfeits and tournaments make members work, against iteration, grids and simulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import ndtr
from scipy.stats import norm

from societas import Game, play, policy
from societas.envs.contracting.team import TAMING, Team
from societas.testing import check_game


def everyone(effort: float) -> dict[str, Any]:
    return {"member": policy("callable", function=lambda seen: {"effort": seen["effort"] * 0 + effort}, batched=True)}


def pays(game: Team, efforts: list[float], worlds: int = 1, seed: int = 0) -> np.ndarray[Any, Any]:
    """Mean rewards of one step with given efforts, over worlds of independent noise."""
    u = np.random.default_rng(seed).random((worlds, max(game.luck, 1)))
    acts = {"member": {"effort": np.tile(efforts, (worlds, 1))}}
    return np.asarray(game.step(game.start(u), acts, u).rewards["member"].mean(axis=0))


# ---- closed forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(2, 11))
def test_equal_shares_reach_so_much_of_the_first_best(n: int) -> None:
    """Effort 1/n, and (2n - 1) / n^2 of the welfare n/2."""
    game = Team(members=n)
    marks = game.benchmarks()
    assert game.equilibrium == pytest.approx(1 / n)
    assert marks.first_best.value == pytest.approx(n / 2)
    assert marks.equilibrium.value / marks.first_best.value == pytest.approx((2 * n - 1) / n**2)
    done = play(game, {"member": policy("equilibrium")}, worlds=2)
    np.testing.assert_allclose(done.welfare, (2 * n - 1) / (2 * n))
    np.testing.assert_allclose(done.measures["shortfall"], 1 - 1 / n)
    np.testing.assert_allclose(done.alignment, 0.0, atol=1e-12)


@pytest.mark.parametrize("n", range(2, 11))
def test_a_forfeit_restores_the_first_best_and_breaks_the_budget_only_off_the_path(n: int) -> None:
    game = Team(members=n, rule="forfeit")
    marks = game.benchmarks()
    assert marks.baseline is not None
    assert game.equilibrium == 1.0 and marks.equilibrium.value == marks.first_best.value == n / 2
    assert marks.baseline.value == Team(members=n).benchmarks().equilibrium.value
    done = play(game, {"member": policy("equilibrium")}, worlds=2)
    assert (done.measures["burnt"] == 0).all() and (done.welfare == n / 2).all() and (done.alignment == 1).all()
    for shirked in (0.999, 0.5, 0.0):  # one who shirks burns what the others made
        acts = {"member": {"effort": np.array([[shirked] + [1.0] * (n - 1)])}}
        out = game.step(game.start(np.zeros((1, 0))), acts, np.zeros((1, 0)))
        assert game.measures(out.state)["burnt"][0] == pytest.approx(n - 1 + shirked)
        np.testing.assert_allclose(out.rewards["member"][0], [-(shirked**2) / 2] + [-0.5] * (n - 1))
        assert out.welfare[0] == pytest.approx(out.rewards["member"].sum())
    assert marks.others["nobody_works"].value == 0 and game.regret(0.0) == 0


@pytest.mark.parametrize(("sd", "cost"), [(0.3, 1.0), (1.0, 1.0), (0.5, 2.0)])
def test_the_gap_of_two_that_restores_the_first_best(sd: float, cost: float) -> None:
    """1 / (2 g(0)), g the density of the difference of two errors, whatever effort costs."""
    density = norm(0, sd * math.sqrt(2)).pdf(0)
    assert density == pytest.approx(1 / (2 * sd * math.sqrt(math.pi)))
    game = Team(members=2, rule="tournament", sd=sd, cost=cost)
    assert game.spread == pytest.approx(1 / (2 * density))
    assert game.equilibrium == pytest.approx(1 / cost)
    assert game.benchmarks().equilibrium.value == pytest.approx(2 / (2 * cost))
    half = Team(members=2, rule="tournament", sd=sd, cost=cost, gap=game.spread / 2)
    assert half.equilibrium == pytest.approx((0.5 + 0.25) / cost)
    assert Team(members=2, rule="tournament", sd=sd, cost=cost, gap=0).equilibrium == pytest.approx(0.5 / cost)


def test_the_bound_on_the_gap_is_the_least_ratio() -> None:
    def ratio(z: float) -> float:
        return z**2 / (2 * quad(lambda t: (1 - math.exp(-(t**2) / 2)) / math.sqrt(2 * math.pi), 0, z)[0])

    grid = np.linspace(0.01, 30, 300)
    best = float(grid[np.argmin([ratio(z) for z in grid])])
    found = minimize_scalar(ratio, bounds=(best - 0.2, best + 0.2), method="bounded", options={"xatol": 1e-10})
    assert pytest.approx(found.fun, rel=1e-12) == TAMING


# ---- equilibria against other methods -----------------------------------------------------------------------------


def rule_pay(game: Team, mine: np.ndarray[Any, Any], others: float) -> np.ndarray[Any, Any]:
    """A member's expected reward, written from the rules anew; the noise is integrated out member by member."""
    n, output = game.members, mine + (game.members - 1) * others
    share = output / n
    if game.rule == "forfeit":
        share = np.where(output > game.threshold - 1e-7, share, 0.0)
    if game.rule == "tournament":
        errors, weights = np.polynomial.hermite_e.hermegauss(60)
        lead = mine[:, None] + game.sd * errors - others
        beats = ndtr(lead / game.sd) @ weights / math.sqrt(2 * math.pi)  # each of the others with this probability
        share = share + game.spread / 2 * (2 * beats - 1)
    return np.asarray(share - game.cost / 2 * mine**2)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.floats(0.3, 4.0), st.floats(0.0, 3.0))
def test_best_replies_lead_to_equal_shares(n: int, cost: float, first: float) -> None:
    game = Team(members=n, cost=cost, max_effort=4.0)
    found = minimize_scalar(
        lambda a: -float(rule_pay(game, np.array([a]), first)[0]),
        bounds=(0, 4),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert found.x == pytest.approx(game.equilibrium, abs=1e-6)  # a dominant effort, whatever the others choose


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.floats(0.5, 2.0), st.floats(0.0, 1.0))
def test_the_best_equilibrium_under_a_forfeit_by_brute_force(n: int, cost: float, share: float) -> None:
    """Of all symmetric efforts on a grid that no effort on it beats, the one of highest welfare."""
    steps = np.linspace(0.0, 4.0 / cost, 801)
    target = float(n * steps[round(share * 800)] * 0.75)  # from no target to one beyond which nobody would work
    game = Team(members=n, rule="forfeit", cost=cost, max_effort=4.0 / cost, target=target)
    tried = np.union1d(steps, [target / n, 1 / (n * cost)])
    stable = [a for a in tried if rule_pay(game, tried, a).max() <= rule_pay(game, np.array([a]), a)[0] + 1e-6 / cost]
    welfare = [n * float(rule_pay(game, np.array([a]), a)[0]) for a in stable]
    assert game.benchmarks().equilibrium.value == pytest.approx(max(welfare), abs=2e-5 * n / cost)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.floats(0.5, 2.0), st.floats(0.4, 2.0), st.floats(0.0, 1.0), st.floats(0.1, 1.0))
def test_best_replies_lead_to_the_tournament_effort(n: int, cost: float, sd: float, part: float, first: float) -> None:
    """Damped best replies, on the exact expected pay by quadrature, converge to the closed form."""
    sd, most = sd / cost, 2.0 / cost
    widest = min(2 * cost * sd**2 * TAMING, (cost * most - 1 / n) * 2 * sd * math.sqrt(math.pi))
    game = Team(n, "tournament", cost, most, sd=sd, gap=0.9 * part * widest)
    effort, steps = first * most, np.linspace(0, most, 501)
    for _ in range(30):
        effort += 0.5 * (float(steps[rule_pay(game, steps, effort).argmax()]) - effort)
    assert effort == pytest.approx(game.equilibrium, abs=most / 500)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.floats(0.5, 2.0), st.floats(0.05, 1.0), st.floats(0.2, 2.0))
def test_a_tournament_is_refused_exactly_where_a_member_would_rather_lose(
    n: int, cost: float, sd: float, part: float
) -> None:
    """Against the best deviation on a grid."""
    assume(abs(part - 1) > 1e-3)
    gap = part * 2 * cost * sd**2 * TAMING
    effort = (1 / n + gap / (2 * sd * math.sqrt(math.pi))) / cost
    less = np.linspace(0.0, effort, 20_001)
    gain = (less - effort) / n + gap * (norm.cdf((less - effort) / (sd * math.sqrt(2))) - 0.5)
    gain = gain - cost / 2 * (less**2 - effort**2)
    if gain.max() > 1e-9:
        with pytest.raises(ValueError, match=r"gap: a number from 0 to .* at sd="):
            Team(n, "tournament", cost, 100.0, sd=sd, gap=gap)
    else:
        assert Team(n, "tournament", cost, 100.0, sd=sd, gap=gap).equilibrium == pytest.approx(effort)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 50), st.floats(0.2, 5.0))
def test_the_least_noise_of_the_best_tournament_is_at_the_bound(n: int, cost: float) -> None:
    least = (1 - 1 / n) * math.sqrt(math.pi) / (cost * TAMING)
    assert Team(n, "tournament", cost, 10.0, sd=least * 1.0001).equilibrium == pytest.approx(1 / cost)
    with pytest.raises(ValueError, match="sd: a number from .* to 1e"):
        Team(n, "tournament", cost, 10.0, sd=least * 0.9999)


@pytest.mark.parametrize("n", [2, 5])
def test_expected_pay_in_a_tournament_is_what_play_gives(n: int) -> None:
    """At the equilibrium and off it, where the comparisons with the others depend on each other."""
    game = Team(members=n, rule="tournament", sd=0.6)
    worlds = 100_000
    for mine in (0.2, 1.0, 1.5):
        simulated = pays(game, [mine] + [1.0] * (n - 1), worlds, seed=2)[0]
        assert simulated == pytest.approx(float(game.expected(mine, 1.0)), abs=4 * game.spread / math.sqrt(worlds))
        assert float(game.expected(mine, 1.0)) == pytest.approx(rule_pay(game, np.array([mine]), 1.0)[0], abs=1e-9)


# ---- comparative statics ------------------------------------------------------------------------------------------


def test_larger_teams_shirk_more_and_noise_widens_the_best_gap() -> None:
    shirking = [1 - Team(members=n).equilibrium for n in range(2, 20)]
    reached = [Team(members=n).benchmarks() for n in range(2, 20)]
    ratios = [marks.equilibrium.value / marks.first_best.value for marks in reached]
    assert (np.diff(shirking) > 0).all() and (np.diff(ratios) < 0).all()
    gaps = [Team(rule="tournament", sd=sd).spread for sd in np.linspace(0.3, 3, 10)]
    assert (np.diff(gaps) > 0).all()
    efforts = [Team(rule="tournament", sd=sd, gap=0.8).equilibrium for sd in np.linspace(0.3, 3, 10)]
    assert (np.diff(efforts) < 0).all()  # a given gap drives less, the more luck decides


def test_a_target_beyond_what_is_worth_it_stops_all_work() -> None:
    values = {t: Team(rule="forfeit", max_effort=3.0, target=t).benchmarks() for t in (0.5, 2.0, 4.0, 6.0, 8.1)}
    assert [marks.equilibrium.value for marks in values.values()] == pytest.approx([0.875, 1.5, 2.0, 1.5, 0.0])
    assert values[8.1].first_best.play is None and values[0.5].first_best.play is not None


# ---- the game -----------------------------------------------------------------------------------------------------


def test_shares_are_what_the_rules_say() -> None:
    np.testing.assert_allclose(pays(Team(members=3, cost=2), [0.0, 1.0, 2.0]), [1.0, 0.0, -3.0])
    np.testing.assert_allclose(pays(Team(members=3, rule="forfeit", target=3), [0.0, 1.0, 2.0]), [1.0, 0.5, -1.0])
    np.testing.assert_allclose(pays(Team(members=3, rule="forfeit", target=3.01), [0.0, 1.0, 2.0]), [0.0, -0.5, -2.0])
    game = Team(members=3, rule="tournament", sd=1e-3, gap=1e-6)  # with hardly any noise the ranking is that of efforts
    shares = pays(game, [1.5, 0.0, 0.3]) + 0.5 * np.array([1.5, 0.0, 0.3]) ** 2
    np.testing.assert_allclose(shares - 0.6, [5e-7, -5e-7, 0.0], atol=1e-12)


def test_sums_that_round_reach_the_target() -> None:
    """Ten times 0.3 is a little less than 3 in floating point."""
    game = Team(members=10, rule="forfeit", target=3.0)
    assert np.full((1, 10), 0.3).sum(axis=-1)[0] < 3.0
    np.testing.assert_allclose(pays(game, [0.3] * 10), 0.3 - 0.045)
    assert (pays(game, [0.3] * 9 + [0.299999]) < 0).all()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["equal", "tournament"]), st.integers(2, 7), st.integers(0, 2**32))
def test_what_is_not_burnt_is_paid_out(rule: str, n: int, seed: int) -> None:
    game = Team(members=n, rule=rule, sd=1.0)
    generator = np.random.default_rng(seed)
    u, effort = generator.random((50, game.draws)), 2 * generator.random((50, n))
    out = game.step(game.start(u), {"member": {"effort": effort}}, u)
    np.testing.assert_allclose(out.rewards["member"].sum(axis=1), out.welfare, atol=1e-12)
    np.testing.assert_allclose(out.welfare, (effort - effort**2 / 2).sum(axis=1), atol=1e-12)


def test_effort_stays_hidden() -> None:
    game = Team(rule="tournament", members=2, repetitions=2)
    u = np.full((1, game.draws), 0.25)
    state = game.step(game.start(u), {"member": {"effort": np.array([[0.5, 1.5]])}}, u).state
    seen = game.view(state)["member"]
    assert seen["effort"].tolist() == [[0.5, 1.5]]  # each its own
    assert seen["output"].tolist() == [[2.0, 2.0]] and seen["measured"].shape == (1, 2, 2)
    assert seen["pay"].sum() == pytest.approx(2.0)
    facts = {field.name for field in game.roles[0].sees if field.verifiable}
    assert facts == {"output", "pay", "measured"}


VARIANTS: list[dict[str, Any]] = [
    {},
    {"rule": "forfeit"},
    {"rule": "forfeit", "members": 3, "cost": 1.3, "target": 3, "repetitions": 3},
    {"rule": "forfeit", "target": 9.0, "max_effort": 3.0},
    {"rule": "tournament"},
    {"rule": "tournament", "members": 2, "gap": 0.3, "sd": 0.3, "repetitions": 3},
]


@pytest.mark.parametrize("options", VARIANTS)
def test_examined(options: dict[str, Any]) -> None:
    check_game(Team(**options))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Team(members=3, rule="tournament", repetitions=3))
    examine_arrays(Team(rule="forfeit", target=2.0, repetitions=2))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"members": 1}, "members: a whole number from 2 to 50, got 1"),
        ({"rule": "fair"}, "rule: one of 'equal', 'forfeit', 'tournament', got 'fair'"),
        ({"cost": 0.0}, "cost: a number from 0.001 to 1000, got 0.0"),
        ({"cost": 0.4}, "max_effort: a number from 2.5 to .*, got 2.0"),
        ({"target": 8.5}, "target: a number from 0 to 8, got 8.5"),
        ({"sd": -1.0}, "sd: a number from .* got -1.0"),
        ({"gap": -0.1}, "gap: a number from 0 to .* got -0.1"),
        ({"rule": "tournament", "sd": 0.2}, "sd: a number from 0.215262 to .* got 0.2; .* would rather lose"),
        ({"rule": "tournament", "sd": 0.2, "gap": 0.5}, "gap: a number from 0 to 0.494036 at sd=0.2, got 0.5"),
        ({"rule": "tournament", "sd": 0.5, "gap": 3.2}, "gap: a number from 0 to 3.08773 at sd=0.5, got 3.2"),
        ({"rule": "tournament", "sd": 5.0, "gap": 40}, "gap: a number from 0 to 31.0179 .* max_effort"),
        ({"repetitions": 0}, "repetitions: .* got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Team(**wrong)
