"""Picking images by their scores; equal ones in an order that is drawn, never that of files."""

import torch
from torch import Tensor


def top(scores_N: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Positions `[n]` of the largest scores, best first; equal ones in an order drawn from `generator`, never that of files."""
    shuffled_N = torch.randperm(len(scores_N), generator=generator).to(scores_N.device)
    return shuffled_N[scores_N[shuffled_N].sort(descending=True, stable=True).indices[:n]]


def largest(scores_N: Tensor, generator: torch.Generator) -> int:
    """The position of the largest score; one of several is drawn."""
    of_largest = (scores_N == scores_N.max()).nonzero().flatten()
    return int(of_largest[int(torch.randint(len(of_largest), (1,), generator=generator))])


def drawn(weights_N: Tensor, generator: torch.Generator) -> int:
    """A position drawn in proportion to its weight."""
    cumulated_N = weights_N.double().cpu().cumsum(0)
    point = cumulated_N[-1:] * torch.rand(1, dtype=torch.float64, generator=generator)
    return int(torch.searchsorted(cumulated_N, point, right=True))  # `right` passes over weights of 0


def as_batch(picked: list[int], scores: list[float]) -> tuple[Tensor, Tensor]:
    """What a function that is registered with `batch=True` returns: positions and scores."""
    return torch.tensor(picked), torch.tensor(scores, dtype=torch.float64)
