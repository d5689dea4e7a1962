"""Coded matrix-vector product: what the master keeps of an encoded matrix, and how answers are decoded.

Two ways to tell who lies, and every result says which vouched for it:

* ``"keys"`` (:mod:`flower_coded.codes.real.coded_keys`): each answer is verified alone, so a liar is an
  erasure and ``t`` liars with ``s`` stragglers need ``t + s <= m - q``. The code is one of a secret random
  basis, for which no set of workers is worse than another to anybody who does not know it.
* ``"code"``: the paper's decoder, ``2 t + s <= m - q``, for workers that encode data of their own. The
  order of the workers in the code is secret. Within its tolerance a liar who knew it could move the result
  by the tolerance over the smallest singular value of ``F`` at neighboring columns; that is the error
  stated, and sizes at which it exceeds the accuracy asked for are refused at once.

Rows are appended by touching one block, columns by encoding them alone (Section V of the paper).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.real.coded_keys import CodedKeys, GrowingRows
from flower_coded.codes.real.real_error_locating import DecodedProduct, RealErrorLocatingCode
from flower_coded.codes.real.staged_location import Location
from flower_coded.codes.real.verification_keys import MARGIN, UNIT
from flower_coded.errors import DecodingError, ParameterError

__all__ = [
    "CodedMatrix",
    "RefusedProductError",
    "Verification",
    "accuracy_without_keys",
    "encode_matrix",
    "secret_code",
]

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]
Verification = Literal["keys", "code"]

_SMALLEST = 2.0**-1074
_NEGLIGIBLE = 2.0**-900
"""No digits are asked of a result below 1e-271: a residual of zeros has a gradient of zeros."""
_LOST_SQUARE = 2.0**-537
"""Numbers below it have no square: a column norm that was added up from squares may lack it."""
_ROUNDING = 32.0 * UNIT
"""Times the square root of the number of terms: more than the rounding of any honest summation."""


class RefusedProductError(DecodingError):
    """A product that was not decoded; who was caught narrowly meanwhile has learned something all the same.

    Parameters
    ----------
    reason : str
    narrow : ndarray of shape (m,), bool, optional
        Workers after whom the keys must be drawn anew.
    **counts
        Of :class:`~flower_coded.errors.DecodingError`.
    """

    def __init__(self, reason: str, *, narrow: Flags | None = None, **counts: Any) -> None:
        super().__init__(reason, **counts)
        self.narrow = narrow


class CodedMatrix:
    """The master's side of an encoded matrix: its shape, the norms that bound rounding, and the keys.

    Filled in by :meth:`add_rows` or :meth:`add_columns` while the matrix is read; the shares are
    encoded apart from it.

    Parameters
    ----------
    code : RealErrorLocatingCode
        The code over the workers, from :func:`secret_code`.
    num_rows, num_columns : int
        Shape of the matrix.
    verification : {"keys", "code"}
    is_wide : bool
        Columns are appended, and the product is verified as a whole first.
    batches : tuple of int
        First rows of the batches that products may be asked for alone, multiples of ``q``; one by default.
    accuracy : float
        Largest error bound of a result, as a part of :meth:`scale`; beyond it the result is refused.
    worker_unit : float
        Unit roundoff of the shares.
    random : numpy.random.Generator, optional
        Draws the keys in tests; the system otherwise.

    Examples
    --------
    >>> matrix = np.arange(12.0).reshape(6, 2)
    >>> coded, shares = encode_matrix(RealErrorLocatingCode(5, 1), matrix)
    >>> answers = shares @ np.array([1.0, -1.0])
    >>> answers[:2] = 7.0
    >>> result = coded.decode(answers, np.array([1.0, -1.0]))
    >>> result.values.round(9), np.flatnonzero(result.location.corrupt), result.verification
    (array([-1., -1., -1., -1., -1., -1.]), array([0, 1]), 'keys')
    """

    def __init__(
        self,
        code: RealErrorLocatingCode,
        num_rows: int,
        num_columns: int,
        *,
        verification: Verification = "keys",
        is_wide: bool = False,
        batches: tuple[int, ...] = (0,),
        accuracy: float = 1e-6,
        num_key_rows: int = 4,
        worker_unit: float = UNIT,
        random: np.random.Generator | None = None,
    ) -> None:
        self.code, self.num_rows, self.num_columns = code, num_rows, num_columns
        self.verification, self.batches, self.accuracy = verification, batches, accuracy
        self._squares = [GrowingRows(np.zeros(num_columns)) for _ in batches]  # of the columns
        self._block_squares = GrowingRows(np.zeros(self.num_blocks))
        self._growth = _growth(code, num_columns, worker_unit)
        self.keys = self.whole_key = None
        if verification == "keys":
            options: dict[str, Any] = {
                "num_key_rows": num_key_rows,
                "worker_unit": worker_unit,
                "random": random,
            }
            self.keys = CodedKeys(code.generator, num_columns, num_batches=len(batches), **options)
            if is_wide:
                self.whole_key = CodedKeys(np.ones((1, 1)), num_columns, **options)
        elif accuracy_without_keys(code, num_columns, worker_unit) > accuracy:
            promised = accuracy_without_keys(code, num_columns, worker_unit)
            raise ParameterError(
                "code",
                f"must locate errors to an accuracy of {accuracy:.0e}; who knew its secret could hide one of "
                f"{promised:.0e}",
                code,
                hint="use verification keys, fewer workers or errors, or a larger accuracy",
            )

    @property
    def num_blocks(self) -> int:
        """Entries of each worker's answer."""
        return self.code.num_blocks(self.num_rows)

    def row_range(self, batch: int | None) -> tuple[int, int]:
        """Rows of a batch; all for None."""
        if batch is None:
            return 0, self.num_rows
        return self.batches[batch], (*self.batches[1:], self.num_rows)[batch]

    def block_range(self, batch: int | None) -> tuple[int, int]:
        """Blocks of a batch: entries of the workers' answers."""
        first, last = self.row_range(batch)
        return first // self.code.block_size, self.code.num_blocks(last)

    def add_rows(self, first_row: int, rows: Reals) -> None:
        """Take in rows that the shape counts already, in order; see :meth:`append_rows`."""
        size = self.code.block_size
        squares = np.einsum("ij,ij->i", rows, rows)
        blocks = (first_row + np.arange(len(rows))) // size
        np.add.at(self._block_squares.array, blocks, squares)
        for batch in range(len(self.batches)):
            first, last = self.row_range(batch)
            part = rows[max(first - first_row, 0) : max(last - first_row, 0)]
            if len(part):
                self._squares[batch].array[...] += np.einsum("ij,ij->j", part, part)
                if self.keys is not None:
                    self.keys.add_rows(max(first_row, first), part, batch=batch)

    def add_columns(self, columns: Reals, *, first: int | None = None) -> None:
        """Take in columns, shape (num_rows, k): those from ``first`` on, counted already, or new ones."""
        squares = columns * columns
        padded = np.zeros(self.num_blocks * self.code.block_size)
        padded[: self.num_rows] = squares.sum(axis=1)
        self._block_squares.array[...] += padded.reshape(self.num_blocks, -1).sum(axis=1)
        if first is None:
            self._squares[0].extend(squares.sum(axis=0))
            self.num_columns += columns.shape[1]
        else:
            self._squares[0].array[first : first + columns.shape[1]] = squares.sum(axis=0)
        for keys in (self.keys, self.whole_key):
            if keys is not None:
                keys.add_columns(columns, first=first)

    def append_rows(self, rows: Reals) -> tuple[int, Reals]:
        """Append rows of the matrix.

        Parameters
        ----------
        rows : ndarray of shape (k, num_columns), float64

        Returns
        -------
        block : int
            First row of the shares that changes, or that is new if it equals the number of blocks before.
        additions : ndarray of shape (m, b, num_columns), float64
            What each worker adds to ``b`` rows from there on.
        """
        if rows.ndim != 2 or rows.shape[1] != self.num_columns:
            raise ParameterError("rows", f"must have shape (k, {self.num_columns})", rows.shape)
        size, first = self.code.block_size, self.num_rows
        block, position = divmod(first, size)
        before = self.num_blocks
        self.num_rows += len(rows)
        self._block_squares.extend(np.zeros(self.num_blocks - before))
        self.add_rows(first, rows)
        padded = np.zeros((self.num_blocks - block, size, self.num_columns))
        padded.reshape(-1, self.num_columns)[position : position + len(rows)] = rows
        return block, np.einsum("il,blc->ibc", self.code.generator, padded)

    def append_columns(self, columns: Reals) -> Reals:
        """Append columns of the matrix, shape (num_rows, k); returns each worker's, shape (m, p, k)."""
        if columns.ndim != 2 or columns.shape[0] != self.num_rows:
            raise ParameterError("columns", f"must have shape ({self.num_rows}, k)", columns.shape)
        self.add_columns(columns)
        return self.code.encode(columns)

    def scale(self, vector: Reals, *, batch: int | None = None, columns: slice = slice(None)) -> float:
        """``sum_j |A e_j| |v_j|``: its size if nothing cancels; scaling columns changes nothing."""
        parts = self._squares if batch is None else [self._squares[batch]]
        squares = parts[0].array if len(parts) == 1 else np.sum([each.array for each in parts], axis=0)
        norms = np.sqrt(squares[columns]) + _LOST_SQUARE * np.sqrt(self.num_rows)
        return float(norms @ np.abs(vector))

    def tolerance(self, vector: Reals, *, batch: int | None = None, columns: slice = slice(None)) -> Reals:
        """Largest rounding error of an honest answer in ``"code"``, for each block: shape (p,).

        The smaller of two bounds of the sum of absolute terms: norm of the block's rows times norm of the
        vector, which is tight block by block, and :meth:`scale`, which no scaling of columns inflates.
        """
        largest = (
            float(np.abs(vector).max(initial=0.0)) or 1.0
        )  # squares of a diverging vector would overflow
        norm = largest * float(np.linalg.norm(vector / largest))
        first, last = self.block_range(batch)
        lost = _LOST_SQUARE * np.sqrt(self.code.block_size * len(vector))
        rows = (np.sqrt(self._block_squares.array[first:last]) + lost) * norm
        sizes = np.minimum(rows, self.scale(vector, batch=batch, columns=columns))
        largest_row = float(np.linalg.norm(self.code.generator, axis=1).max())
        return np.asarray(self._growth * largest_row * sizes + _SMALLEST * len(vector))

    def decode(
        self,
        answers: Reals,
        vector: Reals,
        *,
        erased: Flags | None = None,
        suspects: Flags | None = None,
        suspended: Flags | None = None,
        batch: int | None = None,
        columns: slice = slice(None),
    ) -> DecodedProduct:
        """Decode the workers' answers to the product of the matrix and ``vector``.

        Parameters
        ----------
        answers : ndarray of shape (m, p), float64
            Rows of missing workers may hold anything.
        vector : ndarray of shape (num_columns,), float64
            What the workers multiplied with.
        erased, suspects : ndarray of shape (m,), bool, optional
            Missing workers, and workers to try without first.
        suspended : ndarray of shape (m,), bool, optional
            Workers whose answers are judged, but not used.
        batch : int, optional
            The batch of rows that was asked for.
        columns : slice
            The columns that were asked for, of a wide matrix.

        Returns
        -------
        DecodedProduct

        Raises
        ------
        DecodingError
            If more workers lie or are missing than can be tolerated, or the result is not as accurate as
            asked.
        """
        missing = np.zeros(self.code.num_workers, dtype=bool) if erased is None else erased
        first, last = self.row_range(batch)
        scale = self.scale(vector, batch=batch, columns=columns)
        if self.keys is None:
            tolerance = self.tolerance(vector, batch=batch, columns=columns)
            result = self._decoded_by_code(
                answers, last - first, tolerance, missing, suspects, unit=_unit_of(scale)
            )
        else:
            request = _Request(self, answers, vector, missing, batch, columns, scale)
            result = request.decode(suspects, suspended)
        if not result.error_bound <= self.accuracy * scale + _NEGLIGIBLE:
            raise RefusedProductError(
                f"the result could be off by {result.error_bound:.1e}, more than {self.accuracy:.0e} of its "
                f"terms ({scale:.1e}): too many workers lie or are missing for this code",
                narrow=result.narrow,
            )
        return result

    def _decoded_by_code(
        self,
        answers: Reals,
        num_rows: int,
        tolerance: Reals,
        missing: Flags,
        suspects: Flags | None,
        *,
        unit: float,
    ) -> DecodedProduct:
        """Let the code find the liars, in units of the scale, in which no honest answer overflows."""
        with np.errstate(over="ignore"):
            scaled = answers / unit
        beyond = ~missing & ~np.isfinite(scaled).all(axis=1)
        found = self.code.decode(
            scaled, num_rows, tolerance=tolerance / unit, erased=missing | beyond, suspects=suspects
        )
        return replace(
            found,
            values=found.values * unit,
            location=replace(found.location, corrupt=found.location.corrupt | beyond),
            error_bound=found.error_bound * unit,
        )


class _Request:
    """One product to be decoded with keys."""

    def __init__(
        self,
        coded: CodedMatrix,
        answers: Reals,
        vector: Reals,
        erased: Flags,
        batch: int | None,
        columns: slice,
        scale: float,
    ) -> None:
        assert coded.keys is not None, "made with keys"
        self.coded, self.keys, self.code = coded, coded.keys, coded.code
        self.answers, self.vector, self.erased, self.scale = answers, vector, erased, scale
        self.batch, self.columns = batch, columns
        first, last = coded.row_range(batch)
        self.num_rows, self.first_block = last - first, coded.block_range(batch)[0]
        self.unit = _unit_of(scale)
        self.noise = self.keys.noise(scale / self.unit, len(vector)) + self._underflow()

    def decode(self, suspects: Flags | None, suspended: Flags | None) -> DecodedProduct:
        """Decode without the suspects and verify the result as a whole, or verify every answer."""
        nobody = np.zeros_like(self.erased)
        aside = self.erased | (nobody if suspended is None else suspended)
        if self.coded.whole_key is not None:
            doubted = aside | (nobody if suspects is None else suspects)
            found = self._verified_whole(doubted, self.coded.whole_key)
            if found is not None:
                return found
        return self._verified_singly(aside)

    def _verified_whole(self, dropped: Flags, key: CodedKeys) -> DecodedProduct | None:
        """Decode without some workers, and say whether the result is right; then it tells who else is not."""
        if self.code.num_workers - dropped.sum() < self.code.block_size:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            values = self.code.recover(self.answers, self.num_rows, dropped)
        honest = self.code.recovery_norm(dropped) * float(np.linalg.norm(self.noise[~dropped]))
        noise = float(key.noise(self.scale / self.unit, len(self.vector))[0]) + honest
        value = float(self._values(key, values[None])[0])
        if not value <= float(key.limits(np.array([noise]))[0]):
            return None
        bound = float(key.error_bounds(np.array([value]), np.array([noise]))[0])
        corrupt = self._deviating(values, ~self.erased, bound)
        if (self._deviating(values, ~self.erased, honest) & ~corrupt).any():
            return (
                None  # somebody is off by more than rounding, yet not so far that it must be he who is wrong
            )
        return self._result(values, corrupt, dropped, bound, value / max(noise, _SMALLEST))

    def _verified_singly(self, aside: Flags) -> DecodedProduct:
        """Verify every answer alone, and decode from those that are right."""
        values, limits = self._values(self.keys, self.answers), self.keys.limits(self.noise)
        right = ~self.erased & (values <= limits)  # false for NaN
        passed, corrupt = right & ~aside, ~right & ~self.erased
        # The keys name suspended workers too. Nobody learns of it: their answers are not used either way.
        narrow = corrupt & ~aside & (values <= MARGIN * limits)
        if passed.sum() < self.code.block_size:
            wrong = tuple(np.flatnonzero(corrupt).tolist())
            raise RefusedProductError(
                f"more workers lie or are missing than there is redundancy; wrong: {list(wrong)}",
                received=int(passed.sum()),
                needed=self.code.block_size,
                culprits=wrong,
                narrow=narrow,
            )
        with np.errstate(over="ignore", invalid="ignore"):
            product = self.code.recover(self.answers, self.num_rows, ~passed)
        errors = self.keys.error_bounds(values[passed], self.noise[passed])
        bound = self.code.recovery_norm(~passed) * float(np.linalg.norm(errors))
        residual = float((values[passed] / np.maximum(limits[passed], _SMALLEST)).max())
        return self._result(product, corrupt, ~passed, bound, residual, narrow)

    def _deviating(self, product: Reals, workers: Flags, bound: float) -> Flags:
        """Compare answers with a product known to be right up to ``bound``: nothing secret takes part."""
        size = self.code.block_size
        padded = np.zeros(self.answers.shape[1] * size)
        padded[: len(product)] = product
        chosen = np.flatnonzero(workers)
        expected = self.code.generator[chosen] @ padded.reshape(-1, size).T
        with np.errstate(over="ignore", invalid="ignore"):
            deviations = np.linalg.norm((self.answers[chosen] - expected) / self.unit, axis=1)
        sizes = np.linalg.norm(self.code.generator[chosen], axis=1)
        flags = np.zeros_like(workers)
        flags[chosen] = ~(deviations <= self.noise[chosen] + sizes * bound)
        return flags

    def _values(self, keys: CodedKeys, answers: Reals) -> Reals:
        with np.errstate(over="ignore", invalid="ignore"):
            return keys.values(
                answers / self.unit,
                self.vector / self.unit,
                first_block=self.first_block if keys is self.keys else 0,
                batch=self.batch,
                columns=self.columns,
            )

    def _underflow(self) -> float:
        """Bound what products below the smallest number lose, in units of the scale."""
        return float(_SMALLEST / self.unit * len(self.vector) * self.answers.shape[1])

    def _result(
        self,
        values: Reals,
        corrupt: Flags,
        dropped: Flags,
        bound: float,
        residual: float,
        narrow: Flags | None = None,
    ) -> DecodedProduct:
        location = Location(corrupt, dropped, 0, residual)
        return DecodedProduct(values, location, "keys", bound * self.unit, narrow)


def _unit_of(scale: float) -> float:
    """Give a power of two of the scale's size: it costs no digit and keeps sums from over- and underflow."""
    # A scale of zero is that of a zero vector: then the smallest unit there is, in which every lie is large.
    return float(2.0 ** np.clip(np.frexp(scale)[1], -1000, 1000)) if scale else 2.0**-1000


def accuracy_without_keys(code: RealErrorLocatingCode, num_columns: int, worker_unit: float = UNIT) -> float:
    """Bound what a liar who knew everything could hide from the paper's decoder, per terms of the product.

    Parameters
    ----------
    code : RealErrorLocatingCode
    num_columns : int
        Terms of each entry of a product.
    worker_unit : float
        Unit roundoff of the shares.

    Returns
    -------
    float

    Examples
    --------
    >>> accuracy_without_keys(RealErrorLocatingCode(15, 5), 100) < 1e-9
    True
    >>> accuracy_without_keys(RealErrorLocatingCode(51, 12), 100) > 1e-3
    True
    """
    checks = float(np.sqrt(code.num_checks))
    return _growth(code, num_columns, worker_unit) * checks / max(code.worst_location(), 1e-300)


def _growth(code: RealErrorLocatingCode, num_columns: int, worker_unit: float) -> float:
    """Bound the rounding of an honest answer, per absolute sum of its terms."""
    storing = 3.0 * worker_unit if worker_unit > UNIT else 0.0
    return _ROUNDING * float(np.sqrt(max(num_columns, code.num_workers))) + storing


def secret_code(code: RealErrorLocatingCode, verification: Verification) -> RealErrorLocatingCode:
    """Draw the secret of a run: a random basis for keys, an order of the workers for the paper's decoder.

    Examples
    --------
    >>> secret_code(RealErrorLocatingCode(5, 1), "keys").locator
    'random'
    """
    if verification not in ("keys", "code"):
        raise ParameterError("verification", "must be 'keys' or 'code'", verification)
    if code.secret is not None and (code.locator == "random") == (verification == "keys"):
        return code
    return code.with_secret("random" if verification == "keys" else None)


def encode_matrix(
    code: RealErrorLocatingCode,
    matrix: Reals,
    *,
    verification: Verification = "keys",
    accuracy: float = 1e-6,
    random: np.random.Generator | None = None,
) -> tuple[CodedMatrix, Reals]:
    """Encode a matrix for products with vectors.

    Parameters
    ----------
    code : RealErrorLocatingCode
        Sizes; the basis or order is drawn (:func:`secret_code`).
    matrix : ndarray of shape (n_r, n_c), float64
    verification, accuracy, random
        As in :class:`CodedMatrix`.

    Returns
    -------
    coded : CodedMatrix
        For the master.
    shares : ndarray of shape (m, p, n_c), float64
        One share per worker.

    Raises
    ------
    ParameterError
        If the matrix is not two-dimensional, empty or not finite, or the code cannot be as accurate as asked.
    """
    if matrix.ndim != 2:
        raise ParameterError("matrix", "must have two axes", matrix.shape)
    drawn = secret_code(code, verification)
    shares = drawn.encode(matrix)
    coded = CodedMatrix(drawn, *matrix.shape, verification=verification, accuracy=accuracy, random=random)
    coded.add_rows(0, matrix)
    return coded, shares
