"""The paper's cells as a figure: its numbers, and ours with their intervals."""

import math

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..words import dataset_label, label
from .beside import were_run
from .looks import strategy_style, styled
from .studies import each_row, groups

PROTOCOLS = {"paper": -0.13, "as_released": 0.2}  # how far below a row's middle each stands
CHANCE = 10  # percent: the paper's data sets have ten classes
GREY = "#555555"


@styled
def cells_figure(cells: pd.DataFrame) -> Figure:
    """`beside.cells_beside`, of which some were run, as points with 95% intervals over seeds; the published number as a line.

    A panel for each data set and network, a row for each noise and strategy that was run there. One seed has no interval.
    """
    panels = groups(were_run(cells), ["dataset", "model"])
    most = max(len(panel) for _, panel in panels)
    figure = Figure(figsize=(2.4 + 2.6 * len(panels), 1.2 + 0.28 * most))
    for ax, ((dataset, model), panel) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        ax.axvline(CHANCE, color=GREY, lw=0.9, ls=":")
        rows = [row for _, part in groups(panel, ["noise", "strategy"]) for row in each_row(part)]
        for y, row in enumerate(rows):
            ax.plot([row.published] * 2, [y - 0.4, y + 0.4], color="black", lw=1.8)
            for protocol, below in PROTOCOLS.items():
                _ours(ax, row._asdict(), protocol, y + below)
        ax.set_title(f"{dataset_label(dataset)}, {label(model)}", loc="left")
        ax.set_xlabel("final test accuracy (%)")
        ax.set_yticks(range(len(rows)), [f"{label(row.noise)}, {label(row.strategy)}" for row in rows])
        ax.set_ylim(most - 0.4, -0.6)
        ax.set_xlim(left=0)
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
    published = Line2D([], [], color="black", lw=1.8, label="published")
    chance = Line2D([], [], color=GREY, lw=0.9, ls=":", label="chance")
    ours = [
        Line2D([], [], color=GREY, marker="o", ls="", mfc=GREY if name == "paper" else "white", label=f"ours, protocol {name}")
        for name in PROTOCOLS
        if (cells[f"{name}_n"] > 0).any()
    ]
    figure.legend(handles=[published, *ours, chance], loc="outside upper left", ncols=4)
    return figure


def _ours(ax, row: dict, protocol: str, y: float) -> None:
    """The mean under a protocol, filled under `paper` and hollow under `as_released`, and its interval."""
    if not row[f"{protocol}_n"]:
        return
    colour, _, marker = strategy_style(row["strategy"])
    low, high = row[f"{protocol}_low"], row[f"{protocol}_high"]
    if math.isfinite(low):
        ax.plot([max(low, 0), min(high, 100)], [y, y], color=colour, lw=1.2)
    inside = colour if protocol == "paper" else "white"
    ax.plot(row[protocol], y, marker, color=colour, mfc=inside, ms=5.5)
