"""Fixtures of several test files, and one line on whether the browser tests (browser.py) ran."""

import pytest
import torch

from gcvos_mini.config import SMOKE
from gcvos_mini.network import Network
from gcvos_mini.toy import render_clips

BROWSER = pytest.StashKey()  # which browser the tests ran in


@pytest.fixture(scope="module")
def model():
    """Fresh weights; the last layer is scaled up so that its masks are not all background."""
    torch.manual_seed(0)
    network = Network(SMOKE).eval()
    with torch.no_grad():
        network.decoder.predict.weight *= 20
        network.decoder.predict.bias.zero_()
    return network


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory):
    """Two training clips and one to score, six frames at 64 lines; not to be written to."""
    names = ["train-000", "train-001", "crossing"]
    root = tmp_path_factory.mktemp("toy") / "set"
    return render_clips(root, 0, 64, names, 6, progress=False)


@pytest.fixture(scope="module")
def chromium(request):
    """Headless Chromium for one test file. Playwright keeps an event loop while it is open."""
    sync_api = pytest.importorskip("playwright.sync_api")
    pytest.importorskip("jupyterlab")
    import browser
    from measure import FLAGS

    with sync_api.sync_playwright() as playwright:
        program = browser.find_chromium(playwright)
        chromium = playwright.chromium.launch(executable_path=program, args=FLAGS)
        request.config.stash[BROWSER] = f"Chromium {chromium.version} ({program})"
        yield chromium
        chromium.close()


@pytest.fixture
def page(chromium):
    """A page of one test's own; the test fails if anything is left in `page.errors` at its end."""
    import browser

    with browser.fresh_page(chromium) as page:
        yield page


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    """A JupyterLab server for one test file; `lab.run(page, cells)` opens and runs a notebook."""
    import browser

    lab = browser.Lab(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.close()


def pytest_configure(config):
    config.addinivalue_line("markers", "bad_input: each case is one input that must be refused")


def pytest_terminal_summary(terminalreporter, config):
    passed = terminalreporter.stats.get("passed", [])
    refused = sum("bad_input" in report.keywords for report in passed)
    if refused:
        terminalreporter.write_line(f"bad inputs: {refused} tried, each refused or without harm")
    skipped = terminalreporter.stats.get("skipped", [])
    without = [report for report in skipped if "test_browser_" in report.nodeid]
    if BROWSER in config.stash:
        terminalreporter.write_line(f"browser tests: ran in {config.stash[BROWSER]}")
    elif without:
        reason = without[0].longrepr[2].removeprefix("Skipped: ")
        terminalreporter.write_line(f"browser tests: {len(without)} SKIPPED, {reason}")
