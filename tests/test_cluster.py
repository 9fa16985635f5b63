"""A running cluster, started with Dask's own commands, and how workers get their runs."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from conftest import tiny, wait_for
from little_sweeps import experiment, finish, gone, hold, ledgers, of_seeds, pids, run, start, write_sweep

from al_utils.sweep import jobs, whole
from al_utils.sweep.cluster import SweepError, connect, execute
from al_utils.sweep.grid import load_sweep
from al_utils.sweep.jobs import ROOT


def dask(*arguments) -> subprocess.Popen:
    command = [str(Path(sys.executable).with_name("dask")), *arguments]
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_on_a_running_cluster_ctrl_c_killed_workers_and_schedulers_lose_nothing(tmp_path, undisturbed):
    announced = tmp_path / "scheduler.json"
    scheduler = dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(announced))
    processes = [scheduler]
    for _ in range(2):
        processes.append(dask("worker", "--scheduler-file", str(announced), "--host", "127.0.0.1", "--nthreads", "1"))
    try:
        wait_for(lambda: announced.exists() and announced.read_text().rstrip().endswith("}"))  # written whole
        _disturb(tmp_path, json.loads(announced.read_text())["address"], scheduler)
    finally:
        for process in processes:
            jobs.kill_tree(process.pid)
            process.wait()
    file = write_sweep(tmp_path)
    assert run(tmp_path, file, "--workers", 2)[0] == 0
    assert ledgers(tmp_path / "reports" / "little") == of_seeds(undisturbed, 0, 1)


def _disturb(folder: Path, address: str, scheduler: subprocess.Popen) -> None:
    file, results = write_sweep(folder), folder / "reports" / "little"
    experiment(folder)
    held = hold(results)
    process = start(folder, file, "--scheduler", address)
    wait_for(lambda: len(pids(results)) == 2)
    process.send_signal(signal.SIGINT)
    assert finish(process, timeout=20)[0] == 130
    wait_for(lambda: gone(pids(results)), seconds=5)

    # The workers are as good as new.
    for path in results.glob("*.pid"):
        path.unlink()
    process = start(folder, file, "--scheduler", address)
    wait_for(lambda: len(pids(results)) == 2)
    victim = pids(results, "*seed-0").pop()
    worker = psutil.Process(victim).parent().parent()
    assert "dask" in " ".join(worker.parent().cmdline())  # nanny > worker > job > kernel
    worker.kill()
    wait_for(lambda: gone({victim}), seconds=10)
    wait_for(lambda: len(pids(results, "*seed-0")) == 2)  # Dask gave the run to another worker

    kernels = {pid for pid in pids(results) if not gone({pid})}
    os.kill(scheduler.pid, signal.SIGKILL)
    status, said = finish(process)
    assert status == 1 and "the Dask scheduler was lost" in said and "Traceback" not in said, said
    wait_for(lambda: gone(kernels), seconds=30)
    held.unlink()


def test_workers_that_cannot_start_are_told_in_one_sentence(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("al_utils.sweep.cluster._QUIET_WORKER", "import os; os._exit(1)")
    with pytest.raises(
        SweepError, match="the 1 worker processes could not be started .*Start the same command again"
    ) as refused:
        with connect(1, None):
            pass
    said = capfd.readouterr()
    assert "\n" not in str(refused.value) and "Traceback" not in said.err + said.out


def test_a_worker_gets_its_next_run_when_it_is_free_and_the_longest_run_first(tmp_path, monkeypatch):
    """On two workers, of which one is busy for long, the other does all the rest."""
    base = tiny().to_dict() | {"split_seed": -1, "seed": 0, "device": "cpu"}
    del base["epochs"]
    runs = load_sweep(write_sweep(tmp_path, base=base, epochs=[1, 2, 3, 9])).runs
    submitted, futures = [], []

    class Future:
        status = "finished"

        def __init__(self, name):
            self.left = 5 if "epochs-9" in name else 1
            submitted.append(name)
            futures.append(self)

        def done(self):
            self.left -= 1
            return self.left <= 0

        def result(self):
            return ""

    class Client:
        def nthreads(self):
            return {"one": 1, "other": 1}

        def submit(self, task, job, key, pure):
            assert sum(future.left > 0 for future in futures) < 2
            return Future(job["output"])

    monkeypatch.setattr("al_utils.sweep.cluster.time.sleep", lambda _: None)
    assert execute(Client(), tmp_path, runs, runs, (), 9.0, whole.EXPERIMENT) == {}
    assert [name[-1] for name in submitted] == ["9", "3", "2", "1"]
