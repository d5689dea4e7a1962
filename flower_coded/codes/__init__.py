"""Codes as pure mathematics on NumPy arrays: neither Flower nor torch is needed.

**Which user trains which model.** ``subset_code`` and ``guarantees`` say what a code is and withstands;
``constructions``, ``tracking``, ``two_stage``, ``known_codes`` make one (with ``covering``, ``geometries``,
``stretching``, ``row_search``, ``column_search``, ``separable`` below them, and ``bounds``, ``feasibility``,
``trade_off`` beside); ``decoders`` reads an ensemble out (``majority``, ``subset_decoder``,
``covering_decoder``, ``joint_decoder``), ``accusation`` names users and ``certificates`` certify.

**Products from workers who lie.** ``real_error_locating`` (with ``locator_matrix``, ``error_location``,
``staged_location``, ``column_sums``) and ``analog_lagrange``, ``dft_code`` (with ``dft_localization``,
``dft_correction``, ``index_assignment``, ``analog_privacy``) are codes over the reals; ``verification_keys``,
``coded_keys`` and ``summation`` check a worker without any code.

**Classes as codewords.** ``output_code``.
"""

from flower_coded.codes.after_naming import Exclusion, Verdict, exclude_named, judge_retrained
from flower_coded.codes.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.bounds import correction_bound, detection_bound, tracking_bound
from flower_coded.codes.certificates import (
    CollectiveCertificate,
    CoveringCertificates,
    collective_certificate,
    covering_certificates,
    flcert_random,
    vote_certificates,
)
from flower_coded.codes.confusion import confusion_counts
from flower_coded.codes.constructions import (
    backdoor_correction_code,
    backdoor_detection_code,
    partition_code,
    random_code,
)
from flower_coded.codes.covering_decoder import CoveringDecoder
from flower_coded.codes.decoded import NOTHING_CERTIFIED, Decoded, EnsembleDecoder
from flower_coded.codes.decoders import DECODER_NAMES, DEFAULT_DECODER, make_decoder
from flower_coded.codes.dft_code import Corrected, DFTCode
from flower_coded.codes.guarantees import Guarantees
from flower_coded.codes.index_assignment import AssignmentProblem, IndexAssignment, evaluation_order
from flower_coded.codes.joint_decoder import Explanation, JointDecoder, Stream
from flower_coded.codes.majority import MajorityDecoder, MajorityVote, certified_against, majority_vote
from flower_coded.codes.output_code import OutputCode, Separation
from flower_coded.codes.real_error_locating import DecodedProduct, RealErrorLocatingCode
from flower_coded.codes.separable import kautz_singleton_matrix, separable_matrix
from flower_coded.codes.subset_code import SubsetCode, Verification
from flower_coded.codes.subset_decoder import SubsetDecoder
from flower_coded.codes.tracking import backdoor_tracking_code
from flower_coded.codes.trade_off import TradeOff, build_code, explore_trade_off
from flower_coded.codes.two_stage import TwoStageTracking, two_stage_tracking
from flower_coded.codes.verification_keys import KeyCheck, VerificationKey
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
    "separable_matrix",
    "tracking_bound",
    "two_stage_tracking",
    "vote_certificates",
]
