"""Which training images are labelled first, which are for validation, and which are the pool that is queried."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .config import ExperimentConfig
from .datasets import Dataset
from .randomness import generator
from .words import label


@dataclass(frozen=True)
class Split:
    """Indices into the training images: the first labels, the validation images, and the pool (all the others)."""

    initial: Tensor
    valid: Tensor
    pool: Tensor


def split_dataset(config: ExperimentConfig, dataset: Dataset) -> tuple[Dataset, Split]:
    """The split of a configuration, and the data set with as many copies of the pool as it asks for.

    Raises:
        ValueError: see `check_fits`.
    """
    check_fits(config, dataset)
    c = config
    drawn = split(
        dataset.train_labels, c.n_initial, c.n_valid, c.split_seed, c.initial_draw, c.imbalance, dataset.n_valid
    )  # fmt: skip
    return repeat_pool(dataset, drawn, c.pool_repeats)


def split(
    labels_N: Tensor, n_initial: int, n_valid: int, seed: int, initial_draw: str = "balanced", imbalance: float = 1.0,
    n_own_valid: int = 0,
) -> Split:  # fmt: skip
    """A draw of the initial labels and the validation images; what is left is the pool, in order.

    Args:
        initial_draw: `balanced`: as many of each class; `random`: as they come, so a rare class may be missing.
        imbalance: see `class_sizes`; what is above a class's size is left out, drawn at random.
        n_own_valid: so many last images are the data set's own validation images. Then those come from there, at random.
    """
    g = generator(seed, "split")
    labels_M = labels_N[: len(labels_N) - n_own_valid]
    groups = []
    for c, size in enumerate(class_sizes(labels_M, imbalance)):
        members = (labels_M == c).nonzero().flatten()
        groups.append(members[torch.randperm(len(members), generator=g)][:size])
    if initial_draw == "random":
        known = torch.cat(groups)
        groups = [known[torch.randperm(len(known), generator=g)]]

    def draw(n):
        quotas = torch.full((len(groups),), n // len(groups))
        quotas[torch.randperm(len(groups), generator=g)[: n % len(groups)]] += 1
        drawn = [members[:quota] for members, quota in zip(groups, quotas)]
        groups[:] = [members[quota:] for members, quota in zip(groups, quotas)]
        return torch.cat(drawn).sort().values

    initial = draw(n_initial)
    if n_own_valid:
        valid = (len(labels_M) + torch.randperm(n_own_valid, generator=g)[:n_valid]).sort().values
    else:
        valid = draw(n_valid)
    unknown = (labels_M < 0).nonzero().flatten()
    return Split(initial, valid, torch.cat([*groups, unknown]).sort().values)


def class_sizes(labels_N: Tensor, imbalance: float = 1.0) -> list[int]:
    """How many images of each class there are; with an `imbalance` above 1 at most as many as a long tail has.

    The first class keeps n = N / C images and the others exponentially fewer, down to n / `imbalance` of the last: class
    c keeps n · imbalance^(-c / (C - 1)) (Cao et al. 2019, long-tailed CIFAR).
    """
    counts_C = torch.bincount(labels_N[labels_N >= 0])
    if imbalance == 1 or len(counts_C) < 2:
        return counts_C.tolist()
    largest = float(counts_C.sum()) / len(counts_C)
    profile = [largest * (1 / imbalance) ** (c / (len(counts_C) - 1)) for c in range(len(counts_C))]
    return [min(count, max(1, int(size))) for count, size in zip(counts_C.tolist(), profile)]


def repeat_pool(dataset: Dataset, drawn: Split, times: int) -> tuple[Dataset, Split]:
    """The pool `times` times over, as in repeated MNIST (Kirsch et al. 2019); first labels and validation images once.

    Copy r of training image i is training image i + r·N. The copies are alike here: `Images` adds what tells them apart.
    """
    if times == 1:
        return dataset, drawn
    images_N, labels_N = dataset.train_images, dataset.train_labels
    pool = torch.cat([drawn.pool + copy * len(labels_N) for copy in range(times)])
    repeated = replace(dataset, train_images=images_N.repeat(times, 1, 1, 1), train_labels=labels_N.repeat(times))
    return repeated, replace(drawn, pool=pool)


def check_fits(config: ExperimentConfig, dataset: Dataset) -> None:
    """Raise a `ValueError` unless the data set has the images that the configuration asks for."""
    labels_M = dataset.train_labels[: len(dataset.train_labels) - dataset.n_valid]
    sizes = class_sizes(labels_M, config.imbalance)
    n_classes, n = len(dataset.class_names), sum(sizes) + int((labels_M < 0).sum())
    left = f" that imbalance={config.imbalance:g} leaves" if config.imbalance > 1 else ""
    from_train = 0 if dataset.n_valid else config.n_valid
    n_labels = config.n_labels[-1]
    if n_labels - config.n_initial > (n - config.n_initial - from_train) * config.pool_repeats:
        raise ValueError(
            f"{n_labels:,} labels (n_initial={config.n_initial} + n_rounds={config.n_rounds} x n_query={config.n_query}) and "
            f"n_valid={config.n_valid} validation images are more than the {n:,} training images of {dataset.label}{left}. "
            "Lower n_rounds, n_query, n_initial or n_valid."
        )
    if config.n_valid > dataset.n_valid > 0:
        raise ValueError(
            f"n_valid={config.n_valid} is more than the {dataset.n_valid:,} validation images that {dataset.label} has of its "
            "own. Lower n_valid."
        )
    smallest = min(sizes) if len(sizes) == n_classes else 0
    needed = -(-config.n_initial // n_classes) - (-from_train // n_classes)
    if config.initial_draw == "balanced" and needed > smallest:
        raise ValueError(
            f"n_initial={config.n_initial} and n_valid={config.n_valid} take {needed} images of each of the {n_classes} "
            f"classes, but the smallest class of {dataset.label} has {smallest}{left}. Lower n_initial or n_valid, or set "
            "initial_draw='random'."
        )
    if config.n_initial + from_train > sum(sizes):
        raise ValueError(
            f"n_initial={config.n_initial} and n_valid={config.n_valid} are more than the {sum(sizes):,} images of "
            f"{dataset.label} whose class is known. Lower n_initial or n_valid."
        )
    size = min(dataset.train_images.shape[-2:])
    if size < 16 and config.model in ("lenet", "resnet18"):
        raise ValueError(
            f"the images of {dataset.label} are {size} pixels wide or high; {label(config.model)} needs at least 16. Enlarge "
            "them, or use a network of your own."
        )
