"""Running means and variances of batch normalization in an update whose entries are bounded.

Weights move by hundredths in a round; a running variance of inputs that nobody normalized moves by thousands.
Cut to one bound, the statistics never arrive, and the model answers as if untrained. Here they travel in
units in which a round's move is small whatever the inputs: a variance as the logarithm of its growth, a mean
in running standard deviations, compressed beyond one. The bound ``c`` of the weights stands for
:data:`MOST_GROWTH` of either, so that a liar's statistics are bounded too, and a variance never becomes
negative.

The mean over users is taken in these units: of variances it is the geometric one. Left out: statistics under
other names than torch's ``running_mean`` and ``running_var``, which are bounded as weights are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.wire.model_state import is_floating

__all__ = ["MOST_GROWTH", "from_bounded_units", "is_weight", "to_bounded_units"]

MOST_GROWTH = 8.0
"""Natural logarithm of the largest growth in a round: a factor of 2,981."""

_EPSILON = 1e-5  # as torch's batch normalization adds to a variance before dividing
Reals = NDArray[np.float64]


def to_bounded_units(update: Reals, before: Mapping[str, NDArray[Any]], bound: float) -> Reals:
    """Rewrite the entries of running statistics; those of weights stay.

    Parameters
    ----------
    update : ndarray of shape (L,), float64
        Difference of a trained state and ``before``, as
        :func:`~flower_coded.wire.model_state.flatten_update` gives it.
    before : state
        What was trained on.
    bound : float
        What entries will be cut to, in absolute value.

    Returns
    -------
    ndarray of shape (L,), float64

    Examples
    --------
    >>> state = {"bn.running_mean": np.zeros(1), "bn.running_var": np.ones(1)}
    >>> moved = np.array([30.0, 899.0])  # to a mean of 30 and a variance of 900
    >>> units = to_bounded_units(moved, state, bound=0.05)
    >>> bool((np.abs(units) < 0.05).all())
    True
    >>> from_bounded_units(units, state, bound=0.05).round(6)
    array([ 30., 899.])
    """
    result, unit = np.array(update, dtype=np.float64), bound / MOST_GROWTH
    for kind, place, own, variance in _statistics(before):
        if kind == "running_var":
            grown = np.maximum(own + result[place], 0.0) + _EPSILON
            result[place] = unit * np.log(grown / (own + _EPSILON))
        else:
            deviations = result[place] / np.sqrt(variance + _EPSILON)
            result[place] = unit * np.sign(deviations) * np.log1p(np.abs(deviations))
    return result


def from_bounded_units(update: Reals, before: Mapping[str, NDArray[Any]], bound: float) -> Reals:
    """Invert :func:`to_bounded_units`."""
    result, unit = np.array(update, dtype=np.float64), bound / MOST_GROWTH
    for kind, place, own, variance in _statistics(before):
        units = result[place] / unit
        if kind == "running_var":
            result[place] = np.maximum((own + _EPSILON) * np.exp(units) - _EPSILON, 0.0) - own
        else:
            deviations = np.sign(units) * np.expm1(np.abs(units))
            result[place] = deviations * np.sqrt(variance + _EPSILON)
    return result


def is_weight(state: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Tell which entries of a state's vector are bounded as they are.

    Returns
    -------
    ndarray of shape (L,), bool

    Examples
    --------
    >>> is_weight({"w": np.zeros(2), "running_var": np.ones(1)})
    array([ True,  True, False])
    """
    length = sum(array.size for array in state.values() if is_floating(array.dtype))
    weights = np.ones(length, dtype=bool)
    for _, place, _, _ in _statistics(state):
        weights[place] = False
    return weights


def _statistics(state: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, slice, Reals, Reals]]:
    """Yield kind, place in the vector, own values, and the variance beside them (ones if there is none)."""
    start = 0
    for name, array in state.items():
        if not is_floating(array.dtype):
            continue
        place = slice(start, start + array.size)
        start += array.size
        owner, _, kind = name.rpartition(".")
        if kind in {"running_mean", "running_var"}:
            own = array.astype(np.float64).ravel()
            beside = state.get(f"{owner}.running_var" if owner else "running_var")
            same = beside is not None and beside.shape == array.shape
            variance = beside.astype(np.float64).ravel() if same and beside is not None else np.ones_like(own)
            yield kind, place, own, np.maximum(variance, 0.0)
