"""Where the notebooks keep the ledgers of what is chosen in them: the same choices find the same file again."""

import hashlib
from dataclasses import fields, replace
from pathlib import Path

from ..config import ASIDE, ExperimentConfig
from ..ledger import LedgerError, read_ledger

ANY = ("n_rounds", *ASIDE)  # more rounds go on with a run


def ledger_path(folder: str | Path, config: ExperimentConfig, session: str = "") -> Path:
    """The ledger of a configuration, with as many rounds or fewer: the one that is there, or where it will be.

    Its name ends with a digest of the fields that differ from the protocol's and scenario's own, so that a field which
    later versions add, at its default, does not lead elsewhere.
    """
    folder, ending = Path(folder), f"__{session}" if session else ""
    path = folder / f"{config.name}__{_digest(config)}{ending}.jsonl"
    if path.exists():
        longer = not session and (read_ledger(path)[0] or {"config": {}})["config"].get("n_rounds", 0) > config.n_rounds
        return path.with_stem(f"{path.stem}__{config.n_rounds}-rounds") if longer else path
    others = sorted(folder.glob(f"{config.name}__*.jsonl")) if folder.is_dir() else []
    return next((other for other in others if _ending(other, config) == ending and _holds(other, config)), path)


def sessions_of(folder: str | Path, config: ExperimentConfig) -> dict[str, Path]:
    """The answers files of all sessions of a configuration, by the session's name."""
    start = f"{config.name}__{_digest(config)}__"
    return {path.stem.removeprefix(start): path for path in sorted(Path(folder).glob(f"{start}*.answers"))}


def _ending(path, config):
    return path.stem[len(config.name) + len("__") + 8 :]  # after the digest of eight characters


def _holds(path, config):
    """Whether a ledger that has another name, an earlier version's, is of this configuration."""
    try:
        header, _ = read_ledger(path)
        found = ExperimentConfig.from_dict({k: v for k, v in (header or {})["config"].items() if k != "device"})
    except (LedgerError, ValueError, TypeError, KeyError):
        return False
    return _plain(found) == _plain(config)


def _plain(config):
    return replace(config, n_rounds=min(config.n_rounds, 1), device="cpu", save_model=False)


def _digest(config):
    own = ExperimentConfig(protocol=config.protocol, scenario=config.scenario, seed=config.seed, device="cpu")
    values = {f.name: getattr(config, f.name) for f in fields(config) if f.name not in ANY}
    own_choices = sorted((name, value) for name, value in values.items() if value != getattr(own, name))
    return hashlib.sha256(repr(own_choices).encode()).hexdigest()[:8]
