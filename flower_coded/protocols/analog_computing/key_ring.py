"""All keys of a master, made when they are first needed and forgotten when the data changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flower_coded.codes.real.verification_keys import VerificationKey
from flower_coded.protocols.analog_computing.form_keys import TableKeys, share_key
from flower_coded.protocols.analog_computing.functions import QuadraticForm

__all__ = ["KeyRing"]

ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]


@dataclass(eq=False)
class KeyRing:
    """The keys to one table and its shares; they never leave the master.

    Parameters
    ----------
    blocks : ndarray of shape (k, n, columns)
        The table.
    share_of : callable
        ``share_of(worker)`` makes a worker's share again.
    """

    blocks: np.ndarray[Any, Any]
    share_of: Callable[[int], ComplexArray]
    _of_shares: dict[tuple[int, int, int], VerificationKey] = field(default_factory=dict, init=False)
    _of_table: dict[tuple[int, int], TableKeys] = field(default_factory=dict, init=False)
    _scales: dict[tuple[int, int], float] = field(default_factory=dict, init=False)

    def of_share(
        self, worker: int, form: QuadraticForm, share: ComplexArray | None = None
    ) -> VerificationKey:
        """Give the key of a worker's share; making it needs the share, which may be at hand."""
        # ``R`` is not part of the name: a key is made without it and serves every ``R``.
        name = (worker, form.left, form.first)
        if name not in self._of_shares:
            self._of_shares[name] = share_key(self.share_of(worker) if share is None else share, form)
        return self._of_shares[name]

    def replace(self, worker: int, form: QuadraticForm) -> None:
        """Forget the key of a worker's share: the next result meets another ``ρ``."""
        self._of_shares.pop((worker, form.left, form.first), None)

    def of_table(self, form: QuadraticForm) -> TableKeys:
        """Give the keys of the table itself."""
        name = (form.left, form.first)
        if name not in self._of_table:
            self._of_table[name] = TableKeys(self.blocks, form)
        return self._of_table[name]

    def scale(self, form: QuadraticForm) -> float:
        """Give what an accuracy refers to; computed once per form, unless its ``R`` is another each time."""
        if form.right is not None:
            return form.scale(self.blocks)
        name = (form.left, form.first)
        if name not in self._scales:
            self._scales[name] = form.scale(self.blocks)
        return self._scales[name]
