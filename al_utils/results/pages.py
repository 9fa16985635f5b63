"""What a notebook shows: figures as crisp PNGs, tables and text as HTML that needs no network."""

import html
import io
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from matplotlib.figure import Figure

from . import hover
from .looks import DPI
from .studies import NOT_RUN, each_row

MOST_COLUMNS = 6  # of a table that has fewer rows


def picture(figure: Figure, marks: Mapping[str, str] | None = None, values: bool = False):
    """A figure as a crisp PNG of few colours for a notebook: a third of the bytes of the usual one.

    `marks` are kept in the file as text, by name. With `values`, its page shows those of the curves under the mouse: the
    drawing for that is in the output's metadata.
    """
    from IPython.display import Image
    from PIL import Image as Pixels
    from PIL.PngImagePlugin import PngInfo

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, dpi=2 * DPI, bbox_inches="tight", facecolor="white")
    info = PngInfo()
    for name, text in (marks or {}).items():
        info.add_text(name, text)
    few_colours = Pixels.open(drawn).convert("RGB").quantize(128, dither=Pixels.Dither.NONE)
    few_colours.save(small, "png", optimize=True, pnginfo=info)
    return Image(small.getvalue(), format="png", retina=True, metadata={"hover": hover.drawing(figure)} if values else None)


def html_table(table: pd.DataFrame, caption: str = "") -> str:
    """A table of text as HTML that needs no network; all text is escaped, and the paper's numbers are set small.

    One that is wider than a page, and not long, is set on its side.
    """
    from pandas.io.formats.style import Styler  # here: an experiment shows no table, and Jinja takes its time
    from pandas.io.formats.style_render import CSSDict

    look: list[CSSDict] = [
        {"selector": "", "props": "border-collapse: collapse; font-size: 0.85em; margin: 0.5em 0 1em"},
        {"selector": "caption", "props": "caption-side: bottom; text-align: left; color: #777; padding-top: 0.5em"},
        {"selector": "th, td", "props": "text-align: left; vertical-align: top; padding: 0.35em 0.6em"},
        {"selector": "tbody tr", "props": "border-top: 1px solid #8883; background: none"},
        {"selector": "th", "props": "font-weight: 600"},
        {"selector": "small, .off", "props": "color: #888"},
    ]
    if len(table) < table.shape[1] > MOST_COLUMNS:
        table = table.T
    name = f"{zlib.crc32(table.to_csv().encode()):08x}"  # the same table gives the same HTML
    styler = Styler(table, uuid=name, cell_ids=False, caption=_escape(caption) if caption else None)
    styler = styler.format(_cell).format_index(_escape).format_index(_escape, axis=1).set_table_styles(look)
    if table.columns.equals(pd.Index([""])):  # topics and sentences: no head, and lines may break
        styler = styler.hide(axis="columns")
    else:
        styler = styler.set_table_styles(
            [{"selector": "td, th.col_heading, th.level1", "props": "white-space: nowrap"}], overwrite=False
        )
    return f'<div style="overflow-x: auto">{styler.to_html()}</div>'


def html_text(text: str, bold: bool = False, off: bool = False) -> str:
    """A paragraph of escaped text; `off` sets it grey."""
    look = "max-width: 48em; line-height: 1.5"
    if bold:
        look += "; font-weight: 600"
    if off:
        look += "; color: #888"
    return f'<p style="{look}">{_escape(text)}</p>'


def html_heading(text: str, level: int = 3) -> str:
    """A heading that links can lead to, as nbconvert's own."""
    return f'<h{level} id="{_escape(text.replace(" ", "-"))}">{_escape(text)}</h{level}>'


def html_list(lines: Iterable[str], kind: str = "") -> str:
    """A list of escaped lines; `kind` is its class."""
    opening = f'<ul class="{_escape(kind)}">' if kind else "<ul>"
    return f"{opening}{''.join(f'<li>{_escape(line)}</li>' for line in lines)}</ul>"


def html_runs(runs: pd.DataFrame, folder: Path) -> str:
    """Every run of `studies.read_runs` with links to its notebook and ledger, from `folder`; closed until opened."""
    lines = []
    for run in each_row(runs):
        notebook = Path(run.path).with_suffix(".ipynb")
        links = [_link(run.path, "ledger"), *([_link(notebook.as_posix(), "notebook")] if (folder / notebook).exists() else [])]
        state = (
            "" if run.finished else f" (not finished: {_escape(run.stopped or f'{run.done} of {run.n_rounds + 1} trainings')})"
        )
        lines.append(f"<li>{_escape(run.run)}{state}: {', '.join(reversed(links))}</li>")
    return f"<details><summary>{len(lines)} runs</summary><ul>{''.join(lines)}</ul></details>"


def _link(path: str, text: str) -> str:
    return f'<a href="{_escape(quote(path))}">{_escape(text)}</a>'


def _escape(text) -> str:
    return html.escape(str(text))


def _cell(text) -> str:
    lines = [_escape(line) for line in str(text).split("\n")]
    lines = [f"<small>{line}</small>" if re.fullmatch(r"paper [\d.]+%", line) else line for line in lines]
    off = (NOT_RUN, "not reached", "undecided", "chance is not ruled out")
    return "<br>".join(f'<span class="off">{line}</span>' if line.startswith(off) else line for line in lines)
