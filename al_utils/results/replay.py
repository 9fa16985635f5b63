"""What a ledger's queries say: recomputed predictions, who queried what, and shares over the rounds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from .. import acquisition, checks
from ..compute.machine import repeatable
from ..config import ASIDE, ExperimentConfig
from ..experiment import check_data, check_rounds
from ..fitting import measure, train_model
from ..ledger import Round, check_header, find_ledgers, read_ledger
from ..problem import Problem, after, prepare_to_look
from ..querying import posterior_predictions, query, unlabelled
from ..words import dataset_label, label
from .first_picks import scores_as_first


@dataclass(frozen=True)
class Prediction:
    """What the MC samples say of one image: mean and standard deviation `[C]`, and the entropies in nats."""

    mean: Sequence[float]
    spread: Sequence[float]
    total: float
    aleatoric: float  # the mean entropy of the samples: what they agree to be unsure about
    epistemic: float  # the rest, BALD: what they disagree about


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """A ledger: its path, configuration (as a dictionary; the machine may lack its device), header and rounds."""

    path: Path
    header: dict
    rounds: list[Round]

    @property
    def config(self) -> dict:
        return self.header["config"]

    @property
    def strategy(self) -> str:
        return label(self.config["strategy"])

    @property
    def class_names(self) -> list[str]:
        return self.header["data"]["classes"]

    @property
    def title(self) -> str:
        c = self.config
        parts = [dataset_label(c["dataset"]), label(c["model"]), label(c["strategy"]), label(c["noise"]), f"seed {c['seed']}"]
        if "oracle" in self.header:
            by = self.header["oracle"].get("kind", "an oracle")
            parts.append(f"labelled by {by} ({self.path.stem.rpartition('__')[2]})")
        return ", ".join(parts)

    @property
    def tells_noisy(self) -> bool:
        """Whether the training images carry noise that is drawn once, so that it is known which of them do."""
        c = self.config
        return c["noise"] != "none" and c.get("noise_draw", "fixed") == "fixed" and c.get("noise_on") != "test"

    @property
    def asked(self) -> list[Round]:
        """The rounds that queried something."""
        return [r for r in self.rounds if r.queried]

    @cached_property
    def problem(self) -> Problem:
        """Images, split and noise. Raises: DatasetError; LedgerError if the data have changed."""
        here = self.config if self.config["device"] == "cpu" else self.config | {"device": ""}  # its GPU may be elsewhere
        made = prepare_to_look(ExperimentConfig.from_dict(here))
        check_data(self.path, self.header, made)
        check_rounds(made, self.rounds, self.path)
        return made

    def check_trainable(self) -> None:
        """Raise unless what this run was made with is registered here, unchanged: its networks can be trained again then.

        Raises:
            ValueError: strategy, network or noise is not known. LedgerError: it is another one than the ledger's.
        """
        checks.check_names_known(self.problem.config)
        registered = checks.registered_sources(self.problem.config, self.problem.dataset)
        check_header(self.path, self.header, self.header | {"registered": registered})

    def peers(self, runs: list["RecordedRun"]) -> list["RecordedRun"]:
        """Those of `runs` that differ in the strategy alone, this one included: they had the same choice.

        One of each strategy: of several people's sessions this one, or else the first.
        """

        def but_strategy(run):
            aside = dict.fromkeys(("strategy", *ASIDE))
            return run.config | aside, run.header["data"]["checksum"], _oracle(run.header)

        alike = [run for run in runs if but_strategy(run) == but_strategy(self)]
        of_strategy = {run.config["strategy"]: run for run in reversed(alike)} | {self.config["strategy"]: self}
        return [run for run in alike if run is of_strategy[run.config["strategy"]]]


def _oracle(head):
    return {"oracle": head["oracle"]} if "oracle" in head else {}


def recorded_runs(folder: str | Path) -> list[RecordedRun]:
    """The ledgers below `folder` that have a query, by name. Raises: LedgerError: a corrupted one."""
    found = [(path, *read_ledger(path)) for path in find_ledgers(folder)]
    runs = [RecordedRun(path, header, rounds) for path, header, rounds in found if header]
    return [run for run in runs if run.asked]


@dataclass(frozen=True)
class Recomputed:
    """What a round's network said of the images that it queried, and how exactly the ledger was met."""

    predictions: list[Prediction]
    same_queries: bool
    largest_difference: float  # between the recomputed and the kept scores
    as_first: list[float] | None = None  # scores had each been the first of its batch, see `first_picks`

    def __str__(self):
        if self.same_queries and self.largest_difference == 0:
            return "recomputed exactly: the same queries and scores as in the ledger, to the last bit"
        if self.same_queries:
            return (f"recomputed: the same queries, scores within {self.largest_difference:.1g} of the ledger's "
                    "(another processor or version rounds differently)")  # fmt: skip
        return "recomputed, but other images would be queried here: another processor or version rounds differently"


def recompute(run: RecordedRun, number: int) -> Recomputed:
    """Train the network of round `number` again, on the labels that the ledger had by then, and let it predict.

    All of the pool is predicted, in the same chunks as then, so that the scores can be compared to the last bit.

    Raises:
        ValueError, LedgerError: see `RecordedRun.check_trainable`.
    """
    run.check_trainable()
    now, labelled = after(run.problem, run.rounds[:number])
    kept = run.rounds[number]
    with repeatable():
        model, _ = train_model(now, number, labelled)
        queried, scores = query(now, number, model, labelled)
        pool = unlabelled(now, labelled)
        row_of = {image: row for row, image in enumerate(pool.tolist())}
        rows, found, start = torch.tensor([row_of[i] for i in kept.queried]), {}, 0
        for chunk_K_n_C in posterior_predictions(now, number, model, pool):
            here = (rows >= start) & (rows < start + chunk_K_n_C.shape[1])
            for position in here.nonzero().flatten().tolist():
                found[position] = chunk_K_n_C[:, rows[position] - start].cpu()
            start += chunk_K_n_C.shape[1]
        as_first = scores_as_first(now, number, model, labelled, kept.queried)
    log_probs_K_n_C = torch.stack([found[position] for position in range(len(rows))], dim=1)
    same = queried == kept.queried
    difference = max((abs(a - b) for a, b in zip(scores, kept.scores)), default=0.0)
    return Recomputed(summarised(log_probs_K_n_C), same, difference, as_first)


def suggestions(problem: Problem, rounds: Sequence[Round], asked: Round) -> list[Prediction]:
    """What the network of a round that is being asked takes its queries for: it is trained again, from `rounds` before it."""
    now, labelled = after(problem, [r for r in rounds if r.round < asked.round])
    with repeatable():
        model, _ = train_model(now, asked.round, labelled)
        chunks = list(posterior_predictions(now, asked.round, model, torch.tensor(asked.queried)))
    return summarised(torch.cat([chunk.cpu() for chunk in chunks], dim=1))


def with_true_labels(problem: Problem, rounds: list[Round]) -> Iterator[Round]:
    """The same queries answered by the true classes, through the same pipeline: each round's metrics with them.

    A round before the first wrong or missing label is the same and not computed again.
    """
    for number, kept in enumerate(rounds):
        truth = [replace(r, labels=None) for r in rounds[:number]]
        now, labelled = after(problem, truth)
        metrics = kept.metrics
        if any(r.labels not in (None, r.true_classes) for r in rounds[:number]):
            with repeatable():
                model, train_loss = train_model(now, number, labelled)
                metrics = {"train_loss": train_loss} | measure(now, number, model)
        yield replace(kept, n_labels=len(labelled), labels=None, metrics=metrics)


def summarised(log_probs_K_n_C: Tensor) -> list[Prediction]:
    """Mean and spread of the probabilities, and the predictive entropy = aleatoric + epistemic part, per image."""
    log_probs_K_n_C = log_probs_K_n_C.double()
    probs_K_n_C = log_probs_K_n_C.exp()
    total = acquisition.max_entropy(log_probs_K_n_C)
    aleatoric = acquisition.entropy(log_probs_K_n_C).mean(0)
    columns = (probs_K_n_C.mean(0), probs_K_n_C.std(0, correction=0), total, aleatoric, total - aleatoric)
    return [Prediction(*row) for row in zip(*(column.tolist() for column in columns))]


def queried_by(runs: list[RecordedRun], number: int) -> pd.DataFrame:
    """In which round each strategy queried an image, up to round `number`: a row per image, NaN where it did not."""
    columns = {run.config["strategy"]: {i: r.round for r in run.rounds[: number + 1] for i in r.queried} for run in runs}
    return pd.DataFrame({name: pd.Series(rounds, dtype="float64") for name, rounds in columns.items()}).sort_index()


def chosen_by(table: pd.DataFrame, who: str) -> list[int]:
    """Images of `queried_by`, first queried first: of all strategies (`who="all"`), of `"several"`, or only of one named."""
    mask, n = table.notna(), table.notna().sum(axis=1)
    chosen = table[n == table.shape[1] if who == "all" else n > 1 if who == "several" else mask[who] & (n == 1)]
    return chosen.min(axis=1).sort_values(kind="stable").index.tolist()


def share_over_rounds(runs: list[RecordedRun], flags_N: Tensor) -> pd.DataFrame:
    """Share of flagged images among all queries so far, and the central 95% of blind draws (hypergeometric).

    Args:
        flags_N: bool, one for each training image: carries noise, say, or is of one class.
    """
    pool = runs[0].problem.split.pool
    n_pool, n_flagged = len(pool), int(flags_N[pool].sum())
    rows = []
    for run in runs:
        n = hits = 0
        for r in run.asked:
            n, hits = n + len(r.queried), hits + int(flags_N[r.queried].sum())
            low, high = (bound / n for bound in stats.hypergeom.interval(0.95, n_pool, n_flagged, n))
            rows.append((run.config["strategy"], r.round, n, hits / n, low, high, n_flagged / n_pool))
    return pd.DataFrame(rows, columns=["strategy", "round", "queried", "share", "low", "high", "rate"])


def verdicts(shares: pd.DataFrame, what: str) -> list[str]:
    """One sentence for each strategy of `share_over_rounds`: more, fewer or as by chance, at the end."""
    lines = []
    for strategy, part in shares.groupby("strategy", sort=False):
        last = part.iloc[-1]
        how = "more than chance" if last.share > last.high else "fewer than chance" if last.share < last.low else "as by chance"
        lines.append(
            f"{label(str(strategy))}: {last.share:.1%} of {last.queried:,.0f} queries {what}, {how} "
            f"(the pool: {last.rate:.1%}; 95% of blind draws: {last.low:.1%} to {last.high:.1%})"
        )
    return lines
