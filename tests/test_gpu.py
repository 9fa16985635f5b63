"""Training as CUDA graphs: what surrounds a recording on any machine, and, marked `gpu`, the rest on an NVIDIA GPU."""

import copy
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from conftest import ROOT, tiny
from torch.autograd.graph import get_gradient_edge

from al_utils import read_ledgers
from al_utils.chapters import gpu as gpu_speed
from al_utils.compute.graphs import Replayed
from al_utils.compute.machine import repeatable
from al_utils.config import ExperimentConfig
from al_utils.experiment import run_experiment
from al_utils.fitting import train_model
from al_utils.models import build_model
from al_utils.networks.steps import gradient_step, replayed_step
from al_utils.problem import prepare
from al_utils.randomness import generator
from al_utils.results.replay import recompute, recorded_runs
from al_utils.results.studies import by_study

gpu = pytest.mark.gpu
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU: PyTorch finds none")
recorded_alone = pytest.mark.filterwarnings("error:a step of this network is no CUDA graph", "error:The AccumulateGrad")
BOTH = pytest.mark.parametrize("model", ["lenet", "resnet18"])
BASE = dict(dataset="mnist5k", protocol="tuned", strategy="bald", noise="gaussian", n_initial=70, n_query=5, n_rounds=2,
            n_valid=50, epochs=4, mc_samples=5)  # fmt: skip


def repeated(step):
    """In the place of `graphs.cuda_graph`: what runs before the recording, and a step that a replay makes again."""
    result = step().clone()

    def replay():
        result.copy_(step())

    return replay, result


@BOTH
@pytest.mark.parametrize("recipe", [{}, dict(optimizer="adamw", lr=1e-3), dict(momentum=0.0), dict(clip_norm=0.5)])
def test_recording_changes_nothing_and_a_replay_is_a_step(model, recipe):
    """Two sizes of batches, a changing learning rate: weights, statistics and losses are those of plain steps, to the bit."""
    config = ExperimentConfig(protocol="tuned", model=model, **recipe)
    plain = build_model(model, (1, 28, 28), 10, generator(0, "initialisation")).train()
    recorded = copy.deepcopy(plain)
    both = gradient_step(plain, config), replayed_step(recorded, config, repeated)
    g = generator(0, "batches")
    for i, n in enumerate((9, 8, 9, 8)):
        images, labels = torch.randn(n, 1, 28, 28, generator=g), torch.randint(10, (n,), generator=g)
        masks = plain.draw_masks((n,), 0.5, g)
        one, other = (float(step(images, labels, masks, torch.tensor(config.lr / 2**i))) for step in both)
        assert one == other
    for name, values in plain.state_dict().items():
        assert torch.equal(values, recorded.state_dict()[name]), name


def test_inputs_are_copied_and_each_shape_is_recorded_once():
    recordings, total = [], torch.zeros(())

    def step(x):
        return total.add_(x.sum()).clone()

    def record(step):
        recordings.append(None)
        return repeated(step)

    replayed = Replayed(step, [total], record)
    given = torch.ones(3)
    said = [float(replayed(x)) for x in (given, given * 2, torch.ones(2), given)]
    assert said == [3, 9, 11, 14] and len(recordings) == 2 and given.tolist() == [1, 1, 1]


@BOTH
def test_nothing_of_the_gradients_outlives_a_step(model):
    """What is kept alive would be of another stream than the recording's, and a GPU refuses to record that."""
    network = build_model(model, (1, 28, 28), 10, generator(0, "initialisation")).train()
    kept = []

    def record(step):
        for p in network.parameters():
            get_gradient_edge(p).node.metadata["here"] = True
        kept.extend(name for name, p in network.named_parameters() if "here" in get_gradient_edge(p).node.metadata)
        return repeated(step)

    step = replayed_step(network, ExperimentConfig(protocol="tuned", model=model), record)
    step(torch.randn(4, 1, 28, 28), torch.arange(4), None)
    assert not kept


def test_what_repeats_is_asked_for_and_given_back():
    before = torch.backends.cudnn.deterministic
    with repeatable():
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark and torch.get_num_threads() == 1
    assert torch.backends.cudnn.deterministic == before


def test_the_table_of_speeds_is_made_on_any_device(monkeypatch):
    monkeypatch.setattr(gpu_speed, "steps_per_second", lambda model, n, device: 1_000.0)
    table = gpu_speed.table("cpu", n_steps=1, n_pool=300, mc_samples=2, runs=[2], record=repeated)
    assert list(table.index) == ["lenet", "resnet18"] and list(table) == ["one by one", "as graphs", "2 runs", "scores"]
    assert (table > 0).all(axis=None) and (table["2 runs"] == 1_000).all()
    table.loc["lenet", "2 runs"] = float("nan")
    assert list(gpu_speed.shown(table)["a step, 2 runs (µs)"]) == ["–", "1,000"]


def test_runs_side_by_side_are_counted_from_their_ledgers(monkeypatch):
    monkeypatch.setattr(gpu_speed, "STEPS", 50)
    one, two = (gpu_speed.steps_per_second("lenet", n, "cpu", seconds=2.0) for n in (1, 2))
    assert 50 < one < 20_000 and 50 < two < 20_000


def test_a_ledger_of_another_device_is_read_reported_and_looked_at_here(tmp_path):
    """Two seeds, one of them computed on a GPU, are one study; its images and its round can be made again on this machine."""
    for seed, device in ((0, "cpu"), (1, "cuda:3")):
        path = tmp_path / f"{seed}.jsonl"
        list(run_experiment(tiny(seed=seed, device="cpu"), path))
        header, *others = path.read_text().splitlines(keepends=True)
        there = header.replace('"device": "cpu"', f'"device": "{device}"')
        path.write_text(there + "".join(others))
    [study] = by_study(read_ledgers(tmp_path)).values()
    assert sorted(study.seed.unique()) == [0, 1]
    of_gpu = recorded_runs(tmp_path)[1]
    assert of_gpu.config["device"] == "cuda:3" and str(recompute(of_gpu, 0)).startswith("recomputed")


def rounds(config, ledger=None):
    """All of a run but the seconds it took."""
    return [replace(round, seconds={}) for round in run_experiment(config, ledger)]


@gpu
@needs_gpu
@recorded_alone
@BOTH
def test_a_recorded_step_is_the_step(model):
    config = ExperimentConfig(protocol="tuned", model=model, device="cuda")
    plain = build_model(model, (1, 28, 28), 10, generator(0, "initialisation"), "cuda").train()
    recorded, lr = copy.deepcopy(plain), torch.tensor(config.lr, device="cuda")
    one, other = gradient_step(plain, config), replayed_step(recorded, config)
    g = generator(0, "batches")
    with repeatable():
        for n in (64, 63, 64):
            images, labels = torch.randn(n, 1, 28, 28, generator=g).cuda(), torch.randint(10, (n,), generator=g).cuda()
            masks = plain.draw_masks((n,), 0.5, g)
            assert float(one(images, labels, masks, lr)) == float(other(images, labels, masks))
    for name, values in plain.state_dict().items():
        assert torch.equal(values, recorded.state_dict()[name]), name


@gpu
@needs_gpu
@recorded_alone
@BOTH
def test_a_run_repeats_whatever_shares_the_gpu_and_where_it_was_cut_off(model, tmp_path):
    config = ExperimentConfig(model=model, device="cuda", **BASE)
    whole = rounds(config, tmp_path / "whole.jsonl")
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_text("".join(lines[:2]))
    others = "import torch; x = torch.randn(4096, 4096, device='cuda')\nwhile True: x = torch.tanh(x @ x)"
    neighbour = subprocess.Popen([sys.executable, "-c", others], cwd=ROOT)
    try:
        assert rounds(config) == rounds(config, tmp_path / "cut.jsonl") == whole
    finally:
        neighbour.kill()


@gpu
@needs_gpu
@recorded_alone
@BOTH
def test_cpu_and_gpu_share_split_noise_batches_masks_and_initial_weights(model):
    """The first round's training loss is a number of all of these; after few steps rounding has not yet told them apart."""
    problems = [prepare(ExperimentConfig(model=model, device=device, **BASE | dict(epochs=1))) for device in ("cpu", "cuda")]
    on_cpu, on_gpu = problems
    assert on_cpu.split.pool.equal(on_gpu.split.pool) and on_cpu.split.initial.equal(on_gpu.split.initial)
    assert on_cpu.train[:100].allclose(on_gpu.train[:100].cpu(), atol=1e-5)
    with repeatable():
        (_, one), (_, other) = (train_model(problem, 0, problem.split.initial) for problem in problems)
    assert one == pytest.approx(other, rel=5e-3)


@gpu
@needs_gpu
def test_a_network_that_reads_on_the_host_trains_all_the_same():
    class Peeking(type(build_model("lenet", (1, 28, 28), 10, generator(0, "initialisation")))):
        def features(self, images_N_C_H_W):
            return super().features(images_N_C_H_W * (1.0 if float(images_N_C_H_W.sum()) > 0 else 1.0))

    config, model = ExperimentConfig(protocol="tuned", device="cuda"), Peeking().cuda().train()
    step, images, labels = replayed_step(model, config), torch.randn(8, 1, 28, 28).cuda(), torch.arange(8).cuda()
    with pytest.warns(UserWarning, match="no CUDA graph"):
        losses = [float(step(images, labels, None)) for _ in range(20)]
    assert losses[-1] < losses[0]
