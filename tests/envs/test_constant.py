"""Tables of numbers that are kept once a device."""

from __future__ import annotations

import numpy as np

from societas.envs.core.arrays import constant


def test_equal_numbers_of_different_type_are_different_tables() -> None:
    like = np.zeros(1)
    for values in ((0, 1), (0.0, 1.0), (0, 1.0), (0, 1), ((0, 1), (1, 0)), ((0.0, 1), (1, 0))):
        assert constant(like, values).dtype == np.asarray(values).dtype
    assert constant(like, (3, 4)) is constant(like, (3, 4))
