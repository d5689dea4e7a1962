"""Dividing a training set among users: identically distributed, or with a class mix drawn per user.

Every user gets the same number of images and no image goes to two users. Users are numbered ``0 .. n-1``,
which is Flower's partition id. :func:`user_indices` is the one entry that every process calls: with the
same arguments it returns the same division everywhere.

The class mix follows Hsu, Qi and Brown [1]_: user ``j`` draws ``q_j ~ Dirichlet`` and then its images one
by one without replacement, the mix being renormalized when a class has run out. They write
``Dirichlet(alpha * p)`` with ``p`` the class frequencies, which for ``c`` balanced classes is ``alpha / c``
per class. The class tables in the appendix of the coded-subset paper [2]_ (standard deviation about 150 of
5,000 images at ``alpha = 10``) belong to ``alpha`` per class, that is ``Dirichlet(alpha * c * p)``; that is
what is used here.

References
----------
.. [1] Hsu, Qi, Brown, "Measuring the effects of non-identical data distribution for federated visual
   classification", 2019, Section 3.1.
.. [2] Coded subset aggregation, appendix, "Data".
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError

__all__ = ["partition_dirichlet", "partition_iid", "user_indices"]

Division = list[NDArray[np.int64]]


def user_indices(
    labels: NDArray[np.int64],
    num_users: int,
    alpha: float | str = "iid",
    seed: int = 0,
    samples_per_user: int | None = None,
    *,
    groups: NDArray[np.int64] | None = None,
) -> Division:
    """Image indices of every user, the same in every process that asks with the same arguments.

    Parameters
    ----------
    labels : ndarray of shape (N,), int64
        Classes of the training images.
    num_users : int
        ``n >= 1``.
    alpha : float or str
        Concentration of the class mix; ``"iid"`` or infinity for identically distributed users.
    seed : int
        Seed of the division.
    samples_per_user : int or None
        Images for each user; None divides as many as can be divided evenly. With groups, rounded down to
        whole groups of the largest size.
    groups : ndarray of shape (N,), int64, or None
        Images of one group (of one class) go to one user together.

    Returns
    -------
    list of ndarray, int64
        ``n`` arrays of indices into ``labels``, disjoint, in random order.

    Raises
    ------
    ParameterError
        If there are not enough images or ``alpha`` is not positive.

    Examples
    --------
    >>> labels = np.repeat(np.arange(4), 30)
    >>> [len(part) for part in user_indices(labels, 3, alpha=0.1, seed=7)]
    [40, 40, 40]
    """
    generator = np.random.default_rng([seed, 0xD171DE])
    concentration = _concentration(alpha)
    if groups is not None:
        return _by_group(labels, groups, num_users, concentration, generator, samples_per_user)
    return _divide(labels, num_users, concentration, generator, samples_per_user)


def partition_iid(
    labels: NDArray[np.int64],
    num_users: int,
    generator: np.random.Generator,
    *,
    samples_per_user: int | None = None,
) -> Division:
    """Deal shuffled images to users in equal parts.

    Parameters
    ----------
    labels : ndarray of shape (N,), int64
        Only their number is used.
    num_users : int
        ``n >= 1``.
    generator : numpy.random.Generator
        Source of the shuffle.
    samples_per_user : int or None
        Images for each user; None means ``N // n``.

    Returns
    -------
    list of ndarray, int64
        ``n`` disjoint index arrays of equal length.

    Raises
    ------
    ParameterError
        If ``n`` users cannot get that many images.
    """
    size = _samples_per_user(len(labels), num_users, samples_per_user)
    order = generator.permutation(len(labels))[: size * num_users]
    return list(order.reshape(num_users, size))


def partition_dirichlet(
    labels: NDArray[np.int64],
    num_users: int,
    alpha: float,
    generator: np.random.Generator,
    *,
    samples_per_user: int | None = None,
) -> Division:
    """Give every user the same number of images with a class mix of its own (Hsu et al. 2019, Section 3.1).

    Parameters
    ----------
    labels : ndarray of shape (N,), int64
        Classes of the images.
    num_users : int
        ``n >= 1``.
    alpha : float
        Concentration per class where classes are balanced: 0.1 leaves most users one or two classes, 10 moves
        the class counts by some 30 %, infinity would be :func:`partition_iid`.
    generator : numpy.random.Generator
        Source of mixes and draws.
    samples_per_user : int or None
        Images for each user; None means ``N // n``.

    Returns
    -------
    list of ndarray, int64
        ``n`` disjoint index arrays of equal length, each in random order.

    Raises
    ------
    ParameterError
        If ``alpha`` is not a positive number, or ``n`` users cannot get that many images.
    """
    if not (math.isfinite(alpha) and alpha > 0):
        raise ParameterError(
            "alpha", "must be a positive number", alpha, hint="partition_iid is alpha = infinity"
        )
    size = _samples_per_user(len(labels), num_users, samples_per_user)
    classes, class_counts = np.unique(labels, return_counts=True)
    # Scaled by the class shares, so that alpha means the same where classes are unbalanced.
    mixes = generator.dirichlet(alpha * len(classes) * class_counts / len(labels), size=num_users)
    stock = [generator.permutation(np.flatnonzero(labels == label)) for label in classes]
    taken = np.zeros(len(classes), dtype=np.int64)
    division = []
    for mix in mixes:
        counts = _draw_counts(mix, class_counts - taken, size, generator)
        part = [pile[start : start + count] for pile, start, count in zip(stock, taken, counts, strict=True)]
        division.append(generator.permutation(np.concatenate(part)))
        taken += counts
    return division


def _divide(
    labels: NDArray[np.int64],
    num_users: int,
    concentration: float,
    generator: np.random.Generator,
    samples_per_user: int | None,
) -> Division:
    if math.isinf(concentration):
        return partition_iid(labels, num_users, generator, samples_per_user=samples_per_user)
    return partition_dirichlet(labels, num_users, concentration, generator, samples_per_user=samples_per_user)


def _by_group(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    num_users: int,
    concentration: float,
    generator: np.random.Generator,
    samples_per_user: int | None,
) -> Division:
    """Divide groups as if each were one image, then put their images in."""
    _, first, group_of, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    if np.any(labels != labels[first][group_of]):
        raise ParameterError("groups", "must lie within one class each", "a group of several classes")
    per_user = None if samples_per_user is None else max(1, samples_per_user // int(sizes.max()))
    group_division = _divide(labels[first], num_users, concentration, generator, per_user)
    # Groups were divided as single images; every image now follows its group.
    owner = np.full(len(sizes), -1)
    for user, own_groups in enumerate(group_division):
        owner[own_groups] = user
    return [generator.permutation(np.flatnonzero(owner[group_of] == user)) for user in range(num_users)]


def _draw_counts(
    mix: NDArray[np.float64], available: NDArray[np.int64], size: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """How many images of each class a user draws, one by one, the mix renormalized when a class runs out.

    Drawing all at once, capping at what is there and drawing the excess again from the rest has the same
    distribution as drawing singly: a draw of an empty class is a draw to be repeated.
    """
    counts = np.zeros_like(available)
    while (missing := size - int(counts.sum())) > 0:
        left = available - counts
        weights = np.where(left > 0, mix, 0.0)
        if weights.sum() <= 0:  # every class of this mix is used up: take from what is left
            weights = left.astype(np.float64)
        counts += np.minimum(generator.multinomial(missing, weights / weights.sum()), left)
    return counts


def _samples_per_user(num_samples: int, num_users: int, samples_per_user: int | None) -> int:
    if num_users < 1:
        raise ParameterError("num_users", "must be at least 1", num_users)
    most = num_samples // num_users
    size = most if samples_per_user is None else samples_per_user
    if not 1 <= size <= most:
        raise ParameterError(
            "samples_per_user",
            f"must lie between 1 and {most} ({num_samples} images for {num_users} users)",
            size,
            hint="0 or none in a run configuration divides everything" if most else "use fewer users",
        )
    return size


def _concentration(alpha: float | str) -> float:
    if alpha == "iid":
        return math.inf
    try:
        value = float(alpha)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise ParameterError("alpha", "must be a positive number or 'iid'", alpha, hint="1.0, say")
    return value
