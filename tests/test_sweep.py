"""Sweeps: what is refused, what counts as finished, and every fault injected for real, with real processes."""

import contextlib
import functools
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from al_utils import jobs, sweep
from al_utils.cluster import SweepError
from al_utils.grid import load_sweep
from al_utils.jobs import ROOT
from al_utils.ledger import LedgerError, read_ledger

BASE = dict(dataset="mnist5k", model="lenet", noise="none", protocol="paper", scenario="constrained")
BASE |= dict(n_initial=20, n_query=10, n_rounds=2, n_valid=50, epochs=1, device="cpu")
PARAMETERS = """
dataset = model = strategy = noise = protocol = scenario = device = ledger = ""
seed = n_initial = n_query = n_rounds = n_valid = epochs = -1
"""
# An experiment in all but the training. It waits in its second round while there is a file `hold` beside its ledger.
EXPERIMENT = """
import os, time
from pathlib import Path
Path(f"{ledger[:-6]}.{os.getpid()}.pid").touch()
from al_utils.config import ExperimentConfig
from al_utils.ledger import Ledger, Round
names = "dataset model strategy noise protocol scenario seed n_initial n_query n_rounds n_valid epochs device".split()
config = ExperimentConfig.from_dict({name: globals()[name] for name in names})
with Ledger(ledger, {"config": config.to_dict(), "data": {}}) as book:
    for round in range(len(book.rounds), n_rounds + 1):
        while round == 1 and Path(ledger).with_name("hold").exists():
            time.sleep(0.05)
        FAULT
        book.append(Round(round, n_initial + round * n_query, {"seed": seed}, scores=[0.5] * 2_000))
"""
REPORT = 'from pathlib import Path\nprint("ledgers:", len(list(Path(ledgers).glob("*.jsonl"))), "<script>")'


def write_notebook(path: Path, *cells: str, kernel="python3") -> str:
    """A notebook whose first cell is tagged `parameters`; returns its path relative to the repository's root."""
    code = dict(cell_type="code", metadata={}, outputs=[], execution_count=None)
    cells = [code | dict(id=f"cell-{i}", source=source) for i, source in enumerate(cells)]
    cells[0]["metadata"] = {"tags": ["parameters"]}
    metadata = {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}}
    path.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    return os.path.relpath(path, ROOT)


def experiment(folder: Path, fault: str = "pass", **kwargs) -> str:
    return write_notebook(folder / "experiment.ipynb", PARAMETERS, EXPERIMENT.replace("FAULT", fault), "print('end')", **kwargs)


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
            patch.setattr(sweep, "run_sweep", functools.partial(sweep.run_sweep, **notebooks(folder)))
            return sweep.main([*map(str, arguments), "--reports", str(folder / "reports")]), said.getvalue()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def start(folder: Path, *arguments) -> subprocess.Popen:
    """The same as a process of its own."""
    code = (
        "import functools, sys; from al_utils import sweep; "
        f"sweep.run_sweep = functools.partial(sweep.run_sweep, **{notebooks(folder)}); sys.exit(sweep.main())"
    )
    command = [sys.executable, "-c", code, *map(str, arguments), "--reports", str(folder / "reports")]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )  # fmt: skip


def finish(process, timeout=60) -> tuple[int, str]:
    said = process.communicate(timeout=timeout)[0]
    return process.returncode, said


def pids(folder: Path, run="*") -> set[int]:
    """The kernels that ever worked on a run."""
    return {int(path.suffixes[-2][1:]) for path in folder.glob(f"{run}.*.pid")}


def wait_until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def gone(pids) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.suffix in (".ipynb", ".jsonl", ".html")}


# Sweep files


@pytest.mark.parametrize(
    "name, n",
    [("smoke", 2), ("quick", 54)]
    + [("paper_constrained", 162), ("paper_ideal", 18), ("paper_ideal_fine", 18), ("paper_supervised", 6)],
)
def test_the_sweeps_of_the_project(name, n):
    runs = load_sweep(name).runs
    assert len({run.name for run in runs}) == len(runs) == n
    if name.startswith("paper"):
        assert {run.config.protocol for run in runs} == {"paper"}
    if name == "paper_constrained":
        assert {(run.config.n_initial, run.config.n_query, run.config.n_rounds) for run in runs} == {(100, 10, 100)}


def test_a_name_holds_what_distinguishes_runs_and_no_more(tmp_path):
    tied = [{"model": ["lenet"], "epochs": [5]}, {"model": ["resnet18"], "epochs": [2]}]
    names = [run.name for run in load_sweep(write_sweep(tmp_path, seed=[0], epochs=[3, 4])).runs]
    assert names == ["mnist5k__lenet__random__none__seed-0__epochs-3", "mnist5k__lenet__random__none__seed-0__epochs-4"]
    path = tmp_path / "tied.yaml"
    path.write_text(yaml.safe_dump({"base": BASE, "grid": tied}))
    assert [run.name for run in load_sweep(path).runs] == [f"mnist5k__{m}__random__none__seed-0" for m in ("lenet", "resnet18")]


@pytest.mark.parametrize(
    "text, message",
    [
        ("grid: {sed: [0]}", "'sed'; did you mean 'seed'"),
        ("base: {epoch: 3}\ngrid: {seed: [0]}", "'epoch'; did you mean 'epochs'"),
        ("grids: {seed: [0]}", "'grids'; did you mean 'grid'"),
        ("base: {lr: 1e-3}\ngrid: {seed: [0]}", "must be float. YAML reads 1e-3 as text"),
        ("grid: {epochs: [0]}", "epochs=0 is too small"),
        ("grid: {model: [lenett]}", "did you mean 'lenet'"),
        ("grid: {seed: 0}", "seed=0 must be a list"),
        ("grid: {seed: []}", "must be a list of at least one value"),
        ("grid: {seed: [0, 0]}", "two runs are named mnist5k__lenet__random__none__seed-0"),
        ("grid: {dataset: ['folder:a/x', 'folder:b/x']}", "two runs are named folder-x__"),
        ("grid: {seed: [0], seed: [1]}", "seed is given twice"),
        ("base: {}", "grid one of parameters to lists"),
        ("grid: []", "grid one of parameters to lists"),
        ("grid: {1: [0]}", "unknown parameter 1"),
        ("seed", "a mapping with base and grid"),
        ("", "a mapping with base and grid"),
        ("grid: {seed: [0]}\ntimeout: soon", "timeout='soon' must be a number"),
        ("grid: {seed: [0", "is not YAML"),
    ],
)
def test_bad_sweep_files_are_refused(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        load_sweep(path)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["quik"], "did you mean 'quick'"),
        (["none.yaml"], "there is no sweep file none.yaml"),
        (["smoke", "--workers", "0"], "--workers=0 must be above 0"),
    ],
)
def test_the_command_line_refuses_in_one_line(tmp_path, arguments, message):
    status, said = run(tmp_path, *arguments)
    assert status == 2 and said.startswith("error: ") and message in said and said.count("\n") == 1
    assert not (tmp_path / "reports").exists()


def test_what_the_data_or_the_strategies_do_not_have_is_refused_before_the_start(tmp_path):
    for bad, message in [(dict(n_valid=4_000), "4,000"), (dict(strategy="bold"), "did you mean 'bald'")]:
        with pytest.raises(ValueError, match=message):
            sweep.run_sweep(write_sweep(tmp_path, base=BASE | bad), reports=tmp_path)
    assert stamps(tmp_path / "little") == {}


def test_a_scheduler_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("al_utils.cluster.CONNECT_TIMEOUT", 1)
    for address in ("tcp://127.0.0.1:9", "nowhere"):
        with pytest.raises(SweepError, match="no Dask scheduler answers at"):
            sweep.run_sweep(write_sweep(tmp_path), reports=tmp_path, scheduler=address)


# One job


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
        ("time.sleep(600)", "TimeoutError: not finished after the limit of 5 seconds (--timeout)"),
        ("if round == 2: break", "the notebook ended after 2 of 3 rounds"),
    ],
)
def test_a_job_that_fails_is_never_taken_for_finished(tmp_path, fault, message):
    error = job(tmp_path, experiment(tmp_path, fault), timeout=5 if "600" in fault else 60)
    assert error == message
    assert (tmp_path / "run.failed.ipynb").exists() and not (tmp_path / "run.ipynb").exists()
    assert len(pids(tmp_path)) == 1 and gone(pids(tmp_path))
    if "break" in fault:
        assert job(tmp_path, experiment(tmp_path)) == ""  # the ledger's rounds are kept, and it goes on
        assert not (tmp_path / "run.failed.ipynb").exists()


@pytest.mark.parametrize("failures", [1, 99])
def test_a_kernel_that_does_not_start_gets_a_second_chance(tmp_path, monkeypatch, failures):
    script = tmp_path / "kernel.py"
    script.write_text(
        f"import pathlib, runpy, sys\ntries = pathlib.Path({str(tmp_path)!r}, 'tries'); tries.open('a').write('.')\n"
        f"if len(tries.read_text()) <= {failures}: sys.exit(1)\nrunpy.run_module('ipykernel_launcher', run_name='__main__')"
    )
    spec = tmp_path / "kernels" / "shaky"
    spec.mkdir(parents=True)
    argv = [sys.executable, str(script), "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "shaky", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    error = job(tmp_path, experiment(tmp_path, kernel="shaky"))
    assert (tmp_path / "tries").read_text() == ".."
    assert error == "" if failures == 1 else error.startswith("RuntimeError: Kernel died before replying")


# Whole sweeps, on a local cluster


def test_a_failure_does_not_stop_a_sweep_and_what_is_finished_is_left_alone(tmp_path):
    file, results = write_sweep(tmp_path, seed=[0, 1, 2]), tmp_path / "reports" / "little"
    failed = "mnist5k__lenet__random__none__seed-1"
    experiment(tmp_path, "if seed == 1: raise ValueError('no luck')")
    status, said = run(tmp_path, file, "--workers", 2)
    assert status == 1 and f"FAILED {failed}: ValueError: no luck" in said and f"{failed}.failed.ipynb" in said
    assert "Dask dashboard: http://127.0.0.1" in said and "done 2  failed 1  running 0  of 3 runs" in said
    assert "Traceback" not in said
    html = (results / "report.html").read_text()
    assert "ledgers: 3 &lt;script&gt;" in html and "glob" not in html  # escaped, and no code
    assert not re.search(r"<script|(src|href)=.https?:", html)

    experiment(tmp_path)
    before = stamps(results)
    status, said = run(tmp_path, file, "--workers", 2)
    changed = {name for name, stamp in stamps(results).items() if before.get(name) != stamp}
    assert status == 0 and changed == {f"{failed}.ipynb", f"{failed}.jsonl", "report.ipynb", "report.html"}
    assert f"{failed}.failed.ipynb" not in stamps(results)

    before = stamps(results)
    status, said = run(tmp_path, file)
    assert status == 0 and "Nothing to do" in said and stamps(results) == before

    with pytest.raises(LedgerError, match=r"epochs=1, not epochs=2.*--force starts over, --reports DIR"):
        sweep.run_sweep(write_sweep(tmp_path, base=BASE | {"epochs": 2}), reports=tmp_path / "reports")
    assert stamps(results) == before
    write_sweep(tmp_path, base=BASE | {"epochs": 2}, seed=[0])
    assert run(tmp_path, file, "--force")[0] == 0
    assert read_ledger(results / "mnist5k__lenet__random__none__seed-0.jsonl")[0]["config"]["epochs"] == 2

    before = stamps(results)
    (results / sweep.EXAMPLE).touch()
    status, said = run(tmp_path, file)
    assert status == 0 and "replaced by your own" in said and not (results / sweep.EXAMPLE).exists()
    assert stamps(results)["mnist5k__lenet__random__none__seed-0.jsonl"] != before["mnist5k__lenet__random__none__seed-0.jsonl"]


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_sweep_that_is_stopped_leaves_no_process_and_goes_on_later(tmp_path, number, status):
    file, results = write_sweep(tmp_path), tmp_path / "reports" / "little"
    experiment(tmp_path)
    results.mkdir(parents=True)
    (results / "hold").touch()
    process = start(tmp_path, file, "--workers", 2)
    wait_until(lambda: len(pids(results)) == 2)
    with pytest.raises(SweepError, match="another sweep writes to"):
        sweep.run_sweep(file, reports=tmp_path / "reports")
    children = {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
    assert pids(results) < children
    # As a terminal does it: Ctrl-C goes to the whole process group.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    began = time.monotonic()
    got, said = finish(process, timeout=10)
    wait_until(lambda: gone(children), seconds=5)
    assert time.monotonic() - began < 8 and got == status
    if number != signal.SIGKILL:
        assert said.splitlines()[-1] == "Stopped. 0 of 2 runs are finished; the same command goes on from here."
        assert "Traceback" not in said and not list(results.glob("*.partial.ipynb"))
        return  # going on is the same after each of them
    (results / "hold").unlink()
    assert run(tmp_path, file, "--workers", 2)[0] == 0
    assert [len(read_ledger(path)[1]) for path in results.glob("*.jsonl")] == [3, 3]
    assert not list(results.glob("*.partial.ipynb"))


def test_a_full_disk_stops_the_sweep_which_goes_on_when_there_is_space(tmp_path):
    results = tmp_path / "reports"
    results.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", results], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        file, ballast = write_sweep(tmp_path, seed=[0]), results / "ballast"
        experiment(tmp_path, f"if round == 1 and seed == 0 and not Path({str(tmp_path / 'freed')!r}).exists():\n"
                             f"            try: Path({str(ballast)!r}).write_bytes(b'x' * 10**6)\n"
                             f"            except OSError: pass")  # fmt: skip
        status, said = run(tmp_path, file)
        assert status == 1 and "is full: free some space; the same command goes on from here." in said, said
        assert "Traceback" not in said
        ballast.unlink()
        (tmp_path / "freed").touch()
        subprocess.run(["mount", "-o", "remount,size=4m", results], check=True)
        assert run(tmp_path, file)[0] == 0
    finally:
        subprocess.run(["umount", results], check=True)


# A running cluster, started with Dask's own commands


def dask(*arguments) -> subprocess.Popen:
    command = [str(Path(sys.executable).with_name("dask")), *arguments]
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def cluster(tmp_path):
    """The address of a scheduler with two workers, and its process."""
    file = tmp_path / "scheduler.json"
    processes = [dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))]
    for _ in range(2):
        processes.append(dask("worker", "--scheduler-file", str(file), "--host", "127.0.0.1", "--nthreads", "1"))
    wait_until(file.exists)
    yield json.loads(file.read_text())["address"], processes[0]
    for process in processes:
        jobs.kill_tree(process.pid)
        process.wait()


def test_on_a_running_cluster_killed_workers_and_schedulers_lose_nothing(tmp_path, cluster):
    address, scheduler = cluster
    file, results = write_sweep(tmp_path), tmp_path / "reports" / "little"
    experiment(tmp_path)
    results.mkdir(parents=True)
    (results / "hold").touch()
    process = start(tmp_path, file, "--scheduler", address)
    wait_until(lambda: len(pids(results)) == 2)
    victim = pids(results, "*seed-0").pop()
    kernel = psutil.Process(victim)
    worker = kernel.parent().parent()
    assert "dask" in " ".join(worker.parent().cmdline())  # nanny > worker > job > kernel
    worker.kill()
    wait_until(lambda: gone({victim}), seconds=5)
    wait_until(lambda: len(pids(results, "*seed-0")) == 2)  # Dask gave the run to another worker

    kernels = {pid for pid in pids(results) if not gone({pid})}
    os.kill(scheduler.pid, signal.SIGKILL)
    status, said = finish(process)
    assert status == 1 and "the Dask scheduler was lost" in said and "Traceback" not in said
    wait_until(lambda: gone(kernels), seconds=20)
    (results / "hold").unlink()
    assert run(tmp_path, file, "--workers", 2)[0] == 0
    assert [len(read_ledger(path)[1]) for path in results.glob("*.jsonl")] == [3, 3]


def test_ctrl_c_ends_the_jobs_of_a_running_cluster_too(tmp_path, cluster):
    file, results = write_sweep(tmp_path), tmp_path / "reports" / "little"
    experiment(tmp_path)
    results.mkdir(parents=True)
    (results / "hold").touch()
    process = start(tmp_path, file, "--scheduler", cluster[0])
    wait_until(lambda: len(pids(results)) == 2)
    process.send_signal(signal.SIGINT)
    assert finish(process, timeout=10)[0] == 130
    wait_until(lambda: gone(pids(results)), seconds=2)
    (results / "hold").unlink()
    assert run(tmp_path, file, "--scheduler", cluster[0])[0] == 0  # the workers are as good as new
