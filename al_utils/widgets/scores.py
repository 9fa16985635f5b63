"""What stands beside an image as its score, with its unit."""

UNITS = {"max_entropy": "{:.3f} nats", "bald": "{:.3f} nats"}


def score_line(strategy: str, score: float) -> list[str]:
    """A line for a card: none for random, whose scores say nothing; without a unit where none is known."""
    return [] if strategy == "random" else [UNITS.get(strategy, "score {:.3f}").format(score)]
