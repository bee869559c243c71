"""Sphinx settings of the course's site. `make site` assembles the source, then builds from this."""

import os

# THE one setting. With the address of the repository, as https://github.com/OWNER/NAME, pages get
# a button that opens them in Binder, and links to the source. The workflow sets it.
REPOSITORY = os.environ.get("REPOSITORY", "")
# Formulas are set by MathJax, from the network; for a site that works without one, give the folder
# that `npm pack mathjax@3` unpacks to.
MATHJAX = os.environ.get("MATHJAX", "")

project = "Global Context, step by step"
author = "the gcvos-mini authors"
copyright = (
    "the gcvos-mini authors, MIT licence; Big Buck Bunny (c) 2008 Blender Foundation, CC BY 3.0"
)
language = "en"
extensions = ["myst_nb"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}

nb_execution_mode = "off"  # what is stored is shown
nb_merge_streams = True
nb_render_markdown_format = "myst"  # tables that a cell prints are tables
nb_code_prompt_show = "Show the solution"
nb_code_prompt_hide = "Hide the solution"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4  # as GitHub calls them
mathjax_file = "es5/tex-mml-chtml.js"
mathjax_path = mathjax_file if MATHJAX else f"https://cdn.jsdelivr.net/npm/mathjax@3/{mathjax_file}"
nitpicky = True  # a link that leads nowhere is a warning, and a warning ends the build

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static", *([os.path.abspath(MATHJAX)] if MATHJAX else [])]
html_css_files = ["site.css"]
html_extra_path = ["extra"]  # the gallery, a page of its own
html_theme_options = {
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": True,
    "use_fullscreen_button": True,
    "path_to_docs": "",
    "navbar_persistent": [],  # the search field stands in the sidebar
}
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
if REPOSITORY:
    html_theme_options |= {
        "repository_url": REPOSITORY,
        "repository_branch": "main",
        "use_repository_button": True,
        "use_issues_button": True,
        "launch_buttons": {
            "binderhub_url": "https://mybinder.org",
            "notebook_interface": "jupyterlab",
        },
    }


def numbered_by_hand(app, doctree):
    r"""Equations of several lines with a \tag go to MathJax whole: Sphinx's `split` has no tags."""
    from docutils.nodes import Text, math_block

    for node in doctree.findall(math_block):
        words = node.astext()
        if r"\tag" in words and r"\\" in words:
            node["no-wrap"] = node["nowrap"] = True
            node.children = [Text(rf"\[{words}\]")]


def setup(app):
    """Called by Sphinx."""
    app.connect("doctree-read", numbered_by_hand)
