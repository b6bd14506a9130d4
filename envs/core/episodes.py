"""Play whole episodes with policies, keep their measures, and tell one of them in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from . import words
from .arrays import Array, absent, align, select, to_numpy
from .game import Acts, Game, Seen
from .policy import Policy
from .worlds import Cast, Worlds


class Moment(NamedTuple):
    """One step of an episode: what was seen, the stage, what was done and what it paid (host arrays)."""

    seen: dict[str, Seen]
    stage: Array
    acts: dict[str, Acts]
    rewards: dict[str, Array]
    live: Array


class Episodes(NamedTuple):
    """Whole episodes of a batch of worlds.

    ``returns`` {role: (worlds, count)}, ``welfare`` and ``length`` (worlds,), ``measures`` {name: (worlds,)}, all
    NumPy; ``moments`` is filled where they were asked for.
    """

    game: Game
    returns: dict[str, np.ndarray[Any, Any]]
    welfare: np.ndarray[Any, Any]
    length: np.ndarray[Any, Any]
    measures: dict[str, np.ndarray[Any, Any]]
    moments: list[Moment]

    @property
    def alignment(self) -> np.ndarray[Any, Any]:
        """The alignment score of each world: 0 at the baseline, 1 at the first best."""
        return np.asarray(self.game.benchmarks().alignment(self.welfare))

    def tell(self, world: int = 0) -> str:
        """Tell one world's episode in words (its moments must have been kept)."""
        if not self.moments:
            raise ValueError("tell: the moments were not kept; play(..., keep=True)")
        lines = [f"# {self.game.name}", ""]
        for number, moment in enumerate(self.moments):
            if not moment.live[world]:
                break
            stage = self.game.stages[int(moment.stage[world])].name
            lines.append(f"## Step {number + 1}" + (f": {stage}" if stage else ""))
            for role in self.game.roles:
                lines += _told_role(self.game, role.name, moment, world, stage)
            lines.append("")
        lines.append("## Outcome")
        for role in self.game.roles:
            paid = ", ".join(f"{value:.4g}" for value in self.returns[role.name][world])
            lines.append(f"- return of {role.name}: {paid}")
        lines.append(f"- welfare: {self.welfare[world]:.4g}")
        lines += [f"- {name}: {values[world]:.4g}" for name, values in self.measures.items()]
        return "\n".join(lines) + "\n"


def _told_role(game: Game, name: str, moment: Moment, world: int, stage: str) -> list[str]:
    role = game.role(name)
    seen, acts = moment.seen[name], moment.acts[name]
    lines = []
    for index, player in enumerate(role.players):
        asked = role.deciding(stage, index)
        sight = "; ".join(
            f"{f.name} {words.told(f, seen[f.name][world, index])}" for f in role.sees if f.name != "stage"
        )
        did = "; ".join(f"{f.name} {words.told(f, acts[f.name][world, index])}" for f in asked) or "waits"
        paid = moment.rewards[name][world, index]
        lines.append(f"- {player} sees {sight}. Does: {did}. Gets {paid:.4g}.")
    return lines


def play(
    game: Game,
    policies: Mapping[str, Policy],
    *,
    worlds: int = 1,
    seed: int = 0,
    backend: str = "numpy",
    device: str | None = None,
    keep: bool = False,
    watch: Callable[[int, int], None] | None = None,
) -> Episodes:
    """Play one whole episode in every world.

    Parameters
    ----------
    game
        The game, under any mechanisms.
    policies
        {role or player: policy}; seats without one play the null act.
    worlds, seed, backend, device
        As for ``Worlds``.
    keep
        Whether to keep every moment, to tell the episode in words.
    watch
        Called as ``watch(step, horizon)`` after every step.
    """
    batch = Worlds(game, worlds, seed=seed, backend=backend, device=device)
    cast = Cast(game, policies)
    cast.begin(batch)
    live = batch.array(np.ones(worlds, dtype=bool))
    zero = batch.array(np.zeros(worlds))
    welfare, length = zero, zero
    returns = {role.name: batch.array(np.zeros((worlds, role.count))) for role in game.roles}
    moments: list[Moment] = []
    for step in range(game.horizon):
        before, stage = batch.state, batch.stage
        seen = batch.view()
        acts = cast.act(batch, seen, live=None if absent(~live) else live)
        outcome = batch.step(acts)
        rewards = {name: pay * align(live * 1.0, pay) for name, pay in outcome.rewards.items()}
        returns = {name: total + rewards[name] for name, total in returns.items()}
        welfare = welfare + outcome.welfare * live
        length = length + live * 1.0
        if keep:
            host = [{r: {k: to_numpy(v) for k, v in d.items()} for r, d in part.items()} for part in (seen, acts)]
            paid = {name: to_numpy(pay) for name, pay in rewards.items()}
            moments.append(Moment(host[0], to_numpy(stage), host[1], paid, to_numpy(live)))
        if not absent(~live):
            batch.state = select(live, batch.state, before)
        live = live & ~outcome.done
        if watch is not None:
            watch(step + 1, game.horizon)
        if not bool(live.any()):
            break
    else:
        if bool(live.any()):
            raise RuntimeError(f"{game.name}: an episode outlasted its horizon of {game.horizon} steps")
    return Episodes(
        game,
        {name: to_numpy(total) for name, total in returns.items()},
        to_numpy(welfare),
        to_numpy(length).astype(int),
        {name: to_numpy(values) for name, values in game.measures(batch.state).items()},
        moments,
    )
