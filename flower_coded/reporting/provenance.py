"""Where a run's numbers come from: when, by which command, with which versions, on what.

It is written into ``config.json`` when a run begins, and stands at the end of its page, so that a page that
was mailed to somebody can be cited, and made again.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import importlib.metadata
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flower_coded
from flower_coded.threads import available_processors

__all__ = ["code_digest", "describe_provenance", "provenance_now", "read_provenance"]

_PACKAGES = ("flwr", "numpy", "torch")
_GIT_SECONDS = 5.0
_DECIDES_NO_RESULT = {"cli", "reporting", "scenarios"}


@functools.cache
def code_digest(root: Path = Path(flower_coded.__file__).parent) -> str:
    """Digest of the package's Python files by name and content, 12 hexadecimal digits."""
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        relative = file.relative_to(root)
        if relative.parts[0] not in _DECIDES_NO_RESULT:
            digest.update(f"{relative.as_posix()}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def provenance_now() -> dict[str, Any]:
    """Collect what a reader needs to make the numbers again.

    Returns
    -------
    dict
        ``date`` (UTC, to the second), ``command`` (as typed, the program by its name), ``versions`` of this
        package, Python and the libraries that decide numbers, ``commit`` of a checkout (with ``+ changes``
        where files differ; empty for an installed package), ``machine`` (system, kind and number of
        processors).

    Examples
    --------
    >>> sorted(provenance_now())
    ['command', 'commit', 'date', 'machine', 'versions']
    """
    versions = {"flower-coded": flower_coded.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # the mathematics is also run without Flower or torch
    program, *arguments = sys.argv or [""]
    return {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "command": shlex.join([Path(program).name, *arguments]),
        "versions": versions,
        "commit": _commit(),
        "machine": f"{platform.system()} {platform.machine()}, {available_processors()} processors",
    }


def read_provenance(directory: Path) -> dict[str, Any]:
    """Read what a run's ``config.json`` says of it; empty where there is none."""
    file = directory / "config.json"
    if not file.is_file():
        return {}
    content = json.loads(file.read_text(encoding="utf-8"))
    found = content.get("provenance", {}) if isinstance(content, dict) else {}
    return dict(found) if isinstance(found, dict) else {}


def describe_provenance(provenance: Mapping[str, Any]) -> str:
    """Say it in one paragraph, with backticks around the command.

    Examples
    --------
    >>> describe_provenance({"date": "today", "command": "flower-coded demo", "versions": {"numpy": "2.4"}})
    'Made today by `flower-coded demo`, with numpy 2.4.'
    """
    versions = ", ".join(f"{name} {version}" for name, version in provenance.get("versions", {}).items())
    commit = provenance.get("commit")
    parts = [
        f"Made {provenance.get('date', 'at an unknown time')} by `{provenance.get('command', '')}`",
        f", with {versions}" if versions else "",
        f", commit {commit}" if commit else "",
        f", on {provenance['machine']}" if provenance.get("machine") else "",
    ]
    return "".join(parts) + "."


def _commit() -> str:
    """Commit of the checkout that this package is imported from, if it is one."""
    root = Path(flower_coded.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return ""
    try:
        head, changes = (
            subprocess.run(
                ["git", "-C", str(root), *arguments],
                capture_output=True,
                text=True,
                timeout=_GIT_SECONDS,
                check=True,
            ).stdout.strip()
            for arguments in (["rev-parse", "--short=10", "HEAD"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"  # no git here, or none that may read this checkout
    return head + (" + changes" if changes else "")
