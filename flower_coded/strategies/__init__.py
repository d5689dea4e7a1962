"""Flower strategies: the five coded systems, aggregation rules, and any Flower strategy behind validation.

A name is imported when it is first asked for: a server of encoded gradient descent loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flower_coded.strategies.clipping_agreement import AgreedClipping
    from flower_coded.strategies.coded_subset import CodedSubsetAggregation, decoded_evaluate_fn
    from flower_coded.strategies.contrastive_ecoc import ContrastiveECOC
    from flower_coded.strategies.encoded_gd import EncodedGradientDescent, GradientRound
    from flower_coded.strategies.ensemble_evaluation import EnsembleEvaluator, model_predictor
    from flower_coded.strategies.ramp_krum import RampKrumRound, RampSharedMultiKrum
    from flower_coded.strategies.retraining import Retrained, retrain_without
    from flower_coded.strategies.robust_alcc import ComputationRound, RobustALCC
    from flower_coded.strategies.rounds import RoundRecord
    from flower_coded.strategies.rule_aggregation import RuleAggregation
    from flower_coded.strategies.validated import ValidatedReplies

__all__ = [
    "AgreedClipping",
    "CodedSubsetAggregation",
    "ComputationRound",
    "ContrastiveECOC",
    "EncodedGradientDescent",
    "EnsembleEvaluator",
    "GradientRound",
    "RampKrumRound",
    "RampSharedMultiKrum",
    "Retrained",
    "RobustALCC",
    "RoundRecord",
    "RuleAggregation",
    "ValidatedReplies",
    "decoded_evaluate_fn",
    "model_predictor",
    "retrain_without",
]

_MODULES = {
    "CodedSubsetAggregation": "coded_subset",
    "ComputationRound": "robust_alcc",
    "ContrastiveECOC": "contrastive_ecoc",
    "EncodedGradientDescent": "encoded_gd",
    "EnsembleEvaluator": "ensemble_evaluation",
    "GradientRound": "encoded_gd",
    "AgreedClipping": "clipping_agreement",
    "RampKrumRound": "ramp_krum",
    "RampSharedMultiKrum": "ramp_krum",
    "Retrained": "retraining",
    "RobustALCC": "robust_alcc",
    "RoundRecord": "rounds",
    "RuleAggregation": "rule_aggregation",
    "ValidatedReplies": "validated",
    "decoded_evaluate_fn": "coded_subset",
    "model_predictor": "ensemble_evaluation",
    "retrain_without": "retraining",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found
