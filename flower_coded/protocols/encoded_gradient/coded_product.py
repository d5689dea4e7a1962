"""Coded matrix-vector product: what the master keeps of an encoded matrix, and how it decodes the answers.

The master encodes a matrix once, hands worker ``i`` its share, and keeps one number per block: the
largest norm among the encoded rows. From it and the norm of the vector follows how far an honest answer
can be off by rounding, also where the product cancels, as a gradient does near the optimum; that is the
tolerance of the decoder. Rows are appended by touching one block, columns by encoding them alone (Section
V of the paper).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.real_error_locating import DecodedProduct, RealErrorLocatingCode
from flower_coded.errors import ParameterError

__all__ = ["CodedMatrix", "encode_matrix"]

Reals = NDArray[np.float64]

_ROUNDING = 16.0 * float(np.finfo(np.float64).eps)
"""Times the square root of the number of terms: more than the rounding of any honest summation."""


@dataclass(frozen=True, eq=False)
class CodedMatrix:
    """The master's side of an encoded matrix.

    Parameters
    ----------
    code : RealErrorLocatingCode
        The code over the workers.
    num_rows, num_columns : int
        Shape of the matrix.
    row_norms : ndarray of shape (p,), float64
        For each block, an upper bound of the norms of the encoded rows over the workers.

    Examples
    --------
    >>> matrix = np.arange(12.0).reshape(6, 2)
    >>> coded, shares = encode_matrix(RealErrorLocatingCode(5, 1), matrix)
    >>> answers = shares @ np.array([1.0, -1.0])
    >>> answers[2] = 7.0
    >>> coded.decode(answers, np.array([1.0, -1.0])).values.round(9)
    array([-1., -1., -1., -1., -1., -1.])
    """

    code: RealErrorLocatingCode
    num_rows: int
    num_columns: int
    row_norms: Reals

    @property
    def num_blocks(self) -> int:
        """Entries of each worker's answer."""
        return self.code.num_blocks(self.num_rows)

    def tolerance(self, vector: Reals) -> Reals:
        """Largest rounding error of an honest answer, for each block: shape (p,)."""
        growth = _ROUNDING * np.sqrt(max(self.num_columns, self.code.num_workers))
        largest = float(np.abs(vector).max()) or 1.0  # squares of a diverging vector would overflow
        return np.asarray(growth * np.linalg.norm(vector / largest) * self.row_norms * largest)

    def decode(
        self,
        answers: Reals,
        vector: Reals,
        *,
        erased: NDArray[np.bool_] | None = None,
        suspects: NDArray[np.bool_] | None = None,
    ) -> DecodedProduct:
        """Decode the workers' answers to the product of the matrix and ``vector``.

        Parameters
        ----------
        answers : ndarray of shape (m, p), float64
            Rows of missing workers may hold anything.
        vector : ndarray of shape (num_columns,), float64
            What the workers multiplied with.
        erased, suspects : ndarray of shape (m,), bool, optional
            Missing workers, and workers to try dropping first.

        Returns
        -------
        DecodedProduct

        Raises
        ------
        DecodingError
            If more workers lie or are missing than the code corrects.
        """
        return self.code.decode(
            answers, self.num_rows, tolerance=self.tolerance(vector), erased=erased, suspects=suspects
        )

    def append_row(self, row: Reals) -> tuple[CodedMatrix, int, Reals]:
        """Append one row of the matrix.

        Parameters
        ----------
        row : ndarray of shape (num_columns,), float64

        Returns
        -------
        coded : CodedMatrix
            With one row more.
        block : int
            Row of the shares that changes, or that is new if it equals the number of blocks before.
        additions : ndarray of shape (m, num_columns), float64
            What each worker adds to it; zero at all but ``2 t + s + 1`` workers.
        """
        if row.shape != (self.num_columns,):
            raise ParameterError("row", f"must have shape ({self.num_columns},)", row.shape)
        block, additions = self.code.encode_row(self.num_rows, row)
        is_new = block == self.num_blocks
        norms = np.append(self.row_norms, 0.0) if is_new else self.row_norms.copy()
        norms[block] += float(np.linalg.norm(additions, axis=1).max())
        return replace(self, num_rows=self.num_rows + 1, row_norms=norms), block, additions

    def append_column(self, column: Reals) -> tuple[CodedMatrix, Reals]:
        """Append one column of the matrix.

        Parameters
        ----------
        column : ndarray of shape (num_rows,), float64

        Returns
        -------
        coded : CodedMatrix
            With one column more.
        columns : ndarray of shape (m, p), float64
            New last column of each worker's share.
        """
        if column.shape != (self.num_rows,):
            raise ParameterError("column", f"must have shape ({self.num_rows},)", column.shape)
        columns = self.code.encode(column)
        norms = np.hypot(self.row_norms, np.abs(columns).max(axis=0))
        return replace(self, num_columns=self.num_columns + 1, row_norms=norms), columns


def encode_matrix(code: RealErrorLocatingCode, matrix: Reals) -> tuple[CodedMatrix, Reals]:
    """Encode a matrix for products with vectors.

    Parameters
    ----------
    code : RealErrorLocatingCode
    matrix : ndarray of shape (n_r, n_c), float64

    Returns
    -------
    coded : CodedMatrix
        For the master.
    shares : ndarray of shape (m, p, n_c), float64
        One share per worker.

    Raises
    ------
    ParameterError
        If the matrix is not two-dimensional, empty or not finite.
    """
    if matrix.ndim != 2:
        raise ParameterError("matrix", "must have two axes", matrix.shape)
    shares = code.encode(matrix)
    norms = np.sqrt(np.einsum("ibc,ibc->ib", shares, shares)).max(axis=0)
    num_rows, num_columns = matrix.shape
    return CodedMatrix(code, num_rows, num_columns, norms), shares
