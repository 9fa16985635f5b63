"""NVIDIA's Multi-Process Service, with a stand-in for its program: when it is started, and that it never outlives its user."""

import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT, wait_for

from al_utils.compute import mps
from al_utils.sweep import local

CONTROL = """#!/bin/sh
if [ "$1" = -d ]; then touch "$CUDA_MPS_PIPE_DIRECTORY/control"; echo started >> "{log}"; exit {status}; fi
read order; echo $order >> "{log}"
"""


@pytest.fixture
def said(tmp_path, monkeypatch):
    """What the stand-in was told, so far."""
    log = tmp_path / "log"

    def make(status=0, trial="pass"):
        monkeypatch.setattr(mps, "TRIAL", trial)
        monkeypatch.setattr(mps, "USUAL", tmp_path / "usual")
        program = tmp_path / mps.PROGRAM
        program.write_text(CONTROL.format(log=log, status=status))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.delenv(mps.PLACE, raising=False)
        return lambda: log.read_text().split() if log.exists() else []

    return make


@pytest.mark.parametrize("status", [0, 1])
def test_it_is_there_for_what_starts_within_and_ends_after(said, status):
    told = said(status)
    with mps.shared_gpu():
        place = os.environ[mps.PLACE]
        wait_for(lambda: "started" in told())
        assert os.path.isdir(place)
    assert told() == ["started", "quit"] and mps.PLACE not in os.environ and not os.path.exists(place)


@pytest.mark.parametrize("trial", ["raise SystemExit(1)", "import time; time.sleep(60)"])
def test_where_it_does_not_work_processes_take_turns(trial, said, monkeypatch):
    monkeypatch.setattr(mps, "PATIENCE", 0.5)
    told = said(trial=trial)
    with mps.shared_gpu():
        assert mps.PLACE not in os.environ
    assert told() == ["started", "quit"]


def test_somebody_s_own_stays_in_charge_and_without_the_program_nothing_happens(said, monkeypatch):
    told = said()
    monkeypatch.setenv(mps.PLACE, "/somewhere")
    with mps.shared_gpu():
        assert os.environ[mps.PLACE] == "/somewhere"
    monkeypatch.delenv(mps.PLACE)
    mps.USUAL.mkdir()
    (mps.USUAL / "control").touch()
    with mps.shared_gpu():
        assert mps.PLACE not in os.environ
    (mps.USUAL / "control").unlink()
    monkeypatch.setenv("PATH", "/nowhere")
    with mps.shared_gpu():
        assert mps.PLACE not in os.environ
    assert told() == []


def test_it_ends_with_a_process_that_is_killed(said):
    told = said()
    code = "import time; from al_utils.compute import mps\nwith mps.shared_gpu(): time.sleep(60)"
    user = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    wait_for(lambda: told() == ["started"])
    user.send_signal(signal.SIGKILL)
    user.wait()
    wait_for(lambda: told() == ["started", "quit"])


@pytest.mark.parametrize("n", [1, 2])
def test_runs_at_the_same_time_ask_for_it_and_a_single_one_does_not(n, said, monkeypatch):
    told, seen = said(), []

    def worker(end):
        seen.append(mps.PLACE in os.environ)
        raise OSError("no process in this test")

    monkeypatch.setattr(local, "Worker", worker)
    with pytest.raises(OSError, match="no process"):
        next(local.compute([local.Job(ROOT, {})] * n, workers=n))
    assert seen == [n > 1] and ("started" in told()) == (n > 1)
