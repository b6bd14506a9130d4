"""What a mechanism does to a game: who is paid what, what stays, and what its null is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..envs.core.arrays import Array, namespace, select, to_numpy
from ..envs.core.game import Acts, Game
from ..envs.core.mechanism import Institution, Mechanism
from .walk import Host, Leaves, Step, differing, during, fail, flat, walk, worlds_of


def check_kept(mechanism: Mechanism, base: Game, game: Game) -> None:
    """Check that the game under the mechanism still asks, measures and tells what the base game does."""
    name = game.name
    if game is base:
        return
    if game.about.strip() == base.about.strip():
        fail(name, "its rules are those of the base game", "say in `terms` what the mechanism changes")
    reports = [measure.name for measure in game.reports]
    lost = [measure.name for measure in base.reports if measure.name not in reports]
    if lost:
        fail(name, f"the base game's measures {', '.join(lost)} are gone", "report base.reports + own_reports")
    for role in base.roles:
        with during(name, f"role {role.name}"):
            acts = {field.name for field in game.role(role.name).acts}
        gone = [field.name for field in role.acts if field.name not in acts]
        if gone or game.role(role.name).count != role.count:
            fail(
                f"{name}: role {role.name}",
                f"has lost {', '.join(gone) or 'players'}",
                "add to roles, take nothing away",
            )


def check_against_base(mechanism: Mechanism, base: Game, game: Game, worlds: int, seed: int) -> None:
    """Replay the base game with the acts chosen under the mechanism, and compare.

    The same acts must meet the same chance (the base game's measures agree bit for bit), and what players are paid
    beyond welfare must be what it is in the base game, up to the mechanism's budget.
    """
    if game is base:
        return
    name, budget = game.name, mechanism.budget
    for step, alone, ours, paid in _beside(base, game, worlds, seed):
        live = to_numpy(step.live)
        gap = _surplus(step.outcome.rewards, step.outcome.welfare) - np.where(ours, 0.0, paid)
        if budget is not None and (live & (np.abs(gap) > budget + 1e-9 * (1.0 + _largest(step)))).any():
            place = int(np.argmax(np.abs(gap) * live))
            fail(
                name,
                f"step {step.number} paid all players together {gap[place]:.6g} more than welfare accounts for in world "
                f"{place}, where the mechanism's budget is {budget:g}",
                "let transfers sum to zero, count what is destroyed in Outcome.welfare, or declare `budget`",
            )
        here = {key: to_numpy(step.measures[key]) for key in alone}
        if wrong := differing({k: v[live] for k, v in alone.items()}, {k: v[live] for k, v in here.items()}):
            fail(
                name,
                f"after step {step.number} the same acts lead elsewhere than in {base.name}: measure {wrong}",
                "give the base game the first base.draws uniform numbers and its own acts, unchanged",
            )


def _surplus(rewards: dict[str, Array], welfare: Array) -> Host:
    return np.asarray(sum(to_numpy(pay).sum(axis=-1) for pay in rewards.values()) - to_numpy(welfare))


def _largest(step: Step) -> float:
    return max(float(np.abs(to_numpy(pay)).max()) for pay in step.outcome.rewards.values())


def _beside(base: Game, game: Game, worlds: int, seed: int) -> Iterator[tuple[Step, Leaves, Host, Host]]:
    """Yield each step, with the base game's measures, where it made no step, and what it paid beyond welfare."""
    beside = worlds_of(base, worlds, seed, "numpy")
    stages = [stage.name or "act" for stage in base.stages]
    codes = [stages.index(stage.name or "act") if (stage.name or "act") in stages else -1 for stage in game.stages]
    for step in walk(game, worlds, seed):
        ours = np.asarray(codes)[to_numpy(step.stage)] < 0
        acts = _bent(game, base, step)
        with during(base.name, f"step beside step {step.number} of {game.name}"):
            outcome = base.step(beside.state, acts, beside.numbers())
        moves = to_numpy(step.live) & ~ours
        beside.state = select(moves, outcome.state, beside.state)
        measures = {key: to_numpy(values) for key, values in base.measures(beside.state).items()}
        yield step, measures, ours, _surplus(outcome.rewards, outcome.welfare)


def _bent(game: Game, base: Game, step: Step) -> Mapping[str, Acts]:
    """Return the acts of a step as they reach the base game, through all institutions between the two."""
    acts: Mapping[str, Acts] = step.acts
    inner: Any = game
    state, u = step.state, step.u
    while inner is not base and isinstance(inner, Institution):
        acts = inner.bend(state.own, state.base, acts, u[..., inner.base.draws :])
        inner, state, u = inner.base, state.base, u[..., : inner.base.draws]
    return {role.name: {field.name: acts[role.name][field.name] for field in role.acts} for role in base.roles}


def check_null(null: Mechanism, base: Game, worlds: int, seed: int) -> None:
    """Check that a mechanism said to be null gives the base game, bit for bit."""
    with during(base.name, f"under {null}"):
        game = base | null
    if game is base:
        return
    if [stage.name for stage in game.stages] != [stage.name for stage in base.stages]:
        fail(game.name, "the null mechanism adds stages", "return the game itself from apply, where nothing changes")
    mine, other = walk(base, worlds, seed), walk(game, worlds, seed)
    for one, two in zip(mine, other, strict=True):
        if wrong := differing(_public(one, one), _public(two, one)):
            fail(
                game.name,
                f"the null mechanism is not the base game: at step {one.number} {wrong}",
                "return the game itself from apply, where nothing changes",
            )


def _public(step: Step, base: Step) -> Leaves:
    """Return what can be seen of a step, in the fields and measures of the base game."""
    seen: Any = {role: {name: step.seen[role][name] for name in fields} for role, fields in base.seen.items()}
    xp = namespace(step.stage)
    return {
        **flat(seen, "view"),
        **flat(step.outcome.rewards, "rewards"),
        **flat(xp.asarray(step.outcome.done), "done"),
        **flat(step.outcome.welfare, "welfare"),
        **flat({name: step.measures[name] for name in base.measures}, "measures"),
    }
