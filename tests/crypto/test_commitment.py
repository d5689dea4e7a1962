"""Vector commitments: binding to every entry, linear, chunked, blinded, checked one by one and in batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.crypto.backends import available_backends, get_backend
from flower_coded.crypto.commitment import Claim, VectorCommitment
from flower_coded.crypto.commitment_basis import CommitmentBasis
from flower_coded.crypto.field_products import matmul_constant
from flower_coded.crypto.field_vectors import (
    FIELD_MODULUS,
    FieldArray,
    add,
    from_ints,
    from_signed_int64,
    random_elements,
    to_ints,
    zeros,
)
from flower_coded.crypto.srs import generate_reference_string
from flower_coded.errors import ParameterError, PointError

BETA = 1234567
WEIGHTS = [[1, 1, 1], [1, -2, 4], [1, 3, 9]]  # a share's: powers of the points 1, -2, 3


@cache
def scheme(
    length: int = 7, chunk: int | None = 3, is_blinded: bool = False, backend: str | None = None
) -> VectorCommitment:
    reference = generate_reference_string(8, backend=get_backend(backend), draw_below=lambda bound: BETA - 2)
    return VectorCommitment(reference, length=length, chunk=chunk, is_blinded=is_blinded)


def claims_of(commitment: VectorCommitment) -> list[Claim]:
    """Return true claims about three shares of a dealer's three vectors."""
    vectors = random_elements(3, commitment.length)
    blindings = commitment.draw_blindings(3) if commitment.is_blinded else None
    commitments = commitment.commit(vectors, blindings)
    shares = matmul_constant(WEIGHTS, vectors)
    blinded = [None] * 3 if blindings is None else list(matmul_constant(WEIGHTS, blindings))
    return [Claim(shares[i], WEIGHTS[i], commitments, blinded[i]) for i in range(3)]


@pytest.mark.parametrize("name", available_backends())
@pytest.mark.parametrize("values", [[5, 0, -3, 2, 1, 1, -9], [2**250, 1, 2, 3, 4, 5, 6], [7] * 7, [0] * 7])
def test_commit__is_the_value_at_beta_in_the_exponent(values: list[int], name: str) -> None:
    commitment = scheme(backend=name)
    backend = commitment.backend
    (points,) = commitment.commit(from_ints([[value % FIELD_MODULUS for value in values]]))
    for chunk, point in zip((values[:3], values[3:6], values[6:]), points, strict=True):
        exponent = sum(value * BETA**power for power, value in enumerate(chunk)) % FIELD_MODULUS
        assert backend.equal(point, backend.multiply(backend.generator, exponent))


@settings(max_examples=20)
@given(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=6), st.sampled_from([1, 2**60, 2**235]))
def test_basis__short_and_signed_scalars_give_the_same_point(values: list[int], factor: int) -> None:
    commitment = scheme(chunk=7)
    scalars = from_ints([value * factor % FIELD_MODULUS for value in values])
    basis, backend = commitment.basis, commitment.backend
    expected = backend.msm(commitment.reference.powers[: len(values)], scalars)
    assert backend.equal(basis.multiply(scalars), expected)


def test_basis__shifts_short_signed_scalars_only(monkeypatch: pytest.MonkeyPatch) -> None:
    commitment = scheme(chunk=7)
    basis = CommitmentBasis(commitment.backend, commitment.reference.powers)
    seen: list[int] = []
    original = type(commitment.backend)._msm

    def counting(self: object, points: list[object], scalars: FieldArray) -> object:
        seen.append(max(value.bit_length() for value in to_ints(scalars)))
        return original(self, points, scalars)  # type: ignore[arg-type]

    monkeypatch.setattr(type(commitment.backend), "_msm", counting)
    basis.multiply(from_signed_int64([-5, 100]))
    assert max(seen) == 8  # 100 + 2**7, beside the sum of the points, whose scalars are 1
    with pytest.raises(ParameterError, match="number of scalars"):
        basis.multiply(zeros(9))


@given(st.lists(st.integers(-(2**70), 2**70), min_size=2, max_size=2))
@settings(max_examples=10)
def test_combine__follows_the_vectors(weights: list[int]) -> None:
    commitment = scheme()
    vectors = random_elements(2, 7)
    combined = commitment.combine(weights, commitment.commit(vectors))
    (expected,) = commitment.commit(matmul_constant([weights], vectors))
    assert commitment.to_bytes([combined]) == commitment.to_bytes([expected])


@pytest.mark.parametrize("name", available_backends())
@pytest.mark.parametrize("is_blinded", [False, True])
@pytest.mark.parametrize("chunk", [3, 7])
def test_claims__hold_for_shares_and_fail_for_any_change(chunk: int, is_blinded: bool, name: str) -> None:
    commitment = scheme(chunk=chunk, is_blinded=is_blinded, backend=name)
    claims = claims_of(commitment)
    assert commitment.verify_batch(claims)
    assert commitment.verify(claims[2])
    changed = claims[1].vector.copy()
    changed[6] = add(changed[6], from_ints([1])[0])
    wrong = replace(claims[1], vector=changed)
    assert not commitment.verify(wrong)
    assert not commitment.verify_batch([claims[0], wrong, claims[2]])


def test_verify_batch__does_not_let_two_errors_cancel() -> None:
    commitment = scheme()
    first, second, _ = claims_of(commitment)
    one = zeros(7)
    one[0, 0] = 1
    minus_one = from_signed_int64([-1, 0, 0, 0, 0, 0, 0])
    raised = replace(first, vector=add(first.vector, one))
    lowered = replace(second, vector=add(second.vector, minus_one))
    assert not commitment.verify_batch([raised, lowered])


def test_blinding__is_part_of_the_claim() -> None:
    commitment = scheme(is_blinded=True)
    claim = claims_of(commitment)[1]
    assert claim.blinding is not None
    wrong = replace(claim, blinding=add(claim.blinding, from_ints([0, 0, 1])))
    assert not commitment.verify(wrong)
    assert not commitment.verify_batch([wrong])


def test_blinding__hides_a_guessable_vector() -> None:
    guess = zeros(1, 7)
    plain, blinded = scheme(), scheme(is_blinded=True)
    assert plain.to_bytes(plain.commit(guess)) == plain.to_bytes(plain.commit(guess))
    committed = {blinded.to_bytes(blinded.commit(guess, blinded.draw_blindings(1))) for _ in range(3)}
    assert len(committed) == 3


def test_blinding__must_fit_the_scheme() -> None:
    vectors = random_elements(1, 7)
    with pytest.raises(ParameterError, match="exactly when the scheme blinds"):
        scheme().commit(vectors, random_elements(1, 3))
    with pytest.raises(ParameterError, match="exactly when the scheme blinds"):
        scheme(is_blinded=True).commit(vectors)
    with pytest.raises(ParameterError, match="must have shape"):
        scheme(is_blinded=True).commit(vectors, random_elements(1, 2))


@pytest.mark.parametrize("false_ones", [(), (0,), (4,), (1, 2), (0, 3, 5), (0, 1, 2, 3, 4, 5)])
def test_find_false__names_exactly_the_false_claims(false_ones: tuple[int, ...]) -> None:
    commitment = scheme()
    claims = claims_of(commitment) + claims_of(commitment)
    for index in false_ones:
        changed = claims[index].vector.copy()
        changed[index, 3] ^= np.uint64(1)
        claims[index] = replace(claims[index], vector=changed)
    assert commitment.find_false(claims) == false_ones


def test_verify_batch__of_no_claims_holds() -> None:
    assert scheme().verify_batch([])
    assert scheme().find_false([]) == ()


def test_threads__do_not_change_commitments() -> None:
    commitment = scheme()
    vectors = random_elements(2, 7)
    threaded = replace(commitment, num_threads=2)
    assert threaded.to_bytes(threaded.commit(vectors)) == commitment.to_bytes(commitment.commit(vectors))


def test_bytes__travel_between_backends() -> None:
    ours, theirs = scheme(), scheme(backend="py_ecc")
    vectors = random_elements(2, 7)
    data = ours.to_bytes(ours.commit(vectors))
    assert len(data) == 2 * 3 * 48
    assert data == theirs.to_bytes(theirs.commit(vectors))
    assert theirs.to_bytes(theirs.from_bytes(data, 2)) == data


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data + data[:48],
        lambda data: b"",
        lambda data: bytes([0x80]) + bytes(47) + data[48:],  # of order 3
        lambda data: data[:48] + bytes(48) + data[96:],
    ],
)
def test_from_bytes__refuses_malformed_commitments(spoil: Callable[[bytes], bytes]) -> None:
    commitment = scheme()
    data = commitment.to_bytes(commitment.commit(random_elements(1, 7)))
    with pytest.raises(PointError):
        commitment.from_bytes(spoil(data), 1)


def test_claims__that_do_not_fit_are_refused() -> None:
    commitment = scheme()
    claim = claims_of(commitment)[0]
    beyond = claim.vector.copy()
    beyond[2] = 2**64 - 1
    short = [points[:2] for points in claim.commitments]
    for wrong, reason in (
        (replace(claim, vector=claim.vector[:6]), "claim.vector"),
        (replace(claim, vector=beyond), "smaller than r"),
        (replace(claim, weights=[1, 1]), "claim.weights"),
        (replace(claim, weights=[], commitments=[]), "claim.weights"),
        (replace(claim, commitments=short), "3 points"),
        (replace(claim, blinding=zeros(3)), "exactly when"),
    ):
        for check in (commitment.verify, lambda one: commitment.verify_batch([claim, one])):
            with pytest.raises(ParameterError, match=reason):
                check(wrong)


def test_commit__refuses_vectors_of_another_length() -> None:
    with pytest.raises(ParameterError, match="vectors"):
        scheme().commit(random_elements(1, 6))
    with pytest.raises(ParameterError, match="weights"):
        scheme().combine([1], [])


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"length": 0}, "length"),
        ({"chunk": 0}, "chunk"),
        ({"chunk": 9}, "chunk"),
        ({"num_threads": 0}, "num_threads"),
    ],
)
def test_scheme__refuses_parameters_out_of_range(changes: dict[str, int], name: str) -> None:
    with pytest.raises(ParameterError) as refusal:
        replace(scheme(), **changes)  # type: ignore[arg-type]
    assert refusal.value.name == name


def test_scheme__takes_one_chunk_where_the_string_is_long_enough() -> None:
    reference = scheme().reference
    assert VectorCommitment(reference, length=8).num_chunks == 1
    assert VectorCommitment(reference, length=9).num_chunks == 2
    assert VectorCommitment(reference, length=3, chunk=8).chunk_size == 3


def test_basis__short_chunks_use_the_tables_of_longer_ones_where_there_are_any() -> None:
    reference = generate_reference_string(8)
    long = VectorCommitment(reference, length=8, with_tables=True)
    before = VectorCommitment(reference, length=3)
    vectors = from_ints([[1, 2, FIELD_MODULUS - 5]])
    (expected,) = before.commit(vectors)
    assert not before.basis.with_tables
    long.commit(from_ints([[1] * 8]))
    assert before.basis is long.basis
    (found,) = before.commit(vectors)
    assert reference.backend.equal(found[0], expected[0])
    assert not VectorCommitment(reference, length=3, with_tables=False).basis.with_tables
