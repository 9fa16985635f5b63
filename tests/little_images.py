"""Folders of little images, as a test wants them."""

from pathlib import Path

import numpy as np
from PIL import Image

from al_utils.datasets import load_dataset


def load(folder, **options):
    return load_dataset(f"folder:{folder}", **options)


def picture(seed=0, size=(20, 20), mode="L") -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], *([3] if mode == "RGB" else [])), dtype=np.uint8))


def fill(folder: Path, n=10, first=0, **options) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + n):
        picture([*folder.name.encode(), i], **options).save(folder / f"{i:03d}.png")
    return folder
