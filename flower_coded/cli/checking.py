"""Ask a scenario whether its settings make sense, before Flower is started.

A scenario names a function in its ``pyproject.toml``::

    [tool.flower-coded]
    check = "coded_backdoor.server_app:prepare"

It takes the whole run configuration and raises a :class:`~flower_coded.errors.FlowerCodedError` for what it
refuses; its ServerApp calls the same function first, so that plain ``flwr run`` is told too.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flower_coded.cli.scenario import Scenario, Setting
from flower_coded.errors import FlowerCodedError, ParameterError

__all__ = ["SettingsRefusedError", "check_settings"]


class SettingsRefusedError(FlowerCodedError):
    """A scenario refuses what it was set to.

    Parameters
    ----------
    settings : mapping
        As they were typed.
    reason : FlowerCodedError
        What the part that refused says, in its own words.
    """

    def __init__(self, settings: Mapping[str, Setting], reason: FlowerCodedError) -> None:
        self.settings, self.reason = dict(settings), reason
        typed = " ".join(f"{key}={value}" for key, value in settings.items()) or "nothing: the defaults"
        super().__init__(f"{reason}; set was {typed}")


def check_settings(scenario: Scenario, settings: Mapping[str, Setting]) -> None:
    """Have a scenario judge a run's settings; nothing happens where it names no function.

    Parameters
    ----------
    scenario : Scenario
        Whose ``check`` is called.
    settings : mapping
        What was set; everything else is the default.

    Raises
    ------
    SettingsRefusedError
        With the scenario's reason and what was set.
    ParameterError
        If the function it names is not there.
    """
    if not scenario.check:
        return
    module_name, _, function_name = scenario.check.partition(":")
    with _importable(scenario.path, module_name.partition(".")[0]):
        try:
            check = getattr(importlib.import_module(module_name), function_name)
        except (ImportError, AttributeError) as error:
            raise ParameterError(
                "check", f"must name a function of {scenario.name}", scenario.check, hint=str(error)
            ) from error
        try:
            check({**scenario.defaults, **settings})
        except FlowerCodedError as error:
            raise SettingsRefusedError(settings, error) from error


@contextmanager
def _importable(directory: Path, package: str) -> Iterator[None]:
    """Let the app's own package be imported from its directory, and be forgotten afterwards."""
    before = list(sys.path)
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        sys.path[:] = before
        for name in [name for name in sys.modules if name.split(".")[0] == package]:
            del sys.modules[name]
