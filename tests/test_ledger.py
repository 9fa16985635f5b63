"""The ledger: what is written, read, continued and refused."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from conftest import ROOT
from little_ledgers import HEADER, PLAN, ROUNDS, a_header, a_round, write_rounds

from al_utils import ledger as ledgers
from al_utils.config import located
from al_utils.ledger import Ledger, LedgerError, check_header, find_ledgers, read_ledger, read_ledgers

LONGER = a_header(**PLAN | {"n_rounds": 7})
LONGER_ROUNDS = [a_round(number, LONGER) for number in range(8)]


def write(path, rounds=ROUNDS, header=HEADER):
    return write_rounds(path, rounds, header)


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
