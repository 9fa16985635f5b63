"""The oracle: who labels what the strategy queries. True labels, a careless annotator, or a person."""

import contextlib
import json
import operator
import os
import threading
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from .ledger import LedgerError, Round
from .options import shown
from .randomness import generator

SKIP, UNRECOGNISABLE = "skip", "unrecognisable"  # answers that give no label


class Oracle(Protocol):
    """Anything that answers queries.

    `description` goes into the header of the ledger: one of another oracle is refused. `answer` gets a round as it
    will stand in the ledger and returns one class per image in `round.queried`, or None for an image without a label;
    that image leaves the pool all the same. It must give the same answer when a killed run asks again.
    """

    description: dict

    def answer(self, round: Round, seed: int) -> list[int | None]: ...


class TrueLabels:
    """Never wrong: what `run_experiment` does without an oracle."""

    description = {"kind": "true labels"}

    def answer(self, round: Round, seed: int) -> list[int | None]:
        return list(round.true_classes)


class NoisyOracle:
    """Answers class j for an image of class i with probability `confusion_C_C[i, j]`.

    Raises:
        ValueError: not a square matrix of probabilities, each row of which sums to 1.
    """

    def __init__(self, confusion_C_C):
        self.confusion_C_C = torch.as_tensor(confusion_C_C, dtype=torch.float64)
        shape = tuple(self.confusion_C_C.shape)
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"the confusion has shape {shape}, but must be [C, C]: a row for each true class.")
        sums = self.confusion_C_C.sum(1)
        if not bool((self.confusion_C_C >= 0).all()) or not torch.allclose(sums, torch.ones_like(sums)):
            raise ValueError(f"each row of the confusion must be probabilities that sum to 1; the sums are {sums.tolist()}.")
        self.description = {"kind": "noisy", "confusion": self.confusion_C_C.tolist()}

    @classmethod
    def uniform(cls, n_classes: int, error_rate: float) -> "NoisyOracle":
        """Wrong with probability `error_rate`, then any other class alike."""
        confusion = torch.full((n_classes, n_classes), error_rate / (n_classes - 1), dtype=torch.float64)
        return cls(confusion.fill_diagonal_(1 - error_rate))

    def answer(self, round: Round, seed: int) -> list[int | None]:
        C = len(self.confusion_C_C)
        if not all(0 <= c < C for c in round.true_classes):
            raise ValueError(
                f"the confusion is of classes 0 to {C - 1}, but the queries are of classes {sorted(set(round.true_classes))}."
            )
        rows: Tensor = self.confusion_C_C[round.true_classes]
        return torch.multinomial(rows, 1, generator=generator(seed, "oracle", round.round)).flatten().tolist()


class Stopped(RuntimeError):
    """The person wants no more; what was answered is kept."""


class Person:
    """A person, who answers image by image through `give`, `undo` and `submit`; every answer is on disk at once.

    `answer` waits, so the experiment belongs in a thread beside the one that calls the others. The answers file has
    one JSON line per step (`round`, `image`, `answer`: a class, "skip", "unrecognisable" or null to take it back,
    `seconds`), so that a session that ended anyhow goes on where it was.

    Args:
        changed: called after every step, and when a round begins.
        enough: from a round's answers to whether it may be submitted; by default when no image is left.
    """

    description = {"kind": "person"}

    def __init__(self, path: str | Path, changed=lambda: None, enough=None):
        self.path, self._changed, self._enough = Path(path), changed, enough
        self.round, self._submitted, self._stopped = None, False, False
        self._wake = threading.Condition()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        os.truncate(self.path, self.path.read_bytes().rfind(b"\n") + 1)  # a torn last line goes
        try:
            self.steps = [json.loads(line) for line in self.path.read_bytes().splitlines()]
        except ValueError as error:
            raise LedgerError(f"{self.path} is corrupted ({error}): restore it from a backup, or delete it.") from None

    def answer(self, round: Round, seed: int) -> list[int | None]:
        """Wait until every image of the round is answered and submitted. Raises: Stopped."""
        with self._wake:
            self.round, self._submitted = round, False
        self._changed()
        with self._wake:
            self._wake.wait_for(lambda: self._submitted or self._stopped)
            self.round = None
            if not self._submitted:
                raise Stopped("stopped by the person")
        answers = self.answers(round.round)
        given = [answers[i]["answer"] if i in answers else None for i in round.queried]
        return [answer if isinstance(answer, int) else None for answer in given]

    def answers(self, number: int) -> dict[int, dict]:
        """The steps of round `number` that hold, by image, in the order in which they were given."""
        held = {}
        for step in (step for step in self.steps if step["round"] == number):
            held.pop(step["image"], None)
            if step["answer"] is not None:
                held[step["image"]] = step
        return held

    def pending(self) -> list[int]:
        """The images of the current round without an answer, in the order of the queries."""
        if self.round is None:
            return []
        answers = self.answers(self.round.round)
        return [image for image in self.round.queried if image not in answers]

    def ready(self) -> bool:
        if self.round is None:
            return False
        return self._enough(self.answers(self.round.round)) if self._enough else not self.pending()

    def give(self, image: int, answer: int | str, seconds: float) -> None:
        """Answer `image`; another than the next pending one is passed over, so a key pressed twice labels nothing unseen."""
        with self._wake:
            if self.pending()[:1] == [image]:
                self._write(image, answer, seconds)
        self._changed()

    def undo(self) -> None:
        """Take back the last answer of the current round, if there is one."""
        with self._wake:
            if self.round is not None and (answers := self.answers(self.round.round)) and not self._submitted:
                self._write(list(answers)[-1], None, 0.0)
        self._changed()

    def submit(self) -> None:
        """Hand in the round's answers, if they are enough: from now on they stand in the ledger."""
        with self._wake:
            self._submitted = self.ready()
            if self._submitted:
                self.round = None
            self._wake.notify_all()

    def stop(self) -> None:
        """Make `answer` raise `Stopped`, now or when it is next called."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()

    def _write(self, image, answer, seconds):
        step = {"round": self.round.round, "image": image, "answer": answer, "seconds": round(seconds, 3)}
        with open(self.path, "ab") as file:
            file.write(json.dumps(step).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.steps.append(step)


def checked_answers(answers, round: Round, n_classes: int) -> list[int | None]:
    """What an oracle answered, in a list, a tuple, an array or a tensor, as plain integers and None.

    Raises:
        ValueError: it is not one class of `n_classes`, or None, for each queried image.
    """
    n = len(round.queried)
    if isinstance(answers, str | bytes | dict | set) or not hasattr(answers, "__len__") or not hasattr(answers, "__iter__"):
        raise ValueError(f"the oracle answered with {shown(answers)}; allowed: a list of {n} classes or None, one a query.")
    given = answers.tolist() if hasattr(answers, "tolist") else list(answers)
    if not isinstance(given, list) or len(given) != n:
        n_given = len(given) if isinstance(given, list) else "no list of"
        raise ValueError(f"the oracle gave {n_given} answers to {n} queries of round {round.round}: one a query is needed.")
    return [_class(answer, n_classes) for answer in given]


def _class(answer, n_classes: int) -> int | None:
    if answer is None:
        return None
    if not isinstance(answer, bool) and hasattr(answer, "__index__"):
        with contextlib.suppress(TypeError):  # a tensor of floats, say
            if 0 <= (number := operator.index(answer)) < n_classes:
                return number
    raise ValueError(f"the oracle answered {shown(answer)}; allowed: None, or a class from 0 to {n_classes - 1}.")


def described(oracle: Oracle) -> dict:
    """What goes into the ledger's header about an oracle. Raises: TypeError: it says nothing that JSON can hold."""
    description = getattr(oracle, "description", None)
    if not isinstance(description, dict) or not description or not callable(getattr(oracle, "answer", None)):
        raise TypeError(
            f"oracle={shown(oracle)} needs a method answer(round, seed) and a description, a dictionary such as "
            '{"kind": "mine"} that goes into the header of the ledger.'
        )
    try:
        return json.loads(json.dumps(description, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(f"the description of the oracle, {shown(description)}, must be what JSON can hold: {error}.") from None
