"""What a score is called beside an image, with its unit."""

_MEANING = {
    "max_entropy": "entropy {:.3f} nats",
    "bald": "BALD {:.3f} nats",
    "variation_ratios": "disagreement {:.3f}",
    "mean_std": "spread of probabilities {:.3f}",
    "least_confidence": "1 − confidence {:.3f}",
    "margin": "− margin of probabilities {:.3f}",
}


def score_line(strategy: str, score: float) -> list[str]:
    """A line for a card; none where the score says nothing, and no unit where a strategy of one's own has the word."""
    return [] if strategy == "random" else [_MEANING.get(strategy, "score {:.3f}").format(score)]
