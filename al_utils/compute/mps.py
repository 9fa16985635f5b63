"""NVIDIA's Multi-Process Service: processes compute on one GPU at the same time, instead of taking turns."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .cores import variables

PROGRAM = "nvidia-cuda-mps-control"  # comes with the driver
PLACE, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"  # where processes look for the service
USUAL = Path("/tmp/nvidia-mps")  # where they look if nothing is said
# It ends when its input does: with the process that started it, however that ends.
SERVICE = f"{PROGRAM} -d && cat; echo quit | {PROGRAM}"
TRIAL, PATIENCE = "import torch; torch.zeros(1, device='cuda')", 60  # seconds


@contextlib.contextmanager
def shared_gpu() -> Iterator[None]:
    """Processes that are started within share a GPU, if there is one and the service works here; else they take turns.

    A service that runs already stays in charge. The bits of a result are the same with it and without.
    """
    if not shutil.which(PROGRAM) or os.environ.get(PLACE) or (USUAL / "control").exists():
        yield
        return
    with (
        tempfile.TemporaryDirectory(prefix="mps-", ignore_cleanup_errors=True) as folder,
        variables({PLACE: folder, LOGS: folder}),
    ):
        service = subprocess.Popen(
            ["sh", "-c", SERVICE], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is answered by who started it
        )  # fmt: skip
        try:
            if not _works():  # some containers have the program but not what it needs
                del os.environ[PLACE]
            yield
        finally:
            service.communicate()


def _works() -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run([sys.executable, "-c", TRIAL], capture_output=True, timeout=PATIENCE).returncode == 0
    return False
