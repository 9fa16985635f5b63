"""One flat, typed configuration: what a run is. Presets are dictionaries of overrides, nothing more.

Networks, strategies, noises and data sets are known to their registries, not here: see `checks`.
"""

import ast
import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePath
from typing import get_type_hints

from .options import ALWAYS_THERE, Option, check_names, option, option_of, shown, typed

# A field left at its sentinel ("" or -1) takes the value of its scenario or protocol.
SCENARIOS = {
    "constrained": dict(n_initial=100, n_query=10, n_rounds=100, n_valid=300),
    "ideal": dict(n_initial=1_000, n_query=1_000, n_rounds=10, n_valid=5_000),
    "ideal_fine": dict(n_initial=1_000, n_query=100, n_rounds=100, n_valid=5_000),  # the paper's Figure 4
    "supervised": dict(n_initial=1_100, n_query=0, n_rounds=0, n_valid=300),
}

# Section 4 of the paper; what it leaves open (dropout, K, the short batch) is ours. The loss is that of its released code, the
# mean of the categorical cross-entropy; its Equation 2, as printed, would be loss="per_class", reduction="sum".
_PAPER = dict(
    noise_rate=0.1, noise_draw="fixed", noise_on="all", salt_and_pepper="extremes",
    epochs=100, min_steps=0, batch_size=64, last_batch="keep", lr=1e-3, momentum=0.0, weight_decay=1e-4, keep_weights="last",
    loss="categorical", reduction="mean", optimizer="sgd", schedule="constant", augmentation="none", patience=0,
    clip_norm=0.0,
    dropout=0.5, mc_samples=10, pool_subset=0, posterior="mc_dropout",
)  # fmt: skip
PROTOCOLS = {
    "paper": _PAPER,
    # What the paper's public code does (github.com/lucapantea/active-learning), but for its own ResNet-18 (downsampling by 3x3
    # convolutions with a bias, the stride on a block's second convolution), default initialisation, a split that is stratified
    # instead of balanced, noise for each channel by itself, and 1e-5 in the entropy of maximum entropy too.
    "as_released": _PAPER | dict(weight_decay=0.0, dropout=0.0, posterior="as_released",
                                 noise_draw="each_access", salt_and_pepper="mean", split_seed=0),
    # A recipe under which both networks learn.
    "tuned": _PAPER | dict(lr=1e-2, momentum=0.9, last_batch="balance"),
}  # fmt: skip

ROOT = Path(__file__).resolve().parent.parent  # the repository
NAME_FIELDS = ("dataset", "model", "strategy", "noise", "seed")
ASIDE = ("device", "save_model")  # no part of what a run is: ledgers that differ in these alone are of one run


def located(path: str | Path) -> Path:
    """A path as all parameters mean it: `~` is the home folder, and a relative one starts at the project's root.

    Raises:
        ValueError: there is no such home folder.
    """
    return ROOT / expanded(path)


def expanded(path: str | Path) -> Path:
    """A path in which `~` is the home folder. Raises: ValueError: there is no such home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"{shown(str(path))}: there is no such home folder. Write the path out.") from None


_SCENARIO, _PROTOCOL = "the scenario's", "the protocol's"


@dataclass(frozen=True)
class ExperimentConfig:
    """A run, fully specified: two equal configurations give the same ledger on the same machine.

    Every field is also a parameter of `notebooks/02_experiment.ipynb`. A field left at its sentinel (`""`, `-1`)
    is filled in from `SCENARIOS[scenario]` or `PROTOCOLS[protocol]`, so that a built configuration holds no sentinel.

    Raises:
        TypeError: a value of the wrong type, such as the string that YAML makes of `1e-3`.
        ValueError: a value that is not allowed; the message names the allowed ones.
    """

    # fmt: off
    dataset: str = option("mnist5k", "images")
    model: str = option("lenet", "network")
    strategy: str = option("random", "acquisition function")
    noise: str = option("none", "image noise")
    seed: int = option(0, "seed of the split, the noise, the initialisation, the batches and the masks", at_least=0)
    protocol: str = option("paper", "preset of how to train", choices={name: name for name in PROTOCOLS})
    scenario: str = option("constrained", "preset of how many labels", choices={name: name for name in SCENARIOS})
    n_initial: int = option(-1, "initial labels", left_open=_SCENARIO, at_least=1)
    n_query: int = option(-1, "queries a round", left_open=_SCENARIO, at_least=0)
    n_rounds: int = option(-1, "rounds of queries", left_open=_SCENARIO, at_least=0)
    n_valid: int = option(-1, "validation images", note="none (0) give no validation accuracy", left_open=_SCENARIO, at_least=0)
    stop_after: int = option(0, "rounds without a better validation accuracy that end the run (0: never)", at_least=0, older=0)
    initial_draw: str = option("balanced", "initial labels and validation images are", older="balanced", choices=dict(
        balanced="as many of each class", random="drawn at random (a rare class may be missing)"))
    imbalance: float = option(1.0, "imbalance of the training images", note="a long tail, the first class by the last; "
                              "1: as they are", at_least=1, older=1.0)
    pool_repeats: int = option(1, "copies of each image in the pool", at_least=1, at_most=1_000, older=1)
    pool_jitter: float = option(0.1, "jitter between the copies", note="standard deviation, in standardised units; only where "
                                "there are copies", at_least=0, older=0.1)
    image_size: int = option(0, "side of the images", note="pixels, for a folder's images, scaled and cropped; "
                             "0: as they are", at_least=0, at_most=4096, older=0)
    epochs: int = option(-1, "epochs a round", left_open=_PROTOCOL, at_least=1)
    min_steps: int = option(-1, "steps a round, at least", note="more epochs while labels are few", left_open=_PROTOCOL,
                            at_least=0, older=0)
    batch_size: int = option(-1, "batch size", note="images a step", left_open=_PROTOCOL, at_least=1)
    last_batch: str = option("", "a last, short batch", left_open=_PROTOCOL, choices=dict(
        keep="kept", drop="dropped", balance="avoided (the epoch is cut into batches of nearly equal size)"))
    lr: float = option(-1.0, "learning rate", left_open=_PROTOCOL, above=0)
    momentum: float = option(-1.0, "momentum", note="of SGD; AdamW has its own", left_open=_PROTOCOL, at_least=0, below=1)
    weight_decay: float = option(-1.0, "weight decay", left_open=_PROTOCOL, at_least=0)
    loss: str = option("", "loss", left_open=_PROTOCOL, older="categorical", choices=dict(
        categorical="categorical cross-entropy, as in the released code", per_class="binary cross-entropies (Equation 2)"))
    reduction: str = option("", "the loss of a batch", left_open=_PROTOCOL, older="mean", choices=dict(
        mean="the mean over its images, as in the released code", sum="the sum over its images (Equation 2)"))
    optimizer: str = option("", "optimiser", left_open=_PROTOCOL, older="sgd", choices=dict(sgd="SGD", adamw="AdamW"))
    schedule: str = option("", "learning rate over a round", left_open=_PROTOCOL, older="constant", choices=dict(
        constant="constant", cosine="falling to 0 along a cosine"))
    augmentation: str = option("", "augmentation of the training images", left_open=_PROTOCOL, older="none")
    warm_start: bool = option(False, "each round starts from the weights of the round before", older=False)
    patience: int = option(-1, "epochs without a better validation accuracy that end a round's training (0: never)",
                           left_open=_PROTOCOL, at_least=0, older=0)
    clip_norm: float = option(-1.0, "gradient norm, at most (0: any)", note="longer gradients are scaled down",
                              left_open=_PROTOCOL, at_least=0, older=0.0)
    keep_weights: str = option("", "weights kept", left_open=_PROTOCOL, choices=dict(
        last="those of the last epoch", best_valid="those best on the validation images"))
    dropout: float = option(-1.0, "dropout", left_open=_PROTOCOL, at_least=0, below=1,
        note="probability of each unit of the head; own networks keep theirs, at 0 none")
    mc_samples: int = option(-1, "MC-dropout samples", note="K, for the acquisition function", left_open=_PROTOCOL, at_least=1)
    pool_subset: int = option(-1, "images of the pool that are scored (0: all)", note="drawn anew each round",
                              left_open=_PROTOCOL, at_least=0, older=0)
    posterior: str = option("", "posterior for BALD", left_open=_PROTOCOL, choices=dict(
        mc_dropout="MC dropout", as_released="identical passes, as in the released code"))
    noise_rate: float = option(-1.0, "share of noisy images", left_open=_PROTOCOL, at_least=0, at_most=1)
    noise_draw: str = option("", "noise is drawn", left_open=_PROTOCOL, choices=dict(
        fixed="once per seed", each_access="anew at every access"))
    noise_on: str = option("", "images that noise may hit", left_open=_PROTOCOL, older="all", choices=dict(
        all="all images", train="the training images only", test="the test images only"))
    salt_and_pepper: str = option("", "salt and pepper", note="what a pixel becomes that it hits", left_open=_PROTOCOL,
                                  choices=dict(extremes="smallest and largest pixel value", mean="mean grey"))
    split_seed: int = option(-1, "seed of the split and the initial labels",
                             left_open="the protocol's, as a rule the seed", at_least=0)
    save_model: bool = option(False, "the network of the last round is kept", note="beside the ledger, as a .pt file",
                              older=False, repr=False)  # so that the digest, and the path of a ledger, stay what they were
    device: str = option("", "where to compute", left_open="a GPU if there is one", examples=("cpu", "cuda", "cuda:N", "mps"))
    # fmt: on

    def __post_init__(self):
        for name, kind in TYPES.items():
            object.__setattr__(self, name, typed(name, getattr(self, name), kind))
        for name in ("protocol", "scenario"):
            OPTIONS[name].check(name, getattr(self, name))
        preset = {"split_seed": self.seed} | SCENARIOS[self.scenario] | PROTOCOLS[self.protocol]
        for name, value in preset.items():
            if getattr(self, name) in ("", -1):
                object.__setattr__(self, name, value)
        object.__setattr__(self, "device", _device(self.device))
        for name, declared in OPTIONS.items():
            declared.check(name, getattr(self, name))
        _check_together(self)

    @classmethod
    def from_dict(cls, parameters: dict) -> "ExperimentConfig":
        """The configuration with these fields; a name that is no field is a `ValueError` with the nearest one."""
        check_names(parameters, TYPES)
        return cls(**parameters)

    @classmethod
    def from_notebook(cls, namespace: dict) -> "ExperimentConfig":
        """The configuration in the parameters of a notebook: `namespace` is its `globals()`."""
        check_injected(namespace.get("In", []))  # a notebook that was made into a script has none
        for name in ("ledger", "code"):  # the parameters that are no fields
            typed(name, namespace.get(name, ""), str)
        return cls(**{name: namespace[name] for name in TYPES})

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


OPTIONS: dict[str, Option] = {declared.name: option_of(declared) for declared in fields(ExperimentConfig)}
TYPES: dict[str, type] = get_type_hints(ExperimentConfig)


def run_name(config: ExperimentConfig, also: tuple[str, ...] = ()) -> str:
    """The run's file name without ending; `also` appends fields that a sweep varies beyond the usual five."""
    values = config.to_dict()
    if config.dataset.startswith(("folder:", "npz:")):
        kind, _, path = config.dataset.partition(":")
        values["dataset"] = f"{kind}-{PurePath(path).name}"
    parts = [str(values[name]) for name in NAME_FIELDS[:-1]] + [f"seed-{config.seed}"]
    parts += [f"{name}-{values[name]}" for name in also if name not in NAME_FIELDS]
    return "__".join(map(file_name, parts))


def file_name(text: str) -> str:
    """The text with what a file name may hold: letters, digits and `._-`, and no dot at its beginning."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".")


def recorded(values: Mapping) -> dict:
    """The configuration that a ledger holds, completed by what was in effect where it is older than a parameter.

    Names are those of registries and devices of the machine that made it: they may be unknown here.

    Raises:
        ValueError, TypeError: a parameter that this version does not know, one that is missing, or an impossible value.
    """
    check_names(values, TYPES)
    complete = {}
    for name, kind in TYPES.items():
        value = values.get(name, OPTIONS[name].older)
        if value is ALWAYS_THERE:
            raise ValueError(f"the parameter {name!r} is missing")
        complete[name] = typed(name, value, kind)
        OPTIONS[name].check(name, complete[name])
    return complete


def check_injected(cells: list[str]) -> None:
    """Raise a `ValueError` if papermill was given a parameter that the notebook does not have; it only warns itself.

    Args:
        cells: what the kernel has executed, IPython's `In`.
    """
    for own, given in injected(cells):
        check_names(_assigned(given), _assigned(own))


def injected(cells: list[str]) -> list[tuple[str, str]]:
    """The cell of parameters and, where papermill was given any, the one that it put behind it."""
    return [(own, given) for own, given in zip(cells, cells[1:]) if given.startswith("# Parameters\n")]


def _assigned(source: str) -> list[str]:
    statements = ast.parse(source).body
    targets = [t for s in statements for t in getattr(s, "targets", [getattr(s, "target", None)])]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _device(device: str) -> str:
    """`""` takes a GPU where there is one."""
    if device == "cpu":
        return device
    import torch  # here: naming and checking a CPU run must not wait for it

    if device == "":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"device={shown(device)} is not known. Allowed: cpu, cuda, cuda:N, mps, what else PyTorch has, or empty for a GPU "
            "if there is one."
        ) from None
    if wanted.type == "cpu":
        return "cpu"
    here = torch.accelerator.current_accelerator(check_available=True)
    n_found = torch.accelerator.device_count() if here is not None and here.type == wanted.type else 0
    if (wanted.index or 0) >= n_found:
        raise ValueError(
            f"device={device!r} was asked for, but PyTorch finds {n_found} {wanted.type.upper()} devices here. "
            "Use device='cpu', or check the driver, for CUDA with nvidia-smi."
        )
    return device


def _check_together(c: ExperimentConfig) -> None:
    """What concerns more than one parameter; what the registered parts need is in `checks`."""
    if 0 < c.pool_subset < c.n_query:
        raise ValueError(f"pool_subset={c.pool_subset} holds fewer images than n_query={c.n_query}; 0 is the whole pool.")
    if c.n_valid == 0 and (c.patience or c.keep_weights == "best_valid"):
        raise ValueError(
            f"patience={c.patience} and keep_weights={c.keep_weights!r} need validation images, but n_valid=0: "
            "set patience=0 and keep_weights='last', or n_valid."
        )
    if c.n_valid == 0 and c.stop_after:
        raise ValueError(f"stop_after={c.stop_after} needs validation images, but n_valid=0: set stop_after=0, or n_valid.")
    if c.n_rounds and not c.n_query:
        raise ValueError(f"n_rounds={c.n_rounds} needs n_query of at least 1; for no queries set n_rounds=0.")
    if c.last_batch == "drop" and c.n_initial < c.batch_size:
        raise ValueError(
            f"last_batch='drop' leaves no batch of {c.batch_size} with n_initial={c.n_initial} labels. "
            "Use last_batch='balance', or a smaller batch_size."
        )
