"""What the openings of the notebooks share, and a notebook that is started in another folder or run as a script."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT
from IPython.core.interactiveshell import InteractiveShell

from al_utils import notebook

OWN = 'n_rounds: int = 10  # rounds\nlr: float = 0.1  # learning rate\nsizes: str = "130, 450"  # labels'


def injected(monkeypatch, cell):
    """A shell that has executed the parameters `OWN` and what papermill injected after them."""
    shell = InteractiveShell()
    for source in (OWN, f"# Parameters\n{cell}\n"):
        shell.run_cell(source, store_history=True)
    monkeypatch.setattr(notebook, "get_ipython", lambda: shell)


@pytest.mark.parametrize("cell", ["n_rounds = 3", "lr = 1", 'sizes = "130"', "n_rounds = 3\nlr = 0.5"])
def test_parameters_of_the_right_name_and_type_pass(monkeypatch, cell):
    injected(monkeypatch, cell)
    notebook.check_parameters()


@pytest.mark.parametrize(
    "cell, error, says",
    [
        ("n_round = 3", ValueError, "did you mean 'n_rounds'"),
        ('n_rounds = "three"', TypeError, "n_rounds='three' is of type str, but must be int."),
        ('lr = "1e-3"', TypeError, "lr='1e-3' is of type str, but must be float."),
        ("sizes = 130", TypeError, "must be str. Papermill makes numbers of its -p: use -r sizes 130."),
    ],
)
def test_a_wrong_parameter_is_refused(monkeypatch, cell, error, says):
    injected(monkeypatch, cell)
    with pytest.raises(error, match=says.replace(".", r"\.")):
        notebook.check_parameters()


def run(command, folder):
    """Where the project is installed, of which this environment may hold another checkout: so it is named."""
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


SMALL = {"n_initial": 20, "n_rounds": 1, "epochs": 1, "n_valid": 20}


def test_a_notebook_runs_in_another_folder(tmp_path):
    words = [word for name, value in SMALL.items() for word in ("-p", name, value)]
    notebook, out = ROOT / "notebooks" / "02_experiment.ipynb", tmp_path / "out.ipynb"
    status, said = run(["-m", "papermill", notebook, out, *words, "-p", "ledger", tmp_path / "run.jsonl"], tmp_path)
    assert status == 0, said
    assert (tmp_path / "run.jsonl").is_file()
    page = out.read_text()
    assert ": as in the ledger." in page, "one round by hand"
    assert "has learned next to nothing: always" in page and "-p protocol tuned" in page  # one epoch under the paper's recipe


def test_a_notebook_runs_as_a_script(tmp_path):
    notebook = ROOT / "notebooks" / "02_experiment.ipynb"
    status, said = run(["-m", "nbconvert", "--to", "script", notebook, "--output-dir", tmp_path], ROOT)
    script = tmp_path / "02_experiment.py"
    assert status == 0 and script.is_file(), said
    for name, value in SMALL.items():
        script.write_text(script.read_text().replace(f"{name}: int = -1", f"{name}: int = {value}"))
    script.write_text(script.read_text().replace('ledger: str = ""', f'ledger: str = "{tmp_path / "run.jsonl"}"'))
    status, said = run([script], tmp_path)
    assert status == 0 and "test accuracy with 30 labels" in said, said


def test_a_notebook_without_the_project_says_what_it_needs(tmp_path):
    script = tmp_path / "02_experiment.py"
    run(["-m", "nbconvert", "--to", "script", ROOT / "notebooks" / "02_experiment.ipynb", "--output-dir", tmp_path], ROOT)
    done = subprocess.run([sys.executable, "-I", "-S", script], cwd=tmp_path, capture_output=True, text=True)
    assert "ImportError: This Python lacks al_utils: start ./run_all.sh lab" in done.stderr
