"""A whole sweep: its runs, each an executed notebook with its ledger, and the report of them all."""

import contextlib
import errno
import fcntl
import math
import os
import sys
import time
from pathlib import Path

from ..compute.cores import allowed_cores
from ..config import ROOT
from . import local, page
from .beginning import check_data, headers_of, rename, say_what_else_is_there
from .cluster import SweepError, connect, execute
from .grid import RUN_TIMEOUT, PlannedRun, Sweep, load_sweep, work
from .jobs import has_last_round, has_model, is_finished
from .progress import PROGRESS_PAGE, Progress
from .signals import check

EXPERIMENT = "notebooks/02_experiment.ipynb"
REPORT_DUE = ".report_due"  # a file that is there while the report is older than the runs


def run_sweep(
    sweep: str | Path,
    workers: int | None = None,
    scheduler: str | None = None,
    force: bool = False,
    reports: str | Path = ROOT / "reports",
    timeout: float | None = None,
    ledgers_only: bool = False,
    minutes: float = math.inf,
    report_only: bool = False,
    notebook: str = EXPERIMENT,
    report: str = page.REPORT,
) -> dict[str, str]:
    """Execute what is not finished of a sweep, then its report; returns the error of each run that failed.

    Ledgers that are finished are kept, wherever they were computed: their notebooks show them without training.

    Args:
        workers: processes of the local cluster, each with one run at a time; None is one per core that may be used.
        scheduler: address of a running Dask scheduler to use instead.
        force: delete the sweep's ledgers and notebooks first.
        reports: `<reports>/<sweep>` is the folder of the results.
        timeout: seconds for one run, instead of the sweep's own limit, and for the report.
        ledgers_only: compute ledgers without notebooks and report: all cells under the first seed, then under the next.
        minutes: with `ledgers_only`, start no round later than this after the start.
        report_only: compute nothing, and make the report of the ledgers that are there.
        notebook, report: the notebooks to execute, relative to the repository's root.

    Raises:
        ValueError, TypeError, LedgerError, SweepError: refused, before anything but names is changed.
        OSError: the scheduler was lost, or the disk is full.
    """
    end = time.time() + 60 * minutes
    planned = load_sweep(sweep, elsewhere=bool(scheduler) or report_only)
    folder = Path(reports).resolve() / planned.name  # a link and its `..` are one folder for all, also in `relpath`
    limit = timeout or planned.timeout
    if ledgers_only and planned.timeout != RUN_TIMEOUT:
        print(f"timeout={planned.timeout:g} in the sweep limits notebooks; ledgers alone are limited by --minutes.")
    with _lock(folder):
        if not (force or report_only):
            rename(folder, planned)
        headers = {} if force else headers_of(planned, folder)
        todo = [run for run in planned.runs if force or not has_ended(folder, run, ledgers_only or report_only)]
        n = len(planned.runs)
        print(f"{planned.name}: {n} runs, {n - len(todo)} of them finished, in {_shown(folder)}")
        may_have_changed = planned.code or any(run.config.dataset.startswith("folder:") for run in planned.runs)
        if (todo or may_have_changed) and not report_only:
            check_data(planned, folder, headers, needed=bool(todo), here=not scheduler)
        check()
        if not ledgers_only:
            say_what_else_is_there(folder, planned)
        if report_only:
            if not headers:
                raise SweepError(f"there is no ledger of {planned.name} in {_shown(folder)}: start it without --report-only.")
            failures = _report(folder, report, timeout or page.TIMEOUT, anew=True)
        elif ledgers_only:
            failures = _ledgers(planned, folder, todo, workers, force, end)
        else:
            failures = {}
            if todo:
                with connect(min(workers or allowed_cores(), len(todo)), scheduler) as client:
                    _clean(folder, todo, force)
                    print(f"Progress: {_shown(folder / PROGRESS_PAGE)}", flush=True)
                    failures = execute(client, folder, planned.runs, todo, planned.code, limit, notebook)
            failures |= _report(folder, report, timeout or page.TIMEOUT)
        for name, error in failures.items():
            failed = folder / f"{name}.failed.ipynb"
            print(f"FAILED {name}: {error}" + (f"\n       see {_shown(failed)}" if failed.exists() else ""))
        if not ledgers_only and "report" not in failures:
            print(f"Report: {_shown(folder / 'report.html')}")
    return failures


def _report(folder: Path, notebook: str, timeout: float, anew: bool = False) -> dict[str, str]:
    """Make the report, if there is none of the runs as they are, or `anew`; returns its error, if any."""
    from ..results.record import is_of_other_ledgers  # here: ledgers alone need nothing but PyTorch and NumPy

    due, made = folder / REPORT_DUE, folder / "report.html"
    if not (anew or due.exists()) and made.exists() and not is_of_other_ledgers(made):
        print(
            "Nothing to do. Results that came with the project count as finished: --force computes all of them anew; "
            "without report.html the report is made again."
        )
        return {}
    error = page.make(notebook, folder / "report", {"ledgers": os.path.relpath(folder, ROOT)}, timeout)
    if error:
        return {"report": error}
    due.unlink(missing_ok=True)
    print(page.renew_index(folder.parent))
    return {}


def has_ended(folder: Path, run: PlannedRun, ledgers_only: bool) -> bool:
    """Whether nothing is left to do for a run."""
    if ledgers_only:
        ledger = folder / f"{run.name}.jsonl"
        return has_last_round(ledger, run.config.n_rounds) and has_model(ledger, run.expected)
    return is_finished(folder / run.name, run.expected)


def _ledgers(
    sweep: Sweep, folder: Path, todo: list[PlannedRun], workers: int | None, force: bool, end: float
) -> dict[str, str]:
    """Compute ledgers so that any stop leaves something whole: by seed, and under each seed the longest run first."""
    _clean(folder, todo, force)
    runs = {folder / f"{run.name}.jsonl": run for run in sorted(todo, key=lambda run: (run.config.seed, -work(run.config)))}
    pending = {run.name for run in todo}
    failures: dict[str, str] = {}
    if todo:
        print(f"Progress: {_shown(folder / PROGRESS_PAGE)}", flush=True)
        progress = Progress(folder, sweep.runs, todo)
        running: list[str] = []

        def show(now: list[local.Job]) -> None:
            running[:] = [job.path.stem for job in now]
            progress.show(pending, running, failures)

        jobs = [local.Job(path, run.parameters, sweep.code) for path, run in runs.items()]
        with contextlib.closing(progress), contextlib.closing(local.compute(jobs, workers or 0, end, show)) as ended:
            for job, error in ended:
                check()
                name = runs[job.path].name
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise OSError(f"the disk of {folder} is full: free some space.")
                if error:
                    failures[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
                if error or has_ended(folder, runs[job.path], ledgers_only=True):
                    pending.discard(name)
                progress.show(pending, [other for other in running if other != name], failures)
    finished = len(sweep.runs) - len(pending) - len(failures)
    print(f"{finished} of {len(sweep.runs)} ledgers are finished.", end=" ")
    if pending or failures:
        print(f"The same command{' without --force' if force else ''} goes on.")
    else:
        print("Without --ledgers-only their notebooks and the report are made.")
    return failures


@contextlib.contextmanager
def _lock(folder: Path):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "w", encoding="utf-8")
    except OSError as error:
        raise SweepError(
            f"{folder} cannot be written to: {error.strerror}. Choose another folder with --reports DIR."
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SweepError(f"another sweep writes to {folder}: wait for it, stop it, or use --reports DIR.") from None
        except OSError as error:
            print(
                f"The file system of {folder} cannot lock ({error.strerror}): start no second sweep into it.", file=sys.stderr
            )
        yield


def _clean(folder: Path, runs: list[PlannedRun], force: bool) -> None:
    """Remove what unfinished runs left; with `force`, their results too. The report stays until there is another."""
    if runs:
        (folder / REPORT_DUE).touch()
    endings = [".ipynb", ".partial.ipynb", ".failed.ipynb", *([".jsonl", ".pt"] if force else [])]
    for name in [f"{run.name}{ending}" for run in runs for ending in endings]:
        (folder / name).unlink(missing_ok=True)


def _shown(path: Path) -> str:
    return os.path.relpath(path)
