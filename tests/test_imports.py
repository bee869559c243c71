"""The rooms of the package: no circle of imports, and nothing outside show/ that draws."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import gcvos_mini

ROOT = Path(gcvos_mini.__file__).parents[1]
DRAWING = ("matplotlib.", "IPython.", "ipywidgets.", "ipycanvas.", "gcvos_mini.show.")
FILES = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p
         for p in ROOT.glob("gcvos_mini/**/*.py")}  # fmt: skip


def imports(path):
    """Full name of everything that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import, which this test cannot follow"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_circle():
    def module(name):  # "gcvos_mini.davis.read_mask" is of gcvos_mini.davis
        return name if name in FILES else name.rpartition(".")[0]

    graph = {n: {module(name) for name in imports(FILES[n])} & FILES.keys() for n in FILES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(FILES)  # or a CycleError


def test_only_show_draws():
    outside = [name for name in FILES if not name.startswith("gcvos_mini.show")]
    assert len(outside) > 25 and len(outside) < len(FILES)
    for name in outside:
        drawing = [n for n in imports(FILES[name]) if f"{n}.".startswith(DRAWING)]
        assert not drawing, f"{name} imports {drawing}"
