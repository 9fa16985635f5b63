"""Calling acquisition functions: in chunks or on the whole pool, and holding what they return to their contract."""

from collections.abc import Iterable

import torch
from torch import Tensor

from . import sources
from .acquisition import Acquisition


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
        scores_N[done : done + m] = _one_an_image(strategy, strategy(log_probs_K_N_C=log_probs_K_m_C, **extra), m)
        if not done and not sources.is_ours(strategy.function):
            second_m = _one_an_image(strategy, strategy(log_probs_K_N_C=log_probs_K_m_C, **again), m)
            check_repeats(strategy, scores_N[:m], second_m.to(scores_N))
            half = (m + 1) // 2
            alone = _one_an_image(strategy, strategy(log_probs_K_N_C=log_probs_K_m_C[:, :half], **extra), half)
            _check_image_by_image(strategy, alone.to(scores_N), scores_N[:half])
        done += m
    return checked_scores(strategy, scores_N, n)


def _check_image_by_image(strategy: Acquisition, alone: Tensor, together: Tensor) -> None:
    """Raise a `ValueError` unless images have the scores among fewer that they have among more."""
    alike = torch.isclose(alone, together, rtol=1e-4, atol=1e-5, equal_nan=True)
    if bool(alike.double().mean() < 0.9):  # rounding moves single scores, other images most
        raise ValueError(
            f"strategy={strategy.function.__name__!r} scores an image otherwise when others are beside it, but sees the pool "
            "in chunks: register it with whole_pool=True."
        )


def scores_of(strategy: Acquisition, given: dict, n: int, twice: bool) -> Tensor:
    """Scores `[n]` of a strategy that sees the whole pool; `twice`: somebody's is called again, to see that it repeats.

    Raises: see `checked_scores` and `check_repeats`.
    """
    again = _again(given)
    scores_N = checked_scores(strategy, strategy(**given), n)
    if twice and not sources.is_ours(strategy.function):
        check_repeats(strategy, scores_N, checked_scores(strategy, strategy(**again), n))
    return scores_N


def batch_of(strategy: Acquisition, given: dict, n_pool: int, n_query: int, twice: bool) -> tuple[Tensor, Tensor]:
    """Positions and scores `[n_query]` of a strategy that chooses a batch; `twice` as in `scores_of`.

    Raises: see `checked_batch` and `check_repeats`.
    """
    again = _again(given)
    positions, scores = checked_batch(strategy, strategy(**given), n_pool, n_query)
    if twice and not sources.is_ours(strategy.function):
        check_repeats(strategy, positions, checked_batch(strategy, strategy(**again), n_pool, n_query)[0])
    return positions, scores


def _again(given: dict) -> dict:
    """The same arguments, with a generator that will draw the same."""
    return given | ({"generator": given["generator"].clone_state()} if "generator" in given else {})


def checked_scores(strategy: Acquisition, scores, n: int) -> Tensor:
    """Scores as a tensor `[n]` (float64), from a tensor, an array or a list.

    Raises:
        ValueError: they are not one number an image. RuntimeError: one is not finite.
    """
    scores_N = _one_an_image(strategy, scores, n).double()
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
    if scores_N.is_complex():
        raise ValueError(f"strategy={strategy.function.__name__!r} returned complex scores: return real numbers.")
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
