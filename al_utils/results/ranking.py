"""Strategies compared as the field does it: areas under curves, penalties, ranks, label efficiency."""

import itertools
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from ..words import and_list, label
from . import curves
from .statistics import Interval, holm, interval, signed, signs
from .studies import CELL, each_row, groups, in_shared_cells, names, ordered
from .tables import mean_se, text_table

VERDICT = {1: "ahead", 0: "undecided", -1: "behind"}


def areas(study: pd.DataFrame) -> pd.DataFrame:
    """Area under each run's budget curve (`curves.area`): data set × network × noise × seed by strategy, in points."""
    found = {
        (*key, strategy): curves.area(curves.wide(rounds))
        for key, cell in groups(study, CELL)
        for strategy, rounds in cell.groupby("strategy")
    }
    if not found:
        return pd.DataFrame(index=pd.MultiIndex.from_tuples([], names=[*CELL, "seed"]))
    long = pd.concat(found, names=[*CELL, "strategy", "seed"])
    return long.unstack("strategy").reindex(columns=ordered(study.strategy))


def penalty_matrix(study: pd.DataFrame, level: float = 0.05) -> pd.DataFrame:
    """Pairwise penalty matrix (Ash et al. 2020; Beck et al. 2021): how often the row's strategy beats the column's.

    In every cell (data set, network, noise) that all strategies have, the accuracies are compared at the 1st, 2nd, 4th, 8th …
    round after a query, by a two-sided paired t test over seeds. A strategy that is ahead adds 1 over the number of these
    budgets, so an entry is at most the number of cells. The last row is the mean of each column: the lower, the more seldom
    beaten.
    """
    strategies = ordered(study.strategy)
    matrix = pd.DataFrame(0.0, index=strategies, columns=strategies)
    for _, cell in groups(in_shared_cells(study), CELL):
        wide = {name: curves.wide(rounds) for name, rounds in cell.groupby("strategy")}
        for a, b in itertools.permutations(wide, 2):
            differences = (wide[a] - wide[b]).dropna(axis=1, how="all").dropna().iloc[1:]
            if differences.empty:  # no seed in common
                continue
            budgets = [2**k - 1 for k in range(len(differences).bit_length())]  # positions of the rounds 1, 2, 4, 8 …
            ahead = [is_ahead(interval(differences.iloc[k].to_numpy()), level) for k in budgets]
            matrix.loc[a, b] += sum(ahead) / max(1, len(ahead))
    return pd.concat([matrix, matrix.mean().to_frame("mean").T])


def is_ahead(difference: Interval, level: float) -> bool:
    return difference.mean > 0 and difference.p < level


@dataclass(frozen=True)
class Ranks:
    """Mean rank of each strategy (1 is the best) over `n` seeds, Friedman's p, and Wilcoxon's p of each pair after Holm.

    `against_random` is Wilcoxon's p of the pairs with random, corrected for their number alone: of many strategies, few seeds
    cannot tell any two apart after a correction for all pairs.
    """

    mean: dict[str, float]
    n: int
    friedman: float
    pairs: dict[tuple[str, str], float]
    against_random: dict[str, float]


def ranks(study: pd.DataFrame) -> Ranks | None:
    """Ranks by the area under the budget curve, averaged over the cells of a seed (Demšar 2006, with seeds as the blocks).

    Only seeds and cells in which every strategy has a run. None where there are fewer than two strategies or seeds.
    Friedman's test takes three strategies: of two, its p is Wilcoxon's.
    """
    by_seed = areas(study).dropna().groupby("seed").mean().round(9)  # so that what is equal but for rounding is a tie
    n_seeds, n_strategies = by_seed.shape
    if n_seeds < 2 or n_strategies < 2:
        return None
    couples = list(itertools.combinations(map(str, by_seed), 2))
    corrected = holm([_wilcoxon(by_seed[a], by_seed[b]) for a, b in couples])
    friedman = _friedman(by_seed) if n_strategies > 2 else corrected[0]
    others = [name for name in map(str, by_seed) if name != "random" and "random" in by_seed]
    against_random = holm([_wilcoxon(by_seed[name], by_seed["random"]) for name in others])
    mean = {str(name): float(rank) for name, rank in by_seed.rank(axis=1, ascending=False).mean().items()}
    return Ranks(mean, n_seeds, friedman, dict(zip(couples, corrected)), dict(zip(others, against_random)))


def _friedman(by_seed: pd.DataFrame) -> float:
    tied = (by_seed.nunique(axis=1) == 1).all()  # nothing to rank
    return 1.0 if tied else float(stats.friedmanchisquare(*by_seed.to_numpy().T).pvalue)


def _wilcoxon(first: pd.Series, second: pd.Series) -> float:
    differences = (first - second).round(9)
    return 1.0 if (differences == 0).all() else float(stats.wilcoxon(differences).pvalue)


def label_efficiency(study: pd.DataFrame) -> pd.DataFrame:
    """Labels that random needs over those that a strategy needs, for the accuracy that both reach: above 1 it saves labels.

    That accuracy is the lower of the two at the end, in points. All are read from the isotonic fit of the mean curves over the
    seeds that both have. One row per data set, network, noise and strategy.
    """
    rows = []
    for key, cell in groups(study, CELL):
        wide = {name: curves.wide(rounds) for name, rounds in cell.groupby("strategy")}
        for name in [name for name in ordered(wide) if name != "random" and "random" in wide]:
            seeds = wide[name].columns.intersection(wide["random"].columns)
            if len(seeds):
                own, random = (curves.isotonic(wide[which][seeds].mean(axis=1)) for which in (name, "random"))
                target = min(own.iloc[-1], random.iloc[-1])
                labels, base = curves.labels_at(own, target), curves.labels_at(random, target)
                rows.append((*key, name, target, base, labels, base / labels, len(seeds)))
    return pd.DataFrame(rows, columns=[*CELL, "strategy", "accuracy", "random", "labels", "efficiency", "n"])


def areas_table(study: pd.DataFrame) -> pd.DataFrame:
    """`areas` to read: mean ± standard error, and the paired difference to random with its interval and verdict (Holm)."""
    table, cells, gaps = areas(study), {}, {}
    for key, cell in groups(table, CELL):
        for strategy in cell:
            place = names(key), label(strategy)
            cells[place] = mean_se(cell[strategy].dropna())
            if strategy != "random" and "random" in cell and len(pairs := (cell[strategy] - cell["random"]).dropna()):
                gaps[place] = interval(pairs)
    for (place, gap), sign in zip(gaps.items(), signs(list(gaps.values()))):
        cells[place] += f"\n{gap_text(gap, VERDICT[sign])}"
    return text_table(cells, ["data set", "network", "noise"], [""])


def gap_text(gap: Interval, verdict: str) -> str:
    """A difference in points with its interval, and the verdict below, as cells of tables have it."""
    return f"{signed(gap.mean)} ({gap.bounds})\n{verdict}"


def penalty_table(study: pd.DataFrame) -> pd.DataFrame:
    """`penalty_matrix` to read; none where there are not two seeds, or no cell that all strategies have."""
    shared = in_shared_cells(study)
    if shared.empty or shared.seed.nunique() < 2:
        return pd.DataFrame()
    n, n_cells = shared.groupby(CELL).ngroups, study.groupby(CELL).ngroups
    over = f" ({n} of {n_cells} cells)" if n < n_cells else ""
    matrix = penalty_matrix(study).rename(index=label, columns=label)
    return matrix.map(lambda value: f"{value:.2f}").rename_axis(index=f"ahead ↓, behind →{over}")


def ranks_sentence(study: pd.DataFrame) -> str:
    """`ranks` of one network's strategies in words."""
    found = ranks(study)
    if found is None:
        return "No ranks: that takes two strategies and two seeds with a run in every cell."
    order = sorted(found.mean, key=lambda name: found.mean[name])
    listed = ", ".join(f"{label(name)} {found.mean[name]:.2f}" for name in order)
    least = 2 / 2**found.n  # of Wilcoxon's two-sided p with that many pairs
    apart = [f"{label(a)} and {label(b)} (p = {p:.2g})" for (a, b), p in found.pairs.items() if p < 0.05]
    pairs = f"Told apart after Holm's correction: {'; '.join(apart)}." if apart else "No two are told apart (Wilcoxon, Holm)."
    few = ""
    if least * len(found.pairs) > 0.05:
        few = f" With {found.n} seeds Wilcoxon's p cannot be below {least:.2g}.{_beside_random(found)}"
    return f"Mean ranks over {found.n} seeds: {listed}. Friedman's p = {found.friedman:.2g}. {pairs}{few}"


def _beside_random(found: Ranks) -> str:
    """Who is told apart from random, where all pairs are too many to tell any two apart."""
    apart = [name for name, p in found.against_random.items() if p < 0.05]
    better = [label(name) for name in apart if found.mean[name] < found.mean["random"]]
    worse = [label(name) for name in apart if found.mean[name] > found.mean["random"]]
    said = [f"{and_list(names)} rank {how}" for names, how in ((better, "better"), (worse, "worse")) if names]
    corrected = f" Corrected only for the {len(found.against_random)} comparisons with random: "
    return f"{corrected}{'; '.join(said)}." if said else ""


def label_efficiency_table(study: pd.DataFrame) -> pd.DataFrame:
    """`label_efficiency` to read."""
    cells = {
        (names((r.dataset, r.model, r.noise)), label(r.strategy)): f"{r.efficiency:.2f} ({r.n})\n"
        f"{r.labels:,.0f} labels for {r.accuracy:.1f}%, random {r.random:,.0f}"
        for r in each_row(label_efficiency(study))
    }
    return text_table(cells, ["data set", "network", "noise"], [""])
