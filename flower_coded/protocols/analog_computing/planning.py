"""Choosing the circle and the noise for a stated privacy and accuracy, before any data is sent.

The radius ``β`` moves the data points away from the workers' points. Far out the shares tell less, so that
less noise is needed, but rebuilding multiplies rounding noise by powers of ``β``; near the unit circle it is
the other way round. For each ``β`` the smallest ``σ`` that keeps the promised privacy follows from the
leakage bound (:mod:`flower_coded.codes.analog_privacy`); rounding noise is measured; the ``β`` with the
smallest error is taken, and refused if that error is larger than promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flower_coded.codes.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.analog_privacy import Leakage, noise_scale_for, worst_leakage
from flower_coded.errors import ParameterError
from flower_coded.protocols.analog_computing.functions import PolynomialFunction
from flower_coded.protocols.analog_computing.precision import measure_precision, worst_amplification

__all__ = ["Plan", "plan_computation", "tabulate_privacy"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

_RADII = (1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.5, 3.0)
_DEVIATIONS = 6.0


@dataclass(frozen=True)
class Plan:
    """A code with what it promises.

    Parameters
    ----------
    code : AnalogLagrangeCode
        With the chosen ``β`` and ``σ``.
    leakage : Leakage
        The bound on what any ``t`` workers learn, in bits per matrix position.
    entry_error : float
        Six standard deviations of the noise in an entry of one block's value, with the liars and silent
        workers the plan allows, placed as badly as possible.
    """

    code: AnalogLagrangeCode
    leakage: Leakage
    entry_error: float


def plan_computation(
    code: AnalogLagrangeCode,
    function: PolynomialFunction,
    block_shape: tuple[int, int],
    *,
    max_bits: float,
    max_entry_error: float = np.inf,
    num_liars: int = 0,
    num_missing: int = 0,
    data_bound: float = 1.0,
    data_scale: float | None = None,
    parameters: FloatArray | None = None,
    radii: Sequence[float] = _RADII,
) -> Plan:
    """Choose ``β`` and ``σ``.

    Parameters
    ----------
    code : AnalogLagrangeCode
        Numbers of workers, blocks, colluders, and degree; its radius and noise are replaced.
    function : PolynomialFunction
        What workers compute.
    block_shape : tuple of (int, int)
        Rows and columns of a block.
    max_bits : float
        The most that any ``t`` workers may learn, in bits per matrix position.
    max_entry_error : float
        The largest error promised for an entry of the result.
    num_liars, num_missing : int
        ``A`` and ``s`` to be survived.
    data_bound : float
        ``r``: every private value lies in ``[-r, r]``.
    data_scale : float, optional
        Standard deviation of the data; ``data_bound`` if absent.
    parameters : ndarray, optional
        The function's public parameters.
    radii : sequence of float
        Values of ``β`` tried.

    Returns
    -------
    Plan

    Raises
    ------
    ParameterError
        If ``2A + s > N - K``, or no ``β`` keeps both promises; the message names the error that can be kept.

    Examples
    --------
    >>> from flower_coded.protocols.analog_computing.functions import get_function
    >>> code = AnalogLagrangeCode(num_workers=31, num_blocks=3, num_colluders=3)
    >>> plan = plan_computation(code, get_function("gram"), (100, 10), max_bits=0.01, num_liars=8)
    >>> plan.leakage.bits <= 0.01, plan.entry_error < 0.02
    (True, True)
    """
    if 2 * num_liars + num_missing > code.num_workers - code.dimension:
        raise ParameterError(
            "num_liars",
            f"must satisfy 2 A + s ≤ N - K = {code.num_workers - code.dimension}",
            (num_liars, num_missing),
            hint="use more workers, fewer blocks or fewer colluders",
        )
    plans = []
    for radius in radii:
        noise_scale = noise_scale_for(replace(code, radius=radius), max_bits, data_bound=data_bound)
        candidate = replace(code, radius=radius, noise_scale=noise_scale)
        precision = measure_precision(
            candidate,
            function,
            block_shape,
            data_scale=data_bound if data_scale is None else data_scale,
            parameters=parameters,
        )
        error = (
            _DEVIATIONS
            * float(precision.noise_std.max())
            * worst_amplification(candidate, num_liars + num_missing)
        )
        plans.append((error, candidate))
    error, best = min(plans, key=lambda plan: plan[0])
    if error > max_entry_error:
        raise ParameterError(
            "max_entry_error",
            f"must be at least {error:.2g} at {max_bits:g} bits",
            max_entry_error,
            hint="allow more bits, or use fewer blocks",
        )
    return Plan(best, worst_leakage(best, data_bound=data_bound), error)


def tabulate_privacy(
    code: AnalogLagrangeCode,
    function: PolynomialFunction,
    block_shape: tuple[int, int],
    bits: Sequence[float],
    *,
    num_liars: int = 0,
    num_missing: int = 0,
    data_bound: float = 1.0,
) -> list[Plan]:
    """Plan the same computation for several levels of privacy: the table of privacy against precision."""
    return [
        plan_computation(
            code,
            function,
            block_shape,
            max_bits=each,
            num_liars=num_liars,
            num_missing=num_missing,
            data_bound=data_bound,
        )
        for each in bits
    ]
