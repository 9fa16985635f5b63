"""Batches that are spread out: over the embeddings, or over the gradients that their labels would bring."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from . import distances
from .picking import as_batch, drawn, largest
from .registry import register


@register(batch=True, predicts=False)
def core_set(
    embeddings_N_D: Tensor, labelled_embeddings_L_D: Tensor, n_query: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """k-centre greedy (algorithm 1 of Sener and Savarese 2018): always the image that is farthest from all labelled ones.

    argmax_i min_j |x_i - x_j| over the embeddings, where j runs over the labelled images and those picked so far. That
    distance is the score. A pick costs O(N D), after O(N L D) for the labelled.
    """
    nearest_N, _ = distances.nearest(embeddings_N_D, labelled_embeddings_L_D)
    picked: list[int] = []
    scores: list[float] = []
    while len(picked) < n_query:
        i = largest(nearest_N, generator)
        picked.append(i)
        scores.append(math.sqrt(nearest_N[i]))
        nearest_N = torch.minimum(nearest_N, distances.from_one(embeddings_N_D, i))
        nearest_N[i] = -torch.inf
    return as_batch(picked, scores)


@register(batch=True, predicts=False)
def lcmd(
    embeddings_N_D: Tensor, labelled_embeddings_L_D: Tensor, n_query: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Largest cluster, maximum distance (Holzmüller et al. 2023, LCMD-TP with the features of the last layer).

    Each image belongs to the nearest centre: a labelled image, or one picked so far. A cluster is as large as the sum of its
    squared distances. Of the largest one the image farthest from its centre is picked; that distance is the score.
    """
    nearest_N, centre_N = distances.nearest(embeddings_N_D, labelled_embeddings_L_D)
    picked: list[int] = []
    scores: list[float] = []
    while len(picked) < n_query:
        # Sums on the CPU, where their order is fixed.
        sizes = torch.bincount(centre_N.cpu(), weights=nearest_N.cpu()).to(nearest_N)
        in_largest_N = sizes[centre_N] == sizes.max()
        in_largest_N[picked] = False
        i = largest(nearest_N.where(in_largest_N, -torch.inf), generator)
        picked.append(i)
        scores.append(math.sqrt(nearest_N[i]))
        from_it_N = distances.from_one(embeddings_N_D, i)
        closer_N = from_it_N < nearest_N
        nearest_N = from_it_N.where(closer_N, nearest_N)
        nearest_N[i] = 0
        centre_N[closer_N] = len(labelled_embeddings_L_D) + len(picked) - 1
    return as_batch(picked, scores)


@register(batch=True)
def badge(log_probs_K_N_C: Tensor, embeddings_N_D: Tensor, n_query: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """k-means++ on gradient embeddings (algorithm 1 of Ash et al. 2020): large gradients, and each in another direction.

    The gradient of the last layer's weights under the label ŷ = argmax p is g = (p - e_ŷ) ⊗ h, with the embedding h and the
    predictive distribution p, here the mean over the posterior's samples. As in the authors' code the longest g is picked
    first; then images are drawn in proportion to their squared distance from the nearest pick. Scores are the squared length
    of the first, and these squared distances. No g is formed, because <g_i, g_j> = <p_i - e_i, p_j - e_j> <h_i, h_j>: a pick
    costs O(N (C + D)).
    """
    probs_N_C = log_probs_K_N_C.double().exp().mean(0)
    errors_N_C = probs_N_C - F.one_hot(probs_N_C.argmax(1), probs_N_C.shape[1])
    embeddings_N_D = embeddings_N_D.double()
    lengths_N = errors_N_C.square().sum(1) * embeddings_N_D.square().sum(1)

    i = largest(lengths_N, generator)
    picked, scores = [i], [float(lengths_N[i])]
    nearest_N = torch.full_like(lengths_N, torch.inf)
    while len(picked) < n_query:
        products_N = (errors_N_C @ errors_N_C[i]) * (embeddings_N_D @ embeddings_N_D[i])
        nearest_N = torch.minimum(nearest_N, (lengths_N + lengths_N[i] - 2 * products_N).clamp(min=0))
        nearest_N[i] = 0
        i = drawn(nearest_N, generator) if bool((nearest_N > 0).any()) else _any_but(picked, nearest_N, generator)
        picked.append(i)
        scores.append(float(nearest_N[i]))
    return as_batch(picked, scores)


def _any_but(picked: list[int], like_N: Tensor, generator: torch.Generator) -> int:
    """One of the others, all of which are copies of what is picked."""
    others_N = torch.ones_like(like_N)
    others_N[picked] = 0
    return drawn(others_N, generator)
