"""run_all.sh: how .venv is made, by one at a time and for good; which code runs in it; what is refused."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import wait_for
from little_sweeps import checkout, descendants, experiment, finish, gone, run_all, write_sweep

ROOT = Path(__file__).resolve().parent.parent

# In place of a Python that makes environments: what it makes are the links of `checkout`, after a while. It writes down each
# start, so that one sees how often something was installed; a file `fail` makes it fail.
FAKE = """#!/bin/sh
case "$*" in
    *" venv "*)
        echo venv >> {folder}/started
        for last; do :; done
        mkdir "$last/bin"
        cat > "$last/bin/python" <<'PYTHON'
#!/bin/sh
case "$*" in
    *" pip "*)
        echo pip >> {folder}/started
        [ -e {folder}/fail ] && exit 1
        while [ -e {folder}/hold ]; do sleep 0.1; done ;;
    *) exec {python} "$@" ;;
esac
PYTHON
        chmod +x "$last/bin/python" ;;
    *) exec {python} "$@" ;;
esac
"""


@pytest.fixture
def project(tmp_path):
    """A checkout without .venv, and an environment in which `run_all.sh` makes it by the fake above."""
    project = checkout(tmp_path / "project")
    subprocess.run(["rm", "-r", project / ".venv"], check=True)
    fake = tmp_path / "fake_python"
    fake.write_text(FAKE.format(folder=tmp_path, python=sys.executable))
    fake.chmod(0o755)
    return project, os.environ | {"PYTHON": str(fake)}


def started(project: Path) -> list[str]:
    path = project.parent / "started"
    return path.read_text().split() if path.exists() else []


# Two kinds of arguments that end at once: a sweep that does not exist, and help
NONE = "none.yaml"
REFUSED = "error: there is no sweep file none.yaml. Give its path, or a name in notebooks/sweeps."


def test_two_at_once_in_a_fresh_clone_install_once(project):
    project, environment = project
    (project.parent / "hold").touch()
    first = run_all(project, NONE, env=environment)
    wait_for(lambda: started(project) == ["venv", "pip"])
    second = run_all(project, NONE, env=environment)
    assert second.stdout.readline() == f"Waiting for another ./run_all.sh, which sets up {project}/.venv\n"
    (project.parent / "hold").unlink()
    for process in (first, second):
        status, said = finish(process)
        assert status == 2 and said.splitlines()[-1] == REFUSED
    assert started(project) == ["venv", "pip"]


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_installation_that_is_stopped_leaves_no_process_and_is_done_again(project, number, status):
    project, environment = project
    (project.parent / "hold").touch()
    process = run_all(project, NONE, env=environment)
    wait_for(lambda: started(project) == ["venv", "pip"])
    wait_for(lambda: len(descendants(process)) == 2)  # the shell that stands for pip, and its sleep
    children = descendants(process)
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    got, said = finish(process, timeout=20)
    assert got == status and "Traceback" not in said
    assert said.splitlines()[-1] == "Stopped. The same command goes on from here."
    wait_for(lambda: gone(children), seconds=5)
    (project.parent / "hold").unlink()
    assert finish(run_all(project, NONE, env=environment))[1].splitlines()[-1] == REFUSED
    assert started(project) == ["venv", "pip"] * 2


def test_pip_ends_with_a_script_that_was_killed(tmp_path):
    """As any module that it runs: standard input ends when the parent does, however that dies."""
    code = f"""
import pathlib, sys
sys.path.insert(0, {str(ROOT)!r})
import start
start.run({sys.executable!r}, "slow_module")
"""
    (tmp_path / "slow_module.py").write_text("import subprocess\nsubprocess.run(['sleep', '600'])")
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    wait_for(lambda: len(descendants(parent)) == 2)
    children = descendants(parent)
    parent.kill()
    parent.wait()
    wait_for(lambda: gone(children), seconds=10)


def test_an_environment_whose_python_is_gone_is_made_again(project):
    project, environment = project
    assert finish(run_all(project, NONE, env=environment))[1].splitlines()[-1] == REFUSED
    python = project / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(project / "gone")
    assert finish(run_all(project, NONE, env=environment))[1].splitlines()[-1] == REFUSED
    assert started(project) == ["venv", "pip"] * 2


def test_cpu_comes_first_or_is_refused(project):
    project, environment = project
    status, said = finish(run_all(project, "quick", "--cpu", env=environment))
    assert status == 1 and said == "error: --cpu comes first: ./run_all.sh --cpu quick\n" and not started(project)


def test_a_failed_installation_is_said_and_done_again(project):
    project, environment = project
    (project.parent / "fail").touch()
    status, said = finish(run_all(project, NONE, env=environment))
    assert status == 1 and said.splitlines()[-1].startswith(f"error: setting up {project}/.venv failed (pip says why above)")
    (project.parent / "fail").unlink()
    assert finish(run_all(project, NONE, env=environment))[0] == 2
    assert started(project) == ["venv", "pip"] * 2


def test_changed_requirements_do_not_take_the_environment_from_a_running_sweep(project):
    project, environment = project
    experiment(project / "notebooks", "time.sleep(600)", name="02_experiment.ipynb")
    running = run_all(project, write_sweep(project.parent, seed=[0]), "--workers", 1, env=environment)
    try:
        results = project / "reports" / "little"
        wait_for(lambda: list(results.glob("*.pid")))
        with open(project / "requirements.txt", "a") as file:
            file.write("# changed\n")
        status, said = finish(run_all(project, NONE, env=environment))
        assert status == 1 and "error: requirements.txt has changed, but another ./run_all.sh" in said
        assert started(project) == ["venv", "pip"] and (project / ".venv" / "bin" / "python").exists()
    finally:
        running.terminate()
        assert finish(running)[0] == 143
    assert finish(run_all(project, NONE, env=environment))[1].splitlines()[-1] == REFUSED
    assert started(project) == ["venv", "pip"] * 2


def test_a_folder_that_it_did_not_make_is_left_alone(project):
    project, environment = project
    (project / ".venv").mkdir()
    (project / ".venv" / "mine").touch()
    status, said = finish(run_all(project, NONE, env=environment))
    assert status == 1 and said.endswith("was not made by ./run_all.sh, which leaves it alone: move it away, or remove it.\n")
    assert (project / ".venv" / "mine").exists() and not started(project)


def test_through_links_and_with_cdpath_it_finds_its_own_folder(project, tmp_path):
    project, environment = project
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "project").mkdir(parents=True)
    (elsewhere / "link").symlink_to("../other")
    (tmp_path / "other").symlink_to(project / "run_all.sh")
    for command, where in ((["./link"], elsewhere), (["bash", "project/run_all.sh"], tmp_path)):
        arguments = dict(cwd=where, env=environment | {"CDPATH": str(elsewhere)}, text=True, capture_output=True)
        done = subprocess.run([*command, NONE], **arguments)
        assert done.stderr.splitlines()[-1] == REFUSED, done
    assert started(project) == ["venv", "pip"] and not (elsewhere / "project" / ".venv").exists()
    assert not (elsewhere / ".venv").exists()


def test_neither_the_folder_of_the_user_nor_pythonpath_decides_which_code_runs(project, tmp_path):
    project, environment = project
    wrong = tmp_path / "wrong"
    (wrong / "al_utils" / "sweep").mkdir(parents=True)
    for path in ("yaml.py", "al_utils/__init__.py", "fcntl.py", "logging.py"):
        (wrong / path).write_text(f"raise SystemExit('wrong code: {path}')")
    for more in ({}, {"PYTHONPATH": str(wrong)}):
        done = subprocess.run(
            [project / "run_all.sh", "smoke", "--workers", "0"],
            cwd=wrong, env=environment | more, text=True, capture_output=True,
        )  # fmt: skip
        assert done.returncode == 2 and done.stderr == "error: --workers=0 must be above 0.\n", done


@pytest.mark.parametrize("name, refused", [("a:b", "contains ':'"), ("a\nb", "contains '\\n'"), ("a{b} c", "")])
def test_odd_names_of_the_clone_work_or_are_refused(project, name, refused):
    project, environment = project
    odd = project.rename(project.with_name(name))
    file = write_sweep(odd.parent, name="o{d}d", seed=[0])
    status, said = finish(run_all(odd, file, "--workers", 1, env=environment))
    if refused:
        assert status == 1 and refused in said and len(said.splitlines()) == 1
    else:
        assert status == 0, said
        assert len(list((odd / "reports" / "o{d}d").glob("*.ipynb"))) == 2


def test_help_tells_all_of_it_before_anything_is_installed(project):
    project, environment = project
    status, said = finish(run_all(project, "--help", env=environment))
    assert status == 0 and not started(project)
    for word in ("lab", "test", "page", "SWEEP", "PYTHON=", "--cpu", "--ledgers-only", "--force", "quick", "smoke"):
        assert word in said
