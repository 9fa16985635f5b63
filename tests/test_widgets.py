"""The interactive parts without a browser: what they compute, write and show."""

import math
import threading
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import tiny

from al_utils import Ledger, Round, read_ledger
from al_utils.experiment import header, prepare, run_experiment
from al_utils.oracle import NoisyOracle
from al_utils.records import METRICS
from al_utils.results import replay
from al_utils.widgets import cards, explore, inspector, labelling_results, query_figures
from al_utils.widgets.controls import Job, Latest, png

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
    return {run.config["strategy"]: run for run in replay.read_runs(folder)}


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
    [run] = replay.read_runs(tmp_path)
    assert "labelled by noisy" in run.title and replay.recompute(run, 1).largest_difference == 0
    wrong = replace(run.rounds[0], labels=run.rounds[0].true_classes)
    other = replay.RecordedRun(run.path, run.header, [wrong, *run.rounds[1:]])
    assert "other images" in str(replay.recompute(other, 1)) or replay.recompute(other, 1).largest_difference > 0


def test_entropies_by_hand():
    """Two samples that are each sure of another class: one bit of disagreement and no aleatoric part."""
    sure = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]).log()
    unsure = torch.tensor([[[0.5, 0.5]], [[0.5, 0.5]]]).log()
    [a], [b] = replay.predictions(sure), replay.predictions(unsure)
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
        kept = read_ledger(explore.ledger_path(tmp_path, config))[1]
        assert [replace(r, seconds={}) for r in kept] == [replace(r, seconds={}) for r in plain]
    assert "data:image/png" in again.picture.value and "BALD, round 1" in again._queries[config].value


def test_explorer_says_what_is_wrong(tmp_path):
    panel = explore.Explorer(tmp_path, ["random"], **FIELDS)
    panel.fields["dataset"].value = "folder:<b>nowhere"
    panel._start()
    assert panel.job.wait(20) and "&lt;b&gt;nowhere" in panel.status.value and "alert" in panel.status.value
    assert not panel.run.disabled


def test_inspector_follows_its_controls_and_exports(runs, tmp_path):
    panel = inspector.Inspector(list(runs.values()), tmp_path / "exports")
    panel.run.value = runs["bald"]
    panel.round.value = 1
    wait_for(lambda: panel.here.value.count("<svg") == 10 and panel.there.value.count("<svg") == 10)
    assert f"image {runs['bald'].rounds[1].queried[0]}<" in panel.here.value and "recomputed exactly" in panel.here.value
    panel._save()
    table = pd.read_csv(next((tmp_path / "exports").glob("*bald*round-1.csv")))
    assert table[table.strategy == "bald"].image.tolist() == runs["bald"].rounds[1].queried and "mean 3" in table
    for view, name in ((1, "who-1"), (2, "shares-1")):
        panel.views.selected_index = view
        panel._save()
        assert len(pd.read_csv(next((tmp_path / "exports").glob(f"*{name}.csv")))) >= 0
        assert next((tmp_path / "exports").glob(f"*{name}.png")).read_bytes().startswith(b"\x89PNG")


def test_a_slider_on_a_hundred_rounds_takes_less_than_03_seconds(tmp_path):
    runs = []
    for strategy in ("random", "bald"):
        config = tiny(strategy=strategy, n_rounds=100, n_query=10, noise="gaussian")
        problem = prepare(config)
        pool = problem.split.pool.tolist()
        path = tmp_path / f"{config.name}.jsonl"
        with Ledger(path, header(problem)) as book:
            for k in range(101):
                ask = pool[10 * k : 10 * k + 10] if k < 100 else []
                classes, noisy = problem.dataset.train_labels[ask].tolist(), problem.train.noisy_N[ask].tolist()
                metrics = dict.fromkeys(METRICS, 0.5)
                book.append(Round(k, 20 + 10 * k, metrics, ask, [0.5] * len(ask), classes, noisy))
    runs = replay.read_runs(tmp_path)
    panel = inspector.Inspector(runs, tmp_path, recompute=False)
    spent = []  # of the processor, because other work on the machine says nothing about the widget
    for view in (0, 1, 2):
        panel.views.selected_index = view
        for number in range(0, 100, 9):
            start = time.process_time()
            panel.round.value = number
            spent.append(time.process_time() - start)
    assert sorted(spent)[len(spent) * 9 // 10] < 0.3, spent


# --- Work beside the kernel ---


def test_a_new_job_of_the_same_name_takes_over():
    order, ends = [], []

    def long(stopped):
        stopped.wait(20)
        order.append("first ends")

    Job("test", long, ends.append)
    second = Job("test", lambda stopped: order.append("second runs"), ends.append)
    assert second.wait(20) and order == ["first ends", "second runs"] and ends == ["", ""]


def test_a_job_that_fails_says_so():
    ends = []

    def fail(stopped):
        raise KeyError("here")

    assert Job("test", fail, ends.append).wait(20) and ends == ["KeyError: 'here'"]


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
