"""The fast path computes what the plain one does, to rounding; threads change no bit; memory stays bounded."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from conftest import tiny

from al_utils import acquisition, run_experiment
from al_utils.chapters import speed
from al_utils.compute import parallel
from al_utils.models import build_model
from al_utils.networks import fast_lenet
from al_utils.networks.steps import gradient_step
from al_utils.predicting import CHUNK, predict_log_probs, predictions
from al_utils.randomness import generator
from al_utils.training import batches

ROOT = Path(__file__).resolve().parent.parent
SHAPES = {"mnist": (1, 28, 28), "cifar": (3, 32, 32), "odd": (1, 29, 35)}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def digits(n, shape):
    """Images that are mostly one grey, as digits are: most pooling windows hold four equal values."""
    g = torch.Generator().manual_seed(0)
    return (torch.rand(n, *shape, generator=g) > 0.9).float(), torch.arange(n) % 10


def model(shape, name="lenet"):
    return build_model(name, shape, 10, generator(0, "initialisation"), "cpu")


@shapes
def test_twenty_steps_and_a_thousand_scores_are_those_of_the_plain_network(shape):
    images, labels = digits(150, shape)
    config, fast, plain = tiny(lr=0.05), model(shape), model(shape)
    steps = fast_lenet.sgd_step(fast, config), gradient_step(plain, config)
    g, cut = generator(0, "batches"), []
    while len(cut) < 20:
        cut += batches(150, 64, "keep", g)  # batches of 64 and of 22
    for batch in cut[:20]:
        masks = fast.draw_masks((len(batch),), config.dropout, g)
        losses = [float(step(images[batch], labels[batch], masks)) for step in steps]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    for ours, theirs in zip(fast.parameters(), plain.parameters()):
        assert torch.allclose(ours, theirs, atol=1e-4)

    pool = digits(1_000, shape)[0]
    masks = fast.draw_masks((10, 1), 0.5, generator(0, "posterior"))
    ours = predict_log_probs(fast, pool, masks)
    theirs = torch.stack([  # plain layers, one image at a time as far as masks are concerned
        plain.head(plain.features(pool), [mask[k].expand(len(pool), -1) for mask in masks]).log_softmax(-1) for k in range(10)
    ]).detach()  # fmt: skip
    for score in (acquisition.bald, acquisition.max_entropy):
        assert torch.allclose(score(ours), score(theirs), atol=1e-4)


@shapes
@pytest.mark.parametrize("n", [1, 33, 64])
@pytest.mark.parametrize("loss", ["categorical", "per_class"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_are_autograds(shape, n, loss, reduction):
    images, labels = digits(n, shape)
    config = tiny(lr=1.0, momentum=0.0, weight_decay=0.0, dropout=0.0, loss=loss, reduction=reduction)
    fast, plain = model(shape), model(shape)
    before = [p.detach().clone() for p in fast.parameters()]
    said = fast_lenet.sgd_step(fast, config)(images, labels, None)
    p = plain(images).double().softmax(1)
    is_label = torch.nn.functional.one_hot(labels, 10).double()
    if loss == "categorical":
        each = torch.nn.functional.nll_loss(p.log(), labels, reduction="none")
    else:  # equation 2, by PyTorch's binary cross-entropy
        each = torch.nn.functional.binary_cross_entropy(p, is_label, reduction="none").sum(1)
    (each.sum() if reduction == "sum" else each.mean()).backward()
    assert float(said) == pytest.approx(float(each.detach().mean()), abs=1e-5)
    for old, new, theirs in zip(before, fast.parameters(), plain.parameters()):
        assert torch.allclose(old - new, theirs.grad, atol=1e-5 * max(1, float(theirs.grad.abs().max())))


@shapes
def test_features_of_any_number_of_images_and_memory_layout(shape):
    m, images = model(shape), digits(2 * fast_lenet.CHUNK + 5, shape)[0]
    plain = m.features(images).detach()
    for inference in (False, True, False):
        with torch.inference_mode(inference), torch.no_grad():
            assert torch.allclose(m.features(images), plain, atol=1e-5)
            assert torch.allclose(m.features(images.to(memory_format=torch.channels_last)[:3]), plain[:3], atol=1e-5)
    assert m.features(images).requires_grad and not torch.allclose(plain[0], plain[-1])


def test_other_networks_of_the_same_shape_do_not_share_weights():
    images = digits(3, (1, 28, 28))[0]
    one, other = model((1, 28, 28)), build_model("lenet", (1, 28, 28), 10, generator(1, "initialisation"))
    with torch.no_grad():
        first = one.features(images)
        assert not torch.allclose(first, other.features(images))
        assert torch.equal(first, one.features(images))


@pytest.mark.parametrize(
    "changes", [{}, {"model": "resnet18", "epochs": 1}, {"noise_draw": "each_access", "noise": "gaussian"}]
)
def test_two_threads_change_no_bit(monkeypatch, changes):
    results, before = [], threading.active_count()
    for n in ("1", "2", "3"):
        monkeypatch.setenv("AL_THREADS", n)
        config = tiny(strategy="bald", n_initial=70, n_rounds=1, **changes)
        results.append([(r.queried, r.scores, r.metrics) for r in run_experiment(config)])
    assert results[0] == results[1] == results[2]
    assert threading.active_count() <= before  # the threads have gone


def test_jobs_return_in_order_and_an_error_comes_through():
    with parallel.threads(3):
        assert parallel.run([lambda i=i: i for i in range(8)]) == list(range(8))
        for broken in range(4):
            with pytest.raises(ZeroDivisionError):
                parallel.run([lambda i=i: 1 // (i - broken) for i in range(4)])
        assert parallel.run([lambda: 1, lambda: 2]) == [1, 2]
    assert parallel.n_threads() == 1


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_pool_is_scored_in_chunks(n_threads):
    m, images = model((1, 28, 28)), digits(2 * CHUNK + 3, (1, 28, 28))[0]
    with parallel.threads(n_threads):
        for n_samples, sizes in ((10, [CHUNK, CHUNK, 3]), (100, [250] * 4 + [3]), (1_000, [25] * 40 + [3])):
            masks = m.draw_masks((n_samples, 1), 0.5, generator(0, "posterior"))
            chunks = [log_probs.shape for log_probs in predictions(m, images, masks)]
            assert chunks == [(n_samples, size, 10) for size in sizes]


PEAK = """
import sys
import al_utils as al
changes = dict(pair.split("=") for pair in sys.argv[1:])
n = {name: int(value) for name, value in changes.items() if name != "dataset"}
common = dict(strategy="bald", protocol="tuned", n_rounds=1, epochs=2, device="cpu")
config = al.ExperimentConfig(dataset=changes["dataset"], **common, **n)
list(al.run_experiment(config))
# Not ru_maxrss: a child starts with its parent's.
print(next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_megabytes(**changes):
    words = [f"{name}={value}" for name, value in changes.items()]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *words], cwd=ROOT, env=os.environ | {"AL_THREADS": "2"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's peak memory from Linux's /proc")
def test_memory_of_a_mnist_run_and_that_it_does_not_hold_all_predictions(full_data):
    few, many = (peak_megabytes(dataset="mnist", n_initial=600, mc_samples=k) for k in (10, 200))
    assert max(few, many) < 1_500
    assert many < few + 150  # all predictions at once: 59,100 x 200 x 10 x 8 bytes = 950 MB, several times over


def test_counted_arithmetic_of_lenet_is_that_worked_by_hand():
    c1, c2, full = 6 * 25 * 24 * 24, 16 * 150 * 8 * 8, 256 * 120 + 120 * 84 + 84 * 10
    assert speed.image_flops(28) == 2 * (c1 + c2 + full)
    work = speed.Work("lenet", "bald", 5, 10, 100, 1_000, "mnist5k")
    training = 5 * 100 * 2 * (3 * (c1 + c2 + full) - c1)  # backward costs twice, but the first layer has no input gradient
    head = 120 * 84 + 84 * 10
    trunk = c1 + c2 + full - head
    assert speed.arithmetic(work, 1_000, full_passes=False) == training + 2_000 * (trunk + 10 * head)
    assert speed.arithmetic(work, 1_000, full_passes=True) == training + 2_000 * 10 * (trunk + head)


def test_a_slope_and_its_words():
    x = [10, 100, 1_000]
    assert speed.slope(x, [3 * v**2 for v in x]) == pytest.approx(2)
    assert [speed.in_words(s) for s in (0.5, 1.0, 1.3)] == [
        "more slowly than linearly", "linearly", "FASTER than linearly",
    ]  # fmt: skip


def test_the_notebook_compares_and_says_what_is_left_out(tmp_path):
    sizes = dict(
        dataset="mnist5k", n_labels=70, n_pool=300, epochs=1, resnet_epochs=0, many=20, repeats=1, baal_python="none/python",
        growth_epochs=1, growth_labels=200, growth_pool=1_000, million=2_000, strategies_pool=600, strategies_samples=4,
    )  # fmt: skip
    out = tmp_path / "07_speed.ipynb"
    command = [sys.executable, "-m", "papermill", "notebooks/07_speed.ipynb", out]
    command += [word for name, value in sizes.items() for word in ("-p", name, str(value))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    page = out.read_text()
    assert "baal is left out: there is no none/python" in page and "plain PyTorch loop" in page
    assert "GFLOP/s" in page and "the time grows" in page and "times faster than plain PyTorch loop" in page
    assert "2,000 images of 28 x 28 pixels" in page and "These goals are meant for 600 labels" in page
    assert torch.cuda.is_available() or "PyTorch finds no NVIDIA GPU here" in page
    assert "to choose 10 of 600 images, K = 4." in page and "Core-Set: at most 2 s" in page
