"""Projects of Flower's older interface end in a sentence that says what to change, on either side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.server import Server, SimpleClientManager
from flwr.server.strategy import FedAvg as OlderFedAvg
from flwr.serverapp.strategy import FedAvg

from flower_coded.aggregation import get_aggregation_rule
from flower_coded.codes import partition_code
from flower_coded.errors import NoRoundSucceededError, ParameterError
from flower_coded.strategies import (
    CodedSubsetAggregation,
    RampSharedMultiKrum,
    RuleAggregation,
    ValidatedReplies,
)
from flower_coded.testing import InProcessGrid

MEDIAN = get_aggregation_rule("median")


class OlderClient(NumPyClient):
    """What tutorials taught for years."""

    def fit(self, parameters: Any, config: Any) -> Any:
        return [each + 1 for each in parameters], 10, {}

    def evaluate(self, parameters: Any, config: Any) -> Any:
        return 0.5, 10, {"accuracy": 0.5}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "strategy",
    [
        RuleAggregation(MEDIAN, fraction_evaluate=0.0),
        ValidatedReplies(FedAvg(fraction_evaluate=0.0)),
        CodedSubsetAggregation(partition_code(2, 2), fraction_evaluate=0.0),
    ],
    ids=lambda each: type(each).__name__,
)
@pytest.mark.parametrize("client_fn", [lambda context: OlderClient().to_client(), lambda cid: OlderClient()])
def test_a_client_fn_is_told_to_write_handlers(strategy: Any, client_fn: Any) -> None:
    grid = InProcessGrid(ClientApp(client_fn=client_fn), 2)
    with pytest.raises(NoRoundSucceededError, match=r"client_fn, NumPyClient.*@app\.train\(\)"):
        strategy.start(grid, ArrayRecord({"w": Array(np.ones(2))}), num_rounds=1)


@pytest.mark.parametrize(
    "strategy",
    [
        RuleAggregation(MEDIAN),
        ValidatedReplies(FedAvg()),
        CodedSubsetAggregation(partition_code(2, 2)),
        RampSharedMultiKrum(num_users=9, num_byzantine=1),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_older_server_is_told_to_call_start(strategy: Any) -> None:
    with pytest.raises(ParameterError, match=r"@app\.main\(\).*start_simulation.*strategy\.start\(grid"):
        Server(client_manager=SimpleClientManager(), strategy=strategy).fit(1, None)


def test_a_strategy_of_the_older_interface_is_refused_with_the_import_to_change() -> None:
    with pytest.raises(ParameterError, match=r"older interface: import it from flwr\.serverapp\.strategy"):
        ValidatedReplies(OlderFedAvg())  # type: ignore[arg-type]


def test_arguments_of_the_older_interface_are_refused_with_their_new_names() -> None:
    with pytest.raises(
        ParameterError, match="for fraction_fit take fraction_train; for min_fit_clients take"
    ):
        RuleAggregation(MEDIAN, fraction_fit=0.5, min_fit_clients=2)
    with pytest.raises(ParameterError, match="for evaluate_fn take the argument evaluate_fn of start"):
        CodedSubsetAggregation(partition_code(2, 2), evaluate_fn=print)
