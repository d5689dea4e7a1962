"""One code path for NumPy arrays and torch tensors.

The codes of this package are written once, against the functions that NumPy and torch spell alike
(``matmul``, ``linalg.svd``, ``linalg.qr``, ``fft.ifft``, ``where`` …). This module holds the few steps that
differ: finding the namespace of an array, and moving the constant matrices of a code to where the data is.
torch is imported only by whoever names one of its devices; whoever passes a tensor has already done it.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

__all__ = ["Array", "constant_like", "namespace_of", "on_device", "take_along", "to_numpy"]

# A NumPy array or a torch tensor. The two share no nominal type, and this layer must not import torch.
Array = Any


def namespace_of(array: Array) -> Any:
    """Give the module whose functions work on ``array``: ``numpy`` or ``torch``.

    Examples
    --------
    >>> namespace_of(np.zeros(2)).__name__
    'numpy'
    """
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(array, torch.Tensor) else np


def constant_like(constant: np.ndarray[Any, Any], array: Array) -> Array:
    """Give ``constant`` as an array of the same kind, and on the same device, as ``array``.

    Examples
    --------
    >>> constant_like(np.eye(2), np.zeros(3)).shape
    (2, 2)
    """
    namespace = namespace_of(array)
    if namespace is np:
        return constant
    return namespace.from_numpy(np.array(constant)).to(array.device)


def take_along(array: Array, indices: Array, axis: int) -> Array:
    """Pick entries along one axis, as ``numpy.take_along_axis`` does (broadcasting the other axes).

    Examples
    --------
    >>> take_along(np.array([[3, 1, 2]]), np.array([[2, 0]]), axis=1)
    array([[2, 3]])
    """
    namespace = namespace_of(array)
    if namespace is np:
        return np.take_along_axis(array, indices, axis)
    return namespace.take_along_dim(array, indices, axis)


def to_numpy(array: Array) -> np.ndarray[Any, Any]:
    """Bring an array of either kind to the CPU as a NumPy array.

    Examples
    --------
    >>> to_numpy(np.arange(2))
    array([0, 1])
    """
    return np.asarray(array if namespace_of(array) is np else array.detach().cpu().numpy())


def on_device(array: np.ndarray[Any, Any], device: str) -> Array:
    """Hand an array to where it is computed on: ``"cpu"`` is NumPy, anything else a torch device.

    Parameters
    ----------
    array : ndarray
        Any numbers.
    device : str
        ``"cpu"``, ``"cuda"``, …; ``"cpu:0"`` is torch on the CPU.

    Returns
    -------
    ndarray or torch tensor
        The same memory where it stays on the CPU.

    Examples
    --------
    >>> on_device(np.zeros(2), "cpu")
    array([0., 0.])
    """
    if device == "cpu":
        return array
    import torch

    return torch.from_numpy(array).to(device)
