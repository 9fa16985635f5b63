"""How many cores this process may use; without PyTorch, so that starting many processes need not wait for it."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

# One run is one of many on its machine: libraries that start a thread per core would slow each other down.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
# glibc gives the memory of large tensors back after each use and asks for it again: a tenth of ResNet-18's time.
KEEP_MEMORY = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**30))


def allowed_cores() -> int:
    """The cores that this process may use, which may be fewer than there are: `taskset`, Slurm, a container's limit."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    limit = container_limit()
    return max(1, min(cores, math.ceil(limit) if limit < math.inf else cores))


def container_limit(groups: Path = Path("/sys/fs/cgroup")) -> float:
    """The cores' worth of time that a container has; infinity without a limit."""
    with contextlib.suppress(OSError, ValueError):
        time, period = (groups / "cpu.max").read_text(encoding="utf-8").split()
        return int(time) / int(period)  # "max" is no number
    with contextlib.suppress(OSError, ValueError):  # the first version of control groups
        time, period = ((groups / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period"))
        if int(time) > 0:
            return int(time) / int(period)
    return math.inf


@contextlib.contextmanager
def variables(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for the processes that are started within: they read some before any code of ours."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
