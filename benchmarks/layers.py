"""What six mechanisms on top of each other cost: a step under them over a step of the bare game.

Run ``python benchmarks/layers.py``. One thread; acts are drawn beforehand; each round times every contestant once, every
other round in the opposite order; medians over the rounds. A step is: show every player its fields, draw random numbers,
advance. Under mechanisms with stages of their own an episode has more steps; the mean over all is taken.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy and torch are imported

import functools
import statistics
import time
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from societas import Game, Worlds, make, mechanism
from societas.envs.core import Choice, Mechanism
from societas.mechanisms.contract import Contract
from societas.mechanisms.court import Court
from societas.mechanisms.terms import Quota

WORLDS, ROUNDS, GOAL = 4_096, 7, 3.0

SETS: dict[str, tuple[Mechanism, ...]] = {
    "preferences and transfers": (
        mechanism("Pigou", field="caught", rate=0.5),
        mechanism("Tax"),
        mechanism("Redistribute"),
        mechanism("Misspecify", field="total", strength=0.5),
        mechanism("Prosocial"),
        mechanism("HiddenType"),
    ),
    "talk, contract, sanctions, noise": (
        mechanism("Talk", cost=0.25),
        Contract(Quota(limit=None), court=Court(0.7), side_payment=2.0, proposer=3),
        mechanism("Sanction", cost=0.5),
        mechanism("Noise", field="stock", sd=3.0),
        mechanism("Noise", field="caught", sd=1.0),
        mechanism("Misspecify", field="total", strength=0.5),
    ),
}


class Episodes:
    """Whole episodes of a game with acts drawn beforehand; ``most`` bounds what fishers want."""

    def __init__(self, game: Game, most: int, backend: str) -> None:
        self.game, self.worlds = game, Worlds(game, WORLDS, backend=backend, check=False)
        rng = np.random.default_rng(0)
        self.acts: list[Any] = []
        for _ in range(4):
            drawn: dict[str, Any] = {}
            for role in game.roles:
                drawn[role.name] = {}
                for field in role.acts:
                    shape, space = (WORLDS, role.count, *field.shape), field.space
                    high = most if field.name == "harvest" else space.high
                    whole = isinstance(space, Choice) or field.discrete
                    values = rng.integers(int(space.low), int(high) + 1, shape) if whole else rng.random(shape)
                    drawn[role.name][field.name] = self.worlds.array(values)
            self.acts.append(drawn)

    def seconds(self, seed: int) -> float:
        """Return the mean seconds a step of one episode."""
        self.worlds.reset(seed)
        steps, begun = 0, time.perf_counter()
        for steps in range(1, self.game.horizon + 1):
            self.worlds.view()
            if bool(self.worlds.step(self.acts[steps % 4]).done.all()):
                break
        return (time.perf_counter() - begun) / steps


def main() -> None:
    """Measure, and print the ratios."""
    torch.set_num_threads(1)
    console = Console()
    table = Table(
        "backend", "game", "bare, µs", *SETS, title=f"A step of {WORLDS:,} worlds under six mechanisms / bare"
    )
    for backend in ("numpy", "torch"):
        for name, most in (("Fishery, greedy", 40), ("Fishery, modest", 12)):
            bare = make("Fishery")
            games = [bare, *(functools.reduce(lambda game, m: game | m, layers, bare) for layers in SETS.values())]
            runs = [Episodes(game, most, backend) for game in games]
            times: list[list[float]] = [[] for _ in runs]
            for number in range(ROUNDS):
                order = list(enumerate(runs))
                for k, run in order if number % 2 else order[::-1]:
                    times[k].append(run.seconds(number))
            base, *others = (statistics.median(found[1:]) for found in times)
            ratios = [f"{other / base:.1f} {'met' if other < GOAL * base else 'missed'}" for other in others]
            table.add_row(backend, name, f"{base * 1e6:,.0f}", *ratios)
    console.print(table)
    console.print(f"Goal: less than {GOAL:g} times the bare step.")


if __name__ == "__main__":
    main()
