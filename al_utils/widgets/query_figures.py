"""Figures of what was queried. Functions return a `Figure`; none draws to the screen."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..ledger import Round
from ..results.looks import strategy_style, styled
from ..words import label
from .cards import BLUE, ORANGE, Card, shown_pixels


@styled
def shares(table: pd.DataFrame, what: str) -> Figure:
    """`replay.share_over_rounds`: a line per strategy against the band of blind draws."""
    figure = Figure(figsize=(6.4, 3))
    ax = figure.subplots()
    blind = table.drop_duplicates("round").sort_values("round")
    ax.fill_between(blind["round"], 100 * blind.low, 100 * blind.high, color="#dddddd", lw=0, label="95% of blind draws")
    ax.axhline(100 * blind.rate.iloc[0], color="#888888", lw=1, label="the pool")
    for strategy, part in table.groupby("strategy", sort=False):
        colour, dashes, marker = strategy_style(str(strategy))
        ax.plot(part["round"], 100 * part.share, color=colour, ls=dashes, marker=marker,
                markevery=max(1, len(part) // 8), label=label(str(strategy)))  # fmt: skip
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("round")
    ax.set_ylabel(f"{what} (% of the queries so far)")
    figure.legend(loc="outside right upper")
    return figure


@styled
def image_cards(shown: list[Card], class_names: list[str], columns: int = 10) -> Figure:
    """The cards of the page as a figure, for export: images with their lines, predictions below."""
    charts = any(card.prediction for card in shown)
    columns = max(1, min(columns, len(shown)))
    rows = -(-max(len(shown), 1) // columns)
    figure = Figure(figsize=(1.35 * columns, rows * (2.9 if charts else 2.0)))
    ratios = [1.0, 0.5] * rows if charts else None
    grid = figure.subplots(rows * (1 + charts), columns, squeeze=False, height_ratios=ratios)
    for ax in grid.flat:
        ax.axis("off")
    for k, card in enumerate(shown):
        ax = grid[(1 + charts) * (k // columns), k % columns]
        ax.imshow(shown_pixels(card.image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        lines = [*card.lines, "noisy" if card.noisy else ""]
        ax.set_title("\n".join(lines), fontsize=7.5, pad=2)
        if card.bar:
            _bar(ax, card.bar)
        if card.prediction:
            _prediction(grid[2 * (k // columns) + 1, k % columns], card, class_names)
    return figure


def _bar(ax, bar):
    """Below an image: its score in a batch filled, and framed what it would be alone."""
    filled, framed = bar.shares
    strip = ax.inset_axes((0, -0.14, 1, 0.1))
    strip.axis("off")
    strip.barh(0, filled, color=BLUE)
    if bar.alone is not None:
        strip.barh(0, framed, fill=False, edgecolor="black", linewidth=0.8)
    strip.set_xlim(0, 1.02)


def _prediction(ax, card, class_names):
    p = card.prediction
    ax.axis("on")
    ax.bar(range(len(p.mean)), p.mean, color=BLUE, yerr=p.spread, ecolor=ORANGE, error_kw={"lw": 1.2})
    ax.set_ylim(0, 1)
    ax.set_yticks([])
    ax.set_xticks([card.true_class] if card.true_class >= 0 else [], ["▲"] if card.true_class >= 0 else [])
    ax.tick_params(length=0)
    best = max(range(len(p.mean)), key=lambda c: p.mean[c])
    entropies = f"{p.total:.2f} = {p.aleatoric:.2f} + {p.epistemic:.2f}"
    ax.set_xlabel(f"says {class_names[best]}: {p.mean[best]:.0%}\n{entropies}", fontsize=7.5)


@styled
def against_truth(rounds: list[Round], truth: list[Round], who: str) -> Figure:
    """Test accuracy of the same queries, labelled by `who` and with the true labels, against the number of queries."""
    figure = Figure(figsize=(5.4, 3))
    ax = figure.subplots()
    for line, dashes, marker, colour, name in (
        (truth, "--", "o", "#7f7f7f", "true labels"), (rounds, "-", "^", "#d55e00", f"labels of {who}"),
    ):  # fmt: skip
        if line:
            queried = [sum(len(r.queried) for r in rounds[:k]) for k in range(len(line))]
            accuracy = [100 * r.metrics["test_accuracy"] for r in line]
            ax.plot(queried, accuracy, color=colour, ls=dashes, marker=marker, label=name)
    if len(rounds) == 1:
        ax.set_xticks([0])
        ax.set_ylim(0, 100)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("images queried")
    ax.set_ylabel("test accuracy (%)")
    figure.legend(loc="outside upper left", ncols=2)
    return figure
