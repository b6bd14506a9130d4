"""What a policy does: legal acts of the right shape, from what it sees and its own random numbers alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..envs.core import words
from ..envs.core.arrays import namespace, to_numpy, tree_map
from ..envs.core.fields import Role
from ..envs.core.game import Acts, Game, Seen
from ..envs.core.policy import Policy
from ..envs.core.worlds import Worlds
from .walk import Leaves, Step, differing, during, fail, flat, walk, worlds_of


class _Hand:
    """A policy bound to seats, playing beside a walk: it is asked, and its answers are checked, not played."""

    def __init__(self, policy: Policy, game: Game, role: Role, seats: tuple[int, ...], like: Worlds) -> None:
        self.who = f"{type(policy).__name__} as {', '.join(role.players[i] for i in seats)} in {game.name}"
        self.game, self.role, self.seats = game, role, seats
        with during(self.who, "bind"):
            self.bound = policy.bind(game, role.name, seats)
        self.worlds = like
        with during(self.who, "begin"):
            self.memory = self.bound.begin((like.count,), like.xp, like.device)

    def ask(self, step: Step) -> tuple[Leaves, Acts]:
        """Return the acts at a step as checked, by path and as they are."""
        worlds, count = self.worlds, self.worlds.count
        worlds.state = step.state
        seen: Seen = {name: values[:, list(self.seats)] for name, values in step.seen[self.role.name].items()}
        stage = worlds.xp.where(step.live, step.stage, step.stage * 0 - 1)
        u = worlds.uniform(self.bound.draws * self.role.count, f"policy:{self.role.name}")
        u = u.reshape((count, self.role.count, self.bound.draws))[:, list(self.seats)]
        given = {**flat(seen, "seen"), **flat(self.memory, "memory")}
        with during(self.who, f"act at step {step.number}"):
            acts, memory = self.bound.act(seen, stage, u, self.memory)
        self._check(acts, count, step.number)
        with during(self.who, f"act at step {step.number}, repeated"):
            again, _ = self.bound.act(seen, stage, u, self.memory)
        if wrong := differing(flat(acts, "acts"), flat(again, "acts")):
            fail(
                self.who,
                f"decides differently when asked twice at step {step.number}: {wrong}",
                "take all chance from u (declare `draws`) and keep what it remembers in the memory that it returns",
            )
        if wrong := differing(given, {**flat(seen, "seen"), **flat(self.memory, "memory")}):
            fail(self.who, f"changed what it was given at step {step.number}: {wrong}", "make new arrays")
        self.memory = memory
        return flat(acts, "acts"), acts

    def _check(self, acts: Any, count: int, number: int) -> None:
        declared = {field.name: field for field in self.role.acts}
        if not isinstance(acts, dict) or set(acts) != set(declared):
            given = ", ".join(acts) if isinstance(acts, dict) else type(acts).__name__
            fail(
                self.who,
                f"decides {given or 'nothing'}",
                f"decide {', '.join(declared)} (default_acts gives the null act)",
            )
        for name, field in declared.items():
            host, shape = to_numpy(acts[name]), (count, len(self.seats), *field.shape)
            where = f"{self.who}: field {name}"
            if namespace(acts[name]) is not self.worlds.xp:
                fail(where, f"is {type(acts[name])} at step {number}", "make arrays of the library of what is seen")
            if host.shape != shape:
                fail(where, f"has shape {host.shape} at step {number}", f"give {shape}: (*batch, seats, components)")
            if host.dtype.kind not in ("iu" if field.discrete else "f"):
                fail(where, f"is {host.dtype} at step {number}", f"use {'to_int' if field.discrete else 'to_float'}")
            try:
                words.check(field, host)
            except words.ActError as error:
                fail(where, f"is outside its space at step {number}: {error}", "keep to the space (Field.clip)")


def check_role(policy: Policy, game: Game, role: Role, worlds: int, seed: int, backends: tuple[str, ...]) -> None:
    """Let a policy decide for all seats, for one seat, for one world and on every backend, beside random play."""
    everyone = tuple(range(role.count))
    kept: list[Leaves] = []
    for backend in backends:
        like = worlds_of(game, worlds, seed, backend)
        hand = _Hand(policy, game, role, everyone, like)
        # bound second: a policy that forgets its first seats fails at once
        last = _Hand(policy, game, role, everyone[-1:], like)
        for step in walk(game, worlds, seed, backend):
            told, _ = hand.ask(step)
            last.ask(step)
            if backend == backends[0]:
                kept.append(told)
            elif wrong := differing(kept[step.number - 1], told, 1e-9):
                fail(
                    hand.who,
                    f"decides differently on {backends[0]} and {backend}: {wrong}",
                    "use xp = namespace(array)",
                )
    alone = _Hand(policy, game, role, everyone, worlds_of(game, 1, seed, backends[0]))
    for step in walk(game, 1, seed, backends[0]):
        told, _ = alone.ask(step)
        first = tree_map(lambda a: np.asarray(a[:1]), kept[step.number - 1])
        if wrong := differing(first, told):
            fail(
                alone.who,
                f"world 0 of a batch of {worlds} is not decided as it is alone: at step {step.number} {wrong}",
                "let every world depend on what is seen in it alone",
            )


def roles_of(policy: Policy, game: Game, role: str | None) -> tuple[Role, ...]:
    """Return the role asked for, or all that decide anything."""
    return (game.role(role),) if role is not None else tuple(r for r in game.roles if r.acts)
