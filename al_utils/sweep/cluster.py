"""The runs of a sweep on a Dask cluster: a local one, or any that runs already."""

import asyncio
import contextlib
import errno
import logging
import os
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .grid import PlannedRun
from .jobs import ROOT, count_rounds
from .signals import check

CONNECT_TIMEOUT = 10  # seconds for a scheduler to answer


class SweepError(RuntimeError):
    """A sweep that cannot start; the message says why and what to do."""


@contextlib.contextmanager
def connect(workers: int, scheduler: str | None):
    """A Dask client of the running `scheduler`, or of a local cluster that ends with it."""
    import distributed

    logging.getLogger("distributed").setLevel(logging.ERROR)
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost scheduler is told below, in one line
    with contextlib.ExitStack() as stack:
        if scheduler is not None:
            try:
                # In a thread, because in a notebook an event loop runs already.
                with ThreadPoolExecutor(1) as thread:
                    thread.submit(asyncio.run, _greet(scheduler)).result()
                client = distributed.Client(scheduler, timeout=CONNECT_TIMEOUT, set_as_default=False)
            except (OSError, ValueError, TypeError) as error:
                said = " ".join(str(error).split()) or "it takes the connection and says nothing"
                raise SweepError(
                    f"no Dask scheduler answers at {scheduler} within {CONNECT_TIMEOUT} s ({said}). "
                    "Start one with `dask scheduler`, give its address as tcp://HOST:PORT, or leave --scheduler out."
                ) from None
        else:
            cluster = distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1", memory_limit=0,
                dashboard_address="127.0.0.1:0", silence_logs=logging.ERROR, preload=_QUIET_WORKER,
            )  # fmt: skip
            stack.callback(cluster.close, timeout=5)
            client = distributed.Client(cluster, set_as_default=False)
        stack.callback(logging.getLogger("distributed").setLevel, logging.CRITICAL)  # closing tears connections
        stack.callback(client.close, timeout=2)
        print(f"Dask dashboard: {client.dashboard_link}")
        if not client.scheduler_info(n_workers=-1)["workers"]:
            print(f"The scheduler has no workers yet. Start some in {ROOT}: dask worker {scheduler}")
        yield client


async def _greet(scheduler: str) -> None:
    """Shake hands with a scheduler within the limit; Dask's client would wait for the answer for ever."""
    import distributed

    arguments = distributed.Security().get_connection_args("client")
    async with asyncio.timeout(CONNECT_TIMEOUT):
        comm = await distributed.comm.connect(scheduler, timeout=CONNECT_TIMEOUT, **arguments)
        await comm.close()


# A terminal sends Ctrl-C to all its processes; the sweep alone is to answer, by ending the others in good order. A worker
# whose heartbeat then finds no scheduler would print a traceback.
_QUIET_WORKER = """
import logging, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
logging.getLogger("distributed.worker").setLevel(logging.CRITICAL)
"""


def _task(root: str):
    """What a worker executes. A nested function travels as code: a worker needs no PYTHONPATH to find `al_utils`."""

    def run(job: dict) -> str:
        if root not in sys.path:
            sys.path.insert(0, root)
        from al_utils.sweep.jobs import run_job

        return run_job(**job)

    return run


def execute(client, folder: Path, todo: list[PlannedRun], n_runs: int, timeout: float, notebook: str) -> dict[str, str]:
    """Execute the runs on the cluster and show how far they are; returns the error of each that failed."""
    base = os.path.relpath(folder, ROOT)
    task, key = _task(str(ROOT)), uuid.uuid4().hex[:8]
    futures = {}
    for run in todo:
        parameters = run.parameters | {"ledger": f"{base}/{run.name}.jsonl"}
        job = dict(notebook=notebook, output=f"{base}/{run.name}", parameters=parameters, config=run.expected, timeout=timeout)
        futures[run.name] = client.submit(task, job, key=f"{run.name}-{key}", pure=False)
    progress = Progress(folder, todo, n_runs)
    failures: dict[str, str] = {}
    try:
        while futures:
            check()
            for name in [name for name, future in futures.items() if future.done()]:
                error = _outcome(futures[name])
                if error:
                    failures[name] = error
                if os.strerror(errno.ENOSPC) in error or os.strerror(errno.EDQUOT) in error:
                    raise OSError(f"the disk of {folder} is full: free some space; the same command goes on from here.")
                del futures[name]
            progress.show(set(futures), len(failures))
            time.sleep(0.2)
    except BaseException:
        with contextlib.suppress(Exception):  # without a scheduler there is nobody to tell
            client.cancel(list(futures.values()), force=True)
            end = time.monotonic() + 3
            while list(folder.glob("*.partial.ipynb")) and time.monotonic() < end:
                time.sleep(0.1)
        raise
    finally:
        progress.close()
    return failures


def _outcome(future) -> str:
    if future.status == "finished":
        return future.result()
    if future.status == "error":  # not the notebook's: Dask's own, such as a worker that died again and again
        return f"{type(future.exception()).__name__}: {future.exception()}"
    raise ConnectionError("the Dask scheduler was lost. What is finished is kept; the same command goes on from here.")


class Progress:
    """One line about the sweep, rewritten in place on a terminal, now and then elsewhere."""

    def __init__(self, folder: Path, todo: list[PlannedRun], n_runs: int):
        self.folder, self.todo, self.n_runs = folder, todo, n_runs
        self.start, self.rounds_at_start = time.monotonic(), self._rounds(todo)
        self.in_place = sys.stdout.isatty()
        self.last_time, self.last_share = -1e9, 0.0

    def _rounds(self, runs) -> int:
        return sum(count_rounds(self.folder / f"{run.name}.jsonl") for run in runs)

    def show(self, pending: set[str], failed: int) -> None:
        elapsed, share = time.monotonic() - self.start, 1 - len(pending) / len(self.todo)
        due = 1 if self.in_place else 30
        if elapsed - self.last_time < due and not (share > self.last_share + 0.1 or (share == 1 > self.last_share)):
            return
        self.last_time, self.last_share = elapsed, share
        running = sum((self.folder / f"{name}.partial.ipynb").exists() for name in pending)
        done = self.n_runs - len(pending) - failed
        text = f"done {done}  failed {failed}  running {running}  of {self.n_runs} runs   {_clock(elapsed)} elapsed"
        # Rounds, not runs, because the first run of a long sweep may take hours.
        left = [run for run in self.todo if run.name in pending]
        rounds = self._rounds(self.todo) - self.rounds_at_start
        to_do = sum(run.config.n_rounds + 1 for run in left) - self._rounds(left)
        if rounds and to_do:
            text += f", about {_clock(elapsed / rounds * to_do)} left"
        print(f"\r{text}\033[K" if self.in_place else text, end="" if self.in_place else "\n", flush=True)

    def close(self) -> None:
        if self.in_place:
            print(flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
