"""What a list of independent tasks is done with, and what becomes of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flower_coded.errors import ParameterError

__all__ = ["LOST", "RAISED", "TIME_LIMIT", "Outcome", "RunResources"]

T = TypeVar("T")

RAISED, TIME_LIMIT, LOST = "raised", "time-limit", "lost"
"""Why a task failed: by itself, by its time, or because its process or machine went away."""


@dataclass(frozen=True)
class RunResources:
    """Where tasks run, and what each may use.

    One process and no address: inside this process. Otherwise each task is one of Ray's, on this machine or
    on the cluster of the address.

    Parameters
    ----------
    num_processes : int
        Tasks at a time; 0 for as many as a cluster holds.
    address : str
        The Ray cluster that this machine is part of, ``auto`` or ``<host>:6379``; empty for none.
    cpus_per_run, gpus_per_run : float
        What Ray sets aside for a task; 0.25 lets four share a GPU.

    Examples
    --------
    >>> RunResources(2, gpus_per_run=0.5).uses_ray, RunResources().uses_ray
    (True, False)
    """

    num_processes: int = 1
    address: str = ""
    cpus_per_run: float = 1.0
    gpus_per_run: float = 0.0

    def __post_init__(self) -> None:
        if self.num_processes < (0 if self.address else 1):
            raise ParameterError("num_processes", "must be at least 1", self.num_processes)
        if not self.cpus_per_run > 0:
            raise ParameterError("cpus_per_run", "must be positive", self.cpus_per_run, hint="1")
        if not self.gpus_per_run >= 0 or (self.gpus_per_run > 1 and self.gpus_per_run % 1):
            requirement = "must be a share of one GPU, or a whole number of them"
            raise ParameterError("gpus_per_run", requirement, self.gpus_per_run, hint="0.25")

    @property
    def uses_ray(self) -> bool:
        """Whether tasks leave this process."""
        return bool(self.address) or self.num_processes > 1


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What became of a task.

    Parameters
    ----------
    task
        As it was given.
    result
        What the work returned; None if it failed.
    error : str
        The traceback, or how the process ended; empty if it did not fail.
    cause : str
        :data:`RAISED`, :data:`TIME_LIMIT` or :data:`LOST`; empty if it did not fail.
    """

    task: T
    result: Any
    error: str = ""
    cause: str = ""

    def unwrap(self) -> Any:
        """Return the result.

        Raises
        ------
        RuntimeError
            If the work failed; the message is ``error``.
        """
        if self.error:
            raise RuntimeError(self.error)
        return self.result
