"""A network with a frozen trunk: its weights stay, and what it makes of an image is computed once."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import tiny
from test_own_network import SHAPE, made, registry  # noqa: F401
from torch import Tensor, nn

import al_utils as al
from al_utils import known, predicting
from al_utils.experiment import run_experiment
from al_utils.fitting import train_model
from al_utils.ledger import LedgerError
from al_utils.models import build_model
from al_utils.problem import prepare
from al_utils.randomness import generator

WEIGHTS: list[Path] = []  # the file of the trunk's weights
SEEN: Counter[str] = Counter()  # images that the trunk was given


class FromFile(nn.Module):
    """torchvision's ResNet-18 with weights from a file as a frozen trunk, and a head to train."""

    def __init__(self, channels, n_classes, image_size):
        super().__init__()
        from torchvision.models import resnet18

        self.trunk = resnet18(weights=None, num_classes=32)
        self.trunk.load_state_dict(torch.load(WEIGHTS[0], weights_only=True))
        self.trunk.requires_grad_(False)
        self.head = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, n_classes))

    def features(self, images: Tensor) -> Tensor:
        SEEN["images"] += len(images)
        return self.trunk(images.expand(-1, 3, -1, -1))

    def forward(self, images):
        return self.head(self.features(images))


@pytest.fixture
def little(image_folder):
    """A data set of 96 training and 24 test images, because ResNets are slow."""
    return f"folder:{image_folder({'cat': 60, 'dog': 60}, size=(28, 28))}"


@pytest.fixture
def from_file(tmp_path):
    from torchvision.models import resnet18

    WEIGHTS[:] = [tmp_path / "weights.pt"]
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        torch.save(resnet18(weights=None, num_classes=32).state_dict(), WEIGHTS[0])
    al.models.register(FromFile)
    return torch.load(WEIGHTS[0], weights_only=True)


def test_loaded_weights_and_frozen_parts_stay(from_file, little):
    problem = prepare(tiny(model="FromFile", dataset=little, n_rounds=0, n_query=0))
    model, _ = train_model(problem, 0, problem.split.initial)
    assert model.frozen and model.split
    kept = model.module.trunk.state_dict()
    assert all(torch.equal(kept[name], values) for name, values in from_file.items())  # BatchNorm's statistics, too
    assert not any(p.requires_grad for p in model.module.trunk.parameters())
    fresh = build_model("FromFile", SHAPE, 2, generator(0, "initialisation"))
    assert not torch.equal(model.module.head[0].weight, fresh.module.head[0].weight)  # the head was trained


def test_a_frozen_trunk_sees_each_image_once_a_run(from_file, little, monkeypatch):
    sizes = []
    plain = predicting.trunk_outputs
    monkeypatch.setattr(known, "trunk_outputs", lambda *given: sizes.append(len(out := plain(*given))) or out)
    config = tiny(model="FromFile", dataset=little, strategy="bald", epochs=4, mc_samples=3)
    problem = prepare(config)
    assert len(list(run_experiment(config))) == 3
    assert sorted(size for size in sizes if size > 8) == [24, 96]  # 8 images tell that a trunk is known
    train_model(problem, 0, problem.split.initial)
    SEEN.clear()
    train_model(problem, 1, problem.split.initial)
    assert SEEN["images"] < 50  # to build the network and to know its trunk again; not 4 epochs of 20 images, and 96


def test_other_weights_in_the_file_do_not_continue_a_ledger(from_file, little, tmp_path):
    config, path = tiny(model="FromFile", dataset=little, epochs=1), tmp_path / "ledger.jsonl"
    rounds = run_experiment(config, path)
    next(rounds)
    rounds.close()
    torch.save({name: values + (name == "fc.bias") for name, values in from_file.items()}, WEIGHTS[0])
    with pytest.raises(LedgerError, match="other weights of model='FromFile'"):
        next(run_experiment(config, path))


def test_an_augmented_image_goes_through_the_trunk_each_time(from_file, little):
    problem = prepare(tiny(model="FromFile", dataset=little, epochs=5, augmentation="crop_flip", n_rounds=0, n_query=0))
    SEEN.clear()
    train_model(problem, 0, problem.split.initial)
    assert SEEN["images"] >= 5 * 20


def test_a_frozen_trunk_gives_what_it_would_give_image_by_image(from_file, little):
    problem = prepare(tiny(model="FromFile", dataset=little, n_rounds=0, n_query=0, noise="gaussian"))
    model, _ = train_model(problem, 0, problem.split.initial)
    part, outputs = problem.known.behind_trunk(model, problem.train)
    some = torch.tensor([3, 70, 41])
    with torch.no_grad():
        assert torch.allclose(part(outputs[some]), model.eval()(problem.train[some]), atol=1e-4)


def test_another_frozen_trunk_is_computed_again():
    class Drawn(nn.Module):
        """A frozen trunk of random weights: another one each round."""

        def __init__(self, channels, n_classes, image_size):
            super().__init__()
            self.body, self.head = nn.Linear(784, 8).requires_grad_(False), nn.Linear(8, n_classes)

        def features(self, images):
            return self.body(images.flatten(1)).relu()

        def forward(self, images):
            return self.head(self.features(images))

    problem, images = prepare(tiny()), torch.arange(30)
    for seed in (0, 1, 0):
        model = made(Drawn, seed)
        _, outputs = problem.known.behind_trunk(model, problem.train)
        assert torch.allclose(outputs[images], model.features(problem.train[images]), atol=1e-5)


def test_behind_a_frozen_trunk_masks_are_the_networks_too(little):
    class Shared(nn.Module):
        """A head with dropout on what all images share."""

        def __init__(self, channels, n_classes, image_size):
            super().__init__()
            self.body = nn.Linear(channels * image_size[0] * image_size[1], 8).requires_grad_(False)
            self.shift, self.drop, self.out = nn.Parameter(torch.ones(1, 8)), nn.Dropout(0.5), nn.Linear(8, n_classes)

        def features(self, images):
            return self.body(images.flatten(1)).relu()

        def head(self, features):
            return self.out(self.drop(features) + self.drop(self.shift))

        def forward(self, images):
            return self.head(self.features(images))

    al.models.register(Shared)
    assert made(Shared).frozen
    rounds = list(run_experiment(tiny(model="Shared", dataset=little, strategy="bald", batch_size=7, n_rounds=1)))
    assert len(set(rounds[0].queried)) == 5 and rounds[0].scores[0] > 0
