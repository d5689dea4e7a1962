"""Opening a committed vector, read as a polynomial, at points: Witness and Verify by pairing.

The commitment to v is the commitment of Kate, Zaverucha and Goldberg [1]_ to ``phi(x) = sum_j v_j x**j``.
That phi takes given values on a set S is proved by one group element, the commitment to ``(phi - I) / Z``,
where I interpolates the values and Z vanishes on S; one check with two pairings suffices whatever the size of
S. A vector encoded as values of phi at chosen points is thereby opened position by position; entries that are
coefficients are opened by :mod:`flower_coded.crypto.kzg_positions`.

References
----------
.. [1] A. Kate, G. M. Zaverucha, I. Goldberg, "Constant-size commitments to polynomials and their
   applications", ASIACRYPT 2010; sets of points: section 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flower_coded.crypto.backends import Point, PointG2
from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, check_elements, from_ints, to_ints
from flower_coded.crypto.polynomials import divide, evaluate, interpolate, subtract, vanishing
from flower_coded.crypto.srs import ReferenceString
from flower_coded.errors import ParameterError

__all__ = ["Opening", "open_at", "verify_opening"]


@dataclass(frozen=True)
class Opening:
    """Values of a committed polynomial with their proof.

    Parameters
    ----------
    points : tuple of int, length s
        Distinct elements of F_r.
    values : tuple of int, length s
        The polynomial there.
    witness : point of G1
        48 bytes when compressed, whatever s is.
    """

    points: tuple[int, ...]
    values: tuple[int, ...]
    witness: Point

    def __post_init__(self) -> None:
        for name, numbers in (("points", self.points), ("values", self.values)):
            if not all(0 <= number < FIELD_MODULUS for number in numbers):
                raise ParameterError(name, "must be from 0 to r - 1", numbers)
        if not 1 <= len(self.points) == len(set(self.points)) == len(self.values):
            raise ParameterError(
                "points", "must be distinct, at least one, and as many as values", self.points
            )


def open_at(reference: ReferenceString, vector: FieldArray, points: Sequence[int]) -> Opening:
    """Evaluate the committed polynomial at points and prove it (Witness).

    Parameters
    ----------
    reference : ReferenceString
    vector : ndarray of shape (n, 4), uint64
        The coefficients, constant first; at most ``reference.size``.
    points : sequence of int, length s
        Distinct elements of F_r.

    Returns
    -------
    Opening

    Raises
    ------
    ParameterError
        If the vector is too long or the points are not distinct elements.

    Examples
    --------
    >>> from flower_coded.crypto.srs import generate_reference_string
    >>> reference = generate_reference_string(4, size_g2=3)
    >>> vector = from_ints([1, 2, 3])
    >>> commitment = reference.backend.msm(reference.powers[:3], vector)
    >>> opening = open_at(reference, vector, [10, 2])
    >>> opening.values, verify_opening(reference, commitment, opening)
    ((321, 17), True)
    """
    if check_elements(vector).ndim != 2 or len(vector) > reference.size:
        raise ParameterError("vector", f"must have shape (at most {reference.size}, 4)", vector.shape)
    coefficients = to_ints(vector)
    values = [evaluate(coefficients, point) for point in points]
    opening = Opening(tuple(points), tuple(values), reference.backend.identity)
    # phi - I vanishes on S, so Z divides it: the quotient exists exactly if the values are right.
    difference = subtract(coefficients, interpolate(points, values))
    quotient, remainder = divide(difference, vanishing(points))
    assert not remainder
    witness = reference.backend.msm(reference.powers[: len(quotient)], from_ints(quotient))
    return Opening(opening.points, opening.values, witness)


def verify_opening(reference: ReferenceString, commitment: Point, opening: Opening) -> bool:
    """Tell whether an opening is right: ``e(C - I(beta) g, h) = e(witness, Z(beta) h)``.

    Parameters
    ----------
    reference : ReferenceString
        With more powers in G2 than the opening has points, and at least as many in G1.
    commitment : point of G1
    opening : Opening

    Raises
    ------
    ParameterError
        If the reference string is too short for so many points.
    """
    size = min(len(reference.powers_g2) - 1, reference.size)
    if len(opening.points) > size:
        raise ParameterError(
            "number of points", f"must be at most {size} with this reference string", len(opening.points)
        )
    backend = reference.backend
    # The verifier needs I only in the exponent: s terms, whatever the length of the vector.
    interpolated = interpolate(opening.points, opening.values)
    values = backend.msm(reference.powers[: len(interpolated)], from_ints(interpolated))
    commitment_minus_values = backend.add(commitment, backend.negate(values))
    divisor = _combine_g2(reference, vanishing(opening.points))
    return backend.pairing_check(
        [(commitment_minus_values, backend.generator_g2), (backend.negate(opening.witness), divisor)]
    )


def _combine_g2(reference: ReferenceString, coefficients: Sequence[int]) -> PointG2:
    backend = reference.backend
    total = backend.multiply_g2(reference.powers_g2[0], coefficients[0])
    for power, coefficient in zip(reference.powers_g2[1:], coefficients[1:], strict=False):
        total = backend.add_g2(total, backend.multiply_g2(power, coefficient))
    return total
