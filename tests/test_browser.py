"""The interactive notebooks in JupyterLab, used as a person would in a real browser.

Skipped without Playwright or a Chromium. AL_SCREENSHOTS=FOLDER keeps the screenshots; AL_CHROMIUM names another browser.
"""

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

import pytest
from conftest import ROOT

from al_utils import read_ledger

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
CHROMIUM = os.environ.get("AL_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs a Chromium: apt-get install chromium, or name it in AL_CHROMIUM")
# No sandbox as root, and nothing that looks for the internet.
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
         *(["--no-sandbox"] if os.geteuid() == 0 else [])]  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the notebooks beside the real package, so that what they write stays out of the repository."""
    house = tmp_path_factory.mktemp("house")
    (house / "al_utils").symlink_to(ROOT / "al_utils")
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
    environment = os.environ | {name: str(own / folder) for name, folder in names.items()}
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


def wait_until(condition, seconds, step=0.1):
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

    def run_all(self, cells, seconds=60):
        """Run → Run All Cells, and wait for the last cell."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_text("Run All Cells", exact=True).click()
        self.page.wait_for_function(
            """() => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].every(p => /\\[\\d+\\]/.test(p.textContent))""",
            timeout=1000 * seconds,
        )
        assert self.page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0

    def button(self, text):
        return self.page.get_by_role("button", name=text)

    def field(self, label):
        """The input that has this label before it."""
        return self.page.locator(f"xpath=//div[contains(@class, 'widget-inline-hbox')][label[text()={label!r}]]//*[self::input or self::select]").first

    def fill(self, label, value):
        field = self.field(label)
        field.fill(str(value))
        field.press("Enter")

    def see(self, text, seconds=30):
        self.page.get_by_text(text).first.wait_for(timeout=1000 * seconds)

    def screenshot(self, part):
        if self._pictures:
            self.page.screenshot(path=f"{self._pictures}/{self._name}-{part}.png")


@pytest.fixture
def notebook(lab, browser, tmp_path_factory):
    """Opens a notebook of the house in a new tab."""
    pictures = Path(os.environ.get("AL_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    pictures.mkdir(parents=True, exist_ok=True)
    contexts = []

    def open_it(name, height=1300):
        contexts.append(browser.new_context(viewport={"width": 1250, "height": height}))
        page = contexts[-1].new_page()
        page.goto(f"{lab[0]}/lab/tree/notebooks/{name}.ipynb?reset&token={lab[1]}")
        page.locator(".jp-Notebook").wait_for(timeout=60_000)
        page.locator("[data-status='idle'], .jp-Notebook-ExecutionIndicator[data-status=idle]").first.wait_for(timeout=60_000)
        page.keyboard.press("Control+b")  # the side bar away
        return Page(page, pictures, name)

    yield open_it
    for context in contexts:
        context.close()


def test_explore(notebook, house):
    nb = notebook("01_explore_strategies")
    nb.run_all(9)
    nb.screenshot("start")
    nb.page.wait_for_timeout(500)
