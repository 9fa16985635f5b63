"""Who labels: careless annotators, one's own oracle, and images without a label."""

import json
from dataclasses import replace

import pytest
import torch
from conftest import tiny

from al_utils import read_ledgers
from al_utils.experiment import run_experiment
from al_utils.fitting import train_model
from al_utils.ledger import LedgerError, Round
from al_utils.oracle import NoisyOracle, TrueLabels
from al_utils.problem import after, prepare


class Skipper:
    """Gives no label to the first query of a round, and class 3 to all others."""

    description = {"kind": "skipper"}

    def answer(self, round, seed):
        return [None] + [3] * (len(round.queried) - 1)


class Counting(Skipper):
    """It has given no answer yet, so it is as false as an empty list."""

    given = 0

    def __len__(self):
        return self.given


def a_round(number=0, queried=(7, 5, 9), classes=(0, 1, 2)):
    return Round(number, 10, {"train_loss": 0.1}, list(queried), [0.0] * len(queried), list(classes))


def test_true_labels_change_nothing_but_the_record(tmp_path):
    config = tiny(strategy="bald", noise="gaussian")
    plain, told = list(run_experiment(config)), list(run_experiment(config, tmp_path / "told.jsonl", TrueLabels()))
    assert [r.labels for r in plain] == [None] * 3 and [r.labels for r in told] == [r.true_classes for r in told[:2]] + [None]
    assert [replace(r, labels=None, seconds={}) for r in told] == [replace(r, seconds={}) for r in plain]
    assert list(run_experiment(config, tmp_path / "told.jsonl", TrueLabels())) == told  # read, not run


def test_without_an_oracle_the_ledger_does_not_mention_labels(tmp_path):
    list(run_experiment(tiny(), tmp_path / "run.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert "oracle" not in lines[0] and all("labels" not in line for line in lines[1:])


def test_an_oracle_that_is_empty_answers_all_the_same(tmp_path):
    first = next(run_experiment(tiny(), tmp_path / "run.jsonl", Counting()))
    assert first.labels == [None, 3, 3, 3, 3]
    assert json.loads((tmp_path / "run.jsonl").read_text().splitlines()[0])["oracle"] == Skipper.description


def test_training_uses_the_given_labels_and_skipped_images_leave_the_pool(tmp_path):
    config = tiny(strategy="max_entropy")
    rounds = list(run_experiment(config, tmp_path / "run.jsonl", Skipper()))
    assert [r.n_labels for r in rounds] == [20, 24, 28] and [r.labels for r in rounds[:2]] == [[None, 3, 3, 3, 3]] * 2
    assert len({i for r in rounds for i in r.queried}) == 10  # a skipped image is not asked for again
    problem, labelled = after(prepare(config), rounds[:2])
    assert not set(labelled.tolist()) & {r.queried[0] for r in rounds[:2]}
    assert problem.train_labels[labelled[20:]].tolist() == [3] * 8
    assert problem.train_labels[problem.split.initial].tolist() == problem.dataset.train_labels[problem.split.initial].tolist()
    assert train_model(problem, 2, labelled)[1] == rounds[2].metrics["train_loss"]
    assert read_ledgers(tmp_path / "run.jsonl").labels[0] == [None, 3, 3, 3, 3]


def test_a_run_with_an_oracle_goes_on_to_the_same_end(tmp_path):
    config, oracle = tiny(strategy="bald"), NoisyOracle.uniform(10, 0.5)
    whole = list(run_experiment(config, tmp_path / "whole.jsonl", oracle))
    for _ in range(3):
        for round in run_experiment(config, tmp_path / "pieces.jsonl", oracle):
            if round.round:
                break
    pieces = list(run_experiment(config, tmp_path / "pieces.jsonl", oracle))
    assert [replace(r, seconds={}) for r in pieces] == [replace(r, seconds={}) for r in whole]
    assert whole[0].labels != whole[0].true_classes


def test_a_ledger_of_another_oracle_is_refused(tmp_path):
    config = tiny(n_rounds=1, epochs=1)
    list(run_experiment(config, tmp_path / "run.jsonl", NoisyOracle.uniform(10, 0.1)))
    for other in (None, TrueLabels(), NoisyOracle.uniform(10, 0.2)):
        with pytest.raises(LedgerError, match="labelled by an oracle of .*noisy.* not "):
            next(run_experiment(config, tmp_path / "run.jsonl", other))


def test_noisy_oracle_errs_as_its_confusion_says():
    confusion = torch.tensor([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]])
    oracle, n = NoisyOracle(confusion), 30_000
    classes = [0, 1, 2] * n
    given = torch.tensor(oracle.answer(a_round(queried=range(3 * n), classes=classes), seed=1)).view(n, 3)
    shares = torch.stack([torch.bincount(given[:, c], minlength=3) / n for c in range(3)])
    assert torch.allclose(shares, confusion, atol=4 * (0.25 / n) ** 0.5)  # four standard errors
    assert oracle.answer(a_round(0), 1) == oracle.answer(a_round(0), 1)
    draws = {
        (seed, number): tuple(oracle.answer(a_round(number, range(60), [0] * 60), seed)) for seed in (0, 1) for number in (0, 1)
    }
    assert len(set(draws.values())) == 4


@pytest.mark.parametrize("confusion", [[[1.0]] * 2, [[0.5, 0.4], [0, 1]], [[1.5, -0.5], [0, 1]]])
def test_a_confusion_that_is_none_is_refused(confusion):
    with pytest.raises(ValueError, match="confusion"):
        NoisyOracle(confusion)


@pytest.mark.parametrize("answers", [[1] * 4, [10] * 5, [-1] * 5, ["3"] * 5, [True] * 5])
def test_answers_that_are_no_classes_are_refused(answers):
    class Wrong(Skipper):
        def answer(self, round, seed):
            return answers

    with pytest.raises(ValueError, match="answer"):
        list(run_experiment(tiny(epochs=1), oracle=Wrong()))
    with pytest.raises(ValueError, match="classes 0 to 1"):
        NoisyOracle.uniform(2, 0.1).answer(a_round(), 0)


def test_unlabelled_images_of_a_folder_are_for_an_oracle(image_folder, tmp_path):
    folder = image_folder({"cat": 10, "dog": 12, "unlabelled": 15})
    config = tiny(dataset=f"folder:{folder}", strategy="max_entropy", n_initial=4, n_valid=4, n_rounds=2)
    with pytest.raises(ValueError, match="15 images of .* have no label.*04_be_the_oracle"):
        next(run_experiment(config))
    problem = prepare(config)
    assert problem.dataset.class_names == ["cat", "dog"] and (problem.dataset.train_labels < 0).sum() == 15
    assert len(problem.split.pool) == len(problem.train) - 8

    class Dog(Skipper):
        def answer(self, round, seed):
            return [1] * len(round.queried)

    rounds = list(run_experiment(config, tmp_path / "run.jsonl", Dog()))
    assert rounds[-1].n_labels == 14 and -1 in [c for r in rounds for c in r.true_classes]
