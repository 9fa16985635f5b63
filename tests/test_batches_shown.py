"""03 shows what made each image of a batch attractive: its score given those before it, beside its score alone."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import tiny

from al_utils import Round, acquisition
from al_utils.acquisition import typical
from al_utils.fitting import train_model
from al_utils.problem import prepare
from al_utils.querying import asked_for, candidates, query
from al_utils.records import METRICS
from al_utils.results.first_picks import scores_as_first
from al_utils.results.replay import Prediction, Recomputed, RecordedRun
from al_utils.widgets.cards import Bar
from al_utils.widgets.query_figures import image_cards
from al_utils.widgets.round_cards import queries_table, round_cards, round_html

STRATEGIES = ("batch_bald", "core_set", "lcmd", "badge", "prob_cover", "typiclust")


@pytest.fixture(scope="module")
def trained():
    """A problem and the network of its first round, which all strategies share."""
    problem = prepare(tiny(strategy="batch_bald", n_query=8, pool_subset=600))
    return problem, train_model(problem, 0, problem.split.initial)[0]


def of(strategy, trained):
    """What a strategy queries, its scores and its scores alone; and what it was given of the whole pool, with positions."""
    problem, model = trained
    problem = replace(problem, config=replace(problem.config, strategy=strategy))
    labelled = problem.split.initial
    queried, scores = query(problem, 0, model, labelled)
    pool = candidates(problem, 0, labelled)
    given = asked_for(acquisition.get(strategy), problem, 0, model, labelled, pool)
    rows = torch.tensor([pool.tolist().index(image) for image in queried])
    return queried, scores, scores_as_first(problem, 0, model, labelled, queried), given, rows


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_alone_is_what_the_first_pick_scores(trained, strategy):
    queried, scores, alone, given, rows = of(strategy, trained)
    if strategy == "typiclust":
        assert alone is None
        return
    assert alone[0] == pytest.approx(scores[0], rel=1e-4)  # nothing was picked before it
    if strategy == "batch_bald":
        expected = acquisition.bald(given["log_probs_K_N_C"][:, rows])
    elif strategy in ("core_set", "lcmd"):  # the distance from the nearest labelled image
        differences = given["embeddings_N_D"][rows][:, None] - given["labelled_embeddings_L_D"][None]
        expected = differences.square().sum(-1).sqrt().amin(1)
    elif strategy == "badge":  # the gradient, formed
        probs = given["log_probs_K_N_C"].double().exp().mean(0)[rows]
        errors = probs - torch.nn.functional.one_hot(probs.argmax(1), 10)
        gradients = errors[:, :, None] * given["embeddings_N_D"][rows].double()[:, None]
        expected = gradients.square().sum((1, 2))
    else:
        expected = torch.tensor(alone)  # by hand below
    assert alone == pytest.approx(expected.tolist(), rel=1e-3, abs=1e-6)
    if strategy != "badge":  # whose distances from a pick may exceed the length
        assert all(score <= first + 1e-3 for score, first in zip(scores, alone))


@pytest.mark.parametrize("strategy", ["batch_bald", "core_set", "badge", "prob_cover"])
def test_alone_is_of_the_noise_that_the_query_saw(strategy):
    problem = prepare(tiny(strategy=strategy, pool_subset=600, noise="gaussian", noise_rate=0.5, noise_draw="each_access"))
    model, labelled = train_model(problem, 0, problem.split.initial)[0], problem.split.initial
    queried, scores = query(problem, 0, model, labelled)
    assert scores_as_first(problem, 0, model, labelled, queried)[0] == pytest.approx(scores[0], rel=1e-4)


def test_what_each_image_covers_by_hand(monkeypatch):
    """Images at these angles of a circle, those at 0° and 60° labelled, within 2.5°: 0, 1, 2 and 60, 61, 62 are covered."""
    degrees = torch.tensor([0.0, 1, 2, 3, 4, 60, 61, 62, 63, 64, 65])
    on_circle = torch.stack([degrees.deg2rad().cos(), degrees.deg2rad().sin()], dim=1)
    radius = 2 * math.sin(math.radians(2.5) / 2)
    monkeypatch.setattr(typical, "pure_radius", lambda *_: radius)
    covers = typical.covered_by_each(on_circle, on_circle[[0, 5]], torch.tensor([1, 0]), torch.Generator())
    assert covers.tolist() == [0, 1, 2, 2, 2, 0, 1, 2, 3, 3, 3]


def recorded(strategy, scores, alone):
    """A run with one round of these scores, and what recomputing it would give."""
    config = tiny(strategy=strategy, n_query=len(scores))
    problem = prepare(config)
    queried = problem.split.pool[: len(scores)].tolist()
    classes = problem.dataset.train_labels[queried].tolist()
    names = problem.dataset.class_names
    head = {"config": config.to_dict(), "data": {"classes": names, "checksum": problem.dataset.checksum}}
    round = Round(0, 20, dict.fromkeys(METRICS, 0.5), queried, scores, classes, [False] * len(scores))
    run = RecordedRun(Path("a.jsonl"), head, [round])
    run.__dict__["problem"] = problem
    return run, round, Recomputed([Prediction([0.1] * 10, [0.0] * 10, 2.3, 2.0, 0.3)] * len(scores), True, 0.0, alone)


def test_the_cards_of_a_batch_have_bars_to_one_scale():
    run, round, found = recorded("batch_bald", [0.8, 0.3, 0.1], [0.8, 0.6, 0.7])
    cards = round_cards(run, round, [0, 1, 2], found)
    assert [card.bar for card in cards] == [Bar(0.8, 0.8, 0.8), Bar(0.3, 0.6, 0.8), Bar(0.1, 0.7, 0.8)]
    assert cards[1].bar.shares == pytest.approx((0.375, 0.75))
    assert cards[1].lines[-2:] == ["adds 0.300 nats", "alone 0.600"]
    html = round_html(run, 0, found)
    assert html.count('aria-label="score') == 3 and 'aria-label="score 0.3, alone 0.6"' in html
    assert "Frame: the score alone, its BALD. Together 1.20 nats; those alone would add up to 2.10 nats." in html
    assert queries_table(run, 0, found)["score alone"].tolist() == [0.8, 0.6, 0.7]
    assert len(image_cards(cards, run.class_names, 3).axes) == 6
    # From the ledger alone there are no frames.
    html = round_html(run, 0)
    assert html.count('aria-label="score') == 3 and "alone 0" not in html and "comes with the predictions" in html


def test_without_a_score_alone_and_without_a_batch():
    run, round, found = recorded("typiclust", [0.8, 0.9], None)
    html = round_html(run, 0, found)
    assert html.count('aria-label="score') == 2 and "from which cluster" in html and "Frame" not in html
    run, round, found = recorded("max_entropy", [0.8, 0.7], None)
    html = round_html(run, 0, found)
    assert 'aria-label="score' not in html and "picks" not in html
    assert [card.bar for card in round_cards(run, round, [0, 1], found)] == [None, None]
