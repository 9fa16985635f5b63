"""What a GPU takes for a step of training, as kernels, as graphs and beside other runs, and to score a pool."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from ..config import ROOT, ExperimentConfig
from ..models import build_model
from ..networks.steps import gradient_step, replayed_step
from ..randomness import generator
from ..sweep import local
from ..sweep.jobs import count_rounds
from ..words import label
from .speed import fastest, scoring

NETWORKS = ("lenet", "resnet18")
STEPS = 500  # of training a round
REPEATS = 2  # of which the first also records and allocates
SIDE_BY_SIDE = (8, 16)  # runs
MEASURED = ROOT / "reports" / "speed" / "gpu.csv"  # what `table` gave on the GPU in its column `gpu`


def table(
    device: str,
    n_steps: int = 1_000,
    n_pool: int = 59_000,
    mc_samples: int = 10,
    runs: Sequence[int] = SIDE_BY_SIDE,
    record: Callable | None = None,
) -> pd.DataFrame:
    """Microseconds a step of 64 images of 28 x 28 pixels, and seconds for BALD's scores of a pool, for both networks.

    A step is one run's, its kernels launched `one by one` and `as graphs`; or, `8 runs`, one over all of the runs that share
    the GPU, see `steps_per_second`.

    Args:
        record: as in `graphs.Replayed`.
    """
    rows = []
    for model in NETWORKS:
        makers: dict[str, Callable] = {"one by one": gradient_step, "as graphs": partial(replayed_step, record=record)}
        steps = {way: _a_step(model, maker, device, n_steps) for way, maker in makers.items()}
        scores = fastest(scoring(n_pool, mc_samples, model=model, device=device), REPEATS, device)
        shared = {f"{n} runs": 1e6 / steps_per_second(model, n, device) for n in runs}
        rows.append({"network": model, **steps, **shared, "scores": scores})
    return pd.DataFrame(rows).set_index("network")


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table in words, "–" where nothing was measured."""
    steps = {name: f"a step, {name} (µs)" for name in table if name != "scores"}
    texts = table.apply(lambda column: column.map("{:,.3f}".format if column.name == "scores" else "{:,.0f}".format))
    return texts.where(table.notna(), "–").rename(columns=steps | {"scores": "59,000 scores (s)"}).rename(index=label)


def _a_step(model: str, maker: Callable, device: str, n: int) -> float:
    config = ExperimentConfig(model=model, protocol="tuned", device=device)
    network = build_model(model, (1, 28, 28), 10, generator(0, "initialisation"), device).train()
    images, labels = torch.randn(64, 1, 28, 28).to(device), (torch.arange(64) % 10).to(device)
    masks = network.draw_masks((64,), 0.5, generator(0, "masks"))
    step = maker(network, config)
    return 1e6 * fastest(lambda: [step(images, labels, masks) for _ in range(n)], REPEATS, device) / n


class _Seen(Exception):
    """Enough was seen."""


def steps_per_second(model: str, n_runs: int, device: str, seconds: float = 10.0) -> float:
    """Training steps a second of `n_runs` runs together, each in a process of its own, with all that a round needs.

    A round trains for 500 steps of 64 images of `mnist5k`, measures, and queries at random. What counts is the time from
    when each run has ended its first round.
    """
    seen: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        recipe: dict = dict(protocol="tuned", strategy="random", epochs=50, n_initial=STEPS * 64 // 50, n_valid=100)
        configs = [
            ExperimentConfig(model=model, seed=seed, device=device, n_query=1, n_rounds=1_000, last_batch="drop", **recipe)
            for seed in range(n_runs)
        ]
        jobs = [local.Job(Path(folder) / f"{c.seed}.jsonl", c.to_dict()) for c in configs]

        def look(running):
            rounds = [count_rounds(job.path) for job in jobs]
            if min(rounds):
                seen.append((time.perf_counter(), sum(rounds)))
            if seen and seen[-1][0] - seen[0][0] >= seconds:
                raise _Seen

        with contextlib.suppress(_Seen), contextlib.closing(local.compute(jobs, n_runs, each_second=look)) as ended:
            for job, error in ended:
                raise error or RuntimeError(f"{job.path.stem} ended early.")
    (start, before), (end, after) = seen[0], seen[-1]
    return STEPS * (after - before) / (end - start)
