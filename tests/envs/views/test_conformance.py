"""Every registered id passes the conformance suites of the libraries whose interface it has."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pettingzoo
import pytest
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import societas

IDS = [f"societas/{name}-v0" for name in societas.list()]
SEATS = [
    (f"societas/{name}-v0", role.name) for name in societas.list() for role in societas.make(name).roles if role.acts
]


@pytest.mark.parametrize(("identity", "role"), SEATS)
def test_gymnasium_and_sb3(identity: str, role: str) -> None:
    env = gymnasium.make(identity, role=role)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both checkers advise on style (Box actions not in [-1, 1])
        check_env(env.unwrapped, skip_render_check=True)
        sb3_check_env(env)


@pytest.mark.parametrize("identity", IDS)
def test_pettingzoo(identity: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checkers advise on style
        api_test(pettingzoo.make("aec", identity), num_cycles=100)
        parallel_api_test(pettingzoo.make("parallel", identity), num_cycles=100)
        seed_test(lambda: pettingzoo.make("aec", identity), num_cycles=30)
        parallel_seed_test(lambda: pettingzoo.make("parallel", identity), num_cycles=30)


@pytest.mark.parametrize(("identity", "role"), SEATS)
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_a_vector_of_worlds_is_the_worlds(identity: str, role: str, mode: str) -> None:
    """World 0 of a vector of 5 is the single environment, transition by transition, across resets."""
    vector = gymnasium.make_vec(
        identity, num_envs=5, vectorization_mode="vector_entry_point", role=role, autoreset_mode=mode
    )
    single = gymnasium.make(identity, role=role, disable_env_checker=True)
    seen, _ = vector.reset(seed=7)
    alone, _ = single.reset(seed=7)
    np.testing.assert_array_equal(seen[0], alone)
    vector.action_space.seed(3)
    over = False
    for _ in range(40):
        actions = vector.action_space.sample()
        seen, reward, done, cut, info = vector.step(actions)
        assert not cut.any()
        if over and mode == "NextStep":
            alone, _ = single.reset()
            paid, over = 0.0, False
        else:
            alone, paid, over, _, last = single.step(actions[0])
            if over and mode == "SameStep":
                np.testing.assert_array_equal(info["final_obs"][0], alone)
                measures = info["final_info"]["measures"]
                assert {name: float(measures[name][0]) for name in last["measures"]} == last["measures"]
                alone, _ = single.reset()
        np.testing.assert_array_equal(seen[0], alone)
        assert (reward[0], done[0]) == (paid, over)


def test_manual_reset_of_a_vector() -> None:
    vector = gymnasium.make_vec("societas/MatrixGame-v0", num_envs=3, autoreset_mode="Disabled")
    vector.reset(seed=0)
    vector.step(np.zeros(3, dtype=int))
    with pytest.raises(RuntimeError, match="reset_mask"):
        vector.step(np.zeros(3, dtype=int))
    vector.reset(options={"reset_mask": np.array([True, True, True])})
    vector.step(np.zeros(3, dtype=int))
    with pytest.raises(ValueError, match="3 booleans"):
        vector.reset(options={"reset_mask": np.array([True])})


@pytest.mark.parametrize("bad", [-1, 101, float("nan"), "12 tonnes", 2.5, [1, 2]])
def test_bad_actions_are_named(bad: object) -> None:
    env = gymnasium.make("societas/Fishery-v0", disable_env_checker=True).unwrapped
    env.reset(seed=0)
    with pytest.raises(societas.ActError, match="harvest") as caught:
        env.step(bad)
    assert "0 to 100" in str(caught.value) or "shape" in str(caught.value)
    parallel = pettingzoo.make("parallel", "societas/Fishery-v0")
    parallel.reset(seed=0)
    with pytest.raises(societas.ActError, match="harvest"):
        parallel.step(dict.fromkeys(parallel.agents, bad))
    vector = gymnasium.make_vec("societas/Fishery-v0", num_envs=2)
    vector.reset(seed=0)
    actions = np.array([bad, bad]) if isinstance(bad, list) else np.array([5, bad], dtype=object)
    with pytest.raises(societas.ActError, match="harvest"):
        vector.step(actions)


def test_bad_box_actions_are_named() -> None:
    env = gymnasium.make("societas/HiddenAction-v0", role="principal", disable_env_checker=True).unwrapped
    env.reset(seed=0)
    with pytest.raises(societas.ActError, match="pay.*0 to 10"):
        env.step(np.array([3.0, 11.0]))
    with pytest.raises(societas.ActError, match="nan"):
        env.step(np.array([3.0, np.nan]))


def test_others_are_played_by_policies() -> None:
    """Against the equilibrium's principal, an agent that works hard earns its reservation utility on average."""
    env = gymnasium.make(
        "societas/HiddenAction-v0", role="agent", others={"principal": "equilibrium"}, disable_env_checker=True
    )
    total = 0.0
    for episode in range(400):
        env.reset(seed=0 if episode == 0 else None)
        _, reward, done, _, info = env.step(np.array([1, 1]))
        assert done
        total += reward
    assert info["measures"]["accepted"] == 1.0
    assert abs(total / 400 - 1.0) < 4 * 1.0 / 20  # sd of sqrt(pay) is 1


def test_unknown_parameters_are_named() -> None:
    with pytest.raises(TypeError, match=r"no option 'fischers'.*fishers"):
        gymnasium.make("societas/Fishery-v0", fischers=3)
    with pytest.raises(KeyError, match="no role 'boss'"):
        gymnasium.make("societas/Fishery-v0", role="boss")
    with pytest.raises(ValueError, match="index: 0 to 4"):
        gymnasium.make("societas/Fishery-v0", index=5)


def test_games_under_mechanisms_have_every_face() -> None:
    from societas.envs.views.gymnasium import RoleEnv
    from societas.envs.views.pettingzoo import env, parallel_env

    game = societas.make("Fishery") | societas.mechanism("Talk") | societas.mechanism("Contract")
    game = game | societas.mechanism("Sanction") | societas.mechanism("Noise", field="stock", sd=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api_test(env(game), num_cycles=100)
        parallel_api_test(parallel_env(game), num_cycles=100)
        check_env(RoleEnv(game), skip_render_check=True)


def test_render_tells_the_prompt() -> None:
    env = gymnasium.make("societas/Fishery-v0", render_mode="ansi")
    env.reset(seed=0)
    text = env.render()
    assert isinstance(text, str)
    assert "stock: 100 tonnes" in text


def test_max_cycles_truncates() -> None:
    env = pettingzoo.make("parallel", "societas/Pricing-v0", max_cycles=3)
    env.reset(seed=0)
    for cycle in range(3):
        _, _, terminated, truncated, _ = env.step(dict.fromkeys(env.agents, 0))
        assert set(truncated.values()) == {cycle == 2}
        assert not any(terminated.values())
    assert env.agents == []
