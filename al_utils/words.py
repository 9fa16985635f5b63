"""What things are called in tables, figures and sentences."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath

DATASET_LABELS = {"mnist5k": "MNIST-5k", "mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR-10",
                  "cifar100": "CIFAR-100", "svhn": "SVHN"}  # fmt: skip
_LABELS = DATASET_LABELS | dict(
    lenet="LeNet", resnet18="ResNet-18", random="random", max_entropy="max. entropy", bald="BALD",
    variation_ratios="variation ratios", mean_std="mean std. deviation", least_confidence="least confidence",
    bald_flipped="MC-dropout BALD, sign flipped", batch_bald="BatchBALD", power_bald="PowerBALD", softmax_bald="SoftmaxBALD",
    epig="EPIG",
    core_set="Core-Set", lcmd="LCMD", badge="BADGE", typiclust="TypiClust", prob_cover="ProbCover",
    none="no noise", gaussian="Gaussian noise", salt_and_pepper="salt-and-pepper noise",
)  # fmt: skip


def label(name: str) -> str:
    """How a model, strategy or noise is written in tables and figures; a name the paper does not have stays itself."""
    return _LABELS.get(name, name)


def is_cifar10_folder(dataset: str) -> bool:
    return dataset.startswith("folder:") and bool(re.match(r"cifar-?10(?!\d)", PurePath(dataset[7:]).name.lower()))


def ends(paths: Sequence[PurePath]) -> list[str]:
    """The ends of paths, as short as all of them can be and yet tell them apart; of equal paths the whole."""
    for depth in range(1, 1 + max(len(path.parts) for path in paths)):
        found = ["/".join(path.parts[-depth:]).removeprefix("/") for path in paths]
        if len(set(found)) == len(found):
            return found
    return list(map(str, paths))


_told_apart: dict[str, str] = {}  # labels of data sets that would share one


def tell_apart(datasets: Iterable[str]) -> None:
    """From now on, have data sets that share a label called by as much of their paths as tells them apart."""
    sharing: dict[str, dict[str, PurePath]] = {}
    for dataset in set(datasets):
        sharing.setdefault(_dataset_label(dataset), {})[dataset] = PurePath(dataset.partition(":")[2] or dataset)
    for paths in sharing.values():
        if len(set(paths.values())) == len(paths) > 1:
            _told_apart.update(dict(zip(paths, ends(list(paths.values())))))


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
