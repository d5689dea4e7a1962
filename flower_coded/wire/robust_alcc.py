"""Records of robust analog Lagrange coded computing: its messages as Flower carries them, spelled once."""

from __future__ import annotations

from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from flower_coded.protocols.analog_computing import Request, Share
from flower_coded.wire.keys import SERVER_ROUND_KEY, USER_KEY

__all__ = [
    "COMPUTE_MESSAGE_TYPE",
    "REQUEST_KEY",
    "SHARE_CONFIG_KEY",
    "SHARE_KEY",
    "VALUES_KEY",
    "read_request",
    "read_share",
    "request_content",
    "result_content",
]

COMPUTE_MESSAGE_TYPE = "train.robust_alcc_compute"
"""Asks a worker for a function of its share; the first one brings the share along."""

SHARE_KEY, SHARE_CONFIG_KEY = "robust-alcc-share", "robust-alcc-share-config"
REQUEST_KEY, PARAMETERS_KEY = "robust-alcc-request", "robust-alcc-parameters"
VALUES_KEY = "robust-alcc-values"


def request_content(request: Request, server_round: int, share: Share | None) -> RecordDict:
    """Write a request, with the worker's share if it has none yet."""
    content = RecordDict(
        {REQUEST_KEY: ConfigRecord({"function": request.function, SERVER_ROUND_KEY: server_round})}
    )
    if request.parameters is not None:
        content[PARAMETERS_KEY] = ArrayRecord({"parameters": Array(request.parameters)})
    if share is not None:
        content[SHARE_KEY] = ArrayRecord({"block": Array(share.block)})
        content[SHARE_CONFIG_KEY] = ConfigRecord({USER_KEY: share.worker})
    return content


def read_request(content: RecordDict) -> tuple[Request, int]:
    """Read a request and the server round it belongs to."""
    config = content.config_records[REQUEST_KEY]
    function, server_round = config["function"], config[SERVER_ROUND_KEY]
    assert isinstance(function, str)
    assert isinstance(server_round, int)
    record = content.array_records.get(PARAMETERS_KEY)
    return Request(function, None if record is None else record["parameters"].numpy()), server_round


def read_share(content: RecordDict) -> Share:
    """Read a share, from a message or from a node's state."""
    worker = content.config_records[SHARE_CONFIG_KEY][USER_KEY]
    assert isinstance(worker, int)
    return Share(worker, content.array_records[SHARE_KEY]["block"].numpy())


def result_content(values: np.ndarray[Any, Any]) -> RecordDict:
    """Write a worker's result."""
    return RecordDict({VALUES_KEY: ArrayRecord({"values": Array(values)})})
