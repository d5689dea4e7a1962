"""Attacks on updates: what a Byzantine client sends instead of its honest update.

What ``craft(own, known, generator)`` gets and gives says :mod:`flower_coded.attacks.crafting`. ``known`` are
the honest updates that the threat model lets an attacker see, its own among them: one row when attackers do
not talk, the colluders' when they share, everybody's when they are omniscient. Attackers that call ``craft``
with the same ``known`` and equally seeded generators send identical vectors (except sign flip of the own
update).

Standard deviations are those of the population (divided by ``k``). Names and options of the attacks are in
:mod:`flower_coded.attacks.registry`, with those of the attacks that have modules of their own.

Left out: replies that are no update at all (wrong keys or shapes, silence), which the Flower side makes.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from flower_coded.attacks.crafting import (
    IneffectiveAttackWarning,
    Vector,
    as_type,
    check_positive,
    check_updates,
    mean_of,
)
from flower_coded.errors import ParameterError

__all__ = [
    "ALittleIsEnough",
    "GaussianNoise",
    "InnerProductManipulation",
    "NotANumber",
    "SignFlip",
    "little_is_enough_z",
]


@dataclass(frozen=True)
class SignFlip:
    """Send ``-c x`` with ``x`` the own update, or ``-c mu`` with ``mu`` the known updates' mean.

    Source: Li et al., AAAI 2019. Threat model: none beyond its own update; with ``of_mean``, the updates it
    knows.

    Attributes
    ----------
    scale : float
        ``c > 0``.
    of_mean : bool
        Flip the mean of the known updates.

    Examples
    --------
    >>> SignFlip(2.0).craft(np.array([1.0, -3.0]), np.array([[1.0, -3.0]]), np.random.default_rng(0))
    array([-2.,  6.])
    """

    scale: float = 1.0
    of_mean: bool = False

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)

    def craft(self, own: Vector, known: Vector, generator: np.random.Generator) -> Vector:
        """See the class."""
        check_updates(own, known)
        return as_type(-self.scale * (mean_of(known) if self.of_mean else own.astype(np.float64)), own)


@dataclass(frozen=True)
class GaussianNoise:
    """Send independent noise ``N(0, s^2)`` (Blanchard et al. 2017, who take ``s = 200``).

    Threat model: knows nothing but the dimension. Attackers with equally seeded generators send the same
    noise.

    Attributes
    ----------
    scale : float
        ``s > 0``.
    """

    scale: float = 200.0

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)

    def craft(self, own: Vector, known: Vector, generator: np.random.Generator) -> Vector:
        """See the class."""
        check_updates(own, known)
        return as_type(generator.normal(0.0, self.scale, size=own.shape), own)


@dataclass(frozen=True)
class InnerProductManipulation:
    """Send ``-e mu``: the aggregate shall have a negative inner product with the true mean.

    Source: Xie et al., UAI 2019. Threat model: colluders know each other's honest updates, or all of them
    (omniscient, as in the paper).

    Attributes
    ----------
    scale : float
        ``e > 0``: 0.1 to 0.5 against Krum, at least 1 against the median.

    Examples
    --------
    >>> known = np.array([[1.0, 4.0], [3.0, 0.0]])
    >>> InnerProductManipulation(0.5).craft(known[0], known, np.random.default_rng(0))
    array([-1., -1.])
    """

    scale: float = 0.5

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)

    def craft(self, own: Vector, known: Vector, generator: np.random.Generator) -> Vector:
        """See the class."""
        check_updates(own, known)
        return as_type(-self.scale * mean_of(known), own)


@dataclass(frozen=True)
class ALittleIsEnough:
    """Send ``mu - z sigma`` with the largest ``z`` that still hides among honest updates.

    Source: Baruch et al., NeurIPS 2019. Threat model: colluders know each other's honest updates and estimate
    mean and standard deviation of all from them, or know all (omniscient).

    Attributes
    ----------
    num_users, num_attackers : int
        ``n`` and ``m``; ``0 < m < n / 2``. They give ``z_max``.
    z : float or None
        A fixed ``z`` instead of ``z_max``.

    Warns
    -----
    IneffectiveAttackWarning
        If ``z_max <= 0``: so few attackers cannot hide any deviation, and the mean itself is sent.

    Examples
    --------
    >>> round(ALittleIsEnough(50, 24).z_max, 4)
    1.4261
    """

    num_users: int
    num_attackers: int
    z: float | None = None

    def __post_init__(self) -> None:
        if self.z is not None:
            check_positive("z", self.z)
        elif self.z_max <= 0:
            warnings.warn(
                "a little is enough is ineffective for "
                f"{self.num_users} users and {self.num_attackers} attackers (z_max = {self.z_max:.4f} "
                "is not positive); more attackers or a fixed z would change that",
                IneffectiveAttackWarning,
                stacklevel=3,
            )

    @property
    def z_max(self) -> float:
        """``z_max`` of :func:`little_is_enough_z`."""
        return little_is_enough_z(self.num_users, self.num_attackers)

    def craft(self, own: Vector, known: Vector, generator: np.random.Generator) -> Vector:
        """See the class."""
        check_updates(own, known)
        z = max(0.0, self.z_max) if self.z is None else self.z
        return as_type(mean_of(known) - z * known.std(axis=0, dtype=np.float64), own)


@dataclass(frozen=True)
class NotANumber:
    """Send NaN in every entry: what a crash or a saboteur sends. Threat model: knows nothing."""

    def craft(self, own: Vector, known: Vector, generator: np.random.Generator) -> Vector:
        """See the class."""
        check_updates(own, known)
        return np.full_like(own, np.nan)


def little_is_enough_z(num_users: int, num_attackers: int) -> float:
    """``z_max = Phi^-1((n - m - s) / (n - m))`` with ``s = floor(n / 2 + 1) - m``.

    Baruch et al. 2019, Algorithm 3: ``s`` honest clients must support the attackers to make a majority.

    Parameters
    ----------
    num_users, num_attackers : int
        ``n`` and ``m``, with ``0 < m`` and ``s > 0`` (attackers that are a majority need not hide).

    Returns
    -------
    float
        Not positive where the attack is ineffective.

    Raises
    ------
    ParameterError
        If the attackers are none or a majority.
    """
    supporters = num_users // 2 + 1 - num_attackers
    if num_attackers < 1 or supporters < 1:
        raise ParameterError(
            "num_attackers",
            f"must lie between 1 and {num_users // 2} of {num_users} users",
            num_attackers,
            hint="a majority of attackers needs no such care: use sign-flip",
        )
    honest = num_users - num_attackers
    from scipy.special import ndtri  # slow to load, and few attacks need it

    return float(ndtri((honest - supporters) / honest))
