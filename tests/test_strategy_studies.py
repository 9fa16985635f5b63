"""The studies of many strategies: their sweeps, the frozen features of one, and what a report says of them."""

import sys

import pandas as pd
import pytest
import torch

from al_utils import acquisition, models, sources
from al_utils.config import ExperimentConfig
from al_utils.own import load_code
from al_utils.results import curves, figures, ranking, relatives, stretches, studies, summary
from al_utils.sweep.grid import load_sweep

SEEDS = range(8)
OURS = [name for name in acquisition.names() if sources.is_ours(acquisition.get(name).function)]  # others register, too


def rounds(accuracies, pool_repeats=1, n_query=10):
    """The rounds of made-up runs: {strategy: accuracies by round}, each seed a little higher or lower throughout."""
    rows = []
    for strategy, by_round in accuracies.items():
        for seed in SEEDS:
            plan = dict(n_initial=10, n_query=n_query, n_rounds=len(by_round) - 1, pool_repeats=pool_repeats)
            config = ExperimentConfig(strategy=strategy, seed=seed, protocol="tuned", device="cpu", **plan)
            for k, (n, accuracy) in enumerate(zip(config.n_labels, by_round)):
                wobble = 0.001 * ((3 * seed + k + len(strategy)) % 5 - 2) if k else 0.0
                rows.append(config.to_dict() | dict(round=k, n_labels=n, test_accuracy=accuracy + wobble, queried=[], ended=""))
    return pd.DataFrame(rows)


@pytest.mark.parametrize("name", ["strategies_10", "strategies_100"])
def test_the_studies_have_every_strategy_and_ten_seeds(name):
    runs = load_sweep(name).runs
    assert {run.config.strategy for run in runs} == set(OURS)
    assert {run.config.seed for run in runs} == set(range(10)) and len(runs) == 2 * 10 * len(OURS)


def test_low_budget_is_of_frozen_features_from_elsewhere():
    runs = load_sweep("low_budget").runs
    assert {(run.config.dataset, run.config.model) for run in runs} == {
        ("mnist", "lenet_on_fashion_mnist"), ("fashion_mnist", "lenet_on_mnist")
    }  # fmt: skip
    assert runs[0].config.n_labels[0] == 1 and runs[0].config.n_labels[-1] == 100


def test_a_frozen_lenet_is_the_same_in_every_process_and_round(full_data, monkeypatch):
    load_code("notebooks/sweeps/frozen_lenets.py")
    code = next(module for name, module in sys.modules.items() if name.endswith("_frozen_lenets"))
    monkeypatch.setattr(code, "IMAGES", 128)
    monkeypatch.setattr(code, "EPOCHS", 1)
    code.trained.cache_clear()
    first = models.weights_digest("lenet_on_mnist", (1, 28, 28), 10)
    code.trained.cache_clear()
    assert models.weights_digest("lenet_on_mnist", (1, 28, 28), 10) == first
    assert models.weights_digest("lenet_on_fashion_mnist", (1, 28, 28), 10) != first

    one, other = (models.build_model("lenet_on_mnist", (1, 28, 28), 10, torch.Generator().manual_seed(k)) for k in (0, 1))
    images = torch.rand(5, 1, 28, 28)
    assert one.frozen and torch.equal(one.embeddings(one.features(images)), other.embeddings(other.features(images)))
    assert not torch.equal(one(images), other(images))  # the heads differ, as each round's does
    assert [name for name, p in one.named_parameters() if p.requires_grad] == ["module.head.1.weight", "module.head.1.bias"]
    code.trained.cache_clear()


def test_stretches_say_where_a_band_leaves_zero():
    labels = [10, 20, 30, 40, 50, 60]
    band = pd.DataFrame(dict(mean=[0, 5, 4, 0, -3, 2.0], low=[0, 2, 1, -2, -5, 1.0], high=[0, 8, 7, 2, -1, 3.0]), labels)
    assert stretches.stretches(band) == [(1, 20, 30), (-1, 50, 50), (1, 60, 60)]


def test_a_strategy_that_shares_no_seed_with_random_has_no_band():
    index = pd.Index([10, 20, 30], name="n_labels")
    runs = {"random": pd.DataFrame({0: [1.0, 2, 3]}, index), "margin": pd.DataFrame({1: [1.0, 2, 4]}, index)}
    assert curves.band_against(runs) == {}


def test_an_early_gain_and_a_late_one_are_told_apart():
    study = rounds({"random": [0.3, 0.4, 0.5, 0.6], "typiclust": [0.3, 0.5, 0.5, 0.5], "margin": [0.3, 0.3, 0.5, 0.7]})
    table = stretches.stretches_table(study)
    early, late = table["TypiClust"].item(), table["margin"].item()
    assert early.startswith("ahead at 20\nbehind at 40\n") and late.startswith("ahead at 40\nbehind at 20\n")
    one = stretches.stretches_table(study[study.seed == 0])
    assert one["margin"].item() == "one seed"


def test_what_a_batch_gains_over_its_score_is_said_by_study():
    redundant = rounds({"bald": [0.3, 0.35, 0.4], "batch_bald": [0.3, 0.45, 0.6], "core_set": [0.3, 0.4, 0.5]}, pool_repeats=5)
    plain = rounds({"bald": [0.3, 0.5, 0.6], "batch_bald": [0.3, 0.5, 0.6]})
    by_study = studies.by_study(pd.concat([plain, redundant]))
    table = relatives.gains_table(studies.together(by_study))
    assert list(table) == ["BatchBALD − BALD"]
    found = {key[3:]: text for key, text in table["BatchBALD − BALD"].items()}
    repeated = [name for name in studies.brief_names(by_study).values() if "5" in name][0]
    single = [name for name in studies.brief_names(by_study).values() if "5" not in name][0]
    assert found[repeated, "at 30 labels"].startswith("+20.") and found[repeated, "at 30 labels"].endswith("ahead")
    assert found[repeated, "area under the curve"].endswith("ahead")  # 10 points: half of 0, 10 and 20 by trapezoids
    assert found[repeated, "area under the curve"].startswith(("+10.", "+9.9"))
    assert found[single, "at 30 labels"].endswith("undecided")
    assert relatives.gains_table(studies.together({"": rounds({"bald": [0.3, 0.4]})})).empty


def test_many_strategies_are_cut_into_figures_and_random_is_in_each():
    names = OURS
    study = rounds({name: [0.3, 0.4 + 0.01 * k] for k, name in enumerate(names)})
    parts = studies.parts(study)
    assert [set(part.strategy) & {"random"} for part in parts] == [{"random"}] * len(parts)
    assert sorted(name for part in parts for name in set(part.strategy) - {"random"}) == sorted(set(names) - {"random"})
    assert max(part.strategy.nunique() for part in parts) <= studies.MOST_LINES + 1
    assert [len(studies.parts(study[study.strategy.isin(["random", "bald"])]))] == [1]
    wrapped = figures.learning_curves(study, rows="strategy", columns="dataset", lines="noise")
    drawn = [ax for ax in wrapped.axes if ax.get_title(loc="left")]
    assert len(drawn) == len(names) and wrapped.get_figwidth() < 14
    sentence = summary._strategies(study)
    assert f"(the three highest and the lowest of {len(names) - 1})" in sentence and sentence.count("95% interval") == 4


def test_many_strategies_and_few_seeds_are_compared_with_random():
    names = OURS
    study = rounds({name: [0.3, 0.4 + (0.02 * k if name != "random" else 0)] for k, name in enumerate(names)})
    found = ranking.ranks(study)
    assert found is not None and min(found.pairs.values()) > 0.05  # 120 pairs, 8 seeds
    p = 2 / 2**8  # of 8 equal signs
    assert found.against_random["typiclust"] == pytest.approx(min(1, (len(names) - 1) * p))
    few = study[study.strategy.isin(["random", "max_entropy", "bald", "margin", "epig", "badge"])]
    assert ranking.ranks(few).against_random["badge"] == pytest.approx(5 * p)
    sentence = ranking.ranks_sentence(few)
    assert "No two are told apart" in sentence
    assert "Corrected only for the 5 comparisons with random: " in sentence and sentence.endswith("rank better.")


def test_data_sets_with_a_network_each_stand_beside_each_other():
    one = rounds({"random": [0.3, 0.4], "bald": [0.3, 0.5]})
    other = one.assign(dataset="fashion_mnist", model="resnet18")
    figure = figures.learning_curves(pd.concat([one, other]))
    assert [len(ax.get_lines()) > 0 for ax in figure.axes] == [True, True]
    figure = figures.learning_curves(pd.concat([one, other, other.assign(model="lenet")]))
    assert [len(ax.get_lines()) > 0 for ax in figure.axes].count(False) == 1 and len(figure.axes) == 4
