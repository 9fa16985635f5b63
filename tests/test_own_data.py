"""Data sets of one's own: registered, from a file of arrays, through torchvision; and what breaks their contract."""

import numpy as np
import pytest
import torch
from conftest import tiny
from PIL import Image

import al_utils as al
from al_utils import datasets
from al_utils.data import origins
from al_utils.datasets import DatasetError, load_dataset
from al_utils.experiment import header, run_experiment
from al_utils.ledger import LedgerError
from al_utils.problem import prepare


def arrays(n=60, shape=(20, 20), n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, *shape), dtype=np.uint8), np.arange(n) % n_classes


@pytest.fixture(autouse=True)
def registries(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(datasets, "registry", {})


class Pairs(torch.utils.data.Dataset):
    """A torch Dataset of PIL images, or of what `transform` makes of them."""

    def __init__(self, images, labels, transform=lambda image: image):
        self.images, self.labels, self.transform = images, labels, transform
        self.classes = ["x", "y", "z"]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        label = self.labels[i]
        return self.transform(Image.fromarray(self.images[i])), int(label) if isinstance(label, np.integer) else label


def to_tensor(image):
    """What torchvision's ToTensor does: [C, H, W] from 0 to 1."""
    pixels = torch.from_numpy(np.array(image)).float() / 255
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)


FORMS = {
    "arrays [N, H, W]": lambda images, labels: (images, labels),
    "arrays [N, C, H, W]": lambda images, labels: (images[:, None], labels),
    "arrays [N, H, W, C]": lambda images, labels: (images[..., None], labels),
    "tensors": lambda images, labels: (torch.from_numpy(images), torch.from_numpy(labels)),
    "floats from 0 to 1": lambda images, labels: (torch.from_numpy(images).float() / 255, labels.astype(np.int32)),
    "labels [N, 1]": lambda images, labels: (images.astype(np.int64), labels[:, None]),
    "a Dataset of PIL images": Pairs,
    "a Dataset of tensors": lambda images, labels: Pairs(images, labels, to_tensor),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_data_set(form):
    train, test = arrays(), arrays(30, seed=1)
    al.datasets.register("cells", train=form(*train), test=form(*test), class_names=["x", "y", "z"])
    d = load_dataset("cells")
    assert d.class_names == ["x", "y", "z"] and d.label == "cells" and d.train_images.dtype == torch.uint8
    assert np.array_equal(d.train_images[:, 0].numpy(), train[0]) and d.test_labels.tolist() == test[1].tolist()
    al.datasets.register("plain", train=train, test=test, class_names=["x", "y", "z"])
    assert load_dataset("plain").checksum == d.checksum


def test_colour_comes_first_or_last():
    images, labels = arrays(shape=(20, 24, 3))
    al.datasets.register("last", train=(images, labels), test=(images, labels))
    al.datasets.register("first", train=(images.transpose(0, 3, 1, 2), labels), test=(images.transpose(0, 3, 1, 2), labels))
    al.datasets.register("pil", train=Pairs(images, labels), test=Pairs(images, labels))
    first, last, pil = (load_dataset(name) for name in ("first", "last", "pil"))
    assert first.train_images.shape == (60, 3, 20, 24) and first.checksum == last.checksum == pil.checksum
    assert last.class_names == ["0", "1", "2"] and pil.class_names == ["x", "y", "z"]


def test_a_function_is_called_once_and_its_data_run_to_a_ledger(tmp_path):
    called = []

    @al.datasets.register
    def cells():
        called.append(1)
        return dict(train=arrays(), test=arrays(30, seed=1), class_names=["x", "y", "z"])

    config = tiny(dataset="cells", n_initial=12, n_valid=12, n_rounds=1, epochs=1, device="cpu")
    list(run_experiment(config, tmp_path / "run.jsonl"))
    assert called == [1]
    first = header(prepare(config))
    assert first["data"]["checksum"] == load_dataset("cells").checksum and "dataset" in first["registered"]

    @al.datasets.register  # noqa: F811
    def cells():  # noqa: F811
        return dict(train=arrays(seed=5), test=arrays(30, seed=1), class_names=["x", "y", "z"])

    with pytest.raises(LedgerError, match="checksum|dataset"):
        list(run_experiment(config, tmp_path / "run.jsonl"))


def test_the_official_validation_images_are_the_validation_images():
    train, valid = arrays(), arrays(40, seed=2)
    al.datasets.register("cells", train=train, valid=valid, test=arrays(30, seed=1))
    problem = prepare(tiny(dataset="cells", n_initial=12, n_valid=25, n_rounds=0))
    chosen = problem.split.valid
    assert len(chosen) == len(set(chosen.tolist())) == 25 and chosen.min() >= 60
    assert np.array_equal(problem.dataset.train_images[chosen, 0].numpy(), valid[0][chosen - 60])
    assert sorted([*problem.split.initial.tolist(), *problem.split.pool.tolist()]) == list(range(60))
    mean = train[0].mean() / 255  # of the training images alone
    assert problem.dataset.mean == pytest.approx([mean])
    with pytest.raises(ValueError, match="n_valid=41 is more than the 40 validation images that cells has of its own"):
        prepare(tiny(dataset="cells", n_initial=12, n_valid=41, n_rounds=0))


class Restless(Pairs):
    def __getitem__(self, i):
        image, label = super().__getitem__(i)
        return image.rotate(90 * int(torch.randint(1, 4, ()))), label


IMAGES, LABELS = arrays()
BROKEN = {
    "too few labels": ((IMAGES, LABELS[:-1]), "train images of 'cells' are 60, with 59 labels"),
    "no images": ((IMAGES[:0], LABELS[:0]), "are 0, with 0 labels"),
    "flat images": ((IMAGES.reshape(60, -1), LABELS), r"have shape \[60, 400\], but must be \[N, H, W\]"),
    "volumes": ((np.zeros((60, 28, 28, 28), np.uint8), LABELS), r"\[60, 28, 28, 28\].* with at most 16 channels"),
    "standardised": ((IMAGES / 128 - 1, LABELS), "float64 from -1 to .*, which 8 bits cannot hold: give uint8, or floats"),
    "NaN": ((np.where(IMAGES > 250, np.nan, IMAGES / 255), LABELS), "8 bits cannot hold"),
    "16 bits": ((IMAGES.astype(np.uint16) * 256, LABELS), "of type uint16, but must be uint8"),
    "complex": ((IMAGES * 1j, LABELS), "of type complex128, but must be uint8"),
    "one-hot labels": ((IMAGES, np.eye(3)[LABELS]), r"labels float64 of shape \[60, 3\], but must have one whole number"),
    "labels that are floats": ((IMAGES, LABELS * 1.0), "labels float64"),
    "labels below -1": ((IMAGES, LABELS - 2), "hold -2, but the 3 classes are 0 to 2 and -1 for unknown"),
    "one class": ((IMAGES, LABELS * 0), "there must be two or more"),
    "another size": ((IMAGES[:, :10], LABELS), r"test images of 'cells' have shape 1x20x20, but those for training 1x10x20"),
    "no pair": (IMAGES, "item 0 is of type ndarray, but must be a pair"),
    "a list": ([1, 2, 3], "are of type list, but must be a pair"),
    "a dictionary": ({"images": IMAGES}, "are of type dict, but must be a pair"),
    "random transforms": (Restless(IMAGES, LABELS), r"item \d+ is another one when it is read again. Take random"),
    "an empty Dataset": (Pairs(IMAGES[:0], LABELS[:0]), "an empty Dataset"),
    "a Dataset of several sizes": (Pairs([*IMAGES[:5], IMAGES[5, :9]], LABELS[:6]), r"item 5 has shape \[9, 20\], the first"),
    "one-hot labels of a Dataset": (Pairs(IMAGES, np.eye(3)[LABELS]), r"label of item 0 is float64 of shape \[3\]"),
    "labels of a Dataset that are floats": (Pairs(IMAGES, LABELS + 0.9), r"label of item 0 is float64 of shape \[\]"),
    "a Dataset without labels": (torch.utils.data.TensorDataset(torch.zeros(9, 1, 20, 20)), "must be a pair .image, label."),
}  # fmt: skip


@pytest.mark.parametrize("labels", [LABELS + 1, np.where(LABELS == 2, 255, LABELS), np.where(LABELS == 2, 2**31 - 1, LABELS)])
def test_labels_with_a_gap_are_refused_unless_the_classes_are_named(labels):
    al.datasets.register("cells", train=(IMAGES, labels), test=(IMAGES, labels))
    with pytest.raises(
        DatasetError, match=rf"3 different ones from \d to {labels.max()}, but must be 0 to C - 1 without a gap"
    ):
        load_dataset("cells")
    if labels.max() < 9:
        al.datasets.register("cells", train=(IMAGES, labels), test=(IMAGES, labels), class_names="wxyz")
        assert len(load_dataset("cells").class_names) == 4


def test_what_becomes_of_the_users_arrays_changes_nothing():
    images, labels = arrays()
    al.datasets.register("cells", train=(images, labels), test=arrays(30, seed=1))
    data = load_dataset("cells")
    before = data.train_images.clone()
    images[:] = 0
    assert torch.equal(load_dataset("cells").train_images, before) and torch.equal(data.train_images, before)


@pytest.mark.parametrize("train, says", BROKEN.values(), ids=BROKEN)
def test_broken_contracts_are_refused_in_one_sentence(train, says):
    al.datasets.register("cells", train=train, test=arrays(30, seed=1, n_classes=1 if "two or more" in says else 3))
    with pytest.raises(DatasetError, match=says) as refused:
        load_dataset("cells")
    assert "\n" not in str(refused.value)


def test_names_and_classes_that_cannot_be():
    for name in ("mnist", "folder:x", "", "a/b", ".x"):
        with pytest.raises(ValueError, match="a data set cannot be called"):
            al.datasets.register(name, train=arrays(), test=arrays())
    al.datasets.register("cells", train=arrays(), test=arrays(30), class_names=["a", "b"])
    with pytest.raises(DatasetError, match="the train labels of 'cells' hold 2, but the 2 classes are 0 to 1"):
        load_dataset("cells")
    al.datasets.register("cells", train=arrays(), test=arrays(30), class_names=["a", "b", "b"])
    with pytest.raises(DatasetError, match="the class names of 'cells' are a, b, b: there must be two or more different"):
        load_dataset("cells")
    al.datasets.register("cells", train=arrays(), test=arrays(30), class_names=3)
    with pytest.raises(DatasetError, match="the class names of 'cells' are 3, but must be a list of texts"):
        load_dataset("cells")
    al.datasets.register("cells", train=arrays())
    with pytest.raises(DatasetError, match="test images of 'cells' are of type NoneType"):
        load_dataset("cells")

    @al.datasets.register
    def odd():
        return arrays()

    with pytest.raises(DatasetError, match="'odd' is a function that returned type tuple, but must return a dictionary"):
        load_dataset("odd")
    with pytest.raises(ValueError, match="dataset='cell' is not known; did you mean 'cells'"):
        load_dataset("cell")


# MedMNIST's files


def save_npz(path, shape=(28, 28, 3), **changes):
    parts = {}
    for part, n, seed in (("train", 60, 0), ("val", 20, 1), ("test", 30, 2)):
        images, labels = arrays(n, shape, seed=seed)
        parts |= {f"{part}_images": images, f"{part}_labels": labels[:, None]}
    parts |= changes
    np.savez_compressed(path, **{name: value for name, value in parts.items() if value is not None})


def test_a_file_in_medmnists_layout(tmp_path):
    save_npz(tmp_path / "cellmnist.npz")
    d = load_dataset(f"npz:{tmp_path}/cellmnist.npz")
    assert (d.label, d.n_valid, tuple(d.train_images.shape), len(d.test_images)) == ("cellmnist", 20, (80, 3, 28, 28), 30)
    assert np.array_equal(d.train_images[:60].permute(0, 2, 3, 1).numpy(), arrays(60, (28, 28, 3))[0])
    config = tiny(dataset=f"npz:{tmp_path}/cellmnist.npz", n_initial=12, n_valid=20, n_rounds=0, epochs=1)
    assert config.name.startswith("npz-cellmnist.npz__") and "valid_accuracy" in list(run_experiment(config))[0].metrics
    before = d.checksum
    save_npz(tmp_path / "cellmnist.npz", val_images=None, val_labels=None)
    after = load_dataset(f"npz:{tmp_path}/cellmnist.npz")
    assert after.n_valid == 0 and len(after.train_images) == 60 and after.checksum != before


@pytest.mark.parametrize(
    "write, says",
    [
        (lambda path: path.write_bytes(b"no zip"), "cannot be read"),
        (lambda path: save_npz(path, test_images=None), "has no test_images: MedMNIST's layout is train_images"),
        (lambda path: save_npz(path, (28, 28, 28)), "at most 16 channels"),
        (lambda path: save_npz(path, train_labels=np.zeros((60, 14), np.int64)), r"labels int64 of shape \[60, 14\]"),
        (lambda path: np.savez(path, train_images=np.array([{}], dtype=object)), "cannot be read .*pickle"),
        (lambda path: None, "there is no file"),
    ],
)
def test_a_file_that_is_not_in_that_layout(tmp_path, write, says):
    write(tmp_path / "x.npz")
    with pytest.raises(DatasetError, match=says):
        load_dataset(f"npz:{tmp_path}/x.npz")


# Through torchvision


@pytest.mark.parametrize("name, kind", [("cifar100", "CIFAR100"), ("svhn", "SVHN")])
def test_more_sets_of_torchvision(name, kind, monkeypatch, tmp_path):
    """The real classes need their files; this has their attributes."""
    import torchvision

    class Fake:
        classes = [f"class {c}" for c in range(100)]

        def __init__(self, root, train=None, split=None, download=False):
            assert (train is None) == (name == "svhn") and (split is None) == (name == "cifar100")
            images, labels = arrays(40, (32, 32, 3), 10, seed=int(train or split == "train"))
            if name == "svhn":
                self.data, self.labels = images.transpose(0, 3, 1, 2), labels
            else:
                self.data, self.targets = images, labels.tolist()

    monkeypatch.setattr(torchvision.datasets, kind, Fake)
    monkeypatch.setenv("AL_CACHE_DIR", str(tmp_path))
    d = load_dataset(name)
    assert d.label in ("CIFAR-100", "SVHN") and len(d.class_names) == (10 if name == "svhn" else 100)
    assert np.array_equal(d.train_images.permute(0, 2, 3, 1).numpy(), arrays(40, (32, 32, 3), 10, seed=1)[0])
    assert d.test_labels.tolist() == arrays(40, (32, 32, 3), 10)[1].tolist() and name in origins.NAMES


def test_images_of_zeros_and_ones_are_said(capsys):
    images, labels = arrays()
    al.datasets.register("cells", train=(images // 128, labels), test=(images[:30] // 128, labels[:30]))
    load_dataset("cells")
    assert "no value is above 1, of 255: are they from 0 to 1, and should be floats?" in capsys.readouterr().out
