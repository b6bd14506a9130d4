"""Random play under observation: the steps of an episode, the acts, and how two episodes are compared."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..envs.core import chance
from ..envs.core.arrays import Array, constant, look_up, namespace, select, to_int, to_numpy, tree_map
from ..envs.core.fields import Choice, Field, Role, Text
from ..envs.core.game import Acts, Game, Outcome, Seen
from ..envs.core.worlds import Worlds

Host = np.ndarray[Any, Any]
Leaves = dict[str, Host]

LIMIT = 512
"""Most steps of an episode that the examiner walks through."""

_MOODS = ((16.0, 1 / 16), (1.0, 1.0), (16.0, 1.0), (4.0, 1 / 16))
"""Exponents of the uniform number behind a numeric act and a choice, world by world: small acts make episodes last,
and late options (accept, a sanction) are taken often somewhere."""


_SIGNS = (0, *map(ord, "ab {\"}'\\,:<é中😀"))
"""What random texts are made of: no character, what a prompt or an answer is framed with, and letters of several scripts."""


class ExaminationError(AssertionError):
    """What is wrong with a game, mechanism or policy, where, and what to do about it."""


def fail(who: str, wrong: str, mend: str) -> NoReturn:
    """Raise an ExaminationError."""
    raise ExaminationError(f"{who}: {wrong}; {mend}")


@contextlib.contextmanager
def during(who: str, what: str) -> Iterator[None]:
    """Turn an exception of the code under examination into an ExaminationError that says what it was doing."""
    try:
        yield
    except ExaminationError:
        raise
    except Exception as error:
        kind, text = type(error).__name__, error.args[0] if error.args else ""
        raise ExaminationError(f"{who}: {what} raised {kind}: {text}; mend it, the traceback is above") from error


class Step(NamedTuple):
    """One step: what was given to the game and what it answered, arrays of the backend; ``given`` is a copy on the host."""

    number: int
    state: Any
    seen: dict[str, Seen]
    stage: Array
    live: Array
    acts: dict[str, Acts]
    u: Array
    outcome: Outcome
    measures: dict[str, Array]
    given: Leaves


def legal(field: Field, u: Array, mood: Array | None = None) -> Array:
    """Turn uniform numbers into values of a field; ``mood`` (*batch, 2) holds the exponents of their worlds."""
    xp = namespace(u)
    if mood is not None:
        exponent = mood[..., 1] if isinstance(field.space, Choice) else mood[..., 0]
        u = u ** exponent[(...,) + (None,) * (u.ndim - exponent.ndim)]
    if isinstance(field.space, Text):
        return look_up(u, _SIGNS, chance.whole(u, 0, len(_SIGNS) - 1))
    low, high = field.space.low, field.space.high
    if field.discrete:
        return xp.clip(chance.whole(u, int(low), int(high)), int(low), int(high))
    if math.isinf(low) or math.isinf(high):
        return xp.clip(20.0 * u - 10.0, low, high)
    return xp.clip(low + u * (high - low), low, high)


def sizes(role: Role) -> list[int]:
    """Return how many numbers each act field of a role holds."""
    return [math.prod(field.shape) for field in role.acts]


def random_acts(worlds: Worlds, purpose: str = "examiner") -> dict[str, Acts]:
    """Draw legal acts for everybody; those of world ``i`` do not depend on how many worlds there are."""
    moods = constant(worlds.world, _MOODS)[worlds.world % len(_MOODS)]
    acts: dict[str, Acts] = {}
    for role in worlds.game.roles:
        acts[role.name] = {}
        u, begin = worlds.uniform(role.count * sum(sizes(role)), f"{purpose}:{role.name}"), 0
        for field, size in zip(role.acts, sizes(role), strict=True):
            part = u[:, begin : begin + role.count * size].reshape((worlds.count, role.count, *field.shape))
            acts[role.name][field.name] = legal(field, part, moods)
            begin += role.count * size
    return acts


def worlds_of(game: Game, count: int, seed: int, backend: str) -> Worlds:
    """Return worlds on a backend: ``"numpy"``, ``"torch"`` (on the host), ``"torch:cuda"``."""
    library, _, device = backend.partition(":")
    return Worlds(game, count, seed=seed, backend=library, device=device or "cpu", check=False)


def walk(
    game: Game, count: int, seed: int, backend: str = "numpy", *, single: bool = False, limit: int = LIMIT
) -> Iterator[Step]:
    """Play one episode at random; worlds stop where they end. ``single`` plays world 0 with batch ()."""
    name = game.name
    with during(name, "start"):
        worlds = worlds_of(game, count, seed, backend)
    live = worlds.array(np.ones(count, dtype=bool))
    state = worlds.state
    if single:
        with during(name, "start with batch ()"):
            state = game.start(worlds.first_numbers()[0])
        worlds.state, live = tree_map(lambda a: a[None, ...], state), live[0]
    for number in range(1, min(limit, game.horizon) + 1):
        with during(name, f"view before step {number}"):
            seen, stage = game.view(state), game.stage(state)
            acts, u = random_acts(worlds), worlds.numbers()
        if single:
            acts, u = tree_map(lambda a: a[0, ...], acts), u[0]
        given = inputs(state, acts, u)
        with during(name, f"step {number}" + (" with batch ()" if single else "")):
            outcome = game.step(state, acts, u)
        with during(name, f"measures after step {number}"):
            measures = game.measures(outcome.state)
        yield Step(number, state, seen, stage, live, acts, u, outcome, measures, given)
        state = outcome.state if single else select(live, outcome.state, state)
        live = live & ~outcome.done
        if not bool(live.any()):
            return
        worlds.state = tree_map(lambda a: a[None, ...], state) if single else state


def flat(tree: Any, path: str) -> Leaves:
    """Return every array of a record as a copy on the host, by path ("state.stock")."""
    if isinstance(tree, Mapping):
        parts = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, tuple):
        names = getattr(tree, "_fields", None) or map(str, range(len(tree)))
        parts = list(zip(names, tree, strict=True))
    else:
        return {path: to_numpy(tree).copy()}
    found: Leaves = {}
    for key, value in parts:
        found |= flat(value, f"{path}.{key}")
    return found


def inputs(state: Any, acts: Mapping[str, Acts], u: Array) -> Leaves:
    """Return what a step is given, as copies on the host."""
    return {**flat(state, "state"), **flat(acts, "acts"), **flat(u, "u")}


def record(step: Step) -> Leaves:
    """Return all that a game answered in a step."""
    return {
        **flat(step.seen, "view"),
        **flat(step.stage, "stage"),
        **flat(step.outcome.state, "state"),
        **flat(step.outcome.rewards, "rewards"),
        **flat(step.outcome.done, "done"),
        **flat(step.outcome.welfare, "welfare"),
        **flat(step.measures, "measures"),
    }


def differing(one: Leaves, other: Leaves, tolerance: float = 0.0) -> str | None:
    """Return the path of the first array that differs, with the values; None if all agree."""
    if list(one) != list(other):
        return f"{sorted(set(one) ^ set(other))} in one only"
    for path, first in one.items():
        second = other[path]
        if first.shape != second.shape or first.dtype != second.dtype:
            return f"{path} is {first.dtype} {first.shape} and {second.dtype} {second.shape}"
        if first.dtype.kind == "f":
            near = np.isclose(first, second, rtol=tolerance, atol=tolerance, equal_nan=True)
        else:
            near = np.asarray(first == second)
        if not near.all():
            place = tuple(int(i) for i in np.argwhere(~near)[0])
            return f"{path}{list(place) if place else ''} is {first[place]!s} and {second[place]!s}"
    return None


def is_frozen(thing: Any) -> bool:
    """Say whether something is an instance of a frozen dataclass."""
    return dataclasses.is_dataclass(thing) and bool(getattr(type(thing), "__dataclass_params__").frozen)  # noqa: B009


def swapped(game: Game, step: Step, other: Mapping[str, Acts]) -> dict[str, Acts]:
    """Return a step's acts with those that are not asked for at its stage replaced by others."""
    xp = namespace(step.stage)
    names = [stage.name for stage in game.stages]
    acts: dict[str, Acts] = {}
    for role in game.roles:
        acts[role.name] = {}
        for field in role.acts:
            seats = [1 if field.by is None or i in field.by else 0 for i in range(role.count)]
            asked = to_int(step.stage == names.index(field.stage))[..., None] * constant(step.stage, tuple(seats)) == 1
            mine, theirs = step.acts[role.name][field.name], other[role.name][field.name]
            acts[role.name][field.name] = xp.where(asked[(...,) + (None,) * len(field.shape)], mine, theirs)
    return acts
