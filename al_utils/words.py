"""What things are called in tables, figures and sentences."""

import re
from collections.abc import Iterable
from pathlib import PurePath

DATASET_LABELS = {"mnist5k": "MNIST-5k", "mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR-10",
                  "cifar100": "CIFAR-100", "svhn": "SVHN"}  # fmt: skip
_LABELS = DATASET_LABELS | dict(
    lenet="LeNet", resnet18="ResNet-18", random="random", max_entropy="max. entropy", bald="BALD",
    variation_ratios="variation ratios", mean_std="mean std. deviation", least_confidence="least confidence",
    bald_flipped="BALD, sign flipped", batch_bald="BatchBALD", power_bald="PowerBALD", softmax_bald="SoftmaxBALD", epig="EPIG",
    core_set="Core-Set", lcmd="LCMD", badge="BADGE", typiclust="TypiClust", prob_cover="ProbCover",
    none="no noise", gaussian="Gaussian noise", salt_and_pepper="salt-and-pepper noise",
)  # fmt: skip


def label(name: str) -> str:
    """How a model, strategy or noise is written in tables and figures; a name the paper does not have stays itself."""
    return _LABELS.get(name, name)


def is_cifar10_folder(dataset: str) -> bool:
    return dataset.startswith("folder:") and bool(re.match(r"cifar-?10(?!\d)", PurePath(dataset[7:]).name.lower()))


_told_apart: dict[str, str] = {}  # labels of data sets that would share one


def tell_apart(datasets: Iterable[str]) -> None:
    """From now on, have data sets that share a label called by as much of their paths as tells them apart."""
    sharing: dict[str, dict[str, tuple[str, ...]]] = {}
    for dataset in set(datasets):
        sharing.setdefault(_dataset_label(dataset), {})[dataset] = PurePath(dataset.partition(":")[2] or dataset).parts
    for paths in sharing.values():
        for depth in range(1, 1 + max(map(len, paths.values()))):
            ends = {dataset: "/".join(parts[-depth:]).removeprefix("//") for dataset, parts in paths.items()}
            if len(set(ends.values())) == len(ends) > 1:
                _told_apart.update(ends)
                break


def dataset_label(dataset: str) -> str:
    """How a data set is written in tables and figures; of a `folder:PATH` the folder's name alone, if that tells it apart."""
    return _told_apart.get(dataset) or _dataset_label(dataset)


def _dataset_label(dataset: str) -> str:
    if is_cifar10_folder(dataset):
        return "CIFAR-10 (JPEG)"
    if dataset.startswith("npz:"):
        return PurePath(dataset.removeprefix("npz:")).stem or "own images"
    return DATASET_LABELS.get(dataset) or PurePath(dataset.removeprefix("folder:")).name or "own images"


def capitalised(text: str) -> str:
    """The text with its first letter large, and the others as they are."""
    return text[:1].upper() + text[1:]


def and_list(words, word: str = "and") -> str:
    """`a, b and c`."""
    *first, last = [str(w) for w in words] or [""]
    return f"{', '.join(first)} {word} {last}" if first else last
