"""What a training recipe is made of: losses, learning rate schedules, augmentations.

A notebook adds an augmentation with one decorator; its name is then a valid `augmentation`:

    @al.training.register_augmentation
    def brighter(images_N_C_H_W, generator):
        return images_N_C_H_W + torch.rand(len(images_N_C_H_W), 1, 1, 1, generator=generator)
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import sources
from ..options import check_choice

Loss = Callable[[Tensor, Tensor, str], Tensor]


def categorical(logits_N_C: Tensor, labels_N: Tensor, reduction: str) -> Tensor:
    """-log p(y|x), in nats, its `mean` or `sum` over the images.

    The paper's released code trains with its mean, and so does the protocol `paper`.
    """
    return F.cross_entropy(logits_N_C, labels_N, reduction=reduction)


def per_class(logits_N_C: Tensor, labels_N: Tensor, reduction: str) -> Tensor:
    """-log p(y|x) - Σ log(1 - p(c|x)) over the other classes c, in nats, its `mean` or `sum` over the images.

    Its sum is the paper's Equation 2 as it is printed: a binary cross-entropy for each class, of the p of its Equation 4.
    """
    is_label_N_C = F.one_hot(labels_N, logits_N_C.shape[1]).bool()
    log_others_N_C = without_each(logits_N_C).logsumexp(-1) - logits_N_C.logsumexp(1, keepdim=True)  # log(1 - p)
    loss = -torch.where(is_label_N_C, logits_N_C.log_softmax(1), log_others_N_C).sum()
    return loss if reduction == "sum" else loss / len(labels_N)


def without_each(logits_N_C: Tensor) -> Tensor:
    """`[N, C, C]`: in row c the logits without that of class c, which is -inf. So 1 - p is summed, never subtracted."""
    C = logits_N_C.shape[1]
    itself = torch.eye(C, dtype=torch.bool, device=logits_N_C.device)
    return logits_N_C[:, None].expand(-1, C, -1).masked_fill(itself, -math.inf)


LOSSES: dict[str, Loss] = {"categorical": categorical, "per_class": per_class}


def learning_rate(schedule: str, lr: float, step: int, n_steps: int) -> float:
    """Of this step of `n_steps`: `constant`, or `cosine`, which falls from `lr` to 0 (Loshchilov and Hutter 2017)."""
    return lr if schedule == "constant" else lr * (1 + math.cos(math.pi * step / n_steps)) / 2


Augmentation = Callable[[Tensor, torch.Generator], Tensor]
_augmentations: dict[str, Augmentation] = {}


def register_augmentation(function: Augmentation) -> Augmentation:
    """Make `function` known as an `augmentation` under its own name.

    It is given a batch of training images `[N, C, H, W]`, standardised and with their noise, and a generator on the CPU, and
    returns images of the same shape. All its randomness must come from the generator.
    """
    name = function.__name__
    if name == "none":
        raise ValueError("an augmentation cannot be called 'none', which is no augmentation: rename it.")
    sources.check_name_free("augmentation", name, _augmentations.get(name), function)
    _augmentations[name] = function
    return function


def augmentations() -> list[str]:
    """The known augmentations."""
    return ["none", *_augmentations]


def augmentation(name: str) -> Augmentation | None:
    """The augmentation of this name; None is none. Raises: ValueError: it is not known."""
    check_choice("augmentation", name, augmentations())
    return _augmentations.get(name)


@register_augmentation
def crop_flip(images_N_C_H_W: Tensor, generator: torch.Generator) -> Tensor:
    """Each image shifted by up to an eighth of its size, zeros coming in, and half of them mirrored (He et al. 2016)."""
    N, _, H, W = images_N_C_H_W.shape
    ph, pw = H // 8, W // 8
    row_N, column_N = torch.randint(2 * ph + 1, (N,), generator=generator), torch.randint(2 * pw + 1, (N,), generator=generator)
    rows_N_H, columns_N_W = row_N[:, None] + torch.arange(H), column_N[:, None] + torch.arange(W)
    mirrored_N_1 = torch.rand(N, 1, generator=generator) < 0.5
    columns_N_W = torch.where(mirrored_N_1, columns_N_W.flip(1), columns_N_W)
    images, rows, columns = torch.arange(N)[:, None, None], rows_N_H[:, :, None], columns_N_W[:, None, :]
    device = images_N_C_H_W.device
    images, rows, columns = (index.to(device, non_blocking=True) for index in (images, rows, columns))
    padded = F.pad(images_N_C_H_W, (pw, pw, ph, ph))
    return padded[images, :, rows, columns].permute(0, 3, 1, 2).contiguous()


class Augmented:
    """Images whose batches are augmented each time they are asked for.

    Raises:
        ValueError: a registered function failed or returned no images of the same shape; for the first batch, where it is
            called twice, also: they are not finite, or not the same again.
    """

    def __init__(self, images, name: str, generator: torch.Generator):
        self._images, self._name, self._generator = images, name, generator
        self._augment = _augmentations[name]
        self._to_check = not sources.is_ours(self._augment)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index) -> Tensor:
        images_N_C_H_W = self._images[index]
        if self._to_check:
            self._to_check = False
            self._check(images_N_C_H_W)
        return self._augmented(images_N_C_H_W, self._generator)

    def _check(self, images_N_C_H_W: Tensor) -> None:
        one, again = (self._augmented(images_N_C_H_W.clone(), self._generator.clone_state()) for _ in range(2))
        if not bool(one.isfinite().all()):
            raise ValueError(
                f"augmentation={self._name!r} made pixels that are NaN or infinite: it must return finite numbers."
            )
        if not torch.equal(one, again):
            raise ValueError(
                f"augmentation={self._name!r} is not deterministic: it made different images from the same generator. "
                "Take all randomness from its argument `generator`."
            )

    def _augmented(self, images_N_C_H_W: Tensor, generator: torch.Generator) -> Tensor:
        with sources.named(f"augmentation={self._name!r}"):
            changed = self._augment(images_N_C_H_W, generator)
        if not isinstance(changed, Tensor) or changed.shape != images_N_C_H_W.shape:
            given = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            raise ValueError(
                f"augmentation={self._name!r} made {given} of images of shape {tuple(images_N_C_H_W.shape)}: "
                "it must return a tensor of the same shape."
            )
        return changed.to(images_N_C_H_W)
