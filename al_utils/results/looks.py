"""One plot style: fonts, grid, and the colour, dashes and marker that belong to a strategy in every figure."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

from matplotlib import style

DPI = 90
STYLE: dict[str, Any] = {
    "figure.dpi": DPI, "figure.constrained_layout.use": True, "font.size": 9, "axes.titlesize": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#888888", "axes.grid": True,
    "axes.axisbelow": True, "grid.color": "#e6e6e6", "grid.linewidth": 0.7, "xtick.color": "#555555",
    "ytick.color": "#555555", "legend.frameon": False, "lines.linewidth": 1.5, "lines.markersize": 4.5,
    "text.parse_math": False,  # a class may be called $1
}  # fmt: skip


class Look(NamedTuple):
    """How a line is drawn: the colour is never its only sign."""

    colour: str
    dashes: str | tuple
    marker: str


_LONG, _DASH_DOT, _DOTS, _WIDE = (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 2, 2))
# The first eight are Okabe and Ito's colours and near to them, told apart by the colour-blind.
STRATEGY = {
    "random": Look("#7f7f7f", "--", "o"),
    "max_entropy": Look("#0072b2", "-.", "s"),
    "bald": Look("#d55e00", "-", "^"),
    "variation_ratios": Look("#009e73", _LONG, "v"),
    "mean_std": Look("#cc79a7", _DASH_DOT, "P"),
    "margin": Look("#56b4e9", _DOTS, "X"),
    "least_confidence": Look("#b8860b", _WIDE, "<"),
    "bald_flipped": Look("#6a3d9a", _DOTS, "*"),
    "bald_as_released": Look("#2a6f3e", _LONG, ">"),
    "batch_bald": Look("#8c1d40", "-", "D"),
    "power_bald": Look("#e377c2", "--", "d"),
    "softmax_bald": Look("#f4a582", "-.", "h"),
    "core_set": Look("#1f3b73", _LONG, "p"),
    "badge": Look("#17becf", "-", "*"),
    "typiclust": Look("#5a7d1a", _DASH_DOT, "H"),
    "prob_cover": Look("#a6d854", _WIDE, "8"),
    "epig": Look("#9467bd", _LONG, "s"),
    "bait": Look("#8c564b", _DASH_DOT, "o"),
    "lcmd": Look("#c7a76c", "-.", "v"),
    "cal": Look("#3f51b5", _DOTS, "^"),
    "cluster_margin": Look("#66c2a5", "--", "X"),
}  # fmt: skip
NOISE = {
    "none": Look("#222222", "-", "o"),
    "gaussian": Look("#c51b7d", "--", "s"),
    "salt_and_pepper": Look("#4d9221", ":", "D"),
}
_COLOURS = ("#008080", "#b22222", "#483d8b", "#daa520", "#708090", "#ff7f0e", "#4682b4", "#556b2f")
_DASHES = ("-", "--", "-.", _LONG, _DASH_DOT, _DOTS)
_MARKERS = ("o", "s", "^", "v", "D", "P", "X")


def strategy_style(strategy: str) -> Look:
    """The look of a strategy, the same in every figure; that of a new one is drawn from the hash of its name."""
    if strategy in STRATEGY:
        return STRATEGY[strategy]
    colour, dashes, marker, *_ = hashlib.sha256(strategy.encode()).digest()
    return Look(_COLOURS[colour % len(_COLOURS)], _DASHES[dashes % len(_DASHES)], _MARKERS[marker % len(_MARKERS)])


def look(field: str, value, position: int) -> Look:
    """The look of the line at this position among those of one figure, which are values of `field`."""
    if field == "strategy":
        return strategy_style(value)
    if field == "noise" and value in NOISE:
        return NOISE[value]
    return Look(_COLOURS[position % len(_COLOURS)], _DASHES[position % len(_DASHES)], _MARKERS[position % len(_MARKERS)])


P = ParamSpec("P")
R = TypeVar("R")


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Draw in the project's style, and leave matplotlib's settings as they were."""

    @functools.wraps(function)
    def draw(*args: P.args, **options: P.kwargs) -> R:
        with style.context(STYLE):
            return function(*args, **options)

    return draw
