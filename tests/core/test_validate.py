"""Checks of parameters name parameter, value and range."""

from __future__ import annotations

import math
from typing import Any

import pytest

from societas.envs.core import validate


@pytest.mark.parametrize("value", [-1, 11, 1.5, "3", True, None, math.nan])
def test_whole(value: Any) -> None:
    assert validate.whole("n", 3, 0, 10) == 3
    with pytest.raises(ValueError, match=f"n: a whole number from 0 to 10, got {value!r}"):
        validate.whole("n", value, 0, 10)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.inf, math.nan, "1", True, None])
def test_real_and_probability(value: Any) -> None:
    assert validate.real("x", 1, 0.0) == 1.0 and validate.probability("p", 0) == 0.0
    with pytest.raises(ValueError, match=f"p: a number from 0 to 1, got {value!r}"):
        validate.probability("p", value)


def test_one_of() -> None:
    assert validate.one_of("regime", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match="regime: one of 'a', 'b', got 'c'"):
        validate.one_of("regime", "c", ("a", "b"))
