"""A small process that cleans up after a Flower session, however the session ends.

Flower's managed SuperLink detaches itself and outlives the command that started it; its children (the
simulation, Ray's daemons and workers) do the same in their turn. All of them inherit one variable,
``FLWR_HOME``, which a :class:`~flower_coded.cli.simulation.FlowerSession` sets to a directory of its own. So
a session can be ended by ending every process that carries that value, and none other.

The guard does so as soon as its standard input closes: on an orderly end, on Ctrl-C, and also when the
session's process is killed outright, because the system closes the pipe then too. Run as ``python -m
flower_coded.cli.guard DIRECTORY``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import psutil

from flower_coded.cli.environment import RAY_LINK

__all__ = ["processes_of", "stop_session"]

_PATIENCE_SECONDS = 4.0
_MAX_SWEEPS = 5


def processes_of(flower_home: str | Path) -> list[psutil.Process]:
    """List the living processes whose environment says ``FLWR_HOME=flower_home``.

    Processes of other users hide their environment and are left out.
    """
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("FLWR_HOME") == str(flower_home):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def stop_session(flower_home: str | Path) -> int:
    """End every process of a session, politely first, and remove its directory; return how many there were.

    A sweep is repeated until it finds nothing, since a process may start another while it is being ended.
    """
    num_stopped = 0
    for _ in range(_MAX_SWEEPS):
        processes = processes_of(flower_home)
        if not processes:
            break
        num_stopped += len(processes)
        for process in processes:
            _signal(process, polite=True)
        _, alive = psutil.wait_procs(processes, timeout=_PATIENCE_SECONDS)
        for process in alive:
            _signal(process, polite=False)
        psutil.wait_procs(alive, timeout=_PATIENCE_SECONDS)
    ray = Path(flower_home) / RAY_LINK
    if ray.is_symlink():
        shutil.rmtree(ray.resolve(), ignore_errors=True)
    shutil.rmtree(flower_home, ignore_errors=True)
    return num_stopped


def _signal(process: psutil.Process, *, polite: bool) -> None:
    try:
        process.terminate() if polite else process.kill()
    except psutil.Error:
        return  # it ended by itself in the meantime


if __name__ == "__main__":
    sys.stdin.buffer.read()
    stop_session(sys.argv[1])
