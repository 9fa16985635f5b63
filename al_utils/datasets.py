"""Data sets as uint8 tensors: of packages, of a folder or file, or registered by a user.

A notebook adds its own with one call; its name is then a valid `dataset`:

    al.datasets.register("cells", train=(images, labels), test=(test_images, test_labels))

or, to have it made where it is first needed, with a function that returns a dictionary of the same arguments:

    @al.datasets.register
    def cells():
        return dict(train=..., test=..., valid=..., class_names=["healthy", "ill"])
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import sources
from .data import arrays, cache, origins
from .data.arrays import Arrays
from .data.folders import DatasetError
from .data.origins import NAMES
from .options import check_choice
from .words import dataset_label

registry: dict[str, Callable[[], dict]] = {}
_made: dict[str, tuple[Callable[[], dict], "Dataset"]] = {}  # registered data sets that were asked for, in this process
_said: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Dataset:
    """A data set in memory: images uint8 `[N, C, H, W]`, labels int64 `[N]`, -1 where the class is unknown.

    `mean` and `std` hold one number a channel, of the training pixels scaled to [0, 1]; `checksum` is of all arrays. The
    last `n_valid` training images are the data set's own validation images, where it has some.
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
    n_valid: int = 0


def register(name: str | Callable[[], dict], train: Any = None, test: Any = None, valid: Any = None, class_names=None):
    """Make a data set known under a name, or, as a decorator, a function that returns a dictionary of these arguments.

    Args:
        train, test, valid: pairs of images and labels (arrays or tensors), or torch Datasets; see `arrays.from_user`.
            Without `valid` the validation images are taken from the training images.
        class_names: by default those of the torch Dataset, else 0, 1, …
    """
    if callable(name):
        registry[_new_name(name.__name__)] = name
        return name
    given = dict(train=train, test=test, valid=valid, class_names=class_names)
    registry[_new_name(name)] = lambda: given
    return None


def names() -> list[str]:
    """The known data sets."""
    return [*NAMES, *registry]


def check_name(name: str) -> None:
    """Raise a `ValueError` unless there may be a data set of this name."""
    if not re.fullmatch(r"(folder|npz):.+", name, re.DOTALL):
        check_choice("dataset", name, names())


def load_dataset(name: str, image_size: int = 0) -> Dataset:
    """The data set of this name (see `names`), decoded on first use and memory-mapped from the cache afterwards.

    Args:
        image_size: of a folder of images: each is scaled and cropped to a square of so many pixels; 0 leaves them.

    Raises:
        DatasetError: it is not there, cannot be downloaded, or cannot be read.
    """
    check_name(name)
    if image_size and not name.startswith("folder:"):
        raise DatasetError(f"image_size={image_size} is for folders of images, not for {name!r}, whose images have one size.")
    if name in registry:
        return _registered(name)
    origin = origins.find(name, image_size)
    stored = cache.load(origin.key)
    if stored is None:
        made, said = origin.make()
        cache.store(origin.key, _meta(made) | {"said": said}, _by_name(made))
        stored = cache.load(origin.key)
    if stored is None:
        raise DatasetError(f"{cache.folder() / origin.key} is not what was written there a moment ago. Check the disk.")
    meta, parts = stored
    _say(name, origin.passed_over, *meta.pop("said"))
    return _dataset(name, meta, parts)


def _new_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name in NAMES:
        raise ValueError(
            f"a data set cannot be called {name!r}: use letters, digits, dots and dashes, and none of {', '.join(NAMES)}."
        )
    return name


def _registered(name: str) -> Dataset:
    function = registry[name]
    if name in _made and _made[name][0] is function:
        return _made[name][1]
    with sources.named(f"the data set {name!r}"):
        given = function()
    if not isinstance(given, dict) or not {"train", "test"} <= set(given) <= {"train", "test", "valid", "class_names"}:
        what = f"the keys {', '.join(map(str, given))}" if isinstance(given, dict) else f"type {type(given).__name__}"
        raise DatasetError(
            f"the data set {name!r} is a function that returned {what}, but must return a dictionary with train and test, and "
            "perhaps valid and class_names."
        )
    made = arrays.from_user(repr(name), **given)
    _say(name, *arrays.remarks(made))
    _made[name] = function, _dataset(name, _meta(made), _by_name(made))
    return _made[name][1]


def _dataset(name: str, meta: dict, parts: dict[str, np.ndarray]) -> Dataset:
    tensors: dict[str, Any] = {part: torch.from_numpy(array) for part, array in parts.items()}
    return Dataset(name=name, label=dataset_label(name), **meta, **tensors)


def _meta(made: Arrays) -> dict:
    n_train = len(made.train_labels) - made.n_valid
    mean_C, std_C = _moments(made.train_images[:n_train])
    return dict(
        class_names=made.class_names, n_valid=made.n_valid, checksum=cache.checksum(_by_name(made), made.n_valid),
        mean=(mean_C / 255).tolist(), std=(std_C / 255).clip(1e-6).tolist(),
    )  # fmt: skip


def _by_name(made: Arrays) -> dict[str, np.ndarray]:
    return {part: getattr(made, part) for part in cache.ARRAYS}


def _say(name: str, *remarks: str) -> None:
    """One line of output, once in a process, on what was done to the images and what was not read."""
    line = f"{dataset_label(name)}: {'; '.join(remark for remark in remarks if remark)}."
    if any(remarks) and (name, line) not in _said:
        _said.add((name, line))
        print(line)


def _moments(images_N_C_H_W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, from counts: as float64 the pixels would need eight times the memory."""
    counts_C_256 = np.zeros((images_N_C_H_W.shape[1], 256))
    size = max(1, 1_000_000 // images_N_C_H_W[0, 0].size)  # `bincount` needs eight bytes a pixel
    for start in range(0, len(images_N_C_H_W), size):
        for channel, counts_256 in zip(images_N_C_H_W[start : start + size].swapaxes(0, 1), counts_C_256):
            counts_256 += np.bincount(channel.ravel(), minlength=256)
    share_C_256, value_256 = counts_C_256 / counts_C_256.sum(1, keepdims=True), np.arange(256)
    mean_C = share_C_256 @ value_256
    return mean_C, np.sqrt((share_C_256 * (value_256 - mean_C[:, None]) ** 2).sum(1))
