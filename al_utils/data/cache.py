"""Decoded data sets on disk: written once, memory-mapped afterwards, believed while their checksums hold."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from ..config import ROOT
from .folders import DatasetError

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
VERSION = 2  # of what is written; another one is made again
_verified: dict[Path, list] = {}  # what `_stamp` said of a cache when its checksums held, in this process


def folder() -> Path:
    """Where decoded data sets are kept: `AL_CACHE_DIR`, by default `data/cache/` beside the notebooks."""
    return Path(os.environ.get("AL_CACHE_DIR") or ROOT / "data" / "cache")


def checksum(arrays: dict[str, np.ndarray], n_valid: int = 0) -> str:
    """Of all pixels and labels, and of how many of them are for validation."""
    digest = hashlib.sha256()
    for name in ARRAYS:
        digest.update(np.ascontiguousarray(arrays[name]).data)
    if n_valid:
        digest.update(f"{n_valid} for validation".encode())
    return digest.hexdigest()[:16]


def load(key: str) -> tuple[dict, dict[str, np.ndarray]] | None:
    """What was stored under `key`; None if nothing was, or if it is not any more what was stored.

    The checksums are computed anew once in a process, and whenever a file has another size or time than it had then.
    """
    place = folder() / key
    try:
        stamp = _stamp(place)
        meta = json.loads((place / "meta.json").read_bytes())
        # mode "c": pages are shared between processes, and a write would stay private. Pickled objects are refused.
        arrays = {name: np.load(place / f"{name}.npy", mmap_mode="c") for name in ARRAYS}
        seal = meta.pop("seal")
        if _verified.get(place) != stamp:
            if seal != _seal(meta, arrays) or meta["checksum"] != checksum(arrays, meta["n_valid"]):
                return None
            _verified[place] = stamp
        return meta, arrays
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):  # torn, empty, or of another version
        return None


def store(key: str, meta: dict, arrays: dict[str, np.ndarray]) -> None:
    """Write it aside and rename it: another process never sees half of it, and the first of two wins.

    Raises:
        DatasetError: it cannot be written.
    """
    place = folder() / key
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(place.parent)
        with _aside(place.parent) as aside:
            for name, array in arrays.items():
                with open(aside / f"{name}.npy", "wb") as file:
                    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
                    file.write(array.data)  # not np.save, which does not say that the disk is full
            (aside / "meta.json").write_text(json.dumps(meta | {"seal": _seal(meta, arrays)}), "utf-8")
            aside.chmod(0o755)
            if load(key) is None:
                shutil.rmtree(place, ignore_errors=True)  # what is damaged
            try:
                aside.rename(place)
            except OSError:
                if load(key) is None:
                    raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        way_out = "Free some space" if full else "Make it writable"
        raise DatasetError(
            f"the cache {place.parent} cannot be written ({error.strerror}). {way_out}, or point AL_CACHE_DIR elsewhere."
        ) from None


def _seal(meta: dict, arrays: dict[str, np.ndarray]) -> str:
    """A checksum of all but the pixels and labels themselves: their types and shapes, names, moments."""
    kinds = [[str(arrays[name].dtype), list(arrays[name].shape)] for name in ARRAYS]
    return hashlib.sha256(json.dumps([VERSION, meta, kinds], sort_keys=True).encode()).hexdigest()[:16]


def _stamp(place: Path) -> list:
    stats = [(place / name).stat() for name in ("meta.json", *(f"{name}.npy" for name in ARRAYS))]
    return [(s.st_ino, s.st_size, s.st_mtime_ns) for s in stats]


@contextlib.contextmanager
def _aside(parent: Path):
    """A new folder, locked as long as its process writes to it, and gone afterwards unless it was renamed."""
    aside = Path(tempfile.mkdtemp(dir=parent))
    handle = os.open(aside, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield aside
    finally:
        os.close(handle)
        shutil.rmtree(aside, ignore_errors=True)


def _remove_leftovers(parent: Path) -> None:
    """What killed processes left: folders aside that nobody has locked."""
    for aside in parent.glob("tmp*"):
        with contextlib.suppress(OSError):
            if time.time() - aside.stat().st_mtime < 60:
                continue  # perhaps about to be locked
            handle = os.open(aside, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(aside, ignore_errors=True)
            finally:
                os.close(handle)
