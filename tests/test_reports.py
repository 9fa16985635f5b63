"""The ledgers that come with the project: today's code reads every one of them, and finds that it is of its data."""

from functools import cache

import pytest
from conftest import ROOT, shipped_ledgers

from al_utils.config import ExperimentConfig
from al_utils.experiment import check_data, check_rounds
from al_utils.ledger import read_ledger
from al_utils.problem import Problem, prepare_to_look
from al_utils.results import replay, studies

LEDGERS = shipped_ledgers()
# What a problem depends on, of the parameters in which these ledgers differ.
PROBLEM = ("dataset", "noise", "noise_rate", "noise_draw", "noise_on", "salt_and_pepper", "seed", "split_seed", "n_initial",
           "n_query", "n_rounds", "n_valid", "initial_draw", "pool_repeats", "pool_jitter")  # fmt: skip


@cache
def problem(**fields) -> Problem:
    return prepare_to_look(ExperimentConfig(**fields, device="cpu"))


@pytest.mark.parametrize("folder", sorted({path.parent.relative_to(ROOT).as_posix() for path in LEDGERS}))
def test_every_ledger_is_read_whole_and_is_of_its_data(folder, request):
    for path in (path for path in LEDGERS if path.parent == ROOT / folder):
        header, rounds = read_ledger(path)
        config = header["config"]
        assert ExperimentConfig.from_dict(config | {"device": "cpu"}).to_dict() == config | {"device": "cpu"}
        # What a GPU began goes on on one alone, and no other ledger comes unfinished.
        assert header.get("stopped") or len(rounds) == config["n_rounds"] + 1 or config["device"].startswith("cuda")
        if config["dataset"] != "mnist5k":
            request.getfixturevalue("full_data")
        of_run = problem(**{name: config[name] for name in PROBLEM})
        check_data(path, header, of_run)
        check_rounds(of_run, rounds, path)


def test_the_quick_sweep_is_counted_and_shown():
    runs, shown = studies.read_runs("reports/quick"), replay.recorded_runs("reports/quick")
    assert len(runs) == len(shown) == 54 and runs.finished.all()
    assert len(shown[0].problem.split.pool) == 3_660 and len(shown[0].peers(shown)) == 3
    assert {run.config["noise_on"] for run in shown} == {"all"}  # which older ledgers do not say
