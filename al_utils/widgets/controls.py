"""What the interactive notebooks share: controls that explain themselves, drawing, and work beside the kernel."""

import atexit
import html
import io
import threading
from collections.abc import Callable

import ipywidgets as w

from ..person import Stopped
from .cards import figure_html, note

# Callbacks of widgets, background jobs and cells run in threads of their own, and matplotlib is for one at a time.
_drawing = threading.RLock()
WIDE = {"description_width": "150px"}


def drawn(plot: Callable, *args, alt: str, **options) -> str:
    """The figure that `plot(*args, **options)` returns, as HTML."""
    return figure_html(png(plot, *args, **options), alt)


def png(plot: Callable, *args, **options) -> bytes:
    """The figure as PNG, two pixels per pixel shown; `pages.picture` is smaller, but takes four times as long."""
    file = io.BytesIO()
    with _drawing:
        figure = plot(*args, **options)
        figure.savefig(file, dpi=2 * figure.dpi, facecolor="white", pil_kwargs={"compress_level": 1})
    return file.getvalue()


def control(kind: type, description: str, tooltip: str, width: str = "330px", **options) -> w.Widget:
    """A control with its label before it and an explanation when the mouse rests on it."""
    return kind(description=description, tooltip=tooltip, style=WIDE, layout=w.Layout(width=width), **options)


def button(text: str, tooltip: str, act: Callable, style: str = "", **options) -> w.Button:
    """A button that calls `act()`."""
    whole = w.Layout(width="auto", flex="none")  # beside a long text too
    made = w.Button(description=text, tooltip=tooltip, button_style=style, layout=whole, **options)
    made.on_click(lambda _: act())
    return made


def status() -> w.HTML:
    """A line for what goes on; screen readers are told of changes."""
    return w.HTML(note("Idle."), layout=w.Layout(min_height="24px"))


def say(line: w.HTML, text: str, error: bool = False) -> None:
    """Write `text` (escaped) into a status line; an error stands out by a sign and a frame."""
    if error:
        look = (
            "border-left: 4px solid #d33; padding: 2px 8px; white-space: pre-wrap; color: var(--jp-content-font-color1, #222)"
        )
        line.value = f'<div role="alert" style="{look}">⚠ {html.escape(text)}</div>'
    else:
        line.value = f'<div role="status">{note(text)}</div>'


class BackgroundJob:
    """Work in a thread of its own, so that the kernel stays free; of one name only one goes on at a time.

    A new job of the same name stops the old one and waits for its end in its own thread: a cell that is run again
    takes over from the panel that it made before.

    Args:
        work: called with a `threading.Event` that says when to stop.
        ended: called with "" at the end, else with what went wrong.
        wake: called by `stop` besides, if the work may be waiting for something.
    """

    _last: dict[str, "BackgroundJob"] = {}

    def __init__(self, name: str, work: Callable, ended: Callable = lambda error: None, wake: Callable = lambda: None):
        self._work, self._ended, self._wake, self.stopped = work, ended, wake, threading.Event()
        self.over = False
        self._before = self.halt(name)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._last[name] = self
        self._thread.start()

    @classmethod
    def halt(cls, name: str, wait: bool = False) -> "BackgroundJob | None":
        """Tell the job of this name to stop; `wait` until it has, so that its ledgers are free."""
        if job := cls._last.get(name):
            job.stop()
            if wait:
                job.wait()
        return job

    def stop(self) -> None:
        self.stopped.set()
        self._wake()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end, at most `seconds`; whether it has come."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self):
        if self._before:
            self._before.wait()
            self._before = None
        error = ""
        try:
            self._work(self.stopped)
        except Stopped:
            pass
        except Exception as problem:  # whatever it is, the person who pressed the button must see it
            expected = isinstance(problem, ValueError | RuntimeError | OSError)
            error = str(problem) if expected else f"{type(problem).__name__}: {problem}"
        self.over = True
        self._ended(error)


class Latest:
    """Calls `work(key)` in a background job for the newest key only: those asked for meanwhile are passed over."""

    def __init__(self, name: str, work: Callable, failed: Callable):
        self._name, self._work, self._failed = name, work, failed
        self._lock, self._busy = threading.Lock(), False
        self._next: tuple | None = None
        BackgroundJob.halt(name)

    def ask(self, key) -> None:
        with self._lock:
            self._next = (key,)
            if self._busy:
                return
            self._busy = True
        BackgroundJob(self._name, self._drain)

    def _drain(self, stopped):
        while True:
            with self._lock:
                request, self._next = self._next, None
                if request is None or stopped.is_set():
                    self._busy = False
                    return
            try:
                self._work(*request)
            except Exception as error:
                self._failed(request[0], str(error))


@atexit.register
def _end_jobs() -> None:
    """A thread that trains must not be cut off inside PyTorch when a script ends."""
    for job in list(BackgroundJob._last.values()):
        job.stop()
        job.wait(60)
