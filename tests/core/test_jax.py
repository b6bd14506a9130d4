"""Games are pure: JAX compiles a whole step and gives the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import societas
from societas.envs.core.arrays import tree_map

jax = pytest.importorskip("jax", reason="JAX is an optional extra")


@pytest.mark.parametrize("name", societas.list())
def test_a_step_compiles_and_agrees(name: str) -> None:
    jax.config.update("jax_enable_x64", True)
    jnp: Any = jax.numpy
    game = societas.make(name)
    worlds = societas.Worlds(game, 16, seed=3)
    policies = {r.name: societas.policy("random").bind(game, r.name, tuple(range(r.count))) for r in game.roles}
    step = jax.jit(game.step)
    look = jax.jit(game.view)
    for _ in range(3):
        acts = {}
        for role, policy in policies.items():
            shape = (16, len(policy.seats), policy.draws)
            u = worlds.uniform(shape[1] * shape[2], role).reshape(shape)
            acts[role] = policy.act(worlds.view()[role], worlds.stage, u, None)[0]
        u = np.random.default_rng(0).random((16, game.draws))
        expected = game.step(worlds.state, acts, u)
        found = step(tree_map(jnp.asarray, worlds.state), tree_map(jnp.asarray, acts), jnp.asarray(u))
        for ours, theirs in ((expected.state, found.state), (expected.rewards, found.rewards)):
            tree_map(lambda a, b: np.testing.assert_allclose(np.asarray(b), a, rtol=1e-9, atol=1e-12), ours, theirs)
        np.testing.assert_array_equal(np.asarray(found.done), expected.done)
        seen = look(found.state)
        tree_map(lambda a, b: np.testing.assert_allclose(np.asarray(b), a, rtol=1e-9), game.view(expected.state), seen)
        worlds.state = expected.state
