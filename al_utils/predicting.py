"""What a network says of images, with and without MC dropout: probabilities, embeddings, and how good they are."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from .compute import parallel
from .networks.classifier import Classifier

CHUNK = 500  # images a forward pass on a CPU; larger ones fall out of the cache and are slower
GPU_CHUNK = 4_000
BYTES_A_PIXEL = 1_200  # of what a network holds while an image passes it: 300 numbers, as ResNet-18
BINS = 15  # of confidence, for the expected calibration error (Guo et al. 2017)
PREDICTIONS = 25_000  # images x MC samples at a time, at most
GPU_PREDICTIONS = 1_000_000


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
