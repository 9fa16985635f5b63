"""The runs of a sweep on a Dask cluster: a local one, or any that runs already."""

import ast
import asyncio
import contextlib
import errno
import json
import logging
import os
import sys
import time
import uuid
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

from .. import own
from ..compute.mps import shared_gpu
from ..config import ROOT, ExperimentConfig
from .grid import PlannedRun, work
from .progress import Progress
from .signals import check

CONNECT_TIMEOUT = 10  # seconds for a scheduler to answer


class SweepError(RuntimeError):
    """A sweep that cannot start; the message says why and what to do."""


@contextlib.contextmanager
def connect(workers: int, scheduler: str | None):
    """A Dask client of the running `scheduler`, or of a local cluster that ends with it."""
    import distributed

    # What Dask has to say about a lost scheduler, a worker that does not start, or its own closing is told here, in one line.
    for name in ("distributed", "distributed.client", "tornado.application", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
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
            if workers > 1:
                stack.enter_context(shared_gpu())
            try:
                cluster = distributed.LocalCluster(
                    n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1", memory_limit=0,
                    dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL, preload=_QUIET_WORKER,
                )  # fmt: skip
            except (RuntimeError, OSError) as error:
                check()
                raise SweepError(
                    f"the {workers} worker processes could not be started ({_first_words(error)}). "
                    "Start the same command again, with fewer --workers if it is the memory."
                ) from None
            stack.callback(cluster.close, timeout=5)
            client = distributed.Client(cluster, set_as_default=False)
        stack.callback(client.close, timeout=2)
        print(f"Dask dashboard: {client.dashboard_link}")
        if not client.scheduler_info(n_workers=-1)["workers"]:
            print(f"The scheduler has no workers yet. Start some in {ROOT}: dask worker {scheduler}")
        yield client


def _first_words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


async def _greet(scheduler: str) -> None:
    """Shake hands with a scheduler within the limit; Dask's client would wait for the answer for ever."""
    import distributed

    arguments = distributed.Security().get_connection_args("client")
    async with asyncio.timeout(CONNECT_TIMEOUT + 2):  # Dask's own words come first
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


def execute(
    client, folder: Path, runs: list[PlannedRun], todo: list[PlannedRun], code: tuple[str, ...], timeout: float, notebook: str
) -> dict[str, str]:
    """Execute `todo` of the `runs` on the cluster and show how far they are; returns the error of each that failed.

    The longest run starts first, and each worker is given its next run when it is free: Dask would assign several ahead,
    and a worker whose share is done would idle.

    Raises:
        OSError: the scheduler was lost, or the disk is full. ValueError: a file of one's own was changed meanwhile.
    """
    base = os.path.relpath(folder, ROOT)
    task, key = _task(str(ROOT)), uuid.uuid4().hex[:8]
    waiting = deque(sorted(todo, key=lambda run: -work(run.config)))
    futures: dict = {}
    failures: dict[str, str] = {}
    progress = Progress(folder, runs, todo)
    edited = edited_defaults(ROOT / notebook)

    def submit(run: PlannedRun) -> None:
        own.check_unchanged(code)
        kept_open = {name: getattr(run.config, name) for name in edited if name not in run.parameters}
        parameters = kept_open | run.parameters | {"ledger": f"{base}/{run.name}.jsonl"}
        parameters |= {"code": ", ".join(code)} if code else {}
        job = dict(notebook=notebook, output=f"{base}/{run.name}", parameters=parameters, config=run.expected, timeout=timeout)
        futures[run.name] = client.submit(task, job, key=f"{run.name}-{key}", pure=False)

    try:
        while futures or waiting:
            check()
            for name in [name for name, future in futures.items() if future.done()]:
                error = _outcome(futures[name])
                if error:
                    failures[name] = error
                if os.strerror(errno.ENOSPC) in error or os.strerror(errno.EDQUOT) in error:
                    raise OSError(f"the disk of {folder} is full: free some space.")
                del futures[name]
            free = _places(client) - len(futures) if waiting else 0
            for _ in range(min(free, len(waiting))):
                submit(waiting.popleft())
            running = [name for name in futures if (folder / f"{name}.partial.ipynb").exists()]
            progress.show({*futures, *(run.name for run in waiting)}, running, failures)
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


def edited_defaults(notebook: Path) -> list[str]:
    """The parameters whose default in the notebook's first cell is not the configuration's own, but for the device."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    first = next((cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])), {"source": ""})
    own_defaults = {field.name: field.default for field in fields(ExperimentConfig) if field.name != "device"}
    found = []
    for line in ast.parse("".join(first["source"])).body:
        targets = [line.target] if isinstance(line, ast.AnnAssign) else getattr(line, "targets", [])
        for name in own_defaults.keys() & {ast.unparse(target) for target in targets}:
            if ast.unparse(getattr(line, "value", None) or line) != repr(own_defaults[name]):
                found.append(name)
    return found


def _places(client) -> int:
    """The runs that the cluster can work on at once."""
    try:
        return sum(client.nthreads().values())
    except (OSError, TimeoutError):
        raise _lost() from None


def _lost() -> ConnectionError:
    return ConnectionError("the Dask scheduler was lost. What is finished is kept.")


def _outcome(future) -> str:
    if future.status == "finished":
        return future.result()
    if future.status == "error":  # not the notebook's: Dask's own, such as a worker that died again and again
        return f"{type(future.exception()).__name__}: {future.exception()}"
    raise _lost()
