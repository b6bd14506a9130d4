"""Training by PPO: environment steps a second, playing and learning together, next to Stable-Baselines3 on subprocesses.

Run ``python benchmarks/rl.py`` on a machine that does nothing else (options: ``--rounds``, ``--seconds``, ``--threads``,
``--json FILE``). All learn in the same commons of five users with networks of the same shape, ten epochs over what was
played: one user of five, or all five with one network. Stable-Baselines3 has eight environments, each a process
(SuperSuit makes one of all five users), and its default batch of 64 decisions; a row of its own gives it batches as large
as ours, 64 worlds of twelve months. Each round times all in turns; rates are medians over the rounds, and so are ratios to
Stable-Baselines3 where as many learn. Then it takes apart the time of a rollout: the game (what is seen, the step, its
chance), the network (outputs, draws, probabilities), and the rest, which is the library's own. With a GPU there is one
more row, of 65,536 worlds.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy and torch are imported

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
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
PEER = "Stable-Baselines3"
LARGE = 64 * 12
ONE, ALL = "one of five", "all five"


def commons() -> Game:
    """Return the game: five users, catches of 0 to 100, twelve months."""
    game: Game = make("Commons")
    return game


def environment() -> Any:
    """Return the game from one user's seat, the others at random, as a Gymnasium environment."""
    from societas.envs.views.gymnasium import RoleEnv

    return RoleEnv(commons(), others="random")


class Theirs:
    """Stable-Baselines3's PPO on subprocesses; its defaults but for the batch, and updates every 2,048 steps."""

    def __init__(self, everyone: bool, batch: int) -> None:
        from stable_baselines3 import PPO as Peer
        from stable_baselines3.common.vec_env import SubprocVecEnv

        if everyone:
            import supersuit

            from societas.envs.views.pettingzoo import parallel_env

            table = supersuit.pettingzoo_env_to_vec_env_v1(parallel_env(commons()))
            self.env = supersuit.concat_vec_envs_v1(
                table, PROCESSES, num_cpus=PROCESSES, base_class="stable_baselines3"
            )
        else:
            self.env = SubprocVecEnv([environment] * PROCESSES)
        shape = {"n_steps": STEPS, "batch_size": batch, "n_epochs": EPOCHS}
        self.model = Peer("MlpPolicy", self.env, **shape, device="cpu")

    def __call__(self) -> int:
        """Play and learn once; return the environment steps."""
        self.model.learn(self.env.num_envs * STEPS, reset_num_timesteps=False)
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


def rate(update: Callable[[], int], seconds: float) -> float:
    """Return environment steps a second over so many seconds at least."""
    begin, steps = time.perf_counter(), 0
    while (passed := time.perf_counter() - begin) < seconds:
        steps += update()
    return steps / passed


@contextlib.contextmanager
def wrapped(ours: Ours, wrap: Callable[[Any, str], Any]) -> Iterator[None]:
    """Wrap what belongs to the game and what belongs to the network; what one of them calls is its own."""
    inside = [False]

    def outermost(function: Any, part: str) -> Any:
        whole = wrap(function, part)

        def run(*given: Any, **named: Any) -> Any:
            if inside[0]:
                return function(*given, **named)
            inside[0] = True
            try:
                return whole(*given, **named)
            finally:
                inside[0] = False

        return run

    worlds, game = ours.training.worlds, ("view", "step", "restart", "reset")
    for name in game:
        setattr(worlds, name, outermost(getattr(worlds, name), "game"))
    worlds.uniform = outermost(worlds.uniform, "network")  # what is drawn with
    kept = learner.networks.forward, learner.draw, learner.likelihood
    learner.networks.forward = outermost(kept[0], "network")
    learner.draw, learner.likelihood = outermost(kept[1], "network"), outermost(kept[2], "network")
    try:
        yield
    finally:
        learner.networks.forward, learner.draw, learner.likelihood = kept
        for name in (*game, "uniform"):
            delattr(worlds, name)


def shares(ours: Ours, times: int) -> dict[str, float]:
    """Return the shares of a rollout's time that game, network and the rest take."""
    spent = {"game": 0.0, "network": 0.0}

    def timed(function: Any, part: str) -> Any:
        def run(*given: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            found = function(*given, **named)
            spent[part] += time.perf_counter() - begin
            return found

        return run

    with wrapped(ours, timed), torch.no_grad():
        begin = time.perf_counter()
        for _ in range(times):
            ours.training._play(1.0)
        whole = time.perf_counter() - begin
    return {**{part: value / whole for part, value in spent.items()}, "rest": 1.0 - sum(spent.values()) / whole}


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Time all in turns; return medians."""
    peers: dict[str, Any] = {ONE: Theirs(False, BATCH), ALL: Theirs(True, BATCH)}
    all_: dict[tuple[str, str], Any] = {
        (PEER, ONE): peers[ONE],
        (f"{PEER}, batches as ours", ONE): Theirs(False, LARGE),
        ("societas", ONE): Ours(False),
        (PEER, ALL): peers[ALL],
        (f"{PEER}, batches as ours", ALL): Theirs(True, 5 * LARGE),
        ("societas", ALL): Ours(True),
    }
    if torch.cuda.is_available():
        all_[f"societas, {ON_GPU:,} worlds on {torch.cuda.get_device_name()}", ALL] = Ours(True, "cuda", ON_GPU)
    sizes = {name: update.size for name, update in all_.items()}
    if len(set(sizes.values())) > 1:
        raise RuntimeError(f"the networks differ: {sizes}")
    rates: dict[tuple[str, str], list[float]] = {name: [] for name in all_}
    for update in all_.values():
        update()
    for number in range(rounds):
        for name, update in list(all_.items())[:: 1 if number % 2 else -1]:
            rates[name].append(rate(update, seconds))
    for update in all_.values():
        if isinstance(update, Theirs):
            update.env.close()
    rows = [
        {
            "who": who,
            "learn": learn,
            "steps": statistics.median(found),
            "ratio": statistics.median(a / b for a, b in zip(found, rates[PEER, learn], strict=True)),
        }
        for (who, learn), found in rates.items()
    ]
    parts = [shares(all_["societas", ALL], 5) for _ in range(rounds)]
    return {"rows": rows, "rollout": {part: statistics.median(p[part] for p in parts) for part in parts[0]}}


def show(results: dict[str, Any], console: Console) -> None:
    """Print what was measured, and whether it meets the goals."""
    table = Table(title="Environment steps a second of training by PPO", title_justify="left")
    for name, side in (("who", "left"), ("learn", "left"), ("steps a second", "right"), ("times", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for row in results["rows"]:
        verdict = "" if row["who"].startswith(PEER) else " met" if row["ratio"] >= GOAL else " missed"
        table.add_row(row["who"], row["learn"], f"{row['steps']:,.0f}", f"{row['ratio']:.1f}{verdict}")
    console.print(table)
    parts = results["rollout"]
    verdict = "met" if parts["rest"] <= MOST else "missed"
    console.print(
        f"A rollout of {WORLDS:,} worlds in which all five learn: game {parts['game']:.0%}, network {parts['network']:.0%}, "
        f"the rest {parts['rest']:.0%}: {verdict}."
    )
    console.print(
        f"Goals: {GOAL:.0f} times the steps of Stable-Baselines3 where as many learn; a rest of at most {MOST:.0%}."
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--threads", type=int, default=1, help="of torch, where the networks learn")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results = measure(given.rounds, given.seconds)
    show(results, Console())
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
