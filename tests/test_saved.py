"""The network of a run's last round: kept beside the ledger, loaded again, and applied to a folder of images."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from conftest import tiny
from PIL import Image
from torch import nn

import al_utils as al
from al_utils import experiment, fitting, models, saved
from al_utils.data.folders import DatasetError
from al_utils.experiment import run_experiment
from al_utils.ledger import read_ledger
from al_utils.predicting import predict_log_probs
from al_utils.problem import after, prepare
from al_utils.sweep import jobs, local, whole
from al_utils.sweep.grid import load_sweep

SMALL = dict(n_rounds=1, epochs=1, device="cpu")
KEPT = tiny(**SMALL, save_model=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The ledger of a finished run, with its network beside it."""
    path = tmp_path_factory.mktemp("run") / "a.jsonl"
    list(run_experiment(KEPT, path))
    return path


@pytest.fixture
def digits(tmp_path):
    """Twelve test images as files, some in a subfolder, and a file that is none."""
    folder = tmp_path / "digits"
    (folder / "more").mkdir(parents=True)
    (folder / "notes.txt").touch()
    images = al.load_dataset("mnist5k").test_images[::84]
    for i, image in enumerate(images):
        Image.fromarray(image[0].numpy()).save(folder / ("more" if i % 2 else ".") / f"{i:02d}.png")
    return folder


def test_the_kept_network_is_that_of_the_last_round_and_predicts_a_folder_as_the_test_images(run, digits, capsys):
    model = al.load_model(run.with_suffix(".pt"))
    problem, rounds = prepare(KEPT), read_ledger(run)[1]
    now, labelled = after(problem, rounds[:1])
    trained, loss = fitting.train_model(now, 1, labelled)
    assert loss == rounds[-1].metrics["train_loss"] and model.n_labels == len(labelled) == rounds[-1].n_labels
    assert all(torch.equal(values, trained.state_dict()[name]) for name, values in model.network.state_dict().items())
    table = model.predict(digits)
    assert "digits: passed over: 1 files that are no images (.txt)." in capsys.readouterr().out
    order = sorted(range(len(table)), key=lambda i: table.file[i].rpartition("/")[2])
    assert [table.file[i] for i in order[:3]] == ["00.png", "more/01.png", "02.png"]
    right = predict_log_probs(trained, problem.test)[0, ::84].exp().max(1)
    assert [table["class"][i] for i in order] == [problem.dataset.class_names[c] for c in right.indices.tolist()]
    assert np.allclose(table.probability[order], right.values)


def test_it_changes_nothing_of_a_run(run, tmp_path):
    plain = tiny(**SMALL)
    assert plain.digest == KEPT.digest and repr(plain) == repr(KEPT) and "save_model" not in repr(plain)
    rounds = list(run_experiment(plain, run))  # the ledger of the one is that of the other
    assert rounds == read_ledger(run)[1]
    list(run_experiment(plain, tmp_path / "plain.jsonl"))
    assert [r.metrics for r in read_ledger(tmp_path / "plain.jsonl")[1]] == [r.metrics for r in rounds]
    assert not (tmp_path / "plain.pt").exists()


def test_a_finished_run_that_lacks_its_network_trains_its_last_round_again(run, tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_bytes(run.read_bytes())
    monkeypatch.setattr(experiment, "_trained_round", None)  # no round is run
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(run_experiment(KEPT, path))
    again, first = (al.load_model(p.with_suffix(".pt")).network.state_dict() for p in (path, run))
    assert all(torch.equal(values, first[name]) for name, values in again.items())
    assert path.read_bytes() == run.read_bytes()
    path.with_suffix(".pt").unlink()
    path.write_bytes(run.read_bytes().replace(b'"train_loss": ', b'"train_loss": 1'))  # as of another machine
    with pytest.warns(UserWarning, match="a.pt is trained again and not quite the network of its ledger"):
        list(run_experiment(KEPT, path))


def test_more_rounds_and_other_runs_replace_it(run, tmp_path):
    path = tmp_path / "a.jsonl"
    for source in (run, run.with_suffix(".pt")):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    list(run_experiment(tiny(**SMALL | {"n_rounds": 2}, save_model=True), path))
    assert al.load_model(path.with_suffix(".pt")).n_labels == 30
    other = tiny(**SMALL, seed=1, save_model=True)
    assert saved.is_kept(KEPT, 1, run.with_suffix(".pt")) and not saved.is_kept(other, 1, run.with_suffix(".pt"))
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.jsonl", "a.pt"]  # nothing is left aside


def test_a_run_that_ends_early_keeps_the_network_it_ended_with(tmp_path):
    config = tiny(n_rounds=9, epochs=1, lr=1e-9, stop_after=1, save_model=True)
    rounds = list(run_experiment(config, tmp_path / "a.jsonl"))
    assert rounds[-1].ended and al.load_model(tmp_path / "a.pt").n_labels == rounds[-1].n_labels < config.n_labels[-1]


def test_sweeps_make_it_where_it_is_missing(run, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(run.read_bytes())
    path.with_suffix(".ipynb").touch()
    plain = KEPT.to_dict() | {"save_model": False}
    assert jobs.is_finished(tmp_path / "a", plain) and not jobs.is_finished(tmp_path / "a", KEPT.to_dict())
    (tmp_path / "sweep.yaml").write_text("base: {save_model: true, n_rounds: 1}\ngrid: {seed: [0]}")
    [planned] = load_sweep(tmp_path / "sweep.yaml").runs
    (tmp_path / f"{planned.name}.jsonl").write_bytes(run.read_bytes())
    assert not whole.has_ended(tmp_path, planned, ledgers_only=True)
    assert not local._finished(path, KEPT)
    path.with_suffix(".pt").touch()
    assert jobs.is_finished(tmp_path / "a", KEPT.to_dict()) and local._finished(path, KEPT)
    (tmp_path / f"{planned.name}.pt").touch()
    assert whole.has_ended(tmp_path, planned, ledgers_only=True)
    whole._clean(tmp_path, [planned], force=True)
    assert not (tmp_path / f"{planned.name}.pt").exists()


def test_images_that_the_network_cannot_see_are_named(run, digits, tmp_path):
    model = al.load_model(run.with_suffix(".pt"))
    Image.new("RGB", (28, 28)).save(digits / "red.png")
    with pytest.raises(DatasetError, match="^red.png is in colour, but the network was trained on grey images: convert it.$"):
        model.predict(digits)
    Image.new("L", (30, 28)).save(digits / "red.png")
    with pytest.raises(DatasetError, match="^red.png has 30x28 pixels, but the network was trained on images of 28x28: scale"):
        model.predict(digits)
    with pytest.raises(DatasetError, match="there is no folder"):
        model.predict(digits / "red.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="has no images"):
        model.predict(tmp_path / "empty")


def test_own_images_are_scaled_as_in_training_and_grey_ones_join_those_in_colour(image_folder, tmp_path):
    folder = image_folder({"cat": 30, "dog": 30}, size=(40, 44), mode="RGB")
    config = tiny(dataset=f"folder:{folder}", image_size=28, n_initial=4, n_valid=4, n_query=2, **SMALL, save_model=True)
    list(run_experiment(config, tmp_path / "own.jsonl"))
    Image.new("L", (90, 50)).save(folder / "grey.png")
    table = al.load_model(tmp_path / "own.pt").predict(folder)
    assert len(table) == 61 and set(table["class"]) <= {"cat", "dog"} and table.probability.between(0.5, 1).all()


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_files_that_are_no_kept_network_are_refused_and_left_as_they_are(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="save_model=True keeps its network beside its ledger"):
        al.load_model(tmp_path / "a.pt")
    torch.save({"weights": torch.zeros(2)}, tmp_path / "weights.pt")
    torch.save({"config": Payload(tmp_path / "ran")}, tmp_path / "payload.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Payload(tmp_path / "ran"), protocol=2))
    (tmp_path / "torn.pt").write_bytes(run.with_suffix(".pt").read_bytes()[:1_000])
    (tmp_path / "empty.pt").touch()
    for path in (*tmp_path.glob("*.pt"), run):
        before = path.read_bytes()
        with pytest.raises(ValueError, match=f"{path.name} is no network that a run kept, and is left as it is"):
            al.load_model(path)
        if path != run:
            with pytest.raises(ValueError, match="is left as it is"):
                next(run_experiment(KEPT, path.with_suffix(".jsonl")))
        assert path.read_bytes() == before
    assert not (tmp_path / "ran").exists()
    content = torch.load(run.with_suffix(".pt"), weights_only=True)
    for changed, says in (({"version": 2}, "version 2 is not 1"), ({"config": content["config"] | {"new": 1}}, "'new'")):
        torch.save(content | changed, tmp_path / "newer.pt")
        with pytest.raises(ValueError, match=f"{says}.*newer version"):
            al.load_model(tmp_path / "newer.pt")


def test_without_a_ledger_there_is_no_place_for_it():
    with pytest.raises(ValueError, match="^save_model=True keeps the network beside the ledger, but there is none"):
        next(run_experiment(KEPT))


def test_a_network_of_ones_own_must_be_registered_as_it_was(tmp_path, digits):
    def mlp(channels, n_classes, image_size):
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(channels * image_size[0] * image_size[1], n_classes))

    models.register("kept_mlp")(mlp)
    try:
        list(run_experiment(tiny(**SMALL, model="kept_mlp", save_model=True), tmp_path / "own.jsonl"))
        assert len(al.load_model(tmp_path / "own.pt").predict(digits)) == 12
        models.register("kept_mlp")(lambda channels, n_classes, image_size: mlp(channels, n_classes, image_size))
        with pytest.raises(ValueError, match="'kept_mlp' whose source was not the one that is registered now"):
            al.load_model(tmp_path / "own.pt")
    finally:
        models._registry.pop("kept_mlp")
    with pytest.raises(ValueError, match="'kept_mlp', which is not registered here: register it first"):
        al.load_model(tmp_path / "own.pt")
