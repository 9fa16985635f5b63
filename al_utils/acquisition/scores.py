"""Scores of single images: how unsure the network is of each, whatever else is queried with it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .registry import register


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
