"""Whether a network has learnt anything: its accuracy beside that of always naming the commonest class."""

from torch import Tensor

from .config import ExperimentConfig
from .ledger import Round


def guessing_limit(share: float, n_images: int | None = None) -> float:
    """The accuracy up to which a network counts as guessing, where always naming the commonest class has `share`.

    Two standard errors above it on `n_images` test images. Ledgers do not say how many these were: then half as much again,
    or a tenth of the way to 1 if that is less.
    """
    if n_images is None:
        return share + min(0.5 * share, 0.1 * (1 - share))
    return share + 2 * (share * (1 - share) / n_images) ** 0.5


def at_chance(config: ExperimentConfig, round: Round, test_labels_N: Tensor) -> str:
    """A sentence with the way out where the test accuracy of a round is not above chance, else an empty one.

    Chance is the share of the commonest class among the test images, see `guessing_limit`.
    """
    share = float(test_labels_N.bincount().max()) / len(test_labels_N)
    accuracy = round.metrics["test_accuracy"]
    if accuracy > guessing_limit(share, len(test_labels_N)):
        return ""
    way_out = "raise lr, or give it more labels or epochs"
    if config.protocol != "tuned":
        way_out = f"protocol='tuned', which learns from few labels (protocol={config.protocol!r} has lr={config.lr:g})"
    return (
        f"After {round.n_labels:,} labels the network guesses: {accuracy:.1%} test accuracy, where always naming the commonest "
        f"class has {share:.1%}. The way out: {way_out}."
    )
