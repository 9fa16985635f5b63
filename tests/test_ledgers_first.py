"""Ledgers without notebooks: their order, what a stop leaves, a bare machine, notebooks made of them; code of one's own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import psutil
import pytest
import yaml
from conftest import ROOT, tiny, wait_for
from little_sweeps import finish, gone, ledgers, run, write_notebook, write_sweep

from al_utils import acquisition, models, own, read_ledger, sources
from al_utils.datasets import load_dataset
from al_utils.sweep import __main__ as command_line
from al_utils.sweep import local, whole
from al_utils.sweep.grid import load_sweep

LITTLE = dict(dataset="mnist5k", model="lenet", protocol="tuned", noise="none", n_initial=20, n_query=5, n_rounds=2, n_valid=20,
              epochs=2, mc_samples=4, device="cpu")  # fmt: skip


def start(file, reports, *arguments) -> subprocess.Popen:
    command = [sys.executable, "-P", "-m", "al_utils.sweep", file, "--ledgers-only", "--reports", reports, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )  # fmt: skip


def test_any_stop_leaves_whole_seeds_and_the_longest_run_of_each_starts_first(tmp_path, monkeypatch):
    file = write_sweep(tmp_path, base=LITTLE, seed=[0, 1], model=["lenet", "resnet18"], strategy=["random", "bald"])
    started = []
    monkeypatch.setattr(local, "compute", lambda jobs, *_: started.extend(job.path.stem for job in jobs) or (job for job in ()))
    whole.run_sweep(file, reports=tmp_path, ledgers_only=True)
    assert started == [
        f"mnist5k__{model}__{strategy}__none__seed-{seed}"
        for seed in (0, 1) for model in ("resnet18", "lenet") for strategy in ("random", "bald")
    ]  # fmt: skip


def test_killed_and_stopped_it_goes_on_to_the_same_ledgers(tmp_path):
    base = LITTLE | dict(n_rounds=5, epochs=5, strategy="bald")
    file = write_sweep(tmp_path, base=base, seed=[0, 1])
    results, runs = tmp_path / "reports" / "little", load_sweep(file).runs
    first = results / f"{runs[0].name}.jsonl"
    for number, status in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        process = start(file, tmp_path / "reports", "--workers", 1)
        before = len(first.read_bytes().splitlines()) if first.exists() else 0
        wait_for(lambda: first.exists() and len(first.read_bytes().splitlines()) > max(1, before))
        children = {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
        os.killpg(process.pid, number)
        got, said = finish(process, timeout=30)
        assert got == status and "Traceback" not in said
        wait_for(lambda: gone(children), seconds=10)
        if number == signal.SIGINT:
            assert said.splitlines()[-1] == "Stopped. 0 of 2 runs are finished; the same command goes on from here."
    status, said = finish(start(file, tmp_path / "reports", "--workers", 2))
    assert status == 0 and "2 of 2 ledgers are finished. Without --ledgers-only" in said
    local.run_many([run.config for run in runs], tmp_path / "undisturbed")
    assert ledgers(results) == ledgers(tmp_path / "undisturbed")
    assert not list(results.glob("*.ipynb"))


def test_it_stops_at_the_end_of_the_round_in_which_its_time_is_up(tmp_path, monkeypatch, capsys):
    job = local.Job(tmp_path / "run.jsonl", LITTLE | {"n_rounds": 300, "strategy": "random"})
    for asked, rounds in ((2, 2), (5, 5)):  # the second time, two of the rounds are there already
        clock = iter([0] * (asked - 1) + [60])
        monkeypatch.setattr(local.time, "time", lambda: next(clock))
        assert local._outcome(job, end=60) is None
        assert len(read_ledger(job.path)[1]) == rounds
    monkeypatch.undo()
    file = write_sweep(tmp_path, base=LITTLE, seed=[0, 1])
    arguments = [str(file), "--ledgers-only", "--reports", str(tmp_path), "--workers", "1", "--minutes", "0.000001"]
    assert command_line.main(arguments) == 0 and not list((tmp_path / "little").glob("*.jsonl"))
    assert "0 of 2 ledgers are finished. The same command goes on." in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--minutes", "3"], "--minutes=3 needs --ledgers-only"),
        (["--ledgers-only", "--minutes", "0"], "--minutes=0.0 must be above 0"),
        (["--ledgers-only", "--scheduler", "tcp://x:1"], "--scheduler does not go with --ledgers-only"),
        (["--report-only", "--force"], "--force does not go with --report-only"),
        (["--report-only", "--ledgers-only"], "--ledgers-only does not go with --report-only"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, capsys, arguments, says):
    assert command_line.main(["smoke", "--reports", str(tmp_path), *arguments]) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_report_of_the_ledgers_that_are_there_needs_no_notebooks(tmp_path):
    base, folder = LITTLE | dict(strategy="random", n_rounds=0), tmp_path / "reports" / "little"
    status, said = run(tmp_path, write_sweep(tmp_path, base=base, seed=[0, 1]), "--report-only")
    assert status == 2 and "there is no ledger of little" in said
    status, said = run(tmp_path, write_sweep(tmp_path, base=base, seed=[0]), "--ledgers-only", "--workers", 1)
    assert status == 0, said
    for _ in range(2):  # the second time anew
        status, said = run(tmp_path, write_sweep(tmp_path, base=base, seed=[0, 1]), "--report-only")
        assert status == 0 and "2 runs, 1 of them finished" in said and "Report: " in said
        assert "ledgers: 1" in (folder / "report.html").read_text()
    assert [path.stem for path in folder.glob("*.ipynb")] == ["report"] and len(list(folder.glob("*.jsonl"))) == 1


def test_the_limit_of_a_run_is_said_not_to_hold_for_ledgers_and_does_not_limit_the_report(tmp_path, capsys):
    file = write_sweep(tmp_path, base=LITTLE | dict(n_rounds=0), seed=[0])
    file.write_text(file.read_text() + "timeout: 0.001\n")
    assert whole.run_sweep(file, 1, reports=tmp_path, ledgers_only=True) == {}
    assert "timeout=0.001 in the sweep limits notebooks; ledgers alone are limited by --minutes." in capsys.readouterr().out
    report = write_notebook(tmp_path / "report.ipynb", 'ledgers = ""')
    assert whole.run_sweep(file, reports=tmp_path, report_only=True, report=report) == {}


def test_failed_runs_are_told_and_the_others_finished(tmp_path, capsys):
    file = write_sweep(tmp_path, base=LITTLE, seed=[0], lr=[0.01, 1e20])
    assert command_line.main([str(file), "--ledgers-only", "--reports", str(tmp_path), "--workers", "1"]) == 1
    said = capsys.readouterr().out
    assert "seed-0__lr-1e+20: Diverged: " in said or "seed-0__lr-1e-20: Diverged: " in said, said
    assert "1 of 2 ledgers are finished." in said


def test_a_killed_worker_does_not_end_the_others(tmp_path):
    jobs = [local.Job(tmp_path / f"{seed}.jsonl", LITTLE | {"strategy": "random", "seed": seed}) for seed in range(3)]
    jobs[0].parameters["n_rounds"] = 300

    def kill(running):
        for child in psutil.Process().children():
            if any(file.path == str(jobs[0].path) for file in child.open_files()):
                child.kill()

    ended = dict((job.path.stem, error) for job, error in local.compute(jobs, 2, each_second=kill))
    assert isinstance(ended["0"], local.Died) and "its process ended with signal 9" in str(ended["0"])
    assert ended["1"] is ended["2"] is None
    assert len(read_ledger(jobs[1].path)[1]) == len(read_ledger(jobs[2].path)[1]) == 3


# What PyTorch and NumPy need themselves, beside the standard library
BARE = ["torch", "numpy", "functorch", "torchgen", "typing_extensions", "sympy", "networkx", "jinja2", "filelock", "fsspec",
        "mpmath", "markupsafe", "nvidia", "triton", "cuda", "setuptools"]  # fmt: skip


def test_a_bare_machine_with_pytorch_and_numpy(tmp_path):
    """Without pandas, SciPy, papermill, Dask, psutil, PyYAML, tqdm, torchvision, Pillow."""
    load_dataset("mnist5k")  # decoded elsewhere
    packages = tmp_path / "packages"
    packages.mkdir()
    for place in {Path(nbformat.__file__).parents[1], Path(psutil.__file__).parents[1]}:
        for path in place.iterdir():
            if path.name.split("-")[0].split(".")[0] in BARE:
                (packages / path.name).symlink_to(path)
    file = tmp_path / "bare.json"
    file.write_text(json.dumps({"base": LITTLE, "grid": {"strategy": ["bald"], "noise": ["none", "gaussian"]}}))
    python = Path(sys.base_prefix) / "bin" / Path(os.path.realpath(sys.executable)).name
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"PYTHONPATH": f"{packages}{os.pathsep}{ROOT}", "PYTHONNOUSERSITE": "1"}

    def run(*arguments):
        command = [python, "-S", "-P", "-m", "al_utils.sweep", *arguments, "--ledgers-only", "--reports", tmp_path / "reports"]
        done = subprocess.run(command, env=environment, cwd=tmp_path, text=True, capture_output=True, timeout=300)
        return done.returncode, done.stdout + done.stderr

    status, said = run(file)
    assert status == 0 and "2 of 2 ledgers are finished" in said, said
    status, said = run("smoke")
    assert status == 2 and "install PyYAML (pip install pyyaml), or give the sweep as a JSON file" in said, said


# Code of one's own

LAB = """
import torch
import al_utils as al

@al.acquisition.register
def brightest_guess(log_probs_K_N_C):
    \"\"\"The largest mean probability.\"\"\"
    return log_probs_K_N_C.exp().mean(0).amax(-1)

@al.models.register
def one_layer(channels, n_classes, image_size):
    n_pixels = channels * image_size[0] * image_size[1]
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(n_pixels, n_classes))
"""


def test_code_that_a_sweep_names_is_known_in_every_process(tmp_path, monkeypatch):
    for registry in (acquisition.registry, models):  # what this process learns ends with the test
        monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    (tmp_path / "my_lab.py").write_text(LAB)
    file = tmp_path / "own.yaml"
    content = {"base": LITTLE | {"model": "one_layer"}, "grid": {"strategy": ["brightest_guess"]}, "code": ["my_lab.py"]}
    file.write_text(yaml.safe_dump(content))
    status, said = finish(start(file, tmp_path / "reports", "--workers", 1))
    assert status == 0, said
    [path] = (tmp_path / "reports" / "own").glob("*__brightest_guess__*.jsonl")
    before = path.read_bytes()
    assert set(read_ledger(path)[0]["registered"]) == {"model", "strategy"}  # hashes of their sources
    report = write_notebook(tmp_path / "report.ipynb", 'ledgers = ""')
    assert whole.run_sweep(file, 1, reports=tmp_path / "reports", report=report) == {}
    assert path.read_bytes() == before  # the finished ledger is shown
    notebook = nbformat.read(path.with_suffix(".ipynb"), 4)
    [injected] = [cell.source for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert 'code = "' in injected and "my_lab.py" in injected
    (tmp_path / "my_lab.py").write_text(LAB.replace("amax", "amin"))  # another function of the same name
    status, said = finish(start(file, tmp_path / "reports"))  # where nothing is left to do
    assert status == 2 and "was made with another strategy='brightest_guess'" in said and "--force starts over" in said, said


@pytest.mark.parametrize(
    "code, text, says",
    [
        ("my_lab.py", "import nothing_of_the_kind", "line 1, ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
        ("my_lab.py", "x = (", "SyntaxError: '(' was never closed"),
        ("none.py", "", "is no Python file: there is no"),
        ("lab.txt", "", "is no Python file"),
        (["my_lab.py", 3], "", "must be a list of Python files, such as [my_lab.py]"),
    ],
)
def test_code_that_cannot_be_loaded_is_refused_in_one_sentence(tmp_path, capsys, code, text, says):
    (tmp_path / "my_lab.py").write_text(text)
    (tmp_path / "lab.txt").touch()
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({"base": LITTLE, "grid": {"seed": [0]}, "code": code if isinstance(code, list) else [code]}))
    assert command_line.main([str(file), "--reports", str(tmp_path / "reports")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: own.yaml: code=") and says in error and error.count("\n") == 1
    assert not (tmp_path / "reports").exists()


def test_code_is_executed_once_in_a_process(tmp_path):
    file = tmp_path / "counted.py"
    file.write_text(f"open({str(tmp_path / 'count')!r}, 'a').write('.')")
    own.load_code(f"{file}, {file}")
    own.load_code([file])
    assert (tmp_path / "count").read_text() == "."
    assert tiny().strategy == "random"


def test_code_that_has_changed_is_executed_again_and_what_was_executed_is_hashed(tmp_path):
    file = tmp_path / "edited.py"
    text = (
        "import al_utils as al\n@al.acquisition.register\ndef edited(log_probs_K_N_C):\n    return log_probs_K_N_C[0, :, 0]\n"
    )

    def hashed():
        return sources.digest(acquisition.get("edited").function)

    file.write_text(text)
    own.load_code([file])
    first = hashed()
    file.write_text(text.replace("0, :, 0", "0, :, 1"))  # as long, within the same second
    assert hashed() == first
    own.load_code([file])
    assert hashed() != first
    file.write_text(text)
    own.load_code([file])
    assert hashed() == first
