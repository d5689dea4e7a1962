"""What a sweep runs: attacks x defenses x class mixes x numbers of attackers x seeds, read from a TOML file.

Everything that could change a result is in a run's configuration, and the run's key is a digest of it: runs
with equal keys are the same run, in whatever file they are asked for. A clean run (attack ``none``) is the
same for every number of attackers and is run once.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import itertools
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from flower_coded.attacks import ATTACKS
from flower_coded.clients import AttackSettings, ClientSettings, user_data
from flower_coded.clients.attack_settings import ATTACK_KEYS
from flower_coded.clients.client_settings import TRAINING_KEYS
from flower_coded.errors import ParameterError
from flower_coded.learning import build_model
from flower_coded.sweep.defenses import DEFENSE_NAMES, check_defense, model_of_defense, rule_of_defense

__all__ = ["SweepPlan", "SweepRun", "read_plan"]

Value = bool | int | float | str

TRAINING_DEFAULTS: dict[str, Value] = {"local-epochs": 2, "samples-per-user": 100}
_SET_BY_GRID = ("alpha", "seed")


@dataclass(frozen=True)
class SweepRun:
    """One training of a sweep, by its whole configuration.

    Parameters
    ----------
    attack, defense : str
        Names, see :data:`~flower_coded.attacks.ATTACKS` and
        :data:`~flower_coded.sweep.defenses.DEFENSE_NAMES`.
    alpha : str
        Class mix per user: ``iid``, or Dirichlet's parameter as text.
    attackers : int
        How many users attack; 0 exactly for attack ``none``.
    seed : int
        Draws data, users, attackers, models and training.
    num_users, num_rounds : int
        ``n``, and rounds of training.
    tolerated_attackers : int
        How many attackers the defense is told to expect, ``f`` or ``k``.
    training, attack_settings, defense_settings : mapping
        Run-config keys of the clients, keys of the attack, options of the defense.

    Examples
    --------
    >>> run = SweepRun("sign-flip", "median", "iid", 2, 1)
    >>> run.key, run.run_config()["attackers"]
    ('...', 2)
    >>> run.key == SweepRun("sign-flip", "median", "iid", 2, 2).key
    False
    """

    attack: str
    defense: str
    alpha: str
    attackers: int
    seed: int
    num_users: int = 12
    num_rounds: int = 8
    tolerated_attackers: int = 2
    training: Mapping[str, Value] = field(default_factory=lambda: dict(TRAINING_DEFAULTS))
    attack_settings: Mapping[str, Value] = field(default_factory=dict)
    defense_settings: Mapping[str, Value] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Digest of the configuration, 16 hexadecimal digits."""
        canonical = json.dumps(self.configuration(), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def configuration(self) -> dict[str, Value]:
        """Return everything that decides the result, flat: one column each in the table of results."""
        own = {
            each.name.replace("_", "-"): getattr(self, each.name)
            for each in fields(self)
            if not each.name.endswith(("training", "settings"))
        }
        return own | dict(self.training) | dict(self.attack_settings) | dict(self.defense_settings)

    def run_config(self) -> dict[str, Value]:
        """Return the clients' run configuration."""
        chosen: dict[str, Value] = {"alpha": self.alpha, "seed": self.seed}
        if self.attackers:
            chosen |= {"attack": self.attack, "attackers": self.attackers}
        if any(option.key == "attack-rule" for option in ATTACKS[self.attack].options):
            # Attackers who know the rule know the defense's, unless the file says what they believe.
            chosen["attack-rule"] = self.attack_settings.get("attack-rule") or rule_of_defense(self.defense)
        return {**self.training, **self.attack_settings, **chosen}

    def check(self) -> None:
        """Refuse a configuration before anything is trained.

        Raises
        ------
        ParameterError
            If a client, the attack or the defense would refuse it, or the data cannot be loaded or divided.
        """
        settings = ClientSettings.from_config(self.run_config())
        _check_training_once(settings, model_of_defense(self.defense, settings.model), self.num_users)
        AttackSettings.from_config({**self.run_config(), "attack": self.attack}, self.num_users)
        options = tuple(sorted(self.defense_settings.items()))
        _check_defense_once(self.defense, self.num_users, self.tolerated_attackers, options)


@dataclass(frozen=True)
class SweepPlan:
    """All runs of a sweep, and how to run them.

    Parameters
    ----------
    title : str
        Heading of the report.
    runs : tuple of SweepRun
        No two alike; seeds vary slowest, so that a sweep that is cut short has whole reports of fewer seeds.
    time_limit : float
        Seconds after which one run is given up and recorded as failed.
    """

    title: str
    runs: tuple[SweepRun, ...]
    time_limit: float = 900.0


def read_plan(source: str | Path | Mapping[str, Any]) -> SweepPlan:
    """Read a sweep from a TOML file, or from the mapping that such a file holds.

    Parameters
    ----------
    source : str, path or mapping
        Keys are listed in ``docs/sweep.md``.

    Returns
    -------
    SweepPlan
        Every run checked.

    Raises
    ------
    ParameterError
        If the file cannot be read, a key or name is unknown (the nearest valid one is named), or a run's
        configuration is refused by a client, the attack or the defense.

    Examples
    --------
    >>> axes = {"attacks": ["none", "sign-flip"], "defenses": ["fedavg", "median"], "seeds": [1, 2]}
    >>> plan = read_plan(axes)
    >>> len(plan.runs)
    8
    >>> read_plan({"attacks": ["sign-flop"], "defenses": ["fedavg"]})
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: attacks must ...; received 'sign-flop' (did you mean 'sign-flip'?)
    """
    given = _read_toml(Path(source)) if isinstance(source, str | Path) else dict(source)
    _refuse_unknown("sweep", given, _SWEEP_KEYS)
    axes = {name: _axis(given, name, default) for name, default in _AXES.items()}
    _refuse_unknown("attacks", axes["attacks"], ATTACKS)
    _refuse_unknown("defenses", axes["defenses"], DEFENSE_NAMES)
    for name in ("attackers", "seeds"):
        _check_integers(name, axes[name])
    training = {**TRAINING_DEFAULTS, **_settings(given, "training")}
    _refuse_unknown("training", training, [key for key in TRAINING_KEYS if key not in _SET_BY_GRID])
    attack_tables, defense_tables = _table(given, "attack"), _table(given, "defense")
    _refuse_unknown("attack", attack_tables, axes["attacks"])
    _refuse_unknown("defense", defense_tables, axes["defenses"])
    for name in attack_tables:
        _refuse_unknown(f"attack.{name}", _settings(attack_tables, name, "attack."), _ATTACK_SETTINGS)
    numbers = {name: _integer(given, name, default, least=1) for name, default in _NUMBERS.items()}
    common = {
        "num_users": numbers["num-users"],
        "num_rounds": numbers["num-rounds"],
        "tolerated_attackers": _integer(given, "tolerated-attackers", max(axes["attackers"])),
    }
    runs: dict[str, SweepRun] = {}
    for seed, alpha, attackers, defense, attack in itertools.product(
        axes["seeds"], axes["alphas"], axes["attackers"], axes["defenses"], axes["attacks"]
    ):
        is_clean = attack == "none" or attackers == 0
        run = SweepRun(
            attack="none" if is_clean else attack,
            defense=defense,
            alpha=str(alpha),
            attackers=0 if is_clean else attackers,
            seed=seed,
            training=training,
            attack_settings={} if is_clean else _settings(attack_tables, attack, "attack."),
            defense_settings=_settings(defense_tables, defense, "defense."),
            **common,
        )
        runs.setdefault(run.key, run)
    for run in runs.values():
        run.check()
    limit = given.get("time-limit", SweepPlan.time_limit)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0:
        raise ParameterError("time-limit", "must be a positive number of seconds", limit, hint="900")
    return SweepPlan(str(given.get("title", "Robustness report")), tuple(runs.values()), float(limit))


_AXES: dict[str, list[Any]] = {
    "attacks": [],
    "defenses": [],
    "alphas": ["iid"],
    "attackers": [2],
    "seeds": [1],
}
_NUMBERS = {"num-users": 12, "num-rounds": 8}
_ATTACK_SETTINGS = [key for key in ATTACK_KEYS if key not in {"attack", "attackers"}]
_SWEEP_KEYS = [
    *_AXES,
    *_NUMBERS,
    "title",
    "time-limit",
    "tolerated-attackers",
    "training",
    "attack",
    "defense",
]


@functools.cache
def _check_training_once(settings: ClientSettings, model: str, num_users: int) -> None:
    data = settings.load()
    build_model(model, data.image_shape, data.num_classes)
    user_data(settings, 0, num_users)


@functools.cache
def _check_defense_once(
    defense: str, num_users: int, num_byzantine: int, settings: tuple[tuple[str, Any], ...]
) -> None:
    check_defense(defense, num_users, num_byzantine, dict(settings))


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ParameterError("sweep", "must be a TOML file", str(path))
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError("sweep", "must be a TOML file", str(path), hint=str(error)) from error


def _axis(given: Mapping[str, Any], name: str, default: Sequence[Any]) -> list[Any]:
    values = given.get(name, list(default))
    if not isinstance(values, list) or not values:
        raise ParameterError(name, "must be a list with at least one entry", values)
    return values


def _check_integers(name: str, values: Iterable[Any], least: int = 0) -> None:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ParameterError(name, f"must be whole numbers of at least {least}", value)


def _integer(given: Mapping[str, Any], name: str, default: int, least: int = 0) -> int:
    value = given.get(name, default)
    _check_integers(name, [value], least)
    return int(value)


def _table(given: Mapping[str, Any], name: str, prefix: str = "") -> dict[str, Any]:
    values = given.get(name, {})
    if not isinstance(values, Mapping):
        raise ParameterError(prefix + name, f"must be a table: [{prefix}{name}]", values)
    return dict(values)


def _settings(given: Mapping[str, Any], name: str, prefix: str = "") -> dict[str, Value]:
    """Read a table of plain values."""
    values = _table(given, name, prefix)
    for key, value in values.items():
        if not isinstance(value, bool | int | float | str):
            raise ParameterError(f"{prefix}{name}.{key}", "must be a number, a text or a truth value", value)
    return values


def _refuse_unknown(where: str, given: Iterable[Any], known: Iterable[str]) -> None:
    options = list(known)
    for name in given:
        if name not in options:
            close = difflib.get_close_matches(str(name), options, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else ""
            raise ParameterError(where, f"must be among {', '.join(options)}", name, hint=hint)
