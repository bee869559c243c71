"""A real browser for the tests: headless Chromium driven by Playwright, and a JupyterLab for it.

conftest.py makes fixtures of it: `chromium`, a fresh `page`, and `lab`, whose `run(page, cells)`
opens a notebook of these cells and runs it. Without Chromium the tests skip and say why. Lab takes
seconds to load: several tests may share a page by `with browser.fresh_page(chromium) as page`.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (
    "no Chromium: install Debian's package chromium, or run python -m playwright install chromium, "
    "or set CHROMIUM to the program"
)
SERVER_SECONDS, RUN_SECONDS = 90, 120  # on a busy machine with two cores


def find_chromium(playwright):
    """Path of a Chromium: $CHROMIUM, one on PATH, or Playwright's own. Skips where there is none.

    A $CHROMIUM that does not exist fails: whoever set it wants the browser tests to run.
    """
    chosen = os.environ.get("CHROMIUM")
    if chosen and not shutil.which(chosen):
        pytest.fail(f"CHROMIUM={chosen}: no such program")
    own = playwright.chromium.executable_path
    found = chosen or next(filter(None, map(shutil.which, NAMES)), own)
    if not shutil.which(found):
        pytest.skip(MISSING)
    return found


@contextmanager
def fresh_page(chromium, **options):
    """A page, 1280x900 if `options` of Playwright's new_context do not say otherwise.

    Its `errors` are the console errors and uncaught exceptions so far. Any left at the end is an
    AssertionError.
    """
    context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
    page = context.new_page()
    page.errors = []

    def note(message):
        at = message.location.get("url", "")
        if message.type == "error" and "/static/notebook/" not in at:  # a font of Notebook 7's own
            page.errors.append(f"console: {message.text} ({at})")

    page.on("console", note)
    page.on("pageerror", lambda error: page.errors.append(f"exception: {error}"))
    yield page
    context.close()
    assert page.errors == []


class Lab:
    """A JupyterLab in `folder`, on a free port of this machine only, without news or updates."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.token = os.urandom(16).hex()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._settings()
        homes = "JUPYTER_CONFIG_DIR JUPYTER_DATA_DIR JUPYTER_RUNTIME_DIR IPYTHONDIR".split()
        private = {name: str(self.folder / ".jupyter" / name.lower()) for name in homes}
        self.log = self.folder / "server.log"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
             "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
             f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={self.folder}",
             f"--LabApp.user_settings_dir={self.folder / '.jupyter' / 'settings'}",
             f"--LabApp.workspaces_dir={self.folder / '.jupyter' / 'workspaces'}",
             "--LabApp.extension_manager=readonly",  # asks no package index
             "--ServerApp.terminals_enabled=False"],
            env=os.environ | private, stdout=self.log.open("w"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._wait()

    def _settings(self):
        """No question about news, no list of updates; cells out of sight are drawn as well."""
        for name, values in {
            "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
            "notebook-extension/tracker": {"windowingMode": "none"},
        }.items():
            path = self.folder / ".jupyter/settings/@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))

    def _wait(self):
        end = time.monotonic() + SERVER_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/api?token={self.token}", timeout=5).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        self.close()
        raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()[-2000:]}")

    def _wait_for_kernel(self, page, name):
        """Run All asks for a kernel if it comes before the page knows its own."""
        end = time.monotonic() + SERVER_SECONDS
        while time.monotonic() < end:
            with urllib.request.urlopen(f"{self.url}/api/sessions?token={self.token}") as answer:
                kernels = [s["kernel"] for s in json.load(answer) if s["path"] == name]
            if any(k["execution_state"] == "idle" and k["connections"] for k in kernels):
                break
            page.wait_for_timeout(200)
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]",
                               state="attached", timeout=1000 * SERVER_SECONDS)  # fmt: skip

    def close(self):
        self.process.terminate()  # its kernels with it
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def run(self, page, cells, at="lab/tree"):
        """Open a notebook of code cells in the page, run them all, wait until all have run.

        cells: a list of source strings, or the path of a notebook, which is copied. at: "lab/tree"
        for JupyterLab, "notebooks" for Notebook 7. Fails on a cell that raises.
        """
        if isinstance(cells, list):
            notebook = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, cells)])
        else:
            notebook = nbformat.read(cells, as_version=4)
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        path = self.folder / f"test-{len(list(self.folder.glob('*.ipynb')))}.ipynb"
        nbformat.write(notebook, path)
        page.goto(f"{self.url}/{at}/{path.name}?token={self.token}", wait_until="domcontentloaded")
        self._wait_for_kernel(page, path.name)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.wait_for_function(ALL_HAVE_RUN, timeout=1000 * RUN_SECONDS)
        errors = page.locator(ERROR).all_inner_texts()
        assert not errors, errors[0]
        return page


ERROR = ", ".join(
    f'[data-mime-type="application/vnd.jupyter.{kind}"]' for kind in ("error", "stderr")
)
ALL_HAVE_RUN = f"""() => document.querySelector('{ERROR}') ||
    [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")]
        .every(prompt => /\\[\\d+\\]/.test(prompt.textContent))"""

# A key pressed on the slider's handle, then the time until the image has loaded its new picture.
# One press at a time: those within 100 ms of one another wait for 30 ms in the front end or the
# server, also where the kernel has nothing to draw.
EVENT_TO_PICTURE = """async ([handle, image, events]) => {
    const times = [];
    for (let i = 0; i < events; i++) {
        const start = performance.now();
        const loaded = new Promise((done, fail) => {
            image.addEventListener("load", done, {once: true});
            setTimeout(() => fail("no new picture within 20 seconds"), 20000);
        });
        const key = Math.floor(i / 5) % 2 ? "ArrowLeft" : "ArrowRight";
        handle.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
        await loaded;
        times.push(performance.now() - start);
        await new Promise(done => setTimeout(done, 250));
    }
    return times;
}"""


def slider(where, name):
    """The handle of the ipywidgets slider of that description. where: a locator."""
    labels = where.locator(".widget-hslider", has=where.page.get_by_text(name, exact=True))
    return labels.locator(".noUi-handle").first


def drag(page, handle, share):
    """With the mouse, drag a slider's handle to `share` of its track: 0 left, 1 right."""
    track = handle.locator("xpath=ancestor::*[contains(@class, 'noUi-target')]").bounding_box()
    box = handle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(track["x"] + share * track["width"], box["y"] + 3, steps=8)
    page.mouse.up()


def image_bytes(image):
    """The file an <img> shows now. image: its locator."""
    fetched = "async image => [...new Uint8Array(await (await fetch(image.src)).arrayBuffer())]"
    return bytes(image.evaluate(fetched))


def event_to_picture(handle, image, events=30):
    """Milliseconds from each of `events` key presses on a slider to the new picture.

    handle: locator of the slider's handle, with five steps to the right of it; image: of the <img>.
    """
    elements = [handle.element_handle(), image.element_handle(), events]
    return handle.page.evaluate(EVENT_TO_PICTURE, elements)
