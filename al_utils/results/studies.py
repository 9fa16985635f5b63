"""Which runs may be averaged: ledgers to studies, a tidy frame each, with one row per run and round."""

from dataclasses import fields
from pathlib import Path

import pandas as pd

from ..config import ExperimentConfig
from ..ledger import find_ledgers, read_ledger
from ..words import dataset_label, label
from . import paper
from .paper import MODELS, NOISES, STRATEGIES

CELL = ["dataset", "model", "noise"]  # what a strategy is compared within
RUN = [*CELL, "strategy", "seed"]
METRICS = ["train_loss", "valid_accuracy", "test_accuracy", "test_accuracy_clean", "test_nll", "test_ece"]
SECONDS = ["fit", "evaluate", "predict", "acquire"]
NOT_RUN = "not run"
CONFIG = [field.name for field in fields(ExperimentConfig)]
# Everything else in a configuration must agree before runs are averaged. The device is no part of what is measured.
STUDY = ["protocol", "scenario"]
STUDY += [name for name in CONFIG if name not in (*RUN, *STUDY, "device", "split_seed")] + ["split"]
ORDER = (*paper.DATASETS, *MODELS, *NOISES, *STRATEGIES, "supervised", "ideal", "constrained")  # then the alphabet


def read_runs(folder: str | Path) -> pd.DataFrame:
    """One row per ledger below `folder`: its configuration, how far it came (`stopped`: why it ends), `environment`."""
    rows = []
    for path in find_ledgers(folder):
        header, rounds = read_ledger(path)
        if header:
            finished = len(rounds) == header["config"]["n_rounds"] + 1
            done = dict(done=len(rounds), finished=finished, stopped=header.get("stopped", ""))
            extra = dict(class_names=header["data"]["classes"], environment=_line(header["environment"]))
            rows.append({"run": path.stem} | header["config"] | done | extra)
    return pd.DataFrame(rows, columns=["run", *CONFIG, "done", "finished", "stopped", "class_names", "environment"])


def _line(environment: dict) -> str:
    return ", ".join(f"{key} {value}" for key, value in environment.items())


def by_study(rounds: pd.DataFrame, unfinished: bool = False) -> dict[str, pd.DataFrame]:
    """The finished runs of `read_ledgers` (or all), by study: runs that differ in any other option are never averaged.

    The key names protocol, scenario and whatever else differs between two studies. A run found twice counts once. No
    finished run: one empty study.
    """
    rounds = _with_split(rounds)
    if not unfinished:
        runs = rounds.groupby([*RUN, *STUDY], dropna=False)["round"]
        rounds = rounds[runs.transform("max") == rounds.n_rounds]
    finished = rounds.drop_duplicates([*RUN, *STUDY, "round"])
    if finished.empty:
        return {"no finished run": finished}
    # Averages never mix networks: an option that only differs from network to network (as epochs may) does not separate.
    by_model = finished.groupby(["protocol", "scenario", "model"])
    separating = ["protocol", "scenario", *(s for s in STUDY[2:] if by_model[s].nunique(dropna=False).max() > 1)]
    found = [group for _, group in finished.groupby(separating, sort=False, dropna=False)]
    options = pd.DataFrame([group[separating].iloc[0] for group in found])
    names = [_study_name(option, options) for _, option in options.iterrows()]
    return {name: group.reset_index(drop=True) for name, group in zip(names, found)}


def _with_split(rounds: pd.DataFrame) -> pd.DataFrame:
    rounds = rounds.reindex(columns=list(dict.fromkeys([*rounds.columns, *CONFIG, "round", "n_labels", *METRICS,
                                                        "queried", "true_classes", "noisy"])))  # fmt: skip
    own = rounds.split_seed == rounds.seed
    alike = [rounds[name] for name in STUDY[:-1]]
    all_own = own.groupby(alike, dropna=False).transform("all").astype(bool)
    one = rounds.split_seed.groupby(alike, dropna=False).transform("nunique") == 1
    # One split for all seeds is one study, though seed 0 may have it as its own; a mixture is not.
    return rounds.assign(split=rounds.split_seed.astype(str).mask(one, "shared").mask(all_own, "own"))


def _study_name(option: pd.Series, options: pd.DataFrame) -> str:
    name = f"protocol {option.protocol}, scenario {option.scenario}"
    alike = options[(options.protocol == option.protocol) & (options.scenario == option.scenario)]
    differing = [column for column in options if alike[column].nunique(dropna=False) > 1]
    return ", ".join([name, *(f"{column} {option[column]}" for column in differing)])


def final(study: pd.DataFrame) -> pd.DataFrame:
    """The last round of every run: one row per run."""
    return study[study["round"] == study.n_rounds]


def _rank(value) -> tuple:
    return (ORDER.index(value) if value in ORDER else len(ORDER), value)


def ordered(values) -> list:
    """The distinct values: those of the paper in its order, then the others by the alphabet."""
    return sorted(set(values), key=_rank)


def groups(frame: pd.DataFrame, keys: list[str]) -> list[tuple[tuple, pd.DataFrame]]:
    """`frame.groupby(keys)` in the paper's order."""
    return sorted(frame.groupby(keys), key=lambda item: [_rank(value) for value in item[0]])


def names(key: tuple) -> tuple:
    """(data set, network, …) as they are written."""
    return (dataset_label(key[0]), *map(label, key[1:]))
