"""Subset codes: which model accepts which user, and what that defends against.

A binary matrix ``H`` of ``m`` models and ``n`` users: model ``i`` accepts updates from user ``j`` exactly
when ``H[i, j] = 1``. At most ``k`` users collude, so the models that learn their backdoor are a
*k-bar-sum*, the OR of one to ``k`` columns. Definition 1 of the coded subset aggregation paper asks of a
code

* ``"detection"`` (BDC): no zero column, at least ``r`` ones in each row, no k-bar-sum equal to all-ones;
* ``"correction"`` (BCC): detection, and no two k-bar-sums that are complements of each other;
* ``"tracking"`` (BTC): correction, and all k-bar-sums distinct (the matrix is k-bar-separable).

:meth:`SubsetCode.verify` checks this exhaustively and names the columns that violate it. Constructions are in
:mod:`flower_coded.codes.subset.constructions` and :mod:`flower_coded.codes.subset.tracking`; decoders in
:mod:`flower_coded.codes.subset.subset_decoder` and :mod:`flower_coded.codes.subset.majority`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.subset.column_sums import ColumnSums, column_sums, pack_columns, sort_keys
from flower_coded.codes.subset.guarantees import Guarantees, matrix_guarantees
from flower_coded.errors import ParameterError

__all__ = ["CODE_KINDS", "PROPERTIES", "SubsetCode", "Verification"]

PROPERTIES = ("detection", "correction", "tracking")
"""What a code can be verified for, each including the one before."""

CODE_KINDS = (*PROPERTIES, "partition", "random", "custom")
"""How a code came about; the last three promise nothing."""


@dataclass(frozen=True)
class Verification:
    """The outcome of an exhaustive check of Definition 1.

    Parameters
    ----------
    holds : bool
        Whether the code has the property.
    kind : str
        The property checked: ``"detection"``, ``"correction"`` or ``"tracking"``.
    num_attackers : int
        ``k``, the most colluding users considered.
    reason : str
        What is violated, naming the users; empty when the property holds.
    counterexample : tuple of two tuples of int, or None
        The offending sets of columns. One set suffices against detection, and the second is then empty.
    """

    holds: bool
    kind: str
    num_attackers: int
    reason: str = ""
    counterexample: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def __bool__(self) -> bool:
        return self.holds


@dataclass(frozen=True, eq=False, repr=False)
class SubsetCode:
    """A code matrix: which of ``m`` models accepts which of ``n`` users.

    Parameters
    ----------
    matrix : array_like of shape (m, n), bool or 0/1; or a sequence of m strings of n characters 0 and 1
        ``H``. Kept as a read-only bool array.
    kind : str
        One of :data:`CODE_KINDS`: what the code was built for, and the default of :meth:`verify`.
    num_attackers : int
        ``k``, the colluding users it was built against; 0 where it promises nothing.
    name : str
        A label for tables and plots; by default made of kind, ``k``, row weight and ``n``.

    Raises
    ------
    ParameterError
        If the matrix is not two-dimensional and binary, or a row accepts nobody.

    Examples
    --------
    >>> code = SubsetCode(["110", "101", "011"], kind="correction", num_attackers=1)
    >>> code.num_models, code.num_users, code.row_weight
    (3, 3, 2)
    >>> code.verify().holds
    True
    >>> SubsetCode(["1010", "0101"]).verify("correction", 1).reason
    'the models reached by users (0,) are exactly those not reached by users (1,)'
    """

    matrix: NDArray[np.bool_]
    kind: str = "custom"
    num_attackers: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", _as_matrix(self.matrix))
        if self.kind not in CODE_KINDS:
            raise ParameterError("kind", f"must be one of {', '.join(CODE_KINDS)}", self.kind)
        if not 0 <= self.num_attackers <= self.num_users:
            raise ParameterError("num_attackers", f"must lie in 0 .. {self.num_users}", self.num_attackers)
        if not self.name:
            object.__setattr__(self, "name", self._default_name())

    @property
    def num_models(self) -> int:
        """``m``, the rows of the matrix."""
        return int(self.matrix.shape[0])

    @property
    def num_users(self) -> int:
        """``n``, the columns of the matrix."""
        return int(self.matrix.shape[1])

    @property
    def row_weight(self) -> int:
        """``r``, the fewest users any model accepts."""
        return int(self.matrix.sum(axis=1).min())

    @property
    def data_utilization(self) -> float:
        """``r / n``: the share of all data that every model is trained on at least."""
        return self.row_weight / self.num_users

    @property
    def training_cost(self) -> float:
        """Ones in ``H`` over ``n``: the client work of a round, in rounds of a single model on all users."""
        return float(self.matrix.sum() / self.num_users)

    @cached_property
    def alike(self) -> NDArray[np.bool_]:
        """Which users (n, n) have equal columns, so that no answers tell them apart; read-only.

        Examples
        --------
        >>> SubsetCode(["110", "001"]).alike.astype(int).tolist()
        [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
        """
        _, group_of = np.unique(self.matrix, axis=1, return_inverse=True)
        groups = group_of.ravel()
        found = np.asarray(groups[:, None] == groups)
        found.setflags(write=False)
        return found

    @cached_property
    def guarantees(self) -> Guarantees:
        """The most colluding users the code withstands, indiscriminate and selective ones.

        Examples
        --------
        >>> SubsetCode(["110", "101", "011"]).guarantees.corrected
        1
        """
        return matrix_guarantees(self.matrix)

    def models_of(self, user: int) -> NDArray[np.int64]:
        """List the models that accept a user.

        Parameters
        ----------
        user : int
            A column, ``0 <= user < n``.

        Returns
        -------
        ndarray of int64
            Increasing model numbers.

        Raises
        ------
        ParameterError
            If there is no such user.

        Examples
        --------
        >>> SubsetCode(["110", "101", "011"]).models_of(0).tolist()
        [0, 1]
        """
        if not 0 <= user < self.num_users:
            raise ParameterError("user", f"must lie in 0 .. {self.num_users - 1}", user)
        return np.flatnonzero(self.matrix[:, user])

    def users_of(self, model: int) -> NDArray[np.int64]:
        """List the users that a model accepts.

        Parameters
        ----------
        model : int
            A row, ``0 <= model < m``.

        Returns
        -------
        ndarray of int64
            Increasing user numbers.

        Raises
        ------
        ParameterError
            If there is no such model.

        Examples
        --------
        >>> SubsetCode(["110", "101", "011"]).users_of(2).tolist()
        [1, 2]
        """
        if not 0 <= model < self.num_models:
            raise ParameterError("model", f"must lie in 0 .. {self.num_models - 1}", model)
        return np.flatnonzero(self.matrix[model])

    def reach(self, users: Any) -> NDArray[np.bool_]:
        """Mark the models that a set of users can poison: ``Hx`` in Boolean arithmetic.

        Parameters
        ----------
        users : sequence of int
            Columns; none gives all-false.

        Returns
        -------
        ndarray of shape (m,), bool
            The Boolean sum of the columns.

        Examples
        --------
        >>> SubsetCode(["110", "101", "011"]).reach([0]).tolist()
        [True, True, False]
        """
        return np.asarray(self.matrix[:, np.asarray(users, dtype=np.int64)].any(axis=1))

    def verify(
        self, kind: str | None = None, num_attackers: int | None = None, *, row_weight: int = 1
    ) -> Verification:
        """Check Definition 1 exhaustively, naming a counterexample where it fails.

        Duplicated columns have the same sums, so for detection and correction only distinct columns are
        enumerated.

        Parameters
        ----------
        kind : str, optional
            ``"detection"``, ``"correction"`` or ``"tracking"``; the code's own kind if not given.
        num_attackers : int, optional
            ``k >= 1``; the code's own if not given.
        row_weight : int
            ``r``, the ones that each row must have at least.

        Returns
        -------
        Verification
            Whether it holds, and if not, why.

        Raises
        ------
        ParameterError
            If the property or ``k`` is neither given nor known from the code, or too many sets would have
            to be enumerated (see :data:`~flower_coded.codes.subset.column_sums.MAX_SUMS`).

        Examples
        --------
        >>> SubsetCode(["1100", "0011"]).verify("tracking", 1).counterexample
        ((0,), (2,))
        """
        kind, k = self._property(kind), self._attackers(num_attackers)
        found = (
            self._light_row_or_column(row_weight)
            or self._detection_violation(k)
            or (None if kind == "detection" else self._correction_violation(k))
            or (self._tracking_violation(k) if kind == "tracking" else None)
        )
        return Verification(True, kind, k) if found is None else Verification(False, kind, k, *found)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SubsetCode):
            return NotImplemented
        return (self.kind, self.num_attackers, self.name) == (
            other.kind,
            other.num_attackers,
            other.name,
        ) and np.array_equal(self.matrix, other.matrix)

    def __hash__(self) -> int:
        return hash((self.kind, self.num_attackers, self.name, self.matrix.shape, self.matrix.tobytes()))

    def __repr__(self) -> str:
        rows = ["".join("01"[int(entry)] for entry in row) for row in self.matrix]
        attackers = self.num_attackers
        return f"SubsetCode({rows!r}, kind={self.kind!r}, num_attackers={attackers}, name={self.name!r})"

    def _default_name(self) -> str:
        letters = {"detection": "BDC", "correction": "BCC", "tracking": "BTC"}
        if self.kind in letters:
            return f"{letters[self.kind]}({self.num_attackers},{self.row_weight},{self.num_users})"
        return f"{self.kind} {self.num_models}x{self.num_users}"

    def _property(self, kind: str | None) -> str:
        chosen = self.kind if kind is None else kind
        if chosen not in PROPERTIES:
            raise ParameterError("kind", f"must be one of {', '.join(PROPERTIES)}", chosen)
        return chosen

    def _attackers(self, num_attackers: int | None) -> int:
        chosen = self.num_attackers if num_attackers is None else num_attackers
        if not 1 <= chosen <= self.num_users:
            raise ParameterError(
                "num_attackers",
                f"must lie in 1 .. {self.num_users} to be verified",
                chosen,
                hint="give verify(kind, num_attackers) for a code that was built without one",
            )
        return chosen

    def _light_row_or_column(self, row_weight: int) -> _Violation | None:
        weights = self.matrix.sum(axis=1)
        if weights.min() < row_weight:
            model = int(weights.argmin())
            accepted = tuple(self.users_of(model).tolist())
            return (
                f"model {model} accepts only {weights[model]} users, fewer than {row_weight}",
                (accepted, ()),
            )
        unused = np.flatnonzero(~self.matrix.any(axis=0))
        if len(unused):
            return f"no model accepts user {unused[0]}", ((int(unused[0]),), ())
        return None

    def _detection_violation(self, k: int) -> _Violation | None:
        sums, users = self._distinct_sums(k)
        full = np.flatnonzero((sums.words == self._all_ones()).all(axis=1))
        if not len(full):
            return None
        culprits = _named(sums.columns_of(int(full[0])), users)
        return f"users {culprits} together reach every model", (culprits, ())

    def _correction_violation(self, k: int) -> _Violation | None:
        sums, users = self._distinct_sums(k)
        keys, complements = sort_keys(sums.words), sort_keys(sums.words ^ self._all_ones())
        _, first, second = np.intersect1d(keys, complements, return_indices=True)
        if not len(first):
            return None
        one = _named(sums.columns_of(int(first[0])), users)
        other = _named(sums.columns_of(int(second[0])), users)
        one, other = min(one, other), max(one, other)
        return f"the models reached by users {one} are exactly those not reached by users {other}", (
            one,
            other,
        )

    def _tracking_violation(self, k: int) -> _Violation | None:
        sums = column_sums(pack_columns(self.matrix), k)
        keys = sort_keys(sums.words)
        order = np.argsort(keys, kind="stable")
        same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
        if not len(same):
            return None
        one, other = sums.columns_of(int(order[same[0]])), sums.columns_of(int(order[same[0] + 1]))
        return f"users {one} and users {other} reach the same models", (one, other)

    def _distinct_sums(self, k: int) -> tuple[ColumnSums, NDArray[np.int64]]:
        words = pack_columns(self.matrix)
        _, users = np.unique(words, axis=0, return_index=True)
        users = np.sort(users)
        return column_sums(words[users], k), users

    def _all_ones(self) -> NDArray[np.uint64]:
        return np.asarray(pack_columns(np.ones((self.num_models, 1), dtype=bool))[0])


_Violation = tuple[str, tuple[tuple[int, ...], tuple[int, ...]]]


def _named(columns: tuple[int, ...], users: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(int(users[column]) for column in columns)


def _as_matrix(matrix: Any) -> NDArray[np.bool_]:
    if isinstance(matrix, list | tuple) and matrix and all(isinstance(row, str) for row in matrix):
        if len({len(row) for row in matrix}) > 1 or set("".join(matrix)) - {"0", "1"}:
            raise ParameterError("matrix", "must be rows of 0 and 1 of one length", matrix)
        matrix = [[character == "1" for character in row] for row in matrix]
    array = np.asarray(matrix)
    if array.ndim != 2 or 0 in array.shape:
        raise ParameterError("matrix", "must have a row per model and a column per user", array.shape)
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise ParameterError("matrix", "must be binary", np.unique(array)[:5].tolist())
    binary = array.astype(bool)
    if not binary.any(axis=1).all():
        raise ParameterError(
            "matrix", "must give every model at least one user", int(np.argmin(binary.any(axis=1)))
        )
    binary.flags.writeable = False
    return binary
