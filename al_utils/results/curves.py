"""Estimates from learning curves: frames of labels × seed, in points of percent."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import ndimage, optimize, stats

CLOSE = 1e-4  # points: a float32 mean of 0.9 is a little less than 0.9


def wide(rounds: pd.DataFrame, metric: str = "test_accuracy") -> pd.DataFrame:
    """The learning curves of one kind of run: labels × seed, `metric` in points. Of rounds with as many labels the last."""
    rounds = rounds.drop_duplicates(["n_labels", "seed"], keep="last")
    return 100 * rounds.pivot(index="n_labels", columns="seed", values=metric).astype(float)


def area(curves: pd.DataFrame) -> pd.Series:
    """Area under the budget curve (AUBC) of each seed over its range of labels, by trapezoids: the mean accuracy, in points."""
    return curves.apply(lambda curve: _mean_height(curve.dropna()))


def _mean_height(curve: pd.Series) -> float:
    labels = curve.index.to_numpy(float)
    return np.trapezoid(curve, labels) / (labels[-1] - labels[0]) if len(labels) > 1 else curve.iloc[0]


def first_at(curves: pd.DataFrame, target: float) -> pd.Series:
    """Labels at each seed's first round with at least `target` points; infinite where it does not arrive."""
    reached = curves >= target - CLOSE
    return reached.idxmax().astype(float).where(reached.any(), math.inf)


def median_labels(first: ArrayLike, last: ArrayLike) -> float:
    """Median of the labels needed by Kaplan and Meier (1958): runs that did not arrive (`inf`) count as "more than `last`".

    `last` is each run's number of labels at its end. Infinite where fewer than half arrive.
    """
    first_S, last_S = np.asarray(first, float), np.asarray(last, float)
    censored = np.isinf(first_S)
    survival = stats.ecdf(stats.CensoredData.right_censored(np.where(censored, last_S, first_S), censored)).sf
    arrived = survival.quantiles[survival.probabilities <= 0.5 + 1e-12]
    return float(arrived[0]) if len(arrived) else math.inf


def isotonic(curve: pd.Series) -> pd.Series:
    """The nearest curve that never falls (pool adjacent violators): a mean curve without its jitter."""
    return pd.Series(optimize.isotonic_regression(curve.to_numpy()).x, curve.index)


def crossing(curve: pd.Series, target: float) -> float:
    """Labels at which one curve (as a rule a mean over seeds, or its isotonic fit) first has `target` points, or inf.

    Each seed's own first round is lucky: the mean over seeds of those is lower than the crossing of the mean curve.
    """
    return float(first_at(curve.to_frame(), target).iloc[0])


def labels_at(curve: pd.Series, target: float) -> float:
    """Labels at which a curve that never falls has `target` points, between rounds on a straight line, or inf."""
    above = curve.to_numpy() >= target - CLOSE
    if not above.any():
        return math.inf
    end = int(above.argmax())
    if end == 0:
        return float(curve.index[0])
    return float(np.interp(target, curve.iloc[end - 1 : end + 1], curve.index[end - 1 : end + 1]))


def simultaneous_band(differences: pd.DataFrame, confidence: float = 0.95, draws: int = 1_000) -> pd.DataFrame:
    """Mean, `low` and `high` of paired differences (labels × seed) such that the band holds the whole true curve.

    Each round's mean ± c standard errors, whose variances are averaged over a tenth of the rounds on either side, for a
    few seeds see little of each. c is the quantile of the largest deviation over the rounds in that unit, drawn for normal
    differences with the correlations between rounds that were seen, shrunk half way to none. Of one seed: unbounded.
    """
    y_L_S = differences.to_numpy(float)
    mean_L = y_L_S.mean(1)
    half_L = _half_width(y_L_S, confidence, draws) if y_L_S.shape[1] > 1 else np.full(len(y_L_S), math.inf)
    return pd.DataFrame(dict(mean=mean_L, low=mean_L - half_L, high=mean_L + half_L), differences.index)


def _half_width(y_L_S: np.ndarray, confidence: float, draws: int) -> np.ndarray:
    half_L, differing = np.zeros(len(y_L_S)), y_L_S.std(1) > 0  # before the first query there is nothing to differ
    if not differing.any():
        return half_L
    seen = np.atleast_2d(np.corrcoef(y_L_S[differing]))
    factor = np.linalg.cholesky((seen + np.eye(len(seen))) / 2)
    normal_D_L_S = factor @ np.random.default_rng(0).normal(size=(draws, len(seen), y_L_S.shape[1]))
    largest_D = (np.abs(normal_D_L_S.mean(2)) / _standard_errors(normal_D_L_S)).max(1)
    half_L[differing] = float(np.quantile(largest_D, confidence)) * _standard_errors(y_L_S[None, differing])[0]
    return half_L


def _standard_errors(y_D_L_S: np.ndarray) -> np.ndarray:
    """Standard errors `[D, L]` of the means over seeds, their variances averaged over neighbouring rounds."""
    neighbours = 2 * (y_D_L_S.shape[1] // 10) + 1
    variance = ndimage.uniform_filter1d(y_D_L_S.var(2, ddof=1), neighbours, axis=1, mode="nearest")
    return np.sqrt(variance / y_D_L_S.shape[2])


def band_against(rounds: Mapping[str, pd.DataFrame], base: str = "random") -> dict[str, pd.DataFrame]:
    """The simultaneous band of each strategy's accuracy minus `base`'s, over the seeds and rounds that both have."""
    bands = {}
    for name, curves in rounds.items():
        if name != base and (both := (curves - rounds[base]).dropna(axis=1, how="all").dropna()).size:
            bands[name] = simultaneous_band(both)
    return bands
