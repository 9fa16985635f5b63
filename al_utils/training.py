"""Training from scratch, evaluation, and predictions with MC dropout."""

import copy
import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from . import models
from .compute import parallel
from .compute.graphs import Replayed
from .config import ExperimentConfig
from .networks import fast_lenet
from .networks.classifier import Classifier
from .networks.recipes import LOSSES, learning_rate
from .networks.recipes import register_augmentation as register_augmentation  # al.training.register_augmentation
from .randomness import seeded

CHUNK = 500  # images a forward pass on a CPU; larger ones fall out of the cache and are slower
GPU_CHUNK = 4_000
BYTES_A_PIXEL = 1_200  # of what a network holds while an image passes it: 300 numbers, as ResNet-18
BINS = 15  # of confidence, for the expected calibration error (Guo et al. 2017)
PREDICTIONS = 25_000  # images x MC samples at a time, at most
GPU_PREDICTIONS = 1_000_000


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
        sizes = [batch_size] * full + ([rest] if rest and last_batch == "keep" else [])
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
            order = torch.cat(cut).to(device)
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


Step = Callable[..., Tensor]


def _stepper(model: Classifier, config: ExperimentConfig, device: torch.device) -> Step:
    if device.type == "cuda":
        return replayed_step(model, config)
    fast = isinstance(model, models.LeNet) and device.type == "cpu" and config.optimizer == "sgd"
    return fast_lenet.sgd_step(model, config) if fast else gradient_step(model, config)


def replayed_step(model: Classifier, config: ExperimentConfig, record: Callable | None = None) -> Step:
    """The same as `gradient_step`, as CUDA graphs; `record` as in `graphs.Replayed`."""
    optimizer = _optimizer(model, config)
    state = [*model.parameters(), *model.buffers(), *_allocated(optimizer)]
    one = gradient_step(model, config, optimizer)
    lr_here = torch.tensor(config.lr, device=state[0].device)  # a recorded number could not change
    replayed = Replayed(lambda images, labels, *masks: one(images, labels, masks or None, lr_here), state, record)

    def step(images_N_C_H_W, labels_N, masks, lr=config.lr):
        lr_here.fill_(lr)
        return replayed(images_N_C_H_W, labels_N, *(masks or ()))

    return step


def _optimizer(model: Classifier, config: ExperimentConfig) -> torch.optim.Optimizer:
    trained = [p for p in model.parameters() if p.requires_grad]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            trained, lr=config.lr, weight_decay=config.weight_decay, fused=True, capturable=trained[0].is_cuda
        )
    return torch.optim.SGD(trained, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True)


@torch.no_grad()
def _allocated(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """What the optimizer remembers from step to step, allocated now, and zero as before the first step."""
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    before = [p.clone() for p in trained]
    for p in trained:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    optimizer.zero_grad()
    for p, old in zip(trained, before):
        p.copy_(old)
    remembered = [v for of_one in optimizer.state.values() for v in of_one.values() if isinstance(v, Tensor)]
    for values in remembered:
        values.zero_()
    return remembered


def gradient_step(model: Classifier, config: ExperimentConfig, optimizer: torch.optim.Optimizer | None = None) -> Step:
    """A function `step(images, labels, masks, lr) -> mean loss` that trains `model` in place."""
    optimizer = optimizer or _optimizer(model, config)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    loss_of = LOSSES[config.loss]

    def step(images_N_C_H_W, labels_N, masks, lr=config.lr):
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss = loss_of(model.head(model.features(images_N_C_H_W), masks), labels_N, config.reduction)
        optimizer.zero_grad()
        loss.backward()
        if config.clip_norm:
            torch.nn.utils.clip_grad_norm_(trained, config.clip_norm)
        optimizer.step()
        return loss.detach() / len(labels_N) if config.reduction == "sum" else loss.detach()

    return step


def evaluate(model: Classifier, images, labels_N: Tensor) -> dict[str, float]:
    """`accuracy`, `nll` (nats) and `ece` (see `BINS`) of the network without dropout."""
    log_probs_N_C, labels_N = predict_log_probs(model, images)[0].cpu(), labels_N.cpu()  # a GPU's sums by bin vary
    confidence_N, predicted_N = log_probs_N_C.max(1)
    confidence_N, correct_N = confidence_N.exp().double(), (predicted_N == labels_N).double()
    bin_N = (confidence_N * BINS).long().clamp(0, BINS - 1)  # of NaN, too: the result is NaN then
    gap_B = torch.zeros(BINS, dtype=torch.float64).index_add_(0, bin_N, correct_N - confidence_N)
    return dict(
        accuracy=float(correct_N.mean()),
        nll=float(F.nll_loss(log_probs_N_C.double(), labels_N)),
        ece=float(gap_B.abs().sum() / len(labels_N)),
    )


def predict_log_probs(model: Classifier, images, masks: list[Tensor] | None = None) -> Tensor:
    """Log-probabilities `[K, N, C]`, one slice for each of the K masks (`[K, 1, D]`); without masks K = 1."""
    return torch.cat(list(predictions(model, images, masks)), dim=1)


def predictions(model: Classifier, images, masks: list[Tensor] | None = None, index: Tensor | None = None) -> Iterator[Tensor]:
    """`predict_log_probs` of all images, or those at `index`, in chunks `[K, n, C]`: memory does not grow with the pool."""
    size = chunk_size(model, images)
    if masks:
        at_most = GPU_PREDICTIONS if _device(model).type == "cuda" else PREDICTIONS
        size = min(size, max(1, at_most // len(masks[0])))

    def log_probs(images_n_C_H_W):
        logits = model.head(model.features(images_n_C_H_W), masks)
        log_probs = logits.mT.log_softmax(-2).mT  # over an axis that is not the last in memory: 20 times faster
        return to_score(log_probs if log_probs.dim() == 3 else log_probs[None])

    return _in_chunks(log_probs, model, images, size, index)


def embeddings(model: Classifier, images, index: Tensor | None = None) -> Tensor:
    """The input of the last layer `[N, D]` for all images, or those at `index`, without dropout."""

    def embedded(images_n_C_H_W):
        return model.embeddings(model.features(images_n_C_H_W))

    return to_score(torch.cat(list(_in_chunks(embedded, model, images, chunk_size(model, images), index))))


def to_score(values: Tensor) -> Tensor:
    """The values where scores are computed: on their device, but from Apple's MPS, which has no float64, on the CPU."""
    return values.cpu() if values.device.type == "mps" else values


def trunk_outputs(model: Classifier, images, index: Tensor | None = None) -> Tensor:
    """What the trunk makes of all images, or those at `index`, in evaluation mode: `[N, …]`."""
    return torch.cat(list(_in_chunks(model.features, model, images, chunk_size(model, images), index)))


def chunk_size(model: Classifier, images) -> int:
    """Images a forward pass: `CHUNK`; on an NVIDIA GPU what a sixteenth of its memory holds, `GPU_CHUNK` at most.

    It depends on the kind of GPU alone, not on what else is in its memory: with another size sums may be rounded otherwise.
    """
    device = _device(model)
    if device.type != "cuda":
        return CHUNK
    memory = torch.cuda.get_device_properties(device).total_memory
    of_an_image = BYTES_A_PIXEL * images.shape[2:].numel()
    return max(1, min(GPU_CHUNK, memory // 16 // of_an_image))


def _device(model: Classifier) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


@torch.inference_mode()
def _in_chunks(compute: Callable, model: Classifier, images, size: int, index: Tensor | None) -> Iterator[Tensor]:
    """What `compute` makes of the images, `size` at a time."""
    model.eval()  # BatchNorm uses and keeps its running statistics
    chunks = index.split(size) if index is not None else [slice(i, i + size) for i in range(0, len(images), size)]
    n = parallel.n_threads()
    for i in range(0, len(chunks), n):
        # Images are taken in order, here: noise that is redrawn comes from one generator.
        yield from parallel.run([partial(compute, images[chunk]) for chunk in chunks[i : i + n]])
