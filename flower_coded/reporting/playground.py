"""A page to play the lesson in a browser: description, style, scripts and the mathematics as one archive.

The directory is complete: any server of files can serve it, and nothing on the page comes from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from flower_coded import __version__
from flower_coded.errors import ParameterError
from flower_coded.lesson import described_lesson
from flower_coded.reporting.style import STYLE

__all__ = ["PACKED", "is_of_the_page", "mathematics", "write_playground"]

PACKED = (
    "__init__.py",
    "errors.py",
    "rendezvous.py",
    "threads.py",
    "aggregation",
    "attacks",
    "codes",
    "crypto",
    "lesson",
    "protocols",
)
"""The parts of the package that run in a browser: they need NumPy only."""

_SCRIPTS = ("page.js", "worker.js")


def is_of_the_page(name: str) -> bool:
    """Say whether a path within a page's directory is one of those that the page is made of.

    Examples
    --------
    >>> [is_of_the_page(name) for name in (".", "page.js", "runtime/numpy.zip", "runtime", "diary.txt")]
    [True, True, True, False, False]
    """
    own = (".", "index.html", "flower_coded.zip", *_SCRIPTS)
    return name in own or (name.startswith("runtime/") and name.count("/") == 1)


def mathematics() -> dict[str, bytes]:
    """Return the files of :data:`PACKED`, by their paths in an archive.

    Examples
    --------
    >>> files = mathematics()
    >>> "flower_coded/codes/subset/__init__.py" in files, any("/learning/" in name for name in files)
    (True, False)
    """
    root = Path(str(files("flower_coded")))
    found = [
        path
        for name in PACKED
        for path in ([root / name] if name.endswith(".py") else (root / name).rglob("*"))
    ]
    return {
        f"flower_coded/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in found
        if path.is_file() and "__pycache__" not in path.parts
    }


def write_playground(
    directory: Path, *, package: bytes, runtime: Mapping[str, bytes], versions: Mapping[str, str]
) -> Path:
    """Write the page and all that it loads; return the page's path.

    Parameters
    ----------
    directory : path
        Made if it is not there; files of the same names are replaced.
    package : bytes
        :func:`mathematics` as a zip archive.
    runtime : mapping of str to bytes
        Pyodide's files and ``numpy.zip``.
    versions : mapping of str to str
        Of ``pyodide`` and ``numpy``, for the footer.

    Raises
    ------
    ParameterError
        If the directory holds an ``index.html`` that is another page.
    """
    there = directory / "index.html"
    if there.is_file() and b'id="lesson"' not in there.read_bytes():
        raise ParameterError("directory", "must not hold another page", str(there), hint="name an empty one")
    web = files("flower_coded.lesson") / "web"
    lesson = json.dumps(described_lesson()).replace("<", "\\u003c")  # no text ends the script element
    page = (web / "index.html").read_text(encoding="utf-8")
    filled = {
        "{{style}}": STYLE,
        "{{own style}}": (web / "page.css").read_text(encoding="utf-8"),
        "{{version}}": __version__,
        "{{pyodide}}": versions["pyodide"],
        "{{numpy}}": versions["numpy"],
        "{{lesson}}": lesson,
    }
    for place, content in filled.items():
        page = page.replace(place, content)
    written = {
        "index.html": page.encode(),
        "flower_coded.zip": package,
        **{name: (web / name).read_bytes() for name in _SCRIPTS},
        **{f"runtime/{name}": content for name, content in runtime.items()},
    }
    (directory / "runtime").mkdir(parents=True, exist_ok=True)
    for name, written_bytes in written.items():
        (directory / name).write_bytes(written_bytes)
    return directory / "index.html"
