"""Tally: voting rules as functions of arrays.

Ballots have shape (*batch, voters) or (*batch, voters, options); scores (*batch, options). The option with the highest
score wins; ``winner`` breaks ties, by the lowest index or by lot.
"""

from __future__ import annotations

import functools
import operator

from .arrays import Array, device_of, namespace, to_float, to_int
from .chance import whole


def _added(values: Array) -> Array:
    """Add up voters one by one, so that every library and batch comes to the same bits: (*batch, voters, k) to (*batch, k)."""
    return functools.reduce(operator.add, (values[..., i, :] for i in range(values.shape[-2])))


def _marks(named: Array, options: int) -> Array:
    """Turn the options that voters name (*batch, voters) into marks, 0 or 1, (*batch, voters, options)."""
    xp = namespace(named)
    return to_int(named[..., None] == xp.arange(options, device=device_of(named)))


def winner(scores: Array, u: Array | None = None) -> Array:
    """Return the option with the highest score (*batch); of those that tie, the first, or one drawn with u (*batch)."""
    xp = namespace(scores)
    tied = to_int(scores == xp.max(scores, axis=-1, keepdims=True))
    order = xp.cumulative_sum(tied, axis=-1)
    place = order[..., -1] * 0 + 1 if u is None else whole(u, 1, order[..., -1])
    return xp.sum(to_int(order < place[..., None]), axis=-1)


# ---- one option is named ------------------------------------------------------------------------------------------


def plurality(named: Array, options: int) -> Array:
    """Return how many voters name each option."""
    return _added(_marks(named, options))


def majority(named: Array, options: int) -> Array:
    """Return 1 for the option that more than half of the voters name; where there is none, for option 0, which stays."""
    xp = namespace(named)
    won = to_int(2 * plurality(named, options) > named.shape[-1])
    stays = to_int(xp.arange(options, device=device_of(named)) == 0)
    return won + stays * (1 - xp.sum(won, axis=-1, keepdims=True))


def sortition(named: Array, options: int, u: Array) -> Array:
    """Return 1 for the option that a voter drawn by lot, with u (*batch), names.

    Of the rules that never elect an option that all like less than another, only lots over voters reward no false ballot
    (Gibbard 1977).
    """
    xp, voters = namespace(named), named.shape[-1]
    drawn = to_int(xp.arange(voters, device=device_of(named)) == whole(u, 0, voters - 1)[..., None])
    return _added(_marks(named, options) * drawn[..., None])


def median(named: Array, options: int) -> Array:
    """Return 1 for the median of the named options, which are in order; with an even number of voters, the lower one.

    Where preferences have a single peak, naming it is dominant (Black 1948; Moulin 1980).
    """
    xp = namespace(named)
    middle = xp.sort(named, axis=-1)[..., (named.shape[-1] - 1) // 2]
    return _marks(middle, options)


# ---- options are marked or ranked ---------------------------------------------------------------------------------


def approval(marks: Array) -> Array:
    """Return how many voters approve of each option: marks, 0 or 1 (Brams and Fishburn 1978)."""
    return _added(to_int(marks))


def duels(ranks: Array) -> Array:
    """Return how many voters prefer i to j, (*batch, i, j); rank 1 is best, and equal ranks are allowed."""
    better = to_int(ranks[..., :, None] < ranks[..., None, :])
    return functools.reduce(operator.add, (better[..., v, :, :] for v in range(ranks.shape[-2])))


def borda(ranks: Array) -> Array:
    """Return for each option the pairs (voter, other option) in which it is preferred; a tie counts as half of one.

    With strict ranks 1 to k that is the sum of k - rank (Borda 1781).
    """
    preferred = to_float(duels(ranks))
    xp, voters, others = namespace(preferred), ranks.shape[-2], ranks.shape[-1] - 1
    lost = xp.sum(preferred, axis=-2)
    return (voters * others + xp.sum(preferred, axis=-1) - lost) / 2.0


def strengths(preferred: Array) -> Array:
    """Return the strength of the strongest path from i to j, (*batch, i, j), given ``duels``.

    A step of a path is a duel that is won, as strong as it has winning votes; a path is as strong as its weakest step.
    """
    xp = namespace(preferred)
    path = preferred * to_int(preferred > xp.matrix_transpose(preferred))
    for via in range(preferred.shape[-1]):
        path = xp.maximum(path, xp.minimum(path[..., :, via, None], path[..., None, via, :]))
    return path


def schulze(ranks: Array) -> Array:
    """Return for each option how many others have no stronger path to it than it has to them.

    All others for one option at least, the winner (Schulze 2011, doi:10.1007/s00355-010-0475-4); an option that wins
    every duel is the only winner.
    """
    path = strengths(duels(ranks))
    xp = namespace(path)
    return xp.sum(to_int(path >= xp.matrix_transpose(path)), axis=-1) - 1


# ---- intensities --------------------------------------------------------------------------------------------------


def quadratic(credits: Array, budget: float) -> Array:
    """Return the votes for each option where c credits buy sqrt(c) votes, and -c credits as many against it.

    The credits of a voter who spends more than the budget are all scaled down to it. A voter who cares v_k about votes for
    option k gets most out of a budget with credits in proportion to v_k^2, which is votes in proportion to v_k (Lalley
    and Weyl 2018, doi:10.1257/pandp.20181002).
    """
    xp = namespace(credits)
    size = xp.abs(credits)
    spent = functools.reduce(operator.add, (size[..., k] for k in range(size.shape[-1])))[..., None]
    scale = xp.where(spent > budget, budget / xp.where(spent > budget, spent, xp.ones_like(spent)), 1.0)
    return _added(xp.sign(credits) * xp.sqrt(size * scale))


def pivot(values: Array, u: Array | None = None) -> tuple[Array, Array]:
    """Return the option with the highest sum of reported values (*batch), and the voters' taxes (*batch, voters).

    A voter pays what its report costs the others: their best sum less their sum at the option chosen. It is dominant to
    report the truth, and what is paid goes to nobody (Clarke 1971; Groves 1973). Ties as in ``winner``.
    """
    xp, voters = namespace(values), values.shape[-2]
    chosen = winner(_added(values), u)
    at = _marks(chosen, values.shape[-1])
    taxes = []
    for i in range(voters):
        rest = [values[..., j, :] for j in range(voters) if j != i]
        others = functools.reduce(operator.add, rest, values[..., i, :] * 0.0)
        taxes.append(xp.max(others, axis=-1) - xp.sum(others * at, axis=-1))
    return chosen, xp.stack(taxes, axis=-1)
