import json

import pytest

from al_utils.ledger import Ledger, LedgerError, Round, check_header, read_ledger, read_ledgers

HEADER = {"config": {"model": "lenet", "lr": 0.1}, "data": {"name": "x", "checksum": "aa"}, "environment": {"torch": "1"}}


def a_round(number):
    metrics = {"train_loss": 0.1 + 0.2, "test_accuracy": 0.5}
    return Round(number, 10 + number, metrics, [3, 1], [0.7, 1 / 3], [0, 1], [True, False], {"fit": 1.0})


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "deep" / "run.jsonl"
    with Ledger(path, HEADER) as ledger:
        for number in range(3):
            ledger.append(a_round(number))
    return path


def test_what_is_written_is_read_again_to_the_bit(path):
    header, rounds = read_ledger(path)
    assert {k: header[k] for k in HEADER} == HEADER and rounds == [a_round(n) for n in range(3)]
    assert len(path.read_text().splitlines()) == 4


def test_opening_again_goes_on_and_leaves_what_is_there(path):
    before = path.read_bytes()
    with Ledger(path, HEADER | {"environment": {"torch": "2"}}) as ledger:
        assert ledger.rounds == [a_round(n) for n in range(3)]
        ledger.append(a_round(3))
    assert path.read_bytes().startswith(before) and len(read_ledger(path)[1]) == 4


@pytest.mark.parametrize("cut", [1, 20])
def test_a_torn_last_line_is_cut_off(path, cut):
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert len(read_ledger(path)[1]) == 2
    with Ledger(path, HEADER) as ledger:
        assert len(ledger.rounds) == 2
        ledger.append(a_round(2))
    assert path.read_bytes() == whole


def test_a_torn_header_starts_anew(path):
    path.write_bytes(path.read_bytes()[:9])
    with Ledger(path, HEADER) as ledger:
        assert ledger.rounds == []
    assert read_ledger(path)[0]["config"] == HEADER["config"]


@pytest.mark.parametrize(
    "damage, line",
    [
        (lambda lines: lines[:2] + [b'{"round": 1, "n_lab\xff'] + lines[3:], 3),
        (lambda lines: [b"{}"] + lines[1:], 1),
        (lambda lines: lines[:2] + lines[3:], 3),  # a round is missing
        (lambda lines: lines[:3] + [b"null"], 4),
        (lambda lines: [lines[0].replace(b'"version": 1', b'"version": 99')] + lines[1:], 1),
    ],
)
def test_a_corrupted_line_is_refused_by_number_and_left(path, damage, line):
    path.write_bytes(b"\n".join(damage(path.read_bytes().splitlines())) + b"\n")
    damaged = path.read_bytes()
    for read in (lambda: read_ledger(path), lambda: Ledger(path, HEADER), lambda: read_ledgers(path)):
        with pytest.raises(LedgerError, match=f"line {line} "):
            read()
    assert path.read_bytes() == damaged


def test_another_configuration_or_data_is_refused(path):
    for part, key in (("config", "lr"), ("data", "checksum")):
        other = HEADER | {part: HEADER[part] | {key: "other"}}
        with pytest.raises(LedgerError, match=f"{key}=.*not {key}='other'"):
            Ledger(path, other)
    check_header(path, read_ledger(path)[0], HEADER)


def test_one_writer_at_a_time(path):
    with Ledger(path, HEADER):
        with pytest.raises(LedgerError, match="another process"):
            Ledger(path, HEADER)
    Ledger(path, HEADER).__exit__()


def test_tidy_frame(path):
    frame = read_ledgers(path.parent)
    assert frame["run"].tolist() == ["run"] * 3 and frame["round"].tolist() == [0, 1, 2]
    assert frame["lr"].tolist() == [0.1] * 3 and frame["queried"].iloc[0] == [3, 1] and frame["fit_s"].iloc[2] == 1.0
    assert read_ledgers(path).equals(frame)


def test_no_ledgers(tmp_path):
    assert read_ledgers(tmp_path).empty
    with pytest.raises(FileNotFoundError, match="run_all.sh"):
        read_ledgers(tmp_path / "nowhere")


def test_numbers_that_json_does_not_have_are_refused(path):
    with Ledger(path, HEADER) as ledger, pytest.raises(ValueError):
        ledger.append(Round(3, 13, {"train_loss": float("nan")}))
    assert json.loads(path.read_text().splitlines()[-1])["round"] == 2
