"""Attacks on data, on updates and on protocols, each with its threat model."""

from flower_coded.attacks.crafting import Memory, RememberingAttack, UpdateAttack, VoidAttackWarning
from flower_coded.attacks.data import (
    TRIGGER_NAMES,
    Backdoor,
    DataAttack,
    LabelFlip,
    Poisoned,
    draw_backdoor,
    poison,
)
from flower_coded.attacks.edge_case import EdgeCase, tail_samples
from flower_coded.attacks.mimic import Mimic
from flower_coded.attacks.optimized_perturbation import PERTURBATIONS, MinMax, MinSum
from flower_coded.attacks.poisoned_update import ModelReplacement, Neurotoxin, NormProjection
from flower_coded.attacks.triggers import BlendedTrigger, DistributedTrigger, PixelTrigger, Trigger
from flower_coded.attacks.trimmed_mean_attack import TrimmedMeanAttack
from flower_coded.attacks.updates import (
    POISONED_UPDATES,
    UPDATE_ATTACKS,
    ALittleIsEnough,
    GaussianNoise,
    InnerProductManipulation,
    NotANumber,
    SignFlip,
    get_update_attack,
    little_is_enough_z,
)

__all__ = [
    "PERTURBATIONS",
    "POISONED_UPDATES",
    "TRIGGER_NAMES",
    "UPDATE_ATTACKS",
    "ALittleIsEnough",
    "Backdoor",
    "BlendedTrigger",
    "DataAttack",
    "DistributedTrigger",
    "EdgeCase",
    "GaussianNoise",
    "InnerProductManipulation",
    "LabelFlip",
    "Memory",
    "Mimic",
    "MinMax",
    "MinSum",
    "ModelReplacement",
    "Neurotoxin",
    "NormProjection",
    "NotANumber",
    "PixelTrigger",
    "Poisoned",
    "RememberingAttack",
    "SignFlip",
    "Trigger",
    "TrimmedMeanAttack",
    "UpdateAttack",
    "VoidAttackWarning",
    "draw_backdoor",
    "get_update_attack",
    "little_is_enough_z",
    "poison",
    "tail_samples",
]
