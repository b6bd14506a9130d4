"""Pairwise comparison: a player looks at another and copies it with a probability that rises with what it would gain."""

from __future__ import annotations

from ...envs.core import chance, validate
from ...envs.core.arrays import Array, constant, namespace, to_float, to_int, total
from .payoffs import Payoffs

_STEP = chance.code("fermi")
DRAWS = 4
"""Uniform numbers a step."""


def copying(gain: Array, beta: float) -> Array:
    """Return the probability to copy, 1 / (1 + exp(-beta gain)): the Fermi function.

    Szabo and Toke (1998, doi:10.1103/PhysRevE.58.69); Traulsen, Nowak and Pacheco (2006, doi:10.1103/PhysRevE.74.011909).
    """
    xp = namespace(gain)
    return 0.5 + 0.5 * xp.tanh(0.5 * beta * gain)


def step(counts: Array, payoffs: Payoffs, beta: float, mutation: float, u: Array) -> Array:
    """Let one player a population update; counts (*batch, strategies), uniforms u (*batch, 4).

    With probability ``mutation`` it takes another strategy, all others equally likely; else it meets another player and
    copies it with the probability that ``copying`` returns.
    """
    xp, k = namespace(counts), counts.shape[-1]
    focal = _pick(counts, u[..., 0])
    mine = one_hot(counts, focal)
    model = _pick(counts - mine, u[..., 1])
    pay = payoffs(counts)
    gain = total(pay * to_float(one_hot(counts, model) - mine))
    mutates = u[..., 2] < mutation
    # the third number, given that there is no mutation, is uniform again
    again = (u[..., 2] - mutation) / (1.0 - mutation) if mutation < 1.0 else u[..., 2]
    copies = again < copying(gain, beta)
    other = (focal + 1 + to_int(xp.floor(u[..., 3] * (k - 1)))) % k
    after = xp.where(mutates, other, xp.where(copies, model, focal))
    return counts - mine + one_hot(counts, after)


def run(
    counts: Array,
    payoffs: Payoffs,
    *,
    beta: float,
    mutation: float = 0.0,
    steps: int,
    seed: int = 0,
    first: int = 0,
    path: bool = False,
) -> Array:
    """Follow populations for so many updates.

    Parameters
    ----------
    counts
        Players of each strategy (populations, strategies), int64.
    payoffs
        Mean payoffs by counts, for instance ``payoffs.pairs(matrix, population)``.
    beta
        Selection intensity.
    mutation
        Probability that an update is a mutation.
    steps
        Updates.
    seed, first
        Populations are number ``first`` and following under this seed, the same in a batch of any size.
    path
        Whether to return counts at all steps: (steps + 1, populations, strategies).
    """
    validate.whole("steps", steps, 0, 1_000_000_000)
    validate.real("beta", beta, 0.0)
    validate.probability("mutation", mutation)
    xp, kept = namespace(counts), [counts]
    numbers = to_int(xp.cumulative_sum(counts[:, 0] * 0 + 1)) + (first - 1)
    for time in range(steps):
        u = chance.uniform(chance.key(seed, numbers, numbers * 0 + time, numbers * 0 + _STEP), DRAWS)
        counts = step(counts, payoffs, beta, mutation, u)
        if path:
            kept.append(counts)
    return xp.stack(kept) if path else counts


def log_ratios(mutant: Array, resident: Array, beta: float) -> Array:
    """Return log(T-/T+) = -beta (mutant - resident) from payoffs (*batch, M - 1) where 1, 2, ..., M - 1 are mutants."""
    return -beta * (mutant - resident)


def one_hot(like: Array, index: Array) -> Array:
    """Return 1 at an index (*batch) and 0 elsewhere: int64 (*batch, k), k as in ``like``."""
    return to_int(index[..., None] == constant(like, tuple(range(like.shape[-1]))))


def _pick(counts: Array, u: Array) -> Array:
    """Return the strategy of a player drawn at random."""
    edges = namespace(counts).cumulative_sum(counts, axis=-1)
    player = to_int(namespace(u).floor(u * to_float(edges[..., -1])))
    return total(to_int(player[..., None] >= edges))
