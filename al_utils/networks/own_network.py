"""Any `nn.Module` as a network of the study, held to what it promises."""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import cast

import torch
from torch import Tensor, nn

from ..randomness import seeded, sent
from ..sources import named
from .classifier import Classifier
from .dropout import calls_of, masked, replace_layers
from .trying import calls_in_training, disturb, is_split, last_linear, try_images

# Where the input of the last layer is put in the forward pass that is going on; each thread has its own. None: nowhere.
_caught: ContextVar[list[Tensor] | None] = ContextVar("caught", default=None)


class OwnNetwork(Classifier):
    """A module from images `[N, C, H, W]` to logits `[N, n_classes]`; its initialisation and frozen parts stay.

    Its `nn.Dropout` layers are its MC dropout, each with its own p. If it has `features` without dropout and a `head`, and
    `head(features(images))` is what the module computes, the trunk runs once per image; a trunk without a parameter that
    requires a gradient is `frozen`. Layers whose parameters are frozen stay in evaluation mode: BatchNorm keeps its statistics.

    Args:
        images_N_C_H_W: three or more images to try the module with.

    Raises:
        ValueError: it fails on the images, or its outputs are not finite logits, one row an image.
    """

    masks_by_batch = True

    def __init__(self, name: str, module: nn.Module, images_N_C_H_W: Tensor, n_classes: int):
        super().__init__()
        self.name, self.module, self.n_classes = name, module, n_classes
        # PyTorch's shortcut through attention layers in evaluation mode would pass by their dropout.
        torch.backends.mha.set_fastpath_enabled(False)
        module.eval()
        try:
            replace_layers(module)
            with torch.no_grad():
                self._check_logits(module(images_N_C_H_W), len(images_N_C_H_W))
                self.calls = calls_of(lambda n: module(images_N_C_H_W[:n]))
        except Exception as error:
            shape = tuple(images_N_C_H_W.shape[1:])
            raise ValueError(f"model={name!r} cannot be used on images of shape {shape}: {error}") from error
        self.split = is_split(module, images_N_C_H_W)
        with torch.enable_grad():
            self.frozen = self.split and not self.features(images_N_C_H_W[:1]).requires_grad
        last = last_linear(module, images_N_C_H_W, n_classes)
        self.has_embeddings = last is not None
        if last is not None:
            last.register_forward_pre_hook(_catch)
        if not any(p.requires_grad for p in module.parameters()):
            raise ValueError(f"model={name!r} has no parameter to train: requires_grad is False for all of them.")
        self.train(self.training)

    def features(self, images_N_C_H_W: Tensor) -> Tensor:
        """What `head` starts from: the output of the module's `features`; without them the images."""
        if not self.split:
            return images_N_C_H_W
        return cast(Callable, self.module.features)(images_N_C_H_W.clone())  # as in `_logits`

    def head(self, features_N: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
        """Logits `[N, C]` without masks or with one mask per image; `[K, N, C]` with masks of K samples, see `draw_masks`."""
        if not masks:
            return self._logits(features_N)
        if masks[0].dim() == 1 + len(self.calls[0].shape):
            return self._masked_logits(features_N, masks)
        return torch.stack([self._masked_logits(features_N, of_sample) for of_sample in zip(*masks)])

    def embeddings(self, features_N: Tensor) -> Tensor:
        """The input of the module's last layer `[N, D]`, without dropout. Raises: ValueError: that is no `nn.Linear`."""
        if not self.has_embeddings:
            raise ValueError(
                f"model={self.name!r} has no embeddings, because it does not end with an nn.Linear from [N, D] to its "
                f"{self.n_classes} classes: end it so, or choose a strategy that asks for no embeddings."
            )
        caught: list[Tensor] = []
        token = _caught.set(caught)
        try:
            self._logits(features_N)
        finally:
            _caught.reset(token)
        return caught[-1]

    def draw_masks(self, shape: tuple[int, ...], dropout: float, generator: torch.Generator) -> list[Tensor]:
        """A mask `[*shape, …]` for each call of a dropout layer; the layers' own p counts, not `dropout`."""
        device = next(self.parameters()).device
        return [sent(call.draw(shape, generator), device) for call in self.calls]

    def train(self, mode: bool = True) -> "OwnNetwork":
        super().train(mode)
        for layer in self.module.modules():
            own = list(layer.parameters(recurse=False))
            if own and not any(p.requires_grad for p in own):
                layer.eval()
        return self

    def _masked_logits(self, features_N, masks):
        with masked(self.calls, masks):
            return self._logits(features_N)

    def _logits(self, features_N):
        # A copy: a layer that works in place would change what the next sample, or round, starts from.
        logits = (cast(Callable, self.module.head) if self.split else self.module)(features_N.clone())
        self._check_shape(logits, len(features_N))
        return logits

    def _check_shape(self, logits, n: int) -> None:
        if not isinstance(logits, Tensor) or logits.shape != (n, self.n_classes):
            given = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"it returned {given} for {n} images, but must return logits of shape {(n, self.n_classes)}.")

    def _check_logits(self, logits, n: int) -> None:
        self._check_shape(logits, n)
        if not bool(logits.isfinite().all()):
            raise ValueError("its logits are not finite.")
        if bool((logits >= 0).all()) and torch.allclose(logits.sum(1), torch.ones(n).to(logits)):
            raise ValueError("it returned probabilities, but must return logits: leave out the softmax, in evaluation too.")


def build(name: str, make: Callable, image_shape: Sequence[int], n_classes: int, seed: int) -> Classifier:
    """The network that `make(channels, n_classes, (height, width))` returns, what it draws seeded by `seed`.

    Raises:
        ValueError: what it returns is no module, or see `OwnNetwork`.
    """
    channels, height, width = image_shape
    with seeded(seed):
        with named(f"model={name!r}"):
            module = make(channels, n_classes, (height, width))
        if not isinstance(module, nn.Module):
            raise ValueError(f"model={name!r} must return an nn.Module, but returned {type(module).__name__}.")
        return module if isinstance(module, Classifier) else OwnNetwork(name, module, try_images(image_shape), n_classes)


def check(name: str, make: Callable, image_shape: Sequence[int], n_classes: int, samples: bool, smallest_batch: int) -> None:
    """Refuse a network that would not repeat, mixes images, or has no dropout where a strategy needs samples.

    Raises:
        ValueError: it does not keep what `models.register` asks for; the sentence says what.
    """
    one, again = (build(name, make, image_shape, n_classes, seed=0).eval() for _ in range(2))
    for key, values in one.state_dict().items():
        if not torch.equal(values, again.state_dict()[key]):
            raise ValueError(
                f"model={name!r} is another network each time it is built ({key}): draw from PyTorch's generator only."
            )
    images = try_images(image_shape)
    if isinstance(one, OwnNetwork) and one.calls != calls_in_training(one.module, images, one.calls):
        raise ValueError(f"model={name!r} calls its dropout layers otherwise in training: call them whether it trains or not.")
    if samples and isinstance(one, OwnNetwork) and not one.calls:
        raise ValueError(
            f"model={name!r} has no nn.Dropout layer with p above 0, so it has no samples for a strategy that needs several: "
            "add one."
        )
    disturb(one)
    masks = one.draw_masks((1, 1), 0.5, torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = one.head(one.features(images), masks)
        alone = torch.cat([one.head(one.features(image[None]), masks) for image in images], dim=-2)
    if together.shape[-1] != n_classes:
        raise ValueError(f"model={name!r} returned {together.shape[-1]} logits an image, but there are {n_classes} classes.")
    if not torch.allclose(together, alone, rtol=1e-3, atol=1e-3 * max(1.0, float(together.abs().max()))):
        raise ValueError(f"model={name!r} predicts an image otherwise when others are beside it: images must not be mixed.")
    try:
        one.train()(images[:smallest_batch])
    except Exception as error:
        if "more than 1 value per channel" not in str(error):  # BatchNorm's
            raise ValueError(f"model={name!r} cannot be trained: {error}") from error
        raise ValueError(
            f"model={name!r} cannot train on a batch of {smallest_batch} ({error}): register it with @al.models.register"
            f"({name!r}, smallest_batch={smallest_batch + 1})."
        ) from error


def _catch(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    caught = _caught.get()
    if caught is not None:
        caught.append(inputs[0])
