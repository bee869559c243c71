"""Puts together what Sphinx builds the site from, in the layout of the repository.

    python docs/site/assemble.py runs/site-source [--gallery runs/gallery.html] \
        [--browser runs/browser/site]

Pages and notebooks are copied as they are, and README.md becomes the front page. Only links to
files that are no pages change: they lead to the repository where REPOSITORY names one (see
conf.py), and are plain words where it does not.
"""

import argparse
import json
import os
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
NOTEBOOKS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("notebooks/*.ipynb"))
REFERENCE = {"The claim ledger": "docs/claims.md", "Real data, a GPU": "docs/real-data.md",
             "The gallery": "gallery.md", "Model card": "gcvos_mini/weights/README.md",
             "Carrying on": "CONTRIBUTING.md"}  # fmt: skip
PAGES = [path for path in REFERENCE.values() if path != "gallery.md"]
BROWSER = {"Your own video, here": "browser.md"}
TREES = """
```{{toctree}}
:hidden:
:caption: The course

{notebooks}
```

```{{toctree}}
:hidden:
:caption: To look up

{reference}
```
"""


def rewritten(text, page):
    """The text of a page (a path from the root) with links that hold on the site."""

    def link(match):
        words, target, anchor = match["words"], match["target"], match["anchor"] or ""
        path = os.path.relpath((ROOT / page).parent / target, ROOT)
        if path == "README.md":
            return f"[{words}]({os.path.relpath('index.md', Path(page).parent)}{anchor})"
        if path in [*PAGES, *NOTEBOOKS] or not (ROOT / path).exists():
            return match[0]  # of a file that is not there Sphinx will complain
        repository = os.environ.get("REPOSITORY", "")
        return f"[{words}]({repository}/blob/main/{path})" if repository else words

    # [words](file#anchor); not of a picture, and not of an address with a scheme
    pattern = r"(?<!!)\[(?P<words>[^\]]+)\]\((?P<target>(?![a-z]+:)[^)#\s]+)(?P<anchor>#[^)]*)?\)"
    return re.sub(pattern, link, text)


def copy(page, out, name=None):
    """Copy a page or notebook, rewritten, to the same place under `out`."""
    target = out / (name or page)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = (ROOT / page).read_text()
    if page.endswith(".ipynb"):
        notebook = json.loads(text)
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = rewritten("".join(cell["source"]), page)
        target.write_text(json.dumps(notebook))
    else:
        target.write_text(rewritten(text, page))


def assemble(out, gallery=None, browser=None):
    """Write the whole source to the folder `out`, which is made anew.

    gallery, browser: what `make gallery` and `make browser` wrote; the latter takes a download that
    not every machine can make, so the site has its page only where it is there.
    """
    shutil.rmtree(out, ignore_errors=True)
    for page in [*PAGES, *NOTEBOOKS]:
        copy(page, out)
    copy("README.md", out, "index.md")
    has_browser = browser is not None and browser.is_dir()
    pages = REFERENCE | (BROWSER if has_browser else {})
    reference = "\n".join(f"{title} <{path}>" for title, path in pages.items())
    trees = TREES.format(notebooks="\n".join(NOTEBOOKS), reference=reference)
    with open(out / "index.md", "a") as index:
        index.write(trees)
    shutil.copytree(ROOT / "notebooks" / "figures", out / "notebooks" / "figures",
                    ignore=shutil.ignore_patterns("*.py", "__pycache__"))  # fmt: skip
    shutil.copy(ROOT / "docs" / "bunny.gif", out / "docs" / "bunny.gif")
    shutil.copy(HERE / "gallery.md", out / "gallery.md")
    shutil.copy(HERE / "conf.py", out / "conf.py")
    (out / "_static").mkdir()
    shutil.copy(HERE / "site.css", out / "_static" / "site.css")
    (out / "extra").mkdir()
    if gallery:
        shutil.copy(gallery, out / "extra" / "gallery-app.html")
    if has_browser:
        shutil.copy(HERE / "browser.md", out / "browser.md")
        shutil.copytree(browser, out / "extra" / "browser")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--gallery", type=Path, help="the page that `make gallery` writes")
    parser.add_argument("--browser", type=Path, help="the folder that `make browser` writes")
    arguments = parser.parse_args()
    assemble(arguments.out, arguments.gallery, arguments.browser)
