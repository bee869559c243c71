"""pytest --outcomes FILE: note down what every test and every tagged notebook cell came to.

tests/ledger.py makes the claim ledger, docs/claims.md, of FILE. Several runs may add to one FILE.
--kills N: how often each command is killed and done again in tests/test_kill.py.
"""

import json
from pathlib import Path

import pytest

BEST_FIRST = ["passed", "skipped", "failed"]
outcomes = {}  # check -> the worst that any part of it came to


def pytest_addoption(parser):
    parser.addoption("--outcomes", type=Path, metavar="FILE", help="add outcomes to this JSON file")
    parser.addoption("--kills", type=int, default=2, metavar="N", help="trials in test_kill.py")


def checks(item):
    """The names claims.toml may call an item by: a test's, without parameters, or a cell's tags."""
    if hasattr(item, "cell"):  # of nbval
        number = item.path.name.split("_")[0]
        tags = item.cell.metadata.get("tags", [])
        return [f"notebooks/{number}:{tag}" for tag in tags if tag.startswith("claim:")]
    return [item.nodeid.split("[")[0]]


def note(check, outcome):
    outcomes[check] = max(outcomes.get(check, outcome), outcome, key=BEST_FIRST.index)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    for check in checks(item):
        note(check, report.outcome)
    return report


def pytest_sessionfinish(session, exitstatus):
    path = session.config.getoption("outcomes")
    if path is None or exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return  # an interrupted run shows nothing
    if path.exists():
        for check, outcome in json.loads(path.read_text()).items():
            note(check, outcome)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(outcomes, indent=1, sort_keys=True))
