"""What an oracle may answer, and what it must say of itself."""

import numpy as np
import pytest
import torch
from conftest import tiny

from al_utils import Round, run_experiment
from al_utils.oracle import TrueLabels, checked_answers

ASKED = Round(0, 10, {"train_loss": 0.1}, [7, 5, 9], [0.0] * 3, [0, 1, 2], [False] * 3)


@pytest.mark.parametrize(
    "answers", [[3, None, 1], (3, None, 1), np.array([3, None, 1], dtype=object), [np.int64(3), None, torch.tensor(1)]]
)
def test_answers_are_plain_numbers_whatever_holds_them(answers):
    checked = checked_answers(answers, ASKED, 10)
    assert checked == [3, None, 1] and all(type(answer) in (int, type(None)) for answer in checked)


def test_arrays_of_answers():
    for answers in (np.array([3, 0, 1]), torch.tensor([3, 0, 1], dtype=torch.uint8)):
        assert checked_answers(answers, ASKED, 10) == [3, 0, 1]


@pytest.mark.parametrize(
    "answers, says",
    [
        ([3, 1], "gave 2 answers to 3 queries of round 0"),
        ([3, 1, 1, 1], "gave 4 answers to 3 queries"),
        (np.zeros((3, 1), dtype=int), r"answered \[0\]; allowed: None, or a class from 0 to 9"),
        (torch.tensor(3), "one a query"),
        ([3, 1, 10], "answered 10; allowed"),
        ([3, 1, -1], "answered -1; allowed"),
        ([3, 1, True], "answered True"),
        ([3, 1, 1.0], "answered 1.0"),
        ([3, 1, np.float32(1)], "answered .*1.0"),
        ([3, 1, torch.tensor(1.0)], "answered tensor"),
        ([3, 1, "1"], "answered '1'"),
        ("311", "answered with '311'; allowed: a list of 3 classes"),
        ({0: 3, 1: 1, 2: 1}, "allowed: a list"),
        (None, "answered with None"),
        (3, "answered with 3"),
        ((c for c in (3, 1, 1)), "answered with <generator"),
        ([3, 1, "x" * 10_000], "^.{,400}$"),
    ],
)
def test_wrong_answers_are_refused_in_one_sentence(answers, says):
    with pytest.raises(ValueError, match=says):
        checked_answers(answers, ASKED, 10)


@pytest.mark.parametrize("description", [None, "me", {}, {"kind": object()}, {"kind": float("nan")}])
def test_an_oracle_describes_itself_in_the_header(tmp_path, description):
    class Odd(TrueLabels):
        pass

    Odd.description = description
    with pytest.raises(TypeError, match="description"):
        next(run_experiment(tiny(), tmp_path / "run.jsonl", Odd()))
    assert not (tmp_path / "run.jsonl").exists()
    with pytest.raises(TypeError, match="needs a method answer"):
        next(run_experiment(tiny(), tmp_path / "run.jsonl", object()))
