"""The products of :mod:`flower_coded.crypto.field_products` in torch, for a GPU; the integers are the same.

torch knows few operations on ``uint64``, so words travel as the ``int64`` of the same bits and are cut by
logical shifts. Constants are cut on the CPU; only the arrangement for any constants is used, because a GPU
has double precision matrix products to spare and the short one would only save those. A consumer card's
double precision is a small fraction of its single precision: measure before moving a small problem there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flower_coded.crypto.field_limbs import (
    GENERAL_BITS,
    GENERAL_IN_BITS,
    GENERAL_IN_LIMBS,
    GENERAL_LIMBS,
    GRAM_BITS,
    GRAM_LIMBS,
    MAX_COLUMNS,
    Matrix,
    modulus_limbs,
    plan_general,
)
from flower_coded.crypto.field_vectors import FieldArray, add, zeros

if TYPE_CHECKING:
    import torch

__all__ = ["gram_limbs_on_device", "matmul_constant_on_device"]

_BLOCK = 1 << 14
_GRAM_CHUNK = 512  # columns whose limb products sum exactly: 512 * 2**44 = 2**53
_GRAM_CHUNKS = 32


def matmul_constant_on_device(entries: Matrix, vectors: FieldArray, device: str) -> FieldArray:
    """Multiply centered constants (n, k) by vectors (k, m, 4) on a torch device.

    Parameters
    ----------
    entries : sequence of sequence of int, shape (n, k)
        As :func:`flower_coded.crypto.field_limbs.center_entries` returns them.
    vectors : ndarray of shape (k, m, 4), uint64
        Elements of F_r.
    device : str
        A torch device.

    Returns
    -------
    ndarray of shape (n, m, 4), uint64
    """
    result = zeros()
    for first in range(0, len(entries[0]), MAX_COLUMNS):
        columns = slice(first, first + MAX_COLUMNS)
        part = _matmul([row[columns] for row in entries], vectors[columns], device)
        result = part if first == 0 else add(result, part)
    return result


def gram_limbs_on_device(left: FieldArray, right: FieldArray, device: str) -> NDArray[np.int64]:
    """Return the (12, n, 12, p) inner products of 22-bit limbs, computed on a torch device."""
    import torch

    n, p = len(left), len(right)
    total = torch.zeros((GRAM_LIMBS * n, GRAM_LIMBS * p), dtype=torch.int64, device=device)
    for start in range(0, left.shape[1], _GRAM_CHUNK * _GRAM_CHUNKS):
        columns = slice(start, start + _GRAM_CHUNK * _GRAM_CHUNKS)
        limbs, others = (_chunked_limbs(x[:, columns], device) for x in (left, right))
        total += torch.bmm(limbs, others.transpose(1, 2)).to(torch.int64).sum(dim=0)
    return total.reshape(GRAM_LIMBS, n, GRAM_LIMBS, p).cpu().numpy()


def _matmul(entries: Matrix, vectors: FieldArray, device: str) -> FieldArray:
    import torch

    table = torch.from_numpy(plan_general(entries).table).to(device)
    result = np.empty((len(entries), *vectors.shape[1:]), dtype=np.uint64)
    for start in range(0, vectors.shape[1], _BLOCK):
        columns = slice(start, start + _BLOCK)
        limbs = _limbs(vectors[:, columns], device, GENERAL_IN_BITS, GENERAL_IN_LIMBS)  # (limbs, k, m)
        flat = limbs.transpose(0, 1).reshape(-1, limbs.shape[2])
        product = (table @ flat).reshape(GENERAL_LIMBS + 1, len(entries), -1)
        reduced = _reduce(product[:GENERAL_LIMBS].to(torch.int64), product[GENERAL_LIMBS])
        result[:, columns] = _join(reduced).cpu().numpy().view(np.uint64)
    return result


def _limbs(block: FieldArray, device: str, bits: int, count: int) -> torch.Tensor:
    """Cut (n, m, 4) words into ``count`` limbs: (count, n, m), float64."""
    import torch

    words = torch.from_numpy(np.ascontiguousarray(block).view(np.int64)).to(device)
    limbs = torch.empty((count, *words.shape[:2]), dtype=torch.float64, device=device)
    for limb in range(count):
        word, shift = divmod(limb * bits, 64)
        value = _logical_shift(words[..., word], shift)
        if shift + bits > 64 and word < 3:
            value = value | (words[..., word + 1] << (64 - shift))
        limbs[limb] = value & ((1 << bits) - 1)
    return limbs


def _logical_shift(value: torch.Tensor, shift: int) -> torch.Tensor:
    return (value >> shift) & ((1 << (64 - shift)) - 1) if shift else value


def _chunked_limbs(block: FieldArray, device: str) -> torch.Tensor:
    """Cut (n, m, 4) words into limbs and their columns into chunks of 512: (chunks, 12 n, 512)."""
    import torch

    limbs = _limbs(block, device, GRAM_BITS, GRAM_LIMBS).reshape(-1, block.shape[1])
    padding = -limbs.shape[1] % _GRAM_CHUNK
    padded = torch.nn.functional.pad(limbs, (0, padding))
    return padded.reshape(len(padded), -1, _GRAM_CHUNK).transpose(0, 1)


def _reduce(limbs: torch.Tensor, quotient: torch.Tensor) -> torch.Tensor:
    """Subtract ``floor(quotient) * r``, carry, and repair the quotient's error of at most one."""
    import torch

    modulus = torch.tensor(modulus_limbs(GENERAL_BITS, GENERAL_LIMBS), device=limbs.device).reshape(-1, 1, 1)
    limbs = _carry(limbs - torch.floor(quotient).to(torch.int64) * modulus)
    limbs = _carry(limbs + modulus * (limbs[-1] < 0))
    return _carry(limbs - modulus * _at_least(limbs, modulus))


def _carry(limbs: torch.Tensor) -> torch.Tensor:
    for limb in range(GENERAL_LIMBS - 1):
        limbs[limb + 1] += limbs[limb] >> GENERAL_BITS  # arithmetic: right for negative limbs too
        limbs[limb] &= (1 << GENERAL_BITS) - 1
    return limbs


def _at_least(limbs: torch.Tensor, modulus: torch.Tensor) -> torch.Tensor:
    import torch

    result = torch.ones_like(limbs[0], dtype=torch.bool)
    for limb, word in zip(limbs, modulus, strict=True):  # the most significant comes last and decides
        result = torch.where(limb == word, result, limb > word)
    return result


def _join(limbs: torch.Tensor) -> torch.Tensor:
    import torch

    words = torch.zeros((*limbs.shape[1:], 4), dtype=torch.int64, device=limbs.device)
    for index, limb in enumerate(limbs):
        word, shift = divmod(GENERAL_BITS * index, 64)
        words[..., word] |= limb << shift
        if shift + GENERAL_BITS > 64 and word < 3:
            words[..., word + 1] |= limb >> (64 - shift)
    return words
