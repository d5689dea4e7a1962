"""Names that both sides of Flower use in records and messages, spelled once.

What strategies put into a ConfigRecord carries a prefix, because a user's own train config may well have a
``seed`` or a ``model``. A ClientApp that does not know these names ignores them.
"""

from __future__ import annotations

__all__ = [
    "IDENTITY_MESSAGE_TYPE",
    "IDENTITY_RECORD",
    "MODELS_KEY",
    "MODEL_KEY",
    "NUM_EXAMPLES_KEY",
    "PARTITION_ID_KEY",
    "SEED_KEY",
    "SERVER_ROUND_KEY",
    "SILENCE_CODE",
    "STATE_MISSING_CODE",
    "USER_KEY",
]

SERVER_ROUND_KEY = "server-round"
"""int, from 1; Flower's own name."""

NUM_EXAMPLES_KEY = "num-examples"
"""int: the reported count of examples in a reply's MetricRecord; Flower's own name."""

SEED_KEY = "coded-seed"
"""int in 0 .. 2**32 - 1: drawn from (run seed, round, participant). All models of a user share it."""

USER_KEY = "coded-user"
"""int: the receiver's index among the participants."""

MODEL_KEY = "coded-model"
"""str: a label by which the receiver recognizes the model of this message; only where it carries one model.
The model's number (int) where the strategy tells it."""

MODELS_KEY = "coded-models"
"""list of str, or of int as above: the models stacked along the leading axis of every array; only where they
are stacked."""

IDENTITY_MESSAGE_TYPE = "query.flower_coded_identity"
"""Asks a node who it is; the reply holds one ConfigRecord with the partition id."""

IDENTITY_RECORD, PARTITION_ID_KEY = "identity", "partition-id"

SILENCE_CODE = 1000
"""Error code of a node that is silent on purpose; outside the codes that Flower itself uses."""

STATE_MISSING_CODE = 1001
"""Error code of a node that no longer has what an earlier message brought: the server sends it again."""
