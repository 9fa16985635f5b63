"""A user's own folder: which of its files are images of which class, for training, validation and test."""

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..config import located
from ..words import and_list

SUFFIXES = (
    set(".png .apng .jpg .jpeg .jpe .jfif .mpo .jp2 .j2k .jpx .jpf .jpc .j2c .gif .bmp .dib .tif .tiff .webp .avif".split())
    | set(".pbm .pgm .ppm .pnm .pfm .sgi .rgb .rgba .bw .ras .qoi".split())
)  # fmt: skip
# Images too, but not read: they would be missing in silence.
UNREAD = set(
    ".heic .heif .jxl .svg .eps .ps .psd .dcm .nii .dng .cr2 .nef .arw .tga .ico .icns .cur .pcx .dds .xbm .xpm .wmf .emf .fits"
    " .fli .flc .avifs .mng .exr .hdr .xcf".split()
)
SYSTEM = {  # what systems and programs leave in folders, beside all names that begin with a dot
    "__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__",
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "cvs",
}  # fmt: skip
UNLABELLED = "unlabelled"  # the folder of images whose class is not known
_ENDINGS = r"([-_ .]?(set|data|images?|imgs?|files?|split|part))?([-_ .]?\d+)?"
PARTS = {
    "train": re.compile(r"(train|training|trn)" + _ENDINGS),
    "valid": re.compile(r"(val|valid|validation|validate|dev)" + _ENDINGS),
    "test": re.compile(r"(test|testing|tst|eval|evaluation|hold[-_ ]?out)" + _ENDINGS),
    UNLABELLED: re.compile(r"(un[-_ ]?label+(ed)?|un[-_ ]?annotated|no[-_ ]?labels?)" + _ENDINGS),
}


class DatasetError(ValueError):
    """A data set that cannot be read; the message says what is wrong with it and what to do."""


@dataclass(frozen=True)
class Contents:
    """The image files of a folder with their labels (positions in `class_names`, -1: unknown), and what is none."""

    class_names: list[str]
    train: list[tuple[Path, int]]
    valid: list[tuple[Path, int]]
    test: list[tuple[Path, int]]
    passed_over: Counter[str]


def find(name: str, kind: str = "folder") -> Path:
    """The folder in `folder:PATH` (or the file in `npz:PATH`); a relative path starts at the project's root."""
    try:
        path = located(name.removeprefix(f"{kind}:"))
    except ValueError:
        raise DatasetError(f"{name!r}: there is no such user on this machine. Give the whole path.") from None
    if kind == "folder" and not path.is_dir():
        raise DatasetError(f"{name!r}: there is no folder {path}. Give the path of a folder with <class>/<image> in it.")
    if kind == "npz" and not path.is_file():
        raise DatasetError(f"{name!r}: there is no file {path}. Give the path of an .npz file in MedMNIST's layout.")
    return path


def contents(folder: Path) -> Contents:
    """The images of `train/<class>`, `test/<class>` and, if it is there, `valid/<class>`; or only of `<class>`.

    Without a test folder every fifth image of a class becomes a test image (of two to four images the last one). Images
    in `unlabelled/` are training images of class -1, for an oracle to label. The parts are known by their usual names,
    such as `training`, `test_set`, `val` and `unlabeled`.

    Raises:
        DatasetError: fewer than two classes, different ones in the parts, a folder that is no part, or may be one.
    """
    passed_over: Counter[str] = Counter()
    parts, others = _parts(folder, _subfolders(folder, passed_over))
    unlabelled: list[Path] = []
    if UNLABELLED in parts:
        unlabelled += image_files(parts.pop(UNLABELLED), passed_over)
    if parts:
        _check_parts(folder, parts, others)
        found = {part: _by_class(_subfolders(path, passed_over), passed_over) for part, path in parts.items()}
        for name in [name for name in found["train"] if part_of(name) == UNLABELLED]:
            unlabelled += found["train"].pop(name)
        _check_same_classes(folder, parts, found)
    else:
        found = _with_test(folder, _by_class(others, passed_over))
    class_names = in_order(found["train"])
    if len(class_names) < 2:
        raise DatasetError(
            f"{parts.get('train', folder)} has {len(class_names)} folders with images, but at least 2 classes are needed. "
            "Put the images of each class into a folder of its own: <class>/<image>."
        )
    labelled: dict[str, list[tuple[Path, int]]] = {"train": [], "valid": [], "test": []}
    for part, files in found.items():
        labelled[part] = [(path, label) for label, name in enumerate(class_names) for path in files[name]]
    labelled["train"] += [(path, -1) for path in unlabelled]
    return Contents(class_names, labelled["train"], labelled["valid"], labelled["test"], +passed_over)


def image_files(folder: Path, passed_over: Counter[str] | None = None) -> list[Path]:
    """The images below a folder; what is none is counted in `passed_over`.

    Links are followed. Raises: DatasetError for what cannot be read, a link to nowhere or to a folder that it lies in,
    and images of a kind that is not read: they would silently be missing.
    """
    found = sorted(_walk(folder, Counter() if passed_over is None else passed_over, ()))
    for path in found:
        if not str(path).isascii() and any("\ud800" <= letter <= "\udfff" for letter in str(path)):
            raise DatasetError(f"{ascii(str(path))} has a name that is not UTF-8: rename it.")
    return found


def training_files(folder: Path) -> list[Path]:
    """The files of a folder's training images, its own validation images included, in the order of the data set."""
    found = contents(folder)
    return [path for path, _ in [*found.train, *found.valid]]


def listing(files: list[tuple[Path, int]]) -> str:
    """What decoded images depend on: a changed, added or deleted file gives another text, so another cache."""
    stats = [(path, path.stat(), label) for path, label in files]
    return "\n".join(f"{label} {path} {s.st_size} {s.st_mtime_ns}" for path, s, label in stats)


def in_order(names) -> list[str]:
    """By number if all names are numbers, else by the alphabet."""
    if all(re.fullmatch(r"-?\d+(\.\d+)?", name, re.ASCII) for name in names):
        return sorted(names, key=lambda name: (float(name), name))
    return sorted(names)


def _is_system(name: str) -> bool:
    return name.startswith((".", "~$")) or name.lower() in SYSTEM


def _entries(folder: Path, passed_over: Counter[str]) -> list[os.DirEntry]:
    """What is in a folder, apart from what systems leave there."""
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read ({error.strerror}): change its permissions, or remove it.") from None
    for entry in entries:
        if entry.is_symlink() and not os.path.exists(entry.path):
            raise DatasetError(f"{entry.path} is a link to {os.readlink(entry.path)}, which cannot be reached: remove it.")
    hidden = sum(_is_system(entry.name) for entry in entries)
    passed_over["hidden or system files and folders"] += hidden
    return [entry for entry in entries if not _is_system(entry.name)]


def _walk(folder: Path, passed_over: Counter[str], above: tuple[Path, ...]) -> list[Path]:
    real = folder.resolve()
    if real in above:
        raise DatasetError(f"{folder} is a link to a folder that it lies in: remove it.")
    images = []
    for entry in _entries(folder, passed_over):
        path, suffix = Path(entry.path), Path(entry.name).suffix.lower()
        if entry.is_dir():
            images += _walk(path, passed_over, (*above, real))
        elif suffix in UNREAD:
            raise DatasetError(f"{path} is an image of a kind that is not read ({suffix}). Convert it to PNG, or remove it.")
        elif suffix in SUFFIXES and entry.is_file():
            images.append(path)
        else:
            passed_over[_no_image(suffix)] += 1
    return images


def _no_image(suffix: str) -> str:
    return f"files that are no images ({suffix or 'without ending'})"


def _subfolders(folder: Path, passed_over: Counter[str]) -> list[Path]:
    """The folders in a folder; what lies beside them is counted in `passed_over`."""
    entries = _entries(folder, passed_over)
    for entry in entries:
        suffix = Path(entry.name).suffix.lower()
        if suffix in SUFFIXES | UNREAD:
            passed_over["images outside the folders of classes"] += not entry.is_dir()
        else:
            passed_over[_no_image(suffix)] += not entry.is_dir()
    return sorted(Path(entry.path) for entry in entries if entry.is_dir())


def _parts(folder: Path, below: list[Path]) -> tuple[dict[str, Path], list[Path]]:
    """The folders that are parts of a data set by their names, and the others."""
    parts: dict[str, Path] = {}
    others = []
    for path in below:
        part = part_of(path.name)
        if part in parts:
            raise DatasetError(f"{folder} has {parts[part].name}/ and {path.name}/: which is the {part} part? Remove one.")
        if part:
            parts[part] = path
        else:
            others.append(path)
    return {part: parts[part] for part in PARTS if part in parts}, others


def part_of(name: str) -> str:
    """Which part of a data set a folder of this name is; empty: none."""
    return next((part for part, names in PARTS.items() if names.fullmatch(name.lower())), "")


def _check_parts(folder: Path, parts: dict[str, Path], others: list[Path]) -> None:
    """Raise a `DatasetError` unless there are a training and a test part, and no images beside the parts."""
    names = and_list(f"{path.name}/" for path in parts.values())
    if not {"train", "test"} <= set(parts):
        raise DatasetError(
            f"{folder} has {names} alone. Give it train/<class>/ and test/<class>/, or only <class>/; a class must be called "
            "otherwise."
        )
    if odd := [path.name for path in others if image_files(path)]:
        raise DatasetError(
            f"{folder} has images in {odd[0]}/ beside {names}, which is no part of a data set. Move it elsewhere, or call it "
            f"{UNLABELLED}/ if an oracle is to label its images."
        )


def _check_same_classes(folder: Path, parts: dict[str, Path], found: dict[str, dict[str, list[Path]]]) -> None:
    for part, path in parts.items():
        if odd := sorted(set(found[part]) ^ set(found["train"])):
            raise DatasetError(
                f"{folder}: {parts['train'].name}/ and {path.name}/ must have the same classes, but differ in {', '.join(odd)}."
            )


def _by_class(folders: list[Path], passed_over: Counter[str]) -> dict[str, list[Path]]:
    return {folder.name: _class(folder, passed_over) for folder in folders}


def _class(folder: Path, passed_over: Counter[str]) -> list[Path]:
    files = image_files(folder, passed_over)
    if not files:
        raise DatasetError(f"{folder} has no images ({', '.join(sorted(SUFFIXES))}). Convert what is in it, or remove it.")
    inside = {path.relative_to(folder).parts[0] for path in files if path.parent != folder}
    if parts := sorted(name for name in inside if part_of(name)):
        raise DatasetError(
            f"{folder} has {parts[0]}/ in it: put the parts of a data set outside, {parts[0]}/{folder.name}/, or rename it."
        )
    return files


def _with_test(folder: Path, files: dict[str, list[Path]]) -> dict[str, dict[str, list[Path]]]:
    """Every fifth image of a class is for the test; of two to four images the last one."""
    train: dict[str, list[Path]] = {}
    test: dict[str, list[Path]] = {}
    for name, paths in files.items():
        last = max(1, len(paths) - 1)
        test[name] = paths[4::5] if len(paths) >= 5 else paths[last:]
        held_out = set(test[name])
        train[name] = [path for path in paths if path not in held_out]
    if len(files) > 1 and not any(test.values()):
        raise DatasetError(f"{folder} has one image a class, but at least 2 are needed to set one aside as a test.")
    return {"train": train, "test": test}
