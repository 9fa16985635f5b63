"""The paper's two kinds of image noise (section 3.6), and images as the network sees them: standardised, then noisy."""

import copy

import torch
from torch import Tensor

from .options import check_choice


def names() -> list[str]:
    """The known noises."""
    return ["none", "gaussian", "salt_and_pepper"]


def check_name(name: str) -> None:
    """Raise a `ValueError` unless there is a noise of this name."""
    check_choice("noise", name, names())


class AddGaussianNoise:
    """Add N(mean, std²) to every pixel of a share `p` of the images; usable as a torchvision transform.

    Takes and returns float images `[C, H, W]` or `[N, C, H, W]`; mean and std are in the units of the images (the
    paper: 0 and 1 after standardisation). The input is left as it is.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0, p: float = 0.1, generator: torch.Generator | None = None):
        self.mean, self.std, self.p, self.generator = mean, std, p, generator

    def __call__(self, images: Tensor) -> Tensor:
        return _apply(self._noisy, images, self.p, self.generator)

    def _noisy(self, images_N_C_H_W):
        return images_N_C_H_W + self.mean + self.std * _draw(torch.randn, images_N_C_H_W.shape, images_N_C_H_W, self.generator)

    def __repr__(self):
        return f"{type(self).__name__}(mean={self.mean}, std={self.std}, p={self.p})"


class AddSaltAndPepperNoise:
    """Set a `fraction` of the pixels of a share `p` of the images to extremes; usable as a torchvision transform.

    Of the chosen pixels half become `low` (pepper), half `high` (salt), in all channels at once. `low` and `high` are
    numbers or `[C]` tensors in the units of the images (0 and 1 as `ToTensor` scales them). Takes and returns float
    images `[C, H, W]` or `[N, C, H, W]`; the input is left as it is.
    """

    def __init__(self, fraction: float = 0.1, low=0.0, high=1.0, p: float = 0.1, generator: torch.Generator | None = None):
        self.fraction, self.low, self.high, self.p, self.generator = fraction, low, high, p, generator

    def __call__(self, images: Tensor) -> Tensor:
        return _apply(self._noisy, images, self.p, self.generator)

    def _noisy(self, images_N_C_H_W):
        N, C, H, W = images_N_C_H_W.shape
        rank_N_1_H_W = _draw(torch.rand, (N, H * W), images_N_C_H_W, self.generator).argsort(1).argsort(1).view(N, 1, H, W)
        n_changed = round(self.fraction * H * W)
        low, high = (torch.as_tensor(v).to(images_N_C_H_W).view(-1, 1, 1) for v in (self.low, self.high))
        peppered = torch.where(rank_N_1_H_W < n_changed // 2, low, images_N_C_H_W)
        return torch.where((rank_N_1_H_W >= n_changed // 2) & (rank_N_1_H_W < n_changed), high, peppered)

    def __repr__(self):
        return f"{type(self).__name__}(fraction={self.fraction}, low={self.low}, high={self.high}, p={self.p})"


def _apply(noisy, images, p, generator):
    if images.dim() == 3:
        return _apply(noisy, images[None], p, generator)[0]
    chosen_N = _draw(torch.rand, (len(images),), images, generator) < p
    out = images.clone()
    out[chosen_N] = noisy(images[chosen_N])
    return out


def _draw(draw, shape, like, generator):
    # Drawn where the generator lives (the CPU as a rule), so that a GPU run has the noise of a CPU run.
    return draw(shape, generator=generator, device=generator.device if generator else like.device).to(like.device)


class Images:
    """Images as the network sees them: `images[index]` is a standardised float batch `[n, C, H, W]`, noise included.

    Pixels stay uint8 `[N, C, H, W]`, a quarter of the memory. With `redraw=False` exactly `rate` of the images carry
    noise, drawn once, here; `noisy_N` says which. With `redraw=True` each access draws anew, so `noisy_N` is all False.

    Args:
        pixels_N_C_H_W: uint8; mean_C, std_C: of the pixels scaled to [0, 1]; noise: one of the classes above.
    """

    def __init__(
        self, pixels_N_C_H_W: Tensor, mean_C: Tensor, std_C: Tensor, noise=None, rate: float = 0.0, redraw: bool = False
    ):
        self.pixels, device = pixels_N_C_H_W, pixels_N_C_H_W.device
        self._scale, self._shift = (1 / (255 * std_C)).view(-1, 1, 1).to(device), (-mean_C / std_C).view(-1, 1, 1).to(device)
        self.noisy_N = torch.zeros(len(pixels_N_C_H_W), dtype=torch.bool, device=device)
        self.noise = None
        if noise is None or rate == 0:
            return
        self.noise = copy.copy(noise)
        self.noise.p = rate if redraw else 1.0
        self._redraw = redraw
        if not redraw:
            chosen = torch.randperm(len(self), generator=noise.generator)[: round(rate * len(self))].sort().values.to(device)
            self._noisy_images = self.noise(self._standardised(chosen))
            self.noisy_N[chosen] = True
            self._row_N = self.noisy_N.cumsum(0) - 1

    def __len__(self):
        return len(self.pixels)

    def _standardised(self, index):
        return self.pixels[index].float().mul_(self._scale).add_(self._shift)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        batch = self._standardised(index)
        if self.noise is None:
            return batch
        if self._redraw:
            return self.noise(batch)
        noisy = self.noisy_N[index]
        batch[noisy] = self._noisy_images[self._row_N[index][noisy]]
        return batch

    def redrawn(self, generator: torch.Generator) -> "Images":
        """These images with noise that is redrawn at each access coming from `generator`; fixed noise stays."""
        if self.noise is None or not self._redraw:
            return self
        other = copy.copy(self)
        other.noise = copy.copy(self.noise)
        other.noise.generator = generator
        return other

    def take(self, index: Tensor):
        """The images at `index`, ready to be indexed again: a float tensor where the noise is fixed, a view where it is not."""
        if self.noise is None or not self._redraw:
            return self[index]
        other = copy.copy(self)
        other.pixels, other.noisy_N = self.pixels[index], self.noisy_N[index]
        return other
