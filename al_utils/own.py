"""Networks, strategies, data sets and noises of one's own, in files that are named where a run is described."""

import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from .config import located


def load_code(files: str | Iterable[str | Path]) -> None:
    """Execute Python files that register something, each once in a process; a relative path starts at the project's root.

    Args:
        files: paths, or one text with commas between them.

    Raises:
        ValueError: a file that is not there, or that fails; the message has its line.
    """
    if isinstance(files, str):
        return load_code([file.strip() for file in files.split(",") if file.strip()])
    for file in files:
        path = located(file)
        name = f"own_code_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}_{path.stem}"
        if name in sys.modules:
            continue
        if path.suffix != ".py" or not path.is_file():
            raise ValueError(f"code={str(file)!r} is no Python file: there is no {path}. Give the path of a .py file.")
        specification = importlib.util.spec_from_file_location(name, path)
        assert specification and specification.loader  # of a .py file there always are
        module = sys.modules[name] = importlib.util.module_from_spec(specification)
        try:
            specification.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise ValueError(f"code={str(file)!r}: {_where(error, path)}{type(error).__name__}: {error}") from error


def _where(error: Exception, path: Path) -> str:
    lines, traceback = [], error.__traceback__
    while traceback:
        if traceback.tb_frame.f_code.co_filename == str(path):
            lines.append(traceback.tb_lineno)
        traceback = traceback.tb_next
    return f"line {lines[-1]}, " if lines else ""
