"""The audit's and the calibration's arithmetic against values worked by hand, and both notebooks at their smallest."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from al_utils.chapters import audit, gal2017
from al_utils.results.paper import table_2


def test_dips_of_the_papers_run():
    assert audit.last_batch(450, 64) == 2 and audit.last_batch(128, 64) == 64 and audit.last_batch(20, 64) == 20
    assert audit.predicted_dips(100, 10, 100, 64) == [130, 450, 770, 1090]
    assert audit.predicted_dips(100, 10, 100, 32) == [130, 290, 450, 610, 770, 930, 1090]
    assert audit.predicted_dips(100, 20, 50, 64) == []


def crossed(by_split, by_seed, rest):
    """Runs whose accuracy is the sum of three normal effects with these deviations (points)."""
    rng = np.random.default_rng(0)
    n = 60
    y = 50 + by_split * rng.normal(size=(n, 1)) + by_seed * rng.normal(size=(1, n)) + rest * rng.normal(size=(n, n))
    return pd.DataFrame([dict(split_seed=i, seed=j, test_accuracy=v / 100) for (i, j), v in np.ndenumerate(y)])


def test_variance_is_taken_apart():
    for true in [(3.0, 1.0, 2.0), (0.0, 2.0, 1.0)]:
        rounds = crossed(*true)
        parts = audit.variance_parts(rounds)
        assert list(parts.values()) == pytest.approx([s**2 for s in true], rel=0.35, abs=0.1)
        low, high = audit.share_interval(rounds, "split and initial labels", repeats=50)
        assert low <= true[0] ** 2 / sum(s**2 for s in true) + 0.02 and high >= true[0] ** 2 / sum(s**2 for s in true) - 0.02


def test_seeds_needed_and_wrong_order():
    assert audit.seeds_needed(1.0, 1.0) == 10  # the textbook's n of a paired t test with effect size 1, power 80%
    assert audit.seeds_needed(0.5, 1.0) == 34
    assert audit.seeds_needed(0.0, 1.0) == math.inf and audit.seeds_needed(100.0, 1.0) == 2
    assert audit.wrong_order(0.0, 1.0) == 0.5
    rng = np.random.default_rng(0)
    means = rng.normal(0.7, 2.0, (200_000, 3)).mean(1)
    assert audit.wrong_order(0.7, 2.0) == audit.wrong_order(-0.7, 2.0) == pytest.approx((means < 0).mean(), abs=0.004)
    compared = audit.comparisons({"lenet": 5.0, "resnet18": 1.0})
    assert len(compared) == 54
    row = compared.iloc[0]
    assert row.difference == pytest.approx(
        table_2("mnist", "lenet", "bald", "none") - table_2("mnist", "lenet", "random", "none")
    )


def test_noisy_share_counts_all_rounds():
    rounds = pd.DataFrame(dict(seed=[0, 0, 1], noisy=[[True, False], [False, False], [True, True]]))
    assert audit.noisy_share(rounds).to_dict() == {0: 25.0, 1: 100.0}


def test_images_needed_are_the_labels_of_the_first_round_at_the_target():
    def run(seed, *accuracies):
        return [dict(strategy="bald", seed=seed, n_labels=20 + 10 * i, test_accuracy=a) for i, a in enumerate(accuracies)]

    rounds = pd.DataFrame(run(0, 0.5, 0.9, 0.89, 0.95) + run(1, 0.5, 0.8999999, 0.9, 0.94))
    assert gal2017.images_needed(rounds, 0.10)["bald"].to_list() == [30, 30]
    five = gal2017.images_needed(rounds, 0.05)["bald"]
    assert five[0] == 50 and math.isnan(five[1])
    shown = gal2017.table(rounds)
    assert shown[("10% error", "ours")].item() == "30\n(30, 30)" and shown[("10% error", "Gal et al.")].item() == "145"
    assert shown[("5% error", "ours")].item() == "not reached\n(50, not reached)"


def execute(notebook, out, **parameters):
    command = [sys.executable, "-m", "papermill", f"notebooks/{notebook}.ipynb", out / "out.ipynb"]
    command += [word for name, value in ({"folder": out} | parameters).items() for word in ("-p", name, str(value))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr + (out / "out.ipynb").read_text()


def test_the_audit_runs_at_its_smallest(tmp_path):
    sizes = dict(epochs=2, resnet_epochs=1, seeds=2, n_rounds=3, dip_epochs=1, dip_labels="130", optimiser_seeds=2,
                 resnet_rounds=1, crossed=2, many_seeds=2, resnet_seeds=2)  # fmt: skip
    status, said = execute("06_audit", tmp_path, parts="134567", **sizes)
    assert status == 0, said
    for text in ("nats, the size of a rounding error", "moves accuracy by", "wrong order with probability", "verdict"):
        assert text in said


def test_a_part_that_does_not_exist_is_refused(tmp_path):
    status, said = execute("06_audit", tmp_path, parts="28")
    assert status and "there is no part 8. Parts are 1 to 7" in said


def test_the_calibration_runs_at_its_smallest(tmp_path):
    sizes = dict(dataset="mnist5k", strategies="random, mean_std", seeds=1, n_rounds=2, variant_rounds=1, min_steps=5,
                 mc_samples=3, pool_subset=50)  # fmt: skip
    status, said = execute("08_gal_2017", tmp_path, **sizes)
    assert status == 0, said
    assert "not reached" in said and "Fewest images for 5% error" in said
