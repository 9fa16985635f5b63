"""What a run is computed on: its threads, its clock, and a description of both for the ledger."""

import contextlib
import functools
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ..config import ROOT
from ..options import shown
from . import parallel
from .cores import allowed_cores

GIT_TIMEOUT = 5.0  # seconds
CODE = ("al_utils", "requirements.txt")  # what a result depends on

_inside: list[int] = []  # PyTorch's number of threads before, once for each `repeatable` that is entered


def threads_wanted() -> int:
    """`AL_THREADS`, at most the cores there are; by default as many as PyTorch would use: the cores, or `OMP_NUM_THREADS`.

    Raises:
        ValueError: it is no whole number above 0.
    """
    wanted = os.environ.get("AL_THREADS", "").strip()
    if not wanted:
        return min(torch.get_num_threads(), allowed_cores())
    if not (wanted.isascii() and wanted.isdigit() and wanted.strip("0")):
        raise ValueError(f"AL_THREADS={shown(wanted)} must be a whole number above 0, such as 2, or empty: as many as cores.")
    return min(int(wanted[:9]), allowed_cores())


@contextlib.contextmanager
def repeatable():
    """Hold PyTorch to what gives the same bits each time: one thread, and on NVIDIA GPUs cuDNN's deterministic kernels.

    With another number of threads sums are rounded differently. What `parallel` can share out without changing a bit is
    computed by `threads_wanted` threads. In a sweep that is 1, one run a core. Several threads may be inside at once.
    """
    wanted = threads_wanted()
    _inside.append(_inside[0] if _inside else torch.get_num_threads())
    torch.set_num_threads(1)
    try:
        with parallel.threads(wanted), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            yield
    finally:
        before = _inside.pop()
        torch.set_num_threads(1 if _inside else before)  # a setting of the process in part: the last to leave restores it


class Stopwatch:
    """Seconds spent in each named part; a part inside another does not count for the outer one."""

    def __init__(self, device: str):
        self.seconds: dict[str, float] = {}
        self._inside: list[str] = []
        self._device = device

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
            torch.accelerator.synchronize(self._device)
        return time.perf_counter()

    def _add(self, part, seconds):
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds


def environment(device: str) -> dict[str, str | int]:
    """Package versions, git commit, processor, threads and device of this process.

    `checkout` says whether the code differs from the commit: "clean" or "changed".
    """
    packages = ("torch", "torchvision", "numpy", "scipy", "pandas", "papermill")
    with repeatable():
        threads = parallel.n_threads()
    commit, checkout = provenance()
    found: dict[str, str | int] = {
        "python": platform.python_version(),
        **{package: _version(package) for package in packages},
        "commit": commit,
        "checkout": checkout,
        "processor": _processor(),
        "threads": threads,
        "device": device,
    }
    if device.startswith("cuda"):
        found |= {
            "device": f"{device} ({torch.cuda.get_device_name(device)})",
            "cuda": str(torch.version.cuda),
            "cudnn": torch.backends.cudnn.version() or "none",
        }
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # ledgers alone need few of them
        return "none"


@functools.cache  # the code that runs is that which was imported
def provenance(root: Path = ROOT) -> tuple[str, str]:
    """The commit of this checkout, and whether its code is "clean" or "changed"; "unknown" without a history of its own."""
    top, _, commit = (_git(root, "rev-parse", "--show-toplevel", "--short", "HEAD") or "").partition("\n")
    if not commit or Path(top).resolve() != root.resolve():  # a copy without history, inside another repository
        return "unknown", "unknown"
    changes = _git(root, "status", "--porcelain", "--", *CODE)
    return commit, "unknown" if changes is None else "changed" if changes else "clean"


def _git(root: Path, *arguments: str) -> str | None:
    """What git says; None where it fails, is not there, or hangs."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # GIT_DIR is another's
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(
            ["git", *arguments], cwd=root, env=own, timeout=GIT_TIMEOUT, check=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace",
        )  # fmt: skip
        return said.stdout.strip()
    return None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
