"""Losses, optimisers, schedules, augmentation, early stopping, warm start: each against its definition."""

import math

import pytest
import torch
from conftest import tiny
from test_training import toy

import al_utils as al
from al_utils import config
from al_utils.experiment import run_experiment
from al_utils.fitting import train_model
from al_utils.models import build_model
from al_utils.networks import recipes
from al_utils.networks.steps import gradient_step
from al_utils.predicting import evaluate
from al_utils.problem import after, prepare
from al_utils.randomness import generator
from al_utils.training import Best, batches, fit


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(recipes, "_augmentations", dict(recipes._augmentations))


def test_per_class_is_equation_2_by_hand():
    probs = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]])
    by_hand = -(math.log(0.7) + math.log(0.8) + math.log(0.9)), -(math.log(0.25) + math.log(0.5) + math.log(0.75))
    labels = torch.tensor([0, 2])
    assert float(recipes.per_class(probs.log() + 5, labels, "sum")) == pytest.approx(sum(by_hand), abs=1e-6)
    assert float(recipes.per_class(probs.log(), labels, "mean")) == pytest.approx(sum(by_hand) / 2, abs=1e-6)
    assert float(recipes.categorical(probs.log(), labels, "sum")) == pytest.approx(-math.log(0.7 * 0.25), abs=1e-6)


def test_a_sure_and_wrong_network_has_a_finite_loss_and_gradient():
    logits = torch.tensor([[200.0, 0.0, -200.0]], requires_grad=True)
    loss = recipes.per_class(logits, torch.tensor([2]), "sum")
    loss.backward()
    assert float(loss.detach()) == pytest.approx(400 + 200)  # -log p of the label, -log(1 - p) of the sure class
    assert logits.grad.isfinite().all() and logits.grad[0, 0] > 0 > logits.grad[0, 2]


@pytest.mark.slow
def test_the_papers_equation_2_as_printed_would_have_made_its_lenet_learn():
    """1,100 MNIST-5k labels, learning rate 1e-3, no momentum: what is released fails, what is printed learns."""

    def accuracy(**changes):
        [supervised] = run_experiment(al.ExperimentConfig(scenario="supervised", protocol="paper", device="cpu", **changes))
        return supervised.metrics["test_accuracy"]

    assert accuracy(loss="per_class", reduction="sum") > 0.94
    assert accuracy(loss="categorical", reduction="sum") > 0.94
    assert accuracy() < 0.4


def test_the_recipe_of_older_ledgers_is_the_papers():
    paper = al.ExperimentConfig(protocol="paper").to_dict()
    added = ["loss", "reduction", "optimizer", "schedule", "augmentation", "warm_start", "patience"]
    assert config.recorded({name: value for name, value in paper.items() if name not in added}) == config.recorded(paper)


@pytest.mark.parametrize("name", ["lenet", "resnet18"])
def test_adamw_and_cosine_are_pytorchs(name):
    images, labels = toy(96)
    c = tiny(optimizer="adamw", schedule="cosine", lr=1e-3, weight_decay=0.1, epochs=2, batch_size=32, dropout=0.0)
    ours, plain = (build_model(name, images.shape, 10, generator(0, "init")) for _ in range(2))
    fit(ours, images, labels, c, generator(0, "batches"))
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=6)
    g = generator(0, "batches")
    for batch in [batch for _ in range(2) for batch in batches(96, 32, "keep", g)]:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(plain.train()(images[batch]), labels[batch]).backward()
        optimizer.step()
        schedule.step()
    for a, b in zip(ours.parameters(), plain.parameters()):
        assert torch.allclose(a, b, atol=1e-3)


def test_the_fast_path_follows_the_schedule():
    images, labels = toy(64)
    fast, plain = (build_model("lenet", images.shape, 10, generator(0, "init")) for _ in range(2))
    c = tiny(schedule="cosine", lr=0.05, epochs=3, batch_size=64, dropout=0.0)
    fit(fast, images, labels, c, generator(0, "batches"))
    step, g = gradient_step(plain, c), generator(0, "batches")
    for epoch in range(3):
        [batch] = batches(64, 64, "keep", g)
        step(images[batch], labels[batch], None, 0.05 * (1 + math.cos(math.pi * epoch / 3)) / 2)
    for a, b in zip(fast.parameters(), plain.parameters()):
        assert torch.allclose(a, b, atol=1e-4)


def test_crop_flip_moves_and_mirrors_each_image():
    images = torch.rand(400, 2, 16, 24) + 1  # nothing is 0 but what comes in
    made = recipes.crop_flip(images, generator(0, "augmentation"))
    found = set()
    for before, now in zip(images, made):
        candidates = {
            (dy, dx, flipped): torch.nn.functional.pad(before, (3, 3, 2, 2))[:, dy : dy + 16, dx : dx + 24]
            for dy in range(5) for dx in range(7) for flipped in (False, True)
        }  # fmt: skip
        [place] = [k for k, crop in candidates.items() if torch.equal(crop.flip(2) if k[2] else crop, now)]
        found.add(place)
    assert len(found) == 5 * 7 * 2  # every place, mirrored and not
    assert torch.equal(made, recipes.crop_flip(images, generator(0, "augmentation")))


def test_an_augmentation_of_ones_own(registry):
    seen = []

    @al.training.register_augmentation
    def brighter(images_N_C_H_W, generator):
        seen.append((len(images_N_C_H_W), generator.device.type))
        return images_N_C_H_W + torch.rand(len(images_N_C_H_W), 1, 1, 1, generator=generator)

    @al.training.register_augmentation
    def smaller(images_N_C_H_W, generator):
        return images_N_C_H_W[..., 1:]

    changes = dict(n_rounds=0, n_query=0, epochs=2)
    first, again = (list(run_experiment(tiny(augmentation="brighter", **changes)))[0].metrics for _ in range(2))
    assert first == again and seen == [(20, "cpu")] * 8  # in a run twice to see that it repeats, then in two epochs
    assert first != list(run_experiment(tiny(**changes)))[0].metrics
    with pytest.raises(ValueError, match=r"'smaller' made \(20, 1, 28, 27\) of images of shape \(20, 1, 28, 28\)"):
        list(run_experiment(tiny(augmentation="smaller", **changes)))
    with pytest.raises(ValueError, match="did you mean 'brighter'.*none, crop_flip, brighter"):
        prepare(tiny(augmentation="brightr"))


@pytest.mark.parametrize(
    "function, says",
    [
        (lambda images, generator: images / 0, "'theirs' made pixels that are NaN or infinite"),
        (lambda images, generator: images + torch.rand(1), "'theirs' is not deterministic.*argument `generator`"),
        (lambda images, generator: images[:, 9, 9, 99], "'theirs' failed: IndexError: index"),
        (lambda images: images, "'theirs' failed: TypeError: .* takes 1 positional argument but 2 were given"),
    ],
)
def test_an_augmentation_that_breaks_its_contract_is_refused(registry, function, says):
    function.__name__ = "theirs"
    al.training.register_augmentation(function)
    with pytest.raises(ValueError, match=f"augmentation={says}"):
        list(run_experiment(tiny(augmentation="theirs", n_rounds=0, n_query=0)))


@pytest.mark.parametrize("name, says", [("none", "cannot be called 'none'"), ("crop_flip", "comes with the project")])
def test_a_name_that_means_something_already_is_refused(registry, name, says):
    def theirs(images, generator):
        return images

    theirs.__name__ = name
    with pytest.raises(ValueError, match=says):
        al.training.register_augmentation(theirs)


def test_patience_counts_epochs_without_a_better_one():
    def stops(accuracies, patience):
        best = Best(patience, keep=False)
        return next((i for i, accuracy in enumerate(accuracies) if best.stops_after(torch.nn.Linear(1, 1), accuracy)), None)

    assert stops([0.1, 0.2, 0.2, 0.3, 0.3, 0.2, 0.3], 3) == 6  # counted from the epoch with 0.3 on; equal is not better
    assert stops([0.1, 0.2, 0.2, 0.3, 0.3, 0.2], 3) is None
    assert stops([0.1] * 9, 0) is None and stops([0.5, 0.4], 1) == 1


def test_early_stopping_keeps_the_best_weights():
    images, labels = toy()
    noise = torch.randn(100, 1, 28, 28, generator=torch.Generator().manual_seed(1)), torch.arange(100) % 10

    def fitted(**changes):
        model = build_model("lenet", images.shape, 10, generator(0, "init"))
        fit(model, images, labels, tiny(**changes), generator(0, "batches"), noise)
        return evaluate(model, *noise)["accuracy"]

    each = [fitted(epochs=n) for n in range(1, 13)]
    stop = next(i for i in range(12) if i >= 2 and max(each[: i - 1]) >= max(each[i - 1 : i + 1]))  # two without a better one
    assert fitted(epochs=500, patience=2) == each[stop]
    assert fitted(epochs=500, patience=2, keep_weights="best_valid") == max(each[: stop + 1])


def test_a_warm_start_goes_on_from_the_round_before_and_resumes_to_the_same_ledger(tmp_path):
    config = tiny(warm_start=True, strategy="bald", epochs=2)

    def said(rounds):
        return [(r.metrics, r.queried, r.scores) for r in rounds]

    rounds = list(run_experiment(config, tmp_path / "whole.jsonl"))
    cold = list(run_experiment(tiny(strategy="bald", epochs=2)))
    assert said(rounds)[0] == said(cold)[0] and said(rounds)[1] != said(cold)[1]

    problem = prepare(config)  # the second round by hand
    first, _ = train_model(problem, 0, problem.split.initial)
    now, labelled = after(problem, rounds[:1])
    second = build_model("lenet", (1, 28, 28), 10, generator(0, "initialisation", 1))
    second.load_state_dict(first.state_dict())
    loss = fit(second, now.train.take(labelled), now.train_labels[labelled], config, generator(0, "batches", 1))
    assert loss == rounds[1].metrics["train_loss"]

    for n_done in (1, 2):  # in a fresh process nothing is known of the rounds that are done
        killed = tmp_path / f"killed{n_done}.jsonl"
        lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
        killed.write_text("".join(lines[: 1 + n_done]))
        assert said(run_experiment(config, killed)) == said(rounds)
    with pytest.raises(ValueError, match="take the problem from `after`"):
        train_model(prepare(config), 1, labelled)


@pytest.mark.parametrize(
    "device, says",
    [
        ("mps", "finds 0 MPS devices"),
        ("xpu:1", "finds 0 XPU devices"),
        ("meta", "finds 0 META devices"),
        ("gpu", "not known. Allowed: cpu, cuda"),
        ("cuda:x", "not known"),
    ],
)
def test_a_device_that_is_not_here(device, says):
    with pytest.raises(ValueError, match=says):
        al.ExperimentConfig(device=device)


def test_a_device_that_pytorch_has(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device("mps"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    assert al.ExperimentConfig(device="mps").device == "mps" and al.ExperimentConfig(device="cpu:0").device == "cpu"
    assert generator(0, "posterior", device="mps").device.type == "cpu"  # draws for MPS are the CPU's
