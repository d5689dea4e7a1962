"""Dividing a training set among users, by the name of a rule.

Users are numbered ``0 .. n-1``, which is Flower's partition id. :func:`user_indices` is the one entry that
every process calls: with the same arguments it returns the same division everywhere. The rules themselves are
in :mod:`flower_coded.learning.partition_rules`; a partitioner of ``flwr-datasets`` is written as a call, see
:mod:`flower_coded.learning.flwr_datasets_bridge`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError
from flower_coded.learning.division import Division
from flower_coded.learning.partition_rules import (
    partition_by_class,
    partition_dirichlet,
    partition_iid,
    partition_natural,
    partition_pathological,
    partition_shards,
)

__all__ = ["DEFAULT_PARTITION", "PARTITION_NAMES", "check_partition", "user_indices"]

DEFAULT_PARTITION = "hsu-dirichlet"


@dataclass(frozen=True)
class Asked:
    """What is asked of a rule, besides labels, number of users and generator."""

    alpha: float
    pieces_per_user: int
    samples_per_user: int | None
    seed: int


@dataclass(frozen=True)
class Rule:
    """A way to divide, and which settings it reads."""

    divide: Callable[[NDArray[np.int64], int, Asked, np.random.Generator], Division]
    reads_alpha: bool = False
    reads_pieces: bool = False


def _hsu_dirichlet(labels: Any, num_users: int, asked: Asked, generator: np.random.Generator) -> Division:
    if math.isinf(asked.alpha):
        return partition_iid(labels, num_users, generator, samples_per_user=asked.samples_per_user)
    return partition_dirichlet(
        labels, num_users, asked.alpha, generator, samples_per_user=asked.samples_per_user
    )


def _dirichlet(labels: Any, num_users: int, asked: Asked, generator: np.random.Generator) -> Division:
    return partition_by_class(
        labels, num_users, asked.alpha, generator, samples_per_user=asked.samples_per_user
    )


def _pathological(labels: Any, num_users: int, asked: Asked, generator: np.random.Generator) -> Division:
    return partition_pathological(
        labels, num_users, asked.pieces_per_user or 2, generator, samples_per_user=asked.samples_per_user
    )


def _shards(labels: Any, num_users: int, asked: Asked, generator: np.random.Generator) -> Division:
    return partition_shards(
        labels, num_users, asked.pieces_per_user or 2, generator, samples_per_user=asked.samples_per_user
    )


def _natural(ids: Any, num_users: int, asked: Asked, generator: np.random.Generator) -> Division:
    return partition_natural(
        ids,
        num_users,
        generator,
        ids_per_user=asked.pieces_per_user,
        samples_per_user=asked.samples_per_user,
    )


NATURAL = "natural"

RULES = {
    DEFAULT_PARTITION: Rule(_hsu_dirichlet, reads_alpha=True),
    "dirichlet": Rule(_dirichlet, reads_alpha=True),
    "pathological": Rule(_pathological, reads_pieces=True),
    "shards": Rule(_shards, reads_pieces=True),
    NATURAL: Rule(_natural, reads_pieces=True),
}
"""Every rule by its name; ``natural`` divides ids in place of labels."""

PARTITION_NAMES = tuple(RULES)


def user_indices(
    labels: NDArray[np.int64],
    num_users: int,
    alpha: float | str = "iid",
    seed: int = 0,
    samples_per_user: int | None = None,
    *,
    groups: NDArray[np.int64] | None = None,
    partition: str = DEFAULT_PARTITION,
    pieces_per_user: int = 0,
    ids: NDArray[np.int64] | None = None,
) -> Division:
    """Sample indices of every user, the same in every process that asks with the same arguments.

    Parameters
    ----------
    labels : ndarray of shape (N,), int64
        Classes of the training samples.
    num_users : int
        ``n >= 1``.
    alpha : float or str
        Concentration of the two Dirichlet rules; ``"iid"`` or infinity for identically distributed users.
    seed : int
        Seed of the division.
    samples_per_user : int or None
        Samples for each user, on average where they differ; None divides as many as can be. With groups,
        rounded down to whole groups of the largest size.
    groups : ndarray of shape (N,), int64, or None
        Samples of one group (of one class) go to one user together.
    partition : str
        One of :data:`PARTITION_NAMES`, or a call of one of ``flwr-datasets``' partitioners.
    pieces_per_user : int
        Classes (``pathological``), shards or ids (``natural``) of every user; 0: two, or all ids.
    ids : ndarray of shape (N,), int64, or None
        Whose each sample is, where the data set says so; ``natural`` needs it.

    Returns
    -------
    Division
        ``n`` arrays of indices into ``labels``, disjoint, none empty, in random order.

    Raises
    ------
    ParameterError
        If there are not enough samples, or a setting is not one of this rule's.

    Examples
    --------
    >>> labels = np.repeat(np.arange(4), 30)
    >>> [len(part) for part in user_indices(labels, 3, alpha=0.1, seed=7)]
    [40, 40, 40]
    >>> division = user_indices(labels, 3, seed=7, partition="shards")
    >>> (division.class_counts(labels) > 0).sum(axis=1).tolist()
    [2, 3, 2]
    """
    rule = check_partition(partition, alpha, pieces_per_user)
    if seed < 0:
        raise ParameterError("seed", "must not be negative", seed)
    for name, given in (("groups", groups), ("ids", ids)):
        if given is not None and len(given) != len(labels):
            raise ParameterError(name, f"must hold one for each of {len(labels)} samples", len(given))
    asked = Asked(_concentration(alpha), pieces_per_user, samples_per_user, seed)
    generator = np.random.default_rng([seed, 0xD171DE])
    if partition == NATURAL:
        if ids is None:
            raise ParameterError(
                "partition", "must be another: the data set does not say whose a sample is", partition
            )
        if groups is not None and len(np.unique(np.stack([groups, ids]), axis=1).T) > len(np.unique(groups)):
            raise ParameterError("ids", "must be one for all of a group", "a group of several ids")
        return rule.divide(ids, num_users, asked, generator)
    if groups is not None:
        return _by_group(labels, groups, num_users, asked, rule, generator)
    return rule.divide(labels, num_users, asked, generator)


def check_partition(partition: str, alpha: float | str = "iid", pieces_per_user: int = 0) -> Rule:
    """Give a rule by its name; refuse settings that it would not read.

    Parameters
    ----------
    partition, alpha, pieces_per_user
        As in :func:`user_indices`.

    Returns
    -------
    Rule

    Raises
    ------
    ParameterError
        If there is no such rule, or it does not read one of the settings given, or lacks one.

    Examples
    --------
    >>> check_partition("shards", alpha=0.1)
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: alpha must be iid: partition=shards does not read it; received 0.1
    """
    if partition.endswith(")"):
        from flower_coded.learning.flwr_datasets_bridge import check_call, divide_by_call

        check_call(partition)
        rule = Rule(lambda labels, n, asked, rng: divide_by_call(partition, labels, n, asked, rng))
    elif partition in RULES:
        rule = RULES[partition]
    else:
        raise ParameterError(
            "partition",
            f"must be one of {', '.join(RULES)}, or a call of a partitioner of flwr-datasets",
            partition,
            hint=_nearest(partition),
        )
    concentration = _concentration(alpha)
    if not rule.reads_alpha and not math.isinf(concentration):
        raise ParameterError("alpha", f"must be iid: partition={partition} does not read it", alpha)
    if partition == "dirichlet" and math.isinf(concentration):
        raise ParameterError("alpha", "must be a number for partition=dirichlet", alpha, hint="0.5, say")
    if pieces_per_user and not rule.reads_pieces:
        raise ParameterError(
            "pieces-per-user", f"must be 0: partition={partition} does not read it", pieces_per_user
        )
    return rule


def _by_group(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    num_users: int,
    asked: Asked,
    rule: Rule,
    generator: np.random.Generator,
) -> Division:
    """Divide groups as if each were one sample, then put their samples in."""
    _, first, group_of, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    if np.any(labels != labels[first][group_of]):
        raise ParameterError("groups", "must lie within one class each", "a group of several classes")
    samples, largest = asked.samples_per_user, int(sizes.max())
    most = len(sizes) // max(num_users, 1) * largest
    if samples is not None and not largest <= samples < most + largest:
        raise ParameterError(
            "samples_per_user",
            f"must lie between {largest}, the largest group, and {most}: {num_users} users share "
            f"{len(sizes)} groups",
            samples,
            hint="0 or none in a run configuration divides everything" if most else "use fewer users",
        )
    per_user = None if samples is None else samples // largest
    asked = Asked(asked.alpha, asked.pieces_per_user, per_user, asked.seed)
    owner = np.full(len(sizes), -1)
    of_groups = rule.divide(labels[first], num_users, asked, generator)
    for user, own_groups in enumerate(of_groups):
        owner[own_groups] = user
    replaced = round(of_groups.num_replaced * len(labels) / len(sizes))
    # Groups were divided as single samples; every sample now follows its group.
    parts = [generator.permutation(np.flatnonzero(owner[group_of] == user)) for user in range(num_users)]
    return Division(parts, len(labels), replaced)


def _concentration(alpha: float | str) -> float:
    if isinstance(alpha, str) and alpha == "iid":
        return math.inf
    try:
        value = float(alpha)
    except (ValueError, TypeError):
        value = math.nan
    if isinstance(alpha, bool) or not value > 0:
        raise ParameterError("alpha", "must be a positive number or 'iid'", alpha, hint="1.0, say")
    return value


def _nearest(partition: str) -> str:
    if partition == "iid":
        return "identically distributed is alpha=iid"
    if partition.endswith("Partitioner"):
        return f"a call has brackets: {partition}()"
    close = difflib.get_close_matches(partition.strip().lower(), RULES, n=1)
    return f"did you mean {close[0]!r}?" if close else ""
