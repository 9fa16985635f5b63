"""This implementation beside numbers that others measured: Gal, Islam and Ghahramani 2017, on MNIST."""

import pandas as pd
from matplotlib.figure import Figure

from ..results.figures import strategy_style, styled
from ..results.tables import text_table
from ..words import label

# Images needed for a test error of 10% and 5%: "Deep Bayesian Active Learning with Image Data", table 1.
GAL = {"bald": (145, 335), "variation_ratios": (120, 295), "max_entropy": (165, 355), "random": (255, 835)}
# A public rerun of theirs in PyTorch.
RERUN = {"bald": (150, 296), "variation_ratios": (143, 283), "max_entropy": (163, 310), "random": (250, 517)}
ERRORS = (0.10, 0.05)


def images_needed(rounds: pd.DataFrame, error: float) -> pd.Series:
    """Labels, the initial ones included, at the first round with at most this test error: by strategy and seed.

    NaN where a run does not reach it. `rounds` are rows of `ledger.read_ledgers`.
    """
    reached = rounds.n_labels.where(rounds.test_accuracy >= 1 - error - 1e-6)  # a float32 mean of 0.9 is a little less
    return reached.groupby([rounds.strategy, rounds.seed]).min()


def table(rounds: pd.DataFrame) -> pd.DataFrame:
    """Images needed by us (mean and each seed) and by the others, to read."""
    cells = {}
    for strategy in [s for s in GAL if s in set(rounds.strategy)] + sorted(set(rounds.strategy) - set(GAL)):
        for i, error in enumerate(ERRORS):
            own, head = images_needed(rounds, error)[strategy], f"{error:.0%} error"
            seeds = ", ".join("not reached" if pd.isna(n) else f"{n:.0f}" for n in own)
            mean = "not reached" if own.isna().any() else f"{own.mean():.0f}"
            cells[(label(strategy),), (head, "ours")] = f"{mean}\n({seeds})"
            for source, published in (("Gal et al.", GAL), ("rerun", RERUN)):
                cells[(label(strategy),), (head, source)] = str(published[strategy][i]) if strategy in published else "–"
    return text_table(cells, ["acquisition function"], ["", ""])


@styled
def needed_figure(rounds: pd.DataFrame) -> Figure:
    """Images needed, a row per strategy: ours (a dot per seed, a bar at their mean) and the published ones."""
    strategies = [s for s in GAL if s in set(rounds.strategy)]
    figure = Figure(figsize=(7.6, 1.0 + 0.5 * len(strategies)))
    for axes, (i, error) in zip(figure.subplots(1, 2, sharey=True), enumerate(ERRORS)):
        needed = images_needed(rounds, error)
        for y, strategy in enumerate(strategies):
            colour = strategy_style(strategy)[0]
            own = needed[strategy].dropna()
            axes.plot(own, [y] * len(own), "o", color=colour, alpha=0.6, label="ours, each seed" if y == 0 else None)
            axes.plot([own.mean()] * 2, [y - 0.3, y + 0.3], color=colour, lw=2.5)
            axes.plot(GAL[strategy][i], y, "D", mfc="none", color="black", ms=7, label="Gal et al. 2017" if y == 0 else None)
            axes.plot(RERUN[strategy][i], y, "x", color="black", ms=7, label="PyTorch rerun" if y == 0 else None)
        axes.set(xlabel="images needed", yticks=range(len(strategies)), yticklabels=[label(s) for s in strategies])
        axes.set_title(f"test error of {error:.0%}", loc="left")
        axes.set_ylim(len(strategies) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.grid(axis="y", visible=False)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure


@styled
def error_curves(panels: dict[str, pd.DataFrame]) -> Figure:
    """Test error (logarithmic) against labels, a panel for each frame of rounds: mean over seeds, every run thin behind."""
    figure = Figure(figsize=(max(4.6, 3.4 * len(panels)), 3.1))
    all_axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (title, rounds) in zip(all_axes, panels.items()):
        for strategy, runs in rounds.groupby("strategy"):
            colour, dashes, marker = strategy_style(strategy)
            error = 100 * (1 - runs.pivot(index="n_labels", columns="seed", values="test_accuracy"))
            axes.plot(error.index, error, color=colour, lw=0.6, alpha=0.4)
            axes.plot(error.index, error.mean(axis=1), color=colour, ls=dashes, marker=marker,
                      markevery=max(1, len(error) // 8), label=f"{label(strategy)} (n={error.shape[1]})")  # fmt: skip
        for level in ERRORS:
            axes.axhline(100 * level, color="#888888", lw=0.8, zorder=0)
        axes.set(xlabel="labels", yscale="log", yticks=[2, 5, 10, 20, 50], yticklabels=["2", "5", "10", "20", "50"])
        axes.minorticks_off()
        axes.set_title(title, loc="left")
        axes.legend(fontsize=8, handlelength=3)
    all_axes[0].set_ylabel("test error (%)")
    return figure
