"""Before a sweep starts: the ledgers that are in its folder, its strategies and its data, checked."""

import contextlib
import os
from pathlib import Path

from ..ledger import LedgerError, check_header, find_ledgers, read_ledger
from .grid import PlannedRun, Sweep
from .jobs import has_last_round


def headers_of(sweep: Sweep, folder: Path) -> dict[str, dict]:
    """The headers of the runs' ledgers; one that is corrupted or of another configuration is an error."""
    paths = {run.name: folder / f"{run.name}.jsonl" for run in sweep.runs}
    found = {name: read_ledger(path)[0] for name, path in paths.items() if path.exists()}
    headers = {name: header for name, header in found.items() if header}
    for run in sweep.runs:
        if run.name in headers:
            _check(paths[run.name], headers[run.name], {"config": run.expected})
    return headers


def rename(folder: Path, sweep: Sweep) -> None:
    """Give ledgers of the sweep's runs the names that these have now: a name holds what a sweep varies, which may be more."""
    names = {run.name for run in sweep.runs}
    missing = [run for run in sweep.runs if not (folder / f"{run.name}.jsonl").exists()]
    others = [path for path in sorted(folder.glob("[!.]*.jsonl")) if path.stem not in names] if missing else []
    for path in others:
        try:
            header = read_ledger(path)[0]
        except LedgerError:
            continue
        run = next((run for run in missing if header and _is_of(path, header, run)), None)
        if run:
            for ending in (".jsonl", ".pt"):
                with contextlib.suppress(FileNotFoundError):
                    path.with_suffix(ending).rename(folder / f"{run.name}{ending}")
            path.with_suffix(".ipynb").unlink(missing_ok=True)  # made again, from the ledger
            missing.remove(run)
            print(f"{path.stem} is {run.name} now.")


def _is_of(path: Path, header: dict, run: PlannedRun) -> bool:
    """Whether a ledger is one of the run, whatever its name."""
    try:
        check_header(path, header, {"config": run.expected})
    except LedgerError:
        return False
    return True


def say_what_else_is_there(folder: Path, sweep: Sweep) -> None:
    others = sorted(set(find_ledgers(folder)) - {folder / f"{run.name}.jsonl" for run in sweep.runs})
    if others:
        print(
            f"{len(others)} ledgers in {os.path.relpath(folder)} are of no run of this sweep, but its report shows them, too: "
            f"{others[0].relative_to(folder)}{', …' if len(others) > 1 else ''}"
        )


def check_data(sweep: Sweep, folder: Path, headers: dict[str, dict], needed: bool, here: bool) -> None:
    """Check strategies and data before the start; data that must be downloaded or decoded is, once, and not by each job.

    Also the finished runs': results on two versions of the data must not stand in one report. Where all are finished the
    data is not `needed`: it may not be there any more. `here`: the runs are computed on this machine, in its memory.
    """
    from .. import checks
    from ..data.folders import DatasetError
    from ..datasets import load_dataset
    from ..splits import check_fits

    for run in sweep.runs:
        checks.check_names_known(run.config)
    try:
        asked = {(run.config.dataset, run.config.image_size) for run in sweep.runs}
        datasets = {name: load_dataset(*name) for name in asked}
    except DatasetError:
        if needed:
            raise
        return
    registered: dict[tuple, dict[str, str]] = {}  # a network is built for its hash: once, not for each run
    for run in sweep.runs:
        dataset = datasets[run.config.dataset, run.config.image_size]
        check_fits(run.config, dataset)
        checks.check_needs(run.config)
        if here:
            checks.check_memory(run.config, tuple(dataset.train_images.shape), len(dataset.class_names))
        if run.name in headers:
            c = run.config
            parts = (c.dataset, c.image_size, c.model, c.strategy, c.noise, c.augmentation)
            if parts not in registered:
                registered[parts] = checks.registered_sources(c, dataset)
            expected = {"data": {"checksum": dataset.checksum}, "registered": registered[parts]}
            path = folder / f"{run.name}.jsonl"
            _check(path, headers[run.name], expected, has_last_round(path, c.n_rounds))


def _check(path: Path, header: dict, expected: dict, finished: bool = False) -> None:
    try:
        check_header(path, header, expected, finished)
    except LedgerError as error:
        raise LedgerError(f"{error} The whole sweep: --force starts over, --reports DIR goes elsewhere.") from None
