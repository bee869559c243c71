"""The claim ledger of docs/claims.md, made of claims.toml and of what the checks came to.

    python tests/ledger.py --tests                        the tests that claims.toml names
    python tests/ledger.py --notebooks                    the notebooks that it names
    python tests/ledger.py runs/outcomes.json             write the table into the page
    python tests/ledger.py runs/outcomes.json --check     only say whether the page has it

`make ledger` does all of it. A verdict is printed only where every check of its claim passed.
"""

import argparse
import json
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "claims.md"
START, END = "<!-- ledger: made by `make ledger`, do not edit -->", "<!-- end of ledger -->"
VERDICTS = ("reproduced", "partly", "failed", "not attempted")


def read_claims():
    """{slug: claim} of claims.toml, in its order; a slug given twice is not TOML."""
    return tomllib.loads((ROOT / "tests" / "claims.toml").read_text())


def all_checks(claims):
    """Every check that a claim names, once."""
    return list(dict.fromkeys(check for claim in claims.values() for check in claim["shown_by"]))


def verdict(claim, outcomes):
    """The claim's verdict if all of its checks passed in `outcomes`, else "not shown"."""
    passed = all(outcomes.get(check) == "passed" for check in claim["shown_by"])
    return claim["verdict"] if passed else "not shown"


def status(claim, outcomes):
    """The verdict and what was found, or the first check that stands in its way."""
    for check in claim["shown_by"]:
        if outcomes.get(check) != "passed":
            return f"**not shown**: `{check}` {outcomes.get(check, 'was not run')}"
    return f"**{claim['verdict']}**: {claim['found']}"


def notebook(number):
    """Path of a notebook from the root, by its number."""
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    return path.relative_to(ROOT).as_posix()


def link(check):
    """A check in Markdown: where it stands, linked from docs/, and what it is called there."""
    if check.startswith("notebooks/"):
        number, _, slug = check.removeprefix("notebooks/").split(":")
        return f"[notebook {number}](../{notebook(number)})", slug
    file, name = check.split("::")
    return f"[{Path(file).stem}](../{file})", name.removeprefix("test_").replace("_", " ")


def links(checks):
    """All checks of a claim in Markdown, those of one file together."""
    by_file = {}
    for check in checks:
        file, name = link(check)
        by_file.setdefault(file, []).append(name)
    return "<br>".join(f"{file}: {'; '.join(names)}" for file, names in by_file.items())


def ledger(claims, outcomes):
    """A line of totals and the table, as Markdown."""
    count = Counter(verdict(claim, outcomes) for claim in claims.values())
    totals = ", ".join(f"{count[v]} {v}" for v in (*VERDICTS, "not shown") if count[v])
    lines = [
        f"{len(claims)} claims: {totals}.",
        "",
        "| the paper says | where | status | shown by: cells and tests |",
        "|---|---|---|---|",
    ]
    for claim in claims.values():
        cells = claim["says"], claim["where"], status(claim, outcomes), links(claim["shown_by"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def with_ledger(page, table):
    """The text of the page with the table between its two markers."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{table}\n{END}{after}"


def main():
    parser = argparse.ArgumentParser(description="The claim ledger of docs/claims.md.")
    parser.add_argument("outcomes", type=Path, nargs="?", help="what pytest --outcomes wrote")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--tests", action="store_true", help="print the tests that are named")
    parser.add_argument("--notebooks", action="store_true", help="print the notebooks named")
    options = parser.parse_args()
    claims = read_claims()
    checks = all_checks(claims)
    if options.tests:
        print(*(check for check in checks if "::" in check))
    elif options.notebooks:
        print(*sorted({notebook(c[10:12]) for c in checks if c.startswith("notebooks/")}))
    elif options.outcomes is None:
        parser.error("which outcomes? run pytest with --outcomes FILE and name FILE here")
    else:
        had = PAGE.read_text()
        wanted = with_ledger(had, ledger(claims, json.loads(options.outcomes.read_text())))
        if not options.check:
            PAGE.write_text(wanted)
        elif wanted != had:
            sys.exit("docs/claims.md: the ledger is not what these checks show; run make ledger")


if __name__ == "__main__":
    main()
