"""What each image of a batch would have scored had it been picked first, before the others took some of it away."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import acquisition
from ..acquisition.typical import covered_by_each
from ..networks.classifier import Classifier
from ..problem import Problem
from ..querying import asked_for, candidates

# Their score of a first pick depends on that image and the labelled ones alone. TypiClust's has no such meaning.
BY_ITSELF = ("batch_bald", "core_set", "lcmd", "badge")


def scores_as_first(
    problem: Problem, number: int, model: Classifier, labelled: Tensor, queried: Sequence[int]
) -> list[float] | None:
    """The score of each queried image as the first of its batch, in the units of the strategy; None where there is none.

    Args:
        problem: that of the round, see `problem.after`; `model` is the round's network.
        queried: what the round queried, indices into the training images.
    """
    c = problem.config
    strategy, images = acquisition.get(c.strategy, c.posterior), torch.tensor(list(queried))
    if c.strategy not in ("prob_cover", *BY_ITSELF):
        return None
    # Noise that is redrawn at each access comes image after image: these have theirs in the pool alone.
    whole = c.strategy == "prob_cover" or problem.train.each_access is not None
    looked_at = candidates(problem, number, labelled) if whole else images
    rows = torch.searchsorted(looked_at, images) if whole else torch.arange(len(images))
    given = asked_for(strategy, problem, number, model, labelled, looked_at)
    if c.strategy == "prob_cover":
        given.pop("n_query")
        return covered_by_each(**given)[rows.to(c.device)].tolist()
    return [float(strategy(**_of_one(given | {"n_query": 1}, row))[1]) for row in rows.tolist()]


def _of_one(given: dict, row: int) -> dict:
    """What the strategy is given where this image is the whole pool."""
    parts = {"log_probs_K_N_C": lambda t: t[:, row : row + 1], "embeddings_N_D": lambda t: t[row : row + 1]}
    return {name: parts[name](value) if name in parts else value for name, value in given.items()}
