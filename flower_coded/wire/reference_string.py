"""The reference string that commitments rest on, as a record: a server sends it, once, to a node without it.

It travels with the first request that needs it, in an ArrayRecord of its own with one array of bytes
(:meth:`flower_coded.crypto.ReferenceString.to_bytes`). A node keeps it and checks it against the digest in
its own configuration; one that has lost it answers with the error code
:data:`flower_coded.wire.keys.STATE_MISSING_CODE` and is sent it again.
"""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict

from flower_coded.crypto.srs import ReferenceString
from flower_coded.errors import MalformedReplyError
from flower_coded.wire.array_reading import ArrayTemplate, read_array

__all__ = [
    "LARGEST_REFERENCE_BYTES",
    "REFERENCE_DIGEST_KEY",
    "REFERENCE_RECORD",
    "reference_to_record",
    "take_reference",
]

REFERENCE_RECORD = "reference-string"
"""Name of the ArrayRecord."""

REFERENCE_DIGEST_KEY = "reference-digest"
"""str: in a node's own configuration, the only string it takes; in a request, the one that is meant."""

LARGEST_REFERENCE_BYTES = 1 << 27
"""No longer one is read: 2**27 bytes hold 1.4 million powers."""

_ARRAY = "powers"
_BYTES = np.dtype(np.uint8)


def reference_to_record(reference: ReferenceString) -> ArrayRecord:
    """Write a reference string.

    Examples
    --------
    >>> from flower_coded.crypto.srs import generate_reference_string
    >>> record = reference_to_record(generate_reference_string(2))
    >>> record["powers"].shape
    (440,)
    """
    return ArrayRecord({_ARRAY: Array(np.frombuffer(reference.to_bytes(), dtype=np.uint8))})


def take_reference(content: RecordDict) -> bytes | None:
    """Take the reference string out of a message; None if there is none in it.

    The message no longer has the record afterwards, so that an app which looks for its one ArrayRecord finds
    it. What the bytes are worth is for the caller to check.

    Raises
    ------
    MalformedReplyError
        If the record is not one array of bytes of a bearable length.
    """
    record = content.pop(REFERENCE_RECORD, None)
    if record is None:
        return None
    if not isinstance(record, ArrayRecord) or list(record) != [_ARRAY]:
        raise MalformedReplyError("keys", f"{REFERENCE_RECORD!r} must be an ArrayRecord with {_ARRAY!r} only")
    array = record[_ARRAY]
    if len(array.data) > LARGEST_REFERENCE_BYTES:
        raise MalformedReplyError(
            "shape",
            f"a reference string of {len(array.data)} bytes; at most {LARGEST_REFERENCE_BYTES} are read",
        )
    # The claimed length is compared with the bytes that are there, so that a claim costs no memory.
    length = array.shape[0] if len(array.shape) == 1 else -1
    return read_array(array, ArrayTemplate((length,), _BYTES), name=REFERENCE_RECORD).tobytes()
