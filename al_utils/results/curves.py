"""Estimates from learning curves: a frame with a row per number of labels and a column per seed, in points of percent."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, stats

CLOSE = 1e-4  # points: a float32 mean of 0.9 is a little less than 0.9


def wide(rounds: pd.DataFrame, metric: str = "test_accuracy") -> pd.DataFrame:
    """The learning curves of one kind of run: labels × seed, `metric` in points."""
    return 100 * rounds.pivot(index="n_labels", columns="seed", values=metric).astype(float)


def area(curves: pd.DataFrame) -> pd.Series:
    """Area under the budget curve (AUBC) of each seed over its range of labels, by trapezoids: the mean accuracy, in points."""
    labels = curves.index.to_numpy(float)
    if len(labels) == 1:
        return curves.iloc[0]
    return pd.Series(np.trapezoid(curves.to_numpy(), labels, axis=0) / (labels[-1] - labels[0]), curves.columns)


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


def simultaneous_band(differences: pd.DataFrame, confidence: float = 0.95, draws: int = 4_000) -> pd.DataFrame:
    """Mean, `low` and `high` of paired differences (labels × seed) such that the band holds the whole true curve.

    Each round's mean ± c standard errors, where c is the quantile of the largest |t| over the rounds. It is drawn for normal
    differences with the correlations between rounds that were seen, shrunk half way to none: a few seeds see more
    than there is. Never wider than Bonferroni's band. Of one seed: unbounded.
    """
    y = differences.to_numpy(float)
    rounds, n = y.shape
    mean, error = y.mean(1), stats.sem(y, axis=1) if n > 1 else np.full(rounds, math.inf)
    c = _largest_t(y, confidence, draws) if n > 1 else 1.0
    return pd.DataFrame(dict(mean=mean, low=mean - c * error, high=mean + c * error), differences.index)


def _largest_t(y_L_S: np.ndarray, confidence: float, draws: int) -> float:
    y_L_S = y_L_S[y_L_S.std(1) > 0]
    rounds, n = y_L_S.shape
    if not rounds:
        return 0.0
    seen = np.atleast_2d(np.corrcoef(y_L_S))
    correlation = (seen + np.eye(rounds)) / 2
    rng = np.random.default_rng(0)
    normal = rng.multivariate_normal(np.zeros(rounds), correlation, (draws, n), check_valid="ignore", method="cholesky")
    t = math.sqrt(n) * np.abs(normal.mean(1)) / normal.std(1, ddof=1)
    bonferroni = stats.t.ppf(1 - (1 - confidence) / (2 * rounds), n - 1)
    return float(min(np.quantile(t.max(1), confidence), bonferroni))


def band_against(rounds: Mapping[str, pd.DataFrame], base: str = "random") -> dict[str, pd.DataFrame]:
    """The simultaneous band of each strategy's accuracy minus `base`'s, over the seeds and rounds that both have."""
    bands = {}
    for name, curves in rounds.items():
        if name != base and len(both := (curves - rounds[base]).dropna(axis=1, how="all").dropna()):
            bands[name] = simultaneous_band(both)
    return bands
