"""Opening single entries of a committed vector: Witness and Verify for position i.

In ``C = sum_j v_j beta**j g`` the entries are coefficients, and no value of ``phi(x) = sum_j v_j x**j`` shows
one of them alone [1]_. So phi is cut around position i, ``phi = low + v_i x**i + x**(i+1) high``, and the
prover commits to low, to high and to ``x**(n-i) low``. The last can only be committed to if low has degree
below i, for the reference string ends at ``beta**(n-1)`` [2]_. Both identities are checked at a random point,
which the hash of all commitments fixes (Fiat and Shamir), by one opening of a random combination. A witness
is four points and two scalars, 256 bytes, for vectors of any length.

The degree argument needs that n is the number of powers that *anybody* has: a shortened copy of a longer
string proves nothing.

References
----------
.. [1] A. Kate, G. M. Zaverucha, I. Goldberg, "Constant-size commitments to polynomials and their
   applications", ASIACRYPT 2010.
.. [2] A. Chiesa, Y. Hu, M. Maller, P. Mishra, N. Vesely, N. Ward, "Marlin", EUROCRYPT 2020: degree bounds by
   shifting.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from flower_coded.crypto.backends import G1_BYTES, Backend, Point
from flower_coded.crypto.field_products import weighted_sum
from flower_coded.crypto.field_vectors import (
    ELEMENT_BYTES,
    FIELD_MODULUS,
    FieldArray,
    concatenate_zeros,
    from_bytes,
    from_ints,
    to_bytes,
    to_ints,
    zeros,
)
from flower_coded.crypto.kzg import Opening, open_at, verify_opening
from flower_coded.crypto.polynomials import evaluate
from flower_coded.crypto.srs import ReferenceString
from flower_coded.errors import ParameterError

__all__ = ["PositionWitness", "open_position", "verify_position"]

_DOMAIN = b"FLOWER-CODED-V01-POSITION"


@dataclass(frozen=True)
class PositionWitness:
    """The proof that a committed vector has a given entry.

    Parameters
    ----------
    low, high, shifted : point of G1
        Commitments to the parts below and above the position, and to the lower one moved to the string's end.
    low_value, high_value : int
        Both parts at the challenge.
    quotient : point of G1
        Proof of all values at the challenge.
    """

    low: Point
    high: Point
    shifted: Point
    low_value: int
    high_value: int
    quotient: Point

    def to_bytes(self, backend: Backend) -> bytes:
        """Write the witness in 256 bytes."""
        points = (self.low, self.high, self.shifted, self.quotient)
        return b"".join(map(backend.compress, points)) + to_bytes(
            from_ints([self.low_value, self.high_value])
        )

    @classmethod
    def from_bytes(cls, data: bytes, backend: Backend) -> PositionWitness:
        """Read 256 bytes; whatever is not exactly a witness raises PointError or ParameterError."""
        if len(data) != 4 * G1_BYTES + 2 * ELEMENT_BYTES:
            raise ParameterError("length of a witness", "must be 256 bytes", len(data))
        pieces = (data[i : i + G1_BYTES] for i in range(0, 4 * G1_BYTES, G1_BYTES))
        low, high, shifted, quotient = map(backend.decompress, pieces)
        low_value, high_value = to_ints(from_bytes(data[4 * G1_BYTES :]))
        return cls(low, high, shifted, low_value, high_value, quotient)


def open_position(reference: ReferenceString, vector: FieldArray, position: int) -> PositionWitness:
    """Prove the entry of a committed vector at a position.

    Parameters
    ----------
    reference : ReferenceString
    vector : ndarray of shape (m, 4), uint64
        At most ``reference.size`` elements of F_r.
    position : int
        From 0 to ``reference.size - 1``; past the vector's end its entries are 0.

    Returns
    -------
    PositionWitness

    Examples
    --------
    >>> from flower_coded.crypto.srs import generate_reference_string
    >>> reference = generate_reference_string(4)
    >>> vector = from_ints([11, 22, 33])
    >>> commitment = reference.backend.msm(reference.powers[:3], vector)
    >>> witness = open_position(reference, vector, 1)
    >>> [verify_position(reference, commitment, 1, value, witness) for value in (22, 23)]
    [True, False]
    """
    size, backend = reference.size, reference.backend
    _check_position(reference, position)
    whole = concatenate_zeros(vector, size)
    parts = zeros(3, size)  # low, high, shifted
    parts[0, :position] = whole[:position]
    parts[1, : size - position - 1] = whole[position + 1 :]
    parts[2, size - position :] = whole[:position]
    # phi = low + v x**i + x**(i+1) high, and shifted = x**(n-i) low, which shows that deg low < i.
    points = [backend.msm(reference.powers, part) for part in parts]
    commitment = backend.msm(reference.powers, whole)
    value = to_ints(whole[position])[0]
    challenge = _challenge(reference, position, value, [commitment, *points], [])
    at_challenge = [evaluate(to_ints(part), challenge) for part in parts[:2]]
    mixing = _challenge(reference, position, value, [commitment, *points], at_challenge)
    # One opening at the challenge proves all four values: a false one survives the mixing with 4/r.
    combined = weighted_sum(_powers(mixing), np.concatenate([whole[np.newaxis], parts]))
    quotient = open_at(reference, combined, [challenge]).witness
    low, high, shifted = points
    return PositionWitness(low, high, shifted, at_challenge[0], at_challenge[1], quotient)


def verify_position(
    reference: ReferenceString, commitment: Point, position: int, value: int, witness: PositionWitness
) -> bool:
    """Tell whether the committed vector has ``value``, an integer in ``[0, r)``, at ``position``."""
    _check_position(reference, position)
    backend = reference.backend
    points = [commitment, witness.low, witness.high, witness.shifted]
    challenge = _challenge(reference, position, value, points, [])
    mixing = _challenge(reference, position, value, points, [witness.low_value, witness.high_value])
    # What the claimed entry and the parts say the commitment is at the challenge.
    middle = value * pow(challenge, position, FIELD_MODULUS)
    above = witness.high_value * pow(challenge, position + 1, FIELD_MODULUS)
    shifted = witness.low_value * pow(challenge, reference.size - position, FIELD_MODULUS)
    values = [witness.low_value + middle + above, witness.low_value, witness.high_value, shifted]
    combined_value = sum(x * y for x, y in zip(_powers(mixing), values, strict=True)) % FIELD_MODULUS
    combined = backend.msm(points, from_ints(_powers(mixing)))
    return verify_opening(reference, combined, Opening((challenge,), (combined_value,), witness.quotient))


def _powers(base: int) -> list[int]:
    return [pow(base, power, FIELD_MODULUS) for power in range(4)]


def _check_position(reference: ReferenceString, position: int) -> None:
    if not 0 <= position < reference.size:
        raise ParameterError("position", f"must be from 0 to {reference.size - 1}", position)


def _challenge(
    reference: ReferenceString, position: int, value: int, points: list[Point], values: list[int]
) -> int:
    """Hash everything that is fixed so far to an element of F_r (64 bytes reduced: as good as uniform)."""
    hashed = hashlib.sha512(_DOMAIN + bytes.fromhex(reference.digest))
    hashed.update(position.to_bytes(8, "little") + len(values).to_bytes(8, "little"))
    hashed.update(to_bytes(from_ints([value, *values])))
    hashed.update(b"".join(map(reference.backend.compress, points)))
    return int.from_bytes(hashed.digest(), "little") % FIELD_MODULUS
