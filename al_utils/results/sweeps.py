"""The folders of ledgers that a report is about: one sweep, or several beside each other."""

import os
from pathlib import Path

import pandas as pd

from ..config import located
from ..ledger import read_ledgers
from ..words import and_list, dataset_label, ends
from . import record, studies


def folders(ledgers: str) -> dict[str, Path]:
    """The folders in a text with commas between, by what tells them apart: their names, with those above where they are alike.

    Raises:
        FileNotFoundError: one of them is no folder. ValueError: none is named, or runs would count twice.
    """
    whole = located(ledgers)
    named = [ledgers] if ledgers.strip() and whole.is_dir() else [part.strip() for part in ledgers.split(",") if part.strip()]
    if not named:
        raise ValueError(f"ledgers={ledgers!r} names no folder. Give one with ledgers in it, or several with commas between.")
    for name in named:
        if not located(name).is_dir():
            raise FileNotFoundError(f"ledgers={name!r} is no folder. Ledgers are made by a sweep: ./run_all.sh quick")
    paths = [located(name).resolve() for name in named]
    for i, path in enumerate(paths):
        if around := [named[j] for j, other in enumerate(paths) if j != i and path.is_relative_to(other)]:
            raise ValueError(
                f"ledgers: {named[i]!r} lies in {around[0]!r}, so its runs would count twice. Name each folder once."
            )
    return dict(zip(ends(paths), paths))


def read_runs(sweeps: dict[str, Path], page: Path) -> pd.DataFrame:
    """`studies.read_runs` of all folders, `path` as seen from the folder `page`; of several `sweep`, and `run` begins with it.

    Raises:
        ValueError: a data set, or a strategy or network of one's own, is not the same in all runs.
    """
    found = []
    for sweep, folder in sweeps.items():
        runs = studies.read_runs(folder)
        runs["path"] = [Path(os.path.relpath(folder / path, page)).as_posix() for path in runs.path]
        found.append(runs.assign(sweep=sweep, run=f"{sweep}/" + runs.run) if len(sweeps) > 1 else runs)
    together = pd.concat(found, ignore_index=True)
    _check_made_of_the_same(together)
    return together


def _check_made_of_the_same(runs: pd.DataFrame) -> None:
    """Raise a `ValueError` where runs that would be averaged saw other images, or another source of what was registered."""
    first: dict[str, tuple[str, dict]] = {}
    for run in runs.to_dict("records"):
        parts = {f"the images of {dataset_label(run['dataset'])} are": run["checksum"]}
        parts |= {f"the source of {name}={run[name]!r} is": digest for name, digest in run["registered"].items()}
        for part, version in parts.items():
            known, other = first.setdefault(part, (version, run))
            if known != version:
                both = [other["run"], run["run"]]
                if "sweep" in run and other["sweep"] != run["sweep"]:
                    both = [other["sweep"], run["sweep"]]
                raise ValueError(
                    f"{part} not the same in {and_list(both)}, so they do not belong on one page: leave one of them out."
                )


def read_rounds(sweeps: dict[str, Path]) -> pd.DataFrame:
    """`ledger.read_ledgers` of all folders; of several with a column `sweep`, which `studies.by_study` knows."""
    if len(sweeps) == 1:
        return read_ledgers(*sweeps.values())
    return pd.concat([read_ledgers(folder).assign(sweep=sweep) for sweep, folder in sweeps.items()], ignore_index=True)


def marks(sweeps: dict[str, Path]) -> str:
    """`record.ledgers_mark` of each folder, under its name where there are several."""
    found = {sweep: record.ledgers_mark(folder) for sweep, folder in sweeps.items()}
    return "; ".join(f"{sweep}: {mark}" for sweep, mark in found.items()) if len(found) > 1 else next(iter(found.values()))
