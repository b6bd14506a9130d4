"""Checks that hold for the arrays of every game."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from societas import Game, Worlds
from societas.envs.core.arrays import to_numpy, tree_map
from societas.policies.random import Random


def _leaves(tree: Any) -> list[np.ndarray[Any, Any]]:
    found: list[np.ndarray[Any, Any]] = []
    tree_map(lambda leaf: found.append(to_numpy(leaf).copy()), tree)
    return found


def _trace(game: Game, count: int, backend: str = "numpy", pick: bool = False) -> list[np.ndarray[Any, Any]]:
    """Play randomly; return every array of every step: views, outcome, measures. ``pick`` keeps world 0 as batch ()."""
    worlds = Worlds(game, count, seed=3, backend=backend, device="cpu")
    policies = {r.name: Random().bind(game, r.name, tuple(range(r.count))) for r in game.roles}
    state = tree_map(lambda a: a[0], worlds.state) if pick else worlds.state
    kept: list[np.ndarray[Any, Any]] = []
    for _ in range(game.horizon):
        seen, stage = game.view(state), worlds.stage
        acts = {}
        for name, policy in policies.items():
            shape = (count, game.role(name).count, policy.draws)
            u = worlds.uniform(shape[1] * shape[2], name).reshape(shape)
            acts[name] = policy.act(worlds.view()[name], stage, u, None)[0]
        u = worlds.numbers()
        if pick:
            acts, u = tree_map(lambda a: a[0], acts), u[0]
        before = _leaves(state)
        outcome = game.step(state, acts, u)
        for old, now in zip(before, _leaves(state), strict=True):
            np.testing.assert_array_equal(old, now)  # a step leaves the state it is given as it was
        worlds.state = tree_map(lambda a: a[None], outcome.state) if pick else outcome.state
        kept += _leaves(seen) + _leaves(outcome.state) + _leaves(outcome.rewards)
        kept += [to_numpy(outcome.done), to_numpy(outcome.welfare), *_leaves(game.measures(outcome.state))]
        state = outcome.state
    return kept


@pytest.fixture
def examine_arrays() -> Callable[[Game], None]:
    """Check that batches (), (1,) and (4096,) and torch agree, and that a step does not mutate."""

    def examine(game: Game) -> None:
        many = _trace(game, 4096)
        for array, one in zip(many, _trace(game, 1), strict=True):
            np.testing.assert_array_equal(array[:1], one)
        for array, alone in zip(many, _trace(game, 1, pick=True), strict=True):
            np.testing.assert_array_equal(array[0], alone)
            assert array.dtype == alone.dtype and array.shape[1:] == alone.shape
        for array, torch in zip(_trace(game, 64), _trace(game, 64, "torch"), strict=True):
            assert array.dtype == torch.dtype
            np.testing.assert_allclose(torch, array, rtol=1e-12, atol=1e-12)

    return examine
