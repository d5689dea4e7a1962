"""Untrusted arrays: what does not fit is refused with the right code, and nothing else is raised."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flower_coded.errors import MalformedReplyError
from flower_coded.wire.array_reading import ArrayTemplate, read_array, read_array_record, template_of


def template(shape: tuple[int, ...], dtype: Any, *, same_kind: bool = False) -> ArrayTemplate:
    return ArrayTemplate(shape, np.dtype(dtype), same_kind)


def raw(data: bytes, stype: str = "numpy.ndarray") -> Array:
    return Array("float32", (2,), stype, data)


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def refusal(array: Array, expected: ArrayTemplate) -> str:
    with pytest.raises(MalformedReplyError) as caught:
        read_array(array, expected)
    return caught.value.code


@given(
    array=hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.uint8, np.bool_, np.complex64]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False},
    ),
    is_fortran_order=st.booleans(),
)
def test_read_array__returns_what_was_sent(array: np.ndarray, is_fortran_order: bool) -> None:
    sent = np.asarray(array, order="F" if is_fortran_order else "C")
    received = read_array(Array(sent), template(array.shape, array.dtype))
    assert received.dtype == array.dtype
    np.testing.assert_array_equal(received, array)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_read_array__reads_both_header_versions(version: tuple[int, int]) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.arange(3.0), version=version)
    np.testing.assert_array_equal(read_array(raw(stream.getvalue()), template((3,), float)), [0, 1, 2])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "undecodable"),
        (b"garbage", "undecodable"),
        (npy(np.zeros(2, np.float32))[:-1], "undecodable"),
        (npy(np.zeros(2, np.float32)) + b"\0", "undecodable"),
        (npy(np.array([{}, []], dtype=object), allow_pickle=True), "dtype"),
        (npy(np.array(["ab", "cd"])), "dtype"),
        (npy(np.zeros(2, [("a", np.float32)])), "dtype"),
        (npy(np.zeros(2, "M8[s]")), "dtype"),
        (npy(np.zeros(3, np.float32)), "shape"),
        (npy(np.zeros((2, 1), np.float32)), "shape"),
        (npy(np.zeros((), np.float32)), "shape"),
        (npy(np.zeros(2, np.float64)), "dtype"),
        (npy(np.zeros(2, np.int32)), "dtype"),
        (npy(np.array([0, np.nan], np.float32)), "not-finite"),
        (npy(np.array([0, -np.inf], np.float32)), "not-finite"),
    ],
)
def test_read_array__names_the_fault(data: bytes, code: str) -> None:
    assert refusal(raw(data), template((2,), np.float32)) == code


def test_read_array__does_not_know_other_serializations() -> None:
    assert refusal(raw(npy(np.zeros(2, np.float32)), "pickle"), template((2,), np.float32)) == "undecodable"


def test_read_array__trusts_the_bytes_not_the_claims() -> None:
    liar = Array("float32", (2,), "numpy.ndarray", npy(np.zeros(5, np.int8)))
    assert refusal(liar, template((2,), np.float32)) == "shape"
    modest = Array("int8", (9, 9), "numpy.ndarray", npy(np.ones(2, np.float32)))
    np.testing.assert_array_equal(read_array(modest, template((2,), np.float32)), [1, 1])


def test_read_array__sets_no_memory_aside_for_a_claim() -> None:
    """A header that claims 8 TB costs less than a megabyte."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    tracemalloc.start()
    assert refusal(raw(data), template((10**12,), np.float64)) == "undecodable"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@given(
    position=st.integers(0, 127),
    replacement=st.binary(min_size=1, max_size=40),
    length=st.integers(0, 160),
)
def test_read_array__never_raises_anything_else_on_damaged_bytes(
    position: int, replacement: bytes, length: int
) -> None:
    data = bytearray(npy(np.zeros(8, np.float32)))
    data[position : position + len(replacement)] = replacement
    expected = template((8,), np.float32)
    try:
        received = read_array(raw(bytes(data[:length])), expected)
    except MalformedReplyError:
        return
    assert received.shape == (8,)
    assert received.dtype == np.float32
    assert np.isfinite(received).all()


@pytest.mark.parametrize(
    "literal", [b"-" * 9000 + b"1", b"(" * 5000, b"{'descr': [[[[0]]]]}", b"'a'*", b"{1:"]
)
def test_read_array__survives_a_header_made_to_break_the_parser(literal: bytes) -> None:
    data = b"\x93NUMPY\x01\x00" + len(literal).to_bytes(2, "little") + literal
    assert refusal(raw(data), template((8,), np.float32)) == "undecodable"


def test_read_array__converts_within_a_kind_where_allowed() -> None:
    wide = Array(np.array([1.5, -2.0]))
    received = read_array(wide, template((2,), np.float32, same_kind=True))
    assert received.dtype == np.float32
    np.testing.assert_array_equal(received, np.float32([1.5, -2]))
    assert refusal(wide, template((2,), np.float32)) == "dtype"
    assert refusal(wide, template((2,), np.int64, same_kind=True)) == "dtype"


def test_read_array__refuses_what_does_not_survive_the_conversion() -> None:
    assert refusal(Array(np.array([1e300])), template((1,), np.float32, same_kind=True)) == "not-finite"
    assert refusal(Array(np.array([2**40])), template((1,), np.int32, same_kind=True)) == "dtype"


def test_read_array_record__demands_exactly_the_names() -> None:
    expected = template_of({"a": np.zeros(1), "b": np.zeros(2)})
    record = ArrayRecord({"b": Array(np.ones(2)), "a": Array(np.ones(1))})
    assert list(read_array_record(record, expected)) == ["a", "b"]
    for wrong in ({"a": np.ones(1)}, {"a": np.ones(1), "b": np.ones(2), "c": np.ones(1)}, {}):
        with pytest.raises(MalformedReplyError) as caught:
            read_array_record(ArrayRecord({name: Array(each) for name, each in wrong.items()}), expected)
        assert caught.value.code == "keys"


def test_read_array_record__keeps_a_peers_endless_names_out_of_the_log() -> None:
    record = ArrayRecord({f"{index}-" + "x" * 10_000: Array(np.ones(1)) for index in range(50)})
    with pytest.raises(MalformedReplyError, match="and 47 more") as caught:
        read_array_record(record, {})
    assert len(caught.value.reason) < 400


def test_template_of__describes_records_and_arrays_alike() -> None:
    state = {"w": np.zeros((2, 3), np.float32), "count": np.array(3)}
    assert template_of(ArrayRecord({k: Array(v) for k, v in state.items()})) == template_of(state)
