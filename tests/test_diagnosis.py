"""What the networks of a run know: confusion, calibration, the map, doubtful labels, one image's history."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from conftest import tiny, wait_for

from al_utils import Round
from al_utils.compute.machine import repeatable
from al_utils.experiment import run_experiment
from al_utils.oracle import NoisyOracle
from al_utils.predicting import predict_log_probs
from al_utils.results import diagnosis, replay
from al_utils.widgets import (
    network_figures,
    network_views,
)


def test_the_network_of_a_round_is_diagnosed_as_it_was(runs, tmp_path):
    run = runs["bald"]
    found = diagnosis.diagnose(run, 2)
    metrics = run.rounds[2].metrics
    assert found.accuracy == pytest.approx(metrics["test_accuracy"], abs=1e-12)
    counts = diagnosis.confusion(found.log_probs_N_C, found.true_N)
    assert counts.sum() == len(found.true_N) and float(counts.diag().sum() / counts.sum()) == pytest.approx(found.accuracy)
    table = diagnosis.reliability(found.log_probs_N_C, found.true_N)
    gap = (table.n * (table.accuracy - table.confidence).abs()).sum() / table.n.sum()
    assert gap == pytest.approx(metrics["test_ece"], abs=1e-9)
    assert {i for r in run.rounds for i in r.queried} <= set(found.images_M.tolist()) and len(
        found.images_M
    ) <= diagnosis.MAPPED
    classes = run.problem.dataset.train_labels[found.images_M].numpy()
    for made in (network_figures.knowledge(found, run.class_names),
                 network_figures.pool_map(found, classes, run.class_names, run.rounds, run.strategy)):  # fmt: skip
        assert len(made.axes) >= 2


def a_diagnosis(number, accuracy):
    """Of 100 test images of ten classes, with this accuracy."""
    true = torch.arange(100) % 10
    said = torch.where(torch.arange(100) < 100 * accuracy, true, (true + 1) % 10)
    log_probs = torch.full((100, 10), 0.01).log().scatter(1, said[:, None], torch.tensor(0.91).log().item())
    return diagnosis.Diagnosis(number, log_probs, true, torch.arange(3), torch.rand(3, 2), [0.5, 0.3])


def test_confusions_and_reliability_over_rounds_have_one_scale():
    found = [a_diagnosis(0, 0.2), a_diagnosis(3, 0.5), a_diagnosis(6, 1.0)]
    figure = network_figures.knowledge_over_rounds(found, list("abcdefghij"), [20, 1_050, 2_000])
    above, below = figure.axes[:3], figure.axes[3:6]
    assert [ax.get_title() for ax in above] == [
        "round 0, 20 labels\n20.0% accuracy", "round 3, 1,050 labels\n50.0% accuracy", "round 6, 2,000 labels\n100.0% accuracy",
    ]  # fmt: skip
    assert {ax.images[0].get_clim() for ax in above} == {(0, 1)} and {ax.get_xlim() for ax in below} == {(0, 1.02)}
    assert above[1].images[0].get_array()[0].tolist() == pytest.approx([0.5, 0.5, *[0] * 8])  # of class a, half is taken for b
    assert below[2].get_title() == "calibration error 0.090"  # sure by 0.91, and always right


def test_the_rounds_side_by_side_are_the_first_the_last_and_between(runs):
    assert diagnosis.some_rounds(runs["bald"], 5) == [0, 1, 2]
    long = replace(runs["bald"], rounds=[Round(k, 10, {}) for k in range(101)])
    assert diagnosis.some_rounds(long, 5) == [0, 25, 50, 75, 100]


def test_the_rounds_side_by_side_appear_as_they_are_trained(runs, monkeypatch):
    trained, n_images = [], len(runs["bald"].problem.train)

    def diagnose(run, number):
        trained.append(number)
        return replace(a_diagnosis(number, 0.5), images_M=torch.arange(n_images), map_M_2=torch.rand(n_images, 2))

    monkeypatch.setattr(network_views, "diagnose", diagnose)
    view = network_views.KnowledgeView(lambda: None)
    view.choose(runs["bald"], [])
    view.draw(1)
    assert "appear here" in view.shown.value
    view._ask()
    wait_for(lambda: len(view.found) == 1)
    view._ask_several()
    wait_for(lambda: len(view.found) == 3)
    assert trained == [1, 0, 2]  # what is known is not trained again
    view.draw(1)
    assert view.shown.value.count("<img") == 3 and "over the rounds" in view.shown.value


def test_what_goes_on_is_said_whatever_is_drawn_meanwhile(runs, monkeypatch):
    """Another view that trains has all drawn again: "Not ranked yet." would say that a press was lost."""
    go_on = threading.Event()
    monkeypatch.setattr(network_views, "doubtful_labels", lambda run, number: go_on.wait(60) and [])
    view = network_views.DoubtsView(lambda: view.draw(1))
    view.choose(runs["bald"], [])
    view.draw(1)
    assert "Not ranked yet." in view.status.value
    view._ask()
    view.draw(1)
    assert "Training four networks" in view.status.value
    go_on.set()
    wait_for(lambda: "0 labels up to round 1, ranked." in view.status.value)
    assert "0 of 0 labels" in view.shown.value


def test_principal_components_against_scipy():
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.tensor([5.0, 3, 1, 1, 1, 1]))
    found, share = diagnosis.principal_components(x)
    variances, axes = scipy.linalg.eigh(np.cov(x.T.double().numpy()))
    assert share == pytest.approx((variances[::-1][:2] / variances.sum()).tolist())
    expected = (x.double() - x.double().mean(0)).numpy() @ axes[:, ::-1][:, :2]
    assert np.allclose(np.abs(found.numpy()), np.abs(expected), atol=1e-8)


def test_doubts_by_hand():
    """Labels a, a, b, b. Mean probability of a among a's: 0.5; of b among b's: 0.7."""
    probs = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.3, 0.7], [0.3, 0.7]], dtype=torch.float64)
    found = diagnosis.doubts(probs, torch.tensor([0, 0, 1, 1]), [10, 11, 12, 13])
    assert [d.image for d in found] == [11, 12, 13, 10] and [d.likely_wrong for d in found] == [True, False, False, False]
    assert (found[0].label, found[0].instead, found[0].of_label) == (0, 1, pytest.approx(0.1))


def test_doubts_of_labels_that_are_all_right_are_said_to_be_none_in_truth(runs):
    doubt = diagnosis.Doubt(int(runs["bald"].problem.split.pool[0]), 3, 5, 0.1, True, true=3)
    said = network_views.doubts_html(runs["bald"], [doubt])
    assert "1 of 1 labels are likely wrong" in said and "In truth none is wrong" in said
    assert "In truth" not in network_views.doubts_html(runs["bald"], [replace(doubt, true=-1)])  # not known


def test_wrong_labels_are_doubted_first(tmp_path):
    config = tiny(n_initial=150, n_query=50, n_rounds=1, epochs=40)
    list(run_experiment(config, tmp_path / "run.jsonl", NoisyOracle.uniform(10, 0.5)))
    [run] = replay.recorded_runs(tmp_path)
    found = diagnosis.doubtful_labels(run, 1)
    wrong = [d.true != d.label for d in found]
    assert len(found) == 200 and sum(wrong[:20]) >= 10 > sum(wrong[-100:]) and 15 <= sum(wrong) <= 35
    assert "In truth" in network_views.doubts_html(run, found)


def test_one_images_history(runs):
    peers, image = list(runs.values()), runs["bald"].rounds[1].queried[2]
    table = diagnosis.history(peers, image)
    [own] = table[table.strategy == "bald"].to_dict("records")
    assert (own["round"], own["rank"], own["score"]) == (1, 3, runs["bald"].rounds[1].scores[2])
    followed = diagnosis.over_rounds(runs["bald"], image, [0, 2])
    assert followed["round"].tolist() == [0, 2] and followed["of its class"].between(0, 1).all()
    with repeatable():
        model = diagnosis.trained_again(runs["bald"], 2)
    probs = predict_log_probs(model, runs["bald"].problem.train[image : image + 1])[0, 0].exp()
    assert followed.confidence.iloc[1] == pytest.approx(float(probs.max()), abs=1e-6)
