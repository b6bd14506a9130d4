"""Arrays: one vocabulary over NumPy, torch and JAX."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from societas.envs.core import backend, namespace, to_numpy
from societas.envs.core.arrays import (
    absent,
    align,
    constant,
    full,
    look_up,
    select,
    to_float,
    to_int,
    total,
    tree_map,
)


class Pair(NamedTuple):
    first: Any
    second: Any


def of(name: str, values: Any) -> Any:
    xp, device = backend(name, "cpu")
    return xp.asarray(np.asarray(values), device=device)


def test_namespace_of_each_library() -> None:
    import array_api_compat.torch as compat
    import torch

    assert namespace(np.zeros(2)) is np and namespace(np.float64(1.0)) is np
    assert namespace(3, torch.zeros(2)) is compat
    with pytest.raises(TypeError, match=r"no array among \(int, str\); pass a NumPy, torch or JAX array"):
        namespace(3, "four")


def test_backends_by_name() -> None:
    assert backend() == (np, "cpu")
    with pytest.raises(ValueError, match="device: NumPy runs on 'cpu', got 'cuda'; use backend='torch'"):
        backend("numpy", "cuda")
    with pytest.raises(ValueError, match="backend: one of 'numpy', 'torch', got 'jacks'"):
        backend("jacks")


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_conversions_keep_library_and_width(name: str) -> None:
    like = of(name, [1.75, -1.75])
    assert to_numpy(to_int(like)).tolist() == [1, -1] and to_numpy(to_int(like)).dtype == np.int64
    assert to_numpy(to_float(of(name, [True, False]))).dtype == np.float64
    assert to_numpy(full(like, (2, 3), 2, integer=True)).dtype == np.int64
    assert to_numpy(full(like, (), 2)).shape == ()
    table = ((1.0, 2.0), (3.0, 4.0))
    assert namespace(constant(like, table)) is namespace(like)
    assert constant(like, table) is constant(like, table)  # made once a device
    assert to_numpy(look_up(like, table, of(name, [[1, 0], [0, 1]]))).shape == (2, 2, 2)


@given(st.integers(1, 12), st.integers(0, 3))
def test_total_is_the_sum_over_the_last_axis(count: int, seed: int) -> None:
    for shape in ((count,), (3, count), (2, 3, count)):
        values = np.random.default_rng(seed).random(shape)
        assert np.array_equal(total(values), np.sum(values, axis=-1)) or count >= 8
        np.testing.assert_allclose(to_numpy(total(of("torch", values))), np.sum(values, axis=-1), rtol=1e-15)


def test_absent_knows_only_what_costs_nothing() -> None:
    assert absent(np.array([False, False])) and absent(np.False_)
    assert not absent(np.array([False, True]))
    assert not absent(of("torch", [False, False]))  # asking would wait for the device


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_records_are_chosen_world_by_world(name: str) -> None:
    one = Pair(of(name, [1, 1]), {"a": of(name, [[1, 1], [1, 1]]), "b": (of(name, [1.0, 1.0]),)})
    two = tree_map(lambda array: array * 2, one)
    mixed = select(of(name, [True, False]), one, two)
    assert isinstance(mixed, Pair)
    assert to_numpy(mixed.first).tolist() == [1, 2]
    assert to_numpy(mixed.second["a"]).tolist() == [[1, 1], [2, 2]]
    assert to_numpy(mixed.second["b"][0]).tolist() == [1.0, 2.0]
    assert align(of(name, [True, False]), mixed.second["a"]).shape == (2, 1)
    with pytest.raises(ValueError, match="argument 2 is"):
        tree_map(lambda a, b: a, (1, 2), (1,))
