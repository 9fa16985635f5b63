"""The networks: LeNet and ResNet-18, and the registry for others.

A notebook adds its own with one decorator; its name is then a valid `model`:

    @al.models.register
    def perceptron(channels, n_classes, image_size):
        n_pixels = channels * image_size[0] * image_size[1]
        return nn.Sequential(nn.Flatten(), nn.Linear(n_pixels, 200), nn.ReLU(), nn.Dropout(0.5), nn.Linear(200, n_classes))
"""

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from . import sources
from .networks import fast_lenet, own_network
from .networks.classifier import Classifier
from .options import check_choice


@dataclass(frozen=True)
class Registered:
    """A network by its name: from channels, number of classes and (height, width) to a module, and what it needs."""

    make: Callable[..., nn.Module]
    smallest_batch: int  # images that a step of training needs, at least
    own: bool = True  # somebody's: built as it is; False: one of the two below


_registry: dict[str, Registered] = {}


def register(make: Callable | str, smallest_batch: int = 1) -> Callable:
    """Make a network known as a `model` of the configuration: `@register` under its own name, `@register("name")` under that.

    `make(channels, n_classes, (height, width))`, a class or a function, returns any `nn.Module` from images `[N, C, H, W]`
    to logits `[N, n_classes]`. Its own initialisation, drawn from PyTorch's generator, loaded weights and
    `requires_grad=False` are kept. What else it may have is said in `own_network.OwnNetwork`.

    Args:
        smallest_batch: images that a step of training needs; 2 where BatchNorm is left with one value a channel.
    """
    if isinstance(make, str):
        return lambda function: _add(make, function, smallest_batch)
    return _add(make.__name__, make, smallest_batch)


def _add(name: str, make: Callable, smallest_batch: int) -> Callable:
    try:
        inspect.signature(make).bind(1, 10, (28, 28))
    except TypeError as error:
        raise ValueError(f"model={name!r} must take channels, n_classes and (height, width): {error}.") from None
    sources.check_name_free("model", name, _registry[name].make if name in _registry else None, make)
    _registry[name] = Registered(make, smallest_batch)
    return make


def names() -> list[str]:
    """The known networks."""
    return list(_registry)


def get(name: str) -> Registered:
    """The network of this name. Raises: ValueError: there is none."""
    check_choice("model", name, names())
    return _registry[name]


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
        if fast_lenet.applies(self, images_N_C_H_W):  # the same function
            return fast_lenet.features(self, images_N_C_H_W)
        # Pooling before ReLU is the same function on a quarter of the values.
        x = F.max_pool2d(self.conv1(images_N_C_H_W), 2).relu()
        x = F.max_pool2d(self.conv2(x), 2).relu()
        return self.fc1(x.flatten(1)).relu()


class ResNet18(Classifier):
    """torchvision's ResNet-18 (He et al. 2016), not pretrained, with a first convolution for `channels`."""

    channels_last = True

    def __init__(self, channels: int = 1, n_classes: int = 10, image_size: tuple[int, int] = (28, 28)):
        super().__init__()
        from torchvision.models import resnet18  # type: ignore[import-untyped]  # here: a LeNet run must not wait for it

        self.trunk = resnet18(weights=None)
        self.trunk.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.head_layers = nn.ModuleList([nn.Linear(self.trunk.fc.in_features, n_classes)])
        self.trunk.fc = nn.Identity()

    def features(self, images_N_C_H_W):
        return self.trunk(images_N_C_H_W)


_registry |= {"lenet": Registered(LeNet, 1, own=False), "resnet18": Registered(ResNet18, 2, own=False)}


def build_model(name: str, images_shape, n_classes: int, generator: torch.Generator, device="cpu") -> Classifier:
    """A newly initialised network for images of shape `[..., C, H, W]`; the same draw on every device."""
    channels, *size = images_shape[-3:]
    network = get(name)
    if network.own:
        return own_network.build(name, network.make, images_shape[-3:], n_classes, generator.initial_seed()).to(device)
    with torch.device("meta"):  # allocates and draws nothing yet
        model = network.make(channels, n_classes, tuple(size))
    assert isinstance(model, Classifier)
    _allocate(model)
    initialise(model, generator)
    _drop_dead_taps(model, (1, channels, *size))
    model = model.to(device)
    return model.to(memory_format=torch.channels_last) if model.channels_last and next(model.parameters()).is_cuda else model


def check(name: str, images_shape, n_classes: int, samples: bool) -> None:
    """Refuse a registered network that breaks its contract on images of this shape; `samples`: that has no dropout, too.

    Raises:
        ValueError: see `own_network.check`.
    """
    network = get(name)
    if network.own:
        own_network.check(name, network.make, images_shape[-3:], n_classes, samples, network.smallest_batch)


def weights_digest(name: str, images_shape, n_classes: int) -> str:
    """Sixteen characters that differ when the weights of a network, as it is made under one seed, do."""
    model = build_model(name, images_shape, n_classes, torch.Generator().manual_seed(0))
    digest = hashlib.sha256()
    for values in model.state_dict().values():
        digest.update(values.contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


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
            if layer.bias is not None:
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
