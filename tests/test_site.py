"""The course as pages: `make site` builds it, with every page in it and every link checked."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SITE = ROOT / "docs" / "site"
NOTEBOOKS = sorted(path.stem for path in ROOT.glob("notebooks/*.ipynb"))
PAGES = [
    "docs/claims",
    "docs/real-data",
    "gallery",
    "browser",
    "gcvos_mini/weights/README",
    "CONTRIBUTING",
]
ADDRESS = "https://github.com/someone/gcvos-mini"


def without_address():
    return {name: value for name, value in os.environ.items() if name != "REPOSITORY"}


def assemble(out, environment, with_browser=True):
    gallery = out.parent / "gallery.html"
    gallery.write_text("<title>a gallery</title>")
    browser = out.parent / "browser"
    browser.mkdir(exist_ok=True)
    (browser / "index.html").write_text("<title>the page</title>")
    command = [sys.executable, SITE / "assemble.py", out, "--gallery", gallery]
    command += ["--browser", browser] if with_browser else []
    subprocess.run(command, env=environment, check=True)


def build(source, out, environment):
    """What Sphinx says of a source, a line for each fault, and whether it passes."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", source, out]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the source and that of the pages, as they are without an address."""
    folder = tmp_path_factory.mktemp("site")
    source, out = folder / "source", folder / "html"
    assemble(source, without_address())
    passed, faults = build(source, out, without_address())
    assert passed, faults
    return source, out


def test_every_notebook_and_page_is_built_and_in_the_contents(site):
    front = (site[1] / "index.html").read_text()
    for page in [*(f"notebooks/{name}" for name in NOTEBOOKS), *PAGES]:
        assert (site[1] / f"{page}.html").is_file()
        assert re.search(rf'<a class="reference internal" href="{page}\.html">', front), page
    for app, page in {"gallery-app.html": "gallery", "browser/index.html": "browser"}.items():
        assert (site[1] / app).is_file()
        assert f'"{app}"' in (site[1] / f"{page}.html").read_text()


def test_without_the_page_of_make_browser_nothing_leads_to_it(tmp_path):
    assemble(tmp_path / "source", without_address(), with_browser=False)
    assert not (tmp_path / "source" / "browser.md").exists()
    assert "browser.md" not in (tmp_path / "source" / "index.md").read_text()


def test_solutions_are_folds_and_stored_pictures_are_shown(site):
    for name in NOTEBOOKS:
        page = (site[1] / "notebooks" / f"{name}.html").read_text()
        source = (ROOT / "notebooks" / f"{name}.ipynb").read_text()
        assert page.count("hide above-input") == source.count('"hide-input"')
        assert ("cell_output" in page) == ('"output_type"' in source)


def test_a_link_that_leads_nowhere_ends_the_build(site):
    source, out = site
    page = source / "docs" / "real-data.md"
    whole = page.read_text()
    for fault in ("[nowhere](no-such-page.md)", "[nowhere](claims.md#no-such-heading)",
                  "![a picture that is not there](no-such-picture.png)"):  # fmt: skip
        page.write_text(f"{whole}\n\n{fault}\n")
        passed, faults = build(source, out, without_address())
        assert not passed and "real-data.md" in faults, fault
    page.write_text(whole)


def test_a_page_that_no_contents_name_ends_the_build(site):
    source, out = site
    extra = source / "extra-page.md"
    extra.write_text("# A page\n\nNobody finds it.\n")
    passed, faults = build(source, out, without_address())
    assert not passed and "extra-page.md" in faults
    extra.unlink()


def test_one_setting_switches_the_buttons_on(monkeypatch, tmp_path):
    monkeypatch.delenv("REPOSITORY", raising=False)
    assert "launch_buttons" not in runpy.run_path(SITE / "conf.py")["html_theme_options"]
    monkeypatch.setenv("REPOSITORY", ADDRESS)
    options = runpy.run_path(SITE / "conf.py")["html_theme_options"]
    assert options["repository_url"] == ADDRESS
    assert "binderhub_url" in options["launch_buttons"]  # Colab has no gcvos_mini
    assemble(tmp_path / "source", dict(os.environ))
    ledger = (tmp_path / "source" / "docs" / "claims.md").read_text()
    assert f"[test_memory]({ADDRESS}/blob/main/tests/test_memory.py)" in ledger


def test_the_workflow_builds_what_make_builds_with_pinned_actions():
    workflow = (ROOT / ".github" / "workflows" / "site.yml").read_text()
    assert "- run: make browser site" in workflow and "path: runs/site" in workflow
    actions = re.findall(r"uses: (\S+)", workflow)
    assert actions and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in actions)
