"""Names of what this package's strategies put into a message's ConfigRecord, spelled once.

They carry a prefix because a user's own train config may well have a ``seed`` or a ``model``. A ClientApp
that does not know them ignores them.
"""

from __future__ import annotations

__all__ = ["MODELS_KEY", "MODEL_KEY", "SEED_KEY", "SERVER_ROUND_KEY", "USER_KEY"]

SERVER_ROUND_KEY = "server-round"
"""int, from 1; Flower's own name."""

SEED_KEY = "coded-seed"
"""int in 0 .. 2**32 - 1: drawn from (run seed, round, user). All models of a user share it."""

USER_KEY = "coded-user"
"""int: the receiver's number in the roster."""

MODEL_KEY = "coded-model"
"""int: the model this message is about; only where it carries one model."""

MODELS_KEY = "coded-models"
"""list of int: the models stacked along the leading axis of every array; only where they are stacked."""
