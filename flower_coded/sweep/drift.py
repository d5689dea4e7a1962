"""Under which versions a record was made, and whether a sweep goes on under others.

A run's key knows its configuration, not the programs that ran it. Their versions, and a digest of this
package's own code, stand in every record. What draws pages and reads commands does not enter the digest.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from importlib.metadata import version
from typing import Any

import flower_coded
from flower_coded.errors import ParameterError
from flower_coded.reporting.provenance import code_digest
from flower_coded.sweep.store import SweepStore

__all__ = ["Drift", "describe_drift", "drift_of", "meet_drift", "pending_drift", "versions"]

_PACKAGES = ("flwr", "torch", "numpy")
_PREFIX = "version-"


class Drift(Enum):
    """What becomes of records that other versions made, when a sweep goes on."""

    REFUSE = "refuse"
    ACCEPT = "accept"
    RERUN = "rerun"


def meet_drift(keys: Iterable[str], store: SweepStore, drift: Drift) -> None:
    """Keep records of other versions, set them aside, or refuse to go on beside them.

    Where all runs are done there is nothing that could be mixed, and nothing is refused.

    Raises
    ------
    ParameterError
        If there are such records and runs to do, and the answer is :attr:`Drift.REFUSE`.
    """
    keys = set(keys)
    if drift is Drift.RERUN:
        now = versions()
        store.set_aside(keys, lambda record: bool(drift_of(record, now)), "drifted")
    elif drift is Drift.REFUSE and (differing := pending_drift(keys, store)):
        hint = "--accept-drift keeps them, --rerun-drifted runs them again, another --name begins anew"
        requirement = "must go on under the versions that its records were made with"
        raise ParameterError("sweep", requirement, differing, hint=hint)


def pending_drift(keys: Iterable[str], store: SweepStore) -> str:
    """Describe the records that runs still to be done would stand beside; empty where all is well."""
    wanted = set(keys)
    there = wanted & store.keys()
    return describe_drift((store.read(key) for key in there), versions()) if there != wanted else ""


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on, as columns of a record.

    Examples
    --------
    >>> sorted(versions())
    ['version-code', 'version-flower-coded', 'version-flwr', 'version-numpy', ...]
    """
    found = {"flower-coded": flower_coded.__version__, "python": platform.python_version()}
    found |= {name: version(name) for name in _PACKAGES} | {"code": code_digest()}
    return {_PREFIX + name: number for name, number in found.items()}


def drift_of(record: Mapping[str, Any], now: Mapping[str, str]) -> dict[str, str]:
    """Tell what differs from now: by name, the record's version; ``unknown`` where it has none.

    Examples
    --------
    >>> drift_of({"version-torch": "2.8"}, {"version-torch": "2.9"})
    {'torch': '2.8'}
    """
    return {
        name.removeprefix(_PREFIX): str(record.get(name, "unknown"))
        for name in now
        if record.get(name) != now[name]
    }


def describe_drift(records: Iterable[Mapping[str, Any]], now: Mapping[str, str]) -> str:
    """Say in one line which versions differ and in how many records; empty where none does.

    Examples
    --------
    >>> describe_drift([{"version-torch": "2.8"}] * 3, {"version-torch": "2.9"})
    'torch 2.8, now 2.9 (3 runs)'
    """
    counts = Counter(item for record in records for item in drift_of(record, now).items())
    return ", ".join(
        f"{name} {before}, now {now[_PREFIX + name]} ({count} runs)"
        for (name, before), count in sorted(counts.items())
    )
