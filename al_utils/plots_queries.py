"""Figures of what was queried. Functions return a `Figure`; none draws to the screen."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .cards import Card
from .ledger import Round
from .plots import image_grid, strategy_style, styled
from .published import label


@styled
def shares(table: pd.DataFrame, what: str) -> Figure:
    """`queries.share_over_rounds`: a line per strategy against the band of blind draws."""
    figure = Figure(figsize=(6.4, 3))
    ax = figure.subplots()
    blind = table.drop_duplicates("round").sort_values("round")
    ax.fill_between(blind["round"], 100 * blind.low, 100 * blind.high, color="#dddddd", lw=0, label="95% of blind draws")
    ax.axhline(100 * blind.rate.iloc[0], color="#888888", lw=1, label="the pool")
    for strategy, part in table.groupby("strategy", sort=False):
        colour, dashes, marker = strategy_style(strategy)
        ax.plot(part["round"], 100 * part.share, color=colour, ls=dashes, marker=marker,
                markevery=max(1, len(part) // 8), label=label(strategy))  # fmt: skip
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("round")
    ax.set_ylabel(f"{what} (% of the queries so far)")
    figure.legend(loc="outside right upper")
    return figure


def image_cards(shown: list[Card], classes: list[str], columns: int = 10) -> Figure:
    """The cards of the page as a figure, for export: images with their lines and predictions."""

    def title(card):
        lines = [*card.lines, *(["noisy"] if card.noisy else [])]
        if p := card.prediction:
            best = max(range(len(p.mean)), key=lambda c: p.mean[c])
            lines += [f"says {classes[best]}: {p.mean[best]:.0%}", f"{p.total:.2f} = {p.aleatoric:.2f} + {p.epistemic:.2f}"]
        return "\n".join(lines).replace("$", r"\$")  # a dollar would start a formula

    return image_grid([card.image.cpu().numpy() for card in shown], [title(card) for card in shown], columns, size=1.25)


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
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("images queried")
    ax.set_ylabel("test accuracy (%)")
    figure.legend(loc="outside upper left", ncols=2)
    return figure
