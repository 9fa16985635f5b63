"""A folder of images without any labels: from a person's first labels to the folder that the experiment reads."""

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import torch

from ..data import folders, pictures
from ..data.folders import UNLABELLED, DatasetError
from ..image_keys import keys_of_files
from ..person import LABEL, Answer
from ..randomness import generator
from .cards import data_uri, png_pixels


class Unlabelled:
    """The images below `folder:PATH` in a random order, and the names of the classes that a person tells apart.

    Raises:
        DatasetError: no folder, images of several sizes, too few of them, or names that cannot be folders.
    """

    def __init__(self, dataset: str, class_names: list[str], seed: int, least: int, image_size: int = 0):
        self.class_names, self.folder, self.image_size = class_names, folders.find(dataset), image_size
        bad = [name for name in class_names if not name or "/" in name or name.startswith(".")]
        bad += [name for name in class_names if folders.part_of(name) == UNLABELLED]
        if bad or len(set(class_names)) < max(2, len(class_names)):
            raise DatasetError(
                f"classes={', '.join(class_names)!r} must be two or more different names without '/' or a dot first, and none "
                f"such as {UNLABELLED!r}."
            )
        files = folders.image_files(self.folder)
        if len(files) < least:
            raise DatasetError(f"{dataset!r} has {len(files)} images, but at least {least} are needed.")
        if not image_size:
            pictures.check_one_size(files, self.folder)
        self.files = [files[i] for i in torch.randperm(len(files), generator=generator(seed, "start")).tolist()]
        self.keys = keys_of_files(self.files, self.folder)

    def uri(self, number: int) -> str:
        """An image for the page."""
        pixels = torch.from_numpy(pictures.read(self.files[number], self.image_size, Counter()).copy())
        return data_uri(png_pixels(pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)))


def lay_out(images: Unlabelled, answers: dict[int, Answer], n_each: int, folder: Path) -> None:
    """Make `folder` with links: `train/<class>` with `n_each` images, `test/<class>` with the others, `unlabelled/`.

    Args:
        answers: those given so far, by the number of the image; images that got no label are left out.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent))
    taken = dict.fromkeys(images.class_names, 0)
    try:
        for number, path in enumerate(images.files):
            part, answer = UNLABELLED, answers.get(number)
            if answer and answer.kind != LABEL:
                continue
            if answer:
                part = f"{'train' if taken[answer.label] < n_each else 'test'}/{answer.label}"
                taken[answer.label] += 1
            (aside / part).mkdir(parents=True, exist_ok=True)
            (aside / part / f"{number:06d}{path.suffix}").symlink_to(path.absolute())
        os.replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
