"""Acquisition functions: pure functions from what a round knows to the images to label next, and their registry.

A notebook adds its own with one decorator; its name is then a valid `strategy`:

    @al.acquisition.register
    def least_confident_sample(log_probs_K_N_C):
        return 1 - log_probs_K_N_C.exp().amax(-1).amin(0)
"""

from .information import batch_bald, epig, power_bald, softmax_bald
from .picking import top
from .registry import ARGUMENTS, Acquisition, get, names, register
from .scores import (
    bald,
    bald_as_released,
    bald_flipped,
    entropy,
    least_confidence,
    margin,
    max_entropy,
    mean_std,
    random,
    variation_ratios,
)
from .spread import badge, core_set, lcmd
from .typical import prob_cover, typiclust

__all__ = [
    "ARGUMENTS", "Acquisition", "get", "names", "register", "top", "entropy",
    "random", "max_entropy", "bald", "variation_ratios", "mean_std", "margin", "least_confidence", "bald_flipped",
    "bald_as_released", "batch_bald", "power_bald", "softmax_bald", "epig", "core_set", "lcmd", "badge", "typiclust",
    "prob_cover",
]  # fmt: skip
