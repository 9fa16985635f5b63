"""Image files as arrays: first their sizes and colours are read, then all are decoded into one array."""

import contextlib
from collections import Counter
from pathlib import Path

import numpy as np

from .folders import DatasetError

# Pillow's formats that are images. Left to itself it would also hand PostScript to Ghostscript, which runs programs.
FORMATS = ("PNG", "JPEG", "JPEG2000", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "PPM", "SGI", "SUN", "QOI")
MODES = dict.fromkeys(("1", "L", "LA", "La"), "L") | dict.fromkeys(
    ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"), "RGB"
)
MAX_PIXELS = 4096 * 4096  # of one image; a decompression bomb has more
MAX_PHOTO = 80_000_000  # of one that is scaled down
ORIENTATION = 0x0112  # the EXIF tag; from 5 on, width and height change places


def decode(parts: list[list[Path]], folder: Path, image_size: int = 0) -> tuple[list[np.ndarray], Counter[str]]:
    """uint8 `[N, C, H, W]` of each part, grey (C = 1) if all images are, else RGB; and what was done to how many of them.

    Photographs are turned upright, transparency is laid on white. With an `image_size` each image is scaled and cropped
    to its centre, a square of so many pixels.

    Raises:
        DatasetError: an image is unreadable, not of 8 bits, an animation or a stack; several sizes without `image_size`.
    """
    kinds = [(path, *kind(path, folder, image_size)) for part in parts for path in part]
    n_channels = 3 if any(mode == "RGB" for _, _, mode in kinds) else 1
    width, height = (image_size, image_size) if image_size else _one_size([(path, size) for path, size, _ in kinds], folder)
    done: Counter[str] = Counter()
    arrays = []
    for part in parts:
        arrays.append(np.empty((len(part), n_channels, height, width), np.uint8))
        for place, path in zip(arrays[-1], part):
            pixels = _read(path, folder, read, image_size, done)
            if pixels.shape[:2] != (height, width):
                raise DatasetError(f"{path.relative_to(folder)} changed while it was read. Start again.")
            place[:] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return arrays, done


def check_one_size(paths: list[Path], folder: Path) -> None:
    """Raise a `DatasetError` unless all images can be used as they are, together."""
    _one_size([(path, kind(path, folder)[0]) for path in paths], folder)


def kind(path: Path, folder: Path, image_size: int = 0) -> tuple[tuple[int, int], str]:
    """Width and height of an image when it is upright, and L or RGB. Raises: DatasetError: it cannot be used."""
    return _read(path, folder, _look, image_size)


def read(path: Path, image_size: int, done: Counter[str]) -> np.ndarray:
    """The `pixels` of a file."""
    with _opened(path) as image:
        done["JPEG files with further pictures, of which the first was taken"] += image.format == "MPO"
        return pixels(image, image_size, done)


def pixels(image, image_size: int = 0, done: Counter[str] | None = None) -> np.ndarray:
    """A PIL image as uint8 `[H, W]` or `[H, W, 3]`, upright and opaque; `done` counts what was done to it."""
    from PIL import Image, ImageOps

    done = Counter() if done is None else done
    mode = MODES[image.mode]
    done["images turned upright, as their EXIF says"] += image.getexif().get(ORIENTATION, 1) != 1
    image = ImageOps.exif_transpose(image)
    image = image.convert("LA") if image.mode == "La" else image  # Pillow converts it to nothing else
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        if layer.getchannel("A").getextrema()[0] < 255:
            image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
            done["images with transparency, laid on white"] += 1
    image = image.convert(mode)
    if image_size and image.size != (image_size, image_size):
        image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BICUBIC)
        done[f"images scaled and cropped to {image_size}x{image_size} pixels"] += 1
    return np.asarray(image)


@contextlib.contextmanager
def _opened(path: Path):
    from PIL import Image, UnidentifiedImageError

    # As a stream: what Pillow opens by name it may map into memory, and a turned grey TIFF comes out garbled then.
    with open(path, "rb") as file:
        try:
            image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError:
            raise ValueError(f"cannot identify image file: none of {', '.join(FORMATS)}") from None
        with image:
            yield image


def _look(path: Path, image_size: int) -> tuple[tuple[int, int], str]:
    """See `kind`; a `ValueError` says why an image cannot be used."""
    with _opened(path) as image:
        limit, hint = (MAX_PHOTO, "") if image_size else (MAX_PIXELS, ", or set image_size")
        if image.width * image.height > limit:
            raise ValueError(f"{image.width}x{image.height} pixels are more than {limit:,}: scale it down{hint}")
        if image.mode not in MODES:  # 16 bits and floats: Pillow would cut them off at 255
            raise ValueError(f"its pixels are of the kind {image.mode}, not of 8 bits: convert it")
        if any(_is_deep(tile, image.format) for tile in image.tile):  # of colours Pillow keeps the upper 8 bits
            raise ValueError("its pixels have 16 bits a channel, not 8: convert it")
        if image.format != "MPO" and (n_frames := getattr(image, "n_frames", 1)) > 1:
            raise ValueError(f"an animation or a stack of {n_frames} images: save the one that is meant")
        width, height = image.size
        # Asked only where it matters: of a PNG file it is known after decoding. Pillow turns the size of TIFF itself.
        if width != height and image.format != "TIFF" and image.getexif().get(ORIENTATION, 1) >= 5:
            width, height = height, width
        return (width, height), MODES[image.mode]


def _is_deep(tile, kind: str) -> bool:
    """Whether a part of a file, as Pillow describes it, has 16 bits a channel; `BGR;16` has 16 for all three."""
    arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
    raw = str(arguments[0])
    return (";16" in raw and raw != "BGR;16") or (kind == "PPM" and arguments[-1] == 65535)


def _read(path: Path, folder: Path, how, *arguments):
    try:
        return how(path, *arguments)
    except Exception as error:  # Pillow raises many kinds
        said = " ".join(str(error).split())
        raise DatasetError(f"{path.relative_to(folder)} cannot be used ({said}). Repair or remove it.") from None


def _one_size(found: list[tuple[Path, tuple[int, int]]], folder: Path) -> tuple[int, int]:
    """The width and height that all have."""
    first = found[0][1]
    odd = [(path.relative_to(folder), size) for path, size in found if size != first]
    if odd:
        (path, size), smallest = odd[0], min(min(size) for _, size in found)
        also = "" if len(odd) == 1 else f" So have {', '.join(str(p) for p, _ in odd[1:4])}"
        also += f" and {len(odd) - 4} more." if len(odd) > 4 else "." if also else ""
        raise DatasetError(
            f"{path} cannot be used ({size[0]}x{size[1]} pixels, but the first image has {first[0]}x{first[1]}: resize all to "
            f"one size, or set image_size, {smallest} say, to have all scaled and cropped).{also}"
        )
    return first
