"""Noise in images: how much, where, and from which generator."""

import pytest
import torch
import torchvision.transforms.v2 as transforms
from conftest import tiny

import al_utils as al
from al_utils.noise import AddGaussianNoise, AddSaltAndPepperNoise, Images
from al_utils.problem import prepare
from al_utils.randomness import generator


def test_gaussian_noise_has_the_given_moments_and_leaves_the_input():
    images = torch.full((200, 1, 28, 28), 3.0)
    noisy = AddGaussianNoise(mean=0.5, std=2.0, p=1.0, generator=generator(0, "test"))(images)
    change = noisy - 3.0
    assert abs(change.mean() - 0.5) < 0.02 and abs(change.std() - 2.0) < 0.02  # standard error 0.005
    assert (images == 3.0).all()


def test_salt_and_pepper_changes_exactly_a_tenth_half_to_each_extreme_in_all_channels():
    images = torch.rand(50, 3, 20, 20) * 0.8 + 0.1
    low, high = torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([1.0, 2.0, 3.0])
    noisy = AddSaltAndPepperNoise(0.1, low, high, p=1.0, generator=generator(0, "test"))(images)
    pepper = (noisy == low.view(3, 1, 1)).all(1)
    salt = (noisy == high.view(3, 1, 1)).all(1)
    assert (pepper.sum((1, 2)) == 20).all() and (salt.sum((1, 2)) == 20).all()
    untouched = ~(pepper | salt)[:, None].expand_as(images)
    assert torch.equal(noisy[untouched], images[untouched])
    assert len({tuple(p.flatten().nonzero().flatten().tolist()) for p in pepper}) == 50  # not one pattern for all


@pytest.mark.parametrize("noise", [AddGaussianNoise(p=0.1), AddSaltAndPepperNoise(p=0.1)])
def test_a_share_p_of_the_images_is_changed(noise):
    images = torch.full((4_000, 1, 8, 8), 0.5)
    changed = (noise(images) != images).flatten(1).any(1)
    assert abs(changed.float().mean() - 0.1) < 0.02  # standard error 0.005


@pytest.mark.parametrize("noise", [AddGaussianNoise(p=1.0), AddSaltAndPepperNoise(p=1.0)])
def test_usable_as_a_torchvision_transform(noise):
    pipeline = transforms.Compose([transforms.ToImage(), transforms.ToDtype(torch.float32, scale=True), noise])
    image = torch.randint(0, 256, (1, 28, 28), dtype=torch.uint8)
    out = pipeline(image)
    assert out.shape == (1, 28, 28) and out.dtype == torch.float32 and not torch.equal(out, image / 255)


def views(noise=None, **kwargs):
    pixels = torch.randint(0, 256, (300, 1, 8, 8), dtype=torch.uint8, generator=generator(0, "pixels"))
    return Images(pixels, torch.tensor([0.4]), torch.tensor([0.25]), noise, **kwargs), pixels


def test_images_are_standardised():
    images, pixels = views()
    assert torch.allclose(images[:], (pixels / 255 - 0.4) / 0.25, atol=1e-5)
    assert torch.equal(images[torch.tensor([5, 2])], images[:][[5, 2]])


def test_fixed_noise_is_the_same_at_each_access_and_not_clipped():
    clean, _ = views()
    noisy, _ = views(AddGaussianNoise(generator=generator(1, "noise")), rate=0.1)
    assert int(noisy.noisy_N.sum()) == 30  # exactly, not on average
    assert torch.equal(noisy[:], noisy[:])
    differs = (noisy[:] != clean[:]).flatten(1).any(1)
    assert torch.equal(differs, noisy.noisy_N)
    odd = torch.tensor([299, 0, 17, 17])
    assert torch.equal(noisy[odd], noisy[:][odd]) and torch.equal(noisy.take(odd), noisy[odd])
    change = (noisy[:] - clean[:])[noisy.noisy_N]
    assert abs(change.std() - 1) < 0.1
    assert (noisy[:] > clean[:].max()).any() and (noisy[:] < clean[:].min()).any()


def test_redrawn_noise_differs_between_accesses_and_repeats_from_its_generator():
    clean, _ = views()
    noisy, _ = views(AddGaussianNoise(generator=generator(1, "noise")), rate=0.3, redraw=True)
    once = noisy.redrawn(generator(2, "access"))
    first, second = once[:], once[:]
    assert not torch.equal(first, second)
    assert torch.equal(first, noisy.redrawn(generator(2, "access"))[:])
    assert not noisy.noisy_N.any()
    assert 0.2 < (first != clean[:]).flatten(1).any(1).float().mean() < 0.4
    taken = once.take(torch.arange(50))
    assert not torch.equal(taken[torch.arange(50)], taken[torch.arange(50)])


def test_noise_is_on_every_split_and_never_on_the_clean_test_images():
    s = prepare(tiny(noise="salt_and_pepper"))
    assert int(s.train.noisy_N.sum()) == 400 and int(s.test.noisy_N.sum()) == 100  # 10% of 4,000 and of 1,000
    assert s.train.noisy_N[s.split.valid].any() and not s.test_clean.noisy_N.any()
    assert not torch.equal(s.test[:], s.test_clean[:])


def test_salt_is_white_and_pepper_black_but_grey_as_released():
    white = prepare(tiny())
    extremes = {float(white.train[:].min()), float(white.train[:].max())}
    s = prepare(tiny(noise="salt_and_pepper"))
    changed = s.train[:] != white.train[:]
    assert {round(v, 4) for v in s.train[:][changed].unique().tolist()} == {round(v, 4) for v in extremes}
    released = prepare(tiny(noise="salt_and_pepper", protocol="as_released", strategy="random"))
    view = released.train.redrawn(generator(0, "access"))[:]
    assert set(view[view != white.train[:]].unique().tolist()) == {0.0}


def test_noise_depends_on_the_seed_alone():
    def draw(**changes):
        return prepare(tiny(noise="gaussian", **changes)).train[:]

    assert torch.equal(draw(strategy="random"), draw(strategy="bald", model="resnet18", epochs=9))
    assert not torch.equal(draw(), draw(seed=1))


def test_public_names():
    assert al.AddGaussianNoise is AddGaussianNoise and al.AddSaltAndPepperNoise is AddSaltAndPepperNoise
