"""What a game does to arrays: shapes, ranges, purity, batches, backends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..envs.core import words
from ..envs.core.arrays import to_numpy
from ..envs.core.fields import Field
from ..envs.core.game import Game, Outcome, Seen
from .walk import (
    Host,
    Leaves,
    Step,
    differing,
    during,
    fail,
    flat,
    inputs,
    random_acts,
    record,
    swapped,
    walk,
    worlds_of,
)


def check_arrays(game: Game, worlds: int, seed: int, backends: tuple[str, ...]) -> None:
    """Walk through a random episode and check every array, then again in other batches and on other backends."""
    many = _walk_and_check(game, worlds, seed)
    for count, single in ((1, False), (1, True)):
        batch = "()" if single else "(1,)"
        for number, step in enumerate(walk(game, count, seed, single=single), 1):
            alone = record(step)
            first = {path: array[0] if single else array[:1] for path, array in many[number - 1].items()}
            if wrong := differing({path: np.asarray(array) for path, array in first.items()}, alone):
                fail(
                    game.name,
                    f"world 0 of a batch of {worlds} is not the same as with batch {batch}: after step {number} {wrong}",
                    "let every world depend on its own state, acts and draws alone, and keep shapes (*batch, ...)",
                )
    for backend in backends:
        if backend == "numpy":
            continue
        for number, step in enumerate(walk(game, worlds, seed, backend), 1):
            _on_backend(game, backend, step)
            if wrong := differing(many[number - 1], record(step), 1e-9):
                fail(
                    game.name,
                    f"NumPy and {backend} differ after step {number}: {wrong}",
                    "use xp = namespace(array) throughout, and to_int, to_float, full and constant for new arrays",
                )


def _on_backend(game: Game, backend: str, step: Step) -> None:
    library = backend.partition(":")[0]
    for path, array in _raw(step.outcome.state, "state") + _raw(step.outcome.rewards, "rewards"):
        if type(array).__module__.partition(".")[0] != library:
            fail(
                game.name,
                f"{path} is {type(array)} on {backend}",
                "make arrays with xp = namespace(array of the state)",
            )


def _raw(tree: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        return [leaf for key, value in tree.items() for leaf in _raw(value, f"{path}.{key}")]
    if isinstance(tree, tuple):
        return [leaf for key, value in enumerate(tree) for leaf in _raw(value, f"{path}[{key}]")]
    return [(path, tree)]


def _walk_and_check(game: Game, worlds: int, seed: int) -> list[Leaves]:
    kept: list[Leaves] = []
    _check_start(game, worlds)
    elsewhere = worlds_of(game, worlds, seed, "numpy")
    rounds, ended, last = np.zeros(worlds, dtype=int), np.zeros(worlds, dtype=bool), None
    for step in walk(game, worlds, seed):
        _check_view(game, step.seen, worlds, f"before step {step.number}")
        elsewhere.state = step.state
        _check_again(game, step, random_acts(elsewhere, "other"))
        _check_outcome(game, step, worlds)
        _check_certain(game, step)
        with during(game.name, "stage and round"):
            stage, now = to_numpy(step.stage), to_numpy(game.round(step.outcome.state))
        _check_clock(game, step, stage, rounds, now, worlds)
        live = to_numpy(step.live)
        rounds = np.where(live, now, rounds)
        ended = ended | to_numpy(step.outcome.done)
        kept.append(record(step))
        last = step
    if not ended.all() and len(kept) == game.horizon:
        fail(
            game.name,
            f"{int((~ended).sum())} of {worlds} worlds are not done after its horizon of {game.horizon} steps",
            "set done when round(state) reaches rounds, or raise rounds or horizon",
        )
    if last is not None:
        with during(game.name, "view of the last state"):
            _check_view(game, game.view(last.outcome.state), worlds, "of the last state")
    return kept


def _check_view(game: Game, seen: dict[str, Seen], worlds: int, when: str) -> None:
    if list(seen) != [role.name for role in game.roles] and set(seen) != {role.name for role in game.roles}:
        fail(game.name, f"view {when} is for {sorted(seen)}", f"show {sorted(role.name for role in game.roles)}")
    for role in game.roles:
        declared = {field.name: field for field in role.sees}
        if set(declared) != set(seen[role.name]):
            odd = sorted(set(declared) ^ set(seen[role.name]))
            fail(
                f"{game.name}: role {role.name}",
                f"view {when} and the declared fields differ in {', '.join(odd)}",
                "show every field of Role.sees and no other",
            )
        for name, values in seen[role.name].items():
            where = f"{game.name}: role {role.name}, field {name}"
            _check_values(where, declared[name], to_numpy(values), (worlds, role.count), f"view {when}")


def _check_values(where: str, field: Field, values: Host, lead: tuple[int, ...], what: str) -> None:
    shape = (*lead, *field.shape)
    if values.shape != shape:
        fail(
            where,
            f"{what} has shape {values.shape}",
            f"give {shape}: (*batch, count{', components' if field.each else ''})",
        )
    kinds = "iu" if field.discrete else "f"
    if values.dtype.kind not in kinds:
        fail(
            where,
            f"{what} is {values.dtype}",
            f"{'use to_int' if field.discrete else 'use to_float'}: it is {field.space}",
        )
    try:
        words.check(field, values)
    except words.ActError as error:
        fail(where, f"{what} is outside its space: {error}", "widen the space of the field or mend what is shown")


def _check_again(game: Game, step: Step, other: dict[str, Any]) -> None:
    """Check that the step left its input as it was, that it repeats itself, and ignores what it did not ask for."""
    if wrong := differing(step.given, inputs(step.state, step.acts, step.u)):
        fail(
            game.name,
            f"step {step.number} changed what it was given: {wrong}",
            "make new arrays (xp.where, state._replace) in place of writing into the old ones",
        )
    answer = _answer(step.outcome)
    with during(game.name, f"step {step.number}, repeated"):
        again = _answer(game.step(step.state, step.acts, step.u))
    if wrong := differing(answer, again):
        fail(
            game.name,
            f"step {step.number} gave two results for the same state, acts and draws: {wrong}",
            "take all chance from u, declare how many numbers that is in draws, and remember nothing outside the state",
        )
    with during(game.name, f"step {step.number} with other acts at other stages"):
        ignored = _answer(game.step(step.state, swapped(game, step, other), step.u))
    if wrong := differing(answer, ignored):
        fail(
            game.name,
            f"step {step.number} depends on acts that nobody was asked for at its stage: {wrong}",
            "read an act field at its own stage, and from the seats in its `by`, only",
        )


def _check_start(game: Game, worlds: int) -> None:
    """Check that a start that is said not to be random reads no draws."""
    if not game.draws or game.random_start:
        return
    with during(game.name, "start"), np.errstate(invalid="ignore"):
        blind, one = (game.start(np.full((worlds, game.draws), value)) for value in (math.nan, 0.5))
    if wrong := differing(flat(one, "state"), flat(blind, "state")):
        fail(game.name, f"start reads its draws though random_start is False: {wrong}", "set random_start = True")


def _check_certain(game: Game, step: Step) -> None:
    """Check that a step which says that it reads no draws reads none."""
    with during(game.name, f"uncertain at step {step.number}"):
        if not game.draws or game.uncertain(step.state, step.acts):
            return
        with np.errstate(invalid="ignore"):
            outcome = game.step(step.state, step.acts, step.u * math.nan)
    if wrong := differing(_answer(step.outcome), _answer(outcome)):
        fail(
            game.name,
            f"step {step.number} reads its draws where uncertain() says that it reads none: {wrong}",
            "return True from uncertain(state, acts) wherever step might read u",
        )


def _answer(outcome: Outcome) -> Leaves:
    return flat(outcome._asdict(), "outcome")


def _check_outcome(game: Game, step: Step, worlds: int) -> None:
    name, outcome, number = game.name, step.outcome, step.number
    if not isinstance(outcome, Outcome):
        fail(name, f"step {number} returned {type(outcome).__name__}", "return societas.Outcome")
    before, after = flat(step.state, "state"), flat(outcome.state, "state")
    for path, array in after.items():
        if path not in before or before[path].dtype != array.dtype or before[path].shape != array.shape:
            was = f"{before[path].dtype} {before[path].shape}" if path in before else "nothing"
            fail(
                name,
                f"{path} was {was} before step {number} and is {array.dtype} {array.shape} after it",
                "keep the record's arrays, their shapes and their types: to_int, to_float",
            )
        if array.shape[:1] != (worlds,):
            fail(name, f"{path} has shape {array.shape}", f"begin it with the batch, ({worlds}, ...)")
    if set(outcome.rewards) != {role.name for role in game.roles}:
        fail(name, f"rewards are for {sorted(outcome.rewards)}", "give every role its rewards, zeros included")
    paid: dict[str, tuple[Any, tuple[int, ...], str]]
    paid = {f"rewards of {r.name}": (outcome.rewards[r.name], (worlds, r.count), "f") for r in game.roles}
    paid["welfare"] = (outcome.welfare, (worlds,), "f")
    paid["done"] = (outcome.done, (worlds,), "b")
    reported = [measure.name for measure in game.reports]
    if list(step.measures) != reported:
        missing, unasked = set(reported) - set(step.measures), set(step.measures) - set(reported)
        wrong = "; ".join(
            text
            for text in (
                f"{', '.join(sorted(missing))} in reports and not in measures" if missing else "",
                f"{', '.join(sorted(unasked))} in measures and not in reports" if unasked else "",
                "they come in another order" if not missing | unasked else "",
            )
            if text
        )
        fail(name, f"measures and reports differ: {wrong}", "give both the same names, in the same order")
    paid |= {f"measure {key}": (values, (worlds,), "f") for key, values in step.measures.items()}
    for what, (values, shape, kind) in paid.items():
        host = to_numpy(values)
        if host.shape != shape or host.dtype.kind != kind:
            wanted = f"{'floats' if kind == 'f' else 'booleans'} of shape {shape}"
            fail(name, f"{what} after step {number}: {host.dtype} {host.shape}", f"return {wanted}")
        if kind == "f" and not np.isfinite(host).all():
            fail(
                name,
                f"{what} after step {number} is {host[~np.isfinite(host)][0]}",
                "keep it finite (nothing / nothing?)",
            )


def _check_clock(game: Game, step: Step, stage: Host, before: Host, now: Host, worlds: int) -> None:
    if stage.shape != (worlds,) or stage.dtype.kind not in "iu":
        fail(game.name, f"stage is {stage.dtype} {stage.shape}", f"return integers of shape ({worlds},)")
    if (stage < 0).any() or (stage >= len(game.stages)).any():
        wrong = stage[(stage < 0) | (stage >= len(game.stages))][0]
        fail(game.name, f"stage before step {step.number} is {wrong}", f"return 0 to {len(game.stages) - 1}")
    if now.shape != (worlds,) or now.dtype.kind not in "iu":
        fail(game.name, f"round is {now.dtype} {now.shape}", f"return integers of shape ({worlds},)")
    live = to_numpy(step.live)
    if (live & ((now < before) | (now > before + 1))).any():
        place = int(np.argmax(live & ((now < before) | (now > before + 1))))
        fail(
            game.name,
            f"step {step.number} led from round {before[place]} to round {now[place]}",
            "return the number of rounds completed: it stays or grows by 1",
        )
    if (live & (now > game.rounds)).any():
        fail(
            game.name, f"round is {now.max()} after step {step.number}", f"an episode has at most {game.rounds} rounds"
        )
