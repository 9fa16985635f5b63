"""One flat, typed configuration: what a run is. Presets are dictionaries of overrides, nothing more."""

import ast
import difflib
import hashlib
import math
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePath

# A field left at its sentinel ("" or -1) takes the value of its scenario or protocol.
SCENARIOS = {
    "constrained": dict(n_initial=100, n_query=10, n_rounds=100, n_valid=300),
    "ideal": dict(n_initial=1_000, n_query=1_000, n_rounds=10, n_valid=5_000),
    "ideal_fine": dict(n_initial=1_000, n_query=100, n_rounds=100, n_valid=5_000),  # the paper's Figure 4
    "supervised": dict(n_initial=1_100, n_query=0, n_rounds=0, n_valid=300),
}

_PAPER = dict(  # section 4 of the paper; what it leaves open (dropout, K, the short batch) is ours
    noise_rate=0.1, noise_draw="fixed", noise_on="all", salt_and_pepper="extremes",
    epochs=100, min_steps=0, batch_size=64, last_batch="keep", lr=1e-3, momentum=0.0, weight_decay=1e-4, keep_weights="last",
    dropout=0.5, mc_samples=10, pool_subset=0, posterior="mc_dropout",
)  # fmt: skip
PROTOCOLS = {
    "paper": _PAPER,
    # What the paper's public code does: github.com/lucapantea/active-learning
    "as_released": _PAPER | dict(weight_decay=0.0, dropout=0.0, posterior="as_released",
                                 noise_draw="each_access", salt_and_pepper="mean", split_seed=0),
    # A recipe under which both networks learn.
    "tuned": _PAPER | dict(lr=1e-2, momentum=0.9, last_batch="balance"),
}  # fmt: skip

CHOICES = {
    "model": ("lenet", "resnet18"),
    "noise": ("none", "gaussian", "salt_and_pepper"),
    "protocol": tuple(PROTOCOLS),
    "scenario": tuple(SCENARIOS),
    "noise_draw": ("fixed", "each_access"),
    "noise_on": ("all", "train", "test"),
    "salt_and_pepper": ("extremes", "mean"),
    "last_batch": ("keep", "drop", "balance"),
    "keep_weights": ("last", "best_valid"),
    "posterior": ("mc_dropout", "as_released"),
}
ROOT = Path(__file__).resolve().parent.parent  # the repository
DATASETS = ("mnist5k", "mnist", "fashion_mnist", "cifar10", "folder:PATH")
NAME_FIELDS = ("dataset", "model", "strategy", "noise", "seed")


@dataclass(frozen=True)
class ExperimentConfig:
    """A run, fully specified: two equal configurations give the same ledger on the same machine.

    Every field is also a parameter of `notebooks/02_experiment.ipynb`. A field left at its sentinel (`""`, `-1`)
    is filled in from `SCENARIOS[scenario]` or `PROTOCOLS[protocol]`, so that a built configuration holds no sentinel.

    Raises:
        TypeError: a value of the wrong type, such as the string that YAML makes of `1e-3`.
        ValueError: a value that is not allowed; the message names the allowed ones.
    """

    dataset: str = "mnist5k"
    model: str = "lenet"
    strategy: str = "random"
    noise: str = "none"
    seed: int = 0
    protocol: str = "paper"
    scenario: str = "constrained"
    n_initial: int = -1
    n_query: int = -1
    n_rounds: int = -1
    n_valid: int = -1
    epochs: int = -1
    min_steps: int = -1
    batch_size: int = -1
    last_batch: str = ""
    lr: float = -1.0
    momentum: float = -1.0
    weight_decay: float = -1.0
    keep_weights: str = ""
    dropout: float = -1.0
    mc_samples: int = -1
    pool_subset: int = -1
    posterior: str = ""
    noise_rate: float = -1.0
    noise_draw: str = ""
    noise_on: str = ""
    salt_and_pepper: str = ""
    split_seed: int = -1
    device: str = ""

    def __post_init__(self):
        for f in fields(self):
            object.__setattr__(self, f.name, _typed(f.name, getattr(self, f.name), f.type))
        for name in ("protocol", "scenario"):
            check_choice(name, getattr(self, name), CHOICES[name])
        preset = {"split_seed": self.seed} | SCENARIOS[self.scenario] | PROTOCOLS[self.protocol]
        for name, value in preset.items():
            if getattr(self, name) in ("", -1):
                object.__setattr__(self, name, value)
        object.__setattr__(self, "device", _device(self.device))
        _check_values(self)

    @classmethod
    def from_dict(cls, parameters: dict) -> "ExperimentConfig":
        """The configuration with these fields; a name that is no field is a `ValueError` with the nearest one."""
        check_names(parameters, [f.name for f in fields(cls)])
        return cls(**parameters)

    @classmethod
    def from_notebook(cls, namespace: dict) -> "ExperimentConfig":
        """The configuration in the parameters of a notebook: `namespace` is its `globals()`."""
        check_injected(namespace.get("In", []))  # a script has none
        _typed("ledger", namespace.get("ledger", ""), str)  # the one parameter that is no field
        return cls(**{f.name: namespace[f.name] for f in fields(cls)})

    def to_dict(self) -> dict:
        return asdict(self)

    @property
    def name(self) -> str:
        """`<dataset>__<model>__<strategy>__<noise>__seed-<k>`: safe as a file name."""
        return run_name(self)

    @property
    def digest(self) -> str:
        """Eight characters that differ between configurations."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:8]

    @property
    def n_labels(self) -> range:
        """The number of labels in each round, from `n_initial` on; its length is `n_rounds + 1`."""
        last = self.n_initial + self.n_rounds * self.n_query
        return range(self.n_initial, last + 1, self.n_query) if self.n_rounds else range(last, last + 1)


def run_name(config: ExperimentConfig, also: tuple[str, ...] = ()) -> str:
    """The run's file name without ending; `also` appends fields that a sweep varies beyond the usual five."""
    values = config.to_dict()
    if config.dataset.startswith("folder:"):
        values["dataset"] = "folder-" + PurePath(config.dataset[7:]).name
    parts = [str(values[name]) for name in NAME_FIELDS[:-1]] + [f"seed-{config.seed}"]
    parts += [f"{name}-{values[name]}" for name in also if name not in NAME_FIELDS]
    return "__".join(re.sub(r"[^A-Za-z0-9._-]+", "-", part).lstrip(".") for part in parts)


def check_choice(name: str, value: str, allowed) -> None:
    """Raise a `ValueError` that names the value, the allowed ones and the nearest, unless `value` is allowed."""
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is not known{_nearest(value, allowed)} Allowed: {', '.join(allowed)}.")


def check_names(names, allowed) -> None:
    """Raise a `ValueError` for the first of `names` that is not a known parameter."""
    for name in names:
        if name not in allowed:
            raise ValueError(f"unknown parameter {name!r}{_nearest(name, allowed)} Known: {', '.join(allowed)}.")


def check_injected(cells: list[str]) -> None:
    """Raise a `ValueError` if papermill was given a parameter that the notebook does not have; it only warns itself.

    Args:
        cells: what the kernel has executed, IPython's `In`. Papermill injects a cell headed `# Parameters` right
            after the notebook's own parameters.
    """
    for own, injected in zip(cells, cells[1:]):
        if injected.startswith("# Parameters\n"):
            check_names(_assigned(injected), _assigned(own))


def _assigned(source: str) -> list[str]:
    statements = ast.parse(source).body
    targets = [t for s in statements for t in getattr(s, "targets", [getattr(s, "target", None)])]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _nearest(value, allowed) -> str:
    near = difflib.get_close_matches(str(value), allowed, n=1)
    return f"; did you mean {near[0]!r}?" if near else "."


def _typed(name, value, kind):
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        hint = ""
        if kind is float and isinstance(value, str):
            hint = " YAML reads 1e-3 as text: write 0.001 or 1.0e-3."
        raise TypeError(f"{name}={value!r} is of type {type(value).__name__}, but must be {kind.__name__}.{hint}")
    return value


def _device(device: str) -> str:
    """`""` takes a GPU where there is one."""
    if device == "cpu":
        return device
    import torch  # here: naming and checking a CPU run must not wait for it

    available = torch.cuda.is_available()
    if device == "":
        return "cuda" if available else "cpu"
    if not re.fullmatch(r"cuda(:\d+)?", device):
        raise ValueError(f"device={device!r} is not known. Allowed: cpu, cuda, cuda:N, or empty for a GPU if there is one.")
    if not available or int(device[5:] or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device!r} was asked for, but PyTorch finds {torch.cuda.device_count()} CUDA devices here. "
            "Use device='cpu', or check the GPU driver with nvidia-smi."
        )
    return device


def _check_values(c: ExperimentConfig) -> None:
    if c.dataset not in DATASETS[:-1] and not (c.dataset.startswith("folder:") and len(c.dataset) > 7):
        check_choice("dataset", c.dataset, DATASETS)
    for name, allowed in CHOICES.items():
        check_choice(name, getattr(c, name), allowed)

    at_least = dict(n_initial=1, n_query=0, n_rounds=0, n_valid=1, epochs=1, min_steps=0, batch_size=1, mc_samples=1,
                    pool_subset=0, seed=0, split_seed=0, weight_decay=0.0, momentum=0.0, dropout=0.0,
                    noise_rate=0.0)  # fmt: skip
    for name, low in at_least.items():
        if not getattr(c, name) >= low:
            raise ValueError(f"{name}={getattr(c, name)} is too small: it must be at least {low}.")
    for name in ("momentum", "dropout"):
        if getattr(c, name) >= 1:
            raise ValueError(f"{name}={getattr(c, name)} must be below 1.")
    if c.noise_rate > 1:
        raise ValueError(f"noise_rate={c.noise_rate} must be at most 1: it is the share of noisy images.")
    if 0 < c.pool_subset < c.n_query:
        raise ValueError(f"pool_subset={c.pool_subset} holds fewer images than n_query={c.n_query}; 0 is the whole pool.")
    if not (c.lr > 0 and math.isfinite(c.lr) and math.isfinite(c.weight_decay)):
        raise ValueError(f"lr={c.lr} and weight_decay={c.weight_decay} must be finite, and lr above 0.")
    if c.n_rounds and not c.n_query:
        raise ValueError(f"n_rounds={c.n_rounds} needs n_query of at least 1; for no queries set n_rounds=0.")
    if c.strategy in ("bald", "mean_std") and c.posterior == "mc_dropout" and (c.dropout == 0 or c.mc_samples < 2):
        raise ValueError(
            f"strategy={c.strategy!r} measures the disagreement of MC-dropout samples: dropout={c.dropout} and "
            f"mc_samples={c.mc_samples} leave none. Use dropout above 0 and at least 2 samples."
        )
    if c.last_batch == "drop" and c.n_initial < c.batch_size:
        raise ValueError(
            f"last_batch='drop' leaves no batch of {c.batch_size} with n_initial={c.n_initial} labels. "
            "Use last_batch='balance', or a smaller batch_size."
        )
    lone = [n for n in c.n_labels[: c.batch_size] if n % c.batch_size == 1]  # the remainders repeat from there on
    if c.model == "resnet18" and (c.batch_size == 1 or (c.last_batch == "keep" and lone)):
        at = f"with {lone[0]} labels and batch_size={c.batch_size}" if lone else "with batch_size=1"
        raise ValueError(f"resnet18 cannot train on a batch of one image (BatchNorm), as {at}. Use last_batch='balance'.")
