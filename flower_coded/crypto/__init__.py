"""Vectors and codes over F_r, BLS12-381, commitments, ramp sharing, fixed point, encrypted shares."""

from flower_coded.crypto.backends import Backend, available_backends, get_backend
from flower_coded.crypto.commitment import Claim, Commitment, VectorCommitment
from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray
from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.crypto.reed_solomon import DecodedColumns, DecodedWord, ReedSolomonCode
from flower_coded.crypto.srs import ReferenceString, generate_reference_string
from flower_coded.crypto.srs_cache import cached_reference_string

__all__ = [
    "FIELD_MODULUS",
    "Backend",
    "Claim",
    "Commitment",
    "DecodedColumns",
    "DecodedWord",
    "FieldArray",
    "FixedPoint",
    "RampSharing",
    "ReedSolomonCode",
    "ReferenceString",
    "VectorCommitment",
    "available_backends",
    "cached_reference_string",
    "generate_reference_string",
    "get_backend",
]
