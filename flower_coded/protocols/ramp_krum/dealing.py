"""From a quantized update to committed rows, from rows to everybody's shares, and to bytes.

All that is dealt are values of known combinations of committed rows
(:attr:`RampKrumParameters.polynomials`), so one way of evaluating, of writing and of checking serves all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.crypto.commitment import Claim
from flower_coded.crypto.field_products import matmul_constant
from flower_coded.crypto.field_vectors import (
    ELEMENT_BYTES,
    FieldArray,
    from_bytes,
    from_signed_int64,
    random_elements,
    to_bytes,
    zeros,
)
from flower_coded.crypto.ramp_embedding import evaluation_matrix
from flower_coded.errors import ParameterError
from flower_coded.protocols.ramp_krum.commitments import Commitments
from flower_coded.protocols.ramp_krum.families import SharedPolynomial
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.range_check import draw_range_masks

__all__ = [
    "Resources",
    "Share",
    "bytes_to_share",
    "draw_rows",
    "draw_slack",
    "row_claim",
    "share_claims",
    "share_rows",
    "share_to_bytes",
    "update_to_parts",
]

Share = Mapping[str, FieldArray]
"""What one user holds of one dealer: by polynomial, a row of shape (row_length, 4)."""


@dataclass(frozen=True)
class Resources:
    """What a step may use.

    Parameters
    ----------
    num_threads : int
        Threads over blocks, outside BLAS.
    device : str or None
        A torch device for products over the field; None stays in NumPy. The results are the same.
    """

    num_threads: int = 1
    device: str | None = None


def update_to_parts(parameters: RampKrumParameters, integers: NDArray[np.int64]) -> FieldArray:
    """Cut a quantized update into parts.

    Parameters
    ----------
    parameters : RampKrumParameters
    integers : ndarray of shape (L,), int64

    Returns
    -------
    ndarray of shape (K, part_length, 4), uint64

    Raises
    ------
    ParameterError
        If the length is not L or an entry exceeds the fixed point's range.
    """
    if integers.shape != (parameters.length,):
        raise ParameterError("integers", f"must have shape ({parameters.length},)", integers.shape)
    largest, limit = int(np.abs(integers).max()), parameters.fixed_point.max_integer
    if largest > limit:
        raise ParameterError("integers", f"must be at most {limit} in absolute value", largest)
    return parameters.sharing.split(from_signed_int64(integers))


def draw_slack(parameters: RampKrumParameters, integers: NDArray[np.int64]) -> FieldArray:
    """Return what completes the norm of every block to the bound.

    Parameters
    ----------
    parameters : RampKrumParameters
    integers : ndarray of shape (L,), int64
        The quantized update, no block beyond the bound.

    Returns
    -------
    ndarray of shape (num_slack_parts, slack_length, 4), uint64
        Empty in the paper's form.

    Raises
    ------
    ParameterError
        If a block exceeds the bound.
    """
    if parameters.is_paper_form:
        return zeros(0, 0)
    k, part = parameters.sharing.num_parts, parameters.part_length
    # Zeros past the update add nothing to the norm of the last block.
    padded = np.zeros(k * part, dtype=np.int64)
    padded[: len(integers)] = integers
    return from_signed_int64(parameters.norm_check.slack(padded.reshape(k, part)))


def draw_rows(parameters: RampKrumParameters, parts: FieldArray, slack: FieldArray) -> dict[str, FieldArray]:
    """Complete parts and slack to everything that is committed to: masks, range masks and blinding factors.

    Parameters
    ----------
    parameters : RampKrumParameters
    parts : ndarray of shape (K, part_length, 4), uint64
    slack : ndarray of shape (num_slack_parts, slack_length, 4), uint64
        From :func:`draw_slack`.

    Returns
    -------
    dict of str to ndarray of shape (num_rows, row_length, 4), uint64
        By family.
    """
    shape = (parameters.sharing.num_parts, parameters.part_length, 4)
    if parts.shape != shape:
        raise ParameterError("parts", f"must have shape {shape}", parts.shape)
    # Everything starts random: what is not overwritten below is a mask or a blinding factor.
    rows = {
        name: random_elements(family.num_rows, family.row_length)
        for name, family in parameters.families.items()
    }
    rows["update"][: shape[0], : shape[1]] = parts
    if not parameters.is_paper_form:
        rows["slack"][: len(slack), : parameters.slack_length] = slack
        rows["range"][: shape[0], : parameters.num_range_checks] = draw_range_masks(parameters)
    return rows


def share_rows(
    parameters: RampKrumParameters,
    rows: Mapping[str, FieldArray],
    users: Sequence[int],
    resources: Resources,
) -> dict[int, Share]:
    """Evaluate all polynomials at the points of some users.

    Parameters
    ----------
    parameters : RampKrumParameters
    rows : mapping of str to ndarray
        From :func:`draw_rows`.
    users : sequence of int
    resources : Resources

    Returns
    -------
    dict of int to Share
    """
    points = [parameters.sharing.points[user] for user in users]
    values = {
        polynomial.name: matmul_constant(
            evaluation_matrix(polynomial.basis, points),
            rows[polynomial.family.name][list(polynomial.rows)],
            num_threads=resources.num_threads,
            device=resources.device,
        )
        for polynomial in parameters.polynomials
    }
    return {user: {name: array[n] for name, array in values.items()} for n, user in enumerate(users)}


def share_to_bytes(parameters: RampKrumParameters, share: Share) -> bytes:
    """Write a share, polynomial after polynomial."""
    return b"".join(to_bytes(share[polynomial.name]) for polynomial in parameters.polynomials)


def bytes_to_share(parameters: RampKrumParameters, share_bytes: bytes) -> Share:
    """Read a share.

    Raises
    ------
    ParameterError
        If the length is wrong or an element is not canonical.
    """
    # The dealer chose these bytes: nothing is parsed before the length is known to fit.
    if len(share_bytes) != parameters.share_bytes:
        raise ParameterError("share", f"must be {parameters.share_bytes} bytes", len(share_bytes))
    share, start = {}, 0
    for polynomial in parameters.polynomials:
        stop = start + ELEMENT_BYTES * polynomial.family.row_length
        share[polynomial.name] = from_bytes(share_bytes[start:stop])
        start = stop
    return share


def share_claims(
    parameters: RampKrumParameters, user: int, share: Share, commitments: Commitments
) -> dict[str, list[Claim]]:
    """Return what a share claims of its dealer's commitments, by family (the paper's equations 2 and 3)."""
    claims: dict[str, list[Claim]] = {}
    for polynomial in parameters.polynomials:
        claim = row_claim(parameters, polynomial, user, share[polynomial.name], [commitments])
        claims.setdefault(polynomial.family.name, []).append(claim)
    return claims


def row_claim(
    parameters: RampKrumParameters,
    polynomial: SharedPolynomial,
    user: int,
    row: FieldArray,
    dealers: Sequence[Commitments],
) -> Claim:
    """Return the claim that a row is the sum of some dealers' polynomials at a user's point."""
    family, point = polynomial.family, parameters.sharing.points[user]
    (weights,) = evaluation_matrix(polynomial.basis, [point])
    committed = [dealer.by_family[family.name][index] for dealer in dealers for index in polynomial.rows]
    blinding = row[family.length :] if family.is_blinded else None
    # A sum of polynomials is one claim: the same weights, once over each dealer's commitments.
    return Claim(row[: family.length], weights * len(dealers), committed, blinding)
