"""Processors and threads: how many there are, and one thread each for numerical libraries.

One thread is faster where many processes share the cores, and safe beside forks. A simulation starts its
workers, by fork, while the ServerApp computes in a thread of the same process. OpenBLAS stops its own threads
at a fork, and a product that was using them then waits for them for ever. With one thread there is nothing to
stop.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from threadpoolctl import threadpool_limits

__all__ = ["THREAD_VARIABLES", "available_processors", "one_thread"]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
"""What numerical libraries read when they are imported."""


def available_processors(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Processors that this process may use: its affinity, and no more than a container's quota.

    Parameters
    ----------
    quota_file : Path
        Linux's control group file, ``"<microseconds or max> <period>"``; not there on other systems.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> 1 <= available_processors() <= os.cpu_count()
    True
    """
    # The machine may have 64 processors of which a job scheduler granted four: only affinity knows.
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if quota_file.is_file():
        quota, _, period = quota_file.read_text(encoding="ascii").partition(" ")
        if quota.isdigit() and period.strip().isdigit():
            count = min(count, -(-int(quota) // int(period)))
    return max(1, count)


def one_thread(context: object) -> Iterator[None]:
    """Keep BLAS and OpenMP to one thread while a ServerApp runs: a lifespan of Flower's.

    Parameters
    ----------
    context : flwr.app.Context
        Not used; Flower passes it.

    Examples
    --------
    >>> from flwr.serverapp import ServerApp
    >>> app = ServerApp()
    >>> lifespan = app.lifespan()(one_thread)
    """
    del context
    with threadpool_limits(1):
        yield
