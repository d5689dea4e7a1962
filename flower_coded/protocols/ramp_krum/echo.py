"""What the server showed, echoed among users: a server that shows different users different things is seen.

Each user hashes the keys and commitments that it was shown and sends the digest to every other user,
encrypted for it and authenticated by the round's keys. A user goes on only if all others but A + D (who may
lie or be silent) saw what it saw. The same digest draws the weights of the norm check, so that no dealer
knows them before every commitment is fixed.

What this does not show: a server that replaces the users' keys by keys of its own reads and writes everything
between them, echoes included. The server is assumed to follow the protocol; keys that are certified outside
of it would be needed to do without that assumption.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from flower_coded.crypto.encrypted_share import (
    ENCRYPTION_OVERHEAD,
    KeyPair,
    ShareContext,
    decrypt_share,
    encrypt_share,
)
from flower_coded.errors import EncryptedShareError, RoundRefusedError

__all__ = ["ECHO_BYTES", "check_echoes", "encrypt_echoes", "view_digest"]

_DIGEST_BYTES = 32
ECHO_BYTES = _DIGEST_BYTES + ENCRYPTION_OVERHEAD
"""Bytes of an encrypted echo."""


def view_digest(round_id: bytes, public_keys: Mapping[int, bytes], commitments: Mapping[int, bytes]) -> bytes:
    """Hash what the server showed of a round.

    Parameters
    ----------
    round_id : bytes
    public_keys, commitments : mapping of int to bytes
        By user.

    Returns
    -------
    bytes of length 32

    Examples
    --------
    >>> view_digest(b"round", {0: b"key"}, {}) == view_digest(b"round", {}, {0: b"key"})
    False
    """
    state = hashlib.sha256(b"flower_coded ramp-krum view")
    for piece in (round_id, *_pieces(public_keys), *_pieces(commitments)):
        # Every piece carries its length, so that no two views are written alike.
        state.update(len(piece).to_bytes(8, "little") + piece)
    return state.digest()


def encrypt_echoes(
    digest: bytes, round_id: bytes, user: int, public_keys: Mapping[int, bytes]
) -> dict[int, bytes]:
    """Encrypt a digest for every other user."""
    return {
        other: encrypt_share(digest, key, _context(round_id, user, other))[0]
        for other, key in public_keys.items()
        if other != user
    }


def check_echoes(
    digest: bytes,
    echoes: Mapping[int, bytes],
    *,
    round_id: bytes,
    user: int,
    key: KeyPair,
    num_needed: int,
) -> None:
    """Refuse to go on if too few others saw the same.

    Parameters
    ----------
    digest : bytes
        Of the user's own view.
    echoes : mapping of int to bytes
        By sender.
    round_id : bytes
    user : int
    key : KeyPair
        The user's own of this round.
    num_needed : int
        How many of the others must agree.

    Raises
    ------
    RoundRefusedError
        If fewer do.
    """
    num_alike = 0
    for sender, echo in echoes.items():
        try:
            num_alike += decrypt_share(echo, key, _context(round_id, sender, user)) == digest
        except EncryptedShareError:
            continue  # a liar's echo; it counts as missing
    if num_alike < num_needed:
        raise RoundRefusedError(
            "evaluations",
            "too few others were shown the same keys and commitments: the server shows different users "
            "different ones, or holds echoes back",
            received=num_alike,
            needed=num_needed,
        )


def _context(round_id: bytes, sender: int, receiver: int) -> ShareContext:
    return ShareContext("ramp-krum echo", round_id, sender, receiver)


def _pieces(values: Mapping[int, bytes]) -> list[bytes]:
    # Sorted and counted: the digest depends on what was shown, not on the order in which it came.
    return [b"%d values" % len(values)] + [
        piece for user in sorted(values) for piece in (b"%d" % user, values[user])
    ]
