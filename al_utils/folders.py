"""A user's own images: a folder for each class."""

from pathlib import Path

import numpy as np

from .config import ROOT

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
UNLABELLED = "unlabelled"  # the folder of images whose class is not known
MAX_PIXELS = 4096 * 4096  # of one image; a decompression bomb has more


class DatasetError(ValueError):
    """A data set that cannot be read; the message says what is wrong with it and what to do."""


def find(name: str) -> Path:
    """The folder in `folder:PATH`; a relative path starts at the repository's root."""
    folder = Path(name.removeprefix("folder:")).expanduser()
    folder = folder if folder.is_absolute() else ROOT / folder
    if not folder.is_dir():
        raise DatasetError(f"{name!r}: there is no folder {folder}. Give the path of a folder with <class>/<image> in it.")
    return folder


def image_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def listing(folder: Path) -> str:
    """What the decoded images depend on: a changed, added or deleted file gives another text, so another cache."""
    stats = [(path, path.stat()) for path in image_files(folder)]
    return f"{folder.resolve()}\n" + "\n".join(f"{p.relative_to(folder)} {s.st_size} {s.st_mtime_ns}" for p, s in stats)


def decode(folder: Path) -> tuple:
    """The class names, then images (uint8 `[N, C, H, W]`) and labels for training, then for the test.

    Reads `train/<class>/*` and `test/<class>/*`; or only `<class>/*`, of which every fifth image becomes a test image.
    Images in `unlabelled/` are training images of class -1, for an oracle to label.

    Raises:
        DatasetError: fewer than two classes, different ones in train and test, images unreadable or of several sizes.
    """
    parts = [folder / "train", folder / "test"] if (folder / "train").is_dir() and (folder / "test").is_dir() else [folder]
    found = [{d.name: image_files(d) for d in sorted(part.iterdir()) if d.is_dir() and image_files(d)} for part in parts]
    unlabelled = found[0].pop(UNLABELLED, []) if len(parts) == 1 else image_files(folder / UNLABELLED)
    classes = sorted(found[0])
    if len(classes) < 2:
        raise DatasetError(
            f"{parts[0]} has {len(classes)} folders with images, but at least 2 classes are needed. "
            "Put the images of each class into a folder of its own: <class>/<image>."
        )
    if len(found) == 2:
        if sorted(found[1]) != classes:
            odd = sorted(set(found[1]) ^ set(classes))
            raise DatasetError(f"{folder}: train/ and test/ must have the same classes, but differ in {', '.join(odd)}.")
    else:
        every = found[0]
        found = [{c: [p for i, p in enumerate(every[c]) if i % 5 != 4] for c in classes}, {c: every[c][4::5] for c in classes}]
        short = [c for c in classes if not found[1][c]]
        if short:
            raise DatasetError(
                f"{folder / short[0]} has {len(every[short[0]])} images, but at least 5 are needed to set one aside as a test."
            )

    paths = [[p for c in classes for p in part[c]] for part in found]
    pixels = _pixels([paths[0] + unlabelled, paths[1]], folder)
    labels = [np.repeat(np.arange(len(classes)), [len(part[c]) for c in classes]) for part in found]
    labels[0] = np.concatenate([labels[0], np.full(len(unlabelled), -1)])
    return classes, pixels[0], labels[0], pixels[1], labels[1]


def _pixels(parts: list[list[Path]], folder: Path) -> list[np.ndarray]:
    """uint8 `[N, C, H, W]` of each part; grey (C = 1) if all images are, else RGB."""
    from PIL import Image

    def read(path, first_size):
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels are more than {MAX_PIXELS:,}: scale it down")
            if first_size and image.size != first_size:
                raise ValueError(
                    "{}x{} pixels, but the first image has {}x{}: resize all to one size".format(*image.size, *first_size)
                )
            return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")), image.size

    decoded, size = [], None
    for path in (path for part in parts for path in part):
        try:
            image, size = read(path, size)
        except Exception as error:  # Pillow raises many kinds
            raise DatasetError(f"{path.relative_to(folder)} cannot be used ({error}). Repair or remove it.") from None
        decoded.append(image)
    if any(image.ndim == 3 for image in decoded):
        decoded = [image if image.ndim == 3 else np.repeat(image[..., None], 3, -1) for image in decoded]
    else:
        decoded = [image[..., None] for image in decoded]
    stacked = np.stack(decoded).transpose(0, 3, 1, 2)
    n_first = len(parts[0])
    return [np.ascontiguousarray(stacked[:n_first]), np.ascontiguousarray(stacked[n_first:])]
