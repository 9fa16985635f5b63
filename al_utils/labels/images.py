"""The images that labels are of, by name; and a folder for each class, made of them."""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from ..data import folders
from ..datasets import load_dataset
from ..image_keys import ImageKeys, keys_of_dataset, keys_of_files
from ..person import Answer
from .tables import LabelsError


class NamedImages:
    """The images of a data set by name: all files below `folder:PATH`, or the training images of a named data set.

    Raises:
        LabelsError: no data set is named; folders.DatasetError: there is none of this name.
    """

    def __init__(self, images: str):
        if not images:
            raise LabelsError("it is not known where the images are: say --images folder:PATH, or the data set's name.")
        self._files: list[Path] = []
        self.class_names: list[str] = []  # of a named data set; a folder's are what its user calls them
        if images.startswith("folder:"):
            folder = folders.find(images)
            self._files = folders.image_files(folder)
            self.keys: ImageKeys = keys_of_files(self._files, folder)
        else:
            self._dataset = load_dataset(images)
            self.class_names = self._dataset.class_names
            self.keys = keys_of_dataset(self._dataset)
        self._images, self._numbers = images, {name: number for number, name in enumerate(self.keys.files)}
        self._by_name = defaultdict(list)
        for name, number in self._numbers.items():
            self._by_name[name.rsplit("/", 1)[-1]].append(number)

    def number(self, file: str, digest: str = "") -> int:
        """The image called so: its whole name below the folder, else its last part if that is the only one."""
        named = [self._numbers[file]] if file in self._numbers else self._by_name[file.replace("\\", "/").rsplit("/", 1)[-1]]
        if len(named) != 1:
            several = f"{len(named)} images are" if named else "no image is"
            raise LabelsError(f"{several} called {file!r} in {self._images!r}. Give names as they are below that folder.")
        if digest and self.keys.digest(named[0]) != digest:
            raise LabelsError(f"{file!r} in {self._images!r} is not the image that was labelled: its content has changed.")
        return named[0]

    def put(self, number: int, place: Path, copy: bool) -> None:
        """A link to an image, or a copy of it, at `place`."""
        if not self._files:
            from PIL import Image

            pixels = self._dataset.train_images[number].numpy()
            Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(f"{place}.png")
        elif copy:
            shutil.copy2(self._files[number], place)
        else:
            os.symlink(self._files[number].resolve(), place)


def write_folders(labelled: Iterable[Answer], folder: Path, images: str, copy: bool = False) -> None:
    """The layout that `folder:` reads, `<class>/<image>`: links, or copies; images of a named data set become PNG files.

    Raises:
        LabelsError: the folder has something in it, a class cannot be a folder, or an image is gone or has changed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise LabelsError(f"{folder} is not empty. Give another folder.")
    images_there, labelled = NamedImages(images), list(labelled)
    if odd := sorted({answer.label for answer in labelled if "/" in answer.label or folders.part_of(answer.label)}):
        raise LabelsError(f"the class {odd[0]!r} cannot be the name of a class's folder: write NAME.csv instead.")
    for answer in labelled:
        number = images_there.number(answer.file, answer.digest)
        place = folder / answer.label / answer.file.replace("/", "__")
        place.parent.mkdir(parents=True, exist_ok=True)
        while os.path.lexists(place):  # of `a/b.png` and `a__b.png`
            place = place.with_stem(f"{place.stem}_")
        images_there.put(number, place, copy)
