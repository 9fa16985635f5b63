"""A sweep: a grid of runs, each an executed notebook with its ledger, on a Dask cluster, and a report of them all."""

import contextlib
import fcntl
import os
from pathlib import Path

from ..folders import DatasetError
from ..ledger import LedgerError, check_header, read_ledger
from .cluster import SweepError, connect, execute
from .grid import PlannedRun, Sweep, load_sweep
from .jobs import ROOT, is_finished, run_notebook
from .signals import asked, check

EXPERIMENT = "notebooks/02_experiment.ipynb"
REPORT = "notebooks/05_report.ipynb"
EXAMPLE = "EXAMPLE.txt"  # in a folder whose results came with the project, to be read until the first own sweep


def run_sweep(
    sweep: str | Path,
    workers: int | None = None,
    scheduler: str | None = None,
    force: bool = False,
    reports: str | Path = ROOT / "reports",
    timeout: float | None = None,
    notebook: str = EXPERIMENT,
    report: str = REPORT,
) -> dict[str, str]:
    """Execute what is not finished of a sweep, then its report; returns the error of each run that failed.

    Args:
        workers: processes of the local cluster, each with one run at a time; None is one per core.
        scheduler: address of a running Dask scheduler to use instead.
        force: delete the sweep's ledgers and notebooks first.
        reports: `<reports>/<sweep>` is the folder of the results.
        timeout: seconds for one run, instead of the sweep's own limit.
        notebook, report: the notebooks to execute, relative to the repository's root.

    Raises:
        ValueError, TypeError, LedgerError, SweepError: refused, before anything is changed.
        OSError: the scheduler was lost, or the disk is full.
    """
    sweep = load_sweep(sweep)
    folder = Path(reports).absolute() / sweep.name
    with _lock(folder):
        if (folder / EXAMPLE).exists():
            print("The results that came with the project are replaced by your own.")
            force = True
        headers = {} if force else _headers(sweep, folder)
        todo = [run for run in sweep.runs if force or not is_finished(folder / run.name, run.config.n_rounds)]
        print(f"{sweep.name}: {len(sweep.runs)} runs, {len(sweep.runs) - len(todo)} of them finished, in {_shown(folder)}")
        failures: dict[str, str] = {}
        if todo:
            _check_data(sweep, folder, headers)
            check()
            with connect(min(workers or os.cpu_count(), len(todo)), scheduler) as client:
                _clean(folder, todo, force)
                failures = execute(client, folder, todo, len(sweep.runs), timeout or sweep.timeout, notebook)
        elif any(run.config.dataset.startswith("folder:") for run in sweep.runs):  # the others do not change
            with contextlib.suppress(DatasetError):  # for a report the images need not be there any more
                _check_data(sweep, folder, headers)
        if todo or not (folder / "report.html").exists():
            failures |= _report(folder, report, timeout or sweep.timeout)
        else:
            print("Nothing to do. --force starts over; without report.html only the report is made anew.")
        for name, error in failures.items():
            failed = folder / f"{name}.failed.ipynb"
            print(f"FAILED {name}: {error}" + f"\n       see {_shown(failed)}" * failed.exists())
        if "report" not in failures:
            print(f"Report: {_shown(folder / 'report.html')}")
    return failures


@contextlib.contextmanager
def _lock(folder: Path):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "w")
    except OSError as error:
        raise SweepError(
            f"{folder} cannot be written to: {error.strerror}. Choose another folder with --reports DIR."
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SweepError(f"another sweep writes to {folder}: wait for it, stop it, or use --reports DIR.") from None
        yield


def _headers(sweep: Sweep, folder: Path) -> dict[str, dict]:
    """The headers of the runs' ledgers; one that is corrupted or of another configuration is an error."""
    paths = {run.name: folder / f"{run.name}.jsonl" for run in sweep.runs}
    headers = {name: read_ledger(path)[0] for name, path in paths.items() if path.exists()}
    headers = {name: header for name, header in headers.items() if header}
    for run in sweep.runs:
        if run.name in headers:
            _check(paths[run.name], headers[run.name], {"config": run.expected})
    return headers


def _check_data(sweep: Sweep, folder: Path, headers: dict[str, dict]) -> None:
    """Check strategies and data before the start; data that must be downloaded or decoded is, once, and not by each job.

    Also the finished runs': results on two versions of the data must not stand in one report.
    """
    from .. import checks
    from ..datasets import check_fits, load_dataset

    for run in sweep.runs:
        checks.check_names_known(run.config)
    datasets = {name: load_dataset(name) for name in {run.config.dataset for run in sweep.runs}}
    for run in sweep.runs:
        check_fits(run.config, datasets[run.config.dataset])
        checks.check_needs(run.config)
        if run.name in headers:
            checksum = datasets[run.config.dataset].checksum
            _check(folder / f"{run.name}.jsonl", headers[run.name], {"data": {"checksum": checksum}})


def _check(path: Path, header: dict, expected: dict) -> None:
    try:
        check_header(path, header, expected)
    except LedgerError as error:
        raise LedgerError(f"{error} The whole sweep: --force starts over, --reports DIR goes elsewhere.") from None


def _clean(folder: Path, runs: list[PlannedRun], force: bool) -> None:
    endings = [".ipynb", ".partial.ipynb", ".failed.ipynb"] + [".jsonl"] * force
    for name in [f"{run.name}{ending}" for run in runs for ending in endings] + ["report.ipynb", "report.html", EXAMPLE]:
        (folder / name).unlink(missing_ok=True)


def _report(folder: Path, notebook: str, timeout: float) -> dict[str, str]:
    """Execute the report's notebook over the ledgers in `folder` and render it; returns its error, if any."""
    partial, base = folder / "report.partial.ipynb", os.path.relpath(folder, ROOT)
    error = run_notebook(notebook, f"{base}/report.partial.ipynb", {"ledgers": base}, timeout, asked)
    check()
    if partial.exists():
        os.replace(partial, folder / ("report.failed.ipynb" if error else "report.ipynb"))
    if error:
        return {"report": error}
    (folder / "report.failed.ipynb").unlink(missing_ok=True)
    rendered = folder / ".report.html"
    rendered.write_text(render(folder / "report.ipynb"))
    os.replace(rendered, folder / "report.html")
    return {}


def render(notebook: Path) -> str:
    """A notebook as one HTML page without its code, which needs no network: nbconvert's own page loads four scripts."""
    from nbconvert import HTMLExporter

    blocks = ("html_head_js", "html_head_js_mathjax", "html_head_js_mermaidjs", "jupyter_widgets")
    offline = "{% extends 'lab/index.html.j2' %}" + "".join(f"{{% block {b} %}}{{% endblock %}}" for b in blocks)
    exporter = HTMLExporter(
        exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True,
        preprocessors=["nbconvert.preprocessors.CoalesceStreamsPreprocessor"],  # of a progress bar only its last state
    )  # fmt: skip
    exporter.raw_template = offline
    return exporter.from_filename(str(notebook))[0]


def _shown(path: Path) -> str:
    return os.path.relpath(path)
