"""What training and prediction need of a network: a trunk, and a head whose dropout masks are arguments.

So the trunk runs once per image however many MC-dropout samples are drawn, a sample is the same function for every
image, and nothing depends on `train()` or a global seed.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ..randomness import sent


class Classifier(nn.Module):
    """A trunk, then fully connected layers `head_layers` with dropout before each."""

    head_layers: nn.ModuleList
    frozen = False  # whether nothing in the trunk is trained
    channels_last = False  # whether an NVIDIA GPU is faster with channels as the last axis in memory
    masks_by_batch = False  # whether masks are so large that they are drawn for one batch at a time

    def features(self, images_N_C_H_W: Tensor) -> Tensor:
        """The trunk's output `[N, D]`, the part of the network before the first dropout."""
        raise NotImplementedError

    def head(self, features_N_D: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
        """Logits `[N, C]` without masks or with one mask per image (`[N, D]`); `[K, N, C]` with masks `[K, 1, D]`."""
        hidden = features_N_D
        for i, layer in enumerate(self._layers()):
            if i:
                hidden = hidden.relu_()
            if masks is None:
                hidden = layer(hidden)
            elif masks[i].dim() == 2:
                hidden = layer(hidden * masks[i])
            else:  # a mask that all images share is folded into the weights: the same function, less to multiply
                # Images are the last axis in memory, which is the fast one for what follows.
                hidden = torch.matmul(layer.weight * masks[i], hidden.mT).add_(layer.bias[:, None]).mT
        return hidden

    def embeddings(self, features_N_D: Tensor) -> Tensor:
        """The input of the last layer `[N, D]`, without dropout."""
        hidden = features_N_D
        for layer in self._layers()[:-1]:
            hidden = layer(hidden).relu_()
        return hidden

    def draw_masks(self, shape: tuple[int, ...], dropout: float, generator: torch.Generator) -> list[Tensor]:
        """A mask `[*shape, D]` for each layer of the head: 0 with probability `dropout`, else 1 / (1 - dropout)."""
        widths, weight = [layer.in_features for layer in self._layers()], self._layers()[0].weight
        kept = torch.rand((*shape, sum(widths)), generator=generator, device=generator.device) >= dropout
        return list((sent(kept, weight.device) / (1 - dropout)).to(weight).split(widths, dim=-1))

    def forward(self, images_N_C_H_W: Tensor) -> Tensor:
        """Logits `[N, C]` of the network without dropout."""
        return self.head(self.features(images_N_C_H_W))

    def _layers(self) -> list[nn.Linear]:
        return [cast(nn.Linear, layer) for layer in self.head_layers]


class Head(Classifier):
    """A network from its head on: its "images" are what the trunk made of them."""

    def __init__(self, network: Classifier):
        super().__init__()
        self.network, self.masks_by_batch = network, network.masks_by_batch

    def features(self, features_N_D):
        return features_N_D

    def head(self, features_N_D, masks=None):
        return self.network.head(features_N_D, masks)

    def embeddings(self, features_N_D):
        return self.network.embeddings(features_N_D)

    def draw_masks(self, shape, dropout, generator):
        return self.network.draw_masks(shape, dropout, generator)
