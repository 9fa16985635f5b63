"""The interactive notebooks in JupyterLab, used as a person would in a real browser.

Skipped without Playwright or a Chromium. AL_SCREENSHOTS=FOLDER keeps the screenshots; AL_CHROMIUM names another browser.
"""

import base64
import contextlib
import io
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from conftest import ROOT

from al_utils import ExperimentConfig, load_dataset, prepare, read_ledger
from al_utils.compute.machine import repeatable
from al_utils.experiment import run_round
from al_utils.person import read_answers
from al_utils.widgets.ledger_paths import ledger_path

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
CHROMIUM = os.environ.get("AL_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs a Chromium: apt-get install chromium, or name it in AL_CHROMIUM")
# No sandbox as root, and nothing that looks for the internet.
PATIENCE = 300  # seconds until something counts as hung: what is asserted is that things happen, not how fast
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
         *(["--no-sandbox"] if os.geteuid() == 0 else [])]  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the project, so that what the notebooks write, below its root, stays out of the repository."""
    house = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "al_utils", house / "al_utils", ignore=shutil.ignore_patterns("__pycache__"))
    (house / "notebooks").mkdir()
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, house / "notebooks")
    return house


@pytest.fixture(scope="module")
def lab(house, tmp_path_factory):
    """A JupyterLab on localhost with settings of its own: its address and token."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    own, token = tmp_path_factory.mktemp("jupyter"), secrets.token_hex(16)
    settings = own / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    names = dict(JUPYTER_CONFIG_DIR="config", JUPYTER_DATA_DIR="data", JUPYTER_RUNTIME_DIR="runtime",
                 JUPYTERLAB_SETTINGS_DIR="settings", JUPYTERLAB_WORKSPACES_DIR="workspaces")  # fmt: skip
    environment = os.environ | {name: str(own / folder) for name, folder in names.items()} | {"PYTHONPATH": str(house)}
    command = [sys.executable, "-m", "jupyterlab", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
               "--no-browser", f"--IdentityProvider.token={token}", f"--notebook-dir={house}"]  # fmt: skip
    command += ["--allow-root"] if os.geteuid() == 0 else []
    with open(own / "log", "wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(f"{address}/api/status?token={token}") or server.poll() is not None, 60)
        assert server.poll() is None, (own / "log").read_text()
        yield address, token
    finally:
        server.terminate()
        server.wait(20)


def _answers(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def wait_until(condition, seconds=PATIENCE, step=0.1):
    """What `condition()` returns as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(step)
    return found


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Page:
    """A notebook in a browser's tab, with the few things that a person does there."""

    def __init__(self, page, pictures, name):
        self.page, self._pictures, self._name = page, pictures, name

    def menu(self, *path):
        """Choose an entry of the menus: each part is the beginning of what an entry says."""
        self.page.get_by_role("menuitem", name=path[0], exact=True).click()
        for i, entry in enumerate(path[1:], start=1):
            found = self.page.locator(".lm-Menu-item:visible", has_text=re.compile(f"^{re.escape(entry)}")).first
            found.hover() if i < len(path) - 1 else found.click()

    def run_all(self, *menu):
        """Run all cells and wait for the last; no cell may fail."""
        counts = self.page.locator(".jp-CodeCell .jp-InputPrompt")
        before = counts.last.text_content()
        self.menu(*(menu or ("Run", "Run All Cells")))
        if menu:
            self.page.get_by_role("button", name="Confirm Kernel Restart").click()
            self.page.wait_for_timeout(1000)
        wait_until(lambda: re.search(r"\d", counts.last.text_content()) and (menu or counts.last.text_content() != before))
        assert self.page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0

    def theme(self, name):
        self.menu("Settings", "Theme", name)
        self.page.wait_for_timeout(1500)

    def button(self, text):
        return self.page.get_by_role("button", name=text)

    def field(self, label):
        """The input, select or slider that has this label."""
        return self.page.get_by_label(label, exact=True)

    def fill(self, label, value):
        self.field(label).fill(str(value))
        self.field(label).press("Tab")

    def see(self, text):
        self.page.get_by_text(text).first.wait_for()

    def status(self):
        return self.page.locator(".widget-html [role=status], .widget-html [role=alert]").first.text_content()

    def await_status(self, start):
        wait_until(lambda: self.status().startswith(start))

    def screenshot(self, part):
        self.page.screenshot(path=f"{self._pictures}/{self._name}-{part}.png")

    def both_themes(self, part):
        self.screenshot(part)
        self.theme("JupyterLab Dark")
        self.screenshot(f"{part}-dark")
        self.theme("JupyterLab Light")


@pytest.fixture
def notebook(lab, browser, house, tmp_path_factory):
    """Opens a notebook of the house in a new tab; `parameters` are set in a copy of it, named `copy`."""
    pictures = Path(os.environ.get("AL_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    pictures.mkdir(parents=True, exist_ok=True)
    opened = []

    def open_it(name, copy="", **parameters):
        if parameters:
            source = json.loads((house / "notebooks" / f"{name}.ipynb").read_text())
            lines = [f"{key} = {value!r}\n" for key, value in parameters.items()]
            source["cells"][1]["source"] += ["\n", *lines]
            name = copy
            (house / "notebooks" / f"{name}.ipynb").write_text(json.dumps(source))
        page = browser.new_context(viewport={"width": 1250, "height": 1500}).new_page()
        page.set_default_timeout(1000 * PATIENCE)
        opened.append(Page(page, pictures, name))
        page.goto(f"{lab[0]}/lab/tree/notebooks/{name}.ipynb?reset&token={lab[1]}")
        page.locator(".jp-Notebook").wait_for()
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        page.keyboard.press("Control+b")  # the side bar away
        return opened[-1]

    yield open_it
    for tab in opened:
        if not tab.page.is_closed():
            tab.screenshot("end")  # tells why, if the test failed
            tab.page.context.close()


def ledgers(folder):
    return {path.stem: read_ledger(path)[1] for path in sorted(folder.glob("*.jsonl"))}


def test_explore(notebook, house):
    nb, folder = notebook("01_explore_strategies"), house / "reports/runs/explore"
    nb.run_all()
    nb.await_status("6 rounds are done")
    assert [len(rounds) for rounds in ledgers(folder).values()] == [2, 2, 2]
    assert nb.page.get_by_alt_text("Learning curves: test accuracy").count() == 1

    # With the defaults, but a seed of which nothing is done yet.
    nb.fill("seed", 1)
    nb.button("▶ Run").click()
    nb.page.get_by_text("The learning curves appear here").wait_for()
    nb.page.get_by_alt_text("Learning curves: test accuracy").last.wait_for()
    assert nb.button("▶ Run").is_disabled() and nb.field("seed").is_disabled()

    # While it trains, the kernel answers: the metric can be changed.
    nb.field("curve of").select_option("validation accuracy")
    nb.page.get_by_alt_text("Learning curves: validation accuracy").wait_for()
    nb.see(re.compile("BALD, round 0: the first 6 of 10"))
    nb.button("■ Stop").click()
    nb.await_status("Stopped")
    done = [len(rounds) for name, rounds in ledgers(folder).items() if "seed-1" in name]
    assert 3 <= sum(done) < 33 and max(done) - min(done) <= 1
    assert nb.page.get_by_text(f"{sum(done)} of 33").is_visible()
    nb.both_themes("stopped")

    # Run goes on from there, with the keyboard this time.
    nb.button("▶ Run").focus()
    nb.page.keyboard.press("Enter")
    wait_until(lambda: sum(len(r) for n, r in ledgers(folder).items() if "seed-1" in n) > sum(done) + 1)
    nb.button("■ Stop").focus()
    nb.page.keyboard.press("Space")
    nb.await_status("Stopped")
    assert nb.page.locator(".jp-CodeCell").count() >= 3  # the keys went to the buttons

    # Every other control: a small run to its end, with two strategies.
    nb.page.get_by_label("max. entropy").uncheck()
    nb.field("model").select_option("LeNet")
    nb.field("noise").select_option("Gaussian noise")
    nb.field("protocol").select_option("paper")
    for label, value in {"initial labels": 50, "queries a round": 5, "rounds": 2, "epochs": 3, "validation images": 50}.items():
        nb.fill(label, value)
    nb.button("▶ Run").click()
    nb.await_status("Done.")
    small = {name: rounds for name, rounds in ledgers(folder).items() if "gaussian__seed-1" in name}
    assert sorted(name.split("__")[2] for name in small) == ["bald", "random"]
    assert all([r.n_labels for r in rounds] == [50, 55, 60] for rounds in small.values())
    nb.see("6 of 6")
    nb.screenshot("done")

    # Mistakes are said in words.
    nb.fill("queries a round", 0)
    nb.button("▶ Run").click()
    nb.await_status("⚠ queries a round is 0, but must be at least 1.")
    nb.fill("queries a round", 5)
    nb.fill("data set", "mnist6k")
    nb.button("▶ Run").click()
    nb.await_status("⚠ dataset='mnist6k' is not known; did you mean 'mnist5k'?")
    for name in ("random", "BALD"):
        nb.page.get_by_label(name, exact=True).uncheck()
    nb.button("▶ Run").click()
    nb.await_status("⚠ No strategy is chosen")
    nb.screenshot("mistake")

    # A restarted kernel gives a working notebook again.
    nb.run_all("Kernel", "Restart Kernel and Run All Cells")
    nb.await_status("6 rounds are done")


def test_inspect(notebook, house):
    nb = notebook("03_inspect_queries", "03_own", ledgers="")
    nb.run_all()
    nb.see("so this notebook made a small sweep of its own")
    runs = ledgers(house / "reports/runs/inspect")
    assert len(runs) == 3 and nb.page.get_by_text("recomputed exactly").count() >= 2
    panel = nb.page.locator(".jp-OutputArea-output", has=nb.button("Save CSV and PNG")).last
    nb.await_status("Predictions recomputed")
    panel.get_by_text("recomputed exactly").nth(1).wait_for()
    slider = panel.get_by_role("slider").first
    slider.scroll_into_view_if_needed()
    nb.both_themes("round")

    # The slider by keyboard.
    bald = next(rounds for name, rounds in runs.items() if "bald" in name)
    slider.focus()
    nb.page.keyboard.press("ArrowRight")
    for image in bald[2].queried:
        panel.get_by_text(f"image {image}", exact=False).first.wait_for()
    assert panel.get_by_text("BALD, round 2: 10 queries after 120 labels").is_visible()
    nb.await_status("Predictions recomputed")
    nb.field("beside it").select_option("random")
    panel.get_by_text("random, round 2: 10 queries").wait_for()
    nb.await_status("Predictions recomputed")
    nb.button("Save CSV and PNG").click()
    nb.see("Saved mnist5k__lenet__bald__gaussian__seed-0")
    table = pd.read_csv(next((house / "reports/runs/exports").glob("*bald*round-2.csv")))
    mine = table[table.strategy == "bald"]
    assert mine.image.tolist() == bald[2].queried and mine.score.tolist() == pytest.approx(bald[2].scores, rel=1e-12)
    assert ((mine.total - mine.aleatoric - mine.epistemic).abs() < 1e-9).all()
    assert mine.epistemic.tolist() == pytest.approx(bald[2].scores, abs=1e-9)  # BALD is the epistemic part
    assert next((house / "reports/runs/exports").glob("*bald*round-2.png")).read_bytes().startswith(b"\x89PNG")
    nb.field("only").select_option("noisy images")
    panel.get_by_text(f"Shown: noisy images, {sum(bald[2].noisy)} of 10").wait_for()
    nb.field("only").select_option("all queries")
    nb.field("predictions (trains the network of the round again)").uncheck()
    nb.await_status("From the ledger alone.")

    nb.page.get_by_role("tab", name="Who queried what").click()
    nb.field("queried by").select_option("only BALD")
    slider.focus()
    nb.page.keyboard.press("End")
    asked = {name.split("__")[2]: {i for r in rounds for i in r.queried} for name, rounds in runs.items()}
    only = asked["bald"] - asked["random"] - asked["max_entropy"]
    panel.get_by_text(f"Queried by only BALD up to round 5: {len(only)} of").wait_for()
    nb.button("Save CSV and PNG").click()
    nb.see(re.compile("Saved .*who-5"))
    assert set(pd.read_csv(next((house / "reports/runs/exports").glob("*who-5.csv"))).image) == only
    nb.screenshot("who")

    nb.page.get_by_role("tab", name="Over all rounds").click()
    panel.get_by_alt_text("Share of noisy images over the rounds").wait_for()
    nb.field("share of").select_option("class 3")
    panel.get_by_alt_text("Share of class 3 over the rounds").wait_for()
    nb.button("Save CSV and PNG").click()
    nb.see(re.compile("Saved .*shares-5"))
    nb.both_themes("shares")

    # What is trained again, each at the press of a button.
    nb.page.get_by_role("tab", name="The network").click()
    nb.button("Train the network of this round again").click()
    panel.get_by_alt_text("Map of the pool").wait_for()
    nb.screenshot("network")
    nb.page.get_by_role("tab", name="Doubtful labels").click()
    nb.button("Rank the labels up to this round").click()
    panel.get_by_text(re.compile(r"\d+ of 150 labels are likely wrong")).wait_for()
    nb.screenshot("doubts")
    nb.page.get_by_role("tab", name="One image").click()
    nb.fill("image", bald[3].queried[0])
    panel.get_by_role("cell", name="bald", exact=True).wait_for()
    nb.button("Follow it through the rounds").click()
    panel.get_by_alt_text(re.compile("through the rounds")).wait_for()
    nb.screenshot("image")

    # Another run, by a search.
    nb.field("search").fill("max_entropy")
    nb.see("1 of 3 runs")
    panel.get_by_role("listbox", name="run").select_option("MNIST-5k, LeNet, max. entropy, Gaussian noise, seed 0")
    nb.page.get_by_role("tab", name="This round").click()
    panel.get_by_text("max. entropy, round 5: 10 queries").wait_for()
    panel.get_by_text("Run 2 of 3: MNIST-5k, LeNet, max. entropy, Gaussian noise, seed 0").wait_for()


def test_be_the_oracle(notebook, house):
    options = dict(n_query=6, n_rounds=2, epochs=40, simulated_rounds=1)
    nb = notebook("04_be_the_oracle", "04_small", **options)
    nb.run_all()
    nb.see("Press Start: the first image appears after the first training.")
    fields = dict(strategy="max_entropy", protocol="tuned", clip_norm=1.0, n_initial=50, n_query=6, n_rounds=2, n_valid=100,
                  epochs=40)  # fmt: skip
    config = ExperimentConfig.from_dict(fields)
    with repeatable():
        first = run_round(problem := prepare(config), 0, problem.split.initial)
    wrong = (first.true_classes[0] + 1) % 10
    ledger = ledger_path(house / "reports/runs/oracle", config, "me")
    answers = ledger.with_suffix(".answers")
    desk, cells = nb.page.locator(".al-desk"), nb.page.locator(".jp-Cell").count()

    def saved():
        return [answer.label or answer.kind for answer in read_answers(answers)]

    def at(position):
        nb.page.get_by_text(f"Round 1: image {position} of 6.").wait_for()

    nb.button("▶ Start").click()
    at(1)
    desk.get_by_text("undo").scroll_into_view_if_needed()
    nb.both_themes("asking")

    # On a small screen the image and all keys are seen at once.
    nb.page.set_viewport_size({"width": 800, "height": 600})
    desk.scroll_into_view_if_needed()
    desk.evaluate("desk => desk.scrollIntoView({block: 'center'})")
    nb.screenshot("small-screen")
    view = nb.page.locator(".jp-WindowedPanel-outer").first.bounding_box()
    for part in (desk.locator("img.al-desk-image"), desk.locator("button").first, desk.get_by_text("hand in")):
        box = part.bounding_box()
        assert view["y"] <= box["y"] and box["y"] + box["height"] <= view["y"] + view["height"], (view, box)
    nb.page.set_viewport_size({"width": 1250, "height": 1500})
    desk.click(position={"x": 5, "y": 5})
    for key in ("x", "d", "d", "ArrowUp", "Shift+L"):  # cut, delete and others: commands of JupyterLab
        nb.page.keyboard.press(key)
    nb.page.wait_for_timeout(300)
    assert nb.page.locator(".jp-Cell").count() == cells and saved() == []
    nb.page.keyboard.press(str(wrong))
    at(2)
    assert saved() == [str(wrong)]  # on disk before the next image is shown
    nb.page.keyboard.press("Backspace")
    at(1)
    nb.page.keyboard.press(str(wrong))
    at(2)
    nb.page.keyboard.press("-")
    at(3)
    nb.page.keyboard.press("?")
    at(4)
    assert saved() == [str(wrong), "undo", str(wrong), "skip", "unrecognisable"]

    # The page is closed without saving; what was answered is there when it is opened again.
    nb.page.context.close()
    nb = notebook("04_be_the_oracle", "04_small", **options)
    nb.run_all()
    nb.see("0 answers are handed in, 3 more are saved.")
    nb.button("▶ Start").click()
    at(4)
    desk = nb.page.locator(".al-desk")
    desk.get_by_role("button", name=str(first.true_classes[3]), exact=True).click()  # with the mouse
    at(5)
    nb.page.keyboard.press(str(first.true_classes[4]))  # the desk has the focus after a click
    at(6)
    nb.page.keyboard.press(str(first.true_classes[5]))
    nb.see("All 6 are answered: hand in, or undo.")
    assert read_ledger(ledger)[1] == []
    nb.screenshot("answered")
    nb.page.keyboard.press("Enter")  # handed in, taken back, handed in for good
    nb.see("Handed in. The network starts to learn in a few seconds.")
    nb.page.keyboard.press("Backspace")
    nb.see("All 6 are answered: hand in, or undo.")
    assert read_ledger(ledger)[1] == []
    nb.page.keyboard.press("Enter")
    nb.see("Handed in. The network starts to learn in a few seconds.")
    nb.page.keyboard.press("Enter")
    nb.see("Round 2: image 1 of 6.")
    assert nb.page.locator(".jp-OutputArea-output", has=nb.button("▶ Start")).last.get_by_text("Error rate").count() == 0
    given = [wrong, None, None, *first.true_classes[3:]]
    assert [r.labels for r in read_ledger(ledger)[1]] == [given]
    nb.button("■ Stop").click()
    nb.await_status("Stopped. 6 answers are handed in, 0 more are saved.")
    nb.button("▶ Start").click()
    nb.see("Round 2: image 1 of 6.")
    # Many at once: the class first, then its images.
    nb.field("show").select_option("many images in a grid")
    desk.get_by_role("button", name="1", exact=True).click()
    unanswered, answered = desk.get_by_alt_text("an image to label"), desk.get_by_alt_text("an image, answered 1")
    for k in range(6):
        while answered.count() == k:  # a click that meets the grid while it is drawn anew labels nothing: a person clicks again
            unanswered.first.click()
            with contextlib.suppress(AssertionError):
                wait_until(lambda k=k: answered.count() > k, seconds=5)
        assert answered.count() == k + 1
    nb.both_themes("grid")
    desk.get_by_role("button", name="hand in").click()
    nb.see("Handed in. The network starts to learn in a few seconds.")
    nb.await_status("Done.")
    rounds = read_ledger(ledger)[1]
    assert [r.labels for r in rounds] == [given, [1] * 6, None] and [r.n_labels for r in rounds] == [50, 54, 60]
    results = nb.page.locator(".jp-OutputArea-output", has=nb.button("▶ Start")).last
    for topic in ("Error rate", "Seconds per label", "Final test accuracy", "What the errors cost"):
        results.get_by_text(topic).wait_for()
    assert "10 of 12 queried images" in results.text_content()
    nb.button("Compare with the true labels").click()
    nb.await_status("Done.")
    nb.button("Export").click()
    nb.await_status("10 labels and 2 answers without one, written to")
    results.get_by_text("What the errors cost").scroll_into_view_if_needed()
    nb.both_themes("done")


def test_images_of_ones_own_without_labels(notebook, house):
    data, own = load_dataset("mnist5k"), house / "my images"
    own.mkdir()
    picked = [i for c in (0, 1) for i in (data.train_labels == c).nonzero().flatten()[:20].tolist()]
    for number, i in enumerate(picked):
        PIL.Image.fromarray(data.train_images[i, 0].numpy()).save(own / f"<i>{number}.png")
    nb = notebook(
        "04_be_the_oracle",
        "04_own",
        dataset=f"folder:{own}",
        classes="zero, <b>one",
        n_start=3,
        n_query=3,
        n_rounds=1,
        epochs=20,
    )
    nb.run_all()
    nb.button("▶ Start").click()
    desk = nb.page.locator(".al-desk")
    nb.see("First labels, 3 of each class are needed. So far: zero 0, <b>one 0.")
    taught = 0
    while desk.get_by_role("button", name="hand in").is_disabled():
        before = desk.locator(".al-desk-head").text_content()
        png = base64.b64decode(desk.locator("img").get_attribute("src").split(",")[1])
        pixels = np.array(PIL.Image.open(io.BytesIO(png)).convert("L"))
        nb.page.keyboard.press("1" if pixels[10:18, 12:16].mean() < 60 else "2")  # a zero has a hole
        wait_until(lambda before=before: desk.locator(".al-desk-head").text_content() != before)
        taught += 1
    nb.screenshot("first")
    nb.page.keyboard.press("Enter")
    for k in range(3):
        nb.see(f"Round 1: image {k + 1} of 3.")
        nb.page.keyboard.press("1")
    nb.see("All 3 are answered")
    nb.page.keyboard.press("Enter")
    nb.await_status("Done.")
    nb.see("the true classes of these images are not known")
    nb.page.get_by_text("the true classes of these images").scroll_into_view_if_needed()
    nb.screenshot("done")
    [rounds] = [rounds for name, rounds in ledgers(house / "reports/runs/oracle").items() if "my-images" in name]
    assert rounds[0].labels == [1, 1, 1] and rounds[0].true_classes == [-1] * 3
