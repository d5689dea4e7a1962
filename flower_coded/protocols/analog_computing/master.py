"""The master's side: deal shares, judge results one by one, name liars, decode, bound the error.

The data leaves the master only as shares. What comes back is judged result by result: one of the wrong shape
or type or not finite costs its sender the place and counts as missing. Then one of two tells liars from
honest workers:

* *keys* (:mod:`.form_keys`), the default: the master dealt the shares and keeps a secret check of each. A
  liar is an erasure, whatever the others send: ``A + s ≤ N - K``. The decoded value is checked once more
  against the table itself, which bounds its error. If that is above the accuracy asked for, the results that
  fit their keys worst are set aside, as far as there are spare ones.
* the *code* ([1]_), for functions without a key, or on request: ``2A + s ≤ N - K``. A word that passes may
  be wrong at ``A`` workers that the decoder took for honest, so that the bound is that of an interpolation
  from the others, the worst ones left out.

Evaluation points are given to the workers in an order drawn in secret for each master.

References
----------
.. [1] R. Borah, J. Harshan, "Robust Analog Lagrange Coded Computing: Theory and Algorithms via Discrete
   Fourier Transforms".
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flower_coded.codes.array_namespace import Array, on_device, to_numpy
from flower_coded.codes.real.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.real.dft_code import DFTCode
from flower_coded.errors import DecodingError, ParameterError
from flower_coded.protocols.analog_computing.acceptance import (
    Verification,
    check_numbers,
    drop_far,
    usable_results,
)
from flower_coded.protocols.analog_computing.functions import QuadraticForm, get_function
from flower_coded.protocols.analog_computing.key_ring import KeyRing
from flower_coded.protocols.analog_computing.messages import Outcome, Refused, Request, Share
from flower_coded.protocols.analog_computing.placement import Placement
from flower_coded.protocols.analog_computing.planning import promised_errors
from flower_coded.protocols.analog_computing.precision import (
    Precision,
    bound_by_code,
    error_amplification,
    measure_precision,
)

__all__ = ["AnalogMaster"]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]
Results = Mapping[int, np.ndarray[Any, Any]]


@dataclass(eq=False)
class AnalogMaster:
    """Who holds the data.

    Parameters
    ----------
    code : AnalogLagrangeCode
        Encoder for ``N`` workers; its degree bounds that of every function asked for.
    block_shape : tuple of (int, int)
        Rows and columns of a block.
    verification : "keys" or "code"
        Who tells liars; the code does for functions without a key in any case.
    num_byzantine : int, optional
        ``A``, the most workers that lie; as many as can be if absent.
    num_stragglers : int
        ``s``, the most workers that may be silent at the same time.
    accuracy : float
        A result whose error bound exceeds this part of its scale is refused.
    data_scale : float
        Standard deviation of the data, for measuring rounding noise before the data is there.
    evaluation_order : ndarray of shape (N,), int, optional
        Evaluation index of each worker (:func:`~flower_coded.codes.real.index_assignment.evaluation_order`);
        a secret random order if absent.
    unreliable : ndarray of shape (N,), bool, optional
        Workers that may lie; all if absent. Only the code needs to know.
    device : str
        Where shares are made: ``"cpu"`` is NumPy, anything else a torch device, such as ``"cuda"``.

    Raises
    ------
    ParameterError
        If a number is out of range, or the workers are too few for the liars and silent ones.

    Examples
    --------
    >>> code = AnalogLagrangeCode(num_workers=11, num_blocks=3, num_colluders=1)
    >>> master = AnalogMaster(code, (20, 4))
    >>> blocks = np.random.default_rng(0).standard_normal((3, 20, 4))
    >>> results = {share.worker: share.block.T @ share.block for share in master.deal(blocks)}
    >>> results[7] = results[7] + 1.0                                            # a liar
    >>> outcome = master.decode(Request("gram"), results)
    >>> outcome.liars, outcome.vouched_by
    ((7,), 'keys')
    >>> error = np.linalg.norm(outcome.total - sum(block.T @ block for block in blocks))
    >>> bool(error < outcome.total_error_bound < 100 * error)
    True
    """

    code: AnalogLagrangeCode
    block_shape: tuple[int, int]
    verification: Verification = "keys"
    num_byzantine: int | None = None
    num_stragglers: int = 0
    accuracy: float = 1e-2
    data_scale: float = 1.0
    evaluation_order: IntArray | None = None
    unreliable: BoolArray | None = None
    device: str = "cpu"
    _precision: dict[str, Precision] = field(default_factory=dict, init=False, repr=False)
    _placement: Placement = field(init=False, repr=False)
    _keys: KeyRing | None = field(default=None, init=False, repr=False)
    _noise: tuple[Array, Array] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the numbers, and draw the order."""
        code = self.code
        if self.verification not in ("keys", "code"):
            raise ParameterError("verification", "must be 'keys' or 'code'", self.verification)
        if not self.accuracy > 0:
            raise ParameterError("accuracy", "must be positive", self.accuracy)
        if code.num_spare < 1:
            raise ParameterError(
                "code", "must have more workers than it needs results, to tell lies", code.num_workers
            )
        if not 0 <= self.num_stragglers <= code.num_spare:
            raise ParameterError(
                "num_stragglers", f"must be from 0 to N - K = {code.num_spare}", self.num_stragglers
            )
        check_numbers(code, self.num_byzantine or 0, self.num_stragglers, self.verification)
        if self.evaluation_order is None:
            # Whoever pools shares finds out where they lie relative to each other; nobody chooses where.
            order = secrets.SystemRandom().sample(range(code.num_workers), code.num_workers)
            self.evaluation_order = np.array(order)
        self._placement = Placement(code, self.evaluation_order)
        if self.unreliable is not None and self.unreliable.shape != (code.num_workers,):
            raise ParameterError(
                "unreliable", f"must have shape ({code.num_workers},)", self.unreliable.shape
            )

    @property
    def dft_code(self) -> DFTCode:
        """The code that results of functions of the full degree belong to."""
        return DFTCode(self.code.num_workers, self.code.dimension)

    def deal(
        self, blocks: np.ndarray[Any, Any], generator: np.random.Generator | None = None
    ) -> Iterator[Share]:
        """Take the data, draw the noise that hides it, and make the shares, one at a time.

        Parameters
        ----------
        blocks : ndarray of shape (k, rows, columns), float64 or (packed) complex128
            The private data. It is kept, not copied.
        generator : numpy.random.Generator, optional
            For experiments. Without it the hiding noise comes from the system's random source.

        Returns
        -------
        iterator of Share
            In order of worker; :meth:`share_of` makes any of them again.
        """
        shape = (self.code.num_blocks, *self.block_shape)
        if blocks.shape != shape:
            raise ParameterError("blocks", f"must have shape {shape}", blocks.shape)
        if not np.isfinite(blocks).all():
            raise ParameterError("blocks", "must be finite", "NaN or infinity")
        noise = self.code.draw_noise(self.block_shape, generator)
        self._noise = (on_device(blocks, self.device), on_device(noise, self.device))
        self._keys = KeyRing(blocks, lambda worker: self.share_of(worker).block)
        self._precision.clear()
        return (self.share_of(worker) for worker in range(self.code.num_workers))

    def share_of(self, worker: int) -> Share:
        """Make one worker's share; the same bits each time.

        Raises
        ------
        ParameterError
            If no data has been dealt.
        """
        if self._noise is None:
            raise ParameterError("blocks", "must be dealt first", None, hint="call deal")
        index = int(self._placement.order[worker])
        return Share(worker, to_numpy(self.code.encode_for(index, *self._noise)))

    def make_key(self, worker: int, request: Request, share: Share | None = None) -> None:
        """Make the key of a worker's share, if there is none and the function has one.

        :meth:`decode` does it for keys that are missing, which means making the shares again.

        Parameters
        ----------
        worker : int
            Whose.
        request : Request
            What will be asked.
        share : Share, optional
            The share, where it is at hand.
        """
        form = self._form(request)
        if form is not None:
            self._dealt.of_share(worker, form, None if share is None else share.block)

    def require_accuracy(self, request: Request) -> float:
        """Refuse what cannot be promised, before anything is sent.

        Parameters
        ----------
        request : Request
            What will be asked; the data has been dealt.

        Returns
        -------
        float
            The error bound of the sum over the blocks as a part of its scale, with the most liars and silent
            workers, in the worst places.

        Raises
        ------
        ParameterError
            If it exceeds the accuracy.
        """
        form = get_function(request.function).quadratic_form(self.block_shape[1], request.parameters)
        verification: Verification = "code" if form is None else self.verification
        promised, _ = promised_errors(
            self.code,
            self.precision(request).noise_std,
            num_byzantine=self._most_liars(verification),
            num_stragglers=self.num_stragglers,
            verification=verification,
        )
        # A function without a form has a scale only once it is computed.
        scale = np.inf if form is None else self._dealt.scale(form)
        relative = self.code.num_blocks * promised / scale if scale > 0 else np.inf
        if relative > self.accuracy:
            raise ParameterError(
                "accuracy",
                f"must be at least {relative:.2g} with these workers and this hiding noise",
                self.accuracy,
                hint="allow more bits (less noise), fewer liars, colluders or blocks",
            )
        return relative

    def decode(self, request: Request, results: Results) -> Outcome:
        """Name liars and rebuild the function's value at every block.

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
            If too many results are missing or wrong, or the error bound exceeds the accuracy.
        ParameterError
            If the function is unknown, of too large a degree, or no polynomial of the degree it states; or
            nothing has been dealt.
        """
        precision = self.precision(request)
        accepted, refused = usable_results(results, precision.noise_std.shape, self.code.num_workers)
        form = self._form(request)
        if form is None:
            return self._decode_by_code(request, precision, accepted, refused)
        return self._decode_by_keys(form, precision, accepted, refused)

    def precision(self, request: Request) -> Precision:
        """Give the rounding noise of the results; checks the function the first time it is asked for."""
        key = f"{request.function}/{None if request.parameters is None else request.parameters.tobytes()!r}"
        if key not in self._precision:
            function = get_function(request.function)
            if function.degree > self.code.degree:
                raise ParameterError(
                    "function", f"must have degree at most {self.code.degree}, the code's", function.degree
                )
            if function.form is None:
                check_numbers(self.code, self.num_byzantine or 0, self.num_stragglers, "code")
            function.verify(self.block_shape, request.parameters)
            self._precision.clear()
            self._precision[key] = measure_precision(
                self.code,
                function,
                self.block_shape,
                data_scale=self.data_scale,
                parameters=request.parameters,
                blocks=None if self._keys is None else self._keys.blocks,
            )
        return self._precision[key]

    def _decode_by_keys(
        self,
        form: QuadraticForm,
        precision: Precision,
        accepted: dict[int, ComplexArray],
        refused: tuple[Refused, ...],
    ) -> Outcome:
        """Drop who fails, decode, check against the table; set aside the worst fits if that helps."""
        keys, liars, fits = self._dealt, [], {}
        for worker, result in accepted.items():
            check = keys.of_share(worker, form).check(result, form.right)
            if check.is_passed:
                fits[worker] = float(np.max(check.value / check.limit, initial=0.0))
                continue
            liars.append(worker)
            if check.is_marginal:
                # So narrow a verdict told the liar something about ρ; the next result meets another one.
                keys.replace(worker, form)
        ranked = sorted(fits, key=fits.__getitem__)
        self._require_enough(len(ranked), tuple(liars))
        table, scale, bound = keys.of_table(form), keys.scale(form), float("inf")
        # Liars below the tolerance are at most A: setting more results aside would only cost precision.
        hidden = max(self._most_liars("keys") - len(liars), 0)
        fewest = max(self.code.dimension, len(ranked) - hidden)
        for count in range(len(ranked), fewest - 1, -1):
            used = {worker: accepted[worker] for worker in ranked[:count]}
            present, decoded = self._placement.interpolate(used)
            found = table.total_bound(form, decoded.sum(axis=0))
            # The first is kept whatever its bound, which may be no number: it is refused below.
            if found < bound or count == len(ranked):
                bound, values, kept, num_kept = found, decoded, present, count
            if bound <= self.accuracy * scale:
                break
        outcome = Outcome(
            values=values,
            error_bounds=table.block_bounds(form, values),
            total_error_bound=bound,
            scale=scale,
            error_std=error_amplification(self.code, kept)[:, None, None] * precision.noise_std,
            liars=tuple(liars),
            missing=self._placement.missing(accepted),
            set_aside=tuple(sorted(ranked[num_kept:])),
            refused=refused,
            vouched_by="keys",
            residual=max(fits.values()),
        )
        return self._within_accuracy(outcome)

    def _decode_by_code(
        self,
        request: Request,
        precision: Precision,
        accepted: dict[int, ComplexArray],
        refused: tuple[Refused, ...],
    ) -> Outcome:
        """Let the DFT code find the liars; bound what it may have taken for honest."""
        accepted, far = drop_far(accepted)
        noise_std = precision.for_results(np.array(list(accepted.values())))
        words, present = self._placement.words(accepted)
        corrected = self.dft_code.decode(
            words,
            noise_std=noise_std.ravel(),
            erased=~present,
            candidates=None if self.unreliable is None else self._placement.by_index(self.unreliable),
        )
        kept = present & ~corrected.located
        values = self.code.reconstruct(words, kept).reshape(-1, *noise_std.shape)
        bounds = np.full(
            len(values), bound_by_code(self.code, words, kept, noise_std, self._most_liars("code"))
        )
        total_bound, scale = float(bounds.sum()), float(np.linalg.norm(values))
        form = get_function(request.function).quadratic_form(self.block_shape[1], request.parameters)
        if form is not None and self._keys is not None:
            scale = self._dealt.scale(form)
        outcome = Outcome(
            values=values,
            error_bounds=bounds,
            total_error_bound=total_bound,
            scale=scale,
            error_std=error_amplification(self.code, kept)[:, None, None] * noise_std,
            liars=self._placement.workers_at(corrected.located),
            missing=self._placement.missing(accepted),
            set_aside=(),
            refused=(*refused, *far),
            vouched_by="code",
            residual=float(corrected.residual),
        )
        return self._within_accuracy(outcome)

    def _within_accuracy(self, outcome: Outcome) -> Outcome:
        if outcome.relative_error_bound <= self.accuracy:
            return outcome
        raise DecodingError(
            f"the error bound is {outcome.relative_error_bound:.1e} of the scale, above the accuracy of "
            f"{self.accuracy:.1e} asked for",
            culprits=outcome.liars if outcome.vouched_by == "keys" else (),
        )

    def _require_enough(self, num_usable: int, liars: tuple[int, ...]) -> None:
        if num_usable < self.code.dimension:
            raise DecodingError(
                "too few right results to interpolate",
                received=num_usable,
                needed=self.code.dimension,
                culprits=liars,
            )

    def _most_liars(self, verification: Verification) -> int:
        """Give ``A``: as agreed, or what the spare results allow."""
        if self.num_byzantine is not None:
            return self.num_byzantine
        spare = self.code.num_spare - self.num_stragglers
        return spare if verification == "keys" else spare // 2

    def _form(self, request: Request) -> QuadraticForm | None:
        """Give the form to verify by keys; None if the code decides."""
        if self.verification == "code":
            return None
        return get_function(request.function).quadratic_form(self.block_shape[1], request.parameters)

    @property
    def _dealt(self) -> KeyRing:
        if self._keys is None:
            raise ParameterError("blocks", "must be dealt first", None, hint="call deal")
        return self._keys
