"""Jobs: whatever fails or is killed, what is finished is kept, and the next start goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from societas.experiments import spec as specs
from societas.experiments import work as working
from societas.experiments.run import folder, run
from societas.experiments.work import Job, JobsFailed, results, work, write_atomically

NUMBERS = [Job(f"job-{n}", "support:squares", (n,)) for n in range(5)]


def kept(where: Path) -> dict[str, int]:
    return {job.name: found["square"] for job, found in results(NUMBERS, where)}


@pytest.mark.parametrize("workers", [1, 2])
def test_all_jobs_are_done_and_told_of(workers: int, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    work(NUMBERS, tmp_path, workers=workers, progress=lambda name, share: told.append((name, share)))
    assert kept(tmp_path) == {f"job-{n}": n**2 for n in range(5)}
    assert {name for name, share in told if share == 1.0} == {job.name for job in NUMBERS}


def test_a_job_that_fails_is_named_after_all_others_are_done(tmp_path: Path) -> None:
    with pytest.raises(JobsFailed, match="odd: ValueError: number: an even one, got 3") as error:
        work([Job("odd", "support:fails", (3,)), *NUMBERS], tmp_path, workers=2)
    assert list(error.value.errors) == ["odd"]
    assert len(kept(tmp_path)) == 5


def test_a_worker_that_is_killed_once_is_replaced(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    work([Job("mortal", "support:dies", (str(marks), 1)), *NUMBERS], tmp_path / "done", workers=2)
    assert len(kept(tmp_path / "done")) == 5
    assert json.loads((tmp_path / "done" / "mortal.json").read_text())["survived"]


def test_a_job_that_always_kills_its_worker_is_named(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    with pytest.raises(JobsFailed, match="mortal: its process was killed, each time"):
        work([Job("mortal", "support:dies", (str(marks), 100)), *NUMBERS], tmp_path / "done", workers=2)
    assert len(kept(tmp_path / "done")) == 5


def test_a_full_disk_is_said_and_leaves_no_torn_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = os.fsync, [2]

    def full(file: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        real(file)

    monkeypatch.setattr(working.os, "fsync", full)
    with pytest.raises(JobsFailed, match="cannot be kept: .*No space left on device"):
        work(NUMBERS, tmp_path, workers=1)
    assert len(kept(tmp_path)) == 2
    assert not [file for file in tmp_path.iterdir() if file.suffix != ".json" or file.name.startswith(".")]
    monkeypatch.undo()
    work(NUMBERS, tmp_path, workers=1)
    assert len(kept(tmp_path)) == 5


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "old")
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_text() == "new" and [file.name for file in tmp_path.iterdir()] == ["a"]


def test_an_unknown_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on: one of processes, ray, got 'mars'"):
        work(NUMBERS, tmp_path, on="mars")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep of two dozen short cells, of which some learn."""
    data = yaml.safe_load(specs.shipped()["covenants"].read_text(encoding="utf-8"))
    del data["policies"]["smollm2"]
    data["policies"]["learners"]["worlds"] = data["policies"]["characters"]["worlds"] = 4
    data["policies"]["learners"]["players"]["fisher"]["learning"]["episodes"] = 150
    data["uncertainty"]["noisier"] = [{"Noise": {"field": "stock", "sd": 30}}]
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.slow
def test_twenty_kills_lose_nothing(sweep: Path, tmp_path: Path) -> None:
    """kill -9 of the whole process at random moments; the table is then the one of an uninterrupted run."""
    plan = specs.load(sweep)
    whole = run(plan, tmp_path / "whole", workers=2)
    chance, target = random.Random(20), folder(plan, tmp_path / "torn")
    command = [sys.executable, "-c", "from societas.experiments.cli import main; main()", "run", str(sweep)]
    command += ["--out", str(tmp_path / "torn"), "--workers", "2"]
    finished = [0]

    def count() -> int:
        return len(list((target / "cells").glob("*.json")))

    for _ in range(20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        more, end = finished[-1] + chance.randrange(3), time.monotonic() + 60
        while count() < more and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(chance.uniform(0.0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        finished.append(count())
    assert finished == sorted(finished)  # nothing that was finished is lost
    assert any(0 < number < len(plan.cells()) for number in finished)  # some kills came in the middle
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (target / "rows.csv").read_bytes() == (whole / "rows.csv").read_bytes()


@pytest.mark.slow
def test_ray_gives_the_same_table(sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    plan = specs.load(sweep)
    one, two = run(plan, tmp_path / "one", workers=1), run(plan, tmp_path / "two", workers=2, on="ray")
    assert (one / "rows.csv").read_bytes() == (two / "rows.csv").read_bytes()


@pytest.mark.slow
def test_on_ray_what_fails_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    with pytest.raises(JobsFailed, match="odd: ValueError: number: an even one, got 3"):
        work([Job("odd", "support:fails", (3,)), *NUMBERS], tmp_path, workers=2, on="ray")
    assert len(kept(tmp_path)) == 5
