"""Estimates with intervals, and tests: pure functions of numbers, one per seed, in points of percent."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean or difference over `n` seeds, its 95% interval, and the p-value of "it is zero"; of one seed unbounded.

    `note` is what a reader has to know beside it, in words.
    """

    mean: float
    low: float
    high: float
    n: int
    p: float = math.nan
    note: str = ""

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves zero out, else 0: undecided."""
        return int(self.low > 0) - int(self.high < 0)

    @property
    def bounds(self) -> str:
        return f"{signed(self.low)} to {signed(self.high)}" if self.n > 1 else "one seed"

    def __neg__(self) -> "Interval":
        return Interval(-self.mean, -self.high, -self.low, self.n, self.p, self.note)

    def __str__(self) -> str:
        sure = f"95% interval {self.bounds}, n={self.n}" if self.n > 1 else "one seed, so no interval"
        return f"{signed(self.mean)} points ({sure}{', ' if self.note else ''}{self.note})"


def signed(points: float) -> str:
    """`+1.5`, `−1.5`, `0.0`: one digit, with a true minus."""
    text = f"{points:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def interval(values: ArrayLike) -> Interval:
    """The mean of `values`, one per seed, with Student's t interval and test; of paired runs, give their differences."""
    values_S = np.asarray(values, float)
    n, mean = len(values_S), float(values_S.mean())
    return _interval(mean, float(stats.sem(values_S)) if n > 1 else math.inf, n - 1, n)


def over_seeds(pairs: pd.Series) -> Interval | None:
    """The interval over seeds of each seed's mean difference, which is what repeats; None without a pair.

    A setting is what pairs have in common but the seed. Where some settings lack a seed, as in a sweep that is not whole, the
    means of two seeds would be of different settings. Then only settings with the same seeds count, those that leave the most
    pairs beyond the first of each setting, and the interval says how many they are.
    """
    if pairs.empty:
        return None
    by_setting = pairs.unstack("seed")
    same_seeds = [by_setting.loc[:, row.notna()].dropna() for _, row in by_setting.iterrows()]
    block = max(same_seeds, key=lambda block: (block.size - len(block), block.size))
    whole = block.size == len(pairs)
    note = "" if whole else f"over the {len(block)} of {len(by_setting)} settings run with these seeds"
    return replace(interval(block.mean()), note=note)


def independent(first: ArrayLike, second: ArrayLike) -> Interval:
    """Mean of `first` minus mean of `second`, runs that share nothing: Welch's interval and test; n is the smaller number."""
    a, b = np.asarray(first, float), np.asarray(second, float)
    difference, n = float(a.mean() - b.mean()), min(len(a), len(b))
    if n < 2:
        return _interval(difference, math.inf, 0, n)
    parts = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
    variance = float(parts.sum())
    freedom = variance**2 / float((parts**2 / [len(a) - 1, len(b) - 1]).sum()) if variance else n - 1  # Welch–Satterthwaite
    return _interval(difference, math.sqrt(variance), freedom, n)


def _interval(mean: float, error: float, freedom: float, n: int) -> Interval:
    if math.isinf(error):
        return Interval(mean, -math.inf, math.inf, n)
    if error == 0:  # all values are equal: no doubt is left by what was seen
        return Interval(mean, mean, mean, n, p=float(mean == 0))
    half = float(stats.t.ppf(0.975, freedom)) * error
    return Interval(mean, mean - half, mean + half, n, p=2 * float(stats.t.sf(abs(mean) / error, freedom)))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979): below 5%, the chance of any false one among them is below 5%.

    A p-value that is NaN (of one seed) was no test: it stays NaN and does not count.
    """
    tested = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    corrected, largest = [math.nan] * len(p_values), 0.0
    for rank, (p, i) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        corrected[i] = largest
    return corrected


def signs(intervals: Sequence[Interval], level: float = 0.05) -> list[int]:
    """Of several differences told together: 1 or -1 where one is not zero after Holm's correction, else 0."""
    corrected = holm([each.p for each in intervals])
    return [int(np.sign(each.mean)) if p < level else 0 for each, p in zip(intervals, corrected)]


def equivalence_bound(values: ArrayLike, level: float = 0.05) -> float:
    """The smallest d for which two one-sided t tests (TOST, Schuirmann 1987) show that the mean lies within ±d.

    "No difference" is the claim that it is below a bound that matters. Of one value: infinite.
    """
    values_S = np.asarray(values, float)
    if len(values_S) < 2:
        return math.inf
    half = float(stats.t.ppf(1 - level, len(values_S) - 1) * stats.sem(values_S))
    return abs(float(values_S.mean())) + half


def deviation(values: ArrayLike) -> Interval:
    """The standard deviation of normal `values` with its 95% interval by chi-square; it has no test."""
    values_S = np.asarray(values, float)
    n = len(values_S)
    if n < 2:
        return Interval(math.nan, 0.0, math.inf, n)
    s = float(values_S.std(ddof=1))
    low, high = (s * math.sqrt((n - 1) / float(stats.chi2.ppf(q, n - 1))) for q in (0.975, 0.025))
    return Interval(s, low, high, n)


@dataclass(frozen=True)
class VarianceShare:
    """What part of the variance rows make: F test of "none", and the exact 95% interval of the share (0 to 1)."""

    share: float
    low: float
    high: float
    F: float
    freedom: tuple[int, int]
    p: float

    def __str__(self) -> str:
        a, b = self.freedom
        return (
            f"{self.share:.0%} (95% interval {self.low:.0%} to {self.high:.0%}; F({a}, {b}) = {self.F:.2f}, p = {self.p:.1g})"
        )


def mean_squares(table_A_B: np.ndarray) -> tuple[float, float, float]:
    """Of the rows, the columns and the rest (interaction and error together) in a two-way table with one value a cell."""
    y = np.asarray(table_A_B, float)
    a, b = y.shape
    rows, columns, mean = y.mean(1), y.mean(0), y.mean()
    of_rows = b * ((rows - mean) ** 2).sum() / (a - 1)
    of_columns = a * ((columns - mean) ** 2).sum() / (b - 1)
    rest = ((y - rows[:, None] - columns + mean) ** 2).sum() / ((a - 1) * (b - 1))
    return float(of_rows), float(of_columns), float(rest)


def variance_share(table_A_B: np.ndarray) -> VarianceShare:
    """The rows' share of the variance that is left when the columns' effect is taken out: s²(rows) / (s²(rows) + s²(rest)).

    Two-way random effects, one value a cell: F = mean square of the rows over that of the rest has an exact F
    distribution, from which the interval follows (Searle, Casella and McCulloch 1992, section 3.6).
    """
    a, b = np.shape(table_A_B)
    of_rows, _, rest = mean_squares(table_A_B)
    freedom, F = (a - 1, (a - 1) * (b - 1)), of_rows / rest

    def share(f: float) -> float:
        ratio = max(0.0, (f - 1) / b)  # of the variances, rows to rest
        return ratio / (1 + ratio)

    low, high = (share(F / float(stats.f.ppf(q, *freedom))) for q in (0.975, 0.025))
    return VarianceShare(share(F), low, high, F, freedom, float(stats.f.sf(F, *freedom)))


def calibration_floor(n_images: int, n_bins: int = 15) -> float:
    """About the expected calibration error that a perfectly calibrated network shows on `n_images` images.

    In each bin the accuracy misses the confidence by chance, by sqrt(2 p (1 - p) / (pi m)) on average for m images;
    here confidences p are spread evenly from 0 to 1. Confidences near 1, as of a good network, make it smaller.
    """
    p_B = (np.arange(n_bins) + 0.5) / n_bins
    return float(np.sqrt(2 * p_B * (1 - p_B) * n_bins / (math.pi * n_images)).mean())
