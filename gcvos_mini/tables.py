"""Markdown tables, as every command prints them."""

from collections.abc import Iterable, Sequence


def markdown(header: Sequence[object], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
