"""Folders of images and data sets that cannot be used: each refused by one sentence with what is wrong and the way out."""

import os
import re
import socket
import time

import numpy as np
import pytest
import torch
from little_sweeps import BASE, run, write_sweep
from PIL import Image

from al_utils.data import origins
from al_utils.datasets import DatasetError, load_dataset

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
