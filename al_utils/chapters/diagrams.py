"""The networks drawn from their modules: what goes through them, layer by layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import nn

from ..models import build_model
from ..randomness import generator
from ..results.looks import styled

COLOUR, EDGE = "#8da0b8", "#33475b"
Shape = tuple[int, ...]  # [C, H, W] of feature maps, [D] of a vector


@dataclass(frozen=True)
class Layer:
    """A layer, or a residual block with its skip connection, and the shapes of what goes in and comes out."""

    words: str
    inputs: Shape
    output: Shape
    skip: str = ""  # "identity", or the kind of layer on it


def layers(model: str, image_shape: Shape, n_classes: int = 10) -> list[Layer]:
    """The layers of a network in the order in which an image `[C, H, W]` passes them."""
    network = build_model(model, image_shape, n_classes, generator(0, "initialisation")).eval()
    found: list[Layer] = []

    def note(module, inputs, output):
        found.append(Layer(_words(module), tuple(inputs[0].shape[1:]), tuple(output.shape[1:]), _skip(module)))

    blocks = [module for module in network.modules() if hasattr(module, "downsample")]
    within = {id(part) for block in blocks for part in block.modules()} - {id(block) for block in blocks}
    drawn = (nn.Conv2d, nn.Linear, nn.MaxPool2d)
    hooks = [
        module.register_forward_hook(note)
        for module in network.modules()
        if id(module) not in within and (isinstance(module, drawn) or module in blocks)
    ]
    network(torch.zeros(1, *image_shape))  # with gradients: the fast path of LeNet has no modules
    for hook in hooks:
        hook.remove()
    return found


def _words(module: nn.Module) -> str:
    if isinstance(module, nn.Linear):
        return "fully\nconnected"
    if isinstance(module, nn.Conv2d):
        kernel, stride = module.kernel_size[0], module.stride[0]
        return f"conv {kernel}×{kernel}" + (f" / {stride}" if stride > 1 else "")
    if isinstance(module, nn.MaxPool2d):
        return f"max pool\n{module.kernel_size}×{module.kernel_size} / {module.stride}"
    return "\n".join(_words(part) for part in module.children() if isinstance(part, nn.Conv2d))


def _skip(block: nn.Module) -> str:
    if not hasattr(block, "downsample"):
        return ""
    return "identity" if block.downsample is None else "conv 1×1"


def _between(output: Shape, inputs: Shape) -> str:
    """What lies between two layers and is no module: it can be seen in the shapes alone."""
    side = round(math.sqrt(math.prod(output) / math.prod(inputs)))
    parts = [f"max pool\n{side}×{side} / {side}"] if side > 1 else []
    return "\n".join(parts + (["flatten"] if len(inputs) < len(output) else []))


@styled
def network(model: str, image_shape: Shape, n_classes: int = 10) -> Figure:
    """A network as the feature maps between its layers, with number and size; arcs are skip connections, `/ 2` a stride."""
    passed = layers(model, image_shape, n_classes)
    shapes, words, skips = [tuple(image_shape)], [], []
    for layer in passed:
        if layer.inputs != shapes[-1]:
            words.append(_between(shapes[-1], layer.inputs))
            skips.append("")
            shapes.append(layer.inputs)
        words.append(layer.words)
        skips.append(layer.skip)
        shapes.append(layer.output)
    figure = Figure(figsize=(len(shapes), 2.6 if any(skips) else 2.1))
    axes = figure.subplots()
    for x, shape in enumerate(shapes):
        _volume(axes, x, shape)
    _arrows(axes, words, skips)
    axes.set(xlim=(-0.6, len(shapes) - 0.4), ylim=(-1.25, 1.3 if any(skips) else 0.8))
    axes.axis("off")
    return figure


def _volume(axes: Axes, x: float, shape: Shape) -> None:
    """Feature maps as squares behind each other, a vector as a bar; sizes grow with the square root of the numbers."""
    if len(shape) == 3:
        side, sheets = 0.075 * math.sqrt(shape[1]), min(6, 1 + int(math.log2(shape[0])))
        for sheet in reversed(range(sheets)):
            corner = (x - side / 2 + 0.015 * sheet, -side + 0.03 * sheet)
            axes.add_patch(Rectangle(corner, side, 2 * side, fc=COLOUR, ec=EDGE, lw=0.7))
    else:
        half = 0.03 * math.sqrt(shape[0])
        axes.add_patch(Rectangle((x - 0.03, -half), 0.06, 2 * half, fc=COLOUR, ec=EDGE, lw=0.7))
    text = f"{shape[0]} of\n{shape[1]}×{shape[2]}" if len(shape) == 3 else f"{shape[0]}"
    axes.text(x, -0.75, text, ha="center", va="top", fontsize=8)


def _arrows(axes: Axes, words: Sequence[str], skips: Sequence[str]) -> None:
    for x, (text, skip) in enumerate(zip(words, skips)):
        axes.annotate("", (x + 0.68, 0), (x + 0.34, 0), arrowprops=dict(arrowstyle="->", color="#555555"))
        axes.text(x + 0.5, 0.08, text, ha="center", va="bottom", fontsize=6.5, linespacing=0.95)
        if skip:
            dashes = "-" if skip == "identity" else "--"
            arc = FancyArrowPatch((x + 0.05, 0.68), (x + 0.95, 0.68), connectionstyle="arc3,rad=-0.5", arrowstyle="->",
                                  mutation_scale=8, color="#d55e00", ls=dashes)  # fmt: skip
            axes.add_patch(arc)
            axes.text(x + 0.5, 1.0, skip, ha="center", va="bottom", fontsize=7, color="#d55e00")
