"""The project's own files: they agree, stay short and light, and lead where they say."""

import ast
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import gcvos_mini

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
README = (ROOT / "README.md").read_text()
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")),
         ROOT / "gcvos_mini/weights/README.md", *NOTEBOOKS]  # fmt: skip
CORE = sorted([*ROOT.glob("gcvos_mini/*.py"), *ROOT.glob("gcvos_mini/toy/*.py")])
MODULES = sorted([*ROOT.glob("gcvos_mini/**/*.py"), *ROOT.glob("data_scripts/*.py")])


# ---- requirements --------------------------------------------------------------------------------


def wanted():
    """Every requirement of pyproject.toml as it is written there."""
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return {requirement for group in groups for requirement in group}


def test_environment_yml_agrees_with_pyproject():
    lines = re.findall(r"^\s+- (\S.*)$", (ROOT / "environment.yml").read_text(), re.MULTILINE)
    conda = {"conda-forge", "pip", "pip:", "-e ."}
    listed = {line for line in lines if line not in conda}
    assert listed == wanted() | {f"python{PROJECT['requires-python']}"}


def test_constraints_pin_every_requirement():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    for requirement in wanted():
        name, bound = requirement.split(">=")
        assert name in pins, f"{name} is not pinned in constraints.txt"
        version, lowest = (
            [int(n) for n in re.findall(r"\d+", v.split("+")[0])] for v in (pins[name], bound)
        )
        assert version >= lowest, f"{name} {pins[name]} is below its bound {bound}"


def test_every_package_is_in_the_wheel():
    """Setuptools takes the packages that are listed, and leaves others out without a word."""
    folders = [path.parent for path in ROOT.glob("gcvos_mini/**/__init__.py")]
    packages = sorted(".".join(folder.relative_to(ROOT).parts) for folder in folders)
    assert PYPROJECT["tool"]["setuptools"]["packages"] == packages


# ---- the front door ------------------------------------------------------------------------------


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 900  # code and tables included


def test_readmes_example_runs_as_printed(tmp_path, monkeypatch, capsys):
    """It prints J at the frames with a checked mask, and writes a mask for each of the 64."""
    [example] = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [int(t) for t, _ in printed] == list(range(0, 64, 7))
    assert float(printed[0][1]) == 1 and all(0.5 < float(J) < 1 for _, J in printed[1:])
    assert len(list(tmp_path.rglob("*.png"))) == 64


def test_readme_names_every_notebook():
    assert all(f"notebooks/{path.name}" in README for path in NOTEBOOKS)


def markdown_of(path):
    """The text of a Markdown file, or of all Markdown cells of a notebook."""
    if path.suffix == ".md":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_to_one(path):
    links = re.findall(r"\]\(([^)\s#]+)[^)]*\)", markdown_of(path))
    files = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in files if not (path.parent / link).exists()] == []


def test_citation_agrees_with_pyproject():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [gcvos_mini.__version__]
    authors = re.search(r"^authors:\n((?: .*\n)+)", citation, re.MULTILINE)[1]
    assert re.findall(r"name: (.+)", authors) == [author["name"] for author in PROJECT["authors"]]
    assert re.findall(r"^license: (.+)$", citation, re.MULTILINE) == [PROJECT["license"]]


# ---- what is stored ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name[:2])
def test_notebooks_are_light_and_hold_no_widget_state(path):
    assert path.stat().st_size <= 900_000
    notebook = json.loads(path.read_text())
    assert "widgets" not in notebook["metadata"]
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})


@pytest.mark.parametrize("path", sorted((ROOT / "gcvos_mini/weights").glob("*.safetensors")))
def test_weights_are_light(path):
    assert path.stat().st_size < 17_000_000


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_the_only_photographs_are_of_the_bunny():
    """Frames of real data must not come in by accident."""
    files = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    pictures = [name for name in files if name.lower().endswith((".jpg", ".jpeg"))]
    assert len(pictures) >= 64
    assert [name for name in pictures if not name.startswith(("gcvos_mini/bunny/", "docs/"))] == []


# ---- the code ------------------------------------------------------------------------------------

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, FUNCTION)]
    assert [f.name for f in functions if f.end_lineno - f.lineno >= 60] == []


def undocumented(node):
    """Public functions, classes and methods of a module or class without a docstring."""
    for child in node.body:
        if isinstance(child, FUNCTION | ast.ClassDef) and not child.name.startswith("_"):
            if not ast.get_docstring(child):
                yield child.name
            if isinstance(child, ast.ClassDef):
                yield from (f"{child.name}.{name}" for name in undocumented(child))


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_public_in_the_core_has_a_docstring(path):
    module = ast.parse(path.read_text())
    assert ast.get_docstring(module) and list(undocumented(module)) == []
