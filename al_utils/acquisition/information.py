"""Information that labels are expected to bring: BALD of a batch, with noise, and about other predictions."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..compute import parallel
from .picking import as_batch, top
from .registry import register
from .scores import bald, entropy

CANDIDATES = 1_000  # images that BatchBALD chooses from, beside which most of a pool tells the samples nothing
OUTCOMES = 10_000  # joint outcomes of a batch: all of them up to here (four images of ten classes), so many drawn beyond
AT_ONCE = 2**18  # numbers in the largest tensor of a computation in chunks: few enough for a cache
TINY = torch.finfo(torch.float64).tiny


@register(batch=True, samples=True, note=f"BatchBALD looked at no more than the {CANDIDATES:,} images with the highest BALD")
def batch_bald(log_probs_K_N_C: Tensor, n_query: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The batch whose labels together tell most of the parameters, I(y_1, …, y_n; ω), greedily (Kirsch et al. 2019).

    By the chain rule the n-th image adds I(y_n; ω | y_1, …, y_n-1) = H(y_n | y_1, …, y_n-1) - E_ω H(y_n | ω). This is its
    score, in nats; that of the first image is its BALD. The expectation over the outcomes of y_1, …, y_n-1 is exact while there
    are at most `OUTCOMES`; later it is over as many drawn ones, the same for all candidates.

    Candidates are the `CANDIDATES` images with the highest BALD, at least `n_query`: no image's score exceeds its BALD.
    """
    bald_N = bald(log_probs_K_N_C)
    candidates_T = top(bald_N, max(CANDIDATES, n_query), generator)
    log_probs_K_T_C = log_probs_K_N_C[:, candidates_T].double()
    probs_K_T_C, given_parameters_T = log_probs_K_T_C.exp(), entropy(log_probs_K_T_C).mean(0)

    # Before any answer there is one outcome, after which all samples are as likely.
    posterior_O_K, weights_O = probs_K_T_C.new_full((1, len(probs_K_T_C)), 1 / len(probs_K_T_C)), probs_K_T_C.new_ones(1)
    gains_T = bald_N[candidates_T]
    picked: list[int] = []
    scores: list[float] = []
    while len(picked) < n_query:
        if picked:
            posterior_O_K, weights_O = _with_answer(posterior_O_K, weights_O, probs_K_T_C[:, picked[-1]], generator)
            gains_T = _mean_entropy(posterior_O_K, weights_O, probs_K_T_C) - given_parameters_T
            gains_T[picked] = -torch.inf
        picked.append(int(gains_T.argmax()))
        scores.append(float(gains_T[picked[-1]]))
    return as_batch(candidates_T[picked].tolist(), scores)


def _with_answer(
    posterior_O_K: Tensor, weights_O: Tensor, probs_K_C: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The joint outcomes with one more answer: what each makes of the samples by Bayes' rule, and its probability.

    Beyond `OUTCOMES` there is one drawn from each of as many equally probable shares of them (stratified sampling).
    """
    C = probs_K_C.shape[1]
    answers_O_C = posterior_O_K @ probs_K_C
    # On the CPU, where sums have a fixed order.
    weights_OC = (weights_O[:, None] * answers_O_C).flatten().cpu()
    if len(weights_OC) <= OUTCOMES:
        outcomes = weights_OC.nonzero().flatten()
        weights = weights_OC[outcomes]
    else:
        cumulated_OC = weights_OC.cumsum(0)
        shares = torch.arange(OUTCOMES) + torch.rand(OUTCOMES, dtype=torch.float64, generator=generator)
        # `right` passes over what is impossible.
        outcomes = torch.searchsorted(cumulated_OC, shares / OUTCOMES * cumulated_OC[-1], right=True)
        weights = torch.full((OUTCOMES,), 1 / OUTCOMES, dtype=torch.float64)
    before, answer = (outcomes // C).to(probs_K_C.device), (outcomes % C).to(probs_K_C.device)
    posterior = posterior_O_K[before] * probs_K_C[:, answer].T
    return posterior / posterior.sum(1, keepdim=True), weights.to(probs_K_C.device)


def _mean_entropy(posterior_O_K: Tensor, weights_O: Tensor, probs_K_T_C: Tensor) -> Tensor:
    """H(y | outcome) for each candidate `[T]`, in nats, averaged over the outcomes."""
    C = probs_K_T_C.shape[-1]

    def of(probs_K_t_C):
        given_O_tC = posterior_O_K @ probs_K_t_C.flatten(1)
        return -(weights_O @ _p_log_p(given_O_tC)).view(-1, C).sum(-1)

    return _in_chunks(of, probs_K_T_C, len(weights_O) * C)


def _p_log_p(p: Tensor) -> Tensor:
    return p.clamp(min=TINY).log_().mul_(p)


@register(samples=True)
def power_bald(log_probs_K_N_C: Tensor, generator: torch.Generator, beta: float = 1.0) -> Tensor:
    """log BALD + Gumbel noise / β, `[N]`: the largest are a draw in proportion to BALD^β (Kirsch et al. 2021).

    It mends what the best scores alone choose, many images of one kind, without any look at a second image.
    """
    return bald(log_probs_K_N_C).clamp(min=TINY).log() + _gumbel(log_probs_K_N_C, generator) / beta


@register(samples=True)
def softmax_bald(log_probs_K_N_C: Tensor, generator: torch.Generator, beta: float = 1.0) -> Tensor:
    """BALD + Gumbel noise / β, `[N]`: the largest are a draw in proportion to exp(β BALD) (Kirsch et al. 2021)."""
    return bald(log_probs_K_N_C) + _gumbel(log_probs_K_N_C, generator) / beta


def _gumbel(log_probs_K_N_C: Tensor, generator: torch.Generator) -> Tensor:
    """Draws `[N]` from the standard Gumbel distribution: -log of an exponentially distributed number."""
    exponential_N = torch.empty(log_probs_K_N_C.shape[1], dtype=torch.float64).exponential_(generator=generator)
    return -exponential_N.clamp(min=TINY).log().to(log_probs_K_N_C.device)


@register(whole_pool=True, samples=True)
def epig(log_probs_K_N_C: Tensor, generator: torch.Generator, n_targets: int = 100) -> Tensor:
    """What a label tells of other predictions, E_x* I(y; y* | x, x*), `[N]`, in nats (Bickford Smith et al. 2023).

    I(y; y*) = H(y) + H(y*) - H(y, y*), of the joint prediction p(y, y*) = E_ω p(y | x, ω) p(y* | x*, ω). The target inputs x*
    are `n_targets` images drawn from the pool.
    """
    probs_K_N_C = log_probs_K_N_C.double().exp()
    K, N, C = probs_K_N_C.shape
    targets_K_S_C = probs_K_N_C[:, torch.randperm(N, generator=generator)[:n_targets].to(probs_K_N_C.device)]
    S = targets_K_S_C.shape[1]
    target_entropy = -_p_log_p(targets_K_S_C.mean(0)).sum() / S

    def of(probs_K_n_C):
        entropy_n = -_p_log_p(probs_K_n_C.mean(0)).sum(-1)
        joint_nC_SC = probs_K_n_C.flatten(1).T @ (targets_K_S_C.flatten(1) / K)
        joint_entropy_n = -_p_log_p(joint_nC_SC).view(-1, C * S * C).sum(-1) / S
        return entropy_n + target_entropy - joint_entropy_n

    return _in_chunks(of, probs_K_N_C, C * S * C)


def _in_chunks(compute: Callable[[Tensor], Tensor], probs_K_N_C: Tensor, width: int) -> Tensor:
    """What `compute` makes of the images, `[N]`, so many at a time that `width` numbers an image are few enough."""
    size = max(1, AT_ONCE // width)
    # In a place of their own: small tensors kept from among large ones fragment the heap, which then grows.
    values_N = probs_K_N_C.new_empty(probs_K_N_C.shape[1])

    def put(values_n, probs_K_n_C):
        values_n.copy_(compute(probs_K_n_C))

    parallel.run([partial(put, *chunk) for chunk in zip(values_N.split(size), probs_K_N_C.split(size, dim=1))])
    return values_N
