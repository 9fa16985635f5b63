"""The report: its notebook, its pages, the index, and every ledger and report that comes with the project."""

import itertools
import re
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from conftest import shipped_ledgers
from little_ledgers import write
from PIL import Image

from al_utils.ledger import check_header, read_ledger, read_ledgers
from al_utils.results import beside, index, pages, paper, record, studies, tables

ROOT = Path(__file__).resolve().parent.parent


def test_user_text_is_escaped():
    table = pages.html_table(pd.DataFrame({"<i>": {"<u>": "<script>\nline"}}), "<b>")
    assert "<script>" not in table and "<i>" not in table and "<u>" not in table and "<b>" not in table
    assert "&lt;script&gt;<br>line" in table
    assert pages.html_text("<b>") == pages.html_text("<b>").replace("<b>", "")


def run_notebook(folder, out):
    papermill.execute_notebook(str(ROOT / "notebooks/05_report.ipynb"), str(out), dict(ledgers=str(folder)), cwd=str(ROOT),
                               progress_bar=False)  # fmt: skip
    notebook = nbformat.read(out, 4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    text = record.outputs(notebook)
    assert not [o for o in outputs if o.output_type == "error"]
    assert str(folder) not in text and str(ROOT) not in text
    return text, pictures


def test_the_notebook_reports_everything_and_says_when_it_is_stale(tmp_path):
    folder = tmp_path / "in"
    for model, strategy, noise, seed in itertools.product(paper.MODELS, paper.STRATEGIES, paper.NOISES, range(2)):
        noisy = [noise != "none"] + [False] * 9
        write(folder, [0.5, 0.8, 0.9], model=model, strategy=strategy, noise=noise, seed=seed, noisy=noisy,
              dataset="folder:/home/someone/cifar10_jpeg")  # fmt: skip
    text, pictures = run_notebook(folder, folder / "report.ipynb")
    for part in ("36 finished, 0 unfinished", "90.0 ± 0.0% (2)", "paper 13.92%", "chance is not ruled out",
                 "a &lt;fast&gt; one", "CIFAR-10 (JPEG) is compared with the paper&#x27;s CIFAR-10",
                 "The paper&#x27;s two tables disagree",
                 '<ul class="summary"><li>36 finished runs: CIFAR-10 (JPEG)'):  # fmt: skip
        assert part in text
    assert 'href="folder-cifar10_jpeg__lenet__random__none__seed-0.jsonl"' in text
    assert len(pictures) == 9 and max(map(len, pictures)) < 200_000
    assert "someone" not in text
    assert record.stale(folder) == [] and len(list(folder.glob("*.png"))) == 3
    ledger = folder / "folder-cifar10_jpeg__lenet__random__none__seed-0.jsonl"
    ledger.write_text(ledger.read_text().replace("0.9", "0.7"))
    assert [line.split(" was")[0] for line in record.stale(folder)] == [
        "report.ipynb", "learning_curves_gaussian.png", "learning_curves_none.png", "learning_curves_salt_and_pepper.png",
    ]  # fmt: skip


def test_numbers_that_are_not_the_ledgers_are_found(tmp_path):
    write(tmp_path, [0.5, 0.8])
    mark = record.ledgers_mark(tmp_path)
    assert mark.startswith("1 ledgers, SHA-256 ")
    right = pages.html_table(tables.final_accuracy(studies.together(studies.by_study(read_ledgers(tmp_path)))))
    (tmp_path / "report.html").write_text(mark + right)
    assert record.stale(tmp_path) == []
    (tmp_path / "report.html").write_text(mark + right.replace("80.0%", "81.0%"))
    assert record.stale(tmp_path) == ["report.html says other final accuracies than its ledgers"]


def test_the_notebook_reports_almost_nothing(tmp_path):
    write(tmp_path / "in", [0.5, 0.8], stop=1)
    text, pictures = run_notebook(tmp_path / "in", tmp_path / "out.ipynb")
    assert "0 finished, 1 unfinished" in text and "Not answered: no finished run of LeNet or ResNet-18." in text
    assert "None of 1 runs is finished" in text and ">not run</p>" in text and not pictures


def test_the_index_lists_every_report_with_its_summary(tmp_path):
    write(tmp_path / "mine", [0.5, 0.8])
    note = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title\n\n**Question:** is <b> *it* so?\n\nMore.")])
    nbformat.write(note, tmp_path / "mine" / "other.ipynb")
    (tmp_path / "mine" / "other.html").write_text("")
    output = nbformat.v4.new_output(
        "display_data", {"text/html": '<ul class="summary"><li>One &lt; two.</li><li>Three.</li></ul>'}
    )
    cells = [nbformat.v4.new_markdown_cell("# Report"), nbformat.v4.new_code_cell("", outputs=[output])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "mine" / "report.ipynb")
    (tmp_path / "mine" / "report.html").write_text("")
    page = index.index_page(tmp_path, index.papers_cells(tmp_path))
    assert '<h2><a href="mine/other.html">Title</a></h2><ul><li>Is &lt;b&gt; it so?</li></ul>' in page
    assert '<a href="mine/report.html">mine</a>' in page and "<li>One &lt; two.</li><li>Three.</li>" in page
    assert "report.ipynb was not made from 1 ledgers" in page


REPORTS = sorted(path.parent for path in (ROOT / "reports").glob("*/report.ipynb"))


@pytest.mark.parametrize("folder", REPORTS, ids=[folder.name for folder in REPORTS])
def test_the_reports_are_those_of_their_ledgers(folder):
    assert record.stale(folder) == []


def test_the_index_and_its_picture_are_those_of_the_ledgers():
    cells = index.papers_cells(ROOT / "reports")
    assert index.beside_the_paper(cells) in (ROOT / "reports" / "index.html").read_text("utf-8")
    with Image.open(ROOT / "reports" / index.PICTURE) as picture:
        assert picture.info[index.MARK] == beside.cells_beside_summary(cells)


def test_every_ledger_in_reports_is_read_checked_and_counted():
    paths = shipped_ledgers()
    for path in paths:
        header, _ = read_ledger(path)
        assert header, path
        check_header(path, header, {"config": header["config"]})
    counted = pd.concat([studies.read_runs(folder) for folder in sorted({path.parent for path in paths})])
    assert len(counted) == len(paths)
    assert not [name for name in studies.CONFIG if name != "device" and counted[name].isna().any()]


def test_the_contents_lead_to_every_section():
    cells = [cell.source for cell in nbformat.read(ROOT / "notebooks/05_report.ipynb", 4).cells if cell.cell_type == "markdown"]
    headings = [source.splitlines()[0].removeprefix("## ") for source in cells if source.startswith("## ")]
    (contents,) = [source for source in cells if source.startswith("**Contents**")]
    found = re.findall(r"\[([^]]+)\]\(#([^)]+)\)", contents)
    assert ["Summary", *(text for text, _ in found)] == headings
    assert all(anchor == text.replace(" ", "-") for text, anchor in found)


def test_the_committed_notebook_is_clean():
    notebook = nbformat.read(ROOT / "notebooks/05_report.ipynb", 4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    (parameters,) = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert [line.partition("  #")[0] for line in parameters.splitlines()] == [
        'ledgers: str = "reports/quick"',
        'page: str = ""',
    ]
