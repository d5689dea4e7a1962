"""What the exit status of ``flower-coded`` tells, and how a refusal becomes one sentence on the terminal.

======  ================================================================================
status  meaning
======  ================================================================================
0       done; for ``run`` and ``demo``: Flower reports the run as completed
1       the run failed, and the log above says why
2       refused before anything started: unknown scenario, unknown setting, bad value
3       Flower itself did not start, or would not say how the run ended
4       the time limit passed, and the run was stopped
130     Ctrl-C, and 143 a termination signal: the run and its SuperLink were stopped
======  ================================================================================
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from flower_coded.errors import FlowerCodedError

__all__ = [
    "COMPLETED",
    "EXIT_STATUS_HELP",
    "FAILED",
    "NOT_STARTED",
    "REFUSED",
    "TIMED_OUT",
    "refusals_as_status",
]

COMPLETED, FAILED, REFUSED, NOT_STARTED, TIMED_OUT = 0, 1, 2, 3, 4

EXIT_STATUS_HELP = (
    "Exit status: 0 completed, 1 the run failed, 2 refused before it started, 3 Flower did not start, "
    "4 out of time, 130 Ctrl-C, 143 terminated."
)

_FILE_TROUBLE = {
    errno.EACCES,
    errno.EDQUOT,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


@contextmanager
def refusals_as_status() -> Iterator[None]:
    """Print a refusal, this package's or the file system's, as a sentence and leave with status 2."""
    try:
        yield
    except FlowerCodedError as error:
        typer.secho(f"flower-coded: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(getattr(error, "exit_status", REFUSED)) from error
    except OSError as error:
        if error.errno not in _FILE_TROUBLE:
            raise
        reason = f"{error.strerror}: {error.filename or 'a file'}"
        hint = "name another place, or make room there"
        typer.secho(f"flower-coded: cannot write: {reason} ({hint})", fg=typer.colors.RED, err=True)
        raise typer.Exit(REFUSED) from error
