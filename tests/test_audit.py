"""The chapters' arithmetic against values worked by hand, and their notebooks at their smallest."""

import math
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from al_utils.chapters import audit, diagrams, gal2017
from al_utils.results.paper import table_2


def test_dips_of_the_papers_run():
    assert audit.last_batch(450, 64) == 2 and audit.last_batch(128, 64) == 64 and audit.last_batch(20, 64) == 20
    assert audit.predicted_dips(100, 10, 100, 64) == [130, 450, 770, 1090]
    assert audit.predicted_dips(100, 10, 100, 32) == [130, 290, 450, 610, 770, 930, 1090]
    assert audit.predicted_dips(104, 10, 100, 64) == [194, 514, 834]
    assert audit.predicted_dips(100, 20, 50, 64) == []


def test_a_fall_is_measured_from_the_neighbours_of_the_same_seed():
    rows = [(120, 0, "keep", 0.5), (130, 0, "keep", 0.1), (140, 0, "keep", 0.7), (130, 0, "drop", 0.55), (130, 1, "keep", 0.2)]
    rounds = pd.DataFrame(rows, columns=["n_labels", "seed", "last_batch", "test_accuracy"])
    falls = audit.falls(rounds, [130])
    assert list(zip(falls.seed, falls.last_batch, falls.fall.round(6))) == [(0, "keep", 50.0), (0, "drop", 5.0)]
    assert audit.falls(rounds, [120]).empty  # it has no neighbour at 110


def crossed(by_split, by_seed, rest):
    """Accuracy, a row per split, a column per seed: the sum of three normal effects with these deviations (points)."""
    rng = np.random.default_rng(0)
    n = 60
    return 50 + by_split * rng.normal(size=(n, 1)) + by_seed * rng.normal(size=(1, n)) + rest * rng.normal(size=(n, n))


def test_variance_is_taken_apart():
    for true in [(3.0, 1.0, 2.0), (0.0, 2.0, 1.0)]:
        parts = audit.variance_parts(crossed(*true))
        assert list(parts.values()) == pytest.approx([s**2 for s in true], rel=0.35, abs=0.1)


def test_runs_are_laid_out_by_split_and_seed():
    rows = [dict(split_seed=i, seed=j, test_accuracy=(10 * i + j) / 100) for i in (1, 0) for j in (2, 0)]
    assert audit.crossed(pd.DataFrame(rows)).tolist() == pytest.approx(np.array([[0, 2], [10, 12]]))


def test_every_pair_of_table_2_is_compared_as_independent_runs():
    compared = audit.comparisons({"lenet": 8.69, "resnet18": 0.50})
    assert len(compared) == 54 and compared.settled.sum() == 14
    first = compared.iloc[0]
    difference = table_2("mnist", "lenet", "bald", "none") - table_2("mnist", "lenet", "random", "none")
    assert first.difference == pytest.approx(difference)
    rng = np.random.default_rng(0)
    means = rng.normal(0, 8.69, (2, 200_000, 3)).mean(-1)
    assert first.wrong_order == pytest.approx((abs(difference) + means[0] - means[1] < 0).mean(), abs=0.004)


def test_where_the_norm_of_queries_lies(runs):
    found = audit.norm_percentiles(list(runs.values())).set_index("strategy")
    assert (found.noise == "gaussian").all() and (found.seed == 0).all()
    for name, run in runs.items():
        norms = np.sqrt((run.problem.train[:].numpy() ** 2).sum((1, 2, 3)))
        queried = [i for round in run.rounds for i in round.queried]
        below = [100 * (norms <= norms[i]).mean() for i in queried]
        assert found.percentile[name] == pytest.approx(np.mean(below), abs=0.1)


def test_verdicts_are_kept_beside_the_ledgers(tmp_path):
    found = [
        audit.verdict("a", "seen.", False, "So not."),
        audit.verdict("b", "seen.", None),
        audit.verdict("c", "é", True, "x"),
    ]
    assert audit.kept(tmp_path) == []
    audit.keep(found, tmp_path / "1_dips")
    assert audit.kept(tmp_path / "1_dips") == found
    assert [(v.finding, v.word) for v in found] == [
        ("seen. So not.", "does not hold"),
        ("seen.", "not decided"),
        ("é", "holds"),
    ]
    assert "&lt;b&gt;" in audit.verdicts_html([("1_dips", audit.verdict("<b>", "x", True))])


def test_the_diagrams_are_those_of_the_modules():
    lenet = diagrams.layers("lenet", (1, 28, 28))
    assert [each.output for each in lenet] == [(6, 24, 24), (16, 8, 8), (120,), (84,), (10,)]
    resnet = diagrams.layers("resnet18", (3, 32, 32))
    assert len(resnet) == 11 and [each.skip for each in resnet].count("identity") == 5
    assert [each.output[0] for each in resnet if each.skip] == [64, 64, 128, 128, 256, 256, 512, 512]


def test_images_needed_are_read_from_the_mean_curve_and_its_isotonic_fit():
    def run(seed, *accuracies):
        return [dict(strategy="bald", seed=seed, n_labels=20 + 10 * i, test_accuracy=a) for i, a in enumerate(accuracies)]

    rounds = pd.DataFrame(run(0, 0.5, 0.92, 0.84, 0.93) + run(1, 0.5, 0.88, 0.86, 0.91))
    assert gal2017.images_needed(rounds, 0.10) == {"bald": (30, 50)}  # 90, 85, 92: the fit is 87.5, 87.5, 92
    assert gal2017.images_needed(rounds, 0.05) == {"bald": (math.inf, math.inf)}
    shown = gal2017.table(rounds)
    assert shown[("10% error", "mean curve")].item() == "30" and shown[("10% error", "isotonic fit")].item() == "50"
    assert shown[("5% error", "mean curve")].item() == "not reached" and shown[("5% error", "Gal et al.")].item() == "335"


def test_the_shipped_runs_need_as_many_images_as_is_said():
    from al_utils import read_ledgers

    needed = gal2017.images_needed(read_ledgers("reports/gal_2017/gal"), 0.05)
    assert needed == {"variation_ratios": (290, 290), "bald": (300, 370), "max_entropy": (380, 380), "random": (840, 880)}


def execute(notebook, out, **parameters):
    command = [sys.executable, "-m", "papermill", f"notebooks/{notebook}.ipynb", str(out / "out.ipynb")]
    for name, value in parameters.items():
        command += ["-r" if isinstance(value, str) else "-p", name, str(value)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr + (out / "out.ipynb").read_text()


SAYS = {  # what each finds in the runs that come with the project
    "1_dips": "The dips are an artefact of the batch size.",
    "2_lenet": "Had it been trained with its own equation, its LeNet would have learned.",
    "3_bald": "BALD as released minus random: +2.9 points (95% interval +2.0 to +3.7, n=5)",
    "4_noise": "Gaussian noise on the training images moves accuracy by −0.3 points (95% interval −1.0 to +0.3, n=3)",
    "5_split": "57% (95% interval 23% to 90%; F(5, 25) = 8.85, p = 6e-05)",
    "6_three_seeds": "settle 5 of 54 comparisons",
}


@pytest.mark.parametrize("name", SAYS)
def test_a_notebook_of_the_audit_reads_its_runs_and_leaves_verdicts(name, tmp_path):
    shutil.copytree(ROOT / "reports" / "audit" / name, tmp_path, dirs_exist_ok=True)
    (tmp_path / "verdicts.json").unlink(missing_ok=True)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.jsonl")}
    status, said = execute(f"audit/{name}", tmp_path, folder=str(tmp_path))
    assert status == 0, said
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.jsonl")}  # nothing was computed again
    assert SAYS[name] in " ".join(each.finding for each in audit.kept(tmp_path))


def test_a_notebook_of_the_audit_computes_what_is_missing(tmp_path):
    status, said = execute("audit/5_split", tmp_path, folder=str(tmp_path), crossed=2, epochs=1)
    assert status == 0, said
    assert len(list(tmp_path.glob("*.jsonl"))) == 8 and audit.kept(tmp_path)


def test_the_last_notebook_reads_the_verdicts_and_says_what_was_not_run(tmp_path):
    audit.keep([audit.verdict("A claim.", "What was found.", True)], tmp_path / "3_bald")
    status, said = execute("audit/7_verdicts", tmp_path, folder=str(tmp_path), matched="none", ideal="none")
    assert status == 0, said
    assert "What was found." in said and "No verdict of 1_dips: run notebooks/audit/1_dips.ipynb." in said
    assert said.count("<b>not run</b>") == 2


def test_the_notebook_about_the_paper_runs(tmp_path):
    status, said = execute("00_the_paper", tmp_path)
    assert status == 0, said


def test_the_comparison_with_gal_et_al_runs_at_its_smallest(tmp_path):
    sizes = dict(dataset="mnist5k", strategies="random, mean_std", seeds=1, n_rounds=2, variant_rounds=1, min_steps=5,
                 mc_samples=3, pool_subset=50)  # fmt: skip
    status, said = execute("08_gal_2017", tmp_path, folder=str(tmp_path), **sizes)
    assert status == 0, said
    assert "not reached" in said and "Fewest images for 5% error" in said
