"""LeNet and ResNet-18, each a trunk `features(x)` and a `head(features, masks)`.

Dropout sits only in the head and its masks are arguments. So the trunk runs once per image however many MC-dropout
samples are drawn, a sample is the same function for every image, and nothing depends on `train()` or a global seed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .compute import fast_lenet
from .options import check_choice


class Classifier(nn.Module):
    """A trunk, then fully connected layers `head_layers` with dropout before each."""

    head_layers: nn.ModuleList

    def features(self, images_N_C_H_W: Tensor) -> Tensor:
        """The trunk's output `[N, D]`, the part of the network before the first dropout."""
        raise NotImplementedError

    def head(self, features_N_D: Tensor, masks: list[Tensor] | None = None) -> Tensor:
        """Logits `[N, C]` without masks or with one mask per image (`[N, D]`); `[K, N, C]` with masks `[K, 1, D]`."""
        hidden = features_N_D
        for i, layer in enumerate(self.head_layers):
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

    def forward(self, images_N_C_H_W: Tensor) -> Tensor:
        """Logits `[N, C]` of the network without dropout."""
        return self.head(self.features(images_N_C_H_W))


def draw_masks(model: Classifier, shape: tuple[int, ...], dropout: float, generator: torch.Generator) -> list[Tensor]:
    """A dropout mask `[*shape, D]` for each layer of the head: 0 with probability `dropout`, else 1 / (1 - dropout)."""
    widths = [layer.in_features for layer in model.head_layers]
    kept = torch.rand((*shape, sum(widths)), generator=generator, device=generator.device) >= dropout
    return list((kept / (1 - dropout)).to(model.head_layers[0].weight).split(widths, dim=-1))


@dataclass(frozen=True)
class Network:
    """A registered network: from channels, number of classes and image size to a module, and what it needs."""

    make: Callable[..., Classifier]
    smallest_batch: int  # images that a step of training needs, at least


_registry: dict[str, Network] = {}


def register(name: str, smallest_batch: int = 1) -> Callable:
    """Make a network known as `model=name`; `smallest_batch` is 2 where BatchNorm needs more than one value a channel."""

    def decorate(make):
        _registry[name] = Network(make, smallest_batch)
        return make

    return decorate


def names() -> list[str]:
    """The known networks."""
    return list(_registry)


def get(name: str) -> Network:
    """The network of this name. Raises: ValueError."""
    check_choice("model", name, names())
    return _registry[name]


@register("lenet")
class LeNet(Classifier):
    """LeNet-5 (LeCun et al. 1998) with ReLU and max pooling; all widths grow with the number of image channels."""

    def __init__(self, channels: int = 1, n_classes: int = 10, image_size: tuple[int, int] = (28, 28)):
        super().__init__()
        c = channels
        h, w = (((side - 4) // 2 - 4) // 2 for side in image_size)
        self.conv1 = nn.Conv2d(c, 6 * c, 5)
        self.conv2 = nn.Conv2d(6 * c, 16 * c, 5)
        self.fc1 = nn.Linear(16 * c * h * w, 120 * c)
        self.head_layers = nn.ModuleList([nn.Linear(120 * c, 84 * c), nn.Linear(84 * c, n_classes)])

    def features(self, images_N_C_H_W):
        if fast_lenet.applies(images_N_C_H_W):  # the same function
            return fast_lenet.features(self, images_N_C_H_W)
        # Pooling before ReLU is the same function on a quarter of the values.
        x = F.max_pool2d(self.conv1(images_N_C_H_W), 2).relu()
        x = F.max_pool2d(self.conv2(x), 2).relu()
        return self.fc1(x.flatten(1)).relu()


@register("resnet18", smallest_batch=2)
class ResNet18(Classifier):
    """torchvision's ResNet-18 (He et al. 2016), not pretrained, with a first convolution for `channels`."""

    def __init__(self, channels: int = 1, n_classes: int = 10, image_size: tuple[int, int] = (28, 28)):
        super().__init__()
        from torchvision.models import resnet18  # here: a LeNet run must not wait for it

        self.trunk = resnet18(weights=None)
        self.trunk.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.head_layers = nn.ModuleList([nn.Linear(self.trunk.fc.in_features, n_classes)])
        self.trunk.fc = nn.Identity()

    def features(self, images_N_C_H_W):
        return self.trunk(images_N_C_H_W)


def build_model(name: str, images_shape, n_classes: int, generator: torch.Generator, device="cpu") -> Classifier:
    """A newly initialised network for images of shape `[..., C, H, W]`; the same draw on every device."""
    channels, *size = images_shape[-3:]
    with torch.device("meta"):  # allocates and draws nothing yet
        model = get(name).make(channels, n_classes, tuple(size))
    _allocate(model)
    initialise(model, generator)
    _drop_dead_taps(model, (1, channels, *size))
    return model.to(device)


def _allocate(model: nn.Module) -> None:
    """`model.to_empty(device="cpu")`, which imports a computer algebra system on its way: 0.3 s a process."""
    for layer in model.modules():
        for name, weights in layer.named_parameters(recurse=False):
            setattr(layer, name, nn.Parameter(torch.empty(weights.shape)))
        for name, values in layer.named_buffers(recurse=False):
            setattr(layer, name, torch.empty(values.shape, dtype=values.dtype))


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's and torchvision's default initialisation, but from an explicit generator."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.Conv2d) and layer.bias is None:  # ResNet's
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            bound = layer.weight[0].numel() ** -0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


@torch.no_grad()
def _drop_dead_taps(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Cut convolutions with a single output position down to the taps that meet the image instead of its padding.

    On images of 28 or 32 pixels ResNet-18's last stage works on 1x1 maps, where eight of the nine taps multiply zeros.
    The function and its gradients stay the same with 4.2 instead of 11.2 million weights.
    """

    def cut(conv, inputs, output):
        (h, w), (ph, pw) = inputs[0].shape[-2:], conv.padding
        if output.shape[-2:] == (1, 1) and conv.padding != (0, 0):
            conv.weight = nn.Parameter(conv.weight[:, :, ph : ph + h, pw : pw + w].clone())
            conv.kernel_size, conv.padding = tuple(conv.weight.shape[-2:]), (0, 0)

    hooks = [layer.register_forward_hook(cut) for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    model.eval()(torch.zeros(shape))
    for hook in hooks:
        hook.remove()
