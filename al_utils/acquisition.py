"""Acquisition functions: pure functions from what a round knows to the images to label next, and their registry.

A notebook adds its own with one decorator; its name is then a valid `strategy`:

    @al.acquisition.register
    def least_confident_sample(log_probs_K_N_C):
        return 1 - log_probs_K_N_C.exp().amax(-1).amin(0)
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from . import sources
from .options import check_choice, check_names

# What a function may name as an argument, with N images in the pool, L labelled ones, K samples, C classes, D features.
ARGUMENTS = {
    "log_probs_K_N_C": "log-probabilities of the pool's images under the posterior samples",
    "embeddings_N_D": "the input of the network's last layer for the pool's images, without dropout",
    "labelled_embeddings_L_D": "the same for the labelled images",
    "labels_L": "the classes of the labelled images",
    "model": "the trained network",
    "n_query": "how many images are asked for",
    "generator": "a source of randomness that depends on seed and round alone",
}


@dataclass(frozen=True)
class Acquisition:
    """A registered function, and what it is called with."""

    function: Callable
    asks: tuple[str, ...]  # of ARGUMENTS
    predicts: bool  # False: it needs no predictions and is called with K = 0
    batch: bool  # it returns a batch instead of scores
    listed: bool  # False: not among `names`, because it is wrong on purpose
    samples: bool  # it measures how several posterior samples disagree

    @property
    def image_by_image(self) -> bool:
        """Whether it scores each image from that image's predictions alone, so that the pool may come in chunks."""
        return not self.batch and set(self.asks) <= {"log_probs_K_N_C", "generator"}


_registry: dict[str, Acquisition] = {}


def register(
    function: Callable | None = None, *, predicts: bool = True, batch: bool = False, listed: bool = True, samples: bool = False
) -> Callable:
    """Make `function` a strategy under its own name. It is given what its arguments name, see `ARGUMENTS`, and nothing else.

    It returns one finite score an image of the pool, `[N]`, the largest of which are queried. A function of `log_probs_K_N_C`
    alone (and `generator`) may see the pool in chunks, so there a score must depend on its own image only.

    Args:
        predicts: False if it looks at no predictions; `log_probs_K_N_C` then has the shape `[0, N, 0]`.
        batch: True if it chooses a batch together: it returns `n_query` positions in the pool and their scores.
        listed: False keeps it out of lists of strategies; it can be chosen all the same.
        samples: True if it measures how the posterior samples disagree: a configuration without several is refused.

    Raises:
        ValueError: an argument that is not known.
    """
    if function is None:
        return lambda function: register(function, predicts=predicts, batch=batch, listed=listed, samples=samples)
    asked = inspect.signature(function).parameters.values()
    needed = [p.name for p in asked if p.name in ARGUMENTS or p.default is p.empty]
    check_names(needed, ARGUMENTS)
    _registry[function.__name__] = Acquisition(function, tuple(needed), predicts, batch, listed, samples)
    return function


def names() -> list[str]:
    """The known strategies."""
    return [name for name, strategy in _registry.items() if strategy.listed]


def get(name: str, posterior: str = "mc_dropout") -> Acquisition:
    """The strategy of this name, under `posterior="as_released"` as the paper's public code computes it."""
    if name not in _registry:
        check_choice("strategy", name, names())
    released = f"{name}_as_released"
    return _registry[released if posterior == "as_released" and released in _registry else name]


def entropy(log_probs: Tensor) -> Tensor:
    """-Σ p log p over the last axis, in nats; 0 log 0 = 0."""
    return -torch.special.xlogy(log_probs.exp(), log_probs.exp()).sum(-1)


@register(predicts=False)
def random(log_probs_K_N_C: Tensor, generator: torch.Generator) -> Tensor:
    """Scores `[N]` that say nothing: a uniform draw, the baseline."""
    return torch.rand(log_probs_K_N_C.shape[1], generator=generator).to(log_probs_K_N_C.device)


@register
def max_entropy(log_probs_K_N_C: Tensor) -> Tensor:
    """Entropy of the predictive distribution (equation 4), `[N]`, in nats."""
    mean_N_C = log_probs_K_N_C.double().exp().mean(0)
    return -torch.special.xlogy(mean_N_C, mean_N_C).sum(-1)


@register(samples=True)
def bald(log_probs_K_N_C: Tensor) -> Tensor:
    """Mutual information of prediction and parameters (equation 5; Houlsby et al. 2011), `[N]`, in nats.

    The entropy of the mean minus the mean of the entropies: at least 0 but for rounding. In float64, because the
    difference of two nearly equal entropies is what is ranked.
    """
    log_probs_K_N_C = log_probs_K_N_C.double()
    probs_K_N_C = log_probs_K_N_C.exp()
    mean_N_C = probs_K_N_C.mean(0)
    entropy_of_mean_N = -torch.special.xlogy(mean_N_C, mean_N_C).sum(-1)
    # `entropy`, but without a second exponential and logarithm of every number; the clamp makes 0 log 0 = 0.
    mean_of_entropies_N = -probs_K_N_C.mul_(log_probs_K_N_C.clamp(min=-1e9)).sum(-1).mean(0)
    return entropy_of_mean_N - mean_of_entropies_N


@register
def variation_ratios(log_probs_K_N_C: Tensor) -> Tensor:
    """1 minus the share of the samples that vote for the commonest class, `[N]` (Freeman 1965; Gal et al. 2017).

    It takes few values, so ties are common. Of equal ones the one with the larger entropy goes first: a thousandth of the
    entropy is added to the votes.
    """
    K, _, C = log_probs_K_N_C.shape
    votes_N_C = F.one_hot(log_probs_K_N_C.argmax(-1), C).sum(0)
    return 1 - votes_N_C.amax(-1).double() / K + max_entropy(log_probs_K_N_C) / (1_000 * K)


@register(samples=True)
def mean_std(log_probs_K_N_C: Tensor) -> Tensor:
    """Standard deviation of a class's probability over the samples, averaged over the classes, `[N]` (Gal et al. 2017)."""
    return log_probs_K_N_C.double().exp().std(0, correction=0).mean(-1)


@register
def margin(log_probs_K_N_C: Tensor) -> Tensor:
    """Minus the gap between the two largest probabilities of the predictive distribution, `[N]` (Scheffer et al. 2001)."""
    first_N, second_N = log_probs_K_N_C.double().exp().mean(0).topk(2).values.unbind(-1)
    return second_N - first_N


@register
def least_confidence(log_probs_K_N_C: Tensor) -> Tensor:
    """1 minus the largest probability of the predictive distribution, `[N]` (Lewis and Gale 1994)."""
    return 1 - log_probs_K_N_C.double().exp().mean(0).amax(-1)


@register(listed=False, samples=True)
def bald_flipped(log_probs_K_N_C: Tensor) -> Tensor:
    """BALD with its sign flipped, for the audit: it queries what the samples agree on."""
    return -bald(log_probs_K_N_C)


@register(listed=False)
def bald_as_released(log_probs_K_N_C: Tensor) -> Tensor:
    """BALD of the paper's public code, for the audit: log(p + 1e-5), float32, and the sign flipped."""
    probs = log_probs_K_N_C.exp()
    mean = probs.mean(0)
    entropy_of_mean = -(mean * (mean + 1e-5).log()).sum(-1)
    mean_of_entropies = -(probs * (probs + 1e-5).log()).sum(-1).mean(0)
    return mean_of_entropies - entropy_of_mean


def top(scores_N: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Positions `[n]` of the largest scores, best first; equal ones in an order drawn from `generator`, never that of files."""
    shuffled_N = torch.randperm(len(scores_N), generator=generator).to(scores_N.device)
    return shuffled_N[scores_N[shuffled_N].sort(descending=True, stable=True).indices[:n]]


def check_samples(log_probs_K_n_C: Tensor, statistics_before: list[Tensor], statistics_after: list[Tensor]) -> None:
    """Raise a `RuntimeError` if MC dropout is inert (all samples alike) or predicting moved BatchNorm's statistics."""
    if len(log_probs_K_n_C) > 1 and bool((log_probs_K_n_C == log_probs_K_n_C[0]).all()):
        raise RuntimeError(
            f"the {len(log_probs_K_n_C)} MC-dropout samples are all equal, so they hold no disagreement to query by. "
            "Is dropout without effect, or has training killed every unit? Look at the training loss and lower lr."
        )
    if any(not torch.equal(old, new) for old, new in zip(statistics_before, statistics_after)):
        raise RuntimeError("predicting changed BatchNorm's running statistics: the network was not in evaluation mode.")


def score_in_chunks(strategy: Acquisition, chunks: Iterable[Tensor], n: int, generator: torch.Generator) -> Tensor:
    """Scores `[n]` (float64) of a strategy that scores image by image, from predictions in chunks `[K, m, C]`.

    Raises: see `checked_scores` and `check_repeats`.
    """
    extra = {"generator": generator} if "generator" in strategy.asks else {}
    again = _again(extra)
    scores_N, done = torch.empty(0), 0
    for log_probs_K_m_C in chunks:
        # In a place of their own: small tensors kept from among large ones fragment the heap, which then grows.
        scores_N = scores_N if done else torch.empty(n, dtype=torch.float64, device=log_probs_K_m_C.device)
        m = log_probs_K_m_C.shape[1]
        scores_N[done : done + m] = _one_an_image(strategy, strategy.function(log_probs_K_m_C, **extra), m)
        if not done and not sources.is_ours(strategy.function):
            second_m = _one_an_image(strategy, strategy.function(log_probs_K_m_C, **again), m)
            check_repeats(strategy, scores_N[:m], second_m.to(scores_N))
        done += m
    return checked_scores(strategy, scores_N, n)


def scores_of(strategy: Acquisition, given: dict, n: int, twice: bool) -> Tensor:
    """Scores `[n]` of a strategy that sees the whole pool; `twice`: somebody's is called again, to see that it repeats.

    Raises: see `checked_scores` and `check_repeats`.
    """
    again = _again(given)
    scores_N = checked_scores(strategy, strategy.function(**given), n)
    if twice and not sources.is_ours(strategy.function):
        check_repeats(strategy, scores_N, checked_scores(strategy, strategy.function(**again), n))
    return scores_N


def batch_of(strategy: Acquisition, given: dict, n_pool: int, n_query: int, twice: bool) -> tuple[Tensor, Tensor]:
    """Positions and scores `[n_query]` of a strategy that chooses a batch; `twice` as in `scores_of`.

    Raises: see `checked_batch` and `check_repeats`.
    """
    again = _again(given)
    positions, scores = checked_batch(strategy, strategy.function(**given), n_pool, n_query)
    if twice and not sources.is_ours(strategy.function):
        check_repeats(strategy, positions, checked_batch(strategy, strategy.function(**again), n_pool, n_query)[0])
    return positions, scores


def _again(given: dict) -> dict:
    """The same arguments, with a generator that will draw the same."""
    return given | ({"generator": given["generator"].clone_state()} if "generator" in given else {})


def checked_scores(strategy: Acquisition, scores, n: int) -> Tensor:
    """Scores as a tensor `[n]`, from a tensor, an array or a list.

    Raises:
        ValueError: they are not one number an image. RuntimeError: one is not finite.
    """
    scores_N = _one_an_image(strategy, scores, n)
    if not bool(scores_N.isfinite().all()):
        raise RuntimeError(
            f"{int((~scores_N.isfinite()).sum())} of {n} scores of strategy={strategy.function.__name__!r} are not finite."
        )
    return scores_N


def checked_batch(strategy: Acquisition, returned, n_pool: int, n_query: int) -> tuple[Tensor, Tensor]:
    """Positions `[n_query]` (int64, on the CPU) and scores `[n_query]` that a batch strategy returned.

    Raises:
        ValueError: they are not `n_query` different positions in the pool, with a score each.
        RuntimeError: a score is not finite.
    """
    name = strategy.function.__name__
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise ValueError(f"strategy={name!r} returned {type(returned).__name__}, but a batch is a pair: positions and scores.")
    positions = _as_tensor(strategy, "positions", returned[0]).cpu()
    if positions.is_floating_point() or positions.is_complex() or positions.dtype == torch.bool:
        raise ValueError(f"strategy={name!r} returned positions of type {positions.dtype}: return whole numbers.")
    if positions.shape != (n_query,):
        raise ValueError(
            f"strategy={name!r} returned positions of shape {tuple(positions.shape)}: return n_query={n_query} of them."
        )
    if outside := [p for p in positions.tolist() if not 0 <= p < n_pool]:
        raise ValueError(f"strategy={name!r} returned position {outside[0]}: those of the pool are 0 to {n_pool - 1}.")
    if len(set(positions.tolist())) < n_query:
        raise ValueError(f"strategy={name!r} returned a position twice: return {n_query} different ones.")
    return positions.long(), checked_scores(strategy, returned[1], n_query)


def check_repeats(strategy: Acquisition, first: Tensor, second: Tensor) -> None:
    """Raise a `ValueError` unless two calls of a function with the same arguments returned the same."""
    if not torch.allclose(first, second, rtol=0, atol=0, equal_nan=True):
        raise ValueError(
            f"strategy={strategy.function.__name__!r} returned two things when called twice with the same arguments: "
            "let it draw from its argument `generator` only, and leave its arguments unchanged."
        )


def _one_an_image(strategy: Acquisition, scores, n: int) -> Tensor:
    scores_N = _as_tensor(strategy, "scores", scores)
    if scores_N.shape != (n,):
        raise ValueError(
            f"strategy={strategy.function.__name__!r} returned scores of shape {tuple(scores_N.shape)} for {n} images: "
            f"return one number an image, shape {(n,)}."
        )
    return scores_N


def _as_tensor(strategy: Acquisition, what: str, values) -> Tensor:
    try:
        return torch.as_tensor(values).detach()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"strategy={strategy.function.__name__!r} returned {what} of type {type(values).__name__}: "
            "return a tensor, an array or a list of numbers."
        ) from None


def check_ranking(scores_N: Tensor) -> None:
    """Raise a `RuntimeError` if scores are all the same where there is a choice."""
    if len(scores_N) > 1 and bool((scores_N == scores_N[0]).all()):
        raise RuntimeError(f"all {len(scores_N)} acquisition scores are {float(scores_N[0])}: they rank nothing.")
