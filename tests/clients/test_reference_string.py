"""A node takes the reference string that its own configuration names, from the cache or from the message."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, RecordDict

from flower_coded.clients.reference_string import pinned_digest, reference_for
from flower_coded.crypto.srs import ReferenceString, generate_reference_string
from flower_coded.crypto.srs_cache import CACHE_VARIABLE, kept_digests, store_reference_string
from flower_coded.errors import MalformedReplyError, MissingReferenceError, ParameterError, SetupError
from flower_coded.wire.reference_string import (
    LARGEST_REFERENCE_BYTES,
    REFERENCE_RECORD,
    reference_to_record,
    take_reference,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def reference() -> ReferenceString:
    return generate_reference_string(4)


def context(node: dict[str, str] | None = None, run: dict[str, str] | None = None) -> Context:
    return Context(run_id=1, node_id=2, node_config=node or {}, state=RecordDict(), run_config=run or {})


def message(reference: ReferenceString | None = None) -> RecordDict:
    content = RecordDict({"arrays": ArrayRecord({"w": Array(np.zeros(2))})})
    if reference is not None:
        content[REFERENCE_RECORD] = reference_to_record(reference)
    return content


def test_a_string_is_taken_from_the_message_once_and_kept(reference: ReferenceString, home: Path) -> None:
    content = message(reference)
    node = context({"reference-digest": reference.digest})
    assert reference_for(reference.digest, content, node).to_bytes() == reference.to_bytes()
    assert list(content) == ["arrays"], "the app sees its own records only"
    assert kept_digests(home) == (reference.digest,)
    assert reference_for(reference.digest, message(), node).digest == reference.digest


def test_a_string_that_was_imported_needs_no_message(reference: ReferenceString) -> None:
    store_reference_string(reference)
    assert reference_for(reference.digest, message(), context()).digest == reference.digest


def test_a_node_that_has_no_string_says_so(reference: ReferenceString) -> None:
    with pytest.raises(MissingReferenceError, match=reference.digest):
        reference_for(reference.digest, message(), context())


@pytest.mark.parametrize("where", ["node", "run"])
def test_another_string_than_the_configured_one_is_refused(
    where: str, reference: ReferenceString, home: Path
) -> None:
    forged = generate_reference_string(4)
    node = context(**{where: {"reference-digest": reference.digest}})
    with pytest.raises(SetupError, match=f"this node's reference-digest is {reference.digest}"):
        reference_for(forged.digest, message(forged), node)
    # Under the right name: its own hash tells.
    with pytest.raises(SetupError, match=f"it is {forged.digest}, not {reference.digest}"):
        reference_for(reference.digest, message(forged), node)
    assert kept_digests(home) == ()


def test_the_nodes_own_configuration_outranks_the_runs(reference: ReferenceString) -> None:
    node = context({"reference-digest": "ab" * 32}, {"reference-digest": reference.digest})
    assert pinned_digest(node) == "ab" * 32
    assert pinned_digest(context()) is None
    with pytest.raises(ParameterError, match="64 digits"):
        pinned_digest(context({"reference-digest": "abc"}))


def test_points_that_are_no_powers_are_refused_by_a_node_that_pins_nothing(
    reference: ReferenceString, home: Path
) -> None:
    body = reference.to_bytes()[:-32]
    planted = body[:120] + body[216:312] + body[216:]  # the second power twice
    data = planted + hashlib.sha256(planted).digest()
    content = message()
    content[REFERENCE_RECORD] = ArrayRecord({"powers": Array(np.frombuffer(data, dtype=np.uint8))})
    with pytest.raises(SetupError, match="not the powers of one number"):
        reference_for(hashlib.sha256(planted).hexdigest(), content, context())
    assert kept_digests(home) == ()


def test_trust_in_the_server_is_written_to_the_log(
    reference: ReferenceString, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("flwr").addHandler(caplog.handler)
    try:
        reference_for(reference.digest, message(reference), context())
    finally:
        logging.getLogger("flwr").removeHandler(caplog.handler)
    assert "names no reference-digest" in caplog.text


@pytest.mark.parametrize("digest", [None, 7, "", "../../etc/passwd", "g" * 64])
def test_what_is_no_digest_is_refused(digest: object) -> None:
    with pytest.raises(ParameterError, match="64 digits"):
        reference_for(digest, message(), context())


def oversized() -> Array:
    array = Array(np.zeros(1, dtype=np.uint8))
    array.data = bytes(LARGEST_REFERENCE_BYTES + 1)
    return array


@pytest.mark.parametrize(
    "record",
    [
        ConfigRecord({"powers": b"x"}),
        ArrayRecord({}),
        ArrayRecord({"powers": Array(np.zeros(2, np.uint8)), "more": Array(np.zeros(2, np.uint8))}),
        ArrayRecord({"powers": Array(np.zeros((2, 2), dtype=np.uint8))}),
        ArrayRecord({"powers": Array(np.zeros(2))}),
        ArrayRecord({"powers": oversized()}),
    ],
)
def test_records_of_another_form_are_refused(record: ArrayRecord | ConfigRecord) -> None:
    content = RecordDict({REFERENCE_RECORD: record})
    with pytest.raises(MalformedReplyError):
        take_reference(content)
