"""What a dealer commits to and shares: rows of field elements, and polynomials with these as coefficients.

The *families* of rows: ``update``, the rows ``w_1 .. w_K, z_1 .. z_T`` and, where there are second shares,
``r_1 .. r_T``;
``slack``, what completes the norm of every block to the bound, with masks as the update has; ``range``,
behind every part the masks of its range checks, and T rows of masks for them; ``product``, the coefficients
of the polynomials added to products, one row per element of their basis, one entry per pair of users and one
per user.

The *polynomials*: ``first`` and ``slack``, and the masks; in the paper's form, for K > 1, also ``second``.
How rows are combined is told in :mod:`flower_coded.crypto.ramp_embedding`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flower_coded.crypto.ramp_embedding import IntegerPolynomial, RampEmbedding
from flower_coded.crypto.ramp_sharing import RampSharing

__all__ = ["Family", "SharedPolynomial", "make_families", "make_polynomials"]


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
    num_polynomials : int
        How many polynomials combine the rows: as many values of a row's length are in a share.
    """

    name: str
    num_rows: int
    length: int
    chunk: int
    is_blinded: bool
    num_polynomials: int = 1

    @property
    def num_chunks(self) -> int:
        """Commitments per row."""
        return -(-self.length // self.chunk)

    @property
    def row_length(self) -> int:
        """Field elements of a row."""
        return self.length + (self.num_chunks if self.is_blinded else 0)

    @property
    def share_length(self) -> int:
        """Field elements that a share holds of this family."""
        return self.num_polynomials * self.row_length

    @property
    def num_commitments(self) -> int:
        """Commitments to all rows."""
        return self.num_rows * self.num_chunks


@dataclass(frozen=True)
class SharedPolynomial:
    """A linear combination of known polynomials and rows of a family, whose values are shares.

    Parameters
    ----------
    name : str
    family : Family
    rows : tuple of int
        Which rows it combines.
    basis : tuple of IntegerPolynomial
        By what each of them is multiplied.
    """

    name: str
    family: Family
    rows: tuple[int, ...]
    basis: tuple[IntegerPolynomial, ...]


def make_families(
    sharing: RampSharing,
    lengths: Mapping[str, int],
    *,
    has_second_shares: bool,
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
    has_second_shares : bool
        Whether a second polynomial, with masks of its own, holds an update's parts in another way.
    num_slack_parts : int
    chunk_size : int or None
        Entries per commitment; None for one commitment per row.
    is_blinded : bool

    Returns
    -------
    dict of str to Family
    """
    k, t = sharing.num_parts, sharing.num_colluders
    num_updates = 2 if has_second_shares else 1
    num_rows = {
        "update": k + num_updates * t,
        "slack": num_slack_parts + t,
        "range": k + t,
        "product": sharing.num_product_coefficients - 1,
    }
    copies = {"update": num_updates}
    return {
        name: Family(
            name,
            num_rows[name],
            length,
            min(chunk_size or length, length),
            is_blinded,
            copies.get(name, 1),
        )
        for name, length in lengths.items()
    }


def make_polynomials(
    embedding: RampEmbedding, families: Mapping[str, Family], *, num_slack_parts: int
) -> tuple[SharedPolynomial, ...]:
    """Return the polynomials that a dealer shares, in the order in which a share holds their values."""
    k, t = len(embedding.parts), len(embedding.masks)
    first = (*embedding.parts, *embedding.masks)
    # Parts that carry no slack are zero: neither committed to nor combined.
    slack = (*embedding.parts[:num_slack_parts], *embedding.masks)
    wanted: list[tuple[str, str, Iterable[int], tuple[IntegerPolynomial, ...]]] = [
        ("first", "update", range(k + t), first)
    ]
    if embedding.second_parts is not None:
        second_rows = (*range(k), *range(k + t, k + 2 * t))
        wanted.append(("second", "update", second_rows, (*embedding.second_parts, *embedding.masks)))
    wanted += [
        ("slack", "slack", range(len(slack)), slack),
        ("range", "range", range(k + t), first),
        ("product", "product", range(len(embedding.hiding)), embedding.hiding),
    ]
    return tuple(
        SharedPolynomial(name, families[family], tuple(rows), basis)
        for name, family, rows, basis in wanted
        if family in families
    )
