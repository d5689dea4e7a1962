"""Which samples each user has, and what of a data set no user has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError

__all__ = ["Division", "division_of_owners"]

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Division(Sequence[Indices]):
    """Indices of every user's samples: ``division[user]``.

    Parameters
    ----------
    parts : sequence of ndarray, int64
        Indices of every user's samples in random order; disjoint, none empty. Kept as read-only copies.
    num_samples : int
        Samples there were to divide.
    num_replaced : int
        Samples that users' class mixes call for beyond what there was of a class, and that came from other
        classes.

    Raises
    ------
    ParameterError
        If a user has no sample, a sample two users, or an index is none of a sample.

    Examples
    --------
    >>> division = Division([np.array([0, 2]), np.array([3])], num_samples=5)
    >>> division[1], len(division), division.num_left
    (array([3]), 2, 2)
    >>> division.describe()
    '2 users have 1 to 2 of 5 samples each; 2 go to nobody'
    """

    parts: Sequence[Indices]
    num_samples: int
    num_replaced: int = 0

    def __post_init__(self) -> None:
        try:
            parts = tuple(np.asarray(part).astype(np.int64, casting="safe") for part in self.parts)
        except TypeError as error:
            raise ParameterError("partition", "must hold indices, which are integers", str(error)) from error
        empty = [user for user, part in enumerate(parts) if not len(part)]
        if empty or not parts:
            raise ParameterError(
                "partition", "must give every user a sample", f"none for {empty[:5]}", hint="fewer users"
            )
        together = np.concatenate(parts)
        if together.min() < 0 or together.max() >= self.num_samples:
            raise ParameterError(
                "partition",
                f"must hold indices 0 to {self.num_samples - 1}",
                f"{together.min()} to {together.max()}",
            )
        if len(np.unique(together)) != len(together):
            raise ParameterError("partition", "must give a sample to one user", "some to two")
        for part in parts:  # copies: divisions are cached, and whoever shuffles one in place shuffles all
            part.flags.writeable = False
        object.__setattr__(self, "parts", parts)

    @overload
    def __getitem__(self, user: int) -> Indices: ...
    @overload
    def __getitem__(self, user: slice) -> Sequence[Indices]: ...
    def __getitem__(self, user: int | slice) -> Indices | Sequence[Indices]:
        return self.parts[user]

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Indices]:
        return iter(self.parts)

    @property
    def sizes(self) -> Indices:
        """Samples of every user, (n,)."""
        return np.array([len(part) for part in self.parts])

    @property
    def num_left(self) -> int:
        """Samples that no user has."""
        return self.num_samples - int(self.sizes.sum())

    def class_counts(self, labels: Indices) -> Indices:
        """Count every user's samples of every class.

        Parameters
        ----------
        labels : ndarray of shape (N,), int64
            Classes of the samples, ``0 .. c - 1``.

        Returns
        -------
        ndarray of shape (n, c), int64
        """
        number = int(labels.max()) + 1
        return np.stack([np.bincount(labels[part], minlength=number) for part in self.parts])

    def describe(self) -> str:
        """Say in a sentence who has how many, what goes to nobody, and what is not of the mix drawn."""
        least, most = int(self.sizes.min()), int(self.sizes.max())
        each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        told = f"{len(self)} users have {each} of {self.num_samples:,} samples each; "
        told += f"{self.num_left:,} go to nobody" if self.num_left else "none is left out"
        if self.num_replaced:
            told += f"; some {self.num_replaced:,} are of other classes than were drawn, which had run out"
        return told


def division_of_owners(owners: Indices, num_users: int, generator: np.random.Generator) -> Division:
    """Make the division in which sample ``i`` belongs to user ``owners[i]``, or to nobody where that is -1.

    Parameters
    ----------
    owners : ndarray of shape (N,), int64
        ``-1 .. num_users - 1``.
    num_users : int
        ``n``.
    generator : numpy.random.Generator
        Orders every user's samples.

    Returns
    -------
    Division

    Raises
    ------
    ParameterError
        If a user has no sample.

    Examples
    --------
    >>> division = division_of_owners(np.array([1, -1, 0, 1]), 2, np.random.default_rng(0))
    >>> [sorted(part.tolist()) for part in division]
    [[2], [0, 3]]
    """
    shuffled = generator.permutation(np.flatnonzero(owners >= 0))
    by_user = shuffled[np.argsort(owners[shuffled], kind="stable")]
    ends = np.cumsum(np.bincount(owners[shuffled], minlength=num_users))
    return Division(np.split(by_user, ends[:-1]), len(owners))
