"""Every registered game goes through the environments of other people's trainers, and the examples of them run."""

from __future__ import annotations

import importlib.util
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pettingzoo
import pytest
from variants import SMALL

import societas
from societas.envs.core import registry
from societas.envs.views.gymnasium import RoleEnv
from societas.envs.views.pettingzoo import Measures, parallel_env
from societas.envs.views.sb3 import SB3VecEnv
from societas.envs.views.vector import RoleVectorEnv

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
GAMES = societas.list()


def make(name: str) -> societas.Game:
    game: societas.Game = registry.create("games", name, **SMALL.get(name, {}))
    return game


def example(name: str) -> ModuleType:
    """Import an example by name; skip where an unpacked sdist holds none."""
    path = EXAMPLES / f"{name}_trainer.py"
    if not path.is_file():
        pytest.skip("an unpacked sdist holds no examples")
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- Stable-Baselines3 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GAMES)
def test_all_players_of_a_role_learn_in_stable_baselines(name: str) -> None:
    """Worlds times players are rows of one batch: what comes back fits the spaces, and a world's players end together."""
    game = make(name)
    for role in game.roles:
        if not role.acts:
            with pytest.raises(ValueError, match="decides nothing"):
                SB3VecEnv(game, 3, role=role.name, index=None)
            continue
        env = SB3VecEnv(game, 3, role=role.name, index=None, seed=1)
        assert env.num_envs == 3 * role.count
        seen: Any = env.reset()
        ended = 0
        env.action_space.seed(1)
        for _ in range(12):
            assert seen.shape == (env.num_envs, *env.observation_space.shape)
            assert seen.dtype == np.float32 and all(env.observation_space.contains(row) for row in seen)
            seen, paid, over, infos = env.step(np.stack([env.action_space.sample() for _ in range(env.num_envs)]))
            assert paid.shape == over.shape == (env.num_envs,) and paid.dtype == np.float32 and np.isfinite(paid).all()
            assert (over.reshape(3, -1) == over.reshape(3, -1)[:, :1]).all()
            assert [("terminal_observation" in info) for info in infos] == over.tolist()
            ended += int(over.sum())
        assert ended or game.rounds * len(game.stages) > 12


@pytest.mark.parametrize("name", [name for name in GAMES if len(make(name).roles) == 1])
def test_self_play_is_the_game_itself(name: str) -> None:
    """World 0 of the batch in which all act is PettingZoo's parallel game: same sights, same pay, same ends."""
    game = make(name)
    players = game.players
    rows = RoleVectorEnv(game, 2 * len(players), index=None, autoreset_mode="SameStep")
    village = parallel_env(game)
    seen, _ = rows.reset(seed=5)
    alone, _ = village.reset(seed=5)
    rows.action_space.seed(2)
    for _ in range(15):
        np.testing.assert_array_equal(seen[: len(players)], np.stack([alone[player] for player in players]))
        actions = rows.action_space.sample()
        seen, paid, over, _, info = rows.step(actions)
        alone, rewards, done, _, infos = village.step(dict(zip(players, actions, strict=False)))
        np.testing.assert_allclose(paid[: len(players)], [rewards[player] for player in players])
        assert over[: len(players)].tolist() == list(done.values())
        if over[0]:
            np.testing.assert_array_equal(info["final_obs"][len(players) - 1], alone[players[-1]])
            measures = {name: values[0] for name, values in info["final_info"]["measures"].items() if name[0] != "_"}
            assert measures == dict(infos[players[0]]["measures"])
            alone, _ = village.reset()


def test_worlds_of_several_players_reset_together() -> None:
    rows = gymnasium.make_vec("societas/NashDemand-v0", num_envs=4, index=None, autoreset_mode="Disabled")
    rows.reset(seed=0)
    *_, over, _, info = rows.step(np.array([5, 5, 9, 9]))
    assert over.all() and info["welfare"].tolist() == [10.0, 10.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="reset_mask: the same for all players of a world"):
        rows.reset(options={"reset_mask": np.array([True, False, True, True])})
    rows.reset(options={"reset_mask": np.array([True, True, False, False])})
    with pytest.raises(RuntimeError, match=r"worlds \[1\] have ended"):
        rows.step(np.array([5, 5, 9, 9]))
    with pytest.raises(ValueError, match="num_envs: a multiple of 2, .* got 3"):
        gymnasium.make_vec("societas/NashDemand-v0", num_envs=3, index=None)
    with pytest.raises(ValueError, match="index: the number of one player, got None"):
        RoleEnv("NashDemand", index=None)  # type: ignore[arg-type]


# ---- spaces and infos ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GAMES)
def test_all_actions_can_be_a_box(name: str) -> None:
    """With continuous=True every player acts by a Box, and whatever it holds can be played, rounded."""
    village = parallel_env(make(name), continuous=True)
    village.reset(seed=0)
    for player in village.possible_agents:
        assert isinstance(village.action_space(player), gymnasium.spaces.Box)
        village.action_space(player).seed(0)
    while village.agents:
        village.step({player: village.action_space(player).sample() for player in village.agents})


def test_a_box_is_rounded_to_what_it_stands_for() -> None:
    game = societas.make("NashDemand")
    boxes, whole = parallel_env(game, continuous=True), parallel_env(game)
    boxes.reset(seed=0)
    whole.reset(seed=0)
    paid, meant = boxes.step({"claimant_0": [3.4], "claimant_1": [6.6]}), whole.step({"claimant_0": 3, "claimant_1": 7})
    assert paid[1] == meant[1] == {"claimant_0": 3.0, "claimant_1": 7.0}


def test_who_decides_nothing_has_one_action() -> None:
    village = pettingzoo.make("parallel", "societas/Dictator-v0")
    assert village.action_space("responder_0") == gymnasium.spaces.Discrete(1)


def test_infos_are_numbers_that_have_names() -> None:
    village = pettingzoo.make("parallel", "societas/NashDemand-v0")
    _, first = village.reset(seed=0)
    *_, last = village.step({"claimant_0": 5, "claimant_1": 5})
    _, following = village.reset()
    before, after = first["claimant_0"]["measures"], last["claimant_0"]["measures"]
    assert list(first["claimant_0"]) == list(last["claimant_0"]) == ["moves", "measures"]
    assert set(before) == {0.0} and following["claimant_0"]["measures"] == after != before
    names = after.keys()
    assert dict(after) == {name: after[name] for name in names} and after[0] == after[names[0]]
    assert pickle.loads(pickle.dumps(after)).keys() == names and pickle.loads(pickle.dumps(after)) == after
    with pytest.raises(KeyError, match="no measure 'joy'; there are a, b"):
        Measures({"a": 1.0, "b": 2.0})["joy"]


# ---- TorchRL ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GAMES)
def test_torchrl(name: str) -> None:
    """A random rollout through PettingZooWrapper fits its specs, and is what the game says, reset by reset."""
    pytest.importorskip("torchrl")
    from torchrl.envs.libs.pettingzoo import PettingZooWrapper

    game = make(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is tested with an older PettingZoo
        env = PettingZooWrapper(parallel_env(game), seed=3)
        data = env.rollout(15, break_when_any_done=False)
    assert list(env.group_map) == [role.name for role in game.roles]
    village = parallel_env(game)
    village.reset(seed=3)  # the wrapper looks once as it is made
    seen, infos = village.reset()
    ended = False
    for moment in data:
        actions: dict[str, Any] = {}
        for role in game.roles:
            now = moment[role.name]
            assert env.observation_spec[role.name, "observation"].is_in(now["observation"])
            np.testing.assert_array_equal(now["observation"], np.stack([seen[player] for player in role.players]))
            assert now["info", "moves"].bool().tolist() == [infos[player]["moves"] for player in role.players]
            actions |= dict(zip(role.players, now["action"].numpy(), strict=True))
        seen, paid, done, _, infos = village.step(actions)
        for role in game.roles:
            then = moment["next", role.name]
            np.testing.assert_allclose(then["reward"][:, 0], [paid[player] for player in role.players], rtol=1e-6)
            told = np.array([infos[player]["measures"] for player in role.players])
            np.testing.assert_allclose(then["info", "measures"], told, rtol=1e-6)
        assert bool(moment["next", "done"]) == all(done.values())
        if all(done.values()):
            seen, infos = village.reset()
            ended = True
    assert ended or game.rounds * len(game.stages) > 15


@pytest.mark.parametrize("name", GAMES)
def test_torchrl_in_turn_and_alone(name: str) -> None:
    """One player at a time has TorchRL's mask; the Gymnasium face goes through GymWrapper."""
    pytest.importorskip("torchrl")
    from torchrl.envs import GymWrapper
    from torchrl.envs.libs.pettingzoo import PettingZooWrapper

    from societas.envs.views.pettingzoo import env as in_turn

    game = make(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = PettingZooWrapper(in_turn(game), use_mask=True, seed=3).rollout(8, break_when_any_done=False)
    masks = np.stack([data[player, "mask"].numpy() for player in game.players]).sum(axis=0)
    assert (masks == 1).all()
    role = next(role for role in game.roles if role.acts)
    alone = GymWrapper(RoleEnv(game, role.name), categorical_action_encoding=True)
    alone.set_seed(3)
    data = alone.rollout(8, break_when_any_done=False)
    assert data["observation"].shape[0] == 8 and bool(data["next", "reward"].isfinite().all())
    assert alone.observation_spec["observation"].is_in(data["observation"][0])


# ---- SuperSuit -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GAMES)
def test_supersuit(name: str) -> None:
    """All players of all roles become rows of one vector environment, and are reset with their measures told."""
    pytest.importorskip("supersuit")
    game = make(name)
    env = example("supersuit").rows(name, worlds=2, **SMALL.get(name, {}))
    assert env.num_envs == 2 * len(game.players)
    seen = env.reset()
    ended = 0
    for _ in range(8):
        assert seen.shape == (env.num_envs, *env.observation_space.shape) and seen.dtype == np.float32
        env.step_async(np.stack([env.action_space.sample() for _ in range(env.num_envs)]))
        seen, paid, over, infos = env.step_wait()
        assert np.isfinite(paid).all()
        for info, ends in zip(infos, over, strict=True):
            assert ("terminal_observation" in info) == ends
            assert not ends or info["measures"].keys() == tuple(measure.name for measure in game.reports)
        ended += int(over.sum())
    assert ended or game.rounds * len(game.stages) > 8


# ---- the examples ----------------------------------------------------------------------------------------------------


def test_example_of_a_single_file(capsys: pytest.CaptureFixture[str]) -> None:
    """Fishers who pay each other for what they take learn restraint: more than the third of a lake emptied at once."""
    earned = example("cleanrl").main(steps=60_000)
    assert earned[0] < 40.0 and earned[-1] > 50.0, earned
    assert f"{earned[-1]:.1f} at last" in capsys.readouterr().out


def test_example_of_stable_baselines(capsys: pytest.CaptureFixture[str]) -> None:
    found = example("stable_baselines3").main(steps=400)
    assert len(found) == 3 and all(-1.0 <= alignment <= 1.0 for alignment in found.values())
    assert "one network for all, under a charge: alignment" in capsys.readouterr().out


def test_example_of_supersuit(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("supersuit")
    model = example("supersuit").main(steps=200)
    assert model.num_timesteps >= 200 and model.n_envs == 16
    assert "16 rows" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_example_of_torchrl(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torchrl")
    earned = example("torchrl").main(steps=200, batch=100)
    assert len(earned) == 2 and min(earned) > 0.0
    assert "'survival'" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_example_of_tianshou() -> None:
    pytest.importorskip("tianshou")
    result = example("tianshou").main(steps=300, worlds=2)
    assert result["train_step"] >= 300 and result["best_reward"] > 0.0


def test_example_of_rllib_names_a_policy_for_each_role() -> None:
    """What needs no Ray: each player of each game has the policy of its role."""
    role_of = example("rllib").role_of
    for name in GAMES:
        for role in make(name).roles:
            assert {role_of(player, episode=None) for player in role.players} == {role.name}


@pytest.mark.slow
def test_example_of_rllib() -> None:
    """RLlib pins another Gymnasium, so this runs only where both are installed."""
    pytest.importorskip("ray.rllib.env.wrappers.pettingzoo_env", reason="needs ray[rllib]", exc_type=ImportError)
    module = example("rllib")
    env = module.make({"game": "HiddenAction"})
    seen, _ = env.reset(seed=1)
    assert set(seen) == {"principal_0", "agent_0"}
    assert module.main(steps=1_000) is not None


def test_the_page_runs_and_names_every_example(tmp_path: Path) -> None:
    page = EXAMPLES.parent / "docs" / "other-trainers.md"
    if not page.is_file():
        pytest.skip("an unpacked sdist holds no pages")
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+_trainer)\.py`", text)) == {path.stem for path in EXAMPLES.glob("*_trainer.py")}
    found = re.findall(r"^```(python|text)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    script = tmp_path / "page.py"
    script.write_text("\n".join(body for kind, body in found if kind == "python"), encoding="utf-8")
    done = subprocess.run([sys.executable, "-W", "ignore", str(script)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for kind, body in found:
        assert kind == "python" or body.strip() in done.stdout
