"""The ledger: what is written, read, continued and refused."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from conftest import ROOT, a_header, a_round

from al_utils import ledger as ledgers
from al_utils.config import located
from al_utils.ledger import Ledger, LedgerError, check_header, find_ledgers, read_ledger, read_ledgers

PLAN = dict(n_initial=10, n_query=2, n_rounds=4)
HEADER = a_header(**PLAN)
ROUNDS = [a_round(number, HEADER) for number in range(5)]


def write(path, rounds=ROUNDS, header=HEADER):
    with Ledger(path, header) as ledger:
        for round in rounds[len(ledger.rounds) :]:
            ledger.append(round)
    return path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "deep" / "run.jsonl", ROUNDS[:3])


def test_what_is_written_is_read_again_to_the_bit(path):
    odd = replace(ROUNDS[3], scores=[0.1 + 0.2, 1 / 3], metrics=ROUNDS[3].metrics | {"train_loss": 1e-300})
    write(path, [*ROUNDS[:3], odd])
    header, rounds = read_ledger(path)
    assert {k: header[k] for k in HEADER} == HEADER and rounds == [*ROUNDS[:3], odd]
    assert len(path.read_text().splitlines()) == 5


def test_opening_again_goes_on_and_leaves_what_is_there(path):
    before = path.read_bytes()
    with Ledger(path, HEADER | {"environment": {"torch": "2"}}) as ledger:
        assert ledger.rounds == ROUNDS[:3]
        ledger.append(ROUNDS[3])
    assert path.read_bytes().startswith(before) and len(read_ledger(path)[1]) == 4


# --- Damage ---


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


# --- Whose ledger it is ---


def test_another_configuration_or_data_is_refused(path):
    for part, key in (("config", "lr"), ("data", "checksum")):
        other = HEADER | {part: HEADER[part] | {key: "other"}}
        with pytest.raises(LedgerError, match=f"{key}=.*not {key}='other'"):
            Ledger(path, other)
    with pytest.raises(LedgerError, match="line 1 is corrupted .the initial labels"):
        Ledger(path, HEADER | {"initial": list(range(1, 11))})
    check_header(path, read_ledger(path)[0], HEADER)


def test_another_source_under_the_same_name_is_refused(path):
    with pytest.raises(LedgerError, match="made with another strategy='random': its source"):
        Ledger(path, HEADER | {"registered": {"strategy": "abc"}})
    Ledger(path, HEADER | {"registered": {}}).__exit__()


def test_a_ledger_that_is_older_than_a_parameter_goes_on(path):
    older = {name: value for name, value in HEADER["config"].items() if name not in ("min_steps", "pool_subset", "noise_on")}
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(json.dumps(json.loads(lines[0]) | {"config": older}).encode() + b"\n" + b"".join(lines[1:]))
    assert read_ledger(path)[0]["config"] == HEADER["config"] and read_ledgers(path).noise_on.unique() == ["all"]
    before = path.read_bytes()
    write(path)
    assert path.read_bytes().startswith(before) and read_ledger(path)[1] == ROUNDS


def on(device):
    return HEADER | {"config": HEADER["config"] | {"device": device}}


def test_a_finished_ledger_is_a_result_wherever_it_was_computed(tmp_path):
    finished = write(tmp_path / "finished.jsonl", header=on("cuda"))
    with Ledger(finished, on("cpu")) as ledger:
        assert ledger.rounds == ROUNDS
    unfinished = write(tmp_path / "unfinished.jsonl", ROUNDS[:3], on("cuda:1"))
    with pytest.raises(LedgerError, match="begun on cuda and has 3 of 5 rounds: on cpu .* Use device='cuda'"):
        Ledger(unfinished, on("cpu"))
    write(unfinished, header=on("cuda"))  # another GPU of its kind
    longer = HEADER["config"] | {"n_rounds": 9}
    with pytest.raises(LedgerError, match="begun on cuda and has 5 of 10 rounds"):
        Ledger(finished, HEADER | {"config": longer})


def test_one_writer_at_a_time(path):
    with Ledger(path, HEADER):
        with pytest.raises(LedgerError, match="another process"):
            Ledger(path, HEADER)
    Ledger(path, HEADER).__exit__()


def test_a_file_system_without_locks_is_said_and_used(path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(ledgers.fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="cannot lock .No locks available.. Let no second process"):
        Ledger(path, HEADER).__exit__()


# --- More rounds later ---

LONGER = a_header(**PLAN | {"n_rounds": 7})
LONGER_ROUNDS = [a_round(number, LONGER) for number in range(8)]


@pytest.mark.parametrize("done", [0, 3, 5])
def test_more_rounds_lead_to_the_ledger_of_a_longer_run(tmp_path, done):
    wanted = write(tmp_path / "long.jsonl", LONGER_ROUNDS, LONGER).read_bytes()
    path = write(tmp_path / "short.jsonl", ROUNDS[:done])
    before = path.read_bytes()
    with Ledger(path, LONGER) as ledger:
        assert ledger.rounds == LONGER_ROUNDS[: min(done, 4)]  # the last of a finished run has queried nothing
        assert path.read_bytes() == before
        for round in LONGER_ROUNDS[len(ledger.rounds) :]:
            ledger.append(round)
            assert read_ledger(path)[1] == ledger.rounds
            with pytest.raises(LedgerError, match="another process"):
                Ledger(path, LONGER)
    assert path.read_bytes() == wanted and [p.name for p in tmp_path.iterdir()] != []
    with pytest.raises(LedgerError, match="n_rounds=7, not n_rounds=4"):
        Ledger(path, HEADER)


def test_a_kill_while_the_longer_ledger_is_written_loses_nothing(tmp_path, monkeypatch):
    path = write(tmp_path / "run.jsonl")
    before = path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ledgers.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt), Ledger(path, LONGER) as ledger:
            ledger.append(LONGER_ROUNDS[4])
    assert path.read_bytes() == before and find_ledgers(tmp_path) == [path]
    write(path, LONGER_ROUNDS, LONGER)
    assert read_ledger(path)[1] == LONGER_ROUNDS and [p.name for p in tmp_path.iterdir()] == ["run.jsonl"]


def test_a_run_that_was_stopped_stays_so(tmp_path):
    path = write(tmp_path / "run.jsonl", ROUNDS[:2])
    with Ledger(path, HEADER) as ledger:
        ledger.stop("round 2: the loss is nan")
    for header in (HEADER, LONGER):
        with Ledger(path, header) as ledger:
            assert ledger.stopped == "round 2: the loss is nan" and ledger.rounds == ROUNDS[:2]
    finished = write(tmp_path / "finished.jsonl")
    with Ledger(finished, LONGER) as ledger:
        ledger.stop("round 4: the loss is nan")
    header, rounds = read_ledger(finished)
    assert header["stopped"] and header["config"]["n_rounds"] == 7 and rounds == ROUNDS[:4]


# --- Where ledgers are ---


def test_tidy_frame(path):
    frame = read_ledgers(path.parent)
    assert frame["run"].tolist() == ["run"] * 3 and frame["round"].tolist() == [0, 1, 2]
    assert frame["lr"].tolist() == [0.01] * 3 and frame["queried"].iloc[0] == [10, 11] and frame["fit_s"].iloc[2] == 1.0
    assert read_ledgers(path).equals(frame)


def test_copies_that_jupyterlab_and_macos_make_are_no_ledgers(path):
    folder = path.parent
    (folder / ".ipynb_checkpoints").mkdir()
    shutil.copy(path, folder / ".ipynb_checkpoints" / "run-checkpoint.jsonl")
    (folder / "._run.jsonl").write_bytes(b"\0\5\x16\7")
    shutil.copytree(folder, folder / ".hidden" / "sub")
    assert find_ledgers(folder) == [path] and len(read_ledgers(folder)) == 3
    assert len(find_ledgers(folder / ".hidden" / "sub")) == 1  # asked for by name


def test_no_ledgers(tmp_path):
    assert read_ledgers(tmp_path).empty
    with pytest.raises(FileNotFoundError, match="run_all.sh"):
        read_ledgers(tmp_path / "nowhere")


def test_where_one_stands_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    here = [path.relative_to(ROOT) for path in find_ledgers("reports/quick")]
    for place in (ROOT / "notebooks", tmp_path):
        monkeypatch.chdir(place)
        assert [path.relative_to(ROOT) for path in find_ledgers("reports/quick")] == here != []
        write("~/mine.jsonl")
        assert read_ledger("~/mine.jsonl") == read_ledger(tmp_path / "mine.jsonl")
    with pytest.raises(ValueError, match="no such home folder"):
        located("~nobody-of-this-name/x")


def test_ledgers_are_read_without_pytorch():
    code = (
        "import sys; from al_utils.ledger import read_ledgers; read_ledgers('reports/quick'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
