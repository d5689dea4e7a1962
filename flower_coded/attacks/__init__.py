"""Attacks on data, updates, replies and protocols, each with its threat model; one registry of names."""

from flower_coded.attacks.adversarial_trigger import AdversarialTrigger
from flower_coded.attacks.crafting import IneffectiveAttackWarning, Memory, StatefulAttack, UpdateAttack
from flower_coded.attacks.data import Backdoor, DataAttack, LabelFlip, Poisoned, draw_backdoor, poison
from flower_coded.attacks.edge_case import EdgeCase, tail_samples
from flower_coded.attacks.krum_attack import KrumAttack
from flower_coded.attacks.mimic import Mimic
from flower_coded.attacks.optimized_factor import OptimizedInnerProduct, OptimizedLittleIsEnough
from flower_coded.attacks.optimized_perturbation import PERTURBATIONS, MinMax, MinSum
from flower_coded.attacks.poisoned_update import ModelReplacement, Neurotoxin, NormProjection
from flower_coded.attacks.registry import ATTACKS, AttackRow, Colluders, DataTask
from flower_coded.attacks.replies import LateAnswer, MalformedArrays, MalformedMetrics, NoAnswer, ReplyAttack
from flower_coded.attacks.selective_poisoning import SelectivePlan, plan_selective_poisoning
from flower_coded.attacks.tailored_perturbation import TailoredPerturbation
from flower_coded.attacks.three_d_fed import ThreeDFed
from flower_coded.attacks.triggers import (
    BlendedTrigger,
    DistributedTrigger,
    PixelTrigger,
    Trigger,
    TriggersInTurn,
)
from flower_coded.attacks.trimmed_mean_attack import TrimmedMeanAttack
from flower_coded.attacks.updates import (
    ALittleIsEnough,
    GaussianNoise,
    InnerProductManipulation,
    NotANumber,
    SignFlip,
    little_is_enough_z,
)

__all__ = [
    "ATTACKS",
    "PERTURBATIONS",
    "ALittleIsEnough",
    "AdversarialTrigger",
    "AttackRow",
    "Backdoor",
    "BlendedTrigger",
    "Colluders",
    "DataAttack",
    "DataTask",
    "DistributedTrigger",
    "EdgeCase",
    "GaussianNoise",
    "IneffectiveAttackWarning",
    "InnerProductManipulation",
    "KrumAttack",
    "LabelFlip",
    "LateAnswer",
    "MalformedArrays",
    "MalformedMetrics",
    "Memory",
    "Mimic",
    "MinMax",
    "MinSum",
    "ModelReplacement",
    "Neurotoxin",
    "NoAnswer",
    "NormProjection",
    "NotANumber",
    "OptimizedInnerProduct",
    "OptimizedLittleIsEnough",
    "PixelTrigger",
    "Poisoned",
    "ReplyAttack",
    "SelectivePlan",
    "SignFlip",
    "StatefulAttack",
    "TailoredPerturbation",
    "ThreeDFed",
    "Trigger",
    "TriggersInTurn",
    "TrimmedMeanAttack",
    "UpdateAttack",
    "draw_backdoor",
    "little_is_enough_z",
    "plan_selective_poisoning",
    "poison",
    "tail_samples",
]
