"""First labels, validation images and pool: balanced or at random, from a long tail, with copies."""

from dataclasses import replace

import pytest
import torch
from conftest import tiny

from al_utils.datasets import load_dataset
from al_utils.experiment import run_experiment
from al_utils.problem import prepare
from al_utils.splits import check_fits, class_sizes, split


def labels(*sizes):
    return torch.cat([torch.full((n,), c) for c, n in enumerate(sizes)])


def test_split_is_balanced_disjoint_and_complete():
    labels_N = torch.randint(0, 7, (2_000,), generator=torch.Generator().manual_seed(0))
    s = split(labels_N, n_initial=30, n_valid=70, seed=3)
    assert sorted(torch.cat([s.initial, s.valid, s.pool]).tolist()) == list(range(2_000))
    assert set(torch.bincount(labels_N[s.initial], minlength=7).tolist()) == {4, 5}  # 30 / 7
    assert torch.bincount(labels_N[s.valid], minlength=7).tolist() == [10] * 7


def test_split_follows_its_seed_alone():
    labels_N = torch.arange(1_000) % 10
    one, again, other = (split(labels_N, 100, 300, seed) for seed in (0, 0, 1))
    assert torch.equal(one.initial, again.initial) and torch.equal(one.valid, again.valid)
    assert not torch.equal(one.initial, other.initial)


def test_a_random_draw_takes_images_as_they_come():
    """Uniform over images: class 0 has 90% of them, so of 50 drawn 45 ± 2 are of it (hypergeometric)."""
    labels_N = labels(900, 99, 1)
    found = []
    for seed in range(100):
        s = split(labels_N, 50, 20, seed, initial_draw="random")
        assert sorted(torch.cat([s.initial, s.valid, s.pool]).tolist()) == list(range(1_000))
        found.append(torch.bincount(labels_N[s.initial], minlength=3))
    mean = torch.stack(found).double().mean(0)
    assert abs(mean[0] - 45) < 0.8 and abs(mean[2] - 0.05) < 0.1  # standard errors 0.2 and 0.02
    drawn = torch.bincount(torch.cat([split(labels_N, 50, 0, seed, "random").initial for seed in range(400)]), minlength=1_000)
    assert drawn.min() >= 4 and drawn.max() <= 42  # each 20 ± 4.4


def test_images_without_labels_are_neither_drawn_nor_lost():
    labels_N = torch.cat([labels(20, 20), torch.full((30,), -1)])
    s = split(labels_N, 10, 4, 0, initial_draw="random")
    assert (labels_N[s.initial] >= 0).all() and (labels_N[s.valid] >= 0).all()
    assert (labels_N[s.pool] == -1).sum() == 30 and len(s.pool) == 56


def test_the_long_tail_is_that_of_cao_et_al():
    """CIFAR-10-LT and CIFAR-100-LT with imbalance 100, as their code prints them."""
    assert class_sizes(labels(*[5_000] * 10), 100) == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    hundred = class_sizes(labels(*[500] * 100), 100)
    assert (hundred[0], hundred[1], hundred[50], hundred[99], sum(hundred)) == (500, 477, 48, 5, 10_847)
    assert class_sizes(labels(5, 3, 9)) == [5, 3, 9]  # 1: as they are
    assert class_sizes(labels(40, 4, 40), 2) == [28, 4, 14]  # at most as many as there are


def test_what_the_long_tail_leaves_out_is_nowhere():
    labels_N = labels(*[200] * 10)
    plain, tail = split(labels_N, 20, 20, 0), split(labels_N, 20, 20, 0, imbalance=10.0)
    everyone = torch.cat([tail.initial, tail.valid, tail.pool])
    assert torch.bincount(labels_N[everyone]).tolist() == class_sizes(labels_N, 10.0)
    assert torch.bincount(labels_N[tail.initial]).tolist() == [2] * 10  # balanced all the same
    assert torch.equal(plain.initial, split(labels_N, 20, 20, 0, imbalance=1.0).initial)


def test_copies_are_in_the_pool_alone_and_told_apart_by_jitter():
    one, three = prepare(tiny()), prepare(tiny(pool_repeats=3))
    assert torch.equal(one.split.initial, three.split.initial) and torch.equal(one.split.valid, three.split.valid)
    pool = one.split.pool
    assert torch.equal(three.split.pool, torch.cat([pool, pool + 4_000, pool + 8_000]))
    assert len(three.train) == len(three.train_labels) == len(three.dataset.train_images) == 12_000
    assert torch.equal(three.train_labels[pool + 8_000], one.train_labels[pool])
    jitter = (three.train[:].view(3, 4_000, -1) - one.train[:].flatten(1)).double()
    assert abs(jitter.mean()) < 1e-3 and abs(jitter.std() - 0.1) < 1e-3  # Kirsch et al. 2019
    assert abs((jitter[0] * jitter[1]).mean()) < 1e-4  # independent
    index = torch.tensor([11_999, 3, 4_003])
    assert torch.equal(three.train[index], three.train[:][index]) and torch.equal(three.test[:], one.test[:])
    still = prepare(tiny(pool_repeats=2, pool_jitter=0.0)).train
    assert torch.equal(still[pool], still[pool + 4_000])
    assert three.dataset.checksum == one.dataset.checksum


def test_jitter_and_noise_go_together():
    fixed, clean = prepare(tiny(pool_repeats=2, noise="gaussian")), prepare(tiny(pool_repeats=2))
    assert int(fixed.train.noisy_N.sum()) == 800
    same = (fixed.train[:] == clean.train[:]).flatten(1).all(1)
    assert torch.equal(same, ~fixed.train.noisy_N)
    redrawn = prepare(tiny(pool_repeats=2, noise="gaussian", noise_draw="each_access")).train
    index = torch.tensor([5, 7_000])
    taken = redrawn.redrawn(torch.Generator().manual_seed(1)).take(index)
    assert torch.equal(taken[torch.tensor([0, 1])], redrawn.redrawn(torch.Generator().manual_seed(1))[index])


def test_a_run_with_copies_a_long_tail_and_no_validation_images(tmp_path):
    config = tiny(pool_repeats=2, imbalance=20.0, n_valid=0, initial_draw="random", strategy="max_entropy", device="cpu")
    rounds = list(run_experiment(config, tmp_path / "run.jsonl"))
    assert len(rounds) == 3 and "valid_accuracy" not in rounds[0].metrics and "valid" not in str(rounds[0])
    again = list(run_experiment(config, tmp_path / "run.jsonl"))
    assert [r.queried for r in again] == [r.queried for r in rounds]
    kept = class_sizes(load_dataset("mnist5k").train_labels, 20.0)
    problem = prepare(config)
    assert len(problem.split.initial) + len(problem.split.pool) // 2 == sum(kept)


@pytest.mark.parametrize(
    "changes, says",
    [
        (dict(n_rounds=1_000), "more than the 4,000 training images"),
        (dict(n_initial=2_000, n_valid=2_000), "more than"),
        (dict(n_initial=1, n_valid=3_995, n_rounds=0), "smallest class of MNIST-5k has 400.*initial_draw='random'"),
        (dict(n_initial=100, imbalance=100.0), "smallest class of MNIST-5k has 4"),
        (
            dict(n_initial=1_000, n_valid=700, imbalance=10.0, initial_draw="random"),
            "more than the 1,630 training images of MNIST-5k that imbalance=10 leaves",
        ),
    ],
)  # fmt: skip
def test_more_images_than_there_are(changes, says):
    with pytest.raises(ValueError, match=says):
        check_fits(tiny(**changes), load_dataset("mnist5k"))


def test_a_rare_class_stops_a_balanced_draw_alone():
    digits = load_dataset("mnist5k")
    rare = torch.cat([torch.arange(3_600), torch.tensor([3_601])])
    dataset = replace(digits, train_images=digits.train_images[rare], train_labels=digits.train_labels[rare])
    with pytest.raises(ValueError, match="take 4 images of each of the 10 classes, but the smallest class .* has 1"):
        check_fits(tiny(), dataset)
    check_fits(tiny(initial_draw="random"), dataset)
    none = replace(dataset, train_images=dataset.train_images[:-1], train_labels=dataset.train_labels[:-1])
    with pytest.raises(ValueError, match="the smallest class .* has 0"):
        check_fits(tiny(), none)
    check_fits(tiny(initial_draw="random"), none)


def test_many_copies_make_many_queries_possible():
    with pytest.raises(ValueError, match="more than"):
        check_fits(tiny(n_query=4_000, n_rounds=1), load_dataset("mnist5k"))
    check_fits(tiny(n_query=4_000, n_rounds=1, pool_repeats=2), load_dataset("mnist5k"))
