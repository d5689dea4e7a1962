"""A whole computation in one process: honest workers, silent ones, and colluders of a given attack."""

from __future__ import annotations

from typing import Any

import numpy as np

from flower_coded.attacks.analog_collusion import AnalogAttack
from flower_coded.protocols.analog_computing.master import AnalogMaster
from flower_coded.protocols.analog_computing.messages import Outcome, Request
from flower_coded.protocols.analog_computing.worker import AnalogWorker

__all__ = ["run_computation"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


def run_computation(
    master: AnalogMaster,
    blocks: FloatArray,
    request: Request,
    *,
    attack: AnalogAttack | None = None,
    liars: tuple[int, ...] = (),
    silent: tuple[int, ...] = (),
    generator: np.random.Generator | None = None,
) -> Outcome:
    """Deal, compute, lie, and decode.

    Parameters
    ----------
    master : AnalogMaster
        Who holds the data.
    blocks : ndarray of shape (k, rows, columns), float64
        The data.
    request : Request
        What to compute.
    attack : AnalogAttack, optional
        What the liars add; needed if there are any.
    liars, silent : tuple of int
        Workers who lie, and who do not answer.
    generator : numpy.random.Generator, optional
        Source of the errors, and of the hiding noise; the system's source if absent.

    Returns
    -------
    Outcome

    Raises
    ------
    DecodingError
        If there are too many of them.

    Examples
    --------
    >>> from flower_coded.attacks.analog_collusion import StrongCollusion
    >>> from flower_coded.codes.real.analog_lagrange import AnalogLagrangeCode
    >>> code = AnalogLagrangeCode(num_workers=31, num_blocks=3, num_colluders=3, noise_scale=1e4)
    >>> blocks = np.random.default_rng(0).standard_normal((3, 20, 5))
    >>> outcome = run_computation(
    ...     AnalogMaster(code, (20, 5)), blocks, Request("gram"),
    ...     attack=StrongCollusion(), liars=(0, 1, 5, 8, 9, 20, 21, 30), silent=(2, 11),
    ... )
    >>> outcome.liars, outcome.missing
    ((0, 1, 5, 8, 9, 20, 21, 30), (2, 11))
    """
    shares = master.deal(blocks, generator)
    results = {
        share.worker: AnalogWorker(share).compute(request).values
        for share in shares
        if share.worker not in silent
    }
    present = [worker for worker in liars if worker in results]
    if attack is not None and present:
        shape = results[present[0]].shape
        source = np.random.default_rng() if generator is None else generator
        errors = attack.craft((len(present), int(np.prod(shape))), source)
        for worker, error in zip(present, errors, strict=True):
            results[worker] = results[worker] + error.reshape(shape)
    return master.decode(request, results)
