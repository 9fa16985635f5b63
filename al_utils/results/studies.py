"""Which runs may be averaged: ledgers to studies, a tidy frame each, with one row per run and round."""

import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from ..config import ASIDE, ExperimentConfig, located
from ..ledger import find_ledgers, labelled_by, read_ledger
from ..records import METRICS, is_over
from ..words import dataset_label, label, tell_apart
from . import looks, paper
from .paper import MODELS, NOISES, STRATEGIES

CELL = ["dataset", "model", "noise"]  # what a strategy is compared within
RUN = [*CELL, "strategy", "seed"]
SECONDS = ["fit", "evaluate", "predict", "acquire"]
NOT_RUN = "not run"
CONFIG = [field.name for field in fields(ExperimentConfig)]
# Everything else in a configuration must agree before runs are averaged, but for what is no part of what a run is.
STUDY = ["protocol", "scenario"]
STUDY += [name for name in CONFIG if name not in (*RUN, *STUDY, *ASIDE, "split_seed")] + ["split", "oracle"]
# The paper's first, then the other strategies by kind, then the alphabet.
ORDER = (*paper.DATASETS, *MODELS, *NOISES, *STRATEGIES, *looks.STRATEGY, "supervised", "ideal", "constrained")
MOST_LINES = 8  # beside random, that can be told apart in one figure


def read_runs(folder: str | Path) -> pd.DataFrame:
    """One row per ledger below `folder`: `path`, configuration, how far it came (`stopped`, `ended`: why no farther)."""
    found = []
    for path in find_ledgers(folder):
        header, rounds = read_ledger(path)
        if header:
            finished = is_over(rounds, header["config"]["n_rounds"])
            ended = rounds[-1].ended if rounds else ""
            done = dict(done=len(rounds), finished=finished, stopped=header.get("stopped", ""), ended=ended)
            extra = dict(
                class_names=header["data"]["classes"],
                checksum=header["data"]["checksum"],
                environment=_line(header["environment"]),
                oracle=labelled_by(header),
                registered=header.get("registered", {}),
            )
            where = dict(run=path.stem, path=path.relative_to(located(folder)).as_posix())
            found.append(where | header["config"] | done | extra)
    of_headers = ["class_names", "checksum", "environment", "oracle", "registered"]
    runs = pd.DataFrame(found, columns=["run", "path", *CONFIG, "done", "finished", "stopped", "ended", *of_headers])
    tell_apart(runs.dataset)
    return runs


def _line(environment: dict) -> str:
    return ", ".join(f"{key} {value}" for key, value in environment.items())


def by_study(rounds: pd.DataFrame, unfinished: bool = False) -> dict[str, pd.DataFrame]:
    """The finished runs of `read_ledgers` (or all), by study: runs that differ in any other option are never averaged.

    The key names protocol, scenario and whatever else differs between two studies. A run found twice counts once, with the
    ledger that came farthest. One that ended early (`stop_after`) counts with its last network in the rounds that were planned
    after it. No finished run: one empty study. The `sweep` of the rounds, where they have that column, is an option like others
    if without it runs of two sweeps would be averaged.
    """
    rounds = _with_split(_carried_on(_complete(rounds))).reset_index(drop=True)
    tell_apart(rounds.dataset)
    run = [*RUN, *STUDY, "sweep"]
    last = rounds.groupby([*run, "ledger"], dropna=False)["round"].transform("max")
    if not unfinished:
        rounds, last = rounds[last == rounds.n_rounds], last[last == rounds.n_rounds]
    farthest = rounds.assign(last=last).sort_values("last", ascending=False, kind="stable")
    rounds = rounds[rounds.ledger == farthest.groupby(run, dropna=False).ledger.transform("first").sort_index()]
    rounds = rounds.drop_duplicates([*run, "round"])
    if rounds.empty:
        return {"no finished run": rounds}
    separating = _separating(rounds)
    found = [study for _, study in rounds.groupby(separating, sort=False, dropna=False)]
    options = pd.DataFrame([study[separating].iloc[0] for study in found])
    named = [(_study_name(options.iloc[k], options), study) for k, study in enumerate(found)]
    return {name: study.reset_index(drop=True) for name, study in named}


def _complete(rounds: pd.DataFrame) -> pd.DataFrame:
    """With every column that is asked for below, also where no ledger was found."""
    needed = [*CONFIG, "round", "n_labels", *METRICS, "queried", "true_classes", "noisy", "ended"]
    complete = rounds.reindex(columns=list(dict.fromkeys([*rounds.columns, *needed])))
    return complete.assign(**{name: "" for name in ("sweep", "oracle", "ledger") if name not in complete})


def _carried_on(rounds: pd.DataFrame) -> pd.DataFrame:
    """With the rounds that a run which ended early did not need: its last accuracies, without queries and seconds."""
    ended = rounds[rounds.ended.fillna("").astype(bool)].drop(columns=[f"{part}_s" for part in SECONDS], errors="ignore")
    more = [
        row | dict(round=k, n_labels=row["n_labels"] + (k - row["round"]) * row["n_query"], ended="")
        for row in ended.to_dict("records")
        for k in range(row["round"] + 1, row["n_rounds"] + 1)
    ]
    return pd.concat([rounds, pd.DataFrame(more)], ignore_index=True) if more else rounds


def _with_split(rounds: pd.DataFrame) -> pd.DataFrame:
    """With a column `split`: each seed's `own`, one `shared` by all seeds of otherwise equal runs, or else its seed.

    One split for all seeds is one study, though seed 0 may have it as its own; a mixture of splits is not.
    """
    otherwise_equal = [rounds[name] for name in STUDY if name != "split"]
    own = (rounds.split_seed == rounds.seed).groupby(otherwise_equal, dropna=False).transform("all").astype(bool)
    shared = rounds.split_seed.groupby(otherwise_equal, dropna=False).transform("nunique") == 1
    split = rounds.split_seed.astype(str).mask(shared, "shared").mask(own, "own")
    return rounds.assign(split=split)


def _separating(rounds: pd.DataFrame) -> list[str]:
    """Options that make two studies: all that differ within a network.

    Averages never mix networks, so an option that only differs from network to network (as epochs may) makes no second
    study; networks are then not compared, see `unequal`. The sweep makes one where a mean would be of two sweeps' runs.
    """
    separating = _differing(rounds, [])
    mixed = rounds.groupby([*separating, *CELL, "strategy"], dropna=False).sweep.nunique().max() > 1
    return _differing(rounds, ["sweep"]) if mixed else separating


def _differing(rounds: pd.DataFrame, besides: list[str]) -> list[str]:
    """Protocol, scenario, what is given, and the options that differ within a network where these are the same."""
    first = ["protocol", "scenario", *besides]
    by_model = rounds.groupby([*first, "model"])
    return [*first, *(name for name in STUDY if name not in first and by_model[name].nunique(dropna=False).max() > 1)]


def _study_name(option: pd.Series, options: pd.DataFrame) -> str:
    name = f"protocol {option.protocol}, scenario {option.scenario}"
    alike = options[(options.protocol == option.protocol) & (options.scenario == option.scenario)]
    differing = [column for column in options.columns if alike[column].nunique(dropna=False) > 1]
    said = {column: "none" if option[column] == "" else option[column] for column in differing}
    return ", ".join([name, *(f"{column} {value}" for column, value in said.items())])


def brief_names(by_study: dict[str, pd.DataFrame]) -> dict[str, str]:
    """What is peculiar to each study's name, without what all have in common; of one study nothing."""
    parts = {name: name.split(", ") for name in by_study}
    common = set.intersection(*map(set, parts.values()))
    return {name: ", ".join(part for part in words if part not in common) for name, words in parts.items()}


def together(by_study: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """All studies in one frame, to be laid out side by side: columns `study`, its brief name, and `cell`."""
    brief = brief_names(by_study)
    together = pd.concat([study.assign(study=brief[name]) for name, study in by_study.items()], ignore_index=True)
    return together.assign(cell=[", ".join(names(key)) for key in each_row(together[CELL])])


def parts(study: pd.DataFrame) -> list[pd.DataFrame]:
    """The study cut by its strategies, random in each part, so that a figure of a part has lines that can be told apart."""
    others = [name for name in ordered(study.strategy) if name != "random"]
    n_parts = max(1, math.ceil(len(others) / MOST_LINES))
    size = max(1, math.ceil(len(others) / n_parts))
    return [study[study.strategy.isin(["random", *others[k * size : (k + 1) * size]])] for k in range(n_parts)]


def unequal(rounds: pd.DataFrame, column: str) -> dict[str, dict[str, list]]:
    """Options in which runs that `column` tells apart differ beside it: {option: {value of `column`: values}}.

    Where there is one, a difference between them may be its doing, so they are not compared.
    """
    found = {}
    for option in STUDY:
        values = {name: ordered(group[option].dropna()) for name, group in rounds.groupby(column)}
        if any(each != next(iter(values.values())) for each in values.values()):
            found[option] = {name: values[name] for name in ordered(values)}
    return found


def final(study: pd.DataFrame) -> pd.DataFrame:
    """The last round of every run: one row per run."""
    return study[study["round"] == study.n_rounds]


def in_shared_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in cells where every strategy has a run: strategies that are averaged over other cells differ by these."""
    return rows[rows.groupby(CELL).strategy.transform("nunique") == rows.strategy.nunique()]


def _rank(value) -> tuple:
    return (ORDER.index(value) if value in ORDER else len(ORDER), value)  # all other values of a field are of one type


def ordered(values) -> list:
    """The distinct values: those of the paper in its order, the project's strategies by kind, then the alphabet."""
    return sorted(set(values), key=_rank)


def groups(frame: pd.DataFrame | pd.Series, keys: list[str]) -> list[tuple[tuple, Any]]:
    """`frame.groupby(keys)` in the paper's order."""
    return sorted(frame.groupby(keys), key=lambda item: [_rank(value) for value in item[0]])


def each_row(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows, whose fields are read by name."""
    return frame.itertuples(index=False)


def names(key: tuple) -> tuple:
    """(data set, network, …) as they are written."""
    return (dataset_label(key[0]), *map(label, key[1:]))
