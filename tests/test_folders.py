"""What a folder of images may hold: the parts of a data set, what is none of it, and links."""

import os

import numpy as np
import pytest
from little_images import fill, load, picture
from PIL import Image

from al_utils.data import folders
from al_utils.datasets import DatasetError, load_dataset

# The parts of a data set


@pytest.mark.parametrize("train, test", [("train", "test"), ("training", "testing"), ("Train", "TEST"),
                                         ("train_set", "test-set"), ("training_images", "test_images"), ("trn", "tst"),
                                         ("train2017", "eval"),
                                         ("trainset", "hold-out"), ("train_data", "evaluation")])  # fmt: skip
def test_parts_are_known_by_their_usual_names(tmp_path, train, test):
    for part, n in ((train, 6), (test, 4)):
        for name in "ab":
            fill(tmp_path / part / name, n)
    d = load(tmp_path)
    assert (d.class_names, len(d.train_images), len(d.test_images), d.n_valid) == (["a", "b"], 12, 8, 0)


@pytest.mark.parametrize("valid", ["val", "valid", "validation", "dev", "Validation_Set"])
def test_a_validation_part_is_the_validation_images(tmp_path, valid):
    for part, n in (("train", 6), (valid, 3), ("test", 4)):
        for name in "ab":
            fill(tmp_path / part / name, n)
    d = load(tmp_path)
    assert (len(d.train_images), d.n_valid, len(d.test_images)) == (18, 6, 8)
    first = np.asarray(Image.open(tmp_path / valid / "a" / "000.png"))
    assert np.array_equal(d.train_images[12, 0].numpy(), first)


@pytest.mark.parametrize("name", ["unlabelled", "unlabeled", "Unlabelled", "un-labeled", "unlabelled_images", "unannotated",
                                  "no_labels"])  # fmt: skip
@pytest.mark.parametrize("inside", ["", "train"])
def test_images_without_labels_are_known_by_their_usual_names(tmp_path, name, inside):
    for part in ("train", "test") if inside else ("",):
        for c in "ab":
            fill(tmp_path / part / c)
    fill(tmp_path / inside / name, 7)
    d = load(tmp_path)
    assert d.class_names == ["a", "b"] and (d.train_labels == -1).sum() == 7


@pytest.mark.parametrize(
    "layout, says",
    [
        (["train/a", "train/b", "training/a", "training/b", "test/a", "test/b"], r"has train/ and training/: which is the"),
        (["train/a", "train/b", "val/a", "val/b"], r"has train/ and val/ alone\. Give it train/<class>/ and test/<class>/"),
        (["bus", "car", "train"], r"has train/ alone.*a class must be called otherwise"),
        (["train", "test"], r"train has 0 folders with images"),
        (["train/a", "train/b", "test/a", "test/b", "extra/a"], r"has images in extra/ beside train/ and test/"),
        (["a/train", "a/test", "b/train", "b/test"], r"a has test/ in it: put the parts of a data set outside, test/a/"),
    ],
)  # fmt: skip
def test_what_may_be_a_part_or_a_class_is_refused(tmp_path, layout, says):
    for place in layout:
        fill(tmp_path / place)
    with pytest.raises(DatasetError, match=says):
        load(tmp_path)


def test_numbers_are_in_the_order_of_numbers():
    assert folders.in_order(["10", "9", "0", "11"]) == ["0", "9", "10", "11"]
    assert folders.in_order(["1.5", "-2", "10", "01"]) == ["-2", "01", "1.5", "10"]
    assert folders.in_order(["10", "9", "x"]) == ["10", "9", "x"]


def test_a_rare_class_does_not_stop_a_folder(two, capsys):
    fill(two / "c", 3)
    fill(two / "d", 1)
    d = load(two)
    assert np.bincount(d.train_labels).tolist() == [8, 8, 2, 1] and np.bincount(d.test_labels).tolist() == [2, 2, 1]
    assert "no test image of d." in capsys.readouterr().out


# What is no image of a class


def test_what_systems_and_notebooks_leave_is_passed_over_and_counted(two, capsys):
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", ".thumbnails", "$RECYCLE.BIN"):
        fill(two / "a" / name, 2)
        fill(two / name, 2)
    for name in ("._000.png", "Thumbs.db", ".DS_Store", "desktop.ini", "~$notes.doc"):
        (two / "b" / name).write_bytes(b"x")
    d = load(two)
    assert (d.class_names, len(d.train_images), len(d.test_images)) == (["a", "b"], 16, 4)
    assert capsys.readouterr().out == "images: passed over: 15 hidden or system files and folders.\n"
    load(two)
    assert capsys.readouterr().out == ""  # once in a process


def test_files_that_are_no_images_are_said_by_kind(two, capsys):
    (two / "a" / "notes.txt").write_text("x")
    (two / "labels.csv").write_text("x")
    (two / "b" / "noname").write_text("x")
    picture().save(two / "loose.png")
    load(two)
    said = capsys.readouterr().out
    for what in ("1 files that are no images (.txt)", "(without ending)", "(.csv)", "1 images outside the folders of classes"):
        assert what in said


def test_images_that_the_test_shares_with_the_training_are_said(two, capsys):
    (two / "a" / "004.png").write_bytes((two / "a" / "000.png").read_bytes())
    load(two)
    assert "1 test images are training images too" in capsys.readouterr().out


# Links


def test_links_to_images_and_folders_are_followed(two, tmp_path):
    elsewhere = fill(tmp_path / "elsewhere", 10)
    (two / "c").symlink_to(elsewhere, target_is_directory=True)
    fill(tmp_path / "more", 5)
    (two / "a" / "more").symlink_to(tmp_path / "more", target_is_directory=True)
    (two / "b" / "linked.png").symlink_to(elsewhere / "000.png")
    d = load(two)
    assert d.class_names == ["a", "b", "c"]
    assert [int((d.train_labels == c).sum() + (d.test_labels == c).sum()) for c in range(3)] == [15, 11, 10]


@pytest.mark.parametrize("place", ["", "a", "a/deep"])
def test_a_link_to_nowhere_is_refused_by_name(two, place):
    (two / "a" / "deep").mkdir()
    (two / place / "gone.png").symlink_to("/nowhere/gone.png")
    with pytest.raises(DatasetError, match=r"gone\.png is a link to /nowhere/gone\.png, which cannot be reached: remove it"):
        load(two)


def test_links_in_a_circle_are_refused_by_name(two):
    (two / "a" / "round").symlink_to(two / "a", target_is_directory=True)
    with pytest.raises(DatasetError, match="round is a link to a folder that it lies in"):
        load(two)
    (two / "a" / "round").unlink()
    (two / "a" / "self").symlink_to(two / "a" / "self")
    with pytest.raises(DatasetError, match="self is a link to .*, which cannot be reached"):
        load(two)


def test_a_home_that_nobody_has():
    with pytest.raises(DatasetError, match="folder:~nobody-of-this-name/x.*no such user"):
        load_dataset("folder:~nobody-of-this-name/x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_must_not_be_read(two):
    (two / "a" / "000.png").chmod(0)
    with pytest.raises(DatasetError, match=r"a/000\.png cannot be used .*Permission denied"):
        load(two)
