"""A notebook as a page, and the page that shows a sweep while it runs."""

import functools
import json
import re

import pytest
from little_sweeps import BASE, stamps, write_notebook, write_sweep

from al_utils.sweep import page, progress, signals
from al_utils.sweep.grid import load_sweep


@pytest.fixture
def make(tmp_path, monkeypatch, capsys):
    """`run_all.sh page` with a folder of one notebook, as 06_numbers, in the place of the project's."""
    monkeypatch.setattr(page, "NOTEBOOKS", tmp_path / "notebooks")
    (tmp_path / "notebooks" / "part").mkdir(parents=True)
    cell = "if seeds == 3:\n    raise ValueError('three\\nseeds')\nprint(f'seeds {seeds!r}, lr {lr!r}, {name!r} ü')"
    for path in ("06_numbers.ipynb", "part/1_first.ipynb"):
        write_notebook(tmp_path / "notebooks" / path, 'seeds = 1\nlr = 0.1\nname = "a"', cell)

    def make(*arguments):
        status = page.main([*arguments, "--reports", str(tmp_path / "reports")])
        said = capsys.readouterr()
        return status, said.out + said.err

    return make


def test_a_notebook_becomes_a_page_in_the_folder_of_its_name(make, tmp_path):
    status, said = make("06_numbers", "-p", "seeds", "5", "-p", "lr", "1e-3", "-p", "name", "{x}: y")
    folder = tmp_path / "reports" / "numbers"
    assert status == 0 and said.endswith("numbers/06_numbers.html\n"), said
    assert sorted(stamps(folder)) == ["06_numbers.html", "06_numbers.ipynb"]
    html = (folder / "06_numbers.html").read_bytes().decode("utf-8")
    assert "seeds 5, lr 0.001, '{x}: y' ü" in html and "raise ValueError" not in html
    assert "<title>06_numbers</title>" in html and not re.search(r"<script|<link|(src|href)=[\"']https?:", html)
    before = stamps(folder)
    status, said = make("notebooks/06_numbers.ipynb", "-p", "seeds", "3")
    assert status == 1 and "FAILED 06_numbers.ipynb: ValueError: three seeds" in said
    assert stamps(folder) == before | {"06_numbers.failed.ipynb": stamps(folder)["06_numbers.failed.ipynb"]}
    assert make("part/1_first")[0] == 0 and (tmp_path / "reports" / "part" / "1_first.html").exists()


def test_a_notebook_that_is_not_there_is_refused_with_the_nearest(make, tmp_path):
    status, said = make("06_number")
    assert status == 2 and "did you mean '06_numbers'? Allowed: 06_numbers, part/1_first." in said
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    "name, folder",
    [
        ("audit/1_dips", "audit"),
        ("07_speed", "speed"),
        ("08_gal_2017", "gal_2017"),
        ("notebooks/02_experiment.ipynb", "experiment"),
    ],
)
def test_the_folders_of_the_projects_pages(name, folder):
    assert page.folder_name(page.find(name)) == folder


def test_values_are_read_as_papermill_reads_them():
    from papermill.cli import _resolve_type

    for text in ("3", "-1", "1e-3", "inf", "True", "False", "None", "true", "", "0x10", "1,2", "mnist", "1_000"):
        assert repr(page.value_of(text)) == repr(_resolve_type(text)), text


def test_an_index_of_somebody_else_is_left(make, tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "index.html").write_text("<title>My site</title>")
    status, said = make("06_numbers")
    assert status == 0 and "index.html is no index of reports, and is left as it is." in said
    assert (tmp_path / "reports" / "index.html").read_text() == "<title>My site</title>"


def test_who_stops_it_after_the_page_is_made_is_told_so(make, monkeypatch):
    def stopped(_):
        raise signals.StoppedBySignal(2)

    monkeypatch.setattr(page, "renew_index", stopped)
    assert make("06_numbers") == (130, "Stopped. The page is made, the index is as before.\n")


# Progress


def test_the_progress_page_shows_every_run_and_its_accuracy_so_far(tmp_path, capsys):
    runs = load_sweep(write_sweep(tmp_path, base=BASE | {"n_rounds": 1}, strategy=["random"], seed=[0, 1, 2, 3])).runs
    names = [run.name for run in runs]
    path = tmp_path / f"{names[1]}.jsonl"
    lines = [json.dumps({"round": r, "n_labels": 20 + 10 * r, "metrics": {"test_accuracy": 0.5 + 0.25 * r}}) for r in (0, 1)]
    shown = progress.Progress(tmp_path, runs, runs)
    path.write_text('{"version": 1}\n' + lines[0] + "\n" + lines[1][:20])  # a line that is being written
    read = functools.partial((tmp_path / progress.PROGRESS_PAGE).read_text, encoding="utf-8")
    shown.show(set(names), [names[1]], [])
    assert read().count('<tr class="waiting">') == 3 and 'http-equiv="refresh"' in read()
    assert '<tr class="running">' in read() and "1 of 2" in read() and "50.0%" in read() and "75.0%" not in read()
    path.write_text('{"version": 1}\n' + "\n".join(lines) + "\n")
    shown.last_page = shown.last_time = -1e9
    shown.show({names[2], names[3]}, [names[3]], [names[0]])
    shown.close()
    assert "20 labels: 50.0%, 30 labels: 75.0%" in read() and "<td>finished</td>" in read() and "2 of 2" in read()
    assert '<tr class="failed">' in read() and read().count('<tr class="waiting">') == 2  # nothing runs any more
    assert 'http-equiv="refresh"' not in read() and not re.search(r"<script|<link|(src|href)=", read())
    assert "done 1  failed 1  running 1  of 4 runs" in capsys.readouterr().out
    path.unlink()  # as --force does
    shown.close()
    assert "75.0%" not in read()


def test_no_page_on_a_full_disk_is_no_error(tmp_path):
    runs = load_sweep(write_sweep(tmp_path)).runs
    progress.Progress(tmp_path / "gone", runs, runs).close()
