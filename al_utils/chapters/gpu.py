"""What a GPU takes for a step of training, one kernel at a time and as CUDA graphs, and for scoring a pool."""

from collections.abc import Callable
from functools import partial

import pandas as pd
import torch

from ..config import ExperimentConfig
from ..models import build_model
from ..networks.steps import gradient_step, replayed_step
from ..randomness import generator
from .speed import fastest, scoring

NETWORKS = ("lenet", "resnet18")
REPEATS = 2  # of which the first also records and allocates


def table(
    device: str, n_steps: int = 1_000, n_pool: int = 59_000, mc_samples: int = 10, record: Callable | None = None
) -> pd.DataFrame:
    """Microseconds a step of 64 images of 28 x 28 pixels, and seconds for BALD's scores of a pool, for both networks.

    Args:
        record: as in `graphs.Replayed`.
    """
    rows = []
    for model in NETWORKS:
        makers: dict[str, Callable] = {"one by one": gradient_step, "as graphs": partial(replayed_step, record=record)}
        steps = {way: _a_step(model, maker, device, n_steps) for way, maker in makers.items()}
        scores = fastest(scoring(n_pool, mc_samples, model=model, device=device), REPEATS, device)
        rows.append({"network": model, **steps, "scores": scores})
    return pd.DataFrame(rows).set_index("network")


def _a_step(model: str, maker: Callable, device: str, n: int) -> float:
    config = ExperimentConfig(model=model, protocol="tuned", device=device)
    network = build_model(model, (1, 28, 28), 10, generator(0, "initialisation"), device).train()
    images, labels = torch.randn(64, 1, 28, 28).to(device), (torch.arange(64) % 10).to(device)
    masks = network.draw_masks((64,), 0.5, generator(0, "masks"))
    step = maker(network, config)
    return 1e6 * fastest(lambda: [step(images, labels, masks) for _ in range(n)], REPEATS, device) / n
