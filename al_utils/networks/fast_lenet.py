"""LeNet on a CPU near the processor's speed: the same function as `models.LeNet`, computed otherwise.

At 28 x 28 pixels PyTorch spends more time on moving LeNet's numbers than on computing them. Two changes make every step
either one large matrix product or an operation on whole rows:

- Images are the last axis, `[C, H, W, B]`: neighbours in memory are the same pixel of B images.
- A 5x5 convolution followed by 2x2 pooling needs the convolution at the four positions of each pooling window. Together
  they see 6x6 pixels, so they are one 6x6 convolution of stride 2 with four times the outputs, whose kernels are the 5x5
  kernel shifted by (0, 0), (0, 1), (1, 0) and (1, 1). That gathers 2.8 times fewer pixels, and pooling becomes the
  maximum of four contiguous blocks.

All buffers are allocated once and written to again, and gradients are written out by hand.
`tests/test_speed.py` compares values and gradients with PyTorch's.
"""

import threading
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from .recipes import LOSSES

CHUNK = 64  # images of 28 x 28 pixels at a time when predicting; fewer larger ones, for the same reason

_relu_gradient = torch.ops.aten.threshold_backward.grad_input  # gradient * (output > 0)


def is_plain(model) -> bool:
    """Whether a LeNet's convolutions are such as are computed here: 5x5 with stride 1 and without padding, of any width."""
    of_conv = [(c.kernel_size, c.stride, c.padding, c.dilation, c.groups) for c in (model.conv1, model.conv2)]
    return of_conv == [((5, 5), (1, 1), (0, 0), (1, 1), 1)] * 2


def applies(model, images_N_C_H_W: Tensor) -> bool:
    """Whether `features` may be used: on the CPU, and no gradients are recorded."""
    return images_N_C_H_W.device.type == "cpu" and not torch.is_grad_enabled() and is_plain(model)


class _ConvPool:
    """Convolution 5x5, max pooling 2x2 and ReLU, from the buffer `x` `[C, H, W, B]` to `out` `[M, h, w, B]`."""

    def __init__(self, conv: nn.Conv2d, x: Tensor, training: bool):
        (C, H, W, B), M = x.shape, conv.out_channels
        h, w = (H - 4) // 2, (W - 4) // 2
        self.conv, new = conv, x.new_empty
        self._windows = _windows(x, h, w)
        self._columns = new(C, 6, 6, h, w, B)
        self._columns_2d = self._columns.view(36 * C, -1)
        self._kernels = x.new_zeros(4 * M, 36 * C)
        self._taps = _taps(self._kernels, C, M)
        self._z = new(4 * M, h * w * B)  # the convolution; rows: place in the pooling window, then output channel
        z = self._z.view(2, 2, -1)
        self._left, self._right = z[:, 0], z[:, 1]
        self._rows = new(2, M * h * w * B)
        self._upper, self._lower = self._rows
        self._max, self.out = new(M, h * w * B), new(M, h, w, B)
        self._max_1d, self._out_2d = self._max.view(-1), self.out.view(M, -1)
        if training:
            self._kernels_gradient = new(36 * C, 4 * M)
            self._shifted_gradients = [tap for row in _taps(self._kernels_gradient.t(), C, M) for tap in row]
            self.x_gradient = torch.empty_like(x)
            # The 6x6 places as 3x3 pairs: nine sums, not 36.
            target, parts = _windows(self.x_gradient, h + 2, w + 2, side=2), self._columns.view(C, 3, 2, 3, 2, h, w, B)
            self._sums = [(target[:, :, :, i : i + h, j : j + w], parts[:, i, :, j]) for i in range(3) for j in range(3)]

    def forward(self, training: bool = False) -> None:
        self._columns.copy_(self._windows)
        self._taps.copy_(self.conv.weight)
        torch.mm(self._kernels, self._columns_2d, out=self._z)
        torch.maximum(self._left, self._right, out=self._rows)
        torch.maximum(self._upper, self._lower, out=self._max_1d)
        if training:  # 1.0 where the first wins, also against its equal, as in PyTorch; else 0.0
            torch.ge(self._left, self._right, out=self._left)
            torch.ge(self._upper, self._lower, out=self._upper)
        assert self.conv.bias is not None
        torch.add(self._max, self.conv.bias[:, None], out=self._out_2d).relu_()

    def backward(self, out_gradient: Tensor, weight_gradient: Tensor, bias_gradient: Tensor) -> None:
        """Overwrites the two gradients; `_z` becomes the gradient of the convolution."""
        _relu_gradient(out_gradient.view_as(self._max), self._out_2d, 0, grad_input=self._max)
        torch.sum(self._max, 1, out=bias_gradient)
        self._upper.mul_(self._max_1d)
        torch.sub(self._max_1d, self._upper, out=self._lower)
        self._left.mul_(self._rows)
        torch.sub(self._rows, self._left, out=self._right)
        torch.mm(self._columns_2d, self._z.t(), out=self._kernels_gradient)
        first, second, *others = self._shifted_gradients
        torch.add(first, second, out=weight_gradient)
        for other in others:
            weight_gradient.add_(other)

    def input_gradient(self) -> None:
        """After `backward`, writes `x_gradient`, `[C, H, W, B]`."""
        torch.mm(self._kernels.t(), self._z, out=self._columns_2d)  # the columns themselves are not needed any more
        self.x_gradient.zero_()
        for target, part in self._sums:
            target.add_(part)


def _windows(x: Tensor, h: int, w: int, side: int = 6) -> Tensor:
    """`[C, side, side, h, w, B]`: the pixels at each place of the windows that start at every second pixel; a view."""
    (C, _, _, B), (c, i, j, b) = x.shape, x.stride()
    return x.as_strided((C, side, side, h, w, B), (c, i, j, 2 * i, 2 * j, b))


def _taps(kernels: Tensor, C: int, M: int) -> Tensor:
    """`[2, 2, M, C, 5, 5]`: where the 5x5 kernel lies in each of the four shifted 6x6 kernels `[4 M, 36 C]`; a view."""
    row, column = kernels.stride()
    strides = (2 * M * row + 6 * column, M * row + column, row, 36 * column, 6 * column, column)
    return kernels.as_strided((2, 2, M, C, 5, 5), strides)


class _Trunk:
    """The two convolution layers for `n` images, with their buffers."""

    def __init__(self, model, shape_C_H_W, n: int, training: bool):
        self.x = model.conv1.weight.new_zeros(*shape_C_H_W, n)
        self.first = _ConvPool(model.conv1, self.x, training)
        self.second = _ConvPool(model.conv2, self.first.out, training)
        self.features_D_N = self.second.out.view(-1, n)

    def forward(self, images_N_C_H_W: Tensor, training: bool = False) -> None:
        self.x[..., : len(images_N_C_H_W)] = images_N_C_H_W.permute(1, 2, 3, 0)
        self.first.forward(training)
        self.second.forward(training)

    def backward(self, features_gradient_D_N: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> None:
        """Overwrites the four gradients."""
        self.second.backward(features_gradient_D_N, weight2, bias2)
        self.second.input_gradient()
        self.first.backward(self.second.x_gradient, weight1, bias1)


_of_thread = threading.local()


def features(model, images_N_C_H_W: Tensor) -> Tensor:
    """`LeNet.features` without gradients, `[N, D]`."""
    shape, weight = images_N_C_H_W.shape[1:], model.conv1.weight
    if getattr(_of_thread, "key", None) != (key := (shape, weight.dtype, weight.shape, model.conv2.weight.shape)):
        with torch.inference_mode(False):  # or the buffers could be used in inference mode only
            n = min(CHUNK, max(16, CHUNK * 28 * 28 // shape.numel()))
            _of_thread.key, _of_thread.trunk = key, _Trunk(model, shape, n, training=False)
    trunk = _of_thread.trunk
    n = trunk.x.shape[-1]
    trunk.first.conv, trunk.second.conv = model.conv1, model.conv2
    features_D_N = weight.new_empty(len(trunk.features_D_N), len(images_N_C_H_W))
    for start in range(0, len(images_N_C_H_W), n):
        part = images_N_C_H_W[start : start + n]
        trunk.forward(part)  # places that the last, short part leaves unused compute something nobody reads
        features_D_N[:, start : start + n] = trunk.features_D_N[:, : len(part)]
    return torch.addmm(model.fc1.bias, features_D_N.t(), model.fc1.weight.t()).relu_()


def sgd_step(model, config) -> Callable:
    """A function `step(images [N, C, H, W], labels [N], masks, lr) -> mean loss` that trains `model` in place.

    Masks are those of `Classifier.draw_masks`, one for each image, or None.
    """
    parameters = list(model.parameters())
    weights = nn.utils.parameters_to_vector(parameters).detach()
    nn.utils.vector_to_parameters(weights, parameters)  # each is now a view: one vector to update
    gradient, velocity, trunks = torch.empty_like(weights), torch.zeros_like(weights), {}
    sizes = [p.numel() for p in parameters]
    gradients = [g.view(p.shape) for g, p in zip(gradient.split(sizes), parameters)]
    layers = [model.fc1, *model.head_layers]
    by_logits: Callable = _categorical if config.loss == "categorical" else partial(_by_autograd, LOSSES[config.loss])
    by_logits = partial(by_logits, reduction=config.reduction)
    options = dict(momentum=config.momentum, weight_decay=config.weight_decay, dampening=0.0, nesterov=False,
                   maximize=False, fused=True)  # fmt: skip

    @torch.no_grad()
    def step(images_N_C_H_W, labels_N, masks, lr=config.lr):
        if (n := len(labels_N)) not in trunks:
            trunks[n] = _Trunk(model, images_N_C_H_W.shape[1:], n, training=True)
        trunk = trunks[n]
        trunk.forward(images_N_C_H_W, training=True)
        loss, features_gradient_D_N = _head(layers, gradients[4:], trunk.features_D_N, labels_N, masks, by_logits)
        trunk.backward(features_gradient_D_N, *gradients[:4])
        if config.clip_norm:
            gradient.mul_((config.clip_norm / (gradient.norm() + 1e-6)).clamp(max=1))  # as torch.nn.utils.clip_grad_norm_

        sgd([weights], [gradient], [velocity], lr=lr, **options)
        return loss

    return step


def _head(layers, gradients, features_D_N: Tensor, labels_N: Tensor, masks, by_logits: Callable) -> tuple[Tensor, Tensor]:
    """The mean loss of the fully connected layers and its gradient by their input; writes that by their parameters."""
    inputs, masks_D_N = [features_D_N], [None, *(mask.t() for mask in masks or ())]
    for i, layer in enumerate(layers):
        out = torch.addmm(layer.bias[:, None], layer.weight, inputs[i])
        if i + 1 < len(layers):
            out.relu_()
            inputs.append(out * masks_D_N[i + 1] if masks else out)
    loss, g = by_logits(out, labels_N)
    for i in reversed(range(len(layers))):
        torch.mm(g, inputs[i].t(), out=gradients[2 * i])
        torch.sum(g, 1, out=gradients[2 * i + 1])
        g = layers[i].weight.t() @ g
        if i:  # dropout's mask is positive where it is not 0, so a positive input has passed both it and ReLU
            g = _relu_gradient(g.mul_(masks_D_N[i]) if masks else g, inputs[i], 0, grad_input=g)
    return loss, g


def _categorical(logits_C_N: Tensor, labels_N: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """The mean of `recipes.categorical`, and the gradient of its mean or sum by the logits."""
    log_probs_C_N = logits_C_N.log_softmax(0)
    loss = -log_probs_C_N.gather(0, labels_N[None]).mean()
    g = log_probs_C_N.exp_()
    g.scatter_add_(0, labels_N[None], g.new_full((1, len(labels_N)), -1.0))
    return loss, g if reduction == "sum" else g.div_(len(labels_N))


def _by_autograd(loss_of: Callable, logits_C_N: Tensor, labels_N: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """The same of any loss."""
    with torch.enable_grad():
        logits_C_N.requires_grad_()
        loss = loss_of(logits_C_N.t(), labels_N, reduction)
        [g] = torch.autograd.grad(loss, logits_C_N)
    return loss.detach() / (len(labels_N) if reduction == "sum" else 1), g
