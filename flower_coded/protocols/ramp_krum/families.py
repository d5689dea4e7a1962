"""What a dealer commits to and shares: rows of field elements, and polynomials with these as coefficients.

The *families* of rows: ``update``, the rows ``w_1 .. w_K, z_1 .. z_T, r_1 .. r_T`` (the last T for K > 1);
``slack``, what completes the norm of every block to the bound, with masks as the update has; ``range``,
behind every part the masks of its range checks, and T rows of masks for them; ``product``, the coefficients
of the polynomials added to products, one row per exponent, one entry per pair of users and one per user.

The *polynomials*: ``first`` and ``slack``, for K > 1 also their seconds with the parts in reverse order, so
that the inner product of two users' differences stands at one power of x, and the masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flower_coded.crypto.ramp_sharing import RampSharing

__all__ = [
    "Family",
    "SharedPolynomial",
    "has_second_shares",
    "make_families",
    "make_polynomials",
    "product_mask_exponents",
]


@dataclass(frozen=True)
class Family:
    """Rows of one length that a dealer commits to, each as a vector in chunks.

    Where commitments are blinded, a row carries one random factor per chunk behind its entries; rows are
    added and multiplied by constants as a whole, so the factors follow.

    Parameters
    ----------
    name : str
    num_rows, length : int
        Rows, and entries of a row without blinding factors.
    chunk : int
        Entries per commitment.
    is_blinded : bool
    """

    name: str
    num_rows: int
    length: int
    chunk: int
    is_blinded: bool

    @property
    def num_chunks(self) -> int:
        """Commitments per row."""
        return -(-self.length // self.chunk)

    @property
    def row_length(self) -> int:
        """Field elements of a row."""
        return self.length + (self.num_chunks if self.is_blinded else 0)

    @property
    def num_commitments(self) -> int:
        """Commitments to all rows."""
        return self.num_rows * self.num_chunks


@dataclass(frozen=True)
class SharedPolynomial:
    """A polynomial whose coefficients are rows of a family, and whose values are shares.

    Parameters
    ----------
    name : str
    family : Family
    rows : tuple of int
        Which rows are its coefficients.
    exponents : tuple of int
        Of which powers of x.
    """

    name: str
    family: Family
    rows: tuple[int, ...]
    exponents: tuple[int, ...]


def has_second_shares(sharing: RampSharing) -> bool:
    """Tell whether the second embedding differs from the first (K > 1)."""
    return sharing.num_parts > 1


def product_mask_exponents(sharing: RampSharing) -> tuple[int, ...]:
    """Return all exponents of a product but ``K - 1``, where the distance stands."""
    distance = sharing.num_parts - 1
    return tuple(e for e in range(sharing.num_product_coefficients) if e != distance)


def make_families(
    sharing: RampSharing,
    lengths: Mapping[str, int],
    *,
    num_slack_parts: int,
    chunk_size: int | None,
    is_blinded: bool,
) -> dict[str, Family]:
    """Return the families of a round.

    Parameters
    ----------
    sharing : RampSharing
    lengths : mapping of str to int
        Entries of a row, by family; a family that is not named does not take part.
    num_slack_parts : int
    chunk_size : int or None
        Entries per commitment; None for one commitment per row.
    is_blinded : bool

    Returns
    -------
    dict of str to Family
    """
    k, t = sharing.num_parts, sharing.num_colluders
    num_masks = t * (2 if has_second_shares(sharing) else 1)
    num_rows = {
        "update": k + num_masks,
        "slack": num_slack_parts + num_masks,
        "range": k + t,
        "product": len(product_mask_exponents(sharing)),
    }
    return {
        name: Family(name, num_rows[name], length, min(chunk_size or length, length), is_blinded)
        for name, length in lengths.items()
    }


def make_polynomials(
    sharing: RampSharing, families: Mapping[str, Family], *, num_slack_parts: int
) -> tuple[SharedPolynomial, ...]:
    """Return the polynomials that a dealer shares, in the order in which a share holds their values."""
    k, t = sharing.num_parts, sharing.num_colluders
    masks = sharing.mask_exponents
    result = []
    for name, num_parts in (("update", k), ("slack", num_slack_parts)):
        if num_parts == 0:
            continue
        family, is_update = families[name], name == "update"
        rows, exponents = range(num_parts), range(num_parts)
        first = (*rows, *range(num_parts, num_parts + t))
        result.append(
            SharedPolynomial("first" if is_update else "slack", family, first, (*exponents, *masks))
        )
        if has_second_shares(sharing):
            second = (*rows, *range(num_parts + t, num_parts + 2 * t))
            reversed_exponents = tuple(k - 1 - exponent for exponent in exponents)
            second_name = "second" if is_update else "slack-second"
            result.append(SharedPolynomial(second_name, family, second, (*reversed_exponents, *masks)))
    for name, wanted in (
        ("range", sharing.first_exponents),
        ("product", product_mask_exponents(sharing)),
    ):
        if name in families:
            result.append(SharedPolynomial(name, families[name], tuple(range(len(wanted))), wanted))
    return tuple(result)
