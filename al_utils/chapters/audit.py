"""What the audit computes; `audit_figures` draws it, and `notebooks/audit/` asks the questions.

Rounds are rows of `ledger.read_ledgers`, accuracies are in points of percent.
"""

import html
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import stats

from ..config import ASIDE
from ..results.paper import DATASETS, MODELS, NOISES, table_2
from ..results.power import seeds_needed, wrong_order
from ..results.replay import RecordedRun
from ..results.statistics import mean_squares

NOT_DECIDED = "not decided"
SAID = {"holds": "hold", "does not hold": "do not hold", NOT_DECIDED: "are not decided", "not run": "are not tested"}


@dataclass(frozen=True)
class Verdict:
    """A claim of the paper, what the audit finds, and whether the claim holds, in a word or two."""

    claim: str
    finding: str
    word: str


def verdict(claim: str, finding: str, holds: bool | None, conclusion: str = "") -> Verdict:
    """`holds` is None where the evidence does not decide; `conclusion` is added where the claim does not hold."""
    if holds is None:
        return Verdict(claim, finding, NOT_DECIDED)
    return Verdict(claim, finding, "holds") if holds else Verdict(claim, f"{finding} {conclusion}".strip(), "does not hold")


def keep(verdicts: Sequence[Verdict], folder: Path) -> None:
    """Leave a notebook's verdicts beside its ledgers, for the last notebook."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(v) for v in verdicts], indent=1, ensure_ascii=False)
    (folder / "verdicts.json").write_text(text + "\n", "utf-8")


def kept(folder: Path) -> list[Verdict]:
    """The verdicts that a notebook left in `folder`; none if it has not run."""
    path = folder / "verdicts.json"
    return [Verdict(**each) for each in json.loads(path.read_text("utf-8"))] if path.exists() else []


def verdicts_html(rows: Sequence[tuple[str, Verdict]]) -> str:
    """A table of verdicts, each with the notebook that shows it, whose long sentences break; all text is escaped."""
    style = 'style="text-align: left; vertical-align: top"'
    head = "".join(f"<th {style}>{name}</th>" for name in ("claim", "what we find", "verdict", "shown in"))
    lines = []
    for shown_in, each in rows:
        cells = [html.escape(text) for text in (each.claim, each.finding, each.word, shown_in)]
        cells[2] = f"<b>{cells[2]}</b>"
        lines.append("<tr>" + "".join(f"<td {style}>{cell}</td>" for cell in cells) + "</tr>")
    return f'<table style="max-width: 62em"><tr>{head}</tr>{"".join(lines)}</table>'


def points(rounds: pd.DataFrame) -> pd.Series:
    """Test accuracy in points."""
    return 100 * rounds.test_accuracy.astype(float)


def last_batch(n: int, batch_size: int) -> int:
    """Images in the last batch of an epoch over `n` images."""
    return n % batch_size or min(n, batch_size)


def predicted_dips(n_initial: int, n_query: int, n_rounds: int, batch_size: int, most: int = 2) -> list[int]:
    """Numbers of labels in a run that leave a last batch of at most `most` images."""
    sizes = range(n_initial, n_initial + n_query * n_rounds + 1, n_query)
    return [n for n in sizes if last_batch(n, batch_size) <= most]


def falls(rounds: pd.DataFrame, sizes: Sequence[int], step: int = 10) -> pd.DataFrame:
    """How far each run with one of `sizes` labels lies below the mean of its neighbours, in points.

    Neighbours have `step` labels more and less, the same seed, and keep their last batch. Columns: n_labels, seed,
    last_batch, fall.
    """
    keys = zip(rounds.n_labels.astype(int), rounds.seed.astype(int), rounds.last_batch)
    accuracy = dict(zip(keys, points(rounds)))
    rows = []
    for (n, seed, how), value in accuracy.items():
        before, behind = (accuracy.get((m, seed, "keep"), math.nan) for m in (n - step, n + step))
        if n in sizes:
            rows.append((n, seed, how, (before + behind) / 2 - value))
    return pd.DataFrame(rows, columns=["n_labels", "seed", "last_batch", "fall"]).dropna()


def norm_percentiles(runs: Sequence[RecordedRun]) -> pd.DataFrame:
    """Where the norm of each run's queried images lies among those of all training images, as the network sees them.

    One row a run: `noise`, `strategy`, `seed`, and `percentile`, 0 to 100, mean over the queries: 50 where the norm plays no
    part. Raises: DatasetError.
    """
    rows, of_images = [], {}
    for run in runs:
        seen = json.dumps(run.config | dict.fromkeys(("strategy", *ASIDE)), sort_keys=True)  # all strategies see the same
        if seen not in of_images:
            images = run.problem.train
            norms = [images[part].flatten(1).norm(dim=1) for part in torch.arange(len(images)).split(4_096)]
            of_images[seen] = 100 * stats.rankdata(torch.cat(norms).numpy()) / len(images)
        queried = [i for round in run.rounds for i in round.queried]
        rows.append((*(run.config[name] for name in ("noise", "strategy", "seed")), of_images[seen][queried].mean()))
    return pd.DataFrame(rows, columns=["noise", "strategy", "seed", "percentile"])


def overlap(first: Sequence[int], second: Sequence[int]) -> int:
    """How many images two queries share."""
    return len(set(first) & set(second))


def mean_accuracy(rounds: pd.DataFrame) -> pd.Series:
    """Each seed's accuracy averaged over its whole learning curve, in points: the area under it."""
    return points(rounds).groupby(rounds.seed).mean()


def crossed(rounds: pd.DataFrame) -> np.ndarray:
    """Accuracy in points of runs that cross each split with each seed once: a row per split, a column per seed."""
    return rounds.assign(points=points(rounds)).pivot(index="split_seed", columns="seed", values="points").to_numpy()


def variance_parts(table_A_B: np.ndarray) -> dict[str, float]:
    """Variance (points²) by the split (rows), by the seed of everything else (columns), and by their interaction.

    Two-way random-effects analysis of variance; with one run a cell the interaction holds what is left. A component is
    not below 0.
    """
    a, b = table_A_B.shape
    of_rows, of_columns, rest = mean_squares(table_A_B)
    by_split, by_seed = max(0.0, (of_rows - rest) / b), max(0.0, (of_columns - rest) / a)
    return {"split and initial labels": by_split, "initialisation and batches": by_seed, "interaction and rest": rest}


def comparisons(deviations: Mapping[str, float], seeds: int = 3) -> pd.DataFrame:
    """Every pair of strategies in the paper's Table 2: probability of a wrong order, seeds needed, settled by `seeds`.

    `deviations` are those of one run of each network, in points; runs are independent.
    """
    rows = []
    for noise, model, dataset in itertools.product(NOISES, MODELS, DATASETS):
        for a, b in (("bald", "random"), ("max_entropy", "random"), ("bald", "max_entropy")):
            first, second = table_2(dataset, model, a, noise), table_2(dataset, model, b, noise)
            assert first is not None and second is not None
            difference = first - second
            wrong = wrong_order(difference, deviations[model], seeds, paired=False)
            needed = seeds_needed(difference, deviations[model], paired=False) if deviations[model] < math.inf else math.inf
            rows.append((noise, model, dataset, a, b, difference, wrong, needed, needed <= seeds))
    columns = ["noise", "model", "dataset", "a", "b", "difference", "wrong_order", "seeds", "settled"]
    return pd.DataFrame(rows, columns=columns)
