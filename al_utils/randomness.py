"""Randomness is a pure function of (seed, purpose, round): nothing else that runs can change a draw."""

import hashlib

import torch


def generator(seed: int, purpose: str, round: int = 0, device: str | torch.device = "cpu") -> torch.Generator:
    """A `torch.Generator` of its own for one purpose in one round of a run."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{round}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
