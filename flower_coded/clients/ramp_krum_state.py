"""A user's state between the phases of ramp-shared multi-Krum, in ``context.state`` and never in clear.

Flower carries a node's state with every message, and may keep it for long after a round whose last message
was lost. So the state (a private key, an update, shares) is encrypted under a key that is made for the round
and kept in a file of the user's cache directory. With the file the state is gone: it is deleted when the
round ends, when the next one begins, and, for nodes that never see another round, by whoever makes a key a
day later.
"""

from __future__ import annotations

import io
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from flower_coded.crypto.encrypted_share import KeyPair
from flower_coded.crypto.srs_cache import cache_directory
from flower_coded.protocols.ramp_krum.party import UserState
from flower_coded.protocols.ramp_krum.user import DealtState, HoldingState, KeyState, SummingState

__all__ = ["load_state", "save_state"]

_RECORD, _ARRAYS = "ramp-krum-state", "ramp-krum-encrypted-state"
_KINDS = {kind.__name__: kind for kind in (KeyState, DealtState, HoldingState, SummingState)}
_NONCE_BYTES, _KEY_BYTES, _LIFETIME = 12, 32, 86_400.0


def save_state(
    records: RecordDict,
    user_state: UserState,
    update: NDArray[np.int64] | None = None,
    terms: bytes = b"",
) -> None:
    """Replace what is kept of the round; None removes everything.

    Parameters
    ----------
    records : RecordDict
        The node's ``context.state``.
    user_state : UserState
    update : ndarray of shape (L,), int64, or None
        The quantized update, kept until it is dealt.
    terms : bytes
        A hash of what must not change within the round.

    Examples
    --------
    >>> records = RecordDict()
    >>> save_state(records, KeyState(b"round", 3, KeyPair.generate()), np.array([1, -2]))
    >>> state, update, terms = load_state(records)
    >>> state.user, update, terms
    (3, array([ 1, -2]), b'')
    >>> save_state(records, None)
    >>> list(records), load_state(records)
    ([], (None, None, b''))
    """
    is_first = isinstance(user_state, KeyState)
    key_path = None if is_first else _key_path(records)
    if user_state is None or is_first:
        _forget(records)
    if user_state is None:
        return
    if key_path is None or not key_path.exists():
        key_path = _make_key()
    arrays = _to_arrays(user_state)
    arrays["terms"] = _to_array(terms)
    if update is not None:
        arrays["update"] = update.astype(np.int32)
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, kind=np.array(type(user_state).__name__), **arrays)
    nonce = os.urandom(_NONCE_BYTES)
    encrypted = nonce + ChaCha20Poly1305(key_path.read_bytes()).encrypt(nonce, content.getbuffer(), None)
    records[_RECORD] = ConfigRecord({"key": key_path.name})
    records[_ARRAYS] = ArrayRecord({"state": Array(np.frombuffer(encrypted, dtype=np.uint8))})


def load_state(records: RecordDict) -> tuple[UserState, NDArray[np.int64] | None, bytes]:
    """Read what is kept of the round, the update if it is not dealt yet, and the terms; None where gone."""
    key_path = _key_path(records)
    if key_path is None or not key_path.exists():
        return None, None, b""
    encrypted = cast(ArrayRecord, records[_ARRAYS])["state"].numpy().tobytes()
    nonce, content = encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:]
    try:
        decrypted = ChaCha20Poly1305(key_path.read_bytes()).decrypt(nonce, content, None)
    except InvalidTag:  # another key under that name: as good as none
        return None, None, b""
    with np.load(io.BytesIO(decrypted), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    update, terms = arrays.pop("update", None), arrays.pop("terms").tobytes()
    kind = _KINDS[str(arrays.pop("kind"))]
    return _from_arrays(kind, arrays), None if update is None else update.astype(np.int64), terms


def _forget(records: RecordDict) -> None:
    key_path = _key_path(records)
    if key_path is not None:
        key_path.unlink(missing_ok=True)
    for name in (_RECORD, _ARRAYS):
        records.pop(name, None)


def _key_path(records: RecordDict) -> Path | None:
    record = cast(ConfigRecord | None, records.get(_RECORD))
    return None if record is None else _key_directory() / str(record["key"])


def _key_directory() -> Path:
    return cache_directory() / "ramp-krum-keys"


def _make_key() -> Path:
    directory = _key_directory()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in directory.iterdir():
        with suppress(OSError):  # another process may just have deleted it
            if time.time() - path.stat().st_mtime > _LIFETIME:
                path.unlink()
    path = directory / secrets.token_hex(16)
    # Nobody else on the machine may read it, not even for a moment.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(_KEY_BYTES))
    return path


def _to_arrays(state: Any) -> dict[str, NDArray[Any]]:
    """Write the fields of a state as arrays: bytes, numbers, and mappings from users or names."""
    arrays: dict[str, NDArray[Any]] = {}
    for field in fields(state):
        value = getattr(state, field.name)
        if isinstance(value, KeyPair):
            value = value.private_key
        if isinstance(value, Mapping):
            values = {str(key): each for key, each in value.items()}
            arrays |= {f"{field.name}/{key}": _to_array(each) for key, each in values.items()}
        else:
            arrays[field.name] = _to_array(value)
    return arrays


def _to_array(value: Any) -> NDArray[Any]:
    if isinstance(value, bytes):
        return np.frombuffer(value, dtype=np.uint8)
    return value if isinstance(value, np.ndarray) else np.array(value, dtype=np.int64)


def _from_arrays(kind: Any, arrays: Mapping[str, NDArray[Any]]) -> UserState:
    values: dict[str, Any] = {}
    for field in fields(kind):
        hint, name = str(field.type), field.name
        parts = {key.removeprefix(f"{name}/"): a for key, a in arrays.items() if key.startswith(f"{name}/")}
        if hint == "Mapping[int, bytes]":
            values[name] = {int(user): each.tobytes() for user, each in parts.items()}
        elif hint == "Share":
            values[name] = parts
        elif hint == "KeyPair":
            values[name] = KeyPair.from_private_key(arrays[name].tobytes())
        elif hint == "bytes":
            values[name] = arrays[name].tobytes()
        elif hint == "int":
            values[name] = int(arrays[name])
        elif hint == "tuple[int, ...]":
            values[name] = tuple(arrays[name].tolist())
        else:
            values[name] = arrays[name]
    return cast(UserState, kind(**values))
