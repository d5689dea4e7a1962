"""The master of encoded gradient descent: deal shares one by one, verify and decode answers.

What one iteration multiplies, and when, is a *step*
(:mod:`flower_coded.protocols.encoded_gradient.step_size_rules`); this module turns each product's answers
into the result, a bound of its error, and a record of who was missing, malformed or lying. An answer of the
wrong shape, or with NaN or infinity, is an erasure like one that never came, and is attributed. Workers
located in the last product are tried last in the next; nobody is banned, because the paper's adversary may
pick others at every iteration.

**Memory.** The table is read in chunks (:class:`~flower_coded.protocols.encoded_gradient.table.Table`), a
share is encoded for one worker at a time, and the keys are made in one pass: beside the table there is one
share and the keys; with a memory map, one chunk instead of the table.

**Keys and liars who adapt.** All workers of a matrix share the secret of its keys. Whoever is caught
narrowly may have learned something, so all keys are drawn anew at once, in one pass over the table, and his
answers are not used any more: they are compared with the result, which takes no secret. He comes back,
under the new keys, when fewer than ``q`` others answer rightly. See
:mod:`flower_coded.codes.real.verification_keys`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.array_namespace import to_numpy
from flower_coded.codes.real.real_error_locating import DecodedProduct, RealErrorLocatingCode
from flower_coded.errors import DecodingError, ParameterError
from flower_coded.protocols.encoded_gradient.coded_product import (
    CodedMatrix,
    RefusedProductError,
    Verification,
    secret_code,
)
from flower_coded.protocols.encoded_gradient.messages import Answer, Appended, Product, Share
from flower_coded.protocols.encoded_gradient.table import Table

__all__ = ["DecodedRound", "EncodedGradientMaster", "Refused"]

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]
Precision = Literal["float64", "float32"]


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
        Largest check among the answers that were used, in units of what an honest one reaches.
    error_bound : float
        Most by which ``values`` can be off in Euclidean norm, whatever the liars know.
    verification : {"keys", "code"}
        What vouched for it.
    """

    values: Reals
    located: tuple[int, ...]
    refused: tuple[Refused, ...]
    residual: float
    error_bound: float
    verification: Verification


class EncodedGradientMaster:
    """Hold the table, deal encoded shares of it, verify and decode.

    Parameters
    ----------
    code : RealErrorLocatingCode
        Sizes; the basis, or the order of the workers, is drawn for this master alone.
    table : Table
    verification : {"keys", "code"}
        See :mod:`flower_coded.protocols.encoded_gradient.coded_product`.
    accuracy : float
        Results whose error bound exceeds this part of their terms are refused.
    num_batches : int
        Parts of the table that products may be asked for alone.
    precision : {"float64", "float32"}
        Of the shares: float32 halves memory and traffic. Honest results keep about six digits, and three are
        guaranteed against liars: ``accuracy`` must be at least 0.01.
    device : str
        Where shares are encoded: "" for NumPy, or a torch device, "cpu" or "cuda"; the same results to
        rounding.
    num_key_rows : int
        Rows of the secret. Two check twice as fast and state bounds 800 times as large as four.
    random : numpy.random.Generator, optional
        Draws the keys in tests; the system otherwise.

    Examples
    --------
    >>> from flower_coded.protocols.encoded_gradient.worker import answer
    >>> features, targets = np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 1.0, 1.0])
    >>> master, shares = EncodedGradientMaster.begin(RealErrorLocatingCode(5, 1), features, targets)
    >>> product = Product(2, np.array([1.0, 0.0, -1.0]))
    >>> answers = [answer(share, product) for share in shares[:3]]
    >>> answers += [Answer(3, np.array([7.0])), Answer(4, np.array([9.0]))]
    >>> decoded = master.decode(product, answers)
    >>> decoded.values.round(9), decoded.located, decoded.verification
    (array([-2.]), (3, 4), 'keys')
    """

    def __init__(
        self,
        code: RealErrorLocatingCode,
        table: Table,
        *,
        verification: Verification = "keys",
        accuracy: float = 1e-6,
        num_batches: int = 1,
        precision: Precision = "float64",
        device: str = "",
        num_key_rows: int = 4,
        random: np.random.Generator | None = None,
    ) -> None:
        if precision not in ("float64", "float32"):
            raise ParameterError("precision", "must be 'float64' or 'float32'", precision)
        if not 0 < accuracy < 1 or (precision == "float32" and accuracy < 0.01):
            raise ParameterError(
                "accuracy", "must be between 0 and 1, and at least 0.01 with float32", accuracy
            )
        most = code.num_blocks(table.num_rows)
        if not 1 <= num_batches <= most:
            raise ParameterError("num_batches", f"must be from 1 to the {most} blocks", num_batches)
        self.code, self.table = secret_code(code, verification), table
        self.verification, self.accuracy, self.device = verification, accuracy, device
        self.num_key_rows = num_key_rows
        self.precision = np.dtype(precision)
        edges = np.arange(num_batches) * most // num_batches * code.block_size
        self._batches, self._random = tuple(int(edge) for edge in edges), random
        self.suspects: dict[int, Flags] = {}
        self.suspended = np.zeros(code.num_workers, dtype=bool)
        self.num_key_draws = 0
        self._read_table()

    @classmethod
    def begin(
        cls, code: RealErrorLocatingCode, features: Any, targets: Any, **options: Any
    ) -> tuple[EncodedGradientMaster, list[Share]]:
        """Make a master and deal to all workers at once, where memory does not matter; arguments as above."""
        master = cls(code, Table(features, targets), **options)
        return master, [master.deal(worker) for worker in range(code.num_workers)]

    @property
    def targets(self) -> Reals:
        """``y``."""
        return self.table.targets

    @property
    def batches(self) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """Rows of the table and rows of the shares of each batch."""
        return [(self.first.row_range(b), self.first.block_range(b)) for b in range(len(self._batches))]

    def deal(self, worker: int) -> Share:
        """Encode one worker's share, of all data points so far.

        Parameters
        ----------
        worker : int

        Returns
        -------
        Share
        """
        size, (num_rows, num_columns) = self.code.block_size, (self.table.num_rows, self.table.num_columns)
        first = np.zeros((self.code.num_blocks(num_rows), num_columns + 1), self.precision)
        second = np.empty((self.code.num_blocks(num_columns), num_rows), self.precision)
        for start, rows in self._chunks():
            # A chunk begins where a block does, except after an append: then its first block is added to.
            block, position = divmod(start, size)
            both = np.column_stack([rows, -self.targets[start : start + len(rows)]])
            if position:
                both = np.concatenate([np.zeros((position, num_columns + 1)), both])
            encoded = self._encode(worker, both)
            first[block : block + len(encoded)] += encoded.astype(self.precision, copy=False)
            second[:, start : start + len(rows)] = self._encode(worker, rows.T)
        return Share(worker, first, second)

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
            If more workers lie or are missing than can be tolerated, or the result is not accurate enough.
        """
        coded = self.first if product.which == 1 else self.second
        received, refused = _gather(
            answers, self.code.num_workers, self.answer_length(product), self.precision
        )
        erased = np.zeros(self.code.num_workers, dtype=bool)
        erased[[each.worker for each in refused]] = True
        try:
            decoded = self._decode(coded, product, received, erased)
        except RefusedProductError as refusal:
            self._suspend(refusal.narrow)
            raise
        located = decoded.location.corrupt
        self.suspects[product.which] = located | (self.suspects.get(product.which, False) & erased)
        self._suspend(decoded.narrow)
        return DecodedRound(
            decoded.values,
            tuple(np.flatnonzero(located).tolist()),
            tuple(refused),
            decoded.location.residual,
            decoded.error_bound,
            decoded.verification,
        )

    def answer_length(self, product: Product) -> int:
        """Numbers in an honest answer."""
        if product.which == 2:
            return self.second.num_blocks
        return (product.stop or self.first.num_blocks) - product.start

    @property
    def num_numbers(self) -> int:
        """Numbers in each worker's share."""
        return sum(each.num_blocks * each.num_columns for each in (self.first, self.second))

    def append(self, features: Any, targets: Any) -> list[Appended]:
        """Append data points, at a cost of ``O((2 t + s + 1) d)`` each.

        Parameters
        ----------
        features : array-like of shape (k, d)
        targets : array-like of shape (k,)

        Returns
        -------
        list of Appended
            One per worker.
        """
        rows, values = self.table.append(features, targets)
        block, additions = self.first.append_rows(np.column_stack([rows, -values]))
        columns = self.second.append_columns(rows.T)
        return [Appended(i, block, additions[i], columns[i]) for i in range(self.code.num_workers)]

    def _decode(self, coded: CodedMatrix, product: Product, received: Reals, erased: Flags) -> DecodedProduct:
        """Decode; where too few are left, hear those again who were caught narrowly."""
        arguments: dict[str, Any] = {"erased": erased, "suspects": self.suspects.get(product.which)}
        if product.which == 1:
            arguments["batch"] = product.batch
        else:
            arguments["columns"] = slice(product.start, product.stop or None)
        try:
            return coded.decode(received, product.vector, suspended=self.suspended, **arguments)
        except DecodingError:
            if not self.suspended.any():
                raise
            self.suspended[:] = False  # the keys have been drawn anew since they were caught
            return coded.decode(received, product.vector, **arguments)

    def _suspend(self, narrow: Flags | None) -> None:
        """Draw all keys anew after narrow catches, whether or not the product could be decoded."""
        if narrow is not None and narrow.any():
            self.suspended |= narrow
            self._read_table()

    def _read_table(self) -> None:
        """Draw keys and take the norms of both matrices in one pass."""
        num_rows, num_columns = self.table.num_rows, self.table.num_columns
        options: dict[str, Any] = {
            "verification": self.verification,
            "accuracy": self.accuracy,
            "num_key_rows": self.num_key_rows,
            "worker_unit": float(np.finfo(self.precision).eps) / 2,
            "random": self._random,
        }
        first = CodedMatrix(self.code, num_rows, num_columns + 1, batches=self._batches, **options)
        second = CodedMatrix(self.code, num_columns, num_rows, is_wide=True, **options)
        for start, rows in self._chunks():
            first.add_rows(start, np.column_stack([rows, -self.targets[start : start + len(rows)]]))
            second.add_columns(rows.T, first=start)
        self.first, self.second = first, second
        self.num_key_draws += 1

    def _chunks(self) -> Iterator[tuple[int, Reals]]:
        return self.table.chunks(self.code.block_size)

    def _encode(self, worker: int, matrix: Reals) -> Reals:
        """Encode for one worker, on the device of the setting."""
        if not self.device:
            return np.asarray(self.code.encode_for(worker, matrix))
        import torch  # only where somebody asked for it

        moved = torch.from_numpy(np.ascontiguousarray(matrix)).to(self.device)
        encoded: Reals = to_numpy(self.code.encode_for(worker, moved))
        return encoded


def _gather(
    answers: Iterable[Answer], num_workers: int, length: int, precision: np.dtype[Any]
) -> tuple[Reals, list[Refused]]:
    """Lay usable answers side by side, shape (m, p), and say who has none."""
    received = np.empty((num_workers, length))
    reasons = dict.fromkeys(range(num_workers), "no answer in time")
    for each in answers:
        if reasons.get(each.worker) != "no answer in time":
            continue
        values = np.asarray(each.values)
        if values.shape != (length,):
            reasons[each.worker] = f"shape {values.shape} instead of ({length},)"
        elif values.dtype not in (np.float64, precision):
            reasons[each.worker] = f"dtype {values.dtype} instead of {precision}"
        elif not np.isfinite(values).all():
            reasons[each.worker] = "NaN or infinity"
        else:
            received[each.worker] = values
            del reasons[each.worker]
    for worker in reasons:
        received[worker] = 0.0
    return received, [Refused(worker, reasons[worker]) for worker in sorted(reasons)]
