"""Which reference string a node commits over: its own configuration decides, the server only delivers.

A node that belongs to somebody else than the server should not take the server's word for the public
parameters: whoever made them can open commitments to anything. ``reference-digest`` in the node's own
configuration (``flower-supernode --node-config 'reference-digest="…"'``, or else the run configuration) names
the only string it takes. Without one it takes what the server names, and says so in its log.

The string is looked for in the cache (:mod:`flower_coded.crypto.srs_cache`), where
``flower-coded reference import`` puts it, too. A node that does not have it takes it from the message, checks
digest, points and pairings, and keeps it: later messages and later runs find it there.
"""

from __future__ import annotations

from functools import lru_cache
from logging import INFO, WARNING

from flwr.app import Context, RecordDict
from flwr.common.logger import log

from flower_coded.crypto.srs import ReferenceString
from flower_coded.crypto.srs_cache import (
    check_digest,
    kept_digests,
    load_reference_string,
    store_reference_string,
)
from flower_coded.errors import MissingReferenceError, SetupError
from flower_coded.wire.reference_string import REFERENCE_DIGEST_KEY, take_reference

__all__ = ["pinned_digest", "reference_for"]


def pinned_digest(context: Context) -> str | None:
    """Return the digest in the node's own configuration, or else in the run's; None if neither has one.

    Raises
    ------
    ParameterError
        If it is no digest.
    """
    for configuration in (context.node_config, context.run_config):
        if pinned := configuration.get(REFERENCE_DIGEST_KEY):
            return check_digest(pinned)
    return None


def reference_for(digest: object, content: RecordDict, context: Context) -> ReferenceString:
    """Return the reference string that the server names, if this node's configuration agrees.

    Parameters
    ----------
    digest : object
        As it stands in the server's message.
    content : RecordDict
        The message; a string in it is taken out.
    context : Context
        Of the node.

    Returns
    -------
    ReferenceString

    Raises
    ------
    ParameterError
        If a digest is none.
    MissingReferenceError
        If the string is neither kept here nor in the message: the server may send it.
    SetupError
        If the node's configuration names another, or what was sent is not the string that was named, or not
        powers of one number, or it cannot be kept.
    MalformedReplyError
        If the message's record has another form.
    """
    wanted, pinned = check_digest(digest), pinned_digest(context)
    sent = take_reference(content)
    if pinned not in (None, wanted):
        raise SetupError(
            "the server's reference string",
            f"it names {wanted}, and this node's {REFERENCE_DIGEST_KEY} is {pinned}",
        )
    if wanted not in kept_digests():
        if sent is None:
            raise MissingReferenceError(wanted)
        _keep(sent, wanted, is_pinned=pinned is not None)
    return _load(wanted)


def _keep(data: bytes, digest: str, *, is_pinned: bool) -> None:
    # Read without naming the digest: then every point and the pairings are checked, this once.
    reference = ReferenceString.from_bytes(data)
    if reference.digest != digest:
        raise SetupError("the server's reference string", f"it is {reference.digest}, not {digest}")
    path = store_reference_string(reference)
    log(INFO, "reference string of %d powers checked and kept: %s", reference.size, path)
    if not is_pinned:
        log(
            WARNING,
            "this node's configuration names no %s: it trusts whoever made %s",
            REFERENCE_DIGEST_KEY,
            digest,
        )


@lru_cache(maxsize=4)
def _load(digest: str) -> ReferenceString:
    """Load a string once per process: its tables of multiples stay with it."""
    return load_reference_string(digest)
