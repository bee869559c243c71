"""What JupyterLab, Notebook 7 and VS Code all show: standard widgets, pictures as widget images.

These need no browser. VS Code draws ipywidgets and ipycanvas, but no Lab extension, and Matplotlib
drawn inside a widget's callback lands somewhere else there, or nowhere.
"""

import ast
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(ROOT.glob("gcvos_mini/**/*.py"))
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
FORBIDDEN = [
    (r"\b(interact|interact_manual|interactive|interactive_output)\(", "interact redraws outputs"),
    (r"^\s*%matplotlib|%(%?)javascript|%%html", "a magic that only some front ends know"),
    (r"\bjslink\(|\bjsdlink\(", "moves the picture in the page, and the kernel does not know"),
    (r"\bJavascript\(|<script", "scripts in outputs are not run everywhere"),
    (r"widgets\.Output\(|\bOutput\(\)", "output captured in a widget differs between front ends"),
    (r"^\s*(import|from) (ipympl|bqplot|plotly|pythreejs|ipyvuetify|anywidget|panel)\b",
     "a widget library more"),
]  # fmt: skip


def sources():
    for path in MODULES:
        yield path.name, path.read_text()
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        yield path.name, "\n".join(c.source for c in cells if c.cell_type == "code")


def broken(source):
    """Why a source would not work everywhere."""
    return [why for pattern, why in FORBIDDEN if re.search(pattern, source, re.M)]


@pytest.mark.parametrize("name, source", list(sources()), ids=lambda value: value[:24])
def test_only_what_all_front_ends_show(name, source):
    assert broken(source) == [], name


@pytest.mark.parametrize("source", [
    "interact(f, x=3)", "%matplotlib widget", "widgets.jslink((a, 'value'), (b, 'value'))",
    "out = widgets.Output()", "import ipympl", "HTML('<script>1</script>')",
])  # fmt: skip
def test_the_rules_catch_what_they_name(source):
    assert broken(source)


@pytest.mark.parametrize("path", [p for p in MODULES if "import ipywidgets" in p.read_text()],
                         ids=lambda path: path.name)  # fmt: skip
def test_modules_with_widgets_draw_no_matplotlib(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None), *(alias.name for alias in node.names)]
            assert not any(name and name.startswith("matplotlib") for name in names)
