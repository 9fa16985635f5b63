"""A report in a few plain sentences, and in one table."""

import pandas as pd

from ..chance import guessing_limit
from ..words import and_list, capitalised, dataset_label, label
from . import answers, beside, tables
from .statistics import over_seeds
from .studies import CELL, brief_names, final, groups, ordered

MOST_LISTED = 6  # strategies in one sentence


def summary(runs: pd.DataFrame, by_study: dict[str, pd.DataFrame]) -> list[str]:
    """What the runs of `read_runs` and their studies say: what was run, who is ahead, what stands in the way."""
    finished = runs[runs.finished.astype(bool)]
    if finished.empty:
        return [f"None of {len(runs)} runs is finished, so there is nothing to report yet."]
    return [
        what_was_run(finished, unfinished=len(runs) - len(finished)),
        *(sentence for name, brief in brief_names(by_study).items() for sentence in _of_study(brief, by_study[name])),
        *near_chance(finished, by_study),
        *_beside_the_paper(by_study),
    ]


def what_was_run(finished: pd.DataFrame, unfinished: int) -> str:
    """`54 finished runs: MNIST-5k; LeNet and ResNet-18; …` with seeds and labels."""
    labels = finished.n_initial + finished.n_rounds * finished.n_query
    first, last = int(finished.n_initial.min()), int(labels.max())
    seeds = finished.seed.nunique()
    parts = [
        and_list([dataset_label(name) for name in ordered(finished.dataset)]),
        and_list(map(label, ordered(finished.model))),
        and_list(map(label, ordered(finished.strategy))),
        and_list(map(label, ordered(finished.noise))),
        f"{seeds} seed{'s' if seeds > 1 else ''}",
        f"from {first:,} to {last:,} labels" if last > first else f"{last:,} labels at once",
    ]
    more = f" ({unfinished} are not finished and do not count)" if unfinished else ""
    return f"{len(finished)} finished runs{more}: {'; '.join(parts)}."


def _of_study(name: str, study: pd.DataFrame) -> list[str]:
    start = f"{capitalised(name)}: with" if name else "With"
    sentences = [f"{start} {label(model)} {_strategies(part)}" for (model,), part in groups(study, ["model"])]
    if study.model.nunique() > 1:
        sentences.append(answers.rq2(study)[0].removeprefix("Not answered: "))
    return sentences


def _strategies(study: pd.DataFrame) -> str:
    """Who is ahead at the end, over all cells of one network."""
    last, found = final(study), ordered(study.strategy)
    labels = tables.labels_phrase(last)
    if not study.n_rounds.any():
        return f"training on {labels} labels at once reaches {100 * last.test_accuracy.mean():.1f}% test accuracy on average."
    if len(found) == 1 or "random" not in found:
        by_cell = last.pivot(index=[*CELL, "seed"], columns="strategy", values="test_accuracy").astype(float)
        shared = by_cell.dropna()  # means over other cells and seeds would differ by these
        if shared.empty:
            return f"{and_list(map(label, found))} share no cell and seed, so they are not compared."
        listed = and_list([f"{label(name)} reaches {100 * shared[name].mean():.1f}%" for name in found])
        over = "all cells and seeds" if len(shared) == len(by_cell) else f"the {len(shared)} cells and seeds that they share"
        return f"at {labels} labels {listed} test accuracy, averaged over {over}."
    shared, note = answers.comparable(last)
    others = [name for name in found if name != "random"]
    gaps = {name: gap for name in others if (gap := over_seeds(answers.differences(shared, "strategy", name, "random")))}
    highest = sorted(gaps, key=lambda name: -gaps[name].mean)
    many = len(gaps) > MOST_LISTED
    listed = "; ".join(f"{label(name)} {gaps[name]}" for name in ([*highest[:3], highest[-1]] if many else gaps))
    listed += f" (the three highest and the lowest of {len(gaps)})" if many else ""
    winner = answers.winner(last)
    verdict = f"{label(winner)} is the most effective strategy" if winner else "it is not decided which strategy is the best"
    return f"{verdict}. Accuracy minus random's at {labels} labels{note}: {listed or 'no seed in common'}."


def near_chance(finished: pd.DataFrame, by_study: dict[str, pd.DataFrame]) -> list[str]:
    """Which networks end near guessing, where differences between strategies mean little."""
    limits = {dataset: guessing_limit(1 / len(names)) for dataset, names in zip(finished.dataset, finished.class_names)}
    last = pd.concat([final(study) for study in by_study.values()])
    near = last.test_accuracy.astype(float) < last.dataset.map(limits).astype(float)
    sentences = []
    for (dataset, model), part in groups(last.assign(near=near), ["dataset", "model"]):
        if n := int(part.near.sum()):
            sentences.append(
                f"{label(model)} ends near chance on {dataset_label(dataset)} in {n} of {len(part)} runs (test accuracy "
                f"below {100 * limits[dataset]:.0f}%): where a network does not learn, its strategies cannot be told apart."
            )
    return sentences


def _beside_the_paper(by_study: dict[str, pd.DataFrame]) -> list[str]:
    cells = beside.cells_beside(by_study)
    counted = bool((cells.paper_n > 1).any() or (cells.as_released_n > 1).any())
    return [beside.cells_beside_summary(cells)] if counted else []
