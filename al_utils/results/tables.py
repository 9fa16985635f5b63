"""From runs to tables: pure functions of one study (see `studies`), a tidy frame with one row per run and round."""

import math
from collections import Counter

import pandas as pd
from scipy import stats

from ..words import and_list, dataset_label, label
from . import paper
from .paper import MODELS, NOISES, STRATEGIES
from .studies import CELL, NOT_RUN, SECONDS, final, groups, names, ordered


def overview(runs: pd.DataFrame) -> pd.DataFrame:
    """What was run, from `read_runs`: one row per topic, one column of plain text."""
    unfinished = runs[~runs.finished.astype(bool)]
    stopped = [f"{r.run} ({r.stopped or f'after {r.done} of {r.n_rounds + 1} trainings'})" for r in unfinished.itertuples()]
    plans = runs.drop_duplicates(["n_initial", "n_query", "n_rounds"])
    rows = {
        "Runs": f"{len(runs) - len(unfinished)} finished, {len(unfinished)} unfinished" + _more(stopped),
        "Protocol": and_list(runs.protocol.unique()),
        "Scenario": and_list(runs.scenario.unique()),
        "Data sets": and_list([dataset_label(d) for d in ordered(runs.dataset)]),
        "Networks": and_list([label(m) for m in ordered(runs.model)]),
        "Strategies": and_list([label(s) for s in ordered(runs.strategy)]),
        "Noise": and_list([label(n) for n in ordered(runs.noise)]),
        "Seeds": and_list(sorted(runs.seed.unique())),
        "Rounds": "; ".join(map(_plan, plans.itertuples())),
        "Environment": "; ".join(f"{line} ({n} runs)" for line, n in runs.environment.value_counts().items()),
    }
    return pd.DataFrame({"": {topic: text or "none" for topic, text in rows.items()}})


def departures(runs: pd.DataFrame) -> list[str]:
    """How the runs of `read_runs` depart from the paper, one plain phrase each."""
    count = Counter(phrase for run in runs.to_dict("records") for phrase in paper.differences(run))
    phrases = [phrase + (f" ({n} of {len(runs)} runs)" if n < len(runs) else "") for phrase, n in count.items()]
    return [*phrases, *stand_ins(runs.dataset)] or ["in nothing that the configuration fixes" if len(runs) else NOT_RUN]


def stand_ins(datasets) -> list[str]:
    """For every data set that is not the paper's own: what it is compared with."""
    theirs = {d: paper.published_dataset(d) for d in ordered(datasets) if d not in paper.DATASETS}
    return [f"{dataset_label(d)} is compared with the paper's {label(p)}" if p else f"{dataset_label(d)} is not in the paper"
            for d, p in theirs.items()]  # fmt: skip


def _more(names: list[str], most: int = 5) -> str:
    return f": {', '.join(names[:most])}{' and others' if len(names) > most else ''}" if names else ""


def _plan(r) -> str:
    if not r.n_rounds:
        return f"none, {r.n_initial:,} labels at once"
    return f"{r.n_rounds} of {r.n_query:,} queries, from {r.n_initial:,} to {r.n_initial + r.n_rounds * r.n_query:,} labels"


def mean_se(values, unit: str = "%") -> str:
    """`96.2 ± 0.3% (3)`: mean, standard error and number of seeds; of one seed `96.2% (n=1)`; of none `not run`."""
    n = len(values)
    if n == 0:
        return NOT_RUN
    mean, digits = sum(values) / n, 1 if unit else 0
    if n == 1:
        return f"{mean:,.{digits}f}{unit} (n=1)"
    return f"{mean:,.{digits}f} ± {stats.sem(values):,.{digits}f}{unit} ({n})"


def table_2(study: pd.DataFrame) -> pd.DataFrame:
    """Final test accuracy (images as configured): noise × network by data set × strategy, the paper's number below."""
    last = final(study)
    compare = study.empty or study.scenario.iloc[0] == "constrained"
    datasets = list(dict.fromkeys([*ordered(last.dataset), *paper.DATASETS]))
    cells = {}
    for dataset in datasets:
        for strategy in ordered([*last.strategy, *STRATEGIES]):
            for noise in NOISES:
                for model in MODELS:
                    ours = mean_se(100 * _pick(last, dataset=dataset, strategy=strategy, noise=noise, model=model))
                    theirs = paper.table_2(dataset, model, strategy, noise) if compare else None
                    place = (label(noise), label(model)), (_heads(datasets)[dataset], label(strategy))
                    cells[place] = ours + (f"\npaper {theirs:.2f}%" if theirs is not None else "")
    return text_table(cells, ["noise", "network"], ["data set", "strategy"])


def figure_3(by_study: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Final test error without noise of all studies: scenario × network × strategy by data set, the paper's beside it."""
    lasts = {name: last for name, study in by_study.items() if len(last := _pick_rows(final(study), noise="none"))}
    everything = pd.concat([*lasts.values()] or [final(study) for study in by_study.values()])
    datasets = ordered(everything.dataset) or ["mnist"]
    cells = {}
    for scenario in ordered([*everything.scenario, "supervised", "ideal", "constrained"]):
        for model in MODELS:
            strategies = ["–"] if scenario == "supervised" else ordered([*everything.strategy, *STRATEGIES])
            for strategy in strategies:
                row = scenario, label(model), label(strategy)
                theirs = paper.figure_3(scenario, model, strategy)
                cells[row, "paper (MNIST)"] = f"{theirs:.2f}%" if theirs is not None else "–"
                for dataset in datasets:
                    where = dict(scenario=scenario, model=model, dataset=dataset)
                    where |= {} if scenario == "supervised" else dict(strategy=strategy)
                    texts = {name: mean_se(100 * (1 - _pick(last, **where))) for name, last in lasts.items()}
                    texts = {name: text for name, text in texts.items() if text != NOT_RUN}
                    brief = {name: name.replace(f", scenario {scenario}", "") for name in texts}
                    lines = texts.values() if len(texts) < 2 else [f"{text} {brief[name]}" for name, text in texts.items()]
                    cells[row, _heads(datasets)[dataset]] = "\n".join(lines) or NOT_RUN
    return text_table(cells, ["scenario", "network", "strategy"], [""])


def labels_needed(study: pd.DataFrame, targets=(0.8, 0.9, 0.95)) -> pd.DataFrame:
    """Labels at the first round whose test accuracy is at least each target: mean ± standard error over seeds."""
    cells = {}
    for cell, of_cell in groups(study, CELL):
        for target in targets:
            for strategy in ordered(study.strategy):
                of_strategy = of_cell[of_cell.strategy == strategy]
                # 1e-6: a float32 mean of 0.9 is a little less than 0.9.
                reached = of_strategy[of_strategy.test_accuracy >= target - 1e-6].groupby("seed").n_labels.min()
                cells[names(cell), (f"{target:.0%}", label(strategy))] = _needed(reached, of_strategy.seed.nunique())
    return text_table(cells, ["data set", "network", "noise"], ["test accuracy", "strategy"])


def _needed(reached: pd.Series, n: int) -> str:
    if n == 0 or len(reached) == 0:
        return "not reached" if n else NOT_RUN
    if len(reached) == n:
        return mean_se(reached, unit="")
    return f"{len(reached)} of {n} reached:\n{mean_se(reached, unit='').rpartition(' (')[0]}"


def class_balance(study: pd.DataFrame, n_classes: dict[str, int] | None = None) -> pd.DataFrame:
    """Share of each class among the queries, over all noises and seeds: one row per data set, network, strategy, class.

    `entropy` is that of the shares over the log of the number of classes: 1 is perfectly even. `n_classes` by data set
    tells of classes that were never queried.
    """
    rows = []
    for (dataset, model, strategy), group in groups(study, ["dataset", "model", "strategy"]):
        classes = group.true_classes.explode().dropna().astype(int)
        if len(classes):
            n = (n_classes or {}).get(dataset) or int(study[study.dataset == dataset].true_classes.explode().max()) + 1
            share = classes.value_counts(normalize=True).reindex(range(n), fill_value=0.0)
            even = stats.entropy(share) / math.log(n) if n > 1 else 1.0
            rows += [(dataset, model, strategy, c, share[c], 1 / n, len(classes), even) for c in range(n)]
    return pd.DataFrame(rows, columns=["dataset", "model", "strategy", "class", "share", "uniform", "queried", "entropy"])


def noisy_share(study: pd.DataFrame) -> pd.DataFrame:
    """Share of noisy images among the queries, over all seeds, and the central 95% of a binomial at the noise rate."""
    rows = []
    fixed = study[(study.noise != "none") & (study.noise_draw == "fixed")]
    for key, group in groups(fixed, [*CELL, "strategy"]):
        noisy = group.noisy.explode().dropna().astype(bool)
        if n := len(noisy):
            rate = group.noise_rate.iloc[0]
            low, high = (bound / n for bound in stats.binom.interval(0.95, n, rate))
            share = noisy.mean()
            verdict = "more than chance" if share > high else "fewer than chance" if share < low else "as by chance"
            rows.append((*key, n, share, rate, low, high, verdict))
    return pd.DataFrame(rows, columns=[*CELL, "strategy", "queried", "share", "rate", "low", "high", "verdict"])


def seconds_per_round(study: pd.DataFrame) -> pd.DataFrame:
    """Mean seconds of a round, in parts and `total`, over all noises and seeds; the last round, which queries nothing,
    counts only where there is no other."""
    rounds = study[(study["round"] < study.n_rounds) | (study.n_rounds == 0)]
    parts = rounds.reindex(columns=[f"{part}_s" for part in SECONDS]).fillna(0.0).set_axis(SECONDS, axis=1)
    table = rounds[["dataset", "model", "strategy"]].join(parts.assign(total=parts.sum(axis=1)))
    means = [(*key, len(g), *g[[*SECONDS, "total"]].mean()) for key, g in groups(table, ["dataset", "model", "strategy"])]
    return pd.DataFrame(means, columns=["dataset", "model", "strategy", "rounds", *SECONDS, "total"])


def class_balance_table(balance: pd.DataFrame, class_names: dict[str, list[str]]) -> pd.DataFrame:
    """One row per data set, network and strategy of `class_balance`: evenness, most and least queried class."""
    table = {}
    for key, part in groups(balance, ["dataset", "model", "strategy"]):
        classes, share = class_names[key[0]], part.set_index("class").share
        named = {head: f"{classes[c]} ({share[c]:.1%})" for head, c in (("most", share.idxmax()), ("least", share.idxmin()))}
        table[names(key)] = {"queries": f"{part.queried.iloc[0]:,}", "evenness": f"{part.entropy.iloc[0]:.3f}"} | named
    return _from_rows(table, ["data set", "network", "strategy"])


def noisy_share_table(shares: pd.DataFrame) -> pd.DataFrame:
    """`noisy_share` as text."""
    table = {
        names((r.dataset, r.model, r.noise, r.strategy)): {
            "queries": f"{r.queried:,}", "noisy": f"{r.share:.1%}", "noise rate": f"{r.rate:.0%}",
            "95% band": f"{r.low:.1%} to {r.high:.1%}", "": r.verdict,
        } for r in shares.itertuples()
    }  # fmt: skip
    return _from_rows(table, ["data set", "network", "noise", "strategy"])


def seconds_table(spent: pd.DataFrame) -> pd.DataFrame:
    """`seconds_per_round` as text."""
    table = {
        names((r.dataset, r.model, r.strategy)): {part: f"{getattr(r, part):.2f}" for part in (*SECONDS, "total")}
        for r in spent.itertuples()
    }
    return _from_rows(table, ["data set", "network", "strategy"])


def _from_rows(table: dict, names: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame.from_dict(table, orient="index")
    return frame.set_axis(pd.MultiIndex.from_tuples(table, names=names)) if table else frame


def _pick_rows(frame: pd.DataFrame, **where) -> pd.DataFrame:
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return frame


def _pick(last: pd.DataFrame, **where) -> pd.Series:
    # Supervised runs of different strategies are the same run: a seed counts once.
    return _pick_rows(last, **where).drop_duplicates("seed").test_accuracy.astype(float)


def _heads(datasets: list[str]) -> dict[str, str]:
    """Column heads; two folders of the same name are numbered."""
    labels = [dataset_label(dataset) for dataset in datasets]
    return {d: text + (f" ({i + 1})" if text in labels[:i] else "") for i, (d, text) in enumerate(zip(datasets, labels))}


def text_table(cells: dict, rows: list[str], columns: list[str]) -> pd.DataFrame:
    """A table from {(row key, column key): text}, in the order of the keys."""
    index = list(dict.fromkeys(row for row, _ in cells))
    heads = list(dict.fromkeys(column for _, column in cells))
    body = [[cells.get((row, column), NOT_RUN) for column in heads] for row in index]
    if not body:
        return pd.DataFrame()
    heads = pd.MultiIndex.from_tuples(heads, names=columns) if isinstance(heads[0], tuple) else heads
    return pd.DataFrame(body, pd.MultiIndex.from_tuples(index, names=rows), heads)
