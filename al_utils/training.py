"""Training from scratch, by the recipe of a configuration."""

import copy
import math

import torch
from torch import Tensor

from . import models
from .config import ExperimentConfig
from .networks import fast_lenet
from .networks.classifier import Classifier
from .networks.recipes import learning_rate
from .networks.recipes import register_augmentation as register_augmentation  # al.training.register_augmentation
from .networks.steps import Step, gradient_step, replayed_step
from .predicting import evaluate
from .randomness import seeded, sent


class Diverged(RuntimeError):
    """The training loss, or what was measured after it, is not a finite number any more."""


def batches(n: int, batch_size: int, last_batch: str, generator: torch.Generator, smallest: int = 1) -> list[Tensor]:
    """A random order of `n` images, cut into batches of indices.

    A short last batch is kept (`keep`) or left out (`drop`), or the epoch is cut into ceil(n / batch_size) batches of
    nearly equal size (`balance`). None holds fewer than `smallest`, see `batch_sizes`.
    """
    order, sizes = torch.randperm(n, generator=generator), batch_sizes(n, batch_size, last_batch, smallest)
    return list(order[: sum(sizes)].split(sizes))


def batch_sizes(n: int, batch_size: int, last_batch: str, smallest: int = 1) -> list[int]:
    """How many images each batch of an epoch over `n` holds, see `batches`.

    Where one would hold fewer than `smallest`, which the network cannot train on, the epoch is cut into batches of nearly
    equal size, at least `smallest`.
    """
    full, rest = divmod(n, batch_size)
    rounded_up = full + (rest > 0)
    if last_batch == "balance":
        sizes = _nearly_equal(n, rounded_up)
    else:
        sizes = [batch_size] * full + ([rest] if rest and (last_batch == "keep" or not full) else [])
    return sizes if min(sizes) >= smallest else _nearly_equal(n, max(1, min(rounded_up, n // smallest)))


def _nearly_equal(n: int, n_batches: int) -> list[int]:
    size, larger = divmod(n, n_batches)
    return [size + 1] * larger + [size] * (n_batches - larger)


def fit(model: Classifier, images, labels_N: Tensor, config: ExperimentConfig, generator: torch.Generator, valid=None) -> float:
    """Train in place by the configuration's recipe and return the last epoch's mean loss an image, in nats.

    The loss is `recipes.categorical`, or the paper's Equation 2, `recipes.per_class`; with `reduction="mean"` the gradient is
    that of a batch's mean, with `"sum"` that of its sum, as Equation 2 has it. `sgd` is the paper's Equation 3, with momentum.

    Args:
        images: `[N, C, H, W]`, or anything that gives such batches when indexed (noise that is redrawn, augmentation).
        generator: on the CPU; batches and dropout masks come from it.
        valid: (images, labels), on which `keep_weights="best_valid"` chooses the epoch and `patience` stops.

    Raises:
        Diverged: the loss became infinite or NaN.
    """
    device = labels_N.device
    model.train()
    step = _stepper(model, config, device)
    best = Best(config.patience, config.keep_weights == "best_valid")
    smallest = models.get(config.model).smallest_batch
    sizes = batch_sizes(len(labels_N), config.batch_size, config.last_batch, smallest)
    n_epochs = max(config.epochs, math.ceil(config.min_steps / len(sizes)))
    for_masks = _generator_for(device, generator) if model.masks_by_batch else generator
    with seeded(generator.initial_seed(), device):  # somebody's layers may draw from PyTorch's own generators
        for epoch in range(n_epochs):
            epoch_loss = torch.zeros((), device=device)
            cut = batches(len(labels_N), config.batch_size, config.last_batch, generator, smallest)
            order = sent(torch.cat(cut), device)
            masks = _masks_of_batches(model, sizes, config.dropout, for_masks)
            for i, (batch, batch_masks) in enumerate(zip(order.split(sizes), masks)):
                lr = learning_rate(config.schedule, config.lr, epoch * len(sizes) + i, n_epochs * len(sizes))
                epoch_loss += step(images[batch], labels_N[batch], batch_masks, lr) * len(batch)
            if best.wanted:
                if best.stops_after(model, evaluate(model, *valid)["accuracy"]):
                    break
                model.train()
    train_loss = float(epoch_loss) / sum(sizes)
    if not math.isfinite(train_loss):
        raise Diverged(f"the training loss is {train_loss} after {epoch + 1} epochs: lower lr={config.lr}")
    if best.weights:
        model.load_state_dict(best.weights)
    return train_loss


class Best:
    """The best accuracy on the validation images so far, its weights if they are to be kept, and when training stops.

    That is when there was no better one for `patience` epochs in a row (0: never).
    """

    def __init__(self, patience: int, keep: bool):
        self.wanted = bool(patience or keep)
        self.weights: dict | None = None
        self._patience, self._keep = patience, keep
        self._accuracy, self._epochs_since = -1.0, 0

    def stops_after(self, model: Classifier, accuracy: float) -> bool:
        """Whether training stops after an epoch with this accuracy."""
        self._epochs_since += 1
        if accuracy > self._accuracy:
            self._accuracy, self._epochs_since = accuracy, 0
            if self._keep:
                self.weights = copy.deepcopy(model.state_dict())
        return 0 < self._patience <= self._epochs_since


def _generator_for(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """Where large masks are drawn: on the device, but for Apple's MPS on the CPU."""
    if device.type in ("cpu", "mps"):
        return generator
    return torch.Generator(device).manual_seed(generator.initial_seed())


def _masks_of_batches(model: Classifier, sizes: list[int], dropout: float, generator: torch.Generator):
    if not dropout:
        return [None] * len(sizes)
    if model.masks_by_batch:
        return (model.draw_masks((size,), dropout, generator) for size in sizes)
    masks_N_D = model.draw_masks((sum(sizes),), dropout, generator)  # at once: a draw costs more than its numbers
    return list(zip(*(mask.split(sizes) for mask in masks_N_D)))


def _stepper(model: Classifier, config: ExperimentConfig, device: torch.device) -> Step:
    if device.type == "cuda":
        return replayed_step(model, config)
    ours = type(model) is models.LeNet and fast_lenet.is_plain(model) and all(p.requires_grad for p in model.parameters())
    fast = ours and device.type == "cpu" and config.optimizer == "sgd"
    return fast_lenet.sgd_step(model, config) if fast else gradient_step(model, config)
