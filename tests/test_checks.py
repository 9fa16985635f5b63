"""What is registered says what it needs; a configuration that does not give it is refused before anything is computed."""

import pytest

from al_utils import acquisition, checks, memory, models
from al_utils.config import ExperimentConfig

OF_TWO = "it needs 2 images"


@pytest.mark.parametrize(
    "changes, says",
    [
        (dict(model="lenett"), "did you mean 'lenet'"),
        (dict(dataset="mnst"), "did you mean 'mnist'"),
        (dict(dataset="folder:"), "folder:PATH"),
        (dict(noise="salt"), "salt_and_pepper"),
        (dict(strategy="blad"), "did you mean 'bald'"),
    ],
)
def test_names_that_no_registry_knows(changes, says):
    with pytest.raises(ValueError, match=says):
        checks.check_names_known(ExperimentConfig(**changes))


@pytest.mark.parametrize(
    "changes, says",
    [
        (dict(strategy="bald", dropout=0.0), "MC-dropout"),
        (dict(strategy="mean_std", mc_samples=1), "at least 2 samples"),
        (dict(strategy="mean_std", protocol="as_released"), "posterior='as_released' are equal.*BALD alone"),
        (dict(model="resnet18", n_query=1), f"{OF_TWO}.*129 labels.*Use last_batch='balance'"),
        (dict(model="resnet18", batch_size=1), f"{OF_TWO}.*larger batch_size"),
        (dict(model="resnet18", n_initial=1, n_query=1), f"{OF_TWO}.*more initial labels"),
        (dict(model="resnet18", n_initial=5, n_query=2, batch_size=2, last_batch="balance"), f"{OF_TWO}.*larger batch_size"),
    ],
)
def test_needs_that_are_not_met(changes, says):
    with pytest.raises(ValueError, match=says):
        checks.check_needs(ExperimentConfig(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        dict(strategy="bald"),
        dict(strategy="bald", dropout=0.0, posterior="as_released"),
        dict(strategy="max_entropy", mc_samples=1),
        dict(model="lenet", n_query=1),
        dict(model="resnet18"),
        dict(model="resnet18", n_query=1, last_batch="balance"),
        dict(model="resnet18", n_query=1, last_batch="drop", batch_size=64),
    ],
)
def test_needs_that_are_met(changes):
    checks.check_needs(ExperimentConfig(**changes))


def test_what_cannot_fit_the_memory_is_refused_with_the_estimate(monkeypatch):
    def check(shape=(4_000, 1, 28, 28), **changes):
        checks.check_memory(ExperimentConfig(**dict(strategy="bald") | changes), shape, 10)

    monkeypatch.setattr(memory, "limit", lambda device: 16 * 10**9)
    for model in ("lenet", "resnet18"):
        check(model=model, mc_samples=1_000)
    # A sample of LeNet: masks of 120 + 84 units and the folded weights, 120 x 84; and two rows of 10 log-probabilities.
    with pytest.raises(ValueError, match="about 41 GB of memory, 41 GB of it because of mc_samples, but there are 16 GB"):
        check(mc_samples=1_000_000)
    check(mc_samples=1_000_000, strategy="random")  # which predicts nothing
    with pytest.raises(ValueError, match="because of mc_samples"):
        check(mc_samples=10**12)
    with pytest.raises(ValueError, match="because of n_initial, n_query, n_rounds or n_valid"):
        check((60_000, 3, 500, 500), scenario="ideal", n_valid=300)
    with pytest.raises(ValueError, match="because of pool_repeats"):
        check((60_000, 1, 28, 28), pool_repeats=1_000)
    with pytest.raises(ValueError, match="because of the size of the images"):
        check((10, 3, 4_000, 4_000), scenario="supervised", n_initial=2, n_valid=2)


def test_a_strategy_that_wants_the_whole_pool_at_once_needs_more(monkeypatch):
    monkeypatch.setattr(acquisition.registry, "_registry", dict(acquisition.registry._registry))
    monkeypatch.setattr(memory, "limit", lambda device: 10**9)

    @acquisition.register(batch=True)
    def all_at_once(log_probs_K_N_C, n_query):
        raise NotImplementedError

    shape, config = (60_000, 1, 28, 28), dict(mc_samples=1_000)
    checks.check_memory(ExperimentConfig(strategy="bald", **config), shape, 10)
    with pytest.raises(ValueError, match="4.8 GB of memory"):  # 1,000 x 60,000 x 10 numbers, twice
        checks.check_memory(ExperimentConfig(strategy="all_at_once", **config), shape, 10)


def test_the_limit_is_that_of_this_machine():
    import psutil

    assert 10**8 < memory.limit("cpu") <= psutil.virtual_memory().total + 2**20


def test_what_somebody_registers_is_held_to_what_it_declares(monkeypatch):
    monkeypatch.setattr(acquisition.registry, "_registry", dict(acquisition.registry._registry))
    monkeypatch.setattr(models, "_registry", dict(models._registry))

    @acquisition.register(samples=True)
    def spread(log_probs_K_N_C):
        return log_probs_K_N_C.std(0).mean(-1)

    models.register("of_four", smallest_batch=4)(models.LeNet)
    with pytest.raises(ValueError, match="strategy='spread'"):
        checks.check_needs(ExperimentConfig(strategy="spread", mc_samples=1))
    with pytest.raises(ValueError, match="needs 4 images"):
        checks.check_needs(ExperimentConfig(model="of_four", n_initial=67, n_rounds=0))
    checks.check_needs(ExperimentConfig(model="of_four", n_initial=68, n_rounds=0))
