"""What a number of seeds can decide: how often it orders two strategies wrongly, and how many would be enough."""

import math

from scipy import optimize, stats


def wrong_order(difference: float, deviation: float, seeds: int = 3, paired: bool = True) -> float:
    """Probability that the means of `seeds` runs order two strategies against their true difference; normal errors.

    `deviation`: the standard deviation of one difference where runs are paired, else of one run; units as `difference`.
    """
    error = deviation * math.sqrt((1 if paired else 2) / seeds)
    return float(stats.norm.cdf(-abs(difference) / error))


def seeds_needed(difference: float, deviation: float, power: float = 0.8, paired: bool = True) -> float:
    """Fewest seeds (of each, if not paired) with which a two-sided t test at 5% finds the difference; inf above 10,000.

    `deviation` as in `wrong_order`.
    """
    groups = 1 if paired else 2

    def missing(n: float) -> float:
        freedom = groups * (n - 1)
        shift = abs(difference) / (deviation * math.sqrt(groups / n))
        return float(stats.nct.sf(stats.t.ppf(0.975, freedom), freedom, shift)) - power

    if difference == 0 or missing(10_000) < 0:
        return math.inf
    return 2 if missing(2) >= 0 else math.ceil(optimize.brentq(missing, 2, 10_000))
