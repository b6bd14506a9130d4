"""Bilevel learning: those who set the terms learn over those who learn to live with them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from ...envs.core import validate
from ...envs.core.arrays import Array, namespace, to_numpy
from ...envs.core.fields import Text
from ...envs.core.policy import Policy
from ...envs.core.worlds import Worlds
from ..random import Random
from .training import train

if TYPE_CHECKING:
    from ...envs.core.game import Acts, Game, Seen
    from .ppo import PPO


class Corners(Random):
    """Decides at random, but half of all numbers are the least or the most that their field allows.

    Where a bound binds, as limited liability does, the terms that are best are at a corner of all terms, and uniform draws
    hardly ever come near it.
    """

    _plain: int

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Fit to seats; each component takes one more uniform number, which says whether it is at a bound."""
        bound = copy.copy(super().bind(game, role, seats))
        bound._plain = bound.draws
        bound.draws += sum(max(1, len(field.each)) for field in bound.role.acts)
        return bound

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Draw every field, asked for or not."""
        acts, memory = super().act(seen, stage, u[..., : self._plain], memory)
        xp, begin = namespace(u), self._plain
        for field in self.role.acts:
            size = max(1, len(field.each))
            which = u[..., begin : begin + size] if field.each else u[..., begin]
            begin += size
            if not isinstance(field.space, Text):
                drawn, kind = acts[field.name], int if field.discrete else float
                low, high = (drawn * 0 + kind(end) for end in (field.space.low, field.space.high))
                acts[field.name] = xp.where(which < 0.25, low, xp.where(which < 0.5, high, drawn))
        return acts, memory


def leader_follower(
    game: Game,
    leaders: Mapping[str, PPO],
    followers: Mapping[str, PPO],
    *,
    episodes: tuple[int, int],
    sessions: int = 1024,
    seed: int = 0,
    starts: int = 64,
    others: Mapping[str, Policy] | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> dict[str, PPO]:
    """Let followers learn an answer to all terms, and then leaders the terms that are best given those answers.

    Followers first learn while the leaders play at random (``Corners``), so that what they learn is conditional on the terms
    that they see; leaders then learn against them, held fixed: the Stackelberg equilibrium (Gerstgrasser and Parkes 2023,
    arXiv:2210.11942). What terms are worth has many peaks, each where followers change what they do, and a gradient finds
    the nearest: leaders climb from the best of many starts. The other way, on two timescales (Borkar 1997,
    doi:10.1016/S0167-6911(97)90015-3), is ``train`` with everyone at once and a leader that has a lower ``rate`` or learns
    only in each k-th update (``every``).

    Parameters
    ----------
    game
        The game.
    leaders, followers
        {role or player: how it learns}.
    episodes
        Of the followers, and of the leaders.
    sessions, seed, others, watch
        As for ``train``.
    starts
        Random starts that leaders choose from, by the sum of what they earn there, for their real acts that ``PPO(start=...)``
        leaves open; each costs one update. 0 starts in the middle. Leaders that have learned before go on from there.

    Returns
    -------
    dict
        {role or player: what it learned}.
    """
    validate.whole("starts", starts, 0, 1_000_000)
    fixed, both = dict(others or {}), sum(episodes)

    def part(done: int, before: int) -> None:
        if watch is not None:
            watch(before + done, both)

    wild = {name: Corners() for name in leaders}
    answers = train(
        game,
        followers,
        episodes=episodes[0],
        sessions=sessions,
        seed=seed,
        others=fixed | wild,
        watch=lambda done, _: part(done, 0),
    )
    options: dict[str, Any] = {"sessions": sessions, "seed": seed + 1, "others": fixed | answers}

    def worth(begun: Mapping[str, PPO]) -> float:
        first = train(game, begun, episodes=1, **options)
        return sum(policy.curve[0] for policy in first.values())

    begun = max(_begun(game, leaders, starts, seed), key=worth, default=leaders)
    terms = train(
        game,
        begun,
        episodes=episodes[1],
        watch=lambda done, _: part(done, episodes[0]),
        **options,
    )
    return answers | terms


def _begun(game: Game, leaders: Mapping[str, PPO], starts: int, seed: int) -> list[dict[str, PPO]]:
    """Return the leaders with random starts of all real acts that have none; nothing where there are no such acts."""
    found: list[dict[str, PPO]] = [{} for _ in range(starts)]
    some = False
    for name, leader in leaders.items():
        role = next((role for role in game.roles if name == role.name or name in role.players), None)
        fresh = () if role is None or leader.weights else role.acts
        loose = [field for field in fresh if not field.discrete and field.name not in leader.start]
        some = some or bool(loose)
        drawn: dict[str, Any] = {}
        if role is not None and loose and starts:
            wild, worlds = Corners().bind(game, role.name, (0,)), Worlds(game, starts, seed=seed)
            u = worlds.uniform(wild.draws, f"start:{name}").reshape(starts, 1, wild.draws)
            drawn = wild.act({}, worlds.stage, u, None)[0]
        for i, begun in enumerate(found):
            begun[name] = copy.copy(leader)
            begun[name].start = leader.start | {f.name: to_numpy(drawn[f.name])[i, 0].tolist() for f in loose}
    return found if some else []
