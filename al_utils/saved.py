"""The network of a run's last round, kept beside its ledger, and applied to a folder of images."""

import io
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from . import models, sources
from .compute.machine import repeatable
from .config import ASIDE, ExperimentConfig, located, recorded
from .data import pictures
from .data.folders import DatasetError, image_files
from .data.origins import counted
from .networks.classifier import Classifier
from .noise import Images
from .predicting import predict_log_probs
from .problem import Problem

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
MODES = {1: ("L",), 3: ("L", "RGB")}  # channels of a network -> image files that it can be given
AT_ONCE = 1_000  # images


@dataclass(frozen=True)
class SavedModel:
    """A network that was kept, and how it reads images: standardised as in its training, without noise.

    `image_shape` is (channels, height, width); `n_labels` says how many labels it was trained on.
    """

    network: Classifier
    config: ExperimentConfig
    class_names: list[str]
    image_shape: tuple[int, int, int]
    mean: list[float]
    std: list[float]
    n_labels: int

    def predict(self, folder: str | Path) -> "pd.DataFrame":
        """What the network takes the images below a folder for: a row for each `file`, its `class` and its `probability`.

        The probability is that of the network without dropout. Images are scaled and cropped where those of its training
        were (`image_size`); else they must have their size.

        Raises:
            DatasetError: no folder or no images, one that cannot be read, or one of another size or more colours.
        """
        import pandas as pd  # here: runs alone need nothing but PyTorch and NumPy

        folder = located(folder)
        if not folder.is_dir():
            raise DatasetError(f"there is no folder {folder}. Give the path of a folder with images in it.")
        passed_over: Counter[str] = Counter()
        files = image_files(folder, passed_over)
        if not files:
            raise DatasetError(f"{folder} has no images. Give the path of a folder with images in it.")
        for file in files:
            self._check(file, folder)
        done: Counter[str] = Counter()
        chunks = [self._log_probs(files[i : i + AT_ONCE], folder, done) for i in range(0, len(files), AT_ONCE)]
        if said := "; ".join(filter(None, (counted(passed_over, "passed over: "), counted(done)))):
            print(f"{folder.name}: {said}.")
        probability_N, class_N = torch.cat(chunks).exp().max(1)
        return pd.DataFrame({
            "file": [file.relative_to(folder).as_posix() for file in files],
            "class": [self.class_names[c] for c in class_N.tolist()],
            "probability": probability_N.tolist(),
        })  # fmt: skip

    def _check(self, file: Path, folder: Path) -> None:
        (width, height), mode = pictures.kind(file, folder, self.config.image_size)
        n_channels, *size = self.image_shape
        if mode not in MODES.get(n_channels, ()):
            seen = {1: "grey images", 3: "images in colour"}.get(n_channels, f"images of {n_channels} channels")
            found = "grey" if mode == "L" else "in colour"
            raise DatasetError(f"{file.relative_to(folder)} is {found}, but the network was trained on {seen}: convert it.")
        if not self.config.image_size and [height, width] != size:
            raise DatasetError(
                f"{file.relative_to(folder)} has {width}x{height} pixels, but the network was trained on images of "
                f"{size[1]}x{size[0]}: scale it, or train on a folder of images with image_size, which scales them."
            )

    def _log_probs(self, files: list[Path], folder: Path, done: Counter[str]):
        [pixels_N_C_H_W], said = pictures.decode([files], folder, self.config.image_size)
        done.update(said)
        pixels = torch.from_numpy(pixels_N_C_H_W).expand(-1, self.image_shape[0], -1, -1)  # grey in each channel
        images = Images(pixels, torch.tensor(self.mean), torch.tensor(self.std))
        with repeatable():
            return predict_log_probs(self.network, images)[0]


def model_path(ledger: str | Path) -> Path:
    """Where the network of a ledger is kept: beside it, ending .pt for .jsonl."""
    path = located(ledger)
    return path.with_name(f"{path.name.removesuffix('.jsonl')}.pt")


def keep(model: Classifier, problem: Problem, number: int, n_labels: int, path: Path) -> None:
    """Write the network of a round, and what is needed to build it again, in the place of what is there: all or nothing."""
    data = problem.dataset
    content = {
        "version": VERSION,
        "config": problem.config.to_dict(),
        "source": _source(problem.config.model),
        "round": number,
        "n_labels": n_labels,
        "image_shape": list(data.train_images.shape[1:]),
        "class_names": data.class_names,
        "mean": data.mean,
        "std": data.std,
        "weights": {name: values.cpu() for name, values in model.state_dict().items()},
    }
    whole = io.BytesIO()  # first: a full disk is told by its own error, not by one of PyTorch's
    torch.save(content, whole)
    aside = path.with_name(f".{path.name}")
    try:
        with open(aside, "wb") as file:
            file.write(whole.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def is_kept(config: ExperimentConfig, number: int, path: Path) -> bool:
    """Whether the file holds the network of this round of this run. Raises: ValueError: it holds no network of a run."""
    if not path.exists():
        return False
    found = _read(path)
    any_way = (*ASIDE, "n_rounds")
    same = all(found["config"][name] == value for name, value in config.to_dict().items() if name not in any_way)
    return same and found["round"] == number


def load_model(path: str | Path) -> SavedModel:
    """The network that a run kept (`save_model=True`), on the CPU, ready to `predict`.

    Raises:
        FileNotFoundError: no such file. ValueError: not a kept network, or one that is not registered here as it was then.
    """
    path = located(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}. A run with save_model=True keeps its network beside its ledger.")
    found = _read(path)
    config = ExperimentConfig.from_dict(found["config"] | {"device": "cpu"})
    if config.model not in models.names():
        raise ValueError(
            f"{path.name} holds a network {config.model!r}, which is not registered here: register it first, by "
            'al.load_code("my_lab.py") say.'
        )
    if _source(config.model) != found["source"]:
        raise ValueError(
            f"{path.name} holds a network {config.model!r} whose source was not the one that is registered now: register it as "
            "it was then."
        )
    network = models.build_model(config.model, found["image_shape"], len(found["class_names"]), torch.Generator())
    try:
        network.load_state_dict(found["weights"])
    except RuntimeError:
        raise ValueError(
            f"{path.name} holds weights that are not those of {config.model!r}: run its experiment again."
        ) from None
    names = ("class_names", "mean", "std", "n_labels")
    return SavedModel(network.eval(), config, image_shape=tuple(found["image_shape"]), **{name: found[name] for name in names})


def _source(model: str) -> str:
    """The digest of the source of somebody's own network; of ours none."""
    make = models.get(model).make
    return "" if sources.is_ours(make) else sources.digest(make)


def _read(path: Path) -> dict:
    """What `keep` wrote; code that a file may hold is not executed."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        version, config = found["version"], found["config"]
    except OSError:
        raise
    except Exception:  # PyTorch raises many kinds
        raise ValueError(f"{path} is no network that a run kept, and is left as it is. Give another path.") from None
    try:
        if version != VERSION:
            raise ValueError(f"version {version} is not {VERSION}")
        return found | {"config": recorded(config)}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}): if it was made with a newer version, update the project.") from None
