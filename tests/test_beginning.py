"""What a sweep finds when it starts, and what was changed since: names, ledgers, notebooks, files of one's own, devices."""

import errno
import shutil
from pathlib import Path

import nbformat
import pytest
import yaml
from conftest import ROOT, tiny
from little_sweeps import run, write_notebook, write_sweep

from al_utils import own, read_ledger
from al_utils.sweep import __main__ as command_line
from al_utils.sweep import cluster, local, signals, whole
from al_utils.sweep.cluster import edited_defaults, execute
from al_utils.sweep.grid import load_sweep

LITTLE = tiny(n_rounds=1, epochs=1, device="cpu").to_dict() | {"split_seed": -1}
del LITTLE["lr"]


def ledgers_only(folder, *arguments):
    return run(folder, *arguments, "--ledgers-only", "--workers", 1)


def test_runs_keep_their_ledgers_when_the_sweep_varies_more(tmp_path):
    results = tmp_path / "reports" / "little"
    assert ledgers_only(tmp_path, write_sweep(tmp_path, base=LITTLE, seed=[0], lr=[0.01]))[0] == 0
    [before] = [path.read_bytes() for path in results.glob("*.jsonl")]
    status, said = ledgers_only(tmp_path, write_sweep(tmp_path, base=LITTLE, seed=[0], lr=[0.01, 0.003]))
    name = "mnist5k__lenet__random__none__seed-0"
    assert status == 0 and f"{name} is {name}__lr-0.01 now." in said and "2 runs, 1 of them finished" in said, said
    assert sorted(path.stem for path in results.glob("*.jsonl")) == [f"{name}__lr-0.003", f"{name}__lr-0.01"]
    assert (results / f"{name}__lr-0.01.jsonl").read_bytes() == before


def test_ledgers_of_other_runs_are_said_and_a_report_of_other_ledgers_is_made_again(tmp_path):
    assert ledgers_only(tmp_path, write_sweep(tmp_path, base=LITTLE, lr=[0.01], seed=[0, 1]))[0] == 0
    file = write_sweep(tmp_path, base=LITTLE, lr=[0.01], seed=[0])
    status, said = run(tmp_path, file, "--report-only")
    others = "are of no run of this sweep, but its report shows them, too: mnist5k__lenet__random__none__seed-1.jsonl"
    assert status == 0 and others in said, said
    page = tmp_path / "reports" / "little" / "report.html"
    page.write_text("made from 9 ledgers, SHA-256 0123")
    report = write_notebook(tmp_path / "report.ipynb", 'ledgers = ""')
    assert whole._report(page.parent, report, 60) == {} and "SHA-256 0123" not in page.read_text()


@pytest.mark.parametrize("arguments", [["--report-only"], []])
def test_the_device_must_be_here_only_where_something_is_computed(tmp_path, arguments):
    write_sweep(tmp_path, base=LITTLE, lr=[0.01], seed=[0])
    assert ledgers_only(tmp_path, tmp_path / "little.yaml")[0] == 0
    file = write_sweep(tmp_path, base=LITTLE | {"device": "cuda:7"}, lr=[0.01], seed=[0])
    status, said = run(tmp_path, file, *arguments)
    assert status == (0 if arguments else 2) and ("CUDA devices here" in said) == (not arguments), said
    assert load_sweep(file, elsewhere=True).runs[0].parameters["device"] == "cuda:7"  # which goes to the worker


def test_defaults_that_were_changed_in_the_notebook_do_not_change_a_sweep(tmp_path, monkeypatch):
    notebook = nbformat.read(ROOT / whole.EXPERIMENT, 4)
    assert edited_defaults(ROOT / whole.EXPERIMENT) == []
    [first] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    first.source = first.source.replace("epochs: int = -1", "epochs: int = 1 + 1").replace(
        'device: str = ""', 'device: str = "cpu"'
    )
    nbformat.write(notebook, tmp_path / "edited.ipynb")
    assert edited_defaults(tmp_path / "edited.ipynb") == ["epochs"]
    given = []

    class Client:
        def nthreads(self):
            return {"one": 1}

        def submit(self, task, job, key, pure):
            given.append(job["parameters"])
            return type("Future", (), {"status": "finished", "done": lambda _: True, "result": lambda _: ""})()

    monkeypatch.setattr(cluster.time, "sleep", lambda _: None)
    base = {name: value for name, value in LITTLE.items() if name != "epochs"}
    runs = load_sweep(write_sweep(tmp_path, base=base, seed=[0])).runs
    execute(Client(), tmp_path, runs, runs, (), 9.0, "../" * 9 + str(tmp_path / "edited.ipynb").lstrip("/"))
    assert given[0]["epochs"] == runs[0].config.epochs == 100 and "momentum" not in {*given[0]} - {*base}


def test_a_file_of_ones_own_that_changes_meanwhile_ends_the_sweep(tmp_path):
    file = tmp_path / "my_lab.py"
    file.write_text("x = 1\n")
    own.load_code([file])
    own.check_unchanged([file])
    jobs = [local.Job(tmp_path / f"{seed}.jsonl", LITTLE | {"seed": seed}, [str(file)]) for seed in (0, 1)]
    ended = local.compute(jobs, 1)
    assert next(ended) == (jobs[0], None)
    file.write_text("x = 2\n")
    with pytest.raises(ValueError, match="my_lab.py has changed since the sweep began.*--force"):
        next(ended)
    assert not jobs[1].path.exists()


@pytest.mark.parametrize(
    "text, says",
    [
        ("import sys\nsys.exit(0)\n", "line 2, SystemExit: 0"),
        ("x = 1", "has a comma in its path"),
    ],
)
def test_files_of_ones_own_that_cannot_be_meant_are_refused(tmp_path, capsys, text, says):
    folder = tmp_path / ("lab, 2024" if "comma" in says else "lab")
    folder.mkdir()
    (folder / "my_lab.py").write_text(text)
    (folder / "own.yaml").write_text(yaml.safe_dump({"base": LITTLE, "grid": {"seed": [0]}, "code": ["my_lab.py"]}))
    assert command_line.main([str(folder / "own.yaml"), "--reports", str(tmp_path / "reports")]) == 2
    assert says in capsys.readouterr().err


def test_reports_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = write_sweep(tmp_path, base=LITTLE, seed=[0])
    monkeypatch.setattr(local, "compute", lambda *_: (job for job in ()))
    assert command_line.main([str(file), "--ledgers-only", "--reports", "~/results"]) == 0
    assert (tmp_path / "results" / "little").is_dir()
    assert command_line.main([str(file), "--reports", "~nobody-of-this-name/x"]) == 2


def test_ledgers_only_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    file = str(write_sweep(tmp_path, base=LITTLE, seed=[0, 1]))
    command = [file, "--ledgers-only", "--reports", str(tmp_path)]
    monkeypatch.setattr(local, "compute", lambda jobs, *_: ((job, RuntimeError("no luck")) for job in jobs))
    assert command_line.main(command) == 1
    assert "0 of 2 ledgers are finished. The same command goes on." in capsys.readouterr().out
    assert command_line.main([*command, "--force"]) == 1
    assert "The same command without --force goes on." in capsys.readouterr().out
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(local, "compute", lambda jobs, *_: ((job, full) for job in jobs))
    assert command_line.main(command) == 1
    said = capsys.readouterr()
    assert "is full: free some space" in said.err and "FAILED" not in said.out


def test_a_stopped_sweep_whose_file_has_changed_says_how_to_go_on_without_numbers(tmp_path, monkeypatch, capsys):
    file = write_sweep(tmp_path)

    def stopped(**_):
        file.write_text("grid: {seed: [0")
        raise signals.StoppedBySignal(2)

    monkeypatch.setattr(command_line, "run_sweep", stopped)
    assert command_line.main([str(file), "--reports", str(tmp_path)]) == 130
    assert capsys.readouterr().out == "Stopped. The same command goes on from here.\n"


def test_what_is_not_installed_is_said_in_one_sentence(tmp_path, monkeypatch, capsys):
    def missing(**_):
        raise ModuleNotFoundError("No module named 'distributed'", name="distributed")

    monkeypatch.setattr(command_line, "run_sweep", missing)
    assert command_line.main([str(write_sweep(tmp_path)), "--reports", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: distributed is not installed here: ./run_all.sh installs it")


def test_finished_ledgers_of_a_network_whose_first_weights_round_otherwise_here(tmp_path):
    """Its trunk was trained by code, on another processor: the source is the same, the weights are not quite."""
    shutil.copy(ROOT / "notebooks/sweeps/frozen_lenets.py", tmp_path)
    path = next(Path(ROOT / "reports/low_budget").glob("*random*seed-0.jsonl"))
    header, _ = read_ledger(path)
    source, weights = header["registered"]["model"][:8], header["registered"]["model"][8:]
    expected = {"registered": header["registered"] | {"model": source + "0" * 8}}
    from al_utils.ledger import LedgerError, check_header

    with pytest.warns(UserWarning, match="began with other weights of model='lenet_on_"):
        check_header(path, header, expected, finished=True)
    with pytest.raises(LedgerError, match="began with other weights of model=.* another processor made them"):
        check_header(path, header, expected)
    with pytest.raises(LedgerError, match="was made with another model="):
        check_header(path, header, {"registered": header["registered"] | {"model": "0" * 8 + weights}}, finished=True)
