"""What comes out of a labelling session: how well and how fast images were labelled, and what the errors cost."""

import statistics
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from ..ledger import Round
from ..person import UNDO, Answer
from ..results.pages import html_table
from . import query_figures
from .cards import note
from .controls import drawn


def session_summary(
    rounds: list[Round], truth: list[Round], steps: Sequence[Answer], class_names: list[str], final: bool = True
) -> pd.DataFrame:
    """How well and how fast the images were labelled, and what the errors cost; one row per topic.

    Args:
        final: False between batches: what a person's errors are is not told while they may still learn from it.
    """
    pairs = [(c, a) for r in rounds if r.labels is not None for c, a in zip(r.true_classes, r.labels)]
    given = [(c, a) for c, a in pairs if a is not None]
    wrong = Counter((c, a) for c, a in given if c >= 0 and c != a)
    n_known = sum(c >= 0 for c, _ in given)
    rows = {"Labels": f"{len(given)} of {len(pairs)} queried images; {len(pairs) - len(given)} without a label"}
    if n_known and final:
        n = sum(wrong.values())
        rows["Error rate"] = f"{n / n_known:.1%} ({n} of {n_known} labels differ from the true class)"
        often = [f"{class_names[c]} taken for {class_names[a]} ({n}×)" for (c, a), n in wrong.most_common(5)]
        rows["Confusions"] = ", ".join(often) or "none"
    elif given and not n_known:
        rows["Error rate"] = "the true classes of these images are not known, so nothing can be said of errors"
    seconds = [step.seconds for step in steps if step.kind != UNDO and step.seconds > 0]
    if seconds:
        rows["Seconds per label"] = f"{statistics.median(seconds):.1f} (median of {len(seconds)} answers)"
    if final and truth and rounds and len(truth) == len(rounds) and (n_known or not given):
        ours, theirs = (100 * line[-1].metrics["test_accuracy"] for line in (rounds, truth))
        rows["Final test accuracy"] = f"{ours:.1f}% with these labels, {theirs:.1f}% with the true ones"
        rows["What the errors cost"] = f"{theirs - ours:+.1f} points, in one run: a few points are chance"
    elif rounds and rounds[-1].metrics:
        rows["Test accuracy"] = f"{100 * rounds[-1].metrics['test_accuracy']:.1f}% after {rounds[-1].n_labels} labels"
    return pd.DataFrame({"": rows})


def results(
    rounds: list[Round], truth: list[Round], steps: Sequence[Answer], class_names: list[str], who: str, final: bool = True
) -> str:
    """The curve, if networks were trained on these labels, and the summary, as HTML."""
    if not rounds:
        return note("The learning curve appears here after the first training.")
    summary = html_table(session_summary(rounds, truth, steps, class_names, final))
    if not rounds[-1].metrics:
        return summary
    return drawn(query_figures.against_truth, rounds, truth, who, alt="Test accuracy against the number of queries") + summary
