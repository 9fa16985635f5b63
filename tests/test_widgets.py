"""The interactive parts without a browser: what they compute, write and show."""

import math
import re
import threading
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import torch
from conftest import tiny

from al_utils import ExperimentConfig, Ledger, Round, acquisition, read_ledger
from al_utils.chance import at_chance
from al_utils.compute.machine import repeatable
from al_utils.experiment import header, run_experiment
from al_utils.oracle import NoisyOracle
from al_utils.predicting import predict_log_probs
from al_utils.problem import prepare
from al_utils.records import METRICS
from al_utils.results import diagnosis, replay
from al_utils.widgets import (
    cards,
    explore,
    labelling_results,
    ledger_paths,
    network_figures,
    network_views,
    query_figures,
    round_cards,
)
from al_utils.widgets.controls import BackgroundJob, Latest, png
from al_utils.widgets.inspector import Inspector
from al_utils.widgets.run_list import RunList
from al_utils.widgets.score_lines import score_line

FIELDS = dict(protocol="tuned", n_initial=20, n_query=5, n_rounds=2, n_valid=20, epochs=3)


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The ledgers of three strategies that had the same choice."""
    folder = tmp_path_factory.mktemp("ledgers")
    for strategy in ("random", "max_entropy", "bald"):
        config = tiny(strategy=strategy, noise="gaussian", noise_rate=0.3)
        list(run_experiment(config, folder / f"{config.name}.jsonl"))
    return {run.config["strategy"]: run for run in replay.recorded_runs(folder)}


# --- Recomputation ---


@pytest.mark.parametrize("strategy", ["random", "max_entropy", "bald"])
def test_rounds_are_recomputed_to_the_last_bit(runs, strategy):
    for number in (0, 1):
        found = replay.recompute(runs[strategy], number)
        assert found.same_queries and found.largest_difference == 0 and "to the last bit" in str(found)
        for prediction, score in zip(found.predictions, runs[strategy].rounds[number].scores):
            assert prediction.total == pytest.approx(prediction.aleatoric + prediction.epistemic, abs=1e-12)
            assert sum(prediction.mean) == pytest.approx(1)
            if strategy != "random":
                part = prediction.total if strategy == "max_entropy" else prediction.epistemic
                assert part == pytest.approx(score, abs=1e-9)


def test_a_round_that_an_oracle_answered_is_recomputed_from_its_answers(tmp_path):
    config = tiny(strategy="bald")
    list(run_experiment(config, tmp_path / "run.jsonl", NoisyOracle.uniform(10, 0.9)))
    [run] = replay.recorded_runs(tmp_path)
    assert "labelled by noisy" in run.title and replay.recompute(run, 1).largest_difference == 0
    wrong = replace(run.rounds[0], labels=run.rounds[0].true_classes)
    other = replay.RecordedRun(run.path, run.header, [wrong, *run.rounds[1:]])
    assert "other images" in str(replay.recompute(other, 1)) or replay.recompute(other, 1).largest_difference > 0


def test_entropies_by_hand():
    """Two samples that are each sure of another class: one bit of disagreement and no aleatoric part."""
    sure = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]).log()
    unsure = torch.tensor([[[0.5, 0.5]], [[0.5, 0.5]]]).log()
    [a], [b] = replay.summarised(sure), replay.summarised(unsure)
    assert (a.total, a.aleatoric, a.epistemic) == pytest.approx((math.log(2), 0, math.log(2)))
    assert (b.total, b.aleatoric, b.epistemic) == pytest.approx((math.log(2), math.log(2), 0))
    assert a.mean == pytest.approx([0.5, 0.5]) and a.spread == pytest.approx([0.5, 0.5]) and b.spread == pytest.approx([0, 0])


def test_changed_data_are_refused(runs):
    run = runs["bald"]
    other = replay.RecordedRun(run.path, run.header | {"data": run.header["data"] | {"checksum": "0"}}, run.rounds)
    with pytest.raises(RuntimeError, match="checksum"):
        _ = other.problem


def test_true_labels_through_the_same_pipeline(tmp_path):
    config = tiny(strategy="max_entropy")
    rounds = list(run_experiment(config, oracle=NoisyOracle.uniform(10, 0.9)))
    truth = list(replay.with_true_labels(prepare(config), rounds))
    assert truth[0].metrics == rounds[0].metrics and [r.n_labels for r in truth] == [20, 25, 30]
    assert truth[2].metrics != rounds[2].metrics
    right = list(run_experiment(config))
    assert truth[1].metrics == right[1].metrics  # the first queries are the same, so the next round is too
    assert [r.metrics for r in replay.with_true_labels(prepare(config), right)] == [r.metrics for r in right]


# --- Who queried what, and how much of it ---


def test_who_queried_what():
    table = pd.DataFrame({"a": {1: 0, 2: 1, 3: 0}, "b": {2: 0, 4: 1}, "c": {2: 2, 4: 0}})
    assert replay.chosen_by(table, "all") == [2] and replay.chosen_by(table, "several") == [2, 4]
    assert replay.chosen_by(table, "a") == [1, 3] and replay.chosen_by(table, "b") == []


def test_queried_by_counts_up_to_a_round(runs):
    peers = runs["bald"].peers(list(runs.values()))
    assert len(peers) == 3
    table = replay.queried_by(peers, 0)
    assert table["BALD"].dropna().index.tolist() == sorted(runs["bald"].rounds[0].queried)
    assert replay.queried_by(peers, 1)["BALD"].notna().sum() == 10


def test_share_over_rounds_against_the_hypergeometric_band(runs):
    run = runs["random"]
    table = replay.share_over_rounds([run], run.problem.train.noisy_N)
    hits = np.cumsum([sum(r.noisy) for r in run.asked])
    assert table.share.tolist() == pytest.approx((hits / [5, 10]).tolist()) and table.queried.tolist() == [5, 10]
    assert (
        (table.low <= table.rate).all()
        and (table.high >= table.rate).all()
        and table.rate.iloc[0] == pytest.approx(0.3, abs=0.01)
    )
    chosen = torch.zeros(len(run.problem.train), dtype=torch.bool)
    chosen[[i for r in run.asked for i in r.queried]] = True
    [line] = replay.verdicts(replay.share_over_rounds([run], chosen), "are chosen")
    assert line.startswith("random: 100.0% of 10 queries are chosen, more than chance")


# --- What is shown ---


def test_names_from_a_folder_are_escaped():
    evil = "<script>alert(1)</script>"
    prediction = cards.Prediction([0.7, 0.3], [0.1, 0.1], 0.6, 0.5, 0.1)
    page = cards.cards([cards.Card(torch.zeros(1, 4, 4), [f"class {evil}"], True, 0, prediction)], [evil, "b"])
    page += cards.note(evil) + cards.figure_html(bytes(30), f'"{evil}')
    round = Round(0, 10, {"test_accuracy": 0.5}, [1], [0.5], [0], labels=[1])
    page += labelling_results.results([round], [], [], [evil, "b"], evil)
    assert "<script" not in page and "&lt;script" in page and "noisy" in page and 'alt="&quot;' in page


def test_rgb_and_float_images_become_png():
    for image in (torch.rand(3, 5, 6) * 4 - 2, torch.zeros(1, 5, 6), torch.zeros(3, 5, 6, dtype=torch.uint8)):
        assert cards.png_pixels(image).startswith(b"\x89PNG")


def test_explorer_runs_stops_and_goes_on_like_a_plain_run(tmp_path):
    panel = explore.Explorer(tmp_path, ["random", "bald"], **FIELDS)
    panel._start()
    assert panel.run.disabled and not panel.stop.disabled
    wait_for(lambda: sum(map(len, panel.runs.values())) >= 1)
    panel._stop()
    assert panel.job.wait(20) and not panel.run.disabled
    done = sum(map(len, panel.runs.values()))
    again = explore.Explorer(tmp_path, ["random", "bald"], **FIELDS)
    assert sum(map(len, again.runs.values())) == done and f"{done} rounds are done" in again.status.value
    again._start()
    assert again.job.wait(60) and "Done." in again.status.value and again.progress.value == 6
    for config in again.configs():
        plain = list(run_experiment(config))
        kept = read_ledger(ledger_paths.ledger_path(tmp_path, config))[1]
        assert [replace(r, seconds={}) for r in kept] == [replace(r, seconds={}) for r in plain]
    assert "data:image/png" in again.picture.value and "BALD, round 1" in again._queries[config].value


def test_explorer_says_what_is_wrong(tmp_path):
    panel = explore.Explorer(tmp_path, ["random"], **FIELDS)
    panel.form.fields["dataset"].value = "folder:<b>nowhere"
    panel._start()
    assert panel.job.wait(20) and "&lt;b&gt;nowhere" in panel.status.value and "alert" in panel.status.value
    assert not panel.run.disabled


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("n_query", 0, "queries a round is 0, but must be at least 1."),
        ("n_initial", -5, "initial labels is -5, but must be at least 1."),
        ("seed", -1, "seed is -1, but must be at least 0."),
        ("lr", "fast", "learning rate is 'fast', but must be a number above 0, or empty for the protocol's."),
        ("lr", "0", "learning rate is '0', but must be a number above 0"),
        ("clip_norm", "-1", "gradient norm is '-1', but must be 0 or more"),
    ],
)
def test_a_value_out_of_range_is_refused_in_the_words_of_the_form(tmp_path, name, value, says):
    panel = explore.Explorer(tmp_path, ["random"], **FIELDS)
    panel.form.fields[name].value = value
    with pytest.raises(ValueError, match=re.escape(says)):
        panel.configs()
    panel.form.fields[name].value = {"n_query": 7, "n_initial": 30, "seed": 3, "lr": " 0.5 ", "clip_norm": "0"}[name]
    [config] = panel.configs()
    assert getattr(config, name) == {"n_query": 7, "n_initial": 30, "seed": 3, "lr": 0.5, "clip_norm": 0.0}[name]


def test_errors_of_the_data_are_in_the_words_of_the_form_too(tmp_path):
    panel = explore.Explorer(tmp_path, ["random"], **FIELDS | {"n_rounds": 9_000})
    panel._start()
    assert panel.job.wait(20) and "queries a round = 5" in panel.status.value and "n_query" not in panel.status.value


def test_scores_have_units_and_random_has_none(runs):
    assert score_line("random", 0.5) == [] and score_line("bald", 0.5) == ["0.500 nats"]
    assert score_line("my_own", 0.5) == ["score 0.500"]
    assert score_line("batch_bald", 0.5) == ["adds 0.500 nats"] and score_line("prob_cover", 1_200) == ["covers 1,200 more"]
    for strategy in ("max_entropy", "random"):
        run = runs[strategy]
        html = explore.last_queries(run.problem, run.problem.config, run.rounds)
        assert ("nats" in html) == (strategy != "random") and "score" not in html


def test_the_bound_on_the_gradient_goes_with_the_protocol(tmp_path):
    """The paper's recipe has none, wherever it is chosen; the one under which networks learn is stable in the notebooks."""
    panel = explore.Explorer(tmp_path, ["random"], **FIELDS)
    assert panel.configs()[0].clip_norm == 1.0
    panel.form.fields["protocol"].value = "paper"
    assert panel.configs()[0].clip_norm == 0.0 and panel.configs()[0] == tiny_of("paper")
    panel.form.fields["protocol"].value = "tuned"
    assert panel.configs()[0].clip_norm == 1.0


def tiny_of(protocol):
    return ExperimentConfig(**FIELDS | {"protocol": protocol})


def test_a_network_at_chance_is_said_with_the_way_out():
    labels = torch.arange(1_000) % 10
    guessing, learnt = (Round(3, 130, {"test_accuracy": accuracy}) for accuracy in (0.107, 0.15))
    said = at_chance(tiny(protocol="paper"), guessing, labels)
    assert said.startswith("After 130 labels the network guesses: 10.7% test accuracy, where always naming the commonest class")
    assert "has 10.0%" in said and "protocol='tuned'" in said
    assert at_chance(tiny(protocol="paper"), learnt, labels) == ""
    assert "raise lr" in at_chance(tiny(protocol="tuned"), guessing, labels)


def test_a_dollar_in_the_name_of_a_class_is_drawn_as_it_is():
    """The figures read no formulas, so nothing is put before it."""
    card = cards.Card(torch.rand(1, 8, 8), ["class $a$"], prediction=replay.Prediction([0.9, 0.1], [0.0, 0.0], 0.3, 0.3, 0.0))
    image, chart = query_figures.image_cards([card], ["$a$", "b"]).axes
    assert image.get_title().startswith("class $a$") and chart.get_xlabel().startswith("says $a$: 90%")


# --- The inspector ---


def test_inspector_follows_its_controls_and_exports(runs, tmp_path):
    panel = Inspector(list(runs.values()), tmp_path / "exports")
    panel.show(runs["bald"], 1)
    view = panel.view
    wait_for(lambda: view.here.value.count("<svg") == 10 and view.there.value.count("<svg") == 10)
    assert f"image {runs['bald'].rounds[1].queried[0]}<" in view.here.value and "recomputed exactly" in view.here.value
    panel._save()
    table = pd.read_csv(next((tmp_path / "exports").glob("*bald*round-1.csv")))
    assert table[table.strategy == "bald"].image.tolist() == runs["bald"].rounds[1].queried and "mean 3" in table
    for position, name in ((1, "who-1"), (2, "shares-1")):
        panel.tab.selected_index = position
        panel._save()
        assert len(pd.read_csv(next((tmp_path / "exports").glob(f"*{name}.csv")))) >= 0
        assert next((tmp_path / "exports").glob(f"*{name}.png")).read_bytes().startswith(b"\x89PNG")


def test_a_search_leaves_the_runs_that_have_all_its_words(runs):
    chosen = []
    found = RunList(list(runs.values()), lambda: chosen.append(True))
    found.show(runs["random"])
    chosen.clear()
    found.search.value = "BALD gaussian"
    assert [run for _, run in found.list.options] == [runs["bald"]] and "1 of 3" in found.said.value
    assert found.value is None and not chosen  # nothing opens while one types
    found.list.value = runs["bald"]
    assert chosen and found.value is runs["bald"]
    found.search.value = "nothing like it"
    assert "No run has all of these words" in found.said.value and found.value is runs["bald"]
    found.show(runs["random"])
    assert found.search.value == "" and found.value is runs["random"]


def test_filters_leave_the_queries_that_are_meant():
    round = Round(
        0, 20, {}, [5, 6, 7, 8], [0.4, 0.3, 0.2, 0.1], [0, 1, 1, -1], [True, False, True, False], labels=[0, 0, None, 1]
    )
    head = {"config": {"noise": "gaussian"}, "data": {"classes": ["a", "b"]}, "oracle": {}}
    run = replay.RecordedRun(None, head, [round])
    says = [replay.Prediction([1 - b, b], [0, 0], 0, 0, 0) for b in (0.9, 0.8, 0.1, 0.2)]
    found = replay.Recomputed(says, True, 0.0)
    expected = {round_cards.ALL: [0, 1, 2, 3], round_cards.NOISY: [0, 2], round_cards.MISCLASSIFIED: [0, 2],
                round_cards.ERRORS: [1], "class a": [0], "class b": [1, 2]}  # fmt: skip
    assert round_cards.kinds(run) == list(expected)
    assert {which: round_cards.ranks_of(run, round, which, found) for which in expected} == expected
    assert round_cards.ranks_of(run, round, round_cards.MISCLASSIFIED, None) == []


def long_runs(folder):
    """Two ledgers of a hundred rounds, without training."""
    for strategy in ("random", "bald"):
        config = tiny(strategy=strategy, n_rounds=100, n_query=10, noise="gaussian")
        problem = prepare(config)
        pool = problem.split.pool.tolist()
        with Ledger(folder / f"{config.name}.jsonl", header(problem)) as book:
            for k in range(101):
                ask = pool[10 * k : 10 * k + 10] if k < 100 else []
                classes, noisy = problem.dataset.train_labels[ask].tolist(), problem.train.noisy_N[ask].tolist()
                book.append(Round(k, 20 + 10 * k, dict.fromkeys(METRICS, 0.5), ask, [0.5] * len(ask), classes, noisy))
    return replay.recorded_runs(folder)


def test_a_step_of_the_slider_draws_the_open_view_once_and_loads_and_trains_nothing(tmp_path, monkeypatch):
    """What a step costs is what it does: one drawing of one view, whatever the number of rounds and views."""
    panel = Inspector(long_runs(tmp_path), tmp_path, recompute=False)
    for position in range(len(panel.views)):  # each once before: the data are loaded then
        panel.tab.selected_index = position
    done = []
    for view in panel.views:
        monkeypatch.setattr(view, "draw", lambda number, draw=view.draw, name=view.name: (done.append(name), draw(number)))
    for module, name in ((replay, "prepare_to_look"), (replay, "train_model"), (diagnosis, "train_model")):
        monkeypatch.setattr(module, name, lambda *_, name=name: done.append(name))
    steps = range(9, 100, 9)
    for position, view in enumerate(panel.views):
        panel.tab.selected_index = position
        done.clear()
        for number in steps:
            panel.round.value = number
        assert done == [view.name] * len(steps)
        panel.round.value = 0


def test_a_ledger_of_a_strategy_that_is_not_registered_is_shown_without_predictions(tmp_path):
    @acquisition.register
    def for_this_test(log_probs_K_N_C):
        return acquisition.max_entropy(log_probs_K_N_C)

    list(run_experiment(tiny(strategy="for_this_test"), tmp_path / "own.jsonl"))
    del acquisition.registry._registry["for_this_test"]
    [run] = replay.recorded_runs(tmp_path)
    panel = Inspector([run], tmp_path)
    wait_for(lambda: "Shown without predictions" in panel.view.status.value)
    assert "for_this_test" in panel.view.status.value and f"image {run.rounds[0].queried[0]}<" in panel.view.here.value
    for position in range(1, len(panel.views)):
        panel.tab.selected_index = position
        assert panel.said.value == ""


def test_jupyters_copies_of_ledgers_are_no_runs(tmp_path, runs):
    copy = tmp_path / ".ipynb_checkpoints" / "bald-checkpoint.jsonl"
    copy.parent.mkdir()
    for path in (copy, tmp_path / "bald.jsonl"):
        path.write_bytes(runs["bald"].path.read_bytes())
    assert [run.path.name for run in replay.recorded_runs(tmp_path)] == ["bald.jsonl"]
    with pytest.raises(FileNotFoundError, match="there is no .*nowhere"):
        replay.recorded_runs(tmp_path / "nowhere")


def test_every_ledger_that_comes_with_the_project_is_shown():
    runs = replay.recorded_runs("reports/quick")
    assert len(runs) >= 54
    for run in runs:
        assert run.title and round_cards.kinds(run)[0] == round_cards.ALL and len(run.peers(runs)) == 3
    panel = Inspector(runs, "reports/runs/exports", recompute=False)
    assert panel.said.value == "" and f"image {runs[0].rounds[0].queried[0]}<" in panel.view.here.value


# --- What the networks know ---


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


# --- Work beside the kernel ---


def test_a_new_job_of_the_same_name_takes_over():
    order, ends = [], []

    def long(stopped):
        stopped.wait(20)
        order.append("first ends")

    BackgroundJob("test", long, ends.append)
    second = BackgroundJob("test", lambda stopped: order.append("second runs"), ends.append)
    assert second.wait(20) and order == ["first ends", "second runs"] and ends == ["", ""]


def test_a_job_that_fails_says_so():
    ends = []

    def fail(stopped):
        raise KeyError("here")

    assert BackgroundJob("test", fail, ends.append).wait(20) and ends == ["KeyError: 'here'"]


def test_only_the_newest_request_is_worked_on():
    gate, worked = threading.Event(), []

    def work(key):
        gate.wait(20)
        worked.append(key)

    latest = Latest("test", work, lambda key, error: None)
    for key in range(5):
        latest.ask(key)
        wait_for(lambda: latest._next is None or key)
    gate.set()
    wait_for(lambda: 4 in worked)
    assert worked == [0, 4]


def test_figures_are_drawn_from_several_threads_at_once():
    rounds = [Round(k, 10, {"test_accuracy": 0.1 * k}, [1]) for k in range(3)]
    drawn = []
    threads = [
        threading.Thread(target=lambda: drawn.append(png(query_figures.against_truth, rounds, [], "me"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == 1
