"""Whether a network has learnt anything: its accuracy beside that of always naming the commonest class."""

import torch
from torch import Tensor

from .config import ExperimentConfig
from .ledger import Round


def at_chance(config: ExperimentConfig, round: Round, test_labels_N: Tensor) -> str:
    """A sentence with the way out where the test accuracy of a round is not above chance, else an empty one.

    Chance is the share of the commonest class among the test images; above it by two standard errors counts as learnt.
    """
    share = float(torch.bincount(test_labels_N).max()) / len(test_labels_N)
    accuracy = round.metrics["test_accuracy"]
    if accuracy > share + 2 * (share * (1 - share) / len(test_labels_N)) ** 0.5:
        return ""
    way_out = "raise lr, or give it more labels or epochs"
    if config.protocol != "tuned":
        way_out = f"protocol='tuned', which learns from few labels (protocol={config.protocol!r} has lr={config.lr:g})"
    return (
        f"After {round.n_labels:,} labels the network guesses: {accuracy:.1%} test accuracy, where always naming the commonest "
        f"class has {share:.1%}. The way out: {way_out}."
    )
