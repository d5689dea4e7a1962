r"""Which evaluation points the unreliable workers get, when the master knows who they are.

A liar is located by a polynomial that vanishes at the liar's root of unity; with precision noise an honest
worker at a neighboring root looks almost like a liar. If only ``μ`` of the ``N`` workers can lie, giving
them roots far from each other helps. Problem 2 of [1]_ chooses the set ``P`` of ``μ`` indices minimizing

    E over L ⊂ P, |L| = A  of  max over i ∈ P \ L  of  exp(-η H(L, i) γ_max / (4 σ_p²)),

    H(L, i) = ∏_{a ∈ L} d(i, a)²,    γ_max = 2 / (2 + η Σ_{l ≤ A} (1 - cos(2πl/N))).

The paper measures ``d`` by the difference of indices, so that the first and the last index count as far
apart although they are neighbors on the circle; ``distance="chord"`` takes ``|γ^i - γ^a|`` instead. The
logarithm of the objective is computed, without which small ``σ_p`` underflows and all sets look alike.

Left out: sets chosen by measuring the reconstruction error itself, the paper's infeasible yardstick.

References
----------
.. [1] R. Borah, J. Harshan, "Robust Analog Lagrange Coded Computing: Theory and Algorithms via Discrete
   Fourier Transforms", Section V.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from flower_coded.errors import ParameterError

__all__ = ["AssignmentProblem", "IndexAssignment", "evaluation_order"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]

_MOST_LIAR_SETS = 200_000
_MOST_EXACT_TERMS = 50_000_000
_CHUNK_TERMS = 4_000_000
# Values of the logarithm closer than this are ties; the lexicographically first set wins.
_TIE = 1e-9


@dataclass(frozen=True)
class IndexAssignment:
    """Indices for the unreliable workers.

    Parameters
    ----------
    indices : tuple of int
        Evaluation indices, ascending, counted from 0 (the paper counts from 1).
    log_objective : float
        Natural logarithm of Problem 2's objective there.
    is_exact : bool
        Whether every set was looked at.
    """

    indices: tuple[int, ...]
    log_objective: float
    is_exact: bool


@dataclass(frozen=True)
class AssignmentProblem:
    """Problem 2 of the paper, for one code and one number of liars.

    Parameters
    ----------
    num_workers : int
        ``N``, the evaluation points.
    num_unreliable : int
        ``μ``, the workers that may lie, ``A < μ ≤ N``.
    num_liars : int
        ``A``, the liars among them.
    noise_variance : float
        ``σ_p²``, the precision noise.
    eta : float
        ``η``, the constant of Theorem 1; the paper uses 10.
    distance : "index" or "chord"
        The paper's difference of indices, or the distance on the circle.

    Raises
    ------
    ParameterError
        If a number is out of range, or there are more than 200,000 sets of liars to average over.

    Examples
    --------
    >>> problem = AssignmentProblem(num_workers=11, num_unreliable=5, num_liars=2, noise_variance=1.0)
    >>> [index + 1 for index in problem.solve_exactly().indices]                  # the paper's Table II
    [1, 3, 6, 9, 11]
    """

    num_workers: int
    num_unreliable: int
    num_liars: int
    noise_variance: float
    eta: float = 10.0
    distance: Literal["index", "chord"] = "index"
    _log_distances: FloatArray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the numbers and compute the logarithms of all squared distances."""
        if self.num_workers < 2:
            raise ParameterError("num_workers", "must be at least 2", self.num_workers)
        if not 1 <= self.num_liars < self.num_unreliable <= self.num_workers:
            raise ParameterError(
                "num_liars",
                f"must be from 1 to num_unreliable - 1 = {self.num_unreliable - 1}, with num_unreliable ≤ N",
                self.num_liars,
            )
        for name in ("noise_variance", "eta"):
            if not getattr(self, name) > 0:
                raise ParameterError(name, "must be positive", getattr(self, name))
        if self.distance not in {"index", "chord"}:
            raise ParameterError("distance", "must be 'index' or 'chord'", self.distance)
        num_sets = math.comb(self.num_unreliable, self.num_liars)
        if num_sets > _MOST_LIAR_SETS:
            raise ParameterError("num_liars", f"must give at most {_MOST_LIAR_SETS} sets of liars", num_sets)
        steps = np.abs(np.subtract.outer(np.arange(self.num_workers), np.arange(self.num_workers)))
        distances = steps if self.distance == "index" else 2 * np.sin(np.pi * steps / self.num_workers)
        np.fill_diagonal(distances, 1)  # any finite value: a liar is never compared with itself
        object.__setattr__(self, "_log_distances", 2 * np.log(distances))

    @cached_property
    def exponent_scale(self) -> float:
        """``η γ_max / (4 σ_p²)``, with ``γ_max`` the largest ``κ / (1 + κ)``, that of neighbors."""
        angles = 2 * np.pi * np.arange(1, self.num_liars + 1) / self.num_workers
        largest = 2 / (2 + self.eta * float((1 - np.cos(angles)).sum()))
        return self.eta * largest / (4 * self.noise_variance)

    def log_objective(self, index_sets: IntArray) -> FloatArray:
        """Give the logarithm of the objective of several sets.

        Parameters
        ----------
        index_sets : ndarray of shape (..., μ), int
            Sets of evaluation indices counted from 0.

        Returns
        -------
        ndarray of shape (...,), float64
            Lower is better.
        """
        flat = np.asarray(index_sets).reshape(-1, self.num_unreliable)
        per_chunk = max(1, _CHUNK_TERMS // self._is_liar.size)
        values = [
            self._log_objective_of(flat[start : start + per_chunk])
            for start in range(0, len(flat), per_chunk)
        ]
        return np.concatenate(values).reshape(np.shape(index_sets)[:-1])

    def solve(self, generator: np.random.Generator | None = None) -> IndexAssignment:
        """Solve exactly where that is cheap, by :meth:`solve_by_exchange` elsewhere."""
        terms = math.comb(self.num_workers, self.num_unreliable) * self._is_liar.size
        return self.solve_exactly() if terms <= _MOST_EXACT_TERMS else self.solve_by_exchange(generator)

    def solve_exactly(self) -> IndexAssignment:
        """Look at every set of ``μ`` indices; ties go to the lexicographically first."""
        sets = np.array(list(itertools.combinations(range(self.num_workers), self.num_unreliable)))
        values = self.log_objective(sets)
        best = int(np.flatnonzero(values <= values.min() + _TIE)[0])
        return _assignment(sets[best], float(values[best]), is_exact=True)

    def solve_by_exchange(
        self, generator: np.random.Generator | None = None, *, num_starts: int = 4
    ) -> IndexAssignment:
        """Move one index at a time to the free place that helps most, until none does.

        The first start spreads the indices evenly, the others are random; the best end counts.

        Parameters
        ----------
        generator : numpy.random.Generator, optional
            Source of the random starts; a fixed seed if absent.
        num_starts : int
            Starts, the even one included.

        Returns
        -------
        IndexAssignment
            With ``is_exact`` false.
        """
        generator = np.random.default_rng(0) if generator is None else generator
        even = np.round(np.linspace(0, self.num_workers, self.num_unreliable, endpoint=False)).astype(
            np.int64
        )
        starts = [even] + [
            np.sort(generator.permutation(self.num_workers)[: self.num_unreliable])
            for _ in range(num_starts - 1)
        ]
        ends = [self._descend(start) for start in starts]
        indices, value = min(ends, key=lambda end: (end[1], end[0].tolist()))
        return _assignment(indices, value, is_exact=False)

    @cached_property
    def _is_liar(self) -> FloatArray:
        """Indicator of the liars' places within a set, one column per choice of liars; shape (μ, choices)."""
        choices = np.array(list(itertools.combinations(range(self.num_unreliable), self.num_liars)))
        indicator = np.zeros((self.num_unreliable, len(choices)))
        indicator[choices, np.arange(len(choices))[:, None]] = 1.0
        return indicator

    def _log_objective_of(self, sets: IntArray) -> FloatArray:
        """Give the log of the mean over liars of the largest term; shape (len(sets),).

        ``log H(L, i)`` is a sum of logarithms over ``L``, hence one matrix product for all ``L`` and ``i``;
        terms with ``i`` in ``L`` are left out of the minimum.
        """
        log_products = self._log_distances[sets[:, :, None], sets[:, None, :]] @ self._is_liar
        log_products[np.broadcast_to(self._is_liar > 0, log_products.shape)] = np.inf
        largest = -self.exponent_scale * np.exp(log_products.min(axis=1))
        top = largest.max(axis=-1)
        value: FloatArray = top + np.log(np.exp(largest - top[:, None]).mean(axis=-1))
        return value

    def _descend(self, indices: IntArray) -> tuple[IntArray, float]:
        """Exchange single indices while the objective falls."""
        value = float(self.log_objective(indices))
        while True:
            free = np.setdiff1d(np.arange(self.num_workers), indices)
            if free.size == 0:
                return indices, value
            neighbors = np.repeat(indices[None], len(indices) * len(free), axis=0)
            places = np.repeat(np.arange(len(indices)), len(free))
            neighbors[np.arange(len(neighbors)), places] = np.tile(free, len(indices))
            neighbors.sort(axis=1)
            values = self.log_objective(neighbors)
            best = int(values.argmin())
            if values[best] >= value - _TIE:
                return indices, value
            indices, value = neighbors[best], float(values[best])


def evaluation_order(num_workers: int, unreliable: IntArray, indices: tuple[int, ...]) -> IntArray:
    """Give every worker an evaluation index: those of ``indices`` to the unreliable ones, the rest in order.

    Parameters
    ----------
    num_workers : int
        ``N``.
    unreliable : ndarray of shape (μ,), int
        The workers that may lie.
    indices : tuple of int, length μ
        The evaluation indices they share.

    Returns
    -------
    ndarray of shape (N,), int
        Entry ``w`` is the evaluation index of worker ``w``: the inverse of the paper's ψ.

    Raises
    ------
    ParameterError
        If the two do not fit each other or the number of workers.

    Examples
    --------
    >>> evaluation_order(5, np.array([0, 1]), (0, 3))
    array([0, 3, 1, 2, 4])
    """
    unreliable = np.unique(unreliable)
    if len(unreliable) != len(set(indices)) or not set(indices) <= set(range(num_workers)):
        raise ParameterError("indices", f"must be {len(unreliable)} different indices below N", indices)
    if not set(unreliable.tolist()) <= set(range(num_workers)):
        raise ParameterError("unreliable", f"must be workers below {num_workers}", unreliable.tolist())
    order = np.empty(num_workers, dtype=np.int64)
    order[unreliable] = sorted(indices)
    reliable = np.setdiff1d(np.arange(num_workers), unreliable)
    order[reliable] = np.setdiff1d(np.arange(num_workers), np.array(indices))
    return order


def _assignment(indices: IntArray, value: float, *, is_exact: bool) -> IndexAssignment:
    """Give a result record with plain integers, ascending."""
    return IndexAssignment(tuple(sorted(int(index) for index in indices)), value, is_exact)
