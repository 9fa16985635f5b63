"""Distances between embeddings, never all of them at once: a pool of 59,000 has 3.5 thousand million pairs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..compute import parallel

AT_ONCE = 2**20  # numbers in the largest tensor of a computation in chunks


def from_one(embeddings_N_D: Tensor, position: int) -> Tensor:
    """Squared distances `[N]` of all images from one of them, by their differences: those of copies are exactly 0."""
    one_1_D = embeddings_N_D[position][None]
    return torch.cdist(embeddings_N_D, one_1_D, compute_mode="donot_use_mm_for_euclid_dist")[:, 0].double().square()


def squared(a_N_D: Tensor, b_M_D: Tensor) -> Tensor:
    """Squared distances `[N, M]`, by a product of matrices: |a|² + |b|² - 2 ab, at least 0."""
    squares_N, squares_M = a_N_D.square().sum(1), b_M_D.square().sum(1)
    return torch.addmm(squares_M, a_N_D, b_M_D.T, alpha=-2).add_(squares_N[:, None]).clamp_(min=0)


def nearest(embeddings_N_D: Tensor, others_M_D: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance `[N]` to the nearest of the others, and which it is, `[N]`."""
    found = in_chunks(lambda some_n_D: squared(some_n_D, others_M_D).min(1), embeddings_N_D, len(others_M_D))
    return torch.cat([values for values, _ in found]).double(), torch.cat([which for _, which in found])


def in_chunks(compute: Callable[[Tensor], Any], embeddings_N_D: Tensor, width: int) -> list:
    """What `compute` makes of the images, so many at a time that `width` numbers an image are few enough."""
    chunks = embeddings_N_D.split(max(1, AT_ONCE // max(1, width)))
    return parallel.run([partial(compute, chunk) for chunk in chunks])
