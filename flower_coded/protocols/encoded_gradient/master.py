"""The master of encoded gradient descent: encode once, then judge and decode the answers to each product.

What one iteration multiplies, and when, is a *step*
(:mod:`flower_coded.protocols.encoded_gradient.steppers`); this module turns each product's answers into
the exact result and a record of who was missing, malformed or lying. An answer of the wrong shape, or
with NaN or infinity, is an erasure like one that never came, and is attributed. Workers located in the
last product are tried first in the next, which halves the work when they keep lying and costs one pass
when they do not; no worker is banned, because the paper's adversary may pick others at every iteration.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.real_error_locating import RealErrorLocatingCode
from flower_coded.errors import ParameterError
from flower_coded.protocols.encoded_gradient.coded_product import CodedMatrix, encode_matrix
from flower_coded.protocols.encoded_gradient.messages import Answer, Appended, Product, Share

__all__ = ["DecodedRound", "EncodedGradientMaster", "Refused"]

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Refused:
    """An answer that was not used as it was, and why.

    Parameters
    ----------
    worker : int
    reason : str
        In words; ``"no answer in time"`` for none.
    """

    worker: int
    reason: str


@dataclass(frozen=True, eq=False)
class DecodedRound:
    """One product, decoded.

    Parameters
    ----------
    values : ndarray of shape (n,) or (d,), float64
        ``X w - y`` or ``X^T r``.
    located : tuple of int
        Workers whose answer deviated from the product.
    refused : tuple of Refused
        Workers without a usable answer.
    residual : float
        Largest remaining syndrome in units of the tolerance, at most 1.
    num_stages : int
        Times the decoder had to look for liars; 0 where the suspects explained everything.
    """

    values: Reals
    located: tuple[int, ...]
    refused: tuple[Refused, ...]
    residual: float
    num_stages: int


@dataclass(eq=False)
class EncodedGradientMaster:
    """Encode the data, keep what decoding needs, and decode.

    Parameters
    ----------
    code : RealErrorLocatingCode
    features : ndarray of shape (n, d), float64
        ``X``.
    targets : ndarray of shape (n,), float64
        ``y``.

    Examples
    --------
    >>> from flower_coded.protocols.encoded_gradient.worker import answer
    >>> features, targets = np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 1.0, 1.0])
    >>> master, shares = EncodedGradientMaster.begin(RealErrorLocatingCode(5, 1), features, targets)
    >>> product = Product(2, np.array([1.0, 0.0, -1.0]))
    >>> answers = [answer(share, product) for share in shares[:4]] + [Answer(4, np.array([9.0]))]
    >>> decoded = master.decode(product, answers)
    >>> decoded.values.round(9), decoded.located
    (array([-2.]), (4,))
    """

    code: RealErrorLocatingCode
    targets: Reals
    first: CodedMatrix
    second: CodedMatrix
    suspects: dict[int, NDArray[np.bool_]] = field(init=False, default_factory=dict)

    @classmethod
    def begin(
        cls, code: RealErrorLocatingCode, features: Reals, targets: Reals
    ) -> tuple[EncodedGradientMaster, list[Share]]:
        """Encode ``[X, -y]`` and ``X^T``.

        Returns
        -------
        master : EncodedGradientMaster
        shares : list of Share
            One per worker, in order.

        Raises
        ------
        ParameterError
            If features and targets do not fit each other.
        """
        if features.ndim != 2 or targets.shape != features.shape[:1]:
            raise ParameterError(
                "targets", f"must have one entry per row of the features {features.shape}", targets.shape
            )
        first, first_shares = encode_matrix(code, np.column_stack([features, -targets]))
        second, second_shares = encode_matrix(code, features.T)
        shares = [
            Share(worker, *both) for worker, both in enumerate(zip(first_shares, second_shares, strict=True))
        ]
        return cls(code, targets.copy(), first, second), shares

    def decode(self, product: Product, answers: Iterable[Answer]) -> DecodedRound:
        """Judge every answer alone and decode the product.

        Parameters
        ----------
        product : Product
            What was asked.
        answers : iterable of Answer
            What came in time, in any order; of several by one worker the first counts.

        Returns
        -------
        DecodedRound

        Raises
        ------
        DecodingError
            If more workers lie or are missing than the code corrects.
        """
        coded = self.first if product.which == 1 else self.second
        received, refused = _gather(answers, self.code.num_workers, coded.num_blocks)
        erased = np.zeros(self.code.num_workers, dtype=bool)
        erased[[each.worker for each in refused]] = True
        suspects = self.suspects.get(product.which)
        decoded = coded.decode(received, product.vector, erased=erased, suspects=suspects)
        self.suspects[product.which] = decoded.location.corrupt
        located = tuple(np.flatnonzero(decoded.location.corrupt).tolist())
        return DecodedRound(
            decoded.values, located, tuple(refused), decoded.location.residual, decoded.location.num_stages
        )

    def share_of(self, worker: int, features: Reals) -> Share:
        """Encode one worker's share again, from all data points so far.

        Parameters
        ----------
        worker : int
        features : ndarray of shape (n, d), float64
            All of them, in order.

        Returns
        -------
        Share
        """
        both = np.column_stack([features, -self.targets])
        return Share(worker, self.code.encode_for(worker, both), self.code.encode_for(worker, features.T))

    def append(self, features: Reals, target: float) -> list[Appended]:
        """Append one data point at a cost of ``O((2 t + s + 1) d)``.

        Parameters
        ----------
        features : ndarray of shape (d,), float64
        target : float

        Returns
        -------
        list of Appended
            One per worker.
        """
        self.first, block, rows = self.first.append_row(np.append(features, -target))
        self.second, columns = self.second.append_column(features)
        self.targets = np.append(self.targets, target)
        return [Appended(i, block, rows[i], columns[i]) for i in range(self.code.num_workers)]


def _gather(answers: Iterable[Answer], num_workers: int, length: int) -> tuple[Reals, list[Refused]]:
    """Lay usable answers side by side, shape (m, p), and say who has none."""
    received = np.empty((num_workers, length))
    reasons = dict.fromkeys(range(num_workers), "no answer in time")
    for each in answers:
        if reasons.get(each.worker) != "no answer in time":
            continue
        values = np.asarray(each.values)
        if values.shape != (length,):
            reasons[each.worker] = f"shape {values.shape} instead of ({length},)"
        elif values.dtype != np.float64:
            reasons[each.worker] = f"dtype {values.dtype} instead of float64"
        elif not np.isfinite(values).all():
            reasons[each.worker] = "NaN or infinity"
        else:
            received[each.worker] = values
            del reasons[each.worker]
    for worker in reasons:
        received[worker] = 0.0
    return received, [Refused(worker, reasons[worker]) for worker in sorted(reasons)]
