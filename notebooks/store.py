"""Run notebooks and store their outputs, as the repository keeps them.

    python notebooks/store.py notebooks/*.ipynb          the tier is GCVOS_TIER, mini if not set

Left out of what is stored: times, the state of widgets (GitHub renders none of it, each has its
twin on paper), and what is printed on stderr.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

WIDGET = "application/vnd.jupyter.widget-view+json"


def kept(outputs):
    """The outputs of one cell that are stored, with texts that were printed in parts joined."""
    joined = []
    for output in outputs:
        if WIDGET in output.get("data", {}) or output.get("name") == "stderr":
            continue
        text = output.output_type == "stream"
        if text and joined and joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def store(path):
    """Run one notebook in its folder and write it back. Raises what a cell raises."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(
        notebook, timeout=3600, record_timing=False, store_widget_state=False, resources=resources
    ).execute()
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = kept(cell.outputs)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, flush=True)
        store(Path(name))
