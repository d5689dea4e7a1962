"""Messages of ramp-shared multi-Krum as Flower records, and back.

A message becomes a ConfigRecord ``ramp-krum`` (its kind, its round, its sender) and, where it holds more, an
ArrayRecord ``ramp-krum-data``: bytes as uint8 arrays, user numbers as int64 arrays, a mapping from users as
one array per user, ``field/user``. Bulk travels in arrays because Flower's wire handles them fifteen times
faster than bytes in a ConfigRecord. What comes from a peer is compared with the fields of the message's class
and refused by name where it differs, its lengths before anything is converted; what the bytes mean is for the
protocol to judge.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_type_hints

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from flower_coded.crypto.backends.base import G1_BYTES
from flower_coded.crypto.encrypted_share import ENCRYPTION_OVERHEAD
from flower_coded.crypto.field_vectors import ELEMENT_BYTES
from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.errors import MalformedReplyError, ParameterError
from flower_coded.protocols.ramp_krum.messages import Request, UserMessage
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.wire.array_reading import ArrayTemplate, read_array

__all__ = [
    "DATA_RECORD",
    "MESSAGE_RECORD",
    "SETTINGS_RECORD",
    "Limits",
    "message_to_records",
    "parameters_to_settings",
    "records_to_message",
    "reference_size",
    "settings_to_parameters",
]

MESSAGE_RECORD, DATA_RECORD, SETTINGS_RECORD = "ramp-krum", "ramp-krum-data", "ramp-krum-settings"

MessageT = TypeVar("MessageT", Request, UserMessage)

_LONGEST_HEADER = 1 << 16  # of NumPy's form, which precedes an array's values

_OPTIONS = (
    "num_selected",
    "length",
    "is_blinded",
    "hides_products",
    "soundness_bits",
    "waives_colluder_bound",
)
_SHARING = ("num_users", "num_parts", "num_colluders", "num_attackers", "num_dropouts")
_BYTES, _NUMBERS = np.dtype(np.uint8), np.dtype(np.int64)


@dataclasses.dataclass(frozen=True)
class Limits:
    """The longest that anything in a round's messages can be.

    Parameters
    ----------
    num_users : int
        Entries of a list of users, or of a mapping from users.
    num_bytes : int
        Bytes of one array.
    """

    num_users: int
    num_bytes: int

    @classmethod
    def of(cls, parameters: RampKrumParameters) -> Limits:
        """Return the limits of the rounds with some parameters."""
        n = parameters.sharing.num_users
        elements = (
            parameters.num_products,
            n * parameters.num_range_checks,
            parameters.families["update"].row_length,
        )
        longest = max(
            parameters.share_bytes + ENCRYPTION_OVERHEAD,
            G1_BYTES * parameters.num_commitments,
            ELEMENT_BYTES * max(elements),
        )
        return cls(n, longest)


def message_to_records(message: Request | UserMessage) -> dict[str, ConfigRecord | ArrayRecord]:
    """Write a message.

    Examples
    --------
    >>> from flower_coded.protocols.ramp_krum.messages import Complaints
    >>> records = message_to_records(Complaints(b"round", 3, (5, 7), {}))
    >>> records["ramp-krum"]["kind"], records["ramp-krum-data"]["dealers"].numpy()
    ('Complaints', array([5, 7]))
    """
    config = ConfigRecord({"kind": type(message).__name__})
    data: dict[str, Array] = {}
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        if isinstance(value, Mapping):
            data |= {f"{field.name}/{user}": _bytes_to_array(piece) for user, piece in value.items()}
        elif isinstance(value, tuple):
            data[field.name] = Array(np.array(value, dtype=np.int64))
        elif isinstance(value, bytes) and field.name != "round_id":
            data[field.name] = _bytes_to_array(value)
        else:
            config[field.name.replace("_", "-")] = value
    records: dict[str, ConfigRecord | ArrayRecord] = {MESSAGE_RECORD: config}
    return records | ({DATA_RECORD: ArrayRecord(data)} if data else {})


def records_to_message(content: RecordDict, kinds: Sequence[type[MessageT]], limits: Limits) -> MessageT:
    """Read a message of one of some kinds.

    Parameters
    ----------
    content : RecordDict
    kinds : sequence of type
    limits : Limits
        What is longer is refused before it is read.

    Raises
    ------
    MalformedReplyError
        If the records are not exactly those of such a message.
    """
    config = content.config_records.get(MESSAGE_RECORD)
    if config is None:
        raise MalformedReplyError("record-count", f"there is no ConfigRecord {MESSAGE_RECORD!r}")
    named = {kind.__name__: kind for kind in kinds}
    kind = named.get(str(config.get("kind")))
    if kind is None:
        raise MalformedReplyError(
            "protocol", f"a {str(config.get('kind'))[:40]!r} where {' or '.join(named)} is due"
        )
    data = dict(content.array_records.get(DATA_RECORD, {}))
    hints = get_type_hints(kind)
    values = {
        field.name: _read_field(field.name, hints[field.name], config, data, limits)
        for field in dataclasses.fields(kind)
    }
    if data:
        raise MalformedReplyError("keys", f"{len(data)} arrays that do not belong to a {kind.__name__}")
    return kind(**values)


def parameters_to_settings(parameters: RampKrumParameters, *, user: int, digest: str) -> ConfigRecord:
    """Write what a user must know: the parameters, its number, and which reference string is meant."""
    settings = ConfigRecord({"user": user, "reference-digest": digest})
    for name in _SHARING:
        settings[name.replace("_", "-")] = getattr(parameters.sharing, name)
    for name in _OPTIONS:
        settings[name.replace("_", "-")] = getattr(parameters, name)
    settings["chunk-size"] = parameters.chunk_size or 0
    settings["num-bits"] = parameters.fixed_point.num_bits
    settings["clipping"] = parameters.fixed_point.clipping
    settings["block-columns"] = parameters.block_columns or 0
    settings["block-norm"] = parameters.block_norm or 0.0
    settings["ballot-share"] = -1.0 if parameters.ballot_share is None else parameters.ballot_share
    return settings


def settings_to_parameters(settings: ConfigRecord) -> RampKrumParameters:
    """Read the parameters back.

    Raises
    ------
    ParameterError
        If a setting is missing, or the parameters are not possible.
    """
    try:
        values: dict[str, Any] = {name: settings[name.replace("_", "-")] for name in (*_SHARING, *_OPTIONS)}
        fixed_point = FixedPoint(int(settings["num-bits"]), float(settings["clipping"]))  # type: ignore[arg-type]
        chunk_size = int(settings["chunk-size"])  # type: ignore[arg-type]
        block_columns = int(settings["block-columns"])  # type: ignore[arg-type]
        block_norm = float(settings["block-norm"])  # type: ignore[arg-type]
        ballot_share = float(settings["ballot-share"])  # type: ignore[arg-type]
    except KeyError as error:
        raise ParameterError("settings", "must name every parameter of the round", f"no {error}") from None
    sharing = RampSharing(**{name: values.pop(name) for name in _SHARING})
    return RampKrumParameters(
        sharing,
        fixed_point=fixed_point,
        chunk_size=chunk_size or None,
        block_columns=block_columns or None,
        block_norm=block_norm or None,
        ballot_share=None if ballot_share == -1.0 else ballot_share,
        **values,
    )


def reference_size(parameters: RampKrumParameters) -> int:
    """Return the size of the reference string to use: a power of two, so that few files serve many models.

    Examples
    --------
    >>> sharing = RampSharing(num_users=8, num_parts=2, num_colluders=1)
    >>> reference_size(RampKrumParameters(sharing, num_selected=2, length=1300))
    1024
    """
    return 1 << max(parameters.largest_chunk - 1, 1).bit_length()


def _read_field(name: str, hint: Any, config: ConfigRecord, data: dict[str, Array], limits: Limits) -> Any:
    if name == "round_id" or hint is int:
        value = config.get(name.replace("_", "-"))
        if type(value) is not hint:
            raise MalformedReplyError("protocol", f"{name!r} is no {hint.__name__}")
        return value
    if hint is bytes:
        return _read_bytes(data, name, limits)
    if getattr(hint, "__origin__", None) is tuple:
        return tuple(_read(data, name, _NUMBERS, limits.num_users).tolist())
    prefix = f"{name}/"
    users = [key.removeprefix(prefix) for key in data if key.startswith(prefix)]
    if len(users) > limits.num_users:
        raise MalformedReplyError("keys", f"{name!r} has {len(users)} parts, {limits.num_users} are possible")
    if not all(re.fullmatch(r"0|[1-9][0-9]{0,8}", user, flags=re.ASCII) for user in users):
        raise MalformedReplyError("keys", f"a part of {name!r} is named after no user")
    return {int(user): _read_bytes(data, prefix + user, limits) for user in sorted(users, key=int)}


def _read_bytes(data: dict[str, Array], key: str, limits: Limits) -> bytes:
    return _read(data, key, _BYTES, limits.num_bytes).tobytes()


def _read(data: dict[str, Array], key: str, dtype: np.dtype[Any], most: int) -> NDArray[Any]:
    if key not in data:
        raise MalformedReplyError("keys", f"there is no array {key!r}")
    array = data.pop(key)
    # The claimed length and the bytes that are there are bounded, each before it costs anything.
    if len(array.data) > most * dtype.itemsize + _LONGEST_HEADER or max(array.shape, default=0) > most:
        raise MalformedReplyError("shape", f"{key!r} has {len(array.data)} bytes, {most} values are possible")
    length = array.shape[0] if len(array.shape) == 1 else -1
    return read_array(array, ArrayTemplate((length,), dtype), name=key)


def _bytes_to_array(value: bytes) -> Array:
    return Array(np.frombuffer(value, dtype=np.uint8))
