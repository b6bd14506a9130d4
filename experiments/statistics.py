"""Summaries of an experiment: every cell's mean with its interval, and its paired difference to the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..envs.core.statistics import RESAMPLES, Interval, interval, paired_difference

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RESAMPLES", "Interval", "interval", "lookup", "paired_difference", "summary"]

KEY = ["institution", "uncertainty", "policy", "measure"]


def summary(rows: pd.DataFrame, baseline: str = "none", level: float = 0.95) -> pd.DataFrame:
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

    Returns
    -------
    pandas.DataFrame
        One row per institution, uncertainty, policy and measure, in order of appearance, with
        ``mean, low, high, n`` and ``difference, difference_low, difference_high, pairs``.  The
        difference columns are nan (``pairs`` 0) for the baseline itself and where it was not run.

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
        if key[0] == baseline or reference is None:
            difference = nothing
        else:
            shared = cell.index.intersection(reference.index)
            difference = paired_difference(cell.loc[shared], reference.loc[shared], level)
        records.append((*key, *interval(cell, level), *difference))
    columns = ["mean", "low", "high", "n", "difference", "difference_low", "difference_high", "pairs"]
    return pd.DataFrame.from_records(records, columns=[*KEY, *columns])


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
