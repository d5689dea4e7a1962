"""Python for a browser: Pyodide's core and a NumPy built for it, fetched once and known by their digests.

Both come from the npm registry, which keeps every version for good. NumPy is the build of
emscripten-forge for Emscripten 3.1.58, which is what Pyodide 0.27 is built with. Of each archive only what a
page needs is kept.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from flower_coded.crypto.srs_cache import cache_directory
from flower_coded.errors import DownloadError

__all__ = ["ARCHIVES", "Archive", "browser_python", "pack"]

_PIECE = 1 << 16
_SECONDS_PER_READ = 30.0
_SECONDS_IN_ALL = 600.0


@dataclass(frozen=True)
class Archive:
    """A file of a registry, known by its size and digest.

    Attributes
    ----------
    name, version : str
    address : str
    size : int
        Bytes.
    sha512 : str
        Hexadecimal.
    """

    name: str
    version: str
    address: str
    size: int
    sha512: str

    @property
    def file_name(self) -> str:
        """The last piece of the address."""
        return self.address.rpartition("/")[2]


PYODIDE = Archive(
    "Pyodide",
    "0.27.7",
    "https://registry.npmjs.org/pyodide/-/pyodide-0.27.7.tgz",
    5_898_824,
    "45449526585075f59f80ef615470a25e81be9d5650452e43f45ce0a4b27f55c8"
    "0604b4802a83cbf244e23a29316c7426d6444849e59405dba51203b6eaaa5244",
)
NUMPY = Archive(
    "NumPy",
    "2.0.1",
    "https://registry.npmjs.org/@emscripten-forge/numpy/-/numpy-2.0.1-py312h4e66579-0.tgz",
    3_277_010,
    "eb888fdeda25361067289047b366f9320f6cd7b04bf01a7d12fdbe5347d208ed"
    "ffcd09564110ab131c3632099fc2384dcfe9b06ca3c6d9e06c05ca41595db16c",
)
ARCHIVES = (PYODIDE, NUMPY)

_PYODIDE_FILES = (
    "pyodide.js",
    "pyodide.asm.js",
    "pyodide.asm.wasm",
    "pyodide-lock.json",
    "python_stdlib.zip",
)
_NUMPY_ROOT = "lib/python3.12/site-packages/"
# Tests, headers and the Fortran bridge, which no page runs.
_LEFT_OUT = ("/tests/", "/f2py/", "/_core/include/", "/_core/lib/", ".pyi", "/_examples/")


def browser_python(folder: Path | None = None) -> dict[str, bytes]:
    """Return the files that a page serves to run Python with NumPy, by name.

    Parameters
    ----------
    folder : path or None
        Where the archives are already; None fetches those that are not in this user's cache.

    Raises
    ------
    DownloadError
        If an archive is not there, cannot be fetched, or is another than expected.
    """
    pyodide, numpy = (_read(archive, folder) if folder else _cached(archive) for archive in ARCHIVES)
    with tarfile.open(fileobj=io.BytesIO(pyodide)) as opened:
        files = {name: _member(opened, f"package/{name}") for name in _PYODIDE_FILES}
    with tarfile.open(fileobj=io.BytesIO(numpy)) as outer:
        inner = _member(outer, "package/pkg/numpy-2.0.1-py312h4e66579_0.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as opened:
        kept = {
            member.name.removeprefix(_NUMPY_ROOT): _member(opened, member.name)
            for member in opened.getmembers()
            if member.isfile()
            and member.name.startswith(_NUMPY_ROOT)
            and not any(part in member.name for part in _LEFT_OUT)
        }
    return {**files, "numpy.zip": pack(kept)}


def pack(files: dict[str, bytes]) -> bytes:
    """Put files into a zip archive that is the same whenever it is made, on whichever system, by one zlib.

    Examples
    --------
    >>> pack({"b": b"2", "a": b"1"}) == pack({"a": b"1", "b": b"2"})
    True
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=(2020, 1, 1, 0, 0, 0))
            entry.create_system, entry.compress_type = 3, zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])
    return packed.getvalue()


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    opened = archive.extractfile(name)
    assert opened is not None, name  # the digest says which files there are
    return opened.read()


def _cached(archive: Archive) -> bytes:
    folder = cache_directory() / "browser-python"
    if (folder / archive.file_name).is_file():
        return _read(archive, folder)
    content = _checked(archive, _fetch(archive), archive.address, "try again")
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.replace(partial, folder / archive.file_name)  # never half a file under its name
    except OSError:
        Path(partial).unlink(missing_ok=True)
        raise
    return content


def _read(archive: Archive, folder: Path) -> bytes:
    path = folder / archive.file_name
    if not path.is_file():
        raise DownloadError(str(path), "there is no such file", hint=f"fetch {archive.address}")
    with path.open("rb") as file:
        return _checked(archive, file.read(archive.size + 1), str(path), "remove it and try again")


def _checked(archive: Archive, content: bytes, source: str, hint: str) -> bytes:
    if len(content) < archive.size:
        reason = f"only {len(content):,} of {archive.size:,} bytes are there"
        raise DownloadError(source, reason, hint=hint)
    if hashlib.sha512(content).hexdigest() != archive.sha512:
        reason = f"it is not {archive.name} {archive.version}, whose SHA-512 is {archive.sha512[:16]}…"
        raise DownloadError(source, reason, hint=hint)
    return content


def _fetch(archive: Archive) -> bytes:
    names = " and ".join(each.file_name for each in ARCHIVES)
    hint = f"on a machine without network give --archives a folder with {names}"
    deadline, content = time.monotonic() + _SECONDS_IN_ALL, bytearray()
    try:
        with urllib.request.urlopen(archive.address, timeout=_SECONDS_PER_READ) as response:
            # What has come is enough: a slow server must not keep us in one call beyond the deadline.
            while len(content) <= archive.size and (piece := response.read1(_PIECE)):
                content += piece
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not done after {_SECONDS_IN_ALL:.0f} s")
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DownloadError(archive.address, str(reason) or type(reason).__name__, hint=hint) from error
    return bytes(content)
