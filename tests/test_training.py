"""Training, batches, evaluation and predictions against plain PyTorch."""

import itertools
import math

import pytest
import torch
from conftest import tiny
from torch import nn

from al_utils import ExperimentConfig
from al_utils.models import build_model
from al_utils.networks import fast_lenet
from al_utils.networks.steps import gradient_step
from al_utils.predicting import evaluate
from al_utils.randomness import generator
from al_utils.training import Diverged, batch_sizes, batches, fit


def test_no_batch_is_smaller_than_the_network_needs():
    for n, batch_size, last_batch in itertools.product(range(2, 40), range(2, 12), ("keep", "balance")):
        plain, sizes = (batch_sizes(n, batch_size, last_batch, smallest) for smallest in (1, 2))
        assert sum(sizes) == n and min(sizes) >= 2
        assert sizes == plain or min(plain) == 1 and max(sizes) - min(sizes) <= 1 and len(sizes) <= len(plain)
    assert batch_sizes(25, 24, "keep", 2) == [13, 12] and batch_sizes(3, 2, "balance", 2) == [3]
    assert batch_sizes(25, 24, "drop", 2) == [24]


@pytest.mark.parametrize(
    "last_batch, sizes",
    [("keep", [64, 64, 2]), ("drop", [64, 64]), ("balance", [44, 43, 43])],
)
def test_the_three_ways_to_end_an_epoch(last_batch, sizes):
    cut = batches(130, 64, last_batch, generator(0, "batches"))
    assert [len(batch) for batch in cut] == sizes
    assert len(torch.cat(cut).unique()) == sum(sizes)  # nothing twice


@pytest.mark.parametrize("last_batch", ["keep", "drop", "balance"])
def test_whole_batches_stay_whole(last_batch):
    assert [len(b) for b in batches(128, 64, last_batch, generator(0, "batches"))] == [64, 64]


def test_fewer_images_than_a_batch_are_one_batch():
    assert [len(b) for b in batches(12, 16, "drop", generator(0, "batches"))] == [12]


def test_order_changes_each_epoch_and_repeats_from_the_seed():
    g = generator(0, "batches")
    first, second = batches(100, 100, "keep", g)[0], batches(100, 100, "keep", g)[0]
    assert not torch.equal(first, second)
    assert torch.equal(first, batches(100, 100, "keep", generator(0, "batches"))[0])


def toy(n=200, shape=(1, 28, 28)):
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 10
    prototypes = torch.randn(10, *shape, generator=g)
    return prototypes[labels] + 0.3 * torch.randn(n, *shape, generator=g), labels


def test_fit_is_textbook_sgd():
    """The same batches and masks through PyTorch's plain layers and equation 3 written out: the same weights."""
    images, labels = toy()
    config = tiny(epochs=2, lr=0.05, momentum=0.0, weight_decay=0.01)
    model = build_model("lenet", images.shape, 10, generator(0, "init"))
    plain = build_model("lenet", images.shape, 10, generator(0, "init"))
    loss = fit(model, images, labels, config, generator(0, "batches"))

    g = generator(0, "batches")
    for _ in range(config.epochs):
        losses = []
        for batch in batches(len(labels), config.batch_size, config.last_batch, g):
            masks = plain.draw_masks((len(batch),), config.dropout, g)
            hidden = nn.functional.max_pool2d(plain.conv1(images[batch]).relu(), 2)
            hidden = nn.functional.max_pool2d(plain.conv2(hidden).relu(), 2).flatten(1)
            hidden = plain.fc1(hidden).relu() * masks[0]
            hidden = plain.head_layers[0](hidden).relu() * masks[1]
            logits = plain.head_layers[1](hidden)
            step_loss = -logits.log_softmax(1)[torch.arange(len(batch)), labels[batch]].mean()
            plain.zero_grad()
            step_loss.backward()
            with torch.no_grad():
                for p in plain.parameters():
                    p -= config.lr * (p.grad + config.weight_decay * p)
            losses.append(float(step_loss.detach()) * len(batch))
    assert loss == pytest.approx(sum(losses) / len(labels), abs=1e-4)
    for ours, theirs in zip(model.parameters(), plain.parameters()):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("name, epochs", [("lenet", 40), ("resnet18", 6)])
def test_fit_learns(name, epochs):
    images, labels = toy()
    model = build_model(name, images.shape, 10, generator(0, "init"))
    fit(model, images, labels, tiny(epochs=epochs), generator(0, "batches"))
    assert evaluate(model, images, labels)["accuracy"] > 0.9


def test_best_valid_keeps_the_weights_of_the_best_epoch():
    images, labels = toy()
    noise = torch.randn(100, 1, 28, 28, generator=torch.Generator().manual_seed(1)), torch.arange(100) % 10

    def accuracy(epochs, keep):
        model = build_model("lenet", images.shape, 10, generator(0, "init"))
        fit(model, images, labels, tiny(epochs=epochs, keep_weights=keep), generator(0, "batches"), noise)
        return evaluate(model, *noise)["accuracy"]

    each = [accuracy(n, "last") for n in range(1, 9)]
    assert accuracy(8, "best_valid") == max(each) > each[-1] - 1e-9


def test_a_loss_that_is_not_finite_is_an_error():
    images, labels = toy()
    model = build_model("lenet", images.shape, 10, generator(0, "init"))
    with pytest.raises(Diverged, match="lower lr"):
        fit(model, images, labels, tiny(lr=1e9), generator(0, "batches"))


class Fixed(nn.Module):
    """A "network" whose images are its logits."""

    def features(self, x):
        return x

    def head(self, x, masks=None):
        return x


def test_metrics_worked_by_hand():
    probs = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.45, 0.55], [0.3, 0.7]])
    labels = torch.tensor([0, 1, 1, 1])
    m = evaluate(Fixed(), probs.log(), labels)
    assert m["accuracy"] == 0.75
    assert m["nll"] == pytest.approx(-(math.log(0.9) + math.log(0.2) + math.log(0.55) + math.log(0.7)) / 4, abs=1e-6)
    assert m["ece"] == pytest.approx((0.1 + 0.8 + 0.45 + 0.3) / 4, abs=1e-6)  # each in a bin of its own


def test_confidence_of_one_and_equal_bins():
    m = evaluate(Fixed(), torch.tensor([[1e4, 0.0], [1e4, 0.0]]), torch.tensor([0, 1]))
    assert m["ece"] == 0.5 and m["accuracy"] == 0.5


@pytest.mark.parametrize("model", ["lenet", "resnet18"])
def test_a_gradient_is_shortened_to_its_bound(model):
    """One step of plain SGD moves the weights by lr x bound; a bound above the gradient's norm changes nothing."""

    def moved(clip_norm):
        config = ExperimentConfig(model=model, protocol="tuned", momentum=0.0, weight_decay=0.0, clip_norm=clip_norm)
        network = build_model(model, (3, 32, 32), 4, torch.Generator().manual_seed(0))
        network.train()
        before = torch.nn.utils.parameters_to_vector(network.parameters()).detach().clone()
        images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        step_of = fast_lenet.sgd_step if model == "lenet" else gradient_step
        step_of(network, config)(images, torch.arange(8) % 4, None)
        return (torch.nn.utils.parameters_to_vector(network.parameters()).detach() - before) / config.lr

    free = moved(0.0)
    assert free.norm() > 0.5 and moved(0.25).norm() == pytest.approx(0.25, rel=1e-3)
    assert torch.allclose(moved(0.25), 0.25 * free / free.norm(), atol=1e-5) and torch.equal(moved(1e6), free)


@pytest.mark.parametrize("size", [64, 96])
def test_six_labels_of_large_images_do_not_diverge_under_the_notebooks_recipe(size):
    """Their gradients grow with the image: without a bound one step in a hundred throws the network out of all bounds."""
    config = ExperimentConfig(protocol="tuned", clip_norm=1.0, epochs=25)
    g = torch.Generator().manual_seed(0)
    images, labels = 3 * torch.randn(6, 3, size, size, generator=g), torch.arange(6) % 2
    model = build_model("lenet", images.shape, 2, torch.Generator().manual_seed(0))
    assert fit(model, images, labels, config, torch.Generator().manual_seed(0)) < 1
