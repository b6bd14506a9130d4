"""The torch face is the same game; training libraries run on the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import supersuit
import torch
from stable_baselines3 import PPO

import societas
from societas.envs.views.pettingzoo import parallel_env
from societas.envs.views.spaces import Flat
from societas.envs.views.torch import TorchWorlds
from societas.policies.sb3 import StableBaselines


@pytest.mark.parametrize("name", societas.list())
def test_torch_worlds_are_the_numpy_worlds(name: str) -> None:
    """One batch, stepped with the same actions through restarts on both backends."""
    game = societas.make(name)
    ours = TorchWorlds(game, 6, seed=4, device="cpu")
    reference = societas.Worlds(game, 6, seed=4, check=False)
    seen = ours.reset(4)
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions: dict[str, Any] = {}
        for role in game.roles:
            flat = Flat(role)
            space = flat.action_space()
            space.seed(int(rng.integers(1 << 30)))
            actions[role.name] = np.stack([[space.sample() for _ in range(role.count)] for _ in range(6)])
            expected = flat.flatten(reference.view()[role.name])
            np.testing.assert_allclose(seen[role.name].numpy(), expected, rtol=1e-6, atol=1e-6)
        outcome = reference.step({role.name: Flat(role).acts(actions[role.name]) for role in game.roles})
        reference.restart(outcome.done)
        seen, rewards, done, info = ours.step({who: torch.from_numpy(a) for who, a in actions.items()})
        for who, pay in rewards.items():
            np.testing.assert_allclose(pay.numpy(), outcome.rewards[who], rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(done.numpy(), outcome.done)
        np.testing.assert_allclose(info["welfare"].numpy(), outcome.welfare, rtol=1e-9, atol=1e-12)


def test_ppo_learns_to_work_for_its_pay(tmp_path: Any) -> None:
    """Under limited liability high effort leaves the agent a rent of 1; PPO finds it, and a saved policy plays alike."""
    torch.set_num_threads(1)
    game = societas.make("HiddenAction", utility="linear", outcomes=(0.0, 8.0), reservation=0.0)
    others = {"principal": societas.policy("equilibrium")}
    options = {"n_steps": 64, "batch_size": 256, "learning_rate": 1e-3}
    learned = StableBaselines.train(game, "agent", steps=15_000, others=others, seed=1, **options)
    episodes = societas.play(game, {**others, "agent": learned}, worlds=2_000, seed=9)
    assert episodes.measures["effort"].mean() == 1.0
    assert episodes.measures["rent"].mean() == pytest.approx(1.0, abs=4 * 1.0 / np.sqrt(2_000))
    learned.save(tmp_path / "agent")
    loaded = societas.policy("sb3", model=tmp_path / "agent")
    again = societas.play(game, {**others, "agent": loaded}, worlds=2_000, seed=9)
    np.testing.assert_array_equal(episodes.welfare, again.welfare)
    with pytest.raises(ValueError, match="trained on"):
        societas.play(societas.make("Fishery"), {"fisher": loaded})


def test_parameter_sharing_through_supersuit() -> None:
    """Two firms share one PPO through SuperSuit; the network plays legal prices afterwards."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    game = societas.make("Pricing", periods=20)
    env = supersuit.pettingzoo_env_to_vec_env_v1(parallel_env(game))
    env = supersuit.concat_vec_envs_v1(env, 4, num_cpus=0, base_class="stable_baselines3")
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=128, device="cpu")
    model.learn(4_096)
    episodes = societas.play(game, {"firm": StableBaselines(model)}, worlds=64, seed=2)
    random = societas.play(game, {"firm": societas.policy("random")}, worlds=64, seed=2)
    assert episodes.returns["firm"].mean() != random.returns["firm"].mean()
    assert np.isfinite(episodes.measures["profit_gain"]).all()
