"""Sweep files: a base and a grid, checked and spelt out as a list of runs."""

import itertools
import json
import math
import os
from dataclasses import dataclass, fields
from pathlib import Path

from .. import own
from ..config import NAME_FIELDS, ROOT, ExperimentConfig, expanded, run_name
from ..options import check_choice, check_names

SWEEPS = ROOT / "notebooks" / "sweeps"
SPELT_OUT = (*NAME_FIELDS, "protocol", "scenario")
RUN_TIMEOUT = 24 * 3600.0  # seconds for one run, unless the sweep or --timeout says otherwise
MAX_RUNS = 100_000  # of one sweep; each has files of its own


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep: `parameters` go to its notebook, `config` is all that follows from them."""

    name: str
    parameters: dict
    config: ExperimentConfig

    @property
    def expected(self) -> dict:
        """The configuration as its ledger must have it. A device that is left open is each worker's choice."""
        config = self.config.to_dict()
        return config if "device" in self.parameters else {k: v for k, v in config.items() if k != "device"}


@dataclass(frozen=True)
class Sweep:
    name: str
    runs: list[PlannedRun]
    timeout: float = RUN_TIMEOUT
    code: tuple[str, ...] = ()  # files of one's own, as paths from the repository's root


def work(config: ExperimentConfig) -> int:
    """Roughly, the images that training sees: ResNet-18 counts forty times. The longest runs are started first."""
    steps = sum(max(config.epochs * n, config.min_steps * config.batch_size) for n in config.n_labels)
    return steps * (40 if config.model == "resnet18" else 1)


def load_sweep(sweep: str | Path, elsewhere: bool = False) -> Sweep:
    """The sweep in `notebooks/sweeps/<sweep>.yaml`, or in the YAML or JSON file at a path.

    `base` holds parameters of all runs; `grid` maps parameters to lists, or is a list of such mappings, whose products
    are joined; `timeout` are the seconds a run may take; `code` lists Python files, relative to the sweep file, that
    register networks, strategies, data sets or noises. A parameter outside the usual five is in the runs' names when
    runs that share those five differ in it.

    Args:
        elsewhere: nothing is computed on this machine, so that it need not have the device.

    Raises:
        ValueError, TypeError: the file, a name or a value in it is not allowed; the message names the allowed ones.
    """
    path = Path(sweep)
    if path.suffix not in (".yaml", ".yml", ".json"):
        check_choice("sweep", str(sweep), sorted(p.stem for p in SWEEPS.glob("*.yaml")))
        path = SWEEPS / f"{sweep}.yaml"
    if path.stem.startswith(".") or not path.stem.isprintable():
        raise ValueError(
            f"{path.name!r} names the folder of the results, which must not begin with a dot or hold a line break: rename it."
        )
    try:
        content = _content(path)
    except FileNotFoundError:
        raise ValueError(f"there is no sweep file {path}. Give its path, or a name in notebooks/sweeps.") from None
    except OSError as error:
        raise ValueError(f"the sweep file {path} cannot be read: {error.strerror}.") from None
    try:
        if not isinstance(content, dict):
            raise TypeError("a sweep is a mapping with base and grid")
        check_names(content, ["base", "grid", "timeout", "code"])
        timeout = content.get("timeout", RUN_TIMEOUT)
        if type(timeout) not in (int, float) or not timeout > 0:
            raise ValueError(f"timeout={timeout!r} must be a number of seconds above 0.")
        code = _code(content.get("code") or [], path.parent)
        return Sweep(path.stem, _runs(content.get("base") or {}, content.get("grid"), elsewhere), timeout, code)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path.name}: {error}") from None


def _content(path: Path):
    """What a sweep file says. Always UTF-8, whatever the terminal's encoding is."""
    text = path.read_bytes()
    if path.suffix == ".json":
        try:
            return json.loads(text, object_pairs_hook=_each_once)
        except ValueError as error:
            raise ValueError(f"{path} is not JSON: {error}") from None
        except RecursionError:
            raise ValueError(f"{path} is nested too deeply to be a sweep.") from None
    try:
        import yaml
    except ImportError:
        raise ValueError(f"to read {path} install PyYAML (pip install pyyaml), or give the sweep as a JSON file.") from None
    from .yaml_loader import Loader

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path.name}: {error}") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply to be a sweep.") from None


def _each_once(pairs: list[tuple[str, object]]) -> dict:
    """The object of these keys and values; of a key given twice JSON keeps one in silence."""
    keys = [key for key, _ in pairs]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"{twice[0]} is given twice. Keep one.")
    return dict(pairs)


def _code(files, folder: Path) -> tuple[str, ...]:
    """Load the files, which are relative to `folder`; returns their paths from the repository's root."""
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise TypeError(f"code={files!r} must be a list of Python files, such as [my_lab.py].")
    paths = tuple(os.path.relpath((folder / expanded(file)).resolve(), ROOT) for file in files)
    if with_comma := [path for path in paths if "," in path]:
        raise ValueError(f"code={with_comma[0]!r} has a comma in its path, which separates files in a notebook: rename it.")
    own.load_code(paths)
    return paths


def _runs(base, grid, elsewhere: bool) -> list[PlannedRun]:
    grids = grid if isinstance(grid, list) else [grid]
    _check_grids(base, grids)
    points = [base | dict(zip(g, values, strict=True)) for g in grids for values in itertools.product(*g.values())]
    # See PlannedRun.expected; besides, to resolve an open device here would wait for PyTorch.
    configs = [
        ExperimentConfig.from_dict({"device": "cpu"} | point | ({"device": "cpu"} if elsewhere else {})) for point in points
    ]
    also = _distinguishing(configs, [f.name for f in fields(ExperimentConfig) if any(f.name in g for g in grids)])
    runs: dict[str, PlannedRun] = {}
    for point, config in zip(points, configs, strict=True):
        name = run_name(config, also)
        if name in runs:
            raise ValueError(f"two runs are named {name}. Take the repeated value out of grid, or rename its folder.")
        # Also what is left at its default, where the notebook's first cell may have been edited.
        runs[name] = PlannedRun(name, {f: getattr(config, f) for f in SPELT_OUT} | point, config)
    return list(runs.values())


def _check_grids(base, grids: list) -> None:
    if not grids or not all(isinstance(g, dict) and g for g in grids) or not isinstance(base, dict):
        raise TypeError("base must be a mapping of parameters to values, and grid one of parameters to lists of values.")
    for g in grids:
        check_names(g, [f.name for f in fields(ExperimentConfig)])
        for name, values in g.items():
            if not isinstance(values, list) or not values:
                raise TypeError(f"grid: {name}={values!r} must be a list of at least one value, such as [{values or 0}].")
    n_runs = sum(math.prod(len(values) for values in g.values()) for g in grids)
    if n_runs > MAX_RUNS:
        raise ValueError(f"grid describes {n_runs:,} runs, but at most {MAX_RUNS:,} are allowed: make several sweeps of it.")


def _distinguishing(configs: list[ExperimentConfig], varied: list[str]) -> tuple[str, ...]:
    """The varied fields in which runs differ that share the usual five."""
    values: dict[tuple, set] = {}
    for name, config in itertools.product(varied, configs):
        values.setdefault((name, run_name(config)), set()).add(getattr(config, name))
    differing = {name for (name, _), found in values.items() if len(found) > 1}
    return tuple(name for name in varied if name in differing and name not in NAME_FIELDS)
