"""What encoded gradient descent costs: Theorem 1 of Data, Song and Diggavi with its constants.

Beside it, plain descent and repetition. Numbers are float64 entries stored and multiplications done,
counted exactly from ``m, t, s, n, d``.
"""

from __future__ import annotations

from dataclasses import dataclass

from flower_coded.codes.real.real_error_locating import RealErrorLocatingCode

__all__ = ["Resources", "encoded_resources", "plain_resources", "repetition_resources"]


@dataclass(frozen=True)
class Resources:
    """Costs of one method.

    Parameters
    ----------
    method : str
    max_errors : int
        Liars corrected when nobody is missing.
    storage_per_worker : int
        Numbers.
    total_storage : int
        Numbers at all workers.
    encoding : int
        Multiplications, once.
    worker_per_iteration : int
        Multiplications of each worker.
    master_per_iteration : int
        Multiplications of the master, with all suspects known (a search adds about as much again).
    rounds_per_iteration : int
    """

    method: str
    max_errors: int
    storage_per_worker: int
    total_storage: int
    encoding: int
    worker_per_iteration: int
    master_per_iteration: int
    rounds_per_iteration: int

    def storage_overhead(self, num_rows: int, num_columns: int) -> float:
        """Total storage as a multiple of the data ``X``."""
        return self.total_storage / (num_rows * num_columns)


def encoded_resources(code: RealErrorLocatingCode, num_rows: int, num_columns: int) -> Resources:
    """Count for encoded gradient descent.

    With ``q = m - 2 t - s``: ``p1 = ceil(n / q)``, ``p2 = ceil(d / q)``; each worker stores and multiplies
    ``p1 (d + 1) + p2 n`` numbers (Section IV-A), the master ``m^2 (p1 + p2)`` for checks and recovery (IV-B).

    Parameters
    ----------
    code : RealErrorLocatingCode
    num_rows, num_columns : int
        ``n`` and ``d``.

    Returns
    -------
    Resources

    Examples
    --------
    >>> encoded_resources(RealErrorLocatingCode(15, 5), 20_000, 500).storage_per_worker
    4004000
    >>> encoded_resources(RealErrorLocatingCode(15, 5), 20_000, 500).storage_overhead(20_000, 500)
    6.006
    """
    num_workers = code.num_workers
    first, second = code.num_blocks(num_rows), code.num_blocks(num_columns)
    per_worker = first * (num_columns + 1) + second * num_rows
    # Each of the k dense rows of F_perp multiplies every entry; plain rows are copied.
    encoding = code.num_checks * (num_rows * (num_columns + 1) + num_columns * num_rows)
    return Resources(
        "encoded",
        code.num_checks // 2,
        per_worker,
        num_workers * per_worker,
        encoding,
        per_worker,
        num_workers**2 * (first + second),
        2,
    )


def plain_resources(num_workers: int, num_rows: int, num_columns: int) -> Resources:
    """Count for plain distributed gradient descent: ``n / m`` rows each, multiplied twice.

    Examples
    --------
    >>> plain_resources(10, 1000, 5).storage_per_worker
    600
    """
    rows = -(-num_rows // num_workers)
    return Resources(
        "plain",
        0,
        rows * (num_columns + 1),
        num_rows * (num_columns + 1),
        0,
        2 * rows * num_columns,
        num_workers * num_columns,
        1,
    )


def repetition_resources(num_workers: int, num_errors: int, num_rows: int, num_columns: int) -> Resources:
    """Count for repetition in groups of ``2 t + 1``.

    Examples
    --------
    >>> repetition_resources(15, 5, 20_000, 500).storage_overhead(20_000, 500)
    15.03
    """
    groups = max(num_workers // (2 * num_errors + 1), 1)
    rows = -(-num_rows // groups)
    return Resources(
        "repetition",
        num_errors,
        rows * (num_columns + 1),
        num_workers * rows * (num_columns + 1),
        0,
        2 * rows * num_columns,
        num_workers * (num_workers // groups) * num_columns,
        1,
    )
