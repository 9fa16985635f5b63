"""Many runs without notebooks: their ledgers, made by a process per core; those that are finished are only read.

For a notebook that needs runs to show something, such as the audit. A sweep, which makes a notebook of every run, copes
with clusters, time limits and crashes: see `sweep`.
"""

import contextlib
import multiprocessing.connection
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from ..config import ExperimentConfig, run_name
from ..ledger import read_ledger, tidy
from .jobs import KEEP_MEMORY, ONE_THREAD


def run_many(
    configs: Iterable[ExperimentConfig], folder: str | Path, also: tuple[str, ...] = (), workers: int = 0
) -> pd.DataFrame:
    """Run what has not been run yet, and return all rounds: `ledger.read_ledgers` of these runs alone.

    Ledgers are `folder/<run>.jsonl`; a run that was interrupted goes on. Longer runs start first.

    Args:
        also: fields in which the runs differ beyond the usual five; they become part of the file names.
        workers: processes; 0 takes one per core.

    Raises:
        ValueError: two different configurations have one name. LedgerError: a ledger is of another configuration.
        training.Diverged: a run diverged. The others are finished first.
    """
    paths: dict[Path, ExperimentConfig] = {}
    for config in configs:
        path = Path(folder) / f"{run_name(config, also)}.jsonl"
        if paths.setdefault(path, config) != config:
            raise ValueError(f"two runs are named {path.stem}: name in `also` what they differ in.")
    missing = [path for path, config in paths.items() if not _finished(path, config)]
    if missing:
        missing.sort(key=lambda path: -_work(paths[path]))
        workers = min(workers or os.cpu_count() or 1, len(missing))
        errors = []
        with _environment(ONE_THREAD | KEEP_MEMORY | {"AL_THREADS": "1"}):
            with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _end_with_parent) as pool:
                jobs = [pool.submit(_run, path, paths[path]) for path in missing]
                for job in tqdm(as_completed(jobs), total=len(jobs), mininterval=10, unit="run", ncols=80, leave=False):
                    if error := job.exception():
                        errors.append(error)
        if errors:
            raise errors[0]
    rows = []
    for path in paths:
        header, rounds = read_ledger(path)
        rows += [tidy(path.stem, header["config"], r) for r in rounds]
    return pd.DataFrame(rows)


def _finished(path: Path, config: ExperimentConfig) -> bool:
    """Whether the ledger is whole; one of another configuration is not: running it says what is wrong."""
    if not path.exists():
        return False
    header, rounds = read_ledger(path)
    found = (header or {}).get("config", {})
    return len(rounds) == config.n_rounds + 1 and {**found, "device": config.device} == config.to_dict()


def _work(config: ExperimentConfig) -> int:
    """Roughly, the images that training sees: ResNet-18 counts forty times."""
    steps = sum(max(config.epochs * n, config.min_steps * config.batch_size) for n in config.n_labels)
    return steps * (40 if config.model == "resnet18" else 1)


def _end_with_parent() -> None:
    """A worker whose notebook was killed must not go on: it would hold its ledger. What it has written stays whole."""

    def watch():
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run(path: Path, config: ExperimentConfig) -> None:
    from ..experiment import run_experiment  # here: naming the runs must not wait for PyTorch

    for _ in run_experiment(config, ledger=path):
        pass


@contextlib.contextmanager
def _environment(variables: dict[str, str]):
    """Set for the processes that are started here: they read some of it before any code of ours."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
