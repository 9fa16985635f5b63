"""What a round asks for: what the strategy looks at, computed, and the images that it chooses."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from . import acquisition, scoring
from .compute.machine import Stopwatch
from .fitting import seen_by
from .networks.classifier import Classifier
from .predicting import embeddings, predictions, to_score
from .problem import Problem
from .randomness import generator


def query(
    problem: Problem, number: int, model: Classifier, labelled: Tensor, watch: Stopwatch | None = None
) -> tuple[list[int], list[float]]:
    """The `n_query` unlabelled images that the strategy wants next: indices into the training images, and their scores.

    Raises:
        ValueError: what the strategy returned are no scores or positions of the pool. RuntimeError: they mean nothing. See
            `scoring.checked_scores`, `checked_batch`, `check_repeats`, `check_ranking`, `check_samples`.
    """
    c, watch = problem.config, watch or Stopwatch(problem.config.device)
    strategy = acquisition.get(c.strategy, c.posterior)
    pool = candidates(problem, number, labelled)
    if strategy.image_by_image:
        chunks = _chunks(strategy, problem, number, model, pool)
        chunks = watch.each("predict", chunks) if strategy.predicts else chunks
        with watch("acquire"):
            scores_N = scoring.score_in_chunks(strategy, chunks, len(pool), generator(c.seed, "acquisition", number))
    else:
        with watch("predict"):
            given = asked_for(strategy, problem, number, model, labelled, pool)
        with watch("acquire"):
            if strategy.batch:
                positions, scores = scoring.batch_of(strategy, given, len(pool), c.n_query, twice=number == 0)
                return pool[positions].tolist(), scores.tolist()
            scores_N = scoring.scores_of(strategy, given, len(pool), twice=number == 0)
    with watch("acquire"):
        if c.posterior == "mc_dropout" and len(pool) > c.n_query:
            scoring.check_ranking(scores_N)
        positions = acquisition.top(scores_N, c.n_query, generator(c.seed, "ties", number))
        return pool[positions.cpu()].tolist(), scores_N[positions].tolist()


def candidates(problem: Problem, number: int, labelled: Tensor) -> Tensor:
    """The images that a round may query: all that are unlabelled, or `pool_subset` of them, drawn anew each round."""
    pool, n = unlabelled(problem, labelled), problem.config.pool_subset
    if not 0 < n < len(pool):
        return pool
    drawn = torch.randperm(len(pool), generator=generator(problem.config.seed, "pool subset", number))[:n]
    return pool[drawn.sort().values]


def unlabelled(problem: Problem, labelled: Tensor) -> Tensor:
    """The pool without what has been queried, as ascending indices into the training images."""
    in_pool = torch.zeros(len(problem.train), dtype=torch.bool)
    in_pool[problem.split.pool] = True
    in_pool[labelled] = False
    return in_pool.nonzero().flatten()


def asked_for(
    strategy: acquisition.Acquisition, problem: Problem, number: int, model: Classifier, labelled: Tensor, pool: Tensor
) -> dict:
    """What the strategy's arguments name, see `acquisition.ARGUMENTS`; nothing else is computed."""
    c, train = problem.config, problem.train
    train = train.redrawn(generator(c.seed, "noise in acquisition", number, train.pixels.device))
    on_device = labelled.to(c.device)
    known: dict[str, Callable] = {
        "log_probs_K_N_C": lambda: torch.cat(list(_chunks(strategy, problem, number, model, pool)), dim=1),
        "embeddings_N_D": lambda: embeddings(*seen_by(model, train, problem), pool.to(c.device)),
        "labelled_embeddings_L_D": lambda: embeddings(*seen_by(model, train, problem), on_device),
        "labels_L": lambda: to_score(problem.train_labels[on_device]),
        "model": lambda: model.eval(),
        "n_classes": lambda: len(problem.dataset.class_names),
        "n_query": lambda: c.n_query,
        "generator": lambda: generator(c.seed, "acquisition", number),
    }
    return {name: known[name]() for name in strategy.asks}


def _chunks(strategy, problem: Problem, number: int, model: Classifier, pool: Tensor) -> Iterator[Tensor]:
    """Predictions of the pool in chunks `[K, n, C]`; one without content for a strategy that needs none."""
    if strategy.predicts:
        return posterior_predictions(problem, number, model, pool)
    return iter([torch.empty(0, len(pool), 0)])


def posterior_predictions(problem: Problem, number: int, model: Classifier, index: Tensor) -> Iterator[Tensor]:
    """Log-probabilities of the training images at `index` under the samples of a round, in chunks `[K, n, C]`."""
    c, train = problem.config, problem.train
    train = train.redrawn(generator(c.seed, "noise in acquisition", number, train.pixels.device))
    part, seen = seen_by(model, train, problem)
    if c.posterior == "as_released":  # no dropout anywhere: K identical passes
        for log_probs_1_n_C in predictions(part, seen, index=index.to(c.device)):
            yield log_probs_1_n_C.expand(c.mc_samples, -1, -1)
        return
    masks = None
    if c.dropout:
        masks = model.draw_masks((c.mc_samples, 1), c.dropout, generator(c.seed, "posterior", number))
    statistics = [buffer.clone() for buffer in model.buffers()]
    for k, log_probs_K_n_C in enumerate(predictions(part, seen, masks, index.to(c.device))):
        if k == 0 and c.dropout:
            scoring.check_samples(log_probs_K_n_C, statistics, list(model.buffers()))
        yield log_probs_K_n_C
