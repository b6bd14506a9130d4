"""A grid on which players move, look and fire: geometry as tables, and steps as arithmetic on whole batches."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass

from ..core.arrays import Array, constant, look_up, namespace, to_int

FACINGS = ("north", "east", "south", "west")
_AHEAD = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""What one step to the north, east, south, west adds to row and column."""


def pick(values: Array, index: Array) -> Array:
    """Return values (*batch, k) at integers (*batch, ...) of any further shape."""
    xp = namespace(values)
    batch = tuple(values.shape[:-1])
    flat = xp.reshape(index, (*batch, -1))
    return xp.reshape(xp.take_along_axis(values, flat, axis=-1), tuple(index.shape))


@dataclass(frozen=True)
class Grid:
    """Cells 0 to ``width * height - 1``, row by row from the north-west; the number after the last stands for nowhere.

    Parameters
    ----------
    width, height
        Columns and rows; beyond them is wall.
    sight
        Radius of the square that a player sees around itself.
    reach, breadth
        A beam covers the cells 1 to ``reach`` ahead of a player and up to ``breadth`` to either side of those.
    """

    width: int
    height: int
    sight: int
    reach: int
    breadth: int

    @property
    def cells(self) -> int:
        """Number of cells; also the number that stands for nowhere."""
        return self.width * self.height

    def at(self, row: int, column: int) -> int:
        """Return the number of a cell; nowhere beyond the edge."""
        inside = 0 <= row < self.height and 0 <= column < self.width
        return row * self.width + column if inside else self.cells

    @functools.cached_property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """Steps (ahead, to the right) from a player to the cells that it sees, from the front left to the back right."""
        span = range(-self.sight, self.sight + 1)
        return tuple((-back, right) for back in span for right in span if (back, right) != (0, 0))

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the cells that a player sees: "2 ahead 1 left"."""
        names = []
        for ahead, right in self.offsets:
            forth = f"{abs(ahead)} {'ahead' if ahead > 0 else 'behind'}" if ahead else ""
            side = f"{abs(right)} {'right' if right > 0 else 'left'}" if right else ""
            names.append(f"{forth} {side}".strip())
        return tuple(names)

    def _from(self, code: int, offsets: tuple[tuple[int, int], ...]) -> list[int]:
        """Return the cells at offsets from a player, whose place and facing are ``code // 4`` and ``code % 4``."""
        place, facing = divmod(code, 4)
        if place == self.cells:
            return [place] * len(offsets)
        row, column = divmod(place, self.width)
        (down, along), (side_down, side_along) = _AHEAD[facing], _AHEAD[(facing + 1) % 4]
        return [
            self.at(row + ahead * down + right * side_down, column + ahead * along + right * side_along)
            for ahead, right in offsets
        ]

    @property
    def _codes(self) -> range:
        return range(4 * (self.cells + 1))

    @functools.cached_property
    def _window(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(self._from(code, self.offsets)) for code in self._codes)

    @functools.cached_property
    def _next(self) -> tuple[int, ...]:
        """The cell one step on from a place in a direction; the place itself at the edge."""
        found = [self._from(code, ((1, 0),))[0] for code in self._codes]
        return tuple(code // 4 if cell == self.cells else cell for code, cell in enumerate(found))

    @functools.cached_property
    def in_beam(self) -> tuple[tuple[int, int], ...]:
        """Offsets that a beam covers."""
        return tuple((a, r) for a in range(1, self.reach + 1) for r in range(-self.breadth, self.breadth + 1))

    @functools.cached_property
    def _beam(self) -> tuple[tuple[bool, ...], ...]:
        found = [set(self._from(code, self.in_beam)) - {self.cells} for code in self._codes]
        return tuple(tuple(cell in covered for cell in range(self.cells + 1)) for covered in found)

    @functools.cached_property
    def _numbers(self) -> tuple[int, ...]:
        return (*range(self.cells), -1)

    # ---- arrays: places and facings are (*batch, players), cells (*batch, cells + 1) ----------------------------------

    def occupied(self, places: Array) -> Array:
        """Return the cells on which somebody stands."""
        numbers = constant(places, self._numbers)
        return functools.reduce(operator.or_, (places[..., i, None] == numbers for i in range(places.shape[-1])))

    def look(self, shown: Array, places: Array, facings: Array) -> Array:
        """Return what is shown in the cells that each player sees, (*batch, players, len(offsets))."""
        return pick(shown, look_up(places, self._window, places * 4 + facings))

    def step(self, places: Array, directions: Array) -> Array:
        """Return the cells one step on; the same at the edge."""
        return look_up(places, self._next, places * 4 + directions % 4)

    def settle(self, places: Array, wants: Array, lots: Array) -> Array:
        """Return where players are who want to be elsewhere.

        Nobody enters a cell on which somebody stood; of several who want the same cell, the one with the lowest lot
        enters it (the first of equal lots). So no two players are ever on a cell.
        """
        xp = namespace(places)
        moving = wants != places
        stands = xp.any(wants[..., :, None] == places[..., None, :], axis=-1)
        first = constant(places, _before(places.shape[-1]))
        mine, theirs = lots[..., :, None], lots[..., None, :]
        ahead = (theirs < mine) | ((theirs == mine) & first)
        rival = (wants[..., :, None] == wants[..., None, :]) & moving[..., None, :] & ahead
        return xp.where(moving & ~stands & ~xp.any(rival, axis=-1), wants, places)

    def hit(self, places: Array, facings: Array, firing: Array) -> Array:
        """Return the players on whom a beam of another falls."""
        xp, n = namespace(places), places.shape[-1]
        others = xp.broadcast_to(places[..., None, :], (*places.shape, n))
        falls = pick(look_up(places, self._beam, places * 4 + facings), others)
        return xp.any(falls & firing[..., :, None], axis=-2)

    def swept(self, places: Array, facings: Array, firing: Array) -> Array:
        """Return the cells on which a beam falls."""
        covered = look_up(places, self._beam, places * 4 + facings)
        return functools.reduce(
            operator.or_, (covered[..., i, :] & firing[..., i, None] for i in range(places.shape[-1]))
        )


@functools.cache
def _before(n: int) -> tuple[tuple[bool, ...], ...]:
    """Return which of n players comes before which."""
    return tuple(tuple(j < i for j in range(n)) for i in range(n))


def nth(flags: Array, number: Array) -> Array:
    """Return flags (*batch, k) with only the one that has ``number`` (*batch) others before it left."""
    return flags & (namespace(flags).cumulative_sum(to_int(flags), axis=-1) == number[..., None] + 1)
