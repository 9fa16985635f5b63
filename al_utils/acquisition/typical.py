"""Batches of typical images, for the first few labels: each from another dense region of the embeddings.

The embeddings are the input of the last layer of the round's network. With few labels that network knows little, so the papers
take features that were learnt without labels, or elsewhere: register a network with such a trunk, frozen, and these are they.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from . import distances
from .picking import as_batch, largest
from .registry import register

NEIGHBOURS = 20  # by which an image is typical; these four are TypiClust's, as in the authors' code
MOST_CLUSTERS = 500
MOST_EXACT = 50  # clusters that k-means finds with all images in each step; more, with some at a time
SMALLEST = 6  # images; smaller clusters are passed over
LOOKED_AT = 1_000  # images, drawn from the pool, by which ProbCover's radius is found


@register(batch=True, predicts=False)
def typiclust(
    embeddings_N_D: Tensor, labelled_embeddings_L_D: Tensor, n_query: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The most typical image of each of the largest clusters without a label (TypiClust; Hacohen et al. 2022).

    k-means cuts labelled and unlabelled images, scaled to length 1, into L + n_query clusters, 500 at most. Clusters go by the
    labels in them, fewest first, then by size, largest first. The score of a pick is its typicality among the unlabelled of its
    cluster, 1 / (mean distance to its 20 nearest neighbours), or half of the cluster if that is fewer.
    """
    images_M_D = F.normalize(torch.cat([labelled_embeddings_L_D, embeddings_N_D]))
    n_labelled = len(labelled_embeddings_L_D)
    cluster_M = _clusters(images_M_D, min(n_labelled + n_query, MOST_CLUSTERS), generator)
    sizes = torch.bincount(cluster_M).tolist()
    labels = torch.bincount(cluster_M[:n_labelled], minlength=len(sizes)).tolist()
    left = [size - labelled for size, labelled in zip(sizes, labels)]
    cluster_N, images_N_D = cluster_M[n_labelled:].clone(), images_M_D[n_labelled:]

    picked: list[int] = []
    scores: list[float] = []
    while len(picked) < n_query:
        cluster = min((g for g in range(len(sizes)) if left[g]), key=lambda g: (sizes[g] < SMALLEST, labels[g], -sizes[g]))
        members = (cluster_N == cluster).nonzero().flatten()
        typicality = _typicality(images_N_D[members.to(images_N_D.device)].double())
        best = largest(typicality, generator)
        picked.append(int(members[best]))
        scores.append(float(typicality[best]))
        cluster_N[picked[-1]] = -1
        labels[cluster] += 1
        left[cluster] -= 1
    return as_batch(picked, scores)


def _typicality(images_N_D: Tensor) -> Tensor:
    """1 / (mean distance to the nearest neighbours), `[N]`; 0.00001 is added to the distance, as in the authors' code."""
    k = min(NEIGHBOURS, len(images_N_D) // 2)
    if k == 0:
        return images_N_D.new_zeros(len(images_N_D))  # it is alone

    def of(some_n_D):
        nearest = distances.squared(some_n_D, images_N_D).topk(k + 1, largest=False).values
        return nearest[:, 1:].sqrt().mean(1)  # the first is the image itself

    return 1 / (torch.cat(distances.in_chunks(of, images_N_D, len(images_N_D))) + 1e-5)


@register(batch=True, predicts=False)
def prob_cover(
    embeddings_N_D: Tensor, labelled_embeddings_L_D: Tensor, n_classes: int, n_query: int, generator: torch.Generator,
    purity: float = 0.95,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The images whose balls cover most of the pool, greedily (ProbCover; Yehuda et al. 2022).

    An image covers all within a radius δ of it, in embeddings scaled to length 1. The score of a pick is how many images it
    covers that no labelled or earlier one does. δ is the largest radius within which a share `purity` of the images has
    neighbours of its own kind only; kinds are the clusters that k-means finds, as many as there are classes.
    """
    images_N_D, within, uncovered_N = _balls(embeddings_N_D, labelled_embeddings_L_D, n_classes, purity, generator)
    covers_N = _how_many_within(images_N_D, images_N_D[uncovered_N], within)

    picked: list[int] = []
    scores: list[float] = []
    while len(picked) < n_query:
        i = largest(covers_N, generator)
        newly_N = uncovered_N & (distances.from_one(images_N_D, i) <= within)
        picked.append(i)
        scores.append(float(newly_N.sum()))
        uncovered_N = uncovered_N & ~newly_N
        covers_N = covers_N - _how_many_within(images_N_D, images_N_D[newly_N], within)
        covers_N[picked] = -images_N_D.shape[0]
    return as_batch(picked, scores)


def covered_by_each(
    embeddings_N_D: Tensor, labelled_embeddings_L_D: Tensor, n_classes: int, generator: torch.Generator, purity: float = 0.95
) -> Tensor:
    """ProbCover before its first pick: how many images each one covers that no labelled one does, `[N]`."""
    images_N_D, within, uncovered_N = _balls(embeddings_N_D, labelled_embeddings_L_D, n_classes, purity, generator)
    return _how_many_within(images_N_D, images_N_D[uncovered_N], within)


def _balls(
    embeddings_N_D: Tensor, labelled_embeddings_L_D: Tensor, n_classes: int, purity: float, generator: torch.Generator
) -> tuple[Tensor, float, Tensor]:
    """The images scaled to length 1, δ², and which images no labelled one covers."""
    images_N_D, labelled_L_D = F.normalize(embeddings_N_D), F.normalize(labelled_embeddings_L_D)
    within = pure_radius(images_N_D, n_classes, purity, generator) ** 2
    return images_N_D, within, distances.nearest(images_N_D, labelled_L_D)[0] > within


def _how_many_within(images_N_D: Tensor, others_M_D: Tensor, within: float) -> Tensor:
    """How many of the others are within a squared distance of each image, `[N]`."""

    def of(some_n_D):
        return (distances.squared(some_n_D, others_M_D) <= within).sum(1)

    return torch.cat(distances.in_chunks(of, images_N_D, len(others_M_D)))


def pure_radius(images_N_D: Tensor, n_kinds: int, purity: float, generator: torch.Generator) -> float:
    """The largest radius at which a share `purity` of the images has no image of another kind nearer.

    That is a quantile of the distance to the nearest image of another kind, over `LOOKED_AT` images.
    """
    kind_N = _clusters(images_N_D, n_kinds, generator).to(images_N_D.device)
    some_S = torch.randperm(len(images_N_D), generator=generator)[:LOOKED_AT].to(images_N_D.device)
    to_other_S = torch.full((len(some_S),), torch.inf, dtype=torch.float64, device=images_N_D.device)
    for kind in kind_N.unique():
        others_M_D, of_kind = images_N_D[kind_N != kind], kind_N[some_S] == kind
        if len(others_M_D) and bool(of_kind.any()):
            to_other_S[of_kind] = distances.nearest(images_N_D[some_S[of_kind]], others_M_D)[0].sqrt()
    return float(to_other_S.sort().values[int((1 - purity) * (len(some_S) - 1))])


def _clusters(images_N_D: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """The cluster of each image by k-means, `[N]`, on the CPU. One thread: with more, sums are rounded in another order."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    seed = int(torch.randint(2**31, (1,), generator=generator))
    n = min(n, len(images_N_D))
    method = KMeans(n, random_state=seed) if n <= MOST_EXACT else MiniBatchKMeans(n, batch_size=5_000, random_state=seed)
    with threadpool_limits(1):
        return torch.from_numpy(method.fit_predict(images_N_D.cpu().numpy())).long()
