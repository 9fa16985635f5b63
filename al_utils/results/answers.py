"""The research questions, answered from the runs at hand: plain sentences, no stronger than their intervals.

Strategies are compared within a network, networks and noises between runs that agree in everything else; all of it is
paired by seed. Verdicts that are told together are corrected for their number (Holm).
"""

import itertools

import pandas as pd

from ..words import and_list, capitalised, label
from . import phrases
from .paper import MODELS, STRATEGIES
from .power import fewer_seeds
from .ranking import VERDICT, gap_text
from .statistics import Interval, equivalence_bound, over_seeds, signs
from .studies import CELL, RUN, STUDY, each_row, final, groups, in_shared_cells, names, ordered, unequal
from .tables import text_table


def differences(last: pd.DataFrame, column: str, a: str, b: str) -> pd.Series:
    """Accuracy of `a` minus that of `b` in points, one per pair of runs that differ in `column` only (same seed)."""
    same = [*(name for name in RUN if name != column), *(name for name in STUDY if name in last)]
    last = last.assign(**{name: last[name].astype(str) for name in same if name in STUDY})
    wide = last.pivot(index=same, columns=column, values="test_accuracy").reindex(columns=[a, b])
    return 100 * (wide[a] - wide[b]).astype(float).dropna()


def against_random(study: pd.DataFrame) -> pd.DataFrame:
    """Difference of each strategy's final test accuracy to random's, one row per data set, network, noise, strategy.

    `sign` is 1 (ahead) or -1 (behind) where it is not zero after Holm's correction for all rows, else 0.
    """
    rows = []
    for strategy in [s for s in ordered(study.strategy) if s != "random"]:
        pairs = differences(final(study), "strategy", strategy, "random")
        rows += [(*key, strategy, over_seeds(group), equivalence_bound(group)) for key, group in groups(pairs, CELL)]
    table = pd.DataFrame(rows, columns=[*CELL, "strategy", "difference", "within"])
    return table.assign(sign=signs(list(table.difference)))


def against_random_table(study: pd.DataFrame) -> pd.DataFrame:
    """`against_random` to read, in points with the 95% interval: data set × network × noise by strategy."""
    cells = {}
    for key, group in groups(against_random(study), CELL):
        for strategy, i, within, sign in zip(group.strategy, group.difference, group.within, group.sign):
            bound = f", within ±{within:.1f}" if sign == 0 and i.n > 1 else ""
            cells[names(key), label(strategy)] = gap_text(i, VERDICT[sign] + bound)
    return text_table(cells, ["data set", "network", "noise"], [""])


def fewer_seeds_table(study: pd.DataFrame, seeds: int = 3) -> pd.DataFrame:
    """What all choices of `seeds` seeds say of each strategy against random, where at least twice as many were run."""
    cells = {}
    for strategy in [s for s in ordered(study.strategy) if s != "random"]:
        for key, group in groups(differences(final(study), "strategy", strategy, "random"), CELL):
            if len(group) >= 2 * seeds:
                found = fewer_seeds(group, seeds)
                decide = f"decide {found.decide:.0%}, otherwise {found.decide_otherwise:.0%}"
                text = f"order otherwise {found.order_otherwise:.0%}\n{decide}"
                cells[names(key), label(strategy)] = text
    return text_table(cells, ["data set", "network", "noise"], [""])


def rq1(study: pd.DataFrame) -> list[str]:
    """Which strategy is the most effective? A paragraph per network, computed from the final test accuracies."""
    found = ordered(study.strategy)
    if not found:
        return [f"Not answered: no finished run of {and_list(map(label, STRATEGIES), 'or')}."]
    if not study.n_rounds.any():
        return ["Not answered: these runs train on all their labels at once and query nothing."]
    return [f"With {label(model)}: {_rq1_of(part)}" for (model,), part in groups(study, ["model"])]


def _rq1_of(study: pd.DataFrame) -> str:
    """The first question for the runs of one network."""
    last, found = final(study), ordered(study.strategy)
    if len(found) == 1:
        return f"not answered, no finished run of a strategy other than {label(found[0])}; there is nothing to compare."
    if not any(len(differences(last, "strategy", a, b)) for a, b in itertools.combinations(found, 2)):
        return "not answered, no two strategies have finished runs on the same data, noise and seed."
    all_rounds = study.groupby([*RUN, *STUDY], dropna=False).test_accuracy.mean().reset_index()
    average = winner(all_rounds)
    over_all = f"By the mean accuracy over all rounds instead of the last: {label(average) if average else 'not decided'}."
    return " ".join([_leader(last), over_all, *_counts(study)])


def comparable(last: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows in cells that all strategies have, or all rows where there is none, and in words which of the two it is."""
    shared, n_cells = in_shared_cells(last), last.groupby(CELL).ngroups
    if shared.empty:
        return last, ", each over the cells that it shares with the other"
    n = shared.groupby(CELL).ngroups
    return shared, f", over the {n} of {n_cells} cells that all strategies have" if n < n_cells else ""


def winner(last: pd.DataFrame) -> str | None:
    """The strategy that is ahead of every other one in the cells that all have, after Holm's correction, if there is one."""
    found, shared = ordered(last.strategy), in_shared_cells(last)
    for strategy in found:
        versus = [over_seeds(differences(shared, "strategy", strategy, other)) for other in found if other != strategy]
        compared = [difference for difference in versus if difference]
        if len(compared) == len(versus) > 0 and all(sign == 1 for sign in signs(compared)):
            return strategy
    return None


def _leader(last: pd.DataFrame) -> str:
    """Who is ahead of whom at the end, over all cells of one network."""
    found = ordered(last.strategy)
    last, note = comparable(last)
    versus = {a: {b: gap for b in found if b != a and (gap := over_seeds(differences(last, "strategy", a, b)))} for a in found}
    leads = {a: sum(gap.mean for gap in row.values()) / len(row) for a, row in versus.items() if row}
    best = winner(last) or max(leads, key=lambda a: leads[a])
    compared = "; ".join(f"against {label(b)} {gap}" for b, gap in versus[best].items())
    alone = [label(b) for b in found if b != best and b not in versus[best]]
    apart = f" It shares no cell and seed with {and_list(alone)}." if alone else ""
    if best == winner(last):
        return (
            f"{label(best)} is the most effective strategy by this evidence. Its final test accuracy, paired by seed "
            f"and averaged over cells (data, noise){note}: {compared}."
        )
    return (
        f"which strategy is the most effective is not decided by this evidence. {capitalised(label(best))} has the highest "
        f"final test accuracy on average{note}, but its lead is not beyond doubt: {compared}.{apart}"
    )


def _counts(study: pd.DataFrame) -> list[str]:
    table = against_random(study)
    if table.empty:
        return ["Random has no finished run beside the others, so no difference to it can be given."]
    corrected = f", corrected for these {len(table)} verdicts (Holm)" if len(table) > 1 else ""
    if len(table) == table.strategy.nunique():  # in a single cell
        by_sign = {word: table.strategy[table.sign == sign] for sign, word in VERDICT.items()}
        said = [f"{word} {and_list(map(label, found))}" for word, found in by_sign.items() if len(found)]
        sentences = [f"Against random{corrected}: {'; '.join(said)}."]
    else:
        counts, undecided = [], []
        for (strategy,), part in groups(table, ["strategy"]):
            n = part.sign.value_counts().reindex([1, -1, 0], fill_value=0)
            if n[0] == len(part):
                undecided.append(label(strategy))
            else:
                counts.append(f"{label(strategy)} is ahead in {n[1]}, behind in {n[-1]} and undecided in {n[0]} of {len(part)}")
        if undecided:
            counts.append(f"undecided in all: {and_list(undecided)}")
        sentences = [f"Against random, by cell of data and noise{corrected}: {'; '.join(counts)}."]
    top = max(each_row(table), key=lambda row: abs(row.difference.mean))
    where = ", ".join(names((top.dataset, top.model, top.noise)))
    doubt = "" if top.sign else " It, too, is undecided."
    return [
        *sentences,
        f"The largest difference to random is that of {label(top.strategy)} on {where}: {top.difference}.{doubt}",
    ]


def rq2(study: pd.DataFrame) -> list[str]:
    """Which network under noise? A paragraph for the networks, and one for each noise, from the final test accuracies."""
    last = final(study)
    noises = [noise for noise in ordered(last.noise) if noise != "none"]
    lost = {noise: pairs for noise in noises if len(pairs := differences(last, "noise", "none", noise))}
    paragraphs = [_networks(last)]
    if not lost and last.model.nunique() > 1:
        paragraphs.append("What noise costs cannot be said: that takes finished runs with and without noise.")
    return [*paragraphs, *(_cost(noise, pairs) for noise, pairs in lost.items())]


def _networks(last: pd.DataFrame) -> str:
    """Every two networks compared, under each noise."""
    found = ordered(last.model)
    if len(found) < 2:
        return f"Not answered: no finished run of {and_list([label(m) for m in MODELS if m not in found], 'or')}."
    return " ".join(_two_networks(last[last.model.isin([a, b])], a, b) for a, b in itertools.combinations(found, 2))


def _two_networks(last: pd.DataFrame, a: str, b: str) -> str:
    if options := unequal(last, "model"):
        return (
            f"Not answered: {label(a)} and {label(b)} are not compared, because their runs also differ in "
            f"{phrases.unequal(options)}, and a difference in accuracy may come from that."
        )
    gaps = {n: over_seeds(differences(last[last.noise == n], "model", b, a)) for n in ordered(last.noise)}
    found = {noise: gap for noise, gap in gaps.items() if gap}
    if not found:
        return f"Not answered: {label(a)} and {label(b)} have no finished runs on the same data, strategy, noise and seed."
    listed = "; ".join(f"{_under(noise)} {gap}" for noise, gap in found.items())
    corrected = f" (verdicts corrected for {len(found)}, Holm)" if len(found) > 1 else ""
    return f"{_more_accurate(found, a, b)} {label(b)}'s accuracy minus {label(a)}'s: {listed}{corrected}."


def _under(noise: str) -> str:
    return "without noise" if noise == "none" else f"under {label(noise)}"


def _more_accurate(gaps: dict[str, Interval], a: str, b: str) -> str:
    verdicts = {
        1: f"{label(b)} is the more accurate network",
        -1: f"{label(a)} is the more accurate network",
        0: f"whether {label(a)} or {label(b)} is the more accurate is not decided by this evidence",
    }
    found = dict(zip(gaps, signs(list(gaps.values()))))
    under = {sign: [_under(noise) for noise in gaps if found[noise] == sign] for sign in verdicts}
    return capitalised("; ".join(f"{and_list(under[sign])}, {verdicts[sign]}" for sign in verdicts if under[sign])) + "."


def _cost(noise: str, pairs: pd.Series) -> str:
    """What a noise costs each network, over the runs that have a twin without noise, and which network loses less."""
    losses = {model: group for (model,), group in groups(pairs, ["model"])}
    listed = and_list([f"{label(model)} {over_seeds(group)}".replace("+", "") for model, group in losses.items()])
    sentences = [f"{capitalised(label(noise))} costs {listed}."]
    table = pairs.div(100).rename("test_accuracy").reset_index().assign(noise=noise)
    for a, b in itertools.combinations(losses, 2):
        if gap := over_seeds(differences(table, "model", a, b)):
            verdict = {1: f"{label(b)} loses less", -1: f"{label(a)} loses less", 0: "which of them loses less is not decided"}
            sentences.append(f"{capitalised(verdict[gap.sign])}: {label(a)}'s loss minus {label(b)}'s is {gap}.")
    return " ".join(sentences)
