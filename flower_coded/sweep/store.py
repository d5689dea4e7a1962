"""What a sweep found, one file per run, written once: killed at any moment, it goes on where it was.

``runs/<key>.json`` holds one run's record, under the digest of its configuration. A record is written beside
its place, brought to disk, and then linked to its name, which fails if the name is taken: a file is there
whole or not at all, and is never written twice. ``journal.csv`` notes when runs began and ended. One process
at a time may work on a store; the lock is the system's and goes with the process.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from flower_coded.errors import ParameterError

__all__ = ["SweepStore"]


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

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store; remove what a killed process left half written.

        Raises
        ------
        ParameterError
            If another process holds it.
        """
        with (self.path / "lock").open("w") as file:
            try:
                _lock(file)
            except OSError as error:
                raise ParameterError(
                    "results", "must not be in use by another sweep", str(self.path), hint="wait for it"
                ) from error
            for left in self._runs.glob("*.tmp"):
                left.unlink()
            yield

    def keys(self) -> set[str]:
        """Return the keys of the runs that are done, or failed."""
        return {file.stem for file in self._runs.glob("*.json")}

    def read(self, key: str) -> dict[str, Any]:
        """Return a run's record."""
        return dict(json.loads((self._runs / f"{key}.json").read_text(encoding="utf-8")))

    def write(self, key: str, record: Mapping[str, Any]) -> bool:
        """Write a run's record, plain values, unless there is one; tell whether it was written."""
        target, beside = self._runs / f"{key}.json", self._runs / f"{key}.{os.getpid()}.tmp"
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
        return True

    def forget_failures(self) -> int:
        """Set failed runs aside as ``<key>.failed-<n>``, so that they are run again; tell how many."""
        failed = [key for key in self.keys() if self.read(key).get("status") != "done"]
        for key in failed:
            number = len(list(self._runs.glob(f"{key}.failed-*"))) + 1
            (self._runs / f"{key}.json").rename(self._runs / f"{key}.failed-{number}")
        return len(failed)

    def note(self, event: str, key: str) -> None:
        """Append a line to the journal: when, what (``begun``, ``done``, ``failed``), which run."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        with (self.path / "journal.csv").open("a", encoding="utf-8") as file:
            file.write(f"{now},{event},{key}\n")


def _lock(file: IO[str]) -> None:
    """Take the lock or raise OSError; the system releases it when the process ends, however it ends."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
