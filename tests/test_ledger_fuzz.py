"""Ledgers with one random change: each is refused by line number, or what a run goes on with is what it was."""

import json
import random

import pytest
from conftest import tiny

from al_utils.experiment import check_rounds, header, run_experiment
from al_utils.ledger import Ledger, LedgerError, read_ledger
from al_utils.oracle import NoisyOracle
from al_utils.problem import prepare
from al_utils.results import studies

N = 300
JUNK = [None, True, False, 0, -1, 1, 10**9, 2**70, 0.5, -0.5, 1e308, "", "x", "1e-3", [], {}, [0], [None], {"a": 1}]
ORACLE = NoisyOracle.uniform(10, 0.3)


@pytest.fixture(scope="module", params=[None, ORACLE], ids=["true labels", "oracle"])
def whole(request, tmp_path_factory):
    """A finished ledger with its lines, its problem and its oracle."""
    config = tiny(strategy="max_entropy", noise="gaussian", noise_rate=0.5, epochs=1, mc_samples=2)
    path = tmp_path_factory.mktemp("whole") / "run.jsonl"
    list(run_experiment(config, path, request.param))
    return path.read_bytes().splitlines(), prepare(config), request.param


def places(node, path=()):
    """All places in a record."""
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inside:
        yield (*path, key)
        yield from places(value, (*path, key))


def mutated(record: dict, rng: random.Random) -> dict:
    """A record in which something is deleted, replaced, repeated, exchanged or added."""
    record = json.loads(json.dumps(record))
    *path, last = rng.choice(list(places(record)))
    parent = record
    for key in path:
        parent = parent[key]
    value = parent[last]
    way = rng.choice(["delete", "junk", "junk", "number", "repeat", "add", "exchange"])
    if way == "delete":
        del parent[last]
    elif way == "number" and type(value) in (int, float):
        parent[last] = value + rng.choice([-1000, -1, 1, 1000, 0.5])
    elif way == "repeat" and isinstance(parent, list):
        parent.insert(rng.randrange(len(parent) + 1), value)
    elif way == "add" and isinstance(value, dict):
        value[rng.choice(["stopped", "labels", "x"])] = rng.choice(JUNK)
    elif way == "exchange" and isinstance(parent, list):
        other = rng.randrange(len(parent))
        parent[last], parent[other] = parent[other], value
    else:
        parent[last] = rng.choice(JUNK)
    return record


def certain(rounds):
    """What of the rounds follows from the data and the other lines: not what was measured, scored, answered and timed.

    Nor does it show in which order the images of a round were queried, or that another image of the same class and noise was.
    """
    return [
        (r.round, r.n_labels, sorted(zip(r.true_classes, r.noisy)), sorted(r.metrics), len(r.scores), r.n_answered)
        for r in rounds
    ]


@pytest.mark.parametrize("seed", [0])
def test_a_mutated_ledger_is_refused_by_line_number_or_changes_nothing(whole, seed, tmp_path):
    lines, problem, oracle = whole
    path, rng = tmp_path / "run.jsonl", random.Random(seed)
    path.write_bytes(b"\n".join(lines) + b"\n")
    expected = header(problem, oracle)
    right, refused = read_ledger(path)[1], 0
    for _ in range(N):
        changed = list(lines)
        number = rng.randrange(len(lines))
        changed[number] = json.dumps(mutated(json.loads(lines[number]), rng)).encode()
        path.write_bytes(b"\n".join(changed) + b"\n")
        try:
            with Ledger(path, expected) as book:
                check_rounds(problem, book.rounds, book.path)
                assert certain(book.rounds) == certain(right), (lines[number], changed[number])
                assert not book.stopped
        except LedgerError as error:
            refused += 1
            said = str(error)
            assert f"line {number + 1}" in said or f"line {number + 2}" in said or number == 0, said
            assert len(said) < 800 and "\n" not in said
        assert path.read_bytes() == b"\n".join(changed) + b"\n"
        try:
            studies.read_runs(tmp_path)
        except LedgerError as error:
            assert "line " in str(error)
    assert refused > N / 2


def test_whole_lines_that_are_lost_repeated_or_exchanged_are_refused(whole, tmp_path):
    lines, problem, oracle = whole
    path, expected = tmp_path / "run.jsonl", header(problem, oracle)
    for changed in (lines[:2] + lines[3:], [*lines, lines[-1]], [*lines[:1], lines[2], lines[1], lines[3]], lines[1:]):
        path.write_bytes(b"\n".join(changed) + b"\n")
        with pytest.raises(LedgerError, match="line [1-5] |is no ledger"):
            Ledger(path, expected)
