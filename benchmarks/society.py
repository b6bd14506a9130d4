"""Steps a second of a society on Mesa against Mesa's own Boltzmann wealth example with as many agents.

Run ``python benchmarks/society.py`` (options: ``--quick``, ``--json FILE``). Both collect their data at every step.
Everything is measured in one run, on one thread: each round times every contestant once, every other round in the
opposite order; what is printed are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steps import machine  # first: it sets the number of threads before NumPy is imported

import mesa  # isort: skip
from mesa.examples.basic.boltzmann_wealth_model.model import BoltzmannWealth  # isort: skip
from rich.console import Console
from rich.table import Table

from societas.envs.norms.matrix_game import MatrixGame
from societas.envs.views.mesa import Imitation, Society
from societas.experiments.societies.norms import NormDiffusion

FULL: dict[str, Any] = {"agents": (1_000, 10_000), "rounds": 9, "steps": 20}
QUICK: dict[str, Any] = {"agents": (1_000,), "rounds": 3, "steps": 10}
GOAL_AGENTS = 1_000
PURE = {"cooperate": {"action": "cooperate"}, "defect": {"action": "defect"}}
REFERENCE = "Boltzmann wealth (Mesa)"


def _dilemma(agents: int, imitation: Imitation | None) -> mesa.Model:
    """Return a prisoner's dilemma along the ties of a small world."""
    options: Mapping[str, Any] = {"agents": agents, "network": "small_world", "imitation": imitation, "seed": 1}
    return Society(MatrixGame.prisoners_dilemma(), PURE, **options)


CONTESTANTS: dict[str, Callable[[int], mesa.Model]] = {
    REFERENCE: lambda n: BoltzmannWealth(n=n, width=10, height=10, seed=1),
    "dilemma along ties": lambda n: _dilemma(n, None),
    "dilemma along ties, imitation": lambda n: _dilemma(n, Imitation(noise=1.0, mutation=0.05)),
    "public good, punishment, imitation": lambda n: NormDiffusion(agents=n, mutation=0.05, seed=1),
}


def _seconds(model: mesa.Model, steps: int) -> float:
    begin = time.perf_counter()
    for _ in range(steps):
        model.step()
    return (time.perf_counter() - begin) / steps


def measure(
    agents: Sequence[int], rounds: int, steps: int, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Time everything; return rates, and times as ratios to the reference's."""
    rows = []
    for count in agents:
        models = {name: make(count) for name, make in CONTESTANTS.items()}
        for model in models.values():
            model.step()  # whatever is made once is made
        seconds: dict[str, list[float]] = {name: [] for name in models}
        for k in range(rounds):
            tell(f"{count:,} agents: round {k + 1} of {rounds}")
            for name in sorted(models, reverse=bool(k % 2)):
                seconds[name].append(_seconds(models[name], steps))
        for name, times in seconds.items():
            ratio = statistics.median(a / b for a, b in zip(times, seconds[REFERENCE], strict=True))
            rows.append({"model": name, "agents": count, "rate": 1 / statistics.median(times), "time_ratio": ratio})
    told = machine()
    return {
        "machine": {**told, "versions": f"{told['versions']}, Mesa {mesa.__version__}"},
        "rounds": rounds,
        "rows": rows,
    }


def show(results: Mapping[str, Any], console: Console) -> None:
    """Print the results."""
    console.print(results["machine"]["machine"])
    console.print(f"{results['machine']['versions']}; medians of {results['rounds']} rounds")
    table = Table(title="Steps of a society")
    for title in ("model", "agents", "steps a second", "time / Boltzmann wealth"):
        table.add_column(title, justify="left" if title == "model" else "right")
    last = None
    for row in results["rows"]:
        if last not in (None, row["agents"]):
            table.add_section()
        last = row["agents"]
        verdict = ""
        if row["agents"] == GOAL_AGENTS and row["model"] != REFERENCE:
            verdict = " met" if row["time_ratio"] <= 1.0 else " missed"
        table.add_row(row["model"], f"{row['agents']:,}", f"{row['rate']:,.0f}", f"{row['time_ratio']:.2f}{verdict}")
    console.print(table)
    console.print(f"Goal: with {GOAL_AGENTS:,} agents, a step no slower than the Boltzmann wealth example's.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Measure steps of societies.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter samples, 1,000 agents only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to a file")
    options = parser.parse_args(arguments)
    console, progress = Console(width=120), Console(stderr=True)
    with progress.status("starting") as status:
        results = measure(**(QUICK if options.quick else FULL), tell=status.update)
    show(results, console)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
