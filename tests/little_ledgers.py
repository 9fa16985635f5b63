"""Ledgers that say what a test wants, and what is read from them."""

from al_utils.config import ExperimentConfig
from al_utils.ledger import Ledger, Round, read_ledgers
from al_utils.results import studies

DIGITS = [str(digit) for digit in range(10)]


def write(folder, accuracies, stop=None, classes=(), noisy=(), seconds=None, head=None, skips=0, name="", **config):
    """A ledger with these test accuracies, one per round; every round queries images of `classes`, `noisy` or not.

    `head` replaces parts of the header; with an `oracle` in it, that gives no label to the first `skips` of a round's images.
    """
    n_query = len(classes) or 10
    plan = dict(n_initial=100, n_query=n_query, n_rounds=len(accuracies) - 1)
    c = ExperimentConfig.from_dict(dict(protocol="tuned", device="cpu") | plan | config)
    header = dict(
        config=c.to_dict(), initial=list(range(c.n_initial)), environment=dict(python="3.11", processor="a <fast> one"),
        data=dict(name=c.dataset, label="", checksum="0", classes=DIGITS),
    ) | (head or {})  # fmt: skip
    with Ledger(folder / f"{name or c.name}.jsonl", header) as ledger:
        n_labels = c.n_initial
        for k, accuracy in list(enumerate(accuracies))[:stop]:
            n = c.n_query if k < c.n_rounds else 0
            metrics = dict.fromkeys(studies.METRICS, accuracy)
            picked = dict(true_classes=list(classes or [k % 10] * n)[:n], noisy=list(noisy or [False] * n)[:n])
            if n and "oracle" in header:
                picked["labels"] = [None] * skips + picked["true_classes"][skips:]
            spent = seconds or dict(fit=1.0, evaluate=0.5)
            first = c.n_initial + k * c.n_query
            ledger.append(Round(k, n_labels, metrics, list(range(first, first + n)), [0.0] * n, **picked, seconds=spent))
            n_labels += n - skips


def study(folder):
    (only,) = studies.by_study(read_ledgers(folder)).values()
    return only


def said(answer, folder):
    return " ".join(answer(study(folder)))


def cell(table, noise, model, dataset, strategy):
    return table.loc[(noise, model), (dataset, strategy)]
