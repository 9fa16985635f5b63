"""What a ledger's header says of machine and code; threads."""

import os
import subprocess
import threading

import pytest
import torch

from al_utils.compute import machine, parallel

COMMIT = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "one", "--allow-empty"]


@pytest.fixture
def checkout(tmp_path):
    """A git repository with a file of code."""
    folder = tmp_path / "checkout"
    (folder / "al_utils").mkdir(parents=True)
    (folder / "al_utils" / "code.py").write_text("x = 1\n")
    for command in (["git", "init", "-q"], ["git", "add", "."], COMMIT):
        subprocess.run(command, cwd=folder, check=True, env=clean_environment())
    return folder


def clean_environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def provenance(folder):
    return machine.provenance.__wrapped__(folder)


def test_a_commit_and_whether_the_code_was_changed(checkout):
    commit, state = provenance(checkout)
    assert len(commit) >= 7 and state == "clean"
    (checkout / "reports").mkdir()
    (checkout / "reports" / "new.txt").touch()  # results are no code
    assert provenance(checkout) == (commit, "clean")
    for name, text in (("code.py", "x = 2\n"), ("new.py", "")):
        (checkout / "al_utils" / name).write_text(text)
        assert provenance(checkout) == (commit, "changed")
        subprocess.run(["git", "stash", "-qu"], cwd=checkout, check=True, env=clean_environment() | AUTHOR)
    assert provenance(checkout) == (commit, "clean")


AUTHOR = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def test_a_copy_without_history_is_unknown_also_inside_another_repository(checkout, tmp_path):
    inside = checkout / "unzipped"
    inside.mkdir()
    assert provenance(inside) == ("unknown", "unknown")
    assert provenance(tmp_path) == ("unknown", "unknown")


def test_git_dir_is_anothers(checkout, tmp_path, monkeypatch):
    right = provenance(checkout)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert provenance(checkout) == right


@pytest.mark.parametrize("script", [None, "#!/nowhere\n", "#!/bin/sh\n/bin/sleep 60\n", "not a program"])
def test_a_git_that_is_missing_broken_or_hangs_is_survived(checkout, tmp_path, monkeypatch, script):
    monkeypatch.setattr(machine, "GIT_TIMEOUT", 0.3)
    (tmp_path / "bin").mkdir()
    if script:
        (tmp_path / "bin" / "git").write_text(script)
        (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert provenance(checkout) == ("unknown", "unknown")


def test_the_environment_says_what_a_result_depends_on(monkeypatch):
    monkeypatch.setenv("AL_THREADS", "1")
    found = machine.environment("cpu")
    assert found["torch"] == torch.__version__.partition("+")[0] and found["threads"] == 1 and found["device"] == "cpu"
    assert {"torchvision", "scipy", "numpy", "commit", "checkout", "processor"} <= set(found)
    assert "cuda" not in found  # where it is not used


@pytest.mark.parametrize("value", ["two", "0", "-3", "1.5", "00", "٣", "1e3"])
def test_a_number_of_threads_that_is_none_is_refused(monkeypatch, value):
    monkeypatch.setenv("AL_THREADS", value)
    with pytest.raises(ValueError, match=f"AL_THREADS='{value}' must be a whole number above 0"):
        with machine.repeatable():
            pass


@pytest.mark.parametrize("value, threads", [("1", 1), (" 2 ", 2), ("100000", 3), ("9" * 400, 3)])
def test_threads_are_at_most_the_cores_that_are_allowed(monkeypatch, value, threads):
    monkeypatch.setattr(machine, "allowed_cores", lambda: 3)
    monkeypatch.setenv("AL_THREADS", value)
    before = torch.get_num_threads()
    with machine.repeatable():
        assert parallel.n_threads() == threads and torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_threads_that_compute_at_once_leave_each_other_alone(monkeypatch):
    """As the views of 03 do: whoever leaves first takes neither helpers nor settings from the other."""
    monkeypatch.setattr(machine, "allowed_cores", lambda: 2)
    monkeypatch.setenv("AL_THREADS", "2")
    entered, first_left, found = threading.Event(), threading.Event(), []

    def second():
        with machine.repeatable():
            entered.set()
            first_left.wait(60)
            found.append((torch.get_num_threads(), parallel.n_threads(), parallel.run([lambda: 1, lambda: 2])))

    other = threading.Thread(target=second, daemon=True)
    with machine.repeatable():
        other.start()
        entered.wait(60)
        assert parallel.run([lambda: 3, lambda: 4]) == [3, 4]
    first_left.set()
    other.join(60)
    assert found == [(1, 2, [1, 2])]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a system that can bind a process to a core")
def test_by_default_threads_are_the_cores_that_are_allowed(monkeypatch):
    monkeypatch.delenv("AL_THREADS", raising=False)
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine.threads_wanted() == 1
    finally:
        os.sched_setaffinity(0, before)
