"""Intervals must cover, pairing must help, and means must be what a hand would compute."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from societas.experiments.statistics import (
    equivalent,
    holm,
    interval,
    p_value,
    paired_difference,
    power,
    summary,
    worlds_needed,
)

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


# ---- tests of no difference, of equivalence, and plans ----------------------------------------------------------------


def test_the_randomisation_test_by_hand() -> None:
    """Of the eight signs of (1, 2, 3) two give a sum as far from 0 as 6; of (1, -2, 3) four give one as far as 2."""
    assert p_value([1, 2, 3]) == 2 / 8
    assert p_value([1, -2, 3]) == 6 / 8
    assert p_value([0, 0]) == 1.0 and p_value([np.nan]) == 1.0


def test_drawn_signs_agree_with_all_signs() -> None:
    data = np.random.default_rng(5).normal(0.4, 1, 14)
    more = np.append(data, 1e-9)  # one more world, that changes nothing
    assert p_value(more) == pytest.approx(p_value(data), abs=0.01)
    many = np.random.default_rng(5).normal(0.02, 1, 5001)
    assert p_value(many) == pytest.approx(p_value(many[:5000]), abs=0.02)


def test_the_randomisation_test_keeps_its_level() -> None:
    """Of 2,000 comparisons without a difference 5% are found at 5%, skewed differences among them."""
    rng = np.random.default_rng(6)
    draws = rng.exponential(size=(2000, 2, 12))
    found = np.mean([p_value(pair[0] - pair[1]) <= 0.05 for pair in draws])
    assert 0.038 < found < 0.062


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_by_its_definition(ps: list[float]) -> None:
    """Adjusted p is the least level at which Holm's steps reject: never below p, never above Bonferroni's."""
    adjusted = holm(ps)
    for p, q in zip(ps, adjusted, strict=True):
        assert p - 1e-12 <= q <= min(1.0, p * len(ps)) + 1e-12
    order = sorted(ps)
    for level in (0.01, 0.05, 0.5):
        rejected = 0
        while rejected < len(order) and order[rejected] * (len(order) - rejected) <= level:
            rejected += 1
        assert sum(q <= level for q in adjusted) == rejected


def test_holm_errs_in_any_of_ten_with_the_stated_probability() -> None:
    rng = np.random.default_rng(7)
    wrong = np.mean([min(holm(rng.random(10).tolist())) <= 0.05 for _ in range(4000)])
    assert 0.04 < wrong < 0.06


def test_equivalence_keeps_its_level_at_the_margin_and_finds_equality() -> None:
    """At a true difference of just the margin 5% pass; where there is none and data are many, all do."""
    rng = np.random.default_rng(8)
    at_margin = np.mean([equivalent(rng.normal(0.5, 1, 60), 0.5) for _ in range(400)])
    assert at_margin < 0.09
    none = np.mean([equivalent(rng.normal(0, 1, 200), 0.5) for _ in range(60)])
    assert none > 0.99
    with pytest.raises(ValueError, match="margin: above 0"):
        equivalent([1, 2], 0)
    with pytest.raises(ValueError, match="level: above 0.5"):
        equivalent([1, 2], 1, 0.4)


def test_power_is_what_simulation_finds() -> None:
    rng = np.random.default_rng(9)
    data = rng.normal(0.5, 1, (4000, 30))
    t = data.mean(axis=1) / (data.std(axis=1, ddof=1) / 30**0.5)
    simulated = np.mean(np.abs(t) > scipy.stats.t.ppf(0.975, 29))
    assert power(0.5, 1, 30) == pytest.approx(simulated, abs=0.025)
    assert power(0.0, 1, 30) == pytest.approx(0.05, abs=1e-6)


@given(effect=st.floats(0.2, 3), sd=st.floats(0.2, 3))
def test_worlds_needed_are_the_fewest(effect: float, sd: float) -> None:
    needed = worlds_needed(effect, sd)
    assert power(effect, sd, needed) >= 0.8
    assert needed == 2 or power(effect, sd, needed - 1) < 0.8


def test_the_summary_adjusts_for_the_number_of_comparisons() -> None:
    rng = np.random.default_rng(10)
    rows = pd.DataFrame(
        [
            (name, "clear", "p", world, "gain", value)
            for number, name in enumerate(["none", "a", "b", "c"])
            for world, value in enumerate(rng.normal(number, 1, 20))
        ],
        columns=["institution", "uncertainty", "policy", "world", "measure", "value"],
    )
    found = summary(rows)
    assert np.isnan(found["p"].iloc[0]) and found["p"].iloc[1:].notna().all()
    assert found["p_holm"].iloc[1:].tolist() == holm(found["p"].iloc[1:].tolist())
