"""03 without a browser: the list of runs, the views of their queries, cards and their figures."""

import copy
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import tiny, wait_for

from al_utils import Ledger, Round, acquisition
from al_utils.experiment import header, run_experiment
from al_utils.problem import prepare
from al_utils.records import METRICS
from al_utils.results import diagnosis, replay
from al_utils.widgets import (
    cards,
    labelling_results,
    query_figures,
    round_cards,
)
from al_utils.widgets.inspector import Inspector
from al_utils.widgets.run_list import RunList


def test_names_from_a_folder_are_escaped():
    evil = "<script>alert(1)</script>"
    prediction = cards.Prediction([0.7, 0.3], [0.1, 0.1], 0.6, 0.5, 0.1)
    page = cards.cards([cards.Card(torch.zeros(1, 4, 4), [f"class {evil}"], True, 0, prediction)], [evil, "b"])
    page += cards.note(evil) + cards.figure_html(bytes(30), f'"{evil}')
    round = Round(0, 10, {"test_accuracy": 0.5}, [1], [0.5], [0], labels=[1])
    page += labelling_results.results([round], [], [], [evil, "b"], evil)
    assert "<script" not in page and "&lt;script" in page and "noisy" in page and 'alt="&quot;' in page


def test_rgb_and_float_images_become_png():
    for image in (torch.rand(3, 5, 6) * 4 - 2, torch.zeros(1, 5, 6), torch.zeros(3, 5, 6, dtype=torch.uint8)):
        assert cards.png_pixels(image).startswith(b"\x89PNG")


def test_images_of_other_channels_are_shown_in_grey():
    image = torch.tensor([0, 100, 200, 0, 0], dtype=torch.uint8).view(5, 1, 1).expand(5, 4, 4)
    assert cards.shown_pixels(image).tolist() == [[60] * 4] * 4 and cards.png_pixels(torch.rand(2, 4, 4))


def test_a_dollar_in_the_name_of_a_class_is_drawn_as_it_is():
    """The figures read no formulas, so nothing is put before it."""
    card = cards.Card(torch.rand(1, 8, 8), ["class $a$"], prediction=replay.Prediction([0.9, 0.1], [0.0, 0.0], 0.3, 0.3, 0.0))
    image, chart = query_figures.image_cards([card], ["$a$", "b"]).axes
    assert image.get_title().startswith("class $a$") and chart.get_xlabel().startswith("says $a$: 90%")


def test_inspector_follows_its_controls_and_exports(runs, tmp_path):
    panel = Inspector(list(runs.values()), tmp_path / "exports")
    panel.show(runs["bald"], 1)
    view = panel.view
    wait_for(lambda: view.here.value.count("<svg") == 10 and view.there.value.count("<svg") == 10)
    assert f"image {runs['bald'].rounds[1].queried[0]}<" in view.here.value and "recomputed exactly" in view.here.value
    panel._save()
    table = pd.read_csv(next((tmp_path / "exports").glob("*bald*round-1.csv")))
    assert table[table.strategy == "bald"].image.tolist() == runs["bald"].rounds[1].queried and "mean 3" in table
    panel.view.which.value = "class 3"
    panel._save()
    assert next((tmp_path / "exports").glob("*bald*round-1__class-3.csv"))
    for position, name in ((1, "who-1__by-all"), (2, "shares__noisy-images")):
        panel.tab.selected_index = position
        panel._save()
        assert len(pd.read_csv(next((tmp_path / "exports").glob(f"*{name}.csv")))) >= 0
        assert next((tmp_path / "exports").glob(f"*{name}.png")).read_bytes().startswith(b"\x89PNG")


def test_a_search_leaves_the_runs_that_have_all_its_words(runs):
    chosen = []
    found = RunList(list(runs.values()), lambda: chosen.append(True))
    found.show(runs["random"])
    chosen.clear()
    found.search.value = "BALD gaussian"
    assert [run for _, run in found.list.options] == [runs["bald"]] and "1 of 3" in found.said.value
    assert found.value is None and not chosen  # nothing opens while one types
    found.list.value = runs["bald"]
    assert chosen and found.value is runs["bald"]
    found.search.value = "nothing like it"
    assert "No run has all of these words" in found.said.value and found.value is runs["bald"]
    found.show(runs["random"])
    assert found.search.value == "" and found.value is runs["random"]


def test_filters_leave_the_queries_that_are_meant():
    round = Round(
        0, 20, {}, [5, 6, 7, 8], [0.4, 0.3, 0.2, 0.1], [0, 1, 1, -1], [True, False, True, False], labels=[0, 0, None, 1]
    )
    head = {"config": {"noise": "gaussian"}, "data": {"classes": ["a", "b"]}, "oracle": {}}
    run = replay.RecordedRun(None, head, [round])
    says = [replay.Prediction([1 - b, b], [0, 0], 0, 0, 0) for b in (0.9, 0.8, 0.1, 0.2)]
    found = replay.Recomputed(says, True, 0.0)
    expected = {round_cards.ALL: [0, 1, 2, 3], round_cards.NOISY: [0, 2], round_cards.MISCLASSIFIED: [0, 2],
                round_cards.ERRORS: [1], "class a": [0], "class b": [1, 2]}  # fmt: skip
    assert round_cards.kinds(run) == list(expected)
    assert {which: round_cards.ranks_of(run, round, which, found) for which in expected} == expected
    assert round_cards.ranks_of(run, round, round_cards.MISCLASSIFIED, None) == []


def test_runs_of_one_title_are_told_apart_in_the_list_and_in_the_names_of_files(tmp_path, runs):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run.jsonl").write_bytes(runs["bald"].path.read_bytes())
    panel = Inspector(replay.recorded_runs(tmp_path), tmp_path / "exports", recompute=False)
    assert [title.rpartition(" (")[2] for title, _ in panel.list.list.options] == ["one/run)", "other/run)"]
    panel._save()
    panel.show(panel.runs[1], 0)
    panel._save()
    names = sorted(path.name for path in (tmp_path / "exports").glob("*.csv"))
    assert names == ["one-run__round-0.csv", "other-run__round-0.csv"]


def test_a_run_that_cannot_be_shown_leaves_nothing_of_the_one_before(tmp_path, runs):
    lost = replay.RecordedRun(Path("lost.jsonl"), copy.deepcopy(runs["bald"].header), runs["bald"].rounds)
    lost.header["config"]["dataset"] = "folder:nowhere"
    panel = Inspector([runs["bald"], lost], tmp_path, recompute=False)
    assert "BALD, round 0" in panel.view.here.value
    panel.show(lost, 0)
    assert "nowhere" in panel.said.value and panel.view.here.value == ""


def test_an_image_of_other_data_is_not_followed_and_one_that_is_none_is_refused(tmp_path, runs):
    panel = Inspector(list(runs.values()), tmp_path, recompute=False)
    panel.tab.selected_index = 5
    panel.view.image.value = 10**6
    panel.view._ask()
    assert "must be from 0 to" in panel.view.status.value
    other = replay.RecordedRun(Path("other.jsonl"), copy.deepcopy(runs["bald"].header), runs["bald"].rounds)
    other.header["data"]["checksum"] = "other"
    panel.view.choose(other, [other])
    assert panel.view.image.value == runs["bald"].rounds[0].queried[0]


def test_noise_that_is_drawn_at_each_access_is_one_picture_and_not_counted(tmp_path):
    config = tiny(strategy="bald", noise="gaussian", noise_rate=1.0, noise_draw="each_access", n_rounds=1, epochs=1)
    list(run_experiment(config, tmp_path / "run.jsonl"))
    [run] = replay.recorded_runs(tmp_path)
    assert torch.equal(run.problem.train.image(7), run.problem.train.image(7))
    assert not torch.equal(run.problem.train[7:8], run.problem.train[7:8])
    assert not run.tells_noisy and round_cards.NOISY not in round_cards.kinds(run)
    assert "noisy" not in round_cards.round_html(run, 0)


def long_runs(folder):
    """Two ledgers of a hundred rounds, without training."""
    for strategy in ("random", "bald"):
        config = tiny(strategy=strategy, n_rounds=100, n_query=10, noise="gaussian")
        problem = prepare(config)
        pool = problem.split.pool.tolist()
        with Ledger(folder / f"{config.name}.jsonl", header(problem)) as book:
            for k in range(101):
                ask = pool[10 * k : 10 * k + 10] if k < 100 else []
                classes, noisy = problem.dataset.train_labels[ask].tolist(), problem.train.noisy_N[ask].tolist()
                book.append(Round(k, 20 + 10 * k, dict.fromkeys(METRICS, 0.5), ask, [0.5] * len(ask), classes, noisy))
    return replay.recorded_runs(folder)


def test_a_step_of_the_slider_draws_the_open_view_once_and_loads_and_trains_nothing(tmp_path, monkeypatch):
    """What a step costs is what it does: one drawing of one view, whatever the number of rounds and views."""
    panel = Inspector(long_runs(tmp_path), tmp_path, recompute=False)
    for position in range(len(panel.views)):  # each once before: the data are loaded then
        panel.tab.selected_index = position
    done = []
    for view in panel.views:
        monkeypatch.setattr(view, "draw", lambda number, draw=view.draw, name=view.name: (done.append(name), draw(number)))
    for module, name in ((replay, "prepare_to_look"), (replay, "train_model"), (diagnosis, "train_model")):
        monkeypatch.setattr(module, name, lambda *_, name=name: done.append(name))
    steps = range(9, 100, 9)
    for position, view in enumerate(panel.views):
        panel.tab.selected_index = position
        done.clear()
        for number in steps:
            panel.round.value = number
        assert done == [view.name] * len(steps)
        panel.round.value = 0


def test_a_ledger_of_a_strategy_that_is_not_registered_is_shown_without_predictions(tmp_path):
    @acquisition.register
    def for_this_test(log_probs_K_N_C):
        return acquisition.max_entropy(log_probs_K_N_C)

    list(run_experiment(tiny(strategy="for_this_test"), tmp_path / "own.jsonl"))
    del acquisition.registry._registry["for_this_test"]
    [run] = replay.recorded_runs(tmp_path)
    panel = Inspector([run], tmp_path)
    wait_for(lambda: "Shown without predictions" in panel.view.status.value)
    assert "for_this_test" in panel.view.status.value and f"image {run.rounds[0].queried[0]}<" in panel.view.here.value
    for position in range(1, len(panel.views)):
        panel.tab.selected_index = position
        assert panel.said.value == ""


def test_jupyters_copies_of_ledgers_are_no_runs(tmp_path, runs):
    copy = tmp_path / ".ipynb_checkpoints" / "bald-checkpoint.jsonl"
    copy.parent.mkdir()
    for path in (copy, tmp_path / "bald.jsonl"):
        path.write_bytes(runs["bald"].path.read_bytes())
    assert [run.path.name for run in replay.recorded_runs(tmp_path)] == ["bald.jsonl"]
    with pytest.raises(FileNotFoundError, match="there is no .*nowhere"):
        replay.recorded_runs(tmp_path / "nowhere")


def test_every_ledger_that_comes_with_the_project_is_shown():
    runs = replay.recorded_runs("reports/quick")
    assert len(runs) >= 54
    for run in runs:
        assert run.title and round_cards.kinds(run)[0] == round_cards.ALL and len(run.peers(runs)) == 3
    panel = Inspector(runs, "reports/runs/exports", recompute=False)
    assert panel.said.value == "" and f"image {runs[0].rounds[0].queried[0]}<" in panel.view.here.value
