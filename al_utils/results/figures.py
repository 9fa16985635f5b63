"""Every figure of results, in one style (`looks`). Functions return a `Figure`; none draws to the screen."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..words import dataset_label, label
from . import curves
from .looks import Look, look, strategy_style, styled
from .studies import NOT_RUN, SECONDS, by_study, each_row, groups, ordered

MOST_ACROSS = 4  # panels beside each other, where they make one row


@styled
def learning_curves(
    study: pd.DataFrame,
    metric: str = "test_accuracy",
    rows: str = "model",
    columns: str = "dataset",
    lines: str = "strategy",
) -> Figure:
    """Accuracy in % against the number of labels: mean and standard-error band over seeds, every run thin behind.

    `rows`, `columns` and `lines` name the fields laid out as rows, columns and lines of the figure. `metric` is
    `test_accuracy`, `test_accuracy_clean` or `valid_accuracy`.

    Raises:
        ValueError: the rounds mix studies, or fields that are not laid out; their mean would mean nothing.
    """
    _check_unmixed(study, {rows, columns, lines})
    share: Literal["col", "row"] = "col"  # panels of one data set have one scale
    if study[columns].nunique() == 1:
        rows, columns, share = columns, rows, "row"  # side by side rather than a tower
    across, down = ordered(study[columns]), ordered(study[rows])
    if not across:
        return _empty(NOT_RUN)
    run = {(row, column) for row, column in each_row(study[[rows, columns]].drop_duplicates())}
    places = [(row, column) for row in down for column in across]
    shape = len(down), len(across)
    if min(shape) > 1 and len(run) <= max(shape):  # as if each data set had a network of its own
        places, shape = [place for place in places if place in run], (1, len(run))
    if shape[0] == 1 and shape[1] > MOST_ACROSS:
        shape = math.ceil(len(places) / MOST_ACROSS), MOST_ACROSS
    whole = shape == (len(down), len(across))
    figure = Figure(figsize=(max(4.2, 3.1 * shape[1]) + 0.4, 2.6 * shape[0] + 0.5))
    axes = figure.subplots(*shape, squeeze=False, sharex="col" if whole else False, sharey=share if whole else share == "row")
    for ax, (row, column) in zip(axes.flat, places):
        panel = study[(study[rows] == row) & (study[columns] == column)]
        _curves(ax, panel, metric, lines, ordered(study[lines]))
        names = sorted([(columns, column), (rows, row)], key=lambda part: part[0] != "dataset")
        ax.set_title(", ".join(_name(*part) for part in names), loc="left")
    for ax in axes.flat[len(places) :]:
        ax.axis("off")
    what = {"valid_accuracy": "validation accuracy", "test_accuracy_clean": "test accuracy, clean images"}
    for ax in axes[:, 0]:
        ax.set_ylabel(f"{what.get(metric, 'test accuracy')} (%)")
    for ax in axes[-1]:
        ax.set_xlabel("labels")
    _legends(figure, axes)
    return figure


def _check_unmixed(rounds, laid_out):
    laid_out = laid_out | ({"dataset", "model", "noise"} if "cell" in laid_out else set())  # a cell is these three
    fields = [field for field in ("dataset", "model", "strategy", "noise", "study") if field in rounds]
    mixed = [field for field in fields if field not in laid_out and rounds[field].nunique() > 1]
    if mixed:
        what = f"several values of {', '.join(mixed)}"
    elif "study" not in laid_out and len(split := by_study(rounds, unfinished=True)) > 1:
        what = f"studies: {'; '.join(split)}"
    else:
        return
    raise ValueError(f"these rounds mix {what}. Select one first, or split them with studies.by_study.")


def mean_curve(axes: Axes, runs: pd.DataFrame, style: Look, name: str) -> None:
    """The mean of `runs` (labels × seed) with the band of its standard error, every run thin behind; n stands in the legend."""
    mean, error = runs.mean(axis=1), runs.sem(axis=1).fillna(0)
    axes.plot(runs.index, runs, color=style.colour, lw=0.6, alpha=0.4)
    axes.fill_between(runs.index, mean - error, mean + error, color=style.colour, alpha=0.16, lw=0)
    axes.plot(runs.index, mean, color=style.colour, ls=style.dashes, marker=style.marker, markevery=max(1, len(runs) // 8),
              label=f"{name} (n={runs.shape[1]})")  # fmt: skip


def _curves(ax, panel, metric, lines, values):
    if panel.empty:
        return _not_run(ax)
    for position, value in enumerate(values):
        if len(runs := panel[panel[lines] == value]):
            mean_curve(ax, curves.wide(runs, metric), look(lines, value, position), _name(lines, value))


@styled
def differences_to_random(study: pd.DataFrame, metric: str = "test_accuracy") -> Figure:
    """Each strategy's accuracy minus random's against labels, paired by seed, a panel for each cell.

    The band holds the whole true curve with 95% (`curves.simultaneous_band`): where it leaves zero, the strategies differ.
    """
    panels = [(key, cell) for key, cell in groups(study, ["dataset", "model", "noise"]) if {"random"} < set(cell.strategy)]
    if not panels:
        return _empty(NOT_RUN)
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(3.1 * across + 0.9, 2.5 * down + 0.5))
    axes = figure.subplots(down, across, squeeze=False, sharey=True)
    for ax, (key, cell) in zip(axes.flat, panels):
        runs = {name: curves.wide(rounds, metric) for name, rounds in cell.groupby("strategy")}
        bands = curves.band_against(runs)
        for name in ordered(bands):
            band, style, n = bands[name], strategy_style(name), len(runs[name].columns.intersection(runs["random"].columns))
            if n > 1:
                ax.fill_between(band.index, band.low, band.high, color=style.colour, alpha=0.15, lw=0)
            ax.plot(band.index, band["mean"], color=style.colour, ls=style.dashes, label=f"{label(name)} (n={n})")
        ax.axhline(0, color="#888888", lw=1)
        ax.set_title(", ".join([dataset_label(key[0]), *map(label, key[1:])]), loc="left", fontsize=9)
        ax.set_xlabel("labels")
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy minus random's (points)")
    _legends(figure, axes)
    return figure


def _legends(figure, axes):
    """One legend above the panels where the fullest holds all others, else one below each."""
    found = [ax.get_legend_handles_labels() for ax in axes.flat]
    handles, labels = max(found, key=lambda legend: len(legend[1]))
    if all(set(others) <= set(labels) for _, others in found):
        if labels:
            ncols = int(figure.get_figwidth() / 1.9)
            figure.legend(handles, labels, loc="outside upper left", ncols=ncols, handlelength=3)
            more_rows = max(0, -(-len(labels) // ncols) - 2)  # than the figure's height has room for
            figure.set_figheight(figure.get_figheight() + 0.2 * more_rows)
    else:
        figure.set_figheight(figure.get_figheight() + (0.1 + 0.17 * len(labels)) * len(axes))
        for ax in axes.flat:
            if ax.get_legend_handles_labels()[1]:
                ax.legend(loc="upper left", bbox_to_anchor=(0, -0.2), fontsize=8, handlelength=3)


def _not_run(ax, text=NOT_RUN):
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="#888888")
    ax.grid(False)


def _name(field, value):
    return dataset_label(value) if field == "dataset" else label(value) if isinstance(value, str) else f"{field} {value}"


@styled
def class_balance(balance: pd.DataFrame, class_names: Sequence[str] | None = None, most: int = 30) -> Figure:
    """Heat map of `queries.class_balance` for one data set: network and strategy by class; white is random's share.

    Of more than `most` classes it shows those that are the farthest from random's share.
    """
    rows = [(f"{label(m)}, {label(s)}", part) for (_, m, s), part in groups(balance, ["dataset", "model", "strategy"])]
    if not rows:
        return _empty("no queries")
    shares = 100 * np.array([part.share for _, part in rows])
    excess, n_classes = shares - 100 * np.array([part.expected for _, part in rows]), shares.shape[1]
    shown = np.sort(np.argsort(-np.abs(excess).max(0), kind="stable")[:most])
    figure = Figure(figsize=(2.4 + 0.55 * len(shown), 0.9 + 0.32 * len(rows)))
    ax = figure.subplots()
    far = max(np.abs(excess).max(), 50 / n_classes)
    ax.imshow(excess[:, shown], cmap="PuOr_r", vmin=-far, vmax=far, aspect="auto")
    digits = 0 if n_classes <= most else 1
    for i, (j, c) in itertools.product(range(len(rows)), enumerate(shown)):
        colour = "white" if abs(excess[i, c]) > 0.65 * far else "#222222"
        ax.text(j, i, f"{shares[i, c]:.{digits}f}", ha="center", va="center", color=colour)
    names = [str(class_names[c] if class_names is not None else c) for c in shown]
    ax.set_xticks(range(len(shown)), names, rotation=0 if max(map(len, names)) < 5 else 35, ha="center")
    ax.set_yticks(range(len(rows)), [name for name, _ in rows])
    part = "" if len(shown) == n_classes else f", the {len(shown)} of {n_classes:,} classes farthest from random's share"
    ax.set_xlabel("class")
    ax.set_title(f"{dataset_label(balance.dataset.iloc[0])}: share of the queries (%){part}", loc="left")
    ax.grid(False)
    ax.tick_params(length=0)
    return figure


@styled
def first_and_last(images: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Images `[n, C, H, W]` of the first and of the last query, a row for each strategy, the most wanted first."""
    n = max(len(query) for both in images.values() for query in both)
    figure = Figure(figsize=(1.5 + 0.55 * (2 * n + 1), 0.35 + 0.58 * len(images)))
    gap = 0.6  # of an image, between the two queries
    axes = figure.subplots(len(images), 2 * n + 1, squeeze=False, width_ratios=[*[1] * n, gap, *[1] * n])
    for row, (strategy, (first, last)) in zip(axes, images.items()):
        for ax in row:
            ax.axis("off")
        for ax, image_C_H_W in [*zip(row[:n], first), *zip(row[n + 1 :], last)]:
            _show(ax, image_C_H_W, highest=255)
        row[0].text(-0.2, 0.5, label(strategy), transform=row[0].transAxes, ha="right", va="center")
    axes[0, 0].set_title("first query", loc="left", fontsize=8)
    axes[0, n + 1].set_title("last query", loc="left", fontsize=8)
    return figure


def _show(ax, image_C_H_W, highest):
    shown = image_C_H_W[0] if len(image_C_H_W) == 1 else image_C_H_W.transpose(1, 2, 0)
    ax.imshow(shown, cmap="gray", vmin=0, vmax=highest, interpolation="nearest")


@styled
def noisy_share(shares: pd.DataFrame) -> Figure:
    """`queries.noisy_share` as points with their 95% intervals over seeds, against the noise rate (grey line)."""
    figure, panels = _bars(shares, ["model", "noise", "strategy"], "noisy queries (%)", "no noisy images")
    for ax, part in panels:
        for y, row in zip(part.y, each_row(part)):
            colour, _, marker = strategy_style(row.strategy)
            ax.plot([100 * row.rate] * 2, [y - 0.5, y + 0.5], color="#888888", lw=1)
            if row.excess.n > 1:
                ax.plot([100 * row.low, 100 * row.high], [y, y], color=colour, lw=1.2)
            ax.plot(100 * row.share, y, marker, color=colour, ms=6)
        ax.set_xlim(0, min(100, 250 * shares.share.max()))
    return figure


@styled
def seconds(table: pd.DataFrame) -> Figure:
    """`tables.seconds_per_round` as stacked bars, one panel per data set."""
    figure, panels = _bars(table, ["model", "strategy"], "seconds per round", NOT_RUN)
    looks = dict(zip(SECONDS, [("#4d4d4d", ""), ("#8da0b8", ""), ("#c6b48f", "////"), ("#ffffff", "....")]))
    for ax, part in panels:
        left = 0
        for stage, (colour, hatch) in looks.items():
            ax.barh(part.y, part[stage], left=left, height=0.7, color=colour, hatch=hatch, ec="#4d4d4d", lw=0.5, label=stage)
            left = left + part[stage]
        for y, total in zip(part.y, part.total):
            ax.text(total, y, f"  {total:.2g}" if total < 10 else f"  {total:.0f}", va="center", color="#555555")
        ax.set_xlim(0, 1.2 * part.total.max() or 1)
    if panels:
        figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper left", ncols=len(SECONDS))
    return figure


def _bars(table, keys, xlabel, nothing):
    """A figure for horizontal bars, and a pair (axes, its rows with their height `y`) per data set."""
    if table.empty:
        return _empty(nothing), []
    panels = groups(table, ["dataset"])
    names = [key for key, _ in groups(table, keys)]
    figure = Figure(figsize=(2.6 + 2.5 * len(panels), 1.2 + 0.26 * len(names)))
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    axes[0].set_yticks(range(len(names)), [", ".join(map(label, name)) for name in names])
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    for ax, ((dataset,), _) in zip(axes, panels):
        ax.set_title(dataset_label(dataset), loc="left")
        ax.set_xlabel(xlabel)
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
    heights = [part.assign(y=[names.index(tuple(key)) for key in part[keys].values]) for _, part in panels]
    return figure, list(zip(axes, heights))


@styled
def image_grid(images_N_C_H_W, titles: Sequence[str] | None = None, columns: int = 10, size: float = 1.0) -> Figure:
    """Images in rows of `columns`, each `size` inches wide: uint8, or floats, of which those beyond 0…1 are rescaled."""
    images = np.asarray(images_N_C_H_W)
    if not len(images):
        return _empty("no images")
    if images.dtype != np.uint8:
        low, high = min(images.min(), 0.0), max(images.max(), 1.0)
        images = (images - low) / (high - low)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(size * columns, (size + (0.25 if titles else 0.0)) * rows))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.axis("off")
    for ax, image_C_H_W, title in zip(axes, images, titles or [""] * len(images)):
        _show(ax, image_C_H_W, highest=255 if images.dtype == np.uint8 else 1)
        ax.set_title(title, fontsize=8, pad=2)
    return figure


def _empty(text):
    figure = Figure(figsize=(4, 1))
    ax = figure.subplots()
    ax.axis("off")
    _not_run(ax, text)
    return figure
