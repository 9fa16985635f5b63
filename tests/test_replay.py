"""What ledgers say once more: recomputed rounds, who queried what, shares over the rounds."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import tiny
from little_ledgers import write

from al_utils.experiment import run_experiment
from al_utils.oracle import NoisyOracle
from al_utils.problem import prepare
from al_utils.results import replay


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


def test_who_queried_what():
    table = pd.DataFrame({"a": {1: 0, 2: 1, 3: 0}, "b": {2: 0, 4: 1}, "c": {2: 2, 4: 0}})
    assert replay.chosen_by(table, "all") == [2] and replay.chosen_by(table, "several") == [2, 4]
    assert replay.chosen_by(table, "a") == [1, 3] and replay.chosen_by(table, "b") == []


def test_queried_by_counts_up_to_a_round(runs):
    peers = runs["bald"].peers(list(runs.values()))
    assert len(peers) == 3
    table = replay.queried_by(peers, 0)
    assert table["bald"].dropna().index.tolist() == sorted(runs["bald"].rounds[0].queried)
    assert replay.queried_by(peers, 1)["bald"].notna().sum() == 10


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


def test_of_several_peoples_sessions_one_is_a_peer(tmp_path):
    for person in ("me", "you"):
        write(tmp_path, [0.5, 0.6], head={"oracle": {"kind": "person"}}, name=f"run__{person}")
    write(tmp_path, [0.5, 0.6], strategy="bald", head={"oracle": {"kind": "person"}})
    runs = replay.recorded_runs(tmp_path)
    [you] = [run for run in runs if run.path.stem == "run__you"]
    assert [run.path.stem for run in you.peers(runs)] == ["mnist5k__lenet__bald__none__seed-0", "run__you"]
    assert you.title.endswith("labelled by person (you)")
