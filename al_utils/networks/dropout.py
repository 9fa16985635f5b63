"""Dropout whose masks come from outside, in the place of the `nn.Dropout` layers of any network.

A layer of PyTorch draws its mask itself, from a global generator, anew for every batch, and in training only. MC dropout
needs one mask a sample that all images of the pool share, whatever batches they come in. So each layer is replaced by
one that asks the forward pass it is called in; which calls a pass makes, and of what shape, is found out by two passes.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

REPLACED = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
REFUSED = (nn.AlphaDropout, nn.FeatureAlphaDropout)

# What a layer does to its input in the forward pass that is going on; each thread has its own. None: nothing.
_visit: ContextVar[Callable[["Dropout", Tensor], Tensor] | None] = ContextVar("visit", default=None)


class Dropout(nn.Module):
    """Drops what the masks of `masked` say, and nothing outside of it, in training as in evaluation."""

    def __init__(self, p: float, whole_channels: bool):
        super().__init__()
        self.p, self.whole_channels = p, whole_channels

    def forward(self, x: Tensor) -> Tensor:
        visit = _visit.get()
        return x if visit is None or self.p == 0 else visit(self, x)


def replace_layers(module: nn.Module) -> None:
    """Put a `Dropout` in the place of each dropout layer of PyTorch in `module`. Raises: ValueError."""
    ours: dict[nn.Module, Dropout] = {}  # a layer that is used in two places stays one
    for parent in list(module.modules()):
        for name, layer in list(parent._modules.items()):
            if isinstance(layer, REFUSED):
                raise ValueError(f"{type(layer).__name__} has no mask that could be kept: use nn.Dropout instead.")
            if isinstance(layer, REPLACED):
                new = ours.setdefault(layer, Dropout(layer.p, not isinstance(layer, nn.Dropout)))
                parent.add_module(name, new)


@dataclass(frozen=True)
class Call:
    """One call of a dropout layer in a forward pass."""

    p: float
    axis: int | None  # the one along which the layer's input has the images; None: it is the same for all images
    shape: tuple[int, ...]  # of one image's mask; where there is an axis, its first number is the image's rows along it

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Masks `[*shape, *self.shape]`: 0 with probability p, else 1 / (1 - p). What images share has one mask for all."""
        shape = shape if self.axis is not None else (*shape[:-1], 1)
        kept = torch.rand((*shape, *self.shape), generator=generator, device=generator.device) >= self.p
        return kept / (1 - self.p) if self.p < 1 else kept.float()

    def drop(self, x: Tensor, mask: Tensor) -> Tensor:
        """`x` times a mask for each image, or one for all (`[N or 1, *self.shape]`)."""
        if self.axis is None:
            return x * mask[0]
        by_image = x.movedim(self.axis, 0).unflatten(0, (-1, self.shape[0]))
        return (by_image * mask).flatten(0, 1).movedim(0, self.axis)


def calls_of(forward: Callable[[int], object]) -> list[Call]:
    """The calls of dropout layers that `forward(n)`, a pass of n images, makes. Raises: ValueError."""
    of_two, of_three = _inputs(forward, 2), _inputs(forward, 3)
    if len(of_two) != len(of_three):
        raise ValueError("its dropout layers are called more or less often, depending on the number of images.")
    return [_call(layer, two, three) for (layer, two), (_, three) in zip(of_two, of_three)]


def _inputs(forward, n: int) -> list[tuple[Dropout, torch.Size]]:
    """The layers that are called, in order, and the shapes of what they are given."""
    found = []

    def note(layer, x):
        found.append((layer, x.shape))
        return x

    with _visiting(note):
        forward(n)
    return found


def _call(layer: Dropout, two: torch.Size, three: torch.Size) -> Call:
    differ = [axis for axis, (a, b) in enumerate(zip(two, three)) if a != b]
    if not differ:
        return Call(layer.p, None, tuple(two))
    [axis, *others] = differ
    if others or 3 * two[axis] != 2 * three[axis]:
        raise ValueError(
            f"a dropout layer's input, {tuple(two)} for two images and {tuple(three)} for three, has no axis of images."
        )
    rest = [size for other, size in enumerate(two) if other != axis]
    if layer.whole_channels:
        rest = rest[:1] + [1] * len(rest[1:])
    return Call(layer.p, axis, (two[axis] // 2, *rest))


@contextlib.contextmanager
def masked(calls: Sequence[Call], masks: Sequence[Tensor]) -> Iterator[None]:
    """Within it, one forward pass drops what `masks` say, one for each of the pass's `calls`."""
    left = zip(calls, masks, strict=True)

    def drop(layer, x):
        call, mask = next(left, (None, None))
        if call is None:
            raise RuntimeError("a dropout layer is called more often than when the network was built.")
        return call.drop(x, mask.to(x.dtype))

    with _visiting(drop):
        yield


@contextlib.contextmanager
def _visiting(visit: Callable[[Dropout, Tensor], Tensor]) -> Iterator[None]:
    token = _visit.set(visit)
    try:
        yield
    finally:
        _visit.reset(token)
