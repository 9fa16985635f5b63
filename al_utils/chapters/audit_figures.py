"""The figures of the audit, in the project's style. Rounds are rows of `ledger.read_ledgers`."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..results.curves import wide
from ..results.figures import mean_curve
from ..results.looks import Look, strategy_style, styled
from ..results.paper import DATASETS, MODELS, NOISES
from ..words import label
from .audit import last_batch, points

LAST_BATCH = {"keep": ("#d55e00", "o"), "drop": ("#0072b2", "s"), "balance": ("#009e73", "^")}
BARS = ("#4d4d4d", "#8da0b8", "#d9c9a3")
CURVES: dict[str, Look] = {
    "random": strategy_style("random"),
    "max. entropy": strategy_style("max_entropy"),
    "BALD, MC dropout": strategy_style("bald"),
    "BALD as released": strategy_style("bald_as_released"),
    "MC-dropout BALD, sign flipped": strategy_style("bald_flipped"),
}


@styled
def dips(rounds: pd.DataFrame, batch_size: int) -> Figure:
    """Accuracy of each run against its labels, for each treatment of the short batch; below it, that batch's size."""
    figure = Figure(figsize=(7.6, 4.2))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    for how, (colour, marker) in LAST_BATCH.items():
        runs = rounds[rounds.last_batch == how]
        if runs.empty:
            continue
        above.plot(runs.n_labels, points(runs), marker, color=colour, alpha=0.7, label=f"last batch: {how}")
        if how == "keep":
            mean = points(runs).groupby(runs.n_labels).mean()
            above.plot(mean.index, mean, color=colour, lw=1)
    n = np.arange(rounds.n_labels.min(), rounds.n_labels.max() + 1)
    below.plot(n, [last_batch(k, batch_size) for k in n], color="#cccccc", lw=0.8)
    kept = sorted(rounds.n_labels.unique())
    below.plot(kept, [last_batch(k, batch_size) for k in kept], "o", color="#d55e00", ms=3)
    below.set(xlabel="labels", ylabel="images in\nlast batch", ylim=(0, batch_size * 1.05))
    above.set(ylabel="test accuracy (%)", ylim=(0, 100))
    above.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@styled
def optimiser(rounds: pd.DataFrame, paper: tuple[float, float]) -> Figure:
    """Mean accuracy for learning rate × dropout, a panel per momentum; the paper's cell is framed (lr, dropout)."""
    momenta = sorted(rounds.momentum.unique())
    rates, dropouts = sorted(rounds.lr.unique()), sorted(rounds.dropout.unique())
    figure = Figure(figsize=(3.7 * len(momenta), 0.9 + 0.5 * len(dropouts)))
    for axes, momentum in zip(figure.subplots(1, len(momenta), squeeze=False)[0], momenta):
        part = rounds[rounds.momentum == momentum]
        cells = points(part).groupby([part.dropout, part.lr])
        mean, low, high = (getattr(cells, f)().unstack() for f in ("mean", "min", "max"))
        axes.imshow(mean, cmap="Blues", vmin=0, vmax=120, aspect="auto")
        for (i, j), value in np.ndenumerate(mean.to_numpy()):
            text = f"{value:.0f}\n{low.iloc[i, j]:.0f} to {high.iloc[i, j]:.0f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if value > 70 else "#222222")
        if momentum == 0 and paper[0] in rates and paper[1] in dropouts:
            corner = (rates.index(paper[0]) - 0.48, dropouts.index(paper[1]) - 0.48)
            axes.add_patch(Rectangle(corner, 0.96, 0.96, fill=False, ec="#d55e00", lw=2.5))
        axes.set(xlabel="learning rate", ylabel="dropout", xticks=range(len(rates)), yticks=range(len(dropouts)),
                 xticklabels=[f"{r:g}" for r in rates], yticklabels=[f"{d:g}" for d in dropouts])  # fmt: skip
        axes.set_title(f"momentum {momentum:g}", loc="left")
        axes.grid(False)
    return figure


@styled
def scores(scores_N: dict[str, torch.Tensor]) -> Figure:
    """Histograms of the scores `[N]` of a pool, in nats, a panel each."""
    figure = Figure(figsize=(3.6 * len(scores_N), 2.5))
    for axes, (name, values) in zip(figure.subplots(1, len(scores_N), squeeze=False)[0], scores_N.items()):
        axes.hist(values.numpy(), bins=60, color="#d55e00")
        axes.set(xlabel="score (nats)", ylabel="images of the pool", yscale="log")
        axes.set_title(name, loc="left")
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 3))
        axes.locator_params(axis="x", nbins=5)
    return figure


@styled
def curves(runs: dict[str, pd.DataFrame]) -> Figure:
    """Accuracy against labels, a line per entry: mean, standard-error band, runs thin behind."""
    figure = Figure(figsize=(8.0, 3.6))
    axes = figure.subplots()
    for name, rounds in runs.items():
        mean_curve(axes, wide(rounds), CURVES[name], name)
    axes.set(xlabel="labels", ylabel="test accuracy (%)")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=3)
    return figure


@styled
def pixels(images: dict[str, torch.Tensor]) -> Figure:
    """Histograms of pixel values in standardised units, a panel each."""
    figure = Figure(figsize=(2.3 * len(images), 2.3))
    low, high = min(float(p.min()) for p in images.values()), max(float(p.max()) for p in images.values())
    for axes, (name, values) in zip(figure.subplots(1, len(images), squeeze=False, sharey=True)[0], images.items()):
        axes.hist(values.flatten().numpy(), bins=np.linspace(low, high, 60), color="#555555")
        axes.set(xlabel="pixel value", yscale="log")
        axes.set_title(name, loc="left", fontsize=9)
    figure.axes[0].set_ylabel("pixels")
    return figure


@styled
def dots(values: dict[str, dict[str, Sequence[float]]], xlabel: str, line: float | None = None) -> Figure:
    """A row per entry, and in it a dot per value and a bar at the mean for each strategy."""
    figure = Figure(figsize=(6.6, 1.0 + 0.36 * len(values)))
    axes, seen = figure.subplots(), set()
    for y, by_strategy in enumerate(values.values()):
        for k, (strategy, each) in enumerate(by_strategy.items()):
            colour, _, marker = strategy_style(strategy)
            height = y + 0.22 * (k - (len(by_strategy) - 1) / 2)
            name = label(strategy) if strategy not in seen else None
            axes.plot(each, [height] * len(each), marker, ls="", color=colour, alpha=0.5, label=name)
            axes.plot([np.mean(each)] * 2, [height - 0.12, height + 0.12], color=colour, lw=2.5)
            seen.add(strategy)
    if line is not None:
        axes.axvline(line, color="#888888", lw=1)
    axes.set(xlabel=xlabel, yticks=range(len(values)), yticklabels=list(values))
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@styled
def variance(parts: dict[str, dict[str, float]]) -> Figure:
    """Standard deviations' squares as stacked shares, a bar per entry."""
    figure = Figure(figsize=(6.6, 1.0 + 0.45 * len(parts)))
    axes = figure.subplots()
    for y, components in enumerate(parts.values()):
        left, total = 0.0, sum(components.values())
        for (name, value), colour in zip(components.items(), BARS):
            axes.barh(y, 100 * value / total, left=left, color=colour, label=name if y == 0 else None)
            left += 100 * value / total
        axes.text(101, y, f"std. dev. {math.sqrt(total):.1f} points", va="center")
    axes.set(xlabel="share of the variance between runs (%)", yticks=range(len(parts)), yticklabels=list(parts), xlim=(0, 100))
    axes.set_ylim(len(parts) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper left", ncols=3)
    return figure


@styled
def comparisons(table: pd.DataFrame) -> Figure:
    """`audit.comparisons` as a heat map: the probability of a wrong order with three seeds, and below it the seeds needed."""
    columns = [(d, a, b) for d in DATASETS for a, b in zip(table.a[:3], table.b[:3])]
    rows = [(model, noise) for model in MODELS for noise in NOISES]
    figure = Figure(figsize=(10.4, 4.0))
    axes = figure.subplots()
    cells = table.set_index(["model", "noise", "dataset", "a", "b"])
    wrong = np.array([[100 * cells.wrong_order[(*row, *column)] for column in columns] for row in rows])
    axes.imshow(wrong, cmap="Oranges", vmin=0, vmax=60, aspect="auto")
    for (i, j), value in np.ndenumerate(wrong):
        n = cells.seeds[(*rows[i], *columns[j])]
        text = f"{value:.0f}%\n{'over 10,000' if math.isinf(n) else f'{n:,.0f}'}"
        axes.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if value > 42 else "#222222")
    axes.set_yticks(range(len(rows)), [", ".join(map(label, row)) for row in rows])
    heads = [f"{label(a)}\nminus\n{label(b)}" for _, a, b in columns]
    axes.set_xticks(range(len(columns)), heads, fontsize=8)
    for k, dataset in enumerate(DATASETS):
        axes.text(3 * k + 1, -0.62, label(dataset), ha="center", va="bottom", weight="bold")
        axes.axvline(3 * k - 0.5, color="white", lw=4)
    axes.grid(False)
    axes.tick_params(length=0)
    return figure
