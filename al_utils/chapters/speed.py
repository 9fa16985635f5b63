"""How long a round takes, here and in two other programs; the arithmetic it needs; how it grows."""

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from .. import acquisition, fitting, querying
from ..compute.machine import repeatable
from ..config import ROOT, ExperimentConfig
from ..models import build_model
from ..noise import Images
from ..predicting import predictions
from ..problem import Problem, prepare
from ..randomness import generator
from ..results.looks import styled
from ..scoring import score_in_chunks
from ..training import fit
from ..words import and_list, label

NAMES = {"plain": "plain PyTorch loop", "baal": "baal 2.1.0", "ours": "this project"}
COLOURS = {"plain": "#7f7f7f", "baal": "#0072b2", "ours": "#d55e00"}
SCRIPT = ROOT / "notebooks" / "bench" / "competitors.py"


@dataclass(frozen=True)
class Work:
    """One round: train on `n_labels` images, then query ten of `n_pool`."""

    model: str
    strategy: str
    epochs: int
    mc_samples: int
    n_labels: int
    n_pool: int  # at most: of what the labels leave
    dataset: str
    batch_size: int = 64
    seed: int = 0
    device: str = "cpu"

    @property
    def name(self) -> str:
        return f"{label(self.model)}, {label(self.strategy)}, K = {self.mc_samples}"

    def prepare(self) -> tuple[Problem, Tensor]:
        """The data, and the indices of the pool."""
        config = ExperimentConfig(
            dataset=self.dataset, model=self.model, strategy=self.strategy, protocol="tuned", n_initial=self.n_labels,
            n_valid=300, n_rounds=1, epochs=self.epochs, batch_size=self.batch_size, last_batch="keep",
            mc_samples=self.mc_samples, seed=self.seed, device=self.device,
        )  # fmt: skip
        problem = prepare(config)
        return problem, querying.unlabelled(problem, problem.split.initial)[: self.n_pool]


def ours(work: Work) -> dict[str, float]:
    """Seconds `fit` and `query` of this project, and the training `loss`, the mean of the last epoch in nats."""
    problem, pool = work.prepare()
    others = torch.ones(len(problem.train), dtype=torch.bool)
    others[pool] = False
    with repeatable():
        start = time.perf_counter()
        model, loss = fitting.train_model(problem, 0, problem.split.initial)  # a number, for which a GPU is waited for
        middle = time.perf_counter()
        querying.query(problem, 0, model, others.nonzero().flatten())  # a list of images, for which a GPU is waited for
        return {"fit": middle - start, "query": time.perf_counter() - middle, "loss": loss}


def theirs(name: str, work: Work, python: str | Path = sys.executable) -> dict[str, float]:
    """The same of a competitor in `notebooks/bench/competitors.py`, in a process of its own with its default threads.

    Raises:
        RuntimeError: it failed; the message is the end of what it said.
    """
    problem, pool = work.prepare()
    dataset = problem.dataset
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "work.npz"
        np.savez(
            file, mean=dataset.mean, std=dataset.std, pixels=dataset.train_images.numpy(), labels=dataset.train_labels.numpy(),
            initial=problem.split.initial.numpy(), pool=pool.numpy(),
        )  # fmt: skip
        done = subprocess.run(
            [python, SCRIPT, name, file, json.dumps(asdict(work))], cwd=folder, capture_output=True, text=True
        )
    if done.returncode:
        raise RuntimeError(f"{NAMES[name]} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def arithmetic(work: Work, n_pool: int, full_passes: bool) -> float:
    """Floating-point operations of the round (multiplications and additions of all layers, no reuse of zeros).

    Args:
        full_passes: the pool goes K times through the whole network, instead of once through the trunk.
    """
    problem, _ = work.prepare()
    model = build_model(work.model, problem.dataset.train_images.shape, 10, generator(0, "initialisation"), "cpu").train()
    images = problem.train[torch.arange(8)]

    def count(function) -> float:
        with FlopCounterMode(display=False) as counter:
            function()
        return counter.get_total_flops() / len(images)

    features = model.features(images).detach()
    trunk, head = count(lambda: model.features(images)), count(lambda: model.head(features))
    step = count(lambda: F.cross_entropy(model(images), torch.zeros(len(images), dtype=torch.long)).backward())
    once = work.mc_samples * trunk if full_passes else trunk
    return step * work.n_labels * work.epochs + n_pool * (once + work.mc_samples * head)


def image_flops(side: int) -> float:
    """Floating-point operations of LeNet for one image of this side, as if dropout were off."""
    model = build_model("lenet", (1, side, side), 10, generator(0, "initialisation"), "cpu")
    with FlopCounterMode(display=False) as counter:
        model(torch.rand(1, 1, side, side))
    return counter.get_total_flops()


def peak_flops(threads: int, repeats: int = 20) -> float:
    """Floating-point operations per second of a large float32 matrix product: the best of some repeats."""
    before, best = torch.get_num_threads(), math.inf
    torch.set_num_threads(threads)
    try:
        a, b, out = torch.rand(2048, 1024), torch.rand(1024, 2048), torch.empty(2048, 2048)
        for _ in range(repeats):
            start = time.perf_counter()
            torch.mm(a, b, out=out)
            best = min(best, time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    return 2 * 2048 * 1024 * 2048 / best


def spread(seconds: Sequence[float]) -> str:
    """Median and range."""
    if len(seconds) == 1:
        return f"{seconds[0]:.2f} s (once)"
    return f"{median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def compared_training(halves: dict[str, list[dict[str, float]]]) -> str:
    """How long each program trained, and to what loss: its ranges over the repeats, of which each has another seed."""
    parts = []
    for name, repeats in halves.items():
        seconds, losses = median(each["fit"] for each in repeats), [each["loss"] for each in repeats]
        parts.append(f"{NAMES[name]} {seconds:.1f} s, loss {min(losses):.3f} to {max(losses):.3f} (n={len(repeats)})")
    return and_list(parts)


def fastest(function: Callable, repeats: int, device: str = "cpu") -> float:
    """Seconds of the fastest of some calls, within `repeatable`: what else runs on a machine only ever adds."""
    times = []
    with repeatable():
        for _ in range(repeats):
            start = time.perf_counter()
            function()
            if device != "cpu":
                torch.accelerator.synchronize(device)
            times.append(time.perf_counter() - start)
    return min(times)


def training(n_labels: int, epochs: int, side: int = 28) -> Callable:
    """A function that trains LeNet on `n_labels` synthetic images."""
    images, labels = torch.rand(n_labels, 1, side, side), torch.arange(n_labels) % 10
    config = ExperimentConfig(protocol="tuned", epochs=epochs, device="cpu")
    model = build_model("lenet", images.shape, 10, generator(0, "initialisation"), "cpu")
    return lambda: fit(model, images, labels, config, generator(0, "batches"))


def scoring(n_pool: int, mc_samples: int, side: int = 28, model: str = "lenet", device: str = "cpu") -> Callable:
    """A function that scores `n_pool` synthetic uint8 images; BALD, or max entropy of one pass without dropout."""
    g = generator(0, "pixels")
    pixels = torch.randint(0, 256, (n_pool, 1, side, side), dtype=torch.uint8, generator=g)
    images = Images(pixels.to(device), torch.tensor([0.5]), torch.tensor([0.3]))
    network = build_model(model, pixels.shape, 10, generator(0, "initialisation"), device)
    masks = network.draw_masks((mc_samples, 1), 0.5, generator(0, "posterior")) if mc_samples > 1 else None
    strategy = acquisition.get("bald" if masks else "max_entropy")
    return lambda: score_in_chunks(strategy, predictions(network, images, masks), n_pool, g)


def slope(x: Sequence[float], seconds: Sequence[float]) -> float:
    """Of the straight line through log seconds against log x: 1 is linear growth."""
    return float(np.polyfit(np.log(x), np.log(seconds), 1)[0])


def in_words(slope: float) -> str:
    """Within a tenth of 1 is linear: a fit through a few timings says no more."""
    return "more slowly than linearly" if slope < 0.9 else "linearly" if slope <= 1.1 else "FASTER than linearly"


@styled
def bars(seconds: dict[str, dict[str, list[float]]]) -> Figure:
    """Seconds of each competitor for each piece of work (median; the line spans all repeats), on a logarithmic axis."""
    figure = Figure(figsize=(7.2, 0.9 + 0.72 * len(seconds)))
    axes = figure.subplots()
    for row, (work, times) in enumerate(seconds.items()):
        for i, name in enumerate(NAMES):
            if name in times:
                y = row + 0.26 * (i - 1)
                middle = median(times[name])
                axes.barh(y, middle, 0.24, color=COLOURS[name], label=NAMES[name] if row == 0 else None)
                axes.plot([min(times[name]), max(times[name])], [y, y], color="black", linewidth=1)
                axes.text(max(times[name]) * 1.06, y, f"{middle:.2g} s" if middle < 10 else f"{middle:.0f} s", va="center")
    axes.set(yticks=range(len(seconds)), yticklabels=list(seconds), xlabel="seconds a round", xscale="log")
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlim(right=axes.get_xlim()[1] * 2)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


@styled
def growth(curves: dict[str, tuple[Sequence[float], dict[str, Sequence[float]]]]) -> Figure:
    """Seconds against what grows, one panel each, both axes logarithmic; the dashed line is linear growth."""
    figure = Figure(figsize=(3.3 * len(curves), 3.0))
    looks = (("#d55e00", "o"), ("#009e73", "s"))
    for axes, (what, (x, lines)) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items()):
        for (name, seconds), (colour, marker) in zip(lines.items(), looks):
            axes.plot(x, seconds, marker=marker, color=colour, label=name)
        most = max(seconds[-1] for seconds in lines.values())
        axes.plot(x, [most * value / x[-1] for value in x], "--", color="#bbbbbb", zorder=0, label="linear")
        axes.set(xlabel=what, xscale="log", yscale="log", ylabel="seconds")
        for axis, wide in ((axes.xaxis, 12), (axes.yaxis, 30)):  # numbers side by side need more room than one above the other
            low, high = axis.get_view_interval()
            axis.set_major_locator(LogLocator(subs=(1,) if high > wide * low else (1, 2, 5)))
            axis.set_major_formatter("{x:,g}")
            axis.set_minor_formatter(NullFormatter())
        axes.legend()
    return figure
