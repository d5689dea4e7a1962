"""Stacked model states: one dict of arrays whose leading axis counts the models of an ensemble.

Expanding what ``start(initial_arrays=...)`` was given, taking models out, and averaging what users sent.
Averages are summed in float64 and returned in the type they came in. What it leaves out: any check of the
values; they come from :mod:`flower_coded.wire.validation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError
from flower_coded.wire.model_state import State

__all__ = [
    "expand_initial",
    "is_stacked",
    "select_models",
    "weighted_average",
]


def is_stacked(state: Mapping[str, NDArray[Any]], num_models: int) -> bool:
    """Tell whether every array has a leading axis of ``num_models``.

    Examples
    --------
    >>> is_stacked({"w": np.zeros((4, 3)), "count": np.zeros(4)}, 4)
    True
    >>> is_stacked({"w": np.zeros((4, 3)), "count": np.zeros(())}, 4)
    False
    """
    return bool(state) and all(each.ndim >= 1 and each.shape[0] == num_models for each in state.values())


def expand_initial(
    given: Mapping[str, NDArray[Any]],
    num_models: int,
    *,
    kind: str = "auto",
    own_states: Mapping[str, NDArray[Any]] | None = None,
) -> State:
    """Turn the arrays a run starts from into a stacked state.

    Parameters
    ----------
    given : mapping of str to ndarray
        One model's state or a stacked one.
    num_models : int
        ``m``.
    kind : {"auto", "single", "stacked"}
        What ``given`` is. ``"auto"`` takes it as stacked where every array has a leading axis of ``m`` and
        one has three axes: a stacked matrix. One linear layer with ``m`` outputs has the leading axes of an
        ensemble and no third one; so has an ensemble of vectors, for which to say ``"stacked"``.
    own_states : mapping of str to ndarray, optional
        A stacked state with an initialization of its own for every model; used in place of copies of a
        single ``given``.

    Returns
    -------
    dict of str to ndarray of shape (m, ...)

    Raises
    ------
    ParameterError
        If ``given`` holds nothing, is not stacked though ``kind`` says so, or differs from ``own_states``.

    Examples
    --------
    >>> expand_initial({"w": np.array([1.0, 2.0])}, 3)["w"].tolist()
    [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]
    """
    if not given:
        raise ParameterError("initial_arrays", "must hold at least one array", dict(given))
    stacked = is_stacked(given, num_models)
    if stacked and kind == "auto" and own_states is None and max(each.ndim for each in given.values()) < 3:
        kind = "single"  # a linear layer with as many outputs as there are models looks like an ensemble
    if kind == "stacked" and not stacked:
        shapes = {name: each.shape for name, each in given.items()}
        raise ParameterError("initial_arrays", f"must have a leading axis of {num_models} models", shapes)
    if own_states is not None:
        shapes = {name: each.shape[1:] for name, each in own_states.items()}
        if {name: each.shape for name, each in given.items()} == shapes and kind != "stacked":
            return {name: np.array(each) for name, each in own_states.items()}
    if stacked and kind != "single":
        return {name: np.array(each) for name, each in given.items()}
    if own_states is not None:
        raise ParameterError(
            "initial_arrays",
            "must have the names and shapes of one of the models in initial_states, or of all stacked",
            {name: each.shape for name, each in given.items()},
        )
    return {name: np.repeat(each[None], num_models, axis=0) for name, each in given.items()}


def select_models(stacked: Mapping[str, NDArray[Any]], models: int | Sequence[int]) -> State:
    """Take one model out (its own shapes), or several (stacked).

    Examples
    --------
    >>> stacked = {"w": np.arange(6).reshape(3, 2)}
    >>> select_models(stacked, 1)["w"].tolist(), select_models(stacked, [0, 2])["w"].tolist()
    ([2, 3], [[0, 1], [4, 5]])
    """
    chosen = models if isinstance(models, int) else list(models)
    return {name: each[chosen] for name, each in stacked.items()}


def weighted_average(states: Sequence[Mapping[str, NDArray[Any]]], weights: Sequence[float]) -> State:
    """Average states, summed in float64 in the order given.

    Parameters
    ----------
    states : sequence of mapping of str to ndarray
        At least one, all with the same names, shapes and types.
    weights : sequence of float
        One positive weight per state; only their ratios matter.

    Returns
    -------
    dict of str to ndarray
        Of the states' types; integers (a batch counter, say) are rounded to the nearest, ties to even.

    Raises
    ------
    ParameterError
        If there is no state, or not one positive weight for each.

    Examples
    --------
    >>> weighted_average([{"w": np.float32([0.0])}, {"w": np.float32([4.0])}], [1, 3])["w"]
    array([3.], dtype=float32)
    """
    if not states or len(states) != len(weights) or not all(weight > 0 for weight in weights):
        raise ParameterError("weights", f"must be {len(states)} positive numbers", list(weights))
    shares = np.asarray(weights, np.float64) / float(np.sum(weights, dtype=np.float64))
    return {name: _average([state[name] for state in states], shares) for name in states[0]}


def _average(arrays: Sequence[NDArray[Any]], shares: NDArray[np.float64]) -> NDArray[Any]:
    dtype = arrays[0].dtype
    total = np.zeros(arrays[0].shape, np.result_type(dtype, np.float64))
    for array, share in zip(arrays, shares, strict=True):
        total += array * share
    return (np.rint(total) if dtype.kind in "biu" else total).astype(dtype)
