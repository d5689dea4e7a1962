"""What a sweep found, one file per run, written once: killed at any moment, it goes on where it was.

``runs/<key>.json`` holds one run's record, under the digest of its configuration. A record is written beside
its place, brought to disk, and then linked to its name, which fails if the name is taken: a file is there
whole or not at all, and is never written twice. ``journal.csv`` notes when runs began and ended. Any number
of processes may work on a store: :mod:`~flower_coded.sweep.claims` tells who does what.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["SweepStore"]

_LEFTOVER_SECONDS = 3600.0


class SweepStore:
    """The directory of a sweep.

    Parameters
    ----------
    path : path
        Made if it is not there.

    Examples
    --------
    >>> import tempfile
    >>> store = SweepStore(tempfile.mkdtemp())
    >>> store.write("a1", {"accuracy": 0.5})
    True
    >>> store.write("a1", {"accuracy": 0.9})  # what is there stays
    False
    >>> store.read("a1"), store.keys()
    ({'accuracy': 0.5}, {'a1'})
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self._runs = self.path / "runs"
        self._runs.mkdir(parents=True, exist_ok=True)

    def keys(self) -> set[str]:
        """Return the keys of the runs that are done, or failed."""
        return {file.stem for file in self._runs.glob("*.json")}

    def has(self, key: str) -> bool:
        """Whether the run is done, or failed."""
        return (self._runs / f"{key}.json").is_file()

    def read(self, key: str) -> dict[str, Any]:
        """Return a run's record."""
        return dict(json.loads((self._runs / f"{key}.json").read_text(encoding="utf-8")))

    def write(self, key: str, record: Mapping[str, Any]) -> bool:
        """Write a run's record, plain values, unless there is one; tell whether it was written."""
        target, beside = self._runs / f"{key}.json", self._runs / f"{key}.{uuid.uuid4().hex}.tmp"
        with beside.open("w", encoding="utf-8") as file:
            json.dump(dict(record), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, target)
        except FileExistsError:
            return False
        finally:
            beside.unlink()
        _bring_to_disk(self._runs)
        return True

    def set_aside(
        self, keys: Iterable[str], is_chosen: Callable[[Mapping[str, Any]], bool], reason: str
    ) -> int:
        """Set records aside as ``<key>.<reason>-<n>``, so that their runs are run again; tell how many."""
        number_set_aside = 0
        for key in sorted(self.keys() & set(keys)):
            try:
                if not is_chosen(self.read(key)):
                    continue
                number = len(list(self._runs.glob(f"{key}.{reason}-*"))) + 1
                (self._runs / f"{key}.json").rename(self._runs / f"{key}.{reason}-{number}")
            except FileNotFoundError:  # another process set it aside this moment
                continue
            number_set_aside += 1
        return number_set_aside

    def clear_leftovers(self) -> None:
        """Remove what killed processes left: files half written an hour ago, claims of runs that are done."""
        now = time.time()
        for claim in (self.path / "claims").glob("[!.]*"):
            if self.has(claim.stem):
                claim.unlink(missing_ok=True)
        for left in (*self._runs.glob("*.tmp"), *(self.path / "claims").glob(".*")):
            try:
                if now - left.stat().st_mtime > _LEFTOVER_SECONDS:
                    left.unlink()
            except FileNotFoundError:  # another process cleared it away
                continue

    def note(self, event: str, key: str) -> None:
        """Append a line to the journal: when, what (``begun``, ``done``, ``failed``), which run."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        with (self.path / "journal.csv").open("a", encoding="utf-8") as file:
            file.write(f"{now},{event},{key}\n")


def _bring_to_disk(directory: Path) -> None:
    """Bring the directory's entries to disk, so that a new name outlives a power cut (not on Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
