"""The master's side: deal shares, judge results one by one, locate liars, decode, state the error.

The data leaves the master only as shares. What comes back is judged result by result: one of the wrong shape,
of the wrong type or not finite costs its sender the place and counts as missing. ``A`` liars and ``s``
missing results are survived as long as ``2A + s ≤ N - K``; past that the residual test fails and
:class:`~flower_coded.errors.DecodingError` is raised instead of returning something wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flower_coded.codes.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.dft_code import DFTCode
from flower_coded.errors import ParameterError
from flower_coded.protocols.analog_computing.functions import get_function
from flower_coded.protocols.analog_computing.messages import Outcome, Refused, Request, Share
from flower_coded.protocols.analog_computing.precision import (
    Precision,
    error_amplification,
    measure_precision,
)

__all__ = ["AnalogMaster"]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]

_MOST_ABOVE_MEDIAN = 1e15
"""Honest results have one size; beyond this many times the median not even rounding of the others is left."""


@dataclass(frozen=True, eq=False)
class AnalogMaster:
    """Who holds the data.

    Parameters
    ----------
    code : AnalogLagrangeCode
        Encoder for ``N`` workers; its degree bounds that of every function asked for.
    block_shape : tuple of (int, int)
        Rows and columns of a block.
    data_scale : float
        Standard deviation of the data, for measuring rounding noise.
    evaluation_order : ndarray of shape (N,), int, optional
        Evaluation index of each worker (:func:`~flower_coded.codes.index_assignment.evaluation_order`); the
        identity if absent.
    unreliable : ndarray of shape (N,), bool, optional
        Workers that may lie; all if absent.

    Examples
    --------
    >>> code = AnalogLagrangeCode(num_workers=11, num_blocks=3, num_colluders=1)
    >>> master = AnalogMaster(code, (20, 4))
    >>> blocks = np.random.default_rng(0).standard_normal((3, 20, 4))
    >>> shares = master.deal(blocks)
    >>> results = {share.worker: share.block.T @ share.block for share in shares}
    >>> results[7] = results[7] + 1.0                                            # a liar
    >>> outcome = master.decode(Request("gram"), results)
    >>> outcome.liars, bool(abs(outcome.values[0] - blocks[0].T @ blocks[0]).max() < 1e-4)
    ((7,), True)
    """

    code: AnalogLagrangeCode
    block_shape: tuple[int, int]
    data_scale: float = 1.0
    evaluation_order: IntArray | None = None
    unreliable: BoolArray | None = None
    _precision: dict[str, Precision] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check that the order is one and that lies can be told from the truth."""
        if self.code.dimension >= self.code.num_workers:
            raise ParameterError(
                "code", "must have more workers than it needs results, to tell lies", self.code.num_workers
            )
        if sorted(self._order.tolist()) != list(range(self.code.num_workers)):
            raise ParameterError(
                "evaluation_order", "must name every evaluation index once", self._order.tolist()
            )
        if self.unreliable is not None and self.unreliable.shape != (self.code.num_workers,):
            raise ParameterError(
                "unreliable", f"must have shape ({self.code.num_workers},)", self.unreliable.shape
            )

    @property
    def dft_code(self) -> DFTCode:
        """The code that results of functions of the full degree belong to."""
        return DFTCode(self.code.num_workers, self.code.dimension)

    def deal(self, blocks: FloatArray, generator: np.random.Generator | None = None) -> list[Share]:
        """Encode the blocks, one share per worker.

        Parameters
        ----------
        blocks : ndarray of shape (k, rows, columns), float64
            The private data.
        generator : numpy.random.Generator, optional
            For experiments. Without it the hiding noise comes from the system's random source.

        Returns
        -------
        list of Share
            In order of worker.
        """
        if blocks.shape != (self.code.num_blocks, *self.block_shape):
            raise ParameterError(
                "blocks", f"must have shape {(self.code.num_blocks, *self.block_shape)}", blocks.shape
            )
        encoded = self.code.encode(blocks, generator=generator)
        return [Share(worker, encoded[index]) for worker, index in enumerate(self._order)]

    def decode(self, request: Request, results: Mapping[int, np.ndarray[Any, Any]]) -> Outcome:
        """Locate liars and rebuild the function's value at every block.

        Parameters
        ----------
        request : Request
            What was asked.
        results : mapping of int to ndarray
            What came, by worker; absent workers are missing.

        Returns
        -------
        Outcome

        Raises
        ------
        DecodingError
            If no ``A`` liars with ``2A + s ≤ N - K`` explain the results.
        ParameterError
            If the function is unknown, of too large a degree, or no polynomial of the degree it states.
        """
        precision = self.precision(request)
        accepted, refused = _judge(results, precision.noise_std.shape, self.code.num_workers)
        noise_std = precision.for_results(np.array(list(accepted.values())))
        words = np.zeros((self.code.num_workers, noise_std.size), dtype=np.complex128)
        erased = np.ones(self.code.num_workers, dtype=bool)
        for worker, values in accepted.items():
            words[self._order[worker]] = values.ravel()
            erased[self._order[worker]] = False
        candidates = None if self.unreliable is None else self._by_index(self.unreliable)
        corrected = self.dft_code.decode(
            words, noise_std=noise_std.ravel(), erased=erased, candidates=candidates
        )
        kept = ~(corrected.located | erased)
        values = self.code.reconstruct(words, kept).reshape(-1, *noise_std.shape)
        error_std = error_amplification(self.code, kept)[:, None, None] * noise_std
        return Outcome(
            values=values,
            error_std=error_std,
            liars=self._workers_at(corrected.located),
            missing=self._workers_at(erased),
            refused=refused,
            residual=float(corrected.residual),
        )

    def precision(self, request: Request) -> Precision:
        """Give the rounding noise of the results; checks the function the first time it is asked for."""
        key = f"{request.function}/{None if request.parameters is None else request.parameters.tobytes()!r}"
        if key not in self._precision:
            function = get_function(request.function)
            if function.degree > self.code.degree:
                raise ParameterError(
                    "function", f"must have degree at most {self.code.degree}, the code's", function.degree
                )
            function.verify(self.block_shape, request.parameters)
            self._precision.clear()
            self._precision[key] = measure_precision(
                self.code,
                function,
                self.block_shape,
                data_scale=self.data_scale,
                parameters=request.parameters,
            )
        return self._precision[key]

    @property
    def _order(self) -> IntArray:
        return np.arange(self.code.num_workers) if self.evaluation_order is None else self.evaluation_order

    def _by_index(self, of_workers: BoolArray) -> BoolArray:
        """Reorder flags of workers by evaluation index."""
        flags = np.zeros(self.code.num_workers, dtype=bool)
        flags[self._order] = of_workers
        return flags

    def _workers_at(self, of_indices: BoolArray) -> tuple[int, ...]:
        """Name the workers whose evaluation index is flagged."""
        return tuple(int(worker) for worker in np.flatnonzero(of_indices[self._order]))


def _judge(
    results: Mapping[int, np.ndarray[Any, Any]], shape: tuple[int, ...], num_workers: int
) -> tuple[dict[int, ComplexArray], tuple[Refused, ...]]:
    """Sort results into usable ones and refused ones."""
    accepted: dict[int, ComplexArray] = {}
    refused = []
    for worker, values in sorted(results.items()):
        if not 0 <= worker < num_workers:
            refused.append(Refused(worker, "is not one of the workers"))
        elif values.shape != shape:
            refused.append(Refused(worker, f"sent shape {values.shape}, expected {shape}"))
        elif values.dtype not in (np.complex128, np.float64):
            refused.append(Refused(worker, f"sent {values.dtype}, expected complex128"))
        elif not np.isfinite(values).all():
            refused.append(Refused(worker, "sent NaN or infinity"))
        else:
            accepted[worker] = values.astype(np.complex128)
    sizes = {worker: float(abs(values).max(initial=0.0)) for worker, values in accepted.items()}
    largest = _MOST_ABOVE_MEDIAN * float(np.median(list(sizes.values()) or [0.0]))
    for worker in [worker for worker, size in sizes.items() if size > largest]:
        del accepted[worker]
        refused.append(Refused(worker, f"sent {sizes[worker]:.1e}, far from everybody else"))
    return accepted, tuple(refused)
