"""Ledgers that say what a test wants, and what is read from them."""

from dataclasses import replace

from al_utils.config import ExperimentConfig
from al_utils.ledger import Ledger, Round, read_ledgers
from al_utils.records import METRICS
from al_utils.results import studies

DIGITS = [str(digit) for digit in range(10)]


def a_header(**config) -> dict:
    """A ledger's header without data behind it: the initial labels are the first images."""
    c = ExperimentConfig.from_dict(dict(protocol="tuned", device="cpu") | config)
    data = {"name": c.dataset, "label": "", "checksum": "0", "classes": DIGITS}
    environment = {"torch": "1", "python": "3.11", "processor": "a <fast> one"}
    return {"config": c.to_dict(), "data": data, "initial": list(range(c.n_initial)), "environment": environment}


def a_round(number: int, header: dict, accuracy: float = 0.5, **changes) -> Round:
    """The round of such a ledger: each queries the next images."""
    c = header["config"]
    n_labels = c["n_initial"] + number * c["n_query"]
    n = c["n_query"] if number < c["n_rounds"] else 0
    asked = dict(
        queried=list(range(n_labels, n_labels + n)), scores=[0.5] * n, true_classes=[number % 10] * n, noisy=[False] * n
    )
    return Round(number, n_labels, dict.fromkeys(METRICS, accuracy), **(asked | {"seconds": {"fit": 1.0}} | changes))


def write_rounds(path, rounds, header):
    """A ledger of these rounds, or what it lacks of them."""
    with Ledger(path, header) as ledger:
        for round in rounds[len(ledger.rounds) :]:
            ledger.append(round)
    return path


PLAN = dict(n_initial=10, n_query=2, n_rounds=4)
HEADER = a_header(**PLAN)
ROUNDS = [a_round(number, HEADER) for number in range(5)]


def write(folder, accuracies, stop=None, classes=(), noisy=(), seconds=None, head=None, skips=0, name="", **config):
    """A ledger with these test accuracies, one per round; every round queries images of `classes`, `noisy` or not.

    `head` replaces parts of the header; with an `oracle` in it, that gives no label to the first `skips` of a round's images.
    """
    plan = dict(n_initial=100, n_query=len(classes) or 10, n_rounds=len(accuracies) - 1)
    header = a_header(**(plan | config)) | (head or {})
    rounds = []
    for k, accuracy in list(enumerate(accuracies))[:stop]:
        one = a_round(k, header, accuracy, seconds=seconds or dict(fit=1.0, evaluate=0.5))
        one = replace(one, n_labels=one.n_labels - k * skips)
        if one.queried:
            one = replace(one, true_classes=list(classes or one.true_classes), noisy=list(noisy or one.noisy))
            if "oracle" in header:
                one = replace(one, labels=[None] * skips + one.true_classes[skips:])
        rounds.append(one)
    return write_rounds(folder / f"{name or ExperimentConfig.from_dict(header['config']).name}.jsonl", rounds, header)


def study(folder):
    (only,) = studies.by_study(read_ledgers(folder)).values()
    return only


def said(answer, folder):
    return " ".join(answer(study(folder)))


def cell(table, noise, model, dataset, strategy):
    return table.loc[(noise, model), (dataset, strategy)]
