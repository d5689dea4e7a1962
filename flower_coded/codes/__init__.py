"""Codes and decoders: pure mathematics on NumPy arrays, without Flower and without torch."""

from flower_coded.codes.constructions import (
    backdoor_correction_code,
    backdoor_detection_code,
    partition_code,
    random_code,
)
from flower_coded.codes.majority import MajorityVote, certified_against, majority_vote
from flower_coded.codes.real_error_locating import DecodedProduct, RealErrorLocatingCode
from flower_coded.codes.reed_solomon import DecodedColumns, DecodedWord, ReedSolomonCode
from flower_coded.codes.subset_code import SubsetCode, Verification
from flower_coded.codes.subset_decoder import Decoded, SubsetDecoder, confusion_counts

__all__ = [
    "Decoded",
    "DecodedColumns",
    "DecodedProduct",
    "DecodedWord",
    "MajorityVote",
    "RealErrorLocatingCode",
    "ReedSolomonCode",
    "SubsetCode",
    "SubsetDecoder",
    "Verification",
    "backdoor_correction_code",
    "backdoor_detection_code",
    "certified_against",
    "confusion_counts",
    "majority_vote",
    "partition_code",
    "random_code",
]
