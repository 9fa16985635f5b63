"""This implementation beside numbers that others measured: Gal, Islam and Ghahramani 2017, on MNIST."""

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from ..results.curves import crossing, isotonic, wide
from ..results.figures import mean_curve
from ..results.looks import strategy_style, styled
from ..results.tables import text_table
from ..words import label

# Images needed for a test error of 10% and 5%: "Deep Bayesian Active Learning with Image Data", table 1.
GAL = {"variation_ratios": (120, 295), "bald": (145, 335), "max_entropy": (165, 355), "random": (255, 835)}
ERRORS = (0.10, 0.05)
READ = ("mean curve", "isotonic fit")


def gal_first(strategies) -> list[str]:
    """Those of Gal et al. first, in the order of their need for images."""
    return [s for s in GAL if s in set(strategies)] + sorted(set(strategies) - set(GAL))


def images_needed(rounds: pd.DataFrame, error: float) -> dict[str, tuple[float, float]]:
    """Labels, the initial ones included, at which each strategy's mean over seeds, and its isotonic fit, has this test error.

    The first round at which one seed's curve gets there is a lucky one, so the mean of those would be too low. Infinite where
    the curve does not get there. `rounds` are rows of `ledger.read_ledgers`.
    """
    needed = {}
    for strategy in gal_first(rounds.strategy):
        mean = wide(rounds[rounds.strategy == strategy]).mean(axis=1)
        target = 100 * (1 - error)
        needed[strategy] = crossing(mean, target), crossing(isotonic(mean), target)
    return needed


def images_text(n: float) -> str:
    return f"{n:.0f}" if math.isfinite(n) else "not reached"


def by_need(needed: Mapping[str, float]) -> str:
    """`variation ratios (290), BALD (370)`: the fewest images first."""
    return ", ".join(f"{label(name)} ({images_text(n)})" for name, n in sorted(needed.items(), key=lambda item: item[1]))


def table(rounds: pd.DataFrame) -> pd.DataFrame:
    """Images needed by us, read in two ways, and by Gal et al.; to read."""
    cells = {}
    for i, error in enumerate(ERRORS):
        for strategy, ours in images_needed(rounds, error).items():
            row, head = (label(strategy),), f"{error:.0%} error"
            for way, n in zip(READ, ours):
                cells[row, (head, way)] = images_text(n)
            cells[row, (head, "Gal et al.")] = str(GAL[strategy][i]) if strategy in GAL else "–"
    return text_table(cells, ["acquisition function"], ["", ""])


def accuracies(variants: Mapping[str, pd.DataFrame], labels=(100, 200)) -> pd.DataFrame:
    """Mean test accuracy in % at some numbers of labels, the range over seeds below it; a row per variant and strategy."""
    cells = {}
    for name, rounds in variants.items():
        for strategy in gal_first(rounds.strategy):
            runs = wide(rounds[rounds.strategy == strategy])
            for n in [n for n in labels if n in runs.index]:
                each = runs.loc[n]
                text = f"{each.mean():.1f}%\n{each.min():.1f} to {each.max():.1f} (n={each.count()})"
                cells[(label(strategy), name), f"{n} labels"] = text
    return text_table(cells, ["acquisition function", "recipe"], [""])


@styled
def needed_figure(rounds: pd.DataFrame) -> Figure:
    """Images needed, a row per strategy: ours, by the mean curve and by its isotonic fit, and those of Gal et al."""
    strategies = [s for s in GAL if s in set(rounds.strategy)]
    figure = Figure(figsize=(7.6, 1.0 + 0.45 * len(strategies)))
    for axes, (i, error) in zip(figure.subplots(1, 2, sharey=True), enumerate(ERRORS)):
        needed = images_needed(rounds, error)
        for y, strategy in enumerate(strategies):
            colour = strategy_style(strategy).colour
            mean, fit = needed[strategy]
            axes.plot([mean, fit], [y, y], color=colour, lw=1.5)
            axes.plot(mean, y, "o", color=colour, label="ours, mean curve" if y == 0 else None)
            axes.plot(fit, y, "|", color=colour, ms=12, mew=2.5, label="ours, isotonic fit" if y == 0 else None)
            axes.plot(GAL[strategy][i], y, "D", mfc="none", color="black", ms=7, label="Gal et al. 2017" if y == 0 else None)
        axes.set(xlabel="images needed", yticks=range(len(strategies)), yticklabels=[label(s) for s in strategies])
        axes.set_title(f"test error of {error:.0%}", loc="left")
        axes.set_ylim(len(strategies) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.grid(axis="y", visible=False)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure


@styled
def error_curves(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Test error (logarithmic) against labels, a panel for each frame of rounds: mean, standard-error band, runs behind."""
    figure = Figure(figsize=(max(6.4, 3.4 * len(panels)), 3.1))
    all_axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (title, rounds) in zip(all_axes, panels.items()):
        for strategy in gal_first(rounds.strategy):
            mean_curve(axes, 100 - wide(rounds[rounds.strategy == strategy]), strategy_style(strategy), label(strategy))
        for level in ERRORS:
            axes.axhline(100 * level, color="#888888", lw=0.8, zorder=0)
        axes.set(xlabel="labels", yscale="log", yticks=[2, 5, 10, 20, 50], yticklabels=["2", "5", "10", "20", "50"])
        axes.minorticks_off()
        axes.set_title(title, loc="left")
        axes.legend(fontsize=8, handlelength=3)
    all_axes[0].set_ylabel("test error (%)")
    return figure
