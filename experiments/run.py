"""Run a spec: cells in worker processes, each finished cell kept at once, so that a killed run goes on where it stopped."""

from __future__ import annotations

import concurrent.futures
import csv
import json
import multiprocessing
import os
import platform
import queue
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..envs.core.episodes import play
from ..envs.core.game import Game, Measure
from ..envs.core.policy import Policy
from .spec import EVERYONE, Arm, Cell, Player, Spec, build_policy

Progress = Callable[[str, float], None]
"""Called with a cell's name and the fraction of it that is done."""

LONGEST = 60  # steps of a told episode; the middle of a longer one is left out

SCORES = {
    "alignment": {
        "means": "how far welfare is from the best that is possible: 0 at the baseline equilibrium, 1 at the first best",
        "formula": "(welfare - baseline) / (first_best - baseline)",
        "unit": "",
        "source": "game.benchmarks()",
        "better": "higher",
    },
    "welfare": {
        "means": "what the game created, whoever was paid it",
        "formula": "sum_t welfare_t",
        "unit": "reward",
        "source": "Outcome.welfare",
        "better": "higher",
    },
}


class Calls(NamedTuple):
    """Where calls of language models are written down, or answered from instead of by the models.

    ``folder`` holds a file for each cell, seat and replica; a model that learns in its cell is another each time and has
    none.
    """

    folder: Path
    replayed: bool = False

    def put(self, policy: Policy, name: str) -> None:
        """Put a recorder, or a recording, in place of a policy's models."""
        from ..policies.llm.policy import LanguageModel
        from ..policies.llm.record import Recorded, Replay

        if isinstance(policy, LanguageModel):
            path = self.folder / f"{name}.jsonl"
            for holder in (policy, *policy.memory):
                if holder.model is not None:
                    holder.model = Replay(path) if self.replayed else Recorded(holder.model, path, resume=True)


def play_cell(spec: Spec, cell: Cell, watch: Callable[[float], None], calls: Calls | None = None) -> dict[str, Any]:
    """Learn and play one cell; return measures per world, learning curve, one episode in words, and models' totals."""
    game, arm = spec.build(cell.uncertainty, cell.institution, cell.game), spec.policies[cell.policy]
    count = arm.worlds // arm.replicas
    measures: dict[str, list[float]] = {}
    curve: list[float] = []
    told, models = "", list[dict[str, Any]]()
    for replica in range(arm.replicas):

        def part(fraction: float, done: int = replica) -> None:
            watch((done + fraction) / arm.replicas)

        policies, curve = _learned(
            game, arm, cell.institution, spec.seed + 1 + replica, part, f"policies.{cell.policy}"
        )
        if calls is not None:
            fixed = [seat for seat in policies if not _player(arm, seat).learning]
            for seat in fixed:
                calls.put(policies[seat], f"{cell.name}--{seat}--{replica}")
        share = 0.05 if curve else 1.0
        episodes = play(
            game,
            policies,
            worlds=count,
            seed=spec.seed + replica,
            keep=replica == 0,
            watch=lambda step, horizon: part(1.0 - share + share * step / horizon),  # noqa: B023  (called here only)
        )
        found = {"alignment": episodes.alignment, "welfare": episodes.welfare, **episodes.measures}
        for seat, policy in policies.items():
            ledger = getattr(policy, "ledger", None)
            if ledger is not None and ledger.decisions:
                models += [{"seat": seat, "replica": replica, **row} for row in ledger.rows()]
                for name, values in ledger.measures(count).items():
                    found[name] = found.get(name, 0) + values
        for name, values in found.items():
            # what learned together is one observation, however many worlds it is measured in
            own = values if arm.replicas == 1 else [values.mean()]
            measures.setdefault(name, []).extend(float(v) for v in own)
        told = told or episodes.tell(steps=LONGEST)
    return {"measures": measures, "curve": curve, "episode": told, "models": models}


def _player(arm: Arm, seat: str) -> Player:
    return arm.players.get(seat) or arm.players[EVERYONE]


def _learned(
    game: Game, arm: Arm, institution: str, seed: int, watch: Callable[[float], None], where: str
) -> tuple[dict[str, Policy], list[float]]:
    """Return who plays, after all have learned who learn, and the curve of the last of them."""
    players = arm.players
    if EVERYONE in players:
        players = {role.name: players[EVERYONE] for role in game.roles} | players
        del players[EVERYONE]
    policies = {seat: build_policy(p, institution) for seat, p in players.items() if not p.learning}
    learners = {seat: player for seat, player in players.items() if player.learning}
    curve: list[float] = []
    for number, (seat, player) in enumerate(learners.items()):
        policy, learning = build_policy(player, institution), player.learning
        assert learning is not None
        if not hasattr(policy, "learn"):
            raise ValueError(
                f"{where}.players.{seat}: {player.policy!r} does not learn here; 'tabular' and 'gradient' do"
            )
        against = {name: build_policy(p, institution) for name, p in learning.against.items()}
        learned = policy.learn(
            game,
            seat,
            episodes=learning.episodes,
            sessions=learning.sessions or arm.worlds // arm.replicas,
            seed=seed,
            others={name: other for name, other in (policies | against).items() if name != seat},
            watch=lambda done, all_, number=number: watch(0.95 * (number + done / all_) / len(learners)),
        )
        policies[seat], curve = learned, learned.curve
    return policies, curve


_reports: Any = None


def _enter(reports: Any) -> None:
    global _reports  # noqa: PLW0603  (a worker process has one queue, handed over when it starts)
    _reports = reports


def _work(spec_json: str, cell: Cell, target: str, calls: Calls | None) -> str:
    """Run one cell in a worker and keep its result; return its name."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    spec, name, last = Spec.model_validate_json(spec_json), cell.name, [0.0]

    def watch(fraction: float) -> None:
        now = time.monotonic()
        if now - last[0] > 0.3:
            last[0] = now
            _reports.put((name, fraction))

    begun = time.monotonic()
    result = play_cell(spec, cell, watch, calls)
    result["seconds"] = time.monotonic() - begun
    write_atomically(Path(target), json.dumps(result))
    return name


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def folder(spec: Spec, root: Path) -> Path:
    """Return the folder of a run: the same spec always has the same."""
    return root / f"{spec.name}-{spec.sha256[:8]}"


def run(
    spec: Spec,
    root: Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    command: str = "",
    record: bool = False,
    replay: Path | None = None,
) -> Path:
    """Run what is not finished yet and gather the whole table; return the run's folder.

    Parameters
    ----------
    spec
        What to run.
    root
        Where runs are kept.
    workers
        Processes; None takes one a core. The result does not depend on it.
    progress
        Told of progress within cells.
    command
        The command line, for the record.
    record
        Whether all calls of language models are kept, in the folder ``calls``; a cell that was killed then goes on
        without asking again what it asked before.
    replay
        Folder of a run of this spec that was recorded; language models are then answered for from there, and not loaded.

    Raises
    ------
    FileNotFoundError
        If something that a policy needs (a model, a recording) is absent; the message says how to get it. Nothing has
        run then.
    """
    started = datetime.now(UTC)
    target = folder(spec, root)
    calls = Calls(target / "calls") if record else None
    if replay is not None:
        calls = Calls(replay / "calls", replayed=True)
        if not calls.folder.is_dir():
            raise FileNotFoundError(f"replay: no recorded calls in {replay}; make them with: societas run ... --record")
    for arm in spec.policies.values():
        for player in arm.players.values():
            policy = build_policy(player, spec.baseline)
            if replay is None or player.learning or not hasattr(policy, "ledger"):
                policy.ready()
    cells = target / "cells"
    cells.mkdir(parents=True, exist_ok=True)
    write_atomically(
        target / "spec.yaml", yaml.safe_dump(_plain_spec(spec), sort_keys=False, allow_unicode=True, width=100)
    )
    waiting = [cell for cell in spec.cells() if not (cells / f"{cell.name}.json").exists()]
    if progress:
        for cell in set(spec.cells()) - set(waiting):
            progress(cell.name, 1.0)
    if waiting:
        _run_cells(spec, waiting, cells, workers or os.cpu_count() or 1, progress, calls)
    _gather(spec, target, cells, started, command)
    return target


def _cost(spec: Spec, cell: Cell) -> int:
    """Order of starting: models first, then learners, so that the long cells do not come last."""
    players = spec.policies[cell.policy].players.values()
    return -2 if any(p.policy == "llm" for p in players) else -1 if any(p.learning for p in players) else 0


def _run_cells(
    spec: Spec, waiting: list[Cell], cells: Path, workers: int, progress: Progress | None, calls: Calls | None
) -> None:
    context = multiprocessing.get_context("spawn")
    # inherited by the workers: one thread each, or they get in each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with context.Manager() as manager:
        reports = manager.Queue()
        pool = concurrent.futures.ProcessPoolExecutor(
            min(workers, len(waiting)), mp_context=context, initializer=_enter, initargs=(reports,)
        )
        try:
            jobs = {
                pool.submit(_work, spec.model_dump_json(), cell, str(cells / f"{cell.name}.json"), calls)
                for cell in sorted(waiting, key=lambda cell: _cost(spec, cell))
            }
            while jobs:
                done, jobs = concurrent.futures.wait(jobs, timeout=0.3, return_when="FIRST_COMPLETED")
                for job in done:
                    name = job.result()
                    if progress:
                        progress(name, 1.0)
                while progress:
                    try:
                        progress(*reports.get_nowait())
                    except queue.Empty:
                        break
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _plain_spec(spec: Spec) -> dict[str, Any]:
    """Return the spec as the report wants it: names of levels, institutions and policies in order, and the whole."""
    whole, cells = spec.model_dump(), spec.cells()
    games = [spec.build(c.uncertainty, c.institution, c.game) for c in {c.game: c for c in reversed(cells)}.values()]
    games.reverse()
    return {
        "name": spec.name,
        "title": spec.title,
        "question": spec.question,
        "design": spec.design,
        "game": ", ".join(game.name for game in games),
        "measures": spec.measures,
        "headline": spec.headline,
        "baseline": spec.baseline,
        "dial": spec.dial,
        "zero": "equilibrium" if all(game.benchmarks().baseline is None for game in games) else "baseline",
        "institutions": list(spec.institutions),
        "uncertainty": list(spec.uncertainty),
        "policies": list(dict.fromkeys(cell.arm for cell in cells)),
        "games": list(spec.games),
        "spec": whole,
    }


def _gather(spec: Spec, target: Path, cells: Path, started: datetime, command: str) -> None:
    """Write the long table, curves, episodes and provenance from the finished cells."""
    episodes, curves, rows, models, seconds = [], [], [], [], 0.0
    for cell in spec.cells():
        result = json.loads((cells / f"{cell.name}.json").read_text(encoding="utf-8"))
        seconds += result["seconds"]
        place = [cell.game, cell.institution, cell.uncertainty, cell.policy]
        for measure, values in result["measures"].items():
            rows += [[*place, world, measure, repr(value)] for world, value in enumerate(values)]
        models += [
            [*place, row["seat"], row["replica"], row["name"], repr(row["value"]), row["unit"]] for row in result["models"]
        ]
        step = max(1, len(result["curve"]) // 200)
        for begin in range(0, len(result["curve"]), step):
            part = result["curve"][begin : begin + step]
            curves.append([*place, begin + len(part), repr(sum(part) / len(part))])
        names = {"institution": cell.institution, "uncertainty": cell.uncertainty, "policy": cell.arm}
        episodes.append({**names, "text": result["episode"]})
    _write_csv(target / "rows.csv", ["game", "institution", "uncertainty", "policy", "world", "measure", "value"], rows)
    if curves:
        _write_csv(target / "curves.csv", ["game", "institution", "uncertainty", "policy", "episode", "value"], curves)
    if models:
        header = ["game", "institution", "uncertainty", "policy", "seat", "replica", "counter", "value", "unit"]
        _write_csv(target / "models.csv", header, models)
    write_atomically(target / "episodes.json", json.dumps(episodes, indent=1))
    write_atomically(target / "meta.json", json.dumps(_provenance(spec, started, seconds, command), indent=1))


def _write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def _about(measure: Measure) -> dict[str, str]:
    names = ("means", "formula", "unit", "source", "better")
    return {name: getattr(measure, name) for name in names}


def _provenance(spec: Spec, started: datetime, seconds: float, command: str) -> dict[str, Any]:
    from importlib.metadata import version

    measures = dict(SCORES)
    for cell in spec.cells():
        for m in spec.build(cell.uncertainty, cell.institution, cell.game).reports:
            measures[m.name] = _about(m)
    if any(player.policy == "llm" for arm in spec.policies.values() for player in arm.players.values()):
        from ..policies.llm.answers import MEASURES

        measures |= {m.name: _about(m) for m in MEASURES}
    return {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "version": version("societas"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "numpy": version("numpy"),
        "torch": version("torch"),
        "seed": spec.seed,
        "command": command,
        "spec_sha256": spec.sha256,
        "measures": measures,
    }
