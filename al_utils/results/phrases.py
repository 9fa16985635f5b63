"""Options of a configuration in words, which stand where each is declared."""

from collections.abc import Mapping
from typing import Any

from ..config import ASIDE, NAME_FIELDS, OPTIONS, PROTOCOLS, SCENARIOS, ExperimentConfig
from ..words import and_list, label


def changed(config: Mapping, protocol: str, scenario: str) -> dict[str, Any]:
    """The options in which a run is not what a protocol and a scenario make of it, and what they would have been."""
    named = {name: config[name] for name in NAME_FIELDS}
    plain = ExperimentConfig(**named, protocol=protocol, scenario=scenario, device="cpu").to_dict()
    order = dict.fromkeys([*SCENARIOS[scenario], *PROTOCOLS[protocol], *plain])
    return {name: plain[name] for name in order if config[name] != plain[name] and name not in ("protocol", *ASIDE)}


def departures(config: Mapping) -> list[str]:
    """Where a run's configuration departs from the paper's protocol and scenario, one plain phrase each."""
    paper = changed(config, "paper", config["scenario"])
    paper.pop("split_seed", None)
    phrases = [
        f"{OPTIONS[name].words}: {OPTIONS[name].say(config[name])} instead of {OPTIONS[name].say(expected)}"
        for name, expected in paper.items()
    ]
    if oracle := config.get("oracle"):
        phrases.append(f"labels of an oracle ({oracle}) instead of the true classes")
    if config["split_seed"] != config["seed"] or "split_seed" in PROTOCOLS[config["protocol"]]:
        phrases.append("one split and initial pool for all seeds instead of one per seed")
    return phrases


def unequal(options: Mapping[str, Mapping[str, list]]) -> str:
    """`epochs a round (LeNet 100, ResNet-18 12)` of what `studies.unequal` found."""
    return and_list([f"{words(option)} ({_listed(option, values)})" for option, values in options.items()])


def words(option: str) -> str:
    """What an option is called; `split` is none, but stands for where the split comes from."""
    return OPTIONS[option].words if option in OPTIONS else option


def _listed(option: str, values: Mapping[str, list]) -> str:
    say = OPTIONS[option].say if option in OPTIONS else str
    return ", ".join(f"{label(name)} {and_list(map(say, each))}" for name, each in values.items())
