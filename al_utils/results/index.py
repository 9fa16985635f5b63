"""`reports/index.html`: every report with its summary, and the paper's cells as all of them together fill them.

python -m al_utils.results.index [REPORTS]
"""

import html
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pandas as pd

from ..config import ROOT
from ..ledger import read_ledgers
from ..words import capitalised
from . import beside, pages, record, studies
from .beside_figure import cells_figure

PICTURE = "cells.png"  # beside the index: the paper's cells, published and ours
MARK = "cells"  # the name of what that picture says, in its file
COMPARED = "compared"  # the folder of pages about several sweeps
TITLE = "<title>Reports</title>"
STYLE = """body { font-family: system-ui, sans-serif; line-height: 1.5; max-width: 60em; margin: 2em auto; padding: 0 1em }
:root { color-scheme: light dark } .off { color: #888 }
img { width: 44em; max-width: 100% }"""


@dataclass(frozen=True)
class Report:
    """A notebook with its page beside it: where it is, its title, what it says in sentences, and what is stale in it."""

    page: Path
    title: str
    sentences: list[str]
    stale: list[str]


def reports(folder: Path) -> list[Report]:
    """All executed notebooks below `folder` that have a page of the same name: the paper's own sweeps, then by path."""
    near = [*folder.glob("*/*.html"), *folder.glob("*/*/*.html")]  # as deep as reports lie, wherever --reports leads
    by_path = sorted(near, key=lambda path: (not path.parent.name.startswith("paper"), path))
    pages_found = [path for path in by_path if path.with_suffix(".ipynb").exists()]
    return [_report(page) for page in pages_found if ".ipynb_checkpoints" not in page.parts]


def _report(page: Path) -> Report:
    notebook = nbformat.read(page.with_suffix(".ipynb"), 4)
    opening = notebook.cells[0].source
    title = opening.splitlines()[0].lstrip("# ")
    of_sweep, compared = page.stem == "report", page.parent.name == COMPARED
    outputs = record.outputs(notebook)
    found = re.search(r'<ul class="summary">(.*?)</ul>', outputs, re.DOTALL)
    question = re.search(r"\*\*Question[:.]?\*\*[:.]?\s*(.*?)(?:\n\n|$)", opening, re.DOTALL)
    if found:
        sentences = [html.unescape(item) for item in re.findall(r"<li>(.*?)</li>", found[1], re.DOTALL)]
    else:
        asked = question[1].replace("\n", " ").replace("*", "") if question else ""
        sentences = [capitalised(asked)] if asked else []
    if of_sweep or compared:
        title = page.parent.name if of_sweep else page.stem.replace("_", " ")
    return Report(page, title, sentences, record.stale(page.parent) if of_sweep else [])


def index_page(folder: Path, cells: pd.DataFrame) -> str:
    """One page without scripts or network: the reports below `folder`, and those of `papers_cells` that were run."""
    parts = [f"<h1>Reports</h1>{beside_the_paper(cells)}"]
    for report in reports(folder):
        link = os.path.relpath(report.page, folder)
        parts.append(f'<h2><a href="{html.escape(link)}">{html.escape(report.title)}</a></h2>')
        parts += [pages.html_text(line, off=True) for line in report.stale]
        parts.append(pages.html_list(report.sentences))
    head = f'<!doctype html><html lang="en"><meta charset="utf-8">{TITLE}<style>{STYLE}</style>'
    return f"{head}{''.join(parts)}</html>"


def papers_cells(folder: Path) -> pd.DataFrame:
    """The paper's cells as all sweeps below `folder` together fill them, see `beside.cells_beside`; those that were run."""
    rounds = [read_ledgers(path.parent) for path in sorted(folder.glob("*/report.ipynb"))]
    rounds = [frame[frame.protocol.isin(["paper", "as_released"])] for frame in rounds if len(frame)]
    if not (rounds and sum(map(len, rounds))):
        return pd.DataFrame()
    return beside.were_run(beside.cells_beside(studies.by_study(pd.concat(rounds, ignore_index=True))))


def beside_the_paper(cells: pd.DataFrame) -> str:
    """What was run of the paper's Table 2, in its protocol and as its public code does it."""
    if cells.empty:
        return ""
    table = beside.cells_beside_table(cells)
    caption = "Final test accuracy: mean (95% interval over seeds, n). What is not listed was not run."
    said = pages.html_text(beside.cells_beside_summary(cells))
    figure = f'<p><img src="{PICTURE}" alt="The numbers of the table below"></p>'
    return f"<h2>The paper's cells</h2>{said}{figure}{pages.html_table(table, caption)}"


def renew(folder: Path) -> str:
    """Write `index.html` and its picture into a folder of reports; returns a line on where it is, or on why it is not."""
    page = folder / "index.html"
    if page.exists() and TITLE not in page.read_text("utf-8", errors="replace"):
        return f"{os.path.relpath(page)} is no index of reports, and is left as it is."
    try:
        cells = papers_cells(folder)
        if len(cells):
            marks = {MARK: beside.cells_beside_summary(cells)}
            _write(folder / PICTURE, pages.picture(cells_figure(cells), marks).data)
        _write(page, index_page(folder, cells).encode())
    except Exception as error:  # whatever lies in there: what was just made beside it is none the worse
        return f"{os.path.relpath(page)} was not made anew: {' '.join(str(error).split()) or type(error).__name__}"
    return f"Index: {os.path.relpath(page)}"


def _write(path: Path, content: bytes) -> None:
    """All of a file or nothing."""
    path.with_name(f".{path.name}").write_bytes(content)
    os.replace(path.with_name(f".{path.name}"), path)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "reports"
    if not folder.is_dir():
        sys.exit(f"error: {folder} is no folder. Reports are made by a sweep: ./run_all.sh quick")
    said = renew(folder)
    if not said.startswith("Index: "):
        sys.exit(f"error: {said}")
    print(said)


if __name__ == "__main__":
    main()
