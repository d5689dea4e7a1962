"""How samples are divided among users: functions of labels or ids and a generator.

Every rule gives a :class:`~flower_coded.learning.division.Division`. ``samples_per_user`` bounds what is
divided: each user gets that many, or as many on average where a rule makes users of several sizes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError
from flower_coded.learning.division import Division, Indices, division_of_owners

__all__ = [
    "partition_by_class",
    "partition_dirichlet",
    "partition_iid",
    "partition_natural",
    "partition_pathological",
    "partition_shards",
]

LEAST_SAMPLES = 10
"""Fewest samples of a user under :func:`partition_by_class`, where there are twice as many per user."""

_MOST_DRAWS = 1000

_LARGEST_ALPHA = 1e15  # far from where sums of gamma variates overflow, and no mix is told from iid there


def partition_iid(
    labels: Indices,
    num_users: int,
    generator: np.random.Generator,
    *,
    samples_per_user: int | None = None,
) -> Division:
    """Deal shuffled samples to users in equal parts.

    Parameters
    ----------
    labels : ndarray of shape (N,), int64
        Only their number is used.
    num_users : int
        ``n >= 1``.
    generator : numpy.random.Generator
        Source of the shuffle.
    samples_per_user : int or None
        Samples for each user; None means ``N // n``.

    Returns
    -------
    Division
        ``n`` parts of equal length.

    Raises
    ------
    ParameterError
        If ``n`` users cannot get that many samples.

    Examples
    --------
    >>> partition_iid(np.zeros(10, np.int64), 3, np.random.default_rng(0)).describe()
    '3 users have 3 of 10 samples each; 1 go to nobody'
    """
    size = _samples_per_user(len(labels), num_users, samples_per_user)
    order = generator.permutation(len(labels))[: size * num_users]
    return Division(list(order.reshape(num_users, size)), len(labels))


def partition_dirichlet(
    labels: Indices,
    num_users: int,
    alpha: float,
    generator: np.random.Generator,
    *,
    samples_per_user: int | None = None,
) -> Division:
    """Give every user the same number of samples with a class mix of its own (Hsu et al. [1]_, Section 3.1).

    User ``j`` draws ``q_j ~ Dirichlet`` and then its samples one by one without replacement, the mix being
    renormalized when a class has run out. They write ``Dirichlet(alpha * p)`` with ``p`` the class
    frequencies, which for ``c`` balanced classes is ``alpha / c`` per class. The class tables in the appendix
    of the coded-subset paper [2]_ (standard deviation about 150 of 5,000 images at ``alpha = 10``) belong to
    ``alpha`` per class, that is ``Dirichlet(alpha * c * p)``; that is what is used here.

    Parameters
    ----------
    labels : ndarray of shape (N,), int64
        Classes of the samples.
    num_users : int
        ``n >= 1``.
    alpha : float
        Concentration per class where classes are balanced: 0.1 leaves most users one or two classes, 10 moves
        the class counts by some 30 %, infinity would be :func:`partition_iid`.
    generator : numpy.random.Generator
        Source of mixes and draws.
    samples_per_user : int or None
        Samples for each user; None means ``N // n``.

    Returns
    -------
    Division
        ``n`` parts of equal length. Where all samples are divided, the last users get what the others have
        left; ``num_replaced`` says how many samples are not of the mix.

    Raises
    ------
    ParameterError
        If ``alpha`` is not a positive number, or ``n`` users cannot get that many samples.

    References
    ----------
    .. [1] Hsu, Qi, Brown, "Measuring the effects of non-identical data distribution for federated visual
       classification", 2019.
    .. [2] Coded subset aggregation, appendix, "Data".

    Examples
    --------
    >>> labels = np.repeat(np.arange(3), 40)
    >>> division = partition_dirichlet(labels, 4, 0.1, np.random.default_rng(0), samples_per_user=20)
    >>> division.class_counts(labels).tolist()
    [[0, 0, 20], [1, 2, 17], [20, 0, 0], [9, 8, 3]]
    """
    _check_alpha(alpha)
    size = _samples_per_user(len(labels), num_users, samples_per_user)
    classes, class_counts = np.unique(labels, return_counts=True)
    # Scaled by the class shares, so that alpha means the same where classes are unbalanced.
    mixes = generator.dirichlet(alpha * len(classes) * class_counts / len(labels), size=num_users)
    stock = [generator.permutation(np.flatnonzero(labels == label)) for label in classes]
    taken = np.zeros(len(classes), dtype=np.int64)
    parts, replaced = [], 0.0
    for mix in mixes:
        replaced += float(np.maximum(size * mix - (class_counts - taken), 0).sum())
        counts = _draw_counts(mix, class_counts - taken, size, generator)
        part = [pile[start : start + count] for pile, start, count in zip(stock, taken, counts, strict=True)]
        parts.append(generator.permutation(np.concatenate(part)))
        taken += counts
    return Division(parts, len(labels), round(replaced))


def partition_by_class(
    labels: Indices,
    num_users: int,
    alpha: float,
    generator: np.random.Generator,
    *,
    samples_per_user: int | None = None,
) -> Division:
    """Hand out each class in shares drawn from a symmetric Dirichlet distribution (Yurochkin et al. [3]_).

    Users get unequal numbers of samples, nothing is left, and no class runs out. All shares are drawn again
    until every user has at least :data:`LEAST_SAMPLES`, or one where there are less than twice as many per
    user. This is what NIID-Bench and ``flwr-datasets`` (without its self-balancing) call Dirichlet.

    Parameters
    ----------
    labels, num_users, generator
        As above.
    alpha : float
        Concentration over users: every class's shares are ``Dirichlet(alpha, ..., alpha)``.
    samples_per_user : int or None
        Mean number of samples, so many times ``n`` being drawn first; None divides all.

    Returns
    -------
    Division
        ``n`` parts of several lengths.

    Raises
    ------
    ParameterError
        If ``alpha`` is not a positive number, ``n`` users cannot get that many samples, or some user gets
        nearly none in 1,000 draws.

    References
    ----------
    .. [3] Yurochkin et al., "Bayesian nonparametric federated learning of neural networks", ICML 2019,
       Section 4.1.

    Examples
    --------
    >>> labels = np.repeat(np.arange(3), 40)
    >>> partition_by_class(labels, 4, 0.5, np.random.default_rng(0)).class_counts(labels).tolist()
    [[8, 7, 27], [0, 29, 0], [8, 4, 1], [24, 0, 12]]
    """
    _check_alpha(alpha)
    chosen = _subset(len(labels), num_users, samples_per_user, generator)
    classes, class_of, counts = np.unique(labels[chosen], return_inverse=True, return_counts=True)
    least = LEAST_SAMPLES if len(chosen) >= 2 * LEAST_SAMPLES * num_users else 1
    for _ in range(_MOST_DRAWS):
        shares = generator.dirichlet(np.full(num_users, alpha), size=len(classes))
        # Rounded sums of shares, not shares: every class's counts add up to all its samples.
        ends = np.rint(np.cumsum(shares, axis=1) * counts[:, None]).astype(np.int64)
        ends[:, -1] = counts
        sizes = np.diff(ends, axis=1, prepend=0)
        if sizes.sum(axis=0).min() >= least:
            break
    else:
        raise ParameterError(
            "alpha",
            f"must give each of {num_users} users {least} of {len(chosen)} samples in {_MOST_DRAWS} draws",
            alpha,
            hint="a larger one, or fewer users; hsu-dirichlet gives all users equally many",
        )
    owners = np.full(len(labels), -1)
    by_class = chosen[np.argsort(class_of, kind="stable")]
    owners[by_class] = np.repeat(np.tile(np.arange(num_users), len(classes)), sizes.ravel())
    return division_of_owners(owners, num_users, generator)


def partition_pathological(
    labels: Indices,
    num_users: int,
    classes_per_user: int,
    generator: np.random.Generator,
    *,
    samples_per_user: int | None = None,
) -> Division:
    """Give every user samples of exactly so many classes (as ``flwr-datasets``' pathological partitioner).

    Each user takes the classes that fewest users have, ties at random, and the users of a class share its
    samples evenly. With fewer places than classes, ``n * classes_per_user < c``, some classes go to nobody.

    Parameters
    ----------
    labels, num_users, generator
        As above.
    classes_per_user : int
        At least 1, at most ``c``.
    samples_per_user : int or None
        Samples for each user, the same number of each of its classes (rounded down); None divides all
        samples of the classes taken.

    Returns
    -------
    Division

    Raises
    ------
    ParameterError
        If there are not so many classes, or too few samples of a class.

    Examples
    --------
    >>> labels = np.repeat(np.arange(3), 40)
    >>> partition_pathological(labels, 3, 2, np.random.default_rng(0)).class_counts(labels).tolist()
    [[0, 20, 20], [20, 20, 0], [20, 0, 20]]
    """
    classes = np.unique(labels)
    if not 1 <= classes_per_user <= len(classes):
        raise ParameterError(
            "pieces-per-user", f"must lie between 1 and {len(classes)} classes", classes_per_user
        )
    _samples_per_user(len(labels), num_users, samples_per_user)
    if samples_per_user is not None and samples_per_user < classes_per_user:
        raise ParameterError(
            "samples_per_user", f"must be at least {classes_per_user}, one of each class", samples_per_user
        )
    has = np.zeros((num_users, len(classes)), dtype=bool)
    for user in range(num_users):
        rarest = np.lexsort((generator.random(len(classes)), has.sum(axis=0)))
        has[user, rarest[:classes_per_user]] = True
    size = None if samples_per_user is None else samples_per_user // classes_per_user
    owners = np.full(len(labels), -1)
    for column, label in enumerate(classes):
        users, pile = np.flatnonzero(has[:, column]), generator.permutation(np.flatnonzero(labels == label))
        if len(pile) < len(users) * (size or 1):
            most = len(pile) // len(users) * classes_per_user
            raise ParameterError(
                "samples_per_user" if most else "num_users",
                (f"must be at most {most}" if most else "must be smaller")
                + f": {len(users)} users share the {len(pile)} samples of class {label}",
                samples_per_user if most else num_users,
                hint="fewer users or classes per user",
            )
        if len(users):
            pile = pile if size is None else pile[: size * len(users)]
            owners[pile] = users[np.arange(len(pile)) % len(users)]
    return division_of_owners(owners, num_users, generator)


def partition_shards(
    labels: Indices,
    num_users: int,
    shards_per_user: int,
    generator: np.random.Generator,
    *,
    samples_per_user: int | None = None,
) -> Division:
    """Sort samples by class, cut them into equal shards, and deal so many to each user (McMahan et al. [4]_).

    What does not fill a shard is left out at random, not at the end of the last class.

    Parameters
    ----------
    labels, num_users, generator
        As above.
    shards_per_user : int
        At least 1; McMahan et al. take 2.
    samples_per_user : int or None
        Samples for each user, rounded down to shards of equal size; None divides as many as can be.

    Returns
    -------
    Division
        ``n`` parts of equal length.

    Raises
    ------
    ParameterError
        If there are not as many samples as shards.

    References
    ----------
    .. [4] McMahan et al., "Communication-efficient learning of deep networks from decentralized data",
       AISTATS 2017, Section 3.

    Examples
    --------
    >>> labels = np.repeat(np.arange(3), 40)
    >>> partition_shards(labels, 3, 2, np.random.default_rng(0)).class_counts(labels).tolist()
    [[0, 20, 20], [20, 0, 20], [20, 20, 0]]
    """
    if shards_per_user < 1:
        raise ParameterError("pieces-per-user", "must be at least 1 shard", shards_per_user, hint="2")
    size = _samples_per_user(len(labels), num_users, samples_per_user) // shards_per_user
    if size < 1:
        raise ParameterError(
            "pieces-per-user",
            f"must be at most {len(labels) // num_users}: {len(labels)} samples for {num_users} users",
            shards_per_user,
        )
    chosen = generator.permutation(len(labels))[: size * shards_per_user * num_users]
    by_class = chosen[np.argsort(labels[chosen], kind="stable")]
    owner_of_shard = generator.permutation(np.repeat(np.arange(num_users), shards_per_user))
    owners = np.full(len(labels), -1)
    owners[by_class] = np.repeat(owner_of_shard, size)
    return division_of_owners(owners, num_users, generator)


def partition_natural(
    ids: NDArray[np.int64],
    num_users: int,
    generator: np.random.Generator,
    *,
    ids_per_user: int = 0,
    samples_per_user: int | None = None,
) -> Division:
    """Give every user the samples of whole ids: of a writer, a camera, a traffic sign's track.

    Parameters
    ----------
    ids : ndarray of shape (N,), int64
        Whose each sample is.
    num_users, generator
        As above.
    ids_per_user : int
        Ids of each user, drawn at random, the other ids going to nobody; 0 deals out all ids.
    samples_per_user : int or None
        Most samples of a user, the others going to nobody; None keeps all.

    Returns
    -------
    Division
        ``n`` parts of several lengths.

    Raises
    ------
    ParameterError
        If there are not so many ids.

    Examples
    --------
    >>> ids = np.array([7, 7, 7, 2, 2, 5])
    >>> [sorted(set(ids[part].tolist())) for part in partition_natural(ids, 3, np.random.default_rng(0))]
    [[7], [2], [5]]
    """
    if num_users < 1:
        raise ParameterError("num_users", "must be at least 1", num_users)
    if samples_per_user is not None and samples_per_user < 1:
        raise ParameterError("samples_per_user", "must be at least 1", samples_per_user, hint="None: all")
    found, id_of = np.unique(ids, return_inverse=True)
    needed = num_users * max(ids_per_user, 1)
    if ids_per_user < 0 or needed > len(found):
        raise ParameterError(
            "pieces-per-user",
            f"must be ids that {num_users} users can have of {len(found)}",
            ids_per_user,
            hint=f"at most {len(found) // num_users}" if len(found) >= num_users else "fewer users",
        )
    dealt = needed if ids_per_user else len(found)
    owner_of_id = np.full(len(found), -1)
    owner_of_id[generator.permutation(len(found))[:dealt]] = np.arange(dealt) % num_users
    division = division_of_owners(owner_of_id[id_of], num_users, generator)
    if samples_per_user is None:
        return division
    return Division([part[:samples_per_user] for part in division], len(ids))


def _draw_counts(
    mix: NDArray[np.float64], available: Indices, size: int, generator: np.random.Generator
) -> Indices:
    """How many samples of each class a user draws, one by one, the mix renormalized when a class runs out.

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


def _subset(
    num_samples: int, num_users: int, samples_per_user: int | None, generator: np.random.Generator
) -> Indices:
    """Draw the samples that are divided: so many for every user on average, or all."""
    size = _samples_per_user(num_samples, num_users, samples_per_user)
    number = num_samples if samples_per_user is None else size * num_users
    return generator.permutation(num_samples)[:number]


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


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha <= _LARGEST_ALPHA:
        raise ParameterError(
            "alpha", f"must be positive and at most {_LARGEST_ALPHA:g}", alpha, hint="iid is infinity"
        )
