"""The lines of a ledger: a header, then a line for each round; what cannot be is refused.

That queries are images of the run's own pool shows only beside its data: see `experiment.check_rounds`.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .config import TYPES, recorded
from .options import shown

VERSION = 1
BEGINNING = b'{"version": 1, "config": {'  # of every ledger
METRICS = ("train_loss", "valid_accuracy", "test_accuracy", "test_accuracy_clean", "test_nll", "test_ece")
_SHARES = ("valid_accuracy", "test_accuracy", "test_accuracy_clean", "test_ece")  # between 0 and 1
_JSON_NAMES = {"true_classes": "classes"}  # where a file says it otherwise than `Round`
_FIELD_NAMES = {name: field for field, name in _JSON_NAMES.items()}
_OPTIONAL = ("labels", "note", "ended")  # in a line only where there is something to say


class NewerVersion(ValueError):
    """The ledger has what only a newer version of the project knows."""


@dataclass(frozen=True)
class Round:
    """What one round found: metrics of the network trained on `n_labels` labels, and what it queried next.

    `queried` are indices into the data set's training images, in the order of the acquisition function (best first);
    `scores` (in the units of the acquisition function), `true_classes` (-1: not known) and `noisy` (whether the image
    carries noise) are aligned with it. The last round queries nothing. `seconds` maps fit, evaluate, predict and
    acquire to wall-clock time. `labels` is what an oracle answered (None: no label), where one was given; without one
    the true classes are the labels. `note` says where a round was not computed quite as configured, and why. `ended` says
    why the run is finished with this round, before the last that was planned; else it is empty.
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
    note: str = ""
    ended: str = ""

    def __str__(self):
        m, s = self.metrics, sum(self.seconds.values())
        valid = f"valid {m['valid_accuracy']:6.1%}   " if "valid_accuracy" in m else ""
        return (
            f"round {self.round:3d}   {self.n_labels:6,d} labels   loss {m['train_loss']:.3f}   "
            f"{valid}test {m['test_accuracy']:6.1%}   {s:5.1f} s"
            + "".join(f"   ({said})" for said in (self.note, self.ended) if said)
        )

    @property
    def n_answered(self) -> int:
        """How many of the queried images have a label."""
        return len(self.queried) - (self.labels or []).count(None)


def without_gain(stop_after: int, metrics: Sequence[Mapping[str, float]]) -> str:
    """Why a run ends with the last of these rounds, of which the metrics are given; empty: it goes on."""
    accuracies = [round["valid_accuracy"] for round in metrics] if stop_after else []
    if len(accuracies) <= stop_after or max(accuracies[-stop_after:]) > max(accuracies[:-stop_after]):
        return ""
    return f"ended: no better validation accuracy in {stop_after} round{'s' if stop_after > 1 else ''}"


def is_over(rounds: Sequence[Round], n_rounds: int) -> bool:
    """Whether these are all rounds of a run with so many rounds of queries."""
    return len(rounds) > n_rounds or bool(rounds and rounds[-1].ended)


def line(record: dict) -> bytes:
    """A record as it stands in the file; numbers that JSON does not have are a `ValueError`."""
    return json.dumps(record, allow_nan=False).encode() + b"\n"


def round_record(round: Round) -> dict:
    record = {_JSON_NAMES.get(name, name): value for name, value in asdict(round).items()}
    return {name: value for name, value in record.items() if value or name not in _OPTIONAL}


def parsed(line: bytes) -> dict:
    """The record of a line. Raises: ValueError: it holds none."""
    try:
        record = json.loads(line, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested without end") from None
    return _of_type("the line", record, dict)


def checked_header(record: dict) -> dict:
    """A ledger's header, its configuration completed where it is older than a parameter.

    Raises:
        ValueError, TypeError: it cannot be one, or is of another version.
    """
    if record.get("version") != VERSION:
        raise ValueError(f"version {shown(record.get('version'))} is not {VERSION}")
    _only(record, ["version", "config", "data", "initial", "environment"], ["oracle", "registered"])
    if unknown := [name for name in _of_type("config", record["config"], dict) if name not in TYPES]:
        raise NewerVersion(f"the parameter {shown(unknown[0])} is not known to this version")
    config = recorded(record["config"])
    data = _of_type("data", record["data"], dict)
    for name in ("name", "label", "checksum"):
        _of_type(f"data: {name}", data.get(name), str)
    class_names = _list_of("data: classes", data.get("classes"), str)
    if not class_names:
        raise ValueError("data: there are no classes")
    initial = _indices("initial", record["initial"])
    if len(initial) != config["n_initial"]:
        raise ValueError(f"there are {len(initial)} initial labels, not n_initial={config['n_initial']}")
    for name in ("environment", "oracle", "registered"):
        _of_type(name, record.get(name, {}), dict)
    for name, digest in record.get("registered", {}).items():
        if name not in TYPES:
            raise NewerVersion(f"registered: {shown(name)} is not known to this version")
        _of_type(f"registered: {name}", digest, str)
    return record | {"config": config}


def checked_round(record: dict, header: dict, before: list[Round]) -> Round:
    """The round in a line, which must go on from the rounds `before`.

    Raises:
        ValueError, TypeError: it cannot be what such a run did.
    """
    names = [_JSON_NAMES.get(name, name) for name in Round.__dataclass_fields__]
    _only(record, [name for name in names if name not in _OPTIONAL], _OPTIONAL)
    round = Round(**{_FIELD_NAMES.get(name, name): value for name, value in record.items()})
    config, n_classes = header["config"], len(header["data"]["classes"])
    if before and before[-1].ended:
        raise ValueError(f"the run ended with round {before[-1].round}")
    if _whole("round", round.round) != len(before):
        raise ValueError(f"round {round.round} where {len(before)} should be")
    if round.round > config["n_rounds"]:
        raise ValueError(f"round {round.round} of a run with n_rounds={config['n_rounds']}")
    n_labels = config["n_initial"] + sum(r.n_answered for r in before)
    if _whole("n_labels", round.n_labels) != n_labels:
        raise ValueError(f"n_labels={round.n_labels} where the rounds before make {n_labels}")
    _check_metrics(round.metrics, has_valid=config["n_valid"] > 0)
    due = without_gain(config["stop_after"], [*(r.metrics for r in before), round.metrics])
    if _of_type("ended", round.ended, str) != (due if round.round < config["n_rounds"] else ""):
        raise ValueError(f"ended is {shown(round.ended)}, which does not follow from stop_after={config['stop_after']}")
    _check_queries(round, header, before)
    for name, least, values in (("classes", -1, round.true_classes), ("labels", 0, round.labels or [])):
        for value in values:
            if value is not None and not least <= value < n_classes:
                raise ValueError(f"{name} has {value}, but there are {n_classes} classes")
    for part, seconds in _of_type("seconds", round.seconds, dict).items():
        if _number(f"seconds: {part}", seconds) < 0:
            raise ValueError(f"seconds: {part} is {seconds}")
    _of_type("note", round.note, str)
    return round


def checked_stop(record: dict, before: list[Round]) -> str:
    """The reason in a line that says why the run cannot go on. Raises: ValueError, TypeError."""
    if set(record) != {"stopped", "round"}:
        raise ValueError("it says that the run was stopped, and other things besides")
    if record["round"] != len(before):
        raise ValueError(f"stopped in round {shown(record['round'])} after {len(before)} rounds")
    if not _of_type("stopped", record["stopped"], str):
        raise ValueError("stopped without a reason")
    return record["stopped"]


def _check_metrics(metrics, has_valid: bool) -> None:
    _of_type("metrics", metrics, dict)
    for name in METRICS:
        if name not in metrics and (has_valid or name != "valid_accuracy"):
            raise ValueError(f"metrics: {name} is missing")
    for name, value in metrics.items():
        value = _number(f"metrics: {name}", value)
        if name in _SHARES and not -1e-6 <= value <= 1 + 1e-6:
            raise ValueError(f"metrics: {name} is {value}, not between 0 and 1")


def _check_queries(round: Round, header: dict, before: list[Round]) -> None:
    config, queried = header["config"], _indices("queried", round.queried)
    n = config["n_query"] if round.round < config["n_rounds"] and not round.ended else 0
    if len(queried) != n:
        raise ValueError(f"{len(queried)} queries where there should be {n}")
    known = set(header["initial"]).union(*(r.queried for r in before))
    if again := known.intersection(queried):
        raise ValueError(f"image {min(again)} is queried, which had a label or was queried before")
    for value in _list_of("scores", round.scores, int | float):
        _number("scores", value)
    aligned: dict[str, list] = {
        "scores": round.scores,
        "classes": _list_of("classes", round.true_classes, int),
        "noisy": _list_of("noisy", round.noisy, bool),
    }
    if n and (round.labels is None) == ("oracle" in header):
        raise ValueError("there are labels but no oracle" if round.labels else "there is an oracle but no labels")
    if round.labels is not None:
        aligned["labels"] = _list_of("labels", round.labels, int | None)
    for name, values in aligned.items():
        if len(values) != n:
            raise ValueError(f"{len(values)} {name} of {n} queries")


def _only(record: dict, needed: Iterable[str], allowed: Iterable[str]) -> None:
    for name in needed:
        if name not in record:
            raise ValueError(f"{name!r} is missing")
    for name in record:
        if name not in (*needed, *allowed):
            raise NewerVersion(f"{shown(name)} is not known to this version")


def _of_type(name: str, value, kind) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool) and kind is not bool:
        raise TypeError(f"{name} is {shown(value)}")
    return value


def _list_of(name: str, values, kind) -> list:
    return [_of_type(name, value, kind) for value in _of_type(name, values, list)]


def _whole(name: str, value) -> int:
    return _of_type(name, value, int)


def _number(name: str, value) -> float:
    if not math.isfinite(_of_type(name, value, int | float)):
        raise ValueError(f"{name} is {value}")
    return value


def _indices(name: str, values) -> list[int]:
    """Different whole numbers of at least 0."""
    indices = _list_of(name, values, int)
    if any(i < 0 for i in indices):
        raise ValueError(f"{name} has {min(indices)}, which is no image")
    if len(set(indices)) < len(indices):
        raise ValueError(f"{name} has an image twice")
    return indices


def _no_number(name: str):
    raise ValueError(f"{name} is no number")
