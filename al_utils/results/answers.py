"""The paper's two research questions, answered from the runs at hand: paired differences, intervals, plain sentences."""

import math
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from ..words import and_list, label
from .paper import MODELS, STRATEGIES
from .studies import CELL, RUN, final, groups, names, ordered
from .tables import text_table


@dataclass(frozen=True)
class Interval:
    """Mean and 95% t interval of a difference in percentage points over `n` seeds; of one seed it is unbounded."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves zero out, else 0: undecided."""
        return int(self.low > 0) - int(self.high < 0)

    @property
    def bounds(self) -> str:
        return f"{_signed(self.low)} to {_signed(self.high)}" if self.n > 1 else "one seed"

    def __str__(self):
        sure = f"95% interval {self.bounds}, n={self.n}" if self.n > 1 else "one seed, so no interval"
        return f"{_signed(self.mean)} points ({sure})"


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−") if points else "0.0"


def interval(values) -> Interval:
    """The t interval of the mean of `values` (percentage points, one per seed)."""
    n, mean = len(values), float(sum(values) / len(values))
    half = stats.t.ppf(0.975, n - 1) * stats.sem(values) if n > 1 else math.inf
    return Interval(mean, mean - half, mean + half, n)


def differences(last: pd.DataFrame, column: str, a: str, b: str) -> pd.Series:
    """Accuracy of `a` minus that of `b` in points, one per pair of runs that differ in `column` only (same seed)."""
    wide = last.pivot(index=[name for name in RUN if name != column], columns=column, values="test_accuracy")
    return 100 * (wide.reindex(columns=[a, b])[a] - wide.reindex(columns=[a, b])[b]).astype(float).dropna()


def over_seeds(pairs: pd.Series) -> Interval | None:
    """The interval of paired differences: each seed's mean over all cells is one value; None without a pair."""
    return interval(pairs.groupby("seed").mean()) if len(pairs) else None


def against_random(study: pd.DataFrame) -> pd.DataFrame:
    """Difference of each strategy's final test accuracy to random's: one row per data set, network, noise, strategy."""
    rows = []
    for strategy in [s for s in ordered(study.strategy) if s != "random"]:
        pairs = differences(final(study), "strategy", strategy, "random")
        rows += [(*key, strategy, over_seeds(group)) for key, group in groups(pairs, CELL)]
    return pd.DataFrame(rows, columns=[*CELL, "strategy", "difference"])


def against_random_table(study: pd.DataFrame) -> pd.DataFrame:
    """`against_random` to read, in points with the 95% interval: data set × network × noise by strategy."""
    verdict = {1: "ahead", 0: "undecided", -1: "behind"}
    cells = {}
    for key, group in groups(against_random(study), CELL):
        for strategy, i in zip(group.strategy, group.difference):
            cells[names(key), label(strategy)] = f"{_signed(i.mean)} ({i.bounds})\n{verdict[i.sign]}"
    return text_table(cells, ["data set", "network", "noise"], [""])


def rq1(study: pd.DataFrame) -> str:
    """Which strategy is the most effective? A paragraph computed from the final test accuracies."""
    last, found = final(study), ordered(study.strategy)
    if not found:
        return f"Not answered: no finished run of {and_list(map(label, STRATEGIES), 'or')}."
    if not study.n_rounds.any():
        return "Not answered: these runs train on all their labels at once and query nothing."
    if len(found) == 1:
        return f"Not answered: no finished run of a strategy other than {label(found[0])}; there is nothing to compare."
    if not any(len(differences(last, "strategy", a, b)) for a in found for b in found if a < b):
        return "Not answered: no two strategies have finished runs on the same data, network, noise and seed."
    average, _ = _winner(study.groupby(RUN, as_index=False).test_accuracy.mean(), found)
    over_all = (
        f"Judged by the mean accuracy over all rounds instead of the last: {label(average) if average else 'not decided'}."
    )
    return " ".join([_leader(last, found), over_all, *_counts(study)])


def _winner(last: pd.DataFrame, found: list[str]) -> tuple[str | None, dict[str, dict[str, Interval]]]:
    """The strategy whose interval against every other one lies above zero, if any, and all intervals."""
    versus = {a: {b: over_seeds(differences(last, "strategy", a, b)) for b in found if b != a} for a in found}
    return next((a for a in found if all(i and i.sign > 0 for i in versus[a].values())), None), versus


def _leader(last: pd.DataFrame, found: list[str]) -> str:
    winner, versus = _winner(last, found)
    leads = {a: [i.mean for i in row.values() if i] for a, row in versus.items()}
    best = winner or max(filter(leads.get, found), key=lambda a: sum(leads[a]) / len(leads[a]))
    compared = "; ".join(f"against {label(b)} {i}" for b, i in versus[best].items() if i)
    alone = [label(b) for b, i in versus[best].items() if not i]
    gap = f" It shares no cell and seed with {and_list(alone)}." if alone else ""
    if winner:
        return (
            f"{_upper(label(best))} is the most effective strategy by this evidence. Its final test accuracy, paired by seed "
            f"and averaged over all cells (data, network, noise): {compared}."
        )
    return (
        f"Which strategy is the most effective is not decided by this evidence. {_upper(label(best))} has the highest final "
        f"test accuracy on average, but its lead is not beyond doubt: {compared}.{gap}"
    )


def _counts(study: pd.DataFrame) -> list[str]:
    table = against_random(study)
    if table.empty:
        return ["Random has no finished run beside the others, so no difference to it can be given."]
    table["sign"] = [i.sign for i in table.difference]
    counts = []
    for (strategy,), signs in groups(table, ["strategy"]):
        n = {sign: int((signs.sign == sign).sum()) for sign in (1, -1, 0)}
        counts.append(f"{label(strategy)} is ahead in {n[1]}, behind in {n[-1]} and undecided in {n[0]} of {len(signs)}")
    sentences = [f"Against random, by cell of data, network and noise: {'; '.join(counts)}."]
    bounded = sum(i.n > 1 for i in table.difference)
    if bounded > 1:
        sentences.append(f"(Of {bounded} such intervals, about {0.05 * bounded:.1f} would leave zero out by chance alone.)")
    top = table.loc[table.difference.map(lambda i: abs(i.mean)).idxmax()]
    where = ", ".join(names((top.dataset, top.model, top.noise)))
    doubt = "" if top.sign else " It, too, is undecided."
    largest = f"The largest difference to random is that of {label(top.strategy)} on {where}: {top.difference}.{doubt}"
    return [*sentences, largest]


def rq2(study: pd.DataFrame) -> str:
    """LeNet or ResNet-18 under noise? A paragraph computed from the final test accuracies."""
    last = final(study)
    missing = [label(model) for model in MODELS if model not in set(last.model)]
    gaps = {n: over_seeds(differences(last[last.noise == n], "model", "resnet18", "lenet")) for n in ordered(last.noise)}
    gaps = {noise: gap for noise, gap in gaps.items() if gap}
    lost = {n: pairs for n in ordered(last.noise) if n != "none" and len(pairs := differences(last, "noise", "none", n))}
    if missing:
        answer = [f"Not answered: no finished run of {and_list(missing, 'or')}."]
    elif not gaps:
        answer = ["Not answered: the two networks have no finished runs on the same data, strategy, noise and seed."]
    else:
        found = "; ".join(f"{_under(noise)} {gap}" for noise, gap in gaps.items())
        answer = [_more_accurate(gaps), f"ResNet-18's accuracy minus LeNet's: {found}."]
        if not lost:
            answer += ["What noise costs cannot be said: that takes finished runs with and without noise."]
    return " ".join([*answer, *(_cost(noise, pairs) for noise, pairs in lost.items())])


def _under(noise: str) -> str:
    return "without noise" if noise == "none" else f"under {label(noise)}"


def _more_accurate(gaps: dict[str, Interval]) -> str:
    verdicts = {1: "ResNet-18 is the more accurate network", -1: "LeNet is the more accurate network",
                0: "which network is the more accurate is not decided by this evidence"}  # fmt: skip
    under = {sign: [_under(noise) for noise, gap in gaps.items() if gap.sign == sign] for sign in verdicts}
    return _upper("; ".join(f"{and_list(under[sign])}, {verdicts[sign]}" for sign in verdicts if under[sign])) + "."


def _cost(noise: str, pairs: pd.Series) -> str:
    """What a noise costs each network, over the runs that have a twin without noise, and which network loses less."""
    of_model = [f"{label(model)} {over_seeds(group)}".replace("+", "") for (model,), group in groups(pairs, ["model"])]
    sentence = f"{_upper(label(noise))} costs {and_list(of_model)}"
    losses = pairs.div(100).rename("test_accuracy").reset_index().assign(noise=noise)
    if not (gap := over_seeds(differences(losses, "model", "lenet", "resnet18"))):
        return f"{sentence}."
    verdict = {1: "ResNet-18 loses less", -1: "LeNet loses less", 0: "which of them loses less is not decided"}[gap.sign]
    return f"{sentence}; {verdict}: LeNet's loss minus ResNet-18's is {gap}."


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
