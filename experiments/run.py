"""Run a spec: cells in worker processes, each finished cell kept at once, so that a killed run goes on where it stopped."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..envs.core.episodes import play
from ..envs.core.game import Game, Measure
from ..envs.core.policy import Policy
from . import store
from .precision import reached
from .provenance import code_version, device, machine
from .spec import EVERYONE, Arm, Cell, Player, Spec, build_policy
from .work import Job, Progress, Watch, work, write_atomically

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
            holders: tuple[Any, ...] = (policy, *policy.memory)
            for holder in holders:
                if holder.model is not None:
                    holder.model = Replay(path) if self.replayed else Recorded(holder.model, path, resume=True)


def play_cell(spec: Spec, cell: Cell, watch: Watch, calls: Calls | None = None) -> dict[str, Any]:
    """Learn and play one cell; return measures per world, learning curve, one episode in words, and models' totals.

    Where precision is asked for, all is played again in twice as many worlds until it is reached, the same worlds among
    them; what the models took counts each time.
    """
    count, most, models = spec.policies[cell.policy].worlds, spec.precision.most if spec.precision else 0, []
    while True:
        found = _played(spec, cell, count, watch, calls)
        models += found["models"]
        if not spec.sequential(cell.policy) or count >= most or _precise(spec, found):
            return {**found, "models": models}
        count = min(2 * count, most)


def _precise(spec: Spec, found: Mapping[str, Any]) -> bool:
    wanted = spec.precision
    return wanted is None or reached(found["measures"][wanted.measure], wanted.half_width)


def _played(spec: Spec, cell: Cell, worlds: int, watch: Watch, calls: Calls | None) -> dict[str, Any]:
    """Learn and play one cell in a number of worlds."""
    game, arm = spec.build(cell.uncertainty, cell.institution, cell.game), spec.policies[cell.policy]
    count = worlds // arm.replicas
    measures: dict[str, list[float]] = {}
    curve: list[float] = []
    told, models = "", list[dict[str, Any]]()
    for replica in range(arm.replicas):

        def part(fraction: float, done: int = replica) -> None:
            watch((done + fraction) / arm.replicas)

        policies, curve = learned(
            game, arm.players, cell.institution, spec.seed + 1 + replica, part, f"policies.{cell.policy}", count
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
    origin = {"code": code_version(), "device": device()}
    return {"measures": measures, "curve": curve, "episode": told, "models": models, **origin}


def _player(arm: Arm, seat: str) -> Player:
    return arm.players.get(seat) or arm.players[EVERYONE]


def learned(
    game: Game, players: Mapping[str, Player], institution: str, seed: int, watch: Watch, where: str, sessions: int
) -> tuple[dict[str, Policy], list[float]]:
    """Return who plays, after all have learned who learn, and the curve of the last of them.

    ``sessions`` is how many worlds those learn in who do not say it; ``where`` is named in errors.
    """
    players = dict(players)
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
                f"{where}.players.{seat}: {player.policy!r} does not learn here; 'tabular', 'gradient', 'ppo' and 'llm' do"
            )
        against = {name: build_policy(p, institution) for name, p in learning.against.items()}
        after = policy.learn(
            game,
            seat,
            episodes=learning.episodes,
            sessions=learning.sessions or sessions,
            seed=seed,
            others={name: other for name, other in (policies | against).items() if name != seat},
            watch=lambda done, all_, number=number: watch(0.95 * (number + done / all_) / len(learners)),
        )
        policies[seat], curve = after, after.curve
    return policies, curve


def _cell(spec_json: str, cell: tuple[str, ...], calls: tuple[str, bool] | None, watch: Watch) -> dict[str, Any]:
    """Play one cell as a job."""
    taped = None if calls is None else Calls(Path(calls[0]), calls[1])
    return play_cell(Spec.model_validate_json(spec_json), Cell(*cell), watch, taped)


def traces(run: Path, cell: str, worlds: int = 1, watch: Watch | None = None) -> Path:
    """Play a cell of a run again, as it was played, and write what everyone saw, did and got in its first worlds.

    Parameters
    ----------
    run
        The run's folder.
    cell
        The cell's name.
    worlds
        How many worlds (of the first learning, where there are several).

    Returns
    -------
    Path
        ``traces/CELL.jsonl`` in the run's folder, one JSON object a step and player: ``world, step, stage, player, sees, does,
        gets``.

    Raises
    ------
    FileNotFoundError
        If the folder holds no run.
    ValueError
        If the run has no such cell.
    """
    if not (run / "spec.yaml").is_file():
        raise FileNotFoundError(f"{run}: no run (spec.yaml is missing)")
    spec = Spec.model_validate(yaml.safe_load((run / "spec.yaml").read_text(encoding="utf-8"))["spec"])
    known = {found.name: found for found in spec.cells()}
    if cell not in known:
        raise ValueError(f"cell: one of {', '.join(known)}, got {cell!r}")
    place, tell = known[cell], watch or (lambda fraction: None)
    game, arm = spec.build(place.uncertainty, place.institution, place.game), spec.policies[place.policy]
    count = arm.worlds // arm.replicas
    policies, _ = learned(game, arm.players, place.institution, spec.seed + 1, tell, f"policies.{place.policy}", count)
    episodes = play(game, policies, worlds=count, seed=spec.seed, keep=True)
    rows = [{"world": world, **row} for world in range(min(worlds, count)) for row in episodes.trace(world)]
    target = run / "traces" / f"{cell}.jsonl"
    target.parent.mkdir(exist_ok=True)
    write_atomically(target, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return target


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
    on: str = "processes",
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
    on
        Where cells are played: ``"processes"`` of this machine or ``"ray"``. The result does not depend on it.

    Raises
    ------
    FileNotFoundError
        If something that a policy needs (a model, a recording) is absent; the message says how to get it. Nothing has
        run then.
    JobsFailed
        If cells failed; the others are finished and kept.
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
    text, tape = spec.model_dump_json(), None if calls is None else (str(calls.folder), calls.replayed)
    jobs = [
        Job(cell.name, "societas.experiments.run:_cell", (text, tuple(cell), tape), _cost(spec, cell))
        for cell in spec.cells()
    ]
    work(jobs, cells, workers=workers, progress=progress, on=on)
    _gather(spec, target, cells, started, command)
    return target


def _cost(spec: Spec, cell: Cell) -> int:
    """Order of starting: models first, then learners, so that the long cells do not come last."""
    players = spec.policies[cell.policy].players.values()
    return -2 if any(p.policy == "llm" for p in players) else -1 if any(p.learning for p in players) else 0


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
        "precision": spec.precision.model_dump() if spec.precision else None,
        "sequential": list(dict.fromkeys(cell.arm for cell in cells if spec.sequential(cell.policy))),
        "margin": spec.margin,
        "decomposition": spec.decomposition,
        "interaction": spec.interaction,
        "zero": "equilibrium" if all(game.benchmarks().baseline is None for game in games) else "baseline",
        "institutions": [name for name in spec.institutions if any(cell.institution == name for cell in cells)],
        "uncertainty": [name for name in spec.uncertainty if any(cell.uncertainty == name for cell in cells)],
        "policies": list(dict.fromkeys(cell.arm for cell in cells)),
        "games": list(spec.games),
        "spec": whole,
    }


def _gather(spec: Spec, target: Path, cells: Path, started: datetime, command: str) -> None:
    """Write the long table, curves, episodes and provenance from the finished cells."""
    episodes, curves, models, seconds = [], [], [], 0.0
    rows: list[tuple[Any, ...]] = []
    for cell in spec.cells():
        result = json.loads((cells / f"{cell.name}.json").read_text(encoding="utf-8"))
        seconds += result["seconds"]
        place = [cell.game, cell.institution, cell.uncertainty, cell.policy]
        for measure, values in result["measures"].items():
            origin = (spec.sha256, spec.seed, result["code"], result["device"])
            rows += [(*place, world, measure, value, *origin) for world, value in enumerate(values)]
        models += [
            [*place, row["seat"], row["replica"], row["name"], repr(row["value"]), row["unit"]]
            for row in result["models"]
        ]
        step = max(1, len(result["curve"]) // 200)
        for begin in range(0, len(result["curve"]), step):
            part = result["curve"][begin : begin + step]
            curves.append([*place, begin + len(part), repr(sum(part) / len(part))])
        names = {"institution": cell.institution, "uncertainty": cell.uncertainty, "policy": cell.arm}
        episodes.append({**names, "text": result["episode"]})
    store.write(target, rows)
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
        "version": code_version(),
        **machine(),
        "seed": spec.seed,
        "command": command,
        "spec_sha256": spec.sha256,
        "measures": measures,
    }
