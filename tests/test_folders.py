"""What a folder of images may hold: the parts of a data set, what is none of it, links, and kinds of images."""

import io
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from al_utils.data import folders
from al_utils.datasets import DatasetError, load_dataset


def load(folder, **options):
    return load_dataset(f"folder:{folder}", **options)


def picture(seed=0, size=(20, 20), mode="L") -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], *([3] if mode == "RGB" else [])), dtype=np.uint8))


def fill(folder: Path, n=10, first=0, **options) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + n):
        picture([*folder.name.encode(), i], **options).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture
def two(tmp_path) -> Path:
    """Classes a and b of ten images each."""
    for name in "ab":
        fill(tmp_path / "images" / name)
    return tmp_path / "images"


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


# Kinds of images

KINDS = ["png", "jpg", "jpeg", "jfif", "gif", "bmp", "dib", "tif", "tiff", "webp", "avif", "jp2", "pgm", "pbm", "ppm", "sgi",
         "ras", "qoi"]  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("ras", "pbm")])
def test_every_kind_of_image_that_is_known_is_read(two, kind):
    image = picture(1, mode="RGB" if kind in ("qoi", "ppm", "avif") else "L")
    image.save(two / "a" / f"000.{kind}")
    if kind != "png":
        (two / "a" / "000.png").unlink()
    assert len(load(two).train_images) == 16
    lossy = kind in ("jpg", "jpeg", "jfif", "webp", "avif", "jp2")
    pixels = load(two).train_images[0].numpy()
    assert lossy or np.array_equal(
        pixels[:1] if image.mode == "L" else pixels, np.asarray(image).reshape(20, 20, -1).transpose(2, 0, 1)
    )


@pytest.mark.parametrize("kind", ["heic", "svg", "eps", "psd", "dcm", "tga", "xbm", "CR2"])
def test_an_image_of_another_kind_is_named(two, kind):
    (two / "a" / f"010.{kind}").write_bytes(b"x")
    with pytest.raises(DatasetError, match=rf"010\.{kind} is an image of a kind that is not read \(\.{kind.lower()}\)"):
        load(two)


def test_postscript_under_another_name_is_not_run(two, monkeypatch):
    ran = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *a, **k: ran.append(a))
    (two / "a" / "000.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(DatasetError, match=r"a/000\.png cannot be used \(cannot identify image file"):
        load(two)
    assert not ran


def ink(mode: str) -> Image.Image:
    """A black square in the middle, transparent around, where black is what is hidden too."""
    alpha = Image.new("L", (20, 20), 0)
    alpha.paste(255, (5, 5, 15, 15))
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    image.putalpha(alpha)
    return image.convert(mode) if mode != "RGBA" else image


def with_colour_key(mode: str) -> tuple[Image.Image, dict]:
    image = Image.new(mode, (20, 20), 7 if mode == "L" else (7, 7, 7))
    image.paste(0, (5, 5, 15, 15))
    return image, dict(transparency=7 if mode == "L" else (7, 7, 7))


def palette() -> tuple[Image.Image, dict]:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 9, 9, 9])
    image.paste(0, (5, 5, 15, 15))
    return image, dict(transparency=1)


TRANSPARENT = {
    "RGBA png": ("png", lambda: (ink("RGBA"), {})),
    "LA png": ("png", lambda: (ink("LA"), {})),
    "L with a colour key": ("png", lambda: with_colour_key("L")),
    "RGB with a colour key": ("png", lambda: with_colour_key("RGB")),
    "palette png": ("png", palette),
    "palette gif": ("gif", palette),
    "webp": ("webp", lambda: (ink("RGBA"), dict(lossless=True, exact=True))),
    "tiff": ("tif", lambda: (ink("RGBA"), {})),
}


@pytest.mark.parametrize("kind, make", TRANSPARENT.values(), ids=TRANSPARENT)
def test_transparency_is_laid_on_white_and_said(two, capsys, kind, make):
    image, options = make()
    (two / "a" / "000.png").unlink()
    image.save(two / "a" / f"000.{kind}", **options)
    pixels = load(two).train_images[0]
    assert (pixels[:, 5:15, 5:15] == 0).all() and pixels.float().mean() == 255 * 0.75
    assert "1 images with transparency, laid on white" in capsys.readouterr().out


def test_an_opaque_alpha_channel_changes_nothing(two, capsys):
    image = picture(3, mode="RGB")
    image.convert("RGBA").save(two / "a" / "000.png")
    assert np.array_equal(load(two).train_images[0].permute(1, 2, 0).numpy(), np.asarray(image))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(tmp_path, kind, orientation):
    """Each file's pixels are turned so that a viewer who follows the tag shows the same 24 x 16 picture."""
    turns = {1: [], 2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}  # Pillow's transposes that undo the tag
    shown = Image.new("L", (24, 16), 0)
    shown.paste(255, (0, 0, 12, 8))  # bright top left
    stored = shown
    for turn in turns[orientation]:
        stored = stored.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in "ab":
        for i in range(5):
            (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
            stored.save(tmp_path / "images" / name / f"{i}.{kind}", exif=exif, **({"quality": 95} if kind == "jpg" else {}))
    d = load(tmp_path / "images")
    assert d.train_images.shape[-2:] == (16, 24)
    difference = np.abs(d.train_images[0, 0].numpy().astype(int) - np.asarray(shown))
    assert difference.mean() < 4  # the edges of JPEG and WebP


def animation(kind: str) -> bytes:
    file = io.BytesIO()
    frames = [picture(i) for i in range(3)]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    return file.getvalue()


@pytest.mark.parametrize("kind, ending", [("GIF", "gif"), ("PNG", "png"), ("PNG", "apng"), ("WEBP", "webp"), ("TIFF", "tif"),
                                          ("AVIF", "avif")])  # fmt: skip
def test_animations_and_stacks_are_refused_by_name(two, kind, ending):
    (two / "a" / f"000.{ending}").write_bytes(animation(kind))
    with pytest.raises(DatasetError, match=rf"a/000\.{ending} cannot be used \(an animation or a stack of 3 images"):
        load(two)


def test_a_camera_file_with_a_second_picture_is_read_and_said(two, capsys):
    (two / "a" / "000.png").unlink()
    picture(1).convert("RGB").save(two / "a" / "000.mpo", save_all=True, append_images=[picture(2).convert("RGB")])
    assert len(load(two).train_images) == 16
    assert "1 JPEG files with further pictures, of which the first was taken" in capsys.readouterr().out


def test_text_chunks_harm_nothing(two):
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 1000)
    picture(4).save(two / "a" / "000.png", pnginfo=info)
    assert np.array_equal(load(two).train_images[0, 0].numpy(), np.asarray(picture(4)))


# Sizes


def test_several_sizes_name_the_files_and_the_way_out(two):
    for i, size in enumerate([(20, 20), (30, 40), (31, 20), (20, 25), (22, 22), (50, 50)]):
        picture(i, size).save(two / "a" / f"00{i}.png")
    says = (r"a/001\.png cannot be used \(30x40 pixels, but the first image has 20x20: resize all to one size, or set "
            r"image_size, 20 say, .*\)\. So have a/002\.png, a/003\.png, a/005\.png and 1 more\.")  # fmt: skip
    with pytest.raises(DatasetError, match=says):
        load(two)


def test_image_size_scales_and_crops_to_the_centre(two, capsys):
    wide = Image.new("L", (80, 40), 10)
    wide.paste(200, (20, 0, 60, 40))  # the centre
    wide.save(two / "a" / "000.png")
    d = load(two, image_size=20)
    assert d.train_images.shape[-2:] == (20, 20) and (d.train_images[0, 0, :, 2:-2] == 200).all()
    assert np.array_equal(d.train_images[1, 0].numpy(), np.asarray(Image.open(two / "a" / "001.png")))  # had that size
    assert "1 images scaled and cropped to 20x20 pixels" in capsys.readouterr().out
    assert load(two, image_size=16).train_images.shape[-2:] == (16, 16)
    with pytest.raises(DatasetError, match="image_size=16 is for folders of images"):
        load_dataset("mnist5k", image_size=16)


def test_decoding_holds_little_more_than_the_images(tmp_path):
    for name in "ab":
        fill(tmp_path / name, 40, size=(250, 200), mode="RGB")
    load_dataset("mnist5k")  # what is imported on first use
    tracemalloc.start()
    d = load(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = d.train_images.numel() + d.test_images.numel()
    assert size == 80 * 3 * 250 * 200 and peak < 1.4 * size + 10e6


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_must_not_be_read(two):
    (two / "a" / "000.png").chmod(0)
    with pytest.raises(DatasetError, match=r"a/000\.png cannot be used .*Permission denied"):
        load(two)
