"""Which runs are averaged, and what stands beside what: settings, splits, copies, options, seconds."""

import itertools

import numpy as np
import pytest
from little_ledgers import cell, said, study, write

from al_utils.ledger import read_ledgers
from al_utils.results import answers, beside, figures, ranking, studies, tables


def test_an_option_tied_to_the_network_does_not_separate(tmp_path):
    write(tmp_path, [0.5, 0.6], model="lenet", epochs=100)
    write(tmp_path, [0.5, 0.7], model="resnet18", epochs=16)
    assert len(studies.by_study(read_ledgers(tmp_path))) == 1
    write(tmp_path, [0.5, 0.8], model="lenet", epochs=50, seed=1)
    assert len(studies.by_study(read_ledgers(tmp_path))) == 3


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
    by_lr = {name[-4:].strip(): beside.table_2(part) for name, part in found.items()}
    assert cell(by_lr["0.1"], "no noise", "LeNet", "MNIST", "random").startswith("90.0% (n=1)")
    assert cell(by_lr["deal"], "no noise", "LeNet", "MNIST", "random") == "80.0% (n=1)"  # nothing published beside it
    errors = beside.figure_3(found)["MNIST"]
    assert "10.0% (n=1) at 110 labels, protocol tuned, lr 0.1" in errors["constrained", "LeNet", "random"].split("\n")
    assert errors["ideal", "LeNet", "random"] == "20.0% (n=1) at 110 labels"
    with pytest.raises(ValueError, match="mix studies"):
        figures.learning_curves(read_ledgers(tmp_path))


def test_one_split_for_all_seeds_is_one_setting(tmp_path):
    for seed in range(3):
        write(tmp_path, [0.5, 0.9], seed=seed, protocol="as_released")  # seed 0's own split, for all
    assert study(tmp_path).seed.nunique() == 3
    write(tmp_path / "other", [0.5, 0.9], seed=1, protocol="as_released", split_seed=7)
    assert len(studies.by_study(read_ledgers(tmp_path))) > 1


def test_seconds_leave_out_the_last_round(tmp_path):
    write(tmp_path, [0.5, 0.6, 0.7], seconds=dict(fit=2.0, evaluate=1.0, predict=0.5))
    (row,) = tables.seconds_per_round(study(tmp_path)).itertuples()
    assert (row.rounds, row.fit, row.predict, row.acquire, row.total) == (2, 2.0, 0.5, 0.0, 3.5)


def test_studies_stand_beside_each_other(tmp_path):
    for lr, strategy, seed in itertools.product((0.1, 0.01), ("random", "bald"), range(2)):
        write(tmp_path / str(lr), [0.5, 0.5 + lr], lr=lr, strategy=strategy, seed=seed)
    by_study = studies.by_study(read_ledgers(tmp_path))
    together = studies.together(by_study)
    assert set(together.study) == {"lr 0.1", "lr 0.01"}
    table = tables.final_accuracy(together)
    assert table.loc[("MNIST-5k", "LeNet", "no noise", "lr 0.1", "110"), "BALD"] == "60.0 ± 0.0% (2)"
    figure = figures.learning_curves(together, rows="strategy", columns="cell", lines="study")
    assert [ax.get_title("left") for ax in figure.axes] == [
        "random, MNIST-5k, LeNet, no noise",
        "BALD, MNIST-5k, LeNet, no noise",
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["lr 0.01 (n=2)", "lr 0.1 (n=2)"]
    assert not beside.of_the_papers_kind(by_study)
    assert "learning rate: 0.01 and 0.1" in tables.overview(studies.read_runs(tmp_path))[""]["Also varied"]


def test_labels_needed_count_the_seeds_that_did_not_arrive(tmp_path):
    write(tmp_path, [0.7, np.float32(0.8).item(), 0.9], seed=0)
    write(tmp_path, [0.7, 0.7, float(np.float32(0.9))], seed=1)  # a float32 0.9 is below 0.9
    write(tmp_path, [0.7, 0.7, 0.85], seed=2)
    write(tmp_path, [0.7, 0.96, 0.7], seed=0, strategy="bald")
    write(tmp_path, [0.7, 0.7, 0.7], seed=1, strategy="bald")
    write(tmp_path, [0.7, 0.7, 0.7], seed=2, strategy="bald")
    needed = tables.labels_needed(study(tmp_path), (0.8, 0.9, 0.95, 0.99)).loc["MNIST-5k", "LeNet", "no noise"]
    assert needed["80%", "random"] == "120 (3)"  # 110, 120, 120
    assert needed["90%", "random"] == "120 (3)\n2 of 3 arrived"
    assert needed["80%", "BALD"] == "more than 120 (3)\n1 of 3 arrived"
    assert needed["95%", "random"] == "not reached (3)"
    assert ("99%", "random") not in needed


def test_new_names_appear_like_any_other(tmp_path):
    """Names of one's own are in ledgers, whether or not they are registered here."""
    for seed in range(2):
        for model, noise, strategy in itertools.product(("lenet", "vit"), ("none", "blur"), ("random", "mine")):
            write(tmp_path, [0.5, 0.8 + 0.01 * seed], model=model, noise=noise, strategy=strategy, seed=seed)
    found = study(tmp_path)
    table = beside.table_2(found)
    assert cell(table, "blur", "vit", "MNIST-5k", "mine").startswith("80.5 ± 0.5% (2)")
    assert beside.figure_3({"": found}).loc[("constrained", "vit", "mine"), "MNIST-5k"].startswith("19.5")
    answer = said(answers.rq2, tmp_path)
    assert "whether LeNet or vit is the more accurate" in answer and "Blur costs LeNet" in answer
    mine = found[found.strategy == "mine"]
    ax = figures.learning_curves(mine[mine.model == "vit"], lines="noise").axes[0]
    assert [line.get_label() for line in ax.lines if "n=" in line.get_label()] == ["no noise (n=2)", "blur (n=2)"]


def test_labels_of_another_oracle_make_another_study(tmp_path):
    for kind in ("true labels", "careless"):
        for seed in range(2):
            accuracy = 0.9 if kind == "true labels" else 0.2
            write(tmp_path / kind, [0.5, accuracy], seed=seed, head={"oracle": {"kind": kind}})
    write(tmp_path / "none", [0.5, 0.9], seed=2)
    found = studies.by_study(read_ledgers(tmp_path))
    assert {name.rpartition(", ")[2]: sorted(part.seed.unique()) for name, part in found.items()} == {
        "oracle none": [0, 1, 2], "oracle careless": [0, 1],
    }  # fmt: skip
    assert "labels of an oracle (careless) instead of the true classes (2 of 5 runs)" in beside.departures(
        studies.read_runs(tmp_path)
    )


def test_an_unfinished_copy_does_not_leak_into_the_finished_run(tmp_path):
    write(tmp_path / "a", [0.1] * 6, stop=3)
    write(tmp_path / "b", [0.9] * 6)
    assert (study(tmp_path).test_accuracy == 0.9).all()
    (whole,) = studies.by_study(read_ledgers(tmp_path), unfinished=True).values()
    assert len(whole) == 6 and (whole.test_accuracy == 0.9).all()


def test_data_sets_that_share_a_name_are_told_apart(tmp_path):
    for clinic, accuracy in (("clinic_a", 0.9), ("clinic_b", 0.2)):
        write(tmp_path / clinic, [0.5, accuracy], dataset=f"folder:{clinic}/cells_of_a_test")
    table = tables.final_accuracy(studies.together(studies.by_study(read_ledgers(tmp_path))))
    assert table["random"].to_dict() == {
        ("clinic_a/cells_of_a_test", "LeNet", "no noise", "110"): "90.0% (n=1)",
        ("clinic_b/cells_of_a_test", "LeNet", "no noise", "110"): "20.0% (n=1)",
    }


def test_labels_that_were_not_given_leave_a_curve_whole(tmp_path):
    for seed, skips in enumerate((0, 1, 10)):
        write(tmp_path, [0.5, 0.6, 0.7], seed=seed, skips=skips, head={"oracle": {"kind": "person"}})
    found = study(tmp_path)
    assert ranking.areas(found).random.tolist() == pytest.approx([60, 60, 70])  # the third had 100 labels to the end
    (said_of_all,) = tables.final_accuracy(studies.together({"": found}))["random"]
    assert said_of_all == "70.0 ± 0.0% (3)"
    figures.learning_curves(found)
    tables.labels_needed(found)
