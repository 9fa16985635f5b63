"""Ctrl-C and SIGTERM, which end a sweep in good order."""

import contextlib
import signal

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_asked = 0  # the signal that came


class StoppedBySignal(KeyboardInterrupt):
    """The signal that ended the sweep."""


@contextlib.contextmanager
def on_signals():
    """Raise `StoppedBySignal` in the main thread on the first signal; later ones must not disturb the clearing up."""
    global _asked
    _asked, before = 0, {number: signal.getsignal(number) for number in SIGNALS}

    def stop(number, _):
        global _asked
        _asked = number
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise StoppedBySignal(number)

    for number in SIGNALS:
        signal.signal(number, stop)
    try:
        yield
    finally:
        _asked = 0
        for number, handler in before.items():
            signal.signal(number, handler)


def asked() -> bool:
    return bool(_asked)


def check() -> None:
    """Raise `StoppedBySignal` again: a signal may have come where exceptions are lost, such as in an import or a `__del__`."""
    if _asked:
        raise StoppedBySignal(_asked)
