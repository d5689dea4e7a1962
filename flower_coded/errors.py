"""Every refusal of this package, one small class each, holding the values it refuses.

A message has one form: what is required, what was received, and what would work. All classes derive from
:class:`FlowerCodedError`, so that a caller can catch the package's refusals and nothing else.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "DataNotFoundError",
    "DecodingError",
    "DownloadError",
    "EncryptedShareError",
    "FlowerCodedError",
    "MalformedReplyError",
    "MissingClassError",
    "MissingReferenceError",
    "NoRoundSucceededError",
    "NodesMissingError",
    "ParameterError",
    "PointError",
    "RoundRefusedError",
    "SetupError",
    "UndecodableCodeBookError",
]


_LONGEST_SHOWN = 100


class FlowerCodedError(Exception):
    """Base class of everything this package refuses."""


class ParameterError(FlowerCodedError, ValueError):
    """A parameter does not meet its requirement.

    Parameters
    ----------
    name : str
        The parameter's name as the caller spells it.
    requirement : str
        What must hold, for example ``"must be at least 1"``.
    value : object
        The value received.
    hint : str
        What would work, if that is known.

    Examples
    --------
    >>> raise ParameterError("num_users", "must be at least 2", 1, hint="use 12, as the paper does")
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: num_users must be at least 2; received 1 (use 12, as the paper does)
    """

    def __init__(self, name: str, requirement: str, value: Any, *, hint: str = "") -> None:
        self.name, self.requirement, self.value, self.hint = name, requirement, value, hint
        super().__init__(f"{name} {requirement}; received {_shown(value)}" + (f" ({hint})" if hint else ""))


class DecodingError(FlowerCodedError):
    """A word cannot be decoded: too few values arrived, or more of them are wrong than the code corrects.

    Parameters
    ----------
    reason : str
        What was exceeded, in words.
    received, needed : int or None
        Values that arrived and values needed, where the refusal is about their number.
    culprits : tuple of int
        Who sent a wrong value, where that is known.
    """

    def __init__(
        self,
        reason: str,
        *,
        received: int | None = None,
        needed: int | None = None,
        culprits: tuple[int, ...] = (),
    ) -> None:
        self.reason, self.received, self.needed, self.culprits = reason, received, needed, culprits
        counts = "" if needed is None else f": received {received}, needed {needed}"
        super().__init__(reason + counts)


class DataNotFoundError(FlowerCodedError, FileNotFoundError):
    """A data set's files are in none of the places where they are looked for.

    Parameters
    ----------
    name : str
        The data set.
    places : list of str
        Every path or pattern that was looked for.
    """

    def __init__(self, name: str, places: list[str]) -> None:
        self.name, self.places = name, places
        super().__init__(
            f"no files of data set {name!r}; looked for {', '.join(places)}. Set data-directory (or the "
            "environment variable FLOWER_CODED_DATA) to a folder that holds one of these, or fetch the set "
            'where there is a network: python -c "from flower_coded.learning.images import load_images; '
            f"load_images('{name}', 'data', download=True)\""
        )

    def __str__(self) -> str:
        return str(self.args[0])


class DownloadError(FlowerCodedError):
    """A file could not be fetched, or is not the one that was asked for.

    Parameters
    ----------
    source : str
        Its address or path.
    reason : str
        What is wrong.
    hint : str
        Another way to come by it.
    """

    def __init__(self, source: str, reason: str, *, hint: str = "") -> None:
        self.source, self.reason, self.hint = source, reason, hint
        super().__init__(f"{source} cannot be had: {reason}" + (f" ({hint})" if hint else ""))


class EncryptedShareError(FlowerCodedError):
    """An encrypted share does not open, or a key cannot be used.

    Parameters
    ----------
    reason : str
        What is wrong with it.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class RoundRefusedError(FlowerCodedError):
    """A round of a protocol cannot end with a result that is known to be right; the old model stays.

    Parameters
    ----------
    phase : str
        The phase in which it ended.
    reason : str
        What was exceeded, in words.
    received, needed : int or None
        The numbers, where the refusal is about numbers.
    misbehavior : tuple
        Reports of what had been found out about participants until then.
    """

    def __init__(
        self,
        phase: str,
        reason: str,
        *,
        received: int | None = None,
        needed: int | None = None,
        misbehavior: tuple[Any, ...] = (),
    ) -> None:
        self.phase, self.reason, self.received, self.needed = phase, reason, received, needed
        self.misbehavior = misbehavior
        counts = "" if needed is None else f": received {received}, needed {needed}"
        super().__init__(f"round refused in phase {phase}: {reason}{counts}")


class PointError(FlowerCodedError, ValueError):
    """Bytes do not name a point of the group: wrong length or form, off the curve, or outside the subgroup.

    Parameters
    ----------
    what : str
        The kind of point expected.
    reason : str
        What is wrong with the bytes.
    """

    def __init__(self, what: str, reason: str) -> None:
        self.what, self.reason = what, reason
        super().__init__(f"not {what}: {reason}")


class SetupError(FlowerCodedError):
    """A commitment's public parameters are not what they must be: their hash, their form, or their pairings.

    Parameters
    ----------
    what : str
        What was examined, for example a file's name.
    reason : str
        What is wrong with it.
    """

    def __init__(self, what: str, reason: str) -> None:
        self.what, self.reason = what, reason
        super().__init__(f"{what} cannot be used as public parameters: {reason}")


class MissingReferenceError(SetupError):
    """A node does not have the reference string that a request needs, and was not sent it.

    Parameters
    ----------
    digest : str
        Of the string.
    """

    def __init__(self, digest: str) -> None:
        self.digest = digest
        super().__init__(f"the reference string {digest}", "this node does not have it and was not sent it")


class MalformedReplyError(FlowerCodedError):
    """One reply of one node cannot be used.

    Raised by the checks of :mod:`flower_coded.wire.validation`, and turned there into a record that costs
    the node its place in the round; it never ends a run.

    Parameters
    ----------
    code : str
        The kind of fault, one of ``flower_coded.wire.validation.REASON_CODES``.
    reason : str
        The fault in words, with the values received.
    """

    def __init__(self, code: str, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(reason)


class NodesMissingError(FlowerCodedError, TimeoutError):
    """Too few nodes connected in time.

    Parameters
    ----------
    num_connected, num_needed : int
        Nodes there and nodes needed.
    timeout : float
        Seconds waited.
    """

    def __init__(self, num_connected: int, num_needed: int, timeout: float) -> None:
        self.num_connected, self.num_needed, self.timeout = num_connected, num_needed, timeout
        super().__init__(
            f"{num_connected} of {num_needed} nodes connected within {timeout:g} s (in a simulation, run "
            f'with --federation-config "num-supernodes={num_needed}")'
        )


class NoRoundSucceededError(FlowerCodedError):
    """A run has ended, and no round of training changed anything.

    Parameters
    ----------
    num_rounds : int
        Rounds that were run.
    reasons : list of str
        Why they changed nothing, each reason once.
    """

    def __init__(self, num_rounds: int, reasons: list[str]) -> None:
        self.num_rounds, self.reasons = num_rounds, reasons
        shown = " | ".join(reason[:600] for reason in reasons[:3])
        super().__init__(f"none of {num_rounds} rounds changed the arrays: {shown}")


class MissingClassError(FlowerCodedError):
    """Classes of which no codeword can be made.

    Parameters
    ----------
    classes : list of int
        The classes.
    num_clients_needed : int or None
        Clients that a robust rule needs to report a class; None where no client has a sample of it.
    """

    def __init__(self, classes: list[int], *, num_clients_needed: int | None = None) -> None:
        self.classes, self.num_clients_needed = classes, num_clients_needed
        fault = (
            "have no sample at any client"
            if num_clients_needed is None
            else f"are reported by fewer than {num_clients_needed} clients, too few for the rule"
        )
        super().__init__(f"classes {classes} {fault} (train with more clients, or on data that hold them)")


class UndecodableCodeBookError(FlowerCodedError):
    """A code book that clients reported cannot tell its classes apart, and there is no earlier one to keep.

    Parameters
    ----------
    reason : str
        What is wrong with it.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"the first code book cannot be decoded: {reason} (train longer before it is made; take a robust "
            "rule if a client may lie)"
        )


def _shown(value: Any) -> str:
    """Write a refused value; of a long one, which a peer may have chosen, only its beginning and length."""
    if isinstance(value, (str, bytes)) and len(value) > _LONGEST_SHOWN:
        return f"{value[:_LONGEST_SHOWN]!r}... of length {len(value)}"
    if isinstance(value, (list, tuple, dict, set, frozenset)) and len(value) > _LONGEST_SHOWN:
        return f"a {type(value).__name__} of length {len(value)}"
    return repr(value)
