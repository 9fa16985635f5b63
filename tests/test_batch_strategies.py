"""Strategies that choose batches, each against its definition in plain Python, a second derivation, or values by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny
from test_information import predictions
from test_own_strategy import trained

from al_utils import acquisition
from al_utils.acquisition import distances, picking, typical
from al_utils.experiment import query, run_experiment
from al_utils.randomness import generator

NEW = ["batch_bald", "power_bald", "softmax_bald", "epig", "core_set", "lcmd", "badge", "typiclust", "prob_cover"]
ON_EMBEDDINGS = ["core_set", "lcmd", "badge", "typiclust", "prob_cover"]


def points(N, D=3, seed=0):
    return torch.randn(N, D, generator=torch.Generator().manual_seed(seed))


def call(name, embeddings, labelled, n_query, seed=0):
    """A strategy on embeddings, with predictions of four classes where it wants some."""
    known = dict(
        embeddings_N_D=embeddings, labelled_embeddings_L_D=labelled, labels_L=torch.arange(len(labelled)) % 4, n_query=n_query,
        n_classes=4,
        generator=generator(seed, "acquisition"), log_probs_K_N_C=predictions(2, len(embeddings), 4),
    )  # fmt: skip
    strategy = acquisition.get(name)
    return strategy.function(**{argument: known[argument] for argument in strategy.asks})


def farthest(embeddings, labelled, n):
    """k-centre greedy, in plain Python."""
    centres, pool, picked, scores = labelled.tolist(), embeddings.tolist(), [], []
    for _ in range(n):
        far = {i: min(math.dist(x, centre) for centre in centres) for i, x in enumerate(pool) if i not in picked}
        picked.append(max(far, key=far.get))
        scores.append(far[picked[-1]])
        centres.append(pool[picked[-1]])
    return picked, scores


def largest_cluster_maximum_distance(embeddings, labelled, n):
    """LCMD, in plain Python."""
    centres, pool, picked, scores = labelled.tolist(), embeddings.tolist(), [], []
    for _ in range(n):
        near = [min((math.dist(x, centre), j) for j, centre in enumerate(centres)) for x in pool]
        sizes = [sum(far**2 for far, j in near if j == cluster) for cluster in range(len(centres))]
        inside = [i for i, (_, j) in enumerate(near) if j == sizes.index(max(sizes)) and i not in picked]
        picked.append(max(inside, key=lambda i: near[i][0]))
        scores.append(near[picked[-1]][0])
        centres.append(pool[picked[-1]])
    return picked, scores


@pytest.mark.parametrize("name, reference", [("core_set", farthest), ("lcmd", largest_cluster_maximum_distance)])
def test_spread_batches_against_plain_python(name, reference):
    for seed in range(5):
        embeddings, labelled = points(60, seed=seed), points(4, seed=100 + seed)
        positions, scores = call(name, embeddings, labelled, 12, seed)
        picked, expected = reference(embeddings, labelled, 12)
        assert positions.tolist() == picked and scores.tolist() == pytest.approx(expected, rel=1e-4)


def test_core_set_and_lcmd_by_hand():
    labelled, pool = torch.tensor([[0.0], [100.0]]), torch.tensor([[1.0], [10.0], [4.0], [9.0], [112.0]])
    positions, scores = call("core_set", pool, labelled, 3)
    assert positions.tolist() == [4, 1, 2] and scores.tolist() == pytest.approx([12, 10, 4])
    positions, scores = call("lcmd", pool, labelled, 3)  # clusters of 198 and 144; then 18 and 144; then 18
    assert positions.tolist() == [1, 4, 2] and scores.tolist() == pytest.approx([10, 12, 4])


def gradients(weight_C_D, embeddings):
    """The gradient of the last layer under the predicted label, by automatic differentiation, `[N, C D]`."""
    found = []
    for h in embeddings:
        weight = weight_C_D.clone().requires_grad_()
        logits = weight @ h
        F.cross_entropy(logits[None], logits.argmax()[None]).backward()
        found.append(weight.grad.flatten())
    return torch.stack(found)


def test_badge_measures_distances_of_gradients():
    embeddings, weight = points(50, 6).double(), points(4, 6, seed=1).double()
    log_probs = (embeddings @ weight.T).log_softmax(-1)[None]
    g = gradients(weight, embeddings)
    positions, scores = acquisition.badge(log_probs, embeddings, 10, generator(0, "acquisition"))
    assert positions[0] == g.norm(dim=1).argmax() and float(scores[0]) == pytest.approx(float(g[positions[0]].norm() ** 2))
    for n in range(1, 10):
        nearest = min(float((g[positions[n]] - g[earlier]).norm() ** 2) for earlier in positions[:n])
        assert float(scores[n]) == pytest.approx(nearest)


def test_badge_draws_in_proportion_to_the_squared_distance():
    embeddings, weight = points(6, 3).double(), points(3, 3, seed=1).double()
    log_probs = (embeddings @ weight.T).log_softmax(-1)[None]
    g = gradients(weight, embeddings)
    expected = (g - g[g.norm(dim=1).argmax()]).square().sum(1)
    source, n = generator(0, "acquisition"), 4_000
    second = torch.stack([acquisition.badge(log_probs, embeddings, 2, source)[0][1] for _ in range(n)])
    share = second.bincount(minlength=6) / n
    assert torch.allclose(share.double(), expected / expected.sum(), atol=4 * math.sqrt(0.25 / n))


def blobs(*sizes, seed=0):
    """Groups of points far from each other, each around an axis."""
    g = torch.Generator().manual_seed(seed)
    groups = [10 * torch.eye(len(sizes))[i] + torch.randn(n, len(sizes), generator=g) for i, n in enumerate(sizes)]
    return torch.cat(groups), torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))


def test_typiclust_takes_the_most_typical_of_the_largest_clusters_without_a_label():
    embeddings, blob = blobs(60, 3, 30, 50, 40)
    labelled = embeddings[blob == 0][:2]
    positions, scores = call("typiclust", embeddings, labelled, 3)
    assert blob[positions].tolist() == [3, 4, 2]  # the blob of three is too small, that of sixty has labels
    for position, score in zip(positions.tolist(), scores.tolist()):
        of_blob = [i for i in range(len(blob)) if blob[i] == blob[position]]
        unit = {i: F.normalize(embeddings[i].double(), dim=0).tolist() for i in of_blob}
        k = min(20, len(of_blob) // 2)
        mean = {i: sum(sorted(math.dist(unit[i], unit[j]) for j in of_blob if j != i)[:k]) / k for i in of_blob}
        assert position == min(mean, key=mean.get) and score == pytest.approx(1 / mean[position], rel=1e-3)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_typiclust_goes_round_the_clusters_until_the_pool_is_used_up():
    embeddings, blob = blobs(8, 8)
    positions, _ = call("typiclust", embeddings, embeddings[:1], 16)
    assert sorted(positions.tolist()) == list(range(16))


def test_prob_cover_covers_most_of_what_is_uncovered(monkeypatch):
    embeddings, labelled, radius = points(80), points(3, seed=1), 0.5
    monkeypatch.setattr(typical, "pure_radius", lambda *_: radius)
    positions, scores = call("prob_cover", embeddings, labelled, 8)
    x, centres = (F.normalize(e.double()).tolist() for e in (embeddings, labelled))
    balls = [{j for j in range(80) if math.dist(x[i], x[j]) <= radius} for i in range(80)]
    covered = {j for j in range(80) if any(math.dist(x[j], centre) <= radius for centre in centres)}
    for n, position in enumerate(positions.tolist()):
        most = max(len(balls[i] - covered) for i in range(80) if i not in positions[:n])
        assert len(balls[position] - covered) == most == scores[n]
        covered |= balls[position]


def test_prob_cover_tells_as_many_kinds_apart_as_there_are_classes_whatever_the_labels():
    embeddings, _ = blobs(*[30] * 10)
    given = dict(n_classes=10, n_query=4)
    batches = [
        acquisition.prob_cover(embeddings, embeddings[:1], generator=generator(0, "acquisition"), **given) for _ in range(2)
    ]
    assert batches[0][1].tolist() == batches[1][1].tolist() and min(batches[0][1]) > 0  # one label does not cover all


def test_the_radius_is_the_largest_at_which_neighbours_are_of_one_kind(monkeypatch):
    x, kind = points(200, 2), (torch.arange(200) % 3 == 0).long()
    monkeypatch.setattr(typical, "_clusters", lambda *_: kind)
    radius = typical.pure_radius(x, 2, 0.9, generator(0, "acquisition"))

    def pure(radius):
        inside = [all(kind[i] == kind[j] for j in range(200) if math.dist(x[i], x[j]) < radius) for i in range(200)]
        return sum(inside) / 200

    x = x.tolist()
    assert pure(radius * 0.999) >= 0.9 > pure(radius * 1.2)


@pytest.mark.parametrize("name", ON_EMBEDDINGS)
def test_chunks_change_nothing(name, monkeypatch):
    embeddings, labelled = points(120), points(5, seed=1)
    whole = call(name, embeddings, labelled, 9)
    monkeypatch.setattr(distances, "AT_ONCE", 100)
    chunked = call(name, embeddings, labelled, 9)
    assert whole[0].tolist() == chunked[0].tolist() and torch.allclose(whole[1], chunked[1])


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("name", ON_EMBEDDINGS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_images_that_are_all_alike_are_drawn(name, value):
    embeddings = torch.full((40, 4), value)  # of a network whose units are all dead, say
    batches = [call(name, embeddings, embeddings[:3], 6, seed)[0].tolist() for seed in (0, 0, 1)]
    assert batches[0] == batches[1] != batches[2] and all(len(set(batch)) == 6 for batch in batches)


def test_a_position_is_drawn_by_its_weight_and_never_without():
    g = generator(0, "acquisition")
    found = torch.tensor([picking.drawn(torch.tensor([0.0, 1.0, 0.0, 3.0, 0.0]), g) for _ in range(2_000)]).bincount(
        minlength=5
    )
    assert found[[0, 2, 4]].tolist() == [0, 0, 0] and float(found[3]) == pytest.approx(1_500, abs=80)


@pytest.mark.parametrize("name", NEW)
def test_a_round_queries_with_it_and_repeats(name):
    problem, model, labelled = trained(strategy=name, pool_subset=150)
    queried, scores = query(problem, 0, model, labelled)
    assert len(set(queried)) == 5 and all(map(math.isfinite, scores))
    assert (queried, scores) == query(problem, 0, model, labelled)
    assert name in acquisition.names()


def test_a_round_says_that_it_looked_at_a_part_of_the_pool():
    first, last = run_experiment(tiny(strategy="batch_bald", n_rounds=1, pool_subset=100))
    assert first.note == "BatchBALD looked at no more than the 1,000 images with the highest BALD" and last.note == ""
