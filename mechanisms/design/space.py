"""Design space: what is searched over, and the games that come of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...envs.core import validate
from ...envs.core.game import Game
from ...envs.core.mechanism import Mechanism
from .._parameters import changed_all, placed

Point = dict[str, Any]
"""Parameters by name."""

EDGE = 1e-3
"""Share of a range within which a number counts as being at its end."""


@dataclass(frozen=True)
class Dimension:
    """What one parameter can be: a real number from low to high, or one of some values."""

    name: str
    low: float = 0.0
    high: float = 1.0
    values: tuple[Any, ...] = ()

    @property
    def real(self) -> bool:
        """Whether it is a real number."""
        return not self.values


class Space:
    """Parameters with their ranges.

    Parameters
    ----------
    over
        {name: range}. A pair of numbers ``(low, high)`` is a real number between them; ``range(1, 11)`` a whole number
        from 1 to 10; a list one of its values, in no order.
    """

    def __init__(self, over: Mapping[str, Any]) -> None:
        if not over:
            raise ValueError(f"over: {{name: range}} of at least one parameter, got {over!r}")
        self.dimensions = tuple(_dimension(name, given) for name, given in over.items())
        self.names = tuple(over)
        self.whole = tuple(isinstance(given, range) for given in over.values())

    @property
    def reals(self) -> bool:
        """Whether all parameters are real numbers."""
        return all(part.real for part in self.dimensions)

    @property
    def size(self) -> float:
        """How many points there are; infinite where a parameter is a real number."""
        return math.prod(math.inf if part.real else len(part.values) for part in self.dimensions)

    def points(self) -> Iterator[Point]:
        """Return all points of a space without real numbers."""
        for values in itertools.product(*(part.values for part in self.dimensions)):
            yield dict(zip(self.names, values, strict=True))

    def point(self, numbers: Any) -> Point:
        """Return the point of a space of real numbers that lies at shares, each from 0 to 1, of their ranges."""
        parts = zip(self.dimensions, numbers, strict=True)
        return {part.name: float(min(max(u, 0.0), 1.0) * (part.high - part.low) + part.low) for part, u in parts}

    def shares(self, x: Point) -> list[float]:
        """Undo ``point``."""
        return [(x[part.name] - part.low) / (part.high - part.low) for part in self.dimensions]

    def started(self, start: Point | None) -> Point:
        """Return a start of real numbers, those that are not given in the middle of their range; refuse one out of range."""
        given = dict(start or {})
        if unknown := [name for name in given if name not in self.names]:
            raise ValueError(f"start: parameters of the search ({', '.join(self.names)}), got {', '.join(unknown)}")
        for part in self.dimensions:
            middle = given.get(part.name, (part.low + part.high) / 2)
            given[part.name] = validate.real(f"start: {part.name}", middle, part.low, part.high)
        return given

    def ends(self, x: Point) -> tuple[str, ...]:
        """Return the names of the numbers of a point that lie at an end of their range."""
        found = []
        for part, whole in zip(self.dimensions, self.whole, strict=True):
            if part.real or whole:
                low, high = (part.low, part.high) if part.real else (min(part.values), max(part.values))
                room = EDGE * (high - low)
                if not low + room <= x[part.name] <= high - room or (whole and x[part.name] in (low, high)):
                    found.append(part.name)
        return tuple(found)


def _dimension(name: str, given: Any) -> Dimension:
    if isinstance(given, range | list):
        if not given:
            raise ValueError(f"over: {name}: at least one value, got {given!r}")
        return Dimension(name, values=tuple(given))
    if isinstance(given, tuple) and len(given) == 2:
        low, high = (validate.real(f"over: {name}", end, -1e12, 1e12) for end in given)
        if low < high:
            return Dimension(name, low, high)
    raise ValueError(
        f"over: {name}: a pair (low, high) of a real number, a range() of a whole one or a list of choices, got {given!r}"
    )


@dataclass(frozen=True)
class Family:
    """Games that differ in some parameters of a mechanism, or of the game itself; see ``vary``."""

    game: Game
    mechanism: Mechanism | tuple[Mechanism, ...] | None
    over: Mapping[str, Any]

    def __call__(self, x: Mapping[str, Any]) -> Game:
        """Return the game with the parameters of a point; what is not among them is for others to use."""
        return self._under(changed_all(self._part, self._mine(x)))

    def smooth(self, x: Mapping[str, Any], tensors: Mapping[str, Any]) -> Game:
        """Return the game of a point with tensors put in the place of its numbers, which are validated before."""
        if not self._mine(tensors):
            return self(x)
        return self._under(placed(changed_all(self._part, self._mine(x)), self._mine(tensors)))

    @property
    def _part(self) -> Any:
        return self.game if self.mechanism is None else self.mechanism

    def _mine(self, x: Mapping[str, Any]) -> dict[str, Any]:
        return {path: value for path, value in x.items() if path in self.over}

    def _under(self, part: Any) -> Game:
        if self.mechanism is None:
            found: Game = part
            return found
        game = self.game
        for mechanism in part if isinstance(part, tuple) else (part,):
            game = game | mechanism
        return game


def vary(game: Game, mechanism: Mechanism | tuple[Mechanism, ...] | None, over: Mapping[str, Any]) -> Family:
    """Return the games that come of changing parameters of a mechanism, for ``search``, ``pareto`` and ``gradient``.

    Parameters
    ----------
    game
        The game.
    mechanism
        The mechanism that it is put under, or several, one after the other; None to change the game's own parameters.
    over
        {path: range}: a path is ``"rate"``, ``"terms.limit"`` for a part, ``"rates.0"`` for a place in a tuple, and with
        several mechanisms begins with the number of one, ``"1.rate"``.
    """
    family = Family(game, mechanism, dict(over))
    space = Space(family.over)
    first = {part.name: part.values[0] if part.values else (part.low + part.high) / 2 for part in space.dimensions}
    placed(family._part, first)  # refuses unknown paths
    return family
