"""Flower strategies: the five coded systems, aggregation rules, and any Flower strategy behind validation."""

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
