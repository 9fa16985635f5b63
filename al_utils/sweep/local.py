"""Many runs without notebooks: their ledgers, made by a process per core; those that are finished are only read.

A notebook that needs runs to show something calls `run_many`; a sweep with --ledgers-only is `compute` too. A sweep with
notebooks, which copes with clusters and time limits as well, is in `whole`.
"""

import contextlib
import itertools
import math
import multiprocessing.connection
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

from .. import own
from ..compute.cores import KEEP_MEMORY, ONE_THREAD, allowed_cores, variables
from ..compute.mps import shared_gpu
from ..config import ASIDE, ExperimentConfig, run_name
from ..ledger import read_ledger, tidy
from ..records import is_over
from .grid import work
from .jobs import has_model


@dataclass(frozen=True)
class Job:
    """A ledger to be computed: its path, the run's parameters, and files of one's own that these need."""

    path: Path
    parameters: dict
    code: Sequence[str] = ()


class Died(RuntimeError):
    """A run whose process was ended from outside."""


def run_many(configs: Iterable[ExperimentConfig], folder: str | Path, also: tuple[str, ...] = (), workers: int = 0):
    """Run what has not been run yet, and return all rounds: `ledger.read_ledgers` of these runs alone.

    Ledgers are `folder/<run>.jsonl`; a run that was interrupted goes on. Longer runs start first.

    Args:
        also: fields in which the runs differ beyond the usual five; they become part of the file names.
        workers: processes; 0 takes one per core.

    Raises:
        ValueError: two different configurations have one name. LedgerError: a ledger is of another configuration.
        training.Diverged: a run diverged. Died: its process was ended. In each case the others are finished first.
    """
    import pandas as pd
    from tqdm import tqdm

    paths: dict[Path, ExperimentConfig] = {}
    for config in configs:
        path = Path(folder) / f"{run_name(config, also)}.jsonl"
        if paths.setdefault(path, config) != config:
            raise ValueError(f"two runs are named {path.stem}: name in `also` what they differ in.")
    missing = [path for path, config in paths.items() if not _finished(path, config)]
    missing.sort(key=lambda path: -work(paths[path]))
    jobs = [Job(path, paths[path].to_dict()) for path in missing]
    with contextlib.closing(compute(jobs, workers)) as ended:  # also when the cell is interrupted: workers end with it
        seen = tqdm(ended, total=len(jobs), mininterval=10, unit="run", ncols=80, leave=False, disable=not jobs)
        errors = [error for _, error in seen if error]
    if errors:
        raise errors[0]
    rows = []
    for path in paths:
        header, rounds = read_ledger(path)
        rows += [tidy(path.stem, header["config"], r) for r in rounds] if header else []
    return pd.DataFrame(rows)


def run_grid(folder: str | Path, grid: Mapping, also: tuple[str, ...] = (), workers: int = 0, **options):
    """`run_many` of the runs that combine the values in `grid`, on the CPU, with `options` alike."""
    points = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    configs = [ExperimentConfig(**({"device": "cpu"} | options | point)) for point in points]
    return run_many(configs, folder, also, workers)


def _finished(path: Path, config: ExperimentConfig) -> bool:
    """Whether the ledger is whole, and the network is there if it is to be kept.

    A ledger of another configuration is not: running it says what is wrong.
    """
    if not path.exists() or not has_model(path, config.to_dict()):
        return False
    header, rounds = read_ledger(path)
    found = (header or {}).get("config", {})
    same = all(found.get(name) == value for name, value in config.to_dict().items() if name not in ASIDE)
    return is_over(rounds, config.n_rounds) and same


def compute(
    jobs: Sequence[Job],
    workers: int = 0,
    end: float = math.inf,
    each_second: Callable[[list[Job]], None] = lambda running: None,
) -> Generator[tuple[Job, Exception | None], None, None]:
    """Run the jobs, in this order, and yield each that ended and its error, if it has one.

    Args:
        workers: processes, each with one run at a time; 0 takes one per core.
        end: no round starts after this time (of `time.time`); a run that is stopped so goes on another time.
        each_second: called with the running jobs, about once a second.

    Raises:
        ValueError: a file of one's own was changed meanwhile.
    """
    waiting = deque(jobs)
    n = min(workers or allowed_cores(), len(jobs))
    with shared_gpu() if n > 1 else contextlib.nullcontext():
        crew = [Worker(end) for _ in range(n)]
        try:
            while True:
                for worker in crew:
                    if worker.job is None and waiting and time.time() < end:
                        worker.give(waiting.popleft())
                busy = [worker for worker in crew if worker.job]
                if not busy:
                    return
                ready = multiprocessing.connection.wait([worker.pipe for worker in busy], timeout=1)
                each_second([worker.job for worker in busy if worker.job])
                for number, worker in enumerate(crew):
                    if worker.pipe in ready:
                        job, error = worker.take()
                        if isinstance(error, Died):
                            crew[number] = Worker(end)
                        yield job, error
        finally:
            for worker in crew:  # a ledger is whole at any moment
                worker.process.kill()
                worker.process.join()


class Worker:
    """A process that computes one job after another. It ends with the process that started it."""

    def __init__(self, end: float):
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other, end))
        self.job: Job | None = None
        with variables(ONE_THREAD | KEEP_MEMORY | {"AL_THREADS": "1"}):
            self.process.start()
        other.close()  # so that the pipe ends when the process does

    def give(self, job: Job) -> None:
        own.check_unchanged(job.code)
        self.job = job
        with contextlib.suppress(OSError):  # the process has died; `take` says so
            self.pipe.send(job)

    def take(self) -> tuple[Job, Exception | None]:
        """The job that has ended, and its error."""
        job, self.job = self.job, None
        assert job
        try:
            return job, self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            how = self.process.exitcode
            said = f"signal {-how}" if how and how < 0 else f"status {how}"
            return job, Died(f"{job.path.stem}: its process ended with {said}. What is in its ledger is kept; start it again.")


def _work(pipe, end: float) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the one who started this one answers it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        pipe.send(_outcome(pipe.recv(), end))


def _outcome(job: Job, end: float) -> Exception | None:
    try:
        from ..experiment import run_experiment  # here: naming the runs must not wait for PyTorch

        own.load_code(job.code)
        for _ in run_experiment(ExperimentConfig.from_dict(job.parameters), ledger=job.path):
            if time.time() >= end:
                break
    except Exception as error:
        return _sendable(error)
    return None


def _sendable(error: Exception) -> Exception:
    """The error itself where it can go through a pipe, as most can; else one with its words."""
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))  # what the pipe does, with an object of this process
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    """A worker whose parent was killed must not go on: it would hold its ledger. What it has written stays whole."""
    parent = multiprocessing.parent_process()
    assert parent
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
