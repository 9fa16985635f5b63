"""Noise in images: the paper's two kinds (section 3.6), one's own, and images as the network sees them.

A notebook adds a noise with one decorator; its name is then a valid `noise`:

    @al.noise.register
    def fog(images_N_C_H_W, generator):
        return images_N_C_H_W + torch.rand(len(images_N_C_H_W), 1, 1, 1, generator=generator)
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from . import sources
from .config import ExperimentConfig
from .options import check_choice

NoiseFunction = Callable[[Tensor, torch.Generator], Tensor]
PAPER = ("none", "gaussian", "salt_and_pepper")
registry: dict[str, NoiseFunction] = {}


def register(function: NoiseFunction) -> NoiseFunction:
    """Make `function` a noise under its own name.

    It is given images `[N, C, H, W]` in standardised units (mean 0, standard deviation 1 over the training images) and a
    generator, from which all its randomness must come, and returns the noisy images, of the same shape. Which images
    carry noise is none of its business: it is given those alone.
    """
    if function.__name__ in PAPER:
        raise ValueError(f"a noise cannot be called {function.__name__!r}: that is one of {', '.join(PAPER)}. Rename it.")
    registry[function.__name__] = function
    return function


def names() -> list[str]:
    """The known noises."""
    return [*PAPER, *registry]


def check_name(name: str) -> None:
    """Raise a `ValueError` unless there is a noise of this name."""
    check_choice("noise", name, names())


class Noise:
    """Changes a share `p` of the images it is called with, floats `[C, H, W]` or `[N, C, H, W]`; leaves its input as it is.

    Usable as a torchvision transform. What it does to an image stands in `noisy`.
    """

    p: float
    generator: torch.Generator | None

    def noisy(self, images_N_C_H_W: Tensor) -> Tensor:
        """The images with noise in each of them."""
        raise NotImplementedError

    def check(self, images_N_C_H_W: Tensor) -> None:
        """Raise a `ValueError` if the noise breaks its contract on these few images."""

    def __call__(self, images: Tensor) -> Tensor:
        if images.dim() == 3:
            return self(images[None])[0]
        chosen_N = self.draw(torch.rand, (len(images),), images) < self.p
        out = images.clone()
        out[chosen_N] = self.noisy(images[chosen_N])
        return out

    def with_share(self, p: float) -> "Noise":
        """The same noise, in a share `p` of the images."""
        other = copy.copy(self)
        other.p = p
        return other

    def drawn_from(self, generator: torch.Generator) -> "Noise":
        """The same noise, drawn from another generator."""
        other = copy.copy(self)
        other.generator = generator
        return other

    def draw(self, draw: Callable, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Drawn where the generator lives (the CPU as a rule), so that a GPU run has the noise of a CPU run."""
        device = self.generator.device if self.generator else like.device
        return draw(shape, generator=self.generator, device=device).to(like.device)


@dataclass(repr=False)
class AddGaussianNoise(Noise):
    """Add N(mean, std²) to every pixel of a share `p` of the images; usable as a torchvision transform.

    Takes and returns float images `[C, H, W]` or `[N, C, H, W]`; mean and std are in the units of the images (the
    paper: 0 and 1 after standardisation). The input is left as it is.
    """

    mean: float = 0.0
    std: float = 1.0
    p: float = 0.1
    generator: torch.Generator | None = None

    def noisy(self, images_N_C_H_W: Tensor) -> Tensor:
        return images_N_C_H_W + self.mean + self.std * self.draw(torch.randn, images_N_C_H_W.shape, images_N_C_H_W)

    def __repr__(self):
        return f"{type(self).__name__}(mean={self.mean}, std={self.std}, p={self.p})"


@dataclass(repr=False)
class AddSaltAndPepperNoise(Noise):
    """Set a `fraction` of the pixels of a share `p` of the images to extremes; usable as a torchvision transform.

    Of the chosen pixels half become `low` (pepper), half `high` (salt), in all channels at once. `low` and `high` are
    numbers or `[C]` tensors in the units of the images (0 and 1 as `ToTensor` scales them). Takes and returns float
    images `[C, H, W]` or `[N, C, H, W]`; the input is left as it is.
    """

    fraction: float = 0.1
    low: float | Tensor = 0.0
    high: float | Tensor = 1.0
    p: float = 0.1
    generator: torch.Generator | None = None

    def noisy(self, images_N_C_H_W: Tensor) -> Tensor:
        N, C, H, W = images_N_C_H_W.shape
        rank_N_1_H_W = self.draw(torch.rand, (N, H * W), images_N_C_H_W).argsort(1).argsort(1).view(N, 1, H, W)
        n_changed = round(self.fraction * H * W)
        low, high = (torch.as_tensor(v).to(images_N_C_H_W).view(-1, 1, 1) for v in (self.low, self.high))
        peppered = torch.where(rank_N_1_H_W < n_changed // 2, low, images_N_C_H_W)
        return torch.where((rank_N_1_H_W >= n_changed // 2) & (rank_N_1_H_W < n_changed), high, peppered)

    def __repr__(self):
        return f"{type(self).__name__}(fraction={self.fraction}, low={self.low}, high={self.high}, p={self.p})"


@dataclass
class OwnNoise(Noise):
    """A registered function as a noise.

    Raises:
        ValueError: it returns something else than finite images of the same shape.
    """

    function: NoiseFunction
    generator: torch.Generator
    p: float = 1.0

    def noisy(self, images_N_C_H_W: Tensor) -> Tensor:
        if not len(images_N_C_H_W):  # a batch in which none is noisy
            return images_N_C_H_W
        name = self.function.__name__
        with sources.named(f"noise={name!r}"):
            noisy = self.function(images_N_C_H_W.clone(), self.generator)
        if not isinstance(noisy, Tensor) or noisy.shape != images_N_C_H_W.shape:
            found = f"shape {list(noisy.shape)}" if isinstance(noisy, Tensor) else f"type {type(noisy).__name__}"
            raise ValueError(f"noise={name!r} returned {found}, but must return a tensor {list(images_N_C_H_W.shape)}.")
        noisy = noisy.detach().to(images_N_C_H_W)
        if not bool(noisy.isfinite().all()):
            raise ValueError(f"noise={name!r} returned pixels that are NaN or infinite: it must return finite numbers.")
        return noisy

    def check(self, images_N_C_H_W: Tensor) -> None:
        """It must return the same images from the same generator."""
        device = self.generator.device if self.generator else "cpu"
        first, second = (self.drawn_from(torch.Generator(device).manual_seed(0)).noisy(images_N_C_H_W) for _ in range(2))
        if not torch.equal(first, second):
            raise ValueError(
                f"noise={self.function.__name__!r} is not deterministic: it gave different images from the same generator. "
                "Take all randomness from its argument `generator`."
            )


def make_noise(config: ExperimentConfig, mean_C: Tensor, std_C: Tensor, generator: torch.Generator) -> Noise | None:
    """The noise of a configuration, in standardised units; None without noise."""
    if config.noise == "none":
        return None
    if config.noise == "gaussian":
        return AddGaussianNoise(mean=0.0, std=1.0, generator=generator)
    if config.noise == "salt_and_pepper":
        mean_grey = config.salt_and_pepper == "mean"
        low, high = (0.0, 0.0) if mean_grey else ((0 - mean_C) / std_C, (1 - mean_C) / std_C)
        return AddSaltAndPepperNoise(fraction=0.1, low=low, high=high, generator=generator)
    check_name(config.noise)
    return OwnNoise(registry[config.noise], generator=generator)


def draw_jitter(config: ExperimentConfig, shape: torch.Size, generator: torch.Generator) -> Tensor | None:
    """What tells the copies in the pool apart, in standardised units; None without copies. In half the memory of floats."""
    if config.pool_repeats == 1 or config.pool_jitter == 0:
        return None
    jitter = torch.randn(shape, generator=generator, dtype=torch.float16)
    return jitter.mul_(config.pool_jitter).to(config.device)


class Images:
    """Images as the network sees them: `images[index]` is a standardised float batch `[n, C, H, W]`, noise included.

    Pixels stay uint8 `[N, C, H, W]`, a quarter of the memory. With `redraw=False` exactly `rate` of the images carry
    noise, drawn once, here; `noisy_N` says which. With `redraw=True` each access draws anew, so `noisy_N` is all False.

    Args:
        pixels_N_C_H_W: uint8; mean_C, std_C: of the pixels scaled to [0, 1].
        noise: what a noisy image gets; the share of noisy images is `rate`, whatever its own `p`.
        jitter_N_C_H_W: added to the standardised images before any noise.
    """

    def __init__(
        self, pixels_N_C_H_W: Tensor, mean_C: Tensor, std_C: Tensor, noise: Noise | None = None, rate: float = 0.0,
        redraw: bool = False, jitter_N_C_H_W: Tensor | None = None,
    ):  # fmt: skip
        device = pixels_N_C_H_W.device
        self.pixels, self.jitter = pixels_N_C_H_W, jitter_N_C_H_W
        self._scale, self._shift = (1 / (255 * std_C)).view(-1, 1, 1).to(device), (-mean_C / std_C).view(-1, 1, 1).to(device)
        self.has_noise = noise is not None and rate > 0
        self.each_access: Noise | None = None  # noise that is drawn at each access
        self.noisy_N = torch.zeros(len(self), dtype=torch.bool, device=device)  # which images have noise that is drawn once
        self._noisy_images = self._clean(slice(0, 0))  # those images
        self._row_N = torch.zeros(len(self), dtype=torch.long, device=device)  # where an image stands among them
        if noise is None or rate == 0:
            return
        noise.check(self._clean(slice(0, 4)))
        if redraw:
            self.each_access = noise.with_share(rate)
        else:
            chosen = torch.randperm(len(self), generator=noise.generator)[: round(rate * len(self))].sort().values.to(device)
            self.noisy_N[chosen] = True
            self._noisy_images = noise.with_share(1.0)(self._clean(chosen))
            self._row_N = self.noisy_N.cumsum(0) - 1

    def __len__(self):
        return len(self.pixels)

    @property
    def shape(self) -> torch.Size:
        """`[N, C, H, W]`."""
        return self.pixels.shape

    def _clean(self, index: Tensor | slice | list[int]) -> Tensor:
        batch = self.pixels[index].float().mul_(self._scale).add_(self._shift)
        return batch if self.jitter is None else batch.add_(self.jitter[index])

    def __getitem__(self, index: Tensor | slice | list[int]) -> Tensor:
        batch = self._clean(index)
        if self.each_access:
            return self.each_access(batch)
        if len(self._noisy_images):
            noisy = self.noisy_N[index]
            batch[noisy] = self._noisy_images[self._row_N[index][noisy]]
        return batch

    def image(self, number: int) -> Tensor:
        """One of them, `[C, H, W]`, to be looked at: with noise that is redrawn at each access, always the same draw."""
        return self.redrawn(torch.Generator(self.pixels.device).manual_seed(number))[number : number + 1][0]

    def redrawn(self, generator: torch.Generator) -> "Images":
        """These images with noise that is redrawn at each access coming from `generator`; fixed noise stays."""
        if not self.each_access:
            return self
        other = copy.copy(self)
        other.each_access = self.each_access.drawn_from(generator)
        return other

    def take(self, index: Tensor):
        """The images at `index`, ready to be indexed again: a float tensor where the noise is fixed, a view where it is not."""
        if not self.each_access:
            return self[index]
        other = copy.copy(self)
        other.pixels, other.noisy_N, other._row_N = self.pixels[index], self.noisy_N[index], self._row_N[index]
        other.jitter = None if self.jitter is None else self.jitter[index]
        return other
