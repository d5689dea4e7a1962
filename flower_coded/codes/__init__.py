"""Codes as pure mathematics on NumPy arrays: neither Flower nor torch is needed.

``subset`` holds the codes over users (which user trains which model, and how the ensemble is read out),
``real`` the codes over the reals (products from workers who lie); ``output_code`` has classes as codewords.
Everything public is exported here.
"""

from flower_coded.codes.output_code import OutputCode, Separation
from flower_coded.codes.real.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.real.dft_code import Corrected, DFTCode
from flower_coded.codes.real.index_assignment import AssignmentProblem, IndexAssignment, evaluation_order
from flower_coded.codes.real.real_error_locating import DecodedProduct, RealErrorLocatingCode
from flower_coded.codes.real.verification_keys import KeyCheck, VerificationKey
from flower_coded.codes.subset.after_naming import Exclusion, Verdict, exclude_named, judge_retrained
from flower_coded.codes.subset.bounds import correction_bound, detection_bound, tracking_bound
from flower_coded.codes.subset.certificates import (
    CollectiveCertificate,
    CoveringCertificates,
    collective_certificate,
    covering_certificates,
    flcert_random,
    vote_certificates,
)
from flower_coded.codes.subset.confusion import confusion_counts
from flower_coded.codes.subset.constructions import (
    backdoor_correction_code,
    backdoor_detection_code,
    partition_code,
    random_code,
)
from flower_coded.codes.subset.covering_decoder import CoveringDecoder
from flower_coded.codes.subset.decoded import NOTHING_CERTIFIED, Decoded, EnsembleDecoder
from flower_coded.codes.subset.decoders import (
    DECODER_NAMES,
    DEFAULT_DECODER,
    calibrated_options,
    make_decoder,
)
from flower_coded.codes.subset.guarantees import Guarantees
from flower_coded.codes.subset.joint_decoder import Explanation, JointDecoder, Stream
from flower_coded.codes.subset.majority import MajorityDecoder, MajorityVote, certified_against, majority_vote
from flower_coded.codes.subset.reliability import Reliability, reliability
from flower_coded.codes.subset.separable import kautz_singleton_matrix, separable_matrix
from flower_coded.codes.subset.subset_code import SubsetCode, Verification
from flower_coded.codes.subset.subset_decoder import SubsetDecoder
from flower_coded.codes.subset.tracking import backdoor_tracking_code
from flower_coded.codes.subset.trade_off import TradeOff, build_code, explore_trade_off
from flower_coded.codes.subset.two_stage import TwoStageTracking, two_stage_tracking
from flower_coded.crypto.reed_solomon import DecodedColumns, DecodedWord, ReedSolomonCode

__all__ = [
    "DECODER_NAMES",
    "DEFAULT_DECODER",
    "NOTHING_CERTIFIED",
    "AnalogLagrangeCode",
    "AssignmentProblem",
    "CollectiveCertificate",
    "Corrected",
    "CoveringCertificates",
    "CoveringDecoder",
    "DFTCode",
    "Decoded",
    "DecodedColumns",
    "DecodedProduct",
    "DecodedWord",
    "EnsembleDecoder",
    "Exclusion",
    "Explanation",
    "Guarantees",
    "IndexAssignment",
    "JointDecoder",
    "KeyCheck",
    "MajorityDecoder",
    "MajorityVote",
    "OutputCode",
    "RealErrorLocatingCode",
    "ReedSolomonCode",
    "Reliability",
    "Separation",
    "Stream",
    "SubsetCode",
    "SubsetDecoder",
    "TradeOff",
    "TwoStageTracking",
    "Verdict",
    "Verification",
    "VerificationKey",
    "backdoor_correction_code",
    "backdoor_detection_code",
    "backdoor_tracking_code",
    "build_code",
    "calibrated_options",
    "certified_against",
    "collective_certificate",
    "confusion_counts",
    "correction_bound",
    "covering_certificates",
    "detection_bound",
    "evaluation_order",
    "exclude_named",
    "explore_trade_off",
    "flcert_random",
    "judge_retrained",
    "kautz_singleton_matrix",
    "majority_vote",
    "make_decoder",
    "partition_code",
    "random_code",
    "reliability",
    "separable_matrix",
    "tracking_bound",
    "two_stage_tracking",
    "vote_certificates",
]
