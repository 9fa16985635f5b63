"""Options of a configuration in words, which stand where each is declared."""

from collections.abc import Mapping

from ..config import OPTIONS, PROTOCOLS, SCENARIOS
from ..words import and_list, label


def departures(config: Mapping) -> list[str]:
    """Where a run's configuration departs from the paper's protocol and scenario, one plain phrase each."""
    paper = SCENARIOS[config["scenario"]] | PROTOCOLS["paper"]
    phrases = [
        f"{OPTIONS[name].words}: {OPTIONS[name].say(config[name])} instead of {OPTIONS[name].say(expected)}"
        for name, expected in paper.items()
        if config[name] != expected
    ]
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
