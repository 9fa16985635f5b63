"""Several sweeps in one report, and the page that lists all reports."""

import re
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT
from little_ledgers import a_header, a_round, write_rounds
from little_ledgers import write as ledger

from al_utils.results import index, studies, sweeps, tables
from al_utils.sweep import compare, page


def write(folder: Path, accuracy: float, checksum: str = "0", **config) -> None:
    """The ledger of a run with two rounds."""
    header = a_header(**(dict(n_initial=20, n_query=5, n_rounds=1) | config))
    header["data"]["checksum"] = checksum
    c = header["config"]
    rounds = [a_round(number, header, accuracy) for number in (0, 1)]
    write_rounds(folder / f"{c['model']}__{c['strategy']}__{c['seed']}.jsonl", rounds, header)


def both(folder: Path) -> dict[str, pd.DataFrame]:
    return studies.by_study(sweeps.read_rounds(sweeps.folders(f"{folder}/a,{folder}/b")))


def test_the_sweep_tells_runs_apart_that_agree_in_everything_else(tmp_path):
    for seed in (0, 1):
        write(tmp_path / "a", 0.5 + seed / 10, seed=seed)
        write(tmp_path / "b", 0.7 + seed / 10, seed=seed)
    found = both(tmp_path)
    assert list(found) == ["protocol tuned, scenario constrained, sweep a", "protocol tuned, scenario constrained, sweep b"]
    table = tables.final_accuracy(studies.together(found))["random"]
    assert table.tolist() == ["55.0 ± 5.0% (2)", "75.0 ± 5.0% (2)"]


def test_what_else_differs_has_its_own_name(tmp_path):
    write(tmp_path / "a", 0.5, lr=0.1)
    write(tmp_path / "b", 0.7, lr=0.01)
    found = {name.partition("constrained, ")[2]: part.sweep.unique().tolist() for name, part in both(tmp_path).items()}
    assert found == {"lr 0.1": ["a"], "lr 0.01": ["b"]}


def test_other_strategies_are_compared_and_what_differs_within_a_sweep_stays_apart(tmp_path):
    write(tmp_path / "a", 0.5, strategy="random")
    write(tmp_path / "b", 0.7, strategy="bald")
    [together] = both(tmp_path).values()
    assert set(together.strategy) == {"random", "bald"}
    write(tmp_path / "b", 0.6, strategy="random")  # now a mean over `random` would be of both
    write(tmp_path / "b", 0.6, strategy="random", seed=1, epochs=7)
    assert [name.partition("constrained, ")[2] for name in both(tmp_path)] == [
        "sweep a, epochs 100", "sweep b, epochs 100", "sweep b, epochs 7",
    ]  # fmt: skip


def test_folders_that_cannot_be_meant_are_refused_and_names_tell_the_others_apart(tmp_path):
    for name in ("quick", "own/quick", "a, b"):
        (tmp_path / name).mkdir(parents=True)
    assert list(sweeps.folders(f"{tmp_path}/quick, {tmp_path}/own/quick")) == [f"{tmp_path.name}/quick", "own/quick"]
    assert list(sweeps.folders(f"{tmp_path}/a, b")) == ["a, b"]
    for ledgers, says in (
        (" , ", "names no folder"),
        ("", "names no folder"),
        (f"{tmp_path}/quick, nowhere", "ledgers='nowhere' is no folder"),
        (f"{tmp_path}/own, {tmp_path}/own/quick", "quick' lies in .*own', so its runs would count twice"),
        (f"{tmp_path}/own, {tmp_path}/quick/../own", "would count twice"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=says):
            sweeps.folders(ledgers)


def test_runs_on_other_images_are_refused(tmp_path):
    write(tmp_path / "a", 0.5)
    write(tmp_path / "b", 0.7, checksum="1")
    with pytest.raises(ValueError, match="the images of MNIST-5k are not the same in a and b"):
        sweeps.read_runs(sweeps.folders(f"{tmp_path}/a,{tmp_path}/b"), tmp_path)


def test_runs_of_one_sweep_on_other_images_or_of_another_source_are_refused(tmp_path):
    folders = sweeps.folders(str(tmp_path))
    for seed in range(2):
        ledger(tmp_path, [0.5, 0.6], seed=seed, strategy="bald", head={"registered": {"strategy": str(seed) * 64}})
    says = "the source of strategy='bald' is not the same in mnist5k__lenet__bald__none__seed-0 and .*seed-1"
    with pytest.raises(ValueError, match=says):
        sweeps.read_runs(folders, tmp_path)


def test_one_page_of_two_sweeps_with_links_to_their_runs_and_an_index(tmp_path, capsys):
    for name, accuracy in (("a", 0.5), ("b", 0.7)):
        for seed in (0, 1):
            write(tmp_path / name, accuracy, seed=seed)
    assert compare.main(["a", str(tmp_path / "b"), "--reports", str(tmp_path)]) == 0, capsys.readouterr()
    made = tmp_path / "compared" / "a_and_b.html"
    text = made.read_text("utf-8")
    assert "a (2 runs) and b (2 runs)" in text and "sweep a" in text and "a: 2 ledgers, SHA-256" in text
    links = re.findall(r'href="([^"#]+)">ledger', text)
    assert len(links) == 4 and all((made.parent / link).is_file() for link in links) and str(ROOT) not in text
    assert ">a/lenet__random__0" in text.replace("<li>", ">")
    listed = (tmp_path / "index.html").read_text("utf-8")
    assert '<a href="compared/a_and_b.html">a and b</a>' in listed and "4 finished runs" in listed
    assert not list(tmp_path.glob("*/*.png"))


@pytest.mark.parametrize(
    "names, says",
    [(["a"], "a alone has its own report"), (["a", "c"], "there is no folder of ledgers 'c': name one in .* \\(a, b\\)"),
     (["a", "a"], "would count twice")],
)  # fmt: skip
def test_sweeps_that_cannot_be_compared_are_refused_in_one_line(tmp_path, capsys, names, says):
    write(tmp_path / "a", 0.5)
    write(tmp_path / "b", 0.5)
    assert compare.main([*names, "--reports", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert re.search(f"^error: .*{says}", said) and said.count("\n") == 1


def test_an_index_that_cannot_be_made_is_said_and_ends_nothing(tmp_path):
    write(tmp_path / "a", 0.5)
    for name in ("report.html", "report.ipynb"):
        (tmp_path / "a" / name).write_text("{")
    assert re.search(r"index.html was not made anew: .+", page.renew_index(tmp_path))
    assert not (tmp_path / "index.html").exists()
    (tmp_path / "a" / "report.ipynb").unlink()
    assert page.renew_index(tmp_path).startswith("Index: ") and "<h1>Reports</h1>" in (tmp_path / "index.html").read_text()
    assert index.reports(tmp_path) == []
