"""A user's images and labels (arrays, tensors, a torch Dataset) as uint8 `[N, C, H, W]` and int64 `[N]`."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from .. import sources
from .folders import DatasetError
from .pictures import MODES, pixels

MOST_CHANNELS = 16  # more are taken for a third dimension of the image
READ_TWICE = 8  # items of a torch Dataset that must be the same again


@dataclass(frozen=True)
class Arrays:
    """A data set as it is decoded: the last `n_valid` training images are its own validation images."""

    class_names: list[str]
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    n_valid: int = 0


def from_user(name: str, train: Any, test: Any, valid: Any = None, class_names: Any = None) -> Arrays:
    """The data set in these parts, each of them images and labels, or a torch Dataset of pairs of an image and a label.

    Images are uint8, or floats that 8 bits hold (0 to 1 in steps of 1/255): `[N, H, W]`, `[N, C, H, W]` or `[N, H, W, C]`.
    Labels are the classes from 0 on, `[N]`; -1 is unknown, in training images alone.

    Raises:
        DatasetError: another shape, type or value; the message has the part's name.
    """
    given = {"train": train, "test": test} | ({} if valid is None else {"valid": valid})
    parts = {part: _part(f"the {part} images of {name}", value) for part, value in given.items()}
    images, labels = (dict(zip(parts, both)) for both in zip(*parts.values()))
    for part in images:
        if images[part].shape[1:] != images["train"].shape[1:]:
            raise DatasetError(
                f"the {part} images of {name} have shape {_shape(images[part])}, but those for training "
                f"{_shape(images['train'])} (channels, height, width): make them alike."
            )
    n_classes = max(int(given.max()) for given in labels.values()) + 1
    known = np.unique(np.concatenate(list(labels.values())))
    known = known[known >= 0]
    if class_names is None and not hasattr(train, "classes") and len(known) < n_classes:
        raise DatasetError(
            f"the labels of {name} are {len(known)} different ones from {known[0]} to {known[-1]}, but must be 0 to C - 1 "
            "without a gap (-1 for unknown): number them anew, or give class_names."
        )
    names = _class_names(name, getattr(train, "classes", None) if class_names is None else class_names, n_classes)
    for part in labels:
        least = -1 if part == "train" else 0
        if odd := [label for label in labels[part].tolist() if not least <= label < len(names)]:
            raise DatasetError(
                f"the {part} labels of {name} hold {odd[0]}, but the {len(names)} classes are 0 to {len(names) - 1}"
                f"{' and -1 for unknown' if part == 'train' else ''}."
            )
    n_valid = len(labels.get("valid", ()))
    if n_valid:
        images["train"] = np.concatenate([images["train"], images["valid"]])
        labels["train"] = np.concatenate([labels["train"], labels["valid"]])
    return Arrays(names, images["train"], labels["train"], images["test"], labels["test"], n_valid)


def _part(what: str, given: Any) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(given, tuple | list) and len(given) == 2 and hasattr(given[0], "shape"):
        images, labels = (_array(value) for value in given)
    elif hasattr(given, "__getitem__") and hasattr(given, "__len__") and not isinstance(given, tuple | list | dict | str):
        images, labels = _read_dataset(what, given)
    else:
        raise DatasetError(
            f"{what} are of type {type(given).__name__}, but must be a pair (images, labels) or a torch Dataset."
        )
    images, labels = _images(what, images), _labels(what, labels)
    if not 0 < len(labels) == len(images):
        raise DatasetError(f"{what} are {len(images)}, with {len(labels)} labels: there must be one label an image, and some.")
    return images, labels


def _array(value) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _read_dataset(what: str, dataset) -> tuple[np.ndarray, np.ndarray]:
    """All items in order, into one array; the first are read twice, to see that they are the same."""

    def item(i):
        with sources.named(f"{what}: item {i}"):
            pair = dataset[i]
        if not isinstance(pair, tuple | list) or len(pair) < 2:
            raise DatasetError(f"{what}: item {i} is of type {type(pair).__name__}, but must be a pair (image, label).")
        image, label = pair[:2]
        label = np.asarray(_array(label))
        if label.size != 1 or label.dtype.kind not in "iu":
            raise DatasetError(
                f"{what}: the label of item {i} is {label.dtype} of shape {list(label.shape)}, but must be one whole number, "
                "the class from 0 on."
            )
        if hasattr(image, "convert") and image.mode not in MODES:
            raise DatasetError(f"{what}: item {i} is an image of mode {image.mode}: convert it to 8 bits a channel.")
        image = pixels(image) if hasattr(image, "convert") else _array(image)  # a PIL image, or a tensor
        return image, int(label.item())

    if not len(dataset):
        raise DatasetError(f"{what} are an empty Dataset: at least one image is needed.")
    first = item(0)[0]
    images, labels = np.empty((len(dataset), *first.shape), first.dtype), np.empty(len(dataset), np.int64)
    for i in range(len(dataset)):
        image, labels[i] = item(i)
        if image.shape != first.shape:
            raise DatasetError(
                f"{what}: item {i} has shape {list(image.shape)}, the first {list(first.shape)}. Resize them in the Dataset."
            )
        images[i] = image
    for i in range(min(READ_TWICE, len(dataset))):
        image, label = item(i)
        if label != labels[i] or not np.array_equal(image, images[i]):
            raise DatasetError(
                f"{what}: item {i} is another one when it is read again. Take random transforms out of the Dataset; "
                "augmentation belongs into training."
            )
    return images, labels


def _images(what: str, images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = np.moveaxis(images, 3, 1)
    if images.ndim != 4 or not 0 < images.shape[1] <= MOST_CHANNELS:
        raise DatasetError(
            f"{what} have shape {list(images.shape)}, but must be [N, H, W], [N, C, H, W] or [N, H, W, C] with at most "
            f"{MOST_CHANNELS} channels."
        )
    if images.dtype.kind == "f":
        scaled = images * 255
        whole = np.round(scaled)
        if not np.isfinite(images).all() or np.abs(scaled - whole).max() > 0.01 or whole.min() < 0 or whole.max() > 255:
            raise DatasetError(
                f"{what} are {images.dtype} from {images.min():g} to {images.max():g}, which 8 bits cannot hold: give uint8, "
                "or floats from 0 to 1 in steps of 1/255 (not standardised: that is done later)."
            )
        images = whole
    elif images.dtype.kind not in "iu" or (images.size and (images.min() < 0 or images.max() > 255)):
        raise DatasetError(f"{what} are of type {images.dtype}, but must be uint8, or whole numbers from 0 to 255.")
    return np.array(images, np.uint8, order="C")  # a copy: its owner may change the other


def _labels(what: str, labels: np.ndarray) -> np.ndarray:
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels  # as MedMNIST has them
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DatasetError(
            f"{what} have labels {labels.dtype} of shape {list(labels.shape)}, but must have one whole number each, "
            "the class from 0 on."
        )
    return labels.astype(np.int64)


def _class_names(name: str, given, n_classes: int) -> list[str]:
    try:
        names = [str(c) for c in (range(n_classes) if given is None else given)]
    except TypeError:
        raise DatasetError(f"the class names of {name} are {given!r}, but must be a list of texts.") from None
    if len(names) < 2 or len(set(names)) < len(names):
        raise DatasetError(f"the class names of {name} are {', '.join(names)}: there must be two or more different ones.")
    return names


def _shape(images: np.ndarray) -> str:
    return "x".join(str(side) for side in images.shape[1:])


def remarks(arrays: Arrays) -> list[str]:
    """What one should know of a data set before one believes results on it."""
    absent = [name for c, name in enumerate(arrays.class_names) if not (arrays.test_labels == c).any()]
    known = {_digest(image) for image in arrays.train_images}
    twice = sum(_digest(image) in known for image in arrays.test_images)
    said = [f"{twice:,} test images are training images too"] if twice else []
    if arrays.train_images.max() <= 1:
        said.append("no value is above 1, of 255: are they from 0 to 1, and should be floats?")
    return [*said, f"no test image of {', '.join(absent)}"] if absent else said


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.data, digest_size=16).digest()
