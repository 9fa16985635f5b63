"""What was queried: classes and noisy images among the queries of a study, as numbers and as text."""

import math

import numpy as np
import pandas as pd
from scipy import stats

from ..words import label
from .statistics import Interval, interval, over_seeds, signs
from .studies import CELL, each_row, groups, names, ordered
from .tables import from_rows


def class_balance(study: pd.DataFrame, n_classes: dict[str, int] | None = None) -> pd.DataFrame:
    """Share of each class among the queries, over all noises and seeds: one row per data set, network, strategy, class.

    `expected` is random's share, which is what the pool offers up to chance; an even one where random did not run. `entropy`
    is that of the shares over the log of the number of classes: 1 is perfectly even. `n_classes` by data set tells of
    classes that were never queried.
    """
    rows = []
    for (dataset, model, strategy), group in groups(study, ["dataset", "model", "strategy"]):
        of_dataset = study[study.dataset == dataset]
        n = (n_classes or {}).get(dataset) or int(of_dataset.true_classes.explode().max()) + 1
        random = of_dataset[(of_dataset.strategy == "random") & (of_dataset.model == model)]
        expected = _shares(random, n) if len(random) else [1 / n] * n
        share, even, queried = _shares(group, n), _evenness(group, n), int((group.true_classes.explode() >= 0).sum())
        if queried:
            rows += [(dataset, model, strategy, c, share[c], expected[c], queried, even) for c in range(n)]
    return pd.DataFrame(rows, columns=["dataset", "model", "strategy", "class", "share", "expected", "queried", "entropy"])


def _shares(rounds: pd.DataFrame, n_classes: int) -> list[float]:
    classes = rounds.true_classes.explode().dropna().astype(int)
    classes = classes[classes >= 0]  # the others are not known
    return classes.value_counts(normalize=True).reindex(range(n_classes), fill_value=0.0).to_list()


def _evenness(rounds: pd.DataFrame, n_classes: int) -> float:
    return float(stats.entropy(_shares(rounds, n_classes)) / math.log(n_classes)) if n_classes > 1 else 1.0


def evenness_against_random(study: pd.DataFrame, n_classes: dict[str, int]) -> dict[tuple, Interval]:
    """Evenness of each seed's queries minus random's, by data set, network and strategy: mean and interval over seeds."""
    found = {}
    queries = study[study.true_classes.map(len) > 0]
    for (dataset, model), part in groups(queries, ["dataset", "model"]):
        keys = ["strategy", "noise", "seed"]
        even = {key: _evenness(runs, n_classes[dataset]) for key, runs in part.groupby(keys)}
        wide = pd.Series(even).rename_axis(keys).unstack("strategy")
        for strategy in [name for name in wide if name != "random" and "random" in wide]:
            if difference := over_seeds((wide[strategy] - wide["random"]).dropna()):
                found[dataset, model, strategy] = difference
    return found


def noisy_share(study: pd.DataFrame) -> pd.DataFrame:
    """Share of noisy images among the queries of a run: mean over seeds, and its 95% t interval (`low`, `high`) within 0 and 1.

    `verdict` says whether it is the share of noisy images in the pool, corrected for the number of rows (Holm). The seeds
    are what repeats: queries of one run depend on each other, so a binomial over all of them would be too sure.
    """
    rows = []
    fixed = study[(study.noise != "none") & (study.noise_draw == "fixed") & (study.noise_on != "test")]
    for key, group in groups(fixed, [*CELL, "strategy"]):
        noisy = group.set_index("seed").noisy.explode().dropna().astype(float)
        if len(noisy):
            rate = float(group.noise_rate.iloc[0])
            excess = interval(noisy.groupby("seed").mean() - rate)
            rows.append(
                (*key, len(noisy), rate + excess.mean, rate, max(0, rate + excess.low), min(1, rate + excess.high), excess)
            )
    table = pd.DataFrame(rows, columns=[*CELL, "strategy", "queried", "share", "rate", "low", "high", "excess"])
    words = {1: "more than chance", -1: "fewer than chance", 0: "chance is not ruled out"}
    return table.assign(verdict=[words[sign] for sign in signs(list(table.excess))])


def first_and_last(study: pd.DataFrame, n: int = 6) -> dict[tuple[str, str], dict[str, tuple[list[int], list[int]]]]:
    """Indices of the first `n` images of the first query and of the last query, by data set and network, then strategy.

    Of the lowest seed, without noise where that was run.
    """
    found: dict[tuple[str, str], dict[str, tuple[list[int], list[int]]]] = {}
    querying = study[study.queried.map(len) > 0]
    for (dataset, model, strategy), part in groups(querying, ["dataset", "model", "strategy"]):
        of_noise = part[part.noise == ordered(part.noise)[0]]
        one = of_noise[of_noise.seed == of_noise.seed.min()].sort_values("round")
        found.setdefault((dataset, model), {})[strategy] = (one.queried.iloc[0][:n], one.queried.iloc[-1][:n])
    return found


def images_of(
    by_strategy: dict[str, tuple[list[int], list[int]]], images_N_C_H_W: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The images of a part of `first_and_last`; a copy (`splits.repeat_pool`) looks as its original does."""
    n = len(images_N_C_H_W)
    return {
        strategy: (images_N_C_H_W[[i % n for i in first]], images_N_C_H_W[[i % n for i in last]])
        for strategy, (first, last) in by_strategy.items()
    }


def different_images(study: pd.DataFrame, n_images: int) -> str:
    """How many different images a run asked for where the pool holds copies (`n_images` without them), in a sentence."""
    originals = study.assign(originals=study.queried.map(lambda query: [i % n_images for i in query]))
    by_run = originals.groupby(["strategy", "noise", "seed"]).originals.sum()  # of lists: one after the other
    means = by_run.map(lambda images: len(set(images))).groupby("strategy").mean().to_dict()
    listed = "; ".join(f"{label(name)} {means[name]:.0f}" for name in ordered(means))
    return f"Different images among the {by_run.map(len).mean():.0f} queries of a run, mean over seeds: {listed}."


def class_balance_table(
    balance: pd.DataFrame, class_names: dict[str, list[str]], against: dict[tuple, Interval] | None = None
) -> pd.DataFrame:
    """One row per data set, network and strategy of `class_balance`: evenness, most and least queried class.

    `against`: what `evenness_against_random` found.
    """
    table = {}
    for key, part in groups(balance, ["dataset", "model", "strategy"]):
        classes, share = class_names[key[0]], part.set_index("class").share
        table[names(key)] = {
            "queries": f"{part.queried.iloc[0]:,}",
            "evenness": f"{part.entropy.iloc[0]:.3f}",
            "minus random's (95% interval)": _difference((against or {}).get(key)),
            "most": f"{classes[share.idxmax()]} ({share.max():.1%})",
            "least": f"{classes[share.idxmin()]} ({share.min():.1%})",
        }
    return from_rows(table, ["data set", "network", "strategy"])


def _difference(i: Interval | None) -> str:
    if i is None:
        return "–"
    bounds = f"{i.low:+.3f} to {i.high:+.3f}" if i.n > 1 else "one seed"
    return f"{i.mean:+.3f} ({bounds})".replace("-", "−")


def noisy_share_table(shares: pd.DataFrame) -> pd.DataFrame:
    """`noisy_share` as text."""
    table = {
        names((r.dataset, r.model, r.noise, r.strategy)): {
            "queries": f"{r.queried:,}", "noisy": f"{r.share:.1%}", "noise rate": f"{r.rate:.0%}",
            "95% interval": f"{r.low:.1%} to {r.high:.1%}" if r.excess.n > 1 else "one seed", "": r.verdict,
        } for r in each_row(shares)
    }  # fmt: skip
    return from_rows(table, ["data set", "network", "noise", "strategy"])
