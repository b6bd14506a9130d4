"""How near a rollout and training by PPO come to what the device could do: rates, their two floors, and the rest.

Run ``python benchmarks/rl_device.py`` (options: ``--device``, ``--worlds``, ``--rounds``, ``--json FILE``). Five users of a
commons are played and learned by one network of two layers of 64, 65,536 worlds at once on a GPU, 1,024 on the host. A rate
counts agents' steps a second, medians over the rounds. Beside each rate stand two floors of its time, from what the same
device did in the same run: the bytes that have to be moved (states read and written, what is kept of each step written and,
to learn, read once an epoch) at the speed of copying a large tensor, and the operations of the network's matrix
products at the speed of one large product in single precision. Last comes the share of a rollout's time in which the device
runs neither the game nor the network: on a GPU, their kernels as torch's profiler sees them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rl  # sets the threads before torch is imported
import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile, record_function

from societas.envs.core.arrays import tree_map

GOALS = {"rollout": 5e8, "training": 1e8}
"""Agents' steps a second, on a GPU."""
PARTS = ("game", "network")


def seconds(device: str, work: Callable[[], Any], times: int) -> float:
    """Return the seconds of doing something once, on average over so many times; the device has finished by then."""

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    wait()
    begun = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return (time.perf_counter() - begun) / times


def speeds(device: str) -> dict[str, float]:
    """Return bytes moved and operations a second, of a copy and of a matrix product that are large for the device."""
    many, side = (2**28, 8_192) if device == "cuda" else (2**24, 1_024)
    source, matrix = torch.ones(many, device=device), torch.ones(side, side, device=device)
    target, product = torch.empty_like(source), torch.empty_like(matrix)
    work: dict[str, tuple[Callable[[], Any], float]] = {
        "bytes": (lambda: target.copy_(source), 2.0 * source.nbytes),
        "operations": (lambda: torch.mm(matrix, matrix, out=product), 2.0 * side**3),
    }
    found = {}
    for name, (do, amount) in work.items():
        seconds(device, do, 3)
        found[name] = amount / min(seconds(device, do, 5) for _ in range(5))
    return found


def floors(ours: rl.Ours) -> dict[str, dict[str, float]]:
    """Return the bytes and the operations of an agent's step that no code for this task can do without."""
    training = ours.training
    learner, worlds = training.learners[0], training.worlds
    agents, state = worlds.count * len(learner.seats), [0]
    tree_map(lambda leaf: state.__setitem__(0, state[0] + leaf.nbytes), worlds.state)
    kept = [learner.sight[0], learner.drawn[0], learner.log_p[0], learner.reward[0]]
    write = sum(part.nbytes for part in kept) / agents
    actor, critic = (
        2.0 * sum(v[0].numel() for name, v in net.items() if name.startswith("weight"))
        for net in (learner.actor, learner.critic)
    )
    again = rl.EPOCHS * (write + 8)  # the advantage and the return besides
    rollout = {"bytes": 2.0 * state[0] / agents + write, "operations": actor}
    forward_and_back = 3.0 * rl.EPOCHS * (actor + critic)
    return {
        "rollout": rollout,
        "training": {"bytes": rollout["bytes"] + again, "operations": actor + critic + forward_and_back},
    }


def outside(ours: rl.Ours, device: str, times: int) -> float:
    """Return the share of a rollout's time in which neither the game nor the network runs.

    On a GPU it is what their kernels leave of the time that a rollout takes without the profiler, which slows the host only.
    """
    if device == "cpu":
        return rl.shares(ours, times)["rest"]

    def ranged(function: Any, part: str) -> Any:
        def run(*given: Any, **named: Any) -> Any:
            with record_function(part):
                return function(*given, **named)

        return run

    def play() -> None:
        ours.training._play(1.0)

    with torch.no_grad():
        whole = seconds(device, play, times)
        with rl.wrapped(ours, ranged), profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            seconds(device, play, times)
    rows = [row for row in profiled.key_averages() if row.key in PARTS]
    return 1.0 - sum(row.device_time_total for row in rows) / 1e6 / times / whole


def measure(device: str, worlds: int, rounds: int) -> dict[str, Any]:
    """Time a rollout and an update in turns; return medians, floors and the share outside."""
    torch.set_num_threads(1)
    ours = rl.Ours(True, device, worlds)
    training = ours.training
    agents = training.steps * worlds * len(training.learners[0].seats)
    reach, least = speeds(device), floors(ours)

    def play() -> None:
        with torch.no_grad():
            training._play(1.0)

    work: dict[str, Callable[[], Any]] = {"rollout": play, "training": training.update}
    for do in work.values():
        seconds(device, do, 2)
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, do in work.items():
            taken[name].append(seconds(device, do, 3))
    rows = {}
    for name, found in taken.items():
        each = statistics.median(found) / agents
        parts = {kind: amount / reach[kind] for kind, amount in least[name].items()}
        rows[name] = {
            "steps": 1.0 / each,
            **{f"{kind} floor": part / each for kind, part in parts.items()},
            **least[name],
        }
    away = outside(ours, device, 10)
    machine = torch.cuda.get_device_name() if device == "cuda" else "the host, one thread"
    return {"machine": machine, "worlds": worlds, "speeds": reach, "rows": rows, "outside": away}


def show(results: dict[str, Any], console: Console) -> None:
    """Print what was measured."""
    title = f"Agents' steps a second of {results['worlds']:,} worlds on {results['machine']}"
    table = Table(title=title, title_justify="left")
    for name in ("", "a second", "bytes", "floor", "operations", "floor"):
        table.add_column(name, justify="left" if not name else "right")
    for name, row in results["rows"].items():
        table.add_row(
            name,
            f"{row['steps']:,.0f}",
            f"{row['bytes']:,.0f}",
            f"{row['bytes floor']:.1%}",
            f"{row['operations']:,.0f}",
            f"{row['operations floor']:.1%}",
        )
    console.print(table)
    console.print(
        "Bytes and operations: of an agent's step. Floor: the share of its time that they would take at full speed."
    )
    reach = results["speeds"]
    console.print(
        f"Copies {reach['bytes'] / 1e9:,.0f} GB/s, multiplies {reach['operations'] / 1e9:,.0f} GFLOP/s. Of a rollout, "
        f"{results['outside']:.0%} is spent outside the kernels of game and network."
    )
    console.print("Goals, on a GPU: " + ", ".join(f"{name} {goal:.0e}" for name, goal in GOALS.items()) + ".")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cuda", "cpu"))
    parser.add_argument("--worlds", type=int, default=None, help="65,536 on a GPU, 1,024 on the host")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    worlds = given.worlds or (rl.ON_GPU if given.device == "cuda" else rl.WORLDS)
    results = measure(given.device, worlds, given.rounds)
    show(results, Console())
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
