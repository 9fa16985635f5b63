"""What made each image of a batch attractive: its score given those picked before it, beside its score alone."""

from .. import acquisition
from ..ledger import Round
from ..results.replay import Recomputed, RecordedRun
from .cards import Bar

ALONE = {  # what an image's score is where nothing was picked before it
    "batch_bald": "its BALD",
    "core_set": "its distance from the nearest labelled image",
    "lcmd": "its distance from the nearest labelled image",
    "badge": "the squared length of its gradient, which the squared distance from an earlier pick can exceed",
    "prob_cover": "how many images it covers that no labelled one does",
}
TOGETHER = {"batch_bald": "{:.2f} nats", "prob_cover": "{:,.0f} images"}  # where scores add up to something


def chooses_batch(run: RecordedRun) -> bool:
    """Whether the run's strategy picks its images one after the other, and is registered here."""
    try:
        return acquisition.get(run.config["strategy"]).batch
    except ValueError:
        return False


def bars(run: RecordedRun, round: Round, found: Recomputed | None) -> list[Bar | None]:
    """A bar for each query of a round, all to one scale; none for a strategy of single images."""
    alone: list = (found and found.as_first) or [None] * len(round.scores)
    most = max([*round.scores, *(value for value in alone if value is not None)], default=0)
    if most <= 0 or not chooses_batch(run):
        return [None] * len(round.scores)
    return [Bar(score, first, most) for score, first in zip(round.scores, alone)]


def batch_said(run: RecordedRun, round: Round, found: Recomputed | None) -> str:
    """What the bars mean, in sentences; empty for a strategy of single images."""
    if not any(bars(run, round, found)):
        return ""
    strategy, said = run.config["strategy"], "In the order of the picks. Filled bar: the score given the images before it."
    if strategy == "typiclust":
        return said + " Those decide from which cluster an image comes, not how typical it is there."
    if strategy not in ALONE:
        return said
    if not (found and found.as_first):
        return said + " Its score alone comes with the predictions."
    said += f" Frame: the score alone, {ALONE[strategy]}."
    if strategy in TOGETHER:
        both, sum_alone = (TOGETHER[strategy].format(sum(scores)) for scores in (round.scores, found.as_first))
        said += f" Together {both}; those alone would add up to {sum_alone}."
    return said
