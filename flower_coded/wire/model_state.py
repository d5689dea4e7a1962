"""A model's state as a record, and as one vector: written here once, for both sides.

A *state* is a dict of arrays by name. Its *vector* holds the floating-point entries, array after array in the
state's order; integer and bool arrays (counters of batches, masks) are no part of it and stay as they are.
``bfloat16`` counts as floating where the package ``ml_dtypes`` is there: Flower's bytes do not carry the
type, so it is read from the name that travels beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from flower_coded.errors import ParameterError

__all__ = [
    "State",
    "add_to_state",
    "check_parameters",
    "flatten_update",
    "is_floating",
    "read_state",
    "to_array_record",
    "update_length",
    "update_rows",
]

State = dict[str, NDArray[Any]]

_BFLOAT16, _NUMPY_STYPE = "bfloat16", "numpy.ndarray"
_TREES = "the bytes of a tree model have no mean: XGBoost keeps Flower's own FedXgbBagging, not wrapped"


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Tell whether entries of this type are parameters; ``bfloat16`` is no NumPy float, yet it is one.

    Examples
    --------
    >>> is_floating(np.dtype(np.float16)), is_floating(np.dtype(np.int64))
    (True, False)
    """
    return dtype.kind == "f" or dtype.name == _BFLOAT16


def named_dtype(claimed: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of an array whose header says ``dtype`` and whose Array says ``claimed``.

    Raises
    ------
    ParameterError
        If it is ``bfloat16`` and there is no package that knows it.
    """
    if claimed != _BFLOAT16 or dtype.kind != "V" or dtype.itemsize != 2:
        return dtype
    try:
        from ml_dtypes import bfloat16  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        hint = "pip install ml_dtypes, or send float32"
        raise ParameterError("arrays", "must have a type that NumPy knows", _BFLOAT16, hint=hint) from error
    known: np.dtype[Any] = np.dtype(bfloat16)
    return known


def read_state(record: ArrayRecord) -> State:
    """Decode a record of our own, or of the server's; what a stranger sent is for ``read_array_record``.

    Raises
    ------
    ParameterError
        If something is serialized otherwise than as a NumPy array.

    Examples
    --------
    >>> read_state(ArrayRecord({"w": Array(np.ones(2))}))
    {'w': array([1., 1.])}
    """
    state = {}
    for name, array in record.items():
        if array.stype != _NUMPY_STYPE:  # a pickled estimator, say
            raise ParameterError("initial_arrays", "must hold NumPy arrays", _Named(name, array.stype))
        values = array.numpy()
        dtype = named_dtype(str(array.dtype), values.dtype)
        state[name] = values if dtype == values.dtype else values.view(dtype)
    return state


def to_array_record(state: Mapping[str, NDArray[Any]]) -> ArrayRecord:
    """Serialize a state; the arrays keep their types and shapes, 0-d ones too."""
    return ArrayRecord({name: Array(np.asarray(each)) for name, each in state.items()})


def check_parameters(state: Mapping[str, NDArray[Any]], *, needs_floating: bool = False) -> None:
    """Refuse, by name, arrays that a strategy cannot work with.

    Raises
    ------
    ParameterError
        If an array holds complex numbers or no numbers at all; with ``needs_floating``, if no array holds
        floating-point numbers: an update of integers (the bytes of a tree model, say) is never applied.

    Examples
    --------
    >>> check_parameters({"w": np.zeros(2, np.complex64)})
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: initial_arrays must hold real numbers; received 'w' of type complex64
    """
    for name, array in state.items():
        if array.dtype.kind not in "biuf" and not is_floating(array.dtype):
            raise ParameterError("initial_arrays", "must hold real numbers", _Named(name, array.dtype))
    if needs_floating and update_length(state) == 0:
        types = {name: str(array.dtype) for name, array in state.items()}
        requirement = "must hold floating-point numbers to be trained"
        raise ParameterError("initial_arrays", requirement, types or "no array", hint=_TREES)


def update_length(state: Mapping[str, NDArray[Any]]) -> int:
    """Return L, the length of the vector.

    Examples
    --------
    >>> update_length({"weight": np.zeros((2, 3)), "num-batches": np.zeros((), dtype=np.int64)})
    6
    """
    return sum(array.size for array in state.values() if is_floating(array.dtype))


def update_rows(
    states: Sequence[Mapping[str, NDArray[Any]]], before: Mapping[str, NDArray[Any]]
) -> NDArray[np.floating[Any]]:
    """Return one row ``state - before`` per state.

    Parameters
    ----------
    states : sequence of n states
        With the names and shapes of ``before``.
    before : state
        What they are compared with.

    Returns
    -------
    ndarray of shape (n, L)
        In the widest of the floating types of ``before``, at least float32.

    Examples
    --------
    >>> update_rows([{"w": np.array([3.0, 1.0])}], {"w": np.array([1.0, 1.0])})
    array([[2., 0.]])
    """
    floats = {name: array for name, array in before.items() if is_floating(array.dtype)}
    # Half precision carries weights, not differences of weights: its 11 bits are spent on the common part.
    dtype = np.result_type(np.float32, *(array.dtype for array in floats.values()))
    rows = np.empty((len(states), update_length(before)), dtype)
    for row, state in zip(rows, states, strict=True):
        start = 0
        for name, sent in floats.items():
            piece = row[start : start + sent.size]
            np.subtract(state[name].ravel().astype(dtype), sent.ravel().astype(dtype), out=piece)
            start += sent.size
    return rows


def flatten_update(trained: ArrayRecord, received: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Return the vector ``trained - received`` on the side of a client, whose app may have erred.

    Parameters
    ----------
    trained : ArrayRecord
        What a train function sent back.
    received : state
        What it was sent.

    Returns
    -------
    ndarray of shape (L,), float64

    Raises
    ------
    ParameterError
        If names or shapes differ.

    Examples
    --------
    >>> before = {"weight": np.array([1.0, 2.0])}
    >>> flatten_update(ArrayRecord({"weight": Array(np.array([1.5, 2.0]))}), before)
    array([0.5, 0. ])
    """
    if set(trained) != set(received):
        raise ParameterError("arrays", f"must be named {sorted(received)}", sorted(trained))
    state = read_state(trained)
    pieces = []
    for name, before in received.items():
        if state[name].shape != before.shape:
            raise ParameterError(name, f"must have shape {before.shape}", state[name].shape)
        if is_floating(before.dtype):
            pieces.append((state[name].astype(np.float64) - before.astype(np.float64)).ravel())
    return np.concatenate(pieces) if pieces else np.zeros(0)


def add_to_state(state: Mapping[str, NDArray[Any]], update: NDArray[np.floating[Any]]) -> State:
    """Add a vector to the floating-point arrays of a state, in float64, and keep every array's type.

    Examples
    --------
    >>> add_to_state({"weight": np.array([1.0, 2.0])}, np.array([0.5, -1.0]))
    {'weight': array([1.5, 1. ])}
    """
    result, start = {}, 0
    for name, array in state.items():
        if not is_floating(array.dtype):
            result[name] = array
            continue
        piece = update[start : start + array.size].reshape(array.shape)
        result[name] = np.asarray(array.astype(np.float64) + piece).astype(array.dtype)
        start += array.size
    return result


class _Named:
    """An array in a refusal: its name and type, without its values."""

    def __init__(self, name: str, kind: object) -> None:
        self.text = f"{name!r} of type {kind}"

    def __repr__(self) -> str:
        return self.text
