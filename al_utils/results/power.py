"""What a number of seeds can decide: how often the order is wrong, how many are enough, what fewer say."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats


def wrong_order(difference: float, deviation: float, seeds: int = 3, paired: bool = True) -> float:
    """Probability that the means of `seeds` runs order two strategies against their true difference; normal errors.

    `deviation`: the standard deviation of one difference where runs are paired, else of one run; units as `difference`.
    """
    error = deviation * math.sqrt((1 if paired else 2) / seeds)
    if error == 0:  # all runs are alike
        return 0.0 if difference else 0.5
    return float(stats.norm.cdf(-abs(difference) / error))


def seeds_needed(difference: float, deviation: float, power: float = 0.8, paired: bool = True) -> float:
    """Fewest seeds (of each, if not paired) with which a two-sided t test at 5% finds the difference; inf above 10,000.

    `deviation` as in `wrong_order`.
    """
    if deviation == 0 or not math.isfinite(deviation):  # all runs are alike; or one run, of which nobody knows
        return 2 if deviation == 0 and difference else math.inf
    groups = 1 if paired else 2

    def missing(n: float) -> float:
        freedom = groups * (n - 1)
        shift = abs(difference) / (deviation * math.sqrt(groups / n))
        return float(stats.nct.sf(stats.t.ppf(0.975, freedom), freedom, shift)) - power

    if difference == 0 or missing(10_000) < 0:
        return math.inf
    return 2 if missing(2) >= 0 else math.ceil(optimize.brentq(missing, 2, 10_000))


@dataclass(frozen=True)
class FewerSeeds:
    """Of all ways to take a few of the seeds, the share (0 to 1) that orders otherwise, decides, and decides otherwise."""

    order_otherwise: float
    decide: float
    decide_otherwise: float


def fewer_seeds(differences: ArrayLike, seeds: int = 3) -> FewerSeeds:
    """What `seeds` of the seeds would have said of a paired difference, against the sign of the mean of all.

    "Decide" is a two-sided t test at 5%.

    Raises:
        ValueError: there are not more than `seeds` differences.
    """
    all_S = np.asarray(differences, float)
    if len(all_S) <= seeds:
        raise ValueError(f"{len(all_S)} seeds are not more than the {seeds} to be taken from them.")
    taken = np.array(list(itertools.combinations(all_S, seeds)))
    mean, error = taken.mean(1), taken.std(1, ddof=1) / math.sqrt(seeds)
    otherwise = np.sign(mean) != np.sign(all_S.mean())
    decided = np.abs(mean) > stats.t.ppf(0.975, seeds - 1) * error
    return FewerSeeds(float(otherwise.mean()), float(decided.mean()), float((decided & otherwise).mean()))
