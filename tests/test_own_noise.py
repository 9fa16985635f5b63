"""Noises of one's own: one like any other, and what breaks its contract."""

import pytest
import torch
from conftest import tiny

import al_utils as al
from al_utils import noise
from al_utils.experiment import header, run_experiment
from al_utils.problem import prepare


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(noise, "registry", {})


def test_a_registered_noise_is_a_noise_like_any_other(tmp_path):
    @al.noise.register
    def fog(images_N_C_H_W, generator):
        images_N_C_H_W += 1 + torch.rand(len(images_N_C_H_W), 1, 1, 1, generator=generator)  # in place: it gets a copy
        return images_N_C_H_W

    config = tiny(noise="fog", n_rounds=1, epochs=1, device="cpu")
    problem, clean = prepare(config), prepare(tiny())
    change = (problem.train[:] - clean.train[:]).flatten(1)
    foggy = change.abs().amax(1) > 0
    assert int(foggy.sum()) == 400 and torch.equal(foggy, problem.train.noisy_N)
    assert torch.allclose(change[foggy].amin(1), change[foggy].amax(1), atol=1e-5)  # one shift an image
    assert 1 <= change[foggy].min() and change.max() <= 2 and len(change[foggy][:, 0].unique()) > 390
    assert torch.equal(problem.train[:], prepare(config).train[:])  # from the seed alone
    assert not problem.test_clean.has_noise and "noise" in header(problem)["registered"]
    list(run_experiment(config, tmp_path / "run.jsonl"))
    assert list(run_experiment(tiny(noise="fog", noise_draw="each_access", n_rounds=0, epochs=1)))


def test_a_batch_without_a_noisy_image_is_left_alone():
    @al.noise.register
    def brightest(images_N_C_H_W, generator):
        return images_N_C_H_W / images_N_C_H_W.max()  # fails where there is no image

    config = tiny(noise="brightest", noise_draw="each_access", noise_rate=0.01, n_rounds=0, epochs=1, device="cpu")
    assert list(run_experiment(config))


def wrong_shape(images_N_C_H_W, generator):
    return images_N_C_H_W[:, :, ::2]


def no_tensor(images_N_C_H_W, generator):
    return images_N_C_H_W.numpy()


def not_finite(images_N_C_H_W, generator):
    return images_N_C_H_W / 0


def forgetful(images_N_C_H_W, generator):
    return images_N_C_H_W + torch.randn(images_N_C_H_W.shape)


@pytest.mark.parametrize(
    "function, says",
    [
        (wrong_shape, r"returned shape \[4, 1, 14, 28\], but must return a tensor \[4, 1, 28, 28\]"),
        (no_tensor, "returned type ndarray"),
        (not_finite, "NaN or infinite"),
        (forgetful, "not deterministic.*Take all randomness from its argument"),
    ],
)
def test_a_noise_that_breaks_its_contract_is_refused_in_one_sentence(function, says):
    al.noise.register(function)
    with pytest.raises(ValueError, match=f"noise='{function.__name__}'.*{says}"):
        prepare(tiny(noise=function.__name__))


def test_names_of_noises():
    with pytest.raises(ValueError, match="noise='fogg' is not known"):
        prepare(tiny(noise="fogg"))

    def gaussian(images, generator): ...

    with pytest.raises(ValueError, match="a noise cannot be called 'gaussian'"):
        al.noise.register(gaussian)
