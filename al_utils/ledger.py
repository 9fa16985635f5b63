"""The query ledger: one JSON-lines file per run. The first line is a header, then one line per round.

A line is appended whole and flushed to the disk when its round ends, so a killed run loses at most the round it was
in. Everything that explores, inspects or reports reads ledgers. Relative paths start at the project's root.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from . import records
from .config import ASIDE, located
from .options import LONGEST, shown
from .records import Round as Round


class LedgerError(RuntimeError):
    """A ledger that cannot be used: corrupted, locked, or of another configuration or version of the data."""


class Ledger:
    """An open ledger: `rounds` holds what is done already, `append` adds to it. Use it as a context manager.

    `stopped` is the reason why the run cannot go on, if it cannot; else it is empty.

    A torn last line (of a killed run) is cut off. The file is locked while it is open. Where more rounds are asked for
    than a finished run had planned, its last one is to be done again, because it queried nothing; until that is appended,
    the file stays what it was.

    Raises:
        LedgerError: the file is no ledger, belongs to another configuration or version of the data, has a corrupted line,
            was begun on another kind of device and is not finished, or is open in another process.
    """

    def __init__(self, path: str | Path, header: dict):
        self.path, self.stopped, self._outgrown = located(path), "", False
        self._files = contextlib.ExitStack()
        self._file = self._files.enter_context(_open_locked(self.path))
        try:
            _check_beginning(self.path)
            found, self.rounds = read_ledger(self.path)
            if (whole := _whole_length(self.path)) < self.path.stat().st_size:
                self._file.truncate(whole)
            self._header = {"version": records.VERSION} | header
            if found is None:
                self._write([self._header])
            else:
                check_header(self.path, found, header, records.is_over(self.rounds, header["config"]["n_rounds"]))
                self.stopped = found.pop("stopped", "")
                self._take_up(found, header["config"])
        except BaseException:
            self._files.close()
            raise

    def append(self, round: Round) -> None:
        self._add(records.round_record(round))
        self.rounds.append(round)

    def stop(self, reason: str) -> None:
        """Write down why the run cannot go on from here. It would end so again, so it is not tried again."""
        self._add({"stopped": reason, "round": len(self.rounds)})

    def _take_up(self, found: dict, config: dict) -> None:
        """Go on with the run in the file, which may have been planned with fewer rounds."""
        planned, asked = found["config"]["n_rounds"], config["n_rounds"]
        was_on, now_on = (c["device"].partition(":")[0] for c in (found["config"], config))
        if was_on != now_on and not records.is_over(self.rounds, asked) and not self.stopped:
            raise LedgerError(
                f"{self.path} was begun on {was_on} and has {len(self.rounds)} of {asked + 1} rounds: on {now_on} it would not "
                f"go on to the same result. Use device={was_on!r}, or another path."
            )
        self._header = found | {"config": found["config"] | {"n_rounds": asked}}
        self._outgrown = planned < asked
        if self._outgrown and records.is_over(self.rounds, asked):  # it ended early, and so it would in a longer plan
            self._replace([self._header, *map(records.round_record, self.rounds)])
        elif self._outgrown:
            del self.rounds[planned:]

    def _add(self, record: dict) -> None:
        if self._outgrown:
            self._replace([self._header, *map(records.round_record, self.rounds), record])
        else:
            self._write([record])

    def _write(self, lines: list[dict]) -> None:
        self._file.writelines(map(records.line, lines))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _replace(self, lines: list[dict]) -> None:
        """Put a file with these lines in the ledger's place, at once: whenever a kill comes, one of the two is there whole."""
        aside = self.path.with_name(f".{self.path.name}.longer")
        aside.unlink(missing_ok=True)
        # The old file stays open and locked, too: another process may have opened it already.
        self._file = self._files.enter_context(_open_locked(aside))
        self._write(lines)
        os.replace(aside, self.path)
        self._outgrown = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._files.close()


def _open_locked(path: Path) -> BinaryIO:
    """The file, made if need be, open for appending and for nobody else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+b")
    except (IsADirectoryError, NotADirectoryError, FileExistsError, PermissionError) as error:
        what = "is a folder" if path.is_dir() else f"cannot be written to ({error.strerror})"
        raise LedgerError(f"{path} {what}: give the path of a file, such as reports/runs/mine.jsonl.") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise LedgerError(f"{path} is being written by another process. Wait for it, or stop it first.") from None
    except OSError as error:
        warnings.warn(f"{path}: its file system cannot lock ({error.strerror}). Let no second process write to it.")
    return file


def _check_beginning(path: Path) -> None:
    """Raise a `LedgerError` if the file is something else than a ledger, which must not be cut or written to."""
    first_line, is_whole, _ = path.read_bytes().partition(b"\n")
    beginning = records.BEGINNING[:12] if is_whole else records.BEGINNING  # a whole line can be refused by its number
    if not beginning.startswith(first_line[: len(beginning)]):
        raise LedgerError(f"{path} is no ledger, and is left as it is. Give another path.")


def read_ledger(path: str | Path) -> tuple[dict | None, list[Round]]:
    """A ledger's header (None in an empty file) and its rounds; a torn last line is passed over.

    Where the ledger is older than a parameter, its configuration holds the value that was in effect. Where the run cannot
    go on, `header["stopped"]` has the reason.

    Raises:
        LedgerError: a line is corrupted, out of order, or not what such a run can have done; the message has its number.
    """
    path = located(path)
    whole = path.read_bytes()[: _whole_length(path)]
    header: dict | None = None
    rounds: list[Round] = []
    for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
        try:
            record = records.parsed(line)
            if header is None:
                header = records.checked_header(record)
            elif "stopped" in header:
                raise ValueError("the run was stopped before")
            elif "stopped" in record:
                header["stopped"] = records.checked_stop(record, rounds)
            else:
                rounds.append(records.checked_round(record, header, rounds))
        except records.NewerVersion as error:
            raise LedgerError(f"{path}, line {number}: {error}. It was made with a newer one: update the project.") from None
        except (ValueError, TypeError) as error:
            raise LedgerError(
                f"{path}, line {number} is corrupted ({error}). It is not repaired: restore it from a backup, "
                "or delete the file to run it again."
            ) from None
    return header, rounds


def _whole_length(path: Path) -> int:
    return path.read_bytes().rfind(b"\n") + 1


def check_header(path, found: dict, expected: dict, finished: bool = False) -> None:
    """Raise a `LedgerError` unless a ledger with the header `found` is of the run that is `expected`, as far as that is said.

    The ledger may have been planned with fewer rounds, and what is `config.ASIDE` is no part of what it is. A `finished` one
    may have begun with other weights of the same network: where code trains them, another processor rounds otherwise.
    """
    for part in ("config", "data"):
        for key, value in expected.get(part, {}).items():
            kept = found[part].get(key)
            if kept != value and key not in ASIDE and not (key == "n_rounds" and kept < value):
                raise LedgerError(
                    f"{path} was made with {key}={shown(kept)}, not {key}={shown(value)}. "
                    "Use another path, or delete the file to run it again."
                )
    if "initial" in expected and found["initial"] != expected["initial"]:
        raise LedgerError(f"{path}, line 1 is corrupted (the initial labels are not those of its split). Delete the file.")
    if found.get("oracle") != expected.get("oracle"):
        raise LedgerError(
            f"{path} was labelled by {_oracle(found)}, not {_oracle(expected)}. Use another path, or delete the file."
        )
    if "registered" in expected:
        _check_registered(path, found, expected["registered"], finished)


def _check_registered(path, found: dict, expected: dict, finished: bool) -> None:
    kept = found.get("registered", {})
    for name in {**kept, **expected}:
        if kept.get(name) != expected.get(name):
            if name == "model" and kept.get(name, "")[:8] == expected.get(name, "")[:8]:  # the other half: its weights
                if finished:
                    network = shown(found["config"][name])
                    warnings.warn(f"finished ledgers began with other weights of model={network} than come out here")
                    continue
                raise LedgerError(
                    f"{path} began with other weights of model={shown(found['config'][name])} than come out here: they are of "
                    "another file, or another processor made them. Go on where it was begun, or use another path."
                )
            raise LedgerError(
                f"{path} was made with another {name}={shown(found['config'][name])}: its source was not the one that is "
                "registered now. Use another path or name, or delete the file to run it again."
            )


def _oracle(header: dict) -> str:
    described = str(header.get("oracle", ""))
    return f"an oracle of {described[:LONGEST]}" if described else "the true classes"


def labelled_by(header: dict) -> str:
    """Which oracle a ledger's labels are of, its kind and what else tells it from others; empty for the true classes."""
    described = header.get("oracle", {"kind": "true labels"})
    if described == {"kind": "true labels"}:
        return ""
    rest = json.dumps({name: value for name, value in described.items() if name != "kind"}, sort_keys=True)
    return str(described.get("kind", "own")) + (f" {hashlib.sha256(rest.encode()).hexdigest()[:4]}" if rest != "{}" else "")


def find_ledgers(folder: str | Path) -> list[Path]:
    """The ledgers below a folder, or the one at a path; hidden files and folders, such as JupyterLab's copies, are passed over.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    folder = located(folder)
    if not folder.exists():
        raise FileNotFoundError(f"there is no {folder}. Ledgers are made by a sweep: ./run_all.sh quick")
    if folder.is_file():
        return [folder]
    found = folder.rglob("*.jsonl")
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def read_ledgers(folder: str | Path):
    """All ledgers below `folder` (or one file) as a tidy `DataFrame`: one row per run and round.

    A relative path starts at the project's root, wherever a notebook stands. Columns: `run` (the file's name without
    ending), the fields of the configuration, the fields of `Round`, its metrics, `fit_s`, `evaluate_s`, `predict_s`,
    `acquire_s` in seconds, `oracle` (`labelled_by`) and `ledger`, the file's path. No ledger: an empty frame.
    """
    import pandas as pd

    rows = []
    for path in find_ledgers(folder):
        header, rounds = read_ledger(path)
        where = {"oracle": labelled_by(header), "ledger": str(path)} if header else {}
        rows += [tidy(path.stem, header["config"], r) | where for r in rounds if header]
    return pd.DataFrame(rows)


def tidy(run: str, config: dict, round: Round) -> dict:
    """One row of `read_ledgers`."""
    row = asdict(round)
    metrics, seconds = row.pop("metrics"), row.pop("seconds")
    timing = {f"{part}_s": value for part, value in seconds.items()}
    return {"run": run} | config | row | metrics | timing
