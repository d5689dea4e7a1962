"""Make a worker lie: seven workers multiply a coded table by a vector, and some send something else.

The code has room for two liars if it has to find them by itself. With keys, a secret check of every answer, a
liar is only somebody whose answer is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes import RealErrorLocatingCode
from flower_coded.codes.real.verification_keys import VerificationKey
from flower_coded.errors import FlowerCodedError, ParameterError

__all__ = ["NUM_WORKERS", "Product", "Products", "ask_workers"]

NUM_WORKERS = 7
_CORRECTED = 2
_ROWS, _COLUMNS = 30, 4


@dataclass(frozen=True)
class Product:
    """A product that was decoded, or why it was not.

    Attributes
    ----------
    error : float or None
        Largest difference from the true product, if there is one.
    refusal : str
    """

    error: float | None
    refusal: str


@dataclass(frozen=True)
class Products:
    """What comes of the workers' answers.

    Attributes
    ----------
    caught : tuple of int
        Workers whose answers the keys refuse.
    by_keys : Product
        Decoded from the answers that the keys let pass.
    by_code : Product
        Decoded without keys: the code has to find the liars.
    """

    caught: tuple[int, ...]
    by_keys: Product
    by_code: Product


def ask_workers(num_liars: int, lie: float, *, seed: int = 5) -> Products:
    """Have seven workers multiply; the first of them add a random lie of the given size to their answers.

    Parameters
    ----------
    num_liars : int
        0 to 7.
    lie : float
        Standard deviation of what a liar adds; entries of a true answer are about 2.
    seed : int
        Of table, vector, lies and, this being a lesson, keys.

    Raises
    ------
    ParameterError
        If a number is outside its interval.

    Examples
    --------
    >>> three = ask_workers(3, 1.0)
    >>> three.caught, three.by_keys.error < 1e-12, three.by_code.error
    ((0, 1, 2), True, None)
    """
    if not 0 <= num_liars <= NUM_WORKERS:
        raise ParameterError("liars", f"must be between 0 and {NUM_WORKERS}", num_liars)
    if not 0 <= lie <= 1e9:
        raise ParameterError("lie", "must be between 0 and 1e9", lie)
    code = RealErrorLocatingCode(NUM_WORKERS, _CORRECTED)
    generator = np.random.default_rng(seed)
    table, vector = generator.normal(size=(_ROWS, _COLUMNS)), generator.normal(size=_COLUMNS)
    shares = code.encode(table)
    keys = [VerificationKey.of_share(share, generator=generator) for share in shares]
    answers = shares @ vector
    answers[:num_liars] += lie * generator.normal(size=(num_liars, answers.shape[1]))
    is_caught = np.array(
        [not key.check(answer, vector).is_passed for key, answer in zip(keys, answers, strict=True)]
    )
    truth = table @ vector
    return Products(
        caught=tuple(np.flatnonzero(is_caught).tolist()),
        by_keys=_by_keys(code, answers, truth, is_caught),
        by_code=_by_code(code, answers, truth),
    )


def _by_keys(
    code: RealErrorLocatingCode,
    answers: NDArray[np.float64],
    truth: NDArray[np.float64],
    is_caught: NDArray[np.bool_],
) -> Product:
    if is_caught.sum() > code.num_checks:
        left = NUM_WORKERS - int(is_caught.sum())
        return Product(None, f"{left} answers are left, {NUM_WORKERS - code.num_checks} are needed")
    return Product(float(np.abs(code.recover(answers, len(truth), is_caught) - truth).max()), "")


def _by_code(
    code: RealErrorLocatingCode, answers: NDArray[np.float64], truth: NDArray[np.float64]
) -> Product:
    try:
        decoded = code.decode(answers, len(truth), tolerance=1e-9)
    except FlowerCodedError as error:
        return Product(None, str(error))
    return Product(float(np.abs(decoded.values - truth).max()), "")
