"""What a report was made from: a mark of its ledgers in everything it writes, and a check that it is still true."""

import hashlib
import html
import json
import re
from pathlib import Path

import nbformat
from PIL import Image

from ..config import located
from ..ledger import find_ledgers, read_ledgers
from . import pages, studies, tables

MARK = "ledgers"  # the name of the mark in a PNG


def ledgers_mark(folder: str | Path) -> str:
    """`54 ledgers, SHA-256 0123456789ab`: the number and the digest of all ledgers below `folder`, names and bytes."""
    paths = find_ledgers(folder)
    names = [path.relative_to(located(folder)).as_posix() for path in paths]
    each = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in zip(names, paths)}
    return f"{len(each)} ledgers, SHA-256 {hashlib.sha256(json.dumps(each).encode()).hexdigest()[:12]}"


def is_of_other_ledgers(page: Path) -> bool:
    """Whether a report's page says that it was made from others than the ledgers beside it."""
    said = page.read_text("utf-8", errors="replace")
    return "ledgers, SHA-256" in said and ledgers_mark(page.parent) not in said


def stale(folder: str | Path) -> list[str]:
    """What in a sweep's folder was not made from the ledgers that lie there, or says other numbers than today's code."""
    folder, found = Path(folder), []
    mark = ledgers_mark(folder)
    numbers = _visible(pages.html_table(tables.final_accuracy(studies.together(studies.by_study(read_ledgers(folder))))))
    for path in sorted(folder.glob("report.*")):
        said = outputs(nbformat.read(path, 4)) if path.suffix == ".ipynb" else path.read_text("utf-8")
        if mark not in said:
            found.append(f"{path.name} was not made from {mark}")
        elif numbers not in _visible(said):
            found.append(f"{path.name} says other final accuracies than its ledgers")
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as picture:
            if picture.info.get(MARK) != mark:
                found.append(f"{path.name} was not made from {mark}")
    return found


def _visible(page: str) -> str:
    """The words of a page, without its markup, which a renderer may write in its own way."""
    words = html.unescape(re.sub(r"<style.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL))
    return " ".join(words.split())


def outputs(notebook: nbformat.NotebookNode) -> str:
    """All HTML and text that a notebook shows."""
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(str(output.get("data", {}).get("text/html", output.get("text", ""))) for output in shown)
