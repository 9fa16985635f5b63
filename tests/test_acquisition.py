"""Acquisition functions against independent references."""

import math

import pytest
import torch
from conftest import tiny

import al_utils as al
from al_utils import acquisition
from al_utils.experiment import run_experiment
from al_utils.randomness import generator


def brute_force(log_probs_K_N_C):
    """Entropy of the mean, and mean of the entropies, by their definitions in Python's floats."""
    K, N, C = log_probs_K_N_C.shape
    p = log_probs_K_N_C.double().exp().tolist()

    def h(q):
        return -sum(x * math.log(x) for x in q if x > 0)

    of_mean = [h([sum(p[k][n][c] for k in range(K)) / K for c in range(C)]) for n in range(N)]
    mean_of = [sum(h(p[k][n]) for k in range(K)) / K for n in range(N)]
    return torch.tensor(of_mean, dtype=torch.float64), torch.tensor(mean_of, dtype=torch.float64)


@pytest.mark.parametrize("K", [1, 2, 50])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
def test_entropy_and_mutual_information_against_brute_force(K, scale):
    g = torch.Generator().manual_seed(K)
    log_probs = (torch.randn(K, 40, 10, generator=g) * scale).log_softmax(-1)
    of_mean, mean_of = brute_force(log_probs)
    assert torch.allclose(al.acquisition.max_entropy(log_probs), of_mean, atol=1e-5, rtol=0)
    bald = al.acquisition.bald(log_probs)
    assert torch.allclose(bald, of_mean - mean_of, atol=1e-5, rtol=0)
    assert bald.isfinite().all() and bald.min() > -1e-9
    if K == 1:
        assert bald.abs().max() < 1e-9  # one deterministic network has no mutual information


def test_values_worked_by_hand():
    sure_a, sure_b, even = [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]
    log_probs = torch.tensor([[sure_a, sure_a, even], [sure_a, sure_b, even]]).log()  # images: agreed, disputed, noise
    assert torch.allclose(acquisition.max_entropy(log_probs), torch.tensor([0, math.log(2), math.log(2)]).double())
    assert torch.allclose(acquisition.bald(log_probs), torch.tensor([0, math.log(2), 0]).double())


def test_planted_disagreements_are_ranked_first_by_bald_and_not_by_entropy():
    g = torch.Generator().manual_seed(0)
    planted = torch.tensor([7, 100, 431])
    logits = torch.randn(20, 500, 10, generator=g) * 0.1  # all samples equally unsure: high entropy, no disagreement
    logits[:, planted] = 0.0
    for k in range(20):
        logits[k, planted, k % 2] = 12.0  # each sample sure, half of them of another class
    scores = acquisition.bald(logits.log_softmax(-1))
    assert set(acquisition.top(scores, 3, generator(0, "ties")).tolist()) == set(planted.tolist())
    by_entropy = acquisition.top(acquisition.max_entropy(logits.log_softmax(-1)), 3, generator(0, "ties"))
    assert not set(by_entropy.tolist()) & set(planted.tolist())


def test_the_other_scores_against_their_definitions():
    g = torch.Generator().manual_seed(0)
    log_probs = (3 * torch.randn(6, 30, 4, generator=g)).log_softmax(-1)
    p = log_probs.double().exp().tolist()
    for n in range(30):
        each = [[p[k][n][c] for k in range(6)] for c in range(4)]
        mean = [sum(of_class) / 6 for of_class in each]
        votes = [max(range(4), key=lambda c: p[k][n][c]) for k in range(6)]
        disagree = 1 - max(votes.count(c) for c in range(4)) / 6
        deviations = [math.sqrt(sum((x - m) ** 2 for x in of_class) / 6) for of_class, m in zip(each, mean)]
        first, second, *_ = sorted(mean, reverse=True)
        entropy = -sum(m * math.log(m) for m in mean)
        expected = dict(
            variation_ratios=disagree + entropy / 6_000, mean_std=sum(deviations) / 4, margin=second - first,
            least_confidence=1 - first, bald_flipped=-float(acquisition.bald(log_probs)[n]),
        )  # fmt: skip
        for name, value in expected.items():
            assert float(getattr(acquisition, name)(log_probs)[n]) == pytest.approx(value, abs=1e-6), name


def test_equal_votes_are_ranked_by_entropy_but_never_before_more_votes():
    sure, unsure = [[0.98, 0.01, 0.01]] * 3, [[0.4, 0.3, 0.3]] * 3  # each unanimous
    one_differs = [[0.98, 0.01, 0.01]] * 2 + [[0.01, 0.98, 0.01]]
    log_probs_K_N_C = torch.tensor([sure, unsure, one_differs]).transpose(0, 1).log()
    assert acquisition.top(acquisition.variation_ratios(log_probs_K_N_C), 3, generator(0, "ties")).tolist() == [2, 1, 0]


@pytest.mark.parametrize("strategy", ["variation_ratios", "mean_std", "margin", "least_confidence", "bald_flipped"])
def test_every_strategy_runs(strategy):
    rounds = list(run_experiment(tiny(strategy=strategy, n_rounds=1)))
    assert len(set(rounds[0].queried)) == 5 and rounds[0].scores == sorted(rounds[0].scores, reverse=True)
    assert (strategy in acquisition.names()) == (strategy != "bald_flipped")


def test_as_released_is_rounding_noise_with_the_sign_flipped():
    log_probs = torch.randn(1, 200, 10).log_softmax(-1).expand(10, -1, -1)
    assert acquisition.bald_as_released(log_probs).abs().max() < 1e-5
    disputed = torch.randn(10, 200, 10).log_softmax(-1)
    released, right = acquisition.bald_as_released(disputed).double(), acquisition.bald(disputed)
    assert torch.corrcoef(torch.stack([released, right]))[0, 1] < -0.99


def test_top_gives_the_largest_first_and_equals_in_an_order_of_the_seed():
    def top(seed):
        return tuple(acquisition.top(torch.tensor([1.0, 3.0, 2.0, 3.0]), 3, generator(seed, "ties")).tolist())

    assert {top(seed) for seed in range(40)} == {(1, 3, 2), (3, 1, 2)}
    assert all(top(seed) == top(seed) for seed in range(10))
