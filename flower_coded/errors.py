"""Every refusal of this package, one small class each, holding the values it refuses.

A message has one form: what is required, what was received, and what would work. All classes derive from
:class:`FlowerCodedError`, so that a caller can catch the package's refusals and nothing else.
"""

from __future__ import annotations

from typing import Any

__all__ = ["DecodingError", "FlowerCodedError", "ParameterError"]


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
        super().__init__(f"{name} {requirement}; received {value!r}" + (f" ({hint})" if hint else ""))


class DecodingError(FlowerCodedError):
    """A word cannot be decoded: too few values arrived, or more of them are wrong than the code corrects.

    Parameters
    ----------
    reason : str
        What was exceeded, in words.
    received, needed : int or None
        Values that arrived and values needed, where the refusal is about their number.
    """

    def __init__(self, reason: str, *, received: int | None = None, needed: int | None = None) -> None:
        self.reason, self.received, self.needed = reason, received, needed
        counts = "" if needed is None else f": received {received}, needed {needed}"
        super().__init__(reason + counts)
