"""What a stranger's folder, file or connection cannot do."""

import http.client
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import ROOT, wait_for
from little_sweeps import checkout, descendants, finish, gone, run_all

from al_utils.config import ExperimentConfig, run_name
from al_utils.datasets import DatasetError, load_dataset
from al_utils.sweep.page import render

# JupyterLab


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """`run_all.sh lab` and its port, started as a user does but without a browser and apart from the user's settings."""
    folder = tmp_path_factory.mktemp("lab")
    apart = {f"JUPYTER_{kind}_DIR": str(folder / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    root = ["--allow-root"] if os.geteuid() == 0 else []
    project = checkout(folder / "project", real=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER_")} | apart
    process = run_all(project, "lab", "--no-browser", f"--port={port}", *root, env=environment)
    try:
        wait_for(lambda: list((folder / "RUNTIME").glob("jpserver-*.json")) or process.poll() is not None, seconds=120)
        assert process.poll() is None, process.stdout.read()
        server = json.loads(next((folder / "RUNTIME").glob("jpserver-*.json")).read_text())
        wait_for(lambda: ask(port, f"/api?token={server['token']}") == 200)
        yield process, port, server
    finally:
        children = descendants(process) if process.poll() is None else set()
        process.send_signal(signal.SIGTERM)
        finish(process)
        assert gone(children)


def ask(port, path, **headers) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    except ConnectionError:
        return 0
    finally:
        connection.close()


def test_the_lab_listens_on_this_machine_only(lab):
    process, port, _ = lab
    listening = {c.laddr for c in psutil.Process(process.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert {address.ip for address in listening} == {"127.0.0.1"} and port in {address.port for address in listening}


def test_the_lab_wants_its_token(lab):
    _, port, server = lab
    assert len(server["token"]) >= 32 and not server["password"]
    for path in ("/api/contents", "/api/kernels", "/api/terminals"):
        assert ask(port, path) == 403 and ask(port, f"{path}?token=wrong") == 403
        assert ask(port, path, Authorization=f"token {server['token']}") == 200
    assert ask(port, "/api/contents", Host="stranger.example", Authorization=f"token {server['token']}") == 403


def test_the_lab_opens_on_the_notebooks(lab):
    _, port, server = lab
    url = f"http://127.0.0.1:{port}/?token={server['token']}"
    with urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(url, timeout=60) as answer:
        assert answer.url.split("?")[0].endswith("/lab/tree/notebooks")


# Names in a user's folder

EVIL = "<img src=x onerror=alert(1)>"


def test_names_of_classes_files_and_folders_are_text_in_every_page(image_folder, tmp_path):
    """A tiny experiment and its report on a folder whose names are HTML, formulas and controls."""
    dollars = "$\\frac{<b>bold</b>$"
    folder = image_folder({EVIL: 30, dollars: 30}, folder=tmp_path / "<script>alert(2)<")
    (folder / EVIL / "0.png").rename(folder / EVIL / '"><svg onload=alert(3)>.png')
    ledger = tmp_path / "reports" / "run.jsonl"
    ledger.parent.mkdir()
    parameters = dict(dataset=f"folder:{folder}", protocol="tuned", n_initial=6, n_query=3, n_rounds=1, n_valid=6, epochs=1)
    page = _page("02_experiment", tmp_path, parameters | dict(ledger=str(ledger), device="cpu"))
    page += _page("05_report", tmp_path, dict(ledgers=str(ledger.parent)))
    assert "&lt;img src=x onerror=alert(1)&gt;" in page and "&lt;b&gt;bold" in page
    assert "<img src=x" not in page and "<script>alert" not in page and "<b>bold" not in page and "<svg onload" not in page
    assert not re.search(r"<[^<>]*\son(error|load)=", page)


def _page(notebook: str, folder: Path, parameters: dict) -> str:
    out = folder / f"{notebook}.ipynb"
    arguments = [
        word for name, value in parameters.items() for word in ("-r" if type(value) is str else "-p", name, str(value))
    ]
    command = [sys.executable, "-m", "papermill", f"notebooks/{notebook}.ipynb", str(out), *arguments]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return render(out)


@pytest.mark.parametrize("name", ["/etc/../..", "../../x", "a/b c\n<i>", "/", "..", "a\\1\\g<0>\\d", "x" * 20 + "\0", "~root"])
def test_a_run_is_written_into_its_folder_whatever_data_set_and_strategy_are_called(name, tmp_path):
    config = ExperimentConfig(dataset="folder:" + name, strategy=name)
    for run in (config.name, run_name(config, also=("lr",))):
        assert (
            re.fullmatch(r"[\w-][\w.-]*", run, re.ASCII) and (tmp_path / f"{run}.jsonl").resolve().parent == tmp_path.resolve()
        )


# Pickles: a file that, when unpickled, runs a command


class Payload:
    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_the_payload_works(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def test_pickles_in_the_place_of_data_are_not_unpickled(tmp_path, monkeypatch):
    """torchvision unpickles CIFAR-10, but only the published files, which it knows by their MD5; MNIST's are plain bytes."""
    import torchvision

    payload, trace = pickle.dumps(Payload(tmp_path / "ran")), tmp_path / "ran"
    batches, processed = tmp_path / "cifar-10-batches-py", tmp_path / "MNIST" / "processed"
    for folder in (batches, processed):
        folder.mkdir(parents=True)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        (batches / name).write_bytes(payload)
    for name in ("training.pt", "test.pt"):  # what torchvision of 2020 wrote, and still reads
        (processed / name).write_bytes(payload)
    monkeypatch.setenv("AL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("AL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "http://no.invalid/cifar-10-python.tar.gz")
    for name in ("cifar10", "mnist"):
        with pytest.raises(DatasetError, match="can neither be read from"):
            load_dataset(name)
    assert not trace.exists()


def test_pickles_in_the_cache_are_not_unpickled(tmp_path, monkeypatch):
    monkeypatch.setenv("AL_CACHE_DIR", str(tmp_path))
    load_dataset("mnist5k")
    np.save(tmp_path / "mnist5k" / "train_labels.npy", np.array([Payload(tmp_path / "ran")], dtype=object))
    assert load_dataset("mnist5k").checksum == "1adea2bf696df09f"  # made again
    assert not (tmp_path / "ran").exists()


def test_no_module_unpickles():
    for path in (ROOT / "al_utils").rglob("*.py"):
        code = path.read_text(encoding="utf-8").replace(".eval()", "")
        code = re.sub(r"torch\.load\([^()]*, weights_only=True\)", "", code)  # which builds tensors and plain values alone
        assert not re.search(r"\b(pickle|joblib|torch\.load|allow_pickle|eval\(|exec\()", code), path
