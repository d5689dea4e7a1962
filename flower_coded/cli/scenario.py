"""A scenario on disk and the settings of one run of it, checked before anything starts.

A scenario is any directory holding a Flower app: a ``pyproject.toml`` with ``[tool.flwr.app.config]``, whose
keys are all the settings that exist. Flower refuses an unknown key only after its SuperLink is up, and with
no word about which keys there are; here the refusal comes at once and names the nearest spelling.
"""

from __future__ import annotations

import difflib
import re
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flower_coded
from flower_coded.errors import ParameterError

_COMMENTED_SETTING = re.compile(r"""(?P<key>[\w-]+)\s*=\s*(?:"[^"]*"|[^"#]+?)\s*\#\s*(?P<comment>.+?)\s*$""")

__all__ = ["Scenario", "Setting", "copy_scenario", "find_scenario", "scenario_directories"]

Setting = bool | int | float | str


@dataclass(frozen=True)
class Scenario:
    """A Flower app and the defaults of its run configuration.

    Parameters
    ----------
    path : Path
        Absolute directory of the app.
    name : str
        The directory's name.
    description : str
        From the app's ``[project]`` table.
    defaults : mapping from str to bool, int, float or str
        Every setting and its default; nested tables flattened with dots, as Flower does.
    explanations : mapping from str to str
        What the app's ``pyproject.toml`` says beside a setting, of those beside which it says something.
    check : str
        ``module:function`` that judges the settings, see :mod:`flower_coded.cli.checking`; empty for none.
    """

    path: Path
    name: str
    description: str
    defaults: Mapping[str, Setting]
    explanations: Mapping[str, str] = field(default_factory=dict)
    check: str = ""

    @property
    def num_clients(self) -> int:
        """The default number of clients, 2 (Flower's own default) where the scenario does not say."""
        return int(self.defaults.get("num-clients", 2))

    def settings(self, assignments: Sequence[str]) -> dict[str, Setting]:
        """Read ``key=value`` assignments into values of the defaults' types.

        Raises
        ------
        ParameterError
            For a key that is no setting (with the nearest one), a value of another type, or no ``=`` at all.

        Examples
        --------
        >>> defaults = {"rounds": 3, "alpha": 0.1, "attackers": "0,3", "stacked": True}
        >>> scenario = Scenario(Path("x"), "x", "", defaults)
        >>> scenario.settings(["rounds=5", "alpha=1", "attackers=2", "stacked=false"])
        {'rounds': 5, 'alpha': 1.0, 'attackers': '2', 'stacked': False}
        >>> scenario.settings(["round=5"])
        Traceback (most recent call last):
            ...
        flower_coded.errors.ParameterError: settings must be among alpha, attackers, rounds, stacked; received
        'round' (did you mean rounds?)
        """
        values: dict[str, Setting] = {}
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise ParameterError("settings", "must be written key=value", assignment, hint="no spaces")
            if key not in self.defaults:
                raise _unknown_key(key, self.defaults)
            values[key] = _read_value(key, text, self.defaults[key])
        return values


def find_scenario(name_or_path: str) -> Scenario:
    """Find a scenario by the name of its directory under ``scenarios/``, or by path.

    Hyphens and underscores are the same in a name.

    Raises
    ------
    ParameterError
        If there is no such scenario (with the nearest name), or its ``pyproject.toml`` is no Flower app's.
    """
    found = [path for directory in reversed(scenario_directories()) for path in _apps_in(directory)]
    candidates = {path.name.replace("_", "-"): path for path in found}
    wanted = name_or_path.replace("_", "-")
    path = Path(name_or_path).expanduser()
    if wanted in candidates and not (path / "pyproject.toml").is_file():
        path = candidates[wanted]
    if not (path / "pyproject.toml").is_file():
        raise ParameterError(
            "scenario",
            f"must be one of {', '.join(sorted(candidates)) or '(none found)'}, or the path of a Flower app",
            name_or_path,
            hint=_nearest(wanted, candidates),
        )
    return _load(path.resolve())


def copy_scenario(scenario: Scenario, directory: Path) -> Path:
    """Copy a scenario, to be changed and run from there.

    Parameters
    ----------
    scenario : Scenario
        What to start from.
    directory : Path
        Where to; it must not exist yet, and its parents are made.

    Returns
    -------
    Path
        The copy, absolute.

    Raises
    ------
    ParameterError
        If something is there already.
    """
    target = directory.expanduser().resolve()
    if target.exists():
        raise ParameterError("directory", "must not exist yet", str(target), hint="name another")
    shutil.copytree(scenario.path, target, ignore=shutil.ignore_patterns("__pycache__", ".*", "*.fab"))
    return target


def scenario_directories() -> list[Path]:
    """Directories searched for scenarios: the checkout's or the wheel's, then ``scenarios/`` here."""
    package = Path(flower_coded.__file__).resolve().parent
    places = [package.parent / "scenarios", package / "scenarios", Path.cwd() / "scenarios"]
    return [path for path in dict.fromkeys(places) if path.is_dir()]


def _apps_in(directory: Path) -> list[Path]:
    return sorted(file.parent for file in directory.glob("*/pyproject.toml"))


def _load(path: Path) -> Scenario:
    file = path / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    try:
        content = tomllib.loads(text)
        config = content["tool"]["flwr"]["app"].get("config", {})
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise ParameterError(
            "scenario", "must be a Flower app, with a [tool.flwr.app] table", str(file), hint=str(error)
        ) from error
    description = str(content.get("project", {}).get("description", ""))
    check = str(content["tool"].get("flower-coded", {}).get("check", ""))
    return Scenario(path, path.name, description, _flattened(config), _explanations(text), check)


def _explanations(text: str) -> dict[str, str]:
    """Comments behind the settings; a TOML reader drops them, so they are read from the lines."""
    _, _, section = text.partition("[tool.flwr.app.config]")
    matches = (_COMMENTED_SETTING.match(line) for line in section.splitlines())
    return {found["key"]: found["comment"] for found in matches if found}


def _flattened(table: Mapping[str, Any], prefix: str = "") -> dict[str, Setting]:
    flat: dict[str, Setting] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _read_value(key: str, text: str, default: Setting) -> Setting:
    if isinstance(default, str):
        return text
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(default)]
        raise ParameterError(key, f"must be {kind}", text, hint=f"the default is {default}")
    checked: Setting = value
    return checked


def _unknown_key(key: str, defaults: Mapping[str, Setting]) -> ParameterError:
    names = sorted(defaults)
    return ParameterError("settings", f"must be among {', '.join(names)}", key, hint=_nearest(key, names))


def _nearest(word: str, names: Mapping[str, Any] | Sequence[str]) -> str:
    close = difflib.get_close_matches(word, list(names), n=1, cutoff=0.4)
    return f"did you mean {close[0]}?" if close else ""
