"""The array-API namespace behind an array: NumPy, torch, or whatever implements the standard (JAX)."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any
"""An array of any library that implements the Python array API (NumPy, torch, JAX)."""

_NUMPY = (np.ndarray, np.generic)

np.empty((1 << 25) - (1 << 16), dtype=np.uint8)
"""Once a block of almost 32 MB has been freed, glibc keeps blocks up to that size that it would else hand back to the system
and take anew at every step: batches of thousands of worlds run up to twice as fast. It is never touched, so it takes no memory."""


def namespace(*arrays: Array) -> Any:
    """Return the array-API namespace of the first argument that is an array.

    NumPy itself is the namespace of NumPy arrays (it implements the standard since 2.0); torch goes through
    ``array_api_compat``; anything else is asked for ``__array_namespace__``.
    """
    for array in arrays:
        if isinstance(array, _NUMPY):
            return np
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(array, torch.Tensor):
            import array_api_compat.torch as compat

            return compat
        if hasattr(array, "__array_namespace__"):
            return array.__array_namespace__()
    kinds = ", ".join(type(array).__name__ for array in arrays)
    raise TypeError(f"no array among ({kinds}); pass a NumPy, torch or JAX array, for example numpy.asarray(x)")


def backend(name: str = "numpy", device: str | None = None) -> tuple[Any, Any]:
    """Return (namespace, device) for ``"numpy"`` or ``"torch"``; device is chosen at run time if None."""
    if name == "numpy":
        if device not in (None, "cpu"):
            raise ValueError(f"device: NumPy runs on 'cpu', got {device!r}; use backend='torch' for other devices")
        return np, "cpu"
    if name == "torch":
        import array_api_compat.torch as compat
        import torch

        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return compat, torch.device(chosen)
    raise ValueError(f"backend: one of 'numpy', 'torch', got {name!r}")


def to_numpy(array: Array) -> np.ndarray[Any, Any]:
    """Copy any array to host memory as a NumPy array."""
    if hasattr(array, "detach"):
        array = array.detach().cpu().numpy()
    return np.asarray(array)


def to_int(array: Array) -> Array:
    """Convert to 64-bit integers (NumPy scalars, which an operation on 0-d arrays returns, included)."""
    if isinstance(array, _NUMPY):
        return array.astype(np.int64)
    xp = namespace(array)
    return xp.astype(array, xp.int64)


def to_float(array: Array) -> Array:
    """Convert to double precision, as ``to_int`` does to integers."""
    if isinstance(array, _NUMPY):
        return array.astype(np.float64)
    xp = namespace(array)
    return xp.astype(array, xp.float64)


def device_of(array: Array) -> Any:
    """Return the device of an array; None under a trace, where what is made must not be kept."""
    return getattr(array, "device", None)


def full(like: Array, shape: tuple[int, ...], value: float, *, integer: bool = False) -> Array:
    """Return an array filled with one value, of the same library and on the same device as ``like``."""
    xp = namespace(like)
    return xp.full(shape, value, dtype=xp.int64 if integer else xp.float64, device=device_of(like))


def constant(like: Array, values: Any) -> Array:
    """Return a table of numbers as an array of the same library and on the same device as ``like``.

    The same tuple is turned into an array once a device.
    """
    xp, device = namespace(like), device_of(like)
    if not isinstance(values, tuple) or device is None:
        return xp.asarray(np.asarray(values), device=device)
    found = _tables.get((id(values), xp, device))
    if found is None:
        if len(_tables) >= 256:
            _tables.clear()
        found = values, xp.asarray(np.asarray(values), device=device)
        _tables[id(values), xp, device] = found
    return found[1]


_tables: dict[tuple[int, Any, Any], tuple[Any, Array]] = {}  # each keeps its tuple, so that the id stays taken


def look_up(like: Array, values: tuple[Any, ...], index: Array) -> Array:
    """Return the rows of a ``constant`` table at an integer array of any shape."""
    table = constant(like, values)
    return table.take(index, axis=0) if isinstance(table, np.ndarray) else table[index]


def total(values: Array, axis: int = -1) -> Array:
    """Sum over the last axis, or the last but one (-2).

    NumPy sums a short axis of many worlds slowly; its columns are added several times faster and, below 8, to the
    same bits.
    """
    if not isinstance(values, np.ndarray):
        return namespace(values).sum(values, axis=axis)
    count = values.shape[axis]
    if 2 <= count < 8 and values.size > 128:
        columns = [values[..., i] if axis == -1 else values[..., i, :] for i in range(count)]
        return sum(columns[1:], columns[0])
    return np.ascontiguousarray(values).sum(axis=axis)  # NumPy adds in an order that depends on the layout


def highest(values: Array) -> Array:
    """Return the largest number on the last axis; a short axis column by column, as ``total`` does."""
    if not isinstance(values, np.ndarray):
        return namespace(values).max(values, axis=-1)
    count = values.shape[-1]
    if 2 <= count < 16 and values.size > 128:
        return functools.reduce(np.maximum, [values[..., i] for i in range(count)])
    return values.max(axis=-1)


@functools.cache
def _first(count: int) -> tuple[int, ...]:
    return tuple(range(count))


def numbered(like: Array, count: int) -> Array:
    """Return 0, 1, ..., count - 1 as an integer array of the same library and on the same device as ``like``."""
    return constant(like, _first(count))


def by_column(values: Array) -> Array:
    """Return the same numbers, which NumPy then holds column by column.

    What broadcasts over a short last axis of many worlds then runs several times faster.
    """
    return np.asfortranarray(values) if isinstance(values, np.ndarray) and values.ndim > 1 else values


def absent(mask: Array) -> bool:
    """Say whether a mask is known, at no cost, to be False everywhere.

    Lets NumPy skip work whose result would be thrown away; arrays on a device and arrays under a trace answer
    False, so results never depend on it.
    """
    return isinstance(mask, _NUMPY) and not mask.any()


def common(values: Array) -> int | None:
    """Return the integer that a whole array is known, at no cost, to be made of; None where that is not known.

    Like ``absent``, it lets NumPy skip work and never changes results.
    """
    if not isinstance(values, _NUMPY) or not values.size:
        return None
    first = int(values.flat[0])
    return first if values.size == 1 or (values == first).all() else None


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply a function to every array of a record (nested named tuples and dictionaries)."""
    if isinstance(tree, dict):
        return {key: tree_map(function, value, *(o[key] for o in others)) for key, value in tree.items()}
    if isinstance(tree, tuple):
        parts = [tree_map(function, *column) for column in zip(tree, *others, strict=True)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return function(tree, *others)


def align(mask: Array, like: Array) -> Array:
    """Append axes to a (*batch) mask until it broadcasts against an array of shape (*batch, ...)."""
    return mask[(...,) + (None,) * (like.ndim - mask.ndim)] if like.ndim > mask.ndim else mask


def select(mask: Array, then: Any, otherwise: Any) -> Any:
    """Choose between two records world by world: ``then`` where the (*batch) mask holds."""
    xp = namespace(mask)
    return tree_map(lambda a, b: xp.where(align(mask, a), a, b), then, otherwise)
