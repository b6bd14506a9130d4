"""Selection among agents that carry bit strings: those who score well have two offspring, those who score badly none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...envs.core import chance, validate
from ...envs.core.arrays import Array, backend, constant, full, namespace, to_float, to_int, total
from ...envs.core.game import Game
from ...envs.core.policy import default_acts

RESIZE = ("offspring", "parents", "best", "sample")
_FIRST, _BREED, _LIVE = (chance.code(name) for name in ("first", "breed", "live"))


@dataclass(frozen=True)
class Selection:
    """Axelrod's selection (1986, doi:10.2307/1960858), with every choice that the paper leaves open as a parameter.

    "Individuals whose score is at least one standard deviation above the mean have two offspring, those within one
    standard deviation one, those below none; the population is then brought to its old size, and each bit mutates with
    a small chance." The defaults are the reading under which the paper's results come out.

    Parameters
    ----------
    mutation
        Probability that a bit of an offspring is turned over.
    deviation
        Standard deviation of the "population" (divisor N) or of a "sample" (N - 1).
    upper
        Whether an agent exactly one deviation above the mean has two offspring ("two") or one ("one").
    lower
        Whether an agent exactly one deviation below the mean has one offspring ("one") or none ("none").
    flat
        What all agents have when all scores are equal: "two" offspring, so that chance halves them, or "one".
    resize
        How the population comes to its old size. "offspring": surplus offspring are removed at random, missing ones are
        copies of random offspring. "parents": the same, but missing ones are children of random agents. "best": the
        offspring of the lowest scorers are removed, the highest scorers have the missing ones. "sample": N draws among
        the offspring, with replacement.
    """

    mutation: float = 0.01
    deviation: str = "population"
    upper: str = "two"
    lower: str = "none"
    flat: str = "two"
    resize: str = "offspring"

    def __post_init__(self) -> None:
        """Refuse a choice that is none."""
        validate.probability("mutation", self.mutation)
        validate.one_of("deviation", self.deviation, ("population", "sample"))
        validate.one_of("upper", self.upper, ("two", "one"))
        validate.one_of("lower", self.lower, ("one", "none"))
        validate.one_of("flat", self.flat, ("two", "one"))
        validate.one_of("resize", self.resize, RESIZE)

    def offspring(self, scores: Array) -> Array:
        """Return how many offspring agents have by right, int64, from scores, both (*batch, agents)."""
        xp, n = namespace(scores), scores.shape[-1]
        gap = scores - (total(scores) / n)[..., None]
        sd = xp.sqrt(total(gap * gap) / (n if self.deviation == "population" else n - 1))[..., None]
        slack = 1e-9 * (1.0 + xp.max(xp.abs(scores), axis=-1)[..., None])  # what rounding can do to equal numbers
        two = gap >= sd - slack if self.upper == "two" else gap > sd + slack
        some = gap >= -sd - slack if self.lower == "one" else gap > -sd + slack
        found = to_int(some) + to_int(some & two)
        return xp.where(sd <= slack, found * 0 + (2 if self.flat == "two" else 1), found)

    def draws(self, agents: int) -> int:
        """Return the uniform numbers that ``parents`` takes a population."""
        return 3 * agents

    def parents(self, scores: Array, u: Array) -> Array:
        """Return whose child each agent of the next generation is: indices (*batch, agents), from scores and uniforms u."""
        xp, n = namespace(scores), scores.shape[-1]
        many = self.offspring(scores)
        there = xp.concat([many >= 1, many >= 2], axis=-1)  # 2n places for offspring; of agent k, places k and n + k
        count = total(to_int(there))[..., None]
        spot = u[..., : 2 * n] + to_float(~there)  # in random order, the empty places last
        order = xp.argsort(spot, axis=-1)
        if self.resize == "best":
            worth = xp.concat([scores, scores], axis=-1) - 2.0 * to_float(~there) * _range(scores)
            order = xp.take_along_axis(
                order, xp.argsort(-xp.take_along_axis(worth, order, axis=-1), axis=-1, stable=True), axis=-1
            )
        rank = xp.broadcast_to(constant(scores, tuple(range(n))), many.shape)
        fill = u[..., 2 * n :]
        if self.resize == "sample":
            place = to_int(xp.floor(fill * to_float(count)))
        else:
            place = xp.where(rank < count, rank, to_int(xp.floor(fill * to_float(count))))
        child = xp.take_along_axis(order, place, axis=-1) % n
        if self.resize == "parents":
            return xp.where(rank < count, child, to_int(xp.floor(fill * n)))
        if self.resize == "best":
            top = xp.argsort(-scores, axis=-1, stable=True)
            return xp.where(
                rank < count, child, xp.take_along_axis(top, xp.where(rank < count, rank, rank - count), axis=-1)
            )
        return child

    def mutate(self, genes: Array, bits: int, u: Array) -> Array:
        """Turn bits of whole numbers genes (*batch) over, where uniforms u (*batch, bits) say so."""
        flips = total(to_int(u < self.mutation) * constant(u, tuple(1 << k for k in range(bits))))
        return genes ^ flips


def _range(scores: Array) -> Array:
    """Return more than the span of the scores, (*batch, 1)."""
    xp = namespace(scores)
    return (1.0 + xp.max(scores, axis=-1) - xp.min(scores, axis=-1))[..., None]


class History(NamedTuple):
    """What became of populations: ``genes`` maps fields to the last generation's values (populations, agents), ``means``
    to the mean of every generation (generations + 1, populations); ``scores`` (generations, populations) are mean scores.
    """

    genes: dict[str, Array]
    means: dict[str, Array]
    scores: Array


def evolve(
    game: Game,
    selection: Selection | None = None,
    *,
    populations: int = 1,
    generations: int = 100,
    seed: int = 0,
    first: int = 0,
    library: str = "numpy",
    device: str | None = None,
    chunk: int = 256,
) -> History:
    """Let what the players of a game do evolve: each carries a value for every act field, plays an episode with it, and
    has offspring by its return.

    Parameters
    ----------
    game
        A game with one role, whose act fields have 2^k values each; a value is a string of k bits.
    selection
        How offspring are made; by default ``Selection()``.
    populations, generations
        How many populations, and how often each is selected. The first generation is random.
    seed, first
        The populations are number ``first`` and following under this seed, the same in a batch of any size.
    library, device
        ``"numpy"`` or ``"torch"``, and where.
    chunk
        Populations that are computed at a time; it changes the speed only.

    Returns
    -------
    History
        The last generation, and the means of all.

    Raises
    ------
    ValueError
        If the game does not suit.
    """
    chosen = selection or Selection()
    for name, value, low in (("populations", populations, 1), ("generations", generations, 0), ("chunk", chunk, 1)):
        validate.whole(name, value, low, 10_000_000)
    bits = _bits(game)
    xp, where = backend(library, device)
    parts = []
    for low in range(first, first + populations, chunk):
        numbers = xp.asarray(np.arange(low, min(low + chunk, first + populations)), device=where)
        parts.append(_lineage(game, chosen, bits, generations, seed, numbers))
    genes = {name: xp.concat([part.genes[name] for part in parts], axis=0) for name in bits}
    means = {name: xp.concat([part.means[name] for part in parts], axis=-1) for name in bits}
    return History(genes, means, xp.concat([part.scores for part in parts], axis=-1))


def _lineage(game: Game, selection: Selection, bits: dict[str, int], last: int, seed: int, numbers: Array) -> History:
    """Evolve the populations of these numbers, all at once."""
    xp, n, rows = namespace(numbers), game.roles[0].count, numbers.shape[0]

    def draw(purpose: int, time: int, count: int, moment: int = 0) -> Array:
        return chance.uniform(
            chance.key(seed, numbers, *(numbers * 0 + part for part in (time, purpose, moment))), count
        )

    u = draw(_FIRST, 0, n * len(bits)).reshape((rows, len(bits), n))
    genes = {name: chance.whole(u[:, i, :], 0, (1 << size) - 1) for i, (name, size) in enumerate(bits.items())}
    means = {name: [total(to_float(value)) / n] for name, value in genes.items()}
    scores = []
    width, sizes = selection.draws(n), sum(bits.values())
    for time in range(last):

        def numbers_of(moment: int, now: int = time) -> Array:
            return draw(_LIVE, now, game.draws, moment)

        score = episode(game, genes, numbers_of)
        u = draw(_BREED, time, width + n * sizes)
        parent = selection.parents(score, u[:, :width])
        begin = width
        for name, size in bits.items():
            part = u[:, begin : begin + n * size].reshape((rows, n, size))
            begin += n * size
            genes[name] = selection.mutate(xp.take_along_axis(genes[name], parent, axis=-1), size, part)
            means[name].append(total(to_float(genes[name])) / n)
        scores.append(total(score) / n)
    stacked = xp.stack(scores) if scores else full(u, (0, rows), 0.0)
    return History(genes, {name: xp.stack(values) for name, values in means.items()}, stacked)


def episode(game: Game, genes: dict[str, Array], uniforms: Callable[[int], Array]) -> Array:
    """Return players' returns (*batch, players) in an episode in which all do at every move what their genes say.

    ``uniforms`` gives the numbers (*batch, draws) of moment 0, at which the game starts, and of moments 1, 2, ...
    """
    role = game.roles[0]
    state = game.start(uniforms(0))
    like = game.stage(state)
    xp = namespace(like)
    field = {field.name: field for field in role.acts}
    acts = {role.name: {**default_acts(role, like, role.count)}}
    for name, value in genes.items():
        acts[role.name][name] = value + int(field[name].space.low)
    returns = full(like, (*like.shape, role.count), 0.0)
    over = like < 0
    for moment in range(1, game.horizon + 1):
        found = game.step(state, acts, uniforms(moment))
        returns = returns + xp.where(over[..., None], 0.0, found.rewards[role.name])
        state, over = found.state, over | found.done
    return returns


def _bits(game: Game) -> dict[str, int]:
    """Return how many bits the genes of each act field have."""
    if len(game.roles) != 1:
        raise ValueError(
            f"game: one role that evolves, got {game.name} with {len(game.roles)}; choose a symmetric game"
        )
    found = {}
    for field in game.roles[0].acts:
        size = int(field.space.high - field.space.low) + 1 if field.discrete and not field.shape else 0
        if size < 2 or size & (size - 1) or field.by is not None:
            raise ValueError(
                f"game: field {field.name} needs 2, 4, 8, ... values to be made of bits, got {field.space}"
            )
        found[field.name] = size.bit_length() - 1
    return found
