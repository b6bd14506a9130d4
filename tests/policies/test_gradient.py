"""Policy gradient: it finds answers that theory knows, alone and in pairs, and keeps what every policy promises."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import societas
from societas.envs.core.arrays import Array, namespace, to_float, to_int
from societas.envs.core.chance import normal
from societas.envs.core.fields import Choice, Field, Integer, Real, Role
from societas.envs.core.game import Acts, Benchmarks, Level, Stage
from societas.envs.core.rounds import Record, RoundGame, Settled
from societas.policies import gradient
from societas.policies.gradient import PolicyGradient
from societas.policies.random import Random
from societas.testing import check_policy

NOTHING = Level(0.0, "not asked for here")


@dataclass(frozen=True)
class Linear(RoundGame):
    """Linear pay for output with noise of variance 1/2; effort costs e^2/2, risk slope^2/2: the best slope is 1/2."""

    repetitions: int = 1
    luck = 2
    stages = (Stage("offer", "an offer"), Stage("answer", "an answer"))
    about = "A principal and an agent."

    def cast(self) -> tuple[Role, ...]:
        base, slope = Field("base", Real(-1.0, 1.0), "flat pay"), Field("slope", Real(0.0, 1.0), "pay a unit")
        accept = Field("accept", Choice(("refuse", "accept")), "taken?", stage="answer")
        effort = Field("effort", Real(0.0, 1.0), "effort", stage="answer")
        offer = (replace(base, stage="offer"), replace(slope, stage="offer"))
        return Role("principal", 1, (base, slope), offer), Role("agent", 1, (base, slope), (accept, effort))

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        base, slope, effort = acts["principal"]["base"], acts["principal"]["slope"], acts["agent"]["effort"]
        hired = to_float(acts["agent"]["accept"])
        output = effort + 0.5**0.5 * normal(u[..., 0], u[..., 1])
        pay, cost = base + slope * output, (effort**2 + slope**2) / 2
        return Settled(
            {"principal": hired * (output - pay), "agent": hired * (pay - cost)}, hired * (effort - cost), {}
        )

    def benchmarks(self) -> Benchmarks:
        return Benchmarks(first_best=Level(0.5, "no risk"), equilibrium=Level(0.25, "slope 1/2"))


@functools.cache
def linear_pair() -> tuple[PolicyGradient, PolicyGradient]:
    """The agent learns what to answer to any offer, then the principal what to offer to that agent."""
    game = Linear()
    agent = PolicyGradient((32,), rate=1e-2, spread=(0.3, 0.1))
    agent = agent.learn(game, "agent", episodes=400, sessions=4096, seed=4, others={"principal": Random()})
    principal = PolicyGradient((), spread=(0.1, 0.005), start={"base": 0.5, "slope": 0.0})
    return agent, principal.learn(game, "principal", episodes=500, seed=5, others={"agent": agent})


def answers(agent: PolicyGradient, base: Array, slope: Array) -> Acts:
    """Return the agent's acts at offers (worlds,)."""
    one = np.ones((len(base), 1), dtype=np.int64)
    seen = {"stage": one, "round": one, "base": base[:, None], "slope": slope[:, None]}
    return agent.bind(Linear(), "agent", (0,)).act(seen, one[:, 0], np.zeros((len(base), 1, 0)), None)[0]


def test_an_agent_learns_its_answer_to_every_offer() -> None:
    """Effort is the slope; the offer is taken where base + slope^2/2 - slope^2/2 is above 0."""
    agent, _ = linear_pair()
    slope, base = (part.reshape(-1) for part in np.meshgrid(np.linspace(0, 1, 21), np.linspace(-1, 1, 201)))
    acts = answers(agent, base, slope)
    good = base > 0.05
    assert np.abs(acts["effort"][:, 0] - slope)[good].mean() < 0.04
    assert (acts["accept"][good] == 1).all()
    assert (acts["accept"][base < -0.05] == 0).all()


def test_a_pair_learns_the_optimal_linear_contract() -> None:
    agent, principal = linear_pair()
    episodes = societas.play(Linear(), {"agent": agent, "principal": principal}, worlds=4_000, keep=True)
    offer = episodes.moments[0].acts["principal"]
    assert offer["slope"][0, 0] == pytest.approx(0.5, abs=0.1)
    assert offer["base"][0, 0] == pytest.approx(0.0, abs=0.06)
    assert episodes.welfare.mean() == pytest.approx(0.25, abs=0.03)
    assert episodes.returns["principal"].mean() > 0.18


def test_what_was_learned_is_a_policy() -> None:
    agent, principal = linear_pair()
    check_policy(agent, Linear(), "agent")
    check_policy(principal, Linear(), "principal")
    agent.sample = True  # draws with its last spread
    try:
        check_policy(agent, Linear(), "agent")
        drawn = [societas.play(Linear(), {"agent": agent}, worlds=500, seed=s, keep=True) for s in (1, 1, 2)]
        efforts = [part.moments[1].acts["agent"]["effort"] for part in drawn]
        np.testing.assert_array_equal(efforts[0], efforts[1])
        assert not np.array_equal(efforts[0], efforts[2])
        assert 0.01 < efforts[0].std() < 0.1
    finally:
        agent.sample = False


def test_save_and_load(tmp_path: Path) -> None:
    agent, _ = linear_pair()
    agent.save(tmp_path / "agent")
    again = PolicyGradient.load(tmp_path / "agent")
    offers = np.random.default_rng(0).uniform(0, 1, (2, 100))
    for name, values in answers(agent, *offers).items():
        np.testing.assert_array_equal(answers(again, *offers)[name], values)
    assert (again.hidden, again.rate, again.spread) == (agent.hidden, agent.rate, agent.spread)
    with pytest.raises(ValueError, match=r"principal of Linear decides .* but learned was"):
        again.bind(Linear(), "principal", (0,))
    with pytest.raises(FileNotFoundError, match="no card.json"):
        PolicyGradient.load(tmp_path)
    with pytest.raises(RuntimeError, match="nothing learned yet"):
        PolicyGradient().save(tmp_path)


def test_the_seed_decides_and_nothing_global_is_touched() -> None:
    import torch

    game, threads, state = Linear(), torch.get_num_threads(), torch.get_rng_state()
    others = {"principal": Random()}
    one, same, other = (
        PolicyGradient((8,)).learn(game, "agent", episodes=5, sessions=64, seed=seed, others=others)
        for seed in (1, 1, 2)
    )
    for name, values in one.weights.items():
        np.testing.assert_array_equal(values, same.weights[name])
    assert one.curve == same.curve
    assert not np.array_equal(one.weights["weight.0"], other.weights["weight.0"])
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_worlds_of_torch_teach_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """On another device than the host the worlds are torch's; here they are, on the host."""
    game, others = Linear(), {"principal": Random()}

    def learn() -> PolicyGradient:
        return PolicyGradient((8,)).learn(game, "agent", episodes=3, sessions=64, others=others)

    host = learn()
    worlds = gradient.Worlds
    monkeypatch.setattr(gradient, "Worlds", lambda *args, **kw: worlds(*args, **{**kw, "backend": "torch"}))
    for name, values in learn().weights.items():
        np.testing.assert_allclose(values, host.weights[name], atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_learners_of_one_role_find_the_dominant_action(shared: bool) -> None:
    game = societas.make("MatrixGame")  # a prisoner's dilemma
    learner = PolicyGradient((8,), rate=1e-2, shared=shared).learn(game, "player", episodes=60, sessions=256, seed=1)
    assert (societas.play(game, {"player": learner}, worlds=8).welfare == 2).all()
    assert learner.curve[0] > learner.curve[-1]  # two who learn to defect
    check_policy(learner, game)


@dataclass(frozen=True)
class Places(RoundGame):
    """Each of three players is paid 1 for an action of its own: player i for action i. Only some decide ``side``."""

    repetitions: int = 1

    about = "Go where you belong."

    def cast(self) -> tuple[Role, ...]:
        place = Field("place", Choice(("a", "b", "c")), "where to go")
        side = Field("side", Integer(-40, 40), "the side", by=(1,))
        return (Role("walker", 3, (), (place, side)),)

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        place, side = acts["walker"]["place"], acts["walker"]["side"]
        right = to_float(place == namespace(place).cumulative_sum(place * 0 + 1, axis=-1) - 1)
        paid = right - abs(side[..., 1:2] - 20) / 40.0
        return Settled({"walker": paid}, namespace(paid).sum(paid, axis=-1), {})

    def benchmarks(self) -> Benchmarks:
        return Benchmarks(first_best=Level(3.0, "all in place"), equilibrium=NOTHING)


def test_seats_may_learn_apart_and_large_numbers_have_levels() -> None:
    game = Places()
    apart = PolicyGradient((8,), rate=2e-2, levels=9, shared=False).learn(game, "walker", episodes=150, sessions=256)
    episodes = societas.play(game, {"walker": apart}, keep=True)
    acts = episodes.moments[0].acts["walker"]
    assert acts["place"][0].tolist() == [0, 1, 2]
    assert acts["side"][0, 1] == 20  # of -40, -30, ..., 40
    check_policy(apart, game)
    alike = PolicyGradient((8,), rate=2e-2, levels=9).learn(game, "walker", episodes=20, sessions=256)
    places = societas.play(game, {"walker": alike}, keep=True).moments[0].acts["walker"]["place"]
    assert len(set(places[0].tolist())) == 1  # who see the same and share a network do the same


@dataclass(frozen=True)
class Saving(RoundGame):
    """Giving up 1 now pays 2 in the next round. In half of the worlds the episode ends after the first round of three."""

    repetitions: int = 3
    short: bool = False
    luck = 1
    about = "Save or spend."

    def cast(self) -> tuple[Role, ...]:
        wealth, mood = Field("saved", Integer(0, 1), "savings"), Field("mood", Real(), "of no meaning")
        return (Role("saver", 1, (wealth, mood), (Field("act", Choice(("spend", "save")), "what to do"),)),)

    def recall(self, like: Array) -> Record:
        return {"saved": like, "mood": like * 0.0}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        saves = acts["saver"]["act"]
        paid = 1.0 - saves + 2.0 * memory["saved"]
        over = (u[..., 0] < 0.5) if self.short else (u[..., 0] < 0.0)
        return Settled({"saver": paid}, paid, {}, {"saved": to_int(saves), "mood": 1e6 + 1e3 * u[..., 0]}, over)

    def benchmarks(self) -> Benchmarks:
        return Benchmarks(first_best=Level(5.0, "save, save, spend"), equilibrium=NOTHING)


@pytest.mark.parametrize(("gamma", "expected"), [(1.0, 5.0), (0.2, 3.0)])
def test_patience_saves_and_impatience_spends(gamma: float, expected: float) -> None:
    learner = PolicyGradient((16,), rate=1e-2, gamma=gamma).learn(Saving(), "saver", episodes=120, sessions=256, seed=2)
    assert societas.play(Saving(), {"saver": learner}, worlds=5).welfare.tolist() == [expected] * 5


def test_worlds_that_have_ended_teach_nothing() -> None:
    """With chances even, the mean return is 1/2 in round 1, and later 1/2 plus 1, in the worlds that go on."""
    learner = PolicyGradient((), rate=1e-9).learn(Saving(short=True), "saver", episodes=1, sessions=40_000, seed=3)
    assert learner.curve[0] == pytest.approx(0.5 + 0.5 * 1.5 + 0.25 * 1.5, abs=0.03)
    patient = PolicyGradient((16,), rate=1e-2).learn(Saving(short=True), "saver", episodes=150, sessions=512, seed=2)
    welfare = societas.play(Saving(short=True), {"saver": patient}, worlds=400).welfare
    assert set(welfare.tolist()) <= {1.0, 0.0, 2.0, 3.0, 5.0, 4.0}
    assert welfare.mean() >= 0.999  # at even odds of going on saving is worth what it costs


def test_numbers_without_bounds_are_standardised() -> None:
    @dataclass(frozen=True)
    class Sign(RoundGame):
        """One who sees a number about 500 says on which side of 500 it is."""

        repetitions: int = 1
        nature = 2
        about = "Say on which side."

        def cast(self) -> tuple[Role, ...]:
            side = Field("side", Choice(("below", "above")), "the side")
            return (Role("judge", 1, (Field("x", Real(low=0.0), "the number"),), (side,)),)

        def open(self, u: Array) -> Record:
            return {"x": 500.0 + normal(u[..., 0], u[..., 1])}

        def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
            right = to_float((acts["judge"]["side"] == 1) == (nature["x"] > 500.0))
            return Settled({"judge": right}, right, {})

        def benchmarks(self) -> Benchmarks:
            return Benchmarks(first_best=Level(1.0, "always right"), equilibrium=NOTHING)

    learner = PolicyGradient((8,), rate=1e-2).learn(Sign(), "judge", episodes=60, sessions=256)
    assert societas.play(Sign(), {"judge": learner}, worlds=2_000).welfare.mean() > 0.97
    check_policy(learner, Sign())


def test_a_start_is_where_learning_starts() -> None:
    game = Linear()
    first = PolicyGradient((), rate=1e-9, start={"base": -0.5, "slope": 0.25})
    first = first.learn(game, "principal", episodes=1, sessions=8)
    acts = societas.play(game, {"principal": first}, keep=True).moments[0].acts["principal"]
    assert acts["base"][0, 0] == pytest.approx(-0.5, abs=0.05)
    assert acts["slope"][0, 0] == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"start": {"wage": 1.0}}, KeyError, "start: principal has no field 'wage'; it has: base, slope"),
        ({"start": {"slope": 2.0}}, ValueError, "start: slope: a number from 0 to 1, got 2.0"),
        ({"start": {"slope": [0.0, 1.0]}}, ValueError, r"'slope' is a number from 0 to 1 , and cannot start at"),
        ({"rate": -1.0}, ValueError, "rate: a number from 1e-09 to 1, got -1.0"),
        ({"hidden": (0,)}, ValueError, "hidden: a whole number from 1 to 100000, got 0"),
        ({"gamma": 1.5}, ValueError, "gamma: a number from 0 to 1, got 1.5"),
        ({"spread": (0.0, 0.1)}, ValueError, "spread: a number from 1e-06 to 10, got 0.0"),
        ({"levels": 1}, ValueError, "levels: a whole number from 2"),
    ],
)
def test_bad_parameters_are_named(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PolicyGradient(**options).learn(Linear(), "principal", episodes=1, sessions=4)


def test_acts_without_bounds_are_refused() -> None:
    class Loose(Linear):
        def cast(self) -> tuple[Role, ...]:
            principal, agent = super().cast()
            return principal, replace(agent, acts=(agent.acts[0], replace(agent.acts[1], space=Real(low=0.0))))

    with pytest.raises(ValueError, match="field 'effort' of agent"):
        PolicyGradient().learn(Loose(), "agent", episodes=1)


@pytest.mark.slow
def test_a_seller_who_starts_with_gifts_learns_to_screen() -> None:
    """Serving the high type only is a local optimum, of profit 0.5625; the menu of two items gets 0.625."""
    game = societas.make("Screening")
    agent = PolicyGradient().learn(game, "agent", episodes=1200, seed=1, others={"principal": Random()})
    start = {"quality": 0.5, "price": 0.25}
    principal = PolicyGradient((), spread=(0.05, 0.001), start=start)
    principal = principal.learn(game, "principal", episodes=1000, seed=2, others={"agent": agent})
    episodes = societas.play(game, {"principal": principal, "agent": agent}, worlds=4_000)
    assert episodes.measures["served"].mean() == 1.0
    assert episodes.measures["profit"].mean() > 0.585
