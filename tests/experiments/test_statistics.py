"""Intervals must cover, pairing must help, and means must be what a hand would compute."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from societas.experiments.statistics import interval, paired_difference, summary

DRAWS: dict[str, tuple[Callable[[np.random.Generator, int], NDArray[np.float64]], float]] = {
    "normal": (lambda g, n: g.normal(1.0, 2.0, n), 1.0),
    "skewed and bounded": (lambda g, n: g.beta(0.5, 1.5, n), 0.25),
    "nearly at its bound": (lambda g, n: g.beta(8.0, 2.0, n), 0.8),
}


@pytest.mark.parametrize("name", DRAWS)
def test_interval_covers(name: str) -> None:
    draw, truth = DRAWS[name]
    generator = np.random.default_rng(7)
    tries = 800
    hits = 0
    for _ in range(tries):
        found = interval(draw(generator, 30), resamples=2000)
        hits += found.low <= truth <= found.high
    assert 0.92 <= hits / tries <= 0.98


def test_interval_covers_with_few_worlds() -> None:
    """The plain percentile bootstrap covers 0.88 here; the correction must earn its keep."""
    generator = np.random.default_rng(8)
    tries = 800
    found = [interval(generator.normal(0, 1, 8), resamples=2000) for _ in range(tries)]
    assert 0.92 <= sum(each.holds_zero for each in found) / tries <= 0.98


def test_interval_is_repeatable_and_scales() -> None:
    data = np.random.default_rng(1).beta(2, 5, 20)
    once = interval(data)
    assert once == interval(data)
    assert once.low < once.mean < once.high
    assert data.min() <= once.low and once.high <= data.max()
    moved = interval(10 + 4 * data)
    assert moved.low == pytest.approx(10 + 4 * once.low)
    assert moved.high == pytest.approx(10 + 4 * once.high)
    wide, narrow = interval(data, 0.99), interval(data, 0.5)
    assert wide.low < once.low < narrow.low and narrow.high < once.high < wide.high


def test_many_values_are_resampled_in_blocks() -> None:
    data = np.random.default_rng(2).normal(size=3000)
    found = interval(data)
    half = 1.96 / math.sqrt(3000)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.06)


def test_degenerate_data() -> None:
    flat = interval([0.3, 0.3, 0.3])
    assert flat.low == flat.mean == flat.high == pytest.approx(0.3) and flat.n == 3
    one = interval([2.0])
    assert one.mean == 2.0 and math.isnan(one.low) and math.isnan(one.high) and one.n == 1
    none = interval([math.nan])
    assert math.isnan(none.mean) and none.n == 0
    assert interval([1.0, math.nan, 3.0]).mean == 2.0
    two = interval([0.0, 1.0])
    assert (two.low, two.high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="level"):
        interval([1.0, 2.0], level=95)


def test_pairing_shrinks_the_interval() -> None:
    generator = np.random.default_rng(3)
    world = generator.normal(0, 3, 25)
    a, b = world + 0.5 + generator.normal(0, 0.3, 25), world + generator.normal(0, 0.3, 25)
    paired = paired_difference(a, b)
    unpaired = paired_difference(a, generator.permutation(b))
    assert paired.high - paired.low < 0.3 * (unpaired.high - unpaired.low)
    assert not paired.holds_zero and unpaired.holds_zero
    with pytest.raises(ValueError, match="same worlds"):
        paired_difference([1.0, 2.0], [1.0])


def table(values: dict[str, dict[int, float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            (institution, "clear", "scripted", world, "gain", value)
            for institution, worlds in values.items()
            for world, value in worlds.items()
        ],
        columns=["institution", "uncertainty", "policy", "world", "measure", "value"],
    )


def test_summary_by_hand() -> None:
    rows = table({"none": {0: 1.0, 1: 2.0, 2: 6.0}, "talk": {2: 7.0, 1: 4.0, 9: 100.0}})
    found = summary(rows).set_index("institution")
    assert found.loc["none", "mean"] == 3.0 and found.loc["none", "n"] == 3
    assert math.isnan(float(found["difference"]["none"])) and found.loc["none", "pairs"] == 0
    assert found.loc["talk", "mean"] == 37.0
    # Paired by world number, whatever the order: (4 - 2 + 7 - 6) / 2; world 9 has no partner.
    assert found.loc["talk", "difference"] == 1.5 and found.loc["talk", "pairs"] == 2
    assert found.loc["talk", "difference_low"] == 1.0 and found.loc["talk", "difference_high"] == 2.0


def test_summary_without_baseline_and_with_a_repeated_world() -> None:
    found = summary(table({"talk": {0: 1.0, 1: 2.0}}))
    assert found["difference"].isna().all() and found["mean"].tolist() == [1.5]
    rows = table({"talk": {0: 1.0}})
    with pytest.raises(ValueError, match="occurs twice"):
        summary(pd.concat([rows, rows]))
