"""What is found out of a network of one's own by trying it: whether it is its `head` after its `features`, and what stays."""

import pytest
import torch
from test_own_network import SHAPE, made, registry  # noqa: F401
from torch import nn

from al_utils.networks import own_network
from al_utils.predicting import predict_log_probs
from al_utils.randomness import generator


def test_a_trunk_that_is_called_features_but_is_no_trunk():
    """torchvision's Swin transformer has `features` and `head`, with more between them."""

    class Between(nn.Module):
        def __init__(self, channels, n_classes, image_size):
            super().__init__()
            self.features, self.head = nn.Conv2d(channels, 28, 1), nn.Linear(28, n_classes)

        def forward(self, images):
            return self.head(self.features(images).mean((2, 3)))

    assert not made(Between).split


class FunctionalDropout(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, self.training)


@pytest.mark.parametrize("between", [nn.Dropout(0.5), nn.BatchNorm1d(9), nn.ReLU(), FunctionalDropout()])
def test_what_stands_between_features_and_head_is_not_left_out(between):
    class Between(nn.Module):
        def __init__(self, channels, n_classes, image_size):
            super().__init__()
            self.features, self.head = nn.Sequential(nn.Flatten(), nn.Linear(784, 9)), nn.Linear(9, n_classes)
            self.between = between
            nn.init.zeros_(self.head.weight)  # which hides it

        def forward(self, images):
            return self.head(self.between(self.features(images)))

    assert not made(Between).split


def test_what_stands_there_in_evaluation_alone_is_not_left_out_either():
    class Normalised(nn.Module):
        def __init__(self, channels, n_classes, image_size):
            super().__init__()
            self.features, self.head = nn.Sequential(nn.Flatten(), nn.Linear(784, 9)), nn.Linear(9, n_classes)

        def forward(self, images):
            features = self.features(images)
            return self.head(features if self.training else nn.functional.normalize(features))

    assert not made(Normalised).split


def test_a_deep_network_whose_small_weights_must_stay_small_is_accepted():
    def deep(channels, n_classes, image_size):
        blocks = [layer for _ in range(40) for layer in (nn.Linear(256, 256), nn.ReLU())]
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), *blocks, nn.Linear(256, n_classes))

    made(deep)
    own_network.check("deep", deep, SHAPE, 10, False, 1)


def test_layers_that_work_in_place_change_nothing_outside():
    class InPlace(nn.Module):
        def __init__(self, channels, n_classes, image_size, inplace=True):
            super().__init__()
            self.features = nn.Sequential(nn.LeakyReLU(0.1, inplace=inplace), nn.Flatten(), nn.Linear(784, 30))
            last = nn.Linear(30, n_classes)
            self.head = nn.Sequential(nn.LeakyReLU(0.1, inplace=inplace), nn.Dropout(0.5), last)

        def forward(self, images):
            return self.head(self.features(images))

    def plain(channels, n_classes, image_size):
        return InPlace(channels, n_classes, image_size, inplace=False)

    one, other, images = made(InPlace), made(plain), torch.randn(5, *SHAPE)
    before, masks = images.clone(), one.draw_masks((3, 1), 0.5, generator(0, "masks"))
    assert one.split and torch.equal(predict_log_probs(one, images, masks), predict_log_probs(other, images, masks))
    assert torch.equal(images, before)
