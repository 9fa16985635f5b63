"""A step of training by gradient descent, for any network: as PyTorch launches it, and as CUDA graphs."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..compute.graphs import Replayed
from ..config import ExperimentConfig
from .classifier import Classifier
from .recipes import LOSSES

Step = Callable[..., Tensor]


def replayed_step(model: Classifier, config: ExperimentConfig, record: Callable | None = None) -> Step:
    """The same as `gradient_step`, as CUDA graphs; `record` as in `graphs.Replayed`."""
    optimizer = _optimizer(model, config)
    state = [*model.parameters(), *model.buffers(), *_allocated(optimizer)]
    one = gradient_step(model, config, optimizer)
    lr_here = torch.tensor(config.lr, device=state[0].device)  # a recorded number could not change
    replayed = Replayed(lambda images, labels, *masks: one(images, labels, masks or None, lr_here), state, record)

    def step(images_N_C_H_W, labels_N, masks, lr=config.lr):
        lr_here.fill_(lr)
        return replayed(images_N_C_H_W, labels_N, *(masks or ()))

    return step


def _optimizer(model: Classifier, config: ExperimentConfig) -> torch.optim.Optimizer:
    trained = [p for p in model.parameters() if p.requires_grad]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            trained, lr=config.lr, weight_decay=config.weight_decay, fused=True, capturable=trained[0].is_cuda
        )
    return torch.optim.SGD(trained, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True)


@torch.no_grad()
def _allocated(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """What the optimizer remembers from step to step, allocated now, and zero as before the first step."""
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    before = [p.clone() for p in trained]
    for p in trained:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    optimizer.zero_grad()
    for p, old in zip(trained, before):
        p.copy_(old)
    remembered = [v for of_one in optimizer.state.values() for v in of_one.values() if isinstance(v, Tensor)]
    for values in remembered:
        values.zero_()
    return remembered


def gradient_step(model: Classifier, config: ExperimentConfig, optimizer: torch.optim.Optimizer | None = None) -> Step:
    """A function `step(images, labels, masks, lr) -> mean loss` that trains `model` in place."""
    optimizer = optimizer or _optimizer(model, config)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    loss_of = LOSSES[config.loss]

    def step(images_N_C_H_W, labels_N, masks, lr=config.lr):
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss = loss_of(model.head(model.features(images_N_C_H_W), masks), labels_N, config.reduction)
        optimizer.zero_grad()
        loss.backward()
        if config.clip_norm:
            torch.nn.utils.clip_grad_norm_(trained, config.clip_norm)
        optimizer.step()
        return loss.detach() / len(labels_N) if config.reduction == "sum" else loss.detach()

    return step
