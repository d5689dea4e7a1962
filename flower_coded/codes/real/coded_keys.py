"""Verification keys for all workers of a real code at once: one secret, and a dot product per answer.

The share of worker ``i`` is ``S_i A``, row ``b`` of it ``sum_l G[i, l] A[b q + l]``. With one secret
``rho`` for all, ``rho S_i A = sum_l G[i, l] K[l]`` with ``K[l] = sum_b rho[b] A[b q + l]``: the key of
every worker in ``q`` rows, made in one pass over ``A`` and independent of the shares. Checking all answers
to ``v`` is one product of ``rho`` with them (it reads each answer once, which is the floor), ``K v``, and
``G`` times that.

**Rounding.** ``|S_i A e_j| <= |G_i| |A e_j|`` (Cauchy and Schwarz in each block), so an honest answer is
off by at most ``depth * u * |G_i| * sum_j |A e_j| |v_j|`` in Euclidean norm: the column norms of ``A`` are
all that the bound needs, and no worker has a say in it.

**Wide matrices** (``X^T`` in gradient descent: few rows, many columns). There ``K v`` costs ``q`` passes
over ``v``, more than a worker's product. But the product itself is short: it is decoded from the workers
not suspected, and checked *as a whole* by a key of its own, ``sigma A v``, one pass. Only if that fails are
the workers' keys asked.

What workers learn together counts together, since they share ``rho``: after a narrow catch all keys are
drawn anew (:func:`~flower_coded.codes.real.verification_keys.draw_secret`); see
:mod:`flower_coded.codes.real.verification_keys`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.real.summation import chunked_combination, summation_depth
from flower_coded.codes.real.verification_keys import (
    UNIT,
    draw_secret,
    passing_factor,
    rejection_factor,
    root_mean_square,
)

__all__ = ["CodedKeys", "GrowingRows"]

Reals = NDArray[np.float64]

_SMALLEST = 2.0**-1074


class GrowingRows:
    """An array that rows are appended to, with room ahead: ``O(1)`` copies of each row on average.

    Parameters
    ----------
    rows : ndarray of shape (n, ...)
        The first ones; not copied before one is appended.

    Examples
    --------
    >>> rows = GrowingRows(np.zeros((1, 2)))
    >>> rows.extend(np.ones((2, 2)))
    >>> rows.array.tolist()
    [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
    """

    def __init__(self, rows: NDArray[Any]) -> None:
        self._buffer, self._used = rows, rows.shape[0]

    @property
    def array(self) -> NDArray[Any]:
        """The rows so far; a view."""
        return self._buffer[: self._used]

    def extend(self, rows: NDArray[Any]) -> None:
        """Append rows."""
        needed = self._used + rows.shape[0]
        if needed > self._buffer.shape[0]:
            room = np.empty_like(self._buffer, shape=(needed + needed // 2, *self._buffer.shape[1:]))
            room[: self._used] = self.array
            self._buffer = room
        self._buffer[self._used : needed] = rows
        self._used = needed


class CodedKeys:
    """Keys to the products of every worker of a real code with one encoded matrix.

    Parameters
    ----------
    generator : ndarray of shape (m, q), float64
        ``G``, the code's ``F_perp``. ``[[1]]`` makes the key of a product as a whole.
    num_columns : int
        ``c`` of the matrix, which is filled in by :meth:`add_rows` or :meth:`add_columns`.
    num_batches : int
        Ranges of blocks that products may be asked for alone.
    num_key_rows : int
        ``r``, rows of ``rho``. With four, an error passes at 1,200 times its value once in 1e12.
    worker_unit : float
        Unit roundoff of the workers' shares; that of float32 where they store that.
    random : numpy.random.Generator, optional
        For tests; otherwise the secrets come from the system.

    Examples
    --------
    >>> generator, matrix = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.arange(4.0).reshape(2, 2)
    >>> keys = CodedKeys(generator, 2)
    >>> keys.add_rows(0, matrix)
    >>> answers, vector = generator @ matrix @ np.ones((2, 1)), np.ones(2)
    >>> answers[1] += 1e-9
    >>> keys.values(answers, vector) <= keys.limits(keys.noise(5.0, 2))
    array([ True, False,  True])
    """

    def __init__(
        self,
        generator: Reals,
        num_columns: int,
        *,
        num_batches: int = 1,
        num_key_rows: int = 4,
        worker_unit: float = UNIT,
        random: np.random.Generator | None = None,
    ) -> None:
        self.generator, self.num_key_rows, self.worker_unit = generator, num_key_rows, worker_unit
        self._random, width = random, num_key_rows * generator.shape[1]
        self._secret = GrowingRows(np.empty((0, num_key_rows)))  # transposed: blocks are appended
        # One row per column of the matrix, because columns are appended to a wide one: K transposed.
        self._images = [GrowingRows(np.zeros((num_columns, width))) for _ in range(num_batches)]
        self._sizes = np.linalg.norm(generator, axis=1)

    @property
    def num_blocks(self) -> int:
        """Blocks that the secret covers."""
        return len(self._secret.array)

    def add_rows(self, first_row: int, rows: Reals, *, batch: int = 0) -> None:
        """Take in rows of the matrix.

        Parameters
        ----------
        first_row : int
            Position of the first.
        rows : ndarray of shape (n, c), float64
        batch : int
            The batch they belong to.
        """
        size = self.generator.shape[1]
        self._draw_until(-(-(first_row + len(rows)) // size))
        image = self._images[batch].array.reshape(-1, size, self.num_key_rows)
        head = min(-first_row % size, len(rows))  # rows that go on with a block begun before
        whole = head + (len(rows) - head) // size * size
        for index in (*range(head), *range(whole, len(rows))):
            block, position = divmod(first_row + index, size)
            image[:, position] += np.multiply.outer(rows[index], self._secret.array[block])
        if whole > head:
            first_block = (first_row + head) // size
            secret = self._secret.array[first_block : first_block + (whole - head) // size]
            sums = secret.T @ rows[head:whole].reshape(len(secret), -1)
            image += sums.reshape(self.num_key_rows, size, -1).T

    def add_columns(self, columns: Reals, *, first: int | None = None) -> None:
        """Take in columns of a matrix whose number of rows is settled.

        Parameters
        ----------
        columns : ndarray of shape (n_r, k), float64
        first : int, optional
            Position of the first; new ones at the end by default.
        """
        size = self.generator.shape[1]
        self._draw_until(-(-columns.shape[0] // size))
        rows = columns.T
        missing = self.num_blocks * size - columns.shape[0]
        if missing:
            rows = np.pad(rows, ((0, 0), (0, missing)))
        # One product of a tall matrix instead of many small ones.
        by_position = np.ascontiguousarray(rows.reshape(-1, self.num_blocks, size).swapaxes(1, 2))
        images = (by_position.reshape(-1, self.num_blocks) @ self._secret.array).reshape(len(rows), -1)
        if first is None:
            self._images[0].extend(images)
        else:
            self._images[0].array[first : first + len(images)] = images

    def noise(self, scale: float, num_terms: int) -> Reals:
        """Bound the Euclidean norm of an honest answer's deviation.

        Parameters
        ----------
        scale : float
            ``sum_j |A e_j| |v_j|``.
        num_terms : int
            ``c``, or the columns that were asked for.

        Returns
        -------
        ndarray of shape (m,), float64
        """
        summing = summation_depth(num_terms) + 2.0 * self.generator.shape[1]
        checking = summing + 6.0 * float(np.sqrt(self.num_blocks)) + 8.0
        # Workers that store float32 add up in float64 all the same: they round the share and the answer.
        storing = 0.0 if self.worker_unit == UNIT else 3.0 * self.worker_unit
        underflow = _SMALLEST * num_terms * self.num_blocks
        return np.asarray(((summing + checking) * UNIT + storing) * self._sizes * scale + underflow)

    def values(
        self,
        answers: Reals,
        vector: Reals,
        *,
        first_block: int = 0,
        batch: int | None = None,
        columns: slice = slice(None),
    ) -> Reals:
        """Root mean square of ``rho h_i - kappa_i v`` for each worker.

        Parameters
        ----------
        answers : ndarray of shape (m, p), float64
        vector : ndarray of shape (c,), float64
        first_block : int
            Block of the answers' first entry.
        batch : int, optional
            The batch of rows asked for; all by default.
        columns : slice
            The columns asked for.

        Returns
        -------
        ndarray of shape (m,), float64
            Infinite or NaN where an answer is so large that the check overflows.
        """
        parts = self._images if batch is None else [self._images[batch]]
        sketch = sum(chunked_combination(vector, each.array[columns]) for each in parts)
        expected = self.generator @ np.reshape(sketch, (-1, self.num_key_rows))
        secret = self._secret.array[first_block : first_block + answers.shape[1]]
        with np.errstate(over="ignore", invalid="ignore"):
            return root_mean_square((answers @ secret - expected).T)

    def limits(self, noise: Reals) -> Reals:
        """Most that an honest answer's value reaches, shape (m,)."""
        return rejection_factor(self.num_key_rows) * noise

    def error_bounds(self, values: Reals, noise: Reals) -> Reals:
        """Bound the Euclidean norm of the errors of answers with these values, all but 1e-12 of the time."""
        return passing_factor(self.num_key_rows) * (values + noise)

    def _draw_until(self, num_blocks: int) -> None:
        missing = num_blocks - self.num_blocks
        if missing > 0:
            self._secret.extend(draw_secret(self.num_key_rows, missing, generator=self._random).T)
