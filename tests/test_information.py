"""Information that labels are expected to bring, each against its definition in plain Python or values by hand."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from al_utils import acquisition
from al_utils.acquisition import information
from al_utils.randomness import generator


def predictions(K, N, C, scale=2.0, seed=0):
    return (scale * torch.randn(K, N, C, generator=torch.Generator().manual_seed(seed))).double().log_softmax(-1)


def information_of(batch, p):
    """I(y_1, …, y_n; ω) of a batch by its definition, p[k][n][c]: all joint outcomes, one after the other."""
    K, C = len(p), len(p[0][0])
    joint = own = 0.0
    for outcome in itertools.product(range(C), repeat=len(batch)):
        of_samples = [math.prod(p[k][n][c] for n, c in zip(batch, outcome)) for k in range(K)]
        mean = sum(of_samples) / K
        joint -= mean * math.log(mean)
        own -= sum(q * math.log(q) for q in of_samples) / K
    return joint - own


def test_batch_bald_is_greedy_in_the_information_of_the_batch():
    log_probs = predictions(5, 8, 3)
    p, batch, gains = log_probs.double().exp().tolist(), [], []
    for _ in range(4):
        before = information_of(batch, p) if batch else 0.0
        gain = {n: information_of([*batch, n], p) - before for n in range(8) if n not in batch}
        batch.append(max(gain, key=gain.get))
        gains.append(gain[batch[-1]])
    positions, scores = acquisition.batch_bald(log_probs, 4, generator(0, "acquisition"))
    assert positions.tolist() == batch and scores.tolist() == pytest.approx(gains, abs=1e-12)


def test_batch_bald_by_hand():
    # Four samples: of images 0 and 1 the first two say one class and the others the other, of image 2 the first and third.
    says = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0], [1, 1, 1, 0]])
    log_probs = F.one_hot(says, 2).double().log()
    positions, scores = acquisition.batch_bald(log_probs, 4, generator(0, "acquisition"))
    assert set(positions.tolist()[:2]) in ({0, 2}, {1, 2})  # two questions tell which sample it is; a copy tells nothing
    assert scores.tolist() == pytest.approx([math.log(2), math.log(2), 0, 0], abs=1e-12)


def test_drawn_outcomes_are_near_to_all_of_them(monkeypatch):
    log_probs = predictions(6, 40, 3)
    positions, exact = acquisition.batch_bald(log_probs, 7, generator(0, "acquisition"))  # 729 outcomes at most
    monkeypatch.setattr(information, "OUTCOMES", 200)
    p_K_N_C, g = log_probs.double().exp(), generator(1, "acquisition")
    posterior, weights = torch.full((1, 6), 1 / 6, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for n, gain in zip(positions.tolist(), exact.tolist()):
        given = information._mean_entropy(posterior, weights, p_K_N_C)
        own = -(p_K_N_C * log_probs).sum(-1).mean(0)
        assert float((given - own)[n]) == pytest.approx(gain, abs=0.02)
        posterior, weights = information._with_answer(posterior, weights, p_K_N_C[:, n], g)
        assert len(weights) <= 200 and float(weights.sum()) == pytest.approx(1)
        assert torch.allclose(posterior.sum(1), torch.ones(len(posterior), dtype=torch.float64))
    copies = information._mean_entropy(posterior, weights, p_K_N_C[:, [3, 3, 3]])  # the same outcomes for all
    assert torch.allclose(copies, copies[:1].expand(3), rtol=0, atol=1e-14)


def test_the_first_image_of_batch_bald_is_that_of_bald():
    for seed in range(20):
        log_probs = predictions(4, 1_500, 5, seed=seed)
        bald = acquisition.bald(log_probs)
        positions, scores = acquisition.batch_bald(log_probs, 2, generator(seed, "acquisition"))
        assert positions[0] == bald.argmax() and float(scores[0]) == float(bald.max())
        assert (scores <= bald[positions] + 1e-12).all()


def test_batch_bald_chooses_among_the_best_of_bald(monkeypatch):
    monkeypatch.setattr(information, "CANDIDATES", 10)
    log_probs = predictions(4, 50, 3)
    best = acquisition.bald(log_probs).topk(10).indices
    positions, _ = acquisition.batch_bald(log_probs, 6, generator(0, "acquisition"))
    assert set(positions.tolist()) <= set(best.tolist())
    assert len(set(acquisition.batch_bald(log_probs, 12, generator(0, "acquisition"))[0].tolist())) == 12


@pytest.mark.parametrize("beta", [1.0, 2.0])
@pytest.mark.parametrize("name", ["power_bald", "softmax_bald"])
def test_noisy_bald_draws_in_proportion(name, beta):
    log_probs = predictions(5, 4, 3, scale=3.0)
    bald = acquisition.bald(log_probs)
    expected = bald**beta if name == "power_bald" else (beta * bald).exp()
    g, n = generator(0, "acquisition"), 4_000
    function = getattr(acquisition, name)
    first = torch.stack([function(log_probs, g, beta=beta).argmax() for _ in range(n)])
    share = first.bincount(minlength=4) / n
    assert torch.allclose(share.double(), expected / expected.sum(), atol=4 * math.sqrt(0.25 / n))


@pytest.mark.parametrize("name", ["power_bald", "softmax_bald"])
def test_noisy_bald_is_finite_where_nothing_is_disputed(name):
    log_probs = predictions(1, 30, 3).expand(5, -1, -1)
    assert getattr(acquisition, name)(log_probs, generator(0, "acquisition")).isfinite().all()


def test_epig_is_the_mean_divergence_of_joint_from_independent_predictions():
    log_probs = predictions(5, 6, 3)
    p = log_probs.double().exp().tolist()

    def mean(*picked):  # of the product of probabilities over the samples
        return sum(math.prod(p[k][n][c] for n, c in picked) for k in range(5)) / 5

    def divergence(n, target):
        pairs = itertools.product(range(3), repeat=2)
        joint = [(mean((n, c), (target, d)), mean((n, c)) * mean((target, d))) for c, d in pairs]
        return sum(both * math.log(both / alone) for both, alone in joint)

    expected = [sum(divergence(n, target) for target in range(6)) / 6 for n in range(6)]
    scores = acquisition.epig(log_probs, generator(0, "acquisition"), n_targets=6)
    assert scores.tolist() == pytest.approx(expected, abs=1e-12)
    assert not acquisition.get("epig").image_by_image  # its targets are of the whole pool


def test_epig_looks_at_what_a_label_tells_of_the_others():
    # Images 0 to 8 are disputed alike, so each tells of eight others; image 9 is disputed in another way, of itself alone.
    says = torch.tensor([[c] * 9 + [d] for c, d in itertools.product((0, 1), repeat=2)])
    log_probs = F.one_hot(says, 2).double().log()
    scores = acquisition.epig(log_probs, generator(0, "acquisition"))
    assert scores.tolist() == pytest.approx([0.9 * math.log(2)] * 9 + [0.1 * math.log(2)])


def test_information_in_chunks_is_the_same(monkeypatch):
    log_probs = predictions(4, 60, 3)
    whole = acquisition.batch_bald(log_probs, 5, generator(0, "acquisition")), acquisition.epig(log_probs, generator(0, "a"))
    monkeypatch.setattr(information, "AT_ONCE", 100)
    chunked = acquisition.batch_bald(log_probs, 5, generator(0, "acquisition")), acquisition.epig(log_probs, generator(0, "a"))
    assert whole[0][0].tolist() == chunked[0][0].tolist() and torch.allclose(whole[0][1], chunked[0][1], atol=1e-12)
    assert torch.allclose(whole[1], chunked[1], atol=1e-12)
