"""NVIDIA's Multi-Process Service: processes compute on one GPU at the same time, instead of taking turns."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

PROGRAM = "nvidia-cuda-mps-control"  # comes with the driver
PLACE = "CUDA_MPS_PIPE_DIRECTORY"  # where processes look for the service
# It ends when its input does: with the process that started it, however that ends.
SERVICE = f"{PROGRAM} -d && cat; echo quit | {PROGRAM}"


@contextlib.contextmanager
def shared_gpu() -> Iterator[None]:
    """Processes that are started within share a GPU, if there is one and the service starts; else they take turns.

    A service that runs already stays in charge. The bits of a result are the same with it and without.
    """
    if not shutil.which(PROGRAM) or os.environ.get(PLACE):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="mps-", ignore_cleanup_errors=True) as folder:
        os.environ |= {PLACE: folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        service = subprocess.Popen(
            ["sh", "-c", SERVICE], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is answered by who started it
        )  # fmt: skip
        try:
            yield
        finally:
            service.communicate()
            del os.environ[PLACE], os.environ["CUDA_MPS_LOG_DIRECTORY"]
