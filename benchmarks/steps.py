"""Steps a second: societas against hand-written loops for single games, and against a PettingZoo game.

Run ``python benchmarks/steps.py`` (options: ``--quick``, ``--json FILE``). Everything is measured in one run, on one
thread: each round times every contestant once, every other round in the opposite order, so that a machine that slows
down slows them all; what is printed are medians over the rounds.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy and torch are imported
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

import argparse
import importlib.util
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pettingzoo
import torch
from by_hand import Acts, Array, FisheryLoop, HiddenActionLoop, Loop, Paid, PricingLoop, Seen
from rich.console import Console
from rich.table import Table

from societas import Game, Worlds
from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.core.arrays import absent
from societas.envs.markets.pricing import Pricing
from societas.envs.norms.fishery import Fishery

BATCHES = (1, 64, 4_096, 65_536)
GOAL_BATCH, GOAL_RATIO = 4_096, 1.5
CYCLE = 8  # acts are drawn beforehand for so many steps, and used again and again
FULL: dict[str, Any] = {"batches": BATCHES, "rounds": 9, "seconds": 0.15}
QUICK: dict[str, Any] = {"batches": BATCHES[:-1], "rounds": 5, "seconds": 0.03}


# ---- the same interface for societas ---------------------------------------------------------------------------------


class Ours:
    """A batch of a societas game; a world that has ended begins anew in the same step."""

    def __init__(self, game: Game, count: int, seed: int, backend: str = "numpy", device: str | None = None) -> None:
        self.worlds = Worlds(game, count, seed=seed, backend=backend, device=device, check=False)

    def view(self) -> Seen:
        """Return what each role sees."""
        return self.worlds.view()

    def step(self, acts: Acts) -> Paid:
        """Advance all worlds."""
        outcome = self.worlds.step(acts)
        if not absent(outcome.done):
            self.worlds.restart(outcome.done)
        return outcome.rewards, outcome.done, outcome.welfare


@dataclass(frozen=True)
class Case:
    """A game, the hand-written loop for it, and how acts are drawn: {role: {field: (low, high)}}."""

    name: str
    game: Any
    loop: Callable[[Any, int, int], Loop]
    mix: Mapping[str, Mapping[str, tuple[float, float]]]
    period: int = 1  # a sample is so many steps, or a multiple

    def acts(self, count: int, seed: int = 0) -> list[Acts]:
        """Draw a cycle of acts: whole numbers where a field is discrete."""
        rng = np.random.default_rng(seed)
        cycle: list[Acts] = []
        for _ in range(CYCLE):
            acts: Acts = {}
            for role in self.game.roles:
                acts[role.name] = {}
                for what in role.acts:
                    low, high = self.mix.get(role.name, {}).get(what.name, (what.space.low, what.space.high))
                    shape = (count, role.count, *what.shape)
                    whole = what.discrete
                    acts[role.name][what.name] = (
                        rng.integers(int(low), int(high) + 1, shape) if whole else rng.uniform(low, high, shape)
                    )
            cycle.append(acts)
        return cycle


CASES = (
    Case("Fishery, greedy", Fishery(), FisheryLoop, {}),
    Case("Fishery, modest", Fishery(), FisheryLoop, {"fisher": {"harvest": (0, 12)}}, period=12),
    Case("HiddenAction", HiddenAction(repetitions=100), HiddenActionLoop, {}, period=2),
    Case("Pricing", Pricing(), PricingLoop, {}),
)


def agree(case: Case, count: int = 4_096, steps: int = 24) -> None:
    """Check that our game and the hand-written loop are the same game under the same acts.

    What chance does not touch must be equal to rounding error, the rest in the mean: within 5 standard errors.
    """
    game, certain = case.game, isinstance(case.game, Fishery | Pricing)
    if isinstance(game, HiddenAction):
        sure = HiddenAction(chances=((1.0, 0.0), (0.0, 1.0)), repetitions=game.repetitions)
        if game.chances != sure.chances:
            agree(Case(case.name, sure, case.loop, case.mix), min(count, 64), 2 * game.repetitions + 2)
        certain = game.chances == sure.chances
    ours, hand = Ours(game, count, 1), case.loop(game, count, 2)
    gaps: dict[str, list[Array]] = {}
    for acts in itertools.islice(itertools.cycle(case.acts(count)), steps):
        seen, shown = ours.view(), hand.view()
        for role, own in seen.items():
            assert {k: (v.shape, v.dtype) for k, v in own.items()} == {
                k: (v.shape, v.dtype) for k, v in shown[role].items()
            }, f"{case.name}: the loop shows {role} other fields"
        (paid, done, welfare), (wage, over, worth) = ours.step(acts), hand.step(acts)
        assert np.array_equal(done, over), f"{case.name}: episodes end at other steps"
        if certain:
            assert np.allclose(welfare, worth), f"{case.name}: another welfare"
        for role, pay in paid.items():
            if certain and not isinstance(game, Fishery):
                assert np.allclose(pay, wage[role]), f"{case.name}: other rewards"
            # by rank of the claim, so that rationing shows
            claims = acts[role]["harvest"] if role == "fisher" else np.zeros(pay.shape)
            order = np.argsort(claims, axis=1)
            gaps.setdefault(role, []).append(np.take_along_axis(pay - wage[role], order, axis=1))
    for role, found in gaps.items():
        gap = np.concatenate(found)
        error = gap.std(axis=0) / np.sqrt(len(gap))
        assert (np.abs(gap.mean(axis=0)) <= 5.0 * error + 1e-9).all(), f"{case.name}: {role} is paid differently"


# ---- timing ----------------------------------------------------------------------------------------------------------


@dataclass
class Contestant:
    """Something that makes steps, and the seconds a step that were measured."""

    row: str
    column: str
    batch: int
    run: Callable[[int], None]
    period: int = 1
    steps: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median seconds a step of the whole batch."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Environment steps a second."""
        return self.batch / self.median

    def time(self, steps: int) -> float:
        """Return the seconds that some steps take."""
        begin = time.perf_counter()
        self.run(steps)
        return time.perf_counter() - begin

    def calibrate(self, seconds: float) -> None:
        """Warm up, and choose how many steps a sample has."""
        steps = self.period
        while (took := self.time(steps)) < seconds / 4 and steps < 1_000_000:
            steps *= 2
        periods = round(seconds / took * steps / self.period)
        self.steps = self.period * max(1, periods)


def batch_runner(loop: Loop, cycle: Sequence[Acts], finish: Callable[[], None] | None = None) -> Callable[[int], None]:
    """Return what makes so many steps of a batch: see, act, advance, begin anew."""
    stream = itertools.cycle(cycle)

    def run(steps: int) -> None:
        for acts in itertools.islice(stream, steps):
            loop.view()
            loop.step(acts)
        if finish is not None:
            finish()

    return run


def batch_contestants(cases: Sequence[Case], batches: Sequence[int]) -> list[Contestant]:
    """Return ours on NumPy and torch, and the hand-written loop, for every case and batch."""
    devices = {"torch": "cpu"} | ({"torch, GPU": "cuda"} if torch.cuda.is_available() else {})
    found = []
    for case, batch in itertools.product(cases, batches):
        cycle = case.acts(batch)
        runners = {
            "hand": batch_runner(case.loop(case.game, batch, 2), cycle),
            "numpy": batch_runner(Ours(case.game, batch, 1), cycle),
        }
        for column, device in devices.items():
            ours = Ours(case.game, batch, 1, "torch", device)
            there = [{r: {k: ours.worlds.array(v) for k, v in d.items()} for r, d in acts.items()} for acts in cycle]
            runners[column] = batch_runner(ours, there, torch.cuda.synchronize if device == "cuda" else None)
        found += [Contestant(case.name, column, batch, run, case.period) for column, run in runners.items()]
    return found


def single_runner(env: Any, mix: Callable[[], Any] | None) -> Callable[[int], None]:
    """Return what makes so many steps of a PettingZoo Parallel environment, with resets; actions are drawn beforehand."""
    env.reset(seed=0)
    draws = {agent: mix or env.action_space(agent).sample for agent in env.possible_agents}
    stream = itertools.cycle([{agent: draw() for agent, draw in draws.items()} for _ in range(256)])

    def run(steps: int) -> None:
        for actions in itertools.islice(stream, steps):
            env.step(actions)
            if not env.agents:
                env.reset()

    return run


def single_contestants() -> list[Contestant]:
    """Return our games, and rock-paper-scissors where pygame is installed, as PettingZoo environments."""
    rng = np.random.default_rng(0)
    names = ("Fishery", "HiddenAction", "MatrixGame", "Pricing")
    envs: dict[str, tuple[Any, Callable[[], Any] | None]] = {
        name: (pettingzoo.make("parallel", f"societas/{name}-v0"), None) for name in names
    }
    envs["Fishery, modest"] = pettingzoo.make("parallel", "societas/Fishery-v0"), lambda: int(rng.integers(13))
    for name in ("HiddenAction", "MatrixGame"):
        envs[f"{name}, 100 rounds"] = pettingzoo.make("parallel", f"societas/{name}-v0", repetitions=100), None
    if importlib.util.find_spec("pygame") is not None:
        from pettingzoo.classic import rps_v2

        envs["rock-paper-scissors"] = (rps_v2.parallel_env(), None)
    found = []
    for name, (env, mix) in envs.items():
        for number, agent in enumerate(env.possible_agents):
            env.action_space(agent).seed(number)
        found.append(Contestant(name, "single", 1, single_runner(env, mix), 10))
    return found


def measure(
    batches: Sequence[int],
    rounds: int,
    seconds: float,
    tell: Callable[[str], None],
    cases: Sequence[Case] = CASES,
) -> dict[str, Any]:
    """Check that the games agree, time everything, and return the results as plain data.

    Parameters
    ----------
    batches
        Numbers of worlds.
    rounds
        Samples of each contestant.
    seconds
        Length of a sample, roughly.
    tell
        Told what is going on.
    cases
        The games.
    """
    torch.set_num_threads(1)
    for case in cases:
        tell(f"checking {case.name}")
        agree(case)
    contestants = batch_contestants(cases, batches) + single_contestants()
    for number, one in enumerate(contestants):
        tell(f"warming up, {number + 1} of {len(contestants)}")
        one.calibrate(seconds)
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}")
        for one in contestants[:: 1 if number % 2 == 0 else -1]:
            one.seconds.append(one.time(one.steps) / one.steps)
    table = {(one.row, one.batch, one.column): one for one in contestants}
    columns = [name for name in dict.fromkeys(one.column for one in contestants) if name != "single"]
    rows = []
    for case, batch in itertools.product(cases, batches):
        mine, hand = table[case.name, batch, "numpy"], table[case.name, batch, "hand"]
        ratio = statistics.median(a / b for a, b in zip(mine.seconds, hand.seconds, strict=True))
        rates = {column: table[case.name, batch, column].rate for column in columns}
        rows.append({"game": case.name, "batch": batch, "rates": rates, "time_ratio": ratio})
    singles = [one for one in contestants if one.column == "single"]
    other = next((one for one in singles if one.row == "rock-paper-scissors"), None)
    parallel = []
    for one in singles:
        speed = None
        if other is not None:
            speed = statistics.median(b / a for a, b in zip(one.seconds, other.seconds, strict=True))
        parallel.append({"game": one.row, "rate": one.rate, "speed_ratio": speed})
    return {"machine": machine(), "rounds": rounds, "columns": columns, "batches": rows, "pettingzoo": parallel}


# ---- telling ---------------------------------------------------------------------------------------------------------


def machine() -> dict[str, str]:
    """Describe the machine in words, without names."""
    chip = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        chip = lines[0].split(":", 1)[1].strip() if lines else chip
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = {"Python": platform.python_version(), "NumPy": np.__version__, "torch": torch.__version__}
    return {
        "machine": f"{cores} cores ({chip}), {gpu}, 1 thread used, {platform.system()}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


TITLES = {"numpy": "societas, NumPy", "hand": "by hand, NumPy", "torch": "societas, torch", "torch, GPU": "torch, GPU"}


def show(results: Mapping[str, Any], console: Console) -> None:
    """Print the results."""
    console.print(results["machine"]["machine"])
    console.print(f"{results['machine']['versions']}; medians of {results['rounds']} rounds")
    table = Table(title="Environment steps a second")
    for title in ("game", "batch", *(TITLES[column] for column in results["columns"]), "time / by hand"):
        table.add_column(title, justify="left" if title == "game" else "right")
    last = None
    for row in results["batches"]:
        if last not in (None, row["game"]):
            table.add_section()
        last = row["game"]
        rates = [f"{row['rates'][column]:,.0f}" for column in results["columns"]]
        verdict = ""
        if row["batch"] == GOAL_BATCH:
            verdict = " met" if row["time_ratio"] <= GOAL_RATIO else " missed"
        table.add_row(row["game"], f"{row['batch']:,}", *rates, f"{row['time_ratio']:.2f}{verdict}")
    console.print(table)
    console.print(f"Goal: at batch {GOAL_BATCH:,}, at most {GOAL_RATIO} times the hand-written loop's time.\n")
    table = Table(title="One world as a PettingZoo Parallel environment")
    for title in ("game", "steps a second", "speed / rock-paper-scissors"):
        table.add_column(title, justify="left" if title == "game" else "right")
    for row in results["pettingzoo"]:
        ratio = row["speed_ratio"]
        verdict = "" if row["game"] == "rock-paper-scissors" else " met" if ratio and ratio >= 1.0 else " missed"
        told = "pygame is not installed" if ratio is None else f"{ratio:.2f}{verdict}"
        table.add_row(row["game"], f"{row['rate']:,.0f}", told)
    console.print(table)
    console.print("Goal: at least as fast as PettingZoo's own rock-paper-scissors.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Measure steps a second.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter samples, no batch of 65,536")
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
