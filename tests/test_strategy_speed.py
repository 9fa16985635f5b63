"""The choice of each strategy timed beside other programs': the same work, and how far they agree."""

import numpy as np
import pytest

from al_utils import acquisition
from al_utils.chapters import strategy_speed
from al_utils.chapters.strategy_speed import Choice
from al_utils.config import ROOT

BENCH = ROOT / ".venv-bench" / "bin" / "python"


@pytest.fixture(scope="module")
def given():
    return strategy_speed.given("mnist5k", 700, mc_samples=6, n_query=5)


def test_what_is_timed_is_the_choice_of_a_round(given):
    assert given["log_probs_K_N_C"].shape == (6, 700, 10) and given["embeddings_N_D"].shape == (700, 84)
    assert given["labelled_embeddings_L_D"].shape == (100, 84) and given["labels_L"].shape == (100,)
    for strategy in acquisition.names():
        choice = strategy_speed.ours(strategy, given, repeats=1)
        assert len(set(choice.picked)) == 5 and len(choice.seconds) == 1
        assert (choice.scores_N is None) == acquisition.get(strategy).batch
    again = strategy_speed.ours("badge", given, repeats=2)
    assert len(again.seconds) == 2 and again.picked == strategy_speed.ours("badge", given, repeats=1).picked


def test_every_strategy_that_another_program_has_is_ours_too():
    for strategies in strategy_speed.THEIRS.values():
        assert set(strategies) <= set(acquisition.names())
    assert strategy_speed.fits("scikit-activeml", "prob_cover", 700)
    assert not strategy_speed.fits("scikit-activeml", "prob_cover", 59_000) and not strategy_speed.fits("baal", "badge", 700)


def test_other_scores_and_other_picks_are_said():
    def choice(seconds, picked, scores=None):
        return Choice([seconds], picked, None if scores is None else np.array(scores))

    margin = choice(0.5, [1, 0], [-0.3, -0.1])
    same = strategy_speed.agreement("margin", "baal", margin, choice(1.0, [1, 0], [0.3, 0.1]))
    other = strategy_speed.agreement("margin", "baal", margin, choice(1.0, [1, 0], [0.3, 0.4]))
    assert same.startswith("the same scores") and other.startswith("OTHER SCORES (apart by 3e-01")
    core_set = choice(1.0, [4, 7, 2])
    assert strategy_speed.agreement("core_set", "scikit-activeml", core_set, choice(2, [4, 7, 2])) == "the same 3 images"
    partly = strategy_speed.agreement("core_set", "scikit-activeml", core_set, choice(2, [4, 2, 9]))
    assert partly == "2 of 3 images the same, the first 1 in order"

    chosen = {name: {"ours": choice(1.0, [1])} for name in strategy_speed.GOALS}
    assert [met for _, _, met in strategy_speed.verdicts(chosen)] == [True, True, True, True]
    chosen["badge"] = {"ours": choice(3.0, [1]), "scikit-activeml": choice(2.0, [1])}
    found = strategy_speed.verdicts(chosen)
    assert [met for _, _, met in found] == [True, False, True, False] and found[-1][1] == "slower: BADGE than scikit-activeml's"
    assert "0.7 times ours" in strategy_speed.table(chosen)["scikit-activeml"]["BADGE"]
    assert strategy_speed.table(chosen)["baal"]["BADGE"] == "has none"


@pytest.mark.parametrize(
    ("program", "strategy", "says"),
    [
        ("scikit-activeml", "bald", "the same scores"),
        ("scikit-activeml", "core_set", "the same 5 images"),
        ("scikit-activeml", "badge", "the same first image"),
        ("baal", "epig", "the same scores"),
    ],
)
def test_other_programs_agree(given, program, strategy, says):
    if program not in strategy_speed.available(BENCH):
        pytest.skip(f"needs {program} in .venv-bench (requirements-bench.txt)")
    other = strategy_speed.theirs(program, strategy, given, BENCH)
    assert strategy_speed.agreement(strategy, program, strategy_speed.ours(strategy, given, 1), other).startswith(says)


@pytest.mark.parametrize("program", ["scikit-activeml", "baal"])
def test_other_programs_batchbald_begins_with_the_same_image(given, program):
    if program not in strategy_speed.available(BENCH):
        pytest.skip(f"needs {program} in .venv-bench (requirements-bench.txt)")
    own, other = strategy_speed.ours("batch_bald", given, 1), strategy_speed.theirs(program, "batch_bald", given, BENCH)
    assert len(other.picked) == len(own.picked) and own.picked[0] == other.picked[0]
