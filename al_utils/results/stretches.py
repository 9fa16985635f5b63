"""Where a strategy is ahead of random, and where behind, in labels: early gains and late ones told apart."""

import pandas as pd

from ..words import label
from . import curves
from .statistics import signed
from .studies import CELL, groups, names, ordered
from .tables import text_table

WORDS = ((1, "ahead"), (-1, "behind"))


def stretches(band: pd.DataFrame) -> list[tuple[int, int, int]]:
    """Where a band of differences leaves zero: (1 ahead or -1 behind, first labels, last labels), rounds in a row as one.

    `band` is that of `curves.simultaneous_band`, so all stretches of a curve hold together with its confidence.
    """
    found: list[tuple[int, int, int]] = []
    before = 0
    for labels, low, high in zip(band.index, band.low, band.high):
        sign = int(low > 0) - int(high < 0)
        if sign and sign == before:
            found[-1] = (sign, found[-1][1], int(labels))
        elif sign:
            found.append((sign, int(labels), int(labels)))
        before = sign
    return found


def stretches_table(study: pd.DataFrame) -> pd.DataFrame:
    """Where each strategy's band leaves zero, and its largest difference to random in points with the band there."""
    cells = {}
    for key, cell in groups(study, CELL):
        runs = {name: curves.wide(rounds) for name, rounds in cell.groupby("strategy")}
        bands = curves.band_against(runs) if "random" in runs else {}
        for strategy in ordered(bands):
            band = bands[strategy]
            at = int(band["mean"].abs().argmax())
            mean, low, high = (signed(value) for value in band.iloc[at][["mean", "low", "high"]])
            largest = f"{mean} ({low} to {high}) at {band.index[at]:,}"
            found = stretches(band)
            where = [_in_words(word, sign, found) for sign, word in WORDS if any(sign == each for each, _, _ in found)]
            n = len(runs[strategy].columns.intersection(runs["random"].columns))
            cells[names(key), label(strategy)] = "\n".join([*(where or ["undecided"]), largest]) if n > 1 else "one seed"
    return text_table(cells, ["data set", "network", "noise"], [""])


def _in_words(word: str, sign: int, found: list[tuple[int, int, int]]) -> str:
    """`ahead at 10, 40 to 70`."""
    parts = [f"{first:,}" if first == last else f"{first:,} to {last:,}" for each, first, last in found if each == sign]
    return f"{word} at {', '.join(parts)}"
