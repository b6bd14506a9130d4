"""Relational contracts: closed forms, the enforceable effort by search, one-shot deviations, crowding out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from societas import Game, play, policy
from societas.envs.contracting.relational import Relational
from societas.testing import check_game


def long_enough(delta: float) -> int:
    return math.ceil(math.log(1e-5) / math.log(delta)) + 1


def make(delta: float, fallback: float = 0.0, cost: float = 1.0, **options: Any) -> Relational:
    return Relational(delta, fallback, cost, **{"max_pay": 1.0 / cost, "repetitions": long_enough(delta)} | options)


@st.composite
def instances(draw: st.DrawFn) -> Relational:
    """Games with rounded numbers, on both sides of delta / 2."""
    cost = draw(st.sampled_from([0.5, 1.0, 2.0]))
    return make(draw(st.integers(5, 95)) / 100, draw(st.integers(0, 20)) / 40 / cost, cost)


def equilibrium(level: str = "equilibrium", **others: Any) -> dict[str, Any]:
    return {role: policy("equilibrium", level=level) for role in ("principal", "agent")} | others


# ---- closed forms -------------------------------------------------------------------------------------------------


def test_without_a_formal_contract() -> None:
    """f = 0: e* = min(1, 2 delta), surplus 2 delta (1 - delta) below one half, the first best from there on."""
    for delta in (0.1, 0.25, 0.4, 0.49, 0.5, 0.6, 0.9):
        game = make(delta)
        marks, length = game.benchmarks(), game.expected_rounds
        assert length == pytest.approx(sum(delta**t for t in range(game.repetitions)))
        assert game.best_effort == pytest.approx(min(1.0, 2 * delta))
        surplus = 2 * delta * (1 - delta) if delta < 0.5 else 0.5
        assert marks.equilibrium.value == pytest.approx(length * surplus)
        assert marks.first_best.value == pytest.approx(length * 0.5)
        assert (marks.equilibrium.value < marks.first_best.value - 1e-9) == (delta < 0.5)
        assert marks.baseline is not None and marks.baseline.value == 0.0


@settings(max_examples=100, deadline=None)
@given(instances())
def test_enforceable_effort_against_a_search(game: Relational) -> None:
    """Any effort, bonus and division of the surplus at which neither side gains by breaking its promise, on a grid."""
    f, c, ahead = game.fallback, game.cost, game.delta / (1 - game.delta)
    assume(abs(c * f - game.delta / 2) > 1e-3)
    efforts = np.linspace(0.0, 1.0 / c, 2001)[:, None]
    surplus, pain = efforts - c * efforts**2 / 2, c * efforts**2 / 2
    part = np.linspace(0.0, 1.0, 11)  # the agent's share of what the relationship is worth more than the fallback
    worth = surplus - f
    bonus = np.maximum(pain - ahead * part * worth, 0.0)  # the least for which the agent works
    fine = (worth >= -1e-12) & (bonus <= ahead * (1 - part) * worth + 1e-12)
    best = float(surplus[fine.any(axis=1)].max()) if fine.any() else f
    length = sum(game.delta**t for t in range(game.repetitions))
    assert (game.best_effort is None) == (not fine.any())
    assert game.benchmarks().equilibrium.value / length == pytest.approx(best, abs=1e-3 / c)


# ---- the equilibrium, one deviation at a time ---------------------------------------------------------------------


def worth(game: Relational, trust: Any, **fixed: Any) -> tuple[Any, Any]:
    """Return what a round and its future are worth to principal and agent, each (n,), if all but ``fixed`` is played.

    The future is that of a relationship without a last round: delta times the value of playing on, by trust.
    """
    marks, n = game.benchmarks().equilibrium, len(trust)
    assert marks.play is not None
    state = game.start(np.zeros((n, 1)))._replace(memory={"trust": np.asarray(trust)})
    for _ in game.stages:
        seen = game.view(state)
        acts = {role: {**marks.play[role](seen[role])} for role in ("principal", "agent")}
        for name, values in fixed.items():
            acts["agent" if name in ("accept", "effort") else "principal"][name] = np.asarray(values)[:, None]
        done = game.step(state, acts, np.zeros((n, 1)))
        state = done.state
    half, broken = game.fallback / 2, state.memory["trust"]
    profit = game.surplus(game.best_effort) - half
    ahead = game.delta / (1 - game.delta)
    future = ahead * np.where(broken == 1, half, profit), ahead * half
    return done.rewards["principal"][:, 0] + future[0], done.rewards["agent"][:, 0] + future[1]


@settings(max_examples=40, deadline=None)
@given(instances(), st.integers(0, 2**32))
def test_no_deviation_at_any_stage_of_any_history_pays(game: Relational, seed: int) -> None:
    """The one-shot deviation principle, through the game's own steps: the strategies are subgame perfect."""
    rng, n, most = np.random.default_rng(seed), 3000, game.max_pay
    trust = rng.integers(0, 2, n)
    offer = {
        "salary": rng.choice([-1.0, 1.0], n) * most * rng.random(n) ** 2,
        "promise": most * rng.random(n) ** 2 * (rng.random(n) < 0.9),
        "required": 2 / game.cost * rng.random(n) ** 2 * (rng.random(n) < 0.9),
    }
    # the offer
    assert (worth(game, trust, **offer)[0] <= worth(game, trust)[0] + 1e-8).all()
    # the answer, after any offer
    follows = worth(game, trust, **offer)[1]
    for accept in (0, 1):
        for effort in (0.0 * offer["required"], offer["required"], 2 / game.cost * rng.random(n)):
            other = worth(game, trust, **offer, accept=np.full(n, accept), effort=effort)[1]
            assert (other <= follows + 1e-8).all()
    # the bonus, after any answer
    answer = {
        "accept": rng.integers(0, 2, n),
        "effort": np.where(rng.random(n) < 0.5, offer["required"], rng.random(n)),
    }
    follows = worth(game, trust, **offer, **answer)[0]
    for bonus in (0.0 * offer["promise"], offer["promise"], most * rng.random(n)):
        assert (worth(game, trust, **offer, **answer, bonus=bonus)[0] <= follows + 1e-8).all()


@pytest.mark.parametrize(("delta", "fallback"), [(0.4, 0.0), (0.6, 0.0), (0.6, 0.25), (0.8, 0.3)])
def test_breaking_a_promise_in_play(delta: float, fallback: float) -> None:
    """Who breaks the first promise gains once and has the formal contract ever after."""
    game = make(delta, fallback)
    effort, half = game.best_effort, fallback / 2
    assert effort is not None
    honest = play(game, equilibrium(), worlds=20_000, seed=2)
    broken = play(game, equilibrium(principal=stingy(game)), worlds=20_000, seed=2)
    idle = play(game, equilibrium(agent=lazy()), worlds=20_000, seed=2)
    length, later = game.expected_rounds, game.expected_rounds - 1
    for done, role, value in (
        (honest, "principal", length * (effort - effort**2 / 2 - half)),
        (honest, "agent", length * half),
        (broken, "principal", effort - half + later * half),
        (broken, "agent", half - effort**2 / 2 + later * half),
        (idle, "agent", length * half),
        (idle, "principal", -half + later * half),
    ):
        got = done.returns[role][:, 0]
        assert got.mean() == pytest.approx(value, abs=5 * got.std() / math.sqrt(len(got)) + 1e-9)
    temptation = effort - half + later * half - length * (effort - effort**2 / 2 - half)
    if effort < 1:
        assert temptation == pytest.approx(0.0, abs=1e-4)  # as much as can be enforced, and no more
    else:
        assert temptation < -0.1
    assert (honest.measures["trust"] == 1).all() and (honest.measures["kept"] == 1).all()
    assert (broken.measures["kept"] == 0).all()
    assert honest.length.mean() / 3 == pytest.approx(length, abs=5 * honest.length.std() / 3 / math.sqrt(20_000))


def stingy(game: Relational) -> Any:
    """The equilibrium's principal, which pays no bonus."""
    level = game.benchmarks().equilibrium
    assert level.play is not None
    offers = level.play["principal"]
    return policy("callable", function=lambda seen: {**offers(seen), "bonus": seen["bonus"] * 0.0}, batched=True)


def lazy() -> Any:
    """An agent that takes what is at least as good as refusing, and never works."""

    def act(seen: Any) -> Any:
        return {"accept": (seen["salary"] >= 0).astype(int), "effort": seen["effort"] * 0.0}

    return policy("callable", function=act, batched=True)


# ---- comparative statics ------------------------------------------------------------------------------------------


def efforts(pairs: list[tuple[float, float]]) -> list[float]:
    """Mean effort that is played in equilibrium."""
    return [float(play(make(*pair), equilibrium(), worlds=4, seed=0).measures["effort"].mean()) for pair in pairs]


def test_effort_rises_in_patience_and_falls_in_the_fallback() -> None:
    by_delta = efforts([(delta, 0.05) for delta in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)])
    assert by_delta == sorted(by_delta) and by_delta[0] < by_delta[3] < by_delta[-1] == 1.0
    by_fallback = efforts([(0.6, f) for f in (0.0, 0.1, 0.2, 0.25, 0.299)])
    assert by_fallback == sorted(by_fallback, reverse=True) and by_fallback[0] == 1.0 > by_fallback[-1]


@pytest.mark.parametrize("delta", [0.2, 0.5, 0.8])
def test_a_better_formal_contract_can_crowd_the_relationship_out(delta: float) -> None:
    """At f = delta / 2 the surplus falls from delta - delta^2 / 2 to delta / 2, and efforts from delta to none."""
    below, above = make(delta, delta / 2 - 1e-9), make(delta, delta / 2 + 1e-9)
    assert below.best_effort == pytest.approx(delta, abs=1e-4) and above.best_effort is None
    before = play(below, equilibrium(), worlds=2000, seed=0).welfare.mean()
    after = play(above, equilibrium(), worlds=2000, seed=0).welfare.mean()
    assert after / before == pytest.approx((delta / 2) / (delta - delta**2 / 2), abs=1e-3)
    assert after < before


# ---- the game -----------------------------------------------------------------------------------------------------


def one_round(
    game: Relational,
    salary: float,
    promise: float,
    required: float,
    accept: int,
    effort: float,
    bonus: float,
    state: Any,
) -> Any:
    acts = {
        "principal": {"salary": salary, "promise": promise, "required": required, "bonus": bonus},
        "agent": {"accept": accept, "effort": effort},
    }
    given = {role: {name: np.array([[value]]) for name, value in fields.items()} for role, fields in acts.items()}
    for _ in game.stages:
        done = game.step(state, given, np.array([[0.1]]))
        state = done.state
    return done


@pytest.mark.parametrize(
    ("accept", "effort", "bonus", "broken", "profit", "pay"),
    [
        (1, 0.6, 0.2, 0, 0.6 - 0.1 - 0.2, 0.1 + 0.2 - 0.18),  # both keep their word
        (1, 0.9, 0.3, 0, 0.9 - 0.1 - 0.3, 0.1 + 0.3 - 0.405),  # both do more
        (1, 0.5, 0.2, 1, 0.5 - 0.1 - 0.2, 0.1 + 0.2 - 0.125),  # the agent shirks, though it gets the bonus
        (1, 0.6, 0.1, 1, 0.6 - 0.1 - 0.1, 0.1 + 0.1 - 0.18),  # the principal reneges
        (1, 0.5, 0.0, 1, 0.5 - 0.1, 0.1 - 0.125),
        (0, 0.0, 0.0, 0, 0.05, 0.05),  # no offer was taken, no promise is due
        (0, 0.6, 0.7, 0, 0.05, 0.05),
    ],
)
def test_pay_and_trust_are_what_the_rules_say(
    accept: int, effort: float, bonus: float, broken: int, profit: float, pay: float
) -> None:
    game = make(0.8, 0.1)
    done = one_round(game, 0.1, 0.2, 0.6, accept, effort, bonus, game.start(np.zeros((1, 1))))
    assert done.rewards["principal"][0, 0] == pytest.approx(profit)
    assert done.rewards["agent"][0, 0] == pytest.approx(pay)
    assert done.welfare[0] == pytest.approx(profit + pay)
    assert {role: int(seen["trust"][0, 0]) for role, seen in game.view(done.state).items()} == {
        "principal": broken,
        "agent": broken,
    }
    after = one_round(game, 0.1, 0.2, 0.6, 1, 0.6, 0.2, done.state)
    assert int(after.state.memory["trust"][0]) == broken  # what is broken stays so


def test_measures_of_four_rounds() -> None:
    game = make(0.8, 0.1)
    first = one_round(game, 0.0, 0.2, 0.6, 1, 0.6, 0.2, game.start(np.zeros((1, 1))))
    second = one_round(game, 0.0, 0.2, 0.4, 1, 0.4, 0.1, first.state)
    third = one_round(game, 0.0, 0.2, 0.6, 0, 0.9, 0.3, second.state)
    fourth = one_round(game, 0.0, 0.2, 0.6, 1, 0.5, 0.0, third.state)
    found = {name: float(values[0]) for name, values in game.measures(fourth.state).items()}
    assert found == pytest.approx(
        {
            "effort": 0.5,
            "bonus": 0.1,
            "kept": 0.5,
            "trust": 2 / 4,
            "accepted": 3 / 4,
            "profit": (0.4 + 0.3 + 0.05 + 0.5) / 4,
            "rent": (0.2 - 0.18 + 0.1 - 0.08 - 0.125 - 3 * 0.05) / 4,
        }
    )


def test_chance_ends_the_relationship() -> None:
    game = make(0.8)
    play_ = game.benchmarks().equilibrium.play
    assert play_ is not None
    state = game.start(np.zeros((2, 1)))
    for stage in range(3):
        seen = game.view(state)
        done = game.step(state, {role: play_[role](seen[role]) for role in play_}, np.array([[0.79], [0.81]]))
        assert done.done.tolist() == [False, stage == 2]
        state = done.state


def test_what_a_court_could_establish() -> None:
    """Payments and consent, neither effort nor what was promised for it."""
    for role in Relational().roles:
        assert {f.name for f in role.sees if f.verifiable} == {"salary", "accept", "bonus"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"delta": 0.4, "fallback": 0.04, "cost": 3.0, "max_pay": 0.5 / 3.0, "repetitions": 13},
        {"delta": 0.6, "fallback": 0.25, "repetitions": 23},
        {"delta": 0.3, "fallback": 0.2, "repetitions": 10},
        {"delta": 0.02, "repetitions": 3},
        {"delta": 0, "repetitions": 1},
    ],
)
def test_examined(options: dict[str, Any]) -> None:
    check_game(Relational(**options))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Relational(delta=0.1, fallback=0.02, repetitions=5))


def test_the_numbers_are_in_the_words() -> None:
    about = Relational(0.75, 0.3, 0.8, repetitions=47).about
    assert all(number in about for number in ("0.4 e^2", "1.25", "0.15", "0.25", "round 47"))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"delta": 1.0}, "delta: a number from 0 to 0.99, got 1.0"),
        ({"fallback": 0.6}, "fallback: a number from 0 to 0.5, got 0.6"),
        ({"fallback": -0.1}, "fallback: a number from 0 to 0.5, got -0.1"),
        ({"cost": 0.0}, "cost: a number from 0.001 to 1000, got 0.0"),
        ({"max_pay": 0.3}, "max_pay: a number from 0.5 to 1e\\+06, got 0.3"),
        ({"repetitions": 10}, "repetitions: at least 52 at delta=0.8, .* got 10"),
        ({"repetitions": 2.5}, "repetitions: a whole number from 1 to 1000000, got 2.5"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Relational(**wrong)


def test_the_least_number_of_repetitions_is_accepted() -> None:
    assert Relational(repetitions=52).delta ** 52 <= 1e-5 < 0.8**51
    assert Relational(delta=0.1, repetitions=5).expected_rounds == pytest.approx(1.1111)
