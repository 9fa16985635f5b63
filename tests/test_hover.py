"""What a figure of a page says under the mouse: the right values, in the right place."""

import io
import re

import nbformat
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from al_utils.results import hover, pages
from al_utils.results.looks import styled
from al_utils.sweep import page


@styled
def curves(n: int = 3, seen: int = 1) -> Figure:
    """Two curves over `n` rounds; of the second, round `seen` has a red mark."""
    figure = Figure(figsize=(5, 3))
    left, right = figure.subplots(1, 2)
    for ax in (left, right):
        ax.plot([10, 20], [0, 100], color="black")  # a single run, which is in no legend
        ax.set_xlabel("labels")
    labels = np.arange(n) * 10 + 10
    right.plot(labels[:2], [12.34, 20], label="random <b> (n=3)", lw=0)
    right.plot(labels, np.linspace(50, 70, n), "s", color="red", markevery=[seen], lw=0, label="BALD (n=2)")
    left.set_ylabel("test accuracy (%)")
    figure.legend(loc="outside upper left")
    return figure


def strips(svg: str) -> list[tuple[list[float], str]]:
    """Left, top, width and height of each, in thousandths of the picture, and its title."""
    found = re.findall(r'<rect x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)"><title>(.*?)</title>', svg, re.DOTALL)
    return [([float(number) for number in numbers], title) for *numbers, title in found]


@pytest.mark.parametrize("seen", [0, 1, 2])
def test_a_strip_lies_over_the_round_whose_values_it_says(seen):
    drawn = pages.picture(curves(seen=seen), values=True)
    found = strips(drawn.metadata["hover"])
    assert [title for _, title in found] == [
        "10 labels\nrandom &lt;b&gt; (n=3): 12.3%\nBALD (n=2): 50.0%",
        "20 labels\nrandom &lt;b&gt; (n=3): 20.0%\nBALD (n=2): 60.0%",
        "30 labels\nBALD (n=2): 70.0%",
    ]
    pixels = np.asarray(Image.open(io.BytesIO(drawn.data)).convert("RGB")).astype(int)
    rows, columns = np.nonzero((pixels[..., 0] > 200) & (pixels[..., 1:].max(-1) < 80))
    right_of_legend = rows > pixels.shape[0] // 5
    x, y = (1000 * at[right_of_legend].mean() / size for at, size in ((columns, pixels.shape[1]), (rows, pixels.shape[0])))
    (left, top, width, height), _ = found[seen]
    assert left < x < left + width and top < y < top + height
    if seen == 1:
        assert x == pytest.approx(left + width / 2, abs=5)
    edges = [number for numbers, _ in found for number in (numbers[0], numbers[0] + numbers[2])]
    assert edges[1:5:2] == pytest.approx(edges[2:6:2], abs=0.2)  # no gap between them


def test_of_many_rounds_not_each_has_a_strip_and_without_curves_there_is_none():
    assert len(strips(hover.drawing(curves(101)))) == 34
    assert hover.drawing(Figure()) == "" and "hover" not in (pages.picture(curves()).metadata or {})


def test_the_page_lays_them_over_the_picture_and_the_notebook_keeps_the_picture(tmp_path):
    data, metadata = pages.picture(curves(), values=True)._repr_png_()
    output = nbformat.v4.new_output("display_data", {"image/png": data}, metadata={"image/png": metadata})
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[output])]), tmp_path / "a.ipynb")
    text = page.render(tmp_path / "a.ipynb")
    assert text.count('src="data:image/png;base64,') == 1
    assert text.count("<rect ") == text.count("</rect>") == 3 and "BALD (n=2): 70.0%" in text
    assert "(prefers-color-scheme: dark)" in text and not re.search(r"<script|<link|(src|href)=[\"']https?:", text)
    assert nbformat.read(tmp_path / "a.ipynb", 4).cells[0].outputs[0].data["image/png"].strip() == data.strip()
