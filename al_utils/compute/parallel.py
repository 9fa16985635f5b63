"""More cores, the same bits: jobs that do not touch each other, each computed with a single thread.

PyTorch's own threads cut a long sum into as many pieces as there are threads, so the result depends on their number.
Here the pieces are fixed, and the threads only share them out.
"""

import contextlib
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

import torch


class _Thread:
    def __init__(self):
        self.jobs, self.results = SimpleQueue(), SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self):
        torch.set_num_threads(1)
        torch.set_grad_enabled(False)  # a setting of each thread
        while (jobs := self.jobs.get()) is not None:
            try:
                self.results.put(([job() for job in jobs], None))
            except BaseException as error:
                self.results.put((None, error))

    def stop(self):
        self.jobs.put(None)
        self._thread.join()


class _Beside(threading.local):
    """The threads at work beside the calling one; each caller has its own, as several views of a notebook train at once."""

    def __init__(self):
        self.threads: list[_Thread] = []


_beside = _Beside()


@contextlib.contextmanager
def threads(n: int):
    """Let `run` use `n` threads; PyTorch itself is to be held to one, see `machine.repeatable`."""
    before, own = _beside.threads, [_Thread() for _ in range(n - 1)]
    _beside.threads = own
    try:
        yield
    finally:
        for thread in own:
            thread.stop()
        _beside.threads = before


def n_threads() -> int:
    """How many jobs `run` computes at the same time."""
    return 1 + len(_beside.threads)


def run(jobs: Sequence[Callable]) -> list:
    """What the jobs return, in their order. They must write to nothing that another one uses, and take no gradients."""
    beside = _beside.threads[: len(jobs) - 1]
    if not beside:
        return [job() for job in jobs]
    n = 1 + len(beside)
    for i, thread in enumerate(beside, start=1):
        thread.jobs.put(jobs[i::n])
    results, errors = [None] * len(jobs), []
    try:
        results[::n] = [job() for job in jobs[::n]]
    finally:  # nothing may still be at work when this returns
        for i, thread in enumerate(beside, start=1):
            shares, error = thread.results.get()
            if error:
                errors.append(error)
            else:
                results[i::n] = shares
    if errors:
        raise errors[0]
    return results
