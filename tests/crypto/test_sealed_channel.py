from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.crypto.sealed_channel import (
    BOX_OVERHEAD,
    ChannelContext,
    KeyPair,
    is_usable_public_key,
    open_box,
    reopen_box,
    seal,
)
from flower_coded.errors import ParameterError, SealedChannelError

CONTEXT = ChannelContext("test", b"round", sender=2, receiver=3)


@given(message=st.binary(max_size=200))
def test_seal__is_undone_by_the_receiver_and_by_the_opening(message: bytes) -> None:
    receiver = KeyPair.generate()
    box, opening = seal(message, receiver.public_key, CONTEXT)
    assert len(box) == len(message) + BOX_OVERHEAD
    assert open_box(box, receiver, CONTEXT) == message
    assert reopen_box(box, opening, receiver.public_key, CONTEXT) == message


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(CONTEXT, round_id=b"another"),
        dataclasses.replace(CONTEXT, sender=4),
        dataclasses.replace(CONTEXT, receiver=4),
        dataclasses.replace(CONTEXT, protocol="other"),
    ],
)
def test_open_box__refuses_another_round_sender_receiver_or_protocol(other: ChannelContext) -> None:
    receiver = KeyPair.generate()
    box, opening = seal(b"message", receiver.public_key, CONTEXT)
    with pytest.raises(SealedChannelError, match="does not open"):
        open_box(box, receiver, other)
    with pytest.raises(SealedChannelError, match="does not open"):
        reopen_box(box, opening, receiver.public_key, other)


def test_open_box__refuses_every_altered_byte_and_every_truncation() -> None:
    receiver = KeyPair.generate()
    box, _ = seal(b"message", receiver.public_key, CONTEXT)
    for position in range(len(box)):
        altered = bytearray(box)
        altered[position] ^= 1
        with pytest.raises(SealedChannelError):
            open_box(bytes(altered), receiver, CONTEXT)
        with pytest.raises(SealedChannelError):
            open_box(box[:position], receiver, CONTEXT)


def test_open_box__refuses_a_box_for_somebody_else() -> None:
    box, _ = seal(b"message", KeyPair.generate().public_key, CONTEXT)
    with pytest.raises(SealedChannelError):
        open_box(box, KeyPair.generate(), CONTEXT)


def test_reopen_box__refuses_an_opening_of_another_box() -> None:
    receiver = KeyPair.generate()
    box, _ = seal(b"one", receiver.public_key, CONTEXT)
    _, opening = seal(b"two", receiver.public_key, CONTEXT)
    with pytest.raises(SealedChannelError, match="another box"):
        reopen_box(box, opening, receiver.public_key, CONTEXT)
    with pytest.raises(SealedChannelError, match="32 bytes"):
        reopen_box(box, opening[:-1], receiver.public_key, CONTEXT)


def test_seal__refuses_an_unusable_key() -> None:
    with pytest.raises(SealedChannelError, match="small order"):
        seal(b"message", bytes(32), CONTEXT)
    with pytest.raises(SealedChannelError, match="32 bytes"):
        seal(b"message", bytes(31), CONTEXT)


@pytest.mark.parametrize("low_order", [bytes(32), bytes([1]) + bytes(31)])
def test_is_usable_public_key__refuses_points_of_small_order_and_wrong_lengths(low_order: bytes) -> None:
    assert not is_usable_public_key(low_order)
    assert not is_usable_public_key(b"")
    assert is_usable_public_key(KeyPair.generate().public_key)


def test_key_pair__is_determined_by_its_private_key() -> None:
    pair = KeyPair.generate()
    assert KeyPair.from_private_key(pair.private_key) == pair
    with pytest.raises(ParameterError, match="must have 32 bytes"):
        KeyPair.from_private_key(pair.private_key[:-1])


def test_key_pair__does_not_print_its_secret() -> None:
    pair = KeyPair.generate()
    assert pair.private_key.hex() not in repr(pair)


def test_context__encodes_without_ambiguity() -> None:
    left = ChannelContext("a", b"bc", sender=1, receiver=23)
    right = ChannelContext("ab", b"c", sender=12, receiver=3)
    assert left.to_bytes() != right.to_bytes()
    with pytest.raises(ParameterError, match="must not be negative"):
        ChannelContext("a", b"", sender=-1, receiver=0)
