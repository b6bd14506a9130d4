"""Randomness as an argument: uniform numbers addressed by seed, world, episode and moment, and exact draws from them.

The generator is SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195) used by address: a key is
mixed from (seed, world, episode, moment) and number ``d`` is the mixing function of ``key + d * gamma``. It is written
in wrapping 64-bit integer arithmetic, so NumPy, torch on any device and JAX (with 64-bit integers on) give the same
bits, and world ``i`` is the same world in a batch of any size.
"""

from __future__ import annotations

import functools
import zlib
from typing import Any

import numpy as np

from .arrays import Array, absent, device_of, namespace, to_float, to_int, total

_GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def _signed(number: int) -> int:
    """Read the low 64 bits of an integer as a signed one."""
    number &= _MASK
    return number - (1 << 64) if number >> 63 else number


_MIX1, _MIX2 = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def mix(x: Array) -> Array:
    """Apply SplitMix64's finaliser to signed 64-bit integers (logical shifts are made of masked arithmetic ones)."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * _MIX1
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * _MIX2
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


@functools.lru_cache(maxsize=1024)
def code(text: str) -> int:
    """Return a stable 31-bit number for a name, the same in every process."""
    return zlib.crc32(text.encode()) & 0x7FFFFFFF


@functools.lru_cache(maxsize=256)
def _strides(count: int, xp: Any, device: Any) -> Array:
    """Return d * gamma for d = 1..count, as signed 64-bit integers."""
    steps = np.array([_signed((d + 1) * _GAMMA) for d in range(count)], dtype=np.int64)
    return xp.asarray(steps, device=device)


def key(seed: int, *address: Array) -> Array:
    """Mix a seed and integer arrays (world, episode, moment, ...) into one 64-bit key an element."""
    if not address:
        raise ValueError("key: give at least one address array, for example the world numbers")
    start = _signed((seed + 1) * _GAMMA)
    with np.errstate(over="ignore"):
        state = mix(address[0] * 1 + start)
        for part in address[1:]:
            state = mix(state + part)
    return state


def uniform(keys: Array, count: int, begin: int = 0) -> Array:
    """Return ``count`` numbers in [0, 1) for every key: keys (*batch) to float64 (*batch, count), 53 random bits each.

    They are the numbers from number ``begin`` on.
    """
    xp = namespace(keys)
    device = device_of(keys)
    with np.errstate(over="ignore"):
        steps = (_strides if device is not None else _strides.__wrapped__)(begin + count, xp, device)
        steps = xp.reshape(steps[begin:], (-1,) + (1,) * keys.ndim)
        bits = mix(xp.moveaxis(steps + keys, 0, -1))  # number by number, in which order NumPy is faster
    return to_float((bits >> 11) & 0x1FFFFFFFFFFFFF) * 2.0**-53


def _plain_mix(x: int) -> int:
    x &= _MASK
    x = (x ^ (x >> 30)) * _MIX1 & _MASK
    x = (x ^ (x >> 27)) * _MIX2 & _MASK
    return x ^ (x >> 31)


def plain_key(seed: int, *address: int) -> int:
    """Return the key of one address as a plain number, unsigned: for a single world several times faster than ``key``."""
    state = (seed + 1) * _GAMMA
    for part in address:
        state = _plain_mix(state + part)
    return state


def plain_uniform(key: int, count: int, salt: int = 0) -> Array:
    """Return the numbers that ``uniform`` returns for the key, or for the mix of key and salt, as a NumPy array (1, count)."""
    if salt:
        key = _plain_mix(key + salt)
    if count > 24:
        return uniform(np.array([_signed(key)]), count)
    return np.array([[(_plain_mix(key + d * _GAMMA) >> 11) * 2.0**-53 for d in range(1, count + 1)]])


def whole(u: Array, low: Array | int, high: Array | int) -> Array:
    """Turn u in [0, 1) into an integer uniform on low..high, both included (int64)."""
    xp = namespace(u)
    return to_int(xp.floor(u * (high - low + 1))) + low


def normal(u1: Array, u2: Array) -> Array:
    """Turn two uniforms into one standard normal number (Box and Muller 1958)."""
    xp = namespace(u1)
    return xp.sqrt(-2.0 * xp.log1p(-u1)) * xp.cos(2.0 * xp.pi * u2)


def categorical(u: Array, p: Array) -> Array:
    """Draw an index with probabilities p (*batch, k) from u (*batch) by inversion; int64."""
    if p.shape[-1] == 1:
        return to_int(u < 0.0)
    edge = p[..., 0]
    drawn = to_int(u >= edge)
    for k in range(1, p.shape[-1] - 1):
        edge = edge + p[..., k]
        drawn = drawn + (u >= edge)
    return drawn


@functools.lru_cache(maxsize=8)
def _binomial_alias(trials: int, parts: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return Walker's (1977) alias tables for Binomial(n, 1/m), n = 0..trials, m = 1..parts, flattened."""
    from scipy.stats import binom

    accept = np.ones((trials + 1, parts, trials + 1))
    alias = np.tile(np.arange(trials + 1), (trials + 1, parts, 1))
    for n in range(trials + 1):
        for m in range(1, parts + 1):
            scaled = binom.pmf(np.arange(n + 1), n, 1 / m) * (n + 1)
            small = [k for k in range(n + 1) if scaled[k] < 1.0]
            large = [k for k in range(n + 1) if scaled[k] >= 1.0]
            while small and large:
                low, high = small.pop(), large[-1]
                accept[n, m - 1, low], alias[n, m - 1, low] = scaled[low], high
                scaled[high] -= 1.0 - scaled[low]
                if scaled[high] < 1.0:
                    small.append(large.pop())
    return accept.reshape(-1), alias.reshape(-1)


@functools.lru_cache(maxsize=8)
def _binomial_tables(trials: int, parts: int, xp: Any, device: Any) -> tuple[Array, Array]:
    accept, alias = _binomial_alias(trials, parts)
    return xp.asarray(accept, device=device), xp.asarray(alias, device=device)


def share_at_random(stock: Array, wants: Array, u: Array, most: int) -> Array:
    """Give out a stock unit by unit, each unit to one of those who still want some, all equally likely.

    Exact, in at most n - 1 rounds instead of a loop over units: hand out as many labels as there are units left, one of
    the m unsatisfied claimants each, as a multinomial draw; what a claimant is given beyond its want is void and is
    handed out in the next round among those still unsatisfied. Void labels are the labels that the unit-by-unit process
    would have redrawn, so the allocation has the same law.

    Parameters
    ----------
    stock
        Units to give out, integer (*batch), 0 to ``most``.
    wants
        Units wanted, integer (*batch, n), 0 to ``most``.
    u
        Uniform numbers (*batch, (n - 1)**2).
    most
        Upper bound of stock and wants.

    Returns
    -------
    Array
        Units given, integer (*batch, n); everything wanted, where the stock is enough.
    """
    xp = namespace(wants)
    n = wants.shape[-1]
    scarce = total(wants) > stock
    if absent(scarce):
        return wants
    if xp is np and wants.size == n:  # one world: the same arithmetic on plain numbers is several times faster
        numbers = _share(int(stock.reshape(())), wants.reshape(-1).tolist(), u.reshape(-1).tolist(), most, _Plain)
        return np.array(numbers).reshape(wants.shape)
    columns = [wants[..., i] for i in range(n)]
    given = _share(stock, columns, [u[..., k] for k in range((n - 1) ** 2)], most, _Arrays(xp, device_of(wants)))
    return xp.where(scarce[..., None], xp.stack(given, axis=-1), wants)


def _share(stock: Any, wants: list[Any], u: list[Any], most: int, on: Any) -> list[Any]:
    """Allocate, for numbers or arrays alike; ``on`` is the arithmetic. Where the stock is enough the result is void."""
    n, draw = len(wants), 0
    accept, alias = on.tables(most, n)
    given = [want * 0 for want in wants]
    left = stock
    for round_ in range(n):
        open_ = [on.flag(g < w) for g, w in zip(given, wants, strict=True)]
        claimants = sum(open_[1:], open_[0])
        spare = left
        for i in range(n):
            if round_ == n - 1 or i == n - 1:
                drawn = spare  # a single claimant is left, or the last one takes what the others did not get
            else:
                row = (spare * n + on.least(claimants, 1) - 1) * (most + 1)
                scaled = u[draw] * (spare + 1)
                slot = on.floor(scaled)
                drawn = on.where(scaled - slot < accept[row + slot], slot, alias[row + slot])
                draw += 1
            drawn = drawn * open_[i]
            claimants = claimants - open_[i]
            spare = spare - drawn
            given[i] = on.most(given[i] + drawn, wants[i])
        left = on.least(stock - sum(given[1:], given[0]), 0)
        if on.none(left):
            break
    return given


class _Plain:
    """Arithmetic of Python numbers; it rounds as that of double-precision arrays does."""

    flag, floor, least, most = int, int, max, min

    @staticmethod
    @functools.lru_cache(maxsize=8)
    def tables(trials: int, parts: int) -> tuple[list[float], list[int]]:
        accept, alias = _binomial_alias(trials, parts)
        return accept.tolist(), alias.tolist()

    @staticmethod
    def where(condition: bool, then: int, otherwise: int) -> int:
        return then if condition else otherwise

    @staticmethod
    def none(left: int) -> bool:
        return left == 0


class _Arrays:
    """Arithmetic of arrays."""

    flag, none = staticmethod(to_int), staticmethod(absent)

    def __init__(self, xp: Any, device: Any) -> None:
        self.xp, self.device, self.where = xp, device, xp.where

    def tables(self, trials: int, parts: int) -> tuple[Array, Array]:
        make = _binomial_tables if self.device is not None else _binomial_tables.__wrapped__
        return make(trials, parts, self.xp, self.device)

    def floor(self, x: Array) -> Array:
        return to_int(self.xp.floor(x))

    def least(self, x: Array, low: int) -> Array:
        return self.xp.clip(x, low, None)

    def most(self, x: Array, high: Array) -> Array:
        return self.xp.minimum(x, high)
