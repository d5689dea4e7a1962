"""A user's state between the phases of ramp-shared multi-Krum, as records of ``context.state``.

Flower carries a node's state with every message, so it is kept small by the protocol (see
:mod:`flower_coded.protocols.ramp_krum.user`) and removed as soon as the round is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from flower_coded.crypto.sealed_channel import KEY_BYTES, KeyPair
from flower_coded.protocols.ramp_krum.member import UserState
from flower_coded.protocols.ramp_krum.user import DealtState, HoldingState, KeyState

__all__ = ["load_state", "load_update", "save_state", "save_update"]

_STATE, _ARRAYS, _UPDATE = "ramp-krum-state", "ramp-krum-arrays", "ramp-krum-update"
_HELD = ("first", "inner", "range_sums", "product_masks")


def save_update(state: RecordDict, integers: NDArray[np.int64]) -> None:
    """Keep the quantized update until shares are asked for, as 32-bit integers."""
    state[_UPDATE] = ArrayRecord({"integers": Array(integers.astype(np.int32))})


def load_update(state: RecordDict) -> NDArray[np.int64]:
    """Take the update out of the state."""
    record = cast(ArrayRecord, state.pop(_UPDATE))
    return record["integers"].numpy().astype(np.int64)


def save_state(state: RecordDict, user_state: UserState) -> None:
    """Replace what is kept of the round; None removes everything.

    Examples
    --------
    >>> state = RecordDict()
    >>> save_state(state, KeyState(b"round", 3, KeyPair.generate()))
    >>> load_state(state).user
    3
    >>> save_state(state, None)
    >>> list(state)
    []
    """
    for name in (_STATE, _ARRAYS):
        state.pop(name, None)
    if not isinstance(user_state, KeyState):  # until shares are dealt the update is kept beside the key
        state.pop(_UPDATE, None)
    if user_state is None:
        return
    config = ConfigRecord(
        {"kind": type(user_state).__name__, "round-id": user_state.round_id, "user": user_state.user}
    )
    arrays: dict[str, NDArray[np.generic]] = {}
    if isinstance(user_state, KeyState | DealtState):
        config["private-key"] = user_state.key.private_key
    if isinstance(user_state, DealtState | HoldingState):
        arrays |= _openings_to_arrays(user_state.openings)
    if isinstance(user_state, DealtState):
        arrays |= {f"share/{name}": values for name, values in user_state.own_share.items()}
    if isinstance(user_state, HoldingState):
        arrays["dealers"] = np.array(user_state.dealers, dtype=np.int64)
        arrays |= {name: getattr(user_state, name) for name in _HELD}
    state[_STATE] = config
    if arrays:
        state[_ARRAYS] = ArrayRecord({name: Array(np.ascontiguousarray(a)) for name, a in arrays.items()})


def load_state(state: RecordDict) -> UserState:
    """Read what is kept of the round."""
    if _STATE not in state:
        return None
    config = cast(ConfigRecord, state[_STATE])
    round_id, user = cast(bytes, config["round-id"]), cast(int, config["user"])
    record = cast(ArrayRecord, state.get(_ARRAYS, ArrayRecord()))
    arrays = {name: array.numpy() for name, array in record.items()}
    if config["kind"] == "HoldingState":
        held = {name: arrays[name] for name in _HELD}
        dealers = tuple(int(dealer) for dealer in arrays["dealers"])
        return HoldingState(round_id, user, _arrays_to_openings(arrays), dealers, **held)
    key = KeyPair.from_private_key(cast(bytes, config["private-key"]))
    if config["kind"] == "KeyState":
        return KeyState(round_id, user, key)
    own = {name.removeprefix("share/"): a for name, a in arrays.items() if name.startswith("share/")}
    return DealtState(round_id, user, key, _arrays_to_openings(arrays), own)


def _openings_to_arrays(openings: Mapping[int, bytes]) -> dict[str, NDArray[np.generic]]:
    joined = np.frombuffer(b"".join(openings.values()), dtype=np.uint8)
    return {
        "receivers": np.array(list(openings), dtype=np.int64),
        "openings": joined.reshape(-1, KEY_BYTES),
    }


def _arrays_to_openings(arrays: Mapping[str, NDArray[np.generic]]) -> dict[int, bytes]:
    pairs = zip(arrays["receivers"], arrays["openings"], strict=True)
    return {int(receiver): opening.tobytes() for receiver, opening in pairs}
