"""Many runs without notebooks, and the options that the audit and Gal et al. need."""

import os
import subprocess
import sys

import psutil
import pytest
import torch
from conftest import ROOT, tiny, wait_for

from al_utils import Ledger, read_ledger, training
from al_utils.experiment import run_experiment
from al_utils.fitting import train_model
from al_utils.problem import prepare
from al_utils.querying import query, unlabelled
from al_utils.sweep.local import run_many


def test_runs_leave_ledgers_and_are_not_made_again(tmp_path):
    configs = [tiny(strategy=strategy, seed=seed, n_rounds=1) for strategy in ("random", "bald") for seed in (0, 1)]
    rounds = run_many(configs, tmp_path, workers=2)
    assert len(rounds) == 8 and len(list(tmp_path.glob("*.jsonl"))) == 4
    alone = list(run_experiment(configs[3]))
    assert rounds[rounds.run == configs[3].name].test_accuracy.to_list() == [r.metrics["test_accuracy"] for r in alone]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.jsonl")}
    assert run_many(configs, tmp_path).equals(rounds)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.jsonl")}


def test_an_interrupted_run_goes_on(tmp_path):
    config = tiny(n_rounds=2)
    run_many([config], tmp_path)
    path = tmp_path / f"{config.name}.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:2]) + whole[2][:50])
    rounds = run_many([config], tmp_path)
    assert rounds["round"].to_list() == [0, 1, 2] and path.read_bytes().splitlines()[1] == whole[1].strip()


def test_workers_end_with_the_process_that_started_them(tmp_path):
    code = f"""
from conftest import tiny
from al_utils.sweep.local import run_many
if __name__ == "__main__":
    run_many([tiny(n_rounds=300)], {str(tmp_path)!r})
"""
    (tmp_path / "script.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    parent = subprocess.Popen([sys.executable, tmp_path / "script.py"], env=environment)
    path = tmp_path / f"{tiny().name}.jsonl"
    try:
        wait_for(lambda: path.exists() and len(path.read_bytes().splitlines()) > 2)
        workers = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
        parent.wait()
        assert not psutil.wait_procs(workers, timeout=20)[1]
    finally:
        parent.kill()
    header, rounds = read_ledger(path)
    with Ledger(path, header) as ledger:  # whole, and held by nobody
        assert ledger.rounds == rounds and rounds


def test_names_that_clash_and_ledgers_of_another_configuration_are_refused(tmp_path):
    with pytest.raises(ValueError, match="two runs are named mnist5k__lenet__random__none__seed-0: name in `also`"):
        run_many([tiny(lr=0.1), tiny(lr=0.2)], tmp_path)
    run_many([tiny(lr=0.1, n_rounds=0), tiny(lr=0.2, n_rounds=0)], tmp_path, also=("lr",))
    assert {read_ledger(path)[0]["config"]["lr"] for path in tmp_path.glob("*__lr-0.?.jsonl")} == {0.1, 0.2}
    [path] = tmp_path.glob("*__lr-0.1.jsonl")
    path.rename(tmp_path / "mnist5k__lenet__random__none__seed-0.jsonl")
    with pytest.raises(Exception, match="was made with lr=0.1, not lr=0.3"):
        run_many([tiny(lr=0.3, n_rounds=0)], tmp_path)


def test_a_diverged_run_is_reported_after_the_others(tmp_path):
    with pytest.raises(training.Diverged, match="lower lr=1e"):
        run_many([tiny(lr=1e20), tiny(seed=1)], tmp_path, workers=1)
    assert len(read_ledger(tmp_path / f"{tiny(seed=1).name}.jsonl")[1]) == 3


@pytest.mark.parametrize("where, noisy_train, noisy_test", [("all", True, True), ("train", True, False), ("test", False, True)])
def test_noise_hits_only_the_images_it_is_meant_for(where, noisy_train, noisy_test):
    clean, problem = prepare(tiny()), prepare(tiny(noise="gaussian", noise_on=where))
    every = slice(0, 1_000)
    assert torch.equal(clean.train[every], problem.train[every]) != noisy_train
    assert torch.equal(clean.test[every], problem.test[every]) != noisy_test
    assert torch.equal(problem.test_clean[every], clean.test[every])
    both = prepare(tiny(noise="gaussian"))
    for part, noisy in (("train", noisy_train), ("test", noisy_test)):  # the same noise wherever else there is some
        assert not noisy or torch.equal(getattr(both, part)[every], getattr(problem, part)[every])


def test_a_round_takes_at_least_min_steps(monkeypatch):
    counted = []
    monkeypatch.setattr(training, "batches", lambda n, *_: counted.append(n) or [torch.arange(20), torch.arange(20, n)])
    problem = prepare(tiny(n_initial=70, epochs=3))
    train_model(problem, 0, problem.split.initial)
    assert len(counted) == 3  # drawn for each epoch
    counted.clear()
    problem = prepare(tiny(n_initial=70, epochs=3, min_steps=9))
    train_model(problem, 0, problem.split.initial)
    assert len(counted) == 5  # two batches an epoch


def test_a_pool_subset_is_drawn_anew_each_round_and_is_all_that_is_scored():
    problem = prepare(tiny(strategy="bald", pool_subset=30))
    model, _ = train_model(problem, 0, problem.split.initial)
    first, second = (query(problem, number, model, problem.split.initial)[0] for number in (0, 1))
    assert len(set(first)) == 5 and first != second
    assert set(first) <= set(unlabelled(problem, problem.split.initial).tolist())
    whole = query(prepare(tiny(strategy="bald")), 0, model, problem.split.initial)
    assert query(prepare(tiny(strategy="bald", pool_subset=10**6)), 0, model, problem.split.initial) == whole
    with pytest.raises(ValueError, match="pool_subset=3 holds fewer images than n_query=5"):
        tiny(pool_subset=3)
