"""Chance: the generator is SplitMix64, its numbers are uniform, and they belong to their address alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from societas import make
from societas.envs.core import Worlds, backend, chance, to_numpy

MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15

# Seed 1234567, the first five outputs of the reference implementation.
VECTORS = (
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
)


def splitmix(x: int) -> int:
    """SplitMix64's finaliser on unsigned integers, as published."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def signed(x: int) -> int:
    return x - (1 << 64) if x >> 63 else x


def test_published_vectors() -> None:
    assert tuple(splitmix((1234567 + (d + 1) * GAMMA) & MASK) for d in range(5)) == VECTORS
    keys = np.array([1234567], dtype=np.int64)
    expected = [(vector >> 11) * 2.0**-53 for vector in VECTORS]
    np.testing.assert_array_equal(chance.uniform(keys, 5)[0], expected)


@given(st.lists(st.integers(0, MASK), min_size=1, max_size=20))
def test_mix_against_plain_integers(numbers: list[int]) -> None:
    array = np.array([signed(n) for n in numbers], dtype=np.int64)
    with np.errstate(over="ignore"):
        found = chance.mix(array)
    assert [int(n) & MASK for n in found] == [splitmix(n) for n in numbers]


@given(st.integers(-(2**40), 2**70), st.integers(0, 2**31), st.integers(0, 2**31))
def test_key_against_plain_integers(seed: int, world: int, episode: int) -> None:
    found = chance.key(seed, np.array([world]), np.array([episode]))
    first = splitmix((world + (seed + 1) * GAMMA) & MASK)
    assert int(found[0]) & MASK == splitmix((first + episode) & MASK)


@given(st.integers(-(2**40), 2**70), st.integers(0, 2**31), st.integers(0, 2**31), st.sampled_from((0, 1, 77)))
def test_plain_numbers_give_the_same_draws(seed: int, world: int, episode: int, salt: int) -> None:
    keys = chance.key(seed, np.array([world]), np.array([episode]))
    plain = chance.plain_key(seed, world, episode)
    assert plain == int(keys[0]) & MASK
    with np.errstate(over="ignore"):
        salted = chance.mix(keys + salt) if salt else keys
    for count in (1, 24, 25):
        np.testing.assert_array_equal(chance.plain_uniform(plain, count, salt), chance.uniform(salted, count))


def test_a_key_needs_an_address() -> None:
    with pytest.raises(ValueError, match="key: give at least one address array"):
        chance.key(0)


def test_numpy_and_torch_give_the_same_bits() -> None:
    xp, device = backend("torch", "cpu")
    world = np.arange(500)
    ours = chance.uniform(chance.key(3, world, world * 0 + 2), 7)
    theirs = xp.asarray(world, device=device)
    np.testing.assert_array_equal(ours, to_numpy(chance.uniform(chance.key(3, theirs, theirs * 0 + 2), 7)))


def test_numbers_are_uniform_and_uncorrelated() -> None:
    """Over worlds, over episodes, over seeds and along a stream: 64 cells, 5 sigma."""
    world = np.arange(20_000)
    samples = {
        "worlds": chance.uniform(chance.key(0, world), 2),
        "episodes": chance.uniform(chance.key(0, world * 0 + 7, world), 2),
        "seeds": np.concatenate([chance.uniform(chance.key(s, np.array([0])), 2) for s in range(2000)]),
        "stream": chance.uniform(chance.key(0, np.array([0])), 40_000).reshape(-1, 2),
    }
    for name, u in samples.items():
        assert ((u >= 0.0) & (u < 1.0)).all()
        counts = np.bincount((u[:, 0] * 64).astype(int), minlength=64)
        assert chisquare(counts).pvalue > 1e-4, name
        pairs = np.bincount((u[:, 0] * 8).astype(int) * 8 + (u[:, 1] * 8).astype(int), minlength=64)
        assert chisquare(pairs).pvalue > 1e-4, name
        assert abs(np.corrcoef(u[:-1, 0], u[1:, 0])[0, 1]) < 5 / np.sqrt(len(u)), name


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_a_world_is_the_same_in_a_batch_of_any_size(name: str) -> None:
    game = make("Fishery")
    few, many = (Worlds(game, n, seed=9, backend=name, device="cpu") for n in (3, 300))
    for purpose in ("policy", "other"):
        one, other = few.uniform(4, purpose), many.uniform(4, purpose)
        np.testing.assert_array_equal(to_numpy(one), to_numpy(other)[:3])
    assert (to_numpy(many.uniform(4, "policy")) != to_numpy(many.uniform(4, "other"))).all()


def test_moments_have_their_own_numbers() -> None:
    """No two rounds, stages, episodes, seeds or purposes share their first number."""
    game = make("Fishery", months=40)
    worlds = Worlds(game, 64, seed=1)
    seen: list[float] = []
    acts = {"fisher": {"harvest": np.full((64, 5), 1)}}
    for seed in (1, 2):
        worlds.reset(seed)
        for _ in range(2):
            for _ in range(20):
                seen += worlds.uniform(1, "a")[:, 0].tolist() + worlds.uniform(1, "b")[:, 0].tolist()
                worlds.step(acts)
            worlds.reset()
    assert len(set(seen)) == len(seen)


@given(st.integers(-50, 50), st.integers(0, 100))
def test_whole_keeps_its_range(low: int, width: int) -> None:
    u = np.array([0.0, 0.25, 0.5, 1.0 - 2.0**-53])
    drawn = chance.whole(u, low, low + width)
    assert drawn.dtype == np.int64 and drawn[0] == low and drawn[-1] == low + width


def test_normal_is_normal() -> None:
    u = chance.uniform(chance.key(5, np.arange(20_000)), 2)
    z = chance.normal(u[:, 0], u[:, 1])
    assert kstest(z, "norm").pvalue > 1e-4
    assert np.isfinite(chance.normal(np.array([0.0, 1.0 - 2.0**-53]), np.array([0.0, 0.5]))).all()


def test_categorical_has_its_probabilities() -> None:
    p = np.array([0.1, 0.0, 0.6, 0.3])
    u = chance.uniform(chance.key(8, np.arange(50_000)), 1)[:, 0]
    counts = np.bincount(chance.categorical(u, np.broadcast_to(p, (50_000, 4))), minlength=4)
    assert counts[1] == 0
    assert chisquare(counts[[0, 2, 3]], 50_000 * p[[0, 2, 3]]).pvalue > 1e-4
    # rounding of the sum of the probabilities never leads beyond the last index
    assert chance.categorical(np.array(1.0 - 2.0**-53), np.array([0.1] * 10)) == 9
