"""Training from scratch, evaluation, and predictions with MC dropout."""

import copy
import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from . import models
from .compute import fast_lenet, parallel
from .config import ExperimentConfig
from .models import Classifier, LeNet, draw_masks

CHUNK = 500  # images a forward pass; larger ones fall out of the cache and are slower
PREDICTIONS = 25_000  # images x MC samples at a time, at most


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
        sizes = [batch_size] * full + [rest] * (rest > 0 and last_batch == "keep")
    return sizes if min(sizes) >= smallest else _nearly_equal(n, max(1, min(rounded_up, n // smallest)))


def _nearly_equal(n: int, n_batches: int) -> list[int]:
    size, larger = divmod(n, n_batches)
    return [size + 1] * larger + [size] * (n_batches - larger)


def fit(model: Classifier, images, labels_N: Tensor, config: ExperimentConfig, generator: torch.Generator, valid=None) -> float:
    """Train in place by SGD on the cross-entropy (equations 2 and 3) and return the last epoch's mean loss in nats.

    Args:
        images: `[N, C, H, W]`, or anything that gives such batches when indexed (noise that is redrawn).
        generator: on the CPU; batches and dropout masks come from it.
        valid: (images, labels), on which `keep_weights="best_valid"` chooses the epoch.

    Raises:
        Diverged: the loss became infinite or NaN.
    """
    device = labels_N.device
    on_device = generator if device.type == "cpu" else torch.Generator(device).manual_seed(generator.initial_seed())
    model.train()
    fast = isinstance(model, LeNet) and device.type == "cpu"
    step = fast_lenet.sgd_step(model, config) if fast else sgd_step(model, config)
    best_accuracy, best_weights = -1.0, None
    smallest = models.get(config.model).smallest_batch
    n_batches = len(batch_sizes(len(labels_N), config.batch_size, config.last_batch, smallest))
    for epoch in range(max(config.epochs, math.ceil(config.min_steps / n_batches))):
        epoch_loss, n_seen = torch.zeros((), device=device), 0
        cut = batches(len(labels_N), config.batch_size, config.last_batch, generator, smallest)
        masks = _masks_of_batches(model, [len(batch) for batch in cut], config.dropout, on_device)
        for batch, batch_masks in zip(cut, masks):
            batch = batch.to(device, non_blocking=True)
            epoch_loss += step(images[batch], labels_N[batch], batch_masks) * len(batch)
            n_seen += len(batch)
        if config.keep_weights == "best_valid":
            accuracy = evaluate(model, *valid)["accuracy"]
            if accuracy > best_accuracy:
                best_accuracy, best_weights = accuracy, copy.deepcopy(model.state_dict())
            model.train()
    train_loss = float(epoch_loss) / n_seen
    if not math.isfinite(train_loss):
        raise Diverged(f"the training loss is {train_loss} after {epoch + 1} epochs: lower lr={config.lr}")
    if best_weights:
        model.load_state_dict(best_weights)
    return train_loss


def _masks_of_batches(model, sizes, dropout, generator):
    if not dropout:
        return [None] * len(sizes)
    masks_N_D = draw_masks(model, (sum(sizes),), dropout, generator)  # at once: a draw costs more than its numbers
    return list(zip(*(mask.split(sizes) for mask in masks_N_D)))


def sgd_step(model: Classifier, config: ExperimentConfig) -> Callable:
    """A function `step(images, labels, masks) -> mean loss` that trains `model` in place."""
    optimizer = torch.optim.SGD(
        model.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True
    )

    def step(images_N_C_H_W, labels_N, masks):
        loss = F.cross_entropy(model.head(model.features(images_N_C_H_W), masks), labels_N)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def evaluate(model: Classifier, images, labels_N: Tensor) -> dict[str, float]:
    """`accuracy`, `nll` (nats) and `ece` (15 bins, Guo et al. 2017) of the network without dropout."""
    log_probs_N_C = predict_log_probs(model, images)[0]
    confidence_N, predicted_N = log_probs_N_C.max(1)
    confidence_N, correct_N = confidence_N.exp().double(), (predicted_N == labels_N).double()
    bin_N = (confidence_N * 15).long().clamp(0, 14)  # of NaN, too: the result is NaN then
    gap_B = torch.zeros(15, dtype=torch.float64, device=bin_N.device).index_add_(0, bin_N, correct_N - confidence_N)
    return dict(
        accuracy=float(correct_N.mean()),
        nll=float(F.nll_loss(log_probs_N_C.double(), labels_N)),
        ece=float(gap_B.abs().sum() / len(labels_N)),
    )


def predict_log_probs(model: Classifier, images, masks: list[Tensor] | None = None) -> Tensor:
    """Log-probabilities `[K, N, C]`, one slice for each of the K masks (`[K, 1, D]`); without masks K = 1."""
    return torch.cat(list(predictions(model, images, masks)), dim=1)


@torch.inference_mode()
def predictions(model: Classifier, images, masks: list[Tensor] | None = None, index: Tensor | None = None) -> Iterator[Tensor]:
    """`predict_log_probs` of all images, or those at `index`, in chunks `[K, n, C]`: memory does not grow with the pool."""
    model.eval()  # BatchNorm uses and keeps its running statistics
    size = min(CHUNK, max(1, PREDICTIONS // len(masks[0]))) if masks else CHUNK
    chunks = index.split(size) if index is not None else [slice(i, i + size) for i in range(0, len(images), size)]
    n = parallel.n_threads()
    for i in range(0, len(chunks), n):
        # Images are taken in order, here: noise that is redrawn comes from one generator.
        yield from parallel.run([partial(_predict, model, images[chunk], masks) for chunk in chunks[i : i + n]])


def _predict(model, images_n_C_H_W, masks):
    logits = model.head(model.features(images_n_C_H_W), masks)
    log_probs = logits.mT.log_softmax(-2).mT  # over an axis that is not the last in memory: 20 times faster
    return log_probs if log_probs.dim() == 3 else log_probs[None]
