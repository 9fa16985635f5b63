"""What choosing a batch gains over choosing single images by the same measure, paired by seed."""

import pandas as pd

from ..words import label
from . import ranking
from .answers import differences
from .statistics import Interval, interval, signs
from .studies import CELL, final, groups, names
from .tables import labels_phrase, text_table

# A batch strategy, and the score of single images that it takes care not to ask for twice. BADGE's gradients are as long as
# the network is unsure of its likeliest class.
RELATIVES = {"batch_bald": "bald", "power_bald": "bald", "softmax_bald": "bald", "badge": "least_confidence"}


def gains_table(everything: pd.DataFrame) -> pd.DataFrame:
    """Batch minus single, in points with the 95% interval: area under the curve and final accuracy, by cell and study.

    `everything` is what `studies.together` gives. Verdicts are corrected for the number of differences in the table (Holm).
    """
    gaps: dict[tuple, Interval] = {}
    for key, rounds in groups(everything, ["study", *CELL]):
        areas, last = ranking.areas(rounds), final(rounds)
        at_end = f"at {labels_phrase(last)} labels"
        for batch, single in RELATIVES.items():
            if {batch, single} <= set(rounds.strategy):
                found = {"area under the curve": areas[batch] - areas[single]}
                found[at_end] = differences(last, "strategy", batch, single)
                for measure, values in found.items():
                    if len(pairs := values.dropna()):
                        gaps[(*names(key[1:]), key[0], measure), f"{label(batch)} − {label(single)}"] = interval(pairs)
    verdicts = zip(gaps.items(), signs(list(gaps.values())))
    cells = {place: ranking.gap_text(gap, ranking.VERDICT[sign]) for (place, gap), sign in verdicts}
    table = text_table(cells, ["data set", "network", "noise", "what varies", "measured by"], [""])
    return table if table.empty or everything.study.nunique() > 1 else table.droplevel("what varies")
