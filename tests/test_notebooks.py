"""The form of the notebooks: how one opens, how long it takes, what it ends with, what is heard.

What a notebook computes is tested by nbval (`make test`), and its claims by the ledger. Sizes of
files and links to files are in test_project.py.
"""

import base64
import importlib.util
import io
import json
import re
import sys
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import codespell_lib
import numpy as np
import pytest
from PIL import Image

from gcvos_mini.show.page import LARGEST

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
MAP, *COURSE = sorted(FOLDER.glob("*.ipynb"))
WORDS, LINES, LONGEST = 130, 9, 45  # a minute of reading; minutes of a main line, at most
SECTIONS = ["Your turn", "Questions to discuss", "What this does not show", "Further reading"]
ARXIV = "https://arxiv.org/abs/2001.11243"

course = pytest.mark.parametrize("path", COURSE, ids=lambda path: path.name[:2])
every = pytest.mark.parametrize("path", [MAP, *COURSE], ids=lambda path: path.name[:2])


@cache
def cells_of(path):
    """The cells of a notebook, each with its source as one text."""
    cells = json.loads(path.read_text())["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in cells]


def main_line(path):
    """The cells that everybody reads: all before the appendices."""
    cells = cells_of(path)
    for i, cell in enumerate(cells):
        if cell["cell_type"] == "markdown" and re.search(r"^## Appendi", cell["source"], re.M):
            return cells[:i]
    return cells


def sources(cells, kind):
    return [cell["source"] for cell in cells if cell["cell_type"] == kind]


def pictures(cell):
    """(kind, data, alternative text) of each picture that a code cell has stored."""
    for output in cell.get("outputs", []):
        for kind, data in output.get("data", {}).items():
            if kind.startswith("image/"):
                alt = output.get("metadata", {}).get(kind, {}).get("alt", "")
                yield kind, "".join(data), alt


def prose(path):
    return "\n\n".join(sources(cells_of(path), "markdown"))


def tags(cell):
    return cell["metadata"].get("tags", [])


# ---- how a notebook opens ------------------------------------------------------------------------


@course
def test_opens_with_aims_needs_place_links_and_claim(path):
    number = path.name[:2]
    head, *_ = cells_of(path)
    assert head["cell_type"] == "markdown"
    text = head["source"]
    assert re.match(rf"# {number} \w", text), "the first line is '# NN Title'"
    aims = re.search(r"^\*\*You will be able to\*\*\n\n((?:- .+\n)+)", text, re.M)
    assert aims and len(aims[1].splitlines()) in (2, 3), "two or three aims, a line each"
    assert re.search(r"^\*\*You need\*\* .+", text, re.M)
    assert re.search(r"^\*\*Time\*\* \d+ minutes? ", text, re.M)
    assert re.search(rf"!\[.{{20,}}\]\(figures/strip-{number}\.svg\)", text), "the strip"
    claim = re.search(r"^\*\*Claim\.\*\* (.+)", text, re.M)
    assert claim and len(claim[1].split()) < 60, "a claim, in one sentence"
    around = [COURSE[i].name for i in (int(number) - 2, int(number)) if 0 <= i < len(COURSE)]
    for link in [*around, MAP.name, ARXIV]:
        assert f"({link})" in text, f"no link to {link}"


@course
def test_the_first_code_cell_shows_a_picture_within_twelve_lines(path):
    first = cells_of(path)[1]
    assert first["cell_type"] == "code", "a picture comes before any more text"
    assert len(first["source"].splitlines()) <= 12
    assert list(pictures(first)) != []


def minutes(path):
    """What the main line of a notebook takes to read, as CONTRIBUTING.md counts it."""
    cells = main_line(path)
    words = sum(len(text.split()) for text in sources(cells, "markdown"))
    code = [line for text in sources(cells, "code") for line in text.splitlines() if line.strip()]
    return words / WORDS + len(code) / LINES


def said_minutes(path):
    found = re.search(r"^\*\*Time\*\* (\d+) minutes? ", cells_of(path)[0]["source"], re.M)
    return int(found[1]) if found else None


@course
def test_the_minutes_are_those_that_are_counted(path):
    said = said_minutes(path)
    assert said is not None and round(minutes(path)) <= LONGEST
    assert abs(said - minutes(path)) <= 1, f"{minutes(path):.1f} minutes are counted"


# ---- how it goes on and ends ---------------------------------------------------------------------


@course
def test_the_main_line_ends_with_the_same_four_sections(path):
    text = "\n".join(sources(main_line(path), "markdown"))
    headings = re.findall(r"^## (.+)$", text, re.M)
    assert headings[-4:] == SECTIONS
    numbered = [int(n) for n in re.findall(r"^## (\d+)\. ", text, re.M)]
    assert numbered == list(range(1, len(headings) - 3)), headings
    assert "](https://" in text.split("## Further reading")[1]


@course
def test_appendices_are_said_to_be_optional_and_are_lettered(path):
    texts = sources(cells_of(path)[len(main_line(path)) :], "markdown")
    if texts:
        assert texts[0].startswith("## Appendices\n") and "optional" in texts[0].split("###")[0]
        letters = re.findall(r"^### (\w)\. ", "\n".join(texts), re.M)
        assert letters == [chr(ord("A") + i) for i in range(len(letters))] and letters
        assert not re.search(r"^##? ", "\n".join(texts)[3:], re.M)


@course
def test_your_turn_has_a_hint_and_a_hidden_solution(path):
    cells = cells_of(path)
    text = prose(path)
    assert re.search(r"<details>\s*<summary>Hint", text)
    folds = re.findall(r"</summary>(.{2})", text, re.S)
    assert all(after == "\n\n" for after in folds), "an empty line after </summary>"
    hidden = [i for i, cell in enumerate(cells) if "hide-input" in tags(cell)]
    assert hidden, "a solution: a code cell with the tag hide-input"
    for i in hidden:
        assert cells[i]["metadata"].get("jupyter", {}).get("source_hidden") is True
        assert "**Solution**" in cells[i - 1]["source"].splitlines()[-1]


@course
def test_claims_are_asserted(path):
    """Each in its own cell, or by a function of the notebook that it calls."""
    code = [cell for cell in cells_of(path) if cell["cell_type"] == "code"]
    claims = [cell for cell in code if any(tag.startswith("claim:") for tag in tags(cell))]
    functions = [
        f for cell in code for f in re.findall(r"^def .*?(?=^\S|\Z)", cell["source"], re.M | re.S)
    ]
    asserting = [f.split("(")[0].removeprefix("def ") for f in functions if "assert" in f]
    shows = re.compile("|".join(["assert", *(rf"\b{name}\(" for name in asserting)]))
    assert claims, "a cell with a tag claim:NAME"
    assert [tags(cell) for cell in claims if not shows.search(cell["source"])] == []


@every
def test_code_cells_are_short(path):
    long = [text for text in sources(cells_of(path), "code") if len(text.splitlines()) >= 30]
    assert [text.splitlines()[0] for text in long] == []


# ---- what is seen and heard ----------------------------------------------------------------------


@every
def test_every_picture_says_what_is_to_be_seen(path):
    for i, cell in enumerate(cells_of(path)):
        for kind, _, alt in pictures(cell):
            assert len(alt.split()) >= 4, f"cell {i}: {kind} with the words {alt!r}"
    text = prose(path)
    for alt, name in re.findall(r"!\[(.*?)\]\((.+?)\)", text, re.S):
        assert len(alt.split()) >= 4, f"{name} with the words {alt!r}"
    assert [tag for tag in re.findall(r"<img[^>]*>", text) if " alt=" not in tag] == []


@every
def test_moving_pictures_are_light(path):
    for cell in cells_of(path):
        for kind, data, _ in pictures(cell):
            assert kind != "image/gif", "show.page.movie: GitHub shows no output of that kind"
            if kind == "image/png" and (image := base64.b64decode(data)).startswith(b"GIF8"):
                assert len(image) <= LARGEST


@every
def test_nothing_names_a_place_on_the_machine_it_was_made_on(path):
    assert re.findall(r"\W/(?:home|root|work|tmp|Users)/\S*", path.read_text()) == []


def anchors(path):
    """What GitHub calls the headings of a page."""
    text = prose(path) if path.suffix == ".ipynb" else path.read_text()
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@every
def test_links_into_pages_lead_to_a_heading(path):
    for page, anchor in re.findall(r"\]\(([^)\s#:]*)#([^)\s]+)\)", prose(path)):
        assert anchor in anchors(path.parent / page if page else path), f"{page}#{anchor}"


@every
def test_links_outside_are_encrypted(path):
    assert re.findall(r"\]\((http://[^)]+)\)", prose(path)) == []


# ---- the map -------------------------------------------------------------------------------------


def test_the_map_names_every_notebook_with_its_minutes():
    rows = re.findall(r"^\| \[(.+?)\]\((.+?)\) \|.*\| (\d+) \|$", prose(MAP), re.M)
    assert [name for _, name, _ in rows] == [path.name for path in COURSE]
    for title, name, said in rows:
        heading = cells_of(FOLDER / name)[0]["source"].splitlines()[0]
        assert heading == f"# {title}"
        assert int(said) == said_minutes(FOLDER / name), f"{title}: other minutes than it says"


@pytest.mark.parametrize("words", ["Three ways through", "The symbols", "Errata", "Glossary"])
def test_the_map_has_what_a_map_needs(words):
    assert re.search(rf"^## {words}", prose(MAP), re.M)
    for link in ("../docs/claims.md", "../docs/real-data.md", ARXIV, "figures/fig-2.svg"):
        assert link in prose(MAP)


# ---- the figures ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn():
    """{name: SVG} as notebooks/figures/draw.py draws them now."""
    sys.path.insert(0, str(FOLDER / "figures"))
    try:
        spec = importlib.util.spec_from_file_location("draw", FOLDER / "figures" / "draw.py")
        draw = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(draw)
    finally:
        sys.path.pop(0)
    return draw.drawings()


JPEG = re.compile(r'(?<=data:image/jpeg;base64,)[^"]+')


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), dtype=int)


def test_the_figures_are_those_that_the_script_draws(drawn):
    """To the letter, but for JPEGs, which another Pillow may write a little differently."""
    for name, svg in drawn.items():
        stored = (FOLDER / "figures" / f"{name}.svg").read_text()
        assert JPEG.sub("", stored) == JPEG.sub("", svg), f"{name}: run notebooks/figures/draw.py"
        for one, other in zip(JPEG.findall(stored), JPEG.findall(svg), strict=True):
            assert np.abs(pixels(one) - pixels(other)).mean() < 2, name


def test_there_are_three_figures_and_a_strip_for_each_notebook(drawn):
    strips = [f"strip-{path.name[:2]}" for path in COURSE]
    assert sorted(drawn) == ["fig-1", "fig-2", "fig-3", *strips]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("figures/*.svg")), ids=lambda path: path.name)
def test_drawings_are_light_and_have_words(path):
    assert path.stat().st_size <= 60_000
    root = ElementTree.fromstring(path.read_text())
    names = {child.tag.split("}")[1]: child for child in root}
    assert "viewBox" in root.attrib and (names["title"].text or "").strip()
    if not re.match(r"\d\d-", path.name):  # those of draw.py
        assert len(names["desc"].text.split()) > 20
        fonts = [float(element.get("font-size")) for element in root.iter() if element.get("x")
                 and element.get("font-size")]  # fmt: skip
        letters = sorted(size for size in fonts if size != 12)  # 12: the credit
        width = float(root.get("viewBox").split()[2])
        assert letters[0] / width * 358 >= 8.4, "too small on a telephone"


# ---- spelling ------------------------------------------------------------------------------------

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("gcvos_mini/**/*.md")]
CODE = [path for folder in ("gcvos_mini", "data_scripts", "tests", "notebooks")
        for path in ROOT.glob(f"{folder}/**/*.py")]  # fmt: skip


def test_words_are_spelt_right(tmp_path, monkeypatch, capfd):
    """By codespell: pages, code, the notebooks' text and code. Exceptions are in pyproject.toml."""
    for path in [MAP, *COURSE]:
        text = "\n\n".join(cell["source"] for cell in cells_of(path))
        (tmp_path / f"{path.stem}.md").write_text(text)
    monkeypatch.chdir(ROOT)
    assert codespell_lib.main(*map(str, [*PAGES, *CODE, tmp_path])) == 0, capfd.readouterr().out
