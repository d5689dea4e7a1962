"""Encrypted shares: they pass from user to user through the server, and their sender can open one in public.

A receiver announces an X25519 key made for this round. A sender draws a key pair of its own for every single
message, derives a key from the Diffie-Hellman secret by HKDF-SHA256 and encrypts the message with
ChaCha20-Poly1305. The round, the sender, the receiver and both public keys enter the derivation and the
associated data, so an encrypted share that is replayed, redirected or attributed to another sender does not
open. A key encrypts one message, hence the nonce is constant.

The sender's one-message private key is the *opening*: whoever holds it, the encrypted share and the
receiver's public key can recompute the key and see exactly what was sent, and no other opening matches the
public key in it. A dispute ("you sent me rubbish" - "I did not") is thereby decided without believing either
side, and nothing else is revealed.

Who the sender is rests on the server that relays the encrypted share, as everywhere in a protocol whose
server is honest but curious. Private keys are Python bytes and cannot be overwritten in memory; dropping them
is all that wiping means.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from flower_coded.errors import EncryptedShareError, ParameterError

__all__ = [
    "ENCRYPTION_OVERHEAD",
    "KEY_BYTES",
    "KeyPair",
    "ShareContext",
    "decrypt_share",
    "encrypt_share",
    "is_usable_public_key",
    "reopen_share",
]

KEY_BYTES = 32
ENCRYPTION_OVERHEAD = KEY_BYTES + 16
"""Bytes that encryption adds: the sender's public key and the authentication tag."""

_NONCE = bytes(12)


@dataclass(frozen=True)
class ShareContext:
    """What an encrypted share is bound to.

    Parameters
    ----------
    protocol : str
        Name of the protocol.
    round_id : bytes
        Identifier of the round, unique to it.
    sender, receiver : int
        User numbers, not negative.
    """

    protocol: str
    round_id: bytes
    sender: int
    receiver: int

    def __post_init__(self) -> None:
        if min(self.sender, self.receiver) < 0:
            raise ParameterError("sender and receiver", "must not be negative", (self.sender, self.receiver))

    def to_bytes(self) -> bytes:
        """Return an unambiguous encoding: every part carries its length."""
        parts = [self.protocol.encode(), self.round_id, b"%d" % self.sender, b"%d" % self.receiver]
        return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


@dataclass(frozen=True)
class KeyPair:
    """An X25519 key pair as raw bytes.

    Parameters
    ----------
    private_key, public_key : bytes of length 32
    """

    private_key: bytes
    public_key: bytes

    @classmethod
    def generate(cls) -> KeyPair:
        """Draw a key pair from the system's cryptographic generator.

        Examples
        --------
        >>> len(KeyPair.generate().public_key)
        32
        """
        return cls.from_private_key(X25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def from_private_key(cls, private_key: bytes) -> KeyPair:
        """Return the pair that a raw private key belongs to."""
        if len(private_key) != KEY_BYTES:
            raise ParameterError("private_key", f"must have {KEY_BYTES} bytes", len(private_key))
        public_key = X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()
        return cls(private_key, public_key)

    def __repr__(self) -> str:
        return f"KeyPair(public_key={self.public_key.hex()})"


def is_usable_public_key(public_key: bytes) -> bool:
    """Tell whether a public key has the right length and gives a secret that is not zero.

    Examples
    --------
    >>> is_usable_public_key(KeyPair.generate().public_key), is_usable_public_key(bytes(32))
    (True, False)
    """
    if len(public_key) != KEY_BYTES:
        return False
    try:
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(public_key))
    except ValueError:  # the point has small order
        return False
    return True


def encrypt_share(message: bytes, receiver_public_key: bytes, context: ShareContext) -> tuple[bytes, bytes]:
    """Encrypt a share, or another message, for one receiver.

    Parameters
    ----------
    message : bytes
    receiver_public_key : bytes of length 32
        As announced for this round.
    context : ShareContext

    Returns
    -------
    encrypted : bytes
        ``ENCRYPTION_OVERHEAD`` bytes longer than the message.
    opening : bytes of length 32
        Secret; publishing it lets everyone open this message and no other.

    Raises
    ------
    EncryptedShareError
        If the receiver's key is unusable.

    Examples
    --------
    >>> receiver = KeyPair.generate()
    >>> context = ShareContext("example", b"round 1", sender=0, receiver=1)
    >>> encrypted, opening = encrypt_share(b"a share", receiver.public_key, context)
    >>> decrypt_share(encrypted, receiver, context)
    b'a share'
    >>> reopen_share(encrypted, opening, receiver.public_key, context)
    b'a share'
    """
    sender = KeyPair.generate()
    key, associated = _derive(sender, receiver_public_key, sender.public_key, receiver_public_key, context)
    return sender.public_key + ChaCha20Poly1305(key).encrypt(_NONCE, message, associated), sender.private_key


def decrypt_share(encrypted: bytes, receiver: KeyPair, context: ShareContext) -> bytes:
    """Decrypt a share as its receiver.

    Raises
    ------
    EncryptedShareError
        If it was not encrypted for this receiver, round and sender, or was altered.
    """
    sender_public_key = encrypted[:KEY_BYTES]
    key, associated = _derive(receiver, sender_public_key, sender_public_key, receiver.public_key, context)
    return _decrypt(key, encrypted, associated)


def reopen_share(
    encrypted: bytes, opening: bytes, receiver_public_key: bytes, context: ShareContext
) -> bytes:
    """Decrypt a share with what its sender published about it.

    Raises
    ------
    EncryptedShareError
        If the opening does not belong to this share, or the receiver could not have decrypted it either.
    """
    if len(opening) != KEY_BYTES:
        raise EncryptedShareError("the opening must have 32 bytes")
    sender = KeyPair.from_private_key(opening)
    if sender.public_key != encrypted[:KEY_BYTES]:
        raise EncryptedShareError("the opening belongs to another share")
    key, associated = _derive(sender, receiver_public_key, sender.public_key, receiver_public_key, context)
    return _decrypt(key, encrypted, associated)


def _derive(
    own: KeyPair, other: bytes, sender_public_key: bytes, receiver_public_key: bytes, context: ShareContext
) -> tuple[bytes, bytes]:
    if len(other) != KEY_BYTES:
        raise EncryptedShareError("a public key must have 32 bytes")
    try:
        secret = X25519PrivateKey.from_private_bytes(own.private_key).exchange(
            X25519PublicKey.from_public_bytes(other)
        )
    except ValueError:
        raise EncryptedShareError("the public key has small order") from None
    # Both keys and the context go into the derivation and the tag: a share opens for one round and pair.
    associated = sender_public_key + receiver_public_key + context.to_bytes()
    key = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=associated).derive(secret)
    return key, associated


def _decrypt(key: bytes, encrypted: bytes, associated: bytes) -> bytes:
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, encrypted[KEY_BYTES:], associated)
    except InvalidTag:
        raise EncryptedShareError(
            "the share does not open: altered, or encrypted for another round or pair"
        ) from None
