"""Mistakes: each refused before any work, by one sentence with the value, what is allowed, and the way out."""

import json
import re
import socket
import time

import nbformat
import pytest
import yaml
from conftest import ROOT, tiny
from little_sweeps import experiment, run, stamps, write_sweep

from al_utils import run_experiment
from al_utils.sweep.cluster import SweepError, connect

NO_CUDA = "cuda:99"  # also on a machine with some


# Parameters: the same mistakes in Python, in a sweep file on the command line, and as papermill injects them

PARAMETERS = [
    (dict(n_round=3), "unknown parameter 'n_round'; did you mean 'n_rounds'? Known: dataset, model, strategy"),
    (dict(lr="1e-3"), "lr='1e-3' is of type str, but must be float. YAML reads 1e-3 as text: write 0.001 or 1.0e-3."),
    (dict(epochs=2.5), "epochs=2.5 is of type float, but must be int."),
    (dict(seed="0"), "seed='0' is of type str, but must be int."),
    (dict(n_initial=0), "n_initial=0 is too small: it must be at least 1."),
    (dict(n_query=-5), "n_query=-5 is too small: it must be at least 0."),
    (dict(n_valid=-2), "n_valid=-2 is too small: it must be at least 0."),
    (dict(image_size=32), "image_size=32 is for folders of images, not for 'mnist5k', whose images have one size."),
    (dict(batch_size=0), "batch_size=0 is too small: it must be at least 1."),
    (dict(epochs=-3), "epochs=-3 is too small: it must be at least 1."),
    (dict(model="resnet"), "model='resnet' is not known; did you mean 'resnet18'? Allowed: lenet, resnet18."),
    (dict(noise="salt"), "noise='salt' is not known. Allowed: none, gaussian, salt_and_pepper."),
    (dict(dataset="minst"), "dataset='minst' is not known; did you mean 'mnist'? Allowed: mnist5k, mnist, fashion_mnist"),
    (dict(strategy="bald2"), "strategy='bald2' is not known; did you mean 'bald'? Allowed: random, max_entropy, bald"),
    (dict(n_rounds=1_000), "5,020 labels (n_initial=20 + n_rounds=1000 x n_query=5) and n_valid=20 validation images are more "
                           "than the 4,000 training images of MNIST-5k. Lower n_rounds, n_query, n_initial or n_valid."),
    (dict(n_rounds=10**12), "more than the 4,000 training images"),  # within a moment
    (dict(n_valid=3_990), "n_valid=3990 validation images are more than the 4,000 training images"),
    (dict(n_initial=3_001, n_valid=991, n_rounds=0),
     "the smallest class of MNIST-5k has 400. Lower n_initial or n_valid, or set initial_draw='random'."),
    (dict(mc_samples=10**9, strategy="bald"), "of memory, "),
    (dict(last_batch="keep", model="resnet18", n_initial=64, n_query=1), "Use last_batch='balance'."),
    (dict(dataset="folder:/no/where"), "there is no folder /no/where. Give the path of a folder with <class>/<image> in it."),
    (dict(device=NO_CUDA), "CUDA devices here. Use device='cpu', or check the driver, for CUDA with nvidia-smi."),
]  # fmt: skip
IDS = [json.dumps(wrong) for wrong, _ in PARAMETERS]
BASIS = dict(protocol="tuned", n_initial=20, n_query=5, n_rounds=2, n_valid=20, epochs=1)


@pytest.mark.parametrize("wrong, says", PARAMETERS, ids=IDS)
def test_in_python(wrong, says, tmp_path):
    with pytest.raises((ValueError, TypeError)) as refused:
        next(run_experiment(tiny(**wrong), tmp_path / "run.jsonl"))
    assert says in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "run.jsonl").exists()


@pytest.mark.parametrize("wrong, says", PARAMETERS, ids=IDS)
def test_on_the_command_line(wrong, says, tmp_path):
    experiment(tmp_path)
    status, said = run(tmp_path, write_sweep(tmp_path, base=BASIS | {"seed": 0} | wrong, protocol=["tuned"]))
    error = said.splitlines()[-1]
    assert status == 2 and error.startswith("error: ") and says in error and "Traceback" not in said
    assert set(stamps(tmp_path)) == {"experiment.ipynb", "report.ipynb"}
    assert not list(tmp_path.rglob("*.jsonl"))


@pytest.mark.parametrize("wrong, says", [*PARAMETERS, (dict(ledger=3), "ledger=3 is of type int, but must be str.")],
                         ids=[*IDS, "ledger"])  # fmt: skip
def test_as_papermill_injects_them(wrong, says, monkeypatch):
    """The cells of the notebook up to the one that trains; `test_notebooks.py` has papermill itself do the same."""
    monkeypatch.chdir(ROOT)
    cells = [c.source for c in nbformat.read(ROOT / "notebooks" / "02_experiment.ipynb", 4).cells if c.cell_type == "code"]
    cells.insert(1, "# Parameters\n" + "\n".join(f"{name} = {value!r}" for name, value in (BASIS | wrong).items()))
    ran = {"In": [""]}
    with pytest.raises((ValueError, TypeError)) as refused:
        for cell in cells[:4]:
            ran["In"].append(cell)
            exec(cell, ran)
    assert says in str(refused.value) and "\n" not in str(refused.value)


# The command line


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["quik"], "sweep='quik' is not known; did you mean 'quick'? Allowed: as_released, low_budget, many_seeds, matched"),
        (["none.yaml"], "there is no sweep file none.yaml. Give its path, or a name in notebooks/sweeps."),
        (["al_utils/no.yaml/sweep.yml"], "there is no sweep file"),
        (["smoke", "--workers", "0"], "--workers=0 must be above 0"),
        (["smoke", "--timeout", "nan"], "--timeout=nan must be above 0"),
    ],
)
def test_the_command_line_refuses_in_one_line(tmp_path, arguments, message):
    status, said = run(tmp_path, *arguments)
    assert status == 2 and said.startswith("error: ") and message in said and said.count("\n") == 1
    assert not (tmp_path / "reports").exists()


def test_an_unknown_option_and_a_word_for_a_number(tmp_path, capsys):
    for arguments in (["smoke", "--worker", "many"], ["smoke", "--wrokers", "2"]):
        with pytest.raises(SystemExit, match="2"):
            run(tmp_path, *arguments)


def test_sweep_files_that_cannot_be_read(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "latin.yaml").write_bytes("base: {dataset: 'folder:Bär'}".encode("latin-1"))
    (tmp_path / "...yaml").write_text("grid: {seed: [0]}")
    says = {"folder.yaml": "cannot be read: Is a directory", "latin.yaml": "is not YAML", "...yaml": "not begin with a dot"}
    for name, message in says.items():
        status, said = run(tmp_path, tmp_path / name)
        assert status == 2 and message in said and said.count("\n") == 1


def test_results_that_cannot_be_written_anywhere(tmp_path):
    (tmp_path / "reports").touch()
    status, said = run(tmp_path, "smoke")
    assert status == 2 and "cannot be written to: Not a directory. Choose another folder with --reports DIR." in said


def test_a_scheduler_that_does_not_answer(monkeypatch):
    """Nobody listens; somebody does and says nothing; the address is none. The limit is stated and kept."""
    monkeypatch.setattr("al_utils.sweep.cluster.CONNECT_TIMEOUT", 2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for address in ("tcp://127.0.0.1:9", f"tcp://127.0.0.1:{mute.getsockname()[1]}", "nowhere", "tcp://x:y", ""):
            began = time.monotonic()
            with pytest.raises(SweepError, match=f"no Dask scheduler answers at {address} within 2 s .*Start one with"):
                with connect(1, address):
                    pass
            assert time.monotonic() - began < 8


def test_yaml_that_the_project_ships_has_no_number_that_is_text():
    for path in (ROOT / "notebooks" / "sweeps").glob("*.yaml"):
        assert not re.search(r"'[-+0-9.]+e[-+0-9]+'", repr(yaml.safe_load(path.read_text()))), path
