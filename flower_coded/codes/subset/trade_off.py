"""The trade-off between data utilization, robustness and cost, as a table to choose a code from.

For given users and colluders every row weight ``r`` buys data utilization ``r / n`` with models: detection
and correction cost ``C(k + r0, k)`` models where ``r0 / (k + r0)`` is about ``r / n``, whatever ``n`` is;
tracking costs more. Beside each figure stands a proven lower bound (:mod:`flower_coded.codes.subset.bounds`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flower_coded.codes.subset.bounds import correction_bound, detection_bound, tracking_bound
from flower_coded.codes.subset.constructions import (
    DEFAULT_ROWS,
    backdoor_correction_code,
    backdoor_detection_code,
)
from flower_coded.codes.subset.feasibility import check_feasible
from flower_coded.codes.subset.guarantees import Guarantees
from flower_coded.codes.subset.subset_code import PROPERTIES, SubsetCode
from flower_coded.codes.subset.tracking import backdoor_tracking_code
from flower_coded.errors import ParameterError

__all__ = ["TradeOff", "build_code", "explore_trade_off"]

_BOUNDS: dict[str, Callable[[int, int, int], int]] = {
    "detection": detection_bound,
    "correction": correction_bound,
    "tracking": tracking_bound,
}


@dataclass(frozen=True)
class TradeOff:
    """What one code offers and costs.

    Parameters
    ----------
    kind : str
        ``"detection"``, ``"correction"`` or ``"tracking"``.
    num_attackers, row_weight, num_users : int
        ``k``, ``r`` and ``n``; every model is trained on at least ``r`` users.
    data_utilization : float
        ``r / n`` of the code itself, whose lightest row may weigh more than ``r``.
    num_models : int
        ``m``, the models to store, train and run.
    lower_bound : int
        No code with these parameters has fewer models.
    training_cost : float
        Ones of ``H`` over ``n``: client work in rounds of a single model on all users.
    guarantees : Guarantees
        The most colluding users the code withstands, indiscriminate and selective.
    """

    kind: str
    num_attackers: int
    row_weight: int
    num_users: int
    data_utilization: float
    num_models: int
    lower_bound: int
    training_cost: float
    guarantees: Guarantees

    @property
    def is_optimal(self) -> bool:
        """Whether the number of models is proven least."""
        return self.num_models == self.lower_bound


def build_code(
    kind: str, num_attackers: int, row_weight: int, num_users: int, *, rows: str = DEFAULT_ROWS
) -> SubsetCode:
    """Build a code of a kind given by name.

    Parameters
    ----------
    kind : str
        ``"detection"``, ``"correction"`` or ``"tracking"``.
    num_attackers, row_weight, num_users : int
        ``k``, ``r`` and ``n``.
    rows : str
        ``"fewest"`` or ``"paper"``, for detection and correction; a tracking code always has the fewest
        known.

    Returns
    -------
    SubsetCode
        As the construction of that kind gives it.

    Raises
    ------
    ParameterError
        If the kind is unknown or the parameters are infeasible.

    Examples
    --------
    >>> build_code("correction", 2, 4, 8).num_models
    6
    """
    if kind not in _BOUNDS:
        raise ParameterError("kind", f"must be one of {', '.join(PROPERTIES)}", kind)
    if kind == "tracking":
        return backdoor_tracking_code(num_attackers, row_weight, num_users)
    build = backdoor_detection_code if kind == "detection" else backdoor_correction_code
    return build(num_attackers, row_weight, num_users, rows=rows)


def explore_trade_off(
    num_users: int,
    num_attackers: int,
    kind: str = "correction",
    *,
    max_models: int = 1000,
    rows: str = "fewest",
    on_code: Callable[[TradeOff], None] | None = None,
) -> list[TradeOff]:
    """List every row weight with the code it takes.

    Parameters
    ----------
    num_users, num_attackers : int
        ``n`` and ``k``, with ``n > k``.
    kind : str
        ``"detection"``, ``"correction"`` or ``"tracking"``.
    max_models : int
        Row weights whose lower bound is above this are left out.
    rows : str
        ``"fewest"`` or ``"paper"``, as for :func:`build_code`.
    on_code : callable, optional
        Called with every entry as it is made: large codes take a while.

    Returns
    -------
    list of TradeOff
        By increasing row weight ``1 .. n - k``.

    Raises
    ------
    ParameterError
        If the kind is unknown or no code exists for ``k`` and ``n``.

    Examples
    --------
    >>> for code in explore_trade_off(8, 2):
    ...     print(code.row_weight, code.num_models, code.lower_bound)
    1 4 4
    2 4 4
    3 5 5
    4 6 6
    5 11 11
    6 28 28
    """
    if kind not in _BOUNDS:
        raise ParameterError("kind", f"must be one of {', '.join(PROPERTIES)}", kind)
    check_feasible(num_attackers, 1, num_users)
    table = []
    for row_weight in range(1, num_users - num_attackers + 1):
        bound = _BOUNDS[kind](num_attackers, row_weight, num_users)
        if bound > max_models:
            break
        code = build_code(kind, num_attackers, row_weight, num_users, rows=rows)
        table.append(
            TradeOff(
                kind=kind,
                num_attackers=num_attackers,
                row_weight=row_weight,
                num_users=num_users,
                data_utilization=code.data_utilization,
                num_models=code.num_models,
                lower_bound=bound,
                training_cost=code.training_cost,
                guarantees=code.guarantees,
            )
        )
        if on_code is not None:
            on_code(table[-1])
    return table
