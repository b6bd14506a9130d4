"""PPO: its formulas by hand, what it finds where theory knows the answer, and that stopping it changes nothing."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import societas
from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.contracting.multitask import Multitask
from societas.envs.core.arrays import Array, namespace, to_float, to_int
from societas.envs.core.fields import Choice, Field, Integer, Real, Role
from societas.envs.core.game import Acts, Benchmarks, Level, Seen, Stage
from societas.envs.core.rounds import Record, RoundGame, RoundState, Settled
from societas.envs.norms.matrix_game import MatrixGame
from societas.policies.random import Random
from societas.policies.rl import PPO, Pool, Stopped, fictitious_play, leader_follower, train
from societas.policies.rl.heads import draw, likelihood
from societas.policies.rl.learner import advantages, clipped
from societas.testing import check_policy

torch = pytest.importorskip("torch")

NOTHING = Level(0.0, "not asked for here")


@dataclass(frozen=True)
class Mixed(RoundGame):
    """Decides at two stages: a choice, then two real numbers and a whole one; the best are "b", (0.5, -0.5) and 3."""

    repetitions: int = 2
    stages = (Stage("first", "a choice"), Stage("second", "numbers"))
    about = "Guess what is wanted."

    def cast(self) -> tuple[Role, ...]:
        pick = Field("pick", Choice(("a", "b")), "a choice", stage="first")
        aims = Field("aims", Real(-1.0, 1.0), "two numbers", each=("x", "y"), stage="second")
        count = Field("count", Integer(0, 4), "a whole number", stage="second")
        return (Role("guesser", 2, (), (pick, aims, count)),)

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        mine = acts["guesser"]
        miss = (mine["aims"][..., 0] - 0.5) ** 2 + (mine["aims"][..., 1] + 0.5) ** 2
        pay = to_float(mine["pick"]) - miss - 0.1 * to_float(mine["count"] - 3) ** 2
        return Settled({"guesser": pay}, pay.sum(axis=-1), {}, memory)

    def benchmarks(self) -> Benchmarks:
        return Benchmarks(first_best=Level(2.0 * self.repetitions, "all right"), equilibrium=NOTHING)


@dataclass(frozen=True)
class Recall(RoundGame):
    """A cue is seen in the first of three rounds only, and 1 is paid if it is named in the last: 1/2 by luck."""

    repetitions: int = 3
    nature = 1
    about = "Remember the cue."

    def cast(self) -> tuple[Role, ...]:
        cue = Field("cue", Choice(("left", "right", "none")), "the cue")
        return (Role("player", 1, (cue,), (Field("named", Choice(("left", "right")), "which it was"),)),)

    def open(self, u: Array) -> Record:
        return {"drawn": to_int(u[..., 0] < 0.5)}

    def recall(self, like: Array) -> Record:
        return {"first": like, "round": like}

    def own(self, state: RoundState) -> dict[str, Seen]:
        cue = namespace(state.played).where(state.played == 0, state.nature["drawn"], state.played * 0 + 2)
        return {"player": {"cue": cue[..., None]}}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        opening, closing = memory["round"] == 0, memory["round"] == 2
        first = namespace(opening).where(opening, nature["drawn"], memory["first"])
        pay = to_float(closing & (acts["player"]["named"] == first))
        return Settled({"player": pay}, pay, {}, {"first": first, "round": memory["round"] + 1})

    def benchmarks(self) -> Benchmarks:
        return Benchmarks(first_best=Level(1.0, "remembered"), equilibrium=NOTHING)


def dilemma(rounds: int = 1) -> MatrixGame:
    return MatrixGame.prisoners_dilemma(rounds=rounds)


def heads() -> Any:
    return PPO().bind(Mixed(), "guesser", (0, 1))._heads


# ---- formulas ------------------------------------------------------------------------------------------------------


def test_advantages_by_hand() -> None:
    """Three steps, the second of which ends an episode; gamma 1/2, lambda 1/2, values 1, 2, 3, 4, rewards 1, 10, 100."""
    reward = torch.tensor([1.0, 10.0, 100.0])[:, None, None]
    values = torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None]
    discount = torch.tensor([0.5, 0.0, 0.5])[:, None]
    last = 100.0 + 0.5 * 4.0 - 3.0
    middle = 10.0 - 2.0
    first = 1.0 + 0.5 * 2.0 - 1.0 + 0.5 * 0.5 * middle
    assert advantages(reward, values, discount, 0.5)[:, 0, 0].tolist() == [first, middle, last]


def test_with_trace_1_advantages_are_returns_less_values() -> None:
    generator = torch.Generator().manual_seed(0)
    reward, values = torch.rand(6, 4, 2, generator=generator), torch.rand(7, 4, 2, generator=generator)
    discount = torch.full((6, 4), 0.9)
    later = values[-1]
    for step in reversed(range(6)):
        later = reward[step] + 0.9 * later
        np.testing.assert_allclose(advantages(reward, values, discount, 1.0)[step], later - values[step], atol=1e-5)


def test_the_gradient_of_the_clipped_objective_by_hand() -> None:
    """It is q A where the odds may still change in that direction, and 0 where they have changed enough."""
    odds = [1.5, 1.5, 0.5, 0.5, 1.1]
    gain = [1.0, -1.0, 1.0, -1.0, 2.0]
    change = torch.tensor(odds).log().requires_grad_()
    merit = clipped(change, torch.tensor(gain), 0.2)
    assert merit.tolist() == pytest.approx([1.2, -1.5, 0.5, -0.8, 2.2])
    (slope,) = torch.autograd.grad(merit.sum(), change)
    assert slope.tolist() == pytest.approx([0.0, -1.5, 0.5, 0.0, 2.2])


def test_log_probability_and_its_gradient_of_mixed_heads() -> None:
    """Against the formula of a categorical and of a normal distribution, and against finite differences."""
    which, generator = heads(), torch.Generator().manual_seed(1)
    outputs = torch.randn(7, which[-1].outputs.stop, generator=generator, dtype=torch.float64)
    log_sd = torch.tensor([-0.3, 0.2], dtype=torch.float64)
    drawn = draw(which, outputs, log_sd, torch.rand(7, len(which), generator=generator, dtype=torch.float64)).double()
    asked = (torch.rand(7, len(which), generator=generator) < 0.6).double()
    log_p, entropy = likelihood(which, outputs, log_sd, drawn, asked)
    for row in range(7):
        expected, spread = 0.0, 0.0
        for i, (begin, stop) in enumerate([(0, 2), (2, 3), (3, 4), (4, 9)]):
            if not asked[row, i]:
                continue
            part = outputs[row, begin:stop].numpy()
            if stop - begin > 1:
                p = np.exp(part) / np.exp(part).sum()
                expected += math.log(p[int(drawn[row, i])])
                spread -= float((p * np.log(p)).sum())
            else:
                sd = math.exp(log_sd[i - 1])
                apart = (float(drawn[row, i]) - part[0]) / sd
                expected += -0.5 * apart**2 - math.log(sd * math.sqrt(2 * math.pi))
                spread += 0.5 * math.log(2 * math.pi * math.e * sd**2)
        assert float(log_p[row]) == pytest.approx(expected)
        assert float(entropy[row]) == pytest.approx(spread)

    def total(outputs: Any, log_sd: Any) -> Any:
        return torch.stack([part.sum() for part in likelihood(which, outputs, log_sd, drawn, asked)])

    inputs = (outputs.requires_grad_(), log_sd.requires_grad_())
    assert torch.autograd.gradcheck(total, inputs, eps=1e-6, atol=1e-6)


def test_what_is_not_asked_has_no_gradient() -> None:
    which = heads()
    outputs = torch.zeros(1, which[-1].outputs.stop, requires_grad=True)
    log_sd, asked = torch.zeros(2, requires_grad=True), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    log_p, entropy = likelihood(which, outputs, log_sd, torch.tensor([[1.0, 0.3, 0.3, 2.0]]), asked)
    slopes = torch.autograd.grad((log_p + entropy).sum(), (outputs, log_sd))
    assert slopes[0][0, :2].abs().sum() > 0.5 and not slopes[0][0, 2:].any() and not slopes[1].any()


def test_draws_follow_their_distribution() -> None:
    which, outputs = heads(), torch.tensor([0.0, 1.0, 0.5, -0.5, 0.0, 1.0, -1.0, 2.0, 0.0]).expand(40_000, 9)
    u = torch.rand(40_000, len(which), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    drawn = draw(which, outputs, torch.tensor([0.2, 0.4]).log(), u)
    for place, part in ((0, slice(0, 2)), (3, slice(4, 9))):
        odds = torch.softmax(outputs[0, part], dim=-1)
        shares = torch.bincount(drawn[:, place].long(), minlength=len(odds)) / 40_000
        assert shares.numpy() == pytest.approx(odds.numpy(), abs=0.01)
    assert drawn[:, 1:3].mean(dim=0).tolist() == pytest.approx([0.5, -0.5], abs=0.01)
    assert drawn[:, 1:3].std(dim=0).tolist() == pytest.approx([0.2, 0.4], abs=0.01)


# ---- what it finds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("critic", ["shared", "independent", "central"])
def test_dilemma_ends_in_defection(shared: bool, critic: str) -> None:
    game = dilemma(rounds=2)
    learned = PPO(hidden=(16,), critic=critic, shared=shared).learn(game, "player", episodes=40, sessions=64)
    assert societas.play(game, {"player": learned}, worlds=4).measures["first_action"].max() == 0.0
    assert learned.curve[0] > 4.0 and learned.curve[-1] == pytest.approx(2.0, abs=0.3)
    check_policy(learned, game)


def test_dominance_solvable_game() -> None:
    """(Down, Right) is what is left when dominated actions go: Right for player 1, then Down for player 0."""
    game = MatrixGame((((1, 0, 2), (0, 0, 1), (0, 1, 3)), ((0, 1, 2), (0, 1, 2), (0, 1, 2))), ("one", "two", "three"))
    learned = PPO(hidden=(16,), shared=False, critic="central", rate=1e-2).learn(
        game, "player", episodes=40, sessions=64
    )
    episodes = societas.play(game, {"player": learned}, worlds=2)
    assert episodes.returns["player"].tolist() == [[3.0, 2.0]] * 2


def test_fictitious_play_of_matching_pennies() -> None:
    """The pools' mixtures are near heads half of the time, which learners that follow each other never keep to."""
    game = MatrixGame.matching_pennies()
    learner = PPO(hidden=(), rate=0.1, epochs=2)
    pools = fictitious_play(game, learner, generations=20, episodes=4, sessions=64, seed=3)
    episodes = societas.play(game, pools, worlds=4000, seed=1, keep=True)
    heads_up = (episodes.moments[0].acts["player"]["action"] == 0).mean(axis=0)
    assert len(pools["player_0"].members) == 20
    assert np.abs(heads_up - 0.5).max() < 0.25
    assert np.abs(episodes.returns["player"].mean(axis=0)).max() < 0.25
    check_policy(pools["player_0"], game)


def test_all_kinds_of_acts_at_two_stages() -> None:
    game = Mixed()
    learned = PPO(hidden=(16,), rate=2e-2, minibatches=2).learn(game, "guesser", episodes=60, sessions=96)
    episodes = societas.play(game, {"guesser": learned}, worlds=2, keep=True)
    acts = episodes.moments[1].acts["guesser"]
    np.testing.assert_allclose(acts["aims"], np.broadcast_to([0.5, -0.5], (2, 2, 2)), atol=0.1)
    assert (acts["count"] == 3).all()
    assert episodes.returns["guesser"].min() > 1.9
    check_policy(learned, game)


def test_a_memory_recalls_a_cue() -> None:
    """Without one the best is luck, 1/2. Updates after every four steps cut some episodes of three in two."""
    for width, share in ((0, 0.5), (8, 1.0)):
        learner = PPO(hidden=(8,), memory=width, rate=2e-2, steps=4, minibatches=2)
        learned = learner.learn(Recall(), "player", episodes=45, sessions=96)
        returns = societas.play(Recall(), {"player": learned}, worlds=400, seed=9).returns["player"]
        assert returns.mean() == pytest.approx(share, abs=0.1 if share < 1.0 else 0.02)
        check_policy(learned, Recall())


def test_one_player_learns_against_the_others() -> None:
    """Who knows that the other hunts stags joins it; who knows that the other hunts hares does too."""
    game = MatrixGame.stag_hunt()
    for other, action in (("stag", 0), ("hare", 1)):
        rival = societas.policy("constant", acts={"action": other})
        learned = PPO(hidden=(8,)).learn(game, "player_1", episodes=30, sessions=64, others={"player": rival})
        acts = societas.play(game, {"player": rival, "player_1": learned}, worlds=2, keep=True).moments[0].acts
        assert (acts["player"]["action"] == action).all()
        assert learned.learned["seats"] == [1]


def test_players_of_a_role_may_learn_apart() -> None:
    game = dilemma()
    learned = train(game, {"player_0": PPO(hidden=(8,)), "player_1": PPO(hidden=(8,))}, episodes=30, sessions=64)
    assert societas.play(game, learned, worlds=2).measures["first_action"].max() == 0.0
    assert learned["player_0"].curve != learned["player_1"].curve


@pytest.mark.slow
@pytest.mark.parametrize("risk_aversion", [1.0, 4.0])
def test_a_principal_over_an_agent_that_learns(risk_aversion: float) -> None:
    """Effort is the slope, and the slope offered is about 1/(1 + r c s2) (Holmstrom and Milgrom 1987)."""
    game = Multitask.linear(risk_aversion=risk_aversion, cost=1.0, noise=0.5)
    agent = PPO(hidden=(32,), rate=1e-2, spread=(0.3, 0.1), minibatches=1, epochs=3)
    start = {"base": 0.5, "slopes": 0.3}
    principal = PPO(hidden=(), rate=1e-2, spread=(0.15, 0.02), start=start, entropy=0.0, minibatches=1, epochs=3)
    learned = leader_follower(
        game, {"principal": principal}, {"agent": agent}, episodes=(300, 300), sessions=1024, seed=1
    )
    episodes, second_best = societas.play(game, learned, worlds=100, seed=2), game.benchmarks().second_best
    assert episodes.measures["slope"].mean() == pytest.approx(game.optimal_slopes[0], abs=0.15)
    assert episodes.measures["accepted"].min() == 1.0
    assert second_best is not None and episodes.welfare.mean() > 0.75 * second_best.value


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_principal_learns_the_bonus_for_hidden_effort(seed: int) -> None:
    """Theory pays 0 and 6.25 for the high effort (Grossman and Hart 1983): profit 11; flat pay for the low one gets 7."""
    game = HiddenAction()
    agent = PPO(hidden=(32, 32), rate=5e-3)
    principal = PPO(hidden=(), rate=5e-3, spread=(0.05, 0.01), entropy=0.0, minibatches=1, epochs=3)
    learned = leader_follower(game, {"principal": principal}, {"agent": agent}, episodes=(300, 200), seed=seed)
    episodes, second_best = societas.play(game, learned, worlds=4000, seed=2, keep=True), game.benchmarks().second_best
    pay = episodes.moments[0].acts["principal"]["pay"][0, 0]
    assert second_best is not None and game.expected(game.optimal_pay)[0] == pytest.approx(11.0)
    assert episodes.measures["effort"].min() == 1.0 and episodes.measures["accepted"].min() == 1.0
    np.testing.assert_allclose(pay, game.optimal_pay, atol=1.5)
    assert episodes.measures["profit"].mean() == pytest.approx(11.0, rel=0.1)
    assert episodes.welfare.mean() == pytest.approx(second_best.value, rel=0.05)


def test_leaders_choose_among_random_starts() -> None:
    """What is offered at random is at the bounds half of the time; an act that has a start keeps it."""
    from societas.policies.rl import bilevel

    offers = [begun["principal"].start["pay"] for begun in bilevel._begun(HiddenAction(), {"principal": PPO()}, 400, 3)]
    for bound in (0.0, 10.0):
        assert (np.array(offers) == bound).mean(axis=0) == pytest.approx([0.25, 0.25], abs=0.08)
    assert 3.0 < np.array(offers)[(np.array(offers) % 10.0) > 0.0].mean() < 7.0
    assert not bilevel._begun(HiddenAction(), {"principal": PPO(start={"pay": [1.0, 2.0]})}, 4, 3)
    acts = societas.play(Mixed(), {"guesser": bilevel.Corners()}, worlds=400, keep=True).moments[1].acts["guesser"]
    assert np.bincount(acts["count"].ravel(), minlength=5) / 800 == pytest.approx([0.35, 0.1, 0.1, 0.1, 0.35], abs=0.06)
    assert acts["count"].dtype.kind == "i"


@pytest.mark.slow
def test_two_timescales() -> None:
    """The principal follows slowly an agent that learns fast: slope 1/2 where r = 2."""
    game = Multitask.linear(risk_aversion=2.0, cost=1.0, noise=0.5)
    common: dict[str, Any] = {"minibatches": 1, "epochs": 3}
    agent = PPO(hidden=(32,), rate=1e-2, spread=(0.3, 0.1), **common)
    principal = PPO(hidden=(), rate=3e-4, spread=(0.3, 0.1), start={"base": 0.3, "slopes": 0.3}, entropy=0.0, **common)
    learned = train(game, {"principal": principal, "agent": agent}, episodes=600, sessions=1024)
    measures = societas.play(game, learned, worlds=100, seed=2).measures
    assert measures["slope"].mean() == pytest.approx(game.optimal_slopes[0], abs=0.15)
    assert measures["value"].mean() == pytest.approx(measures["slope"].mean(), abs=0.1)
    assert measures["accepted"].min() == 1.0


@pytest.mark.slow
def test_as_good_as_stable_baselines() -> None:
    """The same task, steps and network: mean returns after learning differ by no more than three standard errors, or 5%."""
    from societas.policies.sb3 import StableBaselines

    game = societas.make("Commons", months=6)
    rival = societas.policy("constant", acts={"harvest": 6})
    theirs, ours = [], []
    for seed in range(3):
        options: dict[str, Any] = {"n_steps": 48, "batch_size": 192, "n_epochs": 4, "gamma": 1.0, "learning_rate": 2e-3}
        model = StableBaselines.train(
            game, "fisher", steps=30_720, others={"fisher": rival}, worlds=16, seed=seed, **options
        )
        own = PPO(minibatches=4, steps=48, levels=101, entropy=0.0)
        learned = own.learn(game, "fisher_0", episodes=320, sessions=16, seed=seed, others={"fisher": rival})
        for policy, returns in ((model, theirs), (learned, ours)):
            played = societas.play(game, {"fisher": rival, "fisher_0": policy}, worlds=100, seed=50 + seed)
            returns.append(played.returns["fisher"][:, 0].mean())
    noise = math.sqrt((np.var(theirs, ddof=1) + np.var(ours, ddof=1)) / 3)
    assert abs(np.mean(ours) - np.mean(theirs)) < max(3.0 * noise, 0.05 * np.mean(theirs)), (ours, theirs)


# ---- keeping and going on --------------------------------------------------------------------------------------------


def settings(sessions: int = 16) -> dict[str, Any]:
    return {"episodes": 8, "sessions": sessions, "seed": 5}


def pair(game: Any) -> dict[str, PPO]:
    return {"principal": PPO(hidden=(8,), memory=4, steps=3), "agent": PPO(hidden=(8,), critic="central", steps=3)}


def stop_after(updates: int) -> Any:
    def watch(done: int, all_: int) -> None:
        if done == updates:
            os.kill(os.getpid(), signal.SIGINT)

    return watch


def equal(one: Mapping[str, PPO], other: Mapping[str, PPO]) -> None:
    for name in one:
        assert one[name].curve == other[name].curve
        assert set(one[name].weights) == set(other[name].weights)
        for part, values in one[name].weights.items():
            np.testing.assert_array_equal(values, other[name].weights[part], err_msg=part)


def test_the_seed_decides_and_nothing_global_is_touched() -> None:
    game, threads, state = Mixed(), torch.get_num_threads(), torch.get_rng_state()
    one, same, other = (PPO(hidden=(8,)).learn(game, "guesser", episodes=4, sessions=16, seed=s) for s in (1, 1, 2))
    equal({"guesser": one}, {"guesser": same})
    assert one.curve != other.curve
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)


@dataclass(frozen=True)
class Unbounded(Recall):
    """The cue is a number without bounds, far from 0."""

    def cast(self) -> tuple[Role, ...]:
        cue = Field("cue", Real(), "the cue")
        return (Role("player", 1, (cue,), (Field("named", Choice(("left", "right")), "which it was"),)),)

    def own(self, state: RoundState) -> dict[str, Seen]:
        return {"player": {"cue": 1e6 + 500.0 * super().own(state)["player"]["cue"]}}


@pytest.mark.parametrize("critic", ["shared", "central"])
def test_what_is_unbounded_is_standardised(critic: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"episodes": 30, "sessions": 64}
    learner = PPO(hidden=(16,), rate=2e-2, critic=critic, minibatches=2)
    whole = train(Unbounded(repetitions=1), {"player": learner}, **options)
    returns = societas.play(Unbounded(repetitions=1), whole, worlds=50).returns["player"]
    assert np.isnan(returns).sum() == 0
    spread = whole["player"].weights["scale"][1]
    assert 1.0 / spread == pytest.approx(250.0, rel=0.05) and whole["player"].weights["middle"][1] > 9e5
    with pytest.raises(Stopped):
        train(Unbounded(repetitions=1), {"player": learner}, folder=tmp_path, watch=stop_after(4), **options)
    equal(whole, train(Unbounded(repetitions=1), {"player": learner}, folder=tmp_path, **options))


def test_steps_in_which_nothing_is_asked() -> None:
    """Two stages, and an update after each: half of a role's updates have nothing to learn from but values."""
    learned = train(
        Multitask(),
        {"principal": PPO(hidden=(4,), steps=1), "agent": PPO(hidden=(4,), steps=1)},
        episodes=3,
        sessions=8,
    )
    for policy in learned.values():
        assert np.isfinite(policy.curve).all() and all(np.isfinite(v).all() for v in policy.weights.values())


def test_stopped_and_taken_up_is_as_if_never_stopped(tmp_path: Path) -> None:
    """Ctrl-C twice, amid episodes of two stages, with a memory, a central critic and others who remember."""
    game = Multitask(repetitions=4, risk_aversion=0.5)
    whole = train(game, pair(game), **settings())
    for updates in (7, 13):
        with pytest.raises(Stopped, match=rf"stopped after {updates} of 22 updates; all is kept in") as stopped:
            train(game, pair(game), folder=tmp_path, watch=stop_after(updates), **settings())
        assert len(stopped.value.policies["agent"].curve) == updates
    again = train(game, pair(game), folder=tmp_path, **settings())
    equal(whole, again)
    equal(whole, train(game, pair(game), folder=tmp_path, **settings()))  # nothing is left to do
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ValueError, match="is of another training: seed was 5, now 6"):
        train(game, pair(game), folder=tmp_path, **(settings() | {"seed": 6}))
    check_policy(PPO(tmp_path / "agent"), game, "agent")


def test_taken_up_among_others_who_remember(tmp_path: Path) -> None:
    game = dilemma(rounds=3)
    rival = Pool([Random(), societas.policy("scripted", character="tit_for_tat")])
    options: dict[str, Any] = {**settings(), "others": {"player": rival}}
    whole = train(game, {"player_0": PPO(hidden=(8,), steps=2)}, **options)
    with pytest.raises(Stopped):
        train(game, {"player_0": PPO(hidden=(8,), steps=2)}, folder=tmp_path, watch=stop_after(5), **options)
    equal(whole, train(game, {"player_0": PPO(hidden=(8,), steps=2)}, folder=tmp_path, **options))


def run(script: str, *arguments: Any, processes: int = 1) -> subprocess.Popen[str]:
    """Start a script that knows what is defined here, in as many processes as torchrun is told."""
    begin = f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom test_rl import *\n"
    file = Path(arguments[0]) / "script.py"
    file.write_text(begin + textwrap.dedent(script), encoding="utf-8")
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    return subprocess.Popen(
        [sys.executable, *torchrun, str(file), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def close(one: Mapping[str, PPO], other: Mapping[str, PPO]) -> None:
    for name in one:
        np.testing.assert_allclose(one[name].curve, other[name].curve, rtol=1e-5)
        for part, values in one[name].weights.items():
            np.testing.assert_allclose(values, other[name].weights[part], atol=1e-4, err_msg=part)


def loose() -> dict[str, Any]:
    """What is seen has no bounds, is remembered and judged centrally; worlds and parts do not divide evenly."""
    learner = PPO(hidden=(8,), critic="central", memory=3, gamma=0.9, minibatches=5)
    return {"game": Unbounded(repetitions=2), "learners": {"player": learner}, "episodes": 4, "sessions": 7}


def test_two_processes_learn_as_one(tmp_path: Path) -> None:
    """As one does but for rounding, whoever is interrupted; what is kept is taken up by two processes and by one."""
    script = """
        rank, out = int(os.environ["RANK"]), Path(sys.argv[1])
        game = Multitask(repetitions=4, risk_aversion=0.5)
        try:
            train(game, pair(game), folder=out / "kept", watch=stop_after(7) if rank else None, **settings(17))
        except Stopped as stopped:
            assert "stopped after 7 of 22 updates" in str(stopped)
        if rank == 0:
            shutil.copytree(out / "kept", out / "copy")
        learned = train(game, pair(game), folder=out / "kept", **settings(17)) | train(**loose())
        for name, policy in learned.items():
            policy.save(out / f"{name}_{rank}")
    """
    started = run(script, tmp_path, processes=2)
    game = Multitask(repetitions=4, risk_aversion=0.5)
    whole = train(game, pair(game), **settings(17)) | train(**loose())
    said = started.communicate(timeout=120)[0]
    assert started.returncode == 0, said
    first, second = ({name: PPO(tmp_path / f"{name}_{rank}") for name in whole} for rank in (0, 1))
    equal(first, second)
    close(whole, first)
    close(train(game, pair(game), folder=tmp_path / "copy", **settings(17)), whole)


def test_ctrl_c_in_a_terminal(tmp_path: Path) -> None:
    """SIGINT from outside ends the process after a whole update; the same call then goes on to the same curve."""
    script = """
        options = many() | {"progress": True, "watch": lambda *_: time.sleep(0.1)}
        PPO(hidden=(8,)).learn(dilemma(), "player", folder=sys.argv[1] + "/kept", **options)
    """
    started = run(script, tmp_path)
    for _ in range(600):
        if (tmp_path / "kept" / "player" / "card.json").is_file() or started.poll() is not None:
            break
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    said = started.communicate(timeout=60)[0]
    assert started.returncode == 1 and "societas.policies.rl.training.Stopped" in said and "all is kept in" in said, (
        said
    )
    assert "mean return: player" in said and "left" in said
    done, updates = PPO(tmp_path / "kept" / "player").learned["updates"]
    assert 0 < done < updates
    again = PPO(hidden=(8,)).learn(dilemma(), "player", folder=tmp_path / "kept", **many())
    assert again.learned["updates"] == [updates, updates]
    equal({"": PPO(hidden=(8,)).learn(dilemma(), "player", **many())}, {"": again})


def many() -> dict[str, Any]:
    return {"episodes": 50, "sessions": 4, "save_every": 0.2}


def test_tensorboard_shows_the_curve(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen: list[int] = []

    def watch(done: int, updates: int) -> None:
        """What is played so far is there before the end: within TensorBoard's reach while learning goes on."""
        written = EventAccumulator(str(tmp_path)).Reload()
        seen.append(len(written.Scalars("return/player")) if written.Tags()["scalars"] else 0)

    learned = PPO(hidden=(4,)).learn(dilemma(), "player", episodes=3, sessions=4, tensorboard=tmp_path, watch=watch)
    written = EventAccumulator(str(tmp_path)).Reload()
    assert [point.step for point in written.Scalars("return/player")] == [1, 2, 3]
    np.testing.assert_allclose([point.value for point in written.Scalars("return/player")], learned.curve, rtol=1e-6)
    assert seen == [1, 2, 3]


def test_save_and_load(tmp_path: Path) -> None:
    game = Mixed()
    learned = PPO(hidden=(8,), spread=(0.4, 0.2), levels=4).learn(game, "guesser", episodes=3, sessions=16)
    learned.save(tmp_path / "kept")
    again = PPO(tmp_path / "kept", sample=True)
    equal({"": learned}, {"": again})
    assert again.sample and (again.parameters | {"sample": False}) == learned.parameters
    card = json.loads((tmp_path / "kept" / "card.json").read_text(encoding="utf-8"))
    assert card["learned"]["game"] == "Mixed" and card["learned"]["updates"] == [3, 3] and card["learned"]["seed"] == 0
    assert {"societas", "torch"} <= set(card["learned"]["versions"]) and card["curve"] == learned.curve
    check_policy(again, game)
    onward = PPO(tmp_path / "kept").learn(game, "guesser", episodes=1, sessions=16, seed=1)
    fresh = PPO(hidden=(8,), spread=(0.4, 0.2), levels=4).learn(game, "guesser", episodes=1, sessions=16, seed=1)
    assert onward.curve != fresh.curve  # goes on from what it knew
    with pytest.raises(ValueError, match="but learned was"):
        again.bind(dilemma(), "player", (0,))
    with pytest.raises(FileNotFoundError, match="no card.json"):
        PPO(tmp_path)
    with pytest.raises(RuntimeError, match="nothing learned yet"):
        PPO().save(tmp_path)


def test_the_card_names_the_mechanisms() -> None:
    game = societas.make("Commons", months=3) | societas.mechanism("Noise", field="stock", sd=5)
    learned = PPO(hidden=(4,)).learn(game, "fisher", episodes=1, sessions=4)
    assert learned.learned["base"].startswith("Commons(") and learned.learned["mechanisms"][0].startswith("Noise(")


def test_worlds_of_torch_teach_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """On another device than the host the worlds are torch's; here they are, on the host."""
    from societas.policies.rl import training

    game = Multitask(repetitions=2)
    options: dict[str, Any] = {"episodes": 3, "sessions": 32, "others": {"principal": Random()}}
    host = PPO(hidden=(8,), gamma=0.9).learn(game, "agent", **options)

    class OnTorch(training.Worlds):
        def __init__(self, game: Any, count: int, **how: Any) -> None:
            super().__init__(game, count, **{**how, "backend": "torch"})

    monkeypatch.setattr(training, "Worlds", OnTorch)
    there = PPO(hidden=(8,), gamma=0.9).learn(game, "agent", **options)
    np.testing.assert_allclose(there.curve, host.curve, atol=1e-4)
    for name, values in host.weights.items():
        np.testing.assert_allclose(there.weights[name], values, atol=1e-3, err_msg=name)


def test_a_spec_trains_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from societas.envs.core import registry
    from societas.experiments.run import learned
    from societas.experiments.spec import Player

    monkeypatch.setitem(registry._entries["policies"], "ppo", "societas.policies.rl:PPO")
    player = Player.model_validate(
        {"policy": "ppo", "parameters": {"hidden": [8], "rate": 0.01}, "learning": {"episodes": 30, "sessions": 64}}
    )
    told: list[float] = []
    policies, curve = learned(dilemma(), {"everyone": player}, "none", 1, told.append, "policies.rl", 10)
    assert societas.play(dilemma(), policies, worlds=2).measures["first_action"].max() == 0.0
    assert len(curve) == 30 and told == sorted(told) and told[-1] == pytest.approx(0.95)


@pytest.mark.slow
def test_compiled_it_learns_the_same() -> None:
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("no compiler")
    game = Mixed()
    plain, compiled = (
        PPO(hidden=(8,), compiled=c).learn(game, "guesser", episodes=6, sessions=16) for c in (False, True)
    )
    np.testing.assert_allclose(plain.curve, compiled.curve, rtol=1e-3)


def test_progress_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    PPO(hidden=(4,)).learn(dilemma(), "player", episodes=3, sessions=4, progress=True)
    shown = capsys.readouterr().out
    assert "mean return: player" in shown and "left" in shown
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="tensorboard: needs the package tensorboard"):
        PPO(hidden=(4,)).learn(dilemma(), "player", episodes=1, sessions=4, tensorboard="curves")


def test_a_pool_draws_a_member_for_an_episode() -> None:
    game = dilemma(rounds=4)
    pool = Pool([societas.policy("constant", acts={"action": a}) for a in ("cooperate", "defect")], weights=[3, 1])
    episodes = societas.play(game, {"player": pool}, worlds=2000, keep=True)
    acts = np.stack([moment.acts["player"]["action"] for moment in episodes.moments])
    assert (acts == acts[0]).all()
    assert acts[0].mean(axis=0) == pytest.approx([0.25, 0.25], abs=0.03)
    check_policy(Pool([Random(), pool]), game)
    with pytest.raises(ValueError, match="weights: one for each of 2 members"):
        Pool([Random(), Random()], [1.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"critic": "none"}, "critic: one of 'shared', 'independent', 'central', got 'none'"),
        ({"spread": (1, 2, 3)}, "spread: one number or two"),
        ({"rate": 0.0}, "rate"),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_errors_of_parameters(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPO(**options)


def test_errors_of_training() -> None:
    game = dilemma()
    with pytest.raises(KeyError, match="no role or player 'nobody'; it has: player, player_0, player_1"):
        train(game, {"nobody": PPO()}, episodes=1)
    with pytest.raises(ValueError, match="steps: the same for all who learn together"):
        train(game, {"player_0": PPO(steps=1), "player_1": PPO(steps=2)}, episodes=1)
    with pytest.raises(ValueError, match="no seat is left for 'player'"):
        train(game, {"player": PPO()}, episodes=1, others={"player_0": Random(), "player_1": Random()})
    with pytest.raises(ValueError, match="start: 'action' is"):
        PPO(start={"action": 1}).learn(game, "player", episodes=1)
    apart = PPO(hidden=(4,), shared=False).learn(game, "player_0", episodes=1, sessions=4)
    with pytest.raises(ValueError, match="none for seat 1"):
        apart.bind(game, "player", (1,))
    apart.shared, apart.hidden = True, (8,)
    with pytest.raises(ValueError, match="what was learned has actor.weight.0 of shape"):
        apart.learn(game, "player_0", episodes=1, sessions=4)
