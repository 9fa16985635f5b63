"""Intervals, tests, curves and ranks against scipy, published worked examples, and small simulations of known coverage."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from al_utils.results import curves, power, ranking, statistics


def test_the_paired_interval_is_students():
    values = [1.2, -0.3, 2.2, 0.9]
    found, expected = statistics.interval(values), stats.ttest_1samp(values, 0)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.p == pytest.approx(expected.pvalue) and found.n == 4
    assert str(-statistics.interval([1.0, 2.0, 3.0])) == "−2.0 points (95% interval −4.5 to +0.5, n=3)"


def test_of_one_seed_and_of_equal_values():
    one, equal, zero = (statistics.interval(values) for values in ([3.0], [3.0, 3.0], [0.0, 0.0]))
    assert (one.low, one.high, one.sign) == (-math.inf, math.inf, 0) and math.isnan(one.p)
    assert (equal.low, equal.high, equal.sign, equal.p) == (3.0, 3.0, 1, 0.0) and zero.p == 1.0
    assert statistics.signed(-0.04) == "0.0" and statistics.signed(-1.25) == "−1.2"


def test_independent_runs_are_compared_by_welch():
    first, second = [20.0, 23.5, 21.0, 26.0], [18.0, 19.0, 17.5]
    found, expected = statistics.independent(first, second), stats.ttest_ind(first, second, equal_var=False)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.p == pytest.approx(expected.pvalue) and found.n == 3
    assert math.isinf(statistics.independent([1.0], second).high)


def test_holm_corrects_for_the_number_of_tests():
    # a worked example that is found in many texts: the ordered p-values times 4, 3, 2, 1, never falling
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    corrected = statistics.holm([0.04, math.nan])
    assert corrected[0] == 0.04 and math.isnan(corrected[1])
    sure, unsure = statistics.Interval(2.0, 1.0, 3.0, 5, p=0.001), statistics.Interval(-2.0, -3.9, -0.1, 5, p=0.04)
    assert statistics.signs([sure, unsure]) == [1, -1] and statistics.signs([unsure] * 2 + [sure]) == [0, 0, 1]


def test_the_equivalence_bound_is_where_both_one_sided_tests_are_at_5_percent():
    values = [0.4, -0.2, 0.7, 0.1, 0.3]
    bound = statistics.equivalence_bound(values)
    below = stats.ttest_1samp(values, bound, alternative="less").pvalue
    above = stats.ttest_1samp(values, -bound, alternative="greater").pvalue
    assert max(below, above) == pytest.approx(0.05)
    assert math.isinf(statistics.equivalence_bound([0.4]))


def test_the_interval_of_a_deviation_covers_it():
    draws = np.random.default_rng(0).normal(0, 2.0, (2_000, 4))
    found = [statistics.deviation(draw) for draw in draws]
    assert np.mean([i.low <= 2.0 <= i.high for i in found]) == pytest.approx(0.95, abs=0.015)
    assert found[0].mean == pytest.approx(np.std(draws[0], ddof=1))


def crossed(rng, by_row, by_column, rest, n=6):
    return by_row * rng.normal(size=(n, 1)) + by_column * rng.normal(size=(1, n)) + rest * rng.normal(size=(n, n))


def test_a_share_of_the_variance_by_the_F_test():
    y = crossed(np.random.default_rng(0), 2.0, 1.0, 1.0)
    found = statistics.variance_share(y)
    # the same F from scipy's one-way analysis once the columns' means are gone, with the degrees of freedom that they cost
    one_way = stats.f_oneway(*(y - y.mean(0)))
    assert found.F == pytest.approx(one_way.statistic * 25 / 30) and found.freedom == (5, 25)
    assert found.p == pytest.approx(stats.f.sf(found.F, 5, 25))


def test_the_interval_of_the_share_covers_it():
    rng = np.random.default_rng(1)
    found = [statistics.variance_share(crossed(rng, 1.0, 3.0, 1.0)) for _ in range(1_000)]
    assert np.mean([share.low <= 0.5 <= share.high for share in found]) == pytest.approx(0.95, abs=0.02)


def test_the_share_of_the_audits_table():
    """F(5, 25) = 8.85 makes a share of 23% to 90%, p = 6e-5: computed apart from this code."""
    y = crossed(np.random.default_rng(0), 1.0, 1.0, 1.0)
    rows, columns, mean = y.mean(1, keepdims=True), y.mean(0), y.mean()
    rest = y - rows - columns + mean
    scale = math.sqrt(8.85 * (rest**2).sum() / 25 / (6 * ((rows - mean) ** 2).sum() / 5))
    found = statistics.variance_share(scale * (rows - mean) + columns + rest)
    assert found.F == pytest.approx(8.85) and found.p == pytest.approx(6e-5, rel=0.05)
    assert (round(found.low, 2), round(found.high, 2)) == (0.23, 0.90)


def test_seeds_needed_and_wrong_order():
    assert power.seeds_needed(1.0, 1.0) == 10  # the textbook's n of a paired t test with effect size 1, power 80%
    assert power.seeds_needed(1.0, 1.0, paired=False) == 17  # of each, Cohen 1988, table 2.4.1
    assert power.seeds_needed(0.5, 1.0) == 34 and power.seeds_needed(0.5, 1.0, paired=False) == 64
    assert power.seeds_needed(0.0, 1.0) == math.inf and power.seeds_needed(100.0, 1.0) == 2
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.7, 2.0, (100_000, 3)).mean(1), rng.normal(0.0, 2.0, (100_000, 3)).mean(1)
    assert power.wrong_order(-0.7, 2.0) == pytest.approx((first < 0).mean(), abs=0.005)
    assert power.wrong_order(0.7, 2.0, paired=False) == pytest.approx((first < second).mean(), abs=0.005)


def test_what_fewer_seeds_would_have_said():
    found = power.fewer_seeds([1.0, 1.1, 0.9, -4.0])  # the mean is below zero, as of every three with -4
    assert found.order_otherwise == 1 / 4 and found.decide == 1 / 4 and found.decide_otherwise == 1 / 4
    with pytest.raises(ValueError, match="3 seeds are not more than the 3"):
        power.fewer_seeds([1.0, 2.0, 3.0])


def test_the_floor_of_the_calibration_error():
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(200):
        confidence = rng.uniform(size=1_000)
        right = rng.uniform(size=1_000) < confidence
        bins = np.minimum((15 * confidence).astype(int), 14)
        errors.append(sum(abs((right - confidence)[bins == b].sum()) for b in range(15)) / 1_000)
    assert statistics.calibration_floor(1_000) == pytest.approx(np.mean(errors), rel=0.05)


def frame(columns, labels=(100, 110, 120, 130)):
    return pd.DataFrame(columns, index=pd.Index(labels, name="n_labels"), dtype=float)


def test_area_first_round_and_crossing():
    runs = frame({0: [50, 60, 70, 80], 1: [50, 90, 70, 80]})
    assert curves.area(runs).to_list() == pytest.approx([65.0, 75.0])  # (25 + 60 + 70 + 40) / 3 and with 90
    assert curves.first_at(runs, 80).to_list() == [130, 110] and math.isinf(curves.first_at(runs, 81)[0])
    assert curves.first_at(frame({0: [50, 100 * float(np.float32(0.9)), 70, 80]}), 90)[0] == 110
    assert curves.crossing(runs.mean(axis=1), 75) == 110  # 50, 75, 70, 80
    fit = curves.isotonic(runs.mean(axis=1))
    assert fit.to_list() == [50, 72.5, 72.5, 80] and curves.crossing(fit, 75) == 130
    assert curves.labels_at(fit, 76.25) == 125 and curves.labels_at(fit, 40) == 100 and math.isinf(curves.labels_at(fit, 81))


def test_the_median_of_censored_times_is_kaplan_and_meiers():
    # weeks in remission under 6-MP (Freireich et al. 1963), whose median is 23 in every textbook; + is censored
    times = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+".split()
    last = [float(time.rstrip("+")) for time in times]
    first = [math.inf if time.endswith("+") else n for time, n in zip(times, last)]
    assert curves.median_labels(first, last) == 23
    assert curves.median_labels([110, math.inf, math.inf], [130] * 3) == math.inf
    assert curves.median_labels([110, 120, math.inf], [130] * 3) == 120


@pytest.mark.parametrize(("n", "alike"), [(3, 0.5), (3, 0.9), (8, 0.9)])
def test_the_band_holds_the_whole_curve(n, alike):
    rng = np.random.default_rng(0)
    rounds = np.arange(12)
    covariance = alike ** np.abs(rounds[:, None] - rounds)
    held, repeats, wider = 0, 150, 0
    for _ in range(repeats):
        runs = pd.DataFrame(rng.multivariate_normal(np.zeros(12), covariance, n).T)
        band = curves.simultaneous_band(runs, draws=1_000)
        held += bool(((band.low <= 0) & (band.high >= 0)).all())
        bonferroni = stats.t.ppf(1 - 0.05 / 24, n - 1) * runs.sem(axis=1)
        wider += (band.high - band["mean"]).mean() > bonferroni.mean()
    assert wider == 0
    assert 0.91 <= held / repeats <= 0.99


def test_a_round_in_which_nothing_can_differ_makes_no_band_narrower():
    runs = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 6)))
    nothing = pd.DataFrame(np.zeros((1, 6)), index=[-1])
    with_it, without = curves.simultaneous_band(pd.concat([nothing, runs])), curves.simultaneous_band(runs)
    assert with_it.loc[-1].to_list() == [0, 0, 0]
    pd.testing.assert_frame_equal(with_it.iloc[1:], without)


def rounds(accuracies, **fields):
    """Rounds of strategies: {(strategy, seed): accuracies}."""
    return pd.DataFrame(
        dict(dataset="mnist", model="lenet", noise="none", strategy=strategy, seed=seed, n_labels=100 + 10 * k, round=k,
             test_accuracy=accuracy) | fields
        for (strategy, seed), each in accuracies.items() for k, accuracy in enumerate(each)
    )  # fmt: skip


def ladder(n=8, gap=0.02):
    """Three strategies, always in the same order after the first round, over `n` seeds that differ."""
    steps = {"random": 0, "bald": 1, "margin": 2}
    return rounds({
        (name, seed): [0.5, *(0.6 + 0.01 * seed + gap * step + 0.001 * (seed * step % 3) + 0.02 * k for k in range(4))]
        for (name, step), seed in itertools.product(steps.items(), range(n))
    })  # fmt: skip


def test_the_penalty_matrix_counts_significant_wins():
    study = ladder()
    matrix = ranking.penalty_matrix(pd.concat([study, study.assign(noise="gaussian")]))
    # ahead at the rounds 1, 2 and 4 in both of two cells: 2
    assert matrix.loc["margin", "random"] == 2 and matrix.loc["random", "margin"] == 0
    assert matrix.loc["bald", "random"] == 2 and matrix.loc["margin", "bald"] == 2
    assert matrix.loc["mean"].to_dict() == pytest.approx(dict(random=4 / 3, bald=2 / 3, margin=0))
    assert ranking.penalty_matrix(ladder(n=1)).to_numpy().sum() == 0  # one seed beats nobody
    assert ranking.penalty_table(ladder(n=1)).empty
    elsewhere = study[study.strategy != "bald"].assign(noise="gaussian")  # BALD is not beaten where it did not run
    table = ranking.penalty_table(pd.concat([study, elsewhere]))
    assert table.loc["margin", "random"] == "1.00" and table.index.name == "ahead ↓, behind → (1 of 2 cells)"


def test_ranks_and_their_tests_are_scipys():
    study = ladder()
    found = ranking.ranks(study)
    assert found is not None and found.mean == dict(random=3, bald=2, margin=1) and found.n == 8
    # in every seed the same order: Friedman's chi-square is 2 n = 16 with 2 degrees of freedom
    assert found.friedman == pytest.approx(stats.chi2.sf(16, 2))
    assert found.pairs["random", "margin"] == pytest.approx(3 * 2 / 2**8)  # the exact p of 8 equal signs, three tests
    assert ranking.ranks(ladder(n=1)) is None
    assert "With 3 seeds Wilcoxon's p cannot be below 0.25." in ranking.ranks_sentence(ladder(n=3))


def test_areas_are_paired_with_random():
    table = ranking.areas(ladder(n=3))
    assert table.index.names == ["dataset", "model", "noise", "seed"] and list(table) == ["random", "bald", "margin"]
    assert table["random"].iloc[0] == pytest.approx(100 * (0.25 + 0.60 + 0.62 + 0.64 + 0.33) / 4)
    assert "ahead" in ranking.areas_table(ladder())["margin"].item()


def test_label_efficiency_is_read_from_the_mean_curves():
    study = rounds({("random", 0): [0.5, 0.6, 0.7, 0.8], ("bald", 0): [0.5, 0.7, 0.8, 0.9]})
    (row,) = ranking.label_efficiency(study).itertuples()
    assert (row.accuracy, row.random, row.labels) == (pytest.approx(80), 130, pytest.approx(120))
    assert row.efficiency == pytest.approx(130 / 120)
    behind = study.assign(strategy=study.strategy.map({"random": "bald", "bald": "random"}))
    assert ranking.label_efficiency(behind).efficiency.item() == pytest.approx(120 / 130)


def test_runs_that_do_not_differ_or_are_one_leave_nothing_to_estimate():
    assert power.wrong_order(1.0, 0.0) == 0 and power.wrong_order(0.0, 0.0) == 0.5 and power.wrong_order(1.0, math.inf) == 0.5
    assert power.seeds_needed(1.0, 0.0) == 2
    assert {power.seeds_needed(*given) for given in ((0.0, 0.0), (1.0, math.inf), (1.0, math.nan))} == {math.inf}
