"""Who is doing which run: a file per claim, so that many processes share one directory without a lock.

A claim is the file ``claims/<key>.<number>``, linked to its name: of all who try, one succeeds. The highest
number counts. A claim whose owner died is not removed, for two who remove it could remove a third one's new
claim; instead the next number is made, which again one of them succeeds in. An owner is dead when its process
is gone, on its own machine, or its claims were not refreshed for five minutes, on another. Ages are measured
by the clock of the file system, which all machines share.

What it leaves out: an owner that was only suspended and wakes up after its claim went to another. Both then
do the run, and the first record stays.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

__all__ = ["Claims"]

_REFRESH_SECONDS = 20.0
_EXPIRY_SECONDS = 300.0


class Claims:
    """The claims of one process in a directory.

    Parameters
    ----------
    path : Path
        Made if it is not there.
    host : str
        Name of this machine.
    expiry : float
        Seconds without a refresh after which a claim of another machine is void.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp())
    >>> one, other = Claims(path), Claims(path)
    >>> one.take("a"), other.take("a")
    (True, False)
    >>> one.release("a"); other.take("a")
    True
    """

    def __init__(
        self, path: Path, host: str = socket.gethostname(), *, expiry: float = _EXPIRY_SECONDS
    ) -> None:
        self.path, self.host, self.expiry = path, host, expiry
        self.path.mkdir(parents=True, exist_ok=True)
        self._held: dict[str, Path] = {}
        self._started = psutil.Process().create_time()

    def take(self, key: str) -> bool:
        """Claim a run; False if it is another's, or already this one's."""
        newest = max(self._of(key), default=None)
        if newest is not None and self._is_alive(newest[1]):
            return False
        claim = self.path / f"{key}.{0 if newest is None else newest[0] + 1}"
        content = {"host": self.host, "process": os.getpid(), "started": self._started, "time": time.time()}
        # Written beside and linked, not opened with O_EXCL and written: a claim never exists half written.
        beside = self.path / f".{uuid.uuid4().hex}"
        beside.write_text(json.dumps(content), encoding="utf-8")
        try:
            os.link(beside, claim)
        except FileExistsError:
            return False
        finally:
            beside.unlink()
        self._held[key] = claim
        return True

    def release(self, key: str) -> None:
        """Give a claim up, with the void ones below it."""
        own = self._held.pop(key)
        number = int(own.suffix[1:])
        for other, file in sorted(self._of(key)):
            if other <= number:
                file.unlink(missing_ok=True)

    def held_by_others(self) -> set[str]:
        """Return the keys that others are working on by now."""
        keys = {file.stem for file in self.path.glob("[!.]*.*")} - self._held.keys()
        newest = {key: max(self._of(key), default=None) for key in keys}
        return {key for key, claim in newest.items() if claim is not None and self._is_alive(claim[1])}

    @contextmanager
    def refreshed(self) -> Iterator[None]:
        """Refresh what is held while the block runs, and give up what is left at its end."""
        over = threading.Event()
        thread = threading.Thread(target=self._refresh_until, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(timeout=_REFRESH_SECONDS)
            for key in list(self._held):
                self.release(key)

    def _refresh_until(self, over: threading.Event) -> None:
        while not over.wait(_REFRESH_SECONDS):
            for claim in list(self._held.values()):
                _touch(claim)

    def _of(self, key: str) -> list[tuple[int, Path]]:
        return [(int(file.suffix[1:]), file) for file in self.path.glob(f"{key}.*")]

    def _is_alive(self, claim: Path) -> bool:
        try:
            content = json.loads(claim.read_text(encoding="utf-8"))
            if content["host"] != self.host:
                return self._now() - claim.stat().st_mtime < self.expiry
        except FileNotFoundError:  # given up this moment: its run has a record, or is free at the next look
            return True
        return _process_lives(int(content["process"]), float(content["started"]))

    def _now(self) -> float:
        """Ask the file system, whose clock the refreshed claims carry too."""
        probe = self.path / f".{uuid.uuid4().hex}"
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink()


def _touch(file: Path) -> None:
    try:
        os.utime(file)
    except FileNotFoundError:  # released meanwhile
        return


def _process_lives(number: int, started: float) -> bool:
    """Whether it is this very process: numbers are used again."""
    try:
        process = psutil.Process(number)
        is_same = abs(float(process.create_time()) - started) < 1.0
        return is_same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
