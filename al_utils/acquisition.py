"""Acquisition functions: pure functions from what a round knows to the images to label next, and their registry.

A notebook adds its own with one decorator; its name is then a valid `strategy`:

    @al.acquisition.register
    def least_confident_sample(log_probs_K_N_C):
        return 1 - log_probs_K_N_C.exp().amax(-1).amin(0)
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

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
