"""Reference strings on disk: generated once, shared by all processes of a machine, refused when altered.

A file is written beside its final name and linked to it, so that a reader never sees half of one, and of
several processes that generate at the same time one wins and the others take its result. A caller that knows
the digest, because a server announced it or a run's configuration pins it, passes it; without one, every
point and the powers' pairings are checked on loading.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from flower_coded.crypto.backends import Backend, get_backend
from flower_coded.crypto.srs import ReferenceString, generate_reference_string
from flower_coded.errors import SetupError

__all__ = ["CACHE_VARIABLE", "cache_directory", "cached_reference_string"]

CACHE_VARIABLE = "FLOWER_CODED_CACHE"
"""Environment variable that names another directory."""


def cache_directory() -> Path:
    """Return the directory for cached files: ``$FLOWER_CODED_CACHE``, or the platform's place for caches."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "flower-coded"


def cached_reference_string(
    size: int,
    *,
    size_g2: int = 2,
    digest: str | None = None,
    directory: str | os.PathLike[str] | None = None,
    backend: Backend | None = None,
) -> ReferenceString:
    """Load the reference string of a size from the cache; generate and store it if there is none.

    Parameters
    ----------
    size, size_g2 : int
        Powers in G1 and in G2.
    digest : str or None
        What the string's digest must be. A string that is not there is then not generated, for a fresh one
        would be another.
    directory : path or None
        None takes :func:`cache_directory`.
    backend : Backend or None
        None chooses the fastest that is installed.

    Returns
    -------
    ReferenceString

    Raises
    ------
    SetupError
        If the file is cut, altered, or not the one pinned, or if a pinned one is missing.
    """
    backend = backend or get_backend()
    folder = cache_directory() if directory is None else Path(directory)
    path = folder / f"reference-string-{size}-{size_g2}.bin"
    if not path.exists():
        if digest is not None:
            raise SetupError(str(path), f"it does not exist, and digest {digest} is required")
        _store(path, generate_reference_string(size, size_g2=size_g2, backend=backend).to_bytes())
    try:
        reference = ReferenceString.from_bytes(path.read_bytes(), digest=digest, backend=backend)
    except SetupError as error:
        raise SetupError(str(path), f"{error.reason}; delete the file to have another generated") from error
    if (reference.size, len(reference.powers_g2)) != (size, size_g2):
        raise SetupError(str(path), f"it holds {reference.size} powers, not {size}")
    return reference


def _store(path: Path, data: bytes) -> None:
    """Write a file atomically; if another process was faster, keep its file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)
    except FileExistsError:
        return
    finally:
        os.unlink(name)
