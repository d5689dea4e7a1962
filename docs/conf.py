"""The documentation site: the pages of this directory and the interface from the docstrings; `make docs`."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import flower_coded

project = "flower_coded"
author = "The flower_coded authors"
project_copyright = "2026, the flower_coded authors"
release = version = flower_coded.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build", "notebooks", "README.md"]
html_theme = "furo"
html_title = f"flower_coded {release}"
html_show_sourcelink = False

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say more: shapes, units, fields
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_param = False
napoleon_use_ivar = True

# Pages link to files outside this directory; attributes of one name stand in several classes.
suppress_warnings = ["myst.xref_missing", "ref.python"]

API = Path(__file__).parent / "api"


def _write_api_pages(app: object) -> None:
    """One page per package, with everything that its ``__all__`` names."""
    del app
    API.mkdir(exist_ok=True)
    names = sorted(
        module.name
        for module in pkgutil.iter_modules(flower_coded.__path__)
        if module.name not in {"__main__", "cli", "scenarios"}
    )
    for name in names:
        title = f"flower_coded.{name}"
        options = "   :members:\n   :imported-members:\n" + _defined_elsewhere(title)
        text = f"{title}\n{'=' * len(title)}\n\n.. automodule:: {title}\n{options}"
        _write_if_new(API / f"{name}.rst", text)
    listed = "\n".join(f"   {name}" for name in names)
    _write_if_new(API / "index.rst", f"Interface\n=========\n\n.. toctree::\n   :maxdepth: 1\n\n{listed}\n")


def _defined_elsewhere(package: str) -> str:
    """Leave out what a package only hands on: it stands on the page of the package that defines it."""
    module = importlib.import_module(package)
    origins = {
        name: getattr(getattr(module, name), "__module__", "") for name in getattr(module, "__all__", [])
    }
    handed_on = [
        name
        for name, origin in origins.items()
        if origin.startswith("flower_coded.") and origin.split(".")[1] != package.split(".")[1]
    ]
    return f"   :exclude-members: {', '.join(handed_on)}\n" if handed_on else ""


def _write_if_new(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def setup(app: object) -> None:
    """Have the pages of the interface written before Sphinx reads."""
    app.connect("builder-inited", _write_api_pages)  # type: ignore[attr-defined]
