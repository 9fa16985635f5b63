"""The queries of a round as cards, as HTML and as a table; which of them are shown."""

import pandas as pd

from ..ledger import Round
from ..results.replay import Recomputed, RecordedRun
from .batches import bars, batch_said
from .cards import Card, cards, class_line, note
from .score_lines import alone_line, score_line

PAGE = 10  # images shown at once
ALL, NOISY, MISCLASSIFIED, ERRORS = "all queries", "noisy images", "misclassified", "the oracle's errors"


def kinds(run: RecordedRun) -> list[str]:
    """Which queries of a run can be asked for."""
    noisy = [NOISY] if run.tells_noisy else []
    if all(c < 0 for round in run.rounds for c in round.true_classes):  # nobody knows what is right
        return [ALL, *noisy]
    errors = [ERRORS] if "oracle" in run.header else []
    return [ALL, *noisy, MISCLASSIFIED, *errors, *(f"class {name}" for name in run.class_names)]


def ranks_of(run: RecordedRun, round: Round, which: str = ALL, found: Recomputed | None = None) -> list[int]:
    """The ranks of a round's queries that are meant by one of `kinds`, from 0; misclassified ones need the predictions."""

    def meant(rank):
        true, given = round.true_classes[rank], round.labels and round.labels[rank]
        if which == NOISY:
            return round.noisy[rank]
        if which == ERRORS:
            return round.labels is not None and given is not None and true >= 0 and given != true
        if which == MISCLASSIFIED:
            mean = found.predictions[rank].mean if found else []
            return found is not None and true >= 0 and max(range(len(mean)), key=mean.__getitem__) != true
        return which == ALL or (true >= 0 and which == f"class {run.class_names[true]}")

    return [rank for rank in range(len(round.queried)) if meant(rank)]


def round_cards(run: RecordedRun, round: Round, ranks: list[int], found: Recomputed | None = None) -> list[Card]:
    """The queries of a round at these ranks."""
    made, of_batch = [], bars(run, round, found)
    for rank in ranks:
        image, true = round.queried[rank], round.true_classes[rank]
        lines = [f"#{rank + 1}, image {image}", class_line(run.class_names, true)]
        if round.labels and round.labels[rank] != true:
            given = round.labels[rank]
            lines.append("no label given" if given is None else f"labelled {run.class_names[given]}")
        bar, strategy = of_batch[rank], run.config["strategy"]
        lines += score_line(strategy, round.scores[rank]) + alone_line(strategy, bar.alone if bar else None)
        prediction = found.predictions[rank] if found else None
        made.append(Card(run.problem.train.image(image), lines, round.noisy[rank], true, prediction, bar))
    return made


def round_html(
    run: RecordedRun, number: int, found: Recomputed | None = None, first: int = 0, size: int = 84, which: str = ALL
) -> str:
    """The queries of a round as HTML, a page from the `first` on: with the network's predictions where they are recomputed."""
    if number >= len(run.rounds) or not run.rounds[number].queried:
        return note(f"{run.strategy}: no queries in round {number}", bold=True)
    round = run.rounds[number]
    n, noisy = len(round.queried), sum(round.noisy)
    head = f"{run.strategy}, round {number}: {n} queries after {round.n_labels:,} labels"
    head += f", {noisy} noisy" if run.tells_noisy else ""
    head += f"; test accuracy {round.metrics['test_accuracy']:.1%}"
    ranks = ranks_of(run, round, which, found)
    if which != ALL:
        head += f". Shown: {which}, {len(ranks)} of {n}" if found or which != MISCLASSIFIED else ". Shown: none, as yet"
    shown = round_cards(run, round, ranks[first : first + PAGE], found)
    none = "none on this page" if ranks else "none"
    if which == MISCLASSIFIED and not found:
        none = "known when the predictions are"
    how = note(said) if (said := batch_said(run, round, found)) else ""
    return note(head, bold=True) + how + cards(shown, run.class_names, size, none) + (note(f"{found}.") if found else "")


def queries_table(run: RecordedRun, number: int, found: Recomputed | None, which: str = ALL) -> pd.DataFrame:
    """The queries of a round, one row each, with the predictions where they are recomputed."""
    r = run.rounds[number]
    table = pd.DataFrame({
        "run": run.path.stem, "strategy": run.config["strategy"], "round": number, "rank": range(1, len(r.queried) + 1),
        "image": r.queried, "class": r.true_classes, "label": r.true_classes if r.labels is None else r.labels,
        "score": r.scores, "noisy": r.noisy,
    })  # fmt: skip
    if found is not None:
        entropies = {part: [getattr(p, part) for p in found.predictions] for part in ("total", "aleatoric", "epistemic")}
        means = {f"mean {name}": [p.mean[c] for p in found.predictions] for c, name in enumerate(run.class_names)}
        spreads = {f"spread {name}": [p.spread[c] for p in found.predictions] for c, name in enumerate(run.class_names)}
        alone = {"score alone": found.as_first} if found.as_first else {}
        table = table.assign(**(alone | entropies | means | spreads))
    return table.iloc[ranks_of(run, r, which, found)]
