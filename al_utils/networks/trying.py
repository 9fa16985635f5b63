"""What a module of one's own does, found out by trying it: where its trunk ends, its dropout, its last layer."""

import copy
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ..randomness import seeded
from .dropout import Call, calls_of


def try_images(image_shape: Sequence[int]) -> Tensor:
    return torch.randn(3, *image_shape, generator=torch.Generator().manual_seed(0))


def disturb(module: nn.Module) -> None:
    """Give weights that begin as zeros, which hide what is before them, other values. The rest stays: others need them so."""
    with seeded(0), torch.no_grad():
        for weights in module.parameters():
            if not weights.any():
                weights.add_(0.1 * torch.randn_like(weights))


def calls_in_training(module: nn.Module, images: Tensor, in_evaluation: list[Call]) -> list[Call]:
    """The calls of dropout layers in training; where it fails on so few images, those in evaluation."""
    try:
        trained = copy.deepcopy(module).train()
        return calls_of(lambda n: trained(images[:n]))
    except Exception:
        return in_evaluation


def is_split(module: nn.Module, images: Tensor) -> bool:
    """Whether the module is its `head` after its `features`, whether it trains or not, without dropout before the `head`."""
    features, head = getattr(module, "features", None), getattr(module, "head", None)
    if not callable(features) or not callable(head):
        return False
    try:
        with torch.no_grad():
            if calls_of(lambda n: features(images[:n])):
                return False
            if calls_of(lambda n: head(features(images[:n]))) != calls_of(lambda n: module(images[:n])):
                return False
            tried = copy.deepcopy(module)
            disturb(tried)
            for training in (False, True):  # a new BatchNorm, and dropout that is a function, are seen in training alone
                tried.train(training)
                with seeded(0):
                    whole = tried(images.clone())
                with seeded(0):
                    parts = cast(Callable, tried.head)(cast(Callable, tried.features)(images.clone()))
                if parts.shape != whole.shape or not torch.allclose(parts, whole, rtol=1e-4, atol=1e-4):
                    return False
            return True
    except Exception:  # they are something else by these names
        return False


def last_linear(module: nn.Module, images: Tensor, n_classes: int) -> nn.Linear | None:
    """The linear layer that is called last, if it makes the logits from one vector an image."""
    called: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, output: called.append((layer, inputs[0])))
        for layer in module.modules()
        if isinstance(layer, nn.Linear)
    ]
    with torch.no_grad():
        module(images)
    for hook in hooks:
        hook.remove()
    if not called:
        return None
    last, given = called[-1]
    return last if isinstance(last, nn.Linear) and last.out_features == n_classes and given.dim() == 2 else None
