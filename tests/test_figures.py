"""Figures and tables of what was learnt and queried: curves, looks, classes, noisy images."""

import math

import numpy as np
import pandas as pd
import pytest
from little_ledgers import study, write
from matplotlib.figure import Figure
from scipy import stats

from al_utils import acquisition
from al_utils.results import figures, looks, paper, queries


def test_class_balance_and_its_entropy(tmp_path):
    write(tmp_path, [0.5, 0.6], classes=[0, 0, 0, 1])
    balance = queries.class_balance(study(tmp_path), {"mnist5k": 4})
    assert balance.share.tolist() == [0.75, 0.25, 0, 0]
    assert balance.entropy[0] == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4))
    assert (balance.expected == balance.share).all() and (balance.queried == 4).all()  # random itself
    write(tmp_path, [0.5, 0.6], classes=[0, 1, 2, 3], strategy="bald")
    balance = queries.class_balance(study(tmp_path), {"mnist5k": 4})
    assert balance[balance.strategy == "bald"].expected.tolist() == [0.75, 0.25, 0, 0]
    against = queries.evenness_against_random(study(tmp_path), {"mnist5k": 4})["mnist5k", "lenet", "bald"]
    assert against.mean == pytest.approx(1 - balance.entropy[0]) and against.n == 1


def test_evenness_is_compared_within_a_cell(tmp_path):
    for strategy in ("random", "bald"):
        write(tmp_path, [0.5, 0.6], classes=[0, 1, 2, 3], strategy=strategy)
    write(tmp_path, [0.5, 0.6], classes=[0, 0, 0, 0], strategy="bald", noise="gaussian")  # random did not run there
    against = queries.evenness_against_random(study(tmp_path), {"mnist5k": 4})
    assert against["mnist5k", "lenet", "bald"].mean == 0


def test_a_thousand_classes_are_a_figure_one_can_read(tmp_path):
    write(tmp_path, [0.5, 0.6], classes=[0, 1, 2, 3])
    write(tmp_path, [0.5, 0.6], classes=[0, 1, 2, 3], strategy="bald")
    found = study(tmp_path)
    queried = (found.strategy == "bald") & (found["round"] == 0)
    found.loc[queried, "true_classes"] = pd.Series([[7, 7, 7, 999]], found.index[queried])
    balance = queries.class_balance(found, {"mnist5k": 1_000})
    (ax,) = figures.class_balance(balance, [f"class {c}" for c in range(1_000)]).axes
    shown = [text.get_text() for text in ax.get_xticklabels()]
    assert len(shown) == 30 and {"class 0", "class 7", "class 999"} <= set(shown)
    assert "the 30 of 1,000 classes farthest" in ax.get_title("left")


def test_noisy_share_and_its_interval_over_seeds(tmp_path):
    shares = [0.2, 0.3, 0.4]
    for seed, n in enumerate((2, 3, 4)):
        write(tmp_path, [0.5] * 6, noise="gaussian", noisy=[True] * n + [False] * (10 - n), seed=seed)
    (row,) = queries.noisy_share(study(tmp_path)).itertuples()
    expected = stats.ttest_1samp(shares, 0.1)
    assert (row.queried, row.share, row.rate) == (150, pytest.approx(0.3), 0.1)
    assert (row.low, row.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert row.excess.p == pytest.approx(expected.pvalue) and row.verdict == "chance is not ruled out"  # p = 0.07
    write(tmp_path, [0.5] * 6, noise="gaussian", noisy=[True] * 3 + [False] * 7, seed=3)
    assert queries.noisy_share(study(tmp_path)).verdict.item() == "more than chance"


def test_noise_on_the_test_images_alone_is_not_looked_for_among_the_queries(tmp_path):
    write(tmp_path, [0.5, 0.6], noise="gaussian", noise_on="test")
    assert queries.noisy_share(study(tmp_path)).empty


def test_learning_curves_draw_mean_band_and_every_run(tmp_path):
    for seed, accuracy in enumerate((0.6, 0.8)):
        write(tmp_path, [0.5, accuracy], seed=seed)
    (ax,) = figures.learning_curves(study(tmp_path)).axes
    assert [line.get_ydata()[-1] for line in ax.lines] == pytest.approx([60, 80, 70])
    assert ax.lines[-1].get_label() == "random (n=2)" and ax.lines[-1].get_color() == "#7f7f7f"
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(80)  # 70 ± 10, the standard error of 60 and 80
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("labels", "test accuracy (%)")


def test_a_strategy_keeps_its_look_and_no_two_share_it():
    names = [*looks.STRATEGY, "one_of_my_own"]
    assert looks.strategy_style("one_of_my_own") == looks.strategy_style("one_of_my_own")
    assert len({looks.strategy_style(name).colour for name in names}) == len(names)
    ours = [name for name in acquisition.names() if acquisition.get(name).function.__module__.startswith("al_utils.")]
    listed = [name for name in ours if name not in looks.STRATEGY]  # other tests register strategies of their own
    assert ours and not listed, "give these a colour in looks.STRATEGY"
    assert len({looks.look("noise", noise, 0).colour for noise in paper.NOISES}) == 3


def test_differences_to_random_have_simultaneous_bands(tmp_path):
    for seed in range(3):
        write(tmp_path, [0.5, 0.6, 0.7], seed=seed)
        write(tmp_path, [0.5, 0.61 + 0.01 * seed, 0.72 + 0.01 * seed], seed=seed, strategy="bald")
    (ax,) = figures.differences_to_random(study(tmp_path)).axes
    assert ax.lines[0].get_ydata() == pytest.approx([0, 2, 3]) and ax.lines[0].get_label() == "BALD (n=3)"
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() > 3 + 4.3 / math.sqrt(3)  # wider than the interval of one round


@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (1, 1, 8, 8), (13, 3, 8, 8)])
def test_image_grid_takes_bytes_and_standardised_floats(shape):
    rng = np.random.default_rng(0)
    for images in (rng.integers(0, 256, shape).astype(np.uint8), rng.normal(size=shape).astype(np.float32)):
        assert isinstance(figures.image_grid(images, ["a"] * shape[0]), Figure)


def test_a_copy_in_the_pool_is_shown_as_its_original():
    pixels = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 2), np.uint8)
    first, last = queries.images_of({"bald": ([1, 6, 14], [5])}, pixels)["bald"]
    assert first[:, 0, 0, 0].tolist() == [1, 1, 4] and last.shape == (1, 1, 2, 2) and last.max() == 0


def test_different_images_of_a_redundant_pool_are_counted():
    rows = [
        ("bald", 0, [1, 6]),
        ("bald", 0, [11, 2]),
        ("bald", 1, [3, 4]),
        ("bald", 1, [8, 0]),
        ("random", 0, [1, 2]),
        ("random", 0, [3, 4]),
    ]
    study = pd.DataFrame([dict(strategy=s, noise="none", seed=seed, queried=query) for s, seed, query in rows])
    said = queries.different_images(study, n_images=5)
    assert said == "Different images among the 4 queries of a run, mean over seeds: random 4; BALD 2."  # 2 and 3 on average
