"""A run that ends early, because more labels have not helped: in its ledger, when it goes on, in a sweep and in reports."""

import json
from dataclasses import replace

import pytest
from conftest import tiny

from al_utils import read_ledger, read_ledgers
from al_utils.experiment import run_experiment
from al_utils.ledger import LedgerError
from al_utils.results import studies, tables
from al_utils.sweep import jobs, local

ROUNDS = 12
SMALL = dict(n_rounds=ROUNDS, n_query=5, n_valid=50, epochs=2, protocol="tuned")


def untimed(rounds):
    return [replace(r, seconds={}) for r in rounds]


def run(path=None, **changes):
    return untimed(run_experiment(tiny(**(SMALL | changes)), path))


@pytest.fixture(scope="module")
def whole():
    """The run that never stops."""
    return run()


@pytest.fixture(scope="module")
def early(whole, tmp_path_factory):
    """The ledger of the run that stops after two rounds without a gain."""
    path = tmp_path_factory.mktemp("early") / "run.jsonl"
    run(path, stop_after=2)
    return path


def end_of(rounds, stop_after=2):
    """The first round after which the best validation accuracy so far is as many rounds old."""
    best, best_round = -1.0, -1
    for r in rounds:
        if r.metrics["valid_accuracy"] > best:
            best, best_round = r.metrics["valid_accuracy"], r.round
        if r.round - best_round >= stop_after:
            return r.round
    raise AssertionError("it never ends: choose another run for this test")


def test_it_ends_where_nothing_was_gained_and_says_so(whole, early):
    header, rounds = read_ledger(early)
    end = end_of(whole)
    assert 2 <= end < ROUNDS - 1 and header["config"]["stop_after"] == 2
    assert untimed(rounds[:-1]) == whole[:end]
    assert rounds[-1].metrics == whole[end].metrics and rounds[-1].queried == []
    assert rounds[-1].ended == "ended: no better validation accuracy in 2 rounds" and rounds[-1].ended in str(rounds[-1])


def test_a_killed_one_ends_alike_and_an_ended_one_is_only_read(early, tmp_path):
    lines = early.read_bytes().splitlines(keepends=True)
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join(lines[:3]))
    expected = untimed(read_ledger(early)[1])
    assert run(path, stop_after=2) == expected
    kept = path.read_bytes()
    assert run(path, stop_after=2) == expected and path.read_bytes() == kept


def test_asked_for_more_rounds_it_stays_ended_and_is_one_study_with_those_that_were_asked_at_once(early, tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(early.read_bytes())
    more = ROUNDS + 5
    assert not jobs.has_last_round(path, more)
    assert run(path, stop_after=2, n_rounds=more) == untimed(read_ledger(early)[1]) == untimed(read_ledger(path)[1])
    assert read_ledger(path)[0]["config"]["n_rounds"] == more and jobs.has_last_round(path, more)
    run(tmp_path / "other.jsonl", stop_after=2, n_rounds=more, seed=1)
    [study] = studies.by_study(read_ledgers(tmp_path)).values()
    assert study.seed.nunique() == 2


def test_one_that_reached_its_last_round_goes_on_to_where_it_would_have_ended(early, tmp_path):
    expected, path = untimed(read_ledger(early)[1]), tmp_path / "run.jsonl"
    first = run(path, stop_after=2, n_rounds=expected[-1].round)
    assert first[-1] == replace(expected[-1], ended="")
    assert run(path, stop_after=2) == expected == untimed(read_ledger(path)[1])


def test_an_end_that_does_not_follow_is_refused(early, tmp_path):
    header, *rounds = [json.loads(line) for line in early.read_text().splitlines()]
    path = tmp_path / "run.jsonl"

    def refused(*records):
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        with pytest.raises(LedgerError, match="corrupted"):
            read_ledger(path)

    refused(header, *rounds[:-1], {k: v for k, v in rounds[-1].items() if k != "ended"})
    refused(header, rounds[0] | {"ended": rounds[-1]["ended"]})
    refused(header, *rounds, rounds[-1] | {"round": rounds[-1]["round"] + 1})
    refused(header | {"config": header["config"] | {"stop_after": 0}}, *rounds)


def test_a_sweep_takes_it_for_finished(early, tmp_path):
    config = tiny(**(SMALL | dict(stop_after=2)))
    path = tmp_path / f"{config.name}.jsonl"
    path.write_bytes(early.read_bytes())
    assert jobs.has_last_round(path, ROUNDS) and not jobs.is_finished(path.with_suffix(""), config.to_dict())
    path.with_suffix(".ipynb").touch()
    assert jobs.is_finished(path.with_suffix(""), config.to_dict()) and jobs._ledger_error(path, config.to_dict()) == ""
    assert local._finished(path, config) and len(local.run_many([config], tmp_path)) == len(read_ledger(early)[1])
    path.write_bytes(b"".join(early.read_bytes().splitlines(keepends=True)[:-1]))
    assert not jobs.has_last_round(path, ROUNDS) and "the notebook ended after" in jobs._ledger_error(path, config.to_dict())


def test_in_a_report_it_counts_with_its_last_accuracy_from_there_on(early):
    rounds = read_ledger(early)[1]
    [study] = studies.by_study(read_ledgers(early)).values()
    assert study["round"].tolist() == list(range(ROUNDS + 1))
    assert study.n_labels.tolist() == [20 + 5 * k for k in range(ROUNDS + 1)]
    after = study[study["round"] >= rounds[-1].round]
    assert set(after.test_accuracy) == {rounds[-1].metrics["test_accuracy"]} and not after.queried.map(len).any()
    assert studies.final(study).test_accuracy.tolist() == [rounds[-1].metrics["test_accuracy"]]
    assert tables.seconds_per_round(study).rounds.tolist() == [len(rounds) - 1]
    assert tables.overview(studies.read_runs(early)).loc["Runs", ""] == (
        "1 finished, 0 unfinished; 1 ended early, which count with their last accuracy from there on"
    )


def test_it_needs_validation_images():
    with pytest.raises(ValueError, match="stop_after=3 needs validation images, but n_valid=0"):
        tiny(stop_after=3, n_valid=0)
