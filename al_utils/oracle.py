"""The oracle, who labels what is queried: true labels, or a careless annotator; a person is in `person`."""

import contextlib
import json
import operator
from typing import Protocol

import torch
from torch import Tensor

from .ledger import Round
from .options import shown
from .randomness import generator


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
