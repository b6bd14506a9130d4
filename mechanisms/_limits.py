"""Limits on acts, and the rounds in which something happens."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ..envs.core import validate
from ..envs.core.arrays import Array
from ..envs.core.fields import Choice, Field
from ..envs.core.game import Game
from ..envs.core.mechanism import Unfit
from .column import Column

LAST = 1_000_000_000
"""Highest number of a round."""


def rounds_of(value: Any, first: int = 1) -> tuple[int, ...]:
    """Return numbers of rounds, rising, from ``first`` on; ValueError if they are not."""
    if not isinstance(value, list | tuple) or len(set(map(str, value))) < len(value):
        raise ValueError(f"rounds: a list of different rounds, empty for every round, got {value!r}")
    return tuple(sorted(validate.whole("rounds", each, first, LAST) for each in value))


def among(number: Array, rounds: tuple[int, ...]) -> Array:
    """Say where a round (*batch) is one of some, all where none is named."""
    found = number >= 0 if not rounds else number == rounds[0]
    for each in rounds[1:]:
        found = found | (number == each)
    return found


def said(rounds: tuple[int, ...]) -> str:
    """Name rounds in words: "round 3", "rounds 3, 4 and 9"."""
    *most, last = map(str, rounds)
    return f"rounds {', '.join(most)} and {last}" if most else f"round {last}"


def check_limits(low: float | None, high: float | None) -> None:
    """Refuse limits that leave nothing."""
    for name, value in (("low", low), ("high", high)):
        if value is not None:
            validate.real(name, value)
    if low is not None and high is not None and low > high:
        raise ValueError(f"low: at most high={high:g}, got {low!r}")


def between(low: float | None, high: float | None) -> str:
    """Say limits in words: "at most 3", "from 1 to 3", "exactly 3"."""
    if low is None or high is None:
        return f"at least {low:g}" if high is None else f"at most {high:g}"
    return f"exactly {low:g}" if low == high else f"from {low:g} to {high:g}"


def numbers(field: Field) -> tuple[float, ...]:
    """Return the numbers that the options of a choice are, and none for a field that is a number.

    Raises
    ------
    Unfit
        If the options are words.
    """
    if not isinstance(field.space, Choice):
        return ()
    try:
        found = tuple(float(option) for option in field.space.options)
    except ValueError:
        found = (math.nan,)
    if not all(map(math.isfinite, found)):
        raise Unfit(f"low, high: field {field.name!r} is {field.space}, which are words; name options instead")
    return found


def decided_by(game: Game, name: str, who: tuple[str, ...]) -> Column:
    """Return an act of some roles and players, of all who decide it where none is named; Unfit if one does not."""
    column = Column.of(game, name, "acts")
    known = {role for role, _ in column.seats} | set(column.players)
    if strange := [one for one in who if one not in known]:
        raise Unfit(f"who: {', '.join(strange)} does not decide {name!r}; these do: {', '.join(column.players)}")
    pairs = zip(column.seats, column.players, strict=True)
    chosen = [(seat, player) for seat, player in pairs if not who or seat[0] in who or player in who]
    return replace(column, seats=tuple(seat for seat, _ in chosen), players=tuple(player for _, player in chosen))


def check_option(field: Field, option: str, parameter: str) -> int:
    """Return the index of an option; Unfit if the field does not have it."""
    if not isinstance(field.space, Choice) or option not in field.space.options:
        raise Unfit(f"{parameter}: {option!r} must be an option of field {field.name!r}, which is {field.space}")
    return field.space.options.index(option)


def middling(game: Game) -> tuple[str, float | None, str]:
    """Return an act, and the middle of its range or, for a choice, its first option: what limits are shown on.

    Raises
    ------
    Unfit
        If nobody decides a number or a choice that all who decide it decide alike.
    """
    for name in dict.fromkeys(field.name for role in game.roles for field in role.acts):
        try:
            field = Column.of(game, name, "acts").field
        except Unfit:
            continue
        if isinstance(field.space, Choice):
            return name, None, field.space.options[0]
        low, high = field.space.low, field.space.high
        middle = (low + high) / 2
        return name, float(middle if abs(middle) < 1e9 else min(max(1.0, low), high)), ""
    raise Unfit(f"field: nobody in {game.name} decides a number or a choice that all decide alike")
