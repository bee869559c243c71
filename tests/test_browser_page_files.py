"""The files of browser/: short, all of them built in, and able to be joined into one script."""

import ast
import re
from pathlib import Path

import pytest

BROWSER = Path(__file__).parents[1] / "browser"
SCRIPTS = sorted(BROWSER.glob("*.js"))
NAME = re.compile(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)
IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w.]+)";', re.MULTILINE)


def listed(name):
    """A tuple of file names in build.py, which itself wants packages of the extra `browser`."""
    for node in ast.parse((BROWSER / "build.py").read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"build.py has no {name}")


@pytest.mark.parametrize("path", [*SCRIPTS, *BROWSER.glob("*.py")], ids=lambda path: path.name)
def test_scripts_are_short(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 400 and max(map(len, lines)) <= 110


def test_every_script_is_part_of_the_page():
    used = {*listed("PAGE"), *listed("PAGE_SCRIPTS"), *listed("WORKER_SCRIPTS")}
    assert {path.name for path in SCRIPTS} == {name for name in used if name.endswith(".js")}


@pytest.mark.parametrize("group", ["PAGE_SCRIPTS", "WORKER_SCRIPTS"])
def test_scripts_can_be_joined(group):
    """Each comes after what it imports, imports what is there, and no name is used twice."""
    seen = {}
    for name in listed(group):
        text = (BROWSER / name).read_text()
        for names, source in IMPORT.findall(text):
            wanted = {word.strip() for word in names.split(",")}
            assert source in seen and wanted <= seen[source], f"{name} imports {wanted}"
        own = set(NAME.findall(text))
        assert not own & set().union(*seen.values(), set()), name
        seen[name] = own


def test_the_page_asks_no_other_host():
    for path in [*SCRIPTS, BROWSER / "index.html", BROWSER / "page.css"]:
        assert not re.findall(r"https?://", path.read_text()), path.name
