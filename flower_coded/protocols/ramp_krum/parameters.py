"""Sizes and options of ramp-shared multi-Krum, and everything that follows from them.

The letters are the paper's: N users, T of whom may collude, D may drop out, A may lie; an update of L entries
cut into K parts; m users selected. On top of the paper stand options that it leaves open, each with its
reason:

* ``is_blinded``: commitments carry a random multiple of an independent base. Without it a commitment hides
  only what cannot be guessed (that an update is all zeros can be confirmed by trial).
* ``hides_products``: before distances are sent every user adds its share of a random polynomial, to which all
  dealers contribute and whose coefficient at ``x**(K-1)`` is zero. Without it the server also reads the
  coefficients at ``x**0 .. x**(K-2)``, inner products of different parts, and together with T users a random
  linear function of every difference of updates (even for K = 1).
* ``num_range_checks``: sums of random subsets of an update's entries are opened under masks wide enough to
  hide them and shown to be short; see :mod:`flower_coded.protocols.ramp_krum.range_check`.
* ``chunk_size``: commit to pieces of so many entries, so that a check costs one piece, whatever the length;
  None is the paper's one commitment per part.
* ``num_per_element``: weights packed into one field element; see :mod:`flower_coded.crypto.packing`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from flower_coded.crypto.field_vectors import ELEMENT_BYTES, FIELD_MODULUS
from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.packing import Packing
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.errors import ParameterError

__all__ = ["Family", "RampKrumParameters", "SharedPolynomial", "largest_num_selected"]

_MOST_HIDING_BITS, _FEWEST_HIDING_BITS = 64, 40


def largest_num_selected(*, num_users: int, num_attackers: int, num_dropouts: int) -> int:
    """Return the largest m with ``N >= 2A + D + m + 3``; below 1 if there is none.

    Examples
    --------
    >>> largest_num_selected(num_users=20, num_attackers=2, num_dropouts=2)
    11
    """
    return num_users - 2 * num_attackers - num_dropouts - 3


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


@dataclass(frozen=True)
class RampKrumParameters:
    """Parameters of a round; the same object is used by the server and by every user.

    Parameters
    ----------
    sharing : RampSharing
        N, K, T, A and D.
    num_selected : int
        m, from 2 to ``N - 2A - D - 3``: of a single user the sum would be the update.
    length : int
        L, entries of an update.
    fixed_point : FixedPoint
        Bits and clipping.
    num_per_element : int
        s, weights per field element. With more than one the range checks on single updates are not available.
    chunk_size : int or None
        Entries per commitment; None for one commitment per part.
    is_blinded, hides_products : bool
        See the module.
    num_range_checks : int
        Q, subset sums per update and part; a user with an entry far out of range passes with probability at
        most ``2**-Q``. 0 leaves them out.

    Raises
    ------
    ParameterError
        If a bound is broken, with the inequality, the numbers, and what would do.

    Examples
    --------
    >>> sharing = RampSharing(num_users=12, num_parts=2, num_colluders=1, num_attackers=2, num_dropouts=1)
    >>> parameters = RampKrumParameters(sharing, num_selected=4, length=1000)
    >>> parameters.part_length, parameters.num_pairs
    (500, 66)
    """

    sharing: RampSharing
    num_selected: int
    length: int
    fixed_point: FixedPoint = field(default_factory=FixedPoint)
    num_per_element: int = 1
    chunk_size: int | None = 4096
    is_blinded: bool = True
    hides_products: bool = True
    num_range_checks: int = 40

    def __post_init__(self) -> None:
        n, a, d = self.sharing.num_users, self.sharing.num_attackers, self.sharing.num_dropouts
        largest = largest_num_selected(num_users=n, num_attackers=a, num_dropouts=d)
        if not 2 <= self.num_selected <= largest:
            raise ParameterError(
                "num_selected",
                f"must satisfy 2 <= m <= N - 2A - D - 3 = {n} - {2 * a} - {d} - 3 = {largest}",
                self.num_selected,
                hint=f"the largest that works is {largest}"
                if largest >= 2
                else f"{2 * a + d + 5} users are needed",
            )
        if self.length < 1:
            raise ParameterError("length", "must be at least 1", self.length)
        if self.chunk_size is not None and self.chunk_size < 1:
            raise ParameterError("chunk_size", "must be at least 1, or None", self.chunk_size)
        if self.num_range_checks < 0:
            raise ParameterError("num_range_checks", "must not be negative", self.num_range_checks)
        if self.num_range_checks and self.num_per_element > 1:
            raise ParameterError(
                "num_range_checks",
                "must be 0 where several weights share an element",
                self.num_range_checks,
                hint="a packed element is too long for the masks; num_per_element=1 allows range checks",
            )
        self.fixed_point.check_room(num_users=n, length=self.length * self.num_selected**2)
        _ = self.packing  # refuses what does not fit
        if self.num_range_checks and self.hiding_bits < _FEWEST_HIDING_BITS:
            raise ParameterError(
                "num_range_checks",
                f"need masks of {_FEWEST_HIDING_BITS} bits more than a subset sum",
                f"room for {self.hiding_bits}",
                hint="take fewer bits per weight, or num_range_checks=0",
            )

    @cached_property
    def packing(self) -> Packing:
        """How weights are packed; for one per element, not at all."""
        return Packing(self.num_per_element, self.fixed_point.max_integer, self.length, self.num_selected)

    @property
    def part_length(self) -> int:
        """Field elements of a part, ``ceil(L / (K s))``."""
        return -(-self.packing.num_elements // self.sharing.num_parts)

    @property
    def has_second_shares(self) -> bool:
        """Whether the second embedding differs from the first (K > 1)."""
        return self.sharing.num_parts > 1

    @property
    def num_pairs(self) -> int:
        """``N (N - 1) / 2``."""
        return self.sharing.num_users * (self.sharing.num_users - 1) // 2

    @property
    def product_mask_exponents(self) -> tuple[int, ...]:
        """All exponents of a product but ``K - 1``, where the distance stands."""
        distance = self.sharing.num_parts - 1
        return tuple(e for e in range(self.sharing.num_product_coefficients) if e != distance)

    @cached_property
    def families(self) -> dict[str, Family]:
        """What a dealer commits to.

        ``update``: rows ``w_1 .. w_K, z_1 .. z_T, r_1 .. r_T`` (the last T for K > 1). ``range``: behind
        every part the masks of its range checks, and T rows of masks for them. ``product``: the coefficients
        of the polynomials added to products, one row per exponent, one entry per pair of users.
        """
        k, t = self.sharing.num_parts, self.sharing.num_colluders
        sizes = {"update": (k + t * (2 if self.has_second_shares else 1), self.part_length)}
        if self.num_range_checks:
            sizes["range"] = (k + t, self.num_range_checks)
        if self.hides_products:
            sizes["product"] = (len(self.product_mask_exponents), self.num_pairs)
        return {
            name: Family(name, rows, length, min(self.chunk_size or length, length), self.is_blinded)
            for name, (rows, length) in sizes.items()
        }

    @cached_property
    def polynomials(self) -> tuple[SharedPolynomial, ...]:
        """What a dealer shares: ``first``, ``second`` for K > 1, ``range`` and ``product`` where wanted."""
        k, t = self.sharing.num_parts, self.sharing.num_colluders
        first, second = self.sharing.first_exponents, self.sharing.second_exponents
        update = self.families["update"]
        result = [SharedPolynomial("first", update, tuple(range(k + t)), first)]
        if self.has_second_shares:
            rows = (*range(k), *range(k + t, k + 2 * t))
            result.append(SharedPolynomial("second", update, rows, second))
        for name, exponents in (("range", first), ("product", self.product_mask_exponents)):
            if name in self.families:
                rows = tuple(range(len(exponents)))
                result.append(SharedPolynomial(name, self.families[name], rows, exponents))
        return tuple(result)

    @property
    def num_commitments(self) -> int:
        """Group elements that a dealer broadcasts."""
        return sum(family.num_commitments for family in self.families.values())

    @property
    def largest_chunk(self) -> int:
        """Powers that the reference string must have."""
        return max(family.chunk for family in self.families.values())

    @property
    def share_bytes(self) -> int:
        """Bytes of what a dealer sends to one user, before it is sealed."""
        return ELEMENT_BYTES * sum(polynomial.family.row_length for polynomial in self.polynomials)

    @cached_property
    def hiding_bits(self) -> int:
        """Bits by which a range check's mask is wider than what it hides."""
        # An accepted entry is below 2 * (mask + sum); differences of two, squared, L times, must stay below
        # r/2.
        largest_sum = self.part_length * self.fixed_point.max_integer
        bits = 0
        while (
            bits < _MOST_HIDING_BITS
            and self.length * (4 * (largest_sum << (bits + 1))) ** 2 < FIELD_MODULUS // 2
        ):
            bits += 1
        return bits

    @property
    def range_mask_bound(self) -> int:
        """Masks of the range checks are uniform in ``[0, bound)``."""
        return self.part_length * self.fixed_point.max_integer << self.hiding_bits
