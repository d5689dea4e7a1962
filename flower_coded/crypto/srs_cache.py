"""Reference strings on disk: generated or imported once, shared by all processes, refused when altered.

A string is kept under its digest, whoever made it. One that this machine generated is also linked to a name
that says its size, so that the next who needs that size takes the same. A file is written beside its final
name and linked to it: a reader never sees half of one, and of several processes that generate at the same
time one wins and the others take its result.

A caller that knows the digest, because a server announced it or a configuration pins it, passes it; without
one, every point and the powers' pairings are checked on loading.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

from flower_coded.crypto.backends import Backend, get_backend
from flower_coded.crypto.srs import ReferenceString, generate_reference_string
from flower_coded.errors import ParameterError, SetupError

__all__ = [
    "CACHE_VARIABLE",
    "cache_directory",
    "cached_reference_string",
    "check_digest",
    "kept_digests",
    "load_reference_string",
    "store_reference_string",
]

CACHE_VARIABLE = "FLOWER_CODED_CACHE"
"""Environment variable that names another directory."""

_DIGEST = re.compile(r"[0-9a-f]{64}", flags=re.ASCII)


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
    """Load a reference string from the cache; generate and store one if none is asked for by its digest.

    Parameters
    ----------
    size, size_g2 : int
        Powers in G1 and in G2: exactly so many of one that is generated, at least so many of one that is
        named by its digest.
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
        If the file is cut, altered, too short, or if one named by its digest is missing.
    """
    backend = backend or get_backend()
    folder = cache_directory() if directory is None else Path(directory)
    if digest is not None:
        reference = load_reference_string(digest, directory=folder, backend=backend)
        if reference.size < size or len(reference.powers_g2) < size_g2:
            counts = f"{reference.size} and {len(reference.powers_g2)}"
            raise SetupError(
                f"the reference string {digest}", f"it has {counts} powers, {size} and {size_g2} are wanted"
            )
        return reference
    path = folder / f"reference-string-{size}-{size_g2}.bin"
    if not path.exists():
        generated = generate_reference_string(size, size_g2=size_g2, backend=backend)
        _link(_write(generated, folder), path)
    reference = _load(path, None, backend)
    _write(reference, folder)  # nodes look for it under its digest
    if (reference.size, len(reference.powers_g2)) != (size, size_g2):
        raise SetupError(str(path), f"it holds {reference.size} powers, not {size}")
    return reference


def load_reference_string(
    digest: str,
    *,
    directory: str | os.PathLike[str] | None = None,
    backend: Backend | None = None,
) -> ReferenceString:
    """Load the string of a digest from the cache.

    Raises
    ------
    SetupError
        If there is none, or the file was cut or altered.
    """
    folder = cache_directory() if directory is None else Path(directory)
    path = _path(folder, digest)
    if not path.exists():
        raise SetupError(
            f"the reference string {digest}",
            f"it is not in {folder}; `flower-coded reference import FILE` puts one there",
        )
    return _load(path, digest, backend)


def store_reference_string(
    reference: ReferenceString, *, directory: str | os.PathLike[str] | None = None
) -> Path:
    """Keep a string under its digest, and return where; one that is there already stays."""
    return _write(reference, cache_directory() if directory is None else Path(directory))


def kept_digests(directory: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
    """Return the digests of all strings that are kept, in alphabetical order."""
    folder = cache_directory() if directory is None else Path(directory)
    names = [path.stem.removeprefix("reference-") for path in folder.glob("reference-*.bin")]
    return tuple(sorted(name for name in names if _DIGEST.fullmatch(name)))


def check_digest(digest: object) -> str:
    """Return a digest as it is; refuse what is not 64 hexadecimal digits, before it becomes a file's name."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        shown = digest[:80] if isinstance(digest, str) else type(digest).__name__
        raise ParameterError("digest of a reference string", "must be 64 digits 0-9 and a-f", shown)
    return digest


def _path(folder: Path, digest: str) -> Path:
    return folder / f"reference-{check_digest(digest)}.bin"


def _load(path: Path, digest: str | None, backend: Backend | None) -> ReferenceString:
    try:
        return ReferenceString.from_bytes(path.read_bytes(), digest=digest, backend=backend)
    except SetupError as error:
        raise SetupError(
            str(path), f"{error.reason}; delete the file to have it generated or sent again"
        ) from error


def _write(reference: ReferenceString, folder: Path) -> Path:
    """Write a file atomically under the string's digest; if another process was faster, keep its file."""
    path = _path(folder, reference.digest)
    if path.exists():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".writing-")
    except OSError as error:
        hint = f"{error.strerror}; {CACHE_VARIABLE} names another directory"
        raise SetupError(str(folder), f"a reference string cannot be written there: {hint}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(reference.to_bytes())
            file.flush()
            os.fsync(file.fileno())
        _link(Path(name), path)
    finally:
        os.unlink(name)
    return path


def _link(source: Path, target: Path) -> None:
    try:
        # Unlike renaming, linking fails where the name is taken: the first writer stays.
        os.link(source, target)
    except FileExistsError:
        return
