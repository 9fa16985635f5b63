"""How far annotators agree beyond chance: Cohen's kappa for two of them, Fleiss' kappa for more."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..person import LABEL, Answer


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Agreement of two annotators beyond what their own shares of the classes give by chance (Cohen 1960).

    1 is perfect, 0 is chance; NaN where both gave one and the same class to everything. Raises: ValueError: unequal lengths.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"{len(first)} and {len(second)} labels: there must be one of each annotator for every image.")
    classes = sorted({*first, *second})
    counts_C_C = np.zeros((len(classes), len(classes)))
    for a, b in zip(first, second):
        counts_C_C[classes.index(a), classes.index(b)] += 1
    share_C_C = counts_C_C / len(first)
    observed, by_chance = np.trace(share_C_C), share_C_C.sum(1) @ share_C_C.sum(0)
    return float((observed - by_chance) / (1 - by_chance)) if by_chance < 1 else float("nan")


def fleiss_kappa(counts_N_C: np.ndarray) -> float:
    """Agreement of several annotators beyond chance (Fleiss 1971), from how many of them gave image n the class c.

    Raises:
        ValueError: images with different numbers of annotators, or fewer than two.
    """
    counts_N_C = np.asarray(counts_N_C, dtype=float)
    n_annotators = counts_N_C.sum(1)
    if counts_N_C.ndim != 2 or len(set(n_annotators)) != 1 or n_annotators[0] < 2:
        raise ValueError("each image must have a label of each of two or more annotators.")
    n = n_annotators[0]
    observed = ((counts_N_C**2).sum(1) - n).mean() / (n * (n - 1))
    by_chance = ((counts_N_C.sum(0) / counts_N_C.sum()) ** 2).sum()
    return float((observed - by_chance) / (1 - by_chance)) if by_chance < 1 else float("nan")


def said_of(sessions: Mapping[str, Sequence[Answer]]) -> list[str]:
    """What is to be said of the agreement of sessions, by their annotators' names: a sentence for each pair, and for all."""
    labels = {name: {a.key: a.label for a in answers if a.kind == LABEL} for name, answers in sessions.items()}
    names, lines = list(labels), []
    if len(names) < 2:
        return ["Agreement is between two sessions or more."]
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            shared = sorted(labels[a].keys() & labels[b].keys())
            first, second = ([labels[name][key] for key in shared] for name in (a, b))
            if not shared:
                lines.append(f"{a} and {b} have labelled no image in common.")
                continue
            equal = sum(x == y for x, y in zip(first, second))
            kappa = _number(cohen_kappa(first, second))
            lines.append(
                f"{a} and {b} agree on {equal} of {len(shared)} images ({equal / len(shared):.0%}), Cohen's kappa {kappa}."
            )
    shared = sorted(set.intersection(*(set(known) for known in labels.values())))
    if len(names) > 2 and shared:
        classes = sorted({known[key] for known in labels.values() for key in shared})
        counts_N_C = np.array([[sum(known[key] == c for known in labels.values()) for c in classes] for key in shared])
        lines.append(f"All {len(names)} have labelled {len(shared)} images, Fleiss' kappa {_number(fleiss_kappa(counts_N_C))}.")
    return lines


def _number(kappa):
    return "not defined (one class only)" if np.isnan(kappa) else f"{kappa:.2f}"
