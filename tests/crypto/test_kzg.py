"""KZG openings: public test values, both backends, and everything that must not verify."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.crypto.backends import Backend, available_backends, get_backend
from flower_coded.crypto.field_vectors import FIELD_MODULUS, from_ints, random_elements, to_ints
from flower_coded.crypto.kzg import Opening, open_at, verify_opening
from flower_coded.crypto.kzg_positions import PositionWitness, open_position, verify_position
from flower_coded.crypto.polynomials import divide, evaluate, interpolate, subtract_product, vanishing
from flower_coded.crypto.srs import ReferenceString, generate_reference_string
from flower_coded.errors import ParameterError, PointError

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "kzg" / "vectors.json").read_text()
)
# One case of each outcome for the slow backend: a pairing takes it the better part of a second.
FEW = ("correct_proof_3_3", "incorrect_proof_4_4", "invalid_commitment_2")
CASES = [
    (name, case)
    for name in available_backends()
    for case in VECTORS["cases"]
    if name != "py_ecc" or case["name"] in FEW
]


@cache
def ceremony(name: str, setup: str = "ceremony") -> ReferenceString:
    points, points_g2 = (
        tuple(bytes.fromhex(point) for point in VECTORS[setup][group])
        for group in ("g1_monomial", "g2_monomial")
    )
    backend = get_backend(name)
    if name != "py_ecc":
        return ReferenceString.from_compressed(points, points_g2, backend=backend)
    read = tuple(map(backend.decompress, points))
    return ReferenceString(backend, read, tuple(map(backend.decompress_g2, points_g2)))


@cache
def known_string() -> ReferenceString:
    return generate_reference_string(6, size_g2=4, draw_below=lambda bound: 424242)


def committed(reference: ReferenceString, values: list[int]) -> Any:
    return reference.backend.msm(reference.powers[: len(values)], from_ints(values))


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}-{case['name']}" for name, case in CASES])
def test_verify_opening__reproduces_public_test_values(name: str, case: dict[str, Any]) -> None:
    reference = ceremony(name)
    decompress = reference.backend.decompress
    point, value = int(case["z"], 16), int(case["y"], 16)

    def verify() -> bool:
        commitment, proof = (decompress(bytes.fromhex(case[field])) for field in ("commitment", "proof"))
        return verify_opening(reference, commitment, Opening((point,), (value,), proof))

    if case["valid"] is None:
        with pytest.raises(PointError):
            verify()
    else:
        assert verify() is case["valid"]


def test_commit__reproduces_public_commitments_to_a_constant_and_to_x() -> None:
    reference = ceremony(available_backends()[0])
    (twos,) = [case for case in VECTORS["cases"] if "twos_poly" in case["name"] and case["valid"]]
    assert reference.backend.compress(committed(reference, [2])).hex() == twos["commitment"]
    opening = open_at(
        reference, from_ints([0, 1]), [7]
    )  # the polynomial x at 7 is 7, and (x - 7) / (x - 7) = 1
    assert opening.values == (7,)
    assert reference.backend.equal(opening.witness, reference.backend.generator)
    assert verify_opening(reference, reference.powers[1], opening)


def test_openings__verify_under_a_string_of_unknown_beta() -> None:
    reference = ceremony(available_backends()[0], "testing")
    values = [3, 1, 4, 1, 5, 9]
    opening = open_at(reference, from_ints(values), [10, FIELD_MODULUS - 1])
    assert opening.values == (951413, evaluate(values, -1))
    assert verify_opening(reference, committed(reference, values), opening)


@settings(max_examples=15)
@given(st.sets(st.integers(0, FIELD_MODULUS - 1), min_size=1, max_size=3), st.integers(1, 6))
def test_openings__of_sets_verify_and_nothing_else_does(points: set[int], length: int) -> None:
    reference = known_string()
    vector = random_elements(length)
    commitment = committed(reference, to_ints(vector))
    opening = open_at(reference, vector, sorted(points))
    assert opening.values == tuple(evaluate(to_ints(vector), point) for point in sorted(points))
    assert verify_opening(reference, commitment, opening)
    changed = ((opening.values[0] + 1) % FIELD_MODULUS, *opening.values[1:])
    assert not verify_opening(reference, commitment, replace(opening, values=changed))
    other = reference.backend.add(commitment, reference.backend.generator)
    assert not verify_opening(reference, other, opening)
    shifted = reference.backend.add(opening.witness, reference.backend.generator)
    assert not verify_opening(reference, commitment, replace(opening, witness=shifted))


def test_openings__travel_between_backends() -> None:
    ours = known_string()
    theirs = ReferenceString.from_bytes(ours.to_bytes(), digest=ours.digest, backend=get_backend("py_ecc"))
    opening = open_at(theirs, from_ints([1, 2, 3]), [5, 6])
    moved = ours.backend.decompress(theirs.backend.compress(opening.witness))
    assert verify_opening(ours, committed(ours, [1, 2, 3]), replace(opening, witness=moved))


@pytest.mark.parametrize(
    ("points", "values"),
    [((), ()), ((1, 1), (2, 2)), ((1,), (2, 3)), ((FIELD_MODULUS,), (1,)), ((1,), (-1,))],
)
def test_opening__refuses_points_and_values_out_of_range(
    points: tuple[int, ...], values: tuple[int, ...]
) -> None:
    with pytest.raises(ParameterError):
        Opening(points, values, None)


def test_openings__refuse_what_is_too_long_for_the_string() -> None:
    reference = known_string()
    with pytest.raises(ParameterError, match="vector"):
        open_at(reference, random_elements(7), [1])
    opening = open_at(reference, random_elements(6), [1, 2, 3, 4])
    with pytest.raises(ParameterError, match="at most 3"):
        verify_opening(reference, reference.backend.generator, opening)


@settings(max_examples=10)
@given(st.integers(0, 5), st.integers(1, 6))
def test_positions__verify_and_no_other_value_or_place_does(position: int, length: int) -> None:
    reference = known_string()
    vector = random_elements(length)
    commitment = committed(reference, to_ints(vector))
    witness = open_position(reference, vector, position)
    value = to_ints(vector[position])[0] if position < length else 0
    assert verify_position(reference, commitment, position, value, witness)
    assert not verify_position(reference, commitment, position, (value + 1) % FIELD_MODULUS, witness)
    assert not verify_position(reference, commitment, (position + 1) % 6, value, witness)
    other = reference.backend.add(commitment, reference.backend.generator)
    assert not verify_position(reference, other, position, value, witness)


def test_positions__fail_when_the_lower_part_reaches_the_position() -> None:
    # The cheat moves x**2 from its place into the lower part, so that the entry at 2 reads 0; the shifted
    # commitment would need a power past the end of the string.
    reference = known_string()
    honest = from_ints([5, 6, 7])
    cheat = open_position(reference, from_ints([5, 6, 0]), 2)
    low = committed(reference, [5, 6, 7])
    forged = replace(cheat, low=low)
    assert not verify_position(reference, committed(reference, to_ints(honest)), 2, 0, forged)


@pytest.mark.parametrize("field", ["low", "high", "shifted", "quotient", "low_value", "high_value"])
def test_positions__fail_when_any_part_of_the_witness_is_changed(field: str) -> None:
    reference = known_string()
    backend = reference.backend
    vector = from_ints([1, 2, 3, 4])
    witness = open_position(reference, vector, 1)
    old = getattr(witness, field)
    new = (old + 1) % FIELD_MODULUS if field.endswith("value") else backend.add(old, backend.generator)
    assert not verify_position(
        reference, committed(reference, [1, 2, 3, 4]), 1, 2, replace(witness, **{field: new})
    )


def test_positions__witness_takes_256_bytes_and_malformed_ones_are_refused() -> None:
    reference = known_string()
    backend: Backend = reference.backend
    witness = open_position(reference, from_ints([1, 2, 3, 4]), 1)
    data = witness.to_bytes(backend)
    assert len(data) == 256
    assert PositionWitness.from_bytes(data, backend).to_bytes(backend) == data
    read = PositionWitness.from_bytes(data, backend)
    assert verify_position(reference, committed(reference, [1, 2, 3, 4]), 1, 2, read)
    for bad in (data[:-1], data + b"\0", data[:-32] + b"\xff" * 32):
        with pytest.raises(ParameterError):
            PositionWitness.from_bytes(bad, backend)
    with pytest.raises(PointError):
        PositionWitness.from_bytes(bytes([0x80]) + bytes(47) + data[48:], backend)


@pytest.mark.parametrize("position", [-1, 6])
def test_positions__outside_the_string_are_refused(position: int) -> None:
    with pytest.raises(ParameterError, match="position"):
        open_position(known_string(), from_ints([1]), position)


@given(
    st.lists(st.integers(0, FIELD_MODULUS - 1), min_size=1, max_size=6),
    st.sets(st.integers(0, 99), min_size=1),
)
@settings(max_examples=20)
def test_polynomials__divide_interpolate_and_evaluate_consistently(
    values: list[int], points: set[int]
) -> None:
    divisor = vanishing(sorted(points))
    quotient, remainder = divide(values, divisor)
    assert len(remainder) < len(divisor)
    back = subtract_product(remainder, [FIELD_MODULUS - x for x in quotient], divisor)
    assert [*back, *[0] * (len(values) - len(back))] == values
    places = list(range(len(values)))
    found = interpolate(places, values)
    assert [evaluate(found, place) for place in places] == values
