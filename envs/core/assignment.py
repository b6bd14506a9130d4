"""Assignment: rules that give each person at most one seat, as functions of arrays.

Persons rank seats, (*batch, persons, seats): a lower number is better, and of equal ones the seat listed first is. Each
seat has a line of persons, ``lines`` (*batch, seats, persons): how many stand before each. There may be more persons than
seats or fewer. A result is the seat of each person, (*batch, persons), -1 for none.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np

from .arrays import Array, absent, constant, device_of, look_up, namespace, to_int, total


def places(ranks: Array) -> Array:
    """Return strict ranks from 0 on (*batch, ..., k): of equal ones the first is lower."""
    xp, one, other = namespace(ranks), ranks[..., :, None], ranks[..., None, :]
    number = xp.arange(ranks.shape[-1], device=device_of(ranks))
    return total(to_int((other < one) | ((other == one) & (number[None, :] < number[:, None]))))


def first(values: Array, allowed: Array) -> Array:
    """Mark the allowed entry with the lowest value on the last axis; none where none is allowed. Values differ."""
    xp = namespace(values)
    barred = xp.where(allowed, values, xp.max(values) + 1)
    return allowed & (barred == _over(xp.minimum, xp.min, barred)[..., None])


def _over(pair: Callable[[Array, Array], Array], whole: Callable[..., Array], values: Array) -> Array:
    """Reduce the last axis; NumPy does a short one of many worlds several times faster column by column, to the same bits."""
    count = values.shape[-1]
    if isinstance(values, np.ndarray) and count < 16 and values.size > 128:
        return functools.reduce(pair, [values[..., i] for i in range(count)])
    return whole(values, axis=-1)


def _seats(taken: Array) -> Array:
    """Turn marks (*batch, persons, seats) into the seat of each person, -1 for none."""
    xp = namespace(taken)
    number = xp.arange(taken.shape[-1], device=device_of(taken))
    return total(to_int(taken) * (number + 1)) - 1


def _turned(marks: Array) -> Array:
    return namespace(marks).matrix_transpose(marks)


def serial(ranks: Array, order: Array) -> Array:
    """Let persons choose in turn, ``order`` (*batch, persons) saying how many do before each (serial dictatorship).

    It is dominant to tell one's true ranks, and no other assignment is better for somebody and worse for nobody
    (Svensson 1999).
    """
    xp, wanted = namespace(ranks), places(ranks)
    taken = wanted < 0
    for turn in range(ranks.shape[-2]):
        free = ~xp.any(taken, axis=-2, keepdims=True)
        taken = taken | (first(wanted, xp.broadcast_to(free, taken.shape)) & (order == turn)[..., None])
    return _seats(taken)


def deferred(ranks: Array, lines: Array) -> Array:
    """Let persons propose, and seats hold the first in line of those who do, until nobody is refused any more.

    Deferred acceptance (Gale and Shapley 1962, doi:10.2307/2312726): no person and seat would rather have
    each other than what they have, of all such assignments it is the best for every person, and it is dominant for
    persons to tell their true ranks (Dubins and Freedman 1981; Roth 1982).
    """
    wanted, before = places(ranks), _turned(lines)
    refused = held = wanted < 0
    for _ in range(ranks.shape[-1] * ranks.shape[-2]):  # each but the last refuses somebody something
        proposed = first(wanted, ~refused)
        held = _turned(first(_turned(before), _turned(proposed)))
        now = proposed & ~held
        refused = refused | now
        if absent(now):
            break
    return _seats(held)


def boston(ranks: Array, lines: Array) -> Array:
    """Give each seat to the first in line of those who rank it first; what is left to those who rank it second; and so on.

    Immediate acceptance: many get what they say they want most, and it pays to say something else (Abdulkadiroglu and
    Sonmez 2003, doi:10.1257/000282803322157061).
    """
    xp, wanted = namespace(ranks), places(ranks)
    taken = wanted < 0
    for round_ in range(ranks.shape[-1]):
        open_ = ~xp.any(taken, axis=-1, keepdims=True) & ~xp.any(taken, axis=-2, keepdims=True)
        taken = taken | _turned(first(lines, _turned(open_ & (wanted == round_))))
    return _seats(taken)


def trading(ranks: Array, lines: Array) -> Array:
    """Let persons point to the seat that they want most and seats to the first in line; all on a cycle trade and leave.

    Top trading cycles (Shapley and Scarf 1974, doi:10.1016/0304-4068(74)90033-0). Where each seat has its owner first in
    line, nobody ends up with less than her own seat, no group could do better with its own, and it is dominant to tell
    one's true ranks (Roth 1982); the same holds of truth and efficiency with any lines (Abdulkadiroglu and Sonmez 2003).
    """
    xp, wanted = namespace(ranks), places(ranks)
    persons, seats = ranks.shape[-2], ranks.shape[-1]
    taken = wanted < 0
    for _ in range(min(persons, seats)):
        here = ~xp.any(taken, axis=-1, keepdims=True)
        open_ = here & ~xp.any(taken, axis=-2, keepdims=True)
        if absent(open_):
            break
        points = first(wanted, open_)
        owned = first(lines, _turned(open_))
        reach = xp.any(
            points[..., :, :, None] & owned[..., None, :, :], axis=-2
        )  # from a person to whom her seat wants
        for _ in range(max(persons - 1, 1).bit_length()):
            reach = reach | xp.any(reach[..., :, :, None] & reach[..., None, :, :], axis=-2)
        cycle = xp.stack([reach[..., i, i] for i in range(persons)], axis=-1)
        taken = taken | (points & cycle[..., None])
    return _seats(taken)


def lot(u: Array) -> Array:
    """Return a random order, how many come before each, from uniforms (*batch, persons)."""
    return places(u)


# ---- what an assignment is worth ----------------------------------------------------------------------------------


def met(seat: Array, seats: int) -> Array:
    """Mark who sits where: the seat of each person (*batch, persons), -1 for none, to (*batch, persons, seats)."""
    return seat[..., :, None] == namespace(seat).arange(seats, device=device_of(seat))


def blocking(ranks: Array, lines: Array, taken: Array) -> Array:
    """Mark the pairs (*batch, persons, seats) who would rather have each other than what they have (Gale and Shapley 1962).

    Ranks and lines are strict and smaller than their number; to have nobody is worst. ``taken`` marks who sits where.
    """
    xp, before = namespace(ranks), _turned(lines)
    persons, seats = ranks.shape[-2], ranks.shape[-1]
    own = xp.min(xp.where(taken, ranks, seats), axis=-1, keepdims=True)
    theirs = xp.min(xp.where(taken, before, persons), axis=-2, keepdims=True)
    return (ranks < own) & (before < theirs)


def heaviest(weights: Array) -> Array:
    """Pair persons and seats so that the sum of weights (*batch, n, n) is largest.

    Exact, by dynamic programming over sets of seats (Held and Karp 1962, doi:10.1137/0110015): what the first k persons make
    of k seats is the best, over the seat of the k-th, of what the others make of the rest. It takes n 2^(n-1) additions a
    world and n steps for all worlds at once, so that it suits n up to about 10 and any number of worlds.
    """
    xp, n = namespace(weights), weights.shape[-1]
    best, layers = weights[..., 0, :], []
    for k, (rest, last) in enumerate(_subsets(n), start=1):
        layers.append(best[..., constant(weights, rest)] + weights[..., k, :][..., constant(weights, last)])
        best = _over(xp.maximum, xp.max, layers[-1])
    chosen, seat = to_int(weights[..., 0, 0] * 0.0), []
    for (rest, last), sums in zip(reversed(_subsets(n)), reversed(layers), strict=True):  # from the last person back
        mine = xp.take_along_axis(sums, chosen[..., None, None], axis=-2)[..., 0, :]
        pick = xp.argmax(mine, axis=-1)[..., None]
        seat.append(xp.take_along_axis(look_up(weights, last, chosen), pick, axis=-1)[..., 0])
        chosen = xp.take_along_axis(look_up(weights, rest, chosen), pick, axis=-1)[..., 0]
    return xp.stack([chosen, *reversed(seat)], axis=-1)


@functools.lru_cache(maxsize=16)
def _subsets(n: int) -> tuple[tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]], ...]:
    """For sets of 2, 3, ..., n seats: the numbers of the sets that lack each of their seats, and those seats."""
    layers: list[tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]] = []
    before: dict[tuple[int, ...], int] = {(j,): j for j in range(n)}
    for k in range(2, n + 1):
        sets = list(itertools.combinations(range(n), k))
        rest = tuple(tuple(before[(*one[:i], *one[i + 1 :])] for i in range(k)) for one in sets)
        layers.append((rest, tuple(sets)))
        before = {one: number for number, one in enumerate(sets)}
    return tuple(layers)
