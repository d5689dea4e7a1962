"""The defenses of a sweep by name: Flower's own strategies, aggregation rules, and this package's systems.

A defense is told how many attackers to expect and makes a strategy. What is asked of Flower's strategies goes
through :class:`~flower_coded.strategies.ValidatedReplies`, for without it every malformed reply ends the run.

Left out: encoded gradient descent and robust ALCC, which compute gradients of linear models and polynomials
exactly and train no network; contrastive output codes, whose protection is against adversarial inputs. Their
classifier's form, a Hadamard output code, is here as ``hadamard-fedavg``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.serverapp.strategy import Bulyan, FedAvg, FedMedian, FedTrimmedAvg, Krum, MultiKrum, Strategy

from flower_coded.aggregation import (
    AGGREGATION_RULES,
    PRE_AGGREGATIONS,
    ServerOptimizer,
    get_aggregation_rule,
    get_server_optimizer,
)
from flower_coded.attacks.rehearsal import RULE_NAMES
from flower_coded.errors import ParameterError
from flower_coded.experiment import Experiment
from flower_coded.strategies import RampSharedMultiKrum, RuleAggregation, ValidatedReplies

__all__ = [
    "CODED_DEFENSES",
    "DEFENSE_NAMES",
    "RAMP_DEFENSE",
    "check_defense",
    "code_settings",
    "make_strategy",
    "model_of_defense",
    "rule_of_defense",
]

Options = Mapping[str, Any]

RAMP_DEFENSE = "ramp-shared-krum"
_HADAMARD = "hadamard-fedavg"
_DECODER = {
    "decoder": "joint",
    "decoder-attack-rate": -1.0,
    "decoder-success-rate": -1.0,
    "decoder-smoothing": 0.3,
}
_RAMP = {"clipping": 1.0, "num-bits": 16}


@dataclass(frozen=True)
class _Expected:
    """What a defense is told."""

    num_users: int
    num_byzantine: int

    @property
    def everybody(self) -> dict[str, Any]:
        number = self.num_users
        return {"fraction_evaluate": 0.0, "min_train_nodes": number, "min_available_nodes": number}


_FLOWER: dict[str, Callable[[_Expected], Strategy]] = {
    "fedavg": lambda e: FedAvg(**e.everybody),
    "flower-median": lambda e: FedMedian(**e.everybody),
    "flower-trimmed-mean": lambda e: FedTrimmedAvg(beta=e.num_byzantine / e.num_users, **e.everybody),
    "flower-krum": lambda e: Krum(num_malicious_nodes=e.num_byzantine, **e.everybody),
    "flower-multi-krum": lambda e: MultiKrum(
        num_malicious_nodes=e.num_byzantine,
        num_nodes_to_select=e.num_users - e.num_byzantine,
        **e.everybody,
    ),
    "flower-bulyan": lambda e: Bulyan(num_malicious_nodes=e.num_byzantine, **e.everybody),
    _HADAMARD: lambda e: FedAvg(**e.everybody),
}
# FLTrust needs data of the server's own, which no experiment of a sweep sets aside.
_PLAIN = tuple(rule for rule in AGGREGATION_RULES if rule != "fl-trust")
_RULES = (*_PLAIN, *(f"{step}+{rule}" for step in PRE_AGGREGATIONS for rule in _PLAIN))

CODED_DEFENSES: dict[str, dict[str, Any]] = {
    "coded-detection": {"code-attackers": 0, "row-weight": 4, **_DECODER},
    "coded-correction": {"code-attackers": 0, "row-weight": 4, **_DECODER},
    "coded-tracking": {"code-attackers": 0, "row-weight": 4, **_DECODER},
    "coded-partition": {"num-groups": 6, **_DECODER},
}
"""Names of the coded ensembles with their options and defaults; 0 ``code-attackers`` are those expected."""

DEFENSE_NAMES = (*_FLOWER, *_RULES, *CODED_DEFENSES, RAMP_DEFENSE)
"""Every defense that a sweep knows."""


def make_strategy(
    defense: str, num_users: int, num_byzantine: int, options: Options, seed: int = 0
) -> ValidatedReplies | RuleAggregation | RampSharedMultiKrum:
    """Make the strategy of a defense that trains one model.

    Parameters
    ----------
    defense : str
        One of :data:`DEFENSE_NAMES` that is not in :data:`CODED_DEFENSES`.
    num_users, num_byzantine : int
        ``n``, and how many attackers to expect.
    options : mapping
        Of a rule: its attributes, in kebab-case. Of ``ramp-shared-krum``: ``clipping``,
        ``num-bits``. Of both: ``server-optimizer``, one of
        :data:`~flower_coded.aggregation.SERVER_OPTIMIZERS`, and ``server-learning-rate``.
    seed : int
        Draws what the strategy draws.

    Returns
    -------
    Strategy
        It asks all users every round, evaluates nothing, and keeps a ``history``.

    Examples
    --------
    >>> make_strategy("trimmed-mean", 12, 2, {}).rule
    TrimmedMean(num_threads=1, num_byzantine=2)
    """
    expected = _Expected(num_users, num_byzantine)
    if defense in _FLOWER:
        _refuse_unknown_options(defense, options, {})
        return ValidatedReplies(_FLOWER[defense](expected))
    optimizer, options = _server_optimizer(options)
    parameters = {name.replace("-", "_"): value for name, value in options.items()}
    if defense == RAMP_DEFENSE:
        _refuse_unknown_options(defense, options, _RAMP)
        chosen = {name.replace("-", "_"): value for name, value in _RAMP.items()} | parameters
        return RampSharedMultiKrum(
            num_users, num_byzantine, seed=seed, fraction_evaluate=0.0, server_optimizer=optimizer, **chosen
        )
    rule = get_aggregation_rule(defense, **{"num_byzantine": num_byzantine, **parameters})
    return RuleAggregation(rule, seed=seed, server_optimizer=optimizer, **expected.everybody)


def code_settings(defense: str, num_byzantine: int, options: Options) -> dict[str, Any]:
    """Give code and decoder of a coded defense as an experiment's run-config keys.

    The code is made for at least one attacker; the decoder holds 0 to ``num_byzantine`` for alike likely.

    Examples
    --------
    >>> settings = code_settings("coded-correction", 2, {"row-weight": 6})
    >>> settings["code"], settings["tolerated-attackers"], settings["row-weight"]
    ('correction', 2, 6)
    """
    _refuse_unknown_options(defense, options, CODED_DEFENSES[defense])
    chosen = CODED_DEFENSES[defense] | dict(options)
    code_attackers = int(chosen.pop("code-attackers", 0))
    return {
        "code": defense.removeprefix("coded-"),
        "tolerated-attackers": code_attackers or max(1, num_byzantine),
        "num-models": chosen.pop("num-groups", 1),
        "decoder-max-attackers": num_byzantine,
        **chosen,
    }


def model_of_defense(defense: str, model: str) -> str:
    """Return the architecture that a defense trains: ``hadamard-fedavg`` puts an output code behind it.

    Examples
    --------
    >>> model_of_defense("hadamard-fedavg", "small-cnn")
    'small-cnn+hadamard'
    """
    return f"{model}+hadamard" if defense == _HADAMARD and "+" not in model else model


def rule_of_defense(defense: str) -> str:
    """Return the rule that attackers who know the defense rehearse, made with its defaults.

    Of a coded ensemble it is the mean, which its models are averaged with; of anything that has no rule, the
    median.

    Examples
    --------
    >>> [rule_of_defense(name) for name in ("flower-multi-krum", "bucketing+krum", "coded-partition")]
    ['multi-krum', 'bucketing+krum', 'mean']
    """
    if defense in RULE_NAMES:
        return defense
    if defense in CODED_DEFENSES or "fedavg" in defense:
        return "mean"
    rule = "multi-krum" if defense == RAMP_DEFENSE else defense.removeprefix("flower-")
    return rule if rule in RULE_NAMES else "median"


def check_defense(defense: str, num_users: int, num_byzantine: int, options: Options) -> None:
    """Make the defense once, so that what it would refuse is refused before anything is trained."""
    if defense in CODED_DEFENSES:
        coded = Experiment({"num-clients": num_users, **code_settings(defense, num_byzantine, options)})
        _ = coded.code, coded.decoder_options
    else:
        strategy = make_strategy(defense, num_users, num_byzantine, options)
        if isinstance(strategy, RuleAggregation):  # too few users for the rule would keep the first model
            generator = np.random.default_rng(0)
            strategy.rule.aggregate(generator.standard_normal((num_users, 2)), generator)
    if defense == "flower-bulyan" and num_users < 4 * num_byzantine + 3:
        raise ParameterError(
            "num-users",
            f"must be at least 4 f + 3 = {4 * num_byzantine + 3} for flower-bulyan",
            num_users,
            hint="with fewer it keeps the old model in every round",
        )


def _server_optimizer(options: Options) -> tuple[ServerOptimizer | None, Options]:
    """Take the server's optimizer out of a defense's options."""
    left = dict(options)
    name = str(left.pop("server-optimizer", "none"))
    rate = (
        {"learning_rate": float(left.pop("server-learning-rate"))} if "server-learning-rate" in left else {}
    )
    return get_server_optimizer(name, **rate), left


def _refuse_unknown_options(defense: str, options: Options, known: Mapping[str, Any]) -> None:
    for name in options:
        if name not in known:
            raise ParameterError(f"defense.{defense}", f"must be among {', '.join(known) or 'nothing'}", name)
