"""What a master and its workers send each other, and what the master concludes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

__all__ = ["Outcome", "Refused", "Request", "Share", "WorkerResult"]

ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class Share:
    """One worker's encoded block, sent once.

    Parameters
    ----------
    worker : int
        Whose it is.
    block : ndarray of shape (rows, columns), complex128
        ``l(α)`` at the worker's evaluation point.
    """

    worker: int
    block: ComplexArray


@dataclass(frozen=True, eq=False)
class Request:
    """What all workers are to compute.

    Parameters
    ----------
    function : str
        The function's name.
    parameters : ndarray or None
        Public parameters.
    """

    function: str
    parameters: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class WorkerResult:
    """What a worker sent back; nobody has checked it.

    Parameters
    ----------
    worker : int
        The sender.
    values : ndarray
        Shape (u, h), complex128, if the worker is honest.
    """

    worker: int
    values: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Refused:
    """A result that was not used.

    Parameters
    ----------
    worker : int
        The sender.
    reason : str
        Why, in words.
    """

    worker: int
    reason: str


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the master decoded.

    Parameters
    ----------
    values : ndarray of shape (k, u, h), float64
        ``f`` of every block.
    error_bounds : ndarray of shape (k,), float64
        Bound on the Frobenius norm of the error in each block's value.
    total_error_bound : float
        The same for :attr:`total`.
    scale : float
        What an accuracy refers to: ``‖X_l‖ ‖X R‖`` of the whole table for the built-in functions, the norm
        of :attr:`values` otherwise.
    error_std : ndarray of shape (k, u, h), float64
        Standard deviation of the precision noise in ``values``, given who was dropped: what honest workers
        leave, no bound.
    liars, missing : tuple of int
        Workers whose result is wrong, and workers without a usable result.
    set_aside : tuple of int
        Workers not accused of anything whose results were left out, because the rest is more accurate.
    refused : tuple of Refused
        Why results that came were not used.
    vouched_by : "keys" or "code"
        Who told liars from honest workers, and what the bounds rest on.
    residual : float
        The statistic of that test over its threshold; at most 1.
    """

    values: FloatArray
    error_bounds: FloatArray
    total_error_bound: float
    scale: float
    error_std: FloatArray
    liars: tuple[int, ...]
    missing: tuple[int, ...]
    set_aside: tuple[int, ...]
    refused: tuple[Refused, ...]
    vouched_by: Literal["keys", "code"]
    residual: float

    @property
    def total(self) -> FloatArray:
        """Sum over the blocks, shape (u, h): the value for the whole table where rows are added up."""
        return np.asarray(self.values.sum(axis=0))

    @property
    def relative_error_bound(self) -> float:
        """:attr:`total_error_bound` as a part of :attr:`scale`."""
        return self.total_error_bound / self.scale if self.scale > 0 else float(self.total_error_bound > 0)
