"""Both implementations of BLS12-381: the same tests over each, and over both together."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_ecc.optimized_bls12_381 import G1, add, multiply, normalize

from flower_coded.crypto.backends import Backend, available_backends, get_backend
from flower_coded.crypto.backends.affine import BASE_PRIME, add_many, is_on_curve, multi_scalar_multiply
from flower_coded.crypto.field_vectors import FIELD_MODULUS, from_ints, random_elements, to_ints
from flower_coded.errors import ParameterError, PointError

SCALARS = [0, 1, 2, 3, 255, 2**64, FIELD_MODULUS - 2, FIELD_MODULUS - 1]


@pytest.fixture(params=available_backends())
def backend(request: pytest.FixtureRequest) -> Backend:
    return get_backend(request.param)


def multiples(backend: Backend, factors: list[int]) -> list[object]:
    return [backend.multiply(backend.generator, factor) for factor in factors]


def test_get_backend__prefers_arkworks_and_refuses_other_names() -> None:
    assert get_backend().name == available_backends()[0]
    assert get_backend("py_ecc") is get_backend("py_ecc")
    assert repr(get_backend("py_ecc")) == "get_backend('py_ecc')"
    with pytest.raises(ParameterError, match="must be one of"):
        get_backend("openssl")


def test_available_backends__leaves_out_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flower_coded.crypto.backends.find_spec", lambda name: None)
    assert available_backends() == ("py_ecc",)


@pytest.mark.parametrize("scalar", SCALARS)
def test_multiply__agrees_between_backends(scalar: int) -> None:
    encodings = {name: get_backend(name) for name in available_backends()}
    in_g1 = {b.compress(b.multiply(b.generator, scalar)) for b in encodings.values()}
    assert len(in_g1) == 1
    if scalar in (0, 2, FIELD_MODULUS - 1):
        in_g2 = {b.compress_g2(b.multiply_g2(b.generator_g2, scalar)) for b in encodings.values()}
        assert len(in_g2) == 1


def test_points__travel_between_backends() -> None:
    source, target = get_backend("py_ecc"), get_backend()
    points = [*multiples(source, [1, 5, FIELD_MODULUS - 4]), source.identity]
    data = source.to_affine_bytes(points)
    assert target.to_affine_bytes(target.from_affine_bytes(data)) == data
    assert source.from_affine_bytes(target.to_affine_bytes(target.from_affine_bytes(data))) == points
    for point in points:
        assert target.compress(target.decompress(source.compress(point))) == source.compress(point)
    point_g2 = source.multiply_g2(source.generator_g2, 9)
    moved = target.decompress_g2(source.compress_g2(point_g2))
    back = source.decompress_g2(target.compress_g2(moved))
    assert source.compress_g2(back) == source.compress_g2(point_g2)


def test_group_operations__follow_the_exponents(backend: Backend) -> None:
    five, seven, twelve = multiples(backend, [5, 7, 12])
    assert backend.equal(backend.add(five, seven), twelve)
    assert backend.equal(backend.add(five, backend.negate(five)), backend.identity)
    assert backend.equal(backend.add(five, backend.identity), five)
    assert not backend.equal(five, seven)
    sums = backend.add_many([five, five, backend.identity], [five, backend.negate(five), seven])
    ten = backend.multiply(backend.generator, 10)
    expected = [ten, backend.identity, seven]
    assert all(backend.equal(got, wanted) for got, wanted in zip(sums, expected, strict=True))
    four, six = (backend.multiply_g2(backend.generator_g2, factor) for factor in (4, 6))
    two = backend.multiply_g2(backend.generator_g2, 2)
    assert backend.compress_g2(backend.add_g2(four, two)) == backend.compress_g2(six)


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.one_of(st.sampled_from(SCALARS), st.integers(0, FIELD_MODULUS - 1))),
        min_size=1,
        max_size=9,
    )
)
@pytest.mark.parametrize("name", available_backends())
def test_msm__follows_the_exponents(name: str, terms: list[tuple[int, int]]) -> None:
    backend = get_backend(name)
    points = multiples(backend, [factor % FIELD_MODULUS for factor, _ in terms])
    result = backend.msm(points, from_ints([scalar for _, scalar in terms]))
    exponent = sum(factor * scalar for factor, scalar in terms) % FIELD_MODULUS
    assert backend.equal(result, backend.multiply(backend.generator, exponent))


def test_msm__agrees_between_backends_on_many_points() -> None:
    generator = random.Random(7)
    factors = [generator.randrange(FIELD_MODULUS) for _ in range(40)]
    scalars = random_elements(40)
    exponent = sum(x * y for x, y in zip(factors, to_ints(scalars), strict=True)) % FIELD_MODULUS
    for name in available_backends():
        backend = get_backend(name)
        points = multiples(backend, factors)
        for used in (scalars, from_ints([value % 65536 for value in to_ints(scalars)])):
            exponent = sum(x * y for x, y in zip(factors, to_ints(used), strict=True)) % FIELD_MODULUS
            expected = backend.multiply(backend.generator, exponent)
            assert backend.equal(backend.msm(points, used), expected)


def test_msm__of_nothing_is_the_identity(backend: Backend) -> None:
    assert backend.equal(backend.msm([], random_elements(0)), backend.identity)


def test_msm__refuses_lists_of_different_lengths(backend: Backend) -> None:
    for count in (0, 1, 3):
        with pytest.raises(ParameterError, match="one for each point"):
            backend.msm([backend.generator, backend.generator], random_elements(count))


def test_scalars__of_r_or_more_are_refused(backend: Backend) -> None:
    beyond = random_elements(1)
    beyond[0] = 2**64 - 1
    with pytest.raises(ParameterError, match="smaller than r"):
        backend.msm([backend.generator], beyond)
    for scalar in (-1, FIELD_MODULUS):
        with pytest.raises(ParameterError, match="from 0 to r - 1"):
            backend.multiply(backend.generator, scalar)
        with pytest.raises(ParameterError, match="from 0 to r - 1"):
            backend.multiply_g2(backend.generator_g2, scalar)


def outside_the_subgroup() -> bytes:
    """Return a compressed point of the curve, x = 0 and y = 2, whose order is 3."""
    return bytes([0x80]) + bytes(47)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(48),
        get_backend("py_ecc").compress(get_backend("py_ecc").generator)[:-1],
        get_backend("py_ecc").compress(get_backend("py_ecc").generator) + b"\0",
        b"\0" + get_backend("py_ecc").compress(get_backend("py_ecc").generator),
        outside_the_subgroup(),
        bytes([0xC0]) + bytes(46) + b"\1",
        bytes([0xE0]) + bytes(47),
        b"\xff" * 48,
        (BASE_PRIME | 1 << 383).to_bytes(48, "big"),
        ((BASE_PRIME + 1) | 1 << 383).to_bytes(48, "big"),
        bytes([0x80]) + bytes(46) + b"\1",
        "a string",
    ],
    ids=[
        "empty",
        "zeros",
        "47",
        "49",
        "shifted",
        "subgroup",
        "inf-rest",
        "inf-sign",
        "ff",
        "p",
        "p+1",
        "off",
        "str",
    ],
)
def test_decompress__refuses_what_is_not_a_point_of_the_group(backend: Backend, data: bytes) -> None:
    with pytest.raises(PointError, match="a compressed point of G1"):
        backend.decompress(data)


@pytest.mark.parametrize(
    "data", [bytes(96), bytes([0xC0]) + bytes(94) + b"\1", bytes([0x80]) + bytes(95), b"x" * 95]
)
def test_decompress_g2__refuses_what_is_not_a_point_of_the_group(backend: Backend, data: bytes) -> None:
    with pytest.raises(PointError, match="a compressed point of G2"):
        backend.decompress_g2(data)


def test_from_affine_bytes__refuses_bad_points(backend: Backend) -> None:
    good = backend.to_affine_bytes([backend.generator])
    x = int.from_bytes(good[:48], "big")
    off_curve = good[:-1] + bytes([good[-1] ^ 1])
    too_large = (x + BASE_PRIME).to_bytes(48, "big") + good[48:]
    low_order = bytes(95) + b"\2"
    for bad in (off_curve, too_large, low_order, good[:-1]):
        with pytest.raises(PointError):
            backend.from_affine_bytes(good + bad)
    assert len(backend.from_affine_bytes(good + low_order, check_subgroup=False)) == 2


def test_hash_to_g1__reproduces_rfc_9380(backend: Backend) -> None:
    # RFC 9380, appendix J.9.1, first vector: x of the point for the empty message
    point = backend.hash_to_g1(b"", b"QUUX-V01-CS02-with-BLS12381G1_XMD:SHA-256_SSWU_RO_")
    expected = (
        "052926add2207b76ca4fa57a8734416c8dc95e24501772c814278700eed6d1e4e8cf62d9c09db0fac349612b759e79a1"
    )
    assert backend.to_affine_bytes([point])[:48].hex() == expected


def test_pairing_check__is_bilinear(backend: Backend) -> None:
    six, minus_two = multiples(backend, [6, FIELD_MODULUS - 2])
    three_g2 = backend.multiply_g2(backend.generator_g2, 3)
    assert backend.pairing_check([(six, backend.generator_g2), (minus_two, three_g2)])  # 6 * 1 = 2 * 3
    assert not backend.pairing_check([(six, three_g2), (minus_two, backend.generator_g2)])
    assert backend.pairing_check([])


def test_affine_arithmetic__agrees_with_py_ecc() -> None:
    generator = tuple(int(coordinate) for coordinate in normalize(G1))
    assert is_on_curve(generator)
    assert is_on_curve(None)
    assert not is_on_curve((generator[0] + BASE_PRIME, generator[1]))
    thrice = tuple(int(coordinate) for coordinate in normalize(multiply(G1, 3)))
    assert add_many(add_many([generator], [generator]), [generator]) == [thrice]
    result = multi_scalar_multiply([generator, thrice, None], [1000, 2**40 + 1, 5])
    expected = normalize(add(multiply(G1, 1000), multiply(G1, 3 * (2**40 + 1))))
    assert result == tuple(int(coordinate) for coordinate in expected)
