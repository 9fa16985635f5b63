"""Mistakes: each refused before any work, by one sentence with the value, what is allowed, and the way out."""

import json
import os
import re
import socket
import time

import nbformat
import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, tiny
from little_sweeps import BASE, experiment, run, stamps, write_sweep
from PIL import Image

from al_utils import run_experiment
from al_utils.data import origins
from al_utils.datasets import DatasetError, load_dataset
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


# A user's own images


def empty(folder):
    pass


def one_class(folder):
    save(folder / "cat", 10)


def no_images_in_a_class(folder):
    save(folder / "cat", 10)
    save(folder / "dog", 10)
    (folder / "owl").mkdir()
    (folder / "owl" / "1.txt").touch()


def unread_images(folder):
    no_images_in_a_class(folder)
    (folder / "owl" / "1.heic").touch()


def train_alone(folder):
    for part in ("train", "validation"):
        save(folder / part / "cat", 10)
        save(folder / part / "dog", 10)


def other_classes_in_the_test(folder):
    for path in ("train/cat", "train/dog", "test/cat", "test/owl"):
        save(folder / path, 3)


def too_few(folder):
    save(folder / "cat", 1)
    save(folder / "dog", 1)


def no_utf8(folder):
    save(folder / "cat", 10)
    save(folder / os.fsdecode(b"dog\xff"), 10)


def with_a_bad(image: bytes, name="3.png"):
    def make(folder):
        save(folder / "cat", 10)
        save(folder / "dog", 10)
        (folder / "cat" / "3.png").unlink()
        (folder / "cat" / name).write_bytes(image)

    return make


def encoded(image: Image.Image, kind="PNG") -> bytes:
    import io

    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def noise(side=20) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8))


def save(folder, n):
    folder.mkdir(parents=True)
    for i in range(n):
        noise().save(folder / f"{i}.png")


BOMB = encoded(Image.new("1", (40_000, 40_000)))  # 1.6 thousand million pixels
LARGE = encoded(Image.new("1", (5_000, 5_000)))  # Pillow itself would take it
FOLDERS = {
    "empty": (empty, r"images has 0 folders with images, but at least 2 classes are needed. Put the images of each class"),
    "one class": (one_class, r"images has 1 folders with images, but at least 2 classes"),
    "a class without images": (no_images_in_a_class, r"owl has no images \(.*\.png.*\)\. Convert what is in it, or remove it"),
    "a class of unread images": (unread_images, r"owl/1\.heic is an image of a kind that is not read \(\.heic\)\. Convert it"),
    "no test": (train_alone, r"images has train/ and validation/ alone\. Give it train/<class>/ and test/<class>/, or only"),
    "other test": (other_classes_in_the_test, "must have the same classes, but differ in dog, owl"),
    "too few": (too_few, "images has one image a class, but at least 2 are needed to set one aside as a test"),
    "no utf-8": (no_utf8, r"dog\\udcff/0\.png' has a name that is not UTF-8: rename it"),
    "no image": (with_a_bad(b"hello"), r"cat/3\.png cannot be used \(cannot identify image file.*\)\. Repair or remove it"),
    "no bytes": (with_a_bad(b""), r"cat/3\.png cannot be used"),
    "truncated png": (with_a_bad(encoded(noise())[:300]), r"cat/3\.png cannot be used \(.*truncated.*\)\. Repair or rem"),
    "truncated jpeg": (with_a_bad(encoded(noise(), "JPEG")[:500], "3.jpg"), r"cat/3\.jpg cannot be used \(.*truncated"),
    "another size": (with_a_bad(encoded(noise(21))), r"cat/3\.png .*21x21 pixels, but the first image has 20x20: resize all"),
    "16 bits": (with_a_bad(encoded(Image.new("I;16", (20, 20)))), r"cat/3\.png .*of the kind I;16, not of 8 bits: convert it"),
    "bomb": (with_a_bad(BOMB), r"cat/3\.png cannot be used \(.*decompression bomb"),
    "large": (with_a_bad(LARGE), r"cat/3\.png .*5000x5000 pixels are more than 16,777,216: scale it down"),
}  # fmt: skip


@pytest.mark.parametrize("make, says", FOLDERS.values(), ids=FOLDERS)
def test_folders_of_images(tmp_path, make, says):
    (tmp_path / "images").mkdir()
    make(tmp_path / "images")
    with pytest.raises(DatasetError, match=says) as refused:
        load_dataset(f"folder:{tmp_path}/images")
    assert "\n" not in str(refused.value)
    status, said = run(tmp_path, write_sweep(tmp_path, base=BASE | {"dataset": f"folder:{tmp_path}/images"}))
    assert status == 2 and f"error: {refused.value}\n" in said


def test_a_bomb_is_small_and_costs_nothing(tmp_path):
    with_a_bad(BOMB)(tmp_path / "images")
    assert (tmp_path / "images" / "cat" / "3.png").stat().st_size < 300_000
    began = time.process_time()
    with pytest.raises(DatasetError):
        load_dataset(f"folder:{tmp_path}/images")
    assert time.process_time() - began < 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_class_that_must_not_be_read(image_folder):
    folder = image_folder({"cat": 10, "dog": 10, "owl": 10})
    (folder / "owl").chmod(0)
    with pytest.raises(DatasetError, match="owl cannot be read .Permission denied.: change its permissions, or remove it"):
        load_dataset(f"folder:{folder}")
    (folder / "owl").chmod(0o700)


def test_what_systems_leave_in_folders_is_no_class(image_folder):
    folder = image_folder({"cat": 10, "dog": 10, ".ipynb_checkpoints": 3, "__MACOSX": 3})
    assert load_dataset(f"folder:{folder}").class_names == ["cat", "dog"]


# Data sets


def test_a_data_set_that_is_neither_there_nor_to_be_had(tmp_path, monkeypatch):
    """No such host; a server that takes the connection and says nothing."""
    import torchvision

    monkeypatch.setenv("AL_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("AL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(origins, "DOWNLOAD_TIMEOUT", 1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for url in ("http://no.invalid/", f"http://127.0.0.1:{mute.getsockname()[1]}/"):
            monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [url])
            monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", url + "cifar-10-python.tar.gz")
            for name, label in (("mnist", "MNIST"), ("cifar10", "CIFAR-10")):
                began = time.monotonic()
                with pytest.raises(
                    DatasetError, match=f"{label} can neither be read from .* nor downloaded .*AL_DATA_DIR.*mnist5k"
                ):
                    load_dataset(name)
                assert time.monotonic() - began < 10
    assert socket.getdefaulttimeout() is None


def test_damaged_files_of_a_data_set(tmp_path, monkeypatch):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 28, 0, 0, 0, 28]) + b"cut off")
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 9]) + b"cut")
    monkeypatch.setenv("AL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("AL_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(DatasetError, match=f"MNIST can neither be read from {re.escape(str(tmp_path))} .* damaged there"):
        load_dataset("mnist")


def test_a_damaged_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AL_CACHE_DIR", str(tmp_path))
    assert isinstance(load_dataset("mnist5k").train_images, torch.Tensor)
    array = tmp_path / "mnist5k" / "train_images.npy"
    array.write_bytes(array.read_bytes()[:100_000])
    assert load_dataset("mnist5k").checksum == "1adea2bf696df09f"  # made again


def test_yaml_that_the_project_ships_has_no_number_that_is_text():
    for path in (ROOT / "notebooks" / "sweeps").glob("*.yaml"):
        assert not re.search(r"'[-+0-9.]+e[-+0-9]+'", repr(yaml.safe_load(path.read_text()))), path
