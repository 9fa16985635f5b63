"""From runs to tables: pure functions of one study (see `studies`), a tidy frame with one row per run and round."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ..config import OPTIONS
from ..words import and_list, dataset_label, label
from . import curves
from .studies import CELL, NOT_RUN, SECONDS, STUDY, each_row, final, groups, names, ordered


def overview(runs: pd.DataFrame) -> pd.DataFrame:
    """What was run, from `read_runs`: one row per topic, one column of plain text."""
    unfinished = runs[~runs.finished.astype(bool)]
    stopped = [f"{r.run} ({r.stopped or f'after {r.done} of {r.n_rounds + 1} trainings'})" for r in each_row(unfinished)]
    ended = int(runs.ended.fillna("").astype(bool).sum())
    early = f"; {ended} ended early, which count with their last accuracy from there on" if ended else ""
    plans = runs.drop_duplicates(["n_initial", "n_query", "n_rounds"])
    rest = [
        name for name in STUDY if name in OPTIONS and name not in ("protocol", "scenario", "n_initial", "n_query", "n_rounds")
    ]
    varied = [name for name in rest if runs[name].nunique() > 1]
    rows = {
        "Runs": f"{len(runs) - len(unfinished)} finished, {len(unfinished)} unfinished" + _more(stopped) + early,
        "Protocol": and_list(runs.protocol.unique()),
        "Scenario": and_list(runs.scenario.unique()),
        "Data sets": and_list([dataset_label(d) for d in ordered(runs.dataset)]),
        "Networks": and_list([label(m) for m in ordered(runs.model)]),
        "Strategies": and_list([label(s) for s in ordered(runs.strategy)]),
        "Noise": and_list([label(n) for n in ordered(runs.noise)]),
        "Seeds": and_list(sorted(runs.seed.unique())),
        "Rounds": "; ".join(map(_plan, each_row(plans))),
        "Also varied": "; ".join(f"{OPTIONS[v].words}: {and_list(map(OPTIONS[v].say, ordered(runs[v])))}" for v in varied),
        "Environment": "; ".join(f"{line} ({n} runs)" for line, n in runs.environment.value_counts().items()),
    }
    if "sweep" in runs:
        rows = {"Sweeps": and_list([f"{sweep} ({n} runs)" for sweep, n in runs.sweep.value_counts(sort=False).items()])} | rows
    return pd.DataFrame({"": {topic: text or "none" for topic, text in rows.items()}})


def _more(names: list[str], most: int = 5) -> str:
    return f": {', '.join(names[:most])}{' and others' if len(names) > most else ''}" if names else ""


def _plan(r: Any) -> str:
    if not r.n_rounds:
        return f"none, {r.n_initial:,} labels at once"
    return f"{r.n_rounds} of {r.n_query:,} queries, from {r.n_initial:,} to {r.n_initial + r.n_rounds * r.n_query:,} labels"


def mean_se(values, unit: str = "%", digits: int = 1) -> str:
    """`96.2 ± 0.3% (3)`: mean, standard error and number of seeds; of one seed `96.2% (n=1)`; of none `not run`."""
    n = len(values)
    if n == 0:
        return NOT_RUN
    mean = sum(values) / n
    if n == 1:
        return f"{mean:,.{digits}f}{unit} (n=1)"
    return f"{mean:,.{digits}f} ± {stats.sem(values):,.{digits}f}{unit} ({n})"


def labels_phrase(last: pd.DataFrame) -> str:
    """Numbers of labels at the end: `400`; where networks differ `400 (LeNet), 200 (ResNet-18)`."""
    by_model = {model: ordered(part.n_labels) for (model,), part in groups(last, ["model"])}
    numbers = {model: and_list([f"{n:,.0f}" for n in labels]) for model, labels in by_model.items()}
    if len(set(numbers.values())) == 1:
        return next(iter(numbers.values()))
    return ", ".join(f"{text} ({label(model)})" for model, text in numbers.items())


def final_accuracy(everything: pd.DataFrame) -> pd.DataFrame:
    """Final test accuracy of whatever was run (`studies.together`): a row per cell and study with its number of labels."""
    last = final(everything)
    cells = {}
    for key, rows in groups(last, [*CELL, "study"]):
        place = (*names(key[:3]), key[3], labels_phrase(rows))
        for strategy in ordered(last.strategy):
            cells[place, label(strategy)] = mean_se(100 * pick(rows, strategy=strategy))
    table = text_table(cells, ["data set", "network", "noise", "what varies", "labels"], [""])
    return table if last.study.nunique() > 1 or table.empty else table.droplevel("what varies")


def calibration(everything: pd.DataFrame) -> pd.DataFrame:
    """Final negative log-likelihood (nats) and expected calibration error on the test images: a row per cell and study."""
    last, cells = final(everything), {}
    for key, rows in groups(last, [*CELL, "study"]):
        place = (*names(key[:3]), key[3], labels_phrase(rows))
        for measure, head in (("test_nll", "NLL (nats)"), ("test_ece", "ECE")):
            for strategy in ordered(last.strategy):
                values = pick_rows(rows, strategy=strategy).drop_duplicates("seed")[measure].dropna()
                cells[place, (head, label(strategy))] = mean_se(values, unit="", digits=3)
    table = text_table(cells, ["data set", "network", "noise", "what varies", "labels"], ["", "strategy"])
    return table if last.study.nunique() > 1 or table.empty else table.droplevel("what varies")


TARGETS = (0.5, 0.8, 0.9, 0.95)  # of test accuracy


def labels_needed(study: pd.DataFrame, targets: Sequence[float] = TARGETS) -> pd.DataFrame:
    """Labels at the first round whose test accuracy is at least each target: the median over seeds (Kaplan and Meier).

    Only the targets that some run reaches, or the first of them.
    """
    reached = [target for target in targets if (100 * study.test_accuracy.astype(float) >= 100 * target - curves.CLOSE).any()]
    cells = {}
    for cell, of_cell in groups(study, CELL):
        for target in reached or targets[:1]:
            for strategy in ordered(study.strategy):
                runs = of_cell[of_cell.strategy == strategy]
                cells[names(cell), (f"{target:.0%}", label(strategy))] = _needed(runs, 100 * target)
    return text_table(cells, ["data set", "network", "noise"], ["test accuracy", "strategy"])


def _needed(runs: pd.DataFrame, target: float) -> str:
    """`120 (3)`; where not all seeds arrived, how many did; `more than 400` where the median did not."""
    if runs.empty:
        return NOT_RUN
    first, last = curves.first_at(curves.wide(runs), target), runs.n_labels.max()
    arrived, n = int(np.isfinite(first).sum()), len(first)
    if not arrived:
        return f"not reached ({n})"
    median = curves.median_labels(first, [last] * n)
    text = f"more than {last:,.0f}" if math.isinf(median) else f"{median:,.0f}"
    return f"{text} ({n})" + (f"\n{arrived} of {n} arrived" if arrived < n else "")


def seconds_per_round(study: pd.DataFrame) -> pd.DataFrame:
    """Mean seconds of a round, in parts and `total`, over all noises and seeds.

    The last round, which queries nothing, counts only where there is no other.
    """
    rounds = study[(study.queried.map(len) > 0) | (study.n_rounds == 0)]
    parts = rounds.reindex(columns=[f"{part}_s" for part in SECONDS]).fillna(0.0).set_axis(SECONDS, axis=1)
    table = rounds[["dataset", "model", "strategy"]].join(parts.assign(total=parts.sum(axis=1)))
    means = [(*key, len(g), *g[[*SECONDS, "total"]].mean()) for key, g in groups(table, ["dataset", "model", "strategy"])]
    return pd.DataFrame(means, columns=["dataset", "model", "strategy", "rounds", *SECONDS, "total"])


def seconds_table(spent: pd.DataFrame) -> pd.DataFrame:
    """`seconds_per_round` as text."""
    table = {
        names((r.dataset, r.model, r.strategy)): {part: f"{getattr(r, part):.2f}" for part in (*SECONDS, "total")}
        for r in each_row(spent)
    }
    return from_rows(table, ["data set", "network", "strategy"])


def from_rows(table: dict, names: list[str]) -> pd.DataFrame:
    """A table from {row key: {column: text}}."""
    frame = pd.DataFrame.from_dict(table, orient="index")
    return frame.set_axis(pd.MultiIndex.from_tuples(table, names=names)) if table else frame


def pick_rows(frame: pd.DataFrame, **where) -> pd.DataFrame:
    """The rows with these values."""
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return frame


def pick(last: pd.DataFrame, **where) -> pd.Series:
    """Test accuracy (0 to 1) of the runs with these values, one a seed."""
    # Supervised runs of different strategies are the same run: a seed counts once.
    return pick_rows(last, **where).drop_duplicates("seed").test_accuracy.astype(float)


def text_table(cells: dict, rows: list[str], columns: list[str]) -> pd.DataFrame:
    """A table from {(row key, column key): text}, in the order of the keys."""
    index = list(dict.fromkeys(row for row, _ in cells))
    heads = list(dict.fromkeys(column for _, column in cells))
    if not index:
        return pd.DataFrame()
    body = [[cells.get((row, column), NOT_RUN) for column in heads] for row in index]
    levels = isinstance(heads[0], tuple)
    above = pd.MultiIndex.from_tuples(heads, names=columns) if levels else pd.Index(heads)
    return pd.DataFrame(body, pd.MultiIndex.from_tuples(index, names=rows), above)
