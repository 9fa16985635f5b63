"""What a run is computed on: its threads, its clock, and a description of both for the ledger."""

import contextlib
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from ..config import ROOT
from . import parallel


@contextlib.contextmanager
def fixed_threads():
    """Hold PyTorch to one thread: with another number sums are rounded differently, and a run would not repeat.

    What `parallel` can share out without changing a bit is computed by `AL_THREADS` threads, by default as many as
    PyTorch would use: the cores, or `OMP_NUM_THREADS`. In a sweep that is 1, one run a core.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with parallel.threads(int(os.environ.get("AL_THREADS") or before)):
            yield
    finally:
        torch.set_num_threads(before)


class Stopwatch:
    """Seconds spent in each named part; a part inside another does not count for the outer one."""

    def __init__(self, device: str):
        self.seconds, self._inside, self._device = {}, [], device

    @contextlib.contextmanager
    def __call__(self, part: str):
        start = self._now()
        self._inside.append(part)
        try:
            yield
        finally:
            self._inside.pop()
            spent = self._now() - start
            self._add(part, spent)
            if self._inside:
                self._add(self._inside[-1], -spent)

    def each(self, part: str, items: Iterator) -> Iterator:
        """The same items; the time to make them counts for `part`."""
        end = object()
        while True:
            with self(part):
                item = next(items, end)
            if item is end:
                return
            yield item

    def _now(self):
        if self._device != "cpu":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def _add(self, part, seconds):
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds


def environment(device: str) -> dict[str, str | int]:
    """Package versions, git commit, processor, threads and device of this process."""
    packages = ("torch", "numpy", "pandas", "papermill")
    with fixed_threads():
        threads = parallel.n_threads()
    try:
        git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
        commit = git.stdout.strip()
    except FileNotFoundError:
        commit = ""
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "commit": commit or "unknown",
        "processor": _processor(),
        "threads": threads,
        "device": device if device == "cpu" else f"{device} ({torch.cuda.get_device_name(device)})",
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
