"""When to stop: an interval of fixed width, with as many worlds as it takes.

Source: Y. S. Chow, H. Robbins, "On the asymptotic theory of fixed-width sequential confidence intervals for the mean",
Annals of Mathematical Statistics 36 (1965) 457-462.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from ..envs.core.statistics import RESAMPLES, Interval, interval

LEAST = 30
"""Fewest worlds on which a run may stop."""


def least_half_width(values: ArrayLike) -> float:
    r"""Return :math:`t_{n-1} \sqrt{(s^2 + 1/n)/n}`, infinite with fewer than two values.

    The term :math:`1/n` of Chow and Robbins (1965) keeps a few worlds that happen to be alike from ending a run.
    """
    from scipy.stats import t

    data = np.asarray(values, dtype=np.float64).ravel()
    data = data[~np.isnan(data)]
    n = int(data.size)
    if n < 2:
        return math.inf
    return float(t.ppf(0.975, n - 1)) * math.sqrt((float(data.var(ddof=1)) + 1 / n) / n)


def half_width(values: ArrayLike, found: Interval | None = None, *, resamples: int = RESAMPLES) -> float:
    """Return half the width of the 95% interval of the mean, as it counts for stopping.

    That is half the bootstrap interval (:func:`societas.experiments.statistics.interval`), but no less than
    :func:`least_half_width`.

    Parameters
    ----------
    values
        One a world, in the measure's unit; not-a-number entries are left out.
    found
        Their interval, where it is known.
    resamples
        Number of bootstrap resamples.

    Returns
    -------
    float
        In the measure's unit; infinite with fewer than two values.
    """
    least = least_half_width(values)
    if math.isinf(least):
        return least
    found = found or interval(values, resamples=resamples)
    return max(least, (found.high - found.low) / 2)


def reached(values: ArrayLike, wanted: float, *, resamples: int = RESAMPLES) -> bool:
    """Whether half the 95% interval is no wider than ``wanted``, on at least LEAST worlds."""
    count = int((~np.isnan(np.asarray(values, dtype=np.float64))).sum())
    if count < LEAST or least_half_width(values) > wanted:  # the bootstrap is not needed to know
        return False
    return half_width(values, resamples=resamples) <= wanted
