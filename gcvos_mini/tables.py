"""Markdown tables, as every command prints them."""

from collections.abc import Iterable, Sequence


def markdown(header: Sequence[object], rows: Iterable[Iterable[object]], texts: int = 1) -> str:
    """A Markdown table; the first columns, `texts` of them, are text, the others are numbers."""
    lines = [header, ["---"] * texts + ["---:"] * (len(header) - texts), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
