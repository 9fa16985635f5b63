"""The two research questions, and the summary: intervals paired by seed, and what is not said."""

import itertools
import math

import pytest
from little_ledgers import said, study, write
from scipy import stats

from al_utils.chance import guessing_limit
from al_utils.ledger import read_ledgers
from al_utils.results import answers, beside, statistics, studies, summary


def test_intervals_are_paired_by_seed(tmp_path):
    ours, base = [0.90, 0.85, 0.93], [0.88, 0.84, 0.90]
    for seed, (a, b) in enumerate(zip(ours, base)):
        write(tmp_path, [0.5, a], strategy="bald", seed=seed)
        write(tmp_path, [0.5, b], strategy="random", seed=seed)
    (row,) = answers.against_random(study(tmp_path)).itertuples()
    expected = stats.ttest_rel(ours, base).confidence_interval(0.95)
    assert row.difference.mean == pytest.approx(2.0)  # 2, 1, 3 points
    assert row.difference.low == pytest.approx(100 * expected.low)
    assert row.difference.high == pytest.approx(2 + 4.302653 * 1 / math.sqrt(3))
    assert row.difference.sign == 0  # -0.5 to 4.5: three seeds do not decide two points
    assert row.within == pytest.approx(2 + 2.919986 / math.sqrt(3)) and row.sign == 0
    assert "With LeNet: which strategy is the most effective is not decided by this evidence. BALD has" in said(
        answers.rq1, tmp_path
    )


def test_seeds_are_averaged_over_the_same_settings(tmp_path):
    """A sweep that is not whole: the Gaussian cell has one seed of three, and there another difference."""
    for seed, noise, gain in ((0, "none", 0.01), (1, "none", 0.02), (2, "none", 0.03), (0, "gaussian", 0.20)):
        write(tmp_path, [0.5, 0.6], strategy="random", noise=noise, seed=seed)
        write(tmp_path, [0.5, 0.6 + gain], strategy="bald", noise=noise, seed=seed)
    gaps = answers.differences(studies.final(study(tmp_path)), "strategy", "bald", "random")
    gap = statistics.over_seeds(gaps)
    assert (gap.mean, gap.n) == (pytest.approx(2.0), 3)  # 1, 2, 3 points, and not 10.5, 2, 3
    assert str(gap).endswith("n=3, over the 1 of 2 settings run with these seeds)")
    assert str(gap) in " ".join(summary.summary(studies.read_runs(tmp_path), {"": study(tmp_path)}))
    # Now two seeds of three cells leave more pairs than three seeds of one.
    for noise, seed, gain in (("gaussian", 1, 0.0), ("salt_and_pepper", 0, 0.2), ("salt_and_pepper", 1, 0.0)):
        write(tmp_path, [0.5, 0.6], strategy="random", noise=noise, seed=seed)
        write(tmp_path, [0.5, 0.6 + gain], strategy="bald", noise=noise, seed=seed)
    gap = statistics.over_seeds(answers.differences(studies.final(study(tmp_path)), "strategy", "bald", "random"))
    assert (gap.mean, gap.n) == (pytest.approx((1 + 20 + 20 + 2) / 6), 2)
    assert gap.note == "over the 3 of 3 settings run with these seeds"


def test_rq1_names_a_winner_where_the_intervals_agree(tmp_path):
    for seed, noise in itertools.product(range(3), ("none", "gaussian")):
        for strategy, accuracy in (("random", 0.80), ("bald", 0.90 + 0.001 * seed), ("max_entropy", 0.84)):
            write(tmp_path, [0.5, accuracy], strategy=strategy, noise=noise, seed=seed)
    for seed, noise in itertools.product(range(3), ("none", "gaussian")):
        write(tmp_path, [0.5, 0.79 + 0.01 * seed], strategy="margin", noise=noise, seed=seed)
    answer = said(answers.rq1, tmp_path)
    assert answer.startswith("With LeNet: BALD is the most effective strategy by this evidence.")
    assert "corrected for these 6 verdicts (Holm): max. entropy is ahead in 2" in answer
    assert "BALD is ahead in 2, behind in 0 and undecided in 0 of 2; undecided in all: margin." in answer
    assert "The largest difference to random is that of BALD on MNIST-5k, LeNet" in answer and "+10.1 points" in answer


def test_in_a_single_cell_strategies_are_listed_by_verdict(tmp_path):
    finals = {
        "random": (0.8, 0.8, 0.8),
        "bald": (0.9, 0.901, 0.902),
        "margin": (0.79, 0.8, 0.82),
        "max_entropy": (0.7, 0.701, 0.699),
    }
    for strategy, accuracies in finals.items():
        for seed, accuracy in enumerate(accuracies):
            write(tmp_path, [0.5, accuracy], strategy=strategy, seed=seed)
    answer = said(answers.rq1, tmp_path)
    assert "Against random, corrected for these 3 verdicts (Holm): ahead BALD; undecided margin; behind max. entropy." in answer


def test_answers_without_the_runs_they_need(tmp_path):
    (nothing,) = studies.by_study(read_ledgers(tmp_path)).values()
    assert answers.rq1(nothing) == ["Not answered: no finished run of random, max. entropy or BALD."]
    assert answers.rq2(nothing) == ["Not answered: no finished run of LeNet or ResNet-18."]
    assert (beside.table_2(nothing).map(lambda text: text.startswith("not run\npaper"))).all(axis=None)

    write(tmp_path, [0.5, 0.8])
    assert "With LeNet: not answered, no finished run of a strategy other than random" in said(answers.rq1, tmp_path)
    assert said(answers.rq2, tmp_path) == "Not answered: no finished run of ResNet-18."
    write(tmp_path, [0.5, 0.9], strategy="bald")
    answer = said(answers.rq1, tmp_path)
    assert "not decided" in answer and "+10.0 points (one seed, so no interval)" in answer
    write(tmp_path, [0.5, 0.7], noise="gaussian")
    assert said(answers.rq2, tmp_path).endswith("Gaussian noise costs LeNet 10.0 points (one seed, so no interval).")
    assert "nan" not in said(answers.rq2, tmp_path) + answer


def test_rq2_compares_accuracy_and_loss_paired_by_seed(tmp_path):
    accuracies = {("lenet", "none"): 0.90, ("lenet", "gaussian"): 0.80}
    accuracies |= {("resnet18", "none"): 0.95, ("resnet18", "gaussian"): 0.94}
    for (model, noise), accuracy in accuracies.items():
        for seed in range(3):
            write(tmp_path, [0.5, accuracy + 0.01 * seed], model=model, noise=noise, seed=seed)
    answer = said(answers.rq2, tmp_path)
    assert answer.startswith("Without noise and under Gaussian noise, ResNet-18 is the more accurate network.")
    assert "Gaussian noise costs LeNet 10.0 points" in answer and "ResNet-18 1.0 points" in answer
    assert "ResNet-18 loses less: LeNet's loss minus ResNet-18's is +9.0 points (95% interval +9.0 to +9.0, n=3)" in answer


def test_networks_with_other_recipes_are_not_compared(tmp_path):
    for model, epochs, accuracy in (("lenet", 100, 0.8), ("resnet18", 12, 0.6)):
        for seed in range(3):
            write(tmp_path, [0.5, accuracy], model=model, epochs=epochs, seed=seed)
            write(tmp_path, [0.5, accuracy - 0.1], model=model, epochs=epochs, seed=seed, noise="gaussian")
    answer = said(answers.rq2, tmp_path)
    assert answer.startswith("Not answered: LeNet and ResNet-18 are not compared, because their runs also differ in epochs")
    assert "(LeNet 100, ResNet-18 12)" in answer and "more accurate" not in answer and "loses less" not in answer
    assert "Gaussian noise costs LeNet 10.0 points" in answer and "ResNet-18 10.0 points" in answer
    assert answers.differences(studies.final(study(tmp_path)), "model", "lenet", "resnet18").empty


def test_answers_are_per_network(tmp_path):
    for model, gain in (("lenet", 0.0), ("resnet18", 0.1)):
        for seed in range(3):
            write(tmp_path, [0.5, 0.7], model=model, seed=seed)
            write(tmp_path, [0.5, 0.7 + gain + 0.001 * seed], model=model, seed=seed, strategy="bald")
    lenet, resnet = answers.rq1(study(tmp_path))
    assert lenet.startswith("With LeNet: which strategy is the most effective is not decided")
    assert resnet.startswith("With ResNet-18: BALD is the most effective strategy")


def test_the_summary_is_a_few_plain_sentences(tmp_path):
    for seed in range(3):
        write(tmp_path, [0.11, 0.12], seed=seed)
        write(tmp_path, [0.11, 0.125 + 0.001 * seed], seed=seed, strategy="bald")
    write(tmp_path, [0.5, 0.8], seed=3, stop=1)
    sentences = summary.summary(studies.read_runs(tmp_path), studies.by_study(read_ledgers(tmp_path)))
    assert sentences[0] == (
        "6 finished runs (1 are not finished and do not count): MNIST-5k; LeNet; random and BALD; no noise; 3 seeds; "
        "from 100 to 110 labels."
    )
    assert sentences[1].startswith(
        "With LeNet BALD is the most effective strategy. Accuracy minus random's at 110 labels: BALD +0.6"
    )
    assert sentences[2].startswith("LeNet ends near chance on MNIST-5k in 6 of 6 runs (test accuracy below 15%)")


def test_without_random_the_summary_averages_over_the_cells_and_seeds_that_all_strategies_have(tmp_path):
    for seed, strategy in itertools.product((0, 1), ("bald", "max_entropy")):
        write(tmp_path, [0.1, 0.6 if strategy == "bald" else 0.5], strategy=strategy, seed=seed)

    def sentence():
        return summary.summary(studies.read_runs(tmp_path), {"": study(tmp_path)})[1]

    reached = "max. entropy reaches 50.0% and BALD reaches 60.0% test accuracy, averaged over "
    assert sentence().endswith(reached + "all cells and seeds.")
    write(tmp_path, [0.1, 0.9], strategy="bald", seed=2)
    assert sentence().endswith(reached + "the 2 cells and seeds that they share.")
    for path in tmp_path.glob("*max_entropy*"):
        path.unlink()
    write(tmp_path, [0.1, 0.5], strategy="max_entropy", seed=3)
    assert sentence().endswith("max. entropy and BALD share no cell and seed, so they are not compared.")


def test_strategies_are_compared_over_the_cells_that_all_have(tmp_path):
    """BALD ran on the easier data set alone, where margin is ahead of it, too."""
    at_end = {("mnist5k", "random"): 0.50, ("mnist5k", "bald"): 0.66, ("mnist5k", "margin"): 0.67,
              ("fashion_mnist", "random"): 0.50, ("fashion_mnist", "margin"): 0.55}  # fmt: skip
    for ((dataset, strategy), accuracy), seed in itertools.product(at_end.items(), range(3)):
        write(tmp_path, [0.1, accuracy + 0.001 * seed], dataset=dataset, strategy=strategy, seed=seed)
    (_, said_of_lenet) = summary.summary(studies.read_runs(tmp_path), {"": study(tmp_path)})
    assert "at 110 labels, over the 1 of 2 cells that all strategies have: BALD +16.0 points" in said_of_lenet
    assert "margin +17.0 points" in said_of_lenet
    assert "over the 1 of 2 cells that all strategies have: against random +17.0" in said(answers.rq1, tmp_path)


def test_near_chance_is_less_far_from_it_where_classes_are_few():
    assert guessing_limit(1 / 10) == pytest.approx(0.15) and guessing_limit(1 / 100) == pytest.approx(0.015)
    assert guessing_limit(1 / 2) == pytest.approx(0.55) and guessing_limit(1) == 1
