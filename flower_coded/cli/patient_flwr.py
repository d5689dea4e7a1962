"""``flwr`` with the patience that a busy machine asks for: ``python -m flower_coded.cli.patient_flwr run …``.

Flower gives the SuperLink that it starts 15 s, and an answer of it 0.4 s; then it kills it and gives up. On a
machine that computes many things at once that is too short, however often it is tried.
"""

from __future__ import annotations

import contextlib
import importlib

__all__ = ["START_SECONDS"]

START_SECONDS = 120.0
_WANTED = {"LOCAL_SUPERLINK_STARTUP_TIMEOUT": START_SECONDS, "CONTROL_API_PROBE_TIMEOUT": 5.0}


def _be_patient() -> None:
    # Names of Flower's own: a release without this module or these names keeps the patience that it has.
    with contextlib.suppress(ImportError):
        superlink = importlib.import_module("flwr.cli.local_superlink")
        for name, seconds in _WANTED.items():
            if hasattr(superlink, name):
                setattr(superlink, name, seconds)


if __name__ == "__main__":
    from flwr.cli.app import app

    _be_patient()
    app()
