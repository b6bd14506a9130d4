"""Means over worlds with intervals, and paired differences.

The unit of observation is the *world*: one draw of everything random that the institution does not
control.  Two institutions tried in the world of the same number share those draws (common random
numbers), so their difference is taken within each world and only then averaged.

Sources: B. Efron, "Better Bootstrap Confidence Intervals", Journal of the American Statistical
Association 82 (1987) 171-185; T. C. Hesterberg, "What Teachers Should Know About the Bootstrap",
The American Statistician 69 (2015) 371-386, for the correction in small samples.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 10_000
SEED = 20_240_229
MANY = 5_000
"""Above so many worlds the bootstrap is not drawn but taken in its limit."""


class Interval(NamedTuple):
    """A mean, the ends of its confidence interval, and the number of worlds behind it."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def holds_zero(self) -> bool:
        """Whether zero lies inside the interval (also true when the interval is unknown)."""
        return not (self.low > 0 or self.high < 0)


def _resampled_means(values: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """Sorted means of ``resamples`` samples drawn from ``values`` with replacement."""
    generator = np.random.default_rng(seed)
    block = max(1, 4_000_000 // values.size)  # bounds the memory; one block up to n = 400
    means = [
        values[generator.integers(0, values.size, (min(block, resamples - start), values.size))].mean(axis=1)
        for start in range(0, resamples, block)
    ]
    return np.sort(np.concatenate(means))


def interval(values: ArrayLike, level: float = 0.95, *, resamples: int = RESAMPLES, seed: int = SEED) -> Interval:
    r"""Mean with a bias-corrected and accelerated (BCa) bootstrap interval, widened for small ``n``.

    The ends are the quantiles :math:`\Phi(z_0 + w/(1 - a w))`, with :math:`w = z_0 \pm z`, of the
    bootstrap distribution of the mean.  Here :math:`z_0 = \Phi^{-1}(\text{share of resampled means
    below the mean})` corrects bias, :math:`a = \sum d_i^3 / (6 (\sum d_i^2)^{3/2})`, with
    :math:`d_i = x_i - \bar x`, corrects skewness (Efron 1987), and
    :math:`z = \sqrt{n/(n-1)}\, t_{n-1}` replaces the normal quantile, because resampling alone
    understates the spread by the factor :math:`\sqrt{(n-1)/n}` and ignores that it was estimated
    (Hesterberg 2015).

    Why not the t-interval: measures here are bounded and often skewed, and a symmetric interval
    then leaves the range a measure can take and misses too often on one side.  This one never
    leaves the range of the data.  Beyond 5,000 worlds the bootstrap is not drawn: its distribution
    is then normal but for the skewness of the mean, to all digits that matter.

    Parameters
    ----------
    values
        One number per world; not-a-number entries (measure undefined in that world) are left out.
    level
        Confidence level, between 0 and 1.
    resamples, seed
        Number of bootstrap resamples and their fixed seed: equal data give equal intervals.

    Returns
    -------
    Interval
        No data give all nan; one world gives its value with nan ends; values that are all equal
        give an interval of zero width, which says that no variation was seen, not that none exists.
    """
    from scipy.stats import t

    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    data = np.asarray(values, dtype=np.float64).ravel()
    data = data[~np.isnan(data)]
    n = int(data.size)
    if n == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    mean = float(data.mean())
    if n == 1:
        return Interval(mean, float("nan"), float("nan"), 1)
    if np.ptp(data) <= 1e-12 * max(1.0, float(np.abs(data).max())):
        return Interval(mean, mean, mean, n)

    normal = NormalDist()
    deviation = data - mean
    skew = float((deviation**3).sum() / (6 * (deviation**2).sum() ** 1.5))
    z = float(np.sqrt(n / (n - 1)) * t.ppf((1 + level) / 2, n - 1))
    if n > MANY:  # the bootstrap distribution of the mean is then known: normal, but for its skewness
        error = float(data.std()) / n**0.5
        points = [skew + w / (1 - skew * w) for w in (skew - z, skew + z)]
        low, high = (mean + error * (point + skew * (point**2 - 1)) for point in points)
        return Interval(mean, low, high, n)
    means = _resampled_means(data, resamples, seed)
    tie = 1e-12 * float(np.abs(data).max())
    below, upto = np.searchsorted(means, [mean - tie, mean + tie])
    share = float(below + upto) / (2 * resamples)  # ties count half
    bias = normal.inv_cdf(min(max(share, 1 / resamples), 1 - 1 / resamples))

    def share_at(w: float) -> float:
        if 1 - skew * w <= 0:  # beyond the reach of the correction: the far end of the data
            return float(w > 0)
        return normal.cdf(bias + w / (1 - skew * w))

    low, high = np.quantile(means, [share_at(bias - z), share_at(bias + z)])
    return Interval(mean, float(low), float(high), n)


def paired_difference(
    a: ArrayLike, b: ArrayLike, level: float = 0.95, *, resamples: int = RESAMPLES, seed: int = SEED
) -> Interval:
    r"""Mean of :math:`a_w - b_w` over worlds :math:`w`, with the interval of :func:`interval`.

    Parameters
    ----------
    a, b
        Values in the same worlds, in the same order.  A world undefined in either is left out.
    level, resamples, seed
        As in :func:`interval`.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"a and b must hold the same worlds; their shapes are {first.shape}, {second.shape}")
    return interval(first - second, level, resamples=resamples, seed=seed)
