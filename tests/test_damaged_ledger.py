"""Damaged ledgers: cut off, corrupted, impossible, made by a newer version, no ledgers at all."""

import json
from dataclasses import replace

import pytest
from little_ledgers import HEADER, ROUNDS

from al_utils.ledger import Ledger, LedgerError, read_ledger, read_ledgers


@pytest.mark.parametrize("cut", [1, 20])
def test_a_torn_last_line_is_cut_off(path, cut):
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert len(read_ledger(path)[1]) == 2
    with Ledger(path, HEADER) as ledger:
        assert len(ledger.rounds) == 2
        ledger.append(ROUNDS[2])
    assert path.read_bytes() == whole


def test_a_torn_header_starts_anew(path):
    for length in (0, 9, 200):
        path.write_bytes(path.read_bytes()[:length])
        with Ledger(path, HEADER) as ledger:
            assert ledger.rounds == []
        assert read_ledger(path)[0]["config"] == HEADER["config"]


@pytest.mark.parametrize("content", [b"my thesis, without a line break", b'{"a": 1}', b'{"a": 1}\n', b"\0" * 50, b"[1, 2]\n"])
def test_a_file_that_is_no_ledger_is_left_as_it_is(tmp_path, content):
    path = tmp_path / "thesis.txt"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match="is no ledger"):
        Ledger(path, HEADER)
    assert path.read_bytes() == content


def test_a_folder_is_no_ledger(tmp_path):
    with pytest.raises(LedgerError, match="is a folder: give the path of a file"):
        Ledger(tmp_path, HEADER)
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot be written to"):
        Ledger(tmp_path / "file" / "run.jsonl", HEADER)


@pytest.mark.parametrize(
    "damage, line",
    [
        (lambda lines: lines[:2] + [b'{"round": 1, "n_lab\xff'] + lines[3:], 3),
        (lambda lines: [b"{}"] + lines[1:], 1),
        (lambda lines: lines[:2] + lines[3:], 3),  # a round is missing
        (lambda lines: lines[:3] + [b"null"], 4),
        (lambda lines: lines[:3] + [b"[" * 100_000], 4),
        (lambda lines: lines[:3] + [b""], 4),
        (lambda lines: [lines[0].replace(b'"version": 1', b'"version": 99')] + lines[1:], 1),
    ],
)
def test_a_corrupted_line_is_refused_by_number_and_left(path, damage, line):
    path.write_bytes(b"\n".join(damage(path.read_bytes().splitlines())) + b"\n")
    damaged = path.read_bytes()
    for read in (lambda: read_ledger(path), lambda: read_ledgers(path)):
        with pytest.raises(LedgerError, match=f"line {line} "):
            read()
    with pytest.raises(LedgerError, match=f"line {line} |is no ledger"):
        Ledger(path, HEADER)
    assert path.read_bytes() == damaged


def impossible(line, says, **changes):
    return pytest.param(line, changes, says, id=says)


@pytest.mark.parametrize(
    "line, changes, says",
    [
        impossible(1, "there are 9 initial labels", initial=list(range(9))),
        impossible(1, "initial has an image twice", initial=[0, 0, *range(2, 10)]),
        impossible(1, "initial has -1", initial=[-1, *range(1, 10)]),
        impossible(1, "data: classes is None", data={"name": "x", "label": "", "checksum": ""}),
        impossible(1, "config is 3", config=3),
        impossible(1, "'seed' is missing", config={k: v for k, v in HEADER["config"].items() if k != "seed"}),
        impossible(1, "n_rounds=-4 is too small", config=HEADER["config"] | {"n_rounds": -4}),
        impossible(3, "'classes' is missing", classes=None),
        impossible(3, "image 3 is queried, which had a label", queried=[3, 13]),
        impossible(3, "image 11 is queried, which had a label or was queried before", queried=[11, 13]),
        impossible(3, "queried has an image twice", queried=[13, 13]),
        impossible(3, "queried has -1", queried=[-1, 13]),
        impossible(3, "queried is True", queried=[True, 13]),
        impossible(3, "1 queries where there should be 2", queried=[13]),
        impossible(3, "1 scores of 2 queries", scores=[0.5]),
        impossible(3, "3 classes of 2 queries", classes=[0, 1, 2]),
        impossible(3, "0 noisy of 2 queries", noisy=[]),
        impossible(3, "noisy is 1", noisy=[1, 0]),
        impossible(3, "classes has 10, but there are 10 classes", classes=[0, 10]),
        impossible(3, "there are labels but no oracle", labels=[0, 1]),
        impossible(3, "it says that the run was stopped, and other things", stopped="because"),
        impossible(3, "n_labels=13 where the rounds before make 12", n_labels=13),
        impossible(3, "metrics: test_nll is missing", metrics={k: 0.5 for k in ROUNDS[0].metrics if k != "test_nll"}),
        impossible(3, "metrics: test_accuracy is '0.5'", metrics=ROUNDS[0].metrics | {"test_accuracy": "0.5"}),
        impossible(3, "metrics: test_accuracy is 50", metrics=ROUNDS[0].metrics | {"test_accuracy": 50}),
        impossible(3, "seconds: fit is -1.0", seconds={"fit": -1.0}),
        impossible(3, "round 2 where 1 should be", round=2),
    ],
)
def test_what_cannot_be_is_refused_by_line_number(path, line, changes, says):
    lines = path.read_bytes().splitlines(keepends=True)
    record = json.loads(lines[line - 1]) | changes
    lines[line - 1] = json.dumps({k: v for k, v in record.items() if v is not None}).encode() + b"\n"
    path.write_bytes(b"".join(lines))
    for read in (lambda: read_ledger(path), lambda: Ledger(path, HEADER)):
        with pytest.raises(LedgerError, match=f"line {line} is corrupted .*{says}"):
            read()


def test_what_a_newer_version_wrote_is_refused_by_name(path):
    lines = path.read_bytes().splitlines(keepends=True)
    for changed in (
        [lines[0].replace(b'"lr": ', b'"warm_up": 3, "lr": '), *lines[1:]],
        [lines[0].replace(b'"initial": ', b'"warm_up": [], "initial": '), *lines[1:]],
        [*lines[:2], lines[2].replace(b'"queried": ', b'"warm_up": 3, "queried": ')],
    ):
        path.write_bytes(b"".join(changed))
        with pytest.raises(LedgerError, match="'warm_up' is not known to this version. It was made with a newer one"):
            read_ledger(path)


def test_numbers_that_json_does_not_have_are_refused(path):
    with Ledger(path, HEADER) as ledger, pytest.raises(ValueError):
        ledger.append(replace(ROUNDS[3], metrics={"train_loss": float("nan")}))
    assert json.loads(path.read_text().splitlines()[-1])["round"] == 2
    path.write_text(path.read_text().replace("0.5", "NaN", 1))
    with pytest.raises(LedgerError, match="NaN is no number"):
        read_ledger(path)
