"""The worker's side: keep a share, evaluate a polynomial at it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flower_coded.codes.array_namespace import on_device, to_numpy
from flower_coded.protocols.analog_computing.functions import get_function
from flower_coded.protocols.analog_computing.messages import Request, Share, WorkerResult

__all__ = ["AnalogWorker"]


@dataclass(frozen=True, eq=False)
class AnalogWorker:
    """An honest worker.

    Parameters
    ----------
    share : Share
        What the master sent; looks like noise.
    device : str
        Where it computes: ``"cpu"`` is NumPy, anything else a torch device, such as ``"cuda"``.

    Examples
    --------
    >>> worker = AnalogWorker(Share(3, np.array([[1.0 + 1j, 2.0]])))
    >>> worker.compute(Request("gram")).values
    array([[0.+2.j, 2.+2.j],
           [2.+2.j, 4.+0.j]])
    """

    share: Share
    device: str = "cpu"

    def compute(self, request: Request) -> WorkerResult:
        """Evaluate the requested function at the share; its result has shape (u, h), complex128."""
        block = on_device(self.share.block, self.device)
        values = to_numpy(get_function(request.function).apply(block, request.parameters))
        return WorkerResult(self.share.worker, values.astype(np.complex128, copy=False))
