"""The decoders by name, each made from a code, confusion matrices and options of its own.

=====================  ==================================================================================
name                   what it is
=====================  ==================================================================================
``joint``              one coalition for the whole stream, obedience learned; the default
``covering``           the label that the fewest lies explain, with a certificate
``unknown-obedience``  the posterior sample by sample, a reached model obeying or not (``S = 1/2``)
``posterior``          the paper's posterior as printed (``S = 0.99``): only for attackers who poison every
                       model they belong to
``majority``           the vote of all models, with its certificate
=====================  ==================================================================================
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from numpy.typing import ArrayLike

from flower_coded.codes.subset.covering_decoder import CoveringDecoder
from flower_coded.codes.subset.decoded import EnsembleDecoder
from flower_coded.codes.subset.joint_decoder import JointDecoder, natural_evidence
from flower_coded.codes.subset.majority import MajorityDecoder
from flower_coded.codes.subset.subset_code import SubsetCode
from flower_coded.codes.subset.subset_decoder import SubsetDecoder
from flower_coded.errors import ParameterError

__all__ = ["DECODER_NAMES", "DEFAULT_DECODER", "calibrated_options", "check_decoder", "make_decoder"]

_DECODERS: dict[str, Callable[..., EnsembleDecoder]] = {
    "joint": JointDecoder,
    "covering": CoveringDecoder,
    "unknown-obedience": partial(SubsetDecoder, success_rate=0.5),
    "posterior": SubsetDecoder,
    "majority": MajorityDecoder,
}

DECODER_NAMES = tuple(_DECODERS)
DEFAULT_DECODER = "joint"


def make_decoder(
    name: str, code: SubsetCode, confusion: ArrayLike, options: Mapping[str, Any] | None = None
) -> EnsembleDecoder:
    """Make a decoder.

    Parameters
    ----------
    name : str
        One of :data:`DECODER_NAMES`.
    code : SubsetCode
        ``H``.
    confusion : array_like of shape (m, c, c)
        Confusion counts or rates of the clean models.
    options : mapping, optional
        Keyword arguments of that decoder's class.

    Returns
    -------
    EnsembleDecoder

    Raises
    ------
    ParameterError
        If there is no such decoder, it has no such option, or a value is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from flower_coded.codes.subset.constructions import backdoor_correction_code
    >>> make_decoder("covering", backdoor_correction_code(1, 2, 3), np.ones((3, 10, 10)))
    CoveringDecoder(BCC(1,2,3), 10 classes, max_attackers=1, clean_mistakes=0, attacker_cost=1.0)
    """
    check_decoder(name, options)
    return _DECODERS[name](code, confusion, **dict(options or {}))


def calibrated_options(
    name: str,
    code: SubsetCode,
    confusion: ArrayLike,
    predictions: ArrayLike,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Give a decoder's options with what it can learn of clean samples besides confusion matrices.

    Parameters
    ----------
    name, code, confusion
        As for :func:`make_decoder`.
    predictions : array_like of shape (m, B), int
        The models' answers to clean samples, such as those that ``confusion`` was counted on.
    options : mapping, optional
        The options so far; what they say stays.

    Returns
    -------
    dict
        For ``joint`` its ``natural_evidence`` and ``unseen_evidence``
        (:func:`~flower_coded.codes.subset.joint_decoder.natural_evidence`); for the others what was given.

    Examples
    --------
    >>> import numpy as np
    >>> from flower_coded.codes.subset.constructions import backdoor_correction_code
    >>> code, labels = backdoor_correction_code(1, 2, 3), np.arange(40) % 10
    >>> calibrated_options("joint", code, np.tile(4 * np.eye(10), (3, 1, 1)), np.tile(labels, (3, 1)))
    {'natural_evidence': 0.0, 'unseen_evidence': 0.1}
    """
    given = dict(options or {})
    check_decoder(name, given)
    if name != "joint" or {"natural_evidence", "unseen_evidence"} <= set(given):
        return given
    return natural_evidence(code, confusion, predictions, **given) | given


def check_decoder(name: str, options: Mapping[str, Any] | None = None) -> None:
    """Refuse a name or an option that no decoder has.

    Examples
    --------
    >>> check_decoder("majority", {"a": 1})
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: decoder option a must be among max_certified for majority; received 1
    """
    if name not in _DECODERS:
        raise ParameterError("decoder", f"must be one of {', '.join(DECODER_NAMES)}", name)
    known = [
        parameter.name
        for parameter in inspect.signature(_DECODERS[name]).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    for option, value in dict(options or {}).items():
        if option not in known:
            raise ParameterError(
                f"decoder option {option}", f"must be among {', '.join(known)} for {name}", value
            )
