"""Bilevel learning: those who set the terms learn over those who learn to live with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ...envs.core.policy import Policy
from ..random import Random
from .training import train

if TYPE_CHECKING:
    from ...envs.core.game import Game
    from .ppo import PPO


def leader_follower(
    game: Game,
    leaders: Mapping[str, PPO],
    followers: Mapping[str, PPO],
    *,
    episodes: tuple[int, int],
    sessions: int = 1024,
    seed: int = 0,
    others: Mapping[str, Policy] | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> dict[str, PPO]:
    """Let followers learn an answer to all terms, and then leaders the terms that are best given those answers.

    Followers first learn while the leaders play at random, so that what they learn is conditional on the terms that they
    see; leaders then learn against them, held fixed: the Stackelberg equilibrium (Gerstgrasser and Parkes 2023,
    arXiv:2210.11942). The other way, on two timescales (Borkar 1997, doi:10.1016/S0167-6911(97)90015-3), is ``train`` with
    everyone at once and a leader that has a lower ``rate`` or learns only in each k-th update (``every``).

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

    Returns
    -------
    dict
        {role or player: what it learned}.
    """
    fixed, both = dict(others or {}), sum(episodes)

    def part(done: int, before: int) -> None:
        if watch is not None:
            watch(before + done, both)

    wild = {name: Random() for name in leaders}
    answers = train(
        game,
        followers,
        episodes=episodes[0],
        sessions=sessions,
        seed=seed,
        others=fixed | wild,
        watch=lambda done, _: part(done, 0),
    )
    terms = train(
        game,
        leaders,
        episodes=episodes[1],
        sessions=sessions,
        seed=seed + 1,
        others=fixed | answers,
        watch=lambda done, _: part(done, episodes[0]),
    )
    return answers | terms
