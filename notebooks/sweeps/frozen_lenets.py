"""LeNets whose trunk was trained on another data set and is frozen: the features of `low_budget.yaml`.

A sweep names this file with `code: [frozen_lenets.py]`; 02 takes `-p code notebooks/sweeps/frozen_lenets.py` and
`-p model lenet_on_fashion_mnist`. The trunk is trained once in each process, in a few seconds and always to the same weights.
The head is one linear layer behind dropout, so the embeddings that strategies are given are the trunk's outputs, in all rounds.
"""

import copy
import functools

import torch
from torch import nn

import al_utils as al
from al_utils.compute.machine import repeatable
from al_utils.models import LeNet, build_model
from al_utils.noise import Images
from al_utils.randomness import generator
from al_utils.training import fit

IMAGES = 10_000  # that a trunk is trained on
EPOCHS = 10
SEED = 0  # of these images and of the training, whatever the run's seed


@functools.cache
def trained(dataset: str) -> LeNet:
    """LeNet trained by the tuned protocol on `IMAGES` images of a data set with all their labels, and frozen."""
    data = al.load_dataset(dataset)
    chosen = torch.randperm(len(data.train_images), generator=generator(SEED, "images of a frozen trunk"))[:IMAGES]
    images = Images(data.train_images[chosen], torch.tensor(data.mean), torch.tensor(data.std))
    config = al.ExperimentConfig(dataset=dataset, protocol="tuned", epochs=EPOCHS, seed=SEED, device="cpu")
    network = build_model("lenet", data.train_images.shape, len(data.class_names), generator(SEED, "a frozen trunk"))
    with repeatable():
        fit(network, images, data.train_labels[chosen], config, generator(SEED, "batches of a frozen trunk"))
    return network.eval().requires_grad_(False)


class OnFrozen(nn.Module):
    """A new linear head, behind dropout, on a frozen trunk."""

    def __init__(self, trunk: LeNet, n_classes: int):
        super().__init__()
        self.trunk = copy.deepcopy(trunk)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(trunk.fc1.out_features, n_classes))

    def features(self, images_N_C_H_W):
        return self.trunk.features(images_N_C_H_W)

    def forward(self, images_N_C_H_W):
        return self.head(self.features(images_N_C_H_W))


@al.models.register
def lenet_on_mnist(channels, n_classes, image_size):
    return OnFrozen(trained("mnist"), n_classes)


@al.models.register
def lenet_on_fashion_mnist(channels, n_classes, image_size):
    return OnFrozen(trained("fashion_mnist"), n_classes)
