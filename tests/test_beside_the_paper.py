"""The paper's tables and figures beside ours, and where runs depart from it."""

import itertools

import numpy as np
import pandas as pd
import pytest
from little_ledgers import cell, study, write

from al_utils.ledger import read_ledgers
from al_utils.results import beside, paper, studies, tables
from al_utils.results.beside_figure import cells_figure
from al_utils.words import dataset_label


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


def test_figure_3_counts_a_supervised_seed_once(tmp_path):
    for strategy, seed in itertools.product(("random", "bald"), (0, 1)):
        write(tmp_path, [0.9 + 0.02 * seed], dataset="mnist", scenario="supervised", strategy=strategy, seed=seed, n_query=0)
    table = beside.figure_3({"": study(tmp_path)})
    assert table.loc["supervised", "LeNet", "–"].tolist() == ["65.49% at 1,100 labels", "9.0 ± 1.0% (2) at 100 labels"]
    assert table.loc["ideal", "LeNet", "BALD"].tolist() == ["3.37% at 11,000 labels", "not run"]


def test_departures_from_the_paper(tmp_path):
    write(tmp_path, [0.5, 0.6], dataset="mnist5k", epochs=7)
    phrases = beside.departures(studies.read_runs(tmp_path))
    assert "epochs a round: 7 instead of 100" in phrases and "learning rate: 0.01 instead of 0.001" in phrases
    assert phrases[-1] == "MNIST-5k is compared with the paper's MNIST"
    write(tmp_path / "b", [0.5] * 101, protocol="paper", dataset="mnist", warm_start=True, imbalance=20.0)
    phrases = beside.departures(studies.read_runs(tmp_path / "b"))
    assert [phrase.partition(":")[0] for phrase in phrases] == [
        "imbalance of the training images", "each round starts from the weights of the round before",
    ]  # fmt: skip


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
        "28.79%", "29.0% (24.0 to 34.0, n=3)\nholds the published number",
        "19.0% (14.0 to 24.0, n=3)\npublished minus ours +9.8",
    ]  # fmt: skip
    text = beside.cells_beside_summary(cells)
    assert "Protocol paper, LeNet: 1 of the paper's 27 cells were run with several seeds (3). Our 95% interval holds" in text
    assert "it reaches 5.0 to 5.0 points to each side." in text
    assert "Protocol as_released, LeNet: 1 of" in text and "holds the published number in 0 of them" in text

    (axes,) = cells_figure(cells).axes
    chance, published, *ours = [line.get_xdata() for line in axes.lines]
    assert list(chance) == [10, 10] and list(published) == [28.79] * 2
    assert np.concatenate(ours) == pytest.approx([24.03, 33.97, 29, 14.03, 23.97, 19], abs=0.01)  # each interval, then its mean
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["no noise, random"]


def test_a_run_with_another_recipe_is_none_of_the_papers_cells_and_one_in_two_sweeps_counts_once(tmp_path):
    plain = dict(dataset="mnist", protocol="paper")
    changed = [dict(lr=0.01), dict(posterior="as_released", seed=1)]
    for sweep, change in zip("ab", changed):
        write(tmp_path / sweep / "plain", [0.1] * 100 + [0.3], **plain)
        write(tmp_path / sweep / "changed", [0.1] * 100 + [0.3], **plain | change)
    rounds = pd.concat([read_ledgers(tmp_path / sweep).assign(sweep=sweep) for sweep in "ab"])
    cells = beside.cells_beside(studies.by_study(rounds))
    assert cells.paper_n.sum() == 1
    (tmp_path / "none").mkdir()
    assert beside.cells_beside(studies.by_study(read_ledgers(tmp_path / "none"))).paper_n.sum() == 0
