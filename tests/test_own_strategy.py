"""Acquisition functions of one's own: what they are given, and what is refused of them."""

import math

import numpy as np
import pytest
import torch
from conftest import tiny

import al_utils as al
from al_utils import acquisition, scoring
from al_utils.acquisition import Acquisition
from al_utils.experiment import run_experiment
from al_utils.models import build_model
from al_utils.problem import prepare
from al_utils.querying import candidates, query
from al_utils.randomness import generator


def test_a_notebook_cell_adds_a_strategy(registry):
    @al.acquisition.register
    def least_confident_first(log_probs_K_N_C):
        return -log_probs_K_N_C.exp().mean(0).amax(-1)

    assert "least_confident_first" in acquisition.names()
    rounds = list(run_experiment(tiny(strategy="least_confident_first", n_rounds=1)))
    assert rounds[0].scores == sorted(rounds[0].scores, reverse=True) and -1 <= rounds[0].scores[0] <= -0.1


def test_a_strategy_may_choose_a_batch(registry):
    seen = []

    @al.acquisition.register(batch=True)
    def every_hundredth(log_probs_K_N_C, n_query):
        seen.append(tuple(log_probs_K_N_C.shape))
        positions = torch.arange(n_query) * 100
        return positions, torch.zeros(n_query)

    config = tiny(strategy="every_hundredth", n_rounds=1)
    [first, _] = run_experiment(config)
    problem = prepare(config)
    assert seen == [(4, len(problem.split.pool), 10)] * 2  # in the first round it must do the same twice
    assert first.queried == problem.split.pool[torch.arange(5) * 100].tolist()


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_positions_and_scores_may_be_lists_arrays_or_tensors(kind):
    strategy = Acquisition(lambda: None, (), True, True, True, False)
    positions, scores = scoring.checked_batch(strategy, (kind([7, 0, 2]), kind([0.5, 1.5, -1.0])), 8, 3)
    assert positions.tolist() == [7, 0, 2] and scores.tolist() == [0.5, 1.5, -1.0]
    assert scoring.checked_scores(strategy, kind([1.0, 2.0]), 2).tolist() == [1.0, 2.0]


NAN = math.nan


@pytest.mark.parametrize(
    "returned, says",
    [
        (([0, 0, 1], [1.0, 1.0, 1.0]), "returned a position twice: return 3 different ones"),
        ((list(range(9)), [1.0] * 9), r"positions of shape \(9,\): return n_query=3"),
        (([0, 1], [1.0, 1.0]), r"positions of shape \(2,\): return n_query=3"),
        (([0, 1, 8], [1.0, 1.0, 1.0]), "position 8: those of the pool are 0 to 7"),
        (([0, 1, -1], [1.0, 1.0, 1.0]), "position -1"),
        (([0.0, 1.0, 2.0], [1.0, 1.0, 1.0]), "whole numbers"),
        (([True, False, True], [1.0, 1.0, 1.0]), "whole numbers"),
        (([0, 1, 2], [1.0, 1.0]), r"scores of shape \(2,\) for 3 images"),
        (([0, 1, 2], [1.0, NAN, 1.0]), "1 of 3 scores of strategy='wrong' are not finite"),
        (([0, 1, 2], None), "scores of type NoneType"),
        (torch.arange(3), "returned Tensor, but a batch is a pair"),
        (None, "returned NoneType, but a batch is a pair"),
    ],
)
def test_a_wrong_batch_is_refused_in_one_sentence(returned, says, registry):
    @al.acquisition.register(batch=True)
    def wrong():
        return returned

    with pytest.raises((ValueError, RuntimeError), match=says):
        scoring.checked_batch(acquisition.get("wrong"), returned, 8, 3)


@pytest.mark.parametrize(
    "scores_of, says",
    [
        (lambda n: torch.zeros(n, 1), r"scores of shape \(\d+, 1\)"),
        (lambda n: torch.zeros(n - 1), r"scores of shape \(\d+,\) for \d+ images"),
        (lambda n: 1.0, r"scores of shape \(\)"),
        (lambda n: ["high"] * n, "scores of type list"),
        (lambda n: np.full(n, np.inf), "are not finite"),
    ],
)
@pytest.mark.parametrize("whole_pool", [False, True])
def test_wrong_scores_are_refused_in_one_sentence(scores_of, says, whole_pool, registry):
    if whole_pool:

        @al.acquisition.register
        def wrong(log_probs_K_N_C, n_query):
            return scores_of(log_probs_K_N_C.shape[1])
    else:

        @al.acquisition.register
        def wrong(log_probs_K_N_C):
            return scores_of(log_probs_K_N_C.shape[1])

    problem, model, labelled = trained(strategy="wrong")
    with pytest.raises((ValueError, RuntimeError), match=says):
        query(problem, 0, model, labelled)


def trained(**changes):
    """A problem, a network that is as it was initialised, and the initial labels."""
    problem = prepare(tiny(n_rounds=1, **changes))
    config, images = problem.config, problem.dataset.train_images
    model = build_model(config.model, images.shape, 10, generator(0, "initialisation"))
    return problem, model, problem.split.initial


@pytest.mark.parametrize("name", ["lenet", "resnet18"])
def test_a_function_is_given_what_its_arguments_name_and_nothing_else_is_computed(name, registry, monkeypatch):
    got = {}

    @al.acquisition.register
    def everything(
        log_probs_K_N_C, embeddings_N_D, labelled_embeddings_L_D, labels_L, model, n_classes, n_query, generator, scale=1.0
    ):
        got.update(locals())
        return embeddings_N_D.norm(dim=1)

    @al.acquisition.register(batch=True)
    def embeddings_alone(n_query, embeddings_N_D):
        return torch.arange(n_query), embeddings_N_D[:n_query, 0]

    problem, network, labelled = trained(strategy="everything", model=name, pool_subset=60)
    queried, scores = query(problem, 0, network, labelled)
    pool = candidates(problem, 0, labelled)

    inputs = []  # of the last layer, by a hook
    hook = network.head_layers[-1].register_forward_pre_hook(lambda layer, given: inputs.append(given[0]))
    with torch.no_grad():
        network.eval()(problem.train[pool])
        network(problem.train[labelled])
    hook.remove()
    assert torch.allclose(got["embeddings_N_D"], inputs[0], atol=1e-5)
    assert torch.allclose(got["labelled_embeddings_L_D"], inputs[1], atol=1e-5)
    assert got["labels_L"].tolist() == problem.train_labels[labelled].tolist() and got["n_query"] == 5
    assert got["log_probs_K_N_C"].shape == (4, 60, 10) and got["model"] is network and got["scale"] == 1.0
    assert got["generator"].initial_seed() == generator(0, "acquisition", 0).initial_seed()
    best = inputs[0].norm(dim=1).topk(5)
    assert queried == pool[best.indices].tolist() and scores == pytest.approx(best.values.tolist(), abs=1e-4)

    monkeypatch.setattr("al_utils.querying.predictions", None)  # a prediction would be an error
    problem, network, labelled = trained(strategy="embeddings_alone", model=name, pool_subset=60)
    assert query(problem, 0, network, labelled)[0] == candidates(problem, 0, labelled)[:5].tolist()


def test_a_function_that_fails_is_named(registry):
    @acquisition.register
    def careless(generator, log_probs_K_N_C):  # in any order
        return torch.rand(log_probs_K_N_C.shape[1], generator=generator)[99_999]

    with pytest.raises(ValueError, match="strategy='careless' failed: IndexError: index 99999 is out of bounds"):
        list(run_experiment(tiny(strategy="careless")))


def test_the_name_of_a_strategy_that_is_there_is_refused(registry):
    def bald(log_probs_K_N_C):
        return log_probs_K_N_C[0, :, 0]

    with pytest.raises(ValueError, match="strategy='bald' comes with the project: give yours another name"):
        acquisition.register(bald)


def test_an_argument_that_cannot_be_given_is_refused_with_the_nearest(registry):
    with pytest.raises(ValueError, match="'embedding_N_D'; did you mean 'embeddings_N_D'.*generator"):

        @al.acquisition.register
        def wrong(embedding_N_D):
            return embedding_N_D[:, 0]


def test_an_unknown_strategy_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="did you mean 'bald'.*random, max_entropy, bald"):
        next(run_experiment(tiny(strategy="balds")))
    assert not any(name.endswith("_as_released") for name in acquisition.names())
