"""Deep active learning with scarce labels and noisy images: everything a notebook calls."""

from . import acquisition
from .config import PROTOCOLS, ROOT, SCENARIOS, ExperimentConfig, run_name
from .datasets import load_dataset
from .experiment import environment, prepare, run_experiment
from .ledger import Ledger, Round, read_ledger, read_ledgers
from .noise import AddGaussianNoise, AddSaltAndPepperNoise

__all__ = [
    "PROTOCOLS", "ROOT", "SCENARIOS", "AddGaussianNoise", "AddSaltAndPepperNoise", "ExperimentConfig", "Ledger", "Round",
    "acquisition", "environment", "load_dataset", "prepare", "read_ledger", "read_ledgers", "run_experiment", "run_name",
]  # fmt: skip
