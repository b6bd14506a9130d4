"""The Moran process: one player is born by fitness, one dies at random, so that the population keeps its size."""

from __future__ import annotations

from ...envs.core import chance, validate
from ...envs.core.arrays import Array, namespace, to_float, to_int, total
from .fermi import one_hot
from .payoffs import Payoffs

_STEP = chance.code("moran")
DRAWS = 4
"""Uniform numbers a step."""

FORMS = ("linear", "exponential")


def fitness(payoffs: Array, w: float, form: str = "linear") -> Array:
    """Return 1 - w + w pi (Nowak, Sasaki, Taylor and Fudenberg 2004, doi:10.1038/nature02414), or exp(w pi)."""
    return 1.0 - w + w * payoffs if form == "linear" else namespace(payoffs).exp(w * payoffs)


def step(counts: Array, payoffs: Payoffs, w: float, mutation: float, u: Array, form: str = "linear") -> Array:
    """Let one player be born and one die, each population; counts (*batch, strategies), uniforms u (*batch, 4).

    With probability ``mutation`` the newborn has another strategy than its parent, all others equally likely.
    """
    xp, k = namespace(counts), counts.shape[-1]
    weights = to_float(counts) * fitness(payoffs(counts), w, form)
    weights = xp.where(counts > 0, weights, 0.0)
    parent = _draw(weights, counts > 0, u[..., 0])
    dead = _draw(to_float(counts), counts > 0, u[..., 1])
    other = (parent + 1 + to_int(xp.floor(u[..., 3] * (k - 1)))) % k
    child = xp.where(u[..., 2] < mutation, other, parent)
    return counts - one_hot(counts, dead) + one_hot(counts, child)


def run(
    counts: Array,
    payoffs: Payoffs,
    *,
    w: float,
    mutation: float = 0.0,
    steps: int,
    seed: int = 0,
    first: int = 0,
    form: str = "linear",
    path: bool = False,
) -> Array:
    """Follow populations for so many births and deaths; the parameters are those of ``fermi.run``, w the intensity.

    Raises
    ------
    ValueError
        If a parameter is out of range. Every fitness must be positive; that is for the payoffs to see to.
    """
    validate.whole("steps", steps, 0, 1_000_000_000)
    validate.real("w", w, 0.0, 1.0 if form == "linear" else 1e6)
    validate.probability("mutation", mutation)
    validate.one_of("form", form, FORMS)
    xp, kept = namespace(counts), [counts]
    numbers = to_int(xp.cumulative_sum(counts[:, 0] * 0 + 1)) + (first - 1)
    for time in range(steps):
        u = chance.uniform(chance.key(seed, numbers, numbers * 0 + time, numbers * 0 + _STEP), DRAWS)
        counts = step(counts, payoffs, w, mutation, u, form)
        if path:
            kept.append(counts)
    return xp.stack(kept) if path else counts


def log_ratios(mutant: Array, resident: Array, w: float, form: str = "linear") -> Array:
    """Return log(T-/T+) = log(f_resident / f_mutant) from payoffs (*batch, M - 1) where 1, 2, ..., M - 1 are mutants."""
    xp = namespace(mutant)
    if form == "exponential":
        return w * (resident - mutant)
    good, bad = fitness(mutant, w), fitness(resident, w)
    low = xp.min(xp.minimum(good, bad))
    if float(low) <= 0.0:
        raise ValueError(
            f"w: every fitness 1 - w + w payoff must be positive, got {float(low):g}; lower w or add to payoffs"
        )
    return xp.log(bad) - xp.log(good)


def _draw(weights: Array, there: Array, u: Array) -> Array:
    """Return a strategy drawn by weights (*batch, k), of those that are there."""
    xp = namespace(weights)
    edges = xp.cumulative_sum(weights, axis=-1)
    found = total(to_int((u * edges[..., -1])[..., None] >= edges))
    last = xp.max(to_int(there) * xp.cumulative_sum(to_int(there) * 0 + 1, axis=-1) - 1, axis=-1)
    return xp.minimum(found, last)  # rounding of the sum finds no strategy that is absent
