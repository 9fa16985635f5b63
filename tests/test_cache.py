"""The cache of decoded data sets is believed only as long as it is what was written there."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT

from al_utils.data import cache
from al_utils.datasets import DatasetError, load_dataset


@pytest.fixture
def name(image_folder):
    return f"folder:{image_folder({'cat': 15, 'dog': 15})}"


@pytest.fixture
def place(name, tmp_path, monkeypatch):
    """Where the folder is in a cache of its own."""
    monkeypatch.setenv("AL_CACHE_DIR", str(tmp_path / "cache"))
    load_dataset(name)
    [place] = (tmp_path / "cache").iterdir()
    return place


def edit_meta(place, **changes):
    meta = json.loads((place / "meta.json").read_text()) | changes
    (place / "meta.json").write_text(json.dumps({name: value for name, value in meta.items() if value is not None}))


def edit_array(place, name, change):
    array = np.load(place / f"{name}.npy")
    np.save(place / f"{name}.npy", change(array))


def one_pixel(images):
    images[5, 0, 10, 10] ^= 1
    return images


def one_label(labels):
    labels[3] = 1 - labels[3]
    return labels


def with_the_checksum_of_what_was_changed(place):
    edit_array(place, "train_labels", one_label)
    arrays = {name: np.load(place / f"{name}.npy") for name in cache.ARRAYS}
    edit_meta(place, checksum=cache.checksum(arrays))


def of_an_older_version(place):
    meta = json.loads((place / "meta.json").read_text())
    old = {key: meta[key] for key in ("checksum", "mean", "std")}
    (place / "meta.json").write_text(json.dumps(old | dict(name="images", label="images", classes=meta["class_names"])))


DAMAGE = {
    "a pixel": lambda place: edit_array(place, "train_images", one_pixel),
    "a test pixel": lambda place: edit_array(place, "test_images", one_pixel),
    "a label": lambda place: edit_array(place, "train_labels", one_label),
    "a label and the checksum": with_the_checksum_of_what_was_changed,
    "labels out of range": lambda place: edit_array(place, "test_labels", lambda labels: labels + 7),
    "labels of another type": lambda place: edit_array(place, "train_labels", lambda labels: labels.view(np.uint64)),
    "labels of another length": lambda place: edit_array(place, "train_labels", lambda labels: labels[:-1]),
    "another shape": lambda place: edit_array(place, "train_images", lambda images: images.reshape(-1, 1, 10, 40)),
    "half an array": lambda place: os.truncate(place / "train_images.npy", 1_000),
    "an empty array": lambda place: os.truncate(place / "train_images.npy", 0),
    "no array": lambda place: (place / "test_images.npy").unlink(),
    "no meta.json": lambda place: (place / "meta.json").unlink(),
    "an empty meta.json": lambda place: os.truncate(place / "meta.json", 0),
    "{}": lambda place: (place / "meta.json").write_text("{}"),
    "a list": lambda place: (place / "meta.json").write_text("[1, 2]"),
    "no JSON": lambda place: (place / "meta.json").write_bytes(b"\xff\x00{"),
    "another mean": lambda place: edit_meta(place, mean=[0.2]),
    "other class names": lambda place: edit_meta(place, class_names=["dog", "cat"]),
    "no class names": lambda place: edit_meta(place, class_names=None),
    "an older version": of_an_older_version,
    "an empty folder": lambda place: (shutil.rmtree(place), place.mkdir()),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_not_what_was_written_is_made_again(name, place, damage, capsys):
    before = load_dataset(name)
    before = replace(before, **{part: getattr(before, part).clone() for part in cache.ARRAYS})
    damage(place)
    after = load_dataset(name)
    assert after.train_labels.dtype == torch.int64 and after.train_images.shape == (24, 1, 20, 20)
    same = [torch.equal(getattr(before, part), getattr(after, part)) for part in cache.ARRAYS]
    assert same == [True] * 4 and (after.checksum, after.mean, after.std) == (before.checksum, before.mean, before.std)
    assert after.class_names == ["cat", "dog"]
    assert capsys.readouterr().out == "" and list(place.parent.iterdir()) == [place]


def test_the_checksums_are_computed_once_in_a_process(name, place, monkeypatch):
    computed = []
    monkeypatch.setattr(cache, "checksum", lambda *a, real=cache.checksum: computed.append(1) or real(*a))
    for _ in range(3):
        load_dataset(name)
    assert not computed
    os.utime(place / "test_labels.npy")
    load_dataset(name)
    assert len(computed) == 1


def test_ledgers_in_the_reports_are_of_todays_data():
    headers = [json.loads(path.open().readline()) for path in (ROOT / "reports" / "quick").glob("*.jsonl")]
    found = {header["data"]["checksum"] for header in headers if header["data"]["name"] == "mnist5k"}
    assert found == {load_dataset("mnist5k").checksum}


def test_a_kill_while_it_is_written_leaves_nothing_for_ever(tmp_path, monkeypatch):
    """The writer is killed between two arrays; whoever writes next, a while later, clears up, but not after a living one."""
    slow = (
        "import time, numpy as np\nfrom al_utils.data import cache\n"
        "class Slow(np.ndarray):\n"
        "    @property\n"
        "    def data(self):\n"
        "        print('writing', flush=True)\n"
        "        time.sleep(100)\n"
        "cache.store('slow', {'n_valid': 0}, {name: np.zeros(3).view(Slow) for name in cache.ARRAYS})\n"
    )
    monkeypatch.setenv("AL_CACHE_DIR", str(tmp_path))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    writers = [subprocess.Popen([sys.executable, "-c", slow], env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        assert [writer.stdout.readline() for writer in writers] == [b"writing\n"] * 2
        assert len(list(tmp_path.glob("tmp*"))) == 2
        writers[0].send_signal(signal.SIGKILL)
        writers[0].wait()
        for aside in tmp_path.glob("tmp*"):
            os.utime(aside, (time.time() - 3600,) * 2)
        (tmp_path / "tmpold").mkdir()  # of an older version, which locked nothing
        os.utime(tmp_path / "tmpold", (time.time() - 3600,) * 2)
        arrays = {name: np.zeros(3) for name in cache.ARRAYS}
        cache.store("next", {"n_valid": 0}, arrays)
        assert len(list(tmp_path.glob("tmp*"))) == 1
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()


@pytest.mark.parametrize("code, says", [(errno.ENOSPC, "No space left on device.. Free some space"),
                                        (errno.EACCES, "Permission denied.. Make it writable")])  # fmt: skip
def test_a_cache_that_cannot_be_written_is_named(name, tmp_path, monkeypatch, code, says):
    def full(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setenv("AL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(DatasetError, match=f"the cache {tmp_path}/cache cannot be written .{says}, or point AL_CACHE_DIR"):
        load_dataset(name)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_under_the_cache_is_named(image_folder, tmp_path, monkeypatch):
    name, disk = f"folder:{image_folder({'cat': 10, 'dog': 10}, size=(100, 100))}", tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine does not allow to mount a small disk")
    try:
        monkeypatch.setenv("AL_CACHE_DIR", str(disk / "cache"))
        with pytest.raises(DatasetError, match=r"cannot be written \(No space left on device\)\. Free some space"):
            load_dataset(name)
        assert not list((disk / "cache").iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)
