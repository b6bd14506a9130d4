"""Measures of how a society fares, each defined once, with its formula and source."""

from __future__ import annotations

from .arrays import Array, namespace, to_float, to_int
from .arrays import total as add
from .game import Measure

GOVSIM = "Piatti et al. 2024, arXiv:2404.16698"


def commons(
    place: str = "fishery",
    *,
    user: str = "fisher",
    take: str = "catch",
    takes: str = "catches",
    taken: str = "fish was caught",
    unit: str = "tonnes",
    possible: str = "f(0) the sustainable catch of the first month",
    joins: bool = False,
) -> tuple[Measure, ...]:
    """Return the published measures of a commons in the words of a setting.

    Parameters
    ----------
    place, user, take, takes, taken, unit
        What may collapse, who uses it, what a user takes from it (one, several, and in the past), and the unit of that.
    possible
        What f is in the formula of efficiency.
    joins
        Whether a user joins during the game: n then counts those who have taken part, and a user who is not there yet
        has no months.
    """
    who, pairs = ("; n: those who have taken part", "sum_t n_t") if joins else ("", "n T'")
    article = "an" if user[0] in "aeiou" else "a"
    share = "f_t / n_t" if joins else "f_t / n"
    return (
        Measure(
            "survival",
            f"months until the {place} collapses or the game ends",
            f"last month in which {taken}",
            "months",
            GOVSIM,
        ),
        Measure("gain", f"mean {take} of {article} {user} over the episode", f"(1/n) sum_i R_i{who}", unit, GOVSIM),
        Measure(
            "efficiency",
            f"share of the largest sustainable {take} that was {taken.split()[-1]}",
            f"1 - max(0, T f(0) - sum_i R_i) / (T f(0)), {possible}",
            "",
            GOVSIM,
        ),
        Measure(
            "equality",
            f"how evenly the {take} was spread",
            f"1 - sum_ij |R_i - R_j| / (2 n sum_i R_i){who}",
            "",
            GOVSIM,
        ),
        Measure(
            "overuse",
            f"share of {takes} above the sustainable share",
            f"#{{(i, t): {take}_it > {share}}} / ({pairs}), T' the months played",
            "",
            GOVSIM,
            better="lower",
        ),
    )


COMMONS: tuple[Measure, ...] = commons()
"""The measures of the fishery."""


def efficiency(total: Array, possible: float) -> Array:
    """Return min(total, possible) / possible: 1 - max(0, possible - total) / possible; 1 where nothing is possible."""
    if possible <= 0:
        return total * 0.0 + 1.0
    return namespace(total).clip(total, None, possible) / possible


def equality(returns: Array, present: Array | None = None) -> Array:
    """Return 1 - Gini: 1 - sum_ij |R_i - R_j| / (2 n sum_i R_i) over the last axis; 1 where all got nothing.

    One formula for every n (the Gini coefficient's own, without a small-sample factor). ``present`` says who counts, of
    the shape of ``returns``; whoever does not has got nothing.
    """
    n: Array = returns.shape[-1]
    gaps = namespace(returns).abs(returns[..., :, None] - returns[..., None, :])
    if present is not None:
        gaps, n = gaps * (present[..., :, None] & present[..., None, :]), to_float(add(to_int(present)))
        n = n + (n == 0)
    gaps = add(add(gaps))
    total = add(returns)
    return 1.0 - gaps / (2.0 * n * (total + (total == 0)))


def overuse(overused: Array, months: Array) -> Array:
    """Return the share of (agent, month) pairs above the sustainable share; 0 before the first month is played.

    ``months`` is (*batch), or (*batch, n) where not all agents were there as long.
    """
    if months.ndim == overused.ndim:
        pairs = to_float(add(months))
        return to_float(add(overused)) / (pairs + (pairs == 0))
    months = to_float(months)
    return to_float(add(overused)) / ((months + (months == 0)) * overused.shape[-1])
