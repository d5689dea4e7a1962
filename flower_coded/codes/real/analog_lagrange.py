"""Analog Lagrange coded computing: private shares of real matrices, computed on in floating point.

A master holds ``k`` real matrices and wants a polynomial ``f`` of total degree ``D`` of each. It hides them
with ``t`` matrices of Gaussian noise in one matrix polynomial of degree ``k + t - 1``, gives each of ``N``
workers the value of that polynomial at one root of unity, and gets back values of a polynomial of degree
``(k + t - 1) D``: any ``K = (k + t - 1) D + 1`` of them rebuild ``f`` of every block. No finite field is
needed, at a price: the noise that hides the data costs precision ([1]_, [2]_ Section II).

Left out here: liars among the workers (:mod:`flower_coded.codes.real.dft_code`), what colluding workers learn
(:mod:`flower_coded.codes.real.analog_privacy`), and who gets which share
(:mod:`flower_coded.codes.real.index_assignment`).

References
----------
.. [1] M. Soleymani, H. Mahdavifar, A. S. Avestimehr, "Analog Lagrange Coded Computing", 2020.
.. [2] R. Borah, J. Harshan, "Robust Analog Lagrange Coded Computing: Theory and Algorithms via Discrete
   Fourier Transforms".
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from flower_coded.codes.array_namespace import Array, constant_like, namespace_of
from flower_coded.errors import DecodingError, ParameterError

__all__ = ["AnalogLagrangeCode", "draw_complex_gaussian", "relative_error", "to_decibel", "verify_degree"]

_PIECE = 2**15
"""Numbers drawn at a time."""
ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]


@dataclass(frozen=True)
class AnalogLagrangeCode:
    """Encoder and reconstruction of analog Lagrange coded computing.

    Parameters
    ----------
    num_workers : int
        ``N``; every worker gets one evaluation of the encoding polynomial.
    num_blocks : int
        ``k``, the private matrices computed on at once.
    num_colluders : int
        ``t``, the workers that may pool their shares; 0 hides nothing.
    degree : int
        ``D``, the total degree of the polynomial the workers evaluate.
    noise_scale : float
        ``σ``; each of the ``t`` noise matrices has circular complex Gaussian entries of standard deviation
        ``σ / √t``. Larger hides more and costs precision.
    radius : float
        ``β``, the radius of the circle of data points; the workers' points lie on the unit circle.

    Raises
    ------
    ParameterError
        If a number is out of range, or ``N < K`` so that even honest results could not be reconstructed.

    Examples
    --------
    >>> code = AnalogLagrangeCode(num_workers=31, num_blocks=5, num_colluders=3, degree=2, noise_scale=1.0)
    >>> code.dimension, code.num_correctable
    (15, 8)
    >>> blocks = np.random.default_rng(1).standard_normal((5, 20, 4))
    >>> shares = code.encode(blocks)
    >>> results = np.swapaxes(shares, -1, -2) @ shares                # what 31 honest workers send back
    >>> gram = code.reconstruct(results)
    >>> np.allclose(gram, np.swapaxes(blocks, -1, -2) @ blocks, rtol=1e-9, atol=1e-9)
    True
    """

    num_workers: int
    num_blocks: int
    num_colluders: int
    degree: int = 2
    noise_scale: float = 1e4
    radius: float = 1.5

    def __post_init__(self) -> None:
        """Check the parameters and their relation ``K ≤ N``."""
        for name, least in (("num_workers", 2), ("num_blocks", 1), ("num_colluders", 0), ("degree", 1)):
            if getattr(self, name) < least:
                raise ParameterError(name, f"must be at least {least}", getattr(self, name))
        if not (np.isfinite(self.noise_scale) and self.noise_scale > 0):
            raise ParameterError("noise_scale", "must be positive and finite", self.noise_scale)
        if not (np.isfinite(self.radius) and self.radius > 0):
            raise ParameterError("radius", "must be positive and finite", self.radius)
        if self.dimension > self.num_workers:
            raise ParameterError(
                "num_workers",
                f"must be at least (num_blocks + num_colluders - 1) * degree + 1 = {self.dimension}",
                self.num_workers,
                hint="add workers, or split the data into fewer blocks",
            )
        gap = np.abs(self.data_points[:, None] - self.worker_points[None, :]).min(axis=1)
        if self.num_colluders and gap[: self.num_blocks].min() < 1e-9:
            raise ParameterError(
                "radius", "must keep every data point off the workers' points", self.radius, hint="use 1.5"
            )

    @property
    def dimension(self) -> int:
        """``K``, the results needed to reconstruct."""
        return (self.num_blocks + self.num_colluders - 1) * self.degree + 1

    @property
    def num_correctable(self) -> int:
        """``v = ⌊(N - K) / 2⌋``, the liars that the code alone can locate when nobody is silent."""
        return (self.num_workers - self.dimension) // 2

    @property
    def num_spare(self) -> int:
        """``N - K``, the results that may be lost: liars that keys name, and silent workers, together."""
        return self.num_workers - self.dimension

    @property
    def privacy_cliff(self) -> int:
        """``t + ⌈k/2⌉``, the shares that together give real data exactly, by one linear system.

        At one position ``s`` shares are ``2 s`` real equations in ``k`` real values and ``2 t`` real numbers
        of noise. From ``t + 1`` shares on, ``2 (s - t)`` exact combinations of the data are known, whatever
        the noise scale. (Complex data are ``2 k`` real numbers: ``t + k`` shares.)
        """
        return self.num_colluders + (self.num_blocks + 1) // 2

    def check_pooling(self, num_pooling: int) -> None:
        """Refuse if more workers may pool their shares than the noise hides from.

        Liars are among those who may pool: they already work together.

        Raises
        ------
        ParameterError
            If ``num_pooling > t``.
        """
        if num_pooling > self.num_colluders:
            raise ParameterError(
                "num_colluders",
                f"must be at least the {num_pooling} workers who lie, as they may pool their shares too: "
                f"{self.num_colluders + 1} shares leak exactly, {self.privacy_cliff} give the whole table",
                self.num_colluders,
                hint="count everybody who may pool, liars included",
            )

    @cached_property
    def data_points(self) -> ComplexArray:
        """``β_r = β ω^(r-1)`` with ``ω = exp(-2πi/(k+t))``; blocks first, then noise; shape (k+t,)."""
        points: ComplexArray = self.radius * _roots_of_unity(self.num_blocks + self.num_colluders)
        return points

    @cached_property
    def worker_points(self) -> ComplexArray:
        """``α_i = γ^(i-1)`` with ``γ = exp(-2πi/N)``; shape (N,)."""
        return _roots_of_unity(self.num_workers)

    @cached_property
    def encoding_matrix(self) -> ComplexArray:
        """``ℓ_r(α_i)``, the Lagrange basis at the workers' points; shape (N, k+t).

        The data points are equally spaced on a circle, so that the basis is a geometric sum,
        ``ℓ_r(z) = (1/n) Σ_{d<n} (z/β_r)^d``: no products of differences, hence no cancellation.
        """
        ratios = self.worker_points[:, None, None] / self.data_points[None, :, None]
        powers: ComplexArray = ratios ** np.arange(len(self.data_points))
        basis: ComplexArray = powers.mean(axis=-1)
        return basis

    @cached_property
    def interpolation_matrix(self) -> ComplexArray:
        """``β_j^d`` for the ``k`` blocks: takes coefficients of ``f(l(z))`` to its values; shape (k, K)."""
        values: ComplexArray = self.data_points[: self.num_blocks, None] ** np.arange(self.dimension)
        return values

    def draw_noise(
        self, block_shape: tuple[int, ...], generator: np.random.Generator | None = None
    ) -> ComplexArray:
        """Draw the ``t`` hiding matrices.

        Parameters
        ----------
        block_shape : tuple of int
            Shape of one private matrix.
        generator : numpy.random.Generator, optional
            For experiments only. Without it the noise comes from the system's random source.

        Returns
        -------
        ndarray of shape (t, *block_shape), complex128
            Standard deviation ``σ / √t`` per entry.
        """
        scale = self.noise_scale / np.sqrt(max(self.num_colluders, 1))
        noise = draw_complex_gaussian((self.num_colluders, *block_shape), generator)
        noise *= scale
        return noise

    def encode(
        self, blocks: Array, noise: Array | None = None, *, generator: np.random.Generator | None = None
    ) -> Array:
        """Give the shares ``U_i = l(α_i)`` (equation 1 of the second source).

        Parameters
        ----------
        blocks : array of shape (..., k, rows, columns), float64
            The private matrices; leading axes are independent repetitions.
        noise : array of shape (..., t, rows, columns), complex128, optional
            The hiding matrices; drawn by :meth:`draw_noise` if absent.
        generator : numpy.random.Generator, optional
            Passed to :meth:`draw_noise`.

        Returns
        -------
        array of shape (..., N, rows, columns), complex128
            Share ``i`` belongs to evaluation index ``i``; the same kind of array as ``blocks``.

        Raises
        ------
        ParameterError
            If the shapes do not fit the code or an entry is not finite.
        """
        namespace = namespace_of(blocks)
        if blocks.ndim < 3 or blocks.shape[-3] != self.num_blocks:
            raise ParameterError(
                "blocks", f"must have shape (..., {self.num_blocks}, rows, columns)", tuple(blocks.shape)
            )
        if not bool(namespace.isfinite(blocks).all()):
            raise ParameterError("blocks", "must be finite", "NaN or infinity")
        batch, block_shape = tuple(blocks.shape[:-3]), tuple(blocks.shape[-2:])
        if noise is None:
            drawn = self.draw_noise((*batch, *block_shape), generator)
            noise = constant_like(np.moveaxis(drawn, 0, -3), blocks)
        if tuple(noise.shape) != (*batch, self.num_colluders, *block_shape):
            raise ParameterError("noise", f"must be {self.num_colluders} matrices", tuple(noise.shape))
        hidden = namespace.concatenate([blocks + 0j, noise], axis=-3)
        flat = hidden.reshape(*batch, hidden.shape[-3], -1)
        shares: Array = constant_like(self.encoding_matrix, blocks) @ flat
        return shares.reshape(*batch, self.num_workers, *block_shape)

    def encode_for(self, index: int, blocks: Array, noise: Array) -> Array:
        """Give one worker's share of :meth:`encode`, so that dealing need not hold all of them.

        Parameters
        ----------
        index : int
            Evaluation index.
        blocks : array of shape (k, rows, columns), float64 or complex128
            The private matrices.
        noise : array of shape (t, rows, columns), complex128
            The hiding matrices, the same for all workers.

        Returns
        -------
        array of shape (rows, columns), complex128
            The same bits whenever it is made again.

        Examples
        --------
        >>> code = AnalogLagrangeCode(num_workers=7, num_blocks=2, num_colluders=1)
        >>> blocks, noise = np.ones((2, 3, 2)), code.draw_noise((3, 2))
        >>> np.allclose(code.encode_for(4, blocks, noise), code.encode(blocks, noise)[4])
        True
        """
        row = constant_like(self.encoding_matrix[index], blocks)
        # One block at a time: a product with the stack would copy all of it to complex numbers first.
        share: Array = row[0] * blocks[0]
        for place in range(1, self.num_blocks):
            share += row[place] * blocks[place]
        for place in range(self.num_colluders):
            share += row[self.num_blocks + place] * noise[place]
        return share

    def reconstruct(
        self, results: Array, present: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    ) -> Array:
        """Rebuild ``f`` of every block from the workers' results, by least squares over all that came.

        No error is corrected here: one lying worker spoils every block.

        Parameters
        ----------
        results : array of shape (..., N, *result_shape), complex128
            ``f(U_i)`` in order of evaluation index, with exactly one trailing axis or two.
        present : ndarray of shape (N,), bool, optional
            Workers whose result came; the entries of the others are not read.

        Returns
        -------
        array of shape (..., k, *result_shape), float64
            The real part of ``f(l(β_j))``: the data and the polynomial are real.

        Raises
        ------
        DecodingError
            If fewer than ``K`` results are present.
        """
        present = np.ones(self.num_workers, bool) if present is None else np.asarray(present, bool)
        if int(present.sum()) < self.dimension:
            raise DecodingError(
                "too few results to interpolate", received=int(present.sum()), needed=self.dimension
            )
        worker_axis = results.ndim - 3 if results.ndim >= 3 else 0
        result_shape = tuple(results.shape[worker_axis + 1 :])
        flat = results.reshape(*results.shape[:worker_axis], self.num_workers, -1)
        rebuild = constant_like(self.reconstruction_matrix(present), results)
        kept = constant_like(np.flatnonzero(present), results)
        values = (rebuild @ flat[..., kept, :]).real
        return values.reshape(*results.shape[:worker_axis], self.num_blocks, *result_shape)

    def reconstruction_matrix(self, present: np.ndarray[Any, np.dtype[np.bool_]]) -> ComplexArray:
        """Give the matrix from the results that are present to the blocks' values; shape (k, present)."""
        evaluation: ComplexArray = self.worker_points[present, None] ** np.arange(self.dimension)
        matrix: ComplexArray = self.interpolation_matrix @ np.linalg.pinv(evaluation)
        return matrix


def draw_complex_gaussian(
    shape: tuple[int, ...], generator: np.random.Generator | None = None
) -> ComplexArray:
    """Draw circular complex Gaussian numbers of unit variance.

    Parameters
    ----------
    shape : tuple of int
        Shape of the result.
    generator : numpy.random.Generator, optional
        For experiments. Without it 53-bit uniforms from ``os.urandom`` go through the Box-Muller map.

    Returns
    -------
    ndarray of the given shape, complex128
        ``E|z|² = 1``, real and imaginary part independent.

    Examples
    --------
    >>> bool(abs(draw_complex_gaussian((1000, 100)).std() - 1) < 0.02)
    True
    """
    count = int(np.prod(shape))
    if generator is not None:
        pairs = generator.standard_normal((2, count))
        gaussian: ComplexArray = (pairs[0] + 1j * pairs[1]) / np.sqrt(2.0)
        return gaussian.reshape(shape)
    drawn = np.empty(count, dtype=np.complex128)
    # In pieces that a cache holds: bytes, words and uniforms of all at once would be five times the result.
    for first in range(0, count, _PIECE):
        piece = drawn[first : first + _PIECE]
        words = np.frombuffer(os.urandom(16 * len(piece)), dtype=np.uint64).reshape(2, -1) >> np.uint64(11)
        uniform = (words.astype(np.float64) + 0.5) * 2.0**-53
        piece[:] = np.sqrt(-np.log(uniform[0])) * np.exp(2j * np.pi * uniform[1])
    return drawn.reshape(shape)


def verify_degree(
    function: Callable[[ComplexArray], ComplexArray],
    block_shape: tuple[int, int],
    degree: int,
    *,
    generator: np.random.Generator | None = None,
    num_lines: int = 3,
    tolerance: float = 1e-9,
) -> None:
    """Check on random complex lines that ``function`` is a polynomial of total degree at most ``degree``.

    On the line ``A + sB`` such a function is a polynomial of that degree in ``s``. Its values at
    ``2 (degree + 2)`` points of the unit circle have Fourier coefficients 0 beyond the degree; a conjugate
    (``s̄ = 1/s`` on the circle), a division or a larger degree fills them.

    Parameters
    ----------
    function : callable
        Takes one complex matrix of shape ``block_shape`` and gives an array; what a worker would run.
    block_shape : tuple of (int, int)
        Shape of one private matrix.
    degree : int
        The total degree claimed.
    generator : numpy.random.Generator, optional
        Where the lines come from; a fixed seed if absent.
    num_lines : int
        Independent lines tried.
    tolerance : float
        Largest coefficient beyond the degree, relative to the largest of all.

    Raises
    ------
    ParameterError
        If the values are not finite or do not have the degree claimed.

    Examples
    --------
    >>> verify_degree(lambda X: X.T @ X, (4, 3), degree=2)
    >>> verify_degree(lambda X: X.conj().T @ X, (4, 3), degree=2)
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: function must be a polynomial of total degree at most 2; ...
    """
    generator = np.random.default_rng(0) if generator is None else generator
    num_points = 2 * (degree + 2)
    steps = _roots_of_unity(num_points)
    for _ in range(num_lines):
        start, direction = draw_complex_gaussian((2, *block_shape), generator)
        values = np.stack([np.asarray(function(start + step * direction)).ravel() for step in steps])
        coefficients = np.abs(np.fft.ifft(values, axis=0))
        largest = float(coefficients.max(initial=0.0))
        beyond = float(coefficients[degree + 1 :].max(initial=0.0))
        if not np.isfinite(largest) or beyond > tolerance * largest:
            share = beyond / largest if np.isfinite(largest) else float("nan")
            raise ParameterError(
                "function",
                f"must be a polynomial of total degree at most {degree}",
                f"a share of {share:.1e} beyond it on a random line",
                hint="state a larger degree; transpose without conjugating; no division",
            )


def relative_error(estimate: Array, truth: Array, num_axes: int | None = None) -> Array:
    """Give ``‖Y - Y'‖ / ‖Y‖`` over the last ``num_axes`` axes ([2]_, equation 3).

    Examples
    --------
    >>> float(relative_error(np.array([3.0, 4.4]), np.array([3.0, 4.0])).round(3))
    0.08
    """
    count = truth.ndim if num_axes is None else num_axes
    axes = tuple(range(-count, 0))
    difference = (abs(estimate - truth) ** 2).sum(axes) ** 0.5
    return difference / (abs(truth) ** 2).sum(axes) ** 0.5


def to_decibel(ratio: float) -> float:
    """Give ``10 log₁₀`` of an error ratio, the unit of every table here.

    Examples
    --------
    >>> to_decibel(1e-3)
    -30.0
    """
    return float(10.0 * np.log10(ratio))


def _roots_of_unity(count: int) -> ComplexArray:
    """Give ``exp(-2πi j / count)`` for ``j = 0 .. count - 1``."""
    roots: ComplexArray = np.exp(-2j * np.pi * np.arange(count) / count)
    return roots
