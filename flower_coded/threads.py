"""One thread for numerical libraries: faster where many processes share the cores, and safe beside forks.

A simulation starts its workers, by fork, while the ServerApp computes in a thread of the same process.
OpenBLAS stops its own threads at a fork, and a product that was using them then waits for them for ever. With
one thread there is nothing to stop.
"""

from __future__ import annotations

from collections.abc import Iterator

from threadpoolctl import threadpool_limits

__all__ = ["THREAD_VARIABLES", "one_thread"]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
"""What numerical libraries read when they are imported."""


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
