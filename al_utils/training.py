"""Training from scratch, evaluation, and predictions with MC dropout."""

import copy
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import ExperimentConfig
from .models import Classifier, draw_masks

CHUNK = 500  # images a forward pass; larger ones fall out of the cache and are slower


class Diverged(RuntimeError):
    """The training loss, or what was measured after it, is not a finite number any more."""


def batches(n: int, batch_size: int, last_batch: str, generator: torch.Generator) -> list[Tensor]:
    """A random order of `n` images, cut into batches of indices.

    A short last batch is kept (`keep`) or left out (`drop`), or the epoch is cut into ceil(n / batch_size) batches of
    nearly equal size (`balance`).
    """
    order = torch.randperm(n, generator=generator)
    if last_batch == "balance":
        return list(order.tensor_split(math.ceil(n / batch_size)))
    cut = list(order.split(batch_size))
    return cut[:-1] if last_batch == "drop" and n % batch_size else cut


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
    optimizer = torch.optim.SGD(
        model.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True
    )
    model.train()
    best_accuracy, best_weights = -1.0, None
    for epoch in range(config.epochs):
        epoch_loss, n_seen = torch.zeros((), device=device), 0
        for batch in batches(len(labels_N), config.batch_size, config.last_batch, generator):
            batch = batch.to(device, non_blocking=True)
            masks = draw_masks(model, (len(batch),), config.dropout, on_device) if config.dropout else None
            logits = model.head(model.features(images[batch]), masks)
            loss = F.cross_entropy(logits, labels_N[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epoch_loss += loss.detach() * len(batch)
            n_seen += len(batch)
        if config.keep_weights == "best_valid":
            accuracy = evaluate(model, *valid)["accuracy"]
            if accuracy > best_accuracy:
                best_accuracy, best_weights = accuracy, copy.deepcopy(model.state_dict())
            model.train()
    train_loss = float(epoch_loss) / n_seen
    if not math.isfinite(train_loss):
        raise Diverged(f"the training loss is {train_loss} after {config.epochs} epochs: lower lr={config.lr}")
    if best_weights:
        model.load_state_dict(best_weights)
    return train_loss


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
    chunks = index.split(CHUNK) if index is not None else [slice(i, i + CHUNK) for i in range(0, len(images), CHUNK)]
    for chunk in chunks:
        logits = model.head(model.features(images[chunk]), masks).log_softmax(-1)
        yield logits if logits.dim() == 3 else logits[None]
