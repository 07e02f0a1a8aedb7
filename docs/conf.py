"""The documentation: `make docs` builds it with Sphinx into site/."""

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

project = "Fashion-MNIST service"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = project
html_show_copyright = False
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints = "description"
myst_heading_anchors = 3
# Links to files of the repository lead there on a site that shows it; here they are only text.
suppress_warnings = ["myst.xref_missing"]


def _mark_code(*arguments: Any) -> None:
    """Make code of what docstrings have in backquotes, as Markdown does."""
    lines: list[str] = arguments[-1]
    lines[:] = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", "\n".join(lines)).split("\n")


def setup(app: Any) -> None:
    """Have Sphinx do so."""
    app.connect("autodoc-process-docstring", _mark_code)
