"""A user's own images: a folder for each class."""

import os
from pathlib import Path

import numpy as np

from .config import ROOT

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
MODES = {"1": "L", "L": "L", "LA": "L"} | dict.fromkeys(("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"), "RGB")
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
    """The images below a folder; a part of it that cannot be read is an error: its images would silently be missing."""

    def refuse(error):
        if not isinstance(error, FileNotFoundError):
            raise DatasetError(f"{error.filename} cannot be read ({error.strerror}): change its permissions, or remove it.")

    paths = (Path(parent, name) for parent, _, names in os.walk(folder, onerror=refuse) for name in names)
    images = sorted(path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    for path in images:
        if not str(path).isascii() and any("\ud800" <= letter <= "\udfff" for letter in str(path)):
            raise DatasetError(f"{ascii(str(path))} has a name that is not UTF-8: rename it.")
    return images


def _by_class(folder: Path) -> dict[str, list[Path]]:
    """The images of each class; folders that systems make (.ipynb_checkpoints, __MACOSX) are none."""
    found = {d.name: image_files(d) for d in sorted(folder.iterdir()) if d.is_dir() and not d.name.startswith((".", "__"))}
    for name, files in found.items():
        if not files:
            raise DatasetError(
                f"{folder / name} has no images ({', '.join(sorted(IMAGE_SUFFIXES))}). Convert what is in it, or remove it."
            )
    return found


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
    parts = [part for part in (folder / "train", folder / "test") if part.is_dir()]
    if len(parts) == 1:
        raise DatasetError(f"{folder} has {parts[0].name}/ alone. Give it train/<class>/ and test/<class>/, or only <class>/.")
    parts = parts or [folder]
    found = [_by_class(part) for part in parts]
    unlabelled = found[0].pop(UNLABELLED, []) if len(parts) == 1 else _unlabelled(folder)
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


def _unlabelled(folder: Path) -> list[Path]:
    return image_files(folder / UNLABELLED) if (folder / UNLABELLED).is_dir() else []


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
            if image.mode not in MODES:  # 16 bits and floats: Pillow would cut them off at 255
                raise ValueError(f"its pixels are of the kind {image.mode}, not of 8 bits: convert it")
            return np.asarray(image.convert(MODES[image.mode])), image.size

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
