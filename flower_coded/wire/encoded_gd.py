"""Records of encoded gradient descent: the protocol's messages as Flower carries them, spelled once."""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from flower_coded.protocols.encoded_gradient import Appended, Product, Share
from flower_coded.wire.keys import SERVER_ROUND_KEY, USER_KEY

__all__ = [
    "APPEND_MESSAGE_TYPE",
    "ARRAYS_KEY",
    "CONFIG_KEY",
    "MULTIPLY_MESSAGE_TYPE",
    "SHARE_MESSAGE_TYPE",
    "STORED_KEY",
    "appended_content",
    "product_content",
    "read_appended",
    "read_product",
    "read_share",
    "share_content",
    "stored_content",
    "values_content",
]

SHARE_MESSAGE_TYPE = "train.encoded_gd_share"
MULTIPLY_MESSAGE_TYPE = "train.encoded_gd_multiply"
APPEND_MESSAGE_TYPE = "train.encoded_gd_append"

ARRAYS_KEY = "encoded-gd-arrays"
CONFIG_KEY = "encoded-gd-config"
STORED_KEY = "num-numbers"


def share_content(share: Share) -> RecordDict:
    """Write a share."""
    return RecordDict(
        {
            ARRAYS_KEY: ArrayRecord({"first": Array(share.first), "second": Array(share.second)}),
            CONFIG_KEY: ConfigRecord({USER_KEY: share.worker}),
        }
    )


def read_share(content: RecordDict) -> Share:
    """Read what :func:`share_content` wrote, from a message or from a node's state."""
    arrays = content.array_records[ARRAYS_KEY]
    worker = content.config_records[CONFIG_KEY][USER_KEY]
    assert isinstance(worker, int)
    return Share(worker, arrays["first"].numpy(), arrays["second"].numpy())


def product_content(product: Product, server_round: int) -> RecordDict:
    """Write a request for a product."""
    return RecordDict(
        {
            ARRAYS_KEY: ArrayRecord({"vector": Array(product.vector)}),
            CONFIG_KEY: ConfigRecord(
                {
                    "product": product.which,
                    "start": product.start,
                    "stop": product.stop,
                    SERVER_ROUND_KEY: server_round,
                }
            ),
        }
    )


def read_product(content: RecordDict) -> tuple[Product, int]:
    """Read a request for a product and the server round it belongs to."""
    config = content.config_records[CONFIG_KEY]
    numbers = [config[key] for key in ("product", "start", "stop", SERVER_ROUND_KEY)]
    which, start, stop, server_round = (number for number in numbers if isinstance(number, int))
    vector = content.array_records[ARRAYS_KEY]["vector"].numpy()
    return Product(which, vector, start, stop), server_round


def appended_content(point: Appended) -> RecordDict:
    """Write a worker's part of data points that are appended."""
    return RecordDict(
        {
            ARRAYS_KEY: ArrayRecord({"rows": Array(point.rows), "columns": Array(point.columns)}),
            CONFIG_KEY: ConfigRecord({USER_KEY: point.worker, "block": point.block}),
        }
    )


def read_appended(content: RecordDict) -> Appended:
    """Read what :func:`appended_content` wrote."""
    config, arrays = content.config_records[CONFIG_KEY], content.array_records[ARRAYS_KEY]
    worker, block = config[USER_KEY], config["block"]
    assert isinstance(worker, int)
    assert isinstance(block, int)
    return Appended(worker, block, arrays["rows"].numpy(), arrays["columns"].numpy())


def values_content(values: NDArray[np.float64]) -> RecordDict:
    """Write a worker's answer."""
    return RecordDict({ARRAYS_KEY: ArrayRecord({"values": Array(values)})})


def stored_content(num_numbers: int) -> RecordDict:
    """Write the confirmation of a share: how many numbers are stored now."""
    return RecordDict({ARRAYS_KEY: MetricRecord({STORED_KEY: num_numbers})})
