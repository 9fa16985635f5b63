"""What a network of one's own must keep, refused before the start where it does not."""

import pytest
from conftest import tiny
from test_own_network import SmallViT, registry  # noqa: F401
from torch import nn

import al_utils as al
from al_utils import models
from al_utils.problem import prepare


def needs_a_dataset():
    return nn.Linear(1, 1)


class Unused(nn.Module):
    def __init__(self, channels, n_classes, image_size):
        super().__init__()
        self.layer = nn.Linear(784, n_classes)

    def forward(self, images):
        return self.layer(images.flatten(1))


class Mixes(Unused):
    def __init__(self, *args):
        super().__init__(*args)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images):
        return super().forward(self.dropout(images - images.mean(0)))


class TooFew(Unused):
    def forward(self, images):
        return super().forward(images)[:, :3]


class Pair(Unused):
    def forward(self, images):
        return super().forward(images), None


class NotFinite(Unused):
    def forward(self, images):
        return super().forward(images) / 0


class Fails(Unused):
    def forward(self, images):
        return self.layer(images)


class Frozen(Unused):
    def __init__(self, *args):
        super().__init__(*args)
        self.requires_grad_(False)


class Changing(Unused):
    made = 0

    def __init__(self, *args):
        super().__init__(*args)
        type(self).made += 1
        self.layer.weight.data.fill_(type(self).made)


class Alpha(Unused):
    def __init__(self, *args):
        super().__init__(*args)
        self.layer = nn.Sequential(nn.AlphaDropout(), self.layer)


class Probabilities(Unused):
    def forward(self, images):
        logits = super().forward(images)
        return logits if self.training else logits.softmax(1)


class DropsInTraining(Mixes):
    def forward(self, images):
        return Unused.forward(self, self.dropout(images) if self.training else images)


class HiddenMix(Mixes):
    def __init__(self, *args):
        super().__init__(*args)
        nn.init.zeros_(self.layer.weight)


class FailsInTraining(Mixes):
    def forward(self, images):
        return self.no_such_name if self.training else Unused.forward(self, self.dropout(images))


class TooManyClasses(models.Classifier):
    def __init__(self, *_):
        super().__init__()
        self.head_layers = nn.ModuleList([nn.Linear(784, 1000)])

    def features(self, images):
        return images.flatten(1)


def cannot_be_made(channels, n_classes, image_size):
    raise OSError("no weights")


def normed(channels, n_classes, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 9), nn.BatchNorm1d(9), nn.Linear(9, n_classes))


@pytest.mark.parametrize(
    "make, says",
    [
        (Unused, "has no nn.Dropout layer"),
        (Mixes, "predicts an image otherwise when others are beside it"),
        (TooFew, r"returned shape \(3, 3\) for 3 images, but must return logits of shape \(3, 10\)"),
        (Pair, "returned tuple for 3 images"),
        (NotFinite, "not finite"),
        (Probabilities, "returned probabilities, but must return logits"),
        (DropsInTraining, "calls its dropout layers otherwise in training"),
        (HiddenMix, "predicts an image otherwise when others are beside it"),
        (FailsInTraining, "cannot be trained: .*no_such_name"),
        (TooManyClasses, "returned 1000 logits an image, but there are 10 classes"),
        (cannot_be_made, "failed: OSError: no weights"),
        (Fails, r"cannot be used on images of shape \(1, 28, 28\): mat1"),
        (Frozen, "no parameter to train"),
        (Changing, r"another network each time it is built \(module.layer.weight\)"),
        (Alpha, "use nn.Dropout instead"),
        (lambda *_: "a network", "must return an nn.Module, but returned str"),
    ],
)
def test_a_network_that_breaks_its_contract_is_refused_before_the_start(make, says):
    al.models.register("theirs")(make)
    with pytest.raises(ValueError, match=f"model='theirs'.*{says}"):
        prepare(tiny(model="theirs", strategy="bald"))


def test_what_a_network_needs_must_be_declared():
    al.models.register(normed)
    with pytest.raises(ValueError, match="batch of 1 .*smallest_batch=2"):
        prepare(tiny(model="normed"))
    al.models.register("normed", smallest_batch=2)(normed)
    prepare(tiny(model="normed"))
    with pytest.raises(ValueError, match="normed cannot train on a batch of 1.*balance"):
        prepare(tiny(model="normed", batch_size=19, last_batch="keep"))


def test_names_and_arguments_are_checked():
    with pytest.raises(ValueError, match="needs_a_dataset.*must take channels, n_classes and"):
        al.models.register(needs_a_dataset)
    with pytest.raises(ValueError, match="model='lenet' comes with the project"):
        al.models.register("lenet")(SmallViT)
    al.models.register(SmallViT)
    with pytest.raises(ValueError, match="did you mean 'SmallViT'.*lenet, resnet18,.* SmallViT"):
        prepare(tiny(model="SmalViT"))
