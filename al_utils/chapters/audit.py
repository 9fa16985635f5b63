"""What the audit computes; `audit_plots` draws it, and `notebooks/06_audit.ipynb` asks the questions and runs the experiments.

Rounds are rows of `ledger.read_ledgers`, accuracies are in points of percent.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import optimize, stats

from ..results.paper import DATASETS, MODELS, NOISES, table_2


def points(rounds: pd.DataFrame) -> pd.Series:
    """Test accuracy in points."""
    return 100 * rounds.test_accuracy.astype(float)


def last_batch(n: int, batch_size: int) -> int:
    """Images in the last batch of an epoch over `n` images."""
    return n % batch_size or min(n, batch_size)


def predicted_dips(n_initial: int, n_query: int, n_rounds: int, batch_size: int, most: int = 2) -> list[int]:
    """Numbers of labels in a run that leave a last batch of at most `most` images."""
    sizes = range(n_initial, n_initial + n_query * n_rounds + 1, n_query)
    return [n for n in sizes if last_batch(n, batch_size) <= most]


def overlap(first: Sequence[int], second: Sequence[int]) -> int:
    """How many images two queries share."""
    return len(set(first) & set(second))


def mean_accuracy(rounds: pd.DataFrame) -> pd.Series:
    """Each seed's accuracy averaged over its whole learning curve, in points: the area under it."""
    return points(rounds).groupby(rounds.seed).mean()


def noisy_share(rounds: pd.DataFrame) -> pd.Series:
    """Noisy images among all queries of each seed's run, in percent."""
    return rounds.groupby("seed").noisy.agg(lambda each: 100 * np.mean([noisy for queried in each for noisy in queried]))


def variance_parts(rounds: pd.DataFrame) -> dict[str, float]:
    """Variance of the accuracy (points²) by the split, by the seed of everything else, and by their interaction.

    `rounds` cross each split with each seed once. Two-way random-effects analysis of variance; with one run a cell the
    interaction holds what is left. A component is not below 0.
    """
    return _components(_crossed(rounds))


def _crossed(rounds):
    """Accuracy in points, a row per split and a column per seed."""
    return rounds.assign(points=points(rounds)).pivot(index="split_seed", columns="seed", values="points").to_numpy()


def _components(y):
    a, b = y.shape
    rows, columns, mean = y.mean(1), y.mean(0), y.mean()
    rest = ((y - rows[:, None] - columns + mean) ** 2).sum() / ((a - 1) * (b - 1))
    by_split = max(0.0, (b * ((rows - mean) ** 2).sum() / (a - 1) - rest) / b)
    by_seed = max(0.0, (a * ((columns - mean) ** 2).sum() / (b - 1) - rest) / a)
    return {"split and initial labels": by_split, "initialisation and batches": by_seed, "interaction and rest": rest}


def share_interval(rounds: pd.DataFrame, part: str, repeats: int = 1_000) -> tuple[float, float]:
    """95% bootstrap interval of a part's share of the variance: splits and seeds are drawn again, with replacement."""
    rng = np.random.default_rng(0)
    y, shares = _crossed(rounds), []
    for _ in range(repeats):
        rows, columns = (rng.integers(0, n, n) for n in y.shape)
        if len(set(rows)) < 2 or len(set(columns)) < 2:
            continue
        parts = _components(y[np.ix_(rows, columns)])
        if (total := sum(parts.values())) > 0:
            shares.append(parts[part] / total)
    return tuple(np.quantile(shares, [0.025, 0.975]))


def wrong_order(difference: float, deviation: float, seeds: int = 3) -> float:
    """Probability that the means of `seeds` runs order two strategies against their true difference.

    `deviation`: standard deviation of one run's difference, of the unit of `difference`; normal errors.
    """
    return float(stats.norm.cdf(-abs(difference) * math.sqrt(seeds) / deviation))


def seeds_needed(difference: float, deviation: float, power: float = 0.8) -> float:
    """Fewest seeds with which a two-sided paired t test at 5% finds the difference with this power; inf above 10,000."""

    def found(n):
        critical = stats.t.ppf(0.975, n - 1)
        return stats.nct.sf(critical, n - 1, abs(difference) * math.sqrt(n) / deviation) - power

    if difference == 0 or found(10_000) < 0:
        return math.inf
    return 2 if found(2) >= 0 else math.ceil(optimize.brentq(found, 2, 10_000))


def comparisons(deviations: dict[str, float]) -> pd.DataFrame:
    """Every pair of strategies in the paper's Table 2, with the deviation of its network: wrong order, seeds needed."""
    rows = []
    for noise in NOISES:
        for model in MODELS:
            for dataset in DATASETS:
                for a, b in (("bald", "random"), ("max_entropy", "random"), ("bald", "max_entropy")):
                    difference = table_2(dataset, model, a, noise) - table_2(dataset, model, b, noise)
                    s = deviations[model]
                    rows.append(
                        (noise, model, dataset, a, b, difference, wrong_order(difference, s), seeds_needed(difference, s))
                    )
    columns = ["noise", "model", "dataset", "a", "b", "difference", "wrong_order", "seeds"]
    return pd.DataFrame(rows, columns=columns)
