"""Summaries of an experiment: means with intervals, paired differences, and what can be concluded from many of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..envs.core.statistics import MANY, RESAMPLES, Interval, interval, paired_difference

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "RESAMPLES",
    "Interval",
    "equivalent",
    "findable",
    "holm",
    "interval",
    "lookup",
    "p_value",
    "paired_difference",
    "power",
    "summary",
    "worlds_needed",
]

KEY = ["institution", "uncertainty", "policy", "measure"]


def summary(
    rows: pd.DataFrame, baseline: str = "none", level: float = 0.95, margins: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Mean of each measure in each cell, and its paired difference to the baseline institution.

    Parameters
    ----------
    rows
        Long table with the columns ``institution, uncertainty, policy, world, measure, value``.
    baseline
        Institution that the others are compared with, at the same uncertainty and policy, in the
        worlds that both have.
    level
        Confidence level of every interval, each taken by itself.
    margins
        {measure: the largest difference that does not matter, in its unit}.

    Returns
    -------
    pandas.DataFrame
        One row per institution, uncertainty, policy and measure, in order of appearance, with
        ``mean, low, high, n``, ``difference, difference_low, difference_high, pairs`` and ``p``, the
        p-value of the paired randomisation test, and ``p_holm``, adjusted for all differences of the
        same measure.  With a margin for its measure, ``equivalent`` says whether the difference is shown
        to be smaller (:func:`equivalent`).  The difference columns are nan (``pairs`` 0) for the baseline itself and where
        it was not run.

    Raises
    ------
    ValueError
        If a world occurs twice in one cell, for then it could not be paired.
    """
    import pandas as pd

    twice = rows.duplicated([*KEY, "world"])
    if twice.any():
        where = rows.loc[twice, [*KEY, "world"]].iloc[0].to_dict()
        raise ValueError(f"a world occurs twice in one cell: {where}")
    cells: dict[tuple[str, ...], pd.Series[float]] = {
        tuple(str(part) for part in key): cell.set_index("world")["value"].astype(float)
        for key, cell in rows.groupby(KEY, sort=False)
    }
    nothing = Interval(float("nan"), float("nan"), float("nan"), 0)
    records: list[tuple[str | float, ...]] = []
    for key, cell in cells.items():
        reference = cells.get((baseline, *key[1:]))
        difference, p, same = nothing, float("nan"), False
        if key[0] != baseline and reference is not None:
            shared = cell.index.intersection(reference.index)
            difference = paired_difference(cell.loc[shared], reference.loc[shared], level)
            if difference.n > 1:
                within = cell.loc[shared].to_numpy() - reference.loc[shared].to_numpy()
                p = p_value(within)
                same = key[3] in (margins or {}) and equivalent(within, (margins or {})[key[3]], level)
        records.append((*key, *interval(cell, level), *difference, p, same))
    columns = [
        "mean",
        "low",
        "high",
        "n",
        "difference",
        "difference_low",
        "difference_high",
        "pairs",
        "p",
        "equivalent",
    ]
    found = pd.DataFrame.from_records(records, columns=[*KEY, *columns])
    found["p_holm"] = float("nan")
    for _, family in found.groupby("measure"):
        found.loc[family.index, "p_holm"] = holm(family["p"].tolist())
    return found[[*found.columns.drop("equivalent"), "equivalent"]]


def p_value(differences: ArrayLike, *, flips: int = 20_000, seed: int = 0) -> float:
    """Return the p-value of the paired randomisation test of "no difference" (Fisher 1935), two-sided.

    Were there no difference, each world's difference could as well have had the other sign. With up to 14 worlds all
    signs are tried, else as many as ``flips``, the signs that were seen among them, so that p is never 0.

    Parameters
    ----------
    differences
        One a world; not-a-number entries are left out.
    flips, seed
        How many signs are drawn, and from which seed: equal data give equal values.
    """
    data = np.asarray(differences, dtype=float).ravel()
    data = data[~np.isnan(data)]
    data = data[data != 0]  # no sign to flip
    if not data.size:
        return 1.0
    seen = abs(data.sum()) * (1 - 1e-12)
    if data.size <= 14:
        signs = 1.0 - 2.0 * ((np.arange(2**data.size)[:, None] >> np.arange(data.size)) & 1)
        return float((np.abs(signs @ data) >= seen).mean())
    if data.size > MANY:  # the sum is normal
        return math.erfc(seen / math.sqrt(2 * float((data**2).sum())))
    generator, count, begun = np.random.default_rng(seed), 0, 0
    block = max(1, 4_000_000 // data.size)
    while begun < flips:
        size = min(block, flips - begun)
        signs = 1.0 - 2.0 * generator.integers(0, 2, (size, data.size))
        count += int((np.abs(signs @ data) >= seen).sum())
        begun += size
    return (1 + count) / (1 + flips)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number by Holm's (1979) method; nan stays nan and is not counted.

    Rejecting those below 5% then errs in any of them with a probability of at most 5%, however they depend on each other.
    """
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    adjusted, least = [float("nan")] * len(p_values), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = least
    return adjusted


def equivalent(differences: ArrayLike, margin: float, level: float = 0.95) -> bool:
    """Whether a difference is shown to be no larger than a margin, either way (two one-sided tests, Schuirmann 1987).

    That is so where the interval of confidence ``2 level - 1`` lies within the margins; a difference that is larger passes
    with a probability of at most ``1 - level``.

    Parameters
    ----------
    differences
        One a world.
    margin
        The largest difference that does not matter, above 0, in the measure's unit.
    level
        Confidence, above 0.5.
    """
    if not margin > 0:
        raise ValueError(f"margin: above 0, in the measure's unit, got {margin!r}")
    if not 0.5 < level < 1:
        raise ValueError(f"level: above 0.5 and below 1, got {level!r}")
    found = interval(differences, 2 * level - 1)
    return bool(-margin < found.low and found.high < margin)


def power(effect: float, sd: float, worlds: int, alpha: float = 0.05) -> float:
    """Return the probability that a paired t-test of this many worlds finds an effect, at the two-sided level alpha.

    Parameters
    ----------
    effect, sd
        Mean and standard deviation of the difference between two arms within a world.
    worlds
        Pairs, at least 2.
    """
    from scipy.stats import f, ncf

    if worlds < 2 or not sd > 0:
        raise ValueError(f"worlds, sd: at least 2 worlds and an sd above 0, got {worlds} and {sd}")
    if not effect:
        return alpha
    edge = float(f.ppf(1 - alpha, 1, worlds - 1))  # t squared
    return float(ncf.sf(edge, 1, worlds - 1, worlds * (effect / sd) ** 2))


def worlds_needed(effect: float, sd: float, wanted: float = 0.8, alpha: float = 0.05) -> int:
    """Return the fewest worlds with which a paired comparison finds an effect with the probability ``wanted``."""
    if not effect:
        raise ValueError("effect: other than 0; no number of worlds finds what is not there")
    high = 2
    while power(effect, sd, high, alpha) < wanted:
        high *= 2
    low = max(2, high // 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, sd, middle, alpha) >= wanted else (middle + 1, high)
    return low


def findable(sd: float, worlds: int, wanted: float = 0.8, alpha: float = 0.05) -> float:
    """Return the least effect that a paired comparison finds with the probability ``wanted``, to a thousandth of itself.

    Parameters
    ----------
    sd
        Standard deviation of the difference between two arms within a world, in the measure's unit.
    worlds
        Pairs, at least 2.
    """
    low, high = 0.0, sd / math.sqrt(worlds)
    while power(high, sd, worlds, alpha) < wanted:
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, sd, worlds, alpha) >= wanted else (middle, high)
    return high


def lookup(found: pd.DataFrame) -> dict[tuple[str, str, str, str], tuple[Interval, Interval]]:
    """Mean and difference to the baseline of each cell of a :func:`summary`.

    Parameters
    ----------
    found
        As returned by :func:`summary`.

    Returns
    -------
    dict
        Keys are policy, uncertainty, institution and measure.
    """
    return {
        (str(r["policy"]), str(r["uncertainty"]), str(r["institution"]), str(r["measure"])): (
            Interval(float(r["mean"]), float(r["low"]), float(r["high"]), int(r["n"])),
            Interval(
                float(r["difference"]),
                float(r["difference_low"]),
                float(r["difference_high"]),
                int(r["pairs"]),
            ),
        )
        for r in found.to_dict("records")
    }
