"""Deep active learning with scarce labels and noisy images: everything a notebook calls."""

from importlib import import_module

# Name -> module. Imported on first use: a process that only reads a configuration does not wait for PyTorch.
_HOME = {
    "AddGaussianNoise": "noise", "AddSaltAndPepperNoise": "noise", "ExperimentConfig": "config", "Ledger": "ledger",
    "PROTOCOLS": "config", "ROOT": "config", "Round": "ledger", "SCENARIOS": "config", "environment": "compute.machine",
    "load_code": "own", "load_dataset": "datasets", "load_model": "saved", "prepare": "problem", "read_ledger": "ledger",
    "read_ledgers": "ledger", "run_experiment": "experiment", "run_name": "config",
}  # fmt: skip
_MODULES = ("acquisition", "datasets", "models", "noise", "training")  # with a `register` of their own
__all__ = [*_MODULES, *_HOME]


def __getattr__(name: str):
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
