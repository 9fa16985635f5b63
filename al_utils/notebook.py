"""What the notebooks share: parameters checked, versions shown; text, tables and figures on the page.

A notebook imports the project and looks for no folder, so it runs from wherever it is started, in JupyterLab, under
papermill, and as a script. Paths in its parameters are seen from `config.ROOT`.
"""

import ast

import pandas as pd
from IPython import get_ipython
from IPython.display import HTML, display
from matplotlib.figure import Figure

from .compute.machine import environment
from .config import check_injected, injected
from .results import pages


def check_parameters() -> None:
    """Refuse what papermill injected under a name, or of a type, that the notebook's parameters do not have.

    Papermill itself only warns. A script, into which nothing can be injected, passes.

    Raises:
        ValueError: an unknown parameter, with the nearest known one. TypeError: a value of another type.
    """
    shell = get_ipython()
    if shell is None:
        return
    cells = shell.user_ns["In"]
    check_injected(cells)
    for own, _ in injected(cells):
        for name, kind in _declared(own).items():
            _check_type(name, kind, shell.user_ns[name])


def _declared(parameters_cell: str) -> dict[str, str]:
    """The types that stand in `name: type = default  # meaning`."""
    found = [s for s in ast.parse(parameters_cell).body if isinstance(s, ast.AnnAssign)]
    return {ast.unparse(s.target): ast.unparse(s.annotation) for s in found}


def _check_type(name: str, kind: str, value: object) -> None:
    found = type(value).__name__
    if found == kind or (kind, found) == ("float", "int"):
        return
    way_out = f"Papermill makes numbers of its -p: use -r {name} {value}." if kind == "str" else ""
    raise TypeError(f"{name}={value!r} is of type {found}, but must be {kind}. {way_out}".strip())


def show_environment(device: str = "cpu") -> None:
    """Print versions, commit, processor, threads and device."""
    for name, value in environment(device).items():
        print(f"{name:11s} {value}")


def say(text: str, bold: bool = False, off: bool = False) -> None:
    """Show a paragraph of plain text; `off` sets it grey."""
    display(HTML(pages.html_text(text, bold, off)))


def show_table(table: pd.DataFrame, caption: str = "") -> None:
    """Show a table of text, see `pages.html_table`."""
    display(HTML(pages.html_table(table, caption)))


def show_figure(figure: Figure, values: bool = False) -> None:
    """Show a figure as a crisp PNG; `values`: those of its curves appear under the mouse on the notebook's page."""
    display(pages.picture(figure, values=values))
