from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.crypto.encrypted_share import (
    ENCRYPTION_OVERHEAD,
    KeyPair,
    ShareContext,
    decrypt_share,
    encrypt_share,
    is_usable_public_key,
    reopen_share,
)
from flower_coded.errors import EncryptedShareError, ParameterError

CONTEXT = ShareContext("test", b"round", sender=2, receiver=3)


@given(message=st.binary(max_size=200))
def test_encrypt_share__is_undone_by_the_receiver_and_by_the_opening(message: bytes) -> None:
    receiver = KeyPair.generate()
    share, opening = encrypt_share(message, receiver.public_key, CONTEXT)
    assert len(share) == len(message) + ENCRYPTION_OVERHEAD
    assert decrypt_share(share, receiver, CONTEXT) == message
    assert reopen_share(share, opening, receiver.public_key, CONTEXT) == message


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(CONTEXT, round_id=b"another"),
        dataclasses.replace(CONTEXT, sender=4),
        dataclasses.replace(CONTEXT, receiver=4),
        dataclasses.replace(CONTEXT, protocol="other"),
    ],
)
def test_decrypt_share__refuses_another_round_sender_receiver_or_protocol(other: ShareContext) -> None:
    receiver = KeyPair.generate()
    share, opening = encrypt_share(b"message", receiver.public_key, CONTEXT)
    with pytest.raises(EncryptedShareError, match="does not open"):
        decrypt_share(share, receiver, other)
    with pytest.raises(EncryptedShareError, match="does not open"):
        reopen_share(share, opening, receiver.public_key, other)


def test_decrypt_share__refuses_every_altered_byte_and_every_truncation() -> None:
    receiver = KeyPair.generate()
    share, _ = encrypt_share(b"message", receiver.public_key, CONTEXT)
    for position in range(len(share)):
        altered = bytearray(share)
        altered[position] ^= 1
        with pytest.raises(EncryptedShareError):
            decrypt_share(bytes(altered), receiver, CONTEXT)
        with pytest.raises(EncryptedShareError):
            decrypt_share(share[:position], receiver, CONTEXT)


def test_decrypt_share__refuses_a_share_for_somebody_else() -> None:
    share, _ = encrypt_share(b"message", KeyPair.generate().public_key, CONTEXT)
    with pytest.raises(EncryptedShareError):
        decrypt_share(share, KeyPair.generate(), CONTEXT)


def test_reopen_share__refuses_an_opening_of_another_share() -> None:
    receiver = KeyPair.generate()
    share, _ = encrypt_share(b"one", receiver.public_key, CONTEXT)
    _, opening = encrypt_share(b"two", receiver.public_key, CONTEXT)
    with pytest.raises(EncryptedShareError, match="another share"):
        reopen_share(share, opening, receiver.public_key, CONTEXT)
    with pytest.raises(EncryptedShareError, match="32 bytes"):
        reopen_share(share, opening[:-1], receiver.public_key, CONTEXT)


def test_encrypt_share__refuses_an_unusable_key() -> None:
    with pytest.raises(EncryptedShareError, match="small order"):
        encrypt_share(b"message", bytes(32), CONTEXT)
    with pytest.raises(EncryptedShareError, match="32 bytes"):
        encrypt_share(b"message", bytes(31), CONTEXT)


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
    left = ShareContext("a", b"bc", sender=1, receiver=23)
    right = ShareContext("ab", b"c", sender=12, receiver=3)
    assert left.to_bytes() != right.to_bytes()
    with pytest.raises(ParameterError, match="must not be negative"):
        ShareContext("a", b"", sender=-1, receiver=0)
