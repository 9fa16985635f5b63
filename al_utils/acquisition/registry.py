"""The registry of acquisition functions: what they may ask for, and what they return."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import sources
from ..options import check_choice, check_names

# What a function may name as an argument, with N images in the pool, L labelled ones, K samples, C classes, D features.
ARGUMENTS = {
    "log_probs_K_N_C": "log-probabilities of the pool's images under the posterior samples",
    "embeddings_N_D": "the input of the network's last layer for the pool's images, without dropout",
    "labelled_embeddings_L_D": "the same for the labelled images",
    "labels_L": "the classes of the labelled images",
    "model": "the trained network",
    "n_classes": "how many classes there are",
    "n_query": "how many images are asked for",
    "generator": "a source of randomness that depends on seed and round alone",
}


@dataclass(frozen=True)
class Acquisition:
    """A registered function, and what it is called with."""

    function: Callable
    asks: tuple[str, ...]  # of ARGUMENTS
    predicts: bool  # False: it needs no predictions and is called with K = 0
    batch: bool  # it returns a batch instead of scores
    listed: bool  # False: not among `names`, because it is wrong on purpose
    samples: bool  # it measures how several posterior samples disagree
    whole_pool: bool = False  # a score depends on more than its own image
    note: str = ""  # said of each round that it queries

    @property
    def image_by_image(self) -> bool:
        """Whether it scores each image from that image's predictions alone, so that the pool may come in chunks.

        Somebody's function that draws may draw others for parts of the pool than for the whole: it gets the whole.
        """
        by_itself = {"log_probs_K_N_C"} <= set(self.asks) <= {"log_probs_K_N_C", "generator"}
        draws = "generator" in self.asks and not sources.is_ours(self.function)
        return by_itself and not (self.batch or self.whole_pool or draws)

    def __call__(self, **given):
        """What the function returns. Raises: ValueError: it failed, and is not one of ours."""
        if sources.is_ours(self.function):
            return self.function(**given)
        with sources.named(f"strategy={self.function.__name__!r}"):
            return self.function(**given)


_registry: dict[str, Acquisition] = {}


def register(
    function: Callable | None = None, *, predicts: bool = True, batch: bool = False, listed: bool = True, samples: bool = False,
    whole_pool: bool = False, note: str = "",
) -> Callable:  # fmt: skip
    """Make `function` a strategy under its own name. It is given what its arguments name, see `ARGUMENTS`, and nothing else.

    It returns one finite score an image of the pool, `[N]`, the largest of which are queried. A function of `log_probs_K_N_C`
    alone may see the pool in chunks, so there a score must depend on its own image only.

    Args:
        predicts: False if it looks at no predictions; `log_probs_K_N_C` then has the shape `[0, N, 0]`.
        batch: True if it chooses a batch together: it returns `n_query` positions in the pool and their scores.
        listed: False keeps it out of lists of strategies; it can be chosen all the same.
        samples: True if it measures how the posterior samples disagree: a configuration without several is refused.
        whole_pool: True if a score depends on other images too, so that the pool must not come in chunks.
        note: what each round that it queries is to say, such as that it looked at a part of the pool.

    Raises:
        ValueError: an argument that is not known, or the name of a strategy that came with the project.
    """
    options: dict[str, Any] = dict(
        predicts=predicts, batch=batch, listed=listed, samples=samples, whole_pool=whole_pool, note=note
    )  # fmt: skip
    if function is None:
        return lambda function: register(function, **options)
    asked = inspect.signature(function).parameters.values()
    needed = [p.name for p in asked if p.name in ARGUMENTS or p.default is p.empty]
    check_names(needed, ARGUMENTS)
    name = function.__name__
    sources.check_name_free("strategy", name, _registry[name].function if name in _registry else None, function)
    _registry[name] = Acquisition(function, tuple(needed), **options)
    return function


def names() -> list[str]:
    """The known strategies."""
    return [name for name, strategy in _registry.items() if strategy.listed]


def get(name: str, posterior: str = "mc_dropout") -> Acquisition:
    """The strategy of this name, under `posterior="as_released"` as the paper's public code computes it."""
    if name not in _registry:
        check_choice("strategy", name, names())
    released = f"{name}_as_released"
    return _registry[released if posterior == "as_released" and released in _registry else name]
