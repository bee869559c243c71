"""The claim ledger of docs/claims.md: current, complete, and honest when a check fails."""

import ast
import json
import re
import shutil
import subprocess
import sys

import ledger
import nbformat
import pytest
from ledger import ROOT, VERDICTS, all_checks, read_claims

CLAIMS = read_claims()


def all_pass(claims):
    return dict.fromkeys(all_checks(claims), "passed")


def tagged_cells():
    """Every notebook cell with a claim tag, as claims.toml names it."""
    return {
        f"notebooks/{path.name.split('_')[0]}:{tag}"
        for path in (ROOT / "notebooks").glob("*.ipynb")
        for cell in json.loads(path.read_text())["cells"]
        for tag in cell["metadata"].get("tags", [])
        if tag.startswith("claim:")
    }


def written_tests():
    """Every test function of tests/, as claims.toml names it."""
    return {
        f"tests/{path.name}::{node.name}"
        for path in (ROOT / "tests").glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_the_page_has_the_ledger_of_a_run_where_all_checks_pass():
    """`make test` also holds it to what the checks of its own run came to."""
    page = ledger.PAGE.read_text()
    assert page.count(ledger.START) == page.count(ledger.END) == 1
    table = ledger.ledger(CLAIMS, all_pass(CLAIMS))
    assert ledger.with_ledger(page, table) == page, "run make ledger"


def test_every_check_exists_and_every_tagged_cell_is_named():
    named, cells = set(all_checks(CLAIMS)), tagged_cells()
    assert named - cells - written_tests() == set(), "claims.toml names what is not there"
    assert cells - named == set(), "tags of cells that no claim in claims.toml names"


@pytest.mark.parametrize("slug", CLAIMS)
def test_every_claim_is_complete(slug):
    claim = CLAIMS[slug]
    assert claim.keys() == {"says", "where", "verdict", "found", "shown_by"}
    assert claim["verdict"] in VERDICTS
    assert (claim["verdict"] == "not attempted") == (not claim["shown_by"])
    assert all(claim[part] for part in ("says", "where", "found"))
    assert not re.search(r"[|\n]", claim["says"] + claim["where"] + claim["found"])


def test_the_table_is_markdown_whose_links_lead_somewhere():
    lines = ledger.ledger(CLAIMS, all_pass(CLAIMS)).splitlines()
    assert len(CLAIMS) >= 25 and len(lines) == len(CLAIMS) + 4
    assert {line.count("|") for line in lines[2:]} == {5}
    links = re.findall(r"\]\(([^)]+)\)", "\n".join(lines))
    assert links and all((ledger.PAGE.parent / target).is_file() for target in links)


# ---- a made-up project with faults in it -------------------------------------------------------

TESTS = """
import pytest
def test_good(): pass
def test_bad(): assert 1 == 2
@pytest.mark.parametrize("n", [1, 2, 3])
def test_bad_once(n): assert n != 1
@pytest.fixture
def broken(): raise RuntimeError
def test_bad_fixture(broken): pass
def test_left_out(): pytest.skip("no data")
def test_nobody_runs(): pass
"""
CELLS = [("x = 1", []), ("assert x == 1", ["claim:good"]), ("assert x == 2", ["claim:bad"]),
         ("x", ["claim:good-once"]), ("assert x == 2", ["other", "claim:good-once"])]  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What `pytest --outcomes` notes of that project, from two runs into one file."""
    project = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "conftest.py", project)
    (project / "tests").mkdir()
    (project / "tests" / "test_a.py").write_text(TESTS)
    cells = [nbformat.v4.new_markdown_cell("text")] + [
        nbformat.v4.new_code_cell(code, metadata={"tags": tags}) for code, tags in CELLS
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    (project / "notebooks").mkdir()
    nbformat.write(notebook, project / "notebooks" / "01_made_up.ipynb")
    file = project / "runs" / "outcomes.json"
    deselect = "--deselect", "tests/test_a.py::test_nobody_runs"
    for lane in ["tests", *deselect], ["--nbval-lax", "notebooks"]:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", project]
        run = subprocess.run([*command, "--outcomes", file, *lane], cwd=project, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        assert run.returncode == 1, run.stdout  # tests failed, and nothing worse
    return json.loads(file.read_text())


def claim(*checks):
    return {"says": "so", "where": "3", "verdict": "failed", "found": "no", "shown_by": checks}


@pytest.mark.parametrize(
    ("check", "outcome"),
    [
        ("tests/test_a.py::test_good", "passed"),
        ("tests/test_a.py::test_bad", "failed"),
        ("tests/test_a.py::test_bad_once", "failed"),
        ("tests/test_a.py::test_bad_fixture", "failed"),
        ("tests/test_a.py::test_left_out", "skipped"),
        ("tests/test_a.py::test_nobody_runs", "was not run"),
        ("notebooks/01:claim:good", "passed"),
        ("notebooks/01:claim:bad", "failed"),
        ("notebooks/01:claim:good-once", "failed"),
    ],
)
def test_a_verdict_stands_only_if_every_check_passed(outcomes, check, outcome):
    for checks in ([check], ["tests/test_a.py::test_good", "notebooks/01:claim:good", check]):
        table = ledger.ledger({"a": claim(*checks)}, outcomes)
        if outcome == "passed":
            assert "**failed**: no" in table and "1 claims: 1 failed." in table
        else:
            assert f"**not shown**: `{check}` {outcome}" in table
            assert "**failed**" not in table and "1 claims: 1 not shown." in table


def test_an_interrupted_run_leaves_no_outcomes(tmp_path):
    shutil.copy(ROOT / "conftest.py", tmp_path)
    code = "def test_good(): pass\ndef test_stop(): raise KeyboardInterrupt\n"
    (tmp_path / "test_a.py").write_text(code)
    file = tmp_path / "outcomes.json"
    command = [sys.executable, "-m", "pytest", "--rootdir", tmp_path, "--outcomes", file]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert run.returncode == 2 and not file.exists()


def test_the_command_writes_the_table_and_notices_an_old_one(tmp_path, monkeypatch):
    page, file = tmp_path / "claims.md", tmp_path / "outcomes.json"
    page.write_text(f"above\n{ledger.START}\na stale table\n{ledger.END}\nbelow\n")
    file.write_text("{}")
    monkeypatch.setattr(ledger, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["ledger.py", str(file), "--check"])
    with pytest.raises(SystemExit, match="claims.md: .*make ledger"):
        ledger.main()
    monkeypatch.setattr(sys, "argv", ["ledger.py", str(file)])
    ledger.main()
    written = page.read_text()
    assert written.startswith("above\n<!--") and written.endswith("-->\nbelow\n")
    assert "was not run" in written and "stale" not in written
    monkeypatch.setattr(sys, "argv", ["ledger.py", str(file), "--check"])
    ledger.main()
    assert page.read_text() == written
