"""What scores must keep: they repeat, rank, and are of one image alone or of the whole pool."""

import pytest
import torch
from conftest import tiny
from test_own_strategy import trained

import al_utils as al
from al_utils import scoring
from al_utils.experiment import run_experiment
from al_utils.querying import candidates, posterior_predictions, query
from al_utils.randomness import generator


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
