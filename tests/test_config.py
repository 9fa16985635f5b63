"""The configuration: presets, bounds, types, names of runs, and the notebook's comments."""

import nbformat
import pytest
from conftest import ROOT

from al_utils import acquisition, datasets, models, noise
from al_utils.config import OPTIONS, PROTOCOLS, SCENARIOS, ExperimentConfig, check_injected, recorded, run_name
from al_utils.networks import recipes
from al_utils.results import phrases


def test_paper_protocol_is_the_papers_text():
    c = ExperimentConfig(dataset="mnist")
    assert (c.n_initial, c.n_query, c.n_rounds, c.n_valid) == (100, 10, 100, 300)
    assert (c.epochs, c.batch_size, c.lr, c.momentum, c.weight_decay) == (100, 64, 1e-3, 0.0, 1e-4)
    assert (c.noise_rate, c.dropout, c.mc_samples, c.last_batch) == (0.1, 0.5, 10, "keep")
    assert c.n_labels[-1] == 1_100 and len(c.n_labels) == 101


def test_presets_hold_fields_and_are_complete():
    for preset in [*PROTOCOLS.values(), *SCENARIOS.values()]:
        assert set(preset) <= set(ExperimentConfig.__dataclass_fields__)
    for protocol in PROTOCOLS:
        for scenario in SCENARIOS:
            built = ExperimentConfig(protocol=protocol, scenario=scenario).to_dict()
            assert not any(value in ("", -1) for value in built.values())


def test_own_value_goes_before_the_preset():
    c = ExperimentConfig(protocol="tuned", lr=0.5, scenario="ideal", n_rounds=2, seed=7)
    assert (c.lr, c.momentum, c.n_rounds, c.n_query, c.split_seed) == (0.5, 0.9, 2, 1_000, 7)
    assert ExperimentConfig(protocol="as_released", seed=7).split_seed == 0


def test_a_built_configuration_builds_itself_again():
    c = ExperimentConfig(protocol="as_released", seed=4, strategy="bald")
    assert ExperimentConfig.from_dict(c.to_dict()) == c


@pytest.mark.parametrize(
    "changes, says",
    [
        (dict(n_round=3), "did you mean 'n_rounds'"),
        (dict(lr="1e-3"), "1.0e-3"),
        (dict(epochs=1.0), "must be int"),
        (dict(seed=True), "must be int"),
        (dict(protocol="tunde"), "did you mean 'tuned'"),
        (dict(last_batch="kep"), "did you mean 'keep'"),
        (dict(n_initial=0), "at least 1"),
        (dict(n_valid=-3), "at least 0"),
        (dict(n_valid=0, keep_weights="best_valid"), "need validation images, but n_valid=0"),
        (dict(imbalance=0.5), "at least 1"),
        (dict(pool_repeats=0), "at least 1"),
        (dict(batch_size=0), "at least 1"),
        (dict(dropout=1.0), "below 1"),
        (dict(noise_rate=1.5), "at most 1"),
        (dict(lr=0.0), "above 0"),
        (dict(lr=float("nan")), "finite"),
        (dict(momentum=float("-inf")), "finite"),
        (dict(lr=10**400), "lr=100000.*00000 is too large"),
        (dict(n_rounds=10**16), "n_rounds=.* is too large"),
        (dict(seed=10**5_000), "an integer of 16,610 bits. is too large"),
        (dict(protocol="x" * 10_000), "^.{,300}$"),
        (dict(weight_decay=-0.1), "at least 0"),
        (dict(n_query=0), "n_query"),
        (dict(last_batch="drop", n_initial=10), "balance"),
        (dict(device="gpu"), "cpu, cuda"),
        (dict(device="cuda:99"), "CUDA devices"),
    ],
)  # fmt: skip
def test_bad_values_are_refused_with_the_way_out(changes, says):
    with pytest.raises((ValueError, TypeError), match=says):
        ExperimentConfig.from_dict(changes)


def test_name_is_a_plain_file_name():
    assert ExperimentConfig(dataset="mnist", strategy="bald", seed=2).name == "mnist__lenet__bald__none__seed-2"
    assert run_name(ExperimentConfig(lr=0.5), also=("lr",)).endswith("__seed-0__lr-0.5")
    for path in ("/etc/../..", "../../x", "a/b c\n<i>", "/"):
        name = ExperimentConfig(dataset="folder:" + path, strategy="../up").name
        assert "/" not in name and not name.startswith(".") and " " not in name and "<" not in name


def test_the_experiment_notebook_has_exactly_these_parameters():
    notebook = nbformat.read(ROOT / "notebooks" / "02_experiment.ipynb", as_version=4)
    [cell] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    values = {"In": [""]}
    exec(cell.source, values)
    types = values.pop("__annotations__")
    fields = ExperimentConfig.__dataclass_fields__
    assert set(types) == set(fields) | {"ledger", "code"}
    for name, field in fields.items():
        assert types[name] is field.type and values[name] == field.default, name
    registered = dict(dataset=datasets.NAMES, model=models.names(), strategy=acquisition.names(), noise=noise.names(),
                      augmentation=recipes.augmentations())  # fmt: skip
    lines = dict(line.split("  # ") for line in cell.source.splitlines())
    for (name, declared), line in zip(OPTIONS.items(), lines):
        assert lines[line] == declared.comment(fields[name].default, registered.get(name, ())), name
    assert ExperimentConfig.from_notebook(values) == ExperimentConfig()


def test_what_an_older_ledger_lacks_was_in_effect_all_the_same():
    whole = ExperimentConfig(protocol="tuned", device="cpu").to_dict()
    old = {name: value for name, value in whole.items() if name not in ("min_steps", "pool_subset", "noise_on")}
    assert recorded(old) == recorded(whole) == whole
    assert recorded(whole | {"strategy": "of another notebook", "device": "cuda:7"})["device"] == "cuda:7"


@pytest.mark.parametrize(
    "changes, says",
    [
        (dict(warmup=3), "unknown parameter 'warmup'"),
        (dict(lr=None), "'lr' is missing"),
        (dict(lr="0.1"), "must be float"),
        (dict(n_rounds=-1), "at least 0"),
        (dict(keep_weights="best"), "not known"),
    ],
)
def test_an_impossible_recorded_configuration_is_refused(changes, says):
    values = ExperimentConfig().to_dict() | changes
    with pytest.raises((ValueError, TypeError), match=says):
        recorded({name: value for name, value in values.items() if value is not None})


def test_reports_say_what_is_declared():
    config = ExperimentConfig(protocol="tuned", n_rounds=5, noise_draw="each_access").to_dict()
    assert phrases.departures(config) == [
        "rounds of queries: 5 instead of 100",
        "noise is drawn: anew at every access instead of once per seed",
        "a last, short batch: avoided (the epoch is cut into batches of nearly equal size) instead of kept",
        "learning rate: 0.01 instead of 0.001",
        "momentum: 0.9 instead of 0",
    ]


def test_a_parameter_that_the_notebook_lacks_is_refused():
    own = "n_rounds: int = 1  # rounds"
    check_injected(["", own, "# Parameters\nn_rounds = 3\n", "x = 1"])
    with pytest.raises(ValueError, match="did you mean 'n_rounds'"):
        check_injected(["", own, "# Parameters\nn_round = 3\n"])
