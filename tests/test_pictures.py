"""Image files: the kinds that are read, transparency, orientation, animations, sizes."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from little_images import fill, load, picture
from PIL import Image, PngImagePlugin

from al_utils.datasets import DatasetError, load_dataset

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


def png_of_16_bits(samples, colour_type) -> bytes:
    """Pillow reads such files, but writes none."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", *samples.shape[1::-1], 16, colour_type, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in samples)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


SAMPLES = np.arange(20 * 20 * 3).reshape(20, 20, 3)  # as a camera of 12 bits has them: their upper 8 bits are 0 to 4


def test_bitmaps_of_16_bits_a_pixel_are_read(two):
    """5 bits of red and blue and 6 of green, which Pillow calls BGR;16."""
    head = struct.pack("<IiiHHIIiiII", 40, 20, 20, 1, 16, 3, 800, 0, 0, 0, 0) + struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    file = b"BM" + struct.pack("<IHHI", 14 + len(head) + 800, 0, 0, 14 + len(head)) + head + b"\xff\xff" * 400
    (two / "a" / "000.bmp").write_bytes(file)
    (two / "a" / "000.png").unlink()
    assert load(two).train_images[0].float().mean() > 250


@pytest.mark.parametrize(
    "name, content",
    [
        ("010.png", png_of_16_bits(SAMPLES, 2)),
        ("010.png", png_of_16_bits(SAMPLES[..., :2], 4)),  # grey with transparency
        ("010.ppm", b"P6 20 20 65535\n" + SAMPLES.astype(">u2").tobytes()),
    ],
)
def test_colours_of_16_bits_are_not_cut_to_8(two, name, content):
    (two / "a" / name).write_bytes(content)
    with pytest.raises(DatasetError, match=rf"a/{name} cannot be used .*16 bits a channel, not 8: convert it"):
        load(two)


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
