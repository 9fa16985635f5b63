"""How much memory a run needs, estimated before it starts: what cannot fit is refused."""

import contextlib
import os
from functools import lru_cache
from pathlib import Path
from typing import cast

import torch
from torch import nn

from . import models
from .acquisition import Acquisition
from .config import ExperimentConfig
from .networks.classifier import Classifier

FLOAT = 4  # bytes


def limit(device: str) -> int:
    """Bytes that a run may use on a device at most: the GPU's, or the machine's unless its container has fewer."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_properties(device).total_memory
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8")))  # "max" is no number
    return total


def estimate(config: ExperimentConfig, strategy: Acquisition, images_shape: tuple[int, ...], n_classes: int) -> dict[str, int]:
    """Bytes of the largest things that a run holds, by what they are for; the rest is small beside them.

    Args:
        images_shape: of all training images, `[N, C, H, W]`.
    """
    n_images, *image_shape = images_shape
    n_pixels = torch.Size(image_shape).numel()
    n_weights, n_of_sample = _sizes(config.model, tuple(image_shape), n_classes)
    needed = {
        "n_initial, n_query, n_rounds or n_valid": (config.n_labels[-1] + config.n_valid) * n_pixels * FLOAT,
        "the size of the images": 3 * n_weights * FLOAT,  # with gradients and momentum
    }
    if config.pool_repeats > 1:  # their pixels, and what tells the copies apart in half precision
        needed["pool_repeats"] = config.pool_repeats * n_images * n_pixels * 3
    if strategy.predicts and config.posterior == "mc_dropout":
        pool = config.pool_subset or n_images * config.pool_repeats
        at_once = pool if not strategy.image_by_image and "log_probs_K_N_C" in strategy.asks else 1
        needed["mc_samples"] = config.mc_samples * (n_of_sample + 2 * at_once * n_classes) * FLOAT
    return needed


@lru_cache
def _sizes(model: str, image_shape: tuple[int, ...], n_classes: int) -> tuple[int, int]:
    """Numbers in a network, and in what an MC-dropout sample of it holds: its masks, and the weights they are folded into."""
    network = models.get(model)
    if network.own:  # to be built only by whoever runs it
        return 0, 0
    with torch.device("meta"):
        built = network.make(image_shape[0], n_classes, image_shape[1:])
    assert isinstance(built, Classifier)
    layers = [cast(nn.Linear, layer) for layer in built.head_layers]
    of_sample = sum(layer.in_features for layer in layers) + max(layer.weight.numel() for layer in layers)
    return sum(p.numel() for p in built.parameters()), of_sample
