"""The commitment schemes of a round, one per family of rows, over one reference string."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flower_coded.crypto.commitment import Claim, Commitment, VectorCommitment
from flower_coded.crypto.field_vectors import FieldArray
from flower_coded.crypto.srs import ReferenceString
from flower_coded.errors import ParameterError
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters

__all__ = ["Commitments", "Schemes"]


@dataclass(frozen=True)
class Commitments:
    """A dealer's commitments.

    Parameters
    ----------
    by_family : mapping of str to list of Commitment
        To every row of every family.
    """

    by_family: Mapping[str, Sequence[Commitment]]


@dataclass(frozen=True, eq=False)
class Schemes:
    """How rows are committed to, and how shares are checked.

    Parameters
    ----------
    parameters : RampKrumParameters
    by_family : mapping of str to VectorCommitment

    Notes
    -----
    Reading points costs a square root and a subgroup check each; where many users of one process read the
    same broadcast, they share the result. The last 2N are remembered.
    """

    parameters: RampKrumParameters
    by_family: Mapping[str, VectorCommitment]
    _read: dict[bytes, Commitments] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def create(
        cls, parameters: RampKrumParameters, reference: ReferenceString, *, num_threads: int = 1
    ) -> Schemes:
        """Return the schemes of all families.

        Raises
        ------
        ParameterError
            If the reference string is shorter than a chunk.
        """
        if reference.size < parameters.largest_chunk:
            raise ParameterError(
                "reference",
                f"must have at least {parameters.largest_chunk} powers",
                reference.size,
                hint="or take a smaller chunk_size",
            )
        return cls(
            parameters,
            {
                name: VectorCommitment(reference, family.length, family.chunk, family.is_blinded, num_threads)
                for name, family in parameters.families.items()
            },
        )

    def commit(self, rows: Mapping[str, FieldArray]) -> Commitments:
        """Commit to the rows of all families, each an array of shape (num_rows, row_length, 4)."""
        result = {}
        for name, family in self.parameters.families.items():
            entries, blindings = rows[name][:, : family.length], rows[name][:, family.length :]
            result[name] = self.by_family[name].commit(entries, blindings if family.is_blinded else None)
        return Commitments(result)

    def to_bytes(self, commitments: Commitments) -> bytes:
        """Write a dealer's commitments, 48 bytes each."""
        return b"".join(
            self.by_family[name].to_bytes(commitments.by_family[name]) for name in self.parameters.families
        )

    def from_bytes(self, commitments_bytes: bytes) -> Commitments:
        """Read a dealer's commitments; every point is checked to be one of the group of order r.

        Raises
        ------
        ParameterError, PointError
            If there are too many or too few bytes, or some are no such point.
        """
        sizes = [family.num_commitments * 48 for family in self.parameters.families.values()]
        # The length comes first: reading points is the costly part, and the sender chose the bytes.
        if not isinstance(commitments_bytes, bytes) or len(commitments_bytes) != sum(sizes):
            raise ParameterError("commitments", f"must be {sum(sizes)} bytes", len(commitments_bytes))
        if commitments_bytes in self._read:
            return self._read[commitments_bytes]
        result, start = {}, 0
        for (name, family), size in zip(self.parameters.families.items(), sizes, strict=True):
            piece = commitments_bytes[start : start + size]
            result[name] = self.by_family[name].from_bytes(piece, family.num_rows)
            start += size
        # Dictionaries keep insertion order, so the oldest goes; memory stays bounded over many rounds.
        while len(self._read) >= 2 * self.parameters.sharing.num_users:
            self._read.pop(next(iter(self._read)))
        return self._read.setdefault(commitments_bytes, Commitments(result))

    def find_false(self, claims: Mapping[int, Mapping[str, Sequence[Claim]]]) -> tuple[int, ...]:
        """Return whose claims do not all hold.

        All claims of a family are checked in one batch; only if that fails are batches halved to find the
        culprits.

        Parameters
        ----------
        claims : mapping of int to (mapping of family name to sequence of Claim)
            By user.

        Returns
        -------
        tuple of int
            Ascending.
        """
        culprits = set()
        for name, scheme in self.by_family.items():
            owned = [(user, claim) for user, by_family in claims.items() for claim in by_family.get(name, ())]
            for index in scheme.find_false([claim for _, claim in owned]) if owned else ():
                culprits.add(owned[index][0])
        return tuple(sorted(culprits))
