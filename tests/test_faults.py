"""Faults injected for real; afterwards the sweep ends with the ledgers of one that was never disturbed."""

import json
import os
import signal
import subprocess
import time

import psutil
import pytest
import yaml
from conftest import tiny, wait_for
from little_sweeps import (
    NAME,
    checkout,
    descendants,
    experiment,
    finish,
    gone,
    hold,
    ledgers,
    of_seeds,
    pids,
    run,
    run_all,
    stamps,
    start,
    write_sweep,
)

from al_utils.datasets import load_dataset
from al_utils.experiment import header, run_experiment
from al_utils.ledger import Ledger, LedgerError, read_ledger
from al_utils.problem import prepare
from al_utils.results.studies import read_runs
from al_utils.sweep import __main__ as command_line
from al_utils.sweep import jobs, signals, whole
from al_utils.sweep.cluster import SweepError
from al_utils.sweep.grid import load_sweep
from al_utils.training import Diverged

# run_all.sh


def test_run_all_that_is_stopped_leaves_no_process_and_goes_on_to_the_same_end(tmp_path, undisturbed):
    project = checkout(tmp_path / "project")
    file, results = write_sweep(tmp_path), project / "reports" / "little"
    held = hold(results)
    for number, status in [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]:
        for path in results.glob("*.pid"):
            path.unlink()
        process = run_all(project, file, "--workers", 2)
        wait_for(lambda: len(pids(results)) == 2)
        with pytest.raises(SweepError, match="another sweep writes to"):
            whole.run_sweep(file, reports=project / "reports")
        children = descendants(process)
        assert pids(results) < children
        # As a terminal does it: Ctrl-C goes to the whole process group.
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        began = time.monotonic()
        got, said = finish(process, timeout=20)
        wait_for(lambda: gone(children), seconds=10)
        assert time.monotonic() - began < 10 and got == status
        if number != signal.SIGKILL:
            assert said.splitlines()[-1] == "Stopped. 0 of 2 runs are finished; the same command goes on from here."
            assert "Traceback" not in said and not list(results.glob("*.partial.ipynb"))
    held.unlink()
    status, said = finish(run_all(project, file, "--workers", 2))
    assert status == 0 and ledgers(results) == of_seeds(undisturbed, 0, 1), said
    assert not list(results.glob("*.partial.ipynb"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_whose_exception_is_lost_counts_all_the_same():
    class Careless:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)  # Python prints what is raised here, and goes on

    with signals.on_signals():
        Careless()
        assert signals.asked()
        with pytest.raises(signals.StoppedBySignal):
            signals.check()
    signals.check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_real_training_goes_on_after_faults_to_the_same_ledgers(tmp_path):
    """The kernel killed in a round, run_all.sh stopped in another, a torn line; beside it a run whose loss becomes NaN."""
    base = tiny(strategy="bald", noise="gaussian", n_rounds=3, epochs=20, device="cpu").to_dict()
    grid = {"lr": [0.01, 1e9]}
    for name in grid:
        del base[name]
    file, project = tmp_path / "real.yaml", checkout(tmp_path / "project", real=True)
    file.write_text(yaml.safe_dump({"base": base, "grid": grid}))
    results, (good, bad) = project / "reports" / "real", load_sweep(file).runs
    for each in (good, bad):
        try:
            list(run_experiment(each.config, tmp_path / "undisturbed" / f"{each.name}.jsonl"))
        except Diverged:
            assert each is bad
    ledger = results / f"{good.name}.jsonl"

    def wait_for_rounds(n):
        wait_for(lambda: jobs.count_rounds(ledger) >= n)

    process = run_all(project, file, "--workers", 1)
    wait_for_rounds(1)
    [kernel] = [c for c in descendants(process) if any("ipykernel" in word for word in psutil.Process(c).cmdline())]
    os.kill(kernel, signal.SIGKILL)
    status, said = finish(process)
    assert status == 1 and f"FAILED {good.name}: DeadKernelError: Kernel died" in said
    assert f"FAILED {bad.name}: Diverged: the training loss is nan" in said
    assert 0 < jobs.count_rounds(ledger) < 4 and not (results / f"{good.name}.ipynb").exists()
    stopped = (results / f"{bad.name}.jsonl").read_bytes()
    assert json.loads(stopped.splitlines()[-1])["round"] == 0

    process = run_all(project, file, "--workers", 1)
    wait_for_rounds(jobs.count_rounds(ledger) + 1)
    process.terminate()
    assert finish(process)[0] == 143 and jobs.count_rounds(ledger) < 4
    ledger.write_bytes(ledger.read_bytes()[:-20])

    status, said = finish(run_all(project, file, "--workers", 1))
    assert status == 1 and f"FAILED {bad.name}: Diverged" in said and said.count("FAILED") == 1
    assert ledgers(results) == ledgers(tmp_path / "undisturbed")
    assert (results / f"{bad.name}.jsonl").read_bytes() == stopped  # not trained again


# The disk


@pytest.mark.parametrize("where", ["ledger", "notebook"])
def test_a_full_disk_stops_the_sweep_which_goes_on_when_there_is_space(tmp_path, undisturbed, where):
    results = tmp_path / "reports"
    results.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", results], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        file, ballast, free = write_sweep(tmp_path, seed=[0]), results / "ballast", tmp_path / "free"
        (tmp_path / "fill.py").write_text(
            f"import pathlib\nif not pathlib.Path({str(free)!r}).exists():\n"
            f"    try: pathlib.Path({str(ballast)!r}).write_bytes(b'x' * 10**6)\n    except OSError: pass"
        )
        fill = f"exec(open({str(tmp_path / 'fill.py')!r}).read())"
        if where == "ledger":
            experiment(tmp_path, f"if round == 1: {fill}")
        else:
            experiment(tmp_path, end=f"{fill}\nprint('x' * 20_000)")
        status, said = run(tmp_path, file)
        assert status == 1 and "is full: free some space.\n" in said and "the same command goes on from here." in said, said
        assert "Traceback" not in said and not (results / "little" / f"{NAME}0.ipynb").exists()
        assert len(read_ledger(results / "little" / f"{NAME}0.jsonl")[1]) == (1 if where == "ledger" else 3)
        ballast.unlink()
        free.touch()
        subprocess.run(["mount", "-o", "remount,size=4m", results], check=True)
        assert run(tmp_path, file)[0] == 0 and ledgers(results / "little") == of_seeds(undisturbed, 0)
    finally:
        subprocess.run(["umount", results], check=True)


def test_a_line_corrupted_in_the_middle_is_refused_by_number_by_sweep_and_report(tmp_path):
    config = tiny()
    path = tmp_path / "run.jsonl"
    with Ledger(path, header(prepare(config))) as book:
        for r in run_experiment(config):
            book.append(r)
    file = write_sweep(tmp_path, "little", base={"device": "cpu"} | config.to_dict() | {"split_seed": -1}, seed=[0])
    ledger = tmp_path / "reports" / "little" / f"{NAME}0.jsonl"
    ledger.parent.mkdir(parents=True)
    lines = path.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join([*lines[:2], b"\0" * 512 + b"\n", *lines[3:]]))  # as a power failure leaves a file
    damaged = ledger.read_bytes()
    experiment(tmp_path)
    status, said = run(tmp_path, file)
    assert status == 2 and f"{NAME}0.jsonl, line 3 is corrupted" in said and "restore it from a backup" in said
    with pytest.raises(LedgerError, match="line 3 is corrupted"):
        read_runs(ledger.parent)
    assert ledger.read_bytes() == damaged and not stamps(ledger.parent).keys() - {ledger.name}


@pytest.mark.parametrize("finished", [True, False])
def test_a_ledger_of_another_version_of_the_data_is_refused_before_the_start(tmp_path, image_folder, finished):
    images = image_folder({"cat": 20, "dog": 20})
    config = tiny(dataset=f"folder:{images}", n_initial=4, n_query=2, n_rounds=1, n_valid=4, device="cpu")
    file = write_sweep(tmp_path, base=config.to_dict() | {"split_seed": -1}, seed=[0])
    [run_of_sweep] = load_sweep(file).runs
    results = tmp_path / "reports" / "little"
    rounds = list(run_experiment(config))
    with Ledger(results / f"{run_of_sweep.name}.jsonl", header(prepare(config))) as book:
        for r in rounds[: 2 if finished else 1]:
            book.append(r)
    for ending in ("ipynb", "html"):
        (results / f"report.{ending}").touch()
        (results / f"{run_of_sweep.name}.{ending}").touch()
    (images / "cat" / "0.png").unlink()
    before = stamps(results)
    with pytest.raises(LedgerError, match=r"checksum='\w+', not checksum='\w+'.*--force starts over"):
        whole.run_sweep(file, reports=tmp_path / "reports")
    assert stamps(results) == before
    assert load_dataset(config.dataset).checksum != read_ledger(results / f"{run_of_sweep.name}.jsonl")[0]["data"]["checksum"]


# Who starts it, and what it starts


@pytest.mark.parametrize("closed", [True, False])
def test_a_sweep_whose_output_nobody_reads_ends_tidily(tmp_path, closed):
    """`>&-`: it does its work and says nothing. `| head -1`: it ends soon after, without a traceback, and leaves nothing."""
    experiment(tmp_path)
    file, results = write_sweep(tmp_path, seed=[0]), tmp_path / "reports" / "little"
    held = hold(results)
    process = start(tmp_path, file, "--workers", 1, closed=closed)
    wait_for(lambda: len(pids(results)) == 1)
    if closed:
        held.unlink()
    else:
        process.stdout.readline()
        process.stdout.close()
        held.unlink()
    said = process.stderr.read()
    assert process.wait(timeout=60) == (0 if closed else 141) and said == ""
    assert gone(pids(results)) and not list(results.glob("*.partial.ipynb"))
    if closed:
        assert (results / "report.html").exists()


def test_after_force_the_same_command_would_delete_again_so_another_is_said(tmp_path, monkeypatch, capsys):
    file = write_sweep(tmp_path)

    def stopped(**_):
        raise signals.StoppedBySignal(signal.SIGINT)

    monkeypatch.setattr(command_line, "run_sweep", stopped)
    for force, says in ((["--force"], "the same command without --force goes on"), ([], "the same command goes on")):
        assert command_line.main([str(file), "--reports", str(tmp_path), *force]) == 130
        assert capsys.readouterr().out == f"Stopped. 0 of 2 runs are finished; {says} from here.\n"
