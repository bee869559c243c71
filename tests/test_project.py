"""The project's own files agree with one another."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


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


@pytest.mark.parametrize("path", sorted((ROOT / "gcvos_mini/weights").glob("*.safetensors")))
def test_weights_are_light(path):
    assert path.stat().st_size < 17_000_000


def test_readme_names_every_notebook():
    readme = (ROOT / "README.md").read_text()
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        assert f"notebooks/{notebook.name}" in readme
