"""One run of a sweep, an executed notebook: what counts as finished, faults, and kernels that do not start or answer."""

import json
import os
import sys
import time
from pathlib import Path

import psutil
import pytest
from little_sweeps import BASE, experiment, gone, pids, stamps

from al_utils.sweep import jobs
from al_utils.sweep.jobs import ROOT


def job(folder: Path, notebook: str, timeout=60.0, **parameters) -> str:
    output = os.path.relpath(folder / "run", ROOT)
    parameters = BASE | {"strategy": "random", "seed": 0, "ledger": f"{output}.jsonl"} | parameters
    return jobs.run_job(notebook, output, parameters, config=BASE, timeout=timeout)


def test_a_job_is_done_once(tmp_path):
    notebook = experiment(tmp_path)
    assert job(tmp_path, notebook) == ""
    assert str(ROOT) not in (tmp_path / "run.ipynb").read_text()
    before, ledger = stamps(tmp_path), (tmp_path / "run.jsonl").read_bytes()
    assert job(tmp_path, notebook) == "" and stamps(tmp_path) == before
    (tmp_path / "run.ipynb").unlink()
    assert job(tmp_path, notebook) == ""
    assert (tmp_path / "run.jsonl").read_bytes() == ledger and (tmp_path / "run.ipynb").exists()
    assert len(pids(tmp_path)) == 2


@pytest.mark.parametrize(
    "fault, message",
    [
        ("if round == 1: sys.exit(0)", "SystemExit: cell 3 ended the notebook"),  # papermill adds the parameters' cell
        ("if round == 1: raise ValueError('no luck\\nat all')", "ValueError: no luck at all"),
        ("if round == 1: os.kill(os.getpid(), 9)", "DeadKernelError: Kernel died"),
        ("time.sleep(600)", "TimeoutError: not finished after the limit of 20 seconds (--timeout)"),
        ("if round == 2: break", "the notebook ended after 2 of 3 rounds"),
    ],
)
def test_a_job_that_fails_is_never_taken_for_finished(tmp_path, fault, message):
    error = job(tmp_path, experiment(tmp_path, fault), timeout=20 if "600" in fault else 60)
    assert error == message
    assert (tmp_path / "run.failed.ipynb").exists() and not (tmp_path / "run.ipynb").exists()
    assert len(pids(tmp_path)) == 1 and gone(pids(tmp_path))
    if "break" in fault:
        assert job(tmp_path, experiment(tmp_path)) == ""  # the ledger's rounds are kept, and it goes on
        assert not (tmp_path / "run.failed.ipynb").exists()


def kernel(folder: Path, monkeypatch, script: str) -> None:
    """Install the kernel `shaky`, which is this script."""
    (folder / "kernel.py").write_text(script)
    spec = folder / "kernels" / "shaky"
    spec.mkdir(parents=True)
    argv = [sys.executable, str(folder / "kernel.py"), "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "shaky", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(folder))


@pytest.mark.parametrize("failures", [1, 99])
def test_a_kernel_that_does_not_start_gets_a_second_chance(tmp_path, monkeypatch, failures):
    start = "runpy.run_module('ipykernel_launcher', run_name='__main__')"
    script = f"import pathlib, runpy, sys\ntries = pathlib.Path({str(tmp_path)!r}, 'tries'); tries.open('a').write('.')\n"
    kernel(tmp_path, monkeypatch, f"{script}if len(tries.read_text()) <= {failures}: sys.exit(1)\n{start}")
    error = job(tmp_path, experiment(tmp_path, kernel="shaky"))
    assert (tmp_path / "tries").read_text() == ".."
    assert error == "" if failures == 1 else error.startswith("RuntimeError: Kernel died before replying")


def test_a_kernel_that_never_answers_meets_the_limit(tmp_path, monkeypatch):
    kernel(tmp_path, monkeypatch, "import time\ntime.sleep(600)")
    began = time.monotonic()
    error = job(tmp_path, experiment(tmp_path, kernel="shaky"), timeout=4)
    assert error == "TimeoutError: not finished after the limit of 4 seconds (--timeout)" and time.monotonic() - began < 15
    left = [child for child in psutil.Process().children(recursive=True) if str(tmp_path / "kernel.py") in child.cmdline()]
    assert not (tmp_path / "run.ipynb").exists() and not left
