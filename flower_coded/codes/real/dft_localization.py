"""Where the liars of a DFT code are: independent, joint, averaging and subspace localization, batched.

The entries of one result matrix are ``M`` words whose errors sit at the same workers, or at subsets of them.
Each word has an error locator polynomial, and with precision noise its roots move. Four ways to read the
liars from them:

* :func:`locate_independently`: every word alone, the smallest values of its own polynomial ([1]_, IV-A);
* :func:`locate_by_average`: one polynomial, the mean of those of the highest degree, for all words;
* :func:`locate_jointly`: that mean together with the polynomials of lower degree, all roots from one set of
  at most ``v`` suspects ([1]_, IV-B, Problem 1), with the *set constraint length* ``v'``;
* :func:`locate_by_subspace`: no polynomial, the signal space of all syndromes at once (MUSIC, beyond [1]_).

Polynomials come from :func:`flower_coded.codes.real.error_location.locator_polynomials`, total least squares
divided by the leading coefficient: at least as good as the least squares of [1]_ equation 5, and the same at
full degree. Everything is batched over leading axes (repetitions) and runs on NumPy arrays and torch tensors.

References
----------
.. [1] R. Borah, J. Harshan, "Robust Analog Lagrange Coded Computing: Theory and Algorithms via Discrete
   Fourier Transforms".
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from flower_coded.codes.array_namespace import Array, constant_like, namespace_of, take_along
from flower_coded.codes.real.error_location import (
    locator_polynomials,
    locator_values,
    smallest,
    subspace_residuals,
)
from flower_coded.errors import ParameterError

__all__ = [
    "Locators",
    "error_locators",
    "locate_by_average",
    "locate_by_subspace",
    "locate_independently",
    "locate_jointly",
]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]

_MOST_SUBSETS = 50_000
_CHUNK_VALUES = 8_000_000


@dataclass(frozen=True, eq=False)
class Locators:
    """Error locator polynomials of a batch of words.

    Parameters
    ----------
    nodes : ndarray of shape (N,), complex128
        The place of each worker on the unit circle.
    candidates : ndarray of shape (N,), bool
        Workers that may lie.
    degrees : ndarray of shape (..., M), int
        Number of errors in each word.
    coefficients : array of shape (..., M, v + 1), complex128
        Constant term first, leading coefficient 1, zero above the degree.
    values : array of shape (..., M, N), float64
        ``|g(z_i)|²``; infinite at workers that cannot lie.
    """

    nodes: ComplexArray
    candidates: BoolArray
    degrees: IntArray
    coefficients: Array
    values: Array


def error_locators(
    syndromes: Array, degrees: IntArray, nodes: ComplexArray, candidates: BoolArray | None = None
) -> Locators:
    """Compute the locator polynomial of every word.

    Parameters
    ----------
    syndromes : array of shape (..., L, M), complex128
        Consecutive syndromes of ``M`` words.
    degrees : ndarray of shape (..., M), int
        Errors in each word, ``0 ≤ degree ≤ L - 1``.
    nodes : ndarray of shape (N,), complex128
        ``z_i``: worker ``i`` contributes a multiple of ``z_i^j`` to syndrome ``j``.
    candidates : ndarray of shape (N,), bool, optional
        Workers that may lie; all if absent.

    Returns
    -------
    Locators

    Examples
    --------
    >>> nodes = np.exp(2j * np.pi * np.arange(5) / 5)
    >>> syndromes = nodes[3] ** np.arange(4)[:, None]                       # one error, at worker 3
    >>> error_locators(syndromes, np.array([1]), nodes).values.argmin()
    np.int64(3)
    """
    namespace = namespace_of(syndromes)
    words = namespace.moveaxis(syndromes, -1, -2)
    degrees = np.broadcast_to(degrees, tuple(words.shape[:-1]))
    candidates = np.ones(len(nodes), dtype=bool) if candidates is None else candidates
    highest = int(degrees.max(initial=0))
    coefficients = namespace.concatenate([0 * words[..., :1]] * (highest + 1), axis=-1)
    for degree in np.unique(degrees):
        chosen = constant_like(degrees == degree, words)
        if degree == 0:
            coefficients[..., 0] = namespace.where(chosen, 1.0, coefficients[..., 0])
            continue
        found = locator_polynomials(words[chosen][..., None], int(degree))
        padded = coefficients[chosen]
        # Total least squares leaves scale and phase free; monic polynomials can be averaged.
        padded[:, : degree + 1] = found / found[:, degree:]
        coefficients[chosen] = padded
    values = _values_at(coefficients, nodes, candidates)
    return Locators(nodes, candidates, degrees, coefficients, values)


def locate_independently(locators: Locators) -> Array:
    """Take for each word the smallest values of its own polynomial.

    Returns
    -------
    array of shape (..., M, N), bool
        The workers found in each word, as many as its degree.
    """
    return _smallest_of(locators.values, locators.degrees)


def locate_by_average(locators: Locators) -> Array:
    """Average the polynomials of the highest degree of each repetition; its roots count for all words.

    Returns
    -------
    array of shape (..., M, N), bool
        The same workers in each word of a repetition.
    """
    highest = locators.degrees.max(axis=-1, initial=0, keepdims=True)
    mean = _mean_polynomial(locators, locators.degrees == highest)
    values = _values_at(mean, locators.nodes, locators.candidates)
    located = _smallest_of(values, highest)
    return located | namespace_of(located).zeros_like(locators.values > 0)


def locate_jointly(
    locators: Locators,
    max_errors: int,
    *,
    constraint_length: int | None = None,
    choose_by: Literal["chance", "votes"] = "votes",
    generator: np.random.Generator | None = None,
) -> Array:
    """Let all polynomials take their roots from one set of ``v`` suspects (Problem 1 of [1]_).

    The polynomials of degree ``v`` are replaced by their mean, which counts once. The suspects are the roots
    of all polynomials taken alone. Every ``v``-subset ``S`` of them is tried; it costs, for each polynomial
    of degree ``d``, the sum of its ``d`` smallest values over ``S``; the cheapest wins, and each word gets
    its own ``d`` roots of it.

    Parameters
    ----------
    locators : Locators
        From :func:`error_locators`.
    max_errors : int
        ``v``, the radius of the code.
    constraint_length : int, optional
        ``v'``: where there are more suspects, only so many are looked at; ``v + 2`` if absent.
    choose_by : "chance" or "votes"
        Which ones: at random, as in [1]_, or those that are roots of the most words, which is better
        unless a liar spoils few of them.
    generator : numpy.random.Generator, optional
        For ``"chance"``; a fixed seed if absent.

    Returns
    -------
    array of shape (..., M, N), bool
        The workers found in each word, as many as its degree.

    Raises
    ------
    ParameterError
        If there would be more than 50,000 subsets to try; choose a smaller constraint length.
    """
    namespace, degrees = namespace_of(locators.values), locators.degrees
    is_full = degrees == max_errors
    num_full = np.maximum(is_full.sum(axis=-1, keepdims=True), 1)
    weights = constant_like(np.where(is_full, 1.0 / num_full, 1.0)[..., None], locators.values)
    values = locators.values
    if is_full.any():
        mean = _values_at(_mean_polynomial(locators, is_full), locators.nodes, locators.candidates)
        values = namespace.where(constant_like(is_full[..., None], values), mean, values)
    votes = (_smallest_of(values, degrees) * weights).sum(-2)
    most = int((votes > 0).sum(-1).max())
    length = max(max_errors, min(most, max_errors + 2 if constraint_length is None else constraint_length))
    places = _list_subsets(length, max_errors)
    order = _order_suspects(votes, choose_by, generator)
    costs = take_along(values, order[..., None, :length], -1)
    costs = namespace.where((take_along(votes, order[..., :length], -1) > 0)[..., None, :], costs, math.inf)
    winners = _cheapest_subsets(costs, constant_like(degrees[..., None, None], values), weights, places)
    is_kept = np.zeros((len(places), values.shape[-1]), dtype=bool)
    np.put_along_axis(is_kept, places, values=True, axis=1)
    kept = take_along(constant_like(is_kept, values)[winners], namespace.argsort(order), -1)
    return _smallest_of(namespace.where(kept[..., None, :], values, math.inf), degrees)


def locate_by_subspace(
    check: ComplexArray,
    syndromes: Array,
    num_errors: int,
    *,
    erased: BoolArray | None = None,
    candidates: BoolArray | None = None,
) -> Array:
    """Take the columns of the check matrix closest to the signal space of all words' syndromes.

    Parameters
    ----------
    check : ndarray of shape (L, N), complex128
        The matrix the syndromes were taken with.
    syndromes : array of shape (..., L, M), complex128
        Of ``M`` words, or windows of them where errors are proportional.
    num_errors : int
        ``A``, the same for the whole batch.
    erased : ndarray of shape (N,), bool, optional
        Columns projected out first.
    candidates : ndarray of shape (N,), bool, optional
        Workers that may lie; all if absent.

    Returns
    -------
    array of shape (..., N), bool

    Examples
    --------
    >>> nodes = np.exp(2j * np.pi * np.arange(7) / 7)
    >>> check = nodes ** np.arange(4)[:, None]
    >>> errors = np.zeros((7, 3)); errors[[1, 6]] = [[1, 2, 3], [3, 1, 4]]
    >>> np.flatnonzero(locate_by_subspace(check, check @ errors, 2))
    array([1, 6])
    """
    residuals = subspace_residuals(check, syndromes, num_errors, erased)
    if candidates is not None:
        residuals[..., constant_like(~candidates, residuals)] = math.inf
    return smallest(residuals, num_errors)


def _values_at(coefficients: Array, nodes: ComplexArray, candidates: BoolArray) -> Array:
    """Evaluate polynomials at the nodes; infinite where no liar can be."""
    values = locator_values(coefficients, nodes)
    values[..., constant_like(~candidates, values)] = math.inf
    return values


def _mean_polynomial(locators: Locators, chosen: BoolArray) -> Array:
    """Average the chosen words' coefficients; shape (..., 1, v + 1)."""
    share = chosen / np.maximum(chosen.sum(axis=-1, keepdims=True), 1)
    weights = constant_like(share[..., None, :] + 0j, locators.coefficients)
    mean: Array = weights @ locators.coefficients
    return mean


def _smallest_of(values: Array, counts: IntArray) -> Array:
    """Mark the ``counts`` smallest values along the last axis."""
    namespace = namespace_of(values)
    ranks = namespace.argsort(namespace.argsort(values, stable=True))
    return ranks < constant_like(np.asarray(counts)[..., None], values)


def _list_subsets(length: int, size: int) -> IntArray:
    """List the subsets of ``range(length)`` of one size; shape (subsets, size)."""
    count = math.comb(length, size)
    if count > _MOST_SUBSETS:
        raise ParameterError(
            "constraint_length",
            f"must leave at most {_MOST_SUBSETS} subsets of {size} suspects",
            length,
            hint=f"use {size + 4}",
        )
    return np.array(list(itertools.combinations(range(length), size)))


def _order_suspects(votes: Array, choose_by: str, generator: np.random.Generator | None) -> Array:
    """Order the workers: suspects first, by votes or by chance; shape (..., N)."""
    namespace = namespace_of(votes)
    if choose_by not in {"chance", "votes"}:
        raise ParameterError("choose_by", "must be 'chance' or 'votes'", choose_by)
    if choose_by == "votes":
        return namespace.argsort(-votes, stable=True)
    generator = np.random.default_rng(0x5E7) if generator is None else generator
    chance = constant_like(generator.random(tuple(votes.shape)), votes)
    return namespace.argsort(namespace.where(votes > 0, chance, 2.0), stable=True)


def _cheapest_subsets(costs: Array, degrees: Array, weights: Array, places: IntArray) -> Array:
    """Find for each repetition the subset of suspects with the lowest weighted sum of smallest costs.

    ``costs`` (..., M, length), ``degrees`` (..., M, 1, 1), ``weights`` (..., M, 1), ``places`` (subsets, v);
    the result, of shape (...,), holds row numbers of ``places``.
    """
    namespace, batch = namespace_of(costs), tuple(costs.shape[:-2])
    costs = costs.reshape(-1, *costs.shape[-2:])
    degrees = degrees.reshape(len(costs), -1, 1, 1)
    weights = weights.reshape(len(costs), -1, 1)
    places_there = constant_like(places, costs)
    positions = constant_like(np.arange(places.shape[1]), costs)
    per_chunk = max(1, _CHUNK_VALUES // (costs.shape[1] * places.size))
    winners = []
    for start in range(0, len(costs), per_chunk):
        part = slice(start, start + per_chunk)
        ascending = _sorted(costs[part][..., places_there])
        sums = namespace.where(positions < degrees[part], ascending, 0.0).sum(-1)
        winners.append((sums * weights[part]).sum(-2).argmin(-1))
    return namespace.concatenate(winners).reshape(batch)


def _sorted(values: Array) -> Array:
    """Sort the last axis: NumPy gives the array, torch gives it with the order."""
    return np.sort(values, axis=-1) if namespace_of(values) is np else values.sort(dim=-1).values
