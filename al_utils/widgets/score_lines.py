"""What stands beside an image as its score, with its unit."""

UNITS = {
    "max_entropy": "{:.3f} nats", "bald": "{:.3f} nats", "epig": "{:.4f} nats",
    # Of an image in a batch: what it was worth given those before it.
    "batch_bald": "adds {:.3f} nats", "core_set": "{:.3g} from the nearest label", "lcmd": "{:.3g} from its centre",
    "badge": "gradient² {:.3g} away", "typiclust": "typicality {:.3g}", "prob_cover": "covers {:,.0f} more",
}  # fmt: skip


def score_line(strategy: str, score: float) -> list[str]:
    """A line for a card: none for random, whose scores say nothing; without a unit where none is known."""
    return [] if strategy == "random" else [UNITS.get(strategy, "score {:.3f}").format(score)]


def alone_line(strategy: str, score: float | None) -> list[str]:
    """The same of the score that an image of a batch would have alone, if that is known."""
    number = "{:,.0f}" if strategy == "prob_cover" else "{:.3f}" if strategy == "batch_bald" else "{:.3g}"
    return [] if score is None else [f"alone {number.format(score)}"]
