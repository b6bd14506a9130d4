"""Pools: a seat played by one of several policies, drawn anew for each episode; and learning against what was learned."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ...envs.core import validate
from ...envs.core.arrays import Array, align, constant, namespace, to_int
from ...envs.core.policy import Policy
from ..random import Random
from .ppo import PPO

if TYPE_CHECKING:
    from ...envs.core.game import Acts, Game, Seen


class Pool(Policy):
    """Plays one of several policies, drawn anew for every seat at its first move of an episode.

    All members are asked in every world, so that a pool of ten costs as much as ten policies.

    Parameters
    ----------
    members
        The policies.
    weights
        How often each is drawn, relative to the others; None draws them equally often.
    """

    def __init__(self, members: Sequence[Policy], weights: Sequence[float] | None = None) -> None:
        if not members:
            raise ValueError("members: at least one policy, got none")
        self.members = tuple(members)
        odds = [1.0] * len(members) if weights is None else [validate.real("weights", w, 0.0) for w in weights]
        if len(odds) != len(members) or math.fsum(odds) <= 0.0:
            raise ValueError(f"weights: one for each of {len(members)} members, not all 0, got {weights!r}")
        self.edges = tuple((np.cumsum(odds) / math.fsum(odds))[:-1].tolist())

    def ready(self) -> None:
        """Ask all members."""
        for member in self.members:
            member.ready()

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Bind all members."""
        bound = copy.copy(super().bind(game, role, seats))
        bound.members = tuple(member.bind(game, role, seats) for member in self.members)
        bound.draws = 1 + sum(member.draws for member in bound.members)
        return bound

    def quick(self) -> Self:
        """Return a copy whose learned members play as ``PPO.quick`` has it."""
        made = copy.copy(self)
        made.members = tuple(member.quick() if isinstance(member, PPO | Pool) else member for member in self.members)
        return made

    def begin(self, batch: tuple[int, ...], xp: Any, device: Any) -> Any:
        """Return that no member is drawn yet, and the members' memories (None is kept as an empty record)."""
        drawn = xp.full((*batch, len(self.seats)), -1, dtype=xp.int64, device=device)
        memories = (member.begin(batch, xp, device) for member in self.members)
        return drawn, tuple(() if memory is None else memory for memory in memories)

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Play the members that are drawn."""
        (drawn, memories), xp, begin = memory, namespace(stage), 1
        fresh = drawn * 0
        if self.edges:
            fresh = to_int(u[..., :1] >= constant(u, self.edges)).sum(axis=-1)
        drawn = xp.where(drawn < 0, fresh, drawn)
        acts: Acts = {}
        kept = []
        for i, member in enumerate(self.members):
            own = None if isinstance(memories[i], tuple) and not memories[i] else memories[i]
            done, after = member.act(seen, stage, u[..., begin : begin + member.draws], own)
            kept.append(() if after is None else after)
            begin += member.draws
            for name, values in done.items():
                acts[name] = xp.where(align(drawn == i, values), values, acts[name]) if i else values
        return acts, (drawn, tuple(kept))


def fictitious_play(
    game: Game,
    learner: PPO,
    *,
    generations: int,
    episodes: int,
    sessions: int = 1024,
    seed: int = 0,
    others: Mapping[str, Policy] | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> dict[str, Pool]:
    """Let every player learn the best answer to all that the others have learned so far, again and again.

    Each player has a pool of its past selves, and in each generation a new self learns against the pools of the others:
    fictitious play (Brown 1951) with learned answers (Heinrich, Lanctot and Silver 2015; Lanctot et al. 2017,
    arXiv:1711.00832). In two-player zero-sum games the pools' mixtures approach an equilibrium, which learners that only
    follow each other circle around.

    Parameters
    ----------
    game
        The game.
    learner
        How each self learns; it starts from nothing in every generation.
    generations
        Selves of each player.
    episodes, sessions
        Of each self's learning, as for ``PPO.learn``.
    seed
        Seed of all.
    others
        Policies of players or roles that do not learn.
    watch
        Called as ``watch(done, all)`` after each self's learning.

    Returns
    -------
    dict
        {player: pool}, to play with.
    """
    validate.whole("generations", generations, 1, 100_000)
    fixed = dict(others or {})
    players = [
        (role, player)
        for role in game.roles
        for player in role.players
        if role.acts and role.name not in fixed and player not in fixed
    ]
    pools: dict[str, list[Policy]] = {player: [] for _, player in players}
    for generation in range(generations):
        rivals = {player: Pool(selves) for player, selves in pools.items() if selves}
        for number, (_, player) in enumerate(players):
            against = fixed | {name: rivals.get(name, Random()) for name in pools if name != player}
            own = seed + 7919 * (generation * len(players) + number + 1)
            new = learner.learn(game, player, episodes=episodes, sessions=sessions, seed=own, others=against)
            pools[player].append(new)
            if watch is not None:
                watch(generation * len(players) + number + 1, generations * len(players))
    return {player: Pool(selves) for player, selves in pools.items()}
