"""Networks of one's own: kept as they were made, their dropout layers as MC dropout."""

import copy

import pytest
import torch
from conftest import tiny
from torch import nn

import al_utils as al
from al_utils import models, training
from al_utils.experiment import run_experiment
from al_utils.models import build_model
from al_utils.networks import dropout, own_network
from al_utils.networks.steps import gradient_step
from al_utils.predicting import CHUNK, embeddings, predict_log_probs
from al_utils.randomness import generator
from al_utils.training import fit

SHAPE = (1, 28, 28)


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setattr(models, "_registry", dict(models._registry))


class SmallViT(nn.Module):
    """Patches of 7 x 7, two layers of attention, as PyTorch has them."""

    def __init__(self, channels, n_classes, image_size, width=24, p=0.2, batch_first=True):
        super().__init__()
        n_patches = (image_size[0] // 7) * (image_size[1] // 7)
        self.patches = nn.Conv2d(channels, width, 7, stride=7)
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 1 + n_patches, width) * 0.02)
        self.position_dropout = nn.Dropout(p)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=p, batch_first=batch_first, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.classify = nn.LayerNorm(width), nn.Linear(width, n_classes)
        self.batch_first = batch_first

    def forward(self, images):
        patches = self.patches(images).flatten(2).mT
        tokens = torch.cat([self.first.expand(len(images), -1, -1), patches], 1) + self.position_dropout(self.positions)
        tokens = tokens if self.batch_first else tokens.transpose(0, 1)
        tokens = self.encoder(tokens)
        return self.classify(self.norm(tokens[:, 0] if self.batch_first else tokens[0]))


def tokens_first(channels, n_classes, image_size):
    return SmallViT(channels, n_classes, image_size, batch_first=False)


class Tutorial(nn.Module):
    """One dropout layer called twice, on vectors of two lengths, and one of whole channels."""

    def __init__(self, channels, n_classes, image_size):
        super().__init__()
        self.conv, self.channels = nn.Conv2d(channels, 6, 5, stride=4), nn.Dropout2d(0.25)
        self.one, self.two, self.three = nn.Linear(6 * 36, 40), nn.Linear(40, 20), nn.Linear(20, n_classes)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images):
        hidden = self.channels(self.conv(images).relu()).flatten(1)
        hidden = self.dropout(self.one(hidden).relu())
        return self.three(self.dropout(self.two(hidden).relu()))


def sequential(channels, n_classes, image_size):
    drop = nn.Dropout(0.5)  # the same object in two places
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 30), nn.ReLU(), drop, nn.Linear(30, 30), nn.ReLU(), drop, nn.Linear(30, n_classes)
    )


MAKERS = [SmallViT, tokens_first, Tutorial, sequential]


def made(make, seed=0):
    al.models.register(make)
    return build_model(make.__name__, SHAPE, 10, generator(seed, "initialisation"))


def test_its_own_initialisation_is_kept_and_seeded():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, again, other = made(SmallViT), made(SmallViT), made(SmallViT, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    vit = one.module
    assert (vit.norm.weight == 1).all() and (vit.encoder.layers[0].norm1.weight == 1).all() and (vit.first == 0).all()
    assert abs(float(vit.positions.detach().std()) / 0.02 - 1) < 0.2
    with torch.random.fork_rng([]):
        torch.manual_seed(generator(0, "initialisation").initial_seed())
        plain = SmallViT(1, 10, (28, 28)).eval()
    images = torch.randn(3, *SHAPE)
    assert torch.allclose(one.eval()(images), plain(images), atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters()))
    assert not torch.equal(vit.positions, other.module.positions)


@pytest.mark.parametrize("make", MAKERS)
def test_a_sample_is_one_function_whatever_the_chunks(make):
    network, images = made(make), torch.randn(CHUNK + 7, *SHAPE)
    masks = network.draw_masks((3, 1), 0.5, generator(0, "masks"))
    whole, tail = predict_log_probs(network, images, masks), predict_log_probs(network, images[-9:], masks)
    assert whole.shape == (3, CHUNK + 7, 10) and torch.allclose(whole[:, -9:], tail, atol=1e-4)
    assert not torch.allclose(whole[0], whole[1], atol=1e-2)  # not inert
    plain = predict_log_probs(network, images)
    assert torch.equal(plain, predict_log_probs(network, images)) and plain.shape == (1, CHUNK + 7, 10)


def test_masks_are_those_of_dropout_by_its_definition():
    network, images = made(Tutorial).eval(), torch.randn(5, *SHAPE)
    assert [call.shape for call in network.calls] == [(1, 6, 1, 1), (1, 40), (1, 20)]
    m = network.module
    for shape in ((5,), (2, 1)):  # one for each image, as in training; one for each of two samples
        masks = network.draw_masks(shape, 0.5, generator(0, "masks"))
        logits = network.head(network.features(images), masks)
        for k in range(2 if len(shape) == 2 else 1):
            channels, one, two = [mask[k] for mask in masks] if len(shape) == 2 else masks
            hidden = (m.conv(images).relu() * channels.squeeze(1)).flatten(1)
            hidden = m.two(m.one(hidden).relu() * one.squeeze(1)).relu() * two.squeeze(1)
            assert torch.allclose(logits[k] if len(shape) == 2 else logits, m.three(hidden), atol=1e-5)


def test_masks_have_the_layers_own_p_and_keep_the_mean():
    first, second, _ = made(Tutorial).draw_masks((5_000,), 0.9, generator(0, "masks"))
    assert first.unique().tolist() == pytest.approx([0, 4 / 3]) and second.unique().tolist() == [0, 2]
    assert abs(float((first == 0).float().mean()) - 0.25) < 0.01 and abs(float(second.mean()) - 1) < 0.02


def test_heads_in_the_axis_of_images_and_what_all_images_share():
    layer = dropout.Dropout(0.5, whole_channels=False)
    calls = dropout.calls_of(lambda n: [layer(torch.ones(n * 4, 3, 3)), layer(torch.ones(7, n, 2)), layer(torch.ones(1, 6))])
    assert [(call.axis, call.shape) for call in calls] == [(0, (4, 3, 3)), (1, (1, 7, 2)), (None, (1, 6))]
    g = generator(0, "masks")
    heads, tokens, shared = (call.draw((5,), g) for call in calls)
    with dropout.masked(calls, [heads, tokens, shared]):
        assert torch.equal(layer(torch.ones(20, 3, 3)), heads.flatten(0, 1))
        assert torch.equal(layer(torch.ones(7, 5, 2)), tokens.squeeze(1).transpose(0, 1))
        assert torch.equal(layer(torch.ones(1, 6)), shared[0])
        with pytest.raises(RuntimeError, match="called more often"):
            layer(torch.ones(1, 6))
    assert torch.equal(layer(torch.ones(2, 6)), torch.ones(2, 6))


@pytest.mark.parametrize("make", [SmallViT, Tutorial])
def test_embeddings_are_the_input_of_the_last_layer(make):
    network, images, inputs = made(make), torch.randn(CHUNK + 3, *SHAPE), []
    last = network.module.classify if make is SmallViT else network.module.three
    last.register_forward_pre_hook(lambda layer, given: inputs.append(given[0]))
    found = embeddings(network, images)
    assert torch.equal(found, torch.cat(inputs)) and found.shape == (CHUNK + 3, 24 if make is SmallViT else 20)


@pytest.mark.parametrize("make", [SmallViT, Tutorial])
def test_a_whole_run_that_goes_on_after_a_kill_to_the_same_ledger(make, tmp_path):
    al.models.register(make)
    config = tiny(model=make.__name__, strategy="bald", pool_subset=300, epochs=2)

    def said(rounds):
        return [(r.metrics, r.queried, r.scores) for r in rounds]

    whole = said(run_experiment(config, tmp_path / "whole.jsonl"))
    rounds = run_experiment(config, tmp_path / "killed.jsonl")
    next(rounds)
    rounds.close()
    torch.manual_seed(7)  # what a fresh process has drawn before is another thing
    assert said(run_experiment(config, tmp_path / "killed.jsonl")) == whole
    assert whole[0][1] != whole[1][1]


def test_no_embeddings_where_the_last_layer_is_not_linear():
    def convolutional(channels, n_classes, image_size):
        return nn.Sequential(nn.Conv2d(channels, n_classes, 28), nn.Flatten())

    network = made(convolutional)
    with pytest.raises(ValueError, match="has no embeddings.*end it so"):
        embeddings(network, torch.randn(3, *SHAPE))


def test_a_subclass_of_classifier_keeps_what_it_was_made_with():
    class Pretrained(models.Classifier):
        def __init__(self, channels=1, n_classes=10, image_size=(28, 28)):
            super().__init__()
            self.trunk = nn.Linear(784, 32)
            self.trunk.weight.data.fill_(0.5)
            self.trunk.requires_grad_(False)
            self.norm = nn.LayerNorm(32)
            self.head_layers = nn.ModuleList([nn.Linear(32, n_classes)])

        def features(self, images):
            return self.norm(self.trunk(images.flatten(1)).relu())

    model = made(Pretrained)
    assert (model.trunk.weight == 0.5).all() and not model.trunk.weight.requires_grad and (model.norm.weight == 1).all()
    list(run_experiment(tiny(model="Pretrained", strategy="bald", n_rounds=1)))


def test_own_networks_are_none_of_the_built_in_ones():
    assert isinstance(made(Tutorial), own_network.OwnNetwork)
    assert type(build_model("lenet", SHAPE, 10, generator(0, "i"))) is models.LeNet


def frozen_lenet(channels, n_classes, image_size):
    """LeNet with a frozen trunk: not what the fast steps of LeNet train."""
    lenet = build_model("lenet", (channels, *image_size), n_classes, generator(0, "initialisation"))
    for layer in (lenet.conv1, lenet.conv2, lenet.fc1):
        layer.requires_grad_(False)
    return lenet


class TanhLeNet(models.LeNet):
    def features(self, images_N_C_H_W):
        x = torch.tanh(nn.functional.max_pool2d(self.conv1(images_N_C_H_W), 2))
        return self.fc1(torch.tanh(nn.functional.max_pool2d(self.conv2(x), 2)).flatten(1)).tanh()


class WideLeNet(models.LeNet):
    def __init__(self, channels, n_classes, image_size):
        super().__init__(channels, n_classes, image_size)
        self.conv1, self.conv2 = nn.Conv2d(channels, 12, 5), nn.Conv2d(12, 16, 5)


@pytest.mark.parametrize("make", [frozen_lenet, TanhLeNet, WideLeNet])
def test_a_lenet_of_ones_own_is_trained_as_it_is(make):
    images, labels, config = torch.randn(40, *SHAPE), torch.arange(40) % 10, tiny(epochs=2, dropout=0.0)
    with torch.no_grad():
        build_model("lenet", SHAPE, 10, generator(0, "initialisation")).features(images)  # whose buffers stay
    model = make(1, 10, (28, 28))
    before = copy.deepcopy(model)
    fit(model, images, labels, config, generator(0, "batches"))
    for parameter, as_it_was in zip(model.parameters(), before.parameters()):
        assert torch.equal(parameter, as_it_was) == (not parameter.requires_grad)
    step = gradient_step(before, config)
    order = generator(0, "batches")
    for _ in range(config.epochs):
        for batch in training.batches(40, config.batch_size, config.last_batch, order):
            step(images[batch], labels[batch], None)
    with torch.no_grad():
        fast = model.features(images)
    assert torch.allclose(fast, model.features(images), atol=1e-5)
    assert torch.allclose(fast, before.features(images), atol=1e-4)


def test_dropout_that_drops_nothing_is_none():
    @al.models.register
    def with_nothing_dropped(channels, n_classes, image_size):
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Dropout(0.0), nn.Linear(16, n_classes))

    assert list(run_experiment(tiny(model="with_nothing_dropped", strategy="max_entropy", n_rounds=1, epochs=1)))
    with pytest.raises(ValueError, match="has no nn.Dropout layer"):
        list(run_experiment(tiny(model="with_nothing_dropped", strategy="bald", n_rounds=1, epochs=1)))
