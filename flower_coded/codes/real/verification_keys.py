"""Verification keys: is a worker's product right? Told from his answer alone, for the price of a dot product.

Whoever once held the matrix ``S`` of a worker draws a secret Gaussian matrix ``rho`` and keeps it with
``kappa = rho S``. An answer ``h`` claimed to be ``S v`` is right, up to rounding, if ``rho h = kappa v``:
Freivalds' check, used for coded computing by Tang et al., "Adaptive Verifiable Coded Computing" (arXiv
2107.12958). It goes through no code: whatever the liar knows about the code, and whatever the others send,
is of no use to him. So a liar costs one unit of redundancy, like a worker that is silent, instead of two.

**What is compared.** The *value* of an answer is the root mean square of ``rho h - kappa v`` over the rows of
``rho``. Given an error ``e`` of the answer it is ``|e|`` times a random factor, the root of a Gamma
variable of mean 1, whatever the direction of ``e``. Two quantiles of that factor say everything:

* an honest answer, with ``|e| <= noise``, stays below ``rejection_factor * noise`` (all but 1e-15 of the
  time);
* an answer that passes has ``|e| <= passing_factor * value`` (all but 1e-12 of the time, by default), so each
  accepted answer comes with a bound of its error.

**The noise** is a bound on honest rounding, ``depth * u * sum_j |S e_j| |v_j|``: scaling a column of ``S``
and undoing it in ``v`` changes nothing. It contains nothing that the worker sent. A bound with a term
``|rho| |h|`` would grow with the lie: at 20,000 entries a lie of ``1 / (20,000 u)`` times the truth would
excuse itself.

**Adaptive liars.** The only thing a worker can learn of ``rho`` is whether an answer was caught. An answer
caught far above its limit would have been caught under almost any ``rho``. With four rows, of ``Q`` answers
caught at more than ``M`` times the limit, a liar learns to exclude a fraction of at most ``750 Q / M**4``
of all ``rho``: 7.5e-7 after a thousand of them at :data:`MARGIN`. An answer caught by a factor of two tells
him a bit, and a few hundred bits are a key. So a worker caught within the margin gets a new ``rho`` before
his answers count again: :attr:`KeyCheck.is_marginal` says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.codes.real.summation import summation_depth
from flower_coded.errors import ParameterError

__all__ = [
    "MARGIN",
    "KeyCheck",
    "VerificationKey",
    "draw_secret",
    "key_depth",
    "passing_factor",
    "rejection_factor",
    "root_mean_square",
]

Numbers = NDArray[Any]
"""Float64 or complex128."""

UNIT = float(np.finfo(np.float64).eps) / 2
"""Unit roundoff of float64, ``u``."""
MARGIN = 1e3
"""An answer caught at this many times its limit tells the liar nothing worth having."""
_SMALLEST = 2.0**-1074


@dataclass(frozen=True, eq=False)
class KeyCheck:
    """What a key says about one answer.

    Parameters
    ----------
    value : float or ndarray of shape (h,)
        Root mean square of ``rho h - kappa v`` over the rows of ``rho``, for each column of the answer.
    limit : float or ndarray of shape (h,)
        Most that an honest answer reaches.
    """

    value: Numbers
    limit: Numbers

    @property
    def is_passed(self) -> bool:
        """Whether every column is within its limit; NaN is not."""
        return bool(np.all(self.value <= self.limit))

    @property
    def is_marginal(self) -> bool:
        """Whether it was caught so narrowly that the liar learned something: draw a new ``rho`` for him."""
        with np.errstate(invalid="ignore", over="ignore"):
            return not self.is_passed and not bool(np.any(self.value > MARGIN * self.limit))


@dataclass(frozen=True, eq=False)
class VerificationKey:
    """The key to one worker's products ``S v``.

    Parameters
    ----------
    secret : ndarray of shape (r, p), float64 or complex128
        ``rho``, from :func:`draw_secret`; never leaves the master.
    image : ndarray of shape (r, c)
        ``kappa = rho S``.
    column_norms : ndarray of shape (c,), float64
        At least the Euclidean norms of the columns of ``S``.
    depth : float
        Rounding of an honest answer and of the check, in units of roundoff: :func:`key_depth`.

    Examples
    --------
    >>> share, vector = np.arange(6.0).reshape(3, 2), np.array([1.0, -1.0])
    >>> key = VerificationKey.of_share(share)
    >>> key.check(share @ vector, vector).is_passed, key.check(share @ vector + 1e-9, vector).is_passed
    (True, False)
    """

    secret: Numbers
    image: Numbers
    column_norms: NDArray[np.float64]
    depth: float

    def __post_init__(self) -> None:
        rows, columns = self.secret.shape[0], self.image.shape[-1]
        if self.image.shape != (rows, columns) or self.column_norms.shape != (columns,):
            raise ParameterError(
                "image", f"must have shape ({rows}, {self.column_norms.shape[0]})", self.image.shape
            )

    @classmethod
    def of_share(
        cls, share: Numbers, *, num_rows: int = 4, generator: np.random.Generator | None = None
    ) -> VerificationKey:
        """Draw a key for a share that is at hand.

        Parameters
        ----------
        share : ndarray of shape (p, c), float64 or complex128
            ``S``.
        num_rows : int
            ``r``; a complex row is worth two real ones.
        generator : numpy.random.Generator, optional
            For experiments. Without it the secret comes from the system's cryptographic generator.

        Returns
        -------
        VerificationKey
        """
        length, columns = share.shape
        secret = draw_secret(num_rows, length, is_complex=np.iscomplexobj(share), generator=generator)
        return cls(secret, secret @ share, np.linalg.norm(share, axis=0), key_depth(length, columns))

    @property
    def num_degrees(self) -> int:
        """Real Gaussian numbers per entry of an answer: ``r``, or ``2 r`` for complex keys."""
        return int(self.secret.shape[0]) * (2 if np.iscomplexobj(self.secret) else 1)

    def value(self, answer: Numbers, vector: Numbers | None = None) -> Numbers:
        """Root mean square of ``rho h - kappa v`` over the rows of ``rho``.

        Parameters
        ----------
        answer : ndarray of shape (p,) or (p, h)
            ``h``, as the worker sent it.
        vector : ndarray of shape (c,) or (c, h), optional
            ``v``; without it the identity, for answers that are the whole of ``S``.

        Returns
        -------
        ndarray of shape () or (h,), float64
            Infinite or NaN where the answer is so large that the check overflows.
        """
        expected = self.image if vector is None else self.image @ vector
        with np.errstate(over="ignore", invalid="ignore"):
            return root_mean_square(self.secret @ answer - expected)

    def noise(self, vector: Numbers | None = None) -> Numbers:
        """Bound the honest deviation of an answer and its check from ``S v``: shape () or (h,), float64."""
        sizes = self.column_norms if vector is None else self.column_norms @ np.abs(vector)
        underflow = (
            _SMALLEST * self.secret.shape[1] * self.image.shape[1]
        )  # products below the smallest number
        return np.asarray(self.depth * UNIT * sizes + underflow)

    def check(
        self, answer: Numbers, vector: Numbers | None = None, *, noise: ArrayLike | None = None
    ) -> KeyCheck:
        """Compare an answer with the key.

        Parameters
        ----------
        answer, vector
            As in :meth:`value`.
        noise : float or ndarray of shape (h,), optional
            Bound on the Euclidean norm of an honest answer's error, for each of its columns; by default
            :meth:`noise`.

        Returns
        -------
        KeyCheck
        """
        largest = 1.0 if vector is None else float(np.abs(vector).max(initial=0.0))
        if vector is not None and not 1e-100 < largest < 1e100:
            # powers of two cost no digit and keep the products between overflow and underflow
            scale = 2.0 ** -np.clip(np.frexp(largest)[1], -1000, 1000)
            with np.errstate(over="ignore"):
                answer, vector = answer * scale, vector * scale
            noise = None if noise is None else np.asarray(noise) * scale
            underflow = _SMALLEST * scale * self.secret.shape[1] * self.image.shape[1]
        else:
            underflow = 0.0
        level = (self.noise(vector) if noise is None else np.asarray(noise)) + underflow
        return KeyCheck(self.value(answer, vector), rejection_factor(self.num_degrees) * level)


def draw_secret(
    num_rows: int,
    length: int,
    *,
    is_complex: bool = False,
    generator: np.random.Generator | None = None,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> Numbers:
    """Draw ``rho``: independent Gaussian entries with ``E|rho|^2 = 1``.

    Parameters
    ----------
    num_rows, length : int
        ``r`` and ``p``.
    is_complex : bool
        Circular complex entries instead of real ones.
    generator : numpy.random.Generator, optional
        For experiments and tests.
    random_bytes : callable
        ``random_bytes(n)`` returns ``n`` uniform bytes; the system's cryptographic generator.

    Returns
    -------
    ndarray of shape (num_rows, length), float64 or complex128

    Examples
    --------
    >>> bool(abs(draw_secret(100, 1000).std() - 1) < 0.02)
    True
    """
    if num_rows < 1:
        raise ParameterError("num_rows", "must be at least 1", num_rows)
    count = num_rows * length * (2 if is_complex else 1)
    if generator is not None:
        flat = generator.standard_normal(count)
    else:
        half = -(-count // 2)
        words = np.frombuffer(random_bytes(16 * half), dtype=np.uint64).reshape(2, half) >> np.uint64(11)
        uniform = (words.astype(np.float64) + 0.5) * 2.0**-53
        radius, angle = np.sqrt(-2.0 * np.log(uniform[0])), 2.0 * np.pi * uniform[1]  # Box and Muller
        flat = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
    if is_complex:
        flat = flat.view(np.complex128) / np.sqrt(2.0)
    return np.asarray(flat.reshape(num_rows, length))


def key_depth(length: int, num_terms: int) -> float:
    """Bound the rounding of an honest product and of its check, in units of roundoff.

    The product itself and ``kappa v`` have ``c`` terms, chosen by the data: their worst case counts
    (:func:`~flower_coded.codes.real.summation.summation_depth`). ``rho h`` and ``rho S`` have ``p`` terms
    with random signs of the master's own drawing: their rounding is a random walk, and ``3 sqrt(p)`` is
    seven of its standard deviations (Higham and Mary, "A new approach to probabilistic rounding error
    analysis", 2019).

    Parameters
    ----------
    length : int
        ``p``, entries of an answer.
    num_terms : int
        ``c``, terms of each.

    Returns
    -------
    float

    Examples
    --------
    >>> key_depth(4000, 500) < 1500
    True
    """
    return 2.0 * summation_depth(num_terms) + 6.0 * float(np.sqrt(length)) + 8.0


def root_mean_square(rows: Numbers) -> Numbers:
    """Root mean square over the first axis.

    Examples
    --------
    >>> float(root_mean_square(np.array([3.0, 4.0, 0.0, 0.0])))
    2.5
    >>> float(root_mean_square(np.array([3e-200, 4e-200, 0.0, 0.0])))
    2.5e-200
    """
    sizes = np.abs(rows)
    # In units of the largest: squares of what is beyond 1e±154 would be infinite, or pass for zero.
    largest = sizes.max(axis=0)
    unit = np.where(np.isfinite(largest) & (largest > 0), largest, 1.0)
    return np.asarray(unit * np.sqrt(np.mean((sizes / unit) ** 2, axis=0)))


@lru_cache(maxsize=256)
def rejection_factor(num_degrees: int, probability: float = 1e-15) -> float:
    """How far the value of an honest deviation exceeds its norm: all but ``probability`` of the time.

    Parameters
    ----------
    num_degrees : int
        Real Gaussian numbers behind a value: rows, or twice the complex rows.
    probability : float

    Returns
    -------
    float

    Examples
    --------
    >>> round(rejection_factor(4), 2)
    4.37
    """
    from scipy.stats import gamma  # half a second that a worker need not wait, who holds no keys

    return float(np.sqrt(gamma.isf(probability, num_degrees / 2) / (num_degrees / 2)))


@lru_cache(maxsize=256)
def passing_factor(num_degrees: int, probability: float = 1e-12) -> float:
    """How much larger than its value the error of an answer can be: all but ``probability`` of the time.

    Parameters
    ----------
    num_degrees : int
        As in :func:`rejection_factor`.
    probability : float

    Returns
    -------
    float

    Examples
    --------
    >>> round(passing_factor(4)), round(passing_factor(8))
    (1189, 43)
    """
    from scipy.stats import gamma  # as above

    return float(1.0 / np.sqrt(gamma.ppf(probability, num_degrees / 2) / (num_degrees / 2)))
