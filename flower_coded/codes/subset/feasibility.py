"""Which ``(k, r, n)`` a subset code can have, and the refusal of all others."""

from __future__ import annotations

import numpy as np

from flower_coded.errors import ParameterError

__all__ = ["check_at_least_one", "check_feasible"]


def check_feasible(num_attackers: int, row_weight: int, num_users: int) -> None:
    """Refuse ``(k, r, n)`` for which no code exists: ``k, r >= 1`` and ``n >= k + r`` (Lemma 2).

    Were ``n < k + r``, every row would have fewer than ``k`` zeros, and any ``k`` users would reach every
    model.

    Parameters
    ----------
    num_attackers, row_weight, num_users : int
        ``k``, ``r`` and ``n``.

    Raises
    ------
    ParameterError
        With the reason and the nearest feasible parameters.

    Examples
    --------
    >>> check_feasible(4, 4, 12)
    """
    check_at_least_one(num_attackers=num_attackers, row_weight=row_weight, num_users=num_users)
    least = num_attackers + row_weight
    if num_users >= least:
        return
    near = [
        (num_users - row_weight, row_weight, num_users),
        (num_attackers, num_users - num_attackers, num_users),
        (num_attackers, row_weight, least),
    ]
    feasible = [f"({k}, {r}, {n})" for k, r, n in near if k >= 1 and r >= 1]
    listed = " or ".join([", ".join(feasible[:-1]), feasible[-1]] if len(feasible) > 1 else feasible)
    raise ParameterError(
        "num_users",
        f"must be at least num_attackers + row_weight = {least}",
        num_users,
        hint=f"nearest feasible (k, r, n): {listed}",
    )


def check_at_least_one(**parameters: int) -> None:
    """Refuse parameters that are not whole numbers of at least 1.

    Parameters
    ----------
    **parameters : int
        Values by the names that callers know them by.

    Raises
    ------
    ParameterError
        Naming the first parameter at fault.

    Examples
    --------
    >>> check_at_least_one(num_users=12)
    """
    for name, value in parameters.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ParameterError(name, "must be a whole number", value)
        if value < 1:
            raise ParameterError(name, "must be at least 1", value)
