"""Tables, answers and figures against numbers worked by hand, from ledgers that the real `Ledger` wrote."""

import itertools
import math
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest
from matplotlib.figure import Figure
from scipy import stats

from al_utils.config import ExperimentConfig
from al_utils.ledger import Ledger, Round, read_ledgers
from al_utils.results import answers, figures, pages, paper, studies, tables
from al_utils.words import dataset_label

ROOT = Path(__file__).resolve().parent.parent
DIGITS = [str(digit) for digit in range(10)]


def write(folder, accuracies, stop=None, classes=(), noisy=(), seconds=None, **config):
    """A ledger with these test accuracies, one per round; every round queries images of `classes`, `noisy` or not."""
    n_query = len(classes) or 10
    plan = dict(n_initial=100, n_query=n_query, n_rounds=len(accuracies) - 1)
    c = ExperimentConfig.from_dict(dict(protocol="tuned", device="cpu") | plan | config)
    header = dict(
        config=c.to_dict(), initial=list(range(c.n_initial)), environment=dict(python="3.11", processor="a <fast> one"),
        data=dict(name=c.dataset, label="", checksum="0", classes=DIGITS),
    )  # fmt: skip
    with Ledger(folder / f"{c.name}.jsonl", header) as ledger:
        for k, (n_labels, accuracy) in list(enumerate(zip(c.n_labels, accuracies)))[:stop]:
            n = c.n_query if k < c.n_rounds else 0
            metrics = dict.fromkeys(studies.METRICS, accuracy)
            picked = dict(true_classes=list(classes or [k % 10] * n)[:n], noisy=list(noisy or [False] * n)[:n])
            spent = seconds or dict(fit=1.0, evaluate=0.5)
            ledger.append(Round(k, n_labels, metrics, list(range(n_labels, n_labels + n)), [0.0] * n, **picked, seconds=spent))


def test_an_option_tied_to_the_network_does_not_separate(tmp_path):
    write(tmp_path, [0.5, 0.6], model="lenet", epochs=100)
    write(tmp_path, [0.5, 0.7], model="resnet18", epochs=16)
    assert len(studies.by_study(read_ledgers(tmp_path))) == 1
    write(tmp_path, [0.5, 0.8], model="lenet", epochs=50, seed=1)
    assert len(studies.by_study(read_ledgers(tmp_path))) == 3


def study(folder):
    (only,) = studies.by_study(read_ledgers(folder)).values()
    return only


def cell(table, noise, model, dataset, strategy):
    return table.loc[(noise, model), (dataset, strategy)]


def test_published_numbers_are_the_papers():
    assert paper.table_2("mnist", "lenet", "random", "none") == 28.79
    assert paper.table_2("cifar10", "resnet18", "bald", "salt_and_pepper") == 38.52
    assert paper.table_2("fashion_mnist", "lenet", "max_entropy", "gaussian") == 14.63
    assert paper.figure_3("supervised", "lenet") == 65.49
    assert paper.figure_3("ideal", "resnet18", "max_entropy") == 1.47
    assert paper.figure_3("constrained", "resnet18", "bald") == 6.83
    found = itertools.product(paper.DATASETS, paper.MODELS, paper.STRATEGIES, paper.NOISES)
    assert sum(paper.table_2(*key) is not None for key in found) == 54


def test_stand_ins_are_compared_with_the_data_set_they_stand_for():
    assert paper.table_2("mnist5k", "lenet", "random", "none") == 28.79
    assert paper.table_2("folder:/x/cifar10_jpeg", "lenet", "random", "none") == 13.92
    assert paper.table_2("folder:/x/cifar100", "lenet", "random", "none") is None
    assert paper.table_2("mnist", "lenet", "margin", "none") is None
    assert paper.figure_3("ideal_fine", "lenet", "bald") is None
    assert dataset_label("folder:/x/cifar10_jpeg") == "CIFAR-10 (JPEG)"
    assert dataset_label("folder:/secret/cats") == "cats"


def test_table_2_has_mean_standard_error_n_and_the_published_number(tmp_path):
    for seed, last in enumerate([0.90, 0.92, 0.97]):
        write(tmp_path, [0.5, last], dataset="mnist5k", seed=seed)
    table = tables.table_2(study(tmp_path))
    # mean 93; deviations -3, -1, 4: variance 13, standard error sqrt(13 / 3) = 2.08
    assert cell(table, "no noise", "LeNet", "MNIST-5k", "random") == "93.0 ± 2.1% (3)\npaper 28.79%"
    assert cell(table, "no noise", "ResNet-18", "MNIST", "BALD") == "not run\npaper 93.16%"
    assert table.shape == (6, 12)


def test_one_seed_has_no_standard_error_and_unfinished_runs_do_not_count(tmp_path):
    write(tmp_path, [0.5, 0.9], dataset="mnist", seed=0)
    write(tmp_path, [0.5, 0.1], dataset="mnist", seed=1, stop=1)
    table = tables.table_2(study(tmp_path))
    assert cell(table, "no noise", "LeNet", "MNIST", "random") == "90.0% (n=1)\npaper 28.79%"
    runs = tables.overview(studies.read_runs(tmp_path))[""]
    assert runs["Runs"] == "1 finished, 1 unfinished: mnist__lenet__random__none__seed-1 (after 1 of 2 trainings)"


def test_settings_are_separated_and_copies_count_once(tmp_path):
    for lr, accuracy in ((0.1, 0.9), (0.01, 0.7)):
        write(tmp_path / str(lr), [0.5, accuracy], dataset="mnist", lr=lr)
        write(tmp_path / f"copy of {lr}", [0.5, accuracy], dataset="mnist", lr=lr)
    write(tmp_path / "ideal", [0.5, 0.8], dataset="mnist", scenario="ideal")
    found = studies.by_study(read_ledgers(tmp_path))
    assert sorted(found) == [
        "protocol tuned, scenario constrained, lr 0.01",
        "protocol tuned, scenario constrained, lr 0.1",
        "protocol tuned, scenario ideal",
    ]
    by_lr = {name[-4:].strip(): tables.table_2(part) for name, part in found.items()}
    assert cell(by_lr["0.1"], "no noise", "LeNet", "MNIST", "random").startswith("90.0% (n=1)")
    assert cell(by_lr["deal"], "no noise", "LeNet", "MNIST", "random") == "80.0% (n=1)"  # nothing published beside it
    errors = tables.figure_3(found)["MNIST"]
    assert "10.0% (n=1) protocol tuned, lr 0.1" in errors["constrained", "LeNet", "random"].split("\n")
    assert errors["ideal", "LeNet", "random"] == "20.0% (n=1)"
    with pytest.raises(ValueError, match="mix studies"):
        figures.learning_curves(read_ledgers(tmp_path))


def test_one_split_for_all_seeds_is_one_setting(tmp_path):
    for seed in range(3):
        write(tmp_path, [0.5, 0.9], seed=seed, protocol="as_released")  # seed 0's own split, for all
    assert study(tmp_path).seed.nunique() == 3
    write(tmp_path / "other", [0.5, 0.9], seed=1, protocol="as_released", split_seed=7)
    assert len(studies.by_study(read_ledgers(tmp_path))) > 1


def test_figure_3_counts_a_supervised_seed_once(tmp_path):
    for strategy, seed in itertools.product(("random", "bald"), (0, 1)):
        write(tmp_path, [0.9 + 0.02 * seed], dataset="mnist", scenario="supervised", strategy=strategy, seed=seed, n_query=0)
    table = tables.figure_3({"": study(tmp_path)})
    assert table.loc["supervised", "LeNet", "–"].tolist() == ["65.49%", "9.0 ± 1.0% (2)"]
    assert table.loc["ideal", "LeNet", "BALD"].tolist() == ["3.37%", "not run"]


def test_labels_needed_in_plain_words(tmp_path):
    write(tmp_path, [0.7, np.float32(0.8).item(), 0.9], seed=0)
    write(tmp_path, [0.7, 0.7, float(np.float32(0.9))], seed=1)  # a float32 0.9 is below 0.9
    write(tmp_path, [0.7, 0.7, 0.85], seed=2)
    needed = tables.labels_needed(study(tmp_path)).loc["MNIST-5k", "LeNet", "no noise"]
    assert needed["80%", "random"] == "117 ± 3 (3)"  # 110, 120, 120
    assert needed["90%", "random"] == "2 of 3 reached:\n120 ± 0"
    assert needed["95%", "random"] == "not reached"


def test_class_balance_and_its_entropy(tmp_path):
    write(tmp_path, [0.5, 0.6], classes=[0, 0, 0, 1])
    balance = tables.class_balance(study(tmp_path), {"mnist5k": 4})
    assert balance.share.tolist() == [0.75, 0.25, 0, 0]
    assert balance.entropy[0] == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4))
    assert (balance.uniform == 0.25).all() and (balance.queried == 4).all()


def test_noisy_share_and_its_binomial_band(tmp_path):
    for seed in range(2):
        write(tmp_path, [0.5] * 6, noise="gaussian", noisy=[True] * 3 + [False] * 7, seed=seed)
    (row,) = tables.noisy_share(study(tmp_path)).itertuples()
    assert (row.queried, row.share, row.rate) == (100, pytest.approx(0.3), 0.1)
    # the smallest counts whose cumulative probability is at least 2.5% and 97.5%, by hand
    probability = [math.comb(100, k) * 0.1**k * 0.9 ** (100 - k) for k in range(101)]
    low, high = (next(k for k in range(101) if sum(probability[: k + 1]) >= q) for q in (0.025, 0.975))
    assert (row.low, row.high) == (low / 100, high / 100)
    assert row.verdict == "more than chance"


def test_seconds_leave_out_the_last_round(tmp_path):
    write(tmp_path, [0.5, 0.6, 0.7], seconds=dict(fit=2.0, evaluate=1.0, predict=0.5))
    (row,) = tables.seconds_per_round(study(tmp_path)).itertuples()
    assert (row.rounds, row.fit, row.predict, row.acquire, row.total) == (2, 2.0, 0.5, 0.0, 3.5)


def test_intervals_are_paired_by_seed(tmp_path):
    ours, base = [0.90, 0.85, 0.93], [0.88, 0.84, 0.90]
    for seed, (a, b) in enumerate(zip(ours, base)):
        write(tmp_path, [0.5, a], strategy="bald", seed=seed)
        write(tmp_path, [0.5, b], strategy="random", seed=seed)
    (row,) = answers.against_random(study(tmp_path)).itertuples()
    expected = stats.ttest_rel(ours, base).confidence_interval(0.95)
    assert row.difference.mean == pytest.approx(2.0)  # 2, 1, 3 points
    assert row.difference.low == pytest.approx(100 * expected.low)
    assert row.difference.high == pytest.approx(2 + 4.302653 * 1 / math.sqrt(3))
    assert row.difference.sign == 0  # -0.5 to 4.5: three seeds do not decide two points
    assert "not decided by this evidence. BALD has the highest" in answers.rq1(study(tmp_path))


def test_rq1_names_a_winner_where_the_intervals_agree(tmp_path):
    for seed, noise in itertools.product(range(3), ("none", "gaussian")):
        for strategy, accuracy in (("random", 0.80), ("bald", 0.90 + 0.001 * seed), ("max_entropy", 0.84)):
            write(tmp_path, [0.5, accuracy], strategy=strategy, noise=noise, seed=seed)
    answer = answers.rq1(study(tmp_path))
    assert answer.startswith("BALD is the most effective strategy by this evidence.")
    assert "BALD is ahead in 2, behind in 0 and undecided in 0 of 2" in answer
    assert "The largest difference to random is that of BALD on MNIST-5k, LeNet" in answer and "+10.1 points" in answer


def test_answers_without_the_runs_they_need(tmp_path):
    (nothing,) = studies.by_study(read_ledgers(tmp_path)).values()
    assert answers.rq1(nothing) == "Not answered: no finished run of random, max. entropy or BALD."
    assert answers.rq2(nothing) == "Not answered: no finished run of LeNet or ResNet-18."
    assert (tables.table_2(nothing).map(lambda text: text.startswith("not run\npaper"))).all(axis=None)

    write(tmp_path, [0.5, 0.8])
    assert answers.rq1(study(tmp_path)).startswith("Not answered: no finished run of a strategy other than random")
    assert answers.rq2(study(tmp_path)) == "Not answered: no finished run of ResNet-18."
    write(tmp_path, [0.5, 0.9], strategy="bald")
    answer = answers.rq1(study(tmp_path))
    assert "not decided" in answer and "+10.0 points (one seed, so no interval)" in answer
    write(tmp_path, [0.5, 0.7], noise="gaussian")
    assert answers.rq2(study(tmp_path)).endswith("Gaussian noise costs LeNet 10.0 points (one seed, so no interval).")
    assert "nan" not in answers.rq2(study(tmp_path)) + answer


def test_rq2_compares_accuracy_and_loss_paired_by_seed(tmp_path):
    accuracies = {("lenet", "none"): 0.90, ("lenet", "gaussian"): 0.80}
    accuracies |= {("resnet18", "none"): 0.95, ("resnet18", "gaussian"): 0.94}
    for (model, noise), accuracy in accuracies.items():
        for seed in range(3):
            write(tmp_path, [0.5, accuracy + 0.01 * seed], model=model, noise=noise, seed=seed)
    answer = answers.rq2(study(tmp_path))
    assert answer.startswith("Without noise and under Gaussian noise, ResNet-18 is the more accurate network.")
    assert "Gaussian noise costs LeNet 10.0 points" in answer and "ResNet-18 1.0 points" in answer
    assert "ResNet-18 loses less: LeNet's loss minus ResNet-18's is +9.0 points (95% interval +9.0 to +9.0, n=3)" in answer


def test_departures_from_the_paper(tmp_path):
    write(tmp_path, [0.5, 0.6], dataset="mnist5k", epochs=7)
    phrases = tables.departures(studies.read_runs(tmp_path))
    assert "epochs a round: 7 instead of 100" in phrases and "learning rate: 0.01 instead of 0.001" in phrases
    assert phrases[-1] == "MNIST-5k is compared with the paper's MNIST"


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
    names = ["random", "max_entropy", "bald", "margin", "variation_ratios", "least_confidence", "mean_std", "batchbald"]
    assert figures.strategy_style("margin") == figures.strategy_style("margin")
    assert len({figures.strategy_style(name)[0] for name in names}) == len(names)


@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (1, 1, 8, 8), (13, 3, 8, 8)])
def test_image_grid_takes_bytes_and_standardised_floats(shape):
    rng = np.random.default_rng(0)
    for images in (rng.integers(0, 256, shape).astype(np.uint8), rng.normal(size=shape).astype(np.float32)):
        assert isinstance(figures.image_grid(images, ["a"] * shape[0]), Figure)


def test_user_text_is_escaped():
    import pandas as pd

    table = pages.html_table(pd.DataFrame({"<i>": {"<u>": "<script>\nline"}}), "<b>")
    assert "<script>" not in table and "<i>" not in table and "<u>" not in table and "<b>" not in table
    assert "&lt;script&gt;<br>line" in table
    assert pages.html_text("<b>") == pages.html_text("<b>").replace("<b>", "")


def run_notebook(folder, out):
    papermill.execute_notebook(str(ROOT / "notebooks/05_report.ipynb"), str(out), dict(ledgers=str(folder)), cwd=str(ROOT),
                               progress_bar=False)  # fmt: skip
    outputs = [output for cell in nbformat.read(out, 4).cells for output in cell.get("outputs", [])]
    text = "\n".join(str(o.get("data", {}).get("text/html", o.get("text", ""))) for o in outputs)
    pictures = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    assert not [o for o in outputs if o.output_type == "error"]
    assert str(folder) not in text and str(ROOT) not in text
    return text, pictures


def test_the_notebook_reports_everything(tmp_path):
    for model, strategy, noise, seed in itertools.product(paper.MODELS, paper.STRATEGIES, paper.NOISES, range(2)):
        noisy = [noise != "none"] + [False] * 9
        write(tmp_path / "in", [0.5, 0.8, 0.9], model=model, strategy=strategy, noise=noise, seed=seed, noisy=noisy,
              dataset="folder:/home/someone/cifar10_jpeg")  # fmt: skip
    text, pictures = run_notebook(tmp_path / "in", tmp_path / "out.ipynb")
    for part in ("36 finished, 0 unfinished", "90.0 ± 0.0% (2)", "paper 13.92%", "as by chance", "a &lt;fast&gt; one",
                 "CIFAR-10 (JPEG) is compared with the paper&#x27;s CIFAR-10"):  # fmt: skip
        assert part in text
    assert len(pictures) == 8 and max(map(len, pictures)) < 150_000
    assert "someone" not in text


def test_the_notebook_reports_almost_nothing(tmp_path):
    write(tmp_path / "in", [0.5, 0.8], stop=1)
    text, pictures = run_notebook(tmp_path / "in", tmp_path / "out.ipynb")
    assert "0 finished, 1 unfinished" in text and "Not answered: no finished run of LeNet or ResNet-18." in text
    assert text.count(">not run</p>") == 11 and not pictures


def test_the_committed_notebook_is_clean():
    notebook = nbformat.read(ROOT / "notebooks/05_report.ipynb", 4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    (parameters,) = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert parameters == 'ledgers: str = "reports/quick"  # folder with the ledgers to report'
