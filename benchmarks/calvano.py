"""Q-learning duopolists of Calvano et al. 2020: societas against a loop in C, on one thread.

Run ``python benchmarks/calvano.py`` (options: ``--sessions``, ``--rounds``, ``--full``, ``--json FILE``). The loop,
``calvano.c``, is compiled with the machine's C compiler (``$CC``, or cc) and -O3; it gets the table of pay that societas
computes from the game. Each round times both, in turns, in periods a second of the processor; rates and ratios are medians
over the rounds. Beside them stand the profit gains that both find, and the published ones. ``--full`` adds the paper's
own cell, a thousand sessions of 1.85 million periods.
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
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from societas.envs.markets.pricing import Pricing
from societas.policies.calvano import Calvano, payoffs

GOAL = 3.0
"""Most that a period of ours may take, in times of the loop in C."""

CELLS: dict[str, tuple[float, float, float | None]] = {
    "beta 2e-5": (2e-5, 0.95, 0.80),
    "same, delta 0": (2e-5, 0.0, 0.22),
    "beta 4e-6": (4e-6, 0.95, 0.85),
}
"""Name: beta, delta, published profit gain."""


class Found(NamedTuple):
    """Mean profit gain, mean periods a session, and periods a second of the processor."""

    gain: float
    periods: float
    rate: float


def compiled(folder: Path) -> Path | None:
    """Compile the loop; None where there is no compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    program = folder / "calvano"
    source = Path(__file__).with_name("calvano.c")
    subprocess.run([compiler, "-O3", "-o", str(program), str(source), "-lm"], check=True)
    return program


def gain(game: Pricing, profit: float) -> float:
    """Return the profit gain of a mean profit."""
    return (profit - game.nash_profit) / (game.monopoly_profit - game.nash_profit)


def loop(program: Path, game: Pricing, beta: float, delta: float, sessions: int, seed: int) -> Found:
    """Run the loop in C."""
    words = [str(program), "0.15", repr(beta), repr(delta), str(sessions), str(seed), "0"]
    rows = (f"{one!r} {other!r}" for one, other in payoffs(game, "firm").tolist())
    text = "\n".join([str(game.prices), *rows])
    out = subprocess.run(words, check=True, capture_output=True, text=True, input=text).stdout.split()
    profit, periods, seconds = map(float, out)
    return Found(gain(game, profit), periods, periods * sessions / seconds)


def ours(game: Pricing, beta: float, delta: float, sessions: int, seed: int) -> Found:
    """Run societas: computing the table of pay and filling the tables included."""
    start = time.process_time()
    learned = Calvano(beta=beta, delta=delta).learn(game, "firm", sessions=sessions, seed=seed)
    seconds = time.process_time() - start
    profit = float(learned.settled(learned.pay)[0].mean())
    return Found(gain(game, profit), float(learned.periods.mean()), float(learned.periods.sum()) / seconds)


def measure(cells: dict[str, int], rounds: int) -> list[dict[str, Any]]:
    """Time all cells, {name: sessions}."""
    game, rows = Pricing(), []
    Calvano(most=1).learn(game, "firm", sessions=1)  # what is done once is done
    with tempfile.TemporaryDirectory() as folder:
        program = compiled(Path(folder))
        for name, sessions in cells.items():
            beta, delta, published = CELLS[name]
            mine, peers = [], []
            for number in range(rounds):
                mine.append(ours(game, beta, delta, sessions, number))
                if program is not None:
                    peers.append(loop(program, game, beta, delta, sessions, number))
            row: dict[str, Any] = {"cell": name, "sessions": sessions * rounds, "published": published}
            row["ours"] = summary(mine)
            if peers:
                row["C"] = summary(peers)
                row["ratio"] = statistics.median(b.rate / a.rate for a, b in zip(mine, peers, strict=True))
            rows.append(row)
    return rows


def summary(found: list[Found]) -> dict[str, float]:
    """Return mean gain and periods, and the median rate."""
    mean = statistics.fmean
    return {
        "gain": mean(one.gain for one in found),
        "periods": mean(one.periods for one in found),
        "rate": statistics.median(one.rate for one in found),
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table(title="Sessions of Q-learning duopolists, until they have converged, one thread")
    for name in ("cell", "sessions", "", "gain", "periods", "10^6 / s", "time / C"):
        table.add_column(name, justify="left" if name in ("cell", "") else "right")
    for row in rows:
        sessions = f"{row['sessions']:,}"
        ratio = f"{row['ratio']:.2f}" + (" met" if row["ratio"] <= GOAL else " not met") if "ratio" in row else ""
        table.add_row(row["cell"], "", "published", f"{row['published']:.2f}", "", "", "")
        for who in ("ours", "C"):
            if who in row:
                found = row[who]
                cells = (f"{found['gain']:.3f}", f"{found['periods']:,.0f}", f"{found['rate'] / 1e6:.1f}")
                table.add_row("", sessions, who, *cells, ratio if who == "ours" else "")
        table.add_section()
    console = Console()
    console.print(table)
    console.print(
        f"Goal: at most {GOAL:g} times the time of the loop in C, per period. 10^6 / s: millions of periods a second."
    )
    if not all("C" in row for row in rows):
        console.print("No C compiler was found, so there is nothing to compare with; set CC.")


def main(arguments: list[str] | None = None) -> None:
    """Time both, print the table, and write it as data where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=64, help="sessions a round of the fast cells")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; medians over them are shown")
    parser.add_argument("--full", action="store_true", help="also 200 sessions a round of the paper's own cell")
    parser.add_argument("--json", type=Path, help="file to which the results are written as data")
    options = parser.parse_args(arguments)
    cells = dict.fromkeys(list(CELLS)[:2], options.sessions) | ({"beta 4e-6": 200} if options.full else {})
    rows = measure(cells, options.rounds)
    show(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
