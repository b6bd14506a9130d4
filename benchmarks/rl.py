"""Training by PPO: environment steps a second, playing and learning together, next to Stable-Baselines3 on subprocesses.

Run ``python benchmarks/rl.py`` on a machine that does nothing else, else two threads wait for each other
(options: ``--rounds``, ``--seconds``, ``--json FILE``). All learn in the same commons of five users with networks of the
same shape, as many epochs over what was played, on one thread and on two; Stable-Baselines3 has eight
environments besides, each a process, so that it has two cores with one thread too. Each round times all in turns;
rates are medians over the rounds, and so are ratios to the faster of Stable-Baselines3's two. Then it takes apart the time
of a rollout on one thread: the game (what is seen, the step, its chance), the network (outputs, draws, probabilities), and
the rest, which is the library's own. With a GPU there is one more row, of 65,536 worlds.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy and torch are imported

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from societas import Game, make
from societas.policies.random import Random
from societas.policies.rl import PPO, learner, training

GOAL, MOST = 10.0, 0.15
"""Times the steps a second of Stable-Baselines3; most of a rollout's time that may be neither game nor network."""

EPOCHS, WORLDS, ON_GPU = 10, 1_024, 65_536
PROCESSES, STEPS, BATCH = 8, 256, 64
THREADS = (1, 2)
PEER = "Stable-Baselines3, one of five learns"


def commons() -> Game:
    """Return the game: five users, catches of 0 to 100, twelve months."""
    game: Game = make("Commons")
    return game


def environment() -> Any:
    """Return the game from one user's seat, the others at random, as a Gymnasium environment."""
    from societas.envs.views.gymnasium import RoleEnv

    return RoleEnv(commons(), others="random")


class Theirs:
    """Stable-Baselines3's PPO on subprocesses, which learns for one user; its defaults, and updates every 2,048 steps."""

    def __init__(self) -> None:
        from stable_baselines3 import PPO as Peer
        from stable_baselines3.common.vec_env import SubprocVecEnv

        self.env = SubprocVecEnv([environment] * PROCESSES)
        self.model = Peer("MlpPolicy", self.env, n_steps=STEPS, batch_size=BATCH, n_epochs=EPOCHS, device="cpu", seed=0)

    def __call__(self) -> int:
        """Play and learn once; return the environment steps."""
        self.model.learn(PROCESSES * STEPS, reset_num_timesteps=False)
        return PROCESSES * STEPS

    @property
    def size(self) -> int:
        """Numbers that are learned."""
        return sum(part.numel() for part in self.model.policy.parameters())


class Ours:
    """Our PPO of one user, the others at random, or of all five with one network."""

    def __init__(self, everyone: bool, device: str = "cpu", worlds: int = WORLDS, compiled: bool = False) -> None:
        game, name = commons(), "fisher" if everyone else "fisher_0"
        policy = PPO(epochs=EPOCHS, entropy=0.0, minibatches=worlds // 64, device=device, compiled=compiled)
        others = {} if everyone else {"fisher": Random()}
        self.training = training._Training(game, {name: policy}, 1_000_000, worlds, 0, others)

    def __call__(self) -> int:
        """Play and learn once; return the environment steps."""
        self.training.update()
        return self.training.steps * self.training.worlds.count

    @property
    def size(self) -> int:
        """Numbers that are learned."""
        return sum(part.numel() for group in self.training.learners[0].groups for part in group)


def rate(update: Callable[[], int], threads: int, seconds: float) -> float:
    """Return environment steps a second over so many seconds at least, on so many threads of torch."""
    torch.set_num_threads(threads)
    begin, steps = time.perf_counter(), 0
    while (passed := time.perf_counter() - begin) < seconds:
        steps += update()
    return steps / passed


def shares(ours: Ours, times: int) -> dict[str, float]:
    """Return the shares of a rollout's time that game, network and the rest take."""
    spent = {"game": 0.0, "network": 0.0}
    depth = [0]

    def timed(function: Any, part: str) -> Any:
        def run(*given: Any, **named: Any) -> Any:
            depth[0] += 1
            begin = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                depth[0] -= 1
                if not depth[0]:
                    spent[part] += time.perf_counter() - begin

        return run

    worlds = ours.training.worlds
    for name in ("view", "step", "restart", "reset"):
        setattr(worlds, name, timed(getattr(worlds, name), "game"))
    kept = learner.networks.forward, learner.draw, learner.likelihood
    learner.networks.forward = timed(kept[0], "network")
    learner.draw, learner.likelihood = timed(kept[1], "network"), timed(kept[2], "network")
    try:
        with torch.no_grad():
            begin = time.perf_counter()
            for _ in range(times):
                ours.training._play(1.0)
            whole = time.perf_counter() - begin
    finally:
        learner.networks.forward, learner.draw, learner.likelihood = kept
        for name in ("view", "step", "restart", "reset"):
            delattr(worlds, name)
    return {**{part: value / whole for part, value in spent.items()}, "rest": 1.0 - sum(spent.values()) / whole}


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Time all in turns; return medians."""
    theirs, one, everyone = Theirs(), Ours(False), Ours(True)
    told = {PEER: theirs, "societas, one of five learns": one, "societas, all five learn": everyone}
    all_: dict[str, tuple[Any, int]] = {
        f"{name}, {threads} thread{'s' if threads > 1 else ''}": (update, threads)
        for name, update in told.items()
        for threads in THREADS
    }
    if torch.cuda.is_available():
        name = f"societas, all five learn, {ON_GPU:,} worlds on {torch.cuda.get_device_name()}"
        all_[name] = Ours(True, "cuda", ON_GPU), 1
    sizes = {name: update.size for name, (update, _) in all_.items()}
    if len(set(sizes.values())) > 1:
        raise RuntimeError(f"the networks differ: {sizes}")
    rates: dict[str, list[float]] = {name: [] for name in all_}
    for update, threads in all_.values():
        torch.set_num_threads(threads)
        update()
    for number in range(rounds):
        for name, (update, threads) in list(all_.items())[:: 1 if number % 2 else -1]:
            rates[name].append(rate(update, threads, seconds))
    theirs.env.close()
    best = [max(found) for found in zip(*(rates[name] for name in rates if name.startswith(PEER)), strict=True)]
    rows = {
        name: {
            "steps": statistics.median(found),
            "ratio": statistics.median(a / b for a, b in zip(found, best, strict=True)),
        }
        for name, found in rates.items()
    }
    torch.set_num_threads(1)
    parts = [shares(everyone, 5) for _ in range(rounds)]
    return {"rows": rows, "rollout": {part: statistics.median(p[part] for p in parts) for part in parts[0]}}


def show(results: dict[str, Any], console: Console) -> None:
    """Print what was measured, and whether it meets the goals."""
    table = Table(title="Environment steps a second of training by PPO", title_justify="left")
    for name, side in (("who", "left"), ("steps a second", "right"), ("times", "right"), ("decisions", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for name, row in results["rows"].items():
        verdict = "" if name.startswith(PEER) else " met" if row["ratio"] >= GOAL else " missed"
        decisions = row["steps"] * (5 if "all five" in name else 1)
        table.add_row(name, f"{row['steps']:,.0f}", f"{row['ratio']:.1f}{verdict}", f"{decisions:,.0f}")
    console.print(table)
    parts = results["rollout"]
    verdict = "met" if parts["rest"] <= MOST else "missed"
    console.print("Decisions: those a second that are learned from.")
    console.print(
        f"A rollout of {WORLDS:,} worlds in which all five learn: game {parts['game']:.0%}, network {parts['network']:.0%}, "
        f"the rest {parts['rest']:.0%}: {verdict}."
    )
    console.print(f"Goals: {GOAL:.0f} times the steps of Stable-Baselines3; a rest of at most {MOST:.0%}.")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    results = measure(given.rounds, given.seconds)
    show(results, Console())
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
