"""Choosing the circle and the noise for a stated privacy and accuracy, before any data is sent.

The radius ``β`` moves the data points away from the workers' points. Far out the shares tell less, so that
less noise is needed, but rebuilding multiplies rounding noise by powers of ``β``; near the unit circle it is
the other way round. For each ``β`` the smallest ``σ`` that keeps the promised privacy follows from the
leakage bound (:mod:`flower_coded.codes.real.analog_privacy`); rounding noise is measured; the ``β`` with the
smallest error is taken, and refused if that error is larger than promised.

A promise counts with the worst places for liars and silent workers, and with liars who have read the code:
with keys, with lies as large as pass unnoticed once the worst fits are set aside; without, with as many lies
taken for honest results as there may be liars.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flower_coded.codes.real.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.real.analog_privacy import Leakage, noise_scale_for, worst_leakage
from flower_coded.codes.real.verification_keys import passing_factor
from flower_coded.errors import ParameterError
from flower_coded.protocols.analog_computing.acceptance import Verification, check_numbers
from flower_coded.protocols.analog_computing.form_keys import SHARE_ROWS
from flower_coded.protocols.analog_computing.functions import PolynomialFunction
from flower_coded.protocols.analog_computing.precision import measure_precision, worst_amplification

__all__ = ["Plan", "plan_computation", "promised_errors", "tabulate_privacy"]

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
    error_bound : float
        Bound on the Frobenius norm of the error of one block's value, with the liars and silent workers the
        plan allows, placed as badly as possible and lying as cleverly as possible.
    honest_error : float
        The same with the same workers lost, if nobody lies.
    scale : float
        What both are relative to: ``‖X‖²`` of a block of the stated size and ``data_scale``.
    verification : "keys" or "code"
        Who tells liars from honest workers.
    num_byzantine, num_stragglers : int
        ``A`` and ``s``.
    """

    code: AnalogLagrangeCode
    leakage: Leakage
    error_bound: float
    honest_error: float
    scale: float
    verification: Verification
    num_byzantine: int
    num_stragglers: int

    @property
    def relative_error(self) -> float:
        """:attr:`error_bound` as a part of :attr:`scale`: what an accuracy is compared with."""
        return self.error_bound / self.scale

    @property
    def digits_lost(self) -> float:
        """Decimal digits of float64 that hiding and interpolating cost, if nobody lies."""
        return float(np.log10(self.honest_error / self.scale / (np.finfo(np.float64).eps / 2)))


def promised_errors(
    code: AnalogLagrangeCode,
    noise_std: FloatArray,
    *,
    num_byzantine: int,
    num_stragglers: int,
    verification: Verification,
) -> tuple[float, float]:
    """Bound the error of a block's value before anything is sent: against liars, and if nobody lies.

    With keys, results that fit their keys worst are set aside where that is needed, so that a liar who is
    left fits as well as an honest worker whose result deviates by ``‖σ_p‖``, and errs by at most 4.5 times
    that but once in a million (when it happens the result's own bound says so). Without keys the residual
    may hold as much as all rounding together, and ``A`` more workers cannot be relied on.

    Parameters
    ----------
    code : AnalogLagrangeCode
        With ``β`` and ``σ``.
    noise_std : ndarray of shape (u, h), float64
        Rounding noise of a worker's result.
    num_byzantine, num_stragglers : int
        ``A`` and ``s``.
    verification : "keys" or "code"
        Who tells liars.

    Returns
    -------
    tuple of (float, float)
        Frobenius norms.

    Examples
    --------
    >>> code = AnalogLagrangeCode(num_workers=31, num_blocks=1, num_colluders=4)
    >>> numbers = {"num_byzantine": 4, "num_stragglers": 2}
    >>> keys, honest = promised_errors(code, np.full((5, 5), 1e-9), verification="keys", **numbers)
    >>> alone, _ = promised_errors(code, np.full((5, 5), 1e-9), verification="code", **numbers)
    >>> honest < keys < alone
    True
    """
    size = float(np.linalg.norm(noise_std))
    dropped = num_byzantine + num_stragglers
    amplification = worst_amplification(code, dropped)
    # A Gaussian norm passes its root mean square by a few of its largest deviations, hardly ever by more.
    honest = amplification * (size + _DEVIATIONS * float(noise_std.max()))
    if verification == "keys":
        # Σ|R_ji| over the A liars is at most √A ‖R_j‖; the amplification has a factor 1/√2 of its own.
        passing = passing_factor(2 * SHARE_ROWS, 1e-6)
        return honest + passing * math.sqrt(2.0 * num_byzantine) * size * amplification, honest
    # A lies may pass as honest results, so that as many more cannot be relied on.
    worst = worst_amplification(code, dropped + num_byzantine)
    return 2 * math.sqrt(2.0) * size * (math.sqrt(code.num_workers) + 6) * worst, honest


def plan_computation(
    code: AnalogLagrangeCode,
    function: PolynomialFunction,
    block_shape: tuple[int, int],
    *,
    max_bits: float,
    max_error: float = np.inf,
    num_byzantine: int = 0,
    num_stragglers: int = 0,
    verification: Verification = "keys",
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
    max_error : float
        The largest error bound of a block's value, in Frobenius norm.
    num_byzantine, num_stragglers : int
        ``A`` and ``s`` to be survived. Liars are among those who may pool shares: ``A ≤ t``.
    verification : "keys" or "code"
        Who tells liars; functions without a key have the code only.
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
        If ``A > t``, ``A + s > N - K`` with keys or ``2A + s > N - K`` without, or no ``β`` keeps both
        promises; the message names the error that can be kept.

    Examples
    --------
    >>> from flower_coded.protocols.analog_computing.functions import get_function
    >>> code = AnalogLagrangeCode(num_workers=31, num_blocks=3, num_colluders=3)
    >>> plan = plan_computation(code, get_function("gram"), (100, 10), max_bits=0.01, num_byzantine=3)
    >>> plan.leakage.bits <= 0.01, plan.honest_error < plan.error_bound < 1.0
    (True, True)
    """
    if function.form is None:
        verification = "code"
    code.check_pooling(num_byzantine)
    check_numbers(code, num_byzantine, num_stragglers, verification)
    plans = []
    for radius in radii:
        # Privacy is not traded: per radius the least noise that keeps it, then the radius by its error.
        noise_scale = noise_scale_for(replace(code, radius=radius), max_bits, data_bound=data_bound)
        candidate = replace(code, radius=radius, noise_scale=noise_scale)
        precision = measure_precision(
            candidate,
            function,
            block_shape,
            data_scale=data_bound if data_scale is None else data_scale,
            parameters=parameters,
        )
        errors = promised_errors(
            candidate,
            precision.noise_std,
            num_byzantine=num_byzantine,
            num_stragglers=num_stragglers,
            verification=verification,
        )
        plans.append((*errors, candidate))
    # Compared by the error against liars, since that is what is promised.
    error, honest, best = min(plans, key=lambda plan: plan[0])
    if error > max_error:
        raise ParameterError(
            "max_error",
            f"must be at least {error:.2g} at {max_bits:g} bits",
            max_error,
            hint="allow more bits, or use fewer blocks",
        )
    leakage = worst_leakage(best, data_bound=data_bound)
    scale = block_shape[0] * block_shape[1] * (data_bound if data_scale is None else data_scale) ** 2
    return Plan(best, leakage, error, honest, scale, verification, num_byzantine, num_stragglers)


def tabulate_privacy(
    code: AnalogLagrangeCode,
    function: PolynomialFunction,
    block_shape: tuple[int, int],
    bits: Sequence[float],
    **options: Any,
) -> list[Plan]:
    """Plan the same computation for several levels of privacy: the table of privacy against precision.

    ``options`` are those of :func:`plan_computation`.
    """
    return [plan_computation(code, function, block_shape, max_bits=each, **options) for each in bits]
