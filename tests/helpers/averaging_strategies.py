"""The strategies that average models, for seven nodes, as small and quick as they go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flwr.serverapp.strategy import FedAvg

from flower_coded.aggregation import get_aggregation_rule
from flower_coded.clients.ramp_krum import ramp_krum_mod
from flower_coded.codes import backdoor_correction_code
from flower_coded.strategies import (
    CodedSubsetAggregation,
    RampSharedMultiKrum,
    RuleAggregation,
    ValidatedReplies,
)

EVERYBODY = {"min_train_nodes": 7, "min_available_nodes": 7, "min_evaluate_nodes": 7}


@dataclass(frozen=True)
class Averaging:
    """A strategy that averages models, and the mods that its clients need."""

    name: str
    make: Callable[[], Any]
    mods: tuple[Any, ...] = ()


CODE = backdoor_correction_code(1, 2, 7)
STRATEGIES = [
    Averaging("FedAvg, validated", lambda: ValidatedReplies(FedAvg(**EVERYBODY))),
    Averaging(
        "median", lambda: RuleAggregation(get_aggregation_rule("median", num_byzantine=1), **EVERYBODY)
    ),
    Averaging("coded subset", lambda: CodedSubsetAggregation(CODE)),
    Averaging(
        "ramp-shared multi-Krum",
        lambda: RampSharedMultiKrum(
            7, 1, num_dropouts=0, num_bits=12, clipping=2.0, is_blinded=False, hides_products=False
        ),
        mods=(ramp_krum_mod,),
    ),
]
