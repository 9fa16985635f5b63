"""What a figure says under the mouse: a strip over each number of labels, with the values of all curves there."""

import html
import math

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

MOST = 50  # strips over a panel: of more rounds, every second or third has one
SIZE = 1_000  # width and height of the drawing, which is stretched over the picture
STYLE = """.hover { position: relative }
.hover img { display: block; width: 100%; height: auto }
.hover svg { position: absolute; inset: 0; width: 100%; height: 100% }
.hover rect { fill: transparent }
.hover rect:hover { fill: #8883 }"""  # of a page with such drawings


def drawing(figure: Figure) -> str:
    """Transparent strips as SVG, to lie over the figure as it was saved (`bbox_inches="tight"`); browsers show their titles."""
    box = figure.get_tightbbox().padded(rcParams["savefig.pad_inches"])
    unit = next((text.rpartition("(")[2].rstrip(")") for ax in figure.axes if (text := ax.get_ylabel()).endswith(")")), "")
    strips = [strip for ax in figure.axes for strip in _strips(ax, figure.dpi, box, unit if unit == "%" else f" {unit}")]
    return f'<svg viewBox="0 0 {SIZE} {SIZE}" preserveAspectRatio="none">{"".join(strips)}</svg>' if strips else ""


def over(picture: str, width: int, svg: str) -> str:
    """A PNG in base64 as HTML, so many pixels wide or as the page is, under its drawing."""
    image = f'<img src="data:image/png;base64,{picture}" alt="Curves, whose values appear under the mouse">'
    return f'<div class="hover" style="max-width: {width}px">{image}{svg}</div>'


def _strips(ax: Axes, dpi: float, box: Bbox, unit: str) -> list[str]:
    values: dict[float, list[str]] = {}  # by the number of labels
    for line in ax.get_lines():
        if not str(name := line.get_label()).startswith("_"):  # as matplotlib calls what is in no legend: the single runs
            for x, y in np.asarray(line.get_data(), float).T.tolist():
                values.setdefault(x, []).append(f"{name}: {y:.1f}{unit}")
    at = sorted(values)[:: math.ceil(len(values) / MOST) or 1]
    edges = [at[0], *((a + b) / 2 for a, b in zip(at, at[1:])), at[-1]] if at else []
    shown = [_in_box(ax.transData.transform((x, 0))[0] / dpi - box.x0, box.width) for x in edges]
    inside = ax.get_window_extent()
    top, height = _in_box(box.y1 - inside.y1 / dpi, box.height), _in_box(inside.height / dpi, box.height)
    if at:  # the first and the last reach to the frame
        shown[0], shown[-1] = (_in_box(x / dpi - box.x0, box.width) for x in (inside.x0, inside.x1))
    return [
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{height:.1f}"><title>'
        + html.escape("\n".join([f"{x:,.0f} labels", *values[x]]))
        + "</title></rect>"
        for x, left, right in zip(at, shown, shown[1:])
    ]


def _in_box(inches: float, of: float) -> float:
    return float(np.clip(SIZE * inches / of, 0, SIZE))
