"""Sweep files: a base and a grid, checked and spelt out as a list of runs."""

import itertools
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from ..config import NAME_FIELDS, ExperimentConfig, run_name
from ..options import check_choice, check_names
from .jobs import ROOT

SWEEPS = ROOT / "notebooks" / "sweeps"
SPELT_OUT = (*NAME_FIELDS, "protocol", "scenario")
RUN_TIMEOUT = 24 * 3600.0  # seconds for one run, unless the sweep or --timeout says otherwise


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


def load_sweep(sweep: str | Path) -> Sweep:
    """The sweep in `notebooks/sweeps/<sweep>.yaml`, or in the YAML file at a path.

    `base` holds parameters of all runs; `grid` maps parameters to lists, or is a list of such mappings, whose products
    are joined; `timeout` are the seconds a run may take. A parameter outside the usual five is in the runs' names when
    runs that share those five differ in it.

    Raises:
        ValueError, TypeError: the file, a name or a value in it is not allowed; the message names the allowed ones.
    """
    path = Path(sweep)
    if path.suffix not in (".yaml", ".yml"):
        check_choice("sweep", str(sweep), sorted(p.stem for p in SWEEPS.glob("*.yaml")))
        path = SWEEPS / f"{sweep}.yaml"
    if path.stem.startswith("."):
        raise ValueError(f"{path.name} names the folder of the results, which must not begin with a dot: rename it.")
    try:
        content = yaml.load(path.read_bytes(), _Loader)  # bytes: the encoding is YAML's, not the terminal's
        if not isinstance(content, dict):
            raise TypeError("a sweep is a mapping with base and grid")
        check_names(content, ["base", "grid", "timeout"])
        timeout = content.get("timeout", RUN_TIMEOUT)
        if type(timeout) not in (int, float) or not timeout > 0:
            raise ValueError(f"timeout={timeout!r} must be a number of seconds above 0.")
        return Sweep(path.stem, _runs(content.get("base") or {}, content.get("grid")), timeout)
    except FileNotFoundError:
        raise ValueError(f"there is no sweep file {path}. Give its path, or a name in notebooks/sweeps.") from None
    except OSError as error:
        raise ValueError(f"the sweep file {path} cannot be read: {error.strerror}.") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path.name}: {error}") from None


def _runs(base, grid) -> list[PlannedRun]:
    grids = grid if isinstance(grid, list) else [grid]
    if not grids or not all(isinstance(g, dict) and g for g in grids) or not isinstance(base, dict):
        raise TypeError("base must be a mapping of parameters to values, and grid one of parameters to lists of values.")
    for g in grids:
        check_names(g, [f.name for f in fields(ExperimentConfig)])
        for name, values in g.items():
            if not isinstance(values, list) or not values:
                raise TypeError(f"grid: {name}={values!r} must be a list of at least one value, such as [{values or 0}].")
    points = [base | dict(zip(g, values, strict=True)) for g in grids for values in itertools.product(*g.values())]
    # See PlannedRun.expected; besides, to resolve an open device here would wait for PyTorch.
    configs = [ExperimentConfig.from_dict({"device": "cpu"} | point) for point in points]

    varied = [f.name for f in fields(ExperimentConfig) if f.name not in NAME_FIELDS and any(f.name in g for g in grids)]
    values: dict[tuple, set] = {}
    for name, config in itertools.product(varied, configs):
        values.setdefault((name, run_name(config)), set()).add(getattr(config, name))
    also = tuple(name for name in varied if any(len(v) > 1 for (n, _), v in values.items() if n == name))

    runs: dict[str, PlannedRun] = {}
    for point, config in zip(points, configs, strict=True):
        name = run_name(config, also)
        if name in runs:
            raise ValueError(f"two runs are named {name}. Take the repeated value out of grid, or rename its folder.")
        # Also what is left at its default, where the notebook's first cell may have been edited.
        runs[name] = PlannedRun(name, {f: getattr(config, f) for f in SPELT_OUT} | point, config)
    return list(runs.values())


class _Loader(yaml.SafeLoader):
    """YAML, but a key given twice is an error: silently the first would be lost."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"{key} is given twice{str(node.start_mark).replace('  in', ' in')}. Keep one.")
        return super().construct_mapping(node, deep)
