"""Axelrod's norms games: societas against a loop in C, on one thread.

Run ``python benchmarks/populations.py`` (options: ``--populations``, ``--generations``, ``--rounds``, ``--json FILE``).
The loop, ``axelrod.c``, is compiled with the machine's C compiler (``$CC``, or cc). Each round times both, in turns; times
and ratios are medians over the rounds. Beside the times stand the shares of populations in which the norm is established
and has collapsed, and the published ones. Times are the processor's, so that other work on the machine counts little.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy is imported

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from societas.envs.norms.norms_game import NormsGame
from societas.policies.populations.norms import PUBLISHED, Fates, fates
from societas.policies.populations.selection import evolve

GOAL = 10.0
"""Most that ours may take, in times of the loop in C, with metanorms."""


def compiled(folder: Path) -> Path | None:
    """Compile the loop; None where there is no compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    program = folder / "axelrod"
    source = Path(__file__).with_name("axelrod.c")
    subprocess.run([compiler, "-O2", "-o", str(program), str(source), "-lm"], check=True)
    return program


def loop(program: Path, metanorms: bool, populations: int, generations: int, seed: int) -> tuple[Fates, float]:
    """Run the loop in C; return what became of the populations, and seconds."""
    words = [str(program), str(int(metanorms)), str(populations), str(generations), str(seed)]
    out = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    return Fates(float(out[0]), float(out[1])), float(out[2])


def ours(metanorms: bool, populations: int, generations: int, seed: int) -> tuple[Fates, float]:
    """Run societas; return the same."""
    game = NormsGame(metanorms=metanorms)
    start = time.process_time()
    history = evolve(game, populations=populations, generations=generations, seed=seed)
    return fates(game, history), time.process_time() - start


def measure(populations: int, generations: int, rounds: int) -> list[dict[str, Any]]:
    """Time both games."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        program = compiled(Path(folder))
        for name, published in PUBLISHED.items():
            metanorms, seconds, loops = name == "metanorms", [], []
            ours(metanorms, 64, 3, 0)  # what is done once is done
            for number in range(rounds):
                found, second = ours(metanorms, populations, generations, number)
                seconds.append(second)
                if program is not None:
                    peer, second = loop(program, metanorms, populations, generations, number)
                    loops.append(second)
            row: dict[str, Any] = {"game": name, "published": published, "ours": found._asdict()}
            row["seconds"] = statistics.median(seconds)
            if loops:
                ratios = [a / b for a, b in zip(seconds, loops, strict=True)]
                row |= {"C": peer._asdict(), "C seconds": statistics.median(loops), "ratio": statistics.median(ratios)}
            rows.append(row)
    return rows


def show(rows: list[dict[str, Any]], populations: int, generations: int) -> None:
    """Print the table."""
    console = Console()
    table = Table(title=f"{populations:,} populations of 20, {generations} generations, one thread")
    for name in ("game", "", "established", "collapsed", "seconds", "time / C"):
        table.add_column(name, justify="left" if name in ("game", "") else "right")
    for row in rows:
        ratio = f"{row['ratio']:.1f}" if "ratio" in row else ""
        if ratio and row["game"] == "metanorms":
            ratio += " met" if row["ratio"] <= GOAL else " not met"
        for who, seconds in (
            ("published", ""),
            ("ours", f"{row['seconds']:.2f}"),
            ("C", f"{row.get('C seconds', 0):.2f}"),
        ):
            if who in row:
                shares = [f"{row[who][name]:.1%}" for name in ("established", "collapsed")]
                table.add_row(row["game"], who, *shares, seconds, ratio if who == "ours" else "")
        table.add_section()
    console.print(table)
    console.print(
        f"Goal: with metanorms, at most {GOAL:g} times the time of the loop in C. Published: at generation 100."
    )
    if not all("C" in row for row in rows):
        console.print("No C compiler was found, so there is nothing to compare with; set CC.")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--populations", type=int, default=2_000)
    parser.add_argument("--generations", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    rows = measure(chosen.populations, chosen.generations, chosen.rounds)
    show(rows, chosen.populations, chosen.generations)
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
