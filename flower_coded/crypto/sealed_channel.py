"""Sealed messages between users that pass through the server, and that their sender can open in public.

A receiver announces an X25519 key made for this round. A sender draws a key pair of its own for every single
message, derives a key from the Diffie-Hellman secret by HKDF-SHA256 and seals the message with
ChaCha20-Poly1305. The round, the sender, the receiver and both public keys enter the derivation and the
associated data, so a box that is replayed, redirected or attributed to another sender does not open. A key
seals one message, hence the nonce is constant.

The sender's one-message private key is the *opening*: whoever holds it, the box and the receiver's public key
can recompute the key and see exactly what was sent, and no other opening matches the public key in the box. A
dispute ("you sent me rubbish" - "I did not") is thereby decided without believing either side, and nothing
else is revealed.

Who the sender is rests on the server that relays the box, as everywhere in a protocol whose server is honest
but curious. Private keys are Python bytes and cannot be overwritten in memory; dropping them is all that
wiping means.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from flower_coded.errors import ParameterError, SealedChannelError

__all__ = [
    "BOX_OVERHEAD",
    "KEY_BYTES",
    "ChannelContext",
    "KeyPair",
    "is_usable_public_key",
    "open_box",
    "reopen_box",
    "seal",
]

KEY_BYTES = 32
BOX_OVERHEAD = KEY_BYTES + 16
"""Bytes that sealing adds: the sender's public key and the authentication tag."""

_NONCE = bytes(12)


@dataclass(frozen=True)
class ChannelContext:
    """What a box is bound to.

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


def seal(message: bytes, receiver_public_key: bytes, context: ChannelContext) -> tuple[bytes, bytes]:
    """Seal a message.

    Parameters
    ----------
    message : bytes
    receiver_public_key : bytes of length 32
        As announced for this round.
    context : ChannelContext

    Returns
    -------
    box : bytes
        ``BOX_OVERHEAD`` bytes longer than the message.
    opening : bytes of length 32
        Secret; publishing it lets everyone open this box and no other.

    Raises
    ------
    SealedChannelError
        If the receiver's key is unusable.

    Examples
    --------
    >>> receiver = KeyPair.generate()
    >>> context = ChannelContext("example", b"round 1", sender=0, receiver=1)
    >>> box, opening = seal(b"a share", receiver.public_key, context)
    >>> open_box(box, receiver, context)
    b'a share'
    >>> reopen_box(box, opening, receiver.public_key, context)
    b'a share'
    """
    sender = KeyPair.generate()
    key, associated = _derive(sender, receiver_public_key, sender.public_key, receiver_public_key, context)
    return sender.public_key + ChaCha20Poly1305(key).encrypt(_NONCE, message, associated), sender.private_key


def open_box(box: bytes, receiver: KeyPair, context: ChannelContext) -> bytes:
    """Open a box as its receiver.

    Raises
    ------
    SealedChannelError
        If the box was not sealed for this receiver, round and sender, or was altered.
    """
    sender_public_key = box[:KEY_BYTES]
    key, associated = _derive(receiver, sender_public_key, sender_public_key, receiver.public_key, context)
    return _decrypt(key, box, associated)


def reopen_box(box: bytes, opening: bytes, receiver_public_key: bytes, context: ChannelContext) -> bytes:
    """Open a box with what its sender published about it.

    Raises
    ------
    SealedChannelError
        If the opening does not belong to this box, or the receiver could not have opened the box either.
    """
    if len(opening) != KEY_BYTES:
        raise SealedChannelError("the opening must have 32 bytes")
    sender = KeyPair.from_private_key(opening)
    if sender.public_key != box[:KEY_BYTES]:
        raise SealedChannelError("the opening belongs to another box")
    key, associated = _derive(sender, receiver_public_key, sender.public_key, receiver_public_key, context)
    return _decrypt(key, box, associated)


def _derive(
    own: KeyPair, other: bytes, sender_public_key: bytes, receiver_public_key: bytes, context: ChannelContext
) -> tuple[bytes, bytes]:
    if len(other) != KEY_BYTES:
        raise SealedChannelError("a public key must have 32 bytes")
    try:
        secret = X25519PrivateKey.from_private_bytes(own.private_key).exchange(
            X25519PublicKey.from_public_bytes(other)
        )
    except ValueError:
        raise SealedChannelError("the public key has small order") from None
    # Both keys and the context go into the derivation and the tag: a box opens for one round and pair only.
    associated = sender_public_key + receiver_public_key + context.to_bytes()
    key = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=associated).derive(secret)
    return key, associated


def _decrypt(key: bytes, box: bytes, associated: bytes) -> bytes:
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, box[KEY_BYTES:], associated)
    except InvalidTag:
        raise SealedChannelError(
            "the box does not open: altered, or sealed for another round or pair"
        ) from None
