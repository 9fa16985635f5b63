"""Figures of what a recomputed network knows. Functions return a `Figure`; none draws to the screen."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..ledger import Round
from ..results.diagnosis import Diagnosis, confusion, reliability
from ..results.looks import styled
from .cards import BLUE, ORANGE


@styled
def knowledge(found: Diagnosis, class_names: list[str]) -> Figure:
    """The confusion matrix of the test images beside the reliability diagram."""
    figure = Figure(figsize=(9.6, 4.2))
    left, right = figure.subplots(1, 2)
    _confusions(left, found, class_names, counts=True)
    left.set_ylabel("true class")
    left.set_title(f"round {found.round}: {found.accuracy:.1%} of {len(found.true_N):,} test images", fontsize=9)
    right.set_title(f"expected calibration error {_reliability(right, found):.3f}", fontsize=9)
    right.set_ylabel("accuracy")
    right.legend(loc="lower right", fontsize=8)
    return figure


@styled
def knowledge_over_rounds(found: Sequence[Diagnosis], class_names: list[str], n_labels: Sequence[int]) -> Figure:
    """A column a round: the confusion matrix, all in one colour scale, above the reliability diagram, all in one frame."""
    figure = Figure(figsize=(1.6 + 1.85 * len(found), 5))
    above, below = figure.subplots(2, len(found), squeeze=False, sharey="row", height_ratios=[1.1, 1])
    for ax, one, n in zip(above, found, n_labels):
        shown = _confusions(ax, one, class_names, counts=False)
        ax.set_title(f"round {one.round}, {n:,} labels\n{one.accuracy:.1%} accuracy", fontsize=9)
    for ax, one in zip(below, found):
        ax.set_title(f"calibration error {_reliability(ax, one):.3f}", fontsize=9)
        ax.set_box_aspect(1)
        ax.set_xticks([0, 0.5, 1])
        ax.set_yticks([0, 0.5, 1])
    above[0].set_ylabel("true class")
    below[0].set_ylabel("accuracy")
    figure.colorbar(shown, ax=list(above), label="share of the true class", ticks=[0, 0.5, 1])
    return figure


def _confusions(ax, found: Diagnosis, class_names: list[str], counts: bool):
    """The confusion matrix, coloured by the share of each true class, from 0 to 1; `counts`: with the numbers of images."""
    counts_C_C = confusion(found.log_probs_N_C, found.true_N).numpy()
    share_C_C = counts_C_C / counts_C_C.sum(1, keepdims=True).clip(1)
    C = len(class_names)
    shown = ax.imshow(share_C_C, cmap="Blues", vmin=0, vmax=1)
    few = C <= 15  # more would not be read
    for i, j in np.argwhere(counts_C_C) if few and counts else ():
        ax.text(j, i, f"{counts_C_C[i, j]}", ha="center", va="center", fontsize=7,
                color="white" if share_C_C[i, j] > 0.5 else "black")  # fmt: skip
    ticks = range(C) if few else range(0, C, -(-C // 10))
    names = [class_names[c] for c in ticks]
    size = None if counts else 7
    ax.set_xticks(ticks, names, rotation=90 if max(map(len, names)) > 2 else 0, fontsize=size)
    ax.set_yticks(ticks, names, fontsize=size)
    ax.grid(False)
    ax.set_xlabel("taken for")
    return shown


def _reliability(ax, found: Diagnosis) -> float:
    """The accuracy in each bin of confidence, and returned the expected calibration error.

    Where the dots lie on the line, the network is as sure as it is right.
    """
    table = reliability(found.log_probs_N_C, found.true_N)
    ax.plot([0, 1], [0, 1], color="#888888", lw=1, ls="--", label="as sure as right")
    ax.scatter(table.confidence, table.accuracy, s=8 + 250 * table.n / table.n.sum(), color=BLUE,
               label="bins of confidence, as large as their share")  # fmt: skip
    ax.set_xlim(0, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("confidence")
    return float((table.n * (table.accuracy - table.confidence).abs()).sum() / table.n.sum())


@styled
def pool_map(found: Diagnosis, classes_M: np.ndarray, class_names: list[str], rounds: list[Round], strategy: str) -> Figure:
    """The pool's images where the network has them, by class, and on them the queries up to the round, by round."""
    figure = Figure(figsize=(9.6, 4.4))
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    x, y = found.map_M_2.T.numpy()
    colours = "tab10" if len(class_names) <= 10 else "nipy_spectral"
    known = classes_M >= 0
    left.scatter(x[~known], y[~known], s=4, color="#bbbbbb", alpha=0.6)
    left.scatter(x[known], y[known], s=4, c=classes_M[known], cmap=colours, alpha=0.6)
    for c, name in enumerate(class_names[:20]):
        if (classes_M == c).any():
            left.text(np.median(x[classes_M == c]), np.median(y[classes_M == c]), name, fontsize=8, ha="center",
                      bbox={"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 1})  # fmt: skip
    right.scatter(x, y, s=4, color="#cccccc")
    place = {image: row for row, image in enumerate(found.images_M.tolist())}
    queried = [(place[i], r.round) for r in rounds[: found.round + 1] for i in r.queried]
    if queried:
        rows, numbers = map(list, zip(*queried))
        dots = right.scatter(x[rows], y[rows], s=16, c=numbers, cmap="plasma", edgecolors="black", linewidths=0.3)
        if len(set(numbers)) > 1:
            figure.colorbar(dots, ax=right, label="round of the query", ticks=MaxNLocator(integer=True))
    shares = " and ".join(f"{share:.0%}" for share in found.share_2)
    left.set_title("the pool, by true class" if known.all() else "the pool, by true class (grey: not known)", fontsize=9)
    right.set_title(f"queries of {strategy} up to round {found.round}", fontsize=9)
    for ax in (left, right):
        ax.set_xlabel("first principal component")
    left.set_ylabel(f"second ({shares} of the variance)")
    return figure


@styled
def through_rounds(table: pd.DataFrame, image: int, asked: pd.DataFrame) -> Figure:
    """`diagnosis.over_rounds`: the probability of an image's class over the rounds, and where it was queried."""
    figure = Figure(figsize=(6.4, 2.8))
    ax = figure.subplots()
    known = table["of its class"].notna().any()
    ax.plot(table["round"], 100 * (table["of its class"] if known else table["confidence"]), color=BLUE, marker="o",
            label="probability of its class" if known else "probability of the likeliest class")  # fmt: skip
    for number in sorted(set(asked["round"])):
        ax.axvline(number, color=ORANGE, ls=":", label="queried" if number == asked["round"].min() else None)
    ax.set_ylim(-2, 102)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("round")
    ax.set_ylabel(f"image {image} (%)")
    figure.legend(loc="outside upper left", ncols=2)
    return figure
