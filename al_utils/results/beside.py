"""Our runs beside the paper's numbers: its tables filled with ours, and how we depart from it."""

from collections import Counter

import numpy as np
import pandas as pd

from ..words import and_list, dataset_label, label
from . import paper, phrases
from .paper import MODELS, NOISES, STRATEGIES
from .statistics import interval
from .studies import CELL, NOT_RUN, RUN, STUDY, final, groups, names, ordered
from .tables import labels_phrase, mean_se, pick, pick_rows, text_table


def of_the_papers_kind(by_study: dict[str, pd.DataFrame]) -> bool:
    """Whether the runs ask the paper's questions: its own protocol, or its networks and strategies under one recipe.

    A sweep over anything else gets a report about itself, without the paper's tables.
    """
    everything = pd.concat(by_study.values())
    if not any(paper.published_dataset(dataset) for dataset in everything.dataset.unique()):
        return False
    if set(everything.protocol) & {"paper", "as_released"}:
        return True
    recipes = {(study.protocol.iloc[0], study.scenario.iloc[0]) for study in by_study.values()}
    covered = set(MODELS) <= set(everything.model) and set(STRATEGIES) <= set(everything.strategy)
    return covered and len(recipes) == len(by_study)


def departures(runs: pd.DataFrame) -> list[str]:
    """How the runs of `read_runs` depart from the paper, one plain phrase each."""
    count = Counter(phrase for run in runs.to_dict("records") for phrase in phrases.departures(run))
    found = [phrase + (f" ({n} of {len(runs)} runs)" if n < len(runs) else "") for phrase, n in count.items()]
    return [*found, *stand_ins(runs.dataset)] or ["in nothing that the configuration fixes" if len(runs) else NOT_RUN]


def stand_ins(datasets) -> list[str]:
    """For every data set that is not the paper's own: what it is compared with."""
    theirs = {d: paper.published_dataset(d) for d in ordered(datasets) if d not in paper.DATASETS}
    return [
        f"{dataset_label(d)} is compared with the paper's {label(p)}" if p else f"{dataset_label(d)} is not in the paper"
        for d, p in theirs.items()
    ]


def contradictions() -> list[str]:
    """Where the paper's two tables print different accuracies of the same runs, a sentence each."""
    return [
        f"The paper's two tables disagree on {label(model)} with {label(strategy)} on MNIST without noise: Table 2 prints "
        f'{first:.2f}%, "Figure 3" an error of {100 - second:.2f}%, which is an accuracy of {second:.2f}%. '
        f"The other cells that they share agree within 0.1 points."
        for model, strategy, first, second in paper.contradictions()
    ]


def table_2(study: pd.DataFrame) -> pd.DataFrame:
    """Final test accuracy (images as configured): noise × network by data set × strategy, the paper's number below.

    The paper's rows and columns, and after them every network, noise, data set and strategy that it does not have.
    """
    last = final(study)
    compare = study.empty or study.scenario.iloc[0] == "constrained"
    datasets = list(dict.fromkeys([*ordered(last.dataset), *paper.DATASETS]))
    cells = {}
    for dataset in datasets:
        for strategy in ordered([*last.strategy, *STRATEGIES]):
            for noise in ordered([*last.noise, *NOISES]):
                for model in ordered([*last.model, *MODELS]):
                    ours = mean_se(100 * pick(last, dataset=dataset, strategy=strategy, noise=noise, model=model))
                    theirs = paper.table_2(dataset, model, strategy, noise) if compare else None
                    place = (label(noise), label(model)), (dataset_label(dataset), label(strategy))
                    cells[place] = ours + (f"\npaper {theirs:.2f}%" if theirs is not None else "")
    return text_table(cells, ["noise", "network"], ["data set", "strategy"])


def table_2_caption(study: pd.DataFrame) -> str:
    """The numbers of labels behind the two accuracies of a cell, and what stands in for what."""
    ours = [f"Ours after {labels_phrase(final(study))} labels, the paper's after 1,100"] if len(study) else []
    return "; ".join([*ours, *stand_ins(study.dataset)])


def figure_3(by_study: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Final test error without noise of all studies: scenario × network × strategy by data set, the paper's beside it."""
    without_noise = {name: pick_rows(final(study), noise="none") for name, study in by_study.items()}
    lasts = {name: last for name, last in without_noise.items() if len(last)}
    everything = pd.concat([*lasts.values()] or [final(study) for study in by_study.values()])
    datasets = ordered(everything.dataset) or ["mnist"]
    cells = {}
    for scenario in ordered([*everything.scenario, *paper.SCENARIO_LABELS]):
        for model in ordered([*everything.model, *MODELS]):
            strategies = ["–"] if scenario == "supervised" else ordered([*everything.strategy, *STRATEGIES])
            for strategy in strategies:
                row = scenario, label(model), label(strategy)
                cells[row, "paper (MNIST)"] = _published_error(scenario, model, strategy)
                where = dict(scenario=scenario, model=model) | ({} if scenario == "supervised" else dict(strategy=strategy))
                for dataset in datasets:
                    cells[row, dataset_label(dataset)] = _own_errors(lasts, dict(dataset=dataset) | where)
    return text_table(cells, ["scenario", "network", "strategy"], [""])


def _published_error(scenario: str, model: str, strategy: str) -> str:
    error = paper.figure_3(scenario, model, strategy)
    return "–" if error is None else f"{error:.2f}% at {paper.SCENARIO_LABELS[scenario]:,} labels"


def _own_errors(lasts: dict[str, pd.DataFrame], where: dict) -> str:
    """The error in each study that has such runs, at its number of labels; under the study's name where there are several."""
    lines = {}
    for name, last in lasts.items():
        if len(rows := pick_rows(last, **where)):
            lines[name] = f"{mean_se(100 * (1 - pick(last, **where)))} at {labels_phrase(rows)} labels"
    scenario = f", scenario {where['scenario']}"
    if len(lines) > 1:
        lines = {name: f"{text}, {name.replace(scenario, '')}" for name, text in lines.items()}
    return "\n".join(lines.values()) or NOT_RUN


def cells_beside(by_study: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Every cell of the paper's Table 2: the published accuracy, and ours under `paper` and `as_released`, in percent.

    Columns `published`, and for both protocols the mean, `low` and `high` of the 95% interval (NaN: not run; infinite:
    one seed) and `n`. Only the paper's own data sets in its constrained scenario count, where nothing else of the protocol was
    changed: stand-ins and other learning rates are not the paper's cells. A run found in two sweeps counts once.
    """
    last = pd.concat([final(study) for study in by_study.values()])
    last = last[last.dataset.isin(paper.DATASETS) & last.model.isin(MODELS)].drop_duplicates([*RUN, *STUDY])
    last = last[np.array([_unchanged(run) for run in last.to_dict("records")], dtype=bool)]
    rows = []
    for (dataset, model, strategy, noise), published in paper.ACCURACY.items():
        row = dict(dataset=dataset, model=model, noise=noise, strategy=strategy, published=published)
        where = dict(dataset=dataset, model=model, noise=noise, strategy=strategy)
        for protocol in ("paper", "as_released"):
            values = pick(last, protocol=protocol, n_labels=1_100, **where)
            row |= {f"{protocol}_n": len(values)}
            if len(values):
                i = interval(100 * values)
                row |= {protocol: i.mean, f"{protocol}_low": i.low, f"{protocol}_high": i.high}
        rows.append(row)
    columns = [f"{protocol}{part}" for protocol in ("paper", "as_released") for part in ("", "_low", "_high", "_n")]
    return pd.DataFrame(rows).reindex(columns=[*CELL, "strategy", "published", *columns])


def _unchanged(run: dict) -> bool:
    """Whether a run is what its protocol makes of the paper's constrained scenario, in every option, with true labels."""
    return not run["oracle"] and not phrases.changed(run, run["protocol"], "constrained")


def were_run(cells: pd.DataFrame) -> pd.DataFrame:
    """Those of `cells_beside` of which there is a run."""
    return cells[(cells.paper_n > 0) | (cells.as_released_n > 0)]


def cells_beside_table(cells: pd.DataFrame) -> pd.DataFrame:
    """`cells_beside` to read, where anything was run: accuracy, interval, and whether that holds the published number."""
    heads = {"paper": "ours, protocol paper", "as_released": "ours, protocol as_released"}
    table = {}
    for key, part in groups(were_run(cells), [*CELL, "strategy"]):
        row = part.iloc[0]
        table[names(key), "published"] = f"{row.published:.2f}%"
        for protocol, head in heads.items():
            table[names(key), head] = _beside(row, protocol)
    return text_table(table, ["data set", "network", "noise", "strategy"], [""])


def _beside(row: pd.Series, protocol: str) -> str:
    mean, low, high, n = (row[f"{protocol}{part}"] for part in ("", "_low", "_high", "_n"))
    if not n:
        return NOT_RUN
    if n == 1:
        return f"{mean:.1f}% (n=1)"
    verdict = (
        "holds the published number" if low <= row.published <= high else f"published minus ours {row.published - mean:+.1f}"
    )
    return f"{mean:.1f}% ({max(low, 0):.1f} to {min(high, 100):.1f}, n={n:.0f})\n{verdict.replace('-', '−')}"


def cells_beside_summary(cells: pd.DataFrame) -> str:
    """For how many of the paper's cells its number lies within our 95% interval, by protocol and network."""
    sentences = []
    for protocol in ("paper", "as_released"):
        counted = cells[cells[f"{protocol}_n"] > 1]
        inside = counted[(counted[f"{protocol}_low"] <= counted.published) & (counted.published <= counted[f"{protocol}_high"])]
        for (model,), of_model in groups(counted, ["model"]):
            n = int((inside.model == model).sum())
            seeds = and_list(sorted(of_model[f"{protocol}_n"].astype(int).unique()), "or")
            half = (of_model[f"{protocol}_high"] - of_model[f"{protocol}_low"]) / 2
            sentences.append(
                f"Protocol {protocol}, {label(model)}: {len(of_model)} of the paper's 27 cells were run with several seeds "
                f"({seeds}). Our 95% interval holds the published number in {n} of them; it reaches {half.min():.1f} to "
                f"{half.max():.1f} points to each side."
            )
    return (
        " ".join(sentences)
        or "None of the paper's cells was run here with more than one seed under protocol paper or as_released."
    )
