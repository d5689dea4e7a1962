"""Implementations of BLS12-381 behind one interface: ``py_ecc`` (always there) and ``arkworks`` (fast)."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from flower_coded.crypto.backends.base import AFFINE_BYTES, G1_BYTES, G2_BYTES, Backend, Point, PointG2
from flower_coded.errors import ParameterError

__all__ = [
    "AFFINE_BYTES",
    "G1_BYTES",
    "G2_BYTES",
    "Backend",
    "Point",
    "PointG2",
    "available_backends",
    "get_backend",
]


def available_backends() -> tuple[str, ...]:
    """Return the names of the backends that are installed, the fastest first.

    Examples
    --------
    >>> "py_ecc" in available_backends()
    True
    """
    return ("arkworks", "py_ecc") if find_spec("py_arkworks_bls12381") else ("py_ecc",)


def get_backend(name: str | None = None) -> Backend:
    """Return a backend by name; None chooses the fastest that is installed.

    Parameters
    ----------
    name : {"py_ecc", "arkworks"} or None

    Raises
    ------
    ParameterError
        If no backend of that name is installed.

    Examples
    --------
    >>> get_backend("py_ecc")
    get_backend('py_ecc')
    """
    return _make_backend(available_backends()[0] if name is None else name)


@cache
def _make_backend(name: str) -> Backend:
    if name not in available_backends():
        raise ParameterError("name", f"must be one of {', '.join(available_backends())}", name)
    if name == "arkworks":
        from flower_coded.crypto.backends.arkworks import ArkworksBackend

        return ArkworksBackend()
    from flower_coded.crypto.backends.reference import PyEccBackend

    return PyEccBackend()
