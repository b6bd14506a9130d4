"""From fields to Gymnasium spaces and flat arrays, both ways, for whole batches on any backend."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

from ..core.arrays import Array, look_up, namespace, to_float, to_int
from ..core.fields import Choice, Field, Role, Text, components
from ..core.game import Acts, Seen
from ..core.words import ActError, complain

_WHOLE = (int, np.integer)


class Flat:
    """The flat face of a role: observation vectors and action arrays.

    Observations are float32 vectors: one number a component for numeric fields, in their own unit, and a one-hot code
    for choices. Actions are ``Discrete`` if a single discrete number is decided, ``MultiDiscrete`` if all are
    discrete, else a ``Box`` (in which discrete components are real numbers that are rounded). Who decides nothing at all
    has ``Discrete(1)``, an action that does nothing: learners cannot be built for a space without one. A text is one
    number a character, its code point, 0 for none; actions write ASCII, and control codes among them write nothing.

    Parameters
    ----------
    role
        The role.
    continuous
        Whether actions are a ``Box`` even where all are discrete; the numbers of discrete fields are rounded.
    """

    def __init__(self, role: Role, continuous: bool = False) -> None:
        self.role = role
        self.continuous = continuous
        self.names: list[str] = []
        low: list[float] = []
        high: list[float] = []
        for field in role.sees:
            for label, _ in _numbers(field):
                if isinstance(field.space, Choice):
                    self.names += [f"{label}={option}" for option in field.space.options]
                    low += [0.0] * len(field.space.options)
                    high += [1.0] * len(field.space.options)
                else:
                    self.names.append(label)
                    low.append(field.space.low)
                    high.append(field.space.high)
        self._sees = [
            (field, _one_hot(len(field.space.options)) if isinstance(field.space, Choice) else None)
            for field in role.sees
        ]
        self.low, self.high = np.array(low, dtype=np.float32), np.array(high, dtype=np.float32)
        self.parts = [(field, position) for field in role.acts for _, position in _numbers(field)]
        self.discrete = not continuous and all(field.discrete for field in role.acts)
        self.single = len(self.parts) == 1 and self.discrete and not role.acts[0].shape
        bounds = [(field.space.low, _highest(field)) for field, _ in self.parts]
        if not self.discrete and any(math.isinf(bound) for pair in bounds for bound in pair):
            loose = next(f.name for f in role.acts if math.isinf(f.space.low) or math.isinf(f.space.high))
            raise ValueError(
                f"field {loose!r} of {role.name}: an action needs finite bounds; give its Real a low and a high"
            )
        self._bounds = bounds
        self._within = [_within(low, high, self.discrete) for low, high in bounds]
        self._places: list[tuple[Field, int | slice]] = []
        begin = 0
        for field in role.acts:
            size = math.prod(field.shape)
            self._places.append((field, slice(begin, begin + size) if field.shape else begin))
            begin += size

    def observation_space(self) -> spaces.Box:
        """Return a new space of observations."""
        return spaces.Box(self.low, self.high, dtype=np.float32)

    def action_space(self) -> spaces.Discrete[Any] | spaces.MultiDiscrete[Any] | spaces.Box:
        """Return a new space of actions; spaces are not shared, since each carries its own generator."""
        sizes = [int(high - low) + 1 for low, high in self._bounds] if self.discrete else []
        if not self.parts and self.continuous:
            return spaces.Box(0.0, 1.0, (1,))
        if self.single or not self.parts:
            return spaces.Discrete(sizes[0] if sizes else 1)
        if self.discrete:
            return spaces.MultiDiscrete(sizes)
        low, high = zip(*self._bounds, strict=True)
        return spaces.Box(np.array(low, dtype=np.float32), np.array(high, dtype=np.float32), dtype=np.float32)

    def flatten(self, seen: Seen) -> Array:
        """Return observations (*batch, count, dim), float32."""
        first = seen[self.role.sees[0].name]
        xp = namespace(first)
        parts = []
        for field, hot in self._sees:
            values = seen[field.name]
            if hot is not None:
                values = look_up(values, hot, values)
                if field.each:
                    values = values.reshape((*values.shape[:-2], values.shape[-2] * values.shape[-1]))
            elif not field.shape:
                values = values[..., None]
            elif len(field.shape) > 1:
                values = values.reshape((*values.shape[:-2], values.shape[-2] * values.shape[-1]))
            parts.append(values)
        if xp is np:
            return np.concat(parts, axis=-1, dtype=np.float32, casting="unsafe")
        return xp.astype(xp.concat(parts, axis=-1), xp.float32)

    def acts(self, actions: Array) -> Acts:
        """Return acts {field: (*batch, count, *components)} of actions (*batch, count[, components]).

        The numbers of a ``Box`` are brought into their field's range, which float32 bounds may overstep by rounding.
        """
        if self.single:
            field = self.role.acts[0]
            return {field.name: _counted(actions, field)}
        acts: Acts = {}
        for field, place in self._places:
            part = actions[..., place]
            if self.discrete:
                part = _counted(part, field)
            else:
                part = field.clip(to_float(part))
                part = to_int(part) if field.discrete else part
            acts[field.name] = _written(part, field) if isinstance(field.space, Text) else part
        return acts

    def read(self, action: Any) -> np.ndarray[Any, Any]:
        """Return one player's action as an array; raise ActError naming field, value and range if it is none.

        Box bounds are float32, so values are let in up to their rounding.
        """
        if self.single and isinstance(action, _WHOLE) and not isinstance(action, bool):
            if not 0 <= action <= self._within[0][1]:
                raise ActError(str(complain(self.parts[0][0], int(action) + int(self._bounds[0][0]))))
            return np.asarray(action)
        if not self.parts:
            return np.zeros(())  # nobody reads it
        try:
            array = np.asarray(action, dtype=np.float64)
        except (TypeError, ValueError):
            raise ActError(str(complain(self.parts[0][0], action))) from None
        shape = () if self.single else (len(self.parts),)
        if array.shape != shape:
            names = ", ".join(
                f"{label}, {field.space.length} code points" if isinstance(field.space, Text) else label
                for field in self.role.acts
                for label, _ in components(field)
            )
            raise ActError(f"action: an array of shape {shape} ({names}), got shape {array.shape}")
        out: list[float] = array.reshape(-1).tolist()
        for i, (low, high) in enumerate(self._within):
            value = out[i]
            if not (low <= value <= high and (not self.discrete or value.is_integer())):
                value += self._bounds[i][0] if self.discrete else 0.0
                raise ActError(str(complain(self.parts[i][0], value if math.isfinite(value) else str(value))))
        return array.copy()


def _numbers(field: Field) -> Iterator[tuple[str, int | None]]:
    """Yield (label, position) of each number that stands for a field in a vector."""
    if isinstance(field.space, Text):
        labels = (f"{label}[{place}]" for label, _ in components(field) for place in range(field.space.length))
        yield from ((label, position) for position, label in enumerate(labels))
    else:
        yield from components(field)


def _highest(field: Field) -> float:
    """Return the highest number of an action in a field."""
    return field.space.typed if isinstance(field.space, Text) else field.space.high


def _written(codes: Array, field: Field) -> Array:
    """Return the texts (*batch, count[, components], length) that numbers write: control codes are no characters."""
    return (codes * to_int(codes >= 32)).reshape((*codes.shape[:-1], *field.shape))


def _counted(actions: Array, field: Field) -> Array:
    """Return the values of a discrete field that actions, which count from 0, stand for."""
    low = int(field.space.low)
    return to_int(actions) + low if low else to_int(actions)


@functools.lru_cache(maxsize=64)
def _one_hot(count: int) -> tuple[tuple[int, ...], ...]:
    """Return the code of each of some options."""
    return tuple(map(tuple, np.eye(count, dtype=np.int64).tolist()))


def _within(low: float, high: float, discrete: bool) -> tuple[float, float]:
    """Return the bounds of what an action may hold for a number: discrete ones count from 0, real ones have some slack."""
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    return (0.0, high - low) if discrete else (low - slack, high + slack)
