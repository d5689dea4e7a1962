"""Encoded gradient descent: exact gradients from workers of whom just under half may lie."""

from flower_coded.protocols.encoded_gradient.baselines import (
    BASELINES,
    Baseline,
    Partition,
    Repetition,
    RobustCenter,
    get_baseline,
)
from flower_coded.protocols.encoded_gradient.coded_product import (
    CodedMatrix,
    Verification,
    accuracy_without_keys,
    encode_matrix,
)
from flower_coded.protocols.encoded_gradient.evaluation import CodedEvaluator
from flower_coded.protocols.encoded_gradient.master import DecodedRound, EncodedGradientMaster, Refused
from flower_coded.protocols.encoded_gradient.messages import Answer, Appended, Product, Share
from flower_coded.protocols.encoded_gradient.objectives import (
    LeastSquares,
    Logistic,
    Objective,
    Poisson,
    get_objective,
    smoothness,
)
from flower_coded.protocols.encoded_gradient.resources import (
    Resources,
    encoded_resources,
    plain_resources,
    repetition_resources,
)
from flower_coded.protocols.encoded_gradient.simulation import (
    Descent,
    Faults,
    ask_workers,
    run_baseline,
    run_encoded,
)
from flower_coded.protocols.encoded_gradient.step_size_rules import (
    AcceleratedStep,
    BacktrackingStep,
    ConstantStep,
    DescentState,
    Evaluate,
    Evaluation,
    StepSizeRule,
    StochasticStep,
    get_step_size_rule,
    take_step,
)
from flower_coded.protocols.encoded_gradient.table import Scaling, Table, set_up_descent
from flower_coded.protocols.encoded_gradient.worker import GrowingShare, answer

__all__ = [
    "BASELINES",
    "AcceleratedStep",
    "Answer",
    "Appended",
    "BacktrackingStep",
    "Baseline",
    "CodedEvaluator",
    "CodedMatrix",
    "ConstantStep",
    "DecodedRound",
    "Descent",
    "DescentState",
    "EncodedGradientMaster",
    "Evaluate",
    "Evaluation",
    "Faults",
    "GrowingShare",
    "LeastSquares",
    "Logistic",
    "Objective",
    "Partition",
    "Poisson",
    "Product",
    "Refused",
    "Repetition",
    "Resources",
    "RobustCenter",
    "Scaling",
    "Share",
    "StepSizeRule",
    "StochasticStep",
    "Table",
    "Verification",
    "accuracy_without_keys",
    "answer",
    "ask_workers",
    "encode_matrix",
    "encoded_resources",
    "get_baseline",
    "get_objective",
    "get_step_size_rule",
    "plain_resources",
    "repetition_resources",
    "run_baseline",
    "run_encoded",
    "set_up_descent",
    "smoothness",
    "take_step",
]
