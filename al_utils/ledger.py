"""The query ledger: one JSON-lines file per run. The first line is a header, then one line per round.

A line is appended whole and flushed to the disk when its round ends, so a killed run loses at most the round it was
in. Everything that explores, inspects or reports reads ledgers.
"""

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

VERSION = 1
_JSON_NAMES = {"true_classes": "classes"}  # where a file says it otherwise than `Round`
_FIELD_NAMES = {name: field for field, name in _JSON_NAMES.items()}


class LedgerError(RuntimeError):
    """A ledger that cannot be used: corrupted, locked, or of another configuration or version of the data."""


@dataclass(frozen=True)
class Round:
    """What one round found: metrics of the network trained on `n_labels` labels, and what it queried next.

    `queried` are indices into the data set's training images, in the order of the acquisition function (best first);
    `scores` (in the units of the acquisition function), `true_classes` and `noisy` (whether the image
    carries noise) are aligned with it. The last round queries nothing. `seconds` maps fit, evaluate, predict and
    acquire to wall-clock time. `labels` is what an oracle answered (None: no label), where one was given; without one
    the true classes are the labels.
    """

    round: int
    n_labels: int
    metrics: dict[str, float]
    queried: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    true_classes: list[int] = field(default_factory=list)
    noisy: list[bool] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    labels: list[int | None] | None = None

    def __str__(self):
        m, s = self.metrics, sum(self.seconds.values())
        return (
            f"round {self.round:3d}   {self.n_labels:6,d} labels   loss {m['train_loss']:.3f}   "
            f"valid {m['valid_accuracy']:6.1%}   test {m['test_accuracy']:6.1%}   {s:5.1f} s"
        )


class Ledger:
    """An open ledger: `rounds` holds what is done already, `append` adds to it. Use it as a context manager.

    `stopped` is the reason why the run cannot go on, if it cannot; else it is empty.

    A torn last line (of a killed run) is cut off. The file is locked while it is open.

    Raises:
        LedgerError: the file belongs to another configuration or version of the data, has a corrupted line, or is
            open in another process.
    """

    def __init__(self, path: str | Path, header: dict):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise LedgerError(f"{self.path} is being written by another process. Wait for it, or stop it first.") from None
        try:
            found, self.rounds = read_ledger(self.path)
            if (whole := _whole_length(self.path)) < self.path.stat().st_size:
                self._file.truncate(whole)
            if found is None:
                self._write({"version": VERSION} | header)
            else:
                check_header(self.path, found, header)
            self.stopped = (found or {}).get("stopped", "")
        except BaseException:
            self._file.close()
            raise

    def append(self, round: Round) -> None:
        record = asdict(round)
        if round.labels is None:
            del record["labels"]
        self._write({_JSON_NAMES.get(name, name): value for name, value in record.items()})
        self.rounds.append(round)

    def stop(self, reason: str) -> None:
        """Write down why the run cannot go on from here. It would end so again, so it is not tried again."""
        self._write({"stopped": reason, "round": len(self.rounds)})

    def _write(self, record: dict) -> None:
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


def read_ledger(path: str | Path) -> tuple[dict | None, list[Round]]:
    """A ledger's header (None in an empty file) and its rounds; a torn last line is passed over.

    Where the run cannot go on, `header["stopped"]` has the reason.

    Raises:
        LedgerError: a line is corrupted or out of order; the message has its number.
    """
    whole = Path(path).read_bytes()[: _whole_length(path)]
    header, rounds = None, []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            record = json.loads(line)
            if number == 1:
                if record["version"] != VERSION:
                    raise ValueError(f"version {record['version']} is not {VERSION}")
                header = record
            elif "stopped" in record:
                header["stopped"] = record["stopped"]
            else:
                rounds.append(Round(**{_FIELD_NAMES.get(name, name): value for name, value in record.items()}))
                if rounds[-1].round != number - 2:
                    raise ValueError(f"round {rounds[-1].round} where {number - 2} should be")
                if "stopped" in header:
                    raise ValueError("the run was stopped before")
        except (ValueError, TypeError, KeyError) as error:
            raise LedgerError(
                f"{path}, line {number} is corrupted ({error}). It is not repaired: restore it from a backup, "
                "or delete the file to run it again."
            ) from None
    return header, rounds


def _whole_length(path: str | Path) -> int:
    return Path(path).read_bytes().rfind(b"\n") + 1


def check_header(path, found: dict, expected: dict) -> None:
    """Raise a `LedgerError` unless the header `found` in a ledger has the `expected` fields of `config` and `data`."""
    for part in ("config", "data"):
        for key, value in expected.get(part, {}).items():
            if found[part].get(key) != value:
                raise LedgerError(
                    f"{path} was made with {key}={found[part].get(key)!r}, not {key}={value!r}. "
                    "Use another path, or delete the file to run it again."
                )
    if found.get("oracle") != expected.get("oracle"):
        raise LedgerError(
            f"{path} was labelled by {_oracle(found)}, not {_oracle(expected)}. Use another path, or delete the file."
        )


def _oracle(header: dict) -> str:
    return f"an oracle of {header['oracle']}" if header.get("oracle") else "the true classes"


def read_ledgers(folder: str | Path):
    """All ledgers below `folder` (or one file) as a tidy `DataFrame`: one row per run and round.

    Columns: `run` (the file's name without ending), the fields of the configuration, the fields of `Round`, its
    metrics, and `fit_s`, `evaluate_s`, `predict_s`, `acquire_s` in seconds. No ledger: an empty frame.
    """
    import pandas as pd

    folder = Path(folder)
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*.jsonl"))
    if not folder.exists():
        raise FileNotFoundError(f"there is no {folder}. Ledgers are made by a sweep: ./run_all.sh quick")
    rows = []
    for path in paths:
        header, rounds = read_ledger(path)
        rows += [tidy(path.stem, header["config"], r) for r in rounds]
    return pd.DataFrame(rows)


def tidy(run: str, config: dict, round: Round) -> dict:
    """One row of `read_ledgers`."""
    row = asdict(round)
    metrics, seconds = row.pop("metrics"), row.pop("seconds")
    timing = {f"{part}_s": value for part, value in seconds.items()}
    return {"run": run} | config | row | metrics | timing
