"""Networks, strategies, data sets and noises of one's own, in files that are named where a run is described."""

import hashlib
import linecache
import sys
from collections.abc import Iterable
from importlib.abc import InspectLoader
from pathlib import Path
from types import ModuleType

from .config import located

_executed: dict[str, bytes] = {}  # a module's name -> the source that was executed last


def load_code(files: str | Iterable[str | Path]) -> None:
    """Execute Python files that register something; a relative path starts at the project's root.

    In a process each is executed once, and again when it has changed.

    Args:
        files: paths, or one text with commas between them.

    Raises:
        ValueError: a file that is not there, or that fails; the message has its line.
    """
    if isinstance(files, str):
        return load_code([file.strip() for file in files.split(",") if file.strip()])
    for file in files:
        path = located(file)
        if path.suffix != ".py" or not path.is_file():
            raise ValueError(f"code={str(file)!r} is no Python file: there is no {path}. Give the path of a .py file.")
        source = path.read_bytes()
        name = _module_name(path)
        if _executed.get(name) == source:
            continue
        module = sys.modules[name] = ModuleType(name)  # from there Python finds a class that goes to another process
        module.__file__ = str(path)
        try:
            _AsRead(source, path).exec_module(module)
        except (Exception, SystemExit) as error:  # a script that ends its process
            raise ValueError(f"code={str(file)!r}: {_where(error, path)}{type(error).__name__}: {error}") from error
        _executed[name] = source
        _keep_source(path, source)


def check_unchanged(files: Iterable[str | Path]) -> None:
    """Raise a `ValueError` unless the files are as they were when this process executed them."""
    for file in files:
        path = located(file)
        if not path.is_file() or path.read_bytes() != _executed.get(_module_name(path)):
            raise ValueError(
                f"{path.name} has changed since the sweep began, and its runs would be of two sources. Undo the change and "
                "give the same command again, or start over with --force."
            )


def _module_name(path: Path) -> str:
    return f"own_code_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}_{path.stem}"


class _AsRead(InspectLoader):
    """Executes what was read, whatever the file, or bytecode that Python keeps of it, says by then."""

    def __init__(self, source: bytes, path: Path):
        self.source, self.path = source, str(path)

    def get_source(self, fullname: str) -> str:
        return self.source.decode()

    def get_code(self, fullname: str):
        return self.source_to_code(self.source, self.path)


def _keep_source(path: Path, source: bytes) -> None:
    """Have Python show this as the file's source, whatever the file says later: it is what was executed, and is hashed."""
    lines = source.decode(errors="replace").splitlines(keepends=True)
    linecache.cache[str(path)] = len(source), None, lines, str(path)


def _where(error: BaseException, path: Path) -> str:
    lines, traceback = [], error.__traceback__
    while traceback:
        if traceback.tb_frame.f_code.co_filename == str(path):
            lines.append(traceback.tb_lineno)
        traceback = traceback.tb_next
    return f"line {lines[-1]}, " if lines else ""
