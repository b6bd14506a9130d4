"""Fields and roles: no field without words, no name twice, no empty range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from societas import Choice, Field, Integer, Real, Role
from societas.envs.core.fields import components, find


def test_spaces_in_words() -> None:
    assert str(Integer(0, 9)) == "a whole number from 0 to 9"
    assert str(Real(0, 0.5)) == "a number from 0 to 0.5"
    assert str(Real()) == "a number"
    assert str(Choice(("yes", "no"))) == 'one of "yes", "no"'
    assert Choice(("yes", "no")).codes == (0, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Integer(3, 2), "Integer: high must be at least low=3, got 2"),
        (lambda: Real(3.0, 2.0), r"Real: high must be at least low=3.0, got 2.0"),
        (lambda: Real(0.0, math.nan), "Real: high must be at least"),
        (lambda: Choice(()), "Choice: options must be non-empty and distinct"),
        (lambda: Choice(("a", "a")), "Choice: options must be non-empty and distinct"),
        (lambda: Field("two words", Integer(0, 1), "x"), "name must be an identifier, got 'two words'"),
        (lambda: Field("x", Integer(0, 1), "  "), "Field 'x': means must say in words what it is"),
        (lambda: Role("r", 0, (), ()), "Role 'r': count must be at least 1, got 0"),
    ],
)
def test_errors_name_the_parameter(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_names_are_distinct_within_what_is_seen_and_within_what_is_done() -> None:
    field = Field("x", Integer(0, 1), "a bit")
    Role("r", 1, (field,), (field,))
    with pytest.raises(ValueError, match=r"Role 'r': field names must be distinct, got \['x'\] twice"):
        Role("r", 1, (field, field), ())
    with pytest.raises(ValueError, match="must be distinct"):
        Role("r", 1, (), (field, field))


def test_who_decides_what_when() -> None:
    early = Field("early", Integer(0, 1), "first", stage="one")
    some = Field("some", Integer(0, 1), "for two of three", stage="one", by=(0, 2))
    late = Field("late", Integer(0, 1), "second", stage="two")
    role = Role("r", 3, (), (early, some, late))
    assert role.players == ("r_0", "r_1", "r_2")
    assert role.deciding("one") == (early, some)
    assert role.deciding("one", 1) == (early,)
    assert role.deciding("two", 2) == (late,)
    assert role.deciding("three") == ()


def test_find_lists_what_there_is() -> None:
    fields = (Field("x", Integer(0, 1), "a"), Field("y", Real(), "b", each=("p", "q")))
    assert find(fields, "y", "role") is fields[1]
    with pytest.raises(KeyError, match="role has no field 'z'; it has: x, y"):
        find(fields, "z", "role")
    assert list(components(fields[0])) == [("x", None)]
    assert list(components(fields[1])) == [("y[p]", 0), ("y[q]", 1)]
    assert fields[1].shape == (2,) and fields[0].shape == ()
    assert fields[0].discrete and not fields[1].discrete


def test_clip_brings_values_into_the_space() -> None:
    assert Field("x", Integer(0, 3), "a").clip(np.array([-1.0, 1.6, 9.0])).tolist() == [0, 2, 3]
    assert Field("x", Real(0, 3), "a").clip(np.array([-1.0, 1.6, 9.0])).tolist() == [0.0, 1.6, 3.0]
