"""Tables, answers and figures against numbers worked by hand, from ledgers that the real `Ledger` wrote."""

import itertools
import math
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
from conftest import shipped_ledgers
from matplotlib.figure import Figure
from scipy import stats

from al_utils import acquisition
from al_utils.config import ExperimentConfig
from al_utils.ledger import Ledger, Round, check_header, read_ledger, read_ledgers
from al_utils.results import answers, beside, figures, index, looks, pages, paper, queries, record, studies, summary, tables
from al_utils.words import dataset_label

ROOT = Path(__file__).resolve().parent.parent
DIGITS = [str(digit) for digit in range(10)]


def write(folder, accuracies, stop=None, classes=(), noisy=(), seconds=None, **config):
    """A ledger with these test accuracies, one per round; every round queries images of `classes`, `noisy` or not."""
    n_query = len(classes) or 10
    plan = dict(n_initial=100, n_query=n_query, n_rounds=len(accuracies) - 1)
    c = ExperimentConfig.from_dict(dict(protocol="tuned", device="cpu") | plan | config)
    header = dict(
        config=c.to_dict(), initial=list(range(c.n_initial)), environment=dict(python="3.11", processor="a <fast> one"),
        data=dict(name=c.dataset, label="", checksum="0", classes=DIGITS),
    )  # fmt: skip
    with Ledger(folder / f"{c.name}.jsonl", header) as ledger:
        for k, (n_labels, accuracy) in list(enumerate(zip(c.n_labels, accuracies)))[:stop]:
            n = c.n_query if k < c.n_rounds else 0
            metrics = dict.fromkeys(studies.METRICS, accuracy)
            picked = dict(true_classes=list(classes or [k % 10] * n)[:n], noisy=list(noisy or [False] * n)[:n])
            spent = seconds or dict(fit=1.0, evaluate=0.5)
            ledger.append(Round(k, n_labels, metrics, list(range(n_labels, n_labels + n)), [0.0] * n, **picked, seconds=spent))


def test_an_option_tied_to_the_network_does_not_separate(tmp_path):
    write(tmp_path, [0.5, 0.6], model="lenet", epochs=100)
    write(tmp_path, [0.5, 0.7], model="resnet18", epochs=16)
    assert len(studies.by_study(read_ledgers(tmp_path))) == 1
    write(tmp_path, [0.5, 0.8], model="lenet", epochs=50, seed=1)
    assert len(studies.by_study(read_ledgers(tmp_path))) == 3


def study(folder):
    (only,) = studies.by_study(read_ledgers(folder)).values()
    return only


def said(answer, folder):
    return " ".join(answer(study(folder)))


def cell(table, noise, model, dataset, strategy):
    return table.loc[(noise, model), (dataset, strategy)]


def test_published_numbers_are_the_papers():
    assert paper.table_2("mnist", "lenet", "random", "none") == 28.79
    assert paper.table_2("cifar10", "resnet18", "bald", "salt_and_pepper") == 38.52
    assert paper.table_2("fashion_mnist", "lenet", "max_entropy", "gaussian") == 14.63
    assert paper.figure_3("supervised", "lenet") == 65.49
    assert paper.figure_3("ideal", "resnet18", "max_entropy") == 1.47
    assert paper.figure_3("constrained", "resnet18", "bald") == 6.83
    found = itertools.product(paper.DATASETS, paper.MODELS, paper.STRATEGIES, paper.NOISES)
    assert sum(paper.table_2(*key) is not None for key in found) == 54


def test_stand_ins_are_compared_with_the_data_set_they_stand_for():
    assert paper.table_2("mnist5k", "lenet", "random", "none") == 28.79
    assert paper.table_2("folder:/x/cifar10_jpeg", "lenet", "random", "none") == 13.92
    assert paper.table_2("folder:/x/cifar100", "lenet", "random", "none") is None
    assert paper.table_2("mnist", "lenet", "margin", "none") is None
    assert paper.figure_3("ideal_fine", "lenet", "bald") is None
    assert dataset_label("folder:/x/cifar10_jpeg") == "CIFAR-10 (JPEG)"
    assert dataset_label("folder:/secret/cats") == "cats"


def test_table_2_has_mean_standard_error_n_and_the_published_number(tmp_path):
    for seed, last in enumerate([0.90, 0.92, 0.97]):
        write(tmp_path, [0.5, last], dataset="mnist5k", seed=seed)
    table = beside.table_2(study(tmp_path))
    # mean 93; deviations -3, -1, 4: variance 13, standard error sqrt(13 / 3) = 2.08
    assert cell(table, "no noise", "LeNet", "MNIST-5k", "random") == "93.0 ± 2.1% (3)\npaper 28.79%"
    assert cell(table, "no noise", "ResNet-18", "MNIST", "BALD") == "not run\npaper 93.16%"
    assert table.shape == (6, 12)


def test_one_seed_has_no_standard_error_and_unfinished_runs_do_not_count(tmp_path):
    write(tmp_path, [0.5, 0.9], dataset="mnist", seed=0)
    write(tmp_path, [0.5, 0.1], dataset="mnist", seed=1, stop=1)
    table = beside.table_2(study(tmp_path))
    assert cell(table, "no noise", "LeNet", "MNIST", "random") == "90.0% (n=1)\npaper 28.79%"
    runs = tables.overview(studies.read_runs(tmp_path))[""]
    assert runs["Runs"] == "1 finished, 1 unfinished: mnist__lenet__random__none__seed-1 (after 1 of 2 trainings)"


def test_settings_are_separated_and_copies_count_once(tmp_path):
    for lr, accuracy in ((0.1, 0.9), (0.01, 0.7)):
        write(tmp_path / str(lr), [0.5, accuracy], dataset="mnist", lr=lr)
        write(tmp_path / f"copy of {lr}", [0.5, accuracy], dataset="mnist", lr=lr)
    write(tmp_path / "ideal", [0.5, 0.8], dataset="mnist", scenario="ideal")
    found = studies.by_study(read_ledgers(tmp_path))
    assert sorted(found) == [
        "protocol tuned, scenario constrained, lr 0.01",
        "protocol tuned, scenario constrained, lr 0.1",
        "protocol tuned, scenario ideal",
    ]
    by_lr = {name[-4:].strip(): beside.table_2(part) for name, part in found.items()}
    assert cell(by_lr["0.1"], "no noise", "LeNet", "MNIST", "random").startswith("90.0% (n=1)")
    assert cell(by_lr["deal"], "no noise", "LeNet", "MNIST", "random") == "80.0% (n=1)"  # nothing published beside it
    errors = beside.figure_3(found)["MNIST"]
    assert "10.0% (n=1) at 110 labels, protocol tuned, lr 0.1" in errors["constrained", "LeNet", "random"].split("\n")
    assert errors["ideal", "LeNet", "random"] == "20.0% (n=1) at 110 labels"
    with pytest.raises(ValueError, match="mix studies"):
        figures.learning_curves(read_ledgers(tmp_path))


def test_one_split_for_all_seeds_is_one_setting(tmp_path):
    for seed in range(3):
        write(tmp_path, [0.5, 0.9], seed=seed, protocol="as_released")  # seed 0's own split, for all
    assert study(tmp_path).seed.nunique() == 3
    write(tmp_path / "other", [0.5, 0.9], seed=1, protocol="as_released", split_seed=7)
    assert len(studies.by_study(read_ledgers(tmp_path))) > 1


def test_figure_3_counts_a_supervised_seed_once(tmp_path):
    for strategy, seed in itertools.product(("random", "bald"), (0, 1)):
        write(tmp_path, [0.9 + 0.02 * seed], dataset="mnist", scenario="supervised", strategy=strategy, seed=seed, n_query=0)
    table = beside.figure_3({"": study(tmp_path)})
    assert table.loc["supervised", "LeNet", "–"].tolist() == ["65.49% at 1,100 labels", "9.0 ± 1.0% (2) at 100 labels"]
    assert table.loc["ideal", "LeNet", "BALD"].tolist() == ["3.37% at 11,000 labels", "not run"]


def test_labels_needed_count_the_seeds_that_did_not_arrive(tmp_path):
    write(tmp_path, [0.7, np.float32(0.8).item(), 0.9], seed=0)
    write(tmp_path, [0.7, 0.7, float(np.float32(0.9))], seed=1)  # a float32 0.9 is below 0.9
    write(tmp_path, [0.7, 0.7, 0.85], seed=2)
    write(tmp_path, [0.7, 0.96, 0.7], seed=0, strategy="bald")
    write(tmp_path, [0.7, 0.7, 0.7], seed=1, strategy="bald")
    write(tmp_path, [0.7, 0.7, 0.7], seed=2, strategy="bald")
    needed = tables.labels_needed(study(tmp_path), (0.8, 0.9, 0.95, 0.99)).loc["MNIST-5k", "LeNet", "no noise"]
    assert needed["80%", "random"] == "120 (3)"  # 110, 120, 120
    assert needed["90%", "random"] == "120 (3)\n2 of 3 arrived"
    assert needed["80%", "BALD"] == "more than 120 (3)\n1 of 3 arrived"
    assert needed["95%", "random"] == "not reached (3)"
    assert ("99%", "random") not in needed


def test_class_balance_and_its_entropy(tmp_path):
    write(tmp_path, [0.5, 0.6], classes=[0, 0, 0, 1])
    balance = queries.class_balance(study(tmp_path), {"mnist5k": 4})
    assert balance.share.tolist() == [0.75, 0.25, 0, 0]
    assert balance.entropy[0] == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4))
    assert (balance.expected == balance.share).all() and (balance.queried == 4).all()  # random itself
    write(tmp_path, [0.5, 0.6], classes=[0, 1, 2, 3], strategy="bald")
    balance = queries.class_balance(study(tmp_path), {"mnist5k": 4})
    assert balance[balance.strategy == "bald"].expected.tolist() == [0.75, 0.25, 0, 0]
    against = queries.evenness_against_random(study(tmp_path), {"mnist5k": 4})["mnist5k", "lenet", "bald"]
    assert against.mean == pytest.approx(1 - balance.entropy[0]) and against.n == 1


def test_a_thousand_classes_are_a_figure_one_can_read(tmp_path):
    write(tmp_path, [0.5, 0.6], classes=[0, 1, 2, 3])
    write(tmp_path, [0.5, 0.6], classes=[0, 1, 2, 3], strategy="bald")
    found = study(tmp_path)
    queried = (found.strategy == "bald") & (found["round"] == 0)
    found.loc[queried, "true_classes"] = pd.Series([[7, 7, 7, 999]], found.index[queried])
    balance = queries.class_balance(found, {"mnist5k": 1_000})
    (ax,) = figures.class_balance(balance, [f"class {c}" for c in range(1_000)]).axes
    shown = [text.get_text() for text in ax.get_xticklabels()]
    assert len(shown) == 30 and {"class 0", "class 7", "class 999"} <= set(shown)
    assert "the 30 of 1,000 classes farthest" in ax.get_title("left")


def test_noisy_share_and_its_interval_over_seeds(tmp_path):
    shares = [0.2, 0.3, 0.4]
    for seed, n in enumerate((2, 3, 4)):
        write(tmp_path, [0.5] * 6, noise="gaussian", noisy=[True] * n + [False] * (10 - n), seed=seed)
    (row,) = queries.noisy_share(study(tmp_path)).itertuples()
    expected = stats.ttest_1samp(shares, 0.1)
    assert (row.queried, row.share, row.rate) == (150, pytest.approx(0.3), 0.1)
    assert (row.low, row.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert row.excess.p == pytest.approx(expected.pvalue) and row.verdict == "chance is not ruled out"  # p = 0.07
    write(tmp_path, [0.5] * 6, noise="gaussian", noisy=[True] * 3 + [False] * 7, seed=3)
    assert queries.noisy_share(study(tmp_path)).verdict.item() == "more than chance"


def test_seconds_leave_out_the_last_round(tmp_path):
    write(tmp_path, [0.5, 0.6, 0.7], seconds=dict(fit=2.0, evaluate=1.0, predict=0.5))
    (row,) = tables.seconds_per_round(study(tmp_path)).itertuples()
    assert (row.rounds, row.fit, row.predict, row.acquire, row.total) == (2, 2.0, 0.5, 0.0, 3.5)


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


def test_rq1_names_a_winner_where_the_intervals_agree(tmp_path):
    for seed, noise in itertools.product(range(3), ("none", "gaussian")):
        for strategy, accuracy in (("random", 0.80), ("bald", 0.90 + 0.001 * seed), ("max_entropy", 0.84)):
            write(tmp_path, [0.5, accuracy], strategy=strategy, noise=noise, seed=seed)
    answer = said(answers.rq1, tmp_path)
    assert answer.startswith("With LeNet: BALD is the most effective strategy by this evidence.")
    assert "corrected for these 4 verdicts (Holm): max. entropy is ahead in 2" in answer
    assert "BALD is ahead in 2, behind in 0 and undecided in 0 of 2" in answer
    assert "The largest difference to random is that of BALD on MNIST-5k, LeNet" in answer and "+10.1 points" in answer


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


def test_new_names_appear_like_any_other(tmp_path):
    """Names of one's own are in ledgers, whether or not they are registered here."""
    for seed in range(2):
        for model, noise, strategy in itertools.product(("lenet", "vit"), ("none", "blur"), ("random", "mine")):
            write(tmp_path, [0.5, 0.8 + 0.01 * seed], model=model, noise=noise, strategy=strategy, seed=seed)
    found = study(tmp_path)
    table = beside.table_2(found)
    assert cell(table, "blur", "vit", "MNIST-5k", "mine").startswith("80.5 ± 0.5% (2)")
    assert beside.figure_3({"": found}).loc[("constrained", "vit", "mine"), "MNIST-5k"].startswith("19.5")
    answer = said(answers.rq2, tmp_path)
    assert "whether LeNet or vit is the more accurate" in answer and "Blur costs LeNet" in answer
    mine = found[found.strategy == "mine"]
    ax = figures.learning_curves(mine[mine.model == "vit"], lines="noise").axes[0]
    assert [line.get_label() for line in ax.lines if "n=" in line.get_label()] == ["no noise (n=2)", "blur (n=2)"]


def test_departures_from_the_paper(tmp_path):
    write(tmp_path, [0.5, 0.6], dataset="mnist5k", epochs=7)
    phrases = beside.departures(studies.read_runs(tmp_path))
    assert "epochs a round: 7 instead of 100" in phrases and "learning rate: 0.01 instead of 0.001" in phrases
    assert phrases[-1] == "MNIST-5k is compared with the paper's MNIST"


def test_learning_curves_draw_mean_band_and_every_run(tmp_path):
    for seed, accuracy in enumerate((0.6, 0.8)):
        write(tmp_path, [0.5, accuracy], seed=seed)
    (ax,) = figures.learning_curves(study(tmp_path)).axes
    assert [line.get_ydata()[-1] for line in ax.lines] == pytest.approx([60, 80, 70])
    assert ax.lines[-1].get_label() == "random (n=2)" and ax.lines[-1].get_color() == "#7f7f7f"
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(80)  # 70 ± 10, the standard error of 60 and 80
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("labels", "test accuracy (%)")


def test_a_strategy_keeps_its_look_and_no_two_share_it():
    names = [*looks.STRATEGY, "one_of_my_own"]
    assert looks.strategy_style("one_of_my_own") == looks.strategy_style("one_of_my_own")
    assert len({looks.strategy_style(name).colour for name in names}) == len(names)
    ours = [name for name in acquisition.names() if acquisition.get(name).function.__module__.startswith("al_utils.")]
    listed = [name for name in ours if name not in looks.STRATEGY]  # other tests register strategies of their own
    assert ours and not listed, "give these a colour in looks.STRATEGY"
    assert len({looks.look("noise", noise, 0).colour for noise in paper.NOISES}) == 3


def test_differences_to_random_have_simultaneous_bands(tmp_path):
    for seed in range(3):
        write(tmp_path, [0.5, 0.6, 0.7], seed=seed)
        write(tmp_path, [0.5, 0.61 + 0.01 * seed, 0.72 + 0.01 * seed], seed=seed, strategy="bald")
    (ax,) = figures.differences_to_random(study(tmp_path)).axes
    assert ax.lines[0].get_ydata() == pytest.approx([0, 2, 3]) and ax.lines[0].get_label() == "BALD (n=3)"
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() > 3 + 4.3 / math.sqrt(3)  # wider than the interval of one round


def test_studies_stand_beside_each_other(tmp_path):
    for lr, strategy, seed in itertools.product((0.1, 0.01), ("random", "bald"), range(2)):
        write(tmp_path / str(lr), [0.5, 0.5 + lr], lr=lr, strategy=strategy, seed=seed)
    by_study = studies.by_study(read_ledgers(tmp_path))
    together = studies.together(by_study)
    assert set(together.study) == {"lr 0.1", "lr 0.01"}
    table = tables.final_accuracy(together)
    assert table.loc[("MNIST-5k", "LeNet", "no noise", "lr 0.1", "110"), "BALD"] == "60.0 ± 0.0% (2)"
    figure = figures.learning_curves(together, rows="strategy", columns="cell", lines="study")
    assert [ax.get_title("left") for ax in figure.axes] == [
        "random, MNIST-5k, LeNet, no noise",
        "BALD, MNIST-5k, LeNet, no noise",
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["lr 0.01 (n=2)", "lr 0.1 (n=2)"]
    assert not beside.of_the_papers_kind(by_study)
    assert "learning rate: 0.01 and 0.1" in tables.overview(studies.read_runs(tmp_path))[""]["Also varied"]


def test_the_papers_tables_disagree_in_one_cell():
    assert paper.contradictions() == [("resnet18", "random", 91.47, 93.16)]
    (sentence,) = beside.contradictions()
    assert "ResNet-18 with random" in sentence and "91.47%" in sentence and "6.84%" in sentence


def test_the_papers_cells_beside_ours(tmp_path):
    for seed, accuracy in enumerate((0.27, 0.29, 0.31)):  # 29 ± 2: 24.0 to 34.0
        write(tmp_path, [0.1] * 100 + [accuracy], dataset="mnist", protocol="paper", seed=seed)
        write(tmp_path / "released", [0.1] * 100 + [accuracy - 0.1], dataset="mnist", protocol="as_released", seed=seed)
    cells = beside.cells_beside(studies.by_study(read_ledgers(tmp_path)))
    assert len(cells) == 54
    table = beside.cells_beside_table(cells)
    assert table.iloc[0].to_list() == [
        "28.79%", "29.0% (24.0 to 34.0, n=3)\nholds the published number", "19.0% (14.0 to 24.0, n=3)\npublished is +9.8",
    ]  # fmt: skip
    text = beside.cells_beside_summary(cells)
    assert "Under protocol paper, LeNet: our 95% interval holds the published number in 1 of the 1" in text
    assert "Under protocol as_released, LeNet: our 95% interval holds the published number in 0 of the 1" in text


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


@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (1, 1, 8, 8), (13, 3, 8, 8)])
def test_image_grid_takes_bytes_and_standardised_floats(shape):
    rng = np.random.default_rng(0)
    for images in (rng.integers(0, 256, shape).astype(np.uint8), rng.normal(size=shape).astype(np.float32)):
        assert isinstance(figures.image_grid(images, ["a"] * shape[0]), Figure)


def test_user_text_is_escaped():
    table = pages.html_table(pd.DataFrame({"<i>": {"<u>": "<script>\nline"}}), "<b>")
    assert "<script>" not in table and "<i>" not in table and "<u>" not in table and "<b>" not in table
    assert "&lt;script&gt;<br>line" in table
    assert pages.html_text("<b>") == pages.html_text("<b>").replace("<b>", "")


def run_notebook(folder, out):
    papermill.execute_notebook(str(ROOT / "notebooks/05_report.ipynb"), str(out), dict(ledgers=str(folder)), cwd=str(ROOT),
                               progress_bar=False)  # fmt: skip
    notebook = nbformat.read(out, 4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    text = record.outputs(notebook)
    assert not [o for o in outputs if o.output_type == "error"]
    assert str(folder) not in text and str(ROOT) not in text
    return text, pictures


def test_the_notebook_reports_everything_and_says_when_it_is_stale(tmp_path):
    folder = tmp_path / "in"
    for model, strategy, noise, seed in itertools.product(paper.MODELS, paper.STRATEGIES, paper.NOISES, range(2)):
        noisy = [noise != "none"] + [False] * 9
        write(folder, [0.5, 0.8, 0.9], model=model, strategy=strategy, noise=noise, seed=seed, noisy=noisy,
              dataset="folder:/home/someone/cifar10_jpeg")  # fmt: skip
    text, pictures = run_notebook(folder, folder / "report.ipynb")
    for part in ("36 finished, 0 unfinished", "90.0 ± 0.0% (2)", "paper 13.92%", "chance is not ruled out",
                 "a &lt;fast&gt; one", "CIFAR-10 (JPEG) is compared with the paper&#x27;s CIFAR-10",
                 "The paper&#x27;s two tables disagree",
                 '<ul class="summary"><li>36 finished runs: CIFAR-10 (JPEG)'):  # fmt: skip
        assert part in text
    assert 'href="folder-cifar10_jpeg__lenet__random__none__seed-0.jsonl"' in text
    assert len(pictures) == 9 and max(map(len, pictures)) < 200_000
    assert "someone" not in text
    assert record.stale(folder) == [] and len(list(folder.glob("*.png"))) == 3
    ledger = folder / "folder-cifar10_jpeg__lenet__random__none__seed-0.jsonl"
    ledger.write_text(ledger.read_text().replace("0.9", "0.7"))
    assert [line.split(" was")[0] for line in record.stale(folder)] == [
        "report.ipynb", "learning_curves_gaussian.png", "learning_curves_none.png", "learning_curves_salt_and_pepper.png",
    ]  # fmt: skip


def test_numbers_that_are_not_the_ledgers_are_found(tmp_path):
    write(tmp_path, [0.5, 0.8])
    mark = record.ledgers_mark(tmp_path)
    assert mark.startswith("1 ledgers, SHA-256 ")
    right = pages.html_table(tables.final_accuracy(studies.together(studies.by_study(read_ledgers(tmp_path)))))
    (tmp_path / "report.html").write_text(mark + right)
    assert record.stale(tmp_path) == []
    (tmp_path / "report.html").write_text(mark + right.replace("80.0%", "81.0%"))
    assert record.stale(tmp_path) == ["report.html says other final accuracies than its ledgers"]


def test_the_notebook_reports_almost_nothing(tmp_path):
    write(tmp_path / "in", [0.5, 0.8], stop=1)
    text, pictures = run_notebook(tmp_path / "in", tmp_path / "out.ipynb")
    assert "0 finished, 1 unfinished" in text and "Not answered: no finished run of LeNet or ResNet-18." in text
    assert "None of 1 runs is finished" in text and ">not run</p>" in text and not pictures


def test_the_index_lists_every_report_with_its_summary(tmp_path):
    write(tmp_path / "mine", [0.5, 0.8])
    note = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title\n\n**Question:** is <b> *it* so?\n\nMore.")])
    nbformat.write(note, tmp_path / "mine" / "other.ipynb")
    (tmp_path / "mine" / "other.html").write_text("")
    output = nbformat.v4.new_output(
        "display_data", {"text/html": '<ul class="summary"><li>One &lt; two.</li><li>Three.</li></ul>'}
    )
    cells = [nbformat.v4.new_markdown_cell("# Report"), nbformat.v4.new_code_cell("", outputs=[output])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "mine" / "report.ipynb")
    (tmp_path / "mine" / "report.html").write_text("")
    page = index.index_page(tmp_path)
    assert '<h2><a href="mine/other.html">Title</a></h2><ul><li>Is &lt;b&gt; it so?</li></ul>' in page
    assert '<a href="mine/report.html">mine</a>' in page and "<li>One &lt; two.</li><li>Three.</li>" in page
    assert "report.ipynb was not made from 1 ledgers" in page


REPORTS = sorted(path.parent for path in (ROOT / "reports").glob("*/report.ipynb"))


@pytest.mark.parametrize("folder", REPORTS, ids=[folder.name for folder in REPORTS])
def test_the_reports_are_those_of_their_ledgers(folder):
    assert record.stale(folder) == []


def test_every_ledger_in_reports_is_read_checked_and_counted():
    paths = shipped_ledgers()
    for path in paths:
        header, _ = read_ledger(path)
        assert header, path
        check_header(path, header, {"config": header["config"]})
    counted = pd.concat([studies.read_runs(folder) for folder in sorted({path.parent for path in paths})])
    assert len(counted) == len(paths)
    assert not [name for name in studies.CONFIG if name != "device" and counted[name].isna().any()]


def test_the_contents_lead_to_every_section():
    cells = [cell.source for cell in nbformat.read(ROOT / "notebooks/05_report.ipynb", 4).cells if cell.cell_type == "markdown"]
    headings = [source.splitlines()[0].removeprefix("## ") for source in cells if source.startswith("## ")]
    (contents,) = [source for source in cells if source.startswith("**Contents**")]
    found = re.findall(r"\[([^]]+)\]\(#([^)]+)\)", contents)
    assert ["Summary", *(text for text, _ in found)] == headings
    assert all(anchor == text.replace(" ", "-") for text, anchor in found)


def test_the_committed_notebook_is_clean():
    notebook = nbformat.read(ROOT / "notebooks/05_report.ipynb", 4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    (parameters,) = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert [line.partition("  #")[0] for line in parameters.splitlines()] == [
        'ledgers: str = "reports/quick"',
        'page: str = ""',
    ]
