"""The real notebooks, executed as a user would, with their smallest sizes."""

import json
import os
import re
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT

from al_utils import ExperimentConfig, read_ledger, read_ledgers
from al_utils.sweep.grid import load_sweep

NOTEBOOKS = sorted(path for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def command(*arguments, timeout=300):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], cwd=ROOT, text=True, capture_output=True, timeout=timeout
    )
    return done.returncode, done.stdout + done.stderr


def text_of(path):
    """All that an executed notebook shows as text."""
    outputs = [o for cell in nbformat.read(path, as_version=4).cells for o in cell.get("outputs", [])]
    return "\n".join(o.get("text", "") or o.get("data", {}).get("text/html", "") for o in outputs)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The sweep `smoke`, run by its command line."""
    folder = tmp_path_factory.mktemp("reports")
    status, said = command("al_utils.sweep", "smoke", "--reports", folder)
    assert status == 0, said
    return folder / "smoke"


def test_a_sweep_leaves_complete_ledgers_and_executed_notebooks(smoke):
    for run in load_sweep("smoke").runs:
        header, rounds = read_ledger(smoke / f"{run.name}.jsonl")
        assert ExperimentConfig.from_dict(header["config"]) == ExperimentConfig.from_dict(run.parameters)
        assert [r.n_labels for r in rounds] == [20, 30, 40] and [len(r.queried) for r in rounds] == [10, 10, 0]
        assert header["environment"]["torch"] and header["data"]["checksum"] and len(header["initial"]) == 20
        shown = text_of(smoke / f"{run.name}.ipynb")
        assert f"{rounds[-1].metrics['test_accuracy']:.1%} test accuracy with 40 labels" in shown
        assert str(ROOT) not in (smoke / f"{run.name}.ipynb").read_text()
    frame = read_ledgers(smoke)
    assert len(frame) == 6 and set(frame.strategy) == {"random", "bald"}


def test_the_report_is_one_page_that_needs_no_network(smoke):
    page = (smoke / "report.html").read_text()
    assert not re.search(r"<script|<link|(src|href)=[\"']https?:", page)
    assert page.count('src="data:image/png;base64') >= 4
    assert "2 finished, 0 unfinished" in page and "random" in page and "BALD" in page
    assert "28.79%" not in page  # one network and two strategies: not the paper's tables
    assert "import sys" not in page  # the code is in report.ipynb
    assert str(ROOT) not in page


def test_a_second_start_does_nothing_and_a_deleted_notebook_is_executed_again(smoke):
    def stamps():
        return {path.name: path.stat().st_mtime_ns for path in smoke.iterdir()}

    before = stamps()
    status, said = command("al_utils.sweep", "smoke", "--reports", smoke.parent)
    assert status == 0 and "Nothing to do" in said and stamps() == before | {".lock": stamps()[".lock"]}
    deleted = next(smoke.glob("*bald*.ipynb"))
    deleted.unlink()
    status, said = command("al_utils.sweep", "smoke", "--reports", smoke.parent)
    changed = {name for name, stamp in stamps().items() if stamp != before.get(name)} - {".lock", "progress.html"}
    assert status == 0, said
    assert (
        {deleted.name} <= changed <= {deleted.name, "report.ipynb", "report.html"} | {n for n in changed if n.endswith(".png")}
    )


def test_papermill_runs_one_experiment_on_the_complete_mnist(full_data, tmp_path):
    status, said = command(
        "papermill", "notebooks/02_experiment.ipynb", tmp_path / "out.ipynb", "-p", "dataset", "mnist", "-p", "model", "lenet",
        "-p", "strategy", "bald", "-p", "n_rounds", 3, "-p", "epochs", 2, "-p", "ledger", tmp_path / "run.jsonl",
    )  # fmt: skip
    assert status == 0, said
    header, rounds = read_ledger(tmp_path / "run.jsonl")
    assert header["config"]["protocol"] == "paper" and [r.n_labels for r in rounds] == [100, 110, 120, 130]
    assert "130 labels" in text_of(tmp_path / "out.ipynb")


def test_each_thing_of_ones_own_runs_from_a_cell_and_in_a_sweep(tmp_path):
    small = ["-p", "every", 8, "-p", "n_rounds", 1, "-p", "epochs", 2, "-p", "folder", tmp_path]
    status, said = command("papermill", "notebooks/09_your_own.ipynb", tmp_path / "out.ipynb", *small)
    assert status == 0, said
    shown = text_of(tmp_path / "out.ipynb")
    assert shown.count("round   1 ") == 15 and "8 of 8 ledgers are finished" in shown
    assert "did you mean 'least_confidence'" in shown and "strategy='careless' returned scores of shape" in shown
    frame = read_ledgers(tmp_path / "my_sweep")
    assert set(frame.model) == {"lenet", "small_mlp"} and set(frame.strategy) == {"random", "least_sure"}
    header, _ = read_ledger(next((tmp_path / "my_sweep").glob("*small_mlp*least_sure*.jsonl")))
    assert set(header["registered"]) == {"dataset", "model", "strategy"}


@pytest.mark.parametrize(
    "wrong, says",
    [(("n_round", "3"), "did you mean 'n_rounds'"), (("lr", "fast"), "must be float"), (("strategy", "balds"), "mean 'bald'")],
)
def test_papermill_with_a_wrong_parameter_fails_with_one_clear_sentence(tmp_path, wrong, says):
    status, said = command("papermill", "notebooks/02_experiment.ipynb", tmp_path / "out.ipynb", "-p", *wrong)
    assert status != 0 and says in said


def test_help_lists_every_parameter():
    status, said = command("papermill", "--help-notebook", "notebooks/02_experiment.ipynb")
    assert status == 0
    for name, field in ExperimentConfig.__dataclass_fields__.items():
        default = field.default if isinstance(field.default, bool) else json.dumps(field.default)
        assert f"  {name}: {field.type.__name__} (default {default})" in said


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_anatomy(path):
    """Committed without outputs; a parameters cell of plain typed lines; the usual kernel."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3" and "widgets" not in notebook.metadata
    assert notebook.cells[0].cell_type == "markdown" and "papermill" in notebook.cells[0].source
    [(position, cell)] = [(i, c) for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", [])]
    assert position == 1
    for line in cell.source.splitlines():
        assert re.fullmatch(r"\w+: (int|float|str|bool) = .+  # .+", line), line
    assert not any(c.get("outputs") or c.get("execution_count") for c in notebook.cells)
    assert not re.search(rf"{re.escape(os.path.expanduser('~'))}/|/home/", path.read_text())


AT_DEFAULTS = ["01_explore_strategies", pytest.param("02_experiment", marks=pytest.mark.slow), "03_inspect_queries",
               "04_be_the_oracle", "05_report"]  # fmt: skip


@pytest.mark.parametrize("name", AT_DEFAULTS)
def test_run_all_at_the_defaults(name, tmp_path):
    """As a new user presses Run All, on the results that come with the project."""
    status, said = command("papermill", f"notebooks/{name}.ipynb", tmp_path / f"{name}.ipynb", timeout=1_800)
    assert status == 0, said
    cells = nbformat.read(tmp_path / f"{name}.ipynb", 4).cells
    assert not [o for c in cells for o in c.get("outputs", []) if o.output_type == "error" or o.get("name") == "stderr"]
