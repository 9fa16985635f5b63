"""Randomness is a pure function of (seed, purpose, round): nothing else that runs can change a draw."""

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def generator(seed: int, purpose: str, round: int = 0, device: str | torch.device = "cpu") -> torch.Generator:
    """A `torch.Generator` of its own for one purpose in one round of a run; for Apple's MPS it is on the CPU."""
    device = "cpu" if torch.device(device).type == "mps" else device
    digest = hashlib.sha256(f"{seed}/{purpose}/{round}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def sent(drawn: torch.Tensor, device: str | torch.device) -> torch.Tensor:
    """What was drawn on the CPU, on `device`; an NVIDIA GPU takes it in its turn, and is not waited for."""
    if torch.device(device).type == "cuda" and not drawn.is_cuda:
        return drawn.pin_memory().to(device, non_blocking=True)
    return drawn.to(device)


@contextlib.contextmanager
def seeded(seed: int, device: str | torch.device = "cpu") -> Iterator[None]:
    """Within it PyTorch's global generators start from `seed`; afterwards they are as before.

    For code that is not ours and draws from them: the initialisation of somebody's network, dropout inside attention.
    """
    device = torch.device(device)
    with torch.random.fork_rng([] if device.type == "cpu" else [device]):
        torch.default_generator.manual_seed(seed)
        if device.type != "cpu":
            torch.get_device_module(device).manual_seed(seed)
        yield
