"""Sweeps of little cost for the tests: real processes, kernels and ledgers, but an experiment without the training."""

import contextlib
import functools
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import yaml

from al_utils.datasets import load_dataset
from al_utils.ledger import read_ledger
from al_utils.sweep import __main__ as command_line
from al_utils.sweep.jobs import ROOT
from al_utils.sweep.progress import PROGRESS_PAGE

BASE = dict(dataset="mnist5k", model="lenet", noise="none", protocol="paper", scenario="constrained")
BASE |= dict(n_initial=20, n_query=10, n_rounds=2, n_valid=50, epochs=1, device="cpu")
PARAMETERS = """
dataset = model = strategy = noise = protocol = scenario = device = ledger = ""
seed = n_initial = n_query = n_rounds = n_valid = epochs = -1
"""
# An experiment in all but the training: what a round finds follows from all the rounds before it, so that a lost or a
# repeated one shows. It waits in its second round while there is a file `hold` beside its ledger.
EXPERIMENT = """
import json, os, random, sys, time
from pathlib import Path
Path(f"{ledger[:-6]}.{os.getpid()}.pid").touch()
from al_utils.config import ExperimentConfig
from al_utils.ledger import Ledger, Round
from al_utils.records import METRICS
names = "dataset model strategy noise protocol scenario seed n_initial n_query n_rounds n_valid epochs device".split()
config = ExperimentConfig.from_dict({name: globals()[name] for name in names})
data = json.loads(Path(os.environ["AL_CACHE_DIR"], dataset, "meta.json").read_text())
of_data = {"name": dataset, "label": dataset, "checksum": data["checksum"], "classes": data["class_names"]}
header = {"config": config.to_dict(), "data": of_data, "initial": list(range(n_initial)), "environment": {}}
with Ledger(ledger, header) as book:
    for round in range(len(book.rounds), n_rounds + 1):
        while round == 1 and Path(ledger).with_name("hold").exists():
            time.sleep(0.05)
        FAULT
        draw = random.Random(f"{seed} {[(r.round, r.queried) for r in book.rounds]}")
        left = set(range(n_initial, 4_000)).difference(*(r.queried for r in book.rounds))
        n = n_query if round < n_rounds else 0
        queried = draw.sample(sorted(left), n)
        metrics = {name: draw.random() for name in METRICS} | {f"metric {i}": draw.random() for i in range(400)}  # a long line
        asked = dict(queried=queried, scores=[0.0] * n, true_classes=[0] * n, noisy=[False] * n)
        book.append(Round(round, n_initial + round * n_query, metrics, **asked, seconds={"fit": time.time()}))
"""
NAME = "mnist5k__lenet__random__none__seed-"
REPORT = 'from pathlib import Path\nprint("ledgers:", len(list(Path(ledgers).glob("*.jsonl"))), "<script>")'


def write_notebook(path: Path, *cells: str, kernel="python3") -> str:
    """A notebook whose first cell is tagged `parameters`; returns its path relative to the repository's root."""
    code = dict(cell_type="code", metadata={}, outputs=[], execution_count=None)
    cells = [code | dict(id=f"cell-{i}", source=source) for i, source in enumerate(cells)]
    cells[0]["metadata"] = {"tags": ["parameters"]}
    metadata = {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}}
    path.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    return os.path.relpath(path, ROOT)


def experiment(folder: Path, fault: str = "pass", end: str = "print('end')", name="experiment.ipynb", **kwargs) -> str:
    load_dataset("mnist5k")  # the experiment wants its checksum, which is in the cache then
    return write_notebook(folder / name, PARAMETERS, EXPERIMENT.replace("FAULT", fault), end, **kwargs)


def write_sweep(folder: Path, name="little", base=BASE, **grid) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"base": base, "grid": grid or {"seed": [0, 1]}}))
    return path


def notebooks(folder: Path) -> dict[str, str]:
    """The arguments of `run_sweep` that put the notebooks in `folder` in place of the real ones."""
    report = write_notebook(folder / "report.ipynb", 'ledgers = ""', REPORT)
    return {"notebook": os.path.relpath(folder / "experiment.ipynb", ROOT), "report": report}


def run(folder: Path, *arguments) -> tuple[int, str]:
    """The exit status of the command line, in this process, and what it says."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    said = io.StringIO()
    try:
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            patch.setattr(command_line, "run_sweep", functools.partial(command_line.run_sweep, **notebooks(folder)))
            return command_line.main([*map(str, arguments), "--reports", str(folder / "reports")]), said.getvalue()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def start(folder: Path, *arguments, closed: bool | None = None) -> subprocess.Popen:
    """The same as a process of its own; `closed` tells whether its output is, and has its errors apart."""
    code = (
        "import functools, sys; from al_utils.sweep import __main__ as line; "
        f"line.run_sweep = functools.partial(line.run_sweep, **{notebooks(folder)}); sys.exit(line.main())"
    )
    command = [sys.executable, "-c", code, *map(str, arguments), "--reports", str(folder / "reports")]
    if closed:
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    errors = subprocess.STDOUT if closed is None else subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)


def finish(process, timeout=120) -> tuple[int, str]:
    said = process.communicate(timeout=timeout)[0]
    return process.returncode, said


def pids(folder: Path, run="*") -> set[int]:
    """The kernels that ever worked on a run."""
    return {int(path.suffixes[-2][1:]) for path in folder.glob(f"{run}.*.pid")}


def gone(pids) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def stamps(folder: Path) -> dict[str, int]:
    """When each result was written; the page that shows a running sweep is none."""
    found = (path for path in folder.iterdir() if path.suffix in (".ipynb", ".jsonl", ".html") and path.name != PROGRESS_PAGE)
    return {path.name: path.stat().st_mtime_ns for path in found}


def ledgers(folder: Path) -> dict[str, tuple]:
    """What is in the ledgers of a folder, timings aside; two equal results are two equal experiments."""
    found = {}
    for path in folder.glob("*.jsonl"):
        header, rounds = read_ledger(path)
        header.pop("environment", None)
        found[path.name] = header, [replace(r, seconds={}) for r in rounds]
    return found


def checkout(folder: Path, real: bool = False) -> Path:
    """A copy of the project with `.venv` in place, as `run_all.sh` leaves it; unless `real` with the notebooks above."""
    if sys.prefix == sys.base_prefix:
        pytest.skip("needs a virtual environment, as ./run_all.sh test makes one")
    ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in ("al_utils", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("run_all.sh", "start.py", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name != "installed":
            (folder / ".venv" / path.name).symlink_to(path)
    shutil.copy(ROOT / "requirements.txt", folder / ".venv" / "installed")
    if not real:
        experiment(folder / "notebooks", name="02_experiment.ipynb")
    write_notebook(folder / "notebooks" / "05_report.ipynb", 'ledgers = ""', REPORT)
    return folder


def run_all(folder: Path, *arguments, **options) -> subprocess.Popen:
    """`run_all.sh` of a checkout, as a terminal starts it: in a process group of its own."""
    command = [folder / "run_all.sh", *map(str, arguments)]
    output = dict(text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return subprocess.Popen(command, cwd=folder, start_new_session=True, **output, **options)


def descendants(process: subprocess.Popen) -> set[int]:
    return {child.pid for child in psutil.Process(process.pid).children(recursive=True)}


def of_seeds(undisturbed, *seeds) -> dict:
    return {f"{NAME}{seed}.jsonl": undisturbed[f"{NAME}{seed}.jsonl"] for seed in seeds}


def hold(results: Path) -> Path:
    """While this file is there, runs wait in their second round."""
    results.mkdir(parents=True, exist_ok=True)
    (results / "hold").touch()
    return results / "hold"
