"""The problem of a run: data, split and noise, which all strategies under one seed share; labels so far."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from . import acquisition, checks, models
from .config import ExperimentConfig
from .datasets import Dataset, load_dataset
from .known import Known
from .ledger import Round
from .noise import Images, draw_jitter, make_noise
from .randomness import generator
from .splits import Split, check_fits, split_dataset


@dataclass(frozen=True)
class Problem:
    """What all strategies under one seed share: the data, the split and the noise, on the run's device."""

    config: ExperimentConfig
    dataset: Dataset
    split: Split
    train: Images
    test: Images
    test_clean: Images
    train_labels: Tensor
    test_labels: Tensor
    before: tuple[Round, ...] = ()  # the rounds so far, see `after`
    known: Known = field(default_factory=Known)


def prepare(config: ExperimentConfig) -> Problem:
    """Load the data, split it and draw the noise, of a configuration that can be run: a pure function of it.

    Raises:
        ValueError: an unknown name, a strategy or network that lacks what it needs, or more images asked for than there are.
        datasets.DatasetError: no such data.
    """
    checks.check_names_known(config)
    dataset = load_dataset(config.dataset, config.image_size)
    check_fits(config, dataset)
    checks.check_needs(config)
    checks.check_memory(config, tuple(dataset.train_images.shape), len(dataset.class_names))
    samples = config.posterior == "mc_dropout" and acquisition.get(config.strategy).samples
    models.check(config.model, dataset.train_images.shape, len(dataset.class_names), samples)
    return _drawn(config, dataset)


def prepare_to_look(config: ExperimentConfig) -> Problem:
    """The same, of a recorded configuration: its strategy and network need not be known here."""
    dataset = load_dataset(config.dataset, config.image_size)
    check_fits(config, dataset)
    return _drawn(config, dataset)


def _drawn(config: ExperimentConfig, dataset: Dataset) -> Problem:
    dataset, drawn = split_dataset(config, dataset)
    mean_C, std_C = torch.tensor(dataset.mean), torch.tensor(dataset.std)
    jitter = draw_jitter(config, dataset.train_images.shape, generator(config.seed, "jitter"))
    redraw = config.noise_draw == "each_access"

    def images(pixels, noise=None, jitter=None):
        return Images(pixels.to(config.device), mean_C, std_C, noise, config.noise_rate, redraw, jitter)

    def noise(part):
        if config.noise_on not in ("all", part):
            return None
        return make_noise(config, mean_C, std_C, generator(config.seed, f"{part} noise"))

    return Problem(
        config=config,
        dataset=dataset,
        split=drawn,
        train=images(dataset.train_images, noise("train"), jitter),
        test=images(dataset.test_images, noise("test")),
        test_clean=images(dataset.test_images),
        train_labels=dataset.train_labels.to(config.device),
        test_labels=dataset.test_labels.to(config.device),
    )


def after(problem: Problem, rounds: list[Round]) -> tuple[Problem, Tensor]:
    """What the next round starts from: the problem with the answered labels in it, and the images labelled so far.

    An image that the oracle gave no label is in neither the pool nor the labelled images, as indices into the training
    images.
    """
    queried = [i for r in rounds for i in r.queried]
    answers = [a for r in rounds for a in (r.true_classes if r.labels is None else r.labels)]
    labelled = [i for i, answer in zip(queried, answers) if answer is not None]
    if any(r.labels is not None for r in rounds):
        labels, given = problem.train_labels.clone(), [a for a in answers if a is not None]
        labels[labelled] = torch.tensor(given, dtype=labels.dtype, device=labels.device)
        pool = problem.split.pool[~torch.isin(problem.split.pool, torch.tensor(queried))]
        problem = replace(problem, train_labels=labels, split=replace(problem.split, pool=pool))
    return replace(problem, before=tuple(rounds)), torch.cat([problem.split.initial, torch.tensor(labelled, dtype=torch.long)])
