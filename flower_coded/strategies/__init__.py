"""Flower strategies: the five coded systems, aggregation rules, and a judge before any Flower strategy."""

from flower_coded.strategies.coded_subset import CodedSubsetAggregation
from flower_coded.strategies.contrastive_ecoc import ContrastiveECOC
from flower_coded.strategies.encoded_gd import EncodedGradientDescent, GradientRound
from flower_coded.strategies.ensemble_evaluation import EnsembleEvaluator, model_predictor
from flower_coded.strategies.judged import JudgedReplies
from flower_coded.strategies.ramp_krum import RampKrumRound, RampSharedMultiKrum
from flower_coded.strategies.robust_alcc import ComputationRound, RobustALCC
from flower_coded.strategies.rule_aggregation import RuleAggregation

__all__ = [
    "CodedSubsetAggregation",
    "ComputationRound",
    "ContrastiveECOC",
    "EncodedGradientDescent",
    "EnsembleEvaluator",
    "GradientRound",
    "JudgedReplies",
    "RampKrumRound",
    "RampSharedMultiKrum",
    "RobustALCC",
    "RuleAggregation",
    "model_predictor",
]
