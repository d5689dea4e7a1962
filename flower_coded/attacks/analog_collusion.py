"""What colluding workers add to their results of an analog Lagrange coded computation.

A located liar costs nothing, so the colluders aim at the *localization*. The decoder averages the error
locator polynomials of full degree ``v``, and takes the others one by one. Errors in every entry
(:class:`FullNoise`) therefore help it. The colluders do better by leaving zeros, so that each entry's
polynomial has a root missing in a place of its own: their *base matrix* says which worker spoils which entry
([1]_ Section VI). :class:`StrongCollusion` agrees on the whole matrix, :class:`WeakCollusion` on one
probability only, and :class:`ConstraintLengthAware`, which is not in the paper, fills the decoder's list of
suspects with decoys when it only looks at a random few of them.

Left out: values chosen for a given result (errors are Gaussian here, as in the paper), and replies that are
malformed or late, which cost the sender its place before any decoding.

References
----------
.. [1] R. Borah, J. Harshan, "Robust Analog Lagrange Coded Computing: Theory and Algorithms via Discrete
   Fourier Transforms".
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from flower_coded.codes.real.analog_lagrange import draw_complex_gaussian
from flower_coded.errors import ParameterError

__all__ = [
    "AnalogAttack",
    "ConstraintLengthAware",
    "FullNoise",
    "StrongCollusion",
    "WeakCollusion",
    "weak_collusion_probability",
]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class AnalogAttack(ABC):
    """Errors ``CN(mean, variance)`` at the places of a base matrix.

    Colluders who call :meth:`craft` with generators of one seed all get the same array, and each sends its
    own row: that is their colluding channel.

    Parameters
    ----------
    mean : float
        Mean of an error; the paper uses 10.
    variance : float
        Variance of an error; the paper uses 1e3 and, in its Figure 6, 1e2.
    """

    mean: float = 10.0
    variance: float = 1e3

    def __post_init__(self) -> None:
        """Check the values' distribution."""
        if not math.isfinite(self.mean):
            raise ParameterError("mean", "must be finite", self.mean)
        if not 0 <= self.variance < math.inf:
            raise ParameterError("variance", "must be finite and at least 0", self.variance)

    @abstractmethod
    def base_matrix(self, shape: tuple[int, ...], generator: np.random.Generator) -> BoolArray:
        """Say who spoils what.

        Parameters
        ----------
        shape : tuple of int
            ``(..., M, v)``: repetitions, entries of the result, attackers.
        generator : numpy.random.Generator
            The colluders' common source.

        Returns
        -------
        ndarray of the given shape, bool
            The effective base matrix ``B_eff`` of [1]_, equation 18.
        """

    def craft(self, shape: tuple[int, ...], generator: np.random.Generator) -> ComplexArray:
        """Give the errors to add.

        Parameters
        ----------
        shape : tuple of int
            ``(..., v, M)``: repetitions, attackers, entries of the result.
        generator : numpy.random.Generator
            The colluders' common source.

        Returns
        -------
        ndarray of the given shape, complex128
            Row ``a`` is what attacker ``a`` adds; zero where the base matrix is.
        """
        if len(shape) < 2 or min(shape[-2:]) < 1:
            raise ParameterError("shape", "must be (..., attackers, entries), both at least 1", shape)
        base = np.swapaxes(self.base_matrix((*shape[:-2], shape[-1], shape[-2]), generator), -1, -2)
        errors = self.mean + math.sqrt(self.variance) * draw_complex_gaussian(shape, generator)
        crafted: ComplexArray = np.where(base, errors, 0)
        return crafted


@dataclass(frozen=True)
class FullNoise(AnalogAttack):
    """Independent errors in every entry: what [1]_ shows to be the weakest use of ``v`` liars.

    Examples
    --------
    >>> FullNoise().craft((2, 3), np.random.default_rng(0)).shape
    (2, 3)
    """

    def base_matrix(self, shape: tuple[int, ...], generator: np.random.Generator) -> BoolArray:
        """Give all ones."""
        del generator
        return np.ones(shape, dtype=bool)


@dataclass(frozen=True)
class StrongCollusion(AnalogAttack):
    """One full row, and ``v - 1`` ones at random places in every other ([1]_ Proposition 4).

    Parameters
    ----------
    mean, variance : float
        See :class:`AnalogAttack`.
    num_ones : int or None
        Ones in each row but the first; ``v - 1`` if absent. The paper's Figure 6 varies it.

    Examples
    --------
    >>> StrongCollusion().base_matrix((4, 3), np.random.default_rng(0)).sum(axis=1)
    array([3, 2, 2, 2])
    """

    num_ones: int | None = None

    def base_matrix(self, shape: tuple[int, ...], generator: np.random.Generator) -> BoolArray:
        """Give one full row and random rows of ``num_ones`` ones."""
        num_attackers = shape[-1]
        num_ones = max(num_attackers - 1, 1) if self.num_ones is None else self.num_ones
        if not 0 <= num_ones <= num_attackers:
            raise ParameterError("num_ones", f"must be from 0 to the {num_attackers} attackers", num_ones)
        base: BoolArray = _random_ranks(shape, generator) < num_ones
        base[..., 0, :] = True
        return base


@dataclass(frozen=True)
class WeakCollusion(AnalogAttack):
    """Each attacker leaves each entry alone with one agreed probability ([1]_ Proposition 5).

    Parameters
    ----------
    mean, variance : float
        See :class:`AnalogAttack`.
    zero_probability : float or None
        ``p``; :func:`weak_collusion_probability` of the number of attackers if absent.

    Examples
    --------
    >>> base = WeakCollusion().base_matrix((10_000, 8), np.random.default_rng(0))
    >>> print(1 - base.mean().round(2))
    0.26
    """

    zero_probability: float | None = None

    def __post_init__(self) -> None:
        """Check the probability."""
        super().__post_init__()
        if self.zero_probability is not None and not 0 <= self.zero_probability <= 1:
            raise ParameterError("zero_probability", "must be from 0 to 1", self.zero_probability)

    def base_matrix(self, shape: tuple[int, ...], generator: np.random.Generator) -> BoolArray:
        """Draw every place independently."""
        chosen = self.zero_probability
        probability = weak_collusion_probability(shape[-1]) if chosen is None else chosen
        base: BoolArray = generator.random(shape) >= probability
        return base


@dataclass(frozen=True)
class ConstraintLengthAware(AnalogAttack):
    """Strong collusion against a decoder known to look at ``v'`` random suspects only.

    In some entries, the decoys, the errors are of the size of the precision noise. The roots found there
    are anywhere, and each decoy brings about ``v - 1`` honest workers into the list of suspects. Of ``v''``
    suspects a random choice of ``v'`` contains all ``v`` liars with probability
    ``C(v''-v, v'-v) / C(v'', v')``. No more entries become decoys than bring it below
    ``survival_probability``, or everybody under suspicion; the others follow :class:`StrongCollusion`, the
    first row full.

    Parameters
    ----------
    mean, variance : float
        See :class:`AnalogAttack`; of the entries that are no decoys.
    num_workers : int
        ``N``.
    constraint_length : int
        ``v'``, the decoder's set constraint length.
    noise_variance : float
        ``σ_p²``, the precision noise, and so the variance of a decoy's errors.
    survival_probability : float
        What the colluders leave to the decoder.

    Examples
    --------
    >>> attack = ConstraintLengthAware(num_workers=31, constraint_length=10, noise_variance=0.1)
    >>> attack.num_decoys(num_attackers=8)
    2
    """

    num_workers: int = 31
    constraint_length: int = 10
    noise_variance: float = 0.1
    survival_probability: float = 0.01

    def __post_init__(self) -> None:
        """Check what the colluders know."""
        super().__post_init__()
        if not 1 <= self.constraint_length <= self.num_workers:
            raise ParameterError("constraint_length", "must be from 1 to num_workers", self.constraint_length)
        if not self.noise_variance > 0:
            raise ParameterError("noise_variance", "must be positive", self.noise_variance)
        if not 0 < self.survival_probability < 1:
            raise ParameterError("survival_probability", "must be between 0 and 1", self.survival_probability)

    def num_decoys(self, num_attackers: int) -> int:
        """Give the number of entries sacrificed as decoys."""
        length, workers = max(self.constraint_length, num_attackers), self.num_workers
        if length >= workers:
            return 0
        suspects = next(
            (count for count in range(length, workers) if self._is_misled(num_attackers, length, count)),
            workers,
        )
        # n decoys reach all but (1 - (v-1)/N)^n of the honest workers on average; half a worker is none.
        missed = max(workers - suspects, 0.5) / max(workers - num_attackers, 1)
        per_decoy = max(num_attackers - 1, 1) / workers
        return math.ceil(math.log(missed) / math.log(1 - per_decoy))

    def _is_misled(self, num_attackers: int, length: int, suspects: int) -> bool:
        """Tell whether so many suspects make the decoder's choice of ``length`` miss a liar often enough."""
        hits = math.comb(suspects - num_attackers, length - num_attackers)
        return hits <= self.survival_probability * math.comb(suspects, length)

    def base_matrix(self, shape: tuple[int, ...], generator: np.random.Generator) -> BoolArray:
        """Give strong collusion's base matrix."""
        return StrongCollusion(self.mean, self.variance).base_matrix(shape, generator)

    def craft(self, shape: tuple[int, ...], generator: np.random.Generator) -> ComplexArray:
        """Give strong collusion's errors, with decoys in random entries other than the first."""
        crafted = super().craft(shape, generator)
        num_decoys = min(self.num_decoys(shape[-2]), shape[-1] - 1)
        is_decoy = np.zeros((*shape[:-2], shape[-1]), dtype=bool)
        # Entry 0 never: strong collusion needs its full row.
        is_decoy[..., 1:] = _random_ranks((*shape[:-2], shape[-1] - 1), generator) < num_decoys
        small = math.sqrt(self.noise_variance) * draw_complex_gaussian(shape, generator)
        replaced: ComplexArray = np.where(is_decoy[..., None, :], np.where(crafted != 0, small, 0), crafted)
        return replaced


def weak_collusion_probability(num_attackers: int) -> float:
    """Give ``p* = 1 - v^(-1/(v-1))``, which minimizes ``p + (1 - p)^v`` ([1]_ equation 22).

    Setting the derivative ``1 - v (1-p)^(v-1)`` to zero gives it; the ``(v-1)`` of the paper's equation 46 is
    the index of the root, not a factor.

    Parameters
    ----------
    num_attackers : int
        ``v``, at least 2: alone, every probability is as good.

    Returns
    -------
    float
        The probability with which an attacker leaves an entry alone.

    Raises
    ------
    ParameterError
        If there are fewer than two attackers.

    Examples
    --------
    >>> round(weak_collusion_probability(8), 3)
    0.257
    """
    if num_attackers < 2:
        raise ParameterError("num_attackers", "must be at least 2", num_attackers)
    return 1.0 - math.pow(num_attackers, -1.0 / (num_attackers - 1))


def _random_ranks(shape: tuple[int, ...], generator: np.random.Generator) -> FloatArray:
    """Give a random permutation of ``0 .. n-1`` along the last axis, independent over the others."""
    # Sorting twice turns draws into ranks, over all repetitions without a loop.
    ranks: FloatArray = generator.random(shape).argsort(axis=-1).argsort(axis=-1).astype(np.float64)
    return ranks
