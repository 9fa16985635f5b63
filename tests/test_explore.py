"""01 without a browser: the form, the runs it starts, what it says."""

import re
from dataclasses import replace

import pytest
import torch
from conftest import tiny, wait_for

from al_utils import ExperimentConfig, Round, read_ledger
from al_utils.chance import at_chance
from al_utils.experiment import run_experiment
from al_utils.widgets import (
    explore,
    ledger_paths,
)
from al_utils.widgets.score_lines import score_line

FIELDS = dict(protocol="tuned", n_initial=20, n_query=5, n_rounds=2, n_valid=20, epochs=3)


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


def test_the_form_asks_for_what_it_was_given(tmp_path):
    given = FIELDS | dict(protocol="paper", clip_norm=1.0, lr=0.012345678, noise="gaussian", noise_rate=0.5, mc_samples=3)
    strategies = ["random", "bald_flipped"]
    panel = explore.Explorer(tmp_path, strategies, **given)
    assert panel.configs() == [ExperimentConfig(strategy=name, **given) for name in strategies]
    panel.form.fields["protocol"].value = "tuned"
    assert panel.form.fields["clip_norm"].value == "1"  # it was chosen


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


def test_a_curve_that_is_not_measured_is_said_and_locks_nothing(tmp_path):
    panel = explore.Explorer(tmp_path, ["random"], **FIELDS | dict(n_valid=0, n_rounds=1))
    panel.metric.value = "valid_accuracy"
    panel._start()
    assert panel.job.wait(60)
    assert "There is no validation accuracy" in panel.picture.value and not panel.run.disabled
