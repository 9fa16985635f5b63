"""What an image is called wherever it stands: the name of its file and a hash of its content."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from .data import folders
from .datasets import Dataset


class ImageKey(NamedTuple):
    """Tells an image from all others: its file's name, and a hash of its content."""

    file: str
    digest: str


class ImageKeys:
    """The keys of images by their number; an image is read only when its hash is asked for.

    Args:
        files: a name for each image.
        content: the bytes of an image, by its number.
    """

    def __init__(self, files: Sequence[str], content: Callable[[int], bytes]):
        self.files, self._content = list(files), content
        self._digests: dict[int, str] = {}

    def digest(self, image: int) -> str:
        """16 hexadecimal digits of the content's SHA-256."""
        if image not in self._digests:
            self._digests[image] = hashlib.sha256(self._content(image)).hexdigest()[:16]
        return self._digests[image]

    def __call__(self, image: int) -> ImageKey:
        return ImageKey(self.files[image], self.digest(image))


def keys_of_files(files: Sequence[Path], folder: Path) -> ImageKeys:
    """The keys of image files: their names begin below `folder`."""
    return ImageKeys([path.relative_to(folder).as_posix() for path in files], lambda image: files[image].read_bytes())


def keys_of_dataset(dataset: Dataset, source: Path | None = None) -> ImageKeys:
    """The keys of the training images; those of a data set that is no folder are called by its name and their number.

    Args:
        source: where the files really are, if the data set is a folder of links: their names begin there.

    Raises:
        DatasetError: the folder has changed since the data set was read.
    """
    n = len(dataset.train_images)
    if not dataset.name.startswith("folder:"):
        return ImageKeys([f"{dataset.name} {i}" for i in range(n)], lambda i: dataset.train_images[i].numpy().tobytes())
    folder = folders.find(dataset.name)
    files = folders.training_files(folder)
    if len(files) != n:
        raise folders.DatasetError(f"{dataset.name!r} has changed since it was read: run the notebook from its beginning.")
    if source:  # one step along the links: what they lead to may be a link of the user's
        files, folder = [folder / path.readlink() for path in files], source.absolute()
        folder = folder if all(path.is_relative_to(folder) for path in files) else source.resolve()
    return keys_of_files(files, folder)
