"""Options of attacks as a run configuration has them: key, type, bounds, and the value that means nothing."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Any

from flower_coded.errors import ParameterError

__all__ = ["Option", "OptionValue"]

OptionValue = int | float | str

_MOST_LISTED = 24  # rules behind a step before them would fill a screen


@dataclass(frozen=True)
class Option:
    """One option of an attack.

    Attributes
    ----------
    key : str
        In a run configuration, in kebab-case; several attacks may share a key and differ in the rest.
    parameter : str
        The parameter of the attack's class that it sets.
    kind : type
        ``int``, ``float`` or ``str``.
    unset : int, float or str
        The key's default: leaves the choice to the class.
    above, most, below : float
        A number is greater than ``above``, at most ``most`` and less than ``below``.
    choices : tuple of str
        What a text may be; anything if there are none.
    meaning : str
        For the tables in the docs.

    Examples
    --------
    >>> share = Option("attack-scale", "scale", float, 0.0, above=0, below=1)
    >>> share.read("0.25"), share.read(0.0)
    (0.25, 0.0)
    >>> share.read(1.5)
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: attack-scale must be a number above 0 and below 1, or 0.0; ...
    """

    key: str
    parameter: str
    kind: type[int] | type[float] | type[str]
    unset: OptionValue
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf
    choices: tuple[str, ...] = ()
    meaning: str = ""

    def read(self, value: Any) -> OptionValue:
        """Check a value of a run configuration, digits in a text included, and give it the option's type.

        Raises
        ------
        ParameterError
            If the value has another type or lies outside the bounds; the unset value always passes.
        """
        number = self._converted(value)
        if number is None or not (number == self.unset or self._is_within(number)):
            raise ParameterError(self.key, f"must be {self._requirement()}", value, hint=self._nearest(value))
        return number

    def _converted(self, value: Any) -> OptionValue | None:
        if isinstance(value, bool):
            return None
        if self.kind is str:
            return value if isinstance(value, str) else None
        try:
            number = self.kind(value)
        except (TypeError, ValueError, OverflowError):
            return None
        # An integer where 1.5 was given is another value, not a rounded one.
        return number if isinstance(value, str) or number == value else None

    def _is_within(self, value: OptionValue) -> bool:
        if isinstance(value, str):
            return not self.choices or value in self.choices
        return self.above < value <= self.most and value < self.below

    def _nearest(self, value: Any) -> str:
        close = difflib.get_close_matches(str(value), self.choices, n=1, cutoff=0.5)
        return f"did you mean {close[0]!r}?" if close else ""

    def _requirement(self) -> str:
        if self.kind is str:
            if not self.choices:
                return "a text"
            more = len(self.choices) - _MOST_LISTED
            listed = ", ".join(self.choices[-_MOST_LISTED:])
            return f"one of {listed}" + (f" (and {more} more)" if more > 0 else "")
        noun = "an integer" if self.kind is int else "a number"
        bounds = [
            f"{word} {limit:g}"
            for word, limit in (("above", self.above), ("at most", self.most), ("below", self.below))
            if math.isfinite(limit)
        ]
        return " ".join([noun, " and ".join(bounds)]) + f", or {self.unset}"
