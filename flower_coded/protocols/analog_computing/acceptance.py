"""What a master looks at before any decoding: how many may fail, and each result's form and size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from flower_coded.codes.real.analog_lagrange import AnalogLagrangeCode
from flower_coded.errors import ParameterError
from flower_coded.protocols.analog_computing.messages import Refused

__all__ = ["Verification", "check_numbers", "drop_far", "usable_results"]

ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]

Verification = Literal["keys", "code"]
"""Who tells liars from honest workers."""

_MOST_ABOVE_MEDIAN = 1e15
"""Honest results have one size; beyond this many times the median not even rounding of the others is left."""


def check_numbers(
    code: AnalogLagrangeCode, num_byzantine: int, num_stragglers: int, verification: Verification
) -> None:
    """Refuse more liars and silent workers than there are spare results for.

    Raises
    ------
    ParameterError
        If ``A + s > N - K`` with keys, ``2A + s > N - K`` without.

    Examples
    --------
    >>> code = AnalogLagrangeCode(num_workers=11, num_blocks=1, num_colluders=4)      # K = 9
    >>> check_numbers(code, 2, 0, "keys")
    >>> check_numbers(code, 2, 0, "code")
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: num_byzantine must satisfy 2 A + s ≤ N - K = 2; received (2, 0) (use
    keys, more workers, fewer blocks or fewer colluders)
    """
    cost, hint = (1, "") if verification == "keys" else (2, "keys, ")
    if num_byzantine < 0 or cost * num_byzantine + num_stragglers > code.num_spare:
        raise ParameterError(
            "num_byzantine",
            f"must satisfy {'' if cost == 1 else '2 '}A + s ≤ N - K = {code.num_spare}",
            (num_byzantine, num_stragglers),
            hint=f"use {hint}more workers, fewer blocks or fewer colluders",
        )


def usable_results(
    results: Mapping[int, np.ndarray[Any, Any]], shape: tuple[int, ...], num_workers: int
) -> tuple[dict[int, ComplexArray], tuple[Refused, ...]]:
    """Sort results into usable ones and refused ones."""
    accepted: dict[int, ComplexArray] = {}
    refused = []
    for worker, values in sorted(results.items()):
        if not 0 <= worker < num_workers:
            refused.append(Refused(worker, "is not one of the workers"))
        elif values.shape != shape:
            refused.append(Refused(worker, f"sent shape {values.shape}, expected {shape}"))
        elif values.dtype not in (np.complex128, np.float64):
            refused.append(Refused(worker, f"sent {values.dtype}, expected complex128"))
        elif not np.isfinite(values).all():
            refused.append(Refused(worker, "sent NaN or infinity"))
        else:
            accepted[worker] = values.astype(np.complex128)
    return accepted, tuple(refused)


def drop_far(accepted: dict[int, ComplexArray]) -> tuple[dict[int, ComplexArray], tuple[Refused, ...]]:
    """Drop results so large that adding them to others would leave nothing of those."""
    sizes = {worker: float(abs(values).max(initial=0.0)) for worker, values in accepted.items()}
    largest = _MOST_ABOVE_MEDIAN * float(np.median(list(sizes.values()) or [0.0]))
    far = [worker for worker, size in sizes.items() if size > largest]
    refused = tuple(Refused(worker, f"sent {sizes[worker]:.1e}, far from everybody else") for worker in far)
    return {worker: values for worker, values in accepted.items() if worker not in far}, refused
