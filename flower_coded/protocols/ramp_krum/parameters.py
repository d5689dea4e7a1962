"""Sizes and options of ramp-shared multi-Krum, and everything that follows from them.

The letters are the paper's: N users, T of whom may collude, D may drop out, A may lie; an update of L entries
cut into K parts; m users selected. On top of the paper stand options that it leaves open, each with its
reason:

* ``is_blinded``: commitments carry a random multiple of an independent base. Without it a commitment hides
  only what cannot be guessed (that an update is all zeros can be confirmed by trial).
* ``hides_products``: before distances are sent every user adds its share of a random polynomial, to which all
  dealers contribute and on which what is read as a distance is zero. Without it the server also reads the
  distance of each part, and together with T users a random linear function of every difference of updates
  (even for K = 1).
* ``soundness_bits``: sums of random subsets of an update's entries are opened under masks wide enough to hide
  them and shown to be short; an update that is not passes with probability at most ``2**-soundness_bits`` per
  round. See :mod:`flower_coded.protocols.ramp_krum.range_check`.
* ``block_columns``, ``block_norm``: the L2 norm of every block of entries is shown to be within a bound,
  exactly and without showing it; see :mod:`flower_coded.protocols.ramp_krum.norm_check`.
* ``ballot_share``: not updates are shared but ballots, and the sum of all of them is opened without distances
  and without a selection; see :mod:`flower_coded.protocols.ramp_krum.clipping_ballot`.
* ``chunk_size``: commit to pieces of so many entries, so that a check costs one piece, whatever the length;
  None is the paper's one commitment per part.

Distances and sums in a finite field mean something only for short vectors, so both checks are part of every
round. Parts stand in the values of the shared polynomials, so that one share of an update does where the
paper needs two (:mod:`flower_coded.crypto.ramp_embedding`). ``is_paper_form`` leaves the checks out and puts
parts into coefficients: it exists to count and time what the paper describes, and
:func:`~flower_coded.protocols.ramp_krum.server_sharing.open_round` refuses it unless told that the round is a
measurement.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import isqrt

from flower_coded.crypto.field_vectors import ELEMENT_BYTES, FIELD_MODULUS
from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.four_squares import LARGEST_SUM_OF_SQUARES
from flower_coded.crypto.ramp_embedding import RampEmbedding, coefficient_embedding, value_embedding
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.errors import ParameterError
from flower_coded.protocols.ramp_krum.families import (
    Family,
    SharedPolynomial,
    make_families,
    make_polynomials,
)
from flower_coded.protocols.ramp_krum.norm_check import NormCheck

__all__ = ["RampKrumParameters", "largest_num_selected"]

_MOST_HIDING_BITS, _FEWEST_HIDING_BITS = 64, 40
_COLUMNS_PER_SLACK = 8
_LARGEST_DEFAULT_NORM = (7, 4)  # clipping bounds: below .9 m for every m, so that no such spike is selected
_FEWEST_SOUNDNESS_BITS, _MOST_SOUNDNESS_BITS = 40, 128


def largest_num_selected(*, num_users: int, num_attackers: int, num_dropouts: int) -> int:
    """Return the largest m with ``N >= 2A + D + m + 3``; below 1 if there is none.

    Examples
    --------
    >>> largest_num_selected(num_users=20, num_attackers=2, num_dropouts=2)
    11
    """
    return num_users - 2 * num_attackers - num_dropouts - 3


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
    chunk_size : int or None
        Entries per commitment; None for one commitment per part.
    is_blinded, hides_products : bool
        See the module.
    soundness_bits : int
        From 40 to 128: an update with an entry far out of range passes a round with probability at most
        ``2**-soundness_bits``, whichever of the A liars sent it.
    block_columns : int or None
        Columns of the parts in a block, whose L2 norm is bounded: a block has ``K * block_columns`` entries.
        1 bounds nearly every entry singly and costs one more update; many cost nothing and bound the whole.
        None takes as many as make the proof cost an eighth of an update.
    block_norm : float or None
        The bound, in the unit of the update. None takes the clipping bound times a quarter of the root of a
        block's size, but at least 1 and, for the default blocks, at most 1.75.
    is_paper_form : bool
        The paper's two embeddings, without range checks and norm bound; for measurements only.
    ballot_share : float or None
        Of a round of ballots, the share of a user's entries that its number may leave cut; of updates, None.
        The sum is then of all users, so m may be up to ``N - A - D``.
    waives_colluder_bound : bool
        Whether T may be smaller than A. No more than T shares of a dealer are ever opened to the server; with
        fewer than A, liars who complain together can have an honest user's update left out.

    Raises
    ------
    ParameterError
        If a bound is broken, with the inequality, the numbers, and what would do.

    Examples
    --------
    >>> sharing = RampSharing(num_users=12, num_parts=2, num_colluders=2, num_attackers=2, num_dropouts=1)
    >>> parameters = RampKrumParameters(sharing, num_selected=4, length=1000)
    >>> parameters.part_length, parameters.num_pairs
    (500, 66)
    """

    sharing: RampSharing
    num_selected: int
    length: int
    fixed_point: FixedPoint = field(default_factory=FixedPoint)
    chunk_size: int | None = 4096
    is_blinded: bool = True
    hides_products: bool = True
    soundness_bits: int = 40
    block_columns: int | None = None
    block_norm: float | None = None
    is_paper_form: bool = False
    waives_colluder_bound: bool = False
    ballot_share: float | None = None

    def __post_init__(self) -> None:
        self._check_numbers_of_users()
        if self.length < 1:
            raise ParameterError("length", "must be at least 1", self.length)
        if self.chunk_size is not None and self.chunk_size < 1:
            raise ParameterError("chunk_size", "must be at least 1, or None", self.chunk_size)
        if not _FEWEST_SOUNDNESS_BITS <= self.soundness_bits <= _MOST_SOUNDNESS_BITS:
            raise ParameterError(
                "soundness_bits",
                f"must be from {_FEWEST_SOUNDNESS_BITS} to {_MOST_SOUNDNESS_BITS}: below, an update that is "
                "not short gets through in practice",
                self.soundness_bits,
            )
        n = self.sharing.num_users
        self.fixed_point.check_room(num_users=n, length=self.length * self.num_selected**2)
        if not self.is_paper_form:
            _ = self.norm_check  # refuses what cannot be
            if self.hiding_bits < _FEWEST_HIDING_BITS:
                raise ParameterError(
                    "num_bits",
                    f"must leave masks {_FEWEST_HIDING_BITS} bits wider than the sums they hide",
                    f"room for {self.hiding_bits}",
                    hint="take fewer bits per weight",
                )

    def _check_numbers_of_users(self) -> None:
        n, a, d = self.sharing.num_users, self.sharing.num_attackers, self.sharing.num_dropouts
        if self.is_ballot:
            self._check_ballot()
            return
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
        self._check_colluders()

    def _check_ballot(self) -> None:
        n, a, d = self.sharing.num_users, self.sharing.num_attackers, self.sharing.num_dropouts
        if not 2 <= self.num_selected <= n - a - d:
            raise ParameterError(
                "num_selected", f"must be from 2 to N - A - D = {n - a - d} for ballots", self.num_selected
            )
        if not 0 <= (self.ballot_share or 0.0) < 1:
            raise ParameterError("ballot_share", "must lie in [0, 1)", self.ballot_share, hint="0.001, say")
        if self.is_paper_form:
            raise ParameterError("is_paper_form", "must be false for ballots, which must be proved", True)
        self._check_colluders()

    def _check_colluders(self) -> None:
        t, a = self.sharing.num_colluders, self.sharing.num_attackers
        if t < a and not self.waives_colluder_bound:
            raise ParameterError(
                "num_colluders",
                f"must be at least num_attackers = {a}: each of A liars can have one share of an honest "
                "dealer opened to the server by a false complaint, and more than T shares tell it something",
                t,
                hint="waives_colluder_bound=True opens T at most and then leaves the dealer's update out",
            )

    @cached_property
    def norm_check(self) -> NormCheck:
        """The bound on the norm of every block, and how it is shown."""
        largest, num_parts = self.fixed_point.max_integer, self.sharing.num_parts
        # Four numbers of slack take ceil(4/K) columns: for blocks 8 times as wide the proof costs an eighth.
        usual = _COLUMNS_PER_SLACK * -(-4 // num_parts)
        columns = usual if self.block_columns is None else self.block_columns
        if self.block_norm is None:
            entries = num_parts * min(columns, self.part_length)
            # A quarter of the root of the size, squared: entries may be a quarter of the clipping bound each.
            bound = min(largest**2 * entries // 16, LARGEST_SUM_OF_SQUARES)
            if self.block_columns is None:  # of larger blocks, which somebody chose, it would leave nothing
                numerator, denominator = _LARGEST_DEFAULT_NORM
                bound = min(bound, (largest * numerator // denominator) ** 2)
        else:
            if not self.block_norm >= self.fixed_point.clipping:
                raise ParameterError(
                    "block_norm", "must be at least the clipping bound, or None", self.block_norm
                )
            bound = int((self.block_norm / self.fixed_point.step) ** 2)
        return NormCheck(
            num_parts=num_parts,
            part_length=self.part_length,
            block_columns=columns,
            bound=max(bound, largest**2),
        )

    @property
    def largest_entry(self) -> int:
        """What an entry of an accepted update cannot exceed: the root of the bound on its block."""
        return isqrt(self.norm_check.bound)

    @cached_property
    def num_range_checks(self) -> int:
        """Q, subset sums per part: ``soundness_bits`` and the logarithm of A; 0 in the paper's form."""
        if self.is_paper_form:
            return 0
        return self.soundness_bits + max(self.sharing.num_attackers - 1, 0).bit_length()

    @property
    def part_length(self) -> int:
        """Field elements of a part, ``ceil(L / K)``."""
        return -(-self.length // self.sharing.num_parts)

    @property
    def slack_length(self) -> int:
        """Field elements of a row of slack; see :attr:`families`."""
        return 0 if self.is_paper_form else self.norm_check.slack_length

    @property
    def num_checked(self) -> int:
        """Entries per row that the range checks add up: a part and its slack."""
        return self.part_length + self.slack_length

    @property
    def num_products(self) -> int:
        """Values that a user evaluates: one for every pair of users and, for norms, one for every user."""
        return self.num_pairs + (0 if self.is_paper_form else self.sharing.num_users)

    @cached_property
    def embedding(self) -> RampEmbedding:
        """How parts and masks become polynomials."""
        return (coefficient_embedding if self.is_paper_form else value_embedding)(self.sharing)

    @property
    def is_ballot(self) -> bool:
        """Whether ballots are added up instead of updates."""
        return self.ballot_share is not None

    @property
    def num_pairs(self) -> int:
        """``N (N - 1) / 2``, distances; none of ballots."""
        return 0 if self.is_ballot else self.sharing.num_users * (self.sharing.num_users - 1) // 2

    @cached_property
    def families(self) -> dict[str, Family]:
        """What a dealer commits to; see :mod:`flower_coded.protocols.ramp_krum.families`."""
        lengths = {"update": self.part_length}
        if not self.is_paper_form:
            lengths |= {"slack": self.slack_length, "range": self.num_range_checks}
        if self.hides_products:
            lengths["product"] = self.num_products
        return make_families(
            self.sharing,
            lengths,
            has_second_shares=self.is_paper_form and self.sharing.num_parts > 1,
            num_slack_parts=self._num_slack_parts,
            chunk_size=self.chunk_size,
            is_blinded=self.is_blinded,
        )

    @cached_property
    def polynomials(self) -> tuple[SharedPolynomial, ...]:
        """What a dealer shares."""
        return make_polynomials(self.embedding, self.families, num_slack_parts=self._num_slack_parts)

    @property
    def _num_slack_parts(self) -> int:
        return 0 if self.is_paper_form else self.norm_check.num_slack_parts

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
        """Bytes of what a dealer sends to one user, before it is encrypted."""
        return ELEMENT_BYTES * sum(family.share_length for family in self.families.values())

    @property
    def largest_subset_sum(self) -> int:
        """What a subset of an honest row's entries, slack included, cannot exceed in absolute value."""
        slack = self.slack_length * self.norm_check.largest_slack
        return self.part_length * self.fixed_point.max_integer + slack

    @cached_property
    def hiding_bits(self) -> int:
        """Bits by which a range check's mask is wider than what it hides."""
        # An accepted entry is below 2 * (mask + sum); differences of two, squared, over all entries, must
        # stay below r/2. So do the squares that the norm check adds up.
        entries, bits = self.length + self._num_slack_parts * self.slack_length, 0
        while (
            bits < _MOST_HIDING_BITS
            and entries * (4 * (self.largest_subset_sum << (bits + 1))) ** 2 < FIELD_MODULUS // 2
        ):
            bits += 1
        return bits

    @property
    def range_mask_bound(self) -> int:
        """Masks of the range checks are uniform in ``[0, bound)``."""
        return self.largest_subset_sum << self.hiding_bits
