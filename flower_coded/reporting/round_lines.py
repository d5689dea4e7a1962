"""How a run says what a round measured: one line of its log, written and read here.

A scenario prints ``progress: <training>, round <k>: <name> <value>, ...``; who follows the log (the command,
a tracker) reads the numbers back while the run goes on. Names and values are the server's own. Clients write
into the same log, and would have their word there: what another process of a simulation prints has Ray's mark
before it, ``(ClientAppActor pid=...)``, so a line counts only if it begins with ``progress:``, or with the
level that Flower's logger puts there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["RoundValues", "progress_of", "read_round_line", "round_line"]

_LONGEST_LINE, _MOST_VALUES = 4_000, 50
_PROGRESS = re.compile(r"(?:[A-Z]{1,9} {0,3}: {1,9})?progress: +(?P<words>.*)")
_ROUND = re.compile(r"(?P<training>.{1,200}?), round +(?P<round>\d{1,9})(?: of \d+)?: (?P<values>.+)$")
_VALUE = re.compile(
    r"(?P<name>[A-Za-z][\w '/-]{0,60}) (?P<value>[-+]?(?:\d[\d.]*(?:[eE][-+]?\d+)?|nan|inf))$"
)


@dataclass(frozen=True)
class RoundValues:
    """What one line says."""

    training: str
    server_round: int
    values: dict[str, float]


def round_line(
    training: str, server_round: int, values: Mapping[str, float | None], *, num_rounds: int = 0
) -> str:
    """Write a line; what was not measured is left out.

    Parameters
    ----------
    training : str
        Which training of the run: a strategy, or a way to read an ensemble out.
    server_round : int
    values : mapping of str to float or None
        By name, which consists of letters, digits, spaces, ``'``, ``/`` and ``-``.
    num_rounds : int
        Of how many; 0 leaves it out.

    Examples
    --------
    >>> round_line("FedAvg", 3, {"accuracy": 0.93821, "attack success": None})
    'progress: FedAvg, round 3: accuracy 0.9382'
    """
    told = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)
    of = f" of {num_rounds}" if num_rounds else ""
    return f"progress: {training}, round {server_round}{of}: {told}"


def progress_of(line: str) -> str | None:
    """Give the words of a line that the server's process marked as progress; None of any other.

    Examples
    --------
    >>> progress_of("INFO :      progress: report written")
    'report written'
    >>> progress_of("(ClientAppActor pid=7) progress: FedAvg, round 3: accuracy 1.0") is None
    True
    """
    found = _PROGRESS.match(line)
    return found["words"].strip() if found else None


def read_round_line(line: str) -> RoundValues | None:
    """Read a line of a log; None if it says nothing of a round.

    Examples
    --------
    >>> read_round_line("INFO :      progress: FedAvg, round 3: accuracy 0.9382, seconds 1.5").values
    {'accuracy': 0.9382, 'seconds': 1.5}
    >>> read_round_line("progress: report written") is None
    True
    """
    words = progress_of(line) if len(line) <= _LONGEST_LINE else None
    found = _ROUND.match(words) if words else None
    if found is None:
        return None
    values = {}
    for piece in found["values"].strip().split(", ")[:_MOST_VALUES]:
        read = _VALUE.match(piece)
        if read is not None and math.isfinite(value := float(read["value"])):
            values[read["name"]] = value
    return RoundValues(found["training"], int(found["round"]), values) if values else None
