"""LeNet, ResNet-18 and their dropout masks."""

import pytest
import torch
from torch import nn

from al_utils.models import build_model, initialise
from al_utils.predicting import CHUNK, predict_log_probs
from al_utils.randomness import generator

SHAPES = {"mnist": (1, 28, 28), "cifar": (3, 32, 32), "odd": (1, 40, 56)}


def model(name="lenet", shape=(1, 28, 28), seed=0):
    return build_model(name, shape, 10, generator(seed, "initialisation"))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_lenet_layers_as_designed(shape):
    m, c = model(shape=shape), shape[0]
    assert [m.conv1.out_channels, m.conv2.out_channels] == [6 * c, 16 * c]
    assert [layer.out_features for layer in (m.fc1, *m.head_layers)] == [120 * c, 84 * c, 10]
    assert m(torch.randn(2, *shape)).shape == (2, 10)


def test_lenet_is_the_textbook_network():
    m, x = model(), torch.randn(5, 1, 28, 28)
    textbook = nn.Sequential(
        m.conv1, nn.ReLU(), nn.MaxPool2d(2), m.conv2, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        m.fc1, nn.ReLU(), m.head_layers[0], nn.ReLU(), m.head_layers[1],
    )  # fmt: skip
    assert torch.allclose(m(x), textbook(x), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_resnet_is_torchvisions_in_values_and_gradients(shape):
    from torchvision.models import resnet18

    ours = model("resnet18", shape)
    theirs = resnet18(weights=None)
    theirs.conv1, theirs.fc = nn.Conv2d(shape[0], 64, 7, stride=2, padding=3, bias=False), nn.Linear(512, 10)
    # The same draw: torchvision's layers in the same order, the classifier last in both.
    initialise(theirs, generator(0, "initialisation"))
    x, y = torch.randn(8, *shape, generator=generator(0, "images")), torch.arange(8)
    for net in (ours, theirs):
        net.train()
    ours_out, theirs_out = ours(x), theirs(x)
    assert torch.allclose(ours_out, theirs_out, atol=1e-4)
    for out in (ours_out, theirs_out):
        nn.functional.cross_entropy(out, y).backward()
    assert torch.allclose(ours.trunk.conv1.weight.grad, theirs.conv1.weight.grad, atol=1e-3)
    live, full = ours.trunk.layer4[1].conv2.weight.grad, theirs.layer4[1].conv2.weight.grad
    if live.shape != full.shape:  # the dropped taps met padding only
        assert live.shape[-2:] == (1, 1) and torch.allclose(live, full[:, :, 1:2, 1:2], atol=1e-4)
        assert full.count_nonzero() == full[:, :, 1, 1].count_nonzero()


def test_initialisation_follows_its_seed_and_no_global_one():
    torch.manual_seed(1)
    one = model("resnet18", seed=0)
    torch.manual_seed(2)
    again, other = model("resnet18", seed=0), model("resnet18", seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), again.state_dict().values()))
    assert not torch.equal(one.trunk.conv1.weight, other.trunk.conv1.weight)


def test_initialisation_has_pytorchs_distribution():
    m = model(shape=(3, 32, 32))
    for layer, fan_in in ((m.conv2, 18 * 25), (m.fc1, 48 * 25)):
        bound = fan_in**-0.5
        assert layer.weight.abs().max() <= bound and abs(layer.weight.std() - bound / 3**0.5) < 0.02 * bound
    conv = model("resnet18").trunk.layer2[0].conv1
    assert abs(conv.weight.std() / (2 / (128 * 9)) ** 0.5 - 1) < 0.02  # kaiming_normal, fan_out


def test_building_a_model_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    model("resnet18").draw_masks((4, 1), 0.5, generator(0, "masks"))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["lenet", "resnet18"])
def test_a_mask_for_all_images_is_the_mask_repeated_for_each(name):
    m = model(name).eval()
    features = m.features(torch.randn(6, 1, 28, 28))
    masks_K_1_D = m.draw_masks((3, 1), 0.5, generator(0, "masks"))
    together = m.head(features, masks_K_1_D)
    assert together.shape == (3, 6, 10)
    for k in range(3):
        alone = m.head(features, [mask[k].expand(6, -1) for mask in masks_K_1_D])
        assert torch.allclose(together[k], alone, atol=1e-5)


def test_masks_keep_half_and_are_scaled_so_that_the_mean_stays():
    [first, second] = model().draw_masks((2_000,), 0.5, generator(0, "masks"))
    assert first.shape == (2_000, 120) and second.shape == (2_000, 84)
    assert set(first.unique().tolist()) == {0.0, 2.0} and abs(first.mean() - 1) < 0.02
    [quarter, _] = model().draw_masks((2_000,), 0.25, generator(0, "masks"))
    assert abs((quarter == 0).float().mean() - 0.25) < 0.01 and abs(quarter.mean() - 1) < 0.02


@pytest.mark.parametrize("name", ["lenet", "resnet18"])
def test_a_sample_is_one_function_whatever_the_chunks(name):
    """A short last batch must not see masks of its own, and predicting must leave BatchNorm's statistics."""
    m = model(name).train()
    images = torch.randn(CHUNK + 7, 1, 28, 28)
    masks = m.draw_masks((3, 1), 0.5, generator(0, "masks"))
    before = [b.clone() for b in m.buffers()]
    whole = predict_log_probs(m, images, masks)
    tail = predict_log_probs(m, images[-9:], masks)
    assert whole.shape == (3, CHUNK + 7, 10)
    assert torch.allclose(whole[:, -9:], tail, atol=1e-5)
    assert not torch.equal(whole[0], whole[1])  # MC dropout is not inert
    assert all(torch.equal(a, b) for a, b in zip(before, m.buffers()))
    assert torch.allclose(whole.exp().sum(-1), torch.ones(()), atol=1e-5)
