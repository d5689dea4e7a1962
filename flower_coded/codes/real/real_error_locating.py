"""Real error-locating codes: products with an encoded matrix survive liars and stragglers.

The construction of Data, Song and Diggavi, "Data encoding for Byzantine-resilient distributed gradient
descent" (Allerton 2018), Sections III-A to III-D. With a locator matrix ``F`` (``k x m``) and a basis
``F_perp`` (``m x q``, ``q = m - k``) of its null space, block ``b`` of ``q`` rows of ``A`` is stored as
one row at each worker, ``sum_l F_perp[i, l] * A[b q + l]`` (equation 7). Whatever linear map the workers
apply, block ``b`` of their answers is a word of the code, and all blocks share the set of liars.

Where this differs from the paper, for the sake of float64: ``F`` is by default the real DFT code (Remark
6 allows any; the paper's Vandermonde matrix is ``locator="vandermonde"``), the workers that hold plain
rows (identity in ``F_perp``) are chosen by pivoted QR instead of being the last ``q``, liars are located
from all blocks at once (:mod:`flower_coded.codes.real.staged_location`) instead of from one random
combination (:meth:`RealErrorLocatingCode.locate_single`), erasures cost one check and errors two, and a
decoded word is tested.

A liar who knows the code can choose errors along the null vector of neighboring columns of ``F``, which is
nearly singular there (2.6e-12 at 51 workers and 12 liars), and make others look guilty. A :attr:`secret`
takes the knowledge away: it permutes the workers of a DFT or Vandermonde code, or draws the basis of the code
``"random"``, which keeps its condition whichever workers are dropped without knowing it, and is meant for
verification keys (:mod:`flower_coded.codes.real.verification_keys`), which need no structure to find liars.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.codes.array_namespace import Array, namespace_of
from flower_coded.codes.real.error_location import (
    null_space,
    numerical_rank,
    singular_space,
    smallest,
    subspace_residuals,
    window_syndromes,
)
from flower_coded.codes.real.locator_matrix import (
    LocatorMatrix,
    chebyshev_nodes,
    dft_locator,
    vandermonde_locator,
)
from flower_coded.codes.real.staged_location import Location, locate_errors, robust_tolerance
from flower_coded.errors import DecodingError, ParameterError

__all__ = ["DecodedProduct", "RealErrorLocatingCode"]

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DecodedProduct:
    """A decoded product and who got it wrong.

    Parameters
    ----------
    values : ndarray of shape (num_rows, ...), float64
        The product.
    location : Location
        Workers located, workers left out, and the residual of the final test.
    verification : {"code", "keys"}
        What vouched for it: the code's own residual test, or verification keys.
    error_bound : float
        Most by which ``values`` can be off, in Euclidean norm, whatever the liars know.
    narrow : ndarray of shape (m,), bool, optional
        Workers caught so narrowly by their keys that they learned something of them.
    """

    values: Reals
    location: Location
    verification: Literal["code", "keys"]
    error_bound: float
    narrow: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class RealErrorLocatingCode:
    """Code over ``m`` workers that corrects ``t`` errors and ``s`` erasures over the reals.

    Any ``e`` liars and ``f`` missing answers with ``2 e + f <= 2 t + s`` are corrected. Past that the
    decoder raises :class:`DecodingError` unless the liars, more than ``t`` of them, agreed on another
    word of the code.

    Parameters
    ----------
    num_workers : int
        ``m``.
    num_errors : int
        ``t``.
    num_erasures : int
        ``s``; ``1 <= 2 t + s < m``.
    locator : {"dft", "vandermonde", "random"}
        Family of ``F``; errors cannot be located in a ``"random"`` one.
    nodes : tuple of float, optional
        Nodes of the Vandermonde matrix, ``m`` distinct numbers; Chebyshev nodes by default.
    secret : int, optional
        Seed of the order of the workers in the code, or of the basis of a ``"random"`` one, which must have
        one; see :meth:`with_secret`. Without it the order is the workers' own.

    Raises
    ------
    ParameterError
        If a bound above does not hold.

    Examples
    --------
    >>> code = RealErrorLocatingCode(7, 2)
    >>> matrix, vector = np.arange(24.0).reshape(8, 3), np.array([1.0, -1.0, 2.0])
    >>> answers = code.encode(matrix) @ vector
    >>> answers[[1, 4]] = 99.0
    >>> decoded = code.decode(answers, num_rows=8)
    >>> bool(np.allclose(decoded.values, matrix @ vector)), np.flatnonzero(decoded.location.corrupt)
    (True, array([1, 4]))
    """

    num_workers: int
    num_errors: int
    num_erasures: int = 0
    locator: Literal["dft", "vandermonde", "random"] = "dft"
    nodes: tuple[float, ...] | None = None
    secret: int | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("num_errors", "num_erasures"):
            if getattr(self, name) < 0:
                raise ParameterError(name, "must not be negative", getattr(self, name))
        if not 1 <= self.num_checks < self.num_workers:
            raise ParameterError(
                "num_workers",
                f"must exceed 2 * num_errors + num_erasures = {self.num_checks}, and that must be at least 1",
                self.num_workers,
                hint=f"{self.num_workers} workers correct up to {max((self.num_workers - 1) // 2, 0)} errors",
            )
        if self.locator not in ("dft", "vandermonde", "random"):
            raise ParameterError("locator", "must be 'dft', 'vandermonde' or 'random'", self.locator)
        if self.locator == "random" and self.secret is None:
            raise ParameterError(
                "secret", "must be given for a random code", None, hint="with_secret draws one"
            )
        if self.nodes is not None and (self.locator != "vandermonde" or len(self.nodes) != self.num_workers):
            raise ParameterError(
                "nodes", f"must be {self.num_workers} numbers, for the Vandermonde locator only", self.nodes
            )

    @property
    def num_checks(self) -> int:
        """``k = 2 t + s``."""
        return 2 * self.num_errors + self.num_erasures

    @property
    def block_size(self) -> int:
        """``q = m - k``, the rows of the matrix that share one row of each share."""
        return self.num_workers - self.num_checks

    def with_secret(
        self, locator: Literal["dft", "vandermonde", "random"] | None = None, *, secret: int | None = None
    ) -> RealErrorLocatingCode:
        """Return this code in a secret order or basis, drawn from the system's cryptographic generator.

        Parameters
        ----------
        locator : {"dft", "vandermonde", "random"}, optional
            Another family.
        secret : int, optional
            For experiments.

        Returns
        -------
        RealErrorLocatingCode

        Examples
        --------
        >>> code = RealErrorLocatingCode(7, 2).with_secret("random")
        >>> code.locator, code.block_size
        ('random', 3)
        """
        family = self.locator if locator is None else locator
        nodes = self.nodes if family == "vandermonde" else None
        drawn = secrets.randbits(128) if secret is None else secret
        return replace(self, locator=family, nodes=nodes, secret=drawn)

    @cached_property
    def locator_matrix(self) -> LocatorMatrix:
        """``F``."""
        if self.locator == "random":
            gaussian = np.random.default_rng(self.secret).standard_normal((self.num_checks, self.num_workers))
            return LocatorMatrix(np.linalg.qr(gaussian.T)[0].T)
        if self.locator == "dft":
            public = dft_locator(self.num_workers, self.num_checks)
        else:
            nodes = chebyshev_nodes(self.num_workers) if self.nodes is None else self.nodes
            public = vandermonde_locator(nodes, self.num_checks)
        if self.secret is None:
            return public
        # A column of F belongs to a worker: any order of them is a code of the same kind, nodes permuted.
        order = np.random.default_rng(self.secret).permutation(self.num_workers)
        return LocatorMatrix(public.structured[:, order], public.check[:, order])

    @cached_property
    def systematic_workers(self) -> NDArray[np.int64]:
        """Workers that hold plain rows, in the order of the rows in a block; chosen by pivoted QR."""
        basis = null_space(self.locator_matrix.check)
        from scipy.linalg import qr  # slow to load, and only masters need it

        _, pivots = qr(basis.T, mode="r", pivoting=True)
        return np.sort(pivots[: self.block_size]).astype(np.int64)

    @cached_property
    def generator(self) -> Reals:
        """``F_perp`` of shape (m, q), the identity at the systematic workers."""
        basis = null_space(self.locator_matrix.check)
        generator = np.linalg.solve(basis[self.systematic_workers].T, basis.T).T
        generator[self.systematic_workers] = np.eye(self.block_size)
        return np.asarray(generator)

    def num_blocks(self, num_rows: int) -> int:
        """``p = ceil(n_r / q)``, the rows of each worker's share."""
        return -(-num_rows // self.block_size)

    def encode(self, matrix: Reals) -> Reals:
        """Encode the rows of a matrix: ``p`` rows for each worker.

        Costs ``(2 t + s + 1) n_r c`` multiplications: the systematic workers' rows are copied.

        Parameters
        ----------
        matrix : ndarray of shape (n_r, ...), float64

        Returns
        -------
        ndarray of shape (m, p, ...), float64

        Raises
        ------
        ParameterError
            If there is no row, or a value is not finite.
        """
        blocks = self._blocks(matrix)
        shares = np.empty((self.num_workers, blocks.shape[0], *matrix.shape[1:]))
        plain = np.ascontiguousarray(np.moveaxis(blocks, 1, 0))
        shares[self.systematic_workers] = plain
        mixed = self.generator[self._parity_workers] @ plain.reshape(self.block_size, -1)
        shares[self._parity_workers] = mixed.reshape(-1, *shares.shape[1:])
        return shares

    def encode_for(self, worker: int, matrix: Array) -> Array:
        """Encode for one worker alone, with no memory but for the share.

        Parameters
        ----------
        worker : int
            ``i``, from 0.
        matrix : ndarray or torch tensor of shape (n_r, ...), float64

        Returns
        -------
        ndarray or torch tensor of shape (p, ...), float64
            Row ``worker`` of :meth:`encode`, up to rounding.

        Examples
        --------
        >>> code, matrix = RealErrorLocatingCode(5, 1), np.arange(8.0).reshape(4, 2)
        >>> bool(np.allclose(code.encode_for(3, matrix), code.encode(matrix)[3]))
        True
        """
        num_rows, size = matrix.shape[0], self.block_size
        namespace = namespace_of(matrix)
        share = namespace.zeros_like(matrix[: self.num_blocks(num_rows)])
        # Strided views of every q-th row: no copy of the matrix, and one product alone at plain workers.
        for position in np.flatnonzero(self.generator[worker]):
            rows = matrix[position::size]
            share[: len(rows)] += float(self.generator[worker, position]) * rows
        return share

    def encode_row(self, row_index: int, row: Reals) -> tuple[int, Reals]:
        """Encode one row alone: what each worker adds to which row of its share.

        Appending row ``n_r`` to an encoded matrix of ``n_r`` rows costs ``(2 t + s + 1) c`` and gives the
        encoding from scratch, up to rounding (Section V).

        Parameters
        ----------
        row_index : int
            Position in the matrix.
        row : ndarray of shape (...), float64

        Returns
        -------
        block : int
            Row of the shares that changes; a new one if ``row_index`` is a multiple of ``q``.
        additions : ndarray of shape (m, ...), float64
            Zero at all systematic workers but one.

        Examples
        --------
        >>> code = RealErrorLocatingCode(7, 2)
        >>> block, additions = code.encode_row(3, np.array([1.0]))
        >>> block, int(np.count_nonzero(additions))
        (1, 5)
        """
        block, position = divmod(row_index, self.block_size)
        additions = np.zeros((self.num_workers, *row.shape))
        touched = np.append(self._parity_workers, self.systematic_workers[position])
        additions[touched] = np.multiply.outer(self.generator[touched, position], row)
        return block, additions

    def decode(
        self,
        words: Reals,
        num_rows: int,
        *,
        tolerance: ArrayLike | None = None,
        erased: NDArray[np.bool_] | None = None,
        suspects: NDArray[np.bool_] | None = None,
    ) -> DecodedProduct:
        """Locate the liars, drop them, and solve for the product.

        Parameters
        ----------
        words : ndarray of shape (m, p, ...), float64
            The workers' answers, one row each; rows marked as erased may hold anything.
        num_rows : int
            ``n_r``, rows of the product.
        tolerance : float or ndarray of shape (p,), optional
            Largest deviation of an honest answer; see :func:`locate_errors`.
        erased : ndarray of shape (m,), bool, optional
            Workers without a usable answer.
        suspects : ndarray of shape (m,), bool, optional
            Workers to try first.

        Returns
        -------
        DecodedProduct

        Raises
        ------
        DecodingError
            If more workers lie or are missing than the code corrects.
        """
        flat, limits = self._flat(words, num_rows, tolerance)
        location = self.locate(flat, tolerance=limits, erased=erased, suspects=suspects)
        values = self.recover(words, num_rows, location.dropped)
        honest = robust_tolerance(flat, erased) if limits is None else limits
        sizes = float(np.linalg.norm(np.broadcast_to(np.asarray(honest), flat.shape[1:])))
        return DecodedProduct(values, location, "code", self._error_bound(location.dropped, sizes))

    def locate(
        self,
        words: Reals,
        *,
        tolerance: ArrayLike | None = None,
        erased: NDArray[np.bool_] | None = None,
        suspects: NDArray[np.bool_] | None = None,
    ) -> Location:
        """Locate the liars from all blocks at once; arguments and errors as :func:`locate_errors`."""
        self._require_structure()
        return locate_errors(
            self.locator_matrix, words, tolerance=tolerance, erased=erased, suspects=suspects
        )

    def locate_single(
        self, words: Reals, generator: np.random.Generator, *, erased: NDArray[np.bool_] | None = None
    ) -> NDArray[np.bool_]:
        """Locate the liars as the paper does: Reed-Solomon decoding of one random combination of the blocks.

        The support of a Gaussian combination is that of all blocks with probability one (Lemma 1); the
        number of errors is the numerical rank of the Hankel matrix of its syndromes, and they lie at the
        roots of its null polynomial. There is no test afterwards: compare, or call :meth:`locate`.

        Parameters
        ----------
        words : ndarray of shape (m, p), float64
        generator : numpy.random.Generator
            For the coefficients.
        erased : ndarray of shape (m,), bool, optional
            Workers without a usable answer.

        Returns
        -------
        ndarray of shape (m,), bool
        """
        self._require_structure()
        gone = np.zeros(self.num_workers, dtype=bool) if erased is None else erased
        present = np.where(gone[:, None], 0.0, words)
        present = present / max(float(np.abs(present).max(initial=0.0)), np.finfo(float).tiny)
        mixture = present @ generator.standard_normal((words.shape[1], 1))
        values = self.locator_matrix.structured @ mixture
        num_gone = int(gone.sum())
        most = (self.num_checks - num_gone) // 2
        columns = self.locator_matrix.structured[: most + 1 + num_gone]
        outside = null_space(columns[:, gone].conj().T).conj().T
        _, sizes = singular_space(outside @ window_syndromes(values, most + 1 + num_gone))
        scale = float(np.linalg.norm(self.locator_matrix.structured) * np.abs(mixture).max())
        count = int(numerical_rank(sizes, 64 * np.finfo(float).eps * scale))
        if count == 0 or most == 0:
            return np.zeros(self.num_workers, dtype=bool)
        count = min(count, most)
        windows = window_syndromes(values, count + 1 + num_gone)
        return smallest(subspace_residuals(self.locator_matrix.structured, windows, count, gone), count)

    def recover(self, words: Reals, num_rows: int, dropped: NDArray[np.bool_]) -> Reals:
        """Solve for the product by least squares over the workers that are left.

        Parameters
        ----------
        words : ndarray of shape (m, p, ...), float64
        num_rows : int
            ``n_r``.
        dropped : ndarray of shape (m,), bool
            Workers to leave out, at most ``k``.

        Returns
        -------
        ndarray of shape (num_rows, ...), float64

        Raises
        ------
        DecodingError
            If fewer than ``q`` workers are left.
        """
        gone = np.asarray(dropped, dtype=bool)
        left = self.num_workers - int(gone.sum())
        if left < self.block_size:
            raise DecodingError("too few workers are left", received=left, needed=self.block_size)
        if not np.isfinite(words).all():
            words = np.where(gone.reshape(-1, *(1,) * (words.ndim - 1)), 0.0, words)
        solver = _recovery(self, gone.tobytes())
        if words.ndim == 2:
            rows = (words.T @ solver.T).reshape(-1)
        else:
            rows = np.moveaxis(np.tensordot(solver, words, axes=1), 0, 1).reshape(-1, *words.shape[2:])
        return np.asarray(rows[:num_rows])

    def recovery_norm(self, dropped: NDArray[np.bool_]) -> float:
        """Spectral norm of the recovery without the dropped workers: what it makes of an error of one."""
        return _recovery_norm(self, np.asarray(dropped, dtype=bool).tobytes())

    def worst_location(self) -> float:
        """Smallest singular value of ``F`` at ``k`` neighboring columns: what a liar who knows ``F`` needs.

        Errors along the singular vector change the syndromes by that part of their size: at 1e-12 four digits
        are left to tell the liars, half of the set, from the other half, which is honest.
        """
        return _worst_location(replace(self, secret=None))

    def _error_bound(self, dropped: NDArray[np.bool_], tolerance: float) -> float:
        """Bound the error of words that passed the residual test, whose tolerances have this Euclidean norm.

        What the liars left in and those left out, at most ``k`` together, may add without exceeding
        ``sqrt(k)`` tolerances in the syndromes is that over the smallest singular value of ``F`` at their
        columns; and every honest answer is off by up to a tolerance.
        """
        undetected = np.sqrt(self.num_checks) / max(self.worst_location(), float(np.finfo(float).tiny))
        honest = np.sqrt(self.num_workers)
        return float(self.recovery_norm(dropped) * (undetected + honest) * tolerance)

    def condition(self, dropped: NDArray[np.bool_]) -> float:
        """Condition number of the recovery without the dropped workers: digits it may cost."""
        return float(np.linalg.cond(self.generator[~np.asarray(dropped, dtype=bool)]))

    @cached_property
    def _parity_workers(self) -> NDArray[np.int64]:
        return np.setdiff1d(np.arange(self.num_workers), self.systematic_workers)

    def _require_structure(self) -> None:
        if self.locator == "random":
            raise ParameterError(
                "locator",
                "must be 'dft' or 'vandermonde' for errors to be located",
                self.locator,
                hint="a random code needs verification keys",
            )

    def _blocks(self, matrix: Reals) -> Reals:
        """View the rows as (p, q, ...), the last block filled up with zeros."""
        if matrix.ndim < 1 or matrix.shape[0] < 1 or not np.isfinite(matrix).all():
            raise ParameterError("matrix", "must have at least one row and be finite", matrix.shape)
        num_blocks = self.num_blocks(matrix.shape[0])
        missing = num_blocks * self.block_size - matrix.shape[0]
        if missing:
            matrix = np.concatenate([matrix, np.zeros((missing, *matrix.shape[1:]))])
        return matrix.reshape(num_blocks, self.block_size, *matrix.shape[1:])

    def _flat(
        self, words: Reals, num_rows: int, tolerance: ArrayLike | None
    ) -> tuple[Reals, ArrayLike | None]:
        """Check the words' shape and lay the trailing axes out as further words."""
        expected = (self.num_workers, self.num_blocks(num_rows))
        if words.shape[:2] != expected:
            raise ParameterError("words", f"must have shape {expected} + trailing axes", words.shape)
        flat = words.reshape(self.num_workers, -1)
        if tolerance is not None and np.ndim(tolerance) == 1:
            tolerance = np.repeat(np.asarray(tolerance), flat.shape[1] // expected[1])
        return flat, tolerance


@lru_cache(maxsize=64)
def _worst_location(code: RealErrorLocatingCode) -> float:
    check, size = code.locator_matrix.check, code.num_checks
    sets = (np.arange(size) + np.arange(code.num_workers)[:, None]) % code.num_workers
    return float(np.linalg.svd(np.moveaxis(check[:, sets], 1, 0), compute_uv=False).min())


@lru_cache(maxsize=256)
def _recovery_norm(code: RealErrorLocatingCode, dropped_bytes: bytes) -> float:
    return float(np.linalg.norm(_recovery(code, dropped_bytes), 2))


@lru_cache(maxsize=256)
def _recovery(code: RealErrorLocatingCode, dropped_bytes: bytes) -> Reals:
    """Least-squares inverse of ``F_perp`` without the dropped rows, zero at their columns: (q, m)."""
    kept = ~np.frombuffer(dropped_bytes, dtype=bool)
    solver = np.zeros((code.block_size, code.num_workers))
    solver[:, kept] = np.linalg.pinv(code.generator[kept])
    return solver
