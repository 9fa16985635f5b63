"""What somebody registered: whether it is ours, who is named when it fails, and the hash of its source."""

import contextlib
import functools
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType

OURS = __name__.partition(".")[0]


def is_ours(registered: Callable) -> bool:
    """Whether it came with the project, whose commit is in the ledger's header anyway."""
    home = getattr(registered, "__module__", None) or type(registered).__module__
    return home.partition(".")[0] == OURS


def check_name_free(kind: str, name: str, registered: Callable | None, new: Callable) -> None:
    """Raise a `ValueError` if `registered`, which has the name already, came with the project and `new` did not."""
    if registered is not None and is_ours(registered) and not is_ours(new):
        raise ValueError(f"{kind}={name!r} comes with the project: give yours another name.")


@contextlib.contextmanager
def named(what: str) -> Iterator[None]:
    """Within it somebody's function is called: an error of it becomes a `ValueError` that says whose it is."""
    try:
        yield
    except Exception as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{what} failed: {type(error).__name__}{f': {said}' if said else ''}") from error


def digest(registered: Callable) -> str:
    """Sixteen characters that differ when the source of a function or class does, or what it uses of its own file or notebook.

    That is functions and classes, and numbers, texts and tuples of them; also those that it closes over or has as defaults,
    and what decorates it.
    What is in other modules, and what can change while it is used, such as lists, is not looked at.
    """
    return hashlib.sha256("\n".join(_parts(registered, set())).encode()).hexdigest()[:16]


def _parts(thing, seen: set[int]) -> Iterator[str]:
    thing = _without_foreign_decorators(thing)
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, MethodType):
        yield from _parts(thing.__func__, seen)
        yield from _parts(thing.__self__, seen)
    elif isinstance(thing, functools.partial):
        yield from _parts(thing.func, seen)
        for used in (*thing.args, *thing.keywords.values()):
            if _of_its_file(used, thing.func):
                yield from _parts(used, seen)
        yield _plain([*thing.args, *sorted(thing.keywords.items())])
    elif isinstance(thing, FunctionType):
        yield _source(thing)
        closed_over = [cell.cell_contents for cell in thing.__closure__ or () if cell != type(cell)()]
        yield _plain(closed_over)
        for used in (*closed_over, *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()):
            if _of_its_file(used, thing):
                yield from _parts(used, seen)
        if thing.__defaults__ or thing.__kwdefaults__:
            yield _plain([*(thing.__defaults__ or ()), *sorted((thing.__kwdefaults__ or {}).items())])
        for name in dict.fromkeys(_names(thing.__code__)):
            used = thing.__globals__.get(name)
            if _of_its_file(used, thing):
                yield from _parts(used, seen)
            elif isinstance(used, bool | int | float | str | bytes | tuple) and not name.startswith("__"):
                yield name + _plain(used)
    elif isinstance(thing, type):
        for base in thing.__bases__:
            if base.__module__ == thing.__module__:
                yield from _parts(base, seen)
        # Method by method: Python finds the source of a class that is defined in a notebook only in part.
        for name, value in vars(thing).items():
            value = getattr(value, "__func__", value)  # of static and class methods
            if isinstance(value, FunctionType):
                yield from _parts(value, seen)
            elif not name.startswith("__"):
                yield name + _plain(value)
    else:  # a callable object
        yield from _parts(type(thing), seen)
        yield _plain(sorted(vars(thing).items()) if hasattr(thing, "__dict__") else [])


def _without_foreign_decorators(thing):
    """What decorators of other modules wrap: their source is not the user's."""
    while hasattr(thing, "__wrapped__"):
        if isinstance(thing, FunctionType) and thing.__globals__.get("__name__") == thing.__module__:
            return thing
        thing = thing.__wrapped__
    return thing


def _of_its_file(used, thing: Callable) -> bool:
    return callable(used) and getattr(used, "__module__", None) == getattr(thing, "__module__", type(thing).__module__)


def _names(code: CodeType) -> Iterator[str]:
    """The global names, among others, in a function and in those within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _source(function: FunctionType) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function.__code__))  # of a decorated function itself would be what it wraps
    except (OSError, TypeError):  # typed where no file or cell keeps it
        return _plain(list(_code(function.__code__)))


def _code(code: CodeType) -> Iterator:
    yield from (code.co_code.hex(), code.co_names, code.co_varnames)
    for constant in code.co_consts:
        yield from _code(constant) if isinstance(constant, CodeType) else [_plain(constant)]


def _plain(value) -> str:
    """A value's text, if that says what it is; of other objects only their type, because the rest is an address."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, bool | int | float | str | bytes | None):
        return repr(value)
    return type(value).__name__
