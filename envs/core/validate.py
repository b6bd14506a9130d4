"""Checks of parameters: the error names the parameter, the value and the allowed range."""

from __future__ import annotations

import math
from typing import Any


def whole(name: str, value: Any, low: int, high: int) -> int:
    """Return a whole number within low..high, or raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name}: a whole number from {low} to {high}, got {value!r}")
    return value


def real(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """Return a finite number within low..high, or raise ValueError."""
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fine or not low <= value <= high:
        raise ValueError(f"{name}: a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def probability(name: str, value: Any) -> float:
    """Return a number from 0 to 1, or raise ValueError."""
    return real(name, value, 0.0, 1.0)


def one_of(name: str, value: Any, options: tuple[str, ...]) -> str:
    """Return one of some texts, or raise ValueError."""
    if value not in options:
        raise ValueError(f"{name}: one of {', '.join(map(repr, options))}, got {value!r}")
    return str(value)


def matrix(
    name: str, value: Any, *, columns: int, rows: int | None = None, most: int = 64
) -> tuple[tuple[float, ...], ...]:
    """Return nested lists as nested tuples of finite numbers, or raise ValueError; None lets the rows be 1 to ``most``."""
    count = f"1 to {most}" if rows is None else str(rows)
    fine = isinstance(value, list | tuple) and 1 <= len(value) <= (rows or most) and len(value) == (rows or len(value))
    if not fine or not all(isinstance(row, list | tuple) and len(row) == columns for row in value):
        raise ValueError(f"{name}: {count} row{'' if count == '1' else 's'} of {columns} numbers, got {value!r}")
    return tuple(tuple(real(f"{name}[{i}]", v, -1e6, 1e6) for v in row) for i, row in enumerate(value))


def names(name: str, value: Any) -> tuple[str, ...]:
    """Return distinct names, not empty, as a tuple (one text stands for itself), or raise ValueError."""
    found = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else None
    if found is None or not all(isinstance(one, str) and one for one in found) or len(set(found)) < len(found):
        raise ValueError(f"{name}: a list of distinct names, got {value!r}")
    return found
