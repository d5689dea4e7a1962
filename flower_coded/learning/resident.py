"""Images that stay on a GPU as long as their array lives: moved once, not in every round."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["joined_on"]

_kept: dict[tuple[int, str], tuple[weakref.ref[NDArray[np.float32]], Tensor]] = {}


def joined_on(arrays: Sequence[NDArray[np.float32]], device: torch.device) -> Tensor:
    """Copy arrays one behind the other into one tensor on a device.

    Parameters
    ----------
    arrays : sequence of ndarray of shape (N_j, ...)
        At least one. What is read-only is moved to a GPU once, and found there the next time; what may be
        written to may have changed, and is moved every time.
    device : torch.device

    Returns
    -------
    Tensor of shape (sum of N_j, ...)

    Examples
    --------
    >>> joined_on([np.zeros((2, 3), np.float32), np.ones((1, 3), np.float32)], torch.device("cpu")).shape
    torch.Size([3, 3])
    """
    if device.type == "cpu":
        return torch.from_numpy(np.concatenate(arrays))
    return torch.cat([_resident(array, device) for array in arrays])


def _resident(array: NDArray[np.float32], device: torch.device) -> Tensor:
    key = id(array), str(device)
    found = _kept.get(key)
    if found is not None and found[0]() is array:
        return found[1]
    tensor = torch.tensor(array, device=device)
    if not array.flags.writeable:
        _kept[key] = weakref.ref(array, lambda gone: _forget(key, gone)), tensor
    return tensor


def _forget(key: tuple[int, str], gone: weakref.ref[NDArray[np.float32]]) -> None:
    if key in _kept and _kept[key][0] is gone:  # the number may have been given to another array meanwhile
        del _kept[key]
