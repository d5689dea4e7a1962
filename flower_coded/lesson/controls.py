"""What can be moved on the page: sliders, choices, numbers and sets; each checks what comes back from it.

A setting comes from a browser, perhaps out of a link that somebody wrote by hand: nothing is believed of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flower_coded.errors import ParameterError

__all__ = ["Choice", "Control", "IndexSet", "Number", "Slider"]


@dataclass(frozen=True)
class Control:
    """A thing to move, with its name in the settings and the words beside it."""

    name: str
    label: str

    def check(self, value: Any) -> Any:
        """Return the value as the lesson takes it.

        Raises
        ------
        ParameterError
            If the control could not have sent it.
        """
        raise NotImplementedError

    def described(self) -> dict[str, Any]:
        """Return what a page needs to draw it, as JSON has it."""
        return {"kind": type(self).__name__.lower(), **asdict(self)}


@dataclass(frozen=True)
class Slider(Control):
    """A number between two others.

    Examples
    --------
    >>> Slider("mistakes", "mistakes of clean models", 0.03, least=0, most=0.2, step=0.01).check(0.1)
    0.1
    """

    value: float
    least: float
    most: float
    step: float = 1

    def check(self, value: Any) -> int | float:
        """Take a number of the interval, a whole one if the steps are."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_whole = isinstance(self.step, int) and isinstance(self.least, int)
        if not is_number or not self.least <= value <= self.most or (is_whole and value != int(value)):
            kind = "a whole number" if is_whole else "a number"
            raise ParameterError(self.name, f"must be {kind} from {self.least} to {self.most}", value)
        return int(value) if is_whole else float(value)


@dataclass(frozen=True)
class Choice(Control):
    """One of a few; ``options`` pairs what is shown with what is sent."""

    value: str
    options: tuple[tuple[str, str], ...]

    def check(self, value: Any) -> str:
        """Take one of the options."""
        known = [sent for _, sent in self.options]
        if value not in known:
            raise ParameterError(self.name, f"must be one of {', '.join(known)}", value)
        return str(value)


@dataclass(frozen=True)
class Number(Control):
    """A whole number written out, of any length that ``most_digits`` allows."""

    value: str
    most_digits: int

    def check(self, value: Any) -> int:
        """Take ASCII digits."""
        is_written = isinstance(value, str) and value.isascii() and value.isdigit()
        if not is_written or len(value) > self.most_digits:
            raise ParameterError(self.name, f"must be 1 to {self.most_digits} digits", value)
        return int(value)


@dataclass(frozen=True)
class IndexSet(Control):
    """Some of the numbers 0, 1, …; ``num_shown`` buttons are drawn, or none if they stand in a picture."""

    value: tuple[int, ...]
    most: int
    num_shown: int = 0

    def check(self, value: Any) -> tuple[int, ...]:
        """Take different numbers up to ``most``."""
        items: Sequence[Any] = value if isinstance(value, list | tuple) else ()
        is_fit = isinstance(value, list | tuple) and all(
            isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= self.most for item in items
        )
        if not is_fit or len(set(items)) != len(items):
            raise ParameterError(self.name, f"must be different whole numbers from 0 to {self.most}", value)
        return tuple(sorted(items))
