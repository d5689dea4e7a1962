"""Model states as vectors and back: what of a model is shared, in which order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from flower_coded.errors import ParameterError
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters

__all__ = ["add_to_state", "flatten_update", "reference_size", "update_length"]

State = Mapping[str, NDArray[np.generic]]


def update_length(state: State) -> int:
    """Return L, the number of floating-point entries; integer arrays (counters of batches) are not shared.

    Examples
    --------
    >>> update_length({"weight": np.zeros((2, 3)), "num-batches": np.zeros((), dtype=np.int64)})
    6
    """
    return sum(array.size for array in state.values() if array.dtype.kind == "f")


def flatten_update(trained: ArrayRecord, received: State) -> NDArray[np.float64]:
    """Return ``trained - received`` as a vector, array after array in the order received.

    Parameters
    ----------
    trained : ArrayRecord
        What a train function sent back.
    received : mapping of str to ndarray
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
    >>> from flwr.app import Array
    >>> before = {"weight": np.array([1.0, 2.0])}
    >>> flatten_update(ArrayRecord({"weight": Array(np.array([1.5, 2.0]))}), before)
    array([0.5, 0. ])
    """
    if set(trained) != set(received):
        raise ParameterError("arrays", f"must be named {sorted(received)}", sorted(trained))
    pieces = []
    for name, before in received.items():
        if before.dtype.kind == "f":
            after = trained[name].numpy()
            if after.shape != before.shape:
                raise ParameterError(name, f"must have shape {before.shape}", after.shape)
            pieces.append((after.astype(np.float64) - before.astype(np.float64)).ravel())
    return np.concatenate(pieces) if pieces else np.zeros(0)


def add_to_state(state: State, update: NDArray[np.float64]) -> dict[str, NDArray[np.generic]]:
    """Add a vector to the floating-point arrays of a state.

    Examples
    --------
    >>> add_to_state({"weight": np.array([1.0, 2.0])}, np.array([0.5, -1.0]))
    {'weight': array([1.5, 1. ])}
    """
    result, start = {}, 0
    for name, array in state.items():
        if array.dtype.kind != "f":
            result[name] = array
            continue
        piece = update[start : start + array.size].reshape(array.shape)
        result[name] = (array.astype(np.float64) + piece).astype(array.dtype)
        start += array.size
    return result


def reference_size(parameters: RampKrumParameters) -> int:
    """Return the size of the reference string to use: a power of two, so that few files serve many models.

    Examples
    --------
    >>> from flower_coded.crypto.ramp_sharing import RampSharing
    >>> sharing = RampSharing(num_users=8, num_parts=2, num_colluders=1)
    >>> reference_size(RampKrumParameters(sharing, num_selected=2, length=1300))
    1024
    """
    return 1 << max(parameters.largest_chunk - 1, 1).bit_length()
