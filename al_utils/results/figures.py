"""How results look: one style for every figure and table. Functions return a `Figure`; none draws to the screen."""

import functools
import itertools
import zlib
from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..words import dataset_label, label
from .studies import NOT_RUN, SECONDS, by_study, groups, ordered

STYLE = {
    "figure.dpi": 90, "figure.constrained_layout.use": True, "font.size": 9, "axes.titlesize": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#888888", "axes.grid": True,
    "axes.axisbelow": True, "grid.color": "#e6e6e6", "grid.linewidth": 0.7, "xtick.color": "#555555",
    "ytick.color": "#555555", "legend.frameon": False, "lines.linewidth": 1.5, "lines.markersize": 4.5,
    "text.parse_math": False,  # a class may be called $1
}  # fmt: skip
# (colour, line style, marker): colour is never the only sign. Okabe and Ito's colours, told apart by the colour-blind.
STRATEGY = {"random": ("#7f7f7f", "--", "o"), "max_entropy": ("#0072b2", "-.", "s"), "bald": ("#d55e00", "-", "^")}
NOISE = {"none": (0.0, "-", "o"), "gaussian": (0.35, "--", "s"), "salt_and_pepper": (0.6, ":", "D")}  # share of white, …
_COLOURS = ("#009e73", "#cc79a7", "#56b4e9", "#b8860b", "#6a3d9a", "#8c564b", "#17becf")
_DASHES = ((0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 2, 2)))
_MARKERS = ("v", "P", "X", "<", "*", ">")


def strategy_style(strategy: str) -> tuple:
    """Colour, line style and marker of a strategy, the same in every figure; of a new one they follow from its name."""
    if strategy in STRATEGY:
        return STRATEGY[strategy]
    number = zlib.crc32(strategy.encode(), 196)  # a salt under which the commonest other names differ in colour
    return tuple(signs[number // step % len(signs)] for signs, step in ((_COLOURS, 1), (_DASHES, 64), (_MARKERS, 4096)))


def noise_style(noise: str, strategy: str) -> tuple:
    """The strategy's colour, the paler the noise; line style and marker are the noise's."""
    white, dashes, marker = NOISE[noise]
    colour = np.array(matplotlib.colors.to_rgb(strategy_style(strategy)[0]))
    return tuple(colour + white * (1 - colour)), dashes, marker


def styled(function):
    """Draw in the project's style, and leave matplotlib's settings as they were."""

    @functools.wraps(function)
    def draw(*args, **options):
        with matplotlib.rc_context(STYLE):
            return function(*args, **options)

    return draw


@styled
def learning_curves(
    study: pd.DataFrame,
    metric: str = "test_accuracy",
    rows: str = "model",
    columns: str = "dataset",
    lines: str = "strategy",
) -> Figure:
    """Accuracy in % against the number of labels: mean and standard-error band over seeds, every run thin behind.

    `rows`, `columns` and `lines` name the fields laid out as rows, columns and lines (`strategy` or `noise`) of the
    figure. `metric` is `test_accuracy`, `test_accuracy_clean` or `valid_accuracy`.

    Raises:
        ValueError: the rounds mix studies, or fields that are not laid out; their mean would mean nothing.
    """
    _check_unmixed(study, {rows, columns, lines})
    share = "col"  # panels of one data set have one scale
    if study[columns].nunique() == 1:
        rows, columns, share = columns, rows, "row"  # side by side rather than a tower
    across, down = ordered(study[columns]), ordered(study[rows])
    if not across:
        return _empty(NOT_RUN)
    figure = Figure(figsize=(max(4.2, 3.1 * len(across)) + 0.4, 2.6 * len(down) + 0.5))
    axes = figure.subplots(len(down), len(across), squeeze=False, sharex="col", sharey=share)
    for (i, row), (j, column) in itertools.product(enumerate(down), enumerate(across)):
        _curves(axes[i, j], study[(study[rows] == row) & (study[columns] == column)], metric, lines)
        names = sorted([(columns, column), (rows, row)], key=lambda part: part[0] != "dataset")
        axes[i, j].set_title(", ".join(_name(*part) for part in names), loc="left")
    what = {"valid_accuracy": "validation accuracy", "test_accuracy_clean": "test accuracy, clean images"}
    for ax in axes[:, 0]:
        ax.set_ylabel(f"{what.get(metric, 'test accuracy')} (%)")
    for ax in axes[-1]:
        ax.set_xlabel("labels")
    _legends(figure, axes)
    return figure


def _check_unmixed(study, laid_out):
    mixed = [f for f in ("dataset", "model", "strategy", "noise") if f not in laid_out and study[f].nunique() > 1]
    if mixed or len(split := by_study(study, unfinished=True)) > 1:
        what = f"several values of {', '.join(mixed)}" if mixed else f"studies: {'; '.join(split)}"
        raise ValueError(f"these rounds mix {what}. Select one first, or split them with studies.by_study.")


def _curves(ax, panel, metric, lines):
    if panel.empty:
        return _not_run(ax)
    for name in ordered(panel[lines]):
        runs = panel[panel[lines] == name]
        style = strategy_style(name) if lines == "strategy" else noise_style(name, runs.strategy.iloc[0])
        colour, dashes, marker = style
        wide = 100 * runs.pivot(index="n_labels", columns="seed", values=metric).astype(float)
        mean, error = wide.mean(axis=1), wide.sem(axis=1).fillna(0)
        ax.plot(wide.index, wide, color=colour, lw=0.6, alpha=0.4)
        ax.fill_between(wide.index, mean - error, mean + error, color=colour, alpha=0.16, lw=0)
        ax.plot(wide.index, mean, color=colour, ls=dashes, marker=marker, markevery=max(1, len(wide) // 8),
                label=f"{label(name)} (n={wide.shape[1]})")  # fmt: skip


def _legends(figure, axes):
    """One legend above the panels where they agree, else one in each."""
    found = [ax.get_legend_handles_labels() for ax in axes.flat]
    found = [(handles, labels) for handles, labels in found if labels]
    if found and all(labels == found[0][1] for _, labels in found):
        figure.legend(*found[0], loc="outside upper left", ncols=int(figure.get_figwidth() / 1.9), handlelength=3)
    else:
        for ax in axes.flat:
            if ax.get_legend_handles_labels()[1]:
                ax.legend(loc="lower right", fontsize=8, handlelength=3)


def _not_run(ax, text=NOT_RUN):
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="#888888")
    ax.grid(False)


def _name(field, value):
    return dataset_label(value) if field == "dataset" else label(value)


@styled
def class_balance(balance: pd.DataFrame, class_names: Sequence[str] | None = None) -> Figure:
    """Heat map of `report.class_balance` for one data set: network and strategy by class; white is an even share."""
    rows = [(f"{label(m)}, {label(s)}", part) for (_, m, s), part in groups(balance, ["dataset", "model", "strategy"])]
    if not rows:
        return _empty("no queries")
    shares = 100 * np.array([part.share for _, part in rows])
    even, n = 100 * balance.uniform.iloc[0], shares.shape[1]
    figure = Figure(figsize=(2.4 + 0.55 * n, 0.9 + 0.32 * len(rows)))
    ax = figure.subplots()
    far = max(np.abs(shares - even).max(), even / 2)
    ax.imshow(shares, cmap="PuOr_r", vmin=even - far, vmax=even + far, aspect="auto")
    for (i, j), share in np.ndenumerate(shares):
        colour = "white" if abs(share - even) > 0.65 * far else "#222222"
        ax.text(j, i, f"{share:.0f}", ha="center", va="center", color=colour)
    names = list(class_names) if class_names is not None else range(n)
    ax.set_xticks(range(n), names, rotation=0 if max(len(str(c)) for c in names) < 5 else 35, ha="center")
    ax.set_yticks(range(len(rows)), [name for name, _ in rows])
    ax.set_xlabel("class")
    ax.set_title(f"{dataset_label(balance.dataset.iloc[0])}: share of the queries (%)", loc="left")
    ax.grid(False)
    ax.tick_params(length=0)
    return figure


@styled
def noisy_share(shares: pd.DataFrame) -> Figure:
    """`report.noisy_share` as points against the noise rate (line) and the 95% band of a blind draw (grey bars)."""
    figure, panels = _bars(shares, ["model", "noise", "strategy"], "noisy queries (%)", "no noisy images")
    for ax, part in panels:
        for y, row in zip(part.y, part.itertuples()):
            colour, _, marker = strategy_style(row.strategy)
            ax.barh(y, 100 * (row.high - row.low), left=100 * row.low, height=0.8, color="#dddddd")
            ax.plot([100 * row.rate] * 2, [y - 0.4, y + 0.4], color="#888888", lw=1)
            ax.plot(100 * row.share, y, marker, color=colour, ms=6)
        ax.set_xlim(0, 108 * max(shares.share.max(), shares.high.max()))
    return figure


@styled
def seconds(table: pd.DataFrame) -> Figure:
    """`report.seconds_per_round` as stacked bars, one panel per data set."""
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
        shown = image_C_H_W[0] if len(image_C_H_W) == 1 else image_C_H_W.transpose(1, 2, 0)
        ax.imshow(shown, cmap="gray", vmin=0, vmax=255 if images.dtype == np.uint8 else 1, interpolation="nearest")
        ax.set_title(title, fontsize=8, pad=2)
    return figure


def _empty(text):
    figure = Figure(figsize=(4, 1))
    ax = figure.subplots()
    ax.axis("off")
    _not_run(ax, text)
    return figure
