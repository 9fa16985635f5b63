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
from al_utils.querying import candidates, posterior_predictions, query
from al_utils.randomness import generator


@pytest.fixture
def registry():
    before = dict(acquisition.registry._registry)
    yield
    acquisition.registry._registry.clear()
    acquisition.registry._registry.update(before)


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


def test_a_function_that_does_not_repeat_is_refused(registry):
    @al.acquisition.register
    def elsewhere(log_probs_K_N_C):
        return torch.rand(log_probs_K_N_C.shape[1])

    @al.acquisition.register
    def of_the_whole(embeddings_N_D):
        return torch.rand(len(embeddings_N_D))

    @al.acquisition.register(batch=True)
    def any_batch(embeddings_N_D, n_query):
        return torch.randperm(len(embeddings_N_D))[:n_query], torch.zeros(n_query)

    @al.acquisition.register(batch=True)
    def drawn(embeddings_N_D, n_query, generator):
        return torch.randperm(len(embeddings_N_D), generator=generator)[:n_query], torch.zeros(n_query)

    for strategy in ("elsewhere", "of_the_whole", "any_batch"):
        problem, model, labelled = trained(strategy=strategy, pool_subset=50)
        with pytest.raises(ValueError, match=f"strategy='{strategy}' returned two things.*`generator` only"):
            query(problem, 0, model, labelled)
    problem, model, labelled = trained(strategy="drawn", pool_subset=50)
    assert query(problem, 0, model, labelled) == query(problem, 0, model, labelled)


def test_functions_of_predictions_alone_see_chunks_and_others_the_whole_pool(registry):
    sizes = {"in_chunks": [], "whole": []}

    @al.acquisition.register
    def in_chunks(log_probs_K_N_C):
        sizes["in_chunks"].append(log_probs_K_N_C.shape[1])
        return log_probs_K_N_C.mean((0, 2))

    @al.acquisition.register
    def whole(log_probs_K_N_C, labels_L):
        sizes["whole"].append(log_probs_K_N_C.shape[1])
        return log_probs_K_N_C.mean((0, 2))

    for strategy in sizes:
        problem, model, labelled = trained(strategy=strategy)
        query(problem, 0, model, labelled)
    # The first chunk is scored twice, to see that a function repeats, and its half, to see that it scores image by image.
    first, second, half, *others = sizes["in_chunks"]
    assert first == second and half == (first + 1) // 2 and others and sizes["whole"] == [second + sum(others)] * 2


def test_a_score_that_depends_on_the_other_images_needs_the_whole_pool(registry):
    def relative(log_probs_K_N_C):
        scores_N = log_probs_K_N_C.mean((0, 2))
        return (scores_N - scores_N.mean()) / scores_N.std()

    al.acquisition.register(relative)
    problem, model, labelled = trained(strategy="relative")
    with pytest.raises(ValueError, match="'relative' scores an image otherwise when others .*whole_pool=True"):
        query(problem, 0, model, labelled)
    al.acquisition.register(whole_pool=True)(relative)
    assert len(query(problem, 0, model, labelled)[0]) == 5


def test_rounding_in_single_images_is_no_dependence_on_others(registry):
    def rounded(log_probs_K_N_C):
        scores_N = log_probs_K_N_C.mean((0, 2))
        return scores_N + 0.01 * (torch.arange(len(scores_N)) % 50 == 0) * len(scores_N)

    al.acquisition.register(rounded)
    problem, model, labelled = trained(strategy="rounded")
    assert len(query(problem, 0, model, labelled)[0]) == 5


def test_equal_scores_are_refused_only_where_there_is_a_choice(registry):
    @al.acquisition.register
    def constant(log_probs_K_N_C):
        return torch.zeros(log_probs_K_N_C.shape[1])

    problem, model, labelled = trained(strategy="constant")
    with pytest.raises(RuntimeError, match="they rank nothing"):
        query(problem, 0, model, labelled)
    unlabelled = candidates(problem, 0, labelled).tolist()
    left = torch.tensor(sorted({*labelled.tolist(), *unlabelled[5:]}))
    assert sorted(query(problem, 0, model, left)[0]) == unlabelled[:5]


def test_what_a_function_draws_does_not_depend_on_chunks(registry):
    @al.acquisition.register
    def shaken(log_probs_K_N_C, generator):
        return -log_probs_K_N_C.exp().mean(0).amax(-1) + torch.randn(log_probs_K_N_C.shape[1], generator=generator)

    problem, model, labelled = trained(strategy="shaken")
    pool = candidates(problem, 0, labelled)
    predicted = torch.cat(list(posterior_predictions(problem, 0, model, pool)), 1)
    scores = shaken(predicted, generator(problem.config.seed, "acquisition", 0))
    assert query(problem, 0, model, labelled)[0] == pool[scores.topk(5).indices].tolist()


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


def test_inert_dropout_is_refused():
    same = torch.randn(1, 30, 10).log_softmax(-1).expand(5, -1, -1)
    with pytest.raises(RuntimeError, match="all equal"):
        scoring.check_samples(same, [], [])
    scoring.check_samples(same + torch.randn(5, 30, 10) * 1e-3, [], [])


def test_moved_batchnorm_statistics_are_refused():
    fine = torch.randn(5, 30, 10).log_softmax(-1)
    with pytest.raises(RuntimeError, match="BatchNorm"):
        scoring.check_samples(fine, [torch.zeros(3)], [torch.ones(3)])


def test_scores_that_rank_nothing_are_refused(registry):
    with pytest.raises(RuntimeError, match="rank nothing"):
        scoring.check_ranking(torch.zeros(9))

    @al.acquisition.register
    def constant(log_probs_K_N_C):
        return torch.zeros(log_probs_K_N_C.shape[1])

    with pytest.raises(RuntimeError, match="rank nothing"):
        list(run_experiment(tiny(strategy="constant", n_rounds=1)))
