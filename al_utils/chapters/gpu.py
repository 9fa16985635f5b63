"""What a GPU takes for a step of training, one kernel at a time and as CUDA graphs, and for scoring a pool."""

import time
from collections.abc import Callable
from functools import partial

import pandas as pd
import torch

from .. import acquisition
from ..compute.machine import repeatable
from ..config import ExperimentConfig
from ..models import build_model
from ..networks.steps import gradient_step, replayed_step
from ..noise import Images
from ..predicting import predictions
from ..randomness import generator
from ..scoring import score_in_chunks

NETWORKS = ("lenet", "resnet18")


def table(
    device: str, n_steps: int = 1_000, n_pool: int = 59_000, mc_samples: int = 10, record: Callable | None = None
) -> pd.DataFrame:
    """Microseconds a step of 64 images of 28 x 28 pixels, and seconds for BALD's scores of a pool, for both networks.

    Args:
        record: as in `graphs.Replayed`.
    """
    rows = []
    with repeatable():
        for model in NETWORKS:
            makers: dict[str, Callable] = {"one by one": gradient_step, "as graphs": partial(replayed_step, record=record)}
            steps = {way: _a_step(model, maker, device, n_steps) for way, maker in makers.items()}
            rows.append({"network": model, **steps, "scores": _scores(model, device, n_pool, mc_samples)})
    return pd.DataFrame(rows).set_index("network")


def _a_step(model: str, maker: Callable, device: str, n: int) -> float:
    config = ExperimentConfig(model=model, protocol="tuned", device=device)
    network = build_model(model, (1, 28, 28), 10, generator(0, "initialisation"), device).train()
    images, labels = torch.randn(64, 1, 28, 28).to(device), (torch.arange(64) % 10).to(device)
    masks = network.draw_masks((64,), 0.5, generator(0, "masks"))
    step = maker(network, config)
    return 1e6 * _seconds(lambda: [step(images, labels, masks) for _ in range(n)], device) / n


def _scores(model: str, device: str, n_pool: int, mc_samples: int) -> float:
    g = generator(0, "pixels")
    pixels = torch.randint(0, 256, (n_pool, 1, 28, 28), dtype=torch.uint8, generator=g).to(device)
    images = Images(pixels, torch.tensor([0.5]), torch.tensor([0.3]))
    network = build_model(model, pixels.shape, 10, generator(0, "initialisation"), device)
    masks = network.draw_masks((mc_samples, 1), 0.5, generator(0, "posterior"))
    bald = acquisition.get("bald")
    return _seconds(lambda: score_in_chunks(bald, predictions(network, images, masks), n_pool, g), device)


def _seconds(function: Callable, device: str) -> float:
    """Of the faster of two calls: the first one also records and allocates."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        function()
        if device != "cpu":
            torch.accelerator.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)
