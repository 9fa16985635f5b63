"""A notebook executed and rendered as a page: `python -m al_utils.sweep.page 07_speed -p repeats 3`."""

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from ..config import ROOT, expanded
from ..options import check_choice
from .jobs import run_notebook
from .signals import StoppedBySignal, asked, check, on_signals

NOTEBOOKS = ROOT / "notebooks"
REPORT = "notebooks/05_report.ipynb"  # it links to other files, so it is told where its page will be
TIMEOUT = 24 * 3600.0  # seconds
# Beside JupyterLab's own look: its dark colours for who reads in the dark, where figures stay on white; and text that outputs
# begin with stands below the text between them.
LOOK = """{% block html_head_css %}{{ super() }}
{{ resources.include_css("static/theme-dark.css") | replace("<style", "<style media='(prefers-color-scheme: dark)'") }}
<style>.jp-OutputArea-output:not(.jp-RenderedText) { padding-left: 5px } OF_FIGURES</style>{% endblock %}"""


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status: 0, 1 (the notebook failed), 2 (refused), 130 or 143 (stopped)."""
    parser = argparse.ArgumentParser(
        prog="./run_all.sh page",
        description="Execute a notebook and render it as an HTML page that needs no network. Both go to reports/NAME, where "
        "NAME is the notebook's without its number: 07_speed to reports/speed/07_speed.ipynb and .html; a notebook in a "
        "folder of notebooks/ goes to the folder of that name. What was there before is replaced when the notebook has ended "
        "well; one that fails stays beside it as .failed.ipynb.",
    )
    parser.add_argument("notebook", help="a name in notebooks/, with or without its ending, or a path")
    parser.add_argument(
        "-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a parameter of the notebook"
    )
    parser.add_argument("--reports", type=Path, default=ROOT / "reports", metavar="DIR", help="instead of reports/")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, metavar="SECONDS", help="limit (default: a day)")
    options = parser.parse_args(arguments)

    def plan():
        notebook = find(options.notebook)
        output = expanded(options.reports).resolve() / folder_name(notebook) / notebook.stem
        place = {"page": os.path.relpath(output.parent, ROOT)} if notebook == ROOT / REPORT else {}
        return notebook, output, place | {name: value_of(text) for name, text in options.parameter}

    return carry_out(plan, options.timeout)


def carry_out(plan: Callable[[], tuple[Path, Path, dict]], timeout: float) -> int:
    """Make the page that `plan` returns (notebook, output, parameters), and the index of its reports; the exit status."""
    made = False
    with on_signals():
        try:
            notebook, output, parameters = plan()
            output.parent.mkdir(parents=True, exist_ok=True)
            error = make(os.path.relpath(notebook, ROOT), output, parameters, timeout, one_thread=False)
            made = not error
            index = "" if error else renew_index(output.parent.parent)
        except StoppedBySignal as stopped:
            output.with_name(f"{output.name}.partial.ipynb").unlink(missing_ok=True)
            print(f"Stopped. {'The page is made, the index is as before' if made else 'What was there before is unchanged'}.")
            return 128 + stopped.args[0]
        except (ValueError, OSError) as refused:
            print(f"error: {refused}", file=sys.stderr)
            return 1 if isinstance(refused, OSError) else 2
    if error:
        print(f"FAILED {notebook.name}: {error}\n       see {os.path.relpath(output)}.failed.ipynb")
        return 1
    print(f"{index}\nPage: {os.path.relpath(output)}.html")
    return 0


def renew_index(reports: Path) -> str:
    """Make the page that lists all reports; returns what is to be said of it."""
    from ..results import index  # here: runs alone need nothing but PyTorch and NumPy

    return index.renew(reports)


def find(notebook: str) -> Path:
    """The notebook at a path, or of this name below `notebooks/`."""
    path = Path(notebook)
    if path.suffix == ".ipynb" and path.is_file():
        return path.resolve()
    known = {str(p.relative_to(NOTEBOOKS).with_suffix("")): p for p in sorted(NOTEBOOKS.rglob("[!.]*.ipynb"))}
    known = {name: p for name, p in known.items() if ".ipynb_checkpoints" not in p.parts}
    name = notebook.removesuffix(".ipynb").removeprefix("notebooks/")
    check_choice("notebook", name, known)
    return known[name]


def folder_name(notebook: Path) -> str:
    """Where a notebook's page goes, below `reports/`: `07_speed` to `speed`, `audit/1_dips` to `audit`."""
    folder = notebook.parent
    name = folder.name if NOTEBOOKS in folder.parents else notebook.stem
    return re.sub(r"^\d+_", "", name)


def value_of(text: str) -> int | float | bool | None | str:
    """A parameter's value as `papermill -p` understands it."""
    words: dict[str, bool | None] = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def make(
    notebook: str,
    output: Path,
    parameters: dict,
    timeout: float,
    stopped: Callable[[], bool] = asked,
    one_thread: bool = True,
) -> str:
    """Execute a notebook (a path from the repository's root) to `<output>.ipynb` and render `<output>.html`.

    Returns "" or its error in one line; then the executed part is `<output>.failed.ipynb`, and the rest is as before.
    """
    base = os.path.relpath(output, ROOT)
    partial, failed, final, page = (Path(f"{output}{e}") for e in (".partial.ipynb", ".failed.ipynb", ".ipynb", ".html"))
    error = run_notebook(notebook, f"{base}.partial.ipynb", parameters, timeout, stopped, one_thread)
    check()
    if error:
        if partial.exists():
            os.replace(partial, failed)
        return error
    rendered = page.with_name(f".{page.name}")
    rendered.write_text(render(partial), encoding="utf-8")
    os.replace(partial, final)
    os.replace(rendered, page)
    failed.unlink(missing_ok=True)
    return ""


def render(notebook: Path) -> str:
    """A notebook as one HTML page, which needs no network: nbconvert's own page loads four scripts.

    Its code is left out, unless the notebook's metadata hold `"show_code": true`.
    """
    import nbformat
    from nbconvert import HTMLExporter

    from ..results import hover

    blocks = ("html_head_js", "html_head_js_mathjax", "html_head_js_mermaidjs", "jupyter_widgets")
    offline = "{% extends 'lab/index.html.j2' %}" + "".join(f"{{% block {b} %}}{{% endblock %}}" for b in blocks)
    offline += LOOK.replace("OF_FIGURES", hover.STYLE)
    executed = nbformat.read(notebook, as_version=4)
    for output in [output for cell in executed.cells for output in cell.get("outputs", [])]:
        about = output.get("metadata", {}).get("image/png", {})
        if drawing := about.get("hover"):  # what `pages.picture` has drawn for the mouse
            output.data = {"text/html": hover.over(output.data["image/png"].replace("\n", ""), about["width"], drawing)}
    exporter = HTMLExporter(
        exclude_input=not executed.metadata.get("show_code", False), exclude_input_prompt=True, exclude_output_prompt=True,
        preprocessors=["nbconvert.preprocessors.CoalesceStreamsPreprocessor"],  # of a progress bar only its last state
    )  # fmt: skip
    exporter.raw_template = offline
    title = {"metadata": {"name": notebook.name.removesuffix(".ipynb").removesuffix(".partial")}}
    return exporter.from_notebook_node(executed, resources=title)[0]


if __name__ == "__main__":
    sys.exit(main())
