"""JupyterLab in a real browser, used as a person would; what needs it is skipped without Playwright or a Chromium.

AL_SCREENSHOTS=FOLDER keeps the screenshots; AL_CHROMIUM names another browser.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import urllib.request
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT, wait_for

CHROMIUM = os.environ.get("AL_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 300  # seconds until something counts as hung: what is asserted is that things happen, not how fast
wait_until = partial(wait_for, seconds=PATIENCE, step=0.1)
# No sandbox as root, and nothing that looks for the internet.
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
        wait_until(lambda: _answers(f"{address}/api/status?token={token}") or server.poll() is not None, seconds=60)
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


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    if not CHROMIUM:
        pytest.skip("needs a Chromium: apt-get install chromium, or name it in AL_CHROMIUM")
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

    def press(self, text, said):
        """Press a button until the notebook says what is to follow: while a page moves, a press may miss the button."""
        for _ in range(PATIENCE // 20):
            self.button(text).click()
            with contextlib.suppress(AssertionError):
                return wait_until(self.page.get_by_text(re.compile(said)).count, seconds=20)
        raise AssertionError(f"pressed in vain: {text}")

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
def notebook(browser, lab, house, tmp_path_factory):
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
    from al_utils import read_ledger

    return {path.stem: read_ledger(path)[1] for path in sorted(folder.glob("*.jsonl"))}
