"""What is said to projects written for Flower's older interface, with the line to change.

That interface (``NumPyClient``, ``client_fn``, ``start_simulation``, ``flwr.server.strategy``) carries other
records between server and client, so that nothing of it works with the Message API; it would end in an
``AttributeError``, or in a ``KeyError`` from every client. The client's side of this is in
:mod:`flower_coded.wire.validation`, where replies are read. docs/strategies.md has the two forms beside each
other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from flower_coded.errors import ParameterError

__all__ = ["OLDER_STRATEGY_HINT", "refuse_older_options", "refuse_older_server"]

OLDER_STRATEGY_HINT = (
    "flwr.server.strategy is Flower's older interface: import it from flwr.serverapp.strategy"
)

# Arguments of flwr.server.strategy.FedAvg, and where their meaning is now.
_NOW = {
    "fraction_fit": "fraction_train",
    "min_fit_clients": "min_train_nodes",
    "min_evaluate_clients": "min_evaluate_nodes",
    "min_available_clients": "min_available_nodes",
    "fit_metrics_aggregation_fn": "train_metrics_aggr_fn",
    "evaluate_metrics_aggregation_fn": "evaluate_metrics_aggr_fn",
    "initial_parameters": "the argument initial_arrays of start()",
    "evaluate_fn": "the argument evaluate_fn of start()",
    "on_fit_config_fn": "the argument train_config of start()",
    "on_evaluate_config_fn": "the argument evaluate_config of start()",
    "accept_failures": "nothing: failures are always accepted, and named",
}


def refuse_older_options(options: Mapping[str, Any]) -> None:
    """Refuse arguments that a strategy of the older interface took, each with its new name.

    Raises
    ------
    ParameterError
        If there is one.

    Examples
    --------
    >>> refuse_older_options({"fraction_fit": 0.5})
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: FedAvg arguments must have their names of flwr.serverapp; received ...
    """
    found = [name for name in options if name in _NOW]
    if found:
        changes = "; ".join(f"for {name} take {_NOW[name]}" for name in found)
        raise ParameterError(
            "FedAvg arguments", "must have their names of flwr.serverapp", found, hint=changes
        )


def refuse_older_server(strategy: object) -> NoReturn:
    """Say how a strategy is run, to a server of the older interface.

    Raises
    ------
    ParameterError
        Always.
    """
    raise ParameterError(
        "server",
        "must be a ServerApp with @app.main()",
        f"a server_fn, a ServerConfig or start_simulation for {type(strategy).__name__}",
        hint="call strategy.start(grid, initial_arrays, num_rounds=...) in a function main(grid, context)",
    )
