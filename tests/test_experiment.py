"""A run, from its first labels to its last round, stopped and continued."""

import json
import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, tiny

from al_utils import ExperimentConfig, read_ledger
from al_utils.experiment import run_experiment, run_round
from al_utils.fitting import train_model
from al_utils.ledger import LedgerError
from al_utils.problem import prepare
from al_utils.querying import query, unlabelled
from al_utils.training import Diverged


def without_timings(path):
    header, rounds = read_ledger(path)
    return {k: v for k, v in header.items() if k != "environment"}, [
        (r.round, r.n_labels, r.metrics, r.queried, r.scores, r.true_classes, r.noisy) for r in rounds
    ]


def test_rounds_count_labels_and_query_the_pool_once():
    config = tiny(strategy="max_entropy", noise="gaussian")
    problem, rounds = prepare(config), list(run_experiment(config))
    assert [r.n_labels for r in rounds] == [20, 25, 30] == list(config.n_labels)
    assert [len(r.queried) for r in rounds] == [5, 5, 0]
    queried = [i for r in rounds for i in r.queried]
    assert len(set(queried)) == 10 and set(queried) <= set(problem.split.pool.tolist())
    assert not set(queried) & set(problem.split.initial.tolist() + problem.split.valid.tolist())
    for r in rounds:
        assert r.true_classes == problem.dataset.train_labels[r.queried].tolist()
        assert r.noisy == problem.train.noisy_N[r.queried].tolist()
        assert set(r.metrics) == {
            "train_loss",
            "valid_accuracy",
            "test_accuracy",
            "test_accuracy_clean",
            "test_nll",
            "test_ece",
        }
    assert set(rounds[0].seconds) == {"fit", "evaluate", "predict", "acquire"}


def test_queried_are_pool_indices_of_the_best_scores():
    """Scores computed for each pool image alone: the queried ones are the largest, under their own indices."""
    from al_utils import acquisition
    from al_utils.querying import posterior_predictions

    config = tiny(strategy="bald")
    problem = prepare(config)
    model, _ = train_model(problem, 0, problem.split.initial)
    queried, scores = query(problem, 0, model, problem.split.initial)
    pool = unlabelled(problem, problem.split.initial)
    every = torch.cat([acquisition.bald(p) for p in posterior_predictions(problem, 0, model, pool)])
    by_index = dict(zip(pool.tolist(), every.tolist()))
    assert sorted(by_index.values(), reverse=True)[:5] == scores == [by_index[i] for i in queried]


@pytest.mark.parametrize("strategy", ["random", "max_entropy", "bald"])
@pytest.mark.parametrize("model", ["lenet", "resnet18"])
@pytest.mark.parametrize("noise", ["none", "gaussian", "salt_and_pepper"])
def test_every_combination_runs(strategy, model, noise):
    config = tiny(strategy=strategy, model=model, noise=noise, n_rounds=1, epochs=1, mc_samples=2)
    rounds = list(run_experiment(config))
    assert len(rounds) == 2 and 0 <= rounds[-1].metrics["test_accuracy"] <= 1
    assert (rounds[0].metrics["test_accuracy"] == rounds[0].metrics["test_accuracy_clean"]) or noise != "none"


@pytest.mark.parametrize("protocol", ["paper", "as_released", "tuned"])
@pytest.mark.parametrize("noise", ["gaussian", "salt_and_pepper"])
def test_every_protocol_runs_and_repeats(protocol, noise):
    def run():
        config = tiny(protocol=protocol, noise=noise, strategy="bald", n_rounds=1)
        return [(r.metrics, r.queried, r.scores) for r in run_experiment(config)]

    assert run() == run()


def test_scenario_without_rounds_is_plain_supervised_learning():
    rounds = list(run_experiment(tiny(scenario="supervised", n_initial=50, n_query=0, n_rounds=0)))
    assert [(r.n_labels, r.queried) for r in rounds] == [(50, [])]


def test_strategies_under_one_seed_share_split_pool_noise_and_first_network():
    firsts = {}
    for strategy in ("random", "max_entropy", "bald"):
        problem = prepare(tiny(strategy=strategy, noise="gaussian"))
        first = run_round(problem, 0, problem.split.initial)
        firsts[strategy] = (
            first.metrics,
            problem.split.initial.tolist(),
            problem.split.valid.tolist(),
            problem.train.noisy_N.tolist(),
        )
        queried = first.queried
        assert len(queried) == 5
    assert firsts["random"] == firsts["max_entropy"] == firsts["bald"]


def test_seeds_differ_in_everything_and_as_released_only_in_training():
    def problem(**changes):
        return prepare(tiny(**changes))

    assert not torch.equal(problem(seed=0).split.initial, problem(seed=1).split.initial)
    released = [problem(seed=seed, protocol="as_released") for seed in (0, 1)]
    assert torch.equal(released[0].split.initial, released[1].split.initial)


SCRIPT = """
import sys, torch
from al_utils import ExperimentConfig, run_experiment
torch.manual_seed(int(sys.argv[2]))
import json
for r in run_experiment(ExperimentConfig.from_dict(json.loads(sys.argv[3])), sys.argv[1]): pass
"""


@pytest.mark.parametrize("model", ["lenet", "resnet18"])
def test_identical_in_other_processes_beside_other_runs(tmp_path, model):
    wanted = tiny(strategy="bald", noise="gaussian", model=model, epochs=2)
    beside = tiny(strategy="random", seed=5, model=model, epochs=4)
    jobs = []
    for k, config in enumerate([wanted, beside, wanted]):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / f"{k}.jsonl"), str(k), json.dumps(config.to_dict())]
        jobs.append(subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}))
    assert [job.wait(timeout=120) for job in jobs] == [0, 0, 0]
    assert without_timings(tmp_path / "0.jsonl") == without_timings(tmp_path / "2.jsonl")
    assert without_timings(tmp_path / "0.jsonl") != without_timings(tmp_path / "1.jsonl")


def test_a_run_that_was_stopped_goes_on_to_the_same_end(tmp_path):
    config = tiny(strategy="bald", noise="salt_and_pepper")
    list(run_experiment(config, tmp_path / "whole.jsonl"))
    for _ in range(5):  # stopped after each round; the last time there is nothing left to do
        for round in run_experiment(config, tmp_path / "pieces.jsonl"):
            if round.round >= 1:
                break
        next(iter(run_experiment(config, tmp_path / "pieces.jsonl")))
    list(run_experiment(config, tmp_path / "pieces.jsonl"))
    assert without_timings(tmp_path / "whole.jsonl") == without_timings(tmp_path / "pieces.jsonl")


def test_a_finished_run_is_read_not_run(tmp_path):
    config = tiny()
    first = list(run_experiment(config, tmp_path / "run.jsonl"))
    before = (tmp_path / "run.jsonl").read_bytes()
    assert list(run_experiment(config, tmp_path / "run.jsonl")) == first  # seconds included: nothing ran again
    assert (tmp_path / "run.jsonl").read_bytes() == before


def test_a_finished_run_that_is_asked_for_more_rounds_goes_on_to_the_same_end(tmp_path):
    short, longer = (tiny(strategy="bald", noise="gaussian", n_rounds=n) for n in (1, 3))
    list(run_experiment(longer, tmp_path / "longer.jsonl"))
    kept = list(run_experiment(short, tmp_path / "run.jsonl"))
    went_on = list(run_experiment(longer, tmp_path / "run.jsonl"))
    assert went_on[0] == kept[0] and len(went_on) == 4
    assert without_timings(tmp_path / "run.jsonl") == without_timings(tmp_path / "longer.jsonl")
    with pytest.raises(LedgerError, match="n_rounds=3, not n_rounds=1"):
        list(run_experiment(short, tmp_path / "run.jsonl"))


@pytest.mark.parametrize(
    "line, says, change",
    [
        (1, "initial labels are not those", lambda r, valid: r | {"initial": [3999, *r["initial"][1:]]}),
        (2, "which is not in the pool", lambda r, valid: r | {"queried": [valid, *r["queried"][1:]]}),
        (2, "which is not in the pool", lambda r, valid: r | {"queried": [4_000, *r["queried"][1:]]}),
        (2, "classes are not those", lambda r, valid: r | {"classes": [(r["classes"][0] + 1) % 10, *r["classes"][1:]]}),
        (2, "noisy images are not those", lambda r, valid: r | {"noisy": [not noisy for noisy in r["noisy"]]}),
    ],
)
def test_a_ledger_that_is_not_of_its_data_is_refused_by_line_number(tmp_path, line, says, change):
    config, path = tiny(noise="gaussian", n_rounds=1, epochs=1), tmp_path / "run.jsonl"
    list(run_experiment(config, path))
    lines = path.read_bytes().splitlines()
    valid = int(prepare(config).split.valid[0])
    lines[line - 1] = json.dumps(change(json.loads(lines[line - 1]), valid)).encode()
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(LedgerError, match=f"line {line} is corrupted .*{says}"):
        list(run_experiment(config, path))


class Skips:
    """Gives the first `n` queries of each round no label."""

    def __init__(self, n):
        self.n, self.description = n, {"kind": "skips"}

    def answer(self, round, seed):
        return [None] * self.n + round.true_classes[self.n :]


def test_skipped_answers_leave_no_batch_that_cannot_be_trained_on(tmp_path):
    """20, then 25 labels in batches of 24 leave one image, over which BatchNorm has no variance."""
    config = tiny(model="resnet18", n_query=10, batch_size=24, epochs=1, last_batch="keep")
    rounds = list(run_experiment(config, tmp_path / "run.jsonl", Skips(5)))
    assert [r.n_labels for r in rounds] == [20, 25, 30]
    assert [r.note for r in rounds] == ["", "25 labels would leave a batch of 1: cut into 2 of 12 to 13 instead", ""]
    assert read_ledger(tmp_path / "run.jsonl")[1] == rounds and rounds[1].note in str(rounds[1])


def test_a_loss_that_becomes_nan_ends_the_run_with_round_and_reason_in_its_ledger(tmp_path):
    config = tiny(lr=1e9, n_rounds=5)
    for _ in range(2):  # the second time nothing is trained: it would end so again
        with pytest.raises(Diverged, match="lower lr"):
            list(run_experiment(config, tmp_path / "run.jsonl"))
        lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
        assert len(lines) == 2 and lines[-1]["round"] == 0 and "training loss is nan" in lines[-1]["stopped"]
    header, rounds = read_ledger(tmp_path / "run.jsonl")
    assert rounds == [] and header["stopped"].startswith("round 0: the training loss")


def test_a_metric_that_is_not_finite_ends_the_run_too(tmp_path):
    """One step in all: the loss is that of the first weights, and what is wrong shows only in what is measured after."""
    with pytest.raises(Diverged, match="test_nll is (nan|inf): lower lr"):
        list(run_experiment(tiny(lr=1e30, epochs=1), tmp_path / "run.jsonl"))
    assert read_ledger(tmp_path / "run.jsonl")[0]["stopped"].startswith("round 0: test_nll is")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_complete_data_sets(full_data, name):
    config = tiny(dataset=name, strategy="bald", noise="gaussian", n_rounds=1, epochs=100, n_initial=100)
    rounds = list(run_experiment(config))
    assert rounds[-1].metrics["test_accuracy"] > 0.4


def test_cifar10_from_a_folder_with_both_networks(cifar10_folder):
    for model in ("lenet", "resnet18"):
        config = tiny(
            dataset=f"folder:{cifar10_folder}", model=model, strategy="max_entropy", noise="salt_and_pepper", n_rounds=1
        )
        assert len(list(run_experiment(config))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("protocol, low, high", [("paper", 0.15, 0.40), ("tuned", 0.95, 1.0)])
def test_lenet_with_1100_labels_fails_under_the_papers_optimiser_and_not_under_ours(full_data, protocol, low, high):
    accuracies = []
    for seed in range(3):
        config = ExperimentConfig(dataset="mnist", scenario="supervised", protocol=protocol, seed=seed)
        [only] = run_experiment(config)
        accuracies.append(only.metrics["test_accuracy"])
    # The mean, as the paper reports it: about one seed in four stays at chance under its optimiser.
    assert low < sum(accuracies) / 3 < high and max(accuracies) < high, accuracies
