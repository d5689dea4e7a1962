"""Read an ``ArrayRecord`` from an untrusted peer: what it claims, what it holds, what is expected.

The header of every array is compared with what is expected before any memory is set aside for it, and the
bytes are never unpickled, so that a few bytes claiming terabytes cost nothing. Anything that does not fit
raises :class:`~flower_coded.errors.MalformedReplyError` and nothing else. What it leaves out: serialization
types other than Flower's own ``numpy.ndarray``.
"""

from __future__ import annotations

import io
import math
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from flower_coded.errors import MalformedReplyError, ParameterError
from flower_coded.wire.model_state import is_floating, named_dtype, read_state

__all__ = ["ArrayTemplate", "read_array", "read_array_record", "template_of"]

_NUMPY_STYPE = "numpy.ndarray"
# Everything NumPy's header reader was seen to raise on arbitrary bytes (it evaluates a Python literal).
_HEADER_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    ValueError,
    Warning,
)


@dataclass(frozen=True)
class ArrayTemplate:
    """What one array of a reply must look like.

    Parameters
    ----------
    shape : tuple of int
        Exact shape.
    dtype : dtype
        Exact type, or with ``same_kind`` the type it is converted to.
    same_kind : bool
        Accept another width of the same kind (float64 for float32; any integers or bools for integers), as
        long as every value survives the conversion: stays finite, or for integers stays equal.

    Examples
    --------
    >>> ArrayTemplate((2, 3), np.dtype(np.float32))
    ArrayTemplate(shape=(2, 3), dtype=dtype('float32'), same_kind=False)
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    same_kind: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(length) for length in self.shape))
        object.__setattr__(self, "dtype", np.dtype(self.dtype))


def template_of(
    state: Mapping[str, NDArray[Any]] | ArrayRecord, *, same_kind: bool = False
) -> dict[str, ArrayTemplate]:
    """Describe ``state``, so that replies can be compared with it.

    Parameters
    ----------
    state : mapping of str to ndarray, or ArrayRecord
        A model state of our own; it is trusted.
    same_kind : bool
        See :class:`ArrayTemplate`.

    Returns
    -------
    dict of str to ArrayTemplate
        In the order of ``state``.

    Examples
    --------
    >>> template_of({"weight": np.zeros((2, 3))})
    {'weight': ArrayTemplate(shape=(2, 3), dtype=dtype('float64'), same_kind=False)}
    """
    arrays = read_state(state) if isinstance(state, ArrayRecord) else state
    return {name: ArrayTemplate(each.shape, each.dtype, same_kind) for name, each in arrays.items()}


def read_array_record(record: ArrayRecord, template: Mapping[str, ArrayTemplate]) -> dict[str, NDArray[Any]]:
    """Check and decode a peer's record.

    Parameters
    ----------
    record : ArrayRecord
        As it came.
    template : mapping of str to ArrayTemplate
        Exactly the arrays that must be there.

    Returns
    -------
    dict of str to ndarray
        Read-only arrays in the template's order, all finite, of the template's types.

    Raises
    ------
    MalformedReplyError
        With code ``keys``, ``shape``, ``dtype``, ``not-finite`` or ``undecodable``.

    Examples
    --------
    >>> expected = template_of({"weight": np.zeros(2), "bias": np.zeros(1)})
    >>> read_array_record(ArrayRecord({"weight": Array(np.ones(2))}), expected)
    Traceback (most recent call last):
        ...
    flower_coded.errors.MalformedReplyError: array names differ: missing ['bias'], not expected []
    """
    missing = [name for name in template if name not in record]
    extra = [name for name in record if name not in template]
    if missing or extra:
        raise MalformedReplyError(
            "keys", f"array names differ: missing {_shortened(missing)}, not expected {_shortened(extra)}"
        )
    return {name: read_array(record[name], expected, name=name) for name, expected in template.items()}


def read_array(array: Array, expected: ArrayTemplate, *, name: str = "array") -> NDArray[Any]:
    """Check and decode one array of a peer.

    Parameters
    ----------
    array : Array
        As it came; neither its claims nor its bytes are trusted.
    expected : ArrayTemplate
        What it must be.
    name : str
        What to call it in the refusal.

    Returns
    -------
    ndarray of ``expected.shape`` and ``expected.dtype``
        Read-only; it shares the reply's memory where no conversion was needed.

    Raises
    ------
    MalformedReplyError
        With code ``shape``, ``dtype``, ``not-finite`` or ``undecodable``.

    Examples
    --------
    >>> read_array(Array(np.array([1.0, np.nan])), ArrayTemplate((2,), np.dtype(np.float64)), name="bias")
    Traceback (most recent call last):
        ...
    flower_coded.errors.MalformedReplyError: 1 of 2 values in 'bias' are not finite
    """
    shape, is_fortran_order, dtype, offset = _read_header(array, name)
    if shape != expected.shape:
        raise MalformedReplyError("shape", f"{name!r} has shape {shape}, expected {expected.shape}")
    if dtype != expected.dtype and not (expected.same_kind and _is_same_kind(dtype, expected.dtype)):
        raise MalformedReplyError("dtype", f"{name!r} has dtype {dtype}, expected {expected.dtype}")
    num_values = math.prod(shape)
    if len(array.data) - offset != num_values * dtype.itemsize:
        raise MalformedReplyError(
            "undecodable",
            f"{name!r} holds {len(array.data) - offset} bytes, expected {num_values * dtype.itemsize}",
        )
    values = np.frombuffer(array.data, dtype, count=num_values, offset=offset)
    values = _converted(values, expected.dtype, name)
    return values.reshape(shape, order="F" if is_fortran_order else "C")


def _read_header(array: Array, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, order, type and length of the header, from the bytes themselves."""
    if array.stype != _NUMPY_STYPE:
        raise MalformedReplyError(
            "undecodable", f"{name!r} is serialized as {str(array.stype)[:40]!r}, not {_NUMPY_STYPE!r}"
        )
    stream = io.BytesIO(array.data[: 1 << 16])  # NumPy refuses longer headers anyway
    try:
        version = np.lib.format.read_magic(stream)
        if version not in {(1, 0), (2, 0)}:
            raise ValueError(f"version {version}")
        read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        shape, is_fortran_order, dtype = read(stream)
    except _HEADER_ERRORS as error:
        raise MalformedReplyError(
            "undecodable", f"{name!r} is not a NumPy array: {type(error).__name__}"
        ) from error
    try:
        dtype = named_dtype(str(array.dtype), dtype)
    except ParameterError as error:
        raise MalformedReplyError("dtype", f"{name!r}: {error}") from error
    if dtype.hasobject or (dtype.kind not in "biufc" and not is_floating(dtype)):
        raise MalformedReplyError("dtype", f"{name!r} has dtype {str(dtype)[:40]}, which is not a number")
    return tuple(shape), bool(is_fortran_order), dtype, stream.tell()


def _is_same_kind(given: np.dtype[Any], expected: np.dtype[Any]) -> bool:
    if expected.kind in "biu":
        return given.kind in "biu"
    return given.kind == expected.kind or (is_floating(given) and is_floating(expected))


def _converted(values: NDArray[Any], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    if values.dtype == dtype:
        converted = values
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            converted = values.astype(dtype)
        if dtype.kind in "biu" and not np.array_equal(converted, values):
            raise MalformedReplyError("dtype", f"{name!r} holds {values.dtype} values that {dtype} does not")
    num_bad = 0 if dtype.kind in "biu" else converted.size - int(np.count_nonzero(np.isfinite(converted)))
    if num_bad:
        raise MalformedReplyError(
            "not-finite", f"{num_bad} of {converted.size} values in {name!r} are not finite"
        )
    return converted


def _shortened(names: list[str]) -> list[str]:
    """At most three names of at most 60 characters: a peer chooses them, and they end up in the log."""
    shown = [name[:60] for name in names[:3]]
    return shown + ([f"and {len(names) - 3} more"] if len(names) > 3 else [])
