"""Do many jobs in processes here or on a Ray cluster; each result is kept at once, so that a killed run goes on."""

from __future__ import annotations

import concurrent.futures
import importlib
import json
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

Progress = Callable[[str, float], None]
"""Called with a job's name and the fraction of it that is done."""

Watch = Callable[[float], None]
"""What a job calls with the fraction of it that is done."""

ON = ("processes", "ray")
"""Where jobs can run."""

TRIES = 3
"""How often the workers are started anew after one of them died, before jobs are done one at a time."""


class Job(NamedTuple):
    """One job: a function ``"module:name"`` called as ``function(*args, watch)``, that returns what JSON can hold.

    ``args`` are plain values. Jobs of a lower ``rank`` start first; long ones should.
    """

    name: str
    function: str
    args: tuple[Any, ...]
    rank: int = 0


class JobsFailed(RuntimeError):
    """Some jobs failed; the others are done and kept. ``errors`` {job: what happened}."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        said = "\n".join(f"  {name}: {error}" for name, error in self.errors.items())
        super().__init__(
            f"{len(self.errors)} of the jobs failed; what is finished is kept, the same command tries these again:\n{said}"
        )


def write_atomically(path: Path, data: str | bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def results(jobs: Iterable[Job], folder: Path) -> Iterator[tuple[Job, Any]]:
    """Yield the kept result of every job that is done."""
    for job in jobs:
        if (path := folder / f"{job.name}.json").is_file():
            yield job, json.loads(path.read_text(encoding="utf-8"))


def work(
    jobs: Iterable[Job],
    folder: Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    on: str = "processes",
) -> None:
    """Do the jobs whose result is not in a folder yet; keep each result as ``folder/name.json`` once it is there.

    Results do not depend on the number of workers, nor on where they are. A job that raises is reported at the end, after
    all others. When a worker is killed (by the system for want of memory, for example), its job is tried again.

    Parameters
    ----------
    jobs
        What to do.
    folder
        Where results are kept; made if it is not there.
    workers
        Processes; None takes one a core, or all that the cluster has.
    progress
        Told of progress within jobs, and 1.0 for each that is done or was done before.
    on
        ``"processes"`` of this machine, or ``"ray"``: the cluster that ``RAY_ADDRESS`` names, else one on this machine.

    Raises
    ------
    JobsFailed
        If jobs failed.
    """
    if on not in ON:
        raise ValueError(f"on: one of {', '.join(ON)}, got {on!r}")
    folder.mkdir(parents=True, exist_ok=True)
    tell = progress or (lambda name, fraction: None)
    waiting = {}
    for job in sorted(jobs, key=lambda job: job.rank):
        if (folder / f"{job.name}.json").exists():
            tell(job.name, 1.0)
        else:
            waiting[job.name] = job
    errors: dict[str, str] = {}
    for name, found, error in _on_ray(waiting, workers, tell) if on == "ray" else _processes(waiting, workers, tell):
        if not error:
            try:
                write_atomically(folder / f"{name}.json", json.dumps(found))
            except OSError as failure:  # a full disk
                error = f"its result cannot be kept: {failure}"
        if error:
            errors[name] = error
        else:
            tell(name, 1.0)
    if errors:
        raise JobsFailed(errors)


def do(job: Job, watch: Watch) -> dict[str, Any]:
    """Do a job here; return its result with the ``seconds`` that it took."""
    module, _, name = job.function.partition(":")
    function = getattr(importlib.import_module(module), name)
    begun = time.monotonic()
    found = function(*job.args, watch)
    return {**found, "seconds": time.monotonic() - begun}


# --- processes of this machine -------------------------------------------------------------------

_reports: Any = None


def _enter(reports: Any) -> None:
    global _reports  # noqa: PLW0603  (a worker process has one queue, handed over when it starts)
    _reports = reports
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(job: Job) -> dict[str, Any]:
    """Do a job in a worker process."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    last = [0.0]

    def watch(fraction: float) -> None:
        now = time.monotonic()
        if now - last[0] > 0.3:
            last[0] = now
            _reports.put((job.name, fraction))

    return do(job, watch)


def _processes(waiting: Mapping[str, Job], workers: int | None, tell: Progress) -> Iterator[tuple[str, Any, str]]:
    """Yield (name, result, error) as jobs end."""
    left, died = dict(waiting), 0
    while left:
        alone = died >= TRIES  # one at a time, to find the one that kills
        batch = dict([next(iter(left.items()))]) if alone else dict(left)
        broken = False
        for name, found, error in _pool(batch, 1 if alone else workers or os.cpu_count() or 1, tell):
            if error is None:
                broken = True
            else:
                del left[name]
                yield name, found, error
        if broken:
            died += 1
            if alone:
                (name,) = batch
                del left[name]
                yield name, None, "its process was killed, each time it was tried (out of memory?)"


def _pool(batch: Mapping[str, Job], workers: int, tell: Progress) -> Iterator[tuple[str, Any, str | None]]:
    """Do jobs in one pool; the error is None where a worker died and nothing is known of the job."""
    context = multiprocessing.get_context("spawn")
    # inherited by the workers: one thread each, or they get in each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with context.Manager() as manager:
        reports = manager.Queue()
        pool = concurrent.futures.ProcessPoolExecutor(
            min(workers, len(batch)), mp_context=context, initializer=_enter, initargs=(reports,)
        )
        try:
            running = {pool.submit(_work, job): name for name, job in batch.items()}
            while running:
                done, _ = concurrent.futures.wait(running, timeout=0.3, return_when="FIRST_COMPLETED")
                for future in done:
                    name = running.pop(future)
                    try:
                        yield name, future.result(), ""
                    except concurrent.futures.process.BrokenProcessPool:
                        yield name, None, None
                    except Exception as error:
                        yield name, None, f"{type(error).__name__}: {error}"
                while True:
                    try:
                        tell(*reports.get_nowait())
                    except queue.Empty:
                        break
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


# --- a cluster -----------------------------------------------------------------------------------


def _on_ray(waiting: Mapping[str, Job], workers: int | None, tell: Progress) -> Iterator[tuple[str, Any, str]]:
    """Yield (name, result, error) as jobs end; progress within a job does not come back from a cluster."""
    try:
        import ray
    except ImportError as error:
        raise ImportError("on: 'ray' needs the package ray: pip install 'societas[ray]'") from error
    if not waiting:
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    mine = not ray.is_initialized()
    if mine:
        cores = None if os.environ.get("RAY_ADDRESS") else workers or os.cpu_count()
        ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        remote = ray.remote(max_retries=TRIES)(_do_quietly)
        running = {remote.remote(job): name for name, job in waiting.items()}
        while running:
            done, _ = ray.wait(list(running), timeout=0.5)
            for future in done:
                name = running.pop(future)
                try:
                    yield name, ray.get(future), ""
                except ray.exceptions.RayTaskError as error:
                    yield name, None, f"{type(error.cause).__name__}: {error.cause}"
                except ray.exceptions.RayError as error:
                    yield name, None, f"its process was killed, each time it was tried ({type(error).__name__})"
    finally:
        if mine:
            ray.shutdown()


def _do_quietly(job: Job) -> dict[str, Any]:
    return do(job, lambda fraction: None)
