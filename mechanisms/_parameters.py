"""Parameters by path: copies of frozen dataclasses - mechanisms, games, their parts - with some of their parameters changed."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any


def changed(part: Any, path: str, value: Any) -> Any:
    """Return a copy of a frozen dataclass with one parameter, of itself or of a part of it, replaced and validated.

    A path names parameters from the outside in, ``"terms.limit"``; a place in a tuple is a number, ``"rates.0"``.

    Raises
    ------
    ValueError
        If there is no such parameter, or its owner refuses the value.
    """
    return changed_all(part, {path: value})


def changed_all(part: Any, values: Mapping[str, Any]) -> Any:
    """Return a copy with several parameters replaced at once, so that they are validated together; itself without any."""
    if not values:
        return part
    inner = _inner(part, values)
    if isinstance(part, tuple):
        return tuple(inner.get(str(i), old) for i, old in enumerate(part))
    return dataclasses.replace(part, **inner)


def placed(part: Any, values: Mapping[str, Any]) -> Any:
    """Return a copy with parameters put in as they are, validated by nobody: for tensors that stand for checked numbers.

    What the owner has computed from its parameters and kept (``functools.cached_property``) is computed anew.
    """
    inner = _inner(part, values, put=True)
    if isinstance(part, tuple):
        return tuple(inner.get(str(i), old) for i, old in enumerate(part))
    twin = copy.copy(part)
    for name in [n for n in vars(twin) if isinstance(getattr(type(twin), n, None), functools.cached_property)]:
        del twin.__dict__[name]
    for name, value in inner.items():
        object.__setattr__(twin, name, value)
    return twin


def _inner(part: Any, values: Mapping[str, Any], *, put: bool = False) -> dict[str, Any]:
    """Return the new values of the outermost parameters that paths name."""
    groups: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        name, _, rest = path.partition(".")
        groups.setdefault(name, {})[rest] = value
    found = {}
    for name, rests in groups.items():
        old = _get(part, name)
        if "" in rests and len(rests) > 1:
            raise ValueError(f"parameter: {name!r} is given as a whole, and so is a part of it; give one of them")
        found[name] = rests[""] if "" in rests else (placed if put else changed_all)(old, rests)
    return found


def _get(part: Any, name: str) -> Any:
    if isinstance(part, tuple):
        known = [str(i) for i in range(len(part))]
        if name in known:
            return part[int(name)]
    else:
        known = [f.name for f in dataclasses.fields(part)] if dataclasses.is_dataclass(part) else []
        if name in known:
            return getattr(part, name)
    kind = type(part).__name__
    has = f"one of {', '.join(known)} of {kind}" if known else f"{kind} has no parameters"
    raise ValueError(f"parameter: {has}, got {name!r}")
